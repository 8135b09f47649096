/* Who may do what, before the body and behind the parse. */
#include "ingress/authorize.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define NOW_NS 1000

static struct credentials *credentials;
static struct ingress_http_head head;
static struct ingress_request request;
static struct record_submission submission;
static _Alignas(64) uint8_t arena_memory[1024 + RECORD_ARENA_RED_ZONE_BYTES];

static struct credentials_text copy(const char *text)
{
    return (struct credentials_text){strdup(text), (uint32_t)strlen(text)};
}

static struct credentials_ids one_id(const char *id)
{
    struct credentials_ids set = {malloc(sizeof(*set.ids)), 1};
    set.ids[0] = copy(id);
    return set;
}

/* The token "good" may write for study S at centre C from NOW on, the token "read" may read. */
static void set_up(void)
{
    struct base_error error;
    struct credential *entries = calloc(2, sizeof(*entries));
    entries[0] = (struct credential){.scopes = CREDENTIALS_INGEST,
                                     .not_before_ns = NOW_NS,
                                     .expires_ns = 2 * NOW_NS,
                                     .name = copy("good-name"),
                                     .studies = one_id("S"),
                                     .centers = one_id("C")};
    base_sha256_of("good", 4, entries[0].token_sha256);
    entries[1] = (struct credential){
        .scopes = CREDENTIALS_READ, .expires_ns = UINT64_MAX, .name = copy("read-name")};
    base_sha256_of("read", 4, entries[1].token_sha256);
    cr_assert_eq(credentials_create(entries, 2, "test", &credentials, &error), 0);
    head = (struct ingress_http_head){.bearer = INGRESS_HTTP_BEARER_NONE};
    request = (struct ingress_request){.received_at_ns = NOW_NS};
    record_arena_init(&request.own_arena, arena_memory, sizeof(arena_memory));
    request.arena = &request.own_arena;
    submission = (struct record_submission){.study_id = {"S", 1}, .center_id = {"C", 1}};
}

static void tear_down(void)
{
    credentials_destroy(credentials);
}

TestSuite(authorize, .init = set_up, .fini = tear_down);

static void present(const char *token)
{
    head.bearer = INGRESS_HTTP_BEARER_TOKEN;
    base_sha256_of(token, strlen(token), head.token_sha256);
}

/* 0 or the problem. */
static enum base_problem_kind at_headers(enum credentials_scope scope, uint64_t now_ns)
{
    request.answer = INGRESS_ANSWER_NONE;
    if (ingress_authorize(credentials, &head, scope, now_ns, &request)) {
        cr_assert_eq(request.answer, INGRESS_ANSWER_NONE);
        return BASE_PROBLEM_NONE;
    }
    cr_assert_eq(request.answer, INGRESS_ANSWER_PROBLEM);
    return request.problem.kind;
}

Test(authorize, the_token_its_times_and_its_scope_are_looked_at_before_the_body)
{
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_UNAUTHENTICATED);
    cr_assert_eq(at_headers(CREDENTIALS_NONE, NOW_NS), BASE_PROBLEM_NONE);
    head.bearer = INGRESS_HTTP_BEARER_MALFORMED;
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_INVALID_TOKEN);
    present("bad");
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_INVALID_TOKEN);
    cr_assert_eq(at_headers(CREDENTIALS_NONE, NOW_NS), BASE_PROBLEM_NONE);
    present("good");
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS - 1), BASE_PROBLEM_INVALID_TOKEN);
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_NONE);
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, 2 * NOW_NS - 1), BASE_PROBLEM_NONE);
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, 2 * NOW_NS), BASE_PROBLEM_INVALID_TOKEN);
    cr_assert_eq(at_headers(CREDENTIALS_READ, NOW_NS), BASE_PROBLEM_INSUFFICIENT_SCOPE);
    cr_assert_eq(at_headers(CREDENTIALS_ADMIN, NOW_NS), BASE_PROBLEM_INSUFFICIENT_SCOPE);
    present("read");
    cr_assert_eq(at_headers(CREDENTIALS_READ, 0), BASE_PROBLEM_NONE);
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_INSUFFICIENT_SCOPE);
    cr_assert_not_null(strstr(request.problem.detail, "ingest"));
}

Test(authorize, a_malformed_token_is_not_the_digest_that_an_earlier_request_left)
{
    present("good");
    head.bearer = INGRESS_HTTP_BEARER_MALFORMED;
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_INVALID_TOKEN);
}

static enum base_problem_kind behind_the_parse(struct record_text *name_out)
{
    request.answer = INGRESS_ANSWER_NONE;
    request.problem.pointer[0] = '\0';
    if (ingress_authorize_submission(credentials, &submission, &request, name_out))
        return BASE_PROBLEM_NONE;
    cr_assert_eq(request.answer, INGRESS_ANSWER_PROBLEM);
    cr_assert_null(name_out->data);
    return request.problem.kind;
}

Test(authorize, the_study_and_the_centre_are_looked_at_behind_the_parse)
{
    static const struct {
        struct record_text study, center;
        enum base_problem_kind problem;
        const char *pointer;
    } cases[] = {
        {{"S", 1}, {"C", 1}, BASE_PROBLEM_NONE, ""},
        {{"T", 1}, {"C", 1}, BASE_PROBLEM_STUDY_NOT_ALLOWED, "/studyId"},
        {{"SS", 2}, {"C", 1}, BASE_PROBLEM_STUDY_NOT_ALLOWED, "/studyId"},
        {{NULL, 0}, {"C", 1}, BASE_PROBLEM_STUDY_NOT_ALLOWED, "/studyId"},
        {{"S", 1}, {"D", 1}, BASE_PROBLEM_CENTER_NOT_ALLOWED, "/centerId"},
        {{"S", 1}, {"S", 1}, BASE_PROBLEM_CENTER_NOT_ALLOWED, "/centerId"},
        {{"S", 1}, {NULL, 0}, BASE_PROBLEM_CENTER_NOT_ALLOWED, "/centerId"},
    };
    present("good");
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_NONE);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record_text name;
        submission.study_id = cases[i].study;
        submission.center_id = cases[i].center;
        cr_assert_eq(behind_the_parse(&name), cases[i].problem, "case %zu", i);
        if (cases[i].problem == BASE_PROBLEM_NONE) {
            cr_assert_eq(name.bytes, 9);
            cr_assert_eq(memcmp(name.data, "good-name", 9), 0);
            continue;
        }
        cr_assert_str_eq(request.problem.pointer, cases[i].pointer);
        bool absent = cases[i].study.data == NULL || cases[i].center.data == NULL;
        cr_assert_eq(strstr(request.problem.detail, "add the member") != NULL, absent);
    }
}

Test(authorize, the_name_outlives_the_credentials)
{
    struct record_text name;
    present("good");
    at_headers(CREDENTIALS_INGEST, NOW_NS);
    cr_assert_eq(behind_the_parse(&name), BASE_PROBLEM_NONE);
    credentials_destroy(credentials);
    credentials = NULL;
    cr_assert_eq(memcmp(name.data, "good-name", 9), 0);
}

Test(authorize, a_token_that_expires_or_is_revoked_while_the_body_comes_writes_nothing)
{
    struct base_error error;
    struct record_text name;
    present("good");
    at_headers(CREDENTIALS_INGEST, NOW_NS);
    request.received_at_ns = 2 * NOW_NS;
    cr_assert_eq(behind_the_parse(&name), BASE_PROBLEM_INVALID_TOKEN);
    request.received_at_ns = NOW_NS;
    cr_assert_eq(behind_the_parse(&name), BASE_PROBLEM_NONE);
    credentials_destroy(credentials);
    struct credential *other = calloc(1, sizeof(*other));
    *other = (struct credential){
        .scopes = CREDENTIALS_INGEST, .expires_ns = UINT64_MAX, .name = copy("other")};
    cr_assert_eq(credentials_create(other, 1, "test", &credentials, &error), 0);
    cr_assert_eq(behind_the_parse(&name), BASE_PROBLEM_INVALID_TOKEN);
}

Test(authorize, without_credentials_everything_is_allowed_and_no_name_is_kept)
{
    struct record_text name = {"x", 1};
    struct credentials *kept = credentials;
    credentials = NULL;
    cr_assert_eq(at_headers(CREDENTIALS_INGEST, NOW_NS), BASE_PROBLEM_NONE);
    cr_assert_eq(behind_the_parse(&name), BASE_PROBLEM_NONE);
    cr_assert_null(name.data);
    credentials = kept;
}
