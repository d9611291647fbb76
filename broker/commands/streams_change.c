/*
 * streams_change.c - XTRIM, XDEL, XDELEX, XSETID.
 *
 * Each finds out first what it does, which may need entries that are in segments; its prefault asks for those. What is
 * trimmed is decided by engine/sieve.c and trim.c; deleting by IDs is deletion.c's.
 */
#include "broker/commands/deletion.h"
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/cursor.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/reply.h"
#include "broker/engine/sieve.h"
#include "broker/pubsub/notify.h"
#include "log/record.h"

enum {
    TRIM_LIMIT_NODES = 100, /* what ~ removes at most without LIMIT, in nodes */
    TRIM_LIMIT_UNSET = 10000,
    TRIM_LIMIT_MAX = 1000000,
};

/* ---- options of trimming ---- */

static int trim_option_by(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                          enum trim_by by, struct trim *trim)
{
    size_t at = *i + 1;
    int64_t n = 0;

    if (trim->by != TRIM_NONE) {
        reply_error(c, "ERR syntax error, MAXLEN and MINID options at the same time are not "
                       "compatible");
        return -1;
    }
    trim->by = by;
    trim->approx = false;
    if (argc - at >= 2 && argv[at].n == 1 && (argv[at].p[0] == '~' || argv[at].p[0] == '='))
        trim->approx = argv[at++].p[0] == '~';
    if (by == TRIM_MINID && !streams_parse_id(argv[at], 0, &trim->minid)) {
        streams_bad_id(c);
        return -1;
    }
    if (by == TRIM_MAXLEN && !args_i64(argv[at], &n)) {
        reply_not_integer(c);
        return -1;
    }
    if (n < 0) {
        reply_error(c, "ERR The MAXLEN argument must be >= 0.");
        return -1;
    }
    trim->maxlen = (uint64_t)n;
    *i = at + 1;
    return 1;
}

static int trim_option_limit(struct client *c, struct slice arg, size_t *i, struct trim *trim)
{
    int64_t n;

    if (!args_i64(arg, &n)) {
        reply_not_integer(c);
        return -1;
    }
    if (n < 0) {
        reply_error(c, "ERR The LIMIT argument must be >= 0.");
        return -1;
    }
    trim->limit = (uint64_t)n;
    trim->limit_given = true;
    *i += 2;
    return 1;
}

bool streams_references(struct slice word, enum trim_refs *out)
{
    if (args_word(word, "keepref"))
        *out = TRIM_KEEPREF;
    else if (args_word(word, "delref"))
        *out = TRIM_DELREF;
    else if (args_word(word, "acked"))
        *out = TRIM_ACKED;
    else
        return false;
    return true;
}

static int trim_option_references(struct client *c, size_t *i, bool *given)
{
    if (*given) {
        reply_syntax_error(c);
        return -1;
    }
    *given = true;
    *i += 1;
    return 1;
}

int streams_trim_option(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                        struct trim *trim, bool *references_given)
{
    struct slice arg = argv[*i];
    bool more = *i + 1 < argc;

    if (more && args_word(arg, "maxlen"))
        return trim_option_by(c, argv, argc, i, TRIM_MAXLEN, trim);
    if (more && args_word(arg, "minid"))
        return trim_option_by(c, argv, argc, i, TRIM_MINID, trim);
    if (more && args_word(arg, "limit"))
        return trim_option_limit(c, argv[*i + 1], i, trim);
    if (streams_references(arg, &trim->refs))
        return trim_option_references(c, i, references_given);
    return 0;
}

static uint64_t trim_default_limit(const struct engine *e)
{
    uint64_t limit = TRIM_LIMIT_NODES * (uint64_t)e->config->stream_node_max_entries;

    if (limit == 0)
        return TRIM_LIMIT_UNSET;
    return limit < TRIM_LIMIT_MAX ? limit : TRIM_LIMIT_MAX;
}

bool streams_trim_check(struct engine *e, struct client *c, struct trim *trim)
{
    if (trim->limit_given && trim->by == TRIM_NONE) {
        reply_error(c, "ERR syntax error, LIMIT cannot be used without specifying a trimming "
                       "strategy");
        return false;
    }
    if (trim->limit_given && !trim->approx) {
        reply_error(c, "ERR syntax error, LIMIT cannot be used without the special ~ option");
        return false;
    }
    if (!trim->limit_given && trim->approx)
        trim->limit = trim_default_limit(e);
    return true;
}

/* ---- XTRIM ---- */

/* Reads all options; false if an error has been replied. */
static bool xtrim_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                        struct trim *trim)
{
    bool references_given = false;

    for (size_t i = 2; i < argc;) {
        int rc = streams_trim_option(c, argv, argc, &i, trim, &references_given);

        if (rc == 0)
            reply_syntax_error(c);
        if (rc <= 0)
            return false;
    }
    if (!streams_trim_check(e, c, trim))
        return false;
    if (trim->by == TRIM_NONE)
        reply_error(c, "ERR syntax error, XTRIM called without specifying a trimming strategy");
    return trim->by != TRIM_NONE;
}

static void xtrim_run(struct engine *e, struct client *c, struct slice key, struct stream *st,
                      const struct trim *trim)
{
    struct sieve sieve;
    struct err err;
    int rc = sieve_plan(e, st, trim, NULL, NULL, &sieve, &err);

    if (rc == OK && sieve_n(&sieve) > 0)
        rc = sieve_prepare(e, st, &sieve, &err);
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
    } else if (sieve_n(&sieve) == 0) {
        reply_int(c, 0);
    } else {
        reply_u64(c, sieve_apply(e, c, st, &sieve));
        engine_key_changed(e, c->db, key);
        notify(e, NOTIFY_STREAM, "xtrim", c->db, key);
    }
    sieve_fini(&sieve);
}

void streams_xtrim(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct trim trim = { .by = TRIM_NONE };
    struct stream *st;

    if (!xtrim_parse(e, c, argv, argc, &trim) || !streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL)
        reply_u64(c, 0);
    else
        xtrim_run(e, c, argv[1], st, &trim);
}

void streams_xtrim_prefault(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, struct wants *wants)
{
    struct trim trim = { .by = TRIM_NONE };
    const struct stream *st = streams_peek(e, c, argv[1]);
    struct sieve sieve;

    if (st == NULL || stream_n_sealed(st) == 0 || !xtrim_parse(e, c, argv, argc, &trim))
        return;
    err_ignore(sieve_plan(e, st, &trim, NULL, wants, &sieve, NULL)); /* the wants tell */
    sieve_fini(&sieve);
}

/* What a trim may log because of references, if one of the first n words says what becomes of them. */
size_t streams_trim_bound(const struct slice *argv, size_t n)
{
    enum trim_refs refs;

    for (size_t i = 0; i < n; i++)
        if (streams_references(argv[i], &refs) && refs != TRIM_KEEPREF)
            return refs == TRIM_ACKED ? SIEVE_BOUND : grouplog_bound(1, 0);
    return 0;
}

size_t streams_xtrim_bound(const struct slice *argv, size_t argc)
{
    return streams_trim_bound(argv + 2, argc - 2);
}

/* ---- XDEL, XDELEX ---- */

void streams_xdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct deletion d;
    struct stream *st;
    struct err err;
    int rc;

    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_int(c, 0);
        return;
    }
    if (deletion_parse(c, argv + 2, argc - 2, &d)) {
        deletion_sort(&d);
        rc = deletion_look(e, st, &d, NULL, &err);
        if (rc == OK)
            rc = deletion_prepare(e, st, &d, &err);
        if (rc == OK) {
            deletion_apply(e, c, argv[1], st, &d);
            reply_u64(c, d.n_found);
        } else {
            streams_reply_failure(c, rc, &err);
        }
    }
    deletion_fini(&d);
}

void streams_xdel_prefault(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, struct wants *wants)
{
    deletion_prefault(e, c, argv[1], argv + 2, argc - 2, wants);
}

/* ACKED: what groups still need stays, whether it is there or not. */
static void xdelex_spare(const struct stream *st, struct deletion *d)
{
    for (size_t i = 0; i < d->n; i++) {
        struct deletion_item *item = &d->items[i];

        item->skip = !groups_have_acked(stream_groups(st), item->id);
        if (item->skip)
            item->code = DELETION_REFERENCED;
    }
}

/* DELREF: they are pending in no group any more. */
static void xdelex_unref(struct engine *e, struct client *c, struct stream *st, struct deletion *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++)
        if (!deletion_repeats(d, i))
            d->ids[n++] = d->items[i].id;
    grouplog_unref(e, c, st, d->ids, n);
}

static int xdelex_run(struct engine *e, struct client *c, struct slice key, struct stream *st,
                      enum trim_refs refs, struct deletion *d, struct err *err)
{
    int rc;

    deletion_sort(d);
    if (refs == TRIM_ACKED)
        xdelex_spare(st, d);
    rc = deletion_look(e, st, d, NULL, err);
    if (rc == OK)
        rc = deletion_prepare(e, st, d, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].found)
            d->items[i].code = DELETION_DONE;
    if (refs == TRIM_DELREF)
        xdelex_unref(e, c, st, d);
    deletion_apply(e, c, key, st, d);
    return OK;
}

void streams_xdelex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct deletion_request x;
    struct deletion d;
    struct stream *st;
    struct err err;
    int rc = OK;

    if (!deletion_request(c, argv, argc, 2, &x) || !streams_find_write(e, c, argv[1], &st))
        return;
    if (deletion_parse(c, argv + x.ids_at, x.n_ids, &d)) {
        if (st != NULL)
            rc = xdelex_run(e, c, argv[1], st, x.refs, &d, &err);
        if (rc == OK)
            deletion_reply(c, &d);
        else
            streams_reply_failure(c, rc, &err);
    }
    deletion_fini(&d);
}

void streams_xdelex_prefault(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct wants *wants)
{
    struct deletion_request x;

    if (deletion_request(c, argv, argc, 2, &x))
        deletion_prefault(e, c, argv[1], argv + x.ids_at, x.n_ids, wants);
}

size_t streams_xdelex_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return grouplog_bound(1, argc); /* that they are pending nowhere */
}

/* ---- XSETID ---- */

static void setid_append(struct engine *e, struct client *c, struct stream *st, struct id last,
                         uint64_t added, struct id max_deleted)
{
    size_t len = varint_size(st->oid) + id_size(last) + varint_size(added) + id_size(max_deleted);
    uint64_t oid = st->oid, lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_SETID, len, &lsn);

    p = varint_put(id_put(varint_put(p, st->oid), last), added);
    id_put(p, max_deleted);
    state_set_id(&e->state, st, last, added, max_deleted, lsn);
    if (st->oid != oid)
        redelivery_began_anew(e, st);
}

struct xsetid {
    struct id last, max_deleted;
    int64_t added; /* -1: not given */
};

static bool xsetid_option(struct client *c, struct slice word, struct slice value, struct xsetid *x)
{
    if (args_word(word, "entriesadded")) {
        if (!args_i64(value, &x->added)) {
            reply_not_integer(c);
            return false;
        }
        if (x->added < 0)
            reply_error(c, "ERR entries_added must be positive");
        return x->added >= 0;
    }
    if (!args_word(word, "maxdeletedid")) {
        reply_syntax_error(c);
        return false;
    }
    if (!streams_parse_id(value, 0, &x->max_deleted)) {
        streams_bad_id(c);
        return false;
    }
    if (id_cmp(x->last, x->max_deleted) < 0) {
        reply_error(c, "ERR The ID specified in XSETID is smaller than the provided "
                       "max_deleted_entry_id");
        return false;
    }
    return true;
}

static bool xsetid_parse(struct client *c, const struct slice *argv, size_t argc, struct xsetid *x)
{
    if (!streams_parse_id(argv[2], 0, &x->last)) {
        streams_bad_id(c);
        return false;
    }
    for (size_t i = 3; i < argc; i += 2) {
        if (i + 1 == argc) {
            reply_syntax_error(c);
            return false;
        }
        if (!xsetid_option(c, argv[i], argv[i + 1], x))
            return false;
    }
    return true;
}

/* Whether the new last ID is below an entry. Only one that goes back can be. */
static int xsetid_below_top(struct engine *e, const struct stream *st, const struct xsetid *x,
                            struct wants *wants, bool *out, struct err *err)
{
    struct id top = ID_MIN;
    int rc = OK;

    if (st->n_entries > 0 && id_cmp(x->last, st->last_id) < 0)
        rc = cursor_top_id(e, st, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT, wants, &top,
                           err);
    *out = rc == OK && id_cmp(x->last, top) < 0;
    return rc;
}

static bool xsetid_check(struct engine *e, struct client *c, const struct xsetid *x,
                         const struct stream *st)
{
    bool below = false;
    struct err err;
    int rc;

    if (id_cmp(x->last, stream_max_deleted(st)) < 0 || !state_may_set_id(st, x->last)) {
        reply_error(c,
                    "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
        return false;
    }
    if (st->n_entries == 0)
        return true;
    rc = xsetid_below_top(e, st, x, NULL, &below, &err);
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
        return false;
    }
    if (below) {
        reply_error(c, "ERR The ID specified in XSETID is smaller than the target stream top item");
        return false;
    }
    if (x->added >= 0 && (uint64_t)x->added < st->n_entries) {
        reply_error(c,
                    "ERR The entries_added specified in XSETID is smaller than the target stream "
                    "length");
        return false;
    }
    return true;
}

void streams_xsetid(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xsetid x = { .added = -1 };
    struct stream *st;
    struct err err;
    uint64_t added;

    if (!xsetid_parse(c, argv, argc, &x) || !streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_no_such_key(c);
        return;
    }
    if (!xsetid_check(e, c, &x, st))
        return;
    added = x.added >= 0 ? (uint64_t)x.added : st->entries_added;
    if (id_cmp(x.max_deleted, ID_MIN) == 0)
        x.max_deleted = stream_max_deleted(st);
    if (state_prepare_remove(&e->state, st, 0, &err) != OK) {
        reply_error(c, "OOM %s", err.text);
        return;
    }
    setid_append(e, c, st, x.last, added, x.max_deleted);
    notify(e, NOTIFY_STREAM, "xsetid", c->db, argv[1]);
    reply_ok(c); /* no entry has changed: as in Redis, WATCH does not see it */
}

void streams_xsetid_prefault(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, argv[1]);
    struct xsetid x = { .added = -1 };
    bool below;

    if (st != NULL && stream_n_sealed(st) > 0 && xsetid_parse(c, argv, argc, &x))
        err_ignore(xsetid_below_top(e, st, &x, wants, &below, NULL)); /* the wants tell */
}
