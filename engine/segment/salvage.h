/* What of a damaged segment is still good behind the damage, and up to which sequence number the
 * journal owes records: the evidence that repair works from.
 *
 * Changes nothing. Owner: the caller; one thread at a time.
 */
#ifndef SLUICE_SEGMENT_SALVAGE_H
#define SLUICE_SEGMENT_SALVAGE_H

#include "segment/scan.h"

/* An intact record, as it lies in the damaged file. */
struct segment_salvaged {
    uint64_t sequence;
    uint64_t offset;
    uint32_t bytes;
    uint8_t sha256[SEGMENT_HASH_BYTES]; /* of the whole record, to compare two candidates */
};

struct segment_salvage {
    struct segment_salvaged *records; /* ascending, each sequence once; the caller frees it */
    size_t count;
    size_t capacity;
    uint64_t owed; /* every number up to this one may have been acknowledged; 0: no evidence */
};

/* Collects the intact records with numbers from scan->next_sequence on that lie at or behind
 * scan->offset, and what batch headers and footers there say about what was durable.
 *
 * A record counts as intact when it lies in a batch whose header is valid (checksum, node, journal,
 * segment, lengths), its own checksum and its body's SHA-256 hold, and its number is within the
 * header's range. Whether the batch continues the hash chain is not asked: the damage broke it.
 *
 * 0, an I/O error, or -EBADMSG when two intact records claim the same number and differ. */
int segment_salvage_collect(const struct segment_scan *scan, struct segment_file *file,
                            struct segment_salvage *salvage_out, struct base_error *error);

void segment_salvage_fini(struct segment_salvage *salvage);

#endif
