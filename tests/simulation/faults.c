#include "faults.h"

#define BIT(fault) (1u << (fault))

static const uint32_t kinds_of[FAULT_CLASS_COUNT] = {
    [FAULT_CLASS_SHORT] = BIT(FAULT_SHORT),
    [FAULT_CLASS_FULL] = BIT(FAULT_NO_SPACE),
    [FAULT_CLASS_ERROR] = BIT(FAULT_ERROR),
    [FAULT_CLASS_MIXED] = BIT(FAULT_SHORT) | BIT(FAULT_NO_SPACE) | BIT(FAULT_ERROR),
    [FAULT_CLASS_LOST] = BIT(FAULT_DROPPED) | BIT(FAULT_MISDIRECTED) | BIT(FAULT_LIE),
};

static const char *const names[FAULT_CLASS_COUNT] = {
    "crash", "short", "full", "error", "mixed", "lost",
};

void faults_init(struct faults *faults, enum fault_class class, struct base_random *random)
{
    static const uint32_t rates[] = {8, 32, 128};
    *faults = (struct faults){
        .random = random,
        .class = class,
        .kinds = kinds_of[class],
        .one_in = rates[draw_below(random, 3)],
        .armed = true,
    };
    if (class == FAULT_CLASS_LOST) /* one kind of lie: the first one found ends the run */
        faults->kinds = BIT(draw_between(random, FAULT_DROPPED, FAULT_LIE));
}

const char *faults_class_name(enum fault_class class)
{
    return names[class];
}

bool faults_lie(const struct faults *faults)
{
    return faults->class == FAULT_CLASS_LOST;
}

uint64_t faults_total(const struct faults *faults)
{
    uint64_t total = 0;
    for (int i = 0; i < FAULT_COUNT; i++)
        total += faults->injected[i];
    return total;
}

static enum fault count(struct faults *faults, enum fault fault)
{
    faults->injected[fault]++;
    return fault;
}

/* One of the kinds in `possible` that this run has, or none. */
static enum fault pick(struct faults *faults, uint32_t possible)
{
    possible &= faults->kinds;
    if (!faults->armed || possible == 0 || !draw_once_in(faults->random, faults->one_in))
        return FAULT_NONE;
    enum fault fault;
    do {
        fault = (enum fault)draw_between(faults->random, FAULT_SHORT, FAULT_COUNT - 1);
    } while ((possible & BIT(fault)) == 0);
    return count(faults, fault);
}

enum fault faults_at_write(struct faults *faults, bool needs_space)
{
    if (needs_space && faults->disk_full && faults->armed)
        return count(faults, draw_once_in(faults->random, 4) ? FAULT_SHORT : FAULT_NO_SPACE);
    return pick(faults,
                BIT(FAULT_SHORT) | BIT(FAULT_ERROR) | BIT(FAULT_DROPPED) | BIT(FAULT_MISDIRECTED));
}

enum fault faults_at_flush(struct faults *faults)
{
    return pick(faults, BIT(FAULT_ERROR) | BIT(FAULT_LIE));
}

enum fault faults_at_read(struct faults *faults)
{
    return pick(faults, BIT(FAULT_ERROR));
}

enum fault faults_at_allocation(struct faults *faults)
{
    if (faults->disk_full && faults->armed)
        return count(faults, FAULT_NO_SPACE);
    return pick(faults, BIT(FAULT_NO_SPACE));
}

void faults_drift(struct faults *faults)
{
    if ((faults->kinds & BIT(FAULT_NO_SPACE)) != 0 && draw_once_in(faults->random, 24))
        faults->disk_full = !faults->disk_full;
}
