/* Core lists, pinning and the scheduling slice. */
#include "topology.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

static struct topology topology;
static struct base_error error;

/* CPUs that this process may run on, ascending. */
static unsigned allowed[TOPOLOGY_CORES_MAX];
static unsigned allowed_count;

static void set_up(void)
{
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    for (unsigned i = 0; i < CPU_SETSIZE && allowed_count < TOPOLOGY_CORES_MAX; i++)
        if (CPU_ISSET((int)i, &set))
            allowed[allowed_count++] = i;
}

TestSuite(topology, .init = set_up);

static void assert_cores(const unsigned *expected, unsigned count)
{
    cr_assert_eq(topology.count, count);
    cr_assert_arr_eq(topology.cores, expected, count * sizeof(*expected));
}

static void assert_refused(const char *list)
{
    error.text[0] = '\0';
    cr_assert_eq(topology_discover(&topology, list, &error), -EINVAL, "\"%s\" was taken", list);
    cr_assert_neq(error.text[0], '\0', "without a text");
}

Test(topology, takes_every_allowed_core_by_default)
{
    cr_assert_eq(topology_discover(&topology, NULL, &error), 0, "%s", error.text);
    assert_cores(allowed, allowed_count);
}

Test(topology, takes_no_core_that_is_not_allowed)
{
    cr_assert_eq(topology_pin(allowed[allowed_count - 1], &error), 0);
    cr_assert_eq(topology_discover(&topology, NULL, &error), 0);
    assert_cores(&allowed[allowed_count - 1], 1);
}

Test(topology, understands_lists)
{
    char list[64];
    snprintf(list, sizeof(list), "%u", allowed[0]);
    cr_assert_eq(topology_discover(&topology, list, &error), 0);
    assert_cores(allowed, 1);
    if (allowed_count < 2)
        cr_skip_test("one core only");
    snprintf(list, sizeof(list), "%u,%u", allowed[0], allowed[1]);
    cr_assert_eq(topology_discover(&topology, list, &error), 0);
    assert_cores(allowed, 2);
}

Test(topology, understands_ranges)
{
    char list[64];
    snprintf(list, sizeof(list), "%u-%u", allowed[0], allowed[0]);
    cr_assert_eq(topology_discover(&topology, list, &error), 0);
    assert_cores(allowed, 1);
    if (allowed_count < 2 || allowed[1] != allowed[0] + 1)
        cr_skip_test("no two neighbouring cores");
    snprintf(list, sizeof(list), "%u-%u", allowed[0], allowed[1]);
    cr_assert_eq(topology_discover(&topology, list, &error), 0);
    assert_cores(allowed, 2);
}

/* The header promises ascending CPU numbers. */
Test(topology, cores_ascend_whatever_the_order_of_the_list)
{
    char list[64];
    if (allowed_count < 2)
        cr_skip_test("one core only");
    snprintf(list, sizeof(list), "%u,%u", allowed[1], allowed[0]);
    cr_assert_eq(topology_discover(&topology, list, &error), 0);
    assert_cores(allowed, 2);
}

Test(topology, refuses_what_is_no_list)
{
    static const char *const lists[] = {
        "",   ",",  "a", "0,",   ",0",  "0,,1", "0;1", "0 ",  " 0",  "-1",
        "+0", "0-", "-", "0--1", "0-a", "0x0",  "1-0", "0.5", "all",
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        assert_refused(lists[i]);
}

Test(topology, refuses_a_core_named_twice)
{
    unsigned core = allowed[0];
    char lists[3][64];
    snprintf(lists[0], sizeof(lists[0]), "%u,%u", core, core);
    snprintf(lists[1], sizeof(lists[1]), "%u-%u,%u", core, core, core);
    snprintf(lists[2], sizeof(lists[2]), "%u,%u-%u", core, core, core);
    for (int i = 0; i < 3; i++) {
        assert_refused(lists[i]);
        cr_assert_not_null(strstr(error.text, "twice"), "%s", error.text);
    }
}

Test(topology, refuses_cores_that_are_not_allowed)
{
    static const char *const lists[] = {
        "1023",
        "1024",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999",
        "0-4294967295",
        "0-18446744073709551615",
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        assert_refused(lists[i]);
    if (allowed_count < 2)
        cr_skip_test("one core only");
    char list[64];
    cr_assert_eq(topology_pin(allowed[0], &error), 0);
    snprintf(list, sizeof(list), "%u", allowed[1]);
    assert_refused(list);
    cr_assert_not_null(strstr(error.text, "not one this process may run on"), "%s", error.text);
}

Test(topology, pins_the_calling_thread)
{
    cpu_set_t set;
    for (unsigned i = 0; i < allowed_count; i++) {
        cr_assert_eq(topology_pin(allowed[i], &error), 0, "%s", error.text);
        cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
        cr_assert(CPU_COUNT(&set) == 1 && CPU_ISSET((int)allowed[i], &set));
        cr_assert_eq(sched_getcpu(), (int)allowed[i]);
    }
}

Test(topology, explains_why_it_cannot_pin)
{
    cr_assert_lt(topology_pin(CPU_SETSIZE - 1, &error), 0);
    cr_assert_not_null(strstr(error.text, "cannot pin a thread to core 1023"), "%s", error.text);
}

Test(topology, leaves_the_slice_alone_when_it_is_0)
{
    cr_assert_eq(topology_set_slice(0), 0);
}

/* Kernels before 6.12 may refuse it; then the error is a value. */
Test(topology, sets_the_slice_or_says_why_not)
{
    int result = topology_set_slice(100);
    cr_assert(result == 0 || (result < 0 && result > -4096), "%d", result);
    cr_assert_eq(sched_getscheduler(0), SCHED_OTHER);
}
