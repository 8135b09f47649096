/* The study registry: which studies, centres, instruments and items there are, and what an answer
 * may be. Submissions are checked against it (record/findings.h) and stored whatever it says.
 *
 * Immutable: a registry is one block of memory, written while it is loaded and read-only from then
 * on, so any thread may read it without a lock. Owner: who loaded it; destroyed, all at once, when
 * no thread reads it any more. Lookups do not allocate. Texts point into the block.
 *
 * docs/registry.md has the files' form.
 */
#ifndef SLUICE_RECORD_REGISTRY_H
#define SLUICE_RECORD_REGISTRY_H

#include "base/error.h"
#include "record/encode.h"
#include "record/submission.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits. Beyond any of them loading fails and says so. */
#define RECORD_REGISTRY_FILES_MAX       256     /* a file per instrument and study, with room */
#define RECORD_REGISTRY_FILE_BYTES_MAX  1048576 /* a study of 10,000 centres has 600,000 */
#define RECORD_REGISTRY_TOTAL_BYTES_MAX 4194304 /* read and kept in memory once, at load */
#define RECORD_REGISTRY_STUDIES_MAX     64      /* a large sponsor's running trials on one engine */
#define RECORD_REGISTRY_CENTERS_MAX     4096    /* per study; the largest trials have some 1,500 */
#define RECORD_REGISTRY_INSTRUMENTS_MAX 256     /* in all, and per study */
#define RECORD_REGISTRY_VERSIONS_MAX    16      /* per instrument: it is searched one by one */
#define RECORD_REGISTRY_ITEMS_MAX       RECORD_SCORE_COUNT_MAX /* per version; more cannot come */
#define RECORD_REGISTRY_CHOICES_MAX     64                     /* per item; searched one by one */
#define RECORD_REGISTRY_WINDOWS_MAX     8 /* per instrument of a study: a diary every three hours */

#define RECORD_REGISTRY_ITEM_BYTES_MAX   64      /* an item's id; CDISC's have 8, PRO-CTCAE's 16 */
#define RECORD_REGISTRY_NAME_BYTES_MAX   256     /* a centre's name, for people */
#define RECORD_REGISTRY_CHOICE_BYTES_MAX 256     /* a choice that is a text */
#define RECORD_REGISTRY_LABEL_BYTES_MAX  40      /* a study's own version */
#define RECORD_REGISTRY_PLANNED_MAX      1000000 /* patients of a centre */
#define RECORD_REGISTRY_LIMIT_MAX        1000000000 /* of min, max and numeric choices, either sign */

/* Clock limits, in seconds, when a study gives none. A phone's clock is set by its network within a
 * second; a minute is drift that somebody should look at, five minutes is a clock set by hand. */
#define RECORD_REGISTRY_SKEW_S_STANDARD   60
#define RECORD_REGISTRY_FUTURE_S_STANDARD 300
#define RECORD_REGISTRY_CLOCK_S_MAX       86400

/* What is recorded: 16 hexadecimal digits, and, for a known study, a blank and its own version. */
#define RECORD_REGISTRY_DIGEST_DIGITS 16
_Static_assert(RECORD_REGISTRY_DIGEST_DIGITS + 1 + RECORD_REGISTRY_LABEL_BYTES_MAX <=
                   RECORD_REGISTRY_VERSION_BYTES_MAX,
               "the version that is recorded");

/* Open addressing over an array: a slot holds an index into it, plus 1, or 0. At most half of the
 * slots are taken, so a search ends. Keys that come from outside meet a table that only the trial's
 * staff fills, so nobody outside can make its clusters longer. */
struct record_registry_table {
    uint32_t mask; /* slots, a power of two, less 1 */
    const uint32_t *slots;
};

enum record_registry_type {
    RECORD_REGISTRY_INTEGER, /* a number without a fraction */
    RECORD_REGISTRY_NUMBER,
    RECORD_REGISTRY_TEXT,
    RECORD_REGISTRY_CHOICE, /* one of a list of numbers and texts */
};

struct record_registry_choice {
    struct record_text text; /* .data NULL: a number */
    int64_t millionths;
};

struct record_registry_item {
    struct record_text id;
    uint8_t type; /* enum record_registry_type */
    bool required;
    bool number_choices, text_choices; /* CHOICE: there are some of that kind */
    uint16_t choice_count;
    union {
        struct {
            int64_t min_millionths, max_millionths; /* INTEGER and NUMBER */
        };
        const struct record_registry_choice *choices;
    };
};

#define RECORD_REGISTRY_ITEM_WORDS ((RECORD_REGISTRY_ITEMS_MAX + 63) / 64)

struct record_registry_version {
    struct record_text id;
    uint32_t item_count;
    uint32_t required_count;
    const struct record_registry_item *items;
    struct record_registry_table item_table;
    uint64_t required[RECORD_REGISTRY_ITEM_WORDS]; /* a bit per item */
};

struct record_registry_instrument {
    struct record_text id;
    uint32_t version_count;
    const struct record_registry_version *versions;
};

/* Local time of day in which an instrument is to be answered. */
struct record_registry_window {
    int64_t from_ns;   /* since midnight, 0 <= from < 24 h */
    int64_t length_ns; /* 0 < length <= 24 h: up to its end and the lateness that is allowed */
};

/* An instrument as a study uses it. */
struct record_registry_use {
    struct record_text id; /* the instrument's */
    uint32_t version_count, window_count;
    const struct record_registry_version *const *versions; /* those that the study takes */
    const struct record_registry_window *windows;
};

struct record_registry_center {
    struct record_text id, name; /* name.data NULL: none */
    uint32_t planned;            /* patients */
    bool offset_known;
    int16_t offset_minutes; /* of its local time, where a device gives none */
};

struct record_registry_study {
    struct record_text id;
    struct record_text label;   /* its own version */
    struct record_text version; /* as it is recorded: digest, blank, label */
    uint32_t center_count, use_count;
    uint64_t planned; /* of all centres */
    const struct record_registry_center *centers;
    struct record_registry_table center_table;
    const struct record_registry_use *uses;
    struct record_registry_table use_table;
    int64_t skew_ns, future_ns;
};

#define RECORD_REGISTRY_MAGIC 0x2E615712u

struct record_registry {
    uint32_t magic;
    uint32_t file_count, study_count, instrument_count;
    size_t block_bytes;         /* of the block that this begins */
    struct record_text version; /* the digest's digits, for a submission of no known study */
    const struct record_registry_study *studies; /* in the order of the files */
    struct record_registry_table study_table;
    const struct record_registry_instrument *instruments;
};

/* Reads the file `path`, or, when that is a directory, every file in it whose name ends in .yaml
 * and does not begin with a dot, in the order of their names. Returns 0 and the registry, or a
 * negative errno with a sentence that names file, line and column. */
int record_registry_load(const char *path, struct record_registry **registry_out,
                         struct base_error *error);

/* A file in memory. */
struct record_registry_source {
    const char *path; /* as errors name it */
    const char *text;
    size_t bytes;
};

/* The same from memory. */
int record_registry_build(const struct record_registry_source *sources, size_t count,
                          struct record_registry **registry_out, struct base_error *error);

void record_registry_destroy(const struct record_registry *registry); /* NULL is fine */

/* Lookups: NULL when there is none. A text that is absent (.data NULL) is never found. */
const struct record_registry_study *record_registry_study(const struct record_registry *registry,
                                                          struct record_text id);
const struct record_registry_center *
record_registry_center(const struct record_registry_study *study, struct record_text id);
const struct record_registry_use *record_registry_use(const struct record_registry_study *study,
                                                      struct record_text id);
const struct record_registry_version *record_registry_version(const struct record_registry_use *use,
                                                              struct record_text id);

/* `hint` is tried first: answers usually come in the order of the items. */
const struct record_registry_item *
record_registry_item(const struct record_registry_version *version, struct record_text id,
                     uint32_t hint);

#endif
