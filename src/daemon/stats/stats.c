/* SPDX-License-Identifier: ISC */
#include "daemon/stats/stats.h"

#include <inttypes.h>
#include <stdio.h>

const struct stats_counter stats_counters[STATS_COUNT] = {
#define COUNTER(name, metric, protocol, help)                                                      \
    {#name, help, metric, help, protocol, NULL, NULL, NULL},
#define REFUSAL(name, metric, reason, what, why)                                                   \
    {#name, what " refused: " why, metric, what " refused", NULL, reason, what, why},
    STATS_COUNTERS(COUNTER, REFUSAL)
#undef COUNTER
#undef REFUSAL
};

void stats_sum(struct stats_sum *sum, const struct stats *stats)
{
    for (size_t i = 0; i < STATS_COUNT; i++)
        sum->all[i] += atomic_load_explicit(&stats->all[i], memory_order_relaxed);
}

uint64_t stats_open_connections(const struct stats_sum *sum)
{
    /* The worker may count between the reading of one and of the other. */
    return sum->tcp_accepted > sum->tcp_closed ? sum->tcp_accepted - sum->tcp_closed : 0;
}

uint64_t stats_refused(const struct stats_sum *sum)
{
    uint64_t refused = 0;

    for (size_t i = 0; i < STATS_COUNT; i++)
        if (stats_counters[i].reason)
            refused += sum->all[i];
    return refused;
}

static void print_refusals(FILE *out, const struct stats_sum *sum)
{
    const char *separator = ": ";

    for (size_t i = 0; i < STATS_COUNT; i++)
        if (stats_counters[i].reason && sum->all[i] > 0) {
            fprintf(out, "%s%s %" PRIu64, separator, stats_counters[i].name, sum->all[i]);
            separator = ", ";
        }
}

/* A stream that writes into buf, or NULL; buf is then empty. */
static FILE *open_text(char *buf, size_t size)
{
    buf[0] = '\0';
    return fmemopen(buf, size, "w");
}

static const char *close_text(FILE *out, char *buf, size_t size)
{
    if (out)
        fclose(out);
    buf[size - 1] = '\0'; /* fmemopen(3) does not write it if the text was too long */
    return buf;
}

const char *stats_status(const struct stats_sum *sum, char *buf, size_t size)
{
    FILE *out = open_text(buf, size);

    if (out) {
        fprintf(out,
                "%" PRIu64 " connections open; TCP %" PRIu64 " connections, %" PRIu64
                " echoes, %" PRIu64 " octets; UDP %" PRIu64 " echoes, %" PRIu64 " octets; %" PRIu64
                " refused",
                stats_open_connections(sum), sum->tcp_accepted, sum->tcp_echoes, sum->tcp_octets,
                sum->udp_echoes, sum->udp_octets, stats_refused(sum));
        print_refusals(out, sum);
        if (sum->udp_dropped > 0)
            fprintf(out, "; udp_dropped %" PRIu64, sum->udp_dropped);
    }
    return close_text(out, buf, size);
}

const char *stats_detail(const struct stats_sum *sum, char *buf, size_t size)
{
    FILE *out = open_text(buf, size);

    for (size_t i = 0; out && i < STATS_COUNT; i++)
        fprintf(out, "%s%s=%" PRIu64, i > 0 ? " " : "", stats_counters[i].name, sum->all[i]);
    return close_text(out, buf, size);
}
