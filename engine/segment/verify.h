/* Checking a whole data directory: every header, batch, record, body and footer, the hash chain
 * across segments, and that everything below the watermark is there.
 *
 * Changes nothing and takes no lock, so it also runs beside an engine: what lies behind the
 * watermark is then still being written and is not judged.
 */
#ifndef SLUICE_SEGMENT_VERIFY_H
#define SLUICE_SEGMENT_VERIFY_H

#include "base/error.h"

#include <stdint.h>

struct segment_verify_report {
    uint64_t journals, segments, batches, records, bytes;
    uint64_t damages;    /* places where something is wrong; each was passed to `found` */
    uint64_t torn_bytes; /* unfinished write behind the last valid batch, not damage */
};

/* Called for each damaged place: file, offset, what is wrong. */
typedef void segment_verify_found(void *context, const char *path, uint64_t offset,
                                  const char *what);

/* 0, also when damage was found; a negative errno when the directory could not be read. */
int segment_verify(const char *directory, segment_verify_found *found, void *context,
                   struct segment_verify_report *report_out, struct base_error *error);

#endif
