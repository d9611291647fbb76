/*
 * pelpage.c - up to PEL_PAGE pending entries, column by column.
 *
 * A page is narrow where its entries allow that, which is nearly always: 15 bytes an entry, 19 with keys.
 *
 *             narrow                                     wide
 *   ms        u32, above base_ms                         u64
 *   seq       u16, above base_seq                        u64
 *   time      u32, the low half                          u64
 *   count     u8, 255 for PEL_COUNT_FATAL                u64
 *   key       u32, in a page with keys only              u32
 *   slot      u16                                        u16
 *   marks     u16: 4 bits of marks, 12 of time           u16: 4 bits of marks
 *
 * So in a narrow page times are absolute, up to PELPAGE_TIME_MAX: giving all entries another one, of today, needs no memory.
 * Bases are chosen in the middle of what is possible: IDs that go on, in either direction, rarely need others.
 *
 * Entries lie at first .. first + n of each column, so that taking away from the front moves nothing.
 *
 *   P1  first + n <= cap <= PEL_PAGE; cap is a multiple of 8, so that all columns are aligned.
 *   P2  IDs ascend strictly.
 */
#include "groups/pelpage.h"
#include <assert.h>
#include <string.h>

struct layout {
    uint8_t width[COLUMNS]; /* bytes of an entry; 0: there is no such column */
    uint8_t at[COLUMNS];    /* where the column begins, times cap */
    uint8_t entry;          /* bytes of it in all columns */
};

/* By shape, in the order of enum pelpage_column. */
static const struct layout LAYOUTS[4] = {
    { { 4, 2, 4, 1, 0, 2, 2 },
      { NARROW_MS, NARROW_SEQ, NARROW_TIME, NARROW_COUNT, NARROW_KEY, NARROW_SLOT, NARROW_MARKS },
      15 },
    { { 8, 8, 8, 8, 0, 2, 2 },
      { WIDE_MS, WIDE_SEQ, WIDE_TIME, WIDE_COUNT, WIDE_KEY, WIDE_SLOT, WIDE_MARKS },
      36 },
    { { 4, 2, 4, 1, 4, 2, 2 },
      { NARROW_MS, NARROW_SEQ, NARROW_TIME, NARROW_COUNT, NARROW_KEY, NARROW_SLOT, NARROW_MARKS },
      19 },
    { { 8, 8, 8, 8, 4, 2, 2 },
      { WIDE_MS, WIDE_SEQ, WIDE_TIME, WIDE_COUNT, WIDE_KEY, WIDE_SLOT, WIDE_MARKS },
      40 },
};

/* ---- what fits ---- */

static void pelpage_span_add_id(struct pelpage_span *s, struct id id)
{
    if (!s->any)
        *s = (struct pelpage_span){ id.ms, id.ms, id.seq, id.seq, true, s->odd };
    s->ms_min = id.ms < s->ms_min ? id.ms : s->ms_min;
    s->ms_max = id.ms > s->ms_max ? id.ms : s->ms_max;
    s->seq_min = id.seq < s->seq_min ? id.seq : s->seq_min;
    s->seq_max = id.seq > s->seq_max ? id.seq : s->seq_max;
}

void pelpage_span_add(struct pelpage_span *s, const struct pel_entry *x)
{
    pelpage_span_add_id(s, x->id);
    s->odd = s->odd || pelpage_is_odd(x->time_ms, x->count);
}

void pelpage_span_add_page(struct pelpage_span *s, const struct pelpage *pg)
{
    for (size_t i = 0; i < pg->n; i++) {
        pelpage_span_add_id(s, pelpage_id(pg, i));
        if (pelpage_is_wide(pg))
            s->odd = s->odd || pelpage_is_odd(pelpage_time(pg, i), pelpage_count(pg, i));
    }
}

bool pelpage_span_is_wide(const struct pelpage_span *s)
{
    return s->odd || s->ms_max - s->ms_min > UINT32_MAX || s->seq_max - s->seq_min > UINT16_MAX;
}

/* The base of values from min to max that are stored as up to `most` above it. */
static uint64_t pelpage_base(uint64_t min, uint64_t max, uint64_t most)
{
    uint64_t below = (most - (max - min)) / 2;
    return min > below ? min - below : 0;
}

size_t pelpage_bytes(unsigned shape, size_t cap)
{
    return sizeof(struct pelpage) + LAYOUTS[shape].entry * cap;
}

static void pelpage_choose_bases(struct pelpage *pg, const struct pelpage_span *s)
{
    assert(pelpage_is_wide(pg) || !pelpage_span_is_wide(s));
    pg->base_ms = pelpage_is_wide(pg) ? 0 : pelpage_base(s->ms_min, s->ms_max, UINT32_MAX);
    pg->base_seq = pelpage_is_wide(pg) ? 0 : pelpage_base(s->seq_min, s->seq_max, UINT16_MAX);
}

static void pelpage_init_empty(struct pelpage *pg, unsigned shape, size_t cap)
{
    assert(cap % 8 == 0);
    assert(cap <= PEL_PAGE);
    pg->n = pg->first = 0;
    pg->cap = (uint16_t)cap;
    pg->shape = (uint8_t)shape;
    pg->zero = 0;
}

void pelpage_init(struct pelpage *pg, unsigned shape, size_t cap, const struct pelpage_span *s)
{
    pelpage_init_empty(pg, shape, cap);
    pelpage_choose_bases(pg, s);
}

void pelpage_init_like(struct pelpage *pg, const struct pelpage *like, size_t cap)
{
    pelpage_init_empty(pg, like->shape, cap);
    pg->base_ms = like->base_ms;
    pg->base_seq = like->base_seq;
}

/* IDs from i on that are stored as above other bases are stored as above the page's own. */
static void pelpage_adjust(struct pelpage *pg, size_t i, uint64_t base_ms, uint64_t base_seq)
{
    uint32_t *ms = pelpage_u32(pg, NARROW_MS, 0);
    uint16_t *seq = pelpage_u16(pg, NARROW_SEQ, 0);

    for (; i < pg->n; i++) {
        ms[i] = (uint32_t)(ms[i] + base_ms - pg->base_ms);
        seq[i] = (uint16_t)(seq[i] + base_seq - pg->base_seq);
    }
}

void pelpage_rebase(struct pelpage *pg, const struct pelpage_span *s)
{
    uint64_t base_ms = pg->base_ms, base_seq = pg->base_seq;

    assert(!pelpage_is_wide(pg));
    pelpage_choose_bases(pg, s);
    pelpage_adjust(pg, 0, base_ms, base_seq);
}

/* ---- one entry ---- */

void pelpage_read(const struct pelpage *pg, size_t i, struct pel_entry *x)
{
    unsigned marks = pelpage_marks(pg, i);

    *x = (struct pel_entry){
        .id = pelpage_id(pg, i),
        .time_ms = pelpage_time(pg, i),
        .count = pelpage_count(pg, i),
        .key = pelpage_key(pg, i),
        .slot = pelpage_slot(pg, i),
        .nacked = (marks & PELPAGE_NACKED) != 0,
        .gone = (marks & PELPAGE_GONE) != 0,
        .dead = (marks & PELPAGE_DEAD) != 0,
    };
}

static void pelpage_write_narrow(struct pelpage *pg, size_t i, const struct pel_entry *x,
                                 unsigned marks)
{
    *pelpage_u32(pg, NARROW_MS, i) = (uint32_t)(x->id.ms - pg->base_ms);
    *pelpage_u16(pg, NARROW_SEQ, i) = (uint16_t)(x->id.seq - pg->base_seq);
    *pelpage_u32(pg, NARROW_TIME, i) = (uint32_t)x->time_ms;
    *pelpage_u16(pg, NARROW_MARKS, i) = (uint16_t)(x->time_ms >> 32 << PELPAGE_TIME_SHIFT | marks);
    *pelpage_u8(pg, NARROW_COUNT, i) =
        (uint8_t)(x->count == PEL_COUNT_FATAL ? PELPAGE_COUNT_FATAL : x->count);
    *pelpage_u16(pg, NARROW_SLOT, i) = x->slot;
    if ((pg->shape & PELPAGE_KEYED) != 0)
        *pelpage_u32(pg, NARROW_KEY, i) = x->key;
}

static void pelpage_write_wide(struct pelpage *pg, size_t i, const struct pel_entry *x,
                               unsigned marks)
{
    *pelpage_u64(pg, WIDE_MS, i) = x->id.ms;
    *pelpage_u64(pg, WIDE_SEQ, i) = x->id.seq;
    *pelpage_u64(pg, WIDE_TIME, i) = x->time_ms;
    *pelpage_u64(pg, WIDE_COUNT, i) = x->count;
    *pelpage_u16(pg, WIDE_MARKS, i) = (uint16_t)marks;
    *pelpage_u16(pg, WIDE_SLOT, i) = x->slot;
    if ((pg->shape & PELPAGE_KEYED) != 0)
        *pelpage_u32(pg, WIDE_KEY, i) = x->key;
}

void pelpage_write(struct pelpage *pg, size_t i, const struct pel_entry *x, unsigned marks)
{
    if (pelpage_is_wide(pg))
        pelpage_write_wide(pg, i, x, marks);
    else
        pelpage_write_narrow(pg, i, x, marks);
}

/* ---- many ---- */

/* Whether the entry's ID is below. */
static bool pelpage_below(const struct pelpage *pg, size_t i, struct id id)
{
    return id_cmp(pelpage_id(pg, i), id) < 0;
}

/* What is looked for lies from *from to *end: ever larger steps away from the guess find that out, and touch little memory
 * if it is near. */
static void pelpage_bracket(const struct pelpage *pg, struct id id, size_t guess, size_t *from,
                            size_t *end)
{
    size_t step = 4;

    if (pelpage_below(pg, guess, id)) {
        for (*from = guess + 1; *from + step < pg->n && pelpage_below(pg, *from + step, id);
             step *= 4)
            *from += step + 1;
        *end = *from + step < pg->n ? *from + step : pg->n;
    } else {
        for (*end = guess; *end > step && !pelpage_below(pg, *end - step, id); step *= 4)
            *end -= step;
        *from = *end > step ? *end - step + 1 : 0;
    }
}

size_t pelpage_find(const struct pelpage *pg, struct id id, size_t guess, bool *found)
{
    size_t from = 0, end = 0;

    if (pg->n > 0)
        pelpage_bracket(pg, id, guess < pg->n ? guess : pg->n - 1u, &from, &end);
    while (from < end) {
        size_t mid = from + (end - from) / 2;
        if (pelpage_below(pg, mid, id))
            from = mid + 1;
        else
            end = mid;
    }
    *found = from < pg->n && id_cmp(pelpage_id(pg, from), id) == 0;
    return from;
}

/* In each column n values from `from` on move to `to`, counted from the column's first place. */
static void pelpage_shift(struct pelpage *pg, size_t to, size_t from, size_t n)
{
    const struct layout *l = &LAYOUTS[pg->shape];

    for (size_t c = 0; c < COLUMNS; c++) {
        uint8_t *column = pg->columns + (size_t)l->at[c] * pg->cap;
        memmove(column + to * l->width[c], column + from * l->width[c], n * l->width[c]);
    }
}

void pelpage_open(struct pelpage *pg, size_t i)
{
    assert(pg->n < pg->cap);
    assert(i <= pg->n);
    if (pg->first + pg->n == pg->cap) {
        pelpage_shift(pg, 0, pg->first, pg->n);
        pg->first = 0;
    }
    if (i < pg->n)
        pelpage_shift(pg, pg->first + i + 1, pg->first + i, pg->n - i);
    pg->n++;
}

void pelpage_close(struct pelpage *pg, size_t i, size_t n)
{
    assert(i + n <= pg->n);
    if (i < pg->n - i - n) { /* the shorter side moves */
        if (i > 0)
            pelpage_shift(pg, pg->first + n, pg->first, i);
        pg->first = (uint16_t)(pg->first + n);
    } else {
        pelpage_shift(pg, pg->first + i, pg->first + i + n, pg->n - i - n);
    }
    pg->n = (uint16_t)(pg->n - n);
}

void pelpage_keep(struct pelpage *pg, const uint8_t *kept, size_t n)
{
    const struct layout *l = &LAYOUTS[pg->shape];

    assert(n <= pg->n);
    for (size_t c = 0; c < COLUMNS; c++) {
        size_t width = l->width[c];
        uint8_t *column = pg->columns + (size_t)l->at[c] * pg->cap + pg->first * width;
        for (size_t i = 0; i < n; i++)
            memmove(column + i * width, column + kept[i] * width, width);
    }
    pg->n = (uint16_t)n;
}

/* The same shape: column by column. */
static void pelpage_append_alike(struct pelpage *to, const struct pelpage *from, size_t i, size_t n)
{
    const struct layout *l = &LAYOUTS[to->shape];
    size_t place = (size_t)to->first + to->n;

    for (size_t c = 0; c < COLUMNS; c++)
        memcpy(to->columns + (size_t)l->at[c] * to->cap + place * l->width[c],
               from->columns + (size_t)l->at[c] * from->cap + (from->first + i) * l->width[c],
               n * l->width[c]);
    to->n = (uint16_t)(to->n + n);
    if (!pelpage_is_wide(to))
        pelpage_adjust(to, to->n - n, from->base_ms, from->base_seq);
}

void pelpage_append(struct pelpage *to, const struct pelpage *from, size_t i, size_t n)
{
    struct pel_entry x;

    assert((size_t)to->first + to->n + n <= to->cap);
    if (to->shape == from->shape) {
        pelpage_append_alike(to, from, i, n);
        return;
    }
    for (size_t end = i + n; i < end; i++) {
        pelpage_read(from, i, &x);
        assert(pelpage_fits(to, &x));
        pelpage_write(to, to->n, &x, pelpage_marks(from, i));
        to->n++;
    }
}

const char *pelpage_check(const struct pelpage *pg)
{
    if (pg->first + pg->n > pg->cap || pg->cap > PEL_PAGE || pg->cap % 8 != 0)
        return "P1: a page's entries lie within it";
    for (size_t i = 1; i < pg->n; i++)
        if (id_cmp(pelpage_id(pg, i - 1), pelpage_id(pg, i)) >= 0)
            return "P2: IDs ascend within a page";
    return NULL;
}
