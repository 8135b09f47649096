/* TLS 1.2 and 1.3 between the socket's bytes and the HTTP parser, by OpenSSL over a BIO in memory:
 * what was received is read straight out of the receive buffer, what is to be sent is written
 * straight into the connection's send buffer. Nothing here blocks or makes a system call.
 *
 * The context (certificate, key, client CA) belongs to the control thread, which reloads it; a
 * connection holds a reference to the one that it began with. A session belongs to its connection,
 * so to one ingress thread. OpenSSL allocates in the handshake and frees when the connection ends;
 * in between it does not (tests/system/test_tls.py).
 */
#ifndef SLUICE_INGRESS_TLS_H
#define SLUICE_INGRESS_TLS_H

#include "base/error.h"
#include "base/text.h"
#include "config.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

/* What OpenSSL 3.0 holds for one connection with a handshake behind it: two record buffers of 16
 * KiB and the session. Measured 49,172 bytes with every byte touched (MALLOC_PERTURB_), else 35 to
 * 37 KiB resident (tests/system/test_tls.py); the rest is for certificates of clients. For the
 * budget. */
#define INGRESS_TLS_CONNECTION_BYTES (56 << 10)

/* Bytes that a record adds to its content at most, in TLS 1.2 or 1.3 (RFC 8446, 5.2), rounded up.
 */
#define INGRESS_TLS_RECORD_OVERHEAD_BYTES 64

/* Bytes of the largest record's content: what is decrypted at once. */
#define INGRESS_TLS_PLAIN_BYTES 16384

struct ingress;
struct ingress_connection;

/* A kind of reload.h; the context is the configuration (tls_certificate, tls_key, tls_client_ca,
 * tls_client_auth), the object an SSL_CTX. -EINVAL with the file and OpenSSL's reason. */
int ingress_tls_load(const void *config, void **context_out, struct base_error *error);
void ingress_tls_destroy(void *context); /* NULL is fine; connections keep it alive */

/* A session for a connection that was just accepted. False: no memory. */
bool ingress_tls_begin(SSL_CTX *context, struct ingress_connection *connection);

void ingress_tls_end(struct ingress_connection *connection); /* fine without a session */

/* Takes in received bytes: handshake, then records to the HTTP parser. False: not all of it could
 * be taken (the pipeline is full, or something has to be sent first); come again with what is
 * behind
 * `*consumed_out`, be that nothing. `*progress_out`: something happened. */
bool ingress_tls_intake(struct ingress *ingress, struct ingress_connection *connection,
                        const char *data, uint32_t bytes, uint32_t *consumed_out,
                        bool *progress_out);

/* Memory for responses, as much as can be sent at once now; empty while the handshake lasts. */
void ingress_tls_plain(struct ingress *ingress, const struct ingress_connection *connection,
                       struct base_text *out);

/* Encrypts what is in there into the send buffer. False: the session is broken. */
bool ingress_tls_seal(struct ingress_connection *connection, const struct base_text *plain);

/* Writes a close_notify, once. */
void ingress_tls_say_goodbye(struct ingress_connection *connection);

#endif
