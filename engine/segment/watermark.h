/* What is durable, published for other processes: DIR/watermark, mapped and shared.
 *
 * Owner: the server (writer) or a reader. Each slot is written by one worker, after the flush and
 * before any receipt of that batch leaves; readers of other processes load it before they look at
 * an open segment. W1 (publish) pairs with W2 (read).
 */
#ifndef SLUICE_SEGMENT_WATERMARK_H
#define SLUICE_SEGMENT_WATERMARK_H

#include "segment/catalog.h"

#include <stdatomic.h>

struct segment_watermark_slot {
    _Atomic uint64_t sequence; /* highest durable sequence of the journal, 0: none */
    uint8_t reserved[SEGMENT_WATERMARK_SLOT_BYTES - 8];
};

struct segment_watermark {
    void *mapping; /* NULL: no file; everything reads as 0 */
    struct segment_watermark_slot *slots;
    uint64_t inode; /* of the mapped file; 0 without one */
};

/* Opens the file for the engine; makes it anew where it is missing or not this node's. */
int segment_watermark_open(struct segment_watermark *watermark,
                           const struct segment_catalog *catalog, struct base_error *error);

/* For readers; a missing file is not an error. */
int segment_watermark_open_reader(struct segment_watermark *watermark,
                                  const struct segment_catalog *catalog, struct base_error *error);

/* For readers: maps the file that is there now, when the engine has made it, or made it anew,
 * since. */
int segment_watermark_refresh_reader(struct segment_watermark *watermark,
                                     const struct segment_catalog *catalog,
                                     struct base_error *error);

void segment_watermark_close(struct segment_watermark *watermark);

void segment_watermark_publish(struct segment_watermark *watermark, uint32_t journal,
                               uint64_t sequence);
uint64_t segment_watermark_read(const struct segment_watermark *watermark, uint32_t journal);

#endif
