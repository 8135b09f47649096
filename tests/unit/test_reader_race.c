/* Readers beside an engine that goes on between two of their steps. The test replaces openat, so
 * that the engine writes, rolls or seals at the very moment a reader opens a certain file. */
#include "journal_rig.h"
#include "sluice/reader.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], text[1024];
static struct journal_rig rig;
static struct sluice_reader *reader;
static struct sluice_record record;

static const char *hooked_name; /* `hook` runs once, before this is opened */
static void (*hook)(void);

int openat(int directory_fd, const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    if (hook != NULL && strcmp(name, hooked_name) == 0) {
        void (*run)(void) = hook;
        hook = NULL;
        run();
    }
    return (int)syscall(SYS_openat, directory_fd, name, flags, mode);
}

static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    sluice_reader_close(reader);
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(reader_race, .init = set_up, .fini = tear_down);

static void when_opening(const char *name, void (*run)(void))
{
    hooked_name = name;
    hook = run;
}

static void expect_hook_ran(void)
{
    cr_assert_null(hook, "%s was never opened", hooked_name);
}

static void open_reader(void)
{
    int result = sluice_reader_open(directory, 0, 1, &reader, text, sizeof(text));
    cr_assert_eq(result, 0, "%s", text);
}

/* Calls until nothing more comes; all up to `last` must come, in order. */
static void expect_the_rest(uint64_t next, uint64_t last)
{
    for (int idle = 0; idle < 3;) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_geq(result, 0, "%s", sluice_reader_error(reader));
        if (result == 1)
            cr_assert_eq(record.sequence, next++);
        else
            idle++;
    }
    cr_assert_eq(next, last + 1);
}

static void write_one(void)
{
    journal_rig_put(&rig, 1);
}

static void write_and_roll(void)
{
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 2);
}

static void write_roll_and_seal(void)
{
    write_and_roll();
    journal_rig_seal(&rig);
}

static void seal(void)
{
    journal_rig_seal_current(&rig);
}

Test(reader_race, a_roll_between_the_last_look_and_the_next_segment_is_no_damage)
{
    journal_rig_put(&rig, 3);
    open_reader();
    when_opening("0000000002.sealed", write_and_roll);
    expect_the_rest(1, 16);
    expect_hook_ran();
}

Test(reader_race, a_roll_and_a_seal_between_the_last_look_and_the_next_segment_are_no_damage)
{
    journal_rig_put(&rig, 3);
    open_reader();
    when_opening("0000000002.sealed", write_roll_and_seal);
    expect_the_rest(1, 16);
    expect_hook_ran();
}

Test(reader_race, a_batch_between_the_last_look_and_the_next_segment_is_found_later)
{
    journal_rig_put(&rig, 3);
    journal_rig_prepare(&rig);
    open_reader();
    when_opening("0000000002.sealed", write_one);
    expect_the_rest(1, 4);
    expect_hook_ran();
}

Test(reader_race, a_seal_between_two_tries_to_open_a_segment_is_no_missing_segment)
{
    journal_rig_put(&rig, 3);
    open_reader();
    when_opening("0000000001.open", seal);
    expect_the_rest(1, 3);
    expect_hook_ran();
}

/* --- an engine that fails, dies and starts anew ---------------------------------------------- */

/* As when the flush of a segment's header fails, and the start after that goes on before it. */
static void roll_and_lose_the_header(void)
{
    char path[TEST_PATH_BYTES];
    journal_rig_append(&rig, 9000); /* more than is left of segment 1 */
    journal_rig_commit(&rig);
    segment_watermark_publish(&rig.watermark, 0, 12);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    struct rig_batch batch = *journal_rig_batch(&rig, 0);
    cr_assert_eq(batch.segment_number, 2);
    test_file_zero(path, batch.offset, batch.bytes);
}

static void start_anew_in_another_file(void)
{
    char path[TEST_PATH_BYTES];
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    journal_rig_close(&rig);
    cr_assert_eq(unlink(path), 0);
    journal_rig_open(&rig);
    journal_rig_put(&rig, 1); /* there is room for this one in segment 1 */
    cr_assert_eq(journal_rig_batch(&rig, 0)->segment_number, 1);
    journal_rig_append(&rig, 9000);
    journal_rig_commit(&rig);
}

Test(reader_race, a_segment_that_was_entered_and_vanished_does_not_hold_a_reader)
{
    journal_rig_put(&rig, 12);
    open_reader();
    roll_and_lose_the_header();
    expect_the_rest(1, 12);
    start_anew_in_another_file();
    expect_the_rest(13, 14);
}

Test(reader_race, a_reader_that_starts_in_a_segment_that_vanished_goes_on_in_the_one_before)
{
    journal_rig_put(&rig, 12);
    roll_and_lose_the_header();
    int result = sluice_reader_open(directory, 0, SLUICE_FROM_NOW, &reader, text, sizeof(text));
    cr_assert_eq(result, 0, "%s", text);
    expect_the_rest(13, 12);
    start_anew_in_another_file();
    expect_the_rest(13, 14);
}

Test(reader_race, a_first_segment_that_vanished_does_not_hold_a_reader)
{
    char path[TEST_PATH_BYTES];
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    journal_rig_put(&rig, 1);
    segment_watermark_publish(&rig.watermark, 0, 0);
    test_file_zero(path, 4096, 4096);
    open_reader();
    expect_the_rest(1, 0);
    journal_rig_close(&rig);
    cr_assert_eq(unlink(path), 0);
    journal_rig_open(&rig);
    journal_rig_put(&rig, 2);
    expect_the_rest(1, 2);
}

static void lose_the_mark_and_go_on(void)
{
    char path[TEST_PATH_BYTES];
    struct rig_batch mark = *journal_rig_batch(&rig, 0);
    cr_assert_eq(mark.record_count, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    journal_rig_close(&rig);
    test_file_zero(path, mark.offset, mark.bytes);
    journal_rig_open(&rig);
    write_and_roll();
}

Test(reader_race, verify_does_not_take_a_mark_that_vanished_for_damage)
{
    journal_rig_put(&rig, 3);
    journal_rig_mark(&rig);
    journal_rig_prepare(&rig);
    when_opening("0000000002.sealed", lose_the_mark_and_go_on);
    journal_rig_expect_damages(&rig, 0);
    expect_hook_ran();
}

static void remove_what_was_never_used(void)
{
    char path[TEST_PATH_BYTES];
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, path);
    cr_assert_eq(unlink(path), 0);
}

Test(reader_race, verify_does_not_miss_a_segment_that_was_never_used)
{
    journal_rig_put(&rig, 3);
    journal_rig_prepare(&rig);
    when_opening("0000000002.sealed", remove_what_was_never_used);
    journal_rig_expect_damages(&rig, 0);
    expect_hook_ran();
}

/* --- verify --------------------------------------------------------------------------------- */

Test(reader_race, verify_does_not_take_a_roll_for_damage)
{
    journal_rig_put(&rig, 3);
    journal_rig_prepare(&rig);
    when_opening("0000000002.sealed", write_and_roll);
    journal_rig_expect_damages(&rig, 0);
    expect_hook_ran();
}

Test(reader_race, verify_does_not_take_a_roll_and_a_seal_for_damage)
{
    journal_rig_put(&rig, 3);
    journal_rig_prepare(&rig);
    when_opening("0000000002.sealed", write_roll_and_seal);
    journal_rig_expect_damages(&rig, 0);
    expect_hook_ran();
}

Test(reader_race, verify_follows_a_segment_that_is_sealed_under_it)
{
    journal_rig_put(&rig, 3);
    when_opening("0000000001.open", seal);
    journal_rig_expect_damages(&rig, 0);
    expect_hook_ran();
}
