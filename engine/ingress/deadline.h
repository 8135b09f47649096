/* Deadlines of connections: one list per kind. All deadlines of a kind are equally long, so a list
 * in order of start is in order of expiry, and setting, clearing and finding the next one cost a
 * few pointers each: no timer per connection, no heap.
 *
 * Owner: one ingress; its thread only. Times are base_clock_monotonic_ns.
 */
#ifndef SLUICE_INGRESS_DEADLINE_H
#define SLUICE_INGRESS_DEADLINE_H

#include <stdint.h>

enum ingress_deadline_kind {
    INGRESS_DEADLINE_NONE,
    INGRESS_DEADLINE_IDLE,   /* between requests */
    INGRESS_DEADLINE_HEADER, /* from the first byte of a header section */
    INGRESS_DEADLINE_BODY,   /* from the end of the header section */
    INGRESS_DEADLINE_SEND,   /* from the last progress of a send */
    INGRESS_DEADLINE_LINGER, /* from the end of the last response */
    INGRESS_DEADLINE_KIND_COUNT,
};

struct ingress_deadline {
    struct ingress_deadline *previous, *next;
    uint64_t expires_ns;
    uint8_t kind;
};

struct ingress_deadlines {
    struct ingress_deadline heads[INGRESS_DEADLINE_KIND_COUNT]; /* circular lists */
    uint64_t length_ns[INGRESS_DEADLINE_KIND_COUNT];
};

void ingress_deadlines_init(struct ingress_deadlines *deadlines);

/* Puts the deadline of `kind` on; NONE takes it off. A deadline of the same kind that is already
 * running goes on as it is, unless `restart`. */
void ingress_deadline_set(struct ingress_deadlines *deadlines, struct ingress_deadline *deadline,
                          enum ingress_deadline_kind kind, int restart, uint64_t now_ns);

/* Some deadline that has passed, or NULL. It stays on its list. */
struct ingress_deadline *ingress_deadlines_expired(struct ingress_deadlines *deadlines,
                                                   uint64_t now_ns);

/* When the next one passes; UINT64_MAX without any. */
uint64_t ingress_deadlines_next(const struct ingress_deadlines *deadlines);

#endif
