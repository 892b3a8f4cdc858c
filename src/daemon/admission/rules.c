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

/* An empty set stays NULL, which is quicker to consult. 0 or -1. */
static int make_sets(struct rules *rules, const struct conf *conf)
{
    const struct conf_prefixes *allow = &conf->access.allow, *deny = &conf->access.deny;
    const struct conf_prefixes *exempt = &conf->limits.exempt;

    if (allow->count + deny->count > 0) {
        rules->listed = prefix_set_new();
        if (!rules->listed || add_all(rules->listed, allow, ACL_ALLOW) < 0 ||
            add_all(rules->listed, deny, ACL_DENY) < 0)
            return -1;
    }
    rules->access = (struct acl){.set = rules->listed, .only_listed = allow->count > 0};
    if (exempt->count > 0) {
        rules->exempt = prefix_set_new();
        if (!rules->exempt || add_all(rules->exempt, exempt, 1) < 0)
            return -1;
    }
    return 0;
}

/* After make_sets(). 0 or -1. */
static int make_ratelimits(struct rules *rules, const struct conf_limits *limits, size_t workers,
                           uint64_t key[static 2])
{
    struct ratelimit_params params = {.rate = limits->udp_rate,
                                      .burst = limits->udp_burst,
                                      .v4_length = limits->ipv4_prefix,
                                      .v6_length = limits->ipv6_prefix,
                                      .size = (limits->table_size + workers - 1) / workers,
                                      .exempt = rules->exempt};

    rules->ratelimits = calloc(workers, sizeof *rules->ratelimits);
    if (!rules->ratelimits)
        return -1;
    rules->workers = workers;
    for (size_t i = 0; i < workers; i++) {
        params.key[0] = key[0];
        params.key[1] = key[1]++;
        rules->ratelimits[i] = ratelimit_new(&params);
        if (!rules->ratelimits[i])
            return -1;
    }
    return 0;
}

struct rules *rules_new(const struct conf *conf, size_t workers, uint64_t key[static 2])
{
    struct rules *rules = calloc(1, sizeof *rules);
    int saved;

    if (!rules)
        return NULL;
    if (make_sets(rules, conf) == 0 && (conf->limits.udp_rate == 0 || conf->limits.udp_burst == 0 ||
                                        make_ratelimits(rules, &conf->limits, workers, key) == 0))
        return rules;
    saved = errno;
    rules_free(rules);
    errno = saved;
    return NULL;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < rules->workers; i++)
        ratelimit_free(rules->ratelimits[i]);
    free(rules->ratelimits);
    prefix_set_free(rules->listed);
    prefix_set_free(rules->exempt);
    free(rules);
}

struct ratelimit *rules_ratelimit(const struct rules *rules, size_t worker)
{
    return rules->ratelimits ? rules->ratelimits[worker] : NULL;
}
