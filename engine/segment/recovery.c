/* The decision that matters is torn tail or damage (segment/tail.c). What is damaged recovery
 * refuses: cutting it would lose acknowledged records silently. */
#include "segment/recovery.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "segment/repair.h"
#include "segment/scan.h"
#include "segment/seal.h"
#include "segment/tail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Unused segments of one journal that recovery removes; an engine leaves two at most. */
#define SURPLUS_MAX 16

/* Of a sealed segment only header and footer are read, one block each most of the time. */
#define SEALED_READ_BYTES SEGMENT_BLOCK_BYTES

/* The last open segment in use, until it is known whether another one follows. */
struct pending {
    bool present;
    struct segment_file file;
    struct segment_scan scan;
    struct segment_index index;
    int tail;          /* enum segment_scan_result: what stands behind the last valid batch */
    uint64_t torn_end; /* behind the torn tail; 0: there is none */
};

struct context {
    const struct segment_catalog *catalog;
    int journal_fd;
    uint32_t journal;
    const struct segment_watermark *watermark;
    uint64_t segment_bytes;
    struct segment_recovery *recovery;
    struct pending pending;
    uint64_t surplus[SURPLUS_MAX]; /* unused segments to remove, ascending */
    unsigned surplus_count;
    bool chain_known; /* false before the first segment */
    uint64_t last_number;
    uint64_t last_next_sequence;
    uint8_t last_hash[SEGMENT_HASH_BYTES];
    struct base_error *error;
};

static int damage(struct context *context, const char *path, uint64_t offset, const char *what)
{
    return base_error_set(context->error, -EBADMSG,
                          "damage in %s at offset %" PRIu64 ": %s. Nothing was cut. `sluice "
                          "verify %s` shows the extent; restore the file from a replica or backup",
                          path, offset, what, context->catalog->path);
}

/* A segment does not continue the one before. Where that one has something wrong at its end, that
 * is the place to name. */
static int broken_chain(struct context *context, const char *path, uint64_t offset,
                        const char *what)
{
    const struct pending *pending = &context->pending;
    if (pending->present && pending->tail == SEGMENT_SCAN_FAULT)
        return damage(context, pending->file.path, pending->scan.fault_offset, pending->scan.fault);
    return damage(context, path, offset, what);
}

/* The segment that `scan` begins must continue the one before. */
static int check_continuity(struct context *context, const struct segment_scan *scan,
                            const uint8_t *chain_start, const char *path)
{
    if (!context->chain_known && scan->segment_number != 1)
        return damage(context, path, 0, "the segments before this one are missing");
    if (!context->chain_known)
        return 0;
    if (scan->segment_number != context->last_number + 1)
        return broken_chain(context, path, 0, "a segment is missing before this one");
    if (scan->first_sequence != context->last_next_sequence)
        return broken_chain(context, path, 48, "segment does not go on with the next sequence");
    if (memcmp(chain_start, context->last_hash, SEGMENT_HASH_BYTES) != 0)
        return broken_chain(context, path, 72, "segment does not continue the hash chain");
    return 0;
}

static void remember(struct context *context, const struct segment_scan *scan)
{
    context->chain_known = true;
    context->last_number = scan->segment_number;
    context->last_next_sequence = scan->next_sequence;
    memcpy(context->last_hash, scan->hash, SEGMENT_HASH_BYTES);
}

static void drop_pending(struct context *context)
{
    segment_file_close(&context->pending.file);
    free(context->pending.index.entries);
    context->pending = (struct pending){.present = false, .file = {.fd = -1}};
}

/* Everything of the pending segment is on disk: give it its footer and its final name. */
static int seal_pending(struct context *context)
{
    struct pending *pending = &context->pending;
    struct segment_sealable sealable = {
        .fd = pending->file.fd,
        .journal = context->journal,
        .segment_number = pending->scan.segment_number,
        .data_end = pending->scan.offset,
        .index = &pending->index,
    };
    memcpy(sealable.last_hash, pending->scan.hash, SEGMENT_HASH_BYTES);
    int result = segment_seal(context->catalog, context->journal_fd, &sealable, context->error);
    pending->file.fd = -1; /* segment_seal closed it */
    drop_pending(context);
    context->recovery->segments_sealed++;
    return result;
}

static int recover_sealed(struct context *context, uint64_t number, const char *path,
                          const char *name)
{
    struct segment_file file;
    struct segment_scan scan;
    struct segment_footer_header footer;
    struct segment_scan_expected expected = {context->catalog->node_id, context->journal, number};
    int result = segment_file_open(&file, context->journal_fd, name, path, false, context->error);
    if (result < 0)
        return result;
    uint8_t chain_start[SEGMENT_HASH_BYTES];
    file.read_bytes = SEALED_READ_BYTES;
    result = segment_scan_begin(&scan, &file, &expected, context->error);
    memcpy(chain_start, scan.hash, sizeof(chain_start));
    if (result >= 0)
        result = segment_scan_sealed(&scan, &file, &expected, &footer, context->error);
    segment_file_close(&file);
    if (result < 0)
        return result;
    if (result != SEGMENT_SCAN_OK)
        return damage(context, path, scan.fault_offset, scan.fault);
    result = check_continuity(context, &scan, chain_start, path);
    if (result == 0 && context->pending.present)
        result = seal_pending(context);
    remember(context, &scan);
    context->recovery->segments_sealed++;
    return result;
}

/* Reads every batch of an open segment and keeps its index. */
static int scan_open(struct context *context, struct pending *pending)
{
    struct segment_scan_batch batch;
    segment_index_start(&pending->index, pending->scan.first_sequence);
    for (;;) {
        int result = segment_scan_next(&pending->scan, &pending->file, &batch, context->error);
        if (result != SEGMENT_SCAN_OK) {
            pending->tail = result;
            return result < 0 ? result : 0;
        }
        struct segment_index_entry entry = {
            .offset = batch.offset,
            .first_sequence = batch.header.first_sequence,
            .record_count = batch.header.record_count,
            .batch_bytes = batch.header.batch_bytes,
        };
        segment_index_add(&pending->index, &entry, pending->scan.oldest_received_at_ns,
                          pending->scan.newest_received_at_ns);
    }
}

static int allocate_index(struct context *context, struct pending *pending)
{
    uint32_t capacity = segment_index_capacity(pending->file.bytes) + 1;
    pending->index.entries = calloc(capacity, sizeof(*pending->index.entries));
    pending->index.capacity = capacity;
    if (pending->index.entries == NULL)
        return base_error_set(context->error, -ENOMEM, "out of memory while recovering %s",
                              pending->file.path);
    return 0;
}

static int write_zeros(struct segment_file *file, uint64_t from, uint64_t to,
                       struct base_error *error)
{
    static _Alignas(SEGMENT_BLOCK_BYTES) const uint8_t zeros[SEGMENT_BLOCK_BYTES * 16];
    while (from < to) {
        uint64_t bytes = to - from < sizeof(zeros) ? to - from : sizeof(zeros);
        ssize_t written = pwrite(file->fd, zeros, bytes, (off_t)from);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return base_error_os(error, written < 0 ? -errno : -EIO,
                                 "cannot cut the torn tail of %s", file->path);
        from += (uint64_t)written;
    }
    if (fdatasync(file->fd) < 0)
        return base_error_os(error, -errno, "cannot flush %s", file->path);
    return 0;
}

/* An open segment without a valid header holds nothing, unless there is data behind it. */
static int recover_unused(struct context *context, struct segment_file *file, uint64_t number,
                          bool torn_header)
{
    uint64_t first;
    int result = segment_file_find_data(file, SEGMENT_BLOCK_BYTES, &first, NULL, context->error);
    if (result < 0)
        return result;
    if (first < file->bytes)
        return damage(context, file->path, 0, "segment holds data, but its header is not valid");
    if (torn_header)
        result = write_zeros(file, 0, SEGMENT_BLOCK_BYTES, context->error);
    if (result < 0)
        return result;
    struct segment_recovery *recovery = context->recovery;
    if (recovery->has_prepared || context->surplus_count > 0 ||
        file->bytes != context->segment_bytes) {
        /* of another size, or behind such a one, or one too many: it holds nothing, and a new one
         * will be prepared */
        if (context->surplus_count == SURPLUS_MAX)
            return base_error_set(
                context->error, -EMFILE,
                "more than %d unused segments before %s: remove those that are all "
                "zeros, the last one first",
                SURPLUS_MAX, file->path);
        context->surplus[context->surplus_count++] = number;
        return 0;
    }
    recovery->has_prepared = true;
    recovery->prepared = (struct segment_prepared){dup(file->fd), number, file->bytes};
    if (recovery->prepared.fd < 0)
        return base_error_os(context->error, -errno, "cannot keep %s open", file->path);
    return 0;
}

static int check_size(struct context *context, struct pending *found)
{
    int result = segment_tail_check_size(&found->scan, &found->file, found->tail, context->error);
    if (result != 0)
        return result < 0 ? result : 0;
    return damage(context, found->file.path, found->file.bytes,
                  "segment file is shorter than it was created, and has no footer");
}

static int recover_used(struct context *context, struct pending *found)
{
    uint8_t chain_start[SEGMENT_HASH_BYTES];
    memcpy(chain_start, found->scan.hash, sizeof(chain_start));
    if (context->recovery->has_prepared || context->surplus_count > 0)
        return damage(context, found->file.path, 0, "a segment before this one was never used");
    int result = check_continuity(context, &found->scan, chain_start, found->file.path);
    /* that this segment continues the pending one proves that one complete: what may stand behind
     * its last batch is a footer that was cut off */
    if (result == 0 && context->pending.present)
        result = seal_pending(context);
    if (result == 0)
        result = allocate_index(context, found);
    if (result == 0)
        result = scan_open(context, found);
    if (result == 0)
        result = check_size(context, found);
    if (result == 0) {
        remember(context, &found->scan);
        context->pending = *found;
        context->pending.present = true;
    }
    return result;
}

static int recover_open(struct context *context, uint64_t number, const char *path,
                        const char *name)
{
    struct pending found = {.present = false, .file = {.fd = -1}};
    struct segment_scan_expected expected = {context->catalog->node_id, context->journal, number};
    int result =
        segment_file_open(&found.file, context->journal_fd, name, path, true, context->error);
    if (result < 0)
        return result;
    if (fsync(found.file.fd) < 0)
        result = base_error_os(context->error, -errno, "cannot flush %s before reading it", path);
    if (result == 0)
        result = segment_scan_begin(&found.scan, &found.file, &expected, context->error);
    if (result == SEGMENT_SCAN_OK)
        result = recover_used(context, &found);
    else if (result == SEGMENT_SCAN_FAULT && found.file.bytes < SEGMENT_BLOCK_BYTES)
        result = damage(context, path, 0, found.scan.fault); /* never created like that */
    else if (result == SEGMENT_SCAN_FAULT && found.scan.fault_offset != 0)
        /* the checksum holds, so this is what somebody wrote, and not for here */
        result = damage(context, path, found.scan.fault_offset, found.scan.fault);
    else if (result == SEGMENT_SCAN_ZERO || result == SEGMENT_SCAN_FAULT)
        result = recover_unused(context, &found.file, number, result == SEGMENT_SCAN_FAULT);
    if (!(result == 0 && context->pending.present &&
          context->pending.scan.segment_number == number)) {
        segment_file_close(&found.file);
        free(found.index.entries);
    }
    return result;
}

/* Copies [from, to) of the file to DIR/torn/ and flushes it, before anything is cut. */
static int copy_aside(struct context *context, struct segment_file *file, uint64_t from,
                      uint64_t to)
{
    const struct segment_catalog *catalog = context->catalog;
    char name[128], time[BASE_CLOCK_TEXT_BYTES];
    const uint8_t *data;
    base_clock_format(base_clock_realtime_ns(), time);
    snprintf(name, sizeof(name), "torn/journal-%04" PRIu32 "-%010" PRIu64 "-%" PRIu64 "-%s.bin",
             context->journal, context->pending.scan.segment_number, from, time);
    if (mkdirat(catalog->directory_fd, "torn", 0750) < 0 && errno != EEXIST)
        return base_error_os(context->error, -errno, "cannot create %s/torn", catalog->path);
    int result = segment_file_read(file, from, to - from, &data, context->error);
    if (result <= 0)
        return result < 0 ? result
                          : base_error_set(context->error, -EIO, "%s changed while it was read",
                                           file->path);
    int fd = openat(catalog->directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    int torn_fd = openat(catalog->directory_fd, "torn", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool written = fd >= 0 && torn_fd >= 0 && write(fd, data, to - from) == (ssize_t)(to - from) &&
                   fsync(fd) == 0 && fsync(torn_fd) == 0 && fsync(catalog->directory_fd) == 0;
    int failure = written ? 0 : (errno != 0 ? -errno : -ENOSPC);
    if (fd >= 0)
        close(fd);
    if (torn_fd >= 0)
        close(torn_fd);
    if (failure < 0)
        return base_error_os(context->error, failure, "cannot keep the torn tail in %s/%s",
                             catalog->path, name);
    base_log(BASE_LOG_WARNING, "torn-tail",
             "file=%s offset=%" PRIu64 " bytes=%" PRIu64 " kept=%s/%s message=\"an unfinished "
             "write, never acknowledged, was moved aside\"",
             file->path, from, to - from, catalog->path, name);
    return 0;
}

/* Decides, without changing anything, what stands behind the last valid batch of the last segment
 * in use: nothing, a footer, or a torn tail up to pending->torn_end; everything else is damage. */
static int judge_tail(struct context *context)
{
    struct pending *pending = &context->pending;
    struct segment_tail tail;
    uint64_t mark = segment_watermark_read(context->watermark, context->journal);
    int result = segment_tail_judge(&pending->scan, &pending->file, pending->tail, mark, &tail,
                                    context->error);
    if (result < 0)
        return result;
    if (tail.kind == SEGMENT_TAIL_DAMAGED)
        return damage(context, pending->file.path, tail.offset, tail.what);
    if (tail.kind != SEGMENT_TAIL_COMPLETE && pending->tail == SEGMENT_SCAN_FOOTER)
        pending->tail = SEGMENT_SCAN_FAULT; /* a footer that was cut off */
    pending->torn_end = tail.torn_end;
    return 0;
}

static int cut_torn_tail(struct context *context)
{
    struct pending *pending = &context->pending;
    uint64_t from = pending->scan.offset, to = pending->torn_end;
    if (to == 0)
        return 0;
    context->recovery->torn_bytes = to - from;
    int result = copy_aside(context, &pending->file, from, to);
    return result < 0 ? result : write_zeros(&pending->file, from, to, context->error);
}

/* Makes the last segment in use the one that the worker goes on with, or seals it when a footer
 * says that it is complete. */
static int finish_pending(struct context *context)
{
    struct pending *pending = &context->pending;
    if (pending->tail == SEGMENT_SCAN_FOOTER)
        return seal_pending(context);
    int result = cut_torn_tail(context);
    if (result < 0)
        return result;
    struct segment_journal_start_point *point = &context->recovery->point;
    point->has_segment = true;
    point->mark_owed = pending->scan.last_record_count > 0;
    point->fd = pending->file.fd;
    point->segment_number = pending->scan.segment_number;
    point->file_bytes = pending->file.bytes;
    point->write_offset = pending->scan.offset;
    point->batch_number = pending->scan.batch_number;
    point->index = pending->index;
    context->recovery->segment_bytes_max = pending->file.bytes;
    pending->file.fd = -1;
    pending->index.entries = NULL;
    drop_pending(context);
    return 0;
}

static int recover_entry(struct context *context, const struct segment_entry *entry)
{
    char path[320], name[SEGMENT_NAME_BYTES];
    uint64_t number = entry->segment_number;
    segment_catalog_path(context->catalog, context->journal, number, entry->state, path,
                         sizeof(path));
    segment_catalog_name(number, entry->state, name);
    switch (entry->state) {
    case SEGMENT_STATE_SEALED:
        return recover_sealed(context, number, path, name);
    case SEGMENT_STATE_OPEN:
        return recover_open(context, number, path, name);
    case SEGMENT_STATE_TEMPORARY:
        if (unlinkat(context->journal_fd, name, 0) < 0)
            return base_error_os(context->error, -errno, "cannot remove %s", path);
        return 0;
    }
    return 0;
}

/* What was published as durable must be there. */
static int check_watermark(struct context *context)
{
    uint64_t durable = segment_watermark_read(context->watermark, context->journal);
    uint64_t present = context->chain_known ? context->last_next_sequence - 1 : 0;
    if (durable <= present)
        return 0;
    return base_error_set(
        context->error, -EBADMSG,
        "damage in journal %" PRIu32 " of %s: records up to %" PRIu64
        " were acknowledged, but only those up to %" PRIu64
        " are there. Nothing was cut. `sluice verify %s` shows where; restore the "
        "missing segments from a replica or backup",
        context->journal, context->catalog->path, durable, present, context->catalog->path);
}

/* The last one first: cut off in between, this leaves no gap in the numbers. */
static int remove_surplus(struct context *context)
{
    while (context->surplus_count > 0) {
        char name[SEGMENT_NAME_BYTES];
        uint64_t number = context->surplus[--context->surplus_count];
        segment_catalog_name(number, SEGMENT_STATE_OPEN, name);
        if (unlinkat(context->journal_fd, name, 0) < 0)
            return base_error_os(context->error, -errno, "cannot remove unused segment %s of %s",
                                 name, context->catalog->path);
        if (fsync(context->journal_fd) < 0)
            return base_error_os(context->error, -errno, "cannot flush the journal's directory");
    }
    return 0;
}

static int recover_list(struct context *context, const struct segment_list *list)
{
    int result = 0;
    for (size_t i = 0; i < list->count && result == 0; i++)
        result = recover_entry(context, &list->entries[i]);
    /* first every judgement, then the first change */
    if (result == 0 && context->pending.present)
        result = judge_tail(context);
    if (result == 0)
        result = check_watermark(context);
    if (result == 0 && context->pending.present)
        result = finish_pending(context);
    if (result == 0)
        result = remove_surplus(context);
    if (result < 0)
        drop_pending(context);
    return result;
}

/* Only damage at the end of a journal can be repaired; the rest has to be restored. */
static void suggest_repair(struct context *context)
{
    struct base_error *error = context->error;
    size_t used = strlen(error->text);
    if (segment_repair_helps(context->catalog, context->journal_fd, context->journal,
                             context->watermark))
        snprintf(error->text + used, sizeof(error->text) - used,
                 ", or see what `sluice repair %s` can keep", context->catalog->path);
}

/* After a refusal nobody takes the descriptors over. */
static void abandon(struct segment_recovery *recovery)
{
    if (recovery->has_prepared)
        close(recovery->prepared.fd);
    if (recovery->point.has_segment)
        close(recovery->point.fd);
    recovery->has_prepared = recovery->point.has_segment = false;
    segment_recovery_fini(recovery);
}

int segment_recover(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                    const struct segment_watermark *watermark, uint64_t segment_bytes,
                    struct segment_recovery *recovery_out, struct base_error *error)
{
    *recovery_out = (struct segment_recovery){
        .point = {.journal = journal, .fd = -1, .next_sequence = 1},
        .prepared = {.fd = -1},
        .segment_bytes_max = segment_bytes,
    };
    struct context context = {
        .catalog = catalog,
        .journal_fd = journal_fd,
        .journal = journal,
        .watermark = watermark,
        .segment_bytes = segment_bytes,
        .recovery = recovery_out,
        .pending = {.file = {.fd = -1}},
        .error = error,
    };
    struct segment_list list;
    char path[300];
    snprintf(path, sizeof(path), "%s/journal-%04" PRIu32, catalog->path, journal);
    /* a segment whose name was never flushed can be seen, and is gone after a power cut: nothing
     * may be acknowledged in it before the name is as durable as the bytes */
    int result = segment_catalog_flush_directory(journal_fd, path, error);
    if (result == 0)
        result = segment_catalog_list(catalog, journal_fd, &list, error);
    if (result < 0)
        return result;
    result = recover_list(&context, &list);
    free(list.entries);
    if (result < 0) {
        abandon(recovery_out);
        if (result == -EBADMSG)
            suggest_repair(&context);
        return result;
    }
    if (recovery_out->segment_bytes_max < segment_bytes)
        recovery_out->segment_bytes_max = segment_bytes;
    if (context.chain_known) {
        recovery_out->point.next_sequence = context.last_next_sequence;
        memcpy(recovery_out->point.hash, context.last_hash, SEGMENT_HASH_BYTES);
    }
    uint64_t last = context.chain_known ? context.last_number : 0;
    if (recovery_out->has_prepared && recovery_out->prepared.segment_number != last + 1) {
        abandon(recovery_out);
        return base_error_set(error, -EBADMSG,
                              "damage in journal %" PRIu32 " of %s: segment %" PRIu64
                              " is missing, segment %" PRIu64 " is prepared",
                              journal, catalog->path, last + 1,
                              recovery_out->prepared.segment_number);
    }
    recovery_out->next_segment_number = last + 1 + (recovery_out->has_prepared ? 1 : 0);
    return 0;
}

void segment_recovery_fini(struct segment_recovery *recovery)
{
    free(recovery->point.index.entries);
    recovery->point.index.entries = NULL;
}
