/* The public reader: every record once, in order, and none before it is durable. */
#include "journal_rig.h"
#include "sample_record.h"
#include "sluice/reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], text[1024];
static struct journal_rig rig;
static struct sluice_reader *reader;
static struct sluice_record record;

static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 3);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    sluice_reader_close(reader);
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(reader, .init = set_up, .fini = tear_down);

static void open_reader(uint64_t sequence)
{
    sluice_reader_close(reader);
    int result = sluice_reader_open(directory, 3, sequence, &reader, text, sizeof(text));
    cr_assert_eq(result, 0, "%s", text);
}

/* The next records are `from` to `to`, with the bytes they were given. */
static void expect_next(uint64_t from, uint64_t to)
{
    char body[SAMPLE_BODY_BYTES_MAX];
    for (uint64_t sequence = from; sequence <= to; sequence++) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, 1, "%d instead of record %lu: %s", result, (unsigned long)sequence,
                     sluice_reader_error(reader));
        cr_assert_eq(record.sequence, sequence, "%lu instead of %lu",
                     (unsigned long)record.sequence, (unsigned long)sequence);
        sample_body(sequence, record.body.bytes, body);
        cr_assert_eq(memcmp(record.body.data, body, record.body.bytes), 0);
    }
}

static void expect_nothing_more(void)
{
    for (int i = 0; i < 3; i++) {
        int result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, 0, "%d: %s", result,
                     result < 0 ? sluice_reader_error(reader) : "a record");
    }
}

/* --- what a record holds -------------------------------------------------------------------- */

Test(reader, a_record_has_every_field_it_was_stored_with)
{
    static const char body[] = "{\"a\":\n1}";
    struct record_envelope envelope;
    sample_envelope(1, body, sizeof(body) - 1, &envelope);
    envelope.kind = SEGMENT_RECORD_CORRECTION;
    envelope.flags = SEGMENT_RECORD_OFFSET_KNOWN;
    envelope.device_offset_minutes = -90;
    envelope.center_id = (struct record_text){"center", 6};
    envelope.instrument = (struct record_text){"instrument", 10};
    envelope.form_version = (struct record_text){"2", 1};
    envelope.visit = (struct record_text){"visit", 5};
    envelope.timezone = (struct record_text){"zone", 4};
    envelope.amends = (struct record_text){"earlier", 7};
    envelope.findings[0] = (struct record_text){"late\0by", 7};
    envelope.finding_count = 1;
    segment_journal_append(&rig.journal, &envelope);
    journal_rig_commit(&rig);
    open_reader(1);
    cr_assert_eq(sluice_reader_next(reader, &record), 1);
    cr_assert_eq(record.journal, 3);
    cr_assert_eq(record.kind, SLUICE_RECORD_CORRECTION);
    cr_assert_eq(record.received_at_ns, envelope.received_at_ns);
    cr_assert_eq(record.device_time_ns, envelope.device_time_ns);
    cr_assert_eq(record.device_offset_known, 1);
    cr_assert_eq(record.device_offset_minutes, -90);
    cr_assert_eq(memcmp(record.trace_id, envelope.trace_id, 16), 0);
    cr_assert_eq(memcmp(record.sha256, envelope.body_sha256, 32), 0);
    const struct {
        struct sluice_text found;
        const char *expected;
    } fields[] = {
        {record.submission_id, "submission"},
        {record.study_id, "study"},
        {record.center_id, "center"},
        {record.patient_id, "patient"},
        {record.instrument, "instrument"},
        {record.form_version, "2"},
        {record.visit, "visit"},
        {record.timezone, "zone"},
        {record.amends, "earlier"},
        {record.body, body},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        cr_assert_eq(fields[i].found.bytes, strlen(fields[i].expected));
        cr_assert_eq(memcmp(fields[i].found.data, fields[i].expected, fields[i].found.bytes), 0);
    }
    cr_assert_null(record.reason.data);
    cr_assert_eq(record.finding_count, 1);
    cr_assert_eq(record.findings[0].bytes, 7);
    cr_assert_eq(memcmp(record.findings[0].data, "late\0by", 7), 0);
}

/* --- the watermark -------------------------------------------------------------------------- */

Test(reader, a_batch_behind_the_watermark_is_not_returned_until_it_is_published)
{
    journal_rig_put(&rig, 3);
    segment_watermark_publish(&rig.watermark, 3, 2); /* as before the last flush */
    open_reader(1);
    expect_next(1, 2);
    expect_nothing_more();
    segment_watermark_publish(&rig.watermark, 3, 3);
    expect_next(3, 3);
    expect_nothing_more();
}

Test(reader, a_mark_inside_a_batch_does_not_show_half_of_it)
{
    journal_rig_put(&rig, 1);
    journal_rig_append(&rig, 100);
    journal_rig_append(&rig, 100);
    journal_rig_commit(&rig);
    segment_watermark_publish(&rig.watermark, 3, 2);
    open_reader(1);
    expect_next(1, 1);
    for (int i = 0; i < 3; i++) /* no engine publishes such a mark: nothing, or damage */
        cr_assert_leq(sluice_reader_next(reader, &record), 0, "half of a batch");
}

Test(reader, a_batch_that_vanishes_before_it_was_published_was_never_seen)
{
    journal_rig_put(&rig, 3);
    struct rig_batch last = *journal_rig_batch(&rig, 0);
    char path[TEST_PATH_BYTES];
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    segment_watermark_publish(&rig.watermark, 3, 2);
    open_reader(1);
    expect_next(1, 2);
    expect_nothing_more();
    journal_rig_close(&rig);
    test_file_zero(path, last.offset, last.bytes);
    journal_rig_open(&rig);
    journal_rig_append(&rig, 777); /* another record 3 */
    journal_rig_commit(&rig);
    expect_next(3, 3);
    cr_assert_eq(record.body.bytes, 777);
    expect_nothing_more();
}

Test(reader, a_batch_half_written_is_not_there_yet)
{
    char path[TEST_PATH_BYTES];
    journal_rig_put(&rig, 2);
    journal_rig_append(&rig, 5000);
    journal_rig_commit(&rig);
    struct rig_batch last = *journal_rig_batch(&rig, 0);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    struct test_bytes file = test_file_load(path);
    segment_watermark_publish(&rig.watermark, 3, 2);
    test_file_zero(path, last.offset + 4096, 4096);
    open_reader(1);
    expect_next(1, 2);
    expect_nothing_more();
    test_file_patch(path, last.offset, file.data + last.offset, last.bytes);
    segment_watermark_publish(&rig.watermark, 3, 3);
    test_bytes_free(&file);
    expect_next(3, 3);
}

Test(reader, without_a_watermark_file_a_batch_is_proved_by_the_one_behind_it)
{
    journal_rig_put(&rig, 3);
    journal_rig_close(&rig);
    journal_rig_remove_watermark(&rig);
    open_reader(1);
    expect_next(1, 2);
    expect_nothing_more();
}

Test(reader, without_a_watermark_file_a_mark_proves_the_last_batch)
{
    journal_rig_put(&rig, 3);
    journal_rig_mark(&rig);
    journal_rig_close(&rig);
    journal_rig_remove_watermark(&rig);
    open_reader(1);
    expect_next(1, 3);
    expect_nothing_more();
}

Test(reader, without_a_watermark_file_a_footer_proves_the_last_batch)
{
    journal_rig_put(&rig, 3);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    journal_rig_remove_watermark(&rig);
    open_reader(1);
    expect_next(1, 3);
    expect_nothing_more();
}

Test(reader, an_old_watermark_hides_only_the_last_batch)
{
    journal_rig_put(&rig, 5);
    journal_rig_close(&rig);
    journal_rig_set_watermark(&rig, 1);
    open_reader(1);
    expect_next(1, 4);
    expect_nothing_more();
}

/* --- going along with the engine ------------------------------------------------------------ */

Test(reader, it_follows_batch_by_batch)
{
    open_reader(1);
    expect_nothing_more();
    for (uint64_t sequence = 1; sequence <= 13; sequence++) {
        journal_rig_put(&rig, 1);
        expect_next(sequence, sequence);
        expect_nothing_more();
    }
}

Test(reader, it_follows_across_rolls_sealed_or_not)
{
    open_reader(1);
    for (uint64_t sequence = 1; sequence <= 50; sequence++) {
        journal_rig_put(&rig, 1);
        if (sequence % 3 == 0)
            journal_rig_seal(&rig);
        if (sequence % 7 == 0)
            journal_rig_mark(&rig);
        if (sequence % 5 == 0)
            expect_next(sequence - 4, sequence);
    }
    cr_assert_geq(rig.journal.segment_number, 4);
    expect_nothing_more();
}

Test(reader, a_seal_while_it_reads_the_segment_changes_nothing)
{
    journal_rig_fill(&rig);
    open_reader(1);
    expect_next(1, 5);
    journal_rig_put(&rig, 1);
    journal_rig_seal(&rig); /* footer, cut, renamed */
    expect_next(6, 15);
    expect_nothing_more();
}

Test(reader, a_seal_at_the_very_end_of_what_it_read_changes_nothing)
{
    journal_rig_put(&rig, 3);
    open_reader(1);
    expect_next(1, 3);
    expect_nothing_more();
    journal_rig_seal_current(&rig);
    expect_nothing_more();
    journal_rig_put(&rig, 2);
    expect_next(4, 5);
    expect_nothing_more();
}

Test(reader, a_prepared_segment_is_not_the_next_one_yet)
{
    journal_rig_put(&rig, 3);
    journal_rig_prepare(&rig);
    open_reader(1);
    expect_next(1, 3);
    expect_nothing_more();
    journal_rig_put(&rig, 1);
    expect_next(4, 4);
}

Test(reader, a_restart_of_the_engine_does_not_disturb_it)
{
    journal_rig_put(&rig, 3);
    open_reader(1);
    expect_next(1, 2);
    journal_rig_reopen(&rig);
    expect_next(3, 3);
    expect_nothing_more();
    journal_rig_put(&rig, 14);
    journal_rig_reopen(&rig);
    expect_next(4, 17);
    expect_nothing_more();
}

Test(reader, it_may_be_opened_before_the_journal_exists)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
    cr_assert_eq(mkdir(directory, 0750), 0);
    struct segment_catalog catalog;
    cr_assert_eq(segment_catalog_open(&catalog, directory, &rig.error), 0);
    segment_catalog_close(&catalog);
    open_reader(1);
    expect_nothing_more();
    journal_rig_open(&rig);
    expect_nothing_more();
    journal_rig_put(&rig, 2);
    journal_rig_mark(&rig); /* there was no watermark file to open */
    expect_next(1, 2);
    expect_nothing_more();
}

Test(reader, batches_of_many_records_come_record_by_record)
{
    for (int batch = 0; batch < 4; batch++) {
        for (int i = 0; i < 20; i++)
            journal_rig_append(&rig, 64 + 10 * (size_t)i);
        journal_rig_commit(&rig);
    }
    open_reader(1);
    expect_next(1, 80);
    expect_nothing_more();
}

Test(reader, empty_marks_are_stepped_over)
{
    for (int i = 0; i < 5; i++) {
        journal_rig_put(&rig, 1);
        journal_rig_mark(&rig);
    }
    open_reader(1);
    expect_next(1, 5);
    expect_nothing_more();
}

/* --- where to start ------------------------------------------------------------------------- */

Test(reader, it_starts_at_any_sequence)
{
    journal_rig_fill(&rig);
    for (int i = 0; i < 6; i++)
        journal_rig_append(&rig, 300);
    journal_rig_commit(&rig);
    journal_rig_seal(&rig);
    journal_rig_fill(&rig);
    journal_rig_put(&rig, 1);
    uint64_t last = rig.journal.next_sequence - 1;
    for (uint64_t sequence = 1; sequence <= last; sequence++) {
        open_reader(sequence);
        expect_next(sequence, last);
        expect_nothing_more();
    }
}

Test(reader, zero_means_from_the_start)
{
    journal_rig_put(&rig, 2);
    open_reader(0);
    expect_next(1, 2);
}

Test(reader, from_beyond_the_end_it_waits_for_that_record)
{
    journal_rig_put(&rig, 2);
    open_reader(5);
    expect_nothing_more();
    journal_rig_put(&rig, 2);
    expect_nothing_more();
    journal_rig_put(&rig, 3);
    expect_next(5, 7);
    expect_nothing_more();
}

Test(reader, from_beyond_the_end_it_waits_across_a_roll)
{
    journal_rig_put(&rig, 2);
    open_reader(20);
    expect_nothing_more();
    for (int i = 0; i < 20; i++) {
        journal_rig_put(&rig, 1);
        if (rig.journal.next_sequence <= 20)
            expect_nothing_more();
    }
    expect_next(20, 22);
}

/* --- journals ------------------------------------------------------------------------------- */

Test(reader, journals_are_listed_in_order_with_their_count)
{
    static const uint32_t numbers[] = {12, 0, 7};
    static struct journal_rig other;
    uint32_t journals[8];
    journal_rig_close(&rig);
    for (size_t i = 0; i < 3; i++) {
        journal_rig_init(&other, directory, numbers[i]);
        journal_rig_open(&other);
        journal_rig_close(&other);
    }
    cr_assert_eq(sluice_reader_journals(directory, journals, 8, text, sizeof(text)), 4);
    cr_assert_eq(journals[0], 0);
    cr_assert_eq(journals[1], 3);
    cr_assert_eq(journals[2], 7);
    cr_assert_eq(journals[3], 12);
}

Test(reader, more_journals_than_room_are_counted_and_not_written)
{
    static struct journal_rig other;
    uint32_t journals[2] = {99, 99};
    journal_rig_close(&rig);
    journal_rig_init(&other, directory, 1);
    journal_rig_open(&other);
    journal_rig_close(&other);
    cr_assert_eq(sluice_reader_journals(directory, journals, 1, text, sizeof(text)), 2);
    cr_assert_eq(journals[0], 1);
    cr_assert_eq(journals[1], 99);
    cr_assert_eq(sluice_reader_journals(directory, NULL, 0, text, sizeof(text)), 2);
}

Test(reader, what_is_no_data_directory_is_named)
{
    char path[TEST_PATH_BYTES];
    uint32_t journals[1];
    struct sluice_reader *none = NULL;
    test_path(path, "%s/nothing", directory);
    cr_assert_eq(sluice_reader_journals(path, journals, 1, text, sizeof(text)), -ENOENT);
    cr_assert_not_null(strstr(text, path), "%s", text);
    cr_assert_eq(sluice_reader_open(path, 0, 1, &none, text, sizeof(text)), -ENOENT);
    cr_assert_not_null(strstr(text, path), "%s", text);
    cr_assert_null(none);
}

Test(reader, a_short_buffer_for_the_sentence_is_respected)
{
    char little[8] = "1234567";
    uint32_t journals[1];
    cr_assert_eq(sluice_reader_journals("/nonexistent", journals, 1, little, 4), -ENOENT);
    cr_assert_eq(strlen(little), 3);
    cr_assert_str_eq(little + 4, "567");
}

Test(reader, closing_nothing_is_fine)
{
    sluice_reader_close(NULL);
}
