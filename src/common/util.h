/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_UTIL_H
#define ECHOD_COMMON_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* How many elements an array has. */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The struct of that type whose member a pointer points to. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Decimal digits and nothing else: no sign, blank or fraction. A leading zero is allowed and means
 * nothing. False if `text` is not such a number, or more than `max`; *number is then unchanged. */
bool parse_number(const char *text, uint64_t max, uint64_t *number);

/* Append a control message (cmsg(3)) to msg_control, which has room for CMSG_SPACE(length) beyond
 * msg_controllen. */
void add_control_message(struct msghdr *message, int level, int type, const void *data,
                         size_t length);

#endif
