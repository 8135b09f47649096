#include "segment/place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int segment_place_damaged(struct segment_sight *sight, const struct segment_place *place,
                          uint64_t offset, const char *what)
{
    return base_error_set(&sight->error, -EBADMSG, "damage in %s at offset %" PRIu64 ": %s",
                          place->file.path, offset, what);
}

int segment_sight_fetch_mark(struct segment_sight *sight)
{
    int result =
        segment_watermark_refresh_reader(&sight->watermark, &sight->catalog, &sight->error);
    if (result < 0)
        return result;
    uint64_t mark = segment_watermark_read(&sight->watermark, sight->journal);
    if (mark > sight->visible)
        sight->visible = mark;
    return 0;
}

/* --- segments -------------------------------------------------------------------------------- */

static int open_file(struct segment_sight *sight, uint64_t number, struct segment_place *place)
{
    /* a seal may rename between two tries; it only goes one way */
    static const enum segment_state order[] = {SEGMENT_STATE_SEALED, SEGMENT_STATE_OPEN,
                                               SEGMENT_STATE_SEALED};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        char name[SEGMENT_NAME_BYTES], path[320];
        segment_catalog_name(number, order[i], name);
        segment_catalog_path(&sight->catalog, sight->journal, number, order[i], path, sizeof(path));
        int result =
            segment_file_open(&place->file, sight->journal_fd, name, path, false, &sight->error);
        place->is_sealed = order[i] == SEGMENT_STATE_SEALED;
        place->is_open = result == 0;
        if (result != -ENOENT)
            return result;
    }
    return -ENOENT;
}

static int begin_scan(struct segment_sight *sight, uint64_t number, struct segment_place *place)
{
    struct segment_scan_expected expected = {sight->catalog.node_id, sight->journal, number};
    return segment_scan_begin(&place->scan, &place->file, &expected, &sight->error);
}

/* Whether segment `number` has a header. Prepared ones may come and go. */
static int is_in_use(struct segment_sight *sight, uint64_t number)
{
    struct segment_place place;
    int result = open_file(sight, number, &place);
    if (result == -ENOENT)
        return 0;
    if (result == 0)
        result = begin_scan(sight, number, &place);
    segment_place_close(&place);
    return result < 0 ? result : result == SEGMENT_SCAN_OK;
}

/* Segment `number` is not there. Segments are taken into use in order and are not deleted then: a
 * later one in use proves that this one was lost. */
static int check_missing(struct segment_sight *sight, uint64_t number)
{
    struct segment_list list;
    int result = segment_catalog_list(&sight->catalog, sight->journal_fd, &list, &sight->error);
    if (result < 0)
        return result;
    int later = 0;
    for (size_t i = 0; i < list.count && later == 0; i++)
        if (list.entries[i].segment_number > number &&
            list.entries[i].state != SEGMENT_STATE_TEMPORARY)
            later = is_in_use(sight, list.entries[i].segment_number);
    free(list.entries);
    if (later <= 0)
        return later;
    return base_error_set(&sight->error, -EBADMSG,
                          "damage in %s/journal-%04" PRIu32 ": segment %" PRIu64 " is missing",
                          sight->catalog.path, sight->journal, number);
}

/* 0 when it is not there, and nothing says that it should be. */
static int find_file(struct segment_sight *sight, uint64_t number, struct segment_place *place)
{
    int result = open_file(sight, number, place);
    if (result != -ENOENT)
        return result < 0 ? result : 1;
    int missing = check_missing(sight, number);
    if (missing == 0)
        return 0;
    result = open_file(sight, number, place); /* it may have come just before the later one */
    if (result == -ENOENT)
        return missing;
    return result < 0 ? result : 1;
}

/* Whether a segment without a valid header may be one that is not in use yet, as far as the file
 * can tell. Where there is a watermark file, an engine may just be taking it into use: then only
 * the mark can tell. */
static int check_unused(struct segment_sight *sight, struct segment_place *place, const char *what)
{
    uint64_t first;
    if (place->file.bytes < SEGMENT_BLOCK_BYTES) /* it has its size before it has its name */
        return segment_place_damaged(sight, place, place->file.bytes, what);
    if (sight->watermark.mapping != NULL)
        return 0;
    int result =
        segment_file_find_data(&place->file, SEGMENT_BLOCK_BYTES, &first, NULL, &sight->error);
    if (result < 0 || first == place->file.bytes)
        return result < 0 ? result : 0;
    result = segment_sight_fetch_mark(sight); /* made since? then look again later */
    if (result < 0 || sight->watermark.mapping != NULL)
        return result;
    return segment_place_damaged(sight, place, 0, what);
}

int segment_place_open(struct segment_sight *sight, uint64_t number, uint64_t before,
                       struct segment_place *place_out)
{
    int result = find_file(sight, number, place_out);
    if (result <= 0)
        return result;
    struct segment_scan *scan = &place_out->scan;
    result = begin_scan(sight, number, place_out);
    if (result == SEGMENT_SCAN_OK)
        return 1;
    bool may_be_under_way = !place_out->is_sealed && sight->visible < before;
    if (result == SEGMENT_SCAN_ZERO)
        result =
            place_out->is_sealed
                ? segment_place_damaged(sight, place_out, 0, "sealed segment has no header")
                : check_unused(sight, place_out, "segment holds data, but its header is not valid");
    else if (result == SEGMENT_SCAN_FAULT)
        result = scan->fault_offset == 0 && may_be_under_way
                     ? check_unused(sight, place_out, scan->fault)
                     : segment_place_damaged(sight, place_out, scan->fault_offset, scan->fault);
    segment_place_close(place_out);
    return result;
}

void segment_place_close(struct segment_place *place)
{
    if (place->is_open)
        segment_file_close(&place->file);
    place->is_open = false;
}

int segment_place_refresh(struct segment_sight *sight, struct segment_place *place)
{
    return segment_file_refresh(&place->file, &sight->error);
}

/* --- what stands there, and what vouches for it ---------------------------------------------- */

/* What stands at `scan` in the place's file; footers are valid ones. */
static int look_at(struct segment_sight *sight, struct segment_place *place,
                   struct segment_scan *scan, struct segment_scan_batch *batch_out)
{
    int result = segment_scan_next(scan, &place->file, batch_out, &sight->error);
    if (result != SEGMENT_SCAN_FOOTER)
        return result;
    result = segment_scan_footer(scan, &place->file, &sight->error);
    return result == SEGMENT_SCAN_OK ? SEGMENT_SCAN_FOOTER : result;
}

int segment_place_look(struct segment_sight *sight, struct segment_place *place,
                       struct segment_scan *scan_out, struct segment_scan_batch *batch_out)
{
    *scan_out = place->scan;
    int result = look_at(sight, place, scan_out, batch_out);
    place->scan.fault = result == SEGMENT_SCAN_FAULT ? scan_out->fault : NULL;
    place->scan.fault_offset = scan_out->fault_offset;
    if (!place->is_sealed)
        return result;
    if (result == SEGMENT_SCAN_FAULT)
        return segment_place_damaged(sight, place, scan_out->fault_offset, scan_out->fault);
    if (result == SEGMENT_SCAN_ZERO)
        return segment_place_damaged(sight, place, scan_out->offset,
                                     "sealed segment ends without a footer");
    return result;
}

bool segment_place_continues(const struct segment_place *next, const struct segment_scan *scan)
{
    return next->scan.first_sequence == scan->next_sequence &&
           memcmp(next->scan.hash, scan->hash, SEGMENT_HASH_BYTES) == 0;
}

/* Whether the segment behind is in use and goes on where `scan` ends. */
static int goes_on_behind(struct segment_sight *sight, const struct segment_scan *scan)
{
    struct segment_place next;
    int result = segment_place_open(sight, scan->segment_number + 1, scan->next_sequence, &next);
    if (result <= 0)
        return result;
    bool continues = segment_place_continues(&next, scan);
    segment_place_close(&next);
    return continues;
}

/* What is wrong where `scan` ends without a batch, as far as the file itself can tell: NULL when
 * this may be the end. `what` and `offset` come with the fault there, if it was not zeros. */
static int look_behind(struct segment_sight *sight, struct segment_place *place,
                       const struct segment_scan *scan, const char **what, uint64_t *offset)
{
    struct segment_scan search = *scan;
    if (place->file.bytes < scan->created_bytes) {
        *what = "segment file is shorter than it was created, and has no footer";
        *offset = place->file.bytes;
        return 0;
    }
    if (*what == NULL) {
        *what = "zeros, and something valid behind them";
        *offset = scan->offset;
    }
    int result = segment_scan_search(&search, &place->file, scan->offset + SEGMENT_BLOCK_BYTES,
                                     &sight->error);
    if (result != SEGMENT_SCAN_OK)
        *what = NULL;
    return result < 0 ? result : 0;
}

/* Without a watermark file only what stands behind can tell. An engine beside us has made one
 * before it writes: so what was read is conclusive when there still is none afterwards. */
static int judge_without_mark(struct segment_sight *sight, struct segment_place *place,
                              const struct segment_scan *scan, const char *what, uint64_t offset)
{
    if (sight->watermark.mapping != NULL || place->is_sealed)
        return 0;
    int result = look_behind(sight, place, scan, &what, &offset);
    if (result == 0 && what != NULL)
        result = segment_sight_fetch_mark(sight);
    if (result < 0 || what == NULL || sight->watermark.mapping != NULL)
        return result;
    return segment_place_damaged(sight, place, offset, what);
}

int segment_place_is_final(struct segment_sight *sight, struct segment_place *place,
                           const struct segment_scan *behind)
{
    uint64_t last = behind->next_sequence - 1;
    bool has_records = behind->next_sequence > place->scan.next_sequence;
    if (place->is_sealed || (has_records && last <= sight->visible))
        return 1;
    struct segment_scan scan = *behind;
    struct segment_scan_batch batch;
    int result = look_at(sight, place, &scan, &batch);
    if (result == SEGMENT_SCAN_OK)
        return batch.header.watermark >= last;
    if (result == SEGMENT_SCAN_FOOTER)
        return 1;
    const char *fault = result == SEGMENT_SCAN_FAULT ? scan.fault : NULL;
    if (result >= 0)
        result = goes_on_behind(sight, behind);
    if (result == 0)
        result = judge_without_mark(sight, place, behind, fault, scan.fault_offset);
    return result;
}

int segment_place_judge_end(struct segment_sight *sight, struct segment_place *place)
{
    const char *what = place->scan.fault;
    uint64_t offset = place->scan.fault_offset;
    if (what != NULL && sight->visible >= place->scan.next_sequence)
        return segment_place_damaged(sight, place, offset, what);
    return judge_without_mark(sight, place, &place->scan, what, offset);
}
