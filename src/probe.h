/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_H
#define ECHOD_PROBE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net.h"
#include "payload.h"
#include "rtt.h"

/* The engine: when to send which probe, which probe a reply belongs to, and the counters. How
 * octets travel is the business of a link (one ops table for each protocol); what users see is the
 * business of the listener. All times are nanoseconds, points in time are CLOCK_MONOTONIC. */

#define PROBE_SECOND UINT64_C(1000000000)

/* How long a reply may take where no timeout is set. */
#define PROBE_TIMEOUT (10 * PROBE_SECOND)

/* So many probes are remembered; older ones are lost if they were not answered. A power of two. */
#define PROBE_MEMORY 65536

struct probe_settings {
    uint64_t count; /* 0: until stopped */
    uint64_t interval;
    uint64_t timeout;  /* for one reply; 0: PROBE_TIMEOUT, and after the last probe only twice the
                          longest round trip */
    uint64_t deadline; /* for the whole run; 0: none */
    size_t size;       /* octets of payload */
};

struct probe_counters {
    uint64_t sent;
    uint64_t received;  /* verified, first and in time; only these */
    uint64_t reordered; /* of those received: after the reply to a later probe */
    uint64_t duplicate;
    uint64_t late;
    uint64_t corrupt;
    uint64_t truncated;
    uint64_t wrong_source;
    uint64_t foreign; /* not a reply to any of our probes */
    uint64_t refused;
    uint64_t errors; /* all other errors that the network or the kernel reported for a probe */
};

enum probe_event_kind {
    PROBE_CONNECTED,
    PROBE_RECEIVED,
    PROBE_DUPLICATE,
    PROBE_LATE,
    PROBE_CORRUPT,
    PROBE_TRUNCATED,
    PROBE_WRONG_SOURCE,
    PROBE_FOREIGN,
    PROBE_ERROR,   /* for one probe */
    PROBE_CLOSED,  /* the connection is gone: error is 0 where the peer ended it in good order */
    PROBE_FAILURE, /* the link could not be opened, or the engine cannot go on */
    PROBE_STATUS,  /* the user asks for the figures so far */
};

struct probe_event {
    enum probe_event_kind kind;
    int error;                   /* errno of PROBE_ERROR, PROBE_CLOSED, PROBE_FAILURE */
    uint64_t seq;                /* 0: not known */
    uint64_t time;               /* round trip, or how long it took to connect; 0: not known */
    size_t size;                 /* octets received */
    size_t wrong;                /* PROBE_CORRUPT: index of the first wrong octet */
    bool reordered;              /* PROBE_RECEIVED */
    const struct net_addr *from; /* who sent it; NULL: this host's own kernel */
};

/* Returns false if the run must end because nothing can be said any more. */
typedef bool probe_listener(void *context, const struct probe_event *event);

struct probe;
struct probe_ops;

/* One socket of the protocol; the first member of the protocol's own struct. */
struct probe_link {
    const struct probe_ops *ops;
    struct probe *probe;
    struct net_addr peer;
    int fd;
    short events; /* to wait for, as in poll(2) */
};

struct probe_ops {
    const char *name; /* "tcp", "udp" */
    int type;         /* SOCK_STREAM, SOCK_DGRAM */

    /* NULL on failure, which probe_failed() has then been told, or if the user ended it. */
    struct probe_link *(*open)(struct probe *probe, const struct net_addr *peer);

    /* Send, or begin to send, the payload of probe `seq`. */
    void (*send)(struct probe_link *link, uint64_t seq);

    /* poll(2) returned `revents`: receive what is there, go on sending. */
    void (*ready)(struct probe_link *link, short revents);

    void (*close)(struct probe_link *link);
};
extern const struct probe_ops probe_tcp_ops;
extern const struct probe_ops probe_udp_ops;

struct probe_slot {
    uint64_t sent_at;
    bool waiting;  /* neither answered in any way nor given up */
    bool received; /* a good reply came, in time or late */
};

struct probe {
    struct probe_settings settings;
    struct probe_counters counters;
    struct rtt rtt;
    struct payload payload;

    probe_listener *listener;
    void *context;

    struct probe_link *link;
    uint64_t connect_time; /* 0: there is no connection */

    struct probe_slot *slots; /* probe seq is in slot seq % PROBE_MEMORY */
    uint64_t oldest;          /* all before this one are answered or given up */
    uint64_t highest;         /* latest probe received */
    uint64_t waiting;         /* how many slots are */

    uint64_t due;     /* when to send the next one; 0: at once */
    uint64_t started; /* first and latest probe sent */
    uint64_t latest;
    uint64_t deadline; /* 0: none */

    int signals;       /* signalfd, or -1 */
    sigset_t old_mask; /* what to go back to */
    bool stopped;
    bool closed; /* the peer ended the connection */
    int status;  /* of a run that failed: what to exit with; else 0 */
};

/* Make ready to open links and run. -1 with errno. */
int probe_init(struct probe *probe, const struct probe_settings *settings, probe_listener *listener,
               void *context);
void probe_fini(struct probe *probe);

/* The largest and smallest payload of a protocol over an address family (AF_UNSPEC: over either).
 */
size_t probe_max_size(const struct probe_ops *ops, int family);
size_t probe_min_size(const struct probe_ops *ops);

/* Open the link to a peer. From here to probe_fini(), SIGINT, SIGTERM and SIGQUIT are taken by the
 * engine. -1: the listener was told why; another peer may be tried unless probe->stopped. */
int probe_open(struct probe *probe, const struct probe_ops *ops, const struct net_addr *peer);

/* Send and receive until the settings, a signal, the peer or the listener ends it. Returns how long
 * that took. */
uint64_t probe_run(struct probe *probe);

/* ping(8)'s exit status: 0 at least one reply (with count and deadline: all), 1 none or too few, 2
 * any other error. */
int probe_status(const struct probe *probe);

/* ---- for links ---- */

uint64_t probe_now(void);

/* Wait for one of `events` on fd or until a point in time, and take signals meanwhile. Returns the
 * events that are there; 0: none, or the run must end (probe->stopped). */
short probe_wait(struct probe *probe, int fd, short events, uint64_t until);

/* When an attempt to connect that begins now has to end. */
uint64_t probe_connect_until(const struct probe *probe, uint64_t now);

/* The oldest probe that waits for its reply; 0 if none does. */
uint64_t probe_oldest_waiting(struct probe *probe);

/* Octets arrived from `from` and were found to be what `identity` says. */
void probe_reply(struct probe *probe, const struct payload_identity *identity, size_t size,
                 const struct net_addr *from, uint64_t now);

/* The network (from != NULL) or the kernel could not deliver probe `seq` (0: not known which). */
void probe_error(struct probe *probe, uint64_t seq, int error, const struct net_addr *from,
                 uint64_t now);

void probe_connected(struct probe *probe, const struct net_addr *peer, uint64_t time);

/* The peer ended the connection; error is 0 if it did so in good order. Ends the run, if replies
 * were still to come. */
void probe_closed(struct probe *probe, int error);

/* A link could not be opened; `status` is what to exit with if that was the last resort. */
void probe_failed(struct probe *probe, const struct net_addr *peer, int error, int status);

/* ---- for tests: the parts of probe_run() with time passed in ---- */

/* Give up what waited too long, send what is due. Returns when to be called again at the latest. */
uint64_t probe_turn(struct probe *probe, uint64_t now);

bool probe_finished(const struct probe *probe, uint64_t now);

#endif
