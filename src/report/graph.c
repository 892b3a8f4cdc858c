/* SPDX-License-Identifier: ISC */
#include "report/graph.h"

#include <curses.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/chart.h"
#include "report/text.h"

/* Last, because it defines macros with common names. */
#include <term.h>

/* The only user of ncurses. While the picture is shown, messages for `err` are kept. They are
 * written when the terminal is as it was. From then on report->kind is report_text; without a
 * terminal that can draw, from the beginning. */

#define MAX_COLUMNS 1024 /* a wider terminal shows no more */
#define SLOT_TICKS  5    /* ticks a column, if probes are too many for a column each */
#define AXIS        9    /* "1.25 ms |" */
#define MIN_PLOT    10   /* columns; a narrower plot has no axis */
#define ESC         27

enum colour { PLAIN, GOOD, BAD };

/* One column of the picture: probes that were sent one after the other. */
struct column {
    uint64_t first;
    uint64_t last;
    uint64_t received;
    uint64_t min; /* of the round trips of those received, nanoseconds */
    uint64_t max;
    double sum;
};

struct graph {
    SCREEN *screen;
    bool keys; /* there is a keyboard */
    bool colours;
    unsigned ticks;
    bool full;      /* the next probe begins a new column */
    bool told;      /* a trouble was shown since the latest tick */
    uint64_t begun; /* columns begun so far; column n is in ring[n % MAX_COLUMNS] */
    struct column ring[MAX_COLUMNS];
    char trouble[256];
    FILE *held; /* messages for `err`, a memory stream into `text` */
    char *text;
    size_t size;
};

/* Where on the screen, and how values become rows: by their logarithm, as latency is compared in
 * factors, and one outlier does not flatten the rest. */
struct plot {
    int top; /* the row of losses; times are below it */
    int rows;
    int left;
    int width;
    uint64_t oldest; /* column in the leftmost place */
    uint64_t low;
    uint64_t high;
};

/* ---- columns ---- */

static struct column *column(struct graph *graph, uint64_t n)
{
    return &graph->ring[n % MAX_COLUMNS];
}

/* Let the columns reach up to the latest probe. */
static void extend(struct graph *graph, const struct probe *probe)
{
    const struct probe_settings *settings = &probe->settings;
    bool one_each = settings->window == 0 && settings->interval >= settings->tick;
    uint64_t sent = probe->counters.sent;
    uint64_t last = graph->begun > 0 ? column(graph, graph->begun - 1)->last : 0;

    while (last < sent) {
        if (graph->begun == 0 || graph->full || one_each) {
            *column(graph, graph->begun++) = (struct column){.first = last + 1};
            graph->full = false;
        }
        last = one_each ? last + 1 : sent;
        column(graph, graph->begun - 1)->last = last;
    }
}

static void add(struct graph *graph, uint64_t seq, uint64_t time)
{
    uint64_t n = graph->begun;
    struct column *c = NULL;

    while (n > 0 && graph->begun - n < MAX_COLUMNS) {
        c = column(graph, --n);
        if (seq >= c->first)
            break;
    }
    if (!c || seq < c->first || seq > c->last)
        return;
    if (c->received == 0 || time < c->min)
        c->min = time;
    if (time > c->max)
        c->max = time;
    c->received++;
    c->sum += (double)time;
}

/* ---- drawing ---- */

static void colour(const struct graph *graph, enum colour which)
{
    attr_set(which == BAD ? A_BOLD : A_NORMAL, graph->colours ? (short)which : 0, NULL);
}

/* Write from column `at` on as far as the text fits. Control characters become '?'. */
static void put_text(int row, int at, const char *text)
{
    move(row, at);
    for (; *text != '\0' && at < COLS; text++, at++)
        addch(*text >= ' ' && *text <= '~' ? (chtype)*text : '?');
}

/* A part of a line and the gap before it, if there is room for the whole. */
static void put_part(int row, int *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put_part(int row, int *at, const char *format, ...)
{
    char text[128];
    va_list arguments;
    int length;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    length = (int)strlen(text) + (*at > 0 ? 2 : 0);
    if (*at + length > COLS)
        return;
    put_text(row, *at + length - (int)strlen(text), text);
    *at += length;
}

static void put_title(const struct report *report, const struct graph *graph, int row)
{
    char address[ADDR_STRLEN];
    char text[512];

    snprintf(text, sizeof text, "%s (%s) port %u %s, %zu bytes, %s ends", report->host,
             addr_print_host(report->peer, address), (unsigned)addr_port(report->peer),
             report->ops->name, report->probe->settings.size, graph->keys ? "q" : "Ctrl-C");
    put_text(row, 0, text);
}

static void put_progress(const struct probe *probe, int row)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return;
    chart_progress(stream, probe, clock_now(), (unsigned)COLS);
    if (fclose(stream) == 0)
        put_text(row, 0, text);
    free(text);
}

/* What chart_progress() leaves out. */
static void put_figures(const struct probe *probe, int row)
{
    const struct rtt *rtt = &probe->rtt;
    struct report_counter list[REPORT_COUNTERS];
    unsigned count = report_counters(probe, list);
    char text[CHART_TIME];
    int at = 0;

    put_part(row, &at, "received %" PRIu64, probe->counters.received);
    if (rtt->count > 0) {
        put_part(row, &at, "last %s", chart_time(rtt->latest, text));
        put_part(row, &at, "p50 %s", chart_time(rtt_quantile(rtt, 0.5), text));
        put_part(row, &at, "p99 %s", chart_time(rtt_quantile(rtt, 0.99), text));
        put_part(row, &at, "jitter %s", chart_time((uint64_t)rtt_jitter(rtt), text));
    }
    for (unsigned i = 0; i < count; i++)
        if (list[i].value > 0)
            put_part(row, &at, "%s %" PRIu64, list[i].text, list[i].value);
}

/* The scale stays 0 if no column in view has a reply. */
static void choose_scale(struct graph *graph, struct plot *plot)
{
    uint64_t min = UINT64_MAX;
    uint64_t max = 0;

    for (uint64_t n = plot->oldest; n < graph->begun; n++) {
        const struct column *c = column(graph, n);

        if (c->received > 0 && c->min < min)
            min = c->min;
        if (c->received > 0 && c->max > max)
            max = c->max;
    }
    if (min > max)
        return;
    plot->low = min > 0 ? chart_bound(min, false) : 1;
    plot->high = chart_bound(max > 0 ? max : 1, true);
}

static int row_of(const struct plot *plot, double time)
{
    double part = time <= (double)plot->low
                      ? 0
                      : log(time / (double)plot->low) / log((double)plot->high / (double)plot->low);

    return plot->top + plot->rows - (int)lround(part * (plot->rows - 1));
}

static void put_axis(const struct plot *plot)
{
    char text[CHART_TIME] = "";

    if (plot->left == 0)
        return;
    mvprintw(plot->top, 0, "%7s |", "lost");
    for (int i = 0; i < plot->rows; i++) {
        bool labelled = plot->high > 0 && (i % 3 == 0 || i == plot->rows - 1);

        if (labelled) {
            double ratio = (double)plot->high / (double)plot->low;
            double part = plot->rows > 1 ? (double)i / (plot->rows - 1) : 0;

            chart_time((uint64_t)llround((double)plot->low * pow(ratio, part)), text);
        }
        mvprintw(plot->top + plot->rows - i, 0, "%7s |", labelled ? text : "");
    }
}

static void put_column(struct graph *graph, const struct probe *probe, const struct plot *plot,
                       uint64_t n)
{
    const struct column *c = column(graph, n);
    int at = plot->left + (int)(n - plot->oldest);
    bool missing = c->last - c->first + 1 > c->received;

    if (missing) {
        colour(graph, c->last < probe->oldest ? BAD : PLAIN);
        mvaddch(plot->top, at, c->last < probe->oldest ? 'x' : '.');
    }
    if (c->received == 0)
        return;
    colour(graph, GOOD);
    for (int row = row_of(plot, (double)c->max); row <= row_of(plot, (double)c->min); row++)
        mvaddch(row, at, ':');
    mvaddch(row_of(plot, c->sum / (double)c->received), at, '*');
}

static void put_plot(struct graph *graph, const struct probe *probe, int top, int rows)
{
    struct plot plot = {.top = top, .rows = rows - 1};

    plot.left = COLS >= AXIS + MIN_PLOT ? AXIS : 0;
    plot.width = COLS - plot.left < MAX_COLUMNS ? COLS - plot.left : MAX_COLUMNS;
    if (graph->begun > (uint64_t)plot.width)
        plot.oldest = graph->begun - (uint64_t)plot.width;
    choose_scale(graph, &plot);
    put_axis(&plot);
    for (uint64_t n = plot.oldest; n < graph->begun; n++)
        put_column(graph, probe, &plot, n);
    colour(graph, PLAIN);
}

/* refresh() and getch() notice a new size (resizeterm(3X)), which is used at the next tick. If rows
 * are few, the plot is left out first, then the title, the trouble and the figures. */
static void draw(const struct report *report)
{
    struct graph *graph = report->state;
    int title = LINES >= 4;
    int below = LINES < 3 ? LINES : 3;
    int plot = LINES - title - below;

    erase();
    if (title)
        put_title(report, graph, 0);
    if (plot >= 2)
        put_plot(graph, report->probe, title, plot);
    put_progress(report->probe, LINES - below);
    if (below >= 2)
        put_figures(report->probe, LINES - below + 1);
    if (below >= 3) {
        colour(graph, BAD);
        put_text(LINES - 1, 0, graph->trouble);
        colour(graph, PLAIN);
    }
    refresh();
}

/* ---- the terminal ---- */

/* newterm() also accepts a terminal that cannot place its cursor. */
static bool can_draw(const struct report *report)
{
    int fd = fileno(report->out);
    int error;
    const char *place;
    bool can;

    if (!isatty(fd) || setupterm(NULL, fd, &error) != OK)
        return false;
    place = tigetstr("cup");
    can = place && place != (char *)-1;
    del_curterm(cur_term);
    return can;
}

/* https://no-color.org */
static bool wants_colours(void)
{
    const char *none = getenv("NO_COLOR");

    return !none || none[0] == '\0';
}

static struct graph *enter(const struct report *report)
{
    struct graph *graph = calloc(1, sizeof *graph);

    if (!graph)
        return NULL;
    graph->held = open_memstream(&graph->text, &graph->size);
    if (graph->held)
        graph->screen = newterm(NULL, report->out, stdin);
    if (!graph->screen) {
        if (graph->held)
            fclose(graph->held);
        free(graph->text);
        free(graph);
        return NULL;
    }
    graph->keys = isatty(STDIN_FILENO);
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    curs_set(0);
    graph->colours = wants_colours() && has_colors() && start_color() == OK &&
                     use_default_colors() == OK && init_pair(GOOD, COLOR_GREEN, -1) == OK &&
                     init_pair(BAD, COLOR_RED, -1) == OK;
    return graph;
}

/* Give the terminal back and go on as text, beginning with its first line and the kept messages. */
static void leave(struct report *report)
{
    struct graph *graph = report->state;

    if (graph) {
        endwin();
        delscreen(graph->screen);
        report->kind = &report_text;
        report->state = NULL;
        report_text.start(report);
        fflush(report->out);
        if (fclose(graph->held) == 0)
            fputs(graph->text, report->err);
        free(graph->text);
        free(graph);
    }
    report->kind = &report_text;
}

/* q ends the run by the signal of Ctrl-C, so that there is one way to end it. */
static void read_keys(void)
{
    int key;

    while ((key = getch()) != ERR)
        if (key == 'q' || key == 'Q')
            kill(getpid(), SIGINT);
        else if (key == ESC)
            flushinp(); /* function keys send sequences, which may have a q in them */
}

/* ---- events ---- */

/* Show what report_text would say of an event, and keep it for the end if `hold`. */
static void tell(const struct report *report, const struct probe_event *event, bool hold)
{
    struct graph *graph = report->state;
    struct report plain = *report;
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    graph->told = true;
    if (!stream)
        return;
    plain.kind = &report_text;
    plain.out = plain.err = stream;
    plain.quiet = plain.progress = false;
    plain.state = NULL;
    report_text.event(&plain, event);
    if (fclose(stream) == 0 && text[0] != '\0') {
        if (hold)
            fputs(text, graph->held);
        snprintf(graph->trouble, sizeof graph->trouble, "%.*s", (int)strcspn(text, "\n"), text);
    }
    free(text);
}

static void on_tick(struct report *report)
{
    struct graph *graph = report->state;

    if (++graph->ticks % SLOT_TICKS == 0)
        graph->full = true;
    graph->told = false;
    if (graph->keys)
        read_keys();
    draw(report);
}

static void graph_start(struct report *report)
{
    if (!report->state && can_draw(report)) {
        fflush(report->out);
        report->state = enter(report);
    }
    if (report->state) {
        draw(report);
        return;
    }
    report->kind = &report_text;
    report_text.start(report);
}

static void graph_event(struct report *report, const struct probe_event *event)
{
    struct graph *graph = report->state;

    if (!graph) {
        report->kind = &report_text;
        report_text.event(report, event);
        return;
    }
    extend(graph, report->probe);
    switch (event->kind) {
    case PROBE_RECEIVED:
        add(graph, event->seq, event->time);
        break;
    case PROBE_TICK:
        on_tick(report);
        break;
    case PROBE_CLOSED:
    case PROBE_FAILURE:
        tell(report, event, true);
        break;
    case PROBE_CONNECTED:
    case PROBE_STATUS: /* is in view all the time */
        break;
    default:
        /* Thousands may come in a second, and there is one line for them. */
        if (!graph->told)
            tell(report, event, false);
        break;
    }
}

static void graph_summary(struct report *report, uint64_t elapsed)
{
    leave(report);
    report_text.summary(report, elapsed);
}

static void graph_finish(struct report *report)
{
    leave(report);
    report_text.finish(report);
}

const struct report_kind report_graph = {
    .name = "graph",
    .tick = SECOND / 10,
    .start = graph_start,
    .event = graph_event,
    .summary = graph_summary,
    .finish = graph_finish,
};
