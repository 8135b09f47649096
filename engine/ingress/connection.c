/* Most decisions are taken in one place, `settle`, once per round and connection, from the state
 * alone: events only change the state. That is what keeps half-close, reset, pause and drain from
 * being special cases of each other. */
#include "ingress/connection.h"

#include "base/check.h"
#include "base/clock.h"
#include "ingress/ingress.h"
#include "ingress/intake.h"

#include <errno.h>
#include <string.h>

/* How long a send may be stuck before a connection that holds receive buffers, while others wait
 * for some, is taken to be hoarding: many round trips of a client that reads. */
#define HOARDING_NS (100 * NANOSECONDS_PER_MILLISECOND)

void ingress_connection_settle_later(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->settling)
        return;
    connection->settling = true;
    connection->settle_next = ingress->settle_first;
    ingress->settle_first = connection;
}

struct ingress_connection *ingress_connection_open(struct ingress *ingress, int fd)
{
    if (ingress->free_connection_count == 0)
        return NULL;
    uint32_t index = ingress->free_connections[--ingress->free_connection_count];
    struct ingress_connection *connection = &ingress->connections[index];
    CHECK(!connection->in_use);
    /* the parser is the large part and has its own way to start anew */
    memset(connection, 0, offsetof(struct ingress_connection, http));
    ingress_http_init(&connection->http, &ingress->http_limits, ingress_intake_body);
    connection->magic = INGRESS_CONNECTION_MAGIC;
    connection->ingress = ingress;
    connection->index = index;
    connection->fd = fd;
    connection->in_use = true;
    connection->held_first = connection->held_last = INGRESS_HELD_NONE;
    connection->send_buffer = INGRESS_SEND_BUFFER_NONE;
    SSL_CTX *context = state_tls(ingress->state);
    bool over =
        ingress->connection_count - ingress->free_connection_count > ingress->connections_max;
    if (ingress->draining || (context != NULL && over) ||
        (context != NULL && !ingress_tls_begin(context, connection))) {
        ingress_connection_abort(ingress, connection);
    } else if (over) {
        connection->last_words = BASE_PROBLEM_OVERLOADED;
        connection->stop_input = true;
    }
    ingress_connection_settle_later(ingress, connection);
    return connection;
}

bool ingress_connection_is_idle(const struct ingress_connection *connection)
{
    return connection->pipeline_head == NULL && !connection->sending &&
           connection->held_first == INGRESS_HELD_NONE &&
           connection->last_words == BASE_PROBLEM_NONE && ingress_http_is_idle(&connection->http);
}

/* --- receiving ------------------------------------------------------------------------------ */

static void start_receiving(struct ingress *ingress, struct ingress_connection *connection)
{
    struct io_uring_sqe *entry = ingress_operation(ingress, connection);
    io_uring_prep_recv_multishot(entry, connection->fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT | (ingress->direct ? IOSQE_FIXED_FILE : 0);
    entry->buf_group = INGRESS_BUFFER_GROUP;
    io_uring_sqe_set_data64(entry, uring_tag(URING_RECEIVE, connection->index));
    connection->receiving = true;
}

static void stop_receiving(struct ingress *ingress, struct ingress_connection *connection)
{
    struct io_uring_sqe *entry = ingress_operation(ingress, connection);
    io_uring_prep_cancel64(entry, uring_tag(URING_RECEIVE, connection->index), 0);
    io_uring_sqe_set_data64(entry, uring_tag(URING_CANCEL, connection->index));
    connection->cancelling = true;
}

/* Keeps a buffer that cannot be parsed yet, behind those already held. */
static void hold(struct ingress *ingress, struct ingress_connection *connection, uint16_t id,
                 uint32_t bytes, uint32_t offset)
{
    ingress->held_bytes[id] = bytes;
    ingress->held_next[id] = INGRESS_HELD_NONE;
    if (connection->held_first == INGRESS_HELD_NONE) {
        connection->held_first = id;
        connection->held_offset = offset;
    } else {
        ingress->held_next[connection->held_last] = id;
    }
    connection->held_last = id;
}

static void release_first_held(struct ingress *ingress, struct ingress_connection *connection)
{
    uint16_t id = connection->held_first;
    connection->held_first = ingress->held_next[id];
    connection->held_offset = 0;
    ingress_buffers_give_back(&ingress->buffers, id);
}

/* Up to `bytes` bytes from the socket. False: the rest has to wait; with TLS that may be something
 * decrypted, so that nothing of `bytes` is left. */
static bool take_in(struct ingress *ingress, struct ingress_connection *connection,
                    const char *data, uint32_t bytes, uint32_t *consumed_out, bool *progress_out)
{
    if (connection->tls.session != NULL)
        return ingress_tls_intake(ingress, connection, data, bytes, consumed_out, progress_out);
    *consumed_out = (uint32_t)ingress_intake(ingress, connection, data, bytes);
    *progress_out = *consumed_out > 0;
    return *consumed_out == bytes;
}

/* Goes on with held input; true when some of it was consumed. */
static bool resume_held(struct ingress *ingress, struct ingress_connection *connection)
{
    bool progress = false;
    while (connection->held_first != INGRESS_HELD_NONE) {
        uint16_t id = connection->held_first;
        const char *data = (const char *)ingress->buffers.receive_memory +
                           (size_t)id * ingress->buffers.receive_bytes;
        uint32_t bytes = ingress->held_bytes[id] - connection->held_offset;
        uint32_t consumed;
        bool moved;
        bool done =
            take_in(ingress, connection, data + connection->held_offset, bytes, &consumed, &moved);
        progress = progress || moved;
        if (!done) {
            connection->held_offset += consumed;
            break;
        }
        release_first_held(ingress, connection);
    }
    return progress;
}

static void take_bytes(struct ingress *ingress, struct ingress_connection *connection, uint16_t id,
                       uint32_t bytes)
{
    const char *data = ingress_buffers_received(&ingress->buffers, id);
    uint32_t consumed = 0;
    bool done = false, progress;
    if (connection->held_first == INGRESS_HELD_NONE)
        done = take_in(ingress, connection, data, bytes, &consumed, &progress);
    if (done)
        ingress_buffers_give_back(&ingress->buffers, id);
    else
        hold(ingress, connection, id, bytes, consumed);
}

static void starve(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->starved)
        return;
    connection->starved = true;
    connection->starve_next = ingress->starved_first;
    ingress->starved_first = connection;
}

/* Paused connections give their buffers back when their pipeline moves, which is up to us, unless
 * the client does not read what we send. Then it has no claim on buffers that others wait for. */
static void end_hoarders(struct ingress *ingress)
{
    uint64_t length_ns = ingress->deadlines.length_ns[INGRESS_DEADLINE_SEND];
    for (uint32_t i = 0; i < ingress->connection_count; i++) {
        struct ingress_connection *connection = &ingress->connections[i];
        if (!connection->in_use || connection->held_first == INGRESS_HELD_NONE ||
            connection->deadline.kind != INGRESS_DEADLINE_SEND)
            continue;
        if (ingress->now_ns >= connection->deadline.expires_ns - length_ns + HOARDING_NS)
            ingress_connection_abort(ingress, connection);
    }
}

void ingress_connection_feed_starved(struct ingress *ingress)
{
    uint32_t available = ingress->buffers.receive_count - ingress->buffers.held;
    if (ingress->starved_first != NULL && available == 0)
        end_hoarders(ingress);
    while (ingress->starved_first != NULL && available > 0) {
        struct ingress_connection *connection = ingress->starved_first;
        ingress->starved_first = connection->starve_next;
        connection->starved = false;
        ingress_connection_settle_later(ingress, connection);
        available--;
    }
}

void ingress_connection_received(struct ingress *ingress, struct ingress_connection *connection,
                                 int result, uint32_t flags)
{
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    if (!(flags & IORING_CQE_F_MORE)) { /* ended, for whatever reason; settle arms it again */
        connection->receiving = false;
        connection->operations--;
    }
    if (result > 0)
        take_bytes(ingress, connection, (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT),
                   (uint32_t)result);
    else if (result == 0)
        connection->peer_closed = true;
    else if (result == -ENOBUFS)
        starve(ingress, connection);
    else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN)
        ingress_connection_abort(ingress, connection); /* reset by the client, timed out ... */
    ingress_connection_settle_later(ingress, connection);
}

/* --- sending -------------------------------------------------------------------------------- */

static void start_send(struct ingress *ingress, struct ingress_connection *connection)
{
    struct io_uring_sqe *entry = ingress_operation(ingress, connection);
    const char *memory = ingress_buffers_send_memory(&ingress->buffers, connection->send_buffer);
    io_uring_prep_send(entry, connection->fd, memory + connection->send_done,
                       connection->send_bytes - connection->send_done, MSG_NOSIGNAL | MSG_WAITALL);
    entry->flags |= ingress->direct ? IOSQE_FIXED_FILE : 0;
    io_uring_sqe_set_data64(entry, uring_tag(URING_SEND, connection->index));
    connection->sending = true;
    ingress_deadline_set(&ingress->deadlines, &connection->deadline, INGRESS_DEADLINE_SEND, 1,
                         ingress->now_ns);
}

static void return_send_buffer(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->send_buffer == INGRESS_SEND_BUFFER_NONE)
        return;
    ingress_buffers_return_send(&ingress->buffers, connection->send_buffer);
    connection->send_buffer = INGRESS_SEND_BUFFER_NONE;
    connection->send_bytes = 0;
}

void ingress_connection_wake_waiting(struct ingress *ingress)
{
    struct ingress_connection *first = ingress->wait_first;
    if (first == NULL || ingress->buffers.send_free_count == 0)
        return;
    ingress->wait_first = first->wait_next;
    if (ingress->wait_first == NULL)
        ingress->wait_last = NULL;
    first->waiting = false;
    ingress_connection_settle_later(ingress, first);
}

static void wait_for_send_buffer(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->waiting)
        return;
    connection->waiting = true;
    connection->wait_next = NULL;
    if (ingress->wait_last == NULL)
        ingress->wait_first = connection;
    else
        ingress->wait_last->wait_next = connection;
    ingress->wait_last = connection;
}

static void leave_pipeline(struct ingress *ingress, struct ingress_connection *connection)
{
    struct ingress_request *request = connection->pipeline_head;
    connection->pipeline_head = request->pipeline_next;
    if (connection->pipeline_head == NULL)
        connection->pipeline_tail = NULL;
    connection->pipeline_count--;
    ingress_request_release(&ingress->requests, request);
}

static bool head_is_done(const struct ingress_connection *connection)
{
    return connection->pipeline_head != NULL &&
           connection->pipeline_head->state == INGRESS_REQUEST_DONE;
}

/* Whether this is the connection's last response. */
static bool ends_connection(const struct ingress *ingress,
                            const struct ingress_connection *connection,
                            const struct ingress_request *request)
{
    bool last = request->pipeline_next == NULL;
    return !request->keep_alive || (last && (connection->stop_input || ingress->draining) &&
                                    connection->last_words == BASE_PROBLEM_NONE);
}

/* Everything that is ready goes into one buffer. */
static void write_responses(struct ingress *ingress, struct ingress_connection *connection,
                            struct base_text *out)
{
    while (head_is_done(connection)) {
        struct ingress_request *request = connection->pipeline_head;
        bool ends = ends_connection(ingress, connection, request);
        if (!ingress_response_append(out, request, ingress->state, ingress->date, ends))
            return;
        if (ends)
            connection->stop_input = true;
        leave_pipeline(ingress, connection);
    }
    if (connection->pipeline_head == NULL && connection->last_words != BASE_PROBLEM_NONE &&
        ingress_response_append_last_words(out, connection->last_words, ingress->date))
        connection->last_words = BASE_PROBLEM_NONE;
    if (connection->continue_wanted && connection->pipeline_head == connection->filling) {
        base_text_string(out, "HTTP/1.1 100 Continue\r\n\r\n");
        connection->continue_wanted = false;
    }
}

static bool has_output(const struct ingress_connection *connection)
{
    return head_is_done(connection) ||
           (connection->pipeline_head == NULL && connection->last_words != BASE_PROBLEM_NONE) ||
           (connection->continue_wanted && connection->pipeline_head == connection->filling);
}

/* With TLS there may be more to send than responses: what the session wrote into the buffer. */
static void send_sealed(struct ingress *ingress, struct ingress_connection *connection)
{
    struct ingress_tls_state *tls = &connection->tls;
    struct base_text plain;
    if (has_output(connection) && connection->send_buffer == INGRESS_SEND_BUFFER_NONE) {
        connection->send_buffer = ingress_buffers_take_send(&ingress->buffers);
        connection->send_bytes = connection->send_done = 0;
        tls->wants_buffer = connection->send_buffer == INGRESS_SEND_BUFFER_NONE;
    }
    if (tls->wants_buffer) {
        tls->wants_buffer = false;
        wait_for_send_buffer(ingress, connection);
    }
    if (connection->send_buffer == INGRESS_SEND_BUFFER_NONE) {
        if (tls->failed) /* not even an alert */
            ingress_connection_abort(ingress, connection);
        return;
    }
    ingress_tls_plain(ingress, connection, &plain);
    if (plain.capacity > 0)
        write_responses(ingress, connection, &plain);
    if (plain.capacity > 0 && !ingress_tls_seal(connection, &plain))
        tls->failed = true;
    if (connection->send_bytes > 0) {
        start_send(ingress, connection);
    } else {
        return_send_buffer(ingress, connection);
        if (tls->failed)
            ingress_connection_abort(ingress, connection);
    }
}

static void send_ready(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->aborted || connection->close_queued) {
        while (head_is_done(connection))
            leave_pipeline(ingress, connection);
        return;
    }
    if (connection->sending)
        return;
    if (connection->tls.session != NULL) {
        send_sealed(ingress, connection);
        return;
    }
    if (!has_output(connection))
        return;
    connection->send_buffer = ingress_buffers_take_send(&ingress->buffers);
    if (connection->send_buffer == INGRESS_SEND_BUFFER_NONE) {
        wait_for_send_buffer(ingress, connection);
        return;
    }
    struct base_text out;
    base_text_init(&out, ingress_buffers_send_memory(&ingress->buffers, connection->send_buffer),
                   ingress->buffers.send_bytes);
    write_responses(ingress, connection, &out);
    connection->send_bytes = (uint32_t)out.bytes;
    connection->send_done = 0;
    start_send(ingress, connection);
}

void ingress_connection_sent(struct ingress *ingress, struct ingress_connection *connection,
                             int result)
{
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    connection->operations--;
    connection->sending = false;
    if (result > 0)
        connection->send_done += (uint32_t)result;
    bool again = result > 0 || result == -EINTR || result == -EAGAIN;
    if (!again)
        ingress_connection_abort(ingress, connection);
    if (again && !connection->aborted && connection->send_done < connection->send_bytes)
        start_send(ingress, connection); /* a partial send goes on where it stopped */
    else
        return_send_buffer(ingress, connection);
    if (connection->tls.failed && !connection->sending)
        ingress_connection_abort(ingress, connection); /* the alert is out */
    ingress_connection_settle_later(ingress, connection);
}

/* --- ending --------------------------------------------------------------------------------- */

static void shut_down(struct ingress *ingress, struct ingress_connection *connection, int how)
{
    struct io_uring_sqe *entry = ingress_operation(ingress, connection);
    io_uring_prep_shutdown(entry, connection->fd, how);
    entry->flags |= ingress->direct ? IOSQE_FIXED_FILE : 0;
    io_uring_sqe_set_data64(entry, uring_tag(URING_SHUTDOWN, connection->index));
}

void ingress_connection_abort(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->aborted)
        return;
    connection->aborted = true;
    connection->stop_input = true;
    connection->last_words = BASE_PROBLEM_NONE;
    connection->continue_wanted = false;
    if (connection->filling != NULL) {
        connection->filling->state = INGRESS_REQUEST_DONE;
        connection->filling = NULL;
    }
    while (connection->held_first != INGRESS_HELD_NONE)
        release_first_held(ingress, connection);
    if (!connection->sending) /* a session may have written something that will not be sent */
        return_send_buffer(ingress, connection);
    ingress_connection_settle_later(ingress, connection);
}

void ingress_connection_end_input(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->filling != NULL)
        ingress_intake_refuse(ingress, connection, BASE_PROBLEM_DRAINING,
                              "the engine stops and the body had not arrived; nothing was stored");
    connection->stop_input = true;
    ingress_connection_settle_later(ingress, connection);
}

bool ingress_connection_is_lent(const struct ingress_connection *connection)
{
    return connection->pipeline_head != NULL &&
           connection->pipeline_head->state == INGRESS_REQUEST_LENT;
}

bool ingress_connection_is_answering(const struct ingress_connection *connection)
{
    return connection->sending || head_is_done(connection) ||
           connection->last_words != BASE_PROBLEM_NONE;
}

static void close_descriptor(struct ingress *ingress, struct ingress_connection *connection)
{
    if (connection->operations > 0) {
        /* ends the receive and a stuck send; their completions bring us back here */
        if (!connection->shut_down)
            shut_down(ingress, connection, SHUT_RDWR);
        connection->shut_down = true;
        return;
    }
    struct io_uring_sqe *entry = ingress_operation(ingress, connection);
    if (ingress->direct)
        io_uring_prep_close_direct(entry, (unsigned)connection->fd);
    else
        io_uring_prep_close(entry, connection->fd);
    io_uring_sqe_set_data64(entry, uring_tag(URING_CLOSE, connection->index));
    connection->close_queued = true;
}

static void free_slot(struct ingress *ingress, struct ingress_connection *connection)
{
    ingress_deadline_set(&ingress->deadlines, &connection->deadline, INGRESS_DEADLINE_NONE, 0, 0);
    CHECK(connection->held_first == INGRESS_HELD_NONE);
    CHECK(connection->send_buffer == INGRESS_SEND_BUFFER_NONE);
    ingress_tls_end(connection);
    connection->in_use = false;
    connection->magic = 0;
    ingress->free_connections[ingress->free_connection_count++] = connection->index;
    ingress->accept_retry_ns = 0;
}

void ingress_connection_operation_done(struct ingress *ingress,
                                       struct ingress_connection *connection)
{
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    connection->operations--;
    ingress_connection_settle_later(ingress, connection);
}

/* The end comes when everything that can be answered was. */
static void end_if_finished(struct ingress *ingress, struct ingress_connection *connection)
{
    bool input_over = connection->stop_input ||
                      (connection->peer_closed && connection->held_first == INGRESS_HELD_NONE);
    if (connection->aborted) {
        close_descriptor(ingress, connection);
        return;
    }
    if (!input_over || connection->pipeline_head != NULL || connection->sending ||
        connection->last_words != BASE_PROBLEM_NONE)
        return;
    if (connection->tls.session != NULL) {
        ingress_tls_say_goodbye(connection);
        send_sealed(ingress, connection);
        if (connection->sending || connection->aborted)
            return; /* its completion, or the abort, brings us back here */
    }
    if (connection->peer_closed) {
        close_descriptor(ingress, connection);
    } else if (!connection->lingering) {
        /* closing now would reset the connection when the client has sent more, and the reset would
         * take the response with it (RFC 9112, section 9.6) */
        connection->lingering = true;
        shut_down(ingress, connection, SHUT_WR);
    }
}

static enum ingress_deadline_kind deadline_of(const struct ingress_connection *connection)
{
    if (connection->close_queued || connection->aborted)
        return INGRESS_DEADLINE_NONE;
    if (connection->lingering)
        return INGRESS_DEADLINE_LINGER;
    if (connection->sending)
        return INGRESS_DEADLINE_SEND;
    if (connection->filling != NULL)
        return INGRESS_DEADLINE_BODY;
    if (connection->tls.session != NULL && !connection->tls.established)
        return INGRESS_DEADLINE_HEADER; /* a handshake counts as part of the first header section */
    if (connection->pipeline_head != NULL || connection->held_first != INGRESS_HELD_NONE)
        return INGRESS_DEADLINE_NONE; /* it is our turn */
    if (!ingress_http_is_idle(&connection->http))
        return INGRESS_DEADLINE_HEADER;
    return INGRESS_DEADLINE_IDLE;
}

/* A client that closes in the middle of a request takes it back. */
static void drop_truncated(struct ingress *ingress, struct ingress_connection *connection)
{
    if (!connection->peer_closed || connection->stop_input ||
        connection->held_first != INGRESS_HELD_NONE)
        return;
    if (connection->filling != NULL)
        ingress_intake_refuse(ingress, connection, BASE_PROBLEM_MALFORMED_REQUEST,
                              "the connection ended inside the body; nothing was stored");
    connection->stop_input = true;
}

void ingress_connection_settle(struct ingress *ingress, struct ingress_connection *connection)
{
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    do {
        drop_truncated(ingress, connection);
        send_ready(ingress, connection);
    } while (resume_held(ingress, connection));
    if (connection->tls.wants_buffer) { /* what was held goes on when there is one */
        connection->tls.wants_buffer = false;
        wait_for_send_buffer(ingress, connection);
    }
    if (!connection->close_queued)
        end_if_finished(ingress, connection);
    bool paused = connection->held_first != INGRESS_HELD_NONE;
    bool wants_input = !paused && !connection->peer_closed && !connection->aborted &&
                       !connection->close_queued && !connection->starved;
    if (wants_input && !connection->receiving && !connection->cancelling)
        start_receiving(ingress, connection);
    if (paused && connection->receiving && !connection->cancelling)
        stop_receiving(ingress, connection);
    ingress_deadline_set(&ingress->deadlines, &connection->deadline, deadline_of(connection), 0,
                         ingress->now_ns);
    if (connection->close_queued && connection->operations == 0 &&
        connection->pipeline_head == NULL && !connection->waiting && !connection->starved &&
        !connection->settling)
        free_slot(ingress, connection);
}

void ingress_connection_expired(struct ingress *ingress, struct ingress_connection *connection)
{
    CHECK_OBJECT(connection, INGRESS_CONNECTION_MAGIC);
    enum ingress_deadline_kind kind = (enum ingress_deadline_kind)connection->deadline.kind;
    ingress_deadline_set(&ingress->deadlines, &connection->deadline, INGRESS_DEADLINE_NONE, 0, 0);
    bool handshake = connection->tls.session != NULL && !connection->tls.established;
    if (kind == INGRESS_DEADLINE_HEADER && !handshake)
        ingress_intake_refuse(ingress, connection, BASE_PROBLEM_REQUEST_TIMEOUT,
                              "the header section did not arrive within header_deadline_ms");
    else if (kind == INGRESS_DEADLINE_BODY)
        ingress_intake_refuse(
            ingress, connection, BASE_PROBLEM_REQUEST_TIMEOUT,
            "the body did not arrive within body_deadline_ms; nothing was stored");
    else
        ingress_connection_abort(ingress, connection);
    ingress_connection_settle_later(ingress, connection);
}
