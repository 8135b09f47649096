/* The narrow interface through which all file operations of the data path go: one write or one
 * flush at a time per journal, each answered by exactly one completion. The worker implements it
 * on its ring; tests implement it in memory, with faults.
 *
 * Owner: the worker (or a test). The journal calls these; whoever implements them reports each
 * result through segment_journal_complete, in bytes for a write, 0 for a flush, or a negative
 * errno.
 */
#ifndef SLUICE_SEGMENT_IO_H
#define SLUICE_SEGMENT_IO_H

#include <stdint.h>

struct segment_io {
    /* `data` is block-aligned and stays unchanged until the completion. */
    void (*write)(struct segment_io *io, int fd, const void *data, uint32_t bytes, uint64_t offset);
    /* fdatasync: the file's size and extents were made durable when it was prepared. */
    void (*flush)(struct segment_io *io, int fd);
};

#endif
