/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_EVICT_H
#define ECHOD_DAEMON_TCP_EVICT_H

#include <stdbool.h>

#include "common/clock.h"
#include "daemon/tcp/connection.h"

/* At the limit of connections, a new client displaces a connection that hardly uses the service.
 *
 * A connection can be evicted once it has been open for EVICT_MIN_AGE, if its client has lately
 * sent less than CONNECTION_USEFUL_RATE octets a second; if there is none such, a busy one whose
 * source has more than its share of all slots, which is 1/EVICT_SHARE of them and at least
 * EVICT_SHARE_MIN. The choice is made among a sample of the least and the most recently active
 * connections: the source with the most connections loses one, the least recently active first. If
 * the sample has none, some others are looked at, and different ones the next time. So nobody keeps
 * others out by holding many connections and sending an octet now and then. */

#define EVICT_MIN_AGE   (500 * MILLISECOND)
#define EVICT_SHARE     16
#define EVICT_SHARE_MIN 8

/* End a connection for a client of this worker. True: the caller has its slot. After the limit was
 * lowered this ends as many connections as that takes. False: there is no slot to be had. */
bool evict_for_client(struct connections *set);

/* If another worker waits for a slot and this one has a connection that can be evicted, evict it
 * and release its slot, which goes to a worker that waits. */
void evict_for_other_workers(struct connections *set);

#endif
