/* The rings: setup with the flags that the kernel has, what a user_data means, and messages between
 * rings. The only file that sets up a ring.
 *
 * Owner: each ring belongs to one thread, which alone submits and reaps (SINGLE_ISSUER and
 * DEFER_TASKRUN hold it to that). Other threads reach it only with IORING_OP_MSG_RING from a ring
 * of their own.
 */
#ifndef SLUICE_INGRESS_URING_H
#define SLUICE_INGRESS_URING_H

#include "base/error.h"

#include <liburing.h>
#include <stdint.h>

/* user_data: what in the top byte, an argument below. A message whose top byte is 0 is a pointer:
 * user-space addresses have at most 56 bits. */
enum uring_what {
    URING_CHAIN = 0, /* message: completed requests, the pointer is the first */
    URING_ACCEPT = 1,
    URING_RECEIVE = 2,     /* argument: connection index */
    URING_SEND = 3,        /* argument: connection index */
    URING_SHUTDOWN = 4,    /* argument: connection index */
    URING_CLOSE = 5,       /* argument: connection index */
    URING_CANCEL = 6,      /* argument: connection index */
    URING_CLOSE_STRAY = 7, /* a descriptor that became no connection */
    URING_CANCEL_ACCEPT = 8,
    URING_WRITE = 9,         /* file operation of the journal */
    URING_FLUSH = 10,        /* file operation of the journal */
    URING_BELL = 11,         /* message: there is work; on the sender: ringing failed */
    URING_CONTROL = 12,      /* message from the control thread; argument: enum uring_control */
    URING_CHAIN_FAILED = 13, /* on the sender: a chain was not delivered; argument: the pointer */
};

enum uring_control {
    URING_CONTROL_DRAIN = 1,
    URING_CONTROL_STOP = 2,
    URING_CONTROL_PASS = 3, /* something was reloaded: being awake is all that is wanted */
};

#define URING_ARGUMENT_BITS 56

static inline uint64_t uring_tag(enum uring_what what, uint64_t argument)
{
    return ((uint64_t)what << URING_ARGUMENT_BITS) | argument;
}

static inline enum uring_what uring_what_of(uint64_t user_data)
{
    return (enum uring_what)(user_data >> URING_ARGUMENT_BITS);
}

static inline uint64_t uring_argument_of(uint64_t user_data)
{
    return user_data & ((UINT64_C(1) << URING_ARGUMENT_BITS) - 1);
}

/* Refuses kernels that cannot run Sluice (too old, io_uring switched off, 6.1.64 and 6.1.65 with
 * their direct I/O corruption), each with what to change. */
int uring_probe(struct base_error *error);

/* A ring for the calling thread with room for `sq_entries` submissions and `cq_entries`
 * completions. */
int uring_create(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries,
                 struct base_error *error);

/* The error for -ENOMEM from a ring: what to do about RLIMIT_MEMLOCK. Returns -ENOMEM. */
int uring_explain_memlock(const char *what, struct base_error *error);

/* An empty submission entry; submits what is queued when there is none left. Never NULL. */
struct io_uring_sqe *uring_entry(struct io_uring *ring);

/* Queues a message: the ring behind `target_fd` gets a completion with `user_data`. A completion
 * with `user_data_failed` appears here only if it could not be delivered. */
void uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                   uint64_t user_data_failed);

/* Submits and waits for a completion, at most `timeout_ns` (UINT64_MAX: without limit). */
void uring_wait(struct io_uring *ring, uint64_t timeout_ns);

#endif
