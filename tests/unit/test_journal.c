/* One batch of a journal: write, flush, durable, in that order and by completion; and what ends a
 * journal for good. */
#include "memory_journal.h"
#include "sample_record.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#define FIRST_BATCH_OFFSET 4096

static struct memory_journal rig;

static void set_up(void)
{
    memory_journal_init(&rig);
}

static void tear_down(void)
{
    memory_journal_fini(&rig);
}

TestSuite(journal, .init = set_up, .fini = tear_down);

static const struct segment_batch_header *batch_on_disk(int fd, uint64_t offset)
{
    return (const struct segment_batch_header *)(const void *)(rig.disk.volatile_image[fd] +
                                                               offset);
}

/* --- the order ------------------------------------------------------------------------------ */

Test(journal, a_batch_is_written_then_flushed_then_durable)
{
    memory_journal_put(&rig);
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    cr_assert(segment_journal_is_busy(&rig.journal));
    memory_journal_expect_write(&rig, 1, 8192, 4096);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_flush(&rig, 1);
    cr_assert_eq(memory_journal_watermark(&rig), 1, "visible before the flush ended");
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 2);
    cr_assert_not(segment_journal_is_busy(&rig.journal));
    cr_assert(memory_disk_is_idle(&rig.disk));
}

Test(journal, the_first_batch_waits_until_the_segment_header_is_flushed)
{
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_expect_write(&rig, 1, 0, 4096);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_flush(&rig, 1);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, FIRST_BATCH_OFFSET, 4096);
    cr_assert_eq(memory_journal_watermark(&rig), 0);
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 1);
}

Test(journal, what_was_acknowledged_is_on_the_durable_side_of_the_disk)
{
    for (uint64_t i = 1; i <= 5; i++) {
        memory_journal_put(&rig);
        uint64_t end = FIRST_BATCH_OFFSET + i * 4096;
        cr_assert_eq(memcmp(rig.disk.durable_image[1], rig.disk.volatile_image[1], (size_t)end), 0);
        cr_assert_eq(batch_on_disk(1, end - 4096)->first_sequence, i);
        cr_assert_eq(memory_journal_watermark(&rig), i);
    }
}

Test(journal, records_that_come_while_a_batch_is_written_go_into_the_next_one)
{
    memory_journal_start_batch(&rig, 200);
    cr_assert_eq(memory_journal_append(&rig, 200), 2);
    cr_assert_eq(memory_journal_append(&rig, 200), 3);
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_append(&rig, 200), 4);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 1);
    cr_assert_eq(batch_on_disk(1, FIRST_BATCH_OFFSET)->record_count, 1);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 4);
    cr_assert_eq(batch_on_disk(1, 8192)->first_sequence, 2);
    cr_assert_eq(batch_on_disk(1, 8192)->record_count, 3);
}

Test(journal, each_batch_header_carries_the_mark_of_the_moment_it_was_written)
{
    for (int i = 0; i < 4; i++)
        memory_journal_put(&rig);
    for (uint64_t i = 0; i < 4; i++) {
        const struct segment_batch_header *header = batch_on_disk(1, FIRST_BATCH_OFFSET + i * 4096);
        cr_assert_eq(header->watermark, i);
        cr_assert_eq(header->batch_number, i);
        cr_assert_eq(header->first_sequence, i + 1);
    }
}

Test(journal, the_bytes_being_written_do_not_change_under_the_disk)
{
    static uint8_t before[4096];
    memory_journal_start_batch(&rig, 200);
    const struct memory_disk_operation *write = memory_disk_pending(&rig.disk);
    memcpy(before, write->data, sizeof(before));
    for (int i = 0; i < 20; i++)
        memory_journal_append(&rig, 300);
    segment_journal_abandon(&rig.journal);
    memory_journal_append(&rig, 500);
    cr_assert_eq(memcmp(before, write->data, sizeof(before)), 0);
}

/* --- nothing to do, marks ------------------------------------------------------------------- */

Test(journal, an_empty_journal_has_nothing_to_write)
{
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_NOTHING);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_NOTHING);
    cr_assert_eq(rig.disk.count, 0);
    cr_assert_not_null(load_acquire(&rig.handoff.prepared), "took a segment for nothing");
}

Test(journal, a_mark_is_owed_once_after_records)
{
    memory_journal_put(&rig);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_NOTHING);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_STARTED);
    memory_journal_expect_write(&rig, 1, 8192, 4096);
    memory_journal_succeed(&rig);
    memory_journal_expect_flush(&rig, 1);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    const struct segment_batch_header *mark = batch_on_disk(1, 8192);
    cr_assert_eq(mark->record_count, 0);
    cr_assert_eq(mark->payload_bytes, 0);
    cr_assert_eq(mark->watermark, 1, "the mark does not cover the record before it");
    cr_assert_eq(mark->first_sequence, 2);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_NOTHING, "a second mark");
    cr_assert_eq(memory_journal_watermark(&rig), 1);
    memory_journal_put(&rig);
    cr_assert_eq(memory_journal_watermark(&rig), 2);
}

Test(journal, records_waiting_go_out_instead_of_a_mark)
{
    memory_journal_put(&rig);
    memory_journal_append(&rig, 200);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_STARTED);
    memory_journal_succeed(&rig);
    memory_journal_succeed(&rig);
    cr_assert_eq(batch_on_disk(1, 8192)->record_count, 1);
    cr_assert_eq(memory_journal_start(&rig, true), SEGMENT_JOURNAL_STARTED, "still owed");
}

/* --- sequences ------------------------------------------------------------------------------ */

Test(journal, sequences_start_at_1_and_have_no_gaps)
{
    uint64_t expected = 1;
    for (unsigned batch = 1; batch <= 4; batch++) {
        for (unsigned i = 0; i < batch; i++)
            cr_assert_eq(memory_journal_append(&rig, 100), expected++);
        memory_journal_put(&rig);
        expected++;
    }
    cr_assert_eq(memory_journal_watermark(&rig), expected - 1);
}

Test(journal, abandoned_records_give_their_sequences_back)
{
    memory_journal_put(&rig);
    cr_assert_eq(memory_journal_append(&rig, 200), 2);
    cr_assert_eq(memory_journal_append(&rig, 200), 3);
    segment_journal_abandon(&rig.journal);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_NOTHING);
    cr_assert_eq(memory_journal_append(&rig, 200), 2);
    cr_assert_eq(memory_journal_start(&rig, false), SEGMENT_JOURNAL_STARTED);
    memory_journal_succeed(&rig);
    memory_journal_succeed(&rig);
    cr_assert_eq(batch_on_disk(1, 8192)->first_sequence, 2);
    cr_assert_eq(batch_on_disk(1, 8192)->record_count, 1);
    cr_assert_eq(memory_journal_watermark(&rig), 2);
}

Test(journal, abandoning_leaves_the_batch_being_written_alone)
{
    memory_journal_start_batch(&rig, 200);
    cr_assert_eq(memory_journal_append(&rig, 200), 2);
    segment_journal_abandon(&rig.journal);
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    cr_assert_eq(memory_journal_watermark(&rig), 1);
    cr_assert_eq(memory_journal_append(&rig, 200), 2);
}

/* --- capacity ------------------------------------------------------------------------------- */

Test(journal, a_batch_filled_to_the_last_byte_is_written_whole)
{
    struct record_envelope envelope;
    static char body[SAMPLE_BODY_BYTES_MAX];
    sample_envelope(1, body, 0, &envelope);
    size_t room = MEMORY_JOURNAL_BATCH_BYTES - sizeof(struct segment_batch_header);
    cr_assert(segment_journal_fits(&rig.journal, room));
    cr_assert_not(segment_journal_fits(&rig.journal, room + 1));
    memory_journal_start_batch(&rig, room - record_encode_bytes(&envelope));
    memory_journal_expect_write(&rig, 1, FIRST_BATCH_OFFSET, MEMORY_JOURNAL_BATCH_BYTES);
    cr_assert(segment_journal_fits(&rig.journal, room), "the other batch is empty");
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    memory_journal_put(&rig);
    cr_assert_eq(batch_on_disk(1, FIRST_BATCH_OFFSET + MEMORY_JOURNAL_BATCH_BYTES)->batch_number,
                 1);
}

/* --- short writes --------------------------------------------------------------------------- */

Test(journal, a_short_write_of_whole_blocks_goes_on_behind_them)
{
    memory_journal_start_batch(&rig, 13000);
    memory_journal_expect_write(&rig, 1, 4096, 16384);
    cr_assert_eq(memory_journal_finish(&rig, 4096), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 8192, 12288);
    cr_assert_eq(memory_journal_finish(&rig, 8192), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 16384, 4096);
    cr_assert_eq(memory_journal_finish(&rig, 4096), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_flush(&rig, 1);
    cr_assert_eq(memory_journal_watermark(&rig), 0);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
    const struct segment_batch_header *header = batch_on_disk(1, 4096);
    cr_assert_eq(
        memcmp(rig.disk.durable_image[1] + 4096, rig.journal.flying->buffer, header->batch_bytes),
        0);
}

Test(journal, a_short_write_that_ends_inside_a_block_writes_that_block_again)
{
    memory_journal_start_batch(&rig, 13000);
    cr_assert_eq(memory_journal_finish(&rig, 4096 + 512), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 8192, 12288);
    cr_assert_eq(memory_journal_finish(&rig, 1), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 8192, 12288);
    cr_assert_eq(memory_journal_finish(&rig, 12287), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 16384, 4096);
    memory_journal_succeed(&rig);
    memory_journal_expect_flush(&rig, 1);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
}

Test(journal, no_flush_is_submitted_while_a_byte_is_missing)
{
    for (int result = 1; result < 16384; result += 511) {
        memory_journal_fini(&rig);
        memory_journal_init(&rig);
        memory_journal_start_batch(&rig, 13000);
        cr_assert_eq(memory_journal_finish(&rig, result), SEGMENT_JOURNAL_CONTINUES);
        cr_assert_eq(memory_disk_pending(&rig.disk)->kind, MEMORY_DISK_WRITE, "after %d", result);
    }
}

Test(journal, a_short_header_write_is_finished_before_the_flush)
{
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
    cr_assert_eq(memory_journal_finish(&rig, 100), SEGMENT_JOURNAL_CONTINUES);
    memory_journal_expect_write(&rig, 1, 0, 4096);
    memory_journal_succeed(&rig);
    memory_journal_expect_flush(&rig, 1);
}

Test(journal, writes_that_never_get_anywhere_are_a_failure)
{
    enum segment_journal_event event;
    int tries = 0;
    memory_journal_start_batch(&rig, 13000);
    do {
        event = memory_journal_finish(&rig, 4095);
        cr_assert(++tries < 100, "goes on for ever");
    } while (event == SEGMENT_JOURNAL_CONTINUES);
    cr_assert_eq(event, SEGMENT_JOURNAL_BROKEN);
    cr_assert(tries > 2, "gave up on a disk that is only slow");
    memory_journal_expect_poisoned(&rig, -EIO, "write");
}

Test(journal, progress_forgives_earlier_writes_without_any)
{
    memory_journal_start_batch(&rig, 13000);
    for (int block = 0; block < 3; block++) {
        for (int i = 0; i < 10; i++)
            cr_assert_eq(memory_journal_finish(&rig, 100), SEGMENT_JOURNAL_CONTINUES);
        cr_assert_eq(memory_journal_finish(&rig, 4096), SEGMENT_JOURNAL_CONTINUES);
    }
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_succeed(&rig), SEGMENT_JOURNAL_DURABLE);
}

/* --- failures ------------------------------------------------------------------------------- */

Test(journal, a_write_of_nothing_poisons)
{
    memory_journal_put(&rig);
    memory_journal_start_batch(&rig, 200);
    cr_assert_eq(memory_journal_finish(&rig, 0), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
    cr_assert_eq(memory_journal_watermark(&rig), 1);
}

Test(journal, a_write_of_more_than_was_asked_poisons)
{
    memory_journal_start_batch(&rig, 200);
    cr_assert_eq(memory_journal_finish(&rig, 8192), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
}

Test(journal, any_write_error_poisons)
{
    static const int errors[] = {-EIO, -ENOSPC, -EINTR, -EAGAIN, -ECANCELED, -EROFS};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        memory_journal_fini(&rig);
        memory_journal_init(&rig);
        memory_journal_put(&rig);
        memory_journal_start_batch(&rig, 200);
        cr_assert_eq(memory_journal_finish(&rig, errors[i]), SEGMENT_JOURNAL_BROKEN);
        memory_journal_expect_poisoned(&rig, errors[i], "write");
        cr_assert_eq(memory_journal_watermark(&rig), 1);
    }
}

Test(journal, a_write_error_behind_a_short_write_poisons)
{
    memory_journal_start_batch(&rig, 13000);
    memory_journal_finish(&rig, 4096);
    cr_assert_eq(memory_journal_finish(&rig, -EIO), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
}

Test(journal, a_failed_flush_poisons_and_is_never_tried_again)
{
    static const int errors[] = {-EIO, -ENOSPC, -EINTR, -EAGAIN, -ECANCELED};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        memory_journal_fini(&rig);
        memory_journal_init(&rig);
        memory_journal_put(&rig);
        memory_journal_start_batch(&rig, 200);
        memory_journal_succeed(&rig);
        size_t asked = rig.disk.count;
        cr_assert_eq(memory_journal_finish(&rig, errors[i]), SEGMENT_JOURNAL_BROKEN);
        cr_assert_eq(rig.disk.count, asked, "asked the disk again after %d", errors[i]);
        memory_journal_expect_poisoned(&rig, errors[i], "flush");
        cr_assert_eq(memory_journal_watermark(&rig), 1);
    }
}

Test(journal, a_failed_header_write_poisons)
{
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
    cr_assert_eq(memory_journal_finish(&rig, -EIO), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
    cr_assert_eq(memory_journal_watermark(&rig), 0);
}

Test(journal, a_failed_header_flush_poisons_before_any_batch)
{
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
    memory_journal_succeed(&rig);
    cr_assert_eq(memory_journal_finish(&rig, -EIO), SEGMENT_JOURNAL_BROKEN);
    memory_journal_expect_poisoned(&rig, -EIO, "flush");
    cr_assert_eq(rig.disk.count, 2);
}

Test(journal, records_of_a_poisoned_journal_can_still_be_taken_back)
{
    memory_journal_start_batch(&rig, 200);
    memory_journal_append(&rig, 200);
    memory_journal_finish(&rig, -EIO);
    segment_journal_abandon(&rig.journal);
    memory_journal_expect_poisoned(&rig, -EIO, "write");
}

Test(journal, a_poisoned_journal_takes_no_record, .signal = SIGABRT)
{
    memory_journal_start_batch(&rig, 200);
    memory_journal_finish(&rig, -EIO);
    memory_journal_append(&rig, 200);
}

Test(journal, a_poisoned_journal_starts_no_batch, .signal = SIGABRT)
{
    memory_journal_start_batch(&rig, 200);
    memory_journal_append(&rig, 200);
    memory_journal_finish(&rig, -EIO);
    memory_journal_start(&rig, false);
}

Test(journal, a_second_batch_cannot_start_while_one_is_written, .signal = SIGABRT)
{
    memory_journal_start_batch(&rig, 200);
    memory_journal_append(&rig, 200);
    memory_journal_start(&rig, false);
}

Test(journal, a_completion_nobody_waits_for_is_a_programming_error, .signal = SIGABRT)
{
    segment_journal_complete(&rig.journal, 0);
}
