#include "record/registry_load.h"

#include "base/check.h"
#include "base/clock.h"

#include <string.h>

#define MINUTES_PER_DAY        1440
#define NANOSECONDS_PER_MINUTE (60 * (int64_t)NANOSECONDS_PER_SECOND)
#define OFFSET_MINUTES_MAX     (14 * 60) /* Line Islands; west it is -12:00 */

/* ---- Times ---- */

/* "HH:MM" at `text`, two digits each. */
static bool scan_clock(const char *text, int *hours_out, int *minutes_out)
{
    for (int i = 0; i < 5; i++)
        if (i == 2 ? text[i] != ':' : text[i] < '0' || text[i] > '9')
            return false;
    *hours_out = (text[0] - '0') * 10 + text[1] - '0';
    *minutes_out = (text[3] - '0') * 10 + text[4] - '0';
    return *minutes_out < 60;
}

/* Minutes since midnight of the day that the window belongs to. */
static int take_clock(struct registry_load *load, const yaml_node_t *node, const char *what,
                      int minutes_max, int *minutes_out)
{
    int hours, minutes;
    if (record_yaml_bytes(node) != 5 || !scan_clock(record_yaml_data(node), &hours, &minutes))
        return record_yaml_fail(&load->yaml, node, load->error,
                                "%s is a time of day like \"18:00\"", what);
    *minutes_out = hours * 60 + minutes;
    if (*minutes_out > minutes_max)
        return record_yaml_fail(
            &load->yaml, node, load->error, "%s is at most %02d:%02d%s", what, minutes_max / 60,
            minutes_max % 60,
            minutes_max > MINUTES_PER_DAY ? " (hours from 24 on are those of the next day)" : "");
    return 0;
}

static int take_offset(struct registry_load *load, const yaml_node_t *node, int16_t *minutes_out)
{
    const char *text = record_yaml_data(node);
    size_t bytes = record_yaml_bytes(node);
    int hours = 0, minutes = 0;
    bool valid = bytes == 1 && text[0] == 'Z';
    if (bytes == 6 && (text[0] == '+' || text[0] == '-'))
        valid =
            scan_clock(text + 1, &hours, &minutes) && hours * 60 + minutes <= OFFSET_MINUTES_MAX;
    if (!valid)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "utc_offset is Z or an offset from -14:00 to +14:00, like "
                                "\"+01:00\"; names of time zones are not taken");
    minutes += hours * 60;
    *minutes_out = (int16_t)(text[0] == '-' ? -minutes : minutes);
    return 0;
}

/* ---- Windows ---- */

static int take_window(struct registry_load *load, const yaml_node_t *node,
                       struct record_registry_window *window)
{
    static const struct record_yaml_key keys[] = {{"from", YAML_SCALAR_NODE, true},
                                                  {"to", YAML_SCALAR_NODE, true},
                                                  {"late_minutes_max", YAML_SCALAR_NODE, false}};
    yaml_node_t *values[3];
    int from, to;
    int64_t late = 0;
    int result = record_yaml_mapping(&load->yaml, node, "a window", keys, 3, values, load->error);
    if (result == 0)
        result = take_clock(load, values[0], "from", MINUTES_PER_DAY - 1, &from);
    if (result == 0)
        result = take_clock(load, values[1], "to", 2 * MINUTES_PER_DAY, &to);
    if (result == 0 && values[2] != NULL)
        result = record_yaml_integer(&load->yaml, values[2], "late_minutes_max", 0, MINUTES_PER_DAY,
                                     &late, load->error);
    if (result < 0)
        return result;
    if (to <= from)
        return record_yaml_fail(&load->yaml, values[1], load->error,
                                "the window ends before it starts; an end behind midnight is "
                                "written with hours from 24 on, like \"26:00\" for 02:00");
    if (to - from + late > MINUTES_PER_DAY)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "the window and its lateness are longer than a day, so nothing "
                                "would ever be late; shorten them");
    *window = (struct record_registry_window){from * NANOSECONDS_PER_MINUTE,
                                              (to - from + late) * NANOSECONDS_PER_MINUTE};
    return 0;
}

static int take_windows(struct registry_load *load, const yaml_node_t *list,
                        struct record_registry_use *use)
{
    size_t count;
    int result = record_yaml_sequence(&load->yaml, list, "windows", RECORD_REGISTRY_WINDOWS_MAX,
                                      &count, load->error);
    if (result < 0)
        return result;
    struct record_registry_window *windows =
        registry_block_alloc(&load->block, count, sizeof(*windows));
    for (size_t i = 0; i < count && result == 0; i++)
        result = take_window(load, record_yaml_entry(&load->yaml, list, i), &windows[i]);
    use->windows = windows;
    use->window_count = (uint32_t)count;
    return result;
}

/* ---- Instruments as the study uses them ---- */

static bool is_named(struct record_text id, const yaml_node_t *node)
{
    return id.bytes == record_yaml_bytes(node) &&
           memcmp(id.data, record_yaml_data(node), id.bytes) == 0;
}

static const struct record_registry_instrument *find_instrument(const struct registry_load *load,
                                                                const yaml_node_t *node)
{
    for (uint32_t i = 0; i < load->registry->instrument_count; i++)
        if (is_named(load->instruments[i].id, node))
            return &load->instruments[i];
    return NULL;
}

static const struct record_registry_version *
find_version(const struct record_registry_instrument *instrument, const yaml_node_t *node)
{
    for (uint32_t i = 0; i < instrument->version_count; i++)
        if (is_named(instrument->versions[i].id, node))
            return &instrument->versions[i];
    return NULL;
}

/* Those in the list, or all when there is no list. */
static int take_versions(struct registry_load *load, const yaml_node_t *list,
                         const struct record_registry_instrument *instrument,
                         struct record_registry_use *use)
{
    size_t count = instrument->version_count;
    if (list != NULL) {
        int result = record_yaml_sequence(&load->yaml, list, "versions",
                                          RECORD_REGISTRY_VERSIONS_MAX, &count, load->error);
        if (result < 0)
            return result;
    }
    const struct record_registry_version **versions =
        registry_block_alloc(&load->block, count, sizeof(*versions));
    for (size_t i = 0; i < count; i++) {
        if (list == NULL) {
            versions[i] = &instrument->versions[i];
            continue;
        }
        const yaml_node_t *entry = record_yaml_entry(&load->yaml, list, i);
        int result =
            record_yaml_text(&load->yaml, entry, "a version", RECORD_LABEL_BYTES_MAX, load->error);
        if (result < 0)
            return result;
        versions[i] = find_version(instrument, entry);
        if (versions[i] == NULL)
            return record_yaml_fail(
                &load->yaml, entry, load->error,
                "the instrument \"%.*s\" has no version \"%.*s\"; define it there",
                REGISTRY_SHOWN(instrument->id),
                (int)(record_yaml_bytes(entry) < 48 ? record_yaml_bytes(entry) : 48),
                record_yaml_data(entry));
        for (size_t j = 0; j < i; j++)
            if (versions[j] == versions[i])
                return registry_load_twice(load, list, i, j, "version", versions[i]->id);
    }
    use->versions = versions;
    use->version_count = (uint32_t)count;
    return 0;
}

static int take_use(struct registry_load *load, const yaml_node_t *node,
                    struct record_registry_use *use)
{
    static const struct record_yaml_key keys[] = {{"instrument", YAML_SCALAR_NODE, true},
                                                  {"versions", YAML_SEQUENCE_NODE, false},
                                                  {"windows", YAML_SEQUENCE_NODE, false}};
    yaml_node_t *values[3];
    int result = record_yaml_mapping(&load->yaml, node, "an instrument of a study", keys, 3, values,
                                     load->error);
    if (result == 0)
        result = record_yaml_text(&load->yaml, values[0], "instrument", RECORD_INSTRUMENT_BYTES_MAX,
                                  load->error);
    if (result < 0)
        return result;
    const struct record_registry_instrument *instrument = find_instrument(load, values[0]);
    if (instrument == NULL)
        return record_yaml_fail(
            &load->yaml, values[0], load->error,
            "no file defines the instrument \"%.*s\"; correct the name or add its file",
            (int)(record_yaml_bytes(values[0]) < 48 ? record_yaml_bytes(values[0]) : 48),
            record_yaml_data(values[0]));
    use->id = instrument->id;
    result = take_versions(load, values[1], instrument, use);
    if (result == 0 && values[2] != NULL)
        result = take_windows(load, values[2], use);
    return result;
}

static int take_uses(struct registry_load *load, const yaml_node_t *list,
                     struct record_registry_study *study)
{
    size_t count;
    int result = record_yaml_sequence(&load->yaml, list, "instruments",
                                      RECORD_REGISTRY_INSTRUMENTS_MAX, &count, load->error);
    if (result < 0)
        return result;
    struct record_registry_use *uses = registry_block_alloc(&load->block, count, sizeof(*uses));
    study->uses = uses;
    study->use_table = registry_table_make(&load->block, count);
    for (size_t i = 0; i < count; i++) {
        result = take_use(load, record_yaml_entry(&load->yaml, list, i), &uses[i]);
        if (result < 0)
            return result;
        size_t first = registry_table_add(&study->use_table, uses, sizeof(*uses), i);
        if (first != i)
            return registry_load_twice(load, list, i, first, "instrument", uses[i].id);
    }
    study->use_count = (uint32_t)count;
    return 0;
}

/* ---- Centres ---- */

static int take_center(struct registry_load *load, const yaml_node_t *node,
                       struct record_registry_center *center)
{
    static const struct record_yaml_key keys[] = {{"id", YAML_SCALAR_NODE, true},
                                                  {"planned_enrolment", YAML_SCALAR_NODE, true},
                                                  {"name", YAML_SCALAR_NODE, false},
                                                  {"utc_offset", YAML_SCALAR_NODE, false}};
    yaml_node_t *values[4];
    int64_t planned = 0;
    int result = record_yaml_mapping(&load->yaml, node, "a centre", keys, 4, values, load->error);
    if (result == 0)
        result = registry_load_text(load, values[0], "id", RECORD_ID_BYTES_MAX, &center->id);
    if (result == 0)
        result = record_yaml_integer(&load->yaml, values[1], "planned_enrolment", 0,
                                     RECORD_REGISTRY_PLANNED_MAX, &planned, load->error);
    if (result == 0 && values[2] != NULL)
        result = registry_load_text(load, values[2], "name", RECORD_REGISTRY_NAME_BYTES_MAX,
                                    &center->name);
    if (result == 0 && values[3] != NULL)
        result = take_offset(load, values[3], &center->offset_minutes);
    center->offset_known = center->offset_known || values[3] != NULL;
    center->planned = (uint32_t)planned;
    return result;
}

/* `own` has the study's offset, for centres that give none. */
static int take_centers(struct registry_load *load, const yaml_node_t *list,
                        struct record_registry_center own, struct record_registry_study *study)
{
    size_t count;
    int result = record_yaml_sequence(&load->yaml, list, "centers", RECORD_REGISTRY_CENTERS_MAX,
                                      &count, load->error);
    if (result < 0)
        return result;
    struct record_registry_center *centers =
        registry_block_alloc(&load->block, count, sizeof(*centers));
    study->centers = centers;
    study->center_table = registry_table_make(&load->block, count);
    for (size_t i = 0; i < count; i++) {
        centers[i] = own;
        result = take_center(load, record_yaml_entry(&load->yaml, list, i), &centers[i]);
        if (result < 0)
            return result;
        size_t first = registry_table_add(&study->center_table, centers, sizeof(*centers), i);
        if (first != i)
            return registry_load_twice(load, list, i, first, "centre", centers[i].id);
        study->planned += centers[i].planned;
    }
    study->center_count = (uint32_t)count;
    return 0;
}

/* ---- Studies ---- */

static int take_clock_limits(struct registry_load *load, const yaml_node_t *node,
                             struct record_registry_study *study)
{
    static const struct record_yaml_key keys[] = {{"skew_s_max", YAML_SCALAR_NODE, false},
                                                  {"future_s_max", YAML_SCALAR_NODE, false}};
    yaml_node_t *values[2] = {NULL, NULL};
    int64_t limits[2] = {RECORD_REGISTRY_SKEW_S_STANDARD, RECORD_REGISTRY_FUTURE_S_STANDARD};
    int result = 0;
    if (node != NULL)
        result = record_yaml_mapping(&load->yaml, node, "clock", keys, 2, values, load->error);
    for (int i = 0; i < 2 && result == 0; i++)
        if (values[i] != NULL)
            result = record_yaml_integer(&load->yaml, values[i], keys[i].name, 0,
                                         RECORD_REGISTRY_CLOCK_S_MAX, &limits[i], load->error);
    if (result == 0 && limits[0] > limits[1])
        return record_yaml_fail(&load->yaml, node, load->error,
                                "skew_s_max is %d and future_s_max %d, but what is further ahead "
                                "than the second is in the future: lower the first or raise the "
                                "second",
                                (int)limits[0], (int)limits[1]);
    study->skew_ns = limits[0] * (int64_t)NANOSECONDS_PER_SECOND;
    study->future_ns = limits[1] * (int64_t)NANOSECONDS_PER_SECOND;
    return result;
}

/* What a record names: the digest's digits, a blank, the study's own version. */
static void make_version(struct registry_load *load, struct record_registry_study *study)
{
    char text[RECORD_REGISTRY_VERSION_BYTES_MAX];
    size_t bytes = sizeof(load->digest);
    memcpy(text, load->digest, bytes);
    text[bytes++] = ' ';
    CHECK(bytes + study->label.bytes <= sizeof(text));
    memcpy(text + bytes, study->label.data, study->label.bytes);
    study->version = registry_block_text(&load->block, text, bytes + study->label.bytes);
}

enum { STUDY_ID, STUDY_VERSION, STUDY_CENTERS, STUDY_USES, STUDY_OFFSET, STUDY_CLOCK, STUDY_KEYS };

static int take_study(struct registry_load *load, yaml_node_t *const *values,
                      struct record_registry_study *study)
{
    struct record_registry_center own = {.planned = 0};
    int result = registry_load_text(load, values[STUDY_VERSION], "version",
                                    RECORD_REGISTRY_LABEL_BYTES_MAX, &study->label);
    if (result < 0)
        return result;
    make_version(load, study);
    own.offset_known = values[STUDY_OFFSET] != NULL;
    if (own.offset_known)
        result = take_offset(load, values[STUDY_OFFSET], &own.offset_minutes);
    if (result == 0)
        result = take_centers(load, values[STUDY_CENTERS], own, study);
    if (result == 0)
        result = take_uses(load, values[STUDY_USES], study);
    if (result == 0)
        result = take_clock_limits(load, values[STUDY_CLOCK], study);
    return result;
}

int registry_load_study(struct registry_load *load, const yaml_node_t *root)
{
    static const struct record_yaml_key keys[STUDY_KEYS] = {
        [STUDY_ID] = {"study", YAML_SCALAR_NODE, true},
        [STUDY_VERSION] = {"version", YAML_SCALAR_NODE, true},
        [STUDY_CENTERS] = {"centers", YAML_SEQUENCE_NODE, true},
        [STUDY_USES] = {"instruments", YAML_SEQUENCE_NODE, true},
        [STUDY_OFFSET] = {"utc_offset", YAML_SCALAR_NODE, false},
        [STUDY_CLOCK] = {"clock", YAML_MAPPING_NODE, false},
    };
    yaml_node_t *values[STUDY_KEYS];
    uint32_t index = load->registry->study_count;
    if (index == RECORD_REGISTRY_STUDIES_MAX)
        return record_yaml_fail(&load->yaml, root, load->error,
                                "there are more than %d studies; run another engine for the rest",
                                RECORD_REGISTRY_STUDIES_MAX);
    struct record_registry_study *study = &load->studies[index];
    int result =
        record_yaml_mapping(&load->yaml, root, "a study", keys, STUDY_KEYS, values, load->error);
    if (result == 0)
        result =
            registry_load_text(load, values[STUDY_ID], "study", RECORD_ID_BYTES_MAX, &study->id);
    if (result < 0)
        return result;
    size_t first =
        registry_table_add(&load->registry->study_table, load->studies, sizeof(*study), index);
    if (first != index)
        return record_yaml_fail(&load->yaml, values[STUDY_ID], load->error,
                                "the study \"%.*s\" is defined already, at %s:%u; keep one",
                                REGISTRY_SHOWN(study->id), load->study_places[first].path,
                                load->study_places[first].line);
    load->study_places[index] =
        (struct registry_place){load->yaml.path, record_yaml_line(values[STUDY_ID])};
    load->registry->study_count++;
    return take_study(load, values, study);
}
