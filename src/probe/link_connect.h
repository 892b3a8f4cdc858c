/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_LINK_CONNECT_H
#define ECHOD_PROBE_LINK_CONNECT_H

#include "probe/engine.h"

/* TCP, a connection for each probe. */
extern const struct probe_ops probe_connect_ops;

#endif
