#include "golden_directory.h"

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "segment/journal.h"
#include "segment/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_BYTES    16384
#define CLOCK_START_NS UINT64_C(1704153600000000000) /* 2024-01-02T00:00:00Z */
#define NS_PER_SECOND  INT64_C(1000000000)
#define RECEIVED_AT(n) (CLOCK_START_NS + (n)*UINT64_C(1000000001))
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

struct golden {
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct segment_handoff handoff;
    struct segment_journal journal;
    struct segment_io io;
    int journal_fd;
    int result;
    uint64_t next_segment_number;
};

static uint64_t clock_ns; /* a second later whenever somebody looks */

uint64_t __wrap_base_clock_realtime_ns(void);

uint64_t __wrap_base_clock_realtime_ns(void)
{
    clock_ns += NS_PER_SECOND;
    return clock_ns;
}

/* --- the records ---------------------------------------------------------------------------- */

static const char body_minimal[] = "{\"patientId\":\"P-1\",\"timestamp\":1704067200,\"scores\":{}}";
static const char body_full[] =
    "{\"submissionId\":\"S-2\",\"studyId\":\"ST-9\",\"centerId\":\"C-3\",\"patientId\":\"P-2\","
    "\"instrument\":\"EQ-5D-5L\",\"formVersion\":\"2.1\",\"visit\":\"V3\","
    "\"timezone\":\"Europe/Berlin\",\"amends\":\"S-1\",\"reason\":\"wrong day\","
    "\"timestamp\":\"2024-01-01T10:30:00.25+02:00\",\"scores\":{\"mobility\":1,\"vas\":72.5}}";
static const char body_findings[] =
    "{\"submissionId\":\"S-3\",\"patientId\":\"P-3\",\"timestamp\":0,\"scores\":{\"q1\":99}}";
static const char body_utf8[] =
    "{\r\n  \"submissionId\": \"S-4\",\n  \"patientId\": \"P\xc3\xa4tient "
    "\xe6\x82\xa3\xe8\x80\x85\","
    "\n\t\"timestamp\": 1704067200,\n  \"scores\": {\"\xf0\x9f\x98\x80\": null}\n}\n";
static const char body_correction[] =
    "{\"submissionId\":\"S-5\",\"patientId\":\"P-2\",\"timestamp\":\"2023-12-31T20:00:00-03:30\","
    "\"scores\":{\"vas\":70},\"amends\":\"S-2\",\"reason\":\"typing error\"}";
static const char body_conflict[] =
    "{\"submissionId\":\"S-3\",\"patientId\":\"P-3\",\"timestamp\":0,\"scores\":{\"q1\":98}}";
static const char body_open[] =
    "{\"submissionId\":\"S-7\",\"patientId\":\"P-7\",\"timestamp\":1,\"scores\":{\"q1\":null}}";
static const char body_last[] =
    "{\"submissionId\":\"S-8\",\"patientId\":\"P-8\",\"timestamp\":2,\"scores\":{\"q1\":\"no\"}}";

static const struct record_envelope records[] = {
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .flags = SEGMENT_RECORD_ID_ASSIGNED,
        .received_at_ns = RECEIVED_AT(1),
        .device_time_ns = 1704067200 * NS_PER_SECOND,
        .submission_id = TEXT("018cc251-f400-7000-8000-000000000001"),
        .patient_id = TEXT("P-1"),
        .body = body_minimal,
        .body_bytes = sizeof(body_minimal) - 1,
    },
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .flags = SEGMENT_RECORD_OFFSET_KNOWN,
        .device_offset_minutes = 120,
        .received_at_ns = RECEIVED_AT(2),
        .device_time_ns = 1704097800 * NS_PER_SECOND + 250000000,
        .submission_id = TEXT("S-2"),
        .study_id = TEXT("ST-9"),
        .center_id = TEXT("C-3"),
        .patient_id = TEXT("P-2"),
        .instrument = TEXT("EQ-5D-5L"),
        .form_version = TEXT("2.1"),
        .visit = TEXT("V3"),
        .timezone = TEXT("Europe/Berlin"),
        .amends = TEXT("S-1"),
        .reason = TEXT("wrong day"),
        .body = body_full,
        .body_bytes = sizeof(body_full) - 1,
    },
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = RECEIVED_AT(3),
        .submission_id = TEXT("S-3"),
        .patient_id = TEXT("P-3"),
        .findings = {TEXT("late"), TEXT("out-of-range\0q1 is 99"), TEXT("unknown-item\0")},
        .finding_count = 3,
        .body = body_findings,
        .body_bytes = sizeof(body_findings) - 1,
    },
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .flags = SEGMENT_RECORD_ID_FROM_KEY,
        .received_at_ns = RECEIVED_AT(4),
        .device_time_ns = 1704067200 * NS_PER_SECOND,
        .submission_id = TEXT("S-4"),
        .patient_id = TEXT("P\xc3\xa4tient \xe6\x82\xa3\xe8\x80\x85"),
        .body = body_utf8,
        .body_bytes = sizeof(body_utf8) - 1,
    },
    {
        .kind = SEGMENT_RECORD_CORRECTION,
        .flags = SEGMENT_RECORD_OFFSET_KNOWN,
        .device_offset_minutes = -210,
        .received_at_ns = RECEIVED_AT(5),
        .device_time_ns = 1704065400 * NS_PER_SECOND,
        .submission_id = TEXT("S-5"),
        .patient_id = TEXT("P-2"),
        .amends = TEXT("S-2"),
        .reason = TEXT("typing error"),
        .body = body_correction,
        .body_bytes = sizeof(body_correction) - 1,
    },
    {
        .kind = SEGMENT_RECORD_CONFLICT,
        .received_at_ns = RECEIVED_AT(6),
        .submission_id = TEXT("S-3"),
        .patient_id = TEXT("P-3"),
        .body = body_conflict,
        .body_bytes = sizeof(body_conflict) - 1,
    },
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = RECEIVED_AT(7),
        .device_time_ns = NS_PER_SECOND,
        .submission_id = TEXT("S-7"),
        .patient_id = TEXT("P-7"),
        .body = body_open,
        .body_bytes = sizeof(body_open) - 1,
    },
    {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = RECEIVED_AT(8),
        .device_time_ns = 2 * NS_PER_SECOND,
        .submission_id = TEXT("S-8"),
        .patient_id = TEXT("P-8"),
        .body = body_last,
        .body_bytes = sizeof(body_last) - 1,
    },
};

/* --- writing -------------------------------------------------------------------------------- */

static struct golden *golden_of(struct segment_io *io)
{
    return (struct golden *)(void *)((char *)io - offsetof(struct golden, io));
}

static void file_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                       uint64_t offset)
{
    golden_of(io)->result = (int)pwrite(fd, data, bytes, (off_t)offset);
}

static void file_flush(struct segment_io *io, int fd)
{
    golden_of(io)->result = fdatasync(fd);
}

static void prepare(struct golden *golden)
{
    struct base_error error;
    struct segment_preparation preparation;
    struct segment_prepared *prepared = &golden->handoff.prepared_storage;
    segment_prepare_init(&preparation);
    int result = segment_prepare_begin(&preparation, &golden->catalog, golden->journal_fd, 0,
                                       golden->next_segment_number++, GOLDEN_SEGMENT_BYTES, &error);
    while (result == 0)
        result = segment_prepare_step(&preparation, &golden->catalog, prepared, &error);
    CHECK(result == 1);
    store_release(&golden->handoff.prepared, prepared);
}

static void append(struct golden *golden, size_t number)
{
    struct record_envelope envelope = records[number - 1];
    for (size_t i = 0; i < sizeof(envelope.trace_id); i++)
        envelope.trace_id[i] = (uint8_t)(number * 16 + i);
    base_sha256_of(envelope.body, envelope.body_bytes, envelope.body_sha256);
    segment_journal_append(&golden->journal, &envelope);
    CHECK(envelope.sequence == number);
}

static void commit(struct golden *golden, bool mark)
{
    enum segment_journal_start start = segment_journal_start(&golden->journal, mark);
    if (start == SEGMENT_JOURNAL_BLOCKED) {
        prepare(golden);
        start = segment_journal_start(&golden->journal, mark);
    }
    CHECK(start == SEGMENT_JOURNAL_STARTED);
    enum segment_journal_event event;
    do {
        event = segment_journal_complete(&golden->journal, golden->result);
    } while (event == SEGMENT_JOURNAL_CONTINUES);
    CHECK(event == SEGMENT_JOURNAL_DURABLE);
}

static void write_journal(struct golden *golden)
{
    struct base_error error;
    append(golden, 1);
    commit(golden, false);
    append(golden, 2);
    append(golden, 3);
    commit(golden, false);
    commit(golden, true); /* an empty batch, a mark */
    append(golden, 4);
    commit(golden, false);
    append(golden, 5);
    append(golden, 6);
    commit(golden, false);
    append(golden, 7); /* into the next segment */
    commit(golden, false);
    append(golden, 8);
    commit(golden, false);
    CHECK(segment_seal(&golden->catalog, golden->journal_fd,
                       load_acquire(&golden->handoff.sealable), &error) == 0);
}

/* The node file comes first, so that the catalog does not make an id of its own. */
static void make_node(const char *path)
{
    static const char lines[] = "sluice data directory format 1.0\nnode " GOLDEN_NODE_ID "\n";
    char node[512];
    CHECK(mkdir(path, 0755) == 0);
    snprintf(node, sizeof(node), "%s/node", path);
    FILE *file = fopen(node, "w");
    CHECK(file != NULL);
    fprintf(file, "%scrc32c %08x\n", lines, base_crc32c(lines, sizeof(lines) - 1));
    CHECK(fclose(file) == 0);
}

void golden_directory_make(const char *path)
{
    static struct golden golden;
    struct base_error error;
    struct segment_journal_start_point point = {.fd = -1, .next_sequence = 1};
    golden = (struct golden){.io = {file_write, file_flush}, .next_segment_number = 1};
    clock_ns = CLOCK_START_NS;
    make_node(path);
    CHECK(segment_catalog_open(&golden.catalog, path, &error) == 0);
    CHECK(segment_watermark_open(&golden.watermark, &golden.catalog, &error) == 0);
    golden.journal_fd = segment_catalog_journal(&golden.catalog, 0, true, &error);
    CHECK(golden.journal_fd >= 0);
    size_t bytes = segment_journal_bytes(BATCH_BYTES, GOLDEN_SEGMENT_BYTES);
    void *memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    CHECK(memory != NULL);
    segment_journal_init(&golden.journal, memory, BATCH_BYTES, GOLDEN_SEGMENT_BYTES,
                         &golden.catalog, &point, &golden.io, &golden.watermark, &golden.handoff);
    write_journal(&golden);
    close(golden.journal.fd);
    close(golden.journal_fd);
    unlinkat(golden.catalog.directory_fd, "LOCK", 0);
    segment_watermark_close(&golden.watermark);
    segment_catalog_close(&golden.catalog);
    free(memory);
}
