#include "record/registry_load.h"

#include "record/decimal.h"

#include <string.h>

/* The keys of an item, in the order of `item_keys`. */
enum { ITEM_ID, ITEM_TYPE, ITEM_MIN, ITEM_MAX, ITEM_CHOICES, ITEM_REQUIRED, ITEM_KEYS };

static const struct record_yaml_key item_keys[ITEM_KEYS] = {
    [ITEM_ID] = {"id", YAML_SCALAR_NODE, true},
    [ITEM_TYPE] = {"type", YAML_SCALAR_NODE, true},
    [ITEM_MIN] = {"min", YAML_SCALAR_NODE, false},
    [ITEM_MAX] = {"max", YAML_SCALAR_NODE, false},
    [ITEM_CHOICES] = {"choices", YAML_SEQUENCE_NODE, false},
    [ITEM_REQUIRED] = {"required", YAML_SCALAR_NODE, false},
};

/* ---- Numbers ---- */

static int take_decimal(struct registry_load *load, const yaml_node_t *node, const char *what,
                        int64_t *millionths_out)
{
    struct record_decimal decimal;
    if (!record_yaml_is_plain(node) ||
        !record_decimal_parse(record_yaml_data(node), record_yaml_bytes(node), &decimal))
        return record_yaml_fail(&load->yaml, node, load->error,
                                "%s is a number without quotes, like 0, -3 or 0.5", what);
    int64_t limit = RECORD_REGISTRY_LIMIT_MAX * RECORD_DECIMAL_UNIT;
    if (record_decimal_compare(&decimal, limit) > 0 || record_decimal_compare(&decimal, -limit) < 0)
        return record_yaml_fail(&load->yaml, node, load->error, "%s must be from -%d to %d", what,
                                RECORD_REGISTRY_LIMIT_MAX, RECORD_REGISTRY_LIMIT_MAX);
    if (decimal.rest)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "%s has more than %d digits behind the point; round it", what,
                                RECORD_DECIMAL_FRACTION_DIGITS);
    *millionths_out = decimal.negative ? -decimal.millionths : decimal.millionths;
    return 0;
}

static int take_limit(struct registry_load *load, const yaml_node_t *node, const char *what,
                      bool whole, int64_t *millionths_out)
{
    int result = take_decimal(load, node, what, millionths_out);
    if (result == 0 && whole && *millionths_out % RECORD_DECIMAL_UNIT != 0)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "%s of an integer has no fraction; make the item a number, or "
                                "round it",
                                what);
    return result;
}

static int take_range(struct registry_load *load, const yaml_node_t *node,
                      yaml_node_t *const *values, struct record_registry_item *item)
{
    if (values[ITEM_CHOICES] != NULL)
        return record_yaml_fail(&load->yaml, values[ITEM_CHOICES], load->error,
                                "only an item of type choice has choices");
    if (values[ITEM_MIN] == NULL || values[ITEM_MAX] == NULL)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "an integer or a number needs min and max");
    bool whole = item->type == RECORD_REGISTRY_INTEGER;
    int result = take_limit(load, values[ITEM_MIN], "min", whole, &item->min_millionths);
    if (result == 0)
        result = take_limit(load, values[ITEM_MAX], "max", whole, &item->max_millionths);
    if (result == 0 && item->min_millionths > item->max_millionths)
        return record_yaml_fail(&load->yaml, values[ITEM_MIN], load->error,
                                "min is above max (line %u); exchange them",
                                record_yaml_line(values[ITEM_MAX]));
    return result;
}

/* ---- Choices ---- */

static bool same_choice(const struct record_registry_choice *a,
                        const struct record_registry_choice *b)
{
    if (a->text.data == NULL || b->text.data == NULL)
        return a->text.data == b->text.data && a->millionths == b->millionths;
    return a->text.bytes == b->text.bytes && memcmp(a->text.data, b->text.data, a->text.bytes) == 0;
}

/* Without quotes, what looks like a number is one. */
static int take_choice(struct registry_load *load, const yaml_node_t *node,
                       struct record_registry_choice *choice)
{
    struct record_decimal decimal;
    int result = record_yaml_text(&load->yaml, node, "a choice", RECORD_REGISTRY_CHOICE_BYTES_MAX,
                                  load->error);
    if (result < 0)
        return result;
    if (record_yaml_is_plain(node) &&
        record_decimal_parse(record_yaml_data(node), record_yaml_bytes(node), &decimal))
        return take_decimal(load, node, "a choice", &choice->millionths);
    choice->text =
        registry_block_text(&load->block, record_yaml_data(node), record_yaml_bytes(node));
    return 0;
}

static int take_choices(struct registry_load *load, const yaml_node_t *node,
                        yaml_node_t *const *values, struct record_registry_item *item)
{
    const yaml_node_t *list = values[ITEM_CHOICES];
    size_t count;
    if (list == NULL)
        return record_yaml_fail(&load->yaml, node, load->error,
                                "an item of type choice needs choices, like [0, 1, 96]");
    int result = record_yaml_sequence(&load->yaml, list, "choices", RECORD_REGISTRY_CHOICES_MAX,
                                      &count, load->error);
    if (result < 0)
        return result;
    struct record_registry_choice *choices =
        registry_block_alloc(&load->block, count, sizeof(*choices));
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *entry = record_yaml_entry(&load->yaml, list, i);
        result = take_choice(load, entry, &choices[i]);
        if (result < 0)
            return result;
        for (size_t j = 0; j < i; j++)
            if (same_choice(&choices[j], &choices[i]))
                return record_yaml_fail(&load->yaml, entry, load->error,
                                        "this choice stands twice; keep one");
        item->number_choices = item->number_choices || choices[i].text.data == NULL;
        item->text_choices = item->text_choices || choices[i].text.data != NULL;
    }
    item->choice_count = (uint16_t)count;
    item->choices = choices;
    return 0;
}

/* ---- Items ---- */

static int take_type(struct registry_load *load, const yaml_node_t *node, uint8_t *type_out)
{
    static const char *const names[] = {
        [RECORD_REGISTRY_INTEGER] = "integer",
        [RECORD_REGISTRY_NUMBER] = "number",
        [RECORD_REGISTRY_TEXT] = "text",
        [RECORD_REGISTRY_CHOICE] = "choice",
    };
    for (uint8_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (record_yaml_bytes(node) == strlen(names[i]) &&
            memcmp(record_yaml_data(node), names[i], strlen(names[i])) == 0) {
            *type_out = i;
            return 0;
        }
    return record_yaml_fail(&load->yaml, node, load->error,
                            "type is integer, number, text or choice");
}

static int take_item(struct registry_load *load, const yaml_node_t *node,
                     struct record_registry_item *item)
{
    yaml_node_t *values[ITEM_KEYS];
    int result = record_yaml_mapping(&load->yaml, node, "an item", item_keys, ITEM_KEYS, values,
                                     load->error);
    if (result == 0)
        result = registry_load_text(load, values[ITEM_ID], "id", RECORD_REGISTRY_ITEM_BYTES_MAX,
                                    &item->id);
    if (result == 0)
        result = take_type(load, values[ITEM_TYPE], &item->type);
    if (result == 0 && values[ITEM_REQUIRED] != NULL)
        result = record_yaml_boolean(&load->yaml, values[ITEM_REQUIRED], "required",
                                     &item->required, load->error);
    if (result < 0)
        return result;
    if (item->type == RECORD_REGISTRY_INTEGER || item->type == RECORD_REGISTRY_NUMBER)
        return take_range(load, node, values, item);
    const yaml_node_t *limit = values[ITEM_MIN] != NULL ? values[ITEM_MIN] : values[ITEM_MAX];
    if (limit != NULL)
        return record_yaml_fail(&load->yaml, limit, load->error,
                                "only an integer or a number has min and max");
    if (item->type == RECORD_REGISTRY_CHOICE)
        return take_choices(load, node, values, item);
    if (values[ITEM_CHOICES] != NULL)
        return record_yaml_fail(&load->yaml, values[ITEM_CHOICES], load->error,
                                "only an item of type choice has choices");
    return 0;
}

static int take_items(struct registry_load *load, const yaml_node_t *list,
                      struct record_registry_version *version)
{
    size_t count;
    int result = record_yaml_sequence(&load->yaml, list, "items", RECORD_REGISTRY_ITEMS_MAX, &count,
                                      load->error);
    if (result < 0)
        return result;
    struct record_registry_item *items = registry_block_alloc(&load->block, count, sizeof(*items));
    version->items = items;
    version->item_table = registry_table_make(&load->block, count);
    for (size_t i = 0; i < count; i++) {
        result = take_item(load, record_yaml_entry(&load->yaml, list, i), &items[i]);
        if (result < 0)
            return result;
        size_t first = registry_table_add(&version->item_table, items, sizeof(*items), i);
        if (first != i)
            return registry_load_twice(load, list, i, first, "item", items[i].id);
        version->required[i / 64] |= (uint64_t)items[i].required << i % 64;
        version->required_count += items[i].required;
    }
    version->item_count = (uint32_t)count;
    return 0;
}

/* ---- Versions ---- */

static int take_version(struct registry_load *load, const yaml_node_t *node,
                        struct record_registry_version *version)
{
    static const struct record_yaml_key keys[] = {{"version", YAML_SCALAR_NODE, true},
                                                  {"items", YAML_SEQUENCE_NODE, true}};
    yaml_node_t *values[2];
    int result = record_yaml_mapping(&load->yaml, node, "a version of an instrument", keys, 2,
                                     values, load->error);
    if (result == 0)
        result =
            registry_load_text(load, values[0], "version", RECORD_LABEL_BYTES_MAX, &version->id);
    return result == 0 ? take_items(load, values[1], version) : result;
}

static int take_versions(struct registry_load *load, const yaml_node_t *list,
                         struct record_registry_instrument *instrument)
{
    size_t count;
    int result = record_yaml_sequence(&load->yaml, list, "versions", RECORD_REGISTRY_VERSIONS_MAX,
                                      &count, load->error);
    if (result < 0)
        return result;
    struct record_registry_version *versions =
        registry_block_alloc(&load->block, count, sizeof(*versions));
    instrument->versions = versions;
    for (size_t i = 0; i < count; i++) {
        result = take_version(load, record_yaml_entry(&load->yaml, list, i), &versions[i]);
        if (result < 0)
            return result;
        for (size_t j = 0; j < i; j++)
            if (versions[j].id.bytes == versions[i].id.bytes &&
                memcmp(versions[j].id.data, versions[i].id.data, versions[i].id.bytes) == 0)
                return registry_load_twice(load, list, i, j, "version", versions[i].id);
    }
    instrument->version_count = (uint32_t)count;
    return 0;
}

int registry_load_instrument(struct registry_load *load, const yaml_node_t *root)
{
    static const struct record_yaml_key keys[] = {{"instrument", YAML_SCALAR_NODE, true},
                                                  {"versions", YAML_SEQUENCE_NODE, true}};
    yaml_node_t *values[2];
    uint32_t index = load->registry->instrument_count;
    if (index == RECORD_REGISTRY_INSTRUMENTS_MAX)
        return record_yaml_fail(&load->yaml, root, load->error,
                                "there are more than %d instruments; leave out those that no study "
                                "uses",
                                RECORD_REGISTRY_INSTRUMENTS_MAX);
    struct record_registry_instrument *instrument = &load->instruments[index];
    int result =
        record_yaml_mapping(&load->yaml, root, "an instrument", keys, 2, values, load->error);
    if (result == 0)
        result = registry_load_text(load, values[0], "instrument", RECORD_INSTRUMENT_BYTES_MAX,
                                    &instrument->id);
    if (result < 0)
        return result;
    size_t first =
        registry_table_add(&load->instrument_table, load->instruments, sizeof(*instrument), index);
    if (first != index)
        return record_yaml_fail(&load->yaml, values[0], load->error,
                                "the instrument \"%.*s\" is defined already, at %s:%u; put all of "
                                "its versions there",
                                REGISTRY_SHOWN(instrument->id), load->instrument_places[first].path,
                                load->instrument_places[first].line);
    load->instrument_places[index] =
        (struct registry_place){load->yaml.path, record_yaml_line(values[0])};
    load->registry->instrument_count++;
    return take_versions(load, values[1], instrument);
}
