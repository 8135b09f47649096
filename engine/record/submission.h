/* The parsed ePRO object and its checks (DESIGN: "A submission").
 *
 * Owner: the request's arena; the object dies when the arena is reset. Called by the worker.
 * Strings are unescaped UTF-8 that points into the arena (into the body where it had no escape),
 * so the object outlives the JSON parser's document.
 */
#ifndef SLUICE_RECORD_SUBMISSION_H
#define SLUICE_RECORD_SUBMISSION_H

#include "base/problem.h"
#include "record/arena.h"
#include "record/json.h"

#include <stdbool.h>
#include <stdint.h>

struct record_text {
    const char *data; /* not NUL-terminated; NULL when absent */
    uint32_t bytes;
};

/* Limits, in bytes of unescaped UTF-8 unless the name says count. They are part of the contract and
 * fixed, because the record's envelope is bounded by them. A string that is given is not empty (but
 * a score's value may be: an answer left blank) and holds no NUL; an optional member may also be
 * null, which means absent. */
#define RECORD_ID_BYTES_MAX         128  /* submissionId, studyId, centerId, patientId, amends */
#define RECORD_INSTRUMENT_BYTES_MAX 256  /* names in the CDISC pilot reach 49 */
#define RECORD_LABEL_BYTES_MAX      128  /* formVersion, visit, timezone */
#define RECORD_REASON_BYTES_MAX     2048 /* free text of a correction */
#define RECORD_ITEM_BYTES_MAX       128  /* an item's name in `scores` */
#define RECORD_SCORE_TEXT_BYTES_MAX 4096 /* a string answer */
#define RECORD_SCORE_COUNT_MAX      512  /* EORTC's item library forms stay under 200 items */

struct record_score {
    struct record_text item;
    struct record_text value; /* number: its characters; string: unescaped; null: "null" */
    uint8_t type;             /* RECORD_JSON_NUMBER, _STRING or _NULL */
};

#define RECORD_SUBMISSION_MAGIC 0x5B315510u

struct record_submission {
    uint32_t magic;
    struct record_text submission_id, study_id, center_id, patient_id, instrument, form_version,
        visit, timezone, amends, reason;
    int64_t device_time_ns;        /* `timestamp`, since 1970 UTC */
    int16_t device_offset_minutes; /* the offset written in an RFC 3339 timestamp, else 0 */
    bool device_offset_known;      /* false for epoch seconds and for "-00:00" (RFC 3339, 4.3) */
    uint32_t score_count;
    const struct record_score *scores; /* in the order of the body */
};

/* Arena bytes that a body of `body_bytes` can need beyond the body itself: object, scores and
 * unescaped copies. record_submission_parse never fails for lack of room in an arena that has
 * them. */
size_t record_submission_arena_bytes(size_t body_bytes);

/* Checks `document` (parsed from the `body_bytes` bytes at `body`, which live in `arena`) and
 * builds the object in `arena`. Returns 0, or -1 with the first fault found, in the order: root
 * not an object, then members in document order, then missing required members; every fault is
 * INVALID_SUBMISSION with a pointer and a detail that says what is expected.
 *
 * timestamp: a number of epoch seconds without sign or exponent, 0 <= t < 9223372036 (what 64 bits
 * of nanoseconds hold), fraction cut to nanoseconds; or an RFC 3339 date-time with offset or Z in
 * the same range (a leap second, 23:59:60 in UTC, counts as the second after 59; lower case t and z
 * are taken).
 * scores: an object of item -> number, string or null; item names are not empty.
 * answers: an object or an array, unchecked. Unknown members are left alone. */
int record_submission_parse(const struct record_json_document *document, const char *body,
                            size_t body_bytes, struct record_arena *arena,
                            struct record_submission **submission_out,
                            struct base_problem *problem_out);

/* Fills in `problem_out` for a body that is not JSON: MALFORMED_JSON with what and where. */
void record_submission_malformed(const struct record_json_fault *fault,
                                 struct base_problem *problem_out);

#endif
