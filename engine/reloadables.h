/* Which objects of the configuration are replaced on SIGHUP: credentials, study registry, TLS
 * context. How that is done is reload.h's; here is what each is made from, and what its absence
 * means.
 *
 * Called by the main thread, before any other runs. The objects belong to state->reload from then
 * on, which loads them anew and frees them.
 */
#ifndef SLUICE_RELOADABLES_H
#define SLUICE_RELOADABLES_H

#include "base/error.h"
#include "state.h"

#include <stdbool.h>

/* Loads what state->config names into the slots of `state`, and fixes there which of them there
 * are. `is_loopback`: only this machine can reach the listener. A negative errno with a sentence
 * that names file and line when one cannot be loaded. */
int reloadables_load(struct state *state, bool is_loopback, struct base_error *error);

#endif
