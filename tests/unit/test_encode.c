/* A record on disk: what goes in comes out, and nothing else passes for one. */
#include "base/checksum.h"
#include "record/encode.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 65536

static _Alignas(8) uint8_t buffer[BUFFER_BYTES];
static char letters[BUFFER_BYTES];

static void set_up(void)
{
    memset(buffer, 0xEE, sizeof(buffer));
    for (size_t i = 0; i < sizeof(letters); i++)
        letters[i] = (char)('a' + i % 26);
}

TestSuite(encode, .init = set_up);

static void minimal(struct record_envelope *envelope)
{
    static const char body[] = "{\"a\":1}";
    *envelope = (struct record_envelope){
        .kind = SEGMENT_RECORD_SUBMISSION,
        .sequence = 1,
        .body = body,
        .body_bytes = sizeof(body) - 1,
    };
    base_sha256_of(body, sizeof(body) - 1, envelope->body_sha256);
}

/* Where the eleven texts of an envelope are, with the limit of each. */
struct place {
    size_t offset;
    uint32_t bytes_max;
};

#define PLACE(member, limit)                                                                       \
    {                                                                                              \
        offsetof(struct record_envelope, member), limit                                            \
    }
static const struct place places[] = {
    PLACE(submission_id, 128), PLACE(study_id, 128),   PLACE(center_id, 128),
    PLACE(patient_id, 128),    PLACE(instrument, 256), PLACE(form_version, 128),
    PLACE(visit, 128),         PLACE(timezone, 128),   PLACE(amends, 128),
    PLACE(reason, 2048),       PLACE(credential, 128), PLACE(registry_version, 64),
};
#define PLACE_COUNT (sizeof(places) / sizeof(places[0]))

static struct record_text *text_at(struct record_envelope *envelope, size_t index)
{
    return (struct record_text *)(void *)((char *)envelope + places[index].offset);
}

static void everything(struct record_envelope *envelope)
{
    minimal(envelope);
    envelope->kind = SEGMENT_RECORD_CORRECTION;
    envelope->flags = SEGMENT_RECORD_FLAGS_ALL;
    envelope->device_offset_minutes = -330;
    envelope->sequence = UINT64_C(0x0123456789ABCDEF);
    envelope->received_at_ns = UINT64_C(0xFEDCBA9876543210);
    envelope->device_time_ns = INT64_C(-62135596800000000);
    for (size_t i = 0; i < sizeof(envelope->trace_id); i++)
        envelope->trace_id[i] = (uint8_t)(i * 17);
    for (size_t i = 0; i < PLACE_COUNT; i++)
        *text_at(envelope, i) = (struct record_text){letters + i, 3 + 5 * (uint32_t)i};
    envelope->findings[0] = (struct record_text){"late", 4};
    envelope->findings[1] = (struct record_text){"unknown-item\0Q17", 16};
    envelope->findings[2] = (struct record_text){"late", 4};
    envelope->finding_count = 3;
}

static void expect_text(const struct record_text *expected, const struct record_text *found)
{
    if (expected->data == NULL) {
        cr_assert_null(found->data);
        return;
    }
    cr_assert_eq(found->bytes, expected->bytes);
    cr_assert_not_null(found->data);
    cr_assert_eq(memcmp(found->data, expected->data, expected->bytes), 0);
}

static void expect_equal(struct record_envelope *expected, struct record_envelope *found)
{
    cr_assert_eq(found->kind, expected->kind);
    cr_assert_eq(found->flags, expected->flags);
    cr_assert_eq(found->device_offset_minutes, expected->device_offset_minutes);
    cr_assert_eq(found->sequence, expected->sequence);
    cr_assert_eq(found->received_at_ns, expected->received_at_ns);
    cr_assert_eq(found->device_time_ns, expected->device_time_ns);
    cr_assert_eq(memcmp(found->trace_id, expected->trace_id, 16), 0);
    cr_assert_eq(memcmp(found->body_sha256, expected->body_sha256, 32), 0);
    for (size_t i = 0; i < PLACE_COUNT; i++)
        expect_text(text_at(expected, i), text_at(found, i));
    cr_assert_eq(found->finding_count, expected->finding_count);
    for (uint32_t i = 0; i < expected->finding_count; i++)
        expect_text(&expected->findings[i], &found->findings[i]);
    cr_assert_eq(found->body_bytes, expected->body_bytes);
    cr_assert_eq(memcmp(found->body, expected->body, expected->body_bytes), 0);
}

static void expect_round_trip(struct record_envelope *envelope)
{
    struct record_envelope found;
    const char *fault = NULL;
    size_t bytes = record_encode_bytes(envelope);
    cr_assert_eq(bytes % 8, 0);
    cr_assert(bytes <= record_encode_bytes_max(envelope->body_bytes));
    buffer[bytes] = 0xEE;
    cr_assert_eq(record_encode(envelope, buffer), bytes);
    cr_assert_eq(buffer[bytes], 0xEE, "wrote behind the record");
    cr_assert_eq(record_decode(buffer, bytes, &found, &fault), bytes, "%s", fault);
    expect_equal(envelope, &found);
    /* bytes of the next record do not matter */
    cr_assert_eq(record_decode(buffer, sizeof(buffer), &found, &fault), bytes);
}

static void expect_fault(size_t bytes, const char *expected)
{
    struct record_envelope found;
    const char *fault = NULL;
    cr_assert_eq(record_decode(buffer, bytes, &found, &fault), 0);
    cr_assert_str_eq(fault, expected);
}

/* Makes the checksum right again after a change, so that the check behind it is reached. */
static void fix_checksum(void)
{
    struct segment_record_header header;
    memcpy(&header, buffer, sizeof(header));
    header.crc32c = base_crc32c(buffer + 8, header.record_bytes - 8);
    memcpy(buffer + 4, &header.crc32c, 4);
}

/* A record made by hand: `count` fields at `fields`, no body. */
static size_t make_raw(const uint8_t *fields, size_t field_bytes, uint32_t count)
{
    size_t envelope_bytes = sizeof(struct segment_record_header) + field_bytes;
    struct segment_record_header header = {
        .magic = SEGMENT_RECORD_MAGIC,
        .record_bytes = (uint32_t)segment_round_up(envelope_bytes, 8),
        .envelope_bytes = (uint32_t)envelope_bytes,
        .kind = SEGMENT_RECORD_SUBMISSION,
        .field_count = count,
    };
    memset(buffer, 0, header.record_bytes);
    memcpy(buffer, &header, sizeof(header));
    memcpy(buffer + sizeof(header), fields, field_bytes);
    fix_checksum();
    return header.record_bytes;
}

/* Appends a field of `bytes` letters; returns the place behind it. */
static uint8_t *add_field(uint8_t *at, uint16_t tag, uint16_t bytes)
{
    struct segment_field_header header = {tag, bytes};
    memcpy(at, &header, sizeof(header));
    memcpy(at + sizeof(header), letters, bytes);
    return at + sizeof(header) + bytes;
}

Test(encode, a_record_with_every_field_comes_back_as_it_was)
{
    struct record_envelope envelope;
    everything(&envelope);
    expect_round_trip(&envelope);
}

Test(encode, a_record_without_optional_fields_comes_back_as_it_was)
{
    struct record_envelope envelope;
    minimal(&envelope);
    expect_round_trip(&envelope);
}

Test(encode, an_empty_text_is_not_an_absent_one)
{
    struct record_envelope envelope;
    minimal(&envelope);
    envelope.visit = (struct record_text){"", 0};
    expect_round_trip(&envelope);
}

Test(encode, every_single_text_comes_back_alone)
{
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        struct record_envelope envelope;
        minimal(&envelope);
        *text_at(&envelope, i) = (struct record_text){letters, places[i].bytes_max};
        expect_round_trip(&envelope);
    }
}

Test(encode, a_record_at_every_limit_fits_the_promised_maximum)
{
    struct record_envelope envelope;
    minimal(&envelope);
    for (size_t i = 0; i < PLACE_COUNT; i++)
        *text_at(&envelope, i) = (struct record_text){letters, places[i].bytes_max};
    for (uint32_t i = 0; i < RECORD_FINDING_COUNT_MAX; i++)
        envelope.findings[i] = (struct record_text){letters + i, RECORD_FINDING_BYTES_MAX};
    envelope.finding_count = RECORD_FINDING_COUNT_MAX;
    expect_round_trip(&envelope);
    cr_assert_eq(record_encode_bytes(&envelope), record_encode_bytes_max(envelope.body_bytes));
}

Test(encode, bodies_of_every_remainder_are_padded_with_zeros)
{
    for (uint32_t bytes = 1; bytes <= 24; bytes++) {
        struct record_envelope envelope;
        minimal(&envelope);
        envelope.body = letters;
        envelope.body_bytes = bytes;
        expect_round_trip(&envelope);
        for (size_t i = sizeof(struct segment_record_header) + bytes;
             i < record_encode_bytes(&envelope); i++)
            cr_assert_eq(buffer[i], 0);
    }
}

Test(encode, times_and_offsets_keep_their_extremes)
{
    struct record_envelope envelope;
    minimal(&envelope);
    envelope.sequence = UINT64_MAX;
    envelope.received_at_ns = UINT64_MAX;
    envelope.device_time_ns = INT64_MIN;
    envelope.device_offset_minutes = INT16_MIN;
    expect_round_trip(&envelope);
}

Test(encode, every_bit_flip_is_detected)
{
    struct record_envelope envelope, found;
    const char *fault;
    everything(&envelope);
    size_t bytes = record_encode(&envelope, buffer);
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(record_decode(buffer, bytes, &found, &fault), 0, "bit %zu of byte %zu",
                     bit % 8, bit / 8);
        buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(record_decode(buffer, bytes, &found, &fault), bytes);
}

Test(encode, a_record_cut_off_at_any_length_is_refused_without_looking_behind)
{
    struct record_envelope envelope, found;
    const char *fault;
    everything(&envelope);
    size_t bytes = record_encode(&envelope, buffer);
    for (size_t length = 0; length < bytes; length++) {
        uint8_t *copy = malloc(length > 0 ? length : 1); /* a sanitizer sees reads behind it */
        cr_assert_not_null(copy);
        memcpy(copy, buffer, length);
        cr_assert_eq(record_decode(copy, length, &found, &fault), 0, "at %zu bytes", length);
        cr_assert_str_eq(fault, length < sizeof(struct segment_record_header)
                                    ? "record is cut off"
                                    : "record lengths contradict each other");
        free(copy);
    }
}

Test(encode, lengths_are_refused_before_they_are_used)
{
    static const uint32_t lengths[] = {16, 96, 103, 104, 0x7FFFFFF8, 0xFFFFFFF8, 0xFFFFFFFF};
    static const size_t offsets[] = {offsetof(struct segment_record_header, record_bytes),
                                     offsetof(struct segment_record_header, envelope_bytes),
                                     offsetof(struct segment_record_header, body_bytes)};
    struct record_envelope envelope;
    everything(&envelope);
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
            size_t bytes = record_encode(&envelope, buffer);
            memcpy(buffer + offsets[i], &lengths[j], sizeof(lengths[j]));
            expect_fault(bytes, "record lengths contradict each other");
        }
    }
}

Test(encode, a_tag_of_a_later_version_is_skipped)
{
    uint8_t fields[256], *at = fields;
    struct record_envelope found;
    const char *fault = NULL;
    at = add_field(at, SEGMENT_FIELD_PATIENT_ID, 9);
    at = add_field(at, 11, 33); /* between known ones */
    at = add_field(at, SEGMENT_FIELD_FINDING, 4);
    at = add_field(at, 14, 21); /* behind them */
    at = add_field(at, 65535, 0);
    size_t bytes = make_raw(fields, (size_t)(at - fields), 5);
    cr_assert_eq(record_decode(buffer, bytes, &found, &fault), bytes, "%s", fault);
    expect_text(&(struct record_text){letters, 9}, &found.patient_id);
    cr_assert_eq(found.finding_count, 1);
    expect_text(&(struct record_text){letters, 4}, &found.findings[0]);
    cr_assert_null(found.submission_id.data);
    cr_assert_null(found.reason.data);
}

Test(encode, tags_that_do_not_ascend_are_refused)
{
    static const uint16_t pairs[][2] = {{2, 1},   {4, 4},   {12, 11}, {11, 11},
                                        {13, 12}, {13, 13}, {0, 1}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        uint8_t fields[64], *at = fields;
        at = add_field(at, pairs[i][0], 3);
        at = add_field(at, pairs[i][1], 3);
        expect_fault(make_raw(fields, (size_t)(at - fields), 2),
                     "record fields are not in ascending order");
    }
}

Test(encode, a_text_one_byte_beyond_its_limit_is_refused)
{
    static const uint16_t tags[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13};
    static uint8_t fields[4096];
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        uint8_t *at = add_field(fields, tags[i], (uint16_t)(places[i].bytes_max + 1));
        expect_fault(make_raw(fields, (size_t)(at - fields), 1), "record field exceeds its limit");
    }
}

Test(encode, one_finding_too_many_is_refused)
{
    uint8_t fields[512], *at = fields;
    for (uint32_t i = 0; i <= RECORD_FINDING_COUNT_MAX; i++)
        at = add_field(at, SEGMENT_FIELD_FINDING, 4);
    expect_fault(make_raw(fields, (size_t)(at - fields), RECORD_FINDING_COUNT_MAX + 1),
                 "record field exceeds its limit");
}

Test(encode, a_finding_one_byte_beyond_its_limit_is_refused)
{
    uint8_t fields[512];
    uint8_t *at = add_field(fields, SEGMENT_FIELD_FINDING, RECORD_FINDING_BYTES_MAX + 1);
    expect_fault(make_raw(fields, (size_t)(at - fields), 1), "record field exceeds its limit");
}

Test(encode, fields_must_fill_the_envelope_exactly)
{
    uint8_t fields[64];
    uint8_t *at = add_field(fields, SEGMENT_FIELD_STUDY_ID, 8);
    size_t bytes = (size_t)(at - fields);
    expect_fault(make_raw(fields, bytes, 0), "record fields do not fill the envelope");
    expect_fault(make_raw(fields, bytes, 2), "record fields end early");
    expect_fault(make_raw(fields, bytes, UINT32_MAX), "record fields end early");
    expect_fault(make_raw(fields, bytes - 1, 1), "record field is longer than its envelope");
    expect_fault(make_raw(fields, 3, 1), "record fields end early");
}

Test(encode, unknown_kinds_and_flags_are_refused)
{
    static const char expected[] = "record kind, flags or reserved bytes are not of this version";
    struct record_envelope envelope;
    minimal(&envelope);
    size_t bytes = record_encode(&envelope, buffer);
    static const struct {
        size_t offset;
        uint8_t value;
    } changes[] = {{20, 0}, {20, 5}, {20, 255}, {21, 8}, {21, 128}, {100, 1}, {103, 128}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        record_encode(&envelope, buffer);
        buffer[changes[i].offset] = changes[i].value;
        fix_checksum();
        expect_fault(bytes, expected);
    }
}

/* A record of what was lost: a finding, and nothing of a submission. */
static size_t encode_lost(uint8_t flags, int64_t device_time_ns, uint32_t body_bytes)
{
    struct record_envelope envelope = {
        .kind = SEGMENT_RECORD_LOST,
        .flags = flags,
        .sequence = 9,
        .received_at_ns = 77,
        .device_time_ns = device_time_ns,
        .findings = {{SEGMENT_FINDING_LOST, sizeof(SEGMENT_FINDING_LOST) - 1}},
        .finding_count = 1,
        .body = letters,
        .body_bytes = body_bytes,
    };
    base_sha256_of(letters, body_bytes, envelope.body_sha256);
    return record_encode(&envelope, buffer);
}

Test(encode, a_lost_record_comes_back_without_a_submission_id)
{
    struct record_envelope decoded;
    const char *fault;
    size_t bytes = encode_lost(0, 0, 0);
    cr_assert_eq(record_decode(buffer, bytes, &decoded, &fault), bytes);
    cr_assert_eq(decoded.kind, SEGMENT_RECORD_LOST);
    cr_assert_eq(decoded.sequence, 9);
    cr_assert_null(decoded.submission_id.data);
    cr_assert_eq(decoded.body_bytes, 0);
    cr_assert_eq(decoded.finding_count, 1);
    cr_assert_eq(memcmp(decoded.findings[0].data, SEGMENT_FINDING_LOST, 14), 0);
}

Test(encode, a_lost_record_with_anything_of_a_submission_is_refused)
{
    static const char expected[] = "record of what was lost has something of a submission";
    expect_fault(encode_lost(SEGMENT_RECORD_ID_ASSIGNED, 0, 0), expected);
    expect_fault(encode_lost(0, -1, 0), expected);
    expect_fault(encode_lost(0, 0, 1), expected);
}

Test(encode, padding_must_be_zero)
{
    struct record_envelope envelope;
    minimal(&envelope);
    size_t bytes = record_encode(&envelope, buffer);
    cr_assert_eq(buffer[bytes - 1], 0);
    buffer[bytes - 1] = 1;
    fix_checksum();
    expect_fault(bytes, "record padding is not zero");
}
