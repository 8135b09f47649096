#include "housekeeping.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "ingress/uring.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

static void publish(struct housekeeping_journal *journal, const struct segment_prepared *prepared)
{
    struct segment_handoff *handoff = journal->handoff;
    handoff->prepared_storage = *prepared;
    store_release(&handoff->shortage, 0);
    store_release(&handoff->prepared, &handoff->prepared_storage); /* H1 pairs with H2 */
}

static void ring_bell(struct housekeeping *housekeeping, unsigned index)
{
    uring_message(housekeeping->ring, housekeeping->state->doorbells[index].ring_fd,
                  uring_tag(URING_BELL, 0), uring_tag(URING_BELL, index));
    io_uring_submit(housekeeping->ring);
}

/* The disk failed for this journal: its worker is told, refuses what it has, and says so. */
static void end_journal(struct housekeeping *housekeeping, struct housekeeping_journal *journal,
                        int code)
{
    journal->broken = true;
    store_release(&journal->handoff->failure, -code);
    ring_bell(housekeeping, (unsigned)(journal - housekeeping->journals));
}

/* Seals what a worker handed over. On failure the data is safe, but the journal cannot go on. */
static bool seal_one(struct housekeeping *housekeeping, struct housekeeping_journal *journal)
{
    struct base_error error;
    struct segment_sealable *sealable =
        load_acquire(&journal->handoff->sealable); /* H6 pairs with H5 */
    if (sealable == NULL || journal->broken)
        return false;
    if (segment_seal(housekeeping->catalog, journal->journal_fd, sealable, &error) < 0) {
        base_log(BASE_LOG_ERROR, "seal-failed",
                 "journal=%" PRIu32
                 " error=\"%s\" message=\"its records are safe; recovery seals it\"",
                 journal->journal, error.text);
        end_journal(housekeeping, journal, error.code);
        return false;
    }
    store_release(&journal->handoff->sealable, NULL); /* H7 pairs with H8 */
    return true;
}

/* What passes by itself or when somebody makes room; all else is the disk failing. */
static bool is_shortage(int code)
{
    return code == -ENOSPC || code == -EDQUOT || code == -EMFILE || code == -ENFILE ||
           code == -ENOMEM;
}

static void fail_preparation(struct housekeeping *housekeeping, const struct base_error *error)
{
    struct housekeeping_journal *journal = &housekeeping->journals[housekeeping->preparing];
    if (!is_shortage(error->code)) {
        base_log(BASE_LOG_ERROR, "prepare-failed", "journal=%" PRIu32 " error=\"%s\"",
                 journal->journal, error->text);
        end_journal(housekeeping, journal, error->code);
        return;
    }
    if (load_relaxed(&journal->handoff->shortage) == 0)
        base_log(BASE_LOG_WARNING, "no-room",
                 "journal=%" PRIu32 " error=\"%s\" message=\"free some space; it is tried again by "
                 "itself\"",
                 journal->journal, error->text);
    store_release(&journal->handoff->shortage, -error->code);
    housekeeping->retry_at_ns =
        base_clock_monotonic_ns() + HOUSEKEEPING_RETRY_MS * NANOSECONDS_PER_MILLISECOND;
}

int housekeeping_supply(struct housekeeping *housekeeping, unsigned index,
                        const struct segment_recovery *recovery, struct base_error *error)
{
    struct housekeeping_journal *journal = &housekeeping->journals[index];
    journal->next_segment_number = recovery->next_segment_number;
    if (recovery->has_prepared) {
        publish(journal, &recovery->prepared);
        return 0;
    }
    if (recovery->point.has_segment)
        return 0; /* the next one is prepared in the background */
    struct segment_prepared prepared;
    int result = segment_prepare_begin(
        &housekeeping->preparation, housekeeping->catalog, journal->journal_fd, journal->journal,
        journal->next_segment_number, housekeeping->state->config->segment_bytes, error);
    while (result == 0)
        result = segment_prepare_step(&housekeeping->preparation, housekeeping->catalog, &prepared,
                                      error);
    if (result < 0 &&
        is_shortage(result)) { /* start all the same: reading goes on, and room may come */
        housekeeping->preparing = index;
        fail_preparation(housekeeping, error);
        return 0;
    }
    if (result < 0)
        return result;
    journal->next_segment_number++;
    publish(journal, &prepared);
    return 0;
}

static bool begin_preparation(struct housekeeping *housekeeping)
{
    struct base_error error;
    if (housekeeping->retry_at_ns > base_clock_monotonic_ns())
        return false;
    for (unsigned i = 0; i < housekeeping->count; i++) {
        unsigned index = (housekeeping->preparing + 1 + i) % housekeeping->count;
        struct housekeeping_journal *journal = &housekeeping->journals[index];
        /* H4 pairs with H3: the worker has taken the last one */
        if (journal->broken || load_acquire(&journal->handoff->prepared) != NULL)
            continue;
        housekeeping->preparing = index;
        housekeeping->retry_at_ns = 0;
        if (segment_prepare_begin(&housekeeping->preparation, housekeeping->catalog,
                                  journal->journal_fd, journal->journal,
                                  journal->next_segment_number,
                                  housekeeping->state->config->segment_bytes, &error) < 0) {
            fail_preparation(housekeeping, &error);
            return false;
        }
        return true;
    }
    return false;
}

static bool prepare_some(struct housekeeping *housekeeping)
{
    struct base_error error;
    struct segment_prepared prepared;
    if (housekeeping->preparation.fd < 0)
        return begin_preparation(housekeeping);
    int result =
        segment_prepare_step(&housekeeping->preparation, housekeeping->catalog, &prepared, &error);
    if (result < 0)
        fail_preparation(housekeeping, &error);
    if (result == 1) {
        struct housekeeping_journal *journal = &housekeeping->journals[housekeeping->preparing];
        journal->next_segment_number++;
        publish(journal, &prepared);
    }
    return result >= 0;
}

/* Tells workers that wait: there is a segment, or there will be none for now. */
static void answer_waiting(struct housekeeping *housekeeping)
{
    uint32_t full = 0;
    for (unsigned i = 0; i < housekeeping->count; i++) {
        struct segment_handoff *handoff = housekeeping->journals[i].handoff;
        bool short_of_room = load_relaxed(&handoff->shortage) != 0;
        bool ready =
            load_acquire(&handoff->prepared) != NULL && load_acquire(&handoff->sealable) == NULL;
        full += short_of_room;
        if (load_relaxed(&handoff->wanted) == 0 || (!short_of_room && !ready))
            continue;
        exchange_acq_rel(&handoff->wanted, 0); /* H10 pairs with H9 */
        ring_bell(housekeeping, i);
    }
    store_relaxed(&housekeeping->state->journals_full, full);
}

bool housekeeping_step(struct housekeeping *housekeeping)
{
    bool more = false;
    for (unsigned i = 0; i < housekeeping->count; i++)
        more = seal_one(housekeeping, &housekeeping->journals[i]) || more;
    more = prepare_some(housekeeping) || more;
    answer_waiting(housekeeping);
    return more;
}

int housekeeping_timeout_ms(const struct housekeeping *housekeeping)
{
    return housekeeping->retry_at_ns == 0 ? -1 : HOUSEKEEPING_RETRY_MS;
}

void housekeeping_fini(struct housekeeping *housekeeping)
{
    segment_prepare_cancel(&housekeeping->preparation);
    for (unsigned i = 0; i < housekeeping->count; i++) {
        struct segment_prepared *prepared =
            load_acquire(&housekeeping->journals[i].handoff->prepared);
        if (prepared != NULL)
            close(prepared->fd);
    }
}
