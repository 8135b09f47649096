#include "trial.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOSSES_PRINTED 20

static const char *const place_names[TRIAL_PLACES] = {
    "in the changed structure",
    "at the end of what stands before a segment that is none any more",
    "at the next batch or segment, which does not continue the edited one",
    "at what the edited node or watermark contradicts",
};

void trial_init(struct trial *trial, enum shape_plan plan, struct test_bytes node,
                struct trial_counts *counts)
{
    *trial = (struct trial){.counts = counts};
    shape_make(&trial->shape, plan, 0, node);
    test_directory_make_in_memory(trial->copy);
    judge_records_load(&trial->shape, &trial->records);
    struct judge_finding finding;
    judge_verify(trial->shape.directory, &finding);
    CHECK(!finding.found);
}

void trial_fini(struct trial *trial)
{
    judge_records_free(&trial->records);
    shape_remove(&trial->shape);
    test_directory_remove(trial->copy);
}

static void lose(struct trial *trial, const struct edit *edit, uint64_t number, const char *what,
                 const char *detail)
{
    if (trial->counts->losses++ >= LOSSES_PRINTED)
        return;
    printf("LOST edit %" PRIu64 ", shape \"%s\", %s: %s, bytes %" PRIu64 " to %" PRIu64
           " of %zu, %" PRIu64 " afterwards: %s: %s\n",
           number, trial->shape.name, edit->file->name, edit_kind_names[edit->kind], edit->from,
           edit->to, edit->file->original.bytes, edit->bytes, what, detail);
    fflush(stdout);
}

/* --- where verify saw it -------------------------------------------------------------------- */

static bool names_file(const struct judge_finding *finding, const struct shape_file *file)
{
    return strcmp(finding->path, file->path) == 0;
}

static bool is_in_structure(const struct edit *edit, const struct judge_finding *finding)
{
    const struct shape_structure *structure = shape_structure_at(edit->file, edit->from);
    bool has_new_size = edit->bytes != edit->file->original.bytes;
    if (!names_file(finding, edit->file))
        return false;
    if (finding->offset >= structure->offset && finding->offset < structure->end)
        return true;
    /* a wrong size shows at the header that says another one, at the old end, or at the new one */
    return has_new_size &&
           (finding->offset < SEGMENT_BLOCK_BYTES ||
            finding->offset == edit->file->original.bytes || finding->offset == edit->bytes);
}

static enum trial_place place_in_segments(const struct shape *shape, const struct edit *edit,
                                          const struct judge_finding *finding)
{
    const struct shape_file *file = edit->file;
    unsigned at = (unsigned)(file - shape->files);
    if (is_in_structure(edit, finding))
        return TRIAL_STRUCTURE;
    if (edit->from < SEGMENT_BLOCK_BYTES && at > 0 && names_file(finding, file - 1))
        return TRIAL_BEFORE;
    /* a whole batch of the same number, of another history: valid but for what comes behind it */
    if (edit->kind == EDIT_SPLICE_HISTORY && names_file(finding, file) &&
        finding->offset >= edit->from &&
        finding->offset <= shape_structure_at(file, edit->to - 1)->end)
        return TRIAL_SEAM;
    if (!file->sealed && at + 1 < shape->segment_count && names_file(finding, file + 1) &&
        finding->offset < SEGMENT_BLOCK_BYTES)
        return TRIAL_SEAM;
    return TRIAL_PLACES;
}

/* TRIAL_PLACES: it named something that does not help to find the damage. */
static enum trial_place place_of(const struct shape *shape, const struct edit *edit,
                                 const struct judge_finding *finding)
{
    char node[TEST_PATH_BYTES];
    if (edit->file->kind == SHAPE_SEGMENT)
        return place_in_segments(shape, edit, finding);
    if (strstr(finding->path, "/journal-") != NULL)
        return TRIAL_CONTRADICTED;
    test_path(node, edit->bytes > 0 ? "%s" : "%s/node", shape->directory);
    return edit->file->kind == SHAPE_NODE && strstr(finding->what, node) != NULL ? TRIAL_STRUCTURE
                                                                                 : TRIAL_PLACES;
}

static void judge_finding_of(struct trial *trial, const struct edit *edit, uint64_t number,
                             const struct judge_finding *finding)
{
    char text[JUDGE_TEXT_BYTES];
    if (!finding->found) {
        lose(trial, edit, number, "verify found nothing", "");
        return;
    }
    enum trial_place place = place_of(&trial->shape, edit, finding);
    if (place < TRIAL_PLACES) {
        trial->counts->places[place]++;
        return;
    }
    snprintf(text, sizeof(text), "%s at %" PRIu64 ": %s", finding->path, finding->offset,
             finding->what);
    lose(trial, edit, number, "verify named another place", text);
}

/* --- a reader, and recovery on a copy ------------------------------------------------------- */

static void read_in(struct trial *trial, const struct edit *edit, uint64_t number,
                    const char *directory, const char *who)
{
    char text[JUDGE_TEXT_BYTES];
    enum judge_reading reading =
        judge_read(directory, trial->shape.acknowledged, &trial->records, text);
    trial->counts->readings++;
    trial->counts->readings_refused += reading == JUDGE_REFUSED;
    if (reading == JUDGE_SILENT && directory != trial->copy && !trial->counts->strict_readers)
        trial->counts->readings_silent++;
    else if (reading == JUDGE_WRONG || reading == JUDGE_SILENT)
        lose(trial, edit, number, who, text);
}

static void make_copy(const struct trial *trial, const struct edit *edit)
{
    const struct shape *shape = &trial->shape;
    char path[TEST_PATH_BYTES];
    test_directory_remove(trial->copy);
    test_path(path, "%s/journal-0000", trial->copy);
    CHECK(mkdir(trial->copy, 0750) == 0 && mkdir(path, 0750) == 0);
    for (unsigned i = 0; i < shape->file_count; i++) {
        const struct shape_file *file = &shape->files[i];
        bool is_edited = file == edit->file;
        test_path(path, "%s/%s", trial->copy, file->name);
        test_file_store(path, is_edited ? edit->data : file->original.data,
                        is_edited ? edit->bytes : file->original.bytes);
    }
}

/* After a refusal the damaged file must be as it was. */
static bool is_left_alone(const struct trial *trial, const struct edit *edit)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/%s", trial->copy, edit->file->name);
    struct test_bytes now = test_file_load(path);
    bool same = now.bytes == edit->bytes && memcmp(now.data, edit->data, now.bytes) == 0;
    test_bytes_free(&now);
    return same;
}

static void recover_copy(struct trial *trial, const struct edit *edit, uint64_t number)
{
    char text[JUDGE_TEXT_BYTES];
    make_copy(trial, edit);
    int result = judge_recover(trial->copy, text);
    trial->counts->recoveries++;
    trial->counts->recoveries_refused += result < 0;
    if (result == 0)
        read_in(trial, edit, number, trial->copy, "recovery went on, and then reading");
    else if (edit->file->kind != SHAPE_WATERMARK && !is_left_alone(trial, edit))
        lose(trial, edit, number, "recovery refused and changed the file", text);
}

/* --- one edit ------------------------------------------------------------------------------- */

void trial_run(struct trial *trial, const struct edit *edit, uint64_t number, bool reads)
{
    struct judge_finding finding;
    enum rule rule = rule_for(&trial->shape, edit);
    trial->counts->rules[rule]++;
    if (rule == RULE_NO_EDIT)
        return;
    edit_apply(edit);
    judge_verify(trial->shape.directory, &finding);
    trial->counts->reported[rule] += finding.found;
    if (rule == RULE_MUST_BE_FOUND)
        judge_finding_of(trial, edit, number, &finding);
    bool is_open = edit->file->kind == SHAPE_SEGMENT && !edit->file->sealed;
    if (reads || rule != RULE_MUST_BE_FOUND || (is_open && edit->kind != EDIT_FLIP)) {
        /* the engine publishes its marks at once, so only recovery restores lost ones */
        if (edit->file->kind != SHAPE_WATERMARK)
            read_in(trial, edit, number, trial->shape.directory, "reading");
        recover_copy(trial, edit, number);
    }
    edit_take_back(edit);
}

/* --- the report ----------------------------------------------------------------------------- */

void trial_print(const struct trial_counts *counts)
{
    printf("%" PRIu64 " single bits flipped, %" PRIu64 " edits:\n", counts->flips, counts->edits);
    for (int i = 0; i < EDIT_KINDS; i++)
        printf("  %-52s %9" PRIu64 "\n", edit_kind_names[i], counts->kinds[i]);
    printf("by the rules, and what verify reported:\n");
    for (int i = 0; i < RULE_COUNT; i++)
        printf("  %-52s %9" PRIu64 " %9" PRIu64 "\n", rule_names[i], counts->rules[i],
               counts->reported[i]);
    printf("named:\n");
    for (int i = 0; i < TRIAL_PLACES; i++)
        printf("  %-66s %9" PRIu64 "\n", place_names[i], counts->places[i]);
    printf("readings: %" PRIu64 ", of which refused %" PRIu64
           ", stopped before the damage without a word %" PRIu64 "\n"
           "recoveries of a copy: %" PRIu64 ", of which refused %" PRIu64 "\n",
           counts->readings, counts->readings_refused, counts->readings_silent, counts->recoveries,
           counts->recoveries_refused);
}
