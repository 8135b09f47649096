/* A byte scanner that walks ahead of the HTTP parser: it finds where the header section and the
 * body end, and lets nothing through that two HTTP implementations might read differently.
 *
 * Owner: a struct ingress_http embeds one; its ingress thread only. Keeps no pointer into what it
 * scans, allocates nothing. A fault is a value; ingress_http_guard_explain turns it into a problem.
 *
 * Why scan before the parser and not trust it: llhttp's strict mode takes folded header lines, a
 * header section that ends in a bare LF, trailers, and chunk framing without any limit. Every byte
 * is judged by its position in the stream alone, so the verdict does not depend on how the stream
 * was cut into packets. And as the guard knows where a message ends without asking the parser,
 * http.c can refuse a message on whose end the two disagree.
 */
#ifndef SLUICE_INGRESS_HTTP_GUARD_H
#define SLUICE_INGRESS_HTTP_GUARD_H

#include "base/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INGRESS_HTTP_TARGET_BYTES_MAX 256          /* the longest route with a 128-byte id fits, */
                                                   /* if at most half of it is escaped; else 414 */
#define INGRESS_HTTP_FRAMING_BYTES_PER_BODY_BYTE 8 /* one-byte chunks need 5 */
#define INGRESS_HTTP_FRAMING_BYTES_FREE          1024 /* on top, for extensions of short bodies */

struct ingress_http_limits {
    uint32_t header_bytes_max; /* request line and header section with their line ends */
    uint32_t header_count_max; /* header lines */
};

enum ingress_http_guard_verdict {
    INGRESS_HTTP_GUARD_MORE, /* every byte passed; the section goes on */
    INGRESS_HTTP_GUARD_END,  /* the section ends with the last byte that passed */
    INGRESS_HTTP_GUARD_BAD,  /* the byte behind those that passed is at fault */
};

struct ingress_http_guard {
    uint64_t data_left;     /* bytes of the body, or of the chunk, still to come */
    uint64_t body_bytes;    /* of a chunked body, without its framing */
    uint64_t framing_bytes; /* of a chunked body */
    uint32_t header_bytes;
    uint32_t header_count;
    uint16_t target_bytes;
    uint8_t state;         /* enum state in http_guard.c */
    uint8_t fault;         /* enum fault in http_guard.c; valid with BAD */
    uint8_t version_bytes; /* how much of "HTTP/1.x" was seen */
    uint8_t chunk_digits;
    bool skipped_line; /* the one empty line that may come before a request line */
};

/* Ready for the first byte of a message. */
void ingress_http_guard_start(struct ingress_http_guard *guard);

/* True until a byte of the request line was seen (a skipped CRLF does not count). */
bool ingress_http_guard_is_fresh(const struct ingress_http_guard *guard);

/* Scans the header section. Returns how many bytes passed. */
size_t ingress_http_guard_head(struct ingress_http_guard *guard,
                               const struct ingress_http_limits *limits, const char *data,
                               size_t bytes, enum ingress_http_guard_verdict *verdict_out);

/* Says, behind the header section, what body comes: chunked, or `length` bytes. */
void ingress_http_guard_expect(struct ingress_http_guard *guard, bool chunked, uint64_t length);

/* Scans the body. Returns how many bytes passed. */
size_t ingress_http_guard_body(struct ingress_http_guard *guard, const char *data, size_t bytes,
                               enum ingress_http_guard_verdict *verdict_out);

/* Sets `problem` for the fault behind the last BAD. */
void ingress_http_guard_explain(const struct ingress_http_guard *guard,
                                const struct ingress_http_limits *limits,
                                struct base_problem *problem);

#endif
