/* When requests are meant to be sent.
 *
 * An open loop sends by the clock, whether or not answers come, and counts latency from the
 * intended time: a server that stalls is charged for everybody who had to wait (no coordinated
 * omission).
 *
 *   constant  equal distances
 *   poisson   independent patients at a constant rate: exponential distances
 *   burst     a reminder goes out at time 0 and each of N patients answers once: 27 % within 2
 *             minutes, half within 7, 95 % within 47 (a published phone diary study), the rest
 * within two hours; log-linear between these points. Divided by `compression`.
 *
 * Owner: one load thread. Times are nanoseconds since the start of the load.
 */
#ifndef SLUICE_BENCH_LOAD_SCHEDULE_H
#define SLUICE_BENCH_LOAD_SCHEDULE_H

#include "base/random.h"

#include <stdint.h>

enum load_arrivals { LOAD_CLOSED, LOAD_CONSTANT, LOAD_POISSON, LOAD_BURST };

struct load_schedule {
    enum load_arrivals arrivals;
    struct base_random random;
    double interval_ns; /* mean distance */
    double compression; /* of the burst */
    uint64_t count;     /* of requests; UINT64_MAX: until `end_ns` */
    uint64_t end_ns;
    uint64_t done;
    double at_ns;  /* of the last one */
    double passed; /* share of the patients whose time has come, 0 to 1 */
};

/* `rate` per second and `end_ns` for constant and poisson; `count` and `compression` for the burst.
 */
void load_schedule_init(struct load_schedule *schedule, enum load_arrivals arrivals, double rate,
                        uint64_t end_ns, uint64_t count, double compression, uint64_t seed);

/* When the next request is due; UINT64_MAX when there is none any more. */
uint64_t load_schedule_next(struct load_schedule *schedule);

/* The burst's curve: seconds after the reminder by which the share `share` (0 to 1) has answered.
 */
double load_schedule_burst_seconds(double share);

#endif
