/* base_clock_format against gmtime_r, base_clock_days_from_civil against timegm. */
#include "base/clock.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECONDS_PER_DAY 86400

static void assert_format(uint64_t ns)
{
    char text[BASE_CLOCK_TEXT_BYTES], expected[64];
    time_t seconds = (time_t)(ns / NANOSECONDS_PER_SECOND);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t bytes = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(expected + bytes, sizeof(expected) - bytes, ".%09" PRIu64 "Z",
             ns % NANOSECONDS_PER_SECOND);
    memset(text, 'x', sizeof(text));
    base_clock_format(ns, text);
    cr_assert_str_eq(text, expected, "of %" PRIu64, ns);
    cr_assert_eq(strlen(text), BASE_CLOCK_TEXT_BYTES - 1);
}

Test(clock, formats_known_times)
{
    char text[BASE_CLOCK_TEXT_BYTES];
    base_clock_format(0, text);
    cr_assert_str_eq(text, "1970-01-01T00:00:00.000000000Z");
    base_clock_format(UINT64_C(1795452060123456789), text);
    cr_assert_str_eq(text, "2026-11-23T16:41:00.123456789Z");
    base_clock_format(UINT64_MAX, text);
    cr_assert_str_eq(text, "2554-07-21T23:34:33.709551615Z");
}

Test(clock, formats_the_first_and_last_nanosecond_of_every_day)
{
    uint64_t day_ns = SECONDS_PER_DAY * NANOSECONDS_PER_SECOND;
    for (uint64_t ns = day_ns; ns < UINT64_MAX - day_ns; ns += day_ns) {
        assert_format(ns - 1);
        assert_format(ns);
    }
}

Test(clock, formats_random_times)
{
    struct base_random random;
    base_random_init(&random);
    for (int i = 0; i < 200000; i++)
        assert_format(base_random_next(&random));
}

static void assert_days(int year, unsigned month, unsigned day)
{
    struct tm utc = {.tm_year = year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day};
    int64_t seconds = timegm(&utc);
    cr_assert_eq(base_clock_days_from_civil(year, month, day) * SECONDS_PER_DAY, seconds,
                 "of %d-%u-%u", year, month, day);
}

/* Day 31 of every month too: what does not exist runs on into the next month in both. */
Test(clock, counts_days_of_every_date)
{
    for (int year = 1200; year <= 2801; year++)
        for (unsigned month = 1; month <= 12; month++)
            for (unsigned day = 1; day <= 31; day++)
                assert_days(year, month, day);
}

Test(clock, counts_days_around_leap_days)
{
    static const int leap[] = {1600, 1904, 1972, 2000, 2024, 2400};
    static const int common[] = {1700, 1800, 1900, 1970, 2023, 2100, 2200, 2300};
    for (size_t i = 0; i < sizeof(leap) / sizeof(leap[0]); i++)
        cr_assert_eq(base_clock_days_from_civil(leap[i], 3, 1) -
                         base_clock_days_from_civil(leap[i], 2, 28),
                     2, "%d", leap[i]);
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
        cr_assert_eq(base_clock_days_from_civil(common[i], 3, 1) -
                         base_clock_days_from_civil(common[i], 2, 28),
                     1, "%d", common[i]);
}

Test(clock, counts_days_before_the_year_0)
{
    cr_assert_eq(base_clock_days_from_civil(0, 3, 1), -719468);
    cr_assert_eq(base_clock_days_from_civil(-400, 3, 1), -719468 - 146097);
    cr_assert_eq(base_clock_days_from_civil(-1, 12, 31) + 1, base_clock_days_from_civil(0, 1, 1));
}

Test(clock, tells_the_time_of_the_system)
{
    uint64_t before = (uint64_t)time(NULL);
    uint64_t now = base_clock_realtime_ns();
    uint64_t after = (uint64_t)time(NULL);
    /* time(2) may lag behind by a tick */
    cr_assert_geq(now / NANOSECONDS_PER_SECOND, before);
    cr_assert_leq(now / NANOSECONDS_PER_SECOND, after + 1);
}

Test(clock, never_goes_back)
{
    uint64_t last = base_clock_monotonic_ns();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = base_clock_monotonic_ns();
        cr_assert_geq(now, last);
        last = now;
    }
}
