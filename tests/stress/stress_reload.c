/* Objects that are replaced while readers use them (reload.h): no reader ever sees one that is half
 * made, older than a reload that it has heard of, or freed.
 *
 * Readers do what the data plane's threads do: a round begins at a quiescent point, uses what the
 * slots hold, and sometimes sleeps until it is told of a reload. The reloader is the control
 * thread, with loads that sometimes fail and reloads that are asked for while one is under way.
 * destroy() overwrites an object before it frees it, so a use after free is a wrong checksum even
 * where no sanitizer looks; ThreadSanitizer and AddressSanitizer see the access itself.
 *
 * Calls and wakes are words behind yields: eventfds would give ThreadSanitizer edges that the
 * mechanism must bring itself.
 *
 * stress_reload_planted.c includes this file with PLANTED_KEEP: a reader uses what it got before a
 * quiescent point behind it, which must be caught.
 */
#include "base/log.h"
#include "reload.h"
#include "stress.h"

#include <string.h>

#define SLOTS        2
#define READERS      4
#define WORDS        16
#define USES_MAX     8  /* of the slots in a round */
#define SLEEP_ONE_IN 64 /* rounds */
#define FAIL_ONE_IN  8  /* loads */
#define DEAD         UINT64_C(0xDEADDEADDEADDEAD)

struct object {
    uint64_t version;
    uint64_t words[WORDS]; /* each is version + its index */
};

struct source { /* what load reads: the "file" */
    struct rig *rig;
    unsigned slot;
};

struct rig {
    struct reload reload;
    struct reload_reader readers[READERS];
    struct reload_slot slots[SLOTS];
    struct source sources[SLOTS];
    uint64_t reload_count;

    /* the reloader's */
    struct base_random random;
    uint64_t next_version, failed_count;
    _Atomic uint64_t live; /* objects that exist */

    _Atomic uint32_t done;   /* the reloader has finished */
    _Atomic uint32_t called; /* a reader has passed */
    _Atomic uint32_t wakes;  /* counts up: readers that sleep look at it */
    _Atomic uint64_t rounds; /* of all readers */
};

static int load(const void *context, void **object_out, struct base_error *error)
{
    const struct source *source = context;
    struct rig *rig = source->rig;
    if (rig->next_version > SLOTS && base_random_next(&rig->random) % FAIL_ONE_IN == 0) {
        rig->failed_count++;
        return base_error_set(error, -1, "a load that fails");
    }
    struct object *object = malloc(sizeof(*object));
    CHECK(object != NULL);
    object->version = rig->next_version++;
    for (unsigned i = 0; i < WORDS; i++)
        object->words[i] = object->version + i;
    add_relaxed(&rig->live, 1);
    *object_out = object;
    return 0;
}

static struct rig *the_rig; /* destroy gets no context */

static void destroy(void *object)
{
    if (object == NULL)
        return;
    struct object *dead = object;
    CHECK(dead->version != DEAD);
    for (unsigned i = 0; i < WORDS; i++)
        dead->words[i] = DEAD;
    dead->version = DEAD;
    free(dead);
    add_relaxed(&the_rig->live, UINT64_MAX); /* minus 1 */
}

/* --- readers -------------------------------------------------------------------------------- */

static void use(const struct object *object, uint64_t *newest)
{
    STRESS_CHECK(object->version != DEAD && object->version >= *newest,
                 "version %" PRIu64 " after %" PRIu64, object->version, *newest);
    for (unsigned i = 0; i < WORDS; i++)
        STRESS_CHECK(object->words[i] == object->version + i, "word %u of version %" PRIu64, i,
                     object->version);
    *newest = object->version;
}

/* As in state.c: the first round after a reload calls the control thread. */
static void pass(struct rig *rig, unsigned index)
{
    if (reload_quiesce(&rig->reload, &rig->readers[index]))
        store_relaxed(&rig->called, 1);
}

static void sleep_until_woken(struct rig *rig)
{
    uint32_t wakes = load_relaxed(&rig->wakes);
    while (load_relaxed(&rig->wakes) == wakes && load_relaxed(&rig->done) == 0 && !stress_failed())
        stress_yield();
}

static void read_rounds(struct rig *rig, unsigned index, struct base_random *random)
{
    uint64_t newest[SLOTS] = {0};
    const struct object *kept = NULL;
    while (load_relaxed(&rig->done) == 0 && !stress_failed()) {
        pass(rig, index);
#ifdef PLANTED_KEEP
        if (kept != NULL) { /* the bug: it was got before the quiescent point */
            uint64_t none = 0;
            use(kept, &none);
        }
#endif
        unsigned uses = (unsigned)(base_random_next(random) % USES_MAX);
        for (unsigned i = 0; i < uses; i++) {
            unsigned slot = (unsigned)(base_random_next(random) % SLOTS);
            kept = reload_current(&rig->slots[slot]);
            use(kept, &newest[slot]);
            if (base_random_next(random) % 16 == 0)
                stress_yield(); /* in the middle of a round */
        }
        add_relaxed(&rig->rounds, 1);
        if (base_random_next(random) % SLEEP_ONE_IN == 0)
            sleep_until_woken(rig);
    }
    (void)kept;
}

/* --- the control thread --------------------------------------------------------------------- */

static void wake_readers(struct rig *rig)
{
    add_relaxed(&rig->wakes, 1);
}

static void reload_often(struct rig *rig)
{
    for (uint64_t i = 0; i < rig->reload_count && !stress_failed(); i++) {
        if (reload_begin(&rig->reload))
            wake_readers(rig);
        if (base_random_next(&rig->random) % 4 == 0)
            (void)reload_begin(&rig->reload); /* a second SIGHUP; remembered when too early */
        while (rig->reload.under_way && !stress_failed()) {
            if (exchange_acq_rel(&rig->called, 0) != 0 && reload_step(&rig->reload))
                wake_readers(rig);
            stress_yield();
            wake_readers(rig); /* a reader that fell asleep behind the wake saw nothing new */
        }
        STRESS_CHECK(load_relaxed(&rig->live) <= SLOTS, "%" PRIu64 " objects when nothing is due",
                     load_relaxed(&rig->live));
    }
    store_relaxed(&rig->done, 1);
}

static void body(void *context, unsigned index, struct base_random *random)
{
    struct rig *rig = context;
    if (index == 0)
        reload_often(rig);
    else
        read_rounds(rig, index - 1, random);
}

/* A line per reload is of no use here (--wrap=base_log). */
void __wrap_base_log(enum base_log_level level, const char *event, const char *format, ...);
void __wrap_base_log(enum base_log_level level, const char *event, const char *format, ...)
{
    (void)level;
    (void)event;
    (void)format;
}

int main(void)
{
    static struct rig rig;
    struct base_error error;
#ifdef PLANTED_KEEP
    stress_begin("stress_reload_planted");
#else
    stress_begin("stress_reload");
#endif
    the_rig = &rig;
    rig.reload_count = stress_count(60000);
    base_random_seed(&rig.random, stress.seed);
    reload_init(&rig.reload, rig.readers, READERS);
    for (unsigned i = 0; i < SLOTS; i++) {
        rig.sources[i] = (struct source){.rig = &rig, .slot = i};
        struct reload_kind kind = {"number", &rig.sources[i], load, destroy};
        CHECK(reload_add(&rig.reload, &kind, &rig.slots[i], &error) == 0);
    }
    stress_run(1 + READERS, body, &rig);
    printf("%" PRIu64 " versions, %" PRIu64 " loads failed, %" PRIu64 " rounds\n", rig.next_version,
           rig.failed_count, load_relaxed(&rig.rounds));
    reload_fini(&rig.reload);
    STRESS_CHECK(load_relaxed(&rig.live) == 0, "objects that nobody freed");
    return stress_end();
}
