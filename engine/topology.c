#include "topology.h"

#include <errno.h>
#include <linux/types.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int add_core(struct topology *topology, const cpu_set_t *allowed, unsigned long core,
                    struct base_error *error)
{
    if (core >= CPU_SETSIZE || !CPU_ISSET((int)core, allowed))
        return base_error_set(error, -EINVAL,
                              "core %lu is not one this process may run on; see `taskset -p $$`",
                              core);
    for (unsigned i = 0; i < topology->count; i++)
        if (topology->cores[i] == core)
            return base_error_set(error, -EINVAL, "core %lu is listed twice", core);
    if (topology->count == TOPOLOGY_CORES_MAX)
        return base_error_set(error, -EINVAL, "more than %d cores; choose some with --cores",
                              TOPOLOGY_CORES_MAX);
    topology->cores[topology->count++] = (unsigned)core;
    return 0;
}

static int parse_list(struct topology *topology, const char *list, const cpu_set_t *allowed,
                      struct base_error *error)
{
    const char *at = list;
    for (;;) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (end == at || *at < '0' || *at > '9')
            break;
        if (*end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
            if (end == at || *at < '0' || *at > '9' || last < first)
                break;
        }
        for (unsigned long core = first; core <= last; core++) {
            int result = add_core(topology, allowed, core, error);
            if (result < 0)
                return result;
        }
        if (*end == '\0')
            return 0;
        if (*end != ',')
            break;
        at = end + 1;
    }
    return base_error_set(error, -EINVAL, "--cores %s: write CPU numbers and ranges, as in 0,2-5",
                          list);
}

static int compare_cores(const void *left, const void *right)
{
    unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;
    return (a > b) - (a < b);
}

int topology_discover(struct topology *topology, const char *list, struct base_error *error)
{
    cpu_set_t allowed;
    *topology = (struct topology){.count = 0};
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return base_error_os(error, -errno, "cannot read the CPU affinity of this process");
    if (list != NULL) {
        int parsed = parse_list(topology, list, &allowed, error);
        qsort(topology->cores, topology->count, sizeof(topology->cores[0]), compare_cores);
        return parsed;
    }
    int result = 0;
    for (unsigned core = 0; core < CPU_SETSIZE && result == 0; core++)
        if (CPU_ISSET((int)core, &allowed))
            result = add_core(topology, &allowed, core, error);
    return result;
}

int topology_pin(unsigned core, struct base_error *error)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET((int)core, &only);
    int failure = pthread_setaffinity_np(pthread_self(), sizeof(only), &only);
    if (failure != 0)
        return base_error_os(error, -failure, "cannot pin a thread to core %u", core);
    return 0;
}

/* struct sched_attr of <linux/sched/types.h>, which glibc's headers clash with */
struct scheduling_attributes {
    __u32 size;
    __u32 policy;
    __u64 flags;
    __s32 nice;
    __u32 priority;
    __u64 runtime;
    __u64 deadline;
    __u64 period;
};

int topology_set_slice(uint64_t slice_us)
{
    struct scheduling_attributes attributes = {
        .size = sizeof(attributes),
        .policy = SCHED_OTHER,
        .runtime = slice_us * 1000,
    };
    if (slice_us == 0 || syscall(SYS_sched_setattr, 0, &attributes, 0) == 0)
        return 0;
    return -errno;
}
