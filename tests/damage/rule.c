#include "rule.h"

#include <string.h>

/* Sizes and offsets of sections 3.2 and 8, written again on purpose. */
#define BATCH_HEADER_BYTES 128
#define MARKS_HEADER_BYTES 64
#define SLOT_BYTES         64
#define SLOT_COUNT         1024
#define MARKS_BYTES        (MARKS_HEADER_BYTES + SLOT_COUNT * SLOT_BYTES)

const char *const rule_names[RULE_COUNT] = {
    "must be found",
    "no byte differs",
    "a torn tail behind everything acknowledged",
    "behind the last batch of a complete open segment",
    "reserved bytes of a watermark slot",
    "watermark header invalid, marks count as 0",
    "a lower mark, its records proved elsewhere",
    "a higher mark, its record present",
};

/* A batch that starts behind the first changed structure and whose header is as it was. */
static bool a_batch_stands_behind(const struct shape_file *file, const struct edit *edit)
{
    const struct shape_structure *changed = shape_structure_at(file, edit->from);
    for (unsigned i = 0; i < file->structure_count; i++) {
        const struct shape_structure *structure = &file->structures[i];
        if (structure->is_batch && structure->offset > changed->offset &&
            memcmp(edit->data + structure->offset, file->original.data + structure->offset,
                   BATCH_HEADER_BYTES) == 0)
            return true;
    }
    return false;
}

static enum rule segment_rule(const struct edit *edit)
{
    const struct shape_file *file = edit->file;
    /* every byte of a sealed segment is covered; an open one keeps its size until it is sealed */
    if (file->sealed || edit->bytes != file->original.bytes || edit->from < file->protected_end)
        return RULE_MUST_BE_FOUND;
    if (!file->is_last)
        return RULE_BEHIND_COMPLETE;
    return a_batch_stands_behind(file, edit) ? RULE_MUST_BE_FOUND : RULE_TORN_TAIL;
}

static uint64_t mark_in(const uint8_t *marks, uint32_t journal)
{
    uint64_t mark;
    memcpy(&mark, marks + MARKS_HEADER_BYTES + journal * SLOT_BYTES, sizeof(mark));
    return mark;
}

static enum rule watermark_rule(const struct shape *shape, const struct edit *edit)
{
    const uint8_t *original = edit->file->original.data;
    /* a changed header is an invalid one: its checksum covers it, and no draw hits the checksum of
     * another valid one but that of another node, which is not this one's either */
    if (edit->bytes != MARKS_BYTES || memcmp(edit->data, original, MARKS_HEADER_BYTES) != 0)
        return RULE_MARKS_VOID;
    for (uint32_t journal = 0; journal < SLOT_COUNT; journal++) {
        uint64_t present = journal == shape->rig.number ? shape->present : 0;
        if (mark_in(edit->data, journal) > present)
            return RULE_MUST_BE_FOUND;
    }
    uint64_t before = mark_in(original, shape->rig.number);
    uint64_t after = mark_in(edit->data, shape->rig.number);
    if (after == before)
        return RULE_MARK_RESERVED;
    return after < before ? RULE_MARK_LOWER : RULE_MARK_PRESENT;
}

enum rule rule_for(const struct shape *shape, const struct edit *edit)
{
    if (edit->from == edit->to)
        return RULE_NO_EDIT;
    switch (edit->file->kind) {
    case SHAPE_SEGMENT:
        return segment_rule(edit);
    case SHAPE_WATERMARK:
        return watermark_rule(shape, edit);
    case SHAPE_NODE:
        break;
    }
    return RULE_MUST_BE_FOUND; /* section 2 leaves nothing open */
}
