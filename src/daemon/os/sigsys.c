/* SPDX-License-Identifier: ISC */
#include "daemon/os/sigsys.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "common/log.h"
#include "common/util.h"

/* The register of a ucontext_t from which a system call's result is read. Other architectures have
 * further registers for it. */
#if defined __x86_64__ && !defined __ILP32__
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined __i386__
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_EAX])
#elif defined __aarch64__
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#elif defined __arm__
#define RESULT(context) ((context)->uc_mcontext.arm_r0)
#elif defined __riscv
#define RESULT(context) ((context)->uc_mcontext.__gregs[10])
#elif defined __loongarch__
#define RESULT(context) ((context)->uc_mcontext.__gregs[4])
#elif defined __s390x__
#define RESULT(context) ((context)->uc_mcontext.gregs[2])
#endif

static const struct sigsys_rule *rules;
static size_t rule_count;

static _Atomic unsigned long refused;
static _Atomic int different[SIGSYS_DIFFERENT]; /* number of the call, plus 1; 0: free */

bool sigsys_can_refuse(void)
{
#ifdef RESULT
    return true;
#else
    return false;
#endif
}

/* ---- the handler: everything that it calls is async-signal-safe ---- */

static char *append_number(char *to, unsigned number)
{
    if (number >= 10)
        to = append_number(to, number / 10);
    *to = (char)('0' + number % 10);
    return to + 1;
}

/* raise(3) makes further calls that are trapped; while SIGSYS is handled, that ends the process. */
static _Noreturn void end_process(const char *name, unsigned number)
{
    char text[192] = "forbidden system call ";
    char *end = stpncpy(text + strlen(text), name, 40);

    end = stpcpy(end, " (");
    end = append_number(end, number);
    strcpy(end, "), stopped by the sandbox; sandbox = false turns it off");
    log_last_words(text);
    for (;;)
        raise(SIGSYS);
}

static void remember(int call)
{
    for (size_t i = 0; i < COUNT(different); i++) {
        int expected = 0;

        if (atomic_compare_exchange_strong(&different[i], &expected, call + 1) ||
            expected == call + 1)
            return;
    }
}

static const struct sigsys_rule *find_rule(int call)
{
    for (size_t i = 0; i < rule_count; i++)
        if (rules[i].call == call)
            return &rules[i];
    return NULL;
}

static void handle_sigsys(int signo, siginfo_t *info, void *context)
{
    const struct sigsys_rule *rule = find_rule(info->si_syscall);
    int error = rule ? rule->error : ENOSYS;

    (void)signo;
    /* cppcheck-suppress knownConditionTrueFalse */
    if (error == 0 || !sigsys_can_refuse())
        end_process(rule ? rule->name : "", (unsigned)info->si_syscall);
    atomic_fetch_add(&refused, 1);
    remember(info->si_syscall);
#ifdef RESULT
    /* Unsigned on some architectures. */
    RESULT((ucontext_t *)context) = (__typeof__(RESULT((ucontext_t *)context)))(long)-error;
#else
    (void)context;
#endif
}

/* ---- */

int sigsys_handle(const struct sigsys_rule new_rules[], size_t count)
{
    struct sigaction action = {.sa_sigaction = handle_sigsys, .sa_flags = SA_SIGINFO};

    rules = new_rules;
    rule_count = count;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL);
}

unsigned long sigsys_refused(void)
{
    return atomic_load(&refused);
}

int sigsys_refused_call(size_t index)
{
    return index < COUNT(different) ? atomic_load(&different[index]) - 1 : -1;
}
