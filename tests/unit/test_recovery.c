/* Recovery of what a kill leaves behind when nothing is torn or damaged: the journal goes on where
 * it was, unfinished housekeeping is finished, leftovers go. */
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES], moved[TEST_PATH_BYTES];
static struct journal_rig rig;

static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(recovery, .init = set_up, .fini = tear_down);

static bool has(uint64_t number, enum segment_state state)
{
    char entry[TEST_PATH_BYTES];
    journal_rig_path(&rig, number, state, entry);
    return test_file_exists(entry);
}

/* --- going on ------------------------------------------------------------------------------- */

Test(recovery, an_empty_journal_starts_at_1)
{
    cr_assert_eq(rig.recovery.point.next_sequence, 1);
    cr_assert_not(rig.recovery.point.has_segment);
    cr_assert_eq(rig.recovery.next_segment_number, 1);
    journal_rig_reopen(&rig);
    journal_rig_put(&rig, 1);
    journal_rig_expect_records(&rig, 1);
}

Test(recovery, a_restart_goes_on_behind_the_last_batch)
{
    journal_rig_put(&rig, 3);
    uint64_t offset = rig.journal.write_offset;
    uint8_t hash[SEGMENT_HASH_BYTES];
    memcpy(hash, rig.journal.hash, sizeof(hash));
    journal_rig_reopen(&rig);
    cr_assert(rig.recovery.point.has_segment);
    cr_assert(rig.recovery.point.mark_owed);
    cr_assert_eq(rig.recovery.torn_bytes, 0);
    cr_assert_eq(rig.journal.write_offset, offset);
    cr_assert_eq(rig.journal.batch_number, 3);
    cr_assert_eq(rig.journal.segment_number, 1);
    cr_assert_eq(rig.journal.next_sequence, 4);
    cr_assert_eq(memcmp(rig.journal.hash, hash, sizeof(hash)), 0);
    cr_assert_eq(test_directory_count(directory), 4, "LOCK, node, watermark and the journal");
}

Test(recovery, many_restarts_with_batches_between_make_one_chain)
{
    for (unsigned run = 1; run <= 12; run++) {
        for (unsigned i = 0; i < run % 3; i++)
            journal_rig_append(&rig, 100 + 500 * run);
        journal_rig_append(&rig, 64);
        journal_rig_commit(&rig);
        if (run % 4 == 0)
            journal_rig_mark(&rig);
        journal_rig_reopen(&rig);
    }
    journal_rig_seal(&rig);
    journal_rig_expect_records(&rig, rig.journal.next_sequence - 1);
    journal_rig_expect_damages(&rig, 0);
}

Test(recovery, a_mark_at_the_end_is_owed_no_more)
{
    journal_rig_put(&rig, 2);
    journal_rig_mark(&rig);
    journal_rig_reopen(&rig);
    cr_assert_not(rig.recovery.point.mark_owed);
    journal_rig_put(&rig, 1);
    journal_rig_expect_records(&rig, 3);
}

Test(recovery, a_clean_restart_changes_no_byte)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 3);
    journal_rig_seal(&rig);
    journal_rig_reopen(&rig); /* once, for the mark in the watermark file */
    journal_rig_close(&rig);
    char *before = test_directory_snapshot(directory);
    for (int i = 0; i < 3; i++) {
        journal_rig_open(&rig);
        journal_rig_close(&rig);
    }
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

Test(recovery, a_lost_watermark_file_costs_nothing)
{
    journal_rig_put(&rig, 3);
    journal_rig_close(&rig);
    journal_rig_remove_watermark(&rig);
    journal_rig_open(&rig);
    cr_assert_eq(rig.journal.next_sequence, 4);
    journal_rig_put(&rig, 1);
    journal_rig_expect_records(&rig, 4);
}

Test(recovery, journals_do_not_see_each_other)
{
    static struct journal_rig other;
    journal_rig_put(&rig, 2);
    journal_rig_close(&rig);
    journal_rig_init(&other, directory, 1);
    journal_rig_open(&other);
    cr_assert_eq(other.journal.next_sequence, 1);
    journal_rig_put(&other, 5);
    journal_rig_close(&other);
    journal_rig_open(&rig);
    cr_assert_eq(rig.journal.next_sequence, 3);
}

/* --- segments ------------------------------------------------------------------------------- */

Test(recovery, a_full_segment_is_sealed_when_the_next_one_is_in_use)
{
    journal_rig_fill(&rig);
    journal_rig_prepare(&rig);
    journal_rig_put(&rig, 2); /* handed over, and then the engine died */
    journal_rig_close(&rig);
    cr_assert(has(1, SEGMENT_STATE_OPEN));
    journal_rig_open(&rig);
    cr_assert(has(1, SEGMENT_STATE_SEALED));
    cr_assert_not(has(1, SEGMENT_STATE_OPEN));
    cr_assert_eq(rig.recovery.segments_sealed, 1);
    cr_assert_eq(rig.journal.segment_number, 2);
    cr_assert_eq(rig.journal.next_sequence, 17);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 16);
}

Test(recovery, a_full_segment_alone_stays_open_and_the_journal_goes_on)
{
    journal_rig_fill(&rig);
    journal_rig_reopen(&rig);
    cr_assert_eq(rig.journal.segment_number, 1);
    journal_rig_put(&rig, 1);
    cr_assert_eq(rig.journal.segment_number, 2);
    journal_rig_seal(&rig);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 15);
}

/* Everything a seal does before the rename, undone step by step. */
static void seal_and_take_back(void)
{
    journal_rig_put(&rig, 5);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, moved);
    cr_assert_eq(chmod(path, 0640), 0);
    test_file_rename(path, moved);
}

static void expect_sealed_with_5_records(void)
{
    journal_rig_open(&rig);
    cr_assert(has(1, SEGMENT_STATE_SEALED));
    cr_assert_not(has(1, SEGMENT_STATE_OPEN));
    cr_assert_not(rig.recovery.point.has_segment);
    cr_assert_eq(rig.journal.next_sequence, 6);
    cr_assert_eq(rig.recovery.next_segment_number, 2);
    journal_rig_put(&rig, 1);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 6);
}

Test(recovery, a_complete_footer_in_a_cut_file_is_sealed)
{
    seal_and_take_back();
    expect_sealed_with_5_records();
}

Test(recovery, a_complete_footer_in_a_file_of_full_length_is_sealed)
{
    seal_and_take_back();
    test_file_truncate(moved, RIG_SEGMENT_BYTES);
    expect_sealed_with_5_records();
    struct stat status;
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_size, 24576 + 4096);
}

Test(recovery, a_sealed_segment_that_is_not_read_only_yet_is_fine)
{
    journal_rig_put(&rig, 5);
    journal_rig_seal_current(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    cr_assert_eq(chmod(path, 0640), 0);
    journal_rig_reopen(&rig);
    cr_assert_eq(rig.journal.next_sequence, 6);
}

Test(recovery, a_torn_footer_is_written_again_when_the_next_segment_is_in_use)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 2);
    journal_rig_seal(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, moved);
    cr_assert_eq(chmod(path, 0640), 0);
    test_file_rename(path, moved);
    test_file_zero(moved, 61440 + 512, 3584); /* its first sector only */
    journal_rig_open(&rig);
    cr_assert(has(1, SEGMENT_STATE_SEALED));
    cr_assert_eq(rig.journal.next_sequence, 17);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 16);
}

Test(recovery, a_torn_footer_at_the_end_is_cut_and_the_journal_goes_on)
{
    seal_and_take_back();
    test_file_truncate(moved, RIG_SEGMENT_BYTES);
    test_file_zero(moved, 24576 + 1024, 3072);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 4096);
    cr_assert_eq(rig.journal.write_offset, 24576);
    journal_rig_put(&rig, 3);
    cr_assert_eq(rig.journal.segment_number, 1);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 8);
}

/* --- prepared and temporary files ----------------------------------------------------------- */

Test(recovery, a_prepared_segment_is_found_and_used)
{
    journal_rig_put(&rig, 2);
    journal_rig_prepare(&rig);
    journal_rig_reopen(&rig);
    cr_assert(rig.recovery.has_prepared);
    cr_assert_eq(rig.recovery.prepared.segment_number, 2);
    cr_assert_eq(rig.recovery.prepared.file_bytes, RIG_SEGMENT_BYTES);
    cr_assert_eq(rig.recovery.next_segment_number, 3);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    cr_assert_eq(rig.journal.segment_number, 2);
    cr_assert_not(has(3, SEGMENT_STATE_OPEN));
    journal_rig_seal(&rig);
    journal_rig_expect_records(&rig, 15);
}

Test(recovery, a_prepared_segment_of_an_empty_journal_is_used)
{
    journal_rig_prepare(&rig);
    journal_rig_reopen(&rig);
    cr_assert(rig.recovery.has_prepared);
    cr_assert_eq(rig.recovery.next_segment_number, 2);
    journal_rig_put(&rig, 1);
    cr_assert_eq(rig.journal.segment_number, 1);
    cr_assert_not(has(2, SEGMENT_STATE_OPEN));
}

Test(recovery, a_prepared_segment_of_another_size_is_removed)
{
    journal_rig_put(&rig, 2);
    journal_rig_prepare(&rig);
    journal_rig_close(&rig);
    rig.segment_bytes = 2 * RIG_SEGMENT_BYTES;
    journal_rig_open(&rig);
    cr_assert_not(rig.recovery.has_prepared);
    cr_assert_not(has(2, SEGMENT_STATE_OPEN));
    cr_assert_eq(rig.recovery.next_segment_number, 2);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    cr_assert_eq(rig.journal.segment_number, 2);
    cr_assert_eq(rig.journal.file_bytes, 2 * RIG_SEGMENT_BYTES);
    journal_rig_seal(&rig);
    journal_rig_expect_records(&rig, 15);
}

Test(recovery, a_smaller_segment_size_does_not_hinder_the_segment_in_use)
{
    rig.segment_bytes = 4 * RIG_SEGMENT_BYTES;
    journal_rig_reopen(&rig);
    journal_rig_put(&rig, 20);
    rig.segment_bytes = RIG_SEGMENT_BYTES;
    journal_rig_reopen(&rig);
    cr_assert_eq(rig.recovery.segment_bytes_max, 4 * RIG_SEGMENT_BYTES);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    cr_assert_eq(rig.journal.file_bytes, RIG_SEGMENT_BYTES);
    journal_rig_seal(&rig);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, rig.journal.next_sequence - 1);
}

Test(recovery, a_segment_half_prepared_is_removed)
{
    journal_rig_put(&rig, 2);
    journal_rig_path(&rig, 2, SEGMENT_STATE_TEMPORARY, path);
    test_file_store(path, "half", 4);
    journal_rig_reopen(&rig);
    cr_assert_not(test_file_exists(path));
    cr_assert_eq(rig.recovery.next_segment_number, 2);
}

/* A header that was being written: the segment was about to be taken into use. */
static void tear_header(size_t bytes_left)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    test_file_zero(path, bytes_left, 8192 - bytes_left);
    journal_rig_set_watermark(&rig, 14);
}

Test(recovery, a_torn_segment_header_makes_the_segment_a_prepared_one)
{
    static const uint8_t zeros[SEGMENT_BLOCK_BYTES];
    tear_header(512);
    journal_rig_open(&rig);
    cr_assert(rig.recovery.has_prepared);
    cr_assert_eq(rig.journal.segment_number, 1);
    cr_assert_eq(rig.journal.next_sequence, 15);
    struct test_bytes file = test_file_load(path);
    cr_assert_eq(memcmp(file.data, zeros, sizeof(zeros)), 0);
    test_bytes_free(&file);
    journal_rig_put(&rig, 2);
    cr_assert_eq(rig.journal.segment_number, 2);
    journal_rig_seal(&rig);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 16);
}

Test(recovery, a_header_without_its_first_batch_is_gone_on_with)
{
    tear_header(4096);
    journal_rig_open(&rig);
    cr_assert_not(rig.recovery.has_prepared);
    cr_assert_eq(rig.journal.segment_number, 2);
    cr_assert_eq(rig.journal.write_offset, 4096);
    cr_assert(has(1, SEGMENT_STATE_SEALED));
    journal_rig_put(&rig, 1);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 15);
}

Test(recovery, descriptors_are_not_leaked)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    journal_rig_seal(&rig);
    journal_rig_prepare(&rig);
    journal_rig_reopen(&rig);
    journal_rig_close(&rig);
    size_t before = test_descriptor_count();
    for (int i = 0; i < 5; i++) {
        journal_rig_open(&rig);
        journal_rig_close(&rig);
    }
    cr_assert_eq(test_descriptor_count(), before);
}
