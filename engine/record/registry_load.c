/* Two passes over the documents: instruments first, so that a study may stand before what it uses.
 * Parsing a file twice costs a millisecond and keeps one document in memory at a time. */
#include "record/registry_load.h"

#include "base/checksum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Building ---- */

int registry_load_text(struct registry_load *load, const yaml_node_t *node, const char *what,
                       size_t bytes_max, struct record_text *text_out)
{
    int result = record_yaml_text(&load->yaml, node, what, bytes_max, load->error);
    if (result == 0)
        *text_out =
            registry_block_text(&load->block, record_yaml_data(node), record_yaml_bytes(node));
    return result;
}

int registry_load_twice(struct registry_load *load, const yaml_node_t *list, size_t index,
                        size_t first, const char *what, struct record_text id)
{
    return record_yaml_fail(&load->yaml, record_yaml_entry(&load->yaml, list, index), load->error,
                            "the %s \"%.*s\" stands twice, first on line %u; keep one", what,
                            REGISTRY_SHOWN(id),
                            record_yaml_line(record_yaml_entry(&load->yaml, list, first)));
}

enum pass { PASS_INSTRUMENTS, PASS_STUDIES };

static int take_document(struct registry_load *load, const yaml_node_t *root, enum pass pass)
{
    /* a study has a list of instruments, and its entries have the key `instrument`, but only an
     * instrument has it itself */
    if (record_yaml_find(&load->yaml, root, "study") != NULL)
        return pass == PASS_STUDIES ? registry_load_study(load, root) : 0;
    if (record_yaml_find(&load->yaml, root, "instrument") != NULL)
        return pass == PASS_INSTRUMENTS ? registry_load_instrument(load, root) : 0;
    return record_yaml_fail(&load->yaml, root, load->error,
                            "a document is a mapping with the key \"study\" or \"instrument\"; "
                            "this has neither");
}

static int take_source(struct registry_load *load, const struct record_registry_source *source,
                       enum pass pass)
{
    yaml_node_t *root;
    int result =
        record_yaml_open(&load->yaml, source->path, source->text, source->bytes, load->error);
    while (result >= 0) {
        result = record_yaml_next(&load->yaml, &root, load->error);
        if (result <= 0)
            break;
        result = take_document(load, root, pass);
    }
    record_yaml_close(&load->yaml);
    return result;
}

/* What `cat FILES | sha256sum` prints, its first digits. */
static void make_digest(struct registry_load *load, const struct record_registry_source *sources,
                        size_t count)
{
    struct base_sha256 hash;
    uint8_t digest[SHA256_BYTES];
    base_sha256_init(&hash);
    for (size_t i = 0; i < count; i++)
        base_sha256_update(&hash, sources[i].text, sources[i].bytes);
    base_sha256_final(&hash, digest);
    for (size_t i = 0; i < RECORD_REGISTRY_DIGEST_DIGITS; i++)
        load->digest[i] = "0123456789abcdef"[i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15];
}

static void begin(struct registry_load *load)
{
    struct registry_block *block = &load->block;
    struct record_registry *registry = registry_block_alloc(block, 1, sizeof(*registry));
    load->registry = registry;
    load->studies =
        registry_block_alloc(block, RECORD_REGISTRY_STUDIES_MAX, sizeof(*load->studies));
    load->instruments =
        registry_block_alloc(block, RECORD_REGISTRY_INSTRUMENTS_MAX, sizeof(*load->instruments));
    load->instrument_table = registry_table_make(block, RECORD_REGISTRY_INSTRUMENTS_MAX);
    registry->study_table = registry_table_make(block, RECORD_REGISTRY_STUDIES_MAX);
    registry->studies = load->studies;
    registry->instruments = load->instruments;
    registry->version = registry_block_text(block, load->digest, sizeof(load->digest));
}

static int check_sizes(const struct record_registry_source *sources, size_t count,
                       struct base_error *error)
{
    size_t total = 0;
    if (count > RECORD_REGISTRY_FILES_MAX)
        return base_error_set(error, -EINVAL, "%s: the registry has more than %d files; join some",
                              sources[RECORD_REGISTRY_FILES_MAX].path, RECORD_REGISTRY_FILES_MAX);
    for (size_t i = 0; i < count; i++) {
        total += sources[i].bytes;
        if (sources[i].bytes > RECORD_REGISTRY_FILE_BYTES_MAX)
            return base_error_set(error, -EINVAL,
                                  "%s: the file is larger than %d bytes; split it into several",
                                  sources[i].path, RECORD_REGISTRY_FILE_BYTES_MAX);
        if (total > RECORD_REGISTRY_TOTAL_BYTES_MAX)
            return base_error_set(error, -EINVAL,
                                  "%s: with this file the registry is larger than %d bytes; run "
                                  "another engine for some of the studies",
                                  sources[i].path, RECORD_REGISTRY_TOTAL_BYTES_MAX);
    }
    return 0;
}

int record_registry_build(const struct record_registry_source *sources, size_t count,
                          struct record_registry **registry_out, struct base_error *error)
{
    struct registry_load load = {.error = error};
    int result = check_sizes(sources, count, error);
    if (result == 0)
        result = registry_block_begin(&load.block, error);
    if (result < 0)
        return result;
    make_digest(&load, sources, count);
    begin(&load);
    for (size_t i = 0; i < count && result == 0; i++)
        result = take_source(&load, &sources[i], PASS_INSTRUMENTS);
    for (size_t i = 0; i < count && result == 0; i++)
        result = take_source(&load, &sources[i], PASS_STUDIES);
    if (result == 0 && load.registry->study_count == 0)
        result = base_error_set(error, -EINVAL,
                                "%s: there is no study; every submission would be of an unknown "
                                "one. Add a document with the key \"study\"",
                                count > 0 ? sources[0].path : "the registry");
    if (result < 0) {
        registry_block_discard(&load.block);
        return result;
    }
    load.registry->file_count = (uint32_t)count;
    registry_block_end(&load.block, load.registry);
    *registry_out = load.registry;
    return 0;
}

/* ---- Files ---- */

/* The files that were read, in the order of their names. */
struct files {
    struct record_registry_source *sources; /* paths and texts are malloc'ed */
    size_t count;
};

static void free_files(struct files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free((void *)(uintptr_t)files->sources[i].path);
        free((void *)(uintptr_t)files->sources[i].text);
    }
    free(files->sources);
}

/* One byte more than a file may have is asked for, so that a larger one shows. */
static int read_text(int fd, struct record_registry_source *source, struct base_error *error)
{
    size_t capacity = RECORD_REGISTRY_FILE_BYTES_MAX + 1;
    char *text = malloc(capacity);
    source->text = text;
    if (text == NULL)
        return base_error_set(error, -ENOMEM, "%s: out of memory", source->path);
    for (;;) {
        ssize_t got = read(fd, text + source->bytes, capacity - source->bytes);
        if (got < 0)
            return base_error_os(error, -errno, "%s: cannot read the file", source->path);
        source->bytes += (size_t)got;
        if (got == 0 || source->bytes == capacity)
            break;
    }
    char *fitting = realloc(text, source->bytes > 0 ? source->bytes : 1);
    source->text = fitting != NULL ? fitting : text;
    return 0;
}

static int add_file(struct files *files, const char *directory, const char *name,
                    struct base_error *error)
{
    struct record_registry_source *more =
        realloc(files->sources, (files->count + 1) * sizeof(*more));
    char *path = NULL;
    if (more != NULL)
        files->sources = more;
    if (more == NULL ||
        asprintf(&path, "%s%s%s", directory, *directory == '\0' ? "" : "/", name) < 0)
        return base_error_set(error, -ENOMEM, "out of memory");
    struct record_registry_source *source = &files->sources[files->count++];
    *source = (struct record_registry_source){.path = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_error_os(error, -errno, "%s: cannot open the registry", path);
    int result = read_text(fd, source, error);
    close(fd);
    return result;
}

static bool ends_in(const char *name, const char *end)
{
    size_t bytes = strlen(name), end_bytes = strlen(end);
    return bytes > end_bytes && strcmp(name + bytes - end_bytes, end) == 0;
}

static int is_registry_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.' &&
           (ends_in(entry->d_name, ".yaml") || ends_in(entry->d_name, ".yml"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_directory(struct files *files, const char *path, struct base_error *error)
{
    struct dirent **entries = NULL;
    int result = 0, count = scandir(path, &entries, is_registry_file, by_name);
    if (count < 0)
        return base_error_os(error, -errno, "%s: cannot list the registry's directory", path);
    if (count == 0)
        result = base_error_set(error, -EINVAL, "%s: there is no file NAME.yaml in it", path);
    for (int i = 0; i < count && result == 0; i++) {
        if (ends_in(entries[i]->d_name, ".yml"))
            result =
                base_error_set(error, -EINVAL, "%s/%s: only files NAME.yaml are taken; rename it",
                               path, entries[i]->d_name);
        else if (i > RECORD_REGISTRY_FILES_MAX) /* one too many is enough to say so */
            break;
        else
            result = add_file(files, path, entries[i]->d_name, error);
    }
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return result;
}

int record_registry_load(const char *path, struct record_registry **registry_out,
                         struct base_error *error)
{
    struct files files = {NULL, 0};
    struct stat status;
    int result;
    if (stat(path, &status) < 0)
        result = base_error_os(error, -errno, "%s: cannot open the registry", path);
    else if (S_ISDIR(status.st_mode))
        result = read_directory(&files, path, error);
    else
        result = add_file(&files, "", path, error);
    if (result == 0)
        result = record_registry_build(files.sources, files.count, registry_out, error);
    free_files(&files);
    return result;
}
