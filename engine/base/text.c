#include "base/text.h"

#include "base/clock.h"

static const char hex_digits[] = "0123456789abcdef";

void base_text_init(struct base_text *text, void *memory, size_t capacity)
{
    *text = (struct base_text){.start = memory, .capacity = capacity};
}

void base_text_unsigned(struct base_text *text, uint64_t value)
{
    char digits[20]; /* 2^64 - 1 has 20 */
    size_t first = sizeof(digits);
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    base_text_append(text, digits + first, sizeof(digits) - first);
}

void base_text_signed(struct base_text *text, int64_t value)
{
    if (value < 0)
        base_text_append(text, "-", 1);
    base_text_unsigned(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void base_text_hex(struct base_text *text, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    char pairs[64]; /* a digest at a time */
    while (bytes > 0) {
        size_t some = bytes < sizeof(pairs) / 2 ? bytes : sizeof(pairs) / 2;
        for (size_t i = 0; i < some; i++) {
            pairs[2 * i] = hex_digits[at[i] >> 4];
            pairs[2 * i + 1] = hex_digits[at[i] & 15];
        }
        base_text_append(text, pairs, 2 * some);
        at += some;
        bytes -= some;
    }
}

void base_text_time(struct base_text *text, uint64_t ns)
{
    char time[BASE_CLOCK_TEXT_BYTES];
    base_clock_format(ns, time);
    base_text_append(text, time, BASE_CLOCK_TEXT_BYTES - 1);
}

static void append_json_escape(struct base_text *text, uint8_t byte)
{
    switch (byte) {
    case '"':
        base_text_append(text, "\\\"", 2);
        break;
    case '\\':
        base_text_append(text, "\\\\", 2);
        break;
    case '\n':
        base_text_append(text, "\\n", 2);
        break;
    case '\r':
        base_text_append(text, "\\r", 2);
        break;
    case '\t':
        base_text_append(text, "\\t", 2);
        break;
    default: {
        char escape[6] = {'\\', 'u', '0', '0', hex_digits[byte >> 4], hex_digits[byte & 15]};
        base_text_append(text, escape, sizeof(escape));
    }
    }
}

void base_text_json(struct base_text *text, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t clean = 0; /* start of the run that needs no escape */
    base_text_append(text, "\"", 1);
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] >= 0x20 && at[i] != '"' && at[i] != '\\')
            continue;
        base_text_append(text, at + clean, i - clean);
        append_json_escape(text, at[i]);
        clean = i + 1;
    }
    base_text_append(text, at + clean, bytes - clean);
    base_text_append(text, "\"", 1);
}

static bool is_unreserved(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

void base_text_uri(struct base_text *text, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t clean = 0; /* start of the run that needs no encoding */
    for (size_t i = 0; i < bytes; i++) {
        if (is_unreserved(at[i]))
            continue;
        char escape[3] = {'%', "0123456789ABCDEF"[at[i] >> 4], "0123456789ABCDEF"[at[i] & 15]};
        base_text_append(text, at + clean, i - clean);
        base_text_append(text, escape, sizeof(escape));
        clean = i + 1;
    }
    base_text_append(text, at + clean, bytes - clean);
}
