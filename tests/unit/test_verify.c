/* What only `verify` can see, since all checksums are right: a segment of another history in the
 * place of ours, and a footer whose index does not describe its segment. */
#include "base/checksum.h"
#include "journal_rig.h"
#include "segment/verify.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

static char directory[TEST_PATH_BYTES], other_directory[TEST_PATH_BYTES];
static struct journal_rig rig, other;

static void set_up(void)
{
    test_directory_make(directory);
    test_directory_make(other_directory);
    journal_rig_init(&rig, directory, 0);
    journal_rig_init(&other, other_directory, 0);
}

static void tear_down(void)
{
    test_directory_remove(directory);
    test_directory_remove(other_directory);
}

TestSuite(verify, .init = set_up, .fini = tear_down);

struct wanted {
    const char *path;
    uint64_t offset;
    const char *what;
    bool found;
};

static void look_for(void *context, const char *path, uint64_t offset, const char *what)
{
    struct wanted *wanted = context;
    if (strcmp(path, wanted->path) == 0 && offset == wanted->offset)
        wanted->found = wanted->found || strcmp(what, wanted->what) == 0;
}

static void expect_damage(const char *path, uint64_t offset, const char *what)
{
    struct wanted wanted = {path, offset, what, false};
    struct segment_verify_report report;
    struct base_error error;
    int result = segment_verify(directory, look_for, &wanted, &report, &error);
    cr_assert_eq(result, 0, "%s", error.text);
    cr_assert(wanted.found, "%" PRIu64 " damages, none is \"%s\" at %" PRIu64, report.damages, what,
              offset);
}

static void replace(const char *what, const char *with)
{
    struct test_bytes file = test_file_load(with);
    test_file_store(what, file.data, file.bytes);
    test_bytes_free(&file);
}

/* A sealed segment and one more with a record; the first record has `body_bytes`. */
static void make_history(struct journal_rig *history, size_t body_bytes)
{
    journal_rig_open(history);
    journal_rig_append(history, body_bytes);
    journal_rig_commit(history);
    journal_rig_fill(history);
    journal_rig_put(history, 1);
    journal_rig_seal(history);
    journal_rig_close(history);
}

Test(verify, finds_a_segment_of_another_history_with_our_node_and_sequences)
{
    char ours[TEST_PATH_BYTES], theirs[TEST_PATH_BYTES];
    make_history(&rig, 200);
    test_path(ours, "%s/node", directory);
    test_path(theirs, "%s/node", other_directory);
    replace(theirs, ours);
    make_history(&other, 201);
    journal_rig_expect_damages(&rig, 0);
    journal_rig_path(&rig, 2, SEGMENT_STATE_OPEN, ours);
    journal_rig_path(&other, 2, SEGMENT_STATE_OPEN, theirs);
    replace(ours, theirs);
    expect_damage(ours, 72, "segment does not continue the hash chain");
}

Test(verify, finds_a_footer_whose_index_names_other_places)
{
    char path[TEST_PATH_BYTES];
    struct segment_footer_header footer;
    struct segment_index_entry entry;
    make_history(&rig, 200);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    struct test_bytes file = test_file_load(path);
    struct segment_trailer trailer;
    memcpy(&trailer, file.data + file.bytes - sizeof(trailer), sizeof(trailer));
    uint8_t *at = file.data + trailer.footer_offset;
    uint64_t entries = trailer.footer_offset + sizeof(footer);
    memcpy(&entry, file.data + entries, sizeof(entry));
    entry.offset += SEGMENT_BLOCK_BYTES;
    memcpy(file.data + entries, &entry, sizeof(entry));
    memcpy(&footer, at, sizeof(footer));
    footer.crc32c = base_crc32c(at + 12, trailer.footer_bytes - 12);
    memcpy(at, &footer, sizeof(footer));
    test_file_store(path, file.data, file.bytes);
    test_bytes_free(&file);
    expect_damage(path, entries, "footer's batch index does not describe the batches");
}
