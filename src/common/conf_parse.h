/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_CONF_PARSE_H
#define ECHOD_COMMON_CONF_PARSE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a file in libConfuse's syntax, value by value, and collects its errors. Nothing else uses
 * libConfuse. */

#define PARSE_VALUE_MAX   255 /* octets of a value */
#define PARSE_ERRORS_MAX  100 /* errors that are reported one by one */
#define PARSE_MESSAGE_MAX 512
#define PARSE_OPTIONS_MAX 32 /* keys of a section, and sections */

/* A key that may stand in the file. */
struct setting {
    const char *name;      /* with its section, as in "tcp.port" */
    unsigned list_max;     /* values of a list; 0: the key has a single value */
    unsigned line;         /* of the first value in the file; 0: the file does not set the key */
    unsigned count;        /* values of a list in the file */
    struct parser *parser; /* from here on private to conf_parse.c */
    bool ignored;
    long slot;
};

struct parser {
    const char *path;
    struct setting *settings; /* those of a section stand together */
    size_t setting_count;
    /* Called with each value that the file gives to a key, and with NULL when a statement that sets
     * the key begins. Returns NULL, or what is wrong with the value. */
    const char *(*take)(struct parser *parser, struct setting *setting, const char *value);
    unsigned line; /* of that value */
    size_t errors;
    struct {
        unsigned line; /* 0: no line is to blame */
        char message[PARSE_MESSAGE_MAX];
    } error[PARSE_ERRORS_MAX]; /* the first errors, in the order of lines */
    char *text;                /* from here on private to conf_parse.c */
    bool cut;
    char *unknown_value;
    unsigned section_ends[PARSE_OPTIONS_MAX];
};

/* Read the file at parser->path and call parser->take() with its values. Errors are added to
 * parser->error; nothing is read after an error of syntax. The caller sets path, settings,
 * setting_count and take, and name and list_max of each setting; all else is 0. */
void parse_file(struct parser *parser);

/* Is given each error in turn: "FILE:LINE: message", or "FILE: message" where no line is to blame.
 * The message is printable and has no newline. */
typedef void parse_report(void *context, const char *message);

/* Report the errors in the order of lines; beyond the first hundred only their number. */
void parse_report_errors(const struct parser *parser, parse_report *report, void *context);

/* Add an error. */
void parse_fail(struct parser *parser, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Add an error on parser->line: what is wrong with a value. PARSE_EMPTY is shown as "{}". */
#define PARSE_EMPTY "\1"
void parse_fail_value(struct parser *parser, const struct setting *setting, const char *value,
                      const char *why);

#endif
