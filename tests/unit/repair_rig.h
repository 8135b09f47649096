/* What the tests of repair share: every record of a segment file with its bytes, running a repair,
 * and looking at what became of the directory.
 *
 * Owner: the test. Unless a function returns a code it asserts that it succeeds.
 */
#ifndef SLUICE_TESTS_REPAIR_RIG_H
#define SLUICE_TESTS_REPAIR_RIG_H

#include "journal_rig.h"
#include "segment/repair.h"

#define REPAIR_RECORDS_MAX 512

/* Where a record lies in the image of a segment file. */
struct repair_place {
    uint64_t sequence;
    uint64_t batch_offset;
    uint64_t offset;
    uint32_t bytes;
};

struct repair_places {
    struct repair_place items[REPAIR_RECORDS_MAX];
    size_t count;
};

/* All records in the valid batches of the file. */
void repair_places_of(const struct journal_rig *rig, uint64_t segment_number, const char *path,
                      struct repair_places *places_out);

/* What a repair did. */
struct repair_outcome {
    int result; /* of opening the directory, planning or applying */
    bool needed;
    uint64_t first;             /* number where the damage began */
    uint64_t last;              /* number of the last record */
    uint64_t lost;              /* how many records are lost */
    uint64_t offset;            /* where the damage was reported */
    char kept[TEST_PATH_BYTES]; /* path of the damaged file */
    struct base_error error;
};

/* Plans, and with `apply` applies, a repair of the rig's journal; the rig is closed. */
void repair_rig_run(const struct journal_rig *rig, bool apply, struct repair_outcome *outcome_out);

/* The same, and it must have been needed and have worked. */
void repair_rig_apply(const struct journal_rig *rig, struct repair_outcome *outcome_out);

/* Reads everything through the public reader: records 1 to `last`; true in lost[n] when record n
 * is a lost one, all others must have the sample body of their number. */
void repair_rig_read(const struct journal_rig *rig, uint64_t last, bool *lost_out);

/* Verify finds nothing, and the journal starts at `next` and takes records. */
void repair_rig_expect_fit(struct journal_rig *rig, uint64_t next);

#endif
