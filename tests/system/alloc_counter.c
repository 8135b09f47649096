/* Counts calls of the allocator, of the mapping functions and of locks, for LD_PRELOAD.
 *
 * Every call is passed on to the C library. Calls of a data-plane thread (its name starts with
 * "sluice-in" or "sluice-wk") are counted in a row of its own, all others in row 0, in the file
 * that SLUICE_ALLOC_COUNTS names: 64 rows of struct row, which other processes may read at any
 * time. Without that variable nothing is counted. free(NULL) is not counted.
 *
 * Choice: the row is found by the thread's name at the time of the call and kept once the name is
 * that of a data-plane thread; before, it is looked up anew each time, because a thread may
 * allocate before it is named. Rejected: to interpose pthread_create, which is called before the
 * thread has its name.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROW_COUNT  64
#define NAME_BYTES 16 /* of a thread, with the NUL: TASK_COMM_LEN */

enum call { MALLOC, CALLOC, REALLOC, FREE, ALIGNED, MMAP, MUNMAP, MREMAP, BRK, LOCK, CALL_COUNT };

struct row {
    char name[NAME_BYTES]; /* 00-15: of the thread; empty while the row is not in use */
    _Atomic uint64_t calls[CALL_COUNT]; /* 16-95: by enum call */
};

_Static_assert(sizeof(struct row) == 96, "test_allocations.py reads this layout");

/* What glibc calls itself below its own malloc; unlike dlsym these allocate nothing. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

static struct row *_Atomic rows; /* NULL until the file is mapped, and where there is none */
static _Atomic unsigned rows_used = 1;

/* initial-exec: the first access must not allocate. */
static _Thread_local struct row *own_row __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void map_rows(void)
{
    const char *path = getenv("SLUICE_ALLOC_COUNTS");
    if (path == NULL)
        return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    size_t bytes = ROW_COUNT * sizeof(struct row);
    if (file < 0 || ftruncate(file, (off_t)bytes) != 0)
        abort();
    long at = syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at < 0)
        abort();
    close(file);
    struct row *mapped = (struct row *)(uintptr_t)at;
    memcpy(mapped[0].name, "other", sizeof("other"));
    atomic_store(&rows, mapped);
}

static struct row *find_row(struct row *all)
{
    char name[NAME_BYTES] = {0};
    if (prctl(PR_GET_NAME, name) != 0)
        abort();
    if (strncmp(name, "sluice-in", 9) != 0 && strncmp(name, "sluice-wk", 9) != 0)
        return &all[0];
    unsigned index = atomic_fetch_add(&rows_used, 1);
    if (index >= ROW_COUNT)
        abort();
    memcpy(all[index].name, name, NAME_BYTES);
    own_row = &all[index];
    return own_row;
}

static void count(enum call call)
{
    struct row *all = atomic_load(&rows);
    if (all == NULL)
        return;
    struct row *row = own_row != NULL ? own_row : find_row(all);
    atomic_fetch_add_explicit(&row->calls[call], 1, memory_order_relaxed);
}

void *malloc(size_t bytes)
{
    count(MALLOC);
    return __libc_malloc(bytes);
}

void *calloc(size_t elements, size_t bytes)
{
    count(CALLOC);
    return __libc_calloc(elements, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count(REALLOC);
    return __libc_realloc(old, bytes);
}

void *reallocarray(void *old, size_t elements, size_t bytes)
{
    count(REALLOC);
    size_t product;
    if (__builtin_mul_overflow(elements, bytes, &product)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, product);
}

void free(void *memory)
{
    if (memory != NULL)
        count(FREE);
    __libc_free(memory);
}

void *memalign(size_t alignment, size_t bytes)
{
    count(ALIGNED);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(ALIGNED);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory_out, size_t alignment, size_t bytes)
{
    count(ALIGNED);
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    void *memory = __libc_memalign(alignment, bytes);
    if (memory == NULL)
        return ENOMEM;
    *memory_out = memory;
    return 0;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    count(MMAP);
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}

void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

int munmap(void *at, size_t bytes)
{
    count(MUNMAP);
    return (int)syscall(SYS_munmap, at, bytes);
}

void *mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    count(MREMAP);
    __builtin_va_list arguments;
    __builtin_va_start(arguments, flags);
    void *wanted = flags & MREMAP_FIXED ? __builtin_va_arg(arguments, void *) : NULL;
    __builtin_va_end(arguments);
    return (void *)syscall(SYS_mremap, old, old_bytes, new_bytes, flags, wanted);
}

/* glibc's own sbrk is not called through these; they catch who moves the break directly. */
int brk(void *end)
{
    count(BRK);
    int (*next)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "brk");
    return next(end);
}

void *sbrk(intptr_t bytes)
{
    count(BRK);
    void *(*next)(intptr_t) = (void *(*)(intptr_t))dlsym(RTLD_NEXT, "sbrk");
    return next(bytes);
}

/* Locks: what blocks, in whatever way, counts as one. The real function is looked up at the first
 * call; a lookup that two threads make at once finds the same. */
#define COUNTED_LOCK(name, type)                                                                   \
    int name(type *lock)                                                                           \
    {                                                                                              \
        static int (*_Atomic real)(type *);                                                        \
        int (*found)(type *) = atomic_load(&real);                                                 \
        if (found == NULL) {                                                                       \
            found = (int (*)(type *))dlsym(RTLD_NEXT, #name);                                      \
            if (found == NULL)                                                                     \
                abort();                                                                           \
            atomic_store(&real, found);                                                            \
        }                                                                                          \
        count(LOCK);                                                                               \
        return found(lock);                                                                        \
    }

COUNTED_LOCK(pthread_mutex_lock, pthread_mutex_t)
COUNTED_LOCK(pthread_mutex_trylock, pthread_mutex_t)
COUNTED_LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
COUNTED_LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
COUNTED_LOCK(pthread_barrier_wait, pthread_barrier_t)
COUNTED_LOCK(sem_wait, sem_t)
COUNTED_LOCK(pthread_spin_lock, pthread_spinlock_t)
