#include "watch.h"

#include "disk.h"
#include "rig.h"
#include "segment/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ERROR_BYTES 768

void watch_init(struct watch *watch, struct base_random *random, struct ledger *ledger,
                unsigned tail_count)
{
    *watch = (struct watch){.random = random, .ledger = ledger, .tail_count = tail_count};
    for (unsigned i = 0; i < LEDGER_JOURNALS_MAX; i++)
        watch->tails[i].next = 1;
}

/* A reader or verify reported `code`. Dead watchers report anything; a lying disk may be found out;
 * everything else is wrong. */
static void judge(struct watch *watch, const char *who, unsigned journal, int code,
                  const char *text)
{
    if (disk.is_dead[DISK_WATCHER])
        return;
    if (watch->ledger->lies && code == -EBADMSG)
        watch->saw_damage = true;
    else
        ledger_fail(watch->ledger, "%s of journal %u reports %d: %s", who, journal, code, text);
}

static bool open_tail(struct watch *watch, unsigned journal)
{
    struct watch_tail *tail = &watch->tails[journal];
    char text[ERROR_BYTES];
    if (tail->reader != NULL)
        return true;
    int result =
        sluice_reader_open(RIG_DIRECTORY, journal, tail->next, &tail->reader, text, sizeof(text));
    if (result == 0)
        return true;
    tail->reader = NULL;
    /* there is no data directory before the first engine has made one */
    if (result != -ENOENT || watch->is_up)
        judge(watch, "the reader", journal, result, text);
    return false;
}

static void close_tail(struct watch_tail *tail)
{
    sluice_reader_close(tail->reader);
    tail->reader = NULL;
}

/* True when a record came. */
static bool read_one(struct watch *watch, unsigned journal, struct watch_tail *tail)
{
    struct sluice_record record;
    int result = sluice_reader_next(tail->reader, &record);
    if (disk.is_dead[DISK_WATCHER])
        return false;
    if (result < 0) {
        judge(watch, "the reader", journal, result, sluice_reader_error(tail->reader));
        close_tail(tail);
        return false;
    }
    if (result == 0)
        return false;
    disk_trace("  watcher reads %u/%" PRIu64, journal, record.sequence);
    ledger_return(watch->ledger, journal, tail->next, &record);
    tail->next++;
    return !watch->ledger->failed;
}

void watch_step(struct watch *watch)
{
    unsigned journal = (unsigned)draw_below(watch->random, watch->tail_count);
    struct watch_tail *tail = &watch->tails[journal];
    if (draw_once_in(watch->random, 64)) {
        watch_verify(watch);
        return;
    }
    if (draw_once_in(watch->random, 64))
        close_tail(tail);
    if (!open_tail(watch, journal))
        return;
    for (uint64_t i = draw_scaled(watch->random, 32); i > 0; i--)
        if (!read_one(watch, journal, tail))
            return;
}

void watch_catch_up(struct watch *watch)
{
    for (unsigned i = 0; i < watch->tail_count; i++) {
        struct watch_tail *tail = &watch->tails[i];
        uint64_t promised = watch->ledger->journals[i].promised;
        if (watch->ledger->lies && tail->next > promised + 1) {
            close_tail(tail); /* what it had read is gone without a trace */
            tail->next = promised + 1;
        }
        if (!open_tail(watch, i))
            return;
        while (read_one(watch, i, tail))
            ;
        if (tail->reader != NULL && tail->next != promised + 1 && !watch->ledger->lies)
            ledger_fail(watch->ledger,
                        "the reader of journal %u stops before %" PRIu64 " though %" PRIu64
                        " is durable",
                        i, tail->next, promised);
    }
}

/* Where a lying disk lost the marks, the last batch waits for one: all the same it is there. */
static bool is_only_unmarked(const struct watch *watch)
{
    uint64_t promised = 0;
    for (unsigned i = 0; i < LEDGER_JOURNALS_MAX; i++)
        promised += watch->ledger->journals[i].promised;
    return watch->ledger->lies && watch->verified == promised;
}

static void audit_journal(struct watch *watch, unsigned journal)
{
    struct watch_tail tail = {.next = 1};
    char text[ERROR_BYTES];
    uint64_t promised = watch->ledger->journals[journal].promised;
    int result = sluice_reader_open(RIG_DIRECTORY, journal, 1, &tail.reader, text, sizeof(text));
    if (result < 0) {
        judge(watch, "the audit", journal, result, text);
        return;
    }
    while (read_one(watch, journal, &tail))
        ;
    if (tail.next != promised + 1 && !watch->saw_damage && !is_only_unmarked(watch)) {
        watch->ledger->losses += promised + 1 > tail.next ? promised + 1 - tail.next : 0;
        ledger_fail(watch->ledger,
                    "LOST: journal %u reads up to %" PRIu64 ", %" PRIu64 " were promised", journal,
                    tail.next - 1, promised);
    }
    close_tail(&tail);
}

void watch_audit(struct watch *watch)
{
    for (unsigned i = 0; i < watch->tail_count && !watch->saw_damage; i++)
        audit_journal(watch, i);
}

static void found_damage(void *context, const char *path, uint64_t offset, const char *what)
{
    struct watch *watch = context;
    char text[ERROR_BYTES];
    snprintf(text, sizeof(text), "%s at %" PRIu64 ": %s", path, offset, what);
    judge(watch, "verify", 0, -EBADMSG, text);
}

void watch_verify(struct watch *watch)
{
    struct segment_verify_report report;
    struct base_error error = {.code = 0};
    int result = segment_verify(RIG_DIRECTORY, found_damage, watch, &report, &error);
    watch->verified = report.records;
    if (result == 0 || (result == -ENOENT && !watch->is_up))
        return;
    judge(watch, "verify", 0, result, error.text);
}

void watch_close(struct watch *watch)
{
    for (unsigned i = 0; i < LEDGER_JOURNALS_MAX; i++)
        close_tail(&watch->tails[i]);
}
