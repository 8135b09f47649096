/* The JSON parser and the submission checks on whatever bytes come: no crash, no read beyond the
 * padding, the same result whatever stands behind the body, and every accepted node inside it. */
#include "base/check.h"
#include "record/arena.h"
#include "record/json.h"
#include "record/submission.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char *body_with_padding(struct record_arena *arena, const uint8_t *data, size_t bytes,
                               int padding)
{
    char *body = record_arena_alloc(arena, bytes + RECORD_JSON_PADDING_BYTES, 64);
    CHECK(body != NULL);
    memcpy(body, data, bytes);
    memset(body + bytes, padding, RECORD_JSON_PADDING_BYTES);
    return body;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct record_json_parser *parser;
    static struct record_arena arena;
    static void *memory;
    size_t capacity =
        (BODY_BYTES_MAX + RECORD_JSON_PADDING_BYTES +
         record_submission_arena_bytes(BODY_BYTES_MAX) + RECORD_ARENA_RED_ZONE_BYTES + 63) &
        ~(size_t)63;
    if (parser == NULL) {
        parser = record_json_parser_create(BODY_BYTES_MAX);
        memory = aligned_alloc(64, capacity);
        CHECK(parser != NULL && memory != NULL);
        record_arena_init(&arena, memory, capacity);
    }
    if (bytes > BODY_BYTES_MAX)
        return 0;
    struct record_json_document document;
    struct record_json_fault fault, other_fault;
    struct record_submission *submission;
    struct base_problem problem;
    char *body = body_with_padding(&arena, data, bytes, '"');
    int with_quotes = record_json_parse(parser, body, bytes, &document, &other_fault);
    record_arena_reset(&arena);
    body = body_with_padding(&arena, data, bytes, 0);
    int result = record_json_parse(parser, body, bytes, &document, &fault);
    CHECK(result == with_quotes);
    CHECK(result == 0 || fault.error == other_fault.error);
    if (result == 0) {
        CHECK(document.count > 0 && document.nodes[0].next == document.count);
        record_submission_parse(&document, body, bytes, &arena, &submission, &problem);
    }
    record_arena_reset(&arena);
    return 0;
}
