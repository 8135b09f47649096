/* What threads of one engine share beyond the queues: which state the service is in, and how to
 * reach whom.
 *
 * Owner: the server; filled in before threads start, read-only then but for the atomics, each of
 * which has one kind of writer. Relaxed order suffices: these values only steer answers, they guard
 * no other memory.
 */
#ifndef SLUICE_STATE_H
#define SLUICE_STATE_H

#include "base/atomic.h"
#include "base/check.h"
#include "config.h"
#include "credentials.h"
#include "queue/doorbell.h"
#include "queue/mpmc.h"
#include "record/registry.h"
#include "reload.h"

#include <stdint.h>

enum state_service { STATE_STARTING, STATE_READY, STATE_DRAINING };

struct state {
    const struct config *config;
    unsigned core_count;
    struct queue_mpmc *queues;          /* one per core */
    struct queue_doorbell *doorbells;   /* one per core, of its worker */
    int *ingress_ring_fds;              /* one per core */
    int control_fd;                     /* eventfd: something for the control thread to look at */
    _Atomic uint32_t service;           /* enum state_service; control thread */
    _Atomic uint32_t journals_failed;   /* workers, each adds 1 once */
    _Atomic uint32_t journals_full;     /* control thread: journals that want room and get none */
    _Atomic uint32_t ingresses_drained; /* ingress threads, each adds 1 once */

    struct reload reload; /* the control thread's; readers pass through state_pass */
    struct reload_reader *reload_readers; /* as state_reader_of_* numbers them */

    bool asks_for_credentials;      /* fixed at start: a reload cannot switch it off */
    struct reload_slot credentials; /* struct credentials */
    bool speaks_tls;                /* the same */
    struct reload_slot tls;         /* SSL_CTX */
    bool has_registry;              /* the same: arenas have room for findings only with one */
    struct reload_slot registry;    /* struct record_registry */
};

/* Numbers of the readers of reloadable objects: workers, ingresses, the admin listener's ingress
 * (whose index is core_count) last. */
static inline unsigned state_reader_of_worker(unsigned index)
{
    return index;
}

static inline unsigned state_reader_of_ingress(const struct state *state, unsigned index)
{
    return state->core_count + index;
}

/* By each thread of the data plane at the top of its round: it holds no pointer to a reloadable
 * object. */
void state_pass(struct state *state, unsigned reader);

/* The credentials that requests need right now, valid until the next state_pass; NULL: none are
 * asked for. */
static inline const struct credentials *state_credentials(const struct state *state)
{
    if (!state->asks_for_credentials)
        return NULL;
    const struct credentials *credentials = reload_current(&state->credentials);
    CHECK(credentials != NULL); /* else everybody would be let in */
    return credentials;
}

/* The TLS context (SSL_CTX) for new connections, valid until the next state_pass; NULL: plain TCP.
 * OpenSSL counts references in it, so it is not const. */
static inline struct ssl_ctx_st *state_tls(const struct state *state)
{
    if (!state->speaks_tls)
        return NULL;
    const void *context = reload_current(&state->tls);
    CHECK(context != NULL); /* else connections would be in clear text */
    return (struct ssl_ctx_st *)(uintptr_t)context;
}

/* What submissions are checked against, valid until the next state_pass; NULL: nothing is checked.
 */
static inline const struct record_registry *state_registry(const struct state *state)
{
    return state->has_registry ? reload_current(&state->registry) : NULL;
}

/* Wakes the control thread. Any thread; rare events only, it is a system call. */
void state_call_control(struct state *state);

#endif
