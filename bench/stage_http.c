/* The HTTP parser with its guard, beside llhttp by itself: the difference is what the guard and the
 * header checks cost. Bodies are copied once in both, as intake does. */
#include "bodies.h"
#include "stages.h"

#include "base/check.h"
#include "ingress/http.h"

#include <stdio.h>
#include <string.h>

#define HEAD_BYTES_MAX 1024

struct parse {
    struct ingress_http http;
    llhttp_t bare;
    llhttp_settings_t settings;
    size_t fragment_bytes; /* how much comes in one receive */
    size_t request_bytes;
    uint64_t messages; /* completed, by the bare parser */
    size_t body_bytes;
    char body[BODY_BYTES_MAX];
    char request[HEAD_BYTES_MAX + BODY_BYTES_MAX];
};

static const struct ingress_http_limits limits = {8192, 64};

static const char plain_head[] = "POST /v1/submissions HTTP/1.1\r\n"
                                 "Host: 127.0.0.1:8080\r\n"
                                 "Content-Type: application/json\r\n";

static const char browser_head[] =
    "POST /v1/submissions HTTP/1.1\r\n"
    "Host: epro.example.org\r\n"
    "Connection: keep-alive\r\n"
    "User-Agent: Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36\r\n"
    "Accept: application/json, text/plain, */*\r\n"
    "Accept-Language: de-CH,de;q=0.9,en;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Origin: https://epro.example.org\r\n"
    "Referer: https://epro.example.org/diary/today\r\n"
    "Sec-Fetch-Dest: empty\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    "Idempotency-Key: \"0d4f1f3e-6a52-4c3b-9a5e-2f1f0c7d8e91\"\r\n"
    "Content-Type: application/json; charset=utf-8\r\n";

static bool keep(struct parse *parse, const char *data, size_t bytes)
{
    if (parse->body_bytes + bytes > sizeof(parse->body))
        return false;
    memcpy(parse->body + parse->body_bytes, data, bytes);
    parse->body_bytes += bytes;
    return true;
}

static bool on_body(struct ingress_http *http, const char *data, size_t bytes)
{
    return keep((struct parse *)(void *)((char *)http - offsetof(struct parse, http)), data, bytes);
}

static int on_bare_body(llhttp_t *bare, const char *data, size_t bytes)
{
    struct parse *parse = (struct parse *)(void *)((char *)bare - offsetof(struct parse, bare));
    return keep(parse, data, bytes) ? 0 : HPE_USER;
}

static int on_bare_end(llhttp_t *bare)
{
    ((struct parse *)(void *)((char *)bare - offsetof(struct parse, bare)))->messages++;
    return 0;
}

/* One fragment, as ingress_intake feeds it; true at the end of the message. */
static bool feed(struct parse *parse, const char *data, size_t bytes)
{
    struct base_problem problem;
    enum ingress_http_event event = INGRESS_HTTP_MORE;
    size_t at = 0;
    while (at < bytes || event == INGRESS_HTTP_HEADERS) {
        at += ingress_http_feed(&parse->http, data + at, bytes - at, &event, &problem);
        CHECK(event != INGRESS_HTTP_BAD);
    }
    return event == INGRESS_HTTP_END;
}

static uint64_t run_engine(void *context, uint64_t count)
{
    struct parse *parse = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        bool end = false;
        parse->body_bytes = 0;
        for (size_t at = 0; at < parse->request_bytes; at += parse->fragment_bytes) {
            size_t left = parse->request_bytes - at;
            end = feed(parse, parse->request + at,
                       left < parse->fragment_bytes ? left : parse->fragment_bytes);
        }
        sum += end ? parse->body_bytes : 0;
    }
    return sum;
}

static uint64_t run_bare(void *context, uint64_t count)
{
    struct parse *parse = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        parse->body_bytes = 0;
        parse->messages = 0;
        for (size_t at = 0; at < parse->request_bytes; at += parse->fragment_bytes) {
            size_t left = parse->request_bytes - at;
            CHECK(llhttp_execute(&parse->bare, parse->request + at,
                                 left < parse->fragment_bytes ? left : parse->fragment_bytes) ==
                  HPE_OK);
        }
        sum += parse->messages * parse->body_bytes;
    }
    return sum;
}

static void prepare(struct parse *parse, const char *head, const struct body *body)
{
    int bytes =
        snprintf(parse->request, HEAD_BYTES_MAX, "%sContent-Length: %u\r\n\r\n", head, body->bytes);
    CHECK(bytes > 0 && bytes < HEAD_BYTES_MAX);
    memcpy(parse->request + bytes, body->data, body->bytes);
    parse->request_bytes = (size_t)bytes + body->bytes;
    parse->fragment_bytes = 8192; /* receive_buffer_bytes */
    ingress_http_init(&parse->http, &limits, on_body);
    llhttp_settings_init(&parse->settings);
    parse->settings.on_body = on_bare_body;
    parse->settings.on_message_complete = on_bare_end;
    llhttp_init(&parse->bare, HTTP_REQUEST, &parse->settings);
}

static void check(struct measure *measure, struct parse *parse, const struct body *body)
{
    const struct ingress_http_head *head = &parse->http.head;
    if (run_engine(parse, 1) != body->bytes || head->method != INGRESS_HTTP_POST ||
        head->media != INGRESS_HTTP_MEDIA_JSON || head->content_length != body->bytes ||
        memcmp(parse->body, body->data, body->bytes) != 0)
        measure_failed(measure, "http", "the request was not parsed to what it is");
}

void stage_http(struct measure *measure)
{
    static struct parse parse;
    static const struct {
        const char *head, *stage;
        unsigned body;
    } cases[] = {
        {plain_head, "HTTP head and body, 3 headers", 0},
        {plain_head, "HTTP head and body, 3 headers", 1},
        {plain_head, "HTTP head and body, 3 headers, two fragments", 3},
        {browser_head, "HTTP head and body, 15 headers", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct body *body = &bodies()[cases[i].body];
        prepare(&parse, cases[i].head, body);
        check(measure, &parse, body);
        struct measure_side sides[] = {
            {.name = "llhttp by itself", .body = run_bare},
            {.name = "ingress_http_feed", .body = run_engine},
        };
        for (size_t side = 0; side < 2; side++) {
            sides[side].context = &parse;
            sides[side].bytes = parse.request_bytes;
            sides[side].product = body->bytes;
        }
        measure_sides(measure, cases[i].stage, MEASURE_RATIO, sides, 2);
    }
}
