/* What stands before the last segment in use of a journal, and which one that is. The segments
 * before it must be as recovery wants them: their damage is not the end of a journal, and nothing
 * that repair may do helps against it.
 *
 * Changes nothing. Owner: the caller; one thread at a time.
 */
#ifndef SLUICE_SEGMENT_CHAIN_H
#define SLUICE_SEGMENT_CHAIN_H

#include "segment/catalog.h"
#include "segment/scan.h"

#define SEGMENT_CHAIN_NONE SIZE_MAX

/* What a segment file is, by its header and whether anything is behind it. */
enum segment_chain_use {
    SEGMENT_CHAIN_IN_USE,
    SEGMENT_CHAIN_NOT_IN_USE,
    SEGMENT_CHAIN_HEADERLESS, /* something is in it, and its header is not valid */
    SEGMENT_CHAIN_FOREIGN,    /* the header is valid, and not for this place */
};

struct segment_chain {
    const struct segment_catalog *catalog;
    int journal_fd; /* the caller's */
    uint32_t journal;
    struct segment_list list; /* without those being prepared */
    size_t last;              /* index of the last one in use, or SEGMENT_CHAIN_NONE */
    struct segment_scan
        before; /* the one before it, at its end; next_sequence 1 when it is the first */
    const char *before_fault; /* that one is open, and something is wrong behind its last batch */
    char before_path[320];
    struct base_error *error; /* what every function here fills in */
};

/* Finds the last segment in use and walks up to it. `chain` has its first three members and `error`
 * set. 0, -EBADMSG when something is wrong before the last one, or an I/O error. The caller calls
 * segment_chain_fini in every case. */
int segment_chain_walk(struct segment_chain *chain);
void segment_chain_fini(struct segment_chain *chain);

/* Opens the file of entry `index` for reading. */
int segment_chain_open(struct segment_chain *chain, size_t index, struct segment_file *file);

/* enum segment_chain_use, or an I/O error; `scan` begins the segment, or says what is wrong. */
int segment_chain_classify(struct segment_chain *chain, size_t index, struct segment_file *file,
                           struct segment_scan *scan);

/* -EBADMSG unless the segment that `scan` begins continues the one before. */
int segment_chain_check(struct segment_chain *chain, const struct segment_scan *scan,
                        const char *path);

/* -EBADMSG, with a sentence that says that repair does not help. */
int segment_chain_refuse(struct segment_chain *chain, const char *path, uint64_t offset,
                         const char *what);

#endif
