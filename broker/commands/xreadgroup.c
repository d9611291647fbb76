/*
 * xreadgroup.c - XREADGROUP: reading for a group, now or later.
 *
 * The work is divided among four files. This one reads a request and finds its streams and groups. What these give is found
 * without changing anything (xreadgroup_find.c); then it is made so and replied (xreadgroup_look.c), or it is nothing, or has to
 * be read from disk first, and the request waits to be looked at again (xreadgroup_wait.c).
 *
 * A consumer is made when it is named for the first time, for those streams whose turn comes before the reply is full.
 */
#include "broker/commands/xreadgroup.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/args.h"
#include "broker/engine/cold.h"
#include "broker/engine/reply.h"

/* ---- the request ---- */

/* Reads GROUP, CLAIM or NOACK at argv[*i] and moves *i behind it. False if an error has been replied. */
static bool xreadgroup_word(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                            struct xreadgroup *r)
{
    int64_t ms;

    if (args_word(argv[*i], "noack")) {
        r->noack = true;
        *i += 1;
        return true;
    }
    if (argc - *i > 2 && args_word(argv[*i], "group")) {
        r->group = argv[*i + 1];
        r->consumer = argv[*i + 2];
        *i += 3;
        return true;
    }
    if (argc - *i <= 1 || !args_word(argv[*i], "claim")) {
        reply_syntax_error(c);
        return false;
    }
    if (!args_i64(argv[*i + 1], &ms)) {
        reply_error(c, "ERR min-idle-time is not an integer or out of range");
        return false;
    }
    if (ms < 0) {
        reply_error(c, "ERR min-idle-time must be a positive integer");
        return false;
    }
    r->claims = true;
    r->min_idle_ms = (uint64_t)ms;
    *i += 2;
    return true;
}

/* Reads the option at argv[*i]; false if an error has been replied. */
static bool xreadgroup_option(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc, size_t *i, struct xreadgroup *r)
{
    int taken = argc - *i > 1 ? streams_limits_option(e, c, argv[*i], argv[*i + 1], &r->limits) : 0;

    if (taken == 0)
        return xreadgroup_word(c, argv, argc, i, r);
    *i += 2;
    return taken > 0;
}

/* Reads everything but the IDs. *at is where the keys begin, as many IDs follow. */
static bool xreadgroup_parse(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct xreadgroup *r, size_t *at)
{
    *at = 0;
    for (size_t i = 1; i < argc && *at == 0;) {
        if (i + 1 < argc && args_word(argv[i], "streams"))
            *at = i + 1;
        else if (!xreadgroup_option(e, c, argv, argc, &i, r))
            return false;
    }
    if (*at == 0) {
        reply_syntax_error(c);
        return false;
    }
    if ((argc - *at) % 2 != 0) {
        reply_error(c, "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or "
                       "'>' must be specified.");
        return false;
    }
    if (r->group.p == NULL) {
        reply_error(c, "ERR Missing GROUP option for XREADGROUP");
        return false;
    }
    r->n = (argc - *at) / 2;
    return streams_limits_check(c, &r->limits);
}

/* Where the first key stands; 0: nowhere. */
static size_t xreadgroup_streams_at(const struct slice *argv, size_t argc)
{
    for (size_t i = 1; i + 1 < argc;) {
        if (args_word(argv[i], "streams"))
            return i + 1;
        i += args_word(argv[i], "noack") ? 1 : args_word(argv[i], "group") ? 3 : 2;
    }
    return 0;
}

static size_t xreadgroup_keys(const struct slice *argv, size_t argc, size_t *out)
{
    size_t at = xreadgroup_streams_at(argv, argc);

    if (at == 0 || (argc - at) % 2 != 0)
        return 0;
    for (size_t i = 0; i < (argc - at) / 2; i++)
        out[i] = at + i;
    return (argc - at) / 2;
}

static bool xreadgroup_parse_id(struct client *c, struct slice text, struct xreadgroup_key *out)
{
    char byte = text.n == 1 ? (char)text.p[0] : '\0';

    out->is_new = byte == '>';
    if (out->is_new)
        return true;
    if (byte == '$' || byte == '+') {
        reply_error(c,
                    "ERR The %c ID is meaningless in the context of XREADGROUP: you want to read "
                    "the history of this consumer by specifying a proper ID, or use the > ID to "
                    "get new messages. The %c ID would just return an empty result set.",
                    byte, byte);
        return false;
    }
    if (streams_parse_id(text, 0, &out->after))
        return true;
    streams_bad_id(c);
    return false;
}

/* ---- the streams as they are now ---- */

/* A command_prefault may look only, and counts nothing. */
static bool xreadgroup_stream(struct engine *e, struct client *c, struct slice key, bool peeks,
                              struct stream **out)
{
    if (!peeks)
        return streams_find(e, c, key, out);
    *out = (struct stream *)(uintptr_t)streams_peek(e, c, key);
    return true;
}

bool xreadgroup_resolve(struct engine *e, struct client *c, const struct xreadgroup *r,
                        const struct slice *ids, bool peeks, struct xreadgroup_part *parts)
{
    for (size_t i = 0; i < r->n; i++) {
        struct xreadgroup_key *key = &r->keys[i];
        struct xreadgroup_part *part = &parts[i];

        if (!xreadgroup_stream(e, c, key->name, peeks, &part->st))
            return false;
        part->g = part->st == NULL ? NULL : groups_find(stream_groups(part->st), r->group);
        if (part->g == NULL) {
            xgroup_no_key_or_group(c, key->name, r->group, " in XREADGROUP with GROUP option");
            return false;
        }
        if (ids != NULL && !xreadgroup_parse_id(c, ids[i], key))
            return false;
        part->consumer = group_find_consumer(part->g, r->consumer);
    }
    return true;
}

/* Redis forgets CLAIM once it has come to a history. */
static void xreadgroup_spread_claim(struct xreadgroup *r)
{
    bool claims = r->claims;

    for (size_t i = 0; i < r->n; i++) {
        claims = claims && r->keys[i].is_new;
        r->keys[i].claims = claims;
    }
}

/* ---- what the log may have to take ---- */

/* A command_bound: an ID that is handed out, or dropped on the way to one, and those that are parked. */
static size_t xreadgroup_bound(const struct slice *argv, size_t argc)
{
    size_t at = xreadgroup_streams_at(argv, argc), n = at == 0 ? 0 : (argc - at) / 2, names = 0;
    int64_t count = XREADGROUP_MAX, value;

    for (size_t i = 1; i + 2 < at; i++) {
        if (args_word(argv[i], "count") && args_i64(argv[i + 1], &value))
            count = value > 0 && value < XREADGROUP_MAX ? value : XREADGROUP_MAX;
        if (args_word(argv[i], "group"))
            names = argv[i + 2].n;
    }
    if (n > 0 && (uint64_t)count > XREADGROUP_MAX / n)
        count = XREADGROUP_MAX;
    else
        count *= (int64_t)n;
    return xreadgroup_bound_of(n, 2 * (uint64_t)count + XREADGROUP_PARKED_MAX, n * names);
}

/* ---- the command ---- */

struct xreadgroup_part *xreadgroup_parts(struct client *c, size_t n,
                                         struct xreadgroup_part few[XREADGROUP_INLINE])
{
    struct xreadgroup_part *parts = n <= XREADGROUP_INLINE ? few : malloc(n * sizeof *parts);

    if (parts != NULL)
        xreadgroup_parts_init(parts, n);
    else
        reply_error(c, "OOM no memory for %zu streams", n);
    return parts;
}

/* With what has been read of the request, whose IDs stand behind its keys. */
static void xreadgroup_begin(struct engine *e, struct client *c, const struct slice *ids,
                             struct xreadgroup *r, struct xreadgroup_part *parts)
{
    enum xreadgroup_outcome outcome;
    struct err err;
    int rc;

    if (!xreadgroup_resolve(e, c, r, ids, false, parts))
        return;
    xreadgroup_spread_claim(r);
    outcome = xreadgroup_run(e, c, r, parts, 0, true);
    if (outcome == XREADGROUP_REPLIED)
        return;
    rc = xreadgroup_name_all(e, c, r, parts, 0, r->n, &err);
    if (rc != OK)
        xreadgroup_fail(c, rc, &err);
    else if (outcome == XREADGROUP_COLD || (r->limits.blocks && !c->in_exec))
        xreadgroup_wait(e, c, r, parts, outcome == XREADGROUP_NOTHING);
    else
        reply_null_array(c);
}

/* Keys and parts of a request, on the stack if they are few. */
struct xreadgroup_memory {
    struct xreadgroup_key keys[XREADGROUP_INLINE];
    struct xreadgroup_part parts[XREADGROUP_INLINE];
};

/* Makes the keys, without their IDs, and empty parts; NULL if an error has been replied. */
static struct xreadgroup_part *xreadgroup_take(struct client *c, const struct slice *names,
                                               struct xreadgroup_memory *m, struct xreadgroup *r)
{
    struct xreadgroup_part *parts = xreadgroup_parts(c, r->n, m->parts);

    if (parts == NULL)
        return NULL;
    r->keys = parts == m->parts ? m->keys : malloc(r->n * sizeof *r->keys);
    if (r->keys == NULL) {
        free(parts);
        reply_error(c, "OOM no memory for %zu streams", r->n);
        return NULL;
    }
    for (size_t i = 0; i < r->n; i++)
        r->keys[i] = (struct xreadgroup_key){ .name = names[i] };
    return parts;
}

static void xreadgroup_give(struct engine *e, const struct xreadgroup_memory *m,
                            const struct xreadgroup *r, struct xreadgroup_part *parts)
{
    xreadgroup_parts_fini(e, parts, r->n);
    if (parts == m->parts)
        return;
    free(parts);
    free(r->keys);
}

static void xreadgroup_read(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    struct xreadgroup r = { .limits = STREAMS_LIMITS_NONE };
    struct xreadgroup_part *parts;
    struct xreadgroup_memory m;
    size_t at;

    if (!xreadgroup_parse(e, c, argv, argc, &r, &at) ||
        (parts = xreadgroup_take(c, argv + at, &m, &r)) == NULL)
        return;
    xreadgroup_begin(e, c, argv + at + r.n, &r, parts);
    xreadgroup_give(e, &m, &r, parts);
}

static void xreadgroup_prefault_parts(struct engine *e, struct client *c,
                                      const struct xreadgroup *r, struct xreadgroup_part *parts,
                                      struct wants *wants)
{
    const struct xreadgroup_look look = { r, CURSOR_RESIDENT, 1, wants };
    struct xreadgroup_sum sum;

    err_ignore(
        xreadgroup_find(e, c, &look, parts, 0, r->n, NULL)); /* the command runs into it again */
    sum = xreadgroup_sum(r, parts);
    if (sum.n >= XREADGROUP_ENOUGH || sum.bytes >= XREADGROUP_ENOUGH_BYTES)
        wants_fini(wants, log_cache(e->log));
}

/* Outside of EXEC it waits for itself, so it needs nothing beforehand. */
static void xreadgroup_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc, struct wants *wants)
{
    struct xreadgroup r = { .limits = STREAMS_LIMITS_NONE };
    struct xreadgroup_part *parts;
    struct xreadgroup_memory m;
    size_t at;

    if (!c->in_exec || !xreadgroup_parse(e, c, argv, argc, &r, &at) ||
        (parts = xreadgroup_take(c, argv + at, &m, &r)) == NULL)
        return;
    if (xreadgroup_resolve(e, c, &r, argv + at + r.n, true, parts)) {
        xreadgroup_spread_claim(&r);
        xreadgroup_prefault_parts(e, c, &r, parts, wants);
    }
    xreadgroup_give(e, &m, &r, parts);
}

const struct command xreadgroup_commands[] = {
    { .name = "xreadgroup",
      .handler = xreadgroup_read,
      .prefault = xreadgroup_prefault,
      .bound = xreadgroup_bound,
      .arity = -7,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_BLOCKING | CMD_MOVABLE_KEYS,
      .categories = CAT_STREAM,
      .get_keys = xreadgroup_keys,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) for each stream with M the number of entries replied",
      .summary = "Hands entries of streams out to a consumer of a group, new ones or those that it "
                 "has already, or waits for some",
      .syntax = "GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK "
                "milliseconds] [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id "
                "...]",
      .key_flags = "RO ACCESS",
      .key_word = "STREAMS" },
    { .name = NULL },
};
