/* include/sluice/reader.h on top of the scan.
 *
 * The rule that keeps a reader honest: the watermark is read first, the bytes after it, and a batch
 * of an open segment is returned only when all of it lies at or below the mark. The window over the
 * file is thrown away whenever a higher mark is fetched, because it may hold blocks that were still
 * being written when it was filled. Where the watermark file is behind (it is not flushed, so after
 * a power cut it may be), a valid batch that follows proves the one before it: its header carries
 * the mark of when it was written. */
#include "sluice/reader.h"

#include "base/check.h"
#include "segment/catalog.h"
#include "segment/scan.h"
#include "segment/watermark.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What stands at the scan, besides 0 (not visible yet) and a negative errno. */
enum { TAKEN = 1, ENDED, EMPTY };

static_assert(SLUICE_FINDINGS_MAX == RECORD_FINDING_COUNT_MAX, "public and internal limit");

struct sluice_reader {
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    uint32_t journal;
    int journal_fd;         /* -1: the journal does not exist yet */
    uint64_t next_sequence; /* to return */
    uint64_t visible;       /* the mark fetched last */
    bool has_file;
    bool sealed; /* the file was, when it was opened */
    struct segment_file file;
    struct segment_scan scan;
    uint8_t *batch; /* copy of the batch being returned, so that looking ahead cannot move it */
    size_t batch_capacity;
    size_t batch_at, batch_bytes; /* of its records */
    int failure;                  /* of the call that failed; every later one returns it again */
    struct base_error error;
};

static int open_segment(struct sluice_reader *reader, uint64_t number)
{
    /* a seal may rename between two tries; it only goes one way */
    static const enum segment_state order[] = {SEGMENT_STATE_SEALED, SEGMENT_STATE_OPEN,
                                               SEGMENT_STATE_SEALED};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        char name[SEGMENT_NAME_BYTES], path[320];
        segment_catalog_name(number, order[i], name);
        segment_catalog_path(&reader->catalog, reader->journal, number, order[i], path,
                             sizeof(path));
        int result =
            segment_file_open(&reader->file, reader->journal_fd, name, path, false, &reader->error);
        reader->sealed = order[i] == SEGMENT_STATE_SEALED;
        if (result != -ENOENT)
            return result;
    }
    return -ENOENT;
}

static int damaged(struct sluice_reader *reader, const struct segment_scan *scan)
{
    return base_error_set(&reader->error, -EBADMSG, "damage in %s at offset %" PRIu64 ": %s",
                          reader->file.path, scan->fault_offset, scan->fault);
}

/* Whether segment `number` holds batches. Prepared ones may come and go. */
static int is_in_use(struct sluice_reader *reader, uint64_t number)
{
    struct sluice_reader probe = *reader; /* for its place in the journal; the file is its own */
    struct segment_scan_expected expected = {reader->catalog.node_id, reader->journal, number};
    struct segment_scan scan;
    int result = open_segment(&probe, number);
    if (result == -ENOENT)
        return 0;
    if (result == 0) {
        result = segment_scan_begin(&scan, &probe.file, &expected, &probe.error);
        segment_file_close(&probe.file);
    }
    if (result < 0)
        reader->error = probe.error;
    return result < 0 ? result : result == SEGMENT_SCAN_OK;
}

/* Segment `number` is not there. Segments are taken into use in order and are not deleted then: a
 * later one in use proves that this one was lost. */
static int check_missing(struct sluice_reader *reader, uint64_t number)
{
    struct segment_list list;
    int result = segment_catalog_list(&reader->catalog, reader->journal_fd, &list, &reader->error);
    if (result < 0)
        return result;
    int later = 0;
    for (size_t i = 0; i < list.count && later == 0; i++)
        if (list.entries[i].segment_number > number &&
            list.entries[i].state != SEGMENT_STATE_TEMPORARY)
            later = is_in_use(reader, list.entries[i].segment_number);
    free(list.entries);
    if (later <= 0)
        return later;
    return base_error_set(&reader->error, -EBADMSG,
                          "damage in %s/journal-%04" PRIu32 ": segment %" PRIu64 " is missing",
                          reader->catalog.path, reader->journal, number);
}

/* Opens segment `number` and its scan. 1: in use, 0: not there or not in use yet. */
static int enter_segment(struct sluice_reader *reader, uint64_t number)
{
    int result = open_segment(reader, number);
    if (result == -ENOENT) {
        int missing = check_missing(reader, number);
        if (missing == 0)
            return 0;
        result = open_segment(reader, number); /* it may have come just before the later one */
        if (result == -ENOENT)
            return missing;
    }
    if (result < 0)
        return result;
    struct segment_scan_expected expected = {reader->catalog.node_id, reader->journal, number};
    struct segment_scan scan;
    result = segment_scan_begin(&scan, &reader->file, &expected, &reader->error);
    if (result == SEGMENT_SCAN_ZERO && reader->sealed) {
        scan.fault = "sealed segment has no header";
        result = SEGMENT_SCAN_FAULT;
    }
    if (result == SEGMENT_SCAN_OK) {
        reader->scan = scan;
        reader->has_file = true;
        return 1;
    }
    if (result == SEGMENT_SCAN_FAULT) {
        /* a header under way, unless records were made visible behind it */
        bool under_way = scan.fault_offset == 0 && !reader->sealed &&
                         (!reader->has_file || reader->visible < reader->scan.next_sequence);
        result = under_way ? 0 : damaged(reader, &scan);
    } else if (result == SEGMENT_SCAN_ZERO) {
        result = 0;
    }
    segment_file_close(&reader->file);
    return result;
}

/* Steps into the segment behind the one that was read to its end. */
static int enter_next(struct sluice_reader *reader)
{
    struct segment_scan before = reader->scan;
    struct segment_file file = reader->file;
    int result = enter_segment(reader, before.segment_number + 1);
    if (result <= 0) {
        reader->file = file;
        return result;
    }
    segment_file_close(&file);
    if (reader->scan.first_sequence != before.next_sequence ||
        memcmp(reader->scan.hash, before.hash, SEGMENT_HASH_BYTES) != 0) {
        reader->scan.fault = "segment does not continue the one before";
        reader->scan.fault_offset = 0;
        return damaged(reader, &reader->scan);
    }
    return 1;
}

/* The segment to start in: the last one whose first sequence is not behind the wanted one. */
static int enter_first(struct sluice_reader *reader)
{
    if (reader->journal_fd < 0)
        reader->journal_fd =
            segment_catalog_journal(&reader->catalog, reader->journal, false, &reader->error);
    if (reader->journal_fd < 0)
        return reader->journal_fd == -ENOENT ? 0 : reader->journal_fd;
    struct segment_list list;
    int result = segment_catalog_list(&reader->catalog, reader->journal_fd, &list, &reader->error);
    if (result < 0)
        return result;
    int damage = 0; /* behind where we start: reported when reading gets there */
    for (size_t i = list.count; i-- > 0;) {
        if (list.entries[i].state == SEGMENT_STATE_TEMPORARY)
            continue;
        if (reader->has_file)
            segment_file_close(&reader->file);
        reader->has_file = false;
        result = enter_segment(reader, list.entries[i].segment_number);
        if (result == -EBADMSG)
            damage = result;
        else if (result < 0 ||
                 (result == 1 && reader->scan.first_sequence <= reader->next_sequence))
            break;
    }
    free(list.entries);
    if (!reader->has_file)
        return result < 0 ? result : damage;
    if (reader->scan.first_sequence > reader->next_sequence)
        return base_error_set(&reader->error, -ERANGE,
                              "journal %" PRIu32 " of %s starts at sequence %" PRIu64
                              ", and not at %" PRIu64 ": ask from there",
                              reader->journal, reader->catalog.path, reader->scan.first_sequence,
                              reader->next_sequence);
    return 1;
}

/* Fetches the mark again; true when there is more to see than before. */
static int fetch_mark(struct sluice_reader *reader)
{
    int result =
        segment_watermark_refresh_reader(&reader->watermark, &reader->catalog, &reader->error);
    if (result < 0)
        return result;
    uint64_t mark = segment_watermark_read(&reader->watermark, reader->journal);
    if (mark > reader->visible)
        reader->visible = mark;
    return segment_file_refresh(&reader->file, &reader->error);
}

/* How the segment behind this one stands to it. */
enum { NOT_IN_USE, IN_USE, CONTINUES };

static int look_at_next(struct sluice_reader *reader, const struct segment_scan *scan)
{
    struct sluice_reader probe = *reader; /* for its place in the journal; the file is its own */
    int result = enter_segment(&probe, scan->segment_number + 1);
    if (result == 1)
        segment_file_close(&probe.file);
    if (result < 0)
        reader->error = probe.error;
    if (result <= 0)
        return result < 0 ? result : NOT_IN_USE;
    bool continues = probe.scan.first_sequence == scan->next_sequence &&
                     memcmp(probe.scan.hash, scan->hash, SEGMENT_HASH_BYTES) == 0;
    return continues ? CONTINUES : IN_USE;
}

/* Whether what stands behind `scan` proves everything up to `sequence` durable: a batch that
 * carries the mark, a footer, or a next segment that goes on from here. */
static int is_proved(struct sluice_reader *reader, struct segment_scan scan, uint64_t sequence)
{
    struct segment_scan before = scan;
    struct segment_scan_batch batch;
    int result = segment_scan_next(&scan, &reader->file, &batch, &reader->error);
    if (result == SEGMENT_SCAN_FOOTER)
        result = segment_scan_footer(&scan, &reader->file, &reader->error);
    else if (result == SEGMENT_SCAN_OK)
        return batch.header.watermark >= sequence;
    if (result < 0 || result == SEGMENT_SCAN_OK)
        return result;
    result = look_at_next(reader, &before);
    return result < 0 ? result : result == CONTINUES;
}

/* Something at the scan that is neither batch, footer nor zeros: a write under way, a footer that
 * was cut off before a segment that goes on from here, or damage. */
static int judge_fault(struct sluice_reader *reader, struct segment_scan *scan)
{
    struct segment_scan fault = *scan;
    if (reader->sealed)
        return damaged(reader, &fault);
    int result = look_at_next(reader, &reader->scan);
    if (result < 0 || result == CONTINUES)
        return result < 0 ? result : ENDED;
    if (reader->visible >= reader->scan.next_sequence)
        return damaged(reader, &fault);
    if (reader->watermark.mapping != NULL)
        return 0;
    /* without marks only what stands behind can tell */
    result = segment_scan_search(scan, &reader->file, reader->scan.offset + SEGMENT_BLOCK_BYTES,
                                 &reader->error);
    if (result < 0)
        return result;
    return result == SEGMENT_SCAN_OK ? damaged(reader, &fault) : 0;
}

static int keep_batch(struct sluice_reader *reader, const struct segment_scan_batch *batch)
{
    if (batch->header.payload_bytes > reader->batch_capacity) {
        uint8_t *larger = realloc(reader->batch, batch->header.payload_bytes);
        if (larger == NULL)
            return base_error_set(&reader->error, -ENOMEM, "out of memory while reading %s",
                                  reader->file.path);
        reader->batch = larger;
        reader->batch_capacity = batch->header.payload_bytes;
    }
    if (batch->header.payload_bytes > 0)
        memcpy(reader->batch, batch->payload, batch->header.payload_bytes);
    reader->batch_at = 0;
    reader->batch_bytes = batch->header.payload_bytes;
    return 1;
}

/* Takes the batch at the scan. TAKEN, 0: not visible yet, ENDED: a footer, EMPTY: nothing was
 * written here when we looked. */
static int take_batch(struct sluice_reader *reader)
{
    struct segment_scan scan = reader->scan;
    struct segment_scan_batch batch;
    int result = segment_scan_next(&scan, &reader->file, &batch, &reader->error);
    if (result < 0)
        return result;
    if (result == SEGMENT_SCAN_OK) {
        uint64_t last = scan.next_sequence - 1;
        int kept = keep_batch(reader, &batch);
        /* a mark has no record that the watermark could cover: it may still vanish, and another
         * batch take its place, until something stands behind it */
        bool is_covered = last <= reader->visible && batch.header.record_count > 0;
        if (kept == 1 && !is_covered && !reader->sealed) {
            int proved = is_proved(reader, scan, last);
            if (proved != 1) {
                reader->batch_at = reader->batch_bytes = 0;
                return proved;
            }
        }
        if (kept == 1)
            reader->scan = scan;
        return kept;
    }
    if (result == SEGMENT_SCAN_FOOTER) {
        result = segment_scan_footer(&scan, &reader->file, &reader->error);
        if (result == SEGMENT_SCAN_OK || result < 0)
            return result < 0 ? result : ENDED;
    }
    return result == SEGMENT_SCAN_ZERO ? EMPTY : judge_fault(reader, &scan);
}

/* The segment seemed to end without a footer. It has ended when the next one is in use: then its
 * last batch was durable before, so a second look, taken after that, is conclusive. */
static int look_again(struct sluice_reader *reader)
{
    int result = look_at_next(reader, &reader->scan);
    if (result <= 0)
        return result;
    result = segment_file_refresh(&reader->file, &reader->error);
    if (result == 0)
        result = take_batch(reader);
    return result == EMPTY ? ENDED : result;
}

/* Makes the next batch current. 1: done, 0: nothing more is visible. */
static int advance(struct sluice_reader *reader)
{
    bool fetched = false;
    for (;;) {
        int result = reader->has_file ? 1 : enter_first(reader);
        if (result <= 0)
            return result;
        if (reader->visible < reader->scan.next_sequence && !fetched) {
            result = fetch_mark(reader);
            if (result < 0)
                return result;
            fetched = true;
        }
        result = take_batch(reader);
        if (result == EMPTY)
            result = look_again(reader);
        if (result == ENDED) {
            result = enter_next(reader);
            if (result == 1)
                continue;
        }
        if (result == 0 && reader->visible >= reader->scan.next_sequence) {
            reader->scan.fault = "records behind this one were acknowledged and are missing";
            reader->scan.fault_offset = reader->scan.offset;
            return damaged(reader, &reader->scan);
        }
        if (result <= 0)
            return result;
        if (reader->batch_bytes > 0)
            return 1;
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
        .finding_count = envelope->finding_count,
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
        export_record(&envelope, reader->journal, record_out);
        return 1;
    }
}

const char *sluice_reader_error(const struct sluice_reader *reader)
{
    return reader->error.text;
}

void sluice_reader_close(struct sluice_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->has_file)
        segment_file_close(&reader->file);
    if (reader->journal_fd >= 0)
        close(reader->journal_fd);
    segment_watermark_close(&reader->watermark);
    segment_catalog_close(&reader->catalog);
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
    reader->journal = journal;
    reader->journal_fd = -1;
    reader->next_sequence = sequence > 0 ? sequence : 1;
    int result = segment_catalog_open_reader(&reader->catalog, directory, &reader->error);
    if (result == 0)
        result =
            segment_watermark_open_reader(&reader->watermark, &reader->catalog, &reader->error);
    if (result < 0) {
        snprintf(error_text, error_bytes, "%s", reader->error.text);
        sluice_reader_close(reader);
        return result;
    }
    if (sequence == SLUICE_FROM_NOW)
        reader->next_sequence = segment_watermark_read(&reader->watermark, journal) + 1;
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
