/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_CONF_COMPARE_H
#define ECHOD_DAEMON_CONF_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf/conf.h"

/* What differs between two configurations, in words. */

/* Is given a key that differs, both of its values as text, cut to 200 octets, and whether the
 * change takes effect only at a restart. */
typedef void conf_change(void *context, const char *key, const char *before, const char *after,
                         bool needs_restart);

/* Compare two configurations key by key. Returns how many keys differ. Without memory for the text
 * of a value its key counts as different, and the text is "?". */
size_t conf_compare(const struct conf *before, const struct conf *after, conf_change *each,
                    void *context);

#endif
