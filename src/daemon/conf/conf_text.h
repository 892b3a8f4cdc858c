/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_CONF_CONF_TEXT_H
#define ECHOD_DAEMON_CONF_CONF_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The text of a configuration before libConfuse parses it, and the errors found in it. Private to
 * conf.c. */

#define TEXT_FILE_MAX    (16 * 1024 * 1024) /* octets of a file */
#define TEXT_VALUE_MAX   255                /* octets of a value */
#define TEXT_LIST_MAX    256                /* values of a list */
#define TEXT_LONG_MAX    250000             /* values of a long list */
#define TEXT_KEYS_MAX    40
#define TEXT_ERRORS_MAX  50 /* reported one by one */
#define TEXT_MESSAGE_MAX 512
#define TEXT_SHOW_MAX    64 /* octets of the text quoted in a message */

enum section { TOP, LOG, TCP, UDP, ACCESS, LIMITS, SECTION_COUNT };
extern const char *const section_names[SECTION_COUNT];

/* A key that may stand in the text. */
struct text_key {
    const char *name; /* with its section: "tcp.port" */
    enum section section;
    unsigned list_max; /* values of a list; 0: a single value */
};

/* Where it does. */
struct text_found {
    unsigned line;   /* 0: nowhere */
    size_t count;    /* of its values */
    unsigned *lines; /* of each value, up to TEXT_LONG_MAX; allocated */
};

struct text_error {
    unsigned line; /* 0: none is to blame */
    char message[TEXT_MESSAGE_MAX];
};

struct text {
    const char *path;
    const struct text_key *keys;
    size_t key_count;
    struct text_found found[TEXT_KEYS_MAX]; /* of each key */
    char *chars;                            /* ends with a NUL */
    size_t at;                              /* the next to read, */
    unsigned line;                          /* its line, */
    enum section section;                   /* and its section */
    unsigned section_lines[SECTION_COUNT];  /* where each began; 0: nowhere */
    size_t errors;
    struct text_error error[TEXT_ERRORS_MAX]; /* the first of them, in the order of lines */
};

/* The name within its section, as the text has it. */
const char *text_leaf(const struct text_key *key);

/* Note an error. */
void text_fail(struct text *text, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Somebody's characters, made harmless and short enough for a line of a log. Returns buf. */
const char *text_show(char buf[static TEXT_SHOW_MAX + 4], const char *chars, size_t length);

/* Read the file at text->path into allocated text->chars. Anything but a regular file of a sensible
 * size without NUL octets is an error. */
void text_read(struct text *text);

/* Walk the text once and find what libConfuse does not tell, or tells only once: unknown and
 * repeated names, the line of each value, and what must not reach libConfuse (expansion of the
 * environment, escapes, functions, nesting). Every such statement is noted as an error and blanked;
 * a syntax error is noted and the text cut off there. What remains libConfuse can parse. */
void text_survey(struct text *text);

/* Free what the two have allocated. */
void text_free(struct text *text);

#endif
