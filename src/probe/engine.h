/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_ENGINE_H
#define ECHOD_PROBE_ENGINE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/clock.h"
#include "net/loop.h"
#include "probe/payload.h"
#include "probe/rtt.h"

/* What all modules of a probe share: its types, its events, its sockets. A probe asks one target;
 * it goes through links (sockets or connections) and tells a listener of all that happens. Times
 * are nanoseconds, points in time are CLOCK_MONOTONIC. */

/* How long a reply may take where no timeout is set. */
#define PROBE_TIMEOUT (10 * SECOND)

#define PROBE_MAX_LINKS   4096
#define PROBE_MAX_PRELOAD 32768

/* How sockets are set up. */
struct probe_socket {
    struct addr source;       /* len 0: the kernel chooses; the port in it is ignored */
    uint16_t port;            /* port of link 0, those of the others follow; 0: any */
    char device[IF_NAMESIZE]; /* "": any */
    uint32_t mark;            /* SO_MARK, for rules of routing and firewalls; 0: none */
    int tos;                  /* -1: the system's default */
    int ttl;                  /* -1: the system's default */
    int pmtu;                 /* IP_PMTUDISC_...; -1: UDP fragments what is too large */
};

struct probe_settings {
    uint64_t count;     /* 0: until stopped */
    uint64_t interval;  /* from one probe to the next; with a window, how long a probe that is not
                           answered stays in it */
    uint64_t timeout;   /* for one reply; 0: PROBE_TIMEOUT, and after the last probe only twice the
                           longest round trip */
    uint64_t deadline;  /* for the whole run; 0: none */
    uint64_t duration;  /* no more probes after this time; 0: no such limit */
    uint64_t tick;      /* how often to emit PROBE_TICK; 0: never */
    size_t size;        /* octets of payload */
    unsigned preload;   /* probes sent at once in the beginning */
    unsigned window;    /* most probes of a link that may be unanswered: the next is sent as soon as
                           there are fewer; 0: the interval alone decides */
    unsigned links;     /* sockets or connections, used in turn */
    bool kernel_stamps; /* UDP: times from the kernel, where it gives them */
    bool overdue;       /* emit PROBE_OVERDUE */
    bool persist;       /* go on through errors until `count` replies came */
    struct probe_socket socket;
};

/* One probe a second over one socket, until stopped. */
extern const struct probe_settings probe_defaults;

struct probe_counters {
    uint64_t sent;
    uint64_t received;  /* verified, first and in time; only these */
    uint64_t reordered; /* received after the reply to a later probe of the same link */
    uint64_t duplicate;
    uint64_t late;
    uint64_t corrupt;
    uint64_t truncated;
    uint64_t wrong_source;
    uint64_t foreign; /* not a reply to any of our probes */
    uint64_t refused;
    uint64_t errors;  /* all other errors that the network or the kernel reported for a probe */
    uint64_t delayed; /* sent later than the schedule says; their round trips count from when they
                         were due */
    uint64_t stamped; /* received, with a round trip by the kernel's clock at both ends */
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
    PROBE_OVERDUE, /* a probe is not answered when the next one is sent */
    PROBE_ERROR,   /* a probe failed */
    PROBE_CLOSED,  /* a connection has ended: error is 0 where the peer ended it in good order */
    PROBE_FAILURE, /* a link could not be opened, or the run cannot go on */
    PROBE_STATUS,  /* the user asks for the figures so far */
    PROBE_TICK,    /* settings.tick has passed */
};

/* What ICMP said of a probe. */
struct probe_icmp {
    bool v6;
    uint8_t type;
    uint8_t code;
    struct addr from; /* who reported it; the port means nothing */
};

struct probe_event {
    enum probe_event_kind kind;
    const char *text;        /* PROBE_FAILURE: the reason where no errno tells; else NULL */
    int error;               /* errno of PROBE_ERROR, PROBE_CLOSED, PROBE_FAILURE */
    uint64_t seq;            /* number of the probe; 0: not known */
    uint64_t time;           /* round trip, or duration of connecting (PROBE_CONNECTED); 0: not
                                known */
    uint64_t connect;        /* how long this probe's own connection took; 0: it has none */
    size_t size;             /* octets received */
    const uint8_t *octets;   /* the octets received; NULL: not all of them are there */
    size_t wrong;            /* PROBE_CORRUPT: index of the first wrong octet */
    bool reordered;          /* PROBE_RECEIVED: after the reply to a later probe */
    const struct addr *from; /* the sender; NULL: this host's own kernel */
    const struct probe_icmp *icmp; /* the ICMP message that PROBE_ERROR or PROBE_FAILURE comes from;
                                      NULL: none is known */
    const struct probe_link *link; /* the link it came through; NULL: none */
};

/* Returns false if the run must end because nothing can be told any more. */
typedef bool probe_listener(void *context, const struct probe_event *event);

struct probe;
struct probe_link;
struct probe_ops;
struct probe_slot;

/* A descriptor that wakes its link. */
struct probe_watch {
    struct loop_io io; /* events is what it is watched for */
    struct probe_link *link;
    int fd;
};

/* One socket, or the way to make one for each probe. Part of the protocol's own struct. */
struct probe_link {
    const struct probe_ops *ops;
    struct probe *probe;
    unsigned index;
    unsigned unanswered; /* probes in the window */
    bool opening;        /* connecting has begun and has not ended */
    bool blocked;        /* takes no probes for the time being; the link itself resets this */
    bool closed;         /* takes no probes any more, see probe_link_close() */
    bool end_told;       /* PROBE_CLOSED was considered, see schedule.h */
    uint16_t port;       /* of this end, host order; 0: it differs */
    int error;           /* errno of the end; 0: the peer ended the connection in good order */
    uint64_t sent;
    uint64_t received;
    uint64_t highest; /* latest probe received */
    struct addr peer;
    struct probe_watch watch;
    struct rtt rtt; /* where there are several links */
};

/* The operations of a protocol. */
struct probe_ops {
    const char *name;   /* "tcp", "udp" */
    int type;           /* SOCK_STREAM, SOCK_DGRAM */
    size_t min_size;    /* octets of payload */
    size_t max_size_v4; /* octets of payload over IPv4 */
    size_t max_size_v6; /* octets of payload over IPv6 */

    /* A link with what the protocol needs set, probe_link_init() done and link->opening set if
     * connecting has only begun. NULL on failure, which probe_failed() has then been told. */
    struct probe_link *(*open)(struct probe *probe, const struct addr *peer, unsigned index);

    /* Send, or begin to send, the payloads of `count` probes from `first` on. Returns how many were
     * taken; with fewer than all, link->blocked is set until there is room again. */
    unsigned (*send)(struct probe_link *link, uint64_t first, unsigned count);

    /* poll(2) would have returned `revents`: receive what is there, go on sending. */
    void (*ready)(struct probe_link *link, struct probe_watch *watch, short revents);

    /* Probe `seq` is not waited for any longer; NULL: nothing has to be done. */
    void (*give_up)(struct probe_link *link, uint64_t seq);

    /* The link has closed in good order: count the reply that came in part; NULL: there is none. */
    void (*finish)(struct probe_link *link);

    void (*close)(struct probe_link *link);
};

struct probe {
    struct probe_settings settings;
    struct probe_counters counters;
    struct rtt rtt;
    struct rtt connect; /* how long connections took */
    struct payload payload;

    probe_listener *listener;
    void *context;
    struct loop *loop;       /* shared with other probes */
    loop_io_fn *watch_ready; /* called by the loop for each watch */

    struct probe_link **links;
    unsigned opened; /* how many links there are */
    unsigned next;   /* index of the link whose turn it is */
    unsigned closed_links;

    struct probe_slot *slots; /* probe seq is in slot seq % capacity, see inflight.h */
    uint64_t capacity;        /* a power of two */
    uint64_t oldest;          /* all probes before this one are answered or given up */
    uint64_t in_window;       /* no probe before this one is in a window */
    uint64_t waiting;         /* probes neither answered nor given up */
    uint64_t unsendable;      /* probes that this host could not send */

    uint64_t due;      /* when to send the next probe */
    uint64_t started;  /* when the first probe was sent; 0: none was */
    uint64_t latest;   /* when the latest probe was sent */
    uint64_t deadline; /* 0: none */
    uint64_t ticked;   /* latest PROBE_TICK */

    bool held; /* the network did not take a probe when it was due */
    bool stopped;
    bool closed; /* the peer ended the last connection */
    int status;  /* exit status of a run that failed; else 0 */
};

/* Tell the listener. */
void probe_emit(struct probe *probe, const struct probe_event *event);

/* A link could not be opened (NULL: something else failed); `status` is the exit status if there is
 * nothing else to try. */
void probe_failed(struct probe *probe, const struct addr *peer, int error, int status);

/* How long the run has lasted, from the first probe. */
uint64_t probe_elapsed(const struct probe *probe, uint64_t now);

/* The largest and smallest payload of a protocol over an address family (AF_UNSPEC: over either).
 */
size_t probe_max_size(const struct probe_ops *ops, int family);
size_t probe_min_size(const struct probe_ops *ops);

/* A socket of the family, nonblocking and set up as settings.socket says for the link with this
 * index. -1 with errno. */
int probe_socket(const struct probe *probe, int family, int type, unsigned index);

/* fini is for what init has taken: an operation `close` calls it. */
void probe_link_init(struct probe_link *link, const struct probe_ops *ops, struct probe *probe,
                     unsigned index);
void probe_link_fini(struct probe_link *link);

/* Mark a link as closed, and watch it no more; `error` is errno, or 0 if the peer ended it in good
 * order. */
void probe_link_close(struct probe_link *link, int error);

/* Watches must be initialised before they are used. */
void probe_watch_init(struct probe_watch *watch, struct probe_link *link, int fd);

/* Wake the link for `events` on the descriptor from now on; with 0 no more (before it is closed).
 * -1 with errno. */
int probe_watch(struct probe_watch *watch, short events);

#endif
