/* A bounded text under construction: responses, problem documents, lines of `sluice cat`.
 *
 * Owner: the caller, who also owns the memory behind it; one thread at a time. Appending past the
 * end sets `overflow` and writes nothing more; the caller looks once, at the end. No allocation,
 * no NUL behind the text.
 */
#ifndef SLUICE_BASE_TEXT_H
#define SLUICE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct base_text {
    char *start;
    size_t bytes;    /* written so far */
    size_t capacity; /* bytes behind `start` */
    bool overflow;
};

void base_text_init(struct base_text *text, void *memory, size_t capacity);

/* Inline, because most of what a response is made of has a length known to the compiler. */
static inline void base_text_append(struct base_text *text, const void *data, size_t bytes)
{
    if (text->overflow || bytes > text->capacity - text->bytes) {
        text->overflow = true;
        return;
    }
    memcpy(text->start + text->bytes, data, bytes);
    text->bytes += bytes;
}

/* NUL-terminated, as it is. */
static inline void base_text_string(struct base_text *text, const char *string)
{
    base_text_append(text, string, strlen(string));
}

void base_text_unsigned(struct base_text *text, uint64_t value);
void base_text_signed(struct base_text *text, int64_t value);
void base_text_hex(struct base_text *text, const void *data, size_t bytes); /* lower case */
void base_text_time(struct base_text *text, uint64_t ns);                   /* base_clock_format */

/* A JSON string with its quotes (RFC 8259, section 7): control characters, quote and backslash are
 * escaped, everything else is copied, so UTF-8 stays what it was. */
void base_text_json(struct base_text *text, const void *data, size_t bytes);

/* One segment of a URI path: all but RFC 3986's unreserved characters is percent-encoded. */
void base_text_uri(struct base_text *text, const void *data, size_t bytes);

#endif
