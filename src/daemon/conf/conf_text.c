/* SPDX-License-Identifier: ISC */
#include "daemon/conf/conf_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const section_names[SECTION_COUNT] = {"", "log", "tcp", "udp", "access", "limits"};

const char *text_leaf(const struct text_key *key)
{
    return key->section == TOP ? key->name : strchr(key->name, '.') + 1;
}

/* Beyond TEXT_ERRORS_MAX the later lines fall off. */
void text_fail(struct text *text, unsigned line, const char *format, ...)
{
    size_t kept = text->errors < TEXT_ERRORS_MAX ? text->errors : TEXT_ERRORS_MAX;
    size_t i = kept;
    va_list args;

    text->errors++;
    while (i > 0 && text->error[i - 1].line > line)
        i--;
    if (i == TEXT_ERRORS_MAX)
        return;
    if (kept == TEXT_ERRORS_MAX)
        kept--;
    memmove(&text->error[i + 1], &text->error[i], (kept - i) * sizeof text->error[0]);
    text->error[i].line = line;
    va_start(args, format);
    vsnprintf(text->error[i].message, TEXT_MESSAGE_MAX, format, args);
    va_end(args);
}

/* Other characters could steer a terminal, or forge a line of a log. */
const char *text_show(char buf[static TEXT_SHOW_MAX + 4], const char *chars, size_t length)
{
    size_t i;

    for (i = 0; i < length && i < TEXT_SHOW_MAX; i++)
        buf[i] = chars[i] >= ' ' && chars[i] <= '~' ? chars[i] : '?';
    memcpy(buf + i, i < length ? "..." : "", i < length ? 4 : 1);
    return buf;
}

/* ---- the file ---- */

static void fail_open(struct text *text)
{
    int error = errno;

    if (error == EACCES)
        text_fail(text, 0,
                  "cannot be opened: %s: let the user that echod runs as read the file and "
                  "search its folders; if it is a link that leads elsewhere now, restart",
                  strerror(error));
    else
        text_fail(text, 0, "cannot be opened: %s", strerror(error));
}

/* There is always room to see that there is too much, and for text_survey() to close a section. */
static ssize_t read_some(struct text *text, int fd, size_t *room, size_t length)
{
    size_t wanted = *room == 0 ? 65536 : *room * 2;

    if (length + 1 >= *room && *room < TEXT_FILE_MAX + 2) {
        char *grown;

        wanted = wanted < TEXT_FILE_MAX + 2 ? wanted : TEXT_FILE_MAX + 2;
        grown = realloc(text->chars, wanted);
        if (!grown)
            return -1;
        text->chars = grown;
        *room = wanted;
    }
    return read(fd, text->chars + length, *room - 1 - length);
}

static void slurp(struct text *text, int fd)
{
    size_t length = 0, room = 0;
    ssize_t got;
    char *nul;

    do {
        got = read_some(text, fd, &room, length);
        if (got > 0)
            length += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got < 0) {
        text_fail(text, 0, "cannot be read: %s", strerror(errno));
        return;
    }
    text->chars[length] = '\0';
    nul = memchr(text->chars, '\0', length);
    if (length > TEXT_FILE_MAX) {
        text_fail(text, 0, "larger than %d octets: not a configuration", TEXT_FILE_MAX);
    } else if (nul) {
        unsigned line = 1;

        for (const char *c = text->chars; c < nul; c++)
            line += *c == '\n';
        text_fail(text, line, "contains a NUL octet: not a text");
    }
}

/* Nothing but a regular file may be opened for good: a FIFO would hang, a device might do anything,
 * and libConfuse ends the process at a directory. */
void text_read(struct text *text)
{
    int fd = open(text->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        fail_open(text);
        return;
    }
    /* fstat(3) makes now this system call and now that one, see callfilter.c. */
    if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
        text_fail(text, 0, "cannot be read: %s", strerror(errno));
    else if (S_ISDIR(st.st_mode))
        text_fail(text, 0, "is a directory: name a file");
    else if (!S_ISREG(st.st_mode))
        text_fail(text, 0, "is not a regular file");
    else
        slurp(text, fd);
    close(fd);
}

/* ---- survey: tokens ---- */

/* Or a character of "{}()=+,". */
enum token_type { END = 0, WORD = 'w', STRING = 's', BROKEN = 'b' };

struct token {
    int type;
    unsigned line;
    size_t begin, end;
    bool expands; /* has ${NAME}, which libConfuse would replace by the environment's */
};

static void blank(struct text *text, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        if (text->chars[i] != '\n')
            text->chars[i] = ' ';
}

/* Skips white space and blanks comments. False at a comment without an end. */
static bool skip_space(struct text *text)
{
    for (;;) {
        const char *here = text->chars + text->at;
        size_t length;

        if (*here == '\n') {
            text->line++;
            length = 1;
        } else if (*here == ' ' || *here == '\t' || *here == '\r') {
            length = 1;
        } else if (*here == '#' || (here[0] == '/' && here[1] == '/')) {
            length = strcspn(here, "\n");
        } else if (here[0] == '/' && here[1] == '*') {
            const char *end = strstr(here + 2, "*/");

            if (!end)
                return false;
            length = (size_t)(end + 2 - here);
            for (size_t i = 0; i < length; i++)
                text->line += here[i] == '\n';
        } else {
            return true;
        }
        blank(text, text->at, text->at + length);
        text->at += length;
    }
}

static struct token broken(struct text *text, struct token token, const char *what)
{
    text_fail(text, token.line, "%s", what);
    token.type = BROKEN;
    return token;
}

/* A backslash is refused, since no value needs one and libConfuse would cut a value at "\0"; an end
 * of line is, since it tells of a missing quote where the quote is missing. */
static struct token next_string(struct text *text, struct token token)
{
    char quote = text->chars[token.begin];
    size_t at = token.begin + 1;

    while (text->chars[at] != quote) {
        if (text->chars[at] == '\0' || text->chars[at] == '\n')
            return broken(text, token, "a string is not closed: its second quote is missing");
        if (text->chars[at] == '\\')
            return broken(text, token, "a backslash in a string: there are no escapes");
        if (quote == '"' && text->chars[at] == '$' && text->chars[at + 1] == '{')
            token.expands = true;
        at++;
    }
    token.type = STRING;
    token.end = text->at = at + 1;
    return token;
}

static size_t end_of_word(const struct text *text, struct token *token)
{
    size_t end = token->begin;

    for (;;) {
        end += strcspn(text->chars + end, " \t\r\n#\"'={}()+,*");
        if (text->chars[end] != '{' || end == token->begin || text->chars[end - 1] != '$')
            return end;
        token->expands = true;
        end += strcspn(text->chars + end, "}\n");
        end += text->chars[end] == '}';
    }
}

static struct token next(struct text *text)
{
    bool ok = skip_space(text);
    const char *here = text->chars + text->at;
    struct token token = {.line = text->line, .begin = text->at, .end = text->at};

    if (!ok)
        return broken(text, token, "a comment is not closed: its \"*/\" is missing");
    if (*here == '\0')
        return token;
    if (*here == '"' || *here == '\'')
        return next_string(text, token);
    token.end = end_of_word(text, &token);
    token.type = WORD;
    if (token.end == token.begin) {
        token.type = (unsigned char)*here;
        token.end += *here == '+' ? 2 : 1;
        if (*here == '*' || (*here == '+' && here[1] != '='))
            return broken(text, token, *here == '*' ? "unexpected \"*\"" : "unexpected \"+\"");
    }
    text->at = token.end;
    return token;
}

static bool is_text(const struct token *token)
{
    return token->type == WORD || token->type == STRING;
}

/* A syntax error, unless the token has been reported as broken. Always false. */
static bool unexpected(struct text *text, const struct token *token, const char *wanted)
{
    char buf[TEXT_SHOW_MAX + 4];

    if (token->type == END)
        text_fail(text, token->line, "the file ends where %s is expected", wanted);
    else if (token->type != BROKEN)
        text_fail(text, token->line, "unexpected %s where %s is expected",
                  text_show(buf, text->chars + token->begin, token->end - token->begin), wanted);
    return false;
}

/* ---- survey: statements ---- */

/* The right-hand side of an assignment. */
struct values {
    struct text_found found;
    size_t begin, end;
    bool braces, expands, too_long;
};

static const struct text_key *find_key(const struct text *text, enum section section,
                                       const char *name, size_t length)
{
    for (size_t i = 0; i < text->key_count; i++)
        if (text->keys[i].section == section && strlen(text_leaf(&text->keys[i])) == length &&
            memcmp(text_leaf(&text->keys[i]), name, length) == 0)
            return &text->keys[i];
    return NULL;
}

static enum section find_section(const char *name, size_t length)
{
    for (enum section s = LOG; s < SECTION_COUNT; s++)
        if (strlen(section_names[s]) == length && memcmp(section_names[s], name, length) == 0)
            return s;
    return TOP;
}

/* How many characters to insert, delete or change to make one name of the other. */
static size_t distance(const char *name, size_t length, const char *other)
{
    size_t row[TEXT_SHOW_MAX + 1], columns = strlen(other);

    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; i <= length; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t best = diagonal + (name[i - 1] != other[j - 1]);

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[columns];
}

/* What may stand in a section, and which of it the misspelt name comes close to. */
static void fail_unknown(struct text *text, const struct token *name, const char *what,
                         const char *value)
{
    const char *chars = text->chars + name->begin;
    size_t length = name->end - name->begin, used = 0, least = 3;
    const char *guess = NULL;
    char known[TEXT_MESSAGE_MAX / 2] = "", buf[TEXT_SHOW_MAX + 4];

    for (size_t i = 0; i < text->key_count + SECTION_COUNT; i++) {
        bool is_key = i < text->key_count;
        const char *candidate =
            is_key ? text_leaf(&text->keys[i]) : section_names[i - text->key_count];

        if ((is_key ? text->keys[i].section : TOP) != text->section || *candidate == '\0')
            continue;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s%s", used ? ", " : "",
                                 candidate, is_key ? "" : " { }");
        if (length <= TEXT_SHOW_MAX && distance(chars, length, candidate) < least) {
            least = distance(chars, length, candidate);
            guess = candidate;
        }
    }
    text_fail(text, name->line, "%s%s%s: unknown %s%s; known here: %s%s%s%s",
              section_names[text->section], text->section == TOP ? "" : ".",
              text_show(buf, chars, length), what, value, known, guess ? "; did you mean \"" : "",
              guess ? guess : "", guess ? "\"?" : "");
}

/* False without memory, which has been reported. */
static bool note_value(struct text *text, struct values *values, const struct token *token)
{
    struct text_found *found = &values->found;
    size_t count = found->count;

    /* Room grows by doubling. */
    if (count < TEXT_LONG_MAX && (count & (count - 1)) == 0) {
        unsigned *grown =
            reallocarray(found->lines, count == 0 ? 1 : count * 2, sizeof *found->lines);

        if (!grown) {
            text_fail(text, token->line, "out of memory");
            return false;
        }
        found->lines = grown;
    }
    if (count < TEXT_LONG_MAX)
        found->lines[count] = token->line;
    found->count++;
    values->expands |= token->expands;
    values->too_long |=
        token->end - token->begin > TEXT_VALUE_MAX + (token->type == STRING ? 2 : 0);
    return true;
}

/* False at an error after which there is no going on, which has been reported. */
static bool read_values(struct text *text, struct values *values)
{
    struct token token = next(text);

    values->begin = token.begin;
    values->braces = token.type == '{';
    if (!values->braces) {
        if (!is_text(&token))
            return unexpected(text, &token, "a value");
        if (!note_value(text, values, &token))
            return false;
    } else {
        do {
            token = next(text);
            if (token.type == '}')
                break;
            if (!is_text(&token))
                return unexpected(text, &token, "a value or \"}\"");
            if (!note_value(text, values, &token))
                return false;
            token = next(text);
        } while (token.type == ',');
        if (token.type != '}')
            return unexpected(text, &token, "\",\" or \"}\"");
    }
    values->end = token.end;
    return true;
}

/* Why a statement that can be read is refused nevertheless; NULL if it is not. */
static const char *why_refused(const struct text_key *key, const struct text_found *found,
                               const struct values *values, bool append,
                               char buf[static TEXT_SHOW_MAX])
{
    if (found->line) {
        snprintf(buf, TEXT_SHOW_MAX, "already set on line %u, and allowed once", found->line);
        return buf;
    }
    if (append)
        return "\"+=\" is not allowed: give the whole list after \"=\"";
    if (values->expands)
        return "environment variables are not expanded: write the value itself";
    if (values->braces && key->list_max == 0)
        return "one value is allowed, not a list";
    if (values->too_long) {
        snprintf(buf, TEXT_SHOW_MAX, "at most %d octets are allowed", TEXT_VALUE_MAX);
        return buf;
    }
    if (key->list_max > 0 && values->found.count > key->list_max) {
        snprintf(buf, TEXT_SHOW_MAX, "%zu values, and at most %u are allowed", values->found.count,
                 key->list_max);
        return buf;
    }
    return NULL;
}

/* False at a syntax error, which has been reported. */
static bool assignment(struct text *text, const struct token *name, bool append)
{
    const char *chars = text->chars + name->begin;
    size_t length = name->end - name->begin;
    const struct text_key *key = find_key(text, text->section, chars, length);
    enum section section = text->section == TOP ? find_section(chars, length) : TOP;
    struct values values = {.found.line = name->line};
    char value[TEXT_SHOW_MAX + 4], buf[TEXT_SHOW_MAX * 2];
    const char *why;

    if (!read_values(text, &values)) {
        free(values.found.lines);
        return false;
    }
    text_show(value, text->chars + values.begin, values.end - values.begin);
    if (key) {
        struct text_found *found = &text->found[key - text->keys];

        why = why_refused(key, found, &values, append, buf);
        if (!why) {
            *found = values.found;
            return true;
        }
        text_fail(text, name->line, "%s: value %s: %s", key->name, value, why);
    } else if (section != TOP) {
        text_fail(text, name->line, "%s: value %s: a section is allowed: write %s { ... }",
                  section_names[section], value, section_names[section]);
    } else {
        snprintf(buf, sizeof buf, ", value %s", value);
        fail_unknown(text, name, "key", buf);
    }
    free(values.found.lines);
    blank(text, name->begin, values.end);
    return true;
}

/* Skips to the bracket that closes the one just read, and blanks the statement that began at
 * `name`. */
static bool skip_block(struct text *text, const struct token *name, int open, int close)
{
    size_t depth = 1;

    while (depth > 0) {
        struct token token = next(text);

        if (token.type == END || token.type == BROKEN)
            return unexpected(text, &token, close == '}' ? "\"}\"" : "\")\"");
        if (token.type == open)
            depth++;
        else if (token.type == close)
            depth--;
    }
    blank(text, name->begin, text->at);
    return true;
}

static bool block(struct text *text, const struct token *name)
{
    const char *chars = text->chars + name->begin;
    size_t length = name->end - name->begin;
    enum section section = find_section(chars, length);
    const struct text_key *key = find_key(text, text->section, chars, length);

    if (section != TOP && text->section == TOP) {
        if (text->section_lines[section])
            text_fail(text, name->line,
                      "%s: this section began on line %u already, and is allowed once",
                      section_names[section], text->section_lines[section]);
        text->section_lines[section] = name->line;
        text->section = section;
        return true;
    }
    if (section != TOP)
        text_fail(text, name->line,
                  "%s: a section within %s { }, which began on line %u: is its \"}\" missing?",
                  section_names[section], section_names[text->section],
                  text->section_lines[text->section]);
    else if (key)
        text_fail(text, name->line, "%s: a value is allowed, not a section: write %s = ...",
                  key->name, text_leaf(key));
    else
        fail_unknown(text, name, "section", "");
    return skip_block(text, name, '{', '}');
}

/* False at a syntax error, which has been reported. */
static bool statement(struct text *text, const struct token *name)
{
    char buf[TEXT_SHOW_MAX + 4];
    struct token token = next(text);

    text_show(buf, text->chars + name->begin, name->end - name->begin);
    if (token.type == '=' || token.type == '+')
        return assignment(text, name, token.type == '+');
    if (token.type == '{')
        return block(text, name);
    if (token.type == '(') {
        text_fail(text, name->line, "%s: functions, include among them, are not supported", buf);
        return skip_block(text, name, '(', ')');
    }
    if (token.type != BROKEN)
        text_fail(text, name->line, "%s: neither \"=\" nor \"{\" follows", buf);
    return false;
}

/* libConfuse's scanner begins anew with what it is in the midst of whenever it reads some further
 * KiB: minutes for a line of blanks as long as a file may be. A run that is longer than any value
 * is none of a value's. */
static void shorten_blanks(struct text *text)
{
    static const char blanks[] = " \t\r";
    char *to = text->chars;

    for (const char *from = text->chars; *from != '\0';) {
        size_t run = strspn(from, blanks), rest = strcspn(from + run, blanks);
        size_t kept = run > TEXT_VALUE_MAX ? 1 : run;

        memmove(to, from + run - kept, kept + rest);
        to += kept + rest;
        from += run + rest;
    }
    *to = '\0';
}

static void survey(struct text *text)
{
    struct token token;
    bool ok = true;

    text->line = 1;
    while (ok) {
        token = next(text);
        if (token.type == END && text->section == TOP)
            return;
        if (token.type == WORD) {
            ok = statement(text, &token);
        } else if (token.type == '}' && text->section != TOP) {
            text->section = TOP;
        } else if (token.type == END) {
            ok = false;
            text_fail(text, text->section_lines[text->section],
                      "%s: the section is not closed: its \"}\" is missing",
                      section_names[text->section]);
        } else {
            ok = unexpected(text, &token, text->section == TOP ? "a key" : "a key or \"}\"");
        }
    }
    memcpy(text->chars + token.begin, text->section == TOP ? "" : "}",
           text->section == TOP ? 1 : 2);
}

void text_survey(struct text *text)
{
    survey(text);
    shorten_blanks(text);
}

void text_free(struct text *text)
{
    for (size_t i = 0; i < text->key_count; i++)
        free(text->found[i].lines);
    free(text->chars);
}
