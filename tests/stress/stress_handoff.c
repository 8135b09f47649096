/* The mailboxes between a worker and the control thread (segment/handoff.h): prepared segments one
 * way, full ones the other, and `wanted` with its bell.
 *
 * The worker's side is the real segment/journal.c over files that do not exist: its operations
 * succeed at once. The control side does what housekeeping.c does, without the disk: it takes a
 * full segment apart instead of sealing it, and hands out a number instead of a file. No segment
 * may be lost, skipped or come twice, nothing may be read before it was written or after it was
 * given back (ThreadSanitizer), and a worker that waits is always rung.
 *
 * Calls and bells are eventfds, as the engine's control thread has one, but go through syscall(2):
 * ThreadSanitizer would take read(2) and write(2) for edges, and the mailboxes must bring their
 * own.
 */
#include "segment/journal.h"
#include "stress.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOST_AFTER_MS     20000 /* so long that only a lost wake-up takes it */
#define BATCH_BYTES       8192
#define BATCHES_MAX       4 /* per segment */
#define SEGMENT_BYTES_MAX ((uint64_t)(2 + BATCHES_MAX) * SEGMENT_BLOCK_BYTES)
#define SHORTAGE_ONE_IN   16
#define REST_ONE_IN       16384 /* mostly the control thread has something to do for other journals */
#define FIRST_FD          1000 /* of segment 0; never used as a descriptor */

struct rig {
    struct segment_handoff handoff;
    uint64_t segment_count; /* to fill */
    _Atomic uint32_t finished;
    int call_fd, bell_fd; /* for the control thread, for the worker */

    /* the worker's */
    struct segment_io io;
    struct segment_journal journal;
    struct segment_watermark watermark;
    int io_result; /* of the operation under way */
    uint64_t blocked_count, refused_count;

    /* the control thread's */
    uint64_t next_segment_number, next_sealed_number, next_sealed_sequence;
    uint64_t shortage_count, ring_count;
};

static int fd_of(uint64_t segment_number)
{
    return FIRST_FD + (int)segment_number;
}

static void notify(int fd)
{
    uint64_t one = 1;
    STRESS_CHECK(syscall(SYS_write, fd, &one, sizeof(one)) == sizeof(one), "eventfd");
}

/* False: nobody notified for so long that nobody will. */
static bool wait_for_notification(int fd)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    uint64_t count;
    int ready;
    do
        ready = poll(&watched, 1, LOST_AFTER_MS);
    while (ready < 0 && errno == EINTR);
    return ready == 1 && syscall(SYS_read, fd, &count, sizeof(count)) == sizeof(count);
}

/* --- the worker ----------------------------------------------------------------------------- */

static struct rig *rig_of(struct segment_io *io)
{
    return (struct rig *)(void *)((char *)io - offsetof(struct rig, io));
}

static void write_nothing(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                          uint64_t offset)
{
    struct rig *rig = rig_of(io);
    (void)data;
    STRESS_CHECK(fd == fd_of(rig->journal.segment_number), "wrote to descriptor %d", fd);
    STRESS_CHECK(offset + bytes <= rig->journal.file_bytes, "wrote beyond the segment");
    rig->io_result = (int)bytes;
}

static void flush_nothing(struct segment_io *io, int fd)
{
    struct rig *rig = rig_of(io);
    STRESS_CHECK(fd == fd_of(rig->journal.segment_number), "flushed descriptor %d", fd);
    rig->io_result = 0;
}

/* start_batch() of worker.c when the journal is blocked, and the wait that follows. */
static void wait_for_segment(struct rig *rig)
{
    rig->blocked_count++;
    if (load_acquire(&rig->handoff.shortage) != 0) {
        segment_journal_abandon(&rig->journal);
        rig->refused_count++;
        stress_yield();
        return;
    }
    if (exchange_acq_rel(&rig->handoff.wanted, 1) == 0) /* H9 pairs with H10 */
        notify(rig->call_fd);
    STRESS_CHECK(wait_for_notification(rig->bell_fd),
                 "a worker that waits was not rung: prepared %d, sealable %d, wanted %d",
                 load_acquire(&rig->handoff.prepared) != NULL,
                 load_acquire(&rig->handoff.sealable) != NULL,
                 (int)load_relaxed(&rig->handoff.wanted));
}

static void write_batch(struct rig *rig, struct base_random *random)
{
    static const char body[] = "{}";
    struct segment_journal *journal = &rig->journal;
    if (journal->open->record_count == 0) {
        struct record_envelope envelope = {
            .kind = SEGMENT_RECORD_SUBMISSION,
            .received_at_ns = 1 + base_random_next(random) % 1000,
            .body = body,
            .body_bytes = sizeof(body) - 1,
        };
        segment_journal_append(journal, &envelope);
    }
    if (segment_journal_start(journal, false) == SEGMENT_JOURNAL_BLOCKED) {
        wait_for_segment(rig);
        return;
    }
    while (segment_journal_complete(journal, rig->io_result) == SEGMENT_JOURNAL_CONTINUES)
        ;
    STRESS_CHECK(journal->state == SEGMENT_JOURNAL_IDLE, "the journal failed");
}

static void work(struct rig *rig, struct base_random *random)
{
    while (rig->journal.segment_number <= rig->segment_count && !stress_failed())
        write_batch(rig, random);
    store_release(&rig->finished, 1);
    notify(rig->call_fd);
}

/* --- the control thread --------------------------------------------------------------------- */

static void check_index(const struct segment_sealable *sealable, uint64_t *sequence)
{
    const struct segment_index *index = sealable->index;
    uint64_t offset = SEGMENT_BLOCK_BYTES, records = 0;
    STRESS_CHECK(index->first_sequence == *sequence, "a sequence gap between segments");
    STRESS_CHECK(index->count > 0 && index->count <= BATCHES_MAX, "%u batches", index->count);
    for (uint32_t i = 0; i < index->count && i < index->capacity; i++) {
        const struct segment_index_entry *entry = &index->entries[i];
        STRESS_CHECK(entry->offset == offset && entry->first_sequence == *sequence,
                     "entry %u of segment %" PRIu64, i, sealable->segment_number);
        offset += entry->batch_bytes;
        *sequence += entry->record_count;
        records += entry->record_count;
    }
    STRESS_CHECK(index->record_count == records && sealable->data_end == offset,
                 "the sums of segment %" PRIu64, sealable->segment_number);
}

/* seal_one() of housekeeping.c */
static bool seal_one(struct rig *rig)
{
    struct segment_sealable *sealable = load_acquire(&rig->handoff.sealable); /* H6 pairs with H5 */
    if (sealable == NULL)
        return false;
    STRESS_CHECK(sealable->segment_number == rig->next_sealed_number &&
                     sealable->fd == fd_of(rig->next_sealed_number),
                 "segment %" PRIu64 " instead of %" PRIu64, sealable->segment_number,
                 rig->next_sealed_number);
    check_index(sealable, &rig->next_sealed_sequence);
    rig->next_sealed_number++;
    store_release(&rig->handoff.sealable, NULL); /* H7 pairs with H8 */
    return true;
}

/* publish() of housekeeping.c */
static void publish(struct rig *rig, struct base_random *random)
{
    uint64_t batches = 1 + base_random_next(random) % BATCHES_MAX;
    rig->handoff.prepared_storage = (struct segment_prepared){
        .fd = fd_of(rig->next_segment_number),
        .segment_number = rig->next_segment_number,
        .file_bytes = (2 + batches) * SEGMENT_BLOCK_BYTES,
    };
    rig->next_segment_number++;
    store_release(&rig->handoff.shortage, 0);
    store_release(&rig->handoff.prepared, &rig->handoff.prepared_storage); /* H1 pairs with H2 */
}

/* begin_preparation() of housekeeping.c, on a disk that is full now and then. */
static bool prepare_one(struct rig *rig, struct base_random *random)
{
    if (load_acquire(&rig->handoff.prepared) != NULL) /* H4 pairs with H3 */
        return false;
    if (base_random_next(random) % SHORTAGE_ONE_IN == 0) {
        store_release(&rig->handoff.shortage, ENOSPC);
        rig->shortage_count++;
    } else {
        publish(rig, random);
    }
    return true; /* housekeeping tries again after a pause; here at once */
}

/* answer_waiting() of housekeeping.c */
static void answer_waiting(struct rig *rig)
{
    struct segment_handoff *handoff = &rig->handoff;
    bool short_of_room = load_relaxed(&handoff->shortage) != 0;
    bool ready =
        load_acquire(&handoff->prepared) != NULL && load_acquire(&handoff->sealable) == NULL;
    if (load_relaxed(&handoff->wanted) == 0 || (!short_of_room && !ready))
        return;
    exchange_acq_rel(&handoff->wanted, 0); /* H10 pairs with H9 */
    rig->ring_count++;
    notify(rig->bell_fd);
}

static void control(struct rig *rig, struct base_random *random)
{
    while (load_acquire(&rig->finished) == 0 && !stress_failed()) {
        bool more = seal_one(rig);
        more = prepare_one(rig, random) || more;
        answer_waiting(rig);
        if (more || base_random_next(random) % REST_ONE_IN != 0)
            continue;
        STRESS_CHECK(wait_for_notification(rig->call_fd) || load_relaxed(&rig->handoff.wanted) == 0,
                     "a worker waits and did not call");
    }
}

/* -------------------------------------------------------------------------------------------- */

static void body(void *context, unsigned index, struct base_random *random)
{
    if (index == 0)
        work(context, random);
    else
        control(context, random);
}

static void set_up(struct rig *rig, void *memory, struct segment_watermark_slot *slots)
{
    static const struct segment_catalog catalog = {.directory_fd = -1, .lock_fd = -1};
    static const struct segment_journal_start_point point = {.fd = -1, .next_sequence = 1};
    *rig = (struct rig){
        .segment_count = stress_count(150000),
        .call_fd = eventfd(0, EFD_CLOEXEC),
        .bell_fd = eventfd(0, EFD_CLOEXEC),
        .io = {write_nothing, flush_nothing},
        .watermark = {.slots = slots},
        .next_segment_number = 1,
        .next_sealed_number = 1,
        .next_sealed_sequence = 1,
    };
    CHECK(rig->call_fd >= 0 && rig->bell_fd >= 0);
    segment_journal_init(&rig->journal, memory, BATCH_BYTES, SEGMENT_BYTES_MAX, &catalog, &point,
                         &rig->io, &rig->watermark, &rig->handoff);
}

int main(void)
{
    static struct rig rig;
    static struct segment_watermark_slot slots[1];
    stress_begin("stress_handoff");
    size_t bytes = segment_journal_bytes(BATCH_BYTES, SEGMENT_BYTES_MAX);
    void *memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    CHECK(memory != NULL);
    set_up(&rig, memory, slots);
    stress_run(2, body, &rig);
    STRESS_CHECK(stress_failed() || rig.next_sealed_number + 1 >= rig.segment_count,
                 "segments were lost: %" PRIu64 " sealed", rig.next_sealed_number - 1);
    STRESS_CHECK(rig.ring_count <= rig.blocked_count, "%" PRIu64 " rings for %" PRIu64 " waits",
                 rig.ring_count, rig.blocked_count);
    printf("%" PRIu64 " segments: worker blocked %" PRIu64 " times, rung %" PRIu64
           ", refused for want of room %" PRIu64 ", shortages %" PRIu64 "\n",
           rig.segment_count, rig.blocked_count, rig.ring_count, rig.refused_count,
           rig.shortage_count);
    free(memory);
    close(rig.call_fd);
    close(rig.bell_fd);
    return stress_end();
}
