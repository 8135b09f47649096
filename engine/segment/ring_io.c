#include "segment/ring_io.h"

#include "ingress/uring.h"

#include <stddef.h>

static struct segment_ring_io *ring_io_of(struct segment_io *io)
{
    return (struct segment_ring_io *)(void *)((char *)io - offsetof(struct segment_ring_io, io));
}

static void ring_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                       uint64_t offset)
{
    struct segment_ring_io *ring_io = ring_io_of(io);
    struct io_uring_sqe *entry = uring_entry(ring_io->ring);
    if (ring_io->registered_buffers)
        io_uring_prep_write_fixed(entry, fd, data, bytes, offset, 0);
    else
        io_uring_prep_write(entry, fd, data, bytes, offset);
    io_uring_sqe_set_data64(entry, uring_tag(URING_WRITE, 0));
}

static void ring_flush(struct segment_io *io, int fd)
{
    struct segment_ring_io *ring_io = ring_io_of(io);
    struct io_uring_sqe *entry = uring_entry(ring_io->ring);
    io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(entry, uring_tag(URING_FLUSH, 0));
}

void segment_ring_io_init(struct segment_ring_io *ring_io, struct io_uring *ring)
{
    *ring_io = (struct segment_ring_io){.io = {ring_write, ring_flush}, .ring = ring};
}

int segment_ring_io_result(struct segment_ring_io *ring_io, const struct io_uring_cqe *completion)
{
    (void)ring_io;
    return completion->res;
}
