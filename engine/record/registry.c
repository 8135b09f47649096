/* Choice: one mapping per registry, found by hash tables with linear probing. Rejected: sorted
 * arrays, whose search takes seven comparisons of whole ids for an instrument of 100 items where a
 * table takes one; and a perfect hash, which saves nothing when the hint already hits. */
#include "record/registry.h"

#include "base/check.h"
#include "record/registry_block.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static_assert(offsetof(struct record_registry_study, id) == 0 &&
                  offsetof(struct record_registry_center, id) == 0 &&
                  offsetof(struct record_registry_use, id) == 0 &&
                  offsetof(struct record_registry_item, id) == 0,
              "tables find the id first in each element");

/* ---- The block ---- */

int registry_block_begin(struct registry_block *block, struct base_error *error)
{
    void *memory = mmap(NULL, RECORD_REGISTRY_BLOCK_BYTES_MAX, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *block = (struct registry_block){NULL, 0};
    if (memory == MAP_FAILED)
        return base_error_os(error, -errno, "cannot reserve memory for the registry");
    block->base = memory;
    return 0;
}

void *registry_block_alloc(struct registry_block *block, size_t count, size_t bytes)
{
    size_t alignment = _Alignof(max_align_t);
    size_t start = (block->used + alignment - 1) & ~(alignment - 1);
    CHECK(count * bytes <= RECORD_REGISTRY_BLOCK_BYTES_MAX - start);
    block->used = start + count * bytes;
    return block->base + start;
}

struct record_text registry_block_text(struct registry_block *block, const void *data, size_t bytes)
{
    char *copy = (char *)block->base + block->used;
    CHECK(bytes <= RECORD_REGISTRY_BLOCK_BYTES_MAX - block->used);
    memcpy(copy, data, bytes);
    block->used += bytes;
    return (struct record_text){copy, (uint32_t)bytes};
}

void registry_block_end(struct registry_block *block, struct record_registry *registry)
{
    size_t page = 4096, bytes = (block->used + page - 1) & ~(page - 1);
    CHECK((uint8_t *)registry == block->base);
    registry->magic = RECORD_REGISTRY_MAGIC;
    registry->block_bytes = bytes;
    CHECK(munmap(block->base + bytes, RECORD_REGISTRY_BLOCK_BYTES_MAX - bytes) == 0);
    CHECK(mprotect(block->base, bytes, PROT_READ) == 0);
    block->base = NULL;
}

void registry_block_discard(struct registry_block *block)
{
    if (block->base != NULL)
        CHECK(munmap(block->base, RECORD_REGISTRY_BLOCK_BYTES_MAX) == 0);
    block->base = NULL;
}

void record_registry_destroy(const struct record_registry *registry)
{
    if (registry == NULL)
        return;
    CHECK_OBJECT(registry, RECORD_REGISTRY_MAGIC);
    CHECK(munmap((void *)(uintptr_t)registry, registry->block_bytes) == 0);
}

/* ---- Tables ---- */

/* Both halves of the product, so that each bit of the word reaches the bits that choose the slot:
 * ids differ in their last characters, which are a word's high bits. */
static uint64_t fold(uint64_t hash, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* It only has to spread the ids that a trial's staff chose. */
static uint32_t hash_of(struct record_text id)
{
    uint64_t hash = id.bytes, word;
    uint32_t at = 0;
    for (; id.bytes - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, id.data + at, sizeof(word));
        hash = fold(hash, word);
    }
    if (at < id.bytes) {
        word = 0;
        memcpy(&word, id.data + at, id.bytes - at);
        hash = fold(hash, word);
    }
    return (uint32_t)hash;
}

static bool same(struct record_text a, struct record_text b)
{
    return a.bytes == b.bytes && memcmp(a.data, b.data, a.bytes) == 0;
}

static struct record_text id_at(const void *elements, size_t stride, size_t index)
{
    struct record_text id;
    memcpy(&id, (const char *)elements + stride * index, sizeof(id));
    return id;
}

struct record_registry_table registry_table_make(struct registry_block *block, size_t count)
{
    uint32_t slots = 2;
    while (slots < 2 * count)
        slots *= 2;
    return (struct record_registry_table){slots - 1,
                                          registry_block_alloc(block, slots, sizeof(uint32_t))};
}

size_t registry_table_add(struct record_registry_table *table, const void *elements, size_t stride,
                          size_t index)
{
    struct record_text id = id_at(elements, stride, index);
    uint32_t slot = hash_of(id) & table->mask;
    for (; table->slots[slot] != 0; slot = (slot + 1) & table->mask)
        if (same(id_at(elements, stride, table->slots[slot] - 1), id))
            return table->slots[slot] - 1;
    ((uint32_t *)(uintptr_t)table->slots)[slot] = (uint32_t)index + 1;
    return index;
}

static const void *find(const struct record_registry_table *table, const void *elements,
                        size_t stride, struct record_text id)
{
    if (id.data == NULL)
        return NULL;
    uint32_t slot = hash_of(id) & table->mask;
    for (; table->slots[slot] != 0; slot = (slot + 1) & table->mask)
        if (same(id_at(elements, stride, table->slots[slot] - 1), id))
            return (const char *)elements + stride * (table->slots[slot] - 1);
    return NULL;
}

/* ---- Lookups ---- */

const struct record_registry_study *record_registry_study(const struct record_registry *registry,
                                                          struct record_text id)
{
    return find(&registry->study_table, registry->studies, sizeof(*registry->studies), id);
}

const struct record_registry_center *
record_registry_center(const struct record_registry_study *study, struct record_text id)
{
    return find(&study->center_table, study->centers, sizeof(*study->centers), id);
}

const struct record_registry_use *record_registry_use(const struct record_registry_study *study,
                                                      struct record_text id)
{
    return find(&study->use_table, study->uses, sizeof(*study->uses), id);
}

const struct record_registry_version *record_registry_version(const struct record_registry_use *use,
                                                              struct record_text id)
{
    for (uint32_t i = 0; i < use->version_count && id.data != NULL; i++)
        if (same(use->versions[i]->id, id))
            return use->versions[i];
    return NULL;
}

const struct record_registry_item *
record_registry_item(const struct record_registry_version *version, struct record_text id,
                     uint32_t hint)
{
    if (hint < version->item_count && same(version->items[hint].id, id))
        return &version->items[hint];
    return find(&version->item_table, version->items, sizeof(*version->items), id);
}
