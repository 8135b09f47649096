/* damage: every single bit and a great many larger edits of segments, `node` and `watermark`
 * (promise P4). Each edit must be found and named by segment_verify, or be one that the format page
 * gives no meaning (rule.h); and no reader and no recovery may take it for something else: they
 * refuse, or every acknowledged record comes back the same.
 *
 * A reader of a damaged directory that was not recovered may also stop before the damage as if more
 * were still to come; that is counted, and with --strict-readers it is a loss.
 *
 * usage: damage [--edits N] [--seed S] [--flip-step N] [--only N] [--strict-readers]
 *
 * Works in memory (/dev/shm) where the machine has it. The last line is RESULT and a JSON object.
 */
#include "base/check.h"
#include "trial.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct test_bytes own_node = {NULL, 0};

#define READ_EVERY     50
#define PROGRESS_EVERY 100000
#define PLANS          3 /* of those with three segments */

struct options {
    uint64_t edits, seed, flip_step;
    bool strict_readers;
    uint64_t only; /* the number of the one edit to do again; UINT64_MAX: all */
};

/* Recovery tells the operator about each torn tail; here that would be all there is to see. */
void __wrap_base_log(int level, const char *event, const char *format, ...);

void __wrap_base_log(int level, const char *event, const char *format, ...)
{
    (void)level, (void)event, (void)format;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- single bits ---------------------------------------------------------------------------- */

/* Every bit of the sealed segment; of the open one, every bit of what was acknowledged. */
static uint64_t flip_bits(enum shape_plan plan, const struct options *options,
                          struct trial_counts *counts)
{
    static struct trial trial;
    trial_init(&trial, plan, own_node, counts);
    struct shape_file *file = &trial.shape.files[0];
    struct edit edit = {.kind = EDIT_FLIP, .file = file, .bytes = file->original.bytes};
    edit.data = malloc(file->original.bytes);
    CHECK(edit.data != NULL && file->original.bytes == RIG_SEGMENT_BYTES);
    memcpy(edit.data, file->original.data, file->original.bytes);
    for (uint64_t bit = 0; bit < file->protected_end * 8; bit += options->flip_step) {
        edit.from = bit / 8;
        edit.to = edit.from + 1;
        edit.data[edit.from] ^= (uint8_t)(1u << bit % 8);
        trial_run(&trial, &edit, bit, counts->flips % READ_EVERY == 0);
        edit.data[edit.from] ^= (uint8_t)(1u << bit % 8);
        counts->flips++;
    }
    uint64_t acknowledged = trial.shape.acknowledged;
    free(edit.data);
    trial_fini(&trial);
    return acknowledged;
}

/* --- larger edits --------------------------------------------------------------------------- */

/* A segment five times out of six. */
static struct shape_file *draw_file(struct base_random *random, struct shape *shape)
{
    if (base_random_next(random) % 6 != 0)
        return &shape->files[base_random_next(random) % shape->segment_count];
    unsigned others = shape->file_count - shape->segment_count;
    return &shape->files[shape->segment_count + base_random_next(random) % others];
}

/* Edit `number` depends on nothing but the seed and its number. */
static void run_edit(struct trial trials[PLANS], const struct edit_donors *donors,
                     struct trial_counts *counts, uint64_t seed, uint64_t number)
{
    struct base_random random;
    struct edit edit;
    base_random_seed(&random, seed ^ (number + 1) * UINT64_C(0x9E3779B97F4A7C15));
    struct trial *trial = &trials[base_random_next(&random) % PLANS];
    edit_draw(&edit, &random, &trial->shape, draw_file(&random, &trial->shape), donors);
    counts->edits++;
    counts->kinds[edit.kind]++;
    trial_run(trial, &edit, number, number % READ_EVERY == 0);
}

static uint64_t run_edits(const struct options *options, struct trial_counts *counts)
{
    static struct trial trials[PLANS];
    static struct shape journal, node, history;
    uint64_t acknowledged = 0;
    trial_init(&trials[0], SHAPE_WHOLE, own_node, counts);
    struct test_bytes same_node = shape_node(&trials[0].shape)->original;
    for (int i = 0; i < PLANS; i++) {
        if (i > 0)
            trial_init(&trials[i], (enum shape_plan)i, same_node, counts);
        acknowledged += trials[i].shape.acknowledged;
    }
    shape_make(&journal, SHAPE_WHOLE, 1, same_node);
    shape_make(&node, SHAPE_WHOLE, 0, own_node);
    shape_make(&history, SHAPE_WHOLE, 0, same_node);
    struct edit_donors donors = {&journal, &node, &history};
    uint64_t first = options->only == UINT64_MAX ? 0 : options->only;
    uint64_t end = options->only == UINT64_MAX ? options->edits : options->only + 1;
    double start = seconds_now();
    for (uint64_t number = first; number < end; number++) {
        run_edit(trials, &donors, counts, options->seed, number);
        if ((number + 1) % PROGRESS_EVERY == 0) {
            printf("%" PRIu64 " edits, %" PRIu64 " not as they should be, %.0f a second\n",
                   number + 1, counts->losses, (double)(number + 1) / (seconds_now() - start));
            fflush(stdout);
        }
    }
    shape_remove(&journal);
    shape_remove(&node);
    shape_remove(&history);
    for (int i = 0; i < PLANS; i++)
        trial_fini(&trials[i]);
    return acknowledged;
}

/* --- the program ---------------------------------------------------------------------------- */

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "damage: %s is not a number\n", text);
        exit(64);
    }
    return number;
}

static void parse(int argc, char **argv, struct options *options)
{
    static const struct option long_options[] = {
        {"edits", required_argument, NULL, 'e'},     {"seed", required_argument, NULL, 's'},
        {"flip-step", required_argument, NULL, 'f'}, {"only", required_argument, NULL, 'o'},
        {"strict-readers", no_argument, NULL, 'r'},  {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'e':
            options->edits = number_of(optarg);
            break;
        case 's':
            options->seed = number_of(optarg);
            break;
        case 'f':
            options->flip_step = number_of(optarg);
            break;
        case 'o':
            options->only = number_of(optarg);
            break;
        case 'r':
            options->strict_readers = true;
            break;
        default:
            exit(64);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = {.edits = 1000000, .flip_step = 1, .only = UINT64_MAX};
    static struct trial_counts counts;
    struct base_random random;
    double start = seconds_now();
    base_random_init(&random);
    options.seed = base_random_next(&random) >> 32;
    parse(argc, argv, &options);
    counts.strict_readers = options.strict_readers;
    /* a window of a megabyte per file that is looked at, a million times: not from the kernel */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    printf("seed %" PRIu64 "\n", options.seed);
    fflush(stdout);
    uint64_t acknowledged = run_edits(&options, &counts);
    if (options.only == UINT64_MAX && options.flip_step > 0) {
        acknowledged += flip_bits(SHAPE_ONE_SEALED, &options, &counts);
        acknowledged += flip_bits(SHAPE_ONE_OPEN, &options, &counts);
    }
    trial_print(&counts);
    uint64_t cycles = counts.flips + counts.edits;
    printf("RESULT {\"suite\": \"damage\", \"promise\": \"P4\", \"cycles\": %" PRIu64
           ", \"acknowledged\": %" PRIu64 ", \"faults\": %" PRIu64 ", \"losses\": %" PRIu64
           ", \"seed\": %" PRIu64 ", \"seconds\": %.1f}\n",
           cycles, acknowledged, cycles - counts.rules[RULE_NO_EDIT], counts.losses, options.seed,
           seconds_now() - start);
    return counts.losses == 0 ? 0 : 1;
}
