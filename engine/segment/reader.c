/* include/sluice/reader.h: walking through a journal. What may be trusted on the way is place.h's.
 *
 * A reader's place is behind the last batch that it took. Each call looks on from there: through a
 * footer and into the next segment on trial, and only a batch taken in it moves the place. What an
 * engine dropped when it failed, and wrote again differently when it started anew, so never left
 * anything behind in the reader. */
#include "sluice/reader.h"

#include "base/check.h"
#include "segment/place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a look ended, besides 0 (nothing more is visible) and a negative errno. */
enum { TAKEN = 1, NO_BATCH, ENTERED };

static_assert(SLUICE_FINDINGS_MAX == RECORD_FINDING_COUNT_MAX, "public and internal limit");

struct sluice_reader {
    struct segment_sight sight;
    struct segment_place place;
    uint64_t next_sequence; /* to return */
    uint8_t *batch; /* copy of the batch being returned, so that looking on cannot move it */
    size_t batch_capacity;
    size_t batch_at, batch_bytes; /* of its records */
    int failure;                  /* of the call that failed; every later one returns it again */
};

static int keep_batch(struct sluice_reader *reader, const struct segment_place *at,
                      const struct segment_scan_batch *batch)
{
    if (batch->header.payload_bytes > reader->batch_capacity) {
        uint8_t *larger = realloc(reader->batch, batch->header.payload_bytes);
        if (larger == NULL)
            return base_error_set(&reader->sight.error, -ENOMEM, "out of memory while reading %s",
                                  at->file.path);
        reader->batch = larger;
        reader->batch_capacity = batch->header.payload_bytes;
    }
    if (batch->header.payload_bytes > 0)
        memcpy(reader->batch, batch->payload, batch->header.payload_bytes);
    reader->batch_at = 0;
    reader->batch_bytes = batch->header.payload_bytes;
    return 0;
}

/* Takes the batch at `at` and steps behind it. TAKEN, NO_BATCH, or 0: it may still vanish. */
static int take_batch(struct sluice_reader *reader, struct segment_place *at)
{
    struct segment_scan behind;
    struct segment_scan_batch batch;
    int result = segment_place_look(&reader->sight, at, &behind, &batch);
    if (result != SEGMENT_SCAN_OK)
        return result < 0 ? result : NO_BATCH;
    result = keep_batch(reader, at, &batch);
    if (result == 0)
        result = segment_place_is_final(&reader->sight, at, &behind);
    if (result != 1) {
        reader->batch_at = reader->batch_bytes = 0;
        return result;
    }
    at->scan = behind;
    return TAKEN;
}

/* There is no batch at `at`. When the next segment is in use, everything before it was durable
 * before: so a second look, taken after that, is conclusive. */
static int enter_behind(struct sluice_reader *reader, struct segment_place *at,
                        struct segment_place *next_out)
{
    struct segment_sight *sight = &reader->sight;
    int result =
        segment_place_open(sight, at->scan.segment_number + 1, at->scan.next_sequence, next_out);
    if (result < 0)
        return result;
    if (result == 0)
        return segment_place_judge_end(sight, at);
    result = segment_place_refresh(sight, at);
    if (result == 0)
        result = take_batch(reader, at);
    if (result == NO_BATCH && segment_place_continues(next_out, &at->scan))
        return ENTERED;
    if (result == NO_BATCH && at->scan.fault != NULL)
        result = segment_place_damaged(sight, at, at->scan.fault_offset, at->scan.fault);
    else if (result == NO_BATCH)
        result =
            segment_place_damaged(sight, next_out, 0, "segment does not continue the one before");
    segment_place_close(next_out);
    return result;
}

/* There is no segment to start in. */
static int check_nothing_is_missing(struct sluice_reader *reader)
{
    struct segment_sight *sight = &reader->sight;
    if (sight->visible == 0)
        return 0;
    return base_error_set(&sight->error, -EBADMSG,
                          "damage in %s/journal-%04" PRIu32 ": records up to %" PRIu64
                          " were acknowledged, and no segment holds record %" PRIu64,
                          sight->catalog.path, sight->journal, sight->visible,
                          reader->next_sequence);
}

static int open_journal(struct segment_sight *sight)
{
    if (sight->journal_fd < 0)
        sight->journal_fd =
            segment_catalog_journal(&sight->catalog, sight->journal, false, &sight->error);
    return sight->journal_fd < 0 ? sight->journal_fd : 0;
}

/* Enters the last of these segments that does not begin behind the record wanted. */
static int enter_one_of(struct sluice_reader *reader, const struct segment_list *list,
                        struct segment_place *first_out)
{
    int damage = 0; /* behind where we start: reported when reading gets there */
    int result = 0;
    uint64_t begins = 0; /* the lowest segment, when that is too high */
    for (size_t i = list->count; i-- > 0;) {
        if (list->entries[i].state == SEGMENT_STATE_TEMPORARY)
            continue;
        result = segment_place_open(&reader->sight, list->entries[i].segment_number, UINT64_MAX,
                                    first_out);
        if (result == -EBADMSG)
            damage = result;
        else if (result < 0)
            return result;
        if (result == 1 && first_out->scan.first_sequence <= reader->next_sequence)
            return 1;
        begins = result == 1 ? first_out->scan.first_sequence : 0;
        if (result == 1)
            segment_place_close(first_out);
    }
    if (begins == 0)
        return damage < 0 ? damage : check_nothing_is_missing(reader);
    return base_error_set(&reader->sight.error, -ERANGE,
                          "journal %" PRIu32 " of %s starts at sequence %" PRIu64
                          ", and not at %" PRIu64 ": ask from there",
                          reader->sight.journal, reader->sight.catalog.path, begins,
                          reader->next_sequence);
}

static int enter_first(struct sluice_reader *reader, struct segment_place *first_out)
{
    struct segment_sight *sight = &reader->sight;
    struct segment_list list;
    int result = open_journal(sight);
    if (result < 0)
        return result == -ENOENT ? check_nothing_is_missing(reader) : result;
    result = segment_catalog_list(&sight->catalog, sight->journal_fd, &list, &sight->error);
    if (result < 0)
        return result;
    result = enter_one_of(reader, &list, first_out);
    free(list.entries);
    return result;
}

/* Looks for the next batch from the reader's place on, and takes it: then the place is behind it.
 * TAKEN, or 0: nothing more is visible. */
static int look_on(struct sluice_reader *reader)
{
    struct segment_place trial = {.is_open = false}, next;
    struct segment_place *at = &reader->place;
    int result = ENTERED;
    if (!at->is_open) {
        result = enter_first(reader, &trial);
        if (result <= 0)
            return result;
        at = &trial;
    }
    for (;;) {
        result = take_batch(reader, at);
        if (result == NO_BATCH)
            result = enter_behind(reader, at, &next);
        if (result != ENTERED)
            break;
        segment_place_close(&trial);
        trial = next;
        at = &trial;
    }
    if (result == 0 && reader->sight.visible >= at->scan.next_sequence)
        result = segment_place_damaged(&reader->sight, at, at->scan.offset,
                                       "records behind this one were acknowledged and are missing");
    if (result == TAKEN && at == &trial) {
        segment_place_close(&reader->place);
        reader->place = trial;
    } else {
        segment_place_close(&trial);
    }
    return result;
}

/* Makes the next batch with records current. 1: done, 0: nothing more is visible. */
static int advance(struct sluice_reader *reader)
{
    struct segment_place *place = &reader->place;
    bool fetched = false;
    for (;;) {
        int result = 0;
        if (!fetched && (!place->is_open || reader->sight.visible < place->scan.next_sequence)) {
            result = segment_sight_fetch_mark(&reader->sight);
            if (result == 0 && place->is_open)
                result = segment_place_refresh(&reader->sight, place);
            fetched = true;
        }
        if (result == 0)
            result = look_on(reader);
        if (result <= 0 || reader->batch_bytes > 0)
            return result;
    }
}

static struct sluice_text to_public(struct record_text text)
{
    return (struct sluice_text){text.data, text.bytes};
}

static void export_record(const struct record_envelope *envelope, uint32_t journal,
                          struct sluice_record *record_out)
{
    *record_out = (struct sluice_record){
        .journal = journal,
        .kind = (enum sluice_record_kind)envelope->kind,
        .sequence = envelope->sequence,
        .received_at_ns = envelope->received_at_ns,
        .device_time_ns = envelope->device_time_ns,
        .device_offset_known = (envelope->flags & SEGMENT_RECORD_OFFSET_KNOWN) != 0,
        .device_offset_minutes = envelope->device_offset_minutes,
        .submission_id = to_public(envelope->submission_id),
        .study_id = to_public(envelope->study_id),
        .center_id = to_public(envelope->center_id),
        .patient_id = to_public(envelope->patient_id),
        .instrument = to_public(envelope->instrument),
        .form_version = to_public(envelope->form_version),
        .visit = to_public(envelope->visit),
        .timezone = to_public(envelope->timezone),
        .amends = to_public(envelope->amends),
        .reason = to_public(envelope->reason),
        .credential = to_public(envelope->credential),
        .finding_count = envelope->finding_count,
        .registry_version = to_public(envelope->registry_version),
        .body = {envelope->body, envelope->body_bytes},
    };
    memcpy(record_out->trace_id, envelope->trace_id, sizeof(record_out->trace_id));
    memcpy(record_out->sha256, envelope->body_sha256, sizeof(record_out->sha256));
    for (uint32_t i = 0; i < envelope->finding_count; i++)
        record_out->findings[i] = to_public(envelope->findings[i]);
}

int sluice_reader_next(struct sluice_reader *reader, struct sluice_record *record_out)
{
    for (;;) {
        if (reader->failure <
            0) /* what comes behind damage is not known to follow what came before */
            return reader->failure;
        if (reader->batch_at == reader->batch_bytes) {
            int result = advance(reader);
            if (result < 0)
                reader->failure = result;
            if (result <= 0)
                return result;
        }
        struct record_envelope envelope;
        const char *what;
        size_t bytes = record_decode(reader->batch + reader->batch_at,
                                     reader->batch_bytes - reader->batch_at, &envelope, &what);
        CHECK(bytes > 0); /* the scan has checked it */
        reader->batch_at += bytes;
        if (envelope.sequence < reader->next_sequence)
            continue;
        reader->next_sequence = envelope.sequence + 1;
        export_record(&envelope, reader->sight.journal, record_out);
        return 1;
    }
}

const char *sluice_reader_error(const struct sluice_reader *reader)
{
    return reader->sight.error.text;
}

void sluice_reader_close(struct sluice_reader *reader)
{
    if (reader == NULL)
        return;
    segment_place_close(&reader->place);
    if (reader->sight.journal_fd >= 0)
        close(reader->sight.journal_fd);
    segment_watermark_close(&reader->sight.watermark);
    segment_catalog_close(&reader->sight.catalog);
    free(reader->batch);
    free(reader);
}

int sluice_reader_open(const char *directory, uint32_t journal, uint64_t sequence,
                       struct sluice_reader **reader_out, char *error_text, size_t error_bytes)
{
    struct sluice_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        snprintf(error_text, error_bytes, "out of memory");
        return -ENOMEM;
    }
    struct segment_sight *sight = &reader->sight;
    sight->journal = journal;
    sight->journal_fd = -1;
    reader->next_sequence = sequence > 0 ? sequence : 1;
    int result = segment_catalog_open_reader(&sight->catalog, directory, &sight->error);
    if (result == 0)
        result = segment_watermark_open_reader(&sight->watermark, &sight->catalog, &sight->error);
    if (result < 0) {
        snprintf(error_text, error_bytes, "%s", sight->error.text);
        sluice_reader_close(reader);
        return result;
    }
    if (sequence == SLUICE_FROM_NOW)
        reader->next_sequence = segment_watermark_read(&sight->watermark, journal) + 1;
    *reader_out = reader;
    return 0;
}

int sluice_reader_journals(const char *directory, uint32_t *journals_out, size_t capacity,
                           char *error_text, size_t error_bytes)
{
    struct segment_catalog catalog;
    struct base_error error = {.code = 0};
    uint32_t *journals = NULL;
    size_t count = 0;
    int result = segment_catalog_open_reader(&catalog, directory, &error);
    if (result == 0) {
        result = segment_catalog_journals(&catalog, &journals, &count, &error);
        segment_catalog_close(&catalog);
    }
    if (result < 0) {
        snprintf(error_text, error_bytes, "%s", error.text);
        return result;
    }
    if (count > 0 && capacity > 0)
        memcpy(journals_out, journals, (count < capacity ? count : capacity) * sizeof(*journals));
    free(journals);
    return (int)count;
}
