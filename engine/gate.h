/* Where threads wait for each other at start: each opens what it needs, reports how that went, and
 * goes on only when all of them succeeded.
 *
 * Owner: the server. The only lock of the engine; no thread comes here once it serves.
 */
#ifndef SLUICE_GATE_H
#define SLUICE_GATE_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned arrived;
    bool open;               /* serve */
    bool failed;             /* go home */
    struct base_error error; /* of the first that failed */
};

void gate_init(struct gate *gate);

/* By each thread, once: `result` is how its opening went, `error` says more when that is negative.
 * Waits for all others. True: serve; false: go home. */
bool gate_pass(struct gate *gate, int result, const struct base_error *error);

/* By the thread that started `count` others: waits until all have arrived or one has failed, and
 * lets them go. A negative `result` (starting them failed) sends them home. Returns the result, or
 * that of the first thread that failed. */
int gate_open(struct gate *gate, unsigned count, int result, struct base_error *error);

#endif
