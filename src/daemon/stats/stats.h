/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_STATS_H
#define ECHOD_DAEMON_STATS_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Counters since start. Each worker writes its own and every thread may read them, so the path of
 * an echo needs no locked instruction. */

/* All counters, in the order in which they are printed. A new one is a line here, and an item of
 * echod(8). Those with a family of metrics in common differ in the label "protocol", or "reason"
 * for refusals, and have one help text. COUNTER(name, metric, protocol, help): `protocol` is NULL
 * if the metric has no such label. REFUSAL(name, metric, reason, what, why): of the log line "N
 * WHAT refused: WHY". */
/* clang-format off */
#define STATS_COUNTERS(COUNTER, REFUSAL) \
    COUNTER(tcp_accepted, "echod_tcp_connections_accepted_total", NULL, "TCP connections accepted") \
    COUNTER(tcp_closed, "echod_tcp_connections_ended_total", NULL, "TCP connections ended for any reason") \
    COUNTER(tcp_echoes, "echod_echoes_total", "tcp", "Echoes: pieces of TCP data, or UDP datagrams, sent back") \
    COUNTER(tcp_octets, "echod_received_bytes_total", "tcp", "Octets received") \
    COUNTER(tcp_octets_sent, "echod_sent_bytes_total", "tcp", "Octets sent back") \
    COUNTER(tcp_reset, "echod_tcp_connections_failed_total", NULL, "TCP connections ended by an error, such as a reset") \
    COUNTER(tcp_idle, "echod_tcp_connections_idle_total", NULL, "TCP connections ended because they were idle") \
    REFUSAL(tcp_denied, "echod_tcp_refused_total", "access", "TCP connections", "denied by access") \
    REFUSAL(tcp_refused_source, "echod_tcp_refused_total", "source", "TCP connections", "max-connections-per-source") \
    COUNTER(tcp_evicted, "echod_tcp_connections_evicted_total", NULL, "TCP connections ended to make room for a new one") \
    COUNTER(tcp_full, "echod_tcp_full_total", NULL, "Times that TCP had to wait: the limit of connections was reached") \
    COUNTER(tcp_starved, "echod_tcp_starved_total", NULL, "Times that TCP had to wait: no descriptor or memory for a connection") \
    COUNTER(udp_received, "echod_udp_received_total", NULL, "UDP datagrams received") \
    COUNTER(udp_octets_received, "echod_received_bytes_total", "udp", "Octets received") \
    COUNTER(udp_echoes, "echod_echoes_total", "udp", "Echoes: pieces of TCP data, or UDP datagrams, sent back") \
    COUNTER(udp_octets, "echod_sent_bytes_total", "udp", "Octets sent back") \
    REFUSAL(udp_denied, "echod_udp_refused_total", "access", "UDP datagrams", "denied by access") \
    REFUSAL(udp_refused_port, "echod_udp_refused_total", "port", "UDP datagrams", "refuse-source-ports") \
    REFUSAL(udp_refused_group, "echod_udp_refused_total", "group", "UDP datagrams", "sent to a broadcast or multicast address") \
    REFUSAL(udp_refused_other, "echod_udp_refused_total", "other", "UDP datagrams", "no address that could be answered, or cut short") \
    REFUSAL(udp_over_budget, "echod_udp_refused_total", "rate", "UDP datagrams", "udp-rate") \
    COUNTER(udp_leaked, "echod_udp_slipped_total", NULL, "UDP datagrams sent back, at random, although udp-rate was exceeded") \
    REFUSAL(udp_looped, "echod_udp_refused_total", "loop", "UDP datagrams", "in a loop") \
    COUNTER(udp_failed, "echod_udp_send_errors_total", NULL, "UDP datagrams whose echo could not be sent") \
    COUNTER(udp_dropped, "echod_udp_kernel_drops_total", NULL, "UDP datagrams that the kernel dropped because the receive buffer was full")
/* clang-format on */

#define STATS_ONE(...) +1
enum { STATS_COUNT = STATS_COUNTERS(STATS_ONE, STATS_ONE) };

/* What is printed of a counter, in the order of the table. */
struct stats_counter {
    const char *name;
    const char *help;
    const char *metric;   /* name of its family of metrics */
    const char *family;   /* help text of that family */
    const char *protocol; /* label of its metric; NULL: it has none */
    const char *reason;   /* label of its metric. NULL: this counter is not about refusals */
    const char *what;     /* NULL if reason is */
    const char *why;      /* NULL if reason is */
};
extern const struct stats_counter stats_counters[STATS_COUNT];

/* One worker's counters: each by its name, and all as an array in the order of the table. */
struct stats {
    union {
        struct {
#define X(name, ...) _Atomic uint64_t name;
            STATS_COUNTERS(X, X)
#undef X
        };
        _Atomic uint64_t all[STATS_COUNT];
    };
};

/* To be called by the owner only, which makes two relaxed accesses enough. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* The counters of several workers added up. */
struct stats_sum {
    union {
        struct {
#define X(name, ...) uint64_t name;
            STATS_COUNTERS(X, X)
#undef X
        };
        uint64_t all[STATS_COUNT];
    };
};

void stats_sum(struct stats_sum *sum, const struct stats *stats);

uint64_t stats_open_connections(const struct stats_sum *sum);

/* Refused datagrams and connections, whatever the reason. */
uint64_t stats_refused(const struct stats_sum *sum);

/* One line with the most important sums. Cut to fit; returns buf. */
const char *stats_status(const struct stats_sum *sum, char *buf, size_t size);

/* One line with every counter as name=value. Cut to fit; returns buf. */
const char *stats_detail(const struct stats_sum *sum, char *buf, size_t size);

#endif
