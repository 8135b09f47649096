/* The choice: llhttp reads, the guard referees. In each feed the guard first says how many bytes
 * are fine, and llhttp sees no byte beyond these; so an error is the one that comes first in the
 * stream, whoever finds it. Every check hangs on a byte that completes something (a name, a value,
 * the section), never on a fragment as it arrived. Rejected: parsing whole header sections from a
 * buffer, which would need one of header_bytes_max for each connection.
 *
 * Where llhttp 8.1 is stricter than the RFC that is left as it is: it takes no second chunk
 * extension behind an unquoted value ("5;a=b;c"), no tab behind "close", "chunked" or a length.
 */
#include "ingress/http.h"

#include "base/check.h"

#include <string.h>

_Static_assert(offsetof(struct ingress_http, parser) == 0, "of_parser casts");
_Static_assert(LLHTTP_STRICT_MODE == 1, "llhttp's loose mode takes requests that smuggle");

enum phase {
    PHASE_HEAD, /* in the header section or before it */
    PHASE_BODY, /* behind HEADERS */
    PHASE_END,  /* behind END; `head` still stands */
    PHASE_BAD,
};

enum field {
    FIELD_NONE,
    FIELD_HOST,
    FIELD_EXPECT,
    FIELD_TRACEPARENT,
    FIELD_CONTENT_TYPE,
    FIELD_AUTHORIZATION,
    FIELD_CONTENT_LENGTH,
    FIELD_IDEMPOTENCY_KEY,
    FIELD_CONTENT_ENCODING,
    FIELD_TRANSFER_ENCODING,
};

static struct ingress_http *of_parser(llhttp_t *parser)
{
    return (struct ingress_http *)parser;
}

static bool has_seen(const struct ingress_http *http, enum field field)
{
    return (http->seen & 1U << field) != 0;
}

static const char ambiguous[] = "The request can be read in more than one way; send plain HTTP/1.1 "
                                "with \"Name: value\" headers.";

static const char other_coding[] = "The only transfer coding that is supported is \"chunked\", "
                                   "alone; send that, or a Content-Length.";

/* For callbacks: the message ends here, and why. */
static int refuse(struct ingress_http *http, enum base_problem_kind kind, const char *detail)
{
    base_problem_set(http->problem, kind, "%s", detail);
    http->refused = true;
    return HPE_USER;
}

static int malformed(struct ingress_http *http, const char *detail)
{
    return refuse(http, BASE_PROBLEM_MALFORMED_REQUEST, detail);
}

/* Values of headers that matter. `bytes` is INGRESS_HTTP_VALUE_BYTES_MAX + 1 for those that were
 * cut there: longer than any value that is understood. */

static int take_expect(struct ingress_http *http, const char *value, size_t bytes)
{
    if (http->parser.http_minor == 0)
        return 0; /* RFC 9110, section 10.1.1: ignored in HTTP/1.0 */
    if (ingress_http_value_is(value, bytes, "100-continue"))
        http->head.expect_continue = true;
    else
        http->head.expect_other = true;
    return 0;
}

static int take_traceparent(struct ingress_http *http, const char *value, size_t bytes)
{
    http->head.has_trace = !http->repeated && /* W3C Trace Context, section 3.2: it is one header */
                           ingress_http_value_trace(value, bytes, http->head.trace_id);
    return 0;
}

static int take_content_type(struct ingress_http *http, const char *value, size_t bytes)
{
    http->head.media =
        (uint8_t)(bytes > INGRESS_HTTP_VALUE_BYTES_MAX ? INGRESS_HTTP_MEDIA_OTHER
                                                       : ingress_http_value_media(value, bytes));
    return 0;
}

/* Of the token only its SHA-256 goes on; the value is wiped, as the next one may never come. */
static int take_authorization(struct ingress_http *http, const char *value, size_t bytes)
{
    const char *token;
    size_t token_bytes;
    struct ingress_http_head *head = &http->head;
    size_t kept = bytes > INGRESS_HTTP_VALUE_BYTES_MAX ? INGRESS_HTTP_VALUE_BYTES_MAX : bytes;
    enum ingress_http_bearer bearer = ingress_http_value_bearer(value, kept, &token, &token_bytes);
    if (bearer == INGRESS_HTTP_BEARER_TOKEN && bytes > kept)
        bearer = INGRESS_HTTP_BEARER_MALFORMED; /* cut, so longer than any token */
    if (bearer == INGRESS_HTTP_BEARER_TOKEN) {
        struct base_sha256 hash;
        base_sha256_init(&hash);
        base_sha256_update(&hash, token, token_bytes);
        base_sha256_final(&hash, head->token_sha256);
        explicit_bzero(&hash, sizeof(hash));
    }
    head->bearer = (uint8_t)bearer;
    explicit_bzero(http->value, sizeof(http->value));
    return 0;
}

static int take_content_length(struct ingress_http *http, const char *value, size_t bytes)
{
    if (!ingress_http_value_is_length(value, bytes))
        return malformed(http, "Content-Length is not a plain decimal number; send the body's "
                               "length in bytes.");
    return 0; /* llhttp decodes it */
}

static int take_idempotency_key(struct ingress_http *http, const char *value, size_t bytes)
{
    const char *key;
    size_t key_bytes = ingress_http_value_key(value, bytes, &key);
    if (key_bytes == 0)
        return malformed(http, "Idempotency-Key is not 1 to 128 visible ASCII characters, with or "
                               "without double quotes around them; send e.g. a UUID.");
    memcpy(http->head.key, key, key_bytes);
    http->head.key_bytes = (uint16_t)key_bytes;
    return 0;
}

static int take_content_encoding(struct ingress_http *http, const char *value, size_t bytes)
{
    if (bytes > 0 && !ingress_http_value_is(value, bytes, "identity"))
        http->head.encoded = true;
    return 0;
}

static int take_transfer_encoding(struct ingress_http *http, const char *value, size_t bytes)
{
    if (!ingress_http_value_is(value, bytes, "chunked"))
        return refuse(http, BASE_PROBLEM_NOT_IMPLEMENTED, other_coding);
    http->head.chunked = true;
    return 0;
}

struct field_row {
    const char *name;
    enum field field;
    const char *repeated; /* why it may come once only; NULL when it may come again */
    int (*take)(struct ingress_http *http, const char *value, size_t bytes); /* or NULL */
};

/* By the length of the name: no two are the same (the compiler warns when that changes). */
#define ROW(name, field, repeated, take) [sizeof(name) - 1] = {name, field, repeated, take}
static const struct field_row fields_by_bytes[INGRESS_HTTP_NAME_BYTES_MAX + 2] = {
    ROW("host", FIELD_HOST, "Host is given more than once; send it once.", NULL),
    ROW("expect", FIELD_EXPECT, NULL, take_expect),
    ROW("traceparent", FIELD_TRACEPARENT, NULL, take_traceparent),
    ROW("content-type", FIELD_CONTENT_TYPE, "Content-Type is given more than once; send it once.",
        take_content_type),
    ROW("authorization", FIELD_AUTHORIZATION,
        "Authorization is given more than once; send it once.", take_authorization),
    ROW("content-length", FIELD_CONTENT_LENGTH,
        "Content-Length is given more than once; send it once.", take_content_length),
    ROW("idempotency-key", FIELD_IDEMPOTENCY_KEY,
        "Idempotency-Key is given more than once; send it once.", take_idempotency_key),
    ROW("content-encoding", FIELD_CONTENT_ENCODING, NULL, take_content_encoding),
    ROW("transfer-encoding", FIELD_TRANSFER_ENCODING,
        "Transfer-Encoding is given more than once; send it once.", take_transfer_encoding),
};
#undef ROW

static int on_method_complete(llhttp_t *parser)
{
    struct ingress_http *http = of_parser(parser);
    http->head.method = parser->method == HTTP_POST   ? INGRESS_HTTP_POST
                        : parser->method == HTTP_GET  ? INGRESS_HTTP_GET
                        : parser->method == HTTP_HEAD ? INGRESS_HTTP_HEAD
                                                      : INGRESS_HTTP_OTHER;
    if (parser->method == HTTP_CONNECT)
        return malformed(http, "CONNECT is not supported: this is no proxy.");
    if (parser->method == HTTP_PRI) /* whatever its version, llhttp looks for no headers behind */
        return refuse(http, BASE_PROBLEM_VERSION_NOT_SUPPORTED,
                      "PRI opens HTTP/2; this engine speaks HTTP/1.1 and HTTP/1.0.");
    return 0;
}

static int on_target(llhttp_t *parser, const char *data, size_t bytes)
{
    struct ingress_http *http = of_parser(parser);
    struct ingress_http_head *head = &http->head;
    CHECK(bytes <= sizeof(head->target) - head->target_bytes); /* the guard has seen to that */
    memcpy(head->target + head->target_bytes, data, bytes);
    head->target_bytes = (uint16_t)(head->target_bytes + bytes);
    return 0;
}

static int on_name(llhttp_t *parser, const char *data, size_t bytes)
{
    struct ingress_http *http = of_parser(parser);
    if (http->name_bytes + bytes > INGRESS_HTTP_NAME_BYTES_MAX) {
        http->name_bytes = INGRESS_HTTP_NAME_BYTES_MAX + 1;
        return 0;
    }
    memcpy(http->name + http->name_bytes, data, bytes);
    http->name_bytes = (uint8_t)(http->name_bytes + bytes);
    return 0;
}

static int on_name_complete(llhttp_t *parser)
{
    struct ingress_http *http = of_parser(parser);
    uint8_t row_index = http->name_bytes;
    const struct field_row *row = &fields_by_bytes[row_index];
    http->name_bytes = 0;
    http->value_bytes = 0;
    http->row = 0;
    if (row->name == NULL || !ingress_http_value_is(http->name, row_index, row->name))
        return 0;

    http->row = row_index;
    http->repeated = has_seen(http, row->field);
    http->seen = (uint16_t)(http->seen | 1U << row->field);
    if (http->repeated && row->repeated != NULL)
        return malformed(http, row->repeated);
    if (has_seen(http, FIELD_TRANSFER_ENCODING) && has_seen(http, FIELD_CONTENT_LENGTH))
        return malformed(http, "Content-Length and Transfer-Encoding are given together; send "
                               "only one of them.");
    return 0;
}

static int on_value(llhttp_t *parser, const char *data, size_t bytes)
{
    struct ingress_http *http = of_parser(parser);
    if (http->row == 0)
        return 0;
    size_t room = sizeof(http->value) - http->value_bytes;
    size_t kept = bytes < room ? bytes : room;
    memcpy(http->value + http->value_bytes, data, kept);
    http->value_bytes = (uint16_t)(http->value_bytes + kept);
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct ingress_http *http = of_parser(parser);
    const struct field_row *row = &fields_by_bytes[http->row];
    if (row->take == NULL)
        return 0;
    size_t bytes = http->value_bytes;
    if (bytes <= INGRESS_HTTP_VALUE_BYTES_MAX) { /* llhttp strips the space before it only */
        while (bytes > 0 && (http->value[bytes - 1] == ' ' || http->value[bytes - 1] == '\t'))
            bytes--;
    }
    return row->take(http, http->value, bytes);
}

/* The last word on a header section: what it lacks, and whether llhttp, which decides how the body
 * is read, understood the same. It takes "chunked" followed by a tab for another coding. */
static int check_head(struct ingress_http *http)
{
    const llhttp_t *parser = &http->parser;
    const struct ingress_http_head *head = &http->head;
    if (parser->http_minor > 0 && !has_seen(http, FIELD_HOST))
        return malformed(http, "Host is missing; HTTP/1.1 requires it.");
    if (parser->http_minor == 0 && head->chunked)
        return malformed(http, "HTTP/1.0 has no Transfer-Encoding; send Content-Length, or "
                               "HTTP/1.1.");
    if (head->target[0] == '*' && parser->method != HTTP_OPTIONS)
        return malformed(http, "The request target \"*\" goes with OPTIONS only; send a path.");
    bool is_same =
        head->chunked == ((parser->flags & F_CHUNKED) != 0) &&
        head->chunked == ((parser->flags & F_TRANSFER_ENCODING) != 0) &&
        has_seen(http, FIELD_CONTENT_LENGTH) == ((parser->flags & F_CONTENT_LENGTH) != 0);
    if (!is_same)
        return malformed(http, ambiguous);
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct ingress_http *http = of_parser(parser);
    struct ingress_http_head *head = &http->head;
    parser->upgrade =
        0; /* else what follows may be taken for another protocol; see RFC 9110, 7.8 */
    int error = check_head(http);
    if (error != 0)
        return error;
    head->content_length = head->chunked ? 0 : parser->content_length;
    head->has_length = head->chunked || has_seen(http, FIELD_CONTENT_LENGTH);
    head->has_body = head->chunked || head->content_length > 0;
    /* llhttp lets "keep-alive" win in HTTP/1.0; RFC 9112, section 9.3, lets "close" win always. */
    head->old_version = parser->http_minor == 0;
    head->keep_alive =
        llhttp_should_keep_alive(parser) != 0 && (parser->flags & F_CONNECTION_CLOSE) == 0;
    ingress_http_guard_expect(&http->guard, head->chunked, head->content_length);
    http->phase = PHASE_BODY;
    return HPE_PAUSED;
}

static int on_data(llhttp_t *parser, const char *data, size_t bytes)
{
    struct ingress_http *http = of_parser(parser);
    if (http->on_body(http, data, bytes))
        return 0;
    http->refused = true;
    return HPE_USER;
}

static int on_message_complete(llhttp_t *parser)
{
    of_parser(parser)->phase = PHASE_END;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_method_complete = on_method_complete,
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_data,
    .on_message_complete = on_message_complete,
};

/* Sets the problem for what llhttp found. */
static void explain(struct base_problem *problem, llhttp_errno_t error)
{
    enum base_problem_kind kind = BASE_PROBLEM_MALFORMED_REQUEST;
    const char *detail = ambiguous;
    switch (error) {
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT: /* a method of RTSP in HTTP */
        detail = "The request method is unknown; methods are in upper case.";
        break;
    case HPE_INVALID_URL:
        detail = "The request target is not a valid path; percent-encode what is not allowed in "
                 "one.";
        break;
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        detail = "Content-Length is not a plain decimal number below 2^64; send the body's length "
                 "in bytes.";
        break;
    case HPE_INVALID_TRANSFER_ENCODING:
        kind = BASE_PROBLEM_NOT_IMPLEMENTED;
        detail = other_coding;
        break;
    case HPE_STRICT:
    case HPE_INVALID_CHUNK_SIZE:
        detail = "A chunk's size line is malformed; send the size in hexadecimal and CRLF.";
        break;
    default:
        break;
    }
    base_problem_set(problem, kind, "%s", detail);
}

static void start_message(struct ingress_http *http)
{
    llhttp_reset(&http->parser);
    ingress_http_guard_start(&http->guard);
    memset(&http->head, 0, offsetof(struct ingress_http_head, target));
    http->seen = 0;
    http->row = 0;
    http->name_bytes = 0;
    http->phase = PHASE_HEAD;
}

void ingress_http_init(struct ingress_http *http, const struct ingress_http_limits *limits,
                       ingress_http_body_function *on_body)
{
    memset(http, 0, sizeof(*http));
    http->limits = limits;
    http->on_body = on_body;
    llhttp_init(&http->parser, HTTP_REQUEST, &settings);
    start_message(http);
}

/* Settles what happened when `error` came of the bytes that passed the guard, and `verdict` is what
 * the guard said of them. */
static enum ingress_http_event settle(struct ingress_http *http, enum phase before,
                                      llhttp_errno_t error, enum ingress_http_guard_verdict verdict)
{
    bool is_end = verdict == INGRESS_HTTP_GUARD_END;
    if (error == HPE_OK && verdict == INGRESS_HTTP_GUARD_MORE)
        return INGRESS_HTTP_MORE;
    if (error == HPE_PAUSED && is_end && before != (enum phase)http->phase) {
        llhttp_resume(&http->parser);
        return http->phase == PHASE_BODY ? INGRESS_HTTP_HEADERS : INGRESS_HTTP_END;
    }
    if (error == HPE_OK && verdict == INGRESS_HTTP_GUARD_BAD)
        ingress_http_guard_explain(&http->guard, http->limits, http->problem);
    else if (!http->refused)
        explain(http->problem, error); /* or they disagree on where the message ends */
    http->phase = PHASE_BAD;
    return INGRESS_HTTP_BAD;
}

size_t ingress_http_feed(struct ingress_http *http, const char *data, size_t bytes,
                         enum ingress_http_event *event_out, struct base_problem *problem)
{
    CHECK(http->phase != PHASE_BAD);
    if (bytes == 0)
        data = ""; /* callers may pass NULL then, on which no arithmetic is defined */
    if (http->phase == PHASE_END)
        start_message(http);
    http->problem = problem;

    enum phase before = (enum phase)http->phase;
    enum ingress_http_guard_verdict verdict;
    size_t passed = before == PHASE_HEAD
                        ? ingress_http_guard_head(&http->guard, http->limits, data, bytes, &verdict)
                        : ingress_http_guard_body(&http->guard, data, bytes, &verdict);
    llhttp_errno_t error = HPE_OK;
    if (passed > 0 || verdict == INGRESS_HTTP_GUARD_END) /* llhttp reports an empty piece of body */
        error = llhttp_execute(&http->parser, data, passed);
    *event_out = settle(http, before, error, verdict);
    return passed;
}

bool ingress_http_is_idle(const struct ingress_http *http)
{
    return http->phase == PHASE_END ||
           (http->phase == PHASE_HEAD && ingress_http_guard_is_fresh(&http->guard));
}

bool ingress_http_in_body(const struct ingress_http *http)
{
    return http->phase == PHASE_BODY;
}
