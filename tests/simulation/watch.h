/* The other process: a tailing reader per journal (include/sluice/reader.h), which goes on through
 * rolls, seals, kills and recoveries, and `sluice verify` beside the engine. Only a power cut ends
 * it; then it opens its readers again where they were.
 *
 * Owner: the scenario; one thread. Whatever calls these has made the disk's process DISK_WATCHER.
 */
#ifndef SLUICE_TESTS_SIMULATION_WATCH_H
#define SLUICE_TESTS_SIMULATION_WATCH_H

#include "draw.h"
#include "ledger.h"

struct watch_tail {
    struct sluice_reader *reader; /* NULL: not open */
    uint64_t next;                /* the sequence to come */
};

struct watch {
    struct base_random *random;
    struct ledger *ledger;
    bool is_up;        /* the data directory has existed: it must open from now on */
    bool saw_damage;   /* and the disk lies, so that is as it should be */
    uint64_t verified; /* records that verify counted when it last ran */
    unsigned tail_count;
    struct watch_tail tails[LEDGER_JOURNALS_MAX];
};

void watch_init(struct watch *watch, struct base_random *random, struct ledger *ledger,
                unsigned tail_count);

/* Reads on with one of the readers; now and then starts it anew, or verifies. */
void watch_step(struct watch *watch);

/* Nothing is going on: a reader that goes on must now have returned all that is promised. */
void watch_catch_up(struct watch *watch);

/* A fresh reader from the first record on, over every journal: all that is promised and no more. */
void watch_audit(struct watch *watch);

/* Verify finds no damage, or, with a disk that lies, notes it in saw_damage. */
void watch_verify(struct watch *watch);

/* Closes the readers; after a power cut, or at the end. */
void watch_close(struct watch *watch);

#endif
