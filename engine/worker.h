/* The pinned thread that parses, batches and flushes: one per core, with a ring for its files.
 *
 *   dequeue a run -> parse and check -> encode into the open batch -> write -> flush -> complete
 *
 * Owner: the server creates and destroys it; between start and stop only its own thread touches
 * anything here. Requests are lent to it by ingresses through the queues and go back in chains, one
 * message per flush and ingress.
 */
#ifndef SLUICE_WORKER_H
#define SLUICE_WORKER_H

#include "base/random.h"
#include "ingress/request.h"
#include "ingress/uring.h"
#include "record/json.h"
#include "segment/journal.h"
#include "segment/recovery.h"
#include "segment/ring_io.h"
#include "state.h"

#include <liburing.h>
#include <stdbool.h>

#define WORKER_MAGIC 0x3012CE12u

/* Requests linked by `next`. */
struct worker_chain {
    struct ingress_request *first, *last;
};

struct worker {
    uint32_t magic;
    unsigned index; /* of the core pair */
    unsigned core;  /* CPU number */
    struct state *state;
    const struct config *config;
    struct io_uring ring;

    struct segment_ring_io ring_io; /* the journal's operations on our ring */
    struct segment_journal journal;
    struct segment_handoff *handoff;
    void *journal_memory;
    size_t journal_memory_bytes;

    struct record_json_parser *parser;
    const struct record_registry *registry; /* of the run at hand; not looked at outside of it */
    struct base_random random;

    struct worker_chain open;       /* requests whose records are in the open batch */
    struct worker_chain flying;     /* ... in the batch being written */
    struct worker_chain *completed; /* per ingress: answered, to be sent back this round */
    struct ingress_request *carry;  /* parsed, but its record did not fit the open batch */
    struct record_envelope carry_envelope;

    bool failure_reported;
    bool stopping;
};

/* Takes over the recovered journal; reserves memory. */
int worker_init(struct worker *worker, unsigned index, unsigned core, struct state *state,
                const struct segment_catalog *catalog, const struct segment_recovery *recovery,
                struct segment_watermark *watermark, struct segment_handoff *handoff,
                struct budget *budget, struct base_error *error);

/* By the worker thread: makes the ring. */
int worker_open(struct worker *worker, struct base_error *error);

/* By the worker thread: works until told to stop, which happens when no request is left. */
void worker_run(struct worker *worker);

void worker_close(struct worker *worker); /* the ring */
void worker_fini(struct worker *worker);  /* the parser and the open segment's descriptor */

#endif
