/* A way on when recovery refuses because the tail of a journal is damaged: bytes that are wrong, or
 * acknowledged records that are missing, in the last segment in use.
 *
 * A plan is made without changing anything. Applying it puts a replacement under the segment's
 * name: the valid batches byte for byte, then for each number up to the last one owed either the
 * intact record from behind the damage or a record of kind `lost`. The damaged file stays, whole,
 * in DIR/damaged/. No valid record is lost and no sequence number is used twice.
 *
 * Owner: the command. Applying needs the catalog's lock; planning only reads, but beside a running
 * engine it may take what is being written for damage. Calls block on the disk. Not threadsafe.
 */
#ifndef SLUICE_SEGMENT_REPAIR_H
#define SLUICE_SEGMENT_REPAIR_H

#include "base/clock.h"
#include "segment/catalog.h"
#include "segment/salvage.h"
#include "segment/watermark.h"

/* Room for the finding of a lost record: its code, a NUL, and the details. */
#define SEGMENT_REPAIR_FINDING_BYTES 128

struct segment_repair {
    bool needed; /* false: the journal is fit to go on, and nothing below is set */
    const struct segment_catalog *catalog;
    int journal_fd; /* the caller's */
    uint32_t journal;
    enum segment_state state;     /* of the damaged file */
    struct segment_file file;     /* the damaged file, open for reading */
    struct segment_scan scan;     /* behind its last valid batch, where the damage begins */
    struct segment_header header; /* as stored, or made again */
    bool header_is_made;          /* the stored one was damaged */
    uint64_t damage_offset;       /* what is reported; in the file */
    const char *damage;
    struct segment_salvage salvage;
    uint64_t last; /* sequence number of the last record that the replacement holds */
    uint64_t repaired_at_ns;
    char finding[SEGMENT_REPAIR_FINDING_BYTES]; /* of every lost record */
    uint32_t finding_bytes;
    char kept_name[80]; /* of the damaged file, below DIR/damaged */
    bool is_kept;       /* a repair that was cut off has given it that name already */
};

/* Looks at one journal. 0 and the plan, which the caller frees with segment_repair_fini; -EBADMSG
 * when there is damage that repair does not help against, with a sentence that says so; another
 * negative errno when the journal could not be read. */
int segment_repair_plan(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                        const struct segment_watermark *watermark, struct segment_repair *plan_out,
                        struct base_error *error);

/* Whether a journal that recovery refused is one that repair helps. */
bool segment_repair_helps(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                          const struct segment_watermark *watermark);

/* Does what a plan that is `needed` says. After an error everything is as it was, unless the
 * sentence says otherwise; a repair that was cut off is simply run again. */
int segment_repair_apply(struct segment_repair *plan, struct base_error *error);

void segment_repair_fini(struct segment_repair *plan);

/* The run of numbers that begins at `from`, which is not below plan->scan.next_sequence, up to
 * plan->last: all of them rescued, or all of them lost. Returns its end. */
uint64_t segment_repair_run(const struct segment_repair *plan, uint64_t from, bool *rescued_out);

#endif
