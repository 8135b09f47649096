/* One thread's work is timed with that thread's CPU clock, so that other processes on the same core
 * do not count; what remains of their noise is cold caches, and the spread shows it. Rejected: the
 * minimum of many runs, which hides what the median of alternating rounds shows. */
#include "measure.h"

#include "topology.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#define ROUND_NS       20000000 /* a round of one side: long against the clock's resolution */
#define ROUNDS_DEFAULT 9
#define ROUNDS_MIN     5
#define TINY_ROUNDS    2
#define TINY_COUNT     3

uint64_t measure_now_ns(bool wall_clock)
{
    struct timespec now;
    clock_gettime(wall_clock ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double measure_quantile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    size_t rank = (size_t)(share * (double)count);
    return values[rank < count ? rank : count - 1];
}

/* --- begin and end -------------------------------------------------------------------------- */

static void cpu_model(char *model_out, size_t bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(model_out, bytes, "unknown CPU");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        snprintf(model_out, bytes, "%.*s", (int)strcspn(colon + 2, "\"\\\n"), colon + 2);
        break;
    }
    if (file != NULL)
        fclose(file);
}

static void print_heading(const struct measure *measure)
{
    char model[128];
    struct utsname name;
    cpu_model(model, sizeof(model));
    uname(&name);
    if (measure->json)
        printf("{\"benchmark\":\"%s\",\"version\":\"%s\",\"kernel\":\"%s\",\"cpu\":\"%s\","
               "\"tiny\":%s,\"rounds\":%u,\"results\":[",
               measure->benchmark, SLUICE_VERSION, name.release, model,
               measure->tiny ? "true" : "false", measure->rounds);
    else
        printf("%s %s, Linux %s, %s, %u rounds%s\n", measure->benchmark, SLUICE_VERSION,
               name.release, model, measure->rounds, measure->tiny ? ", tiny: no figures" : "");
}

static bool take_number(const char *text, unsigned minimum, unsigned *number_out)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || number < minimum || number > 1000000) {
        fprintf(stderr, "%s: a number from %u on is needed\n", text, minimum);
        return false;
    }
    *number_out = (unsigned)number;
    return true;
}

static bool take_option(struct measure *measure, int option)
{
    switch (option) {
    case 't':
        measure->tiny = true;
        measure->rounds = TINY_ROUNDS;
        return true;
    case 'j':
        measure->json = true;
        return true;
    case 'r':
        return take_number(optarg, ROUNDS_MIN, &measure->rounds) &&
               measure->rounds <= MEASURE_ROUNDS_MAX;
    case 'c':
        return take_number(optarg, 1, &measure->count);
    case 'o':
        return take_number(optarg, 0, &measure->core);
    default:
        return false;
    }
}

int measure_begin(struct measure *measure, const char *benchmark, int argc, char **argv)
{
    static const struct option known[] = {
        {"tiny", no_argument, NULL, 't'},         {"json", no_argument, NULL, 'j'},
        {"rounds", required_argument, NULL, 'r'}, {"count", required_argument, NULL, 'c'},
        {"core", required_argument, NULL, 'o'},   {0},
    };
    struct topology topology;
    struct base_error error;
    int option;
    if (topology_discover(&topology, NULL, &error) < 0) {
        fprintf(stderr, "%s: %s\n", benchmark, error.text);
        return -1;
    }
    *measure = (struct measure){
        .benchmark = benchmark, .rounds = ROUNDS_DEFAULT, .core = topology.cores[0]};
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        if (!take_option(measure, option)) {
            fprintf(stderr,
                    "usage: %s [--tiny] [--json] [--rounds %d..%d] [--count N] [--core N]\n",
                    argv[0], ROUNDS_MIN, MEASURE_ROUNDS_MAX);
            return -1;
        }
    measure->other_core = measure->core;
    for (unsigned i = 0; i < topology.count && measure->other_core == measure->core; i++)
        measure->other_core = topology.cores[i];
    if (topology_pin(measure->core, &error) < 0) {
        fprintf(stderr, "%s: %s\n", benchmark, error.text);
        return -1;
    }
    print_heading(measure);
    return optind;
}

int measure_end(struct measure *measure)
{
    if (measure->json)
        printf("\n]}\n");
    return measure->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void measure_failed(struct measure *measure, const char *stage, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", measure->benchmark, stage, what);
    measure->failed = true;
}

/* --- rounds --------------------------------------------------------------------------------- */

/* One round of one side; the duration of all its operations. */
static uint64_t run(struct measure *measure, const char *stage, struct measure_side *side)
{
    uint64_t before = measure_now_ns(side->wall_clock);
    uint64_t sum = side->body(side->context, side->count);
    uint64_t duration = measure_now_ns(side->wall_clock) - before;
    if (sum != side->product * side->count) {
        char what[160];
        snprintf(what, sizeof(what),
                 "%s: %" PRIu64 " operations made %" PRIu64 " instead of %" PRIu64, side->name,
                 side->count, sum, side->product * side->count);
        measure_failed(measure, stage, what);
    }
    return duration;
}

/* Finds how many operations fill a round; warms up on the way. */
static void choose_count(struct measure *measure, const char *stage, struct measure_side *side)
{
    side->count = measure->tiny ? TINY_COUNT : 16;
    uint64_t duration = run(measure, stage, side);
    while (!measure->tiny && !measure->failed && duration < ROUND_NS / 2) {
        side->count *= duration < ROUND_NS / 100 ? 10 : 2;
        duration = run(measure, stage, side);
    }
}

/* --- output --------------------------------------------------------------------------------- */

void measure_result_open(struct measure *measure, const char *stage, const char *name)
{
    printf("%s\n{\"stage\":\"%s\",\"name\":\"%s\"", measure->results++ > 0 ? "," : "", stage, name);
}

static void print_json(struct measure *measure, const char *stage, const struct measure_side *side,
                       double median, double ratio)
{
    measure_result_open(measure, stage, side->name);
    printf(",\"bytes\":%" PRIu64 ",\"operations\":%" PRIu64 ",\"clock\":\"%s\"", side->bytes,
           side->count, side->wall_clock ? "wall" : "cpu");
    printf(",\"medianNs\":%.2f,\"minNs\":%.2f,\"maxNs\":%.2f", median, side->samples_ns[0],
           side->samples_ns[measure->rounds - 1]);
    if (ratio > 0)
        printf(",\"ratio\":%.3f", ratio);
    printf("}");
}

static void print_row(struct measure *measure, const char *stage, const struct measure_side *side,
                      double median, double ratio)
{
    char spread[64], relation[32] = "";
    if (strcmp(stage, measure->stage) != 0)
        printf("\n%-52s %8s %11s   %-22s %s\n", stage, "bytes", "median ns", "min..max", "ratio");
    snprintf(measure->stage, sizeof(measure->stage), "%s", stage);
    snprintf(spread, sizeof(spread), "%.1f..%.1f", side->samples_ns[0],
             side->samples_ns[measure->rounds - 1]);
    if (ratio > 0)
        snprintf(relation, sizeof(relation), "%.2f", ratio);
    printf("  %-50s %8" PRIu64 " %11.1f   %-22s %s\n", side->name, side->bytes, median, spread,
           relation);
    fflush(stdout);
}

void measure_sides(struct measure *measure, const char *stage, enum measure_relation relation,
                   struct measure_side *sides, unsigned side_count)
{
    for (unsigned i = 0; i < side_count; i++)
        choose_count(measure, stage, &sides[i]);
    for (unsigned round = 0; round < measure->rounds; round++)
        for (unsigned i = 0; i < side_count; i++) {
            struct measure_side *side = &sides[(round + i) % side_count];
            side->samples_ns[round] = (double)run(measure, stage, side) / (double)side->count;
        }
    double first = 0;
    for (unsigned i = 0; i < side_count; i++) {
        double median = measure_quantile(sides[i].samples_ns, measure->rounds, 0.5);
        if (i == 0)
            first = median;
        double ratio = relation == MEASURE_RATIO && first > 0 ? median / first : 0;
        if (measure->json)
            print_json(measure, stage, &sides[i], median, ratio);
        else
            print_row(measure, stage, &sides[i], median, ratio);
    }
}
