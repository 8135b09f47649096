/* Decrypted bytes are first peeked at and then read as far as the parser took them: what it did not
 * take stays in OpenSSL's own buffer, and a paused connection needs no memory of ours. Rejected:
 * OpenSSL's memory BIOs, which allocate and copy once more; a thread for handshakes (one costs some
 * hundred microseconds, and its connection then lives for minutes). */
#include "ingress/tls.h"

#include "base/check.h"
#include "ingress/ingress.h"
#include "ingress/intake.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/stat.h>

/* --- the BIO -------------------------------------------------------------------------------- */

static int read_received(BIO *bio, char *out, int size)
{
    struct ingress_tls_state *tls = &((struct ingress_connection *)BIO_get_data(bio))->tls;
    BIO_clear_retry_flags(bio);
    if (tls->in_bytes == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    uint32_t bytes = (uint32_t)size < tls->in_bytes ? (uint32_t)size : tls->in_bytes;
    memcpy(out, tls->in, bytes);
    tls->in += bytes;
    tls->in_bytes -= bytes;
    return (int)bytes;
}

/* Into the send buffer, which is ours as long as no send is under way. */
static int write_sendable(BIO *bio, const char *data, int size)
{
    struct ingress_connection *connection = BIO_get_data(bio);
    struct ingress_buffers *buffers = &connection->ingress->buffers;
    BIO_clear_retry_flags(bio);
    if (!connection->sending && !connection->aborted &&
        connection->send_buffer == INGRESS_SEND_BUFFER_NONE) {
        connection->send_buffer = ingress_buffers_take_send(buffers);
        connection->send_bytes = connection->send_done = 0;
        connection->tls.wants_buffer = connection->send_buffer == INGRESS_SEND_BUFFER_NONE;
    }
    if (connection->sending || connection->send_buffer == INGRESS_SEND_BUFFER_NONE ||
        connection->send_bytes == buffers->send_bytes) {
        BIO_set_retry_write(bio);
        return -1;
    }
    uint32_t room = buffers->send_bytes - connection->send_bytes;
    uint32_t bytes = (uint32_t)size < room ? (uint32_t)size : room;
    memcpy(ingress_buffers_send_memory(buffers, connection->send_buffer) + connection->send_bytes,
           data, bytes);
    connection->send_bytes += bytes;
    return (int)bytes;
}

static long control_bio(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int create_bio(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* Made with the first context, by the main thread; lives as long as the process. */
static BIO_METHOD *method;

static bool make_method(void)
{
    if (method != NULL)
        return true;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice");
    return method != NULL && BIO_meth_set_read(method, read_received) &&
           BIO_meth_set_write(method, write_sendable) && BIO_meth_set_ctrl(method, control_bio) &&
           BIO_meth_set_create(method, create_bio);
}

/* --- the context ---------------------------------------------------------------------------- */

static int fail(struct base_error *error, const char *path, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return base_error_set(error, -EINVAL, "%s: %s: %s", path, what,
                          reason != NULL ? reason : "OpenSSL gives no reason");
}

static int choose_protocol(SSL *session, const unsigned char **out, unsigned char *out_bytes,
                           const unsigned char *offered, unsigned offered_bytes, void *argument)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)session;
    (void)argument;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_bytes, ours, sizeof(ours) - 1, offered, offered_bytes) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A key behind a passphrase: nobody is there to type it. */
static int no_passphrase(char *buffer, int size, int writing, void *argument)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)argument;
    return -1;
}

static int load_key_pair(SSL_CTX *context, const struct config *config, struct base_error *error)
{
    struct stat status;
    if (stat(config->tls_key, &status) < 0)
        return base_error_set(error, -EINVAL, "cannot read %s: %s", config->tls_key,
                              strerror(errno));
    if (status.st_mode & (S_IROTH | S_IWOTH))
        return base_error_set(error, -EINVAL,
                              "%s may be read or written by every user (mode %04o): chmod o-rwx %s",
                              config->tls_key, status.st_mode & 07777u, config->tls_key);
    if (SSL_CTX_use_certificate_chain_file(context, config->tls_certificate) != 1)
        return fail(error, config->tls_certificate, "no certificate chain in PEM");
    if (SSL_CTX_use_PrivateKey_file(context, config->tls_key, SSL_FILETYPE_PEM) != 1)
        return fail(error, config->tls_key, "no private key in PEM without passphrase for it");
    if (SSL_CTX_check_private_key(context) != 1)
        return fail(error, config->tls_key, "not the key of the certificate");
    return 0;
}

static int load_client_auth(SSL_CTX *context, const struct config *config, struct base_error *error)
{
    const char *auth = config->tls_client_auth;
    bool optional = strcmp(auth, "optional") == 0, required = strcmp(auth, "required") == 0;
    if (!optional && !required && auth[0] != '\0' && strcmp(auth, "none") != 0)
        return base_error_set(error, -EINVAL,
                              "tls_client_auth is \"%s\", but must be none, optional or required",
                              auth);
    if ((optional || required) != (config->tls_client_ca[0] != '\0'))
        return base_error_set(error, -EINVAL,
                              "tls_client_ca and tls_client_auth (optional or required) go "
                              "together; one of them is missing");
    if (!optional && !required)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(config->tls_client_ca);
    if (names == NULL || SSL_CTX_load_verify_locations(context, config->tls_client_ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(error, config->tls_client_ca, "no certificates in PEM");
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return 0;
}

static bool set_up(SSL_CTX *context)
{
    static const unsigned char id[] = "sluice";
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* sessions go to the client as tickets; a cache here would need a lock */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set_session_id_context(context, id, sizeof(id) - 1) == 1;
}

int ingress_tls_load(const void *config, void **context_out, struct base_error *error)
{
    ERR_clear_error();
    SSL_CTX *context = make_method() ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (context == NULL || !set_up(context)) {
        SSL_CTX_free(context);
        return fail(error, "OpenSSL", "cannot make a TLS context");
    }
    int result = load_key_pair(context, config, error);
    if (result == 0)
        result = load_client_auth(context, config, error);
    if (result < 0) {
        SSL_CTX_free(context);
        return result;
    }
    *context_out = context;
    return 0;
}

void ingress_tls_destroy(void *context)
{
    SSL_CTX_free(context);
}

/* --- a session ------------------------------------------------------------------------------ */

bool ingress_tls_begin(SSL_CTX *context, struct ingress_connection *connection)
{
    BIO *bio = BIO_new(method);
    SSL *session = SSL_new(context);
    if (bio == NULL || session == NULL) {
        BIO_free(bio);
        SSL_free(session);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(bio, connection);
    SSL_set_bio(session, bio, bio);
    SSL_set_accept_state(session);
    connection->tls.session = session;
    return true;
}

void ingress_tls_end(struct ingress_connection *connection)
{
    SSL_free(connection->tls.session);
    connection->tls.session = NULL;
}

/* One record's worth to the parser. False: the parser took less than there is. */
static bool take_plain(struct ingress *ingress, struct ingress_connection *connection, int bytes)
{
    struct ingress_tls_state *tls = &connection->tls;
    size_t taken = ingress_intake(ingress, connection, ingress->tls_plain, (size_t)bytes);
    if (taken > 0 && !connection->aborted) /* nothing was received in between: the same bytes */
        CHECK(SSL_read(tls->session, ingress->tls_plain, (int)taken) == (int)taken);
    return taken == (size_t)bytes;
}

/* After no plain text came of it. True: nothing is left to do for now. */
static bool look_why(struct ingress_connection *connection, int result)
{
    struct ingress_tls_state *tls = &connection->tls;
    int why = SSL_get_error(tls->session, result);
    if (why == SSL_ERROR_WANT_WRITE)
        return false;
    if (why == SSL_ERROR_ZERO_RETURN)
        connection->peer_closed = true;
    else if (why != SSL_ERROR_WANT_READ)
        tls->failed = true; /* an alert is in the send buffer; what follows is the end */
    return true;
}

bool ingress_tls_intake(struct ingress *ingress, struct ingress_connection *connection,
                        const char *data, uint32_t bytes, uint32_t *consumed_out,
                        bool *progress_out)
{
    struct ingress_tls_state *tls = &connection->tls;
    uint32_t unsent = connection->send_bytes;
    bool done = true;
    *progress_out = false;
    tls->in = data;
    tls->in_bytes = bytes;
    while (!connection->stop_input && !tls->failed) {
        ERR_clear_error(); /* the queue is the thread's, and SSL_get_error looks at it */
        int got = SSL_peek(tls->session, ingress->tls_plain, INGRESS_TLS_PLAIN_BYTES);
        tls->established = tls->established || SSL_is_init_finished(tls->session);
        if (got <= 0) {
            done = look_why(connection, got);
            break;
        }
        uint16_t before = connection->pipeline_count;
        done = take_plain(ingress, connection, got);
        *progress_out = *progress_out || done || connection->pipeline_count != before;
        if (!done)
            break;
    }
    *consumed_out = done ? bytes : bytes - tls->in_bytes;
    *progress_out = *progress_out || *consumed_out > 0 || connection->send_bytes != unsent;
    tls->in_bytes = 0;
    return done;
}

void ingress_tls_plain(struct ingress *ingress, const struct ingress_connection *connection,
                       struct base_text *out)
{
    uint32_t used =
        connection->send_buffer != INGRESS_SEND_BUFFER_NONE ? connection->send_bytes : 0;
    uint32_t room = ingress->buffers.send_bytes - used;
    uint32_t overhead = (room / INGRESS_TLS_PLAIN_BYTES + 1) * INGRESS_TLS_RECORD_OVERHEAD_BYTES;
    bool open = connection->tls.established && !connection->tls.failed &&
                !connection->tls.said_goodbye && room > overhead;
    base_text_init(out, ingress->tls_plain, open ? room - overhead : 0);
}

bool ingress_tls_seal(struct ingress_connection *connection, const struct base_text *plain)
{
    size_t done = 0;
    while (done < plain->bytes) {
        ERR_clear_error();
        int wrote =
            SSL_write(connection->tls.session, plain->start + done, (int)(plain->bytes - done));
        if (wrote <= 0)
            return false; /* there was room, so it is no matter of trying again */
        done += (size_t)wrote;
    }
    return true;
}

void ingress_tls_say_goodbye(struct ingress_connection *connection)
{
    struct ingress_tls_state *tls = &connection->tls;
    if (tls->said_goodbye || tls->failed || !tls->established)
        return;
    tls->said_goodbye = true;
    ERR_clear_error();
    SSL_shutdown(tls->session); /* without a send buffer there is none: TCP says it too */
}
