#include "ingress/ingress.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sanitizer.h"
#include "ingress/intake.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Ring sizes: a round brings at most a receive and a send per connection that is active in it; what
 * does not fit is submitted in between (SQ) or kept by the kernel (CQ, NODROP). */
#define SQ_ENTRIES 4096
#define CQ_ENTRIES 32768

/* How many connections the admin listener serves: a scraper, an operator, a health check or two. */
#define ADMIN_CONNECTIONS_MAX 64

/* When descriptors run out, accepting is tried again after this time or when a connection ends,
 * whichever comes first: descriptors that others hold give no event. */
#define ACCEPT_RETRY_NS (100 * NANOSECONDS_PER_MILLISECOND)

/* While connections wait for receive buffers, who hoards them is looked at this often. */
#define STARVED_LOOK_NS (50 * NANOSECONDS_PER_MILLISECOND)

static void set_deadlines(struct ingress *ingress)
{
    const struct config *config = ingress->config;
    uint64_t *length = ingress->deadlines.length_ns;
    ingress_deadlines_init(&ingress->deadlines);
    length[INGRESS_DEADLINE_IDLE] = config->idle_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    length[INGRESS_DEADLINE_HEADER] = config->header_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    length[INGRESS_DEADLINE_BODY] = config->body_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    length[INGRESS_DEADLINE_SEND] = config->send_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    length[INGRESS_DEADLINE_LINGER] = config->linger_deadline_ms * NANOSECONDS_PER_MILLISECOND;
}

static int reserve_connections(struct ingress *ingress, struct budget *budget,
                               struct base_error *error)
{
    uint32_t count = ingress->connections_max + INGRESS_SPARE_CONNECTIONS;
    ingress->connection_count = ingress->free_connection_count = count;
    ingress->connections =
        budget_reserve(budget, "connections", count, sizeof(struct ingress_connection),
                       "connections_max, and 64 that are only told to go away", error);
    ingress->free_connections = budget_reserve(budget, "connection list", count, sizeof(uint32_t),
                                               "one per connection", error);
    ingress->held_next = budget_reserve(budget, "held list", ingress->buffers.receive_count,
                                        sizeof(uint16_t), "one per receive buffer", error);
    ingress->held_bytes = budget_reserve(budget, "held lengths", ingress->buffers.receive_count,
                                         sizeof(uint32_t), "one per receive buffer", error);
    ingress->has_work = budget_reserve(budget, "work flags", ingress->state->core_count,
                                       sizeof(bool), "one per worker", error);
    if (ingress->connections == NULL || ingress->free_connections == NULL ||
        ingress->held_next == NULL || ingress->held_bytes == NULL || ingress->has_work == NULL)
        return error->code;
    for (uint32_t i = 0; i < count; i++)
        ingress->free_connections[i] = count - 1 - i;
    return 0;
}

static int reserve_tls(struct ingress *ingress, struct budget *budget, struct base_error *error)
{
    uint64_t bytes = ingress->config->send_buffer_bytes;
    bytes = bytes > INGRESS_TLS_PLAIN_BYTES ? bytes : INGRESS_TLS_PLAIN_BYTES;
    ingress->tls_plain = budget_reserve(budget, "decrypted bytes", 1, bytes,
                                        "per ingress: a record in or responses out", error);
    budget_note(budget, "TLS sessions", ingress->connections_max, INGRESS_TLS_CONNECTION_BYTES,
                "connections_max, by OpenSSL in each handshake, not reserved; an estimate");
    return ingress->tls_plain == NULL ? error->code : 0;
}

int ingress_init(struct ingress *ingress, uint16_t index, enum ingress_role role, int listen_fd,
                 struct state *state, struct budget *budget, struct base_error *error)
{
    const struct config *config = state->config;
    *ingress = (struct ingress){
        .magic = INGRESS_MAGIC,
        .index = index,
        .role = role,
        .state = state,
        .config = config,
        .listen_fd = listen_fd,
        .direct = config->direct_descriptors != 0,
        .connections_max = (uint32_t)config->connections_max,
        .http_limits = {(uint32_t)config->header_bytes_max, (uint32_t)config->header_count_max},
        .drain_until_ns = UINT64_MAX,
    };
    struct config own = *config;
    if (role == INGRESS_ROLE_ADMIN) {
        ingress->connections_max = ADMIN_CONNECTIONS_MAX;
        own.requests_max = own.send_buffers_max = own.receive_buffers_max = ADMIN_CONNECTIONS_MAX;
        own.large_arenas_max = 1;
    }
    set_deadlines(ingress);
    base_random_init(&ingress->random);
    int result = ingress_buffers_reserve(&ingress->buffers, &own, budget, error);
    if (result == 0)
        result = ingress_requests_reserve(&ingress->requests, &own, index, budget, error);
    if (result == 0)
        result = reserve_connections(ingress, budget, error);
    return result < 0 || !state->speaks_tls ? result : reserve_tls(ingress, budget, error);
}

int ingress_open(struct ingress *ingress, struct base_error *error)
{
    int result = uring_create(&ingress->ring, SQ_ENTRIES, CQ_ENTRIES, error);
    if (result < 0)
        return result;
    result = ingress_buffers_register(&ingress->buffers, &ingress->ring, error);
    if (result == 0 && ingress->direct) {
        int registered = io_uring_register_files_sparse(&ingress->ring, ingress->connection_count);
        if (registered < 0) {
            base_log(BASE_LOG_WARNING, "direct-descriptors",
                     "error=\"%s\" message=\"using ordinary descriptors; raise RLIMIT_NOFILE to at "
                     "least %" PRIu32 "\"",
                     strerror(-registered), ingress->connection_count);
            ingress->direct = false;
        }
    }
    if (result < 0)
        io_uring_queue_exit(&ingress->ring);
    return result;
}

void ingress_close(struct ingress *ingress)
{
    io_uring_queue_exit(&ingress->ring);
    if (ingress->listen_fd >= 0)
        close(ingress->listen_fd);
    ingress->listen_fd = -1;
}

struct io_uring_sqe *ingress_operation(struct ingress *ingress,
                                       struct ingress_connection *connection)
{
    connection->operations++;
    return uring_entry(&ingress->ring);
}

/* --- the queue ------------------------------------------------------------------------------ */

bool ingress_dispatch(struct ingress *ingress, struct ingress_request *request)
{
    struct state *state = ingress->state;
    request->state = INGRESS_REQUEST_LENT;
    for (unsigned i = 0; i < state->core_count; i++) {
        unsigned target = (ingress->index + i) % state->core_count;
        if (queue_mpmc_push(&state->queues[target], request)) {
            ingress->has_work[target] = true;
            return true;
        }
    }
    request->state = INGRESS_REQUEST_FILLING; /* still ours */
    return false;
}

static void ring_bell(struct ingress *ingress, unsigned worker)
{
    struct queue_doorbell *doorbell = &ingress->state->doorbells[worker];
    if (queue_doorbell_must_ring(doorbell))
        uring_message(&ingress->ring, doorbell->ring_fd, uring_tag(URING_BELL, 0),
                      uring_tag(URING_BELL, worker));
}

/* A long queue is worth waking one sleeping sibling, although that costs a wake across cores. */
static void call_help(struct ingress *ingress)
{
    struct state *state = ingress->state;
    if (queue_mpmc_depth(&state->queues[ingress->index]) < ingress->config->steal_depth_min)
        return;
    for (unsigned i = 0; i < state->core_count; i++) {
        if (i == ingress->index || !queue_doorbell_seems_asleep(&state->doorbells[i]))
            continue;
        ring_bell(ingress, i);
        return;
    }
}

/* Once a round, and only for workers that got something. */
static void ring_bells(struct ingress *ingress)
{
    if (ingress->role != INGRESS_ROLE_PUBLIC)
        return;
    for (unsigned i = 0; i < ingress->state->core_count; i++) {
        if (!ingress->has_work[i])
            continue;
        ingress->has_work[i] = false;
        ring_bell(ingress, i);
        if (i == ingress->index)
            call_help(ingress);
    }
}

/* --- completions ---------------------------------------------------------------------------- */

static void arm_accept(struct ingress *ingress)
{
    struct io_uring_sqe *entry = uring_entry(&ingress->ring);
    if (ingress->direct)
        io_uring_prep_multishot_accept_direct(entry, ingress->listen_fd, NULL, NULL, 0);
    else
        io_uring_prep_multishot_accept(entry, ingress->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(entry, uring_tag(URING_ACCEPT, 0));
    ingress->accepting = true;
    ingress->accept_retry_ns = 0;
}

static void close_stray(struct ingress *ingress, int fd)
{
    struct io_uring_sqe *entry = uring_entry(&ingress->ring);
    if (ingress->direct)
        io_uring_prep_close_direct(entry, (unsigned)fd);
    else
        io_uring_prep_close(entry, fd);
    io_uring_sqe_set_data64(entry, uring_tag(URING_CLOSE_STRAY, 0));
}

static void take_accepted(struct ingress *ingress, int result, uint32_t flags)
{
    if (!(flags & IORING_CQE_F_MORE))
        ingress->accepting = false;
    if (result >= 0) {
        if (ingress_connection_open(ingress, result) == NULL)
            close_stray(ingress, result);
        return;
    }
    /* every slot or descriptor is taken: new connections wait in the backlog until one is free */
    if (result == -ENFILE || result == -EMFILE || result == -ENOBUFS || result == -ENOMEM) {
        base_log(BASE_LOG_WARNING, "accept", "error=\"%s\" connections=%" PRIu32, strerror(-result),
                 ingress->connection_count - ingress->free_connection_count);
        ingress->accept_retry_ns = ingress->now_ns + ACCEPT_RETRY_NS;
    }
}

/* Requests that a worker is done with: their answers are known, their turn may have come. */
static void take_chain(struct ingress *ingress, struct ingress_request *first)
{
    THREAD_ACQUIRE(first); /* C2 pairs with C1 in worker.c: the message carried the chain */
    while (first != NULL) {
        struct ingress_request *request = first;
        CHECK_OBJECT(request, INGRESS_REQUEST_MAGIC);
        CHECK(request->ingress == ingress->index && request->state == INGRESS_REQUEST_LENT);
        first = request->next;
        request->next = NULL;
        request->state = INGRESS_REQUEST_DONE;
        ingress_connection_settle_later(ingress, request->connection);
    }
}

static void begin_drain(struct ingress *ingress)
{
    if (ingress->draining)
        return;
    ingress->draining = true;
    ingress->drain_until_ns =
        ingress->now_ns + ingress->config->drain_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    if (ingress->accepting) {
        struct io_uring_sqe *entry = uring_entry(&ingress->ring);
        io_uring_prep_cancel64(entry, uring_tag(URING_ACCEPT, 0), 0);
        io_uring_sqe_set_data64(entry, uring_tag(URING_CANCEL_ACCEPT, 0));
    }
    /* new connections are refused by the kernel from here on */
    close(ingress->listen_fd);
    ingress->listen_fd = -1;
    for (uint32_t i = 0; i < ingress->connection_count; i++) {
        struct ingress_connection *connection = &ingress->connections[i];
        if (connection->in_use && ingress_connection_is_idle(connection))
            ingress_connection_abort(ingress, connection);
    }
}

static void take_control(struct ingress *ingress, uint64_t what)
{
    if (what == URING_CONTROL_DRAIN)
        begin_drain(ingress);
    else if (what == URING_CONTROL_STOP)
        ingress->stopping = true;
}

static void take_completion(struct ingress *ingress, const struct io_uring_cqe *completion)
{
    uint64_t user_data = completion->user_data;
    uint64_t argument = uring_argument_of(user_data);
    int result = completion->res;
    switch (uring_what_of(user_data)) {
    case URING_CHAIN:
        take_chain(ingress, (struct ingress_request *)(uintptr_t)user_data);
        return;
    case URING_ACCEPT:
        take_accepted(ingress, result, completion->flags);
        return;
    case URING_RECEIVE:
        ingress_connection_received(ingress, &ingress->connections[argument], result,
                                    completion->flags);
        return;
    case URING_SEND:
        ingress_connection_sent(ingress, &ingress->connections[argument], result);
        return;
    case URING_CANCEL:
        ingress->connections[argument].cancelling = false;
        ingress_connection_operation_done(ingress, &ingress->connections[argument]);
        return;
    case URING_SHUTDOWN:
    case URING_CLOSE:
        ingress_connection_operation_done(ingress, &ingress->connections[argument]);
        return;
    case URING_BELL: /* could not be delivered: the worker is awake to us, so ring again */
        uring_message(&ingress->ring, ingress->state->doorbells[argument].ring_fd,
                      uring_tag(URING_BELL, 0), user_data);
        return;
    case URING_CONTROL:
        take_control(ingress, argument);
        return;
    case URING_CLOSE_STRAY:
    case URING_CANCEL_ACCEPT:
        return;
    case URING_WRITE:
    case URING_FLUSH:
    case URING_CHAIN_FAILED:
        break;
    }
    CHECK_NEVER("a completion that is not for an ingress");
}

static void take_completions(struct ingress *ingress)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&ingress->ring, head, completion)
    {
        take_completion(ingress, completion);
        count++;
    }
    io_uring_cq_advance(&ingress->ring, count);
}

/* --- the round ------------------------------------------------------------------------------ */

static void settle_connections(struct ingress *ingress)
{
    for (;;) {
        ingress_connection_wake_waiting(ingress);
        if (ingress->settle_first == NULL)
            ingress_connection_feed_starved(ingress);
        struct ingress_connection *connection = ingress->settle_first;
        if (connection == NULL)
            return;
        ingress->settle_first = connection->settle_next;
        connection->settling = false;
        ingress_connection_settle(ingress, connection);
    }
}

static void expire_deadlines(struct ingress *ingress)
{
    struct ingress_deadline *expired;
    while ((expired = ingress_deadlines_expired(&ingress->deadlines, ingress->now_ns)) != NULL)
        ingress_connection_expired(
            ingress,
            (struct ingress_connection *)(void *)((char *)expired -
                                                  offsetof(struct ingress_connection, deadline)));
}

/* What has not been received completely by now is given up; what was received is still answered.
 * Clients that do not read their answers get a last delay, again and again only as long as a worker
 * has requests of theirs. */
static void expire_drain(struct ingress *ingress)
{
    if (ingress->now_ns < ingress->drain_until_ns)
        return;
    bool is_first = !ingress->drain_expired;
    ingress->drain_expired = true;
    ingress->drain_until_ns =
        ingress->now_ns + ingress->config->linger_deadline_ms * NANOSECONDS_PER_MILLISECOND;
    for (uint32_t i = 0; i < ingress->connection_count; i++) {
        struct ingress_connection *connection = &ingress->connections[i];
        if (!connection->in_use)
            continue;
        if (ingress_connection_is_lent(connection) ||
            (is_first && ingress_connection_is_answering(connection)))
            ingress_connection_end_input(ingress, connection);
        else
            ingress_connection_abort(ingress, connection);
    }
}

static void report_drained(struct ingress *ingress)
{
    if (!ingress->draining || ingress->drained ||
        ingress->free_connection_count < ingress->connection_count)
        return;
    ingress->drained = true;
    add_relaxed(&ingress->state->ingresses_drained, 1);
    state_call_control(ingress->state);
}

static void refresh_clock(struct ingress *ingress)
{
    ingress->now_ns = base_clock_monotonic_ns();
    ingress->realtime_ns = base_clock_realtime_ns();
    if (ingress->realtime_ns / NANOSECONDS_PER_SECOND == ingress->date_second)
        return;
    ingress->date_second = ingress->realtime_ns / NANOSECONDS_PER_SECOND;
    ingress_response_date(ingress->realtime_ns, ingress->date);
}

static uint64_t time_to_wait(const struct ingress *ingress)
{
    uint64_t next = ingress_deadlines_next(&ingress->deadlines);
    if (ingress->drain_until_ns < next)
        next = ingress->drain_until_ns;
    if (ingress->accept_retry_ns > 0 && ingress->accept_retry_ns < next)
        next = ingress->accept_retry_ns;
    if (ingress->starved_first != NULL && next > ingress->now_ns + STARVED_LOOK_NS)
        next = ingress->now_ns + STARVED_LOOK_NS;
    if (next == UINT64_MAX)
        return UINT64_MAX;
    return next > ingress->now_ns ? next - ingress->now_ns : 0;
}

void ingress_run(struct ingress *ingress)
{
    CHECK_OBJECT(ingress, INGRESS_MAGIC);
    refresh_clock(ingress);
    while (!ingress->stopping) {
        state_pass(ingress->state, state_reader_of_ingress(ingress->state, ingress->index));
        if (!ingress->accepting && !ingress->draining &&
            ingress->now_ns >= ingress->accept_retry_ns)
            arm_accept(ingress);
        uring_wait(&ingress->ring, time_to_wait(ingress));
        refresh_clock(ingress);
        take_completions(ingress);
        expire_deadlines(ingress);
        expire_drain(ingress);
        settle_connections(ingress);
        ring_bells(ingress);
        report_drained(ingress);
    }
}
