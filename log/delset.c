/*
 * delset.c - the deleted IDs of a stream: sorted, counted, cheap to keep a version of.
 *
 * Two parts: pages of up to DELSET_PAGE IDs, which never change once they are made, and `late`, a sorted
 * array of the IDs added since. When DELSET_PAGE of those have gathered, they are merged into the
 * pages: pages that get none of them go on as they are, the others are made anew. A set of a few IDs is
 * one small allocation.
 *
 *   set ──► pages │ p0 │ p1 │ p2 │ ...      each: n, IDs ascending; counted, shared by versions
 *       └─► late  │ ID ID ID │              lies in the set itself
 *
 * A reference that somebody else holds freezes the set: the owner's next change works on a copy of it,
 * which shares the pages. So a version costs its late IDs and a pointer for each page.
 *
 * Nothing needs memory that delset_reserve has not got: where a merge finds none, `late` has room for
 * the IDs that were announced, and just gets longer. Removing needs memory for pages that lose a part
 * of their IDs; without it they keep them.
 *
 *   D1  Pages are not empty, hold at most DELSET_PAGE IDs, and ascend within and from page to page.
 *   D2  `late` ascends, and has no ID that is in a page.
 *   D3  n counts the IDs of both.
 *   D4  What has more than one reference does not change.
 */
#include "log/delset.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    PAGE_SMALL = DELSET_PAGE / 4, /* smaller pages are joined with their neighbours */
    LATE_MIN = 4,
};

struct delset_page {
    atomic_uint refs;
    uint32_t n;
    struct id ids[];
};

struct delset {
    atomic_uint refs;
    uint64_t n;
    struct delset_page **pages;
    size_t n_pages;
    size_t n_late, cap_late;
    struct id late[];
};

/* ---- pages ---- */

static struct delset_page *delset_page_ref(struct delset_page *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static void delset_page_unref(struct delset_page *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

static struct delset_page *delset_page_new(const struct id *ids, size_t n)
{
    struct delset_page *p = malloc(sizeof *p + n * sizeof ids[0]);

    if (p == NULL)
        return NULL;
    atomic_init(&p->refs, 1);
    p->n = (uint32_t)n;
    memcpy(p->ids, ids, n * sizeof ids[0]);
    return p;
}

static void delset_pages_unref(struct delset_page **pages, size_t n)
{
    for (size_t i = 0; i < n; i++)
        delset_page_unref(pages[i]);
}

/* How many of the ascending `ids` are below `id`. */
static size_t delset_below(const struct id *ids, size_t n, struct id id)
{
    size_t from = 0;

    while (n > 0) {
        size_t half = n / 2;
        if (id_cmp(ids[from + half], id) < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

static struct id delset_page_last(const struct delset_page *p)
{
    return p->ids[p->n - 1];
}

/* The first page whose last ID is >= id; n_pages if there is none. */
static size_t delset_find_page(const struct delset *d, struct id id)
{
    size_t from = 0, n = d->n_pages;

    while (n > 0) {
        size_t half = n / 2;
        if (id_cmp(delset_page_last(d->pages[from + half]), id) < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

/* ---- making a list of pages anew ---- */

struct delset_builder {
    struct delset_page **pages;
    size_t n, cap;
    bool failed; /* memory ran out */
    size_t n_ids;
    struct id ids[2 * DELSET_PAGE]; /* that are in no page yet */
};

static void delset_builder_init(struct delset_builder *b)
{
    b->pages = NULL;
    b->n = b->cap = b->n_ids = 0;
    b->failed = false;
}

/* Takes over the caller's reference; p may be NULL, for want of memory. */
static void delset_builder_take(struct delset_builder *b, struct delset_page *p)
{
    if (b->n == b->cap && p != NULL) {
        size_t cap = b->cap == 0 ? 8 : 2 * b->cap;
        struct delset_page **pages = realloc(b->pages, cap * sizeof(struct delset_page *));
        if (pages == NULL) {
            delset_page_unref(p);
            p = NULL;
        } else {
            b->pages = pages;
            b->cap = cap;
        }
    }
    if (p == NULL)
        b->failed = true;
    else
        b->pages[b->n++] = p;
}

static void delset_builder_flush(struct delset_builder *b)
{
    size_t half = b->n_ids > DELSET_PAGE ? b->n_ids / 2 : 0;

    if (half > 0)
        delset_builder_take(b, delset_page_new(b->ids, half));
    if (b->n_ids > 0)
        delset_builder_take(b, delset_page_new(b->ids + half, b->n_ids - half));
    b->n_ids = 0;
}

static void delset_builder_id(struct delset_builder *b, struct id id)
{
    if (b->n_ids == 2 * DELSET_PAGE) {
        delset_builder_take(b, delset_page_new(b->ids, DELSET_PAGE));
        b->n_ids = DELSET_PAGE;
        memmove(b->ids, b->ids + DELSET_PAGE, DELSET_PAGE * sizeof b->ids[0]);
    }
    b->ids[b->n_ids++] = id;
}

/* A page that goes on as it is, unless it is small. */
static void delset_builder_page(struct delset_builder *b, struct delset_page *p)
{
    if (p->n <= PAGE_SMALL || (b->n_ids > 0 && b->n_ids + p->n <= DELSET_PAGE)) {
        for (size_t i = 0; i < p->n; i++)
            delset_builder_id(b, p->ids[i]);
        return;
    }
    delset_builder_flush(b);
    delset_builder_take(b, delset_page_ref(p));
}

/* Puts the new pages into d, or drops them if memory ran out meanwhile; false then. */
static bool delset_builder_end(struct delset_builder *b, struct delset *d)
{
    delset_builder_flush(b);
    if (b->failed) {
        delset_pages_unref(b->pages, b->n);
        free(b->pages);
        return false;
    }
    delset_pages_unref(d->pages, d->n_pages);
    free(d->pages);
    d->pages = b->pages;
    d->n_pages = b->n;
    return true;
}

/* ---- the set ---- */

struct delset *delset_ref(struct delset *d)
{
    if (d != NULL)
        atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void delset_unref(struct delset *d)
{
    if (d == NULL || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    delset_pages_unref(d->pages, d->n_pages);
    free(d->pages);
    free(d);
}

static bool delset_is_shared(const struct delset *d)
{
    return atomic_load_explicit(&d->refs, memory_order_acquire) > 1;
}

/* A copy of d (NULL: the empty set) with room for cap_late, which shares its pages; or NULL. */
static struct delset *delset_copy(const struct delset *d, size_t cap_late)
{
    struct delset *to = malloc(sizeof *to + cap_late * sizeof to->late[0]);

    if (to == NULL)
        return NULL;
    atomic_init(&to->refs, 1);
    to->cap_late = cap_late;
    to->n = to->n_pages = to->n_late = 0;
    to->pages = NULL;
    if (d == NULL)
        return to;
    if (d->n_pages > 0) {
        to->pages = malloc(d->n_pages * sizeof(struct delset_page *));
        if (to->pages == NULL) {
            free(to);
            return NULL;
        }
    }
    for (size_t i = 0; i < d->n_pages; i++)
        to->pages[i] = delset_page_ref(d->pages[i]);
    to->n = d->n;
    to->n_pages = d->n_pages;
    to->n_late = d->n_late;
    memcpy(to->late, d->late, d->n_late * sizeof d->late[0]);
    return to;
}

/* Makes *d the owner's alone; false, with *d as it was, if memory ran out. */
static bool delset_own(struct delset **d)
{
    struct delset *copy;

    if (!delset_is_shared(*d))
        return true;
    copy = delset_copy(*d, (*d)->n_late);
    if (copy == NULL)
        return false;
    delset_unref(*d);
    *d = copy;
    return true;
}

int delset_reserve(struct delset **set, size_t n, struct err *e)
{
    size_t n_late = *set != NULL ? (*set)->n_late : 0, cap = LATE_MIN;
    struct delset *to = *set;

    if (n > SIZE_MAX / 4 / sizeof(struct id) - n_late)
        return err_set(e, ERR_NOMEM, "remember %zu deleted IDs", n);
    while (cap < n_late + n)
        cap *= 2;
    if (to == NULL || delset_is_shared(to)) {
        to = delset_copy(*set, cap);
        if (to != NULL)
            delset_unref(*set);
    } else if (to->cap_late < cap || to->cap_late / 4 > cap) {
        to = realloc(to, sizeof *to + cap * sizeof to->late[0]);
        if (to != NULL)
            to->cap_late = cap;
    }
    if (to == NULL)
        return err_set(e, ERR_NOMEM, "remember %zu deleted IDs", n);
    *set = to;
    return OK;
}

/* Merges `late` into the pages; without memory all stays as it is. */
static void delset_settle(struct delset *d)
{
    struct delset_builder b;
    size_t late = 0;

    delset_builder_init(&b);
    for (size_t i = 0; i < d->n_pages; i++) {
        struct delset_page *p = d->pages[i];
        size_t at = 0;
        if (late == d->n_late || id_cmp(d->late[late], delset_page_last(p)) > 0) {
            delset_builder_page(&b, p);
            continue;
        }
        while (at < p->n) {
            bool older = late == d->n_late || id_cmp(p->ids[at], d->late[late]) < 0;
            delset_builder_id(&b, older ? p->ids[at++] : d->late[late++]);
        }
    }
    while (late < d->n_late)
        delset_builder_id(&b, d->late[late++]);
    if (delset_builder_end(&b, d))
        d->n_late = 0;
}

void delset_add(struct delset **set, struct id id)
{
    struct delset *d = *set;
    size_t at;

    assert(d != NULL && !delset_is_shared(d)); /* D4: delset_reserve has seen to it */
    if (delset_has(d, id))
        return;
    if (d->n_late >= DELSET_PAGE)
        delset_settle(d);
    assert(d->n_late < d->cap_late);
    at = delset_below(d->late, d->n_late, id);
    memmove(d->late + at + 1, d->late + at, (d->n_late - at) * sizeof id);
    d->late[at] = id;
    d->n_late++;
    d->n++;
}

/* ---- removing ---- */

static void delset_free_if_empty(struct delset **d)
{
    if ((*d)->n > 0)
        return;
    delset_unref(*d);
    *d = NULL;
}

static void delset_cut_late(struct delset *d, struct id floor)
{
    size_t gone = delset_below(d->late, d->n_late, floor);

    d->n_late -= gone;
    d->n -= gone;
    memmove(d->late, d->late + gone, d->n_late * sizeof floor);
}

/* Shortens the first page, which has IDs on both sides of `floor`. */
static void delset_cut_page(struct delset *d, struct id floor)
{
    struct delset_page *p = d->pages[0];
    size_t gone = delset_below(p->ids, p->n, floor);
    struct delset_page *rest = delset_page_new(p->ids + gone, p->n - gone);

    if (rest == NULL)
        return;
    d->pages[0] = rest;
    d->n -= gone;
    delset_page_unref(p);
}

void delset_cut(struct delset **set, struct id floor)
{
    struct id first = ID_MIN;
    struct delset *d;
    size_t gone;

    if (!delset_next(*set, &first) || id_cmp(first, floor) >= 0 || !delset_own(set))
        return;
    d = *set;
    delset_cut_late(d, floor);
    gone = delset_find_page(d, floor);
    for (size_t i = 0; i < gone; i++) {
        d->n -= d->pages[i]->n;
        delset_page_unref(d->pages[i]);
    }
    d->n_pages -= gone;
    if (d->n_pages > 0) {
        memmove(d->pages, d->pages + gone, d->n_pages * sizeof(struct delset_page *));
        if (id_cmp(d->pages[0]->ids[0], floor) < 0)
            delset_cut_page(d, floor);
    }
    delset_free_if_empty(set);
}

/* What is to be removed: the IDs of [from, to] that are in `other`. */
struct delset_cutter {
    const struct delset *other;
    struct id from, to;
};

static bool delset_cuts(const struct delset_cutter *c, struct id id)
{
    return id_cmp(id, c->from) >= 0 && id_cmp(id, c->to) <= 0 && delset_has(c->other, id);
}

/* Whether it removes any of a page: one that the other set shares is seen at once. */
static bool delset_cuts_page(const struct delset_cutter *c, const struct delset_page *p)
{
    struct id from = id_cmp(p->ids[0], c->from) < 0 ? c->from : p->ids[0];
    struct id last = delset_page_last(p), to = id_cmp(last, c->to) > 0 ? c->to : last;

    if (id_cmp(from, to) > 0)
        return false;
    return delset_next(c->other, &from) && id_cmp(from, to) <= 0;
}

static void delset_subtract_pages(struct delset *d, const struct delset_cutter *c)
{
    struct delset_builder b;
    uint64_t gone = 0;

    delset_builder_init(&b);
    for (size_t i = 0; i < d->n_pages; i++) {
        struct delset_page *p = d->pages[i];
        if (!delset_cuts_page(c, p)) {
            delset_builder_page(&b, p);
            continue;
        }
        for (size_t k = 0; k < p->n; k++) {
            if (delset_cuts(c, p->ids[k]))
                gone++;
            else
                delset_builder_id(&b, p->ids[k]);
        }
    }
    if (delset_builder_end(&b, d))
        d->n -= gone;
}

void delset_subtract(struct delset **set, const struct delset *other, struct id from, struct id to)
{
    struct delset_cutter c = { .other = other, .from = from, .to = to };
    struct delset *d, *kept;
    size_t n = 0;

    if (*set == NULL || other == NULL || id_cmp(from, to) > 0)
        return;
    kept = *set == other ? delset_ref(*set) : NULL; /* `other` outlives what follows */
    if (delset_own(set)) {
        d = *set;
        for (size_t i = 0; i < d->n_late; i++)
            if (!delset_cuts(&c, d->late[i]))
                d->late[n++] = d->late[i];
        d->n -= d->n_late - n;
        d->n_late = n;
        delset_subtract_pages(d, &c);
        delset_free_if_empty(set);
    }
    delset_unref(kept);
}

/* ---- asking ---- */

bool delset_has(const struct delset *d, struct id id)
{
    struct id next = id;

    return delset_next(d, &next) && id_cmp(next, id) == 0;
}

/* How many are below `id`, from page `page` on. */
static uint64_t delset_count_below(const struct delset *d, size_t page, struct id id)
{
    uint64_t n = delset_below(d->late, d->n_late, id);
    size_t last = delset_find_page(d, id);

    for (; page < last; page++)
        n += d->pages[page]->n;
    if (last < d->n_pages && page == last)
        n += delset_below(d->pages[last]->ids, d->pages[last]->n, id);
    return n;
}

uint64_t delset_count(const struct delset *d, struct id from, struct id to)
{
    size_t first;
    uint64_t n;

    if (d == NULL || id_cmp(from, to) > 0)
        return 0;
    first = delset_find_page(d, from);
    n = delset_count_below(d, first, to) - delset_count_below(d, first, from);
    return n + delset_has(d, to);
}

bool delset_next(const struct delset *d, struct id *id)
{
    bool found = false;
    struct id next = *id;
    size_t page, late;

    if (d == NULL)
        return false;
    page = delset_find_page(d, *id);
    if (page < d->n_pages) {
        const struct delset_page *p = d->pages[page];
        next = p->ids[delset_below(p->ids, p->n, *id)];
        found = true;
    }
    late = delset_below(d->late, d->n_late, *id);
    if (late < d->n_late && (!found || id_cmp(d->late[late], next) < 0)) {
        next = d->late[late];
        found = true;
    }
    *id = next;
    return found;
}

uint64_t delset_n(const struct delset *d)
{
    return d != NULL ? d->n : 0;
}

size_t delset_bytes(const struct delset *d)
{
    if (d == NULL)
        return 0;
    return sizeof *d + d->cap_late * sizeof d->late[0] +
           d->n_pages * (sizeof(struct delset_page) + sizeof d->pages[0]) +
           (size_t)(d->n - d->n_late) * sizeof(struct id);
}

static const char *delset_check_ids(const struct id *ids, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (id_cmp(ids[i - 1], ids[i]) >= 0)
            return "IDs do not ascend";
    return NULL;
}

const char *delset_check(const struct delset *d)
{
    const char *bad = NULL;
    uint64_t n;

    if (d == NULL)
        return NULL;
    n = d->n_late;
    for (size_t i = 0; i < d->n_pages && bad == NULL; i++) {
        const struct delset_page *p = d->pages[i];
        if (p->n == 0 || p->n > DELSET_PAGE)
            return "D1: the size of a page";
        if (i > 0 && id_cmp(delset_page_last(d->pages[i - 1]), p->ids[0]) >= 0)
            return "D1: pages do not ascend";
        for (size_t k = 0; k < d->n_late; k++) {
            size_t at = delset_below(p->ids, p->n, d->late[k]);
            if (at < p->n && id_cmp(p->ids[at], d->late[k]) == 0)
                return "D2: an ID is in `late` and in a page";
        }
        bad = delset_check_ids(p->ids, p->n);
        n += p->n;
    }
    if (bad == NULL)
        bad = delset_check_ids(d->late, d->n_late);
    if (bad == NULL && n != d->n)
        bad = "D3: the number of IDs";
    return bad;
}
