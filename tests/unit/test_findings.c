/* Each finding at the edge and one beyond it; order, number and size of findings; and what the
 * check leaves alone. Submissions are parsed from JSON, as the worker does. */
#include "record/findings.h"

#include "base/clock.h"
#include "record/json.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX 65536
#define RECEIVED_S     INT64_C(1772391900) /* 2026-03-01T19:05:00Z */
#define RECEIVED_NS    ((uint64_t)RECEIVED_S * NANOSECONDS_PER_SECOND)

static const char yaml[] =
    "study: S\nversion: v1\ncenters:\n"
    "  - {id: C1, planned_enrolment: 1}\n"
    "  - {id: C2, planned_enrolment: 1, utc_offset: \"-05:00\"}\n"
    "instruments:\n"
    "  - instrument: I\n"
    "  - instrument: TWO\n"
    "  - instrument: EVENING\n"
    "    windows: [{from: \"18:00\", to: \"22:00\", late_minutes_max: 30}]\n"
    "  - instrument: NIGHT\n"
    "    windows: [{from: \"22:00\", to: \"26:00\"}]\n"
    "  - instrument: TWICE\n"
    "    windows: [{from: \"06:00\", to: \"08:00\"}, {from: \"20:00\", to: \"24:00\"}]\n"
    "  - instrument: ALWAYS\n"
    "    windows: [{from: \"12:00\", to: \"36:00\"}]\n"
    "---\n"
    "instrument: I\nversions:\n  - version: 1\n    items:\n"
    "    - {id: INT, type: integer, min: -1, max: 3}\n"
    "    - {id: NUM, type: number, min: 0.5, max: 9.75}\n"
    "    - {id: TXT, type: text}\n"
    "    - {id: CHO, type: choice, choices: [0, 1, 96, \"na\", \"1\"]}\n"
    "    - {id: NCH, type: choice, choices: [0, 2.5]}\n"
    "    - {id: REQ, type: integer, min: 0, max: 3, required: true}\n"
    "    - {id: RQT, type: text, required: true}\n"
    "---\n"
    "instrument: TWO\nversions:\n"
    "  - {version: a, items: [{id: X, type: text}]}\n"
    "  - {version: b, items: [{id: Y, type: text}]}\n"
    "---\n"
    "instrument: EVENING\nversions: [{version: 1, items: [{id: X, type: text}]}]\n---\n"
    "instrument: NIGHT\nversions: [{version: 1, items: [{id: X, type: text}]}]\n---\n"
    "instrument: TWICE\nversions: [{version: 1, items: [{id: X, type: text}]}]\n---\n"
    "instrument: ALWAYS\nversions: [{version: 1, items: [{id: X, type: text}]}]\n";

static struct record_registry *registry;
static struct record_json_parser *parser;
static void *arena_memory;
static struct record_arena arena;
static struct record_findings findings;
static char found[8192]; /* as "code code:detail" */

static void set_up(void)
{
    struct record_registry_source source = {"f.yaml", yaml, sizeof(yaml) - 1};
    struct base_error error;
    cr_assert_eq(record_registry_build(&source, 1, &registry, &error), 0, "%s", error.text);
    parser = record_json_parser_create(BODY_BYTES_MAX);
    cr_assert_not_null(parser);
}

static void tear_down(void)
{
    free(arena_memory);
    record_json_parser_destroy(parser);
    record_registry_destroy(registry);
}

TestSuite(findings, .init = set_up, .fini = tear_down);

static void describe(void)
{
    size_t used = 0;
    found[0] = '\0';
    for (uint32_t i = 0; i < findings.count; i++) {
        struct record_text finding = findings.list[i];
        uint32_t code = record_finding_code_bytes(finding);
        used += (size_t)snprintf(found + used, sizeof(found) - used, "%s%.*s", i > 0 ? " " : "",
                                 (int)code, finding.data);
        if (code < finding.bytes)
            used += (size_t)snprintf(found + used, sizeof(found) - used, ":%.*s",
                                     (int)(finding.bytes - code - 1), finding.data + code + 1);
        cr_assert_leq(finding.bytes, (uint32_t)RECORD_FINDING_BYTES_MAX);
    }
}

/* In an arena of exactly the promised size. */
static const char *check(const char *json)
{
    size_t bytes = strlen(json);
    size_t room = bytes + RECORD_JSON_PADDING_BYTES + record_submission_arena_bytes(bytes) +
                  RECORD_FINDINGS_ARENA_BYTES + RECORD_ARENA_RED_ZONE_BYTES;
    struct record_json_document document;
    struct record_json_fault fault;
    struct record_submission *submission;
    struct base_problem problem;
    free(arena_memory);
    arena_memory = aligned_alloc(64, (room + 63) / 64 * 64);
    memset(arena_memory, 0, room);
    record_arena_init(&arena, arena_memory, room);
    char *body = record_arena_alloc(&arena, bytes + RECORD_JSON_PADDING_BYTES, 1);
    memcpy(body, json, bytes);
    cr_assert_eq(record_json_parse(parser, body, bytes, &document, &fault), 0, "%s", json);
    cr_assert_eq(record_submission_parse(&document, body, bytes, &arena, &submission, &problem), 0,
                 "%s", problem.detail);
    record_findings_check(registry, submission, RECEIVED_NS, &arena, &findings);
    describe();
    return found;
}

static void expect(const char *json, const char *expected)
{
    check(json);
    cr_expect_str_eq(found, expected, "\"%s\" and not \"%s\" for %s", found, expected, json);
}

/* printf-like; the last argument before the format is what is expected. */
static void expectf(const char *expected, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void expectf(const char *expected, const char *format, ...)
{
    static char json[BODY_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(json, sizeof(json), format, arguments);
    va_end(arguments);
    expect(json, expected);
}

#define PATIENT  "\"patientId\":\"P\","
#define NOW      "\"timestamp\":1772391900,"
#define IDS      "\"studyId\":\"S\",\"centerId\":\"C1\","
#define USING(i) "{" PATIENT NOW IDS "\"instrument\":\"" i "\","
#define SCORES   "\"scores\":{\"REQ\":1,\"RQT\":\"x\"}}"

/* ---- Who and what ---- */

Test(findings, a_submission_inside_the_registry_has_none)
{
    expect(USING("I") "\"formVersion\":\"1\"," SCORES, "");
    cr_assert_null(findings.list);
    expect(USING("I") SCORES, "");
}

Test(findings, unknown_ids)
{
    expect("{" PATIENT NOW "\"studyId\":\"s\",\"centerId\":\"X\",\"instrument\":\"X\"," SCORES,
           "unknown-study");
    expect("{" PATIENT NOW "\"studyId\":\"S\",\"centerId\":\"C3\",\"instrument\":\"I\"," SCORES,
           "unknown-center");
    expect("{" PATIENT NOW IDS "\"instrument\":\"i\",\"scores\":{\"Q\":1}}", "unknown-instrument");
    expect(USING("I") "\"formVersion\":\"2\",\"scores\":{\"Q\":1}}", "unknown-version");
    expect(USING("I") "\"formVersion\":\"1 \",\"scores\":{}}", "unknown-version");
    expect("{" PATIENT NOW
           "\"studyId\":\"S\",\"centerId\":\"\\u00431\",\"instrument\":\"I\"," SCORES,
           "");
}

Test(findings, ids_that_are_not_given)
{
    expect("{" PATIENT NOW "\"scores\":{}}", "unknown-study:not given");
    expect("{" PATIENT NOW "\"studyId\":null,\"scores\":{}}", "unknown-study:not given");
    expect("{" PATIENT NOW "\"studyId\":\"S\",\"scores\":{}}",
           "unknown-center:not given unknown-instrument:not given");
    expect(USING("TWO") "\"scores\":{\"Q\":1}}", "unknown-version:not given");
    expect(USING("TWO") "\"formVersion\":\"b\",\"scores\":{\"Y\":\"\",\"X\":\"\"}}",
           "unknown-item:X");
}

/* ---- Items ---- */

static void expect_item(const char *item, const char *value, const char *code)
{
    char expected[64] = "";
    if (*code != '\0')
        snprintf(expected, sizeof(expected), "%s:%s", code, item);
    expectf(expected, USING("I") "\"scores\":{\"REQ\":1,\"RQT\":\"x\",\"%s\":%s}}", item, value);
}

Test(findings, integers_at_and_beyond_their_limits)
{
    static const char *const in[] = {"-1", "0",      "3",    "3.0", "30e-1",
                                     "-0", "-1.000", "null", "\"\""};
    static const char *const outside[] = {
        "4", "-2", "1e2", "-2.0", "-1.5", "3.5", "99999999999999999999"};
    static const char *const wrong[] = {"2.5", "2.0000000000000000001", "-0.5", "\"1\"", "\"x\""};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        expect_item("INT", in[i], "");
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        expect_item("INT", outside[i], "out-of-range");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect_item("INT", wrong[i], "wrong-type");
}

Test(findings, numbers_at_and_beyond_their_limits)
{
    static const char *const in[] = {"0.5", "9.75", "975e-2", "5", "0.50000000000000000001"};
    static const char *const outside[] = {
        "0.49999999999999999999", "9.75000000000000000001", "9.750001", "0.499999", "-1", "1E400"};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        expect_item("NUM", in[i], "");
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        expect_item("NUM", outside[i], "out-of-range");
    expect_item("NUM", "\"5\"", "wrong-type");
}

Test(findings, texts_and_choices)
{
    expect_item("TXT", "\"anything, \\u00e9\"", "");
    expect_item("TXT", "1", "wrong-type");
    static const char *const in[] = {"0", "1", "96", "96.0", "\"na\"", "\"1\"", "\"n\\u0061\""};
    static const char *const outside[] = {"2", "95", "96.0001", "\"0\"", "\"NA\"", "\"na \""};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        expect_item("CHO", in[i], "");
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        expect_item("CHO", outside[i], "out-of-range");
    expect_item("NCH", "2.5", "");
    expect_item("NCH", "2", "out-of-range");
    expect_item("NCH", "\"2.5\"", "wrong-type");
}

Test(findings, unknown_and_missing_items)
{
    expect(USING("I") "\"scores\":{}}", "missing-item:REQ missing-item:RQT");
    expect(USING("I") "\"scores\":{\"REQ\":null,\"RQT\":\"\"}}",
           "missing-item:REQ missing-item:RQT");
    expect(USING("I") "\"scores\":{\"RQT\":\"x\",\"REQ\":1}}", "");
    expect(USING("I") "\"scores\":{\"req\":1,\"REQ\":\"x\",\"RQT\":\"x\",\"Z\":null}}",
           "unknown-item:req wrong-type:REQ unknown-item:Z");
}

Test(findings, stand_in_the_order_of_the_page)
{
    expect("{" PATIENT "\"timestamp\":\"2026-03-01T20:11:00+01:00\",\"studyId\":\"S\","
           "\"centerId\":\"X\",\"instrument\":\"NIGHT\",\"scores\":{\"Q\":1,\"X\":5}}",
           "unknown-center future-timestamp early unknown-item:Q wrong-type:X");
}

/* ---- Clocks ---- */

static void expect_ahead(int64_t ahead_ns, const char *expected)
{
    int64_t at_ns = (int64_t)RECEIVED_NS + ahead_ns;
    for (int known = 0; known <= 1; known++)
        expectf(known               ? expected
                : *expected != '\0' ? (strstr(expected, "future") ? "unknown-study future-timestamp"
                                                                  : "unknown-study clock-skew")
                                    : "unknown-study",
                "{" PATIENT "\"timestamp\":%lld.%09lld,\"studyId\":\"%s\",\"centerId\":\"C1\","
                "\"instrument\":\"I\"," SCORES,
                (long long)(at_ns / 1000000000), (long long)(at_ns % 1000000000),
                known ? "S" : "T");
}

Test(findings, clocks_that_are_ahead)
{
    expect_ahead(0, "");
    expect_ahead(INT64_C(60000000000), "");
    expect_ahead(INT64_C(60000000001), "clock-skew");
    expect_ahead(INT64_C(300000000000), "clock-skew");
    expect_ahead(INT64_C(300000000001), "future-timestamp");
    expect_ahead(INT64_C(7000000000) * 1000000000, "future-timestamp");
    expect_ahead(-INT64_C(300000000001), "");
    expect_ahead(-(int64_t)RECEIVED_NS, ""); /* an answer may wait on a device for any time */
}

/* ---- Windows ---- */

static void expect_time(const char *instrument, const char *timestamp, const char *expected)
{
    expectf(expected, "{" PATIENT IDS "\"timestamp\":\"%s\",\"instrument\":\"%s\",\"scores\":{}}",
            timestamp, instrument);
}

Test(findings, an_evening_window)
{
    static const struct {
        const char *time, *expected;
    } cases[] = {
        {"18:00:00", ""},
        {"17:59:59.999999999", "early"},
        {"22:00:00", ""},
        {"22:30:00", ""},
        {"22:30:00.000000001", "late"},
        {"23:59:59.999999999", "late"},
        {"00:00:00", "late"},
        {"08:15:00", "late"},            /* 9:45 since the end, 9:45 until the start */
        {"08:15:00.000000001", "early"}, /* the nearer edge */
        {"12:00:00", "early"},
    };
    static const char *const offsets[] = {"Z", "+01:00", "-05:30", "+14:00", "-12:00"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t j = 0; j < sizeof(offsets) / sizeof(offsets[0]); j++) {
            char timestamp[64];
            snprintf(timestamp, sizeof(timestamp), "2026-02-20T%s%s", cases[i].time, offsets[j]);
            expect_time("EVENING", timestamp, cases[i].expected);
        }
}

Test(findings, a_window_across_midnight)
{
    expect_time("NIGHT", "2026-02-20T21:59:59.999999999+02:00", "early");
    expect_time("NIGHT", "2026-02-20T22:00:00+02:00", "");
    expect_time("NIGHT", "2026-02-20T23:59:59.999999999+02:00", "");
    expect_time("NIGHT", "2026-02-21T00:00:00+02:00", "");
    expect_time("NIGHT", "2026-02-21T02:00:00+02:00", "");
    expect_time("NIGHT", "2026-02-21T02:00:00.000000001+02:00", "late");
    expect_time("NIGHT", "2026-02-21T12:00:00+02:00", "late");
    expect_time("NIGHT", "2026-02-21T12:00:00.000000001+02:00", "early");
}

Test(findings, two_windows_a_day)
{
    expect_time("TWICE", "2026-02-20T06:00:00Z", "");
    expect_time("TWICE", "2026-02-20T08:00:00.000000001Z", "late");
    expect_time("TWICE", "2026-02-20T14:00:00Z", "late");
    expect_time("TWICE", "2026-02-20T14:00:00.000000001Z", "early");
    expect_time("TWICE", "2026-02-20T23:59:59.999999999Z", "");
    expect_time("TWICE", "2026-02-20T00:00:00Z", ""); /* 24:00 is the last moment of the window */
    expect_time("TWICE", "2026-02-20T00:00:00.000000001Z", "late");
    expect_time("TWICE", "2026-02-20T03:00:00.000000001Z", "early");
}

Test(findings, a_window_of_a_day_is_never_missed)
{
    expect_time("ALWAYS", "2026-02-20T00:00:00Z", "");
    expect_time("ALWAYS", "2026-02-20T11:59:59.999999999Z", "");
    expect_time("ALWAYS", "2026-02-20T12:00:00Z", "");
}

/* Near 1970 local time is before it; the remainder of a negative number is not a time of day. */
Test(findings, windows_work_in_the_first_hours_of_1970)
{
    expect_time("EVENING", "1969-12-31T19:00:00-05:00", "");
    expect_time("EVENING", "1969-12-31T17:00:00-12:00", "early");
    expect_time("EVENING", "1970-01-01T14:00:00+14:00", "early");
}

Test(findings, local_time_is_the_devices_or_the_centres)
{
    static const char form[] = "{" PATIENT "\"studyId\":\"S\",\"centerId\":\"%s\",\"timestamp\":%s,"
                               "\"instrument\":\"EVENING\",\"scores\":{}}";
    /* 23:00 UTC is 18:00 at centre C2 */
    expectf("", form, "C2", "1771628400");
    expectf("early", form, "C2", "1771628399");
    expectf("", form, "C2", "\"2026-02-20T23:00:00-00:00\"");
    expectf("late", form, "C2", "\"2026-02-20T23:00:00Z\"");
    expectf("window-not-checked", form, "C1", "1771628400");
    expectf("unknown-center window-not-checked", form, "C9", "1771628400");
    expectf("late", form, "C1", "\"2026-02-20T23:00:00Z\"");
}

/* ---- Many ---- */

static void check_unknown_items(unsigned count, unsigned item_bytes, char fill)
{
    static char json[BODY_BYTES_MAX];
    size_t used =
        (size_t)snprintf(json, sizeof(json), USING("TWO") "\"formVersion\":\"a\",\"scores\":{");
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(json + used, sizeof(json) - used, "%s\"%03u", i > 0 ? "," : "", i);
        for (unsigned j = 3; j < item_bytes; j++)
            used += (size_t)snprintf(json + used, sizeof(json) - used, fill == 1 ? "\\u0001" : "%c",
                                     fill);
        used += (size_t)snprintf(json + used, sizeof(json) - used, "\":1");
    }
    snprintf(json + used, sizeof(json) - used, "}}");
    check(json);
}

static unsigned more(void)
{
    const char *at = strstr(found, "more-findings:");
    return at != NULL ? (unsigned)strtoul(at + 14, NULL, 10) : 0;
}

Test(findings, sixteen_are_listed_and_beyond_that_the_last_counts)
{
    static const struct {
        unsigned items, listed, more;
    } cases[] = {{1, 1, 0},   {15, 15, 0},  {16, 16, 0},   {17, 15, 2},
                 {18, 15, 3}, {25, 15, 10}, {512, 15, 497}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_unknown_items(cases[i].items, 10, 'x');
        cr_assert_eq(findings.count, cases[i].listed + (cases[i].more > 0));
        cr_assert_eq(more(), cases[i].more, "%s", found);
        cr_assert(strncmp(found, "unknown-item:000xxxxxxx", 23) == 0, "the first ones are kept");
    }
}

/* Long ids fill the 1,024 bytes before there are sixteen. */
Test(findings, long_item_ids_are_listed_as_far_as_there_is_room)
{
    for (unsigned bytes = 3; bytes <= RECORD_ITEM_BYTES_MAX; bytes++)
        for (unsigned count = 1; count <= 20; count++) {
            check_unknown_items(count, bytes, 'x');
            unsigned listed = findings.count - (more() > 0), needed = 13 + bytes;
            cr_assert_eq(listed + more(), count);
            cr_assert_leq(listed * needed, 1024u);
            if (more() > 0) /* one more, and the word about the rest, would not have fitted */
                cr_assert(listed == 15 || (listed + 1) * needed + 24 > 1024, "%u of %u", listed,
                          count);
        }
}

/* What is listed is the beginning: a short finding does not take the place of a long one. */
Test(findings, none_is_passed_over_for_a_later_one)
{
    static char json[4096];
    size_t used =
        (size_t)snprintf(json, sizeof(json), USING("TWO") "\"formVersion\":\"a\",\"scores\":{");
    for (int i = 0; i < 9; i++)
        used += (size_t)snprintf(json + used, sizeof(json) - used, "\"%d%0*d\":1,", i, 126, 0);
    snprintf(json + used, sizeof(json) - used, "\"short\":1}}");
    check(json);
    cr_assert_eq(findings.count, 8u); /* seven of 140 bytes, and more-findings */
    cr_assert_eq(more(), 3u);
    cr_assert_null(strstr(found, "short"), "%s", found);
}

/* Each control character takes six in the receipt. */
Test(findings, control_characters_count_as_they_are_printed)
{
    check_unknown_items(20, RECORD_ITEM_BYTES_MAX, 1);
    cr_assert_eq(findings.count, 2u); /* 13 + 3 + 125 * 6 = 766 bytes, and more-findings */
    cr_assert_eq(more(), 19u);
}

/* ---- What stays ---- */

Test(findings, the_version_is_recorded_with_every_submission)
{
    check(USING("I") SCORES);
    cr_assert_eq(findings.version.bytes, 19u);
    cr_assert_arr_eq(findings.version.data, registry->studies[0].version.data, 19);
    check("{" PATIENT NOW "\"scores\":{}}");
    cr_assert_eq(findings.version.bytes, 16u);
    cr_assert_arr_eq(findings.version.data, registry->version.data, 16);
}

/* A reload frees the registry while receipts are still to be sent. */
Test(findings, need_no_registry_once_they_are_made)
{
    check(USING("I") "\"scores\":{}}");
    static char before[sizeof(found)];
    memcpy(before, found, sizeof(found));
    record_registry_destroy(registry);
    registry = NULL;
    describe();
    cr_assert_str_eq(found, before);
    cr_assert_eq(memchr(findings.version.data, ' ', findings.version.bytes),
                 findings.version.data + 16);
}

Test(findings, codes_say_what_their_details_are)
{
    cr_assert(record_finding_names_item((struct record_text){"missing-item\0Q1", 15}));
    cr_assert_not(record_finding_names_item((struct record_text){"late", 4}));
    cr_assert_not(record_finding_names_item((struct record_text){"more-findings\0"
                                                                 "5",
                                                                 15}));
    cr_assert_not(record_finding_names_item((struct record_text){"of-a-later-version\0Q1", 21}));
}
