#include "memory_journal.h"

#include "sample_record.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct segment_watermark_slot slots[SEGMENT_WATERMARK_JOURNALS_MAX];

void memory_journal_init(struct memory_journal *rig)
{
    struct segment_journal_start_point point = {
        .journal = MEMORY_JOURNAL_NUMBER,
        .fd = -1,
        .next_sequence = 1,
    };
    memset(rig, 0, sizeof(*rig));
    memset(slots, 0, sizeof(slots));
    memory_disk_init(&rig->disk);
    memset(rig->catalog.node_id, 0x4E, sizeof(rig->catalog.node_id));
    rig->watermark = (struct segment_watermark){.mapping = slots, .slots = slots};
    size_t bytes = segment_journal_bytes(MEMORY_JOURNAL_BATCH_BYTES, MEMORY_DISK_FILE_BYTES);
    rig->memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    cr_assert_not_null(rig->memory);
    memset(rig->memory, 0xA5, bytes);
    segment_journal_init(&rig->journal, rig->memory, MEMORY_JOURNAL_BATCH_BYTES,
                         MEMORY_DISK_FILE_BYTES, &rig->catalog, &point, &rig->disk.io,
                         &rig->watermark, &rig->handoff);
    memory_journal_prepare(rig, 1);
}

void memory_journal_fini(struct memory_journal *rig)
{
    free(rig->memory);
}

void memory_journal_prepare(struct memory_journal *rig, uint64_t number)
{
    cr_assert_null(load_acquire(&rig->handoff.prepared));
    rig->handoff.prepared_storage = (struct segment_prepared){
        .fd = (int)number,
        .segment_number = number,
        .file_bytes = MEMORY_DISK_FILE_BYTES,
    };
    store_release(&rig->handoff.prepared, &rig->handoff.prepared_storage);
}

uint64_t memory_journal_append(struct memory_journal *rig, size_t body_bytes)
{
    static char body[SAMPLE_BODY_BYTES_MAX];
    struct record_envelope envelope;
    sample_body(rig->journal.next_sequence, body_bytes, body);
    sample_envelope(rig->journal.next_sequence, body, body_bytes, &envelope);
    cr_assert(segment_journal_fits(&rig->journal, record_encode_bytes(&envelope)));
    segment_journal_append(&rig->journal, &envelope);
    return envelope.sequence;
}

enum segment_journal_start memory_journal_start(struct memory_journal *rig, bool mark)
{
    return segment_journal_start(&rig->journal, mark);
}

enum segment_journal_event memory_journal_finish(struct memory_journal *rig, int result)
{
    return segment_journal_complete(&rig->journal, memory_disk_finish(&rig->disk, result));
}

enum segment_journal_event memory_journal_succeed(struct memory_journal *rig)
{
    return segment_journal_complete(&rig->journal, memory_disk_succeed(&rig->disk));
}

void memory_journal_start_batch(struct memory_journal *rig, size_t body_bytes)
{
    memory_journal_append(rig, body_bytes);
    cr_assert_eq(memory_journal_start(rig, false), SEGMENT_JOURNAL_STARTED);
    while (rig->journal.state != SEGMENT_JOURNAL_BATCH_WRITE)
        cr_assert_eq(memory_journal_succeed(rig), SEGMENT_JOURNAL_CONTINUES);
}

void memory_journal_put(struct memory_journal *rig)
{
    memory_journal_start_batch(rig, 200);
    cr_assert_eq(memory_journal_succeed(rig), SEGMENT_JOURNAL_CONTINUES);
    cr_assert_eq(memory_journal_succeed(rig), SEGMENT_JOURNAL_DURABLE);
}

void memory_journal_expect_write(const struct memory_journal *rig, int fd, uint64_t offset,
                                 uint32_t bytes)
{
    const struct memory_disk_operation *operation = memory_disk_pending(&rig->disk);
    cr_assert_eq(operation->kind, MEMORY_DISK_WRITE);
    cr_assert_eq(operation->fd, fd);
    cr_assert_eq(operation->offset, offset);
    cr_assert_eq(operation->bytes, bytes);
}

void memory_journal_expect_flush(const struct memory_journal *rig, int fd)
{
    const struct memory_disk_operation *operation = memory_disk_pending(&rig->disk);
    cr_assert_eq(operation->kind, MEMORY_DISK_FLUSH);
    cr_assert_eq(operation->fd, fd);
}

uint64_t memory_journal_watermark(const struct memory_journal *rig)
{
    return segment_watermark_read(&rig->watermark, MEMORY_JOURNAL_NUMBER);
}

void memory_journal_expect_poisoned(struct memory_journal *rig, int failure, const char *operation)
{
    cr_assert_eq(rig->journal.state, SEGMENT_JOURNAL_FAILED);
    cr_assert_eq(rig->journal.failure, failure, "%d", rig->journal.failure);
    cr_assert_str_eq(rig->journal.failed_operation, operation);
    cr_assert_not(segment_journal_is_busy(&rig->journal));
    cr_assert(memory_disk_is_idle(&rig->disk), "an operation after the failure");
    cr_assert_eq(memory_journal_watermark(rig), rig->journal.durable);
}
