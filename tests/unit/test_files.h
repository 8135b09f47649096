/* Files and directories of a test: temporary directories, whole files in memory, and what a tree
 * looks like, so that "nothing was changed" can be asserted.
 *
 * Owner: the test. Every function asserts that it succeeds.
 */
#ifndef SLUICE_TESTS_TEST_FILES_H
#define SLUICE_TESTS_TEST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEST_PATH_BYTES 320

/* Makes an empty directory below $TMPDIR or /tmp. */
void test_directory_make(char path_out[TEST_PATH_BYTES]);

/* The same in memory where the machine has /dev/shm, for tests that look at a file very often. */
void test_directory_make_in_memory(char path_out[TEST_PATH_BYTES]);

/* Removes it with all that is in it; "" and missing directories are fine. */
void test_directory_remove(const char *path);

/* "directory/name", printf-like. */
void test_path(char path_out[TEST_PATH_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct test_bytes {
    uint8_t *data; /* freed with test_bytes_free */
    size_t bytes;
};

struct test_bytes test_file_load(const char *path);
void test_bytes_free(struct test_bytes *bytes);

/* Makes the file anew, so that no open descriptor sees the change. */
void test_file_store(const char *path, const void *data, size_t bytes);

/* Changes bytes in place, whatever the file's mode. */
void test_file_patch(const char *path, uint64_t offset, const void *data, size_t bytes);
void test_file_flip(const char *path, uint64_t offset, uint8_t mask);
void test_file_zero(const char *path, uint64_t offset, size_t bytes);

void test_file_truncate(const char *path, uint64_t bytes);
void test_file_rename(const char *from, const char *to);
bool test_file_exists(const char *path);

/* Copies a directory with all that is in it; `to` must not exist. */
void test_directory_copy(const char *from, const char *to);

/* A line per file, sorted: path, mode, size, SHA-256. The caller frees it. */
char *test_directory_snapshot(const char *path);

/* The number of files in a directory, and the path of its only one. */
size_t test_directory_count(const char *path);
void test_directory_only(const char *path, char path_out[TEST_PATH_BYTES]);

/* Descriptors that this process has open. */
size_t test_descriptor_count(void);

#endif
