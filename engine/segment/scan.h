/* The one place that decides whether bytes on disk are what a writer wrote. Recovery, readers and
 * verify all go through it.
 *
 * Owner: the caller; one thread at a time. A scan walks one segment batch by batch and carries what
 * the next batch must say: number, first sequence, previous hash. Every check is against that, so
 * bytes from elsewhere (another node, journal, segment or position) never pass.
 */
#ifndef SLUICE_SEGMENT_SCAN_H
#define SLUICE_SEGMENT_SCAN_H

#include "record/encode.h"
#include "segment/file.h"
#include "segment/format.h"

enum segment_scan_result {
    SEGMENT_SCAN_OK = 1, /* the header, batch or footer is valid */
    SEGMENT_SCAN_ZERO,   /* the block there is all zeros (or the file ends): nothing was written */
    SEGMENT_SCAN_FOOTER, /* there is no batch, but something with a footer's magic */
    SEGMENT_SCAN_FAULT,  /* something else: `fault` and `fault_offset` name it */
};

struct segment_scan {
    uint8_t node_id[SEGMENT_NODE_BYTES];
    uint32_t journal;
    uint64_t segment_number;
    uint64_t first_sequence;          /* of the segment */
    uint8_t hash[SEGMENT_HASH_BYTES]; /* of the last valid batch, or chain_start */
    uint64_t batch_number;            /* of the next batch */
    uint64_t next_sequence;
    uint64_t offset;            /* of the next batch */
    uint64_t watermark;         /* the highest mark seen in a batch header */
    uint64_t last_record_count; /* of the last valid batch */
    uint64_t oldest_received_at_ns, newest_received_at_ns; /* 0 without records */
    uint64_t created_bytes;                                /* size of the file as created */
    const char *fault;
    uint64_t fault_offset;
};

struct segment_scan_batch {
    struct segment_batch_header header;
    const uint8_t *payload; /* header.payload_bytes of records; until the next read of the file */
    uint64_t offset;        /* in the file */
};

/* The identity that a segment must have. */
struct segment_scan_expected {
    const uint8_t *node_id;
    uint32_t journal;
    uint64_t segment_number;
};

/* Reads the segment header and starts the scan behind it. Negative: an I/O error. */
int segment_scan_begin(struct segment_scan *scan, struct segment_file *file,
                       const struct segment_scan_expected *expected, struct base_error *error);

/* Checks the batch at scan->offset with all its records and bodies and steps over it. */
int segment_scan_next(struct segment_scan *scan, struct segment_file *file,
                      struct segment_scan_batch *batch_out, struct base_error *error);

/* Checks the footer at scan->offset against everything that was scanned. */
int segment_scan_footer(struct segment_scan *scan, struct segment_file *file,
                        struct base_error *error);

/* Steps over a sealed segment by its header and footer alone, without reading its batches. */
int segment_scan_sealed(struct segment_scan *scan, struct segment_file *file,
                        const struct segment_scan_expected *expected,
                        struct segment_footer_header *footer_out, struct base_error *error);

/* Looks for a valid batch header or footer of this segment at any block boundary from `offset` on;
 * SEGMENT_SCAN_OK with fault_offset set when there is one, SEGMENT_SCAN_ZERO when not. */
int segment_scan_search(struct segment_scan *scan, struct segment_file *file, uint64_t offset,
                        struct base_error *error);

/* SHA-256 over a batch header and its envelopes; the records must have been checked. */
void segment_scan_batch_hash(const struct segment_batch_header *header, const uint8_t *payload,
                             uint8_t hash_out[SEGMENT_HASH_BYTES]);

#endif
