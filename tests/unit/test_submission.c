/* What record_submission_parse takes, what it refuses and how it says so. Every submission is
 * parsed in an arena of exactly the promised size, and read after the JSON parser went on to
 * another document. */
#include "record/arena.h"
#include "record/json.h"
#include "record/submission.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX 65536
#define NS_PER_SECOND  INT64_C(1000000000)

static struct record_json_parser *parser;
static void *arena_memory;
static struct record_arena arena;
static char *body; /* of the last parse, in the arena */
static size_t body_bytes;
static struct record_submission *submission;
static struct base_problem problem;
static char text[BODY_BYTES_MAX + 1]; /* where tests compose bodies */

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

TestSuite(submission, .init = set_up, .fini = tear_down);

static void open_arena(size_t used_bytes)
{
    free_body();
    size_t bytes = used_bytes + RECORD_ARENA_RED_ZONE_BYTES;
    size_t memory_bytes = (bytes + 63) / 64 * 64;
    arena_memory = aligned_alloc(64, memory_bytes);
    cr_assert_not_null(arena_memory);
    memset(arena_memory, 0, memory_bytes);
    record_arena_init(&arena, arena_memory, bytes);
}

/* Overwrites whatever the parser still held of the document before. */
static void let_parser_forget(void)
{
    static char other[BODY_BYTES_MAX + RECORD_JSON_PADDING_BYTES] = "[\"";
    memset(other + 2, '\\', BODY_BYTES_MAX - 4);
    memcpy(other + BODY_BYTES_MAX - 2, "\"]", 2);
    struct record_json_document document;
    struct record_json_fault fault;
    cr_assert_eq(record_json_parse(parser, other, BODY_BYTES_MAX, &document, &fault), 0);
}

/* Parses the first `bytes` bytes of `text`, which are valid JSON. */
static int parse_text(size_t bytes)
{
    cr_assert_leq(bytes, BODY_BYTES_MAX);
    body_bytes = bytes;
    open_arena(bytes + RECORD_JSON_PADDING_BYTES + record_submission_arena_bytes(bytes));
    body = record_arena_alloc(&arena, bytes + RECORD_JSON_PADDING_BYTES, 64);
    cr_assert_not_null(body);
    memcpy(body, text, bytes);
    struct record_json_document document;
    struct record_json_fault fault;
    cr_assert_eq(record_json_parse(parser, body, bytes, &document, &fault), 0, "%s at %u in %.*s",
                 record_json_error_text(fault.error), fault.offset, (int)bytes, text);
    submission = NULL;
    memset(&problem, 0x5A, sizeof(problem));
    int result = record_submission_parse(&document, body, bytes, &arena, &submission, &problem);
    let_parser_forget();
    return result;
}

__attribute__((format(printf, 1, 2))) static int parse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    cr_assert(bytes > 0 && (size_t)bytes < sizeof(text));
    return parse_text((size_t)bytes);
}

/* A minimal submission with these members (", ..." or "") behind the required ones. */
static int parse_with(const char *members)
{
    return parse("{\"patientId\":\"P1\",\"timestamp\":0,\"scores\":{}%s}", members);
}

static int parse_timestamp(const char *timestamp)
{
    return parse("{\"patientId\":\"P1\",\"timestamp\":%s,\"scores\":{}}", timestamp);
}

static int parse_scores(const char *scores)
{
    return parse("{\"patientId\":\"P1\",\"timestamp\":0,\"scores\":%s}", scores);
}

static void assert_accepted(int result)
{
    cr_assert(result == 0, "refused: %s: %s (%.200s)", problem.pointer, problem.detail, text);
    cr_assert_not_null(submission);
    cr_assert_eq(submission->magic, RECORD_SUBMISSION_MAGIC);
}

static void assert_refused(int result, const char *pointer, const char *detail)
{
    cr_assert(result == -1, "accepted: %.200s", text);
    cr_assert_eq(problem.kind, BASE_PROBLEM_INVALID_SUBMISSION);
    cr_assert(strcmp(problem.pointer, pointer) == 0, "pointer %s, expected %s", problem.pointer,
              pointer);
    cr_assert(strcmp(problem.detail, detail) == 0, "detail %s, expected %s", problem.detail,
              detail);
}

static void assert_text(struct record_text actual, const char *expected, size_t bytes)
{
    cr_assert(actual.data != NULL && actual.bytes == bytes &&
                  memcmp(actual.data, expected, bytes) == 0,
              "%.*s instead of %.*s", (int)actual.bytes, actual.data, (int)bytes, expected);
}

static void assert_string(struct record_text actual, const char *expected)
{
    assert_text(actual, expected, strlen(expected));
}

static bool is_in_body(struct record_text actual)
{
    return actual.data >= body && actual.data < body + body_bytes;
}

/* `count` times 'x'; one buffer. */
static const char *xs(size_t count)
{
    static char buffer[8192];
    cr_assert_lt(count, sizeof(buffer));
    memset(buffer, 'x', count);
    buffer[count] = '\0';
    return buffer;
}

/* ---- Members ---- */

Test(submission, fills_in_every_member)
{
    assert_accepted(
        parse("{\"submissionId\":\"S-1\",\"studyId\":\"ST\",\"centerId\":\"701\",\"patientId\":"
              "\"01-701\","
              "\"instrument\":\"NPI-X\",\"formVersion\":\"2.0\",\"visit\":\"WEEK 2\","
              "\"timezone\":\"Europe/Zurich\",\"timestamp\":1341573753,\"amends\":\"S-0\","
              "\"reason\":\"typo\",\"answers\":[1],\"scores\":{\"A\":4}}"));
    assert_string(submission->submission_id, "S-1");
    assert_string(submission->study_id, "ST");
    assert_string(submission->center_id, "701");
    assert_string(submission->patient_id, "01-701");
    assert_string(submission->instrument, "NPI-X");
    assert_string(submission->form_version, "2.0");
    assert_string(submission->visit, "WEEK 2");
    assert_string(submission->timezone, "Europe/Zurich");
    assert_string(submission->amends, "S-0");
    assert_string(submission->reason, "typo");
    cr_assert_eq(submission->device_time_ns, 1341573753 * NS_PER_SECOND);
    cr_assert_eq(submission->score_count, 1);
}

/* The optional texts with their fields and limits. */
static const struct {
    const char *name;
    size_t field_offset;
    size_t bytes_max;
} optional_texts[] = {
    {"submissionId", offsetof(struct record_submission, submission_id), 128},
    {"studyId", offsetof(struct record_submission, study_id), 128},
    {"centerId", offsetof(struct record_submission, center_id), 128},
    {"instrument", offsetof(struct record_submission, instrument), 256},
    {"formVersion", offsetof(struct record_submission, form_version), 128},
    {"visit", offsetof(struct record_submission, visit), 128},
    {"timezone", offsetof(struct record_submission, timezone), 128},
    {"amends", offsetof(struct record_submission, amends), 128},
    {"reason", offsetof(struct record_submission, reason), 2048},
};
#define OPTIONAL_TEXT_COUNT (sizeof(optional_texts) / sizeof(optional_texts[0]))

static struct record_text optional_text(size_t i)
{
    return *(struct record_text *)((char *)submission + optional_texts[i].field_offset);
}

Test(submission, members_that_are_missing_or_null_are_absent)
{
    assert_accepted(parse_with(""));
    for (size_t i = 0; i < OPTIONAL_TEXT_COUNT; i++)
        cr_assert(optional_text(i).data == NULL && optional_text(i).bytes == 0);
    for (size_t i = 0; i < OPTIONAL_TEXT_COUNT; i++) {
        assert_accepted(parse("{\"%s\":null,\"patientId\":\"P1\",\"timestamp\":0,\"scores\":{}}",
                              optional_texts[i].name));
        cr_assert_null(optional_text(i).data);
    }
    assert_accepted(parse_with(",\"answers\":null"));
}

Test(submission, optional_texts_refuse_every_other_type)
{
    static const char *const values[][2] = {{"1", "a number"},   {"true", "true"},
                                            {"false", "false"},  {"[]", "an array"},
                                            {"{}", "an object"}, {"[\"a\"]", "an array"}};
    for (size_t i = 0; i < OPTIONAL_TEXT_COUNT; i++) {
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            char members[64], pointer[32], detail[96];
            snprintf(members, sizeof(members), ",\"%s\":%s", optional_texts[i].name, values[j][0]);
            snprintf(pointer, sizeof(pointer), "/%s", optional_texts[i].name);
            snprintf(detail, sizeof(detail), "%s is a string or null; this is %s",
                     optional_texts[i].name, values[j][1]);
            assert_refused(parse_with(members), pointer, detail);
        }
    }
}

Test(submission, optional_texts_end_at_their_limits)
{
    for (size_t i = 0; i < OPTIONAL_TEXT_COUNT; i++) {
        const char *name = optional_texts[i].name;
        size_t bytes_max = optional_texts[i].bytes_max;
        char members[4096], pointer[32], detail[96];
        snprintf(members, sizeof(members), ",\"%s\":\"%s\"", name, xs(bytes_max));
        assert_accepted(parse_with(members));
        assert_string(optional_text(i), xs(bytes_max));
        snprintf(members, sizeof(members), ",\"%s\":\"%s\"", name, xs(bytes_max + 1));
        snprintf(pointer, sizeof(pointer), "/%s", name);
        snprintf(detail, sizeof(detail), "%s has at most %zu bytes of UTF-8; this has %zu", name,
                 bytes_max, bytes_max + 1);
        assert_refused(parse_with(members), pointer, detail);
        snprintf(members, sizeof(members), ",\"%s\":\"\"", name);
        snprintf(detail, sizeof(detail), "%s is empty; leave it out if there is none", name);
        assert_refused(parse_with(members), pointer, detail);
        snprintf(members, sizeof(members), ",\"%s\":\"a\\u0000b\"", name);
        snprintf(detail, sizeof(detail), "%s holds the character U+0000; take it out", name);
        assert_refused(parse_with(members), pointer, detail);
    }
}

Test(submission, limits_count_unescaped_bytes)
{
    char escaped[6 * 128 + 7] = "";
    for (int i = 0; i < 128; i++)
        strcat(escaped, "\\u0041");
    cr_assert_eq(parse("{\"patientId\":\"%s\",\"timestamp\":0,\"scores\":{}}", escaped), 0);
    cr_assert_eq(submission->patient_id.bytes, 128);
    strcat(escaped, "\\u0041");
    assert_refused(parse("{\"patientId\":\"%s\",\"timestamp\":0,\"scores\":{}}", escaped),
                   "/patientId", "patientId has at most 128 bytes of UTF-8; this has 129");
    assert_refused(parse("{\"patientId\":\"%s\xC3\xA9\",\"timestamp\":0,\"scores\":{}}", xs(127)),
                   "/patientId", "patientId has at most 128 bytes of UTF-8; this has 129");
}

Test(submission, patient_id_is_required_and_a_string)
{
    static const char form[] = "{\"timestamp\":0,\"scores\":{},\"patientId\":%s}";
    static const char *const values[][2] = {{"1", "a number"},       {"null", "null"},
                                            {"true", "true"},        {"false", "false"},
                                            {"[\"a\"]", "an array"}, {"{}", "an object"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char detail[96];
        snprintf(detail, sizeof(detail), "patientId is a string; this is %s", values[i][1]);
        assert_refused(parse(form, values[i][0]), "/patientId", detail);
    }
    assert_refused(parse(form, "\"\""), "/patientId", "patientId is empty; give it a value");
    assert_refused(parse(form, "\"\\u0000\""), "/patientId",
                   "patientId holds the character U+0000; take it out");
    assert_refused(parse("{\"timestamp\":0,\"scores\":{}}"), "/patientId",
                   "patientId is missing; it is required and is a string");
}

Test(submission, timestamp_and_scores_are_required)
{
    assert_refused(parse("{\"patientId\":\"P\",\"scores\":{}}"), "/timestamp",
                   "timestamp is missing; it is required and is a number of seconds since 1970 or "
                   "an RFC 3339 string");
    assert_refused(parse("{\"patientId\":\"P\",\"timestamp\":0}"), "/scores",
                   "scores is missing; it is required and is an object");
    assert_refused(parse("{}"), "/patientId",
                   "patientId is missing; it is required and is a string");
}

Test(submission, the_root_is_an_object)
{
    static const char *const values[][2] = {{"1", "a number"},
                                            {"null", "null"},
                                            {"true", "true"},
                                            {"[]", "an array"},
                                            {"\"a\"", "a string"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char detail[96];
        snprintf(detail, sizeof(detail), "a submission is a JSON object; this is %s", values[i][1]);
        assert_refused(parse("%s", values[i][0]), "", detail);
    }
}

Test(submission, answers_is_an_object_or_an_array_of_anything)
{
    assert_accepted(parse_with(",\"answers\":{\"q\":[1,{\"x\":null}],\"\":\"\\u0000\"}"));
    assert_accepted(parse_with(",\"answers\":[[],\"\",true]"));
    static const char *const values[][2] = {
        {"1", "a number"}, {"\"a\"", "a string"}, {"true", "true"}, {"false", "false"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char members[64], detail[96];
        snprintf(members, sizeof(members), ",\"answers\":%s", values[i][0]);
        snprintf(detail, sizeof(detail), "answers is an object, an array or null; this is %s",
                 values[i][1]);
        assert_refused(parse_with(members), "/answers", detail);
    }
}

Test(submission, unknown_members_are_left_alone)
{
    assert_accepted(parse_with(",\"PatientId\":1,\"patientid\":[],\"patientId2\":{},\"patientI\":0,"
                               "\"\":\"\",\"x\":\"\\u0000\",\"nested\":{\"scores\":1}"));
    assert_string(submission->patient_id, "P1");
    assert_accepted(parse("{\"x\":{\"patientId\":1},\"patientId\":\"P1\",\"timestamp\":0,"
                          "\"scores\":{}}"));
}

Test(submission, member_names_may_be_written_with_escapes)
{
    assert_accepted(
        parse("{\"patient\\u0049d\":\"P\\u0031\",\"\\u0074imestamp\":0,\"scores\":{}}"));
    assert_string(submission->patient_id, "P1");
}

Test(submission, the_first_fault_in_document_order_is_reported)
{
    assert_refused(parse("{\"visit\":1,\"scores\":[],\"patientId\":2}"), "/visit",
                   "visit is a string or null; this is a number");
    assert_refused(parse("{\"scores\":[],\"visit\":1,\"patientId\":2}"), "/scores",
                   "scores is an object; this is an array");
    assert_refused(parse("{\"visit\":1}"), "/visit", "visit is a string or null; this is a number");
}

/* ---- Timestamps ---- */

static const char time_form[] =
    "timestamp is seconds since 1970 without sign or exponent, or an RFC 3339 date-time with "
    "offset like \"2026-11-23T16:41:00+01:00\"";
static const char time_existence[] = "timestamp names a day, time or offset that does not exist";
static const char time_range[] =
    "timestamp is outside of what is taken, 1970-01-01T00:00:00Z to 2262-04-11T23:47:15Z; check "
    "the device's clock and the unit: it is seconds";

struct accepted_time {
    const char *timestamp;
    int64_t seconds;
    int64_t ns;
    int16_t offset_minutes;
    bool offset_known;
};

static void assert_times(const struct accepted_time *times, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_accepted(parse_timestamp(times[i].timestamp));
        int64_t expected = times[i].seconds * NS_PER_SECOND + times[i].ns;
        cr_assert(submission->device_time_ns == expected, "%s: %lld instead of %lld",
                  times[i].timestamp, (long long)submission->device_time_ns, (long long)expected);
        cr_assert_eq(submission->device_offset_minutes, times[i].offset_minutes, "%s",
                     times[i].timestamp);
        cr_assert_eq(submission->device_offset_known, times[i].offset_known, "%s",
                     times[i].timestamp);
    }
}

#define ASSERT_TIMES(times) assert_times(times, sizeof(times) / sizeof((times)[0]))

static void assert_times_refused(const char *const *timestamps, size_t count, const char *detail)
{
    for (size_t i = 0; i < count; i++)
        assert_refused(parse_timestamp(timestamps[i]), "/timestamp", detail);
}

#define ASSERT_TIMES_REFUSED(timestamps, detail)                                                   \
    assert_times_refused(timestamps, sizeof(timestamps) / sizeof((timestamps)[0]), detail)

Test(submission, takes_epoch_seconds_cut_to_nanoseconds)
{
    static const struct accepted_time times[] = {
        {"0", 0, 0, 0, false},
        {"0.0", 0, 0, 0, false},
        {"1341573753", 1341573753, 0, 0, false},
        {"1341573753.5", 1341573753, 500000000, 0, false},
        {"1341573753.123456789", 1341573753, 123456789, 0, false},
        {"1341573753.1234567899", 1341573753, 123456789, 0, false},
        {"1341573753.000000001", 1341573753, 1, 0, false},
        {"1341573753.0000000009999999999999999999999", 1341573753, 0, 0, false},
        {"9223372035", INT64_C(9223372035), 0, 0, false},
        {"9223372035.9999999999", INT64_C(9223372035), 999999999, 0, false},
    };
    ASSERT_TIMES(times);
}

Test(submission, refuses_epoch_seconds_out_of_range)
{
    static const char *const timestamps[] = {"9223372036",
                                             "9223372036.0",
                                             "9223372036.854775807",
                                             "9223372037",
                                             "9999999999",
                                             "10000000000",
                                             "1341573753000" /* milliseconds */,
                                             "18446744073709551616",
                                             "99999999999999999999999999999999999999"};
    ASSERT_TIMES_REFUSED(timestamps, time_range);
}

Test(submission, refuses_epoch_seconds_with_sign_or_exponent)
{
    static const char *const timestamps[] = {"-1",  "-0",    "-0.5", "1e9",
                                             "1E9", "1.5e9", "0e0",  "1e400"};
    ASSERT_TIMES_REFUSED(timestamps, time_form);
}

Test(submission, takes_rfc3339_with_its_offset)
{
    static const struct accepted_time times[] = {
        {"\"1970-01-01T00:00:00Z\"", 0, 0, 0, true},
        {"\"2012-07-06T11:22:33Z\"", 1341573753, 0, 0, true},
        {"\"2012-07-06t11:22:33z\"", 1341573753, 0, 0, true},
        {"\"2012-07-06T13:22:33+02:00\"", 1341573753, 0, 120, true},
        {"\"2012-07-06T06:22:33-05:00\"", 1341573753, 0, -300, true},
        {"\"2012-07-06T16:52:33+05:30\"", 1341573753, 0, 330, true},
        {"\"2012-07-06T07:52:33-03:30\"", 1341573753, 0, -210, true},
        {"\"2012-07-06T11:22:33+00:00\"", 1341573753, 0, 0, true},
        {"\"2012-07-06T11:22:33-00:00\"", 1341573753, 0, 0, false},
        {"\"2012-07-07T11:21:33+23:59\"", 1341573753, 0, 1439, true},
        {"\"2012-07-05T11:23:33-23:59\"", 1341573753, 0, -1439, true},
        {"\"2012-07-06T11:22:33.1Z\"", 1341573753, 100000000, 0, true},
        {"\"2012-07-06T11:22:33.123456789Z\"", 1341573753, 123456789, 0, true},
        {"\"2012-07-06T11:22:33.1234567899+00:00\"", 1341573753, 123456789, 0, true},
        {"\"2012-07-06\\u005411:22:33Z\"", 1341573753, 0, 0, true},
    };
    ASSERT_TIMES(times);
}

Test(submission, knows_the_calendar)
{
    static const struct accepted_time times[] = {
        {"\"2024-02-29T00:00:00Z\"", 1709164800, 0, 0, true},
        {"\"2000-02-29T00:00:00Z\"", 951782400, 0, 0, true},
        {"\"2024-03-01T00:00:00Z\"", 1709251200, 0, 0, true},
        {"\"2026-01-31T23:59:59Z\"", 1769903999, 0, 0, true},
        {"\"2026-12-31T23:59:59Z\"", 1798761599, 0, 0, true},
        {"\"2027-01-01T00:00:00Z\"", 1798761600, 0, 0, true},
        {"\"2100-03-01T00:00:00Z\"", INT64_C(4107542400), 0, 0, true},
    };
    ASSERT_TIMES(times);
}

Test(submission, refuses_days_and_times_that_do_not_exist)
{
    static const char *const timestamps[] = {
        "\"2026-02-30T00:00:00Z\"",      "\"2026-02-29T00:00:00Z\"",
        "\"2100-02-29T00:00:00Z\"",      "\"2026-04-31T00:00:00Z\"",
        "\"2026-06-31T00:00:00Z\"",      "\"2026-09-31T00:00:00Z\"",
        "\"2026-11-31T00:00:00Z\"",      "\"2026-01-32T00:00:00Z\"",
        "\"2026-00-10T00:00:00Z\"",      "\"2026-13-10T00:00:00Z\"",
        "\"2026-01-00T00:00:00Z\"",      "\"2026-01-01T24:00:00Z\"",
        "\"2026-01-01T00:60:00Z\"",      "\"2026-01-01T00:00:61Z\"",
        "\"2026-01-01T00:00:00+24:00\"", "\"2026-01-01T00:00:00-00:60\"",
        "\"2026-01-01T12:30:60Z\"",      "\"2016-12-31T23:58:60Z\"",
        "\"2016-12-31T23:59:60+01:00\"", "\"2026-01-01T99:99:99Z\""};
    ASSERT_TIMES_REFUSED(timestamps, time_existence);
}

Test(submission, takes_a_leap_second_as_the_one_after_59)
{
    static const struct accepted_time times[] = {
        {"\"2016-12-31T23:59:59Z\"", 1483228799, 0, 0, true},
        {"\"2016-12-31T23:59:60Z\"", 1483228800, 0, 0, true},
        {"\"2016-12-31T23:59:60.25Z\"", 1483228800, 250000000, 0, true},
        {"\"2017-01-01T00:59:60+01:00\"", 1483228800, 0, 60, true},
        {"\"2016-12-31T15:59:60-08:00\"", 1483228800, 0, -480, true},
    };
    ASSERT_TIMES(times);
}

Test(submission, takes_rfc3339_up_to_the_ends_of_the_range)
{
    static const struct accepted_time times[] = {
        {"\"1970-01-01T01:00:00+01:00\"", 0, 0, 60, true},
        {"\"1969-12-31T23:00:00-01:00\"", 0, 0, -60, true},
        {"\"2262-04-11T23:47:15Z\"", INT64_C(9223372035), 0, 0, true},
        {"\"2262-04-11T23:47:15.999999999Z\"", INT64_C(9223372035), 999999999, 0, true},
        {"\"2262-04-12T00:47:15+01:00\"", INT64_C(9223372035), 0, 60, true},
    };
    ASSERT_TIMES(times);
    static const char *const timestamps[] = {
        "\"1969-12-31T23:59:59Z\"",      "\"1969-12-31T23:59:59.999Z\"",
        "\"1970-01-01T00:59:59+01:00\"", "\"2262-04-11T23:47:16Z\"",
        "\"2262-04-11T22:47:16-01:00\"", "\"9999-12-31T23:59:59Z\"",
        "\"0000-01-01T00:00:00Z\"",      "\"0001-01-01T00:00:00Z\""};
    ASSERT_TIMES_REFUSED(timestamps, time_range);
}

Test(submission, refuses_what_is_not_rfc3339)
{
    static const char *const timestamps[] = {
        "\"\"",
        "\"1341573753\"",
        "\"2012-07-06\"",
        "\"2012-07-06T11:22:33\"",
        "\"2012-07-06T11:22Z\"",
        "\"2012-07-06 11:22:33Z\"",
        "\"2012-07-06T11:22:33.Z\"",
        "\"2012-07-06T11:22:33,5Z\"",
        "\"2012-07-06T11:22:33.5\"",
        "\"2012-07-06T11:22:33+0200\"",
        "\"2012-07-06T11:22:33+02\"",
        "\"2012-07-06T11:22:33+2:00\"",
        "\"2012-07-06T11:22:33+02:0\"",
        "\"2012-07-06T11:22:33Z+02:00\"",
        "\"2012-07-06T11:22:33Zx\"",
        "\" 2012-07-06T11:22:33Z\"",
        "\"2012-07-06T11:22:33Z \"",
        "\"2012-7-06T11:22:33Z\"",
        "\"12-07-06T11:22:33Z\"",
        "\"+2012-07-06T11:22:33Z\"",
        "\"-012-07-06T11:22:33Z\"",
        "\"20120706T112233Z\"",
        "\"2012-07-06T11:22:33 Z\"",
        "\"2012-07-06T11:22:33Z\\u0000\"",
        "\"2012/07/06T11:22:33Z\"",
        "\"2012-W27-5T11:22:33Z\"",
        "\"2012-07-06T1a:22:33Z\"",
        "\"\xD9\xA2\xD9\xA0-07-06T11:22:33Z\"",
    };
    ASSERT_TIMES_REFUSED(timestamps, time_form);
}

Test(submission, refuses_timestamps_of_other_types)
{
    static const char *const values[][2] = {{"null", "null"},
                                            {"true", "true"},
                                            {"false", "false"},
                                            {"[]", "an array"},
                                            {"{}", "an object"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char detail[128];
        snprintf(detail, sizeof(detail),
                 "timestamp is a number of seconds since 1970 or an RFC 3339 string; this is %s",
                 values[i][1]);
        assert_refused(parse_timestamp(values[i][0]), "/timestamp", detail);
    }
}

/* ---- Scores ---- */

Test(submission, keeps_scores_in_the_order_of_the_body_with_their_characters)
{
    assert_accepted(parse_scores("{\"Z\":1.50, \"A\":\"free\\ntext\",\"M\":null,\"big\":"
                                 "1234567890123456789012345678901234567890,\"e\":-1e400,"
                                 "\"\\u00e9\":\"plain\",\"blank\":\"\"}"));
    static const struct {
        const char *item;
        const char *value;
        uint8_t type;
        bool in_body;
    } expected[] = {
        {"Z", "1.50", RECORD_JSON_NUMBER, true},
        {"A", "free\ntext", RECORD_JSON_STRING, false},
        {"M", "null", RECORD_JSON_NULL, true},
        {"big", "1234567890123456789012345678901234567890", RECORD_JSON_NUMBER, true},
        {"e", "-1e400", RECORD_JSON_NUMBER, true},
        {"\xC3\xA9", "plain", RECORD_JSON_STRING, true},
        {"blank", "", RECORD_JSON_STRING, true},
    };
    cr_assert_eq(submission->score_count, sizeof(expected) / sizeof(expected[0]));
    for (uint32_t i = 0; i < submission->score_count; i++) {
        const struct record_score *score = &submission->scores[i];
        assert_string(score->item, expected[i].item);
        assert_string(score->value, expected[i].value);
        cr_assert_eq(score->type, expected[i].type);
        cr_assert_eq(is_in_body(score->value), expected[i].in_body, "%s", expected[i].item);
    }
}

Test(submission, takes_no_scores_at_all)
{
    assert_accepted(parse_scores("{}"));
    cr_assert_eq(submission->score_count, 0);
}

Test(submission, scores_is_an_object)
{
    static const char *const values[][2] = {{"null", "null"},
                                            {"true", "true"},
                                            {"[]", "an array"},
                                            {"1", "a number"},
                                            {"\"A\"", "a string"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char detail[64];
        snprintf(detail, sizeof(detail), "scores is an object; this is %s", values[i][1]);
        assert_refused(parse_scores(values[i][0]), "/scores", detail);
    }
}

Test(submission, a_score_is_a_number_a_string_or_null)
{
    assert_refused(parse_scores("{\"A\":1,\"NPITM01\":{\"v\":1},\"B\":[]}"), "/scores/NPITM01",
                   "a score is a number, a string or null; this is an object");
    assert_refused(parse_scores("{\"A\":[1]}"), "/scores/A",
                   "a score is a number, a string or null; this is an array");
    assert_refused(parse_scores("{\"A\":true}"), "/scores/A",
                   "a score is a number, a string or null; this is true");
    assert_refused(parse_scores("{\"a/b~c\":false}"), "/scores/a~1b~0c",
                   "a score is a number, a string or null; this is false");
}

Test(submission, item_names_have_1_to_128_bytes_and_no_nul)
{
    char scores[1024], pointer[BASE_PROBLEM_POINTER_BYTES];
    snprintf(scores, sizeof(scores), "{\"%s\":1}", xs(128));
    assert_accepted(parse_scores(scores));
    assert_string(submission->scores[0].item, xs(128));
    snprintf(scores, sizeof(scores), "{\"%s\":1}", xs(129));
    snprintf(pointer, sizeof(pointer), "/scores/%s", xs(129));
    assert_refused(parse_scores(scores), pointer,
                   "a score's item name has at most 128 bytes of UTF-8; this has 129");
    assert_refused(parse_scores("{\"\":1}"), "/scores/",
                   "a score's item name is empty; give it the item's code");
    cr_assert_eq(parse_scores("{\"a\\u0000b\":1}"), -1);
    cr_assert_str_eq(problem.detail, "a score's item name holds the character U+0000; take it out");
}

Test(submission, a_score_string_has_at_most_4096_bytes_and_no_nul)
{
    char scores[8192];
    snprintf(scores, sizeof(scores), "{\"A\":\"%s\"}", xs(4096));
    assert_accepted(parse_scores(scores));
    assert_string(submission->scores[0].value, xs(4096));
    snprintf(scores, sizeof(scores), "{\"A\":\"%s\"}", xs(4097));
    assert_refused(parse_scores(scores), "/scores/A",
                   "a score's string has at most 4096 bytes of UTF-8; this has 4097");
    assert_refused(parse_scores("{\"A\":\"\\u0000\"}"), "/scores/A",
                   "a score's string holds the character U+0000; take it out");
}

/* "{"0":1,"1":1,...}" with `count` items. */
static void write_scores(char *scores, unsigned count)
{
    size_t used = (size_t)sprintf(scores, "{");
    for (unsigned i = 0; i < count; i++)
        used += (size_t)sprintf(scores + used, "%s\"%x\":1", i > 0 ? "," : "", i);
    sprintf(scores + used, "}");
}

Test(submission, takes_512_scores_and_refuses_513)
{
    char *scores = malloc(BODY_BYTES_MAX);
    cr_assert_not_null(scores);
    write_scores(scores, 512);
    assert_accepted(parse_scores(scores));
    cr_assert_eq(submission->score_count, 512);
    assert_string(submission->scores[511].item, "1ff");
    write_scores(scores, 513);
    assert_refused(parse_scores(scores), "/scores", "scores has at most 512 items; this has 513");
    write_scores(scores, 5000);
    assert_refused(parse_scores(scores), "/scores", "scores has at most 512 items; this has 5000");
    free(scores);
}

/* ---- Memory ---- */

Test(submission, strings_point_into_the_body_unless_they_were_escaped)
{
    assert_accepted(parse_with(",\"visit\":\"WEEK 2\",\"reason\":\"a\\tb\""));
    cr_assert(is_in_body(submission->patient_id));
    cr_assert(is_in_body(submission->visit));
    cr_assert_not(is_in_body(submission->reason));
    assert_string(submission->reason, "a\tb");
}

/* Each of these needs the most of one kind of arena memory for its size; parse_text gives exactly
 * what was promised, and the engine stops if that is too little. */
Test(submission, the_promised_arena_bytes_suffice_for_many_tiny_scores)
{
    for (unsigned count = 0; count <= 512; count++) {
        char scores[8192];
        write_scores(scores, count);
        assert_accepted(parse_scores(scores));
        cr_assert_eq(submission->score_count, count);
    }
}

Test(submission, the_promised_arena_bytes_suffice_for_the_shortest_scores)
{
    size_t used = (size_t)sprintf(text, "{\"patientId\":\"P\",\"timestamp\":0,\"scores\":{\" \":1");
    uint32_t count = 1;
    for (char name = '!'; name <= '~'; name++) {
        if (name == '"' || name == '\\')
            continue;
        used += (size_t)sprintf(text + used, ",\"%c\":1", name);
        memcpy(text + used, "}}", 2);
        count++;
        assert_accepted(parse_text(used + 2));
        cr_assert_eq(submission->score_count, count);
    }
}

Test(submission, the_promised_arena_bytes_suffice_where_every_string_is_escaped)
{
    for (unsigned count = 1; count <= 512; count++) {
        size_t used = (size_t)sprintf(text,
                                      "{\"patientId\":\"\\nP\",\"visit\":\"\\n%s\","
                                      "\"timestamp\":0,\"scores\":{",
                                      xs(count % 8));
        for (unsigned i = 0; i < count; i++)
            used += (size_t)sprintf(text + used, "%s\"\\n%x\":\"\\n%s\"", i > 0 ? "," : "", i,
                                    xs(count % 64));
        used += (size_t)sprintf(text + used, "},\"reason\":\"\\t%s\"}", xs(count));
        assert_accepted(parse_text(used));
        cr_assert_eq(submission->score_count, count);
        assert_string(submission->patient_id, "\nP");
        cr_assert(submission->scores[count - 1].item.data[0] == '\n');
        cr_assert_eq(submission->reason.bytes, count + 1);
    }
}

Test(submission, asks_for_no_more_arena_than_the_limits_allow)
{
    size_t most_bytes = sizeof(struct record_submission) + 64 +
                        RECORD_SCORE_COUNT_MAX * sizeof(struct record_score);
    cr_assert_leq(record_submission_arena_bytes(100000), most_bytes + 100000);
    cr_assert_geq(record_submission_arena_bytes(0), sizeof(struct record_submission));
}

/* ---- Bodies that are not JSON ---- */

Test(submission, malformed_says_what_and_where)
{
    struct record_json_fault fault = {RECORD_JSON_NUMBER_FORM, 12};
    record_submission_malformed(&fault, &problem);
    cr_assert_eq(problem.kind, BASE_PROBLEM_MALFORMED_JSON);
    cr_assert_str_eq(problem.pointer, "");
    cr_assert_str_eq(problem.detail, "a malformed number at byte 12 of the body; send one JSON "
                                     "object in UTF-8 (RFC 8259)");
}

Test(submission, no_detail_is_cut)
{
    for (int error = RECORD_JSON_EMPTY; error < RECORD_JSON_ERROR_COUNT; error++) {
        struct record_json_fault fault = {(enum record_json_error)error, UINT32_MAX};
        record_submission_malformed(&fault, &problem);
        size_t length = strlen(problem.detail);
        cr_assert_lt(length, BASE_PROBLEM_DETAIL_BYTES - 1);
        cr_assert_eq(problem.detail[length - 1], ')');
    }
}
