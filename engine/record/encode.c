#include "record/encode.h"

#include "base/check.h"
#include "base/checksum.h"

#include <string.h>

/* The singular text fields: tag and place, in ascending order of tags, which is the order on
 * disk. */
struct field_place {
    uint16_t tag;
    uint16_t bytes_max;
    size_t offset;
};

static const struct field_place places[] = {
    {SEGMENT_FIELD_SUBMISSION_ID, RECORD_ID_BYTES_MAX,
     offsetof(struct record_envelope, submission_id)},
    {SEGMENT_FIELD_STUDY_ID, RECORD_ID_BYTES_MAX, offsetof(struct record_envelope, study_id)},
    {SEGMENT_FIELD_CENTER_ID, RECORD_ID_BYTES_MAX, offsetof(struct record_envelope, center_id)},
    {SEGMENT_FIELD_PATIENT_ID, RECORD_ID_BYTES_MAX, offsetof(struct record_envelope, patient_id)},
    {SEGMENT_FIELD_INSTRUMENT, RECORD_INSTRUMENT_BYTES_MAX,
     offsetof(struct record_envelope, instrument)},
    {SEGMENT_FIELD_FORM_VERSION, RECORD_LABEL_BYTES_MAX,
     offsetof(struct record_envelope, form_version)},
    {SEGMENT_FIELD_VISIT, RECORD_LABEL_BYTES_MAX, offsetof(struct record_envelope, visit)},
    {SEGMENT_FIELD_TIMEZONE, RECORD_LABEL_BYTES_MAX, offsetof(struct record_envelope, timezone)},
    {SEGMENT_FIELD_AMENDS, RECORD_ID_BYTES_MAX, offsetof(struct record_envelope, amends)},
    {SEGMENT_FIELD_REASON, RECORD_REASON_BYTES_MAX, offsetof(struct record_envelope, reason)},
    {SEGMENT_FIELD_CREDENTIAL, RECORD_CREDENTIAL_BYTES_MAX,
     offsetof(struct record_envelope, credential)},
    {SEGMENT_FIELD_REGISTRY_VERSION, RECORD_REGISTRY_VERSION_BYTES_MAX,
     offsetof(struct record_envelope, registry_version)},
};

#define PLACE_COUNT           (sizeof(places) / sizeof(places[0]))
#define PLACES_BEFORE_FINDING 11 /* findings stand between tags 11 and 13 */

static const struct record_text *text_at(const struct record_envelope *envelope, size_t offset)
{
    return (const struct record_text *)(const void *)((const char *)envelope + offset);
}

static size_t envelope_bytes_of(const struct record_envelope *envelope)
{
    size_t bytes = sizeof(struct segment_record_header);
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        const struct record_text *text = text_at(envelope, places[i].offset);
        if (text->data != NULL)
            bytes += sizeof(struct segment_field_header) + text->bytes;
    }
    for (uint32_t i = 0; i < envelope->finding_count; i++)
        bytes += sizeof(struct segment_field_header) + envelope->findings[i].bytes;
    return bytes;
}

size_t record_encode_bytes(const struct record_envelope *envelope)
{
    return segment_round_up(envelope_bytes_of(envelope) + envelope->body_bytes,
                            SEGMENT_RECORD_ALIGNMENT);
}

size_t record_encode_bytes_max(size_t body_bytes)
{
    size_t bytes = sizeof(struct segment_record_header);
    for (size_t i = 0; i < PLACE_COUNT; i++)
        bytes += sizeof(struct segment_field_header) + places[i].bytes_max;
    bytes +=
        RECORD_FINDING_COUNT_MAX * (sizeof(struct segment_field_header) + RECORD_FINDING_BYTES_MAX);
    return segment_round_up(bytes + body_bytes, SEGMENT_RECORD_ALIGNMENT);
}

static uint8_t *put_field(uint8_t *at, uint16_t tag, const struct record_text *text)
{
    struct segment_field_header header = {.tag = tag, .bytes = (uint16_t)text->bytes};
    memcpy(at, &header, sizeof(header));
    memcpy(at + sizeof(header), text->data, text->bytes);
    return at + sizeof(header) + text->bytes;
}

/* The texts of places[first] up to but not including places[end]. */
static uint8_t *put_texts(uint8_t *at, const struct record_envelope *envelope, size_t first,
                          size_t end, uint32_t *count)
{
    for (size_t i = first; i < end; i++) {
        const struct record_text *text = text_at(envelope, places[i].offset);
        if (text->data == NULL)
            continue;
        CHECK(text->bytes <= places[i].bytes_max);
        at = put_field(at, places[i].tag, text);
        (*count)++;
    }
    return at;
}

static uint8_t *put_fields(uint8_t *at, const struct record_envelope *envelope,
                           uint32_t *field_count_out)
{
    uint32_t count = envelope->finding_count;
    at = put_texts(at, envelope, 0, PLACES_BEFORE_FINDING, &count);
    CHECK(envelope->finding_count <= RECORD_FINDING_COUNT_MAX);
    for (uint32_t i = 0; i < envelope->finding_count; i++) {
        CHECK(envelope->findings[i].bytes <= RECORD_FINDING_BYTES_MAX);
        at = put_field(at, SEGMENT_FIELD_FINDING, &envelope->findings[i]);
    }
    at = put_texts(at, envelope, PLACES_BEFORE_FINDING, PLACE_COUNT, &count);
    *field_count_out = count;
    return at;
}

size_t record_encode(const struct record_envelope *envelope, uint8_t *out)
{
    struct segment_record_header header = {
        .magic = SEGMENT_RECORD_MAGIC,
        .body_bytes = envelope->body_bytes,
        .kind = envelope->kind,
        .flags = envelope->flags,
        .device_offset_minutes = envelope->device_offset_minutes,
        .sequence = envelope->sequence,
        .received_at_ns = envelope->received_at_ns,
        .device_time_ns = envelope->device_time_ns,
    };
    memcpy(header.trace_id, envelope->trace_id, sizeof(header.trace_id));
    memcpy(header.body_sha256, envelope->body_sha256, sizeof(header.body_sha256));
    uint8_t *at = put_fields(out + sizeof(header), envelope, &header.field_count);
    header.envelope_bytes = (uint32_t)(at - out);
    memcpy(at, envelope->body, envelope->body_bytes);
    at += envelope->body_bytes;
    header.record_bytes =
        (uint32_t)segment_round_up((uint64_t)(at - out), SEGMENT_RECORD_ALIGNMENT);
    memset(at, 0, header.record_bytes - (size_t)(at - out));
    memcpy(out, &header, sizeof(header));
    header.crc32c =
        base_crc32c(out + offsetof(struct segment_record_header, record_bytes),
                    header.record_bytes - offsetof(struct segment_record_header, record_bytes));
    memcpy(out + offsetof(struct segment_record_header, crc32c), &header.crc32c,
           sizeof(header.crc32c));
    return header.record_bytes;
}

static const char *check_header(const struct segment_record_header *header, const uint8_t *data,
                                size_t bytes)
{
    if (memcmp(header->magic, SEGMENT_RECORD_MAGIC, sizeof(header->magic)) != 0)
        return "record magic is wrong";
    if (header->record_bytes > bytes || header->record_bytes % SEGMENT_RECORD_ALIGNMENT != 0 ||
        header->envelope_bytes < sizeof(*header) || header->envelope_bytes > header->record_bytes ||
        header->body_bytes > header->record_bytes - header->envelope_bytes ||
        header->record_bytes - header->envelope_bytes - header->body_bytes >=
            SEGMENT_RECORD_ALIGNMENT)
        return "record lengths contradict each other";
    size_t covered = offsetof(struct segment_record_header, record_bytes);
    if (base_crc32c(data + covered, header->record_bytes - covered) != header->crc32c)
        return "record checksum is wrong";
    if (header->kind < SEGMENT_RECORD_SUBMISSION || header->kind > SEGMENT_RECORD_LOST ||
        (header->flags & ~SEGMENT_RECORD_FLAGS_ALL) != 0 || header->reserved != 0)
        return "record kind, flags or reserved bytes are not of this version";
    if (header->kind == SEGMENT_RECORD_LOST &&
        (header->body_bytes != 0 || header->flags != 0 || header->device_time_ns != 0))
        return "record of what was lost has something of a submission";
    for (size_t i = header->envelope_bytes + header->body_bytes; i < header->record_bytes; i++)
        if (data[i] != 0)
            return "record padding is not zero";
    return NULL;
}

static bool store_field(struct record_envelope *envelope, uint16_t tag, struct record_text text)
{
    if (tag == SEGMENT_FIELD_FINDING) {
        if (envelope->finding_count == RECORD_FINDING_COUNT_MAX ||
            text.bytes > RECORD_FINDING_BYTES_MAX)
            return false;
        envelope->findings[envelope->finding_count++] = text;
        return true;
    }
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        if (places[i].tag != tag)
            continue;
        if (text.bytes > places[i].bytes_max)
            return false;
        memcpy((char *)envelope + places[i].offset, &text, sizeof(text));
        return true;
    }
    return true; /* of a later minor version: skipped */
}

static const char *decode_fields(const uint8_t *at, const uint8_t *end, uint32_t count,
                                 struct record_envelope *envelope)
{
    uint16_t last_tag = 0;
    for (; count > 0; count--) {
        struct segment_field_header header;
        if ((size_t)(end - at) < sizeof(header))
            return "record fields end early";
        memcpy(&header, at, sizeof(header));
        at += sizeof(header);
        if ((size_t)(end - at) < header.bytes)
            return "record field is longer than its envelope";
        if (header.tag < last_tag ||
            (header.tag == last_tag && header.tag != SEGMENT_FIELD_FINDING))
            return "record fields are not in ascending order";
        struct record_text text = {.data = (const char *)at, .bytes = header.bytes};
        if (!store_field(envelope, header.tag, text))
            return "record field exceeds its limit";
        last_tag = header.tag;
        at += header.bytes;
    }
    return at == end ? NULL : "record fields do not fill the envelope";
}

size_t record_decode(const uint8_t *data, size_t bytes, struct record_envelope *envelope_out,
                     const char **fault_out)
{
    struct segment_record_header header;
    if (bytes < sizeof(header)) {
        *fault_out = "record is cut off";
        return 0;
    }
    memcpy(&header, data, sizeof(header));
    *fault_out = check_header(&header, data, bytes);
    if (*fault_out != NULL)
        return 0;
    *envelope_out = (struct record_envelope){
        .kind = header.kind,
        .flags = header.flags,
        .device_offset_minutes = header.device_offset_minutes,
        .sequence = header.sequence,
        .received_at_ns = header.received_at_ns,
        .device_time_ns = header.device_time_ns,
        .body = (const char *)data + header.envelope_bytes,
        .body_bytes = header.body_bytes,
    };
    memcpy(envelope_out->trace_id, header.trace_id, sizeof(header.trace_id));
    memcpy(envelope_out->body_sha256, header.body_sha256, sizeof(header.body_sha256));
    *fault_out = decode_fields(data + sizeof(header), data + header.envelope_bytes,
                               header.field_count, envelope_out);
    return *fault_out == NULL ? header.record_bytes : 0;
}
