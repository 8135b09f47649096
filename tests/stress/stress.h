/* The one template of all stress tests: plain executables, so that they run under ThreadSanitizer.
 *
 *   int main(void)
 *   {
 *       stress_begin("queue");
 *       stress_run(count, body, &context);   // as often as needed
 *       return stress_end();                 // the exit code
 *   }
 *
 * A run starts `count` threads, pins them round-robin to the cores that the process may run on,
 * lets them go at a barrier and joins them. Every thread gets a random generator of its own,
 * derived from the seed, which is printed: SLUICE_SEED=N repeats it (the schedule does not repeat).
 * Work is bounded by counts of operations, never by time; SLUICE_STRESS_SCALE=X multiplies them.
 * The defaults take about five seconds per test, and less than a minute under ThreadSanitizer.
 *
 * Owner: main's thread; only STRESS_CHECK, stress_failed and stress_yield are for every thread.
 */
#ifndef SLUICE_TESTS_STRESS_H
#define SLUICE_TESTS_STRESS_H

#include "base/atomic.h"
#include "base/check.h"
#include "base/random.h"
#include "topology.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define STRESS_THREAD_SANITIZED 1
#else
#define STRESS_THREAD_SANITIZED 0
#endif

#define STRESS_THREADS_MAX        64
#define STRESS_FAILURES_PRINTED   10
#define STRESS_SANITIZER_SLOWDOWN 5 /* operations are fewer by this under ThreadSanitizer */

typedef void stress_body(void *context, unsigned index, struct base_random *random);

static struct {
    uint64_t seed;
    double scale;
    uint64_t run_count; /* so that every run of a test has other random numbers */
    struct topology topology;
    _Atomic uint32_t failures;
} stress;

struct stress_thread {
    pthread_t thread;
    pthread_barrier_t *barrier;
    stress_body *body;
    void *context;
    unsigned index;
    struct base_random random;
};

static void stress_begin(const char *name)
{
    struct base_error error;
    struct base_random random;
    const char *seed = getenv("SLUICE_SEED");
    const char *scale = getenv("SLUICE_STRESS_SCALE");
    base_random_init(&random);
    stress.seed = seed != NULL ? strtoull(seed, NULL, 0) : base_random_next(&random);
    stress.scale = scale != NULL ? strtod(scale, NULL) : 1.0;
    CHECK(stress.scale > 0);
    CHECK(topology_discover(&stress.topology, NULL, &error) == 0);
    printf("%s: SLUICE_SEED=%" PRIu64 ", %u cores\n", name, stress.seed, stress.topology.count);
    fflush(stdout);
}

/* `plain` operations, scaled; at least one. */
static inline uint64_t stress_count(uint64_t plain)
{
    double count = (double)plain * stress.scale;
    if (STRESS_THREAD_SANITIZED)
        count /= STRESS_SANITIZER_SLOWDOWN;
    return count < 1 ? 1 : (uint64_t)count;
}

/* True as soon as any check failed: threads that wait for others then give up. */
static inline bool stress_failed(void)
{
    return load_relaxed(&stress.failures) > 0;
}

#define STRESS_CHECK(condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition) && add_relaxed(&stress.failures, 1) < STRESS_FAILURES_PRINTED) {          \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
        }                                                                                          \
    } while (0)

/* In loops that wait for another thread: with more threads than cores that one may not be running.
 */
static inline void stress_yield(void)
{
    sched_yield();
}

static void *stress_thread_main(void *argument)
{
    struct stress_thread *thread = argument;
    struct base_error error;
    unsigned core = stress.topology.cores[thread->index % stress.topology.count];
    CHECK(topology_pin(core, &error) == 0);
    pthread_barrier_wait(thread->barrier);
    thread->body(thread->context, thread->index, &thread->random);
    return NULL;
}

static void stress_run(unsigned thread_count, stress_body *body, void *context)
{
    static struct stress_thread threads[STRESS_THREADS_MAX];
    pthread_barrier_t barrier;
    CHECK(thread_count <= STRESS_THREADS_MAX);
    CHECK(pthread_barrier_init(&barrier, NULL, thread_count) == 0);
    for (unsigned i = 0; i < thread_count; i++) {
        struct stress_thread *thread = &threads[i];
        *thread = (struct stress_thread){
            .barrier = &barrier, .body = body, .context = context, .index = i};
        base_random_seed(&thread->random, stress.seed + stress.run_count * STRESS_THREADS_MAX + i);
        CHECK(pthread_create(&thread->thread, NULL, stress_thread_main, thread) == 0);
    }
    for (unsigned i = 0; i < thread_count; i++)
        CHECK(pthread_join(threads[i].thread, NULL) == 0);
    pthread_barrier_destroy(&barrier);
    stress.run_count++;
}

/* The exit code: 0, or 1 after a failed check. */
static int stress_end(void)
{
    uint32_t failures = load_relaxed(&stress.failures);
    if (failures > 0)
        fprintf(stderr, "%" PRIu32 " checks failed with SLUICE_SEED=%" PRIu64 "\n", failures,
                stress.seed);
    return failures > 0;
}

#endif
