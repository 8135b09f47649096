/* Tags, messages between rings, and waits with and without a limit. */
#include "ingress/uring.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>

static struct base_error error;

static void create(struct io_uring *ring)
{
    cr_assert_eq(uring_create(ring, 8, 64, &error), 0, "%s", error.text);
}

/* Takes the next completion off; there must be one. */
static uint64_t take(struct io_uring *ring, int *result_out)
{
    struct io_uring_cqe *completion;
    cr_assert_eq(io_uring_peek_cqe(ring, &completion), 0, "no completion");
    uint64_t user_data = completion->user_data;
    *result_out = completion->res;
    io_uring_cqe_seen(ring, completion);
    return user_data;
}

Test(uring, tags_come_back)
{
    static const uint64_t arguments[] = {
        0, 1, 65535, UINT32_MAX, UINT64_C(0x00007FFFFFFFFFFF), (UINT64_C(1) << 56) - 1,
    };
    for (int what = URING_CHAIN; what <= URING_CHAIN_FAILED; what++)
        for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
            uint64_t tag = uring_tag((enum uring_what)what, arguments[i]);
            cr_assert_eq((int)uring_what_of(tag), what);
            cr_assert_eq(uring_argument_of(tag), arguments[i]);
        }
}

/* What makes a message with a pointer recognisable. */
Test(uring, a_pointer_is_its_own_chain_tag)
{
    int on_stack;
    static int is_static;
    const void *pointers[] = {&on_stack, &is_static, &error};
    for (int i = 0; i < 3; i++) {
        uint64_t pointer = (uint64_t)(uintptr_t)pointers[i];
        cr_assert_eq(uring_what_of(pointer), URING_CHAIN);
        cr_assert_eq(uring_argument_of(pointer), pointer);
        cr_assert_eq(uring_tag(URING_CHAIN, pointer), pointer);
    }
}

Test(uring, this_kernel_can_run_sluice)
{
    cr_assert_eq(uring_probe(&error), 0, "%s", error.text);
}

/* SINGLE_ISSUER: each ring belongs to the thread that made it. */
static void *send_messages(void *argument)
{
    const struct io_uring *target = argument;
    struct io_uring ring;
    create(&ring);
    for (uint64_t i = 1; i <= 20; i++) {
        uring_message(&ring, target->ring_fd, uring_tag(URING_CONTROL, i),
                      uring_tag(URING_CHAIN_FAILED, i));
        uring_wait(&ring, 0); /* submits; success leaves no completion here */
    }
    cr_assert_eq(io_uring_cq_ready(&ring), 0);
    io_uring_queue_exit(&ring);
    return NULL;
}

Test(uring, messages_from_another_ring_arrive_in_order)
{
    struct io_uring ring;
    pthread_t sender;
    int result;
    create(&ring);
    cr_assert_eq(pthread_create(&sender, NULL, send_messages, &ring), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        while (io_uring_cq_ready(&ring) == 0)
            uring_wait(&ring, UINT64_MAX);
        cr_assert_eq(take(&ring, &result), uring_tag(URING_CONTROL, i));
        cr_assert_eq(result, 0);
    }
    cr_assert_eq(pthread_join(sender, NULL), 0);
    cr_assert_eq(io_uring_cq_ready(&ring), 0);
    io_uring_queue_exit(&ring);
}

Test(uring, a_message_that_cannot_be_delivered_says_so_to_its_sender)
{
    struct io_uring ring;
    int result;
    create(&ring);
    uring_message(&ring, -1, uring_tag(URING_BELL, 1), uring_tag(URING_CHAIN_FAILED, 77));
    uring_wait(&ring, UINT64_MAX);
    cr_assert_eq(take(&ring, &result), uring_tag(URING_CHAIN_FAILED, 77));
    cr_assert_lt(result, 0);
    cr_assert_eq(io_uring_cq_ready(&ring), 0);
    io_uring_queue_exit(&ring);
}

Test(uring, a_wait_ends_at_its_limit)
{
    static const uint64_t limits_ns[] = {0, 1, 20 * NANOSECONDS_PER_MILLISECOND};
    struct io_uring ring;
    create(&ring);
    for (size_t i = 0; i < sizeof(limits_ns) / sizeof(limits_ns[0]); i++) {
        uint64_t before_ns = base_clock_monotonic_ns();
        uring_wait(&ring, limits_ns[i]);
        cr_assert_geq(base_clock_monotonic_ns() - before_ns, limits_ns[i]);
        cr_assert_eq(io_uring_cq_ready(&ring), 0, "a limit is no completion");
    }
    io_uring_queue_exit(&ring);
}

/* The limit is an hour: only the completion can end the wait. */
Test(uring, a_wait_ends_with_a_completion)
{
    struct io_uring ring;
    int result;
    create(&ring);
    struct io_uring_sqe *entry = uring_entry(&ring);
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data64(entry, uring_tag(URING_FLUSH, 3));
    uring_wait(&ring, 3600 * NANOSECONDS_PER_SECOND);
    cr_assert_eq(take(&ring, &result), uring_tag(URING_FLUSH, 3));
    io_uring_queue_exit(&ring);
}

Test(uring, there_is_always_another_entry)
{
    enum { COUNT = 40 }; /* five times what the ring has room for */
    struct io_uring ring;
    uint64_t seen = 0;
    int result;
    create(&ring);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct io_uring_sqe *entry = uring_entry(&ring);
        cr_assert_not_null(entry);
        io_uring_prep_nop(entry);
        io_uring_sqe_set_data64(entry, uring_tag(URING_WRITE, i));
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        while (io_uring_cq_ready(&ring) == 0)
            uring_wait(&ring, UINT64_MAX);
        seen |= UINT64_C(1) << uring_argument_of(take(&ring, &result));
    }
    cr_assert_eq(seen, (UINT64_C(1) << COUNT) - 1);
    io_uring_queue_exit(&ring);
}

Test(uring, explains_a_ring_that_cannot_be_made)
{
    struct io_uring ring;
    cr_assert_lt(uring_create(&ring, 0, 0, &error), 0);
    cr_assert_neq(error.text[0], '\0');
}
