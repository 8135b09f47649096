/* The file that tells other processes what is durable. */
#include "segment/watermark.h"
#include "test_files.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_BYTES ((1024 + 1) * 64)

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
static struct segment_catalog catalog;
static struct segment_watermark watermark;
static struct base_error error;

static void set_up(void)
{
    test_directory_make(directory);
    test_path(path, "%s/watermark", directory);
    cr_assert_eq(segment_catalog_open(&catalog, directory, &error), 0, "%s", error.text);
    cr_assert_eq(segment_watermark_open(&watermark, &catalog, &error), 0, "%s", error.text);
}

static void tear_down(void)
{
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
    test_directory_remove(directory);
}

TestSuite(watermark, .init = set_up, .fini = tear_down);

static void reopen(void)
{
    segment_watermark_close(&watermark);
    cr_assert_eq(segment_watermark_open(&watermark, &catalog, &error), 0, "%s", error.text);
}

static uint64_t read_by_reader(uint32_t journal)
{
    struct segment_watermark reader;
    cr_assert_eq(segment_watermark_open_reader(&reader, &catalog, &error), 0, "%s", error.text);
    uint64_t sequence = segment_watermark_read(&reader, journal);
    segment_watermark_close(&reader);
    return sequence;
}

Test(watermark, a_new_file_says_that_nothing_is_durable)
{
    struct test_bytes file = test_file_load(path);
    cr_assert_eq(file.bytes, FILE_BYTES);
    cr_assert_eq(memcmp(file.data, "SLUICWMK", 8), 0);
    for (size_t i = 64; i < file.bytes; i++)
        cr_assert_eq(file.data[i], 0);
    test_bytes_free(&file);
    cr_assert_eq(read_by_reader(0), 0);
    cr_assert_eq(read_by_reader(1023), 0);
}

Test(watermark, each_journal_has_its_own_slot)
{
    segment_watermark_publish(&watermark, 0, 17);
    segment_watermark_publish(&watermark, 1, UINT64_MAX);
    segment_watermark_publish(&watermark, 1023, 5);
    cr_assert_eq(read_by_reader(0), 17);
    cr_assert_eq(read_by_reader(1), UINT64_MAX);
    cr_assert_eq(read_by_reader(2), 0);
    cr_assert_eq(read_by_reader(1023), 5);
    struct test_bytes file = test_file_load(path);
    uint64_t slot;
    memcpy(&slot, file.data + 64, sizeof(slot));
    cr_assert_eq(slot, 17);
    memcpy(&slot, file.data + 64 + (size_t)1023 * 64, sizeof(slot));
    cr_assert_eq(slot, 5);
    test_bytes_free(&file);
}

Test(watermark, an_open_reader_sees_each_publication)
{
    struct segment_watermark reader;
    cr_assert_eq(segment_watermark_open_reader(&reader, &catalog, &error), 0);
    for (uint64_t sequence = 1; sequence < 100; sequence++) {
        segment_watermark_publish(&watermark, 3, sequence);
        cr_assert_eq(segment_watermark_read(&reader, 3), sequence);
    }
    segment_watermark_close(&reader);
}

Test(watermark, what_was_published_survives_the_process)
{
    pid_t child = fork();
    if (child == 0) {
        segment_watermark_publish(&watermark, 2, 99);
        kill(getpid(), SIGKILL);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status));
    reopen();
    cr_assert_eq(segment_watermark_read(&watermark, 2), 99);
}

Test(watermark, a_usable_file_is_kept_by_the_next_run)
{
    segment_watermark_publish(&watermark, 1, 42);
    reopen();
    cr_assert_eq(segment_watermark_read(&watermark, 1), 42);
}

Test(watermark, a_missing_file_reads_as_nothing_durable)
{
    struct segment_watermark reader;
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(segment_watermark_open_reader(&reader, &catalog, &error), 0);
    cr_assert_null(reader.mapping);
    cr_assert_eq(segment_watermark_read(&reader, 0), 0);
    segment_watermark_close(&reader);
    segment_watermark_close(&reader); /* twice is fine */
    cr_assert_not(test_file_exists(path), "a reader made it");
}

Test(watermark, a_file_of_another_node_does_not_count)
{
    segment_watermark_publish(&watermark, 0, 1000);
    catalog.node_id[0] ^= 1;
    cr_assert_eq(read_by_reader(0), 0);
    reopen();
    cr_assert_eq(segment_watermark_read(&watermark, 0), 0);
}

Test(watermark, a_file_of_another_size_does_not_count)
{
    segment_watermark_publish(&watermark, 0, 1000);
    segment_watermark_close(&watermark);
    test_file_truncate(path, FILE_BYTES - 64);
    cr_assert_eq(read_by_reader(0), 0);
    cr_assert_eq(segment_watermark_open(&watermark, &catalog, &error), 0);
    struct test_bytes file = test_file_load(path);
    cr_assert_eq(file.bytes, FILE_BYTES);
    test_bytes_free(&file);
}

Test(watermark, a_damaged_header_does_not_count)
{
    segment_watermark_publish(&watermark, 0, 1000);
    for (uint64_t offset = 0; offset < 64; offset++) {
        test_file_flip(path, offset, 0x10);
        cr_assert_eq(read_by_reader(0), 0, "byte %lu", (unsigned long)offset);
        test_file_flip(path, offset, 0x10);
    }
    cr_assert_eq(read_by_reader(0), 1000);
}

Test(watermark, a_journal_without_a_slot_reads_as_nothing)
{
    cr_assert_eq(segment_watermark_read(&watermark, 1024), 0);
    cr_assert_eq(segment_watermark_read(&watermark, UINT32_MAX), 0);
}

Test(watermark, publishing_for_a_journal_without_a_slot_is_a_programming_error, .signal = SIGABRT)
{
    test_directory_remove(directory); /* nobody else does after an abort */
    segment_watermark_publish(&watermark, 1024, 1);
}
