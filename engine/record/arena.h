/* Recycled memory in which a request's body and its parsed object live.
 *
 * Owner: the ingress that reserved the memory. The arena goes with its request: the ingress fills
 * in the body, the worker parses into it, and it comes back with the completed request; at any
 * time exactly one thread may touch it, and only the owner resets it. Nothing is freed singly.
 *
 * Between two requests `reset` zeroes every byte that was handed out, so that no request can see
 * another's data (promise P14), and checks the red zone behind the usable bytes. Under
 * AddressSanitizer bytes that are not handed out are poisoned.
 */
#ifndef SLUICE_RECORD_ARENA_H
#define SLUICE_RECORD_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_ARENA_RED_ZONE_BYTES 64 /* one cache line: a stray sequential write hits it */
#define RECORD_ARENA_MAGIC          0x5AE4A001u

struct record_arena {
    uint32_t magic;
    uint32_t capacity_bytes; /* usable, without the red zone */
    uint32_t used_bytes;
    uint8_t *base; /* aligned to 64 */
};

/* Takes over `bytes` bytes at `memory` (aligned to 64, zeroed, bytes > the red zone). */
void record_arena_init(struct record_arena *arena, void *memory, size_t bytes);

/* `bytes` zeroed bytes aligned to `alignment` (a power of two up to 64), or NULL when the arena is
 * too small for them. */
void *record_arena_alloc(struct record_arena *arena, size_t bytes, size_t alignment);

/* Zeroes what was handed out and starts anew. Every pointer into the arena is dead. */
void record_arena_reset(struct record_arena *arena);

#endif
