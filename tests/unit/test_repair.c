/* Repair: whatever is wrong at the end of a journal, afterwards every valid record is there with
 * its bytes and its number, what was acknowledged and is gone is there as `lost`, and the journal
 * goes on. What is wrong elsewhere is left alone. */
#include "repair_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCHES 6
#define LAST    (4 * BATCHES) /* number of the last record */

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
static struct journal_rig rig;
static struct repair_outcome outcome;
static bool lost[REPAIR_RECORDS_MAX];

static void set_up(void)
{
    test_directory_make_in_memory(directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(repair, .init = set_up, .fini = tear_down);

/* Four records in two blocks each. */
static void write_batches(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (int j = 0; j < 4; j++)
            journal_rig_append(&rig, 1000);
        journal_rig_commit(&rig);
    }
}

/* Closed, one open segment with BATCHES batches, `path` its file. */
static void write_segment(void)
{
    write_batches(BATCHES);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
}

/* The same, sealed. */
static void write_sealed(void)
{
    write_batches(BATCHES);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
}

/* Refused by recovery, repaired, fit: records up to `last`, of which `first_lost` to `last_lost`
 * are lost (0: none); the damaged file is kept as it was. */
static void expect_repaired(uint64_t last, uint64_t first_lost, uint64_t last_lost)
{
    struct test_bytes damaged = test_file_load(path);
    cr_assert_eq(journal_rig_try_open(&rig), -EBADMSG);
    cr_assert_not_null(strstr(rig.error.text, "sluice repair"), "%s", rig.error.text);
    repair_rig_apply(&rig, &outcome);
    cr_assert_eq(outcome.last, last, "%" PRIu64 " instead of %" PRIu64, outcome.last, last);
    repair_rig_read(&rig, last, lost);
    for (uint64_t i = 1; i <= last; i++)
        cr_assert_eq(lost[i], i >= first_lost && i <= last_lost, "record %" PRIu64, i);
    struct test_bytes kept = test_file_load(outcome.kept);
    cr_assert(kept.bytes == damaged.bytes && memcmp(kept.data, damaged.data, kept.bytes) == 0);
    test_bytes_free(&damaged);
    test_bytes_free(&kept);
    repair_rig_expect_fit(&rig, last + 1);
    repair_rig_run(&rig, true, &outcome);
    cr_assert(outcome.result == 0 && !outcome.needed);
}

/* Repair says `what` and changes nothing. */
static void expect_refused(const char *what)
{
    char *before = test_directory_snapshot(directory);
    repair_rig_run(&rig, true, &outcome);
    cr_assert_eq(outcome.result, -EBADMSG, "%d: %s", outcome.result, outcome.error.text);
    cr_assert_not_null(strstr(outcome.error.text, what), "\"%s\" instead of \"%s\"",
                       outcome.error.text, what);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
    rig.error.text[0] = '\0';
    cr_assert_eq(journal_rig_try_open(&rig), -EBADMSG);
    cr_assert_null(strstr(rig.error.text, "sluice repair"), "%s", rig.error.text);
}

static void expect_left_alone(void)
{
    char *before = test_directory_snapshot(directory);
    repair_rig_run(&rig, true, &outcome);
    cr_assert_eq(outcome.result, 0, "%s", outcome.error.text);
    cr_assert_not(outcome.needed);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

/* --- an open segment ------------------------------------------------------------------------ */

Test(repair, a_flip_in_a_record_of_the_last_batch_loses_that_record)
{
    write_segment();
    test_file_flip(path, rig.batches[5].offset + 128 + 1200, 1);
    expect_repaired(LAST, 22, 22);
}

Test(repair, a_flip_in_the_header_of_the_last_batch_loses_its_records)
{
    write_segment();
    test_file_flip(path, rig.batches[5].offset + 50, 1);
    expect_repaired(LAST, 21, 24);
}

Test(repair, a_flip_in_padding_loses_nothing)
{
    write_segment();
    test_file_flip(path, rig.batches[5].offset + 8191, 1);
    expect_repaired(LAST, 0, 0);
}

Test(repair, a_flip_in_the_length_of_a_record_does_not_hide_those_behind_it)
{
    write_segment();
    test_file_flip(path, rig.batches[5].offset + 128 + 8, 8);
    expect_repaired(LAST, 21, 21);
}

Test(repair, batches_behind_the_damage_are_rescued)
{
    write_segment();
    test_file_flip(path, rig.batches[2].offset + 128 + 500, 1);
    expect_repaired(LAST, 9, 9);
}

Test(repair, batches_behind_a_damaged_header_are_rescued)
{
    write_segment();
    test_file_flip(path, rig.batches[2].offset + 100, 1);
    expect_repaired(LAST, 9, 12);
}

Test(repair, batches_behind_zeros_are_rescued)
{
    write_segment();
    test_file_zero(path, rig.batches[0].offset, 3 * 8192);
    expect_repaired(LAST, 1, 12);
}

Test(repair, a_last_batch_of_zeros_below_the_mark)
{
    write_segment();
    test_file_zero(path, rig.batches[5].offset, 8192);
    expect_repaired(LAST, 21, 24);
}

Test(repair, nothing_but_the_header_is_left)
{
    write_segment();
    test_file_zero(path, 4096, RIG_SEGMENT_BYTES - 4096);
    expect_repaired(LAST, 1, 24);
}

Test(repair, the_mark_says_more_than_is_there)
{
    write_segment();
    journal_rig_set_watermark(&rig, LAST + 3);
    expect_repaired(LAST + 3, LAST + 1, LAST + 3);
}

Test(repair, without_a_watermark_file_the_batches_behind_say_what_is_owed)
{
    write_segment();
    journal_rig_remove_watermark(&rig);
    test_file_flip(path, rig.batches[3].offset + 50, 1);
    expect_repaired(LAST, 13, 16);
}

Test(repair, without_a_watermark_file_a_mark_behind_says_what_is_owed)
{
    write_batches(BATCHES);
    journal_rig_mark(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    journal_rig_remove_watermark(&rig);
    test_file_zero(path, rig.batches[5].offset, 8192);
    expect_repaired(LAST, 21, 24);
}

Test(repair, a_damaged_mark_with_a_batch_behind_it)
{
    write_batches(2);
    journal_rig_mark(&rig);
    write_batches(2);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_file_flip(path, rig.batches[2].offset + 60, 1);
    expect_repaired(16, 0, 0);
}

Test(repair, an_open_segment_that_was_cut_short_gets_its_size_back)
{
    write_segment();
    test_file_truncate(path, rig.batches[5].offset + 4500);
    expect_repaired(LAST, 24, 24);
    struct stat status;
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_size, RIG_SEGMENT_BYTES);
}

Test(repair, a_copy_of_a_batch_behind_the_damage_does_no_harm)
{
    write_segment();
    struct test_bytes file = test_file_load(path);
    test_file_patch(path, rig.batches[5].offset + 8192, file.data + rig.batches[4].offset, 8192);
    test_bytes_free(&file);
    test_file_flip(path, rig.batches[4].offset + 200, 1);
    expect_repaired(LAST, 0, 0); /* the copy has what the flip took */
}

Test(repair, the_header_of_the_segment_is_made_again)
{
    write_segment();
    test_file_flip(path, 70, 1);
    expect_repaired(LAST, 0, 0);
}

Test(repair, a_header_of_zeros_is_made_again_and_what_is_behind_it_judged)
{
    write_segment();
    test_file_zero(path, 0, 4096);
    test_file_flip(path, rig.batches[1].offset + 128 + 500, 1);
    expect_repaired(LAST, 5, 5);
}

Test(repair, lost_records_stay_lost_when_repaired_again)
{
    write_segment();
    test_file_flip(path, rig.batches[2].offset + 128 + 500, 1);
    expect_repaired(LAST, 9, 9); /* and writes record 25 behind */
    struct repair_places places;
    repair_places_of(&rig, 1, path, &places);
    cr_assert_eq(places.items[24].sequence, 25);
    test_file_flip(path, places.items[10].offset + 300, 1); /* record 11, rescued before */
    repair_rig_apply(&rig, &outcome);
    repair_rig_read(&rig, 25, lost);
    for (uint64_t i = 1; i <= 25; i++)
        cr_assert_eq(lost[i], i == 9 || i == 11, "record %" PRIu64, i);
    repair_rig_expect_fit(&rig, 26);
    char kept[TEST_PATH_BYTES];
    test_path(kept, "%s/damaged", directory);
    cr_assert_eq(test_directory_count(kept), 2);
}

/* --- bytes from elsewhere ------------------------------------------------------------------- */

/* The last segment of another directory, of the same node or not, with the same batches; the first
 * `sealed` of them are in a segment before. */
static struct test_bytes make_donor(bool same_node, size_t body_bytes, int sealed)
{
    static struct journal_rig other;
    char other_directory[TEST_PATH_BYTES], from[TEST_PATH_BYTES], to[TEST_PATH_BYTES];
    test_directory_make_in_memory(other_directory);
    journal_rig_init(&other, other_directory, 0);
    journal_rig_open(&other);
    journal_rig_close(&other);
    test_path(from, "%s/node", directory);
    test_path(to, "%s/node", other_directory);
    struct test_bytes node = test_file_load(from);
    if (same_node) {
        test_file_store(to, node.data, node.bytes);
        test_path(to, "%s/watermark", other_directory);
        cr_assert_eq(unlink(to), 0);
    }
    test_bytes_free(&node);
    journal_rig_open(&other);
    for (int i = 0; i < BATCHES; i++) {
        for (int j = 0; j < 4; j++)
            journal_rig_append(&other, body_bytes);
        journal_rig_commit(&other);
        if (i + 1 == sealed)
            journal_rig_seal_current(&other);
    }
    journal_rig_close(&other);
    journal_rig_path(&other, sealed > 0 ? 2 : 1, SEGMENT_STATE_OPEN, from);
    struct test_bytes donor = test_file_load(from);
    test_directory_remove(other_directory);
    return donor;
}

Test(repair, a_batch_of_another_node_in_the_place_of_one_is_not_taken)
{
    write_segment();
    struct test_bytes donor = make_donor(false, 1000, 0);
    test_file_patch(path, rig.batches[3].offset, donor.data + rig.batches[3].offset, 8192);
    test_bytes_free(&donor);
    expect_repaired(LAST, 13, 16);
}

Test(repair, a_batch_of_another_segment_in_the_place_of_one_is_not_taken)
{
    write_batches(BATCHES);
    journal_rig_seal_current(&rig);
    write_batches(BATCHES);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    struct test_bytes first = test_file_load(path);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    test_file_patch(path, rig.batches[3].offset, first.data + rig.batches[3].offset, 8192);
    test_bytes_free(&first);
    expect_repaired(2 * LAST, LAST + 13, LAST + 16);
}

Test(repair, a_batch_with_the_right_numbers_from_another_segment_is_not_taken)
{
    write_segment();
    struct test_bytes donor = make_donor(true, 1000, 3); /* segment 2 begins with number 13 */
    test_file_patch(path, rig.batches[3].offset, donor.data + 4096, 8192);
    test_bytes_free(&donor);
    expect_repaired(LAST, 13, 16);
}

Test(repair, a_record_in_the_batch_of_other_numbers_is_not_taken)
{
    write_segment();
    struct test_bytes file = test_file_load(path);
    test_file_patch(path, rig.batches[3].offset + 128, file.data + rig.batches[5].offset + 128,
                    8192 - 128);
    test_bytes_free(&file);
    test_file_zero(path, rig.batches[4].offset, 2 * 8192);
    expect_repaired(LAST, 13, 24);
}

Test(repair, two_different_records_of_one_number_are_refused)
{
    write_segment();
    struct test_bytes donor = make_donor(true, 999, 0);
    test_file_flip(path, rig.batches[4].offset + 200, 1);
    test_file_patch(path, rig.batches[5].offset + 8192, donor.data + rig.batches[5].offset, 4096);
    test_bytes_free(&donor);
    expect_refused("two different records have sequence number 21");
}

Test(repair, a_header_that_names_another_place_is_refused)
{
    write_segment();
    struct test_bytes donor = make_donor(false, 1000, 0);
    test_file_patch(path, 0, donor.data, 4096);
    test_bytes_free(&donor);
    expect_refused("another node, journal or position");
}

/* --- a sealed segment ----------------------------------------------------------------------- */

Test(repair, a_damaged_footer_of_the_last_segment)
{
    write_sealed();
    test_file_flip(path, rig.batches[5].offset + 8192 + 100, 1);
    expect_repaired(LAST, 0, 0);
    cr_assert_not(test_file_exists(path));
    char mended[TEST_PATH_BYTES];
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, mended);
    cr_assert(test_file_exists(mended));
}

Test(repair, a_footer_says_what_is_owed)
{
    write_sealed();
    journal_rig_remove_watermark(&rig);
    test_file_zero(path, rig.batches[5].offset, 8192);
    repair_rig_apply(&rig, &outcome); /* recovery trusts the footer and would start */
    cr_assert_eq(outcome.last, LAST);
    cr_assert_eq(outcome.lost, 4);
    repair_rig_expect_fit(&rig, LAST + 1);
}

Test(repair, a_sealed_segment_that_was_cut_short)
{
    write_sealed();
    test_file_truncate(path, rig.batches[4].offset);
    expect_repaired(LAST, 17, 24);
}

Test(repair, a_sealed_segment_whose_header_is_gone)
{
    write_sealed();
    test_file_zero(path, 0, 4096);
    expect_repaired(LAST, 0, 0);
}

/* --- more than one segment ------------------------------------------------------------------ */

/* Three segments: two sealed, one open; `path` is that of `number`. */
static void write_three(uint64_t number)
{
    write_batches(BATCHES);
    journal_rig_seal_current(&rig);
    write_batches(BATCHES);
    journal_rig_seal_current(&rig);
    write_batches(BATCHES);
    journal_rig_prepare(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, number, number == 3 ? SEGMENT_STATE_OPEN : SEGMENT_STATE_SEALED, path);
}

Test(repair, the_last_of_several_segments)
{
    write_three(3);
    test_file_flip(path, rig.batches[15].offset + 128 + 500, 1);
    expect_repaired(3 * LAST, 2 * LAST + 13, 2 * LAST + 13);
}

Test(repair, the_header_of_the_last_of_several_segments)
{
    write_three(3);
    test_file_flip(path, 60, 1);
    expect_repaired(3 * LAST, 0, 0);
}

Test(repair, damage_with_a_segment_in_use_behind_it_is_refused)
{
    write_three(2);
    test_file_flip(path, rig.batches[11].offset + 8192 + 100, 1);
    expect_refused(path);
    test_file_flip(path, rig.batches[11].offset + 8192 + 100, 1);
    test_file_flip(path, 60, 1);
    expect_refused(path);
}

Test(repair, damage_in_an_open_segment_with_another_one_in_use_behind_it_is_refused)
{
    write_batches(BATCHES);
    journal_rig_seal_current(&rig);
    write_batches(2);
    journal_rig_close(&rig);
    char sealed[TEST_PATH_BYTES];
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, sealed);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_file_rename(sealed, path);
    test_file_flip(path, rig.batches[3].offset + 200, 1);
    expect_refused(path);
}

Test(repair, a_missing_segment_is_refused_and_the_missing_numbers_are_named)
{
    write_three(3);
    cr_assert_eq(unlink(path), 0);
    journal_rig_set_watermark(&rig, 3 * LAST + 600);
    repair_rig_run(&rig, true, &outcome);
    cr_assert_eq(outcome.result, -EBADMSG); /* number 4 is prepared */
    cr_assert_not_null(strstr(outcome.error.text, "a segment is missing before this one"));
    journal_rig_path(&rig, 4, SEGMENT_STATE_OPEN, path);
    cr_assert_eq(unlink(path), 0);
    expect_refused("segments with records");
    cr_assert_not_null(strstr(outcome.error.text, "to 672 are missing"), "%s", outcome.error.text);
}

Test(repair, a_journal_of_which_nothing_is_left_is_refused)
{
    write_segment();
    cr_assert_eq(unlink(path), 0);
    expect_refused("records 1 to 24");
}

/* --- left alone ----------------------------------------------------------------------------- */

Test(repair, a_journal_without_damage_is_left_alone)
{
    journal_rig_close(&rig);
    expect_left_alone();
    journal_rig_open(&rig);
    write_batches(2);
    journal_rig_close(&rig);
    expect_left_alone();
    journal_rig_open(&rig);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    expect_left_alone();
}

Test(repair, a_torn_tail_is_left_to_recovery)
{
    write_segment();
    test_file_patch(path, rig.batches[5].offset + 8192, "torn", 4);
    expect_left_alone();
    journal_rig_set_watermark(&rig, LAST - 4); /* the last batch had not been acknowledged */
    test_file_flip(path, rig.batches[5].offset + 200, 1);
    expect_left_alone();
    journal_rig_open(&rig);
    cr_assert_eq(rig.recovery.torn_bytes, 12288);
}

Test(repair, without_apply_nothing_changes)
{
    write_segment();
    test_file_flip(path, rig.batches[2].offset + 200, 1);
    char *before = test_directory_snapshot(directory);
    repair_rig_run(&rig, false, &outcome);
    cr_assert(outcome.result == 0 && outcome.needed);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

/* --- cut off and failing -------------------------------------------------------------------- */

/* The calls with which repair changes something are counted and written down, a letter each; the
 * one with number `failing_call` fails, or is where the process ends. */
static unsigned call_count, failing_call;
static int failing_errno; /* 0: the process ends */
static char call_log[256];

static bool call_fails(char letter)
{
    if (call_count + 1 < sizeof(call_log))
        call_log[call_count] = letter;
    if (++call_count != failing_call)
        return false;
    if (failing_errno == 0)
        _exit(77);
    errno = failing_errno;
    return true;
}

static char letter_of_flush(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? 'D' : 'F';
}

#define WRAP(letter, type, name, parameters, arguments)                                            \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return call_fails(letter) ? -1 : __real_##name arguments;                                  \
    }

WRAP('a', int, fallocate64, (int fd, int mode, off_t offset, off_t bytes),
     (fd, mode, offset, bytes))
WRAP(letter_of_flush(fd), int, fsync, (int fd), (fd))
WRAP('l', int, linkat, (int from_fd, const char *from, int to_fd, const char *to, int flags),
     (from_fd, from, to_fd, to, flags))
WRAP('m', int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode))
WRAP('w', ssize_t, pwrite64, (int fd, const void *data, size_t bytes, off_t offset),
     (fd, data, bytes, offset))
WRAP('r', int, renameat, (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to))

static void expect_last_calls(const char *calls)
{
    test_file_flip(path, rig.batches[2].offset + 128 + 500, 1);
    memset(call_log, 0, sizeof(call_log));
    call_count = 0;
    repair_rig_apply(&rig, &outcome);
    cr_assert(call_count < sizeof(call_log));
    cr_assert_str_eq(call_log + call_count - strlen(calls), calls);
}

/* The replacement is flushed; then the damaged file gets its second name, flushed with the
 * directory above it; only then do names change, each change flushed before the next. */
Test(repair, what_a_name_stands_for_is_on_disk_before_the_name)
{
    write_segment();
    expect_last_calls("wFmlDDrD");
}

Test(repair, what_a_name_stands_for_is_on_disk_before_the_name_of_a_sealed_one)
{
    write_sealed();
    expect_last_calls("wFmlDDrDrD");
}

/* Exactly one file has the segment's name, and the damaged bytes have one somewhere. */
static void expect_nothing_lost_in_between(const struct test_bytes *damaged)
{
    char open_path[TEST_PATH_BYTES], sealed_path[TEST_PATH_BYTES], kept[TEST_PATH_BYTES];
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, open_path);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, sealed_path);
    cr_assert(test_file_exists(open_path) != test_file_exists(sealed_path), "call %u",
              failing_call);
    struct test_bytes now = test_file_load(test_file_exists(open_path) ? open_path : sealed_path);
    bool is_damaged =
        now.bytes == damaged->bytes && memcmp(now.data, damaged->data, now.bytes) == 0;
    test_bytes_free(&now);
    test_path(kept, "%s/damaged", directory);
    bool is_kept = test_file_exists(kept) && test_directory_count(kept) == 1;
    cr_assert(is_damaged || is_kept, "call %u", failing_call);
    if (!is_kept)
        return;
    test_directory_only(kept, sealed_path);
    now = test_file_load(sealed_path);
    cr_assert(now.bytes == damaged->bytes && memcmp(now.data, damaged->data, now.bytes) == 0);
    test_bytes_free(&now);
}

/* A copy of the directory as it is now, to begin anew from. */
static char before[TEST_PATH_BYTES];

static void begin_anew(void)
{
    test_directory_remove(directory);
    test_directory_copy(before, directory);
}

/* Runs repair in a process that ends at the call; false when it came to its end before. */
static bool repair_cut_off_at(unsigned call)
{
    failing_call = call;
    failing_errno = 0;
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        call_count = 0;
        repair_rig_run(&rig, true, &outcome);
        _exit(outcome.result == 0 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    failing_call = 0;
    cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
    return WEXITSTATUS(status) == 77;
}

static void expect_mended(void)
{
    char kept[TEST_PATH_BYTES];
    repair_rig_read(&rig, LAST, lost);
    for (uint64_t i = 1; i <= LAST; i++)
        cr_assert_eq(lost[i], i == 9, "record %" PRIu64 ", call %u", i, failing_call);
    test_path(kept, "%s/damaged", directory);
    cr_assert_eq(test_directory_count(kept), 1);
    repair_rig_expect_fit(&rig, LAST + 1);
}

/* The directory with record 9 damaged, in `before` and in place; returns the damaged file. */
static struct test_bytes damage_record_9(void)
{
    test_file_flip(path, rig.batches[2].offset + 128 + 500, 1);
    test_path(before, "%s.before", directory);
    test_directory_copy(directory, before);
    return test_file_load(path);
}

static void cut_off_at_every_call(void)
{
    struct test_bytes damaged = damage_record_9();
    unsigned call = 1;
    for (;; call++) {
        begin_anew();
        if (!repair_cut_off_at(call))
            break;
        expect_nothing_lost_in_between(&damaged);
        repair_rig_run(&rig, true, &outcome);
        cr_assert_eq(outcome.result, 0, "call %u: %s", call, outcome.error.text);
        expect_mended();
    }
    cr_assert(call > 10, "only %u calls", call);
    expect_mended();
    test_bytes_free(&damaged);
    test_directory_remove(before);
}

Test(repair, cut_off_at_any_call_it_can_be_run_again)
{
    write_segment();
    cut_off_at_every_call();
}

Test(repair, cut_off_at_any_call_on_a_sealed_segment_it_can_be_run_again)
{
    write_sealed();
    cut_off_at_every_call();
}

/* Each call in turn fails with `error`: the damaged file stays under a name, and the next repair
 * mends. */
static void fail_at_every_call(int error)
{
    struct test_bytes damaged = damage_record_9();
    char *intact = test_directory_snapshot(directory);
    for (unsigned call = 1;; call++) {
        begin_anew();
        failing_call = call;
        failing_errno = error;
        call_count = 0;
        repair_rig_run(&rig, true, &outcome);
        failing_call = 0;
        if (call_count < call) /* there are no more */
            break;
        expect_nothing_lost_in_between(&damaged);
        char *after = test_directory_snapshot(directory);
        bool may_have_changed = strstr(outcome.error.text, "Run repair again") != NULL;
        if (outcome.result < 0 && !may_have_changed)
            cr_assert_str_eq(after, intact, "call %u: %s", call, outcome.error.text);
        free(after);
        repair_rig_run(&rig, true, &outcome);
        cr_assert_eq(outcome.result, 0, "call %u: %s", call, outcome.error.text);
        expect_mended();
    }
    expect_mended();
    free(intact);
    test_bytes_free(&damaged);
    test_directory_remove(before);
}

Test(repair, a_full_disk_leaves_everything_as_it_was)
{
    write_segment();
    fail_at_every_call(ENOSPC);
}

Test(repair, a_failing_disk_leaves_everything_as_it_was_or_under_a_name)
{
    write_sealed();
    fail_at_every_call(EIO);
}
