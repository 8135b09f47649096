/* The C library's functions as the engine calls them. The linker's --wrap sends the calls here
 * (meson.build has the list, taken from `nm -u` of engine/segment); what is not about
 * DISK_ROOT_PATH or one of our descriptors goes on to the real function. Descriptors of the
 * simulated disk start at a million, so the two kinds never mix. The 64 in the names: the build
 * sets _FILE_OFFSET_BITS. */
#include "base/check.h"
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIRST_DESCRIPTOR 1000000
#define LISTINGS_MAX     8

/* What --wrap makes of a name: calls of it land in __wrap_, and __real_ is the library's. */
#define WRAP(result, name, ...)                                                                    \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

/* A directory being listed: what it held when the first entry was asked for, as one getdents(2) of
 * a directory of this size gives it. */
struct listing {
    bool in_use;
    int descriptor;
    uint32_t count, next;
    struct dirent entries[DISK_ENTRIES_MAX + 2];
};

static struct listing listings[LISTINGS_MAX];

static bool is_ours(int descriptor)
{
    return descriptor >= FIRST_DESCRIPTOR;
}

struct disk_descriptor *disk_descriptor_of(int descriptor)
{
    size_t index = (size_t)(descriptor - FIRST_DESCRIPTOR);
    if (!is_ours(descriptor) || index >= DISK_DESCRIPTORS_MAX || !disk.descriptors[index].in_use)
        return NULL;
    return &disk.descriptors[index];
}

static struct disk_descriptor *get(int descriptor)
{
    struct disk_descriptor *found = disk_descriptor_of(descriptor);
    CHECK(found != NULL && "a call with a descriptor that is closed");
    return found;
}

static int64_t finish(int64_t result)
{
    disk_note_result(result);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* A call on a descriptor: false when the process is dead, and errno is set. */
static bool begin(const char *what, int descriptor, enum disk_moment *moment_out,
                  struct disk_descriptor **descriptor_out)
{
    *descriptor_out = get(descriptor);
    *moment_out = disk_before_call(what, (*descriptor_out)->file);
    if (*moment_out != DISK_DIES_BEFORE && !(*descriptor_out)->is_dead)
        return true;
    errno = EIO;
    return false;
}

/* What the process sees of a call in which it died: nothing good. */
static int64_t end(enum disk_moment moment, int64_t result)
{
    disk_after_call(moment);
    return finish(disk.is_dead[disk.process] ? -EIO : result);
}

/* --- opening and closing --------------------------------------------------------------------- */

static int new_descriptor(uint32_t file, int flags)
{
    int index = 0;
    while (index < DISK_DESCRIPTORS_MAX && disk.descriptors[index].in_use)
        index++;
    CHECK(index < DISK_DESCRIPTORS_MAX && "descriptors leak");
    disk.descriptors[index] = (struct disk_descriptor){
        .in_use = true,
        .process = disk.process,
        .file = file,
        .is_direct = (flags & O_DIRECT) != 0,
        .may_write = (flags & O_ACCMODE) != O_RDONLY,
    };
    return FIRST_DESCRIPTOR + index;
}

static int64_t open_below(uint32_t directory, const char *path, int flags)
{
    int file = disk_find(directory, path);
    if (file < 0 && (flags & O_CREAT) != 0) {
        if (faults_at_allocation(disk.faults) != FAULT_NONE)
            return -ENOSPC;
        file = disk_create(directory, path, false);
    }
    if (file < 0)
        return file;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (writes && !disk.files[file].is_writable)
        return -EACCES;
    if ((flags & O_DIRECTORY) != 0 && !disk.files[file].is_directory)
        return -ENOTDIR;
    if (writes && (flags & O_TRUNC) != 0)
        disk_resize((uint32_t)file, 0);
    return new_descriptor((uint32_t)file, flags);
}

WRAP(int, openat64, int directory, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    enum disk_moment moment;
    struct disk_descriptor *descriptor;
    if (!is_ours(directory))
        return __real_openat64(directory, path, flags, mode);
    if (!begin("openat", directory, &moment, &descriptor))
        return -1;
    disk_trace("    %s", path);
    return (int)end(moment, open_below(descriptor->file, path, flags));
}

/* The path below DISK_ROOT_PATH, or NULL. */
static const char *path_of_ours(const char *path)
{
    size_t bytes = sizeof(DISK_ROOT_PATH) - 1;
    return strncmp(path, DISK_ROOT_PATH "/", bytes + 1) == 0 ? path + bytes + 1 : NULL;
}

WRAP(int, open64, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    const char *ours = path_of_ours(path);
    if (ours == NULL)
        return __real_open64(path, flags, mode);
    enum disk_moment moment = disk_before_call("open", 0);
    if (moment == DISK_DIES_BEFORE)
        return (int)finish(-EIO);
    return (int)end(moment, open_below(DISK_ROOT, ours, flags));
}

WRAP(int, close, int descriptor)
{
    if (!is_ours(descriptor))
        return __real_close(descriptor);
    struct disk_descriptor *closed = get(descriptor);
    if (closed->holds_lock)
        disk.files[closed->file].is_locked = false;
    *closed = (struct disk_descriptor){.in_use = false};
    return 0;
}

WRAP(int, dup, int descriptor)
{
    enum disk_moment moment;
    struct disk_descriptor *original;
    if (!is_ours(descriptor))
        return __real_dup(descriptor);
    if (!begin("dup", descriptor, &moment, &original))
        return -1;
    int copy = new_descriptor(original->file, 0);
    *disk_descriptor_of(copy) = *original;
    return (int)end(moment, copy);
}

WRAP(int, flock, int descriptor, int operation)
{
    enum disk_moment moment;
    struct disk_descriptor *locked;
    if (!is_ours(descriptor))
        return __real_flock(descriptor, operation);
    if (!begin("flock", descriptor, &moment, &locked))
        return -1;
    if (disk.files[locked->file].is_locked)
        return (int)end(moment, -EWOULDBLOCK);
    disk.files[locked->file].is_locked = locked->holds_lock = true;
    return (int)end(moment, 0);
}

/* --- reading and writing --------------------------------------------------------------------- */

static bool is_aligned(const struct disk_descriptor *descriptor, const void *data, uint64_t bytes,
                       uint64_t offset)
{
    return !descriptor->is_direct || ((uintptr_t)data | bytes | offset) % DISK_SECTOR_BYTES == 0;
}

WRAP(ssize_t, pread64, int descriptor, void *data_out, size_t bytes, off_t offset)
{
    enum disk_moment moment;
    struct disk_descriptor *from;
    if (!is_ours(descriptor))
        return __real_pread64(descriptor, data_out, bytes, offset);
    if (!begin("pread", descriptor, &moment, &from))
        return -1;
    if (!is_aligned(from, data_out, bytes, (uint64_t)offset))
        return (ssize_t)end(moment, -EINVAL);
    return (ssize_t)end(moment, disk_read(from->file, data_out, bytes, (uint64_t)offset));
}

WRAP(ssize_t, pwrite64, int descriptor, const void *data, size_t bytes, off_t offset)
{
    enum disk_moment moment;
    struct disk_descriptor *to;
    if (!is_ours(descriptor))
        return __real_pwrite64(descriptor, data, bytes, offset);
    if (!begin("pwrite", descriptor, &moment, &to))
        return -1;
    CHECK(to->may_write);
    if (!is_aligned(to, data, bytes, (uint64_t)offset))
        return (ssize_t)end(moment, -EINVAL);
    return (ssize_t)end(moment, disk_write(to->file, data, bytes, (uint64_t)offset, moment));
}

WRAP(ssize_t, read, int descriptor, void *data_out, size_t bytes)
{
    enum disk_moment moment;
    struct disk_descriptor *from;
    if (!is_ours(descriptor))
        return __real_read(descriptor, data_out, bytes);
    if (!begin("read", descriptor, &moment, &from))
        return -1;
    int64_t got = disk_read(from->file, data_out, bytes, from->position);
    if (got > 0)
        from->position += (uint64_t)got;
    return (ssize_t)end(moment, got);
}

WRAP(ssize_t, write, int descriptor, const void *data, size_t bytes)
{
    enum disk_moment moment;
    struct disk_descriptor *to;
    if (descriptor == STDERR_FILENO && !disk.is_traced)
        return (ssize_t)bytes; /* the engine's log, of thousands of runs */
    if (!is_ours(descriptor))
        return __real_write(descriptor, data, bytes);
    if (!begin("write", descriptor, &moment, &to))
        return -1;
    int64_t done = disk_write(to->file, data, bytes, to->position, moment);
    if (done > 0)
        to->position += (uint64_t)done;
    return (ssize_t)end(moment, done);
}

static int flush(const char *what, int descriptor, bool data_only)
{
    enum disk_moment moment;
    struct disk_descriptor *flushed;
    if (!begin(what, descriptor, &moment, &flushed))
        return -1;
    return (int)end(moment, disk_flush(flushed->file, data_only, moment));
}

WRAP(int, fsync, int descriptor)
{
    return is_ours(descriptor) ? flush("fsync", descriptor, false) : __real_fsync(descriptor);
}

WRAP(int, fdatasync, int descriptor)
{
    return is_ours(descriptor) ? flush("fdatasync", descriptor, true)
                               : __real_fdatasync(descriptor);
}

WRAP(int, fallocate64, int descriptor, int mode, off_t offset, off_t bytes)
{
    enum disk_moment moment;
    struct disk_descriptor *to;
    if (!is_ours(descriptor))
        return __real_fallocate64(descriptor, mode, offset, bytes);
    if (!begin("fallocate", descriptor, &moment, &to))
        return -1;
    CHECK(mode == 0 && offset == 0);
    if (faults_at_allocation(disk.faults) != FAULT_NONE)
        return (int)end(moment, -ENOSPC);
    if (disk.files[to->file].bytes < (uint64_t)bytes)
        disk_resize(to->file, (uint64_t)bytes);
    return (int)end(moment, 0);
}

WRAP(int, ftruncate64, int descriptor, off_t bytes)
{
    enum disk_moment moment;
    struct disk_descriptor *to;
    if (!is_ours(descriptor))
        return __real_ftruncate64(descriptor, bytes);
    if (!begin("ftruncate", descriptor, &moment, &to))
        return -1;
    disk_resize(to->file, (uint64_t)bytes);
    return (int)end(moment, 0);
}

/* --- metadata -------------------------------------------------------------------------------- */

WRAP(int, fchmod, int descriptor, mode_t mode)
{
    enum disk_moment moment;
    struct disk_descriptor *changed;
    if (!is_ours(descriptor))
        return __real_fchmod(descriptor, mode);
    if (!begin("fchmod", descriptor, &moment, &changed))
        return -1;
    disk_chmod(changed->file, (mode & S_IWUSR) != 0);
    return (int)end(moment, 0);
}

WRAP(int, fstat64, int descriptor, struct stat *status_out)
{
    enum disk_moment moment;
    struct disk_descriptor *asked;
    if (!is_ours(descriptor))
        return __real_fstat64(descriptor, status_out);
    if (!begin("fstat", descriptor, &moment, &asked))
        return -1;
    *status_out = (struct stat){.st_ino = (ino_t)asked->file + 1,
                                .st_size = (off_t)disk.files[asked->file].bytes};
    return (int)end(moment, 0);
}

WRAP(int, renameat, int from_directory, const char *from, int to_directory, const char *to)
{
    enum disk_moment moment;
    struct disk_descriptor *descriptor;
    if (!is_ours(from_directory))
        return __real_renameat(from_directory, from, to_directory, to);
    CHECK(from_directory == to_directory);
    if (!begin("renameat", from_directory, &moment, &descriptor))
        return -1;
    disk_trace("    %s to %s", from, to);
    return (int)end(moment, disk_rename(descriptor->file, from, to));
}

WRAP(int, unlinkat, int directory, const char *path, int flags)
{
    enum disk_moment moment;
    struct disk_descriptor *descriptor;
    if (!is_ours(directory))
        return __real_unlinkat(directory, path, flags);
    if (!begin("unlinkat", directory, &moment, &descriptor))
        return -1;
    disk_trace("    %s", path);
    return (int)end(moment, disk_unlink(descriptor->file, path));
}

static int64_t make_directory(uint32_t directory, const char *path)
{
    if (disk_find(directory, path) < 0 && faults_at_allocation(disk.faults) != FAULT_NONE)
        return -ENOSPC;
    int file = disk_create(directory, path, true);
    return file < 0 ? file : 0;
}

WRAP(int, mkdirat, int directory, const char *path, mode_t mode)
{
    enum disk_moment moment;
    struct disk_descriptor *descriptor;
    if (!is_ours(directory))
        return __real_mkdirat(directory, path, mode);
    if (!begin("mkdirat", directory, &moment, &descriptor))
        return -1;
    return (int)end(moment, make_directory(descriptor->file, path));
}

WRAP(int, mkdir, const char *path, mode_t mode)
{
    const char *ours = path_of_ours(path);
    if (ours == NULL)
        return __real_mkdir(path, mode);
    enum disk_moment moment = disk_before_call("mkdir", 0);
    if (moment == DISK_DIES_BEFORE)
        return (int)finish(-EIO);
    return (int)end(moment, make_directory(DISK_ROOT, ours));
}

WRAP(DIR *, fdopendir, int descriptor)
{
    if (!is_ours(descriptor))
        return __real_fdopendir(descriptor);
    struct listing *listing = listings;
    while (listing < listings + LISTINGS_MAX && listing->in_use)
        listing++;
    CHECK(listing < listings + LISTINGS_MAX);
    listing->in_use = true;
    listing->descriptor = descriptor;
    listing->count = listing->next = 0;
    return (DIR *)(void *)listing;
}

static struct listing *listing_of(DIR *directory)
{
    struct listing *listing = (struct listing *)(void *)directory;
    return listing >= listings && listing < listings + LISTINGS_MAX ? listing : NULL;
}

WRAP(struct dirent *, readdir64, DIR *directory)
{
    enum disk_moment moment = DISK_GOES_ON;
    struct disk_descriptor *descriptor;
    struct listing *listing = listing_of(directory);
    if (listing == NULL)
        return __real_readdir64(directory);
    if (listing->next == 0) {
        if (!begin("readdir", listing->descriptor, &moment, &descriptor))
            return NULL;
        for (uint32_t i = 0; i < disk.names.count; i++)
            if (disk.names.entries[i].directory == descriptor->file)
                snprintf(listing->entries[listing->count++].d_name, DISK_NAME_BYTES, "%s",
                         disk.names.entries[i].name);
        if (end(moment, listing->count) < 0)
            return NULL;
    }
    return listing->next < listing->count ? &listing->entries[listing->next++] : NULL;
}

WRAP(int, closedir, DIR *directory)
{
    struct listing *listing = listing_of(directory);
    if (listing == NULL)
        return __real_closedir(directory);
    listing->in_use = false;
    return __wrap_close(listing->descriptor);
}

/* --- mappings: the image itself -------------------------------------------------------------- */

WRAP(void *, mmap64, void *address, size_t bytes, int protection, int flags, int descriptor,
     off_t offset)
{
    enum disk_moment moment;
    struct disk_descriptor *mapped;
    if (!is_ours(descriptor))
        return __real_mmap64(address, bytes, protection, flags, descriptor, offset);
    if (!begin("mmap", descriptor, &moment, &mapped))
        return MAP_FAILED;
    struct disk_file *file = &disk.files[mapped->file];
    CHECK(offset == 0 && bytes <= file->capacity && (flags & MAP_SHARED) != 0);
    if (end(moment, 0) < 0)
        return MAP_FAILED;
    file->mappings++;
    file->was_mapped = true;
    return file->image;
}

WRAP(int, munmap, void *address, size_t bytes)
{
    for (uint32_t i = 0; i < disk.file_count; i++) {
        if (!disk.files[i].in_use || disk.files[i].image != address || address == NULL)
            continue;
        disk.files[i].mappings--;
        return 0;
    }
    return __real_munmap(address, bytes);
}

/* --- time and chance ------------------------------------------------------------------------- */

WRAP(ssize_t, getrandom, void *bytes_out, size_t bytes, unsigned flags)
{
    if (disk.random == NULL)
        return __real_getrandom(bytes_out, bytes, flags);
    base_random_fill(disk.random, bytes_out, bytes);
    return (ssize_t)bytes;
}

WRAP(int, clock_gettime, clockid_t clock, struct timespec *now_out)
{
    if (disk.random == NULL)
        return __real_clock_gettime(clock, now_out);
    disk.now_ns += draw_between(disk.random, 1000, 1000000);
    now_out->tv_sec = (time_t)(disk.now_ns / 1000000000);
    now_out->tv_nsec = (long)(disk.now_ns % 1000000000);
    return 0;
}
