/* Damage: whatever could have been acknowledged and is not valid any more makes recovery refuse,
 * name the file and the offset, and leave every byte as it is. */
#include "base/checksum.h"
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCHES 6

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
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

TestSuite(recovery_damage, .init = set_up, .fini = tear_down);

/* Recovery refuses, the text holds `what`, and nothing on disk changed. */
static void expect_refused(const char *what)
{
    char *before = test_directory_snapshot(directory);
    rig.error.text[0] = '\0';
    int result = journal_rig_try_open(&rig);
    cr_assert_eq(result, -EBADMSG, "%d: %s", result, rig.error.text);
    cr_assert_not_null(strstr(rig.error.text, what), "\"%s\" instead of \"%s\"", rig.error.text,
                       what);
    cr_assert_not_null(strstr(rig.error.text, "sluice verify"), "%s", rig.error.text);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

static void expect_damage_at(const char *file, uint64_t offset)
{
    char where[TEST_PATH_BYTES + 64];
    snprintf(where, sizeof(where), "damage in %s at offset %" PRIu64 ":", file, offset);
    expect_refused(where);
}

/* Closed, one segment open with BATCHES batches of two blocks each. */
static void write_batches(bool with_mark)
{
    for (int i = 0; i < BATCHES; i++) {
        for (int j = 0; j < 4; j++)
            journal_rig_append(&rig, 1000);
        journal_rig_commit(&rig);
    }
    journal_rig_close(&rig);
    if (!with_mark)
        journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
}

/* Places in a batch: each field of its header, a record's header, its body, the padding. */
static const uint64_t places[] = {0,   8,   12,  16,  32,   36,   40,   48,  56,  64,
                                  72,  80,  84,  88,  92,   96,   127,  128, 132, 140,
                                  152, 200, 300, 800, 2500, 4096, 5000, 8191};
#define PLACE_COUNT (sizeof(places) / sizeof(places[0]))

static void expect_each_place_refused(size_t batch)
{
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        test_file_flip(path, rig.batches[batch].offset + places[i], 0x04);
        expect_damage_at(path, rig.batches[batch].offset);
        test_file_flip(path, rig.batches[batch].offset + places[i], 0x04);
    }
}

/* --- batches -------------------------------------------------------------------------------- */

Test(recovery_damage, any_byte_of_any_batch_but_the_last)
{
    write_batches(false);
    for (size_t batch = 0; batch + 1 < BATCHES; batch++)
        expect_each_place_refused(batch);
    journal_rig_open(&rig); /* and nothing else was wrong with it */
    cr_assert_eq(rig.journal.next_sequence, 4 * BATCHES + 1);
}

Test(recovery_damage, any_byte_of_the_last_batch_when_a_mark_follows)
{
    for (int i = 0; i < 4; i++)
        journal_rig_append(&rig, 1000);
    journal_rig_commit(&rig);
    journal_rig_mark(&rig);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    expect_each_place_refused(0);
}

Test(recovery_damage, it_names_file_and_offset_also_when_the_watermark_knows_of_it)
{
    write_batches(true);
    test_file_flip(path, rig.batches[2].offset + 500, 1);
    expect_damage_at(path, rig.batches[2].offset);
}

Test(recovery_damage, a_batch_that_became_zeros)
{
    write_batches(false);
    test_file_zero(path, rig.batches[3].offset, rig.batches[3].bytes);
    expect_damage_at(path, rig.batches[3].offset);
}

Test(recovery_damage, all_batches_but_the_last_became_zeros)
{
    write_batches(false);
    test_file_zero(path, 4096, rig.batches[BATCHES - 1].offset - 4096);
    expect_damage_at(path, 4096);
}

Test(recovery_damage, two_batches_that_changed_places)
{
    write_batches(false);
    struct test_bytes file = test_file_load(path);
    test_file_patch(path, rig.batches[1].offset, file.data + rig.batches[2].offset, 8192);
    test_file_patch(path, rig.batches[2].offset, file.data + rig.batches[1].offset, 8192);
    test_bytes_free(&file);
    expect_damage_at(path, rig.batches[1].offset);
}

Test(recovery_damage, a_batch_that_stands_in_the_place_of_another)
{
    write_batches(false);
    struct test_bytes file = test_file_load(path);
    test_file_patch(path, rig.batches[2].offset, file.data + rig.batches[1].offset, 8192);
    test_bytes_free(&file);
    expect_damage_at(path, rig.batches[2].offset);
}

Test(recovery_damage, more_bytes_behind_the_last_batch_than_a_batch_can_have)
{
    rig.segment_bytes = 20 * UINT64_C(1048576);
    journal_rig_reopen(&rig);
    journal_rig_put(&rig, 2);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_file_patch(path, 12288, "x", 1);
    test_file_patch(path, 12288 + SEGMENT_BATCH_BYTES_LIMIT, "x", 1);
    expect_damage_at(path, 12288);
    test_file_zero(path, 12288 + SEGMENT_BATCH_BYTES_LIMIT, 1);
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 4096);
}

/* --- the watermark -------------------------------------------------------------------------- */

Test(recovery_damage, the_watermark_says_more_than_is_there)
{
    write_batches(true);
    journal_rig_set_watermark(&rig, 4 * BATCHES + 1);
    expect_refused("records up to 25 were acknowledged, but only those up to 24 are there");
}

Test(recovery_damage, what_looks_torn_was_acknowledged_says_the_watermark)
{
    write_batches(true);
    test_file_zero(path, rig.batches[BATCHES - 1].offset + 4096, 4096);
    expect_damage_at(path, rig.batches[BATCHES - 1].offset);
}

Test(recovery_damage, the_whole_journal_is_gone_says_the_watermark)
{
    write_batches(true);
    cr_assert_eq(unlink(path), 0);
    expect_refused("records up to 24 were acknowledged");
}

/* --- open segments -------------------------------------------------------------------------- */

Test(recovery_damage, the_header_of_a_segment_that_holds_data)
{
    write_batches(false);
    for (uint64_t offset = 0; offset < 4096; offset += 61) {
        test_file_flip(path, offset, 0x20);
        expect_damage_at(path, 0);
        test_file_flip(path, offset, 0x20);
    }
    test_file_zero(path, 0, 4096);
    expect_damage_at(path, 0);
}

Test(recovery_damage, an_open_segment_that_was_cut_short_between_two_batches)
{
    write_batches(false);
    test_file_truncate(path, rig.batches[4].offset);
    expect_refused(path);
}

Test(recovery_damage, an_open_segment_that_was_cut_short_inside_a_batch)
{
    write_batches(false);
    test_file_truncate(path, rig.batches[4].offset + 4096);
    expect_refused(path);
}

Test(recovery_damage, an_open_segment_of_which_nothing_is_left)
{
    write_batches(true);
    test_file_truncate(path, 0);
    expect_refused("segment file is shorter than its header");
}

Test(recovery_damage, a_full_segment_that_is_not_sealed_while_the_next_one_is_in_use)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 2);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_file_flip(path, rig.batches[5].offset + 200, 1);
    expect_damage_at(path, rig.batches[5].offset);
}

Test(recovery_damage, in_the_last_segment_while_the_one_before_waits_for_its_seal)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 4);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    test_file_flip(path, rig.batches[15].offset + 200, 1);
    struct test_bytes before = test_file_load(path);
    for (int i = 0; i < 2; i++) { /* sealing the one before is allowed, once */
        cr_assert_eq(journal_rig_try_open(&rig), -EBADMSG);
        cr_assert_not_null(strstr(rig.error.text, path), "%s", rig.error.text);
    }
    struct test_bytes after = test_file_load(path);
    cr_assert_eq(before.bytes, after.bytes);
    cr_assert_eq(memcmp(before.data, after.data, before.bytes), 0);
    test_bytes_free(&before);
    test_bytes_free(&after);
    expect_damage_at(path, rig.batches[15].offset);
}

/* Changes the version in a segment's header and makes the checksum right again. */
static void set_version(uint16_t major, uint16_t minor)
{
    struct segment_header header;
    struct test_bytes file = test_file_load(path);
    memcpy(&header, file.data, sizeof(header));
    test_bytes_free(&file);
    header.version_major = major;
    header.version_minor = minor;
    header.crc32c = base_crc32c(&header, offsetof(struct segment_header, crc32c));
    test_file_patch(path, 0, &header, sizeof(header));
}

Test(recovery_damage, a_segment_of_another_major_version_is_refused_and_left_alone)
{
    write_batches(false);
    set_version(2, 0);
    expect_refused("another major version");
    set_version(0, 9);
    expect_refused("another major version");
    set_version(1, 1);
    journal_rig_open(&rig);
    cr_assert_eq(rig.journal.next_sequence, 4 * BATCHES + 1);
}

Test(recovery_damage, a_later_major_version_without_data_is_not_taken_for_an_unused_segment)
{
    journal_rig_put(&rig, 1);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_file_zero(path, 4096, RIG_SEGMENT_BYTES - 4096);
    set_version(2, 0);
    expect_refused("another major version");
}

Test(recovery_damage, what_looks_like_a_footer_before_other_batches_is_damage)
{
    write_batches(false);
    journal_rig_expect_damages(&rig, 0);
    test_file_patch(path, rig.batches[2].offset, "SLUICFTR", 8);
    expect_damage_at(path, rig.batches[2].offset);
    journal_rig_expect_damages(&rig, 1);
}

Test(recovery_damage, a_segment_cut_to_less_than_its_header_is_damage_also_without_a_mark)
{
    write_batches(false);
    for (uint64_t bytes = 4095; bytes > 0; bytes /= 2) {
        test_file_truncate(path, bytes);
        expect_damage_at(path, 0);
        journal_rig_expect_damages(&rig, 1);
    }
}
