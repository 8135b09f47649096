/* What an arena hands out: aligned, zeroed, within bounds, and never a byte of an earlier request
 * (promise P14). Under AddressSanitizer also: what is not handed out cannot be touched. */
#include "record/arena.h"

#include "base/random.h"
#include "base/sanitizer.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#define ARENA_BYTES  4096
#define USABLE_BYTES (ARENA_BYTES - RECORD_ARENA_RED_ZONE_BYTES)
#define PATTERN      0xA5

static _Alignas(64) uint8_t memory[ARENA_BYTES];
static struct record_arena arena;

static void set_up(void)
{
    memset(memory, 0, sizeof(memory));
    record_arena_init(&arena, memory, sizeof(memory));
}

static void tear_down(void)
{
    MEMORY_UNPOISON(memory, sizeof(memory));
}

TestSuite(arena, .init = set_up, .fini = tear_down);

Test(arena, has_all_but_the_red_zone)
{
    cr_assert_eq(arena.capacity_bytes, USABLE_BYTES);
    cr_assert_not_null(record_arena_alloc(&arena, USABLE_BYTES, 1));
    cr_assert_null(record_arena_alloc(&arena, 1, 1));
    record_arena_reset(&arena);
    cr_assert_null(record_arena_alloc(&arena, USABLE_BYTES + 1, 1));
    cr_assert_eq(arena.used_bytes, 0, "a refused allocation takes nothing");
}

Test(arena, is_exhausted_at_its_limit_and_not_before)
{
    for (size_t left = 0; left < 200; left++) {
        cr_assert_not_null(record_arena_alloc(&arena, USABLE_BYTES - left, 1));
        cr_assert_null(record_arena_alloc(&arena, left + 1, 1), "%zu left", left);
        cr_assert_not_null(record_arena_alloc(&arena, left, 1), "%zu left", left);
        cr_assert_eq(arena.used_bytes, USABLE_BYTES);
        record_arena_reset(&arena);
    }
}

Test(arena, is_exhausted_by_alignment_too)
{
    cr_assert_not_null(record_arena_alloc(&arena, USABLE_BYTES - 63, 1));
    cr_assert_null(record_arena_alloc(&arena, 1, 64));
    cr_assert_not_null(record_arena_alloc(&arena, 1, 1));
    record_arena_reset(&arena);
    cr_assert_not_null(record_arena_alloc(&arena, USABLE_BYTES - 64, 1));
    cr_assert_not_null(record_arena_alloc(&arena, 64, 64));
    cr_assert_null(record_arena_alloc(&arena, 1, 1));
}

/* Sizes near 2^32 and 2^64 must not wrap around. */
Test(arena, refuses_sizes_that_no_arena_has)
{
    static const size_t sizes[] = {
        UINT32_MAX, (size_t)UINT32_MAX + 1, SIZE_MAX / 2, SIZE_MAX - 63, SIZE_MAX,
    };
    cr_assert_not_null(record_arena_alloc(&arena, 100, 1));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t alignment = 1; alignment <= 64; alignment *= 2)
            cr_assert_null(record_arena_alloc(&arena, sizes[i], alignment));
    cr_assert_eq(arena.used_bytes, 100);
}

Test(arena, aligns)
{
    for (size_t alignment = 1; alignment <= 64; alignment *= 2)
        for (size_t before = 0; before <= 65; before++) {
            uint8_t *first = record_arena_alloc(&arena, before, 1);
            uint8_t *second = record_arena_alloc(&arena, 8, alignment);
            cr_assert_eq((uintptr_t)second % alignment, 0u);
            cr_assert_geq(second, first + before);
            cr_assert_lt(second, first + before + alignment, "no more than needed");
            record_arena_reset(&arena);
        }
}

static void assert_all(const uint8_t *at, size_t bytes, uint8_t expected)
{
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(at[i], expected, "byte %zu of %zu is 0x%02x", i, bytes, at[i]);
}

/* Fills the arena with allocations of random size and alignment until one is refused. */
static void use_up(struct base_random *random)
{
    for (;;) {
        size_t bytes = base_random_next(random) % (base_random_next(random) % 1024 + 1);
        size_t alignment = (size_t)1 << base_random_next(random) % 7;
        uint8_t *at = record_arena_alloc(&arena, bytes, alignment);
        if (at == NULL)
            return;
        assert_all(at, bytes, 0);
        memset(at, PATTERN, bytes);
    }
}

Test(arena, never_shows_a_byte_of_an_earlier_use)
{
    struct base_random random;
    base_random_init(&random);
    for (int use = 0; use < 5000; use++) {
        use_up(&random);
        record_arena_reset(&arena);
    }
    uint8_t *all = record_arena_alloc(&arena, USABLE_BYTES, 64);
    assert_all(all, USABLE_BYTES, 0);
}

/* Uses of different sizes: what a long one left must not show behind a short one. */
Test(arena, a_short_use_does_not_hide_what_a_long_one_left)
{
    for (size_t bytes = USABLE_BYTES; bytes > 16; bytes = bytes * 7 / 8) {
        memset(record_arena_alloc(&arena, bytes, 1), PATTERN, bytes);
        record_arena_reset(&arena);
        memset(record_arena_alloc(&arena, 16, 1), PATTERN, 16);
        record_arena_reset(&arena);
        assert_all(record_arena_alloc(&arena, USABLE_BYTES, 1), USABLE_BYTES, 0);
        record_arena_reset(&arena);
    }
}

Test(arena, starts_anew_after_reset)
{
    void *first = record_arena_alloc(&arena, 10, 64);
    record_arena_alloc(&arena, 1000, 8);
    record_arena_reset(&arena);
    cr_assert_eq(arena.used_bytes, 0);
    cr_assert_eq(record_arena_alloc(&arena, 10, 64), first);
    record_arena_reset(&arena);
    record_arena_reset(&arena);
}

/* A stray write where AddressSanitizer does not look. */
static void damage(size_t offset)
{
    MEMORY_UNPOISON(memory + offset, 1);
    memory[offset] ^= 1;
}

Test(arena, damage_to_the_first_byte_behind_aborts, .signal = SIGABRT)
{
    record_arena_alloc(&arena, USABLE_BYTES, 1);
    damage(USABLE_BYTES);
    record_arena_reset(&arena);
}

Test(arena, damage_to_the_last_byte_of_the_red_zone_aborts, .signal = SIGABRT)
{
    damage(ARENA_BYTES - 1);
    record_arena_reset(&arena);
}

Test(arena, damage_in_the_middle_of_the_red_zone_aborts, .signal = SIGABRT)
{
    damage(USABLE_BYTES + 37);
    record_arena_reset(&arena);
}

Test(arena, an_object_that_is_no_arena_aborts, .signal = SIGABRT)
{
    arena.magic++;
    record_arena_alloc(&arena, 1, 1);
}

Test(arena, an_alignment_that_is_no_power_of_two_aborts, .signal = SIGABRT)
{
    record_arena_alloc(&arena, 1, 3);
}

Test(arena, an_alignment_beyond_64_aborts, .signal = SIGABRT)
{
    record_arena_alloc(&arena, 1, 128);
}

#if defined(__SANITIZE_ADDRESS__)
static bool is_poisoned(const uint8_t *at)
{
    return __asan_address_is_poisoned(at);
}

Test(arena, what_was_not_handed_out_is_poisoned)
{
    cr_assert(is_poisoned(memory) && is_poisoned(memory + ARENA_BYTES - 1));
    uint8_t *first = record_arena_alloc(&arena, 13, 1);
    cr_assert(!is_poisoned(first) && !is_poisoned(first + 12) && is_poisoned(first + 13));
    uint8_t *second = record_arena_alloc(&arena, 8, 64);
    cr_assert(is_poisoned(first + 13) && is_poisoned(second - 1), "the gap is nobody's");
    cr_assert(!is_poisoned(second) && !is_poisoned(second + 7) && is_poisoned(second + 8));
}

Test(arena, the_red_zone_is_poisoned)
{
    uint8_t *all = record_arena_alloc(&arena, USABLE_BYTES, 1);
    cr_assert_not(is_poisoned(all + USABLE_BYTES - 1));
    for (size_t i = USABLE_BYTES; i < ARENA_BYTES; i++)
        cr_assert(is_poisoned(memory + i));
}

Test(arena, everything_is_poisoned_after_reset)
{
    record_arena_alloc(&arena, USABLE_BYTES, 1);
    record_arena_reset(&arena);
    for (size_t i = 0; i < ARENA_BYTES; i++)
        cr_assert(is_poisoned(memory + i), "byte %zu", i);
}
#endif
