/* SINGLE_ISSUER and DEFER_TASKRUN are not tried piecemeal: both came with kernel 6.1, which is the
 * oldest one that Sluice supports, and completions that run only when we ask for them are what
 * makes runs long. SQPOLL is not used: it takes a core of its own. */
#include "ingress/uring.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static int check_kernel(struct base_error *error)
{
    struct utsname name;
    unsigned major = 0, minor = 0, patch = 0;
    CHECK(uname(&name) == 0);
    sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
    if (major < 6 || (major == 6 && minor < 1))
        return base_error_set(
            error, -ENOSYS, "kernel %s is too old: Sluice needs Linux 6.1 or newer", name.release);
    if (major == 6 && minor == 1 && (patch == 64 || patch == 65))
        return base_error_set(error, -ENOSYS,
                              "kernel %s corrupts files written with direct I/O: install 6.1.66 or "
                              "newer",
                              name.release);
    return 0;
}

int uring_explain_memlock(const char *what, struct base_error *error)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    return base_error_set(error, -ENOMEM,
                          "no memory for %s: the kernel lets this user lock %llu bytes "
                          "(RLIMIT_MEMLOCK). Raise that (ulimit -l, or LimitMEMLOCK= in the unit "
                          "file; 3 MB per core suffice by default), or set registered_buffers=0, "
                          "which takes 1 MB per core",
                          what, (unsigned long long)limit.rlim_cur);
}

static int explain_setup(int code, struct base_error *error)
{
    if (code == -EPERM)
        return base_error_set(
            error, code,
            "io_uring is not permitted: set sysctl kernel.io_uring_disabled=0, or "
            "allow io_uring_setup in the container's seccomp profile");
    if (code == -ENOSYS)
        return base_error_set(error, code,
                              "this kernel has no io_uring: use Linux 6.1 or newer, built with "
                              "CONFIG_IO_URING, outside sandboxes that hide it");
    if (code == -ENOMEM)
        return uring_explain_memlock("a ring", error);
    if (code == -EINVAL)
        return base_error_set(error, code,
                              "this kernel's io_uring lacks SINGLE_ISSUER or DEFER_TASKRUN: use "
                              "Linux 6.1 or newer");
    return base_error_os(error, code, "cannot create a ring");
}

int uring_create(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries,
                 struct base_error *error)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL,
        .cq_entries = cq_entries,
    };
    int result = io_uring_queue_init_params(sq_entries, ring, &parameters);
    if (result < 0)
        return explain_setup(result, error);
    if (!(parameters.features & IORING_FEAT_NODROP) ||
        !(parameters.features & IORING_FEAT_EXT_ARG)) {
        io_uring_queue_exit(ring);
        return base_error_set(error, -ENOSYS,
                              "this kernel's io_uring may drop completions: use "
                              "Linux 6.1 or newer");
    }
    /* saves a reference on the ring's file per system call; without it all still works */
    io_uring_register_ring_fd(ring);
    return 0;
}

int uring_probe(struct base_error *error)
{
    static const struct {
        int operation;
        const char *name;
    } needed[] = {
        {IORING_OP_ACCEPT, "ACCEPT"}, {IORING_OP_RECV, "RECV"},
        {IORING_OP_SEND, "SEND"},     {IORING_OP_SHUTDOWN, "SHUTDOWN"},
        {IORING_OP_CLOSE, "CLOSE"},   {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"},
        {IORING_OP_WRITE, "WRITE"},   {IORING_OP_WRITE_FIXED, "WRITE_FIXED"},
        {IORING_OP_FSYNC, "FSYNC"},   {IORING_OP_MSG_RING, "MSG_RING"},
    };
    struct io_uring ring;
    int result = check_kernel(error);
    if (result == 0)
        result = uring_create(&ring, 8, 16, error);
    if (result < 0)
        return result;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]) && result == 0; i++)
        if (probe == NULL || !io_uring_opcode_supported(probe, needed[i].operation))
            result = base_error_set(error, -ENOSYS,
                                    "this kernel's io_uring lacks %s: use Linux 6.1 or newer",
                                    needed[i].name);
    if (probe != NULL)
        io_uring_free_probe(probe);
    io_uring_queue_exit(&ring);
    return result;
}

struct io_uring_sqe *uring_entry(struct io_uring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    while (entry == NULL) {
        int submitted = io_uring_submit(ring);
        /* EBUSY: completions must be made room for first, which reaping them does; EAGAIN: memory
         */
        CHECK(submitted >= 0 || submitted == -EINTR || submitted == -EBUSY || submitted == -EAGAIN);
        entry = io_uring_get_sqe(ring);
    }
    return entry;
}

void uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                   uint64_t user_data_failed)
{
    struct io_uring_sqe *entry = uring_entry(ring);
    io_uring_prep_msg_ring(entry, target_fd, 0, user_data, 0);
    io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(entry, user_data_failed);
}

void uring_wait(struct io_uring *ring, uint64_t timeout_ns)
{
    struct io_uring_cqe *completion;
    int result;
    if (timeout_ns == UINT64_MAX) {
        result = io_uring_submit_and_wait(ring, 1);
    } else {
        struct __kernel_timespec timeout = {
            .tv_sec = (long long)(timeout_ns / NANOSECONDS_PER_SECOND),
            .tv_nsec = (long long)(timeout_ns % NANOSECONDS_PER_SECOND),
        };
        result = io_uring_submit_and_wait_timeout(ring, &completion, 1, &timeout, NULL);
    }
    CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY ||
          result == -EAGAIN);
}
