/* Requests that are due stand in a ring of their due times. It is large (four million), and lazily
 * touched: a server that stops answering must not stop the clock that the latency is counted by. */
#include "load/client.h"

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "ingress/uring.h"
#include "load/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DUE_MAX            (UINT64_C(1) << 22)
#define REQUEST_HEAD_BYTES 256
#define RECONNECT_NS       (50 * NANOSECONDS_PER_MILLISECOND)
#define SPIN_BELOW_NS      3000 /* a timer is not worth it */

struct load_client {
    struct load_options options;
    struct load_schedule schedule;
    struct base_random random;
    struct io_uring ring;
    bool has_ring;
    unsigned connection_count;
    struct load_connection *connections;
    char *buffers;
    struct load_flight *flights;
    struct load_connection *ready_first, *ready_last;
    uint64_t *due; /* ring of DUE_MAX */
    uint64_t due_first, due_count;
    uint64_t next_due_ns; /* not in the ring yet */
    uint64_t start_ns, now_ns, reconnect_at_ns;
    uint64_t in_flight;
    unsigned closed; /* connections that are not open */
    size_t next_body;
    struct load_receipt *receipts;
    uint64_t receipt_count;
    struct load_totals totals;
    struct load_live live;
};

/* --- set up and down ------------------------------------------------------------------------ */

static unsigned share_of(unsigned total, unsigned threads, unsigned index)
{
    return total / threads + (index < total % threads ? 1 : 0);
}

static size_t out_capacity(const struct load_options *options)
{
    return (REQUEST_HEAD_BYTES + (size_t)options->payload->bytes_max) * options->pipeline;
}

static int reserve(struct load_client *client, struct base_error *error)
{
    const struct load_options *options = &client->options;
    size_t count = client->connection_count;
    size_t each = out_capacity(options) + LOAD_RECEIVE_BYTES;
    client->connections = calloc(count, sizeof(*client->connections));
    client->flights = calloc(count * options->pipeline, sizeof(*client->flights));
    client->buffers = malloc(count * each);
    client->due = malloc(DUE_MAX * sizeof(*client->due));
    if (options->receipts_max > 0)
        client->receipts = malloc(options->receipts_max * sizeof(*client->receipts));
    if (client->connections == NULL || client->flights == NULL || client->buffers == NULL ||
        client->due == NULL || (options->receipts_max > 0 && client->receipts == NULL))
        return base_error_set(error, -ENOMEM, "out of memory for %zu connections", count);
    for (size_t i = 0; i < count; i++)
        client->connections[i] = (struct load_connection){
            .fd = -1,
            .index = (unsigned)i,
            .flights = client->flights + i * options->pipeline,
            .out = client->buffers + i * each,
            .in = client->buffers + i * each + out_capacity(options),
        };
    return 0;
}

static void start_schedule(struct load_client *client, unsigned index)
{
    const struct load_options *options = &client->options;
    uint64_t count = UINT64_MAX, end_ns = options->duration_ns;
    if (options->arrivals == LOAD_BURST) {
        count = options->patients / options->threads +
                (index < options->patients % options->threads ? 1 : 0);
        end_ns = UINT64_MAX;
    }
    load_schedule_init(&client->schedule, options->arrivals, options->rate / options->threads,
                       end_ns, count, options->compression, options->seed + index);
    base_random_seed(&client->random, options->seed ^ (UINT64_C(0x9E3779B97F4A7C15) * (index + 1)));
    client->next_due_ns = load_schedule_next(&client->schedule);
}

struct load_client *load_client_create(const struct load_options *options, unsigned index,
                                       struct base_error *error)
{
    struct load_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        base_error_set(error, -ENOMEM, "out of memory for the load");
        return NULL;
    }
    client->options = *options;
    client->connection_count = share_of(options->connections, options->threads, index);
    client->next_body = index * 7919 % options->payload->count; /* threads start apart */
    base_histogram_init(&client->totals.latency);
    int result = reserve(client, error);
    for (unsigned i = 0; i < client->connection_count && result == 0; i++)
        result = load_connection_open(&client->connections[i], &options->address, error);
    if (result < 0) {
        load_client_destroy(client);
        return NULL;
    }
    client->totals.connects = client->connection_count;
    start_schedule(client, index);
    return client;
}

void load_client_destroy(struct load_client *client)
{
    if (client == NULL)
        return;
    if (client->has_ring)
        io_uring_queue_exit(&client->ring);
    for (unsigned i = 0; client->connections != NULL && i < client->connection_count; i++)
        if (client->connections[i].fd >= 0)
            close(client->connections[i].fd);
    free(client->connections);
    free(client->flights);
    free(client->buffers);
    free(client->due);
    free(client->receipts);
    free(client);
}

/* --- connections that can take a request ---------------------------------------------------- */

static void make_ready(struct load_client *client, struct load_connection *connection)
{
    if (connection->ready || connection->sending || connection->ending || connection->fd < 0 ||
        connection->flight_count == client->options.pipeline)
        return;
    connection->ready = true;
    connection->next_ready = NULL;
    if (client->ready_last == NULL)
        client->ready_first = connection;
    else
        client->ready_last->next_ready = connection;
    client->ready_last = connection;
}

static struct load_connection *take_ready(struct load_client *client)
{
    struct load_connection *connection = client->ready_first;
    if (connection == NULL)
        return NULL;
    client->ready_first = connection->next_ready;
    if (client->ready_first == NULL)
        client->ready_last = NULL;
    connection->ready = false;
    return connection;
}

static bool can_take(const struct load_client *client, const struct load_connection *connection)
{
    return connection->fd >= 0 && !connection->ending && !connection->sending &&
           connection->flight_count < client->options.pipeline;
}

/* --- sending -------------------------------------------------------------------------------- */

static void append_request(struct load_client *client, struct load_connection *connection,
                           uint64_t due_ns)
{
    const struct load_payload *payload = client->options.payload;
    const struct load_body *body = &payload->bodies[client->next_body++ % payload->count];
    char *out = connection->out + connection->out_bytes;
    int head = snprintf(out, REQUEST_HEAD_BYTES,
                        "POST /v1/submissions HTTP/1.1\r\nHost: sluice\r\n"
                        "Content-Type: application/json\r\nContent-Length: %u\r\n\r\n",
                        body->bytes);
    CHECK(head > 0 && head < REQUEST_HEAD_BYTES);
    load_payload_write(body, &client->random, base_clock_realtime_ns(), out + head);
    connection->out_bytes += (size_t)head + body->bytes;
    unsigned at =
        (connection->flight_first + connection->flight_count++) % client->options.pipeline;
    struct load_flight *flight = &connection->flights[at];
    flight->due_ns = due_ns;
    base_sha256_of(out + head, body->bytes, flight->sha256);
    client->in_flight++;
    client->totals.sent++;
    store_relaxed(&client->live.sent, client->totals.sent);
}

static bool has_ended(const struct load_client *client)
{
    return client->options.arrivals == LOAD_CLOSED &&
           client->now_ns - client->start_ns >= client->options.duration_ns;
}

static void send_on(struct load_client *client, struct load_connection *connection)
{
    if (connection->out_bytes > 0 && !connection->sending)
        load_connection_send(connection, &client->ring);
}

static void send_closed(struct load_client *client)
{
    struct load_connection *connection;
    while ((connection = take_ready(client)) != NULL) {
        while (!has_ended(client) && can_take(client, connection))
            append_request(client, connection, client->now_ns);
        send_on(client, connection);
    }
}

static struct load_interval *interval_now(struct load_client *client)
{
    uint64_t length = client->options.duration_ns / (LOAD_INTERVALS_MAX * 5 / 6) + 1;
    uint64_t index = (client->now_ns - client->start_ns) / length;
    return &client->totals.intervals[index < LOAD_INTERVALS_MAX ? index : LOAD_INTERVALS_MAX - 1];
}

/* Moves what is due by now into the ring. */
static void take_due(struct load_client *client)
{
    while (client->next_due_ns <= client->now_ns - client->start_ns &&
           client->due_count < DUE_MAX) {
        client->due[(client->due_first + client->due_count++) % DUE_MAX] =
            client->start_ns + client->next_due_ns;
        client->next_due_ns = load_schedule_next(&client->schedule);
    }
}

static void send_due(struct load_client *client)
{
    struct load_connection *connection;
    take_due(client);
    while (client->due_count > 0 && (connection = take_ready(client)) != NULL) {
        /* fewer connections than requests: several share one send */
        uint64_t share = client->due_count / client->connection_count + 1;
        for (; share > 0 && client->due_count > 0 && can_take(client, connection); share--) {
            append_request(client, connection, client->due[client->due_first % DUE_MAX]);
            client->due_first++;
            client->due_count--;
        }
        send_on(client, connection);
    }
    struct load_interval *interval = interval_now(client);
    if (client->due_count > interval->backlog_max)
        interval->backlog_max = client->due_count;
    if (client->due_count > client->totals.backlog_max)
        client->totals.backlog_max = client->due_count;
}

/* --- answers -------------------------------------------------------------------------------- */

static void keep_receipt(struct load_client *client, const struct load_flight *flight,
                         const struct load_answer *answer)
{
    if (!answer->has_receipt)
        return;
    if (memcmp(answer->receipt.sha256, flight->sha256, LOAD_DIGEST_BYTES) != 0)
        client->totals.wrong_digests++;
    if (client->receipts == NULL)
        return;
    if (client->receipt_count < client->options.receipts_max)
        client->receipts[client->receipt_count++] = answer->receipt;
    else
        client->totals.unkept_receipts++;
}

static void take_answer(struct load_client *client, struct load_connection *connection,
                        const struct load_answer *answer)
{
    const struct load_flight *flight = &connection->flights[connection->flight_first];
    connection->flight_first = (connection->flight_first + 1) % client->options.pipeline;
    connection->flight_count--;
    client->in_flight--;
    client->totals.statuses[answer->status < LOAD_STATUS_COUNT ? answer->status : 0]++;
    client->totals.elapsed_ns = client->now_ns - client->start_ns;
    if (answer->status != 200 && answer->status != 201) {
        add_relaxed(&client->live.refused, 1);
        return;
    }
    uint64_t latency_ns = client->now_ns - flight->due_ns;
    struct load_interval *interval = interval_now(client);
    interval->answered++;
    if (latency_ns > interval->slowest_ns)
        interval->slowest_ns = latency_ns;
    base_histogram_add(&client->totals.latency, latency_ns);
    keep_receipt(client, flight, answer);
    add_relaxed(&client->live.acknowledged, 1);
}

/* What was in flight will not be answered. */
static void give_up(struct load_client *client, struct load_connection *connection)
{
    client->totals.unanswered += connection->flight_count;
    add_relaxed(&client->live.failed, connection->flight_count);
    client->in_flight -= connection->flight_count;
    connection->flight_count = 0;
    load_connection_end(connection);
}

/* Takes whole responses off the front. False: the connection ends. */
static bool take_answers(struct load_client *client, struct load_connection *connection)
{
    size_t at = 0;
    struct load_answer answer;
    long bytes;
    while ((bytes = load_answer_parse(connection->in + at, connection->in_bytes - at, &answer)) >
           0) {
        if (connection->flight_count == 0)
            return false; /* an answer to nothing: the server ends the connection */
        take_answer(client, connection, &answer);
        at += (size_t)bytes;
        if (answer.ends)
            return false;
    }
    connection->in_bytes -= at;
    memmove(connection->in, connection->in + at, connection->in_bytes);
    return bytes == 0 && connection->in_bytes < LOAD_RECEIVE_BYTES;
}

static void complete_receive(struct load_client *client, struct load_connection *connection,
                             int result)
{
    connection->receiving = false;
    if (connection->ending)
        return;
    if (result > 0)
        connection->in_bytes += (size_t)result;
    if (result <= 0 || !take_answers(client, connection)) {
        give_up(client, connection);
        return;
    }
    load_connection_receive(connection, &client->ring);
    make_ready(client, connection);
}

static void complete_send(struct load_client *client, struct load_connection *connection,
                          int result)
{
    connection->sending = false;
    if (connection->ending)
        return;
    if (result <= 0) {
        give_up(client, connection);
        return;
    }
    connection->out_sent += (size_t)result;
    if (connection->out_sent < connection->out_bytes) {
        load_connection_send(connection, &client->ring);
        return;
    }
    connection->out_sent = connection->out_bytes = 0;
    make_ready(client, connection);
}

static void take_completion(struct load_client *client, const struct io_uring_cqe *completion)
{
    uint64_t index = completion->user_data & UINT32_MAX;
    CHECK(index < client->connection_count);
    struct load_connection *connection = &client->connections[index];
    if (completion->user_data >> 32 == LOAD_SENT)
        complete_send(client, connection, completion->res);
    else
        complete_receive(client, connection, completion->res);
    if (load_connection_close_if_idle(connection))
        client->closed++;
}

static void take_completions(struct load_client *client)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&client->ring, head, completion)
    {
        take_completion(client, completion);
        count++;
    }
    io_uring_cq_advance(&client->ring, count);
}

/* --- the loop ------------------------------------------------------------------------------- */

static void reconnect(struct load_client *client)
{
    struct base_error error;
    if (client->closed == 0 || client->now_ns < client->reconnect_at_ns)
        return;
    for (unsigned i = 0; i < client->connection_count && client->closed > 0; i++) {
        struct load_connection *connection = &client->connections[i];
        if (connection->fd >= 0)
            continue;
        if (load_connection_open(connection, &client->options.address, &error) < 0) {
            client->totals.connect_failures++;
            client->reconnect_at_ns = client->now_ns + RECONNECT_NS;
            return;
        }
        client->closed--;
        client->totals.connects++;
        load_connection_receive(connection, &client->ring);
        make_ready(client, connection);
    }
}

/* All was sent, and all of it answered. */
static bool is_done(const struct load_client *client)
{
    if (client->in_flight > 0)
        return false;
    if (client->options.arrivals == LOAD_CLOSED)
        return has_ended(client);
    return client->due_count == 0 && client->next_due_ns == UINT64_MAX;
}

static uint64_t give_up_at_ns(const struct load_client *client)
{
    return client->start_ns + client->options.duration_ns + client->options.drain_ns;
}

static uint64_t wake_at_ns(const struct load_client *client)
{
    uint64_t at_ns = give_up_at_ns(client);
    if (client->options.arrivals == LOAD_CLOSED && !has_ended(client))
        at_ns = client->start_ns + client->options.duration_ns;
    else if (client->next_due_ns != UINT64_MAX && client->start_ns + client->next_due_ns < at_ns)
        at_ns = client->start_ns + client->next_due_ns;
    if (client->closed > 0 && client->reconnect_at_ns < at_ns)
        at_ns = client->reconnect_at_ns;
    return at_ns;
}

static void wait_for_something(struct load_client *client)
{
    uint64_t at_ns = wake_at_ns(client), now_ns = base_clock_monotonic_ns();
    client->totals.entered++;
    if (at_ns <= now_ns + SPIN_BELOW_NS)
        io_uring_submit_and_get_events(&client->ring);
    else
        uring_wait(&client->ring, at_ns - now_ns);
}

int load_client_run(struct load_client *client, uint64_t start_ns, struct base_error *error)
{
    unsigned entries = client->connection_count * 2 < 16 ? 16 : client->connection_count * 2;
    int result = uring_create(&client->ring, entries < 4096 ? entries : 4096,
                              entries < 65536 ? entries : 65536, error);
    if (result < 0)
        return result;
    client->has_ring = true;
    client->start_ns = start_ns;
    client->now_ns = base_clock_monotonic_ns();
    for (unsigned i = 0; i < client->connection_count; i++) {
        load_connection_receive(&client->connections[i], &client->ring);
        make_ready(client, &client->connections[i]);
    }
    while (!is_done(client) && client->now_ns < give_up_at_ns(client)) {
        if (client->options.arrivals == LOAD_CLOSED)
            send_closed(client);
        else
            send_due(client);
        wait_for_something(client);
        client->now_ns = base_clock_monotonic_ns();
        take_completions(client);
        reconnect(client);
    }
    client->totals.unanswered += client->in_flight;
    client->totals.backlog_at_end = client->due_count;
    return 0;
}

const struct load_totals *load_client_totals(const struct load_client *client)
{
    return &client->totals;
}

const struct load_live *load_client_live(const struct load_client *client)
{
    return &client->live;
}

const struct load_receipt *load_client_receipts(const struct load_client *client,
                                                uint64_t *count_out)
{
    *count_out = client->receipt_count;
    return client->receipts;
}
