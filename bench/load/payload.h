/* The bodies that a load sends.
 *
 * Either from a file, a JSON object a line, taken in turn; or synthetic, all of one size. A body
 * with a `submissionId` of 36 characters gets a fresh UUIDv7 there with each request, so that each
 * is a submission of its own; where there is none, the engine assigns one.
 *
 * Owner: the command; read-only once threads run. Sizes in bytes.
 */
#ifndef SLUICE_BENCH_LOAD_PAYLOAD_H
#define SLUICE_BENCH_LOAD_PAYLOAD_H

#include "base/error.h"
#include "base/random.h"

#include <stddef.h>
#include <stdint.h>

#define LOAD_BODY_BYTES_MIN 75
#define LOAD_BODY_BYTES_MAX 65536

struct load_body {
    const char *data;
    uint32_t bytes;
    uint32_t id_at; /* offset of the submission id's 36 characters; 0: there are none */
};

struct load_payload {
    struct load_body *bodies;
    size_t count;
    uint32_t bytes_max; /* of the largest */
    char *memory;
};

int load_payload_from_file(struct load_payload *payload, const char *path,
                           struct base_error *error);

/* One body of exactly `bytes` (LOAD_BODY_BYTES_MIN to LOAD_BODY_BYTES_MAX). */
int load_payload_synthetic(struct load_payload *payload, uint64_t bytes, struct base_error *error);

void load_payload_fini(struct load_payload *payload);

/* Copies the body with a fresh id to `out`. */
void load_payload_write(const struct load_body *body, struct base_random *random, uint64_t now_ns,
                        char *out);

#endif
