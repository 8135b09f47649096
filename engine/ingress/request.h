/* One HTTP request in flight, its arena, and what becomes of it.
 *
 * Owner: the ingress that received it. It is lent to a worker from the push to a queue until it
 * comes back in a chain of completed requests; in between the ingress touches only `pipeline_next`,
 * which the worker never does. `next` belongs to whoever has the request: the free list, the
 * worker's batch, or the chain. Memory is never freed, only reset, and only by the owner.
 */
#ifndef SLUICE_INGRESS_REQUEST_H
#define SLUICE_INGRESS_REQUEST_H

#include "base/checksum.h"
#include "base/problem.h"
#include "budget.h"
#include "config.h"
#include "record/arena.h"
#include "record/findings.h"
#include "record/submission.h"

#include <stdbool.h>
#include <stdint.h>

#define INGRESS_REQUEST_MAGIC 0x4E657175u

/* Bodies up to here live in the arena that each request has; larger ones borrow a large arena.
 * Three quarters above the median form of the CDISC pilot, and above its largest. */
#define INGRESS_REQUEST_SMALL_BODY_BYTES 1024

enum ingress_request_state {
    INGRESS_REQUEST_FREE,
    INGRESS_REQUEST_FILLING, /* its body is being received */
    INGRESS_REQUEST_LENT,    /* with a queue or a worker */
    INGRESS_REQUEST_DONE,    /* its answer is known, it waits for its turn on the connection */
};

enum ingress_answer {
    INGRESS_ANSWER_NONE,
    INGRESS_ANSWER_RECEIPT, /* 201: durable */
    INGRESS_ANSWER_LIVE,
    INGRESS_ANSWER_READY,
    INGRESS_ANSWER_PROBLEM, /* `problem` is set */
};

struct ingress_connection;

struct ingress_request {
    uint32_t magic;
    uint16_t ingress; /* index of the owner */
    uint8_t state;    /* enum ingress_request_state; the ingress */
    uint8_t answer;   /* enum ingress_answer; whoever has the request */
    bool keep_alive;  /* the connection goes on behind the response */
    bool head_only;   /* HEAD: no content in the response */
    bool old_version; /* HTTP/1.0: keep-alive must be said */
    bool discard;     /* the body is read and thrown away */
    struct ingress_request *next;
    struct ingress_request *pipeline_next;
    struct ingress_connection *connection;

    struct record_arena *arena; /* where the body lives: own_arena or a large one */
    struct record_arena own_arena;
    struct record_arena *large_arena; /* NULL when none is borrowed */
    char *body;                       /* with RECORD_JSON_PADDING_BYTES behind body_capacity */
    uint32_t body_bytes;
    uint32_t body_capacity;
    uint64_t received_at_ns; /* when the last byte had been received */
    uint8_t trace_id[16];
    struct record_text key;             /* Idempotency-Key, in the arena */
    uint8_t token_sha256[SHA256_BYTES]; /* of its credential, where there are any */

    /* the receipt, filled in by the worker */
    uint32_t journal;
    uint64_t sequence;
    uint8_t sha256[SHA256_BYTES];
    struct record_text submission_id; /* in the arena */
    struct record_findings findings;  /* in the arena */

    struct base_problem problem;
};

struct ingress_requests {
    struct ingress_request *all;
    struct ingress_request *free;
    uint32_t free_count, count;
    struct record_arena *large_all;
    struct record_arena **large_free;
    uint32_t large_free_count, large_count;
};

int ingress_requests_reserve(struct ingress_requests *requests, const struct config *config,
                             uint16_t ingress, struct budget *budget, struct base_error *error);

/* A clean request, or NULL when all are in flight. */
struct ingress_request *ingress_request_take(struct ingress_requests *requests);

/* Resets and takes back. */
void ingress_request_release(struct ingress_requests *requests, struct ingress_request *request);

/* Makes room for a body of `bytes` bytes, keeping what is there; moves to a large arena when the
 * own one is too small. False: no large arena is free. */
bool ingress_request_reserve_body(struct ingress_requests *requests,
                                  struct ingress_request *request, uint64_t bytes,
                                  uint64_t body_bytes_max);

#endif
