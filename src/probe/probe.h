/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_PROBE_H
#define ECHOD_PROBE_PROBE_H

#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/clock.h"
#include "probe/payload.h"
#include "probe/rtt.h"

/* The engine: when to send which probe through which socket, which probe a reply belongs to, and
 * the counters. How octets travel is the business of a link (one ops table for each way); what
 * users see is the business of the listener. All times are nanoseconds, points in time are
 * CLOCK_MONOTONIC. */

/* How long a reply may take where no timeout is set. */
#define PROBE_TIMEOUT (10 * SECOND)

/* So many probes are remembered; older ones are lost if they were not answered. A power of two. */
#define PROBE_MEMORY 65536

#define PROBE_MAX_LINKS 4096

/* How sockets are set up. */
struct probe_socket {
    struct addr source;       /* len 0: the kernel's choice; its port does not count */
    uint16_t port;            /* of link 0; those of the others follow. 0: any */
    char device[IF_NAMESIZE]; /* "": any */
    int tos;                  /* -1: the system's default */
    int ttl;                  /* the same */
    int pmtu;                 /* IP_PMTUDISC_...; -1: UDP fragments what is too large */
};

struct probe_settings {
    uint64_t count;     /* 0: until stopped */
    uint64_t interval;  /* from one probe to the next; with a window, how long a probe that is not
                           answered takes a place in it */
    uint64_t timeout;   /* for one reply; 0: PROBE_TIMEOUT, and after the last probe only twice the
                           longest round trip */
    uint64_t deadline;  /* for the whole run; 0: none */
    uint64_t duration;  /* no more probes after so long; 0: as long as it takes */
    uint64_t tick;      /* how often to emit PROBE_TICK; 0: never */
    size_t size;        /* octets of payload */
    unsigned preload;   /* probes sent at once in the beginning */
    unsigned window;    /* so many probes of a link may be unanswered, and the next is sent as soon
                           as there are fewer; 0: the interval alone decides */
    unsigned links;     /* sockets or connections, taken in turn */
    bool kernel_stamps; /* UDP: times from the kernel, where it gives them */
    bool overdue;       /* emit PROBE_OVERDUE */
    struct probe_socket socket;
};

/* One probe a second over one socket, until stopped. */
extern const struct probe_settings probe_defaults;

struct probe_counters {
    uint64_t sent;
    uint64_t received;  /* verified, first and in time; only these */
    uint64_t reordered; /* of those received: after the reply to a later probe of the same link */
    uint64_t duplicate;
    uint64_t late;
    uint64_t corrupt;
    uint64_t truncated;
    uint64_t wrong_source;
    uint64_t foreign; /* not a reply to any of our probes */
    uint64_t refused;
    uint64_t errors;  /* all other errors that the network or the kernel reported for a probe */
    uint64_t delayed; /* of those sent: later than the schedule says; round trips of these count
                         from when they were due */
    uint64_t stamped; /* of those received: round trips by the kernel's clock at both ends */
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
    PROBE_OVERDUE, /* not answered when the next probe is sent */
    PROBE_ERROR,   /* for one probe */
    PROBE_CLOSED,  /* a connection is gone: error is 0 where the peer ended it in good order */
    PROBE_FAILURE, /* the link could not be opened, or the engine cannot go on */
    PROBE_STATUS,  /* the user asks for the figures so far */
    PROBE_TICK,    /* settings.tick has passed */
};

struct probe_event {
    enum probe_event_kind kind;
    const char *text;        /* PROBE_FAILURE: the reason where no errno tells; else NULL */
    int error;               /* errno of PROBE_ERROR, PROBE_CLOSED, PROBE_FAILURE */
    uint64_t seq;            /* 0: not known */
    uint64_t time;           /* round trip; PROBE_CONNECTED: how long that took; 0: not known */
    uint64_t connect;        /* how long this probe's own connection took; 0: it has none */
    size_t size;             /* octets received */
    const uint8_t *octets;   /* ... themselves; NULL: not all of them are there */
    size_t wrong;            /* PROBE_CORRUPT: index of the first wrong octet */
    bool reordered;          /* PROBE_RECEIVED */
    const struct addr *from; /* who sent it; NULL: this host's own kernel */
    const struct probe_link *link; /* through which it came; NULL: none */
};

/* Returns false if the run must end because nothing can be said any more. */
typedef bool probe_listener(void *context, const struct probe_event *event);

struct probe;
struct probe_link;
struct probe_ops;

/* A descriptor that wakes its link. */
struct probe_watch {
    struct probe_link *link;
    int fd;
    short events; /* as in poll(2); 0: not watched. Set by probe_watch() */
};

/* One socket, or the way to make one for each probe; the first member of the protocol's own struct.
 */
struct probe_link {
    const struct probe_ops *ops;
    struct probe *probe;
    unsigned index;
    struct addr peer;
    struct probe_watch watch;
    uint16_t port;       /* of this end, host order; 0: it differs */
    bool opening;        /* until probe_connected() or probe_failed() */
    bool blocked;        /* takes no probes until it says so */
    bool closed;         /* takes no more at all */
    unsigned unanswered; /* probes that take a place in the window */
    uint64_t sent;
    uint64_t received;
    uint64_t highest; /* latest probe received */
    struct rtt rtt;
};

struct probe_ops {
    const char *name; /* "tcp", "udp" */
    int type;         /* SOCK_STREAM, SOCK_DGRAM */

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

    void (*close)(struct probe_link *link);
};
extern const struct probe_ops probe_tcp_ops;
extern const struct probe_ops probe_connect_ops; /* TCP, a connection for each probe */
extern const struct probe_ops probe_udp_ops;

struct probe_slot {
    uint64_t sent_at;
    uint64_t stamp;    /* when the kernel sent it, CLOCK_REALTIME; 0: not known */
    uint64_t connect;  /* how long its own connection took; 0: it has none */
    uint64_t time;     /* round trip; 0: it was not received in time */
    uint32_t delay;    /* how much later than due it was sent, where that counts */
    uint16_t link;     /* index */
    bool held : 1;     /* ... because the network did not take it */
    bool placed : 1;   /* takes a place in its link's window */
    bool received : 1; /* a good reply came, in time or late */
    bool waiting;      /* neither answered in any way nor given up */
};

struct probe {
    struct probe_settings settings;
    struct probe_counters counters;
    struct rtt rtt;
    struct rtt connect; /* of connections: how long they took */
    struct payload payload;

    probe_listener *listener;
    void *context;

    struct probe_link **links;
    unsigned opened; /* how many there are */
    unsigned next;   /* whose turn it is */

    struct probe_slot *slots; /* probe seq is in slot seq % PROBE_MEMORY */
    uint64_t oldest;          /* all before this one are answered or given up */
    uint64_t placed;          /* none before this one takes a place in a window */
    uint64_t waiting;         /* how many slots are */

    uint64_t due;     /* when to send the next one */
    uint64_t started; /* first and latest probe sent */
    uint64_t latest;
    uint64_t deadline; /* 0: none */
    uint64_t ticked;   /* latest PROBE_TICK */

    int epoll;
    int signals;       /* signalfd, or -1 */
    sigset_t old_mask; /* what to go back to */
    bool held;         /* the network did not take a probe when it was due */
    bool stopped;
    bool closed; /* the peer ended the last connection */
    int status;  /* of a run that failed: what to exit with; else 0 */
};

/* Make ready to open links and run; what is sent may be set in probe->payload afterwards. -1 with
 * errno. */
int probe_init(struct probe *probe, const struct probe_settings *settings, probe_listener *listener,
               void *context);
void probe_fini(struct probe *probe);

/* The largest and smallest payload of a protocol over an address family (AF_UNSPEC: over either).
 */
size_t probe_max_size(const struct probe_ops *ops, int family);
size_t probe_min_size(const struct probe_ops *ops);

/* Open all links to a peer. From here to probe_fini(), SIGINT, SIGTERM and SIGQUIT are taken by the
 * engine. -1: the listener was told why; another peer may be tried unless probe->stopped. */
int probe_open(struct probe *probe, const struct probe_ops *ops, const struct addr *peer);

/* Send and receive until the settings, a signal, the peer or the listener ends it. Returns how long
 * that took. */
uint64_t probe_run(struct probe *probe);

/* ping(8)'s exit status: 0 at least one reply (with count and deadline: all), 1 none or too few, 2
 * any other error. */
int probe_status(const struct probe *probe);

/* How long the run has lasted, from the first probe. */
uint64_t probe_elapsed(const struct probe *probe, uint64_t now);

/* ---- for links ---- */

/* Tell the listener. */
void probe_emit(struct probe *probe, const struct probe_event *event);

/* Octets that arrived, and where they lie. */
struct probe_arrival {
    const struct addr *from;
    const uint8_t *octets; /* NULL: not all of them are there */
    size_t size;
    uint64_t now;
    uint64_t stamp; /* when the kernel received them, CLOCK_REALTIME; 0: not known */
};

/* A socket of the family, nonblocking and set up as settings.socket says for this link. -1 with
 * errno. */
int probe_socket(const struct probe *probe, int family, int type, unsigned index);

void probe_link_init(struct probe_link *link, const struct probe_ops *ops, struct probe *probe,
                     unsigned index);

/* Wake the link for `events` on the descriptor from now on; with 0 no more (before it is closed).
 * -1 with errno. */
int probe_watch(struct probe_watch *watch, short events);

/* The oldest probe that waits for its reply; 0 if none does. */
uint64_t probe_oldest_waiting(struct probe *probe);

/* Octets were found to be what `identity` says. */
void probe_reply(struct probe_link *link, const struct payload_identity *identity,
                 const struct probe_arrival *arrival);

/* The kernel sent probe `seq` at `stamp`, CLOCK_REALTIME. */
void probe_stamp(struct probe *probe, uint64_t seq, uint64_t stamp);

/* The network (from != NULL) or the kernel could not deliver probe `seq` (0: not known which). */
void probe_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                 uint64_t now);

/* The connection for the whole run, or (seq != 0) that of one probe, whose round trip begins now,
 * is there. */
void probe_connected(struct probe_link *link, uint64_t seq, uint64_t time);

/* The peer ended the connection; error is 0 if it did so in good order. Ends the run with the last
 * link, if replies were still to come. */
void probe_closed(struct probe_link *link, int error);

/* A link could not be opened (NULL: something else failed); `status` is what to exit with if that
 * was the last resort. */
void probe_failed(struct probe *probe, const struct addr *peer, int error, int status);

/* ---- for tests: the parts of probe_run() with time passed in ---- */

/* Give up what waited too long, send what is due. Returns when to be called again at the latest. */
uint64_t probe_turn(struct probe *probe, uint64_t now);

bool probe_finished(const struct probe *probe, uint64_t now);

#endif
