/* The walk is recovery's: sealed segments are judged by header and footer, open ones are read
 * whole. The last segment in use is read whole in either case, because what is damaged in it can
 * still be mended while no other follows; damage with a segment in use behind it can not, as the
 * hash chain goes on from what was there.
 *
 * Rejected: cutting the damaged segment in place. A second crash, or a second look at the evidence,
 * needs the file as it was. */
#include "segment/repair.h"

#include "base/checksum.h"
#include "segment/chain.h"
#include "segment/replacement.h"
#include "segment/tail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Header, a batch of a block, and a footer of one. */
#define FILE_BYTES_MIN 12288

/* A plan under construction. */
struct planning {
    struct segment_chain chain;
    uint64_t mark;
    struct segment_repair *plan;
    struct base_error *error;
};

/* --- the last segment in use ---------------------------------------------------------------- */

/* Everything in a header but the time follows from the segment before and the file's size. */
static void make_header(struct planning *planning, struct segment_repair *plan)
{
    struct segment_header *header = &plan->header;
    uint64_t bytes = segment_round_up(plan->file.bytes, SEGMENT_BLOCK_BYTES);
    *header = (struct segment_header){
        .magic = SEGMENT_HEADER_MAGIC,
        .version_major = SEGMENT_VERSION_MAJOR,
        .version_minor = SEGMENT_VERSION_MINOR,
        .header_bytes = SEGMENT_BLOCK_BYTES,
        .journal = planning->chain.journal,
        .segment_number = plan->scan.segment_number,
        .first_sequence = planning->chain.before.next_sequence,
        .created_at_ns = plan->repaired_at_ns,
        /* a sealed or a cut file is shorter than it was; the one before was created alike */
        .file_bytes = bytes > planning->chain.before.created_bytes
                          ? bytes
                          : planning->chain.before.created_bytes,
    };
    memcpy(header->node_id, planning->chain.catalog->node_id, SEGMENT_NODE_BYTES);
    memcpy(header->chain_start, planning->chain.before.hash, SEGMENT_HASH_BYTES);
    header->crc32c = base_crc32c(header, offsetof(struct segment_header, crc32c));
    plan->header_is_made = true;
    plan->scan.first_sequence = plan->scan.next_sequence = header->first_sequence;
    plan->scan.created_bytes = header->file_bytes;
    memcpy(plan->scan.hash, header->chain_start, SEGMENT_HASH_BYTES);
}

/* The header as stored, and that the segment continues the one before; or one made again. */
static int begin_last(struct planning *planning)
{
    struct segment_repair *plan = planning->plan;
    const uint8_t *data;
    int use =
        segment_chain_classify(&planning->chain, planning->chain.last, &plan->file, &plan->scan);
    if (use < 0)
        return use;
    if (use == SEGMENT_CHAIN_FOREIGN)
        return segment_chain_refuse(&planning->chain, plan->file.path, plan->scan.fault_offset,
                                    plan->scan.fault);
    if (use == SEGMENT_CHAIN_HEADERLESS) {
        if (planning->chain.before_fault != NULL) /* nothing proves the one before complete */
            return segment_chain_refuse(&planning->chain, planning->chain.before_path,
                                        planning->chain.before.offset,
                                        planning->chain.before_fault);
        plan->damage = plan->scan.fault;
        plan->damage_offset = 0;
        make_header(planning, plan);
        if (plan->header.file_bytes >= FILE_BYTES_MIN)
            return 0;
        return segment_chain_refuse(&planning->chain, plan->file.path, 0,
                                    "too little is left to tell the segment's size");
    }
    int result = segment_file_read(&plan->file, 0, sizeof(plan->header), &data, planning->error);
    if (result <= 0)
        return result < 0
                   ? result
                   : segment_chain_refuse(&planning->chain, plan->file.path, 0, "the file changed");
    memcpy(&plan->header, data, sizeof(plan->header));
    return segment_chain_check(&planning->chain, &plan->scan, plan->file.path);
}

static void set_damage(struct segment_repair *plan, uint64_t offset, const char *what)
{
    if (plan->damage != NULL) /* the header's comes first */
        return;
    plan->damage = what;
    plan->damage_offset = offset;
}

static int judge_sealed(struct planning *planning, int found)
{
    struct segment_repair *plan = planning->plan;
    struct segment_scan *scan = &plan->scan;
    int result = SEGMENT_SCAN_FAULT;
    if (found == SEGMENT_SCAN_FOOTER)
        result = segment_scan_footer(scan, &plan->file, planning->error);
    if (result < 0)
        return result;
    uint64_t end = scan->offset + segment_footer_bytes(scan->batch_number);
    if (result == SEGMENT_SCAN_OK && plan->file.bytes != end)
        set_damage(plan, end, "bytes behind the footer of a sealed segment");
    else if (result != SEGMENT_SCAN_OK && found == SEGMENT_SCAN_ZERO)
        set_damage(plan, scan->offset, "sealed segment ends without a footer");
    else if (result != SEGMENT_SCAN_OK)
        set_damage(plan, scan->fault_offset, scan->fault);
    return 0;
}

/* Sets plan->damage where recovery or verify would find some. */
static int judge_last(struct planning *planning)
{
    struct segment_repair *plan = planning->plan;
    struct segment_tail tail = {.kind = SEGMENT_TAIL_CLEAN};
    int found = segment_tail_find(&plan->scan, &plan->file, planning->error);
    if (found < 0)
        return found;
    int result;
    if (plan->state == SEGMENT_STATE_SEALED)
        result = judge_sealed(planning, found);
    else
        result = segment_tail_judge(&plan->scan, &plan->file, found, planning->mark, &tail,
                                    planning->error);
    if (result < 0)
        return result;
    if (tail.kind == SEGMENT_TAIL_DAMAGED)
        set_damage(plan, tail.offset, tail.what);
    if (planning->mark >= plan->scan.next_sequence)
        set_damage(plan, plan->scan.offset, "acknowledged records are missing");
    plan->needed = plan->damage != NULL;
    return 0;
}

/* --- the plan ------------------------------------------------------------------------------- */

static void make_finding(struct segment_repair *plan)
{
    char time[BASE_CLOCK_TEXT_BYTES];
    base_clock_format(plan->repaired_at_ns, time);
    int bytes =
        snprintf(plan->finding, sizeof(plan->finding),
                 SEGMENT_FINDING_LOST "%csegment %" PRIu64 ", offset %" PRIu64 ", repaired %s",
                 '\0', plan->scan.segment_number, plan->scan.offset, time);
    plan->finding_bytes = (uint32_t)bytes;
}

/* A repair that was cut off may have linked the damaged file into DIR/damaged already. */
static void find_kept(struct segment_repair *plan)
{
    struct stat damaged, found;
    int fd = openat(plan->catalog->directory_fd, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct dirent *entry;
    while (fstat(plan->file.fd, &damaged) == 0 && damaged.st_nlink > 1 && !plan->is_kept &&
           (entry = readdir(directory)) != NULL) {
        plan->is_kept = strlen(entry->d_name) < sizeof(plan->kept_name) &&
                        fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
                        found.st_ino == damaged.st_ino && found.st_dev == damaged.st_dev;
        if (plan->is_kept)
            memcpy(plan->kept_name, entry->d_name, strlen(entry->d_name) + 1);
    }
    closedir(directory);
}

static void name_kept(struct segment_repair *plan)
{
    char time[BASE_CLOCK_TEXT_BYTES];
    find_kept(plan);
    if (plan->is_kept)
        return;
    base_clock_format(plan->repaired_at_ns, time);
    snprintf(plan->kept_name, sizeof(plan->kept_name),
             "journal-%04" PRIu32 "-%010" PRIu64 "-%" PRIu64 "-%s.%s", plan->journal,
             plan->scan.segment_number, plan->scan.offset, time,
             plan->state == SEGMENT_STATE_SEALED ? "sealed" : "open");
}

/* Which records the replacement will hold, and that it can. */
static int plan_records(struct planning *planning)
{
    struct segment_repair *plan = planning->plan;
    int result = segment_salvage_collect(&plan->scan, &plan->file, &plan->salvage, planning->error);
    if (result < 0)
        return result;
    plan->last = plan->scan.next_sequence - 1;
    if (plan->salvage.owed > plan->last)
        plan->last = plan->salvage.owed;
    if (planning->mark > plan->last)
        plan->last = planning->mark;
    make_finding(plan);
    name_kept(plan);
    uint64_t fitting;
    if (segment_replacement_fits(plan, &fitting))
        return 0;
    if (fitting == plan->last)
        return segment_chain_refuse(&planning->chain, plan->file.path, plan->damage_offset,
                                    plan->damage);
    return base_error_set(planning->error, -EBADMSG,
                          "damage in %s at offset %" PRIu64 ": %s. Records up to %" PRIu64
                          " were acknowledged, and this segment has no room for more than those up "
                          "to %" PRIu64 ": segments with records %" PRIu64 " to %" PRIu64
                          " are missing. Restore them from a replica or backup. Nothing was "
                          "changed in journal %" PRIu32,
                          plan->file.path, plan->damage_offset, plan->damage, plan->last, fitting,
                          fitting + 1, plan->last, planning->chain.journal);
}

static int plan_last(struct planning *planning)
{
    struct segment_repair *plan = planning->plan;
    plan->state = planning->chain.list.entries[planning->chain.last].state;
    int result = segment_chain_open(&planning->chain, planning->chain.last, &plan->file);
    if (result == 0)
        result = begin_last(planning);
    if (result == 0)
        result = judge_last(planning);
    if (result == 0 && plan->needed)
        result = plan_records(planning);
    return result;
}

static int plan_journal(struct planning *planning)
{
    struct segment_chain *chain = &planning->chain;
    int result = segment_chain_walk(chain);
    if (result < 0 || chain->last != SEGMENT_CHAIN_NONE)
        return result < 0 ? result : plan_last(planning);
    if (planning->mark == 0)
        return 0;
    return base_error_set(planning->error, -EBADMSG,
                          "damage in journal %" PRIu32 " of %s: records 1 to %" PRIu64
                          " were acknowledged, and no segment is there. Restore the segments from "
                          "a replica or backup. Nothing was changed",
                          chain->journal, chain->catalog->path, planning->mark);
}

int segment_repair_plan(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                        const struct segment_watermark *watermark, struct segment_repair *plan_out,
                        struct base_error *error)
{
    *plan_out = (struct segment_repair){
        .catalog = catalog,
        .journal_fd = journal_fd,
        .journal = journal,
        .file = {.fd = -1},
        .repaired_at_ns = base_clock_realtime_ns(),
    };
    struct planning planning = {
        .chain = {.catalog = catalog, .journal_fd = journal_fd, .journal = journal, .error = error},
        .mark = segment_watermark_read(watermark, journal),
        .plan = plan_out,
        .error = error,
    };
    int result = plan_journal(&planning);
    segment_chain_fini(&planning.chain);
    if (result < 0)
        segment_repair_fini(plan_out);
    return result;
}

bool segment_repair_helps(const struct segment_catalog *catalog, int journal_fd, uint32_t journal,
                          const struct segment_watermark *watermark)
{
    struct segment_repair plan;
    struct base_error ignored;
    int result = segment_repair_plan(catalog, journal_fd, journal, watermark, &plan, &ignored);
    if (result == 0)
        segment_repair_fini(&plan);
    return result == 0 && plan.needed;
}

int segment_repair_apply(struct segment_repair *plan, struct base_error *error)
{
    int result = segment_replacement_build(plan, error);
    return result < 0 ? result : segment_replacement_swap(plan, error);
}

void segment_repair_fini(struct segment_repair *plan)
{
    segment_file_close(&plan->file);
    segment_salvage_fini(&plan->salvage);
}

/* Index of the first rescued record whose number is not below `sequence`. */
static size_t find_rescued(const struct segment_salvage *salvage, uint64_t sequence)
{
    size_t low = 0, high = salvage->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (salvage->records[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t segment_repair_run(const struct segment_repair *plan, uint64_t from, bool *rescued_out)
{
    const struct segment_salvage *salvage = &plan->salvage;
    size_t at = find_rescued(salvage, from);
    *rescued_out = at < salvage->count && salvage->records[at].sequence == from;
    if (!*rescued_out)
        return at < salvage->count ? salvage->records[at].sequence - 1 : plan->last;
    while (at + 1 < salvage->count &&
           salvage->records[at + 1].sequence == salvage->records[at].sequence + 1)
        at++;
    return salvage->records[at].sequence;
}
