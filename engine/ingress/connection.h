/* A client's connection: what is received, which requests are in flight, what is being sent.
 *
 * Owner: one ingress; its thread only. A slot is free again only when its descriptor is closed,
 * every operation on the ring that names it has completed, and every request it lent to a worker
 * is back; so no completion and no request ever meets the wrong connection.
 *
 * Responses leave in the order of the requests: `pipeline` is that order, and only a DONE request
 * at its head is written. One send at a time; responses that are ready together leave together.
 */
#ifndef SLUICE_INGRESS_CONNECTION_H
#define SLUICE_INGRESS_CONNECTION_H

#include "ingress/buffers.h"
#include "ingress/deadline.h"
#include "ingress/http.h"
#include "ingress/request.h"
#include "ingress/tls.h"

#include <stdbool.h>
#include <stdint.h>

#define INGRESS_CONNECTION_MAGIC 0xC0442EC7u
#define INGRESS_HELD_NONE        UINT16_MAX

struct ingress;

struct ingress_tls_state {
    SSL *session;   /* NULL: plain TCP */
    const char *in; /* received, not decrypted yet; while the session is being fed */
    uint32_t in_bytes;
    bool established;  /* the handshake is over */
    bool failed;       /* nothing more can be received or sent, but for an alert */
    bool said_goodbye; /* close_notify */
    bool wants_buffer; /* it had something to send, and no send buffer was free */
};

struct ingress_connection {
    uint32_t magic;
    uint32_t index;
    struct ingress *ingress; /* the owner */
    int32_t fd;              /* direct descriptor or ordinary one, as the ingress has them */
    uint16_t operations;     /* on the ring that have not had their last completion */
    uint16_t pipeline_count;
    bool in_use;
    bool receiving;       /* a multishot receive is armed */
    bool cancelling;      /* it is being cancelled */
    bool sending;         /* a send is under way */
    bool peer_closed;     /* the client has sent its last byte */
    bool stop_input;      /* nothing more is parsed; what still arrives is thrown away */
    bool lingering;       /* our side is shut down, we wait for the client's end */
    bool aborted;         /* nothing more is sent */
    bool close_queued;    /* the descriptor is being or has been closed */
    bool shut_down;       /* a shutdown of both directions was queued */
    bool settling;        /* on the ingress's list for the end of the round */
    bool waiting;         /* on the ingress's list for a send buffer */
    bool starved;         /* on the ingress's list for receive buffers */
    bool continue_wanted; /* a 100 Continue is due */
    uint8_t last_words;   /* enum base_problem_kind sent when the pipeline is empty, then the end */

    struct ingress_connection *settle_next;
    struct ingress_connection *wait_next;
    struct ingress_connection *starve_next;
    struct ingress_request *pipeline_head, *pipeline_tail;
    struct ingress_request *filling; /* whose body is being received; the tail, or NULL */

    /* received but not parsed, because the pipeline is full: buffers linked by the ingress */
    uint16_t held_first, held_last;
    uint32_t held_offset; /* consumed of the first */

    uint32_t send_buffer; /* INGRESS_SEND_BUFFER_NONE without one */
    uint32_t send_bytes, send_done;

    struct ingress_tls_state tls;
    struct ingress_deadline deadline;
    struct ingress_http http;
};

/* An accepted descriptor. Returns NULL when there is no slot (the descriptor is then closed). */
struct ingress_connection *ingress_connection_open(struct ingress *ingress, int fd);

/* Completions. */
void ingress_connection_received(struct ingress *ingress, struct ingress_connection *connection,
                                 int result, uint32_t flags);
void ingress_connection_sent(struct ingress *ingress, struct ingress_connection *connection,
                             int result);
void ingress_connection_operation_done(struct ingress *ingress,
                                       struct ingress_connection *connection);

/* To be looked at when the round's completions are all taken. */
void ingress_connection_settle_later(struct ingress *ingress,
                                     struct ingress_connection *connection);

/* Sends what is ready, goes on parsing, closes: whatever the connection needs now. */
void ingress_connection_settle(struct ingress *ingress, struct ingress_connection *connection);

/* Settles the connection that has waited longest for a send buffer, if there is one to be had. */
void ingress_connection_wake_waiting(struct ingress *ingress);

/* Lets connections receive again that found no buffer, as far as there are buffers now; when there
 * are none, ends those that hold buffers and do not read their responses. */
void ingress_connection_feed_starved(struct ingress *ingress);

/* Its deadline has passed. */
void ingress_connection_expired(struct ingress *ingress, struct ingress_connection *connection);

/* Nothing more is sent or received; in-flight requests are awaited, then the slot is freed. */
void ingress_connection_abort(struct ingress *ingress, struct ingress_connection *connection);

/* Nothing more is taken in; a request that is half received is refused, the others are answered. */
void ingress_connection_end_input(struct ingress *ingress, struct ingress_connection *connection);

/* True when the request whose turn it is, is with a worker. */
bool ingress_connection_is_lent(const struct ingress_connection *connection);

/* True when an answer is known or on its way. */
bool ingress_connection_is_answering(const struct ingress_connection *connection);

/* True when no request is being received or answered. */
bool ingress_connection_is_idle(const struct ingress_connection *connection);

#endif
