/* SPDX-License-Identifier: ISC */
#include "tools/thresholds.h"

#include "common/clock.h"
#include "common/decimal.h"

const char *threshold_state_name(enum threshold_state state)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

    return names[state];
}

bool threshold_parse(const char *text, struct threshold *threshold)
{
    uint64_t loss;
    const char *p = parse_decimal(text, MILLISECOND, THRESHOLD_MAX_RTA, &threshold->rta);

    if (!p || *p != ',' || threshold->rta > THRESHOLD_MAX_RTA)
        return false;
    p = parse_decimal(p + 1, 100, THRESHOLD_ALL_LOST, &loss);
    if (!p || loss > THRESHOLD_ALL_LOST)
        return false;
    threshold->loss = (unsigned)loss;
    return *p == '\0' || (p[0] == '%' && p[1] == '\0');
}

static bool reached(const struct threshold_result *result, const struct threshold *threshold)
{
    return result->rta >= (double)threshold->rta || 100 * result->loss >= threshold->loss;
}

enum threshold_state threshold_judge(const struct threshold_result *result,
                                     const struct threshold *warning,
                                     const struct threshold *critical)
{
    if (result->rta < 0 || reached(result, critical))
        return STATE_CRITICAL;
    return reached(result, warning) ? STATE_WARNING : STATE_OK;
}

void threshold_performance(FILE *out, const struct threshold_result *result,
                           const struct threshold *warning, const struct threshold *critical)
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
