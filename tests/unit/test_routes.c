/* The table of requests: method, path, listener, media type and size, before any body is read. */
#include "ingress/routes.h"

#include <criterion/criterion.h>
#include <string.h>

#define BODY_BYTES_MAX 5000

static struct ingress_http_head head;
static struct ingress_request request;

/* A good submission; each test spoils something. */
static void set_up(void)
{
    head = (struct ingress_http_head){
        .method = INGRESS_HTTP_POST,
        .media = INGRESS_HTTP_MEDIA_JSON,
        .keep_alive = true,
        .has_body = true,
        .has_length = true,
        .content_length = 100,
    };
    memset(head.target, '/', sizeof(head.target));
}

TestSuite(routes, .init = set_up);

/* Decides; 0 for a submission that is to be taken, 200 for LIVE and READY, or a problem's status.
 */
static unsigned decide(uint8_t method, const char *target, enum ingress_role role)
{
    request = (struct ingress_request){.answer = INGRESS_ANSWER_NONE};
    head.method = method;
    head.target_bytes = (uint16_t)strlen(target);
    memcpy(head.target, target, head.target_bytes);
    ingress_routes_decide(&head, role, BODY_BYTES_MAX, &request);
    switch ((enum ingress_answer)request.answer) {
    case INGRESS_ANSWER_NONE:
        return 0;
    case INGRESS_ANSWER_LIVE:
    case INGRESS_ANSWER_READY:
        return 200;
    case INGRESS_ANSWER_PROBLEM:
        cr_assert_neq(request.problem.detail[0], '\0');
        return base_problem_class_of(request.problem.kind)->status;
    default:
        cr_assert_fail("answer %u", request.answer);
        return 1;
    }
}

Test(routes, each_method_on_each_path_of_each_listener)
{
    enum { METHODS = INGRESS_HTTP_OTHER + 1 };
    static const struct {
        const char *path;
        unsigned public_status[METHODS]; /* GET, HEAD, POST, other */
        unsigned admin_status[METHODS];
    } rows[] = {
        {"/v1/submissions", {405, 405, 0, 405}, {404, 404, 404, 404}},
        {"/livez", {200, 200, 405, 405}, {200, 200, 405, 405}},
        {"/readyz", {200, 200, 405, 405}, {200, 200, 405, 405}},
        {"/", {404, 404, 404, 404}, {404, 404, 404, 404}},
        {"*", {404, 404, 404, 404}, {404, 404, 404, 404}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (uint8_t method = 0; method < METHODS; method++) {
            cr_assert_eq(decide(method, rows[i].path, INGRESS_ROLE_PUBLIC),
                         rows[i].public_status[method], "%u %s", method, rows[i].path);
            cr_assert_eq(decide(method, rows[i].path, INGRESS_ROLE_ADMIN),
                         rows[i].admin_status[method], "%u %s, admin", method, rows[i].path);
        }
}

Test(routes, each_path_asks_for_its_scope)
{
    static const struct {
        const char *path;
        enum credentials_scope public_scope, admin_scope;
    } rows[] = {
        {"/v1/submissions", CREDENTIALS_INGEST, CREDENTIALS_NONE}, /* not there on admin */
        {"/v1/submissions?a", CREDENTIALS_INGEST, CREDENTIALS_NONE},
        {"/livez", CREDENTIALS_NONE, CREDENTIALS_NONE},
        {"/readyz", CREDENTIALS_NONE, CREDENTIALS_NONE},
        {"/", CREDENTIALS_NONE, CREDENTIALS_NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        head.target_bytes = (uint16_t)strlen(rows[i].path);
        memcpy(head.target, rows[i].path, head.target_bytes);
        for (head.method = 0; head.method <= INGRESS_HTTP_OTHER; head.method++) {
            cr_assert_eq(ingress_routes_scope(&head, INGRESS_ROLE_PUBLIC), rows[i].public_scope);
            cr_assert_eq(ingress_routes_scope(&head, INGRESS_ROLE_ADMIN), rows[i].admin_scope);
        }
    }
}

/* Whoever adds a route says what it needs, or that it is for everybody. */
Test(routes, only_probes_are_for_everybody)
{
    size_t count;
    const struct ingress_route *routes = ingress_routes(&count);
    for (size_t i = 0; i < count; i++) {
        bool probe =
            routes[i].answer == INGRESS_ANSWER_LIVE || routes[i].answer == INGRESS_ANSWER_READY;
        cr_assert_eq(routes[i].scope == CREDENTIALS_NONE, probe, "%s", routes[i].path);
    }
}

Test(routes, live_and_ready_are_told_apart)
{
    decide(INGRESS_HTTP_GET, "/livez", INGRESS_ROLE_PUBLIC);
    cr_assert_eq(request.answer, INGRESS_ANSWER_LIVE);
    decide(INGRESS_HTTP_GET, "/readyz", INGRESS_ROLE_PUBLIC);
    cr_assert_eq(request.answer, INGRESS_ANSWER_READY);
}

Test(routes, paths_match_whole_and_by_case)
{
    static const char *const paths[] = {
        "/v1/submission",    "/v1/submissions/",
        "/v1/submissionsx",  "/v1//submissions",
        "/V1/submissions",   "/v1/Submissions",
        "/v1/submissions/1", "/v1/submissions%20",
        "/livez/",           "/live",
        "/livezz",           "//livez",
        "/readyz/",          "/v1/submissions#a",
        "/./livez",          "/%6Civez",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        cr_assert_eq(decide(INGRESS_HTTP_POST, paths[i], INGRESS_ROLE_PUBLIC), 404, "%s", paths[i]);
        cr_assert_eq(decide(INGRESS_HTTP_GET, paths[i], INGRESS_ROLE_ADMIN), 404, "%s", paths[i]);
    }
}

Test(routes, the_query_does_not_matter)
{
    cr_assert_eq(decide(INGRESS_HTTP_POST, "/v1/submissions?", INGRESS_ROLE_PUBLIC), 0);
    cr_assert_eq(decide(INGRESS_HTTP_POST, "/v1/submissions?a=/livez", INGRESS_ROLE_PUBLIC), 0);
    cr_assert_eq(decide(INGRESS_HTTP_GET, "/livez?verbose?x", INGRESS_ROLE_ADMIN), 200);
    cr_assert_eq(decide(INGRESS_HTTP_GET, "?/livez", INGRESS_ROLE_PUBLIC), 404);
}

/* The buffer behind the target holds what an earlier request left there. */
Test(routes, only_the_bytes_of_the_target_count)
{
    memcpy(head.target, "/livezzzz", 9);
    cr_assert_eq(decide(INGRESS_HTTP_GET, "/livez", INGRESS_ROLE_PUBLIC), 200);
    memcpy(head.target, "/live?z", 7);
    cr_assert_eq(decide(INGRESS_HTTP_GET, "/live", INGRESS_ROLE_PUBLIC), 404);
}

static unsigned submit(void)
{
    return decide(INGRESS_HTTP_POST, "/v1/submissions", INGRESS_ROLE_PUBLIC);
}

Test(routes, submissions_are_json_and_not_encoded)
{
    cr_assert_eq(submit(), 0);
    head.media = INGRESS_HTTP_MEDIA_OTHER;
    cr_assert_eq(submit(), 415);
    head.media = INGRESS_HTTP_MEDIA_NONE;
    cr_assert_eq(submit(), 415);
    head.media = INGRESS_HTTP_MEDIA_JSON;
    head.encoded = true;
    cr_assert_eq(submit(), 415);
}

Test(routes, submissions_have_a_length)
{
    head.has_length = false;
    head.has_body = false;
    head.content_length = 0;
    cr_assert_eq(submit(), 411);
    head.has_length = true; /* Content-Length: 0 is an empty body, which is no JSON */
    cr_assert_eq(submit(), 0);
    head.chunked = true;
    cr_assert_eq(submit(), 0);
}

Test(routes, submissions_are_as_large_as_the_limit_and_no_larger)
{
    head.content_length = BODY_BYTES_MAX;
    cr_assert_eq(submit(), 0);
    head.content_length = BODY_BYTES_MAX + 1;
    cr_assert_eq(submit(), 413);
    cr_assert_not_null(strstr(request.problem.detail, "5001"), "%s", request.problem.detail);
    cr_assert_not_null(strstr(request.problem.detail, "5000"), "%s", request.problem.detail);
    head.content_length = UINT64_MAX;
    cr_assert_eq(submit(), 413);
}

Test(routes, probes_may_have_any_body)
{
    head.media = INGRESS_HTTP_MEDIA_OTHER;
    head.encoded = true;
    head.content_length = BODY_BYTES_MAX + 1;
    cr_assert_eq(decide(INGRESS_HTTP_GET, "/livez", INGRESS_ROLE_PUBLIC), 200);
}

Test(routes, only_100_continue_can_be_expected)
{
    head.expect_continue = true;
    cr_assert_eq(submit(), 0);
    head.expect_other = true;
    cr_assert_eq(submit(), 417);
    cr_assert_eq(decide(INGRESS_HTTP_GET, "/livez", INGRESS_ROLE_PUBLIC), 417);
}

/* RFC 9110, section 15.5.6: a 405 must say what is allowed. */
Test(routes, a_405_says_what_is_allowed)
{
    decide(INGRESS_HTTP_GET, "/v1/submissions", INGRESS_ROLE_PUBLIC);
    cr_assert_str_eq(ingress_routes_allow(&request.problem), "Allow: POST\r\n");
    decide(INGRESS_HTTP_POST, "/livez", INGRESS_ROLE_PUBLIC);
    cr_assert_str_eq(ingress_routes_allow(&request.problem), "Allow: GET, HEAD\r\n");
    decide(INGRESS_HTTP_POST, "/readyz", INGRESS_ROLE_ADMIN);
    cr_assert_str_eq(ingress_routes_allow(&request.problem), "Allow: GET, HEAD\r\n");
}

Test(routes, other_problems_say_nothing_about_methods)
{
    struct base_problem problem;
    for (int kind = 1; kind < BASE_PROBLEM_KIND_COUNT; kind++) {
        base_problem_set(&problem, (enum base_problem_kind)kind, "there are POST and GET");
        if (kind != BASE_PROBLEM_METHOD_NOT_ALLOWED)
            cr_assert_str_eq(ingress_routes_allow(&problem), "");
    }
}
