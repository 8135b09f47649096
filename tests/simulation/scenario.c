#include "scenario.h"

#include "base/check.h"
#include "disk.h"
#include "rig.h"
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define START_ATTEMPTS_MAX 24 /* of one life; the last ones without faults and crashes */
#define SAFE_ATTEMPTS      4
#define NEVER              UINT64_MAX

struct scenario {
    struct base_random random;
    struct faults faults;
    struct ledger *ledger;
    struct rig rig;
    struct watch watch;
    unsigned journal_count;
    uint64_t calls_to_crash;    /* of the engine; NEVER: none */
    uint64_t write_back_one_in; /* calls, of what is stored into mappings; 0: never */
    bool engine_runs;           /* is on the stack */
    bool watch_runs;
    bool is_quiet;     /* only one process at a time */
    bool is_unwatched; /* nobody but recovery can notice what a lying disk did */
    uint64_t kills, power_cuts;
};

static struct ledger ledger; /* too large for a stack */

static bool is_over(const struct scenario *scenario)
{
    return scenario->ledger->failed || scenario->watch.saw_damage;
}

/* --- two processes that take turns ----------------------------------------------------------- */

static void run_watch(struct scenario *scenario, void (*step)(struct watch *watch))
{
    enum disk_process before = disk.process;
    if (disk.is_dead[DISK_WATCHER]) {
        watch_close(&scenario->watch);
        disk_begin_process(DISK_WATCHER);
    }
    disk.process = DISK_WATCHER;
    scenario->watch_runs = true;
    step(&scenario->watch);
    scenario->watch_runs = false;
    disk.process = before;
}

static void engine_step(struct scenario *scenario)
{
    struct rig *rig = &scenario->rig;
    enum disk_process before = disk.process;
    unsigned journal = (unsigned)draw_below(&scenario->random, rig->journal_count);
    disk.process = DISK_ENGINE;
    scenario->engine_runs = true;
    switch (draw_below(&scenario->random, 8)) {
    case 0:
    case 1:
        rig_append(rig, journal);
        break;
    case 2:
    case 3:
        rig_begin(rig, journal, draw_once_in(&scenario->random, 4));
        break;
    case 4:
        rig_housekeep(rig);
        break;
    default:
        rig_complete(rig, journal);
    }
    scenario->engine_runs = false;
    disk.process = before;
}

static bool engine_lives(const struct scenario *scenario)
{
    return scenario->rig.is_up && !disk.is_dead[DISK_ENGINE];
}

/* The watcher does something, in runs that have one. */
static void look(struct scenario *scenario)
{
    if (!scenario->is_unwatched)
        run_watch(scenario, watch_step);
}

static enum disk_moment before_engine_call(struct scenario *scenario)
{
    struct base_random *random = &scenario->random;
    faults_drift(&scenario->faults);
    if (draw_once_in(random, scenario->write_back_one_in))
        disk_write_back();
    if (draw_once_in(random, 8))
        disk_land_some((unsigned)draw_below(random, scenario->journal_count));
    if (!scenario->watch_runs && draw_once_in(random, 6))
        look(scenario);
    if (scenario->calls_to_crash == NEVER || scenario->calls_to_crash-- > 0)
        return DISK_GOES_ON;
    scenario->calls_to_crash = NEVER;
    bool kill = disk.crash_kind == DISK_KILL;
    scenario->kills += kill;
    scenario->power_cuts += !kill;
    return draw_once_in(random, 2) ? DISK_DIES_BEFORE : DISK_DIES_INSIDE;
}

static enum disk_moment between(void *context)
{
    struct scenario *scenario = context;
    if (scenario->is_quiet || is_over(scenario))
        return DISK_GOES_ON;
    if (disk.process == DISK_ENGINE)
        return before_engine_call(scenario);
    if (scenario->engine_runs || !draw_once_in(&scenario->random, 4))
        return DISK_GOES_ON;
    /* one step, or enough of them to fill a segment while a reader looks away */
    uint64_t most = draw_once_in(&scenario->random, 16) ? 128 : 2;
    for (uint64_t i = draw_scaled(&scenario->random, most); i > 0 && engine_lives(scenario); i--)
        engine_step(scenario);
    return DISK_GOES_ON;
}

/* A write of the engine is half done, and others may look. */
static void during_write(void *context)
{
    struct scenario *scenario = context;
    if (!scenario->is_quiet && !scenario->watch_runs && !is_over(scenario))
        look(scenario);
}

static void alone(struct scenario *scenario, void (*step)(struct watch *watch))
{
    if (is_over(scenario))
        return;
    bool before = scenario->is_quiet;
    scenario->is_quiet = true;
    run_watch(scenario, step);
    scenario->is_quiet = before;
}

/* --- lives ----------------------------------------------------------------------------------- */

static void plan_crash(struct scenario *scenario)
{
    struct base_random *random = &scenario->random;
    scenario->calls_to_crash = draw_once_in(random, 5) ? NEVER : draw_scaled(random, 400);
    disk.crash_kind = draw_once_in(random, 3) ? DISK_KILL : DISK_POWER_CUT;
}

static void choose_sizes(struct scenario *scenario)
{
    static const uint64_t segments[] = {65536, 65536, 131072, 262144};
    struct config *config = &scenario->rig.config;
    config->segment_bytes = segments[draw_below(&scenario->random, 4)];
    config->batch_bytes_max = UINT64_C(4096) << draw_below(&scenario->random, 4);
}

static int try_start(struct scenario *scenario, struct base_error *error)
{
    disk_begin_process(DISK_ENGINE);
    ledger_survey(scenario->ledger, disk.power_was_cut);
    disk.power_was_cut = false;
    disk.process = DISK_ENGINE;
    scenario->engine_runs = true;
    unsigned count = (unsigned)draw_between(&scenario->random, 1, scenario->journal_count);
    int result = rig_start(&scenario->rig, count, error);
    scenario->engine_runs = false;
    return result;
}

/* A start that failed must have had a reason. True: try again. */
static bool may_fail_to_start(struct scenario *scenario, uint64_t faults_before, int code,
                              const char *text)
{
    if (disk.is_dead[DISK_ENGINE])
        return true;
    if (faults_lie(&scenario->faults) && code == -EBADMSG) {
        scenario->watch.saw_damage = true;
        return false;
    }
    bool was_faulty = faults_total(&scenario->faults) > faults_before;
    if (was_faulty && code != -EBADMSG)
        return true;
    ledger_fail(scenario->ledger, "the engine does not start (%d): %s", code, text);
    return false;
}

/* Starts the engine, however often that takes. */
static void start(struct scenario *scenario)
{
    for (unsigned attempt = 0; attempt < START_ATTEMPTS_MAX && !is_over(scenario); attempt++) {
        struct base_error error = {.code = 0};
        bool is_safe = attempt + SAFE_ATTEMPTS >= START_ATTEMPTS_MAX;
        if (is_safe)
            scenario->calls_to_crash = NEVER;
        else if (attempt > 0)
            plan_crash(scenario);
        choose_sizes(scenario); /* the operator may have changed the configuration */
        scenario->faults.armed = !is_safe;
        uint64_t faults_before = faults_total(&scenario->faults);
        int result = try_start(scenario, &error);
        scenario->faults.armed = true;
        if (result == 0) {
            scenario->watch.is_up = true;
            return;
        }
        if (!may_fail_to_start(scenario, faults_before, result, error.text))
            return;
        if (draw_once_in(&scenario->random, 4))
            look(scenario);
    }
    if (!is_over(scenario))
        ledger_fail(scenario->ledger, "the engine did not start in many attempts");
}

static void live(struct scenario *scenario)
{
    uint64_t steps = draw_scaled(&scenario->random, 256);
    while (steps-- > 0 && engine_lives(scenario) && !is_over(scenario)) {
        if (draw_once_in(&scenario->random, 5))
            look(scenario);
        else
            engine_step(scenario);
    }
}

static void drain(struct scenario *scenario)
{
    disk.process = DISK_ENGINE;
    scenario->engine_runs = true;
    rig_drain(&scenario->rig);
    scenario->engine_runs = false;
}

static void stop(struct scenario *scenario)
{
    disk.process = DISK_ENGINE;
    scenario->engine_runs = true;
    rig_stop(&scenario->rig);
    scenario->engine_runs = false;
}

/* Everything that was promised is there, and what was not acknowledged is either there or not. */
static void check(struct scenario *scenario)
{
    alone(scenario, watch_verify);
    alone(scenario, watch_audit);
}

/* An idle engine has two open segments per journal at most: the one in use and the prepared one. */
static void check_seals(struct scenario *scenario)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < disk.names.count; i++) {
        size_t bytes = strlen(disk.names.entries[i].name);
        count += bytes > 5 && strcmp(disk.names.entries[i].name + bytes - 5, ".open") == 0;
    }
    if (count > 2 * scenario->journal_count)
        ledger_fail(scenario->ledger, "full segments were not sealed: %u are open", count);
}

static void end_life(struct scenario *scenario)
{
    if (engine_lives(scenario) && draw_once_in(&scenario->random, 2))
        drain(scenario);
    if (!engine_lives(scenario)) {
        rig_discard(&scenario->rig);
        return;
    }
    bool is_idle = rig_is_idle(&scenario->rig);
    if (is_idle && scenario->faults.class == FAULT_CLASS_CRASH && !rig_owes_seals(&scenario->rig))
        check_seals(scenario);
    if (is_idle && !scenario->is_unwatched)
        alone(scenario, watch_catch_up);
    disk.process = DISK_ENGINE;
    if (is_idle && draw_once_in(&scenario->random, 2)) {
        scenario->calls_to_crash = NEVER;
        stop(scenario);
        return;
    }
    disk_crash(disk.crash_kind);
    rig_discard(&scenario->rig);
}

static void one_life(struct scenario *scenario)
{
    plan_crash(scenario);
    start(scenario);
    if (is_over(scenario) || !engine_lives(scenario))
        return;
    if (draw_once_in(&scenario->random, 2))
        check(scenario);
    live(scenario);
    end_life(scenario);
    if (!scenario->is_unwatched && draw_once_in(&scenario->random, 4))
        alone(scenario, watch_verify); /* of what a dead engine left */
}

/* A last life without faults: everything is there, goes on, and comes to a clean end. */
static void last_life(struct scenario *scenario)
{
    scenario->faults.kinds = 0;
    scenario->faults.disk_full = false;
    scenario->calls_to_crash = NEVER;
    scenario->is_quiet = true;
    start(scenario);
    if (is_over(scenario))
        return;
    check(scenario);
    for (unsigned i = 0; i < scenario->rig.journal_count && !is_over(scenario); i++)
        rig_append(&scenario->rig, i);
    drain(scenario);
    if (!is_over(scenario) && !rig_is_idle(&scenario->rig))
        ledger_fail(scenario->ledger, "the journal does not go on though nothing is wrong");
    alone(scenario, watch_catch_up);
    check(scenario);
    stop(scenario);
}

/* --- a run ----------------------------------------------------------------------------------- */

static void set_up(struct scenario *scenario, uint64_t seed, const struct scenario_options *options)
{
    memset(scenario, 0, sizeof(*scenario));
    struct base_random *random = &scenario->random;
    base_random_seed(random, seed);
    uint64_t class = draw_below(random, FAULT_CLASS_COUNT);
    bool strict_names = draw_once_in(random, 2);
    if (options->fault_class >= 0)
        class = (uint64_t)options->fault_class;
    if (options->strict_names >= 0)
        strict_names = options->strict_names != 0;
    faults_init(&scenario->faults, (enum fault_class) class, random);
    scenario->ledger = &ledger;
    static const uint64_t write_back[] = {0, 4, 32, 256};
    scenario->write_back_one_in = write_back[draw_below(random, 4)];
    scenario->is_unwatched = faults_lie(&scenario->faults) && draw_once_in(random, 2);
    ledger_init(&ledger, faults_lie(&scenario->faults));
    disk_init(random, &scenario->faults, strict_names);
    disk.between = between;
    disk.during_write = during_write;
    disk.context = scenario;
    scenario->journal_count = (unsigned)draw_between(random, 1, LEDGER_JOURNALS_MAX);
    rig_init(&scenario->rig, random, &ledger);
    watch_init(&scenario->watch, random, &ledger, scenario->journal_count);
    disk_trace("class %s, %s names, %u journals", faults_class_name(scenario->faults.class),
               strict_names ? "strict" : "journaled", scenario->journal_count);
}

static void tear_down(struct scenario *scenario)
{
    disk.process = DISK_ENGINE;
    rig_discard(&scenario->rig);
    disk.process = DISK_WATCHER;
    watch_close(&scenario->watch);
    disk_fini();
}

void scenario_run(uint64_t seed, const struct scenario_options *options,
                  struct scenario_result *result_out)
{
    static struct scenario scenario;
    set_up(&scenario, seed, options);
    uint64_t lives = draw_between(&scenario.random, 1, 5);
    while (lives-- > 0 && !is_over(&scenario))
        one_life(&scenario);
    if (!is_over(&scenario))
        last_life(&scenario);
    *result_out = (struct scenario_result){
        .failed = ledger.failed,
        .class_name = faults_class_name(scenario.faults.class),
        .acknowledged = ledger.acknowledged,
        .returned = ledger.returned,
        .losses = ledger.losses,
        .untraceable = ledger.untraceable,
        .faults = faults_total(&scenario.faults),
        .kills = scenario.kills,
        .power_cuts = scenario.power_cuts,
        .refused = scenario.watch.saw_damage,
        .calls = disk.calls,
        .digest = disk.digest,
    };
    memcpy(result_out->failure, ledger.failure, sizeof(result_out->failure));
    tear_down(&scenario);
}
