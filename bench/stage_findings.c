/* The check against the study registry: a form of 33 items, the usual one of the CDISC pilot, whose
 * instrument has 61. Beside the usual order: items in another order, which the hint does not help,
 * and a form that is wrong throughout. */
#include "stages.h"

#include "base/check.h"
#include "record/findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS         33
#define FORM_BYTES    4096
#define RECEIVED_AT   UINT64_C(1772391900000000000)
#define REGISTRY_SIZE 8192

struct form {
    char body[FORM_BYTES];
    struct record_json_parser *parser;
    struct record_arena arena, own_arena;
    struct record_submission *submission;
    const struct record_registry *registry;
    struct record_findings findings;
};

static struct record_registry *make_registry(void)
{
    char yaml[REGISTRY_SIZE];
    int used = snprintf(yaml, sizeof(yaml),
                        "study: CDISCPILOT01\nversion: 1\n"
                        "centers: [{id: \"701\", planned_enrolment: 41}]\n"
                        "instruments:\n  - instrument: NPI\n"
                        "    windows: [{from: \"18:00\", to: \"22:00\"}]\n"
                        "---\ninstrument: NPI\nversions:\n  - version: 1\n    items:\n");
    for (int i = 0; i < 61; i++)
        used += snprintf(yaml + used, sizeof(yaml) - (size_t)used,
                         "      - {id: NPITM%02dS, type: integer, min: 0, max: 12, required: %s}\n",
                         i, i < ITEMS ? "true" : "false");
    struct record_registry_source source = {"bench.yaml", yaml, (size_t)used};
    struct record_registry *registry;
    struct base_error error;
    CHECK(record_registry_build(&source, 1, &registry, &error) == 0);
    return registry;
}

static void init_arena(struct record_arena *arena, size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    CHECK(memory != NULL);
    memset(memory, 0, (bytes + 63) / 64 * 64);
    record_arena_init(arena, memory, bytes);
}

/* Item i stands at place i * step; `score` is every answer. */
static void make_form(struct form *form, int step, int score)
{
    struct record_json_document document;
    struct record_json_fault fault;
    struct base_problem problem;
    int used = snprintf(form->body, sizeof(form->body),
                        "{\"studyId\":\"CDISCPILOT01\",\"centerId\":\"701\",\"patientId\":\"P\","
                        "\"instrument\":\"NPI\",\"timestamp\":\"2026-03-01T20:04:00+01:00\","
                        "\"scores\":{");
    for (int i = 0; i < ITEMS; i++)
        used += snprintf(form->body + used, sizeof(form->body) - (size_t)used,
                         "%s\"NPITM%02dS\":%d", i > 0 ? "," : "", i * step % ITEMS, score);
    used += snprintf(form->body + used, sizeof(form->body) - (size_t)used, "}}");
    form->parser = record_json_parser_create(FORM_BYTES);
    CHECK(form->parser != NULL);
    init_arena(&form->arena,
               record_submission_arena_bytes((size_t)used) + RECORD_ARENA_RED_ZONE_BYTES);
    init_arena(&form->own_arena, RECORD_FINDINGS_ARENA_BYTES + RECORD_ARENA_RED_ZONE_BYTES);
    CHECK(record_json_parse(form->parser, form->body, (size_t)used, &document, &fault) == 0);
    CHECK(record_submission_parse(&document, form->body, (size_t)used, &form->arena,
                                  &form->submission, &problem) == 0);
}

static uint64_t run_check(void *context, uint64_t count)
{
    struct form *form = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        record_arena_reset(&form->own_arena);
        record_findings_check(form->registry, form->submission, RECEIVED_AT, &form->own_arena,
                              &form->findings);
        sum += form->findings.count + 1;
    }
    return sum;
}

void stage_findings(struct measure *measure)
{
    static const struct {
        const char *name;
        int step, score;
        uint32_t findings;
    } cases[] = {
        {"33 items in order, nothing found", 1, 3, 0},
        {"33 items in another order, nothing found", 2, 3, 0},
        {"33 items in order, all out of range", 1, 99, RECORD_FINDING_COUNT_MAX},
    };
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    static struct form forms[CASES];
    struct measure_side sides[CASES] = {0};
    const struct record_registry *registry = make_registry();
    for (unsigned i = 0; i < CASES; i++) {
        struct form *form = &forms[i];
        form->registry = registry;
        make_form(form, cases[i].step, cases[i].score);
        if (run_check(form, 1) != cases[i].findings + 1)
            measure_failed(measure, "findings", "the check finds something else");
        sides[i] = (struct measure_side){cases[i].name, strlen(form->body), run_check, form,
                                         .product = cases[i].findings + 1};
    }
    measure_sides(measure, "check against the registry", MEASURE_SEPARATE, sides, CASES);
    record_registry_destroy(registry);
}
