/* Memory for bytes on their way: receive buffers that the kernel picks from, send buffers that
 * connections borrow.
 *
 * Owner: one ingress; its thread only. A receive buffer belongs to the kernel until a completion
 * names it, then to the ingress until it is given back. A send buffer belongs to a connection from
 * the moment it has something to send until the send is complete.
 */
#ifndef SLUICE_INGRESS_BUFFERS_H
#define SLUICE_INGRESS_BUFFERS_H

#include "base/error.h"
#include "budget.h"
#include "config.h"

#include <liburing.h>
#include <stdint.h>

#define INGRESS_BUFFER_GROUP 0

struct ingress_buffers {
    struct io_uring_buf_ring *ring;
    uint8_t *receive_memory;
    uint32_t receive_bytes; /* of one buffer */
    uint32_t receive_count; /* a power of two */
    uint32_t held;          /* named by a completion and not given back yet */
    uint8_t *send_memory;
    uint32_t send_bytes;
    uint32_t send_count;
    uint32_t send_free_count;
    uint32_t *send_free; /* indexes */
};

int ingress_buffers_reserve(struct ingress_buffers *buffers, const struct config *config,
                            struct budget *budget, struct base_error *error);

/* By the ingress thread: hands all receive buffers to the kernel. */
int ingress_buffers_register(struct ingress_buffers *buffers, struct io_uring *ring,
                             struct base_error *error);

const char *ingress_buffers_received(struct ingress_buffers *buffers, uint16_t id);
void ingress_buffers_give_back(struct ingress_buffers *buffers, uint16_t id);

#define INGRESS_SEND_BUFFER_NONE UINT32_MAX

uint32_t ingress_buffers_take_send(struct ingress_buffers *buffers); /* or NONE */
void ingress_buffers_return_send(struct ingress_buffers *buffers, uint32_t index);
char *ingress_buffers_send_memory(struct ingress_buffers *buffers, uint32_t index);

#endif
