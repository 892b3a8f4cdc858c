/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_CONF_CONF_VALUE_H
#define ECHOD_DAEMON_CONF_CONF_VALUE_H

/* The values of struct conf, each of a kind, as text. Private to conf.c. */

enum value_kind { BOOLEAN, NUMBER, USER, GROUP, TARGET, LEVEL, LISTEN, PORTS, PREFIXES };

/* The value at a member of struct conf. Returns allocated text, NULL without memory. */
char *value_print(enum value_kind kind, const void *at);

#endif
