#include "record/unescape.h"

#include <stdint.h>
#include <string.h>

/* The value of four hexadecimal digits in [at, end), or -1. */
static int32_t hex4(const char *at, const char *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int32_t digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)(code);
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xE0 | code >> 12);
        } else {
            *out++ = (char)(0xF0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (code & 0x3F));
    return out;
}

/* The code point of the \u escape whose digits start at *at, with its second half where it is a
 * surrogate pair; moves *at behind it. -1 for bad digits and for an unpaired surrogate. */
static int32_t unicode_escape(const char **at, const char *end)
{
    int32_t first = hex4(*at, end);
    if (first < 0)
        return -1;
    *at += 4;
    if (first < 0xD800 || first > 0xDFFF)
        return first;
    if (first > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return -1;
    int32_t second = hex4(*at + 2, end);
    if (second < 0xDC00 || second > 0xDFFF)
        return -1;
    *at += 6;
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
}

/* The character that `\letter` stands for (not \u), or 0. */
static char short_escape(char letter)
{
    switch (letter) {
    case '"':
    case '\\':
    case '/':
        return letter;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

struct record_unescaped record_unescape(const char *at, const char *end, char *out)
{
    while (at < end) {
        const void *found = memchr(at, '\\', (size_t)(end - at));
        const char *backslash = found != NULL ? found : end;
        size_t run_bytes = (size_t)(backslash - at);
        memcpy(out, at, run_bytes);
        out += run_bytes;
        if (backslash == end)
            break;
        at = backslash + 1;
        if (at == end)
            return (struct record_unescaped){out, backslash};
        char letter = *at++;
        if (letter == 'u') {
            int32_t code = unicode_escape(&at, end);
            if (code < 0)
                return (struct record_unescaped){out, backslash};
            out = put_utf8(out, (uint32_t)(code));
        } else {
            *out = short_escape(letter);
            if (*out++ == 0)
                return (struct record_unescaped){out, backslash};
        }
    }
    return (struct record_unescaped){out, NULL};
}
