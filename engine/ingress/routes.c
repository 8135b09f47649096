#include "ingress/routes.h"

#include <stdbool.h>
#include <string.h>

static const struct ingress_route routes[] = {
    {"/v1/submissions", true, INGRESS_ANSWER_NONE, INGRESS_ROLE_PUBLIC, CREDENTIALS_INGEST},
    {"/livez", false, INGRESS_ANSWER_LIVE, INGRESS_ROLE_PUBLIC | INGRESS_ROLE_ADMIN,
     CREDENTIALS_NONE},
    {"/readyz", false, INGRESS_ANSWER_READY, INGRESS_ROLE_PUBLIC | INGRESS_ROLE_ADMIN,
     CREDENTIALS_NONE},
};

const struct ingress_route *ingress_routes(size_t *count_out)
{
    *count_out = sizeof(routes) / sizeof(routes[0]);
    return routes;
}

static const struct ingress_route *find_route(const struct ingress_http_head *head,
                                              enum ingress_role role)
{
    const char *query = memchr(head->target, '?', head->target_bytes);
    size_t bytes = query != NULL ? (size_t)(query - head->target) : head->target_bytes;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if ((routes[i].roles & role) && strlen(routes[i].path) == bytes &&
            memcmp(routes[i].path, head->target, bytes) == 0)
            return &routes[i];
    return NULL;
}

enum credentials_scope ingress_routes_scope(const struct ingress_http_head *head,
                                            enum ingress_role role)
{
    const struct ingress_route *route = find_route(head, role);
    return route != NULL ? route->scope : CREDENTIALS_NONE;
}

static void refuse(struct ingress_request *request, enum base_problem_kind kind, const char *detail)
{
    request->answer = INGRESS_ANSWER_PROBLEM;
    base_problem_set(&request->problem, kind, "%s", detail);
}

/* What must hold before a submission's body is read. */
static void admit_submission(const struct ingress_http_head *head, uint64_t body_bytes_max,
                             struct ingress_request *request)
{
    if (head->media != INGRESS_HTTP_MEDIA_JSON) {
        refuse(request, BASE_PROBLEM_UNSUPPORTED_MEDIA_TYPE,
               "send the submission with Content-Type: application/json (UTF-8)");
    } else if (head->encoded) {
        refuse(request, BASE_PROBLEM_UNSUPPORTED_MEDIA_TYPE,
               "send the body without Content-Encoding");
    } else if (!head->has_length) {
        refuse(request, BASE_PROBLEM_LENGTH_REQUIRED,
               "send the body with Content-Length or Transfer-Encoding: chunked");
    } else if (head->content_length > body_bytes_max) {
        request->answer = INGRESS_ANSWER_PROBLEM;
        base_problem_set(&request->problem, BASE_PROBLEM_BODY_TOO_LARGE,
                         "the body has %llu bytes, the limit (body_bytes_max) is %llu",
                         (unsigned long long)head->content_length,
                         (unsigned long long)body_bytes_max);
    }
}

void ingress_routes_decide(const struct ingress_http_head *head, enum ingress_role role,
                           uint64_t body_bytes_max, struct ingress_request *request)
{
    const struct ingress_route *route = find_route(head, role);
    if (head->expect_other) {
        refuse(request, BASE_PROBLEM_EXPECTATION_FAILED,
               "the only expectation understood is 100-continue");
    } else if (route == NULL) {
        refuse(request, BASE_PROBLEM_NOT_FOUND,
               role == INGRESS_ROLE_ADMIN
                   ? "the admin listener has GET /livez and GET /readyz"
                   : "there are POST /v1/submissions, GET /livez and GET /readyz");
    } else if (route->takes_submission && head->method != INGRESS_HTTP_POST) {
        refuse(request, BASE_PROBLEM_METHOD_NOT_ALLOWED, "this path takes POST");
    } else if (!route->takes_submission && head->method != INGRESS_HTTP_GET &&
               head->method != INGRESS_HTTP_HEAD) {
        refuse(request, BASE_PROBLEM_METHOD_NOT_ALLOWED, "this path takes GET and HEAD");
    } else if (route->takes_submission) {
        admit_submission(head, body_bytes_max, request);
    } else {
        request->answer = route->answer;
    }
}

const char *ingress_routes_allow(const struct base_problem *problem)
{
    if (problem->kind != BASE_PROBLEM_METHOD_NOT_ALLOWED)
        return "";
    return strstr(problem->detail, "POST") != NULL ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n";
}
