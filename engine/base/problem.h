/* Every way in which a request can go wrong, declared once: status, stable slug, title. The slug
 * ends the `type` of the RFC 9457 document ("urn:sluice:problem:<slug>") and never changes.
 *
 * A `struct base_problem` says what, where and what to do. Owner: whoever embeds it; plain value.
 */
#ifndef SLUICE_BASE_PROBLEM_H
#define SLUICE_BASE_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, HTTP status, slug, title) */
#define BASE_PROBLEM_EACH(X)                                                                       \
    X(MALFORMED_REQUEST, 400, "malformed-request", "The HTTP request is malformed")                \
    X(MALFORMED_JSON, 400, "malformed-json", "The body is not valid JSON")                         \
    X(UNAUTHENTICATED, 401, "unauthenticated", "This request needs a bearer token")                \
    X(INVALID_TOKEN, 401, "invalid-token", "The bearer token is not valid")                        \
    X(INSUFFICIENT_SCOPE, 403, "insufficient-scope", "The credential is not for this request")     \
    X(STUDY_NOT_ALLOWED, 403, "study-not-allowed", "The credential is not for this study")         \
    X(CENTER_NOT_ALLOWED, 403, "center-not-allowed", "The credential is not for this centre")      \
    X(NOT_FOUND, 404, "not-found", "There is nothing at this path")                                \
    X(METHOD_NOT_ALLOWED, 405, "method-not-allowed", "This path does not take this method")        \
    X(REQUEST_TIMEOUT, 408, "request-timeout", "The request did not arrive in time")               \
    X(LENGTH_REQUIRED, 411, "length-required", "The request needs a body with a length")           \
    X(BODY_TOO_LARGE, 413, "body-too-large", "The body is larger than this engine takes")          \
    X(URI_TOO_LONG, 414, "uri-too-long", "The request target is too long")                         \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported-media-type", "This content type is not taken")     \
    X(EXPECTATION_FAILED, 417, "expectation-failed", "This expectation is not supported")          \
    X(INVALID_SUBMISSION, 422, "invalid-submission", "The submission is not valid")                \
    X(HEADERS_TOO_LARGE, 431, "headers-too-large", "The header section is too large")              \
    X(NOT_IMPLEMENTED, 501, "not-implemented", "This transfer coding is not supported")            \
    X(OVERLOADED, 503, "overloaded", "The engine is at one of its limits")                         \
    X(DRAINING, 503, "draining", "The engine is shutting down")                                    \
    X(JOURNAL_FAILED, 503, "journal-failed", "The journal failed and takes nothing more")          \
    X(DISK_FULL, 503, "disk-full", "There is no room for another segment")                         \
    X(VERSION_NOT_SUPPORTED, 505, "version-not-supported", "This HTTP version is not supported")

enum base_problem_kind {
    BASE_PROBLEM_NONE,
#define BASE_PROBLEM_ENUM(name, status, slug, title) BASE_PROBLEM_##name,
    BASE_PROBLEM_EACH(BASE_PROBLEM_ENUM)
#undef BASE_PROBLEM_ENUM
        BASE_PROBLEM_KIND_COUNT
};

struct base_problem_class {
    uint16_t status;
    const char *slug;
    const char *title;
};

/* The row of `kind`, which is not NONE. */
const struct base_problem_class *base_problem_class_of(enum base_problem_kind kind);

/* Bytes, with the NUL. A pointer that is longer is cut at a UTF-8 character and ends in "...". */
#define BASE_PROBLEM_POINTER_BYTES 160
#define BASE_PROBLEM_DETAIL_BYTES  224

struct base_problem {
    enum base_problem_kind kind;
    bool pointer_cut; /* something was left out of the pointer; it ends in \"...\" */
    char pointer[BASE_PROBLEM_POINTER_BYTES]; /* JSON pointer (RFC 6901) into the body, or "" */
    char detail[BASE_PROBLEM_DETAIL_BYTES];   /* what, where and what to do; valid UTF-8 */
};

/* Sets kind and detail and an empty pointer. */
void base_problem_set(struct base_problem *problem, enum base_problem_kind kind, const char *format,
                      ...) __attribute__((format(printf, 3, 4)));

/* Appends "/" and `name` with "~" and "/" escaped (RFC 6901, section 3). */
void base_problem_pointer_push(struct base_problem *problem, const char *name, size_t name_bytes);

#endif
