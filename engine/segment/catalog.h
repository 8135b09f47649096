/* The data directory: its lock, its identity, and which segment files it holds.
 *
 *   DIR/LOCK                              exclusive flock of the running engine
 *   DIR/node                              format version and node id, text
 *   DIR/watermark                         what is durable, for readers (segment/watermark.h)
 *   DIR/journal-0003/0000000012.sealed    footer, read-only
 *   DIR/journal-0003/0000000013.open      in use, or prepared and all zeros
 *   DIR/journal-0003/0000000014.tmp       being prepared; recovery removes it
 *   DIR/torn/...                          torn tails that recovery moved aside
 *   DIR/damaged/...                       whole segment files that repair replaced
 *
 * Owner: the command. The engine opens it exclusively and its control thread goes on using it;
 * readers open it without the lock. Calls block on the disk: never from the data plane.
 */
#ifndef SLUICE_SEGMENT_CATALOG_H
#define SLUICE_SEGMENT_CATALOG_H

#include "base/error.h"
#include "segment/format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_NAME_BYTES 32

struct segment_catalog {
    int directory_fd;
    int lock_fd; /* -1 without the lock */
    bool direct; /* the filesystem takes direct I/O in blocks of SEGMENT_BLOCK_BYTES */
    uint8_t node_id[SEGMENT_NODE_BYTES];
    char path[256];
};

enum segment_state { SEGMENT_STATE_OPEN, SEGMENT_STATE_SEALED, SEGMENT_STATE_TEMPORARY };

struct segment_entry {
    uint64_t segment_number;
    enum segment_state state;
};

/* Ascending; when a seal was cut off between two renames a number can not appear twice. */
struct segment_list {
    struct segment_entry *entries;
    size_t count;
};

/* For the engine: creates what is missing, takes the lock, makes or reads the node id, finds out
 * about direct I/O. -EWOULDBLOCK when another engine holds the lock; -EPROTO when the directory has
 * a newer major version. */
int segment_catalog_open(struct segment_catalog *catalog, const char *path,
                         struct base_error *error);

/* For readers: changes nothing, takes no lock. */
int segment_catalog_open_reader(struct segment_catalog *catalog, const char *path,
                                struct base_error *error);

void segment_catalog_close(struct segment_catalog *catalog);

/* Opens journal directory `journal`; `create` makes it (and flushes DIR). Returns a descriptor, or
 * -ENOENT without a text when it does not exist. */
int segment_catalog_journal(const struct segment_catalog *catalog, uint32_t journal, bool create,
                            struct base_error *error);

/* Journal numbers present, ascending; the caller frees *journals_out. */
int segment_catalog_journals(const struct segment_catalog *catalog, uint32_t **journals_out,
                             size_t *count_out, struct base_error *error);

/* Segments of a journal, ascending by number, sealed before open; the caller frees entries. */
int segment_catalog_list(const struct segment_catalog *catalog, int journal_fd,
                         struct segment_list *list_out, struct base_error *error);

/* "0000000012.open" */
void segment_catalog_name(uint64_t segment_number, enum segment_state state,
                          char name_out[SEGMENT_NAME_BYTES]);

/* The full path, for messages. */
void segment_catalog_path(const struct segment_catalog *catalog, uint32_t journal,
                          uint64_t segment_number, enum segment_state state, char *path_out,
                          size_t path_bytes);

/* fsync on a directory, with an error that names it. */
int segment_catalog_flush_directory(int directory_fd, const char *path, struct base_error *error);

#endif
