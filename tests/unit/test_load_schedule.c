/* The intended send times of `sluice bench`: their number, order and distribution. Seeds are fixed,
 * so that a bound either holds always or never. */
#include "load/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

#define SECOND UINT64_C(1000000000)
#define SEED   20261123

static struct load_schedule schedule;

/* Runs the schedule to its end; times must not go back. */
static uint64_t run(uint64_t *last_out)
{
    uint64_t count = 0, last = 0, at;
    while ((at = load_schedule_next(&schedule)) != UINT64_MAX) {
        cr_assert_geq(at, last);
        last = at;
        count++;
    }
    cr_assert_eq(load_schedule_next(&schedule), UINT64_MAX, "the end is an end");
    if (last_out != NULL)
        *last_out = last;
    return count;
}

Test(load_schedule, constant_arrivals_keep_their_distance_until_the_end)
{
    load_schedule_init(&schedule, LOAD_CONSTANT, 1000, 2 * SECOND, UINT64_MAX, 1, SEED);
    cr_assert_eq(load_schedule_next(&schedule), SECOND / 1000);
    cr_assert_eq(load_schedule_next(&schedule), 2 * SECOND / 1000);
    uint64_t last;
    cr_assert_eq(run(&last), 1997);
    cr_assert_eq(last, 2 * SECOND - SECOND / 1000);
}

Test(load_schedule, poisson_arrivals_have_the_rate_and_its_spread)
{
    enum { COUNT = 100000 };
    double sum = 0, squares = 0;
    uint64_t before = 0;
    load_schedule_init(&schedule, LOAD_POISSON, 1000, UINT64_MAX, COUNT, 1, SEED);
    for (int i = 0; i < COUNT; i++) {
        uint64_t at = load_schedule_next(&schedule);
        double distance = (double)(at - before) / (double)SECOND * 1000;
        sum += distance;
        squares += distance * distance;
        before = at;
    }
    double mean = sum / COUNT, deviation = sqrt(squares / COUNT - mean * mean);
    cr_assert_float_eq(mean, 1, 0.02);
    cr_assert_float_eq(deviation, 1, 0.02, "exponential: as wide as its mean");
    cr_assert_eq(load_schedule_next(&schedule), UINT64_MAX);
}

Test(load_schedule, the_burst_curve_goes_through_its_points)
{
    cr_assert_float_eq(load_schedule_burst_seconds(0), 0, 1e-9);
    cr_assert_float_eq(load_schedule_burst_seconds(0.27), 120, 1e-6);
    cr_assert_float_eq(load_schedule_burst_seconds(0.5), 420, 1e-6);
    cr_assert_float_eq(load_schedule_burst_seconds(0.95), 2820, 1e-6);
    cr_assert_float_eq(load_schedule_burst_seconds(1), 7200, 1e-6);
}

static double share_within(double seconds, uint64_t patients)
{
    uint64_t within = 0, at;
    load_schedule_init(&schedule, LOAD_BURST, 0, UINT64_MAX, patients, 60, SEED);
    while ((at = load_schedule_next(&schedule)) != UINT64_MAX)
        within += (double)at / (double)SECOND * 60 <= seconds;
    return (double)within / (double)patients;
}

Test(load_schedule, each_patient_of_a_burst_answers_once_and_by_the_curve)
{
    load_schedule_init(&schedule, LOAD_BURST, 0, UINT64_MAX, 20000, 60, SEED);
    uint64_t last;
    cr_assert_eq(run(&last), 20000);
    cr_assert_leq(last, 7200 / 60 * SECOND);
    cr_assert_float_eq(share_within(120, 20000), 0.27, 0.01);
    cr_assert_float_eq(share_within(420, 20000), 0.5, 0.01);
    cr_assert_float_eq(share_within(2820, 20000), 0.95, 0.01);
}

Test(load_schedule, a_seed_gives_the_same_times_again)
{
    struct load_schedule again;
    load_schedule_init(&schedule, LOAD_POISSON, 10, UINT64_MAX, 100, 1, SEED);
    load_schedule_init(&again, LOAD_POISSON, 10, UINT64_MAX, 100, 1, SEED);
    for (int i = 0; i < 101; i++)
        cr_assert_eq(load_schedule_next(&schedule), load_schedule_next(&again));
    load_schedule_init(&again, LOAD_POISSON, 10, UINT64_MAX, 100, 1, SEED + 1);
    load_schedule_init(&schedule, LOAD_POISSON, 10, UINT64_MAX, 100, 1, SEED);
    cr_assert_neq(load_schedule_next(&schedule), load_schedule_next(&again));
}
