/* HTTP/1.1 requests out of a byte stream: llhttp in strict mode behind a guard of our own
 * (http_guard.h). http.c is the only file that touches llhttp.
 *
 * Owner: a connection embeds one; used by its ingress thread only. It keeps no pointer into the
 * bytes it was fed. No allocation. The outcome never depends on how the stream was cut up.
 *
 * Why a guard: llhttp's strict mode still accepts folded header lines and more (see
 * docs/architecture.md). Together they end the connection on: NUL and other control characters
 * (but tab) in the header section, CR without LF, LF without CR, a line that starts with a space or
 * tab, a space before the colon, an empty header name, Transfer-Encoding together with
 * Content-Length, either of them repeated, a Transfer-Encoding other than exactly "chunked" (501),
 * a Content-Length that is not 1*DIGIT (so also lists), Host missing in HTTP/1.1 or repeated, a
 * version other than HTTP/1.0 and HTTP/1.1 (505), trailers behind a chunked body,
 * Transfer-Encoding in HTTP/1.0, CONNECT, a target that is no path ("*" only with OPTIONS),
 * Content-Type or Idempotency-Key repeated, more header bytes or lines than configured (431; a
 * request target longer than INGRESS_HTTP_TARGET_BYTES_MAX is 414), and more chunk framing than
 * INGRESS_HTTP_FRAMING_BYTES_PER_BODY_BYTE x body + INGRESS_HTTP_FRAMING_BYTES_FREE. One CRLF
 * before the request line is skipped (RFC 9112, section 2.2). An Upgrade header is ignored.
 */
#ifndef SLUICE_INGRESS_HTTP_H
#define SLUICE_INGRESS_HTTP_H

#include "base/checksum.h"
#include "base/problem.h"
#include "ingress/http_guard.h"
#include "ingress/http_value.h"

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INGRESS_HTTP_NAME_BYTES_MAX  17  /* kept of a header name: "transfer-encoding" */
#define INGRESS_HTTP_VALUE_BYTES_MAX 136 /* kept of a header value that matters */

enum ingress_http_method {
    INGRESS_HTTP_GET,
    INGRESS_HTTP_HEAD,
    INGRESS_HTTP_POST,
    INGRESS_HTTP_OTHER,
};

/* What the header section said; valid from HEADERS on, until the first feed behind END. */
struct ingress_http_head {
    uint8_t method;  /* enum ingress_http_method */
    uint8_t media;   /* enum ingress_http_media */
    bool keep_alive; /* false: END is the connection's last event, what follows is not read */
    bool has_body;   /* Content-Length > 0, or chunked */
    bool has_length; /* Content-Length was given, or chunked */
    bool chunked;
    bool encoded;            /* a Content-Encoding other than identity */
    bool expect_continue;    /* never in HTTP/1.0 (RFC 9110, section 10.1.1) */
    bool expect_other;       /* an Expect that is not 100-continue */
    bool old_version;        /* HTTP/1.0 */
    bool has_trace;          /* a valid W3C traceparent (ids not all zero), given once */
    uint8_t bearer;          /* enum ingress_http_bearer */
    uint64_t content_length; /* bytes; 0 when chunked */
    uint8_t trace_id[16];
    uint8_t token_sha256[SHA256_BYTES]; /* of a bearer TOKEN, which itself is not kept */
    uint16_t target_bytes;
    uint16_t key_bytes; /* 0: no Idempotency-Key. Quotes of an sf-string are taken off */
    char target[INGRESS_HTTP_TARGET_BYTES_MAX]; /* as sent, with the query */
    char key[INGRESS_HTTP_KEY_BYTES_MAX];
};

enum ingress_http_event {
    INGRESS_HTTP_MORE,    /* everything was consumed; feed what comes next */
    INGRESS_HTTP_HEADERS, /* the header section is complete and fine: look at `head`, then go on
                           * feeding at once, be it with 0 bytes: a message without a body ENDs */
    INGRESS_HTTP_END,     /* the message is complete; going on feeds the next one */
    INGRESS_HTTP_BAD,     /* see `problem`; answer and close, feed nothing more */
};

/* Takes `bytes` (> 0) of body; called from within feed. Returning false stops with INGRESS_HTTP_BAD
 * and leaves `problem` as the callee set it (body too large). */
struct ingress_http;
typedef bool ingress_http_body_function(struct ingress_http *http, const char *data, size_t bytes);

struct ingress_http {
    llhttp_t parser;
    const struct ingress_http_limits *limits; /* shared, outlives this */
    ingress_http_body_function *on_body;
    struct ingress_http_head head;
    struct base_problem *problem; /* where BAD is explained; given by the caller */

    /* From here on it is http.c's own. */
    struct ingress_http_guard guard;
    uint16_t seen;        /* which headers that matter were seen: 1 << enum field */
    uint16_t value_bytes; /* of the header at hand; VALUE_BYTES_MAX + 1 when it is longer */
    uint8_t name_bytes;   /* of the header at hand; NAME_BYTES_MAX + 1 when it is longer */
    uint8_t row;          /* of the header at hand in http.c's table; 0 when it does not matter */
    uint8_t phase;        /* enum phase */
    bool repeated;        /* the header at hand came before */
    bool refused;         /* a callback refused the message and has set `problem` */
    char name[INGRESS_HTTP_NAME_BYTES_MAX];
    char value[INGRESS_HTTP_VALUE_BYTES_MAX + 1];
};

_Static_assert(sizeof(struct ingress_http) < 900, "a connection of 10,000 embeds one");

void ingress_http_init(struct ingress_http *http, const struct ingress_http_limits *limits,
                       ingress_http_body_function *on_body);

/* Feeds up to `bytes` bytes; returns how many were consumed (fewer than given only with HEADERS,
 * END and BAD) and what happened. `problem` is set exactly with BAD. After BAD the object takes no
 * more. `data` may be NULL when `bytes` is 0. */
size_t ingress_http_feed(struct ingress_http *http, const char *data, size_t bytes,
                         enum ingress_http_event *event_out, struct base_problem *problem);

/* True between messages: nothing of a next request was seen (a skipped CRLF does not count). */
bool ingress_http_is_idle(const struct ingress_http *http);

/* True once HEADERS was reported and END was not. */
bool ingress_http_in_body(const struct ingress_http *http);

#endif
