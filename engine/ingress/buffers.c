#include "ingress/buffers.h"

#include "base/check.h"
#include "base/sanitizer.h"

#include <errno.h>

int ingress_buffers_reserve(struct ingress_buffers *buffers, const struct config *config,
                            struct budget *budget, struct base_error *error)
{
    *buffers = (struct ingress_buffers){
        .receive_bytes = (uint32_t)config->receive_buffer_bytes,
        .receive_count = (uint32_t)config->receive_buffers_max,
        .send_bytes = (uint32_t)config->send_buffer_bytes,
        .send_count = (uint32_t)config->send_buffers_max,
        .send_free_count = (uint32_t)config->send_buffers_max,
    };
    buffers->ring =
        budget_reserve(budget, "receive ring", buffers->receive_count, sizeof(struct io_uring_buf),
                       "one entry per receive buffer, shared with the kernel", error);
    buffers->receive_memory = budget_reserve(
        budget, "receive buffers", buffers->receive_count, buffers->receive_bytes,
        "what one round of completions may bring; given back within the round", error);
    buffers->send_memory =
        budget_reserve(budget, "send buffers", buffers->send_free_count, buffers->send_bytes,
                       "one per connection that is sending", error);
    buffers->send_free = budget_reserve(budget, "send buffer indexes", buffers->send_free_count,
                                        sizeof(uint32_t), "one per send buffer", error);
    if (buffers->ring == NULL || buffers->receive_memory == NULL || buffers->send_memory == NULL ||
        buffers->send_free == NULL)
        return error->code;
    for (uint32_t i = 0; i < buffers->send_free_count; i++)
        buffers->send_free[i] = buffers->send_free_count - 1 - i;
    return 0;
}

static void offer(struct ingress_buffers *buffers, uint16_t id, int position)
{
    io_uring_buf_ring_add(
        buffers->ring, buffers->receive_memory + (size_t)id * buffers->receive_bytes,
        buffers->receive_bytes, id, io_uring_buf_ring_mask(buffers->receive_count), position);
}

int ingress_buffers_register(struct ingress_buffers *buffers, struct io_uring *ring,
                             struct base_error *error)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers->ring,
        .ring_entries = buffers->receive_count,
        .bgid = INGRESS_BUFFER_GROUP,
    };
    int result = io_uring_register_buf_ring(ring, &registration, 0);
    if (result < 0)
        return base_error_os(error, result,
                             "cannot register the receive buffer ring (Linux 5.19 or newer has it; "
                             "RLIMIT_MEMLOCK limits it)");
    io_uring_buf_ring_init(buffers->ring);
    for (uint32_t i = 0; i < buffers->receive_count; i++)
        offer(buffers, (uint16_t)i, (int)i);
    io_uring_buf_ring_advance(buffers->ring, (int)buffers->receive_count);
    return 0;
}

const char *ingress_buffers_received(struct ingress_buffers *buffers, uint16_t id)
{
    CHECK(id < buffers->receive_count);
    buffers->held++;
    return (const char *)buffers->receive_memory + (size_t)id * buffers->receive_bytes;
}

void ingress_buffers_give_back(struct ingress_buffers *buffers, uint16_t id)
{
    CHECK(buffers->held > 0);
    buffers->held--;
    offer(buffers, id, 0);
    io_uring_buf_ring_advance(buffers->ring, 1);
}

uint32_t ingress_buffers_take_send(struct ingress_buffers *buffers)
{
    if (buffers->send_free_count == 0)
        return INGRESS_SEND_BUFFER_NONE;
    return buffers->send_free[--buffers->send_free_count];
}

void ingress_buffers_return_send(struct ingress_buffers *buffers, uint32_t index)
{
    CHECK(buffers->send_free_count < buffers->send_count);
    buffers->send_free[buffers->send_free_count++] = index;
}

char *ingress_buffers_send_memory(struct ingress_buffers *buffers, uint32_t index)
{
    return (char *)buffers->send_memory + (size_t)index * buffers->send_bytes;
}
