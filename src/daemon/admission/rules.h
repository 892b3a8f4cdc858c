/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_RULES_H
#define ECHOD_DAEMON_ADMISSION_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "common/prefix.h"
#include "daemon/admission/acl.h"
#include "daemon/admission/ratelimit.h"
#include "daemon/conf/conf.h"

/* A configuration's `access` and `limits`, ready to consult, for all workers: sets of prefixes,
 * which all share and nobody changes, and a rate limit for each worker. The tables of the rate
 * limits hold table-size sources together; a source that uses several ports may be in the tables of
 * several workers. The rules are made before they are put into force, so that they fail as a whole.
 */
struct rules {
    struct acl access;
    struct prefix_set *listed;     /* the set of `access`; NULL: empty */
    struct prefix_set *exempt;     /* the set of the rate limits; NULL: empty */
    struct ratelimit **ratelimits; /* one for each worker; NULL: no limit */
    size_t workers;                /* how many rate limits there are */
};

/* Changes the key, so that no two tables have the same one. NULL with errno. */
struct rules *rules_new(const struct conf *conf, size_t workers, uint64_t key[static 2]);

/* No worker may use the rules any more. NULL is allowed. */
void rules_free(struct rules *rules);

/* The rate limit of a worker, NULL if there is none. */
struct ratelimit *rules_ratelimit(const struct rules *rules, size_t worker);

#endif
