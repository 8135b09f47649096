/* What must be true of each journal, kept outside the engine: which record has which sequence, how
 * far it was handed to the disk, and how far it was promised to somebody.
 *
 * A record is promised when its batch was acknowledged, when recovery published it, or when a
 * reader returned it. What was handed to the disk and not promised may or may not survive a crash.
 * The first thing found wrong is kept and ends the run.
 *
 * Owner: the scenario; one thread.
 */
#ifndef SLUICE_TESTS_SIMULATION_LEDGER_H
#define SLUICE_TESTS_SIMULATION_LEDGER_H

#include "sluice/reader.h"

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_JOURNALS_MAX 2
#define LEDGER_RECORDS_MAX  4096
#define LEDGER_WRITES_MAX   4096

struct ledger_record {
    uint64_t number; /* unique in the run; also the submission id */
    uint32_t body_bytes;
    uint8_t sha256[32]; /* of the body */
};

/* A batch or segment header that was handed to the disk: a trace of all that came before it. */
struct ledger_write {
    uint32_t file, bytes, crc32c;
    uint64_t offset;
    uint64_t before; /* the highest sequence when it was started */
    uint64_t last;   /* the highest sequence in it, or `before` */
    bool survived;   /* it was where it belongs when the engine started: see ledger_survey */
};

struct ledger_journal {
    uint64_t appended; /* highest sequence that the journal gave out */
    uint64_t started;  /* highest one in a batch that was handed to the disk */
    uint64_t promised;
    bool poisoned; /* an operation failed since the engine started */
    struct ledger_record records[LEDGER_RECORDS_MAX]; /* of sequence 1 and on */
    struct ledger_write writes[LEDGER_WRITES_MAX];
    uint32_t write_count;
};

struct ledger {
    bool lies; /* the disk does: see faults.h */
    bool failed;
    char failure[1024];
    uint64_t acknowledged; /* receipts, over all journals */
    uint64_t returned;     /* records that readers returned */
    uint64_t losses;       /* promised records that are not there and were not reported */
    uint64_t untraceable;  /* records lost to a lying disk without a trace */
    struct ledger_journal journals[LEDGER_JOURNALS_MAX];
};

void ledger_init(struct ledger *ledger, bool lies);

/* Keeps the sentence unless there is one already. */
void ledger_fail(struct ledger *ledger, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void ledger_append(struct ledger *ledger, unsigned journal, uint64_t sequence,
                   const struct ledger_record *record);

/* The open batch was taken back: it ends with `sequence` again. */
void ledger_abandon(struct ledger *ledger, unsigned journal, uint64_t sequence);

/* `write` goes to the disk. */
void ledger_start(struct ledger *ledger, unsigned journal, const struct ledger_write *write);

/* Receipts go out for everything up to `sequence`. */
void ledger_acknowledge(struct ledger *ledger, unsigned journal, uint64_t sequence);

/* An operation of the journal failed: no receipt may follow. */
void ledger_poison(struct ledger *ledger, unsigned journal);

/* Before an engine starts: which traces are on the disk, that recovery might remove. After a kill
 * they add up over starts that were cut off; a power cut begins anew. */
void ledger_survey(struct ledger *ledger, bool power_was_cut);

/* Recovery accepted the journal as ending with `sequence`; the watermark file said `mark`. */
void ledger_recover(struct ledger *ledger, unsigned journal, uint64_t sequence, uint64_t mark);

/* A reader returned `record` as the one with that sequence. */
void ledger_return(struct ledger *ledger, unsigned journal, uint64_t sequence,
                   const struct sluice_record *record);

#endif
