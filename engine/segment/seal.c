#include "segment/seal.h"

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint32_t segment_index_capacity(uint64_t segment_bytes)
{
    return (uint32_t)(segment_bytes / SEGMENT_BLOCK_BYTES);
}

void segment_index_start(struct segment_index *index, uint64_t first_sequence)
{
    index->count = 0;
    index->first_sequence = first_sequence;
    index->record_count = 0;
    index->oldest_received_at_ns = index->newest_received_at_ns = 0;
}

void segment_index_add(struct segment_index *index, const struct segment_index_entry *entry,
                       uint64_t oldest_received_at_ns, uint64_t newest_received_at_ns)
{
    CHECK(index->count < index->capacity);
    index->entries[index->count++] = *entry;
    index->record_count += entry->record_count;
    if (entry->record_count == 0)
        return;
    if (index->oldest_received_at_ns == 0 || oldest_received_at_ns < index->oldest_received_at_ns)
        index->oldest_received_at_ns = oldest_received_at_ns;
    if (newest_received_at_ns > index->newest_received_at_ns)
        index->newest_received_at_ns = newest_received_at_ns;
}

/* Fills `bytes` zeroed bytes at `footer`. */
static void make_footer(uint8_t *footer, uint32_t bytes, const struct segment_catalog *catalog,
                        const struct segment_sealable *sealable)
{
    const struct segment_index *index = sealable->index;
    struct segment_footer_header header = {
        .magic = SEGMENT_FOOTER_MAGIC,
        .footer_bytes = bytes,
        .journal = sealable->journal,
        .batch_count = index->count,
        .segment_number = sealable->segment_number,
        .record_count = index->record_count,
        .first_sequence = index->first_sequence,
        .next_sequence = index->first_sequence + index->record_count,
        .oldest_received_at_ns = index->oldest_received_at_ns,
        .newest_received_at_ns = index->newest_received_at_ns,
        .data_end = sealable->data_end,
        .sealed_at_ns = base_clock_realtime_ns(),
    };
    memcpy(header.node_id, catalog->node_id, SEGMENT_NODE_BYTES);
    memcpy(header.last_hash, sealable->last_hash, SEGMENT_HASH_BYTES);
    struct segment_trailer trailer = {
        .magic = SEGMENT_TRAILER_MAGIC,
        .footer_offset = sealable->data_end,
        .footer_bytes = bytes,
    };
    trailer.crc32c = base_crc32c(&trailer, offsetof(struct segment_trailer, crc32c));
    memcpy(footer + sizeof(header), index->entries, index->count * sizeof(*index->entries));
    memcpy(footer + bytes - sizeof(trailer), &trailer, sizeof(trailer));
    memcpy(footer, &header, sizeof(header));
    size_t covered = offsetof(struct segment_footer_header, footer_bytes);
    header.crc32c = base_crc32c(footer + covered, bytes - covered);
    memcpy(footer, &header, sizeof(header));
}

static int write_all(int fd, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
    while (bytes > 0) {
        ssize_t written = pwrite(fd, data, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        data += written;
        offset += (uint64_t)written;
        bytes -= (uint64_t)written;
    }
    return 0;
}

/* Footer, flush, cut behind it, flush: only then does the name change. */
static int write_footer(const struct segment_catalog *catalog,
                        const struct segment_sealable *sealable)
{
    uint32_t bytes = (uint32_t)segment_footer_bytes(sealable->index->count);
    uint8_t *footer = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    if (footer == NULL)
        return -ENOMEM;
    memset(footer, 0, bytes);
    make_footer(footer, bytes, catalog, sealable);
    int result = write_all(sealable->fd, footer, bytes, sealable->data_end);
    free(footer);
    if (result == 0 && fdatasync(sealable->fd) < 0)
        result = -errno;
    if (result == 0 && ftruncate(sealable->fd, (off_t)(sealable->data_end + bytes)) < 0)
        result = -errno;
    if (result == 0 && fsync(sealable->fd) < 0)
        result = -errno;
    return result;
}

int segment_seal(const struct segment_catalog *catalog, int journal_fd,
                 const struct segment_sealable *sealable, struct base_error *error)
{
    char path[320], from[SEGMENT_NAME_BYTES], to[SEGMENT_NAME_BYTES];
    segment_catalog_path(catalog, sealable->journal, sealable->segment_number, SEGMENT_STATE_OPEN,
                         path, sizeof(path));
    segment_catalog_name(sealable->segment_number, SEGMENT_STATE_OPEN, from);
    segment_catalog_name(sealable->segment_number, SEGMENT_STATE_SEALED, to);
    int result = write_footer(catalog, sealable);
    if (result == 0 && renameat(journal_fd, from, journal_fd, to) < 0)
        result = -errno;
    /* behind the rename: recovery must be able to open for writing what is still `.open` */
    if (result == 0 && (fchmod(sealable->fd, 0444) < 0 || fsync(sealable->fd) < 0))
        result = -errno;
    close(sealable->fd);
    if (result < 0)
        return base_error_os(error, result, "cannot seal %s", path);
    return segment_catalog_flush_directory(journal_fd, path, error);
}
