/* SPDX-License-Identifier: ISC */
/* A UDP echo server that misbehaves by rules:
 *
 *     responder [-6] [-l FILE] [RULE...]
 *
 * A rule is KIND[=VALUE]@FIRST[/STEP[-LAST]]: it applies to the probes FIRST, FIRST + STEP, ... up
 * to LAST. The first rule that applies decides; without any, a probe is echoed at once. A probe's
 * number is the first 8 octets of its payload, least significant first; those of a shorter one as
 * far as they go; of an empty one, how many datagrams have come.
 *
 *     drop          no answer
 *     delay=USEC    answer so many microseconds after it came
 *     late=USEC     the same, counted apart
 *     repeat=N      N answers at once
 *     reorder       answer right after the next answer to another probe
 *     truncate=N    answer with the first N octets
 *     corrupt=N     flip all bits of octet N
 *     wrong_port    answer from another port
 *
 * Prints the port that it listens on, on 127.0.0.1 or ::1 (-6). At the end of standard input, or on
 * SIGTERM or SIGINT, prints as one JSON object how many datagrams came, how many answers it sent,
 * and to how many probes each kind of rule applied. FILE gets a record for every answer, in the
 * order of sending (struct record). Exit status: 0, 1 for a failure, 2 for wrong usage. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND    UINT64_C(1000000000)
#define MAX_RULES 64
#define ROOM      65536
#define BATCH     64

/* What comes while this process waits for a CPU must fit; the kernel's limits may cap it. */
#define BUFFER (64 * 1024 * 1024)

enum kind { PLAIN, DROP, DELAY, LATE, REPEAT, REORDER, TRUNCATE, CORRUPT, WRONG_PORT, KINDS };

static const char *const kind_names[KINDS] = {
    "plain", "drop", "delay", "late", "repeat", "reorder", "truncate", "corrupt", "wrong_port"};

struct rule {
    enum kind kind;
    uint64_t value, first, step, last;
    struct datagram *oldest, *newest; /* of what it delays: the oldest is due first */
};

/* Native byte order. */
struct record {
    uint64_t seq;
    uint64_t kind;
    uint64_t
        delay; /* from its arrival by the kernel's clock to right before sending; nanoseconds */
};

struct datagram {
    uint64_t seq;
    struct datagram *next;
    uint64_t arrived, due; /* nanoseconds, CLOCK_REALTIME as the kernel's timestamps */
    struct rule *rule;
    struct sockaddr_storage from;
    socklen_t from_len;
    size_t len;
    uint8_t octets[];
};

struct responder {
    struct rule rules[MAX_RULES + 1]; /* the last one, of kind PLAIN, applies to all */
    size_t rule_count;
    int fd, wrong_fd, signals;
    FILE *log;
    struct datagram *held; /* to be sent after the next answer */
    uint64_t came, sent, failed, unstamped;
    uint32_t overflow; /* datagrams that the kernel had no room for */
    uint64_t applied[KINDS];
    uint8_t in[ROOM];
};

static __attribute__((noreturn, format(printf, 2, 3))) void die(int status, const char *format, ...)
{
    va_list arguments;

    fputs("responder: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

static uint64_t nanoseconds(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * SECOND + (uint64_t)t->tv_nsec;
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return nanoseconds(&t);
}

/* ---- rules ---- */

/* The number after the character, if that comes next; else the default. */
static uint64_t number_after(const char **text, char character, uint64_t otherwise)
{
    char *end;
    uint64_t value;

    if (**text != character)
        return otherwise;
    errno = 0;
    value = strtoull(*text + 1, &end, 10);
    if (end == *text + 1 || errno != 0)
        die(2, "'%s': a number must follow '%c'", *text, character);
    *text = end;
    return value;
}

static void parse_rule(struct rule *rule, const char *argument)
{
    size_t length = strcspn(argument, "=@");
    const char *rest = argument + length;
    enum kind kind = DROP;

    while (kind < KINDS &&
           (strlen(kind_names[kind]) != length || memcmp(kind_names[kind], argument, length) != 0))
        kind++;
    if (kind == KINDS)
        die(2, "rule '%s': no such kind", argument);
    rule->kind = kind;
    rule->value = number_after(&rest, '=', 0);
    if (*rest != '@')
        die(2, "rule '%s': KIND[=VALUE]@FIRST[/STEP[-LAST]] is allowed", argument);
    rule->first = number_after(&rest, '@', 0);
    rule->last = *rest == '/' ? UINT64_MAX : rule->first;
    rule->step = number_after(&rest, '/', 1);
    rule->last = number_after(&rest, '-', rule->last);
    if (*rest != '\0' || rule->step == 0)
        die(2, "rule '%s': KIND[=VALUE]@FIRST[/STEP[-LAST]] is allowed", argument);
}

static struct rule *rule_for(struct responder *responder, uint64_t seq)
{
    struct rule *rule = responder->rules;

    while (rule->kind != PLAIN &&
           (seq < rule->first || seq > rule->last || (seq - rule->first) % rule->step != 0))
        rule++;
    return rule;
}

/* ---- answers ---- */

static void send_once(struct responder *responder, const struct datagram *datagram, size_t len)
{
    int fd = datagram->rule->kind == WRONG_PORT ? responder->wrong_fd : responder->fd;
    uint64_t at = now();
    struct record record = {.seq = datagram->seq,
                            .kind = (uint64_t)datagram->rule->kind,
                            .delay = at > datagram->arrived ? at - datagram->arrived : 0};

    if (sendto(fd, datagram->octets, len, 0, (const struct sockaddr *)&datagram->from,
               datagram->from_len) < 0) {
        responder->failed++;
        return;
    }
    responder->sent++;
    if (responder->log)
        fwrite(&record, sizeof record, 1, responder->log);
}

/* Send what the rule makes of the datagram, and free it. */
static void answer(struct responder *responder, struct datagram *datagram)
{
    const struct rule *rule = datagram->rule;
    struct datagram *held = responder->held;
    size_t len = datagram->len;
    uint64_t times = rule->kind == REPEAT ? rule->value : 1;

    if (rule->kind == TRUNCATE && rule->value < len)
        len = rule->value;
    if (rule->kind == CORRUPT && rule->value < len)
        datagram->octets[rule->value] ^= 0xff;
    for (uint64_t i = 0; i < times; i++)
        send_once(responder, datagram, len);
    free(datagram);
    if (held) {
        responder->held = NULL;
        answer(responder, held);
    }
}

static void delay(struct datagram *datagram)
{
    struct rule *rule = datagram->rule;

    datagram->due = datagram->arrived + rule->value * 1000;
    datagram->next = NULL;
    if (rule->oldest)
        rule->newest->next = datagram;
    else
        rule->oldest = datagram;
    rule->newest = datagram;
}

/* The rule that delays what is due first; NULL: nothing is delayed. */
static struct rule *next_due(struct responder *responder)
{
    struct rule *next = NULL;

    for (struct rule *rule = responder->rules; rule->kind != PLAIN; rule++)
        if (rule->oldest && (!next || rule->oldest->due < next->oldest->due))
            next = rule;
    return next;
}

/* Answer what is due. Returns how long until the next one is; NULL: there is none. */
static struct timespec *answer_due(struct responder *responder, struct timespec *rest)
{
    struct rule *rule;

    while ((rule = next_due(responder)) != NULL) {
        struct datagram *oldest = rule->oldest;
        uint64_t at = now();

        if (oldest->due > at) {
            uint64_t wait = oldest->due - at;

            *rest = (struct timespec){(time_t)(wait / SECOND), (long)(wait % SECOND)};
            return rest;
        }
        rule->oldest = oldest->next;
        answer(responder, oldest);
    }
    return NULL;
}

static void handle(struct responder *responder, struct datagram *datagram)
{
    enum kind kind = datagram->rule->kind;

    responder->applied[kind]++;
    if (kind == DROP) {
        free(datagram);
    } else if (kind == DELAY || kind == LATE) {
        delay(datagram);
    } else if (kind == REORDER && !responder->held) {
        responder->held = datagram;
    } else {
        answer(responder, datagram);
    }
}

/* ---- requests ---- */

static uint64_t sequence(const struct responder *responder, size_t len)
{
    uint64_t little = 0;

    memcpy(&little, responder->in, len < sizeof little ? len : sizeof little);
    return len == 0 ? responder->came : le64toh(little);
}

static uint64_t arrival(struct responder *responder, struct msghdr *msg)
{
    struct timespec stamp = {0, 0};

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET)
            continue;
        if (cmsg->cmsg_type == SCM_TIMESTAMPNS)
            memcpy(&stamp, CMSG_DATA(cmsg), sizeof stamp);
        if (cmsg->cmsg_type == SO_RXQ_OVFL)
            memcpy(&responder->overflow, CMSG_DATA(cmsg), sizeof responder->overflow);
    }
    if (stamp.tv_sec != 0)
        return nanoseconds(&stamp);
    responder->unstamped++;
    return now();
}

/* Returns false if there is nothing more. */
static bool receive(struct responder *responder)
{
    char control[256] __attribute__((aligned(8)));
    struct sockaddr_storage from;
    struct iovec iov = {responder->in, sizeof responder->in};
    struct msghdr msg = {.msg_name = &from,
                         .msg_namelen = sizeof from,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};
    ssize_t len = recvmsg(responder->fd, &msg, MSG_DONTWAIT);
    struct datagram *datagram;

    if (len < 0)
        return false;
    responder->came++;
    datagram = malloc(sizeof *datagram + (size_t)len);
    if (!datagram)
        die(1, "out of memory");
    datagram->seq = sequence(responder, (size_t)len);
    datagram->rule = rule_for(responder, datagram->seq);
    datagram->arrived = arrival(responder, &msg);
    datagram->from = from;
    datagram->from_len = msg.msg_namelen;
    datagram->len = (size_t)len;
    memcpy(datagram->octets, responder->in, (size_t)len);
    handle(responder, datagram);
    return true;
}

/* Until it is time to stop. */
static void serve(struct responder *responder)
{
    struct pollfd fds[] = {{.fd = responder->fd, .events = POLLIN},
                           {.fd = responder->signals, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};

    while (!fds[1].revents && !fds[2].revents) {
        struct timespec rest;

        if (ppoll(fds, 3, answer_due(responder, &rest), NULL) < 0 && errno != EINTR)
            die(1, "ppoll: %s", strerror(errno));
        for (unsigned i = 0; i < BATCH && receive(responder); i++)
            ;
    }
}

/* ---- start and end ---- */

static int open_socket(int family)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *sa = family == AF_INET ? (void *)&in : (void *)&in6;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int size = BUFFER, on = 1;

    if (fd < 0 || bind(fd, sa, family == AF_INET ? sizeof in : sizeof in6) < 0)
        die(1, "cannot listen on %s: %s", family == AF_INET ? "127.0.0.1" : "::1", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on) < 0)
        die(1, "setsockopt: %s", strerror(errno));
    return fd;
}

/* One CPU for all, or answers could overtake each other on their way through the kernel. */
static void settle(void)
{
    cpu_set_t cpus;
    int cpu = sched_getcpu();

    CPU_ZERO(&cpus);
    if (cpu >= 0)
        CPU_SET((unsigned)cpu, &cpus);
    if (cpu < 0 || sched_setaffinity(0, sizeof cpus, &cpus) < 0 ||
        prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL) < 0)
        die(1, "cannot settle on a CPU: %s", strerror(errno));
}

static void put_counts(const struct responder *responder)
{
    printf("{\"came\": %" PRIu64 ", \"answers\": %" PRIu64 ", \"failed\": %" PRIu64
           ", \"unstamped\": %" PRIu64 ", \"overflow\": %" PRIu32,
           responder->came, responder->sent, responder->failed, responder->unstamped,
           responder->overflow);
    for (enum kind kind = PLAIN; kind < KINDS; kind++)
        printf(", \"%s\": %" PRIu64, kind_names[kind], responder->applied[kind]);
    printf("}\n");
}

int main(int argc, char **argv)
{
    static struct responder responder;
    struct sockaddr_in6 address = {0}; /* of either family: the port is in the same place */
    int family = AF_INET;
    sigset_t mask;
    int option;

    while ((option = getopt(argc, argv, "6l:")) != -1) {
        if (option == '6') {
            family = AF_INET6;
        } else if (option != 'l' || responder.log) {
            die(2, "usage: responder [-6] [-l FILE] [RULE...]");
        } else {
            responder.log = fopen(optarg, "wbe");
            if (!responder.log)
                die(1, "cannot write %s: %s", optarg, strerror(errno));
        }
    }
    for (; optind < argc; optind++) {
        if (responder.rule_count == MAX_RULES)
            die(2, "more than %d rules", MAX_RULES);
        parse_rule(&responder.rules[responder.rule_count++], argv[optind]);
    }
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    responder.signals = signalfd(-1, &mask, SFD_CLOEXEC);
    responder.fd = open_socket(family);
    responder.wrong_fd = open_socket(family);
    settle();
    getsockname(responder.fd, (struct sockaddr *)&address, &(socklen_t){sizeof address});
    printf("%u\n", ntohs(address.sin6_port));
    fflush(stdout);
    serve(&responder);
    put_counts(&responder);
    if ((responder.log && fclose(responder.log) != 0) || fflush(stdout) != 0)
        die(1, "cannot write: %s", strerror(errno));
    return 0;
}
