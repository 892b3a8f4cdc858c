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

/* Without CMSG_NXTHDR: glibc's reads the length of the next header, so the room had to be zeroed.
 */
void add_control_message(struct msghdr *message, int level, int type, const void *data,
                         size_t length)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)message->msg_control + message->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}
