#include "test_files.h"

#include "base/checksum.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_DIRECTORIES_MAX 16

void test_path(char path_out[TEST_PATH_BYTES], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(path_out, TEST_PATH_BYTES, format, arguments);
    va_end(arguments);
    cr_assert(bytes > 0 && bytes < TEST_PATH_BYTES);
}

void test_directory_make(char path_out[TEST_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");
    test_path(path_out, "%s/sluice-test-XXXXXX", parent != NULL ? parent : "/tmp");
    cr_assert_not_null(mkdtemp(path_out), "cannot make %s", path_out);
}

void test_directory_make_in_memory(char path_out[TEST_PATH_BYTES])
{
    test_path(path_out, "/dev/shm/sluice-test-XXXXXX");
    if (mkdtemp(path_out) == NULL)
        test_directory_make(path_out);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

void test_directory_remove(const char *path)
{
    if (path[0] != '\0' && access(path, F_OK) == 0)
        cr_assert_eq(nftw(path, remove_one, OPEN_DIRECTORIES_MAX, FTW_DEPTH | FTW_PHYS), 0);
}

struct test_bytes test_file_load(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0 && fstat(fd, &status) == 0, "cannot open %s", path);
    struct test_bytes file = {malloc((size_t)status.st_size + 1), (size_t)status.st_size};
    cr_assert_not_null(file.data);
    cr_assert_eq(pread(fd, file.data, file.bytes, 0), (ssize_t)file.bytes);
    close(fd);
    return file;
}

void test_bytes_free(struct test_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct test_bytes){NULL, 0};
}

void test_file_store(const char *path, const void *data, size_t bytes)
{
    cr_assert(unlink(path) == 0 || errno == ENOENT);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    cr_assert(fd >= 0, "cannot create %s", path);
    cr_assert_eq(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

/* Opens for writing what may be read-only, and leaves the mode as it was. */
static int open_any(const char *path)
{
    struct stat status;
    cr_assert_eq(stat(path, &status), 0, "%s is missing", path);
    cr_assert_eq(chmod(path, 0644), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0, "cannot open %s", path);
    cr_assert_eq(fchmod(fd, status.st_mode & 07777), 0);
    return fd;
}

void test_file_patch(const char *path, uint64_t offset, const void *data, size_t bytes)
{
    int fd = open_any(path);
    cr_assert_eq(pwrite(fd, data, bytes, (off_t)offset), (ssize_t)bytes);
    close(fd);
}

void test_file_flip(const char *path, uint64_t offset, uint8_t mask)
{
    uint8_t byte;
    int fd = open_any(path);
    cr_assert_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= mask;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

void test_file_zero(const char *path, uint64_t offset, size_t bytes)
{
    uint8_t *zeros = calloc(1, bytes);
    cr_assert_not_null(zeros);
    test_file_patch(path, offset, zeros, bytes);
    free(zeros);
}

void test_file_truncate(const char *path, uint64_t bytes)
{
    int fd = open_any(path);
    cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

void test_file_rename(const char *from, const char *to)
{
    cr_assert_eq(rename(from, to), 0, "cannot rename %s to %s", from, to);
}

bool test_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Calls `take` for each entry, in the order of the names. */
static void each_entry(const char *path,
                       void (*take)(void *context, const char *path, const char *name,
                                    const struct stat *status),
                       void *context)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_entry, alphasort);
    cr_assert(count >= 0, "cannot list %s", path);
    for (int i = 0; i < count; i++) {
        char entry_path[TEST_PATH_BYTES];
        struct stat status;
        test_path(entry_path, "%s/%s", path, entries[i]->d_name);
        cr_assert_eq(lstat(entry_path, &status), 0);
        take(context, entry_path, entries[i]->d_name, &status);
        free(entries[i]);
    }
    free(entries);
}

static void copy_entry(void *context, const char *path, const char *name, const struct stat *status)
{
    char to[TEST_PATH_BYTES];
    test_path(to, "%s/%s", (const char *)context, name);
    if (S_ISDIR(status->st_mode)) {
        test_directory_copy(path, to);
        return;
    }
    struct test_bytes file = test_file_load(path);
    test_file_store(to, file.data, file.bytes);
    cr_assert_eq(chmod(to, status->st_mode & 07777), 0);
    test_bytes_free(&file);
}

void test_directory_copy(const char *from, const char *to)
{
    char target[TEST_PATH_BYTES];
    test_path(target, "%s", to);
    cr_assert_eq(mkdir(to, 0750), 0, "cannot make %s", to);
    each_entry(from, copy_entry, target);
}

struct snapshot {
    FILE *text;
    size_t root_bytes;
};

static void snapshot_entry(void *context, const char *path, const char *name,
                           const struct stat *status)
{
    struct snapshot *snapshot = context;
    (void)name;
    if (S_ISDIR(status->st_mode)) {
        fprintf(snapshot->text, "%s/\n", path + snapshot->root_bytes);
        each_entry(path, snapshot_entry, context);
        return;
    }
    uint8_t digest[SHA256_BYTES];
    struct test_bytes file = test_file_load(path);
    base_sha256_of(file.data, file.bytes, digest);
    fprintf(snapshot->text, "%s %o %zu ", path + snapshot->root_bytes, status->st_mode & 07777u,
            file.bytes);
    for (size_t i = 0; i < sizeof(digest); i++)
        fprintf(snapshot->text, "%02x", digest[i]);
    fputc('\n', snapshot->text);
    test_bytes_free(&file);
}

char *test_directory_snapshot(const char *path)
{
    char *text;
    size_t bytes;
    struct snapshot snapshot = {open_memstream(&text, &bytes), strlen(path)};
    cr_assert_not_null(snapshot.text);
    each_entry(path, snapshot_entry, &snapshot);
    fclose(snapshot.text);
    return text;
}

struct counting {
    size_t count;
    char *path_out;
};

static void count_entry(void *context, const char *path, const char *name,
                        const struct stat *status)
{
    struct counting *counting = context;
    (void)name, (void)status;
    counting->count++;
    if (counting->path_out != NULL)
        test_path(counting->path_out, "%s", path);
}

size_t test_directory_count(const char *path)
{
    struct counting counting = {0, NULL};
    if (test_file_exists(path))
        each_entry(path, count_entry, &counting);
    return counting.count;
}

void test_directory_only(const char *path, char path_out[TEST_PATH_BYTES])
{
    struct counting counting = {0, path_out};
    each_entry(path, count_entry, &counting);
    cr_assert_eq(counting.count, 1, "%s holds %zu files", path, counting.count);
}

size_t test_descriptor_count(void)
{
    struct dirent **entries;
    int count = scandir("/proc/self/fd", &entries, is_entry, alphasort);
    cr_assert(count > 0);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return (size_t)count - 1; /* without the one that scandir had open */
}
