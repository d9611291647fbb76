/*
 * value.c - `beck get|set|del|ttl`: one key of the cache, or a few.
 *
 * get asks for the type first and prints what that type holds: a string's bytes as they are, a hash as names and values, a
 * list line by line. What it needs is asked for in one pipeline, but for the value itself.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/groups.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/print.h"
#include "cli/when.h"

static int value_no_key(const struct cli *cli, const char *key)
{
    cli_message(cli, "there is no key \"%s\" at %s", key, beck_client_address(cli->client));
    return EXIT_NOTHING;
}

/* ---- get ---- */

struct get_options {
    const char *at;
    uint64_t rev;
};

static const struct get_options get_defaults = { .rev = OPTION_NOT_GIVEN };

/* The words that read a value of that type; 0 if there are none. */
static size_t get_words(struct beck_slice type, const char *key, struct beck_slice out[4])
{
    static const struct {
        const char *type, *command, *more[2];
    } reads[] = {
        { "string", "GET", { NULL } },
        { "hash", "HGETALL", { NULL } },
        { "list", "LRANGE", { "0", "-1" } },
    };

    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        size_t n = 2;
        if (strcmp(reads[i].type, type.p) != 0)
            continue;
        out[0] = beck_str(reads[i].command);
        out[1] = beck_str(key);
        for (size_t k = 0; k < 2 && reads[i].more[k] != NULL; k++)
            out[n++] = beck_str(reads[i].more[k]);
        return n;
    }
    return 0;
}

/* Names and values of a hash: a line each, or an object. */
static void get_put_pairs(struct text *t, const struct beck_reply *reply, bool json)
{
    const struct beck_reply *at = beck_reply_first(reply);
    size_t n = beck_reply_count(reply);

    text_put_str(t, json ? "{" : "");
    for (size_t i = 0; i < n; i++) {
        if (json && i > 0)
            text_put_char(t, ",:"[i % 2]);
        if (!json)
            print_word(t, beck_reply_string(at));
        else if (i % 2 == 0)
            json_put_name(t, beck_reply_string(at));
        else
            json_put_value(t, beck_reply_string(at));
        if (!json)
            text_put_char(t, " \n"[i % 2]);
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
    text_put_str(t, json ? "}" : "");
}

static void get_put(struct output *out, struct beck_slice type, const struct beck_reply *reply)
{
    struct text *t = &out->text;
    bool json = out->cli->globals.json;

    if (strcmp(type.p, "hash") == 0)
        get_put_pairs(t, reply, json);
    else if (json && strcmp(type.p, "string") == 0)
        json_put_value(t, beck_reply_string(reply));
    else if (json)
        print_json(t, reply);
    else if (strcmp(type.p, "string") == 0 && !out->terminal)
        text_put_slice(t, beck_reply_string(reply)); /* its bytes, and no others */
    else
        print_reply(t, reply, out->terminal);
    if (json)
        text_put_char(t, '\n');
}

static int get_print(struct cli *cli, struct beck_slice type, const struct beck_reply *reply)
{
    struct output out;
    int status;

    output_init(&out, cli);
    get_put(&out, type, reply);
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

/* Milliseconds since 1970 of a place in time. EXIT_OK, or the status to end with. */
static int get_when(struct cli *cli, const struct when *when, char ms[WHEN_ID_MAX])
{
    uint64_t now_ms = 0;
    int status = EXIT_OK;

    if (when->kind == WHEN_ID) {
        snprintf(ms, WHEN_ID_MAX, "%.*s", (int)strcspn(when->id + (when->id[0] == '('), "-"),
                 when->id + (when->id[0] == '('));
        return EXIT_OK;
    }
    if (when->kind != WHEN_START)
        status = cli_server_time(cli, &now_ms);
    snprintf(ms, WHEN_ID_MAX, "%" PRIu64, now_ms > when->ms ? now_ms - when->ms : 0);
    return status;
}

/* The value as it was, which GETAT tells of strings; the client is connected. */
static int get_past(struct cli *cli, const char *key, const char *word, const char *number)
{
    struct beck_slice args[] = { beck_str("GETAT"), beck_str(key), beck_str(word),
                                 beck_str(number) };
    const struct beck_reply *reply, *value;
    int rc = cli_call(cli, args, 4, &reply);

    if (rc != BECK_OK)
        return cli_fail(cli, rc, key);
    value = beck_reply_at(reply, 0);
    if (value == NULL) {
        cli_message(cli, "there was no key \"%s\" then", key);
        return EXIT_NOTHING;
    }
    if (beck_reply_type(value) == BECK_REPLY_NIL) {
        cli_message(cli, "\"%s\" was no string then: what others were is told by beck hist", key);
        return EXIT_RUNTIME;
    }
    return get_print(cli, beck_str("string"), value);
}

/* --at or --rev. */
static int get_then(struct cli *cli, const struct get_options *o, const char *key)
{
    struct when when = { .kind = WHEN_START };
    char number[WHEN_ID_MAX];
    int status;

    if (o->at != NULL && o->rev != OPTION_NOT_GIVEN)
        return cli_usage(cli, "--at and --rev exclude each other");
    if (o->at != NULL && !when_parse(o->at, &when))
        return cli_usage(cli, "--at: \"%s\" is no time such as 2026-01-31T12:00:00Z or \"2h ago\"",
                         o->at);
    status = cli_connect(cli);
    snprintf(number, sizeof number, "%" PRIu64, o->rev);
    if (status == EXIT_OK && o->at != NULL)
        status = get_when(cli, &when, number);
    if (status != EXIT_OK)
        return status;
    return get_past(cli, key, o->at != NULL ? "TIME" : "REV", number);
}

static int get_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct get_options *o = options;
    struct beck_slice ask[] = { beck_str("TYPE"), beck_str(argv[0]) }, words[4];
    const struct beck_reply *reply;
    char type[32];
    size_t n;
    int status, rc;

    (void)argc;
    if (o->at != NULL || o->rev != OPTION_NOT_GIVEN)
        return get_then(cli, o, argv[0]);
    status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    rc = cli_call(cli, ask, 2, &reply);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, argv[0]);
    snprintf(type, sizeof type, "%s", beck_reply_string(reply).p);
    if (strcmp(type, "none") == 0)
        return value_no_key(cli, argv[0]);
    n = get_words(beck_str(type), argv[0], words);
    if (n == 0) {
        cli_message(cli, "\"%s\" is a %s: read it with: beck consume %s", argv[0], type, argv[0]);
        return EXIT_RUNTIME;
    }
    rc = cli_call(cli, words, n, &reply);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, argv[0]);
    if (beck_reply_type(reply) == BECK_REPLY_NIL)
        return value_no_key(cli, argv[0]);
    return get_print(cli, beck_str(type), reply);
}

static const struct option_spec get_specs[] = {
    { 0, "at", "TIME", OPTION_TEXT, offsetof(struct get_options, at),
      "The value as it was then: a time, \"2h ago\", an ID of beck:changes. Strings only." },
    { 0, "rev", "N", OPTION_NUMBER, offsetof(struct get_options, rev),
      "The value as revision N left it." },
};

const struct command command_get = {
    .name = "get",
    .arguments = "KEY",
    .summary = "print the value of a key",
    .text = "Prints what the key holds: a string's bytes as they are (on a terminal with a line "
            "end, and "
            "quoted if they are no text), a hash as a line of name and value for each field, a "
            "list as a "
            "line for each element. With --json it is one JSON value. Ends with status 4 if there "
            "is no "
            "such key.\n"
            "\n"
            "    beck get session:42\n"
            "    beck get --at '10m ago' config:prices",
    .options = get_specs,
    .n_options = sizeof get_specs / sizeof get_specs[0],
    .defaults = &get_defaults,
    .options_bytes = sizeof get_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = get_run,
};

/* ---- set ---- */

struct set_options {
    uint64_t ttl_ms, if_rev;
    bool nx, xx, keep_ttl;
};

static const struct set_options set_defaults = { .ttl_ms = OPTION_NOT_GIVEN,
                                                 .if_rev = OPTION_NOT_GIVEN };

enum { SET_READ = 64 << 10 };

/* All of stdin. False after a message. */
static bool set_read(const struct cli *cli, struct text *value)
{
    for (;;) {
        ssize_t n = read(STDIN_FILENO, text_room(value, SET_READ), SET_READ);
        if (n < 0) {
            cli_message(cli, "reading stdin failed");
            return false;
        }
        if (n == 0)
            return true;
        value->n += (size_t)n;
    }
}

static void set_words(struct list *words, const struct set_options *o, const char *key,
                      struct beck_slice value)
{
    char number[24];

    list_add(words, beck_str("SET"));
    list_add(words, beck_str(key));
    list_add(words, value);
    if (o->nx)
        list_add(words, beck_str("NX"));
    if (o->xx)
        list_add(words, beck_str("XX"));
    if (o->keep_ttl)
        list_add(words, beck_str("KEEPTTL"));
    if (o->ttl_ms != OPTION_NOT_GIVEN) {
        snprintf(number, sizeof number, "%" PRIu64, o->ttl_ms);
        list_add(words, beck_str("PX"));
        list_add(words, beck_str(number));
    }
    if (o->if_rev != OPTION_NOT_GIVEN) {
        snprintf(number, sizeof number, "%" PRIu64, o->if_rev);
        list_add(words, beck_str("IFREV"));
        list_add(words, beck_str(number));
    }
}

static int set_send(struct cli *cli, const struct set_options *o, const char *key,
                    struct beck_slice value)
{
    struct list words = { 0 };
    const struct beck_reply *reply;
    int rc;

    set_words(&words, o, key, value);
    rc = groups_call(cli, &words, &reply);
    list_fini(&words);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, key);
    if (beck_reply_type(reply) == BECK_REPLY_NIL) {
        cli_message(cli, "\"%s\" was not set: the condition does not hold", key);
        return EXIT_NOTHING;
    }
    if (beck_reply_type(reply) == BECK_REPLY_INTEGER)
        printf("%" PRId64 "\n", beck_reply_integer(reply)); /* its revision */
    return EXIT_OK;
}

static int set_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct set_options *o = options;
    struct text value = { 0 };
    int status;

    if (o->ttl_ms == 0)
        return cli_usage(cli, "--ttl: a key that expires at once would not be there");
    if (o->if_rev != OPTION_NOT_GIVEN && (o->nx || o->xx))
        return cli_usage(cli, "--if-rev excludes --nx and --xx: --if-rev 0 is for a new key");
    status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    if (argc > 1)
        return set_send(cli, o, argv[0], beck_str(argv[1]));
    status = set_read(cli, &value) ? set_send(cli, o, argv[0], beck_bytes(value.p, value.n))
                                   : EXIT_RUNTIME;
    text_fini(&value);
    return status;
}

static const struct option_spec set_specs[] = {
    { 't', "ttl", "TIME", OPTION_DURATION, offsetof(struct set_options, ttl_ms),
      "Let the key expire after so long (30s, 2d); without it, it stays." },
    { 0, "keep-ttl", NULL, OPTION_FLAG, offsetof(struct set_options, keep_ttl),
      "Keep the time that a former value of the key had left." },
    { 0, "nx", NULL, OPTION_FLAG, offsetof(struct set_options, nx),
      "Only if there is no such key." },
    { 0, "xx", NULL, OPTION_FLAG, offsetof(struct set_options, xx), "Only if there is one." },
    { 0, "if-rev", "N", OPTION_NUMBER, offsetof(struct set_options, if_rev),
      "Only if the key's revision is N (0: if there is none); prints the new one." },
};

const struct command command_set = {
    .name = "set",
    .arguments = "KEY [VALUE]",
    .summary = "set a key to a string",
    .text =
        "Sets the key to VALUE, or without it to what stdin has, byte for byte. Ends with status "
        "4 if a "
        "condition does not hold.\n"
        "\n"
        "    beck set --ttl 2d session:42 '{\"user\":7}'\n"
        "    beck set page:/ <index.html",
    .options = set_specs,
    .n_options = sizeof set_specs / sizeof set_specs[0],
    .defaults = &set_defaults,
    .options_bytes = sizeof set_defaults,
    .min_args = 1,
    .max_args = 2,
    .run = set_run,
};

/* ---- del ---- */

static int del_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct list words = { 0 };
    const struct beck_reply *reply;
    int64_t n;
    int status = cli_connect(cli), rc;

    (void)options;
    if (status != EXIT_OK)
        return status;
    list_add(&words, beck_str("DEL"));
    for (int i = 0; i < argc; i++)
        list_add(&words, beck_str(argv[i]));
    rc = groups_call(cli, &words, &reply);
    list_fini(&words);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    n = beck_reply_integer(reply);
    if (n == argc)
        return EXIT_OK;
    cli_message(cli, "%d of %d keys were not there", argc - (int)n, argc);
    return n > 0 ? EXIT_PARTIAL : EXIT_NOTHING;
}

const struct command command_del = {
    .name = "del",
    .arguments = "KEY...",
    .summary = "remove keys",
    .text = "Removes the keys, whatever they hold, all at once. Ends with status 4 if none was "
            "there, 5 "
            "if some were not. Streams are removed more carefully by `beck stream rm`.",
    .min_args = 1,
    .max_args = -1,
    .run = del_run,
};

/* ---- ttl ---- */

/* Gives the key a time, or with "never" none. */
static int ttl_set(struct cli *cli, const char *key, const char *text)
{
    struct beck_slice args[] = { beck_str("PERSIST"), beck_str(key), { NULL, 0 } };
    struct beck_slice there[] = { beck_str("EXISTS"), beck_str(key) };
    bool never = strcmp(text, "never") == 0;
    const struct beck_reply *reply;
    char number[24];
    uint64_t ms = 0;
    int status, rc;

    if (!never && !when_parse_duration(text, &ms))
        return cli_usage(cli, "\"%s\" is neither a time such as 30s, 2h, 5d, nor never", text);
    status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    snprintf(number, sizeof number, "%" PRIu64, ms);
    args[0] = beck_str(never ? "PERSIST" : "PEXPIRE");
    args[2] = beck_str(number);
    rc = cli_call(cli, args, never ? 2 : 3, &reply);
    if (rc == BECK_OK && beck_reply_integer(reply) == 0)
        rc = cli_call(cli, there, 2, &reply); /* there was no time to be taken away, or no key */
    if (rc != BECK_OK)
        return cli_fail(cli, rc, key);
    return beck_reply_integer(reply) == 0 ? value_no_key(cli, key) : EXIT_OK;
}

static int ttl_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct beck_slice args[] = { beck_str("PTTL"), beck_str(argv[0]) };
    char text[WHEN_DURATION_MAX];
    const struct beck_reply *reply;
    int64_t ms;
    int status, rc;

    (void)options;
    if (argc > 1)
        return ttl_set(cli, argv[0], argv[1]);
    status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    rc = cli_call(cli, args, 2, &reply);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, argv[0]);
    ms = beck_reply_integer(reply);
    if (ms == -2)
        return value_no_key(cli, argv[0]);
    if (ms < 0) {
        puts(cli->globals.json ? "null" : "never");
        return EXIT_OK;
    }
    when_put_duration((uint64_t)ms, text);
    if (cli->globals.json)
        printf("%" PRId64 "\n", ms);
    else
        puts(text);
    return EXIT_OK;
}

const struct command command_ttl = {
    .name = "ttl",
    .arguments = "KEY [TIME|never]",
    .summary = "tell or set how long a key has to live",
    .text =
        "Prints how long the key will be there (with --json in milliseconds), or never if it does "
        "not "
        "expire. With TIME (30s, 2h, 5d) it expires after that, with never not at all. Ends with "
        "status 4 if there is no such key.",
    .min_args = 1,
    .max_args = 2,
    .run = ttl_run,
};
