/* The load: connections on a ring of their own, requests by a schedule, answers counted.
 *
 * One load_client per thread, each with its share of the connections. A request that is due takes
 * the connection that has waited longest for one and has room in its pipeline; where there is none
 * the request waits, and its latency counts from when it was due. In a closed loop each connection
 * keeps its pipeline full, and latency counts from the send.
 *
 * Owner: its thread, from load_client_run to its end. The counters in `live` are written by that
 * thread and may be read by another at any time (relaxed). All memory is reserved by
 * load_client_init; times are nanoseconds.
 */
#ifndef SLUICE_BENCH_LOAD_CLIENT_H
#define SLUICE_BENCH_LOAD_CLIENT_H

#include "base/atomic.h"
#include "base/histogram.h"
#include "ingress/listener.h"
#include "load/answer.h"
#include "load/payload.h"
#include "load/schedule.h"

#include <liburing.h>

#define LOAD_STATUS_COUNT  600
#define LOAD_INTERVALS_MAX 240 /* points of the plots over time */

struct load_options {
    struct ingress_address address;
    const struct load_payload *payload;
    enum load_arrivals arrivals;
    double rate; /* per second, all threads together; open loop */
    double compression;
    uint64_t patients; /* of the burst */
    uint64_t duration_ns;
    uint64_t drain_ns; /* how long answers are waited for after the last request */
    unsigned connections;
    unsigned pipeline;
    unsigned threads;
    uint64_t receipts_max; /* per thread; 0: receipts are not kept */
    uint64_t seed;
};

/* What happened in a part of the run, for plots. */
struct load_interval {
    uint64_t answered;
    uint64_t backlog_max; /* requests that were due and not sent */
    uint64_t slowest_ns;
};

struct load_live {
    _Atomic uint64_t sent, acknowledged, refused, failed;
};

struct load_totals {
    struct base_histogram latency; /* of answers 200 and 201 */
    uint64_t statuses[LOAD_STATUS_COUNT];
    uint64_t sent;
    uint64_t unanswered; /* sent, and the connection ended or the time ran out */
    uint64_t connects, connect_failures;
    uint64_t backlog_max, backlog_at_end;
    uint64_t unkept_receipts; /* beyond receipts_max: they are not looked up */
    uint64_t wrong_digests;   /* receipts whose SHA-256 is not that of what was sent */
    uint64_t elapsed_ns;      /* from the start to the last answer */
    uint64_t entered;         /* io_uring_enter calls */
    struct load_interval intervals[LOAD_INTERVALS_MAX];
};

struct load_client;

struct load_client *load_client_create(const struct load_options *options, unsigned index,
                                       struct base_error *error);
void load_client_destroy(struct load_client *client);

/* Connects, sends, receives, until the schedule has ended and the answers are in. `start_ns` is the
 * same for all threads. */
int load_client_run(struct load_client *client, uint64_t start_ns, struct base_error *error);

const struct load_totals *load_client_totals(const struct load_client *client);
const struct load_live *load_client_live(const struct load_client *client);

/* Receipts kept, in the order of their arrival. */
const struct load_receipt *load_client_receipts(const struct load_client *client,
                                                uint64_t *count_out);

#endif
