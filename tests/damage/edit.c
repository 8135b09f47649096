#include "edit.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES (RIG_SEGMENT_BYTES + 65536 + EDIT_GROWTH_BYTES_MAX)

const char *const edit_kind_names[EDIT_KINDS] = {
    [EDIT_SWAP] = "ranges swapped",
    [EDIT_ZERO] = "range zeroed",
    [EDIT_TRUNCATE] = "file cut",
    [EDIT_GROW] = "file longer",
    [EDIT_DUPLICATE] = "range duplicated",
    [EDIT_REMOVE] = "range removed",
    [EDIT_INSERT] = "range inserted",
    [EDIT_OVERWRITE] = "random bytes",
    [EDIT_FLIP] = "bits flipped",
    [EDIT_SPLICE_SEGMENT] = "from another segment",
    [EDIT_SPLICE_JOURNAL] = "from another journal",
    [EDIT_SPLICE_NODE] = "from another node",
    [EDIT_SPLICE_HISTORY] = "from another history",
    [EDIT_MAGIC] = "another structure's magic",
    [EDIT_MARK] = "mark changed",
};

struct range {
    uint64_t offset, bytes;
};

static uint64_t below(struct base_random *random, uint64_t limit)
{
    return base_random_next(random) % limit;
}

/* From one byte to five blocks, small ones as likely as large ones; half of them whole blocks. */
static uint64_t draw_size(struct base_random *random, uint64_t limit)
{
    uint64_t size = 1 + below(random, UINT64_C(1) << (1 + below(random, 14)));
    if (below(random, 2) == 0)
        size = SEGMENT_BLOCK_BYTES * (1 + below(random, 5));
    return size < limit ? size : limit;
}

/* Anywhere, or at a multiple of 8, 512 or 4,096. */
static uint64_t draw_offset(struct base_random *random, uint64_t limit)
{
    static const uint64_t units[] = {1, 8, 512, SEGMENT_BLOCK_BYTES};
    uint64_t unit = units[below(random, 4)];
    uint64_t offset = below(random, limit);
    return offset - offset % unit;
}

static struct range draw_range(struct base_random *random, uint64_t limit)
{
    uint64_t bytes = draw_size(random, limit);
    return (struct range){draw_offset(random, limit - bytes + 1), bytes};
}

/* --- the kinds ------------------------------------------------------------------------------ */

static void swap_ranges(struct edit *edit, struct base_random *random, uint64_t limit)
{
    static uint8_t copy[EDIT_GROWTH_BYTES_MAX];
    uint64_t bytes = draw_size(random, limit / 2);
    uint64_t a = draw_offset(random, limit - 2 * bytes + 1);
    uint64_t b = a + bytes + draw_offset(random, limit - a - 2 * bytes + 1);
    memcpy(copy, edit->data + a, bytes);
    memcpy(edit->data + a, edit->data + b, bytes);
    memcpy(edit->data + b, copy, bytes);
}

static void grow(struct edit *edit, struct base_random *random)
{
    uint64_t bytes = 1 + draw_size(random, EDIT_GROWTH_BYTES_MAX - 1);
    uint8_t *end = edit->data + edit->bytes;
    switch (below(random, 3)) {
    case 0:
        memset(end, 0, bytes);
        break;
    case 1:
        base_random_fill(random, end, bytes);
        break;
    default:
        bytes = bytes < edit->bytes ? bytes : edit->bytes;
        memcpy(end, edit->data + draw_offset(random, edit->bytes - bytes + 1), bytes);
    }
    edit->bytes += bytes;
}

static void duplicate(struct edit *edit, struct base_random *random, uint64_t limit)
{
    struct range from = draw_range(random, limit);
    memmove(edit->data + draw_offset(random, limit - from.bytes + 1), edit->data + from.offset,
            from.bytes);
}

static void remove_range(struct edit *edit, struct base_random *random, uint64_t limit)
{
    struct range gone = draw_range(random, limit);
    memmove(edit->data + gone.offset, edit->data + gone.offset + gone.bytes,
            edit->bytes - gone.offset - gone.bytes);
    edit->bytes -= gone.bytes;
}

static void insert_range(struct edit *edit, struct base_random *random, uint64_t limit)
{
    struct range new = draw_range(random, limit);
    memmove(edit->data + new.offset + new.bytes, edit->data + new.offset, edit->bytes - new.offset);
    if (below(random, 2) == 0)
        memset(edit->data + new.offset, 0, new.bytes);
    edit->bytes += new.bytes;
}

static void overwrite(struct edit *edit, struct base_random *random, uint64_t limit)
{
    struct range range = draw_range(random, limit);
    base_random_fill(random, edit->data + range.offset, range.bytes);
}

static void flip(struct edit *edit, struct base_random *random, uint64_t limit)
{
    for (uint64_t count = 1 + below(random, 8); count > 0; count--)
        edit->data[below(random, limit)] ^= (uint8_t)(1u << below(random, 8));
}

/* Bytes of `donor` from `first` on, at the same place or at another one. */
static void splice(struct edit *edit, struct base_random *random, uint64_t limit,
                   struct test_bytes donor, uint64_t first)
{
    uint64_t end = donor.bytes < limit ? donor.bytes : limit;
    if (end <= first)
        return;
    struct range from = draw_range(random, end - first);
    uint64_t to =
        below(random, 2) == 0 ? from.offset : draw_offset(random, end - first - from.bytes + 1);
    memcpy(edit->data + first + to, donor.data + first + from.offset, from.bytes);
}

static void set_magic(struct edit *edit, struct base_random *random, uint64_t limit)
{
    static const char magics[][9] = {"SLUICSEG", "SLUICBAT", "SLUICFTR",
                                     "SLUICEND", "SLUICWMK", "SREC"};
    uint64_t offset = below(random, limit);
    offset -= offset % SEGMENT_BLOCK_BYTES;
    if (offset + 8 <= limit)
        memcpy(edit->data + offset, magics[below(random, sizeof(magics) / sizeof(magics[0]))], 8);
}

/* A small number or any, mostly in the slot of the journal that is there. */
static void set_mark(struct edit *edit, struct base_random *random, const struct shape *shape)
{
    uint64_t slot = below(random, 4) != 0 ? shape->rig.number : below(random, 1024);
    uint64_t mark =
        below(random, 2) == 0 ? base_random_next(random) : below(random, shape->present + 3);
    memcpy(edit->data + (slot + 1) * SEGMENT_WATERMARK_SLOT_BYTES, &mark, sizeof(mark));
}

/* --- drawing -------------------------------------------------------------------------------- */

/* The donor's file of the same kind; of segments, any. */
static const struct shape_file *draw_donor(struct base_random *random, const struct shape *donor,
                                           const struct shape_file *file)
{
    if (file->kind == SHAPE_SEGMENT)
        return &donor->files[below(random, donor->segment_count)];
    for (unsigned i = donor->segment_count; i < donor->file_count; i++)
        if (donor->files[i].kind == file->kind)
            return &donor->files[i];
    return file;
}

/* Headers of one journal's segments in two histories of a directory differ in nothing but the time
 * of creation, which only the header's checksum covers: they stay out. */
static void splice_history(struct edit *edit, struct base_random *random, uint64_t limit,
                           const struct shape *history)
{
    bool has_header = edit->file->kind == SHAPE_SEGMENT;
    splice(edit, random, limit, draw_donor(random, history, edit->file)->original,
           has_header ? SEGMENT_BLOCK_BYTES : 0);
}

static void draw_kind(struct edit *edit, struct base_random *random, const struct shape *shape,
                      const struct edit_donors *donors, uint64_t limit)
{
    switch (edit->kind) {
    case EDIT_SWAP:
        return swap_ranges(edit, random, limit);
    case EDIT_ZERO: {
        struct range range = draw_range(random, limit);
        memset(edit->data + range.offset, 0, range.bytes);
        return;
    }
    case EDIT_TRUNCATE:
        edit->bytes = draw_offset(random, edit->bytes);
        return;
    case EDIT_GROW:
        return grow(edit, random);
    case EDIT_DUPLICATE:
        return duplicate(edit, random, limit);
    case EDIT_REMOVE:
        return remove_range(edit, random, limit);
    case EDIT_INSERT:
        return insert_range(edit, random, limit);
    case EDIT_OVERWRITE:
        return overwrite(edit, random, limit);
    case EDIT_FLIP:
        return flip(edit, random, limit);
    case EDIT_SPLICE_SEGMENT:
        return splice(edit, random, limit,
                      shape->files[below(random, shape->segment_count)].original, 0);
    case EDIT_SPLICE_JOURNAL:
        return splice(edit, random, limit,
                      draw_donor(random, donors->journal, edit->file)->original, 0);
    case EDIT_SPLICE_NODE:
        return splice(edit, random, limit, draw_donor(random, donors->node, edit->file)->original,
                      0);
    case EDIT_SPLICE_HISTORY:
        return splice_history(edit, random, limit, donors->history);
    case EDIT_MAGIC:
        return set_magic(edit, random, limit);
    case EDIT_MARK:
    case EDIT_KINDS:
        return set_mark(edit, random, shape);
    }
}

/* Narrows `from` and `to` to what differs. */
static void find_difference(struct edit *edit)
{
    const struct test_bytes *original = &edit->file->original;
    uint64_t common = edit->bytes < original->bytes ? edit->bytes : original->bytes;
    edit->from = 0;
    while (edit->from + 64 <= common &&
           memcmp(edit->data + edit->from, original->data + edit->from, 64) == 0)
        edit->from += 64;
    while (edit->from < common && edit->data[edit->from] == original->data[edit->from])
        edit->from++;
    edit->to = edit->bytes > original->bytes ? edit->bytes : original->bytes;
    if (edit->bytes != original->bytes)
        return;
    while (edit->to > edit->from && edit->data[edit->to - 1] == original->data[edit->to - 1])
        edit->to--;
}

void edit_draw(struct edit *edit, struct base_random *random, const struct shape *shape,
               struct shape_file *file, const struct edit_donors *donors)
{
    static uint8_t buffer[BUFFER_BYTES];
    *edit = (struct edit){.file = file, .data = buffer, .bytes = file->original.bytes};
    CHECK(file->original.bytes + EDIT_GROWTH_BYTES_MAX <= sizeof(buffer));
    memcpy(buffer, file->original.data, file->original.bytes);
    edit->kind = (enum edit_kind)below(random, EDIT_MARK);
    if (file->kind == SHAPE_WATERMARK && below(random, 3) == 0)
        edit->kind = EDIT_MARK;
    /* without a watermark file, only what stands behind can prove what was acknowledged */
    uint64_t limit = file->kind == SHAPE_SEGMENT ? file->proof_offset : file->original.bytes;
    draw_kind(edit, random, shape, donors, limit);
    find_difference(edit);
}

/* --- the file ------------------------------------------------------------------------------- */

static void write_range(int fd, const uint8_t *data, uint64_t from, uint64_t to)
{
    if (from < to)
        CHECK(pwrite(fd, data + from, to - from, (off_t)from) == (ssize_t)(to - from));
}

static void change(int fd, uint64_t bytes_before, struct test_bytes after, uint64_t from,
                   uint64_t to)
{
    if (after.bytes < bytes_before)
        CHECK(ftruncate(fd, (off_t)after.bytes) == 0);
    write_range(fd, after.data, from, to < after.bytes ? to : after.bytes);
}

void edit_apply(const struct edit *edit)
{
    struct test_bytes edited = {edit->data, edit->bytes};
    change(edit->file->fd, edit->file->original.bytes, edited, edit->from, edit->to);
}

void edit_take_back(const struct edit *edit)
{
    change(edit->file->fd, edit->bytes, edit->file->original, edit->from, edit->to);
}
