/* A core's queue: Concurrency Kit's bounded MPMC ring of pointers. mpmc.c is the only file that
 * touches ck_ring.
 *
 * Any thread may push and pop. Ownership of what the pointer names goes from the pusher to the
 * popper: Q1 (push, release) pairs with Q2 (pop, acquire). No call blocks in the kernel, but the
 * progress guarantee is weaker than lock-free: a producer that has reserved a slot and is preempted
 * before it publishes makes later producers spin until it runs again (ck_ring.h, enqueue_mp), and
 * consumers see nothing behind that slot meanwhile. Items leave in the order of the reservations,
 * so items of one producer stay in order.
 */
#ifndef SLUICE_QUEUE_MPMC_H
#define SLUICE_QUEUE_MPMC_H

#include <ck_ring.h>
#include <stdbool.h>
#include <stddef.h>

struct queue_mpmc {
    ck_ring_t ring;
    ck_ring_buffer_t *slots; /* memory of whoever called init */
};

/* `slot_count` is a power of two; one slot always stays empty, so slot_count - 1 items fit. */
void queue_mpmc_init(struct queue_mpmc *queue, ck_ring_buffer_t *slots, unsigned slot_count);

bool queue_mpmc_push(struct queue_mpmc *queue, void *item); /* false: full */
void *queue_mpmc_pop(struct queue_mpmc *queue);             /* NULL: empty */

/* Items in the queue at some moment during the call. */
unsigned queue_mpmc_depth(const struct queue_mpmc *queue);

#endif
