/* options.h - one table a command: it drives getopt_long, --help, and the man page. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/text.h"

struct cli;

/* What a number or duration is that was not given, where 0 has a meaning: the default of such an
 * option. No text is read as it. */
#define OPTION_NOT_GIVEN UINT64_MAX

enum option_kind {
    OPTION_FLAG,     /* bool, set to true */
    OPTION_TEXT,     /* const char *, borrowed from argv */
    OPTION_SECRET,   /* char *, a copy that the struct owns; argv's is overwritten */
    OPTION_NUMBER,   /* uint64_t */
    OPTION_SECONDS,  /* uint64_t of milliseconds, given as 1.5 */
    OPTION_DURATION, /* uint64_t of milliseconds, given as 500ms, 30s, 5m, 2h, 1d */
    OPTION_MS        /* the same, or a number of milliseconds */
};

struct option_spec {
    char letter; /* 0 if it has none */
    const char *name;
    const char *value; /* how the help names the value; NULL for a flag */
    enum option_kind kind;
    size_t place; /* in the options' struct */
    const char *help;
};

/* One command. Paragraphs of its text are separated by empty lines; indented lines are verbatim. */
struct command {
    const char *name;      /* "produce", "stream ls" */
    const char *arguments; /* "STREAM [FILE]" */
    const char *summary;   /* one line, without a full stop */
    const char *text;      /* paragraphs */
    const struct option_spec *options;
    size_t n_options;
    const void *defaults; /* the options' struct as it is without options; NULL if there is none */
    size_t options_bytes;
    int min_args, max_args; /* max -1: any number */
    bool verbatim;          /* options end at the first argument */
    int (*run)(struct cli *cli, const void *options, int argc, char **argv);
};

/* A table that ends with an entry without a name. */
extern const struct command *const commands[]; /* ends with NULL; in main.c */

/* What to set: a table and the struct its places are in. */
struct option_set {
    const struct option_spec *specs;
    size_t n;
    void *base;
};

enum options_result { OPTIONS_OK, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_BAD };

/* Reads the options of argv[1..) into the sets; the other arguments move to the end of argv, from
 * *rest on (with `verbatim`, the first one ends the options). On OPTIONS_BAD *why is a message.
 * --help and --version belong to every table. */
enum options_result options_parse(const struct option_set *sets, size_t n_sets, int argc,
                                  char **argv, bool verbatim, int *rest, struct text *why);

/* The number of edits between two words, for suggestions. */
unsigned options_distance(const char *a, const char *b);

/* Whether `word` may be a misspelt `of`. */
bool options_is_near(const char *word, const char *of);

/* How the help names an option: "-c, --count N". */
void options_put_name(struct text *t, const struct option_spec *spec);

#endif
