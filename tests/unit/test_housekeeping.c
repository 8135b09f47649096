/* What the control thread does with segments that are wanted, prepared, full or impossible, step by
 * step. Preparing and sealing are replaced (the linker's --wrap, see meson.build): they take no
 * disk, look at the mailboxes at the moment of the call, and fail when a test says so. */
#include "housekeeping.h"

#include "ingress/uring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define COUNT         2 /* journals */
#define SEGMENT_BYTES 65536
#define PREPARED_FD   1000 /* never used as a descriptor */

static struct config config;
static struct state state;
static struct queue_doorbell doorbells[COUNT];
static struct segment_handoff handoffs[COUNT];
static struct housekeeping_journal journals[COUNT];
static struct housekeeping housekeeping;

/* What the wrappers do and saw. */
static int prepare_result, seal_result; /* negative errno, or what success is */
static unsigned seals, preparations, bells[COUNT];

int __wrap_segment_seal(const struct segment_catalog *catalog, int fd,
                        const struct segment_sealable *sealable, struct base_error *error);
int __wrap_segment_seal(const struct segment_catalog *catalog, int fd,
                        const struct segment_sealable *sealable, struct base_error *error)
{
    (void)catalog, (void)fd;
    seals++;
    cr_assert_eq(load_acquire(&handoffs[sealable->journal].sealable), sealable,
                 "the worker was told that the segment is sealed before it is");
    return seal_result < 0 ? base_error_set(error, seal_result, "as the test says") : 0;
}

int __wrap_segment_prepare_begin(struct segment_preparation *preparation,
                                 const struct segment_catalog *catalog, int fd, uint32_t journal,
                                 uint64_t number, uint64_t bytes, struct base_error *error);
int __wrap_segment_prepare_begin(struct segment_preparation *preparation,
                                 const struct segment_catalog *catalog, int fd, uint32_t journal,
                                 uint64_t number, uint64_t bytes, struct base_error *error)
{
    (void)catalog;
    cr_assert_null(load_acquire(&handoffs[journal].prepared), "there is one already");
    *preparation = (struct segment_preparation){PREPARED_FD, fd, journal, number, bytes, 0};
    if (prepare_result >= 0)
        return 0;
    preparation->fd = -1;
    return base_error_set(error, prepare_result, "as the test says");
}

int __wrap_segment_prepare_step(struct segment_preparation *preparation,
                                const struct segment_catalog *catalog,
                                struct segment_prepared *prepared_out, struct base_error *error);
int __wrap_segment_prepare_step(struct segment_preparation *preparation,
                                const struct segment_catalog *catalog,
                                struct segment_prepared *prepared_out, struct base_error *error)
{
    (void)catalog, (void)error;
    preparations++;
    *prepared_out = (struct segment_prepared){PREPARED_FD, preparation->segment_number,
                                              preparation->segment_bytes};
    preparation->fd = -1;
    return 1;
}

void __wrap_uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                          uint64_t user_data_failed);
void __wrap_uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                          uint64_t user_data_failed)
{
    (void)ring, (void)target_fd;
    cr_assert_eq(uring_what_of(user_data), URING_BELL);
    bells[uring_argument_of(user_data_failed)]++;
}

int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
    (void)ring;
    return 0;
}

static void set_up(void)
{
    config_init(&config);
    config.segment_bytes = SEGMENT_BYTES;
    state = (struct state){.config = &config, .core_count = COUNT, .doorbells = doorbells};
    for (unsigned i = 0; i < COUNT; i++)
        journals[i] = (struct housekeeping_journal){
            .handoff = &handoffs[i], .journal = i, .next_segment_number = 1};
    housekeeping = (struct housekeeping){.state = &state, .journals = journals, .count = COUNT};
    segment_prepare_init(&housekeeping.preparation);
}

TestSuite(housekeeping, .init = set_up);

static void step_until_idle(void)
{
    for (int i = 0; housekeeping_step(&housekeeping); i++)
        cr_assert(i < 100, "it never comes to an end");
}

static void hand_over(unsigned journal)
{
    handoffs[journal].sealable_storage = (struct segment_sealable){.journal = journal};
    store_release(&handoffs[journal].sealable, &handoffs[journal].sealable_storage);
}

static void ask(unsigned journal)
{
    exchange_acq_rel(&handoffs[journal].wanted, 1);
}

Test(housekeeping, each_journal_gets_a_segment_and_no_second_one)
{
    step_until_idle();
    cr_assert_eq(preparations, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        cr_assert_eq(load_acquire(&handoffs[i].prepared)->segment_number, 1);
    step_until_idle();
    cr_assert_eq(preparations, COUNT);
    store_release(&handoffs[1].prepared, NULL); /* its worker takes it */
    step_until_idle();
    cr_assert_eq(preparations, COUNT + 1);
    cr_assert_eq(load_acquire(&handoffs[1].prepared)->segment_number, 2);
}

Test(housekeeping, a_full_segment_is_the_workers_again_only_when_it_is_sealed)
{
    hand_over(1);
    step_until_idle();
    cr_assert_eq(seals, 1);
    cr_assert_null(load_acquire(&handoffs[1].sealable));
}

Test(housekeeping, a_worker_that_waits_is_rung_when_it_can_go_on)
{
    ask(0);
    step_until_idle();
    cr_assert_eq(bells[0], 1);
    cr_assert_eq(bells[1], 0, "it did not ask");
    cr_assert_eq(load_relaxed(&handoffs[0].wanted), 0);
    step_until_idle();
    cr_assert_eq(bells[0], 1);
}

Test(housekeeping, a_disk_without_room_is_a_shortage_and_ends_no_journal)
{
    static const int codes[] = {ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        prepare_result = -codes[i];
        housekeeping.retry_at_ns = 0; /* the pause is over */
        ask(0);
        for (unsigned j = 0; j < COUNT; j++) {
            housekeeping.retry_at_ns = 0;
            step_until_idle();
        }
        cr_assert_eq(load_acquire(&handoffs[0].shortage), codes[i]);
        cr_assert_eq(load_acquire(&handoffs[0].failure), 0, "%s", strerror(codes[i]));
        cr_assert_not(journals[0].broken);
        cr_assert_eq(bells[0], i + 1, "it waits for a segment or for this news");
        cr_assert_gt(load_relaxed(&state.journals_full), 0);
        cr_assert_geq(housekeeping_timeout_ms(&housekeeping), 1, "it is tried again");
    }
}

Test(housekeeping, room_ends_a_shortage)
{
    prepare_result = -ENOSPC;
    step_until_idle();
    prepare_result = 0;
    ask(1);
    housekeeping.retry_at_ns = 0;
    step_until_idle();
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(load_acquire(&handoffs[i].shortage), 0);
        cr_assert_not_null(load_acquire(&handoffs[i].prepared));
    }
    cr_assert_eq(load_relaxed(&state.journals_full), 0);
    cr_assert_eq(housekeeping_timeout_ms(&housekeeping), -1);
}

Test(housekeeping, a_disk_that_fails_ends_the_journal)
{
    prepare_result = -EIO;
    step_until_idle();
    step_until_idle();
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(load_acquire(&handoffs[i].failure), EIO);
        cr_assert_eq(bells[i], 1, "its worker has to know");
    }
}

Test(housekeeping, a_seal_that_fails_ends_the_journal_and_gives_nothing_back)
{
    seal_result = -EIO;
    hand_over(0);
    step_until_idle();
    cr_assert_eq(load_acquire(&handoffs[0].failure), EIO);
    cr_assert_not_null(load_acquire(&handoffs[0].sealable));
    step_until_idle();
    cr_assert_eq(seals, 1, "it is not tried again");
    cr_assert_eq(load_acquire(&handoffs[1].failure), 0);
}
