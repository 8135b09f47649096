/* Reading a segment file through one aligned window, with O_DIRECT where the filesystem has it:
 * what comes back is what the disk holds, and no page of an open segment enters the page cache
 * (cached pages would make the writer's direct writes dearer).
 *
 * Owner: the caller; one thread at a time. Recovery, readers and verify use it, never the worker.
 */
#ifndef SLUICE_SEGMENT_FILE_H
#define SLUICE_SEGMENT_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_FILE_WINDOW_BYTES 1048576 /* one read; larger batches grow the window */

struct segment_file {
    int fd;
    bool direct;
    uint64_t bytes; /* size when opened or last refreshed */
    uint8_t *window;
    uint64_t window_capacity;
    uint64_t read_bytes; /* of one read, unless more is asked for; SEGMENT_FILE_WINDOW_BYTES */
    uint64_t window_offset;
    uint64_t window_bytes;
    char path[320]; /* for messages */
};

/* Opens `name` below `directory_fd`; `path` is what messages call it. -ENOENT is reported without
 * a text in `error`, because callers expect it. */
int segment_file_open(struct segment_file *file, int directory_fd, const char *name,
                      const char *path, bool writable, struct base_error *error);
void segment_file_close(struct segment_file *file); /* fine after a failed open */

/* Makes bytes [offset, offset + bytes) readable at *data_out until the next call. Returns 1, 0 when
 * the file ends before them, or a negative errno. */
int segment_file_read(struct segment_file *file, uint64_t offset, uint64_t bytes,
                      const uint8_t **data_out, struct base_error *error);

/* Forgets the window and looks at the size again: the writer may have gone on. */
int segment_file_refresh(struct segment_file *file, struct base_error *error);

/* First offset at or after `offset`, below the end, that holds a byte other than zero, or the
 * file's size when there is none. `last_out` gets the offset behind the last such byte; may be
 * NULL. */
int segment_file_find_data(struct segment_file *file, uint64_t offset, uint64_t *first_out,
                           uint64_t *last_out, struct base_error *error);

#endif
