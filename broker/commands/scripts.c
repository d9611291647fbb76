/*
 * scripts.c - EVAL and its relatives, for scripts that are known.
 *
 * There is no interpreter. Common clients send a few fixed scripts, for locks and rate limits; each is known here by the SHA-1 of its text,
 * with a function that does what it does: the same commands in the same order, by the handlers that clients reach, with the same
 * replies. Any other script is refused, and the error names its digest, so that one can tell which it was.
 *
 * A script's commands run as one: nothing else runs between them, their records are in one batch, and room for all of them is made in
 * the log before the first. A command that fails ends the script, as redis.call does, and its error says where: the texts
 * and line numbers are those that the interpreter would give.
 *
 * A command replies into an output of the script's own, in RESP2, from which the function takes what it wants. Lua's numbers are
 * doubles, and a number given to a command is written with 17 digits; that is kept where a script calculates.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/sha1.h"

enum {
    SCRIPT_WORDS_MAX = 8,    /* of a command */
    SCRIPT_COMMANDS_MAX = 4, /* of a script, beside one for each key */
    SCRIPT_COMMAND_BYTES = 1024,
    SCRIPT_NUMBER_MAX = 40, /* a double as text */
    SCRIPT_ERROR_MAX = 256,
};

struct script_run;

struct script {
    const char *sha1;
    void (*run)(struct script_run *s);
};

struct script_run {
    struct engine *e;
    struct client *c;
    const struct script *script;
    const struct slice *keys, *args;
    size_t n_keys, n_args;
    bool read_only;
    /* what the last command replied */
    char type;      /* '$', ':' and so on */
    int64_t number; /* of ':' */
    bool is_null;
    struct slice bytes; /* of '$'; points into `raw` */
    uint8_t *raw;
};

/* ---- what a command of the script replied ---- */

/* Takes the whole output as one piece of memory; false if memory ran out. */
static bool script_take_output(struct script_run *s, struct outbuf *out, size_t *n)
{
    struct iovec iov;

    free(s->raw);
    *n = (size_t)outbuf_size(out);
    s->raw = malloc(*n + 1);
    if (s->raw == NULL || out->failed)
        return false;
    for (size_t at = 0; at < *n; at += iov.iov_len) {
        outbuf_peek(out, UINT64_MAX, &iov, 1);
        memcpy(s->raw + at, iov.iov_base, iov.iov_len);
        outbuf_consume(out, iov.iov_len);
    }
    s->raw[*n] = '\0';
    return true;
}

static void script_parse(struct script_run *s, size_t n)
{
    char *end;

    assert(n > 3);
    s->type = (char)s->raw[0];
    s->number = strtoll((const char *)s->raw + 1, &end, 10);
    s->is_null = s->type == '$' && s->number < 0;
    if (s->type == '$' && !s->is_null)
        s->bytes = slice_of((uint8_t *)end + 2, (size_t)s->number);
    else
        s->bytes = slice_of(s->raw + 1, n - 3);
}

static bool script_fail(struct script_run *s, int line, struct slice what)
{
    reply_error(s->c, "%.*s script: %s, on @user_script:%d.", reply_echo_n(what),
                (const char *)what.p, s->script->sha1, line);
    return false;
}

/* Whether the command may run; false after an error reply. */
static bool script_allows(struct script_run *s, int line, const struct command *command,
                          const struct slice *argv, size_t argc)
{
    for (size_t i = 0; i < argc; i++)
        if (argv[i].p == NULL)
            return script_fail(
                s, line,
                slice_str("ERR Lua redis lib command arguments must be strings or integers"));
    if (s->read_only && command->flags & CMD_WRITE)
        return script_fail(s, line,
                           slice_str("ERR Write commands are not allowed from read-only scripts."));
    if (command_takes_space(command) && log_is_full(s->e->log))
        return script_fail(s, line, slice_str("DISKFULL no room left on disk"));
    return true;
}

/* redis.call: runs a command, whose reply is in *s then. False: it failed, and the script's error reply has been made. */
static bool script_call(struct script_run *s, int line, const struct slice *argv, size_t argc)
{
    const struct command *command = command_find(argv[0]), *outer = s->c->last_command;
    struct outbuf saved = s->c->out;
    int proto = s->c->proto;
    size_t n;
    bool taken;

    assert(argc <= SCRIPT_WORDS_MAX && command != NULL);
    if (!script_allows(s, line, command, argv, argc))
        return false;
    outbuf_init(&s->c->out);
    s->c->proto = 2;
    engine_call(s->e, s->c, command, argv, argc);
    taken = script_take_output(s, &s->c->out, &n);
    outbuf_fini(&s->c->out);
    s->c->out = saved;
    s->c->proto = proto;
    s->c->last_command = outer;
    if (!taken) {
        reply_error(s->c, "OOM not enough memory for the script");
        return false;
    }
    script_parse(s, n);
    return s->type != '-' || script_fail(s, line, s->bytes);
}

#define SCRIPT_CALL(s, line, ...)                               \
    script_call(s, line, (const struct slice[]){ __VA_ARGS__ }, \
                sizeof((const struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))

/* ---- keys, arguments, numbers ---- */

/* nil is a slice without a place. */
static struct slice script_key(const struct script_run *s, size_t i)
{
    return i < s->n_keys ? s->keys[i] : slice_of(NULL, 0);
}

static struct slice script_arg(const struct script_run *s, size_t i)
{
    return i < s->n_args ? s->args[i] : slice_of(NULL, 0);
}

static bool script_got(const struct script_run *s, struct slice value)
{
    return s->type == '$' && !s->is_null && value.p != NULL && slice_equal(s->bytes, value);
}

/* tonumber: false if the text is no number. */
static bool script_number(struct slice text, double *out)
{
    char copy[SCRIPT_NUMBER_MAX + 1], *end;

    if (text.n == 0 || text.n > SCRIPT_NUMBER_MAX || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0';
}

/* A number as the interpreter gives it to a command; `room` has SCRIPT_NUMBER_MAX bytes. */
static struct slice script_text(double v, char *room)
{
    return slice_of(room, (size_t)snprintf(room, SCRIPT_NUMBER_MAX, "%.17g", v));
}

/* A number that a script returns: its fraction is cut off. */
static void script_reply_number(struct script_run *s, double v)
{
    bool fits = v >= (double)INT64_MIN && v < -(double)INT64_MIN;

    reply_int(s->c, fits ? (int64_t)v : INT64_MIN);
}

static void script_reply_pair(struct script_run *s, int64_t first, double second)
{
    reply_array(s->c, 2);
    reply_int(s->c, first);
    script_reply_number(s, second);
}

static bool script_no_number(struct script_run *s, int line, struct slice text)
{
    char what[SCRIPT_ERROR_MAX];

    snprintf(what, sizeof what,
             "ERR user_script:%d: attempt to perform arithmetic on field '?' (a %s value)", line,
             text.p == NULL ? "nil" : "string");
    return script_fail(s, line, slice_str(what));
}

/* ---- locks of one key: python's redis, and the one that is copied everywhere ---- */

/* Whether KEYS[1] holds ARGV[1]; replies 0, or an error, if not. */
static bool script_owns(struct script_run *s, int line)
{
    if (!SCRIPT_CALL(s, line, slice_str("get"), script_key(s, 0)))
        return false;
    if (script_got(s, script_arg(s, 0)))
        return true;
    reply_int(s->c, 0);
    return false;
}

static void script_lock_release(struct script_run *s)
{
    if (script_owns(s, 2) && SCRIPT_CALL(s, 6, slice_str("del"), script_key(s, 0)))
        reply_int(s->c, 1);
}

static void script_lock_reacquire(struct script_run *s)
{
    if (script_owns(s, 2) &&
        SCRIPT_CALL(s, 6, slice_str("pexpire"), script_key(s, 0), script_arg(s, 1)))
        reply_int(s->c, 1);
}

/* ARGV[2] more milliseconds, or these alone if ARGV[3] is not "0". */
static void script_lock_extend(struct script_run *s)
{
    struct slice ttl = script_arg(s, 1);
    char room[SCRIPT_NUMBER_MAX];
    double more;

    if (!script_owns(s, 2) || !SCRIPT_CALL(s, 6, slice_str("pttl"), script_key(s, 0)))
        return;
    if (s->number < 0) {
        reply_int(s->c, 0);
        return;
    }
    if (slice_equal(script_arg(s, 2), slice_str("0"))) {
        if (!script_number(ttl, &more)) {
            script_no_number(s, 16, ttl);
            return;
        }
        ttl = script_text(more + (double)s->number, room);
    }
    if (SCRIPT_CALL(s, 18, slice_str("pexpire"), script_key(s, 0), ttl))
        reply_int(s->c, 1);
}

/* del if it holds the token, as Redis's documentation has it. */
static void script_compare_and_delete(struct script_run *s)
{
    if (script_owns(s, 1) && SCRIPT_CALL(s, 2, slice_str("del"), script_key(s, 0)))
        reply_int(s->c, s->number);
}

/* ---- locks of several keys: redlock ---- */

static bool script_redlock_set(struct script_run *s)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (!SCRIPT_CALL(s, 11, slice_str("set"), s->keys[i], script_arg(s, 0), slice_str("PX"),
                         script_arg(s, 1)))
            return false;
    reply_u64(s->c, s->n_keys);
    return true;
}

static void script_redlock_acquire(struct script_run *s)
{
    for (size_t i = 0; i < s->n_keys; i++) {
        if (!SCRIPT_CALL(s, 4, slice_str("exists"), s->keys[i]))
            return;
        if (s->number == 1) {
            reply_int(s->c, 0);
            return;
        }
    }
    script_redlock_set(s);
}

static void script_redlock_extend(struct script_run *s)
{
    for (size_t i = 0; i < s->n_keys; i++) {
        if (!SCRIPT_CALL(s, 4, slice_str("get"), s->keys[i]))
            return;
        if (!script_got(s, script_arg(s, 0))) {
            reply_int(s->c, 0);
            return;
        }
    }
    script_redlock_set(s);
}

static void script_redlock_release(struct script_run *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_keys; i++) {
        if (!SCRIPT_CALL(s, 5, slice_str("get"), s->keys[i]))
            return;
        if (!script_got(s, script_arg(s, 0)))
            continue;
        if (!SCRIPT_CALL(s, 6, slice_str("del"), s->keys[i]))
            return;
        n++;
    }
    reply_u64(s->c, n);
}

/* ---- rate limits ---- */

/* rate-limiter-flexible: a counter that lives ARGV[2] seconds from its first use. */
static void script_rate_limiter_flexible(struct script_run *s)
{
    struct slice key = script_key(s, 0), seconds = script_arg(s, 1);
    int64_t consumed;
    double ttl;

    if (!SCRIPT_CALL(s, 1, slice_str("set"), key, slice_str("0"), slice_str("EX"), seconds,
                     slice_str("NX")) ||
        !SCRIPT_CALL(s, 1, slice_str("incrby"), key, script_arg(s, 0)))
        return;
    consumed = s->number;
    if (!SCRIPT_CALL(s, 1, slice_str("pttl"), key))
        return;
    ttl = (double)s->number;
    if (s->number == -1) {
        if (!SCRIPT_CALL(s, 1, slice_str("expire"), key, seconds))
            return;
        if (!script_number(seconds, &ttl)) {
            script_no_number(s, 1, seconds);
            return;
        }
        ttl *= 1000;
    }
    script_reply_pair(s, consumed, ttl);
}

/* rate-limit-redis: a counter that begins anew ARGV[which] milliseconds after its first use. False: an error, or begun anew. */
static bool script_window(struct script_run *s, size_t which, int set_line, int incr_line,
                          int64_t *hits, int64_t *left_ms)
{
    struct slice ttl = slice_of(NULL, 0);
    char room[SCRIPT_NUMBER_MAX];
    double window;

    if (!SCRIPT_CALL(s, set_line - 2, slice_str("PTTL"), script_key(s, 0)))
        return false;
    *left_ms = s->number;
    if (*left_ms > 0) {
        if (!SCRIPT_CALL(s, incr_line, slice_str("INCR"), script_key(s, 0)))
            return false;
        *hits = s->number;
        return true;
    }
    if (script_number(script_arg(s, which), &window))
        ttl = script_text(window, room);
    if (SCRIPT_CALL(s, set_line, slice_str("SET"), script_key(s, 0), slice_str("1"),
                    slice_str("PX"), ttl))
        script_reply_pair(s, 1, window);
    return false;
}

static void script_rate_limit_increment(struct script_run *s)
{
    int64_t hits, left_ms;

    if (script_window(s, 0, 4, 7, &hits, &left_ms))
        script_reply_pair(s, hits, (double)left_ms);
}

/* Its version 4, in which ARGV[1] says that each use begins the time anew. */
static void script_rate_limit_increment_4(struct script_run *s)
{
    char room[SCRIPT_NUMBER_MAX];
    struct slice ttl = slice_of(NULL, 0);
    int64_t hits, left_ms;
    double window;

    if (!script_window(s, 1, 5, 8, &hits, &left_ms))
        return;
    if (!slice_equal(script_arg(s, 0), slice_str("1"))) {
        script_reply_pair(s, hits, (double)left_ms);
        return;
    }
    if (script_number(script_arg(s, 1), &window))
        ttl = script_text(window, room);
    if (SCRIPT_CALL(s, 10, slice_str("PEXPIRE"), script_key(s, 0), ttl))
        script_reply_pair(s, hits, window);
}

static void script_rate_limit_get(struct script_run *s)
{
    struct slice hits;
    uint8_t *raw;
    bool is_null;

    if (!SCRIPT_CALL(s, 1, slice_str("GET"), script_key(s, 0)))
        return;
    hits = s->bytes;
    is_null = s->is_null;
    raw = s->raw;
    s->raw = NULL; /* `hits` lies in it */
    if (SCRIPT_CALL(s, 2, slice_str("PTTL"), script_key(s, 0))) {
        reply_array(s->c, 2);
        if (is_null)
            reply_null(s->c);
        else
            reply_bulk(s->c, hits.p, hits.n);
        reply_int(s->c, s->number);
    }
    free(raw);
}

static const struct script scripts[] = {
    /* Lock of python's redis, 3.0 and later */
    { "c3f8721cbb97f72bc19e972846bd7aaf91901658", script_lock_release },
    { "a4e8783852e6b949f9ef3a97212805108459a890", script_lock_extend },
    { "1cac51482acf5858da00f6d685d68f886cd6b6b2", script_lock_reacquire },
    /* "Correct implementation with a single instance" of Redis's page on distributed locks */
    { "647c65a442733a1aa440f99908d249d13b4d6c4a", script_compare_and_delete },
    /* redlock 4 and 5 */
    { "e5a322e2634ef59a516e8ea150cb085afafee684", script_redlock_acquire },
    { "ce46f80993d5dac20dd066eb301a4e37994bdbed", script_redlock_extend },
    { "0f0f23b9048b36752b5be114f357ba083449f908", script_redlock_release },
    { "96da70f7716f27d278a5218544df37fd8b0a5e4c", script_redlock_acquire },
    { "aed6f382e410db8ba7926d4e5e9aab410bf2a78a", script_redlock_extend },
    { "e4612211c9f8f51c257e26e056b0a654b3187242", script_redlock_release },
    /* rate-limiter-flexible 2 to 11 */
    { "a1de965f42e177aa339706bd580f049065eca79a", script_rate_limiter_flexible },
    /* rate-limit-redis 4 and 6 */
    { "81dbecea94d2d10514719b20ed51faf711529d9d", script_rate_limit_increment_4 },
    { "895b92e1712734e1b464999be23953485475357b", script_rate_limit_increment },
    { "6aeb97ed6086dcdeafdc6fda3999a0d0e38ec96a", script_rate_limit_get },
};

enum { SCRIPTS = sizeof scripts / sizeof scripts[0] };

/* ---- EVAL, EVALSHA ---- */

/* The script of that digest, in any case; NULL: it is not known. */
static const struct script *script_find(struct slice sha1)
{
    for (size_t i = 0; i < SCRIPTS; i++)
        if (args_word(sha1, scripts[i].sha1))
            return &scripts[i];
    return NULL;
}

static const struct script *script_find_text(struct slice text, char sha1[SHA1_HEX])
{
    sha1_hex(text, sha1);
    return script_find(slice_str(sha1));
}

static void script_unknown(struct client *c, const char *sha1)
{
    reply_error(c,
                "ERR unknown script %s: this server has no interpreter, and runs only the scripts "
                "that its documentation lists",
                sha1);
}

/* How much the script's commands may add to the log: each has a key and few arguments. */
static size_t script_bound(const struct script_run *s)
{
    size_t longest = 0, n = SCRIPT_COMMANDS_MAX + s->n_keys;

    for (size_t i = 0; i < s->n_keys + s->n_args; i++) /* args lie behind keys */
        if (longest < s->keys[i].n)
            longest = s->keys[i].n;
    return n * (SCRIPT_COMMAND_BYTES + SCRIPT_WORDS_MAX * longest);
}

/* Fills in keys and arguments; false after an error reply. */
static bool script_read(struct script_run *s, const struct slice *argv, size_t argc)
{
    int64_t n;

    if (!args_i64(argv[2], &n))
        reply_not_integer(s->c);
    else if (n > (int64_t)(argc - 3))
        reply_error(s->c, "ERR Number of keys can't be greater than number of args");
    else if (n < 0)
        reply_error(s->c, "ERR Number of keys can't be negative");
    else {
        s->keys = argv + 3;
        s->n_keys = (size_t)n;
        s->args = argv + 3 + n;
        s->n_args = argc - 3 - (size_t)n;
        return true;
    }
    return false;
}

static void script_run(struct engine *e, struct client *c, const struct script *script,
                       const struct slice *argv, size_t argc, bool read_only)
{
    struct script_run s = { .e = e, .c = c, .script = script, .read_only = read_only };

    if (!script_read(&s, argv, argc) || !engine_reserve_more(e, c, script_bound(&s)))
        return;
    script->run(&s);
    free(s.raw);
}

/* As in Redis the number of keys is looked at first. */
static void script_eval_text(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, bool read_only)
{
    struct script_run s = { .c = c };
    char sha1[SHA1_HEX];
    const struct script *script = script_find_text(argv[1], sha1);

    if (script != NULL)
        script_run(e, c, script, argv, argc, read_only);
    else if (script_read(&s, argv, argc))
        script_unknown(c, sha1);
}

static void script_eval_sha(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, bool read_only)
{
    const struct script *script = script_find(argv[1]);
    struct script_run s = { .c = c };

    if (script != NULL)
        script_run(e, c, script, argv, argc, read_only);
    else if (argv[1].n != SHA1_HEX - 1 || script_read(&s, argv, argc))
        reply_error(c, "NOSCRIPT No matching script. Please use EVAL.");
}

static void script_eval(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    script_eval_text(e, c, argv, argc, false);
}

static void script_eval_ro(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    script_eval_text(e, c, argv, argc, true);
}

static void script_evalsha(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    script_eval_sha(e, c, argv, argc, false);
}

static void script_evalsha_ro(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    script_eval_sha(e, c, argv, argc, true);
}

/* ---- SCRIPT ---- */

static void script_load(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    char sha1[SHA1_HEX];

    (void)e;
    (void)argc;
    if (script_find_text(argv[2], sha1) == NULL)
        script_unknown(c, sha1);
    else
        reply_str(c, sha1);
}

static void script_exists(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    reply_array(c, argc - 2);
    for (size_t i = 2; i < argc; i++)
        reply_int(c, script_find(argv[i]) != NULL);
}

static void script_flush(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    if (argc > 3 || (argc == 3 && !args_word(argv[2], "sync") && !args_word(argv[2], "async")))
        reply_error(c, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
    else
        reply_ok(c); /* there is nothing that a client has put there */
}

static void script_kill(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_error(c, "NOTBUSY No scripts in execution right now.");
}

/* ---- the table ---- */

enum {
    FLAGS_EVAL = CMD_NOSCRIPT | CMD_STALE | CMD_MOVABLE_KEYS | CMD_SCRIPT,
    FLAGS_EVAL_RO = FLAGS_EVAL | CMD_READONLY,
    FLAGS_OWN = CMD_NOSCRIPT | CMD_NO_TOUCH_KEYS,
    FLAGS_HELP = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
};

#define SCRIPT_EVAL(verb, function, flag_bits, keys, version, text, form)                 \
    {                                                                                     \
        .name = verb, .handler = function, .arity = -3, .flags = flag_bits,               \
        .categories = CAT_SCRIPTING, .key_step = 1, .key_count_at = 2, .key_flags = keys, \
        .group = "scripting", .since = version, .complexity = "Depends on the script.",   \
        .summary = text, .syntax = form, .prefault = cache_prefault                       \
    }

#define SCRIPT_SUB(verb, function, args, flag_bits, version, text, form, hints)                    \
    {                                                                                              \
        .name = "script|" verb, .handler = function, .arity = args, .flags = flag_bits,            \
        .categories = CAT_SCRIPTING, .group = "scripting", .since = version, .complexity = "O(1)", \
        .summary = text, .syntax = form, .tips = hints                                             \
    }

static const struct command script_subcommands[] = {
    SCRIPT_SUB("exists", script_exists, -3, FLAGS_OWN, "2.6.0",
               "Which of these digests are of scripts that are known", "sha1 [sha1 ...]",
               "request_policy:all_shards;response_policy:agg_logical_and"),
    SCRIPT_SUB("flush", script_flush, -2, FLAGS_OWN, "2.6.0",
               "Does nothing: what is known stays known", "[ASYNC | SYNC]",
               "request_policy:all_nodes;response_policy:all_succeeded"),
    SCRIPT_SUB("help", command_help, 2, FLAGS_HELP, "5.0.0", "This text", "", NULL),
    SCRIPT_SUB("kill", script_kill, 2, FLAGS_OWN | CMD_ALLOW_BUSY, "2.6.0",
               "An error: no script ever runs for long", "",
               "request_policy:all_shards;response_policy:one_succeeded"),
    SCRIPT_SUB("load", script_load, 3, FLAGS_OWN | CMD_STALE, "2.6.0",
               "The digest of a script that is known; an error that names it for any other",
               "script", "request_policy:all_nodes;response_policy:all_succeeded"),
    { .name = NULL },
};

const struct command script_commands[] = {
    SCRIPT_EVAL("eval", script_eval, FLAGS_EVAL, "RW access update", "2.6.0",
                "Runs a script that is known", "script numkeys [key [key ...]] [arg [arg ...]]"),
    SCRIPT_EVAL("eval_ro", script_eval_ro, FLAGS_EVAL_RO, "RO access", "7.0.0",
                "As EVAL, but the script must not write",
                "script numkeys [key [key ...]] [arg [arg ...]]"),
    SCRIPT_EVAL("evalsha", script_evalsha, FLAGS_EVAL, "RW access update", "2.6.0",
                "Runs the script of that digest", "sha1 numkeys [key [key ...]] [arg [arg ...]]"),
    SCRIPT_EVAL("evalsha_ro", script_evalsha_ro, FLAGS_EVAL_RO, "RO access", "7.0.0",
                "As EVALSHA, but the script must not write",
                "sha1 numkeys [key [key ...]] [arg [arg ...]]"),
    { .name = "script",
      .arity = -2,
      .group = "scripting",
      .since = "2.6.0",
      .complexity = "Depends on subcommand.",
      .summary = "Tells of scripts",
      .syntax = "",
      .subcommands = script_subcommands },
    { .name = NULL },
};
