#include "reloadables.h"

#include "base/log.h"
#include "ingress/tls.h"
#include "ingress/tls_memory.h"
#include "record/registry.h"

#include <errno.h>
#include <inttypes.h>

static int load_credentials(struct state *state, struct base_error *error)
{
    const char *path = state->config->credentials;
    if (path[0] == '\0') {
        base_log(BASE_LOG_WARNING, "no-credentials",
                 "message=\"nobody is asked for a token, so only loopback addresses are served; "
                 "--credentials FILE changes that\"");
        return 0;
    }
    const struct reload_kind kind = {"credentials", path, credentials_load, credentials_destroy};
    int result = reload_add(&state->reload, &kind, &state->credentials, error);
    if (result < 0)
        return result;
    state->asks_for_credentials = true;
    base_log(BASE_LOG_INFO, "credentials", "count=%" PRIu32, state_credentials(state)->count);
    return 0;
}

/* Wrong configuration, whatever errno says, so that `serve` ends with that exit code. */
static int load_registry_object(const void *context, void **object_out, struct base_error *error)
{
    struct record_registry *registry;
    if (record_registry_load(context, &registry, error) < 0)
        return error->code = -EINVAL;
    base_log(BASE_LOG_INFO, "registry",
             "path=\"%s\" version=%.*s files=%" PRIu32 " studies=%" PRIu32 " instruments=%" PRIu32,
             (const char *)context, (int)registry->version.bytes, registry->version.data,
             registry->file_count, registry->study_count, registry->instrument_count);
    *object_out = registry;
    return 0;
}

static void destroy_registry_object(void *object)
{
    record_registry_destroy(object);
}

static int load_registry(struct state *state, struct base_error *error)
{
    const char *path = state->config->registry;
    const struct reload_kind kind = {"registry", path, load_registry_object,
                                     destroy_registry_object};
    if (*path == '\0')
        return 0;
    int result = reload_add(&state->reload, &kind, &state->registry, error);
    state->has_registry = result == 0;
    return result;
}

static int load_tls(struct state *state, bool is_loopback, struct base_error *error)
{
    const struct config *config = state->config;
    if (config->tls_certificate[0] == '\0') {
        if (!is_loopback)
            base_log(BASE_LOG_WARNING, "clear-text",
                     "message=\"tokens and submissions travel in clear text; configure "
                     "tls_certificate and tls_key, or put a proxy with TLS in front\"");
        return 0;
    }
    if (!ingress_tls_memory_install())
        base_log(BASE_LOG_WARNING, "tls-memory",
                 "message=\"OpenSSL was in use before; each record allocates\"");
    const struct reload_kind kind = {"tls", config, ingress_tls_load, ingress_tls_destroy};
    int result = reload_add(&state->reload, &kind, &state->tls, error);
    state->speaks_tls = result == 0;
    return result;
}

int reloadables_load(struct state *state, bool is_loopback, struct base_error *error)
{
    int result = load_credentials(state, error);
    if (result == 0)
        result = load_registry(state, error);
    if (result == 0)
        result = load_tls(state, is_loopback, error);
    return result;
}
