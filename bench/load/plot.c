/* The SVG of a load. Written by hand: three line charts need neither a library nor a browser. */
#include "load/report.h"

#include <inttypes.h>
#include <math.h>

#define WIDTH        860
#define PANEL_HEIGHT 190
#define LEFT         90
#define RIGHT        30
#define TOP          34
#define BOTTOM       40
#define TICKS        4

/* One chart: x from 0 to x_max, y from 0 to y_max, both linear; the caller maps what is not. */
struct panel {
    FILE *out;
    unsigned index; /* from the top */
    const char *title;
    double x_max, y_max;
};

static double x_of(const struct panel *panel, double x)
{
    return LEFT + x / panel->x_max * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct panel *panel, double y)
{
    double bottom = (panel->index + 1.0) * PANEL_HEIGHT - BOTTOM;
    return bottom - y / panel->y_max * (PANEL_HEIGHT - TOP - BOTTOM);
}

/* The next larger of 1, 2, 5 times a power of ten. */
static double round_up(double value)
{
    if (value <= 0)
        return 1;
    double power = pow(10, floor(log10(value)));
    double digit = value / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void text(const struct panel *panel, double x, double y, const char *anchor,
                 const char *string)
{
    fprintf(panel->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
            string);
}

static void draw_frame(const struct panel *panel)
{
    char label[32];
    double right = x_of(panel, panel->x_max);
    text(panel, LEFT, panel->index * (double)PANEL_HEIGHT + TOP - 12, "start", panel->title);
    for (int i = 0; i <= TICKS; i++) {
        double value = panel->y_max * i / TICKS, y = y_of(panel, value);
        fprintf(panel->out,
                "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, y,
                right, y);
        snprintf(label, sizeof(label), "%.6g", value);
        text(panel, LEFT - 8, y + 4, "end", label);
    }
}

static void draw_x_label(const struct panel *panel, double x, const char *label)
{
    text(panel, x_of(panel, x), y_of(panel, 0) + 18, "middle", label);
}

static void begin_line(const struct panel *panel)
{
    fprintf(panel->out, "<polyline class=\"line\" points=\"");
}

static void add_point(const struct panel *panel, double x, double y)
{
    fprintf(panel->out, "%.1f,%.1f ", x_of(panel, x), y_of(panel, y));
}

static void end_line(const struct panel *panel)
{
    fprintf(panel->out, "\"/>\n");
}

/* x is the number of nines: 0 for the fastest, 1 for p90, 2 for p99 ... */
static void draw_latency(const struct load_report *report, FILE *out)
{
    static const char *const nines[] = {"0", "p90", "p99", "p99.9", "p99.99", "p99.999"};
    const struct base_histogram *latency = &report->totals.latency;
    struct panel panel = {out, 0, "latency in ms, by share of the acknowledged submissions", 5,
                          round_up((double)latency->maximum / 1e6)};
    draw_frame(&panel);
    for (int i = 0; i <= 5; i++)
        draw_x_label(&panel, i, nines[i]);
    begin_line(&panel);
    for (int i = 0; i <= 200; i++) {
        double x = i / 40.0;
        add_point(&panel, x, (double)base_histogram_quantile(latency, 1 - pow(10, -x)) / 1e6);
    }
    end_line(&panel);
}

static double interval_seconds(const struct load_report *report)
{
    return (double)(report->options->duration_ns / (LOAD_INTERVALS_MAX * 5 / 6) + 1) / 1e9;
}

static double interval_value(const struct load_report *report, unsigned index, bool backlog)
{
    const struct load_interval *interval = &report->totals.intervals[index];
    return backlog ? (double)interval->backlog_max
                   : (double)interval->answered / interval_seconds(report);
}

static void draw_over_time(const struct load_report *report, FILE *out, unsigned index,
                           const char *title, bool backlog)
{
    char label[32];
    double length = interval_seconds(report), highest = 0;
    unsigned count = (unsigned)((double)report->totals.elapsed_ns / 1e9 / length) + 1;
    if (count > LOAD_INTERVALS_MAX)
        count = LOAD_INTERVALS_MAX;
    for (unsigned i = 0; i < count; i++)
        highest = fmax(highest, interval_value(report, i, backlog));
    struct panel panel = {out, index, title, count * length, round_up(highest)};
    draw_frame(&panel);
    for (int i = 0; i <= TICKS; i++) {
        snprintf(label, sizeof(label), "%.4g s", panel.x_max * i / TICKS);
        draw_x_label(&panel, panel.x_max * i / TICKS, label);
    }
    begin_line(&panel);
    for (unsigned i = 0; i < count; i++)
        add_point(&panel, (i + 0.5) * length, interval_value(report, i, backlog));
    end_line(&panel);
}

void load_report_svg(const struct load_report *report, FILE *out)
{
    bool open_loop = report->options->arrivals != LOAD_CLOSED;
    int height = PANEL_HEIGHT * (open_loop ? 3 : 2);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\">\n<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}"
            ".line{fill:none;stroke:#2060b0;stroke-width:1.5}</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            WIDTH, height, WIDTH, height);
    draw_latency(report, out);
    draw_over_time(report, out, 1, "acknowledged per second", false);
    if (open_loop)
        draw_over_time(report, out, 2, "backlog: requests due and not sent yet", true);
    fprintf(out, "</svg>\n");
}
