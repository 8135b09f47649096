#include "ingress/deadline.h"

#include <stddef.h>

void ingress_deadlines_init(struct ingress_deadlines *deadlines)
{
    for (int i = 0; i < INGRESS_DEADLINE_KIND_COUNT; i++) {
        struct ingress_deadline *head = &deadlines->heads[i];
        head->previous = head->next = head;
        head->expires_ns = UINT64_MAX;
    }
}

static void unlink_deadline(struct ingress_deadline *deadline)
{
    deadline->previous->next = deadline->next;
    deadline->next->previous = deadline->previous;
    deadline->kind = INGRESS_DEADLINE_NONE;
}

void ingress_deadline_set(struct ingress_deadlines *deadlines, struct ingress_deadline *deadline,
                          enum ingress_deadline_kind kind, int restart, uint64_t now_ns)
{
    if (deadline->kind == kind && !restart)
        return;
    if (deadline->kind != INGRESS_DEADLINE_NONE)
        unlink_deadline(deadline);
    if (kind == INGRESS_DEADLINE_NONE)
        return;
    struct ingress_deadline *head = &deadlines->heads[kind];
    deadline->kind = (uint8_t)kind;
    deadline->expires_ns = now_ns + deadlines->length_ns[kind];
    deadline->previous = head->previous;
    deadline->next = head;
    head->previous->next = deadline;
    head->previous = deadline;
}

struct ingress_deadline *ingress_deadlines_expired(struct ingress_deadlines *deadlines,
                                                   uint64_t now_ns)
{
    for (int i = 1; i < INGRESS_DEADLINE_KIND_COUNT; i++) {
        struct ingress_deadline *first = deadlines->heads[i].next;
        if (first->expires_ns <= now_ns)
            return first;
    }
    return NULL;
}

uint64_t ingress_deadlines_next(const struct ingress_deadlines *deadlines)
{
    uint64_t next = UINT64_MAX;
    for (int i = 1; i < INGRESS_DEADLINE_KIND_COUNT; i++)
        if (deadlines->heads[i].next->expires_ns < next)
            next = deadlines->heads[i].next->expires_ns;
    return next;
}
