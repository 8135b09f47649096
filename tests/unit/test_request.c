/* The pool of requests: its limits, bodies that move into large arenas and back, and that nothing
 * of a request is left when it is taken again (promise P14). */
#include "ingress/request.h"

#include "base/random.h"
#include "base/sanitizer.h"
#include "ingress/http.h"
#include "record/json.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#define REQUESTS_MAX   3
#define LARGE_MAX      2
#define BODY_BYTES_MAX 5000
#define OWNER          7

static struct config config;
static struct budget budget;
static struct ingress_requests requests;

static void set_up(void)
{
    struct base_error error;
    config_init(&config);
    config.requests_max = REQUESTS_MAX;
    config.large_arenas_max = LARGE_MAX;
    config.body_bytes_max = BODY_BYTES_MAX;
    budget_init(&budget);
    cr_assert_eq(ingress_requests_reserve(&requests, &config, OWNER, &budget, &error), 0);
}

/* The memory goes back to the kernel, and AddressSanitizer does not know. */
static void tear_down(void)
{
    for (size_t i = 0; i < budget.block_count; i++)
        MEMORY_UNPOISON(budget.blocks[i].memory, budget.blocks[i].bytes);
    budget_fini(&budget);
}

TestSuite(request, .init = set_up, .fini = tear_down);

static struct ingress_request *take(void)
{
    struct ingress_request *request = ingress_request_take(&requests);
    cr_assert_not_null(request);
    return request;
}

static void release(struct ingress_request *request)
{
    request->state = INGRESS_REQUEST_DONE;
    ingress_request_release(&requests, request);
}

static bool reserve_body(struct ingress_request *request, uint64_t bytes)
{
    return ingress_request_reserve_body(&requests, request, bytes, config.body_bytes_max);
}

Test(request, pool_is_exhausted_at_its_limit)
{
    struct ingress_request *taken[REQUESTS_MAX];
    cr_assert_eq(requests.free_count, REQUESTS_MAX);
    for (int i = 0; i < REQUESTS_MAX; i++) {
        taken[i] = take();
        cr_assert_eq(taken[i]->ingress, OWNER);
        cr_assert_eq(taken[i]->state, INGRESS_REQUEST_FILLING);
        for (int j = 0; j < i; j++)
            cr_assert_neq(taken[i], taken[j]);
    }
    cr_assert_eq(requests.free_count, 0);
    cr_assert_null(ingress_request_take(&requests));
    cr_assert_null(ingress_request_take(&requests));
    release(taken[1]);
    cr_assert_eq(requests.free_count, 1);
    cr_assert_eq(take(), taken[1]);
    cr_assert_null(ingress_request_take(&requests));
}

Test(request, releasing_one_that_is_not_done_aborts, .signal = SIGABRT)
{
    ingress_request_release(&requests, take());
}

Test(request, releasing_twice_aborts, .signal = SIGABRT)
{
    struct ingress_request *request = take();
    release(request);
    ingress_request_release(&requests, request);
}

Test(request, large_arenas_are_exhausted_at_their_limit)
{
    struct ingress_request *first = take(), *second = take(), *third = take();
    cr_assert(reserve_body(first, INGRESS_REQUEST_SMALL_BODY_BYTES + 1));
    cr_assert(reserve_body(second, BODY_BYTES_MAX));
    cr_assert_neq(first->large_arena, second->large_arena);
    cr_assert_eq(requests.large_free_count, 0);
    cr_assert_not(reserve_body(third, INGRESS_REQUEST_SMALL_BODY_BYTES + 1));
    cr_assert(third->body == NULL && third->large_arena == NULL, "a refusal changes nothing");
    cr_assert(reserve_body(third, INGRESS_REQUEST_SMALL_BODY_BYTES), "small ones still fit");
    release(first);
    cr_assert_eq(requests.large_free_count, 1);
    cr_assert(reserve_body(third, BODY_BYTES_MAX));
    cr_assert_eq(requests.large_free_count, 0);
    release(second);
    release(third);
    cr_assert_eq(requests.large_free_count, LARGE_MAX);
}

Test(request, small_bodies_borrow_nothing)
{
    struct ingress_request *request = take();
    cr_assert(reserve_body(request, 1));
    cr_assert_eq(request->body_capacity, INGRESS_REQUEST_SMALL_BODY_BYTES);
    cr_assert(reserve_body(request, INGRESS_REQUEST_SMALL_BODY_BYTES));
    cr_assert_eq(request->arena, &request->own_arena);
    cr_assert_eq(requests.large_free_count, LARGE_MAX);
    cr_assert(reserve_body(request, INGRESS_REQUEST_SMALL_BODY_BYTES + 1));
    cr_assert_eq(request->arena, request->large_arena);
    cr_assert_eq(request->body_capacity, BODY_BYTES_MAX);
}

/* Byte by byte, as a chunked body without a length grows. */
Test(request, growing_a_body_keeps_its_bytes)
{
    struct ingress_request *request = take();
    for (uint32_t i = 0; i < BODY_BYTES_MAX; i++) {
        cr_assert(reserve_body(request, i + 1));
        request->body[i] = (char)(i * 31 + i / 256);
        request->body_bytes = i + 1;
    }
    for (uint32_t i = 0; i < BODY_BYTES_MAX; i++)
        cr_assert_eq(request->body[i], (char)(i * 31 + i / 256), "byte %u", i);
}

Test(request, a_body_has_padding_behind_it)
{
    static const uint64_t sizes[] = {
        1,
        INGRESS_REQUEST_SMALL_BODY_BYTES,
        INGRESS_REQUEST_SMALL_BODY_BYTES + 1,
        BODY_BYTES_MAX,
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ingress_request *request = take();
        cr_assert(reserve_body(request, sizes[i]));
        cr_assert_geq(request->body_capacity, sizes[i]);
        for (size_t at = 0; at < request->body_capacity + RECORD_JSON_PADDING_BYTES; at++)
            cr_assert_eq(request->body[at], 0);
        release(request);
    }
}

/* The sum in request.c: whatever the body's size, key, parsed object and an assigned id fit. */
Test(request, an_arena_holds_all_that_a_request_needs)
{
    static const uint64_t sizes[] = {1, INGRESS_REQUEST_SMALL_BODY_BYTES, BODY_BYTES_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ingress_request *request = take();
        cr_assert_not_null(record_arena_alloc(request->arena, INGRESS_HTTP_KEY_BYTES_MAX, 1));
        cr_assert(reserve_body(request, sizes[i]));
        size_t object = record_submission_arena_bytes(request->body_capacity);
        cr_assert_not_null(record_arena_alloc(request->arena, object, 8));
        cr_assert_not_null(record_arena_alloc(request->arena, BASE_UUID_TEXT_BYTES, 1));
        release(request);
    }
}

#define FIELD_OFFSET(field) offsetof(struct ingress_request, field)

/* What the pool itself needs to find the request's memory again stays; everything else is junk. */
static void soil(struct ingress_request *request)
{
    struct ingress_request before = *request;
    memset(request, 0xA5, sizeof(*request));
    request->magic = before.magic;
    request->ingress = before.ingress;
    request->own_arena = before.own_arena;
    request->large_arena = before.large_arena;
}

static void assert_zero(const struct ingress_request *request, size_t from, size_t to)
{
    const uint8_t *bytes = (const uint8_t *)request;
    for (size_t i = from; i < to; i++)
        cr_assert_eq(bytes[i], 0, "byte %zu of struct ingress_request", i);
}

static void assert_clean(const struct ingress_request *request)
{
    cr_assert_eq(request->magic, INGRESS_REQUEST_MAGIC);
    cr_assert_eq(request->ingress, OWNER);
    cr_assert_eq(request->state, INGRESS_REQUEST_FILLING);
    cr_assert_eq(request->arena, &request->own_arena);
    cr_assert_eq(request->own_arena.used_bytes, 0);
    cr_assert_eq(request->problem.kind, BASE_PROBLEM_NONE);
    assert_zero(request, FIELD_OFFSET(answer), FIELD_OFFSET(arena));
    assert_zero(request, FIELD_OFFSET(large_arena), FIELD_OFFSET(problem));
}

Test(request, release_resets_every_field)
{
    struct ingress_request *request = take();
    assert_clean(request);
    for (int use = 0; use < 3; use++) {
        cr_assert(reserve_body(request, use == 1 ? BODY_BYTES_MAX : 10));
        soil(request);
        release(request);
        cr_assert_eq(take(), request, "the last one released is the next one taken");
        assert_clean(request);
    }
}

static uint64_t random_body_bytes(struct base_random *random)
{
    uint64_t choice = base_random_next(random);
    return 1 + (choice >> 1) % (choice % 2 == 0 ? BODY_BYTES_MAX : 100);
}

Test(request, never_shows_a_byte_of_an_earlier_request)
{
    struct base_random random;
    base_random_init(&random);
    for (int use = 0; use < 3000; use++) {
        struct ingress_request *request = take();
        cr_assert(reserve_body(request, random_body_bytes(&random)));
        size_t bytes = request->body_capacity + RECORD_JSON_PADDING_BYTES;
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(request->body[i], 0, "byte %zu in use %d", i, use);
        memset(request->body, 0xA5, bytes);
        size_t rest = record_submission_arena_bytes(request->body_capacity);
        uint8_t *object = record_arena_alloc(request->arena, rest, 1);
        for (size_t i = 0; i < rest; i++)
            cr_assert_eq(object[i], 0, "byte %zu behind the body in use %d", i, use);
        memset(object, 0xA5, rest);
        release(request);
    }
}

Test(request, a_body_beyond_the_limit_aborts, .signal = SIGABRT)
{
    reserve_body(take(), BODY_BYTES_MAX + 1);
}

Test(request, reserve_fails_with_an_explanation)
{
    struct ingress_requests others;
    struct base_error error;
    struct config impossible = config;
    struct budget other_budget;
    budget_init(&other_budget);
    impossible.body_bytes_max = UINT64_C(1) << 31;
    impossible.large_arenas_max = UINT64_C(1) << 20;
    cr_assert_lt(ingress_requests_reserve(&others, &impossible, 0, &other_budget, &error), 0);
    cr_assert_not_null(strstr(error.text, "cannot reserve"), "%s", error.text);
    budget_fini(&other_budget);
}
