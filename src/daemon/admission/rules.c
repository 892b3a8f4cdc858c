/* SPDX-License-Identifier: ISC */
#include "daemon/admission/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_all(struct prefix_set *set, const struct conf_prefixes *prefixes, uint8_t value)
{
    for (size_t i = 0; i < prefixes->count; i++)
        if (prefix_set_add(set, &prefixes->list[i], value) < 0)
            return -1;
    return 0;
}

/* An empty set is none, which is quicker to consult. 0 or -1. */
static int make_sets(struct rules *policy, const struct conf *conf)
{
    const struct conf_prefixes *allow = &conf->access.allow, *deny = &conf->access.deny;
    const struct conf_prefixes *exempt = &conf->limits.exempt;

    if (allow->count + deny->count > 0) {
        policy->listed = prefix_set_new();
        if (!policy->listed || add_all(policy->listed, allow, ACL_ALLOW) < 0 ||
            add_all(policy->listed, deny, ACL_DENY) < 0)
            return -1;
    }
    policy->access = (struct acl){.set = policy->listed, .only_listed = allow->count > 0};
    if (exempt->count > 0) {
        policy->exempt = prefix_set_new();
        if (!policy->exempt || add_all(policy->exempt, exempt, 1) < 0)
            return -1;
    }
    return 0;
}

/* The sets must have been made. */
static int make_budgets(struct rules *policy, const struct conf_limits *limits, size_t workers,
                        uint64_t key[static 2])
{
    struct ratelimit_params params = {.rate = limits->udp_rate,
                                      .burst = limits->udp_burst,
                                      .v4_length = limits->ipv4_prefix,
                                      .v6_length = limits->ipv6_prefix,
                                      .size = (limits->table_size + workers - 1) / workers,
                                      .exempt = policy->exempt};

    policy->budgets = calloc(workers, sizeof *policy->budgets);
    if (!policy->budgets)
        return -1;
    policy->workers = workers;
    for (size_t i = 0; i < workers; i++) {
        params.key[0] = key[0];
        params.key[1] = key[1]++;
        policy->budgets[i] = ratelimit_new(&params);
        if (!policy->budgets[i])
            return -1;
    }
    return 0;
}

struct rules *rules_new(const struct conf *conf, size_t workers, uint64_t key[static 2])
{
    struct rules *policy = calloc(1, sizeof *policy);
    int saved;

    if (!policy)
        return NULL;
    if (make_sets(policy, conf) == 0 &&
        (conf->limits.udp_rate == 0 || conf->limits.udp_burst == 0 ||
         make_budgets(policy, &conf->limits, workers, key) == 0))
        return policy;
    saved = errno;
    rules_free(policy);
    errno = saved;
    return NULL;
}

void rules_free(struct rules *policy)
{
    if (!policy)
        return;
    for (size_t i = 0; i < policy->workers; i++)
        ratelimit_free(policy->budgets[i]);
    free(policy->budgets);
    prefix_set_free(policy->listed);
    prefix_set_free(policy->exempt);
    free(policy);
}

struct ratelimit *rules_ratelimit(const struct rules *policy, size_t worker)
{
    return policy->budgets ? policy->budgets[worker] : NULL;
}
