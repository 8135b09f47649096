/* Preparing a segment: the whole file as zeros, written through O_DIRECT (so that later direct
 * writes neither extend it nor meet cached pages), flushed, renamed, directory flushed.
 *
 * Owner: the control thread, which does it in steps so that signals are not kept waiting; at start
 * the server runs all steps at once for a journal that has no segment yet.
 */
#ifndef SLUICE_SEGMENT_PREPARE_H
#define SLUICE_SEGMENT_PREPARE_H

#include "segment/catalog.h"
#include "segment/handoff.h"

#define SEGMENT_PREPARE_STEP_BYTES 1048576 /* some milliseconds of one disk */

struct segment_preparation {
    int fd; /* -1: none under way */
    int journal_fd;
    uint32_t journal;
    uint64_t segment_number;
    uint64_t segment_bytes;
    uint64_t written_bytes;
};

void segment_prepare_init(struct segment_preparation *preparation);

int segment_prepare_begin(struct segment_preparation *preparation,
                          const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                          uint64_t segment_number, uint64_t segment_bytes,
                          struct base_error *error);

/* One step. 1: done, `prepared_out` is the caller's; 0: call again; negative: failed, and what was
 * begun is removed. */
int segment_prepare_step(struct segment_preparation *preparation,
                         const struct segment_catalog *catalog,
                         struct segment_prepared *prepared_out, struct base_error *error);

/* Gives up what was begun, if anything. */
void segment_prepare_cancel(struct segment_preparation *preparation);

#endif
