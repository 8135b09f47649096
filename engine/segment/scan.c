/* No length is used before a checksum vouches for it: the batch header's own CRC comes first, then
 * the payload's over the length that the header gives, then each record's. */
#include "segment/scan.h"

#include "base/check.h"
#include "base/checksum.h"

#include <string.h>

static int fault(struct segment_scan *scan, uint64_t offset, const char *what)
{
    scan->fault = what;
    scan->fault_offset = offset;
    return SEGMENT_SCAN_FAULT;
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

/* True when the bytes identify themselves as this scan's node, journal and segment. */
static bool is_ours(const struct segment_scan *scan, const uint8_t *node_id, uint32_t journal,
                    uint64_t segment_number)
{
    return memcmp(scan->node_id, node_id, SEGMENT_NODE_BYTES) == 0 && scan->journal == journal &&
           scan->segment_number == segment_number;
}

static int check_segment_header(struct segment_scan *scan, const struct segment_header *header,
                                uint64_t file_bytes)
{
    if (memcmp(header->magic, SEGMENT_HEADER_MAGIC, sizeof(header->magic)) != 0)
        return fault(scan, 0, "segment header magic is wrong");
    if (base_crc32c(header, offsetof(struct segment_header, crc32c)) != header->crc32c)
        return fault(scan, 0, "segment header checksum is wrong");
    if (header->version_major != SEGMENT_VERSION_MAJOR)
        return fault(scan, 8, "segment format has another major version than this program reads");
    if (!is_ours(scan, header->node_id, header->journal, header->segment_number))
        return fault(scan, 16, "segment belongs to another node, journal or position");
    if (header->header_bytes != SEGMENT_BLOCK_BYTES || header->file_bytes < file_bytes ||
        header->first_sequence == 0 || header->segment_number == 0 || header->reserved != 0 ||
        !is_zero(header->zeros, sizeof(header->zeros)))
        return fault(scan, 12, "segment header fields are not of this version");
    return SEGMENT_SCAN_OK;
}

int segment_scan_begin(struct segment_scan *scan, struct segment_file *file,
                       const struct segment_scan_expected *expected, struct base_error *error)
{
    *scan = (struct segment_scan){
        .journal = expected->journal,
        .segment_number = expected->segment_number,
        .offset = SEGMENT_BLOCK_BYTES,
    };
    memcpy(scan->node_id, expected->node_id, SEGMENT_NODE_BYTES);
    const uint8_t *data;
    int result = segment_file_read(file, 0, SEGMENT_BLOCK_BYTES, &data, error);
    if (result < 0)
        return result;
    if (result == 0)
        return fault(scan, 0, "segment file is shorter than its header");
    if (is_zero(data, SEGMENT_BLOCK_BYTES))
        return SEGMENT_SCAN_ZERO;
    struct segment_header header;
    memcpy(&header, data, sizeof(header));
    result = check_segment_header(scan, &header, file->bytes);
    if (result != SEGMENT_SCAN_OK)
        return result;
    scan->first_sequence = header.first_sequence;
    scan->next_sequence = header.first_sequence;
    scan->created_bytes = header.file_bytes;
    memcpy(scan->hash, header.chain_start, SEGMENT_HASH_BYTES);
    return SEGMENT_SCAN_OK;
}

static int check_batch_header(struct segment_scan *scan, const struct segment_batch_header *header)
{
    size_t covered = offsetof(struct segment_batch_header, header_bytes);
    if (memcmp(header->magic, SEGMENT_BATCH_MAGIC, sizeof(header->magic)) != 0)
        return fault(scan, scan->offset, "batch magic is wrong");
    if (base_crc32c((const uint8_t *)header + covered, sizeof(*header) - covered) != header->crc32c)
        return fault(scan, scan->offset, "batch header checksum is wrong");
    if (!is_ours(scan, header->node_id, header->journal, header->segment_number))
        return fault(scan, scan->offset, "batch belongs to another node, journal or segment");
    if (header->header_bytes != sizeof(*header) || header->reserved != 0 ||
        header->batch_bytes % SEGMENT_BLOCK_BYTES != 0 || header->batch_bytes < sizeof(*header) ||
        header->batch_bytes > SEGMENT_BATCH_BYTES_LIMIT ||
        header->payload_bytes > header->batch_bytes - sizeof(*header) ||
        segment_round_up(sizeof(*header) + header->payload_bytes, SEGMENT_BLOCK_BYTES) !=
            header->batch_bytes)
        return fault(scan, scan->offset, "batch lengths contradict each other");
    if (header->batch_number != scan->batch_number)
        return fault(scan, scan->offset, "batch is not the next one of its segment");
    if (header->first_sequence != scan->next_sequence)
        return fault(scan, scan->offset, "batch does not go on with the next sequence");
    if (header->watermark >= header->first_sequence || header->watermark < scan->watermark)
        return fault(scan, scan->offset, "batch carries an impossible watermark");
    if (memcmp(header->previous_hash, scan->hash, SEGMENT_HASH_BYTES) != 0)
        return fault(scan, scan->offset, "batch does not continue the hash chain");
    return SEGMENT_SCAN_OK;
}

static int check_record(struct segment_scan *scan, const uint8_t *payload, size_t at, size_t bytes,
                        uint64_t sequence, size_t *record_bytes_out)
{
    struct record_envelope envelope;
    uint64_t offset = scan->offset + sizeof(struct segment_batch_header) + at;
    const char *what;
    *record_bytes_out = record_decode(payload + at, bytes - at, &envelope, &what);
    if (*record_bytes_out == 0)
        return fault(scan, offset, what);
    if (envelope.sequence != sequence)
        return fault(scan, offset, "record is not the next of its batch");
    uint8_t digest[SHA256_BYTES];
    base_sha256_of(envelope.body, envelope.body_bytes, digest);
    if (memcmp(digest, envelope.body_sha256, sizeof(digest)) != 0)
        return fault(scan, offset, "body does not have its SHA-256");
    if (scan->oldest_received_at_ns == 0 || envelope.received_at_ns < scan->oldest_received_at_ns)
        scan->oldest_received_at_ns = envelope.received_at_ns;
    if (envelope.received_at_ns > scan->newest_received_at_ns)
        scan->newest_received_at_ns = envelope.received_at_ns;
    return SEGMENT_SCAN_OK;
}

static int check_payload(struct segment_scan *scan, const struct segment_batch_header *header,
                         const uint8_t *payload)
{
    size_t behind = header->batch_bytes - sizeof(*header);
    if (base_crc32c(payload, behind) != header->payload_crc32c)
        return fault(scan, scan->offset, "batch payload checksum is wrong");
    if (!is_zero(payload + header->payload_bytes, behind - header->payload_bytes))
        return fault(scan, scan->offset, "batch padding is not zero");
    size_t at = 0;
    for (uint32_t i = 0; i < header->record_count; i++) {
        size_t record_bytes;
        int result = check_record(scan, payload, at, header->payload_bytes,
                                  header->first_sequence + i, &record_bytes);
        if (result != SEGMENT_SCAN_OK)
            return result;
        at += record_bytes;
    }
    if (at != header->payload_bytes)
        return fault(scan, scan->offset, "batch holds more than its records");
    return SEGMENT_SCAN_OK;
}

void segment_scan_batch_hash(const struct segment_batch_header *header, const uint8_t *payload,
                             uint8_t hash_out[SEGMENT_HASH_BYTES])
{
    struct base_sha256 hash;
    base_sha256_init(&hash);
    base_sha256_update(&hash, header, sizeof(*header));
    size_t at = 0;
    for (uint32_t i = 0; i < header->record_count; i++) {
        struct segment_record_header record;
        memcpy(&record, payload + at, sizeof(record));
        base_sha256_update(&hash, payload + at, record.envelope_bytes);
        at += record.record_bytes;
    }
    CHECK(at == header->payload_bytes);
    base_sha256_final(&hash, hash_out);
}

/* What is at scan->offset when it is not a batch. */
static int classify(struct segment_scan *scan, const uint8_t *block)
{
    if (is_zero(block, SEGMENT_BLOCK_BYTES))
        return SEGMENT_SCAN_ZERO;
    if (memcmp(block, SEGMENT_FOOTER_MAGIC, 8) == 0)
        return SEGMENT_SCAN_FOOTER;
    return fault(scan, scan->offset, "batch magic is wrong");
}

static void step_over(struct segment_scan *scan, const struct segment_scan_batch *batch)
{
    segment_scan_batch_hash(&batch->header, batch->payload, scan->hash);
    scan->batch_number++;
    scan->next_sequence += batch->header.record_count;
    scan->watermark = batch->header.watermark;
    scan->last_record_count = batch->header.record_count;
    scan->offset += batch->header.batch_bytes;
}

int segment_scan_next(struct segment_scan *scan, struct segment_file *file,
                      struct segment_scan_batch *batch_out, struct base_error *error)
{
    const uint8_t *data;
    int result = segment_file_read(file, scan->offset, SEGMENT_BLOCK_BYTES, &data, error);
    if (result < 0)
        return result;
    if (result == 0)
        return scan->offset == file->bytes
                   ? SEGMENT_SCAN_ZERO
                   : fault(scan, scan->offset, "segment file ends inside a block");
    if (memcmp(data, SEGMENT_BATCH_MAGIC, 8) != 0)
        return classify(scan, data);
    struct segment_scan_batch batch = {.offset = scan->offset};
    memcpy(&batch.header, data, sizeof(batch.header));
    result = check_batch_header(scan, &batch.header);
    if (result != SEGMENT_SCAN_OK)
        return result;
    result = segment_file_read(file, scan->offset, batch.header.batch_bytes, &data, error);
    if (result < 0)
        return result;
    if (result == 0)
        return fault(scan, scan->offset, "segment file ends inside a batch");
    batch.payload = data + sizeof(batch.header);
    /* times only count when the whole batch does */
    uint64_t oldest = scan->oldest_received_at_ns, newest = scan->newest_received_at_ns;
    result = check_payload(scan, &batch.header, batch.payload);
    if (result != SEGMENT_SCAN_OK) {
        scan->oldest_received_at_ns = oldest;
        scan->newest_received_at_ns = newest;
        return result;
    }
    step_over(scan, &batch);
    *batch_out = batch;
    return SEGMENT_SCAN_OK;
}

/* Footer and trailer by themselves: magic, checksum, lengths, identity. */
static int check_footer_bytes(struct segment_scan *scan, struct segment_file *file, uint64_t offset,
                              struct segment_footer_header *footer_out, struct base_error *error)
{
    const uint8_t *data;
    int result = segment_file_read(file, offset, SEGMENT_BLOCK_BYTES, &data, error);
    if (result < 0)
        return result;
    if (result == 0 || memcmp(data, SEGMENT_FOOTER_MAGIC, 8) != 0)
        return fault(scan, offset, "footer magic is wrong");
    memcpy(footer_out, data, sizeof(*footer_out));
    uint32_t footer_bytes = footer_out->footer_bytes;
    /* the length is only a claim until the checksum over it holds; it bounds the read */
    if (footer_bytes % SEGMENT_BLOCK_BYTES != 0 || footer_bytes == 0 ||
        footer_bytes > file->bytes - offset)
        return fault(scan, offset, "footer length is impossible");
    result = segment_file_read(file, offset, footer_bytes, &data, error);
    if (result <= 0)
        return result < 0 ? result : fault(scan, offset, "segment file ends inside its footer");
    size_t covered = offsetof(struct segment_footer_header, footer_bytes);
    if (base_crc32c(data + covered, footer_bytes - covered) != footer_out->crc32c)
        return fault(scan, offset, "footer checksum is wrong");
    if (!is_ours(scan, footer_out->node_id, footer_out->journal, footer_out->segment_number))
        return fault(scan, offset, "footer belongs to another node, journal or segment");
    struct segment_trailer trailer;
    memcpy(&trailer, data + footer_bytes - sizeof(trailer), sizeof(trailer));
    size_t used =
        sizeof(*footer_out) + footer_out->batch_count * sizeof(struct segment_index_entry);
    if (footer_bytes != segment_footer_bytes(footer_out->batch_count) ||
        footer_out->reserved != 0 || footer_out->data_end != offset ||
        memcmp(trailer.magic, SEGMENT_TRAILER_MAGIC, sizeof(trailer.magic)) != 0 ||
        trailer.footer_offset != offset || trailer.footer_bytes != footer_bytes ||
        trailer.crc32c != base_crc32c(&trailer, offsetof(struct segment_trailer, crc32c)) ||
        trailer.reserved != 0 ||
        !is_zero(data + used, footer_bytes - used - sizeof(struct segment_trailer)))
        return fault(scan, offset, "footer fields contradict each other");
    return SEGMENT_SCAN_OK;
}

int segment_scan_footer(struct segment_scan *scan, struct segment_file *file,
                        struct base_error *error)
{
    struct segment_footer_header footer;
    int result = check_footer_bytes(scan, file, scan->offset, &footer, error);
    if (result != SEGMENT_SCAN_OK)
        return result;
    if (footer.batch_count != scan->batch_number || footer.first_sequence != scan->first_sequence ||
        footer.next_sequence != scan->next_sequence ||
        footer.record_count != scan->next_sequence - scan->first_sequence ||
        footer.oldest_received_at_ns != scan->oldest_received_at_ns ||
        footer.newest_received_at_ns != scan->newest_received_at_ns ||
        memcmp(footer.last_hash, scan->hash, SEGMENT_HASH_BYTES) != 0)
        return fault(scan, scan->offset, "footer does not describe its segment");
    return SEGMENT_SCAN_OK;
}

int segment_scan_sealed(struct segment_scan *scan, struct segment_file *file,
                        const struct segment_scan_expected *expected,
                        struct segment_footer_header *footer_out, struct base_error *error)
{
    int result = segment_scan_begin(scan, file, expected, error);
    if (result == SEGMENT_SCAN_ZERO)
        return fault(scan, 0, "sealed segment has no header");
    if (result != SEGMENT_SCAN_OK)
        return result;
    const uint8_t *data;
    struct segment_trailer trailer;
    uint64_t at = file->bytes - sizeof(trailer);
    result = segment_file_read(file, at, sizeof(trailer), &data, error);
    if (result <= 0)
        return result < 0 ? result : fault(scan, at, "sealed segment has no trailer");
    memcpy(&trailer, data, sizeof(trailer));
    if (memcmp(trailer.magic, SEGMENT_TRAILER_MAGIC, sizeof(trailer.magic)) != 0 ||
        trailer.crc32c != base_crc32c(&trailer, offsetof(struct segment_trailer, crc32c)) ||
        trailer.footer_offset + trailer.footer_bytes != file->bytes)
        return fault(scan, at, "sealed segment has no valid trailer");
    result = check_footer_bytes(scan, file, trailer.footer_offset, footer_out, error);
    if (result != SEGMENT_SCAN_OK)
        return result;
    if (footer_out->first_sequence != scan->first_sequence ||
        footer_out->next_sequence != scan->first_sequence + footer_out->record_count)
        return fault(scan, trailer.footer_offset, "footer does not describe its segment");
    scan->batch_number = footer_out->batch_count;
    scan->next_sequence = footer_out->next_sequence;
    scan->offset = footer_out->data_end;
    memcpy(scan->hash, footer_out->last_hash, SEGMENT_HASH_BYTES);
    return SEGMENT_SCAN_OK;
}

int segment_scan_search(struct segment_scan *scan, struct segment_file *file, uint64_t offset,
                        struct base_error *error)
{
    size_t covered = offsetof(struct segment_batch_header, header_bytes);
    for (; offset + SEGMENT_BLOCK_BYTES <= file->bytes; offset += SEGMENT_BLOCK_BYTES) {
        const uint8_t *data;
        int result = segment_file_read(file, offset, SEGMENT_BLOCK_BYTES, &data, error);
        if (result <= 0)
            return result < 0 ? result : SEGMENT_SCAN_ZERO;
        struct segment_batch_header header;
        memcpy(&header, data, sizeof(header));
        if (memcmp(header.magic, SEGMENT_BATCH_MAGIC, sizeof(header.magic)) == 0 &&
            base_crc32c(data + covered, sizeof(header) - covered) == header.crc32c &&
            is_ours(scan, header.node_id, header.journal, header.segment_number)) {
            scan->fault_offset = offset;
            return SEGMENT_SCAN_OK;
        }
        struct segment_footer_header footer;
        result = check_footer_bytes(scan, file, offset, &footer, error);
        if (result < 0)
            return result;
        if (result == SEGMENT_SCAN_OK) {
            scan->fault_offset = offset;
            return SEGMENT_SCAN_OK;
        }
    }
    return SEGMENT_SCAN_ZERO;
}
