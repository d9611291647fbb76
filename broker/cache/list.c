/*
 * list.c - the elements of a list: packed pages of up to LIST_PAGE_BYTES, in a directory that grows at both ends.
 *
 *   page     origin | ..... | element | element | element | .....
 *   element  zigzag varint (position - origin) | varint length | bytes | length of all that, to be read backwards
 *
 * A page has room at both ends, so pushing and popping either side is writing or forgetting a few bytes. An element that is
 * larger than a page has one for itself. What is put in the middle, or replaced, moves what is behind it in its page; a page that
 * becomes too large is cut in two.
 *
 *   L1  Positions ascend within a page and from page to page; no page is empty.
 *   L2  A page's n, first and last are what a walk would find, the list's n and bytes their sums.
 */
#include "broker/cache/list.h"
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_PAGE_BYTES = 4096, LIST_PAGE_FIRST = 64, LIST_DIRECTORY_FIRST = 8 };

struct list_page {
    int64_t origin, first, last; /* positions */
    uint32_t n;
    uint32_t start, end; /* of what is used of `bytes` */
    uint32_t cap;
    uint8_t bytes[];
};

struct list {
    struct list_page **directory; /* the list's pages are [first, first + n_pages) */
    size_t first, n_pages, cap;
    uint64_t n;
    size_t bytes;
};

static int list_nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for an element of a list");
}

int list_new(struct list **out, struct err *e)
{
    struct list *l = calloc(1, sizeof *l);

    if (l == NULL)
        return list_nomem(e);
    l->bytes = malloc_usable_size(l);
    *out = l;
    return OK;
}

static struct list_page *list_page_at(const struct list *l, size_t i)
{
    return l->directory[l->first + i];
}

/* ---- elements ---- */

static uint64_t list_zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t list_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* The distance of positions, which may be any. */
static int64_t list_less(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* Bytes of a number that is read backwards: seven bits each, those that have another one before them marked. */
static size_t list_back_size(size_t v)
{
    return varint_size(v);
}

static size_t list_element_size(const struct list_page *p, int64_t pos, size_t n)
{
    size_t size = varint_size(list_zigzag(list_less(pos, p->origin))) + varint_size(n) + n;

    return size + list_back_size(size);
}

static void list_element_put(struct list_page *p, uint8_t *at, int64_t pos, struct slice value)
{
    uint8_t *begin = at;
    size_t size;

    at = varint_put(at, list_zigzag(list_less(pos, p->origin)));
    at = slice_put(at, value);
    size = (size_t)(at - begin);
    for (size_t n = list_back_size(size); n > 0; n--)
        *at++ = (uint8_t)((size >> 7 * (n - 1) & 0x7f) | (n < list_back_size(size) ? 0x80u : 0u));
}

/* Reads the element at `offset`; returns where the next one begins. */
static uint32_t list_element_read(const struct list_page *p, uint32_t offset, int64_t *pos,
                                  struct slice *value)
{
    const uint8_t *at = p->bytes + offset, *end = p->bytes + p->end;
    uint64_t distance = 0;
    bool sound = varint_get(&at, end, &distance) && slice_get(&at, end, value);
    size_t size = (size_t)(at - (p->bytes + offset));

    assert(sound);
    (void)sound;
    *pos = (int64_t)((uint64_t)p->origin + (uint64_t)list_unzigzag(distance));
    return offset + (uint32_t)(size + list_back_size(size));
}

/* Where the element begins that ends at `offset`. */
static uint32_t list_element_before(const struct list_page *p, uint32_t offset)
{
    const uint8_t *at = p->bytes + offset;
    size_t size = 0, n = 0;

    do
        size |= (size_t)(*--at & 0x7f) << 7 * n++;
    while (*at & 0x80);
    return offset - (uint32_t)(size + n);
}

/* ---- pages ---- */

static size_t list_page_bytes(const struct list_page *p)
{
    return malloc_usable_size((void *)(uintptr_t)p);
}

/* An empty page with room for `used` bytes. */
static struct list_page *list_page_new(int64_t origin, size_t used)
{
    struct list_page *p;

    if (used > UINT32_MAX / 2)
        return NULL;
    p = malloc(sizeof *p + used);
    if (p == NULL)
        return NULL;
    *p = (struct list_page){ .origin = origin,
                             .cap = (uint32_t)(malloc_usable_size(p) - sizeof *p) };
    return p;
}

static void list_page_free(struct list *l, struct list_page *p)
{
    l->bytes -= list_page_bytes(p);
    free(p);
}

/* Makes room for one more page in the directory, at its end or its beginning. */
static int list_reserve_page(struct list *l, bool at_front, struct err *e)
{
    size_t cap = l->n_pages < LIST_DIRECTORY_FIRST / 2 ? LIST_DIRECTORY_FIRST : 3 * l->n_pages;
    size_t first = at_front ? cap - cap / 3 - l->n_pages : cap / 3;
    struct list_page **directory;

    if (at_front ? l->first > 0 : l->first + l->n_pages < l->cap)
        return OK;
    directory = malloc(cap * sizeof(struct list_page *));
    if (directory == NULL)
        return list_nomem(e);
    if (l->n_pages > 0)
        memcpy(directory + first, l->directory + l->first, l->n_pages * sizeof(struct list_page *));
    l->bytes += malloc_usable_size(directory) - malloc_usable_size(l->directory);
    free(l->directory);
    l->directory = directory;
    l->first = first;
    l->cap = cap;
    return OK;
}

/* Puts a page before page i; room has been made at the end, or for i = 0 at the beginning. */
static void list_insert_page(struct list *l, size_t i, struct list_page *p)
{
    struct list_page **at;

    if (i == 0 && l->first > 0) {
        l->first--;
    } else {
        at = l->directory + l->first + i;
        memmove(at + 1, at, (l->n_pages - i) * sizeof(struct list_page *));
    }
    l->directory[l->first + i] = p;
    l->n_pages++;
    l->bytes += list_page_bytes(p);
}

/* Takes pages [i, i + n) out and frees them. */
static void list_drop_pages(struct list *l, size_t i, size_t n)
{
    struct list_page **at = l->directory + l->first + i;

    for (size_t k = 0; k < n; k++)
        list_page_free(l, at[k]);
    if (i == 0)
        l->first += n;
    else
        memmove(at, at + n, (l->n_pages - i - n) * sizeof(struct list_page *));
    l->n_pages -= n;
    if (l->n_pages == 0)
        l->first = 0;
}

/* The first page whose last position is not below it. */
static size_t list_find_page(const struct list *l, int64_t pos)
{
    size_t low = 0, high = l->n_pages;

    if (l->n_pages > 0 && list_page_at(l, 0)->last >= pos)
        return 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list_page_at(l, middle)->last < pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Makes room for `size` more bytes behind what is used (or before it): the page may move, and is then changed in the
 * directory. What is used comes to lie where it does not have to move soon again. */
static int list_page_grow(struct list *l, size_t i, size_t size, bool at_front, struct err *e)
{
    struct list_page *p = list_page_at(l, i), *wider;
    size_t used = p->end - p->start, cap, start;

    if (at_front ? p->start >= size : p->cap - p->end >= size)
        return OK;
    cap = used + size <= p->cap * 3 / 4 ? p->cap : 2 * (used + size);
    if (cap > LIST_PAGE_BYTES)
        cap = used + size > LIST_PAGE_BYTES ? used + size : LIST_PAGE_BYTES;
    if (cap < LIST_PAGE_FIRST)
        cap = LIST_PAGE_FIRST;
    wider = list_page_new(p->origin, cap);
    if (wider == NULL)
        return list_nomem(e);
    cap = wider->cap;
    start = at_front ? cap - used : 0;
    memcpy(wider->bytes + start, p->bytes + p->start, used);
    wider->first = p->first;
    wider->last = p->last;
    wider->n = p->n;
    wider->start = (uint32_t)start;
    wider->end = (uint32_t)(start + used);
    l->bytes += list_page_bytes(wider);
    list_page_free(l, p);
    l->directory[l->first + i] = wider;
    return OK;
}

/* ---- putting ---- */

/* A page of its own for an element, before page i. */
static int list_put_page(struct list *l, size_t i, int64_t pos, struct slice value, struct err *e)
{
    struct list_page empty = { .origin = pos }, *p;
    size_t size = list_element_size(&empty, pos, value.n);
    int rc = list_reserve_page(l, i == 0 && l->n_pages > 0, e);

    if (rc != OK)
        return rc;
    p = list_page_new(pos, size < LIST_PAGE_FIRST ? LIST_PAGE_FIRST : size);
    if (p == NULL)
        return list_nomem(e);
    p->first = p->last = pos;
    p->n = 1;
    p->start = i == 0 && l->n_pages > 0 ? p->cap - (uint32_t)size : 0;
    p->end = p->start + (uint32_t)size;
    list_element_put(p, p->bytes + p->start, pos, value);
    list_insert_page(l, i, p);
    l->n++;
    return OK;
}

static bool list_page_takes(const struct list_page *p, size_t size)
{
    return p->end - p->start + size <= LIST_PAGE_BYTES;
}

static int list_put_last(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    struct list_page *p = l->n_pages > 0 ? list_page_at(l, l->n_pages - 1) : NULL;
    size_t size = p == NULL ? 0 : list_element_size(p, pos, value.n);
    int rc;

    if (p == NULL || !list_page_takes(p, size))
        return list_put_page(l, l->n_pages, pos, value, e);
    rc = list_page_grow(l, l->n_pages - 1, size, false, e);
    if (rc != OK)
        return rc;
    p = list_page_at(l, l->n_pages - 1);
    list_element_put(p, p->bytes + p->end, pos, value);
    p->end += (uint32_t)size;
    p->last = pos;
    p->n++;
    l->n++;
    return OK;
}

static int list_put_first(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    struct list_page *p = list_page_at(l, 0);
    size_t size = list_element_size(p, pos, value.n);
    int rc;

    if (!list_page_takes(p, size))
        return list_put_page(l, 0, pos, value, e);
    rc = list_page_grow(l, 0, size, true, e);
    if (rc != OK)
        return rc;
    p = list_page_at(l, 0);
    p->start -= (uint32_t)size;
    list_element_put(p, p->bytes + p->start, pos, value);
    p->first = pos;
    p->n++;
    l->n++;
    return OK;
}

/* Where in the page the first element at or behind `pos` begins (its end if there is none); *at is that one's position. */
static uint32_t list_page_seek(const struct list_page *p, int64_t pos, int64_t *at)
{
    uint32_t offset = p->start;
    struct slice value;

    while (offset < p->end) {
        uint32_t next = list_element_read(p, offset, at, &value);
        if (*at >= pos)
            return offset;
        offset = next;
    }
    return offset;
}

/* The second half of page i becomes a page behind it. */
static int list_split(struct list *l, size_t i, struct err *e)
{
    struct list_page *p = list_page_at(l, i), *half;
    uint32_t middle = p->start + (p->end - p->start) / 2, offset = p->start, n = 0;
    int64_t pos = p->first, last = p->first;
    struct slice value;
    int rc = list_reserve_page(l, false, e);

    if (rc != OK || p->n < 2)
        return rc;
    while (n == 0 || (offset < middle && n < p->n - 1)) {
        offset = list_element_read(p, offset, &pos, &value);
        last = pos;
        n++;
    }
    half = list_page_new(p->origin, p->end - offset);
    if (half == NULL)
        return list_nomem(e);
    memcpy(half->bytes, p->bytes + offset, p->end - offset);
    half->end = p->end - offset;
    half->n = p->n - n;
    list_element_read(half, 0, &half->first, &value);
    half->last = p->last;
    p->end = offset;
    p->n = n;
    p->last = last;
    list_insert_page(l, i + 1, half);
    return OK;
}

/* Into page i, between its elements or instead of one. */
static int list_put_inside(struct list *l, size_t i, int64_t pos, struct slice value, struct err *e)
{
    struct list_page *p = list_page_at(l, i);
    size_t size = list_element_size(p, pos, value.n), old = 0;
    int64_t at = 0;
    uint32_t offset = list_page_seek(p, pos, &at) - p->start;
    struct slice ignored;
    int rc;

    if (at == pos)
        old = list_element_read(p, p->start + offset, &at, &ignored) - p->start - offset;
    rc = size > old ? list_page_grow(l, i, size - old, false, e) : OK;
    if (rc != OK)
        return rc;
    p = list_page_at(l, i);
    offset += p->start;
    memmove(p->bytes + offset + size, p->bytes + offset + old, p->end - offset - old);
    list_element_put(p, p->bytes + offset, pos, value);
    p->end = (uint32_t)(p->end + size - old);
    p->first = pos < p->first ? pos : p->first;
    p->n += old == 0;
    l->n += old == 0;
    if (p->end - p->start > LIST_PAGE_BYTES && p->n > 1)
        (void)list_split(l, i, NULL); /* where there is no memory it stays a large page */
    return OK;
}

int list_put(struct list *l, int64_t pos, struct slice value, struct err *e)
{
    size_t i;

    if (l->n == 0 || pos > list_last(l))
        return list_put_last(l, pos, value, e);
    if (pos < list_first(l))
        return list_put_first(l, pos, value, e);
    i = list_find_page(l, pos);
    return list_put_inside(l, i, pos, value, e);
}

/* ---- removing ---- */

/* What of page i lies in [from, to], which is not all of it. */
static uint64_t list_remove_inside(struct list *l, size_t i, int64_t from, int64_t to)
{
    struct list_page *p = list_page_at(l, i);
    int64_t at = 0;
    uint32_t offset = list_page_seek(p, from, &at), end = offset, n = 0;
    bool at_front = offset == p->start;
    struct slice value;

    while (end < p->end) {
        uint32_t next = list_element_read(p, end, &at, &value);
        if (at > to)
            break;
        end = next;
        n++;
    }
    if (at_front) {
        p->start = end;
    } else {
        memmove(p->bytes + offset, p->bytes + end, p->end - end);
        p->end -= end - offset;
    }
    p->n -= n;
    l->n -= n;
    if (at_front)
        list_element_read(p, p->start, &p->first, &value);
    list_element_read(p, list_element_before(p, p->end), &p->last, &value);
    return n;
}

uint64_t list_remove(struct list *l, int64_t from, int64_t to)
{
    size_t i = list_find_page(l, from), n_pages = 0;
    uint64_t n = 0;

    if (i < l->n_pages && list_page_at(l, i)->first < from) {
        n += list_page_at(l, i)->first <= to ? list_remove_inside(l, i, from, to) : 0;
        i++;
    }
    while (i + n_pages < l->n_pages && list_page_at(l, i + n_pages)->last <= to) {
        n += list_page_at(l, i + n_pages)->n;
        l->n -= list_page_at(l, i + n_pages)->n;
        n_pages++;
    }
    list_drop_pages(l, i, n_pages);
    if (i < l->n_pages && list_page_at(l, i)->first <= to)
        n += list_remove_inside(l, i, from, to);
    return n;
}

/* ---- looking ---- */

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
    return l->n == 0 ? 0 : list_page_at(l, 0)->first;
}

int64_t list_last(const struct list *l)
{
    return l->n == 0 ? -1 : list_page_at(l, l->n_pages - 1)->last;
}

/* Stands at the element at `offset` of page i. */
static bool list_stand(const struct list *l, size_t i, uint32_t offset, struct list_at *out)
{
    out->page = list_page_at(l, i);
    out->i = (uint32_t)i;
    out->offset = offset;
    list_element_read(out->page, offset, &out->pos, &out->value);
    return true;
}

bool list_seek(const struct list *l, uint64_t index, struct list_at *out)
{
    uint64_t before = 0;
    size_t i = 0;
    uint32_t offset;
    struct slice value;
    int64_t pos;

    if (index >= l->n)
        return false;
    if (index < l->n / 2) {
        while (before + list_page_at(l, i)->n <= index)
            before += list_page_at(l, i++)->n;
    } else {
        i = l->n_pages;
        for (before = l->n; before > index;)
            before -= list_page_at(l, --i)->n;
    }
    offset = list_page_at(l, i)->start;
    for (uint64_t n = index - before; n > 0; n--)
        offset = list_element_read(list_page_at(l, i), offset, &pos, &value);
    return list_stand(l, i, offset, out);
}

bool list_seek_pos(const struct list *l, int64_t pos, struct list_at *out)
{
    size_t i = list_find_page(l, pos);
    int64_t at;

    if (i == l->n_pages)
        return false;
    return list_stand(l, i, list_page_seek(list_page_at(l, i), pos, &at), out);
}

bool list_seek_pos_back(const struct list *l, int64_t pos, struct list_at *out)
{
    if (list_seek_pos(l, pos, out))
        return out->pos == pos || list_prev(l, out);
    return l->n > 0 && list_seek(l, l->n - 1, out);
}

bool list_next(const struct list *l, struct list_at *at)
{
    const struct list_page *p = at->page;
    struct slice value;
    int64_t pos;
    uint32_t next = list_element_read(p, at->offset, &pos, &value);

    if (next < p->end)
        return list_stand(l, at->i, next, at);
    return at->i + 1 < l->n_pages &&
           list_stand(l, at->i + 1, list_page_at(l, at->i + 1)->start, at);
}

bool list_prev(const struct list *l, struct list_at *at)
{
    const struct list_page *p = at->page;

    if (at->offset > p->start)
        return list_stand(l, at->i, list_element_before(p, at->offset), at);
    if (at->i == 0)
        return false;
    p = list_page_at(l, at->i - 1);
    return list_stand(l, at->i - 1, list_element_before(p, p->end), at);
}

bool list_is_packed(const struct list *l)
{
    size_t used = 0;

    if (l->n_pages > 4)
        return false;
    for (size_t i = 0; i < l->n_pages; i++)
        used += list_page_at(l, i)->end - list_page_at(l, i)->start;
    return used <= 2 * (size_t)LIST_PAGE_BYTES;
}

/* ---- the end ---- */

bool list_shrink(struct list *l, size_t budget)
{
    for (size_t n = 0; l->n_pages > 0 && n < budget;) {
        uint32_t in_page = list_page_at(l, l->n_pages - 1)->n;
        l->n -= in_page;
        n += in_page;
        list_drop_pages(l, l->n_pages - 1, 1);
    }
    if (l->n_pages > 0)
        return true;
    free(l->directory);
    free(l);
    return false;
}

void list_free(struct list *l)
{
    if (l != NULL)
        while (list_shrink(l, SIZE_MAX))
            ;
}

/* ---- for tests ---- */

static const char *list_check_page(const struct list_page *p)
{
    uint32_t offset = p->start, n = 0;
    int64_t pos = p->first, before = INT64_MIN;
    struct slice value;

    if (p->n == 0 || p->end > p->cap)
        return "L1, a page's size";
    while (offset < p->end) {
        uint32_t next = list_element_read(p, offset, &pos, &value);
        if (list_element_before(p, next) != offset)
            return "an element's length read backwards";
        if (n == 0 ? pos != p->first : pos <= before)
            return "L1, the order in a page";
        before = pos;
        offset = next;
        n++;
    }
    return n != p->n || pos != p->last || offset != p->end ? "L2, a page's numbers" : NULL;
}

const char *list_check(const struct list *l)
{
    size_t bytes = malloc_usable_size((void *)(uintptr_t)l) + malloc_usable_size(l->directory);
    const char *broken = NULL;
    uint64_t n = 0;

    for (size_t i = 0; broken == NULL && i < l->n_pages; i++) {
        const struct list_page *p = list_page_at(l, i);
        broken = list_check_page(p);
        if (i > 0 && list_page_at(l, i - 1)->last >= p->first)
            return "L1, the order of pages";
        n += p->n;
        bytes += list_page_bytes(p);
    }
    if (broken == NULL && (n != l->n || bytes != l->bytes))
        broken = "L2, the list's numbers";
    return broken;
}
