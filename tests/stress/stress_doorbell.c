/* The sleep and wake protocol of queue/doorbell.h with a real wait: a futex stands in for the
 * worker's ring, and ringing adds to it and wakes. No wake-up may get lost, and no more bells may
 * be rung than the worker slept.
 *
 * Every producer waits until what it pushed was taken before it pushes more. So a lost wake-up is
 * not covered up by a later push: the worker stays asleep until its wait times out with something
 * in the queue, and that is the failure. The timeout is so long that a merely slow machine does
 * not reach it; a test without lost wake-ups never waits for it.
 *
 * The worker mostly looks at the bell for a while before it blocks in the kernel: millions of
 * passes through the critical exchange, and still many thousand real sleeps.
 */
#include "queue/doorbell.h"
#include "queue/mpmc.h"
#include "stress.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOST_AFTER_SECONDS 20
#define SLOT_COUNT         64
#define PRODUCERS_MAX      16
#define BURST_MAX          4
#define GLANCES_MAX        4000 /* looks at the bell before the worker blocks */

struct item {
    unsigned producer;
    uint64_t number;
};

struct producer {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t taken_count; /* worker writes */
    struct item items[BURST_MAX];                            /* the worker's while pushed */
    uint64_t rings;
};

struct round {
    unsigned producer_count;
    uint64_t item_count; /* per producer */
    struct queue_mpmc queue;
    ck_ring_buffer_t slots[SLOT_COUNT];
    struct queue_doorbell doorbell;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t bell; /* what the ring is to a worker */
    uint64_t announced, slept, blocked;               /* worker's */
    struct producer producers[PRODUCERS_MAX];
};

static void ring(struct round *round)
{
    add_relaxed(&round->bell, 1); /* orders nothing: the doorbell must do that itself */
    syscall(SYS_futex, &round->bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void push_burst(struct round *round, struct producer *producer, unsigned index,
                       uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        producer->items[i] = (struct item){index, first + i};
        while (!queue_mpmc_push(&round->queue, &producer->items[i]))
            stress_yield();
    }
    if (!queue_doorbell_must_ring(&round->doorbell))
        return;
    producer->rings++;
    ring(round);
}

/* Between taking and resting, and between bursts: so that pushes meet every step of falling asleep.
 */
static void pause_a_little(struct base_random *random)
{
    static _Thread_local _Atomic uint32_t nothing;
    uint64_t glances = base_random_next(random) % 256;
    for (uint64_t i = 0; i < glances; i++)
        store_relaxed(&nothing, 0);
}

static void produce(struct round *round, unsigned index, struct base_random *random)
{
    struct producer *producer = &round->producers[index];
    uint64_t done = 0;
    while (done < round->item_count && !stress_failed()) {
        uint64_t count = 1 + base_random_next(random) % BURST_MAX;
        if (count > round->item_count - done)
            count = round->item_count - done;
        push_burst(round, producer, index, done, count);
        done += count;
        for (unsigned looks = 1; load_acquire(&producer->taken_count) < done; looks++) {
            if (stress_failed())
                return;
            if (looks % 256 == 0)
                stress_yield();
        }
        pause_a_little(random);
    }
}

static void take_all(struct round *round, uint64_t *taken)
{
    struct item *item;
    while ((item = queue_mpmc_pop(&round->queue)) != NULL) {
        struct producer *producer = &round->producers[item->producer];
        uint64_t number = load_relaxed(&producer->taken_count);
        STRESS_CHECK(item->number == number, "item %" PRIu64 " instead of %" PRIu64, item->number,
                     number);
        (*taken)++;
        store_release(&producer->taken_count, number + 1);
    }
}

/* The wait in the ring: for `bell` to differ from `before`. */
static void wait_for_bell(struct round *round, uint32_t before, struct base_random *random)
{
    struct timespec timeout = {.tv_sec = LOST_AFTER_SECONDS};
    uint64_t glances = base_random_next(random) % GLANCES_MAX;
    for (uint64_t i = 0; i < glances; i++)
        if (load_relaxed(&round->bell) != before)
            return;
    round->blocked++;
    while (load_relaxed(&round->bell) == before && !stress_failed()) {
        long result =
            syscall(SYS_futex, &round->bell, FUTEX_WAIT_PRIVATE, before, &timeout, NULL, 0);
        bool timed_out = result < 0 && errno == ETIMEDOUT;
        STRESS_CHECK(!timed_out || queue_mpmc_depth(&round->queue) == 0,
                     "a wake-up got lost: asleep, with %u items in the queue",
                     queue_mpmc_depth(&round->queue));
    }
}

/* rest() of worker.c. */
static void rest(struct round *round, struct base_random *random)
{
    uint32_t before = load_relaxed(&round->bell); /* the ring keeps a bell that came earlier */
    round->announced++;
    queue_doorbell_fall_asleep(&round->doorbell);
    if (queue_mpmc_depth(&round->queue) > 0) {
        queue_doorbell_wake_up(&round->doorbell);
        return;
    }
    round->slept++;
    wait_for_bell(round, before, random);
    queue_doorbell_wake_up(&round->doorbell);
}

static void work(struct round *round, struct base_random *random)
{
    uint64_t taken = 0, total = round->item_count * round->producer_count;
    for (;;) {
        take_all(round, &taken);
        if (taken == total || stress_failed())
            return;
        pause_a_little(random);
        rest(round, random);
    }
}

static void body(void *context, unsigned index, struct base_random *random)
{
    struct round *round = context;
    if (index == 0)
        work(round, random);
    else
        produce(round, index - 1, random);
}

static void play(unsigned producers, uint64_t items)
{
    static struct round round;
    round = (struct round){.producer_count = producers, .item_count = items / producers};
    queue_mpmc_init(&round.queue, round.slots, SLOT_COUNT);
    stress_run(1 + producers, body, &round);
    uint64_t rings = 0;
    for (unsigned i = 0; i < producers; i++)
        rings += round.producers[i].rings;
    STRESS_CHECK(rings <= round.announced, "%" PRIu64 " rings for %" PRIu64 " sleeps", rings,
                 round.announced);
    STRESS_CHECK(rings >= round.slept || stress_failed(),
                 "%" PRIu64 " rings ended %" PRIu64 " sleeps", rings, round.slept);
    printf("%u producers, %" PRIu64 " items: announced %" PRIu64 " times, slept %" PRIu64
           ", blocked %" PRIu64 ", rung %" PRIu64 "\n",
           producers, round.item_count * producers, round.announced, round.slept, round.blocked,
           rings);
}

int main(void)
{
    stress_begin("stress_doorbell");
    play(1, stress_count(2000000)); /* nobody else's push can wake the worker */
    play(2, stress_count(500000));
    play(4, stress_count(100000));
    return stress_end();
}
