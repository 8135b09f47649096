#include "record/arena.h"

#include "base/check.h"
#include "base/sanitizer.h"

#include <string.h>

#define RED_ZONE_BYTE 0xD7

void record_arena_init(struct record_arena *arena, void *memory, size_t bytes)
{
    CHECK(bytes > RECORD_ARENA_RED_ZONE_BYTES && bytes <= UINT32_MAX);
    CHECK(((uintptr_t)memory & 63) == 0);
    *arena = (struct record_arena){
        .magic = RECORD_ARENA_MAGIC,
        .capacity_bytes = (uint32_t)(bytes - RECORD_ARENA_RED_ZONE_BYTES),
        .base = memory,
    };
    memset(arena->base + arena->capacity_bytes, RED_ZONE_BYTE, RECORD_ARENA_RED_ZONE_BYTES);
    MEMORY_POISON(arena->base, bytes);
}

void *record_arena_alloc(struct record_arena *arena, size_t bytes, size_t alignment)
{
    CHECK_OBJECT(arena, RECORD_ARENA_MAGIC);
    CHECK(alignment > 0 && alignment <= 64 && (alignment & (alignment - 1)) == 0);
    size_t start = (arena->used_bytes + alignment - 1) & ~(alignment - 1);
    if (start > arena->capacity_bytes || bytes > arena->capacity_bytes - start)
        return NULL;
    arena->used_bytes = (uint32_t)(start + bytes);
    MEMORY_UNPOISON(arena->base + start, bytes);
    return arena->base + start;
}

static void check_red_zone(const struct record_arena *arena)
{
    static const uint64_t expected = UINT64_C(0x0101010101010101) * RED_ZONE_BYTE;
    for (size_t i = 0; i < RECORD_ARENA_RED_ZONE_BYTES; i += sizeof(expected))
        CHECK(memcmp(arena->base + arena->capacity_bytes + i, &expected, sizeof(expected)) == 0);
}

void record_arena_reset(struct record_arena *arena)
{
    CHECK_OBJECT(arena, RECORD_ARENA_MAGIC);
    MEMORY_UNPOISON(arena->base, arena->capacity_bytes + RECORD_ARENA_RED_ZONE_BYTES);
    check_red_zone(arena);
    memset(arena->base, 0, arena->used_bytes);
    arena->used_bytes = 0;
    MEMORY_POISON(arena->base, arena->capacity_bytes + RECORD_ARENA_RED_ZONE_BYTES);
}
