/* What a journal looks like after a crash, and making it fit to go on.
 *
 * Called by the server at start, under the catalog's lock, before any thread runs. Sealed segments
 * are judged by header and footer; each open one is flushed, then read whole with direct I/O, and
 * only then decided upon. Recovery may be cut off at any point and simply runs again: a torn tail
 * is copied aside before it is cut, and a footer is written before a segment is renamed.
 */
#ifndef SLUICE_SEGMENT_RECOVERY_H
#define SLUICE_SEGMENT_RECOVERY_H

#include "segment/journal.h"

struct segment_recovery {
    struct segment_journal_start_point point; /* where the worker goes on */
    bool has_prepared;                        /* an unused segment of the right size was found */
    struct segment_prepared prepared;
    uint64_t next_segment_number; /* of the next segment to prepare */
    uint64_t segments_sealed;     /* how many sealed ones there are, the ones sealed now included */
    uint64_t torn_bytes;          /* cut behind the last valid batch; 0: nothing */
    uint64_t segment_bytes_max;   /* the largest open segment found, for the index's capacity */
};

/* -EBADMSG: damage; the text names file, offset and the command that shows more. On success the
 * caller owns recovery_out->point.fd and prepared.fd, and frees it with segment_recovery_fini. */
int segment_recover(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                    const struct segment_watermark *watermark, uint64_t segment_bytes,
                    struct segment_recovery *recovery_out, struct base_error *error);

/* Frees the index entries; the descriptors stay open. */
void segment_recovery_fini(struct segment_recovery *recovery);

#endif
