#include "repair_rig.h"

#include "sample_record.h"
#include "sluice/reader.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static void place_batch(const struct segment_scan_batch *batch, struct repair_places *places)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < batch->header.record_count; i++) {
        struct segment_record_header record;
        memcpy(&record, batch->payload + at, sizeof(record));
        cr_assert(places->count < REPAIR_RECORDS_MAX);
        places->items[places->count++] = (struct repair_place){
            .sequence = record.sequence,
            .batch_offset = batch->offset,
            .offset = batch->offset + sizeof(batch->header) + at,
            .bytes = record.record_bytes,
        };
        at += record.record_bytes;
    }
}

void repair_places_of(const struct journal_rig *rig, uint64_t segment_number, const char *path,
                      struct repair_places *places_out)
{
    struct segment_file file;
    struct segment_scan scan;
    struct segment_scan_batch batch;
    struct base_error error;
    struct segment_scan_expected expected = {rig->catalog.node_id, rig->number, segment_number};
    places_out->count = 0;
    cr_assert_eq(segment_file_open(&file, AT_FDCWD, path, path, false, &error), 0);
    cr_assert_eq(segment_scan_begin(&scan, &file, &expected, &error), SEGMENT_SCAN_OK);
    while (segment_scan_next(&scan, &file, &batch, &error) == SEGMENT_SCAN_OK)
        place_batch(&batch, places_out);
    segment_file_close(&file);
}

static void describe(const struct segment_repair *plan, struct repair_outcome *outcome)
{
    outcome->needed = plan->needed;
    if (!plan->needed)
        return;
    outcome->first = plan->scan.next_sequence;
    outcome->last = plan->last;
    outcome->offset = plan->damage_offset;
    test_path(outcome->kept, "%s/damaged/%s", plan->catalog->path, plan->kept_name);
    uint64_t from = plan->scan.next_sequence;
    while (from <= plan->last) {
        bool rescued;
        uint64_t end = segment_repair_run(plan, from, &rescued);
        cr_assert(end >= from && end <= plan->last);
        outcome->lost += rescued ? 0 : end - from + 1;
        from = end + 1;
    }
}

void repair_rig_run(const struct journal_rig *rig, bool apply, struct repair_outcome *outcome_out)
{
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct segment_repair plan;
    struct base_error *error = &outcome_out->error;
    memset(outcome_out, 0, sizeof(*outcome_out));
    outcome_out->result = segment_catalog_open(&catalog, rig->directory, error);
    if (outcome_out->result < 0)
        return;
    cr_assert_eq(segment_watermark_open_reader(&watermark, &catalog, error), 0);
    int journal_fd = segment_catalog_journal(&catalog, rig->number, false, error);
    cr_assert(journal_fd >= 0);
    int result = segment_repair_plan(&catalog, journal_fd, rig->number, &watermark, &plan, error);
    if (result == 0) {
        describe(&plan, outcome_out);
        if (plan.needed && apply)
            result = segment_repair_apply(&plan, error);
        segment_repair_fini(&plan);
    }
    outcome_out->result = result;
    close(journal_fd);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
}

void repair_rig_apply(const struct journal_rig *rig, struct repair_outcome *outcome_out)
{
    repair_rig_run(rig, true, outcome_out);
    cr_assert_eq(outcome_out->result, 0, "%s", outcome_out->error.text);
    cr_assert(outcome_out->needed, "there was nothing to repair");
}

static bool is_lost(const struct sluice_record *record)
{
    if (record->kind != SLUICE_RECORD_LOST)
        return false;
    cr_assert_eq(record->body.bytes, 0);
    cr_assert_null(record->submission_id.data);
    cr_assert_eq(record->finding_count, 1);
    cr_assert_eq(memcmp(record->findings[0].data, SEGMENT_FINDING_LOST "\0segment ", 23), 0);
    return true;
}

void repair_rig_read(const struct journal_rig *rig, uint64_t last, bool *lost_out)
{
    char text[1024], body[SAMPLE_BODY_BYTES_MAX];
    struct sluice_reader *reader;
    struct sluice_record record;
    cr_assert_eq(sluice_reader_open(rig->directory, rig->number, 1, &reader, text, sizeof(text)),
                 0);
    for (uint64_t sequence = 1; sequence <= last; sequence++) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, 1, "%d instead of record %" PRIu64 ": %s", result, sequence,
                     sluice_reader_error(reader));
        cr_assert_eq(record.sequence, sequence);
        lost_out[sequence] = is_lost(&record);
        if (lost_out[sequence])
            continue;
        sample_body(sequence, record.body.bytes, body);
        cr_assert_eq(memcmp(body, record.body.data, record.body.bytes), 0);
    }
    cr_assert_eq(sluice_reader_next(reader, &record), 0);
    sluice_reader_close(reader);
}

void repair_rig_expect_fit(struct journal_rig *rig, uint64_t next)
{
    journal_rig_expect_damages(rig, 0);
    journal_rig_open(rig);
    cr_assert_eq(rig->journal.next_sequence, next, "%" PRIu64 " instead of %" PRIu64,
                 rig->journal.next_sequence, next);
    cr_assert_eq(rig->recovery.torn_bytes, 0);
    cr_assert_eq(journal_rig_append(rig, RIG_BODY_BYTES), next);
    journal_rig_commit(rig);
    journal_rig_mark(rig);
    journal_rig_close(rig);
    journal_rig_expect_damages(rig, 0);
}
