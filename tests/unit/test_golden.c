/* The committed golden files, decoded here byte by byte from the offsets of the specification, with
 * checksums of its own: a change of the format cannot go unnoticed. The engine must still read them
 * and still write exactly these bytes. */
#include "base/checksum.h"
#include "golden_directory.h"
#include "segment/recovery.h"
#include "segment/verify.h"
#include "sluice/reader.h"
#include "test_files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef GOLDEN_DIRECTORY
#error "GOLDEN_DIRECTORY must be the path of tests/golden"
#endif

#define DATA   GOLDEN_DIRECTORY "/data"
#define SEALED DATA "/journal-0000/0000000001.sealed"
#define OPEN   DATA "/journal-0000/0000000002.open"

#define START_NS UINT64_C(1704153600000000000)
#define SECOND   UINT64_C(1000000000)

static const char *const files[] = {"node", "watermark", "journal-0000/0000000001.sealed",
                                    "journal-0000/0000000002.open"};
static const char *const digests[] = {
    "fc345a009fdce8026bd0030bcc0affa30d77fe0c7be1236107cd3c84915d45c3",
    "ce02388fd580d71261b3b4c0b791472d64603fa6d5298eb144681b4d69df1027",
    "7297cbffcbc920081caf666da00682c734f18d88698a1da55f86fb2944fa0bc7",
    "fd367487c69bfe02e7a5ce1bbb63ea4be6af088fb6ee7fa69dec2f792ce8bedc",
};

static char directory[TEST_PATH_BYTES];
static struct test_bytes file;

static void set_up(void)
{
    test_directory_make(directory);
}

static void tear_down(void)
{
    test_bytes_free(&file);
    test_directory_remove(directory);
}

TestSuite(golden, .init = set_up, .fini = tear_down);

/* --- decoding by hand ----------------------------------------------------------------------- */

static uint64_t little(size_t offset, unsigned bytes)
{
    uint64_t value = 0;
    cr_assert(offset + bytes <= file.bytes);
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | file.data[offset + i];
    return value;
}

static void expect_bytes(size_t offset, const char *expected, size_t bytes)
{
    cr_assert(offset + bytes <= file.bytes);
    cr_assert_eq(memcmp(file.data + offset, expected, bytes), 0, "at %zu", offset);
}

static void expect_zeros(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        cr_assert_eq(file.data[i], 0, "at %zu", i);
}

/* CRC-32C bit by bit, so that it does not share code with what it checks. */
static uint32_t crc32c(size_t from, size_t to)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = from; i < to; i++) {
        crc ^= file.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1)));
    }
    return ~crc;
}

static const char node_id[] = "\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";

struct expected_batch {
    size_t offset;
    uint32_t record_count;
    uint64_t first_sequence;
    uint64_t watermark;
    uint64_t written_at_s; /* behind START_NS */
    uint32_t payload_bytes;
};

static const struct expected_batch sealed_batches[] = {
    {4096, 1, 1, 0, 2, 208},  {8192, 2, 2, 1, 3, 720},  {12288, 0, 4, 3, 4, 0},
    {16384, 1, 4, 3, 5, 248}, {20480, 2, 5, 4, 6, 472},
};
static const struct expected_batch open_batches[] = {{4096, 1, 7, 6, 8, 200},
                                                     {8192, 1, 8, 7, 9, 200}};

static void expect_segment_header(uint64_t number, uint64_t first_sequence, uint64_t created_at_s)
{
    expect_bytes(0, "SLUICSEG", 8);
    cr_assert_eq(little(8, 2), 1);
    cr_assert_eq(little(10, 2), 0);
    cr_assert_eq(little(12, 4), 4096);
    expect_bytes(16, node_id, 16);
    cr_assert_eq(little(32, 4), 0);
    cr_assert_eq(little(36, 4), 0);
    cr_assert_eq(little(40, 8), number);
    cr_assert_eq(little(48, 8), first_sequence);
    cr_assert_eq(little(56, 8), START_NS + created_at_s * SECOND);
    cr_assert_eq(little(64, 8), 28672);
    expect_zeros(104, 4092);
    cr_assert_eq(little(4092, 4), crc32c(0, 4092));
}

/* The header of a batch, its records' checksums and its hash, which replaces `hash`. */
static void expect_batch(const struct expected_batch *batch, uint64_t number, uint64_t position,
                         uint8_t hash[32])
{
    size_t at = batch->offset;
    expect_bytes(at, "SLUICBAT", 8);
    cr_assert_eq(little(at + 8, 4), crc32c(at + 12, at + 128));
    cr_assert_eq(little(at + 12, 4), 128);
    expect_bytes(at + 16, node_id, 16);
    cr_assert_eq(little(at + 32, 4), 0);
    cr_assert_eq(little(at + 36, 4), batch->record_count);
    cr_assert_eq(little(at + 40, 8), number);
    cr_assert_eq(little(at + 48, 8), position);
    cr_assert_eq(little(at + 56, 8), batch->first_sequence);
    cr_assert_eq(little(at + 64, 8), batch->watermark);
    cr_assert_eq(little(at + 72, 8), START_NS + batch->written_at_s * SECOND);
    cr_assert_eq(little(at + 80, 4), batch->payload_bytes);
    cr_assert_eq(little(at + 84, 4), 4096);
    cr_assert_eq(little(at + 88, 4), crc32c(at + 128, at + 4096));
    cr_assert_eq(little(at + 92, 4), 0);
    expect_bytes(at + 96, (const char *)hash, 32);
    expect_zeros(at + 128 + batch->payload_bytes, at + 4096);
    struct base_sha256 sha;
    base_sha256_init(&sha);
    base_sha256_update(&sha, file.data + at, 128);
    size_t record = at + 128;
    for (uint32_t i = 0; i < batch->record_count; i++) {
        size_t bytes = little(record + 8, 4);
        expect_bytes(record, "SREC", 4);
        cr_assert_eq(little(record + 4, 4), crc32c(record + 8, record + bytes));
        cr_assert_eq(little(record + 24, 8), batch->first_sequence + i);
        base_sha256_update(&sha, file.data + record, little(record + 12, 4));
        record += bytes;
    }
    cr_assert_eq(record, at + 128 + batch->payload_bytes);
    base_sha256_final(&sha, hash);
}

Test(golden, the_files_are_what_they_were)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[TEST_PATH_BYTES], hex[2 * SHA256_BYTES + 1];
        uint8_t digest[SHA256_BYTES];
        test_path(path, "%s/%s", DATA, files[i]);
        file = test_file_load(path);
        base_sha256_of(file.data, file.bytes, digest);
        for (size_t j = 0; j < sizeof(digest); j++)
            snprintf(hex + 2 * j, 3, "%02x", digest[j]);
        cr_assert_str_eq(hex, digests[i], "%s", files[i]);
        test_bytes_free(&file);
    }
}

Test(golden, headers_batches_and_the_hash_chain_decode_by_hand)
{
    static uint8_t hash[32];
    file = test_file_load(SEALED);
    cr_assert_eq(file.bytes, 28672);
    expect_segment_header(1, 1, 1);
    expect_zeros(72, 104);
    for (size_t i = 0; i < 5; i++)
        expect_batch(&sealed_batches[i], 1, i, hash);
    expect_bytes(24576 + 104, (const char *)hash, 32); /* the footer's last hash */
    test_bytes_free(&file);
    file = test_file_load(OPEN);
    cr_assert_eq(file.bytes, 28672);
    expect_segment_header(2, 7, 7);
    expect_bytes(72, (const char *)hash, 32);
    for (size_t i = 0; i < 2; i++)
        expect_batch(&open_batches[i], 2, i, hash);
    expect_zeros(12288, 28672);
}

Test(golden, the_footer_decodes_by_hand)
{
    size_t at = 24576;
    file = test_file_load(SEALED);
    expect_bytes(at, "SLUICFTR", 8);
    cr_assert_eq(little(at + 8, 4), crc32c(at + 12, at + 4096));
    cr_assert_eq(little(at + 12, 4), 4096);
    expect_bytes(at + 16, node_id, 16);
    cr_assert_eq(little(at + 32, 4), 0);
    cr_assert_eq(little(at + 36, 4), 5);
    cr_assert_eq(little(at + 40, 8), 1);
    cr_assert_eq(little(at + 48, 8), 6);
    cr_assert_eq(little(at + 56, 8), 1);
    cr_assert_eq(little(at + 64, 8), 7);
    cr_assert_eq(little(at + 72, 8), START_NS + SECOND + 1);
    cr_assert_eq(little(at + 80, 8), START_NS + 6 * (SECOND + 1));
    cr_assert_eq(little(at + 88, 8), 24576);
    cr_assert_eq(little(at + 96, 8), START_NS + 10 * SECOND);
    cr_assert_eq(little(at + 136, 8), 0);
    for (size_t i = 0; i < 5; i++) {
        size_t entry = at + 144 + 24 * i;
        cr_assert_eq(little(entry, 8), sealed_batches[i].offset);
        cr_assert_eq(little(entry + 8, 8), sealed_batches[i].first_sequence);
        cr_assert_eq(little(entry + 16, 4), sealed_batches[i].record_count);
        cr_assert_eq(little(entry + 20, 4), 4096);
    }
    expect_zeros(at + 144 + 24 * 5, 28640);
    expect_bytes(28640, "SLUICEND", 8);
    cr_assert_eq(little(28648, 8), 24576);
    cr_assert_eq(little(28656, 4), 4096);
    cr_assert_eq(little(28660, 4), crc32c(28640, 28660));
    cr_assert_eq(little(28664, 8), 0);
}

/* A field: its tag, its length, its bytes; returns the offset behind it. */
static size_t expect_field(size_t at, unsigned tag, const char *value, size_t bytes)
{
    cr_assert_eq(little(at, 2), tag);
    cr_assert_eq(little(at + 2, 2), bytes);
    expect_bytes(at + 4, value, bytes);
    return at + 4 + bytes;
}

Test(golden, the_record_with_every_field_decodes_by_hand)
{
    static const char *const values[] = {"S-2", "ST-9", "C-3",           "P-2", "EQ-5D-5L",
                                         "2.1", "V3",   "Europe/Berlin", "S-1", "wrong day"};
    static const char body_start[] = "{\"submissionId\":\"S-2\",\"studyId\":\"ST-9\"";
    size_t at = 8192 + 128;
    file = test_file_load(SEALED);
    cr_assert_eq(little(at + 8, 4), 472);
    cr_assert_eq(little(at + 12, 4), 195);
    cr_assert_eq(little(at + 16, 4), 272);
    cr_assert_eq(little(at + 20, 1), 1); /* submission */
    cr_assert_eq(little(at + 21, 1), 1); /* the device gave its offset */
    cr_assert_eq(little(at + 22, 2), 120);
    cr_assert_eq(little(at + 24, 8), 2);
    cr_assert_eq(little(at + 32, 8), START_NS + 2 * (SECOND + 1));
    cr_assert_eq(little(at + 40, 8), UINT64_C(1704097800250000000));
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(file.data[at + 48 + i], 0x20 + i);
    cr_assert_eq(little(at + 96, 4), 10);
    cr_assert_eq(little(at + 100, 4), 0);
    size_t field = at + 104;
    for (unsigned i = 0; i < 10; i++)
        field = expect_field(field, i + 1, values[i], strlen(values[i]));
    cr_assert_eq(field, at + 195);
    expect_bytes(field, body_start, sizeof(body_start) - 1);
    uint8_t digest[SHA256_BYTES];
    base_sha256_of(file.data + field, 272, digest);
    expect_bytes(at + 64, (const char *)digest, sizeof(digest));
    expect_zeros(field + 272, at + 472);
}

Test(golden, findings_decode_by_hand)
{
    size_t at = 8192 + 128 + 472; /* the record behind it */
    file = test_file_load(SEALED);
    cr_assert_eq(little(at + 24, 8), 3);
    cr_assert_eq(little(at + 96, 4), 5);
    size_t field = expect_field(at + 104, 1, "S-3", 3);
    field = expect_field(field, 4, "P-3", 3);
    field = expect_field(field, 12, "late", 4);
    field = expect_field(field, 12, "out-of-range\0q1 is 99", 21);
    field = expect_field(field, 12, "unknown-item\0", 13);
    cr_assert_eq(field, at + little(at + 12, 4));
}

Test(golden, kinds_and_flags_decode_by_hand)
{
    file = test_file_load(SEALED);
    size_t first = 4096 + 128, utf8 = 16384 + 128, correction = 20480 + 128;
    size_t conflict = correction + little(correction + 8, 4);
    cr_assert_eq(little(first + 20, 2), 1 | 4 << 8);      /* submission, id assigned */
    cr_assert_eq(little(utf8 + 20, 2), 1 | 2 << 8);       /* submission, id from the key */
    cr_assert_eq(little(correction + 20, 2), 3 | 1 << 8); /* correction, offset known */
    cr_assert_eq((int16_t)little(correction + 22, 2), -210);
    cr_assert_eq(little(conflict + 20, 2), 2);
}

Test(golden, the_watermark_file_decodes_by_hand)
{
    file = test_file_load(DATA "/watermark");
    cr_assert_eq(file.bytes, 65600);
    expect_bytes(0, "SLUICWMK", 8);
    cr_assert_eq(little(8, 2), 1);
    cr_assert_eq(little(10, 2), 0);
    cr_assert_eq(little(12, 4), 1024);
    expect_bytes(16, node_id, 16);
    expect_zeros(32, 60);
    cr_assert_eq(little(60, 4), crc32c(0, 60));
    cr_assert_eq(little(64, 8), 8);
    expect_zeros(72, 65600);
}

/* --- the engine of today -------------------------------------------------------------------- */

Test(golden, the_reader_returns_the_records)
{
    static const struct {
        enum sluice_record_kind kind;
        const char *submission_id, *patient_id;
        size_t body_bytes, finding_count;
    } expected[] = {
        {SLUICE_RECORD_SUBMISSION, "018cc251-f400-7000-8000-000000000001", "P-1", 54, 0},
        {SLUICE_RECORD_SUBMISSION, "S-2", "P-2", 272, 0},
        {SLUICE_RECORD_SUBMISSION, "S-3", "P-3", 73, 3},
        {SLUICE_RECORD_SUBMISSION, "S-4", "P\xc3\xa4tient \xe6\x82\xa3\xe8\x80\x85", 117, 0},
        {SLUICE_RECORD_CORRECTION, "S-5", "P-2", 139, 0},
        {SLUICE_RECORD_CONFLICT, "S-3", "P-3", 73, 0},
        {SLUICE_RECORD_SUBMISSION, "S-7", "P-7", 75, 0},
        {SLUICE_RECORD_SUBMISSION, "S-8", "P-8", 75, 0},
    };
    char text[512];
    struct sluice_reader *reader;
    struct sluice_record record;
    cr_assert_eq(sluice_reader_open(DATA, 0, 1, &reader, text, sizeof(text)), 0, "%s", text);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        cr_assert_eq(sluice_reader_next(reader, &record), 1, "%s", sluice_reader_error(reader));
        cr_assert_eq(record.sequence, i + 1);
        cr_assert_eq(record.kind, expected[i].kind);
        cr_assert_eq(record.received_at_ns, START_NS + (i + 1) * (SECOND + 1));
        cr_assert_eq(record.submission_id.bytes, strlen(expected[i].submission_id));
        cr_assert_eq(memcmp(record.submission_id.data, expected[i].submission_id,
                            record.submission_id.bytes),
                     0);
        cr_assert_eq(record.patient_id.bytes, strlen(expected[i].patient_id));
        cr_assert_eq(
            memcmp(record.patient_id.data, expected[i].patient_id, record.patient_id.bytes), 0);
        cr_assert_eq(record.finding_count, expected[i].finding_count);
        cr_assert_eq(record.body.bytes, expected[i].body_bytes, "%zu", record.body.bytes);
    }
    cr_assert_eq(sluice_reader_next(reader, &record), 0);
    sluice_reader_close(reader);
}

static void no_damage(void *context, const char *path, uint64_t offset, const char *what)
{
    (void)context;
    cr_assert_fail("%s at %lu: %s", path, (unsigned long)offset, what);
}

Test(golden, verify_finds_nothing_wrong)
{
    struct segment_verify_report report;
    struct base_error error;
    cr_assert_eq(segment_verify(DATA, no_damage, NULL, &report, &error), 0, "%s", error.text);
    cr_assert_eq(report.segments, 2);
    cr_assert_eq(report.batches, 7);
    cr_assert_eq(report.records, 8);
    cr_assert_eq(report.torn_bytes, 0);
}

Test(golden, recovery_goes_on_behind_the_last_record)
{
    char copy[TEST_PATH_BYTES];
    struct segment_catalog catalog;
    struct segment_watermark watermark;
    struct segment_recovery recovery;
    struct base_error error;
    test_path(copy, "%s/copy", directory);
    test_directory_copy(DATA, copy);
    cr_assert_eq(segment_catalog_open(&catalog, copy, &error), 0, "%s", error.text);
    cr_assert_eq(segment_watermark_open(&watermark, &catalog, &error), 0);
    int journal_fd = segment_catalog_journal(&catalog, 0, false, &error);
    cr_assert_eq(segment_recover(&catalog, journal_fd, 0, &watermark, GOLDEN_SEGMENT_BYTES,
                                 &recovery, &error),
                 0, "%s", error.text);
    cr_assert_eq(recovery.point.next_sequence, 9);
    cr_assert_eq(recovery.point.segment_number, 2);
    cr_assert_eq(recovery.point.write_offset, 12288);
    cr_assert_eq(recovery.torn_bytes, 0);
    close(recovery.point.fd);
    segment_recovery_fini(&recovery);
    close(journal_fd);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
}

Test(golden, the_engine_still_writes_these_bytes)
{
    char made[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
    test_path(made, "%s/made", directory);
    golden_directory_make(made);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        test_path(path, "%s/%s", made, files[i]);
        struct test_bytes now = test_file_load(path);
        test_path(path, "%s/%s", DATA, files[i]);
        file = test_file_load(path);
        cr_assert_eq(now.bytes, file.bytes, "%s", files[i]);
        for (size_t j = 0; j < now.bytes; j++)
            cr_assert_eq(now.data[j], file.data[j], "%s differs at %zu", files[i], j);
        test_bytes_free(&now);
        test_bytes_free(&file);
    }
}
