/* The file is read with libcyaml into strings, one per key: absent and zero differ, and a value in
 * a file means what it means behind --set (libcyaml's own integers take "1x" and "0x10"). The
 * schema is made from the same list as the struct. */
#include "config.h"

#include "base/check.h"
#include "record/encode.h"
#include "record/submission.h"
#include "segment/format.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct config_key keys[] = {
#define CONFIG_KEY(key, standard, minimum, maximum, reason)                                        \
    {#key, offsetof(struct config, key), standard, minimum, maximum, reason},
    SLUICE_CONFIG_EACH(CONFIG_KEY)
#undef CONFIG_KEY
};

static const struct config_text_key text_keys[] = {
#define CONFIG_TEXT_KEY(key, reason) {#key, offsetof(struct config, key), reason},
    SLUICE_CONFIG_TEXT_EACH(CONFIG_TEXT_KEY)
#undef CONFIG_TEXT_KEY
};

#define TEXT_KEY_COUNT (sizeof(text_keys) / sizeof(text_keys[0]))
#define KEY_COUNT      (sizeof(keys) / sizeof(keys[0]))

const struct config_key *config_keys(size_t *count_out)
{
    *count_out = KEY_COUNT;
    return keys;
}

static uint64_t *field_of(struct config *config, const struct config_key *key)
{
    return (uint64_t *)(void *)((char *)config + key->offset);
}

uint64_t config_get(const struct config *config, const struct config_key *key)
{
    return *(const uint64_t *)(const void *)((const char *)config + key->offset);
}

const struct config_text_key *config_text_keys(size_t *count_out)
{
    *count_out = TEXT_KEY_COUNT;
    return text_keys;
}

const char *config_get_text(const struct config *config, const struct config_text_key *key)
{
    return (const char *)config + key->offset;
}

void config_init(struct config *config)
{
    *config = (struct config){.connections_max = 0}; /* every text is empty */
    for (size_t i = 0; i < KEY_COUNT; i++)
        *field_of(config, &keys[i]) = keys[i].standard;
}

/* `text` is a decimal integer in the key's range; `where` begins the message otherwise. */
static int set_value(struct config *config, const struct config_key *key, const char *text,
                     const char *where, struct base_error *error)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0')
        return base_error_set(error, -EINVAL, "%s: %s is \"%s\", but must be a decimal integer",
                              where, key->name, text);
    if (errno != 0 || value < key->minimum || value > key->maximum)
        return base_error_set(error, -ERANGE,
                              "%s: %s is %s, but must be %" PRIu64 " to %" PRIu64 " (%s)", where,
                              key->name, text, key->minimum, key->maximum, key->reason);
    *field_of(config, key) = value;
    return 0;
}

static int set_text(struct config *config, const struct config_text_key *key, const char *text,
                    const char *where, struct base_error *error)
{
    size_t bytes = strlen(text) + 1;
    if (bytes > CONFIG_TEXT_BYTES)
        return base_error_set(error, -ERANGE, "%s: %s has %zu bytes, the limit is %d", where,
                              key->name, bytes - 1, CONFIG_TEXT_BYTES - 1);
    memcpy((char *)config + key->offset, text, bytes);
    return 0;
}

int config_set_text(struct config *config, const char *name, const char *text,
                    struct base_error *error)
{
    for (size_t i = 0; i < TEXT_KEY_COUNT; i++) {
        if (strcmp(text_keys[i].name, name) != 0)
            continue;
        char where[32];
        snprintf(where, sizeof(where), "--%s", name);
        return set_text(config, &text_keys[i], text, where, error);
    }
    CHECK_NEVER("a text that no configuration has");
}

static bool names(const char *assignment, const char *equals, const char *name)
{
    return strlen(name) == (size_t)(equals - assignment) &&
           memcmp(name, assignment, strlen(name)) == 0;
}

int config_set(struct config *config, const char *assignment, struct base_error *error)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL)
        return base_error_set(error, -EINVAL, "--set %s: write --set key=value", assignment);
    char where[160];
    snprintf(where, sizeof(where), "--set %s", assignment);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (names(assignment, equals, keys[i].name))
            return set_value(config, &keys[i], equals + 1, where, error);
    for (size_t i = 0; i < TEXT_KEY_COUNT; i++)
        if (names(assignment, equals, text_keys[i].name))
            return set_text(config, &text_keys[i], equals + 1, where, error);
    return base_error_set(error, -EINVAL, "--set %s: no such key; `sluice config` lists them",
                          assignment);
}

struct file_values {
#define CONFIG_POINTER(key, standard, minimum, maximum, reason) uint64_t *key;
    SLUICE_CONFIG_EACH(CONFIG_POINTER)
#undef CONFIG_POINTER
#define CONFIG_TEXT_POINTER(key, reason) char *key;
    SLUICE_CONFIG_TEXT_EACH(CONFIG_TEXT_POINTER)
#undef CONFIG_TEXT_POINTER
};

static const cyaml_schema_field_t file_fields[] = {
#define CONFIG_SCHEMA(key, standard, minimum, maximum, reason)                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file_values,     \
                           key, 0, CYAML_UNLIMITED),
    SLUICE_CONFIG_EACH(CONFIG_SCHEMA)
#undef CONFIG_SCHEMA
#define CONFIG_TEXT_SCHEMA(key, reason)                                                            \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file_values,     \
                           key, 0, CYAML_UNLIMITED),
        SLUICE_CONFIG_TEXT_EACH(CONFIG_TEXT_SCHEMA)
#undef CONFIG_TEXT_SCHEMA
            CYAML_FIELD_END,
};

static const cyaml_schema_value_t file_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file_values, file_fields),
};

/* libcyaml explains an error over several log lines; they become one sentence. */
struct explanation {
    char text[512];
    size_t bytes;
};

static void collect_log(cyaml_log_t level, void *context, const char *format, va_list arguments)
{
    struct explanation *explanation = context;
    (void)level;
    size_t room = sizeof(explanation->text) - explanation->bytes;
    int written = vsnprintf(explanation->text + explanation->bytes, room, format, arguments);
    if (written > 0)
        explanation->bytes += (size_t)written < room ? (size_t)written : room - 1;
    for (char *at = explanation->text; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' ';
}

/* The line on which `name` stands, from 1; libcyaml keeps none for values. 0: not found. */
static unsigned line_of(const char *path, const char *name)
{
    char *line = NULL;
    size_t capacity = 0, name_bytes = strlen(name);
    unsigned number = 0, found = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && found == 0 && getline(&line, &capacity, file) >= 0) {
        const char *at = line + strspn(line, " \t{,\"'");
        number++;
        if (strncmp(at, name, name_bytes) == 0 && strspn(at + name_bytes, " \t:\"'") > 0)
            found = number;
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

int config_load(struct config *config, const char *path, struct base_error *error)
{
    struct explanation explanation = {.bytes = 0};
    cyaml_config_t settings = {
        .log_fn = collect_log,
        .log_ctx = &explanation,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
    };
    struct file_values *values = NULL;
    cyaml_err_t failure =
        cyaml_load_file(path, &settings, &file_schema, (cyaml_data_t **)(void *)&values, NULL);
    if (failure != CYAML_OK)
        return base_error_set(error, -EINVAL, "%s: %s: %s; `sluice config` lists the keys", path,
                              cyaml_strerror(failure), explanation.text);
    int result = 0;
    char **texts = (char **)(void *)values;
    for (size_t i = 0; i < KEY_COUNT + TEXT_KEY_COUNT && result == 0 && values != NULL; i++) {
        char where[512];
        bool is_text = i >= KEY_COUNT; /* they stand behind the numbers */
        const char *name = is_text ? text_keys[i - KEY_COUNT].name : keys[i].name;
        if (texts[i] == NULL)
            continue;
        snprintf(where, sizeof(where), "%s, line: %u", path, line_of(path, name));
        result = is_text ? set_text(config, &text_keys[i - KEY_COUNT], texts[i], where, error)
                         : set_value(config, &keys[i], texts[i], where, error);
    }
    cyaml_free(&settings, &file_schema, values, 0);
    return result;
}

static int check_power_of_two(uint64_t value, const char *name, struct base_error *error)
{
    if ((value & (value - 1)) == 0)
        return 0;
    return base_error_set(error, -EINVAL, "%s is %" PRIu64 ", but must be a power of two", name,
                          value);
}

int config_check(const struct config *config, struct base_error *error)
{
    int result = check_power_of_two(config->queue_slots, "queue_slots", error);
    if (result == 0)
        result = check_power_of_two(config->receive_buffers_max, "receive_buffers_max", error);
    if (result < 0)
        return result;
    if ((config->tls_certificate[0] == '\0') != (config->tls_key[0] == '\0'))
        return base_error_set(error, -EINVAL,
                              "tls_certificate and tls_key go together; one of "
                              "them is missing");
    if (config->tls_certificate[0] == '\0' &&
        (config->tls_client_ca[0] != '\0' || config->tls_client_auth[0] != '\0'))
        return base_error_set(error, -EINVAL,
                              "tls_client_ca and tls_client_auth need tls_certificate and tls_key");
    if (config->segment_bytes % SEGMENT_BLOCK_BYTES != 0 ||
        config->batch_bytes_max % SEGMENT_BLOCK_BYTES != 0)
        return base_error_set(error, -EINVAL,
                              "segment_bytes and batch_bytes_max must be multiples of %d",
                              SEGMENT_BLOCK_BYTES);
    uint64_t record_bytes_max =
        sizeof(struct segment_batch_header) + record_encode_bytes_max(config->body_bytes_max);
    if (config->batch_bytes_max < record_bytes_max)
        return base_error_set(error, -EINVAL,
                              "batch_bytes_max is %" PRIu64 ", but one record of a body of "
                              "body_bytes_max can take %" PRIu64
                              ": raise it or lower body_bytes_max",
                              config->batch_bytes_max, record_bytes_max);
    uint64_t needed = SEGMENT_BLOCK_BYTES + config->batch_bytes_max +
                      segment_footer_bytes(config->segment_bytes / SEGMENT_BLOCK_BYTES);
    if (config->segment_bytes < needed)
        return base_error_set(error, -EINVAL,
                              "segment_bytes is %" PRIu64 ", but a header, one batch of "
                              "batch_bytes_max and a footer take %" PRIu64 ": raise it",
                              config->segment_bytes, needed);
    return 0;
}
