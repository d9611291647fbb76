/*
 * strings_set.c - commands that set whole strings: SET and its older and wider forms.
 *
 * SET without options is the most frequent write there is: it looks the key up, writes one record and says OK, and nothing
 * here is done before it is known that there are options. Options are read by one table, which says of each word what it
 * cannot stand beside and whether a value follows it; only then times are read, so of two errors the one that Redis gives
 * comes first. A value that could be read by nobody, since its time is over already, is not written: what the key had is gone.
 *
 * Beck's own: IFREV n sets the key if its revision is n, 0 if it is not to be there, and replies the new revision. STALE m
 * keeps the value m seconds longer than readers see it, for GETLEASE. LEASE token sets it if that lease (cache/lease.h) still
 * holds.
 */
#include "broker/commands/strings.h"
#include "broker/cache/lease.h"
#include "broker/commands/expiry.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

enum set_flag {
    SET_EX = 1 << 0,
    SET_PX = 1 << 1,
    SET_EXAT = 1 << 2,
    SET_PXAT = 1 << 3,
    SET_KEEPTTL = 1 << 4,
    SET_NX = 1 << 5,
    SET_XX = 1 << 6,
    SET_GET = 1 << 7,
    SET_IFEQ = 1 << 8,
    SET_IFNE = 1 << 9,
    SET_IFDEQ = 1 << 10,
    SET_IFDNE = 1 << 11,
    SET_IFREV = 1 << 12,
    SET_STALE = 1 << 13,
    SET_LEASE = 1 << 14,
    SET_EXPIRY = SET_EX | SET_PX | SET_EXAT | SET_PXAT,
    SET_TTL = SET_EXPIRY | SET_KEEPTTL,
    SET_IFVALUE = SET_IFEQ | SET_IFNE | SET_IFDEQ | SET_IFDNE,
    SET_IF = SET_NX | SET_XX | SET_IFVALUE | SET_IFREV,
    SET_OLD = SET_GET | SET_IFVALUE,         /* they want what was there */
    SET_OF_MANY = SET_TTL | SET_NX | SET_XX, /* what MSETEX knows */
    SET_OF_ALL = (1 << 15) - 1,
};

static const struct set_word {
    char word[8];
    unsigned n, flag, excludes; /* bits of set_flag */
    bool takes_value;
} set_words[] = {
    { "ex", 2, SET_EX, SET_TTL & ~SET_EX, true },
    { "px", 2, SET_PX, SET_TTL & ~SET_PX, true },
    { "nx", 2, SET_NX, SET_IF & ~SET_NX, false },
    { "xx", 2, SET_XX, SET_IF & ~SET_XX, false },
    { "get", 3, SET_GET, SET_IFREV | SET_LEASE, false },
    { "exat", 4, SET_EXAT, SET_TTL & ~SET_EXAT, true },
    { "pxat", 4, SET_PXAT, SET_TTL & ~SET_PXAT, true },
    { "ifeq", 4, SET_IFEQ, SET_IF & ~SET_IFEQ, true },
    { "ifne", 4, SET_IFNE, SET_IF & ~SET_IFNE, true },
    { "ifdeq", 5, SET_IFDEQ, SET_IF & ~SET_IFDEQ, true },
    { "ifdne", 5, SET_IFDNE, SET_IF & ~SET_IFDNE, true },
    { "ifrev", 5, SET_IFREV, (SET_IF & ~SET_IFREV) | SET_GET, true },
    { "stale", 5, SET_STALE, SET_KEEPTTL, true },
    { "lease", 5, SET_LEASE, SET_GET, true },
    { "keepttl", 7, SET_KEEPTTL, SET_EXPIRY | SET_STALE, false },
};

enum { SET_WORDS = sizeof set_words / sizeof set_words[0] };

struct set { /* the options of a SET, and what they come to */
    unsigned flags;
    struct slice when, match, rev_text, stale_text, lease; /* arguments of options */
    uint64_t expiry_ms, stale_ms, rev;
};

/* ---- options ---- */

static const struct set_word *set_find_word(struct slice arg)
{
    for (size_t i = 0; i < SET_WORDS; i++)
        if (set_words[i].n == arg.n && args_word(arg, set_words[i].word))
            return &set_words[i];
    return NULL;
}

static void set_take_value(struct set *s, unsigned flag, struct slice value)
{
    if (flag & SET_EXPIRY)
        s->when = value;
    else if (flag & SET_IFVALUE)
        s->match = value;
    else if (flag == SET_IFREV)
        s->rev_text = value;
    else if (flag == SET_STALE)
        s->stale_text = value;
    else
        s->lease = value;
}

/* Reads option words, of those in `known`; false if they make no sense. */
static bool set_parse(struct set *s, unsigned known, const struct slice *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct set_word *w = set_find_word(args[i]);
        if (w == NULL || !(w->flag & known) || s->flags & w->excludes)
            return false;
        s->flags |= w->flag;
        if (!w->takes_value)
            continue;
        if (++i == n)
            return false;
        set_take_value(s, w->flag, args[i]);
    }
    return true;
}

static enum expiry_unit set_unit(unsigned flags)
{
    return flags & SET_EX     ? EXPIRY_EX
           : flags & SET_PX   ? EXPIRY_PX
           : flags & SET_EXAT ? EXPIRY_EXAT
           : flags & SET_PXAT ? EXPIRY_PXAT
                              : EXPIRY_NONE;
}

/* How long a value is kept beyond its expiry. */
static bool set_read_stale(struct client *c, struct set *s)
{
    int64_t seconds;

    if (!(s->flags & SET_EXPIRY)) {
        reply_error(c, "ERR STALE requires an expiration");
        return false;
    }
    if (!args_i64_in(s->stale_text, 1, (int64_t)(OBJECT_EXPIRY_MAX / 1000), &seconds)) {
        reply_error(c, "ERR invalid stale time in 'set' command");
        return false;
    }
    s->stale_ms = s->expiry_ms + 1000 * (uint64_t)seconds;
    if (s->stale_ms > OBJECT_EXPIRY_MAX)
        s->stale_ms = OBJECT_EXPIRY_MAX;
    return true;
}

static bool set_read_rev(struct client *c, struct set *s)
{
    int64_t rev;

    if (!args_i64_in(s->rev_text, 0, INT64_MAX, &rev)) {
        reply_error(c, "ERR a revision is a number from 0 on");
        return false;
    }
    s->rev = (uint64_t)rev;
    return true;
}

/* Reads the numbers among the options; false after an error reply. */
static bool set_read(struct engine *e, struct client *c, struct set *s, const char *command)
{
    if (s->flags & SET_EXPIRY &&
        !expiry_read(e, c, set_unit(s->flags), s->when, command, &s->expiry_ms))
        return false;
    if (s->flags & SET_STALE && !set_read_stale(c, s))
        return false;
    return !(s->flags & SET_IFREV) || set_read_rev(c, s);
}

/* ---- setting ---- */

static void set_notify(struct engine *e, const struct client *c, struct slice key, bool expires)
{
    notify(e, NOTIFY_STRING, "set", c->db, key);
    if (expires)
        notify(e, NOTIFY_GENERIC, "expire", c->db, key);
}

/* A value whose time is over: as if it had been set, and had expired at once. */
static void set_past(struct engine *e, struct client *c, struct slice key, struct object *old)
{
    set_notify(e, c, key, true);
    if (old != NULL)
        engine_unname(e, c, old, REASON_EXPIRE);
    else
        notify(e, NOTIFY_EXPIRED, "expired", c->db, key);
    engine_key_changed(e, c->db, key);
}

/* Writes the value, or removes what is there if nobody could read it; false if there is no memory. */
static bool set_try(struct engine *e, struct client *c, const struct set *s, struct slice key,
                    struct object *old, struct slice value)
{
    uint64_t expiry_ms = s->expiry_ms, stale_ms = s->stale_ms;
    struct err err;

    if (s->flags & SET_KEEPTTL && old != NULL) {
        expiry_ms = old->expiry_ms;
        stale_ms = object_stale_ms(old);
    }
    if (expiry_is_past(e, expiry_ms) && stale_ms <= e->now_ms) {
        set_past(e, c, key, old);
        return true;
    }
    if (cache_set(e, c, key, old, value, expiry_ms, stale_ms, NULL, &err) != OK)
        return false;
    set_notify(e, c, key, s->expiry_ms != 0);
    return true;
}

/* The same; false after an error reply. */
static bool set_write(struct engine *e, struct client *c, const struct set *s, struct slice key,
                      struct object *old, struct slice value)
{
    bool written = set_try(e, c, s, key, old, value);

    if (!written)
        cache_nomem(c);
    return written;
}

/* Whether the conditions let the key, which has `o` now, be set. False after an error reply too, which *failed tells. */
static bool set_holds(struct engine *e, struct client *c, const struct set *s, struct slice key,
                      const struct object *o, bool *failed)
{
    enum strings_condition condition = s->flags & SET_IFEQ    ? STRINGS_IFEQ
                                       : s->flags & SET_IFNE  ? STRINGS_IFNE
                                       : s->flags & SET_IFDEQ ? STRINGS_IFDEQ
                                                              : STRINGS_IFDNE;
    bool holds = false;

    if (s->flags & SET_LEASE && !lease_holds(e->leases, c->db, key, s->lease, e->now_ms))
        return false;
    if (s->flags & SET_NX)
        return o == NULL;
    if (s->flags & SET_XX)
        return o != NULL;
    if (s->flags & SET_IFREV)
        return (o == NULL ? 0 : cache_revision(o)) == s->rev;
    if (!(s->flags & SET_IFVALUE))
        return true;
    if (o == NULL)
        return s->flags & (SET_IFNE | SET_IFDNE);
    *failed = !strings_compare(c, condition, cache_string(o), s->match, &holds);
    return holds;
}

/* What the key has, as far as the options need it; false after an error reply. */
static bool set_look(struct engine *e, struct client *c, const struct set *s, struct slice key,
                     struct object **out)
{
    if (s->flags & SET_OLD)
        return cache_write(e, c, key, OBJECT_STRING, out);
    *out = engine_lookup_write(e, c, key);
    return true;
}

static void set_reply_old(struct client *c, const struct object *o)
{
    if (o == NULL) {
        reply_null(c);
        return;
    }
    struct slice value = cache_string(o);
    reply_bulk(c, value.p, value.n);
}

/* With GET the reply is what was there, and has to be written before that is gone: it is taken back if setting fails. */
static void set_and_reply(struct engine *e, struct client *c, const struct set *s, struct slice key,
                          struct object *o, struct slice value)
{
    uint64_t start = outbuf_end(&c->out);
    bool failed = false, holds = set_holds(e, c, s, key, o, &failed);

    if (failed)
        return;
    if (s->flags & SET_GET)
        set_reply_old(c, o);
    if (!holds) {
        if (!(s->flags & SET_GET))
            reply_null(c);
        return;
    }
    if (!set_try(e, c, s, key, o, value)) {
        outbuf_truncate(&c->out, start);
        cache_nomem(c);
        return;
    }
    if (s->flags & SET_IFREV)
        reply_u64(c, log_last_lsn(e->log)); /* the record that was just written */
    else if (!(s->flags & SET_GET))
        reply_ok(c);
}

static void set_with_options(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    struct set s = { 0 };
    struct object *o;

    if (!set_parse(&s, SET_OF_ALL, argv + 3, argc - 3)) {
        reply_syntax_error(c);
        return;
    }
    if (set_read(e, c, &s, "set") && set_look(e, c, &s, argv[1], &o))
        set_and_reply(e, c, &s, argv[1], o, argv[2]);
}

static const struct set SET_PLAIN = { 0 };

void strings_set(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    if (argc > 3) {
        set_with_options(e, c, argv, argc);
        return;
    }
    struct object *o = engine_lookup_write(e, c, argv[1]);
    if (set_write(e, c, &SET_PLAIN, argv[1], o, argv[2]))
        reply_ok(c);
}

/* Only those who ask for what was there need it. */
void strings_set_prefault(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                          struct wants *wants)
{
    struct set s = { 0 };

    if (argc > 3 && set_parse(&s, SET_OF_ALL, argv + 3, argc - 3) && s.flags & SET_OLD)
        cache_prefault(e, c, argv, argc, wants);
}

void strings_setnx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    if (engine_lookup_write(e, c, argv[1]) != NULL)
        reply_int(c, 0);
    else if (set_write(e, c, &SET_PLAIN, argv[1], NULL, argv[2]))
        reply_int(c, 1);
}

static void set_expiring(struct engine *e, struct client *c, const struct slice *argv,
                         enum expiry_unit unit, const char *command)
{
    struct set s = { 0 };

    if (!expiry_read(e, c, unit, argv[2], command, &s.expiry_ms))
        return;
    struct object *o = engine_lookup_write(e, c, argv[1]);
    if (set_write(e, c, &s, argv[1], o, argv[3]))
        reply_ok(c);
}

void strings_setex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    set_expiring(e, c, argv, EXPIRY_EX, "setex");
}

void strings_psetex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    set_expiring(e, c, argv, EXPIRY_PX, "psetex");
}

void strings_getset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct set s = { .flags = SET_GET };
    struct object *o;

    (void)argc;
    if (cache_write(e, c, argv[1], OBJECT_STRING, &o))
        set_and_reply(e, c, &s, argv[1], o, argv[2]);
}

/* ---- many at once ---- */

/* Sets the pairs; false after an error reply. Without memory those before it are set: Redis ends there. */
static bool set_pairs(struct engine *e, struct client *c, const struct set *s,
                      const struct slice *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct object *o = engine_lookup_write(e, c, pairs[2 * i]);
        if (!set_write(e, c, s, pairs[2 * i], o, pairs[2 * i + 1]))
            return false;
    }
    return true;
}

/* Whether as many of the keys as the flags say are there: none for NX, all for XX. */
static bool set_pairs_hold(struct engine *e, struct client *c, unsigned flags,
                           const struct slice *pairs, size_t n)
{
    if (!(flags & (SET_NX | SET_XX)))
        return true;
    for (size_t i = 0; i < n; i++)
        if ((engine_lookup_write(e, c, pairs[2 * i]) != NULL) != ((flags & SET_XX) != 0))
            return false;
    return true;
}

static bool set_pairs_complete(struct client *c, size_t argc, const char *command)
{
    if (argc % 2 == 1)
        return true;
    reply_error(c, "ERR wrong number of arguments for '%s' command", command);
    return false;
}

void strings_mset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    if (set_pairs_complete(c, argc, "mset") && set_pairs(e, c, &SET_PLAIN, argv + 1, argc / 2))
        reply_ok(c);
}

void strings_msetnx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    if (!set_pairs_complete(c, argc, "msetnx"))
        return;
    if (!set_pairs_hold(e, c, SET_NX, argv + 1, argc / 2))
        reply_int(c, 0);
    else if (set_pairs(e, c, &SET_PLAIN, argv + 1, argc / 2))
        reply_int(c, 1);
}

size_t strings_mset_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return cache_bound(argc, 0); /* each key is set, and may have expired */
}

/* How many pairs MSETEX is told of; false: that is no such number. */
static bool msetex_count(struct slice text, size_t *out)
{
    int64_t n;

    if (!args_i64_in(text, 1, INT32_MAX, &n))
        return false;
    *out = (size_t)n;
    return true;
}

void strings_msetex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct set s = { 0 };
    size_t n;

    if (!msetex_count(argv[1], &n)) {
        reply_error(c, "ERR invalid numkeys value");
        return;
    }
    if (n > (argc - 2) / 2) {
        reply_error(c, "ERR wrong number of key-value pairs");
        return;
    }
    if (!set_parse(&s, SET_OF_MANY, argv + 2 + 2 * n, argc - 2 - 2 * n)) {
        reply_syntax_error(c);
        return;
    }
    if (!set_read(e, c, &s, "msetex"))
        return;
    if (!set_pairs_hold(e, c, s.flags, argv + 2, n))
        reply_int(c, 0);
    else if (set_pairs(e, c, &s, argv + 2, n))
        reply_int(c, 1);
}

/* The table does not know where its keys are. */
size_t strings_msetex_bound(const struct slice *argv, size_t argc)
{
    size_t bytes = 0;

    for (size_t i = 2; i < argc; i += 2)
        bytes += argv[i].n;
    return cache_bound(argc, bytes);
}
