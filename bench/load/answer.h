/* Taking responses apart as they arrive: status, and the receipt where there is one.
 *
 * A client's parser for what this one engine, or a server beside it in a comparison, answers: a
 * head that ends in an empty line and a Content-Length. Anything else (chunked, no length) is an
 * error and ends the connection. Bytes may come in any pieces.
 *
 * Owner: a load connection; one thread.
 */
#ifndef SLUICE_BENCH_LOAD_ANSWER_H
#define SLUICE_BENCH_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_DIGEST_BYTES 32

struct load_receipt {
    uint64_t sequence;
    uint32_t journal;
    uint8_t sha256[LOAD_DIGEST_BYTES];
};

struct load_answer {
    unsigned status;
    bool has_receipt;
    bool ends; /* "Connection: close" */
    struct load_receipt receipt;
};

/* Bytes of the first response in `data`, whole, taken apart into *answer_out; 0: more is needed;
 * -1: this is none that we understand. */
long load_answer_parse(const char *data, size_t bytes, struct load_answer *answer_out);

#endif
