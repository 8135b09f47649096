/* Each case is fed whole, cut in two at every byte, and byte by byte; what comes out must be the
 * same each time, down to the text of the problem. Fragments are copied into blocks of exactly
 * their size, so that AddressSanitizer sees a read beyond them.
 */
#include "ingress/http.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES_MAX 1024
#define HEADER_COUNT_MAX 16
static const struct ingress_http_limits limits = {HEADER_BYTES_MAX, HEADER_COUNT_MAX};

/* What a stream led to. */
struct outcome {
    char events[256]; /* H, E, the status of BAD; and "head" or "body" when it stops in one */
    char heads[4096]; /* one line per HEADERS */
    char body[16384]; /* of all messages */
    size_t body_bytes;
    size_t body_bytes_max; /* what on_body takes */
    struct base_problem problem;
};

static struct outcome *current; /* for on_body, which has no context of its own */

static void append(char *text, size_t capacity, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(text + used, capacity - used, format, arguments);
    va_end(arguments);
    cr_assert(bytes >= 0 && (size_t)bytes < capacity - used, "outcome too small");
}

static bool on_body(struct ingress_http *http, const char *data, size_t bytes)
{
    cr_assert(bytes > 0);
    if (current->body_bytes + bytes > current->body_bytes_max) {
        base_problem_set(http->problem, BASE_PROBLEM_BODY_TOO_LARGE, "told by on_body");
        return false;
    }
    memcpy(current->body + current->body_bytes, data, bytes);
    current->body_bytes += bytes;
    return true;
}

static void describe_head(struct outcome *outcome, const struct ingress_http_head *head)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OTHER"};
    static const char *const media[] = {"none", "json", "other"};
    size_t size = sizeof(outcome->heads);
    append(outcome->heads, size, "%s %.*s %s", methods[head->method], (int)head->target_bytes,
           head->target, media[head->media]);
    if (head->has_length && !head->chunked)
        append(outcome->heads, size, " length=%llu", (unsigned long long)head->content_length);
    append(outcome->heads, size, "%s%s%s%s%s%s", head->has_body ? " body" : "",
           head->chunked ? " chunked" : "", head->keep_alive ? "" : " close",
           head->encoded ? " encoded" : "", head->expect_continue ? " continue" : "",
           head->expect_other ? " expect-other" : "");
    cr_assert(!head->chunked || (head->has_length && head->has_body && head->content_length == 0));
    if (head->has_trace) {
        append(outcome->heads, size, " trace=");
        for (size_t i = 0; i < sizeof(head->trace_id); i++)
            append(outcome->heads, size, "%02x", head->trace_id[i]);
    }
    if (head->key_bytes > 0)
        append(outcome->heads, size, " key=%.*s", (int)head->key_bytes, head->key);
    if (head->bearer == INGRESS_HTTP_BEARER_TOKEN) { /* the digest's first bytes say enough */
        append(outcome->heads, size, " token=");
        for (size_t i = 0; i < 8; i++)
            append(outcome->heads, size, "%02x", head->token_sha256[i]);
    }
    if (head->bearer == INGRESS_HTTP_BEARER_MALFORMED)
        append(outcome->heads, size, " token-malformed");
    append(outcome->heads, size, "\n");
}

/* Feeds one fragment as a connection would; false when the connection is over. */
static bool feed_fragment(struct ingress_http *http, struct outcome *outcome, const char *data,
                          size_t bytes)
{
    size_t size = sizeof(outcome->events);
    size_t at = 0;
    for (;;) {
        enum ingress_http_event event;
        size_t consumed = ingress_http_feed(http, data + at, bytes - at, &event, &outcome->problem);
        cr_assert(consumed <= bytes - at);
        at += consumed;
        if (event != INGRESS_HTTP_MORE)
            cr_assert_eq(ingress_http_in_body(http), event == INGRESS_HTTP_HEADERS);
        cr_assert_eq(outcome->problem.kind != BASE_PROBLEM_NONE, event == INGRESS_HTTP_BAD);
        if (event == INGRESS_HTTP_BAD) {
            append(outcome->events, size, "%d",
                   base_problem_class_of(outcome->problem.kind)->status);
            cr_assert(strlen(outcome->problem.detail) > 0);
            return false;
        }
        if (event == INGRESS_HTTP_MORE) {
            cr_assert_eq(at, bytes, "MORE without consuming everything");
            return true;
        }
        append(outcome->events, size, event == INGRESS_HTTP_HEADERS ? "H " : "E ");
        if (event == INGRESS_HTTP_HEADERS)
            describe_head(outcome, &http->head);
        if (event == INGRESS_HTTP_END && !http->head.keep_alive)
            return false;
        if (event == INGRESS_HTTP_END && at == bytes)
            return true;
    }
}

/* Cuts `input` into fragments of `first` bytes, then of `rest` bytes each. */
static void run(struct outcome *outcome, size_t body_bytes_max, const char *input, size_t bytes,
                size_t first, size_t rest)
{
    struct ingress_http *http = malloc(sizeof(*http));
    memset(http, 0xA5, sizeof(*http)); /* init must set all that is read */
    ingress_http_init(http, &limits, on_body);
    memset(outcome, 0, sizeof(*outcome));
    outcome->body_bytes_max = body_bytes_max;
    current = outcome;
    bool goes_on = true;
    size_t at = 0;
    size_t fragment_bytes = first;
    while (goes_on && at < bytes) {
        if (fragment_bytes > bytes - at)
            fragment_bytes = bytes - at;
        char *fragment = malloc(fragment_bytes > 0 ? fragment_bytes : 1);
        memcpy(fragment, input + at, fragment_bytes);
        goes_on = feed_fragment(http, outcome, fragment, fragment_bytes) &&
                  feed_fragment(http, outcome, fragment, 0); /* which changes nothing */
        free(fragment);
        at += fragment_bytes;
        fragment_bytes = rest;
    }
    if (goes_on && ingress_http_in_body(http))
        append(outcome->events, sizeof(outcome->events), "body");
    else if (goes_on && !ingress_http_is_idle(http))
        append(outcome->events, sizeof(outcome->events), "head");
    size_t used = strlen(outcome->events);
    if (used > 0 && outcome->events[used - 1] == ' ')
        outcome->events[used - 1] = '\0';
    free(http);
}

static void assert_same(const struct outcome *whole, const struct outcome *cut, const char *name,
                        const char *how, size_t at)
{
    cr_assert_str_eq(cut->events, whole->events, "%s, %s %zu: %s, whole: %s", name, how, at,
                     cut->events, whole->events);
    cr_assert_str_eq(cut->heads, whole->heads, "%s, %s %zu", name, how, at);
    cr_assert_eq(cut->body_bytes, whole->body_bytes, "%s, %s %zu", name, how, at);
    cr_assert_arr_eq(cut->body, whole->body, whole->body_bytes, "%s, %s %zu", name, how, at);
    cr_assert_str_eq(cut->problem.detail, whole->problem.detail, "%s, %s %zu: %s, whole: %s", name,
                     how, at, cut->problem.detail, whole->problem.detail);
}

/* The outcome, which is the same however the input is cut. */
static const struct outcome *outcome_of(const char *name, const char *input, size_t bytes,
                                        size_t body_bytes_max)
{
    static struct outcome whole;
    static struct outcome cut;
    run(&whole, body_bytes_max, input, bytes, bytes, bytes);
    for (size_t at = 0; at <= bytes; at++) {
        run(&cut, body_bytes_max, input, bytes, at, bytes);
        assert_same(&whole, &cut, name, "cut at", at);
    }
    for (size_t step = 1; step <= 7; step += 2) {
        run(&cut, body_bytes_max, input, bytes, step, step);
        assert_same(&whole, &cut, name, "in steps of", step);
    }
    return &whole;
}

struct http_case {
    const char *name;
    const char *input;
    size_t bytes;
    const char *events;
    const char *expected; /* the heads; or, for BAD, a part of the detail; NULL: not looked at */
    const char *body;     /* NULL: not looked at */
};

/* CASE(name, input, events[, expected[, body]]) */
#define CASE(...) CASE_OF(__VA_ARGS__, NULL, NULL, )
#define CASE_OF(name, input, events, expected, body, ...)                                          \
    {                                                                                              \
        name, input, sizeof(input) - 1, events, expected, body                                     \
    }

static void check_case(const struct http_case *c)
{
    const struct outcome *outcome = outcome_of(c->name, c->input, c->bytes, 8192);
    cr_expect_str_eq(outcome->events, c->events, "%s: %s, expected %s (%s)", c->name,
                     outcome->events, c->events, outcome->problem.detail);
    if (c->expected != NULL && outcome->problem.kind == BASE_PROBLEM_NONE)
        cr_expect_str_eq(outcome->heads, c->expected, "%s: %s", c->name, outcome->heads);
    else if (c->expected != NULL)
        cr_expect(strstr(outcome->problem.detail, c->expected) != NULL, "%s: %s", c->name,
                  outcome->problem.detail);
    if (c->body != NULL) {
        cr_expect_eq(outcome->body_bytes, strlen(c->body), "%s", c->name);
        cr_expect_arr_eq(outcome->body, c->body, strlen(c->body), "%s", c->name);
    }
}

static void check_cases(const struct http_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_case(&cases[i]);
}

#define CHECK_CASES(cases) check_cases(cases, sizeof(cases) / sizeof((cases)[0]))

#define GET     "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST    "POST / HTTP/1.1\r\nHost: a\r\n"
#define FIVE    POST "Content-Length: 5\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define LAST    "0\r\n\r\n"

static const struct http_case plain_cases[] = {
    CASE("nothing", "", ""),
    CASE("get", GET "\r\n", "H E", "GET / none\n", ""),
    CASE("head", "HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n", "H E", "HEAD /livez none\n", ""),
    CASE("post with a body",
         "POST /v1/submissions?x=1 HTTP/1.1\r\nHost: a:8080\r\nContent-Type: application/json\r\n"
         "Content-Length: 5\r\n\r\nhello",
         "H E", "POST /v1/submissions?x=1 json length=5 body\n", "hello"),
    CASE("post without a length", POST "\r\n", "H E", "POST / none\n", ""),
    CASE("post of length 0", POST "Content-Length: 0\r\n\r\n", "H E", "POST / none length=0\n", ""),
    CASE("get with a body", GET "Content-Length: 2\r\n\r\nab", "H E", "GET / none length=2 body\n",
         "ab"),
    CASE("put", "PUT /x HTTP/1.1\r\nHost: a\r\n\r\n", "H E", "OTHER /x none\n"),
    CASE("method of ICE", "SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n", "H E", "OTHER / none\n"),
    CASE("options on everything", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "H E", "OTHER * none\n"),
    CASE("options on a path", "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", "H E", "OTHER /x none\n"),
    CASE("escapes stay as sent", "GET /a%2Fb%00?q=%41 HTTP/1.1\r\nHost: a\r\n\r\n", "H E",
         "GET /a%2Fb%00?q=%41 none\n"),
    CASE("one empty line first", "\r\n" GET "\r\n", "H E", "GET / none\n"),
    CASE("only an empty line", "\r\n", ""),
    CASE("only half an empty line", "\r", ""),
    CASE("empty value of host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "H E", "GET / none\n"),
    CASE("no space behind the colon", "GET / HTTP/1.1\r\nHost:a\r\nContent-Length:1\r\n\r\nx",
         "H E", "GET / none length=1 body\n", "x"),
    CASE("white space around a value", FIVE "Content-Type: \t application/json \t \r\n\r\nhello",
         "H E", "POST / json length=5 body\n"),
    CASE("names in any case",
         "POST / HTTP/1.1\r\nhOST: a\r\ncontent-LENGTH: 5\r\nCONTENT-TYPE: application/json\r\n\r\n"
         "hello",
         "H E", "POST / json length=5 body\n", "hello"),
    CASE("names that start like one that matters",
         GET "Hos: b\r\nHosts: b\r\nContent-Typ: x\r\nContent-Types: x\r\nExpectx: y\r\n"
             "Transfer-Encodingx: y\r\nTransfer-Encodinh: y\r\n\r\n",
         "H E", "GET / none\n"),
    CASE("obs-text in a value", GET "X: \x80\xff\xc3\xa4\r\n\r\n", "H E", "GET / none\n"),
    CASE("tab in a value", GET "X: a\tb\r\n\r\n", "H E"),
    CASE("all token characters in a name", GET "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", "H E"),
    CASE("length with leading zeros", POST "Content-Length: 0005\r\n\r\nhello", "H E",
         "POST / none length=5 body\n", "hello"),
    CASE("length with a space behind", POST "Content-Length: 5 \r\n\r\nhello", "H E",
         "POST / none length=5 body\n", "hello"),
    CASE("greatest length", POST "Content-Length: 18446744073709551615\r\n\r\nx", "H body",
         "POST / none length=18446744073709551615 body\n", "x"),
    CASE("body not complete", FIVE "\r\nhell", "H body", NULL, "hell"),
    CASE("header section not complete", GET "\r", "head", NULL, ""),
    CASE("request line not complete", "G", "head"),
    CASE("body with all kinds of bytes", FIVE "\r\n\r\n\0\xff ", "H E"),
};

Test(http, takes_plain_requests)
{
    CHECK_CASES(plain_cases);
}

static const struct http_case connection_cases[] = {
    CASE("close", GET "Connection: close\r\n\r\n", "H E", "GET / none close\n"),
    CASE("close in capitals", GET "Connection: CLOSE\r\n\r\n", "H E", "GET / none close\n"),
    CASE("close in a list", GET "Connection: keep-alive, close\r\n\r\n", "H E",
         "GET / none close\n"),
    CASE("bytes behind a close", GET "Connection: close\r\n\r\n" GET "\r\n", "H E",
         "GET / none close\n"),
    CASE("keep-alive", GET "Connection: keep-alive\r\n\r\n", "H E", "GET / none\n"),
    CASE("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "H E", "GET / none close\n"),
    CASE("HTTP/1.0 kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "H E",
         "GET / none\n"),
    CASE("HTTP/1.0, close wins",
         "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "H E",
         "GET / none close\n"),
    CASE("HTTP/1.0 with a body", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", "H E",
         "POST / none length=2 body close\n", "ab"),
    CASE("upgrade without a body", GET "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", "H E",
         "GET / none\n"),
    CASE("upgrade and a second request",
         GET "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" GET "\r\n", "H E H E",
         "GET / none\nGET / none\n"),
    CASE("upgrade with a body",
         FIVE "Connection: upgrade\r\nUpgrade: websocket\r\n\r\nhello" GET "\r\n", "H E H E",
         "POST / none length=5 body\nGET / none\n", "hello"),
    CASE("upgrade with chunks",
         POST "Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
              "2\r\nab\r\n" LAST GET "\r\n",
         "H E H E", "POST / none body chunked\nGET / none\n", "ab"),
};

Test(http, tells_whether_the_connection_goes_on)
{
    CHECK_CASES(connection_cases);
}

static const struct http_case meaning_cases[] = {
    CASE("json with charset", GET "Content-Type: application/json; charset=utf-8\r\n\r\n", "H E",
         "GET / json\n"),
    CASE("json with charset, quoted, capitals",
         GET "Content-Type: APPLICATION/JSON ; Charset=\"UTF-8\"\r\n\r\n", "H E", "GET / json\n"),
    CASE("json without space", GET "Content-Type: application/json;charset=UTF-8\r\n\r\n", "H E",
         "GET / json\n"),
    CASE("json with another parameter",
         GET "Content-Type: application/json; profile=\"a;charset=\\\"x\"; v=1\r\n\r\n", "H E",
         "GET / json\n"),
    CASE("json with empty parameters", GET "Content-Type: application/json;; ;\r\n\r\n", "H E",
         "GET / json\n"),
    CASE("json in another charset", GET "Content-Type: application/json; charset=latin1\r\n\r\n",
         "H E", "GET / other\n"),
    CASE("json with two charsets",
         GET "Content-Type: application/json; charset=utf-8; charset=utf-16\r\n\r\n", "H E",
         "GET / other\n"),
    CASE("json with a charset like utf-8",
         GET "Content-Type: application/json; charset=utf-80\r\n\r\n", "H E", "GET / other\n"),
    CASE("json with an unclosed quote",
         GET "Content-Type: application/json; charset=\"utf-8\r\n\r\n", "H E", "GET / other\n"),
    CASE("json with a parameter without value", GET "Content-Type: application/json; a\r\n\r\n",
         "H E", "GET / other\n"),
    CASE("json with an empty value", GET "Content-Type: application/json; charset=\r\n\r\n", "H E",
         "GET / other\n"),
    CASE("json without semicolon", GET "Content-Type: application/json charset=utf-8\r\n\r\n",
         "H E", "GET / other\n"),
    CASE("longer media type", GET "Content-Type: application/json5\r\n\r\n", "H E",
         "GET / other\n"),
    CASE("shorter media type", GET "Content-Type: application/jso\r\n\r\n", "H E", "GET / other\n"),
    CASE("another media type", GET "Content-Type: application/x-ndjson\r\n\r\n", "H E",
         "GET / other\n"),
    CASE("empty media type", GET "Content-Type:\r\n\r\n", "H E", "GET / other\n"),
    CASE("content type twice",
         GET "Content-Type: application/json\r\nContent-Type: application/json\r\n\r\n", "400",
         "Content-Type is given more than once"),
    CASE("identity", GET "Content-Encoding: Identity\r\n\r\n", "H E", "GET / none\n"),
    CASE("gzip", GET "Content-Encoding: gzip\r\n\r\n", "H E", "GET / none encoded\n"),
    CASE("identity and gzip", GET "Content-Encoding: gzip\r\nContent-Encoding: identity\r\n\r\n",
         "H E", "GET / none encoded\n"),
    CASE("expect", FIVE "Expect: 100-Continue\r\n\r\nhello", "H E",
         "POST / none length=5 body continue\n"),
    CASE("expect, body to come", FIVE "Expect: 100-continue\r\n\r\n", "H body",
         "POST / none length=5 body continue\n"),
    CASE("expect something else", GET "Expect: 200-ok\r\n\r\n", "H E", "GET / none expect-other\n"),
    CASE("expect in HTTP/1.0", "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "H E",
         "GET / none close\n"),
};

Test(http, understands_the_headers_that_matter)
{
    CHECK_CASES(meaning_cases);
}

#define TRACE         "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT        "00f067aa0ba902b7"
#define TRACED(value) GET "traceparent: " value "\r\n\r\n"
#define UNTRACED      "GET / none\n"

static const struct http_case trace_cases[] = {
    CASE("version 00", TRACED("00-" TRACE "-" PARENT "-01"), "H E", "GET / none trace=" TRACE "\n"),
    CASE("header name in capitals", GET "TRACEPARENT: 00-" TRACE "-" PARENT "-00\r\n\r\n", "H E",
         "GET / none trace=" TRACE "\n"),
    CASE("space behind", TRACED("00-" TRACE "-" PARENT "-01 "), "H E",
         "GET / none trace=" TRACE "\n"),
    CASE("version 00, longer", TRACED("00-" TRACE "-" PARENT "-01-x"), "H E", UNTRACED),
    CASE("version 00, shorter", TRACED("00-" TRACE "-" PARENT "-0"), "H E", UNTRACED),
    CASE("version 01", TRACED("01-" TRACE "-" PARENT "-01"), "H E", "GET / none trace=" TRACE "\n"),
    CASE("version 01, longer", TRACED("01-" TRACE "-" PARENT "-01-what-ever"), "H E",
         "GET / none trace=" TRACE "\n"),
    CASE("version 01, much longer",
         TRACED("01-" TRACE "-" PARENT "-01-" TRACE TRACE TRACE TRACE TRACE), "H E",
         "GET / none trace=" TRACE "\n"),
    CASE("version 01, longer without a dash", TRACED("01-" TRACE "-" PARENT "-01x"), "H E",
         UNTRACED),
    CASE("version ff", TRACED("ff-" TRACE "-" PARENT "-01"), "H E", UNTRACED),
    CASE("capital digits", TRACED("00-4BF92F3577b34da6a3ce929d0e0e4736-" PARENT "-01"), "H E",
         UNTRACED),
    CASE("no digit in the trace", TRACED("00-gbf92f3577b34da6a3ce929d0e0e4736-" PARENT "-01"),
         "H E", UNTRACED),
    CASE("no digit in the parent", TRACED("00-" TRACE "-00f067aa0ba902bx-01"), "H E", UNTRACED),
    CASE("no digit in the flags", TRACED("00-" TRACE "-" PARENT "-0x"), "H E", UNTRACED),
    CASE("trace zero", TRACED("00-00000000000000000000000000000000-" PARENT "-01"), "H E",
         UNTRACED),
    CASE("parent zero", TRACED("00-" TRACE "-0000000000000000-01"), "H E", UNTRACED),
    CASE("no dash", TRACED("00-" TRACE "_" PARENT "-01"), "H E", UNTRACED),
    CASE("empty", TRACED(""), "H E", UNTRACED),
    CASE("twice",
         GET "traceparent: 00-" TRACE "-" PARENT "-01\r\ntraceparent: 00-" TRACE "-" PARENT
             "-01\r\n\r\n",
         "H E", UNTRACED),
    CASE("trace of the request before is forgotten",
         TRACED("00-" TRACE "-" PARENT "-01") GET "\r\n", "H E H E",
         "GET / none trace=" TRACE "\nGET / none\n"),
};

Test(http, understands_traceparent)
{
    CHECK_CASES(trace_cases);
}

static const struct http_case key_cases[] = {
    CASE("plain", GET "Idempotency-Key: 8e03978e-40d5\r\n\r\n", "H E",
         "GET / none key=8e03978e-40d5\n"),
    CASE("quoted", GET "Idempotency-Key: \"8e03978e-40d5\"\r\n\r\n", "H E",
         "GET / none key=8e03978e-40d5\n"),
    CASE("one character", GET "Idempotency-Key: x\r\n\r\n", "H E", "GET / none key=x\n"),
    CASE("one quote", GET "Idempotency-Key: \"\r\n\r\n", "H E", "GET / none key=\"\n"),
    CASE("empty", GET "Idempotency-Key:\r\n\r\n", "400", "1 to 128 visible"),
    CASE("empty quotes", GET "Idempotency-Key: \"\"\r\n\r\n", "400", "1 to 128 visible"),
    CASE("space within", GET "Idempotency-Key: a b\r\n\r\n", "400", "1 to 128 visible"),
    CASE("not ASCII", GET "Idempotency-Key: \xc3\xa4\r\n\r\n", "400", "1 to 128 visible"),
    CASE("twice", GET "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n", "400",
         "Idempotency-Key is given more than once"),
    CASE("key of the request before is forgotten", GET "Idempotency-Key: a\r\n\r\n" GET "\r\n",
         "H E H E", "GET / none key=a\nGET / none\n"),
};

Test(http, understands_idempotency_key)
{
    CHECK_CASES(key_cases);
}

#define BEARER(value) GET "Authorization: " value "\r\n\r\n"
/* the first 16 digits of SHA-256("abc") and SHA-256("a-._~+/=") */
#define ABC      "GET / none token=ba7816bf8f01cfea\n"
#define SPECIAL  "GET / none token=ae475611b6011ad7\n"
#define NO_SHAPE "GET / none token-malformed\n"

static const struct http_case bearer_cases[] = {
    CASE("plain", BEARER("Bearer abc"), "H E", ABC),
    CASE("scheme in other case", BEARER("bEARER abc"), "H E", ABC),
    CASE("name in other case", GET "AUTHORIZATION: Bearer abc\r\n\r\n", "H E", ABC),
    CASE("spaces around", BEARER("  Bearer   abc \t"), "H E", ABC),
    CASE("every special character", BEARER("Bearer a-._~+/="), "H E", SPECIAL),
    CASE("none", GET "\r\n", "H E", "GET / none\n"),
    CASE("empty", BEARER(""), "H E", "GET / none\n"),
    CASE("another scheme", BEARER("Basic abc"), "H E", "GET / none\n"),
    CASE("a longer scheme", BEARER("Bearers abc"), "H E", "GET / none\n"),
    CASE("no scheme", BEARER("abc"), "H E", "GET / none\n"),
    CASE("no token", BEARER("Bearer"), "H E", NO_SHAPE),
    CASE("tab before the token", BEARER("Bearer\tabc"), "H E", NO_SHAPE),
    CASE("two tokens", BEARER("Bearer abc abc"), "H E", NO_SHAPE),
    CASE("a list", BEARER("Bearer abc,abc"), "H E", NO_SHAPE),
    CASE("quotes", BEARER("Bearer \"abc\""), "H E", NO_SHAPE),
    CASE("not ASCII", BEARER("Bearer ab\xc3\xa4"), "H E", NO_SHAPE),
    CASE("twice", GET "Authorization: Bearer abc\r\nauthorization: Bearer abc\r\n\r\n", "400",
         "Authorization is given more than once"),
    CASE("token of the request before is forgotten", BEARER("Bearer abc") GET "\r\n", "H E H E",
         ABC "GET / none\n"),
    CASE("malformed behind a good one", BEARER("Bearer abc") BEARER("Bearer a b"), "H E H E",
         ABC NO_SHAPE),
};

Test(http, understands_bearer_tokens)
{
    CHECK_CASES(bearer_cases);
}

Test(http, keeps_nothing_of_a_token_but_its_digest)
{
    static const char text[] = BEARER("Bearer hunter2-hunter2");
    static struct ingress_http http;
    struct base_problem problem;
    enum ingress_http_event event;
    ingress_http_init(&http, &limits, NULL);
    ingress_http_feed(&http, text, sizeof(text) - 1, &event, &problem);
    cr_assert_eq(event, INGRESS_HTTP_HEADERS);
    cr_assert_null(memmem(&http, sizeof(http), "hunter", 6));
}

static const struct http_case request_line_cases[] = {
    CASE("two empty lines first", "\r\n\r\n" GET "\r\n", "400", "More than one empty line"),
    CASE("bare LF first", "\n" GET "\r\n", "400", "LF without CR"),
    CASE("CR without LF first", "\rGET / HTTP/1.1\r\n", "400", "CR without LF"),
    CASE("two CR first", "\r\r\n", "400", "CR without LF"),
    CASE("space first", " " GET "\r\n", "400", "does not start with a method"),
    CASE("NUL first", "\0", "400", "does not start with a method"),
    CASE("TLS hello", "\x16\x03\x01\x02", "400", "does not start with a method"),
    CASE("lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method is unknown"),
    CASE("unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method is unknown"),
    CASE("method with more behind", "GETX / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("method of RTSP", "SETUP / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method is unknown"),
    CASE("PRI with another target", "PRI / HTTP/1.1\r\nHost: a\r\n\r\n", "505", "HTTP/2"),
    CASE("PRI with another version", "PRI * HTTP/1.0\r\n\r\nSM\r\n", "505", "HTTP/2"),
    CASE("no target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", "400", "not a path"),
    CASE("two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "not a path"),
    CASE("tab before the target", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400",
         "does not start with a method"),
    CASE("two spaces behind the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400", "HTTP/1.1"),
    CASE("absolute form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "not a path"),
    CASE("authority form", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "not a path"),
    CASE("connect", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "CONNECT"),
    CASE("connect to a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "CONNECT"),
    CASE("star without options", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "OPTIONS only"),
    CASE("star with more", "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "not a path"),
    CASE("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "paths may not have"),
    CASE("not ASCII in the target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "400",
         "paths may not have"),
    CASE("fragment in the target", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", "400", "paths may not have"),
    CASE("HTTP/0.9", "GET /\r\n", "400"),
    CASE("HTTP/0.9 with a version", "GET / HTTP/0.9\r\n\r\n", "505", "HTTP/1.1"),
    CASE("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
    CASE("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    CASE("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505"),
    CASE("HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400"),
    CASE("HTTP/11.1", "GET / HTTP/11.1\r\nHost: a\r\n\r\n", "400"),
    CASE("http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
    CASE("RTSP/1.0", "GET / RTSP/1.0\r\nHost: a\r\n\r\n", "400"),
    CASE("ICE/1.0", "SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", "400"),
    CASE("space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400"),
    CASE("bare LF behind the version", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400"),
    CASE("bare CR behind the version", "GET / HTTP/1.1\rHost: a\r\n\r\n", "400", "CR without LF"),
};

Test(http, refuses_malformed_request_lines)
{
    CHECK_CASES(request_line_cases);
}

static const struct http_case header_line_cases[] = {
    CASE("NUL in a value", GET "X: a\0b\r\n\r\n", "400", "control character"),
    CASE("DEL in a value", GET "X: a\x7f\r\n\r\n", "400", "control character"),
    CASE("escape in a value", GET "X: \x1b[0m\r\n\r\n", "400", "control character"),
    CASE("NUL in a name", GET "X\0: a\r\n\r\n", "400", "name holds a byte"),
    CASE("not ASCII in a name", GET "X\xc3\xa4: a\r\n\r\n", "400", "name holds a byte"),
    CASE("bracket in a name", GET "X[: a\r\n\r\n", "400", "name holds a byte"),
    CASE("empty name", GET ": a\r\n\r\n", "400", "no name"),
    CASE("no colon", GET "X\r\n\r\n", "400", "no colon"),
    CASE("space before the colon", GET "X : a\r\n\r\n", "400", "its colon"),
    CASE("tab before the colon", GET "X\t: a\r\n\r\n", "400", "its colon"),
    CASE("space in a name", GET "X y: a\r\n\r\n", "400", "its colon"),
    CASE("folded with a space", GET "X: a\r\n b\r\n\r\n", "400", "one line"),
    CASE("folded with a tab", GET "X: a\r\n\tb\r\n\r\n", "400", "one line"),
    CASE("space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400", "one line"),
    CASE("space in the empty line", GET " \r\n\r\n", "400", "one line"),
    CASE("bare LF behind a value", GET "X: a\nY: b\r\n\r\n", "400", "LF without CR"),
    CASE("bare LF for the empty line", GET "\n", "400", "LF without CR"),
    CASE("bare CR behind a value", GET "X: a\rY: b\r\n\r\n", "400", "CR without LF"),
    CASE("two CR behind a value", GET "X: a\r\r\n\r\n", "400", "CR without LF"),
    CASE("bare CR for the empty line", GET "\rX", "400", "CR without LF"),
    CASE("bare CR at once behind the colon", GET "X:\ra\r\n\r\n", "400", "CR without LF"),
    CASE("host missing", "GET / HTTP/1.1\r\n\r\n", "400", "Host is missing"),
    CASE("host twice", GET "Host: a\r\n\r\n", "400", "Host is given more than once"),
};

Test(http, refuses_malformed_header_lines)
{
    CHECK_CASES(header_line_cases);
}

static const struct http_case length_cases[] = {
    CASE("length twice, the same", FIVE "Content-Length: 5\r\n\r\nhello", "400",
         "Content-Length is given more than once"),
    CASE("length twice, different", FIVE "Content-Length: 6\r\n\r\nhello", "400",
         "Content-Length is given more than once"),
    CASE("list of lengths", POST "Content-Length: 5, 5\r\n\r\nhello", "400", "Content-Length"),
    CASE("two numbers", POST "Content-Length: 5 5\r\n\r\nhello", "400", "Content-Length"),
    CASE("empty length", POST "Content-Length:\r\n\r\n", "400", "Content-Length"),
    CASE("blank length", POST "Content-Length:  \r\n\r\n", "400", "Content-Length"),
    CASE("signed length", POST "Content-Length: +5\r\n\r\nhello", "400", "Content-Length"),
    CASE("negative length", POST "Content-Length: -5\r\n\r\nhello", "400", "Content-Length"),
    CASE("hexadecimal length", POST "Content-Length: 0x5\r\n\r\nhello", "400", "Content-Length"),
    CASE("quoted length", POST "Content-Length: \"5\"\r\n\r\nhello", "400", "Content-Length"),
    CASE("fractional length", POST "Content-Length: 5.0\r\n\r\nhello", "400", "Content-Length"),
    CASE("length of 2^64", POST "Content-Length: 18446744073709551616\r\n\r\n", "400",
         "Content-Length"),
    CASE("length with 21 digits", POST "Content-Length: 000000000000000000005\r\n\r\nhello", "400",
         "Content-Length"),
    CASE("length and chunks", FIVE "Transfer-Encoding: chunked\r\n\r\n" LAST, "400", "together"),
    CASE("chunks and length", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" LAST,
         "400", "together"),
    CASE("length 0 and chunks", POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" LAST,
         "400", "together"),
    CASE("chunked twice",
         POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" LAST, "400",
         "Transfer-Encoding is given more than once"),
    CASE("gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n" LAST, "501",
         "\"chunked\""),
    CASE("chunked, chunked", POST "Transfer-Encoding: chunked, chunked\r\n\r\n" LAST, "501"),
    CASE("identity", POST "Transfer-Encoding: identity\r\n\r\n", "501"),
    CASE("empty coding", POST "Transfer-Encoding:\r\n\r\n", "501"),
    CASE("quoted coding", POST "Transfer-Encoding: \"chunked\"\r\n\r\n" LAST, "501"),
    CASE("coding that ends like chunked", POST "Transfer-Encoding: xchunked\r\n\r\n" LAST, "501"),
    CASE("coding with a parameter", POST "Transfer-Encoding: chunked;q=1\r\n\r\n" LAST, "501"),
    CASE("vertical tab before the coding",
         POST "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n" LAST,
         "400", "control character"),
    CASE("tab behind the coding", POST "Transfer-Encoding: chunked\t\r\n\r\n" LAST, "400",
         "more than one way"),
    CASE("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" LAST, "400",
         "HTTP/1.0"),
};

Test(http, refuses_ambiguous_lengths)
{
    CHECK_CASES(length_cases);
}

static const struct http_case chunk_cases[] = {
    CASE("no data", CHUNKED LAST, "H E", "POST / none body chunked\n", ""),
    CASE("one chunk", CHUNKED "5\r\nhello\r\n" LAST, "H E", NULL, "hello"),
    CASE("coding in capitals", POST "Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n" LAST, "H E",
         NULL, "hello"),
    CASE("many chunks", CHUNKED "1\r\nh\r\n3\r\nell\r\n1\r\no\r\n" LAST, "H E", NULL, "hello"),
    CASE("capital digit", CHUNKED "A\r\n0123456789\r\n" LAST, "H E", NULL, "0123456789"),
    CASE("small digit", CHUNKED "b\r\n0123456789a\r\n" LAST, "H E", NULL, "0123456789a"),
    CASE("16 digits", CHUNKED "0000000000000002\r\nab\r\n" LAST, "H E", NULL, "ab"),
    CASE("several zeros at the end", CHUNKED "1\r\na\r\n000\r\n\r\n", "H E", NULL, "a"),
    CASE("CRLF in the data", CHUNKED "4\r\n\r\n\r\n\r\n" LAST, "H E", NULL, "\r\n\r\n"),
    CASE("extension", CHUNKED "2;a\r\nab\r\n" LAST, "H E", NULL, "ab"),
    CASE("extension with a value", CHUNKED "2;a=b\r\nab\r\n0;e=f\r\n\r\n", "H E", NULL, "ab"),
    CASE("two extensions", CHUNKED "2;a;c=d\r\nab\r\n" LAST, "H E", NULL, "ab"),
    CASE("extension with a quoted value", CHUNKED "2;a=\"b c\"\r\nab\r\n" LAST, "H E", NULL, "ab"),
    CASE("not complete", CHUNKED "5\r\nhel", "H body", NULL, "hel"),
    CASE("last line missing", CHUNKED "5\r\nhello\r\n0\r\n", "H body", NULL, "hello"),
    CASE("greatest size", CHUNKED "7fffffffffffffff\r\nx", "H body", NULL, "x"),
    CASE("size of 2^63", CHUNKED "8000000000000000\r\nx", "H 400", "below 2^63"),
    CASE("17 digits", CHUNKED "00000000000000005\r\nhello\r\n" LAST, "H 400", "16 hexadecimal"),
    CASE("size that wraps", CHUNKED "10000000000000005\r\nhello\r\n" LAST, "H 400"),
    CASE("no size", CHUNKED "\r\nhello\r\n" LAST, "H 400", "hexadecimal"),
    CASE("no digit", CHUNKED "g\r\nhello\r\n" LAST, "H 400", "hexadecimal"),
    CASE("signed size", CHUNKED "+5\r\nhello\r\n" LAST, "H 400", "hexadecimal"),
    CASE("0x size", CHUNKED "0x5\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("space before the size", CHUNKED " 5\r\nhello\r\n" LAST, "H 400", "hexadecimal"),
    CASE("space behind the size", CHUNKED "5 \r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("space before an extension", CHUNKED "5 ;a\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("space in an extension", CHUNKED "5; a\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("empty extension", CHUNKED "5;\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("bare LF behind the size", CHUNKED "5\nhello\r\n" LAST, "H 400", "size line"),
    CASE("bare CR behind the size", CHUNKED "5\rhello\r\n" LAST, "H 400", "size line"),
    CASE("bare LF in an extension", CHUNKED "5;a\nhello\r\n" LAST, "H 400", "size line"),
    CASE("bare CR in an extension", CHUNKED "5;a\rb\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("NUL in an extension", CHUNKED "5;a=\0\r\nhello\r\n" LAST, "H 400", "size line"),
    CASE("more data than the size says", CHUNKED "5\r\nhello!\r\n" LAST, "H 400", "not as long"),
    CASE("less data than the size says", CHUNKED "6\r\nhello\r\n" LAST, "H 400", "not as long"),
    CASE("bare LF behind the data", CHUNKED "5\r\nhello\n" LAST, "H 400", "not as long"),
    CASE("bare CR behind the data", CHUNKED "5\r\nhello\r0\r\n\r\n", "H 400", "not as long"),
    CASE("trailer", CHUNKED "5\r\nhello\r\n0\r\nX: y\r\n\r\n", "H 400", "Trailers"),
    CASE("length as a trailer", CHUNKED "0\r\nContent-Length: 5\r\n\r\nhello", "H 400", "Trailers"),
    CASE("bare LF at the end", CHUNKED "0\r\n\n", "H 400"),
    CASE("bare CR at the end", CHUNKED "0\r\n\rx", "H 400"),
};

Test(http, reads_chunks_strictly)
{
    CHECK_CASES(chunk_cases);
}

#define SMUGGLED "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

/* One case at least for each way that was found into llhttp and the servers built on it. */
static const struct http_case smuggling_cases[] = {
    CASE("CVE-2019-15605: malformed Transfer-Encoding", FIVE "Transfer-Encoding: chunkedx\r\n\r\n",
         "400", "together"),
    CASE("CVE-2020-8287: two Transfer-Encoding",
         POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" LAST SMUGGLED,
         "400"),
    CASE("CVE-2021-22959: space before the colon", POST "Content-Length : 5\r\n\r\nhello" SMUGGLED,
         "400"),
    CASE("CVE-2021-22960: CR in a chunk extension", CHUNKED "2;\rxx\r\n4c\r\n" LAST SMUGGLED,
         "H 400"),
    CASE("CVE-2021-22960: LF in a chunk extension", CHUNKED "2;\nxx\r\n4c\r\n" LAST SMUGGLED,
         "H 400"),
    CASE("CVE-2022-32213: chunked is not all",
         POST "Transfer-Encoding: chunked, identity\r\n\r\n" LAST, "501"),
    CASE("CVE-2022-32213: chunked with a suffix",
         POST "Transfer-Encoding: chunkedchunked\r\n\r\n" LAST, "501"),
    CASE("CVE-2022-32213: identity, chunked",
         POST "Transfer-Encoding: identity, chunked\r\n\r\n" LAST, "501"),
    CASE("CVE-2022-32214: LF ends a header", GET "X: y\nContent-Length: 5\r\n\r\nhello", "400"),
    CASE("CVE-2022-32214: LF ends the section", GET "X: y\r\n\n" SMUGGLED, "400"),
    CASE("CVE-2022-32215: folded Transfer-Encoding",
         POST "Transfer-Encoding: chunked\r\n , identity\r\n\r\n" LAST SMUGGLED, "400"),
    CASE("CVE-2022-32215: Transfer-Encoding on the next line",
         POST "Transfer-Encoding:\r\n chunked\r\n\r\n" LAST SMUGGLED, "400"),
    CASE("CVE-2022-35256: header ended by CR", POST "X: y\rTransfer-Encoding: chunked\r\n\r\n" LAST,
         "400"),
    CASE("CVE-2022-35256: header ended by LF CR",
         POST "X: y\n\rTransfer-Encoding: chunked\r\n\r\n" LAST, "400"),
    CASE("CVE-2023-30589: CR in an empty value",
         POST "X:\rxTransfer-Encoding: chunked\r\n\r\n" LAST SMUGGLED, "400"),
    CASE("CVE-2023-30589: CR ends the section", GET "X: y\r\r\n" SMUGGLED, "400"),
    CASE("CVE-2024-22019: endless chunk extension is at least no line", CHUNKED "1;a=\x01",
         "H 400"),
    CASE("CVE-2024-27982: space before Content-Length",
         "POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 41\r\n\r\n" SMUGGLED, "400"),
    CASE("CVE-2024-27982: space before the first header",
         "POST / HTTP/1.1\r\n Content-Length: 41\r\nHost: a\r\n\r\n" SMUGGLED, "400"),
    CASE("CVE-2024-27982: tab before Content-Length",
         "POST / HTTP/1.1\r\nHost: a\r\n\tContent-Length: 41\r\n\r\n" SMUGGLED, "400"),
    CASE("CVE-2025-23167: CR X ends the section", GET "X: y\r\n\rX" SMUGGLED, "400"),
    CASE("TE.CL: Transfer-Encoding behind NUL", FIVE "Transfer-Encoding: \0chunked\r\n\r\n", "400"),
    CASE("header by underscore is another header", FIVE "Transfer_Encoding: chunked\r\n\r\nhello",
         "H E", "POST / none length=5 body\n", "hello"),
};

Test(http, refuses_known_smuggling)
{
    CHECK_CASES(smuggling_cases);
}

static const struct http_case pipeline_cases[] = {
    CASE("three gets", GET "\r\n" GET "\r\n" GET "\r\n", "H E H E H E",
         "GET / none\nGET / none\nGET / none\n", ""),
    CASE("bodies of both kinds", FIVE "\r\nhello" CHUNKED "2\r\nab\r\n" LAST GET "\r\n",
         "H E H E H E", "POST / none length=5 body\nPOST / none body chunked\nGET / none\n",
         "helloab"),
    CASE("empty line between", FIVE "\r\nhello\r\n" GET "\r\n", "H E H E",
         "POST / none length=5 body\nGET / none\n", "hello"),
    CASE("two empty lines between", FIVE "\r\nhello\r\n\r\n" GET "\r\n", "H E 400"),
    CASE("bad one in the middle", GET "\r\n" GET "X : y\r\n\r\n" GET "\r\n", "H E 400", "its colon",
         ""),
    CASE("bad version in the middle", FIVE "\r\nhelloGET / HTTP/3.0\r\n\r\n" GET "\r\n", "H E 505",
         NULL, "hello"),
    CASE("bad chunk in the middle", GET "\r\n" CHUNKED "1\r\nxx" GET "\r\n", "H E H 400", NULL,
         "x"),
    CASE("last one not complete", GET "\r\n" FIVE "\r\nhel", "H E H body", NULL, "hel"),
    CASE("empty line behind the last", GET "\r\n\r\n", "H E", "GET / none\n"),
    CASE("head of the one before is forgotten",
         POST "Content-Type: application/json\r\nContent-Encoding: gzip\r\nExpect: x\r\n"
              "Content-Length: 1\r\n\r\nx" GET "\r\n",
         "H E H E", "POST / json length=1 body encoded expect-other\nGET / none\n", "x"),
    CASE("body that looks like a request", POST "Content-Length: 27\r\n\r\n" GET "\r\n" GET "\r\n",
         "H E H E", "POST / none length=27 body\nGET / none\n", GET "\r\n"),
    CASE("headers seen once per message", FIVE "\r\nhello" FIVE "\r\nworld", "H E H E", NULL,
         "helloworld"),
};

Test(http, keeps_pipelined_messages_apart)
{
    CHECK_CASES(pipeline_cases);
}

/* Fills `text` so that it is `bytes` long. */
static size_t pad(char *text, size_t used, size_t bytes)
{
    cr_assert(used <= bytes);
    memset(text + used, 'x', bytes - used);
    return bytes;
}

static const char *events_of(const char *name, const char *input, size_t bytes)
{
    return outcome_of(name, input, bytes, 8192)->events;
}

Test(http, limits_header_bytes)
{
    for (size_t empty_line = 0; empty_line <= 1; empty_line++) { /* which does not count */
        for (size_t over = 0; over <= 1; over++) {
            char text[HEADER_BYTES_MAX + 64];
            size_t used = (size_t)sprintf(text, "%s" GET "X: ", empty_line ? "\r\n" : "");
            used = pad(text, used, HEADER_BYTES_MAX - 4 + 2 * empty_line + over);
            memcpy(text + used, "\r\n\r\n", 4);
            const char *events = events_of("header bytes", text, used + 4);
            cr_assert_str_eq(events, over ? "431" : "H E");
        }
    }
}

Test(http, limits_header_bytes_of_a_section_that_never_ends)
{
    char text[HEADER_BYTES_MAX + 1];
    size_t used = (size_t)sprintf(text, GET "X: ");
    pad(text, used, sizeof(text));
    cr_assert_str_eq(events_of("at the limit", text, HEADER_BYTES_MAX), "head");
    cr_assert_str_eq(events_of("beyond", text, HEADER_BYTES_MAX + 1), "431");
}

Test(http, limits_header_count)
{
    for (int over = 0; over <= 1; over++) {
        char text[HEADER_BYTES_MAX];
        int used = sprintf(text, GET);
        for (int i = 1; i < HEADER_COUNT_MAX + over; i++)
            used += sprintf(text + used, "X-%d: y\r\n", i);
        used += sprintf(text + used, "\r\n");
        cr_assert_str_eq(events_of("header count", text, (size_t)used), over ? "431" : "H E");
    }
}

Test(http, limits_the_target)
{
    for (size_t over = 0; over <= 1; over++) {
        char text[1024] = "GET /";
        size_t used = pad(text, strlen("GET /"), 4 + INGRESS_HTTP_TARGET_BYTES_MAX + over);
        used += (size_t)sprintf(text + used, " HTTP/1.1\r\nHost: a\r\n\r\n");
        const struct outcome *outcome = outcome_of("target", text, used, 0);
        cr_assert_str_eq(outcome->events, over ? "414" : "H E");
        if (!over)
            cr_assert_eq(strlen(outcome->heads),
                         4 + INGRESS_HTTP_TARGET_BYTES_MAX + strlen(" none\n"));
    }
}

Test(http, limits_the_idempotency_key)
{
    for (size_t quoted = 0; quoted <= 1; quoted++) {
        for (size_t over = 0; over <= 1; over++) {
            char text[1024];
            const char *quote = quoted ? "\"" : "";
            size_t used = (size_t)sprintf(text, GET "Idempotency-Key: %s", quote);
            used = pad(text, used, used + INGRESS_HTTP_KEY_BYTES_MAX + over);
            used += (size_t)sprintf(text + used, "%s\r\n\r\n", quote);
            const struct outcome *outcome = outcome_of("key", text, used, 0);
            cr_assert_str_eq(outcome->events, over ? "400" : "H E");
            if (!over)
                cr_assert_eq(strlen(outcome->heads),
                             strlen("GET / none key=\n") + INGRESS_HTTP_KEY_BYTES_MAX);
        }
    }
}

Test(http, limits_the_bearer_token)
{
    for (size_t over = 0; over <= 40; over++) { /* also beyond what is kept of a value */
        char text[1024];
        size_t used = (size_t)sprintf(text, GET "Authorization: Bearer ");
        used = pad(text, used, used + INGRESS_HTTP_TOKEN_BYTES_MAX + over);
        used += (size_t)sprintf(text + used, "\r\n\r\n");
        const struct outcome *outcome = outcome_of("token", text, used, 0);
        cr_assert_str_eq(outcome->events, "H E");
        cr_assert_eq(strstr(outcome->heads, "token=") != NULL, over == 0);
        cr_assert_eq(strstr(outcome->heads, "token-malformed") != NULL, over > 0);
    }
}

Test(http, takes_media_types_only_as_long_as_it_can_keep_them)
{
    for (size_t over = 0; over <= 1; over++) {
        char text[1024];
        size_t start = strlen(GET "Content-Type: ");
        size_t used = (size_t)sprintf(text, GET "Content-Type: application/json; a=");
        used = pad(text, used, start + INGRESS_HTTP_VALUE_BYTES_MAX + over);
        used += (size_t)sprintf(text + used, "\r\n\r\n");
        const struct outcome *outcome = outcome_of("media type", text, used, 0);
        cr_assert_str_eq(outcome->heads, over ? "GET / other\n" : "GET / json\n");
    }
}

/* The first size line takes all the framing there may be before the first byte of body; that byte
 * allows for 8 more, of which the rest needs 7. */
Test(http, limits_chunk_framing)
{
    for (size_t over = 0; over <= 1; over++) {
        char text[2048];
        size_t start = strlen(CHUNKED);
        size_t used = (size_t)sprintf(text, CHUNKED "1;a=");
        used = pad(text, used, start + INGRESS_HTTP_FRAMING_BYTES_FREE - 2 + over);
        used += (size_t)sprintf(text + used, "\r\nh\r\n" LAST);
        const struct outcome *outcome = outcome_of("framing", text, used, 1);
        cr_assert_str_eq(outcome->events, over ? "H 400" : "H E");
        cr_assert_eq(over, strstr(outcome->problem.detail, "larger chunks") != NULL);
    }
}

/* After 1 KiB of framing and one byte, each further one-byte chunk may bring 8 bytes of framing. */
Test(http, limits_chunk_framing_per_body_byte)
{
    for (size_t over = 0; over <= 1; over++) {
        char text[8192];
        size_t start = strlen(CHUNKED);
        size_t used = (size_t)sprintf(text, CHUNKED "1;a=");
        used = pad(text, used, start + INGRESS_HTTP_FRAMING_BYTES_FREE - 2);
        used += (size_t)sprintf(text + used, "\r\nh\r\n");
        for (int i = 0; i < 40; i++) /* CRLF behind the data belongs to the 8 */
            used += (size_t)sprintf(text + used, "1;ab\r\nx\r\n");
        used += (size_t)sprintf(text + used, over ? "1;abc\r\nx\r\n" LAST : "1;ab\r\nx\r\n");
        struct outcome outcome;
        run(&outcome, 8192, text, used, used, used);
        cr_assert_str_eq(outcome.events, over ? "H 400" : "H body", "%s", outcome.problem.detail);
        run(&outcome, 8192, text, used, 1, 1);
        cr_assert_str_eq(outcome.events, over ? "H 400" : "H body", "%s", outcome.problem.detail);
    }
}

Test(http, takes_thousands_of_one_byte_chunks)
{
    static char text[32768];
    size_t used = (size_t)sprintf(text, CHUNKED);
    for (int i = 0; i < 4096; i++)
        used += (size_t)sprintf(text + used, "1\r\nx\r\n");
    used += (size_t)sprintf(text + used, LAST);
    static struct outcome outcome;
    run(&outcome, 8192, text, used, used, used);
    cr_assert_str_eq(outcome.events, "H E");
    cr_assert_eq(outcome.body_bytes, 4096);
    run(&outcome, 8192, text, used, 1, 1);
    cr_assert_str_eq(outcome.events, "H E");
}

Test(http, leaves_the_problem_to_the_callee_when_it_refuses_the_body)
{
    static const char fixed[] = FIVE "\r\nhello" GET "\r\n";
    static const char chunked[] = CHUNKED "5\r\nhello\r\n" LAST;
    struct outcome outcome;
    for (size_t step = 1; step <= sizeof(chunked); step++) {
        run(&outcome, 4, fixed, sizeof(fixed) - 1, step, step);
        cr_assert_str_eq(outcome.events, "H 413");
        cr_assert_str_eq(outcome.problem.detail, "told by on_body");
        run(&outcome, 4, chunked, sizeof(chunked) - 1, step, step);
        cr_assert_str_eq(outcome.events, "H 413");
        run(&outcome, 5, fixed, sizeof(fixed) - 1, step, step);
        cr_assert_str_eq(outcome.events, "H E H E");
    }
}

static bool is_token(int byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

/* The grammars of RFC 9110, sections 5.1 and 5.5, and of a path in visible ASCII. */
Test(http, judges_each_byte_value_by_the_grammar)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[128];
        int used = sprintf(text, GET "Xyzw%c: x\r\n\r\n", byte);
        bool is_name = is_token(byte) || byte == ':';
        cr_assert_str_eq(events_of("name", text, (size_t)used), is_name ? "H E" : "400", "%d",
                         byte);
        used = sprintf(text, GET "X: xyzw%cxyzw\r\n\r\n", byte);
        bool is_value = byte == '\t' || (byte >= ' ' && byte != 0x7F);
        cr_assert_str_eq(events_of("value", text, (size_t)used), is_value ? "H E" : "400", "%d",
                         byte);
        used = sprintf(text, "GET /xyzw%cxyzw HTTP/1.1\r\nHost: a\r\n\r\n", byte);
        bool is_target = byte > ' ' && byte < 0x7F && byte != '#';
        cr_assert_str_eq(events_of("target", text, (size_t)used), is_target ? "H E" : "400", "%d",
                         byte);
    }
}

Test(http, tells_when_it_is_idle)
{
    static struct ingress_http http;
    struct outcome outcome = {.body_bytes_max = 64};
    current = &outcome;
    ingress_http_init(&http, &limits, on_body);
    static const struct {
        const char *input;
        bool idle;
        bool in_body;
    } steps[] = {
        {"", true, false},
        {"\r", true, false},
        {"\n", true, false},
        {"P", false, false},
        {"OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r", false, false},
        {"\n", false, true},
        {"a", false, true},
        {"b", true, false},
        {"\r\n", true, false},
        {"G", false, false},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        feed_fragment(&http, &outcome, steps[i].input, strlen(steps[i].input));
        cr_assert_eq(ingress_http_is_idle(&http), steps[i].idle, "step %zu", i);
        cr_assert_eq(ingress_http_in_body(&http), steps[i].in_body, "step %zu", i);
    }
}

Test(http, takes_no_bytes_at_a_null_pointer)
{
    static struct ingress_http http;
    ingress_http_init(&http, &limits, on_body);
    enum ingress_http_event event;
    struct base_problem problem;
    cr_assert_eq(ingress_http_feed(&http, NULL, 0, &event, &problem), 0);
    cr_assert_eq(event, INGRESS_HTTP_MORE);
    cr_assert_eq(ingress_http_feed(&http, GET "\r\n", strlen(GET "\r\n"), &event, &problem),
                 strlen(GET "\r\n"));
    cr_assert_eq(event, INGRESS_HTTP_HEADERS);
    cr_assert_eq(ingress_http_feed(&http, NULL, 0, &event, &problem), 0);
    cr_assert_eq(event, INGRESS_HTTP_END);
}

/* A problem document goes to whoever sits on the connection: it holds nothing of what was sent. */
Test(http, echoes_nothing_of_the_request_in_problems)
{
    static const char *const inputs[] = {
        "GET /secret\x01 HTTP/1.1\r\n",
        "SECRET / HTTP/1.1\r\n",
        GET "secret : secret\r\n",
        GET "Idempotency-Key: secret key\r\nX: y\r\n\r\n",
        GET "Transfer-Encoding: secret\r\n\r\n",
        GET "Content-Length: secret\r\n\r\n",
        CHUNKED "secret\r\n",
    };
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        const struct outcome *outcome = outcome_of("echo", inputs[i], strlen(inputs[i]), 0);
        cr_assert_neq(outcome->problem.kind, BASE_PROBLEM_NONE, "%zu", i);
        cr_assert(strcasestr(outcome->problem.detail, "secret") == NULL, "%zu: %s", i,
                  outcome->problem.detail);
    }
}
