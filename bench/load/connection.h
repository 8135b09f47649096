/* One connection of the load: what it has sent, what is in flight, what has come so far.
 *
 * At most one send and one receive are under way. Requests are appended while nothing is being
 * sent, and go out together. A connection that ends is opened again; what was in flight then counts
 * as unanswered.
 *
 * Owner: a load_client; its thread alone calls. Memory belongs to the client.
 */
#ifndef SLUICE_BENCH_LOAD_CONNECTION_H
#define SLUICE_BENCH_LOAD_CONNECTION_H

#include "base/error.h"
#include "ingress/listener.h"
#include "load/answer.h"

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#define LOAD_RECEIVE_BYTES 8192 /* some twenty receipts; a problem document is shorter */

struct load_flight {
    uint64_t due_ns;
    uint8_t sha256[LOAD_DIGEST_BYTES]; /* of the body */
};

struct load_connection {
    int fd; /* -1: not open */
    unsigned index;
    bool sending, receiving;
    bool ending; /* shut down; closed when nothing is under way any more */
    bool ready;  /* in the client's list of those that can take a request */
    struct load_connection *next_ready;
    struct load_flight *flights; /* a ring of `pipeline` */
    unsigned flight_first, flight_count;
    char *out; /* requests to send */
    size_t out_bytes, out_sent;
    char *in; /* LOAD_RECEIVE_BYTES */
    size_t in_bytes;
};

/* What a completion was; the connection's index stands behind it in user_data. */
enum load_operation { LOAD_SENT = 1, LOAD_RECEIVED = 2 };

static inline uint64_t load_tag(enum load_operation operation, unsigned index)
{
    return (uint64_t)operation << 32 | index;
}

/* Connects, blocking. */
int load_connection_open(struct load_connection *connection, const struct ingress_address *address,
                         struct base_error *error);

/* Nothing more is sent or taken; the descriptor is closed by load_connection_close_if_idle. */
void load_connection_end(struct load_connection *connection);

/* True when it had ended and is closed now. */
bool load_connection_close_if_idle(struct load_connection *connection);

void load_connection_receive(struct load_connection *connection, struct io_uring *ring);
void load_connection_send(struct load_connection *connection, struct io_uring *ring);

#endif
