/* The stages of the data path, each a benchmark through the engine's real functions. Each function
 * first checks on one operation that the result is right, then measures. Main's thread; memory is
 * static or kept until the process ends.
 */
#ifndef SLUICE_BENCH_STAGES_H
#define SLUICE_BENCH_STAGES_H

#include "measure.h"

void stage_http(struct measure *measure);       /* head and body into a request's memory */
void stage_request(struct measure *measure);    /* taking and recycling a request with its arena */
void stage_queue(struct measure *measure);      /* a pointer from one side to the other */
void stage_json(struct measure *measure);       /* complete validation, beside simdjson by itself */
void stage_submission(struct measure *measure); /* types, limits, timestamps, scores */
void stage_findings(struct measure *measure);   /* against the study registry */
void stage_checksum(struct measure *measure);   /* SHA-256 and CRC32C */
void stage_encode(struct measure *measure);     /* a record into the batch's memory */
void stage_batch(struct measure *measure);      /* padding, checksums and chain hash of a batch */
void stage_whole(struct measure *measure);      /* JSON to finished batch in one go */
void stage_response(struct measure *measure);   /* receipt and problem as bytes */

#endif
