/* The memory of the data plane: reserved once at start, listed line by line.
 *
 * Owner: the server. Every pool goes through budget_reserve, so what is printed is what there is.
 * Used by the main thread before any other runs.
 */
#ifndef SLUICE_BUDGET_H
#define SLUICE_BUDGET_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define BUDGET_LINES_MAX 32

struct budget_line {
    const char *name;
    const char *reason;
    uint64_t count;
    uint64_t bytes_each;
};

struct budget_block {
    void *memory;
    size_t bytes;
};

struct budget {
    struct budget_line lines[BUDGET_LINES_MAX]; /* one per name and size; counts add up */
    size_t line_count;
    struct budget_block *blocks;
    size_t block_count;
};

void budget_init(struct budget *budget);
void budget_fini(struct budget *budget); /* gives all of it back */

/* `count` times `bytes_each` zeroed bytes, page-aligned and touched, so that no page fault is left
 * for later. NULL with an error that says how much was asked for. */
void *budget_reserve(struct budget *budget, const char *name, uint64_t count, uint64_t bytes_each,
                     const char *reason, struct base_error *error);

/* Something a library reserved on our behalf. */
void budget_note(struct budget *budget, const char *name, uint64_t count, uint64_t bytes_each,
                 const char *reason);

uint64_t budget_total(const struct budget *budget);
void budget_log(const struct budget *budget);

#endif
