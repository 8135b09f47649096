/* restart_fill: a data directory with as many sealed segments as wanted and an open one filled to a
 * given size, and a prepared one, written by the engine's own journal code without its threads, for
 * restart.py.
 *
 * usage: restart_fill DIR JOURNALS SEALED_MIB SEGMENT_MIB OPEN_MIB OPEN_SEGMENT_MIB
 *
 * The sizes are those of one journal. Bodies have 570 and 2,000 bytes in turn, two to one; batches
 * are as large as the engine's default allows. Segments that get filled are not zeroed first and
 * batches are not flushed one by one: what is measured later is reading them.
 */
#include "base/atomic.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "bodies.h"
#include "segment/journal.h"
#include "segment/prepare.h"
#include "segment/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB           1048576
#define BATCH_BYTES   524288 /* default of batch_bytes_max */
#define NUMBER_DIGITS 12     /* of the submission id that count */
#define NUMBER_FORMAT "%012" PRIu64
#define ID_START      "\"submissionId\":\""
#define ID_BYTES      36

struct sizes {
    uint64_t sealed, segment, open, open_segment;
};

struct fill {
    struct segment_io io;
    int result; /* of the operation that io did last */
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct segment_handoff handoff;
    struct segment_recovery recovery;
    struct segment_journal journal;
    uint32_t number;
    int journal_fd;
    struct sizes sizes;
    uint64_t sealed_bytes;
    uint64_t next_segment_number;
    uint64_t last_number; /* of the segment that stays open; 0: not yet made */
    struct base_error error;
};

static void must(const struct fill *fill, int result)
{
    if (result >= 0)
        return;
    fprintf(stderr, "restart_fill: %s\n", fill->error.text);
    exit(1);
}

/* --- a disk that is flushed once, in the end ------------------------------------------------ */

static struct fill *fill_of(struct segment_io *io)
{
    return (struct fill *)(void *)((char *)io - offsetof(struct fill, io));
}

static void write_now(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                      uint64_t offset)
{
    ssize_t written = pwrite(fd, data, bytes, (off_t)offset);
    fill_of(io)->result = written < 0 ? -errno : (int)written;
}

static void flush_later(struct segment_io *io, int fd)
{
    (void)fd;
    fill_of(io)->result = 0;
}

/* --- segments ------------------------------------------------------------------------------- */

static void make_file(struct fill *fill, uint64_t bytes)
{
    char name[SEGMENT_NAME_BYTES];
    segment_catalog_name(fill->next_segment_number, SEGMENT_STATE_OPEN, name);
    int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | (fill->catalog.direct ? O_DIRECT : 0);
    int fd = openat(fill->journal_fd, name, flags, 0640);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
        perror("restart_fill: a segment");
        exit(1);
    }
    fill->handoff.prepared_storage =
        (struct segment_prepared){fd, fill->next_segment_number, bytes};
}

/* What an engine makes: zeros, written out. */
static void prepare_last(struct fill *fill)
{
    struct segment_preparation preparation;
    int result;
    segment_prepare_init(&preparation);
    must(fill,
         segment_prepare_begin(&preparation, &fill->catalog, fill->journal_fd, fill->number,
                               fill->next_segment_number, fill->sizes.open_segment, &fill->error));
    do {
        result = segment_prepare_step(&preparation, &fill->catalog, &fill->handoff.prepared_storage,
                                      &fill->error);
        must(fill, result);
    } while (result == 0);
}

/* Seals the full segment, if there is one. */
static void seal(struct fill *fill)
{
    struct segment_sealable *full = load_acquire(&fill->handoff.sealable);
    if (full == NULL)
        return;
    fill->sealed_bytes += full->data_end;
    must(fill, segment_seal(&fill->catalog, fill->journal_fd, full, &fill->error));
    store_release(&fill->handoff.sealable, NULL);
}

/* The journal is about to leave the segment in use, and needs the next one. */
static void supply(struct fill *fill)
{
    seal(fill);
    uint64_t sealed_then = fill->sealed_bytes + (fill->journal.fd >= 0 ? fill->sizes.segment : 0);
    if (sealed_then < fill->sizes.sealed) {
        make_file(fill, fill->sizes.segment);
    } else {
        prepare_last(fill);
        fill->last_number = fill->next_segment_number;
    }
    fill->next_segment_number++;
    store_release(&fill->handoff.prepared, &fill->handoff.prepared_storage);
}

/* --- records -------------------------------------------------------------------------------- */

/* A body of the usual shape with a submission id of its own. */
static void make_record(uint64_t number, char body[BODY_BYTES_MAX],
                        struct record_envelope *envelope_out)
{
    const struct body *shape = &bodies()[number % 3 == 2 ? 2 : 1];
    char digits[NUMBER_DIGITS + 1];
    memcpy(body, shape->data, shape->bytes);
    char *id = (char *)memmem(body, shape->bytes, ID_START, sizeof(ID_START) - 1);
    CHECK(id != NULL);
    id += sizeof(ID_START) - 1;
    snprintf(digits, sizeof(digits), NUMBER_FORMAT, number % UINT64_C(1000000000000));
    memcpy(id + ID_BYTES - NUMBER_DIGITS, digits, NUMBER_DIGITS);
    *envelope_out = (struct record_envelope){
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = base_clock_realtime_ns(),
        .device_time_ns = INT64_C(1772391840000000000),
        .flags = SEGMENT_RECORD_OFFSET_KNOWN,
        .device_offset_minutes = 60,
        .submission_id = {id, ID_BYTES},
        .study_id = {"CDISCPILOT01", 12},
        .center_id = {"701", 3},
        .patient_id = {"01-701-1015", 11},
        .instrument = {"NEUROPSYCHIATRIC INVENTORY", 26},
        .visit = {"WEEK 12", 7},
        .body = body,
        .body_bytes = shape->bytes,
    };
    memcpy(envelope_out->trace_id, &number, sizeof(number));
    base_sha256_of(body, shape->bytes, envelope_out->body_sha256);
}

static void write_batch(struct fill *fill, bool mark)
{
    enum segment_journal_start start;
    enum segment_journal_event event;
    while ((start = segment_journal_start(&fill->journal, mark)) == SEGMENT_JOURNAL_BLOCKED)
        supply(fill);
    if (start == SEGMENT_JOURNAL_NOTHING)
        return;
    do {
        event = segment_journal_complete(&fill->journal, fill->result);
    } while (event == SEGMENT_JOURNAL_CONTINUES);
    CHECK(event == SEGMENT_JOURNAL_DURABLE);
}

static bool is_done(const struct fill *fill)
{
    return fill->journal.segment_number == fill->last_number && fill->last_number > 0 &&
           fill->journal.write_offset >= fill->sizes.open;
}

static void write_records(struct fill *fill)
{
    static char body[BODY_BYTES_MAX];
    struct record_envelope envelope;
    while (!is_done(fill)) {
        make_record(fill->journal.next_sequence, body, &envelope);
        if (!segment_journal_fits(&fill->journal, record_encode_bytes(&envelope)))
            write_batch(fill, false);
        segment_journal_append(&fill->journal, &envelope);
    }
    write_batch(fill, false);
    write_batch(fill, true);
}

/* --- a journal ------------------------------------------------------------------------------ */

static void fill_journal(struct fill *fill)
{
    uint64_t largest = fill->sizes.open_segment > fill->sizes.segment ? fill->sizes.open_segment
                                                                      : fill->sizes.segment;
    fill->journal_fd = segment_catalog_journal(&fill->catalog, fill->number, true, &fill->error);
    must(fill, fill->journal_fd);
    must(fill, segment_recover(&fill->catalog, fill->journal_fd, fill->number, &fill->watermark,
                               largest, &fill->recovery, &fill->error));
    size_t bytes = segment_journal_bytes(BATCH_BYTES, largest);
    void *memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    CHECK(memory != NULL);
    segment_journal_init(&fill->journal, memory, BATCH_BYTES, largest, &fill->catalog,
                         &fill->recovery.point, &fill->io, &fill->watermark, &fill->handoff);
    fill->next_segment_number = fill->recovery.next_segment_number;
    segment_recovery_fini(&fill->recovery);
    write_records(fill);
    seal(fill);
    prepare_last(fill); /* the one behind it, as an engine leaves it */
    printf("journal %" PRIu32 ": %" PRIu64 " records, %" PRIu64 " sealed bytes, %" PRIu64 " open\n",
           fill->number, fill->journal.durable, fill->sealed_bytes, fill->journal.write_offset);
    free(memory);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: restart_fill DIR JOURNALS SEALED_MIB SEGMENT_MIB OPEN_MIB "
                        "OPEN_SEGMENT_MIB\n");
        return 64;
    }
    static struct fill fill;
    uint32_t journals = (uint32_t)strtoul(argv[2], NULL, 10);
    struct sizes sizes = {strtoull(argv[3], NULL, 10) * MIB, strtoull(argv[4], NULL, 10) * MIB,
                          strtoull(argv[5], NULL, 10) * MIB, strtoull(argv[6], NULL, 10) * MIB};
    must(&fill, segment_catalog_open(&fill.catalog, argv[1], &fill.error));
    must(&fill, segment_watermark_open(&fill.watermark, &fill.catalog, &fill.error));
    struct fill start = fill;
    for (uint32_t i = 0; i < journals; i++) {
        fill = start;
        fill.number = i;
        fill.sizes = sizes;
        fill.io = (struct segment_io){write_now, flush_later};
        fill_journal(&fill);
    }
    sync();
    return 0;
}
