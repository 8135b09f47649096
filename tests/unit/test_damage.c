/* No bit of a sealed segment can change unnoticed. The list of bytes without a meaning is empty:
 * header, batches, padding, footer and trailer are all covered by a checksum, and what is not used
 * must be zero. Larger edits, and those of other files: tests/damage. */
#include "base/check.h"
#include "journal_rig.h"
#include "segment/scan.h"
#include "segment/verify.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES 65536

/* Sanitizers make it some ten times slower; the plain build looks at every bit. */
#define SCAN_BIT_STEP   (SLUICE_SANITIZED ? 5 : 1)
#define VERIFY_BIT_STEP (SLUICE_SANITIZED ? 331 : 61)

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
static struct journal_rig rig;
static struct test_bytes original;
static int fd;

/* 64 KiB: batches of one record, of several, of several blocks, and marks. */
static void make_segment(void)
{
    journal_rig_init(&rig, directory, 0);
    journal_rig_open(&rig);
    journal_rig_put(&rig, 4);
    journal_rig_mark(&rig);
    for (int i = 0; i < 7; i++)
        journal_rig_append(&rig, 64 + 100 * (size_t)i);
    journal_rig_commit(&rig);
    journal_rig_append(&rig, 4500);
    journal_rig_commit(&rig);
    journal_rig_fill(&rig);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
}

static void set_up(void)
{
    test_directory_make_in_memory(directory);
    make_segment();
    original = test_file_load(path);
    cr_assert_eq(original.bytes, FILE_BYTES);
    cr_assert_eq(chmod(path, 0644), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0);
}

static void tear_down(void)
{
    close(fd);
    test_bytes_free(&original);
    test_directory_remove(directory);
}

TestSuite(damage, .init = set_up, .fini = tear_down);

/* --- two judges ----------------------------------------------------------------------------- */

static void ignore(void *context, const char *file, uint64_t offset, const char *what)
{
    (void)context, (void)file, (void)offset, (void)what;
}

/* segment_verify over the whole directory. */
static bool is_valid_to_verify(void)
{
    struct segment_verify_report report;
    struct base_error error;
    int result = segment_verify(directory, ignore, NULL, &report, &error);
    cr_assert_eq(result, 0, "%s", error.text);
    return report.damages == 0;
}

/* The scan that everything goes through, on a file whose window holds all of it. */
static bool is_valid_to_scan(struct segment_file *file)
{
    struct segment_scan scan;
    struct segment_scan_batch batch;
    struct base_error error;
    struct segment_scan_expected expected = {rig.catalog.node_id, 0, 1};
    if (segment_scan_begin(&scan, file, &expected, &error) != SEGMENT_SCAN_OK)
        return false;
    int result;
    while ((result = segment_scan_next(&scan, file, &batch, &error)) == SEGMENT_SCAN_OK)
        continue;
    return result == SEGMENT_SCAN_FOOTER &&
           segment_scan_footer(&scan, file, &error) == SEGMENT_SCAN_OK;
}

/* --- single bits ---------------------------------------------------------------------------- */

static void flip_in_window(uint64_t from, uint64_t to)
{
    struct segment_file file;
    struct base_error error;
    cr_assert_eq(segment_file_open(&file, AT_FDCWD, path, path, false, &error), 0);
    cr_assert(is_valid_to_scan(&file));
    cr_assert_eq(file.window_bytes, FILE_BYTES);
    for (uint64_t bit = from * 8; bit < to * 8; bit += SCAN_BIT_STEP) {
        file.window[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_not(is_valid_to_scan(&file), "bit %" PRIu64 " of byte %" PRIu64, bit % 8,
                      bit / 8);
        file.window[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert(is_valid_to_scan(&file));
    segment_file_close(&file);
}

/* In parts, because tests of one file run side by side. */
Test(damage, every_bit_of_the_header_and_the_first_batches)
{
    flip_in_window(0, 40960);
}

Test(damage, every_bit_of_the_last_batches_and_the_footer)
{
    flip_in_window(40960, FILE_BYTES);
}

Test(damage, verify_finds_flipped_bits_everywhere)
{
    cr_assert(is_valid_to_verify());
    for (uint64_t bit = 0; bit < FILE_BYTES * 8; bit += VERIFY_BIT_STEP) {
        uint8_t byte = original.data[bit / 8] ^ (uint8_t)(1u << bit % 8);
        cr_assert_eq(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
        cr_assert_not(is_valid_to_verify(), "bit %" PRIu64 " of byte %" PRIu64, bit % 8, bit / 8);
        cr_assert_eq(pwrite(fd, original.data + bit / 8, 1, (off_t)(bit / 8)), 1);
    }
    cr_assert(is_valid_to_verify());
}
