/* The open batch: records are encoded once, straight into the memory that the disk reads.
 *
 * Owner: a journal, that is its worker. Two of them take turns: one open, one in flight.
 */
#ifndef SLUICE_SEGMENT_BATCH_H
#define SLUICE_SEGMENT_BATCH_H

#include "record/encode.h"
#include "segment/format.h"

#include <stdbool.h>

struct segment_batch {
    uint8_t *buffer;         /* block-aligned; the batch header comes first */
    uint32_t capacity_bytes; /* a multiple of SEGMENT_BLOCK_BYTES */
    uint32_t used_bytes;     /* header and records */
    uint32_t record_count;
    uint64_t oldest_received_at_ns, newest_received_at_ns; /* 0 without records */
};

void segment_batch_init(struct segment_batch *batch, uint8_t *buffer, uint32_t capacity_bytes);
void segment_batch_reset(struct segment_batch *batch);

bool segment_batch_fits(const struct segment_batch *batch, size_t record_bytes);

/* Encodes one record behind the others; it must fit. */
void segment_batch_append(struct segment_batch *batch, const struct record_envelope *envelope);

/* Adds a record that is encoded already, byte for byte; it must fit and be valid. For repair. */
void segment_batch_copy(struct segment_batch *batch, const uint8_t *record, size_t bytes);

/* Bytes that go to disk, with padding. */
uint32_t segment_batch_bytes(const struct segment_batch *batch);

/* Pads, fills in lengths and checksums of `header` (its other fields are the caller's), puts it in
 * front and computes the hash that the next batch will carry. */
void segment_batch_finish(struct segment_batch *batch, struct segment_batch_header *header,
                          uint8_t hash_out[SEGMENT_HASH_BYTES]);

#endif
