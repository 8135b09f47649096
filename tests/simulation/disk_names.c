/* Names: a table as programs see it, one as it is on the medium, and the log between them. */
#include "base/check.h"
#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct disk_entry *find_entry(struct disk_names *names, uint32_t directory, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (names->entries[i].directory == directory && strcmp(names->entries[i].name, name) == 0)
            return &names->entries[i];
    return NULL;
}

static void remove_entry(struct disk_names *names, uint32_t directory, const char *name)
{
    struct disk_entry *entry = find_entry(names, directory, name);
    if (entry != NULL)
        *entry = names->entries[--names->count];
}

static void add_entry(struct disk_names *names, uint32_t directory, const char *name, uint32_t file)
{
    remove_entry(names, directory, name); /* a rename replaces */
    CHECK(names->count < DISK_ENTRIES_MAX);
    struct disk_entry *entry = &names->entries[names->count++];
    entry->directory = directory;
    entry->file = file;
    snprintf(entry->name, sizeof(entry->name), "%s", name);
}

static void apply(struct disk_names *names, const struct disk_change *change)
{
    switch (change->kind) {
    case DISK_LINK:
        add_entry(names, change->directory, change->name, change->file);
        break;
    case DISK_UNLINK:
        remove_entry(names, change->directory, change->name);
        break;
    case DISK_RENAME:
        remove_entry(names, change->directory, change->name);
        add_entry(names, change->directory, change->new_name, change->file);
        break;
    case DISK_CHMOD:
        if (names == &disk.medium_names)
            disk.files[change->file].medium_writable = change->is_writable;
        break;
    }
}

/* Makes the first `count` changes of the log durable. */
static void commit(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        apply(&disk.medium_names, &disk.log[i]);
    memmove(disk.log, disk.log + count, (disk.log_count - count) * sizeof(*disk.log));
    disk.log_count -= count;
}

static void change(const struct disk_change *change)
{
    if (disk.log_count == DISK_LOG_MAX) /* a journal is only so long */
        commit(DISK_LOG_MAX / 2);
    disk.log[disk.log_count++] = *change;
    apply(&disk.names, change);
}

void disk_commit_names(uint32_t number)
{
    uint32_t count = disk.log_count;
    while (count > 0 && disk.log[count - 1].directory != number &&
           (disk.log[count - 1].file != number ||
            (disk.strict_names && !disk.files[number].is_directory)))
        count--;
    commit(count);
}

void disk_cut_names(void)
{
    commit((uint32_t)draw_below(disk.random, disk.log_count + 1));
    disk.log_count = 0;
    disk.names.count = disk.medium_names.count;
    memcpy(disk.names.entries, disk.medium_names.entries,
           disk.names.count * sizeof(*disk.names.entries));
}

static bool is_in_table(const struct disk_names *names, uint32_t number)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (names->entries[i].file == number)
            return true;
    return false;
}

bool disk_is_named(uint32_t number)
{
    for (uint32_t i = 0; i < disk.log_count; i++)
        if (disk.log[i].file == number)
            return true;
    return is_in_table(&disk.names, number) || is_in_table(&disk.medium_names, number);
}

/* Splits "a/b/c" below `directory` into the directory that holds it and the last name; -ENOENT when
 * a directory on the way is missing. */
static int find_parent(uint32_t directory, const char *path, uint32_t *parent_out,
                       char name_out[DISK_NAME_BYTES])
{
    for (;;) {
        const char *slash = strchr(path, '/');
        size_t bytes = slash != NULL ? (size_t)(slash - path) : strlen(path);
        CHECK(bytes < DISK_NAME_BYTES);
        memcpy(name_out, path, bytes);
        name_out[bytes] = '\0';
        *parent_out = directory;
        if (slash == NULL)
            return 0;
        const struct disk_entry *entry = find_entry(&disk.names, directory, name_out);
        if (entry == NULL || !disk.files[entry->file].is_directory)
            return -ENOENT;
        directory = entry->file;
        path = slash + 1;
    }
}

int disk_find(uint32_t directory, const char *path)
{
    uint32_t parent;
    char name[DISK_NAME_BYTES];
    /* what is above the data directory is not simulated: its name is always there */
    if (strcmp(path, ".") == 0 || strcmp(path, "..") == 0)
        return (int)directory;
    if (find_parent(directory, path, &parent, name) < 0)
        return -ENOENT;
    const struct disk_entry *entry = find_entry(&disk.names, parent, name);
    return entry != NULL ? (int)entry->file : -ENOENT;
}

int disk_create(uint32_t directory, const char *path, bool is_directory)
{
    struct disk_change link = {.kind = DISK_LINK};
    if (disk_find(directory, path) >= 0)
        return -EEXIST;
    if (find_parent(directory, path, &link.directory, link.name) < 0)
        return -ENOENT;
    link.file = disk_new_file();
    disk.files[link.file].is_directory = is_directory;
    change(&link);
    return (int)link.file;
}

int disk_unlink(uint32_t directory, const char *path)
{
    struct disk_change unlink = {.kind = DISK_UNLINK};
    int file = disk_find(directory, path);
    if (file < 0 || find_parent(directory, path, &unlink.directory, unlink.name) < 0)
        return -ENOENT;
    unlink.file = (uint32_t)file;
    change(&unlink);
    return 0;
}

int disk_rename(uint32_t directory, const char *from, const char *to)
{
    struct disk_change rename = {.kind = DISK_RENAME};
    int file = disk_find(directory, from);
    if (file < 0 || find_parent(directory, from, &rename.directory, rename.name) < 0)
        return -ENOENT;
    snprintf(rename.new_name, sizeof(rename.new_name), "%s", to);
    rename.file = (uint32_t)file;
    change(&rename);
    return 0;
}

void disk_chmod(uint32_t number, bool is_writable)
{
    struct disk_change chmod = {
        .kind = DISK_CHMOD,
        .directory = UINT32_MAX, /* in none */
        .file = number,
        .is_writable = is_writable,
    };
    disk.files[number].is_writable = is_writable;
    change(&chmod);
}
