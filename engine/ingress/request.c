#include "ingress/request.h"

#include "base/check.h"
#include "base/random.h"
#include "credentials.h"
#include "ingress/http.h"

#include <string.h>

/* Key, assigned id, name of the credential, and the alignment of a handful of allocations. */
#define EXTRA_BYTES                                                                                \
    (INGRESS_HTTP_KEY_BYTES_MAX + BASE_UUID_TEXT_BYTES + CREDENTIALS_NAME_BYTES_MAX + 128)

static size_t arena_bytes_for(size_t body_bytes, const struct config *config)
{
    size_t bytes = body_bytes + RECORD_JSON_PADDING_BYTES +
                   record_submission_arena_bytes(body_bytes) + EXTRA_BYTES +
                   RECORD_ARENA_RED_ZONE_BYTES;
    if (config->registry[0] != '\0')
        bytes += RECORD_FINDINGS_ARENA_BYTES;
    return (bytes + 63) & ~(size_t)63;
}

static void link_requests(struct ingress_requests *requests, uint8_t *arenas, size_t arena_bytes,
                          uint16_t ingress)
{
    for (uint32_t i = requests->count; i-- > 0;) {
        struct ingress_request *request = &requests->all[i];
        request->magic = INGRESS_REQUEST_MAGIC;
        request->ingress = ingress;
        record_arena_init(&request->own_arena, arenas + i * arena_bytes, arena_bytes);
        request->arena = &request->own_arena;
        request->next = requests->free;
        requests->free = request;
    }
}

int ingress_requests_reserve(struct ingress_requests *requests, const struct config *config,
                             uint16_t ingress, struct budget *budget, struct base_error *error)
{
    *requests = (struct ingress_requests){
        .count = (uint32_t)config->requests_max,
        .free_count = (uint32_t)config->requests_max,
        .large_count = (uint32_t)config->large_arenas_max,
        .large_free_count = (uint32_t)config->large_arenas_max,
    };
    size_t small_bytes = arena_bytes_for(INGRESS_REQUEST_SMALL_BODY_BYTES, config);
    size_t large_bytes = arena_bytes_for(config->body_bytes_max, config);
    requests->all = budget_reserve(budget, "requests", requests->count,
                                   sizeof(struct ingress_request), "requests_max per core", error);
    uint8_t *arenas = budget_reserve(budget, "arenas", requests->count, small_bytes,
                                     "one per request: a body of 1 KiB, padding, parsed object, "
                                     "unescaped strings, key, red zone; findings, with a registry",
                                     error);
    requests->large_all = budget_reserve(budget, "large arena heads", requests->large_count,
                                         sizeof(struct record_arena), "one per large arena", error);
    uint8_t *large =
        budget_reserve(budget, "large arenas", requests->large_count, large_bytes,
                       "large_arenas_max per core: the same sum for body_bytes_max", error);
    requests->large_free =
        budget_reserve(budget, "large arena list", requests->large_count,
                       sizeof(struct record_arena *), "one per large arena", error);
    if (requests->all == NULL || arenas == NULL || requests->large_all == NULL || large == NULL ||
        requests->large_free == NULL)
        return error->code;
    link_requests(requests, arenas, small_bytes, ingress);
    for (uint32_t i = 0; i < requests->large_count; i++) {
        record_arena_init(&requests->large_all[i], large + i * large_bytes, large_bytes);
        requests->large_free[i] = &requests->large_all[i];
    }
    return 0;
}

struct ingress_request *ingress_request_take(struct ingress_requests *requests)
{
    struct ingress_request *request = requests->free;
    if (request == NULL)
        return NULL;
    CHECK_OBJECT(request, INGRESS_REQUEST_MAGIC);
    CHECK(request->state == INGRESS_REQUEST_FREE);
    requests->free = request->next;
    requests->free_count--;
    request->next = NULL;
    request->state = INGRESS_REQUEST_FILLING;
    return request;
}

void ingress_request_release(struct ingress_requests *requests, struct ingress_request *request)
{
    CHECK_OBJECT(request, INGRESS_REQUEST_MAGIC);
    CHECK(request->state == INGRESS_REQUEST_DONE);
    record_arena_reset(&request->own_arena);
    if (request->large_arena != NULL) {
        record_arena_reset(request->large_arena);
        requests->large_free[requests->large_free_count++] = request->large_arena;
    }
    struct record_arena own_arena = request->own_arena;
    uint16_t ingress = request->ingress;
    /* everything but the problem's text, which is only read when `answer` says so */
    memset(request, 0, offsetof(struct ingress_request, problem));
    request->problem.kind = BASE_PROBLEM_NONE;
    request->magic = INGRESS_REQUEST_MAGIC;
    request->ingress = ingress;
    request->own_arena = own_arena;
    request->arena = &request->own_arena;
    request->next = requests->free;
    requests->free = request;
    requests->free_count++;
}

/* Behind a body of `capacity` bytes comes the padding that the JSON parser may look at. */
static char *allocate_body(struct record_arena *arena, uint64_t capacity)
{
    return record_arena_alloc(arena, capacity + RECORD_JSON_PADDING_BYTES, 64);
}

bool ingress_request_reserve_body(struct ingress_requests *requests,
                                  struct ingress_request *request, uint64_t bytes,
                                  uint64_t body_bytes_max)
{
    if (request->body != NULL && bytes <= request->body_capacity)
        return true;
    CHECK(bytes <= body_bytes_max && request->large_arena == NULL);
    bool is_small = bytes <= INGRESS_REQUEST_SMALL_BODY_BYTES;
    if (!is_small) {
        if (requests->large_free_count == 0)
            return false;
        request->large_arena = requests->large_free[--requests->large_free_count];
        request->arena = request->large_arena;
    }
    uint64_t capacity = is_small ? INGRESS_REQUEST_SMALL_BODY_BYTES : body_bytes_max;
    char *body = allocate_body(request->arena, capacity);
    CHECK(body != NULL);
    if (request->body_bytes > 0)
        memcpy(body, request->body, request->body_bytes);
    request->body = body;
    request->body_capacity = (uint32_t)capacity;
    return true;
}
