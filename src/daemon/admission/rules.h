/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_RULES_H
#define ECHOD_DAEMON_ADMISSION_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "common/prefix.h"
#include "daemon/admission/acl.h"
#include "daemon/admission/ratelimit.h"
#include "daemon/conf/conf.h"

/* A configuration's `access` and `limits` in the form that workers consult: sets that all share and
 * nobody changes, and a table of budgets for each worker, which together remember table-size
 * sources. A source that several workers serve, because it uses many ports, has a budget in each.
 * Made before it takes effect, so that it takes effect whole. */
struct rules {
    struct acl access;
    struct prefix_set *listed; /* what access refers to */
    struct prefix_set *exempt;
    struct ratelimit **budgets; /* one for each worker; NULL where there are no limits */
    size_t workers;
};

/* Changes the key, so that no two tables have the same. NULL with errno. */
struct rules *rules_new(const struct conf *conf, size_t workers, uint64_t key[static 2]);

/* Nobody may consult it any more. NULL is allowed. */
void rules_free(struct rules *policy);

/* A worker's budgets, or NULL. */
struct ratelimit *rules_ratelimit(const struct rules *policy, size_t worker);

#endif
