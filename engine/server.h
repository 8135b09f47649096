/* The engine as a whole: reserve everything, recover, start threads in order, serve, drain, stop.
 *
 * Owner: `sluice serve`. The calling thread becomes the control thread: signals, housekeeping,
 * start and stop.
 */
#ifndef SLUICE_SERVER_H
#define SLUICE_SERVER_H

#include "base/error.h"
#include "config.h"
#include "ingress/listener.h"

#include <stdbool.h>

struct server_options {
    const char *data;              /* directory */
    struct ingress_address listen; /* port 0: chosen, and filled in */
    bool has_admin;
    struct ingress_address admin;
    const char *cores; /* NULL: all */
    struct config config;
};

/* Serves until SIGTERM or SIGINT. Calls `ready` once, when it takes connections. Returns 0 after a
 * clean drain, -EIO when a journal had failed, another negative errno when it could not start. */
int server_run(struct server_options *options, void (*ready)(const struct server_options *options),
               struct base_error *error);

#endif
