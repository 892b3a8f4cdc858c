/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_UTIL_H
#define ECHOD_COMMON_UTIL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* glibc 2.31 and older have no name for this protocol. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* How many elements an array has. */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The address of the struct `type` whose `member` is at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Parse decimal digits: no sign, blank or fraction; leading zeros are ignored. False if `text` is
 * anything else or the number is more than `max`; *number is then unchanged. */
bool parse_number(const char *text, uint64_t max, uint64_t *number);

/* The control messages of msg_control in turn: the one after `previous`, or for NULL the first.
 * NULL if no further one is there whole. For cmsg(3)'s macros: those of some C libraries do not
 * compile without warnings, or want the room to be zeroed. */
const struct cmsghdr *next_control_message(const struct msghdr *message,
                                           const struct cmsghdr *previous);

/* Append a control message (cmsg(3)) to msg_control, which has room for CMSG_SPACE(length) beyond
 * msg_controllen. */
void add_control_message(struct msghdr *message, int level, int type, const void *data,
                         size_t length);

#endif
