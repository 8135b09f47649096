#include "ledger.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ledger_init(struct ledger *ledger, bool lies)
{
    ledger->lies = lies;
    ledger->failed = false;
    ledger->acknowledged = ledger->returned = ledger->losses = ledger->untraceable = 0;
    for (unsigned i = 0; i < LEDGER_JOURNALS_MAX; i++) {
        struct ledger_journal *journal = &ledger->journals[i];
        journal->appended = journal->started = journal->promised = 0;
        journal->poisoned = false;
        journal->write_count = 0;
    }
}

void ledger_fail(struct ledger *ledger, const char *format, ...)
{
    if (ledger->failed)
        return;
    ledger->failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ledger->failure, sizeof(ledger->failure), format, arguments);
    va_end(arguments);
    disk_trace("FAILED: %s", ledger->failure);
}

static struct ledger_record *record_of(struct ledger_journal *journal, uint64_t sequence)
{
    CHECK(sequence >= 1 && sequence <= LEDGER_RECORDS_MAX);
    return &journal->records[sequence - 1];
}

void ledger_append(struct ledger *ledger, unsigned number, uint64_t sequence,
                   const struct ledger_record *record)
{
    struct ledger_journal *journal = &ledger->journals[number];
    if (sequence != journal->appended + 1)
        ledger_fail(ledger, "journal %u gave out sequence %" PRIu64 " after %" PRIu64, number,
                    sequence, journal->appended);
    journal->appended = sequence;
    *record_of(journal, sequence) = *record;
}

void ledger_abandon(struct ledger *ledger, unsigned number, uint64_t sequence)
{
    struct ledger_journal *journal = &ledger->journals[number];
    if (sequence < journal->started)
        ledger_fail(ledger, "journal %u took back records that were on their way to the disk",
                    number);
    journal->appended = sequence;
}

void ledger_start(struct ledger *ledger, unsigned number, const struct ledger_write *write)
{
    struct ledger_journal *journal = &ledger->journals[number];
    if (journal->poisoned)
        ledger_fail(ledger, "journal %u writes on after a failed operation", number);
    if (write->last > journal->appended)
        ledger_fail(ledger, "journal %u writes more than was appended", number);
    if (journal->started < write->last)
        journal->started = write->last;
    if (!ledger->lies)
        return;
    CHECK(journal->write_count < LEDGER_WRITES_MAX);
    journal->writes[journal->write_count++] = *write;
}

void ledger_acknowledge(struct ledger *ledger, unsigned number, uint64_t sequence)
{
    struct ledger_journal *journal = &ledger->journals[number];
    if (journal->poisoned)
        ledger_fail(ledger, "journal %u acknowledged %" PRIu64 " after a failed operation", number,
                    sequence);
    if (sequence > journal->started)
        ledger_fail(ledger, "journal %u acknowledged %" PRIu64 ", only %" PRIu64 " were written",
                    number, sequence, journal->started);
    if (sequence > journal->promised) {
        ledger->acknowledged += sequence - journal->promised;
        journal->promised = sequence;
    }
}

void ledger_poison(struct ledger *ledger, unsigned number)
{
    ledger->journals[number].poisoned = true;
}

/* Has a name that readers and recovery look at: when a directory's flush was a lie, a segment may
 * have gone back to `.tmp`, and is then as good as gone. */
static bool is_segment(uint32_t file)
{
    for (uint32_t i = 0; i < disk.names.count; i++) {
        const char *suffix = strrchr(disk.names.entries[i].name, '.');
        if (disk.names.entries[i].file == file && suffix != NULL)
            return strcmp(suffix, ".open") == 0 || strcmp(suffix, ".sealed") == 0;
    }
    return false;
}

/* The write is where it was meant to go. */
static bool is_intact(const struct ledger_write *write)
{
    const struct disk_file *file = &disk.files[write->file];
    return file->in_use && is_segment(write->file) && write->offset + write->bytes <= file->bytes &&
           base_crc32c(file->image + write->offset, write->bytes) == write->crc32c;
}

void ledger_survey(struct ledger *ledger, bool power_was_cut)
{
    for (unsigned i = 0; i < LEDGER_JOURNALS_MAX; i++) {
        struct ledger_journal *journal = &ledger->journals[i];
        for (uint32_t j = 0; j < journal->write_count; j++) {
            struct ledger_write *write = &journal->writes[j];
            write->survived = (write->survived && !power_was_cut) || is_intact(write);
        }
    }
}

/* Whether the disk held something that shows that records behind `sequence` were written. */
static bool has_trace_behind(const struct ledger_journal *journal, uint64_t sequence)
{
    for (uint32_t i = 0; i < journal->write_count; i++) {
        const struct ledger_write *write = &journal->writes[i];
        if ((write->before > sequence || write->last > sequence) && write->survived)
            return true;
    }
    return false;
}

static void forget_writes_behind(struct ledger_journal *journal, uint64_t sequence)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < journal->write_count; i++)
        if (journal->writes[i].last <= sequence && journal->writes[i].before <= sequence)
            journal->writes[kept++] = journal->writes[i];
    for (uint32_t i = 0; i < kept; i++)
        journal->writes[i].survived = false;
    journal->write_count = kept;
}

void ledger_recover(struct ledger *ledger, unsigned number, uint64_t sequence, uint64_t mark)
{
    struct ledger_journal *journal = &ledger->journals[number];
    journal->poisoned = false;
    if (sequence > journal->started)
        ledger_fail(ledger,
                    "recovery found records up to %" PRIu64 " in journal %u, only %" PRIu64
                    " were ever written",
                    sequence, number, journal->started);
    bool is_lost = sequence < journal->promised;
    if (is_lost && ledger->lies && mark <= sequence && !has_trace_behind(journal, sequence)) {
        disk_trace("    untraceable: %" PRIu64 " to %" PRIu64, sequence + 1, journal->promised);
        ledger->untraceable += journal->promised - sequence;
    } else if (is_lost) {
        ledger->losses += journal->promised - sequence;
        ledger_fail(ledger,
                    "LOST: journal %u ends with %" PRIu64 " after recovery, %" PRIu64
                    " were promised",
                    number, sequence, journal->promised);
    }
    journal->appended = journal->started = journal->promised = sequence;
    forget_writes_behind(journal, sequence);
}

static bool is_same(const struct ledger_record *expected, const struct sluice_record *record)
{
    char id[24];
    uint8_t sha256[SHA256_BYTES];
    int id_bytes = snprintf(id, sizeof(id), "%" PRIu64, expected->number);
    base_sha256_of(record->body.data, record->body.bytes, sha256);
    return record->body.bytes == expected->body_bytes &&
           memcmp(sha256, expected->sha256, sizeof(sha256)) == 0 &&
           memcmp(record->sha256, expected->sha256, sizeof(sha256)) == 0 &&
           record->submission_id.bytes == (size_t)id_bytes &&
           memcmp(record->submission_id.data, id, record->submission_id.bytes) == 0;
}

void ledger_return(struct ledger *ledger, unsigned number, uint64_t sequence,
                   const struct sluice_record *record)
{
    struct ledger_journal *journal = &ledger->journals[number];
    ledger->returned++;
    if (record->sequence != sequence) {
        ledger_fail(ledger,
                    "a reader of journal %u returned sequence %" PRIu64 " instead of %" PRIu64,
                    number, record->sequence, sequence);
        return;
    }
    if (sequence > journal->started) {
        ledger_fail(ledger, "a reader of journal %u returned %" PRIu64 ", which nobody wrote",
                    number, sequence);
        return;
    }
    if (!is_same(record_of(journal, sequence), record))
        ledger_fail(ledger, "record %" PRIu64 " of journal %u is not what was appended", sequence,
                    number);
    if (sequence > journal->promised)
        journal->promised = sequence;
}
