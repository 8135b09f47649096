#include "segment/prepare.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* What every byte of a new segment is written from; never written to. */
static _Alignas(SEGMENT_BLOCK_BYTES) const uint8_t zeros[SEGMENT_PREPARE_STEP_BYTES];

void segment_prepare_init(struct segment_preparation *preparation)
{
    *preparation = (struct segment_preparation){.fd = -1};
}

void segment_prepare_cancel(struct segment_preparation *preparation)
{
    if (preparation->fd < 0)
        return;
    char name[SEGMENT_NAME_BYTES];
    segment_catalog_name(preparation->segment_number, SEGMENT_STATE_TEMPORARY, name);
    close(preparation->fd);
    unlinkat(preparation->journal_fd, name, 0);
    preparation->fd = -1;
}

static int failed(struct segment_preparation *preparation, const struct segment_catalog *catalog,
                  int code, struct base_error *error)
{
    char path[320];
    segment_catalog_path(catalog, preparation->journal, preparation->segment_number,
                         SEGMENT_STATE_TEMPORARY, path, sizeof(path));
    segment_prepare_cancel(preparation);
    return base_error_os(error, code, "cannot prepare %s (%llu bytes)", path,
                         (unsigned long long)preparation->segment_bytes);
}

int segment_prepare_begin(struct segment_preparation *preparation,
                          const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                          uint64_t segment_number, uint64_t segment_bytes, struct base_error *error)
{
    CHECK(preparation->fd < 0);
    char name[SEGMENT_NAME_BYTES];
    segment_catalog_name(segment_number, SEGMENT_STATE_TEMPORARY, name);
    *preparation = (struct segment_preparation){
        .journal_fd = journal_fd,
        .journal = journal,
        .segment_number = segment_number,
        .segment_bytes = segment_bytes,
    };
    int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | (catalog->direct ? O_DIRECT : 0);
    preparation->fd = openat(journal_fd, name, flags, 0640);
    if (preparation->fd < 0)
        return failed(preparation, catalog, -errno, error);
    /* A full disk shows here and not halfway. Filesystems that cannot allocate ahead go without. */
    if (fallocate(preparation->fd, 0, 0, (off_t)segment_bytes) < 0 && errno != EOPNOTSUPP)
        return failed(preparation, catalog, -errno, error);
    return 0;
}

static int finish(struct segment_preparation *preparation, const struct segment_catalog *catalog,
                  struct segment_prepared *prepared_out, struct base_error *error)
{
    char from[SEGMENT_NAME_BYTES], to[SEGMENT_NAME_BYTES];
    segment_catalog_name(preparation->segment_number, SEGMENT_STATE_TEMPORARY, from);
    segment_catalog_name(preparation->segment_number, SEGMENT_STATE_OPEN, to);
    if (fsync(preparation->fd) < 0 ||
        renameat(preparation->journal_fd, from, preparation->journal_fd, to) < 0 ||
        fsync(preparation->journal_fd) < 0)
        return failed(preparation, catalog, -errno, error);
    *prepared_out = (struct segment_prepared){
        .fd = preparation->fd,
        .segment_number = preparation->segment_number,
        .file_bytes = preparation->segment_bytes,
    };
    preparation->fd = -1;
    return 1;
}

int segment_prepare_step(struct segment_preparation *preparation,
                         const struct segment_catalog *catalog,
                         struct segment_prepared *prepared_out, struct base_error *error)
{
    CHECK(preparation->fd >= 0);
    uint64_t left = preparation->segment_bytes - preparation->written_bytes;
    if (left == 0)
        return finish(preparation, catalog, prepared_out, error);
    ssize_t written = pwrite(preparation->fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros),
                             (off_t)preparation->written_bytes);
    if (written < 0 && errno == EINTR)
        return 0;
    if (written <= 0 || written % SEGMENT_BLOCK_BYTES != 0)
        return failed(preparation, catalog, written < 0 ? -errno : -ENOSPC, error);
    preparation->written_bytes += (uint64_t)written;
    return 0;
}
