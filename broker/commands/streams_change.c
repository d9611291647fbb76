/*
 * streams_change.c - XTRIM, XDEL, XDELEX, XSETID.
 *
 * What `~` and LIMIT leave to the server is decided here and logged as its effect: the ID of the first
 * entry that stays. Redis trims whole nodes of its radix tree, each of stream-node-max-entries entries
 * from the stream's first one on; there are no such nodes here, but the counts that clients see are theirs
 * as long as entries leave by whole nodes: node k holds the entries added as number k * max and up since the
 * stream last was empty.
 */
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    TRIM_LIMIT_NODES = 100, /* what ~ removes at most without LIMIT, in nodes */
    TRIM_LIMIT_UNSET = 10000,
    TRIM_LIMIT_MAX = 1000000,
    DELETE_IDS_INLINE = 32,
};

struct delete_item { /* an ID of a request */
    struct id id;
    size_t place;
    bool found;
};

struct delete_ids { /* in `few` unless there are many */
    struct delete_item few[DELETE_IDS_INLINE], *items;
    size_t n;
};

/* ---- options of trimming ---- */

static int trim_option_by(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                          enum streams_trim_by by, struct streams_trim *trim)
{
    size_t at = *i + 1;
    int64_t n = 0;

    if (trim->by != STREAMS_TRIM_NONE) {
        reply_error(c, "ERR syntax error, MAXLEN and MINID options at the same time are not "
                       "compatible");
        return -1;
    }
    trim->by = by;
    trim->approx = false;
    if (argc - at >= 2 && argv[at].n == 1 && (argv[at].p[0] == '~' || argv[at].p[0] == '='))
        trim->approx = argv[at++].p[0] == '~';
    if (by == STREAMS_TRIM_MINID && !streams_parse_id(argv[at], 0, &trim->minid)) {
        streams_bad_id(c);
        return -1;
    }
    if (by == STREAMS_TRIM_MAXLEN && !args_i64(argv[at], &n)) {
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

static int trim_option_limit(struct client *c, struct slice arg, size_t *i,
                             struct streams_trim *trim)
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

static bool trim_is_reference_word(struct slice arg)
{
    return args_word(arg, "keepref") || args_word(arg, "delref") || args_word(arg, "acked");
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
                        struct streams_trim *trim, bool *references_given)
{
    struct slice arg = argv[*i];
    bool more = *i + 1 < argc;

    if (more && args_word(arg, "maxlen"))
        return trim_option_by(c, argv, argc, i, STREAMS_TRIM_MAXLEN, trim);
    if (more && args_word(arg, "minid"))
        return trim_option_by(c, argv, argc, i, STREAMS_TRIM_MINID, trim);
    if (more && args_word(arg, "limit"))
        return trim_option_limit(c, argv[*i + 1], i, trim);
    if (trim_is_reference_word(arg))
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

bool streams_trim_check(struct engine *e, struct client *c, struct streams_trim *trim)
{
    if (trim->limit_given && trim->by == STREAMS_TRIM_NONE) {
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

/* ---- trimming ---- */

/* How many entries at the front the threshold does not keep. */
static uint64_t trim_excess(const struct stream *st, const struct streams_trim *trim)
{
    struct stream_pos begin = stream_index_begin(st->tail);

    if (trim->by == STREAMS_TRIM_MAXLEN)
        return st->n_entries > trim->maxlen ? st->n_entries - trim->maxlen : 0;
    if (id_cmp(trim->minid, streams_first_id(st)) <= 0)
        return 0;
    return stream_index_between(st->tail, begin, stream_index_seek(st->tail, trim->minid));
}

/* The part of `excess` that is whole nodes, within the limit. */
static uint64_t trim_whole_nodes(const struct engine *e, const struct stream *st,
                                 const struct streams_trim *trim, uint64_t excess)
{
    uint64_t node = (uint64_t)e->config->stream_node_max_entries, n_entries = st->n_entries;
    uint64_t removed = 0, next = n_entries;

    if (node > 0)
        next = node - streams_removed_in_nodes(st) % node; /* left of the first node */
    while (removed < n_entries) {
        uint64_t n = next < n_entries - removed ? next : n_entries - removed;

        if (n > excess - removed || (trim->limit > 0 && n > trim->limit - removed))
            break;
        removed += n;
        next = node;
    }
    return removed;
}

static uint64_t trim_bytes(const uint8_t *entry)
{
    return (uint64_t)(entry_end(entry) - entry);
}

/* Removes the first n entries; `first` is the ID of the next one. */
static void trim_append(struct engine *e, struct client *c, struct stream *st, struct id first,
                        uint64_t n)
{
    struct state_left left = { st->n_entries - n, st->bytes };
    struct stream_pos pos = stream_index_begin(st->tail);
    uint64_t lsn;
    size_t len;
    uint8_t *p;

    for (; n > 0; n--, stream_index_next(st->tail, &pos))
        left.bytes -= trim_bytes(stream_index_at(st->tail, pos));
    len = varint_size(st->object.oid) + id_size(first) + varint_size(left.n) +
          varint_size(left.bytes);
    p = engine_append_to(e, c, &st->object, RECORD_CUT, len, &lsn);
    p = id_put(varint_put(p, st->object.oid), first);
    varint_put(varint_put(p, left.n), left.bytes);
    state_cut(&e->state, st, first, left);
}

/* Moves the IDs of the n_found items that are marked as found to the front of `ids`; returns what is left. */
static struct state_left delete_left(const struct stream *st, const struct delete_item *items,
                                     size_t n, struct id *ids)
{
    struct state_left left = { st->n_entries, st->bytes };

    for (size_t i = 0; i < n; i++) {
        if (!items[i].found)
            continue;
        left.n--;
        left.bytes -=
            trim_bytes(stream_index_at(st->tail, stream_index_seek(st->tail, items[i].id)));
        *ids++ = items[i].id;
    }
    return left;
}

/* Deletes the n_found items that are marked as found. */
static int delete_append(struct engine *e, struct client *c, struct stream *st,
                         const struct delete_item *items, size_t n, size_t n_found, struct err *err)
{
    struct id *ids = malloc(n_found * sizeof *ids);
    int rc = ids != NULL ? state_prepare_remove(st, n_found, err)
                         : err_set(err, ERR_NOMEM, "no memory for %zu IDs", n_found);
    struct state_left left;
    uint64_t lsn;
    size_t len;
    uint8_t *p;

    if (rc != OK) {
        free(ids);
        return rc;
    }
    left = delete_left(st, items, n, ids);
    len = varint_size(st->object.oid) + varint_size(left.n) + varint_size(left.bytes) +
          varint_size(n_found);
    for (size_t i = 0; i < n_found; i++)
        len += id_size(ids[i]);
    p = engine_append_to(e, c, &st->object, RECORD_REMOVE, len, &lsn);
    p = varint_put(varint_put(varint_put(p, st->object.oid), left.n), left.bytes);
    p = varint_put(p, n_found);
    for (size_t i = 0; i < n_found; i++)
        p = id_put(p, ids[i]);
    state_remove(&e->state, st, ids, n_found, left);
    free(ids);
    return OK;
}

static void setid_append(struct engine *e, struct client *c, struct stream *st, struct id last,
                         uint64_t added, struct id max_deleted)
{
    size_t len =
        varint_size(st->object.oid) + id_size(last) + varint_size(added) + id_size(max_deleted);
    uint64_t lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_SETID, len, &lsn);

    p = varint_put(id_put(varint_put(p, st->object.oid), last), added);
    id_put(p, max_deleted);
    state_set_id(&e->state, st, last, added, max_deleted, lsn);
}

uint64_t streams_trim(struct engine *e, struct client *c, struct stream *st,
                      const struct streams_trim *trim)
{
    uint64_t n = trim_excess(st, trim), before = st->n_entries;
    struct id first = streams_top_id(st);

    if (n > 0 && trim->approx)
        n = trim_whole_nodes(e, st, trim, n);
    if (n == 0)
        return 0;
    if (n < before)
        entry_id(stream_index_at(st->tail, stream_index_nth(st->tail, n)), &first);
    else
        id_next(&first); /* where there is none, that nothing is left says it */
    trim_append(e, c, st, first, n);
    assert(before - st->n_entries == n);
    return n;
}

void streams_xtrim(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct streams_trim trim = { .by = STREAMS_TRIM_NONE };
    bool references_given = false;
    struct stream *st;
    struct err err;
    uint64_t n = 0;

    for (size_t i = 2; i < argc;) {
        int rc = streams_trim_option(c, argv, argc, &i, &trim, &references_given);

        if (rc == 0)
            reply_syntax_error(c);
        if (rc <= 0)
            return;
    }
    if (!streams_trim_check(e, c, &trim))
        return;
    if (trim.by == STREAMS_TRIM_NONE) {
        reply_error(c, "ERR syntax error, XTRIM called without specifying a trimming strategy");
        return;
    }
    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (st != NULL && state_prepare_remove(st, 0, &err) != OK) {
        reply_error(c, "OOM %s", err.text);
        return;
    }
    if (st != NULL)
        n = streams_trim(e, c, st, &trim);
    if (n > 0)
        engine_key_changed(e, c->db, argv[1]);
    reply_u64(c, n);
}

/* ---- deleting ---- */

static void delete_ids_fini(struct delete_ids *d)
{
    if (d->items != d->few)
        free(d->items);
}

/* Reads n IDs; false if an error has been replied. delete_ids_fini in any case. */
static bool delete_ids_parse(struct client *c, const struct slice *argv, size_t n,
                             struct delete_ids *d)
{
    d->items = n <= DELETE_IDS_INLINE ? d->few : malloc(n * sizeof d->items[0]);
    d->n = n;
    if (d->items == NULL) {
        reply_error(c, "OOM no memory for %zu IDs", n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        d->items[i] = (struct delete_item){ .place = i };
        if (!streams_parse_id(argv[i], 0, &d->items[i].id)) {
            streams_bad_id(c);
            return false;
        }
    }
    return true;
}

static bool delete_has(const struct stream *st, struct id id)
{
    const uint8_t *entry = stream_index_at(st->tail, stream_index_seek(st->tail, id));
    struct id found;

    if (entry == NULL)
        return false;
    entry_id(entry, &found);
    return id_cmp(found, id) == 0;
}

static int delete_cmp(const void *a, const void *b)
{
    const struct delete_item *x = a, *y = b;
    int order = id_cmp(x->id, y->id);

    return order != 0 ? order : x->place < y->place ? -1 : x->place > y->place;
}

static int delete_cmp_place(const void *a, const void *b)
{
    const struct delete_item *x = a, *y = b;

    return x->place < y->place ? -1 : x->place > y->place;
}

/* Sorts the items and marks those that the stream has, of equal ones the first; returns how many. */
static size_t delete_ids_mark(const struct stream *st, struct delete_ids *d)
{
    size_t n_found = 0;

    qsort(d->items, d->n, sizeof d->items[0], delete_cmp);
    for (size_t i = 0; i < d->n; i++) {
        struct delete_item *item = &d->items[i];

        if (i > 0 && id_cmp(item[-1].id, item->id) == 0)
            continue;
        item->found = delete_has(st, item->id);
        n_found += item->found;
    }
    return n_found;
}

static bool delete_present(struct engine *e, struct client *c, struct slice key, struct stream *st,
                           struct delete_ids *d, size_t *n_found)
{
    struct err err;

    *n_found = delete_ids_mark(st, d);
    if (*n_found == 0)
        return true;
    if (delete_append(e, c, st, d->items, d->n, *n_found, &err) != OK) {
        reply_error(c, "OOM %s", err.text);
        return false;
    }
    engine_key_changed(e, c->db, key);
    return true;
}

void streams_xdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct delete_ids d;
    struct stream *st;
    size_t n_found;

    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_int(c, 0);
        return;
    }
    if (delete_ids_parse(c, argv + 2, argc - 2, &d) &&
        delete_present(e, c, argv[1], st, &d, &n_found))
        reply_u64(c, n_found);
    delete_ids_fini(&d);
}

/* Reads [KEEPREF|DELREF|ACKED] IDS n id ... in any order; the IDs are then argv[*at .. *at + *n). */
static bool xdelex_parse(struct client *c, const struct slice *argv, size_t argc, size_t *at,
                         size_t *n)
{
    bool references_given = false;
    int64_t count = 0;

    for (size_t i = 2; i < argc;) {
        if (trim_is_reference_word(argv[i])) {
            if (trim_option_references(c, &i, &references_given) < 0)
                return false;
            continue;
        }
        if (count > 0 || !args_word(argv[i], "ids") || i + 1 >= argc) {
            reply_syntax_error(c);
            return false;
        }
        if (!args_i64_in(argv[i + 1], 1, INT64_MAX, &count)) {
            reply_error(c, "ERR Number of IDs must be a positive integer");
            return false;
        }
        if ((uint64_t)count > argc - i - 2) {
            reply_error(c, "ERR The `numids` parameter must match the number of arguments");
            return false;
        }
        *at = i + 2;
        *n = (size_t)count;
        i = *at + *n;
    }
    if (count == 0)
        reply_syntax_error(c);
    return count > 0;
}

void streams_xdelex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct delete_ids d;
    struct stream *st;
    size_t at = 0, n = 0, n_found;

    if (!xdelex_parse(c, argv, argc, &at, &n))
        return;
    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (delete_ids_parse(c, argv + at, n, &d) &&
        (st == NULL || delete_present(e, c, argv[1], st, &d, &n_found))) {
        qsort(d.items, n, sizeof d.items[0], delete_cmp_place);
        reply_array(c, n);
        for (size_t i = 0; i < n; i++)
            reply_int(c, d.items[i].found ? 1 : -1);
    }
    delete_ids_fini(&d);
}

/* ---- XSETID ---- */

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

static bool xsetid_check(struct client *c, const struct xsetid *x, const struct stream *st)
{
    if (id_cmp(x->last, stream_max_deleted(st)) < 0 || !state_may_set_id(st, x->last)) {
        reply_error(c,
                    "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
        return false;
    }
    if (st->n_entries == 0)
        return true;
    if (id_cmp(x->last, streams_top_id(st)) < 0) {
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
    if (!xsetid_check(c, &x, st))
        return;
    added = x.added >= 0 ? (uint64_t)x.added : st->entries_added;
    if (id_cmp(x.max_deleted, ID_MIN) == 0)
        x.max_deleted = stream_max_deleted(st);
    if (state_prepare_remove(st, 0, &err) != OK) {
        reply_error(c, "OOM %s", err.text);
        return;
    }
    setid_append(e, c, st, x.last, added, x.max_deleted);
    reply_ok(c); /* no entry has changed: as in Redis, WATCH does not see it */
}
