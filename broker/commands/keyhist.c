/*
 * keyhist.c - KEYHIST and GETAT: what happened to a key, and what it was.
 *
 * Both look back through the changes that are kept (lookback.h), KEYHIST for those of a name, GETAT for the value that had the
 * name at some moment. The value is followed to where it came from: through a rename to the name that it had before, through a
 * SWAPDB to the other database, through patches of a long string to what was patched.
 *
 *   now            ...  patch  ...  rename x -> key  ...  patch of x  ...  set x  ...  floor
 *                             ^ the moment: that value with two patches
 *
 * What a key is now it has been since its last change, so that is the answer for any moment after it, however long ago that was.
 * Where the history ends before the value's beginning is found, nobody can say any more: -ERR BEHIND, unless nothing has
 * ever left the history.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/cache/changes.h"
#include "broker/commands/lookback.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

enum {
    KEYHIST_COUNT_MAX = 16 * 1024, /* changes in one reply of KEYHIST */
    KEYHIST_REPLY_MAX = 8 << 20,   /* its bytes, but for the last change */
    GETAT_PATCHES_MAX = 512 << 20, /* bytes that GETAT puts together */
};

/* ---- KEYHIST ---- */

struct keyhist {
    struct lookback back; /* must be first */
    int db;
    uint64_t count, n;
    struct client sink; /* rows are written to it */
    size_t n_key;
    uint8_t key[];
};

static struct keyhist *keyhist_of(struct lookback *l)
{
    return (struct keyhist *)(void *)l; /* its first member */
}

static bool keyhist_is_of(const struct keyhist *k, int db, struct slice key)
{
    return db == k->db && slice_equal(key, slice_of(k->key, k->n_key));
}

/* Whether the change is one of the key's. What concerns all keys of its database is, too. */
static bool keyhist_wants(const struct keyhist *k, const struct change *x)
{
    switch (x->op) {
    case CHANGE_IMAGE: return false;
    case CHANGE_FLUSH: return x->db == CHANGE_DB_ALL || x->db == k->db;
    case CHANGE_SWAP: return x->db == k->db || x->to_db == k->db;
    case CHANGE_RENAME: return keyhist_is_of(k, x->db, x->key) || keyhist_is_of(k, x->to_db, x->to);
    default: return keyhist_is_of(k, x->db, x->key);
    }
}

struct keyhist_row {       /* what stands behind the op */
    struct view_sink sink; /* must be first */
    struct client *to;     /* NULL: it is counted only */
    bool bare;             /* a string's value, without its name */
    size_t n;
};

/* A view_sink.each. */
static void keyhist_put(struct view_sink *sink, const char *name, struct slice value)
{
    struct keyhist_row *row = (struct keyhist_row *)(void *)sink; /* its first member */
    bool bare = row->bare && row->n == 0;

    row->n += bare ? 1 : 2;
    if (row->to == NULL)
        return;
    if (!bare)
        reply_str(row->to, name);
    reply_bulk(row->to, value.p, value.n);
}

static void keyhist_put_all(struct keyhist *k, const struct change *x, const uint8_t *entry,
                            struct keyhist_row *row)
{
    char text[24];

    row->sink.each = keyhist_put;
    row->bare = x->op == CHANGE_SET && x->type == OBJECT_STRING;
    if (x->op == CHANGE_RENAME && keyhist_is_of(k, x->db, x->key))
        keyhist_put(&row->sink, "to", x->to);
    else if (x->op == CHANGE_RENAME)
        keyhist_put(&row->sink, "from", x->key);
    if (x->op == CHANGE_SWAP) {
        snprintf(text, sizeof text, "%d", x->db == k->db ? x->to_db : x->db);
        keyhist_put(&row->sink, "to", slice_str(text));
    }
    view_values(x, entry, &row->sink);
}

/* See lookback_kind.see. */
static bool keyhist_see(struct lookback *l, struct id id, const uint8_t *entry)
{
    struct keyhist *k = keyhist_of(l);
    struct keyhist_row count = { .to = NULL }, row = { .to = &k->sink };
    struct change x;

    if (change_read(entry, &x, &l->err) != OK) {
        l->rc = ERR_CORRUPT;
        return false;
    }
    if (!keyhist_wants(k, &x))
        return true;
    keyhist_put_all(k, &x, entry, &count);
    reply_array(&k->sink, 3 + count.n);
    reply_u64(&k->sink, id.seq);
    reply_u64(&k->sink, id.ms);
    reply_str(&k->sink, view_op(&x));
    keyhist_put_all(k, &x, entry, &row);
    if (count.sink.failed)
        lookback_fail(l, ERR_CORRUPT, "a change has a value that does not fit its type");
    if (k->sink.out.failed)
        lookback_fail(l, ERR_NOMEM, "no memory for the reply");
    return ++k->n < k->count && outbuf_size(&k->sink.out) < KEYHIST_REPLY_MAX;
}

static void keyhist_reply(struct client *c, struct lookback *l)
{
    struct keyhist *k = keyhist_of(l);

    reply_array(c, k->n);
    outbuf_move(&c->out, &k->sink.out);
}

static void keyhist_free(struct lookback *l)
{
    outbuf_fini(&keyhist_of(l)->sink.out);
}

static const struct lookback_kind keyhist_kind = { keyhist_see, keyhist_reply, keyhist_free };

/* Reads [COUNT n]. */
static bool keyhist_parse(struct client *c, const struct slice *argv, size_t argc, uint64_t *count)
{
    int64_t n;

    *count = KEYHIST_COUNT_MAX;
    if (argc == 2)
        return true;
    if (argc != 4 || !args_word(argv[2], "count")) {
        reply_syntax_error(c);
        return false;
    }
    if (!args_i64(argv[3], &n)) {
        reply_not_integer(c);
        return false;
    }
    if (n < 1) {
        reply_error(c, "ERR COUNT must be a positive integer");
        return false;
    }
    if ((uint64_t)n < *count)
        *count = (uint64_t)n;
    return true;
}

static void keyhist_command(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    struct keyhist *k;
    uint64_t count;

    if (!keyhist_parse(c, argv, argc, &count))
        return;
    k = calloc(1, sizeof *k + argv[1].n);
    if (k == NULL) {
        cache_nomem(c);
        return;
    }
    k->back.kind = &keyhist_kind;
    k->back.to = ID_MAX;
    k->db = c->db;
    k->count = count;
    k->sink.proto = c->proto;
    outbuf_init(&k->sink.out);
    k->n_key = argv[1].n;
    bytes_copy(k->key, argv[1].p, argv[1].n);
    engine_need_all(e, c);
    lookback_start(e, c, &k->back);
}

/* ---- GETAT ---- */

struct getat_patch { /* of a string; the oldest first */
    struct getat_patch *next;
    uint64_t offset;
    size_t n;
    uint8_t bytes[];
};

struct getat {
    struct lookback back; /* must be first */
    struct engine *engine;
    int db; /* whose value it is, in the direction of the past */
    struct slice key;
    uint8_t *own_key; /* what `key` is, once it was renamed */
    bool by_time;
    uint64_t rev, ms;   /* the moment: the last record, or the last millisecond */
    bool changed_after; /* something happened to the name behind it */
    bool is_found;      /* what it was is known: */
    bool exists;
    unsigned type;
    uint64_t found_rev; /* of its last change; 0: none has been seen */
    bool has_expiry;
    uint64_t expiry_ms;
    struct getat_patch *patches;
    uint64_t patched_bytes, length;
    uint8_t *value; /* of a string */
    size_t n_value;
    /* as it was asked: */
    int asked_db;
    size_t n_name;
    uint8_t name[];
};

static struct getat *getat_of(struct lookback *l)
{
    return (struct getat *)(void *)l; /* its first member */
}

static bool getat_is(const struct getat *g, int db, struct slice key)
{
    return db == g->db && slice_equal(key, g->key);
}

static bool getat_concerns(const struct getat *g, const struct change *x)
{
    switch (x->op) {
    case CHANGE_FLUSH: return x->db == CHANGE_DB_ALL || x->db == g->db;
    case CHANGE_SWAP: return x->db == g->db || x->to_db == g->db;
    case CHANGE_RENAME: return getat_is(g, x->db, x->key) || getat_is(g, x->to_db, x->to);
    default: return getat_is(g, x->db, x->key);
    }
}

static bool getat_found(struct getat *g, bool exists)
{
    g->is_found = true;
    g->exists = exists;
    return false;
}

static bool getat_no_memory(struct getat *g)
{
    lookback_fail(&g->back, ERR_NOMEM, "no memory for the value");
    return false;
}

/* The string: what was patched, and over it the patches, the newest last. */
static bool getat_make_string(struct getat *g, struct slice base)
{
    g->n_value = g->patches == NULL ? base.n : (size_t)g->length;
    g->value = calloc(1, g->n_value + 1);
    if (g->value == NULL)
        return getat_no_memory(g);
    bytes_copy(g->value, base.p, base.n < g->n_value ? base.n : g->n_value);
    for (const struct getat_patch *p = g->patches; p != NULL; p = p->next)
        if (p->offset <= g->n_value && p->n <= g->n_value - p->offset)
            bytes_copy(g->value + p->offset, p->bytes, p->n);
    return getat_found(g, true);
}

static bool getat_add_patch(struct getat *g, const struct change *x)
{
    struct getat_patch *p;

    if (x->length > GETAT_PATCHES_MAX || x->value.n > GETAT_PATCHES_MAX - g->patched_bytes) {
        lookback_fail(&g->back, ERR_TOO_BIG, "too much was patched since for one reply");
        return false;
    }
    p = malloc(sizeof *p + x->value.n);
    if (p == NULL)
        return getat_no_memory(g);
    if (g->patches == NULL)
        g->length = x->length;
    g->patched_bytes += x->value.n;
    *p = (struct getat_patch){ .next = g->patches, .offset = x->offset, .n = x->value.n };
    bytes_copy(p->bytes, x->value.p, x->value.n);
    g->patches = p;
    g->type = OBJECT_STRING;
    return true;
}

/* It had another name before: the one that is looked for from here on. */
static bool getat_follow(struct getat *g, const struct change *x)
{
    uint8_t *own = malloc(x->key.n + 1);

    if (own == NULL)
        return getat_no_memory(g);
    bytes_copy(own, x->key.p, x->key.n);
    free(g->own_key);
    g->own_key = own;
    g->key = slice_of(own, x->key.n);
    g->db = x->db;
    return true;
}

/* What a change before the moment tells; false: all is known. */
static bool getat_take(struct getat *g, const struct change *x, uint64_t lsn)
{
    if (x->op == CHANGE_SWAP) {
        g->db = x->db == g->db ? x->to_db : x->db;
        return true;
    }
    if (x->op == CHANGE_FLUSH || x->op == CHANGE_DEL || x->op == CHANGE_EXPIRE ||
        x->op == CHANGE_EVICT || x->gone ||
        (x->op == CHANGE_RENAME && !getat_is(g, x->to_db, x->to)))
        return g->patches == NULL ? getat_found(g, false) : getat_make_string(g, slice_of(NULL, 0));
    if (x->op != CHANGE_IMAGE && g->found_rev == 0)
        g->found_rev = lsn;
    if ((x->op == CHANGE_TTL || x->op == CHANGE_SET) && !g->has_expiry) {
        g->has_expiry = true;
        g->expiry_ms = x->expiry_ms;
    }
    if (x->op == CHANGE_PATCH)
        return getat_add_patch(g, x);
    g->type = x->type;
    if (x->type != OBJECT_STRING)
        return getat_found(g, true);
    if (x->op == CHANGE_RENAME)
        return getat_follow(g, x);
    return x->op == CHANGE_TTL || getat_make_string(g, x->value);
}

/* See lookback_kind.see. */
static bool getat_see(struct lookback *l, struct id id, const uint8_t *entry)
{
    struct getat *g = getat_of(l);
    struct change x;

    if (change_read(entry, &x, &l->err) != OK) {
        l->rc = ERR_CORRUPT;
        return false;
    }
    if (!getat_concerns(g, &x))
        return true;
    if (g->by_time ? id.ms > g->ms : id.seq > g->rev) {
        g->changed_after |= x.op != CHANGE_IMAGE;
        return true;
    }
    return getat_take(g, &x, id.seq);
}

static void getat_behind(struct engine *e, struct client *c)
{
    char text[ID_TEXT_MAX];
    size_t n = id_format(history_floor(e->state.history), text);

    reply_error(c, "ERR BEHIND %.*s", (int)n, text);
}

static void getat_reply_value(struct client *c, bool is_string, struct slice value, uint64_t rev)
{
    reply_array(c, 2);
    if (is_string)
        reply_bulk(c, value.p, value.n);
    else
        reply_null(c);
    reply_u64(c, rev);
}

/* As it is now, which is as it was then. */
static void getat_reply_present(struct engine *e, struct client *c, struct object *o)
{
    bool is_string = o != NULL && o->type == OBJECT_STRING;

    if (o == NULL) {
        reply_null(c);
        return;
    }
    if (is_string && !cache_heat(e, c, &o))
        return;
    getat_reply_value(c, is_string, is_string ? cache_string(o) : slice_of(NULL, 0),
                      cache_revision(o));
}

static void getat_reply(struct client *c, struct lookback *l)
{
    struct getat *g = getat_of(l);
    struct engine *e = g->engine;
    struct object *o;

    if (g->is_found && g->exists && g->found_rev == 0)
        g->is_found = false; /* its last change is older than the history: an image is none */
    if (g->is_found && g->exists && g->by_time && g->expiry_ms != 0 && g->expiry_ms <= g->ms)
        g->exists = false;
    if (g->is_found && !g->exists) {
        reply_null(c);
    } else if (g->is_found) {
        getat_reply_value(c, g->type == OBJECT_STRING, slice_of(g->value, g->n_value),
                          g->found_rev);
    } else if (g->found_rev == 0 && !g->changed_after) {
        o = state_find(&e->state, g->asked_db, slice_of(g->name, g->n_name));
        if (o != NULL && !g->by_time && o->rev > g->rev)
            getat_behind(e, c); /* it has changed while this was looked for */
        else
            getat_reply_present(e, c, o);
    } else if (id_cmp(history_floor(e->state.history), ID_MIN) == 0 && g->found_rev == 0) {
        reply_null(c);
    } else {
        getat_behind(e, c);
    }
}

static void getat_free(struct lookback *l)
{
    struct getat *g = getat_of(l);

    while (g->patches != NULL) {
        struct getat_patch *p = g->patches;
        g->patches = p->next;
        free(p);
    }
    free(g->own_key);
    free(g->value);
}

static const struct lookback_kind getat_kind = { getat_see, getat_reply, getat_free };

/* Reads REV n or TIME ms. */
static bool getat_parse(struct client *c, const struct slice *argv, bool *by_time, uint64_t *out)
{
    int64_t n;

    *by_time = args_word(argv[2], "time");
    if (!*by_time && !args_word(argv[2], "rev")) {
        reply_syntax_error(c);
        return false;
    }
    if (!args_i64_in(argv[3], 0, INT64_MAX, &n)) {
        reply_error(c, "ERR the moment is %s, a number from 0 on",
                    *by_time ? "a time in milliseconds" : "a revision");
        return false;
    }
    *out = (uint64_t)n;
    return true;
}

/* Whether no more is to be known than what the key is now. */
static bool getat_is_present(const struct engine *e, const struct object *o, bool by_time,
                             uint64_t at)
{
    if (by_time)
        return at >= e->now_ms;
    return at >= log_last_lsn(e->log) || (o != NULL && o->rev <= at);
}

static bool getat_is_behind(const struct engine *e, const struct object *o, bool by_time,
                            uint64_t at)
{
    struct id floor = history_floor(e->state.history);

    if (o != NULL && o->rev < floor.seq)
        return by_time && at < floor.ms;
    return by_time ? at < floor.ms : at < floor.seq;
}

static void getat_command(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;
    struct getat *g;
    bool by_time;
    uint64_t at;

    (void)argc;
    if (!getat_parse(c, argv, &by_time, &at))
        return;
    o = engine_lookup(e, c, argv[1]);
    if (getat_is_present(e, o, by_time, at)) {
        getat_reply_present(e, c, o);
        return;
    }
    if (getat_is_behind(e, o, by_time, at)) {
        getat_behind(e, c);
        return;
    }
    g = calloc(1, sizeof *g + argv[1].n);
    if (g == NULL) {
        cache_nomem(c);
        return;
    }
    g->back.kind = &getat_kind;
    g->back.to = ID_MAX;
    g->engine = e;
    g->db = g->asked_db = c->db;
    g->by_time = by_time;
    g->rev = g->ms = at;
    g->n_name = argv[1].n;
    bytes_copy(g->name, argv[1].p, argv[1].n);
    g->key = slice_of(g->name, g->n_name);
    engine_need_all(e, c);
    lookback_start(e, c, &g->back);
}

/* ---- the table ---- */

const struct command changes_commands[] = {
    { .name = "getat",
      .handler = getat_command,
      .prefault = cache_prefault,
      .arity = 4,
      .flags = CMD_READONLY | CMD_NO_MULTI | CMD_NOSCRIPT,
      .categories = CAT_KEYSPACE,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(N) with N the number of changes from then to now, if the key has changed",
      .summary = "The value that a key had, and its revision, as far as the history goes",
      .syntax = "key <REV revision | TIME milliseconds>",
      .key_flags = "RO ACCESS" },
    { .name = "keyhist",
      .handler = keyhist_command,
      .arity = -2,
      .flags = CMD_READONLY | CMD_NO_MULTI | CMD_NOSCRIPT,
      .categories = CAT_KEYSPACE,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(N) with N the number of changes that are looked at, of all keys",
      .summary = "What happened to a key, the newest first, as far as the history goes",
      .syntax = "key [COUNT count]",
      .key_flags = "RO ACCESS" },
    { .name = NULL },
};
