/* SHA-256 goes through OpenSSL's low-level functions, which 3.0 calls deprecated, and not through
 * EVP: EVP allocates in every init, and the data plane calls no malloc in steady state
 * (tests/system/test_allocations.py). Both end in the same assembly (SHA extensions).
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/checksum.h"

#include "base/check.h"

#include <isa-l/crc.h>
#include <limits.h>

/* ISA-L 2.30 picks AVX-512 code where there is any and returns with the upper halves of the vector
 * registers in use. From then on each SSE instruction of this thread waits for them: encoding a
 * record of 75 bytes took 270 ns instead of 125 (bench/stages). */
#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx"))) static void clear_upper_halves(void)
{
    _mm256_zeroupper();
}
static void leave_vector_code(void)
{
    if (__builtin_cpu_supports("avx"))
        clear_upper_halves();
}
#else
static void leave_vector_code(void)
{
}
#endif

uint32_t base_crc32c_extend(uint32_t crc, const void *data, size_t bytes)
{
    CHECK(bytes <= INT_MAX);
    /* ISA-L takes and gives the register before the final xor, and takes a non-const pointer. */
    uint32_t register_after = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~crc);
    leave_vector_code();
    return ~register_after;
}

uint32_t base_crc32c(const void *data, size_t bytes)
{
    return base_crc32c_extend(0, data, bytes);
}

void base_sha256_init(struct base_sha256 *hash)
{
    SHA256_Init(&hash->context);
}

void base_sha256_update(struct base_sha256 *hash, const void *data, size_t bytes)
{
    SHA256_Update(&hash->context, data, bytes);
}

void base_sha256_final(struct base_sha256 *hash, uint8_t digest_out[SHA256_BYTES])
{
    SHA256_Final(digest_out, &hash->context);
}

void base_sha256_of(const void *data, size_t bytes, uint8_t digest_out[SHA256_BYTES])
{
    struct base_sha256 hash;
    base_sha256_init(&hash);
    base_sha256_update(&hash, data, bytes);
    base_sha256_final(&hash, digest_out);
}
