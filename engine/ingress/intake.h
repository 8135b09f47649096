/* From received bytes to requests: HTTP events, admission, the body's one copy, the queue.
 *
 * Called by the ingress thread. What happens on failure: the request gets its problem and waits in
 * the pipeline like any other; when there is not even a request to carry it, the connection's last
 * words say so.
 */
#ifndef SLUICE_INGRESS_INTAKE_H
#define SLUICE_INGRESS_INTAKE_H

#include "ingress/connection.h"

#include <stddef.h>

/* Takes in up to `bytes` bytes; returns how many, fewer only when the pipeline is full. */
size_t ingress_intake(struct ingress *ingress, struct ingress_connection *connection,
                      const char *data, size_t bytes);

/* The body callback of every connection's parser. */
ingress_http_body_function ingress_intake_body;

/* Ends the request being received, if any, with `kind`; nothing more is read. */
void ingress_intake_refuse(struct ingress *ingress, struct ingress_connection *connection,
                           enum base_problem_kind kind, const char *detail);

#endif
