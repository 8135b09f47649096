#include "segment/watermark.h"

#include "base/atomic.h"
#include "base/check.h"
#include "base/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES ((SEGMENT_WATERMARK_JOURNALS_MAX + 1) * (size_t)SEGMENT_WATERMARK_SLOT_BYTES)

static void make_header(struct segment_watermark_header *header,
                        const struct segment_catalog *catalog)
{
    *header = (struct segment_watermark_header){
        .magic = SEGMENT_WATERMARK_MAGIC,
        .version_major = SEGMENT_VERSION_MAJOR,
        .version_minor = SEGMENT_VERSION_MINOR,
        .slot_count = SEGMENT_WATERMARK_JOURNALS_MAX,
    };
    memcpy(header->node_id, catalog->node_id, SEGMENT_NODE_BYTES);
    header->crc32c = base_crc32c(header, offsetof(struct segment_watermark_header, crc32c));
}

static int map_file(struct segment_watermark *watermark, const struct segment_catalog *catalog,
                    int fd, int protection, struct base_error *error)
{
    struct stat status;
    watermark->inode = fstat(fd, &status) == 0 ? status.st_ino : 0;
    void *mapping = mmap(NULL, FILE_BYTES, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    int failure = mapping == MAP_FAILED ? -errno : 0;
    close(fd);
    if (failure < 0)
        return base_error_os(error, failure, "cannot map %s/watermark", catalog->path);
    watermark->mapping = mapping;
    watermark->slots = (struct segment_watermark_slot *)mapping + 1;
    return 0;
}

/* A file of this node is kept: its marks tell recovery what had been acknowledged. */
static int is_usable(int fd, const struct segment_catalog *catalog)
{
    struct segment_watermark_header expected, found;
    struct stat status;
    make_header(&expected, catalog);
    return fstat(fd, &status) == 0 && (size_t)status.st_size == FILE_BYTES &&
           pread(fd, &found, sizeof(found), 0) == sizeof(found) &&
           memcmp(&found, &expected, sizeof(found)) == 0;
}

static int make_file(const struct segment_catalog *catalog, struct base_error *error)
{
    struct segment_watermark_header header;
    make_header(&header, catalog);
    int fd = openat(catalog->directory_fd, "watermark.tmp", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
                    0644);
    if (fd < 0)
        return base_error_os(error, -errno, "cannot create %s/watermark.tmp", catalog->path);
    static const char zeros[FILE_BYTES - sizeof(header)];
    int failure = 0;
    /* written out, not a hole: a store into a mapped hole of a full disk is a SIGBUS */
    if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header) ||
        pwrite(fd, zeros, sizeof(zeros), sizeof(header)) != sizeof(zeros) || fsync(fd) < 0 ||
        renameat(catalog->directory_fd, "watermark.tmp", catalog->directory_fd, "watermark") < 0)
        failure = errno != 0 ? -errno : -ENOSPC;
    close(fd);
    if (failure < 0)
        return base_error_os(error, failure, "cannot write %s/watermark", catalog->path);
    return 0;
}

int segment_watermark_open(struct segment_watermark *watermark,
                           const struct segment_catalog *catalog, struct base_error *error)
{
    *watermark = (struct segment_watermark){.mapping = NULL};
    int fd = openat(catalog->directory_fd, "watermark", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && !is_usable(fd, catalog)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        int result = make_file(catalog, error);
        if (result < 0)
            return result;
        fd = openat(catalog->directory_fd, "watermark", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return base_error_os(error, -errno, "cannot open %s/watermark", catalog->path);
    }
    return map_file(watermark, catalog, fd, PROT_READ | PROT_WRITE, error);
}

int segment_watermark_open_reader(struct segment_watermark *watermark,
                                  const struct segment_catalog *catalog, struct base_error *error)
{
    *watermark = (struct segment_watermark){.mapping = NULL};
    int fd = openat(catalog->directory_fd, "watermark", O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return base_error_os(error, -errno, "cannot open %s/watermark", catalog->path);
    if (!is_usable(fd, catalog)) {
        close(fd);
        return 0;
    }
    return map_file(watermark, catalog, fd, PROT_READ, error);
}

int segment_watermark_refresh_reader(struct segment_watermark *watermark,
                                     const struct segment_catalog *catalog,
                                     struct base_error *error)
{
    struct stat status;
    int fd = openat(catalog->directory_fd, "watermark", O_RDONLY | O_CLOEXEC);
    bool is_another = fd >= 0 && fstat(fd, &status) == 0 &&
                      (watermark->mapping == NULL || status.st_ino != watermark->inode);
    if (fd >= 0)
        close(fd);
    if (!is_another)
        return 0;
    segment_watermark_close(watermark);
    return segment_watermark_open_reader(watermark, catalog, error);
}

void segment_watermark_close(struct segment_watermark *watermark)
{
    if (watermark->mapping != NULL)
        munmap(watermark->mapping, FILE_BYTES);
    *watermark = (struct segment_watermark){.mapping = NULL};
}

void segment_watermark_publish(struct segment_watermark *watermark, uint32_t journal,
                               uint64_t sequence)
{
    CHECK(journal < SEGMENT_WATERMARK_JOURNALS_MAX);
    store_release(&watermark->slots[journal].sequence, sequence); /* W1 pairs with W2 */
}

uint64_t segment_watermark_read(const struct segment_watermark *watermark, uint32_t journal)
{
    if (watermark->mapping == NULL || journal >= SEGMENT_WATERMARK_JOURNALS_MAX)
        return 0;
    return load_acquire(&watermark->slots[journal].sequence); /* W2 pairs with W1 */
}
