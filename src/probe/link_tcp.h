/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_LINK_TCP_H
#define ECHOD_PROBE_LINK_TCP_H

#include "probe/engine.h"

/* One connection for the whole run. */
extern const struct probe_ops probe_tcp_ops;

#endif
