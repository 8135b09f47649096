/* Identifiers that must not collide: trace ids and UUIDv7. Not for secrets.
 *
 * Owner: the thread that embeds it; one thread only. xoshiro256** by Blackman and Vigna
 * (prng.di.unimi.it), seeded with 256 bits from getrandom(2).
 */
#ifndef SLUICE_BASE_RANDOM_H
#define SLUICE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct base_random {
    uint64_t state[4];
};

void base_random_init(struct base_random *random); /* from the kernel; cannot fail on Linux */
void base_random_seed(struct base_random *random, uint64_t seed); /* repeatable, for tests */
uint64_t base_random_next(struct base_random *random);
void base_random_fill(struct base_random *random, void *bytes_out, size_t bytes);

#define BASE_UUID_TEXT_BYTES 36 /* no NUL */

/* A UUID version 7 (RFC 9562, 5.7): 48 bits of `now_ns` in milliseconds, 74 random bits, written
 * in lower case with dashes. */
void base_random_uuid7(struct base_random *random, uint64_t now_ns,
                       char text_out[BASE_UUID_TEXT_BYTES]);

#endif
