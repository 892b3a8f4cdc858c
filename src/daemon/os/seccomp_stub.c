/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

void callfilter_prepare(void)
{
}

int callfilter_install(void)
{
    return 0;
}
