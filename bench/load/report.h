/* What a load measured, as text, JSON and SVG.
 *
 * Owner: the command, after the threads have stopped. Durations are printed in milliseconds or
 * microseconds, as the label says; the JSON has nanoseconds.
 */
#ifndef SLUICE_BENCH_LOAD_REPORT_H
#define SLUICE_BENCH_LOAD_REPORT_H

#include "load/client.h"
#include "load/ledger.h"

#include <stdbool.h>
#include <stdio.h>

struct load_report {
    const struct load_options *options;
    struct load_totals totals; /* of all threads */
    double client_cpu_seconds;
    bool has_server_cpu;
    double server_cpu_seconds;
    bool has_ledger;
    struct load_ledger_result ledger;
};

const char *load_arrivals_name(enum load_arrivals arrivals);

uint64_t load_report_acknowledged(const struct load_report *report);

void load_report_add(struct load_totals *into, const struct load_totals *from);

void load_report_text(const struct load_report *report, FILE *out);
void load_report_json(const struct load_report *report, FILE *out);

/* Three panels: latency by share of requests, answers per second and backlog over time. */
void load_report_svg(const struct load_report *report, FILE *out);

#endif
