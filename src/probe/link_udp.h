/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_LINK_UDP_H
#define ECHOD_PROBE_LINK_UDP_H

#include "probe/engine.h"

/* Datagrams from one port. */
extern const struct probe_ops probe_udp_ops;

#endif
