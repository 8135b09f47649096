/* Random edits of the last segment of a journal: repair leaves the journal alone and recovery takes
 * it, or refuses and changes nothing, or yields a directory in which verify finds nothing wrong,
 * every number up to the mark is there, and every record that was still good has its bytes. */
#include "base/check.h"
#include "base/random.h"
#include "repair_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES  RIG_SEGMENT_BYTES
#define BLOCK_BYTES 4096
#define BLOCKS      (FILE_BYTES / BLOCK_BYTES)
#define EDITS       (SLUICE_SANITIZED ? 60 : 400)
#define SEED        20260301 /* SLUICE_SEED replaces it */

static struct base_random edits;
static uint64_t seed;
static uint8_t image[FILE_BYTES + 2 * BLOCK_BYTES];
static size_t image_bytes;

static uint64_t below(uint64_t limit)
{
    return base_random_next(&edits) % limit;
}

/* --- the journals that are edited ----------------------------------------------------------- */

/* A closed journal whose last segment is edited in copies of it. */
struct journal {
    struct journal_rig rig;
    uint64_t number; /* of the last segment */
    enum segment_state state;
    uint64_t last; /* number of the last record */
    struct test_bytes segment;
    struct repair_places places;
};

static void write_some(struct journal_rig *rig)
{
    journal_rig_put(rig, 2);
    journal_rig_mark(rig);
    for (size_t i = 0; i < 9; i++)
        journal_rig_append(rig, 64 + 100 * i);
    journal_rig_commit(rig);
    journal_rig_append(rig, 9000);
    journal_rig_append(rig, 64);
    journal_rig_commit(rig);
    journal_rig_put(rig, 1);
}

static void make_journal(struct journal *journal, uint64_t number, enum segment_state state)
{
    char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
    test_directory_make_in_memory(directory);
    journal_rig_init(&journal->rig, directory, 0);
    journal_rig_open(&journal->rig);
    for (uint64_t i = 1; i <= number; i++) {
        write_some(&journal->rig);
        if (i < number || state == SEGMENT_STATE_SEALED)
            journal_rig_seal_current(&journal->rig);
    }
    journal->number = number;
    journal->state = state;
    journal->last = journal->rig.journal.next_sequence - 1;
    journal_rig_close(&journal->rig);
    journal_rig_path(&journal->rig, number, state, path);
    journal->segment = test_file_load(path);
    repair_places_of(&journal->rig, number, path, &journal->places);
}

static void remove_journal(struct journal *journal)
{
    test_directory_remove(journal->rig.directory);
    test_bytes_free(&journal->segment);
}

/* --- edits ---------------------------------------------------------------------------------- */

static uint64_t blocks(void)
{
    return image_bytes / BLOCK_BYTES;
}

static void flip_a_bit(void)
{
    image[below(image_bytes)] ^= (uint8_t)(1u << below(8));
}

static void overwrite_some_bytes(void)
{
    size_t bytes = 1 + below(600), at = below(image_bytes - bytes);
    base_random_fill(&edits, image + at, bytes);
}

static void zero_some_sectors(void)
{
    uint64_t count = 1 + below(12), at = below(image_bytes / 512 - count);
    memset(image + at * 512, 0, count * 512);
}

static void swap_blocks(void)
{
    uint8_t block[BLOCK_BYTES];
    uint8_t *a = image + below(blocks()) * BLOCK_BYTES, *b = image + below(blocks()) * BLOCK_BYTES;
    memcpy(block, a, BLOCK_BYTES);
    memmove(a, b, BLOCK_BYTES);
    memcpy(b, block, BLOCK_BYTES);
}

static void duplicate_blocks(void)
{
    uint64_t count = 1 + below(3), from = below(blocks() - count), to = below(blocks() - count);
    memmove(image + to * BLOCK_BYTES, image + from * BLOCK_BYTES, count * BLOCK_BYTES);
}

static void cut_the_end(void)
{
    image_bytes = below(2) == 0 ? below(image_bytes) : below(blocks()) * BLOCK_BYTES;
}

static void move_bytes_by_a_little(void)
{
    size_t bytes = 1 + below(600);
    size_t from = below(image_bytes - bytes), to = below(image_bytes - bytes);
    memmove(image + to, image + from, bytes);
}

static void edit_nothing(void)
{
}

static void (*const makers[])(void) = {
    flip_a_bit,       overwrite_some_bytes, zero_some_sectors,      swap_blocks,
    duplicate_blocks, cut_the_end,          move_bytes_by_a_little, edit_nothing,
};

/* --- one trial ------------------------------------------------------------------------------ */

struct tally {
    unsigned left_alone, refused, mended, lost;
};

/* Whether the record is where it was, in a batch whose header is what it was. */
static bool is_still_good(const struct journal *journal, const struct repair_place *place)
{
    const uint8_t *before = journal->segment.data;
    return place->offset + place->bytes <= image_bytes &&
           memcmp(image + place->batch_offset, before + place->batch_offset,
                  sizeof(struct segment_batch_header)) == 0 &&
           memcmp(image + place->offset, before + place->offset, place->bytes) == 0;
}

static void expect_good_records_kept(const struct journal *journal, const struct journal_rig *rig,
                                     unsigned trial)
{
    static struct repair_places now;
    char path[TEST_PATH_BYTES];
    journal_rig_path(rig, journal->number, SEGMENT_STATE_OPEN, path);
    repair_places_of(rig, journal->number, path, &now);
    struct test_bytes mended = test_file_load(path);
    uint64_t first = journal->places.items[0].sequence;
    for (size_t i = 0; i < now.count; i++)
        cr_assert_eq(now.items[i].sequence, first + i);
    for (size_t i = 0; i < journal->places.count; i++) {
        const struct repair_place *place = &journal->places.items[i];
        if (!is_still_good(journal, place))
            continue;
        cr_assert(i < now.count && now.items[i].bytes == place->bytes &&
                      memcmp(mended.data + now.items[i].offset,
                             journal->segment.data + place->offset, place->bytes) == 0,
                  "record %" PRIu64 " is not what it was, trial %u of seed %" PRIu64,
                  place->sequence, trial, seed);
    }
    test_bytes_free(&mended);
}

static void expect_kept(const char *path, unsigned trial)
{
    struct test_bytes kept = test_file_load(path);
    cr_assert(kept.bytes == image_bytes && memcmp(kept.data, image, image_bytes) == 0,
              "trial %u of seed %" PRIu64, trial, seed);
    test_bytes_free(&kept);
}

static void judge(const struct journal *journal, struct journal_rig *rig, uint64_t mark,
                  unsigned trial, struct tally *tally)
{
    struct repair_outcome outcome;
    char *before = test_directory_snapshot(rig->directory);
    repair_rig_run(rig, true, &outcome);
    char *after = test_directory_snapshot(rig->directory);
    bool mended = outcome.result == 0 && outcome.needed;
    cr_assert(outcome.result == 0 || outcome.result == -EBADMSG, "%s", outcome.error.text);
    cr_assert(mended || strcmp(before, after) == 0, "trial %u of seed %" PRIu64, trial, seed);
    free(before);
    free(after);
    if (mended) {
        cr_assert(outcome.last >= mark);
        expect_kept(outcome.kept, trial);
        expect_good_records_kept(journal, rig, trial);
        repair_rig_expect_fit(rig, outcome.last + 1);
    } else if (outcome.result == 0) {
        cr_assert_eq(journal_rig_try_open(rig), 0, "trial %u of seed %" PRIu64 ": %s", trial, seed,
                     rig->error.text);
        cr_assert(rig->journal.next_sequence > mark);
        journal_rig_close(rig);
        journal_rig_expect_damages(rig, 0);
    }
    tally->mended += mended;
    tally->left_alone += outcome.result == 0 && !outcome.needed;
    tally->refused += outcome.result < 0;
    tally->lost += outcome.lost > 0;
}

static void try_once(const struct journal *journal, unsigned trial, struct tally *tally)
{
    static struct journal_rig rig;
    char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
    rig = journal->rig;
    test_path(directory, "%s.copy", journal->rig.directory);
    test_directory_copy(journal->rig.directory, directory);
    memcpy(rig.directory, directory, sizeof(directory));
    image_bytes = journal->segment.bytes;
    memcpy(image, journal->segment.data, image_bytes);
    makers[trial % (sizeof(makers) / sizeof(makers[0]))]();
    if (below(4) == 0 && image_bytes > 2 * BLOCK_BYTES)
        flip_a_bit();
    journal_rig_path(&rig, journal->number, journal->state, path);
    test_file_store(path, image, image_bytes);
    uint64_t mark = below(3) == 0 ? 0 : journal->last + (below(4) == 0 ? below(30) : 0);
    if (mark == 0)
        journal_rig_remove_watermark(&rig);
    else
        journal_rig_set_watermark(&rig, mark);
    judge(journal, &rig, mark, trial, tally);
    test_directory_remove(directory);
}

static void try_edits(uint64_t number, enum segment_state state)
{
    static struct journal journal;
    struct tally tally = {0};
    make_journal(&journal, number, state);
    for (unsigned trial = 0; trial < EDITS; trial++)
        try_once(&journal, trial, &tally);
    cr_log_info("seed %" PRIu64 ": %u mended (%u with losses), %u left alone, %u refused", seed,
                tally.mended, tally.lost, tally.left_alone, tally.refused);
    cr_assert(tally.mended > EDITS / 2 && tally.lost > EDITS / 8 && tally.left_alone > 0);
    remove_journal(&journal);
}

static void set_up(void)
{
    const char *given = getenv("SLUICE_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : SEED;
    base_random_seed(&edits, seed);
}

TestSuite(repair_random, .init = set_up);

Test(repair_random, an_open_segment)
{
    try_edits(1, SEGMENT_STATE_OPEN);
}

Test(repair_random, a_sealed_segment)
{
    try_edits(1, SEGMENT_STATE_SEALED);
}

Test(repair_random, the_open_segment_behind_a_sealed_one)
{
    try_edits(2, SEGMENT_STATE_OPEN);
}
