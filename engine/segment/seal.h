/* Sealing: the footer, its flush, the rename that makes a segment `.sealed` and read-only.
 *
 * Called by the control thread while the engine runs and by recovery at start. Every step may be
 * cut off by a crash: recovery finds either a complete footer (and finishes) or a torn one (and
 * writes it again), because everything the footer says can be read from the batches.
 */
#ifndef SLUICE_SEGMENT_SEAL_H
#define SLUICE_SEGMENT_SEAL_H

#include "segment/catalog.h"

/* The batch index of a segment that is being written. Owner: the worker, until the segment is
 * handed over to be sealed. Memory reserved at start for the largest possible count. */
struct segment_index {
    struct segment_index_entry *entries;
    uint32_t count;
    uint32_t capacity;
    uint64_t first_sequence;
    uint64_t record_count;
    uint64_t oldest_received_at_ns, newest_received_at_ns;
};

/* Batches that fit a segment of that size at most. */
uint32_t segment_index_capacity(uint64_t segment_bytes);

/* Empties the index for a segment whose first record has that sequence. */
void segment_index_start(struct segment_index *index, uint64_t first_sequence);

void segment_index_add(struct segment_index *index, const struct segment_index_entry *entry,
                       uint64_t oldest_received_at_ns, uint64_t newest_received_at_ns);

/* A full segment on its way to be sealed. */
struct segment_sealable {
    int fd; /* closed by segment_seal, whatever happens */
    uint32_t journal;
    uint64_t segment_number;
    uint64_t data_end; /* offset behind the last batch */
    uint8_t last_hash[SEGMENT_HASH_BYTES];
    const struct segment_index *index;
};

int segment_seal(const struct segment_catalog *catalog, int journal_fd,
                 const struct segment_sealable *sealable, struct base_error *error);

#endif
