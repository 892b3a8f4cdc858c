/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

void seccomp_filter_prepare(void)
{
}

int seccomp_filter_install(void)
{
    return 0;
}
