/* What record_json_parse accepts, what it rejects and where, and what it hands out. Every document
 * lies in an arena of exactly its size and padding, and has misleading bytes behind it. */
#include "base/check.h"
#include "record/arena.h"
#include "record/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX 65536

/* A literal with its length, so that it may hold NUL. */
#define LITERAL(text) text, sizeof(text) - 1

static struct record_json_parser *parser;
static struct record_json_document document;
static struct record_json_fault fault;
static void *arena_memory;
static struct record_arena arena;
static char *body; /* of the last parse, in the arena */

static void set_up(void)
{
    parser = record_json_parser_create(BODY_BYTES_MAX);
    cr_assert_not_null(parser);
}

static void free_body(void)
{
    if (arena_memory != NULL)
        record_arena_reset(&arena); /* checks the red zone */
    free(arena_memory);
    arena_memory = NULL;
}

static void tear_down(void)
{
    free_body();
    record_json_parser_destroy(parser);
}

TestSuite(json, .init = set_up, .fini = tear_down);

static int parse_padded(const char *text, size_t bytes, const char *padding)
{
    free_body();
    size_t used_bytes = bytes + RECORD_JSON_PADDING_BYTES;
    size_t memory_bytes = (used_bytes + RECORD_ARENA_RED_ZONE_BYTES + 63) / 64 * 64;
    arena_memory = aligned_alloc(64, memory_bytes);
    cr_assert_not_null(arena_memory);
    memset(arena_memory, 0, memory_bytes);
    record_arena_init(&arena, arena_memory, memory_bytes);
    body = record_arena_alloc(&arena, used_bytes, 64);
    cr_assert_not_null(body);
    memcpy(body, text, bytes);
    for (size_t i = 0; i < RECORD_JSON_PADDING_BYTES; i++)
        body[bytes + i] = padding[i % strlen(padding)];
    document = (struct record_json_document){NULL, 0};
    fault = (struct record_json_fault){RECORD_JSON_OK, 0};
    int result = record_json_parse(parser, body, bytes, &document, &fault);
    cr_assert(memcmp(body, text, bytes) == 0, "the body was changed");
    return result;
}

static int parse(const char *text, size_t bytes)
{
    return parse_padded(text, bytes, "\"]}0123456789e");
}

static void assert_accepts(const char *text, size_t bytes)
{
    int result = parse(text, bytes);
    cr_assert(result == 0, "%.*s was rejected: %s at %u", (int)bytes, text,
              record_json_error_text(fault.error), fault.offset);
    cr_assert(document.count > 0);
}

static void assert_rejects(const char *text, size_t bytes, enum record_json_error error,
                           uint32_t offset)
{
    cr_assert(parse(text, bytes) == -1, "%.*s was accepted", (int)bytes, text);
    cr_assert(fault.error == error && fault.offset == offset,
              "%.*s: error %d at %u, expected %d at %u", (int)bytes, text, (int)fault.error,
              fault.offset, (int)error, offset);
}

/* As the root and, which takes another way through the parser, as an element. */
static void assert_value_rejected(const char *text, size_t bytes, enum record_json_error error,
                                  uint32_t offset)
{
    assert_rejects(text, bytes, error, offset);
    char element[256];
    cr_assert(bytes < sizeof(element) - 5);
    int element_bytes = snprintf(element, sizeof(element), "[0,");
    memcpy(element + element_bytes, text, bytes);
    memcpy(element + element_bytes + bytes, ",1]", 3);
    assert_rejects(element, (size_t)element_bytes + bytes + 3, error,
                   offset + (uint32_t)element_bytes);
}

static void assert_text(const struct record_json_node *node, const char *expected, size_t bytes)
{
    cr_assert(node->text_bytes == bytes && memcmp(node->text, expected, bytes) == 0,
              "\"%.*s\" instead of \"%.*s\"", (int)node->text_bytes, node->text, (int)bytes,
              expected);
}

/* The document is one string with these bytes. */
static void assert_string(const char *text, size_t text_bytes, const char *expected, size_t bytes)
{
    assert_accepts(text, text_bytes);
    cr_assert(document.count == 1 && document.nodes[0].type == RECORD_JSON_STRING);
    assert_text(&document.nodes[0], expected, bytes);
}

static bool is_in_body(const char *text, size_t bytes)
{
    return text >= body && text < body + bytes;
}

struct rejected {
    const char *text;
    enum record_json_error error;
    uint32_t offset;
};

static void assert_all_rejected(const struct rejected *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_rejects(cases[i].text, strlen(cases[i].text), cases[i].error, cases[i].offset);
}

#define ASSERT_ALL_REJECTED(cases) assert_all_rejected(cases, sizeof(cases) / sizeof((cases)[0]))

/* `count` times `piece`, to be freed. */
static char *repeat(const char *piece, size_t count)
{
    size_t piece_bytes = strlen(piece);
    char *text = malloc(piece_bytes * count + 1);
    cr_assert_not_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * piece_bytes, piece, piece_bytes);
    text[piece_bytes * count] = '\0';
    return text;
}

/* ---- Grammar ---- */

Test(json, accepts_every_kind_of_value_at_the_root)
{
    static const struct {
        const char *text;
        uint8_t type;
    } cases[] = {{"null", RECORD_JSON_NULL},
                 {"false", RECORD_JSON_FALSE},
                 {"true", RECORD_JSON_TRUE},
                 {"1", RECORD_JSON_NUMBER},
                 {"\"x\"", RECORD_JSON_STRING},
                 {"\"\"", RECORD_JSON_STRING},
                 {"[]", RECORD_JSON_ARRAY},
                 {"{}", RECORD_JSON_OBJECT},
                 {" \t\r\n1 \t\r\n", RECORD_JSON_NUMBER},
                 {" true ", RECORD_JSON_TRUE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_accepts(cases[i].text, strlen(cases[i].text));
        cr_assert_eq(document.count, 1);
        cr_assert_eq(document.nodes[0].type, cases[i].type, "%s", cases[i].text);
        cr_assert_eq(document.nodes[0].next, 1);
        cr_assert_null(document.nodes[0].name);
    }
}

Test(json, accepts_valid_documents)
{
    static const char *const texts[] = {
        "[1,2,3]",
        "[ 1 , 2 , 3 ]",
        "{\"a\":{\"b\":[{\"c\":null}]},\"d\":[]}",
        "{ \"a\" : 1 ,\n\t\"b\" : [ ] , \"c\" : { } }",
        "[[],[[]],{},[{}],{\"\":{}}]",
        "{\"\":0}",
        "[\"{}[],:\", \"a b\", \"\x7f\"]",
        "[\"\\\\\",\"\\\"\",\"\\\\\\\"\"]",
        "[true,false,null,-0,0.0,1E+2]",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_accepts(texts[i], strlen(texts[i]));
}

Test(json, says_empty_for_nothing_and_for_whitespace_only)
{
    assert_rejects(LITERAL(""), RECORD_JSON_EMPTY, 0);
    assert_rejects(LITERAL(" "), RECORD_JSON_EMPTY, 0);
    assert_rejects(LITERAL(" \n\r\t "), RECORD_JSON_EMPTY, 0);
    char *spaces = repeat(" ", 500);
    assert_rejects(spaces, 500, RECORD_JSON_EMPTY, 0);
    free(spaces);
}

Test(json, rejects_misplaced_and_missing_tokens_where_they_are)
{
    static const struct rejected cases[] = {
        {"[", RECORD_JSON_SYNTAX, 1},
        {"{", RECORD_JSON_SYNTAX, 1},
        {"]", RECORD_JSON_SYNTAX, 0},
        {"}", RECORD_JSON_SYNTAX, 0},
        {",", RECORD_JSON_SYNTAX, 0},
        {":", RECORD_JSON_SYNTAX, 0},
        {"[1", RECORD_JSON_SYNTAX, 2},
        {"[1,", RECORD_JSON_SYNTAX, 3},
        {"[1,]", RECORD_JSON_SYNTAX, 3},
        {"[,1]", RECORD_JSON_SYNTAX, 1},
        {"[1,,2]", RECORD_JSON_SYNTAX, 3},
        {"[1 2]", RECORD_JSON_SYNTAX, 3},
        {"[1:2]", RECORD_JSON_SYNTAX, 2},
        {"[1}", RECORD_JSON_SYNTAX, 2},
        {"{\"a\":1]", RECORD_JSON_SYNTAX, 6},
        {"{\"a\":1", RECORD_JSON_SYNTAX, 6},
        {"{\"a\":1,}", RECORD_JSON_SYNTAX, 7},
        {"{\"a\":}", RECORD_JSON_SYNTAX, 5},
        {"{\"a\"}", RECORD_JSON_SYNTAX, 4},
        {"{\"a\" 1}", RECORD_JSON_SYNTAX, 5},
        {"{\"a\",1}", RECORD_JSON_SYNTAX, 4},
        {"{\"a\"::1}", RECORD_JSON_SYNTAX, 5},
        {"{a:1}", RECORD_JSON_SYNTAX, 1},
        {"{1:2}", RECORD_JSON_SYNTAX, 1},
        {"{null:2}", RECORD_JSON_SYNTAX, 1},
        {"{,}", RECORD_JSON_SYNTAX, 1},
        {"{[]:1}", RECORD_JSON_SYNTAX, 1},
        {"{\"a\":1 \"b\":2}", RECORD_JSON_SYNTAX, 7},
        {"['a']", RECORD_JSON_SYNTAX, 1},
        {"[1]/**/", RECORD_JSON_TRAILING, 3},
        {"//\n1", RECORD_JSON_SYNTAX, 0},
        {"[\"a\" \"b\"]", RECORD_JSON_SYNTAX, 5},
        {"[\"a\"\"b\"]", RECORD_JSON_SYNTAX, 4},
        {"[\"a\"b]", RECORD_JSON_SYNTAX, 4},
        {"[[1]", RECORD_JSON_SYNTAX, 4},
        {"{\\\"a\":1}", RECORD_JSON_SYNTAX, 1},
    };
    ASSERT_ALL_REJECTED(cases);
}

Test(json, rejects_what_only_resembles_a_literal)
{
    static const char *const words[] = {
        "truex", "tru",    "t",        "True", "nullx",    "nul",       "NULL",      "falsey",
        "fals",  "false0", "nullnull", "NaN",  "Infinity", "undefined", "true\"a\"", "true-1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_value_rejected(words[i], strlen(words[i]), RECORD_JSON_SYNTAX, 0);
}

Test(json, rejects_anything_behind_the_value)
{
    static const struct rejected cases[] = {
        {"1 2", RECORD_JSON_TRAILING, 2},    {"\"a\" \"b\"", RECORD_JSON_TRAILING, 4},
        {"{}{}", RECORD_JSON_TRAILING, 2},   {"[]]", RECORD_JSON_TRAILING, 2},
        {"{}}", RECORD_JSON_TRAILING, 2},    {"{} ,", RECORD_JSON_TRAILING, 3},
        {"null x", RECORD_JSON_TRAILING, 5}, {"true,", RECORD_JSON_TRAILING, 4},
        {"{}\n{}", RECORD_JSON_TRAILING, 3}, {"\"a\"\"b\"", RECORD_JSON_TRAILING, 3},
        {"\"a\"x", RECORD_JSON_TRAILING, 3}, {"1:2", RECORD_JSON_TRAILING, 1},
    };
    ASSERT_ALL_REJECTED(cases);
    assert_rejects(LITERAL("{}\0"), RECORD_JSON_TRAILING, 2);
}

Test(json, takes_only_the_four_whitespace_characters_between_tokens)
{
    for (int c = 1; c < 256; c++) {
        char text[] = {'[', '1', ',', (char)c, '2', ']'};
        bool is_space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        bool makes_value = c == '-' || (c >= '1' && c <= '9');
        cr_assert_eq(parse(text, sizeof(text)) == 0, is_space || makes_value, "byte %d", c);
    }
}

Test(json, rejects_nul_bytes_everywhere)
{
    assert_rejects(LITERAL("\0"), RECORD_JSON_SYNTAX, 0);
    assert_rejects(LITERAL("\0001"), RECORD_JSON_SYNTAX, 0);
    assert_rejects(LITERAL("1\0"), RECORD_JSON_NUMBER_FORM, 1);
    assert_rejects(LITERAL("[1,\0,2]"), RECORD_JSON_SYNTAX, 3);
    assert_rejects(LITERAL("[\"a\0b\"]"), RECORD_JSON_STRING_CONTENT, 3);
}

/* ---- Numbers ---- */

Test(json, keeps_the_characters_of_every_number)
{
    static const char *const numbers[] = {"0",
                                          "-0",
                                          "1",
                                          "-1",
                                          "10",
                                          "0.5",
                                          "-0.0",
                                          "1.0",
                                          "1.10",
                                          "0e0",
                                          "0E-0",
                                          "1e5",
                                          "1E+5",
                                          "1e-05",
                                          "1e400",
                                          "-1e-400",
                                          "9007199254740993",
                                          "18446744073709551616",
                                          "1234567890123456789012345678901234567890",
                                          "-1234567890123456789012345678901234567890",
                                          "0.1234567890123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char text[128];
        int bytes =
            snprintf(text, sizeof(text), "{\"a\":%s ,\"b\":[%s\n]}", numbers[i], numbers[i]);
        assert_accepts(text, (size_t)bytes);
        cr_assert_eq(document.count, 4);
        assert_text(&document.nodes[1], numbers[i], strlen(numbers[i]));
        assert_text(&document.nodes[3], numbers[i], strlen(numbers[i]));
        assert_accepts(numbers[i], strlen(numbers[i]));
        assert_text(&document.nodes[0], numbers[i], strlen(numbers[i]));
    }
}

Test(json, rejects_malformed_numbers_at_the_character_that_is_wrong)
{
    static const struct rejected cases[] = {
        {"01", RECORD_JSON_NUMBER_FORM, 1},        {"-01", RECORD_JSON_NUMBER_FORM, 2},
        {"00", RECORD_JSON_NUMBER_FORM, 1},        {"1.", RECORD_JSON_NUMBER_FORM, 2},
        {".5", RECORD_JSON_NUMBER_FORM, 0},        {"-.5", RECORD_JSON_NUMBER_FORM, 1},
        {"+1", RECORD_JSON_NUMBER_FORM, 0},        {"1e", RECORD_JSON_NUMBER_FORM, 2},
        {"1e+", RECORD_JSON_NUMBER_FORM, 3},       {"1e-", RECORD_JSON_NUMBER_FORM, 3},
        {"-", RECORD_JSON_NUMBER_FORM, 1},         {"--1", RECORD_JSON_NUMBER_FORM, 1},
        {"1.e5", RECORD_JSON_NUMBER_FORM, 2},      {"1.5.5", RECORD_JSON_NUMBER_FORM, 3},
        {"1e5.5", RECORD_JSON_NUMBER_FORM, 3},     {"0x10", RECORD_JSON_NUMBER_FORM, 1},
        {"1_000", RECORD_JSON_NUMBER_FORM, 1},     {"123abc", RECORD_JSON_NUMBER_FORM, 3},
        {"-Infinity", RECORD_JSON_NUMBER_FORM, 1}, {"-NaN", RECORD_JSON_NUMBER_FORM, 1},
        {"1\"a\"", RECORD_JSON_NUMBER_FORM, 1},    {"1e5e5", RECORD_JSON_NUMBER_FORM, 3},
        {"1-1", RECORD_JSON_NUMBER_FORM, 1},       {"1true", RECORD_JSON_NUMBER_FORM, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_value_rejected(cases[i].text, strlen(cases[i].text), cases[i].error,
                              cases[i].offset);
}

/* ---- Strings ---- */

Test(json, unescapes_every_escape)
{
    assert_string(LITERAL("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), LITERAL("\"\\/\b\f\n\r\t"));
    assert_string(LITERAL("\"\\u0041\\u00e9\\u20AC\\uFFFF\""),
                  LITERAL("A\xC3\xA9\xE2\x82\xAC\xEF\xBF\xBF"));
    assert_string(LITERAL("\"\\u007f\\u0080\\u07ff\\u0800\\ud7ff\\ue000\""),
                  LITERAL("\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80"));
    assert_string(LITERAL("\"\\ud800\\udc00\\uD83D\\uDE00\\udbff\\udfff\""),
                  LITERAL("\xF0\x90\x80\x80\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF"));
    assert_string(LITERAL("\"a\\u0000b\""), LITERAL("a\0b"));
    assert_string(LITERAL("\"x\\\\\""), LITERAL("x\\"));
    assert_string(LITERAL("\"\\\\\\\"\""), LITERAL("\\\""));
    assert_string(LITERAL("\"plain \\n and more\""), LITERAL("plain \n and more"));
}

Test(json, strings_without_an_escape_point_into_the_body)
{
    const char text[] = "{\"plain\":\"text\",\"esc\\u0061ped\":\"te\\txt\",\"\":\"\"}";
    assert_accepts(LITERAL(text));
    const struct record_json_node *nodes = document.nodes;
    cr_assert_eq(nodes[1].name, body + 2);
    cr_assert_eq(nodes[1].text, body + 10);
    cr_assert_not(is_in_body(nodes[2].name, sizeof(text)));
    cr_assert_not(is_in_body(nodes[2].text, sizeof(text)));
    cr_assert(nodes[2].name_bytes == 7 && memcmp(nodes[2].name, "escaped", 7) == 0);
    assert_text(&nodes[2], LITERAL("te\txt"));
    cr_assert(is_in_body(nodes[3].name, sizeof(text)) && nodes[3].name_bytes == 0);
    cr_assert(is_in_body(nodes[3].text, sizeof(text)) && nodes[3].text_bytes == 0);
}

Test(json, rejects_bad_escapes_at_their_backslash)
{
    static const char *const escapes[] = {"\\x41",   "\\'",     "\\0",     "\\a",     "\\v",
                                          "\\U0041", "\\ ",     "\\u",     "\\u1",    "\\u123",
                                          "\\u12G4", "\\u 123", "\\u+123", "\\u-123", "\\u00/0",
                                          "\\u00:0", "\\u00@0", "\\u00`0", "\\u00g0", "\\\xC3\xA9"};
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        char text[64];
        int bytes = snprintf(text, sizeof(text), "\"ab%s\"", escapes[i]);
        assert_value_rejected(text, (size_t)bytes, RECORD_JSON_STRING_CONTENT, 3);
        bytes = snprintf(text, sizeof(text), "{\"ab%s\":1}", escapes[i]);
        assert_rejects(text, (size_t)bytes, RECORD_JSON_STRING_CONTENT, 4);
    }
}

Test(json, rejects_unpaired_surrogates_at_their_backslash)
{
    static const char *const halves[] = {
        "\\ud800",        "\\udbff",        "\\udc00",         "\\udfff",
        "\\udc00\\udc00", "\\udfff\\udfff", "\\uDC00\\uD800",  "\\ud800\\ud800",
        "\\ud800\\u0041", "\\ud800\\ue000", "\\ud800\\udbff",  "\\ud800x",
        "\\ud800\\n",     "\\ud800\\",      "\\ud800 \\udc00", "\\ud800\\Udc00"};
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        char text[64];
        int bytes = snprintf(text, sizeof(text), "[\"\\ud83d\\ude00%s\"]", halves[i]);
        bool closes = halves[i][strlen(halves[i]) - 1] != '\\';
        assert_rejects(text, (size_t)bytes, RECORD_JSON_STRING_CONTENT, closes ? 14 : 1);
    }
}

Test(json, rejects_raw_control_characters_where_they_are)
{
    for (char c = 0; c < 0x20; c++) {
        char text[] = {'[', '"', 'a', c, 'b', '"', ']'};
        assert_rejects(text, sizeof(text), RECORD_JSON_STRING_CONTENT, 3);
        char escaped[] = {'[', '"', '\\', c, 'b', '"', ']'};
        cr_assert_eq(parse(escaped, sizeof(escaped)), -1);
        cr_assert_eq(fault.error, RECORD_JSON_STRING_CONTENT);
    }
    assert_string(LITERAL("\"\x20\x7F\""), LITERAL("\x20\x7F"));
}

Test(json, rejects_a_string_that_is_not_closed_at_its_quote)
{
    assert_rejects(LITERAL("\""), RECORD_JSON_STRING_CONTENT, 0);
    assert_rejects(LITERAL("\"abc"), RECORD_JSON_STRING_CONTENT, 0);
    assert_rejects(LITERAL("[\"a\",\"b]"), RECORD_JSON_STRING_CONTENT, 5);
    assert_rejects(LITERAL("[\"abc\\\"]"), RECORD_JSON_STRING_CONTENT, 1);
    assert_rejects(LITERAL("[\"abc\\"), RECORD_JSON_STRING_CONTENT, 1);
    assert_rejects(LITERAL("{\"a\\\\\\\":1}"), RECORD_JSON_STRING_CONTENT, 1);
}

/* Backslash runs that end before, at and behind the 64 bytes that simdjson works on at a time. */
Test(json, finds_the_end_of_strings_across_blocks)
{
    for (size_t filler = 0; filler < 200; filler++) {
        for (size_t slashes = 0; slashes < 6; slashes++) {
            char *xs = repeat("x", filler), *run = repeat("\\", slashes);
            char text[256];
            int bytes = snprintf(text, sizeof(text), "[\"%s%s\"]", xs, run);
            bool valid = slashes % 2 == 0;
            cr_assert_eq(parse(text, (size_t)bytes) == 0, valid, "%zu + %zu", filler, slashes);
            if (valid)
                cr_assert_eq(document.nodes[1].text_bytes, filler + slashes / 2);
            free(xs);
            free(run);
        }
    }
}

/* ---- UTF-8 ---- */

Test(json, accepts_the_first_and_last_character_of_each_utf8_length)
{
    static const char *const characters[] = {
        "\xC2\x80",     "\xDF\xBF",     "\xE0\xA0\x80",     "\xED\x9F\xBF",    "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xEF\xBB\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
        char text[16];
        int bytes = snprintf(text, sizeof(text), "\"%s\"", characters[i]);
        assert_string(text, (size_t)bytes, characters[i], strlen(characters[i]));
    }
}

Test(json, rejects_invalid_utf8_where_it_begins)
{
    static const char *const sequences[] = {"\x80",
                                            "\xBF",
                                            "\xC0\x80",
                                            "\xC1\xBF",
                                            "\xC2",
                                            "\xC3(",
                                            "\xE0\x80\x80",
                                            "\xE0\x9F\xBF",
                                            "\xE2\x82",
                                            "\xE2(\xA1",
                                            "\xED\xA0\x80",
                                            "\xED\xBF\xBF",
                                            "\xED\xA0\xBD\xED\xB8\x80",
                                            "\xF0\x80\x80\x80",
                                            "\xF0\x8F\xBF\xBF",
                                            "\xF0\x9F\x98",
                                            "\xF4\x90\x80\x80",
                                            "\xF5\x80\x80\x80",
                                            "\xF8\x88\x80\x80\x80",
                                            "\xFE",
                                            "\xFF"};
    for (size_t filler = 0; filler < 70; filler++) {
        char *xs = repeat("x", filler);
        for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
            char text[128];
            int bytes = snprintf(text, sizeof(text), "[\"%s\xC3\xA9%s\"]", xs, sequences[i]);
            assert_rejects(text, (size_t)bytes, RECORD_JSON_UTF8, (uint32_t)filler + 4);
        }
        free(xs);
    }
    assert_rejects(LITERAL("[1,\xFF]"), RECORD_JSON_UTF8, 3);
}

Test(json, rejects_a_character_that_the_end_of_the_body_cuts)
{
    cr_assert_eq(parse_padded(LITERAL("\"\xE2\x82"), "\xAC\""), -1);
    cr_assert_eq(fault.error, RECORD_JSON_UTF8);
    cr_assert_eq(fault.offset, 1);
}

Test(json, rejects_a_byte_order_mark)
{
    assert_rejects(LITERAL("\xEF\xBB\xBF{}"), RECORD_JSON_UTF8, 0);
    assert_rejects(LITERAL("\xEF\xBB\xBF"), RECORD_JSON_UTF8, 0);
    assert_rejects(LITERAL("\xFF\xFE{\0}\0"), RECORD_JSON_UTF8, 0);
    assert_rejects(LITERAL(" \xEF\xBB\xBF{}"), RECORD_JSON_SYNTAX, 1);
}

/* ---- Duplicate members ---- */

Test(json, rejects_a_member_name_that_comes_twice)
{
    static const struct rejected cases[] = {
        {"{\"a\":1,\"a\":1}", RECORD_JSON_DUPLICATE, 7},
        {"{\"a\":1,\"b\":2,\"a\":3}", RECORD_JSON_DUPLICATE, 13},
        {"{\"\":1,\"\":2}", RECORD_JSON_DUPLICATE, 6},
        {"{\"a\":1,\"\\u0061\":2}", RECORD_JSON_DUPLICATE, 7},
        {"{\"\\u0061\":1,\"a\":2}", RECORD_JSON_DUPLICATE, 12},
        {"{\"\\/\":1,\"/\":2}", RECORD_JSON_DUPLICATE, 8},
        {"{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}", RECORD_JSON_DUPLICATE, 18},
        {"{\"a\":{\"b\":1,\"b\":2}}", RECORD_JSON_DUPLICATE, 12},
        {"[[{\"b\":1,\"c\":[],\"b\":2}]]", RECORD_JSON_DUPLICATE, 16},
        {"{\"a\":{\"b\":{\"a\":1}},\"a\":2}", RECORD_JSON_DUPLICATE, 19},
        {"{\"twelve bytes\":1,\"twelve bytes\":2}", RECORD_JSON_DUPLICATE, 18},
    };
    ASSERT_ALL_REJECTED(cases);
}

Test(json, accepts_the_same_name_in_different_objects)
{
    assert_accepts(LITERAL("{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":2}}"));
    assert_accepts(LITERAL("[{\"a\":1},{\"a\":1},[{\"a\":1}]]"));
    assert_accepts(LITERAL("{\"a\":\"a\",\"b\":[\"a\",\"a\"]}"));
}

Test(json, tells_apart_names_that_differ_in_one_byte_case_or_length)
{
    assert_accepts(LITERAL("{\"a\":1,\"A\":1,\"aa\":1,\"a\\u0000\":1,\"\\u0000\":1,\"\":1}"));
    for (size_t bytes = 1; bytes < 40; bytes++) {
        char text[40 * 48];
        size_t used = (size_t)snprintf(text, sizeof(text), "{\"%.*s\":1", (int)bytes + 1,
                                       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        for (size_t i = 0; i < bytes; i++) {
            size_t start = used + 2;
            used += (size_t)snprintf(text + used, sizeof(text) - used, ",\"%.*s\":1", (int)bytes,
                                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            text[start + i] = 'y';
        }
        text[used++] = '}';
        assert_accepts(text, used);
        cr_assert_eq(document.count, bytes + 2);
    }
}

/* Fills a body of the largest size with short names; `last` is the number in the last of them. */
static size_t write_many_members(char *text, unsigned last)
{
    size_t used = 1;
    unsigned count = 0;
    text[0] = '{';
    while (used + 24 < BODY_BYTES_MAX)
        used += (size_t)sprintf(text + used, "\"%u\":1,", count++);
    used += (size_t)sprintf(text + used, "\"%u\":1}", last);
    return used;
}

Test(json, finds_the_one_duplicate_among_thousands_of_members)
{
    char *text = malloc(BODY_BYTES_MAX + 1);
    cr_assert_not_null(text);
    assert_accepts(text, write_many_members(text, 99999));
    cr_assert_gt(document.count, 6000);
    size_t bytes = write_many_members(text, 0);
    cr_assert_eq(parse(text, bytes), -1);
    cr_assert_eq(fault.error, RECORD_JSON_DUPLICATE);
    cr_assert_eq(fault.offset, bytes - strlen("\"0\":1}"));
    free(text);
}

Test(json, forgets_the_names_of_earlier_documents)
{
    for (int i = 0; i < 1000; i++)
        assert_accepts(LITERAL("{\"a\":1,\"b\":{\"a\":2}}"));
}

/* ---- Depth ---- */

Test(json, accepts_32_containers_and_rejects_33)
{
    for (int kind = 0; kind < 3; kind++) {
        char text[512] = "";
        uint32_t opened_bytes = 0; /* before the container that is one too many */
        for (int depth = 0; depth < RECORD_JSON_DEPTH_MAX + 1; depth++) {
            if (depth == RECORD_JSON_DEPTH_MAX)
                opened_bytes = (uint32_t)strlen(text);
            bool object = kind == 1 || (kind == 2 && depth % 2 == 1);
            strcat(text, object ? "{\"a\":" : "[");
        }
        assert_rejects(text, strlen(text), RECORD_JSON_TOO_DEEP, opened_bytes);
        text[opened_bytes] = '\0';
        strcat(text, "1");
        for (int depth = RECORD_JSON_DEPTH_MAX - 1; depth >= 0; depth--)
            strcat(text, kind == 1 || (kind == 2 && depth % 2 == 1) ? "}" : "]");
        assert_accepts(text, strlen(text));
        cr_assert_eq(document.count, RECORD_JSON_DEPTH_MAX + 1);
        cr_assert_eq(document.nodes[RECORD_JSON_DEPTH_MAX].depth, RECORD_JSON_DEPTH_MAX);
    }
}

Test(json, depth_counts_nesting_and_not_containers)
{
    assert_accepts(LITERAL("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                           "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]"));
}

/* ---- Nodes ---- */

static void assert_node(uint32_t i, const char *name, uint8_t type, uint8_t depth, uint32_t next)
{
    const struct record_json_node *node = &document.nodes[i];
    cr_assert_eq(node->type, type, "node %u", i);
    cr_assert_eq(node->depth, depth, "node %u", i);
    cr_assert_eq(node->next, next, "node %u: next %u", i, node->next);
    if (name == NULL)
        cr_assert(node->name == NULL && node->name_bytes == 0, "node %u", i);
    else
        cr_assert(node->name_bytes == strlen(name) && memcmp(node->name, name, strlen(name)) == 0,
                  "node %u", i);
}

Test(json, nodes_stand_in_document_order_and_know_what_follows_them)
{
    assert_accepts(LITERAL(" {\"a\":[1,{\"b\":true},[]], \"c\":{}, \"d\":null,\"e\":\"s\"} "));
    cr_assert_eq(document.count, 9);
    assert_node(0, NULL, RECORD_JSON_OBJECT, 0, 9);
    assert_node(1, "a", RECORD_JSON_ARRAY, 1, 6);
    assert_node(2, NULL, RECORD_JSON_NUMBER, 2, 3);
    assert_node(3, NULL, RECORD_JSON_OBJECT, 2, 5);
    assert_node(4, "b", RECORD_JSON_TRUE, 3, 5);
    assert_node(5, NULL, RECORD_JSON_ARRAY, 2, 6);
    assert_node(6, "c", RECORD_JSON_OBJECT, 1, 7);
    assert_node(7, "d", RECORD_JSON_NULL, 1, 8);
    assert_node(8, "e", RECORD_JSON_STRING, 1, 9);
    assert_text(&document.nodes[0], "{", 1);
    assert_text(&document.nodes[1], "[", 1);
    assert_text(&document.nodes[4], "true", 4);
    assert_text(&document.nodes[7], "null", 4);
    cr_assert_eq(document.nodes[0].text, body + 1);
}

/* ---- Memory ---- */

Test(json, what_lies_behind_the_body_does_not_matter)
{
    static const char *const texts[] = {"tru", "fals", "nul",   "1",       "-",       "1.",   "1e",
                                        "[1",  "\"a",  "\"\\",  "{\"a\":", "\"\\u12", "null", "[]",
                                        "0",   "12",   "\"x\"", "",        " "};
    static const char *const paddings[] = {"e",  "l",      "0",    "\"", "]",    "}",  " ",
                                           "\\", "34\"]}", "\x80", "\n", "\xC3", ",1]"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int expected = parse_padded(texts[i], strlen(texts[i]), "\x01");
        struct record_json_fault expected_fault = fault;
        for (size_t j = 0; j < sizeof(paddings) / sizeof(paddings[0]); j++) {
            int result = parse_padded(texts[i], strlen(texts[i]), paddings[j]);
            cr_assert_eq(result, expected, "%s before %s", texts[i], paddings[j]);
            cr_assert(fault.error == expected_fault.error && fault.offset == expected_fault.offset,
                      "%s before %s", texts[i], paddings[j]);
        }
    }
}

Test(json, parses_as_before_after_every_kind_of_error)
{
    static const char *const faulty[] = {
        "", "[1", "\xFF", "\"\n\"", "\"\\x\"", "01", "{\"a\":1,\"a\":2}", "1 2", "{\"a\":[{\"b\":"};
    char *deep = repeat("[", 40), *large = repeat(" ", BODY_BYTES_MAX + 1);
    for (size_t i = 0; i < sizeof(faulty) / sizeof(faulty[0]) + 2; i++) {
        const char *text = i == 0 ? deep : i == 1 ? large : faulty[i - 2];
        cr_assert_eq(parse(text, strlen(text)), -1);
        assert_accepts(LITERAL("{\"a\":[1,\"\\n\"],\"b\":{\"a\":null}}"));
        cr_assert_eq(document.count, 6);
        assert_text(&document.nodes[3], "\n", 1);
    }
    free(deep);
    free(large);
}

Test(json, takes_a_body_of_exactly_its_capacity_and_none_larger)
{
    char *text = repeat(" ", BODY_BYTES_MAX + 1);
    text[0] = '[';
    text[BODY_BYTES_MAX - 1] = ']';
    assert_accepts(text, BODY_BYTES_MAX);
    assert_rejects(text, BODY_BYTES_MAX + 1, RECORD_JSON_TOO_LARGE, BODY_BYTES_MAX);
    free(text);
}

/* Parses with a parser of exactly the size of `text`. */
static int parse_exactly_sized(const char *text, size_t bytes)
{
    record_json_parser_destroy(parser);
    parser = record_json_parser_create(bytes);
    cr_assert_not_null(parser);
    return parse(text, bytes);
}

/* Each of these is the densest use of one of the parser's reserves. */
Test(json, an_exactly_sized_parser_has_room_for_the_densest_documents)
{
    static const char *const dense[][3] = {
        {"[", "1,", "1]"},                   /* nodes */
        {"[", "[],", "1]"},                  /* nodes and tokens */
        {"[[[[[[[[[[[[[[[[", "1,", "1"},     /* nodes, of a document that breaks off */
        {"[", "\"\\n\\n\\n\\n\",", "\"\"]"}, /* unescaped strings */
        {"[", "{\"\":1},", "1]"},            /* members */
        {"[", "{\"\\n\":\"\\n\"},", "1]"},   /* members and unescaped strings */
    };
    for (size_t kind = 0; kind < sizeof(dense) / sizeof(dense[0]); kind++) {
        for (size_t count = 0; count < 300; count += count < 40 ? 1 : 37) {
            char *middle = repeat(dense[kind][1], count);
            char text[8192];
            int bytes =
                snprintf(text, sizeof(text), "%s%s%s", dense[kind][0], middle, dense[kind][2]);
            cr_assert_eq(parse_exactly_sized(text, (size_t)bytes), kind == 2 ? -1 : 0, "%s", text);
            free(middle);
        }
    }
    char brackets[RECORD_JSON_DEPTH_MAX + 2];
    for (size_t count = 1; count <= RECORD_JSON_DEPTH_MAX + 1; count++) {
        memset(brackets, '[', count);
        cr_assert_eq(parse_exactly_sized(brackets, count), -1);
    }
    cr_assert_eq(parse_exactly_sized("1", 1), 0);
    cr_assert_eq(parse_exactly_sized("", 0), -1);
    cr_assert_eq(fault.error, RECORD_JSON_EMPTY);
}

/* The hash table of an exactly sized parser fills up most with the shortest distinct names. */
Test(json, an_exactly_sized_parser_has_room_for_every_member_name, .timeout = 60)
{
    for (unsigned count = 1; count < 400; count++) {
        char text[8192];
        size_t used = (size_t)sprintf(text, "{\"\":1");
        for (unsigned i = 0; i < count; i++)
            used += (size_t)sprintf(text + used, ",\"%x\":1", i);
        cr_assert_eq(parse_exactly_sized(text, used), -1); /* breaks off */
        cr_assert_eq(fault.error, RECORD_JSON_SYNTAX);
        text[used++] = '}';
        cr_assert_eq(parse_exactly_sized(text, used), 0);
        cr_assert_eq(document.count, count + 2);
    }
    for (size_t depth = 1; depth <= RECORD_JSON_DEPTH_MAX + 1; depth++) {
        char *nested = repeat("{\"\":", depth); /* the fewest tokens for a name */
        cr_assert_eq(parse_exactly_sized(nested, strlen(nested)), -1);
        free(nested);
    }
}

Test(json, refuses_a_capacity_beyond_one_gibibyte)
{
    cr_assert_null(record_json_parser_create((size_t)1 << 30));
    cr_assert_null(record_json_parser_create(SIZE_MAX));
}

Test(json, destroy_takes_null)
{
    record_json_parser_destroy(NULL);
}

Test(json, every_error_has_a_text_of_its_own)
{
    for (int i = 0; i < RECORD_JSON_ERROR_COUNT; i++) {
        const char *text = record_json_error_text((enum record_json_error)i);
        cr_assert_gt(strlen(text), 4);
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(text, record_json_error_text((enum record_json_error)j));
    }
    cr_assert_not_null(record_json_error_text((enum record_json_error)RECORD_JSON_ERROR_COUNT));
    cr_assert_not_null(record_json_error_text((enum record_json_error)4711));
}

#if !SLUICE_SANITIZED /* the sanitizers bring their own malloc */

/* Counts what this program allocates while `counting`; operator new goes through malloc as well. */
static bool counting;
static size_t allocation_count, allocated_bytes;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);

static void count_allocation(size_t bytes)
{
    if (!counting)
        return;
    allocation_count++;
    allocated_bytes += bytes;
}

void *malloc(size_t bytes)
{
    count_allocation(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    count_allocation(count * bytes);
    return __libc_calloc(count, bytes);
}

Test(json, create_reserves_what_parser_bytes_says)
{
    static const size_t sizes[] = {0, 1, 100, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        allocated_bytes = 0;
        counting = true;
        struct record_json_parser *one = record_json_parser_create(sizes[i]);
        counting = false;
        cr_assert_not_null(one);
        size_t said_bytes = record_json_parser_bytes(sizes[i]);
        cr_assert(allocated_bytes <= said_bytes + 64 && said_bytes <= allocated_bytes + 64,
                  "%zu allocated, %zu said", allocated_bytes, said_bytes);
        record_json_parser_destroy(one);
    }
}

Test(json, parsing_allocates_nothing)
{
    static const char *const texts[] = {"{\"a\":[1,\"\\n\",{\"b\":null}]}", "[1", "\"\xFF\"",
                                        "{\"a\":1,\"a\":2}"};
    static char padded[128];
    allocation_count = 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        strcpy(padded, texts[i]);
        counting = true;
        record_json_parse(parser, padded, strlen(texts[i]), &document, &fault);
        counting = false;
    }
    cr_assert_eq(allocation_count, 0);
}

#endif
