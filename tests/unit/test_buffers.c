/* Send buffers are lent once each; receive buffers come back to the kernel as often as needed. */
#include "ingress/buffers.h"

#include "base/random.h"
#include "ingress/uring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_COUNT    5
#define RECEIVE_COUNT 8

static struct config config;
static struct budget budget;
static struct ingress_buffers buffers;
static struct base_error error;
static struct io_uring ring;
static int pair[2]; /* messages go from 1 to 0 */

static void set_up(void)
{
    config_init(&config);
    config.send_buffers_max = SEND_COUNT;
    config.send_buffer_bytes = 8192;
    config.receive_buffers_max = RECEIVE_COUNT;
    config.receive_buffer_bytes = 1024;
    budget_init(&budget);
    cr_assert_eq(ingress_buffers_reserve(&buffers, &config, &budget, &error), 0);
}

static void tear_down(void)
{
    budget_fini(&budget);
}

TestSuite(buffers, .init = set_up, .fini = tear_down);

Test(buffers, send_buffers_are_exhausted_at_their_limit)
{
    bool taken[SEND_COUNT] = {false};
    for (int i = 0; i < SEND_COUNT; i++) {
        uint32_t index = ingress_buffers_take_send(&buffers);
        cr_assert_lt(index, SEND_COUNT);
        cr_assert_not(taken[index], "taken twice");
        taken[index] = true;
    }
    cr_assert_eq(ingress_buffers_take_send(&buffers), INGRESS_SEND_BUFFER_NONE);
    ingress_buffers_return_send(&buffers, 3);
    cr_assert_eq(ingress_buffers_take_send(&buffers), 3);
    cr_assert_eq(ingress_buffers_take_send(&buffers), INGRESS_SEND_BUFFER_NONE);
}

Test(buffers, send_buffers_can_be_returned_in_any_order)
{
    for (int round = 0; round < 100; round++) {
        uint32_t indexes[SEND_COUNT];
        for (int i = 0; i < SEND_COUNT; i++)
            indexes[i] = ingress_buffers_take_send(&buffers);
        cr_assert_eq(ingress_buffers_take_send(&buffers), INGRESS_SEND_BUFFER_NONE);
        for (int i = 0; i < SEND_COUNT; i++)
            ingress_buffers_return_send(&buffers, indexes[(i * 3 + round) % SEND_COUNT]);
    }
}

Test(buffers, send_buffers_do_not_overlap)
{
    for (uint32_t i = 0; i < SEND_COUNT; i++)
        memset(ingress_buffers_send_memory(&buffers, i), (int)i + 1, buffers.send_bytes);
    for (uint32_t i = 0; i < SEND_COUNT; i++) {
        const char *memory = ingress_buffers_send_memory(&buffers, i);
        for (uint32_t at = 0; at < buffers.send_bytes; at++)
            cr_assert_eq(memory[at], (char)(i + 1), "buffer %u, byte %u", i, at);
    }
}

Test(buffers, giving_back_what_is_not_held_aborts, .signal = SIGABRT)
{
    ingress_buffers_give_back(&buffers, 0);
}

Test(buffers, a_receive_buffer_that_does_not_exist_aborts, .signal = SIGABRT)
{
    ingress_buffers_received(&buffers, RECEIVE_COUNT);
}

/* Receives one message; returns the id of the buffer that the kernel chose. */
static uint16_t receive(const char *expected)
{
    struct io_uring_cqe *completion;
    struct io_uring_sqe *entry = uring_entry(&ring);
    io_uring_prep_recv(entry, pair[0], NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = INGRESS_BUFFER_GROUP;
    uring_wait(&ring, UINT64_MAX);
    cr_assert_eq(io_uring_peek_cqe(&ring, &completion), 0);
    cr_assert_eq(completion->res, (int)strlen(expected));
    cr_assert(completion->flags & IORING_CQE_F_BUFFER);
    uint16_t id = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    io_uring_cqe_seen(&ring, completion);
    cr_assert_arr_eq(ingress_buffers_received(&buffers, id), expected, strlen(expected));
    return id;
}

static void assert_out_of_buffers(void)
{
    struct io_uring_cqe *completion;
    struct io_uring_sqe *entry = uring_entry(&ring);
    io_uring_prep_recv(entry, pair[0], NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = INGRESS_BUFFER_GROUP;
    uring_wait(&ring, UINT64_MAX);
    cr_assert_eq(io_uring_peek_cqe(&ring, &completion), 0);
    cr_assert_eq(completion->res, -ENOBUFS);
    io_uring_cqe_seen(&ring, completion);
}

static void open_ring(void)
{
    cr_assert_eq(uring_create(&ring, 8, 64, &error), 0, "%s", error.text);
    cr_assert_eq(ingress_buffers_register(&buffers, &ring, &error), 0, "%s", error.text);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
}

static void close_ring(void)
{
    close(pair[0]);
    close(pair[1]);
    io_uring_queue_exit(&ring);
}

static uint16_t send_and_receive(int number)
{
    char text[32];
    snprintf(text, sizeof(text), "message %d", number);
    cr_assert_eq(write(pair[1], text, strlen(text)), (ssize_t)strlen(text));
    return receive(text);
}

Test(buffers, receive_buffers_run_out_at_their_limit_and_come_back)
{
    uint16_t held[RECEIVE_COUNT];
    open_ring();
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < RECEIVE_COUNT; i++)
            held[i] = send_and_receive(i);
        cr_assert_eq(buffers.held, RECEIVE_COUNT);
        cr_assert_eq(write(pair[1], "x", 1), 1);
        assert_out_of_buffers();
        for (int i = 0; i < RECEIVE_COUNT; i++)
            ingress_buffers_give_back(&buffers, held[i]);
        ingress_buffers_give_back(&buffers, receive("x"));
        cr_assert_eq(buffers.held, 0);
    }
    close_ring();
}

/* Given back in any order: the kernel never picks one that is still held. */
Test(buffers, receive_buffers_are_not_picked_while_they_are_held)
{
    bool is_held[RECEIVE_COUNT] = {false};
    uint16_t held[RECEIVE_COUNT];
    unsigned count = 0;
    struct base_random random;
    base_random_init(&random);
    open_ring();
    for (int i = 0; i < 500; i++) {
        uint16_t id = send_and_receive(i);
        cr_assert(id < RECEIVE_COUNT && !is_held[id], "buffer %u is held", id);
        is_held[id] = true;
        held[count++] = id;
        while (count == RECEIVE_COUNT || (count > 0 && base_random_next(&random) % 2 == 0)) {
            unsigned which = (unsigned)(base_random_next(&random) % count);
            is_held[held[which]] = false;
            ingress_buffers_give_back(&buffers, held[which]);
            held[which] = held[--count];
        }
    }
    close_ring();
}
