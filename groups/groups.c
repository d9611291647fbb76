/*
 * groups.c - the groups of one stream, by name and by age, and what the stream's changes mean for all of them.
 *
 * Two arrays of pointers: by name, for whoever asks for one or lists all, and by gid, for walks that others may interrupt. There are
 * few groups and they come and go rarely, so a move in an array is cheap, and a walk over all of them is a walk over an array.
 *
 * A new entry lies behind what groups have delivered, but for a group that was made or set ahead of the stream. `highest` is at least
 * every group's last_id, so an append costs one comparison; each group raises it when it moves (group.highest), and where an append
 * finds that no group is so far any more it is found anew.
 *
 *   G4  by_name ascends as bytes compare, by_gid by gid; both have the same groups.
 *   G5  highest is at least the last_id of each group.
 */
#include "groups/groups.h"
#include <assert.h>
#include <stdlib.h>

enum { GROUPS_CAP_MIN = 4 };

struct groups {
    const uint8_t *hash_key; /* 16 bytes, borrowed */
    struct group **by_name, **by_gid;
    size_t n, cap;
    struct id highest;
};

int groups_new(const uint8_t hash_key[16], struct groups **out, struct err *e)
{
    struct groups *gs = calloc(1, sizeof *gs);

    if (gs == NULL)
        return err_set(e, ERR_NOMEM, "the groups of a stream");
    gs->hash_key = hash_key;
    *out = gs;
    return OK;
}

bool groups_free_some(struct groups *gs, size_t *budget)
{
    struct group *g;
    uint64_t n;

    if (gs == NULL)
        return true;
    for (; gs->n > 0; gs->n--) {
        if (*budget == 0)
            return false;
        g = gs->by_gid[gs->n - 1];
        n = 1 + g->n_slots + (g->pel != NULL ? pel_n(g->pel) + pel_n_parked(g->pel) : 0);
        if (!group_free_some(g, *budget)) {
            *budget = 0;
            return false;
        }
        *budget -= n < *budget ? (size_t)n : *budget;
    }
    free(gs->by_name);
    free(gs->by_gid);
    free(gs);
    return true;
}

void groups_free(struct groups *gs)
{
    size_t budget = SIZE_MAX;

    while (!groups_free_some(gs, &budget))
        budget = SIZE_MAX;
}

/* ---- finding ---- */

size_t groups_n(const struct groups *gs)
{
    return gs == NULL ? 0 : gs->n;
}

struct group *groups_at(const struct groups *gs, size_t i)
{
    return gs->by_name[i];
}

static int groups_compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return order != 0 ? order : a.n < b.n ? -1 : a.n > b.n;
}

/* The place of the first group with a name that is not below. */
static size_t groups_seek_name(const struct groups *gs, struct slice name)
{
    size_t from = 0, n = gs->n;

    while (n > 0) {
        size_t half = n / 2;
        if (groups_compare(gs->by_name[from + half]->name, name) < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

/* The place of the first group with a gid that is not below. */
static size_t groups_seek_gid(const struct groups *gs, uint64_t gid)
{
    size_t from = 0, n = gs->n;

    while (n > 0) {
        size_t half = n / 2;
        if (gs->by_gid[from + half]->gid < gid) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

struct group *groups_find(const struct groups *gs, struct slice name)
{
    size_t i = gs == NULL ? 0 : groups_seek_name(gs, name);

    return gs != NULL && i < gs->n && slice_equal(gs->by_name[i]->name, name) ? gs->by_name[i]
                                                                              : NULL;
}

struct group *groups_by_gid(const struct groups *gs, uint64_t gid)
{
    size_t i = gs == NULL ? 0 : groups_seek_gid(gs, gid);

    return gs != NULL && i < gs->n && gs->by_gid[i]->gid == gid ? gs->by_gid[i] : NULL;
}

struct group *groups_next_gid(const struct groups *gs, uint64_t gid)
{
    size_t i = gs == NULL || gid == UINT64_MAX ? groups_n(gs) : groups_seek_gid(gs, gid + 1);

    return i < groups_n(gs) ? gs->by_gid[i] : NULL;
}

/* ---- coming and going ---- */

static int groups_reserve(struct groups *gs, struct err *e)
{
    size_t cap = gs->cap == 0 ? GROUPS_CAP_MIN : gs->cap * 2;
    struct group **by_name, **by_gid;

    if (gs->n < gs->cap)
        return OK;
    by_name = realloc(gs->by_name, cap * sizeof(struct group *));
    if (by_name != NULL)
        gs->by_name = by_name;
    by_gid = by_name == NULL ? NULL : realloc(gs->by_gid, cap * sizeof(struct group *));
    if (by_gid == NULL)
        return err_set(e, ERR_NOMEM, "room for %zu groups", cap);
    gs->by_gid = by_gid;
    gs->cap = cap;
    return OK;
}

int groups_prepare(struct groups *gs, struct slice name, struct group **out, struct err *e)
{
    int rc;

    if (gs->n >= GROUPS_MAX)
        return err_set(e, ERR_FULL, "a stream has at most %d groups", GROUPS_MAX);
    rc = groups_reserve(gs, e);
    return rc == OK ? group_new(gs->hash_key, name, out, e) : rc;
}

static void groups_insert(struct group **at, size_t n, size_t i, struct group *g)
{
    memmove(at + i + 1, at + i, (n - i) * sizeof(struct group *));
    at[i] = g;
}

static void groups_delete(struct group **at, size_t n, size_t i)
{
    memmove(at + i, at + i + 1, (n - i - 1) * sizeof(struct group *));
}

void groups_add(struct groups *gs, struct group *g, uint64_t gid)
{
    assert(gs->n < gs->cap && groups_find(gs, g->name) == NULL && groups_by_gid(gs, gid) == NULL);
    g->gid = gid;
    groups_insert(gs->by_name, gs->n, groups_seek_name(gs, g->name), g);
    groups_insert(gs->by_gid, gs->n, groups_seek_gid(gs, gid), g);
    gs->n++;
    g->highest = &gs->highest;
    if (id_cmp(g->last_id, gs->highest) > 0)
        gs->highest = g->last_id;
}

void groups_take(struct groups *gs, struct group *g)
{
    size_t by_name = groups_seek_name(gs, g->name), by_gid = groups_seek_gid(gs, g->gid);

    assert(gs->by_name[by_name] == g && gs->by_gid[by_gid] == g); /* G4 */
    groups_delete(gs->by_name, gs->n, by_name);
    groups_delete(gs->by_gid, gs->n, by_gid);
    gs->n--;
    g->highest = NULL;
}

/* ---- what happens in the stream ---- */

/* The i-th group, if what the record `lsn` says is new to it. */
static struct group *groups_concerned(const struct groups *gs, size_t i, uint64_t lsn)
{
    return gs->by_gid[i]->as_of < lsn ? gs->by_gid[i] : NULL;
}

void groups_entry_added(struct groups *gs, struct id id, uint64_t lsn)
{
    struct id highest = ID_MIN;

    if (gs == NULL || id_cmp(id, gs->highest) > 0)
        return;
    for (size_t i = 0; i < gs->n; i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL && id_cmp(id, g->last_id) <= 0)
            g->n_behind++;
        if (id_cmp(gs->by_gid[i]->last_id, highest) > 0)
            highest = gs->by_gid[i]->last_id;
    }
    gs->highest = highest; /* G5 */
}

void groups_entries_removed(struct groups *gs, const struct id *ids, size_t n, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL)
            group_entries_removed(g, ids, n);
    }
}

void groups_entries_cut(struct groups *gs, struct id first, uint64_t n_cut, bool all, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL)
            group_entries_cut(g, first, n_cut, all);
    }
}

void groups_forget(struct groups *gs, const struct id *ids, size_t n, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL)
            group_ack(g, ids, n);
    }
}

void groups_forget_below(struct groups *gs, struct id first, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL)
            group_forget_below(g, first);
    }
}

void groups_begin_anew(struct groups *gs, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_concerned(gs, i, lsn);
        if (g != NULL)
            group_begin_anew(g);
    }
}

/* ---- ACKED ---- */

bool groups_have_acked(const struct groups *gs, struct id id)
{
    struct pel_entry x;

    for (size_t i = 0; i < groups_n(gs); i++)
        if (id_cmp(gs->by_gid[i]->last_id, id) < 0 || pel_get(gs->by_gid[i]->pel, id, &x))
            return false;
    return true;
}

/* What the group still needs: the first entry that is pending or parked and not gone, or the one behind its last. */
static struct id groups_needs(const struct group *g, struct id from)
{
    struct pel_filter any = { .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
                              .held_until = UINT64_MAX,
                              .nacked_until = UINT64_MAX };
    struct id next = g->last_id;
    struct pel_entry x;

    if (!id_next(&next))
        next = ID_MAX;
    while (pel_next(g->pel, from, &any, &x) && id_cmp(x.id, next) < 0) {
        if (!x.gone)
            return x.id;
        from = x.id;
        if (!id_next(&from))
            break;
    }
    return next;
}

struct id groups_acked_below(const struct groups *gs, struct id from)
{
    struct id least = ID_MAX;

    for (size_t i = 0; i < groups_n(gs); i++) {
        struct id needs = groups_needs(gs->by_gid[i], from);
        if (id_cmp(needs, least) < 0)
            least = needs;
    }
    return least;
}

/* ---- checking ---- */

const char *groups_check(const struct groups *gs)
{
    const char *bad = NULL;

    for (size_t i = 0; i < groups_n(gs) && bad == NULL; i++) {
        const struct group *g = gs->by_gid[i];
        if (i > 0 && (gs->by_gid[i - 1]->gid >= g->gid ||
                      groups_compare(gs->by_name[i - 1]->name, gs->by_name[i]->name) >= 0))
            return "G4: groups do not ascend";
        if (groups_find(gs, g->name) != g)
            return "G4: a group is not under its name";
        if (id_cmp(g->last_id, gs->highest) > 0 || g->highest != &gs->highest)
            return "G5: a group is ahead of the highest";
        bad = group_check(g);
    }
    return bad;
}
