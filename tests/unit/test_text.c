/* What the bounded text appends, read back by decoders of our own, and that it stops at its limit.
 */
#include "base/text.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define GUARD_BYTE 0x5A

static char memory[8192];
static struct base_text text;

static void start(size_t capacity)
{
    memset(memory, GUARD_BYTE, sizeof(memory));
    base_text_init(&text, memory, capacity);
}

static void assert_text(const char *expected)
{
    cr_assert_not(text.overflow);
    cr_assert_eq(text.bytes, strlen(expected), "%.*s", (int)text.bytes, memory);
    cr_assert_arr_eq(memory, expected, text.bytes, "%.*s", (int)text.bytes, memory);
}

Test(text, appends_numbers)
{
    start(sizeof(memory));
    base_text_unsigned(&text, 0);
    base_text_string(&text, " ");
    base_text_unsigned(&text, 10);
    base_text_string(&text, " ");
    base_text_unsigned(&text, UINT64_MAX);
    base_text_string(&text, " ");
    base_text_signed(&text, 0);
    base_text_string(&text, " ");
    base_text_signed(&text, -1);
    base_text_string(&text, " ");
    base_text_signed(&text, INT64_MIN);
    base_text_string(&text, " ");
    base_text_signed(&text, INT64_MAX);
    assert_text("0 10 18446744073709551615 0 -1 -9223372036854775808 9223372036854775807");
}

Test(text, appends_hex_and_times)
{
    start(sizeof(memory));
    base_text_hex(&text, "\x00\x09\xA0\xFF", 4);
    base_text_string(&text, " ");
    base_text_time(&text, 1);
    assert_text("0009a0ff 1970-01-01T00:00:00.000000001Z");
}

/* The value of the hex digits at `at`, of either case if `any_case`. */
static unsigned hex_value(const char *at, int digits, const char *alphabet)
{
    unsigned value = 0;
    for (int i = 0; i < digits; i++) {
        const char *digit = memchr(alphabet, at[i], 16);
        cr_assert_not_null(digit, "%c is not a digit", at[i]);
        value = value << 4 | (unsigned)(digit - alphabet);
    }
    return value;
}

/* Decodes one character of a JSON string; returns what is behind it. */
static const char *decode_json_character(const char *at, uint8_t *byte_out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    cr_assert_geq((uint8_t)*at, 0x20, "raw control character");
    cr_assert_neq(*at, '"');
    if (*at != '\\') {
        *byte_out = (uint8_t)*at;
        return at + 1;
    }
    if (at[1] == 'u') {
        unsigned value = hex_value(at + 2, 4, "0123456789abcdef");
        cr_assert_lt(value, 0x20u, "only control characters are escaped so");
        *byte_out = (uint8_t)value;
        return at + 6;
    }
    const char *name = strchr(names, at[1]);
    cr_assert(at[1] != '\0' && name != NULL, "no such escape: %c", at[1]);
    *byte_out = (uint8_t)values[name - names];
    return at + 2;
}

static void assert_json_round_trip(const uint8_t *data, size_t bytes)
{
    start(sizeof(memory));
    base_text_json(&text, data, bytes);
    cr_assert_not(text.overflow);
    const char *at = memory, *end = memory + text.bytes - 1;
    cr_assert(text.bytes >= 2 && *at == '"' && *end == '"');
    at++;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte;
        cr_assert_lt(at, end);
        at = decode_json_character(at, &byte);
        cr_assert_eq(byte, data[i], "byte %zu", i);
    }
    cr_assert_eq(at, end);
}

Test(text, json_escapes_each_byte_so_that_it_comes_back)
{
    uint8_t all[256];
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        uint8_t between[3] = {'a', byte, 'b'};
        all[i] = byte;
        assert_json_round_trip(&byte, 1);
        assert_json_round_trip(between, 3);
    }
    assert_json_round_trip(all, sizeof(all));
    assert_json_round_trip(all, 0);
}

Test(text, json_escapes_random_strings_so_that_they_come_back)
{
    struct base_random random;
    base_random_init(&random);
    for (int i = 0; i < 2000; i++) {
        uint8_t data[512];
        size_t bytes = base_random_next(&random) % (sizeof(data) + 1);
        base_random_fill(&random, data, bytes);
        assert_json_round_trip(data, bytes);
    }
}

Test(text, json_leaves_utf8_and_del_as_they_are)
{
    start(sizeof(memory));
    base_text_json(&text, "\x7F\xC3\xA4\xF0\x9F\x98\x80", 7);
    assert_text("\"\x7F\xC3\xA4\xF0\x9F\x98\x80\"");
}

static bool is_unreserved(uint8_t byte)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789-._~";
    return memchr(unreserved, byte, sizeof(unreserved) - 1) != NULL;
}

Test(text, uri_escapes_all_but_unreserved_characters)
{
    uint8_t all[256];
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    start(sizeof(memory));
    base_text_uri(&text, all, sizeof(all));
    cr_assert_not(text.overflow);
    const char *at = memory;
    for (unsigned i = 0; i < 256; i++) {
        if (is_unreserved((uint8_t)i)) {
            cr_assert_eq((uint8_t)*at++, i);
            continue;
        }
        cr_assert_eq(*at, '%', "byte %u", i);
        cr_assert_eq(hex_value(at + 1, 2, "0123456789ABCDEF"), i);
        at += 3;
    }
    cr_assert_eq(at, memory + text.bytes);
}

/* Every way to append, with something that needs the longest form. */
static void append_string(void)
{
    base_text_string(&text, "a string");
}

static void append_unsigned(void)
{
    base_text_unsigned(&text, UINT64_MAX);
}

static void append_signed(void)
{
    base_text_signed(&text, INT64_MIN);
}

static void append_hex(void)
{
    base_text_hex(&text, "\x12\x34\x56", 3);
}

static void append_time(void)
{
    base_text_time(&text, UINT64_MAX);
}

static void append_json(void)
{
    base_text_json(&text, "ab\x01\"\n\\c", 7);
}

static void append_uri(void)
{
    base_text_uri(&text, "a/b c", 5);
}

static void (*const appenders[])(void) = {
    append_string, append_unsigned, append_signed, append_hex, append_time, append_json, append_uri,
};

static void assert_untouched(size_t from)
{
    for (size_t i = from; i < sizeof(memory); i++)
        cr_assert_eq(memory[i], GUARD_BYTE, "wrote to byte %zu", i);
}

Test(text, takes_what_fits_exactly_and_nothing_beyond)
{
    for (size_t i = 0; i < sizeof(appenders) / sizeof(appenders[0]); i++) {
        char whole[128];
        start(sizeof(memory));
        appenders[i]();
        size_t bytes = text.bytes;
        memcpy(whole, memory, bytes);
        start(bytes);
        appenders[i]();
        cr_assert(!text.overflow && text.bytes == bytes, "appender %zu", i);
        cr_assert_arr_eq(memory, whole, bytes);
        assert_untouched(bytes);
        for (size_t capacity = 0; capacity < bytes; capacity++) {
            start(capacity);
            appenders[i]();
            cr_assert(text.overflow, "appender %zu, capacity %zu", i, capacity);
            cr_assert_leq(text.bytes, capacity);
            cr_assert_arr_eq(memory, whole, text.bytes);
            assert_untouched(capacity);
        }
    }
}

Test(text, writes_nothing_more_after_an_overflow)
{
    start(4);
    base_text_string(&text, "abc");
    base_text_string(&text, "de");
    cr_assert(text.overflow);
    for (size_t i = 0; i < sizeof(appenders) / sizeof(appenders[0]); i++)
        appenders[i]();
    base_text_string(&text, "f"); /* would fit */
    base_text_string(&text, "");
    cr_assert(text.overflow);
    cr_assert_eq(text.bytes, 3);
    cr_assert_arr_eq(memory, "abc", 3);
    assert_untouched(3);
}

Test(text, a_text_without_room_takes_only_nothing)
{
    start(0);
    base_text_string(&text, "");
    cr_assert_not(text.overflow);
    base_text_string(&text, "a");
    cr_assert(text.overflow);
    assert_untouched(0);
}
