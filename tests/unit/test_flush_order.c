/* What must be on disk before the next step: the order of writes, flushes and renames when a
 * segment is prepared, sealed and recovered. A flush that is missing shows in no file until the
 * power goes, and in few of the simulation's seeds; here the calls themselves are looked at.
 *
 * The linker sends the engine's calls through the wrappers below (meson.build), which log them as
 * lines like "flush 0000000001.open", repeated ones once, and go on to the C library. */
#include "journal_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define NUMBER      2 /* of the journal */
#define LINES_MAX   256
#define LINE_BYTES  160
#define TORN_SAMPLE "what a write left that was cut off"

static char lines[LINES_MAX][LINE_BYTES];
static size_t line_count;

static void log_line(const char *operation, const char *name)
{
    char line[LINE_BYTES];
    snprintf(line, sizeof(line), "%s %s", operation, name);
    if (line_count > 0 && strcmp(lines[line_count - 1], line) == 0)
        return;
    cr_assert(line_count < LINES_MAX);
    memcpy(lines[line_count++], line, sizeof(line));
}

/* The last part of the descriptor's path as it is now. */
static void log_call(const char *operation, int fd)
{
    char link[64], path[TEST_PATH_BYTES];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof(path) - 1);
    cr_assert(bytes > 0);
    path[bytes] = '\0';
    const char *slash = strrchr(path, '/');
    log_line(operation, slash == NULL ? path : slash + 1); /* a pipe has none */
}

#define WRAP(result, name, ...)                                                                    \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

WRAP(int, fsync, int fd)
{
    log_call("flush", fd);
    return __real_fsync(fd);
}

WRAP(int, fdatasync, int fd)
{
    log_call("flush", fd);
    return __real_fdatasync(fd);
}

WRAP(int, ftruncate64, int fd, off_t bytes)
{
    log_call("cut", fd);
    return __real_ftruncate64(fd, bytes);
}

WRAP(ssize_t, pread64, int fd, void *buffer, size_t bytes, off_t offset)
{
    log_call("read", fd);
    return __real_pread64(fd, buffer, bytes, offset);
}

WRAP(ssize_t, pwrite64, int fd, const void *data, size_t bytes, off_t offset)
{
    log_call("write", fd);
    return __real_pwrite64(fd, data, bytes, offset);
}

WRAP(ssize_t, write, int fd, const void *data, size_t bytes)
{
    log_call("write", fd);
    return __real_write(fd, data, bytes);
}

WRAP(int, renameat, int from_fd, const char *from, int to_fd, const char *to)
{
    log_line("name", to);
    return __real_renameat(from_fd, from, to_fd, to);
}

/* Whether `line` has `wanted` at its start; a wanted line that ends in '*' leaves the rest open. */
static bool matches(const char *line, const char *wanted)
{
    size_t bytes = strlen(wanted);
    bool is_open = wanted[bytes - 1] == '*';
    return strncmp(line, wanted, is_open ? bytes - 1 : bytes + 1) == 0;
}

/* The lines come in this order; others may stand between them. */
static void expect_in_order(const char *const *wanted, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < line_count && found < count; i++)
        found += matches(lines[i], wanted[found]);
    if (found == count)
        return;
    for (size_t i = 0; i < line_count; i++)
        cr_log_warn("%s", lines[i]);
    cr_assert(false, "there is no \"%s\" behind \"%s\"", wanted[found],
              found == 0 ? "the start" : wanted[found - 1]);
}

#define EXPECT_IN_ORDER(...)                                                                       \
    expect_in_order((const char *const[]){__VA_ARGS__},                                            \
                    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static char directory[TEST_PATH_BYTES];
static struct journal_rig rig;

static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, NUMBER);
    journal_rig_open(&rig);
    line_count = 0;
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(flush_order, .init = set_up, .fini = tear_down);

Test(flush_order, the_name_of_a_new_data_directory_is_flushed_before_it_has_an_identity)
{
    char path[TEST_PATH_BYTES + 8], wanted[LINE_BYTES];
    struct segment_catalog catalog;
    snprintf(path, sizeof(path), "%s/inner", directory);
    snprintf(wanted, sizeof(wanted), "flush %s", strrchr(directory, '/') + 1);
    cr_assert_eq(segment_catalog_open(&catalog, path, &rig.error), 0);
    segment_catalog_close(&catalog);
    EXPECT_IN_ORDER(wanted, "name node", "flush inner");
}

Test(flush_order, the_name_of_a_new_journals_directory_is_flushed)
{
    char wanted[LINE_BYTES];
    snprintf(wanted, sizeof(wanted), "flush %s", strrchr(directory, '/') + 1);
    int fd = segment_catalog_journal(&rig.catalog, NUMBER + 1, true, &rig.error);
    cr_assert(fd >= 0);
    close(fd);
    EXPECT_IN_ORDER(wanted);
}

Test(flush_order, a_prepared_segment_is_flushed_then_named_then_its_name_is_flushed)
{
    journal_rig_prepare(&rig);
    EXPECT_IN_ORDER("write 0000000001.tmp", "flush 0000000001.tmp", "name 0000000001.open",
                    "flush journal-0002");
}

Test(flush_order, a_sealed_segment_is_flushed_cut_flushed_then_named_then_its_name_is_flushed)
{
    journal_rig_put(&rig, 3);
    line_count = 0;
    journal_rig_seal_current(&rig);
    EXPECT_IN_ORDER("write 0000000001.open", "flush 0000000001.open", "cut 0000000001.open",
                    "flush 0000000001.open", "name 0000000001.sealed", "flush journal-0002");
}

Test(flush_order, recovery_flushes_an_open_segment_before_it_reads_it)
{
    journal_rig_put(&rig, 3);
    journal_rig_close(&rig);
    line_count = 0;
    journal_rig_open(&rig);
    const char *first = NULL;
    for (size_t i = 0; i < line_count && first == NULL; i++)
        if (strstr(lines[i], "0000000001.open") != NULL)
            first = lines[i];
    cr_assert_str_eq(first, "flush 0000000001.open");
    EXPECT_IN_ORDER("flush 0000000001.open", "read 0000000001.open");
}

Test(flush_order, a_torn_tail_is_copied_and_flushed_before_it_is_cut)
{
    char path[TEST_PATH_BYTES];
    journal_rig_put(&rig, 3);
    uint64_t end = rig.journal.write_offset;
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    journal_rig_close(&rig);
    test_file_patch(path, end, TORN_SAMPLE, sizeof(TORN_SAMPLE));
    line_count = 0;
    journal_rig_open(&rig);
    EXPECT_IN_ORDER("read 0000000001.open", "write journal-0002-0000000001-*",
                    "flush journal-0002-0000000001-*", "flush torn", "write 0000000001.open",
                    "flush 0000000001.open");
}
