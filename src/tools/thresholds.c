/* SPDX-License-Identifier: ISC */
#include "tools/thresholds.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/decimal.h"

const char *threshold_state_name(enum threshold_state state)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

    return names[state];
}

/* ---- text ---- */

/* A time is nanoseconds, written as milliseconds; a loss is hundredths of a percent. */
struct unit {
    uint64_t scale;
    uint64_t max;
    bool percent; /* the sign may follow each number */
};

static const struct unit time_unit = {MILLISECOND, THRESHOLD_MAX_RTA, false};
static const struct unit loss_unit = {100, THRESHOLD_ALL_LOST, true};

/* Returns what follows the number; NULL: there is none that is allowed. */
static const char *parse_value(const char *text, const struct unit *unit, uint64_t *value)
{
    const char *end = parse_decimal(text, unit->scale, unit->max, value);

    if (!end || *value > unit->max)
        return NULL;
    return unit->percent && *end == '%' ? end + 1 : end;
}

/* The number before a colon, or "~" for no limit, which is 0 where nothing is negative. */
static const char *parse_low(const char *text, const struct unit *unit, uint64_t *low)
{
    *low = 0;
    return *text == '~' ? text + 1 : parse_value(text, unit, low);
}

static const char *parse_range(const char *text, const struct unit *unit,
                               struct threshold_range *range)
{
    bool inside = *text == '@';
    bool unlimited = text[inside] == '~';
    const char *end = parse_low(text + inside, unit, &range->low);

    if (!end || (unlimited && *end != ':'))
        return NULL;
    range->kind = inside ? THRESHOLD_INSIDE : *end == ':' ? THRESHOLD_OUTSIDE : THRESHOLD_MIN;
    range->high = UINT64_MAX;
    if (*end == ':' && (end[1] == '\0' || end[1] == ','))
        return end + 1;
    if (*end == ':')
        end = parse_value(end + 1, unit, &range->high);
    else if (inside) {
        range->high = range->low;
        range->low = 0;
    }
    return end && range->low <= range->high ? end : NULL;
}

bool threshold_parse(const char *text, struct threshold *threshold)
{
    const char *end = parse_range(text, &time_unit, &threshold->rta);

    threshold->loss = (struct threshold_range){.kind = THRESHOLD_NONE};
    if (end && *end == ',')
        end = parse_range(end + 1, &loss_unit, &threshold->loss);
    return end && *end == '\0';
}

/* With `decimals` decimals, and more where the value has them. */
static void put_value(FILE *out, uint64_t value, uint64_t scale, unsigned decimals)
{
    uint64_t rest = value % scale;

    fprintf(out, "%" PRIu64, value / scale);
    for (unsigned i = 0; scale >= 10 && (rest > 0 || i < decimals); i++) {
        scale /= 10;
        fprintf(out, "%s%" PRIu64, i == 0 ? "." : "", rest / scale);
        rest %= scale;
    }
}

static void put_range(FILE *out, const struct threshold_range *range, const struct unit *unit)
{
    unsigned decimals = unit->percent ? 0 : 3;

    if (range->kind == THRESHOLD_NONE)
        return;
    if (range->kind == THRESHOLD_INSIDE)
        fputc('@', out);
    put_value(out, range->low, unit->scale, decimals);
    if (range->kind == THRESHOLD_MIN)
        return;
    fputc(':', out);
    if (range->high != UINT64_MAX)
        put_value(out, range->high, unit->scale, decimals);
}

const char *threshold_print(const struct threshold *threshold, char text[static THRESHOLD_TEXT])
{
    FILE *out = fmemopen(text, THRESHOLD_TEXT, "w");

    text[0] = '\0';
    if (!out)
        return text;
    put_range(out, &threshold->rta, &time_unit);
    if (threshold->loss.kind != THRESHOLD_NONE) {
        fputc(',', out);
        put_range(out, &threshold->loss, &loss_unit);
        fputc('%', out);
    }
    fclose(out);
    return text;
}

/* ---- states ---- */

/* In hundredths of a percent. */
static double loss(const struct threshold_result *result)
{
    return result->sent > 0 ? THRESHOLD_ALL_LOST * (double)result->lost / (double)result->sent
                            : THRESHOLD_ALL_LOST;
}

static bool is_in(const struct threshold_range *range, double value)
{
    bool between =
        value >= (double)range->low && (range->high == UINT64_MAX || value <= (double)range->high);

    switch (range->kind) {
    case THRESHOLD_MIN:
        return value >= (double)range->low;
    case THRESHOLD_OUTSIDE:
        return !between;
    case THRESHOLD_INSIDE:
        return between;
    default:
        return false;
    }
}

static bool reached(const struct threshold_result *result, const struct threshold *threshold)
{
    return is_in(&threshold->rta, result->rta) || is_in(&threshold->loss, loss(result));
}

static bool is_later(const struct threshold_range *warning, const struct threshold_range *critical)
{
    return warning->kind == THRESHOLD_MIN && critical->kind == THRESHOLD_MIN &&
           warning->low > critical->low;
}

bool threshold_contradict(const struct threshold *warning, const struct threshold *critical)
{
    return is_later(&warning->rta, &critical->rta) || is_later(&warning->loss, &critical->loss);
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
    fputc(';', out);
    put_range(out, &warning->rta, &time_unit);
    fputc(';', out);
    put_range(out, &critical->rta, &time_unit);
    fprintf(out, ";0; pl=%s%%;", threshold_loss(result, 4, text));
    put_range(out, &warning->loss, &loss_unit);
    fputc(';', out);
    put_range(out, &critical->loss, &loss_unit);
    fputs(";0;100", out);
}
