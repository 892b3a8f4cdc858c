/* SPDX-License-Identifier: ISC */
#include "common/conf_parse.h"

#include "common/util.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX  (16 * 1024 * 1024) /* octets of a file */
#define SHOWN_MAX (64 + 4)           /* room for 64 octets of the file and "..." */
#define WHY_MAX   256

/* Of the table of keys. */
#define SECTIONS_MAX 8
#define LONGEST_NAME 31

/* ---- errors ---- */

void parse_fail(struct parser *parser, unsigned line, const char *format, ...)
{
    size_t i = parser->errors++;
    va_list args;

    if (i >= PARSE_ERRORS_MAX)
        return;
    for (; i > 0 && parser->error[i - 1].line > line; i--)
        parser->error[i] = parser->error[i - 1];
    parser->error[i].line = line;
    va_start(args, format);
    vsnprintf(parser->error[i].message, PARSE_MESSAGE_MAX, format, args);
    va_end(args);
}

/* Text of the file, short and printable: other characters could steer a terminal or forge a line of
 * a log. Returns buf. */
static const char *show(char *buf, size_t size, const char *text)
{
    snprintf(buf, size, "%s", strcmp(text, PARSE_EMPTY) == 0 ? "{}" : text);
    if (strlen(text) > size - 4)
        strcpy(buf + size - 4, "...");
    for (char *c = buf; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return buf;
}

void parse_fail_value(struct parser *parser, const struct setting *setting, const char *value,
                      const char *why)
{
    char buf[SHOWN_MAX];

    parse_fail(parser, parser->line, "%s: value \"%s\": %s", setting->name,
               show(buf, sizeof buf, value), why);
}

void parse_report_errors(const struct parser *parser, parse_report *report, void *context)
{
    const char *path = parser->path ? parser->path : "built-in defaults";
    char line[4096 + PARSE_MESSAGE_MAX], number[16];

    for (size_t i = 0; i < parser->errors && i < PARSE_ERRORS_MAX; i++) {
        snprintf(number, sizeof number, ":%u", parser->error[i].line);
        snprintf(line, sizeof line, "%s%s: %s", path, parser->error[i].line ? number : "",
                 parser->error[i].message);
        report(context, line);
    }
    if (parser->errors > PARSE_ERRORS_MAX) {
        snprintf(line, sizeof line, "%s: and %zu more errors", path,
                 parser->errors - PARSE_ERRORS_MAX);
        report(context, line);
    }
}

/* ---- libConfuse's callbacks ---- */

static struct setting *setting_of(const cfg_opt_t *opt)
{
    return container_of(opt->simple_value.number, struct setting, slot);
}

/* The first option of each section is a key. */
static struct parser *parser_of(const cfg_t *cfg)
{
    return setting_of(&cfg->opts[0])->parser;
}

/* Returns a key's name within its section; *section_length is 0 outside of every section. */
static const char *split(const struct setting *setting, size_t *section_length)
{
    const char *dot = strchr(setting->name, '.');

    *section_length = dot ? (size_t)(dot - setting->name) : 0;
    return dot ? dot + 1 : setting->name;
}

/* True if the statement whose first value this is has been refused. libConfuse takes "tcp|port" for
 * the port of tcp { }. */
static bool refuse_statement(const cfg_t *cfg, const cfg_opt_t *opt, const char *value)
{
    struct setting *setting = setting_of(opt);
    size_t length;
    char why[WHY_MAX] = "";

    split(setting, &length);
    if (length && strncmp(cfg->name, setting->name, length) != 0)
        snprintf(why, sizeof why, "must stand within %.*s { }", (int)length, setting->name);
    else if (!setting->list_max && strcmp(value, PARSE_EMPTY) == 0)
        strcpy(why, "one value is allowed, not a list");
    else if (setting->list_max && !(opt->flags & CFGF_RESET))
        strcpy(why, "\"+=\" is not allowed: give the whole list after \"=\"");
    else if (setting->line)
        snprintf(why, sizeof why, "already set on line %u, and allowed once", setting->line);
    if (why[0] != '\0')
        parse_fail_value(setting->parser, setting, value, why);
    return why[0] != '\0';
}

/* NULL, or what is wrong with a value. */
static const char *take(struct setting *setting, const char *value, char why[static WHY_MAX])
{
    if (setting->list_max && ++setting->count > setting->list_max) {
        setting->ignored = true;
        snprintf(why, WHY_MAX, "the list is too long: at most %u values are allowed",
                 setting->list_max);
        return why;
    }
    if (strlen(value) > PARSE_VALUE_MAX)
        return "at most 255 octets are allowed";
    return setting->parser->take(setting->parser, setting, value);
}

/* Called with each value of a known key. libConfuse has marked the key as modified if the value
 * begins a statement, and for "reset" if the statement is not "+=". */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct setting *setting = setting_of(opt);
    char buf[WHY_MAX];
    const char *why;

    *(long *)result = 0;
    setting->parser->line = (unsigned)cfg->line;
    if (opt->flags & CFGF_MODIFIED) {
        setting->ignored = refuse_statement(cfg, opt, value);
        opt->flags &= ~CFGF_RESET;
        if (!setting->ignored) {
            setting->line = (unsigned)cfg->line;
            setting->parser->take(setting->parser, setting, NULL);
        }
    }
    if (setting->ignored || strcmp(value, PARSE_EMPTY) == 0)
        return 0;
    why = take(setting, value, buf);
    if (why)
        parse_fail_value(setting->parser, setting, value, why);
    return 0;
}

/* Called after on_value(). */
static int on_value_taken(cfg_t *cfg, cfg_opt_t *opt)
{
    (void)cfg;
    if (setting_of(opt)->list_max)
        opt->flags &= ~CFGF_MODIFIED;
    return 0;
}

static int on_section_end(cfg_t *cfg, cfg_opt_t *opt)
{
    struct parser *parser = parser_of(cfg);
    unsigned *end = &parser->section_ends[opt - cfg->opts];

    if (*end)
        parse_fail(parser, (unsigned)cfg->line,
                   "%s: the section that ends here is one too many: the first ends on line %u, and "
                   "one is allowed",
                   opt->name, *end);
    else
        *end = (unsigned)cfg->line;
    return 0;
}

/* How many characters to insert, delete, change, or exchange with the next, to make one name of the
 * other; their case does not count. */
static size_t distance(const char *a, const char *b)
{
    size_t d[LONGEST_NAME + 1][LONGEST_NAME + 1], a_length = strlen(a), b_length = strlen(b);

    if (a_length > LONGEST_NAME || b_length > LONGEST_NAME)
        return SIZE_MAX / 4;
    for (size_t i = 0; i <= a_length; i++) {
        for (size_t j = 0; j <= b_length; j++) {
            size_t best = i + j;

            if (i > 0 && j > 0) {
                best = d[i - 1][j - 1] + (tolower(a[i - 1]) != tolower(b[j - 1]));
                best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
                best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = d[i - 2][j - 2] + 1 < best ? d[i - 2][j - 2] + 1 : best;
            d[i][j] = best;
        }
    }
    return d[a_length][b_length];
}

static int on_unknown_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result);

/* libConfuse goes on after an unknown name, thanks to CFGF_KEYSTRVAL: it adds an option in the
 * place of the end mark, of which it changes only the name and the type. */
static void prepare_for_unknown(cfg_t *cfg)
{
    cfg->opts[cfg_num(cfg)] = (cfg_opt_t){.flags = CFGF_LIST,
                                          .parsecb = on_unknown_value,
                                          .simple_value.string = &parser_of(cfg)->unknown_value};
}

/* The option that libConfuse has added; NULL if there is none. */
static cfg_opt_t *unknown_option(cfg_t *cfg)
{
    cfg_opt_t *last = &cfg->opts[cfg_num(cfg) - 1];

    return last->parsecb == on_unknown_value ? last : NULL;
}

/* Report the unknown name of this section, with its value unless that is NULL. The option becomes
 * the end mark again, so that very many unknown names cost little time. */
static void fail_unknown(cfg_t *cfg, cfg_opt_t *unknown, const char *value)
{
    struct parser *parser = parser_of(cfg);
    char known[PARSE_OPTIONS_MAX * (LONGEST_NAME + sizeof ", " + sizeof " { }")] = "";
    char *name = (char *)unknown->name, shown[SHOWN_MAX], shown_value[SHOWN_MAX];
    const char *guess = NULL;
    size_t used = 0, nearest = SIZE_MAX;
    bool in_section = strcmp(cfg->name, "root") != 0;

    unknown->name = NULL;
    for (cfg_opt_t *opt = cfg->opts; opt->name && parser->errors < PARSE_ERRORS_MAX; opt++) {
        size_t far = distance(name, opt->name);

        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s%s", used ? ", " : "",
                                 opt->name, opt->type == CFGT_SEC ? " { }" : "");
        if (far * 3 <= strlen(opt->name) && far < nearest) {
            nearest = far;
            guess = opt->name;
        }
    }
    show(shown, sizeof shown, name);
    show(shown_value, sizeof shown_value, value ? value : "");
    parse_fail(parser, (unsigned)cfg->line, "%s%s%s: %s%s%s; known here: %s%s%s%s",
               in_section ? cfg->name : "", in_section ? "." : "", shown, value ? "value \"" : "",
               shown_value, value ? "\": unknown key" : "unknown section or key", known,
               guess ? "; did you mean \"" : "", guess ? guess : "", guess ? "\"?" : "");
    free(name);
}

/* Called with each value of an unknown key. The option of the statement stays valid without its
 * name, and the values after the first find it so. */
static int on_unknown_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    *(const char **)result = "";
    if (opt->name)
        fail_unknown(cfg, opt, value);
    return 0;
}

/* libConfuse 3.3 tells of unknown names here, which are reported with their values. It stops after
 * any other error. */
__attribute__((format(printf, 2, 0))) static void on_error(cfg_t *cfg, const char *format,
                                                           va_list args)
{
    struct parser *parser = parser_of(cfg);
    char message[PARSE_MESSAGE_MAX], shown[WHY_MAX];

    /* "no such option", and "no sub-section" for a name like "a|b". */
    if (strncmp(format, "no su", 5) == 0)
        return;
    if (unknown_option(cfg)) {
        fail_unknown(cfg, unknown_option(cfg), NULL);
    } else if (!parser->cut || strncmp(format, "premature end", 13) != 0) {
        vsnprintf(message, sizeof message, format, args);
        parse_fail(parser, (unsigned)cfg->line, "%s", show(shown, sizeof shown, message));
    }
}

/* ---- the text ---- */

static void fail_open(struct parser *parser, int error)
{
    parse_fail(parser, 0, "cannot be opened: %s%s", strerror(error),
               error == EACCES
                   ? ": let the user that this program runs as read the file and search its "
                     "folders; if it is a link that leads elsewhere now, restart"
                   : "");
}

/* The room for the text doubles when it is full. */
static ssize_t read_more(struct parser *parser, int fd, size_t *room, size_t length)
{
    size_t wanted = *room ? 2 * *room : 65536;

    if (length + 1 >= *room) {
        char *grown = realloc(parser->text, wanted < FILE_MAX + 2 ? wanted : FILE_MAX + 2);

        if (!grown)
            return -1;
        parser->text = grown;
        *room = wanted < FILE_MAX + 2 ? wanted : FILE_MAX + 2;
    }
    return read(fd, parser->text + length, *room - 1 - length);
}

/* False at an error, which has been reported. */
static bool slurp(struct parser *parser, int fd)
{
    size_t length = 0, room = 0;
    ssize_t got;
    const char *nul;
    unsigned line = 1;

    do {
        got = read_more(parser, fd, &room, length);
        length += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && length <= FILE_MAX) || (got < 0 && errno == EINTR));
    if (got < 0) {
        parse_fail(parser, 0, "cannot be read: %s", strerror(errno));
        return false;
    }
    parser->text[length] = '\0';
    nul = memchr(parser->text, '\0', length);
    for (const char *c = parser->text; nul && c < nul; c++)
        line += *c == '\n';
    if (length > FILE_MAX)
        parse_fail(parser, 0, "larger than %d octets: not a configuration", FILE_MAX);
    else if (nul)
        parse_fail(parser, line, "contains a NUL octet: not a text");
    return parser->errors == 0;
}

/* Only a regular file is read: a FIFO would block, and a device might do anything. */
static bool read_file(struct parser *parser)
{
    int fd = open(parser->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool ok = false;
    struct stat st;

    if (fd < 0) {
        fail_open(parser, errno);
        return false;
    }
    /* Not fstat(3), which makes different system calls on different systems: see seccomp.c. */
    if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
        parse_fail(parser, 0, "cannot be read: %s", strerror(errno));
    else if (S_ISDIR(st.st_mode))
        parse_fail(parser, 0, "is a directory: name a file");
    else if (!S_ISREG(st.st_mode))
        parse_fail(parser, 0, "is not a regular file");
    else
        ok = slurp(parser, fd);
    close(fd);
    return ok;
}

/* The end of the comment that begins at `in`; `in` if none does; NULL if it has no end. */
static const char *skip_comment(const char *in)
{
    const char *end;

    if (in[0] == '#' || (in[0] == '/' && in[1] == '/'))
        return in + strcspn(in, "\n");
    if (in[0] != '/' || in[1] != '*')
        return in;
    end = strstr(in + 2, "*/");
    return end ? end + 2 : NULL;
}

/* Copy a word or a string, and cut what is longer than any value may be. Returns NULL, or what is
 * wrong. */
static const char *copy_token(const char **in, char **out)
{
    const char *from = *in;
    char quote = *from == '"' || *from == '\'' ? *from : '\0';
    size_t length = quote ? 1 + strcspn(from + 1, quote == '"' ? "\"\\\n" : "'\\\n")
                          : strcspn(from, " \t\r\n#\"'={}()+,*");

    if (quote && from[length] == '\\')
        return "a backslash in a string: there are no escapes";
    if (quote && from[length] != quote)
        return "a string is not closed: its second quote is missing";
    if (quote != '\'' && memmem(from, length + 1, "${", 2))
        return "\"${\": environment variables are not expanded: write the value itself";
    for (size_t i = 0; i < length && i < PARSE_VALUE_MAX + 2; i++)
        *(*out)++ = from[i] == PARSE_EMPTY[0] ? '?' : from[i];
    if (quote)
        *(*out)++ = quote;
    *in += length + (quote != '\0');
    return NULL;
}

/* Rewrite the text into one that libConfuse 3.3 can handle. libConfuse accepts comments only
 * between statements. Every 8 KiB it rescans a long word or run of blanks from the start. It
 * expands variables and escapes. It does not report a section, comment or string that is not
 * closed, and does not call us for "{}". */
static void filter(struct parser *parser)
{
    static const char bom[] = "\xef\xbb\xbf";
    const char *in = parser->text, *wrong = NULL, *end;
    char *out = parser->text, *list = NULL; /* where the "{" is that was just opened as a list */
    char last = '\n'; /* the last character copied, blanks apart; 'w' of a word or string */
    unsigned line = 1, depth = 0, opened = 0;

    if (strncmp(in, bom, 3) == 0)
        in += 3;
    while (*in && !wrong) {
        end = skip_comment(in);
        if (!end) {
            wrong = "a comment is not closed: its \"*/\" is missing";
        } else if (end > in || strchr(" \t\r\n", *in)) {
            for (end += end == in; in < end; in++) {
                line += *in == '\n';
                if (*in == '\n' || (out > parser->text && out[-1] != ' '))
                    *out++ = *in == '\n' ? '\n' : ' ';
            }
        } else if (*in == '}' && last == '{' && list) {
            *list = last = PARSE_EMPTY[0];
            in++;
            depth--;
        } else if (*in == '+' && in[1] == '=') {
            *out++ = *in++;
            last = *out++ = *in++;
        } else if (strchr("{}()=,", *in)) {
            if (*in == '{' && depth++ == 0)
                opened = line;
            depth -= *in == '}' && depth > 0;
            list = *in == '{' && last == '=' ? out : NULL;
            last = *out++ = *in++;
        } else if (*in == '+' || *in == '*') {
            wrong = *in == '+' ? "unexpected \"+\"" : "unexpected \"*\"";
        } else {
            wrong = copy_token(&in, &out);
            last = 'w';
        }
    }
    *out = '\0';
    if (!wrong && depth > 0) {
        wrong = "\"{\" is not closed: its \"}\" is missing";
        line = opened;
    }
    parser->cut = wrong;
    if (wrong)
        parse_fail(parser, line, "%s", wrong);
}

static cfg_t *describe_keys(struct parser *parser)
{
    cfg_opt_t options[SECTIONS_MAX][PARSE_OPTIONS_MAX] = {0};
    char names[SECTIONS_MAX][LONGEST_NAME + 1] = {0};
    size_t used[SECTIONS_MAX] = {0}, sections = 0, length;
    cfg_t *cfg;

    for (size_t i = 0; i < parser->setting_count; i++) {
        struct setting *setting = &parser->settings[i];
        const char *name = split(setting, &length);
        size_t section;

        setting->parser = parser;
        if (length && (strncmp(names[sections], setting->name, length) != 0 ||
                       names[sections][length] != '\0'))
            memcpy(names[++sections], setting->name, length);
        section = length ? sections : 0;
        options[section][used[section]++] =
            (cfg_opt_t){.name = name,
                        .type = CFGT_INT,
                        .flags = CFGF_NODEFAULT | (setting->list_max ? CFGF_LIST : CFGF_NONE),
                        .simple_value.number = &setting->slot,
                        .parsecb = on_value,
                        .validcb = on_value_taken};
    }
    for (size_t i = 1; i <= sections; i++)
        options[0][used[0]++] = (cfg_opt_t){
            .name = names[i], .type = CFGT_SEC, .subopts = options[i], .validcb = on_section_end};
    cfg = cfg_init(options[0], CFGF_KEYSTRVAL);
    if (!cfg)
        return NULL;
    cfg_set_error_function(cfg, on_error);
    prepare_for_unknown(cfg);
    for (unsigned i = 0; i < cfg_num(cfg); i++)
        if (cfg->opts[i].type == CFGT_SEC)
            prepare_for_unknown(cfg_opt_getnsec(&cfg->opts[i], 0));
    return cfg;
}

/* libConfuse crashes or ends the process when an allocation fails. It needs about 100 KiB, whatever
 * the file: on_value() keeps the values, and filter() shortens words to PARSE_VALUE_MAX + 2. */
static bool has_memory(void)
{
    void *memory = malloc(1 << 20);

    free(memory);
    return memory != NULL;
}

void parse_file(struct parser *parser)
{
    cfg_t *cfg;

    if (read_file(parser)) {
        filter(parser);
        cfg = has_memory() ? describe_keys(parser) : NULL;
        if (!cfg)
            parse_fail(parser, 0, "out of memory");
        else if (cfg_parse_buf(cfg, parser->text) != CFG_SUCCESS && parser->errors == 0)
            parse_fail(parser, 0, "libConfuse cannot parse it");
        if (cfg)
            cfg_free(cfg);
        free(parser->unknown_value);
    }
    free(parser->text);
}
