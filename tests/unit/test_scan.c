/* Behind the checksums: bytes that carry the right ones and still are not what a writer of this
 * segment would have written at this place. Checksums stop accidents; these checks stop the rest.
 */
#include "base/checksum.h"
#include "journal_rig.h"
#include "segment/scan.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FIRST  4096 /* a batch of two records */
#define SECOND 8192 /* a batch of one */
#define FOOTER 12288

static char directory[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
static struct journal_rig rig;
static struct test_bytes bytes; /* the sealed segment; tests change it */

/* A node id that is known, so that tests can change each of its bytes to another value. */
static void make_node(void)
{
    static const char lines[] =
        "sluice data directory format 1.0\nnode 000102030405060708090a0b0c0d0e0f\n";
    char node[TEST_PATH_BYTES], text[160];
    int count = snprintf(text, sizeof(text), "%scrc32c %08x\n", lines,
                         base_crc32c(lines, sizeof(lines) - 1));
    test_path(node, "%s/node", directory);
    test_file_store(node, text, (size_t)count);
}

static void set_up(void)
{
    test_directory_make(directory);
    make_node();
    journal_rig_init(&rig, directory, 3);
    journal_rig_open(&rig);
    journal_rig_append(&rig, 300);
    journal_rig_append(&rig, 301);
    journal_rig_commit(&rig);
    journal_rig_put(&rig, 1);
    journal_rig_seal_current(&rig);
    journal_rig_close(&rig);
    journal_rig_path(&rig, 1, SEGMENT_STATE_SEALED, path);
    bytes = test_file_load(path);
    cr_assert_eq(bytes.bytes, 16384);
}

static void tear_down(void)
{
    test_bytes_free(&bytes);
    test_directory_remove(directory);
}

TestSuite(scan, .init = set_up, .fini = tear_down);

/* --- forging -------------------------------------------------------------------------------- */

static void put(size_t offset, const void *value, size_t count)
{
    memcpy(bytes.data + offset, value, count);
}

static void put_u32(size_t offset, uint32_t value)
{
    put(offset, &value, sizeof(value));
}

static uint32_t get_u32(size_t offset)
{
    uint32_t value;
    memcpy(&value, bytes.data + offset, sizeof(value));
    return value;
}

static void seal_segment_header(void)
{
    put_u32(4092, base_crc32c(bytes.data, 4092));
}

static void seal_batch(size_t at)
{
    put_u32(at + 88, base_crc32c(bytes.data + at + 128, 4096 - 128));
    put_u32(at + 8, base_crc32c(bytes.data + at + 12, 128 - 12));
}

static void seal_record(size_t at)
{
    put_u32(at + 4, base_crc32c(bytes.data + at + 8, get_u32(at + 8) - 8));
}

static void seal_footer(void)
{
    size_t trailer = bytes.bytes - sizeof(struct segment_trailer);
    put_u32(trailer + 20, base_crc32c(bytes.data + trailer, 20));
    put_u32(FOOTER + 8, base_crc32c(bytes.data + FOOTER + 12, bytes.bytes - FOOTER - 12));
}

/* What the scan says about the changed segment: a fault, or NULL. */
static const char *fault_of(uint64_t *offset_out)
{
    struct segment_file file;
    struct segment_scan scan;
    struct segment_scan_batch batch;
    struct base_error error;
    struct segment_scan_expected expected = {rig.catalog.node_id, 3, 1};
    test_file_store(path, bytes.data, bytes.bytes);
    cr_assert_eq(segment_file_open(&file, AT_FDCWD, path, path, false, &error), 0);
    int result = segment_scan_begin(&scan, &file, &expected, &error);
    while (result == SEGMENT_SCAN_OK)
        result = segment_scan_next(&scan, &file, &batch, &error);
    if (result == SEGMENT_SCAN_FOOTER)
        result = segment_scan_footer(&scan, &file, &error);
    segment_file_close(&file);
    *offset_out = scan.fault_offset;
    return result == SEGMENT_SCAN_OK ? NULL : scan.fault;
}

static void expect_fault(uint64_t offset, const char *what)
{
    uint64_t found_offset;
    const char *found = fault_of(&found_offset);
    cr_assert_not_null(found, "accepted instead of \"%s\"", what);
    cr_assert_str_eq(found, what);
    cr_assert_eq(found_offset, offset);
}

/* A change of one byte, made while the checksums stay right. */
struct change {
    size_t offset;
    uint8_t value;
    const char *what;
};

static void expect_each(const struct change *changes, size_t count, size_t at,
                        uint64_t fault_offset, void (*seal)(void))
{
    for (size_t i = 0; i < count; i++) {
        uint8_t before = bytes.data[at + changes[i].offset];
        cr_assert_neq(before, changes[i].value, "no change at %zu", changes[i].offset);
        bytes.data[at + changes[i].offset] = changes[i].value;
        seal();
        expect_fault(fault_offset, changes[i].what);
        bytes.data[at + changes[i].offset] = before;
        seal();
    }
}

#define EXPECT_EACH(changes, at, fault_offset, seal)                                               \
    expect_each(changes, sizeof(changes) / sizeof((changes)[0]), at, fault_offset, seal)

static void seal_second(void)
{
    seal_batch(SECOND);
}

static void seal_second_with_record(void)
{
    seal_record(SECOND + 128);
    seal_batch(SECOND);
}

/* --- tests ---------------------------------------------------------------------------------- */

Test(scan, as_it_is_the_segment_is_valid_also_with_checksums_computed_here)
{
    uint64_t offset;
    seal_segment_header();
    seal_batch(FIRST);
    seal_second_with_record();
    seal_footer();
    cr_assert_null(fault_of(&offset));
}

Test(scan, segment_headers_of_other_places_or_versions)
{
    static const char foreign[] = "segment belongs to another node, journal or position";
    static const char fields[] = "segment header fields are not of this version";
    static const struct change versions[] = {
        {8, 2, "segment format has another major version than this program reads"}};
    static const struct change identities[] = {
        {32, 4, foreign}, {40, 2, foreign}, {43, 1, foreign}};
    static const struct change others[] = {{12, 1, fields},  {36, 1, fields},   {48, 0, fields},
                                           {104, 1, fields}, {4091, 1, fields}, {66, 0, fields}};
    EXPECT_EACH(versions, 0, 8, seal_segment_header);
    EXPECT_EACH(identities, 0, 16, seal_segment_header);
    EXPECT_EACH(others, 0, 12, seal_segment_header);
}

Test(scan, batch_headers_of_other_places)
{
    static const char foreign[] = "batch belongs to another node, journal or segment";
    static const struct change changes[] = {
        {16, 0xAB, foreign},
        {31, 0xAB, foreign},
        {32, 4, foreign},
        {40, 2, foreign},
        {48, 0, "batch is not the next one of its segment"},
        {48, 2, "batch is not the next one of its segment"},
        {56, 2, "batch does not go on with the next sequence"},
        {56, 4, "batch does not go on with the next sequence"},
        {64, 3, "batch carries an impossible watermark"},
        {64, 255, "batch carries an impossible watermark"},
    };
    EXPECT_EACH(changes, SECOND, SECOND, seal_second);
    bytes.data[SECOND + 96] ^= 1;
    seal_second();
    expect_fault(SECOND, "batch does not continue the hash chain");
}

Test(scan, a_mark_that_goes_back)
{
    uint64_t two = 2, zero = 0, offset;
    put(SECOND + 64, &zero, sizeof(zero)); /* as the first batch's: not lower, fine */
    seal_batch(SECOND);
    const char *found = fault_of(&offset);
    cr_assert_str_eq(found, "footer does not describe its segment"); /* another hash */
    put(SECOND + 64, &two, sizeof(two));
    seal_batch(SECOND);
    cr_assert_null(fault_of(&offset));
}

Test(scan, batch_lengths_that_contradict_each_other)
{
    static const char lengths[] = "batch lengths contradict each other";
    static const struct change changes[] = {
        {12, 127, lengths}, {81, 0x10, lengths}, {82, 1, lengths},    {83, 0x80, lengths},
        {84, 1, lengths},   {85, 0x20, lengths}, {87, 0x7F, lengths}, {92, 1, lengths},
    };
    EXPECT_EACH(changes, SECOND, SECOND, seal_second);
    put_u32(SECOND + 84, 0);
    seal_batch(SECOND);
    expect_fault(SECOND, lengths);
}

Test(scan, a_batch_longer_than_the_file)
{
    put_u32(SECOND + 80, 5 * 4096);
    put_u32(SECOND + 84, 6 * 4096);
    seal_batch(SECOND);
    expect_fault(SECOND, "segment file ends inside a batch");
}

Test(scan, record_counts_that_are_not_true)
{
    put_u32(SECOND + 36, 0);
    seal_batch(SECOND);
    expect_fault(SECOND, "batch holds more than its records");
    put_u32(SECOND + 36, 2);
    seal_batch(SECOND);
    expect_fault(SECOND + 128 + get_u32(SECOND + 80), "record is cut off");
}

Test(scan, a_payload_checksum_that_is_wrong_although_the_payload_is_not)
{
    bytes.data[SECOND + 88] ^= 1;
    put_u32(SECOND + 8, base_crc32c(bytes.data + SECOND + 12, 128 - 12));
    expect_fault(SECOND, "batch payload checksum is wrong");
}

Test(scan, padding_that_is_not_zero)
{
    static const struct change changes[] = {{4095, 1, "batch padding is not zero"}};
    EXPECT_EACH(changes, SECOND, SECOND, seal_second);
    size_t behind = 128 + get_u32(SECOND + 80);
    bytes.data[SECOND + behind] = 0x80;
    seal_batch(SECOND);
    expect_fault(SECOND, "batch padding is not zero");
}

Test(scan, a_body_without_its_sha256)
{
    size_t record = SECOND + 128;
    size_t body = record + get_u32(record + 12);
    bytes.data[body + 10] ^= 1;
    seal_second_with_record();
    expect_fault(record, "body does not have its SHA-256");
    bytes.data[body + 10] ^= 1;
    bytes.data[record + 64] ^= 1; /* the digest itself */
    seal_second_with_record();
    expect_fault(record, "body does not have its SHA-256");
}

Test(scan, a_record_out_of_its_sequence)
{
    static const struct change changes[] = {{24, 2, "record is not the next of its batch"},
                                            {24, 4, "record is not the next of its batch"},
                                            {31, 1, "record is not the next of its batch"}};
    EXPECT_EACH(changes, SECOND + 128, SECOND + 128, seal_second_with_record);
}

Test(scan, an_envelope_that_was_changed_breaks_the_chain_behind_it)
{
    size_t record = FIRST + 128;
    bytes.data[record + 40] ^= 1; /* the device's time */
    seal_record(record);
    seal_batch(FIRST);
    expect_fault(SECOND, "batch does not continue the hash chain");
}

Test(scan, footers_of_other_places)
{
    static const char foreign[] = "footer belongs to another node, journal or segment";
    static const char fields[] = "footer fields contradict each other";
    static const char other[] = "footer does not describe its segment";
    static const struct change changes[] = {
        {32, 4, foreign}, {40, 2, foreign}, {36, 200, fields}, {88, 1, fields},
        {136, 1, fields}, {500, 1, fields}, {36, 3, other},    {48, 2, other},
        {56, 2, other},   {64, 3, other},   {72, 1, other},    {80, 1, other},
    };
    EXPECT_EACH(changes, FOOTER, FOOTER, seal_footer);
    bytes.data[FOOTER + 104] ^= 1;
    seal_footer();
    expect_fault(FOOTER, other);
}

Test(scan, trailers_that_point_elsewhere)
{
    static const char fields[] = "footer fields contradict each other";
    static const struct change changes[] = {
        {0, 'X', fields}, {9, 0, fields}, {17, 0, fields}, {24, 1, fields}};
    EXPECT_EACH(changes, bytes.bytes - 32, FOOTER, seal_footer);
}
