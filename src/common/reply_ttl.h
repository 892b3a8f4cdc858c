/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_REPLY_TTL_H
#define ECHOD_COMMON_REPLY_TTL_H

/* The TTL or hop limit that our replies start with: the sockets set it, and loopguard.h knows a
 * reply of another echod by it. Other hosts start with at most REPLY_TTL_OTHERS, or with 255. */
#define REPLY_TTL        168
#define REPLY_TTL_OTHERS 128

#endif
