/* A request's life but for its contents: taken, given room for a body, reset. One at a time stays
 * in the nearest cache; 512 at a time are what a burst looks like. */
#include "stages.h"

#include "base/check.h"
#include "ingress/request.h"
#include "ingress/response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLIGHT_MAX 512

struct flight {
    struct ingress_requests *requests;
    uint64_t body_bytes_max;
    uint32_t body_bytes;
    unsigned width; /* in flight at once */
    struct ingress_request *members[FLIGHT_MAX];
};

static uint64_t run_flights(void *context, uint64_t count)
{
    struct flight *flight = context;
    uint64_t sum = 0;
    while (count > 0) {
        unsigned width = count < flight->width ? (unsigned)count : flight->width;
        for (unsigned i = 0; i < width; i++) {
            struct ingress_request *request = ingress_request_take(flight->requests);
            CHECK(request != NULL);
            CHECK(ingress_request_reserve_body(flight->requests, request, flight->body_bytes,
                                               flight->body_bytes_max));
            request->body[flight->body_bytes - 1] = '}';
            flight->members[i] = request;
        }
        for (unsigned i = 0; i < width; i++) {
            struct ingress_request *request = flight->members[i];
            request->state = INGRESS_REQUEST_DONE;
            sum += request->body[flight->body_bytes - 1] == '}';
            ingress_request_release(flight->requests, request);
        }
        count -= width;
    }
    return sum;
}

void stage_request(struct measure *measure)
{
    static struct ingress_requests requests;
    static struct flight one, burst;
    struct config config;
    struct budget budget;
    struct base_error error;
    config_init(&config);
    config.requests_max = FLIGHT_MAX;
    config.large_arenas_max = 1;
    budget_init(&budget);
    if (ingress_requests_reserve(&requests, &config, 0, &budget, &error) < 0) {
        measure_failed(measure, "request", error.text);
        return;
    }
    one = (struct flight){&requests, config.body_bytes_max, 570, 1, {NULL}};
    burst = (struct flight){&requests, config.body_bytes_max, 570, FLIGHT_MAX, {NULL}};
    struct measure_side sides[] = {
        {"one at a time", 570, run_flights, &one, .product = 1},
        {"512 at a time, each", 570, run_flights, &burst, .product = 1},
    };
    measure_sides(measure, "request: take, room for a body, reset", MEASURE_SEPARATE, sides, 2);
    budget_fini(&budget);
}

/* --- responses ------------------------------------------------------------------------------ */

struct reply {
    struct ingress_request request;
    struct state state;
    char date[INGRESS_DATE_BYTES];
    char memory[16384]; /* send_buffer_bytes */
    size_t bytes;
};

static uint64_t run_response(void *context, uint64_t count)
{
    struct reply *reply = context;
    struct base_text out;
    uint64_t sum = 0;
    base_text_init(&out, reply->memory, sizeof(reply->memory));
    for (uint64_t i = 0; i < count; i++) {
        if (sizeof(reply->memory) - out.bytes < INGRESS_RESPONSE_BYTES_MAX)
            out.bytes = 0;
        size_t before = out.bytes;
        CHECK(ingress_response_append(&out, &reply->request, &reply->state, reply->date, false));
        sum += out.bytes - before;
    }
    return sum;
}

/* One response is what its first line and its Content-Length say. */
static void check_response(struct measure *measure, struct reply *reply, const char *first_line)
{
    size_t bytes = (size_t)run_response(reply, 1);
    reply->bytes = bytes;
    reply->memory[bytes] = '\0';
    const char *length = strstr(reply->memory, "Content-Length: ");
    const char *content = strstr(reply->memory, "\r\n\r\n");
    if (strncmp(reply->memory, first_line, strlen(first_line)) != 0 || length == NULL ||
        content == NULL || strtoul(length + 16, NULL, 10) != strlen(content + 4))
        measure_failed(measure, "response", "the response is not what it should be");
}

void stage_response(struct measure *measure)
{
    static struct reply receipt, problem;
    static const char id[] = "019c0ad6-21f0-7c3b-9a5e-2f1f0c7d8e91";
    receipt.request = (struct ingress_request){
        .answer = INGRESS_ANSWER_RECEIPT,
        .keep_alive = true,
        .received_at_ns = UINT64_C(1772391900123456789),
        .sequence = 12345678,
        .submission_id = {id, sizeof(id) - 1},
    };
    memset(receipt.request.sha256, 0xA5, sizeof(receipt.request.sha256));
    problem.request = (struct ingress_request){.answer = INGRESS_ANSWER_PROBLEM};
    base_problem_set(&problem.request.problem, BASE_PROBLEM_INVALID_SUBMISSION,
                     "patientId is required, a string");
    base_problem_pointer_push(&problem.request.problem, "patientId", 9);
    ingress_response_date(receipt.request.received_at_ns, receipt.date);
    memcpy(problem.date, receipt.date, sizeof(problem.date));
    check_response(measure, &receipt, "HTTP/1.1 201 Created\r\n");
    check_response(measure, &problem, "HTTP/1.1 422 Unprocessable Content\r\n");
    struct measure_side sides[] = {
        {"receipt, 201", receipt.bytes, run_response, &receipt, .product = receipt.bytes},
        {"problem, 422", problem.bytes, run_response, &problem, .product = problem.bytes},
    };
    measure_sides(measure, "response as bytes", MEASURE_SEPARATE, sides, 2);
}
