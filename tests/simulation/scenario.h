/* One run: a few lives of an engine on one disk, and whether every promise was kept.
 *
 * The seed decides all of it: the class of faults (faults.h), the sizes, how many journals, what
 * the engine does in which order, where each life ends (before or inside any call on the disk, of
 * recovery too), by a kill or a power cut, what the watcher does between any two calls of the
 * engine, and what the engine does between any two calls of the watcher.
 */
#ifndef SLUICE_TESTS_SIMULATION_SCENARIO_H
#define SLUICE_TESTS_SIMULATION_SCENARIO_H

#include "faults.h"

struct scenario_result {
    bool failed;
    char failure[1024];
    const char *class_name;
    uint64_t acknowledged, returned, losses, untraceable;
    uint64_t faults; /* injected, without crashes */
    uint64_t kills, power_cuts;
    uint64_t refused; /* 1: damage by a lying disk was reported, which ends the run */
    uint64_t calls;   /* of both processes on the disk */
    uint64_t digest;  /* the same for the same seed */
};

/* What a run may be made to be, instead of what the seed says; -1: as it says. */
struct scenario_options {
    int fault_class;  /* enum fault_class */
    int strict_names; /* see disk.h */
};

void scenario_run(uint64_t seed, const struct scenario_options *options,
                  struct scenario_result *result_out);

#endif
