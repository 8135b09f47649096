#include "bare_simdjson.h"

#include <new>
#include <simdjson.h>

struct bare_simdjson {
    simdjson::dom::parser dom;
    simdjson::ondemand::parser on_demand;
};

extern "C" struct bare_simdjson *bare_simdjson_create(size_t body_bytes_max)
{
    bare_simdjson *bare = new (std::nothrow) bare_simdjson();
    if (bare == nullptr)
        return nullptr;
    if (bare->dom.allocate(body_bytes_max) == simdjson::SUCCESS &&
        bare->on_demand.allocate(body_bytes_max) == simdjson::SUCCESS)
        return bare;
    delete bare;
    return nullptr;
}

extern "C" void bare_simdjson_destroy(struct bare_simdjson *bare)
{
    delete bare;
}

extern "C" uint64_t bare_simdjson_dom(struct bare_simdjson *bare, const char *body, size_t bytes)
{
    simdjson::dom::object root;
    if (bare->dom.parse(body, bytes, false).get_object().get(root) != simdjson::SUCCESS)
        return 0;
    return root.size();
}

static uint64_t count_values(simdjson::dom::element element) noexcept
{
    uint64_t count = 1;
    simdjson::dom::object object;
    simdjson::dom::array array;
    if (element.get_object().get(object) == simdjson::SUCCESS) {
        for (simdjson::dom::key_value_pair member : object)
            count += count_values(member.value);
    } else if (element.get_array().get(array) == simdjson::SUCCESS) {
        for (simdjson::dom::element item : array)
            count += count_values(item);
    }
    return count;
}

extern "C" uint64_t bare_simdjson_dom_values(struct bare_simdjson *bare, const char *body,
                                             size_t bytes)
{
    simdjson::dom::element root;
    if (bare->dom.parse(body, bytes, false).get(root) != simdjson::SUCCESS)
        return 0;
    return count_values(root);
}

/* Adds the values of `object` to `count`; false after an error. */
static bool walk_object(simdjson::ondemand::object object, uint64_t *count) noexcept;

static bool walk_value(simdjson::ondemand::value value, uint64_t *count) noexcept
{
    simdjson::ondemand::json_type type;
    if (value.type().get(type) != simdjson::SUCCESS)
        return false;
    ++*count;
    switch (type) {
    case simdjson::ondemand::json_type::object: {
        simdjson::ondemand::object object;
        return value.get_object().get(object) == simdjson::SUCCESS && walk_object(object, count);
    }
    case simdjson::ondemand::json_type::array: {
        simdjson::ondemand::array array;
        if (value.get_array().get(array) != simdjson::SUCCESS)
            return false;
        for (auto item : array) {
            simdjson::ondemand::value inner;
            if (item.get(inner) != simdjson::SUCCESS || !walk_value(inner, count))
                return false;
        }
        return true;
    }
    case simdjson::ondemand::json_type::string: {
        std::string_view text;
        return value.get_string().get(text) == simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::number:
        return !value.raw_json_token().empty();
    case simdjson::ondemand::json_type::boolean: {
        bool truth;
        return value.get_bool().get(truth) == simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::null:
        return true;
    }
    return false;
}

static bool walk_object(simdjson::ondemand::object object, uint64_t *count) noexcept
{
    for (auto member : object) {
        std::string_view name;
        simdjson::ondemand::value value;
        if (member.unescaped_key().get(name) != simdjson::SUCCESS ||
            member.value().get(value) != simdjson::SUCCESS || !walk_value(value, count))
            return false;
    }
    return true;
}

extern "C" uint64_t bare_simdjson_on_demand(struct bare_simdjson *bare, const char *body,
                                            size_t bytes)
{
    simdjson::ondemand::document document;
    simdjson::ondemand::object root;
    uint64_t count = 1;
    simdjson::padded_string_view view(body, bytes, bytes + simdjson::SIMDJSON_PADDING);
    if (bare->on_demand.iterate(view).get(document) != simdjson::SUCCESS ||
        document.get_object().get(root) != simdjson::SUCCESS || !walk_object(root, &count))
        return 0;
    return count;
}
