#include "segment/chain.h"

#include "segment/tail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int segment_chain_refuse(struct segment_chain *chain, const char *path, uint64_t offset,
                         const char *what)
{
    return base_error_set(chain->error, -EBADMSG,
                          "damage in %s at offset %" PRIu64
                          ": %s. This is not the damaged end of a "
                          "journal, which is all that repair can help against: restore the file "
                          "from a replica or backup. Nothing was changed in journal %" PRIu32,
                          path, offset, what, chain->journal);
}

int segment_chain_open(struct segment_chain *chain, size_t index, struct segment_file *file)
{
    const struct segment_entry *entry = &chain->list.entries[index];
    char path[320], name[SEGMENT_NAME_BYTES];
    segment_catalog_path(chain->catalog, chain->journal, entry->segment_number, entry->state, path,
                         sizeof(path));
    segment_catalog_name(entry->segment_number, entry->state, name);
    int result = segment_file_open(file, chain->journal_fd, name, path, false, chain->error);
    if (result == -ENOENT)
        return base_error_os(chain->error, -ENOENT, "cannot open %s", path);
    return result;
}

int segment_chain_classify(struct segment_chain *chain, size_t index, struct segment_file *file,
                           struct segment_scan *scan)
{
    const struct segment_entry *entry = &chain->list.entries[index];
    struct segment_scan_expected expected = {chain->catalog->node_id, chain->journal,
                                             entry->segment_number};
    uint64_t first;
    int result = segment_scan_begin(scan, file, &expected, chain->error);
    if (result < 0 || result == SEGMENT_SCAN_OK)
        return result < 0 ? result : SEGMENT_CHAIN_IN_USE;
    if (result == SEGMENT_SCAN_FAULT && scan->fault_offset != 0)
        return SEGMENT_CHAIN_FOREIGN; /* the checksum holds: it was written, and not for here */
    if (result == SEGMENT_SCAN_ZERO)
        scan->fault = "segment holds data, but its header is not valid";
    if (entry->state == SEGMENT_STATE_SEALED || file->bytes < SEGMENT_BLOCK_BYTES)
        return SEGMENT_CHAIN_HEADERLESS;
    result = segment_file_find_data(file, SEGMENT_BLOCK_BYTES, &first, NULL, chain->error);
    if (result < 0)
        return result;
    return first < file->bytes ? SEGMENT_CHAIN_HEADERLESS : SEGMENT_CHAIN_NOT_IN_USE;
}

/* Files that count: without those being prepared. */
static void drop_temporary(struct segment_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].state != SEGMENT_STATE_TEMPORARY)
            list->entries[kept++] = list->entries[i];
    list->count = kept;
}

/* Numbers are 1, 2, 3 … with one file each; a gap may have been a segment full of records. */
static int check_numbers(struct segment_chain *chain)
{
    for (size_t i = 0; i < chain->list.count; i++) {
        if (chain->list.entries[i].segment_number == i + 1)
            continue;
        char path[320];
        segment_catalog_path(chain->catalog, chain->journal, chain->list.entries[i].segment_number,
                             chain->list.entries[i].state, path, sizeof(path));
        bool again = i > 0 && chain->list.entries[i].segment_number == i;
        return segment_chain_refuse(chain, path, 0,
                                    again ? "the segment is there twice, open and sealed"
                                          : "a segment is missing before this one");
    }
    return 0;
}

/* Index of the last segment in use, SEGMENT_CHAIN_NONE without, or an I/O error in *result_out. */
static size_t find_last(struct segment_chain *chain, int *result_out)
{
    *result_out = 0;
    for (size_t i = chain->list.count; i-- > 0;) {
        struct segment_file file;
        struct segment_scan scan;
        *result_out = segment_chain_open(chain, i, &file);
        if (*result_out < 0)
            return SEGMENT_CHAIN_NONE;
        int use = segment_chain_classify(chain, i, &file, &scan);
        segment_file_close(&file);
        if (use < 0) {
            *result_out = use;
            return SEGMENT_CHAIN_NONE;
        }
        if (use != SEGMENT_CHAIN_NOT_IN_USE)
            return i;
    }
    return SEGMENT_CHAIN_NONE;
}

int segment_chain_check(struct segment_chain *chain, const struct segment_scan *scan,
                        const char *path)
{
    bool number_continues = scan->first_sequence == chain->before.next_sequence;
    if (number_continues && memcmp(scan->hash, chain->before.hash, SEGMENT_HASH_BYTES) == 0)
        return 0;
    if (chain->before_fault != NULL)
        return segment_chain_refuse(chain, chain->before_path, chain->before.offset,
                                    chain->before_fault);
    return segment_chain_refuse(chain, path, number_continues ? 72 : 48,
                                number_continues ? "segment does not continue the hash chain"
                                                 : "segment does not go on with the next sequence");
}

/* An open segment with another one in use behind it; that one proves it complete or not. */
static int pass_open(struct segment_chain *chain, struct segment_scan *scan,
                     struct segment_file *file)
{
    int found = segment_tail_find(scan, file, chain->error);
    if (found < 0)
        return found;
    int result = segment_tail_check_size(scan, file, found, chain->error);
    if (result < 0)
        return result;
    chain->before_fault = found == SEGMENT_SCAN_FAULT ? scan->fault : NULL;
    if (result == 0)
        return segment_chain_refuse(
            chain, file->path, file->bytes,
            "segment file is shorter than it was created, and has no footer");
    return 0;
}

static int pass_sealed(struct segment_chain *chain, size_t index, struct segment_scan *scan,
                       struct segment_file *file)
{
    struct segment_footer_header footer;
    struct segment_scan_expected expected = {chain->catalog->node_id, chain->journal,
                                             chain->list.entries[index].segment_number};
    int result = segment_scan_sealed(scan, file, &expected, &footer, chain->error);
    chain->before_fault = NULL;
    if (result < 0 || result == SEGMENT_SCAN_OK)
        return result < 0 ? result : 0;
    return segment_chain_refuse(chain, file->path, scan->fault_offset, scan->fault);
}

/* A segment behind which another one is in use: it must be as recovery wants it. */
static int pass(struct segment_chain *chain, size_t index, struct segment_file *file)
{
    struct segment_scan scan;
    int use = segment_chain_classify(chain, index, file, &scan);
    if (use < 0)
        return use;
    if (use == SEGMENT_CHAIN_NOT_IN_USE)
        return segment_chain_refuse(chain, file->path, 0,
                                    "the segment was never used, but one behind it is");
    if (use != SEGMENT_CHAIN_IN_USE)
        return segment_chain_refuse(chain, file->path, scan.fault_offset, scan.fault);
    int result = segment_chain_check(chain, &scan, file->path);
    if (result == 0)
        result = chain->list.entries[index].state == SEGMENT_STATE_SEALED
                     ? pass_sealed(chain, index, &scan, file)
                     : pass_open(chain, &scan, file);
    chain->before = scan;
    snprintf(chain->before_path, sizeof(chain->before_path), "%s", file->path);
    return result;
}

int segment_chain_walk(struct segment_chain *chain)
{
    chain->last = SEGMENT_CHAIN_NONE;
    chain->before = (struct segment_scan){.next_sequence = 1};
    chain->before_fault = NULL;
    int result =
        segment_catalog_list(chain->catalog, chain->journal_fd, &chain->list, chain->error);
    if (result < 0)
        return result;
    drop_temporary(&chain->list);
    chain->last = find_last(chain, &result);
    if (result == 0)
        result = check_numbers(chain);
    for (size_t i = 0; chain->last != SEGMENT_CHAIN_NONE && i < chain->last && result == 0; i++) {
        struct segment_file file;
        result = segment_chain_open(chain, i, &file);
        if (result == 0)
            result = pass(chain, i, &file);
        segment_file_close(&file);
    }
    return result;
}

void segment_chain_fini(struct segment_chain *chain)
{
    free(chain->list.entries);
    chain->list = (struct segment_list){NULL, 0};
}
