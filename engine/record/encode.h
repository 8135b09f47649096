/* A record's bytes: written once, straight into the open batch, and read back.
 *
 * Called by the worker (encode) and by readers, recovery and verify (decode). Nothing is owned:
 * the input points into a request's arena, a decoded view into the buffer it was decoded from.
 */
#ifndef SLUICE_RECORD_ENCODE_H
#define SLUICE_RECORD_ENCODE_H

#include "record/submission.h"
#include "segment/format.h"

#include <stddef.h>
#include <stdint.h>

#define RECORD_FINDING_BYTES_MAX    192 /* code, 0x00 and details of one finding */
#define RECORD_FINDING_COUNT_MAX    16
#define RECORD_CREDENTIAL_BYTES_MAX 128 /* a credential's name */

#define RECORD_REGISTRY_VERSION_BYTES_MAX 64

/* What goes into a record; a text whose .data is NULL is absent. */
struct record_envelope {
    uint8_t kind;  /* enum segment_record_kind */
    uint8_t flags; /* enum segment_record_flags */
    int16_t device_offset_minutes;
    uint64_t sequence;
    uint64_t received_at_ns;
    int64_t device_time_ns;
    uint8_t trace_id[16];
    uint8_t body_sha256[SEGMENT_HASH_BYTES];
    struct record_text submission_id, study_id, center_id, patient_id, instrument, form_version,
        visit, timezone, amends, reason, credential;
    struct record_text findings[RECORD_FINDING_COUNT_MAX];
    uint32_t finding_count;
    struct record_text registry_version; /* of the registry that was checked against */
    const char *body;
    uint32_t body_bytes;
};

/* Bytes of the record that `envelope` makes, a multiple of 8. */
size_t record_encode_bytes(const struct record_envelope *envelope);

/* The most that a record with a body of that size can take. */
size_t record_encode_bytes_max(size_t body_bytes);

/* Writes the record to `out`, which has room for record_encode_bytes(); returns that number. */
size_t record_encode(const struct record_envelope *envelope, uint8_t *out);

/* Reads the record at `data`, of which `bytes` bytes may be looked at. Checks magic, lengths,
 * checksum, field structure and zero padding, not the body's SHA-256. Returns the record's bytes,
 * or 0 and sets `*fault_out` to what is wrong. */
size_t record_decode(const uint8_t *data, size_t bytes, struct record_envelope *envelope_out,
                     const char **fault_out);

#endif
