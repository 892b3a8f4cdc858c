/* SPDX-License-Identifier: ISC */
#include "common/util.h"

#include <string.h>

bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;

    if (text[0] == '\0')
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (*text < '0' || *text > '9' || value > max / 10 || digit > max - value * 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

const struct cmsghdr *next_control_message(const struct msghdr *message,
                                           const struct cmsghdr *previous)
{
    const char *room = message->msg_control;
    size_t end = message->msg_controllen;
    size_t at =
        previous ? (size_t)((const char *)previous - room) + CMSG_ALIGN(previous->cmsg_len) : 0;
    const struct cmsghdr *next = (const struct cmsghdr *)(const void *)(room + at);

    if (at > end || end - at < sizeof *next)
        return NULL;
    return next->cmsg_len >= sizeof *next && next->cmsg_len <= end - at ? next : NULL;
}

void add_control_message(struct msghdr *message, int level, int type, const void *data,
                         size_t length)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)message->msg_control + message->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    /* Their types differ between C libraries. */
    c->cmsg_len = (__typeof__(c->cmsg_len))CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    message->msg_controllen += (__typeof__(message->msg_controllen))CMSG_SPACE(length);
}
