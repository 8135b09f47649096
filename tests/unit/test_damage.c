/* No change to a sealed segment goes unnoticed: every single bit, and some thousand larger edits.
 * The list of bytes without a meaning is empty: header, batches, padding, footer and trailer are
 * all covered by a checksum, and what is not used must be zero. */
#include "base/check.h"
#include "base/random.h"
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

#define FILE_BYTES  65536
#define BLOCK_BYTES 4096
#define BLOCKS      (FILE_BYTES / BLOCK_BYTES)
#define EDITS       (SLUICE_SANITIZED ? 500 : 4000)
#define SEED        20240229

/* Sanitizers make it some ten times slower; the plain build looks at every bit. */
#define SCAN_BIT_STEP   (SLUICE_SANITIZED ? 5 : 1)
#define VERIFY_BIT_STEP (SLUICE_SANITIZED ? 331 : 61)

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
static struct journal_rig rig;
static struct test_bytes original;
static int fd;
static struct base_random random_edits;

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
    base_random_seed(&random_edits, SEED);
}

static void tear_down(void)
{
    close(fd);
    test_bytes_free(&original);
    test_directory_remove(directory);
}

TestSuite(damage, .init = set_up, .fini = tear_down);

static uint64_t below(uint64_t limit)
{
    return base_random_next(&random_edits) % limit;
}

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

/* --- larger edits --------------------------------------------------------------------------- */

static uint8_t edited[FILE_BYTES + 4 * BLOCK_BYTES];
static size_t edited_bytes;

static void swap_blocks(void)
{
    uint8_t block[BLOCK_BYTES];
    uint8_t *a = edited + below(BLOCKS) * BLOCK_BYTES, *b = edited + below(BLOCKS) * BLOCK_BYTES;
    memcpy(block, a, BLOCK_BYTES);
    memmove(a, b, BLOCK_BYTES);
    memcpy(b, block, BLOCK_BYTES);
}

static void zero_a_block(void)
{
    memset(edited + below(BLOCKS) * BLOCK_BYTES, 0, BLOCK_BYTES);
}

static void zero_a_sector(void)
{
    memset(edited + below(FILE_BYTES / 512) * 512, 0, 512);
}

static void truncate_somewhere(void)
{
    edited_bytes = below(2) == 0 ? below(FILE_BYTES) : below(BLOCKS) * BLOCK_BYTES;
}

static void append_something(void)
{
    size_t bytes = 1 + below(4 * BLOCK_BYTES);
    memset(edited + FILE_BYTES, below(2) == 0 ? 0 : 0x53, bytes);
    edited_bytes = FILE_BYTES + bytes;
}

static void duplicate_blocks(void)
{
    uint64_t count = 1 + below(3), from = below(BLOCKS - count), to = below(BLOCKS - count);
    memmove(edited + to * BLOCK_BYTES, edited + from * BLOCK_BYTES, count * BLOCK_BYTES);
}

static void insert_a_block(void)
{
    uint64_t at = below(BLOCKS) * BLOCK_BYTES;
    memmove(edited + at + BLOCK_BYTES, edited + at, FILE_BYTES - at);
    edited_bytes = FILE_BYTES + BLOCK_BYTES;
}

static void remove_a_block(void)
{
    uint64_t at = below(BLOCKS) * BLOCK_BYTES;
    memmove(edited + at, edited + at + BLOCK_BYTES, FILE_BYTES - at - BLOCK_BYTES);
    edited_bytes = FILE_BYTES - BLOCK_BYTES;
}

static void overwrite_some_bytes(void)
{
    size_t bytes = 1 + below(600), at = below(FILE_BYTES - bytes);
    base_random_fill(&random_edits, edited + at, bytes);
}

static void move_bytes_by_a_little(void)
{
    size_t bytes = 1 + below(600), from = below(FILE_BYTES - bytes), to = below(FILE_BYTES - bytes);
    memmove(edited + to, edited + from, bytes);
}

/* Writes `edited` to the segment in place; verify must refuse it, unless it is what it was. */
static void expect_edit_found(const char *what, unsigned number)
{
    bool same = edited_bytes == FILE_BYTES && memcmp(edited, original.data, FILE_BYTES) == 0;
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_assert_eq(pwrite(fd, edited, edited_bytes, 0), (ssize_t)edited_bytes);
    cr_assert_eq(is_valid_to_verify(), same, "%s, number %u of seed %d", what, number, SEED);
}

static void start_edit(void)
{
    memcpy(edited, original.data, FILE_BYTES);
    edited_bytes = FILE_BYTES;
}

Test(damage, random_edits_are_found)
{
    static const struct {
        const char *what;
        void (*make)(void);
    } edits[] = {
        {"swapped blocks", swap_blocks},
        {"a zeroed block", zero_a_block},
        {"a zeroed sector", zero_a_sector},
        {"a shorter file", truncate_somewhere},
        {"a longer file", append_something},
        {"duplicated blocks", duplicate_blocks},
        {"an inserted block", insert_a_block},
        {"a removed block", remove_a_block},
        {"overwritten bytes", overwrite_some_bytes},
        {"moved bytes", move_bytes_by_a_little},
    };
    for (unsigned i = 0; i < EDITS; i++) {
        unsigned kind = i % (sizeof(edits) / sizeof(edits[0]));
        start_edit();
        edits[kind].make();
        expect_edit_found(edits[kind].what, i);
    }
}

/* A sealed segment of a journal of the same shape in another directory. */
static struct test_bytes make_donor(bool same_node, uint32_t journal, uint64_t number)
{
    static struct journal_rig other;
    char other_directory[TEST_PATH_BYTES], from[TEST_PATH_BYTES], to[TEST_PATH_BYTES];
    test_directory_make_in_memory(other_directory);
    test_path(from, "%s/node", directory);
    test_path(to, "%s/node", other_directory);
    struct test_bytes node = test_file_load(from);
    if (same_node)
        test_file_store(to, node.data, node.bytes);
    test_bytes_free(&node);
    journal_rig_init(&other, other_directory, journal);
    journal_rig_open(&other);
    for (uint64_t i = 0; i < number; i++)
        journal_rig_fill(&other);
    journal_rig_put(&other, 1);
    journal_rig_seal(&other);
    journal_rig_close(&other);
    journal_rig_path(&other, number, SEGMENT_STATE_SEALED, from);
    struct test_bytes donor = test_file_load(from);
    cr_assert_eq(donor.bytes, FILE_BYTES);
    test_directory_remove(other_directory);
    return donor;
}

/* Puts runs of the donor's blocks, from `first_block` on, into the segment. */
static void splice_blocks(const char *what, struct test_bytes donor, uint64_t first_block)
{
    for (unsigned i = 0; i < EDITS / 8; i++) {
        uint64_t count = 1 + below(5);
        uint64_t from = first_block + below(BLOCKS - count - first_block);
        uint64_t to = below(2) == 0 ? from : first_block + below(BLOCKS - count - first_block);
        start_edit();
        memcpy(edited + to * BLOCK_BYTES, donor.data + from * BLOCK_BYTES, count * BLOCK_BYTES);
        expect_edit_found(what, i);
    }
    test_bytes_free(&donor);
}

Test(damage, blocks_of_another_segment_are_found)
{
    splice_blocks("another segment", make_donor(true, 0, 2), 0);
}

Test(damage, blocks_of_another_journal_are_found)
{
    splice_blocks("another journal", make_donor(true, 1, 1), 0);
}

Test(damage, blocks_of_another_node_are_found)
{
    splice_blocks("another node", make_donor(false, 0, 1), 0);
}

/* Without its header, which differs in nothing but the time at which it was taken into use. */
Test(damage, blocks_of_another_history_of_the_same_segment_are_found)
{
    splice_blocks("another history", make_donor(true, 0, 1), 1);
}
