/* `sluice bench`: loads an engine and says how it took it. The load itself is in bench/load/. */
#include "base/check.h"
#include "base/clock.h"
#include "command/command.h"
#include "command/print.h"
#include "load/report.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREADS_MAX     64
#define CONNECTIONS_MAX 60000 /* what one address has ports for */
#define PIPELINE_MAX    1024
#define RECEIPTS_MAX    UINT64_C(1000000000)
#define RECEIPTS        UINT64_C(50000000) /* of all threads; 48 bytes each */
#define DRAIN_SECONDS   10                 /* as long as a patient would wait */
#define PROGRESS_MS     1000
#define BURST_SECONDS   7200.0

struct bench {
    struct load_options load;
    struct load_payload payload;
    const char *target, *bodies, *data, *json_path, *svg_path;
    uint64_t body_bytes;
    uint64_t seconds, drain_seconds, receipts_max;
    uint64_t server_pid;
    struct load_client *clients[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    struct base_error errors[THREADS_MAX];
    uint64_t start_ns;
    _Atomic unsigned running;
};

struct bench_thread {
    struct bench *bench;
    unsigned index;
};

/* --- options -------------------------------------------------------------------------------- */

static bool parse_decimal(const char *value, double *number_out)
{
    char *end;
    *number_out = strtod(value, &end);
    return end != value && *end == '\0' && *number_out > 0 && *number_out < 1e9;
}

static bool parse_unsigned(const char *value, unsigned maximum, unsigned *number_out)
{
    uint64_t number;
    if (!print_parse_number(value, maximum, &number) || number == 0)
        return false;
    *number_out = (unsigned)number;
    return true;
}

static bool parse_arrivals(const char *value, enum load_arrivals *arrivals_out)
{
    for (enum load_arrivals i = LOAD_CLOSED; i <= LOAD_BURST; i++) {
        if (strcmp(value, load_arrivals_name(i)) != 0)
            continue;
        *arrivals_out = i;
        return true;
    }
    return false;
}

static bool parse_option(struct bench *bench, int option, const char *value)
{
    struct load_options *load = &bench->load;
    switch (option) {
    case 'a':
        return parse_arrivals(value, &load->arrivals);
    case 'r':
        return parse_decimal(value, &load->rate);
    case 'n':
        return print_parse_number(value, 100000000, &load->patients) && load->patients > 0;
    case 'x':
        return parse_decimal(value, &load->compression);
    case 's':
        return print_parse_number(value, 86400, &bench->seconds) && bench->seconds > 0;
    case 'R':
        return print_parse_number(value, RECEIPTS_MAX, &bench->receipts_max) &&
               bench->receipts_max >= THREADS_MAX;
    case 'w':
        return print_parse_number(value, 3600, &bench->drain_seconds);
    case 'c':
        return parse_unsigned(value, CONNECTIONS_MAX, &load->connections);
    case 'p':
        return parse_unsigned(value, PIPELINE_MAX, &load->pipeline);
    case 't':
        return parse_unsigned(value, THREADS_MAX, &load->threads);
    case 'z':
        return print_parse_number(value, LOAD_BODY_BYTES_MAX, &bench->body_bytes) &&
               bench->body_bytes >= LOAD_BODY_BYTES_MIN;
    case 'e':
        return print_parse_number(value, UINT64_MAX, &load->seed);
    case 'P':
        return print_parse_number(value, 1 << 22, &bench->server_pid);
    case 'b':
        bench->bodies = value;
        return true;
    case 'd':
        bench->data = value;
        return true;
    case 'j':
        bench->json_path = value;
        return true;
    case 'v':
        bench->svg_path = value;
        return true;
    default:
        return false;
    }
}

static bool parse_target(struct bench *bench, const char *target)
{
    static const char scheme[] = "http://";
    struct base_error error;
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    if (strncmp(target, scheme, sizeof(scheme) - 1) == 0)
        target += sizeof(scheme) - 1;
    size_t bytes = strcspn(target, "/");
    snprintf(text, sizeof(text), "%.*s", (int)(bytes < sizeof(text) ? bytes : sizeof(text) - 1),
             target);
    if (ingress_address_parse(&bench->load.address, text, &error) == 0)
        return true;
    fprintf(stderr, "sluice: bench: %s\n", error.text);
    return false;
}

/* What the options mean together. */
static bool check_options(struct bench *bench)
{
    struct load_options *load = &bench->load;
    const char *problem = NULL;
    if (load->arrivals == LOAD_BURST && load->patients == 0)
        problem = "--arrivals burst needs --patients N";
    if ((load->arrivals == LOAD_CONSTANT || load->arrivals == LOAD_POISSON) && load->rate == 0)
        problem = "--arrivals constant and poisson need --rate N (requests per second)";
    if (load->threads > load->connections)
        problem = "there must be a connection for each thread: raise --connections";
    if (problem != NULL) {
        fprintf(stderr, "sluice: bench: %s\n", problem);
        return false;
    }
    load->duration_ns = bench->seconds * NANOSECONDS_PER_SECOND;
    if (load->arrivals == LOAD_BURST)
        load->duration_ns = (uint64_t)(BURST_SECONDS / load->compression * 1e9);
    load->drain_ns = bench->drain_seconds * NANOSECONDS_PER_SECOND;
    load->receipts_max = bench->data != NULL ? bench->receipts_max / load->threads : 0;
    return true;
}

static bool parse_options(int argc, char **argv, struct bench *bench)
{
    static const struct option options[] = {
        {"arrivals", required_argument, NULL, 'a'},
        {"rate", required_argument, NULL, 'r'},
        {"patients", required_argument, NULL, 'n'},
        {"compress", required_argument, NULL, 'x'},
        {"seconds", required_argument, NULL, 's'},
        {"connections", required_argument, NULL, 'c'},
        {"pipeline", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'},
        {"body-bytes", required_argument, NULL, 'z'},
        {"bodies", required_argument, NULL, 'b'},
        {"drain-seconds", required_argument, NULL, 'w'},
        {"receipts", required_argument, NULL, 'R'},
        {"seed", required_argument, NULL, 'e'},
        {"server-pid", required_argument, NULL, 'P'},
        {"data", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},
        {"svg", required_argument, NULL, 'v'},
        {0},
    };
    int option, index;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (option == '?')
            return false;
        if (parse_option(bench, option, optarg))
            continue;
        fprintf(stderr, "sluice: bench: --%s %s is not possible; see sluice bench --help\n",
                options[index].name, optarg);
        return false;
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "sluice: bench takes one target, such as http://127.0.0.1:8080\n");
        return false;
    }
    bench->target = argv[optind];
    return parse_target(bench, bench->target) && check_options(bench);
}

/* --- the run -------------------------------------------------------------------------------- */

static void *run_thread(void *argument)
{
    struct bench_thread *thread = argument;
    struct bench *bench = thread->bench;
    load_client_run(bench->clients[thread->index], bench->start_ns, &bench->errors[thread->index]);
    atomic_fetch_sub_explicit(&bench->running, 1, memory_order_release);
    return NULL;
}

static void show_progress(struct bench *bench, uint64_t *acknowledged_before)
{
    uint64_t sent = 0, acknowledged = 0, refused = 0, failed = 0;
    for (unsigned i = 0; i < bench->load.threads; i++) {
        const struct load_live *live = load_client_live(bench->clients[i]);
        sent += load_relaxed(&live->sent);
        acknowledged += load_relaxed(&live->acknowledged);
        refused += load_relaxed(&live->refused);
        failed += load_relaxed(&live->failed);
    }
    fprintf(stderr,
            "\r%6.1f s  %" PRIu64 " sent  %" PRIu64 " acknowledged (%" PRIu64 "/s)  %" PRIu64
            " refused  %" PRIu64 " failed  ",
            (double)(base_clock_monotonic_ns() - bench->start_ns) / 1e9, sent, acknowledged,
            acknowledged - *acknowledged_before, refused, failed);
    *acknowledged_before = acknowledged;
}

/* On a terminal; everywhere else the threads are simply waited for. */
static void watch(struct bench *bench)
{
    uint64_t acknowledged = 0;
    if (!isatty(STDERR_FILENO))
        return;
    while (load_acquire(&bench->running) > 0) {
        struct timespec pause = {PROGRESS_MS / 1000, PROGRESS_MS % 1000 * 1000000L};
        nanosleep(&pause, NULL);
        show_progress(bench, &acknowledged);
    }
    fprintf(stderr, "\n");
}

static int run_threads(struct bench *bench)
{
    static struct bench_thread threads[THREADS_MAX];
    int exit_code = COMMAND_EXIT_DONE;
    unsigned count = bench->load.threads;
    bench->start_ns = base_clock_monotonic_ns();
    atomic_store_explicit(&bench->running, count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct bench_thread){bench, i};
        CHECK(pthread_create(&bench->threads[i], NULL, run_thread, &threads[i]) == 0);
    }
    watch(bench);
    for (unsigned i = 0; i < count; i++) {
        CHECK(pthread_join(bench->threads[i], NULL) == 0);
        if (bench->errors[i].code == 0)
            continue;
        fprintf(stderr, "sluice: bench: %s\n", bench->errors[i].text);
        exit_code = COMMAND_EXIT_FAILED;
    }
    return exit_code;
}

/* --- CPU time ------------------------------------------------------------------------------- */

static double own_cpu_seconds(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* utime and stime of /proc/PID/stat, fields 14 and 15 (proc(5)): all threads, kernel helpers too.
 */
static bool server_cpu_seconds(uint64_t pid, double *seconds_out)
{
    char path[64], line[1024] = "";
    unsigned long long user, system;
    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
    FILE *file = fopen(path, "r");
    size_t bytes = file != NULL ? fread(line, 1, sizeof(line) - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[bytes] = '\0';
    const char *behind_name = strrchr(line, ')');
    if (behind_name == NULL ||
        sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
               &system) != 2)
        return false;
    *seconds_out = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

/* --- afterwards ----------------------------------------------------------------------------- */

/* All receipts of all threads, as one array; the caller frees it. */
static struct load_receipt *gather_receipts(const struct bench *bench, uint64_t *count_out)
{
    uint64_t total = 0, count;
    for (unsigned i = 0; i < bench->load.threads; i++) {
        load_client_receipts(bench->clients[i], &count);
        total += count;
    }
    struct load_receipt *all = malloc((total + 1) * sizeof(*all));
    *count_out = 0;
    for (unsigned i = 0; all != NULL && i < bench->load.threads; i++) {
        const struct load_receipt *some = load_client_receipts(bench->clients[i], &count);
        if (count > 0)
            memcpy(all + *count_out, some, count * sizeof(*all));
        *count_out += count;
    }
    return all;
}

static bool check_data(const struct bench *bench, struct load_report *report)
{
    uint64_t count;
    struct base_error error = {0};
    struct load_receipt *receipts = gather_receipts(bench, &count);
    if (receipts == NULL)
        base_error_set(&error, -ENOMEM, "out of memory for the receipts");
    else
        load_ledger_check(bench->data, receipts, count, &report->ledger, &error);
    free(receipts);
    report->has_ledger = error.code == 0;
    if (error.code < 0)
        fprintf(stderr, "sluice: bench: %s\n", error.text);
    return report->has_ledger;
}

static bool write_file(const char *path, const struct load_report *report,
                       void (*write)(const struct load_report *, FILE *))
{
    if (path == NULL)
        return true;
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (file != NULL)
        write(report, file);
    bool written = file != NULL && fflush(file) == 0 && !ferror(file);
    if (!written)
        fprintf(stderr, "sluice: bench: cannot write %s: %s\n", path, strerror(errno));
    if (file != NULL && file != stdout)
        fclose(file);
    return written;
}

static int finish(struct bench *bench, struct load_report *report)
{
    bool fine = bench->data == NULL || check_data(bench, report);
    bool json_on_stdout = bench->json_path != NULL && strcmp(bench->json_path, "-") == 0;
    if (!json_on_stdout)
        load_report_text(report, stdout);
    fine = write_file(bench->json_path, report, load_report_json) && fine;
    fine = write_file(bench->svg_path, report, load_report_svg) && fine;
    if (report->totals.unkept_receipts > 0) {
        fprintf(stderr,
                "sluice: bench: %" PRIu64
                " receipts were not looked up, because --receipts %" PRIu64
                " are kept at most: raise it (48 bytes each), or send fewer requests\n",
                report->totals.unkept_receipts, bench->receipts_max);
        fine = false;
    }
    if (!fine)
        return COMMAND_EXIT_FAILED;
    if (report->has_ledger && report->ledger.missing > 0)
        return COMMAND_EXIT_NO;
    return report->totals.wrong_digests > 0 ? COMMAND_EXIT_NO : COMMAND_EXIT_DONE;
}

static int measure(struct bench *bench)
{
    static struct load_report report; /* a histogram is large */
    double server_before = 0, server_after = 0, own_before = own_cpu_seconds();
    report.options = &bench->load;
    base_histogram_init(&report.totals.latency);
    report.has_server_cpu =
        bench->server_pid > 0 && server_cpu_seconds(bench->server_pid, &server_before);
    int exit_code = run_threads(bench);
    if (exit_code != COMMAND_EXIT_DONE)
        return exit_code;
    report.has_server_cpu =
        report.has_server_cpu && server_cpu_seconds(bench->server_pid, &server_after);
    report.server_cpu_seconds = server_after - server_before;
    report.client_cpu_seconds = own_cpu_seconds() - own_before;
    for (unsigned i = 0; i < bench->load.threads; i++)
        load_report_add(&report.totals, load_client_totals(bench->clients[i]));
    return finish(bench, &report);
}

static int connect_all(struct bench *bench)
{
    struct base_error error;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* a connection that gets no descriptor says so */
    for (unsigned i = 0; i < bench->load.threads; i++) {
        bench->clients[i] = load_client_create(&bench->load, i, &error);
        if (bench->clients[i] != NULL)
            continue;
        fprintf(stderr, "sluice: bench: %s\n", error.text);
        return COMMAND_EXIT_FAILED;
    }
    return COMMAND_EXIT_DONE;
}

int command_bench(int argc, char **argv)
{
    static struct bench bench;
    struct base_error error;
    bench.body_bytes = 570;
    bench.seconds = 10;
    bench.drain_seconds = DRAIN_SECONDS;
    bench.receipts_max = RECEIPTS;
    bench.load = (struct load_options){.arrivals = LOAD_CLOSED,
                                       .compression = 60,
                                       .connections = 64,
                                       .pipeline = 1,
                                       .threads = 1,
                                       .seed = base_clock_realtime_ns()};
    if (!parse_options(argc, argv, &bench))
        return EX_USAGE;
    int result = bench.bodies != NULL
                     ? load_payload_from_file(&bench.payload, bench.bodies, &error)
                     : load_payload_synthetic(&bench.payload, bench.body_bytes, &error);
    if (result < 0) {
        fprintf(stderr, "sluice: bench: %s\n", error.text);
        return EX_NOINPUT;
    }
    bench.load.payload = &bench.payload;
    int exit_code = connect_all(&bench);
    if (exit_code == COMMAND_EXIT_DONE)
        exit_code = measure(&bench);
    for (unsigned i = 0; i < bench.load.threads; i++)
        load_client_destroy(bench.clients[i]);
    load_payload_fini(&bench.payload);
    return exit_code;
}
