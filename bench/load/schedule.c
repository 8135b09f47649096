#include "load/schedule.h"

#include <math.h>
#include <stddef.h>

static const struct {
    double share, seconds;
} curve[] = {{0, 0}, {0.27, 120}, {0.5, 420}, {0.95, 2820}, {1, 7200}};

#define CURVE_COUNT (sizeof(curve) / sizeof(curve[0]))

double load_schedule_burst_seconds(double share)
{
    for (size_t i = 1; i < CURVE_COUNT; i++) {
        if (share > curve[i].share)
            continue;
        double part = (share - curve[i - 1].share) / (curve[i].share - curve[i - 1].share);
        if (i == 1) /* there is no logarithm of 0: evenly, from the reminder on */
            return part * curve[1].seconds;
        return exp(log(curve[i - 1].seconds) +
                   part * (log(curve[i].seconds) - log(curve[i - 1].seconds)));
    }
    return curve[CURVE_COUNT - 1].seconds;
}

void load_schedule_init(struct load_schedule *schedule, enum load_arrivals arrivals, double rate,
                        uint64_t end_ns, uint64_t count, double compression, uint64_t seed)
{
    *schedule = (struct load_schedule){
        .arrivals = arrivals,
        .interval_ns = rate > 0 ? 1e9 / rate : 0,
        .compression = compression,
        .count = count,
        .end_ns = end_ns,
    };
    base_random_seed(&schedule->random, seed);
}

/* Uniform in (0, 1]: 53 random bits. */
static double uniform(struct base_random *random)
{
    return ((double)(base_random_next(random) >> 11) + 1) / 9007199254740992.0;
}

/* The patients' shares, drawn in ascending order without keeping them: of n that are left, the
 * smallest of n uniform draws from what is left of [0, 1]. */
static double next_of_burst(struct load_schedule *schedule)
{
    double left = (double)(schedule->count - schedule->done);
    schedule->passed = 1 - (1 - schedule->passed) * pow(uniform(&schedule->random), 1 / left);
    return load_schedule_burst_seconds(schedule->passed) * 1e9 / schedule->compression;
}

uint64_t load_schedule_next(struct load_schedule *schedule)
{
    if (schedule->done == schedule->count)
        return UINT64_MAX;
    switch (schedule->arrivals) {
    case LOAD_CONSTANT:
        schedule->at_ns += schedule->interval_ns;
        break;
    case LOAD_POISSON:
        schedule->at_ns -= schedule->interval_ns * log(uniform(&schedule->random));
        break;
    case LOAD_BURST:
        schedule->at_ns = next_of_burst(schedule);
        break;
    case LOAD_CLOSED:
        return 0;
    }
    if (schedule->at_ns >= (double)schedule->end_ns)
        return UINT64_MAX;
    schedule->done++;
    return (uint64_t)schedule->at_ns;
}
