#include "segment/file.h"

#include "base/check.h"
#include "segment/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int segment_file_open(struct segment_file *file, int directory_fd, const char *name,
                      const char *path, bool writable, struct base_error *error)
{
    *file =
        (struct segment_file){.fd = -1, .direct = true, .read_bytes = SEGMENT_FILE_WINDOW_BYTES};
    snprintf(file->path, sizeof(file->path), "%s", path);
    int flags = O_CLOEXEC | (writable ? O_RDWR : O_RDONLY);
    file->fd = openat(directory_fd, name, flags | O_DIRECT);
    if (file->fd < 0 && errno == EINVAL) { /* a filesystem without direct I/O, tmpfs for one */
        file->direct = false;
        file->fd = openat(directory_fd, name, flags);
    }
    if (file->fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (file->fd < 0)
        return base_error_os(error, -errno, "cannot open %s", path);
    file->window_capacity = SEGMENT_FILE_WINDOW_BYTES;
    file->window = aligned_alloc(SEGMENT_BLOCK_BYTES, file->window_capacity);
    int result = file->window == NULL
                     ? base_error_set(error, -ENOMEM, "out of memory while reading %s", path)
                     : segment_file_refresh(file, error);
    if (result < 0)
        segment_file_close(file);
    return result;
}

void segment_file_close(struct segment_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->window);
    file->fd = -1;
    file->window = NULL;
}

int segment_file_refresh(struct segment_file *file, struct base_error *error)
{
    struct stat status;
    if (fstat(file->fd, &status) < 0)
        return base_error_os(error, -errno, "cannot read the size of %s", file->path);
    file->bytes = (uint64_t)status.st_size;
    file->window_bytes = 0;
    return 0;
}

static int grow_window(struct segment_file *file, uint64_t bytes, struct base_error *error)
{
    if (bytes <= file->window_capacity)
        return 0;
    free(file->window);
    file->window_capacity = bytes;
    file->window_bytes = 0;
    file->window = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    if (file->window == NULL)
        return base_error_set(error, -ENOMEM, "out of memory while reading %s", file->path);
    return 0;
}

/* Fills the window from `start`, a block boundary, with up to `bytes` bytes. */
static int fill_window(struct segment_file *file, uint64_t start, uint64_t bytes,
                       struct base_error *error)
{
    file->window_offset = start;
    file->window_bytes = 0;
    while (file->window_bytes < bytes) {
        ssize_t got = pread(file->fd, file->window + file->window_bytes, bytes - file->window_bytes,
                            (off_t)(start + file->window_bytes));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return base_error_os(error, -errno, "cannot read %s at offset %llu", file->path,
                                 (unsigned long long)(start + file->window_bytes));
        file->window_bytes += (uint64_t)got;
        /* a length that is not a whole block is the end of the file: direct reads past it fail */
        if (got == 0 || got % SEGMENT_BLOCK_BYTES != 0)
            break;
    }
    return 0;
}

int segment_file_read(struct segment_file *file, uint64_t offset, uint64_t bytes,
                      const uint8_t **data_out, struct base_error *error)
{
    if (offset > file->bytes || bytes > file->bytes - offset)
        return 0;
    bool inside =
        offset >= file->window_offset && offset + bytes <= file->window_offset + file->window_bytes;
    if (!inside) {
        uint64_t start = offset - offset % SEGMENT_BLOCK_BYTES;
        uint64_t needed = segment_round_up(offset + bytes - start, SEGMENT_BLOCK_BYTES);
        int result = grow_window(file, needed, error);
        if (result < 0)
            return result;
        uint64_t wanted = needed > file->read_bytes ? needed : file->read_bytes;
        result = fill_window(file, start, wanted, error);
        if (result < 0)
            return result;
        if (offset + bytes > file->window_offset + file->window_bytes)
            return 0; /* cut while we read */
    }
    *data_out = file->window + (offset - file->window_offset);
    return 1;
}

int segment_file_find_data(struct segment_file *file, uint64_t offset, uint64_t *first_out,
                           uint64_t *last_out, struct base_error *error)
{
    *first_out = file->bytes;
    uint64_t last = offset;
    while (offset < file->bytes) {
        const uint8_t *data;
        uint64_t step = SEGMENT_FILE_WINDOW_BYTES - offset % SEGMENT_FILE_WINDOW_BYTES;
        if (step > file->bytes - offset)
            step = file->bytes - offset;
        int result = segment_file_read(file, offset, step, &data, error);
        if (result <= 0)
            return result;
        /* memcmp with itself, one byte on, is the fastest way to ask for "all the same" */
        bool zero = data[0] == 0 && (step == 1 || memcmp(data, data + 1, step - 1) == 0);
        for (uint64_t i = 0; !zero && i < step; i++) {
            if (data[i] == 0)
                continue;
            if (*first_out == file->bytes)
                *first_out = offset + i;
            last = offset + i + 1;
        }
        if (!zero && last_out == NULL)
            break;
        offset += step;
    }
    if (last_out != NULL)
        *last_out = last;
    return 0;
}
