#include "memory_disk.h"

#include <criterion/criterion.h>
#include <string.h>

static struct memory_disk *disk_of(struct segment_io *io)
{
    return (struct memory_disk *)(void *)((char *)io - offsetof(struct memory_disk, io));
}

static void ask(struct memory_disk *disk, const struct memory_disk_operation *operation)
{
    cr_assert(memory_disk_is_idle(disk), "a second operation while one is under way");
    cr_assert(operation->fd >= 0 && operation->fd < MEMORY_DISK_FILE_COUNT);
    cr_assert(disk->count < MEMORY_DISK_LOG_ENTRIES);
    disk->log[disk->count++] = *operation;
}

static void disk_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                       uint64_t offset)
{
    cr_assert_eq((uintptr_t)data % 4096, 0, "direct writes need aligned memory");
    cr_assert_eq(bytes % 4096, 0, "direct writes need whole blocks");
    cr_assert_eq(offset % 4096, 0, "direct writes need aligned offsets");
    cr_assert(bytes > 0);
    cr_assert(offset + bytes <= MEMORY_DISK_FILE_BYTES, "a write behind the end of the file");
    ask(disk_of(io),
        &(struct memory_disk_operation){
            .kind = MEMORY_DISK_WRITE, .fd = fd, .data = data, .bytes = bytes, .offset = offset});
}

static void disk_flush(struct segment_io *io, int fd)
{
    ask(disk_of(io), &(struct memory_disk_operation){.kind = MEMORY_DISK_FLUSH, .fd = fd});
}

void memory_disk_init(struct memory_disk *disk)
{
    memset(disk, 0, sizeof(*disk));
    disk->io = (struct segment_io){disk_write, disk_flush};
}

bool memory_disk_is_idle(const struct memory_disk *disk)
{
    return disk->count == disk->finished;
}

const struct memory_disk_operation *memory_disk_pending(const struct memory_disk *disk)
{
    cr_assert_eq(disk->count, disk->finished + 1, "no operation is under way");
    return &disk->log[disk->finished];
}

int memory_disk_finish(struct memory_disk *disk, int result)
{
    const struct memory_disk_operation *operation = memory_disk_pending(disk);
    if (operation->kind == MEMORY_DISK_WRITE && result > 0) {
        size_t bytes = (size_t)result < operation->bytes ? (size_t)result : operation->bytes;
        memcpy(disk->volatile_image[operation->fd] + operation->offset, operation->data, bytes);
    }
    if (operation->kind == MEMORY_DISK_FLUSH && result == 0)
        memcpy(disk->durable_image[operation->fd], disk->volatile_image[operation->fd],
               MEMORY_DISK_FILE_BYTES);
    disk->finished++;
    return result;
}

int memory_disk_succeed(struct memory_disk *disk)
{
    const struct memory_disk_operation *operation = memory_disk_pending(disk);
    return memory_disk_finish(disk,
                              operation->kind == MEMORY_DISK_WRITE ? (int)operation->bytes : 0);
}
