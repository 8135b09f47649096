/* What a disk does wrong, decided per operation from the seed, and what must hold all the same.
 *
 * ALWAYS, on every run: what is read is byte for byte what was appended, in order, without a gap or
 * a repeat; a journal that saw an error acknowledges nothing more; no operation is started while
 * another one of the same journal is under way.
 *
 * STRICT: after recovery every acknowledged record is there, and so is every record that recovery
 * published or a reader returned; recovery never refuses; verify finds no damage in what runs, was
 * cut off or is recovered; a reader that is asked often enough has all that is durable, without
 * being opened again; when nothing is wrong any more, appending goes on.
 *
 * NOT SILENT: recovery refuses or verify or a reader reports damage, or nothing acknowledged is
 * missing, except a tail of which the disk holds no trace: no batch or segment header intact in a
 * file named .open or .sealed, written behind it or part of it, and no mark that covers it. No
 * program can notice such a loss after the machine forgot; it is counted as untraceable.
 *
 *   crash   kill and power cut, nothing else: STRICT
 *   short   and writes that end early: STRICT, but a start that met one may fail and is repeated
 *   full    and no space to create, allocate or extend: STRICT, and the same
 *   error   and EIO from write, flush and read; after a failed flush the kernel has dropped what
 *           was not written, and the next flush succeeds: STRICT, and the same
 *   mixed   and short, full and error together: STRICT, and the same
 *   lost    and a disk that lies, in one way per run: a write that succeeds and lands nowhere, or
 *           elsewhere in its file, or a flush that succeeds and keeps nothing: NOT SILENT
 *
 * Owner: the scenario. One thread.
 */
#ifndef SLUICE_TESTS_SIMULATION_FAULTS_H
#define SLUICE_TESTS_SIMULATION_FAULTS_H

#include "draw.h"

enum fault {
    FAULT_NONE,
    FAULT_SHORT,       /* some sectors land, and the result says how many bytes */
    FAULT_NO_SPACE,    /* ENOSPC */
    FAULT_ERROR,       /* EIO */
    FAULT_DROPPED,     /* success, nothing lands */
    FAULT_MISDIRECTED, /* success, lands on another block of the file */
    FAULT_LIE,         /* a flush that succeeds and keeps nothing */
    FAULT_COUNT,
};

enum fault_class {
    FAULT_CLASS_CRASH,
    FAULT_CLASS_SHORT,
    FAULT_CLASS_FULL,
    FAULT_CLASS_ERROR,
    FAULT_CLASS_MIXED,
    FAULT_CLASS_LOST,
    FAULT_CLASS_COUNT,
};

struct faults {
    struct base_random *random;
    enum fault_class class;
    uint32_t kinds;  /* bit 1 << enum fault */
    uint32_t one_in; /* an operation that can fail does so once in that many times */
    bool armed;      /* false: nothing goes wrong, for a while */
    bool disk_full;
    uint64_t injected[FAULT_COUNT];
};

void faults_init(struct faults *faults, enum fault_class class, struct base_random *random);

const char *faults_class_name(enum fault_class class);

/* Whether the disk tells lies in this run. */
bool faults_lie(const struct faults *faults);

uint64_t faults_total(const struct faults *faults);

/* What happens to this operation. `needs_space`: it creates, allocates or extends. */
enum fault faults_at_write(struct faults *faults, bool needs_space);
enum fault faults_at_flush(struct faults *faults);
enum fault faults_at_read(struct faults *faults);
enum fault faults_at_allocation(struct faults *faults);

/* Lets the disk run full, or get space again, now and then. */
void faults_drift(struct faults *faults);

#endif
