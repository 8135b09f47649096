#include "load/ledger.h"

#include "sluice/reader.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
    const struct load_receipt *a = left, *b = right;
    if (a->journal != b->journal)
        return a->journal < b->journal ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

static void lose(struct load_ledger_result *result, const struct load_receipt *receipt)
{
    if (result->missing++ == 0)
        result->first_missing = *receipt;
}

/* `count` receipts of one journal, in order. */
static int check_journal(struct sluice_reader *reader, const struct load_receipt *receipts,
                         uint64_t count, struct load_ledger_result *result_out)
{
    struct sluice_record record = {.sequence = 0};
    int result = 1;
    for (uint64_t i = 0; i < count; i++) {
        while (record.sequence < receipts[i].sequence && result == 1)
            result = sluice_reader_next(reader, &record);
        if (result < 0)
            return result;
        result_out->checked++;
        if (result == 0 || record.sequence != receipts[i].sequence ||
            memcmp(record.sha256, receipts[i].sha256, sizeof(record.sha256)) != 0)
            lose(result_out, &receipts[i]);
    }
    return 0;
}

int load_ledger_check(const char *directory, struct load_receipt *receipts, uint64_t count,
                      struct load_ledger_result *result_out, struct base_error *error)
{
    *result_out = (struct load_ledger_result){.checked = 0};
    qsort(receipts, count, sizeof(*receipts), compare);
    for (uint64_t first = 0, end; first < count; first = end) {
        char text[BASE_ERROR_TEXT_BYTES];
        struct sluice_reader *reader;
        for (end = first; end < count && receipts[end].journal == receipts[first].journal;)
            end++;
        int result = sluice_reader_open(directory, receipts[first].journal,
                                        receipts[first].sequence, &reader, text, sizeof(text));
        if (result < 0)
            return base_error_set(error, result, "%s", text);
        result = check_journal(reader, receipts + first, end - first, result_out);
        if (result < 0)
            base_error_set(error, result, "%s", sluice_reader_error(reader));
        sluice_reader_close(reader);
        if (result < 0)
            return result;
    }
    return 0;
}
