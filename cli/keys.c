/*
 * keys.c - `beck keys`: which keys there are, and what they are in sum.
 *
 * Walks the keyspace a page at a time and asks about each page's keys in one pipeline: type, time left, memory. With --stats
 * nothing is printed but sums, one line for each group of keys: what their names have between the prefix and the next colon.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/names.h"
#include "cli/output.h"
#include "cli/print.h"
#include "cli/when.h"

enum { KEYS_GROUPS_MAX = 10000 };

struct keys_options {
    const char *prefix, *type;
    bool stats, details;
};

/* Keys whose names begin alike. */
struct keys_group {
    struct beck_slice name; /* owned */
    uint64_t n, n_expiring, bytes, largest;
};

struct keys {
    struct output out;
    const struct keys_options *options;
    struct keys_group *groups; /* in order of name */
    size_t n_groups, cap_groups;
    struct keys_group rest; /* of names beyond KEYS_GROUPS_MAX groups */
    uint64_t n_rows;
};

/* ---- sums ---- */

static int keys_compare(struct beck_slice a, struct beck_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

/* The part of a name that tells its group: up to the first colon behind the prefix, that included. */
static struct beck_slice keys_group_name(const struct keys *k, struct beck_slice name)
{
    size_t skip = k->options->prefix != NULL ? strlen(k->options->prefix) : 0;
    const char *colon = skip < name.n ? memchr(name.p + skip, ':', name.n - skip) : NULL;

    return colon == NULL ? beck_str("") : beck_bytes(name.p, (size_t)(colon + 1 - name.p));
}

/* Where the group of that name is, or would be. */
static size_t keys_find(const struct keys *k, struct beck_slice name)
{
    size_t low = 0, high = k->n_groups;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (keys_compare(k->groups[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct keys_group *keys_insert(struct keys *k, size_t at, struct beck_slice name)
{
    char *copy = malloc(name.n + 1);

    if (k->n_groups == k->cap_groups) {
        size_t cap = k->cap_groups == 0 ? 64 : 2 * k->cap_groups;
        struct keys_group *groups = realloc(k->groups, cap * sizeof *groups);
        if (groups == NULL) {
            free(copy);
            return NULL;
        }
        k->groups = groups;
        k->cap_groups = cap;
    }
    if (copy == NULL)
        return NULL;
    memcpy(copy, name.p, name.n);
    memmove(k->groups + at + 1, k->groups + at, (k->n_groups - at) * sizeof *k->groups);
    k->groups[at] = (struct keys_group){ .name = beck_bytes(copy, name.n) };
    k->n_groups++;
    return &k->groups[at];
}

static void keys_count(struct keys *k, struct beck_slice name, int64_t ttl_ms, int64_t bytes)
{
    struct beck_slice prefix = keys_group_name(k, name);
    size_t at = keys_find(k, prefix);
    struct keys_group *g = &k->rest;

    if (at < k->n_groups && keys_compare(k->groups[at].name, prefix) == 0)
        g = &k->groups[at];
    else if (k->n_groups < KEYS_GROUPS_MAX)
        g = keys_insert(k, at, prefix);
    if (g == NULL)
        g = &k->rest;
    g->n++;
    g->n_expiring += ttl_ms >= 0;
    g->bytes += (uint64_t)bytes;
    if ((uint64_t)bytes > g->largest)
        g->largest = (uint64_t)bytes;
}

static void keys_put_group(struct keys *k, const struct keys_group *g, struct beck_slice name)
{
    struct text *t = &k->out.text;

    if (g->n == 0)
        return;
    if (k->out.cli->globals.json) {
        text_put_str(t, "{\"prefix\":");
        json_put_bytes(t, name);
        text_printf(t,
                    ",\"keys\":%" PRIu64 ",\"expiring\":%" PRIu64 ",\"bytes\":%" PRIu64
                    ",\"largest\":%" PRIu64 "}\n",
                    g->n, g->n_expiring, g->bytes, g->largest);
        return;
    }
    text_printf(t, "%12" PRIu64 " %12" PRIu64 " %14" PRIu64 " %10" PRIu64 " %12" PRIu64 "  ", g->n,
                g->n_expiring, g->bytes, g->bytes / g->n, g->largest);
    if (name.n == 0)
        text_put_str(t, "(others)");
    else
        print_word(t, name);
    text_put_char(t, '\n');
}

static void keys_put_groups(struct keys *k)
{
    if (!k->out.cli->globals.json)
        text_put_str(&k->out.text,
                     "        KEYS     EXPIRING          BYTES       MEAN      LARGEST  "
                     "PREFIX\n");
    for (size_t i = 0; i < k->n_groups; i++)
        keys_put_group(k, &k->groups[i], k->groups[i].name);
    keys_put_group(k, &k->rest, beck_str("..."));
}

/* ---- rows ---- */

static void keys_put_row(struct keys *k, struct beck_slice name, struct beck_slice type,
                         int64_t ttl_ms, int64_t bytes)
{
    struct text *t = &k->out.text;
    char ttl[WHEN_DURATION_MAX] = "never";

    if (k->out.cli->globals.json) {
        text_put_str(t, "{\"key\":");
        json_put_bytes(t, name);
        text_put_str(t, ",\"type\":");
        json_put_bytes(t, type);
        if (ttl_ms >= 0)
            text_printf(t, ",\"ttl_ms\":%" PRId64, ttl_ms);
        text_printf(t, ",\"bytes\":%" PRId64 "}\n", bytes);
        return;
    }
    if (ttl_ms >= 0)
        when_put_duration((uint64_t)ttl_ms, ttl);
    text_printf(t, "%-8.*s %14s %10" PRId64 "  ", (int)type.n, type.p, ttl, bytes);
    print_word(t, name);
    text_put_char(t, '\n');
}

/* What is asked about a key. */
static const char *const keys_questions[][2] = { { "TYPE", NULL },
                                                 { "PTTL", NULL },
                                                 { "MEMORY", "USAGE" } };

enum { KEYS_N_QUESTIONS = 3 };

static int keys_ask(struct cli *cli, const struct list *names)
{
    int rc = BECK_OK;

    for (size_t i = 0; i < names->n && rc == BECK_OK; i++)
        for (size_t q = 0; q < KEYS_N_QUESTIONS && rc == BECK_OK; q++) {
            struct beck_slice args[3] = { beck_str(keys_questions[q][0]) };
            size_t n = 1;
            if (keys_questions[q][1] != NULL)
                args[n++] = beck_str(keys_questions[q][1]);
            args[n++] = list_at(names, i);
            rc = beck_client_append(cli->client, args, n);
        }
    return rc;
}

/* Takes the answers about one key; BECK_OK, or what went wrong. */
static int keys_take(struct keys *k, struct beck_slice name)
{
    struct cli *cli = k->out.cli;
    const struct beck_reply *reply;
    char type[32];
    int64_t numbers[KEYS_N_QUESTIONS] = { 0 };
    int rc = beck_client_receive(cli->client, &reply);

    if (rc != BECK_OK)
        return rc;
    snprintf(type, sizeof type, "%s", beck_reply_string(reply).p);
    for (size_t q = 1; q < KEYS_N_QUESTIONS; q++) {
        rc = beck_client_receive(cli->client, &reply);
        if (rc != BECK_OK)
            return rc;
        numbers[q] = beck_reply_integer(reply);
    }
    if (strcmp(type, "none") == 0)
        return BECK_OK; /* it has gone meanwhile */
    k->n_rows++;
    if (k->options->stats)
        keys_count(k, name, numbers[1], numbers[2]);
    else
        keys_put_row(k, name, beck_str(type), numbers[1], numbers[2]);
    return BECK_OK;
}

static int keys_page(void *context, const struct list *names)
{
    struct keys *k = context;
    int rc = BECK_OK;

    if (!k->options->stats && !k->options->details) {
        for (size_t i = 0; i < names->n; i++) {
            if (k->out.cli->globals.json)
                json_put_bytes(&k->out.text, list_at(names, i));
            else
                print_word(&k->out.text, list_at(names, i));
            text_put_char(&k->out.text, '\n');
        }
        k->n_rows += names->n;
        return output_flush_if_full(&k->out);
    }
    rc = keys_ask(k->out.cli, names);
    for (size_t i = 0; i < names->n && rc == BECK_OK; i++)
        rc = keys_take(k, list_at(names, i));
    return rc == BECK_OK ? output_flush_if_full(&k->out) : cli_fail(k->out.cli, rc, NULL);
}

/* ---- the command ---- */

/* The pattern that SCAN takes: the prefix, whose own special characters stand for themselves, and a star. */
static void keys_put_pattern(struct text *t, const struct keys_options *o, const char *pattern)
{
    for (const char *p = o->prefix != NULL ? o->prefix : ""; *p != '\0'; p++) {
        if (strchr("*?[]\\^", *p) != NULL)
            text_put_char(t, '\\');
        text_put_char(t, *p);
    }
    text_put_str(t, pattern != NULL ? pattern : "*");
    text_put_char(t, '\0');
}

static int keys_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct keys k = { .options = options };
    struct text pattern = { 0 };
    int status;

    if (k.options->prefix != NULL && argc > 0)
        return cli_usage(cli, "a prefix and a pattern exclude each other");
    status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    output_init(&k.out, cli);
    keys_put_pattern(&pattern, k.options, argc > 0 ? argv[0] : NULL);
    if (k.options->details && !k.options->stats && !cli->globals.json)
        text_put_str(&k.out.text, "TYPE                TTL      BYTES  KEY\n");
    status = names_scan(cli, k.options->type, pattern.p, keys_page, &k);
    if (status == EXIT_OK && k.options->stats)
        keys_put_groups(&k);
    if (status == EXIT_OK)
        status = output_flush(&k.out);
    if (status == EXIT_OK && k.n_rows == 0)
        fputs("There are no such keys. Make one with: beck set KEY VALUE\n", stderr);
    for (size_t i = 0; i < k.n_groups; i++)
        free((void *)(uintptr_t)k.groups[i].name.p);
    free(k.groups);
    text_fini(&pattern);
    output_fini(&k.out);
    return status;
}

static const struct option_spec keys_specs[] = {
    { 'p', "prefix", "TEXT", OPTION_TEXT, offsetof(struct keys_options, prefix),
      "Only keys whose names begin with TEXT." },
    { 0, "type", "TYPE", OPTION_TEXT, offsetof(struct keys_options, type),
      "Only keys of that type: string, hash, list, stream." },
    { 'l', "details", NULL, OPTION_FLAG, offsetof(struct keys_options, details),
      "Tell type, time to live and bytes in memory of each." },
    { 0, "stats", NULL, OPTION_FLAG, offsetof(struct keys_options, stats),
      "Print sums for the keys that have the same name up to the next colon." },
};

const struct command command_keys = {
    .name = "keys",
    .arguments = "[PATTERN]",
    .summary = "list keys, or what they are in sum",
    .text =
        "Prints the names of the database's keys, or of those that match the pattern (* and ? as "
        "in a "
        "shell, quoted), a page of some hundred at a time, so that a large keyspace holds up "
        "nobody. A key is "
        "printed twice if the server shows it twice. With --stats keys are counted by what their "
        "names have up "
        "to the first colon behind the prefix: how many, how many of them expire, bytes in memory, "
        "in the mean and of the largest.\n"
        "\n"
        "    beck keys --stats\n"
        "    beck keys --prefix session: --details",
    .options = keys_specs,
    .n_options = sizeof keys_specs / sizeof keys_specs[0],
    .options_bytes = sizeof(struct keys_options),
    .defaults = &(const struct keys_options){ 0 },
    .max_args = 1,
    .run = keys_run,
};
