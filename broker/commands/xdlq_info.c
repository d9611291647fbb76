/*
 * xdlq_info.c - XDLQ INFO: what is in a dead-letter stream, counted by stream, group and reason.
 *
 * There are few of these, as a rule; INFO_ORIGINS_MAX different ones are counted, up to INFO_BYTES_MAX of names, and the
 * rest together. Entries that are no dead letters are counted for themselves.
 */
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/commands/xdlq.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "log/dict.h"
#include "log/entry.h"

enum {
    INFO_SLICE = 1000,        /* entries looked at in a round */
    INFO_ORIGINS_MAX = 10000, /* combinations of stream, group and reason */
    INFO_BYTES_MAX = 16 << 20,
};

struct info_origin {
    struct dict_node node; /* by `key`; must be first */
    uint64_t n;
    struct slice stream, group, reason; /* in `key` */
    size_t len;
    uint8_t key[];
};

struct info {
    struct xdlq_walk walk; /* must be first */
    uint64_t n_entries, n_other, n_foreign;
    struct id first, latest;
    struct dict origins;
    size_t bytes; /* of their keys */
};

static struct info *info_of(struct xdlq_walk *w)
{
    return (struct info *)(void *)w; /* its first member */
}

/* ---- origins ---- */

static struct info_origin *info_origin_of(const struct dict_node *node)
{
    return (struct info_origin *)(uintptr_t)node; /* its first member */
}

static struct slice info_key(const struct dict_node *node)
{
    const struct info_origin *o = info_origin_of(node);

    return slice_of(o->key, o->len);
}

static void info_free_node(void *ctx, struct dict_node *node)
{
    dict_remove(ctx, node);
    free(info_origin_of(node));
}

static void info_free(struct xdlq_walk *w)
{
    struct info *x = info_of(w);
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&x->origins, cursor, info_free_node, &x->origins);
    while (cursor != 0 || x->origins.n > 0);
    dict_fini(&x->origins);
    free(x);
}

/* The origin of a letter; NULL if memory ran out. */
static struct info_origin *info_origin_new(const struct deadletter *d)
{
    size_t len = slice_size(d->stream) + slice_size(d->group) + slice_size(d->reason);
    struct info_origin *o = calloc(1, sizeof *o + len);
    uint8_t *p;

    if (o == NULL)
        return NULL;
    o->len = len;
    p = slice_put(o->key, d->stream);
    o->stream = slice_of(p - d->stream.n, d->stream.n);
    p = slice_put(p, d->group);
    o->group = slice_of(p - d->group.n, d->group.n);
    p = slice_put(p, d->reason);
    o->reason = slice_of(p - d->reason.n, d->reason.n);
    return o;
}

/* Errors: ERR_NOMEM. */
static int info_count(struct info *x, const struct deadletter *d, struct err *err)
{
    struct info_origin *o = info_origin_new(d), *known;

    if (o == NULL)
        return err_set(err, ERR_NOMEM, "no memory to count dead letters");
    known = info_origin_of(dict_find(&x->origins, slice_of(o->key, o->len)));
    if (known == NULL && x->origins.n < INFO_ORIGINS_MAX && o->len < INFO_BYTES_MAX - x->bytes) {
        dict_add(&x->origins, &o->node, slice_of(o->key, o->len));
        x->bytes += o->len;
        o->n = 1;
        return OK;
    }
    if (known != NULL)
        known->n++;
    else
        x->n_other++;
    free(o);
    return OK;
}

/* ---- the reply ---- */

static int info_compare_slices(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int info_compare(const void *a, const void *b)
{
    const struct info_origin *x = *(struct info_origin *const *)a;
    const struct info_origin *y = *(struct info_origin *const *)b;
    int order = info_compare_slices(x->stream, y->stream);

    if (order == 0)
        order = info_compare_slices(x->group, y->group);
    return order != 0 ? order : info_compare_slices(x->reason, y->reason);
}

struct info_list {
    struct info_origin **at;
    size_t n, cap;
};

static void info_list_node(void *ctx, struct dict_node *node)
{
    struct info_list *list = ctx;

    if (list->n < list->cap)
        list->at[list->n++] = info_origin_of(node);
}

static void info_reply_str(struct client *c, const char *name, struct slice value)
{
    reply_str(c, name);
    reply_bulk(c, value.p, value.n);
}

static void info_reply_number(struct client *c, const char *name, uint64_t value)
{
    reply_str(c, name);
    reply_u64(c, value);
}

static void info_reply_id(struct client *c, const char *name, struct id id)
{
    reply_str(c, name);
    reply_id(c, id);
}

static void info_reply_origins(struct client *c, const struct info_list *list)
{
    reply_str(c, "origins");
    reply_array(c, list->n);
    for (size_t i = 0; i < list->n; i++) {
        reply_map(c, 4);
        info_reply_str(c, "stream", list->at[i]->stream);
        info_reply_str(c, "group", list->at[i]->group);
        info_reply_str(c, "reason", list->at[i]->reason);
        info_reply_number(c, "entries", list->at[i]->n);
    }
}

/* All nodes are seen once: nobody changes the table. */
static void info_list_all(struct info *x, struct info_list *list)
{
    uint64_t cursor = 0;

    dict_step(&x->origins, SIZE_MAX); /* no resize is under way: no node comes twice */
    do
        cursor = dict_scan(&x->origins, cursor, info_list_node, list);
    while (cursor != 0);
    qsort(list->at, list->n, sizeof(struct info_origin *), info_compare);
}

static void info_reply(struct client *c, struct info *x)
{
    struct info_list list = { calloc(x->origins.n + 1, sizeof(struct info_origin *)), 0,
                              x->origins.n };

    if (list.at == NULL) {
        reply_error(c, "OOM not enough memory to list dead letters");
        return;
    }
    info_list_all(x, &list);
    reply_map(c, 6);
    info_reply_number(c, "entries", x->n_entries);
    info_reply_id(c, "first-id", x->first);
    info_reply_id(c, "last-id", x->latest);
    info_reply_origins(c, &list);
    info_reply_number(c, "other", x->n_other);
    info_reply_number(c, "foreign", x->n_foreign);
    free(list.at);
}

/* ---- slices ---- */

static int info_entry(struct info *x, const uint8_t *entry, struct err *err)
{
    struct deadletter d;
    struct id id;
    int rc = OK;

    entry_id(entry, &id);
    if (deadletter_parse(entry, &d))
        rc = info_count(x, &d, err);
    else
        x->n_foreign++;
    if (rc != OK)
        return rc;
    if (x->n_entries++ == 0)
        x->first = id;
    x->latest = id;
    xdlq_advance(&x->walk, id);
    return OK;
}

/* Errors: as of the cursor, ERR_NOMEM. */
static int info_walk(struct info *x, struct cursor *cursor, struct err *err)
{
    struct xdlq_walk *w = &x->walk;
    int rc = cursor_seek(cursor, w->next, err);

    for (size_t i = 0; rc == OK && i < INFO_SLICE && !w->ended; i++) {
        const uint8_t *entry = cursor_at(cursor);
        struct id id = ID_MIN;

        if (entry != NULL)
            entry_id(entry, &id);
        if (entry == NULL || id_cmp(id, w->last) > 0) {
            w->ended = true;
            break;
        }
        rc = info_entry(x, entry, err);
        if (rc == OK && !w->ended)
            rc = cursor_next(cursor, err);
    }
    return rc;
}

static enum xdlq_next info_slice(struct engine *e, struct client *c, struct xdlq_walk *w)
{
    const struct stream *dlq = xdlq_stream(e, w);
    struct info *x = info_of(w);
    struct cursor cursor;
    struct err err;
    int rc;

    if (dlq == NULL || w->ended) {
        info_reply(c, x);
        return XDLQ_OVER;
    }
    cursor_open(&cursor, e, dlq, w->mode, w->wants);
    cursor_narrow(&cursor, w->next, w->last);
    rc = info_walk(x, &cursor, &err);
    cursor_close(&cursor);
    if (rc == ERR_COLD)
        return XDLQ_COLD;
    if (rc == OK)
        return XDLQ_MORE;
    streams_reply_failure(c, rc, &err);
    return XDLQ_OVER;
}

void xdlq_info(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *dlq = streams_find_there(e, c, argv[2]);
    struct info *x;

    (void)argc;
    if (dlq == NULL)
        return;
    x = calloc(1, sizeof *x);
    if (x == NULL) {
        reply_error(c, "OOM not enough memory to count dead letters");
        return;
    }
    dict_init(&x->origins, e->state.hash_key, info_key);
    x->walk.slice = info_slice;
    x->walk.free = info_free;
    x->walk.oid = dlq->oid;
    x->walk.last = dlq->last_id;
    xdlq_start(e, c, &x->walk);
}
