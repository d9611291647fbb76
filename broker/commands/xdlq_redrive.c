/*
 * xdlq_redrive.c - XDLQ REDRIVE: dead letters go back to where they came from.
 *
 * The original is looked for where it was, in the stream, by its ID. If it is there, it becomes pending again, nobody's,
 * as if it had never been delivered, and in this group alone: others have nothing to do with its failure. If it is gone
 * there is only the copy, and with ALLGROUPS that is appended to the stream, where every group sees it; otherwise it is
 * left.
 *
 * Each slice gathers what it does, in the order of the dead letters, and then does it in one batch: a PENDING record, the
 * new entries, and the removal of the letters. So after a crash a letter is either there, or its entry is pending or
 * appended. COUNT bounds those that are redriven and appended; what is left does not stand in their way.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include "broker/commands/deletion.h"
#include "broker/commands/xdlq.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/retention.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"

enum {
    REDRIVE_SLICE = 256,         /* dead letters looked at in a round */
    REDRIVE_BYTES_MAX = 1 << 20, /* appended by a slice, but for the last entry */
    REDRIVE_WANTS_MAX = 4 << 20, /* bytes of blocks that are wanted at once */
};

struct redrive {
    struct xdlq_walk walk; /* must be first */
    uint64_t oid, gid;     /* of the stream and the group */
    struct slice key, group;
    bool all_groups;
    uint64_t left; /* of COUNT */
    uint64_t n_redriven, n_appended, n_left;
    uint8_t names[]; /* of stream and group */
};

struct redrive_item { /* a dead letter that goes */
    struct id letter, origin;
    uint64_t bytes; /* of the letter */
    uint32_t key;   /* of the original, if the group orders by a field */
    uint8_t *body;  /* what is appended; NULL: the original becomes pending */
    size_t len;
};

struct redrive_batch { /* what a slice does */
    struct engine *engine;
    struct client *client;
    struct redrive *redrive;
    struct stream *dlq, *st;
    struct group *group;
    struct cursor letters, originals;
    bool cold; /* some original is not in memory: nothing behind it goes */
    size_t n, n_pending, n_appended, n_left;
    size_t bytes; /* that are appended */
    struct redrive_item items[REDRIVE_SLICE];
};

static struct redrive *redrive_of(struct xdlq_walk *w)
{
    return (struct redrive *)(void *)w; /* its first member */
}

static void redrive_free(struct xdlq_walk *w)
{
    free(w);
}

/* ---- gathering ---- */

/* The hash of the field that the group orders by; 0: the entry does not have it. */
static uint32_t redrive_key(const struct group *g, const uint8_t *entry)
{
    struct slice name, value, wanted = group_options(g)->order_by;
    struct id id;
    uint64_t n;

    if (wanted.n == 0)
        return 0;
    for (entry = entry_varint(entry_id(entry, &id), &n); n > 0; n--) {
        entry = entry_str(entry_str(entry, &name), &value);
        if (slice_equal(name, wanted))
            return group_key(g, value);
    }
    return 0;
}

/* The original of a letter, NULL if it is gone. Errors: as of the cursor. */
static int redrive_find(struct redrive_batch *b, struct id origin, const uint8_t **out,
                        struct err *err)
{
    const uint8_t *entry;
    struct id id;
    int rc;

    *out = NULL;
    if (id_cmp(origin, stream_floor(b->st)) < 0 || id_cmp(origin, b->st->last_id) > 0)
        return OK;
    rc = cursor_seek(&b->originals, origin, err);
    entry = rc == OK ? cursor_at(&b->originals) : NULL;
    if (entry == NULL)
        return rc;
    entry_id(entry, &id);
    if (id_cmp(id, origin) == 0)
        *out = entry;
    return OK;
}

/* The letter's own fields are to be appended. Errors: ERR_NOMEM. */
static int redrive_copy(struct redrive_batch *b, const struct deadletter *d,
                        struct redrive_item *item, struct err *err)
{
    item->len = varint_size(d->n_own) + d->own.n;
    item->body = malloc(item->len);
    if (item->body == NULL)
        return err_set(err, ERR_NOMEM, "a dead letter of %zu bytes", item->len);
    memcpy(varint_put(item->body, d->n_own), d->own.p, d->own.n);
    b->bytes += item->len;
    return OK;
}

/* Decides what happens to a letter of this group. Errors: as of the cursor, ERR_NOMEM. */
static int redrive_letter(struct redrive_batch *b, const uint8_t *entry, const struct deadletter *d,
                          struct err *err)
{
    struct redrive_item item = { .origin = d->id };
    const uint8_t *original;
    int rc = redrive_find(b, d->id, &original, err);

    if (rc == ERR_COLD)
        b->cold = true;
    if (rc != OK || b->cold)
        return rc;
    entry_id(entry, &item.letter);
    item.bytes = (uint64_t)(entry_end(entry) - entry);
    if (original != NULL) {
        item.key = redrive_key(b->group, original);
    } else if (!b->redrive->all_groups || d->n_own == 0) {
        b->n_left++;
        return OK;
    } else {
        rc = redrive_copy(b, d, &item, err);
    }
    if (rc != OK)
        return rc;
    b->n_pending += item.body == NULL;
    b->n_appended += item.body != NULL;
    b->items[b->n++] = item;
    return OK;
}

static bool redrive_is_ours(const struct redrive *r, const struct deadletter *d)
{
    return slice_equal(d->stream, r->key) && slice_equal(d->group, r->group);
}

/* Deals with the letter that the cursor is at. Where an original is not in memory, only looks which others are not, so
 * that they are read together. */
static int redrive_entry(struct redrive_batch *b, const uint8_t *entry, struct id id,
                         struct err *err)
{
    struct deadletter d;
    int rc = OK;

    if (deadletter_parse(entry, &d) && redrive_is_ours(b->redrive, &d))
        rc = redrive_letter(b, entry, &d, err);
    if (rc == OK && !b->cold)
        xdlq_advance(&b->redrive->walk, id);
    return rc == ERR_COLD ? OK : rc;
}

static bool redrive_is_full(const struct redrive_batch *b)
{
    const struct xdlq_walk *w = &b->redrive->walk;

    return b->n == b->redrive->left || b->bytes > REDRIVE_BYTES_MAX ||
           (b->cold && w->wants != NULL && w->wants->bytes > REDRIVE_WANTS_MAX);
}

/* Errors: ERR_COLD (what comes before can be done), ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
static int redrive_gather(struct redrive_batch *b, struct err *err)
{
    struct xdlq_walk *w = &b->redrive->walk;
    int rc = cursor_seek(&b->letters, w->next, err);

    for (size_t i = 0; rc == OK && i < REDRIVE_SLICE && !redrive_is_full(b); i++) {
        const uint8_t *entry = cursor_at(&b->letters);
        struct id id = ID_MIN;

        if (entry != NULL)
            entry_id(entry, &id);
        if (entry == NULL || id_cmp(id, w->last) > 0) {
            w->ended = !b->cold;
            break;
        }
        rc = redrive_entry(b, entry, id, err);
        if (rc == OK)
            rc = cursor_next(&b->letters, err);
    }
    return rc == OK && b->cold ? err_set(err, ERR_COLD, "originals that are not in memory") : rc;
}

/* ---- doing it ---- */

struct redrive_original {
    struct id id;
    uint32_t key;
};

static int redrive_compare(const void *a, const void *b)
{
    const struct redrive_original *x = a, *y = b;

    return id_cmp(x->id, y->id);
}

/* The originals by ID; returns how many. */
static size_t redrive_originals(const struct redrive_batch *b, struct redrive_original *out)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        if (b->items[i].body == NULL)
            out[n++] = (struct redrive_original){ b->items[i].origin, b->items[i].key };
    qsort(out, n, sizeof out[0], redrive_compare);
    return n;
}

/* The originals become pending: nobody's, never delivered, due now. One that has died twice is there once. */
static int redrive_pend(const struct redrive_batch *b, struct err *err)
{
    struct group_change x = { .slot = PEL_NOBODY, .nacked = true, .time_ms = b->engine->now_ms };
    struct redrive_original originals[REDRIVE_SLICE];
    size_t n = redrive_originals(b, originals);
    uint32_t keys[REDRIVE_SLICE];
    struct id ids[REDRIVE_SLICE];

    for (size_t i = 0; i < n; i++) {
        if (i > 0 && id_cmp(originals[i - 1].id, originals[i].id) == 0)
            continue;
        ids[x.n] = originals[i].id;
        keys[x.n++] = originals[i].key;
    }
    if (x.n == 0)
        return OK;
    x.ids = ids;
    if (group_options(b->group)->order_by.n > 0)
        x.keys = keys;
    return grouplog_change(b->engine, b->client, b->st, b->group, &x, false, err);
}

static void redrive_append(struct redrive_batch *b)
{
    struct engine *e = b->engine;
    struct id id = ID_MIN;

    for (size_t i = 0; i < b->n; i++) {
        const struct redrive_item *item = &b->items[i];
        bool there = item->body == NULL || engine_next_id(e, b->st->last_id, &id);

        assert(there); /* redrive_prepare has seen to it */
        if (item->body != NULL)
            engine_add_entry(e, b->client, b->st, id, slice_of(item->body, item->len));
    }
    if (b->n_appended == 0)
        return;
    retention_appended(e, b->st);
    engine_key_changed(e, state_db_of(&e->state, &b->st->object), stream_name(b->st));
    notify(e, NOTIFY_STREAM, "xadd", state_db_of(&e->state, &b->st->object), stream_name(b->st));
}

/* The letters that go, as what is to be deleted. Errors: ERR_NOMEM, ERR_CORRUPT. */
static int redrive_prepare_deletion(struct redrive_batch *b, struct deletion *d, struct err *err)
{
    d->n = 0;
    d->n_found = b->n;
    d->ids = NULL;
    d->items = calloc(b->n, sizeof *d->items);
    if (d->items == NULL) {
        d->items = d->few;
        return err_set(err, ERR_NOMEM, "no memory for %zu IDs", b->n);
    }
    for (; d->n < b->n; d->n++)
        d->items[d->n] = (struct deletion_item){ .id = b->items[d->n].letter,
                                                 .bytes = b->items[d->n].bytes,
                                                 .found = true };
    return deletion_prepare(b->engine, b->dlq, d, err);
}

static size_t redrive_bound(const struct redrive_batch *b)
{
    return grouplog_bound(1, b->n) + b->n * (ENGINE_RESERVE_ENTRY + 2 * VARINT_MAX) + b->bytes +
           2 * ENGINE_RESERVE;
}

/* Room for everything but the log's. Errors: ERR_NOMEM, ERR_CORRUPT, ERR_USAGE. */
static int redrive_prepare(struct redrive_batch *b, struct deletion *d, struct err *err)
{
    int rc = redrive_prepare_deletion(b, d, err);

    if (rc != OK || b->n_appended == 0)
        return rc;
    if (b->st->last_id.ms == UINT64_MAX && UINT64_MAX - b->st->last_id.seq < b->n_appended)
        return err_set(err, ERR_USAGE, "the stream has no IDs left");
    return stream_index_reserve(&b->engine->state.tails, &b->st->tail, b->n_appended, err);
}

static void redrive_fail(struct client *c, int rc, const struct err *err)
{
    if (rc == ERR_USAGE)
        reply_error(c, "ERR %s", err->text);
    else
        streams_reply_failure(c, rc, err);
}

/* All that has been gathered, in one batch. False: an error has been replied, and nothing has been done. */
static bool redrive_apply(struct redrive_batch *b)
{
    struct deletion d;
    struct err err;
    int rc = redrive_prepare(b, &d, &err);

    if (rc == OK && !engine_reserve(b->engine, b->client, redrive_bound(b))) {
        deletion_fini(&d);
        return false;
    }
    if (rc == OK)
        rc = redrive_pend(b, &err);
    if (rc == OK) {
        redrive_append(b);
        deletion_apply(b->engine, b->client, stream_name(b->dlq), b->dlq, &d);
        b->redrive->n_redriven += b->n_pending;
        b->redrive->n_appended += b->n_appended;
        b->redrive->left -= b->n;
    } else {
        redrive_fail(b->client, rc, &err);
    }
    deletion_fini(&d);
    return rc == OK;
}

/* ---- slices ---- */

static void redrive_reply(struct client *c, const struct redrive *r)
{
    reply_map(c, 3);
    reply_str(c, "redriven");
    reply_u64(c, r->n_redriven);
    reply_str(c, "appended");
    reply_u64(c, r->n_appended);
    reply_str(c, "left");
    reply_u64(c, r->n_left);
}

/* Gathers and does it. Errors: as of redrive_gather; *replied: redrive_apply has replied one. */
static int redrive_do(struct redrive_batch *b, bool *replied, struct err *err)
{
    struct xdlq_walk *w = &b->redrive->walk;
    int rc;

    cursor_open(&b->letters, b->engine, b->dlq, w->mode, w->wants);
    cursor_narrow(&b->letters, w->next, w->last);
    cursor_open(&b->originals, b->engine, b->st, w->mode, w->wants);
    rc = redrive_gather(b, err);
    cursor_close(&b->originals);
    cursor_close(&b->letters);
    *replied = (rc == OK || rc == ERR_COLD) && b->n > 0 && !redrive_apply(b);
    if (!*replied)
        b->redrive->n_left += b->n_left;
    for (size_t i = 0; i < b->n; i++)
        free(b->items[i].body);
    return rc;
}

/* The group, where it still is; false if an error has been replied. */
static bool redrive_find_group(struct engine *e, struct client *c, const struct redrive *r,
                               struct stream **st, struct group **g)
{
    *st = state_find_oid(&e->state, r->oid);
    *g = NULL;
    if (*st != NULL && state_is_there(&e->state, &(*st)->object) &&
        !engine_is_expired(e, &(*st)->object))
        *g = groups_by_gid(stream_groups(*st), r->gid);
    if (*g == NULL)
        xgroup_no_key_or_group(c, r->key, r->group, "");
    else if (e->failed)
        reply_error(c, "IOERR the log failed; the server is going down");
    else if (log_is_full(e->log))
        reply_error(c, "DISKFULL no room left on disk: %" PRIu64 " were redriven before",
                    r->n_redriven + r->n_appended);
    else
        return true;
    return false;
}

static enum xdlq_next redrive_slice(struct engine *e, struct client *c, struct xdlq_walk *w)
{
    struct redrive *r = redrive_of(w);
    struct redrive_batch *b;
    struct stream *st, *dlq = xdlq_stream(e, w);
    struct group *g;
    struct err err;
    bool replied;
    int rc;

    if (dlq == NULL || w->ended || r->left == 0) {
        redrive_reply(c, r);
        return XDLQ_OVER;
    }
    if (!redrive_find_group(e, c, r, &st, &g))
        return XDLQ_OVER;
    b = malloc(sizeof *b);
    if (b == NULL) {
        reply_error(c, "OOM not enough memory to redrive");
        return XDLQ_OVER;
    }
    *b = (struct redrive_batch){
        .engine = e, .client = c, .redrive = r, .dlq = dlq, .st = st, .group = g
    };
    rc = redrive_do(b, &replied, &err);
    free(b);
    if (replied)
        return XDLQ_OVER;
    if (rc == ERR_COLD)
        return XDLQ_COLD;
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
        return XDLQ_OVER;
    }
    return XDLQ_MORE;
}

/* ---- the command ---- */

struct redrive_options {
    uint64_t count;
    bool all_groups;
};

static bool redrive_parse(struct client *c, const struct slice *argv, size_t argc,
                          struct redrive_options *out)
{
    int64_t count;

    *out = (struct redrive_options){ .count = UINT64_MAX };
    for (size_t i = 5; i < argc; i++) {
        if (args_word(argv[i], "allgroups")) {
            out->all_groups = true;
        } else if (args_word(argv[i], "count") && i + 1 < argc) {
            if (!args_i64_in(argv[++i], 1, INT64_MAX, &count)) {
                reply_error(c, "ERR COUNT must be a positive integer");
                return false;
            }
            out->count = (uint64_t)count;
        } else {
            reply_error(c,
                        "ERR syntax error at '%.*s': what follows the group must be COUNT count or "
                        "ALLGROUPS",
                        reply_echo_n(argv[i]), (const char *)argv[i].p);
            return false;
        }
    }
    return true;
}

static struct redrive *redrive_new(const struct stream *dlq, const struct stream *st,
                                   const struct group *g, const struct redrive_options *options)
{
    struct slice key = stream_name(st);
    struct redrive *r = calloc(1, sizeof *r + key.n + g->name.n);

    if (r == NULL)
        return NULL;
    r->walk.slice = redrive_slice;
    r->walk.free = redrive_free;
    r->walk.oid = dlq == NULL ? 0 : dlq->oid;
    r->walk.last = dlq == NULL ? ID_MIN : dlq->last_id;
    r->oid = st->oid;
    r->gid = g->gid;
    r->all_groups = options->all_groups;
    r->left = options->count;
    if (key.n > 0)
        memcpy(r->names, key.p, key.n);
    if (g->name.n > 0)
        memcpy(r->names + key.n, g->name.p, g->name.n);
    r->key = slice_of(r->names, key.n);
    r->group = slice_of(r->names + key.n, g->name.n);
    return r;
}

void xdlq_redrive(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct redrive_options options;
    struct stream *dlq, *st;
    struct redrive *r;
    struct group *g;

    if (!redrive_parse(c, argv, argc, &options) || !streams_find_write(e, c, argv[2], &dlq) ||
        !xgroup_find_write(e, c, argv[3], argv[4], &st, &g))
        return;
    if (g == NULL) {
        xgroup_no_key_or_group(c, argv[3], argv[4], "");
        return;
    }
    if (dlq == st) {
        reply_error(c,
                    "ERR the dead-letter stream must be another stream than the one to redrive to");
        return;
    }
    r = redrive_new(dlq, st, g, &options);
    if (r == NULL)
        reply_error(c, "OOM not enough memory to redrive");
    else
        xdlq_start(e, c, &r->walk);
}
