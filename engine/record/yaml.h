/* A YAML document as a tree whose every node knows its file, line and column, and the few questions
 * that a schema asks of it. yaml.c is the only file that touches libyaml.
 *
 * Owner: the loader, one thread, at load only. Nodes live until the document is closed. Every
 * function that fails returns a negative errno with "FILE:LINE:COLUMN: what is wrong; what to do".
 *
 * Taken is plain YAML and nothing surprising: mappings, sequences and scalars, in UTF-8. Anchors,
 * aliases and tags are refused, as are unknown and repeated keys: what a file says is what stands
 * there, and nothing in it is ignored.
 */
#ifndef SLUICE_RECORD_YAML_H
#define SLUICE_RECORD_YAML_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

/* One file, whose documents are read one behind the other. */
struct record_yaml {
    const char *path; /* as errors name it */
    yaml_parser_t parser;
    yaml_document_t document;
    bool has_parser, has_document;
};

/* `bytes` bytes at `text` stay where they are until `close`. */
int record_yaml_open(struct record_yaml *yaml, const char *path, const void *text, size_t bytes,
                     struct base_error *error);
void record_yaml_close(struct record_yaml *yaml);

/* The next document: 1 and its root, 0 behind the last one, negative when it is not well formed. An
 * empty document (a file of comments) is passed over. The one before is gone. */
int record_yaml_next(struct record_yaml *yaml, yaml_node_t **root_out, struct base_error *error);

/* -EINVAL with a sentence that begins with the place of `node`. */
int record_yaml_fail(const struct record_yaml *yaml, const yaml_node_t *node,
                     struct base_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

unsigned record_yaml_line(const yaml_node_t *node); /* from 1 */

/* A key that a mapping may have. */
struct record_yaml_key {
    const char *name;
    yaml_node_type_t type; /* YAML_SCALAR_NODE, _SEQUENCE_NODE or _MAPPING_NODE */
    bool required;
};

/* Fills nodes_out[i] with the value of keys[i], NULL when it is not there. `what` names the mapping
 * in messages: "an item". */
int record_yaml_mapping(struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        const struct record_yaml_key *keys, size_t count, yaml_node_t **nodes_out,
                        struct base_error *error);

/* The value of the key `name` when `node` is a mapping that has it, or NULL. */
yaml_node_t *record_yaml_find(struct record_yaml *yaml, const yaml_node_t *node, const char *name);

/* Entries of a sequence; `count` at most `maximum` and at least 1. `what` names the sequence. */
int record_yaml_sequence(struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                         size_t maximum, size_t *count_out, struct base_error *error);
yaml_node_t *record_yaml_entry(struct record_yaml *yaml, const yaml_node_t *node, size_t index);

/* Scalars. `what` begins the sentence: "min". */
int record_yaml_text(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                     size_t bytes_max, struct base_error *error);
int record_yaml_integer(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        int64_t minimum, int64_t maximum, int64_t *value_out,
                        struct base_error *error);
int record_yaml_boolean(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        bool *value_out, struct base_error *error);

/* The characters of a scalar; they may hold NULs only behind `record_yaml_text`'s back. */
static inline const char *record_yaml_data(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static inline size_t record_yaml_bytes(const yaml_node_t *node)
{
    return node->data.scalar.length;
}

/* Not quoted: only such a scalar is a number, true or false. */
static inline bool record_yaml_is_plain(const yaml_node_t *node)
{
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

#endif
