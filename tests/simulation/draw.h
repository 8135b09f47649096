/* Decisions drawn from the seed. Everything that a simulation decides goes through here, so one
 * seed is one run. Owner: the simulation; one thread.
 */
#ifndef SLUICE_TESTS_SIMULATION_DRAW_H
#define SLUICE_TESTS_SIMULATION_DRAW_H

#include "base/random.h"

#include <stdbool.h>
#include <stdint.h>

/* 0 to count - 1; the bias of the remainder does not matter here. */
static inline uint64_t draw_below(struct base_random *random, uint64_t count)
{
    return base_random_next(random) % count;
}

/* low to high, both included. */
static inline uint64_t draw_between(struct base_random *random, uint64_t low, uint64_t high)
{
    return low + draw_below(random, high - low + 1);
}

/* True once in `count` times; never for 0. */
static inline bool draw_once_in(struct base_random *random, uint64_t count)
{
    return count != 0 && draw_below(random, count) == 0;
}

/* 1 to `high`, small numbers as likely as large ones: the number of bits is drawn first. */
static inline uint64_t draw_scaled(struct base_random *random, uint64_t high)
{
    uint64_t bound = UINT64_C(1) << draw_below(random, 64 - (unsigned)__builtin_clzll(high));
    uint64_t value = draw_between(random, bound, 2 * bound - 1);
    return value < high ? value : high;
}

#endif
