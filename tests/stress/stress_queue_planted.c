/* A planted bug: the producer touches an item after it has pushed it, when it belongs to the
 * consumer. ThreadSanitizer must report it, or the clean result of stress_queue means nothing: the
 * suppressions for ck_ring's inline assembly (queue/mpmc.c) could hide real races.
 *
 * Passes by failing: under ThreadSanitizer the report makes the exit code nonzero, and the test is
 * declared with should_fail. Without ThreadSanitizer nothing can be seen, and it is skipped (exit
 * code 77).
 */
#include "queue/mpmc.h"
#include "stress.h"

#define SLOT_COUNT 4
#define EXIT_SKIP  77

struct item {
    uint64_t payload;
};

struct round {
    struct queue_mpmc queue;
    ck_ring_buffer_t slots[SLOT_COUNT];
    struct item *items;
    uint64_t item_count;
    uint64_t sum; /* the consumer's */
};

static void produce_and_touch(struct round *round)
{
    for (uint64_t i = 0; i < round->item_count; i++) {
        struct item *item = &round->items[i];
        item->payload = i;
        while (!queue_mpmc_push(&round->queue, item))
            stress_yield();
        item->payload = i + 1; /* the bug: it is the consumer's now */
    }
}

static void consume(struct round *round)
{
    for (uint64_t i = 0; i < round->item_count; i++) {
        struct item *item;
        while ((item = queue_mpmc_pop(&round->queue)) == NULL)
            stress_yield();
        round->sum += item->payload;
    }
}

static void body(void *context, unsigned index, struct base_random *random)
{
    (void)random;
    if (index == 0)
        produce_and_touch(context);
    else
        consume(context);
}

int main(void)
{
    static struct round round;
    stress_begin("stress_queue_planted");
    if (!STRESS_THREAD_SANITIZED) {
        printf("skipped: only ThreadSanitizer can see the planted race\n");
        return EXIT_SKIP;
    }
    round.item_count = stress_count(200000);
    round.items = calloc(round.item_count, sizeof(struct item));
    CHECK(round.items != NULL);
    queue_mpmc_init(&round.queue, round.slots, SLOT_COUNT);
    stress_run(2, body, &round);
    free(round.items);
    return stress_end();
}
