/* SPDX-License-Identifier: ISC */
#include "daemon/os/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Headers may be older than the kernel. Most architectures share the numbers of newer calls; Alpha
 * and MIPS have others. */
#ifdef SYS_landlock_create_ruleset
#define CREATE_RULESET SYS_landlock_create_ruleset
#define ADD_RULE       SYS_landlock_add_rule
#define RESTRICT_SELF  SYS_landlock_restrict_self
#elif !defined __alpha__ && !defined __mips__
#define CREATE_RULESET 444
#define ADD_RULE       445
#define RESTRICT_SELF  446
#else
#define CREATE_RULESET (-1) /* fails with ENOSYS */
#define ADD_RULE       (-1)
#define RESTRICT_SELF  (-1)
#endif

struct ruleset {
    uint64_t files, net, scope;
};

struct path_rule {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

#define ASK_VERSION  1u /* flag of CREATE_RULESET */
#define PATH_BENEATH 1  /* type of rule */

#define READ_FILE      (UINT64_C(1) << 2)
#define READ_DIR       (UINT64_C(1) << 3)
#define CONNECT_TCP    (UINT64_C(1) << 1)
#define ABSTRACT_UNIX  (UINT64_C(1) << 0)
#define SIGNALS        (UINT64_C(1) << 1)
#define UP_TO_BIT(bit) ((UINT64_C(2) << (bit)) - 1)

/* Everything that an ABI can restrict, except for bind(2): a reload may want any port. */
static struct ruleset restrictions(int abi)
{
    struct ruleset ruleset = {.files = UP_TO_BIT(12)};

    if (abi >= 2)
        ruleset.files = UP_TO_BIT(13);
    if (abi >= 3)
        ruleset.files = UP_TO_BIT(14);
    if (abi >= LANDLOCK_ABI_TCP)
        ruleset.net = CONNECT_TCP;
    if (abi >= 5)
        ruleset.files = UP_TO_BIT(15);
    if (abi >= 6)
        ruleset.scope = ABSTRACT_UNIX | SIGNALS;
    return ruleset;
}

/* A folder that does not exist has nothing to read. Opening a folder is allowed so that a reload of
 * a configuration that is a folder reports the right error; no system call that lists it is. */
static int allow_to_read(int ruleset, const char *folder)
{
    struct path_rule rule = {.allowed = READ_FILE | READ_DIR};
    long status;
    int saved;

    rule.folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rule.folder < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
    status = syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0);
    saved = errno;
    close(rule.folder);
    errno = saved;
    return (int)status;
}

/* An administrator may replace the file by another file of the same name at any time, so the rule
 * is for its folder. */
static int allow_configuration(int ruleset, const char *config)
{
    char *name = strdup(config);
    char target[PATH_MAX];
    int status = name ? allow_to_read(ruleset, dirname(name)) : -1;

    if (status == 0 && realpath(config, target))
        status = allow_to_read(ruleset, dirname(target));
    free(name);
    return status;
}

int landlock_abi(void)
{
    long abi = syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);

    return abi < 1 ? -1 : (int)abi;
}

int landlock_restrict(int abi, const char *config)
{
    const struct ruleset attributes = restrictions(abi);
    int ruleset = (int)syscall(CREATE_RULESET, &attributes, sizeof attributes, 0);
    int status = -1;
    int saved;

    if (ruleset < 0)
        return -1;
    if (allow_configuration(ruleset, config) == 0)
        status = (int)syscall(RESTRICT_SELF, ruleset, 0);
    saved = errno;
    close(ruleset);
    errno = saved;
    return status;
}
