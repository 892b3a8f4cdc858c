/* SPDX-License-Identifier: ISC */
#include "daemon/admission/acl.h"

bool acl_allows(const struct acl *access, const struct addr *source)
{
    uint8_t listed = access->set ? prefix_set_find(access->set, source) : 0;

    return listed == 0 ? !access->only_listed : listed == ACL_ALLOW;
}
