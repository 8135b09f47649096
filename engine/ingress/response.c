#include "ingress/response.h"

#include "base/check.h"
#include "ingress/routes.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Seconds after which a client may try again: a flush takes less than one, a restart about two. */
#define RETRY_AFTER_SECONDS "2"

void ingress_response_date(uint64_t realtime_ns, char date_out[INGRESS_DATE_BYTES])
{
    struct tm utc;
    time_t seconds = (time_t)(realtime_ns / 1000000000);
    CHECK(gmtime_r(&seconds, &utc) != NULL);
    /* IMF-fixdate (RFC 9110, 5.6.7); the process keeps the "C" locale */
    CHECK(strftime(date_out, INGRESS_DATE_BYTES, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc) > 0);
}

static const char *reason_phrase(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

/* What a response is made of before its content's length is known. */
struct content {
    unsigned status;
    const char *type;
    const char *extra; /* further header lines, each with its CRLF */
    struct base_text text;
    char memory[INGRESS_RESPONSE_BYTES_MAX];
};

/* Header lines that go with some problems. */
static const char *problem_headers(const struct base_problem *problem, unsigned status)
{
    if (status == 503)
        return "Retry-After: " RETRY_AFTER_SECONDS "\r\n";
    if (problem->kind == BASE_PROBLEM_UNAUTHENTICATED) /* RFC 6750, section 3 */
        return "WWW-Authenticate: Bearer\r\n";
    if (problem->kind == BASE_PROBLEM_INVALID_TOKEN)
        return "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n";
    if (problem->kind == BASE_PROBLEM_INSUFFICIENT_SCOPE)
        return "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n";
    return ingress_routes_allow(problem);
}

static void problem_content(struct content *content, const struct base_problem *problem,
                            const uint8_t *trace_id)
{
    const struct base_problem_class *class = base_problem_class_of(problem->kind);
    struct base_text *text = &content->text;
    content->status = class->status;
    content->type = "application/problem+json";
    content->extra = problem_headers(problem, class->status);
    base_text_string(text, "{\"type\":\"urn:sluice:problem:");
    base_text_string(text, class->slug);
    base_text_string(text, "\",\"title\":\"");
    base_text_string(text, class->title);
    base_text_string(text, "\",\"status\":");
    base_text_unsigned(text, class->status);
    base_text_string(text, ",\"detail\":");
    base_text_json(text, problem->detail, strlen(problem->detail));
    if (problem->pointer[0] != '\0') {
        base_text_string(text, ",\"pointer\":");
        base_text_json(text, problem->pointer, strlen(problem->pointer));
    }
    if (trace_id != NULL) {
        base_text_string(text, ",\"traceId\":\"");
        base_text_hex(text, trace_id, 16);
        base_text_string(text, "\"");
    }
    base_text_string(text, "}\n");
}

/* Only where there was a registry to check against; [] says that nothing was found. */
static void append_findings(struct base_text *text, const struct record_findings *findings)
{
    if (findings->version.data == NULL)
        return;
    base_text_string(text, ",\"findings\":[");
    for (uint32_t i = 0; i < findings->count; i++) {
        struct record_text finding = findings->list[i];
        uint32_t code_bytes = record_finding_code_bytes(finding);
        base_text_string(text, i > 0 ? ",{\"code\":" : "{\"code\":");
        base_text_json(text, finding.data, code_bytes);
        if (code_bytes < finding.bytes) {
            base_text_string(text,
                             record_finding_names_item(finding) ? ",\"item\":" : ",\"detail\":");
            base_text_json(text, finding.data + code_bytes + 1, finding.bytes - code_bytes - 1);
        }
        base_text_string(text, "}");
    }
    base_text_string(text, "]");
}

static void receipt_content(struct content *content, const struct ingress_request *request)
{
    struct base_text *text = &content->text;
    content->status = 201;
    base_text_string(text, "{\"submissionId\":");
    base_text_json(text, request->submission_id.data, request->submission_id.bytes);
    base_text_string(text, ",\"journal\":");
    base_text_unsigned(text, request->journal);
    base_text_string(text, ",\"sequence\":");
    base_text_unsigned(text, request->sequence);
    base_text_string(text, ",\"receivedAt\":\"");
    base_text_time(text, request->received_at_ns);
    base_text_string(text, "\",\"sha256\":\"");
    base_text_hex(text, request->sha256, sizeof(request->sha256));
    base_text_string(text, "\"");
    append_findings(text, &request->findings);
    base_text_string(text, "}\n");
}

static void ready_content(struct content *content, const struct state *state,
                          const uint8_t *trace_id)
{
    struct base_problem problem;
    if (load_relaxed(&state->journals_failed) > 0)
        base_problem_set(&problem, BASE_PROBLEM_JOURNAL_FAILED,
                         "a journal failed; see the log, repair the disk and restart");
    else if (load_relaxed(&state->journals_full) > 0)
        base_problem_set(&problem, BASE_PROBLEM_DISK_FULL,
                         "no room for another segment; free some, the engine goes on by itself");
    else if (load_relaxed(&state->service) != STATE_READY)
        base_problem_set(&problem, BASE_PROBLEM_DRAINING, "the engine is starting or stopping");
    else {
        base_text_string(&content->text, "{\"status\":\"ready\"}\n");
        return;
    }
    problem_content(content, &problem, trace_id);
}

static void make_content(struct content *content, const struct ingress_request *request,
                         const struct state *state)
{
    content->status = 200;
    content->type = "application/json";
    content->extra = "";
    base_text_init(&content->text, content->memory, sizeof(content->memory));
    switch ((enum ingress_answer)request->answer) {
    case INGRESS_ANSWER_RECEIPT:
        receipt_content(content, request);
        break;
    case INGRESS_ANSWER_LIVE:
        base_text_string(&content->text, "{\"status\":\"live\"}\n");
        break;
    case INGRESS_ANSWER_READY:
        ready_content(content, state, request->trace_id);
        break;
    case INGRESS_ANSWER_PROBLEM:
        problem_content(content, &request->problem, request->trace_id);
        break;
    case INGRESS_ANSWER_NONE:
        CHECK_NEVER("a response to a request without an answer");
    }
    CHECK(!content->text.overflow);
}

static void append_head(struct base_text *out, const struct content *content, const char *date,
                        const char *connection)
{
    base_text_string(out, "HTTP/1.1 ");
    base_text_unsigned(out, content->status);
    base_text_string(out, " ");
    base_text_string(out, reason_phrase(content->status));
    base_text_string(out, "\r\n");
    base_text_string(out, date);
    base_text_string(out, "Content-Type: ");
    base_text_string(out, content->type);
    base_text_string(out, "\r\nContent-Length: ");
    base_text_unsigned(out, content->text.bytes);
    base_text_string(out, "\r\n");
    base_text_string(out, content->extra);
    base_text_string(out, connection);
}

/* Takes back what was appended since `before` when it did not fit whole. */
static bool fits(struct base_text *out, size_t before)
{
    if (!out->overflow)
        return true;
    out->overflow = false;
    out->bytes = before;
    return false;
}

bool ingress_response_append(struct base_text *out, const struct ingress_request *request,
                             const struct state *state, const char *date, bool close)
{
    struct content content; /* on the stack and not cleared: only what is written is read */
    size_t before = out->bytes;
    make_content(&content, request, state);
    append_head(out, &content, date,
                close                  ? "Connection: close\r\n"
                : request->old_version ? "Connection: keep-alive\r\n"
                                       : "");
    if (request->answer == INGRESS_ANSWER_RECEIPT) {
        base_text_string(out, "Location: /v1/submissions/");
        base_text_uri(out, request->submission_id.data, request->submission_id.bytes);
        base_text_string(out, "\r\n");
    }
    base_text_string(out, "\r\n");
    if (!request->head_only)
        base_text_append(out, content.text.start, content.text.bytes);
    return fits(out, before);
}

bool ingress_response_append_last_words(struct base_text *out, enum base_problem_kind kind,
                                        const char *date)
{
    struct content content;
    struct base_problem problem;
    size_t before = out->bytes;
    base_problem_set(&problem, kind, "%s; try again later",
                     base_problem_class_of(kind)->status == 503
                         ? "every connection or request that this engine may have is in use"
                         : "the connection ends here");
    base_text_init(&content.text, content.memory, sizeof(content.memory));
    problem_content(&content, &problem, NULL);
    append_head(out, &content, date, "Connection: close\r\n");
    base_text_string(out, "\r\n");
    base_text_append(out, content.text.start, content.text.bytes);
    return fits(out, before);
}
