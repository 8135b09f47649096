/* The file that takes a damaged segment's place, and putting it there. What is in it follows from
 * the plan alone (segment/repair.h).
 */
#ifndef SLUICE_SEGMENT_REPLACEMENT_H
#define SLUICE_SEGMENT_REPLACEMENT_H

#include "segment/repair.h"

/* Whether all that the plan says, and the footer to come, fits into the segment. When not,
 * *fitting_out is the last sequence number that does. */
bool segment_replacement_fits(const struct segment_repair *plan, uint64_t *fitting_out);

/* Builds it as `.tmp`, flushes it and reads it back. Negative: failed, and the file is removed. */
int segment_replacement_build(struct segment_repair *plan, struct base_error *error);

/* Gives the damaged file its name in DIR/damaged and the replacement the segment's. */
int segment_replacement_swap(const struct segment_repair *plan, struct base_error *error);

#endif
