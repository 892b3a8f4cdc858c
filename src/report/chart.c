/* SPDX-License-Identifier: ISC */
#include "report/chart.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/util.h"
#include "report/report.h"
#define MAX_ROWS 64
#define MAX_LINE 512 /* columns, and the end */
#define RANGE    17  /* "1.25 ms - 1.26 ms" */
#define PERCENT  9   /* "  100.00%" */
#define MIN_BAR  8   /* columns; a narrower bar shows too little */

const char *chart_time(uint64_t ns, char text[static CHART_TIME])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    unsigned unit = 0;

    /* "%.3g" writes 999.5 as 1e+03. */
    while (value >= 999.5 && unit < 3) {
        value /= 1000;
        unit++;
    }
    if (value < 999.5)
        snprintf(text, CHART_TIME, "%.3g %s", value, units[unit]);
    else
        snprintf(text, CHART_TIME, "%.0f %s", value, units[unit]);
    return text;
}

/* ---- the distribution: its ranges ---- */

/* Where ranges may begin and end: at the multiples of a step, or (step 0) at marks in each decade,
 * in tenths of where that begins. */
struct scale {
    uint64_t step;
    unsigned count;
    uint8_t marks[20];
};

struct ranges {
    uint64_t bounds[MAX_ROWS + 1]; /* range i is from bounds[i] to below bounds[i + 1] */
    unsigned count;
    bool tail; /* there is more from bounds[count] on */
};

/* The lowest bound above the value; *below is the highest that is not. */
static uint64_t bound_above(const struct scale *scale, uint64_t value, uint64_t *below)
{
    if (scale->step != 0) {
        *below = value / scale->step * scale->step;
        return UINT64_MAX - *below > scale->step ? *below + scale->step : UINT64_MAX;
    }
    *below = 0;
    for (uint64_t decade = 1; decade <= UINT64_MAX / 100; decade *= 10)
        for (unsigned i = 0; i < scale->count; i++) {
            uint64_t bound = scale->marks[i] * decade / 10;

            if (bound > value)
                return bound;
            *below = bound;
        }
    return UINT64_MAX;
}

uint64_t chart_bound(uint64_t value, bool above)
{
    static const struct scale scale = {.count = 10,
                                       .marks = {10, 12, 15, 20, 25, 30, 40, 50, 60, 80}};
    uint64_t below;
    uint64_t bound = bound_above(&scale, value, &below);

    return above ? bound : below;
}

/* Ranges from the minimum to beyond `high`, and a tail if there is more. False: they are too many,
 * and the tail begins before that. */
static bool fit(const struct scale *scale, const struct rtt *rtt, uint64_t high, unsigned rows,
                struct ranges *ranges)
{
    uint64_t *bounds = ranges->bounds;
    uint64_t below;
    unsigned n = 0;
    bool fits;

    bound_above(scale, rtt->min, &bounds[0]);
    while (n < rows && bounds[n] <= high && bounds[n] != UINT64_MAX) {
        bounds[n + 1] = bound_above(scale, bounds[n], &below);
        n++;
    }
    fits = n < rows || (bounds[n] > high && bounds[n] > rtt->max);
    ranges->count = fits ? n : rows - 1;
    ranges->tail = rtt->max >= bounds[ranges->count];
    return fits;
}

/* Of equal width, 1, 2 or 5 of some power of ten, but not narrower than the histogram's buckets. */
static bool fit_linear(const struct rtt *rtt, uint64_t high, unsigned rows, struct ranges *ranges)
{
    static const unsigned digits[] = {1, 2, 5};
    unsigned bucket = histogram_bucket(high);
    uint64_t width = histogram_low(bucket + 1) - histogram_low(bucket);

    for (uint64_t decade = 1; decade <= UINT64_MAX / 100; decade *= 10)
        for (unsigned i = 0; i < 3; i++) {
            struct scale scale = {.step = digits[i] * decade};

            if (scale.step >= width && fit(&scale, rtt, high, rows, ranges))
                return true;
        }
    return false;
}

/* Round trips have a floor, most are near it, and a few take a hundred times as long: ranges of
 * equal width would have most in one bar, so ranges grow with the value, as finely as there are
 * rows. Where all lie within a factor of two both ways show the same, and equal widths are easier
 * to read. The slowest thousandth shares the last bar, or most of the picture would be empty. */
static void choose_ranges(const struct rtt *rtt, unsigned rows, struct ranges *ranges)
{
    static const struct scale scales[] = {
        {.count = 20,
         .marks = {10, 11, 12, 14, 16, 18, 20, 22, 25, 28, 32, 36, 40, 45, 50, 56, 63, 70, 80, 90}},
        {.count = 10, .marks = {10, 12, 15, 20, 25, 30, 40, 50, 60, 80}},
        {.count = 6, .marks = {10, 15, 20, 30, 50, 70}},
        {.count = 3, .marks = {10, 20, 50}},
        {.count = 1, .marks = {10}},
    };
    uint64_t high = histogram_low(histogram_bucket(rtt_quantile(rtt, 0.999)) + 1) - 1;

    if (high > rtt->max)
        high = rtt->max;
    if (high / 2 <= rtt->min && fit_linear(rtt, high, rows, ranges))
        return;
    for (unsigned i = 0; i < COUNT(scales); i++)
        if (fit(&scales[i], rtt, high, rows, ranges))
            return;
}

/* How many are below the value. Those that share a bucket with it are taken to be spread evenly
 * over the bucket, else bars would be uneven by how many buckets they happen to begin in. */
static uint64_t count_below(const struct rtt *rtt, uint64_t value)
{
    const struct histogram *histogram = rtt->histogram;
    unsigned bucket = histogram_bucket(value);
    uint64_t from = histogram_low(bucket);
    uint64_t to = histogram_low(bucket + 1);
    uint64_t count = 0;

    if (value <= rtt->min)
        return 0;
    if (value > rtt->max)
        return histogram->count;
    if (from < rtt->min)
        from = rtt->min;
    if (to > rtt->max || bucket == HISTOGRAM_BUCKETS - 1)
        to = rtt->max < UINT64_MAX ? rtt->max + 1 : UINT64_MAX;
    for (unsigned i = 0; i < bucket; i++)
        count += histogram->buckets[i];
    if (value > from)
        count += (uint64_t)((double)histogram->buckets[bucket] *
                            ((double)(value - from) / (double)(to - from)));
    return count;
}

/* ---- the distribution: its lines ---- */

struct bar {
    char range[2 * CHART_TIME + 8];
    uint64_t count;
};

struct layout {
    unsigned columns;
    unsigned bar;     /* columns of the longest bar */
    unsigned count;   /* columns of the largest count */
    bool percent;     /* there is room for percentages */
    uint64_t largest; /* count of a bar */
    uint64_t total;   /* of all counts */
};

static unsigned make_bars(const struct rtt *rtt, unsigned rows, struct bar bars[static MAX_ROWS])
{
    struct ranges ranges;
    uint64_t below = 0;
    char from[CHART_TIME];
    char to[CHART_TIME];

    choose_ranges(rtt, rows, &ranges);
    for (unsigned i = 0; i < ranges.count; i++) {
        uint64_t up_to = count_below(rtt, ranges.bounds[i + 1]);

        snprintf(bars[i].range, sizeof bars[i].range, "%7s - %7s",
                 chart_time(ranges.bounds[i], from), chart_time(ranges.bounds[i + 1], to));
        bars[i].count = up_to - below;
        below = up_to;
    }
    if (!ranges.tail)
        return ranges.count;
    snprintf(bars[ranges.count].range, sizeof bars->range, "%7s or more",
             chart_time(ranges.bounds[ranges.count], from));
    bars[ranges.count].count = rtt->histogram->count - below;
    return ranges.count + 1;
}

/* The bar gets the columns that are left. If these are few, the percentage is left out. */
static void lay_out(struct layout *layout, const struct bar bars[], unsigned rows)
{
    unsigned rest;

    for (unsigned i = 0; i < rows; i++)
        if (bars[i].count > layout->largest)
            layout->largest = bars[i].count;
    layout->count = (unsigned)snprintf(NULL, 0, "%" PRIu64, layout->largest);
    rest = RANGE + 2 + 1 + layout->count;
    layout->percent = layout->columns >= rest + PERCENT + MIN_BAR;
    if (layout->percent)
        rest += PERCENT;
    layout->bar = layout->columns > rest ? layout->columns - rest : 0;
}

/* In a column of six characters. */
static const char *percent(const struct bar *bar, const struct layout *layout,
                           char text[static DECIMAL_SIZE])
{
    double value = 100 * (double)bar->count / (double)layout->total;

    if (bar->count > 0 && value < 0.005)
        return "<0.01";
    if (bar->count < layout->total && value >= 99.995)
        return ">99.99";
    snprintf(text, DECIMAL_SIZE, "%.2f", value);
    return text;
}

static void put_bar(FILE *out, const struct layout *layout, const struct bar *bar)
{
    char marks[MAX_LINE] = "";
    char line[2 * MAX_LINE];
    char text[DECIMAL_SIZE];
    double part = (double)bar->count / (double)layout->largest;
    unsigned length = (unsigned)(part * layout->bar + 0.5);
    int n;

    /* A single value among billions has a bar too. */
    if (length == 0 && bar->count > 0 && layout->bar > 0)
        length = 1;
    memset(marks, '#', length);
    n = snprintf(line, sizeof line, "%-*s  %-*s %*" PRIu64, RANGE, bar->range, (int)layout->bar,
                 marks, (int)layout->count, bar->count);
    if (layout->percent)
        snprintf(line + n, sizeof line - (size_t)n, "  %6s%%", percent(bar, layout, text));
    fprintf(out, "%.*s\n", (int)layout->columns, line);
}

void chart_histogram(FILE *out, const struct rtt *rtt, unsigned rows, unsigned columns)
{
    struct bar bars[MAX_ROWS];
    struct layout layout = {.columns = columns < MAX_LINE ? columns : MAX_LINE - 1};

    if (rows == 0 || rtt->count == 0 || !rtt->histogram)
        return;
    rows = make_bars(rtt, rows < MAX_ROWS ? rows : MAX_ROWS, bars);
    layout.total = rtt->histogram->count;
    lay_out(&layout, bars, rows);
    for (unsigned i = 0; i < rows; i++)
        put_bar(out, &layout, &bars[i]);
}

/* ---- progress ---- */

struct line {
    FILE *out;
    unsigned left; /* columns */
    bool begun;
};

/* Write a part only if all of it fits: half a number would be a wrong number. */
static void put_part(struct line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put_part(struct line *line, const char *format, ...)
{
    char text[MAX_LINE];
    unsigned gap = line->begun ? 2 : 0;
    va_list arguments;
    size_t length;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    length = gap + strlen(text);
    if (length > line->left) {
        line->left = 0;
        return;
    }
    fprintf(line->out, "%*s%s", (int)gap, "", text);
    line->left -= (unsigned)length;
    line->begun = true;
}

/* "12.3 s", "2m05s", "3h07m". */
static const char *put_span(uint64_t ns, char text[static CHART_TIME])
{
    uint64_t tenths = ns / (SECOND / 10);
    uint64_t minutes = tenths / 600;

    if (minutes == 0)
        snprintf(text, CHART_TIME, "%" PRIu64 ".%" PRIu64 " s", tenths / 10, tenths % 10);
    else if (minutes < 60)
        snprintf(text, CHART_TIME, "%" PRIu64 "m%02" PRIu64 "s", minutes, tenths / 10 % 60);
    else
        snprintf(text, CHART_TIME, "%" PRIu64 "h%02" PRIu64 "m", minutes / 60, minutes % 60);
    return text;
}

/* How long the rest of the count takes at the rate of the run so far. */
static double count_remaining(const struct probe *probe, uint64_t elapsed)
{
    const struct probe_settings *settings = &probe->settings;
    /* With a deadline, -c counts replies. */
    uint64_t done = settings->deadline != 0 ? probe->counters.received : probe->counters.sent;
    double rest = done < settings->count ? (double)(settings->count - done) : 0;

    if (settings->window == 0)
        return rest * (double)settings->interval;
    return done == 0 ? -1 : rest * (double)elapsed / (double)done;
}

/* Nanoseconds until the run ends; < 0: not known. */
static double remaining(const struct probe *probe, uint64_t now, uint64_t elapsed)
{
    const struct probe_settings *settings = &probe->settings;
    double rest = -1;

    if (settings->count != 0)
        rest = count_remaining(probe, elapsed);
    if (settings->duration != 0) {
        double left = settings->duration > elapsed ? (double)(settings->duration - elapsed) : 0;

        rest = rest < 0 || left < rest ? left : rest;
    }
    if (probe->deadline != 0) {
        double left = probe->deadline > now ? (double)(probe->deadline - now) : 0;

        rest = rest < 0 || left < rest ? left : rest;
    }
    return rest;
}

uint64_t chart_decided(const struct probe *probe)
{
    const struct probe_counters *counters = &probe->counters;
    uint64_t waiting = probe->waiting;

    return counters->sent - counters->received > waiting ? counters->sent - waiting
                                                         : counters->received;
}

void chart_progress(FILE *out, const struct probe *probe, uint64_t now, unsigned columns)
{
    const struct probe_counters *counters = &probe->counters;
    uint64_t elapsed = probe_elapsed(probe, now);
    struct line line = {.out = out, .left = columns};
    double rest = remaining(probe, now, elapsed);
    char text[CHART_TIME];
    char decimal[DECIMAL_SIZE];

    put_part(&line, "%s", put_span(elapsed, text));
    put_part(&line, "%" PRIu64 " sent", counters->sent);
    if (elapsed > 0) {
        double rate = (double)counters->sent * (double)SECOND / (double)elapsed;

        put_part(&line, "%.*f/s", rate < 99.95 ? 1 : 0, rate);
    }
    if (chart_decided(probe) > 0)
        put_part(&line, "%s%% lost",
                 report_loss_text(chart_decided(probe), counters->received, 3, decimal));
    if (probe->rtt.count > 0)
        put_part(&line, "rtt %s ms", print_milliseconds(rtt_mean(&probe->rtt), decimal));
    /* A year or more is not worth telling, and may not fit into an integer. */
    if (rest >= 0 && rest < 365 * 86400.0 * (double)SECOND)
        put_part(&line, "remaining %s", put_span((uint64_t)rest, text));
}
