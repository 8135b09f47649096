#include "base/random.h"

#include "base/check.h"
#include "base/clock.h"

#include <string.h>
#include <sys/random.h>

void base_random_init(struct base_random *random)
{
    do {
        CHECK(getrandom(random->state, sizeof(random->state), 0) == sizeof(random->state));
    } while ((random->state[0] | random->state[1] | random->state[2] | random->state[3]) == 0);
}

void base_random_seed(struct base_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) { /* splitmix64, as the authors of xoshiro advise */
        seed += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        random->state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

uint64_t base_random_next(struct base_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

void base_random_fill(struct base_random *random, void *bytes_out, size_t bytes)
{
    uint8_t *at = bytes_out;
    while (bytes > 0) {
        uint64_t value = base_random_next(random);
        size_t part = bytes < sizeof(value) ? bytes : sizeof(value);
        memcpy(at, &value, part);
        at += part;
        bytes -= part;
    }
}

void base_random_uuid7(struct base_random *random, uint64_t now_ns,
                       char text_out[BASE_UUID_TEXT_BYTES])
{
    uint8_t uuid[16];
    base_random_fill(random, uuid, sizeof(uuid));
    uint64_t ms = now_ns / NANOSECONDS_PER_MILLISECOND;
    for (int i = 0; i < 6; i++)
        uuid[i] = (uint8_t)(ms >> (40 - 8 * i));
    uuid[6] = (uint8_t)(0x70 | (uuid[6] & 0x0F)); /* version 7 */
    uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3F)); /* variant of RFC 9562 */
    char *at = text_out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = "0123456789abcdef"[uuid[i] >> 4];
        *at++ = "0123456789abcdef"[uuid[i] & 15];
    }
}
