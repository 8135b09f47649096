/* An nbdkit plugin: a disk with a write cache of sectors, which a power cut empties at random.
 *
 * What was written counts for reads at once and for the image file only after a flush (or with
 * FUA). A disk may write back what it holds at any time and in any order, and so does this one: an
 * unflushed sector that is written again may first reach the image in its older version, and a cut
 * keeps a random subset of the unflushed sectors, each in whole. All randomness comes from `seed`.
 *
 *   nbdkit sector_plugin.so image=FILE control=SOCKET [seed=N] [granularity=512|4096]
 *                           [ignore-flush=true]
 *
 * Commands, one a connection to the control socket, each answered by one line:
 *   cut PERCENT    keeps about PERCENT of the unflushed sectors, drops the rest, and from then on
 *                  fails every request; answers "kept N dropped N"
 *   arm COUNT PERCENT [MAGIC]
 *                  such a cut by itself, right before the request COUNT requests from now; with
 *                  MAGIC, 8 characters, counted from the first write that starts with it. A "cut"
 *                  afterwards tells what was kept
 *   fail-writes [MAGIC]
 *                  every write, or those that start with MAGIC, fail with EIO and change nothing
 *   fail-flushes   every flush fails with EIO and drops what was to be flushed from the image's
 *                  point of view: it is neither written nor tried again, while reads still show it
 *   heal           no more failures (not after a cut)
 * answered by "injected N": how many requests have failed so far.
 *
 * The page cache of the image file survives the end of nbdkit; only a cut of the real machine would
 * not, which is none of this plugin's business. Threads: requests are serialized by nbdkit, the
 * control thread by the mutex.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SECTOR_BYTES          512
#define WORD_BITS             64
#define MAGIC_BYTES           8
#define OLDER_VERSION_PERCENT 25 /* of overwritten unflushed sectors were written back before */

struct cut {
    unsigned percent;
    uint64_t group; /* the last one decided on */
    bool keeps_group;
    unsigned long kept, dropped;
};

enum power { POWER_ON, POWER_FAILING_WRITES, POWER_FAILING_FLUSHES, POWER_OFF };

static struct disk {
    char *image_path, *control_path;
    uint64_t seed;
    unsigned granularity;
    bool ignore_flush;

    pthread_mutex_t mutex; /* everything below */
    int image_fd;
    int control_fd;
    uint64_t bytes;
    uint8_t *contents;   /* what reads see */
    uint64_t *unflushed; /* a bit per sector */
    enum power power;
    unsigned long injected;
    struct cut cut;
    bool armed;
    unsigned armed_count, armed_percent;
    char armed_magic[MAGIC_BYTES + 1];   /* empty: the count runs */
    char failing_magic[MAGIC_BYTES + 1]; /* empty: every write */
} disk = {
    .granularity = SECTOR_BYTES,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .image_fd = -1,
    .control_fd = -1,
};

/* --- sectors -------------------------------------------------------------------------------- */

/* xorshift64*, Vigna 2016 */
static unsigned random_percent(void)
{
    disk.seed ^= disk.seed >> 12;
    disk.seed ^= disk.seed << 25;
    disk.seed ^= disk.seed >> 27;
    return (unsigned)((disk.seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % 100;
}

static bool is_unflushed(uint64_t sector)
{
    return (disk.unflushed[sector / WORD_BITS] >> (sector % WORD_BITS)) & 1;
}

static void set_unflushed(uint64_t sector, bool unflushed)
{
    uint64_t bit = UINT64_C(1) << (sector % WORD_BITS);
    uint64_t *word = &disk.unflushed[sector / WORD_BITS];
    *word = unflushed ? *word | bit : *word & ~bit;
}

static bool write_image(uint64_t sector, uint64_t count)
{
    size_t bytes = count * SECTOR_BYTES;
    uint64_t offset = sector * SECTOR_BYTES;
    return pwrite(disk.image_fd, disk.contents + offset, bytes, (off_t)offset) == (ssize_t)bytes;
}

/* Calls `act` for each unflushed sector and marks it flushed; false as soon as `act` fails. */
static bool drain(bool (*act)(uint64_t sector, void *context), void *context)
{
    for (uint64_t word = 0; word < disk.bytes / SECTOR_BYTES / WORD_BITS; word++) {
        while (disk.unflushed[word] != 0) {
            uint64_t sector = word * WORD_BITS + (unsigned)__builtin_ctzll(disk.unflushed[word]);
            if (!act(sector, context))
                return false;
            set_unflushed(sector, false);
        }
    }
    return true;
}

static bool persist(uint64_t sector, void *context)
{
    (void)context;
    return write_image(sector, 1);
}

static bool forget(uint64_t sector, void *context)
{
    (void)sector;
    (void)context;
    return true;
}

/* --- the cut
 * --------------------------------------------------------------------------------------- */

static bool keep_or_drop(uint64_t sector, void *context)
{
    struct cut *cut = context;
    uint64_t group = sector * SECTOR_BYTES / disk.granularity;
    if (group != cut->group) {
        cut->group = group;
        cut->keeps_group = random_percent() < cut->percent;
    }
    if (!cut->keeps_group) {
        cut->dropped++;
        return true;
    }
    cut->kept++;
    return write_image(sector, 1);
}

static void cut_power(unsigned percent)
{
    if (disk.power == POWER_OFF)
        return;
    disk.cut = (struct cut){.percent = percent, .group = UINT64_MAX};
    if (!drain(keep_or_drop, &disk.cut))
        nbdkit_error("cannot write the image: %m");
    disk.power = POWER_OFF;
}

/* True also without a magic. */
static bool starts_with(const void *data, uint32_t bytes, const char *magic)
{
    size_t length = strlen(magic);
    return length == 0 || (bytes >= length && memcmp(data, magic, length) == 0);
}

/* Counts a request towards an armed cut. */
static void cut_when_due(const void *data, uint32_t bytes)
{
    if (!disk.armed || !starts_with(data, bytes, disk.armed_magic))
        return;
    disk.armed_magic[0] = '\0';
    if (disk.armed_count-- > 0)
        return;
    disk.armed = false;
    cut_power(disk.armed_percent);
}

/* --- requests ------------------------------------------------------------------------------- */

static int fail_request(void)
{
    disk.injected++;
    nbdkit_set_error(EIO);
    return -1;
}

static int take_flush(void)
{
    cut_when_due("", 0);
    if (disk.power == POWER_OFF)
        return fail_request();
    if (disk.power == POWER_FAILING_FLUSHES) {
        drain(forget, NULL);
        return fail_request();
    }
    if (disk.ignore_flush || drain(persist, NULL))
        return 0;
    nbdkit_error("cannot write the image: %m");
    return -1;
}

static int take_write(const uint8_t *data, uint32_t bytes, uint64_t offset, uint32_t flags)
{
    cut_when_due(data, bytes);
    bool fails = disk.power == POWER_FAILING_WRITES && starts_with(data, bytes, disk.failing_magic);
    if (disk.power == POWER_OFF || fails)
        return fail_request();
    for (uint64_t sector = offset / SECTOR_BYTES; sector < (offset + bytes) / SECTOR_BYTES;
         sector++) {
        if (is_unflushed(sector) && random_percent() < OLDER_VERSION_PERCENT)
            write_image(sector, 1);
        set_unflushed(sector, true);
    }
    memcpy(disk.contents + offset, data, bytes);
    if ((flags & NBDKIT_FLAG_FUA) == 0 || disk.ignore_flush)
        return 0;
    uint64_t first = offset / SECTOR_BYTES, count = bytes / SECTOR_BYTES;
    if (!write_image(first, count))
        return fail_request();
    for (uint64_t sector = first; sector < first + count; sector++)
        set_unflushed(sector, false);
    return 0;
}

static int sector_flush(void *handle, uint32_t flags)
{
    (void)handle;
    (void)flags;
    pthread_mutex_lock(&disk.mutex);
    int result = take_flush();
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

static int sector_pwrite(void *handle, const void *data, uint32_t bytes, uint64_t offset,
                         uint32_t flags)
{
    (void)handle;
    pthread_mutex_lock(&disk.mutex);
    int result = take_write(data, bytes, offset, flags);
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

static int sector_pread(void *handle, void *data, uint32_t bytes, uint64_t offset, uint32_t flags)
{
    (void)handle;
    (void)flags;
    pthread_mutex_lock(&disk.mutex);
    int result = disk.power == POWER_OFF ? fail_request() : 0;
    if (result == 0)
        memcpy(data, disk.contents + offset, bytes);
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

/* --- control -------------------------------------------------------------------------------- */

static void take_command(const char *command, char *answer, size_t answer_bytes)
{
    unsigned percent;
    if (sscanf(command, "cut %u", &percent) == 1) {
        cut_power(percent);
        snprintf(answer, answer_bytes, "kept %lu dropped %lu\n", disk.cut.kept, disk.cut.dropped);
        return;
    }
    disk.armed_magic[0] = disk.failing_magic[0] = '\0';
    sscanf(command, "fail-writes %8s", disk.failing_magic);
    if (sscanf(command, "arm %u %u %8s", &disk.armed_count, &disk.armed_percent,
               disk.armed_magic) >= 2)
        disk.armed = true;
    if (disk.power != POWER_OFF) {
        if (strncmp(command, "fail-writes", 11) == 0)
            disk.power = POWER_FAILING_WRITES;
        else if (strcmp(command, "fail-flushes") == 0)
            disk.power = POWER_FAILING_FLUSHES;
        else if (strcmp(command, "heal") == 0)
            disk.power = POWER_ON;
    }
    snprintf(answer, answer_bytes, "injected %lu\n", disk.injected);
}

static void *serve_control(void *argument)
{
    (void)argument;
    for (;;) {
        char command[64] = "", answer[64];
        int peer = accept4(disk.control_fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0)
            return NULL;
        ssize_t bytes = read(peer, command, sizeof(command) - 1);
        command[bytes > 0 ? bytes : 0] = '\0';
        command[strcspn(command, "\n")] = '\0';
        pthread_mutex_lock(&disk.mutex);
        take_command(command, answer, sizeof(answer));
        pthread_mutex_unlock(&disk.mutex);
        if (write(peer, answer, strlen(answer)) < 0)
            nbdkit_debug("nobody waits for the answer to %s", command);
        close(peer);
    }
}

static int open_control(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(disk.control_path) >= sizeof(address.sun_path)) {
        nbdkit_error("the control socket's path is too long");
        return -1;
    }
    strcpy(address.sun_path, disk.control_path);
    disk.control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (disk.control_fd < 0 ||
        bind(disk.control_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(disk.control_fd, 4) < 0) {
        nbdkit_error("cannot listen on %s: %m", disk.control_path);
        return -1;
    }
    return 0;
}

/* --- what nbdkit asks for ------------------------------------------------------------------- */

static int sector_config(const char *key, const char *value)
{
    if (strcmp(key, "image") == 0)
        return (disk.image_path = nbdkit_realpath(value)) == NULL ? -1 : 0;
    if (strcmp(key, "control") == 0)
        return (disk.control_path = nbdkit_absolute_path(value)) == NULL ? -1 : 0;
    if (strcmp(key, "seed") == 0)
        return nbdkit_parse_uint64_t(key, value, &disk.seed);
    if (strcmp(key, "granularity") == 0)
        return nbdkit_parse_unsigned(key, value, &disk.granularity);
    if (strcmp(key, "ignore-flush") == 0) {
        int parsed = nbdkit_parse_bool(value);
        disk.ignore_flush = parsed == 1;
        return parsed < 0 ? -1 : 0;
    }
    nbdkit_error("unknown parameter %s", key);
    return -1;
}

static int sector_config_complete(void)
{
    if (disk.image_path == NULL || disk.control_path == NULL ||
        (disk.granularity != SECTOR_BYTES && disk.granularity != 8 * SECTOR_BYTES)) {
        nbdkit_error("image=, control=, and granularity=512 or 4096");
        return -1;
    }
    disk.seed = disk.seed * 2 + 1; /* the generator must not start at 0 */
    return 0;
}

static int sector_get_ready(void)
{
    struct stat status;
    disk.image_fd = open(disk.image_path, O_RDWR | O_CLOEXEC);
    if (disk.image_fd < 0 || fstat(disk.image_fd, &status) < 0) {
        nbdkit_error("%s: %m", disk.image_path);
        return -1;
    }
    disk.bytes = (uint64_t)status.st_size / (SECTOR_BYTES * WORD_BITS) * SECTOR_BYTES * WORD_BITS;
    /* private: what is written here reaches the file only through write_image */
    disk.contents = mmap(NULL, disk.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, disk.image_fd, 0);
    disk.unflushed = calloc(disk.bytes / SECTOR_BYTES / WORD_BITS, sizeof(*disk.unflushed));
    if (disk.contents == MAP_FAILED || disk.unflushed == NULL) {
        nbdkit_error("no memory for %s", disk.image_path);
        return -1;
    }
    return open_control();
}

static int sector_after_fork(void)
{
    pthread_t thread;
    int failure = pthread_create(&thread, NULL, serve_control, NULL);
    if (failure == 0)
        return 0;
    nbdkit_error("cannot start the control thread: %s", strerror(failure));
    return -1;
}

static void *sector_open(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t sector_get_size(void *handle)
{
    (void)handle;
    return (int64_t)disk.bytes;
}

static int sector_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                             uint32_t *maximum)
{
    (void)handle;
    *minimum = SECTOR_BYTES;
    *preferred = 8 * SECTOR_BYTES;
    *maximum = 32 << 20;
    return 0;
}

static int sector_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

static struct nbdkit_plugin plugin = {
    .name = "sector",
    .longname = "a disk that loses its write cache",
    .config = sector_config,
    .config_complete = sector_config_complete,
    .get_ready = sector_get_ready,
    .after_fork = sector_after_fork,
    .open = sector_open,
    .get_size = sector_get_size,
    .block_size = sector_block_size,
    .can_fua = sector_can_fua,
    .pread = sector_pread,
    .pwrite = sector_pwrite,
    .flush = sector_flush,
};

/* what the macro defines and no header declares */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
