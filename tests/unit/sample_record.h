/* Records whose content follows from their number, so that whoever reads them back knows what
 * should be there. */
#ifndef SLUICE_TESTS_SAMPLE_RECORD_H
#define SLUICE_TESTS_SAMPLE_RECORD_H

#include "record/encode.h"

#define SAMPLE_BODY_BYTES_MIN 40
#define SAMPLE_BODY_BYTES_MAX 32768

/* Fills `body_out` with `bytes` bytes of JSON for record `number`. */
void sample_body(uint64_t number, size_t bytes, char *body_out);

/* An envelope around a body that the caller keeps; `sequence` is left to the journal. */
void sample_envelope(uint64_t number, const char *body, size_t bytes,
                     struct record_envelope *envelope_out);

#define SAMPLE_RECEIVED_AT_NS UINT64_C(1700000000000000000) /* of number 0; 1 ms apart */

#endif
