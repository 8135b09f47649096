/* simulate: many runs, one seed each, until one fails. See scenario.h for what a run is. */
#include "base/check.h"
#include "disk.h"
#include "scenario.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct totals {
    uint64_t seeds, failed;
    struct scenario_result sum;
};

struct arguments {
    uint64_t first, count;
    bool replays;  /* each seed twice, and both must be the same */
    bool keeps_on; /* count failures instead of stopping at the first */
    const char *seeds_file;
    struct scenario_options options;
};

static uint64_t current_seed;
static const char *current_class; /* that the run was made to be, or all */
static const char *program;

static void say_how_to_replay(void)
{
    fprintf(stderr,
            "simulate: seed %" PRIu64 " failed; replay with: %s --class %s --replay %" PRIu64
            " --trace\n",
            current_seed, program, current_class, current_seed);
}

/* An invariant of the engine broke. It would end the engine; here it ends the run. */
_Noreturn void __wrap_base_check_failed(const char *condition, const char *file, int line,
                                        const char *function);

void __wrap_base_check_failed(const char *condition, const char *file, int line,
                              const char *function)
{
    fflush(stdout);
    fprintf(stderr, "simulate: %s:%d: %s: CHECK(%s) failed\n", file, line, function, condition);
    say_how_to_replay();
    exit(1);
}

static void at_signal(int number)
{
    char text[128];
    int bytes = snprintf(text, sizeof(text), "simulate: signal %d in seed %" PRIu64 "\n", number,
                         current_seed);
    if (bytes < 0 || write(STDOUT_FILENO, text, (size_t)bytes) < 0)
        _exit(2);
    _exit(1);
}

static double seconds_now(void)
{
    struct timespec now; /* not clock_gettime, which is simulated here */
    CHECK(timespec_get(&now, TIME_UTC) == TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add(struct totals *totals, const struct scenario_result *result)
{
    totals->seeds++;
    totals->failed += result->failed;
    totals->sum.acknowledged += result->acknowledged;
    totals->sum.returned += result->returned;
    totals->sum.losses += result->losses;
    totals->sum.untraceable += result->untraceable;
    totals->sum.faults += result->faults;
    totals->sum.kills += result->kills;
    totals->sum.power_cuts += result->power_cuts;
    totals->sum.refused += result->refused;
    totals->sum.calls += result->calls;
}

/* True when the run, and with `replays` its repetition, was as it should be. */
static bool run_seed(const struct arguments *arguments, uint64_t seed, struct totals *totals)
{
    const struct scenario_options *options = &arguments->options;
    struct scenario_result result, again;
    current_seed = seed;
    current_class = options->fault_class < 0
                        ? "all"
                        : faults_class_name((enum fault_class)options->fault_class);
    scenario_run(seed, options, &result);
    if (arguments->replays) {
        scenario_run(seed, options, &again);
        if (!result.failed && again.digest != result.digest) {
            result.failed = true;
            snprintf(result.failure, sizeof(result.failure), "the seed does not replay exactly");
        }
    }
    add(totals, &result);
    if (!result.failed)
        return true;
    fflush(stdout);
    fprintf(stderr, "simulate: class %s: %s\n", result.class_name, result.failure);
    say_how_to_replay();
    return false;
}

static void run_range(const struct arguments *arguments, struct totals *totals)
{
    for (uint64_t i = 0; i < arguments->count; i++)
        if (!run_seed(arguments, arguments->first + i, totals) && !arguments->keeps_on)
            return;
}

static void report(const struct totals *totals, uint64_t first, double seconds)
{
    const struct scenario_result *sum = &totals->sum;
    printf("%" PRIu64 " runs, %" PRIu64 " failed: %" PRIu64 " kills, %" PRIu64
           " power cuts, %" PRIu64 " other faults, %" PRIu64 " disk calls; %" PRIu64
           " records acknowledged, %" PRIu64 " returned by readers, %" PRIu64 " lost; a lying disk "
           "was found out in %" PRIu64 " runs and lost %" PRIu64 " records without a trace; "
           "%.0f runs a minute\n",
           totals->seeds, totals->failed, sum->kills, sum->power_cuts, sum->faults, sum->calls,
           sum->acknowledged, sum->returned, sum->losses, sum->refused, sum->untraceable,
           60 * (double)totals->seeds / seconds);
    printf("RESULT {\"suite\":\"simulation\",\"promise\":\"P3\",\"cycles\":%" PRIu64
           ",\"acknowledged\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"losses\":%" PRIu64
           ",\"seed\":%" PRIu64 ",\"seconds\":%.1f}\n",
           totals->seeds, sum->acknowledged, sum->faults + sum->kills + sum->power_cuts,
           sum->losses, first, seconds);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: %s [--first SEED] [--seeds N] [--keep-going] [--check-replay]\n"
            "       %s --seeds-file FILE\n"
            "       %s --replay SEED [--trace]\n"
            "  --class crash|short|full|error|mixed|lost   instead of what the seed says: all\n"
            "  --names strict|journaled                    instead of what the seed says\n",
            program, program, program);
    exit(64);
}

/* -1 for all: what the seed says. */
static int class_of(const char *name)
{
    if (strcmp(name, "all") == 0)
        return -1;
    for (int i = 0; i < FAULT_CLASS_COUNT; i++)
        if (strcmp(name, faults_class_name((enum fault_class)i)) == 0)
            return i;
    usage();
    return -1;
}

/* A seed and its class a line; text behind it is for people. */
static void run_file(const struct arguments *arguments, struct totals *totals)
{
    struct arguments one = *arguments;
    char line[256], class[16];
    uint64_t seed;
    FILE *file = fopen(arguments->seeds_file, "r");
    if (file == NULL) {
        perror(arguments->seeds_file);
        exit(66);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%" SCNu64 " %15s", &seed, class) != 2)
            continue;
        one.options.fault_class = class_of(class);
        if (!run_seed(&one, seed, totals) && !arguments->keeps_on)
            break;
    }
    fclose(file);
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (end == text || *end != '\0')
        usage();
    return number;
}

static void parse(int count, char **values, struct arguments *arguments)
{
    static const struct option options[] = {
        {"first", required_argument, NULL, 'f'},      {"seeds", required_argument, NULL, 'n'},
        {"replay", required_argument, NULL, 'r'},     {"trace", no_argument, NULL, 't'},
        {"class", required_argument, NULL, 'c'},      {"names", required_argument, NULL, 'd'},
        {"keep-going", no_argument, NULL, 'k'},       {"check-replay", no_argument, NULL, 'x'},
        {"seeds-file", required_argument, NULL, 'l'}, {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(count, values, "", options, NULL)) != -1) {
        if (option == 'f' || option == 'r')
            arguments->first = number_of(optarg);
        if (option == 'n')
            arguments->count = number_of(optarg);
        else if (option == 'r')
            arguments->count = 1;
        else if (option == 't')
            disk.is_traced = true;
        else if (option == 'c')
            arguments->options.fault_class = class_of(optarg);
        else if (option == 'd')
            arguments->options.strict_names = strcmp(optarg, "strict") == 0;
        else if (option == 'k')
            arguments->keeps_on = true;
        else if (option == 'x')
            arguments->replays = true;
        else if (option == 'l')
            arguments->seeds_file = optarg;
        else if (option == '?')
            usage();
    }
    if (optind != count)
        usage();
}

int main(int count, char **values)
{
    struct arguments arguments = {.first = 1, .count = 1000, .options = {-1, -1}};
    struct totals totals = {.seeds = 0};
    program = values[0];
    parse(count, values, &arguments);
    signal(SIGSEGV, at_signal);
    signal(SIGABRT, at_signal);
    /* every file opened takes a window of 1 MiB: from the heap, and kept there */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    double before = seconds_now();
    if (arguments.seeds_file != NULL)
        run_file(&arguments, &totals);
    else
        run_range(&arguments, &totals);
    report(&totals, arguments.first, seconds_now() - before);
    return totals.failed == 0 ? 0 : 1;
}
