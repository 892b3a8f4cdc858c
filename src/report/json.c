/* SPDX-License-Identifier: ISC */
#include "report/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/util.h"
#include "config.h"
#include "probe/link_connect.h"
/* The shape of the document; doc/echo-probe.schema.json. */
#define SHAPE 1

/* Octets of a message to show. */
#define MESSAGE 1024

/* Kept until the end of the run. */
struct state {
    json_t *troubles; /* what ended the run, or kept it from beginning */
    struct timespec started;
    bool summed_up;
};

/* jansson has signed integers only. No value here comes near their limit. */
static json_t *whole(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void put_whole(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, whole(value));
}

static void put_rounded(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_integer(llround(value)));
}

/* The octets of the UTF-8 character that begins here; 0: none begins here. */
static size_t character_size(const char *text)
{
    size_t left = strnlen(text, 4);

    for (size_t size = 1; size <= left; size++) {
        json_t *character = json_stringn(text, size);

        json_decref(character);
        if (character)
            return size;
    }
    return 0;
}

/* With U+FFFD for each octet that does not belong to a character. */
static json_t *mended_string(const char *text)
{
    static const char unknown[] = "\xef\xbf\xbd";
    char *mended = malloc((sizeof unknown - 1) * strlen(text) + 1);
    json_t *string;
    size_t len = 0;

    if (!mended)
        return json_string("");
    while (*text != '\0') {
        size_t size = character_size(text);

        if (size > 0) {
            memcpy(mended + len, text, size);
            len += size;
            text += size;
        } else {
            memcpy(mended + len, unknown, sizeof unknown - 1);
            len += sizeof unknown - 1;
            text++;
        }
    }
    string = json_stringn(mended, len);
    free(mended);
    return string;
}

/* Names come from users, from /etc/hosts and from the network, in any encoding. */
static void put_text(json_t *object, const char *key, const char *text)
{
    json_t *string = json_string(text);

    json_object_set_new(object, key, string ? string : mended_string(text));
}

static struct state *state_of(struct report *report)
{
    struct state *state = report->state;

    if (state)
        return state;
    state = calloc(1, sizeof *state);
    if (state) {
        clock_gettime(CLOCK_REALTIME, &state->started);
        state->troubles = json_array();
    }
    report->state = state;
    return state;
}

/* Write an object and a newline in one piece, as jansson alone would write each token by itself.
 * Releases the object. */
static void put_object(const struct report *report, json_t *object, size_t flags)
{
    char *text = json_dumps(object, flags | JSON_REAL_PRECISION(15));

    json_decref(object);
    if (text) {
        fputs(text, report->out);
        fputc('\n', report->out);
    }
    free(text);
}

/* ---- events ---- */

static const char *event_name(enum probe_event_kind kind)
{
    static const char *const names[] = {
        [PROBE_CONNECTED] = "connected",
        [PROBE_RECEIVED] = "reply",
        [PROBE_DUPLICATE] = "duplicate",
        [PROBE_LATE] = "late",
        [PROBE_CORRUPT] = "corrupt",
        [PROBE_TRUNCATED] = "truncated",
        [PROBE_WRONG_SOURCE] = "wrong_source",
        [PROBE_FOREIGN] = "foreign",
        [PROBE_OVERDUE] = "overdue",
        [PROBE_ERROR] = "error",
        [PROBE_CLOSED] = "closed",
        [PROBE_FAILURE] = "failure",
        [PROBE_STATUS] = "status",
    };

    return names[kind];
}

/* The name of an errno, such as "ECONNREFUSED", or NULL. glibc 2.32 has a function for that. */
static const char *errno_name(int error)
{
#ifdef HAVE_STRERRORNAME_NP
    return strerrorname_np(error);
#else
    static const struct {
        int error;
        const char *name;
    } names[] = {
#define NAME(error) {error, #error}
        NAME(EACCES),          NAME(EADDRINUSE),   NAME(EADDRNOTAVAIL),
        NAME(EAFNOSUPPORT),    NAME(EAGAIN),       NAME(EBADF),
        NAME(ECONNABORTED),    NAME(ECONNREFUSED), NAME(ECONNRESET),
        NAME(EDESTADDRREQ),    NAME(EFAULT),       NAME(EHOSTDOWN),
        NAME(EHOSTUNREACH),    NAME(EINPROGRESS),  NAME(EINTR),
        NAME(EINVAL),          NAME(EIO),          NAME(EISCONN),
        NAME(EMFILE),          NAME(EMSGSIZE),     NAME(ENETDOWN),
        NAME(ENETRESET),       NAME(ENETUNREACH),  NAME(ENFILE),
        NAME(ENOBUFS),         NAME(ENODEV),       NAME(ENOENT),
        NAME(ENOMEM),          NAME(ENONET),       NAME(ENOPROTOOPT),
        NAME(ENOSYS),          NAME(ENOTCONN),     NAME(EOPNOTSUPP),
        NAME(EPERM),           NAME(EPIPE),        NAME(EPROTO),
        NAME(EPROTONOSUPPORT), NAME(ESHUTDOWN),    NAME(ETIMEDOUT),
#undef NAME
    };

    for (size_t i = 0; i < COUNT(names); i++)
        if (names[i].error == error)
            return names[i].name;
    return NULL;
#endif
}

static void put_error(json_t *object, int error)
{
    const char *name = error != 0 ? errno_name(error) : NULL;

    if (name)
        put_text(object, "errno", name);
    put_text(object, "message", error != 0 ? strerror(error) : "end of file");
}

static void put_octets(json_t *object, const uint8_t *octets, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * MESSAGE + 1];
    char *end = hex;

    for (size_t i = 0; i < size && i < MESSAGE; i++) {
        *end++ = digits[octets[i] >> 4];
        *end++ = digits[octets[i] & 15];
    }
    *end = '\0';
    put_text(object, "octets", hex);
}

static json_t *icmp_object(const struct probe_icmp *icmp)
{
    json_t *object = json_object();
    char address[ADDR_STRLEN];

    put_whole(object, "version", icmp->v6 ? 6 : 4);
    put_whole(object, "type", icmp->type);
    put_whole(object, "code", icmp->code);
    put_text(object, "from", addr_print_host(&icmp->from, address));
    return object;
}

/* An event, with the members that have a meaning for its kind. */
static json_t *event_object(const struct report *report, const struct probe_event *event)
{
    bool trouble =
        event->kind == PROBE_ERROR || event->kind == PROBE_CLOSED || event->kind == PROBE_FAILURE;
    bool reply = event->kind >= PROBE_RECEIVED && event->kind <= PROBE_FOREIGN;
    json_t *object = json_object();
    char address[ADDR_STRLEN];

    put_text(object, "event", event_name(event->kind));
    if (event->seq != 0)
        put_whole(object, "seq", event->seq);
    if (event->connect != 0)
        put_whole(object, "connect_ns", event->connect);
    if (event->time != 0 || event->kind == PROBE_RECEIVED)
        put_whole(object, "time_ns", event->time);
    if (reply)
        put_whole(object, "size", event->size);
    if (event->from) {
        put_text(object, "from", addr_print_host(event->from, address));
        put_whole(object, "port", addr_port(event->from));
    }
    if (event->link && event->link->port != 0)
        put_whole(object, "source_port", event->link->port);
    if (event->icmp)
        json_object_set_new(object, "icmp", icmp_object(event->icmp));
    if (event->reordered)
        json_object_set_new(object, "out_of_order", json_true());
    if (event->kind == PROBE_CORRUPT)
        put_whole(object, "offset", event->wrong);
    if (event->text)
        put_text(object, "message", event->text);
    else if (trouble)
        put_error(object, event->error);
    if (reply && report->message && event->octets)
        put_octets(object, event->octets, event->size);
    return object;
}

static void note_trouble(struct report *report, const struct probe_event *event)
{
    struct state *state = state_of(report);

    if (event->kind == PROBE_CLOSED)
        report_closed(report, event);
    else
        report_failure(report, event);
    if (state)
        json_array_append_new(state->troubles, event_object(report, event));
}

/* Troubles are in the document, and at once on standard error. */
static void document_event(struct report *report, const struct probe_event *event)
{
    if (event->kind == PROBE_CLOSED || event->kind == PROBE_FAILURE)
        note_trouble(report, event);
    else if (event->kind == PROBE_STATUS && report->kind == &report_json)
        report_status(report);
}

static json_t *counters_object(const struct probe *probe);

static void lines_event(struct report *report, const struct probe_event *event)
{
    json_t *object;

    document_event(report, event);
    if (event->kind == PROBE_TICK || (report->quiet && event->kind != PROBE_STATUS))
        return;
    object = event_object(report, event);
    if (event->kind == PROBE_STATUS)
        json_object_set_new(object, "counters", counters_object(report->probe));
    put_object(report, object, JSON_COMPACT);
}

/* ---- the document ---- */

static json_t *times_object(const struct rtt *rtt)
{
    json_t *object;

    if (rtt->count == 0)
        return json_null();
    object = json_object();
    put_whole(object, "min", rtt->min);
    put_rounded(object, "mean", rtt_mean(rtt));
    put_whole(object, "max", rtt->max);
    put_rounded(object, "mdev", rtt_mdev(rtt));
    put_whole(object, "p50", rtt_quantile(rtt, 0.5));
    put_whole(object, "p90", rtt_quantile(rtt, 0.9));
    put_whole(object, "p99", rtt_quantile(rtt, 0.99));
    put_whole(object, "p99_9", rtt_quantile(rtt, 0.999));
    put_rounded(object, "jitter", rtt_jitter(rtt));
    if (rtt->variations > 0)
        put_rounded(object, "ipdv", rtt_ipdv(rtt));
    else
        json_object_set_new(object, "ipdv", json_null());
    return object;
}

static json_t *histogram_object(const struct rtt *rtt)
{
    json_t *buckets = json_array();

    for (unsigned i = 0; rtt->histogram && i < HISTOGRAM_BUCKETS; i++)
        if (rtt->histogram->buckets[i] > 0)
            json_array_append_new(buckets, json_pack("[o,o,o]", whole(histogram_low(i)),
                                                     whole(histogram_low(i + 1)),
                                                     whole(rtt->histogram->buckets[i])));
    return json_pack("{s:s,s:o}", "unit", "ns", "buckets", buckets);
}

static json_t *counters_object(const struct probe *probe)
{
    const struct probe_counters *counters = &probe->counters;
    struct report_counter list[REPORT_COUNTERS];
    unsigned count = report_counters(probe, list);
    json_t *object = json_object();

    put_whole(object, "sent", counters->sent);
    put_whole(object, "received", counters->received);
    put_whole(object, "lost", counters->sent - counters->received);
    for (unsigned i = 0; i < count; i++)
        put_whole(object, list[i].key, list[i].value);
    put_whole(object, "stamped", counters->stamped);
    return object;
}

static json_t *configuration_object(const struct report *report)
{
    const struct probe_settings *settings = &report->probe->settings;
    json_t *object = json_object();
    char address[ADDR_STRLEN];

    put_text(object, "host", report->host);
    if (report->peer) {
        put_text(object, "address", addr_print_host(report->peer, address));
        put_whole(object, "port", addr_port(report->peer));
    }
    put_text(object, "protocol", report->ops->name);
    json_object_set_new(object, "connect", json_boolean(report->ops == &probe_connect_ops));
    put_whole(object, "size", settings->size);
    put_whole(object, "count", settings->count);
    put_whole(object, "interval_ns", settings->interval);
    put_whole(object, "timeout_ns", settings->timeout);
    put_whole(object, "deadline_ns", settings->deadline);
    put_whole(object, "duration_ns", settings->duration);
    put_whole(object, "preload", settings->preload);
    put_whole(object, "window", settings->window);
    put_whole(object, "links", settings->links);
    put_text(object, "timestamps",
             settings->kernel_stamps && report->ops->type == SOCK_DGRAM ? "kernel" : "user");
    return object;
}

static json_t *sources_array(const struct probe *probe)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < probe->opened; i++) {
        const struct probe_link *link = probe->links[i];
        json_t *object = json_object();

        put_whole(object, "port", link->port);
        put_whole(object, "sent", link->sent);
        put_whole(object, "received", link->received);
        json_object_set_new(object, "loss_percent",
                            json_real(report_loss(link->sent, link->received)));
        json_object_set_new(object, "rtt_ns", times_object(&link->rtt));
        json_array_append_new(array, object);
    }
    return array;
}

static void put_started(json_t *object, const struct timespec *started)
{
    char text[64];
    size_t len;
    struct tm tm;

    gmtime_r(&started->tv_sec, &tm);
    len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof text - len, ".%06ldZ", started->tv_nsec / 1000);
    put_text(object, "started", text);
}

/* Add the results of the run to an object that may have members already. */
static void put_results(struct report *report, json_t *object, uint64_t elapsed)
{
    const struct probe *probe = report->probe;
    struct state *state = state_of(report);

    put_whole(object, "version", SHAPE);
    put_text(object, "program", "echo-probe");
    put_text(object, "program_version", PACKAGE_VERSION);
    if (state)
        put_started(object, &state->started);
    json_object_set_new(object, "configuration", configuration_object(report));
    put_whole(object, "elapsed_ns", elapsed);
    json_object_set_new(object, "counters", counters_object(probe));
    json_object_set_new(object, "loss_percent",
                        json_real(report_loss(probe->counters.sent, probe->counters.received)));
    json_object_set_new(object, "rtt_ns", times_object(&probe->rtt));
    json_object_set_new(object, "connect_ns", times_object(&probe->connect));
    json_object_set_new(object, "histogram", histogram_object(&probe->rtt));
    if (report->sources)
        json_object_set_new(object, "sources", sources_array(probe));
    if (report->cpu >= 0)
        json_object_set_new(object, "cpu_us_per_echo", json_real(report->cpu));
    if (state) {
        json_object_set(object, "troubles", state->troubles);
        state->summed_up = true;
    }
}

static void document_start(struct report *report)
{
    state_of(report);
}

static void document_summary(struct report *report, uint64_t elapsed)
{
    json_t *object = json_object();

    put_results(report, object, elapsed);
    put_object(report, object, JSON_INDENT(2));
}

static void lines_summary(struct report *report, uint64_t elapsed)
{
    json_t *object = json_pack("{s:s}", "event", "summary");

    put_results(report, object, elapsed);
    put_object(report, object, JSON_COMPACT);
}

/* A run that never began has a document too. */
static void drop_state(struct report *report)
{
    struct state *state = report->state;

    if (!state)
        return;
    if (!state->summed_up)
        report->kind->summary(report, 0);
    json_decref(state->troubles);
    free(state);
    report->state = NULL;
}

const struct report_kind report_json = {
    .name = "json",
    .start = document_start,
    .event = document_event,
    .summary = document_summary,
    .finish = drop_state,
};

const struct report_kind report_json_lines = {
    .name = "json-lines",
    .start = document_start,
    .event = lines_event,
    .summary = lines_summary,
    .finish = drop_state,
};
