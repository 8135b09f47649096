/* segment/ring_io.h with faults: linked before the engine's library it takes the place of
 * engine/segment/ring_io.c and makes the engine `sluice-faulty`. The kernel still does the
 * operations, or a no-operation takes their place; the journal sees what this file makes of it.
 *
 * SLUICE_FAULT_...    rates are per thousand operations
 *   SEED              decides everything below, per journal; default 1
 *   AFTER             operations of a journal before its first fault; default 0
 *   SHORT             writes of which only a part is done and reported, also parts of a block
 *   WRITE_ERROR       writes that fail, half of them after a part was done
 *   FLUSH_ERROR       flushes that fail
 *   ONCE              1: a journal has one error, then everything succeeds again
 *   DROPS             1: a failing flush loses what was written since the last one, as a kernel
 *                     does that drops dirty pages; a second flush would "succeed" without it
 *   ERRNO             the error: 5 is EIO (default), 28 ENOSPC, 11 EAGAIN
 *   DELAY, DELAY_US   operations that start late, and the longest time that they wait
 *   LIE               1: flushes report success at once and are never done
 *
 * Each fault but a lie is one line on stderr, `fault kind=... journal=...`. With one operation
 * under way per journal there is nothing to reorder within a journal; delays reorder the operations
 * of different ones. Threads: each journal's state belongs to its worker.
 */
#include "base/check.h"
#include "ingress/uring.h"
#include "segment/format.h"
#include "segment/ring_io.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNALS_MAX   256
#define DROP_BYTES_MAX (1 << 20) /* twice the largest batch of the default configuration */

struct fault_journal {
    struct segment_ring_io *ring_io;
    unsigned index;
    uint64_t random;
    unsigned long operations;
    bool had_error;
    bool answers; /* the completion under way reports `answer`, unless the kernel failed */
    int answer;
    uint64_t unflushed_from, unflushed_to; /* bytes of the file written since the last flush */
    struct __kernel_timespec delay;        /* read by the kernel when the entry is submitted */
};

static struct fault_journal journals[JOURNALS_MAX]; /* filled before threads run */
static unsigned journal_count;
static struct {
    unsigned long seed, after, short_rate, write_error, flush_error, delay, delay_us;
    int error;
    bool once, drops, lie;
} faults;

static _Alignas(SEGMENT_BLOCK_BYTES) const uint8_t zeros[DROP_BYTES_MAX];

/* --- chance --------------------------------------------------------------------------------- */

static unsigned long setting(const char *name, unsigned long standard)
{
    char key[64];
    snprintf(key, sizeof(key), "SLUICE_FAULT_%s", name);
    const char *value = getenv(key);
    return value == NULL ? standard : strtoul(value, NULL, 10);
}

static void read_settings(void)
{
    faults.seed = setting("SEED", 1);
    faults.after = setting("AFTER", 0);
    faults.short_rate = setting("SHORT", 0);
    faults.write_error = setting("WRITE_ERROR", 0);
    faults.flush_error = setting("FLUSH_ERROR", 0);
    faults.once = setting("ONCE", 0) != 0;
    faults.drops = setting("DROPS", 0) != 0;
    faults.error = (int)setting("ERRNO", EIO);
    faults.delay = setting("DELAY", 0);
    faults.delay_us = setting("DELAY_US", 1000);
    faults.lie = setting("LIE", 0) != 0;
}

/* xorshift64*, Vigna 2016 */
static uint64_t random_below(struct fault_journal *journal, uint64_t bound)
{
    journal->random ^= journal->random >> 12;
    journal->random ^= journal->random << 25;
    journal->random ^= journal->random >> 27;
    return ((journal->random * UINT64_C(0x2545F4914F6CDD1D)) >> 20) % bound;
}

static bool happens(struct fault_journal *journal, unsigned long per_thousand)
{
    return per_thousand > 0 && journal->operations > faults.after &&
           random_below(journal, 1000) < per_thousand;
}

static bool error_happens(struct fault_journal *journal, unsigned long per_thousand)
{
    if ((faults.once && journal->had_error) || !happens(journal, per_thousand))
        return false;
    journal->had_error = true;
    return true;
}

static void report(const struct fault_journal *journal, const char *kind, uint64_t value)
{
    fprintf(stderr, "fault kind=%s journal=%u operation=%lu value=%llu\n", kind, journal->index,
            journal->operations, (unsigned long long)value);
}

static struct fault_journal *journal_of(const struct segment_ring_io *ring_io)
{
    unsigned i = 0;
    while (i < journal_count && journals[i].ring_io != ring_io)
        i++;
    CHECK(i < journal_count);
    return &journals[i];
}

/* --- operations ----------------------------------------------------------------------------- */

static struct fault_journal *begin(struct segment_io *io)
{
    char *start = (char *)io - offsetof(struct segment_ring_io, io);
    struct fault_journal *journal = journal_of((struct segment_ring_io *)(void *)start);
    journal->operations++;
    journal->answers = false;
    if (!happens(journal, faults.delay))
        return journal;
    uint64_t delay_us = 1 + random_below(journal, faults.delay_us);
    journal->delay.tv_sec = (long long)(delay_us / 1000000);
    journal->delay.tv_nsec = (long long)(delay_us % 1000000 * 1000);
    report(journal, "delay", delay_us);
    struct io_uring_sqe *wait = uring_entry(journal->ring_io->ring);
    io_uring_prep_timeout(wait, &journal->delay, 0, 0);
    wait->flags |= IOSQE_IO_HARDLINK; /* what follows starts when the time is over */
    io_uring_sqe_set_data64(wait, uring_tag(URING_BELL, 0));
    return journal;
}

static void answer(struct fault_journal *journal, int result)
{
    journal->answers = true;
    journal->answer = result;
}

static void do_nothing(struct fault_journal *journal, enum uring_what what)
{
    struct io_uring_sqe *entry = uring_entry(journal->ring_io->ring);
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data64(entry, uring_tag(what, 0));
}

static void do_write(struct fault_journal *journal, int fd, const void *data, uint32_t bytes,
                     uint64_t offset)
{
    if (bytes == 0) {
        do_nothing(journal, URING_WRITE);
        return;
    }
    struct io_uring_sqe *entry = uring_entry(journal->ring_io->ring);
    if (journal->ring_io->registered_buffers)
        io_uring_prep_write_fixed(entry, fd, data, bytes, offset, 0);
    else
        io_uring_prep_write(entry, fd, data, bytes, offset);
    io_uring_sqe_set_data64(entry, uring_tag(URING_WRITE, 0));
    if (journal->unflushed_to == 0)
        journal->unflushed_from = offset;
    journal->unflushed_to = offset + bytes;
}

static void faulty_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                         uint64_t offset)
{
    struct fault_journal *journal = begin(io);
    uint32_t blocks = bytes / SEGMENT_BLOCK_BYTES;
    uint32_t part = (uint32_t)random_below(journal, blocks) * SEGMENT_BLOCK_BYTES;
    if (error_happens(journal, faults.write_error)) {
        if (random_below(journal, 2) == 0)
            part = 0;
        report(journal, "write-error", offset);
        answer(journal, -faults.error);
        do_write(journal, fd, data, part, offset);
    } else if (happens(journal, faults.short_rate)) {
        uint32_t reported = part + (uint32_t)random_below(journal, SEGMENT_BLOCK_BYTES);
        report(journal, "short-write", offset);
        answer(journal, reported == 0 ? 1 : (int)reported);
        do_write(journal, fd, data, part, offset);
    } else {
        do_write(journal, fd, data, bytes, offset);
    }
}

/* What was written since the last flush becomes what it was: zeros. */
static void drop(struct fault_journal *journal, int fd)
{
    uint64_t bytes = journal->unflushed_to - journal->unflushed_from;
    CHECK(bytes <= DROP_BYTES_MAX);
    struct io_uring_sqe *entry = uring_entry(journal->ring_io->ring);
    io_uring_prep_write(entry, fd, zeros, (unsigned)bytes, journal->unflushed_from);
    io_uring_sqe_set_data64(entry, uring_tag(URING_FLUSH, 0));
}

static void faulty_flush(struct segment_io *io, int fd)
{
    struct fault_journal *journal = begin(io);
    if (error_happens(journal, faults.flush_error)) {
        report(journal, "flush-error", journal->unflushed_from);
        answer(journal, -faults.error);
        if (faults.drops)
            drop(journal, fd);
        else
            do_nothing(journal, URING_FLUSH);
    } else if (faults.lie) {
        do_nothing(journal, URING_FLUSH);
    } else {
        struct io_uring_sqe *entry = uring_entry(journal->ring_io->ring);
        io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
        io_uring_sqe_set_data64(entry, uring_tag(URING_FLUSH, 0));
    }
    journal->unflushed_to = 0;
}

void segment_ring_io_init(struct segment_ring_io *ring_io, struct io_uring *ring)
{
    CHECK(journal_count < JOURNALS_MAX);
    if (journal_count == 0)
        read_settings();
    struct fault_journal *journal = &journals[journal_count];
    *journal = (struct fault_journal){
        .ring_io = ring_io,
        .index = journal_count,
        .random = (faults.seed * JOURNALS_MAX + journal_count) * 2 + 1,
    };
    journal_count++;
    *ring_io = (struct segment_ring_io){.io = {faulty_write, faulty_flush}, .ring = ring};
}

int segment_ring_io_result(struct segment_ring_io *ring_io, const struct io_uring_cqe *completion)
{
    const struct fault_journal *journal = journal_of(ring_io);
    return journal->answers && completion->res >= 0 ? journal->answer : completion->res;
}
