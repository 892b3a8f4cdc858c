/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_MTU_TEXT_H
#define ECHOD_REPORT_MTU_TEXT_H

#include <stdio.h>

#include "probe/mtu.h"

/* What --mtu finds, for people: the result, and one probe on one line. */
void mtu_print(FILE *out, const struct mtu_result *result);
void mtu_print_probe(FILE *out, const struct mtu_probe *probe);

#endif
