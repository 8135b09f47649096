/* A filesystem in memory that forgets as a real one does.
 *
 * A file has what reads see (`image`: the disk's cache included, as O_DIRECT reads it) and what is
 * on the medium (`medium`), in sectors of 512 bytes, which are written whole or not at all; `dirty`
 * says which sectors differ. Names are a table with a log: changes take effect at once and become
 * durable in the order in which they were made.
 *
 *   fsync, fdatasync of a file   its sectors; a size that grew; with fsync also one that shrank
 *   fsync of a directory         the log up to the last change in that directory
 *   fsync of a file              on a journaling filesystem also the log up to the last change to
 *                                this file (as ext4, XFS and btrfs do; POSIX does not promise it,
 *                                and with `strict_names` it does not happen)
 *
 * A kill keeps all but what the dead process still had under way. A power cut keeps of each sector
 * that was not flushed either version, of sizes either one, and of the log some prefix.
 *
 * Two processes use it: the engine, and a watcher that only reads. Every call goes through
 * `between` first, where the simulation lets the other one run, or ends this one.
 *
 * disk_calls.c makes the C library's functions land here. Owner: the scenario; one per process,
 * one thread. Results are as of system calls, with a negative errno.
 */
#ifndef SLUICE_TESTS_SIMULATION_DISK_H
#define SLUICE_TESTS_SIMULATION_DISK_H

#include "faults.h"

#include <stddef.h>

#define DISK_SECTOR_BYTES    512
#define DISK_FILES_MAX       1024
#define DISK_ENTRIES_MAX     512
#define DISK_LOG_MAX         1024
#define DISK_DESCRIPTORS_MAX 256
#define DISK_FLIGHTS_MAX     4
#define DISK_NAME_BYTES      96

#define DISK_ROOT_PATH "/simulated" /* paths below it are on this disk */

enum disk_process { DISK_ENGINE, DISK_WATCHER, DISK_PROCESS_COUNT };
enum disk_crash { DISK_KILL, DISK_POWER_CUT };

/* What `between` says about the call that is about to happen. */
enum disk_moment { DISK_GOES_ON, DISK_DIES_BEFORE, DISK_DIES_INSIDE };

struct disk_file {
    bool in_use, is_directory;
    bool was_mapped; /* stores into the mapping go unseen: dirty sectors are found by comparing */
    bool is_writable, medium_writable; /* the mode, as far as it matters */
    bool is_locked;
    unsigned mappings;
    uint64_t bytes, medium_bytes; /* size */
    uint64_t capacity;
    uint8_t *image, *medium, *dirty;
};

enum disk_change_kind { DISK_LINK, DISK_UNLINK, DISK_RENAME, DISK_CHMOD };

/* An entry of the log. */
struct disk_change {
    enum disk_change_kind kind;
    uint32_t directory, file;
    bool is_writable; /* of a chmod */
    char name[DISK_NAME_BYTES], new_name[DISK_NAME_BYTES];
};

struct disk_entry {
    uint32_t directory, file;
    char name[DISK_NAME_BYTES];
};

struct disk_names {
    struct disk_entry entries[DISK_ENTRIES_MAX];
    uint32_t count;
};

struct disk_descriptor {
    bool in_use, holds_lock;
    bool is_dead; /* its process is gone: only closing works */
    bool is_direct, may_write;
    enum disk_process process;
    uint32_t file;
    uint64_t position;
};

/* A write or flush of the journal that was submitted and has not completed. */
struct disk_flight {
    bool under_way, is_flush;
    int descriptor;
    const uint8_t *data;
    uint32_t bytes;
    uint64_t offset;
};

struct disk {
    struct base_random *random;
    struct faults *faults;
    enum disk_moment (*between)(void *context);
    void (*during_write)(void *context);
    void *context;
    bool strict_names;
    bool is_traced;

    enum disk_process process; /* whose call it is */
    bool is_dead[DISK_PROCESS_COUNT];
    enum disk_crash crash_kind; /* of the next crash */
    bool power_was_cut;         /* since the scenario last cleared it */

    struct disk_file files[DISK_FILES_MAX];
    uint32_t file_count; /* used at least once */
    struct disk_names names, medium_names;
    struct disk_change log[DISK_LOG_MAX];
    uint32_t log_count;
    struct disk_descriptor descriptors[DISK_DESCRIPTORS_MAX];
    struct disk_flight flights[DISK_FLIGHTS_MAX];

    uint64_t now_ns;
    uint64_t calls;
    uint64_t digest; /* over every call and its result: two runs of a seed must agree */
};

extern struct disk disk; /* the calls have nowhere else to find it */

void disk_init(struct base_random *random, struct faults *faults, bool strict_names);
void disk_fini(void);

/* Ends the engine, and with a power cut every process and what was not flushed. */
void disk_crash(enum disk_crash kind);

/* A new engine or watcher process: what the dead one left open is closed. */
void disk_begin_process(enum disk_process process);

/* Brings what programs stored into mappings to the medium, as the kernel does when it likes. */
void disk_write_back(void);

/* --- for disk_calls.c: files by number, paths below a directory's number ---------------------- */

#define DISK_ROOT 0u /* the file number of DISK_ROOT_PATH */

/* -ENOENT when there is none. */
int disk_find(uint32_t directory, const char *path);

int disk_create(uint32_t directory, const char *path, bool is_directory);
int disk_unlink(uint32_t directory, const char *path);
int disk_rename(uint32_t directory, const char *from, const char *to);
void disk_chmod(uint32_t number, bool is_writable);
int64_t disk_read(uint32_t number, void *data_out, uint64_t bytes, uint64_t offset);
int64_t disk_write(uint32_t number, const uint8_t *data, uint64_t bytes, uint64_t offset,
                   enum disk_moment moment);
int disk_flush(uint32_t number, bool data_only, enum disk_moment moment);
void disk_resize(uint32_t number, uint64_t bytes);

/* disk_names.c: makes the log durable as far as a flush of this file or directory does it. */
void disk_commit_names(uint32_t number);

/* disk_names.c: keeps some prefix of the log, as a power cut does. */
void disk_cut_names(void);
bool disk_is_named(uint32_t number); /* or may be after a power cut */
uint32_t disk_new_file(void);

/* Counts the call, lets others run, and says what becomes of it. */
enum disk_moment disk_before_call(const char *what, uint64_t argument);

/* Ends the process that was to die inside this call. */
void disk_after_call(enum disk_moment moment);

void disk_note_result(int64_t result);

/* --- the journal's operations ---------------------------------------------------------------- */

void disk_submit(unsigned flight, const struct disk_flight *operation);

/* Lands some of the sectors of a write that is still under way. */
void disk_land_some(unsigned flight);

/* Completes it: the result for segment_journal_complete, also after the process died meanwhile. */
int disk_complete(unsigned flight);

/* The file behind a descriptor, and a descriptor's slot; NULL when it is none of ours. */
struct disk_descriptor *disk_descriptor_of(int descriptor);

void disk_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
