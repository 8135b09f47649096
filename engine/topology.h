/* Which cores there are, pinning to one, and the scheduling slice. Called at start; pinning and the
 * slice by the thread itself. Linux only: sched_setaffinity(2), sched_setattr(2).
 */
#ifndef SLUICE_TOPOLOGY_H
#define SLUICE_TOPOLOGY_H

#include "base/error.h"

#include <stdint.h>

#define TOPOLOGY_CORES_MAX 256 /* core pairs of one engine */

struct topology {
    unsigned count;
    unsigned cores[TOPOLOGY_CORES_MAX]; /* CPU numbers, ascending */
};

/* Every CPU this process may run on, or those of `list` ("0,2-5"), which must be among them. */
int topology_discover(struct topology *topology, const char *list, struct base_error *error);

/* Pins the calling thread to `core`. */
int topology_pin(unsigned core, struct base_error *error);

/* Gives the calling thread a slice of `slice_us` microseconds, so that its wake preempts others
 * (EEVDF, kernel 6.12 or newer). 0, or a negative errno where the kernel does not take it. */
int topology_set_slice(uint64_t slice_us);

#endif
