/* What one write and one flush cost, through a ring set up and used as engine/worker.c does: own
 * ring, registered buffer, helper threads on the same core, the default scheduling_slice_us, flush
 * submitted when the write has reported every byte. The files are prepared in five ways, the last
 * one by the engine's own segment/prepare.c. Every block that was written is read back.
 *
 *   flush [--tiny] [--json] [--rounds N] [--count N] [--core N] DIR
 *
 * Files go to a directory of its own below DIR, which is removed at the end. With N writes a round,
 * a round takes N x 324 KiB for each of the five ways, most of it twice.
 */
#include "measure.h"

#include "base/check.h"
#include "config.h"
#include "ingress/uring.h"
#include "segment/prepare.h"
#include "topology.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define COUNT_DEFAULT 100
#define TINY_COUNT    3
#define WRITE_MAX     262144

enum way { WAY_APPEND, WAY_FALLOCATE, WAY_CACHED_BUFFERED, WAY_CACHED, WAY_ENGINE, WAY_COUNT };

static const struct {
    const char *name;
    bool buffered; /* the measured writes go through the page cache */
} ways[WAY_COUNT] = {
    [WAY_APPEND] = {"append: the file grows", false},
    [WAY_FALLOCATE] = {"fallocate", false},
    [WAY_CACHED_BUFFERED] = {"zeros and writes both buffered", true},
    [WAY_CACHED] = {"zeros buffered, writes O_DIRECT", false},
    [WAY_ENGINE] = {"zeros and writes O_DIRECT (engine)", false},
};

static const uint32_t sizes[] = {4096, 65536, WRITE_MAX};
#define SIZE_COUNT (sizeof(sizes) / sizeof(sizes[0]))

/* All flushes of one size and way. */
struct series {
    double *elapsed_us; /* measure->rounds x count */
    double round_p50_us[MEASURE_ROUNDS_MAX];
    double round_cpu_us[MEASURE_ROUNDS_MAX]; /* of this process, helper threads too, per flush */
};

struct rig {
    struct measure *measure;
    unsigned count; /* writes per round */
    struct io_uring ring;
    uint8_t *buffer; /* registered, WRITE_MAX bytes */
    char directory[512];
    struct segment_catalog catalog;
    int journal_fd;
    uint64_t file_number;
    struct series series[SIZE_COUNT][WAY_COUNT];
};

/* --- files ---------------------------------------------------------------------------------- */

static int direct_flag(const struct rig *rig, enum way way)
{
    return ways[way].buffered || !rig->catalog.direct ? 0 : O_DIRECT;
}

/* The engine's way, without its background: all steps at once. */
static int prepare_segment(struct rig *rig, uint64_t bytes, struct base_error *error)
{
    struct segment_preparation preparation;
    struct segment_prepared prepared;
    segment_prepare_init(&preparation);
    int result = segment_prepare_begin(&preparation, &rig->catalog, rig->journal_fd, 0,
                                       rig->file_number, bytes, error);
    while (result == 0)
        result = segment_prepare_step(&preparation, &rig->catalog, &prepared, error);
    return result < 0 ? result : prepared.fd;
}

static int write_zeros(int fd, uint64_t bytes)
{
    static const uint8_t zeros[SEGMENT_PREPARE_STEP_BYTES];
    for (uint64_t at = 0; at < bytes;) {
        ssize_t written =
            pwrite(fd, zeros, bytes - at < sizeof(zeros) ? bytes - at : sizeof(zeros), (off_t)at);
        if (written <= 0)
            return -1;
        at += (uint64_t)written;
    }
    return 0;
}

static int prepare_file(struct rig *rig, const char *name, enum way way, uint64_t bytes)
{
    int fd = openat(rig->journal_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -1;
    int result = 0;
    if (way == WAY_FALLOCATE)
        result = fallocate(fd, 0, 0, (off_t)bytes);
    else if (way != WAY_APPEND)
        result = write_zeros(fd, bytes);
    if (result == 0)
        result = fsync(fd);
    close(fd);
    if (result < 0)
        return -1;
    return openat(rig->journal_fd, name, O_RDWR | O_CLOEXEC | direct_flag(rig, way));
}

/* An open file for writes that add up to `bytes`; negative after a message. */
static int prepare(struct rig *rig, enum way way, uint64_t bytes, char name_out[SEGMENT_NAME_BYTES])
{
    struct base_error error;
    segment_catalog_name(++rig->file_number, SEGMENT_STATE_OPEN, name_out);
    int fd = way == WAY_ENGINE ? prepare_segment(rig, bytes, &error)
                               : prepare_file(rig, name_out, way, bytes);
    if (fd >= 0)
        return fd;
    measure_failed(rig->measure, ways[way].name, way == WAY_ENGINE ? error.text : strerror(errno));
    return fd;
}

/* --- the ring ------------------------------------------------------------------------------- */

/* As the server and worker_open do: without these all still works, so the results are not looked
 * at. Before the ring makes its first helper thread, which inherits the slice. */
static void place_threads(struct rig *rig)
{
    struct config config;
    config_init(&config);
    topology_set_slice(config.scheduling_slice_us);
    unsigned helpers[2] = {2, 2};
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET((int)rig->measure->core, &only);
    io_uring_register_iowq_max_workers(&rig->ring, helpers);
    io_uring_register_iowq_aff(&rig->ring, sizeof(only), &only);
}

static int wait_for_result(struct rig *rig)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;
    int result = 0;
    while (io_uring_cq_ready(&rig->ring) == 0)
        uring_wait(&rig->ring, UINT64_MAX);
    io_uring_for_each_cqe(&rig->ring, head, completion)
    {
        result = completion->res;
        count++;
    }
    CHECK(count == 1);
    io_uring_cq_advance(&rig->ring, count);
    return result;
}

static bool write_and_flush(struct rig *rig, int fd, uint32_t bytes, uint64_t offset)
{
    struct io_uring_sqe *entry = uring_entry(&rig->ring);
    io_uring_prep_write_fixed(entry, fd, rig->buffer, bytes, offset, 0);
    if (wait_for_result(rig) != (int)bytes)
        return false;
    entry = uring_entry(&rig->ring);
    io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
    return wait_for_result(rig) == 0;
}

/* --- rounds --------------------------------------------------------------------------------- */

static uint64_t stamp_of(const struct rig *rig, uint64_t offset)
{
    return (rig->file_number << 32 | offset / SEGMENT_BLOCK_BYTES) + 1;
}

/* Every block says where it belongs. */
static void stamp(struct rig *rig, uint32_t bytes, uint64_t offset)
{
    for (uint32_t at = 0; at < bytes; at += SEGMENT_BLOCK_BYTES) {
        uint64_t value = stamp_of(rig, offset + at);
        memcpy(rig->buffer + at, &value, sizeof(value));
    }
}

static bool is_written(struct rig *rig, int fd, uint32_t bytes)
{
    for (unsigned i = 0; i < rig->count; i++) {
        uint64_t offset = (uint64_t)i * bytes;
        if (pread(fd, rig->buffer, bytes, (off_t)offset) != (ssize_t)bytes)
            return false;
        for (uint32_t at = 0; at < bytes; at += SEGMENT_BLOCK_BYTES) {
            uint64_t value;
            memcpy(&value, rig->buffer + at, sizeof(value));
            if (value != stamp_of(rig, offset + at))
                return false;
        }
    }
    return true;
}

static double process_cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void run_round(struct rig *rig, unsigned size, enum way way, unsigned round)
{
    struct series *series = &rig->series[size][way];
    double *elapsed_us = series->elapsed_us + (size_t)round * rig->count;
    uint32_t bytes = sizes[size];
    char name[SEGMENT_NAME_BYTES];
    int fd = prepare(rig, way, (uint64_t)bytes * rig->count, name);
    if (fd < 0)
        return;
    double cpu_us = 0;
    bool fine = true;
    for (unsigned i = 0; i < rig->count && fine; i++) {
        uint64_t offset = (uint64_t)i * bytes;
        stamp(rig, bytes, offset);
        double cpu_before_us = process_cpu_us();
        uint64_t before_ns = measure_now_ns(true);
        fine = write_and_flush(rig, fd, bytes, offset);
        elapsed_us[i] = (double)(measure_now_ns(true) - before_ns) / 1000;
        cpu_us += process_cpu_us() - cpu_before_us;
    }
    if (!fine || !is_written(rig, fd, bytes))
        measure_failed(rig->measure, ways[way].name, "a write or a flush failed, or was not done");
    double *copy = malloc(rig->count * sizeof(*copy)); /* quantiles sort */
    CHECK(copy != NULL);
    memcpy(copy, elapsed_us, rig->count * sizeof(*copy));
    series->round_p50_us[round] = measure_quantile(copy, rig->count, 0.5);
    series->round_cpu_us[round] = cpu_us / rig->count;
    free(copy);
    close(fd);
    unlinkat(rig->journal_fd, name, 0);
}

/* --- output --------------------------------------------------------------------------------- */

static void report(struct rig *rig, unsigned size, enum way way)
{
    struct measure *measure = rig->measure;
    struct series *series = &rig->series[size][way];
    size_t count = (size_t)measure->rounds * rig->count;
    double p50 = measure_quantile(series->elapsed_us, count, 0.5);
    double p99 = measure_quantile(series->elapsed_us, count, 0.99);
    double cpu = measure_quantile(series->round_cpu_us, measure->rounds, 0.5);
    measure_quantile(series->round_p50_us, measure->rounds, 0.5); /* sorts */
    double low = series->round_p50_us[0], high = series->round_p50_us[measure->rounds - 1];
    if (measure->json) {
        measure_result_open(measure, "flush", ways[way].name);
        printf(",\"bytes\":%" PRIu32 ",\"operations\":%zu,\"p50Us\":%.1f,\"p50MinUs\":%.1f,"
               "\"p50MaxUs\":%.1f,\"p99Us\":%.1f,\"cpuUs\":%.1f,\"direct\":%s}",
               sizes[size], count, p50, low, high, p99, cpu,
               direct_flag(rig, way) != 0 ? "true" : "false");
        return;
    }
    char spread[48];
    snprintf(spread, sizeof(spread), "%.0f..%.0f", low, high);
    if (way == 0)
        printf("\n%9s %-36s %8s %14s %9s %9s\n", "bytes", "write + fdatasync, prepared by",
               "p50 us", "rounds' p50", "p99 us", "CPU us");
    printf("  %7" PRIu32 " %-36s %8.1f %14s %9.1f %9.1f\n", sizes[size], ways[way].name, p50,
           spread, p99, cpu);
}

/* --- set up and down ------------------------------------------------------------------------ */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static int open_rig(struct rig *rig, const char *parent, struct base_error *error)
{
    snprintf(rig->directory, sizeof(rig->directory), "%s/flush-XXXXXX", parent);
    if (mkdtemp(rig->directory) == NULL)
        return base_error_os(error, -errno, "cannot create %s", rig->directory);
    if (segment_catalog_open(&rig->catalog, rig->directory, error) < 0)
        return error->code;
    rig->journal_fd = segment_catalog_journal(&rig->catalog, 0, true, error);
    if (rig->journal_fd < 0 || uring_create(&rig->ring, 64, 128, error) < 0)
        return error->code;
    if (!rig->catalog.direct)
        fprintf(stderr, "flush: %s takes no direct I/O: every write here is buffered\n", parent);
    rig->buffer = aligned_alloc(SEGMENT_BLOCK_BYTES, WRITE_MAX);
    CHECK(rig->buffer != NULL);
    memset(rig->buffer, 0xA5, WRITE_MAX);
    struct iovec memory = {rig->buffer, WRITE_MAX};
    int result = io_uring_register_buffers(&rig->ring, &memory, 1);
    if (result < 0)
        return base_error_os(error, result, "cannot register the buffer; see `ulimit -l`");
    place_threads(rig);
    for (unsigned i = 0; i < SIZE_COUNT * WAY_COUNT; i++) {
        struct series *series = &rig->series[i / WAY_COUNT][i % WAY_COUNT];
        series->elapsed_us = calloc((size_t)rig->measure->rounds * rig->count, sizeof(double));
        CHECK(series->elapsed_us != NULL);
    }
    return 0;
}

static void close_rig(struct rig *rig)
{
    for (unsigned i = 0; i < SIZE_COUNT * WAY_COUNT; i++)
        free(rig->series[i / WAY_COUNT][i % WAY_COUNT].elapsed_us);
    io_uring_queue_exit(&rig->ring);
    free(rig->buffer);
    close(rig->journal_fd);
    segment_catalog_close(&rig->catalog);
    nftw(rig->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
    static struct measure measure;
    static struct rig rig;
    struct base_error error;
    int first = measure_begin(&measure, "flush", argc, argv);
    if (first < 0 || first + 1 != argc) {
        fprintf(stderr, "flush: give the directory to write in\n");
        return EX_USAGE;
    }
    rig.measure = &measure;
    rig.count = measure.tiny ? TINY_COUNT : measure.count > 0 ? measure.count : COUNT_DEFAULT;
    if (open_rig(&rig, argv[first], &error) < 0) {
        fprintf(stderr, "flush: %s\n", error.text);
        nftw(rig.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        return EX_IOERR;
    }
    /* every way takes its turn in every round, another one first each time */
    for (unsigned round = 0; round < measure.rounds; round++)
        for (unsigned size = 0; size < SIZE_COUNT; size++)
            for (unsigned i = 0; i < WAY_COUNT && !measure.failed; i++)
                run_round(&rig, size, (round + i) % WAY_COUNT, round);
    for (unsigned size = 0; size < SIZE_COUNT; size++)
        for (unsigned way = 0; way < WAY_COUNT; way++)
            report(&rig, size, way);
    close_rig(&rig);
    return measure_end(&measure);
}
