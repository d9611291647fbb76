/*
 * streams_change.c - XTRIM, XDEL, XDELEX, XSETID.
 *
 * Each finds out first what it does, which may need entries that are in segments; its prefault asks for those. What is
 * trimmed is decided by engine/trim.c. A deletion logs the IDs that were there, and what is left in the stream.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/cursor.h"
#include "broker/engine/idmp.h"
#include "broker/engine/redelivery.h"
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
    uint64_t bytes; /* of the entry, if it is there */
    bool found;
};

struct delete_ids { /* in `few` unless there are many */
    struct delete_item few[DELETE_IDS_INLINE], *items;
    size_t n;
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

/* ---- deleting by a record ---- */

/* Moves the IDs of the n_found items that are marked as found to the front of `ids`; returns what is left. */
static struct state_left delete_left(const struct stream *st, const struct delete_item *items,
                                     size_t n, struct id *ids)
{
    struct state_left left = { st->n_entries, st->bytes };

    for (size_t i = 0; i < n; i++) {
        if (!items[i].found)
            continue;
        left.n--;
        left.bytes -= items[i].bytes < left.bytes ? items[i].bytes : left.bytes;
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
    state_remove(&e->state, st, ids, n_found, left, lsn);
    free(ids);
    return OK;
}

static void setid_append(struct engine *e, struct client *c, struct stream *st, struct id last,
                         uint64_t added, struct id max_deleted)
{
    size_t len =
        varint_size(st->object.oid) + id_size(last) + varint_size(added) + id_size(max_deleted);
    uint64_t oid = st->object.oid, lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_SETID, len, &lsn);

    p = varint_put(id_put(varint_put(p, st->object.oid), last), added);
    id_put(p, max_deleted);
    state_set_id(&e->state, st, last, added, max_deleted, lsn);
    if (st->object.oid != oid)
        redelivery_began_anew(e, st);
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
    struct trim_cut cut;
    struct err err;
    int rc = trim_plan(e, st, trim, NULL, NULL, &cut, &err);

    if (rc == OK && cut.n > 0)
        rc = trim_prepare(st, &err);
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
        return;
    }
    if (cut.n > 0) {
        trim_apply(e, c, st, &cut);
        engine_key_changed(e, c->db, key);
    }
    reply_u64(c, cut.n);
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
    struct trim_cut cut;

    if (st != NULL && stream_n_sealed(st) > 0 && xtrim_parse(e, c, argv, argc, &trim))
        err_ignore(trim_plan(e, st, &trim, NULL, wants, &cut, NULL)); /* the wants tell */
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

/* Whether the cursor's stream has the item, and how large it is. */
static int delete_look(struct cursor *at, struct delete_item *item, struct err *err)
{
    const struct stream *st = at->st;
    const uint8_t *entry;
    struct id found;
    int rc;

    if (id_cmp(item->id, stream_floor(st)) < 0 || delset_has(stream_deletes(st), item->id))
        return OK;
    rc = cursor_seek(at, item->id, err);
    entry = cursor_at(at);
    if (rc != OK || entry == NULL)
        return rc;
    entry_id(entry, &found);
    item->found = id_cmp(found, item->id) == 0;
    item->bytes = (uint64_t)(entry_end(entry) - entry);
    return OK;
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

/* Sorts the items and marks those that the stream has, of equal ones the first; *n_found is how many. What is cold is
 * noted, if there are wants, for all of them. */
static int delete_ids_mark(struct engine *e, const struct stream *st, struct delete_ids *d,
                           struct wants *wants, size_t *n_found, struct err *err)
{
    struct cursor at;
    int rc = OK;

    *n_found = 0;
    qsort(d->items, d->n, sizeof d->items[0], delete_cmp);
    cursor_open(&at, e, st, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT, wants);
    for (size_t i = 0; i < d->n; i++) {
        struct delete_item *item = &d->items[i];

        if (i > 0 && id_cmp(item[-1].id, item->id) == 0)
            continue;
        rc = delete_look(&at, item, err);
        if (rc != OK && (rc != ERR_COLD || wants->bytes - wants->largest > WANTS_BYTES_MAX))
            break;
        *n_found += item->found;
    }
    cursor_close(&at);
    return rc;
}

/* Deletes those of the IDs that are there. */
static int delete_present(struct engine *e, struct client *c, struct slice key, struct stream *st,
                          struct delete_ids *d, size_t *n_found, struct err *err)
{
    int rc = delete_ids_mark(e, st, d, NULL, n_found, err);

    if (rc != OK || *n_found == 0)
        return rc;
    if (*n_found > st->n_entries)
        return err_set(err, ERR_CORRUPT,
                       "stream %" PRIu64 " has more entries in its segments than it should have",
                       st->object.oid);
    rc = delete_append(e, c, st, d->items, d->n, *n_found, err);
    if (rc == OK)
        engine_key_changed(e, c->db, key);
    return rc;
}

/* For both: notes what has to be read to delete those n IDs. */
static void delete_prefault(struct engine *e, struct client *c, struct slice key,
                            const struct slice *ids, size_t n, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, key);
    struct delete_ids d;
    size_t n_found;

    if (st == NULL || stream_n_sealed(st) == 0)
        return;
    if (delete_ids_parse(c, ids, n, &d))
        err_ignore(delete_ids_mark(e, st, &d, wants, &n_found, NULL)); /* the wants tell */
    delete_ids_fini(&d);
}

void streams_xdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct delete_ids d;
    struct stream *st;
    size_t n_found = 0;
    struct err err;
    int rc;

    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_int(c, 0);
        return;
    }
    if (delete_ids_parse(c, argv + 2, argc - 2, &d)) {
        rc = delete_present(e, c, argv[1], st, &d, &n_found, &err);
        if (rc == OK)
            reply_u64(c, n_found);
        else
            streams_reply_failure(c, rc, &err);
    }
    delete_ids_fini(&d);
}

void streams_xdel_prefault(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, struct wants *wants)
{
    delete_prefault(e, c, argv[1], argv + 2, argc - 2, wants);
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

static void xdelex_reply(struct client *c, struct delete_ids *d)
{
    qsort(d->items, d->n, sizeof d->items[0], delete_cmp_place);
    reply_array(c, d->n);
    for (size_t i = 0; i < d->n; i++)
        reply_int(c, d->items[i].found ? 1 : -1);
}

void streams_xdelex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    size_t at = 0, n = 0, n_found;
    struct delete_ids d;
    struct stream *st;
    struct err err;
    int rc = OK;

    if (!xdelex_parse(c, argv, argc, &at, &n))
        return;
    if (!streams_find_write(e, c, argv[1], &st))
        return;
    if (delete_ids_parse(c, argv + at, n, &d)) {
        if (st != NULL)
            rc = delete_present(e, c, argv[1], st, &d, &n_found, &err);
        if (rc == OK)
            xdelex_reply(c, &d);
        else
            streams_reply_failure(c, rc, &err);
    }
    delete_ids_fini(&d);
}

void streams_xdelex_prefault(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct wants *wants)
{
    size_t at = 0, n = 0;

    if (xdelex_parse(c, argv, argc, &at, &n))
        delete_prefault(e, c, argv[1], argv + at, n, wants);
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
    if (state_prepare_remove(st, 0, &err) != OK) {
        reply_error(c, "OOM %s", err.text);
        return;
    }
    setid_append(e, c, st, x.last, added, x.max_deleted);
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
