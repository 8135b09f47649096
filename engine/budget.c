#include "budget.h"

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void budget_init(struct budget *budget)
{
    *budget = (struct budget){.line_count = 0};
}

void budget_fini(struct budget *budget)
{
    for (size_t i = 0; i < budget->block_count; i++)
        munmap(budget->blocks[i].memory, budget->blocks[i].bytes);
    free(budget->blocks);
    budget_init(budget);
}

void budget_note(struct budget *budget, const char *name, uint64_t count, uint64_t bytes_each,
                 const char *reason)
{
    for (size_t i = 0; i < budget->line_count; i++) {
        struct budget_line *line = &budget->lines[i];
        if (strcmp(line->name, name) == 0 && line->bytes_each == bytes_each) {
            line->count += count;
            return;
        }
    }
    CHECK(budget->line_count < BUDGET_LINES_MAX);
    budget->lines[budget->line_count++] = (struct budget_line){name, reason, count, bytes_each};
}

void *budget_reserve(struct budget *budget, const char *name, uint64_t count, uint64_t bytes_each,
                     const char *reason, struct base_error *error)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) {
        base_error_set(error, -ENOMEM,
                       "%s: %" PRIu64 " times %" PRIu64 " bytes is more than there is", name, count,
                       bytes_each);
        return NULL;
    }
    struct budget_block *blocks =
        realloc(budget->blocks, (budget->block_count + 1) * sizeof(*blocks));
    void *memory = MAP_FAILED;
    if (blocks != NULL) {
        budget->blocks = blocks;
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    }
    if (memory == MAP_FAILED) {
        base_error_set(
            error, -ENOMEM,
            "cannot reserve %zu bytes for %s: give the process more memory, or lower the "
            "limits that `sluice config` lists",
            bytes, name);
        return NULL;
    }
    blocks[budget->block_count++] = (struct budget_block){memory, bytes};
    budget_note(budget, name, count, bytes_each, reason);
    return memory;
}

uint64_t budget_total(const struct budget *budget)
{
    uint64_t total = 0;
    for (size_t i = 0; i < budget->line_count; i++)
        total += budget->lines[i].count * budget->lines[i].bytes_each;
    return total;
}

void budget_log(const struct budget *budget)
{
    for (size_t i = 0; i < budget->line_count; i++) {
        const struct budget_line *line = &budget->lines[i];
        base_log(BASE_LOG_INFO, "memory",
                 "pool=\"%s\" count=%" PRIu64 " bytes_each=%" PRIu64 " bytes=%" PRIu64
                 " reason=\"%s\"",
                 line->name, line->count, line->bytes_each, line->count * line->bytes_each,
                 line->reason);
    }
    base_log(BASE_LOG_INFO, "memory-budget", "bytes=%" PRIu64, budget_total(budget));
}
