/* One edit against everything that should notice it, and the counts over all edits.
 *
 * Owner: the program; one thread.
 */
#ifndef SLUICE_TESTS_DAMAGE_TRIAL_H
#define SLUICE_TESTS_DAMAGE_TRIAL_H

#include "judge.h"
#include "rule.h"

/* Where verify saw the damage. */
enum trial_place {
    TRIAL_STRUCTURE,    /* in the header, batch or footer with the first changed byte */
    TRIAL_BEFORE,       /* at the end of what stands before a segment that is none any more */
    TRIAL_SEAM,         /* at what comes next, which does not continue what was edited */
    TRIAL_CONTRADICTED, /* at the segment that an edited `node` or `watermark` contradicts */
    TRIAL_PLACES,
};

struct trial_counts {
    uint64_t flips, edits;
    uint64_t kinds[EDIT_KINDS];
    uint64_t rules[RULE_COUNT];
    uint64_t reported[RULE_COUNT]; /* of these, verify named */
    uint64_t places[TRIAL_PLACES];
    uint64_t readings, readings_refused;
    uint64_t readings_silent; /* stopped before the damage, as if the rest were still to come */
    bool strict_readers;      /* that is a loss, too */
    uint64_t recoveries, recoveries_refused;
    uint64_t losses;
};

/* A shape, where to copy it, and what its records are. */
struct trial {
    struct shape shape;
    struct judge_records records;
    char copy[TEST_PATH_BYTES]; /* for recovery */
    struct trial_counts *counts;
};

/* `node` as in shape_make. */
void trial_init(struct trial *trial, enum shape_plan plan, struct test_bytes node,
                struct trial_counts *counts);
void trial_fini(struct trial *trial);

/* Applies the edit, asks verify, and with `reads`, or where the edit may mean nothing or hits an
 * open segment, also a reader and recovery; takes the edit back. `number` is for messages. */
void trial_run(struct trial *trial, const struct edit *edit, uint64_t number, bool reads);

void trial_print(const struct trial_counts *counts);

#endif
