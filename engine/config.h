/* Every limit of the engine, declared once: key, unit, default, range, reason. Code, `--set`, the
 * configuration file, `sluice config` and docs/operations use this one list.
 *
 * Owner: the command that parses it; read-only once threads run, so any thread may read it.
 */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* X(key, default, minimum, maximum, reason); the key ends in its unit where it has one */
#define SLUICE_CONFIG_EACH(X)                                                                      \
    X(connections_max, 8192, 1, 65536,                                                             \
      "connections per core pair; one more is answered 503 and closed")                            \
    X(requests_max, 8192, 1, 65536,                                                                \
      "requests in flight per core pair, each with an arena of its own; one per connection, so "   \
      "that every patient can have one")                                                           \
    X(body_bytes_max, 65536, 1024, 8388608,                                                        \
      "bytes of one request body; the largest form of the CDISC pilot has 874")                    \
    X(large_arenas_max, 128, 1, 65536,                                                             \
      "requests in flight per core pair whose body does not fit a small arena")                    \
    X(header_bytes_max, 8192, 256, 65536,                                                          \
      "bytes of a request line and its header section, as nginx and Apache take by default")       \
    X(header_count_max, 64, 4, 1024, "header lines of one request; browsers send under 30")        \
    X(pipeline_depth_max, 64, 1, 4096,                                                             \
      "requests in flight per connection; beyond, the engine stops reading from it")               \
    X(receive_buffer_bytes, 8192, 1024, 65536,                                                     \
      "bytes of one provided receive buffer; a dozen pipelined forms, so few completions")         \
    X(receive_buffers_max, 1024, 8, 32768,                                                         \
      "provided receive buffers per core pair (a power of two); recycled within a round")          \
    X(send_buffer_bytes, 16384, 8192, 262144,                                                      \
      "bytes of one send buffer; some thirty responses coalesced into one send")                   \
    X(send_buffers_max, 1024, 8, 65536,                                                            \
      "sends under way per core pair; a connection owns one only while it sends")                  \
    X(queue_slots, 16384, 2, 1048576,                                                              \
      "slots of a core's queue (a power of two, one stays empty); holds all own requests and as "  \
      "many of siblings")                                                                          \
    X(run_requests_max, 512, 1, 65536,                                                             \
      "requests a worker takes from the queue before it looks at completions again")               \
    X(steal_depth_min, 64, 1, 1048576,                                                             \
      "queue length from which a sleeping sibling is woken to help; a wake across cores costs "    \
      "as much as a dozen requests")                                                               \
    X(batch_bytes_max, 524288, 65536, 16777216,                                                    \
      "bytes of one batch: one write and one flush; seven hundred forms at a time")                \
    X(segment_bytes, 67108864, 1048576, 1073741824,                                                \
      "bytes of a segment file as created (a multiple of 4096)")                                   \
    X(mark_idle_ms, 100, 1, 60000,                                                                 \
      "pause after which an empty batch carries the watermark on, so that damage to the last "     \
      "batch shows as damage")                                                                     \
    X(header_deadline_ms, 10000, 10, 3600000,                                                      \
      "time for a header section from its first byte; 408 beyond")                                 \
    X(body_deadline_ms, 30000, 10, 3600000,                                                        \
      "time for a body from the end of its header section; 408 beyond")                            \
    X(idle_deadline_ms, 75000, 10, 3600000,                                                        \
      "time a connection may rest between requests; longer than the 60 s of usual proxies")        \
    X(send_deadline_ms, 30000, 10, 3600000,                                                        \
      "time without progress for a client to read its response; closed beyond")                    \
    X(linger_deadline_ms, 2000, 10, 60000,                                                         \
      "time to wait for the client's end of stream behind a last response")                        \
    X(drain_deadline_ms, 3000, 10, 60000,                                                          \
      "time for half-received requests to complete after SIGTERM")                                 \
    X(bind_wait_ms, 5000, 0, 60000,                                                                \
      "time to wait for a port that a previous engine is still releasing")                         \
    X(scheduling_slice_us, 100, 0, 100000,                                                         \
      "scheduling slice of engine threads, so that a wake preempts other work; 0 leaves it")       \
    X(direct_descriptors, 1, 0, 1, "1: sockets as direct descriptors; 0: ordinary descriptors")    \
    X(registered_buffers, 1, 0, 1,                                                                 \
      "1: batch buffers registered with the ring (counts against RLIMIT_MEMLOCK); 0: not")

/* X(key, reason): texts, none by default. */
#define SLUICE_CONFIG_TEXT_EACH(X)                                                                 \
    X(registry,                                                                                    \
      "file or directory of the study registry (docs/registry.md); without it nothing is checked") \
    X(credentials, "file of bearer tokens (see `sluice token`), reloaded on SIGHUP; without one "  \
                   "nobody is asked for a token, and the engine listens on loopback only")         \
    X(tls_certificate, "file with the certificate chain in PEM, the server's own first; with "     \
                       "tls_key, both listeners speak TLS 1.2 and 1.3; reloaded on SIGHUP")        \
    X(tls_key, "file with the private key in PEM, not readable by others")                         \
    X(tls_client_ca, "file with the certificates in PEM that sign those of clients")               \
    X(tls_client_auth, "certificates of clients: none, optional or required")

#define CONFIG_TEXT_BYTES 1024 /* of a text with its NUL; room for a path */

struct config {
#define CONFIG_FIELD(key, standard, minimum, maximum, reason) uint64_t key;
    SLUICE_CONFIG_EACH(CONFIG_FIELD)
#undef CONFIG_FIELD
#define CONFIG_TEXT_FIELD(key, reason) char key[CONFIG_TEXT_BYTES];
    SLUICE_CONFIG_TEXT_EACH(CONFIG_TEXT_FIELD)
#undef CONFIG_TEXT_FIELD
};

struct config_key {
    const char *name;
    size_t offset; /* in struct config */
    uint64_t standard, minimum, maximum;
    const char *reason;
};

struct config_text_key {
    const char *name;
    size_t offset; /* in struct config */
    const char *reason;
};

/* The texts as a table. */
const struct config_text_key *config_text_keys(size_t *count_out);

const char *config_get_text(const struct config *config, const struct config_text_key *key);

/* The list above as a table. */
const struct config_key *config_keys(size_t *count_out);

uint64_t config_get(const struct config *config, const struct config_key *key);

/* A text by its name; a key that is not there is the caller's fault. */
int config_set_text(struct config *config, const char *name, const char *text,
                    struct base_error *error);

void config_init(struct config *config); /* all defaults */

/* "key=value", value a decimal integer within the key's range, or a text; empty: none. */
int config_set(struct config *config, const char *assignment, struct base_error *error);

/* A YAML mapping of keys to integers; unknown keys and values out of range are errors. */
int config_load(struct config *config, const char *path, struct base_error *error);

/* What a single range cannot say: powers of two, and sizes that must fit into each other. */
int config_check(const struct config *config, struct base_error *error);

#endif
