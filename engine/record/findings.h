/* Checks a submission against the registry. What is outside it becomes findings; nothing is ever
 * refused: a trial does not throw an answer away.
 *
 * Called by the worker between parse and encode. The registry is read only during the call; the
 * result lives in the submission's arena, because the registry may be replaced before the record is
 * written and the receipt sent. No allocation beyond the arena, no error.
 *
 * Findings hold no answer and nothing about the patient: a code and, behind it, the id of an item,
 * a number of findings or a fixed text.
 */
#ifndef SLUICE_RECORD_FINDINGS_H
#define SLUICE_RECORD_FINDINGS_H

#include "record/arena.h"
#include "record/encode.h"
#include "record/registry.h"
#include "record/submission.h"

#include <stdbool.h>
#include <stdint.h>

/* X(name, code, what its details are); codes are on disk and in receipts and never change. In the
 * order in which they stand in a record. */
#define RECORD_FINDING_EACH(X)                                                                     \
    X(UNKNOWN_STUDY, "unknown-study", NOTE)                                                        \
    X(UNKNOWN_CENTER, "unknown-center", NOTE)                                                      \
    X(UNKNOWN_INSTRUMENT, "unknown-instrument", NOTE)                                              \
    X(UNKNOWN_VERSION, "unknown-version", NOTE)                                                    \
    X(FUTURE_TIMESTAMP, "future-timestamp", NOTE)                                                  \
    X(CLOCK_SKEW, "clock-skew", NOTE)                                                              \
    X(EARLY, "early", NOTE)                                                                        \
    X(LATE, "late", NOTE)                                                                          \
    X(WINDOW_NOT_CHECKED, "window-not-checked", NOTE)                                              \
    X(UNKNOWN_ITEM, "unknown-item", ITEM)                                                          \
    X(WRONG_TYPE, "wrong-type", ITEM)                                                              \
    X(OUT_OF_RANGE, "out-of-range", ITEM)                                                          \
    X(MISSING_ITEM, "missing-item", ITEM)                                                          \
    X(MORE_FINDINGS, "more-findings", NOTE)

enum record_finding_code {
#define RECORD_FINDING_ENUM(name, code, details) RECORD_FINDING_##name,
    RECORD_FINDING_EACH(RECORD_FINDING_ENUM)
#undef RECORD_FINDING_ENUM
        RECORD_FINDING_CODE_COUNT
};

/* Codes and details of all findings of a record, as characters in JSON: room for sixteen findings
 * on items whose ids have 50 bytes. Where there is more, the last finding says how many. */
#define RECORD_FINDINGS_TEXT_BYTES_MAX 1024

/* What the check takes from the arena at most, alignment included. */
#define RECORD_FINDINGS_ARENA_BYTES                                                                \
    (RECORD_FINDING_COUNT_MAX * sizeof(struct record_text) + RECORD_FINDINGS_TEXT_BYTES_MAX +      \
     RECORD_REGISTRY_VERSION_BYTES_MAX + _Alignof(struct record_text))

struct record_findings {
    const struct record_text *list; /* each: code, then, behind one NUL byte, details */
    uint32_t count;                 /* up to RECORD_FINDING_COUNT_MAX */
    struct record_text version;     /* of the registry, as it is recorded; .data NULL: unchecked */
};

/* `received_at_ns` is the server's clock (since 1970, UTC), which is taken to be right. */
void record_findings_check(const struct record_registry *registry,
                           const struct record_submission *submission, uint64_t received_at_ns,
                           struct record_arena *arena, struct record_findings *findings_out);

/* The parts of a finding's text: bytes of its code, and whether its details are an item's id. */
uint32_t record_finding_code_bytes(struct record_text finding);
bool record_finding_names_item(struct record_text finding);

#endif
