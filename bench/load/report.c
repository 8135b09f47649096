#include "load/report.h"

#include <inttypes.h>

static const struct {
    const char *name;
    double share;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

#define QUANTILE_COUNT (sizeof(quantiles) / sizeof(quantiles[0]))

const char *load_arrivals_name(enum load_arrivals arrivals)
{
    static const char *const names[] = {"closed", "constant", "poisson", "burst"};
    return names[arrivals];
}

uint64_t load_report_acknowledged(const struct load_report *report)
{
    return report->totals.statuses[200] + report->totals.statuses[201];
}

void load_report_add(struct load_totals *into, const struct load_totals *from)
{
    base_histogram_merge(&into->latency, &from->latency);
    for (unsigned i = 0; i < LOAD_STATUS_COUNT; i++)
        into->statuses[i] += from->statuses[i];
    into->sent += from->sent;
    into->unanswered += from->unanswered;
    into->connects += from->connects;
    into->connect_failures += from->connect_failures;
    into->backlog_max += from->backlog_max;
    into->backlog_at_end += from->backlog_at_end;
    into->wrong_digests += from->wrong_digests;
    into->unkept_receipts += from->unkept_receipts;
    into->entered += from->entered;
    if (from->elapsed_ns > into->elapsed_ns)
        into->elapsed_ns = from->elapsed_ns;
    for (unsigned i = 0; i < LOAD_INTERVALS_MAX; i++) {
        struct load_interval *interval = &into->intervals[i];
        interval->answered += from->intervals[i].answered;
        interval->backlog_max += from->intervals[i].backlog_max;
        if (from->intervals[i].slowest_ns > interval->slowest_ns)
            interval->slowest_ns = from->intervals[i].slowest_ns;
    }
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static double per(double amount, double count)
{
    return count > 0 ? amount / count : 0;
}

static void print_answers(const struct load_report *report, FILE *out)
{
    const struct load_totals *totals = &report->totals;
    uint64_t acknowledged = load_report_acknowledged(report);
    fprintf(out, "requests   %" PRIu64 " sent, %" PRIu64 " acknowledged, %" PRIu64 " unanswered\n",
            totals->sent, acknowledged, totals->unanswered);
    fprintf(out, "answers   ");
    for (unsigned i = 0; i < LOAD_STATUS_COUNT; i++)
        if (totals->statuses[i] > 0)
            fprintf(out, " %u: %" PRIu64, i, totals->statuses[i]);
    fprintf(out, "\nrate       %.0f acknowledged per second over %.3f s\n",
            per((double)acknowledged, seconds(totals->elapsed_ns)), seconds(totals->elapsed_ns));
    fprintf(out, "latency    ");
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        fprintf(out, "%s %.3f ms, ", quantiles[i].name,
                (double)base_histogram_quantile(&totals->latency, quantiles[i].share) / 1e6);
    fprintf(out, "max %.3f ms\n", (double)totals->latency.maximum / 1e6);
}

void load_report_text(const struct load_report *report, FILE *out)
{
    const struct load_options *options = report->options;
    const struct load_totals *totals = &report->totals;
    uint64_t acknowledged = load_report_acknowledged(report);
    fprintf(out, "load       %s, %u connections, %u in flight on each, seed %" PRIu64 "\n",
            load_arrivals_name(options->arrivals), options->connections, options->pipeline,
            options->seed);
    print_answers(report, out);
    if (options->arrivals != LOAD_CLOSED)
        fprintf(out,
                "backlog    %" PRIu64 " requests due and unsent at most, %" PRIu64 " at the end\n",
                totals->backlog_max, totals->backlog_at_end);
    if (totals->connect_failures > 0 || totals->connects > options->connections)
        fprintf(out, "connects   %" PRIu64 ", %" PRIu64 " failed\n", totals->connects,
                totals->connect_failures);
    fprintf(out, "client     %.2f us of CPU per acknowledged submission\n",
            per(report->client_cpu_seconds * 1e6, (double)acknowledged));
    if (report->has_server_cpu)
        fprintf(out, "server     %.2f us of CPU per acknowledged submission\n",
                per(report->server_cpu_seconds * 1e6, (double)acknowledged));
    if (totals->wrong_digests > 0)
        fprintf(out, "WRONG      %" PRIu64 " receipts have another SHA-256 than what was sent\n",
                totals->wrong_digests);
    if (report->has_ledger)
        fprintf(out, "on disk    %" PRIu64 " receipts looked up, %" PRIu64 " missing\n",
                report->ledger.checked, report->ledger.missing);
    if (report->has_ledger && report->ledger.missing > 0)
        fprintf(out, "LOST       the first: journal %" PRIu32 ", sequence %" PRIu64 "\n",
                report->ledger.first_missing.journal, report->ledger.first_missing.sequence);
}

void load_report_json(const struct load_report *report, FILE *out)
{
    const struct load_options *options = report->options;
    const struct load_totals *totals = &report->totals;
    fprintf(out,
            "{\"arrivals\":\"%s\",\"connections\":%u,\"pipeline\":%u,\"threads\":%u,\"rate\":%.17g,"
            "\"patients\":%" PRIu64 ",\"compression\":%.17g,\"seed\":%" PRIu64 ",\"sent\":%" PRIu64
            ",\"acknowledged\":%" PRIu64 ",\"unanswered\":%" PRIu64 ",\"statuses\":{",
            load_arrivals_name(options->arrivals), options->connections, options->pipeline,
            options->threads, options->rate, options->patients, options->compression, options->seed,
            totals->sent, load_report_acknowledged(report), totals->unanswered);
    const char *separator = "";
    for (unsigned i = 0; i < LOAD_STATUS_COUNT; i++) {
        if (totals->statuses[i] == 0)
            continue;
        fprintf(out, "%s\"%u\":%" PRIu64, separator, i, totals->statuses[i]);
        separator = ",";
    }
    fprintf(out, "},\"elapsedNs\":%" PRIu64 ",\"latencyNs\":{", totals->elapsed_ns);
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        fprintf(out, "\"%s\":%" PRIu64 ",", quantiles[i].name,
                base_histogram_quantile(&totals->latency, quantiles[i].share));
    fprintf(out, "\"max\":%" PRIu64 ",\"mean\":%.17g}", totals->latency.maximum,
            per((double)totals->latency.sum, (double)totals->latency.count));
    fprintf(out,
            ",\"backlogMax\":%" PRIu64 ",\"backlogAtEnd\":%" PRIu64 ",\"connects\":%" PRIu64
            ",\"connectFailures\":%" PRIu64 ",\"wrongDigests\":%" PRIu64
            ",\"clientCpuSeconds\":%.17g",
            totals->backlog_max, totals->backlog_at_end, totals->connects, totals->connect_failures,
            totals->wrong_digests, report->client_cpu_seconds);
    if (report->has_server_cpu)
        fprintf(out, ",\"serverCpuSeconds\":%.17g", report->server_cpu_seconds);
    if (report->has_ledger)
        fprintf(out, ",\"receiptsChecked\":%" PRIu64 ",\"receiptsMissing\":%" PRIu64,
                report->ledger.checked, report->ledger.missing);
    fprintf(out, "}\n");
}
