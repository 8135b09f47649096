/* A torn tail is what an unfinished write leaves: bytes behind the last valid batch of the last
 * segment in use, no longer than one batch, with nothing valid behind them, and beyond every mark
 * that says what had been acknowledged. All else is damage. */
#include "segment/tail.h"

static void damaged(struct segment_tail *tail, uint64_t offset, const char *what)
{
    *tail = (struct segment_tail){SEGMENT_TAIL_DAMAGED, 0, offset, what};
}

int segment_tail_find(struct segment_scan *scan, struct segment_file *file,
                      struct base_error *error)
{
    struct segment_scan_batch batch;
    int result;
    do {
        result = segment_scan_next(scan, file, &batch, error);
    } while (result == SEGMENT_SCAN_OK);
    return result;
}

int segment_tail_check_size(const struct segment_scan *scan, struct segment_file *file, int found,
                            struct base_error *error)
{
    struct segment_scan footer_scan = *scan;
    if (file->bytes == scan->created_bytes)
        return 1;
    if (found != SEGMENT_SCAN_FOOTER)
        return 0;
    int result = segment_scan_footer(&footer_scan, file, error);
    return result < 0 ? result : result == SEGMENT_SCAN_OK;
}

int segment_tail_judge(struct segment_scan *scan, struct segment_file *file, int found,
                       uint64_t mark, struct segment_tail *tail_out, struct base_error *error)
{
    *tail_out = (struct segment_tail){.kind = SEGMENT_TAIL_CLEAN};
    int result = segment_tail_check_size(scan, file, found, error);
    if (result < 0)
        return result;
    if (result == 0) {
        damaged(tail_out, file->bytes,
                "segment file is shorter than it was created, and has no footer");
        return 0;
    }
    if (found == SEGMENT_SCAN_FOOTER) {
        result = segment_scan_footer(scan, file, error);
        tail_out->kind = SEGMENT_TAIL_COMPLETE;
        if (result != SEGMENT_SCAN_FAULT)
            return result < 0 ? result : 0;
        found = SEGMENT_SCAN_FAULT;
        tail_out->kind = SEGMENT_TAIL_CLEAN;
    }
    bool has_fault = found == SEGMENT_SCAN_FAULT;
    const char *what = has_fault ? scan->fault : "bytes behind the last batch";
    uint64_t what_offset = has_fault ? scan->fault_offset : scan->offset;
    uint64_t first, last;
    result = segment_file_find_data(file, scan->offset, &first, &last, error);
    if (result < 0 || first == file->bytes)
        return result;
    result = segment_scan_search(scan, file, scan->offset + SEGMENT_BLOCK_BYTES, error);
    if (result < 0)
        return result;
    uint64_t torn_end = segment_round_up(last, SEGMENT_BLOCK_BYTES);
    if (result == SEGMENT_SCAN_OK || mark >= scan->next_sequence || torn_end > file->bytes ||
        last - scan->offset > SEGMENT_BATCH_BYTES_LIMIT)
        damaged(tail_out, what_offset, what);
    else
        *tail_out = (struct segment_tail){.kind = SEGMENT_TAIL_TORN, .torn_end = torn_end};
    return 0;
}
