/*
 * deletion.c - deletes entries by their IDs.
 *
 * Whether the stream has an entry may have to be looked up in segments, and how large it is too, since the record of a
 * deletion says what is left: RECORD_REMOVE oid, entries left, bytes left, IDs. So all is looked up first, in ascending
 * order, which reads each block once; replies follow the order of the request.
 */
#include "broker/commands/deletion.h"
#include <inttypes.h>
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/cursor.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"
#include "log/record.h"

/* ---- requests ---- */

/* IDS numids id ... at argv[*i], which moves behind it; false if an error has been replied. */
static bool deletion_request_ids(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                                 struct deletion_request *out)
{
    int64_t n;

    if (!args_i64_in(argv[*i + 1], 1, INT64_MAX, &n)) {
        reply_error(c, "ERR Number of IDs must be a positive integer");
        return false;
    }
    if ((uint64_t)n > argc - *i - 2) {
        reply_error(c, "ERR The `numids` parameter must match the number of arguments");
        return false;
    }
    out->ids_at = *i + 2;
    out->n_ids = (size_t)n;
    *i = out->ids_at + out->n_ids;
    return true;
}

bool deletion_request(struct client *c, const struct slice *argv, size_t argc, size_t at,
                      struct deletion_request *out)
{
    bool given = false;

    *out = (struct deletion_request){ .refs = TRIM_KEEPREF };
    for (size_t i = at; i < argc;) {
        bool ids = args_word(argv[i], "ids") && i + 1 < argc;

        if (ids && !deletion_request_ids(c, argv, argc, &i, out))
            return false;
        if (!ids && (given || !streams_references(argv[i++], &out->refs))) {
            reply_syntax_error(c);
            return false;
        }
        given |= !ids;
    }
    if (out->n_ids == 0)
        reply_error(c, "ERR IDS option is required");
    return out->n_ids > 0;
}

/* ---- items ---- */

bool deletion_parse(struct client *c, const struct slice *argv, size_t n, struct deletion *d)
{
    d->items = n <= DELETION_INLINE ? d->few : malloc(n * sizeof d->items[0]);
    d->n = n;
    d->n_found = 0;
    d->ids = NULL;
    if (d->items == NULL) {
        reply_error(c, "OOM no memory for %zu IDs", n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        d->items[i] = (struct deletion_item){ .place = i, .code = DELETION_NOT_THERE };
        if (!streams_parse_id(argv[i], 0, &d->items[i].id)) {
            streams_bad_id(c);
            return false;
        }
    }
    return true;
}

void deletion_fini(struct deletion *d)
{
    if (d->items != d->few)
        free(d->items);
    free(d->ids);
}

static int deletion_cmp(const void *a, const void *b)
{
    const struct deletion_item *x = a, *y = b;
    int order = id_cmp(x->id, y->id);

    return order != 0 ? order : x->place < y->place ? -1 : x->place > y->place;
}

static int deletion_cmp_place(const void *a, const void *b)
{
    const struct deletion_item *x = a, *y = b;

    return x->place < y->place ? -1 : x->place > y->place;
}

void deletion_sort(struct deletion *d)
{
    qsort(d->items, d->n, sizeof d->items[0], deletion_cmp);
}

/* ---- looking ---- */

/* Whether the cursor's stream has the item, and how large it is. */
static int deletion_look_one(struct cursor *at, struct deletion_item *item, struct err *err)
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

int deletion_look(struct engine *e, const struct stream *st, struct deletion *d,
                  struct wants *wants, struct err *err)
{
    struct cursor at;
    int rc = OK;

    cursor_open(&at, e, st, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT, wants);
    for (size_t i = 0; i < d->n; i++) {
        struct deletion_item *item = &d->items[i];

        if (item->skip || deletion_repeats(d, i))
            continue;
        rc = deletion_look_one(&at, item, err);
        if (rc != OK && (rc != ERR_COLD || wants->bytes - wants->largest > WANTS_BYTES_MAX))
            break;
        d->n_found += item->found;
    }
    cursor_close(&at);
    return rc;
}

void deletion_prefault(struct engine *e, struct client *c, struct slice key,
                       const struct slice *ids, size_t n, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, key);
    struct deletion d;

    if (st == NULL || stream_n_sealed(st) == 0)
        return;
    if (deletion_parse(c, ids, n, &d)) {
        deletion_sort(&d);
        err_ignore(deletion_look(e, st, &d, wants, NULL)); /* the wants tell */
    }
    deletion_fini(&d);
}

/* ---- doing it ---- */

int deletion_prepare(struct engine *e, struct stream *st, struct deletion *d, struct err *err)
{
    if (d->n_found > st->n_entries)
        return err_set(err, ERR_CORRUPT,
                       "stream %" PRIu64 " has more entries in its segments than it should have",
                       st->oid);
    d->ids = malloc(d->n * sizeof *d->ids);
    if (d->ids == NULL)
        return err_set(err, ERR_NOMEM, "no memory for %zu IDs", d->n);
    return d->n_found == 0 ? OK : state_prepare_remove(&e->state, st, d->n_found, err);
}

/* Takes the IDs that are found to d->ids; returns what is left. */
static struct state_left deletion_left(const struct stream *st, struct deletion *d, size_t *n)
{
    struct state_left left = { st->n_entries, st->bytes };

    *n = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (!d->items[i].found)
            continue;
        left.n--;
        left.bytes -= d->items[i].bytes < left.bytes ? d->items[i].bytes : left.bytes;
        d->ids[(*n)++] = d->items[i].id;
    }
    return left;
}

void deletion_apply(struct engine *e, struct client *c, struct slice key, struct stream *st,
                    struct deletion *d)
{
    size_t n, len;
    struct state_left left = deletion_left(st, d, &n);
    uint64_t lsn;
    uint8_t *p;

    if (n == 0)
        return;
    len = varint_size(st->oid) + varint_size(left.n) + varint_size(left.bytes) + varint_size(n);
    for (size_t i = 0; i < n; i++)
        len += id_size(d->ids[i]);
    p = engine_append_to(e, c, &st->object, RECORD_REMOVE, len, &lsn);
    p = varint_put(varint_put(varint_put(p, st->oid), left.n), left.bytes);
    p = varint_put(p, n);
    for (size_t i = 0; i < n; i++)
        p = id_put(p, d->ids[i]);
    state_remove(&e->state, st, d->ids, n, left, lsn);
    engine_key_changed(e, c->db, key);
    notify(e, NOTIFY_STREAM, "xdel", c->db, key);
}

void deletion_reply(struct client *c, struct deletion *d)
{
    qsort(d->items, d->n, sizeof d->items[0], deletion_cmp_place);
    reply_array(c, d->n);
    for (size_t i = 0; i < d->n; i++)
        reply_int(c, d->items[i].code);
}

void deletion_reply_none(struct client *c, size_t n)
{
    reply_array(c, n);
    for (; n > 0; n--)
        reply_int(c, DELETION_NOT_THERE);
}
