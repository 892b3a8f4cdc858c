/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_EXPORTER_TEXTFILE_H
#define ECHOD_EXPORTER_TEXTFILE_H

#include <stddef.h>

/* Replace `path` by a file of mode 0644 with this text: a reader sees the old file or the new one.
 * -1 with errno: the old file is as it was, and no other file is left. */
int textfile_write(const char *path, const char *text, size_t length);

#endif
