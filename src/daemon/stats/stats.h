/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_STATS_H
#define ECHOD_DAEMON_STATS_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Counters since start. Each worker writes its own and every thread may read them, so the path of
 * an echo needs no locked instruction. */

/* All counters, in the order in which they are printed. A new one is a line here, and an item of
 * echod(8).
 *   COUNTER(name, help)
 *   REFUSAL(name, reason, what, why): of the log line "N WHAT refused: WHY"; `reason` is the value
 *   of the label of that name in metrics. */
#define STATS_COUNTERS(COUNTER, REFUSAL)                                                           \
    COUNTER(tcp_accepted, "TCP connections accepted")                                              \
    COUNTER(tcp_closed, "TCP connections ended for any reason")                                    \
    COUNTER(tcp_echoes, "TCP echoes: pieces received and sent back")                               \
    COUNTER(tcp_octets, "TCP octets received")                                                     \
    COUNTER(tcp_reset, "TCP connections ended by an error, such as a reset")                       \
    COUNTER(tcp_idle, "TCP connections ended because they were idle")                              \
    REFUSAL(tcp_denied, "access", "TCP connections", "denied by access")                           \
    REFUSAL(tcp_refused_source, "source", "TCP connections", "max-connections-per-source")         \
    COUNTER(tcp_evicted, "TCP connections ended to make room for a new one")                       \
    COUNTER(tcp_full, "Times that TCP had to wait: the limit of connections was reached")          \
    COUNTER(tcp_starved, "Times that TCP had to wait: no descriptor or memory for a connection")   \
    COUNTER(udp_received, "UDP datagrams received")                                                \
    COUNTER(udp_echoes, "UDP datagrams sent back")                                                 \
    COUNTER(udp_octets, "UDP octets sent back")                                                    \
    REFUSAL(udp_denied, "access", "UDP datagrams", "denied by access")                             \
    REFUSAL(udp_refused_port, "port", "UDP datagrams", "refuse-source-ports")                      \
    REFUSAL(udp_refused_group, "group", "UDP datagrams",                                           \
            "sent to a broadcast or multicast address")                                            \
    REFUSAL(udp_refused_other, "other", "UDP datagrams",                                           \
            "no address that could be answered, or cut short")                                     \
    REFUSAL(udp_over_budget, "rate", "UDP datagrams", "udp-rate")                                  \
    COUNTER(udp_leaked, "UDP datagrams sent back, at random, although udp-rate was exceeded")      \
    REFUSAL(udp_looped, "loop", "UDP datagrams", "in a loop")                                      \
    COUNTER(udp_failed, "UDP datagrams whose echo could not be sent")                              \
    COUNTER(udp_dropped,                                                                           \
            "UDP datagrams that the kernel dropped because the receive buffer was full")

#define STATS_ONE(...) +1
enum { STATS_COUNT = STATS_COUNTERS(STATS_ONE, STATS_ONE) };

/* What is printed of a counter, in the order of the table. */
struct stats_counter {
    const char *name;
    const char *help;
    const char
        *reason; /* NULL: this counter is not about refusals, and the next two are NULL too */
    const char *what;
    const char *why;
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
