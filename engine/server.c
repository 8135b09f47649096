/* Start: everything that can fail happens before the first thread runs, or in the threads' own
 * opening, which all wait for at a gate; nothing listens for requests before all of it succeeded.
 * Stop: ingresses first, because they hold what clients wait for; workers when no request is left.
 */
#include "server.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "budget.h"
#include "gate.h"
#include "housekeeping.h"
#include "ingress/ingress.h"
#include "reloadables.h"
#include "state.h"
#include "topology.h"
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* A thread of the data plane and what it runs. */
struct thread {
    pthread_t id;
    bool started;
    char name[16]; /* as the kernel limits it */
    struct server *server;
    struct ingress *ingress; /* one of the two */
    struct worker *worker;
    bool pinned;
    unsigned core;
};

struct server {
    struct server_options *options;
    struct topology topology;
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct budget budget;
    struct state state;
    struct io_uring control_ring;
    bool has_control_ring;
    int signal_fd;
    struct housekeeping housekeeping;
    struct segment_recovery *recoveries; /* one per core */
    struct segment_handoff *handoffs;
    struct ingress *ingresses; /* one per core, then the admin listener's */
    struct worker *workers;
    unsigned ingress_count;
    struct thread *threads;
    unsigned thread_count;
    int *listeners;
    struct gate gate;
};

/* --- limits of the process ------------------------------------------------------------------ */

static int raise_descriptor_limit(const struct server *server, struct base_error *error)
{
    const struct config *config = &server->options->config;
    uint64_t table = config->connections_max + INGRESS_SPARE_CONNECTIONS;
    /* direct descriptors take no number of the process, but a ring's table may not be larger than
     * the limit; ordinary ones of all cores share it */
    uint64_t needed = config->direct_descriptors ? table : table * server->topology.count;
    needed += 64 + 16 * (uint64_t)server->topology.count;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur >= needed)
        return 0;
    if (limit.rlim_max < needed)
        return base_error_set(error, -EMFILE,
                              "the open-file limit is %llu, but connections_max=%" PRIu64
                              " needs %" PRIu64
                              ": raise it (ulimit -Hn, or LimitNOFILE= in the unit "
                              "file), or lower connections_max",
                              (unsigned long long)limit.rlim_max, config->connections_max, needed);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return base_error_os(error, -errno, "cannot raise the open-file limit to %" PRIu64, needed);
    return 0;
}

static int block_signals(struct server *server, struct base_error *error)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    server->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    server->state.control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->signal_fd < 0 || server->state.control_fd < 0)
        return base_error_os(error, -errno, "cannot create the control thread's descriptors");
    return 0;
}

/* --- the data directory --------------------------------------------------------------------- */

static void report_recovery(const struct segment_recovery *recovery)
{
    const struct segment_journal_start_point *point = &recovery->point;
    base_log(BASE_LOG_INFO, "recovered",
             "journal=%" PRIu32 " sealed_segments=%" PRIu64 " next_sequence=%" PRIu64
             " open_segment=%" PRIu64 " offset=%" PRIu64 " torn_bytes=%" PRIu64,
             point->journal, recovery->segments_sealed, point->next_sequence,
             point->has_segment ? point->segment_number : 0, point->write_offset,
             recovery->torn_bytes);
}

static int recover_journal(struct server *server, uint32_t journal, int journal_fd,
                           struct segment_recovery *recovery, struct base_error *error)
{
    int result = segment_recover(&server->catalog, journal_fd, journal, &server->watermark,
                                 server->options->config.segment_bytes, recovery, error);
    if (result < 0)
        return result;
    report_recovery(recovery);
    segment_watermark_publish(&server->watermark, journal, recovery->point.next_sequence - 1);
    return 0;
}

/* Journals of an earlier run with more cores: made whole and published, but nobody writes there. */
static int recover_idle_journal(struct server *server, uint32_t journal, struct base_error *error)
{
    struct segment_recovery recovery;
    int journal_fd = segment_catalog_journal(&server->catalog, journal, false, error);
    if (journal_fd < 0)
        return journal_fd;
    int result = recover_journal(server, journal, journal_fd, &recovery, error);
    close(journal_fd);
    if (result < 0)
        return result;
    if (recovery.point.has_segment)
        close(recovery.point.fd);
    if (recovery.has_prepared)
        close(recovery.prepared.fd);
    segment_recovery_fini(&recovery);
    return 0;
}

/* A mark of a journal that is not there: all of it was acknowledged and is missing. */
static int check_missing_journals(const struct server *server, const uint32_t *journals,
                                  size_t count, struct base_error *error)
{
    for (uint32_t journal = 0; journal < SEGMENT_WATERMARK_JOURNALS_MAX; journal++) {
        bool present = false;
        for (size_t i = 0; i < count; i++)
            present = present || journals[i] == journal;
        if (!present && segment_watermark_read(&server->watermark, journal) > 0)
            return base_error_set(error, -EBADMSG,
                                  "damage: %s/journal-%04" PRIu32
                                  " is missing, and records of it were "
                                  "acknowledged; restore it from a replica or backup",
                                  server->catalog.path, journal);
    }
    return 0;
}

static int recover_own_journals(struct server *server, struct base_error *error)
{
    struct housekeeping *housekeeping = &server->housekeeping;
    for (unsigned i = 0; i < server->topology.count; i++) {
        struct housekeeping_journal *journal = &housekeeping->journals[i];
        journal->journal = i;
        journal->handoff = &server->handoffs[i];
        journal->journal_fd = segment_catalog_journal(&server->catalog, i, true, error);
        if (journal->journal_fd < 0)
            return journal->journal_fd;
        int result = recover_journal(server, i, journal->journal_fd, &server->recoveries[i], error);
        if (result == 0)
            result = housekeeping_supply(housekeeping, i, &server->recoveries[i], error);
        if (result < 0)
            return result;
    }
    return 0;
}

static int open_data(struct server *server, struct base_error *error)
{
    uint32_t *journals = NULL;
    size_t count = 0;
    int result = segment_catalog_open(&server->catalog, server->options->data, error);
    if (result == 0)
        result = segment_watermark_open(&server->watermark, &server->catalog, error);
    if (result == 0)
        result = segment_catalog_journals(&server->catalog, &journals, &count, error);
    for (size_t i = 0; i < count && result == 0; i++)
        if (journals[i] >= server->topology.count)
            result = recover_idle_journal(server, journals[i], error);
    if (result == 0)
        result = check_missing_journals(server, journals, count, error);
    free(journals);
    if (result < 0)
        return result;
    if (!server->catalog.direct)
        base_log(BASE_LOG_WARNING, "no-direct-io",
                 "data=\"%s\" message=\"this filesystem has no O_DIRECT; writes are buffered and "
                 "flushed, which costs more per batch\"",
                 server->options->data);
    return recover_own_journals(server, error);
}

/* --- reserving ------------------------------------------------------------------------------ */

static void *zeroed(size_t count, size_t bytes)
{
    size_t alignment = CACHE_LINE_BYTES;
    void *memory =
        aligned_alloc(alignment, (count * bytes + alignment - 1) / alignment * alignment);
    CHECK(memory != NULL); /* a few hundred bytes per core, before anything serves */
    memset(memory, 0, count * bytes);
    return memory;
}

static void reserve_tables(struct server *server)
{
    unsigned cores = server->topology.count;
    server->recoveries = zeroed(cores, sizeof(*server->recoveries));
    server->handoffs = zeroed(cores, sizeof(*server->handoffs));
    server->ingresses = zeroed(cores + 1, sizeof(*server->ingresses));
    server->workers = zeroed(cores, sizeof(*server->workers));
    server->threads = zeroed(2 * (size_t)cores + 1, sizeof(*server->threads));
    server->listeners = zeroed(cores + 1, sizeof(*server->listeners));
    server->state.reload_readers = zeroed(2 * (size_t)cores + 1, sizeof(struct reload_reader));
    reload_init(&server->state.reload, server->state.reload_readers,
                2 * cores + (server->options->has_admin ? 1 : 0));
    server->state.doorbells = zeroed(cores, sizeof(*server->state.doorbells));
    server->state.ingress_ring_fds = zeroed(cores, sizeof(*server->state.ingress_ring_fds));
    server->housekeeping.journals = zeroed(cores, sizeof(*server->housekeeping.journals));
    server->state.core_count = cores;
    for (unsigned i = 0; i < cores; i++) {
        server->recoveries[i].point.fd = server->recoveries[i].prepared.fd = -1;
        server->housekeeping.journals[i].handoff = &server->handoffs[i];
        server->housekeeping.journals[i].journal_fd = -1;
        server->workers[i].journal.fd = -1;
    }
    for (unsigned i = 0; i <= cores; i++)
        server->listeners[i] = -1;
}

static int reserve_queues(struct server *server, struct base_error *error)
{
    uint64_t slots = server->options->config.queue_slots;
    struct queue_mpmc *queues = budget_reserve(&server->budget, "queues", server->topology.count,
                                               sizeof(*queues), "one per core", error);
    if (queues == NULL)
        return error->code;
    server->state.queues = queues;
    for (unsigned i = 0; i < server->topology.count; i++) {
        ck_ring_buffer_t *memory =
            budget_reserve(&server->budget, "queue slots", slots, sizeof(ck_ring_buffer_t),
                           "queue_slots per core, a pointer each", error);
        if (memory == NULL)
            return error->code;
        queue_mpmc_init(&queues[i], memory, (unsigned)slots);
    }
    return 0;
}

static int reserve_cores(struct server *server, struct base_error *error)
{
    int result = reserve_queues(server, error);
    for (unsigned i = 0; i < server->topology.count && result == 0; i++) {
        result = ingress_init(&server->ingresses[i], (uint16_t)i, INGRESS_ROLE_PUBLIC,
                              server->listeners[i], &server->state, &server->budget, error);
        if (result == 0)
            result = worker_init(&server->workers[i], i, server->topology.cores[i], &server->state,
                                 &server->catalog, &server->recoveries[i], &server->watermark,
                                 &server->handoffs[i], &server->budget, error);
        if (result == 0) /* the worker has the descriptor and a copy of the index now */
            segment_recovery_fini(&server->recoveries[i]);
    }
    server->ingress_count = server->topology.count;
    if (result == 0 && server->options->has_admin) {
        result =
            ingress_init(&server->ingresses[server->ingress_count], (uint16_t)server->ingress_count,
                         INGRESS_ROLE_ADMIN, server->listeners[server->ingress_count],
                         &server->state, &server->budget, error);
        server->ingress_count++;
    }
    if (result == 0)
        budget_log(&server->budget);
    return result;
}

static int open_listeners(struct server *server, struct base_error *error)
{
    struct server_options *options = server->options;
    uint64_t wait_ms = options->config.bind_wait_ms;
    int result = ingress_listeners_open(&options->listen, server->topology.count, wait_ms,
                                        server->listeners, error);
    if (result == 0 && options->has_admin)
        result = ingress_listeners_open(&options->admin, 1, wait_ms,
                                        &server->listeners[server->topology.count], error);
    return result;
}

/* --- threads -------------------------------------------------------------------------------- */

static int prepare_thread(struct thread *thread, struct base_error *error)
{
    pthread_setname_np(pthread_self(), thread->name);
    if (!thread->pinned)
        return 0;
    int result = topology_pin(thread->core, error);
    if (result < 0)
        return result;
    int slice = topology_set_slice(thread->server->options->config.scheduling_slice_us);
    if (slice < 0)
        base_log(BASE_LOG_WARNING, "scheduling-slice",
                 "thread=%s error=\"%s\" message=\"latency will suffer when other work keeps the "
                 "cores busy\"",
                 thread->name, strerror(-slice));
    return 0;
}

static void *run_ingress(void *argument)
{
    struct thread *thread = argument;
    struct server *server = thread->server;
    struct ingress *ingress = thread->ingress;
    struct base_error error;
    int result = prepare_thread(thread, &error);
    if (result == 0)
        result = ingress_open(ingress, &error);
    if (result == 0 && ingress->role == INGRESS_ROLE_PUBLIC)
        server->state.ingress_ring_fds[ingress->index] = ingress->ring.ring_fd;
    if (gate_pass(&server->gate, result, &error))
        ingress_run(ingress);
    if (result == 0)
        ingress_close(ingress);
    return NULL;
}

static void *run_worker(void *argument)
{
    struct thread *thread = argument;
    struct server *server = thread->server;
    struct worker *worker = thread->worker;
    struct base_error error;
    int result = prepare_thread(thread, &error);
    if (result == 0)
        result = worker_open(worker, &error);
    if (result == 0)
        server->state.doorbells[worker->index].ring_fd = worker->ring.ring_fd;
    if (gate_pass(&server->gate, result, &error))
        worker_run(worker);
    if (result == 0)
        worker_close(worker);
    return NULL;
}

static int start_thread(struct server *server, void *(*run)(void *), const char *kind,
                        unsigned index, struct thread setup, struct base_error *error)
{
    struct thread *thread = &server->threads[server->thread_count];
    *thread = setup;
    thread->server = server;
    snprintf(thread->name, sizeof(thread->name), "sluice-%s-%u", kind, index % 1000);
    int failure = pthread_create(&thread->id, NULL, run, thread);
    if (failure != 0)
        return base_error_os(error, -failure, "cannot start thread %s", thread->name);
    thread->started = true;
    server->thread_count++;
    return 0;
}

static int start_threads(struct server *server, struct base_error *error)
{
    int result = 0;
    for (unsigned i = 0; i < server->topology.count && result == 0; i++) {
        struct thread setup = {.pinned = true, .core = server->topology.cores[i]};
        setup.worker = &server->workers[i];
        result = start_thread(server, run_worker, "wk", i, setup, error);
        setup.worker = NULL;
        setup.ingress = &server->ingresses[i];
        if (result == 0)
            result = start_thread(server, run_ingress, "in", i, setup, error);
    }
    if (result == 0 && server->options->has_admin) {
        struct thread setup = {.ingress = &server->ingresses[server->topology.count]};
        result = start_thread(server, run_ingress, "admin", 0, setup, error);
    }
    return result;
}

static void tell(struct server *server, int ring_fd, enum uring_control what)
{
    uring_message(&server->control_ring, ring_fd, uring_tag(URING_CONTROL, what),
                  uring_tag(URING_CONTROL, what));
    io_uring_submit(&server->control_ring);
}

static void tell_ingresses(struct server *server, unsigned first, unsigned behind_last,
                           enum uring_control what)
{
    for (unsigned i = first; i < behind_last; i++)
        tell(server, server->ingresses[i].ring.ring_fd, what);
}

static void tell_all(struct server *server, enum uring_control what)
{
    tell_ingresses(server, 0, server->ingress_count, what);
    for (unsigned i = 0; i < server->topology.count; i++)
        tell(server, server->workers[i].ring.ring_fd, what);
}

static void join_threads(struct server *server)
{
    for (unsigned i = 0; i < server->thread_count; i++)
        if (server->threads[i].started)
            pthread_join(server->threads[i].id, NULL);
}

/* --- serving -------------------------------------------------------------------------------- */

static void begin_drain(struct server *server)
{
    base_log(BASE_LOG_INFO, "draining",
             "message=\"no new connections; a second signal does not "
             "wait\"");
    store_relaxed(&server->state.service, STATE_DRAINING);
    tell_ingresses(server, 0, server->topology.count, URING_CONTROL_DRAIN);
}

/* Threads that sleep pass a quiescent point when they wake. */
static void wake_readers(struct server *server)
{
    tell_all(server, URING_CONTROL_PASS);
}

static void take_signals(struct server *server)
{
    struct signalfd_siginfo signal_info;
    while (read(server->signal_fd, &signal_info, sizeof(signal_info)) == sizeof(signal_info)) {
        if (signal_info.ssi_signo == SIGHUP) {
            if (reload_begin(&server->state.reload))
                wake_readers(server);
        } else if (load_relaxed(&server->state.service) == STATE_DRAINING) {
            base_log(BASE_LOG_WARNING, "second-signal",
                     "message=\"not waiting; what was acknowledged is durable\"");
            _exit(EXIT_FAILURE);
        } else {
            begin_drain(server);
        }
    }
}

/* The control thread's loop: until every ingress is drained. */
static void control(struct server *server)
{
    struct pollfd watched[] = {
        {.fd = server->signal_fd, .events = POLLIN},
        {.fd = server->state.control_fd, .events = POLLIN},
    };
    while (load_relaxed(&server->state.ingresses_drained) < server->topology.count) {
        bool more = housekeeping_step(&server->housekeeping);
        int timeout = more ? 0 : housekeeping_timeout_ms(&server->housekeeping);
        if (poll(watched, 2, timeout) < 0)
            CHECK(errno == EINTR);
        uint64_t calls;
        ssize_t got = read(server->state.control_fd, &calls, sizeof(calls));
        (void)got; /* empty is fine: non-blocking */
        take_signals(server);
        if (reload_step(&server->state.reload))
            wake_readers(server);
    }
}

static int setup(struct server *server, struct base_error *error)
{
    int result = topology_discover(&server->topology, server->options->cores, error);
    if (result == 0)
        result = raise_descriptor_limit(server, error);
    if (result == 0)
        result = uring_probe(error);
    if (result < 0)
        return result;
    reserve_tables(server);
    server->housekeeping.state = &server->state;
    server->housekeeping.catalog = &server->catalog;
    server->housekeeping.count = server->topology.count;
    segment_prepare_init(&server->housekeeping.preparation);
    result = reloadables_load(&server->state, ingress_address_is_loopback(&server->options->listen),
                              error);
    if (result == 0)
        result = block_signals(server, error);
    if (result == 0)
        result = open_data(server, error);
    if (result == 0)
        result = open_listeners(server, error);
    if (result == 0)
        result = reserve_cores(server, error);
    if (result == 0)
        result = uring_create(&server->control_ring, 64, 128, error);
    server->has_control_ring = result == 0;
    server->housekeeping.ring = &server->control_ring;
    return result;
}

static void close_all(struct server *server)
{
    if (server->housekeeping.journals != NULL)
        housekeeping_fini(&server->housekeeping);
    for (unsigned i = 0; i < server->topology.count && server->workers != NULL; i++) {
        worker_fini(&server->workers[i]);
        segment_recovery_fini(&server->recoveries[i]);
        if (server->housekeeping.journals[i].journal_fd >= 0)
            close(server->housekeeping.journals[i].journal_fd);
    }
    if (server->has_control_ring)
        io_uring_queue_exit(&server->control_ring);
    reload_fini(&server->state.reload);
    budget_fini(&server->budget);
    segment_watermark_close(&server->watermark);
    segment_catalog_close(&server->catalog);
    void *tables[] = {server->recoveries,
                      server->handoffs,
                      server->ingresses,
                      server->workers,
                      server->threads,
                      server->listeners,
                      server->state.doorbells,
                      server->state.reload_readers,
                      server->state.ingress_ring_fds,
                      server->housekeeping.journals};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        free(tables[i]);
}

int server_run(struct server_options *options, void (*ready)(const struct server_options *options),
               struct base_error *error)
{
    struct server server = {
        .options = options,
        .catalog = {.directory_fd = -1, .lock_fd = -1},
        .state = {.config = &options->config, .control_fd = -1},
        .signal_fd = -1,
    };
    budget_init(&server.budget);
    gate_init(&server.gate);
    int result = setup(&server, error);
    if (result == 0)
        result = start_threads(&server, error);
    if (server.thread_count > 0)
        result = gate_open(&server.gate, server.thread_count, result, error);
    if (result == 0) {
        store_relaxed(&server.state.service, STATE_READY);
        if (options->has_admin) {
            char address[INGRESS_ADDRESS_TEXT_BYTES];
            ingress_address_format(&options->admin, address);
            base_log(BASE_LOG_INFO, "admin", "listen=http://%s", address);
        }
        ready(options);
        control(&server);
        tell_all(&server, URING_CONTROL_STOP);
    }
    join_threads(&server);
    bool failed = load_relaxed(&server.state.journals_failed) > 0;
    close_all(&server);
    if (result == 0 && failed)
        return base_error_set(error, -EIO, "a journal failed while serving; see the log");
    if (result == 0)
        base_log(BASE_LOG_INFO, "stopped", "message=\"everything answered is durable\"");
    return result;
}
