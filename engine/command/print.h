/* What `sluice cat` and `sluice tail` share: a record as a line of JSON, or its body raw.
 *
 * Owner: the command; one thread.
 */
#ifndef SLUICE_COMMAND_PRINT_H
#define SLUICE_COMMAND_PRINT_H

#include "sluice/reader.h"

#include <stdbool.h>

/* Memory for a line; grows with the largest record. Zero it before the first use. */
struct print_output {
    char *line;
    size_t capacity;
};

void print_output_fini(struct print_output *output);

/* Writes the record to stdout; raw, nothing for a lost one. False when stdout is gone or memory is
 * short; errno says which. */
bool print_record(struct print_output *output, const struct sluice_record *record, bool raw);

/* A decimal number up to `maximum`. */
bool print_parse_number(const char *text, uint64_t maximum, uint64_t *number_out);

#endif
