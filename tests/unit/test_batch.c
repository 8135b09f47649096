/* The open batch: what fits, and the bytes that leave it. */
#include "base/checksum.h"
#include "sample_record.h"
#include "segment/batch.h"
#include "segment/scan.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_BYTES 8192

static uint8_t *buffer;
static struct segment_batch batch;
static char body[SAMPLE_BODY_BYTES_MAX];

static void set_up(void)
{
    buffer = aligned_alloc(SEGMENT_BLOCK_BYTES, CAPACITY_BYTES + SEGMENT_BLOCK_BYTES);
    cr_assert_not_null(buffer);
    memset(buffer, 0xA5, CAPACITY_BYTES + SEGMENT_BLOCK_BYTES);
    segment_batch_init(&batch, buffer, CAPACITY_BYTES);
}

static void tear_down(void)
{
    free(buffer);
}

TestSuite(batch, .init = set_up, .fini = tear_down);

static void append(uint64_t number, size_t body_bytes)
{
    struct record_envelope envelope;
    sample_body(number, body_bytes, body);
    sample_envelope(number, body, body_bytes, &envelope);
    envelope.sequence = number;
    cr_assert(segment_batch_fits(&batch, record_encode_bytes(&envelope)));
    segment_batch_append(&batch, &envelope);
}

/* The body size whose record takes exactly `record_bytes`. */
static size_t body_bytes_for(size_t record_bytes)
{
    struct record_envelope envelope;
    sample_body(1, SAMPLE_BODY_BYTES_MIN, body);
    sample_envelope(1, body, 0, &envelope);
    return record_bytes - record_encode_bytes(&envelope);
}

static void finish(struct segment_batch_header *header, uint8_t hash_out[SEGMENT_HASH_BYTES])
{
    *header = (struct segment_batch_header){
        .magic = SEGMENT_BATCH_MAGIC,
        .journal = 7,
        .segment_number = 3,
        .batch_number = 5,
        .first_sequence = 1,
    };
    segment_batch_finish(&batch, header, hash_out);
}

Test(batch, an_empty_batch_is_one_block)
{
    struct segment_batch_header header;
    uint8_t hash[SEGMENT_HASH_BYTES];
    cr_assert_eq(segment_batch_bytes(&batch), SEGMENT_BLOCK_BYTES);
    finish(&header, hash);
    cr_assert_eq(header.record_count, 0);
    cr_assert_eq(header.payload_bytes, 0);
    cr_assert_eq(header.batch_bytes, SEGMENT_BLOCK_BYTES);
    for (size_t i = sizeof(header); i < SEGMENT_BLOCK_BYTES; i++)
        cr_assert_eq(buffer[i], 0, "padding at %zu", i);
}

Test(batch, a_record_that_fills_the_capacity_to_the_last_byte_fits)
{
    size_t room = CAPACITY_BYTES - sizeof(struct segment_batch_header);
    cr_assert(segment_batch_fits(&batch, room));
    append(1, body_bytes_for(room));
    cr_assert_eq(batch.used_bytes, CAPACITY_BYTES);
    cr_assert_eq(segment_batch_bytes(&batch), CAPACITY_BYTES);
    cr_assert_not(segment_batch_fits(&batch, 1));
    cr_assert(segment_batch_fits(&batch, 0));
    struct segment_batch_header header;
    uint8_t hash[SEGMENT_HASH_BYTES];
    finish(&header, hash);
    cr_assert_eq(header.payload_bytes, room);
    cr_assert_eq(buffer[CAPACITY_BYTES], 0xA5, "wrote behind the capacity");
}

Test(batch, a_record_one_byte_larger_than_what_is_left_does_not_fit)
{
    size_t room = CAPACITY_BYTES - sizeof(struct segment_batch_header);
    cr_assert_not(segment_batch_fits(&batch, room + 1));
    append(1, 200);
    cr_assert(segment_batch_fits(&batch, CAPACITY_BYTES - batch.used_bytes));
    cr_assert_not(segment_batch_fits(&batch, CAPACITY_BYTES - batch.used_bytes + 1));
    cr_assert_not(segment_batch_fits(&batch, SIZE_MAX));
}

Test(batch, one_byte_more_than_a_block_takes_two)
{
    append(1, body_bytes_for(SEGMENT_BLOCK_BYTES - sizeof(struct segment_batch_header)));
    cr_assert_eq(segment_batch_bytes(&batch), SEGMENT_BLOCK_BYTES);
    append(2, SAMPLE_BODY_BYTES_MIN);
    cr_assert_eq(segment_batch_bytes(&batch), 2 * SEGMENT_BLOCK_BYTES);
}

Test(batch, the_header_and_its_checksums_cover_every_byte)
{
    struct segment_batch_header header, on_disk;
    uint8_t hash[SEGMENT_HASH_BYTES];
    append(1, 300);
    append(2, 301);
    finish(&header, hash);
    memcpy(&on_disk, buffer, sizeof(on_disk));
    cr_assert_eq(memcmp(&header, &on_disk, sizeof(header)), 0);
    cr_assert_eq(on_disk.header_bytes, 128);
    cr_assert_eq(on_disk.record_count, 2);
    cr_assert_eq(on_disk.payload_bytes, batch.used_bytes - 128);
    cr_assert_eq(on_disk.crc32c, base_crc32c(buffer + 12, 128 - 12));
    cr_assert_eq(on_disk.payload_crc32c, base_crc32c(buffer + 128, on_disk.batch_bytes - 128));
    for (size_t i = batch.used_bytes; i < on_disk.batch_bytes; i++)
        cr_assert_eq(buffer[i], 0, "padding at %zu", i);
}

Test(batch, the_hash_covers_the_header_and_each_envelope)
{
    struct segment_batch_header header;
    uint8_t hash[SEGMENT_HASH_BYTES], expected[SEGMENT_HASH_BYTES];
    append(1, 300);
    append(2, 64);
    finish(&header, hash);
    struct base_sha256 sha;
    base_sha256_init(&sha);
    base_sha256_update(&sha, buffer, 128);
    size_t at = 128;
    for (int i = 0; i < 2; i++) {
        struct segment_record_header record;
        memcpy(&record, buffer + at, sizeof(record));
        base_sha256_update(&sha, buffer + at, record.envelope_bytes);
        at += record.record_bytes;
    }
    base_sha256_final(&sha, expected);
    cr_assert_eq(memcmp(hash, expected, sizeof(hash)), 0);
}

Test(batch, any_field_of_the_header_changes_the_hash)
{
    struct segment_batch_header header;
    uint8_t hash[SEGMENT_HASH_BYTES], other[SEGMENT_HASH_BYTES];
    append(1, 100);
    finish(&header, hash);
    for (size_t i = 0; i < sizeof(header); i++) {
        struct segment_batch_header changed = header;
        if (i >= offsetof(struct segment_batch_header, record_count) &&
            i < offsetof(struct segment_batch_header, segment_number))
            continue; /* says how far the hash goes */
        ((uint8_t *)&changed)[i] ^= 1;
        changed.payload_bytes = header.payload_bytes;
        if (memcmp(&changed, &header, sizeof(header)) == 0)
            continue;
        segment_scan_batch_hash(&changed, buffer + sizeof(header), other);
        cr_assert_neq(memcmp(hash, other, sizeof(hash)), 0, "byte %zu", i);
    }
}

Test(batch, times_are_those_of_its_oldest_and_newest_record)
{
    append(5, 100);
    append(3, 100);
    append(9, 100);
    cr_assert_eq(batch.oldest_received_at_ns, SAMPLE_RECEIVED_AT_NS + 3 * 1000000);
    cr_assert_eq(batch.newest_received_at_ns, SAMPLE_RECEIVED_AT_NS + 9 * 1000000);
}

Test(batch, nothing_of_the_last_use_remains_after_a_reset)
{
    struct segment_batch_header header;
    uint8_t hash[SEGMENT_HASH_BYTES];
    append(1, 5000);
    finish(&header, hash);
    segment_batch_reset(&batch);
    cr_assert_eq(batch.record_count, 0);
    cr_assert_eq(batch.oldest_received_at_ns, 0);
    cr_assert_eq(batch.newest_received_at_ns, 0);
    append(2, 64);
    finish(&header, hash);
    cr_assert_eq(header.record_count, 1);
    cr_assert_eq(header.batch_bytes, SEGMENT_BLOCK_BYTES);
    for (size_t i = batch.used_bytes; i < SEGMENT_BLOCK_BYTES; i++)
        cr_assert_eq(buffer[i], 0, "old bytes at %zu", i);
}
