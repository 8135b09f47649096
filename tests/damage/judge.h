/* What the engine's own code says about a damaged directory: `verify`, a reader, and recovery on a
 * copy.
 *
 * Owner: the program; one thread.
 */
#ifndef SLUICE_TESTS_DAMAGE_JUDGE_H
#define SLUICE_TESTS_DAMAGE_JUDGE_H

#include "shape.h"

#define JUDGE_TEXT_BYTES 1280

/* The first thing that verify named. */
struct judge_finding {
    bool found;
    char path[320]; /* "": the directory could not be read, `what` says why */
    uint64_t offset;
    char what[BASE_ERROR_TEXT_BYTES];
};

void judge_verify(const char *directory, struct judge_finding *finding_out);

enum judge_reading {
    JUDGE_ALL_THERE, /* every acknowledged record came, the same in each member */
    JUDGE_REFUSED,   /* damage or not readable, after records that were the same */
    JUDGE_SILENT,    /* not every one came, and nobody said why */
    JUDGE_WRONG,     /* another record came */
};

/* Digests of the records of a shape as they are before any edit. */
struct judge_records {
    uint64_t count;
    uint8_t (*digests)[32]; /* of record 1 at 0 */
};

void judge_records_load(const struct shape *shape, struct judge_records *records_out);
void judge_records_free(struct judge_records *records);

/* Reads journal 0 with the public reader. `text_out` says what was wrong. */
enum judge_reading judge_read(const char *directory, uint64_t acknowledged,
                              const struct judge_records *records, char text_out[JUDGE_TEXT_BYTES]);

/* Recovers journal 0 as an engine does at its start. 0, or what it refused with. */
int judge_recover(const char *directory, char text_out[JUDGE_TEXT_BYTES]);

#endif
