/* SPDX-License-Identifier: ISC */
#include "common/metrics_text.h"

#include <stdbool.h>

static void print_escaped(FILE *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '\\' || (quotes && *text == '"'))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

void metrics_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s ", name);
    print_escaped(out, help, false);
    fprintf(out, "\n# TYPE %s %s\n", name, type);
}

void metrics_sample(FILE *out, const char *name, const struct metrics_label labels[], size_t count,
                    double value)
{
    fputs(name, out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%c%s=\"", i == 0 ? '{' : ',', labels[i].name);
        print_escaped(out, labels[i].value, true);
        fputc('"', out);
    }
    fprintf(out, "%s %.16g\n", count > 0 ? "}" : "", value);
}
