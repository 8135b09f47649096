/* How often which duration occurred: a log-linear histogram of fixed size.
 *
 * Each power of two is divided into 128 equal buckets, so that a value is known to 0.8 %, from 1 ns
 * to 73 minutes; larger ones count as the largest. Adding is a shift and an increment. The idea is
 * Gil Tene's HdrHistogram.
 *
 * Owner: whoever embeds it; one thread adds. Merging and quantiles when that thread has stopped. No
 * allocation, no failure. The unit is the caller's; the project uses nanoseconds.
 */
#ifndef SLUICE_BASE_HISTOGRAM_H
#define SLUICE_BASE_HISTOGRAM_H

#include <stdint.h>

#define BASE_HISTOGRAM_LINEAR_BITS 7 /* buckets per power of two: 128 */
#define BASE_HISTOGRAM_VALUE_BITS  42
#define BASE_HISTOGRAM_BUCKETS                                                                     \
    ((BASE_HISTOGRAM_VALUE_BITS - BASE_HISTOGRAM_LINEAR_BITS + 1) << BASE_HISTOGRAM_LINEAR_BITS)

struct base_histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t maximum;
    uint64_t buckets[BASE_HISTOGRAM_BUCKETS];
};

void base_histogram_init(struct base_histogram *histogram);
void base_histogram_add(struct base_histogram *histogram, uint64_t value);
void base_histogram_merge(struct base_histogram *into, const struct base_histogram *from);

/* The smallest value that at least the share `quantile` (0 to 1) of all values does not exceed, to
 * 0.8 % upwards and never above the maximum; 0 without values. */
uint64_t base_histogram_quantile(const struct base_histogram *histogram, double quantile);

/* The bucket of a value, and the largest value of a bucket; for those that draw or export. */
unsigned base_histogram_bucket(uint64_t value);
uint64_t base_histogram_bucket_last(unsigned bucket);

#endif
