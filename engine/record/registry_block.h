/* The memory of a registry while it is built, and the tables in it.
 *
 * Owner: the loader, one thread. `begin` reserves address space for the largest registry that there
 * may be; only what is used takes memory. `end` gives back the rest and makes the block read-only:
 * a stray write to a published registry is a crash and not a wrong finding.
 */
#ifndef SLUICE_RECORD_REGISTRY_BLOCK_H
#define SLUICE_RECORD_REGISTRY_BLOCK_H

#include "record/registry.h"

/* The files are at most 4 MiB; their densest content, centres and uses, takes twelve times its
 * bytes in the block. */
#define RECORD_REGISTRY_BLOCK_BYTES_MAX ((size_t)16 * RECORD_REGISTRY_TOTAL_BYTES_MAX)

struct registry_block {
    uint8_t *base; /* NULL: none */
    size_t used;
};

int registry_block_begin(struct registry_block *block, struct base_error *error);

/* `count` zeroed elements; the block is large enough for all that the limits let in. */
void *registry_block_alloc(struct registry_block *block, size_t count, size_t bytes);
struct record_text registry_block_text(struct registry_block *block, const void *data,
                                       size_t bytes);

void registry_block_end(struct registry_block *block, struct record_registry *registry);
void registry_block_discard(struct registry_block *block);

/* A table for `count` elements, and the slots to fill in. */
struct record_registry_table registry_table_make(struct registry_block *block, size_t count);

/* Adds element `index` of an array whose elements of `stride` bytes begin with their id. Returns
 * `index`, or the index of an element that has the same id. */
size_t registry_table_add(struct record_registry_table *table, const void *elements, size_t stride,
                          size_t index);

#endif
