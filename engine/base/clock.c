#include "base/clock.h"

#include "base/check.h"

#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t base_clock_realtime_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t base_clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t base_clock_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

/* The inverse (civil_from_days of the same source), for days at or after 1970. */
static void civil_from_days(uint64_t days, unsigned *year_out, unsigned *month_out,
                            unsigned *day_out)
{
    days += 719468;
    uint64_t era = days / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted_month = (5 * day_of_year + 2) / 153;
    *day_out = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    *month_out = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    *year_out = year_of_era + (unsigned)era * 400 + (*month_out <= 2);
}

static char *put_digits(char *at, uint64_t value, unsigned digits, char after)
{
    for (unsigned i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    at[digits] = after;
    return at + digits + 1;
}

void base_clock_format(uint64_t ns, char text_out[BASE_CLOCK_TEXT_BYTES])
{
    unsigned year, month, day;
    uint64_t seconds = ns / NANOSECONDS_PER_SECOND;
    civil_from_days(seconds / 86400, &year, &month, &day);
    char *at = put_digits(text_out, year, 4, '-');
    at = put_digits(at, month, 2, '-');
    at = put_digits(at, day, 2, 'T');
    at = put_digits(at, seconds / 3600 % 24, 2, ':');
    at = put_digits(at, seconds / 60 % 60, 2, ':');
    at = put_digits(at, seconds % 60, 2, '.');
    at = put_digits(at, ns % NANOSECONDS_PER_SECOND, 9, 'Z');
    *at = '\0';
}
