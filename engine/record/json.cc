/* Choice: simdjson does what it is best at, the structural index and the UTF-8 check of its first
 * stage, chosen at run time for the CPU; the grammar is walked here, token by token.
 *
 * Rejected: On-Demand, which leaves what stands behind the root to the caller ({}} and "a" "b"
 * pass), copies every string and hardly says where a fault is; and the DOM, which turns numbers
 * into doubles and refuses the large ones. Either would have needed as much code around it as this
 * walk, and takes half as long again for a questionnaire, without looking for duplicates.
 *
 * Why the walk is complete: a token reaches from its index to the next index less the whitespace
 * between them, and is checked to its last byte. So no byte outside strings depends on what
 * simdjson takes for a token, and no byte behind the body is ever looked at: the index behind the
 * last one is the body's length. Inside strings simdjson guarantees that there is no raw control
 * character and no unescaped quote; escapes are checked here. */
#include "record/json.h"
#include "record/unescape.h"

#include <cstring>
#include <memory>
#include <new>
#include <simdjson.h>
#include <sys/random.h>

static_assert(simdjson::SIMDJSON_PADDING <= RECORD_JSON_PADDING_BYTES,
              "simdjson may read that far");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hash_name masks little-endian words");

/* A name's length and its container's index share one word of the hash. */
#define BODY_BYTES_LIMIT (UINT32_C(1) << 30)
#define LOAD_SLACK_BYTES 8 /* hash_name loads whole words */
#define HASH_PRIME       ((UINT64_C(1) << 61) - 1)
#define HASH_KEY_MAX     ((UINT64_C(1) << 60) - 1)

/* Where a member name of the current document was seen. A slot with another generation is free, so
 * that nothing has to be cleared between documents. */
struct name_slot {
    uint32_t generation;
    uint32_t tag;       /* bits of the hash that do not choose the slot */
    uint32_t node;      /* the member */
    uint32_t container; /* the object that it is a member of */
};

struct record_json_parser {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> indexer;
    std::unique_ptr<record_json_node[]> nodes;
    std::unique_ptr<name_slot[]> slots;
    std::unique_ptr<char[]> strings; /* unescaped copies; they are never longer than the source */
    size_t body_bytes_max;
    uint32_t generation;
    uint64_t hash_key; /* 1 .. HASH_KEY_MAX, secret */
};

/* The state of one parse. Its address goes to no function that is not inlined, so that it lives in
 * registers: a third of the time of a parse. */
struct walk {
    const char *body;
    const uint32_t *index; /* of tokens; index[count] is the body's length */
    record_json_node *nodes;
    name_slot *slots;
    uint64_t hash_key;
    uint32_t slot_mask;
    uint32_t generation;
    uint32_t count;
    uint32_t token; /* the next one */
    uint32_t node_count;
    uint32_t container; /* the innermost open one; while open, its `next` is the one around it */
    uint32_t depth;     /* open containers */
    char close;         /* what closes the container; 0 outside of any */
    bool has_backslash; /* anywhere in the body; most have none, and need no second look */
    char *strings_end;  /* where the next unescaped string goes */
    record_json_fault *fault;
};

#define INLINED static inline __attribute__((always_inline))

__attribute__((cold, noinline)) static bool
set_fault(record_json_fault *fault, record_json_error error, size_t offset) noexcept
{
    *fault = {error, static_cast<uint32_t>(offset)};
    return false;
}

INLINED bool fail(const walk *w, record_json_error error, size_t offset) noexcept
{
    return set_fault(w->fault, error, offset);
}

INLINED bool is_space(char c) noexcept
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* The end of token `token` (below `count`), without the whitespace behind it. */
INLINED uint32_t token_end(const walk *w, uint32_t token) noexcept
{
    uint32_t end = w->index[token + 1];
    while (end > w->index[token] + 1 && is_space(w->body[end - 1]))
        end--;
    return end;
}

INLINED bool next_is(const walk *w, char c) noexcept
{
    return w->token < w->count && w->body[w->index[w->token]] == c;
}

/* Takes the next token if it is exactly the character `c`; otherwise that is a fault. */
INLINED bool take_character(walk *w, char c) noexcept
{
    uint32_t offset = w->index[w->token];
    if (!next_is(w, c))
        return fail(w, RECORD_JSON_SYNTAX, offset);
    if (token_end(w, w->token) != offset + 1)
        return fail(w, RECORD_JSON_SYNTAX, offset + 1);
    w->token++;
    return true;
}

/* ---- Numbers ---- */

INLINED const char *skip_digits(const char *at, const char *end) noexcept
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* RFC 8259, section 6: [ minus ] int [ frac ] [ exp ]. NULL when that is all of [at, end), else
 * where it went wrong. */
INLINED const char *number_fault(const char *at, const char *end) noexcept
{
    if (at < end && *at == '-')
        at++;
    const char *digits = at;
    at = at < end && *at == '0' ? at + 1 : skip_digits(at, end);
    if (at == digits)
        return at;
    if (at < end && *at == '.') {
        digits = at + 1;
        at = skip_digits(digits, end);
        if (at == digits)
            return at;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        digits = at;
        at = skip_digits(digits, end);
        if (at == digits)
            return at;
    }
    return at == end ? nullptr : at;
}

/* ---- Strings ---- */

/* Takes the next token, which starts with a quote, as a string. */
INLINED bool take_string(walk *w, const char **text_out, uint32_t *bytes_out) noexcept
{
    uint32_t offset = w->index[w->token];
    uint32_t end = token_end(w, w->token);
    w->token++;
    if (end - offset < 2 || w->body[end - 1] != '"')
        return fail(w, RECORD_JSON_SYNTAX, end);
    const char *text = w->body + offset + 1;
    uint32_t bytes = end - offset - 2;
    *text_out = text;
    *bytes_out = bytes;
    if (!w->has_backslash || memchr(text, '\\', bytes) == nullptr)
        return true;
    struct record_unescaped copy = record_unescape(text, text + bytes, w->strings_end);
    if (copy.bad != nullptr)
        return fail(w, RECORD_JSON_STRING_CONTENT, static_cast<size_t>(copy.bad - w->body));
    *text_out = w->strings_end;
    *bytes_out = static_cast<uint32_t>(copy.end - w->strings_end);
    w->strings_end = copy.end;
    return true;
}

/* ---- Member names ---- */

__extension__ typedef unsigned __int128 wide; /* C++ has no standard name for it */

/* a * key modulo HASH_PRIME, not fully reduced: below 2^63 - 2^61 for a below 2^63, since the key
 * is below 2^60. */
INLINED uint64_t hash_multiply(uint64_t a, uint64_t key) noexcept
{
    wide product = static_cast<wide>(a) * key;
    return (static_cast<uint64_t>(product) & HASH_PRIME) + static_cast<uint64_t>(product >> 61);
}

/* Carter and Wegman's polynomial hash over the field of 2^61 - 1 elements with a secret random key,
 * in words of seven bytes. Over the choice of the key, the chance that two names of n words share a
 * slot is a few n / slot count, whatever names a client picks: the table cannot be flooded.
 * Rejected: SipHash, which does several times the work for the 8-byte names of questionnaires.
 * Up to eight bytes behind the name are read and masked off. */
INLINED uint64_t hash_name(uint64_t key, uint32_t container, const char *name,
                           uint32_t bytes) noexcept
{
    uint64_t hash = hash_multiply(static_cast<uint64_t>(container) << 30 | bytes, key);
    uint64_t word;
    for (; bytes > 7; bytes -= 7, name += 7) {
        memcpy(&word, name, sizeof(word));
        hash = hash_multiply(hash + (word & ((UINT64_C(1) << 56) - 1)), key);
    }
    memcpy(&word, name, sizeof(word));
    return hash_multiply(hash + (word & ((UINT64_C(1) << 8 * bytes) - 1)), key);
}

INLINED bool same_name(const record_json_node *a, const record_json_node *b) noexcept
{
    return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0;
}

/* Remembers the name of `member`, which will be node `node_count`; false if its object has it
 * already. There is always a free slot: see slots_for. */
INLINED bool remember_name(const walk *w, const record_json_node *member) noexcept
{
    uint64_t hash = hash_name(w->hash_key, w->container, member->name, member->name_bytes);
    uint32_t tag = static_cast<uint32_t>(hash >> 30);
    uint32_t at = static_cast<uint32_t>(hash) & w->slot_mask;
    for (;; at = (at + 1) & w->slot_mask) {
        name_slot *slot = &w->slots[at];
        if (slot->generation != w->generation) {
            *slot = {w->generation, tag, w->node_count, w->container};
            return true;
        }
        if (slot->tag == tag && slot->container == w->container &&
            same_name(member, &w->nodes[slot->node]))
            return false;
    }
}

/* In an object a member's name and the colon, into node `node_count`, which its value will
 * complete; elsewhere nothing. */
INLINED bool take_name(walk *w) noexcept
{
    record_json_node *node = &w->nodes[w->node_count];
    if (w->close != '}') {
        node->name = nullptr;
        node->name_bytes = 0;
        return true;
    }
    uint32_t offset = w->index[w->token];
    if (!next_is(w, '"'))
        return fail(w, RECORD_JSON_SYNTAX, offset);
    if (!take_string(w, &node->name, &node->name_bytes) || !take_character(w, ':'))
        return false;
    if (!remember_name(w, node))
        return fail(w, RECORD_JSON_DUPLICATE, offset);
    return true;
}

/* ---- Values ---- */

INLINED bool take_literal(walk *w, record_json_node *node, record_json_type type, const char *word,
                          uint32_t word_bytes) noexcept
{
    uint32_t offset = w->index[w->token];
    uint32_t end = token_end(w, w->token);
    if (end - offset != word_bytes || memcmp(w->body + offset, word, word_bytes) != 0)
        return fail(w, RECORD_JSON_SYNTAX, offset);
    node->text = w->body + offset;
    node->text_bytes = word_bytes;
    node->next = w->node_count + 1;
    node->type = type;
    w->token++;
    return true;
}

/* Everything that is no other token is taken for a number; what is not even meant as one is a fault
 * in the syntax. */
INLINED bool take_number(walk *w, record_json_node *node) noexcept
{
    const char *start = w->body + w->index[w->token];
    const char *end = w->body + token_end(w, w->token);
    bool is_meant = (*start >= '0' && *start <= '9') || memchr("-+.", *start, 3) != nullptr;
    if (!is_meant)
        return fail(w, RECORD_JSON_SYNTAX, w->index[w->token]);
    const char *bad = number_fault(start, end);
    if (bad != nullptr)
        return fail(w, RECORD_JSON_NUMBER_FORM, static_cast<size_t>(bad - w->body));
    node->text = start;
    node->text_bytes = static_cast<uint32_t>(end - start);
    node->next = w->node_count + 1;
    node->type = RECORD_JSON_NUMBER;
    w->token++;
    return true;
}

INLINED bool open_container(walk *w, record_json_node *node, record_json_type type) noexcept
{
    uint32_t offset = w->index[w->token];
    if (w->depth == RECORD_JSON_DEPTH_MAX)
        return fail(w, RECORD_JSON_TOO_DEEP, offset);
    node->text = w->body + offset;
    node->text_bytes = 1;
    node->type = type;
    node->next = w->container;
    w->container = w->node_count;
    w->close = type == RECORD_JSON_OBJECT ? '}' : ']';
    w->depth++;
    return take_character(w, w->body[offset]);
}

/* Takes the bracket that closes the container. */
INLINED bool close_container(walk *w) noexcept
{
    if (!take_character(w, w->close))
        return false;
    record_json_node *node = &w->nodes[w->container];
    w->container = node->next;
    node->next = w->node_count;
    w->depth--;
    bool in_object = w->nodes[w->container].type == RECORD_JSON_OBJECT;
    w->close = w->depth == 0 ? '\0' : in_object ? '}' : ']';
    return true;
}

/* One value into node `node_count`; of a container only its opening. Sets everything but the name
 * and, for containers, `next`. */
INLINED bool take_value(walk *w) noexcept
{
    record_json_node *node = &w->nodes[w->node_count];
    uint32_t offset = w->index[w->token];
    if (w->token == w->count)
        return fail(w, RECORD_JSON_SYNTAX, offset);
    node->depth = static_cast<uint8_t>(w->depth);
    bool taken;
    switch (w->body[offset]) {
    case '"':
        node->next = w->node_count + 1;
        node->type = RECORD_JSON_STRING;
        taken = take_string(w, &node->text, &node->text_bytes);
        break;
    case '{':
        taken = open_container(w, node, RECORD_JSON_OBJECT);
        break;
    case '[':
        taken = open_container(w, node, RECORD_JSON_ARRAY);
        break;
    case 't':
        taken = take_literal(w, node, RECORD_JSON_TRUE, "true", 4);
        break;
    case 'f':
        taken = take_literal(w, node, RECORD_JSON_FALSE, "false", 5);
        break;
    case 'n':
        taken = take_literal(w, node, RECORD_JSON_NULL, "null", 4);
        break;
    default:
        taken = take_number(w, node);
    }
    w->node_count += taken;
    return taken;
}

/* What stands behind a value: closing brackets, then a comma, unless the root is complete. */
INLINED bool take_closings(walk *w) noexcept
{
    while (w->depth > 0) {
        if (!next_is(w, w->close))
            return take_character(w, ',');
        if (!close_container(w))
            return false;
    }
    return true;
}

/* The whole document. */
INLINED bool take_document(walk *w) noexcept
{
    do {
        uint32_t depth_before = w->depth;
        if (!take_name(w) || !take_value(w))
            return false;
        if (w->depth > depth_before && !next_is(w, w->close))
            continue; /* its first child comes next */
        if (!take_closings(w))
            return false;
    } while (w->depth > 0);
    if (w->token < w->count)
        return fail(w, RECORD_JSON_TRAILING, w->index[w->token]);
    return true;
}

/* ---- Faults that simdjson found but did not locate ---- */

/* Length of the well-formed UTF-8 character at `at`, of which `room` bytes exist; 0 if there is
 * none (The Unicode Standard, table 3-7). */
static size_t utf8_character_bytes(const uint8_t *at, size_t room) noexcept
{
    uint8_t lead = at[0];
    if (lead < 0x80)
        return 1;
    size_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead < 0xC2 || lead > 0xF4 || room < bytes)
        return 0;
    uint8_t second_min = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t second_max = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < second_min || at[1] > second_max)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return bytes;
}

/* The first fault in a body that failed the indexing. Only on the way out: speed does not matter
 * beyond being linear. */
static bool fail_located(const char *text, size_t bytes, record_json_fault *fault) noexcept
{
    const uint8_t *body = reinterpret_cast<const uint8_t *>(text);
    size_t quote = bytes; /* where the string began that we are in; none at `bytes` */
    for (size_t i = 0; i < bytes;) {
        size_t character = utf8_character_bytes(body + i, bytes - i);
        bool in_string = quote < bytes;
        if (character == 0)
            return set_fault(fault, RECORD_JSON_UTF8, i);
        if (in_string && body[i] < 0x20)
            return set_fault(fault, RECORD_JSON_STRING_CONTENT, i);
        if (!in_string && body[i] == '\\')
            return set_fault(fault, RECORD_JSON_SYNTAX, i);
        if (body[i] == '"')
            quote = in_string ? bytes : i;
        if (body[i] == '\\' && i + 1 < bytes && (body[i + 1] == '"' || body[i + 1] == '\\'))
            character = 2; /* what it escapes neither closes the string nor escapes */
        i += character;
    }
    if (quote < bytes)
        return set_fault(fault, RECORD_JSON_STRING_CONTENT, quote);
    return set_fault(fault, RECORD_JSON_SYNTAX, 0);
}

/* Finds the tokens, with the body's length behind the last of them. */
static bool index_body(const record_json_parser *parser, const char *body, size_t bytes,
                       record_json_fault *fault) noexcept
{
    if (bytes > parser->body_bytes_max)
        return set_fault(fault, RECORD_JSON_TOO_LARGE, parser->body_bytes_max);
    if (bytes >= 3 && memcmp(body, "\xEF\xBB\xBF", 3) == 0)
        return set_fault(fault, RECORD_JSON_UTF8, 0);
    if (bytes == 0)
        return set_fault(fault, RECORD_JSON_EMPTY, 0);
    simdjson::internal::dom_parser_implementation *indexer = parser->indexer.get();
    simdjson::error_code error = indexer->stage1(reinterpret_cast<const uint8_t *>(body), bytes,
                                                 simdjson::stage1_mode::regular);
    if (error == simdjson::EMPTY)
        return set_fault(fault, RECORD_JSON_EMPTY, 0);
    if (error != simdjson::SUCCESS)
        return fail_located(body, bytes, fault);
    indexer->structural_indexes[indexer->n_structural_indexes] = static_cast<uint32_t>(bytes);
    return true;
}

/* ---- Memory ---- */

/* A valid value of N bytes has at most (N + 1) / 2 nodes: every value but the first costs a byte of
 * its own and a separator or a bracket. A document that breaks off leaves containers open, which
 * saves their closing brackets. */
static size_t nodes_for(size_t bytes) noexcept
{
    return bytes / 2 + 1 + RECORD_JSON_DEPTH_MAX;
}

/* A member is a quote, a colon, a value and a comma or bracket, so a document of N tokens has about
 * N / 4 members, and never more than (N + 2) / 3 before it breaks off. So the table stays half
 * empty, and small documents use only the first few cache lines of it. */
static uint32_t slots_for(size_t tokens) noexcept
{
    uint32_t slots = 4;
    while (slots < tokens / 2 + 2)
        slots *= 2;
    return slots;
}

static size_t index_count_for(size_t bytes) noexcept
{
    return (bytes + 63) / 64 * 64 + 9; /* what simdjson's set_capacity takes */
}

static bool draw_hash_key(uint64_t *key_out) noexcept
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return false;
    *key_out = random % HASH_KEY_MAX + 1;
    return true;
}

static bool reserve(record_json_parser *parser, size_t bytes) noexcept
{
    /* Depth 1 because only the first stage runs: the nesting is counted by the walk. */
    simdjson::error_code error =
        simdjson::get_active_implementation()->create_dom_parser_implementation(bytes, 1,
                                                                                parser->indexer);
    if (error != simdjson::SUCCESS)
        return false;
    parser->nodes.reset(new (std::nothrow) record_json_node[nodes_for(bytes)]());
    parser->slots.reset(new (std::nothrow) name_slot[slots_for(bytes)]());
    parser->strings.reset(new (std::nothrow) char[bytes + LOAD_SLACK_BYTES]());
    parser->body_bytes_max = bytes;
    return parser->nodes && parser->slots && parser->strings && draw_hash_key(&parser->hash_key);
}

extern "C" size_t record_json_parser_bytes(size_t body_bytes_max)
{
    return sizeof(record_json_parser) + sizeof(simdjson::internal::dom_parser_implementation) +
           index_count_for(body_bytes_max) * sizeof(uint32_t) +
           nodes_for(body_bytes_max) * sizeof(record_json_node) +
           slots_for(body_bytes_max) * sizeof(name_slot) + body_bytes_max + LOAD_SLACK_BYTES;
}

extern "C" struct record_json_parser *record_json_parser_create(size_t body_bytes_max)
{
    if (body_bytes_max >= BODY_BYTES_LIMIT)
        return nullptr;
    record_json_parser *parser = new (std::nothrow) record_json_parser();
    if (parser == nullptr)
        return nullptr;
    if (!reserve(parser, body_bytes_max)) {
        delete parser;
        return nullptr;
    }
    return parser;
}

extern "C" void record_json_parser_destroy(struct record_json_parser *parser)
{
    delete parser;
}

/* ---- Parsing ---- */

/* A new generation frees all slots. Once in 2^32 documents the count starts over, and slots of the
 * first round must not look like those of the new one. */
static void forget_names(record_json_parser *parser) noexcept
{
    if (++parser->generation != 0)
        return;
    memset(parser->slots.get(), 0, slots_for(parser->body_bytes_max) * sizeof(name_slot));
    parser->generation = 1;
}

extern "C" int record_json_parse(struct record_json_parser *parser, const char *body, size_t bytes,
                                 struct record_json_document *document_out,
                                 struct record_json_fault *fault_out)
{
    if (!index_body(parser, body, bytes, fault_out))
        return -1;
    forget_names(parser);
    walk w = {};
    w.body = body;
    w.index = parser->indexer->structural_indexes.get();
    w.count = parser->indexer->n_structural_indexes;
    w.nodes = parser->nodes.get();
    w.slots = parser->slots.get();
    w.slot_mask = slots_for(w.count) - 1;
    w.generation = parser->generation;
    w.hash_key = parser->hash_key;
    w.has_backslash = memchr(body, '\\', bytes) != nullptr;
    w.strings_end = parser->strings.get();
    w.fault = fault_out;
    if (!take_document(&w))
        return -1;
    *document_out = {w.nodes, w.node_count};
    return 0;
}

extern "C" const char *record_json_error_text(enum record_json_error error)
{
    switch (error) {
    case RECORD_JSON_OK:
        return "no fault";
    case RECORD_JSON_EMPTY:
        return "no JSON value";
    case RECORD_JSON_SYNTAX:
        return "something that cannot stand there, or something missing,";
    case RECORD_JSON_UTF8:
        return "a byte order mark or bytes that are not UTF-8";
    case RECORD_JSON_STRING_CONTENT:
        return "a string that is not closed or holds a raw control character, an unknown escape or "
               "an unpaired surrogate";
    case RECORD_JSON_NUMBER_FORM:
        return "a malformed number";
    case RECORD_JSON_TOO_DEEP:
        return "more than 32 nested objects and arrays";
    case RECORD_JSON_DUPLICATE:
        return "a member name that its object has already";
    case RECORD_JSON_TRAILING:
        return "something behind the JSON value";
    case RECORD_JSON_TOO_LARGE:
        return "more bytes than the engine is configured for";
    case RECORD_JSON_ERROR_COUNT:
        break;
    }
    return "an unknown fault";
}
