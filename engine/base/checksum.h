/* CRC32C against accidents, SHA-256 against everything else. Any thread; the caller owns the
 * contexts; nothing here allocates or fails.
 */
#ifndef SLUICE_BASE_CHECKSUM_H
#define SLUICE_BASE_CHECKSUM_H

#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* CRC-32C (Castagnoli), reflected, initial value and final xor 0xFFFFFFFF, as in RFC 3720
 * appendix B.4: the checksum of "123456789" is 0xE3069283. */
uint32_t base_crc32c(const void *data, size_t bytes);

/* Goes on where `crc` (a result of base_crc32c) left off. */
uint32_t base_crc32c_extend(uint32_t crc, const void *data, size_t bytes);

/* An incremental SHA-256 (FIPS 180-4). */
struct base_sha256 {
    SHA256_CTX context;
};

void base_sha256_init(struct base_sha256 *hash);
void base_sha256_update(struct base_sha256 *hash, const void *data, size_t bytes);
void base_sha256_final(struct base_sha256 *hash, uint8_t digest_out[SHA256_BYTES]);

/* init, update, final in one. */
void base_sha256_of(const void *data, size_t bytes, uint8_t digest_out[SHA256_BYTES]);

#endif
