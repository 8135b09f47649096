#include "journal_rig.h"

#include "sample_record.h"
#include "segment/verify.h"
#include "sluice/reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- a synchronous disk --------------------------------------------------------------------- */

static struct journal_rig *rig_of(struct segment_io *io)
{
    return (struct journal_rig *)(void *)((char *)io - offsetof(struct journal_rig, io));
}

static void file_write(struct segment_io *io, int fd, const void *data, uint32_t bytes,
                       uint64_t offset)
{
    ssize_t written = pwrite(fd, data, bytes, (off_t)offset);
    rig_of(io)->result = written < 0 ? -errno : (int)written;
}

static void file_flush(struct segment_io *io, int fd)
{
    rig_of(io)->result = fdatasync(fd) < 0 ? -errno : 0;
}

/* --- open and close ------------------------------------------------------------------------- */

void journal_rig_init(struct journal_rig *rig, const char *directory, uint32_t journal)
{
    memset(rig, 0, sizeof(*rig));
    test_path(rig->directory, "%s", directory);
    rig->number = journal;
    rig->segment_bytes = RIG_SEGMENT_BYTES;
    rig->io = (struct segment_io){file_write, file_flush};
}

static void publish_prepared(struct journal_rig *rig, const struct segment_prepared *prepared)
{
    rig->handoff.prepared_storage = *prepared;
    store_release(&rig->handoff.prepared, &rig->handoff.prepared_storage);
}

static void start_journal(struct journal_rig *rig)
{
    struct segment_recovery *recovery = &rig->recovery;
    memset(&rig->handoff, 0, sizeof(rig->handoff));
    size_t bytes = segment_journal_bytes(RIG_BATCH_BYTES, recovery->segment_bytes_max);
    rig->memory = aligned_alloc(SEGMENT_BLOCK_BYTES, bytes);
    cr_assert_not_null(rig->memory);
    memset(rig->memory, 0xA5, bytes);
    segment_journal_init(&rig->journal, rig->memory, RIG_BATCH_BYTES, recovery->segment_bytes_max,
                         &rig->catalog, &recovery->point, &rig->io, &rig->watermark, &rig->handoff);
    segment_watermark_publish(&rig->watermark, rig->number, recovery->point.next_sequence - 1);
    rig->next_segment_number = recovery->next_segment_number;
    if (recovery->has_prepared)
        publish_prepared(rig, &recovery->prepared);
    segment_recovery_fini(recovery);
    rig->is_open = true;
}

int journal_rig_try_open(struct journal_rig *rig)
{
    cr_assert(!rig->is_open);
    int result = segment_catalog_open(&rig->catalog, rig->directory, &rig->error);
    if (result < 0)
        return result;
    result = segment_watermark_open(&rig->watermark, &rig->catalog, &rig->error);
    cr_assert_eq(result, 0, "%s", rig->error.text);
    rig->journal_fd = segment_catalog_journal(&rig->catalog, rig->number, true, &rig->error);
    cr_assert(rig->journal_fd >= 0, "%s", rig->error.text);
    result = segment_recover(&rig->catalog, rig->journal_fd, rig->number, &rig->watermark,
                             rig->segment_bytes, &rig->recovery, &rig->error);
    if (result == 0) {
        start_journal(rig);
        return 0;
    }
    close(rig->journal_fd);
    segment_watermark_close(&rig->watermark);
    segment_catalog_close(&rig->catalog);
    return result;
}

void journal_rig_open(struct journal_rig *rig)
{
    int result = journal_rig_try_open(rig);
    cr_assert_eq(result, 0, "%s", rig->error.text);
}

void journal_rig_close(struct journal_rig *rig)
{
    if (!rig->is_open)
        return;
    struct segment_prepared *prepared = load_acquire(&rig->handoff.prepared);
    struct segment_sealable *sealable = load_acquire(&rig->handoff.sealable);
    if (prepared != NULL)
        close(prepared->fd);
    if (sealable != NULL)
        close(sealable->fd);
    if (rig->journal.fd >= 0)
        close(rig->journal.fd);
    close(rig->journal_fd);
    segment_watermark_close(&rig->watermark);
    segment_catalog_close(&rig->catalog);
    free(rig->memory);
    rig->memory = NULL;
    rig->is_open = false;
}

void journal_rig_reopen(struct journal_rig *rig)
{
    journal_rig_close(rig);
    journal_rig_open(rig);
}

/* --- housekeeping --------------------------------------------------------------------------- */

void journal_rig_prepare(struct journal_rig *rig)
{
    struct segment_preparation preparation;
    struct segment_prepared prepared;
    if (load_acquire(&rig->handoff.prepared) != NULL)
        return;
    segment_prepare_init(&preparation);
    int result = segment_prepare_begin(&preparation, &rig->catalog, rig->journal_fd, rig->number,
                                       rig->next_segment_number, rig->segment_bytes, &rig->error);
    while (result == 0)
        result = segment_prepare_step(&preparation, &rig->catalog, &prepared, &rig->error);
    cr_assert_eq(result, 1, "%s", rig->error.text);
    rig->next_segment_number++;
    publish_prepared(rig, &prepared);
}

void journal_rig_seal(struct journal_rig *rig)
{
    struct segment_sealable *sealable = load_acquire(&rig->handoff.sealable);
    if (sealable == NULL)
        return;
    int result = segment_seal(&rig->catalog, rig->journal_fd, sealable, &rig->error);
    cr_assert_eq(result, 0, "%s", rig->error.text);
    store_release(&rig->handoff.sealable, NULL);
}

void journal_rig_seal_current(struct journal_rig *rig)
{
    struct segment_journal *journal = &rig->journal;
    struct segment_sealable sealable = {
        .fd = journal->fd,
        .journal = rig->number,
        .segment_number = journal->segment_number,
        .data_end = journal->write_offset,
        .index = journal->index,
    };
    memcpy(sealable.last_hash, journal->hash, SEGMENT_HASH_BYTES);
    int result = segment_seal(&rig->catalog, rig->journal_fd, &sealable, &rig->error);
    cr_assert_eq(result, 0, "%s", rig->error.text);
    journal->fd = -1; /* the journal takes the next prepared one, as if this had been handed over */
}

/* --- writing -------------------------------------------------------------------------------- */

uint64_t journal_rig_append(struct journal_rig *rig, size_t body_bytes)
{
    char body[SAMPLE_BODY_BYTES_MAX];
    struct record_envelope envelope;
    uint64_t sequence = rig->journal.next_sequence;
    sample_body(sequence, body_bytes, body);
    sample_envelope(sequence, body, body_bytes, &envelope);
    cr_assert(segment_journal_fits(&rig->journal, record_encode_bytes(&envelope)));
    segment_journal_append(&rig->journal, &envelope);
    cr_assert_eq(envelope.sequence, sequence);
    return sequence;
}

static void keep_batch(struct journal_rig *rig)
{
    const struct segment_index *index = rig->journal.index;
    const struct segment_index_entry *entry = &index->entries[index->count - 1];
    cr_assert(rig->batch_count < RIG_BATCHES_KEPT);
    rig->batches[rig->batch_count++] = (struct rig_batch){
        .segment_number = rig->journal.segment_number,
        .offset = entry->offset,
        .bytes = entry->batch_bytes,
        .first_sequence = entry->first_sequence,
        .record_count = entry->record_count,
    };
}

static void write_open_batch(struct journal_rig *rig, bool mark)
{
    enum segment_journal_start start = segment_journal_start(&rig->journal, mark);
    if (start == SEGMENT_JOURNAL_BLOCKED) {
        journal_rig_seal(rig);
        journal_rig_prepare(rig);
        start = segment_journal_start(&rig->journal, mark);
    }
    cr_assert_eq(start, SEGMENT_JOURNAL_STARTED);
    enum segment_journal_event event;
    do {
        event = segment_journal_complete(&rig->journal, rig->result);
    } while (event == SEGMENT_JOURNAL_CONTINUES);
    cr_assert_eq(event, SEGMENT_JOURNAL_DURABLE);
    keep_batch(rig);
}

void journal_rig_commit(struct journal_rig *rig)
{
    write_open_batch(rig, false);
}

void journal_rig_mark(struct journal_rig *rig)
{
    write_open_batch(rig, true);
}

void journal_rig_put(struct journal_rig *rig, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        journal_rig_append(rig, RIG_BODY_BYTES);
        journal_rig_commit(rig);
    }
}

void journal_rig_fill(struct journal_rig *rig)
{
    do {
        journal_rig_put(rig, 1);
    } while (rig->journal.write_offset + SEGMENT_BLOCK_BYTES +
                 segment_footer_bytes(rig->journal.batch_number + 1) <=
             rig->journal.file_bytes);
}

/* --- looking -------------------------------------------------------------------------------- */

const struct rig_batch *journal_rig_batch(const struct journal_rig *rig, size_t from_end)
{
    cr_assert(from_end < rig->batch_count);
    return &rig->batches[rig->batch_count - 1 - from_end];
}

void journal_rig_path(const struct journal_rig *rig, uint64_t segment_number,
                      enum segment_state state, char path_out[TEST_PATH_BYTES])
{
    char name[SEGMENT_NAME_BYTES];
    segment_catalog_name(segment_number, state, name);
    test_path(path_out, "%s/journal-%04" PRIu32 "/%s", rig->directory, rig->number, name);
}

void journal_rig_set_watermark(const struct journal_rig *rig, uint64_t sequence)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/watermark", rig->directory);
    test_file_patch(path, (rig->number + 1) * (uint64_t)SEGMENT_WATERMARK_SLOT_BYTES, &sequence,
                    sizeof(sequence));
}

void journal_rig_remove_watermark(const struct journal_rig *rig)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/watermark", rig->directory);
    cr_assert_eq(unlink(path), 0);
}

static void expect_record(const struct sluice_record *record, uint64_t sequence)
{
    char body[SAMPLE_BODY_BYTES_MAX];
    cr_assert_eq(record->sequence, sequence, "sequence %" PRIu64 " instead of %" PRIu64,
                 record->sequence, sequence);
    sample_body(sequence, record->body.bytes, body);
    cr_assert_eq(memcmp(body, record->body.data, record->body.bytes), 0,
                 "record %" PRIu64 " has another body", sequence);
}

void journal_rig_expect_records(const struct journal_rig *rig, uint64_t last)
{
    char text[1024];
    struct sluice_reader *reader;
    struct sluice_record record;
    int result = sluice_reader_open(rig->directory, rig->number, 1, &reader, text, sizeof(text));
    cr_assert_eq(result, 0, "%s", text);
    for (uint64_t sequence = 1; sequence <= last; sequence++) {
        result = sluice_reader_next(reader, &record);
        cr_assert_eq(result, 1, "%d instead of record %" PRIu64 ": %s", result, sequence,
                     sluice_reader_error(reader));
        expect_record(&record, sequence);
    }
    result = sluice_reader_next(reader, &record);
    cr_assert_eq(result, 0, "%d behind record %" PRIu64 ": %s", result, last,
                 sluice_reader_error(reader));
    sluice_reader_close(reader);
}

static void print_found(void *context, const char *path, uint64_t offset, const char *what)
{
    char *text = context;
    snprintf(text, 512, "%s at %" PRIu64 ": %s", path, offset, what);
}

void journal_rig_expect_damages(const struct journal_rig *rig, uint64_t damages)
{
    char last[512] = "nothing";
    struct segment_verify_report report;
    struct base_error error;
    int result = segment_verify(rig->directory, print_found, last, &report, &error);
    cr_assert_eq(result, 0, "%s", error.text);
    cr_assert_eq(report.damages, damages, "%" PRIu64 " damages, the last: %s", report.damages,
                 last);
}
