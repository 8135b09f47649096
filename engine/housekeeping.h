/* What keeps journals going in the background: a prepared segment for each, and sealing full ones.
 *
 * Owner: the control thread, which calls it in small steps. Talks to workers only through their
 * handoff and their doorbell.
 */
#ifndef SLUICE_HOUSEKEEPING_H
#define SLUICE_HOUSEKEEPING_H

#include "segment/handoff.h"
#include "segment/prepare.h"
#include "segment/recovery.h"
#include "state.h"

#include <liburing.h>
#include <stdbool.h>

/* Time between two tries to prepare a segment on a full disk: nothing tells when there is room. */
#define HOUSEKEEPING_RETRY_MS 200

struct housekeeping_journal {
    struct segment_handoff *handoff;
    int journal_fd;
    uint32_t journal;
    uint64_t next_segment_number;
    bool broken; /* sealing failed: the journal ends with the segment in use */
};

struct housekeeping {
    struct state *state;
    const struct segment_catalog *catalog;
    struct io_uring *ring;                 /* of the control thread, for the bell */
    struct housekeeping_journal *journals; /* one per core */
    unsigned count;
    struct segment_preparation preparation; /* one at a time */
    unsigned preparing;                     /* index of the journal it is for */
    uint64_t retry_at_ns;                   /* after a failure; 0: none */
};

/* Gives the journal its recovered segment, or, when it has none at all, prepares one now. */
int housekeeping_supply(struct housekeeping *housekeeping, unsigned index,
                        const struct segment_recovery *recovery, struct base_error *error);

/* A bounded piece of work. True: there is more to do at once. */
bool housekeeping_step(struct housekeeping *housekeeping);

/* Milliseconds until there is something to do by itself, -1: never. For poll(2). */
int housekeeping_timeout_ms(const struct housekeeping *housekeeping);

/* Gives up a preparation and prepared segments that no worker took. */
void housekeeping_fini(struct housekeeping *housekeeping);

#endif
