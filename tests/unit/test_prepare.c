/* Preparing a segment: zeros of the whole size, visible under its name only when complete. */
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES (3 * SEGMENT_PREPARE_STEP_BYTES + 8192)

static char directory[TEST_PATH_BYTES];
static struct segment_catalog catalog;
static int journal_fd;
static struct segment_preparation preparation;
static struct base_error error;

static void set_up(void)
{
    test_directory_make(directory);
    cr_assert_eq(segment_catalog_open(&catalog, directory, &error), 0, "%s", error.text);
    journal_fd = segment_catalog_journal(&catalog, 4, true, &error);
    cr_assert(journal_fd >= 0);
    segment_prepare_init(&preparation);
}

static void tear_down(void)
{
    segment_prepare_cancel(&preparation);
    close(journal_fd);
    segment_catalog_close(&catalog);
    test_directory_remove(directory);
}

TestSuite(prepare, .init = set_up, .fini = tear_down);

static int begin(uint64_t number)
{
    return segment_prepare_begin(&preparation, &catalog, journal_fd, 4, number, SEGMENT_BYTES,
                                 &error);
}

static int run(struct segment_prepared *prepared)
{
    int result;
    while ((result = segment_prepare_step(&preparation, &catalog, prepared, &error)) == 0)
        continue;
    return result;
}

static bool has(const char *name)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/journal-0004/%s", directory, name);
    return test_file_exists(path);
}

Test(prepare, the_file_is_zeros_of_exactly_the_size)
{
    struct segment_prepared prepared;
    char path[TEST_PATH_BYTES];
    cr_assert_eq(begin(7), 0);
    cr_assert_eq(run(&prepared), 1);
    cr_assert_eq(prepared.segment_number, 7);
    cr_assert_eq(prepared.file_bytes, SEGMENT_BYTES);
    close(prepared.fd);
    test_path(path, "%s/journal-0004/0000000007.open", directory);
    struct test_bytes file = test_file_load(path);
    cr_assert_eq(file.bytes, SEGMENT_BYTES);
    for (size_t i = 0; i < file.bytes; i++)
        cr_assert_eq(file.data[i], 0, "byte %zu", i);
    test_bytes_free(&file);
}

Test(prepare, it_has_its_final_name_only_when_it_is_complete)
{
    struct segment_prepared prepared;
    cr_assert_eq(begin(1), 0);
    int steps = 0;
    do {
        cr_assert(has("0000000001.tmp"));
        cr_assert_not(has("0000000001.open"));
        steps++;
    } while (segment_prepare_step(&preparation, &catalog, &prepared, &error) == 0);
    cr_assert_geq(steps, 4, "one step blocks for too long");
    cr_assert(has("0000000001.open"));
    cr_assert_not(has("0000000001.tmp"));
    close(prepared.fd);
}

Test(prepare, every_block_is_allocated)
{
    struct segment_prepared prepared;
    struct stat status;
    cr_assert_eq(begin(1), 0);
    cr_assert_eq(run(&prepared), 1);
    cr_assert_eq(fstat(prepared.fd, &status), 0);
    cr_assert_geq((uint64_t)status.st_blocks * 512, SEGMENT_BYTES);
    close(prepared.fd);
}

Test(prepare, the_descriptor_takes_direct_writes)
{
    struct segment_prepared prepared;
    cr_assert_eq(begin(1), 0);
    cr_assert_eq(run(&prepared), 1);
    int flags = fcntl(prepared.fd, F_GETFL);
    cr_assert_eq((flags & O_DIRECT) != 0, catalog.direct);
    cr_assert_eq(flags & O_APPEND, 0);
    cr_assert_eq(flags & O_ACCMODE, O_RDWR);
    close(prepared.fd);
}

Test(prepare, cancelling_removes_what_was_begun)
{
    struct segment_prepared prepared;
    cr_assert_eq(begin(1), 0);
    cr_assert_eq(segment_prepare_step(&preparation, &catalog, &prepared, &error), 0);
    segment_prepare_cancel(&preparation);
    cr_assert_not(has("0000000001.tmp"));
    cr_assert_eq(preparation.fd, -1);
    segment_prepare_cancel(&preparation); /* nothing under way: fine */
    cr_assert_eq(begin(1), 0, "cannot begin again");
    cr_assert_eq(run(&prepared), 1);
    close(prepared.fd);
}

Test(prepare, leftovers_of_a_crash_are_written_over)
{
    struct segment_prepared prepared;
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/journal-0004/0000000001.tmp", directory);
    char garbage[10000];
    memset(garbage, 0x5A, sizeof(garbage));
    test_file_store(path, garbage, sizeof(garbage));
    cr_assert_eq(begin(1), 0);
    cr_assert_eq(run(&prepared), 1);
    close(prepared.fd);
    test_path(path, "%s/journal-0004/0000000001.open", directory);
    struct test_bytes file = test_file_load(path);
    for (size_t i = 0; i < file.bytes; i++)
        cr_assert_eq(file.data[i], 0);
    test_bytes_free(&file);
}

/* RLIMIT_FSIZE stands for a full disk: fallocate and pwrite fail alike, without needing root. */
Test(prepare, a_file_that_cannot_grow_is_refused_at_once_and_removed)
{
    struct rlimit limit = {SEGMENT_PREPARE_STEP_BYTES, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(begin(1), -EFBIG);
    cr_assert_not_null(strstr(error.text, "0000000001.tmp"), "%s", error.text);
    cr_assert_eq(preparation.fd, -1);
    cr_assert_not(has("0000000001.tmp"));
}

Test(prepare, a_write_that_fails_halfway_removes_the_file)
{
    struct segment_prepared prepared;
    struct rlimit limit = {SEGMENT_PREPARE_STEP_BYTES, RLIM_INFINITY};
    cr_assert_eq(begin(1), 0);
    cr_assert_eq(segment_prepare_step(&preparation, &catalog, &prepared, &error), 0);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(run(&prepared), -EFBIG);
    cr_assert_eq(preparation.fd, -1);
    cr_assert_not(has("0000000001.tmp"));
    cr_assert_not(has("0000000001.open"));
}

Test(prepare, a_journal_directory_that_vanished_is_an_error_with_a_name)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/journal-0004", directory);
    test_directory_remove(path);
    cr_assert_eq(begin(1), -ENOENT);
    cr_assert_not_null(strstr(error.text, "journal-0004/0000000001.tmp"), "%s", error.text);
}
