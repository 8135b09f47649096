/* What the values of the few headers that matter mean. Pure functions over a value without the
 * white space around it; any thread. Nothing here is trusted: values are whatever a client sent.
 */
#ifndef SLUICE_INGRESS_HTTP_VALUE_H
#define SLUICE_INGRESS_HTTP_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INGRESS_HTTP_KEY_BYTES_MAX 128 /* Idempotency-Key, as long as a submission id */

/* Bytes of a bearer token: 43 characters hold 256 bits in base64url; this is three times as much,
 * and with "Bearer " it fits what a connection keeps of a header value. */
#define INGRESS_HTTP_TOKEN_BYTES_MAX 128

enum ingress_http_media {
    INGRESS_HTTP_MEDIA_NONE, /* no Content-Type */
    INGRESS_HTTP_MEDIA_JSON, /* application/json, alone or with charset=utf-8 */
    INGRESS_HTTP_MEDIA_OTHER,
};

/* Equal without regard to case in ASCII; `lower` is in lower case. */
bool ingress_http_value_is(const char *value, size_t bytes, const char *lower);

/* Content-Type (RFC 9110, section 8.3). Parameters other than charset are ignored; a malformed
 * one makes OTHER, as it may hide a charset. */
enum ingress_http_media ingress_http_value_media(const char *value, size_t bytes);

/* Content-Length as 1*DIGIT, at most as many as 2^64 has: no sign, no list. */
bool ingress_http_value_is_length(const char *value, size_t bytes);

/* Idempotency-Key: takes an enclosing pair of double quotes off and returns how many bytes of
 * `*key_out` are the key, or 0 when these are not 1 to INGRESS_HTTP_KEY_BYTES_MAX visible ASCII
 * characters. `*key_out` points into `value`. */
size_t ingress_http_value_key(const char *value, size_t bytes, const char **key_out);

enum ingress_http_bearer {
    INGRESS_HTTP_BEARER_NONE,      /* no Authorization, or another scheme */
    INGRESS_HTTP_BEARER_TOKEN,     /* one token */
    INGRESS_HTTP_BEARER_MALFORMED, /* Bearer, but what follows cannot be a token */
};

/* Authorization (RFC 6750, section 2.1). A token has 1 to INGRESS_HTTP_TOKEN_BYTES_MAX characters;
 * `*token_out` points to it in `value`. */
enum ingress_http_bearer ingress_http_value_bearer(const char *value, size_t bytes,
                                                   const char **token_out, size_t *token_bytes_out);

/* W3C Trace Context, section 3.2: version 00, or a higher one that may have more behind a "-". */
bool ingress_http_value_trace(const char *value, size_t bytes, uint8_t trace_id_out[16]);

#endif
