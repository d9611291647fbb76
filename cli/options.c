/*
 * options.c - see options.h.
 *
 * The tables are made into what getopt_long wants: long options whose code is their number in the
 * sets, and a string of letters. getopt's own messages are off: ours name the command, the nearest
 * option, and where the help is. Every value is checked to its last character.
 */
#include "cli/options.h"

#include <getopt.h>
#include <stdlib.h>

#include "cli/when.h"

enum { OPTIONS_MAX = 48, OPTION_CODE = 256, OPTION_HELP_CODE = 1000, OPTION_VERSION_CODE };

struct options_getopt {
    struct option longs[OPTIONS_MAX + 3];
    char shorts[2 * OPTIONS_MAX + 3];
};

static const struct option_spec *options_at(const struct option_set *sets, size_t i, void **base)
{
    while (i >= sets->n)
        i -= sets++->n;
    *base = sets->base;
    return &sets->specs[i];
}

static size_t options_count(const struct option_set *sets, size_t n_sets)
{
    size_t n = 0;

    for (size_t i = 0; i < n_sets; i++)
        n += sets[i].n;
    return n < OPTIONS_MAX ? n : OPTIONS_MAX;
}

static void options_prepare(const struct option_set *sets, size_t n, bool verbatim,
                            struct options_getopt *g)
{
    char *at = g->shorts;

    if (verbatim)
        *at++ = '+';
    *at++ = ':';
    for (size_t i = 0; i < n; i++) {
        void *base;
        const struct option_spec *spec = options_at(sets, i, &base);
        g->longs[i] =
            (struct option){ spec->name, spec->value != NULL, NULL, OPTION_CODE + (int)i };
        if (spec->letter == 0)
            continue;
        *at++ = spec->letter;
        if (spec->value != NULL)
            *at++ = ':';
    }
    *at = '\0';
    g->longs[n] = (struct option){ "help", no_argument, NULL, OPTION_HELP_CODE };
    g->longs[n + 1] = (struct option){ "version", no_argument, NULL, OPTION_VERSION_CODE };
    g->longs[n + 2] = (struct option){ 0 };
}

static bool options_number(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*at - '0');
    }
    *out = v;
    return at > text && *at == '\0';
}

/* "1.5", "30", at most a day and three decimals. */
static bool options_seconds(const char *text, uint64_t *out)
{
    const char *dot = strchr(text, '.');
    size_t whole = dot != NULL ? (size_t)(dot - text) : strlen(text);
    char part[8];
    uint64_t seconds, ms = 0;

    if (whole == 0 || whole >= sizeof part)
        return false;
    memcpy(part, text, whole);
    part[whole] = '\0';
    if (!options_number(part, &seconds) || seconds > 86400)
        return false;
    if (dot != NULL) {
        size_t n = strlen(dot + 1);
        if (n == 0 || n > 3)
            return false;
        memcpy(part, "000", 4);
        memcpy(part, dot + 1, n);
        if (!options_number(part, &ms))
            return false;
    }
    *out = seconds * 1000 + ms;
    return true;
}

/* Keeps a copy and hides the original from ps(1). */
static void options_take_secret(char **place, char *value)
{
    struct text copy = { 0 };

    text_put(&copy, value, strlen(value) + 1);
    free(*place);
    *place = copy.p;
    memset(value, 'x', strlen(value));
}

static bool options_take(const struct option_spec *spec, void *base, char *value, struct text *why)
{
    void *place = (char *)base + spec->place;

    switch (spec->kind) {
    case OPTION_FLAG: *(bool *)place = true; return true;
    case OPTION_TEXT: *(const char **)place = value; return true;
    case OPTION_SECRET: options_take_secret(place, value); return true;
    case OPTION_NUMBER:
        if (options_number(value, place))
            return true;
        text_printf(why, "--%s: \"%s\" is not a number", spec->name, value);
        return false;
    case OPTION_SECONDS:
        if (options_seconds(value, place))
            return true;
        text_printf(why, "--%s: \"%s\" is not a number of seconds such as 30 or 0.5, at most 86400",
                    spec->name, value);
        return false;
    case OPTION_DURATION:
    case OPTION_MS:
        if ((spec->kind == OPTION_MS && options_number(value, place)) ||
            when_parse_duration(value, place))
            return true;
        text_printf(why, "--%s: \"%s\" is not a duration such as 500ms, 30s, 5m, 2h or 1d",
                    spec->name, value);
        return false;
    }
    return false;
}

unsigned options_distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(b);

    if (n >= sizeof row / sizeof row[0] || strlen(a) >= sizeof row / sizeof row[0])
        return 64;
    for (unsigned k = 0; k <= n; k++)
        row[k] = k;
    for (unsigned i = 1; *a != '\0'; a++, i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= n; k++) {
            unsigned best = diagonal + (*a != b[k - 1]);
            diagonal = row[k];
            if (row[k] + 1 < best)
                best = row[k] + 1;
            if (row[k - 1] + 1 < best)
                best = row[k - 1] + 1;
            row[k] = best;
        }
    }
    return row[n];
}

bool options_is_near(const char *word, const char *of)
{
    size_t n = strlen(word);

    if (n >= 2 && strncmp(word, of, n) == 0)
        return true;
    return options_distance(word, of) <= (n < 4 ? 1u : 2u);
}

/* "unknown option --cuont; did you mean --count?" */
static void options_unknown(const struct option_set *sets, size_t n, const char *word,
                            struct text *why)
{
    size_t len = strcspn(word, "=");
    char name[64] = "";

    text_printf(why, "unknown option %.*s", (int)len, word);
    if (strncmp(word, "--", 2) != 0 || len - 2 >= sizeof name)
        return;
    memcpy(name, word + 2, len - 2);
    for (size_t i = 0; i < n; i++) {
        void *base;
        const struct option_spec *spec = options_at(sets, i, &base);
        if (options_is_near(name, spec->name)) {
            text_printf(why, "; did you mean --%s?", spec->name);
            return;
        }
    }
}

static size_t options_find_letter(const struct option_set *sets, size_t n, int letter)
{
    size_t i = 0;
    void *base;

    while (i < n && options_at(sets, i, &base)->letter != letter)
        i++;
    return i;
}

enum options_result options_parse(const struct option_set *sets, size_t n_sets, int argc,
                                  char **argv, bool verbatim, int *rest, struct text *why)
{
    struct options_getopt g;
    size_t n = options_count(sets, n_sets);

    options_prepare(sets, n, verbatim, &g);
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (;;) {
        const struct option_spec *spec;
        void *base;
        int code = getopt_long(argc, argv, g.shorts, g.longs, NULL);
        if (code == -1)
            break;
        if (code == OPTION_HELP_CODE)
            return OPTIONS_HELP;
        if (code == OPTION_VERSION_CODE)
            return OPTIONS_VERSION;
        if (code == ':') {
            text_printf(why, "%s wants a value", argv[optind - 1]);
            return OPTIONS_BAD;
        }
        if (code == '?') {
            char letter[3] = { '-', (char)optopt, '\0' };
            if (optopt >= OPTION_CODE)
                text_printf(why, "%s takes no value", argv[optind - 1]);
            else
                options_unknown(sets, n, optopt != 0 ? letter : argv[optind - 1], why);
            return OPTIONS_BAD;
        }
        spec = options_at(sets,
                          code >= OPTION_CODE ? (size_t)(code - OPTION_CODE)
                                              : options_find_letter(sets, n, code),
                          &base);
        if (!options_take(spec, base, optarg, why))
            return OPTIONS_BAD;
    }
    *rest = optind;
    return OPTIONS_OK;
}

void options_put_name(struct text *t, const struct option_spec *spec)
{
    if (spec->letter != 0)
        text_printf(t, "-%c, ", spec->letter);
    text_printf(t, "--%s", spec->name);
    if (spec->value != NULL)
        text_printf(t, " %s", spec->value);
}
