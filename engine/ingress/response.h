/* Responses as bytes. Called by the ingress thread; writes into the connection's send buffer.
 */
#ifndef SLUICE_INGRESS_RESPONSE_H
#define SLUICE_INGRESS_RESPONSE_H

#include "base/text.h"
#include "ingress/request.h"
#include "state.h"

/* The largest response: a problem with pointer and detail all escaped, or a receipt whose id of 128
 * control characters is escaped sixfold in the content and threefold in Location, with findings of
 * RECORD_FINDINGS_TEXT_BYTES_MAX. */
#define INGRESS_RESPONSE_BYTES_MAX 4096

#define INGRESS_DATE_BYTES 38 /* "Date: Mon, 23 Nov 2026 16:41:00 GMT\r\n" and a NUL */

/* The Date header of a moment, made once a second. */
void ingress_response_date(uint64_t realtime_ns, char date_out[INGRESS_DATE_BYTES]);

/* Appends the response to a DONE request. False when it does not fit; nothing is appended then.
 * `close` says that the connection ends with it. */
bool ingress_response_append(struct base_text *out, const struct ingress_request *request,
                             const struct state *state, const char *date, bool close);

/* A problem without a request, for connections that are refused whole. */
bool ingress_response_append_last_words(struct base_text *out, enum base_problem_kind kind,
                                        const char *date);

#endif
