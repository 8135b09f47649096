/* Choice: one table says for each member where it goes, what it may be and how long; adding a
 * member means adding a row. Rejected: a generated perfect hash, since a submission has about ten
 * members and comparing lengths first settles almost every row. */
#include "record/submission.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum member_kind { MEMBER_TEXT, MEMBER_TIMESTAMP, MEMBER_SCORES, MEMBER_ANSWERS };

struct member {
    const char *name;
    const char *expected; /* completes "<name> is ..." */
    uint32_t name_bytes;
    uint32_t text_bytes_max; /* TEXT only */
    uint32_t field_offset;   /* TEXT only: of the struct record_text in struct record_submission */
    uint8_t kind;            /* enum member_kind */
    bool required;
};

#define MEMBER(name, kind, required, expected)                                                     \
    {                                                                                              \
        name, expected, sizeof(name) - 1, 0, 0, kind, required                                     \
    }
#define TEXT_MEMBER(name, field, bytes_max, required)                                              \
    {                                                                                              \
        name, required ? "a string" : "a string or null", sizeof(name) - 1, bytes_max,             \
            offsetof(struct record_submission, field), MEMBER_TEXT, required                       \
    }

static const struct member members[] = {
    TEXT_MEMBER("patientId", patient_id, RECORD_ID_BYTES_MAX, true),
    MEMBER("timestamp", MEMBER_TIMESTAMP, true,
           "a number of seconds since 1970 or an RFC 3339 string"),
    MEMBER("scores", MEMBER_SCORES, true, "an object"),
    TEXT_MEMBER("submissionId", submission_id, RECORD_ID_BYTES_MAX, false),
    TEXT_MEMBER("studyId", study_id, RECORD_ID_BYTES_MAX, false),
    TEXT_MEMBER("centerId", center_id, RECORD_ID_BYTES_MAX, false),
    TEXT_MEMBER("instrument", instrument, RECORD_INSTRUMENT_BYTES_MAX, false),
    TEXT_MEMBER("formVersion", form_version, RECORD_LABEL_BYTES_MAX, false),
    TEXT_MEMBER("visit", visit, RECORD_LABEL_BYTES_MAX, false),
    TEXT_MEMBER("timezone", timezone, RECORD_LABEL_BYTES_MAX, false),
    MEMBER("answers", MEMBER_ANSWERS, false, "an object, an array or null"),
    TEXT_MEMBER("amends", amends, RECORD_ID_BYTES_MAX, false),
    TEXT_MEMBER("reason", reason, RECORD_REASON_BYTES_MAX, false),
};
#define MEMBER_COUNT (sizeof(members) / sizeof(members[0]))

/* One call of record_submission_parse. */
struct parse {
    const struct record_json_node *nodes;
    const char *body;
    size_t body_bytes;
    struct record_arena *arena;
    struct record_submission *submission;
    struct base_problem *problem;
};

static const char *type_text(const struct record_json_node *node)
{
    static const char *const texts[] = {
        [RECORD_JSON_NULL] = "null",        [RECORD_JSON_FALSE] = "false",
        [RECORD_JSON_TRUE] = "true",        [RECORD_JSON_NUMBER] = "a number",
        [RECORD_JSON_STRING] = "a string",  [RECORD_JSON_ARRAY] = "an array",
        [RECORD_JSON_OBJECT] = "an object",
    };
    return texts[node->type];
}

/* Completes a problem whose detail is set: where it is. `item` may be NULL. */
static int fail_at(struct base_problem *problem, const struct member *member,
                   const struct record_json_node *item)
{
    base_problem_pointer_push(problem, member->name, member->name_bytes);
    if (item != NULL)
        base_problem_pointer_push(problem, item->name, item->name_bytes);
    return -1;
}

/* ---- Strings ---- */

/* What the strings of a submission have in common. `subject` begins the sentence in the detail;
 * returns 0 or -1 with the detail set and no pointer. */
static int check_text(struct base_problem *problem, const char *subject, const char *text,
                      uint32_t bytes, uint32_t bytes_max)
{
    if (bytes > bytes_max)
        base_problem_set(problem, BASE_PROBLEM_INVALID_SUBMISSION,
                         "%s has at most %u bytes of UTF-8; this has %u", subject, bytes_max,
                         bytes);
    else if (memchr(text, '\0', bytes) != NULL)
        base_problem_set(problem, BASE_PROBLEM_INVALID_SUBMISSION,
                         "%s holds the character U+0000; take it out", subject);
    else
        return 0;
    return -1;
}

/* The text where it will live as long as the submission: in the body, or copied out of the JSON
 * parser into the arena, which has room by contract (record_submission_arena_bytes). */
static struct record_text keep_text(struct parse *parse, const char *text, uint32_t bytes)
{
    uintptr_t offset = (uintptr_t)text - (uintptr_t)parse->body;
    if (offset < parse->body_bytes)
        return (struct record_text){text, bytes};
    char *copy = record_arena_alloc(parse->arena, bytes, 1);
    CHECK(copy != NULL);
    memcpy(copy, text, bytes);
    return (struct record_text){copy, bytes};
}

static int take_text(struct parse *parse, const struct member *member,
                     const struct record_json_node *node)
{
    if (check_text(parse->problem, member->name, node->text, node->text_bytes,
                   member->text_bytes_max) != 0)
        return fail_at(parse->problem, member, NULL);
    if (node->text_bytes == 0) {
        base_problem_set(parse->problem, BASE_PROBLEM_INVALID_SUBMISSION, "%s is empty; %s",
                         member->name,
                         member->required ? "give it a value" : "leave it out if there is none");
        return fail_at(parse->problem, member, NULL);
    }
    struct record_text *field =
        (struct record_text *)((char *)parse->submission + member->field_offset);
    *field = keep_text(parse, node->text, node->text_bytes);
    return 0;
}

/* ---- Timestamps ---- */

#define EPOCH_SECONDS_END INT64_C(9223372036) /* the first second that int64_t ns cannot hold */

static const char time_form[] =
    "timestamp is seconds since 1970 without sign or exponent, or an RFC 3339 date-time with "
    "offset like \"2026-11-23T16:41:00+01:00\"";
static const char time_existence[] = "timestamp names a day, time or offset that does not exist";
static const char time_range[] =
    "timestamp is outside of what is taken, 1970-01-01T00:00:00Z to 2262-04-11T23:47:15Z; check "
    "the device's clock and the unit: it is seconds";

struct moment {
    int64_t ns;
    int16_t offset_minutes;
    bool offset_known;
};

/* The characters still to be read. */
struct scan {
    const char *at;
    const char *end;
};

static bool scan_character(struct scan *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool scan_is_digit(const struct scan *scan)
{
    return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

/* Exactly `count` digits, and the character `after` unless that is 0. */
static bool scan_digits(struct scan *scan, unsigned count, char after, int *value_out)
{
    int value = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!scan_is_digit(scan))
            return false;
        value = value * 10 + (*scan->at++ - '0');
    }
    *value_out = value;
    return after == '\0' || scan_character(scan, after);
}

/* "." and at least one digit, in nanoseconds; what is smaller is cut off. Nothing is 0. */
static bool scan_fraction(struct scan *scan, int64_t *ns_out)
{
    *ns_out = 0;
    if (!scan_character(scan, '.'))
        return true;
    if (!scan_is_digit(scan))
        return false;
    for (int64_t unit = 100000000; scan_is_digit(scan); unit /= 10)
        *ns_out += (*scan->at++ - '0') * unit;
    return true;
}

/* NULL, or the detail of what is wrong with the number. */
static const char *time_from_number(struct scan scan, struct moment *moment_out)
{
    int64_t seconds = 0, ns;
    if (!scan_is_digit(&scan))
        return time_form;
    while (scan_is_digit(&scan) && seconds < EPOCH_SECONDS_END)
        seconds = seconds * 10 + (*scan.at++ - '0');
    if (seconds >= EPOCH_SECONDS_END)
        return time_range;
    if (!scan_fraction(&scan, &ns) || scan.at != scan.end)
        return time_form;
    *moment_out = (struct moment){.ns = seconds * (int64_t)NANOSECONDS_PER_SECOND + ns};
    return NULL;
}

static int days_in_month(int year, int month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* The date-time as it is written, before any check of ranges. */
struct civil_time {
    int year, month, day, hour, minute, second;
    int64_t ns;
    char sign; /* '+' or '-'; 'Z' for none */
    int offset_hour, offset_minute;
};

/* RFC 3339, section 5.6: date-time, all of the text. */
static bool scan_civil_time(struct scan scan, struct civil_time *time)
{
    if (!scan_digits(&scan, 4, '-', &time->year) || !scan_digits(&scan, 2, '-', &time->month) ||
        !scan_digits(&scan, 2, '\0', &time->day))
        return false;
    if (!scan_character(&scan, 'T') && !scan_character(&scan, 't'))
        return false;
    if (!scan_digits(&scan, 2, ':', &time->hour) || !scan_digits(&scan, 2, ':', &time->minute) ||
        !scan_digits(&scan, 2, '\0', &time->second) || !scan_fraction(&scan, &time->ns))
        return false;
    time->offset_hour = time->offset_minute = 0;
    if (scan_character(&scan, 'Z') || scan_character(&scan, 'z')) {
        time->sign = 'Z';
    } else {
        time->sign = scan.at < scan.end ? *scan.at : '\0';
        if (!scan_character(&scan, '+') && !scan_character(&scan, '-'))
            return false;
        if (!scan_digits(&scan, 2, ':', &time->offset_hour) ||
            !scan_digits(&scan, 2, '\0', &time->offset_minute))
            return false;
    }
    return scan.at == scan.end;
}

/* NULL, or the detail of what is wrong with the string. */
static const char *time_from_text(struct scan scan, struct moment *moment_out)
{
    struct civil_time time;
    if (!scan_civil_time(scan, &time))
        return time_form;
    if (time.month < 1 || time.month > 12 || time.day < 1 ||
        time.day > days_in_month(time.year, time.month) || time.hour > 23 || time.minute > 59 ||
        time.second > 60 || time.offset_hour > 23 || time.offset_minute > 59)
        return time_existence;
    int offset = time.offset_hour * 60 + time.offset_minute;
    if (time.sign == '-')
        offset = -offset;
    int64_t days = base_clock_days_from_civil(time.year, (unsigned)time.month, (unsigned)time.day);
    int64_t seconds = days * 86400 + time.hour * 3600 + (time.minute - offset) * 60 + time.second;
    /* A leap second is the last of a day in UTC (RFC 3339, section 5.7). */
    if (time.second == 60 && seconds % 86400 != 0)
        return time_existence;
    if (seconds < 0 || seconds >= EPOCH_SECONDS_END)
        return time_range;
    *moment_out = (struct moment){
        .ns = seconds * (int64_t)NANOSECONDS_PER_SECOND + time.ns,
        .offset_minutes = (int16_t)offset,
        .offset_known = time.sign != '-' || offset != 0, /* -00:00: section 4.3 */
    };
    return NULL;
}

static int take_timestamp(struct parse *parse, const struct member *member,
                          const struct record_json_node *node)
{
    struct moment moment;
    struct scan scan = {node->text, node->text + node->text_bytes};
    const char *fault = node->type == RECORD_JSON_NUMBER ? time_from_number(scan, &moment)
                                                         : time_from_text(scan, &moment);
    if (fault != NULL) {
        base_problem_set(parse->problem, BASE_PROBLEM_INVALID_SUBMISSION, "%s", fault);
        return fail_at(parse->problem, member, NULL);
    }
    parse->submission->device_time_ns = moment.ns;
    parse->submission->device_offset_minutes = moment.offset_minutes;
    parse->submission->device_offset_known = moment.offset_known;
    return 0;
}

/* ---- Scores ---- */

/* 0, or -1 with the detail set and no pointer. */
static int check_score(struct base_problem *problem, const struct record_json_node *node)
{
    if (node->name_bytes == 0) {
        base_problem_set(problem, BASE_PROBLEM_INVALID_SUBMISSION,
                         "a score's item name is empty; give it the item's code");
        return -1;
    }
    if (check_text(problem, "a score's item name", node->name, node->name_bytes,
                   RECORD_ITEM_BYTES_MAX) != 0)
        return -1;
    if (node->type == RECORD_JSON_NUMBER || node->type == RECORD_JSON_NULL)
        return 0;
    if (node->type == RECORD_JSON_STRING)
        return check_text(problem, "a score's string", node->text, node->text_bytes,
                          RECORD_SCORE_TEXT_BYTES_MAX);
    base_problem_set(problem, BASE_PROBLEM_INVALID_SUBMISSION,
                     "a score is a number, a string or null; this is %s", type_text(node));
    return -1;
}

static uint32_t count_children(const struct record_json_node *nodes,
                               const struct record_json_node *parent)
{
    uint32_t count = 0;
    for (const struct record_json_node *node = parent + 1; node < nodes + parent->next;
         node = nodes + node->next)
        count++;
    return count;
}

static int take_scores(struct parse *parse, const struct member *member,
                       const struct record_json_node *parent)
{
    uint32_t count = count_children(parse->nodes, parent);
    if (count > RECORD_SCORE_COUNT_MAX) {
        base_problem_set(parse->problem, BASE_PROBLEM_INVALID_SUBMISSION,
                         "scores has at most %d items; this has %u", RECORD_SCORE_COUNT_MAX, count);
        return fail_at(parse->problem, member, NULL);
    }
    struct record_score *scores =
        record_arena_alloc(parse->arena, count * sizeof(*scores), _Alignof(struct record_score));
    CHECK(scores != NULL);
    const struct record_json_node *node = parent + 1;
    for (uint32_t i = 0; i < count; i++, node = parse->nodes + node->next) {
        if (check_score(parse->problem, node) != 0)
            return fail_at(parse->problem, member, node);
        scores[i].item = keep_text(parse, node->name, node->name_bytes);
        scores[i].value = keep_text(parse, node->text, node->text_bytes);
        scores[i].type = node->type;
    }
    parse->submission->scores = scores;
    parse->submission->score_count = count;
    return 0;
}

/* ---- Members ---- */

static const struct member *find_member(const struct record_json_node *node)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        if (members[i].name_bytes == node->name_bytes &&
            memcmp(members[i].name, node->name, node->name_bytes) == 0)
            return &members[i];
    return NULL;
}

static bool type_fits(const struct member *member, uint8_t type)
{
    switch ((enum member_kind)member->kind) {
    case MEMBER_TEXT:
        return type == RECORD_JSON_STRING;
    case MEMBER_TIMESTAMP:
        return type == RECORD_JSON_NUMBER || type == RECORD_JSON_STRING;
    case MEMBER_SCORES:
        return type == RECORD_JSON_OBJECT;
    case MEMBER_ANSWERS:
        return type == RECORD_JSON_OBJECT || type == RECORD_JSON_ARRAY;
    }
    return false;
}

static int take_member(struct parse *parse, const struct member *member,
                       const struct record_json_node *node)
{
    if (node->type == RECORD_JSON_NULL && !member->required)
        return 0;
    if (!type_fits(member, node->type)) {
        base_problem_set(parse->problem, BASE_PROBLEM_INVALID_SUBMISSION, "%s is %s; this is %s",
                         member->name, member->expected, type_text(node));
        return fail_at(parse->problem, member, NULL);
    }
    switch ((enum member_kind)member->kind) {
    case MEMBER_TEXT:
        return take_text(parse, member, node);
    case MEMBER_TIMESTAMP:
        return take_timestamp(parse, member, node);
    case MEMBER_SCORES:
        return take_scores(parse, member, node);
    case MEMBER_ANSWERS:
        break; /* kept with the body's bytes, not interpreted */
    }
    return 0;
}

/* `seen` has a bit for each row of the table. */
static int check_required(struct base_problem *problem, uint32_t seen)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        if (!members[i].required || (seen >> i & 1) != 0)
            continue;
        base_problem_set(problem, BASE_PROBLEM_INVALID_SUBMISSION,
                         "%s is missing; it is required and is %s", members[i].name,
                         members[i].expected);
        return fail_at(problem, &members[i], NULL);
    }
    return 0;
}

size_t record_submission_arena_bytes(size_t body_bytes)
{
    /* Before it an object or an array of scores may lose up to its alignment. */
    size_t alignment_loss = _Alignof(struct record_submission) + _Alignof(struct record_score);
    /* The shortest score takes six bytes of the body: "a":1 and what separates it. */
    size_t score_count = body_bytes / 6 + 1;
    if (score_count > RECORD_SCORE_COUNT_MAX)
        score_count = RECORD_SCORE_COUNT_MAX;
    /* An unescaped string is shorter than what it was in the body, where strings do not overlap. */
    size_t unescaped_bytes = body_bytes;
    return sizeof(struct record_submission) + score_count * sizeof(struct record_score) +
           unescaped_bytes + alignment_loss;
}

int record_submission_parse(const struct record_json_document *document, const char *body,
                            size_t body_bytes, struct record_arena *arena,
                            struct record_submission **submission_out,
                            struct base_problem *problem_out)
{
    CHECK(document->count > 0);
    const struct record_json_node *root = document->nodes;
    if (root->type != RECORD_JSON_OBJECT) {
        base_problem_set(problem_out, BASE_PROBLEM_INVALID_SUBMISSION,
                         "a submission is a JSON object; this is %s", type_text(root));
        return -1;
    }
    struct record_submission *submission =
        record_arena_alloc(arena, sizeof(*submission), _Alignof(struct record_submission));
    CHECK(submission != NULL);
    submission->magic = RECORD_SUBMISSION_MAGIC;
    struct parse parse = {document->nodes, body, body_bytes, arena, submission, problem_out};
    uint32_t seen = 0;
    for (uint32_t i = 1; i < root->next; i = document->nodes[i].next) {
        const struct member *member = find_member(&document->nodes[i]);
        if (member == NULL)
            continue;
        if (take_member(&parse, member, &document->nodes[i]) != 0)
            return -1;
        seen |= UINT32_C(1) << (member - members);
    }
    if (check_required(problem_out, seen) != 0)
        return -1;
    *submission_out = submission;
    return 0;
}

void record_submission_malformed(const struct record_json_fault *fault,
                                 struct base_problem *problem_out)
{
    base_problem_set(problem_out, BASE_PROBLEM_MALFORMED_JSON,
                     "%s at byte %u of the body; send one JSON object in UTF-8 (RFC 8259)",
                     record_json_error_text(fault->error), fault->offset);
}
