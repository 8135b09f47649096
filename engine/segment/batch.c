#include "segment/batch.h"

#include "base/check.h"
#include "base/checksum.h"
#include "segment/scan.h"

#include <string.h>

void segment_batch_init(struct segment_batch *batch, uint8_t *buffer, uint32_t capacity_bytes)
{
    CHECK(((uintptr_t)buffer & (SEGMENT_BLOCK_BYTES - 1)) == 0);
    CHECK(capacity_bytes % SEGMENT_BLOCK_BYTES == 0);
    *batch = (struct segment_batch){.buffer = buffer, .capacity_bytes = capacity_bytes};
    segment_batch_reset(batch);
}

void segment_batch_reset(struct segment_batch *batch)
{
    batch->used_bytes = sizeof(struct segment_batch_header);
    batch->record_count = 0;
    batch->oldest_received_at_ns = batch->newest_received_at_ns = 0;
}

bool segment_batch_fits(const struct segment_batch *batch, size_t record_bytes)
{
    return record_bytes <= batch->capacity_bytes - batch->used_bytes;
}

static void count_record(struct segment_batch *batch, uint64_t at)
{
    batch->record_count++;
    if (batch->oldest_received_at_ns == 0 || at < batch->oldest_received_at_ns)
        batch->oldest_received_at_ns = at;
    if (at > batch->newest_received_at_ns)
        batch->newest_received_at_ns = at;
}

void segment_batch_append(struct segment_batch *batch, const struct record_envelope *envelope)
{
    CHECK_SLOW(segment_batch_fits(batch, record_encode_bytes(envelope)));
    batch->used_bytes += (uint32_t)record_encode(envelope, batch->buffer + batch->used_bytes);
    CHECK(batch->used_bytes <= batch->capacity_bytes);
    count_record(batch, envelope->received_at_ns);
}

void segment_batch_copy(struct segment_batch *batch, const uint8_t *record, size_t bytes)
{
    struct segment_record_header header;
    CHECK(segment_batch_fits(batch, bytes));
    memcpy(&header, record, sizeof(header));
    memcpy(batch->buffer + batch->used_bytes, record, bytes);
    batch->used_bytes += (uint32_t)bytes;
    count_record(batch, header.received_at_ns);
}

uint32_t segment_batch_bytes(const struct segment_batch *batch)
{
    return (uint32_t)segment_round_up(batch->used_bytes, SEGMENT_BLOCK_BYTES);
}

void segment_batch_finish(struct segment_batch *batch, struct segment_batch_header *header,
                          uint8_t hash_out[SEGMENT_HASH_BYTES])
{
    uint8_t *payload = batch->buffer + sizeof(*header);
    header->header_bytes = sizeof(*header);
    header->record_count = batch->record_count;
    header->payload_bytes = batch->used_bytes - (uint32_t)sizeof(*header);
    header->batch_bytes = segment_batch_bytes(batch);
    memset(batch->buffer + batch->used_bytes, 0, header->batch_bytes - batch->used_bytes);
    header->payload_crc32c = base_crc32c(payload, header->batch_bytes - sizeof(*header));
    size_t covered = offsetof(struct segment_batch_header, header_bytes);
    header->crc32c = base_crc32c((const uint8_t *)header + covered, sizeof(*header) - covered);
    memcpy(batch->buffer, header, sizeof(*header));
    segment_scan_batch_hash(header, payload, hash_out);
}
