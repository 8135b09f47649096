/* Rounds, clocks, medians and their presentation: what every benchmark here shares.
 *
 * Owner: main's thread. A benchmark never passes or fails by a duration; it fails only when a sum
 * shows that the work was not done. Durations are in nanoseconds.
 */
#ifndef SLUICE_BENCH_MEASURE_H
#define SLUICE_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEASURE_ROUNDS_MAX 99

struct measure {
    const char *benchmark;
    bool tiny;       /* a few operations only, for the test suite */
    bool json;       /* one JSON document instead of a table */
    unsigned rounds; /* at least 5, 2 when tiny */
    unsigned count;  /* operations per round where the benchmark lets one choose; 0: its default */
    unsigned core;   /* CPU that the measuring thread is pinned to */
    unsigned other_core; /* another one, or the same where there is no other */
    bool failed;         /* some work was not done: exit code 1 */
    unsigned results;    /* printed so far */
    char stage[64];      /* of the last row of the table */
};

/* `count` operations. Returns the sum of what each of them produced. */
typedef uint64_t measure_body(void *context, uint64_t count);

/* One of the things that are measured in turn. */
struct measure_side {
    const char *name;
    uint64_t bytes; /* of input to one operation, for the table */
    measure_body *body;
    void *context;
    uint64_t product; /* what one operation adds to the sum */
    bool wall_clock;  /* several threads: elapsed time, else the CPU time of this thread */
    uint64_t count;   /* operations per round; set by the first run */
    double samples_ns[MEASURE_ROUNDS_MAX]; /* per operation, one per round */
};

enum measure_relation {
    MEASURE_SEPARATE, /* the sides only take turns */
    MEASURE_RATIO,    /* each is also given as a ratio to the first */
};

/* Reads --tiny, --json, --rounds N, --count N and --core N, and pins the thread. Returns the index
 * of the first argument behind the options, or -1 after a message. */
int measure_begin(struct measure *measure, const char *benchmark, int argc, char **argv);

/* Runs the sides in turn, another one first in each round, and prints a line for each. */
void measure_sides(struct measure *measure, const char *stage, enum measure_relation relation,
                   struct measure_side *sides, unsigned side_count);

/* Says so on stderr and makes the exit code 1. */
void measure_failed(struct measure *measure, const char *stage, const char *what);

/* For JSON: opens the next result object with its stage and name; the caller prints the rest. */
void measure_result_open(struct measure *measure, const char *stage, const char *name);

/* Closes the output; the exit code. */
int measure_end(struct measure *measure);

/* Sorts `values` and returns the value below which `share` of them lie (nearest rank). */
double measure_quantile(double *values, size_t count, double share);

uint64_t measure_now_ns(bool wall_clock);

#endif
