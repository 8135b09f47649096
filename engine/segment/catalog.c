#include "segment/catalog.h"

#include "base/check.h"
#include "base/checksum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const suffixes[] = {
    [SEGMENT_STATE_OPEN] = "open",
    [SEGMENT_STATE_SEALED] = "sealed",
    [SEGMENT_STATE_TEMPORARY] = "tmp",
};

#define SUFFIX_COUNT (sizeof(suffixes) / sizeof(suffixes[0]))

void segment_catalog_name(uint64_t segment_number, enum segment_state state,
                          char name_out[SEGMENT_NAME_BYTES])
{
    snprintf(name_out, SEGMENT_NAME_BYTES, "%010" PRIu64 ".%s", segment_number, suffixes[state]);
}

void segment_catalog_path(const struct segment_catalog *catalog, uint32_t journal,
                          uint64_t segment_number, enum segment_state state, char *path_out,
                          size_t path_bytes)
{
    char name[SEGMENT_NAME_BYTES];
    segment_catalog_name(segment_number, state, name);
    snprintf(path_out, path_bytes, "%s/journal-%04" PRIu32 "/%s", catalog->path, journal, name);
}

int segment_catalog_flush_directory(int directory_fd, const char *path, struct base_error *error)
{
    if (fsync(directory_fd) < 0)
        return base_error_os(error, -errno, "cannot flush directory %s", path);
    return 0;
}

static int take_lock(struct segment_catalog *catalog, struct base_error *error)
{
    catalog->lock_fd = openat(catalog->directory_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (catalog->lock_fd < 0)
        return base_error_os(error, -errno, "cannot create %s/LOCK", catalog->path);
    if (flock(catalog->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return base_error_os(error, -errno, "cannot lock %s/LOCK", catalog->path);
    return base_error_set(error, -EWOULDBLOCK,
                          "%s is in use by another engine (it holds %s/LOCK): stop that one first, "
                          "or give this one a data directory of its own",
                          catalog->path, catalog->path);
}

/* The node file: three lines, the last a checksum over the first two. */
#define NODE_FORMAT     "sluice data directory format %u.%u\nnode %s\n"
#define NODE_TEXT_BYTES 160

/* Returns the length; `text` has NODE_TEXT_BYTES. */
static size_t print_node(char *text, unsigned major, unsigned minor, const char *id)
{
    int lines = snprintf(text, NODE_TEXT_BYTES, NODE_FORMAT, major, minor, id);
    int last = snprintf(text + lines, NODE_TEXT_BYTES - (size_t)lines, "crc32c %08" PRIx32 "\n",
                        base_crc32c(text, (size_t)lines));
    return (size_t)(lines + last);
}

static int write_node(struct segment_catalog *catalog, struct base_error *error)
{
    char text[NODE_TEXT_BYTES], id[2 * SEGMENT_NODE_BYTES + 1];
    CHECK(getrandom(catalog->node_id, SEGMENT_NODE_BYTES, 0) == SEGMENT_NODE_BYTES);
    for (int i = 0; i < SEGMENT_NODE_BYTES; i++)
        snprintf(id + 2 * i, 3, "%02x", catalog->node_id[i]);
    size_t bytes = print_node(text, SEGMENT_VERSION_MAJOR, SEGMENT_VERSION_MINOR, id);
    int fd =
        openat(catalog->directory_fd, "node.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return base_error_os(error, -errno, "cannot create %s/node.tmp", catalog->path);
    ssize_t written = write(fd, text, bytes);
    int failure = written == (ssize_t)bytes ? 0 : (written < 0 ? -errno : -ENOSPC);
    if (failure == 0 && fsync(fd) < 0)
        failure = -errno;
    close(fd);
    if (failure == 0 &&
        renameat(catalog->directory_fd, "node.tmp", catalog->directory_fd, "node") < 0)
        failure = -errno;
    if (failure < 0)
        return base_error_os(error, failure, "cannot write %s/node", catalog->path);
    return segment_catalog_flush_directory(catalog->directory_fd, catalog->path, error);
}

/* `text` holds `bytes` bytes and a NUL. What was parsed must print as the same bytes: nothing
 * before, between or behind the three lines is let pass. */
static int parse_node(struct segment_catalog *catalog, const char *text, size_t bytes,
                      struct base_error *error)
{
    unsigned major, minor;
    char id[2 * SEGMENT_NODE_BYTES + 1], expected[NODE_TEXT_BYTES];
    int fields =
        sscanf(text, "sluice data directory format %u.%u\nnode %32[0-9a-f]", &major, &minor, id);
    if (fields >= 1 && major != SEGMENT_VERSION_MAJOR)
        return base_error_set(error, -EPROTO,
                              "%s has format %u, this program reads and writes format %d: use the "
                              "release of Sluice that wrote it, or a newer one",
                              catalog->path, major, SEGMENT_VERSION_MAJOR);
    if (fields != 3 || strlen(id) != 2 * SEGMENT_NODE_BYTES ||
        print_node(expected, major, minor, id) != bytes || memcmp(text, expected, bytes) != 0)
        return base_error_set(error, -EBADMSG,
                              "%s/node is damaged; restore this file from a backup of the data "
                              "directory (the id is also in every segment header, bytes 16 to 31)",
                              catalog->path);
    for (int i = 0; i < SEGMENT_NODE_BYTES; i++) {
        unsigned byte;
        sscanf(id + 2 * i, "%2x", &byte);
        catalog->node_id[i] = (uint8_t)byte;
    }
    return 0;
}

/* -ENOENT without a text when there is none. */
static int read_node(struct segment_catalog *catalog, struct base_error *error)
{
    char text[NODE_TEXT_BYTES + 1];
    int fd = openat(catalog->directory_fd, "node", O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0)
        return base_error_os(error, -errno, "cannot open %s/node", catalog->path);
    ssize_t bytes = read(fd, text, sizeof(text) - 1);
    int failure = bytes < 0 ? -errno : 0;
    close(fd);
    if (failure < 0)
        return base_error_os(error, failure, "cannot read %s/node", catalog->path);
    text[bytes] = '\0';
    return parse_node(catalog, text, (size_t)bytes, error);
}

static int open_root(struct segment_catalog *catalog, const char *path, struct base_error *error)
{
    *catalog = (struct segment_catalog){.directory_fd = -1, .lock_fd = -1};
    size_t path_bytes = strlen(path);
    if (path_bytes >= sizeof(catalog->path))
        return base_error_set(error, -ENAMETOOLONG, "the data directory's path is too long: %s",
                              path);
    memcpy(catalog->path, path, path_bytes + 1);
    catalog->directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (catalog->directory_fd < 0)
        return base_error_os(error, -errno, "cannot open data directory %s", path);
    return 0;
}

static bool is_full(int code)
{
    return code == ENOSPC || code == EDQUOT;
}

/* Tries what the engine is going to do: a direct write of one block. */
static int probe_direct(struct segment_catalog *catalog, struct base_error *error)
{
    int fd = openat(catalog->directory_fd, "probe.tmp",
                    O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    catalog->direct = fd >= 0;
    if (fd < 0 && errno == EINVAL) {
        unlinkat(catalog->directory_fd, "probe.tmp", 0); /* created, then refused */
        return 0;
    }
    if (fd < 0 && is_full(errno)) { /* no answer, and no reason to stay away: most have it */
        catalog->direct = true;
        return 0;
    }
    if (fd < 0)
        return base_error_os(error, -errno, "cannot create a file in %s", catalog->path);
    void *block = aligned_alloc(SEGMENT_BLOCK_BYTES, SEGMENT_BLOCK_BYTES);
    CHECK(block != NULL);
    memset(block, 0, SEGMENT_BLOCK_BYTES);
    ssize_t written = pwrite(fd, block, SEGMENT_BLOCK_BYTES, 0);
    int failure = written < 0 ? -errno : 0;
    free(block);
    close(fd);
    unlinkat(catalog->directory_fd, "probe.tmp", 0);
    if (failure == -EINVAL)
        return base_error_set(error, failure,
                              "%s needs direct writes larger than %d bytes, which segments do not "
                              "have: put the data directory on a filesystem with 4 KiB blocks or "
                              "smaller",
                              catalog->path, SEGMENT_BLOCK_BYTES);
    if (failure < 0 && !is_full(-failure))
        return base_error_os(error, failure, "cannot write to %s", catalog->path);
    return 0;
}

/* The name of the data directory itself, in the directory above. Who may not open that one has the
 * whole filesystem flushed instead; it happens once in the life of a data directory. */
static int flush_own_name(struct segment_catalog *catalog, struct base_error *error)
{
    int parent_fd = openat(catalog->directory_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = parent_fd >= 0 ? fsync(parent_fd) : syncfs(catalog->directory_fd);
    int failure = -errno;
    if (parent_fd >= 0)
        close(parent_fd);
    return result == 0 ? 0
                       : base_error_os(error, failure, "cannot flush the directory above %s",
                                       catalog->path);
}

static int find_or_make_node(struct segment_catalog *catalog, struct base_error *error)
{
    int result = read_node(catalog, error);
    if (result != -ENOENT)
        return result;
    uint32_t *journals;
    size_t count;
    result = segment_catalog_journals(catalog, &journals, &count, error);
    if (result < 0)
        return result;
    free(journals);
    if (count > 0)
        return base_error_set(error, -EBADMSG,
                              "%s holds journals but no node file: restore %s/node from a backup",
                              catalog->path, catalog->path);
    result = flush_own_name(catalog, error);
    return result < 0 ? result : write_node(catalog, error);
}

int segment_catalog_open(struct segment_catalog *catalog, const char *path,
                         struct base_error *error)
{
    if (mkdir(path, 0750) < 0 && errno != EEXIST) {
        *catalog = (struct segment_catalog){.directory_fd = -1, .lock_fd = -1};
        return base_error_os(error, -errno, "cannot create data directory %s", path);
    }
    int result = open_root(catalog, path, error);
    if (result == 0)
        result = take_lock(catalog, error);
    if (result == 0)
        result = find_or_make_node(catalog, error);
    if (result == 0)
        result = probe_direct(catalog, error);
    if (result < 0)
        segment_catalog_close(catalog);
    return result;
}

int segment_catalog_open_reader(struct segment_catalog *catalog, const char *path,
                                struct base_error *error)
{
    int result = open_root(catalog, path, error);
    if (result == 0)
        result = read_node(catalog, error);
    if (result == -ENOENT)
        result = base_error_set(error, -ENOENT,
                                "%s is not a Sluice data directory (no file %s/node)", path, path);
    if (result < 0)
        segment_catalog_close(catalog);
    return result;
}

void segment_catalog_close(struct segment_catalog *catalog)
{
    if (catalog->lock_fd >= 0)
        close(catalog->lock_fd);
    if (catalog->directory_fd >= 0)
        close(catalog->directory_fd);
    catalog->lock_fd = catalog->directory_fd = -1;
}

int segment_catalog_journal(const struct segment_catalog *catalog, uint32_t journal, bool create,
                            struct base_error *error)
{
    char name[32];
    snprintf(name, sizeof(name), "journal-%04" PRIu32, journal);
    if (create && mkdirat(catalog->directory_fd, name, 0750) < 0 && errno != EEXIST)
        return base_error_os(error, -errno, "cannot create %s/%s", catalog->path, name);
    if (create) {
        int result = segment_catalog_flush_directory(catalog->directory_fd, catalog->path, error);
        if (result < 0)
            return result;
    }
    int fd = openat(catalog->directory_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0)
        return base_error_os(error, -errno, "cannot open %s/%s", catalog->path, name);
    return fd;
}

/* Calls `take` for each name in the directory behind `fd`. */
static int each_name(int fd, const char *path, int (*take)(void *context, const char *name),
                     void *context, struct base_error *error)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir closes it */
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    if (directory == NULL) {
        int failure = -errno;
        if (copy >= 0)
            close(copy);
        return base_error_os(error, failure, "cannot list %s", path);
    }
    int result = 0;
    struct dirent *entry;
    errno = 0;
    while (result == 0 && (entry = readdir(directory)) != NULL) {
        result = take(context, entry->d_name);
        if (result < 0)
            base_error_set(error, result, "out of memory while listing %s", path);
        errno = 0;
    }
    if (result == 0 && errno != 0)
        result = base_error_os(error, -errno, "cannot list %s", path);
    closedir(directory);
    return result;
}

struct journal_names {
    uint32_t *numbers;
    size_t count;
};

static int take_journal(void *context, const char *name)
{
    struct journal_names *names = context;
    uint32_t number;
    int used = 0;
    if (sscanf(name, "journal-%4" SCNu32 "%n", &number, &used) != 1 || used != 12 ||
        name[used] != '\0' || number >= SEGMENT_WATERMARK_JOURNALS_MAX)
        return 0;
    uint32_t *larger = realloc(names->numbers, (names->count + 1) * sizeof(*larger));
    if (larger == NULL)
        return -ENOMEM;
    names->numbers = larger;
    larger[names->count++] = number;
    return 0;
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

int segment_catalog_journals(const struct segment_catalog *catalog, uint32_t **journals_out,
                             size_t *count_out, struct base_error *error)
{
    struct journal_names names = {NULL, 0};
    int result = each_name(catalog->directory_fd, catalog->path, take_journal, &names, error);
    if (result < 0) {
        free(names.numbers);
        return result;
    }
    if (names.count > 1)
        qsort(names.numbers, names.count, sizeof(*names.numbers), compare_numbers);
    *journals_out = names.numbers;
    *count_out = names.count;
    return 0;
}

static int take_segment(void *context, const char *name)
{
    struct segment_list *list = context;
    uint64_t number;
    int used = 0;
    if (sscanf(name, "%10" SCNu64 ".%n", &number, &used) != 1 || used != 11)
        return 0;
    for (size_t state = 0; state < SUFFIX_COUNT; state++) {
        if (strcmp(name + used, suffixes[state]) != 0)
            continue;
        struct segment_entry *larger = realloc(list->entries, (list->count + 1) * sizeof(*larger));
        if (larger == NULL)
            return -ENOMEM;
        list->entries = larger;
        larger[list->count++] = (struct segment_entry){number, (enum segment_state)state};
    }
    return 0;
}

static int compare_segments(const void *left, const void *right)
{
    const struct segment_entry *a = left, *b = right;
    if (a->segment_number != b->segment_number)
        return (a->segment_number > b->segment_number) - (a->segment_number < b->segment_number);
    return (a->state < b->state) - (a->state > b->state); /* sealed before open */
}

int segment_catalog_list(const struct segment_catalog *catalog, int journal_fd,
                         struct segment_list *list_out, struct base_error *error)
{
    *list_out = (struct segment_list){NULL, 0};
    int result = each_name(journal_fd, catalog->path, take_segment, list_out, error);
    if (result < 0) {
        free(list_out->entries);
        list_out->entries = NULL;
        return result;
    }
    if (list_out->count > 1)
        qsort(list_out->entries, list_out->count, sizeof(*list_out->entries), compare_segments);
    return 0;
}
