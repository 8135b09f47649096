#include "segment/journal.h"

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"

#include <errno.h>
#include <string.h>

/* Short writes in a row that complete no block before the disk counts as failed. */
#define SHORT_WRITES_MAX 16

size_t segment_journal_bytes(uint64_t batch_bytes, uint64_t segment_bytes)
{
    return SEGMENT_BLOCK_BYTES + 2 * batch_bytes +
           2 * segment_round_up(segment_index_capacity(segment_bytes) *
                                    sizeof(struct segment_index_entry),
                                SEGMENT_BLOCK_BYTES);
}

static void divide_memory(struct segment_journal *journal, uint8_t *memory, uint64_t batch_bytes,
                          uint64_t segment_bytes)
{
    CHECK(((uintptr_t)memory & (SEGMENT_BLOCK_BYTES - 1)) == 0);
    journal->header_block = (struct segment_header *)(void *)memory;
    memory += SEGMENT_BLOCK_BYTES;
    for (int i = 0; i < 2; i++) {
        segment_batch_init(&journal->batches[i], memory, (uint32_t)batch_bytes);
        memory += batch_bytes;
    }
    uint32_t capacity = segment_index_capacity(segment_bytes);
    for (int i = 0; i < 2; i++) {
        journal->indexes[i] = (struct segment_index){
            .entries = (struct segment_index_entry *)(void *)memory,
            .capacity = capacity,
        };
        memory +=
            segment_round_up(capacity * sizeof(struct segment_index_entry), SEGMENT_BLOCK_BYTES);
    }
    journal->index = &journal->indexes[0];
    journal->open = &journal->batches[0];
    journal->flying = &journal->batches[1];
}

void segment_journal_init(struct segment_journal *journal, void *memory, uint64_t batch_bytes,
                          uint64_t segment_bytes, const struct segment_catalog *catalog,
                          const struct segment_journal_start_point *point, struct segment_io *io,
                          struct segment_watermark *watermark, struct segment_handoff *handoff)
{
    *journal = (struct segment_journal){
        .magic = SEGMENT_JOURNAL_MAGIC,
        .journal = point->journal,
        .io = io,
        .watermark = watermark,
        .handoff = handoff,
        .state = SEGMENT_JOURNAL_IDLE,
        .fd = point->has_segment ? point->fd : -1,
        .segment_number = point->segment_number,
        .file_bytes = point->file_bytes,
        .write_offset = point->write_offset,
        .batch_number = point->batch_number,
        .next_sequence = point->next_sequence,
        .durable = point->next_sequence - 1,
        .mark_owed = point->mark_owed,
    };
    CHECK(point->next_sequence > 0);
    memcpy(journal->node_id, catalog->node_id, SEGMENT_NODE_BYTES);
    memcpy(journal->hash, point->hash, SEGMENT_HASH_BYTES);
    divide_memory(journal, memory, batch_bytes, segment_bytes);
    if (!point->has_segment)
        return;
    const struct segment_index *recovered = &point->index;
    CHECK(recovered->count <= journal->index->capacity);
    struct segment_index_entry *entries = journal->index->entries;
    uint32_t capacity = journal->index->capacity;
    memcpy(entries, recovered->entries, recovered->count * sizeof(*entries));
    *journal->index = *recovered;
    journal->index->entries = entries;
    journal->index->capacity = capacity;
}

bool segment_journal_is_busy(const struct segment_journal *journal)
{
    return journal->state != SEGMENT_JOURNAL_IDLE && journal->state != SEGMENT_JOURNAL_FAILED;
}

bool segment_journal_fits(const struct segment_journal *journal, size_t record_bytes)
{
    return segment_batch_fits(journal->open, record_bytes);
}

void segment_journal_append(struct segment_journal *journal, struct record_envelope *envelope)
{
    CHECK_OBJECT(journal, SEGMENT_JOURNAL_MAGIC);
    CHECK(journal->state != SEGMENT_JOURNAL_FAILED);
    envelope->sequence = journal->next_sequence++;
    segment_batch_append(journal->open, envelope);
}

void segment_journal_abandon(struct segment_journal *journal)
{
    journal->next_sequence -= journal->open->record_count;
    segment_batch_reset(journal->open);
}

/* Room for this batch and, behind it, the footer of one batch more. */
static bool segment_has_room(const struct segment_journal *journal, uint32_t batch_bytes)
{
    return journal->fd >= 0 &&
           journal->write_offset + batch_bytes + segment_footer_bytes(journal->batch_number + 1) <=
               journal->file_bytes;
}

static void hand_over_full_segment(struct segment_journal *journal)
{
    struct segment_sealable *sealable = &journal->handoff->sealable_storage;
    *sealable = (struct segment_sealable){
        .fd = journal->fd,
        .journal = journal->journal,
        .segment_number = journal->segment_number,
        .data_end = journal->write_offset,
        .index = journal->index,
    };
    memcpy(sealable->last_hash, journal->hash, SEGMENT_HASH_BYTES);
    store_release(&journal->handoff->sealable, sealable); /* H5 pairs with H6 */
    journal->index =
        journal->index == &journal->indexes[0] ? &journal->indexes[1] : &journal->indexes[0];
}

/* Takes the prepared segment into use and hands the full one over. False: not possible yet. */
static bool take_next_segment(struct segment_journal *journal)
{
    struct segment_handoff *handoff = journal->handoff;
    if (load_acquire(&handoff->sealable) != NULL) /* H8 pairs with H7: the seal before is done */
        return false;
    struct segment_prepared *prepared = load_acquire(&handoff->prepared); /* H2 pairs with H1 */
    if (prepared == NULL)
        return false;
    if (journal->fd >= 0)
        hand_over_full_segment(journal);
    journal->fd = prepared->fd;
    journal->segment_number = prepared->segment_number;
    journal->file_bytes = prepared->file_bytes;
    store_release(&handoff->prepared, NULL); /* H3 pairs with H4 */
    journal->write_offset = SEGMENT_BLOCK_BYTES;
    journal->batch_number = 0;
    return true;
}

static void start_write(struct segment_journal *journal, enum segment_journal_state state,
                        const void *data, uint32_t bytes, uint64_t offset)
{
    if (offset != journal->io_offset || journal->state != state)
        journal->short_writes = 0;
    journal->state = state;
    journal->io_data = data;
    journal->io_bytes = bytes;
    journal->io_offset = offset;
    journal->io->write(journal->io, journal->fd, data, bytes, offset);
}

static void start_header(struct segment_journal *journal)
{
    struct segment_header *header = journal->header_block;
    *header = (struct segment_header){
        .magic = SEGMENT_HEADER_MAGIC,
        .version_major = SEGMENT_VERSION_MAJOR,
        .version_minor = SEGMENT_VERSION_MINOR,
        .header_bytes = SEGMENT_BLOCK_BYTES,
        .journal = journal->journal,
        .segment_number = journal->segment_number,
        .first_sequence = journal->flying_first_sequence,
        .created_at_ns = base_clock_realtime_ns(),
        .file_bytes = journal->file_bytes,
    };
    memcpy(header->node_id, journal->node_id, SEGMENT_NODE_BYTES);
    memcpy(header->chain_start, journal->hash, SEGMENT_HASH_BYTES);
    header->crc32c = base_crc32c(header, offsetof(struct segment_header, crc32c));
    segment_index_start(journal->index, journal->flying_first_sequence);
    start_write(journal, SEGMENT_JOURNAL_HEADER_WRITE, header, SEGMENT_BLOCK_BYTES, 0);
}

/* The open batch becomes the flying one; what comes from now on fills the other. */
static void close_open_batch(struct segment_journal *journal)
{
    struct segment_batch *batch = journal->open;
    journal->open = journal->flying;
    journal->flying = batch;
    segment_batch_reset(journal->open);
    journal->flying_first_sequence = journal->next_sequence - batch->record_count;
}

static void start_batch(struct segment_journal *journal)
{
    struct segment_batch *batch = journal->flying;
    struct segment_batch_header header = {
        .magic = SEGMENT_BATCH_MAGIC,
        .journal = journal->journal,
        .segment_number = journal->segment_number,
        .batch_number = journal->batch_number,
        .first_sequence = journal->flying_first_sequence,
        .watermark = journal->durable,
        .written_at_ns = base_clock_realtime_ns(),
    };
    memcpy(header.node_id, journal->node_id, SEGMENT_NODE_BYTES);
    memcpy(header.previous_hash, journal->hash, SEGMENT_HASH_BYTES);
    segment_batch_finish(batch, &header, journal->hash);
    struct segment_index_entry entry = {
        .offset = journal->write_offset,
        .first_sequence = header.first_sequence,
        .record_count = header.record_count,
        .batch_bytes = header.batch_bytes,
    };
    segment_index_add(journal->index, &entry, batch->oldest_received_at_ns,
                      batch->newest_received_at_ns);
    start_write(journal, SEGMENT_JOURNAL_BATCH_WRITE, batch->buffer, header.batch_bytes,
                journal->write_offset);
}

enum segment_journal_start segment_journal_start(struct segment_journal *journal, bool mark)
{
    CHECK_OBJECT(journal, SEGMENT_JOURNAL_MAGIC);
    CHECK(journal->state == SEGMENT_JOURNAL_IDLE);
    bool wanted = journal->open->record_count > 0 || (mark && journal->mark_owed);
    if (!wanted)
        return SEGMENT_JOURNAL_NOTHING;
    bool has_room = segment_has_room(journal, segment_batch_bytes(journal->open));
    if (!has_room && !take_next_segment(journal))
        return SEGMENT_JOURNAL_BLOCKED;
    close_open_batch(journal);
    if (has_room)
        start_batch(journal);
    else
        start_header(journal);
    return SEGMENT_JOURNAL_STARTED;
}

static enum segment_journal_event fail(struct segment_journal *journal, int failure,
                                       const char *operation)
{
    journal->state = SEGMENT_JOURNAL_FAILED;
    journal->failure = failure;
    journal->failed_operation = operation;
    return SEGMENT_JOURNAL_BROKEN;
}

void segment_journal_poison(struct segment_journal *journal, int failure, const char *operation)
{
    CHECK(journal->state == SEGMENT_JOURNAL_IDLE && failure < 0);
    fail(journal, failure, operation);
}

static enum segment_journal_event batch_is_durable(struct segment_journal *journal)
{
    struct segment_batch *batch = journal->flying;
    journal->write_offset += segment_batch_bytes(batch);
    journal->batch_number++;
    journal->durable += batch->record_count;
    journal->mark_owed = batch->record_count > 0;
    journal->state = SEGMENT_JOURNAL_IDLE;
    segment_watermark_publish(journal->watermark, journal->journal, journal->durable);
    return SEGMENT_JOURNAL_DURABLE;
}

/* A write came back: go on with what is left of it, or flush when every byte is there. */
static enum segment_journal_event written(struct segment_journal *journal, int result)
{
    if (result <= 0 || (uint32_t)result > journal->io_bytes)
        return fail(journal, result < 0 ? result : -EIO, "write");
    if ((uint32_t)result < journal->io_bytes) {
        /* direct writes go on at a block boundary: what was cut inside a block goes again */
        uint32_t done = (uint32_t)result / SEGMENT_BLOCK_BYTES * SEGMENT_BLOCK_BYTES;
        if (done == 0 && ++journal->short_writes > SHORT_WRITES_MAX)
            return fail(journal, -EIO, "write");
        start_write(journal, journal->state, journal->io_data + done, journal->io_bytes - done,
                    journal->io_offset + done);
        return SEGMENT_JOURNAL_CONTINUES;
    }
    journal->state = journal->state == SEGMENT_JOURNAL_HEADER_WRITE ? SEGMENT_JOURNAL_HEADER_FLUSH
                                                                    : SEGMENT_JOURNAL_BATCH_FLUSH;
    journal->io->flush(journal->io, journal->fd);
    return SEGMENT_JOURNAL_CONTINUES;
}

enum segment_journal_event segment_journal_complete(struct segment_journal *journal, int result)
{
    CHECK_OBJECT(journal, SEGMENT_JOURNAL_MAGIC);
    switch (journal->state) {
    case SEGMENT_JOURNAL_HEADER_WRITE:
    case SEGMENT_JOURNAL_BATCH_WRITE:
        return written(journal, result);
    case SEGMENT_JOURNAL_HEADER_FLUSH:
        if (result < 0)
            return fail(journal, result, "flush");
        start_batch(journal);
        return SEGMENT_JOURNAL_CONTINUES;
    case SEGMENT_JOURNAL_BATCH_FLUSH:
        return result < 0 ? fail(journal, result, "flush") : batch_is_durable(journal);
    case SEGMENT_JOURNAL_IDLE:
    case SEGMENT_JOURNAL_FAILED:
        break;
    }
    CHECK_NEVER("a completion without an operation");
}
