/*
 * list.c - the elements of a list, packed into pages of up to 4 KiB, both ends of it equally near.
 *
 * A directory, which is a ring of slots, has the pages in order: where each begins and ends by position, and how many elements
 * it has. A page has free room before or behind its elements, so that it grows to the side on which it is pushed; it
 * begins small and grows by a fourth. An element of more than a page has one of its own.
 *
 *   page     | free | element | element | ... | free |
 *   element  | head: 2 x length (+1: a gap follows) | gap | bytes | how long all this was, backwards |
 *
 * The gap is how many positions are missing before the element; lengths behind it, low bits last, let a walk go back.
 * So a short element costs its bytes and two more. Where no position is missing in the whole list, an index is a position, and a
 * seek is a search by halves; else counts of pages are added up.
 *
 *   L1  A page in the directory has an element at least, and its slot says exactly what is in it.
 *   L2  Positions ascend, within pages and from page to page. The first element of a page has no gap: its slot has its position.
 *   L3  n and bytes are what a walk would count.
 *   L4  Pages hold up to LIST_ROOM_MAX bytes of elements, or one element.
 *
 * Removing never needs memory: an element that gets a larger gap stands behind at least one that is gone, and two bytes of
 * that one are enough for what the gap and the length at the end can grow beyond the gap that went with it.
 */
#include "broker/cache/list.h"
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIST_PAGE_FIRST = 56,  /* bytes of the smallest page: what malloc has in 64 */
    LIST_PAGE_MAX = 4088,  /* and of the largest with more than one element */
    LIST_SLOTS_FIRST = 4,  /* of a directory of its own */
    LIST_SLOTS_SHRINK = 8, /* fewer than cap / LIST_SLOTS_SHRINK pages: it is too large */
    LIST_FRESH_MAX = 3     /* pages that come from one when an element is put into it */
};

struct list_page {
    uint32_t start, end; /* of the elements in `bytes` */
    uint32_t room;       /* of `bytes` */
    uint8_t bytes[];
};

enum { LIST_ROOM_MAX = LIST_PAGE_MAX - (int)sizeof(struct list_page) };

struct list_slot {
    struct list_page *page;
    int64_t first, last; /* positions */
    uint32_t n;
};

struct list {
    struct list_slot *slots; /* a ring of `cap`, a power of two; `one` while one is enough */
    uint32_t from, n_slots, cap;
    uint64_t n;
    size_t bytes;
    struct list_slot one;
};

/* An element as it lies in a page. */
struct list_item {
    uint64_t gap;
    struct slice value;
    uint32_t from, to;
};

/* Bytes of a piece of memory, with what malloc keeps beside it. */
static size_t list_piece(const void *p)
{
    return malloc_usable_size((void *)(uintptr_t)p) + sizeof(size_t);
}

static int list_nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for an element of a list");
}

/* ---- elements ---- */

/* Positions missing between two; the position behind a gap; and the one before a gap. Positions are any, so they are reckoned
 * without a sign. */
static inline uint64_t list_gap(int64_t before, int64_t pos)
{
    return (uint64_t)pos - (uint64_t)before - 1;
}

static inline int64_t list_behind(int64_t pos, uint64_t gap)
{
    return (int64_t)((uint64_t)pos + gap + 1);
}

static inline int64_t list_before(int64_t pos, uint64_t gap)
{
    return (int64_t)((uint64_t)pos - gap - 1);
}

/* Bytes of an element without the length behind it. */
static size_t list_item_body(uint64_t gap, size_t n)
{
    return varint_size((uint64_t)n << 1) + (gap > 0 ? varint_size(gap) : 0) + n;
}

static size_t list_item_size(uint64_t gap, size_t n)
{
    size_t body = list_item_body(gap, n);

    return body + varint_size(body);
}

/* Writes it at p, where the value may lie already, in whole or in part. Returns the end. */
static uint8_t *list_item_put(uint8_t *p, uint64_t gap, struct slice value)
{
    uint64_t body = list_item_body(gap, value.n);
    uint8_t *bytes = p + body - value.n, *end = p + body + varint_size(body);

    if (value.n > 0)
        memmove(bytes, value.p, value.n);
    p = varint_put(p, (uint64_t)value.n << 1 | (gap > 0));
    if (gap > 0)
        p = varint_put(p, gap);
    assert(p == bytes);
    for (p = end; body >= 0x80; body >>= 7)
        *--p = (uint8_t)(body | 0x80);
    *--p = (uint8_t)body;
    return end;
}

static uint64_t list_varint(const uint8_t **p)
{
    uint64_t v = *(*p)++;

    if (v < 0x80)
        return v;
    v &= 0x7f;
    for (unsigned shift = 7;; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
}

static void list_item_get(const struct list_page *page, uint32_t from, struct list_item *out)
{
    const uint8_t *p = page->bytes + from;
    uint64_t head = list_varint(&p);
    size_t body;

    out->gap = head & 1 ? list_varint(&p) : 0;
    out->value = slice_of(p, head >> 1);
    out->from = from;
    body = (size_t)(p - page->bytes) - from + out->value.n;
    out->to = from + (uint32_t)(body + varint_size(body));
}

/* Where the element that ends at `end` begins. */
static uint32_t list_item_before(const struct list_page *page, uint32_t end)
{
    const uint8_t *p = page->bytes + end;
    uint64_t body = 0;
    unsigned shift = 0;

    do
        body |= (uint64_t)(*--p & 0x7f) << shift, shift += 7;
    while (*p >= 0x80);
    return (uint32_t)((size_t)(p - page->bytes) - body);
}

/* ---- pages ---- */

static uint32_t list_page_used(const struct list_page *page)
{
    return page->end - page->start;
}

/* With room for `need` bytes and a fourth more, as far as a page goes; NULL: no memory. */
static struct list_page *list_page_new(size_t need)
{
    size_t size;
    struct list_page *page;

    need += sizeof *page;
    size = need + need / 4;
    if (size < LIST_PAGE_FIRST)
        size = LIST_PAGE_FIRST;
    if (size > LIST_PAGE_MAX)
        size = LIST_PAGE_MAX;
    page = malloc(size < need ? need : size);
    if (page == NULL)
        return NULL;
    page->start = 0;
    page->end = 0;
    page->room = (uint32_t)(malloc_usable_size(page) - sizeof *page);
    return page;
}

static size_t list_page_free(const struct list_page *page, bool front)
{
    return front ? page->start : page->room - page->end;
}

/* Whether so many bytes more should come into it on that side (L4). A page that is nearly full and cannot grow is not moved to
 * and fro for the little that is free on its other side. */
static bool list_page_takes(const struct list_page *page, size_t need, bool front)
{
    size_t used = list_page_used(page) + need;

    return used <= LIST_ROOM_MAX && (need <= list_page_free(page, front) ||
                                     page->room < LIST_ROOM_MAX || used <= LIST_ROOM_MAX / 4 * 3);
}

static void list_page_move(struct list_page *page, uint32_t start)
{
    uint32_t used = list_page_used(page);

    memmove(page->bytes + start, page->bytes + page->start, used);
    page->start = start;
    page->end = start + used;
}

/* Puts a larger one in the place of the page, with its elements at the far side of where `need` bytes will come. */
static bool list_page_grow(struct list_page **page, size_t need, bool front)
{
    struct list_page *old = *page;
    uint32_t used = list_page_used(old);
    struct list_page *p = list_page_new(used + need);

    if (p == NULL)
        return false;
    p->start = front ? p->room - used : 0;
    p->end = p->start + used;
    memcpy(p->bytes + p->start, old->bytes + old->start, used);
    free(old);
    *page = p;
    return true;
}

/* Makes room for `need` bytes, which it takes, on that side. False: no memory. */
static bool list_page_reserve(struct list_page **at, size_t need, bool front)
{
    struct list_page *page = *at;
    uint32_t used = list_page_used(page);

    if (need <= list_page_free(page, front))
        return true;
    if (used + need <=
        page->room / 2) { /* so much is free that moving is cheap; some is left on the other side */
        uint32_t other = (uint32_t)(page->room - used - need) / 4;
        list_page_move(page, front ? page->room - used - other : other);
        return true;
    }
    return list_page_grow(at, need, front);
}

/* ---- the directory ---- */

static struct list_slot *list_slot_at(const struct list *l, uint32_t i)
{
    return &l->slots[(l->from + i) & (l->cap - 1)];
}

static void list_slots_free(struct list *l)
{
    if (l->slots == &l->one)
        return;
    l->bytes -= list_piece(l->slots);
    free(l->slots);
}

/* Gives it `cap` slots, which are enough. False: no memory. */
static bool list_slots_resize(struct list *l, uint32_t cap)
{
    struct list_slot *slots = malloc(cap * sizeof *slots);

    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < l->n_slots; i++)
        slots[i] = *list_slot_at(l, i);
    list_slots_free(l);
    l->bytes += list_piece(slots);
    l->slots = slots;
    l->from = 0;
    l->cap = cap;
    return true;
}

static bool list_slots_reserve(struct list *l, uint32_t n)
{
    uint32_t cap = l->cap < LIST_SLOTS_FIRST ? LIST_SLOTS_FIRST : l->cap;

    if (l->n_slots + n <= l->cap)
        return true;
    while (cap < l->n_slots + n)
        cap *= 2;
    return list_slots_resize(l, cap);
}

static void list_slots_move(struct list *l, uint32_t to, uint32_t from, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = to < from ? k : n - 1 - k;
        *list_slot_at(l, to + i) = *list_slot_at(l, from + i);
    }
}

/* Makes n free slots at i; the shorter side moves. Room has been made. */
static void list_slots_insert(struct list *l, uint32_t i, uint32_t n)
{
    l->n_slots += n;
    if (i < (l->n_slots - n) / 2) {
        l->from -= n;
        list_slots_move(l, 0, n, i);
    } else {
        list_slots_move(l, i + n, i, l->n_slots - n - i);
    }
}

/* Takes n slots at i out, whose pages are gone. */
static void list_slots_remove(struct list *l, uint32_t i, uint32_t n)
{
    uint32_t behind = l->n_slots - i - n;

    if (i < behind) {
        list_slots_move(l, n, 0, i);
        l->from += n;
    } else {
        list_slots_move(l, i, i + n, behind);
    }
    l->n_slots -= n;
    if (l->cap > LIST_SLOTS_FIRST && l->n_slots < l->cap / LIST_SLOTS_SHRINK)
        (void)list_slots_resize(l, l->cap / 2); /* without memory it stays as large as it is */
}

/* The first slot that ends at `pos` or behind it; n_slots if none does. */
static uint32_t list_slot_of(const struct list *l, int64_t pos)
{
    uint32_t low = 0, high = l->n_slots;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (list_slot_at(l, middle)->last < pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- one slot ---- */

/* Adds an element behind the last one of a slot, which takes it. False: no memory, and nothing has changed. */
static bool list_slot_append(struct list_slot *s, int64_t pos, struct slice value)
{
    uint64_t gap = list_gap(s->last, pos);
    size_t need = list_item_size(gap, value.n);
    uint8_t *end;

    if (!list_page_reserve(&s->page, need, false))
        return false;
    end = list_item_put(s->page->bytes + s->page->end, gap, value);
    s->page->end += (uint32_t)need;
    assert(end == s->page->bytes + s->page->end);
    s->last = pos;
    s->n++;
    return true;
}

/* Before the first one, at the position before it. */
static bool list_slot_prepend(struct list_slot *s, struct slice value)
{
    size_t need = list_item_size(0, value.n);

    if (!list_page_reserve(&s->page, need, true))
        return false;
    s->page->start -= (uint32_t)need;
    list_item_put(s->page->bytes + s->page->start, 0, value);
    s->first--;
    s->n++;
    return true;
}

/* A slot with that element in a new page. */
static bool list_slot_begin(struct list_slot *s, int64_t pos, struct slice value)
{
    struct list_page *page = list_page_new(list_item_size(0, value.n));

    if (page == NULL)
        return false;
    page->end = (uint32_t)(list_item_put(page->bytes, 0, value) - page->bytes);
    *s = (struct list_slot){ .page = page, .first = pos, .last = pos, .n = 1 };
    return true;
}

/* ---- putting ---- */

/* One more page, with that element, as number i. */
static int list_put_new(struct list *l, uint32_t i, int64_t pos, struct slice value, struct err *e)
{
    struct list_slot s;

    if (!list_slots_reserve(l, 1) || !list_slot_begin(&s, pos, value))
        return list_nomem(e);
    list_slots_insert(l, i, 1);
    *list_slot_at(l, i) = s;
    l->bytes += list_piece(s.page);
    return OK;
}

static int list_put_last(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    struct list_slot *s = list_slot_at(l, l->n_slots - 1);
    size_t was = list_piece(s->page);

    if (!list_page_takes(s->page, list_item_size(list_gap(s->last, pos), value.n), false))
        return list_put_new(l, l->n_slots, pos, value, e);
    if (!list_slot_append(s, pos, value))
        return list_nomem(e);
    l->bytes += list_piece(s->page) - was;
    return OK;
}

static int list_put_first(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    struct list_slot *s = list_slot_at(l, 0);
    size_t was = list_piece(s->page);

    if (list_gap(pos, s->first) > 0 || !list_page_takes(s->page, list_item_size(0, value.n), true))
        return list_put_new(l, 0, pos, value, e);
    if (!list_slot_prepend(s, value))
        return list_nomem(e);
    l->bytes += list_piece(s->page) - was;
    return OK;
}

/* Pages that take the place of one. */
struct list_fresh {
    struct list_slot slots[LIST_FRESH_MAX];
    uint32_t n;
    bool failed; /* no memory */
};

static void list_fresh_add(struct list_fresh *f, int64_t pos, struct slice value)
{
    struct list_slot *s = f->n > 0 ? &f->slots[f->n - 1] : NULL;

    if (f->failed)
        return;
    if (s != NULL &&
        list_page_takes(s->page, list_item_size(list_gap(s->last, pos), value.n), false)) {
        f->failed = !list_slot_append(s, pos, value);
        return;
    }
    assert(f->n < LIST_FRESH_MAX); /* what was before it, it, what was behind it */
    f->failed = !list_slot_begin(&f->slots[f->n], pos, value);
    f->n += !f->failed;
}

/* The elements of the slot once more, with the value at its place among them. Returns how many more there are. */
static uint32_t list_fresh_fill(struct list_fresh *f, const struct list_slot *s, int64_t pos,
                                struct slice value)
{
    struct list_item item = { .to = s->page->start };
    int64_t at = list_before(s->first, 0);
    bool placed = false, replaced = false;

    for (uint32_t i = 0; i < s->n; i++) {
        list_item_get(s->page, item.to, &item);
        at = list_behind(at, item.gap);
        if (at >= pos && !placed)
            list_fresh_add(f, pos, value);
        placed = placed || at >= pos;
        replaced = replaced || at == pos;
        if (at != pos)
            list_fresh_add(f, at, item.value);
    }
    if (!placed)
        list_fresh_add(f, pos, value);
    return !replaced;
}

/* Puts an element into page i, or between that and the one behind it. */
static int list_put_middle(struct list *l, uint32_t i, int64_t pos, struct slice value,
                           uint32_t *n_new, struct err *e)
{
    struct list_fresh f = { .n = 0 };
    struct list_slot *s;

    f.failed = !list_slots_reserve(l, LIST_FRESH_MAX - 1);
    s = list_slot_at(l, i);
    *n_new = list_fresh_fill(&f, s, pos, value);
    for (uint32_t k = 0; f.failed && k < f.n; k++)
        free(f.slots[k].page);
    if (f.failed)
        return list_nomem(e);
    l->bytes -= list_piece(s->page);
    free(s->page);
    list_slots_insert(l, i, f.n - 1);
    for (uint32_t k = 0; k < f.n; k++) {
        l->bytes += list_piece(f.slots[k].page);
        *list_slot_at(l, i + k) = f.slots[k];
    }
    return OK;
}

/* Overwrites a value of the same length; false: there is none. */
static bool list_overwrite(struct list *l, int64_t pos, struct slice value)
{
    struct list_at at;

    if (!list_seek_pos(l, pos, &at) || at.pos != pos || at.value.n != value.n)
        return false;
    if (value.n > 0)
        memcpy((uint8_t *)(uintptr_t)at.value.p, value.p, value.n);
    return true;
}

int list_put(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    uint32_t n_new = 1, i;
    int rc;

    if (value.n > LIST_VALUE_MAX)
        return err_set(e, ERR_TOO_BIG, "an element of %zu bytes", value.n);
    if (l->n_slots == 0) {
        rc = list_put_new(l, 0, pos, value, e);
    } else if (pos > list_last(l)) {
        rc = list_put_last(l, pos, value, e);
    } else if (pos < list_first(l)) {
        rc = list_put_first(l, pos, value, e);
    } else if (list_overwrite(l, pos, value)) {
        return OK;
    } else {
        i = list_slot_of(l, pos);
        if (i > 0 && list_slot_at(l, i)->first > pos)
            i--; /* between two pages: into the one before */
        rc = list_put_middle(l, i, pos, value, &n_new, e);
    }
    if (rc == OK)
        l->n += n_new;
    return rc;
}

/* ---- removing ---- */

/* Those of [from, to] of a page that has others too: where they begin and end, how many, and what is around them. */
struct list_cut {
    uint32_t from, to, n;
    int64_t before, behind; /* positions of the elements around them */
    bool has_before, has_behind;
    struct list_item next; /* the one behind them */
};

static void list_cut_find(const struct list_slot *s, int64_t from, int64_t to, struct list_cut *c)
{
    struct list_item item = { .to = s->page->start };
    int64_t pos = list_before(s->first, 0);

    *c = (struct list_cut){ .from = s->page->start, .to = s->page->start };
    while (item.to < s->page->end) {
        list_item_get(s->page, item.to, &item);
        pos = list_behind(pos, item.gap);
        if (pos < from) {
            c->before = pos;
            c->has_before = true;
            c->from = item.to;
            c->to = item.to;
        } else if (pos <= to) {
            c->n++;
            c->to = item.to;
        } else {
            c->behind = pos;
            c->has_behind = true;
            c->next = item;
            return;
        }
    }
}

/* The one behind them gets a gap instead, and all behind it move up. */
static void list_cut_middle(struct list_page *page, const struct list_cut *c)
{
    uint8_t *end =
        list_item_put(page->bytes + c->from, list_gap(c->before, c->behind), c->next.value);
    uint32_t rest = page->end - c->next.to;

    assert(end <= page->bytes + c->next.to);
    memmove(end, page->bytes + c->next.to, rest);
    page->end = (uint32_t)(end - page->bytes) + rest;
}

/* The one behind them becomes the first one (L2). */
static void list_cut_front(struct list_page *page, const struct list_cut *c)
{
    page->start = c->next.from;
    if (c->next.gap == 0)
        return;
    page->start = c->next.to - (uint32_t)list_item_size(0, c->next.value.n);
    list_item_put(page->bytes + page->start, 0, c->next.value);
}

/* Removes [from, to] of a slot that keeps some; returns how many. */
static uint32_t list_cut_slot(struct list_slot *s, int64_t from, int64_t to)
{
    struct list_cut c;

    list_cut_find(s, from, to, &c);
    if (c.n == 0)
        return 0;
    assert(c.has_before || c.has_behind);
    if (!c.has_behind) {
        s->page->end = c.from;
        s->last = c.before;
    } else if (!c.has_before) {
        list_cut_front(s->page, &c);
        s->first = c.behind;
    } else {
        list_cut_middle(s->page, &c);
    }
    s->n -= c.n;
    return c.n;
}

/* The last element of a slot with others, without walking there. */
static void list_cut_last(struct list_slot *s)
{
    struct list_item item;

    list_item_get(s->page, list_item_before(s->page, s->page->end), &item);
    s->page->end = item.from;
    s->last = list_before(s->last, item.gap);
    s->n--;
}

static uint64_t list_drop_slot(struct list *l, const struct list_slot *s)
{
    l->bytes -= list_piece(s->page);
    free(s->page);
    return s->n;
}

uint64_t list_remove(struct list *l, int64_t from, int64_t to)
{
    uint32_t i = list_slot_of(l, from), n_dropped = 0, at = i;
    uint64_t n = 0;

    for (; i < l->n_slots && list_slot_at(l, i)->first <= to; i++) {
        struct list_slot *s = list_slot_at(l, i);
        if (from <= s->first && s->last <= to) {
            at = n_dropped++ == 0 ? i : at;
            n += list_drop_slot(l, s);
        } else if (from == s->last) {
            list_cut_last(s);
            n++;
        } else {
            n += list_cut_slot(s, from, to);
        }
    }
    if (n_dropped > 0)
        list_slots_remove(l, at, n_dropped);
    l->n -= n;
    return n;
}

/* ---- looking ---- */

static void list_at_set(const struct list *l, uint32_t i, uint32_t offset, int64_t pos,
                        struct list_at *out)
{
    struct list_page *page = list_slot_at(l, i)->page;
    struct list_item item;

    list_item_get(page, offset, &item);
    *out =
        (struct list_at){ .page = page, .offset = offset, .i = i, .pos = pos, .value = item.value };
}

static void list_at_first(const struct list *l, uint32_t i, struct list_at *out)
{
    const struct list_slot *s = list_slot_at(l, i);

    list_at_set(l, i, s->page->start, s->first, out);
}

static void list_at_last(const struct list *l, uint32_t i, struct list_at *out)
{
    const struct list_slot *s = list_slot_at(l, i);

    list_at_set(l, i, list_item_before(s->page, s->page->end), s->last, out);
}

bool list_next(const struct list *l, struct list_at *at)
{
    const struct list_page *page = at->page;
    struct list_item item;

    list_item_get(page, at->offset, &item);
    if (item.to < page->end) {
        struct list_item next;
        list_item_get(page, item.to, &next);
        at->offset = next.from;
        at->pos = list_behind(at->pos, next.gap);
        at->value = next.value;
        return true;
    }
    if (at->i + 1 >= l->n_slots)
        return false;
    list_at_first(l, at->i + 1, at);
    return true;
}

bool list_prev(const struct list *l, struct list_at *at)
{
    const struct list_page *page = at->page;
    struct list_item item;

    if (at->offset > page->start) {
        list_item_get(page, at->offset, &item);
        list_at_set(l, at->i, list_item_before(page, at->offset), list_before(at->pos, item.gap),
                    at);
        return true;
    }
    if (at->i == 0)
        return false;
    list_at_last(l, at->i - 1, at);
    return true;
}

/* Element number k of page i, from its nearer end. */
static void list_seek_in(const struct list *l, uint32_t i, uint64_t k, struct list_at *out)
{
    uint64_t n = list_slot_at(l, i)->n;

    if (k < n / 2) {
        list_at_first(l, i, out);
        while (k-- > 0)
            (void)list_next(l, out);
    } else {
        list_at_last(l, i, out);
        while (++k < n)
            (void)list_prev(l, out);
    }
}

bool list_seek(const struct list *l, uint64_t index, struct list_at *out)
{
    uint32_t i = 0;

    if (index >= l->n)
        return false;
    if (list_gap(list_first(l), list_last(l)) + 2 == l->n) { /* none is missing */
        int64_t pos = list_first(l) + (int64_t)index;
        i = list_slot_of(l, pos);
        index = (uint64_t)(pos - list_slot_at(l, i)->first);
    } else if (index < l->n / 2) {
        while (index >= list_slot_at(l, i)->n)
            index -= list_slot_at(l, i++)->n;
    } else {
        uint64_t left = l->n - index; /* from it on */
        for (i = l->n_slots - 1; left > list_slot_at(l, i)->n; i--)
            left -= list_slot_at(l, i)->n;
        index = list_slot_at(l, i)->n - left;
    }
    list_seek_in(l, i, index, out);
    return true;
}

bool list_seek_pos(const struct list *l, int64_t pos, struct list_at *out)
{
    uint32_t i = list_slot_of(l, pos);

    if (i == l->n_slots)
        return false;
    if (list_slot_at(l, i)->last == pos) {
        list_at_last(l, i, out);
        return true;
    }
    list_at_first(l, i, out);
    while (out->pos < pos)
        (void)list_next(l, out);
    return true;
}

bool list_seek_pos_back(const struct list *l, int64_t pos, struct list_at *out)
{
    if (l->n == 0 || pos < list_first(l))
        return false;
    if (!list_seek_pos(l, pos, out)) {
        list_at_last(l, l->n_slots - 1, out);
        return true;
    }
    return out->pos == pos || list_prev(l, out);
}

uint64_t list_n(const struct list *l)
{
    return l->n;
}

size_t list_bytes(const struct list *l)
{
    return l->bytes;
}

int64_t list_first(const struct list *l)
{
    return l->n > 0 ? list_slot_at(l, 0)->first : 0;
}

int64_t list_last(const struct list *l)
{
    return l->n > 0 ? list_slot_at(l, l->n_slots - 1)->last : -1;
}

bool list_is_packed(const struct list *l)
{
    return l->n_slots <= 1;
}

/* ---- beginning and end ---- */

int list_new(struct list **out, struct err *e)
{
    struct list *l = calloc(1, sizeof *l);

    if (l == NULL)
        return list_nomem(e);
    l->slots = &l->one;
    l->cap = 1;
    l->bytes = list_piece(l);
    *out = l;
    return OK;
}

void list_free(struct list *l)
{
    if (l == NULL)
        return;
    while (list_shrink(l, SIZE_MAX))
        ;
}

bool list_shrink(struct list *l, size_t budget)
{
    while (l->n_slots > 0 && budget > 0) {
        struct list_slot *s = list_slot_at(l, --l->n_slots);
        budget -= s->n < budget ? s->n : budget;
        l->n -= list_drop_slot(l, s);
    }
    if (l->n_slots > 0)
        return true;
    list_slots_free(l);
    free(l);
    return false;
}

/* ---- for tests ---- */

static const char *list_check_slot(const struct list_slot *s)
{
    struct list_item item = { .to = s->page->start };
    int64_t pos = list_before(s->first, 0);
    uint32_t n = 0;

    while (item.to < s->page->end) {
        uint32_t from = item.to;
        list_item_get(s->page, from, &item);
        if (list_item_before(s->page, item.to) != from)
            return "an element's length behind it";
        if (n == 0 && item.gap != 0)
            return "L2, the first of a page";
        pos = list_behind(pos, item.gap);
        n++;
    }
    if (n == 0 || n != s->n || pos != s->last || item.to != s->page->end)
        return "L1";
    if (n > 1 && list_page_used(s->page) > LIST_ROOM_MAX)
        return "L4";
    return s->page->end <= s->page->room ? NULL : "a page's end";
}

const char *list_check(const struct list *l)
{
    size_t bytes = list_piece(l);
    uint64_t n = 0;

    if (l->slots != &l->one)
        bytes += list_piece(l->slots);
    for (uint32_t i = 0; i < l->n_slots; i++) {
        const struct list_slot *s = list_slot_at(l, i);
        const char *broken = list_check_slot(s);
        if (broken != NULL)
            return broken;
        if (i > 0 && s->first <= list_slot_at(l, i - 1)->last)
            return "L2";
        n += s->n;
        bytes += list_piece(s->page);
    }
    return n == l->n && bytes == l->bytes ? NULL : "L3";
}
