/* The engine without threads, rings and sockets: server.c's start, worker.c's handling of its
 * journal and the control thread's housekeeping, taken apart into steps that a scenario can put in
 * any order. Everything in engine/segment and engine/housekeeping.c is the engine's own code.
 *
 * Owner: the scenario; one thread. A step may end with the process dead (disk.is_dead): then
 * rig_discard is all that may follow.
 */
#ifndef SLUICE_TESTS_SIMULATION_RIG_H
#define SLUICE_TESTS_SIMULATION_RIG_H

#include "housekeeping.h"
#include "ledger.h"
#include "segment/journal.h"

#define RIG_DIRECTORY DISK_ROOT_PATH "/data"

struct rig_journal {
    struct segment_io io;
    struct rig *rig;
    unsigned number; /* also the flight on the disk */
    struct segment_handoff handoff;
    struct segment_recovery recovery;
    struct segment_journal journal;
    void *memory;
};

struct rig {
    struct base_random *random;
    struct ledger *ledger;
    unsigned journal_count;
    bool is_up;
    uint64_t next_number; /* of a record */
    struct config config;
    struct state state;
    struct queue_doorbell doorbells[LEDGER_JOURNALS_MAX]; /* never slept on */
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct housekeeping housekeeping;
    struct housekeeping_journal housekeeping_journals[LEDGER_JOURNALS_MAX];
    struct rig_journal journals[LEDGER_JOURNALS_MAX];
};

void rig_init(struct rig *rig, struct base_random *random, struct ledger *ledger);

/* What `sluice serve` does before its threads run. 0 or what failed; the rig is then as before. */
int rig_start(struct rig *rig, unsigned journal_count, struct base_error *error);

/* Records into the open batch of a journal, as long as they fit. */
void rig_append(struct rig *rig, unsigned journal);

/* Starts the open batch, or a mark, if the journal is idle. */
void rig_begin(struct rig *rig, unsigned journal, bool mark);

/* Ends the operation under way, if there is one. */
void rig_complete(struct rig *rig, unsigned journal);

void rig_housekeep(struct rig *rig);

/* True when no journal that works has anything open or under way. */
bool rig_is_idle(const struct rig *rig);

/* True when a full segment waits for housekeeping. */
bool rig_owes_seals(const struct rig *rig);

/* Brings everything appended to the disk, with a mark behind it, as far as the disk lets it. */
void rig_drain(struct rig *rig);

/* SIGTERM, drained. */
void rig_stop(struct rig *rig);

/* The process died, or failed to start: frees what it held. */
void rig_discard(struct rig *rig);

#endif
