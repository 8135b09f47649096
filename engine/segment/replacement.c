/* At every moment either the damaged file or its replacement has the segment's name, and the
 * damaged one never is without a name: it gets a second one by link(2), which is flushed before the
 * rename takes the first away. A sealed one is renamed to `.open` in between, so that a segment is
 * never there twice. */
#include "segment/replacement.h"

#include "base/checksum.h"
#include "segment/batch.h"
#include "segment/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A batch of the replacement, unless a single record is larger. */
#define PACKED_BYTES 1048576

/* A place between two records that are still to be written. */
struct cursor {
    uint64_t sequence; /* of the next record */
    size_t rescued;    /* index of the next rescued one */
};

/* A replacement that is being written. */
struct building {
    const struct segment_repair *plan;
    struct segment_preparation preparation;
    struct segment_file *file; /* the damaged one */
    struct segment_batch batch;
    uint64_t offset; /* of the next batch */
    uint64_t batch_number;
    uint8_t hash[SEGMENT_HASH_BYTES];
    struct base_error *error;
};

/* --- what goes where ------------------------------------------------------------------------ */

static struct cursor start(const struct segment_repair *plan)
{
    return (struct cursor){plan->scan.next_sequence, 0};
}

/* NULL: the next record is lost. */
static const struct segment_salvaged *next_rescued(const struct segment_repair *plan,
                                                   const struct cursor *cursor)
{
    const struct segment_salvage *salvage = &plan->salvage;
    bool is_next = cursor->rescued < salvage->count &&
                   salvage->records[cursor->rescued].sequence == cursor->sequence;
    return is_next ? &salvage->records[cursor->rescued] : NULL;
}

static void lost_envelope(const struct segment_repair *plan, uint64_t sequence,
                          struct record_envelope *envelope_out)
{
    *envelope_out = (struct record_envelope){
        .kind = SEGMENT_RECORD_LOST,
        .sequence = sequence,
        .received_at_ns = plan->repaired_at_ns,
        .findings = {{plan->finding, plan->finding_bytes}},
        .finding_count = 1,
        .body = "",
    };
    base_sha256_of("", 0, envelope_out->body_sha256);
}

static uint64_t next_bytes(const struct segment_repair *plan, const struct cursor *cursor)
{
    const struct segment_salvaged *rescued = next_rescued(plan, cursor);
    /* as record_encode makes it: header, one field, no body */
    return rescued != NULL
               ? rescued->bytes
               : segment_round_up(sizeof(struct segment_record_header) +
                                      sizeof(struct segment_field_header) + plan->finding_bytes,
                                  SEGMENT_RECORD_ALIGNMENT);
}

static void step(const struct segment_repair *plan, struct cursor *cursor)
{
    if (next_rescued(plan, cursor) != NULL)
        cursor->rescued++;
    cursor->sequence++;
}

/* Bytes that are left at `offset` for batch number `batch_number` when the footer has its place. */
static uint64_t room_at(const struct segment_repair *plan, uint64_t offset, uint64_t batch_number)
{
    uint64_t behind = offset + segment_footer_bytes(batch_number + 1);
    return behind < plan->header.file_bytes ? plan->header.file_bytes - behind : 0;
}

/* Steps over the records of one batch; returns its bytes with padding, 0 when none fits. */
static uint64_t pack(const struct segment_repair *plan, struct cursor *cursor, uint64_t room)
{
    uint64_t used = sizeof(struct segment_batch_header);
    uint64_t first = cursor->sequence;
    while (cursor->sequence <= plan->last) {
        uint64_t more = used + next_bytes(plan, cursor);
        if (segment_round_up(more, SEGMENT_BLOCK_BYTES) > room ||
            (more > PACKED_BYTES && cursor->sequence > first))
            break;
        used = more;
        step(plan, cursor);
    }
    return cursor->sequence > first ? segment_round_up(used, SEGMENT_BLOCK_BYTES) : 0;
}

bool segment_replacement_fits(const struct segment_repair *plan, uint64_t *fitting_out)
{
    struct cursor cursor = start(plan);
    uint64_t offset = plan->scan.offset, batch_number = plan->scan.batch_number;
    *fitting_out = plan->last;
    if (offset + segment_footer_bytes(batch_number) > plan->header.file_bytes)
        return false;
    while (cursor.sequence <= plan->last) {
        uint64_t bytes = pack(plan, &cursor, room_at(plan, offset, batch_number));
        if (bytes == 0) {
            *fitting_out = cursor.sequence - 1;
            return false;
        }
        offset += bytes;
        batch_number++;
    }
    return true;
}

/* --- writing -------------------------------------------------------------------------------- */

static int write_at(struct building *building, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
    while (bytes > 0) {
        ssize_t written = pwrite(building->preparation.fd, data, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return base_error_os(building->error, written < 0 ? -errno : -ENOSPC,
                                 "cannot write the replacement of %s", building->file->path);
        data += written;
        offset += (uint64_t)written;
        bytes -= (uint64_t)written;
    }
    return 0;
}

static int read_damaged(struct building *building, uint64_t offset, uint64_t bytes,
                        const uint8_t **data_out)
{
    int result = segment_file_read(building->file, offset, bytes, data_out, building->error);
    if (result != 0)
        return result < 0 ? result : 0;
    return base_error_set(building->error, -EIO, "%s changed while it was read",
                          building->file->path);
}

static int copy_prefix(struct building *building)
{
    const struct segment_repair *plan = building->plan;
    uint8_t *block = building->batch.buffer;
    memcpy(block, &plan->header, sizeof(plan->header));
    int result = write_at(building, block, sizeof(plan->header), 0);
    uint64_t at = sizeof(plan->header);
    while (result == 0 && at < plan->scan.offset) {
        const uint8_t *data;
        uint64_t bytes = plan->scan.offset - at;
        if (bytes > SEGMENT_FILE_WINDOW_BYTES)
            bytes = SEGMENT_FILE_WINDOW_BYTES;
        result = read_damaged(building, at, bytes, &data);
        if (result == 0)
            result = write_at(building, data, bytes, at);
        at += bytes;
    }
    return result;
}

/* Fills the batch up to, not including, number `end`. */
static int fill_batch(struct building *building, struct cursor *cursor, uint64_t end)
{
    segment_batch_reset(&building->batch);
    while (cursor->sequence < end) {
        const struct segment_salvaged *rescued = next_rescued(building->plan, cursor);
        if (rescued != NULL) {
            const uint8_t *data;
            int result = read_damaged(building, rescued->offset, rescued->bytes, &data);
            if (result < 0)
                return result;
            segment_batch_copy(&building->batch, data, rescued->bytes);
        } else {
            struct record_envelope envelope;
            lost_envelope(building->plan, cursor->sequence, &envelope);
            segment_batch_append(&building->batch, &envelope);
        }
        step(building->plan, cursor);
    }
    return 0;
}

/* The whole replacement is on disk before anyone sees it: each batch may say that all before it is
 * durable. */
static int write_batch(struct building *building, uint64_t first_sequence)
{
    const struct segment_repair *plan = building->plan;
    struct segment_batch_header header = {
        .magic = SEGMENT_BATCH_MAGIC,
        .journal = plan->journal,
        .segment_number = plan->scan.segment_number,
        .batch_number = building->batch_number++,
        .first_sequence = first_sequence,
        .watermark = first_sequence - 1,
        .written_at_ns = plan->repaired_at_ns,
    };
    memcpy(header.node_id, plan->catalog->node_id, SEGMENT_NODE_BYTES);
    memcpy(header.previous_hash, building->hash, SEGMENT_HASH_BYTES);
    segment_batch_finish(&building->batch, &header, building->hash);
    uint64_t offset = building->offset;
    building->offset += header.batch_bytes;
    return write_at(building, building->batch.buffer, header.batch_bytes, offset);
}

/* A mark at the end shows damage to the records before it as damage; where there is no room for
 * one, the next segment does. */
static int write_batches(struct building *building)
{
    const struct segment_repair *plan = building->plan;
    struct cursor cursor = start(plan);
    int result = 0;
    while (result == 0 && cursor.sequence <= plan->last) {
        struct cursor end = cursor;
        uint64_t first = cursor.sequence;
        pack(plan, &end, room_at(plan, building->offset, building->batch_number));
        result = fill_batch(building, &cursor, end.sequence);
        if (result == 0)
            result = write_batch(building, first);
    }
    uint64_t room = room_at(plan, building->offset, building->batch_number);
    if (result < 0 || room < SEGMENT_BLOCK_BYTES)
        return result;
    segment_batch_reset(&building->batch);
    return write_batch(building, plan->last + 1);
}

/* Reads all of it back through the scan that everything goes through. */
static int check_replacement(struct building *building, const char *name)
{
    const struct segment_repair *plan = building->plan;
    struct segment_scan_expected expected = {plan->catalog->node_id, plan->journal,
                                             plan->scan.segment_number};
    struct segment_file file;
    struct segment_scan scan;
    struct segment_scan_batch batch;
    int result = segment_file_open(&file, plan->journal_fd, name, name, false, building->error);
    if (result < 0)
        return result != -ENOENT ? result
                                 : base_error_os(building->error, result, "cannot open %s", name);
    result = segment_scan_begin(&scan, &file, &expected, building->error);
    while (result == SEGMENT_SCAN_OK)
        result = segment_scan_next(&scan, &file, &batch, building->error);
    bool is_right = result == SEGMENT_SCAN_ZERO && scan.offset == building->offset &&
                    scan.next_sequence == plan->last + 1 && file.bytes == scan.created_bytes &&
                    memcmp(scan.hash, building->hash, SEGMENT_HASH_BYTES) == 0;
    segment_file_close(&file);
    if (result < 0 || is_right)
        return result < 0 ? result : 0;
    return base_error_set(building->error, -EIO,
                          "the replacement of %s does not read back as it was written: the disk "
                          "cannot be trusted. Nothing was changed",
                          building->file->path);
}

/* Whoever runs the engine must be able to write to it. */
static int take_owner(struct building *building)
{
    struct stat damaged, replacement;
    if (fstat(building->file->fd, &damaged) < 0 ||
        fstat(building->preparation.fd, &replacement) < 0 ||
        ((damaged.st_uid != replacement.st_uid || damaged.st_gid != replacement.st_gid) &&
         fchown(building->preparation.fd, damaged.st_uid, damaged.st_gid) < 0))
        return base_error_os(building->error, -errno,
                             "cannot give the replacement of %s its owner: run repair as that user",
                             building->file->path);
    return 0;
}

static int prepare_zeros(struct building *building)
{
    const struct segment_repair *plan = building->plan;
    struct segment_preparation *preparation = &building->preparation;
    struct segment_prepared prepared;
    segment_prepare_init(preparation);
    int result =
        segment_prepare_begin(preparation, plan->catalog, plan->journal_fd, plan->journal,
                              plan->scan.segment_number, plan->header.file_bytes, building->error);
    /* the step behind the last zero would give it its final name */
    while (result == 0 && preparation->written_bytes < preparation->segment_bytes)
        result = segment_prepare_step(preparation, plan->catalog, &prepared, building->error);
    return result;
}

static int allocate_batch(struct building *building)
{
    const struct segment_salvage *salvage = &building->plan->salvage;
    uint64_t bytes = PACKED_BYTES;
    for (size_t i = 0; i < salvage->count; i++)
        if (salvage->records[i].bytes + sizeof(struct segment_batch_header) > bytes)
            bytes = salvage->records[i].bytes + sizeof(struct segment_batch_header);
    bytes = segment_round_up(bytes, SEGMENT_BLOCK_BYTES);
    uint8_t *buffer = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    if (buffer == NULL)
        return base_error_set(building->error, -ENOMEM, "out of memory while repairing %s",
                              building->file->path);
    segment_batch_init(&building->batch, buffer, (uint32_t)bytes);
    return 0;
}

int segment_replacement_build(struct segment_repair *plan, struct base_error *error)
{
    char name[SEGMENT_NAME_BYTES];
    struct building building = {
        .plan = plan,
        .preparation = {.fd = -1},
        .file = &plan->file,
        .offset = plan->scan.offset,
        .batch_number = plan->scan.batch_number,
        .error = error,
    };
    memcpy(building.hash, plan->scan.hash, SEGMENT_HASH_BYTES);
    segment_catalog_name(plan->scan.segment_number, SEGMENT_STATE_TEMPORARY, name);
    int result = allocate_batch(&building);
    if (result == 0)
        result = prepare_zeros(&building);
    if (result == 0)
        result = take_owner(&building);
    if (result == 0)
        result = copy_prefix(&building);
    if (result == 0)
        result = write_batches(&building);
    if (result == 0 && fsync(building.preparation.fd) < 0)
        result =
            base_error_os(error, -errno, "cannot flush the replacement of %s", plan->file.path);
    if (result == 0)
        result = check_replacement(&building, name);
    if (result < 0)
        segment_prepare_cancel(&building.preparation);
    else
        close(building.preparation.fd);
    free(building.batch.buffer);
    return result;
}

/* --- changing places ------------------------------------------------------------------------ */

/* A second name for the damaged file, flushed. */
static int keep_damaged(const struct segment_repair *plan, const char *name)
{
    int root = plan->catalog->directory_fd;
    if (mkdirat(root, "damaged", 0750) < 0 && errno != EEXIST)
        return -errno;
    int kept_fd = openat(root, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (kept_fd < 0)
        return -errno;
    int result = 0;
    if (!plan->is_kept && linkat(plan->journal_fd, name, kept_fd, plan->kept_name, 0) < 0)
        result = -errno;
    if (result == 0 && (fsync(kept_fd) < 0 || fsync(root) < 0))
        result = -errno;
    if (result < 0 && !plan->is_kept)
        unlinkat(kept_fd, plan->kept_name, 0);
    close(kept_fd);
    if (result < 0)
        unlinkat(root, "damaged", AT_REMOVEDIR); /* stays when anything is in it */
    return result;
}

static int rename_flushed(const struct segment_repair *plan, const char *from, const char *to)
{
    if (renameat(plan->journal_fd, from, plan->journal_fd, to) < 0 || fsync(plan->journal_fd) < 0)
        return -errno;
    return 0;
}

int segment_replacement_swap(const struct segment_repair *plan, struct base_error *error)
{
    char damaged[SEGMENT_NAME_BYTES], open_name[SEGMENT_NAME_BYTES], built[SEGMENT_NAME_BYTES];
    uint64_t number = plan->scan.segment_number;
    segment_catalog_name(number, plan->state, damaged);
    segment_catalog_name(number, SEGMENT_STATE_OPEN, open_name);
    segment_catalog_name(number, SEGMENT_STATE_TEMPORARY, built);
    int result = keep_damaged(plan, damaged);
    if (result < 0) {
        unlinkat(plan->journal_fd, built, 0);
        return base_error_os(error, result, "cannot keep %s as %s/damaged/%s; nothing was changed",
                             plan->file.path, plan->catalog->path, plan->kept_name);
    }
    if (plan->state == SEGMENT_STATE_SEALED)
        result = rename_flushed(plan, damaged, open_name);
    if (result == 0)
        result = rename_flushed(plan, built, open_name);
    if (result == 0)
        return 0;
    return base_error_os(error, result,
                         "cannot put the replacement of %s in its place; the damaged file is kept "
                         "as %s/damaged/%s. Run repair again",
                         plan->file.path, plan->catalog->path, plan->kept_name);
}
