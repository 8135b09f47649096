/* Parses documents from stdin and says of each what record_json_parse says, for the comparison with
 * another parser in test_json_agreement.py.
 *
 * Input: per document its length in bytes (32 bits, little-endian) and the bytes. Output: a line
 * per document, "ok" or "error <number> <offset>"; with --values, "ok <value>", where value is the
 * document written anew from its nodes without whitespace, numbers as they were received.
 *
 * Every document is parsed several times, with different bytes behind its end. If the result
 * depends on them the line is "padding". Exit 2 when the input is cut short or too large. */
#include "base/text.h"
#include "record/arena.h"
#include "record/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX (1u << 20)
#define ARENA_BYTES    (BODY_BYTES_MAX + RECORD_JSON_PADDING_BYTES + RECORD_ARENA_RED_ZONE_BYTES)
/* A control character of one byte unescaped is written with six. */
#define VALUE_BYTES_MAX (6 * (size_t)BODY_BYTES_MAX + 1)

/* What a careless parser would take for a part of the document. */
static const char *const paddings[] = {"0123456789.5e+7", "\"]}\",[{:", "rue null\\", " \t\r\n",
                                       "\xEF\xBB\xBF\x80\xC3"};
#define PADDING_COUNT (sizeof(paddings) / sizeof(paddings[0]))

struct outcome {
    int result;
    struct record_json_document document;
    struct record_json_fault fault;
};

static struct outcome parse_with_padding(struct record_json_parser *parser, char *body,
                                         size_t bytes, const char *padding)
{
    size_t padding_bytes = strlen(padding);
    for (size_t i = 0; i < RECORD_JSON_PADDING_BYTES; i++)
        body[bytes + i] = padding[i % padding_bytes];
    struct outcome outcome = {.fault = {RECORD_JSON_OK, 0}};
    outcome.result = record_json_parse(parser, body, bytes, &outcome.document, &outcome.fault);
    return outcome;
}

static void write_name(struct base_text *text, const struct record_json_node *node)
{
    if (node->name == NULL)
        return;
    base_text_json(text, node->name, node->name_bytes);
    base_text_string(text, ":");
}

/* Writes node `i` with its descendants; recursion ends at RECORD_JSON_DEPTH_MAX. */
static void write_value(struct base_text *text, const struct record_json_node *nodes, uint32_t i)
{
    const struct record_json_node *node = &nodes[i];
    write_name(text, node);
    if (node->type == RECORD_JSON_STRING) {
        base_text_json(text, node->text, node->text_bytes);
        return;
    }
    base_text_append(text, node->text, node->text_bytes);
    if (node->type != RECORD_JSON_ARRAY && node->type != RECORD_JSON_OBJECT)
        return;
    for (uint32_t child = i + 1; child < node->next; child = nodes[child].next) {
        if (child > i + 1)
            base_text_string(text, ",");
        write_value(text, nodes, child);
    }
    base_text_string(text, node->type == RECORD_JSON_ARRAY ? "]" : "}");
}

static void print_outcome(const struct outcome *outcome, char *value, bool want_value)
{
    if (outcome->result != 0) {
        printf("error %d %u\n", (int)outcome->fault.error, outcome->fault.offset);
    } else if (!want_value) {
        puts("ok");
    } else {
        struct base_text text;
        base_text_init(&text, value, VALUE_BYTES_MAX);
        write_value(&text, outcome->document.nodes, 0);
        printf("ok %.*s\n", (int)text.bytes, text.start);
    }
}

static void check_document(struct record_json_parser *parser, char *body, size_t bytes, char *value,
                           bool want_value)
{
    struct outcome first = parse_with_padding(parser, body, bytes, paddings[0]);
    for (size_t i = 1; i < PADDING_COUNT; i++) {
        struct outcome other = parse_with_padding(parser, body, bytes, paddings[i]);
        if (other.result != first.result || other.fault.error != first.fault.error ||
            other.fault.offset != first.fault.offset ||
            (first.result == 0 && other.document.count != first.document.count)) {
            puts("padding");
            return;
        }
    }
    print_outcome(&first, value, want_value);
}

int main(int argument_count, char **arguments)
{
    bool want_value = argument_count > 1 && strcmp(arguments[1], "--values") == 0;
    struct record_json_parser *parser = record_json_parser_create(BODY_BYTES_MAX);
    void *memory = aligned_alloc(64, ARENA_BYTES);
    char *value = malloc(VALUE_BYTES_MAX);
    if (parser == NULL || memory == NULL || value == NULL)
        return 2;
    memset(memory, 0, ARENA_BYTES);
    struct record_arena arena;
    record_arena_init(&arena, memory, ARENA_BYTES);
    uint32_t bytes;
    while (fread(&bytes, sizeof(bytes), 1, stdin) == 1) {
        if (bytes > BODY_BYTES_MAX)
            return 2;
        char *body = record_arena_alloc(&arena, bytes + RECORD_JSON_PADDING_BYTES, 64);
        if (bytes > 0 && fread(body, bytes, 1, stdin) != 1)
            return 2;
        check_document(parser, body, bytes, value, want_value);
        record_arena_reset(&arena);
    }
    free(value);
    free(memory);
    record_json_parser_destroy(parser);
    return 0;
}
