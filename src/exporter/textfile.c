/* SPDX-License-Identifier: ISC */
#include "exporter/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);

        if (n < 0 && errno != EINTR)
            return false;
        text += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* node_exporter reads "*.prom", which the name of the temporary file does not match. */
int textfile_write(const char *path, const char *text, size_t length)
{
    char temporary[PATH_MAX];
    int fd, error;
    bool ok;

    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -1;
    ok = write_all(fd, text, length) && fchmod(fd, 0644) == 0;
    error = errno;
    if (close(fd) < 0 && ok) {
        error = errno;
        ok = false;
    }
    if (ok && rename(temporary, path) < 0) {
        error = errno;
        ok = false;
    }
    if (!ok)
        unlink(temporary);
    errno = error;
    return ok ? 0 : -1;
}
