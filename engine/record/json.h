/* Complete JSON validation and a flat list of nodes, on top of simdjson. json.cc behind this
 * header is the only C++ file; no exception leaves it.
 *
 * Owner: one parser per worker, used by that worker only. Everything a document points to lives
 * in the parser or in the body and is valid until the next parse. All memory is reserved by
 * `create`; parsing calls no malloc.
 *
 * Accepted is RFC 8259 and nothing more, with these stricter rules: UTF-8 without a byte order
 * mark, at most RECORD_JSON_DEPTH_MAX nested containers, no two members of one object with the
 * same name after unescaping (I-JSON, RFC 7493 section 2.3), no unpaired surrogate in an escape
 * (RFC 7493 section 2.1). Numbers are checked against the grammar and kept as their characters:
 * no digit is lost and no number is too large.
 */
#ifndef SLUICE_RECORD_JSON_H
#define SLUICE_RECORD_JSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RECORD_JSON_PADDING_BYTES 64 /* readable bytes that simdjson needs behind the body */
#define RECORD_JSON_DEPTH_MAX     32 /* containers; no questionnaire seen nests deeper than 6 */

enum record_json_type {
    RECORD_JSON_NULL,
    RECORD_JSON_FALSE,
    RECORD_JSON_TRUE,
    RECORD_JSON_NUMBER,
    RECORD_JSON_STRING,
    RECORD_JSON_ARRAY,
    RECORD_JSON_OBJECT,
};

/* One value. Nodes stand in document order; the root is node 0, a container's first child, if any,
 * is the node behind it, and the children of node i are i + 1, nodes[i + 1].next, ... up to but
 * not including nodes[i].next. */
struct record_json_node {
    const char *name;    /* member name, unescaped; NULL in arrays and at the root */
    const char *text;    /* STRING: unescaped; NUMBER, TRUE, FALSE, NULL: the characters in the
                            body; containers: their first character in the body */
    uint32_t name_bytes; /* neither string is NUL-terminated; both may contain NUL (\u0000) */
    uint32_t text_bytes; /* containers: 1 */
    uint32_t next;       /* index of the node behind this one and all its descendants */
    uint8_t type;        /* enum record_json_type */
    uint8_t depth;       /* 0 for the root */
};

struct record_json_document {
    const struct record_json_node *nodes;
    uint32_t count;
};

enum record_json_error {
    RECORD_JSON_OK,
    RECORD_JSON_EMPTY,          /* no value at all */
    RECORD_JSON_SYNTAX,         /* a token that cannot stand there, or something missing */
    RECORD_JSON_UTF8,           /* not UTF-8, or a byte order mark */
    RECORD_JSON_STRING_CONTENT, /* raw control character, bad escape, unpaired surrogate,
                                   string not closed */
    RECORD_JSON_NUMBER_FORM,    /* not a JSON number: leading zero, plus sign, bare point ... */
    RECORD_JSON_TOO_DEEP,       /* beyond RECORD_JSON_DEPTH_MAX */
    RECORD_JSON_DUPLICATE,      /* the same member name twice in one object */
    RECORD_JSON_TRAILING,       /* something behind the value */
    RECORD_JSON_TOO_LARGE,      /* larger than the parser's capacity */
    RECORD_JSON_ERROR_COUNT,
};

struct record_json_fault {
    enum record_json_error error;
    uint32_t offset; /* of the byte in the body where it was noticed, the body's length where
                        something is missing at its end; 0 where unknown */
};

/* A sentence fragment for `error`, as in "... at byte 12"; never NULL. */
const char *record_json_error_text(enum record_json_error error);

struct record_json_parser;

/* Reserves everything for bodies of up to `body_bytes_max` bytes, which is below 1 GiB; NULL when
 * it is not, or when memory is short. */
struct record_json_parser *record_json_parser_create(size_t body_bytes_max);
void record_json_parser_destroy(struct record_json_parser *parser); /* NULL is fine */

/* What `create` reserves for that size, in bytes, for the memory budget. */
size_t record_json_parser_bytes(size_t body_bytes_max);

/* Parses `bytes` bytes at `body`, behind which RECORD_JSON_PADDING_BYTES more are readable.
 * Returns 0 and sets the document, or -1 and sets the fault. The body is not changed. */
int record_json_parse(struct record_json_parser *parser, const char *body, size_t bytes,
                      struct record_json_document *document_out,
                      struct record_json_fault *fault_out);

#ifdef __cplusplus
}
#endif

#endif
