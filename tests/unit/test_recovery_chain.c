/* The order of segments: missing, foreign, repeated or misplaced ones are damage, never a journal
 * that is silently shorter or longer. */
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES], other_path[TEST_PATH_BYTES];
static struct journal_rig rig;

/* Three sealed segments of 14 records and an open one with 2, closed. */
static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
    for (int i = 0; i < 3; i++)
        journal_rig_fill(&rig);
    journal_rig_put(&rig, 2);
    journal_rig_seal(&rig);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(recovery_chain, .init = set_up, .fini = tear_down);

static void expect_refused(const char *what)
{
    char *before = test_directory_snapshot(directory);
    rig.error.text[0] = '\0';
    int result = journal_rig_try_open(&rig);
    cr_assert_eq(result, -EBADMSG, "%d: %s", result, rig.error.text);
    cr_assert_not_null(strstr(rig.error.text, what), "\"%s\" instead of \"%s\"", rig.error.text,
                       what);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

static void expect_damage_at(const char *file, uint64_t offset, const char *what)
{
    char where[TEST_PATH_BYTES + 128];
    snprintf(where, sizeof(where), "damage in %s at offset %" PRIu64 ": %s", file, offset, what);
    expect_refused(where);
}

static void sealed_path(uint64_t number, char path_out[TEST_PATH_BYTES])
{
    journal_rig_path(&rig, number, SEGMENT_STATE_SEALED, path_out);
}

static void replace(const char *with, const char *what)
{
    struct test_bytes file = test_file_load(with);
    test_file_store(what, file.data, file.bytes);
    test_bytes_free(&file);
}

/* Another data directory of the same shape; `same_node` gives it our node file first. */
static void make_other(struct journal_rig *other, char other_directory[TEST_PATH_BYTES],
                       uint32_t journal, bool same_node)
{
    char node[TEST_PATH_BYTES], other_node[TEST_PATH_BYTES];
    test_directory_make(other_directory);
    if (same_node) {
        test_path(node, "%s/node", directory);
        test_path(other_node, "%s/node", other_directory);
        replace(node, other_node);
    }
    journal_rig_init(other, other_directory, journal);
    journal_rig_open(other);
    for (int i = 0; i < 3; i++) {
        journal_rig_append(other, 300);
        journal_rig_append(other, 300);
        journal_rig_commit(other);
        journal_rig_fill(other);
    }
    journal_rig_put(other, 1);
    journal_rig_seal(other);
    journal_rig_close(other);
}

static struct journal_rig other;
static char other_directory[TEST_PATH_BYTES];

static void splice_in_place_of_2(uint64_t number, uint32_t journal, bool same_node)
{
    make_other(&other, other_directory, journal, same_node);
    journal_rig_path(&other, number, SEGMENT_STATE_SEALED, other_path);
    sealed_path(2, path);
    replace(other_path, path);
    test_directory_remove(other_directory);
}

Test(recovery_chain, as_it_is_it_recovers)
{
    journal_rig_open(&rig);
    cr_assert_eq(rig.journal.next_sequence, 45);
    cr_assert_eq(rig.recovery.segments_sealed, 3);
    cr_assert_eq(rig.journal.segment_number, 4);
    journal_rig_put(&rig, 1);
    journal_rig_expect_records(&rig, 45);
}

Test(recovery_chain, a_segment_in_the_middle_is_missing)
{
    sealed_path(2, path);
    cr_assert_eq(unlink(path), 0);
    sealed_path(3, path);
    expect_damage_at(path, 0, "a segment is missing before this one");
}

Test(recovery_chain, the_first_segment_is_missing)
{
    sealed_path(1, path);
    cr_assert_eq(unlink(path), 0);
    sealed_path(2, path);
    expect_refused(path);
}

Test(recovery_chain, the_last_sealed_segment_is_missing)
{
    sealed_path(3, path);
    cr_assert_eq(unlink(path), 0);
    journal_rig_path(&rig, 4, SEGMENT_STATE_OPEN, path);
    expect_damage_at(path, 0, "a segment is missing before this one");
}

Test(recovery_chain, the_segment_in_use_is_missing_while_the_next_one_is_prepared)
{
    journal_rig_open(&rig);
    journal_rig_prepare(&rig);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 4, SEGMENT_STATE_OPEN, path);
    cr_assert_eq(unlink(path), 0);
    expect_refused("segment 4 is missing, segment 5 is prepared");
}

Test(recovery_chain, a_refusal_leaves_no_descriptor_open)
{
    journal_rig_open(&rig);
    journal_rig_prepare(&rig);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 1000);
    size_t before = test_descriptor_count();
    for (int i = 0; i < 3; i++)
        expect_refused("were acknowledged");
    cr_assert_eq(test_descriptor_count(), before);
}

Test(recovery_chain, a_segment_of_another_node)
{
    splice_in_place_of_2(2, 0, false);
    expect_damage_at(path, 16, "segment belongs to another node, journal or position");
}

Test(recovery_chain, a_segment_of_another_journal)
{
    splice_in_place_of_2(2, 1, true);
    expect_damage_at(path, 16, "segment belongs to another node, journal or position");
}

Test(recovery_chain, a_segment_from_another_position)
{
    sealed_path(1, other_path);
    sealed_path(2, path);
    replace(other_path, path);
    expect_damage_at(path, 16, "segment belongs to another node, journal or position");
}

Test(recovery_chain, a_segment_of_another_history_of_the_same_journal)
{
    splice_in_place_of_2(2, 0, true);
    expect_damage_at(path, 48, "segment does not go on with the next sequence");
}

Test(recovery_chain, a_segment_of_another_history_with_the_same_sequences)
{
    test_directory_make(other_directory);
    char node[TEST_PATH_BYTES], other_node[TEST_PATH_BYTES];
    test_path(node, "%s/node", directory);
    test_path(other_node, "%s/node", other_directory);
    replace(node, other_node);
    journal_rig_init(&other, other_directory, 0);
    journal_rig_open(&other);
    journal_rig_append(&other, 300); /* one byte more than ours, at the same place */
    journal_rig_commit(&other);
    journal_rig_fill(&other);
    journal_rig_fill(&other);
    journal_rig_put(&other, 1);
    journal_rig_seal(&other);
    journal_rig_close(&other);
    journal_rig_path(&other, 2, SEGMENT_STATE_SEALED, other_path);
    sealed_path(2, path);
    replace(other_path, path);
    test_directory_remove(other_directory);
    expect_damage_at(path, 72, "segment does not continue the hash chain");
}

Test(recovery_chain, a_number_that_is_there_sealed_and_open)
{
    sealed_path(2, other_path);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    replace(other_path, path);
    expect_damage_at(path, 0, "a segment is missing before this one");
}

Test(recovery_chain, an_unused_segment_before_one_in_use)
{
    static uint8_t zeros[RIG_SEGMENT_BYTES];
    journal_rig_path(&rig, 4, SEGMENT_STATE_OPEN, path);
    journal_rig_path(&rig, 5, SEGMENT_STATE_OPEN, other_path);
    test_file_rename(path, other_path);
    test_file_store(path, zeros, sizeof(zeros));
    expect_refused(other_path);
}

/* --- sealed segments ------------------------------------------------------------------------ */

Test(recovery_chain, the_header_of_a_sealed_segment_is_damaged)
{
    sealed_path(2, path);
    for (uint64_t offset = 0; offset < 4096; offset += 97) {
        test_file_flip(path, offset, 0x08);
        expect_damage_at(path, 0, "segment header");
        test_file_flip(path, offset, 0x08);
    }
}

Test(recovery_chain, the_footer_of_a_sealed_segment_is_damaged)
{
    sealed_path(2, path);
    for (uint64_t offset = 61440; offset < 65536; offset += 31) {
        test_file_flip(path, offset, 0x08);
        expect_refused(path);
        test_file_flip(path, offset, 0x08);
    }
}

Test(recovery_chain, a_sealed_segment_was_cut_short)
{
    static const uint64_t lengths[] = {65535, 61440, 61439, 8192, 4096, 4095, 31, 0};
    sealed_path(2, path);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        test_file_truncate(path, lengths[i]);
        expect_refused(path);
    }
}

Test(recovery_chain, a_sealed_segment_grew)
{
    sealed_path(2, path);
    test_file_truncate(path, 65536 + 4096);
    expect_refused(path);
}
