/* Registries as files and as text: what is taken, what every fault is called and where, the limits,
 * and lookups. */
#include "base/checksum.h"
#include "record/registry.h"
#include "test_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct record_registry *registry;
static struct base_error error;
static char *text; /* where tests compose files */
static size_t text_bytes;
static FILE *out;
static char directory[TEST_PATH_BYTES];

static void set_up(void)
{
    out = open_memstream(&text, &text_bytes);
    cr_assert_not_null(out);
}

static void tear_down(void)
{
    record_registry_destroy(registry);
    registry = NULL;
    fclose(out);
    free(text);
    if (directory[0] != '\0')
        test_directory_remove(directory);
}

TestSuite(registry, .init = set_up, .fini = tear_down);

static int build_bytes(const char *yaml, size_t bytes)
{
    struct record_registry_source source = {"f.yaml", yaml, bytes};
    record_registry_destroy(registry);
    registry = NULL;
    error.text[0] = '\0';
    return record_registry_build(&source, 1, &registry, &error);
}

static int build(const char *yaml)
{
    return build_bytes(yaml, strlen(yaml));
}

/* What was composed; composing begins anew behind it. */
static int build_composed(void)
{
    fflush(out);
    int result = build_bytes(text, text_bytes);
    rewind(out);
    return result;
}

static struct record_text text_of(const char *string)
{
    return (struct record_text){string, (uint32_t)strlen(string)};
}

static bool is(struct record_text found, const char *expected)
{
    return found.bytes == strlen(expected) && memcmp(found.data, expected, found.bytes) == 0;
}

#define INSTRUMENT                                                                                 \
    "instrument: I\n"                                                                              \
    "versions:\n"                                                                                  \
    "  - version: \"1\"\n"                                                                         \
    "    items:\n"                                                                                 \
    "      - {id: A, type: integer, min: 0, max: 3, required: true}\n"                             \
    "      - {id: B, type: text}\n"
#define STUDY                                                                                      \
    "study: S\n"                                                                                   \
    "version: v7\n"                                                                                \
    "centers:\n"                                                                                   \
    "  - {id: C1, planned_enrolment: 5}\n"                                                         \
    "instruments:\n"                                                                               \
    "  - instrument: I\n"
#define NEXT "---\n"

/* ---- What is taken ---- */

Test(registry, everything_that_a_study_may_have)
{
    cr_assert_eq(
        build("# a study may stand before what it uses\n"
              "study: S\n"
              "version: \"2026-03\"\n"
              "utc_offset: +01:00\n"
              "centers:\n"
              "  - {id: \"701\", planned_enrolment: 40, name: Nørth Clinic}\n"
              "  - {id: 702, planned_enrolment: 0, utc_offset: \"-03:30\"}\n"
              "  - {id: C3, planned_enrolment: 2, utc_offset: Z}\n"
              "instruments:\n"
              "  - instrument: I\n"
              "    versions: [\"2\"]\n"
              "    windows:\n"
              "      - {from: \"18:00\", to: \"26:00\", late_minutes_max: 30}\n"
              "      - {from: 00:00, to: 24:00}\n"
              "  - instrument: J\n"
              "clock: {skew_s_max: 1, future_s_max: 86400}\n" NEXT "instrument: I\n"
              "versions:\n"
              "  - {version: 1, items: [{id: A, type: text}]}\n"
              "  - version: 2\n"
              "    items:\n"
              "      - {id: A, type: number, min: -0.5, max: 1e3, required: true}\n"
              "      - {id: B, type: choice, choices: [0, 1.5, \"2\", yes], required: false}\n"
              "      - {id: C, type: text, required: true}\n" NEXT "instrument: J\n"
              "versions: [{version: x, items: [{id: Z, type: integer, min: 1, max: 1}]}]\n"),
        0, "%s", error.text);
    cr_assert(registry->study_count == 1 && registry->instrument_count == 2);
    const struct record_registry_study *study = record_registry_study(registry, text_of("S"));
    cr_assert_not_null(study);
    cr_assert(is(study->label, "2026-03") && study->planned == 42);
    cr_assert(study->skew_ns == 1000000000 && study->future_ns == INT64_C(86400000000000));
    const struct record_registry_center *center = record_registry_center(study, text_of("701"));
    cr_assert(is(center->name, "Nørth Clinic") && center->planned == 40);
    cr_assert(center->offset_known && center->offset_minutes == 60);
    cr_assert_eq(record_registry_center(study, text_of("702"))->offset_minutes, -210);
    center = record_registry_center(study, text_of("C3"));
    cr_assert(center->offset_known && center->offset_minutes == 0);
    cr_assert_null(record_registry_center(study, text_of("C4")));
    const struct record_registry_use *use = record_registry_use(study, text_of("I"));
    cr_assert_eq(use->window_count, 2);
    cr_assert_eq(use->windows[0].from_ns, 18 * INT64_C(3600000000000));
    cr_assert_eq(use->windows[0].length_ns, 510 * INT64_C(60000000000));
    cr_assert_eq(use->windows[1].length_ns, 1440 * INT64_C(60000000000));
    cr_assert_null(record_registry_version(use, text_of("1")), "the study does not take it");
    const struct record_registry_version *version = record_registry_version(use, text_of("2"));
    cr_assert(version->item_count == 3 && version->required_count == 2 &&
              version->required[0] == 5);
    const struct record_registry_item *item = record_registry_item(version, text_of("A"), 2);
    cr_assert(item->min_millionths == -500000 && item->max_millionths == 1000000000);
    item = record_registry_item(version, text_of("B"), 1);
    cr_assert(item->choice_count == 4 && item->number_choices && item->text_choices);
    cr_assert(item->choices[1].text.data == NULL && item->choices[1].millionths == 1500000);
    cr_assert(is(item->choices[2].text, "2") && is(item->choices[3].text, "yes"));
    cr_assert_eq(record_registry_use(study, text_of("J"))->version_count, 1);
}

Test(registry, clock_limits_and_offsets_have_defaults)
{
    cr_assert_eq(build(INSTRUMENT NEXT STUDY), 0, "%s", error.text);
    const struct record_registry_study *study = registry->studies;
    cr_assert_eq(study->skew_ns, INT64_C(60000000000));
    cr_assert_eq(study->future_ns, INT64_C(300000000000));
    cr_assert_not(study->centers[0].offset_known);
    cr_assert_eq(build(INSTRUMENT NEXT STUDY "clock: {future_s_max: 60}\n"), 0, "%s", error.text);
}

/* SHA-256 over the bytes, as sha256sum prints it for this file. */
Test(registry, the_version_is_the_digest_and_the_studys_own)
{
    cr_assert_eq(build(INSTRUMENT NEXT STUDY), 0, "%s", error.text);
    uint8_t digest[SEGMENT_HASH_BYTES];
    char expected[32];
    base_sha256_of(INSTRUMENT NEXT STUDY, sizeof(INSTRUMENT NEXT STUDY) - 1, digest);
    for (int i = 0; i < 8; i++)
        snprintf(expected + 2 * i, 3, "%02x", digest[i]);
    cr_assert(is(registry->version, expected), "%.16s", registry->version.data);
    strcat(expected, " v7");
    cr_assert(is(registry->studies[0].version, expected));
    cr_assert_eq(build(INSTRUMENT NEXT STUDY "# one comment more\n"), 0);
    cr_assert_not(is(registry->studies[0].version, expected));
}

/* The kernel, asked to write there, says that it may not. */
Test(registry, a_published_registry_cannot_be_written_to)
{
    cr_assert_eq(build(INSTRUMENT NEXT STUDY), 0, "%s", error.text);
    int zeros = open("/dev/zero", O_RDONLY);
    cr_assert_eq(read(zeros, registry, 1), -1);
    cr_assert_eq(errno, EFAULT);
    close(zeros);
}

/* ---- What is refused, and where ---- */

struct fault {
    const char *yaml;
    const char *place; /* line:column */
    const char *part;  /* of the message */
};

static void expect_fault(const char *yaml, const char *place, const char *part)
{
    char expected[64];
    cr_expect_lt(build(yaml), 0, "taken: %s", yaml);
    snprintf(expected, sizeof(expected), "f.yaml:%s: ", place);
    cr_expect_eq(strncmp(error.text, expected, strlen(expected)), 0, "not %s in \"%s\" for\n%s",
                 place, error.text, yaml);
    cr_expect_not_null(strstr(error.text, part), "no \"%s\" in \"%s\"", part, error.text);
}

static void expect_faults(const struct fault *faults, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_fault(faults[i].yaml, faults[i].place, faults[i].part);
}

#define EXPECT_FAULTS(faults) expect_faults(faults, sizeof(faults) / sizeof((faults)[0]))

Test(registry, faults_of_yaml_itself)
{
    static const struct fault faults[] = {
        {"study: S\n  bad: indent\n", "2:6", "not YAML"},
        {"study: [\n", "2:1", "not YAML"},
        {"study: \"x\n", "2:1", "not YAML"},
        {"study: *nowhere\n", "1:8", "not YAML"},
        {"a: 1\nb: \x01\n", "", "control character"},
        {"a: \xff\xfe\n", "", "UTF-8"},
        {"- a\n- b\n", "1:1", "neither"},
        {"text\n", "1:1", "neither"},
        {"center: S\n", "1:1", "neither"},
        {"study: &s S\nversion: *s\n", "1:1", "alias"},
        {"a: &a [*a]\n", "1:4", "alias"},
        {"study: !!str S\n", "", ""},
        {"study: !x S\n", "1:8", "tag"},
        {INSTRUMENT, "", "no study"},
        {"# nothing\n", "", "no study"},
        {"", "", "no study"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        cr_expect_lt(build(faults[i].yaml), 0, "taken: %s", faults[i].yaml);
        cr_expect_not_null(strstr(error.text, faults[i].place), "%s", error.text);
        cr_expect_not_null(strstr(error.text, faults[i].part), "%s", error.text);
        cr_expect_eq(strncmp(error.text, "f.yaml:", 7), 0, "%s", error.text);
    }
}

Test(registry, faults_of_keys)
{
    static const struct fault faults[] = {
        {"study: S\nsponsor: X\n", "2:1", "no key \"sponsor\"; it has: study, version, centers"},
        {"study: S\nversion: 1\nstudy: T\n", "3:1", "has study twice, the first on line 1"},
        {"study: S\nversion: 1\n", "1:1", "needs the key \"centers\""},
        {"study: S\n? [a]\n: 1\n", "2:3", "no such key"},
        {"study: [S]\n", "1:8", "study is a single value; this is a list"},
        {"study: S\nversion: 1\ncenters: 1\n", "3:10", "centers is a list; this is a single"},
        {"study: S\nclock: 5\n", "2:8", "clock is a mapping"},
        {"study:\nversion: 1\n", "1:1", "needs the key \"centers\""},
        {"instrument: I\nstudy: S\n", "1:1", "no key \"instrument\""},
        {"instrument: I\nversion: 1\n", "2:1", "no key \"version\"; it has: instrument, versions"},
        {"instrument: I\nversions: []\n", "2:11", "versions is an empty list"},
        {"instrument: I\nversions: [5]\n", "2:12", "a version of an instrument is a mapping"},
        {"instrument: I\nversions: [{version: 1}]\n", "2:12", "needs the key \"items\""},
        {"instrument: I\nversions: [{version: 1, items: []}]\n", "2:32", "items is an empty list"},
        {"instrument: \"\"\nversions: []\n", "1:13", "instrument is empty"},
        {"instrument: \"a\\nb\"\nversions: []\n", "1:13", "on one line"},
    };
    EXPECT_FAULTS(faults);
}

#define ITEM(item) "instrument: I\nversions:\n  - version: 1\n    items:\n      - " item "\n"

Test(registry, faults_of_items)
{
    static const struct fault faults[] = {
        {ITEM("{type: text}"), "5:9", "an item needs the key \"id\""},
        {ITEM("{id: A}"), "5:9", "an item needs the key \"type\""},
        {ITEM("{id: A, type: float}"), "5:23", "type is integer, number, text or choice"},
        {ITEM("{id: A, type: text, label: x}"), "5:29", "no key \"label\""},
        {ITEM("{id: A, type: integer}"), "5:9", "needs min and max"},
        {ITEM("{id: A, type: integer, min: 0}"), "5:9", "needs min and max"},
        {ITEM("{id: A, type: number, max: 0}"), "5:9", "needs min and max"},
        {ITEM("{id: A, type: integer, min: 4, max: 3}"), "5:37", "min is above max (line 5)"},
        {ITEM("{id: A, type: integer, min: 0.5, max: 3}"), "5:37", "has no fraction"},
        {ITEM("{id: A, type: integer, min: 0, max: 3.25}"), "5:45", "has no fraction"},
        {ITEM("{id: A, type: number, min: x, max: 3}"), "5:36", "min is a number"},
        {ITEM("{id: A, type: number, min: \"0\", max: 3}"), "5:36", "without quotes"},
        {ITEM("{id: A, type: number, min: 0, max: 0x10}"), "5:44", "max is a number"},
        {ITEM("{id: A, type: number, min: 0, max: .5}"), "5:44", "max is a number"},
        {ITEM("{id: A, type: number, min: 0, max: 1000000000.1}"), "5:44", "1000000000"},
        {ITEM("{id: A, type: number, min: -1e10, max: 1}"), "5:36", "-1000000000"},
        {ITEM("{id: A, type: number, min: 0, max: 0.1234567}"), "5:44", "round it"},
        {ITEM("{id: A, type: number, min: 0, max: 1, choices: [1]}"), "5:56", "type choice"},
        {ITEM("{id: A, type: text, min: 0}"), "5:34", "has min and max"},
        {ITEM("{id: A, type: text, max: 0}"), "5:34", "has min and max"},
        {ITEM("{id: A, type: text, choices: [1]}"), "5:38", "type choice"},
        {ITEM("{id: A, type: choice}"), "5:9", "needs choices"},
        {ITEM("{id: A, type: choice, choices: []}"), "5:40", "empty list"},
        {ITEM("{id: A, type: choice, choices: 1}"), "5:40", "is a list"},
        {ITEM("{id: A, type: choice, choices: [1], min: 0}"), "5:50", "has min and max"},
        {ITEM("{id: A, type: choice, choices: [0, 1, 1.0]}"), "5:47", "stands twice"},
        {ITEM("{id: A, type: choice, choices: [a, \"1\", a]}"), "5:49", "stands twice"},
        {ITEM("{id: A, type: choice, choices: [[1]]}"), "5:41", "a choice is a single value"},
        {ITEM("{id: A, type: choice, choices: [\"\"]}"), "5:41", "a choice is empty"},
        {ITEM("{id: A, type: text, required: yes}"), "5:39", "true or false; this is \"yes\""},
        {ITEM("{id: A, type: text, required: \"true\"}"), "5:39", "true or false"},
        {ITEM("{id: A, type: text}\n      - {id: A, type: text}"), "6:9",
         "the item \"A\" stands twice, first on line 5"},
        {ITEM("{id: A, type: text}\n  - {version: 1, items: [{id: A, type: text}]}"), "6:5",
         "the version \"1\" stands twice, first on line 3"},
        {INSTRUMENT NEXT INSTRUMENT, "8:13", "defined already, at f.yaml:1"},
    };
    EXPECT_FAULTS(faults);
}

#define CENTERS(centers)                                                                           \
    INSTRUMENT NEXT "study: S\nversion: 1\ninstruments: [instrument: I]\ncenters: " centers "\n"
#define WINDOW(window)                                                                             \
    INSTRUMENT NEXT "study: S\nversion: 1\ncenters: [{id: C, planned_enrolment: 1}]\n"             \
                    "instruments:\n  - instrument: I\n    windows:\n      - " window "\n"
#define USE(use)                                                                                   \
    INSTRUMENT NEXT "study: S\nversion: 1\ncenters: [{id: C, planned_enrolment: 1}]\n"             \
                    "instruments:\n  - " use "\n"

Test(registry, faults_of_studies)
{
    static const struct fault faults[] = {
        {CENTERS("[]"), "11:10", "centers is an empty list"},
        {CENTERS("[{id: C}]"), "11:11", "needs the key \"planned_enrolment\""},
        {CENTERS("[{id: C, planned_enrolment: many}]"), "11:38", "whole number"},
        {CENTERS("[{id: C, planned_enrolment: \"1\"}]"), "11:38", "whole number"},
        {CENTERS("[{id: C, planned_enrolment: -1}]"), "11:38", "0 to 1000000"},
        {CENTERS("[{id: C, planned_enrolment: 1000001}]"), "11:38", "0 to 1000000"},
        {CENTERS("[{id: C, planned_enrolment: 99999999999999999999}]"), "11:38", "0 to 1000000"},
        {CENTERS("[{id: C, planned_enrolment: 1},\n  {id: C, planned_enrolment: 2}]"), "12:3",
         "the centre \"C\" stands twice, first on line 11"},
        {CENTERS("[{id: C, planned_enrolment: 1, utc_offset: Europe/Berlin}]"), "11:53",
         "names of time zones are not taken"},
        {CENTERS("[{id: C, planned_enrolment: 1, utc_offset: \"+14:01\"}]"), "11:53", "+14:00"},
        {CENTERS("[{id: C, planned_enrolment: 1, utc_offset: \"+1:00\"}]"), "11:53", "+14:00"},
        {CENTERS("[{id: C, planned_enrolment: 1, utc_offset: \"01:00\"}]"), "11:53", "+14:00"},
        {CENTERS("[{id: C, planned_enrolment: 1, utc_offset: \"+01:60\"}]"), "11:53", "+14:00"},
        {USE("instrument: X"), "12:17", "no file defines the instrument \"X\""},
        {USE("instrument: I\n    versions: [1, 2]"), "13:19", "has no version \"2\""},
        {USE("instrument: I\n    versions: [1, 1]"), "13:19", "stands twice"},
        {USE("instrument: I\n    versions: []"), "13:15", "empty list"},
        {USE("instrument: I\n  - instrument: I"), "13:5", "stands twice, first on line 12"},
        {USE("instrument: I\n    version: 1"), "13:5", "no key \"version\""},
        {WINDOW("{from: \"18:00\"}"), "14:9", "needs the key \"to\""},
        {WINDOW("{from: \"18:00\", to: \"18:00\"}"), "14:29", "ends before it starts"},
        {WINDOW("{from: \"18:00\", to: \"02:00\"}"), "14:29", "like \"26:00\" for 02:00"},
        {WINDOW("{from: \"24:00\", to: \"25:00\"}"), "14:16", "from is at most 23:59"},
        {WINDOW("{from: \"18:00\", to: \"48:01\"}"), "14:29", "to is at most 48:00"},
        {WINDOW("{from: \"18:60\", to: \"20:00\"}"), "14:16", "from is a time of day"},
        {WINDOW("{from: 6pm, to: \"20:00\"}"), "14:16", "from is a time of day"},
        {WINDOW("{from: \"8:00\", to: \"20:00\"}"), "14:16", "from is a time of day"},
        {WINDOW("{from: \"18:00\", to: \"42:01\"}"), "14:9", "longer than a day"},
        {WINDOW("{from: \"18:00\", to: \"42:00\", late_minutes_max: 1}"), "14:9",
         "longer than a day"},
        {WINDOW("{from: \"18:00\", to: \"19:00\", late_minutes_max: -1}"), "14:56", "0 to 1440"},
        {INSTRUMENT NEXT STUDY "clock: {skew_s_max: 301}\n", "14:8", "skew_s_max is 301"},
        {INSTRUMENT NEXT STUDY "clock: {future_s_max: 86401}\n", "14:23", "0 to 86400"},
        {INSTRUMENT NEXT STUDY "clock: {skew_s_max: 1 s}\n", "14:21", "whole number"},
        {INSTRUMENT NEXT STUDY "clock: {zone: UTC}\n", "14:9", "no key \"zone\""},
        {INSTRUMENT NEXT STUDY NEXT STUDY, "15:8", "defined already, at f.yaml:8"},
    };
    EXPECT_FAULTS(faults);
}

Test(registry, a_fault_in_one_of_many_files_names_that_file)
{
    static const char broken[] = "study: T\nversion: 1\ncenters: [{id: C, planned_enrolment: 1}]\n"
                                 "instruments: [instrument: J]\n";
    struct record_registry_source sources[] = {
        {"a.yaml", STUDY, sizeof(STUDY) - 1},
        {"b.yaml", broken, sizeof(broken) - 1},
        {"c.yaml", INSTRUMENT, sizeof(INSTRUMENT) - 1},
        {"d.yaml", INSTRUMENT, sizeof(INSTRUMENT) - 1},
    };
    cr_assert_lt(record_registry_build(sources, 3, &registry, &error), 0);
    cr_assert_eq(strncmp(error.text, "b.yaml:4:27: ", 13), 0, "%s", error.text);
    cr_assert_lt(record_registry_build(sources, 4, &registry, &error), 0);
    cr_assert_eq(strncmp(error.text, "d.yaml:1:13: ", 13), 0, "%s", error.text);
    cr_assert_not_null(strstr(error.text, "at c.yaml:1"), "%s", error.text);
}

/* ---- Limits ---- */

static const char *letters(size_t count)
{
    static char memory[2048];
    memset(memory, 'x', count);
    memory[count] = '\0';
    return memory;
}

/* Each text at its limit and one byte beyond; %s is where it goes. */
Test(registry, texts_have_limits)
{
    static const struct {
        const char *before, *behind;
        size_t bytes_max;
    } cases[] = {
        {"instrument: ",
         "\nversions: [{version: 1, items: [{id: A, type: text}]}]\n" NEXT INSTRUMENT NEXT STUDY,
         256},
        {"instrument: K\nversions: [{items: [{id: A, type: text}], version: ",
         "}]\n" NEXT INSTRUMENT NEXT STUDY, 128},
        {"instrument: K\nversions: [{version: 1, items: [{type: text, id: ",
         "}]}]\n" NEXT INSTRUMENT NEXT STUDY, 64},
        {"instrument: K\nversions: [{version: 1, items: [{id: A, type: choice, choices: [",
         "]}]}]\n" NEXT INSTRUMENT NEXT STUDY, 256},
        {INSTRUMENT NEXT "version: 1\ncenters: [{id: C, planned_enrolment: 1}]\n"
                         "instruments: [instrument: I]\nstudy: ",
         "\n", 128},
        {INSTRUMENT NEXT "study: S\ncenters: [{id: C, planned_enrolment: 1}]\n"
                         "instruments: [instrument: I]\nversion: ",
         "\n", 40},
        {CENTERS("[{planned_enrolment: 1, id: "), "}]\n", 128},
        {CENTERS("[{planned_enrolment: 1, id: A, name: "), "}]\n", 256},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t beyond = 0; beyond <= 1; beyond++) {
            size_t bytes = cases[i].bytes_max + beyond;
            fprintf(out, "%s%s%s", cases[i].before, letters(bytes), cases[i].behind);
            fflush(out);
            int result = build_composed();
            cr_assert_eq(result < 0, beyond == 1, "case %zu: %s", i, error.text);
            char expected[64];
            snprintf(expected, sizeof(expected), "at most %zu are taken", cases[i].bytes_max);
            cr_assert(beyond == 0 || strstr(error.text, expected) != NULL, "%s", error.text);
        }
}

enum list { STUDIES, LIST_CENTERS, INSTRUMENTS, VERSIONS, ITEMS, CHOICES, WINDOWS };

/* A registry with `count` of one thing and one of everything else. */
static void compose(enum list list, unsigned count)
{
    unsigned counts[] = {1, 1, 1, 1, 1, 1, 1};
    counts[list] = count;
    for (unsigned i = 0; i < counts[INSTRUMENTS]; i++) {
        fprintf(out, "instrument: I%u\nversions:\n", i);
        for (unsigned j = 0; j < counts[VERSIONS]; j++) {
            fprintf(out, "  - version: %u\n    items:\n", j);
            for (unsigned k = 0; k < counts[ITEMS]; k++) {
                fprintf(out, "    - {id: Q%u, type: choice, required: true, choices: [", k);
                for (unsigned l = 0; l < counts[CHOICES]; l++)
                    fprintf(out, "%u, ", l);
                fprintf(out, "]}\n");
            }
        }
        fprintf(out, "---\n");
    }
    for (unsigned i = 0; i < counts[STUDIES]; i++) {
        fprintf(out, "study: S%u\nversion: 1\ncenters:\n", i);
        for (unsigned j = 0; j < counts[LIST_CENTERS]; j++)
            fprintf(out, "  - {id: C%u, planned_enrolment: %u}\n", j, j);
        fprintf(out, "instruments:\n");
        for (unsigned j = 0; j < counts[INSTRUMENTS]; j++) {
            fprintf(out, "  - instrument: I%u\n    windows:\n", j);
            for (unsigned k = 0; k < counts[WINDOWS]; k++)
                fprintf(out, "      - {from: \"%02u:00\", to: \"%02u:30\"}\n", k, k);
        }
        fprintf(out, "---\n");
    }
}

Test(registry, lists_have_limits)
{
    static const unsigned maxima[] = {64, 4096, 256, 16, 512, 64, 8};
    for (unsigned list = STUDIES; list <= WINDOWS; list++)
        for (unsigned beyond = 0; beyond <= 1; beyond++) {
            compose((enum list)list, maxima[list] + beyond);
            int result = build_composed();
            cr_assert_eq(result < 0, beyond == 1, "list %u: %s", list, error.text);
            cr_assert(beyond == 0 || (strncmp(error.text, "f.yaml:", 7) == 0 &&
                                      strchr("0123456789", error.text[7]) != NULL),
                      "%s", error.text);
        }
}

Test(registry, files_have_limits)
{
    struct record_registry_source *sources = calloc(257, sizeof(*sources));
    for (size_t i = 0; i < 257; i++)
        sources[i] = (struct record_registry_source){"f.yaml", "# nothing\n", 10};
    sources[0] = (struct record_registry_source){"a.yaml", INSTRUMENT, sizeof(INSTRUMENT) - 1};
    sources[1] = (struct record_registry_source){"b.yaml", STUDY, sizeof(STUDY) - 1};
    cr_assert_lt(record_registry_build(sources, 257, &registry, &error), 0);
    cr_assert_not_null(strstr(error.text, "more than 256 files"), "%s", error.text);
    cr_assert_eq(record_registry_build(sources, 256, &registry, &error), 0, "%s", error.text);
    free(sources);
}

/* A comment fills the file up to its limit; the total is the sum of four such files. */
Test(registry, bytes_have_limits)
{
    char *large = malloc(1048577);
    memset(large, '#', 1048577);
    struct record_registry_source sources[] = {
        {"1.yaml", large, 1048576},
        {"2.yaml", large, 1048576},
        {"3.yaml", large, 1048576},
        {"4.yaml", large, 1048576 - sizeof(INSTRUMENT NEXT STUDY) + 1},
        {"5.yaml", INSTRUMENT NEXT STUDY, sizeof(INSTRUMENT NEXT STUDY) - 1},
    };
    cr_assert_eq(record_registry_build(sources, 5, &registry, &error), 0, "%s", error.text);
    record_registry_destroy(registry);
    registry = NULL;
    sources[3].bytes++;
    cr_assert_lt(record_registry_build(sources, 5, &registry, &error), 0);
    cr_assert_not_null(strstr(error.text, "5.yaml: with this file"), "%s", error.text);
    sources[0].bytes++;
    cr_assert_lt(record_registry_build(sources, 5, &registry, &error), 0);
    cr_assert_not_null(strstr(error.text, "1.yaml: the file is larger"), "%s", error.text);
    free(large);
}

/* ---- Lookups ---- */

Test(registry, every_one_of_4096_centres_is_found_and_no_other)
{
    char id[32];
    compose(LIST_CENTERS, 4096);
    cr_assert_eq(build_composed(), 0, "%s", error.text);
    const struct record_registry_study *study = registry->studies;
    cr_assert_eq(study->planned, 4096u * 4095 / 2);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "C%u", i);
        const struct record_registry_center *center = record_registry_center(study, text_of(id));
        cr_assert_eq(center == NULL ? UINT32_MAX : center->planned, i < 4096 ? i : UINT32_MAX);
        snprintf(id, sizeof(id), "c%u", i);
        cr_assert_null(record_registry_center(study, text_of(id)));
    }
    cr_assert_null(record_registry_center(study, (struct record_text){NULL, 0}));
    cr_assert_null(record_registry_center(study, (struct record_text){"", 0}));
}

/* The longest run of taken slots: no search takes longer. With half of the slots taken at random it
 * is some 10 times the logarithm of their number. */
static unsigned longest_run(const struct record_registry_table *table)
{
    unsigned longest = 0, run = 0;
    for (uint32_t i = 0; i <= 2 * table->mask; i++) {
        run = table->slots[i & table->mask] != 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

/* Ids that differ in one place only, as they do: in front, in the middle, behind. */
Test(registry, tables_spread_the_ids_that_people_choose)
{
    static const char *const forms[] = {"%u",
                                        "C%u",
                                        "%04u",
                                        "%u-center",
                                        "NPITM%03uS",
                                        "ABC-123-%05u",
                                        "PROCTCAE_%u_SCL",
                                        "a rather long name, number %u of many"};
    static const struct {
        unsigned count, run_max;
    } sizes[] = {{33, 25}, {61, 30}, {512, 60}, {4096, 120}};
    for (size_t form = 0; form < sizeof(forms) / sizeof(forms[0]); form++)
        for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
            fprintf(out, INSTRUMENT NEXT "study: S\nversion: 1\ninstruments: [instrument: I]\n"
                                         "centers:\n");
            for (unsigned i = 0; i < sizes[size].count; i++) {
                fprintf(out, "  - {planned_enrolment: 1, id: \"");
                fprintf(out, forms[form], i); /* a literal, above */
                fprintf(out, "\"}\n");
            }
            cr_assert_eq(build_composed(), 0, "%s", error.text);
            unsigned run = longest_run(&registry->studies[0].center_table);
            cr_expect_lt(run, sizes[size].run_max, "%u of %u for %s", run, sizes[size].count,
                         forms[form]);
        }
}

Test(registry, items_are_found_whatever_the_hint)
{
    char id[32];
    compose(ITEMS, 512);
    cr_assert_eq(build_composed(), 0, "%s", error.text);
    const struct record_registry_version *version = registry->instruments[0].versions;
    for (unsigned i = 0; i < 600; i++)
        for (unsigned hint = 0; hint < 600; hint += 37) {
            snprintf(id, sizeof(id), "Q%u", i);
            const struct record_registry_item *item =
                record_registry_item(version, text_of(id), hint);
            cr_assert_eq(item, i < 512 ? &version->items[i] : NULL);
        }
    cr_assert_eq(record_registry_item(version, text_of("Q7"), UINT32_MAX), &version->items[7]);
    for (unsigned word = 0; word < RECORD_REGISTRY_ITEM_WORDS; word++)
        cr_assert_eq(version->required[word], UINT64_MAX);
}

/* ---- Files ---- */

static void store(const char *name, const char *content)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s/%s", directory, name);
    test_file_store(path, content, strlen(content));
}

static int load(const char *name)
{
    char path[TEST_PATH_BYTES];
    test_path(path, "%s%s", directory, name);
    record_registry_destroy(registry);
    registry = NULL;
    return record_registry_load(path, &registry, &error);
}

Test(registry, a_directory_is_read_in_the_order_of_names)
{
    test_directory_make(directory);
    cr_assert_lt(load(""), 0);
    cr_assert_not_null(strstr(error.text, "no file NAME.yaml"), "%s", error.text);
    store("b.yaml", STUDY);
    store("a.yaml", INSTRUMENT "---\n");
    store(".hidden.yaml", "not: read\n");
    store("README.md", "not read\n");
    cr_assert_eq(load(""), 0, "%s", error.text);
    cr_assert_eq(registry->file_count, 2);
    struct record_text version = registry->version;
    char digits[17];
    snprintf(digits, sizeof(digits), "%.16s", version.data);
    cr_assert_eq(build(INSTRUMENT NEXT STUDY), 0, "%s", error.text);
    cr_assert(is(registry->version, digits), "what cat *.yaml | sha256sum prints");
    store("c.yml", STUDY);
    cr_assert_lt(load(""), 0);
    cr_assert_not_null(strstr(error.text, "c.yml: only files NAME.yaml are taken"), "%s",
                       error.text);
}

Test(registry, a_file_by_itself)
{
    test_directory_make(directory);
    store("r.yaml", INSTRUMENT NEXT STUDY);
    cr_assert_eq(load("/r.yaml"), 0, "%s", error.text);
    store("r.yaml", INSTRUMENT NEXT STUDY "extra: 1\n");
    cr_assert_lt(load("/r.yaml"), 0);
    cr_assert_not_null(strstr(error.text, "/r.yaml:14:1: "), "%s", error.text);
    cr_assert_lt(load("/nothing.yaml"), 0);
    cr_assert_not_null(strstr(error.text, "/nothing.yaml: cannot open the registry: No such"), "%s",
                       error.text);
}

Test(registry, loading_leaves_no_descriptor_open)
{
    test_directory_make(directory);
    store("a.yaml", INSTRUMENT);
    store("b.yaml", STUDY);
    size_t before = test_descriptor_count();
    cr_assert_eq(load(""), 0, "%s", error.text);
    store("b.yaml", "broken: [\n");
    cr_assert_lt(load(""), 0);
    cr_assert_eq(test_descriptor_count(), before);
}

/* docs/registry.md shows it whole, and the shipped ones are loaded as they are. */
Test(registry, the_shipped_registries_load)
{
    cr_assert_eq(record_registry_load(SOURCE_DIRECTORY "/docs/registries", &registry, &error), 0,
                 "%s", error.text);
    const struct record_registry_study *study =
        record_registry_study(registry, text_of("EXAMPLE-01"));
    cr_assert_not_null(study);
    cr_assert_not_null(record_registry_center(study, text_of("701")));
    static const struct {
        const char *id;
        unsigned items;
    } expected[] = {
        {"PHQ-9", 10}, {"EQ-5D-5L", 6}, {"EORTC QLQ-C30", 30}, {"PRO-CTCAE", 124}, {"NRS pain", 1}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        const struct record_registry_use *use = record_registry_use(study, text_of(expected[i].id));
        cr_assert_not_null(use, "%s", expected[i].id);
        cr_assert_eq(use->versions[0]->item_count, expected[i].items, "%s", expected[i].id);
    }
}

/* Every block of YAML in the page, joined, is the complete example. */
Test(registry, the_example_in_the_documentation_loads)
{
    struct test_bytes page = test_file_load(SOURCE_DIRECTORY "/docs/registry.md");
    const char *at = (const char *)page.data, *end = at + page.bytes;
    unsigned blocks = 0;
    while ((at = memmem(at, (size_t)(end - at), "```yaml\n", 8)) != NULL) {
        at += 8;
        const char *close = memmem(at, (size_t)(end - at), "```", 3);
        cr_assert_not_null(close);
        fprintf(out, "---\n%.*s", (int)(close - at), at);
        at = close + 3;
        blocks++;
    }
    test_bytes_free(&page);
    cr_assert_geq(blocks, 2u);
    cr_assert_eq(build_composed(), 0, "%s", error.text);
}
