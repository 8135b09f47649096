/* The choice: a switch over states, with a tight table-driven loop for the three states in which
 * nearly all bytes are (target, header name, header value). Rejected: one table of all transitions,
 * in which each byte's load waits for the one before it. */
#include "ingress/http_guard.h"

#include "base/check.h"

#include <string.h>

enum state {
    STATE_START,    /* nothing seen yet */
    STATE_START_LF, /* CR seen before the request line */
    STATE_METHOD,
    STATE_TARGET_FIRST,
    STATE_TARGET,
    STATE_TARGET_STAR, /* behind "*", which stands alone */
    STATE_VERSION,
    STATE_VERSION_CR,
    STATE_LINE_LF,
    STATE_LINE_START,
    STATE_NAME,
    STATE_VALUE,
    STATE_HEAD_LF, /* CR of the empty line seen */

    STATE_LENGTH_DATA, /* a body of known length */

    STATE_CHUNK_SIZE,
    STATE_CHUNK_EXTENSION,
    STATE_CHUNK_SIZE_LF,
    STATE_CHUNK_DATA,
    STATE_CHUNK_DATA_CR,
    STATE_CHUNK_DATA_LF,
    STATE_LAST_CR, /* behind the line of the chunk of size 0 */
    STATE_LAST_LF,

    STATE_DONE,
    STATE_FAULT,
};

/* X(name, what is wrong and what to do). Those with a figure or another status are in explain(). */
#define FAULT_EACH(X)                                                                              \
    X(EMPTY_LINES, "More than one empty line comes before the request line; send none.")           \
    X(METHOD, "The request line does not start with a method; send e.g. GET /livez HTTP/1.1.")     \
    X(TARGET_FORM, "The request target is not a path; send it as /path, without scheme and host.") \
    X(TARGET_BYTE, "The request target holds a byte that paths may not have; percent-encode it.")  \
    X(VERSION_FORM, "The request line does not end in \"HTTP/1.1\" and CRLF.")                     \
    X(BARE_CR, "A CR without LF stands in the header section; end each line in CRLF.")             \
    X(BARE_LF, "An LF without CR stands in the header section; end each line in CRLF.")            \
    X(FOLDED, "A header line starts with a space or tab; send each header on one line.")           \
    X(NAME_EMPTY, "A header has no name; send \"Name: value\".")                                   \
    X(NAME_SPACE, "A space or tab stands between a header's name and its colon; remove it.")       \
    X(NAME_BYTE, "A header name holds a byte that names may not have; send \"Name: value\".")      \
    X(NAME_ONLY, "A header line has no colon; send \"Name: value\".")                              \
    X(VALUE_BYTE, "A header value holds a control character; remove it.")                          \
    X(CHUNK_SIZE, "A chunk's size is not 1 to 16 hexadecimal digits, below 2^63.")                 \
    X(CHUNK_LINE, "A chunk's size line is malformed; send the size in hexadecimal and CRLF.")      \
    X(CHUNK_END, "A chunk is not followed by CRLF; its data is not as long as its size says.")     \
    X(TRAILER, "Trailers behind a chunked body are not supported; send these as headers.")         \
    X(FRAMING, "The chunked body consists mostly of framing; send larger chunks.")

enum fault {
    FAULT_NONE,
#define FAULT_ENUM(name, detail) FAULT_##name,
    FAULT_EACH(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_TARGET_BYTES,
    FAULT_VERSION,
    FAULT_HEADER_BYTES,
    FAULT_HEADER_COUNT,
};

static const char *const fault_details[] = {
#define FAULT_ROW(name, detail) [FAULT_##name] = detail,
    FAULT_EACH(FAULT_ROW)
#undef FAULT_ROW
};

enum {
    CLASS_TOKEN = 1,  /* RFC 9110, section 5.6.2: tchar */
    CLASS_TARGET = 2, /* visible ASCII without "#", which never belongs into a request */
    CLASS_VALUE = 4,  /* RFC 9110, section 5.5: VCHAR, obs-text, SP, HTAB */
};

/* The unit tests try each of the 256 bytes in each of the three places. */
#define VT  (CLASS_VALUE | CLASS_TARGET)
#define VTT (CLASS_VALUE | CLASS_TARGET | CLASS_TOKEN)
/* clang-format off */
static const uint8_t classes[256] = {
    ['\t'] = CLASS_VALUE, [' '] = CLASS_VALUE,
    ['!'] = VTT, ['"'] = VT, ['#'] = CLASS_VALUE | CLASS_TOKEN, ['$' ... '\''] = VTT,
    ['('] = VT, [')'] = VT, ['*'] = VTT, ['+'] = VTT, [','] = VT, ['-'] = VTT, ['.'] = VTT,
    ['/'] = VT, ['0' ... '9'] = VTT, [':' ... '@'] = VT, ['A' ... 'Z'] = VTT,
    ['['] = VT, ['\\'] = VT, [']'] = VT, ['^'] = VTT, ['_'] = VTT, ['`'] = VTT,
    ['a' ... 'z'] = VTT, ['{'] = VT, ['|'] = VTT, ['}'] = VT, ['~'] = VTT,
    [0x80 ... 0xFF] = CLASS_VALUE,
};
/* clang-format on */

static bool is_class(char byte, uint8_t class)
{
    return (classes[(uint8_t)byte] & class) != 0;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* The first byte from `at` on that is not of `class`. Four at a time, as their loads do not wait
 * for each other. */
static const char *run_end(const char *at, const char *end, uint8_t class)
{
    while (end - at >= 4) {
        const uint8_t *next = (const uint8_t *)at;
        if ((classes[next[0]] & classes[next[1]] & classes[next[2]] & classes[next[3]] & class) ==
            0)
            break;
        at += 4;
    }
    while (at < end && is_class(*at, class))
        at++;
    return at;
}

/* Leaves `at` on the byte at fault. */
static const char *fail(struct ingress_http_guard *guard, enum fault fault, const char *at)
{
    guard->state = STATE_FAULT;
    guard->fault = (uint8_t)fault;
    return at;
}

static const char *go(struct ingress_http_guard *guard, enum state state, const char *at)
{
    guard->state = (uint8_t)state;
    return at + 1;
}

/* The byte must be `byte`. */
static const char *want(struct ingress_http_guard *guard, char byte, enum state state,
                        enum fault fault, const char *at)
{
    return *at == byte ? go(guard, state, at) : fail(guard, fault, at);
}

void ingress_http_guard_start(struct ingress_http_guard *guard)
{
    memset(guard, 0, sizeof(*guard));
}

bool ingress_http_guard_is_fresh(const struct ingress_http_guard *guard)
{
    return guard->state == STATE_START || guard->state == STATE_START_LF;
}

/* RFC 9112, section 2.2: one empty line before the request line is ignored. */
static const char *scan_start(struct ingress_http_guard *guard, const char *at)
{
    if (guard->state == STATE_START_LF)
        return want(guard, '\n', STATE_START, FAULT_BARE_CR, at);
    if (*at == '\r' && !guard->skipped_line) {
        guard->skipped_line = true;
        return go(guard, STATE_START_LF, at);
    }
    if (is_class(*at, CLASS_TOKEN)) {
        guard->state = STATE_METHOD; /* and let that see the byte, so that it is counted */
        return at;
    }
    return fail(guard,
                *at == '\r'   ? FAULT_EMPTY_LINES
                : *at == '\n' ? FAULT_BARE_LF
                              : FAULT_METHOD,
                at);
}

static const char *scan_target(struct ingress_http_guard *guard, const char *at, const char *end)
{
    const char *stop = run_end(at, end, CLASS_TARGET);
    size_t room = (size_t)INGRESS_HTTP_TARGET_BYTES_MAX - guard->target_bytes;
    if ((size_t)(stop - at) > room)
        return fail(guard, FAULT_TARGET_BYTES, at + room);
    guard->target_bytes = (uint16_t)(guard->target_bytes + (stop - at));
    if (stop == end)
        return stop;
    return want(guard, ' ', STATE_VERSION, FAULT_TARGET_BYTE, stop);
}

static const char *scan_version(struct ingress_http_guard *guard, const char *at, const char *end)
{
    static const char major[] = "HTTP/1.";
    static const char usual[] = "HTTP/1.1";
    if (guard->version_bytes == 0 && (size_t)(end - at) >= sizeof(usual) - 1 &&
        memcmp(at, usual, sizeof(usual) - 1) == 0) {
        guard->state = STATE_VERSION_CR;
        return at + sizeof(usual) - 1;
    }
    size_t seen = guard->version_bytes;
    guard->version_bytes++;
    if (seen == sizeof(major) - 1 && (*at == '0' || *at == '1'))
        return go(guard, STATE_VERSION_CR, at);
    if (seen < sizeof(major) - 1 && *at == major[seen])
        return at + 1;
    bool is_number = is_digit(*at) && (seen == strlen("HTTP/") || seen == sizeof(major) - 1);
    return fail(guard, is_number ? FAULT_VERSION : FAULT_VERSION_FORM, at);
}

static const char *scan_line_start(struct ingress_http_guard *guard,
                                   const struct ingress_http_limits *limits, const char *at)
{
    if (is_class(*at, CLASS_TOKEN)) {
        if (guard->header_count >= limits->header_count_max)
            return fail(guard, FAULT_HEADER_COUNT, at);
        guard->header_count++;
        return go(guard, STATE_NAME, at);
    }
    switch (*at) {
    case '\r':
        return go(guard, STATE_HEAD_LF, at);
    case '\n':
        return fail(guard, FAULT_BARE_LF, at);
    case ' ':
    case '\t':
        return fail(guard, FAULT_FOLDED, at);
    case ':':
        return fail(guard, FAULT_NAME_EMPTY, at);
    default:
        return fail(guard, FAULT_NAME_BYTE, at);
    }
}

static const char *scan_name(struct ingress_http_guard *guard, const char *at, const char *end)
{
    at = run_end(at, end, CLASS_TOKEN);
    if (at == end)
        return at;
    switch (*at) {
    case ':':
        return go(guard, STATE_VALUE, at);
    case ' ':
    case '\t':
        return fail(guard, FAULT_NAME_SPACE, at);
    case '\r':
    case '\n':
        return fail(guard, FAULT_NAME_ONLY, at);
    default:
        return fail(guard, FAULT_NAME_BYTE, at);
    }
}

static const char *scan_value(struct ingress_http_guard *guard, const char *at, const char *end)
{
    at = run_end(at, end, CLASS_VALUE);
    if (at == end)
        return at;
    return want(guard, '\r', STATE_LINE_LF, *at == '\n' ? FAULT_BARE_LF : FAULT_VALUE_BYTE, at);
}

static const char *scan_head(struct ingress_http_guard *guard,
                             const struct ingress_http_limits *limits, const char *at,
                             const char *end)
{
    switch (guard->state) {
    case STATE_METHOD:
        at = run_end(at, end, CLASS_TOKEN);
        return at == end ? at : want(guard, ' ', STATE_TARGET_FIRST, FAULT_METHOD, at);
    case STATE_TARGET_FIRST:
        if (*at == '*')
            return go(guard, STATE_TARGET_STAR, at);
        guard->target_bytes = 1;
        return want(guard, '/', STATE_TARGET, FAULT_TARGET_FORM, at);
    case STATE_TARGET_STAR:
        return want(guard, ' ', STATE_VERSION, FAULT_TARGET_FORM, at);
    case STATE_TARGET:
        return scan_target(guard, at, end);
    case STATE_VERSION:
        return scan_version(guard, at, end);
    case STATE_VERSION_CR:
        return want(guard, '\r', STATE_LINE_LF, FAULT_VERSION_FORM, at);
    case STATE_LINE_LF:
        return want(guard, '\n', STATE_LINE_START, FAULT_BARE_CR, at);
    case STATE_LINE_START:
        return scan_line_start(guard, limits, at);
    case STATE_NAME:
        return scan_name(guard, at, end);
    case STATE_VALUE:
        return scan_value(guard, at, end);
    default:
        CHECK(guard->state == STATE_HEAD_LF);
        return want(guard, '\n', STATE_DONE, FAULT_BARE_CR, at);
    }
}

static enum ingress_http_guard_verdict verdict_of(const struct ingress_http_guard *guard)
{
    return guard->state == STATE_DONE    ? INGRESS_HTTP_GUARD_END
           : guard->state == STATE_FAULT ? INGRESS_HTTP_GUARD_BAD
                                         : INGRESS_HTTP_GUARD_MORE;
}

size_t ingress_http_guard_head(struct ingress_http_guard *guard,
                               const struct ingress_http_limits *limits, const char *data,
                               size_t bytes, enum ingress_http_guard_verdict *verdict_out)
{
    const char *at = data;
    const char *end = data + bytes;
    while (at < end && ingress_http_guard_is_fresh(guard))
        at = scan_start(guard, at);

    const char *first = at; /* of those that count */
    size_t room = limits->header_bytes_max > guard->header_bytes
                      ? limits->header_bytes_max - guard->header_bytes
                      : 0;
    bool is_cut = (size_t)(end - at) > room;
    if (is_cut)
        end = at + room;
    while (at < end && guard->state < STATE_DONE)
        at = scan_head(guard, limits, at, end);
    guard->header_bytes += (uint32_t)(at - first);
    if (is_cut && at == end && guard->state < STATE_DONE)
        at = fail(guard, FAULT_HEADER_BYTES, at);
    *verdict_out = verdict_of(guard);
    return (size_t)(at - data);
}

void ingress_http_guard_expect(struct ingress_http_guard *guard, bool chunked, uint64_t length)
{
    CHECK(guard->state == STATE_DONE);
    guard->state = chunked ? STATE_CHUNK_SIZE : length > 0 ? STATE_LENGTH_DATA : STATE_DONE;
    guard->data_left = length;
}

static int hex_value(char byte)
{
    if (is_digit(byte))
        return byte - '0';
    char lower = (char)(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static const char *scan_chunk_size(struct ingress_http_guard *guard, const char *at)
{
    int digit = hex_value(*at);
    if (digit >= 0) {
        guard->data_left = guard->data_left << 4 | (uint64_t)digit;
        guard->chunk_digits++;
        if (guard->chunk_digits > 16 || guard->data_left > INT64_MAX)
            return fail(guard, FAULT_CHUNK_SIZE, at);
        return at + 1;
    }
    if (guard->chunk_digits == 0)
        return fail(guard, FAULT_CHUNK_SIZE, at);
    if (*at == ';')
        return go(guard, STATE_CHUNK_EXTENSION, at);
    return want(guard, '\r', STATE_CHUNK_SIZE_LF, FAULT_CHUNK_LINE, at);
}

static const char *scan_data(struct ingress_http_guard *guard, const char *at, const char *end)
{
    uint64_t given = (uint64_t)(end - at);
    uint64_t taken = given < guard->data_left ? given : guard->data_left;
    guard->data_left -= taken;
    guard->body_bytes += taken;
    if (guard->data_left == 0)
        guard->state = guard->state == STATE_LENGTH_DATA ? STATE_DONE : STATE_CHUNK_DATA_CR;
    return at + taken;
}

static const char *scan_framing(struct ingress_http_guard *guard, const char *at)
{
    guard->framing_bytes++;
    if (guard->framing_bytes > INGRESS_HTTP_FRAMING_BYTES_FREE +
                                   INGRESS_HTTP_FRAMING_BYTES_PER_BODY_BYTE * guard->body_bytes)
        return fail(guard, FAULT_FRAMING, at);
    switch (guard->state) {
    case STATE_CHUNK_SIZE:
        return scan_chunk_size(guard, at);
    case STATE_CHUNK_EXTENSION:
        if (is_class(*at, CLASS_VALUE))
            return at + 1;
        return want(guard, '\r', STATE_CHUNK_SIZE_LF, FAULT_CHUNK_LINE, at);
    case STATE_CHUNK_SIZE_LF:
        return want(guard, '\n', guard->data_left > 0 ? STATE_CHUNK_DATA : STATE_LAST_CR,
                    FAULT_CHUNK_LINE, at);
    case STATE_CHUNK_DATA_CR:
        return want(guard, '\r', STATE_CHUNK_DATA_LF, FAULT_CHUNK_END, at);
    case STATE_CHUNK_DATA_LF:
        guard->chunk_digits = 0;
        return want(guard, '\n', STATE_CHUNK_SIZE, FAULT_CHUNK_END, at);
    case STATE_LAST_CR:
        return want(guard, '\r', STATE_LAST_LF, FAULT_TRAILER, at);
    default:
        CHECK(guard->state == STATE_LAST_LF);
        return want(guard, '\n', STATE_DONE, FAULT_CHUNK_END, at);
    }
}

size_t ingress_http_guard_body(struct ingress_http_guard *guard, const char *data, size_t bytes,
                               enum ingress_http_guard_verdict *verdict_out)
{
    const char *at = data;
    const char *end = data + bytes;
    while (at < end && guard->state < STATE_DONE) {
        bool is_data = guard->state == STATE_CHUNK_DATA || guard->state == STATE_LENGTH_DATA;
        at = is_data ? scan_data(guard, at, end) : scan_framing(guard, at);
    }
    *verdict_out = verdict_of(guard);
    return (size_t)(at - data);
}

void ingress_http_guard_explain(const struct ingress_http_guard *guard,
                                const struct ingress_http_limits *limits,
                                struct base_problem *problem)
{
    CHECK(guard->state == STATE_FAULT);
    switch (guard->fault) {
    case FAULT_TARGET_BYTES:
        base_problem_set(problem, BASE_PROBLEM_URI_TOO_LONG,
                         "The request target is longer than %d bytes; no route needs more.",
                         INGRESS_HTTP_TARGET_BYTES_MAX);
        break;
    case FAULT_VERSION:
        base_problem_set(problem, BASE_PROBLEM_VERSION_NOT_SUPPORTED,
                         "This engine speaks HTTP/1.1 and HTTP/1.0; send the request as HTTP/1.1.");
        break;
    case FAULT_HEADER_BYTES:
        base_problem_set(problem, BASE_PROBLEM_HEADERS_TOO_LARGE,
                         "Request line and headers are longer than %u bytes; send fewer or shorter "
                         "headers.",
                         (unsigned)limits->header_bytes_max);
        break;
    case FAULT_HEADER_COUNT:
        base_problem_set(problem, BASE_PROBLEM_HEADERS_TOO_LARGE,
                         "The request has more than %u headers; send fewer.",
                         (unsigned)limits->header_count_max);
        break;
    default:
        base_problem_set(problem, BASE_PROBLEM_MALFORMED_REQUEST, "%s",
                         fault_details[guard->fault]);
    }
}
