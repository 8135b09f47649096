/* Configuration objects that are replaced whole while the engine serves: credentials, registries,
 * certificates. SIGHUP loads each anew; what cannot be loaded stays as it was.
 *
 * Owner: the control thread, which loads, publishes and frees. Threads of the data plane only read
 * the current object. An object is immutable once published; it is freed when every reader has
 * passed a quiescent point since, so a reader may use a pointer that it got here until the top of
 * its next round, and keeps none beyond (nor lends one to another thread with a request).
 *
 * A quiescent point costs a reader one load; while nothing is being replaced that is all. Readers
 * that sleep are woken through their rings, so nobody has to say that they sleep. The control
 * thread never waits: it publishes, goes on, and frees when the last reader has called it. One
 * replacement is under way at a time; a SIGHUP meanwhile is remembered. So at most two of each
 * object exist, and what a reader costs is bounded.
 *
 * Rejected: a reference count per object (two shared writes per request), a lock for readers (the
 * data plane takes none), freeing after a delay (no delay is long enough).
 */
#ifndef SLUICE_RELOAD_H
#define SLUICE_RELOAD_H

#include "base/atomic.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define RELOAD_OBJECTS_MAX 8 /* kinds of object; each is a file or directory of an operator */

/* What the data plane sees of an object. */
struct reload_slot {
    _Atomic(const void *) current; /* NULL until loaded for the first time */
};

/* How one kind of object is made. */
struct reload_kind {
    const char *name;    /* for the log */
    const void *context; /* for load, most often the path; outlives the reload */
    /* 0 and a new object, or a negative errno and an error that names file and line. May allocate
     * and read files; must not wait for anything else. */
    int (*load)(const void *context, void **object_out, struct base_error *error);
    void (*destroy)(void *object); /* NULL is fine */
};

struct reload_object {
    struct reload_kind kind;
    struct reload_slot *slot;
    void *published; /* in the slot */
    void *retired;   /* no longer in the slot; some reader may still use it */
};

/* One per thread of the data plane, on a cache line of its own: its thread writes it. */
struct reload_reader {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t passed; /* the last generation it has seen */
};

struct reload {
    /* read by all readers each round, written at a reload */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t generation;

    /* the control thread's own */
    _Alignas(CACHE_LINE_BYTES) struct reload_object objects[RELOAD_OBJECTS_MAX];
    unsigned object_count;
    struct reload_reader *readers;
    unsigned reader_count;
    bool under_way; /* something is retired */
    bool again;     /* asked for while one was under way */
};

/* `readers` are zeroed and outlive this. */
void reload_init(struct reload *reload, struct reload_reader *readers, unsigned reader_count);

/* Loads a first object into `slot`, before readers run. 0, or the error of `load`. */
int reload_add(struct reload *reload, const struct reload_kind *kind, struct reload_slot *slot,
               struct base_error *error);

/* By the control thread, on SIGHUP: loads everything anew and publishes what could be loaded. Each
 * failure is logged at once, each success when the new object is in force on every thread. True:
 * readers have to pass a quiescent point, so wake them. */
bool reload_begin(struct reload *reload);

/* By the control thread, whenever it was woken: frees what no reader can use any more. Returns what
 * reload_begin would: true when a remembered reload has begun. */
bool reload_step(struct reload *reload);

/* When no reader runs any more. */
void reload_fini(struct reload *reload);

/* By a reader at the top of its round, when it holds no pointer from before. True: it was the first
 * time since something was replaced, and the control thread wants to know. */
static inline bool reload_quiesce(const struct reload *reload, struct reload_reader *reader)
{
    /* L4 pairs with L3: what is loaded from a slot from here on is of this generation or later */
    uint64_t generation = load_acquire(&reload->generation);
    if (load_relaxed(&reader->passed) == generation) /* its own */
        return false;
    store_release(&reader->passed, generation); /* L5 pairs with L6: uses of the old are over */
    return true;
}

/* The object in `slot` right now; valid until the caller's next quiescent point. */
static inline const void *reload_current(const struct reload_slot *slot)
{
    return load_acquire(&slot->current); /* L2 pairs with L1: the object is complete */
}

#endif
