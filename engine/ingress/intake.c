#include "ingress/intake.h"

#include "base/check.h"
#include "base/clock.h"
#include "ingress/authorize.h"
#include "ingress/ingress.h"

#include <stdio.h>
#include <string.h>

static struct ingress_connection *connection_of(struct ingress_http *http)
{
    return (struct ingress_connection *)(void *)((char *)http -
                                                 offsetof(struct ingress_connection, http));
}

static void enter_pipeline(struct ingress_connection *connection, struct ingress_request *request)
{
    request->connection = connection;
    if (connection->pipeline_tail == NULL)
        connection->pipeline_head = request;
    else
        connection->pipeline_tail->pipeline_next = request;
    connection->pipeline_tail = request;
    connection->pipeline_count++;
}

/* The client's trace, or a new one where it sent none. */
static void set_trace(struct ingress *ingress, const struct ingress_http_head *head,
                      struct ingress_request *request)
{
    if (head != NULL && head->has_trace)
        memcpy(request->trace_id, head->trace_id, sizeof(request->trace_id));
    else
        base_random_fill(&ingress->random, request->trace_id, sizeof(request->trace_id));
}

/* A request to carry an answer; without one the connection gets its last words. */
static struct ingress_request *begin_request(struct ingress *ingress,
                                             struct ingress_connection *connection,
                                             const struct ingress_http_head *head)
{
    struct ingress_request *request = ingress_request_take(&ingress->requests);
    if (request == NULL) {
        connection->last_words = BASE_PROBLEM_OVERLOADED;
        connection->stop_input = true;
        return NULL;
    }
    set_trace(ingress, head, request);
    enter_pipeline(connection, request);
    return request;
}

/* The answer is known and nothing more of the request will be read. */
static void end_request(struct ingress_connection *connection, struct ingress_request *request)
{
    request->state = INGRESS_REQUEST_DONE;
    connection->filling = NULL;
    if (!request->keep_alive)
        connection->stop_input = true;
}

static void set_problem(struct ingress_request *request, enum base_problem_kind kind,
                        const char *detail)
{
    request->answer = INGRESS_ANSWER_PROBLEM;
    base_problem_set(&request->problem, kind, "%s", detail);
}

static void keep_key(const struct ingress_http_head *head, struct ingress_request *request)
{
    if (head->key_bytes == 0)
        return;
    char *key = record_arena_alloc(&request->own_arena, head->key_bytes, 1);
    CHECK(key != NULL); /* the arena's sum has a term for it */
    memcpy(key, head->key, head->key_bytes);
    request->key = (struct record_text){key, head->key_bytes};
}

/* A large arena per request would be one too many for some: those are told to come back. */
static void reserve_body(struct ingress *ingress, struct ingress_request *request, uint64_t bytes)
{
    if (!ingress_request_reserve_body(&ingress->requests, request, bytes,
                                      ingress->config->body_bytes_max))
        set_problem(request, BASE_PROBLEM_OVERLOADED,
                    "too many large bodies are in flight (large_arenas_max); try again");
}

/* The header section is complete: admission, before a byte of the body is kept. */
static void take_headers(struct ingress *ingress, struct ingress_connection *connection)
{
    const struct ingress_http_head *head = &connection->http.head;
    struct ingress_request *request = begin_request(ingress, connection, head);
    if (request == NULL)
        return;
    connection->filling = request;
    request->keep_alive = head->keep_alive;
    request->head_only = head->method == INGRESS_HTTP_HEAD;
    request->old_version = head->old_version;
    if (ingress->draining && ingress->role == INGRESS_ROLE_PUBLIC) {
        set_problem(request, BASE_PROBLEM_DRAINING,
                    "the engine is shutting down; send the submission again");
        request->keep_alive = false;
    } else if (ingress_authorize(state_credentials(ingress->state), head,
                                 ingress_routes_scope(head, ingress->role), ingress->realtime_ns,
                                 request)) {
        ingress_routes_decide(head, ingress->role, ingress->config->body_bytes_max, request);
    }
    if (request->answer == INGRESS_ANSWER_NONE) {
        keep_key(head, request);
        reserve_body(ingress, request, head->content_length);
    }
    request->discard = request->answer != INGRESS_ANSWER_NONE;
    connection->continue_wanted = head->expect_continue && head->has_body && !request->discard;
    /* a body that would be thrown away is read only when that is short, so that the connection can
     * go on; else the answer ends it */
    bool is_long = head->chunked || head->content_length > ingress->config->body_bytes_max;
    if (request->discard && head->has_body && (is_long || head->expect_continue)) {
        request->keep_alive = false;
        end_request(connection, request);
    }
}

bool ingress_intake_body(struct ingress_http *http, const char *data, size_t bytes)
{
    struct ingress_connection *connection = connection_of(http);
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    struct ingress_request *request = connection->filling;
    struct ingress *ingress = connection->ingress;
    connection->continue_wanted = false; /* it did not wait for it */
    if (request->discard)
        return true;
    uint64_t total = (uint64_t)request->body_bytes + bytes;
    if (total > ingress->config->body_bytes_max) { /* chunked: only now is it known */
        base_problem_set(http->problem, BASE_PROBLEM_BODY_TOO_LARGE,
                         "the body has more than %llu bytes, the limit (body_bytes_max)",
                         (unsigned long long)ingress->config->body_bytes_max);
        return false;
    }
    if (total > request->body_capacity)
        reserve_body(ingress, request, total);
    if (request->answer != INGRESS_ANSWER_NONE) {
        request->discard = true;
        return true;
    }
    memcpy(request->body + request->body_bytes, data, bytes);
    request->body_bytes = (uint32_t)total;
    return true;
}

/* The request is complete: to a queue, unless its answer is known already. */
static void take_end(struct ingress *ingress, struct ingress_connection *connection)
{
    struct ingress_request *request = connection->filling;
    if (request->answer != INGRESS_ANSWER_NONE) {
        end_request(connection, request);
        return;
    }
    connection->filling = NULL;
    if (!request->keep_alive)
        connection->stop_input = true;
    request->received_at_ns = base_clock_realtime_ns();
    if (ingress_dispatch(ingress, request))
        return;
    set_problem(request, BASE_PROBLEM_OVERLOADED, "every queue is full; try again");
    request->state = INGRESS_REQUEST_DONE;
}

/* After what the parser calls BAD the stream cannot be trusted any more: answer, and the end. */
static void take_bad(struct ingress *ingress, struct ingress_connection *connection)
{
    struct ingress_request *request = connection->filling;
    connection->stop_input = true;
    if (request == NULL)
        request = begin_request(ingress, connection, NULL);
    if (request == NULL)
        return;
    request->keep_alive = false;
    request->answer = INGRESS_ANSWER_PROBLEM;
    request->problem = ingress->scratch_problem;
    end_request(connection, request);
}

size_t ingress_intake(struct ingress *ingress, struct ingress_connection *connection,
                      const char *data, size_t bytes)
{
    size_t consumed = 0;
    enum ingress_http_event event = INGRESS_HTTP_MORE;
    /* HEADERS is followed up even without further bytes: a message without a body ends there */
    while (consumed < bytes || event == INGRESS_HTTP_HEADERS) {
        if (connection->stop_input)
            return bytes;
        if (connection->filling == NULL &&
            connection->pipeline_count >= ingress->config->pipeline_depth_max)
            return consumed;
        consumed += ingress_http_feed(&connection->http, data + consumed, bytes - consumed, &event,
                                      &ingress->scratch_problem);
        switch (event) {
        case INGRESS_HTTP_HEADERS:
            take_headers(ingress, connection);
            break;
        case INGRESS_HTTP_END:
            take_end(ingress, connection);
            break;
        case INGRESS_HTTP_BAD:
            take_bad(ingress, connection);
            break;
        case INGRESS_HTTP_MORE:
            break;
        }
    }
    return consumed;
}

void ingress_intake_refuse(struct ingress *ingress, struct ingress_connection *connection,
                           enum base_problem_kind kind, const char *detail)
{
    base_problem_set(&ingress->scratch_problem, kind, "%s", detail);
    take_bad(ingress, connection);
}
