/*
 * sieve.c - decides what a trim takes, by what groups still refer to.
 *
 * KEEPREF and DELREF cut the front off, as trim.c plans it; with DELREF what goes is pending nowhere any more. ACKED lets go of
 * nothing that a group has not got yet, or has not acknowledged. Mostly groups have acknowledged all that is to go: then it is
 * a cut like any other. Else it is one up to the first entry that is referred to, and from there on a walk, which takes
 * those that are not:
 *
 *      cut.first                            reach: the least last-delivered ID
 *   [ . . . ] r . . r r . r . . . . . . . . . ][ what some group has not got yet
 *     cut       - -     -   - -                 -: taken by RECORD_SIFT, until enough have gone
 *
 * As in Redis the walk goes on past what has to stay, so with MAXLEN later entries go instead, and more may stay than was asked
 * for. It ends after SIEVE_LOOKS entries, whatever it has found, or where it would have to wait for the disk although it has
 * got something: the number in the reply says how many went. With ~ whole nodes of Redis count (trim.c), but they are cut
 * inside, too.
 *
 * What is taken from the middle is no deletion for max-deleted-entry-id: Redis's trims do not move that.
 */
#include "broker/engine/sieve.h"
#include <stdlib.h>
#include "broker/engine/cursor.h"
#include "broker/engine/grouplog.h"
#include "log/entry.h"

enum { SIEVE_IDS_MIN = 64 };

struct sieve_walk {
    const struct stream *st;
    const struct trim *trim;
    struct id reach;
    uint64_t wanted; /* entries that are still to go */
    size_t looks;    /* entries that may still be looked at */
    size_t cap;      /* of out->ids */
    struct sieve *out;
};

/* ---- the plan ---- */

/* What is above, some group has not got yet. */
static struct id sieve_reach(const struct groups *gs)
{
    struct id reach = ID_MAX;

    for (size_t i = 0; i < groups_n(gs); i++)
        if (id_cmp(groups_at(gs, i)->last_id, reach) < 0)
            reach = groups_at(gs, i)->last_id;
    return reach;
}

/* Whether all that the cut takes is below that ID. */
static bool sieve_is_below(const struct stream *st, const struct trim_added *added,
                           const struct trim_cut *cut, struct id below)
{
    if (cut->n < st->n_entries + (added != NULL))
        return id_cmp(cut->first, below) <= 0;
    return id_cmp(added != NULL ? added->id : st->last_id, below) < 0;
}

/* Whether the walk is to look at that entry. */
static bool sieve_goes_on(const struct sieve_walk *w, struct id id)
{
    return w->wanted > 0 && w->looks > 0 && w->out->n < SIEVE_IDS_MAX &&
           id_cmp(id, w->reach) <= 0 &&
           (w->trim->by != TRIM_MINID || id_cmp(id, w->trim->minid) < 0);
}

static int sieve_grow(struct sieve_walk *w, struct err *err)
{
    size_t cap = w->cap == 0 ? SIEVE_IDS_MIN : w->cap * 2;
    struct id *ids;

    if (w->out->n < w->cap)
        return OK;
    ids = realloc(w->out->ids, cap * sizeof *ids);
    if (ids == NULL)
        return err_set(err, ERR_NOMEM, "no memory for %zu IDs", cap);
    w->out->ids = ids;
    w->cap = cap;
    return OK;
}

/* Takes the entry if no group refers to it. */
static int sieve_look(struct sieve_walk *w, struct id id, uint64_t bytes, struct err *err)
{
    int rc;

    w->looks--;
    if (!groups_have_acked(stream_groups(w->st), id))
        return OK;
    rc = sieve_grow(w, err);
    if (rc != OK)
        return rc;
    w->out->ids[w->out->n++] = id;
    w->out->bytes += bytes;
    w->wanted--;
    return OK;
}

static int sieve_walk_on(struct sieve_walk *w, struct cursor *at, struct id from, struct err *err)
{
    const uint8_t *entry;
    int rc = cursor_seek(at, from, err);

    while (rc == OK && (entry = cursor_at(at)) != NULL) {
        struct id id;

        entry_id(entry, &id);
        if (!sieve_goes_on(w, id))
            return OK;
        rc = sieve_look(w, id, (uint64_t)(entry_end(entry) - entry), err);
        if (rc == OK)
            rc = cursor_next(at, err);
    }
    return rc;
}

/* The walk from `from` on over what is in memory; the first entry that goes is read on the spot where nobody has loaded it, so that
 * each call gets on. */
static int sieve_walk(struct engine *e, struct sieve_walk *w, struct id from, struct wants *wants,
                      struct err *err)
{
    struct cursor at;
    int rc;

    cursor_open(&at, e, w->st, CURSOR_RESIDENT, wants);
    cursor_narrow(&at, from, w->reach);
    rc = sieve_walk_on(w, &at, from, err);
    cursor_close(&at);
    if (rc != ERR_COLD || wants != NULL)
        return rc;
    if (sieve_n(w->out) > 0)
        return OK;
    w->looks = SIEVE_LOOKS_MIN;
    cursor_open(&at, e, w->st, CURSOR_ON_THE_SPOT, NULL);
    cursor_narrow(&at, from, w->reach);
    rc = sieve_walk_on(w, &at, from, err);
    cursor_close(&at);
    return rc;
}

static size_t sieve_looks(const struct groups *gs)
{
    size_t n = 10 * (size_t)SIEVE_LOOKS / (groups_n(gs) + 1);

    return n > SIEVE_LOOKS ? SIEVE_LOOKS : n < SIEVE_LOOKS_MIN ? SIEVE_LOOKS_MIN : n;
}

/* Something that is referred to is in the way: what lies before it, and then the walk. */
static int sieve_plan_around(struct engine *e, const struct stream *st, const struct trim *trim,
                             const struct trim_added *added, struct id below, struct wants *wants,
                             struct sieve *out, struct err *err)
{
    const struct trim front = { .by = TRIM_MINID, .minid = below };
    struct sieve_walk w = { .st = st,
                            .trim = trim,
                            .reach = sieve_reach(stream_groups(st)),
                            .wanted = out->cut.n,
                            .looks = sieve_looks(stream_groups(st)),
                            .out = out };
    int rc = trim_plan(e, st, &front, added, wants, &out->cut, err);

    if (rc != OK)
        return rc;
    w.wanted -= out->cut.n < w.wanted ? out->cut.n : w.wanted;
    if (w.wanted > 0 && id_cmp(below, w.reach) <= 0)
        rc = sieve_walk(e, &w, below, wants, err);
    if (rc == OK && added != NULL && sieve_goes_on(&w, added->id))
        rc = sieve_look(&w, added->id, added->bytes, err);
    return rc;
}

int sieve_plan(struct engine *e, const struct stream *st, const struct trim *trim,
               const struct trim_added *added, struct wants *wants, struct sieve *out,
               struct err *err)
{
    struct id below = ID_MAX;
    int rc;

    *out = (struct sieve){ .refs = trim->refs };
    rc = trim_plan(e, st, trim, added, wants, &out->cut, err);
    if (rc != OK || out->cut.n == 0 || trim->refs != TRIM_ACKED || groups_n(stream_groups(st)) == 0)
        return rc;
    below = groups_acked_below(stream_groups(st), stream_floor(st));
    if (sieve_is_below(st, added, &out->cut, below))
        return OK;
    return sieve_plan_around(e, st, trim, added, below, wants, out, err);
}

void sieve_fini(struct sieve *x)
{
    free(x->ids);
}

/* ---- doing it ---- */

int sieve_prepare(struct engine *e, struct stream *st, const struct sieve *x, struct err *err)
{
    return state_prepare_remove(&e->state, st, x->n + 1, err); /* see trim_prepare */
}

/* What is behind the cut's last entry. */
static struct id sieve_end(const struct stream *st, const struct trim_cut *cut)
{
    struct id end = cut->first;

    if (cut->n == st->n_entries) {
        end = st->last_id;
        id_next(&end);
    }
    return end;
}

static void sieve_sift(struct engine *e, struct client *c, struct stream *st, const struct sieve *x)
{
    struct state_left left = { st->n_entries - x->n, st->bytes };
    size_t len = varint_size(st->oid) + varint_size(left.n) + varint_size(x->n);
    uint64_t lsn;
    uint8_t *p;

    left.bytes -= x->bytes < left.bytes ? x->bytes : left.bytes;
    len += varint_size(left.bytes);
    for (size_t i = 0; i < x->n; i++)
        len += id_size(x->ids[i]);
    p = engine_append_to(e, c, &st->object, RECORD_SIFT, len, &lsn);
    p = varint_put(varint_put(varint_put(p, st->oid), left.n), left.bytes);
    p = varint_put(p, x->n);
    for (size_t i = 0; i < x->n; i++)
        p = id_put(p, x->ids[i]);
    state_sift(&e->state, st, x->ids, x->n, left, lsn);
}

/* What goes by ID goes first: the room that was made for these IDs holds until the next cut. */
uint64_t sieve_apply(struct engine *e, struct client *c, struct stream *st, const struct sieve *x)
{
    if (x->n > 0) {
        sieve_sift(e, c, st, x);
        if (x->cut.n == 0 || trim_prepare(e, st, NULL) != OK)
            return x->n;
    }
    if (x->cut.n == 0)
        return 0;
    if (x->refs == TRIM_DELREF && stream_groups(st) != NULL)
        grouplog_unref_below(e, c, st, sieve_end(st, &x->cut));
    trim_apply(e, c, st, &x->cut);
    return sieve_n(x);
}
