/* The thread that owns a ring with a core's sockets: completions in, requests to the queue, answers
 * out, the doorbell at most once a round.
 *
 * Owner: the server creates and destroys it; between start and stop only its own thread touches
 * anything here, but for the ring's descriptor, to which others send messages.
 */
#ifndef SLUICE_INGRESS_INGRESS_H
#define SLUICE_INGRESS_INGRESS_H

#include "base/random.h"
#include "ingress/buffers.h"
#include "ingress/connection.h"
#include "ingress/deadline.h"
#include "ingress/request.h"
#include "ingress/response.h"
#include "ingress/routes.h"
#include "ingress/uring.h"
#include "state.h"

#include <liburing.h>

#define INGRESS_MAGIC 0x16E55EEDu

/* Slots beyond connections_max, for connections that are only told to go away. */
#define INGRESS_SPARE_CONNECTIONS 64

struct ingress {
    uint32_t magic;
    uint16_t index; /* of the core pair; core_count for the admin listener's */
    enum ingress_role role;
    struct state *state;
    const struct config *config;
    struct io_uring ring;
    int listen_fd;
    bool direct; /* sockets are direct descriptors */

    struct ingress_buffers buffers;
    uint16_t *held_next;  /* per receive buffer: the one behind it on a connection's held list */
    uint32_t *held_bytes; /* per receive buffer: bytes in it */
    struct ingress_requests requests;
    struct ingress_connection *connections;
    uint32_t connection_count; /* slots */
    uint32_t *free_connections;
    uint32_t free_connection_count;
    uint32_t connections_max; /* above it, connections are refused */
    struct ingress_deadlines deadlines;
    struct ingress_http_limits http_limits;
    struct base_random random;
    char *tls_plain; /* NULL without TLS: what was decrypted or is to be encrypted, within a call */
    struct base_problem scratch_problem; /* where the parser explains itself */

    struct ingress_connection *settle_first;           /* to be settled at the end of the round */
    struct ingress_connection *wait_first, *wait_last; /* for a send buffer, in order */
    struct ingress_connection *starved_first;          /* for receive buffers, in no order */
    uint64_t now_ns;                                   /* monotonic, taken once a round */
    uint64_t realtime_ns;                              /* UTC, taken once a round */
    uint64_t date_second;                              /* of `date` */
    char date[INGRESS_DATE_BYTES];
    uint32_t next_queue;      /* where to look first when the own queue is full */
    bool accepting;           /* the multishot accept is armed */
    uint64_t accept_retry_ns; /* descriptors ran out: not before then; 0: at once */
    bool draining, drained, stopping;
    uint64_t drain_until_ns; /* then half-received requests are given up */
    bool drain_expired;      /* that was done */
    bool *has_work;          /* per worker: got a request in this round */
};

/* Reserves every pool. The ring is made by the thread. */
int ingress_init(struct ingress *ingress, uint16_t index, enum ingress_role role, int listen_fd,
                 struct state *state, struct budget *budget, struct base_error *error);

/* By the ingress thread: makes the ring, registers what belongs to it. */
int ingress_open(struct ingress *ingress, struct base_error *error);

/* By the ingress thread: serves until told to stop. */
void ingress_run(struct ingress *ingress);

void ingress_close(struct ingress *ingress);

/* A submission entry, counted as an operation of `connection`. */
struct io_uring_sqe *ingress_operation(struct ingress *ingress,
                                       struct ingress_connection *connection);

/* Gives a complete request to a queue. False: all are full. */
bool ingress_dispatch(struct ingress *ingress, struct ingress_request *request);

#endif
