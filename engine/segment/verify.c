/* Sealed segments never change and are judged at once. Beside an engine the others change while
 * they are read: what seems to be wrong there is looked at again, until two looks in a row find the
 * same. That is conclusive, because only what is later than a place and durable makes the place
 * seem wrong: after that has been seen, the place itself changes no more (segment-format.md,
 * section 6). */
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

/* An engine would have to do something new in each of so many looks. */
#define LOOKS_MAX 16

struct finding {
    char path[320];
    uint64_t offset;
    uint64_t sequence; /* that the walk had reached */
    char what[160];
};

struct findings {
    struct finding *items;
    size_t count, capacity;
};

/* How far a walk through a journal has come. */
struct progress {
    struct segment_verify_report counts;
    uint64_t last_number;     /* of the segment looked at last */
    bool chain_known;         /* `last` holds */
    bool chain_ended;         /* a segment not in use yet was seen */
    struct segment_scan last; /* of the last segment in use */
    char last_path[320];
    const char *doubt; /* what seems wrong behind its last batch, or NULL */
    uint64_t doubt_offset;
};

struct walk {
    const struct segment_catalog *catalog;
    int journal_fd;
    uint32_t journal;
    const struct segment_watermark *watermark;
    uint64_t durable; /* the mark, fetched before the segments are read */
    struct progress at;
    struct findings findings; /* not reported as yet */
    int failure;              /* of a finding that found no memory, or 0 */
    bool has_vanished;        /* a segment that was listed */
    struct base_error *error;
};

/* Keeps what is wrong. */
static void report(struct walk *walk, const char *path, uint64_t offset, const char *what)
{
    struct findings *findings = &walk->findings;
    if (findings->count == findings->capacity) {
        size_t capacity = findings->capacity == 0 ? 8 : findings->capacity * 2;
        struct finding *larger = realloc(findings->items, capacity * sizeof(*larger));
        if (larger == NULL) {
            walk->failure =
                base_error_set(walk->error, -ENOMEM, "out of memory while verifying %s", path);
            return;
        }
        findings->items = larger;
        findings->capacity = capacity;
    }
    struct finding *finding = &findings->items[findings->count++];
    finding->offset = offset;
    finding->sequence = walk->at.chain_known ? walk->at.last.next_sequence : 0;
    snprintf(finding->path, sizeof(finding->path), "%s", path);
    snprintf(finding->what, sizeof(finding->what), "%s", what);
}

/* Behind the last batch of an open segment stands something that can not be there, unless the next
 * segment goes on from that batch: then it is a footer under way, or one that was cut off. */
static void doubt(struct walk *walk, const char *what, uint64_t offset)
{
    walk->at.doubt = what;
    walk->at.doubt_offset = offset;
}

static void settle_doubt(struct walk *walk, bool goes_on)
{
    if (walk->at.doubt != NULL && !goes_on)
        report(walk, walk->at.last_path, walk->at.doubt_offset, walk->at.doubt);
    walk->at.doubt = NULL;
}

static void check_chain(struct walk *walk, const struct segment_scan *scan, const char *path)
{
    const struct segment_scan *last = &walk->at.last;
    bool is_next = walk->at.chain_known && scan->segment_number == last->segment_number + 1;
    bool is_in_sequence = is_next && scan->first_sequence == last->next_sequence;
    bool is_in_chain = is_next && memcmp(scan->hash, last->hash, SEGMENT_HASH_BYTES) == 0;
    settle_doubt(walk, is_in_sequence && is_in_chain);
    if (walk->at.chain_ended)
        report(walk, path, 0, "a segment before this one was never used");
    if (!walk->at.chain_known && scan->segment_number != 1)
        report(walk, path, 0, "the segments before this one are missing");
    if (!walk->at.chain_known)
        return;
    if (!is_next)
        report(walk, path, 0, "a segment is missing before this one");
    else if (!is_in_sequence)
        report(walk, path, 48, "segment does not go on with the next sequence");
    else if (!is_in_chain)
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

/* Behind the last batch of an open segment: nothing, a write that is not finished, or damage. */
static int check_tail(struct walk *walk, struct segment_scan *scan, struct segment_file *file)
{
    uint64_t first, last;
    const char *what = scan->fault != NULL ? scan->fault : "bytes behind the last batch";
    uint64_t what_offset = scan->fault != NULL ? scan->fault_offset : scan->offset;
    if (scan->next_sequence <= walk->durable) {
        /* judged when the next segment or the end of the journal is seen, unless bytes are wrong */
        if (scan->fault != NULL)
            doubt(walk, what, what_offset);
        return 0;
    }
    int result = segment_file_find_data(file, scan->offset, &first, &last, walk->error);
    if (result < 0 || first == file->bytes)
        return result;
    result = segment_scan_search(scan, file, scan->offset + SEGMENT_BLOCK_BYTES, walk->error);
    if (result < 0)
        return result;
    if (result != SEGMENT_SCAN_OK && last - scan->offset <= SEGMENT_BATCH_BYTES_LIMIT)
        walk->at.counts.torn_bytes += last - scan->offset;
    else
        doubt(walk, what, what_offset);
    return 0;
}

/* Steps over valid batches. Returns what stands behind them. */
static int step_over_batches(struct walk *walk, struct segment_scan *scan,
                             struct segment_file *file, struct entries *entries)
{
    struct segment_scan_batch batch;
    int result;
    scan->fault = NULL;
    while ((result = segment_scan_next(scan, file, &batch, walk->error)) == SEGMENT_SCAN_OK) {
        walk->at.counts.batches++;
        walk->at.counts.records += batch.header.record_count;
        if (keep_entry(entries, &batch) < 0)
            return base_error_set(walk->error, -ENOMEM, "out of memory while reading %s",
                                  file->path);
    }
    return result;
}

/* A footer in an open segment is about to be sealed; where it is torn, recovery writes it again.
 * But it is the last thing in its segment: a batch behind it proves that a batch stood here, too.
 */
static int check_open_footer(struct walk *walk, struct segment_scan *scan,
                             struct segment_file *file)
{
    struct segment_scan search = *scan;
    int result =
        segment_scan_search(&search, file, scan->offset + SEGMENT_BLOCK_BYTES, walk->error);
    if (result == SEGMENT_SCAN_OK)
        report(walk, file->path, scan->offset, "footer with batches behind it");
    return result < 0 ? result : 0;
}

static int walk_batches(struct walk *walk, struct segment_scan *scan, struct segment_file *file,
                        bool sealed)
{
    struct entries entries = {NULL, 0, 0};
    int result = step_over_batches(walk, scan, file, &entries);
    if (result == SEGMENT_SCAN_FOOTER) {
        result =
            sealed ? check_footer(walk, scan, file, &entries) : check_open_footer(walk, scan, file);
    } else if (result >= 0 && sealed) {
        report(walk, file->path, scan->fault != NULL ? scan->fault_offset : scan->offset,
               scan->fault != NULL ? scan->fault : "sealed segment ends without a footer");
    } else if (result >= 0) {
        result = check_tail(walk, scan, file);
        if (result == 0 && file->bytes != scan->created_bytes)
            report(walk, file->path, file->bytes,
                   "segment file is shorter than it was created, and has no footer");
    }
    free(entries.items);
    return result < 0 ? result : 0;
}

static int walk_file(struct walk *walk, struct segment_file *file, uint64_t number, bool sealed)
{
    struct progress *at = &walk->at;
    struct segment_scan scan;
    struct segment_scan_expected expected = {walk->catalog->node_id, walk->journal, number};
    int result = segment_scan_begin(&scan, file, &expected, walk->error);
    if (result < 0)
        return result;
    if (result == SEGMENT_SCAN_OK) {
        at->counts.segments++;
        at->counts.bytes += file->bytes;
        check_chain(walk, &scan, file->path);
        result = walk_batches(walk, &scan, file, sealed);
        at->chain_known = true;
        at->last = scan;
        snprintf(at->last_path, sizeof(at->last_path), "%s", file->path);
        return result;
    }
    uint64_t first;
    int found = segment_file_find_data(file, SEGMENT_BLOCK_BYTES, &first, NULL, walk->error);
    if (found < 0)
        return found;
    /* segments get their name when they have their size, so a file of less than a header was cut */
    bool torn_header = result == SEGMENT_SCAN_FAULT && scan.fault_offset == 0 && !sealed &&
                       file->bytes >= SEGMENT_BLOCK_BYTES;
    if (first < file->bytes || sealed || (result == SEGMENT_SCAN_FAULT && !torn_header))
        report(walk, file->path, result == SEGMENT_SCAN_FAULT ? scan.fault_offset : 0,
               result == SEGMENT_SCAN_FAULT ? scan.fault
                                            : "segment holds data, but its header is not valid");
    at->chain_ended = true;
    return 0;
}

static int walk_segment(struct walk *walk, uint64_t number)
{
    /* between the listing and now the engine may have sealed it */
    static const enum segment_state states[] = {SEGMENT_STATE_SEALED, SEGMENT_STATE_OPEN,
                                                SEGMENT_STATE_SEALED};
    struct segment_file file;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        char path[320], name[SEGMENT_NAME_BYTES];
        segment_catalog_name(number, states[i], name);
        segment_catalog_path(walk->catalog, walk->journal, number, states[i], path, sizeof(path));
        int result = segment_file_open(&file, walk->journal_fd, name, path, false, walk->error);
        if (result == -ENOENT)
            continue;
        if (result < 0)
            return result;
        result = walk_file(walk, &file, number, states[i] == SEGMENT_STATE_SEALED);
        segment_file_close(&file);
        return result;
    }
    walk->has_vanished = true; /* recovery removes what was never used */
    return 0;
}

/* Walks on through the segments that are listed now: all, or the sealed ones without a gap. */
static int walk_entries(struct walk *walk, bool only_sealed)
{
    struct segment_list list;
    walk->durable = segment_watermark_read(walk->watermark, walk->journal);
    int result = segment_catalog_list(walk->catalog, walk->journal_fd, &list, walk->error);
    if (result < 0)
        return result;
    for (size_t i = 0; i < list.count && result == 0; i++) {
        const struct segment_entry *entry = &list.entries[i];
        bool is_next_sealed = entry->state == SEGMENT_STATE_SEALED &&
                              entry->segment_number == walk->at.last_number + 1;
        if (only_sealed && !is_next_sealed)
            break;
        if (entry->state == SEGMENT_STATE_TEMPORARY ||
            entry->segment_number <= walk->at.last_number)
            continue;
        walk->at.last_number = entry->segment_number;
        result = walk_segment(walk, entry->segment_number);
        if (result == 0)
            result = walk->failure;
    }
    free(list.entries);
    return result;
}

static void check_end(struct walk *walk)
{
    const struct progress *at = &walk->at;
    settle_doubt(walk, false);
    uint64_t present = at->chain_known ? at->last.next_sequence - 1 : 0;
    if (walk->durable <= present)
        return;
    char what[160], path[320];
    snprintf(what, sizeof(what),
             "records %llu to %llu of this journal were acknowledged and are missing",
             (unsigned long long)present + 1, (unsigned long long)walk->durable);
    snprintf(path, sizeof(path), "%s/journal-%04u", walk->catalog->path, walk->journal);
    report(walk, at->chain_known ? at->last_path : path, at->chain_known ? at->last.offset : 0,
           what);
}

static bool is_same(const struct findings *left, const struct findings *right)
{
    if (left->count != right->count)
        return false;
    for (size_t i = 0; i < left->count; i++) {
        const struct finding *a = &left->items[i], *b = &right->items[i];
        if (a->offset != b->offset || a->sequence != b->sequence || strcmp(a->what, b->what) != 0 ||
            strcmp(a->path, b->path) != 0)
            return false;
    }
    return true;
}

/* The same place of the same segment, whether it was sealed in between or not. */
static bool is_same_place(const struct finding *left, const struct finding *right)
{
    size_t name_bytes = strcspn(strrchr(left->path, '/'), ".");
    size_t bytes = (size_t)(strrchr(left->path, '/') - left->path) + name_bytes;
    return left->offset == right->offset && strncmp(left->path, right->path, bytes) == 0;
}

/* Beside an engine that is fast, no two looks may ever agree in all; what both saw is wrong. */
static void keep_what_both_saw(struct findings *findings, const struct findings *before)
{
    size_t kept = 0;
    for (size_t i = 0; i < findings->count; i++) {
        bool is_old = false;
        for (size_t j = 0; j < before->count; j++)
            is_old = is_old || is_same_place(&findings->items[i], &before->items[j]);
        if (is_old)
            findings->items[kept++] = findings->items[i];
    }
    findings->count = kept;
}

/* The segments behind the sealed ones, as often as it takes. */
static int walk_open(struct walk *walk)
{
    const struct progress start = walk->at;
    struct findings before = {NULL, 0, 0};
    int result = -EAGAIN;
    for (int look = 0; look < LOOKS_MAX && result == -EAGAIN; look++) {
        free(before.items);
        before = walk->findings;
        walk->findings = (struct findings){NULL, 0, 0};
        walk->at = start;
        walk->has_vanished = false;
        result = walk_entries(walk, false);
        if (result < 0)
            break;
        check_end(walk);
        bool is_agreed =
            walk->findings.count == 0 || (look > 0 && is_same(&walk->findings, &before));
        result = is_agreed && !walk->has_vanished ? 0 : -EAGAIN;
    }
    if (result == -EAGAIN)
        keep_what_both_saw(&walk->findings, &before);
    free(before.items);
    if (result == -EAGAIN && walk->findings.count > 0)
        result = 0;
    if (result == -EAGAIN)
        base_error_set(walk->error, result,
                       "journal %u of %s changed whenever it was looked at: verify it again",
                       walk->journal, walk->catalog->path);
    return result;
}

static void add(struct segment_verify_report *sum, const struct segment_verify_report *counts)
{
    sum->segments += counts->segments;
    sum->batches += counts->batches;
    sum->records += counts->records;
    sum->bytes += counts->bytes;
    sum->torn_bytes += counts->torn_bytes;
}

/* What the caller of segment_verify asked for. */
struct audience {
    segment_verify_found *found;
    void *context;
    struct segment_verify_report *report;
};

static void tell(const struct audience *audience, struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        audience->found(audience->context, findings->items[i].path, findings->items[i].offset,
                        findings->items[i].what);
    audience->report->damages += findings->count;
    free(findings->items);
    *findings = (struct findings){NULL, 0, 0};
}

static int walk_journal(struct walk *walk, const struct audience *audience)
{
    walk->journal_fd = segment_catalog_journal(walk->catalog, walk->journal, false, walk->error);
    if (walk->journal_fd < 0)
        return walk->journal_fd;
    int result = walk_entries(walk, true);
    tell(audience, &walk->findings);
    if (result == 0)
        result = walk_open(walk);
    tell(audience, &walk->findings);
    close(walk->journal_fd);
    audience->report->journals++;
    add(audience->report, &walk->at.counts);
    return result;
}

/* A mark of a journal that is not there: all of it was acknowledged and is missing. */
static void check_missing_journals(struct walk *walk, const uint64_t *marks,
                                   const uint32_t *journals, size_t count)
{
    size_t at = 0;
    for (uint32_t journal = 0; journal < SEGMENT_WATERMARK_JOURNALS_MAX; journal++) {
        while (at < count && journals[at] < journal)
            at++;
        if ((at < count && journals[at] == journal) || marks[journal] == 0)
            continue;
        char path[320];
        snprintf(path, sizeof(path), "%s/journal-%04u", walk->catalog->path, journal);
        report(walk, path, 0, "a journal with acknowledged records is missing");
    }
}

static int walk_journals(struct walk *walk, const struct audience *audience)
{
    uint64_t marks[SEGMENT_WATERMARK_JOURNALS_MAX]; /* before the listing: journals may come */
    uint32_t *journals = NULL;
    size_t count = 0;
    for (uint32_t i = 0; i < SEGMENT_WATERMARK_JOURNALS_MAX; i++)
        marks[i] = segment_watermark_read(walk->watermark, i);
    int result = segment_catalog_journals(walk->catalog, &journals, &count, walk->error);
    for (size_t i = 0; i < count && result == 0; i++) {
        walk->journal = journals[i];
        walk->at = (struct progress){.chain_known = false};
        result = walk_journal(walk, audience);
    }
    if (result == 0) {
        check_missing_journals(walk, marks, journals, count);
        tell(audience, &walk->findings);
    }
    free(journals);
    return result;
}

int segment_verify(const char *directory, segment_verify_found *found, void *context,
                   struct segment_verify_report *report_out, struct base_error *error)
{
    struct segment_catalog catalog;
    struct segment_watermark watermark = {.mapping = NULL};
    struct audience audience = {found, context, report_out};
    struct walk walk = {.catalog = &catalog, .watermark = &watermark, .error = error};
    *report_out = (struct segment_verify_report){0};
    int result = segment_catalog_open_reader(&catalog, directory, error);
    if (result < 0)
        return result;
    result = segment_watermark_open_reader(&watermark, &catalog, error);
    if (result == 0)
        result = walk_journals(&walk, &audience);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
    return result;
}
