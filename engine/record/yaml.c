/* Choice: libyaml's documents, whose nodes keep their marks. Rejected: libcyaml, which reads config
 * files here: it keeps no line for a value, and most faults of a registry are between two values
 * that are each fine by themselves (a centre that stands twice, a minimum above the maximum). */
#include "record/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of a text from the file is repeated in a message. */
#define SHOWN_BYTES_MAX 48

static int shown(size_t bytes)
{
    return (int)(bytes < SHOWN_BYTES_MAX ? bytes : SHOWN_BYTES_MAX);
}

/* ---- Documents ---- */

int record_yaml_open(struct record_yaml *yaml, const char *path, const void *text, size_t bytes,
                     struct base_error *error)
{
    *yaml = (struct record_yaml){.path = path};
    if (!yaml_parser_initialize(&yaml->parser))
        return base_error_set(error, -ENOMEM, "%s: out of memory", path);
    yaml->has_parser = true;
    yaml_parser_set_encoding(&yaml->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&yaml->parser, text, bytes);
    return 0;
}

static void close_document(struct record_yaml *yaml)
{
    if (yaml->has_document)
        yaml_document_delete(&yaml->document);
    yaml->has_document = false;
}

void record_yaml_close(struct record_yaml *yaml)
{
    close_document(yaml);
    if (yaml->has_parser)
        yaml_parser_delete(&yaml->parser);
    yaml->has_parser = false;
}

int record_yaml_fail(const struct record_yaml *yaml, const yaml_node_t *node,
                     struct base_error *error, const char *format, ...)
{
    char sentence[BASE_ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    return base_error_set(error, -EINVAL, "%s:%zu:%zu: %s", yaml->path, node->start_mark.line + 1,
                          node->start_mark.column + 1, sentence);
}

unsigned record_yaml_line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static int fail_syntax(const struct record_yaml *yaml, struct base_error *error)
{
    const yaml_parser_t *parser = &yaml->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return base_error_set(error, -ENOMEM, "%s: out of memory", yaml->path);
    if (parser->error == YAML_READER_ERROR)
        return base_error_set(
            error, -EINVAL, "%s:%zu:%zu: %s; write the file in UTF-8, without control characters",
            yaml->path, parser->mark.line + 1, parser->mark.column + 1, parser->problem);
    return base_error_set(error, -EINVAL, "%s:%zu:%zu: this is not YAML: %s%s%s", yaml->path,
                          parser->problem_mark.line + 1, parser->problem_mark.column + 1,
                          parser->problem != NULL ? parser->problem : "it cannot be read",
                          parser->context != NULL ? ", " : "",
                          parser->context != NULL ? parser->context : "");
}

static bool has_tag(const yaml_node_t *node)
{
    const char *standard = node->type == YAML_SCALAR_NODE     ? YAML_DEFAULT_SCALAR_TAG
                           : node->type == YAML_SEQUENCE_NODE ? YAML_DEFAULT_SEQUENCE_TAG
                                                              : YAML_DEFAULT_MAPPING_TAG;
    return node->tag != NULL && strcmp((const char *)node->tag, standard) != 0;
}

/* Counts one reference to node `index`; false when it is not the first. */
static bool refer(uint8_t *referred, int index)
{
    return referred[index - 1]++ == 0;
}

/* Aliases make a graph of the tree, even one with cycles: a node that is referred to twice. */
static int check_tree(struct record_yaml *yaml, struct base_error *error)
{
    size_t count =
        (size_t)(yaml->document.nodes.top - yaml->document.nodes.start); /* ids are from 1 */
    uint8_t *referred = calloc(count, 1);
    int result = referred == NULL ? base_error_set(error, -ENOMEM, "out of memory") : 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        const yaml_node_t *node = &yaml->document.nodes.start[i];
        bool once = i > 0 || refer(referred, 1); /* the document itself refers to its root */
        if (node->type == YAML_SEQUENCE_NODE)
            for (const yaml_node_item_t *item = node->data.sequence.items.start;
                 item < node->data.sequence.items.top && once; item++)
                once = refer(referred, *item);
        if (node->type == YAML_MAPPING_NODE)
            for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
                 pair < node->data.mapping.pairs.top && once; pair++)
                once = refer(referred, pair->key) && refer(referred, pair->value);
        if (!once)
            result = record_yaml_fail(yaml, node, error,
                                      "something in here is an alias (*name); write it out");
        else if (has_tag(node))
            result = record_yaml_fail(yaml, node, error, "the tag %.*s is not taken; leave it out",
                                      shown(strlen((const char *)node->tag)), node->tag);
    }
    free(referred);
    return result;
}

static bool is_empty(const yaml_node_t *root)
{
    return root->type == YAML_SCALAR_NODE && record_yaml_is_plain(root) &&
           record_yaml_bytes(root) == 0;
}

int record_yaml_next(struct record_yaml *yaml, yaml_node_t **root_out, struct base_error *error)
{
    for (;;) {
        close_document(yaml);
        if (!yaml_parser_load(&yaml->parser, &yaml->document))
            return fail_syntax(yaml, error);
        yaml->has_document = true;
        *root_out = yaml_document_get_root_node(&yaml->document);
        if (*root_out == NULL)
            return 0;
        int result = check_tree(yaml, error);
        if (result < 0)
            return result;
        if (!is_empty(*root_out))
            return 1;
    }
}

/* ---- Mappings and sequences ---- */

static yaml_node_t *node_of(struct record_yaml *yaml, int index)
{
    return yaml_document_get_node(&yaml->document, index);
}

static bool is_named(const yaml_node_t *key, const char *name)
{
    return key->type == YAML_SCALAR_NODE && record_yaml_bytes(key) == strlen(name) &&
           memcmp(record_yaml_data(key), name, strlen(name)) == 0;
}

yaml_node_t *record_yaml_find(struct record_yaml *yaml, const yaml_node_t *node, const char *name)
{
    if (node->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++)
        if (is_named(node_of(yaml, pair->key), name))
            return node_of(yaml, pair->value);
    return NULL;
}

static const char *type_text(yaml_node_type_t type)
{
    return type == YAML_SCALAR_NODE     ? "a single value"
           : type == YAML_SEQUENCE_NODE ? "a list"
                                        : "a mapping (key: value)";
}

/* "a, b, c" of the keys that there may be. */
static void list_keys(const struct record_yaml_key *keys, size_t count, char *out, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < count && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i > 0 ? ", " : "", keys[i].name);
}

static int fail_key(const struct record_yaml *yaml, const yaml_node_t *key, const char *what,
                    const struct record_yaml_key *keys, size_t count, struct base_error *error)
{
    char known[256];
    list_keys(keys, count, known, sizeof(known));
    if (key->type != YAML_SCALAR_NODE)
        return record_yaml_fail(yaml, key, error, "%s has no such key; it has: %s", what, known);
    return record_yaml_fail(yaml, key, error, "%s has no key \"%.*s\"; it has: %s", what,
                            shown(record_yaml_bytes(key)), record_yaml_data(key), known);
}

/* One pair of a mapping into its place in nodes_out. */
static int take_pair(struct record_yaml *yaml, const yaml_node_pair_t *pair, const char *what,
                     const struct record_yaml_key *keys, size_t count, yaml_node_t **nodes_out,
                     struct base_error *error)
{
    const yaml_node_t *key = node_of(yaml, pair->key);
    yaml_node_t *value = node_of(yaml, pair->value);
    for (size_t i = 0; i < count; i++) {
        if (!is_named(key, keys[i].name))
            continue;
        if (nodes_out[i] != NULL)
            return record_yaml_fail(yaml, key, error,
                                    "%s has %s twice, the first on line %u; keep one", what,
                                    keys[i].name, record_yaml_line(nodes_out[i]));
        if (value->type != keys[i].type)
            return record_yaml_fail(yaml, value, error, "%s is %s; this is %s", keys[i].name,
                                    type_text(keys[i].type), type_text(value->type));
        nodes_out[i] = value;
        return 0;
    }
    return fail_key(yaml, key, what, keys, count, error);
}

int record_yaml_mapping(struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        const struct record_yaml_key *keys, size_t count, yaml_node_t **nodes_out,
                        struct base_error *error)
{
    memset(nodes_out, 0, count * sizeof(*nodes_out));
    if (node->type != YAML_MAPPING_NODE)
        return record_yaml_fail(yaml, node, error, "%s is a mapping (key: value); this is %s", what,
                                type_text(node->type));
    int result = 0;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && result == 0; pair++)
        result = take_pair(yaml, pair, what, keys, count, nodes_out, error);
    for (size_t i = 0; i < count && result == 0; i++)
        if (keys[i].required && nodes_out[i] == NULL)
            result =
                record_yaml_fail(yaml, node, error, "%s needs the key \"%s\"", what, keys[i].name);
    return result;
}

int record_yaml_sequence(struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                         size_t maximum, size_t *count_out, struct base_error *error)
{
    const yaml_node_item_t *start = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - start);
    *count_out = count;
    if (count == 0)
        return record_yaml_fail(yaml, node, error, "%s is an empty list; give at least one entry",
                                what);
    if (count > maximum)
        return record_yaml_fail(yaml, node_of(yaml, start[maximum]), error,
                                "%s has %zu entries; at most %zu are taken", what, count, maximum);
    return 0;
}

yaml_node_t *record_yaml_entry(struct record_yaml *yaml, const yaml_node_t *node, size_t index)
{
    return node_of(yaml, node->data.sequence.items.start[index]);
}

/* ---- Scalars ---- */

static int check_scalar(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        struct base_error *error)
{
    if (node->type != YAML_SCALAR_NODE)
        return record_yaml_fail(yaml, node, error, "%s is a single value; this is %s", what,
                                type_text(node->type));
    if (record_yaml_bytes(node) == 0)
        return record_yaml_fail(yaml, node, error, "%s is empty; give it a value", what);
    return 0;
}

int record_yaml_text(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                     size_t bytes_max, struct base_error *error)
{
    int result = check_scalar(yaml, node, what, error);
    if (result < 0)
        return result;
    if (record_yaml_bytes(node) > bytes_max)
        return record_yaml_fail(yaml, node, error, "%s has %zu bytes; at most %zu are taken", what,
                                record_yaml_bytes(node), bytes_max);
    for (size_t i = 0; i < record_yaml_bytes(node); i++)
        if ((unsigned char)record_yaml_data(node)[i] < 0x20)
            return record_yaml_fail(
                yaml, node, error,
                "%s holds a control character or a line end; write it on one line", what);
    return 0;
}

int record_yaml_integer(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        int64_t minimum, int64_t maximum, int64_t *value_out,
                        struct base_error *error)
{
    int result = check_scalar(yaml, node, what, error);
    if (result < 0)
        return result;
    const char *text = record_yaml_data(node);
    size_t bytes = record_yaml_bytes(node), digits = text[0] == '-';
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!record_yaml_is_plain(node) || digits == bytes || text[digits] < '0' ||
        text[digits] > '9' || end != text + bytes)
        return record_yaml_fail(yaml, node, error,
                                "%s is a whole number without quotes; this is \"%.*s\"", what,
                                shown(bytes), text);
    if (errno != 0 || value < minimum || value > maximum)
        return record_yaml_fail(yaml, node, error, "%s is %.*s, but must be %lld to %lld", what,
                                shown(bytes), text, (long long)minimum, (long long)maximum);
    *value_out = value;
    return 0;
}

int record_yaml_boolean(const struct record_yaml *yaml, const yaml_node_t *node, const char *what,
                        bool *value_out, struct base_error *error)
{
    int result = check_scalar(yaml, node, what, error);
    if (result < 0)
        return result;
    *value_out = is_named(node, "true");
    if (record_yaml_is_plain(node) && (*value_out || is_named(node, "false")))
        return 0;
    return record_yaml_fail(yaml, node, error, "%s is true or false; this is \"%.*s\"", what,
                            shown(record_yaml_bytes(node)), record_yaml_data(node));
}
