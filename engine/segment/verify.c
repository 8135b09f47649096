#include "segment/verify.h"

#include "base/check.h"
#include "segment/catalog.h"
#include "segment/scan.h"
#include "segment/watermark.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
    const struct segment_catalog *catalog;
    int journal_fd;
    uint32_t journal;
    uint64_t durable; /* the mark, fetched before the journal is read */
    segment_verify_found *found;
    void *context;
    struct segment_verify_report *report;
    struct base_error *error;
    bool chain_known;
    bool chain_ended;              /* a segment not in use yet was seen */
    struct segment_scan last;      /* of the segment before */
    struct segment_file last_file; /* kept open while an engine may still be writing to it */
    bool last_may_grow;
    char last_path[320];
};

static void report(struct walk *walk, const char *path, uint64_t offset, const char *what)
{
    walk->report->damages++;
    walk->found(walk->context, path, offset, what);
}

static void check_chain(struct walk *walk, const struct segment_scan *scan, const char *path)
{
    if (walk->chain_ended)
        report(walk, path, 0, "a segment before this one was never used");
    if (!walk->chain_known && scan->segment_number != 1)
        report(walk, path, 0, "the segments before this one are missing");
    if (!walk->chain_known)
        return;
    if (scan->segment_number != walk->last.segment_number + 1)
        report(walk, path, 0, "a segment is missing before this one");
    else if (scan->first_sequence != walk->last.next_sequence)
        report(walk, path, 48, "segment does not go on with the next sequence");
    else if (memcmp(scan->hash, walk->last.hash, SEGMENT_HASH_BYTES) != 0)
        report(walk, path, 72, "segment does not continue the hash chain");
}

/* Index entries of the footer against the batches that were read. */
struct entries {
    struct segment_index_entry *items;
    uint32_t count, capacity;
};

static int keep_entry(struct entries *entries, const struct segment_scan_batch *batch)
{
    if (entries->count == entries->capacity) {
        uint32_t capacity = entries->capacity == 0 ? 1024 : entries->capacity * 2;
        struct segment_index_entry *larger =
            realloc(entries->items, capacity * sizeof(*entries->items));
        if (larger == NULL)
            return -ENOMEM;
        entries->items = larger;
        entries->capacity = capacity;
    }
    entries->items[entries->count++] = (struct segment_index_entry){
        .offset = batch->offset,
        .first_sequence = batch->header.first_sequence,
        .record_count = batch->header.record_count,
        .batch_bytes = batch->header.batch_bytes,
    };
    return 0;
}

static int check_footer(struct walk *walk, struct segment_scan *scan, struct segment_file *file,
                        const struct entries *entries)
{
    int result = segment_scan_footer(scan, file, walk->error);
    if (result == SEGMENT_SCAN_FAULT)
        report(walk, file->path, scan->fault_offset, scan->fault);
    uint64_t end = scan->offset + segment_footer_bytes(entries->count);
    if (result == SEGMENT_SCAN_OK && file->bytes != end)
        report(walk, file->path, end, "bytes behind the footer of a sealed segment");
    if (result != SEGMENT_SCAN_OK || entries->count == 0)
        return result < 0 ? result : 0;
    const uint8_t *data;
    size_t bytes = entries->count * sizeof(*entries->items);
    uint64_t offset = scan->offset + sizeof(struct segment_footer_header);
    result = segment_file_read(file, offset, bytes, &data, walk->error);
    if (result == 1 && memcmp(data, entries->items, bytes) != 0)
        report(walk, file->path, offset, "footer's batch index does not describe the batches");
    return result < 0 ? result : 0;
}

/* Looks at the place again: an engine beside us may have finished what was half written when we
 * looked first. 1: there is a valid batch now. */
static int is_valid_now(struct walk *walk, const struct segment_scan *scan,
                        struct segment_file *file)
{
    struct segment_scan again = *scan;
    struct segment_scan_batch batch;
    int result = segment_file_refresh(file, walk->error);
    if (result == 0)
        result = segment_scan_next(&again, file, &batch, walk->error);
    return result < 0 ? result : result == SEGMENT_SCAN_OK;
}

/* Behind the last batch of an open segment: nothing, a write that is not finished, or damage. What
 * looks like damage is looked at twice; 1: it was only unfinished, go on scanning. */
static int check_tail(struct walk *walk, struct segment_scan *scan, struct segment_file *file)
{
    uint64_t first, last;
    if (scan->next_sequence <= walk->durable) {
        /* judged when the next segment or the end of the journal is seen, unless bytes are wrong */
        if (scan->fault != NULL)
            report(walk, file->path, scan->fault_offset, scan->fault);
        return 0;
    }
    int result = segment_file_find_data(file, scan->offset, &first, &last, walk->error);
    if (result < 0 || first == file->bytes)
        return result;
    const char *what = scan->fault != NULL ? scan->fault : "bytes behind the last batch";
    uint64_t what_offset = scan->fault != NULL ? scan->fault_offset : scan->offset;
    result = segment_scan_search(scan, file, scan->offset + SEGMENT_BLOCK_BYTES, walk->error);
    if (result < 0)
        return result;
    if (result != SEGMENT_SCAN_OK && last - scan->offset <= SEGMENT_BATCH_BYTES_LIMIT) {
        walk->report->torn_bytes += last - scan->offset;
        return 0;
    }
    /* a batch is only started when the one before is durable, so a second look is conclusive */
    result = is_valid_now(walk, scan, file);
    if (result == 0)
        report(walk, file->path, what_offset, what);
    return result;
}

/* Steps over valid batches. Returns what stands behind them. */
static int step_over_batches(struct walk *walk, struct segment_scan *scan,
                             struct segment_file *file, struct entries *entries)
{
    struct segment_scan_batch batch;
    int result;
    scan->fault = NULL;
    while ((result = segment_scan_next(scan, file, &batch, walk->error)) == SEGMENT_SCAN_OK) {
        walk->report->batches++;
        walk->report->records += batch.header.record_count;
        if (keep_entry(entries, &batch) < 0)
            return base_error_set(walk->error, -ENOMEM, "out of memory while reading %s",
                                  file->path);
    }
    return result;
}

static int walk_batches(struct walk *walk, struct segment_scan *scan, struct segment_file *file,
                        bool sealed, bool *may_grow_out)
{
    struct entries entries = {NULL, 0, 0};
    int result;
    do {
        result = step_over_batches(walk, scan, file, &entries);
        *may_grow_out = result >= 0 && result != SEGMENT_SCAN_FOOTER && !sealed;
        if (*may_grow_out)
            result = check_tail(walk, scan, file);
    } while (result == 1 && *may_grow_out);
    if (result == SEGMENT_SCAN_FOOTER && sealed)
        result = check_footer(walk, scan, file, &entries);
    else if (result >= 0 && sealed)
        report(walk, file->path, scan->fault != NULL ? scan->fault_offset : scan->offset,
               scan->fault != NULL ? scan->fault : "sealed segment ends without a footer");
    else if (result == 0 && file->bytes != scan->created_bytes)
        report(walk, file->path, file->bytes,
               "segment file is shorter than it was created, and has no footer");
    /* a footer in an open segment is about to be sealed; recovery writes it again if it is torn */
    free(entries.items);
    return result < 0 ? result : 0;
}

static void forget_last(struct walk *walk)
{
    if (walk->last_may_grow)
        segment_file_close(&walk->last_file);
    walk->last_may_grow = false;
}

/* The next segment is in use, so the one before is complete now, and its last batch was durable
 * before that: what an engine beside us added since we read its end is read now. */
static int finish_last(struct walk *walk)
{
    bool may_grow;
    if (!walk->last_may_grow)
        return 0;
    int result = segment_file_refresh(&walk->last_file, walk->error);
    if (result == 0)
        result = walk_batches(walk, &walk->last, &walk->last_file, false, &may_grow);
    forget_last(walk);
    return result;
}

/* Takes over the file when it has to stay open. */
static int walk_used(struct walk *walk, struct segment_scan *scan, struct segment_file *file,
                     bool sealed)
{
    int result = finish_last(walk);
    if (result < 0)
        return result;
    walk->report->segments++;
    walk->report->bytes += file->bytes;
    check_chain(walk, scan, file->path);
    result = walk_batches(walk, scan, file, sealed, &walk->last_may_grow);
    walk->chain_known = true;
    walk->last = *scan;
    snprintf(walk->last_path, sizeof(walk->last_path), "%s", file->path);
    if (walk->last_may_grow) {
        walk->last_file = *file;
        file->fd = -1;
        file->window = NULL;
    }
    return result;
}

static int walk_file(struct walk *walk, struct segment_file *file, uint64_t number, bool sealed)
{
    struct segment_scan scan;
    struct segment_scan_expected expected = {walk->catalog->node_id, walk->journal, number};
    int result = segment_scan_begin(&scan, file, &expected, walk->error);
    if (result < 0)
        return result;
    if (result == SEGMENT_SCAN_OK)
        return walk_used(walk, &scan, file, sealed);
    uint64_t first;
    int found = segment_file_find_data(file, SEGMENT_BLOCK_BYTES, &first, NULL, walk->error);
    if (found < 0)
        return found;
    if (first < file->bytes && !sealed) { /* unless an engine took it into use just now */
        int again = segment_file_refresh(file, walk->error);
        if (again == 0)
            again = segment_scan_begin(&scan, file, &expected, walk->error);
        if (again < 0)
            return again;
        if (again == SEGMENT_SCAN_OK)
            return walk_used(walk, &scan, file, sealed);
    }
    /* segments get their name when they have their size, so a file of less than a header was cut */
    bool torn_header = result == SEGMENT_SCAN_FAULT && scan.fault_offset == 0 && !sealed &&
                       file->bytes >= SEGMENT_BLOCK_BYTES;
    if (first < file->bytes || sealed || (result == SEGMENT_SCAN_FAULT && !torn_header))
        report(walk, file->path, result == SEGMENT_SCAN_FAULT ? scan.fault_offset : 0,
               result == SEGMENT_SCAN_FAULT ? scan.fault
                                            : "segment holds data, but its header is not valid");
    walk->chain_ended = true;
    return 0;
}

static int walk_segment(struct walk *walk, const struct segment_entry *entry)
{
    /* between the listing and now the engine may have sealed it */
    static const enum segment_state states[] = {SEGMENT_STATE_SEALED, SEGMENT_STATE_OPEN,
                                                SEGMENT_STATE_SEALED};
    struct segment_file file;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        char path[320], name[SEGMENT_NAME_BYTES];
        segment_catalog_name(entry->segment_number, states[i], name);
        segment_catalog_path(walk->catalog, walk->journal, entry->segment_number, states[i], path,
                             sizeof(path));
        int result = segment_file_open(&file, walk->journal_fd, name, path, false, walk->error);
        if (result == -ENOENT)
            continue;
        if (result < 0)
            return result;
        result = walk_file(walk, &file, entry->segment_number, states[i] == SEGMENT_STATE_SEALED);
        segment_file_close(&file);
        return result;
    }
    return base_error_set(walk->error, -EAGAIN, "segment %llu vanished while it was being read",
                          (unsigned long long)entry->segment_number);
}

static int walk_journal(struct walk *walk)
{
    struct segment_list list;
    int result = segment_catalog_list(walk->catalog, walk->journal_fd, &list, walk->error);
    if (result < 0)
        return result;
    uint64_t last_number = 0; /* one seal cut off between listing entries shows a number twice */
    for (size_t i = 0; i < list.count && result == 0; i++) {
        if (list.entries[i].state == SEGMENT_STATE_TEMPORARY ||
            list.entries[i].segment_number == last_number)
            continue;
        last_number = list.entries[i].segment_number;
        result = walk_segment(walk, &list.entries[i]);
    }
    free(list.entries);
    forget_last(walk);
    uint64_t present = walk->chain_known ? walk->last.next_sequence - 1 : 0;
    if (result == 0 && walk->durable > present) {
        char what[160], path[320];
        snprintf(what, sizeof(what),
                 "records %llu to %llu of this journal were acknowledged and are missing",
                 (unsigned long long)present + 1, (unsigned long long)walk->durable);
        snprintf(path, sizeof(path), "%s/journal-%04u", walk->catalog->path, walk->journal);
        report(walk, walk->chain_known ? walk->last_path : path,
               walk->chain_known ? walk->last.offset : 0, what);
    }
    return result;
}

/* A mark of a journal that is not there: all of it was acknowledged and is missing. */
static void check_missing_journals(const struct segment_catalog *catalog,
                                   const struct segment_watermark *watermark,
                                   const uint32_t *journals, size_t count, struct walk *walk)
{
    size_t at = 0;
    for (uint32_t journal = 0; journal < SEGMENT_WATERMARK_JOURNALS_MAX; journal++) {
        while (at < count && journals[at] < journal)
            at++;
        if ((at < count && journals[at] == journal) ||
            segment_watermark_read(watermark, journal) == 0)
            continue;
        char path[320];
        snprintf(path, sizeof(path), "%s/journal-%04u", catalog->path, journal);
        report(walk, path, 0, "a journal with acknowledged records is missing");
    }
}

int segment_verify(const char *directory, segment_verify_found *found, void *context,
                   struct segment_verify_report *report_out, struct base_error *error)
{
    struct segment_catalog catalog;
    struct segment_watermark watermark = {.mapping = NULL};
    uint32_t *journals = NULL;
    size_t count = 0;
    *report_out = (struct segment_verify_report){0};
    int result = segment_catalog_open_reader(&catalog, directory, error);
    if (result < 0)
        return result;
    result = segment_watermark_open_reader(&watermark, &catalog, error);
    if (result == 0)
        result = segment_catalog_journals(&catalog, &journals, &count, error);
    for (size_t i = 0; i < count && result == 0; i++) {
        struct walk walk = {
            .catalog = &catalog,
            .journal = journals[i],
            .durable = segment_watermark_read(&watermark, journals[i]),
            .found = found,
            .context = context,
            .report = report_out,
            .error = error,
        };
        walk.journal_fd = segment_catalog_journal(&catalog, journals[i], false, error);
        if (walk.journal_fd < 0) {
            result = walk.journal_fd;
            break;
        }
        result = walk_journal(&walk);
        close(walk.journal_fd);
        report_out->journals++;
    }
    struct walk whole = {.found = found, .context = context, .report = report_out};
    if (result == 0)
        check_missing_journals(&catalog, &watermark, journals, count, &whole);
    free(journals);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
    return result;
}
