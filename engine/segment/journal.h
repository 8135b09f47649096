/* The journal of one worker: which segment is open, what the next batch must say, and the order of
 * write and flush.
 *
 * Owner: one worker; only that thread calls. A state machine over segment/io.h: at most one
 * operation is under way, and each completion leads to the next one or ends the batch:
 *
 *   IDLE -> [HEADER_WRITE -> HEADER_FLUSH ->] BATCH_WRITE -> BATCH_FLUSH -> IDLE
 *                any failure, in any state but IDLE -> FAILED, for good
 *
 * The flush is submitted only after the write's completion reported every byte; a short write goes
 * on where it stopped; 0 is a failure. After a failure nothing is written or acknowledged any more
 * and the flush is not tried again: the kernel may have dropped the dirty pages, and a second
 * flush would succeed without them.
 */
#ifndef SLUICE_SEGMENT_JOURNAL_H
#define SLUICE_SEGMENT_JOURNAL_H

#include "segment/batch.h"
#include "segment/handoff.h"
#include "segment/io.h"
#include "segment/watermark.h"

#define SEGMENT_JOURNAL_MAGIC 0x70524E4Cu

enum segment_journal_state {
    SEGMENT_JOURNAL_IDLE,
    SEGMENT_JOURNAL_HEADER_WRITE,
    SEGMENT_JOURNAL_HEADER_FLUSH,
    SEGMENT_JOURNAL_BATCH_WRITE,
    SEGMENT_JOURNAL_BATCH_FLUSH,
    SEGMENT_JOURNAL_FAILED,
};

enum segment_journal_start {
    SEGMENT_JOURNAL_NOTHING, /* no record and no mark to write */
    SEGMENT_JOURNAL_STARTED, /* an operation is under way */
    SEGMENT_JOURNAL_BLOCKED, /* no prepared segment yet; see handoff->shortage */
};

enum segment_journal_event {
    SEGMENT_JOURNAL_CONTINUES, /* the next operation is under way */
    SEGMENT_JOURNAL_DURABLE,   /* the batch is on disk, the watermark published */
    SEGMENT_JOURNAL_BROKEN,    /* FAILED from now on; `failure` and `failed_operation` say why */
};

struct segment_journal {
    uint32_t magic;
    uint32_t journal;
    uint8_t node_id[SEGMENT_NODE_BYTES];
    struct segment_io *io;
    struct segment_watermark *watermark;
    struct segment_handoff *handoff;
    enum segment_journal_state state;

    int fd; /* of the segment in use; -1 before the first */
    uint64_t segment_number;
    uint64_t file_bytes;
    uint64_t write_offset;            /* of the next batch */
    uint64_t batch_number;            /* of the next batch in this segment */
    uint8_t hash[SEGMENT_HASH_BYTES]; /* of the last batch that was started */
    struct segment_index *index;      /* of the segment in use */
    struct segment_index indexes[2];  /* the other one may be with a sealable */

    struct segment_batch batches[2];
    struct segment_batch *open;   /* takes records */
    struct segment_batch *flying; /* is being written */
    uint64_t flying_first_sequence;
    uint64_t next_sequence; /* of the next record appended */
    uint64_t durable;       /* the watermark */
    bool mark_owed;         /* the last batch on disk held records that no mark covers */

    const uint8_t *io_data; /* what is left of the write under way */
    uint32_t io_bytes;
    uint64_t io_offset;
    uint32_t short_writes;               /* in a row, that completed no block */
    struct segment_header *header_block; /* one block, aligned */
    int failure;                         /* negative errno, 0: none */
    const char *failed_operation;        /* "write" or "flush" */
};

/* Where recovery left off. */
struct segment_journal_start_point {
    uint32_t journal;
    bool has_segment; /* false: the first prepared segment will be taken into use */
    bool mark_owed;
    int fd;
    uint64_t segment_number;
    uint64_t file_bytes;
    uint64_t write_offset;
    uint64_t batch_number;
    uint64_t next_sequence;
    uint8_t hash[SEGMENT_HASH_BYTES];
    struct segment_index index; /* entries owned by the point; copied */
};

/* Memory the journal needs, one aligned block of it, for the budget. */
size_t segment_journal_bytes(uint64_t batch_bytes, uint64_t segment_bytes);

/* `memory` is block-aligned and has segment_journal_bytes() bytes. `segment_bytes` is the largest
 * segment that will be used, recovered ones included. */
void segment_journal_init(struct segment_journal *journal, void *memory, uint64_t batch_bytes,
                          uint64_t segment_bytes, const struct segment_catalog *catalog,
                          const struct segment_journal_start_point *point, struct segment_io *io,
                          struct segment_watermark *watermark, struct segment_handoff *handoff);

/* The open batch: whether a record fits, and adding it. Sets envelope->sequence. */
bool segment_journal_fits(const struct segment_journal *journal, size_t record_bytes);
void segment_journal_append(struct segment_journal *journal, struct record_envelope *envelope);

/* Takes back every record of the open batch; none of it was written. */
void segment_journal_abandon(struct segment_journal *journal);

/* Starts writing the open batch; with `mark` also an empty one when a mark is owed. Only in IDLE.
 */
enum segment_journal_start segment_journal_start(struct segment_journal *journal, bool mark);

/* Takes the completion of the operation under way. */
enum segment_journal_event segment_journal_complete(struct segment_journal *journal, int result);

/* Ends the journal for a failure outside of it (sealing, preparing); only while nothing is under
 * way. */
void segment_journal_poison(struct segment_journal *journal, int failure, const char *operation);

bool segment_journal_is_busy(const struct segment_journal *journal);

#endif
