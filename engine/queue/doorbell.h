/* Waking a worker that sleeps in its ring, and only then.
 *
 * Owner: one worker sleeps; any thread that pushed to its queue may ring. Nobody may both miss the
 * other: the worker announces sleep and then looks at the queue once more, the pusher pushes and
 * then looks at the announcement. Instead of two fences, both sides do an acq_rel exchange of the
 * same word: exchanges of one word are totally ordered, so either the worker's comes first and the
 * pusher reads ASLEEP and rings (D2 reads D1), or the pusher's comes first and the worker's
 * exchange acquires everything before it, the push included (D1 reads D2).
 *
 * Ringing itself is a message to the worker's ring (IORING_OP_MSG_RING), see ingress/uring.h.
 */
#ifndef SLUICE_QUEUE_DOORBELL_H
#define SLUICE_QUEUE_DOORBELL_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

enum { QUEUE_DOORBELL_AWAKE, QUEUE_DOORBELL_ASLEEP };

struct queue_doorbell {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t state;
    int ring_fd; /* of the worker's ring; written before any thread runs */
};

/* By the worker, before it looks at its queue for the last time. */
static inline void queue_doorbell_fall_asleep(struct queue_doorbell *doorbell)
{
    exchange_acq_rel(&doorbell->state, QUEUE_DOORBELL_ASLEEP); /* D1 pairs with D2 */
}

/* By the worker when it found something, or woke up. A ring that came in between is spurious. */
static inline void queue_doorbell_wake_up(struct queue_doorbell *doorbell)
{
    /* an exchange too: a plain store would cut the chain through which the next D1 acquires */
    exchange_acq_rel(&doorbell->state, QUEUE_DOORBELL_AWAKE);
}

/* By whoever pushed: true for exactly one caller per sleep, which must ring. */
static inline bool queue_doorbell_must_ring(struct queue_doorbell *doorbell)
{
    return exchange_acq_rel(&doorbell->state, QUEUE_DOORBELL_AWAKE) == /* D2 pairs with D1 */
           QUEUE_DOORBELL_ASLEEP;
}

/* A glance that decides nothing: may the worker be asleep? */
static inline bool queue_doorbell_seems_asleep(struct queue_doorbell *doorbell)
{
    return load_relaxed(&doorbell->state) == QUEUE_DOORBELL_ASLEEP;
}

#endif
