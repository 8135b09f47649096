/* From the body's bytes to the batch's: what the worker does with a submission before it writes. */
#include "bare_simdjson.h"
#include "bodies.h"
#include "stages.h"

#include "base/check.h"
#include "base/checksum.h"
#include "record/encode.h"
#include "record/submission.h"
#include "segment/batch.h"
#include "segment/scan.h"

#include <stdlib.h>
#include <string.h>

#define RECEIVED_AT_NS UINT64_C(1772391900123456789)

/* One body on its way. The document lives in the parser, so there is a parser per body. */
struct work {
    const struct body *body;
    struct bare_simdjson *bare;
    struct record_json_parser *parser;
    struct record_json_document document;
    struct record_arena arena;
    struct record_submission *submission;
    struct record_envelope envelope;
    uint8_t digest[SHA256_BYTES];
    uint8_t *record; /* room for it */
};

static struct work works[BODY_COUNT];

/* As the worker fills it in for a body without a trace, whose id is its own or assigned. */
static void make_envelope(struct work *work)
{
    static const char assigned[] = "019c0ad6-21f0-7c3b-9a5e-2f1f0c7d8e91";
    const struct record_submission *submission = work->submission;
    work->envelope = (struct record_envelope){
        .kind = SEGMENT_RECORD_SUBMISSION,
        .sequence = 1,
        .received_at_ns = RECEIVED_AT_NS,
        .device_time_ns = submission->device_time_ns,
        .submission_id = submission->submission_id,
        .study_id = submission->study_id,
        .center_id = submission->center_id,
        .patient_id = submission->patient_id,
        .instrument = submission->instrument,
        .visit = submission->visit,
        .body = work->body->data,
        .body_bytes = work->body->bytes,
    };
    if (submission->submission_id.data == NULL)
        work->envelope.submission_id = (struct record_text){assigned, sizeof(assigned) - 1};
    memcpy(work->envelope.body_sha256, work->digest, SHA256_BYTES);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static uint64_t run_json(void *context, uint64_t count)
{
    struct work *work = context;
    struct record_json_fault fault;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        if (record_json_parse(work->parser, work->body->data, work->body->bytes, &work->document,
                              &fault) == 0)
            sum += work->document.count;
    return sum;
}

static uint64_t run_dom(void *context, uint64_t count)
{
    struct work *work = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += bare_simdjson_dom(work->bare, work->body->data, work->body->bytes);
    return sum;
}

static uint64_t run_on_demand(void *context, uint64_t count)
{
    struct work *work = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += bare_simdjson_on_demand(work->bare, work->body->data, work->body->bytes);
    return sum;
}

void stage_json(struct measure *measure)
{
    for (unsigned i = 0; i < BODY_COUNT; i++) {
        struct work *work = &works[i];
        work->body = &bodies()[i];
        work->bare = bare_simdjson_create(BODY_BYTES_MAX);
        work->parser = record_json_parser_create(BODY_BYTES_MAX);
        CHECK(work->bare != NULL && work->parser != NULL);
        uint64_t values = run_json(work, 1), members = run_dom(work, 1);
        if (values <= members || members == 0 ||
            values != bare_simdjson_dom_values(work->bare, work->body->data, work->body->bytes))
            measure_failed(measure, "json", "simdjson and the engine see different documents");
        struct measure_side sides[] = {
            {"simdjson DOM", 0, run_dom, .product = members},
            {"simdjson On-Demand, every value walked", 0, run_on_demand, .product = values},
            {"record_json_parse", 0, run_json, .product = values},
        };
        for (unsigned side = 0; side < 3; side++) {
            sides[side].context = work;
            sides[side].bytes = work->body->bytes;
        }
        measure_sides(measure, "JSON: complete validation", MEASURE_RATIO, sides, 3);
    }
}

/* --- submission ----------------------------------------------------------------------------- */

static uint64_t run_submission(void *context, uint64_t count)
{
    struct work *work = context;
    struct base_problem problem;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        record_arena_reset(&work->arena);
        if (record_submission_parse(&work->document, work->body->data, work->body->bytes,
                                    &work->arena, &work->submission, &problem) == 0)
            sum += work->submission->score_count;
    }
    return sum;
}

void stage_submission(struct measure *measure)
{
    struct measure_side sides[BODY_COUNT] = {0};
    for (unsigned i = 0; i < BODY_COUNT; i++) {
        struct work *work = &works[i];
        size_t bytes =
            record_submission_arena_bytes(work->body->bytes) + 2 * RECORD_ARENA_RED_ZONE_BYTES;
        bytes = bytes / 64 * 64;
        void *memory = aligned_alloc(64, bytes);
        CHECK(memory != NULL);
        memset(memory, 0, bytes);
        record_arena_init(&work->arena, memory, bytes);
        uint64_t scores = run_submission(work, 1);
        if (scores < 2 || work->submission->patient_id.bytes != 11)
            measure_failed(measure, "submission", "the body is not the submission that it is");
        sides[i] =
            (struct measure_side){"record_submission_parse, with resetting its arena",
                                  work->body->bytes, run_submission, work, .product = scores};
    }
    measure_sides(measure, "submission check", MEASURE_SEPARATE, sides, BODY_COUNT);
}

/* --- checksums ------------------------------------------------------------------------------ */

static uint64_t run_sha256(void *context, uint64_t count)
{
    struct work *work = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        base_sha256_of(work->body->data, work->body->bytes, work->digest);
        sum += work->digest[0] + 1;
    }
    return sum;
}

static uint64_t run_crc32c(void *context, uint64_t count)
{
    struct work *work = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += base_crc32c(work->body->data, work->body->bytes);
    return sum;
}

void stage_checksum(struct measure *measure)
{
    struct measure_side sides[2 * BODY_COUNT] = {0};
    uint8_t digest[SHA256_BYTES];
    base_sha256_of("abc", 3, digest); /* FIPS 180-4's example begins BA7816BF */
    if (memcmp(digest, "\xBA\x78\x16\xBF", 4) != 0 ||
        base_crc32c("123456789", 9) != UINT32_C(0xE3069283))
        measure_failed(measure, "checksum", "a known checksum is wrong");
    for (unsigned i = 0; i < BODY_COUNT; i++) {
        struct work *work = &works[i];
        base_sha256_of(work->body->data, work->body->bytes, digest);
        uint32_t crc = base_crc32c(work->body->data, work->body->bytes);
        sides[i] = (struct measure_side){"SHA-256", work->body->bytes, run_sha256, work,
                                         .product = digest[0] + 1};
        sides[BODY_COUNT + i] =
            (struct measure_side){"CRC32C", work->body->bytes, run_crc32c, work, .product = crc};
    }
    measure_sides(measure, "checksums", MEASURE_SEPARATE, sides, 2 * BODY_COUNT);
}

/* --- encoding ------------------------------------------------------------------------------- */

static uint64_t run_encode(void *context, uint64_t count)
{
    struct work *work = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        work->envelope.sequence = i;
        sum += record_encode(&work->envelope, work->record);
    }
    return sum;
}

void stage_encode(struct measure *measure)
{
    struct measure_side sides[BODY_COUNT] = {0};
    for (unsigned i = 0; i < BODY_COUNT; i++) {
        struct work *work = &works[i];
        struct record_envelope read;
        const char *fault = NULL;
        make_envelope(work);
        size_t bytes = record_encode_bytes(&work->envelope);
        work->record = calloc(1, bytes);
        CHECK(work->record != NULL);
        if (run_encode(work, 1) != bytes ||
            record_decode(work->record, bytes, &read, &fault) != bytes ||
            read.body_bytes != work->body->bytes ||
            memcmp(read.body, work->body->data, read.body_bytes) != 0)
            measure_failed(measure, "encode", "the record does not hold what was encoded");
        sides[i] = (struct measure_side){"record_encode", work->body->bytes, run_encode, work,
                                         .product = bytes};
    }
    measure_sides(measure, "record encode, with its CRC32C", MEASURE_SEPARATE, sides, BODY_COUNT);
}

/* --- batches -------------------------------------------------------------------------------- */

#define BATCH_BYTES_MAX 524288 /* batch_bytes_max */

struct finish {
    struct segment_batch batch;
    uint8_t hash[SEGMENT_HASH_BYTES];
};

static uint64_t run_finish(void *context, uint64_t count)
{
    struct finish *finish = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct segment_batch_header header = {.magic = SEGMENT_BATCH_MAGIC, .batch_number = i};
        memcpy(header.previous_hash, finish->hash, SEGMENT_HASH_BYTES);
        segment_batch_finish(&finish->batch, &header, finish->hash);
        sum += header.batch_bytes;
    }
    return sum;
}

/* Header, every record and hash of the finished batch are what they should be. */
static bool is_valid(const struct finish *finish, unsigned record_count)
{
    struct segment_batch_header header;
    struct record_envelope record;
    const char *fault;
    uint8_t hash[SEGMENT_HASH_BYTES];
    const uint8_t *payload = finish->batch.buffer + sizeof(header);
    unsigned count = 0;
    memcpy(&header, finish->batch.buffer, sizeof(header));
    for (size_t at = 0, bytes; at < header.payload_bytes; at += bytes, count++)
        if ((bytes = record_decode(payload + at, header.payload_bytes - at, &record, &fault)) == 0)
            return false;
    segment_scan_batch_hash(&header, payload, hash);
    size_t covered = offsetof(struct segment_batch_header, header_bytes);
    return count == record_count && header.record_count == record_count &&
           memcmp(hash, finish->hash, sizeof(hash)) == 0 &&
           header.crc32c ==
               base_crc32c((const uint8_t *)&header + covered, sizeof(header) - covered) &&
           header.payload_crc32c == base_crc32c(payload, header.batch_bytes - sizeof(header));
}

void stage_batch(struct measure *measure)
{
    static const struct {
        const char *name;
        unsigned record_count, body;
    } cases[] = {
        {"1 record of 75 bytes", 1, 0},
        {"10 records of 75 bytes", 10, 0},
        {"500 records of 75 bytes", 500, 0},
        {"500 records of 570 bytes", 500, 1},
    };
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    static struct finish finishes[CASES];
    struct measure_side sides[CASES] = {0};
    for (unsigned i = 0; i < CASES; i++) {
        struct finish *finish = &finishes[i];
        struct record_envelope *envelope = &works[cases[i].body].envelope;
        void *buffer = aligned_alloc(SEGMENT_BLOCK_BYTES, BATCH_BYTES_MAX);
        CHECK(buffer != NULL);
        segment_batch_init(&finish->batch, buffer, BATCH_BYTES_MAX);
        for (unsigned record = 0; record < cases[i].record_count; record++) {
            envelope->sequence = record + 1;
            CHECK(segment_batch_fits(&finish->batch, record_encode_bytes(envelope)));
            segment_batch_append(&finish->batch, envelope);
        }
        uint64_t bytes = run_finish(finish, 1);
        if (!is_valid(finish, cases[i].record_count))
            measure_failed(measure, "batch", "the finished batch is not valid");
        sides[i] =
            (struct measure_side){cases[i].name, bytes, run_finish, finish, .product = bytes};
    }
    measure_sides(measure, "batch finish: CRC32C and chain hash, a batch", MEASURE_SEPARATE, sides,
                  CASES);
}

/* --- all of it ------------------------------------------------------------------------------ */

#define WHOLE_RECORDS 500

struct whole {
    struct work *work;
    struct finish finish;
};

/* In the worker's order, record by record: a stage by itself does not show what one stage leaves to
 * the next in caches and registers. */
static uint64_t run_whole(void *context, uint64_t count)
{
    struct whole *whole = context;
    struct work *work = whole->work;
    struct segment_batch *batch = &whole->finish.batch;
    uint64_t sum = 0;
    while (count > 0) {
        uint64_t records = count < WHOLE_RECORDS ? count : WHOLE_RECORDS;
        segment_batch_reset(batch);
        for (uint64_t i = 0; i < records; i++) {
            run_json(work, 1);
            run_submission(work, 1);
            run_sha256(work, 1);
            make_envelope(work);
            work->envelope.sequence = i + 1;
            CHECK(segment_batch_fits(batch, record_encode_bytes(&work->envelope)));
            segment_batch_append(batch, &work->envelope);
        }
        run_finish(&whole->finish, 1);
        sum += batch->record_count;
        count -= records;
    }
    return sum;
}

void stage_whole(struct measure *measure)
{
    static struct whole wholes[2];
    struct measure_side sides[2] = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct whole *whole = &wholes[i];
        void *buffer = aligned_alloc(SEGMENT_BLOCK_BYTES, BATCH_BYTES_MAX);
        CHECK(buffer != NULL);
        whole->work = &works[i];
        segment_batch_init(&whole->finish.batch, buffer, BATCH_BYTES_MAX);
        if (run_whole(whole, 3) != 3 || !is_valid(&whole->finish, 3))
            measure_failed(measure, "whole", "the finished batch is not valid");
        sides[i] = (struct measure_side){"500 records, each", whole->work->body->bytes, run_whole,
                                         whole, .product = 1};
    }
    measure_sides(measure, "JSON to finished batch, as the worker", MEASURE_SEPARATE, sides, 2);
}
