/* JSON numbers of any size against limits, exactly. */
#include "record/decimal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct record_decimal decimal;

static bool parse(const char *text)
{
    return record_decimal_parse(text, strlen(text), &decimal);
}

static void expect_compare(const char *text, int64_t limit_millionths, int expected)
{
    cr_assert(parse(text), "%s", text);
    int found = record_decimal_compare(&decimal, limit_millionths);
    cr_assert_eq((found > 0) - (found < 0), expected, "%s against %lld", text,
                 (long long)limit_millionths);
}

Test(decimal, what_is_not_a_json_number_is_refused)
{
    static const char *const cases[] = {
        "",      "-",   "+1",  ".5",    "1.",  "1.e3", "01",   "00",  "-01",
        "1e",    "1e+", "1e-", "e3",    "1 ",  " 1",   "0x10", "1x",  "1.2.3",
        "1e3.5", "NaN", "1,5", "1e3e3", "--1", "1-",   "٣",    "1\n", "infinity",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_not(parse(cases[i]), "%s was taken", cases[i]);
}

Test(decimal, one_value_written_in_many_ways)
{
    static const char *const three[] = {"3",
                                        "3.0",
                                        "3.000000000000",
                                        "30e-1",
                                        "0.3e1",
                                        "0.03E+2",
                                        "3e0",
                                        "3000000e-6",
                                        "300000000000000000000e-20",
                                        "0.00000000000003e14"};
    for (size_t i = 0; i < sizeof(three) / sizeof(three[0]); i++) {
        expect_compare(three[i], 3000000, 0);
        expect_compare(three[i], 3000001, -1);
        expect_compare(three[i], 2999999, 1);
        cr_assert(record_decimal_is_whole(&decimal), "%s", three[i]);
    }
    static const char *const zero[] = {
        "0", "-0", "0.0", "0e99999999999999999999", "-0.000e-5", "0E-99999999999999999999"};
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++) {
        expect_compare(zero[i], 0, 0);
        cr_assert(record_decimal_is_whole(&decimal), "%s", zero[i]);
    }
}

Test(decimal, the_least_bit_beyond_a_limit_counts)
{
    expect_compare("10.0000000000000000000000000001", 10000000, 1);
    expect_compare("9.9999999999999999999999999999", 10000000, -1);
    expect_compare("-10.0000000000000000000000000001", -10000000, -1);
    expect_compare("-9.9999999999999999999999999999", -10000000, 1);
    expect_compare("10.00000010000000000000000000", 10000000, 1);
    expect_compare("1e-300", 0, 1);
    expect_compare("-1e-300", 0, -1);
    expect_compare("0.1234565", 123456, 1);
    expect_compare("0.123456", 123456, 0);
    expect_compare("1e-6", 1, 0);
    expect_compare("1e-7", 1, -1);
}

Test(decimal, fractions_are_not_whole)
{
    static const char *const cases[] = {"0.5", "-0.000001", "1e-7", "3.0000000000000000001",
                                        "25e-1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert(parse(cases[i]));
        cr_assert_not(record_decimal_is_whole(&decimal), "%s", cases[i]);
    }
}

/* Around the most that is held, 9e12, and far beyond it. */
Test(decimal, numbers_of_any_size_stay_on_their_side)
{
    const int64_t limit = INT64_C(1000000000) * RECORD_DECIMAL_UNIT;
    static const char *const large[] = {
        "1000000001",
        "8999999999999.999999",
        "9000000000000",
        "9000000000000.000001",
        "9223372036854.775807",
        "9223372036854.775808",
        "90000000000000",
        "99999999999999999999",
        "1e13",
        "1e19",
        "1E400",
        "1e999999999999999999999999",
        "18446744073709551617",
        "0.000001e999999",
        "123456789012345678901234567890.5e-3",
    };
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        char negative[64];
        snprintf(negative, sizeof(negative), "-%s", large[i]);
        expect_compare(large[i], limit, 1);
        expect_compare(negative, -limit, -1);
    }
    expect_compare("1000000000", limit, 0);
    expect_compare("999999999.999999", limit, -1);
    expect_compare("12345678901234567890123456789e-25", 1234567890, 1);
}

/* Every way to cut a value into digits and exponent gives what arithmetic gives. */
Test(decimal, agrees_with_integers_of_all_lengths)
{
    char text[64];
    for (int64_t value = 0; value < 4000000; value += value < 2000 ? 1 : 997)
        for (int exponent = -6; exponent <= 3; exponent++) {
            int64_t expected = value;
            for (int i = -6; i < exponent; i++)
                expected *= 10;
            snprintf(text, sizeof(text), "%llde%d", (long long)value, exponent);
            expect_compare(text, expected, 0);
            cr_assert_eq(record_decimal_is_whole(&decimal), expected % 1000000 == 0, "%s", text);
        }
}
