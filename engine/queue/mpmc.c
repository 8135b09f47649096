/* ck_ring's memory accesses are inline assembly that ThreadSanitizer does not see as atomic: its
 * reports inside _ck_ring_* are suppressed, and the edge that the ring really provides is declared
 * on the item instead. A use of an item after its push is still caught (tests/stress). */
#include "queue/mpmc.h"

#include "base/check.h"
#include "base/sanitizer.h"

#if defined(__SANITIZE_THREAD__)
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:_ck_ring_*\nrace:ck_ring_size\n";
}
#endif

void queue_mpmc_init(struct queue_mpmc *queue, ck_ring_buffer_t *slots, unsigned slot_count)
{
    CHECK(slot_count >= 2 && (slot_count & (slot_count - 1)) == 0);
    ck_ring_init(&queue->ring, slot_count);
    queue->slots = slots;
}

bool queue_mpmc_push(struct queue_mpmc *queue, void *item)
{
    CHECK(item != NULL);
    THREAD_RELEASE(item); /* Q1 pairs with Q2 */
    return ck_ring_enqueue_mpmc(&queue->ring, queue->slots, item);
}

void *queue_mpmc_pop(struct queue_mpmc *queue)
{
    void *item = NULL;
    if (!ck_ring_dequeue_mpmc(&queue->ring, queue->slots, &item))
        return NULL;
    THREAD_ACQUIRE(item); /* Q2 pairs with Q1 */
    return item;
}

unsigned queue_mpmc_depth(const struct queue_mpmc *queue)
{
    return ck_ring_size(&queue->ring);
}
