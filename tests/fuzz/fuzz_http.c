/* libFuzzer target: whatever bytes come, and however they are cut, the HTTP parser neither crashes
 * nor contradicts itself. The input is a count, so many fragment sizes (used in turn; byte by byte
 * when there are none), and behind them the stream.
 */
#include "ingress/http.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct ingress_http_limits limits = {512, 8};

#define BODY_BYTES_MAX 2048

/* All that a stream led to, as text that can be compared. */
struct outcome {
    char events[65536];
    size_t event_bytes;
    char body[BODY_BYTES_MAX]; /* of the message at hand */
    size_t body_bytes;
    bool is_open; /* a message has had its HEADERS and not its END */
};

static struct outcome *current; /* for on_body, which has no context of its own */

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "violated: %s\n", #condition);                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void note(struct outcome *outcome, const void *text, size_t bytes)
{
    if (bytes > sizeof(outcome->events) - outcome->event_bytes)
        bytes = sizeof(outcome->events) - outcome->event_bytes; /* the same in every run */
    memcpy(outcome->events + outcome->event_bytes, text, bytes);
    outcome->event_bytes += bytes;
}

static bool on_body(struct ingress_http *http, const char *data, size_t bytes)
{
    REQUIRE(ingress_http_in_body(http));
    REQUIRE(bytes > 0);
    if (bytes > BODY_BYTES_MAX - current->body_bytes) {
        current->body_bytes = 0; /* how much came before the limit depends on the fragments */
        base_problem_set(http->problem, BASE_PROBLEM_BODY_TOO_LARGE, "too large");
        return false;
    }
    memcpy(current->body + current->body_bytes, data, bytes);
    current->body_bytes += bytes;
    return true;
}

static void check_head(const struct ingress_http_head *head)
{
    REQUIRE(head->target_bytes > 0 && head->target_bytes <= sizeof(head->target));
    REQUIRE(head->target[0] == '/' || (head->target[0] == '*' && head->target_bytes == 1));
    for (size_t i = 0; i < head->target_bytes; i++)
        REQUIRE(head->target[i] > ' ' && head->target[i] <= '~');
    REQUIRE(head->key_bytes <= sizeof(head->key));
    for (size_t i = 0; i < head->key_bytes; i++)
        REQUIRE(head->key[i] > ' ' && head->key[i] <= '~');
    REQUIRE(!head->chunked || (head->has_length && head->content_length == 0));
    REQUIRE(head->has_body == (head->chunked || head->content_length > 0));
    REQUIRE(head->media <= INGRESS_HTTP_MEDIA_OTHER && head->method <= INGRESS_HTTP_OTHER);
}

static void note_event(struct outcome *outcome, const struct ingress_http *http,
                       enum ingress_http_event event, const struct base_problem *problem)
{
    const struct ingress_http_head *head = &http->head;
    if (event == INGRESS_HTTP_MORE)
        return;
    note(outcome, &event, sizeof(event));
    if (event == INGRESS_HTTP_HEADERS) {
        REQUIRE(!outcome->is_open);
        check_head(head);
        note(outcome, head, offsetof(struct ingress_http_head, content_length));
        note(outcome, &head->content_length, sizeof(head->content_length));
        note(outcome, head->trace_id, head->has_trace ? sizeof(head->trace_id) : 0);
        note(outcome, head->target, head->target_bytes);
        note(outcome, head->key, head->key_bytes);
    } else {
        REQUIRE(event == INGRESS_HTTP_BAD || outcome->is_open);
        REQUIRE(event == INGRESS_HTTP_BAD || head->chunked ||
                head->content_length == outcome->body_bytes);
        note(outcome, outcome->body, outcome->body_bytes);
        outcome->body_bytes = 0;
    }
    if (event == INGRESS_HTTP_BAD) {
        REQUIRE(problem->kind > BASE_PROBLEM_NONE && problem->kind < BASE_PROBLEM_KIND_COUNT);
        REQUIRE(problem->detail[0] != '\0');
        note(outcome, problem->detail, strlen(problem->detail));
    }
    outcome->is_open = event == INGRESS_HTTP_HEADERS;
}

/* Feeds one fragment, in memory of its own; false when the connection is over. */
static bool feed_fragment(struct ingress_http *http, struct outcome *outcome, const uint8_t *data,
                          size_t bytes)
{
    char *fragment = malloc(bytes > 0 ? bytes : 1);
    memcpy(fragment, data, bytes);
    struct base_problem problem = {0};
    enum ingress_http_event event = INGRESS_HTTP_HEADERS;
    size_t at = 0;
    while (event == INGRESS_HTTP_HEADERS || (event == INGRESS_HTTP_END && at < bytes)) {
        bool was_in_body = ingress_http_in_body(http);
        size_t consumed = ingress_http_feed(http, fragment + at, bytes - at, &event, &problem);
        REQUIRE(consumed <= bytes - at);
        at += consumed;
        REQUIRE(event != INGRESS_HTTP_MORE || at == bytes);
        REQUIRE(event != INGRESS_HTTP_MORE || was_in_body == ingress_http_in_body(http));
        REQUIRE((event == INGRESS_HTTP_BAD) == (problem.kind != BASE_PROBLEM_NONE));
        REQUIRE(event != INGRESS_HTTP_END || ingress_http_is_idle(http));
        note_event(outcome, http, event, &problem);
    }
    free(fragment);
    return event != INGRESS_HTTP_BAD;
}

static void run(struct outcome *outcome, const uint8_t *stream, size_t bytes, const uint8_t *sizes,
                size_t size_count)
{
    static struct ingress_http http;
    memset(&http, 0xA5, sizeof(http)); /* init must set all that is read */
    ingress_http_init(&http, &limits, on_body);
    outcome->event_bytes = 0;
    outcome->body_bytes = 0;
    outcome->is_open = false;
    current = outcome;
    size_t turn = 0;
    for (size_t at = 0; at < bytes;) {
        size_t size = size_count > 0 ? sizes[turn++ % size_count] : 1;
        if (size == 0 && turn % size_count == 0)
            size = 1; /* so that it ends */
        if (size > bytes - at || sizes == NULL)
            size = bytes - at;
        if (!feed_fragment(&http, outcome, stream + at, size))
            return;
        at += size;
    }
    uint8_t state[2] = {ingress_http_is_idle(&http), ingress_http_in_body(&http)};
    note(outcome, state, sizeof(state));
    note(outcome, outcome->body, outcome->body_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct outcome whole;
    static struct outcome cut;
    size_t size_count = bytes > 0 ? data[0] % 8 : 0;
    if (bytes < 1 + size_count)
        return 0;
    const uint8_t *stream = data + 1 + size_count;
    size_t stream_bytes = bytes - 1 - size_count;
    run(&whole, stream, stream_bytes, NULL, 0);
    run(&cut, stream, stream_bytes, data + 1, size_count);
    REQUIRE(whole.event_bytes == cut.event_bytes);
    REQUIRE(memcmp(whole.events, cut.events, whole.event_bytes) == 0);
    return 0;
}
