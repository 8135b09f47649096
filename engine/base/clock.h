/* Clocks and the one textual form of a time that Sluice prints. Any thread; nothing is owned. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

#define NANOSECONDS_PER_SECOND      UINT64_C(1000000000)
#define NANOSECONDS_PER_MILLISECOND UINT64_C(1000000)

/* Wall clock, UTC, nanoseconds since 1970-01-01T00:00:00Z. */
uint64_t base_clock_realtime_ns(void);

/* Never goes back; for deadlines and durations only. Nanoseconds since an unspecified start. */
uint64_t base_clock_monotonic_ns(void);

/* "2026-11-23T16:41:00.123456789Z" and its NUL. */
#define BASE_CLOCK_TEXT_BYTES 31

/* Writes `ns` (since 1970, UTC) as RFC 3339 with nine fractional digits; no allocation. */
void base_clock_format(uint64_t ns, char text_out[BASE_CLOCK_TEXT_BYTES]);

/* Days since 1970-01-01 of a proleptic Gregorian date (month 1..12, day 1..31).
 * Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil. */
int64_t base_clock_days_from_civil(int64_t year, unsigned month, unsigned day);

#endif
