/* One edit of a file: drawn from a seed and a number, made in memory, applied to the file and taken
 * back. Only the bytes that differ are written.
 *
 * Owner: the program; one thread. What fails here is the machine, not the engine: it is asserted.
 */
#ifndef SLUICE_TESTS_DAMAGE_EDIT_H
#define SLUICE_TESTS_DAMAGE_EDIT_H

#include "base/random.h"
#include "shape.h"

#define EDIT_GROWTH_BYTES_MAX 20480 /* five blocks */

enum edit_kind {
    EDIT_SWAP,
    EDIT_ZERO,
    EDIT_TRUNCATE,
    EDIT_GROW,
    EDIT_DUPLICATE,
    EDIT_REMOVE,
    EDIT_INSERT,
    EDIT_OVERWRITE,
    EDIT_FLIP,
    EDIT_SPLICE_SEGMENT, /* from another segment of the journal */
    EDIT_SPLICE_JOURNAL, /* from another journal of the node */
    EDIT_SPLICE_NODE,    /* from another node's journal of the same number */
    EDIT_SPLICE_HISTORY, /* from a copy of the directory that went another way */
    EDIT_MAGIC,          /* what begins a structure, at the start of a block */
    EDIT_MARK,           /* of `watermark` only: another number in a slot */
    EDIT_KINDS,
};

extern const char *const edit_kind_names[EDIT_KINDS];

/* Where spliced bytes come from; EDIT_SPLICE_SEGMENT needs none. */
struct edit_donors {
    const struct shape *journal, *node, *history;
};

struct edit {
    enum edit_kind kind;
    struct shape_file *file;
    uint8_t *data;     /* the file as edited */
    uint64_t bytes;    /* its size */
    uint64_t from, to; /* the first changed byte, behind the last one; vanished and added bytes
                          count; from == to: nothing changed */
};

/* Draws kind and bytes from `random`. The result is good until the next call. */
void edit_draw(struct edit *edit, struct base_random *random, const struct shape *shape,
               struct shape_file *file, const struct edit_donors *donors);

void edit_apply(const struct edit *edit);
void edit_take_back(const struct edit *edit);

#endif
