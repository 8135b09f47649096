/* The registry loader on whatever bytes come: no crash, no leak, and what it takes is whole: every
 * lookup finds what it holds, and a submission can be checked against it. */
#include "base/check.h"
#include "record/arena.h"
#include "record/findings.h"
#include "record/registry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A submission of the study's first centre and of instrument `use`, with answers of every kind to
 * items that it has and one that it has not. */
static void check_submission(const struct record_registry *registry,
                             const struct record_registry_study *study,
                             const struct record_registry_use *use)
{
    static _Alignas(64) uint8_t memory[RECORD_FINDINGS_ARENA_BYTES + RECORD_ARENA_RED_ZONE_BYTES];
    static struct record_arena arena;
    static const struct record_text values[] = {{"1", 1}, {"-0.5e3", 6}, {"na", 2}, {"null", 4}};
    static const uint8_t types[] = {RECORD_JSON_NUMBER, RECORD_JSON_NUMBER, RECORD_JSON_STRING,
                                    RECORD_JSON_NULL};
    struct record_score scores[32];
    struct record_findings findings;
    const struct record_registry_version *version = use->versions[use->version_count - 1];
    uint32_t count = version->item_count < 31 ? version->item_count : 31;
    for (uint32_t i = 0; i < count; i++)
        scores[i] = (struct record_score){version->items[i].id, values[i % 4], types[i % 4]};
    scores[count] = (struct record_score){{"\x01\"", 2}, values[0], types[0]};
    struct record_submission submission = {
        .magic = RECORD_SUBMISSION_MAGIC,
        .study_id = study->id,
        .center_id = study->centers[0].id,
        .instrument = use->id,
        .form_version = version->id,
        .device_time_ns = INT64_C(1772391900000000000),
        .score_count = count + 1,
        .scores = scores,
    };
    if (arena.base == NULL)
        record_arena_init(&arena, memory, sizeof(memory));
    record_findings_check(registry, &submission, 0, &arena, &findings);
    CHECK(findings.count > 0 && findings.count <= RECORD_FINDING_COUNT_MAX);
    record_arena_reset(&arena);
}

static void check_study(const struct record_registry *registry,
                        const struct record_registry_study *study)
{
    CHECK(record_registry_study(registry, study->id) == study);
    CHECK(study->center_count > 0 && study->use_count > 0 && study->skew_ns <= study->future_ns);
    CHECK(study->version.bytes <= RECORD_REGISTRY_VERSION_BYTES_MAX);
    for (uint32_t i = 0; i < study->center_count; i++)
        CHECK(record_registry_center(study, study->centers[i].id) == &study->centers[i]);
    for (uint32_t i = 0; i < study->use_count; i++) {
        const struct record_registry_use *use = &study->uses[i];
        CHECK(record_registry_use(study, use->id) == use && use->version_count > 0);
        for (uint32_t j = 0; j < use->version_count; j++)
            CHECK(record_registry_version(use, use->versions[j]->id) == use->versions[j]);
        check_submission(registry, study, use);
    }
}

static void check_version(const struct record_registry_version *version)
{
    for (uint32_t i = 0; i < version->item_count; i++) {
        const struct record_registry_item *item = &version->items[i];
        CHECK(record_registry_item(version, item->id, i + 1) == item);
        CHECK(item->type > RECORD_REGISTRY_NUMBER || item->min_millionths <= item->max_millionths);
        CHECK(item->type != RECORD_REGISTRY_CHOICE || item->choice_count > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct record_registry_source source = {"fuzz.yaml", (const char *)data, bytes};
    struct record_registry *registry;
    struct base_error error = {.code = 0};
    if (record_registry_build(&source, 1, &registry, &error) < 0) {
        CHECK(error.code < 0 && strncmp(error.text, "fuzz.yaml:", 10) == 0);
        return 0;
    }
    for (uint32_t i = 0; i < registry->study_count; i++)
        check_study(registry, &registry->studies[i]);
    for (uint32_t i = 0; i < registry->instrument_count; i++)
        for (uint32_t j = 0; j < registry->instruments[i].version_count; j++)
            check_version(&registry->instruments[i].versions[j]);
    record_registry_destroy(registry);
    return 0;
}
