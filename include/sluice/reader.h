/* Reading what Sluice stored: one journal, in sequence order, also while the engine runs.
 *
 * A reader sees sealed segments, and the open one only up to the watermark: a record that was
 * returned never vanishes, whatever happens to the engine. Everything returned was checked against
 * its checksums, the body's SHA-256 and the segment's hash chain.
 *
 * Ownership: the caller owns the reader and closes it. A record's pointers are valid until the next
 * call on the same reader. One thread per reader; any number of readers.
 *
 * Link with libsluice. Times are nanoseconds since 1970-01-01T00:00:00Z.
 */
#ifndef SLUICE_READER_H
#define SLUICE_READER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sluice_reader;

/* UTF-8, not NUL-terminated; data is NULL when the member was absent. */
struct sluice_text {
    const char *data;
    size_t bytes;
};

enum sluice_record_kind {
    SLUICE_RECORD_SUBMISSION = 1,
    SLUICE_RECORD_CONFLICT = 2,   /* same identity as an earlier record, other bytes */
    SLUICE_RECORD_CORRECTION = 3, /* amends an earlier submission */
    /* Stands for a record that was acknowledged and then damaged. It has no body, no text and no
     * device time, only a finding "lost-to-damage"; received_at_ns is the time of the repair. */
    SLUICE_RECORD_LOST = 4,
};

#define SLUICE_FINDINGS_MAX 16

struct sluice_record {
    uint32_t journal;
    enum sluice_record_kind kind;
    uint64_t sequence;       /* gapless from 1 in its journal */
    uint64_t received_at_ns; /* by the server's clock */
    int64_t device_time_ns;  /* the submission's timestamp */
    int device_offset_known; /* 0: the device gave no offset */
    int device_offset_minutes;
    uint8_t trace_id[16];
    uint8_t sha256[32]; /* of the body */
    struct sluice_text submission_id, study_id, center_id, patient_id, instrument, form_version,
        visit, timezone, amends, reason;
    struct sluice_text credential; /* name of the one that wrote it; absent: none was asked for */
    struct sluice_text findings[SLUICE_FINDINGS_MAX]; /* code, then, behind a NUL byte, details */
    size_t finding_count;
    struct sluice_text registry_version; /* of the registry it was checked against, if it was */
    struct sluice_text body;             /* exactly as received */
};

#define SLUICE_FROM_NOW UINT64_MAX /* a sequence: behind what is durable when the reader opens */

/* Opens journal `journal` of the data directory at `sequence` (1: from the start). The journal need
 * not exist yet.
 * Returns 0 and the reader, or a negative errno and a sentence in error_text (error_bytes long). */
int sluice_reader_open(const char *directory, uint32_t journal, uint64_t sequence,
                       struct sluice_reader **reader_out, char *error_text, size_t error_bytes);

/* 1: *record_out is the next record. 0: nothing more is visible now; calling again later goes on
 * from here, across rolled and sealed segments and restarts of the engine. Negative errno: damage
 * (-EBADMSG) or an I/O error; sluice_reader_error says where. Every later call returns the same:
 * what stands behind damage may not follow what came before. */
int sluice_reader_next(struct sluice_reader *reader, struct sluice_record *record_out);

/* The sentence of the last negative return. */
const char *sluice_reader_error(const struct sluice_reader *reader);

void sluice_reader_close(struct sluice_reader *reader); /* NULL is fine */

/* Journal numbers in the data directory, ascending: fills up to `capacity`, returns how many there
 * are, or a negative errno with a sentence. */
int sluice_reader_journals(const char *directory, uint32_t *journals_out, size_t capacity,
                           char *error_text, size_t error_bytes);

#ifdef __cplusplus
}
#endif

#endif
