/* xoshiro256** against the sequence that its authors' code gives, and UUIDv7 against RFC 9562. */
#include "base/random.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS UINT64_C(1795452060123)
#define NOW_NS (NOW_MS * NANOSECONDS_PER_MILLISECOND + 456789)

/* xoshiro256starstar.c of prng.di.unimi.it with s = {1, 2, 3, 4}. */
Test(random, gives_the_published_sequence)
{
    static const uint64_t expected[] = {
        11520,
        0,
        1509978240,
        UINT64_C(1215971899390074240),
        UINT64_C(1216172134540287360),
        UINT64_C(607988272756665600),
        UINT64_C(16172922978634559625),
        UINT64_C(8476171486693032832),
        UINT64_C(10595114339597558777),
        UINT64_C(2904607092377533576),
    };
    struct base_random random = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        cr_assert_eq(base_random_next(&random), expected[i], "number %zu", i);
}

/* splitmix64.c with x = 0. */
Test(random, expands_a_seed_with_splitmix64)
{
    struct base_random random;
    base_random_seed(&random, 0);
    cr_assert_eq(random.state[0], UINT64_C(0xE220A8397B1DCDAF));
    cr_assert_eq(random.state[1], UINT64_C(0x6E789E6AA1B965F4));
    cr_assert_eq(random.state[2], UINT64_C(0x06C45D188009454F));
    cr_assert_eq(random.state[3], UINT64_C(0xF88BB8A8724C81EC));
}

Test(random, repeats_with_the_same_seed_only)
{
    struct base_random a, b, c;
    base_random_seed(&a, 7);
    base_random_seed(&b, 7);
    base_random_seed(&c, 8);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = base_random_next(&a);
        cr_assert_eq(value, base_random_next(&b));
        cr_assert_neq(value, base_random_next(&c));
    }
}

Test(random, differs_after_each_init)
{
    struct base_random a, b;
    base_random_init(&a);
    base_random_init(&b);
    cr_assert_arr_neq(a.state, b.state, sizeof(a.state));
}

Test(random, fills_every_byte_and_none_beyond)
{
    for (size_t bytes = 0; bytes <= 40; bytes++) {
        uint8_t seen[40] = {0}, out[41];
        struct base_random random;
        base_random_seed(&random, bytes);
        for (int round = 0; round < 64; round++) {
            memset(out, 0, sizeof(out));
            base_random_fill(&random, out, bytes);
            cr_assert_eq(out[bytes], 0, "beyond %zu bytes", bytes);
            for (size_t i = 0; i < bytes; i++)
                seen[i] |= out[i];
        }
        for (size_t i = 0; i < bytes; i++)
            cr_assert_neq(seen[i], 0, "byte %zu of %zu", i, bytes);
    }
}

static bool is_lower_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static void assert_uuid7(const char text[BASE_UUID_TEXT_BYTES], uint64_t ms)
{
    char expected[32], time[14];
    for (size_t i = 0; i < BASE_UUID_TEXT_BYTES; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        cr_assert(dash ? text[i] == '-' : is_lower_hex(text[i]), "%.36s", text);
    }
    cr_assert_eq(text[14], '7', "version of %.36s", text);
    cr_assert_not_null(memchr("89ab", text[19], 4), "variant of %.36s", text);
    snprintf(expected, sizeof(expected), "%08" PRIx64 "-%04" PRIx64, ms >> 16, ms & 0xFFFF);
    snprintf(time, sizeof(time), "%.13s", text);
    cr_assert_str_eq(time, expected);
}

Test(random, uuid7_has_the_layout_of_rfc_9562)
{
    static const uint64_t times_ms[] = {
        0, 1, NOW_MS, UINT64_C(0x018FFFFFFFFF), UINT64_MAX / NANOSECONDS_PER_MILLISECOND,
    };
    struct base_random random;
    base_random_init(&random);
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(times_ms[0]); i++) {
        for (int repeat = 0; repeat < 1000; repeat++) {
            char text[BASE_UUID_TEXT_BYTES + 1] = "";
            base_random_uuid7(&random, times_ms[i] * NANOSECONDS_PER_MILLISECOND, text);
            assert_uuid7(text, times_ms[i]);
            cr_assert_eq(text[BASE_UUID_TEXT_BYTES], '\0', "wrote beyond 36 characters");
        }
    }
}

static void parse_uuid(const char *text, uint8_t bytes_out[16])
{
    for (int i = 0; i < 16; i++) {
        text += *text == '-';
        unsigned value;
        cr_assert_eq(sscanf(text, "%2x", &value), 1);
        bytes_out[i] = (uint8_t)value;
        text += 2;
    }
}

/* 74 bits vary; time, version and variant do not. */
Test(random, uuid7_varies_in_exactly_the_random_bits)
{
    static const uint8_t random_bits[16] = {
        0, 0, 0, 0, 0, 0, 0x0F, 0xFF, 0x3F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    };
    uint8_t ones[16] = {0}, zeros[16] = {0}, uuid[16];
    char text[BASE_UUID_TEXT_BYTES + 1] = "";
    struct base_random random;
    base_random_seed(&random, 5);
    for (int repeat = 0; repeat < 1000; repeat++) {
        base_random_uuid7(&random, NOW_NS, text);
        parse_uuid(text, uuid);
        for (int i = 0; i < 16; i++) {
            ones[i] |= uuid[i];
            zeros[i] |= (uint8_t)~uuid[i];
        }
    }
    for (int i = 0; i < 16; i++)
        cr_assert_eq(ones[i] & zeros[i], random_bits[i], "byte %d", i);
}

static int compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, BASE_UUID_TEXT_BYTES);
}

Test(random, uuid7_does_not_repeat_in_a_million)
{
    enum { COUNT = 1000000 };
    char(*all)[BASE_UUID_TEXT_BYTES] = malloc(COUNT * sizeof(*all));
    struct base_random random;
    base_random_init(&random);
    for (int i = 0; i < COUNT; i++)
        base_random_uuid7(&random, NOW_NS, all[i]);
    qsort(all, COUNT, sizeof(*all), compare_uuids);
    for (int i = 1; i < COUNT; i++)
        cr_assert(compare_uuids(all[i - 1], all[i]) != 0, "%.36s came twice", all[i]);
    free(all);
}

Test(random, uuid7_sorts_by_time)
{
    char earlier[BASE_UUID_TEXT_BYTES], later[BASE_UUID_TEXT_BYTES];
    struct base_random random;
    base_random_init(&random);
    for (uint64_t ms = NOW_MS; ms < NOW_MS + 1000; ms++) {
        base_random_uuid7(&random, ms * NANOSECONDS_PER_MILLISECOND, earlier);
        base_random_uuid7(&random, (ms + 1) * NANOSECONDS_PER_MILLISECOND, later);
        cr_assert_lt(compare_uuids(earlier, later), 0);
    }
}
