/* The file is read with libyaml's documents and not with libcyaml's schemas, because each value's
 * line is wanted in errors, and libcyaml keeps none. A value that should be a digest is never
 * repeated in an error: it may be a token that somebody pasted in the wrong place. */
#include "base/clock.h"
#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

struct reading {
    const char *path;
    yaml_document_t document;
    struct base_error *error;
    struct credential *entries;
    uint32_t count;
};

static int fail(const struct reading *reading, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct reading *reading, const yaml_node_t *node, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return base_error_set(reading->error, -EINVAL, "%s:%zu: %s", reading->path,
                          node != NULL ? node->start_mark.line + 1 : 1, text);
}

/* A reload that finds no memory leaves the old credentials in force. */
static int fail_memory(const struct reading *reading)
{
    return base_error_set(reading->error, -ENOMEM, "%s: no memory for what is in it",
                          reading->path);
}

static yaml_node_t *node_of(struct reading *reading, int index)
{
    return yaml_document_get_node(&reading->document, index);
}

/* --- values --------------------------------------------------------------------------------- */

/* A scalar of 1 to `bytes_max` bytes without control characters, copied. */
static int take_text(struct reading *reading, const yaml_node_t *node, const char *what,
                     size_t bytes_max, struct credentials_text *text_out)
{
    if (node->type != YAML_SCALAR_NODE)
        return fail(reading, node, "%s is a text", what);
    size_t bytes = node->data.scalar.length;
    const unsigned char *data = node->data.scalar.value;
    if (bytes == 0 || bytes > bytes_max)
        return fail(reading, node, "%s has 1 to %zu bytes, this has %zu", what, bytes_max, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (data[i] < 0x20 || data[i] == 0x7F)
            return fail(reading, node, "%s holds a control character", what);
    text_out->data = malloc(bytes);
    if (text_out->data == NULL)
        return fail_memory(reading);
    memcpy(text_out->data, data, bytes);
    text_out->bytes = (uint32_t)bytes;
    return 0;
}

static int take_name(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    int result = take_text(reading, node, "name", CREDENTIALS_NAME_BYTES_MAX, &entry->name);
    for (uint32_t i = 0; result == 0 && i < entry->name.bytes; i++)
        if (entry->name.data[i] < '!' || entry->name.data[i] > '~' || entry->name.data[i] == '"')
            return fail(reading, node,
                        "name is written with visible ASCII characters without spaces and quotes");
    return result;
}

static int hex_value(unsigned char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

static int take_sha256(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    static const char form[] =
        "sha256 is the SHA-256 of the token in 64 hexadecimal digits, as `sluice token` prints it";
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.length != 2 * SHA256_BYTES)
        return fail(reading, node, form);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = hex_value(node->data.scalar.value[2 * i]);
        int low = hex_value(node->data.scalar.value[2 * i + 1]);
        if (high < 0 || low < 0)
            return fail(reading, node, form);
        entry->token_sha256[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static bool scalar_is(const yaml_node_t *node, const char *text)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text) &&
           memcmp(node->data.scalar.value, text, strlen(text)) == 0;
}

static int take_scopes(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    static const char form[] = "scopes is a list of ingest, read, admin";
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.top == node->data.sequence.items.start)
        return fail(reading, node, form);
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        const yaml_node_t *value = node_of(reading, *item);
        uint32_t before = entry->scopes;
#define TAKE_SCOPE(scope, text)                                                                    \
    if (scalar_is(value, text))                                                                    \
        entry->scopes |= scope;
        CREDENTIALS_EACH_SCOPE(TAKE_SCOPE)
#undef TAKE_SCOPE
        if (entry->scopes == before)
            return fail(reading, value, "%s, each once", form);
    }
    return 0;
}

static int take_ids(struct reading *reading, const yaml_node_t *node, const char *key,
                    uint32_t count_max, struct credentials_ids *set)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return fail(reading, node, "%s is a list of ids", key);
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count == 0)
        return fail(reading, node, "%s is empty; leave it out to allow every one", key);
    if (count > count_max)
        return fail(reading, node, "%s has %zu ids, the limit is %u", key, count, count_max);
    set->ids = calloc(count, sizeof(*set->ids));
    if (set->ids == NULL)
        return fail_memory(reading);
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item = node_of(reading, node->data.sequence.items.start[i]);
        int result = take_text(reading, item, key, CREDENTIALS_ID_BYTES_MAX, &set->ids[i]);
        if (result < 0)
            return result;
        set->count++;
    }
    qsort(set->ids, count, sizeof(*set->ids), credentials_compare_ids);
    for (size_t i = 1; i < count; i++)
        if (credentials_compare_ids(&set->ids[i - 1], &set->ids[i]) == 0)
            return fail(reading, node, "%s names an id twice", key);
    return 0;
}

static int take_studies(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    return take_ids(reading, node, "studies", CREDENTIALS_STUDIES_MAX, &entry->studies);
}

static int take_centers(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    return take_ids(reading, node, "centers", CREDENTIALS_CENTERS_MAX, &entry->centers);
}

/* "2026-12-31T23:59:59Z" or with an offset; whole seconds. False: it is not, or names no moment. */
static bool parse_time(const char *text, uint64_t *ns_out)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day, hour, minute, second, offset_hour = 0, offset_minute = 0;
    char sign = 'Z';
    int end = 0, zone_end = 0;
    if (strspn(text, "0123456789-:TZ+") != strlen(text) ||
        sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u%n", &year, &month, &day, &hour, &minute, &second,
               &end) != 6 ||
        end != 19)
        return false;
    if (strcmp(text + end, "Z") != 0 &&
        (sscanf(text + end, "%c%2u:%2u%n", &sign, &offset_hour, &offset_minute, &zone_end) != 3 ||
         zone_end != 6 || text[end + zone_end] != '\0' || (sign != '+' && sign != '-')))
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (month == 2 && leap) || hour > 23 || minute > 59 || second > 59 ||
        offset_hour > 23 || offset_minute > 59)
        return false;
    int64_t seconds = base_clock_days_from_civil(year, month, day) * 86400 +
                      (int64_t)(hour * 3600 + minute * 60 + second);
    int64_t offset = (int64_t)(offset_hour * 3600 + offset_minute * 60);
    seconds -= sign == '-' ? -offset : offset;
    *ns_out = (uint64_t)(seconds < 0 ? 0 : seconds) * NANOSECONDS_PER_SECOND;
    return true;
}

static int take_time(struct reading *reading, const yaml_node_t *node, const char *key,
                     uint64_t *ns_out)
{
    if (node->type != YAML_SCALAR_NODE ||
        strlen((const char *)node->data.scalar.value) != node->data.scalar.length ||
        !parse_time((const char *)node->data.scalar.value, ns_out))
        return fail(reading, node, "%s is a date-time like 2026-12-31T23:59:59Z (RFC 3339)", key);
    return 0;
}

static int take_expires(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    return take_time(reading, node, "expires", &entry->expires_ns);
}

static int take_not_before(struct reading *reading, const yaml_node_t *node,
                           struct credential *entry)
{
    return take_time(reading, node, "not_before", &entry->not_before_ns);
}

/* --- entries -------------------------------------------------------------------------------- */

static const struct key {
    const char *name;
    bool required;
    int (*take)(struct reading *reading, const yaml_node_t *node, struct credential *entry);
} keys[] = {
    {"name", true, take_name},
    {"sha256", true, take_sha256},
    {"scopes", true, take_scopes},
    {"studies", false, take_studies},
    {"centers", false, take_centers},
    {"expires", false, take_expires},
    {"not_before", false, take_not_before},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static int take_pair(struct reading *reading, const yaml_node_pair_t *pair, unsigned *seen,
                     struct credential *entry)
{
    const yaml_node_t *name = node_of(reading, pair->key);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (!scalar_is(name, keys[i].name))
            continue;
        if (*seen & 1U << i)
            return fail(reading, name, "%s is given twice", keys[i].name);
        *seen |= 1U << i;
        return keys[i].take(reading, node_of(reading, pair->value), entry);
    }
    return fail(reading, name,
                "unknown key; an entry has name, sha256, scopes, and perhaps studies, centers, "
                "expires, not_before");
}

static int take_entry(struct reading *reading, const yaml_node_t *node, struct credential *entry)
{
    unsigned seen = 0;
    entry->line = (uint32_t)node->start_mark.line + 1;
    entry->expires_ns = UINT64_MAX;
    if (node->type != YAML_MAPPING_NODE)
        return fail(reading, node, "an entry is a mapping with name, sha256 and scopes");
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        int result = take_pair(reading, pair, &seen, entry);
        if (result < 0)
            return result;
    }
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (keys[i].required && !(seen & 1U << i))
            return fail(reading, node, "the entry has no %s", keys[i].name);
    if (entry->not_before_ns >= entry->expires_ns)
        return fail(reading, node, "the entry expires before it is valid (not_before)");
    return 0;
}

/* The list of the file's one key. */
static int find_list(struct reading *reading, const yaml_node_t **list_out)
{
    static const char form[] = "the file holds one key, credentials, with a list of entries";
    const yaml_node_t *root = yaml_document_get_root_node(&reading->document);
    const yaml_node_t *list = NULL;
    if (root == NULL || root->type != YAML_MAPPING_NODE)
        return fail(reading, root, form);
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = node_of(reading, pair->key);
        if (list != NULL || !scalar_is(key, "credentials"))
            return fail(reading, key, form);
        list = node_of(reading, pair->value);
    }
    if (list == NULL)
        return fail(reading, root, form);
    if (list->type != YAML_SEQUENCE_NODE)
        return fail(reading, list, "credentials is a list of entries");
    *list_out = list;
    return 0;
}

static int take_entries(struct reading *reading)
{
    const yaml_node_t *list = NULL;
    int result = find_list(reading, &list);
    if (result < 0)
        return result;
    size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (count == 0 || count > CREDENTIALS_COUNT_MAX)
        return fail(reading, list, "there are %zu entries; 1 to %d are taken", count,
                    CREDENTIALS_COUNT_MAX);
    reading->entries = calloc(count, sizeof(*reading->entries));
    if (reading->entries == NULL)
        return fail_memory(reading);
    for (size_t i = 0; i < count; i++) {
        reading->count++; /* also one that fails: what it has is freed with the rest */
        result = take_entry(reading, node_of(reading, list->data.sequence.items.start[i]),
                            &reading->entries[i]);
        if (result < 0)
            return result;
    }
    return 0;
}

/* --- the file ------------------------------------------------------------------------------- */

static int check_file(const char *path, const struct stat *status, struct base_error *error)
{
    if (!S_ISREG(status->st_mode))
        return base_error_set(error, -EINVAL, "%s is no file", path);
    if (status->st_mode & (S_IROTH | S_IWOTH))
        return base_error_set(
            error, -EINVAL, "%s may be %s by every user (mode %04o): chmod o-rwx %s", path,
            status->st_mode & S_IWOTH ? "written" : "read", status->st_mode & 07777u, path);
    if (status->st_size > CREDENTIALS_FILE_BYTES_MAX)
        return base_error_set(error, -EINVAL, "%s has %lld bytes, the limit is %d", path,
                              (long long)status->st_size, CREDENTIALS_FILE_BYTES_MAX);
    return 0;
}

static FILE *open_file(const char *path, struct base_error *error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a pipe */
    if (fd < 0 || fstat(fd, &status) < 0) {
        base_error_set(error, -EINVAL, "cannot read %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    FILE *file = check_file(path, &status, error) == 0 ? fdopen(fd, "r") : NULL;
    if (file == NULL)
        close(fd);
    return file;
}

/* One document and nothing behind it; `reading->document` is to be deleted when this returns 0. */
static int parse_document(struct reading *reading, yaml_parser_t *parser)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &reading->document))
        return base_error_set(reading->error, -EINVAL, "%s:%zu: this is not YAML: %s",
                              reading->path, parser->problem_mark.line + 1,
                              parser->problem != NULL ? parser->problem : "cannot be read");
    bool ends =
        yaml_parser_load(parser, &second) != 0 && yaml_document_get_root_node(&second) == NULL;
    size_t line = second.start_mark.line + 1; /* 0 + 1 when it is no YAML */
    yaml_document_delete(&second);
    if (ends)
        return 0;
    yaml_document_delete(&reading->document);
    return base_error_set(reading->error, -EINVAL, "%s:%zu: something follows the list",
                          reading->path, line);
}

int credentials_load(const void *path, void **credentials_out, struct base_error *error)
{
    struct reading reading = {.path = path, .error = error};
    struct credentials *credentials = NULL;
    yaml_parser_t parser;
    FILE *file = open_file(path, error);
    if (file == NULL)
        return error->code;
    int result;
    if (yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_file(&parser, file);
        result = parse_document(&reading, &parser);
    } else {
        result = fail_memory(&reading);
    }
    if (result == 0) {
        result = take_entries(&reading);
        yaml_document_delete(&reading.document);
        if (result == 0)
            result = credentials_create(reading.entries, reading.count, path, &credentials, error);
        else
            credentials_free_entries(reading.entries, reading.count);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    *credentials_out = credentials;
    return result;
}
