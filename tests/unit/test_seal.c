/* Sealing: the footer's content, the file's final size, name and mode. */
#include "base/checksum.h"
#include "journal_rig.h"
#include "sample_record.h"
#include "segment/scan.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[TEST_PATH_BYTES];
static struct journal_rig rig;

static void set_up(void)
{
    test_directory_make(directory);
    journal_rig_init(&rig, directory, 2);
    journal_rig_open(&rig);
}

static void tear_down(void)
{
    journal_rig_close(&rig);
    test_directory_remove(directory);
}

TestSuite(seal, .init = set_up, .fini = tear_down);

/* Seals what is there and loads the file. */
static struct test_bytes seal_and_load(void)
{
    char path[TEST_PATH_BYTES];
    journal_rig_seal_current(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    return test_file_load(path);
}

static void load_footer(const struct test_bytes *file, struct segment_footer_header *footer,
                        struct segment_trailer *trailer)
{
    memcpy(trailer, file->data + file->bytes - sizeof(*trailer), sizeof(*trailer));
    cr_assert_eq(trailer->footer_offset + trailer->footer_bytes, file->bytes);
    memcpy(footer, file->data + trailer->footer_offset, sizeof(*footer));
}

Test(seal, the_footer_says_what_the_segment_holds)
{
    struct segment_footer_header footer;
    struct segment_trailer trailer;
    journal_rig_put(&rig, 3);
    journal_rig_append(&rig, 100);
    journal_rig_append(&rig, 100);
    journal_rig_commit(&rig);
    journal_rig_mark(&rig);
    uint8_t hash[SEGMENT_HASH_BYTES];
    memcpy(hash, rig.journal.hash, sizeof(hash));
    struct test_bytes file = seal_and_load();
    load_footer(&file, &footer, &trailer);
    cr_assert_eq(memcmp(footer.magic, "SLUICFTR", 8), 0);
    cr_assert_eq(footer.footer_bytes, 4096);
    cr_assert_eq(memcmp(footer.node_id, rig.catalog.node_id, 16), 0);
    cr_assert_eq(footer.journal, 2);
    cr_assert_eq(footer.segment_number, 1);
    cr_assert_eq(footer.batch_count, 5);
    cr_assert_eq(footer.record_count, 5);
    cr_assert_eq(footer.first_sequence, 1);
    cr_assert_eq(footer.next_sequence, 6);
    cr_assert_eq(footer.oldest_received_at_ns, SAMPLE_RECEIVED_AT_NS + 1000000);
    cr_assert_eq(footer.newest_received_at_ns, SAMPLE_RECEIVED_AT_NS + 5000000);
    cr_assert_eq(footer.data_end, 24576);
    cr_assert_eq(memcmp(footer.last_hash, hash, sizeof(hash)), 0);
    cr_assert_eq(footer.reserved, 0);
    cr_assert_eq(footer.crc32c,
                 base_crc32c(file.data + footer.data_end + 12, footer.footer_bytes - 12));
    cr_assert_eq(memcmp(trailer.magic, "SLUICEND", 8), 0);
    cr_assert_eq(trailer.footer_offset, 24576);
    cr_assert_eq(trailer.crc32c, base_crc32c(&trailer, 20));
    cr_assert_eq(trailer.reserved, 0);
    test_bytes_free(&file);
}

Test(seal, the_index_points_at_every_batch)
{
    struct segment_footer_header footer;
    struct segment_trailer trailer;
    for (int i = 0; i < 4; i++) {
        journal_rig_append(&rig, 100 + 3000 * (size_t)i);
        journal_rig_commit(&rig);
    }
    struct test_bytes file = seal_and_load();
    load_footer(&file, &footer, &trailer);
    for (uint32_t i = 0; i < footer.batch_count; i++) {
        struct segment_index_entry entry;
        struct segment_batch_header batch;
        memcpy(&entry, file.data + footer.data_end + sizeof(footer) + i * sizeof(entry),
               sizeof(entry));
        cr_assert_eq(entry.offset, rig.batches[i].offset);
        memcpy(&batch, file.data + entry.offset, sizeof(batch));
        cr_assert_eq(memcmp(batch.magic, "SLUICBAT", 8), 0);
        cr_assert_eq(entry.first_sequence, batch.first_sequence);
        cr_assert_eq(entry.record_count, batch.record_count);
        cr_assert_eq(entry.batch_bytes, batch.batch_bytes);
    }
    test_bytes_free(&file);
}

Test(seal, the_file_is_cut_behind_the_footer_renamed_and_read_only)
{
    struct stat status;
    char path[TEST_PATH_BYTES];
    journal_rig_put(&rig, 2);
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_size, RIG_SEGMENT_BYTES);
    journal_rig_seal_current(&rig);
    cr_assert_not(test_file_exists(path));
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_size, 12288 + 4096);
    cr_assert_eq(status.st_mode & 0777, 0444);
}

Test(seal, the_descriptor_is_closed)
{
    journal_rig_put(&rig, 1);
    int fd = rig.journal.fd;
    journal_rig_seal_current(&rig);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

Test(seal, a_segment_with_only_marks_has_no_times)
{
    struct segment_footer_header footer;
    struct segment_trailer trailer;
    journal_rig_fill(&rig);
    journal_rig_mark(&rig); /* the first batch of segment 2 */
    cr_assert_eq(rig.journal.segment_number, 2);
    journal_rig_seal(&rig);
    journal_rig_seal_current(&rig);
    char path[TEST_PATH_BYTES];
    journal_rig_path(&rig, 2, SEGMENT_STATE_SEALED, path);
    struct test_bytes file = test_file_load(path);
    load_footer(&file, &footer, &trailer);
    cr_assert_eq(footer.batch_count, 1);
    cr_assert_eq(footer.record_count, 0);
    cr_assert_eq(footer.first_sequence, footer.next_sequence);
    cr_assert_eq(footer.oldest_received_at_ns, 0);
    cr_assert_eq(footer.newest_received_at_ns, 0);
    test_bytes_free(&file);
    journal_rig_expect_damages(&rig, 0);
}

Test(seal, a_footer_of_several_blocks_is_found_again)
{
    rig.segment_bytes = 1048576;
    journal_rig_reopen(&rig);
    for (int i = 0; i < 200; i++) /* more index entries than fit a block */
        journal_rig_put(&rig, 1);
    journal_rig_seal_current(&rig);
    cr_assert_eq(segment_footer_bytes(200), 8192);
    journal_rig_reopen(&rig);
    cr_assert_eq(rig.journal.next_sequence, 201);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_expect_records(&rig, 200);
}

Test(seal, a_seal_that_fails_names_the_segment)
{
    char path[TEST_PATH_BYTES], moved[TEST_PATH_BYTES];
    journal_rig_put(&rig, 1);
    struct segment_sealable sealable = {
        .fd = rig.journal.fd,
        .journal = 2,
        .segment_number = 1,
        .data_end = rig.journal.write_offset,
        .index = rig.journal.index,
    };
    journal_rig_path(&rig, 1, SEGMENT_STATE_OPEN, path);
    test_path(moved, "%s.moved", path);
    test_file_rename(path, moved);
    cr_assert(segment_seal(&rig.catalog, rig.journal_fd, &sealable, &rig.error) < 0);
    cr_assert_not_null(strstr(rig.error.text, path));
    cr_assert_eq(fcntl(sealable.fd, F_GETFD), -1, "not closed");
    rig.journal.fd = -1;
}

Test(seal, the_index_capacity_is_never_exceeded_by_a_segment)
{
    cr_assert_geq(segment_index_capacity(RIG_SEGMENT_BYTES), RIG_BATCHES_PER_SEGMENT);
    journal_rig_fill(&rig);
    cr_assert_eq(rig.journal.index->count, RIG_BATCHES_PER_SEGMENT);
}
