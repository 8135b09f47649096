/* Submissions of the sizes that are measured. Owner: this file, for the life of the process; each
 * body has RECORD_JSON_PADDING_BYTES readable bytes behind it.
 */
#ifndef SLUICE_BENCH_BODIES_H
#define SLUICE_BENCH_BODIES_H

#include <stdint.h>

#define BODY_COUNT     4
#define BODY_BYTES_MAX 16000

struct body {
    const char *data;
    uint32_t bytes;
};

/* 75 bytes: patient, time, two scores; 570: a usual form of the CDISC pilot's shape, numbers only;
 * 2,000: the same with 120 items; 16,000: 400 items, every second one a text. */
const struct body *bodies(void);

#endif
