/* Responses as bytes: every answer there is, taken apart again by a small reader, and the sizes. */
#include "ingress/response.h"

#include "record/json.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DATE       "Date: Mon, 23 Nov 2026 16:41:00 GMT\r\n"
#define GUARD_BYTE 0x5A

static struct ingress_request request;
static struct state state;
static char memory[2 * INGRESS_RESPONSE_BYTES_MAX];
static struct base_text out;

static void set_up(void)
{
    request = (struct ingress_request){
        .state = INGRESS_REQUEST_DONE,
        .answer = INGRESS_ANSWER_RECEIPT,
        .keep_alive = true,
        .journal = 3,
        .sequence = 42,
        .received_at_ns = UINT64_C(1795452060123456789),
        .submission_id = {"id-1", 4},
    };
    memset(request.trace_id, 0xAB, sizeof(request.trace_id));
    memset(request.sha256, 0xCD, sizeof(request.sha256));
    store_relaxed(&state.service, STATE_READY);
    memset(memory, GUARD_BYTE, sizeof(memory));
    base_text_init(&out, memory, INGRESS_RESPONSE_BYTES_MAX);
}

TestSuite(response, .init = set_up);

/* A response taken apart. */
struct parts {
    char head[INGRESS_RESPONSE_BYTES_MAX]; /* status line and header lines, each with CRLF */
    char content[INGRESS_RESPONSE_BYTES_MAX];
    size_t content_bytes;
};

static struct parts parts;

static void take_apart(const char *text, size_t bytes)
{
    const char *end = memmem(text, bytes, "\r\n\r\n", 4);
    cr_assert_not_null(end, "no end of the header section");
    size_t head_bytes = (size_t)(end - text) + 2;
    memset(&parts, 0, sizeof(parts));
    memcpy(parts.head, text, head_bytes);
    parts.content_bytes = bytes - head_bytes - 2;
    memcpy(parts.content, end + 4, parts.content_bytes);
}

static void respond(bool close)
{
    base_text_init(&out, memory, INGRESS_RESPONSE_BYTES_MAX);
    cr_assert(ingress_response_append(&out, &request, &state, DATE, close));
    cr_assert_not(out.overflow);
    take_apart(memory, out.bytes);
}

/* The value of the header `name`, or NULL; it must not come twice. */
static const char *header(const char *name)
{
    static char value[INGRESS_RESPONSE_BYTES_MAX];
    char line[64];
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *at = strstr(parts.head, line);
    if (at == NULL)
        return NULL;
    at += strlen(line);
    cr_assert_null(strstr(at, line), "%s comes twice", name);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static void assert_header(const char *name, const char *expected)
{
    const char *value = header(name);
    if (expected == NULL) {
        cr_assert_null(value, "%s: %s", name, value);
        return;
    }
    cr_assert_not_null(value, "%s is missing", name);
    cr_assert_str_eq(value, expected, "%s: %s", name, value);
}

static unsigned status(void)
{
    unsigned value = 0;
    cr_assert_eq(sscanf(parts.head, "HTTP/1.1 %3u ", &value), 1, "%s", parts.head);
    return value;
}

static void assert_content_length(size_t expected)
{
    char text[24];
    snprintf(text, sizeof(text), "%zu", expected);
    assert_header("Content-Length", text);
}

/* Every header line is a name, a colon, a space and visible characters. */
static void assert_well_formed_head(void)
{
    for (const char *line = strstr(parts.head, "\r\n") + 2; *line != '\0';) {
        size_t bytes = strcspn(line, "\r");
        const char *colon = memchr(line, ':', bytes);
        cr_assert(colon != NULL && colon > line && colon[1] == ' ', "%s", line);
        for (size_t i = 0; i < bytes; i++)
            cr_assert(isprint((unsigned char)line[i]), "byte %zu of %s", i, line);
        cr_assert_arr_eq(line + bytes, "\r\n", 2);
        line += bytes + 2;
    }
}

static void assert_json_content(void)
{
    static char body[INGRESS_RESPONSE_BYTES_MAX + RECORD_JSON_PADDING_BYTES];
    struct record_json_parser *parser = record_json_parser_create(INGRESS_RESPONSE_BYTES_MAX);
    struct record_json_document document;
    struct record_json_fault fault;
    memcpy(body, parts.content, parts.content_bytes);
    cr_assert_eq(record_json_parse(parser, body, parts.content_bytes, &document, &fault), 0, "%s",
                 parts.content);
    cr_assert_eq(document.nodes[0].type, RECORD_JSON_OBJECT);
    cr_assert_eq(parts.content[parts.content_bytes - 1], '\n');
    record_json_parser_destroy(parser);
}

static void assert_well_formed(void)
{
    assert_well_formed_head();
    assert_content_length(parts.content_bytes);
    assert_header("Date", "Mon, 23 Nov 2026 16:41:00 GMT");
    assert_json_content();
}

Test(response, date_is_an_imf_fixdate)
{
    char date[INGRESS_DATE_BYTES];
    ingress_response_date(UINT64_C(1795452060999999999), date);
    cr_assert_str_eq(date, DATE);
    ingress_response_date(0, date);
    cr_assert_str_eq(date, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    cr_assert_eq(strlen(date), INGRESS_DATE_BYTES - 1);
}

Test(response, receipt)
{
    respond(false);
    cr_assert_eq(status(), 201);
    assert_well_formed();
    assert_header("Location", "/v1/submissions/id-1");
    assert_header("Content-Type", "application/json");
    assert_header("Retry-After", NULL);
    cr_assert_str_eq(parts.content,
                     "{\"submissionId\":\"id-1\",\"journal\":3,\"sequence\":42,"
                     "\"receivedAt\":\"2026-11-23T16:41:00.123456789Z\",\"sha256\":"
                     "\"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\"}\n");
}

/* The list is there when there was a registry to check against, and only then. */
Test(response, receipt_lists_findings)
{
    static const struct record_text list[] = {
        {"late", 4},
        {"out-of-range\0Q\"1", 16},
        {"more-findings\0"
         "7",
         15},
        {"unknown-study\0not given", 23},
    };
    request.findings.version = (struct record_text){"0123456789abcdef", 16};
    respond(false);
    assert_well_formed();
    cr_assert_not_null(strstr(parts.content, "cd\",\"findings\":[]}\n"), "%s", parts.content);
    request.findings.list = list;
    request.findings.count = 4;
    respond(false);
    assert_well_formed();
    cr_assert_not_null(strstr(parts.content,
                              ",\"findings\":[{\"code\":\"late\"},"
                              "{\"code\":\"out-of-range\",\"item\":\"Q\\\"1\"},"
                              "{\"code\":\"more-findings\",\"detail\":\"7\"},"
                              "{\"code\":\"unknown-study\",\"detail\":\"not given\"}]}\n"),
                       "%s", parts.content);
}

Test(response, receipt_escapes_the_id_in_both_places)
{
    request.submission_id = (struct record_text){"a/\"\r\n?\xC3\xA4", 8};
    respond(false);
    assert_well_formed();
    assert_header("Location", "/v1/submissions/a%2F%22%0D%0A%3F%C3%A4");
    cr_assert_not_null(strstr(parts.content, "\"a/\\\"\\r\\n?\xC3\xA4\""), "%s", parts.content);
}

Test(response, live_and_ready)
{
    request.answer = INGRESS_ANSWER_LIVE;
    respond(false);
    assert_well_formed();
    cr_assert_eq(status(), 200);
    cr_assert_str_eq(parts.content, "{\"status\":\"live\"}\n");
    request.answer = INGRESS_ANSWER_READY;
    respond(false);
    assert_well_formed();
    cr_assert_eq(status(), 200);
    cr_assert_str_eq(parts.content, "{\"status\":\"ready\"}\n");
}

static void assert_not_ready(const char *slug)
{
    char type[64];
    request.answer = INGRESS_ANSWER_READY;
    respond(false);
    assert_well_formed();
    cr_assert_eq(status(), 503);
    assert_header("Content-Type", "application/problem+json");
    assert_header("Retry-After", "2");
    snprintf(type, sizeof(type), "\"urn:sluice:problem:%s\"", slug);
    cr_assert_not_null(strstr(parts.content, type), "%s", parts.content);
    request.answer = INGRESS_ANSWER_LIVE; /* never depends on others */
    respond(false);
    cr_assert_eq(status(), 200);
}

Test(response, not_ready_while_starting_draining_full_or_failed)
{
    store_relaxed(&state.service, STATE_STARTING);
    assert_not_ready("draining");
    store_relaxed(&state.service, STATE_DRAINING);
    assert_not_ready("draining");
    store_relaxed(&state.service, STATE_READY);
    store_relaxed(&state.journals_full, 1);
    assert_not_ready("disk-full");
    store_relaxed(&state.journals_failed, 1);
    assert_not_ready("journal-failed");
}

static void set_problem(enum base_problem_kind kind, const char *detail)
{
    request.answer = INGRESS_ANSWER_PROBLEM;
    base_problem_set(&request.problem, kind, "%s", detail);
}

/* RFC 9457, with a reason phrase for every status that there is. */
Test(response, every_problem)
{
    for (int kind = 1; kind < BASE_PROBLEM_KIND_COUNT; kind++) {
        const struct base_problem_class *class =
            base_problem_class_of((enum base_problem_kind)kind);
        char expected[512];
        set_problem((enum base_problem_kind)kind, "what to do");
        base_problem_pointer_push(&request.problem, "scores", 6);
        respond(false);
        assert_well_formed();
        cr_assert_eq(status(), class->status);
        cr_assert(isupper((unsigned char)parts.head[13]), "no reason phrase: %s", parts.head);
        assert_header("Content-Type", "application/problem+json");
        assert_header("Retry-After", class->status == 503 ? "2" : NULL);
        assert_header("Location", NULL);
        snprintf(expected, sizeof(expected),
                 "{\"type\":\"urn:sluice:problem:%s\",\"title\":\"%s\",\"status\":%u,"
                 "\"detail\":\"what to do\",\"pointer\":\"/scores\","
                 "\"traceId\":\"abababababababababababababababab\"}\n",
                 class->slug, class->title, class->status);
        cr_assert_str_eq(parts.content, expected);
    }
}

Test(response, a_problem_without_a_pointer_has_none)
{
    set_problem(BASE_PROBLEM_MALFORMED_JSON, "x");
    respond(false);
    cr_assert_null(strstr(parts.content, "pointer"), "%s", parts.content);
}

Test(response, a_405_says_what_is_allowed)
{
    set_problem(BASE_PROBLEM_METHOD_NOT_ALLOWED, "this path takes POST");
    respond(false);
    assert_header("Allow", "POST");
    set_problem(BASE_PROBLEM_METHOD_NOT_ALLOWED, "this path takes GET and HEAD");
    respond(false);
    assert_header("Allow", "GET, HEAD");
    set_problem(BASE_PROBLEM_NOT_FOUND, "there are POST and GET");
    respond(false);
    assert_header("Allow", NULL);
}

Test(response, says_how_the_connection_goes_on)
{
    respond(false);
    assert_header("Connection", NULL);
    respond(true);
    assert_header("Connection", "close");
    request.old_version = true;
    respond(false);
    assert_header("Connection", "keep-alive");
    respond(true);
    assert_header("Connection", "close");
}

/* RFC 9110, section 9.3.2: the same header section, without the content. */
Test(response, head_is_answered_as_get_without_content)
{
    static const enum ingress_answer answers[] = {INGRESS_ANSWER_LIVE, INGRESS_ANSWER_READY,
                                                  INGRESS_ANSWER_PROBLEM};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        char head[INGRESS_RESPONSE_BYTES_MAX];
        set_problem(BASE_PROBLEM_NOT_FOUND, "nothing here");
        request.answer = (uint8_t)answers[i];
        request.head_only = false;
        respond(false);
        cr_assert_gt(parts.content_bytes, 0u);
        memcpy(head, parts.head, sizeof(head));
        request.head_only = true;
        respond(false);
        cr_assert_eq(parts.content_bytes, 0u);
        cr_assert_str_eq(parts.head, head);
    }
}

Test(response, last_words)
{
    for (int kind = 1; kind < BASE_PROBLEM_KIND_COUNT; kind++) {
        const struct base_problem_class *class =
            base_problem_class_of((enum base_problem_kind)kind);
        base_text_init(&out, memory, INGRESS_RESPONSE_BYTES_MAX);
        cr_assert(ingress_response_append_last_words(&out, (enum base_problem_kind)kind, DATE));
        take_apart(memory, out.bytes);
        assert_well_formed();
        cr_assert_eq(status(), class->status);
        assert_header("Connection", "close");
        assert_header("Retry-After", class->status == 503 ? "2" : NULL);
        cr_assert_null(strstr(parts.content, "traceId"));
    }
}

static void assert_largest_fits(void)
{
    base_text_init(&out, memory, INGRESS_RESPONSE_BYTES_MAX);
    cr_assert(ingress_response_append(&out, &request, &state, DATE, true), "too large");
    take_apart(memory, out.bytes);
    assert_well_formed();
}

Test(response, the_largest_receipt_fits)
{
    char id[RECORD_ID_BYTES_MAX];
    memset(id, 0x01, sizeof(id));
    request.submission_id = (struct record_text){id, sizeof(id)};
    request.journal = UINT32_MAX;
    request.sequence = UINT64_MAX;
    request.received_at_ns = UINT64_MAX;
    request.old_version = true;
    /* all of RECORD_FINDINGS_TEXT_BYTES_MAX in as many findings as there may be */
    static char text[] = "unknown-study\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    struct record_text list[RECORD_FINDING_COUNT_MAX];
    for (int i = 0; i < RECORD_FINDING_COUNT_MAX; i++)
        list[i] =
            (struct record_text){text, RECORD_FINDINGS_TEXT_BYTES_MAX / RECORD_FINDING_COUNT_MAX};
    cr_assert_eq(sizeof(text) - 1, list[0].bytes);
    request.findings = (struct record_findings){list, RECORD_FINDING_COUNT_MAX, {text, 1}};
    assert_largest_fits();
}

Test(response, the_largest_problem_fits)
{
    for (int kind = 1; kind < BASE_PROBLEM_KIND_COUNT; kind++) {
        request.answer = INGRESS_ANSWER_PROBLEM;
        request.problem.kind = (enum base_problem_kind)kind;
        memset(request.problem.pointer, 0x01, sizeof(request.problem.pointer) - 1);
        memset(request.problem.detail, 0x01, sizeof(request.problem.detail) - 1);
        assert_largest_fits();
    }
}

/* Appends to `before` bytes in a text of `capacity`; tells whether it did. */
static bool append_behind(size_t before, size_t capacity, bool last_words)
{
    memset(memory, GUARD_BYTE, sizeof(memory));
    base_text_init(&out, memory, capacity);
    for (size_t i = 0; i < before; i++)
        base_text_append(&out, "b", 1);
    bool done = last_words ? ingress_response_append_last_words(&out, BASE_PROBLEM_OVERLOADED, DATE)
                           : ingress_response_append(&out, &request, &state, DATE, false);
    cr_assert_not(out.overflow);
    for (size_t i = 0; i < before; i++)
        cr_assert_eq(memory[i], 'b');
    for (size_t i = capacity; i < sizeof(memory); i++)
        cr_assert_eq(memory[i], GUARD_BYTE, "wrote beyond the buffer");
    return done;
}

Test(response, is_appended_whole_or_not_at_all)
{
    for (int last_words = 0; last_words <= 1; last_words++)
        for (size_t before = 0; before <= 100; before += 100) {
            cr_assert(append_behind(before, INGRESS_RESPONSE_BYTES_MAX, last_words));
            size_t whole = out.bytes;
            for (size_t capacity = before; capacity < whole; capacity++) {
                cr_assert_not(append_behind(before, capacity, last_words));
                cr_assert_eq(out.bytes, before, "half a response was left");
            }
            cr_assert(append_behind(before, whole, last_words));
            cr_assert_eq(out.bytes, whole);
        }
}

Test(response, responses_follow_each_other_without_a_gap)
{
    base_text_init(&out, memory, sizeof(memory));
    cr_assert(ingress_response_append(&out, &request, &state, DATE, false));
    size_t first = out.bytes;
    request.answer = INGRESS_ANSWER_LIVE;
    cr_assert(ingress_response_append(&out, &request, &state, DATE, true));
    take_apart(memory, first);
    assert_well_formed();
    take_apart(memory + first, out.bytes - first);
    assert_well_formed();
    assert_header("Connection", "close");
}

Test(response, a_request_without_an_answer_aborts, .signal = SIGABRT)
{
    request.answer = INGRESS_ANSWER_NONE;
    ingress_response_append(&out, &request, &state, DATE, false);
}
