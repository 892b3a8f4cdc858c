/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_STATS_H
#define ECHOD_DAEMON_STATS_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Counters since start. Each worker writes its own and anyone may read: no locked instruction on
 * the path of an echo. */

/* name, what it counts */
#define STATS_COUNTERS(X)                                                                          \
    X(tcp_accepted, "TCP connections accepted")                                                    \
    X(tcp_closed, "TCP connections ended, in whatever way")                                        \
    X(tcp_echoes, "TCP echoes: pieces received and sent back")                                     \
    X(tcp_octets, "TCP octets received")                                                           \
    X(tcp_reset, "TCP connections ended by an error, such as a reset")                             \
    X(tcp_idle, "TCP connections ended for being idle")                                            \
    X(tcp_denied, "TCP connections refused or ended: access denies their source")                  \
    X(tcp_refused_source, "TCP connections refused: too many from their source")                   \
    X(tcp_evicted, "TCP connections ended to make room for a new one")                             \
    X(tcp_full, "times that TCP had to wait: the limit of connections reached")                    \
    X(tcp_starved, "times that TCP had to wait: no descriptor or memory for a connection")         \
    X(udp_received, "UDP datagrams received")                                                      \
    X(udp_echoes, "UDP datagrams sent back")                                                       \
    X(udp_octets, "UDP octets sent back")                                                          \
    X(udp_denied, "UDP datagrams refused: access denies their source")                             \
    X(udp_refused_port, "UDP datagrams refused for their source port")                             \
    X(udp_refused_group, "UDP datagrams refused: sent to a broadcast or multicast address")        \
    X(udp_refused_other, "UDP datagrams refused: no address that could be answered, or cut short") \
    X(udp_over_budget, "UDP datagrams refused: their source has spent its budget")                 \
    X(udp_leaked, "UDP datagrams sent back at random though the budget was spent")                 \
    X(udp_looped, "UDP datagrams refused: they went round in a loop")                              \
    X(udp_failed, "UDP datagrams whose echo could not be sent")                                    \
    X(udp_dropped, "UDP datagrams that the kernel dropped for want of room in the receive buffer")

struct stats {
#define X(name, text) _Atomic uint64_t name;
    STATS_COUNTERS(X)
#undef X
};

/* To be called by the owner only, which makes two relaxed accesses enough. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* A sum of several workers' counters, or the reading of one. */
struct stats_sum {
#define X(name, text) uint64_t name;
    STATS_COUNTERS(X)
#undef X
};

void stats_sum(struct stats_sum *sum, const struct stats *stats);

/* The counters of what was refused, each with the reason. */
#define STATS_REFUSALS(X)                                                                          \
    X(tcp_denied, "TCP connections", "denied by access")                                           \
    X(tcp_refused_source, "TCP connections", "max-connections-per-source")                         \
    X(udp_denied, "UDP datagrams", "denied by access")                                             \
    X(udp_refused_port, "UDP datagrams", "refuse-source-ports")                                    \
    X(udp_refused_group, "UDP datagrams", "sent to a broadcast or multicast address")              \
    X(udp_refused_other, "UDP datagrams", "no address that could be answered, or cut short")       \
    X(udp_over_budget, "UDP datagrams", "udp-rate")                                                \
    X(udp_looped, "UDP datagrams", "in a loop")

/* Sums for people. */
uint64_t stats_open_connections(const struct stats_sum *sum);
uint64_t stats_refused(const struct stats_sum *sum);

/* One line at a glance, and one with every counter as name=value. Cut to fit; return buf. */
const char *stats_status(const struct stats_sum *sum, char *buf, size_t size);
const char *stats_detail(const struct stats_sum *sum, char *buf, size_t size);

#endif
