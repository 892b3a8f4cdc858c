/* SPDX-License-Identifier: ISC */
/* For LD_PRELOAD: setsockopt(2) behaves as on a kernel without UDP_GRO. */
#include <errno.h>
#include <netinet/udp.h>
#include <sys/syscall.h>
#include <unistd.h>

int setsockopt(int fd, int level, int option, const void *value, unsigned length)
{
    if (level != SOL_UDP || option != UDP_GRO)
        return (int)syscall(SYS_setsockopt, fd, level, option, value, length);
    errno = ENOPROTOOPT;
    return -1;
}
