/* The deadline lists against a naive model that knows when each deadline passes. */
#include "ingress/deadline.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

#define COUNT 40

static struct ingress_deadlines deadlines;
static struct ingress_deadline some[COUNT];

static void set_up(void)
{
    memset(&deadlines, 0, sizeof(deadlines));
    memset(some, 0, sizeof(some));
    ingress_deadlines_init(&deadlines);
    for (int kind = 1; kind < INGRESS_DEADLINE_KIND_COUNT; kind++)
        deadlines.length_ns[kind] = (uint64_t)kind * 100;
}

TestSuite(deadline, .init = set_up);

static void set(int index, enum ingress_deadline_kind kind, bool restart, uint64_t now_ns)
{
    ingress_deadline_set(&deadlines, &some[index], kind, restart, now_ns);
}

Test(deadline, there_is_none_at_first)
{
    cr_assert_eq(ingress_deadlines_next(&deadlines), UINT64_MAX);
    cr_assert_null(ingress_deadlines_expired(&deadlines, 0));
    cr_assert_null(ingress_deadlines_expired(&deadlines, UINT64_MAX - 1));
}

Test(deadline, passes_at_its_time_and_not_before)
{
    for (int kind = 1; kind < INGRESS_DEADLINE_KIND_COUNT; kind++) {
        uint64_t at = 1000 + deadlines.length_ns[kind];
        set(0, (enum ingress_deadline_kind)kind, false, 1000);
        cr_assert_eq(ingress_deadlines_next(&deadlines), at);
        cr_assert_null(ingress_deadlines_expired(&deadlines, at - 1));
        cr_assert_eq(ingress_deadlines_expired(&deadlines, at), &some[0]);
        cr_assert_eq(ingress_deadlines_expired(&deadlines, at + 1), &some[0], "it stays");
        set(0, INGRESS_DEADLINE_NONE, false, at);
        cr_assert_null(ingress_deadlines_expired(&deadlines, at));
        cr_assert_eq(ingress_deadlines_next(&deadlines), UINT64_MAX);
    }
}

Test(deadline, those_of_a_kind_pass_in_order_of_start)
{
    for (int i = 0; i < COUNT; i++)
        set(i, INGRESS_DEADLINE_IDLE, false, (uint64_t)i);
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(ingress_deadlines_expired(&deadlines, 1000), &some[i], "%d", i);
        set(i, INGRESS_DEADLINE_NONE, false, 1000);
    }
    cr_assert_null(ingress_deadlines_expired(&deadlines, 1000));
}

Test(deadline, goes_on_when_the_same_kind_is_set_again)
{
    set(0, INGRESS_DEADLINE_SEND, false, 1000);
    set(0, INGRESS_DEADLINE_SEND, false, 1050);
    cr_assert_eq(ingress_deadlines_next(&deadlines),
                 1000 + deadlines.length_ns[INGRESS_DEADLINE_SEND]);
}

Test(deadline, starts_again_when_told_to_and_goes_behind_the_others)
{
    set(0, INGRESS_DEADLINE_SEND, false, 1000);
    set(1, INGRESS_DEADLINE_SEND, false, 1010);
    set(0, INGRESS_DEADLINE_SEND, true, 1050);
    cr_assert_eq(ingress_deadlines_expired(&deadlines, 5000), &some[1]);
    set(1, INGRESS_DEADLINE_NONE, false, 5000);
    cr_assert_eq(ingress_deadlines_next(&deadlines),
                 1050 + deadlines.length_ns[INGRESS_DEADLINE_SEND]);
}

Test(deadline, a_new_kind_replaces_the_old_one)
{
    set(0, INGRESS_DEADLINE_IDLE, false, 1000);
    set(0, INGRESS_DEADLINE_LINGER, false, 1010);
    cr_assert_eq(ingress_deadlines_next(&deadlines),
                 1010 + deadlines.length_ns[INGRESS_DEADLINE_LINGER]);
    set(0, INGRESS_DEADLINE_NONE, false, 1020);
    cr_assert_eq(ingress_deadlines_next(&deadlines), UINT64_MAX);
}

Test(deadline, clearing_one_that_is_not_running_changes_nothing)
{
    set(0, INGRESS_DEADLINE_BODY, false, 1000);
    set(1, INGRESS_DEADLINE_NONE, false, 1000);
    set(1, INGRESS_DEADLINE_NONE, true, 1000);
    cr_assert_eq(ingress_deadlines_next(&deadlines),
                 1000 + deadlines.length_ns[INGRESS_DEADLINE_BODY]);
}

Test(deadline, each_kind_has_its_own_order)
{
    set(0, INGRESS_DEADLINE_LINGER, false, 1000); /* longest, started first */
    set(1, INGRESS_DEADLINE_IDLE, false, 1300);
    cr_assert_eq(ingress_deadlines_next(&deadlines), 1400u);
    cr_assert_eq(ingress_deadlines_expired(&deadlines, 1400), &some[1]);
    cr_assert_not_null(ingress_deadlines_expired(&deadlines, 1500));
    set(1, INGRESS_DEADLINE_NONE, false, 1400);
    cr_assert_eq(ingress_deadlines_expired(&deadlines, 1500), &some[0]);
}

/* The model: kind and time of each. */
struct model {
    enum ingress_deadline_kind kind[COUNT];
    uint64_t expires_ns[COUNT];
};

static uint64_t model_next(const struct model *model)
{
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < COUNT; i++)
        if (model->kind[i] != INGRESS_DEADLINE_NONE && model->expires_ns[i] < next)
            next = model->expires_ns[i];
    return next;
}

static void assert_agrees(const struct model *model, uint64_t now_ns)
{
    uint64_t next = model_next(model);
    cr_assert_eq(ingress_deadlines_next(&deadlines), next);
    struct ingress_deadline *expired = ingress_deadlines_expired(&deadlines, now_ns);
    cr_assert_eq(expired != NULL, next <= now_ns);
    if (expired == NULL)
        return;
    long index = expired - some;
    cr_assert(index >= 0 && index < COUNT, "a deadline that was never set");
    cr_assert_neq(model->kind[index], INGRESS_DEADLINE_NONE);
    cr_assert_leq(model->expires_ns[index], now_ns);
}

static void set_both(struct model *model, int index, enum ingress_deadline_kind kind, bool restart,
                     uint64_t now_ns)
{
    set(index, kind, restart, now_ns);
    if (model->kind[index] == kind && !restart)
        return;
    model->kind[index] = kind;
    model->expires_ns[index] = now_ns + deadlines.length_ns[kind];
}

Test(deadline, agrees_with_a_naive_model)
{
    struct model model = {.kind = {INGRESS_DEADLINE_NONE}};
    struct base_random random;
    base_random_init(&random);
    uint64_t now_ns = 1;
    for (int operation = 0; operation < 300000; operation++) {
        uint64_t choice = base_random_next(&random);
        enum ingress_deadline_kind kind = choice / COUNT % INGRESS_DEADLINE_KIND_COUNT;
        set_both(&model, (int)(choice % COUNT), kind, choice >> 63, now_ns);
        assert_agrees(&model, now_ns);
        now_ns += base_random_next(&random) % 8;
        struct ingress_deadline *expired = ingress_deadlines_expired(&deadlines, now_ns);
        if (expired != NULL && base_random_next(&random) % 2 == 0)
            set_both(&model, (int)(expired - some), INGRESS_DEADLINE_NONE, false, now_ns);
    }
}
