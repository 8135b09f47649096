/* Where a reader stands in a journal, and which of what it finds there may still vanish.
 *
 * Whatever was written and not flushed may vanish: a kernel drops it after a failed flush, and the
 * engine that starts next writes something else in its place. Nothing vouches for itself. A batch
 * vouches for the header of its segment and for the records up to its watermark, a footer and the
 * header of the next segment for everything before them, and the mark for the records up to it. So
 * a place only ever moves behind a batch for which something else vouches; an empty batch, a footer
 * and a segment header are looked at again from there, as often as it takes.
 *
 * Owner: a reader (include/sluice/reader.h); one thread. Functions return a negative errno, with a
 * sentence in sight->error, when the disk fails, and -EBADMSG for damage.
 */
#ifndef SLUICE_SEGMENT_PLACE_H
#define SLUICE_SEGMENT_PLACE_H

#include "segment/catalog.h"
#include "segment/scan.h"
#include "segment/watermark.h"

/* What a reader sees of its journal. */
struct segment_sight {
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    uint32_t journal;
    int journal_fd;   /* -1: the journal does not exist yet */
    uint64_t visible; /* the mark fetched last; never goes back */
    struct base_error error;
};

/* Behind the last batch that was stepped over, or behind the header. */
struct segment_place {
    bool is_open;
    bool is_sealed; /* the file was, when it was opened */
    struct segment_file file;
    struct segment_scan scan;
};

/* Fetches the mark. What is read from now on of a place that was looked at before must be read
 * anew: segment_place_refresh. */
int segment_sight_fetch_mark(struct segment_sight *sight);

/* Behind the header of segment `number`. 1, or 0 when the segment is not there or not in use as
 * yet. `before` is the sequence that comes next before it: where the mark covers that one, a header
 * that is not valid is damage and not under way. */
int segment_place_open(struct segment_sight *sight, uint64_t number, uint64_t before,
                       struct segment_place *place_out);

void segment_place_close(struct segment_place *place); /* fine when it is not open */

/* Forgets what was read of the file. */
int segment_place_refresh(struct segment_sight *sight, struct segment_place *place);

/* What stands there: SEGMENT_SCAN_OK and the batch, with *scan_out behind it; SEGMENT_SCAN_FOOTER,
 * a valid one; SEGMENT_SCAN_ZERO: nothing; SEGMENT_SCAN_FAULT: something else, and place->scan says
 * what. In a sealed segment the last two are damage. */
int segment_place_look(struct segment_sight *sight, struct segment_place *place,
                       struct segment_scan *scan_out, struct segment_scan_batch *batch_out);

/* 1 when the batch between the place and `behind` can not vanish any more, else 0. */
int segment_place_is_final(struct segment_sight *sight, struct segment_place *place,
                           const struct segment_scan *behind);

/* Whether `next`, behind its header, goes on where `scan` ends. */
bool segment_place_continues(const struct segment_place *next, const struct segment_scan *scan);

/* There is no batch and no footer at the place, and the next segment is not in use: the end, as
 * yet, or a write under way, 0; or damage. */
int segment_place_judge_end(struct segment_sight *sight, struct segment_place *place);

/* -EBADMSG with a sentence. */
int segment_place_damaged(struct segment_sight *sight, const struct segment_place *place,
                          uint64_t offset, const char *what);

#endif
