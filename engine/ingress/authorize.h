/* No credential, no write: what a request may do, decided twice. By the ingress with the header
 * section, before a byte of the body is kept: is the token known and valid now, has it the route's
 * scope. By the worker, when the body is parsed: the same again with the credentials as they are by
 * then, and whether it may write for this study and this centre.
 *
 * In between the request carries the token's SHA-256 and no pointer: credentials may be replaced
 * while it waits (reload.h). `credentials` NULL: none are configured, everything is allowed; the
 * engine then listens on loopback only.
 */
#ifndef SLUICE_INGRESS_AUTHORIZE_H
#define SLUICE_INGRESS_AUTHORIZE_H

#include "credentials.h"
#include "ingress/http.h"
#include "ingress/request.h"
#include "record/submission.h"

#include <stdbool.h>

/* By the ingress. False: `request` has its problem (401, or 403 for the scope). True: it has what
 * the worker needs. */
bool ingress_authorize(const struct credentials *credentials, const struct ingress_http_head *head,
                       enum credentials_scope scope, uint64_t now_ns,
                       struct ingress_request *request);

/* By the worker. False: `request` has its problem, nothing may be stored. True: `name_out` is the
 * name of the credential in the request's arena, absent without credentials. */
bool ingress_authorize_submission(const struct credentials *credentials,
                                  const struct record_submission *submission,
                                  struct ingress_request *request, struct record_text *name_out);

#endif
