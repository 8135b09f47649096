/* A journal over the disk in memory; the test ends each operation itself and sees each step.
 *
 * Owner: the test; one per process.
 */
#ifndef SLUICE_TESTS_MEMORY_JOURNAL_H
#define SLUICE_TESTS_MEMORY_JOURNAL_H

#include "memory_disk.h"
#include "segment/journal.h"

#define MEMORY_JOURNAL_NUMBER      3
#define MEMORY_JOURNAL_BATCH_BYTES 16384

struct memory_journal {
    struct memory_disk disk;
    struct segment_catalog catalog; /* only its node id */
    struct segment_watermark watermark;
    struct segment_handoff handoff;
    struct segment_journal journal;
    void *memory;
};

/* An empty journal whose first segment, number 1 on descriptor 1, is prepared. */
void memory_journal_init(struct memory_journal *rig);
void memory_journal_fini(struct memory_journal *rig);

/* Puts segment `number` into the mailbox, on the descriptor of the same number. */
void memory_journal_prepare(struct memory_journal *rig, uint64_t number);

uint64_t memory_journal_append(struct memory_journal *rig, size_t body_bytes);
enum segment_journal_start memory_journal_start(struct memory_journal *rig, bool mark);

/* Ends the operation under way and tells the journal. */
enum segment_journal_event memory_journal_finish(struct memory_journal *rig, int result);
enum segment_journal_event memory_journal_succeed(struct memory_journal *rig);

/* A record of one block, durable: write and flush, a new segment's header before when needed. */
void memory_journal_put(struct memory_journal *rig);

/* Starts a batch of one record and ends what comes before its own write. */
void memory_journal_start_batch(struct memory_journal *rig, size_t body_bytes);

/* The operation under way must be this. */
void memory_journal_expect_write(const struct memory_journal *rig, int fd, uint64_t offset,
                                 uint32_t bytes);
void memory_journal_expect_flush(const struct memory_journal *rig, int fd);

/* What readers may see. */
uint64_t memory_journal_watermark(const struct memory_journal *rig);

/* Journal and disk agree that all is over: FAILED, nothing under way, nothing published since. */
void memory_journal_expect_poisoned(struct memory_journal *rig, int failure, const char *operation);

#endif
