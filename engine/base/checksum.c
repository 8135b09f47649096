/* SHA-256 goes through OpenSSL's low-level functions, which 3.0 calls deprecated, and not through
 * EVP: EVP allocates in every init, and the data plane calls no malloc in steady state
 * (tests/system/test_allocations.py). Both end in the same assembly (SHA extensions).
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/checksum.h"

#include "base/check.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t base_crc32c_extend(uint32_t crc, const void *data, size_t bytes)
{
    CHECK(bytes <= INT_MAX);
    /* ISA-L takes and gives the register before the final xor, and takes a non-const pointer. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~crc);
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
