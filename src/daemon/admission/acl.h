/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_ACL_H
#define ECHOD_DAEMON_ADMISSION_ACL_H

#include <stdbool.h>

#include "common/addr.h"
#include "common/prefix.h"

/* The access list: which sources are served, over TCP and over UDP. All zeros allows everybody. */
struct acl {
    const struct prefix_set *set; /* prefixes with ACL_ALLOW or ACL_DENY; borrowed; NULL: empty */
    bool only_listed;             /* deny a source that is in no prefix of the set */
};

/* The values of a prefix in the set. A prefix that is listed with both is denied, because
 * prefix_set_add() keeps the greater value. */
enum { ACL_ALLOW = 1, ACL_DENY };

/* The longest prefix that matches decides. */
bool acl_allows(const struct acl *access, const struct addr *source);

#endif
