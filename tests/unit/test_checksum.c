/* CRC-32C and SHA-256 against published vectors, against a bit-by-bit reference, and in pieces
 * against whole. */
#include "base/checksum.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define DATA_BYTES_MAX 512

static uint8_t data[DATA_BYTES_MAX];

static void fill_data(void)
{
    struct base_random random;
    base_random_seed(&random, 1);
    base_random_fill(&random, data, sizeof(data));
}

TestSuite(checksum, .init = fill_data);

/* RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
Test(checksum, crc32c_matches_published_vectors)
{
    static const char read_command[48] = "\x01\xC0\0\0"
                                         "\0\0\0\0"
                                         "\0\0\0\0"
                                         "\0\0\0\0"
                                         "\x14\0\0\0"
                                         "\0\0\x04\0"
                                         "\0\0\0\x14"
                                         "\0\0\0\x18"
                                         "\x28\0\0\0"
                                         "\0\0\0\0"
                                         "\x02\0\0\0"
                                         "\0\0\0";
    uint8_t block[32];
    memset(block, 0, sizeof(block));
    cr_assert_eq(base_crc32c(block, 32), 0x8A9136AA);
    memset(block, 0xFF, sizeof(block));
    cr_assert_eq(base_crc32c(block, 32), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        block[i] = i;
    cr_assert_eq(base_crc32c(block, 32), 0x46DD794E);
    for (uint8_t i = 0; i < 32; i++)
        block[i] = (uint8_t)(31 - i);
    cr_assert_eq(base_crc32c(block, 32), 0x113FDB5C);
    cr_assert_eq(base_crc32c(read_command, sizeof(read_command)), 0xD9963A56);
    cr_assert_eq(base_crc32c("123456789", 9), 0xE3069283);
    cr_assert_eq(base_crc32c("", 0), 0);
}

static uint32_t crc32c_bit_by_bit(const uint8_t *at, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

Test(checksum, crc32c_matches_the_definition_at_every_length_and_alignment)
{
    for (size_t start = 0; start < 9; start++)
        for (size_t bytes = 0; bytes <= DATA_BYTES_MAX - start; bytes++)
            cr_assert_eq(base_crc32c(data + start, bytes), crc32c_bit_by_bit(data + start, bytes),
                         "start %zu, bytes %zu", start, bytes);
}

Test(checksum, crc32c_of_pieces_is_crc32c_of_the_whole)
{
    uint32_t whole = base_crc32c(data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        uint32_t crc = base_crc32c(data, cut);
        cr_assert_eq(base_crc32c_extend(crc, data + cut, sizeof(data) - cut), whole, "cut %zu",
                     cut);
    }
    uint32_t crc = 0;
    for (size_t i = 0; i < sizeof(data); i++)
        crc = base_crc32c_extend(crc, data + i, 1);
    cr_assert_eq(crc, whole);
}

Test(checksum, crc32c_notices_every_flipped_bit)
{
    uint32_t whole = base_crc32c(data, sizeof(data));
    for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(base_crc32c(data, sizeof(data)), whole, "bit %zu", bit);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void assert_digest(const uint8_t digest[SHA256_BYTES], const char *expected)
{
    char text[2 * SHA256_BYTES + 1];
    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    cr_assert_str_eq(text, expected);
}

/* FIPS 180-2, appendix B, and the empty message. */
Test(checksum, sha256_matches_published_vectors)
{
    static const struct {
        const char *message, *digest;
    } vectors[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t digest[SHA256_BYTES];
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        base_sha256_of(vectors[i].message, strlen(vectors[i].message), digest);
        assert_digest(digest, vectors[i].digest);
    }
}

Test(checksum, sha256_of_a_million_letters)
{
    static uint8_t letters[1000];
    uint8_t digest[SHA256_BYTES];
    struct base_sha256 hash;
    memset(letters, 'a', sizeof(letters));
    base_sha256_init(&hash);
    for (int i = 0; i < 1000; i++)
        base_sha256_update(&hash, letters, sizeof(letters));
    base_sha256_final(&hash, digest);
    assert_digest(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Test(checksum, sha256_of_pieces_is_sha256_of_the_whole)
{
    uint8_t whole[SHA256_BYTES], digest[SHA256_BYTES];
    base_sha256_of(data, sizeof(data), whole);
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        struct base_sha256 hash;
        base_sha256_init(&hash);
        base_sha256_update(&hash, data, cut);
        base_sha256_update(&hash, data + cut, sizeof(data) - cut);
        base_sha256_final(&hash, digest);
        cr_assert_arr_eq(digest, whole, SHA256_BYTES, "cut %zu", cut);
    }
}
