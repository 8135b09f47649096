/* Which requests there are. One table; everything else is 404, 405 or 415.
 *
 * Called by the ingress thread with a complete header section; decides before the body is read.
 */
#ifndef SLUICE_INGRESS_ROUTES_H
#define SLUICE_INGRESS_ROUTES_H

#include "credentials.h"
#include "ingress/http.h"
#include "ingress/request.h"

enum ingress_role { INGRESS_ROLE_PUBLIC = 1, INGRESS_ROLE_ADMIN = 2 };

struct ingress_route {
    const char *path;
    bool takes_submission; /* POST of a submission; else GET and HEAD */
    uint8_t answer;
    uint8_t roles;                /* enum ingress_role, added up */
    enum credentials_scope scope; /* that a credential needs for it */
};

/* The table. */
const struct ingress_route *ingress_routes(size_t *count_out);

/* What a request needs a credential for; NONE also where there is nothing. */
enum credentials_scope ingress_routes_scope(const struct ingress_http_head *head,
                                            enum ingress_role role);

/* Sets request->answer: NONE for a submission whose body is to be taken, LIVE or READY, or PROBLEM
 * with request->problem. */
void ingress_routes_decide(const struct ingress_http_head *head, enum ingress_role role,
                           uint64_t body_bytes_max, struct ingress_request *request);

/* The Allow header for a path that answered 405, "" for others. */
const char *ingress_routes_allow(const struct base_problem *problem);

#endif
