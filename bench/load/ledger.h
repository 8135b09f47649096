/* The receipts of a load against the data directory: is every acknowledged submission there?
 *
 * Owner: the command, after the threads have stopped. Reads through include/sluice/reader.h, as any
 * loader would.
 */
#ifndef SLUICE_BENCH_LOAD_LEDGER_H
#define SLUICE_BENCH_LOAD_LEDGER_H

#include "base/error.h"
#include "load/answer.h"

struct load_ledger_result {
    uint64_t checked;
    uint64_t missing; /* no such record, or another body's digest */
    struct load_receipt first_missing;
};

/* Sorts `receipts`. A replayed receipt may occur more than once. -EBADMSG: the directory is
 * damaged.
 */
int load_ledger_check(const char *directory, struct load_receipt *receipts, uint64_t count,
                      struct load_ledger_result *result_out, struct base_error *error);

#endif
