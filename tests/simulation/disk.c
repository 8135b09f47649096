/* Sectors, flushes and what a crash leaves of them. A file keeps two whole images instead of an
 * undo log: files are small here, and the difference is then there to be looked at. */
#include "disk.h"

#include "base/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_STEP_BYTES 65536

struct disk disk;

void disk_trace(const char *format, ...)
{
    if (!disk.is_traced)
        return;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void mix(uint64_t value)
{
    disk.digest = (disk.digest ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    disk.digest ^= disk.digest >> 29;
}

/* --- files ----------------------------------------------------------------------------------- */

static void free_file(struct disk_file *file)
{
    free(file->image);
    free(file->medium);
    free(file->dirty);
    *file = (struct disk_file){.in_use = false};
}

static bool is_open(uint32_t number)
{
    for (size_t i = 0; i < DISK_DESCRIPTORS_MAX; i++)
        if (disk.descriptors[i].in_use && disk.descriptors[i].file == number)
            return true;
    return disk.files[number].mappings > 0;
}

static void collect_files(void)
{
    for (uint32_t i = 1; i < disk.file_count; i++)
        if (disk.files[i].in_use && !is_open(i) && !disk_is_named(i))
            free_file(&disk.files[i]);
}

uint32_t disk_new_file(void)
{
    if (disk.file_count == DISK_FILES_MAX)
        collect_files();
    uint32_t number = 0;
    while (number < disk.file_count && disk.files[number].in_use)
        number++;
    CHECK(number < DISK_FILES_MAX);
    if (number == disk.file_count)
        disk.file_count++;
    disk.files[number] =
        (struct disk_file){.in_use = true, .is_writable = true, .medium_writable = true};
    return number;
}

static void *grow_zeroed(void *memory, uint64_t old_bytes, uint64_t new_bytes)
{
    uint8_t *larger = realloc(memory, new_bytes);
    CHECK(larger != NULL);
    memset(larger + old_bytes, 0, new_bytes - old_bytes);
    return larger;
}

static void reserve(struct disk_file *file, uint64_t bytes)
{
    if (bytes <= file->capacity)
        return;
    CHECK(file->mappings == 0); /* a mapping is the image itself */
    uint64_t old = file->capacity;
    uint64_t new = (bytes + CAPACITY_STEP_BYTES - 1) / CAPACITY_STEP_BYTES *CAPACITY_STEP_BYTES;
    file->image = grow_zeroed(file->image, old, new);
    file->medium = grow_zeroed(file->medium, old, new);
    file->dirty = grow_zeroed(file->dirty, old / DISK_SECTOR_BYTES, new / DISK_SECTOR_BYTES);
    file->capacity = new;
}

static void land(struct disk_file *file, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
    reserve(file, offset + bytes);
    memcpy(file->image + offset, data, bytes);
    uint64_t first = offset / DISK_SECTOR_BYTES;
    uint64_t last = (offset + bytes - 1) / DISK_SECTOR_BYTES;
    memset(file->dirty + first, 1, last - first + 1);
    if (file->bytes < offset + bytes)
        file->bytes = offset + bytes;
}

/* Some of the sectors of a write that was cut off: a beginning, or any of them. */
static void land_subset(struct disk_file *file, const uint8_t *data, uint64_t bytes,
                        uint64_t offset)
{
    bool in_order = draw_once_in(disk.random, 2);
    uint64_t sectors = (bytes + DISK_SECTOR_BYTES - 1) / DISK_SECTOR_BYTES;
    uint64_t kept = draw_below(disk.random, sectors + 1);
    for (uint64_t i = 0; i < sectors; i++) {
        if (in_order ? i >= kept : draw_below(disk.random, sectors) >= kept)
            continue;
        uint64_t at = i * DISK_SECTOR_BYTES;
        uint64_t step = bytes - at < DISK_SECTOR_BYTES ? bytes - at : DISK_SECTOR_BYTES;
        land(file, data + at, step, offset + at);
    }
}

static void move_sector(uint8_t *to, const uint8_t *from, uint64_t sector)
{
    memcpy(to + sector * DISK_SECTOR_BYTES, from + sector * DISK_SECTOR_BYTES, DISK_SECTOR_BYTES);
}

/* Decides each dirty sector below `bytes`: on the medium with `keep` chances of 16, else gone. */
static void settle(struct disk_file *file, uint64_t bytes, uint64_t keep)
{
    uint64_t sectors = (bytes + DISK_SECTOR_BYTES - 1) / DISK_SECTOR_BYTES;
    for (uint64_t i = 0; i < sectors; i++) {
        if (!file->dirty[i])
            continue;
        if (keep == 16 || (keep != 0 && draw_below(disk.random, 16) < keep))
            move_sector(file->medium, file->image, i);
        else
            move_sector(file->image, file->medium, i);
        file->dirty[i] = 0;
    }
}

void disk_resize(uint32_t number, uint64_t bytes)
{
    struct disk_file *file = &disk.files[number];
    reserve(file, bytes);
    if (bytes < file->bytes) {
        memset(file->image + bytes, 0, file->bytes - bytes);
        uint64_t first = bytes / DISK_SECTOR_BYTES;
        uint64_t last = (file->bytes - 1) / DISK_SECTOR_BYTES;
        memset(file->dirty + first, 1, last - first + 1);
    }
    file->bytes = bytes;
}

/* --- reading, writing, flushing -------------------------------------------------------------- */

int64_t disk_read(uint32_t number, void *data_out, uint64_t bytes, uint64_t offset)
{
    const struct disk_file *file = &disk.files[number];
    if (disk.process == DISK_ENGINE && faults_at_read(disk.faults) == FAULT_ERROR)
        return -EIO;
    if (offset >= file->bytes)
        return 0;
    if (bytes > file->bytes - offset)
        bytes = file->bytes - offset;
    memcpy(data_out, file->image + offset, bytes);
    return (int64_t)bytes;
}

/* Direct writes end at a sector; a text of less than one may end anywhere. */
static int64_t write_short(struct disk_file *file, const uint8_t *data, uint64_t bytes,
                           uint64_t offset)
{
    uint64_t unit = bytes > DISK_SECTOR_BYTES ? DISK_SECTOR_BYTES : 1;
    uint64_t done = draw_below(disk.random, (bytes + unit - 1) / unit) * unit;
    if (done > 0)
        land(file, data, done, offset);
    return (int64_t)done;
}

/* The size is the filesystem's, and grows whatever the disk does with the bytes. */
static int64_t write_nowhere(struct disk_file *file, uint64_t bytes, uint64_t offset)
{
    reserve(file, offset + bytes);
    if (file->bytes < offset + bytes)
        file->bytes = offset + bytes;
    return (int64_t)bytes;
}

static int64_t write_elsewhere(struct disk_file *file, const uint8_t *data, uint64_t bytes,
                               uint64_t offset)
{
    write_nowhere(file, bytes, offset);
    uint64_t room = file->bytes > bytes ? file->bytes - bytes : 0;
    land(file, data, bytes, draw_below(disk.random, room / 4096 + 1) * 4096);
    return (int64_t)bytes;
}

int64_t disk_write(uint32_t number, const uint8_t *data, uint64_t bytes, uint64_t offset,
                   enum disk_moment moment)
{
    struct disk_file *file = &disk.files[number];
    if (bytes == 0)
        return 0;
    if (moment == DISK_DIES_INSIDE) {
        land_subset(file, data, bytes, offset);
        return -EIO;
    }
    enum fault fault = faults_at_write(disk.faults, offset + bytes > file->bytes);
    if (fault != FAULT_NONE)
        disk_trace("    fault %d at a write of file %u", (int)fault, number);
    switch (fault) {
    case FAULT_SHORT:
        return write_short(file, data, bytes, offset);
    case FAULT_NO_SPACE:
        return -ENOSPC;
    case FAULT_ERROR:
        land_subset(file, data, bytes, offset);
        return -EIO;
    case FAULT_DROPPED:
        return write_nowhere(file, bytes, offset);
    case FAULT_MISDIRECTED:
        return write_elsewhere(file, data, bytes, offset);
    default:
        if (bytes > DISK_SECTOR_BYTES && draw_once_in(disk.random, 8)) {
            land_subset(file, data, bytes, offset);
            disk.during_write(disk.context);
        }
        land(file, data, bytes, offset);
        return (int64_t)bytes;
    }
}

int disk_flush(uint32_t number, bool data_only, enum disk_moment moment)
{
    struct disk_file *file = &disk.files[number];
    if (moment == DISK_DIES_INSIDE) /* what of it gets to the medium, the crash decides */
        return -EIO;
    enum fault fault = faults_at_flush(disk.faults);
    if (fault != FAULT_NONE)
        disk_trace("    fault %d at a flush of file %u", (int)fault, number);
    if (fault == FAULT_LIE)
        return 0;
    if (fault == FAULT_ERROR) { /* once reported, forgotten: nothing is dirty any more */
        settle(file, file->bytes, draw_below(disk.random, 17));
        return -EIO;
    }
    if (!file->is_directory) {
        bool shrinks = !data_only && file->medium_bytes > file->bytes;
        settle(file, shrinks ? file->medium_bytes : file->bytes, 16);
        if (shrinks || file->medium_bytes < file->bytes)
            file->medium_bytes = file->bytes;
    }
    if (file->is_directory || (!data_only && !disk.strict_names))
        disk_commit_names(number);
    return 0;
}

/* --- processes and crashes ------------------------------------------------------------------- */

static void find_stores(struct disk_file *file)
{
    uint64_t sectors = file->capacity / DISK_SECTOR_BYTES;
    for (uint64_t i = 0; i < sectors; i++) {
        uint64_t at = i * DISK_SECTOR_BYTES;
        if (memcmp(file->image + at, file->medium + at, DISK_SECTOR_BYTES) != 0)
            file->dirty[i] = 1;
    }
}

void disk_write_back(void)
{
    for (uint32_t i = 0; i < disk.file_count; i++) {
        struct disk_file *file = &disk.files[i];
        if (!file->in_use || !file->was_mapped)
            continue;
        find_stores(file);
        settle(file, file->bytes, 16);
    }
}

static void cut_file(struct disk_file *file, uint64_t keep)
{
    if (file->was_mapped)
        find_stores(file);
    uint64_t size_before = file->bytes;
    if (file->bytes != file->medium_bytes && draw_once_in(disk.random, 2))
        file->bytes = file->medium_bytes;
    /* a cut of the file that did not last brings back what stood behind it */
    uint64_t end = file->bytes < size_before ? file->bytes : size_before;
    settle(file, end, keep);
    settle(file, file->bytes, 0);
    if (file->capacity > file->bytes) {
        memset(file->image + file->bytes, 0, file->capacity - file->bytes);
        memset(file->medium + file->bytes, 0, file->capacity - file->bytes);
    }
    if (file->dirty != NULL)
        memset(file->dirty, 0, file->capacity / DISK_SECTOR_BYTES);
    file->medium_bytes = file->bytes;
    file->is_writable = file->medium_writable;
}

static void cut_power(void)
{
    static const uint64_t chances[] = {0, 1, 8, 15, 16};
    uint64_t keep = chances[draw_below(disk.random, 5)];
    disk_cut_names();
    for (uint32_t i = 0; i < disk.file_count; i++)
        if (disk.files[i].in_use && !disk.files[i].is_directory)
            cut_file(&disk.files[i], keep);
}

static void end_process(enum disk_process process)
{
    disk.is_dead[process] = true;
    for (size_t i = 0; i < DISK_DESCRIPTORS_MAX; i++) {
        struct disk_descriptor *descriptor = &disk.descriptors[i];
        if (!descriptor->in_use || descriptor->process != process)
            continue;
        descriptor->is_dead = true;
        if (descriptor->holds_lock)
            disk.files[descriptor->file].is_locked = false;
        descriptor->holds_lock = false;
    }
}

void disk_crash(enum disk_crash kind)
{
    disk_trace("--- %s", kind == DISK_KILL ? "kill" : "power cut");
    for (unsigned i = 0; i < DISK_FLIGHTS_MAX; i++) {
        disk_land_some(i);
        disk.flights[i].under_way = false;
    }
    end_process(DISK_ENGINE);
    if (kind == DISK_KILL)
        return;
    end_process(DISK_WATCHER);
    disk.power_was_cut = true;
    cut_power();
}

void disk_begin_process(enum disk_process process)
{
    end_process(process);
    for (size_t i = 0; i < DISK_DESCRIPTORS_MAX; i++)
        if (disk.descriptors[i].process == process)
            disk.descriptors[i] = (struct disk_descriptor){.in_use = false};
    disk.is_dead[process] = false;
    collect_files();
}

enum disk_moment disk_before_call(const char *what, uint64_t argument)
{
    disk.calls++;
    mix(argument + (uint64_t)(unsigned char)what[0] + ((uint64_t)disk.process << 60));
    if (disk.is_dead[disk.process])
        return DISK_DIES_BEFORE;
    int error_before = errno; /* the other process has one of its own */
    enum disk_moment moment = disk.between(disk.context);
    errno = error_before;
    disk_trace("%s%s %llu", disk.process == DISK_ENGINE ? "  engine " : "  watcher ", what,
               (unsigned long long)argument);
    if (moment == DISK_DIES_BEFORE)
        disk_crash(disk.crash_kind);
    return disk.is_dead[disk.process] ? DISK_DIES_BEFORE : moment;
}

void disk_after_call(enum disk_moment moment)
{
    if (moment == DISK_DIES_INSIDE)
        disk_crash(disk.crash_kind);
}

void disk_note_result(int64_t result)
{
    mix((uint64_t)result);
    if (result < 0)
        disk_trace("    -> %lld", (long long)result);
}

/* --- the journal's operations ---------------------------------------------------------------- */

void disk_submit(unsigned flight, const struct disk_flight *operation)
{
    CHECK(!disk.flights[flight].under_way && "two operations of one journal under way");
    disk.flights[flight] = *operation;
    disk.flights[flight].under_way = !disk.is_dead[DISK_ENGINE];
}

void disk_land_some(unsigned index)
{
    const struct disk_flight *flight = &disk.flights[index];
    if (!flight->under_way || flight->is_flush)
        return;
    struct disk_descriptor *descriptor = disk_descriptor_of(flight->descriptor);
    land_subset(&disk.files[descriptor->file], flight->data, flight->bytes, flight->offset);
}

int disk_complete(unsigned index)
{
    struct disk_flight *flight = &disk.flights[index];
    enum disk_moment moment =
        disk_before_call(flight->is_flush ? "completes a flush" : "completes a write", index);
    if (moment == DISK_DIES_BEFORE)
        return -EIO;
    flight->under_way = false;
    struct disk_descriptor *descriptor = disk_descriptor_of(flight->descriptor);
    CHECK(descriptor != NULL && "the journal uses a descriptor that is closed");
    int64_t result = flight->is_flush ? disk_flush(descriptor->file, true, moment)
                                      : disk_write(descriptor->file, flight->data, flight->bytes,
                                                   flight->offset, moment);
    disk_after_call(moment);
    if (disk.is_dead[DISK_ENGINE])
        return -EIO;
    disk_note_result(result);
    return (int)result;
}

/* --- set up and down ------------------------------------------------------------------------- */

void disk_init(struct base_random *random, struct faults *faults, bool strict_names)
{
    bool is_traced = disk.is_traced;
    memset(&disk, 0, offsetof(struct disk, files));
    disk.random = random;
    disk.faults = faults;
    disk.strict_names = strict_names;
    disk.is_traced = is_traced;
    disk.file_count = disk.log_count = 0;
    disk.names.count = disk.medium_names.count = 0;
    memset(disk.descriptors, 0, sizeof(disk.descriptors));
    memset(disk.flights, 0, sizeof(disk.flights));
    disk.now_ns = UINT64_C(1700000000000000000);
    disk.calls = disk.digest = 0;
    disk.files[disk_new_file()].is_directory = true; /* DISK_ROOT */
}

void disk_fini(void)
{
    for (uint32_t i = 0; i < disk.file_count; i++)
        free_file(&disk.files[i]);
    disk.file_count = 0;
}
