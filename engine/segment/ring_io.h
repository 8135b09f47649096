/* segment/io.h on a worker's ring: the one place where file operations of the data path meet the
 * kernel. Tests link another ring_io.c in its place (tests/crash/), which turns results into
 * faults.
 *
 * Owner: a worker embeds one; its thread only.
 */
#ifndef SLUICE_SEGMENT_RING_IO_H
#define SLUICE_SEGMENT_RING_IO_H

#include "segment/io.h"

#include <liburing.h>
#include <stdbool.h>

struct segment_ring_io {
    struct segment_io io; /* what the journal calls */
    struct io_uring *ring;
    bool registered_buffers; /* the journal's memory is the ring's registered buffer 0 */
};

void segment_ring_io_init(struct segment_ring_io *ring_io, struct io_uring *ring);

/* The result of a completion whose user_data says URING_WRITE or URING_FLUSH, as the journal is to
 * see it. */
int segment_ring_io_result(struct segment_ring_io *ring_io, const struct io_uring_cqe *completion);

#endif
