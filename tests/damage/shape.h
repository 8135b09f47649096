/* A small data directory to damage: what its files hold, byte for byte, what was acknowledged, and
 * where each structure of a segment lies. All of it is noted while the directory is written; none
 * is read back through the engine's own checks.
 *
 * Owner: the program; one thread. Making a shape asserts that it succeeds.
 */
#ifndef SLUICE_TESTS_DAMAGE_SHAPE_H
#define SLUICE_TESTS_DAMAGE_SHAPE_H

#include "../unit/journal_rig.h"

#define SHAPE_SEGMENTS_MAX   3
#define SHAPE_STRUCTURES_MAX 24
#define SHAPE_FILES_MAX      (SHAPE_SEGMENTS_MAX + 2)

enum shape_file_kind { SHAPE_SEGMENT, SHAPE_NODE, SHAPE_WATERMARK };

/* A header, a batch, a footer, or the zeros behind the last batch of an open segment. */
struct shape_structure {
    uint64_t offset, end;
    bool is_batch;
};

struct shape_file {
    enum shape_file_kind kind;
    char name[64]; /* below the data directory */
    char path[TEST_PATH_BYTES];
    int fd;
    struct test_bytes original;
    /* segments only */
    uint64_t segment_number;
    bool sealed;
    bool is_last;           /* the last one in use */
    uint64_t protected_end; /* behind the last batch that holds something acknowledged, or that a
                               later segment proves complete */
    uint64_t proof_offset;  /* of the batch whose watermark covers the acknowledged ones, where
                               there is no watermark file; else the file's size */
    struct shape_structure structures[SHAPE_STRUCTURES_MAX];
    unsigned structure_count;
};

struct shape {
    const char *name;
    char directory[TEST_PATH_BYTES];
    struct shape_file files[SHAPE_FILES_MAX]; /* segments ascending, then node, then watermark */
    unsigned file_count, segment_count;
    bool has_watermark;
    uint64_t acknowledged; /* records 1 to this one */
    uint64_t present;      /* records that are there, also not acknowledged ones */
    struct journal_rig rig;
};

/* How the directory was left. */
enum shape_plan {
    SHAPE_WHOLE,        /* two sealed segments, an open one with a batch nobody was told of */
    SHAPE_SEAL_CUT_OFF, /* the same, but the second one never got its footer */
    SHAPE_NO_WATERMARK, /* as SHAPE_WHOLE, and the file `watermark` was lost */
    SHAPE_ONE_SEALED,   /* one sealed segment of exactly 64 KiB */
    SHAPE_ONE_OPEN,     /* one open segment, acknowledged up to its last batch */
};

/* `node` is the node file to use, or has no data: a node of its own. `journal` is 0 except for
 * shapes that are only there to splice from. */
void shape_make(struct shape *shape, enum shape_plan plan, uint32_t journal,
                struct test_bytes node);
void shape_remove(struct shape *shape);

struct shape_file *shape_node(struct shape *shape);

/* The structure that holds the byte at `offset`; the last one for offsets behind the file. */
const struct shape_structure *shape_structure_at(const struct shape_file *file, uint64_t offset);

#endif
