#include "judge.h"

#include "base/check.h"
#include "base/checksum.h"
#include "segment/verify.h"
#include "sluice/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- verify --------------------------------------------------------------------------------- */

static void take_first(void *context, const char *path, uint64_t offset, const char *what)
{
    struct judge_finding *finding = context;
    if (finding->found)
        return;
    finding->found = true;
    finding->offset = offset;
    snprintf(finding->path, sizeof(finding->path), "%s", path);
    snprintf(finding->what, sizeof(finding->what), "%s", what);
}

void judge_verify(const char *directory, struct judge_finding *finding_out)
{
    struct segment_verify_report report;
    struct base_error error;
    finding_out->found = false;
    int result = segment_verify(directory, take_first, finding_out, &report, &error);
    if (result == 0) {
        CHECK(finding_out->found == (report.damages > 0));
        return;
    }
    finding_out->found = true;
    finding_out->path[0] = '\0';
    finding_out->offset = 0;
    snprintf(finding_out->what, sizeof(finding_out->what), "%s", error.text);
}

/* --- reading -------------------------------------------------------------------------------- */

static void add_text(struct base_sha256 *hash, struct sluice_text text)
{
    base_sha256_update(hash, &text.bytes, sizeof(text.bytes));
    if (text.bytes > 0)
        base_sha256_update(hash, text.data, text.bytes);
}

/* Over everything that a reader returns of a record. */
static void digest_record(const struct sluice_record *record, uint8_t digest_out[32])
{
    struct base_sha256 hash;
    uint64_t numbers[] = {record->journal,
                          (uint64_t)record->kind,
                          record->sequence,
                          record->received_at_ns,
                          (uint64_t)record->device_time_ns,
                          (uint64_t)record->device_offset_known,
                          (uint64_t)record->device_offset_minutes,
                          record->finding_count};
    base_sha256_init(&hash);
    base_sha256_update(&hash, numbers, sizeof(numbers));
    base_sha256_update(&hash, record->trace_id, sizeof(record->trace_id));
    base_sha256_update(&hash, record->sha256, sizeof(record->sha256));
    const struct sluice_text texts[] = {
        record->submission_id, record->study_id,     record->center_id, record->patient_id,
        record->instrument,    record->form_version, record->visit,     record->timezone,
        record->amends,        record->reason,       record->body};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        add_text(&hash, texts[i]);
    base_sha256_final(&hash, digest_out);
}

void judge_records_load(const struct shape *shape, struct judge_records *records_out)
{
    char text[JUDGE_TEXT_BYTES];
    struct sluice_reader *reader;
    struct sluice_record record;
    *records_out = (struct judge_records){.digests = calloc(shape->present, 32)};
    CHECK(records_out->digests != NULL);
    CHECK(sluice_reader_open(shape->directory, 0, 1, &reader, text, sizeof(text)) == 0);
    while (sluice_reader_next(reader, &record) == 1) {
        CHECK(records_out->count < shape->present);
        digest_record(&record, records_out->digests[records_out->count++]);
    }
    CHECK(records_out->count >= shape->acknowledged);
    sluice_reader_close(reader);
}

void judge_records_free(struct judge_records *records)
{
    free(records->digests);
    *records = (struct judge_records){.count = 0};
}

static enum judge_reading read_all(struct sluice_reader *reader, uint64_t acknowledged,
                                   const struct judge_records *records,
                                   char text_out[JUDGE_TEXT_BYTES])
{
    struct sluice_record record;
    uint64_t count = 0;
    int result;
    while ((result = sluice_reader_next(reader, &record)) == 1) {
        uint8_t digest[32];
        digest_record(&record, digest);
        if (count < records->count && memcmp(digest, records->digests[count], 32) != 0) {
            snprintf(text_out, JUDGE_TEXT_BYTES, "record %" PRIu64 " is another one", count + 1);
            return JUDGE_WRONG;
        }
        count++;
    }
    if (result < 0) {
        snprintf(text_out, JUDGE_TEXT_BYTES, "%s", sluice_reader_error(reader));
        return JUDGE_REFUSED;
    }
    snprintf(text_out, JUDGE_TEXT_BYTES, "%" PRIu64 " records of %" PRIu64 " came, and no word",
             count, acknowledged);
    return count >= acknowledged ? JUDGE_ALL_THERE : JUDGE_SILENT;
}

enum judge_reading judge_read(const char *directory, uint64_t acknowledged,
                              const struct judge_records *records, char text_out[JUDGE_TEXT_BYTES])
{
    struct sluice_reader *reader;
    if (sluice_reader_open(directory, 0, 1, &reader, text_out, JUDGE_TEXT_BYTES) < 0)
        return JUDGE_REFUSED;
    enum judge_reading reading = read_all(reader, acknowledged, records, text_out);
    sluice_reader_close(reader);
    return reading;
}

/* --- recovery ------------------------------------------------------------------------------- */

static int recover_in(const struct segment_catalog *catalog, struct segment_watermark *watermark,
                      struct base_error *error)
{
    struct segment_recovery recovery;
    int journal_fd = segment_catalog_journal(catalog, 0, true, error);
    if (journal_fd < 0)
        return journal_fd;
    int result =
        segment_recover(catalog, journal_fd, 0, watermark, RIG_SEGMENT_BYTES, &recovery, error);
    close(journal_fd);
    if (result < 0)
        return result;
    segment_watermark_publish(watermark, 0, recovery.point.next_sequence - 1);
    if (recovery.point.has_segment)
        close(recovery.point.fd);
    if (recovery.has_prepared)
        close(recovery.prepared.fd);
    segment_recovery_fini(&recovery);
    return 0;
}

int judge_recover(const char *directory, char text_out[JUDGE_TEXT_BYTES])
{
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct base_error error = {.code = 0};
    int result = segment_catalog_open(&catalog, directory, &error);
    if (result == 0) {
        result = segment_watermark_open(&watermark, &catalog, &error);
        if (result == 0) {
            result = recover_in(&catalog, &watermark, &error);
            segment_watermark_close(&watermark);
        }
        segment_catalog_close(&catalog);
    }
    snprintf(text_out, JUDGE_TEXT_BYTES, "%s", error.text);
    return result;
}
