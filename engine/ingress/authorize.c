#include "ingress/authorize.h"

#include "base/check.h"

#include <string.h>

static bool refuse(struct ingress_request *request, enum base_problem_kind kind, const char *detail)
{
    request->answer = INGRESS_ANSWER_PROBLEM;
    base_problem_set(&request->problem, kind, "%s", detail);
    return false;
}

/* Unknown, expired and not yet valid look the same from outside. */
static const struct credential *find_valid(const struct credentials *credentials,
                                           const uint8_t *token_sha256, uint64_t now_ns)
{
    const struct credential *credential = credentials_find(credentials, token_sha256);
    bool valid = credential != NULL && credentials_is_valid_at(credential, now_ns);
    return valid ? credential : NULL;
}

static const char *scope_detail(enum credentials_scope scope)
{
    switch (scope) {
#define SCOPE_DETAIL(each, text)                                                                   \
    case each:                                                                                     \
        return "the credential lacks the scope " text ", which this request needs";
        CREDENTIALS_EACH_SCOPE(SCOPE_DETAIL)
#undef SCOPE_DETAIL
    case CREDENTIALS_NONE:
        break;
    }
    CHECK_NEVER("a scope that no credential has");
}

static bool check_token(const struct credential *credential, enum credentials_scope scope,
                        struct ingress_request *request)
{
    if (credential == NULL)
        return refuse(request, BASE_PROBLEM_INVALID_TOKEN,
                      "the token is unknown, expired or not yet valid; ask the operator for one");
    if ((credential->scopes & scope) == 0)
        return refuse(request, BASE_PROBLEM_INSUFFICIENT_SCOPE, scope_detail(scope));
    return true;
}

bool ingress_authorize(const struct credentials *credentials, const struct ingress_http_head *head,
                       enum credentials_scope scope, uint64_t now_ns,
                       struct ingress_request *request)
{
    if (credentials == NULL || scope == CREDENTIALS_NONE)
        return true;
    if (head->bearer == INGRESS_HTTP_BEARER_NONE)
        return refuse(request, BASE_PROBLEM_UNAUTHENTICATED,
                      "send a token with this request: \"Authorization: Bearer TOKEN\"");
    const struct credential *credential = NULL;
    if (head->bearer == INGRESS_HTTP_BEARER_TOKEN)
        credential = find_valid(credentials, head->token_sha256, now_ns);
    if (!check_token(credential, scope, request))
        return false;
    memcpy(request->token_sha256, head->token_sha256, sizeof(request->token_sha256));
    return true;
}

/* `member` is the submission's, `name` how it is called there. */
static bool check_bound(const struct credentials_ids *set, const struct record_text *member,
                        const char *name, enum base_problem_kind kind,
                        struct ingress_request *request)
{
    if (credentials_allows(set, member->data, member->bytes))
        return true;
    request->answer = INGRESS_ANSWER_PROBLEM;
    if (member->data == NULL)
        base_problem_set(&request->problem, kind,
                         "the credential is bound to some values of %s; add the member %s", name,
                         name);
    else
        base_problem_set(&request->problem, kind,
                         "the credential may not write for this %s; nothing was stored", name);
    base_problem_pointer_push(&request->problem, name, strlen(name));
    return false;
}

static void keep_name(const struct credential *credential, struct ingress_request *request,
                      struct record_text *name_out)
{
    char *name = record_arena_alloc(request->arena, credential->name.bytes, 1);
    CHECK(name != NULL); /* the arena's sum has a term for it */
    memcpy(name, credential->name.data, credential->name.bytes);
    *name_out = (struct record_text){name, credential->name.bytes};
}

bool ingress_authorize_submission(const struct credentials *credentials,
                                  const struct record_submission *submission,
                                  struct ingress_request *request, struct record_text *name_out)
{
    *name_out = (struct record_text){NULL, 0};
    if (credentials == NULL)
        return true;
    const struct credential *credential =
        find_valid(credentials, request->token_sha256, request->received_at_ns);
    if (!check_token(credential, CREDENTIALS_INGEST, request) ||
        !check_bound(&credential->studies, &submission->study_id, "studyId",
                     BASE_PROBLEM_STUDY_NOT_ALLOWED, request) ||
        !check_bound(&credential->centers, &submission->center_id, "centerId",
                     BASE_PROBLEM_CENTER_NOT_ALLOWED, request))
        return false;
    keep_name(credential, request, name_out);
    return true;
}
