/* A hop through a core's queue. Between two cores it is elapsed time, there and back through two
 * queues: that is what two threads that never sleep would pay, waking one costs more (DESIGN.md
 * keeps both on one core for that reason). */
#include "stages.h"

#include "base/check.h"
#include "queue/mpmc.h"
#include "topology.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#define SLOT_COUNT      16384 /* queue_slots */
#define BURST           64
#define SPINS_PER_YIELD 1000 /* others want these cores too */
#define ITEMS           (BURST + 1)

struct hops {
    struct queue_mpmc there, back;
    ck_ring_buffer_t there_slots[SLOT_COUNT], back_slots[SLOT_COUNT];
    unsigned core; /* of the thread that sends back */
    uint64_t items[ITEMS];
};

static struct hops hops;
static uint64_t end_item; /* its address tells the other thread to end */

static uint64_t run_one(void *context, uint64_t count)
{
    struct hops *h = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        CHECK(queue_mpmc_push(&h->there, &h->items[i % ITEMS]));
        sum += *(uint64_t *)queue_mpmc_pop(&h->there);
    }
    return sum;
}

static uint64_t run_burst(void *context, uint64_t count)
{
    struct hops *h = context;
    uint64_t sum = 0;
    while (count > 0) {
        uint64_t width = count < BURST ? count : BURST;
        uint64_t *item;
        for (uint64_t i = 0; i < width; i++)
            CHECK(queue_mpmc_push(&h->there, &h->items[i]));
        while ((item = queue_mpmc_pop(&h->there)) != NULL)
            sum += *item;
        count -= width;
    }
    return sum;
}

static void *pop_waiting(struct queue_mpmc *queue)
{
    for (unsigned spins = 1;; spins++) {
        void *item = queue_mpmc_pop(queue);
        if (item != NULL)
            return item;
        if (spins % SPINS_PER_YIELD == 0)
            sched_yield();
        else
            __builtin_ia32_pause();
    }
}

static void *send_back(void *context)
{
    struct hops *h = context;
    struct base_error error;
    void *item;
    CHECK(topology_pin(h->core, &error) == 0);
    while ((item = pop_waiting(&h->there)) != &end_item)
        CHECK(queue_mpmc_push(&h->back, item));
    return NULL;
}

static uint64_t run_there_and_back(void *context, uint64_t count)
{
    struct hops *h = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        CHECK(queue_mpmc_push(&h->there, &h->items[i % ITEMS]));
        sum += *(uint64_t *)pop_waiting(&h->back);
    }
    return sum;
}

/* BURST items are under way all the time. */
static uint64_t run_stream(void *context, uint64_t count)
{
    struct hops *h = context;
    uint64_t sum = 0, sent = 0, got = 0;
    while (got < count) {
        while (sent < count && sent - got < BURST)
            CHECK(queue_mpmc_push(&h->there, &h->items[sent++ % ITEMS]));
        sum += *(uint64_t *)pop_waiting(&h->back);
        got++;
    }
    return sum;
}

static void stage_two_cores(struct measure *measure)
{
    pthread_t thread;
    if (measure->core == measure->other_core) {
        fprintf(stderr, "stages: queue: there is only one core; hops between two are left out\n");
        return;
    }
    hops.core = measure->other_core;
    CHECK(pthread_create(&thread, NULL, send_back, &hops) == 0);
    struct measure_side sides[] = {
        {"one under way", 8, run_there_and_back, &hops, .product = 1, .wall_clock = true},
        {"64 under way, each", 8, run_stream, &hops, .product = 1, .wall_clock = true},
    };
    measure_sides(measure, "queue: two threads on two cores, there and back", MEASURE_SEPARATE,
                  sides, 2);
    CHECK(queue_mpmc_push(&hops.there, &end_item));
    CHECK(pthread_join(thread, NULL) == 0);
}

void stage_queue(struct measure *measure)
{
    queue_mpmc_init(&hops.there, hops.there_slots, SLOT_COUNT);
    queue_mpmc_init(&hops.back, hops.back_slots, SLOT_COUNT);
    for (unsigned i = 0; i < ITEMS; i++)
        hops.items[i] = 1;
    struct measure_side sides[] = {
        {"push and pop", 8, run_one, &hops, .product = 1},
        {"64 pushes, then 64 pops, each", 8, run_burst, &hops, .product = 1},
    };
    measure_sides(measure, "queue: one thread", MEASURE_SEPARATE, sides, 2);
    stage_two_cores(measure);
}
