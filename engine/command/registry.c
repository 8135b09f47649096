/* `sluice registry check`: what trial staff runs before a registry goes to the engine. */
#include "record/registry.h"
#include "command/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT(text) (int)(text).bytes, (text).data

static void print_instrument(const struct record_registry_instrument *instrument)
{
    for (uint32_t i = 0; i < instrument->version_count; i++) {
        const struct record_registry_version *version = &instrument->versions[i];
        printf("instrument \"%.*s\" version \"%.*s\": %" PRIu32 " items, %" PRIu32 " required\n",
               TEXT(instrument->id), TEXT(version->id), version->item_count,
               version->required_count);
    }
}

static void print_study(const struct record_registry_study *study)
{
    printf("study \"%.*s\" version \"%.*s\": %" PRIu32 " centres, %" PRIu64
           " patients planned, %" PRIu32 " instruments\n",
           TEXT(study->id), TEXT(study->label), study->center_count, study->planned,
           study->use_count);
    for (uint32_t i = 0; i < study->use_count; i++) {
        const struct record_registry_use *use = &study->uses[i];
        printf("  \"%.*s\": %" PRIu32 " versions, %" PRIu32 " windows\n", TEXT(use->id),
               use->version_count, use->window_count);
    }
}

int command_registry(int argc, char **argv)
{
    struct record_registry *registry;
    struct base_error error = {.code = 0};
    if (argc != 3 || strcmp(argv[1], "check") != 0) {
        fprintf(stderr, "usage: sluice registry check PATH\n");
        return EX_USAGE;
    }
    if (record_registry_load(argv[2], &registry, &error) < 0) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return COMMAND_EXIT_NO;
    }
    printf("registry %.*s: %" PRIu32 " files, %" PRIu32 " studies, %" PRIu32 " instruments\n",
           TEXT(registry->version), registry->file_count, registry->study_count,
           registry->instrument_count);
    for (uint32_t i = 0; i < registry->study_count; i++)
        print_study(&registry->studies[i]);
    for (uint32_t i = 0; i < registry->instrument_count; i++)
        print_instrument(&registry->instruments[i]);
    record_registry_destroy(registry);
    return COMMAND_EXIT_DONE;
}
