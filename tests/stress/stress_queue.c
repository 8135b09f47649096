/* queue/mpmc under all combinations of producers and consumers: every item comes out exactly once,
 * items of one producer come to one consumer in order, and what was written before the push is seen
 * behind the pop. Payloads are plain memory: ThreadSanitizer verifies that Q1 pairs with Q2. Queues
 * are as small as two slots, so that both edges, full and empty, are hit all the time.
 */
#include "queue/mpmc.h"
#include "stress.h"

#define SLOTS_MAX     1024
#define PRODUCERS_MAX 16

struct item {
    unsigned producer;
    uint64_t index;      /* of this producer's items, from 0 */
    uint64_t payload[2]; /* depends on both */
    unsigned popped;     /* times; written by whoever popped it */
};

struct round {
    unsigned producer_count, consumer_count, slot_count;
    uint64_t item_count; /* per producer */
    struct queue_mpmc queue;
    ck_ring_buffer_t slots[SLOTS_MAX];
    struct item *items; /* of all producers */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t popped_count;
    _Atomic uint64_t full_count, empty_count; /* how often each edge was hit */
};

static uint64_t payload_of(unsigned producer, uint64_t index)
{
    return (index + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ producer;
}

/* Pushes in bursts of random length, so that the queue runs full and empty. */
static void produce(struct round *round, unsigned producer, struct base_random *random)
{
    uint64_t full_count = 0, burst = 0;
    for (uint64_t i = 0; i < round->item_count && !stress_failed(); i++) {
        struct item *item = &round->items[producer * round->item_count + i];
        item->producer = producer;
        item->index = i;
        item->payload[0] = payload_of(producer, i);
        item->payload[1] = ~item->payload[0];
        while (!queue_mpmc_push(&round->queue, item) && !stress_failed()) {
            full_count++;
            stress_yield();
        }
        if (burst-- == 0) {
            burst = base_random_next(random) % (2 * round->slot_count);
            stress_yield();
        }
    }
    add_relaxed(&round->full_count, full_count);
}

static void check_item(struct item *item, uint64_t *next_index)
{
    STRESS_CHECK(item->index >= next_index[item->producer],
                 "producer %u: item %" PRIu64 " came after item %" PRIu64, item->producer,
                 item->index, next_index[item->producer] - 1);
    next_index[item->producer] = item->index + 1;
    STRESS_CHECK(item->payload[0] == payload_of(item->producer, item->index) &&
                     item->payload[1] == ~item->payload[0],
                 "payload of item %" PRIu64, item->index);
    item->popped++;
}

static void consume(struct round *round, struct base_random *random)
{
    uint64_t next_index[PRODUCERS_MAX] = {0};
    uint64_t total = round->item_count * round->producer_count;
    uint64_t empty_count = 0;
    while (load_relaxed(&round->popped_count) < total && !stress_failed()) {
        struct item *item = queue_mpmc_pop(&round->queue);
        if (item == NULL) {
            empty_count++;
            stress_yield();
            continue;
        }
        add_relaxed(&round->popped_count, 1);
        check_item(item, next_index);
        unsigned depth = queue_mpmc_depth(&round->queue);
        STRESS_CHECK(depth < round->slot_count, "depth %u", depth);
        if (base_random_next(random) % (2 * round->slot_count) == 0)
            stress_yield();
    }
    add_relaxed(&round->empty_count, empty_count);
}

static void body(void *context, unsigned index, struct base_random *random)
{
    struct round *round = context;
    if (index < round->producer_count)
        produce(round, index, random);
    else
        consume(round, random);
}

static void play(unsigned producers, unsigned consumers, unsigned slots, uint64_t items)
{
    static struct round round;
    CHECK(slots <= SLOTS_MAX && producers <= PRODUCERS_MAX);
    round = (struct round){
        .producer_count = producers,
        .consumer_count = consumers,
        .slot_count = slots,
        .item_count = items / producers,
        .items = calloc(items, sizeof(struct item)),
    };
    CHECK(round.items != NULL);
    queue_mpmc_init(&round.queue, round.slots, slots);
    stress_run(producers + consumers, body, &round);
    uint64_t total = round.item_count * producers;
    for (uint64_t i = 0; i < total && !stress_failed(); i++)
        STRESS_CHECK(round.items[i].popped == 1, "item %" PRIu64 " was popped %u times", i,
                     round.items[i].popped);
    STRESS_CHECK(stress_failed() || queue_mpmc_pop(&round.queue) == NULL, "an invented item");
    STRESS_CHECK(stress_failed() || queue_mpmc_depth(&round.queue) == 0, "depth of an empty queue");
    printf("%ux%u, %4u slots: %" PRIu64 " items, %" PRIu64 " times full, %" PRIu64 " times empty\n",
           producers, consumers, slots, total, load_relaxed(&round.full_count),
           load_relaxed(&round.empty_count));
    free(round.items);
}

int main(void)
{
    static const unsigned slot_counts[] = {2, 4, 64, SLOTS_MAX};
    stress_begin("stress_queue");
    unsigned cores = stress.topology.count < 2 ? 2 : stress.topology.count;
    if (cores > 4)
        cores = 4;
    for (size_t i = 0; i < sizeof(slot_counts) / sizeof(slot_counts[0]); i++)
        for (unsigned producers = 1; producers <= cores; producers++)
            for (unsigned consumers = 1; consumers <= cores; consumers++)
                play(producers, consumers, slot_counts[i], stress_count(400000));
    for (size_t i = 0; i < sizeof(slot_counts) / sizeof(slot_counts[0]); i++)
        play(4, 4, slot_counts[i], stress_count(40000)); /* oversubscribed on a small machine */
    return stress_end();
}
