/* A histogram against sorted values: every quantile to 0.8 %, never above the largest value. */
#include "base/histogram.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define VALUES     20000
#define SEED       20261123
#define VALUE_LAST ((UINT64_C(1) << BASE_HISTOGRAM_VALUE_BITS) - 1)

static struct base_histogram histogram, other;

static void start(void)
{
    base_histogram_init(&histogram);
    base_histogram_init(&other);
}

TestSuite(histogram, .init = start);

Test(histogram, buckets_are_contiguous_and_hold_their_last_value)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < BASE_HISTOGRAM_BUCKETS; i++) {
        cr_assert_eq(base_histogram_bucket(i == 0 ? 0 : last + 1), i, "bucket %u", i);
        last = base_histogram_bucket_last(i);
        cr_assert_eq(base_histogram_bucket(last), i, "bucket %u", i);
    }
    cr_assert_eq(last, VALUE_LAST);
}

Test(histogram, a_bucket_is_at_most_a_128th_wide)
{
    for (unsigned i = 1; i < BASE_HISTOGRAM_BUCKETS; i++) {
        uint64_t first = base_histogram_bucket_last(i - 1) + 1;
        uint64_t last = base_histogram_bucket_last(i);
        cr_assert_leq((last - first) * 128, first, "bucket %u", i);
    }
}

Test(histogram, values_beyond_the_largest_count_as_the_largest)
{
    cr_assert_eq(base_histogram_bucket(VALUE_LAST + 1), BASE_HISTOGRAM_BUCKETS - 1);
    cr_assert_eq(base_histogram_bucket(UINT64_MAX), BASE_HISTOGRAM_BUCKETS - 1);
}

Test(histogram, without_values_every_quantile_is_0)
{
    cr_assert_eq(base_histogram_quantile(&histogram, 0.5), 0);
    cr_assert_eq(base_histogram_quantile(&histogram, 1), 0);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* Durations of all magnitudes, from nanoseconds to an hour. */
static uint64_t draw(struct base_random *random)
{
    return base_random_next(random) >> (22 + base_random_next(random) % 40);
}

static void check_against_sorted(uint64_t *values, size_t count)
{
    static const double shares[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    qsort(values, count, sizeof(*values), compare);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        size_t rank = (size_t)(shares[i] * (double)count + 0.999999);
        uint64_t exact = values[rank - 1];
        uint64_t told = base_histogram_quantile(&histogram, shares[i]);
        cr_assert_geq(told, exact, "share %f", shares[i]);
        cr_assert_leq(told - exact, exact / 128, "share %f", shares[i]);
    }
    cr_assert_eq(base_histogram_quantile(&histogram, 1), values[count - 1]);
}

Test(histogram, quantiles_are_those_of_the_sorted_values)
{
    static uint64_t values[VALUES];
    struct base_random random;
    base_random_seed(&random, SEED);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = draw(&random);
        base_histogram_add(&histogram, values[i]);
    }
    cr_assert_eq(histogram.count, VALUES);
    check_against_sorted(values, VALUES);
}

Test(histogram, merged_ones_are_as_if_one_had_counted_all)
{
    static uint64_t values[VALUES];
    struct base_random random;
    uint64_t sum = 0;
    base_random_seed(&random, SEED + 1);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = draw(&random);
        sum += values[i];
        base_histogram_add(i % 3 == 0 ? &histogram : &other, values[i]);
    }
    base_histogram_merge(&histogram, &other);
    cr_assert_eq(histogram.count, VALUES);
    cr_assert_eq(histogram.sum, sum);
    check_against_sorted(values, VALUES);
}
