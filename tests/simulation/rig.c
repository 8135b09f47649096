#include "rig.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_BYTES_MAX   24576
#define DRAIN_ROUNDS_MAX 64

static struct rig_journal *of_io(struct segment_io *io)
{
    return (struct rig_journal *)(void *)io; /* its first member */
}

/* --- the journal's operations ---------------------------------------------------------------- */

/* Tells the ledger about whole writes; what follows a short one belongs to the same write. */
static void tell_ledger(struct rig_journal *journal, int fd, const void *data, uint32_t bytes,
                        uint64_t offset)
{
    const struct segment_journal *owner = &journal->journal;
    bool is_header = owner->state == SEGMENT_JOURNAL_HEADER_WRITE;
    if (offset != (is_header ? 0 : owner->write_offset))
        return;
    struct ledger_write write = {
        .file = disk_descriptor_of(fd)->file,
        .bytes = bytes,
        .offset = offset,
        .crc32c = journal->rig->ledger->lies ? base_crc32c(data, bytes) : 0,
        .before = owner->flying_first_sequence - 1,
        .last = owner->flying_first_sequence - 1 + (is_header ? 0 : owner->flying->record_count),
    };
    ledger_start(journal->rig->ledger, journal->number, &write);
}

static void submit_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                         uint64_t offset)
{
    struct rig_journal *journal = of_io(io);
    CHECK(disk_descriptor_of(fd) != NULL);
    disk_trace("  journal %u writes %u bytes at %" PRIu64, journal->number, bytes, offset);
    tell_ledger(journal, fd, data, bytes, offset);
    disk_submit(journal->number, &(struct disk_flight){
                                     .descriptor = fd,
                                     .data = data,
                                     .bytes = bytes,
                                     .offset = offset,
                                 });
}

static void submit_flush(struct segment_io *io, int fd)
{
    struct rig_journal *journal = of_io(io);
    disk_submit(journal->number, &(struct disk_flight){.is_flush = true, .descriptor = fd});
}

/* --- start ----------------------------------------------------------------------------------- */

void rig_init(struct rig *rig, struct base_random *random, struct ledger *ledger)
{
    memset(rig, 0, sizeof(*rig));
    rig->random = random;
    rig->ledger = ledger;
    rig->next_number = 1;
    config_init(&rig->config);
    rig->state.config = &rig->config;
    rig->state.doorbells = rig->doorbells;
}

static int recover_journal(struct rig *rig, unsigned number, int journal_fd,
                           struct segment_recovery *recovery, struct base_error *error)
{
    int result = segment_recover(&rig->catalog, journal_fd, number, &rig->watermark,
                                 rig->config.segment_bytes, recovery, error);
    if (result < 0)
        return result;
    uint64_t mark = segment_watermark_read(&rig->watermark, number);
    ledger_recover(rig->ledger, number, recovery->point.next_sequence - 1, mark);
    segment_watermark_publish(&rig->watermark, number, recovery->point.next_sequence - 1);
    return 0;
}

static int recover_idle_journal(struct rig *rig, unsigned number, struct base_error *error)
{
    struct segment_recovery recovery;
    int journal_fd = segment_catalog_journal(&rig->catalog, number, false, error);
    if (journal_fd < 0)
        return journal_fd;
    int result = recover_journal(rig, number, journal_fd, &recovery, error);
    close(journal_fd);
    if (result < 0)
        return result;
    if (recovery.point.has_segment)
        close(recovery.point.fd);
    if (recovery.has_prepared)
        close(recovery.prepared.fd);
    segment_recovery_fini(&recovery);
    return 0;
}

static int recover_own_journal(struct rig *rig, unsigned number, struct base_error *error)
{
    struct rig_journal *journal = &rig->journals[number];
    struct housekeeping_journal *kept = &rig->housekeeping_journals[number];
    kept->journal = number;
    kept->handoff = &journal->handoff;
    kept->journal_fd = segment_catalog_journal(&rig->catalog, number, true, error);
    if (kept->journal_fd < 0)
        return kept->journal_fd;
    int result = recover_journal(rig, number, kept->journal_fd, &journal->recovery, error);
    return result < 0 ? result
                      : housekeeping_supply(&rig->housekeeping, number, &journal->recovery, error);
}

/* In the order of server.c's open_data. */
static int open_data(struct rig *rig, struct base_error *error)
{
    uint32_t *journals = NULL;
    size_t count = 0;
    int result = segment_catalog_open(&rig->catalog, RIG_DIRECTORY, error);
    if (result == 0)
        result = segment_watermark_open(&rig->watermark, &rig->catalog, error);
    if (result == 0)
        result = segment_catalog_journals(&rig->catalog, &journals, &count, error);
    for (size_t i = 0; i < count && result == 0; i++)
        if (journals[i] >= rig->journal_count)
            result = recover_idle_journal(rig, journals[i], error);
    free(journals);
    for (unsigned i = 0; i < rig->journal_count && result == 0; i++)
        result = recover_own_journal(rig, i, error);
    return result;
}

static void start_journal(struct rig *rig, struct rig_journal *journal)
{
    struct segment_recovery *recovery = &journal->recovery;
    size_t bytes = segment_journal_bytes(rig->config.batch_bytes_max, recovery->segment_bytes_max);
    journal->memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    CHECK(journal->memory != NULL);
    segment_journal_init(&journal->journal, journal->memory, rig->config.batch_bytes_max,
                         recovery->segment_bytes_max, &rig->catalog, &recovery->point, &journal->io,
                         &rig->watermark, &journal->handoff);
    segment_recovery_fini(recovery);
}

int rig_start(struct rig *rig, unsigned journal_count, struct base_error *error)
{
    rig->journal_count = journal_count;
    rig->catalog.directory_fd = rig->catalog.lock_fd = -1;
    rig->watermark = (struct segment_watermark){.mapping = NULL};
    rig->housekeeping = (struct housekeeping){
        .state = &rig->state,
        .catalog = &rig->catalog,
        .journals = rig->housekeeping_journals,
        .count = journal_count,
    };
    segment_prepare_init(&rig->housekeeping.preparation);
    for (unsigned i = 0; i < journal_count; i++) {
        rig->housekeeping_journals[i] = (struct housekeeping_journal){.journal_fd = -1};
        memset(&rig->journals[i], 0, sizeof(rig->journals[i]));
        rig->journals[i].io = (struct segment_io){submit_write, submit_flush};
        rig->journals[i].rig = rig;
        rig->journals[i].number = i;
    }
    int result = open_data(rig, error);
    if (result == 0 && disk.is_dead[DISK_ENGINE])
        result = -EIO;
    if (result < 0) {
        rig_discard(rig);
        return result;
    }
    for (unsigned i = 0; i < journal_count; i++)
        start_journal(rig, &rig->journals[i]);
    rig->is_up = true;
    return 0;
}

/* --- the worker ------------------------------------------------------------------------------ */

/* There is no ring to wake: the scenario lets everybody look at what changed when it likes. */
void __wrap_uring_message(struct io_uring *ring, int to, uint64_t user_data, uint64_t own);
int __wrap_io_uring_submit(struct io_uring *ring);

void __wrap_uring_message(struct io_uring *ring, int to, uint64_t user_data, uint64_t own)
{
    (void)ring, (void)to, (void)user_data, (void)own;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    (void)ring;
    return 0;
}

/* Housekeeping may have ended the journal, because a seal or a preparation failed. */
static void look_at_handoff(struct rig_journal *journal)
{
    int failure = load_acquire(&journal->handoff.failure);
    if (failure == 0 || journal->journal.state != SEGMENT_JOURNAL_IDLE)
        return;
    segment_journal_poison(&journal->journal, -failure, "seal-or-prepare");
    ledger_poison(journal->rig->ledger, journal->number);
}

/* Bodies are any bytes: what stands in them is not the journal's business. A few hold what looks
 * like the format's own structures. */
static void make_body(struct rig *rig, uint8_t *body_out, size_t bytes)
{
    static const char *const magics[] = {"SLUICSEG", "SLUICBAT", "SLUICFTR", "SREC"};
    bool is_zero = draw_once_in(rig->random, 16);
    if (is_zero)
        memset(body_out, 0, bytes);
    else
        base_random_fill(rig->random, body_out, bytes);
    if (!draw_once_in(rig->random, 8))
        return;
    const char *magic = magics[draw_below(rig->random, 4)];
    for (size_t at = 0; at + 8 <= bytes; at += 8)
        memcpy(body_out + at, magic, strlen(magic));
}

static bool append_one(struct rig *rig, struct rig_journal *journal)
{
    static uint8_t body[BODY_BYTES_MAX];
    char id[24];
    struct ledger_record record = {.number = rig->next_number};
    uint64_t limit = rig->config.batch_bytes_max - 512;
    record.body_bytes =
        (uint32_t)draw_scaled(rig->random, limit < BODY_BYTES_MAX ? limit : BODY_BYTES_MAX);
    struct record_envelope envelope = {
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = disk.now_ns,
        .device_time_ns = (int64_t)disk.now_ns,
        .submission_id = {id, (uint32_t)snprintf(id, sizeof(id), "%" PRIu64, record.number)},
        .body = (const char *)body,
        .body_bytes = record.body_bytes,
    };
    if (journal->journal.next_sequence > LEDGER_RECORDS_MAX ||
        !segment_journal_fits(&journal->journal, record_encode_bytes(&envelope)))
        return false;
    make_body(rig, body, record.body_bytes);
    base_sha256_of(body, record.body_bytes, record.sha256);
    memcpy(envelope.body_sha256, record.sha256, sizeof(record.sha256));
    segment_journal_append(&journal->journal, &envelope);
    rig->next_number++;
    ledger_append(rig->ledger, journal->number, envelope.sequence, &record);
    return true;
}

void rig_append(struct rig *rig, unsigned number)
{
    struct rig_journal *journal = &rig->journals[number];
    uint64_t count = draw_scaled(rig->random, 8);
    look_at_handoff(journal);
    if (journal->journal.state == SEGMENT_JOURNAL_FAILED)
        return;
    for (uint64_t i = 0; i < count; i++)
        if (!append_one(rig, journal))
            return;
}

void rig_begin(struct rig *rig, unsigned number, bool mark)
{
    struct rig_journal *journal = &rig->journals[number];
    struct segment_journal *owner = &journal->journal;
    look_at_handoff(journal);
    if (segment_journal_is_busy(owner) || owner->state == SEGMENT_JOURNAL_FAILED)
        return;
    if (segment_journal_start(owner, mark) != SEGMENT_JOURNAL_BLOCKED ||
        load_acquire(&journal->handoff.shortage) == 0)
        return;
    uint64_t kept = owner->next_sequence - 1 - owner->open->record_count;
    segment_journal_abandon(owner);
    ledger_abandon(rig->ledger, number, kept);
}

void rig_complete(struct rig *rig, unsigned number)
{
    struct rig_journal *journal = &rig->journals[number];
    if (!segment_journal_is_busy(&journal->journal))
        return;
    uint64_t last =
        journal->journal.flying_first_sequence + journal->journal.flying->record_count - 1;
    bool is_flush = disk.flights[number].is_flush;
    int result = disk_complete(number);
    if (disk.is_dead[DISK_ENGINE])
        return;
    if (result < 0 || (!is_flush && result == 0))
        ledger_poison(rig->ledger, number);
    switch (segment_journal_complete(&journal->journal, result)) {
    case SEGMENT_JOURNAL_CONTINUES:
    case SEGMENT_JOURNAL_BROKEN:
        return;
    case SEGMENT_JOURNAL_DURABLE:
        disk_trace("  journal %u acknowledges up to %" PRIu64, number, last);
        ledger_acknowledge(rig->ledger, number, last);
    }
}

void rig_housekeep(struct rig *rig)
{
    housekeeping_step(&rig->housekeeping);
}

static bool has_work(const struct rig_journal *journal)
{
    const struct segment_journal *owner = &journal->journal;
    if (owner->state == SEGMENT_JOURNAL_FAILED)
        return false;
    return segment_journal_is_busy(owner) || owner->open->record_count > 0 || owner->mark_owed;
}

bool rig_is_idle(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->journal_count; i++)
        if (has_work(&rig->journals[i]))
            return false;
    return true;
}

bool rig_owes_seals(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->journal_count; i++)
        if (load_acquire(&rig->journals[i].handoff.sealable) != NULL)
            return true;
    return false;
}

void rig_drain(struct rig *rig)
{
    for (unsigned round = 0; round < DRAIN_ROUNDS_MAX && !rig_is_idle(rig); round++) {
        for (unsigned i = 0; i < rig->journal_count; i++) {
            if (disk.is_dead[DISK_ENGINE])
                return;
            rig_begin(rig, i, true);
            rig_complete(rig, i);
        }
        if (!disk.is_dead[DISK_ENGINE])
            rig_housekeep(rig);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

static void free_journals(struct rig *rig)
{
    for (unsigned i = 0; i < rig->journal_count; i++) {
        segment_recovery_fini(&rig->journals[i].recovery);
        free(rig->journals[i].memory);
        rig->journals[i].memory = NULL;
    }
}

void rig_stop(struct rig *rig)
{
    for (unsigned i = 0; i < rig->journal_count; i++)
        if (rig->journals[i].journal.fd >= 0)
            close(rig->journals[i].journal.fd);
    housekeeping_fini(&rig->housekeeping);
    for (unsigned i = 0; i < rig->journal_count; i++)
        close(rig->housekeeping_journals[i].journal_fd);
    rig_discard(rig);
}

void rig_discard(struct rig *rig)
{
    segment_watermark_close(&rig->watermark);
    segment_catalog_close(&rig->catalog);
    free_journals(rig);
    rig->is_up = false;
}
