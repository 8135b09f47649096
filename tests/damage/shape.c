#include "shape.h"

#include "base/check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BLOCKS (RIG_SEGMENT_BYTES / SEGMENT_BLOCK_BYTES)

/* --- writing --------------------------------------------------------------------------------- */

/* Batches of one record, of several, of several blocks, and marks, up to the segment's end. */
static void fill_segment(struct journal_rig *rig)
{
    journal_rig_put(rig, 3);
    journal_rig_mark(rig);
    for (int i = 0; i < 7; i++)
        journal_rig_append(rig, 64 + 100 * (size_t)i);
    journal_rig_commit(rig);
    journal_rig_append(rig, 4500);
    journal_rig_commit(rig);
    journal_rig_fill(rig);
}

/* The last segment: acknowledged batches, a mark, and a batch of two blocks that was written and
 * perhaps flushed, but not acknowledged when the engine died. */
static void begin_last_segment(struct journal_rig *rig)
{
    journal_rig_put(rig, 2);
    journal_rig_append(rig, 300);
    journal_rig_append(rig, 4800);
    journal_rig_commit(rig);
    journal_rig_put(rig, 3);
    journal_rig_mark(rig);
    journal_rig_append(rig, 5000);
    journal_rig_commit(rig);
}

static void write_three(struct journal_rig *rig, enum shape_plan plan)
{
    fill_segment(rig);
    journal_rig_put(rig, 1);
    journal_rig_seal(rig);
    fill_segment(rig);
    begin_last_segment(rig);
    if (plan != SHAPE_SEAL_CUT_OFF)
        journal_rig_seal(rig);
}

static void write_journal(struct shape *shape, enum shape_plan plan)
{
    struct journal_rig *rig = &shape->rig;
    journal_rig_open(rig);
    if (plan == SHAPE_ONE_SEALED || plan == SHAPE_ONE_OPEN)
        fill_segment(rig);
    else
        write_three(rig, plan);
    if (plan == SHAPE_ONE_SEALED)
        journal_rig_seal_current(rig);
    shape->present = rig->journal.next_sequence - 1;
    journal_rig_close(rig);
    bool is_one = plan == SHAPE_ONE_SEALED || plan == SHAPE_ONE_OPEN;
    shape->acknowledged = is_one ? shape->present : shape->present - 1;
    shape->has_watermark = plan != SHAPE_NO_WATERMARK;
    if (shape->has_watermark)
        journal_rig_set_watermark(rig, shape->acknowledged);
    else
        journal_rig_remove_watermark(rig);
}

/* --- noting what is where -------------------------------------------------------------------- */

static void add_structure(struct shape_file *file, uint64_t offset, uint64_t end, bool is_batch)
{
    CHECK(file->structure_count < SHAPE_STRUCTURES_MAX);
    if (offset < end)
        file->structures[file->structure_count++] = (struct shape_structure){offset, end, is_batch};
}

static void note_structures(const struct shape *shape, struct shape_file *file)
{
    uint64_t end = SEGMENT_BLOCK_BYTES, acknowledged_end = SEGMENT_BLOCK_BYTES;
    file->proof_offset = file->original.bytes;
    add_structure(file, 0, SEGMENT_BLOCK_BYTES, false);
    for (size_t i = 0; i < shape->rig.batch_count; i++) {
        const struct rig_batch *batch = &shape->rig.batches[i];
        if (batch->segment_number != file->segment_number)
            continue;
        CHECK(batch->offset == end);
        end += batch->bytes;
        add_structure(file, batch->offset, end, true);
        if (batch->record_count > 0 && batch->first_sequence <= shape->acknowledged)
            acknowledged_end = end;
        if (file->is_last && !shape->has_watermark)
            file->proof_offset = batch->offset;
    }
    file->protected_end = file->sealed    ? file->original.bytes
                          : file->is_last ? acknowledged_end
                                          : end;
    add_structure(file, end, file->original.bytes, false);
}

static void load_file(struct shape *shape, enum shape_file_kind kind, const char *path)
{
    CHECK(shape->file_count < SHAPE_FILES_MAX);
    struct shape_file *file = &shape->files[shape->file_count++];
    *file = (struct shape_file){.kind = kind};
    test_path(file->path, "%s", path);
    snprintf(file->name, sizeof(file->name), "%s", path + strlen(shape->directory) + 1);
    file->original = test_file_load(path);
    CHECK(chmod(path, 0644) == 0);
    file->fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(file->fd >= 0);
}

static void load_segments(struct shape *shape)
{
    char path[TEST_PATH_BYTES];
    for (uint64_t number = 1; number <= SHAPE_SEGMENTS_MAX; number++) {
        journal_rig_path(&shape->rig, number, SEGMENT_STATE_SEALED, path);
        bool sealed = test_file_exists(path);
        if (!sealed)
            journal_rig_path(&shape->rig, number, SEGMENT_STATE_OPEN, path);
        if (!test_file_exists(path))
            break;
        load_file(shape, SHAPE_SEGMENT, path);
        struct shape_file *file = &shape->files[shape->segment_count++];
        file->segment_number = number;
        file->sealed = sealed;
    }
    shape->files[shape->segment_count - 1].is_last = true;
    for (unsigned i = 0; i < shape->segment_count; i++)
        note_structures(shape, &shape->files[i]);
}

void shape_make(struct shape *shape, enum shape_plan plan, uint32_t journal, struct test_bytes node)
{
    static const char *const names[] = {"whole", "seal cut off", "no watermark", "one sealed",
                                        "one open"};
    char path[TEST_PATH_BYTES];
    *shape = (struct shape){.name = names[plan]};
    test_directory_make_in_memory(shape->directory);
    test_path(path, "%s/node", shape->directory);
    if (node.data != NULL)
        test_file_store(path, node.data, node.bytes);
    journal_rig_init(&shape->rig, shape->directory, journal);
    write_journal(shape, plan);
    load_segments(shape);
    load_file(shape, SHAPE_NODE, path);
    test_path(path, "%s/watermark", shape->directory);
    if (shape->has_watermark)
        load_file(shape, SHAPE_WATERMARK, path);
}

void shape_remove(struct shape *shape)
{
    for (unsigned i = 0; i < shape->file_count; i++) {
        close(shape->files[i].fd);
        test_bytes_free(&shape->files[i].original);
    }
    test_directory_remove(shape->directory);
}

struct shape_file *shape_node(struct shape *shape)
{
    return &shape->files[shape->segment_count];
}

const struct shape_structure *shape_structure_at(const struct shape_file *file, uint64_t offset)
{
    for (unsigned i = 0; i < file->structure_count; i++)
        if (offset < file->structures[i].end)
            return &file->structures[i];
    return &file->structures[file->structure_count - 1];
}
