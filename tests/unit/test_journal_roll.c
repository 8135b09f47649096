/* From one segment to the next: what is handed over, what it waits for, and that sequences, marks
 * and the hash chain go on. */
#include "base/checksum.h"
#include "memory_journal.h"
#include "segment/scan.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define BATCHES_PER_SEGMENT 14 /* of one block: header + 14 + footer = 64 KiB */

static struct memory_journal rig;

static void set_up(void)
{
    memory_journal_init(&rig);
}

static void tear_down(void)
{
    memory_journal_fini(&rig);
}

TestSuite(journal_roll, .init = set_up, .fini = tear_down);

static const struct segment_header *segment_header(int fd)
{
    return (const struct segment_header *)(const void *)rig.disk.volatile_image[fd];
}

static const struct segment_batch_header *batch_at(int fd, uint64_t offset)
{
    return (const struct segment_batch_header *)(const void *)(rig.disk.volatile_image[fd] +
                                                               offset);
}

static void fill_segment(void)
{
    for (int i = 0; i < BATCHES_PER_SEGMENT; i++)
        memory_journal_put(&rig);
}

/* What the control thread does after a seal. */
static void sealed(void)
{
    cr_assert_not_null(load_acquire(&rig.handoff.sealable));
    store_release(&rig.handoff.sealable, NULL);
}

Test(journal_roll, the_segment_is_filled_until_only_the_footer_fits)
{
    fill_segment();
    cr_assert_eq(rig.journal.segment_number, 1);
    cr_assert_eq(rig.journal.write_offset, 61440);
    memory_journal_prepare(&rig, 2);
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_expect_write(&rig, 2, 0, 4096);
}

Test(journal_roll, the_next_segment_header_is_flushed_before_its_first_batch)
{
    fill_segment();
    memory_journal_prepare(&rig, 2);
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
    memory_journal_expect_write(&rig, 2, 0, 4096);
    cr_assert_null(load_acquire(&rig.handoff.prepared), "the mailbox is free again");
    memory_journal_succeed(&rig);
    memory_journal_expect_flush(&rig, 2);
    memory_journal_succeed(&rig);
    memory_journal_expect_write(&rig, 2, 4096, 4096);
    memory_journal_succeed(&rig);
    memory_journal_expect_flush(&rig, 2);
    cr_assert_eq(memory_journal_watermark(&rig), 14);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 15);
}

Test(journal_roll, the_header_continues_sequence_and_hash_chain)
{
    fill_segment();
    uint8_t hash[SEGMENT_HASH_BYTES];
    segment_scan_batch_hash(batch_at(1, 57344), rig.disk.volatile_image[1] + 57344 + 128, hash);
    memory_journal_prepare(&rig, 2);
    memory_journal_put(&rig);
    const struct segment_header *header = segment_header(2);
    cr_assert_eq(memcmp(header->magic, "SLUICSEG", 8), 0);
    cr_assert_eq(header->version_major, 1);
    cr_assert_eq(header->journal, MEMORY_JOURNAL_NUMBER);
    cr_assert_eq(header->segment_number, 2);
    cr_assert_eq(header->first_sequence, 15);
    cr_assert_eq(header->file_bytes, MEMORY_DISK_FILE_BYTES);
    cr_assert_eq(memcmp(header->node_id, rig.catalog.node_id, 16), 0);
    cr_assert_eq(memcmp(header->chain_start, hash, sizeof(hash)), 0);
    cr_assert_eq(header->crc32c, base_crc32c(header, 4092));
    cr_assert_eq(batch_at(2, 4096)->batch_number, 0);
    cr_assert_eq(batch_at(2, 4096)->first_sequence, 15);
    cr_assert_eq(batch_at(2, 4096)->watermark, 14);
    cr_assert_eq(memcmp(batch_at(2, 4096)->previous_hash, hash, sizeof(hash)), 0);
}

Test(journal_roll, the_first_segment_starts_the_chain_with_zeros)
{
    static const uint8_t zeros[SEGMENT_HASH_BYTES];
    memory_journal_put(&rig);
    cr_assert_eq(memcmp(segment_header(1)->chain_start, zeros, sizeof(zeros)), 0);
    cr_assert_eq(segment_header(1)->first_sequence, 1);
    cr_assert_null(load_acquire(&rig.handoff.sealable), "nothing was full");
}

Test(journal_roll, the_full_segment_is_handed_over_with_its_index)
{
    fill_segment();
    uint8_t hash[SEGMENT_HASH_BYTES];
    memcpy(hash, rig.journal.hash, sizeof(hash));
    memory_journal_prepare(&rig, 2);
    memory_journal_put(&rig);
    memory_journal_put(&rig);
    const struct segment_sealable *full = load_acquire(&rig.handoff.sealable);
    cr_assert_not_null(full);
    cr_assert_eq(full->fd, 1);
    cr_assert_eq(full->journal, MEMORY_JOURNAL_NUMBER);
    cr_assert_eq(full->segment_number, 1);
    cr_assert_eq(full->data_end, 61440);
    cr_assert_eq(memcmp(full->last_hash, hash, sizeof(hash)), 0);
    cr_assert_eq(full->index->count, BATCHES_PER_SEGMENT);
    cr_assert_eq(full->index->first_sequence, 1);
    cr_assert_eq(full->index->record_count, 14);
    for (uint32_t i = 0; i < full->index->count; i++) {
        cr_assert_eq(full->index->entries[i].offset, 4096 + i * 4096);
        cr_assert_eq(full->index->entries[i].first_sequence, i + 1);
        cr_assert_eq(full->index->entries[i].record_count, 1);
        cr_assert_eq(full->index->entries[i].batch_bytes, 4096);
    }
}

Test(journal_roll, a_batch_that_does_not_fit_the_rest_goes_to_the_next_segment_whole)
{
    for (int i = 0; i < BATCHES_PER_SEGMENT - 2; i++)
        memory_journal_put(&rig);
    memory_journal_prepare(&rig, 2);
    memory_journal_start_batch(&rig, 13000);
    memory_journal_expect_write(&rig, 2, 4096, 16384);
    cr_assert_eq(load_acquire(&rig.handoff.sealable)->data_end, 53248);
}

Test(journal_roll, without_a_prepared_segment_it_is_blocked_and_goes_on_afterwards)
{
    fill_segment();
    size_t asked = rig.disk.count;
    cr_assert_eq(memory_journal_append(&rig, 200), 15);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_BLOCKED);
    cr_assert_eq(rig.disk.count, asked);
    cr_assert_null(load_acquire(&rig.handoff.sealable), "handed over what is still in use");
    cr_assert_eq(memory_journal_append(&rig, 200), 16);
    memory_journal_prepare(&rig, 2);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    for (int i = 0; i < 3; i++)
        memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 16);
    cr_assert_eq(segment_header(2)->first_sequence, 15);
    cr_assert_eq(batch_at(2, 4096)->record_count, 2);
}

Test(journal_roll, while_the_seal_before_is_not_done_it_is_blocked)
{
    fill_segment();
    memory_journal_prepare(&rig, 2);
    fill_segment();
    memory_journal_prepare(&rig, 3);
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_BLOCKED);
    cr_assert_eq(load_acquire(&rig.handoff.sealable)->segment_number, 1);
    cr_assert_not_null(load_acquire(&rig.handoff.prepared), "took the segment all the same");
    sealed();
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_expect_write(&rig, 3, 0, 4096);
    cr_assert_eq(load_acquire(&rig.handoff.sealable)->segment_number, 2);
    cr_assert_eq(load_acquire(&rig.handoff.sealable)->index->first_sequence, 15);
}

Test(journal_roll, an_abandoned_batch_leaves_no_gap_across_the_roll)
{
    fill_segment();
    memory_journal_append(&rig, 200);
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_BLOCKED);
    segment_journal_abandon(&rig.journal);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_NOTHING);
    memory_journal_prepare(&rig, 2);
    cr_assert_eq(memory_journal_append(&rig, 200), 15);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_succeed(&rig);
    cr_assert_eq(segment_header(2)->first_sequence, 15);
}

Test(journal_roll, a_mark_rolls_too_when_the_segment_is_full)
{
    fill_segment();
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_BLOCKED);
    memory_journal_prepare(&rig, 2);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_STARTED);
    for (int i = 0; i < 3; i++)
        memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(batch_at(2, 4096)->record_count, 0);
    cr_assert_eq(batch_at(2, 4096)->watermark, 14);
    cr_assert_eq(batch_at(2, 4096)->first_sequence, 15);
}

Test(journal_roll, many_segments_in_a_row_take_turns_with_the_two_indexes)
{
    for (uint64_t number = 1; number <= 6; number++) {
        fill_segment();
        if (number > 1)
            sealed();
        memory_journal_prepare(&rig, number + 1);
    }
    memory_journal_put(&rig);
    const struct segment_sealable *full = load_acquire(&rig.handoff.sealable);
    cr_assert_eq(full->segment_number, 6);
    cr_assert_eq(full->index->first_sequence, 71);
    cr_assert_eq(full->index->count, BATCHES_PER_SEGMENT);
    cr_assert_eq(memory_journal_watermark(&rig), 85);
}

Test(journal_roll, a_failure_in_the_new_segment_leaves_the_full_one_to_be_sealed)
{
    fill_segment();
    memory_journal_prepare(&rig, 2);
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
    cr_assert_eq(memory_journal_finish(&rig, -EIO), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
    cr_assert_eq(load_acquire(&rig.handoff.sealable)->segment_number, 1);
    cr_assert_eq(memory_journal_watermark(&rig), 14);
}
