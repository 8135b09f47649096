/* A disk in memory for the journal's state machine: it keeps what was asked of it, and the test
 * says how each operation ends. Nothing completes by itself.
 *
 * Owner: the test. `volatile_image` is what a read would show, `durable_image` what a power cut
 * leaves: a flush that ends well copies one to the other.
 */
#ifndef SLUICE_TESTS_MEMORY_DISK_H
#define SLUICE_TESTS_MEMORY_DISK_H

#include "segment/io.h"

#include <stdbool.h>
#include <stddef.h>

#define MEMORY_DISK_FILE_BYTES  65536
#define MEMORY_DISK_FILE_COUNT  8 /* descriptors 0 to 7 */
#define MEMORY_DISK_LOG_ENTRIES 256

enum memory_disk_kind { MEMORY_DISK_WRITE, MEMORY_DISK_FLUSH };

struct memory_disk_operation {
    enum memory_disk_kind kind;
    int fd;
    const uint8_t *data; /* of a write */
    uint32_t bytes;
    uint64_t offset;
};

struct memory_disk {
    struct segment_io io;
    struct memory_disk_operation log[MEMORY_DISK_LOG_ENTRIES];
    size_t count;    /* operations asked for so far */
    size_t finished; /* of them, ended */
    uint8_t volatile_image[MEMORY_DISK_FILE_COUNT][MEMORY_DISK_FILE_BYTES];
    uint8_t durable_image[MEMORY_DISK_FILE_COUNT][MEMORY_DISK_FILE_BYTES];
};

void memory_disk_init(struct memory_disk *disk);

/* The operation under way; there must be exactly one. */
const struct memory_disk_operation *memory_disk_pending(const struct memory_disk *disk);
bool memory_disk_is_idle(const struct memory_disk *disk);

/* Ends the operation under way with `result`: a write leaves that many bytes, a flush that returns
 * 0 makes its file durable. Returns `result`, for segment_journal_complete. */
int memory_disk_finish(struct memory_disk *disk, int result);

/* Ends it as a healthy disk does. */
int memory_disk_succeed(struct memory_disk *disk);

#endif
