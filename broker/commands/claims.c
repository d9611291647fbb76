/*
 * claims.c - gathers what a command is about to claim.
 *
 * A claim is shown with its fields, and these may lie in a segment. All that is to be shown is found before anything is
 * changed: a block that cannot be read fails the command, and leaves the group as it was. Entries in the tail stay where they
 * are until the reply is made; of sealed ones a copy is kept, since a reader lets go of a block when it moves to the next.
 */
#include "broker/commands/claims.h"
#include <stdlib.h>
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { CLAIMS_BODIES_MIN = 4096 };

int claims_init(struct claims *x, size_t n, struct err *e)
{
    *x = (struct claims){ .cap = n };
    x->ids = calloc(n + 1, sizeof *x->ids);
    x->counts = calloc(n + 1, sizeof *x->counts);
    x->keys = calloc(n + 1, sizeof *x->keys);
    x->shown = calloc(n + 1, sizeof *x->shown);
    x->gone = calloc(n + 1, sizeof *x->gone);
    if (x->ids == NULL || x->counts == NULL || x->keys == NULL || x->shown == NULL ||
        x->gone == NULL)
        return err_set(e, ERR_NOMEM, "no memory for %zu claims", n);
    return OK;
}

void claims_fini(struct claims *x)
{
    free(x->ids);
    free(x->counts);
    free(x->keys);
    free(x->shown);
    free(x->gone);
    free(x->bodies);
}

/* ---- gathering ---- */

int claims_seek(struct cursor *at, const struct pel_entry *entry, bool *out, struct err *e)
{
    struct id found;
    int rc;

    *out = false;
    if (entry->gone || id_cmp(entry->id, stream_floor(at->st)) < 0 ||
        delset_has(stream_deletes(at->st), entry->id))
        return OK;
    rc = cursor_seek(at, entry->id, e);
    if (rc != OK || cursor_at(at) == NULL)
        return rc;
    entry_id(cursor_at(at), &found);
    *out = id_cmp(found, entry->id) == 0;
    return OK;
}

/* Room for n more bytes. */
static int claims_grow(struct claims *x, size_t n, struct err *e)
{
    size_t cap = x->cap_bodies > 0 ? x->cap_bodies : CLAIMS_BODIES_MIN;
    uint8_t *bodies;

    if (n <= x->cap_bodies - x->n_bodies)
        return OK;
    while (cap - x->n_bodies < n)
        cap *= 2;
    bodies = realloc(x->bodies, cap);
    if (bodies == NULL)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of entries", cap);
    x->bodies = bodies;
    x->cap_bodies = cap;
    return OK;
}

/* Keeps the entry that the cursor is at for number x->n. */
static int claims_show(struct claims *x, const struct cursor *at, struct err *e)
{
    const uint8_t *entry = cursor_at(at);
    size_t len = (size_t)(entry_end(entry) - entry);
    int rc;

    if (!cursor_entry_stays(at)) {
        if (x->n_bodies > WANTS_BYTES_MAX)
            return err_set(e, ERR_TOO_BIG, "more than %d bytes of entries", WANTS_BYTES_MAX);
        rc = claims_grow(x, len, e);
        if (rc != OK)
            return rc;
        memcpy(x->bodies + x->n_bodies, entry, len);
        x->shown[x->n] = (struct claim){ NULL, x->n_bodies };
        x->n_bodies += len;
    } else {
        x->shown[x->n] = (struct claim){ entry, 0 };
    }
    x->shown_bytes += len;
    return OK;
}

int claims_add(struct claims *x, struct id id, uint64_t count, uint32_t key,
               const struct cursor *at, struct err *e)
{
    int rc = at != NULL ? claims_show(x, at, e) : OK;

    if (rc != OK)
        return rc;
    x->ids[x->n] = id;
    x->counts[x->n] = count;
    x->keys[x->n++] = key;
    return OK;
}

void claims_add_gone(struct claims *x, struct id id)
{
    x->gone[x->n_gone++] = id;
}

uint32_t claims_key(const struct group *g, const uint8_t *entry)
{
    struct slice field, value;
    uint64_t n_fields;
    struct id id;

    if (g->order == NULL)
        return 0;
    entry = entry_varint(entry_id(entry, &id), &n_fields);
    for (; n_fields > 0; n_fields--) {
        entry = entry_str(entry_str(entry, &field), &value);
        if (slice_equal(field, group_options(g)->order_by))
            return group_key(g, value);
    }
    return 0;
}

/* ---- doing it ---- */

int claims_consumer(struct engine *e, struct client *c, struct stream *st, struct group *g,
                    struct slice name, struct consumer **out, struct err *err)
{
    struct consumer *consumer = group_find_consumer(g, name);
    int rc = OK;

    if (consumer == NULL)
        rc = grouplog_add_consumer(e, c, st, g, name, false, &consumer, err);
    if (rc != OK)
        return rc;
    xgroup_saw(e, st, g, consumer);
    *out = consumer;
    return OK;
}

int claims_apply(struct engine *e, struct client *c, struct stream *st, struct group *g,
                 const struct claims *x, const struct consumer *consumer, uint64_t time_ms,
                 struct err *err)
{
    const struct group_change change = { .slot = consumer->slot,
                                         .active = true,
                                         .time_ms = time_ms,
                                         .active_ms = e->now_ms,
                                         .ids = x->ids,
                                         .counts = x->counts,
                                         .keys = g->order != NULL ? x->keys : NULL,
                                         .n = x->n };

    if (x->n_gone > 0)
        grouplog_ack(e, c, st, g, x->gone, x->n_gone);
    return x->n > 0 ? grouplog_change(e, c, st, g, &change, false, err) : OK;
}

void claims_reply(struct client *c, const struct claims *x, size_t i, bool id_only)
{
    const struct claim *claim = &x->shown[i];

    if (id_only)
        reply_id(c, x->ids[i]);
    else
        streams_reply_entry(c, claim->entry != NULL ? claim->entry : x->bodies + claim->at);
}

void claims_reply_failure(struct client *c, int rc, const struct err *err)
{
    if (rc == ERR_FULL)
        reply_error(c, "ERR %s", err->text);
    else
        streams_reply_failure(c, rc, err);
}
