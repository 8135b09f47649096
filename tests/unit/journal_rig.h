/* A journal on real files, driven by the test instead of threads: recovery, the journal's own code
 * over a synchronous segment_io (pwrite, fdatasync), and housekeeping only when asked.
 *
 * Owner: the test. Closing it is what kill -9 leaves: nothing is written or flushed any more.
 * Unless a function returns a code it asserts that it succeeds.
 */
#ifndef SLUICE_TESTS_JOURNAL_RIG_H
#define SLUICE_TESTS_JOURNAL_RIG_H

#include "segment/journal.h"
#include "segment/prepare.h"
#include "segment/recovery.h"
#include "test_files.h"

#define RIG_SEGMENT_BYTES       65536
#define RIG_BATCH_BYTES         16384
#define RIG_BODY_BYTES          200 /* of a record, unless the test says otherwise */
#define RIG_BATCHES_KEPT        256
#define RIG_BATCHES_PER_SEGMENT 14 /* of one block each: header + 14 + footer = 64 KiB */

/* Where a batch went. */
struct rig_batch {
    uint64_t segment_number;
    uint64_t offset;
    uint32_t bytes;
    uint64_t first_sequence;
    uint32_t record_count;
};

struct journal_rig {
    char directory[TEST_PATH_BYTES];
    uint32_t number; /* of the journal */
    uint64_t segment_bytes;
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    int journal_fd;
    struct segment_handoff handoff;
    struct segment_recovery recovery;
    struct segment_journal journal;
    void *memory;
    uint64_t next_segment_number; /* to prepare */
    struct segment_io io;
    int result; /* of the last operation, not yet reported */
    bool is_open;
    struct rig_batch batches[RIG_BATCHES_KEPT]; /* written since the rig was made */
    size_t batch_count;
    struct base_error error;
};

/* Nothing on disk yet; `directory` need not exist. */
void journal_rig_init(struct journal_rig *rig, const char *directory, uint32_t journal);

/* Opens the directory and recovers. 0 or the code of what failed, with rig->error set. */
int journal_rig_try_open(struct journal_rig *rig);
void journal_rig_open(struct journal_rig *rig);
void journal_rig_close(struct journal_rig *rig); /* fine when it is closed */
void journal_rig_reopen(struct journal_rig *rig);

/* Adds a record to the open batch; returns its sequence. */
uint64_t journal_rig_append(struct journal_rig *rig, size_t body_bytes);

/* Writes and flushes the open batch, or a mark. Prepares a segment, and seals the full one before
 * it, when the journal cannot go on without. */
void journal_rig_commit(struct journal_rig *rig);
void journal_rig_mark(struct journal_rig *rig);

/* `count` batches of one record each. */
void journal_rig_put(struct journal_rig *rig, unsigned count);

/* The same until the next batch goes to another segment. */
void journal_rig_fill(struct journal_rig *rig);

/* Housekeeping: prepares the next segment if none is waiting; seals the full one if there is. */
void journal_rig_prepare(struct journal_rig *rig);
void journal_rig_seal(struct journal_rig *rig);

/* Seals the segment in use, as an engine does at a roll; the next batch needs another segment. */
void journal_rig_seal_current(struct journal_rig *rig);

/* The last batch written, and one before it: 0 the last, 1 the one before. */
const struct rig_batch *journal_rig_batch(const struct journal_rig *rig, size_t from_end);

void journal_rig_path(const struct journal_rig *rig, uint64_t segment_number,
                      enum segment_state state, char path_out[TEST_PATH_BYTES]);

/* Puts a mark into the watermark file of a closed rig, or removes the file. */
void journal_rig_set_watermark(const struct journal_rig *rig, uint64_t sequence);
void journal_rig_remove_watermark(const struct journal_rig *rig);

/* Reads all through the public reader and asserts that records 1 to `last` come, once each, with
 * the bytes that journal_rig_append gave them. */
void journal_rig_expect_records(const struct journal_rig *rig, uint64_t last);

/* Asserts that segment_verify finds `damages` damaged places. */
void journal_rig_expect_damages(const struct journal_rig *rig, uint64_t damages);

#endif
