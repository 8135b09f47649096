/* The public reader on damaged data: an error that names file and offset, once and for good; never
 * a silent end, a skipped record or one returned twice. */
#include "base/checksum.h"
#include "journal_rig.h"
#include "sample_record.h"
#include "sluice/reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES], text[1024];
static struct journal_rig rig;
static struct sluice_reader *reader;
static struct sluice_record record;

/* Two sealed segments of 14 records and an open one with 4; the journal is closed. */
static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
    journal_rig_fill(&rig);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 4);
    journal_rig_seal(&rig);
    journal_rig_close(&rig);
}

static void tear_down(void)
{
    sluice_reader_close(reader);
    test_directory_remove(directory);
}

TestSuite(reader_damage, .init = set_up, .fini = tear_down);

static void open_reader(uint64_t sequence)
{
    sluice_reader_close(reader);
    int result = sluice_reader_open(directory, 0, sequence, &reader, text, sizeof(text));
    cr_assert_eq(result, 0, "%s", text);
}

static void expect_next(uint64_t from, uint64_t to)
{
    for (uint64_t sequence = from; sequence <= to; sequence++) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, 1, "%d instead of record %" PRIu64 ": %s", result, sequence,
                     sluice_reader_error(reader));
        cr_assert_eq(record.sequence, sequence);
    }
}

/* Fails with that sentence, and again when it is called again. */
static void expect_failure(int code, const char *what)
{
    for (int i = 0; i < 3; i++) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, code, "call %d returned %d (sequence %" PRIu64 "): %s", i, result,
                     record.sequence, sluice_reader_error(reader));
        cr_assert_not_null(strstr(sluice_reader_error(reader), what), "\"%s\" instead of \"%s\"",
                           sluice_reader_error(reader), what);
    }
}

static void expect_damage_at(uint64_t offset, const char *what)
{
    char where[TEST_PATH_BYTES + 128];
    snprintf(where, sizeof(where), "damage in %s at offset %" PRIu64 ": %s", path, offset, what);
    expect_failure(-EBADMSG, where);
}

static void choose(uint64_t number, enum segment_state state)
{
    journal_rig_path(&rig, number, state, path);
}

/* --- batches -------------------------------------------------------------------------------- */

Test(reader_damage, a_damaged_batch_of_a_sealed_segment)
{
    choose(1, SEGMENT_STATE_SEALED);
    test_file_flip(path, 20480 + 700, 1);
    open_reader(1);
    expect_next(1, 4);
    expect_damage_at(20480, "batch payload checksum is wrong");
}

Test(reader_damage, a_damaged_batch_of_the_open_segment_below_the_mark)
{
    choose(3, SEGMENT_STATE_OPEN);
    test_file_flip(path, 12288 + 60, 1);
    open_reader(1);
    expect_next(1, 30);
    expect_damage_at(12288, "batch header checksum is wrong");
}

Test(reader_damage, acknowledged_records_that_became_zeros)
{
    choose(3, SEGMENT_STATE_OPEN);
    test_file_zero(path, 12288, 8192);
    open_reader(1);
    expect_next(1, 30);
    expect_damage_at(12288, "records behind this one were acknowledged and are missing");
}

Test(reader_damage, a_damaged_batch_of_a_sealed_segment_without_a_watermark_file)
{
    journal_rig_remove_watermark(&rig);
    choose(1, SEGMENT_STATE_SEALED);
    test_file_flip(path, 20480 + 700, 1);
    open_reader(1);
    expect_next(1, 3); /* whether 4 can be proved is open */
    if (sluice_reader_next(reader, &record) == 1)
        cr_assert_eq(record.sequence, 4);
    expect_damage_at(20480, "batch payload checksum is wrong");
}

/* Its batches are all there, and the next segment's chain proves it: going on is fine, too. */
Test(reader_damage, a_damaged_footer_of_a_sealed_segment_is_no_silent_end)
{
    journal_rig_remove_watermark(&rig);
    choose(1, SEGMENT_STATE_SEALED);
    test_file_flip(path, 61440 + 50, 1);
    open_reader(1);
    uint64_t next = 1;
    int result;
    while ((result = sluice_reader_next(reader, &record)) == 1)
        cr_assert_eq(record.sequence, next++);
    if (result == 0)
        cr_assert_eq(next, 32, "ended behind %" PRIu64, next - 1); /* the last is not proved */
    else
        expect_damage_at(61440, "footer");
}

/* --- segments ------------------------------------------------------------------------------- */

Test(reader_damage, a_damaged_header_of_a_sealed_segment)
{
    choose(2, SEGMENT_STATE_SEALED);
    test_file_flip(path, 50, 1);
    open_reader(1);
    expect_next(1, 14);
    expect_damage_at(0, "segment header checksum is wrong");
}

Test(reader_damage, a_damaged_header_of_a_sealed_segment_without_a_watermark_file)
{
    journal_rig_remove_watermark(&rig);
    choose(2, SEGMENT_STATE_SEALED);
    test_file_flip(path, 50, 1);
    open_reader(1);
    expect_next(1, 14);
    expect_damage_at(0, "segment header checksum is wrong");
}

Test(reader_damage, a_damaged_header_of_the_segment_to_start_in)
{
    choose(2, SEGMENT_STATE_SEALED);
    test_file_flip(path, 50, 1);
    open_reader(17);
    expect_damage_at(0, "segment header checksum is wrong");
}

Test(reader_damage, a_missing_segment)
{
    choose(2, SEGMENT_STATE_SEALED);
    cr_assert_eq(unlink(path), 0);
    choose(1, SEGMENT_STATE_SEALED);
    open_reader(1);
    expect_next(1, 14);
    expect_failure(-EBADMSG, "segment 2 is missing");
}

Test(reader_damage, a_missing_segment_without_a_watermark_file)
{
    journal_rig_remove_watermark(&rig);
    choose(2, SEGMENT_STATE_SEALED);
    cr_assert_eq(unlink(path), 0);
    open_reader(1);
    expect_next(1, 14);
    expect_failure(-EBADMSG, "damage in ");
}

Test(reader_damage, a_segment_of_another_node)
{
    choose(2, SEGMENT_STATE_SEALED);
    test_file_flip(path, 16, 1);
    struct test_bytes file = test_file_load(path);
    struct segment_header header;
    memcpy(&header, file.data, sizeof(header));
    test_bytes_free(&file);
    header.crc32c = base_crc32c(&header, offsetof(struct segment_header, crc32c));
    test_file_patch(path, 0, &header, sizeof(header));
    open_reader(1);
    while (sluice_reader_next(reader, &record) == 1)
        cr_assert_leq(record.sequence, 14);
    expect_damage_at(16, "segment belongs to another node, journal or position");
}

Test(reader_damage, a_segment_of_another_history_is_refused_for_good)
{
    static struct journal_rig other;
    char other_directory[TEST_PATH_BYTES], from[TEST_PATH_BYTES], to[TEST_PATH_BYTES];
    test_directory_make(other_directory);
    test_path(from, "%s/node", directory);
    test_path(to, "%s/node", other_directory);
    struct test_bytes file = test_file_load(from);
    test_file_store(to, file.data, file.bytes);
    test_bytes_free(&file);
    journal_rig_init(&other, other_directory, 0);
    journal_rig_open(&other);
    journal_rig_append(&other, 150);
    journal_rig_append(&other, 150);
    journal_rig_commit(&other);
    journal_rig_fill(&other);
    journal_rig_fill(&other);
    journal_rig_put(&other, 1);
    journal_rig_seal(&other);
    journal_rig_close(&other);
    journal_rig_path(&other, 2, SEGMENT_STATE_SEALED, from);
    choose(2, SEGMENT_STATE_SEALED);
    file = test_file_load(from);
    test_file_store(path, file.data, file.bytes);
    test_bytes_free(&file);
    test_directory_remove(other_directory);
    open_reader(1);
    expect_next(1, 14);
    expect_damage_at(0, "segment does not continue the one before");
}

/* --- where to start ------------------------------------------------------------------------- */

Test(reader_damage, records_that_were_removed_are_not_skipped_over)
{
    choose(1, SEGMENT_STATE_SEALED);
    cr_assert_eq(unlink(path), 0);
    open_reader(1);
    expect_failure(-ERANGE, "starts at sequence 15, and not at 1");
    open_reader(14);
    expect_failure(-ERANGE, "starts at sequence 15, and not at 14");
    open_reader(15);
    expect_next(15, 32);
}

Test(reader_damage, every_batch_in_turn)
{
    for (uint64_t sequence = 1; sequence <= 32; sequence++) {
        const struct rig_batch *batch = &rig.batches[sequence - 1];
        cr_assert_eq(batch->first_sequence, sequence);
        choose(batch->segment_number,
               batch->segment_number == 3 ? SEGMENT_STATE_OPEN : SEGMENT_STATE_SEALED);
        test_file_flip(path, batch->offset + 1 + sequence * 11, 0x40);
        open_reader(1);
        expect_next(1, sequence - 1);
        expect_damage_at(batch->offset, "batch ");
        test_file_flip(path, batch->offset + 1 + sequence * 11, 0x40);
    }
    open_reader(1);
    expect_next(1, 32);
    cr_assert_eq(sluice_reader_next(reader, &record), 0);
}

/* Whoever got the error may have acted on it; a reader that goes on as if nothing had been would
 * return records of a journal that it called damaged. */
Test(reader_damage, damage_stays_reported_when_the_file_is_put_right)
{
    choose(2, SEGMENT_STATE_SEALED); /* opened anew with each call, so that its bytes are seen */
    test_file_flip(path, 80, 1);
    open_reader(1);
    expect_next(1, 14);
    cr_assert_eq(sluice_reader_next(reader, &record), -EBADMSG);
    test_file_flip(path, 80, 1);
    cr_assert_eq(sluice_reader_next(reader, &record), -EBADMSG);
    open_reader(1);
    expect_next(1, 32);
}
