#include "sample_record.h"

#include "base/checksum.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000

void sample_body(uint64_t number, size_t bytes, char *body_out)
{
    cr_assert(bytes >= SAMPLE_BODY_BYTES_MIN && bytes <= SAMPLE_BODY_BYTES_MAX);
    int head = snprintf(body_out, bytes, "{\"n\":%020" PRIu64 ",\"pad\":\"", number);
    for (size_t i = (size_t)head; i < bytes - 2; i++)
        body_out[i] = (char)('a' + (i * 7 + number) % 26);
    memcpy(body_out + bytes - 2, "\"}", 2);
}

void sample_envelope(uint64_t number, const char *body, size_t bytes,
                     struct record_envelope *envelope_out)
{
    *envelope_out = (struct record_envelope){
        .kind = SEGMENT_RECORD_SUBMISSION,
        .received_at_ns = SAMPLE_RECEIVED_AT_NS + number * NS_PER_MS,
        .device_time_ns = (int64_t)(SAMPLE_RECEIVED_AT_NS - number),
        .submission_id = {"submission", 10},
        .study_id = {"study", 5},
        .patient_id = {"patient", 7},
        .body = body,
        .body_bytes = (uint32_t)bytes,
    };
    memset(envelope_out->trace_id, (int)(number % 251), sizeof(envelope_out->trace_id));
    base_sha256_of(body, bytes, envelope_out->body_sha256);
}
