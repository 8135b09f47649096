/* `sluice repair`: what it would do on stdout, the same when it is done, and nothing changed
 * without --apply. */
#include "segment/repair.h"
#include "command/command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct repairing {
    const char *directory;
    bool apply;
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    bool any_needed; /* found and not applied */
    bool any_failed;
};

/* --- printing ------------------------------------------------------------------------------- */

/* A line with the runs of one sort, or nothing when there is none. */
static void print_runs(const struct segment_repair *plan, const char *what, bool rescued)
{
    bool any = false;
    uint64_t from = plan->scan.next_sequence;
    while (from <= plan->last) {
        bool is_rescued;
        uint64_t end = segment_repair_run(plan, from, &is_rescued);
        if (is_rescued == rescued && !any)
            printf("journal %" PRIu32 ": %s: ", plan->journal, what);
        if (is_rescued == rescued) {
            printf("%s%" PRIu64 "-%" PRIu64, any ? ", " : "", from, end);
            any = true;
        }
        from = end + 1;
    }
    if (any)
        printf("\n");
}

static void print_plan(const struct segment_repair *plan)
{
    uint32_t journal = plan->journal;
    printf("journal %" PRIu32 ": damaged: %s at offset %" PRIu64 ": %s\n", journal, plan->file.path,
           plan->damage_offset, plan->damage);
    if (plan->header_is_made)
        printf("journal %" PRIu32 ": segment header: made again\n", journal);
    if (plan->scan.next_sequence > plan->scan.first_sequence)
        printf("journal %" PRIu32 ": kept: %" PRIu64 "-%" PRIu64 "\n", journal,
               plan->scan.first_sequence, plan->scan.next_sequence - 1);
    print_runs(plan, "rescued", true);
    print_runs(plan, "lost", false);
    printf("journal %" PRIu32 ": next: %" PRIu64 "\n", journal, plan->last + 1);
    printf("journal %" PRIu32 ": original: %s/damaged/%s\n", journal, plan->catalog->path,
           plan->kept_name);
}

/* --- journals ------------------------------------------------------------------------------- */

static void fail(struct repairing *repairing, const struct base_error *error)
{
    fflush(stdout);
    fprintf(stderr, "sluice: %s\n", error->text);
    repairing->any_failed = true;
}

static void repair_needed(struct repairing *repairing, struct segment_repair *plan)
{
    struct base_error error = {.code = 0};
    if (repairing->apply && segment_repair_apply(plan, &error) < 0) {
        fail(repairing, &error);
        return;
    }
    print_plan(plan);
    fflush(stdout);
    fprintf(stderr,
            "sluice: journal %" PRIu32 " goes on with sequence number %" PRIu64
            ". A loader that has read beyond %" PRIu64
            " must be set back to that number; see \"When the engine refuses to start\" in "
            "docs/operations.md\n",
            plan->journal, plan->last + 1, plan->last);
    repairing->any_needed |= !repairing->apply;
}

static void repair_journal(struct repairing *repairing, uint32_t journal)
{
    struct segment_repair plan;
    struct base_error error = {.code = 0};
    int journal_fd = segment_catalog_journal(&repairing->catalog, journal, false, &error);
    if (journal_fd < 0) {
        fail(repairing, &error);
        return;
    }
    int result = segment_repair_plan(&repairing->catalog, journal_fd, journal,
                                     &repairing->watermark, &plan, &error);
    if (result < 0)
        fail(repairing, &error);
    else if (plan.needed)
        repair_needed(repairing, &plan);
    else
        printf("journal %" PRIu32 ": nothing to repair\n", journal);
    if (result == 0)
        segment_repair_fini(&plan);
    close(journal_fd);
}

/* All of a journal that has a mark and no directory is missing. */
static void report_missing(struct repairing *repairing, uint32_t journal)
{
    struct base_error error;
    uint64_t mark = segment_watermark_read(&repairing->watermark, journal);
    if (mark == 0)
        return;
    base_error_set(&error, -EBADMSG,
                   "damage in %s: journal %" PRIu32 " is missing, of which records 1 to %" PRIu64
                   " were acknowledged. Restore it from a replica or backup",
                   repairing->catalog.path, journal, mark);
    fail(repairing, &error);
}

static int repair_journals(struct repairing *repairing, struct base_error *error)
{
    uint32_t *journals = NULL;
    size_t count = 0, at = 0;
    int result = segment_watermark_open_reader(&repairing->watermark, &repairing->catalog, error);
    if (result == 0)
        result = segment_catalog_journals(&repairing->catalog, &journals, &count, error);
    for (uint32_t i = 0; i < SEGMENT_WATERMARK_JOURNALS_MAX && result == 0; i++) {
        if (at < count && journals[at] == i) {
            repair_journal(repairing, i);
            at++;
        } else {
            report_missing(repairing, i);
        }
    }
    free(journals);
    segment_watermark_close(&repairing->watermark);
    return result;
}

/* --- the command ---------------------------------------------------------------------------- */

bool command_repair_helps(const char *directory)
{
    struct segment_catalog catalog;
    struct segment_watermark watermark = {.mapping = NULL};
    struct base_error error;
    uint32_t *journals = NULL;
    size_t count = 0;
    bool helps = false;
    if (segment_catalog_open_reader(&catalog, directory, &error) < 0)
        return false;
    if (segment_watermark_open_reader(&watermark, &catalog, &error) < 0 ||
        segment_catalog_journals(&catalog, &journals, &count, &error) < 0)
        count = 0;
    for (size_t i = 0; i < count && !helps; i++) {
        int journal_fd = segment_catalog_journal(&catalog, journals[i], false, &error);
        if (journal_fd < 0)
            continue;
        helps = segment_repair_helps(&catalog, journal_fd, journals[i], &watermark);
        close(journal_fd);
    }
    free(journals);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
    return helps;
}

/* The lock, on a directory that is one: opening for the engine would make what is not there. */
static int open_locked(struct repairing *repairing, struct base_error *error)
{
    int result = segment_catalog_open_reader(&repairing->catalog, repairing->directory, error);
    if (result < 0)
        return result;
    segment_catalog_close(&repairing->catalog);
    return segment_catalog_open(&repairing->catalog, repairing->directory, error);
}

static bool parse_options(int argc, char **argv, struct repairing *repairing)
{
    static const struct option options[] = {
        {"apply", no_argument, NULL, 'a'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return false;
        repairing->apply = true;
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: sluice repair [--apply] DIR\n");
        return false;
    }
    repairing->directory = argv[optind];
    return true;
}

int command_repair(int argc, char **argv)
{
    struct repairing repairing = {.apply = false};
    struct base_error error = {.code = 0};
    if (!parse_options(argc, argv, &repairing))
        return EX_USAGE;
    int result = open_locked(&repairing, &error);
    if (result == 0) {
        result = repair_journals(&repairing, &error);
        segment_catalog_close(&repairing.catalog);
    }
    if (result < 0) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return result == -EWOULDBLOCK ? EX_TEMPFAIL : COMMAND_EXIT_FAILED;
    }
    if (repairing.any_needed)
        fprintf(stderr, "sluice: nothing was changed; `sluice repair --apply %s` does the above\n",
                repairing.directory);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "sluice: cannot write to standard output: %s\n", strerror(errno));
        return COMMAND_EXIT_FAILED;
    }
    if (repairing.any_failed)
        return COMMAND_EXIT_FAILED;
    return repairing.any_needed ? COMMAND_EXIT_NO : COMMAND_EXIT_DONE;
}
