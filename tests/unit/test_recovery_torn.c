/* Torn tails: whatever an unfinished, never acknowledged write left behind is kept aside byte for
 * byte, cut, and the journal goes on; also when recovery itself is cut off. */
#include "base/random.h"
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ACKNOWLEDGED 4 /* records, a batch each */

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES], torn_directory[TEST_PATH_BYTES];
static struct journal_rig rig;
static struct rig_batch tail; /* the batch that was being written */

static void set_up(void)
{
    test_directory_make(directory);
    test_path(torn_directory, "%s/torn", directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(recovery_torn, .init = set_up, .fini = tear_down);

/* Four acknowledged batches, then one of three blocks whose flush never ended. */
static void write_unfinished(void)
{
    journal_rig_put(&rig, ACKNOWLEDGED);
    for (int i = 0; i < 10; i++)
        journal_rig_append(&rig, 900);
    journal_rig_commit(&rig);
    tail = *journal_rig_batch(&rig, 0);
    cr_assert_eq(tail.bytes, 12288);
    journal_rig_close(&rig);
    journal_rig_path(&rig, tail.segment_number, SEGMENT_STATE_OPEN, path);
    journal_rig_set_watermark(&rig, ACKNOWLEDGED);
}

/* The tail is in torn/, exactly `bytes` long and as it was; the file is zeros from there on. */
static void expect_moved_aside(const struct test_bytes *before, uint64_t bytes)
{
    char torn[TEST_PATH_BYTES];
    cr_assert_eq(rig.recovery.torn_bytes, bytes, "%lu", (unsigned long)rig.recovery.torn_bytes);
    test_directory_only(torn_directory, torn);
    struct test_bytes kept = test_file_load(torn);
    cr_assert_eq(kept.bytes, bytes);
    cr_assert_eq(memcmp(kept.data, before->data + tail.offset, bytes), 0);
    test_bytes_free(&kept);
    struct test_bytes after = test_file_load(path);
    cr_assert_eq(after.bytes, before->bytes);
    cr_assert_eq(memcmp(after.data, before->data, tail.offset), 0, "an acknowledged byte changed");
    for (uint64_t i = tail.offset; i < after.bytes; i++)
        cr_assert_eq(after.data[i], 0, "byte %lu was not cut", (unsigned long)i);
    test_bytes_free(&after);
}

static void expect_journal_goes_on(void)
{
    cr_assert_eq(rig.journal.next_sequence, ACKNOWLEDGED + 1);
    cr_assert_eq(rig.journal.write_offset, tail.offset);
    journal_rig_put(&rig, 3);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, ACKNOWLEDGED + 3);
    journal_rig_reopen(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 0);
    cr_assert_eq(rig.journal.next_sequence, ACKNOWLEDGED + 4);
}

/* Recovers from what is in the file now; its last byte that is not zero is `bytes` behind the
 * tail's start, rounded up to blocks. */
static void expect_torn(uint64_t bytes)
{
    struct test_bytes before = test_file_load(path);
    journal_rig_open(&rig);
    expect_moved_aside(&before, bytes);
    test_bytes_free(&before);
    expect_journal_goes_on();
}

/* --- shapes --------------------------------------------------------------------------------- */

Test(recovery_torn, only_the_first_block_arrived)
{
    write_unfinished();
    test_file_zero(path, tail.offset + 4096, 8192);
    expect_torn(4096);
}

Test(recovery_torn, only_the_first_sector_arrived)
{
    write_unfinished();
    test_file_zero(path, tail.offset + 512, 12288 - 512);
    expect_torn(4096);
}

Test(recovery_torn, the_first_sector_is_missing)
{
    write_unfinished();
    test_file_zero(path, tail.offset, 512);
    expect_torn(12288);
}

Test(recovery_torn, the_first_block_is_missing)
{
    write_unfinished();
    test_file_zero(path, tail.offset, 4096);
    expect_torn(12288);
}

Test(recovery_torn, only_the_last_block_arrived)
{
    write_unfinished();
    test_file_zero(path, tail.offset, 8192);
    expect_torn(12288);
}

Test(recovery_torn, the_middle_is_zeros)
{
    write_unfinished();
    test_file_zero(path, tail.offset + 4096, 4096);
    expect_torn(12288);
}

Test(recovery_torn, the_last_block_is_missing)
{
    write_unfinished();
    test_file_zero(path, tail.offset + 8192, 4096);
    expect_torn(8192);
}

Test(recovery_torn, one_byte_of_the_payload_is_wrong)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 0x01);
    expect_torn(12288);
}

Test(recovery_torn, one_byte_of_the_header_is_wrong)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 60, 0x80);
    expect_torn(12288);
}

Test(recovery_torn, nothing_but_garbage_arrived)
{
    uint8_t garbage[8192];
    struct base_random random;
    write_unfinished();
    test_file_zero(path, tail.offset, tail.bytes);
    base_random_seed(&random, 7);
    base_random_fill(&random, garbage, sizeof(garbage));
    test_file_patch(path, tail.offset, garbage, sizeof(garbage));
    expect_torn(8192);
}

Test(recovery_torn, any_set_of_sectors_may_be_missing)
{
    struct base_random random;
    char kept[TEST_PATH_BYTES];
    write_unfinished();
    test_path(kept, "%s.kept", directory);
    test_directory_copy(directory, kept);
    base_random_seed(&random, 20);
    for (int round = 0; round < 40; round++) {
        uint64_t missing = base_random_next(&random) | UINT64_C(1) << round % 20;
        for (uint64_t sector = 0; sector < 24; sector++)
            if (missing >> sector & 1)
                test_file_zero(path, tail.offset + sector * 512, 512);
        journal_rig_open(&rig);
        cr_assert_eq(rig.journal.next_sequence, ACKNOWLEDGED + 1);
        journal_rig_put(&rig, 1);
        journal_rig_expect_records(&rig, ACKNOWLEDGED + 1);
        journal_rig_close(&rig);
        test_directory_remove(directory);
        test_directory_copy(kept, directory);
    }
    test_directory_remove(kept);
}

Test(recovery_torn, a_whole_batch_that_was_never_acknowledged_is_kept)
{
    write_unfinished();
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 0);
    cr_assert_eq(rig.journal.next_sequence, ACKNOWLEDGED + 11);
    journal_rig_expect_records(&rig, ACKNOWLEDGED + 10);
}

Test(recovery_torn, the_first_batch_of_a_segment_may_be_torn)
{
    journal_rig_append(&rig, 3000);
    journal_rig_append(&rig, 3000);
    journal_rig_commit(&rig);
    tail = *journal_rig_batch(&rig, 0);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    journal_rig_set_watermark(&rig, 0);
    test_file_zero(path, tail.offset + 4096, 4096);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 4096);
    cr_assert_eq(rig.journal.next_sequence, 1);
    journal_rig_put(&rig, 2);
    journal_rig_expect_records(&rig, 2);
}

Test(recovery_torn, without_a_watermark_file_too)
{
    write_unfinished();
    test_file_zero(path, tail.offset + 4096, 4096);
    journal_rig_remove_watermark(&rig);
    expect_torn(12288);
}

Test(recovery_torn, other_bytes_in_the_second_run_continue_the_chain)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 9000, 0xFF);
    journal_rig_open(&rig);
    for (int i = 0; i < 3; i++) /* other records under the sequences that were torn */
        journal_rig_append(&rig, 2500);
    journal_rig_commit(&rig);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 2);
    journal_rig_seal(&rig);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, rig.journal.next_sequence - 1);
}

/* --- recovery that is cut off itself -------------------------------------------------------- */

Test(recovery_torn, cut_off_before_the_copy_it_runs_again)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 1);
    char torn[TEST_PATH_BYTES];
    struct test_bytes before = test_file_load(path);
    journal_rig_open(&rig);
    journal_rig_close(&rig);
    /* the state before, with a copy already there, complete or not */
    test_directory_only(torn_directory, torn);
    test_file_truncate(torn, 100);
    test_file_store(path, before.data, before.bytes);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 12288);
    cr_assert_eq(test_directory_count(torn_directory), 2, "the new copy replaced the old one");
    test_bytes_free(&before);
    expect_journal_goes_on();
}

Test(recovery_torn, cut_off_while_cutting_it_finishes)
{
    static const uint64_t ranges[][2] = {
        {0, 512}, {0, 4096}, {0, 8192}, {4096, 12288}, {512, 12288}};
    char kept[TEST_PATH_BYTES];
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 1);
    test_path(kept, "%s.kept", directory);
    test_directory_copy(directory, kept);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        test_file_zero(path, tail.offset + ranges[i][0], ranges[i][1] - ranges[i][0]);
        journal_rig_open(&rig);
        expect_journal_goes_on();
        journal_rig_close(&rig);
        test_directory_remove(directory);
        test_directory_copy(kept, directory);
    }
    test_directory_remove(kept);
}

Test(recovery_torn, a_second_recovery_finds_nothing_to_do)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 1);
    journal_rig_open(&rig);
    journal_rig_close(&rig);
    char *before = test_directory_snapshot(directory);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 0);
    journal_rig_close(&rig);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

Test(recovery_torn, the_copy_is_named_for_journal_segment_and_offset)
{
    char torn[TEST_PATH_BYTES];
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 1);
    journal_rig_open(&rig);
    test_directory_only(torn_directory, torn);
    cr_assert_not_null(strstr(torn, "/torn/journal-0000-0000000001-20480-"), "%s", torn);
}

Test(recovery_torn, tails_torn_in_two_runs_are_both_kept)
{
    write_unfinished();
    test_file_flip(path, tail.offset + 5000, 1);
    journal_rig_open(&rig);
    journal_rig_put(&rig, 1);
    struct rig_batch second = *journal_rig_batch(&rig, 0);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, ACKNOWLEDGED);
    test_file_flip(path, second.offset + 300, 1);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 4096);
    cr_assert_eq(test_directory_count(torn_directory), 2);
    journal_rig_put(&rig, 1);
    journal_rig_expect_records(&rig, ACKNOWLEDGED + 1);
}
