/* Every block boundary is tried, also inside what a batch header before it claims: after an
 * accident a length may be right and what it spans may not. A record that is damaged makes the
 * search go on at the next multiple of 8. That cannot mistake a patient's text for a record: a
 * record holds NUL bytes, which neither JSON nor any text field does. */
#include "segment/salvage.h"

#include "base/checksum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_ours(const struct segment_scan *scan, const uint8_t *node_id, uint32_t journal,
                    uint64_t segment_number)
{
    return memcmp(scan->node_id, node_id, SEGMENT_NODE_BYTES) == 0 && scan->journal == journal &&
           scan->segment_number == segment_number;
}

/* A batch header that is valid by itself; its place in number, sequence and chain is not asked. */
static bool is_batch(const struct segment_scan *scan, const struct segment_batch_header *header)
{
    size_t covered = offsetof(struct segment_batch_header, header_bytes);
    return memcmp(header->magic, SEGMENT_BATCH_MAGIC, sizeof(header->magic)) == 0 &&
           base_crc32c((const uint8_t *)header + covered, sizeof(*header) - covered) ==
               header->crc32c &&
           is_ours(scan, header->node_id, header->journal, header->segment_number) &&
           header->header_bytes == sizeof(*header) &&
           header->batch_bytes <= SEGMENT_BATCH_BYTES_LIMIT &&
           segment_round_up(sizeof(*header) + (uint64_t)header->payload_bytes,
                            SEGMENT_BLOCK_BYTES) == header->batch_bytes &&
           header->watermark < header->first_sequence;
}

static int add_record(struct segment_salvage *salvage, const uint8_t *data, uint32_t bytes,
                      uint64_t sequence, uint64_t offset)
{
    if (salvage->count == salvage->capacity) {
        size_t capacity = salvage->capacity == 0 ? 1024 : salvage->capacity * 2;
        struct segment_salvaged *larger =
            realloc(salvage->records, capacity * sizeof(*salvage->records));
        if (larger == NULL)
            return -ENOMEM;
        salvage->records = larger;
        salvage->capacity = capacity;
    }
    struct segment_salvaged *record = &salvage->records[salvage->count++];
    *record = (struct segment_salvaged){.sequence = sequence, .offset = offset, .bytes = bytes};
    base_sha256_of(data, bytes, record->sha256);
    return 0;
}

/* The bytes of the intact record at `data`, 0 when there is none. */
static size_t intact_record(const uint8_t *data, size_t bytes,
                            const struct segment_batch_header *header, uint64_t *sequence_out)
{
    struct record_envelope envelope;
    const char *fault;
    if (bytes < sizeof(struct segment_record_header) || memcmp(data, SEGMENT_RECORD_MAGIC, 4) != 0)
        return 0;
    size_t record_bytes = record_decode(data, bytes, &envelope, &fault);
    if (record_bytes == 0 || envelope.sequence < header->first_sequence ||
        envelope.sequence - header->first_sequence >= header->record_count)
        return 0;
    uint8_t digest[SHA256_BYTES];
    base_sha256_of(envelope.body, envelope.body_bytes, digest);
    if (memcmp(digest, envelope.body_sha256, sizeof(digest)) != 0)
        return 0;
    *sequence_out = envelope.sequence;
    return record_bytes;
}

/* The records of the batch at `offset`, of which the file may end early. */
static int collect_batch(const struct segment_scan *scan, struct segment_file *file,
                         uint64_t offset, const struct segment_batch_header *header,
                         struct segment_salvage *salvage, struct base_error *error)
{
    const uint8_t *data;
    uint64_t end = sizeof(*header) + (uint64_t)header->payload_bytes;
    if (end > file->bytes - offset)
        end = file->bytes - offset;
    int result = segment_file_read(file, offset, end, &data, error);
    if (result <= 0)
        return result;
    uint64_t at = sizeof(*header);
    while (at < end) {
        uint64_t sequence;
        size_t bytes = intact_record(data + at, end - at, header, &sequence);
        if (bytes > 0 && sequence >= scan->next_sequence &&
            add_record(salvage, data + at, (uint32_t)bytes, sequence, offset + at) < 0)
            return base_error_set(error, -ENOMEM, "out of memory while reading %s", file->path);
        at += bytes > 0 ? bytes : SEGMENT_RECORD_ALIGNMENT;
    }
    return 0;
}

/* A valid footer says that all records of its segment were durable. 0: there is none. */
static int footer_evidence(const struct segment_scan *scan, struct segment_file *file,
                           uint64_t offset, uint64_t *owed_out, struct base_error *error)
{
    const uint8_t *data;
    struct segment_footer_header footer;
    *owed_out = 0;
    int result = segment_file_read(file, offset, SEGMENT_BLOCK_BYTES, &data, error);
    if (result <= 0)
        return result;
    memcpy(&footer, data, sizeof(footer));
    if (memcmp(footer.magic, SEGMENT_FOOTER_MAGIC, sizeof(footer.magic)) != 0 ||
        footer.footer_bytes == 0 || footer.footer_bytes % SEGMENT_BLOCK_BYTES != 0 ||
        footer.footer_bytes > file->bytes - offset)
        return 0;
    result = segment_file_read(file, offset, footer.footer_bytes, &data, error);
    if (result <= 0)
        return result;
    size_t covered = offsetof(struct segment_footer_header, footer_bytes);
    if (base_crc32c(data + covered, footer.footer_bytes - covered) == footer.crc32c &&
        is_ours(scan, footer.node_id, footer.journal, footer.segment_number) &&
        footer.next_sequence > 0)
        *owed_out = footer.next_sequence - 1;
    return 0;
}

static int collect_block(const struct segment_scan *scan, struct segment_file *file,
                         uint64_t offset, struct segment_salvage *salvage, struct base_error *error)
{
    const uint8_t *data;
    struct segment_batch_header header;
    int result = segment_file_read(file, offset, sizeof(header), &data, error);
    if (result <= 0)
        return result;
    memcpy(&header, data, sizeof(header));
    uint64_t owed;
    if (is_batch(scan, &header)) {
        owed = header.watermark;
        result = collect_batch(scan, file, offset, &header, salvage, error);
    } else {
        result = footer_evidence(scan, file, offset, &owed, error);
    }
    if (owed > salvage->owed)
        salvage->owed = owed;
    return result;
}

static int compare(const void *left, const void *right)
{
    const struct segment_salvaged *a = left, *b = right;
    if (a->sequence != b->sequence)
        return (a->sequence > b->sequence) - (a->sequence < b->sequence);
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Each number once. Two records that differ are both intact, so nothing here can tell which one was
 * acknowledged. */
static int make_unique(struct segment_salvage *salvage, const struct segment_file *file,
                       struct base_error *error)
{
    struct segment_salvaged *records = salvage->records;
    if (salvage->count > 1)
        qsort(records, salvage->count, sizeof(*records), compare);
    size_t kept = 0;
    for (size_t i = 0; i < salvage->count; i++) {
        if (kept == 0 || records[kept - 1].sequence != records[i].sequence) {
            records[kept++] = records[i];
            continue;
        }
        if (memcmp(records[kept - 1].sha256, records[i].sha256, SEGMENT_HASH_BYTES) == 0)
            continue;
        return base_error_set(error, -EBADMSG,
                              "damage in %s: two different records have sequence number %" PRIu64
                              ", at offsets %" PRIu64 " and %" PRIu64
                              ", and nothing says which is the right one. Restore the file from a "
                              "replica or backup",
                              file->path, records[i].sequence, records[kept - 1].offset,
                              records[i].offset);
    }
    salvage->count = kept;
    return 0;
}

int segment_salvage_collect(const struct segment_scan *scan, struct segment_file *file,
                            struct segment_salvage *salvage_out, struct base_error *error)
{
    *salvage_out = (struct segment_salvage){.records = NULL};
    int result = 0;
    for (uint64_t at = scan->offset; at < file->bytes && result == 0; at += SEGMENT_BLOCK_BYTES)
        result = collect_block(scan, file, at, salvage_out, error);
    if (result == 0)
        result = make_unique(salvage_out, file, error);
    if (result < 0) {
        segment_salvage_fini(salvage_out);
        return result;
    }
    if (salvage_out->count > 0 &&
        salvage_out->records[salvage_out->count - 1].sequence > salvage_out->owed)
        salvage_out->owed = salvage_out->records[salvage_out->count - 1].sequence;
    return 0;
}

void segment_salvage_fini(struct segment_salvage *salvage)
{
    free(salvage->records);
    *salvage = (struct segment_salvage){.records = NULL};
}
