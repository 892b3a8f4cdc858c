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

/* In hundredths of a percent. */
static double loss(const struct threshold_result *result)
{
    return result->sent > 0 ? THRESHOLD_ALL_LOST * (double)result->lost / (double)result->sent
                            : THRESHOLD_ALL_LOST;
}

static bool reached(const struct threshold_result *result, const struct threshold *threshold)
{
    return result->rta >= (double)threshold->rta || loss(result) >= threshold->loss;
}

const char *threshold_loss(const struct threshold_result *result, unsigned digits,
                           char text[static DECIMAL_SIZE])
{
    return result->sent > 0 ? print_percent(result->lost, result->sent, digits, text)
                            : print_percent(1, 1, digits, text);
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
    char text[DECIMAL_SIZE];

    /* By the guidelines U is a value that could not be determined. */
    if (result->rta < 0)
        fputs("rta=U", out);
    else
        fprintf(out, "rta=%sms", print_milliseconds(result->rta, text));
    fprintf(out, ";%.3f;%.3f;0; pl=%s%%;%g;%g;0;100", (double)warning->rta / MILLISECOND,
            (double)critical->rta / MILLISECOND, threshold_loss(result, 4, text),
            warning->loss / 100.0, critical->loss / 100.0);
}
