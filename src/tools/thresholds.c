/* SPDX-License-Identifier: ISC */
#include "tools/thresholds.h"

#include "tools/cli.h"

#define MILLISECOND 1000000

const char *plugin_name(enum plugin_state state)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

    return names[state];
}

bool plugin_parse(const char *text, struct plugin_threshold *threshold)
{
    uint64_t loss;
    const char *p = cli_decimal(text, MILLISECOND, PLUGIN_MAX_RTA, &threshold->rta);

    if (!p || *p != ',' || threshold->rta > PLUGIN_MAX_RTA)
        return false;
    p = cli_decimal(p + 1, 100, PLUGIN_ALL_LOST, &loss);
    if (!p || loss > PLUGIN_ALL_LOST)
        return false;
    threshold->loss = (unsigned)loss;
    return *p == '\0' || (p[0] == '%' && p[1] == '\0');
}

static bool reached(const struct plugin_result *result, const struct plugin_threshold *threshold)
{
    return result->rta >= (double)threshold->rta || 100 * result->loss >= threshold->loss;
}

enum plugin_state plugin_judge(const struct plugin_result *result,
                               const struct plugin_threshold *warning,
                               const struct plugin_threshold *critical)
{
    if (result->rta < 0 || reached(result, critical))
        return PLUGIN_CRITICAL;
    return reached(result, warning) ? PLUGIN_WARNING : PLUGIN_OK;
}

void plugin_performance(FILE *out, const struct plugin_result *result,
                        const struct plugin_threshold *warning,
                        const struct plugin_threshold *critical)
{
    /* By the guidelines U is a value that could not be determined. */
    if (result->rta < 0)
        fputs("rta=U", out);
    else
        fprintf(out, "rta=%.3fms", result->rta / MILLISECOND);
    fprintf(out, ";%.3f;%.3f;0; pl=%.4g%%;%g;%g;0;100", (double)warning->rta / MILLISECOND,
            (double)critical->rta / MILLISECOND, result->loss, warning->loss / 100.0,
            critical->loss / 100.0);
}
