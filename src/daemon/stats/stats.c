/* SPDX-License-Identifier: ISC */
#include "daemon/stats/stats.h"

#include <inttypes.h>
#include <stdio.h>

void stats_sum(struct stats_sum *sum, const struct stats *stats)
{
#define X(name, text) sum->name += atomic_load_explicit(&stats->name, memory_order_relaxed);
    STATS_COUNTERS(X)
#undef X
}

uint64_t stats_open_connections(const struct stats_sum *sum)
{
    /* The two were read one after the other while a worker counted on. */
    return sum->tcp_accepted > sum->tcp_closed ? sum->tcp_accepted - sum->tcp_closed : 0;
}

uint64_t stats_refused(const struct stats_sum *sum)
{
    uint64_t refused = 0;

#define X(name, what, why) refused += sum->name;
    STATS_REFUSALS(X)
#undef X
    return refused;
}

static void print_reasons(FILE *out, const struct stats_sum *sum)
{
    const char *between = ": ";

#define X(name, what, why)                                                                         \
    if (sum->name > 0) {                                                                           \
        fprintf(out, "%s" #name " %" PRIu64, between, sum->name);                                  \
        between = ", ";                                                                            \
    }
    STATS_REFUSALS(X)
#undef X
    (void)between;
}

const char *stats_status(const struct stats_sum *sum, char *buf, size_t size)
{
    FILE *out = fmemopen(buf, size, "w");

    buf[0] = '\0';
    if (!out)
        return buf;
    fprintf(out,
            "%" PRIu64 " connections open; TCP %" PRIu64 " connections, %" PRIu64
            " echoes, %" PRIu64 " octets; UDP %" PRIu64 " echoes, %" PRIu64 " octets; %" PRIu64
            " refused",
            stats_open_connections(sum), sum->tcp_accepted, sum->tcp_echoes, sum->tcp_octets,
            sum->udp_echoes, sum->udp_octets, stats_refused(sum));
    print_reasons(out, sum);
    if (sum->udp_dropped > 0)
        fprintf(out, "; udp_dropped %" PRIu64, sum->udp_dropped);
    fclose(out);
    /* Where it did not fit, fmemopen(3) promises no end. */
    buf[size - 1] = '\0';
    return buf;
}

const char *stats_detail(const struct stats_sum *sum, char *buf, size_t size)
{
    FILE *out = fmemopen(buf, size, "w");
    const char *between = "";

    buf[0] = '\0';
    if (!out)
        return buf;
#define X(name, text)                                                                              \
    fprintf(out, "%s" #name "=%" PRIu64, between, sum->name);                                      \
    between = " ";
    STATS_COUNTERS(X)
#undef X
    fclose(out);
    /* Where it did not fit, fmemopen(3) promises no end. */
    buf[size - 1] = '\0';
    return buf;
}
