/* What stands behind the last valid batch of a segment in use: nothing, a footer, a torn tail, or
 * damage. Recovery cuts what is torn and refuses what is damaged; repair takes up exactly what
 * recovery refuses, so both ask here.
 *
 * Changes nothing. Owner: the caller; one thread at a time.
 */
#ifndef SLUICE_SEGMENT_TAIL_H
#define SLUICE_SEGMENT_TAIL_H

#include "segment/scan.h"

enum segment_tail_kind {
    SEGMENT_TAIL_CLEAN,    /* zeros up to the end of the file */
    SEGMENT_TAIL_COMPLETE, /* a valid footer */
    SEGMENT_TAIL_TORN,     /* an unfinished write that was never acknowledged */
    SEGMENT_TAIL_DAMAGED,
};

struct segment_tail {
    enum segment_tail_kind kind;
    uint64_t torn_end; /* behind a torn tail, a multiple of the block */
    uint64_t offset;   /* DAMAGED: of what is wrong in the file */
    const char *what;  /* DAMAGED */
};

/* Steps over every valid batch. What segment_scan_next says behind them, or an I/O error. */
int segment_tail_find(struct segment_scan *scan, struct segment_file *file,
                      struct base_error *error);

/* For the last open segment in use of a journal, with `scan` behind its last valid batch; `found`
 * is what segment_tail_find said, `mark` is the journal's in the watermark file. That the mark
 * reaches beyond a clean or complete segment is for the caller to see. 0 or an I/O error.
 */
int segment_tail_judge(struct segment_scan *scan, struct segment_file *file, int found,
                       uint64_t mark, struct segment_tail *tail_out, struct base_error *error);

/* An open segment has the size it was created with, until a footer is behind its batches: a shorter
 * one was cut, and what is missing may have been acknowledged. 1: the size is right, 0: cut. */
int segment_tail_check_size(const struct segment_scan *scan, struct segment_file *file, int found,
                            struct base_error *error);

#endif
