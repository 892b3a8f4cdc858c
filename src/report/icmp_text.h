/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_ICMP_TEXT_H
#define ECHOD_REPORT_ICMP_TEXT_H

#include "probe/engine.h"

/* Enough for every text of icmp_print(). */
#define ICMP_TEXT 160

/* What an ICMP message says and who sent it: "192.0.2.254 reports network unreachable (ICMP type 3,
 * code 0)". Returns buf. Names are those of RFC 792, RFC 1812 and RFC 4443. */
const char *icmp_print(const struct probe_icmp *icmp, char buf[static ICMP_TEXT]);

#endif
