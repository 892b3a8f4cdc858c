/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

#include <errno.h>

void seccomp_filter_prepare(void)
{
}

void seccomp_filter_allow_mptcp(void)
{
}

int seccomp_filter_install(void)
{
    errno = ENOSYS;
    return -1;
}

const char *seccomp_filter_unchecked(void)
{
    return NULL;
}

unsigned long seccomp_filter_refused(void)
{
    return 0;
}

const char *seccomp_filter_refused_call(size_t index, char buf[static SECCOMP_CALL_STRLEN])
{
    (void)index;
    (void)buf;
    return NULL;
}
