#include "base/histogram.h"

#include "base/check.h"

#include <string.h>

#define LINEAR    (UINT64_C(1) << BASE_HISTOGRAM_LINEAR_BITS)
#define VALUE_MAX ((UINT64_C(1) << BASE_HISTOGRAM_VALUE_BITS) - 1)

void base_histogram_init(struct base_histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

/* Values below 128 have a bucket each. From 128 on a value is shifted right until 7 bits stand
 * behind its leading one; the shift tells the power of two, the 7 bits the bucket in it. */
unsigned base_histogram_bucket(uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    if (value < LINEAR)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - BASE_HISTOGRAM_LINEAR_BITS;
    return (unsigned)((shift << BASE_HISTOGRAM_LINEAR_BITS) + (value >> shift));
}

uint64_t base_histogram_bucket_last(unsigned bucket)
{
    CHECK(bucket < BASE_HISTOGRAM_BUCKETS);
    if (bucket < LINEAR)
        return bucket;
    unsigned shift = (bucket >> BASE_HISTOGRAM_LINEAR_BITS) - 1;
    uint64_t leading = LINEAR + (bucket & (LINEAR - 1));
    return ((leading + 1) << shift) - 1;
}

void base_histogram_add(struct base_histogram *histogram, uint64_t value)
{
    histogram->buckets[base_histogram_bucket(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->maximum)
        histogram->maximum = value;
}

void base_histogram_merge(struct base_histogram *into, const struct base_histogram *from)
{
    for (unsigned i = 0; i < BASE_HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->maximum > into->maximum)
        into->maximum = from->maximum;
}

uint64_t base_histogram_quantile(const struct base_histogram *histogram, double quantile)
{
    double wanted = quantile * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < BASE_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (histogram->buckets[i] == 0 || (double)seen < wanted)
            continue;
        uint64_t last = base_histogram_bucket_last(i);
        return last < histogram->maximum ? last : histogram->maximum;
    }
    return histogram->maximum;
}
