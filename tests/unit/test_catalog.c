/* The data directory: its lock, its node file, and which names in it count. */
#include "base/checksum.h"
#include "segment/catalog.h"
#include "test_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES], node_path[TEST_PATH_BYTES];
static struct segment_catalog catalog;
static struct base_error error;

static void set_up(void)
{
    test_directory_make(directory);
    test_path(node_path, "%s/node", directory);
    catalog = (struct segment_catalog){.directory_fd = -1, .lock_fd = -1};
}

static void tear_down(void)
{
    segment_catalog_close(&catalog);
    test_directory_remove(directory);
}

TestSuite(catalog, .init = set_up, .fini = tear_down);

static void open_catalog(void)
{
    int result = segment_catalog_open(&catalog, directory, &error);
    cr_assert_eq(result, 0, "%s", error.text);
}

static int try_open(void)
{
    struct segment_catalog other;
    error.text[0] = '\0';
    int result = segment_catalog_open(&other, directory, &error);
    if (result == 0)
        segment_catalog_close(&other);
    return result;
}

static void make(const char *name)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/%s", directory, name);
    cr_assert_eq(mkdir(path, 0750), 0);
}

static void touch(const char *name)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/%s", directory, name);
    test_file_store(path, "", 0);
}

/* --- opening -------------------------------------------------------------------------------- */

Test(catalog, a_new_directory_gets_a_node_id_that_stays)
{
    static const uint8_t zeros[SEGMENT_NODE_BYTES];
    uint8_t id[SEGMENT_NODE_BYTES];
    test_directory_remove(directory); /* it makes the directory itself */
    open_catalog();
    memcpy(id, catalog.node_id, sizeof(id));
    cr_assert_neq(memcmp(id, zeros, sizeof(id)), 0);
    segment_catalog_close(&catalog);
    open_catalog();
    cr_assert_eq(memcmp(id, catalog.node_id, sizeof(id)), 0);
}

Test(catalog, two_directories_have_different_node_ids)
{
    struct segment_catalog other;
    char path[TEST_PATH_BYTES];
    open_catalog();
    test_path(path, "%s/other", directory);
    cr_assert_eq(segment_catalog_open(&other, path, &error), 0, "%s", error.text);
    cr_assert_neq(memcmp(other.node_id, catalog.node_id, SEGMENT_NODE_BYTES), 0);
    segment_catalog_close(&other);
}

Test(catalog, nothing_temporary_is_left_behind)
{
    char path[TEST_PATH_BYTES];
    open_catalog();
    test_path(path, "%s/node.tmp", directory);
    cr_assert_not(test_file_exists(path));
    test_path(path, "%s/probe.tmp", directory);
    cr_assert_not(test_file_exists(path));
}

Test(catalog, a_path_that_is_no_directory_is_refused)
{
    char path[TEST_PATH_BYTES];
    touch("file");
    test_path(path, "%s/file", directory);
    cr_assert_eq(segment_catalog_open(&catalog, path, &error), -ENOTDIR);
    test_path(path, "%s/no/such/parent", directory);
    cr_assert_eq(segment_catalog_open(&catalog, path, &error), -ENOENT);
}

Test(catalog, a_path_too_long_to_be_named_is_refused)
{
    char path[400];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    path[0] = '/';
    cr_assert(segment_catalog_open(&catalog, path, &error) < 0);
    cr_assert_eq(segment_catalog_open_reader(&catalog, path, &error), -ENAMETOOLONG);
}

/* --- the lock ------------------------------------------------------------------------------- */

Test(catalog, a_second_engine_in_this_process_is_refused)
{
    open_catalog();
    cr_assert_eq(try_open(), -EWOULDBLOCK);
    cr_assert_not_null(strstr(error.text, "is in use by another engine"), "%s", error.text);
    cr_assert_not_null(strstr(error.text, directory));
}

Test(catalog, a_second_engine_in_another_process_is_refused)
{
    open_catalog();
    pid_t child = fork();
    if (child == 0)
        _exit(try_open() == -EWOULDBLOCK ? 0 : 1);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(catalog, the_lock_goes_with_the_process_that_held_it)
{
    pid_t child = fork();
    if (child == 0) {
        segment_catalog_open(&catalog, directory, &error);
        _exit(0); /* closes nothing itself */
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(try_open(), 0, "%s", error.text);
}

Test(catalog, closing_gives_the_lock_back)
{
    open_catalog();
    segment_catalog_close(&catalog);
    cr_assert_eq(try_open(), 0);
}

Test(catalog, a_refused_engine_leaves_no_descriptor_open)
{
    open_catalog();
    size_t before = test_descriptor_count();
    for (int i = 0; i < 5; i++)
        cr_assert_eq(try_open(), -EWOULDBLOCK);
    cr_assert_eq(test_descriptor_count(), before);
}

Test(catalog, a_reader_needs_no_lock_and_changes_nothing)
{
    struct segment_catalog reader;
    open_catalog();
    char *before = test_directory_snapshot(directory);
    cr_assert_eq(segment_catalog_open_reader(&reader, directory, &error), 0, "%s", error.text);
    cr_assert_eq(memcmp(reader.node_id, catalog.node_id, SEGMENT_NODE_BYTES), 0);
    segment_catalog_close(&reader);
    char *after = test_directory_snapshot(directory);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
}

Test(catalog, a_reader_of_something_else_is_told_so)
{
    struct segment_catalog reader;
    cr_assert_eq(segment_catalog_open_reader(&reader, directory, &error), -ENOENT);
    cr_assert_not_null(strstr(error.text, "is not a Sluice data directory"), "%s", error.text);
    cr_assert_eq(test_directory_count(directory), 0);
}

/* --- the node file -------------------------------------------------------------------------- */

/* A node file with a checksum that is right. */
static void store_node(const char *lines)
{
    char text[256];
    int bytes =
        snprintf(text, sizeof(text), "%scrc32c %08x\n", lines, base_crc32c(lines, strlen(lines)));
    test_file_store(node_path, text, (size_t)bytes);
}

Test(catalog, the_node_file_is_text_with_a_checksum)
{
    store_node("sluice data directory format 1.0\nnode 00112233445566778899aabbccddeeff\n");
    open_catalog();
    cr_assert_eq(catalog.node_id[0], 0x00);
    cr_assert_eq(catalog.node_id[1], 0x11);
    cr_assert_eq(catalog.node_id[15], 0xff);
}

Test(catalog, another_major_version_is_refused_and_a_later_minor_one_is_not)
{
    store_node("sluice data directory format 2.0\nnode 00112233445566778899aabbccddeeff\n");
    cr_assert_eq(try_open(), -EPROTO);
    cr_assert_not_null(strstr(error.text, "has format 2"), "%s", error.text);
    store_node("sluice data directory format 0.9\nnode 00112233445566778899aabbccddeeff\n");
    cr_assert_eq(try_open(), -EPROTO);
    store_node("sluice data directory format 1.7\nnode 00112233445566778899aabbccddeeff\n");
    cr_assert_eq(try_open(), 0, "%s", error.text);
}

Test(catalog, another_major_version_is_refused_whatever_else_its_file_holds)
{
    static const char later[] = "sluice data directory format 3.1\nsomething else entirely\n";
    test_file_store(node_path, later, sizeof(later) - 1);
    cr_assert_eq(try_open(), -EPROTO);
    struct segment_catalog reader;
    cr_assert_eq(segment_catalog_open_reader(&reader, directory, &error), -EPROTO);
}

static void expect_node_refused(const char *what, size_t number)
{
    struct segment_catalog reader;
    int result = segment_catalog_open_reader(&reader, directory, &error);
    cr_assert(result == -EBADMSG || result == -EPROTO, "%d at %s %zu", result, what, number);
}

Test(catalog, a_node_file_with_any_bit_flipped_is_refused)
{
    open_catalog();
    struct test_bytes file = test_file_load(node_path);
    for (size_t bit = 0; bit < file.bytes * 8; bit++) {
        test_file_flip(node_path, bit / 8, (uint8_t)(1u << bit % 8));
        expect_node_refused("bit", bit);
        test_file_flip(node_path, bit / 8, (uint8_t)(1u << bit % 8));
    }
    test_bytes_free(&file);
}

Test(catalog, a_node_file_with_anything_behind_its_lines_is_refused)
{
    static const char *const more[] = {"\n", " ", "x", "crc32c 00000000\n"};
    char text[256];
    open_catalog();
    struct test_bytes file = test_file_load(node_path);
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        int bytes = snprintf(text, sizeof(text), "%.*s%s", (int)file.bytes, file.data, more[i]);
        test_file_store(node_path, text, (size_t)bytes);
        expect_node_refused("addition", i);
    }
    test_file_store(node_path, text, file.bytes + 1); /* and a NUL */
    test_file_zero(node_path, file.bytes, 1);
    expect_node_refused("addition", sizeof(more) / sizeof(more[0]));
    test_bytes_free(&file);
}

Test(catalog, a_node_file_cut_off_anywhere_is_refused)
{
    open_catalog();
    segment_catalog_close(&catalog);
    struct test_bytes file = test_file_load(node_path);
    for (size_t bytes = 0; bytes < file.bytes; bytes++) {
        test_file_store(node_path, file.data, bytes);
        int result = try_open();
        cr_assert(result == -EBADMSG || result == -EPROTO, "%d at %zu bytes", result, bytes);
    }
    struct test_bytes last = test_file_load(node_path);
    cr_assert_eq(last.bytes, file.bytes - 1, "refusing must not write");
    test_bytes_free(&last);
    test_bytes_free(&file);
}

Test(catalog, journals_without_a_node_file_are_refused)
{
    make("journal-0000");
    cr_assert_eq(try_open(), -EBADMSG);
    cr_assert_not_null(strstr(error.text, "holds journals but no node file"), "%s", error.text);
    cr_assert_not(test_file_exists(node_path), "made a new identity for old journals");
}

/* --- names ---------------------------------------------------------------------------------- */

Test(catalog, journals_are_listed_in_order_and_others_are_not)
{
    uint32_t *journals;
    size_t count;
    open_catalog();
    make("journal-0010");
    make("journal-0002");
    make("journal-0000");
    make("journal-");
    make("journal-0001x");
    make("other");
    cr_assert_eq(segment_catalog_journals(&catalog, &journals, &count, &error), 0);
    cr_assert_eq(count, 3);
    cr_assert_eq(journals[0], 0);
    cr_assert_eq(journals[1], 2);
    cr_assert_eq(journals[2], 10);
    free(journals);
}

Test(catalog, an_empty_directory_has_no_journals)
{
    uint32_t *journals;
    size_t count = 7;
    open_catalog();
    cr_assert_eq(segment_catalog_journals(&catalog, &journals, &count, &error), 0);
    cr_assert_eq(count, 0);
    free(journals);
}

Test(catalog, segments_are_listed_by_number_and_others_are_not)
{
    static const char *const names[] = {
        "0000000003.open",   "0000000001.sealed", "0000000012.tmp",
        "0000000002.sealed", "0000000003.sealed", "3.open",
        "0000000004.opened", "0000000005.",       "x0000000006.open",
        "0000000007.open~",
    };
    struct segment_list list;
    open_catalog();
    int journal_fd = segment_catalog_journal(&catalog, 1, true, &error);
    cr_assert(journal_fd >= 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "journal-0001/%s", names[i]);
        touch(name);
    }
    cr_assert_eq(segment_catalog_list(&catalog, journal_fd, &list, &error), 0);
    static const struct segment_entry expected[] = {
        {1, SEGMENT_STATE_SEALED}, {2, SEGMENT_STATE_SEALED},     {3, SEGMENT_STATE_SEALED},
        {3, SEGMENT_STATE_OPEN},   {12, SEGMENT_STATE_TEMPORARY},
    };
    cr_assert_eq(list.count, 5);
    for (size_t i = 0; i < list.count; i++) {
        cr_assert_eq(list.entries[i].segment_number, expected[i].segment_number);
        cr_assert_eq(list.entries[i].state, expected[i].state);
    }
    free(list.entries);
    close(journal_fd);
}

Test(catalog, a_journal_that_does_not_exist_is_only_made_when_asked)
{
    open_catalog();
    cr_assert_eq(segment_catalog_journal(&catalog, 5, false, &error), -ENOENT);
    int journal_fd = segment_catalog_journal(&catalog, 5, true, &error);
    cr_assert(journal_fd >= 0);
    close(journal_fd);
    journal_fd = segment_catalog_journal(&catalog, 5, false, &error);
    cr_assert(journal_fd >= 0);
    close(journal_fd);
}

Test(catalog, names_and_paths_are_the_documented_ones)
{
    char name[SEGMENT_NAME_BYTES], path[TEST_PATH_BYTES], expected[TEST_PATH_BYTES];
    open_catalog();
    segment_catalog_name(12, SEGMENT_STATE_SEALED, name);
    cr_assert_str_eq(name, "0000000012.sealed");
    segment_catalog_name(UINT64_C(9999999999), SEGMENT_STATE_OPEN, name);
    cr_assert_str_eq(name, "9999999999.open");
    segment_catalog_path(&catalog, 3, 14, SEGMENT_STATE_TEMPORARY, path, sizeof(path));
    test_path(expected, "%s/journal-0003/0000000014.tmp", directory);
    cr_assert_str_eq(path, expected);
}
