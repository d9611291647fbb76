/*
 * pelpage.c - up to PEL_PAGE pending entries, column by column.
 *
 * A page is narrow where its entries allow that, which is nearly always: 15 bytes an entry, 19 with keys.
 *
 *             narrow                                     wide
 *   ms        u32, above base_ms                         u64
 *   seq       u16, above base_seq                        u64
 *   time      u32, the low half                          u64
 *   count     u8, COUNT_FATAL for PEL_COUNT_FATAL        u64
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

enum {
    COUNT_FATAL = 255,
    TIME_SHIFT = 4, /* of its high part beside the marks */
};

enum column { COL_MS, COL_SEQ, COL_TIME, COL_COUNT, COL_KEY, COL_SLOT, COL_MARKS, COLUMNS };

struct layout {
    uint8_t width[COLUMNS]; /* bytes of an entry; 0: there is no such column */
    uint8_t at[COLUMNS];    /* where the column begins, times cap */
    uint8_t entry;          /* bytes of it in all columns */
};

/* By shape. Wider columns come first. */
static const struct layout LAYOUTS[4] = {
    { { 4, 2, 4, 1, 0, 2, 2 }, { 0, 8, 4, 14, 0, 10, 12 }, 15 },
    { { 8, 8, 8, 8, 0, 2, 2 }, { 0, 8, 16, 24, 0, 32, 34 }, 36 },
    { { 4, 2, 4, 1, 4, 2, 2 }, { 0, 12, 4, 18, 8, 14, 16 }, 19 },
    { { 8, 8, 8, 8, 4, 2, 2 }, { 0, 8, 16, 24, 32, 36, 38 }, 40 },
};

static inline bool pelpage_is_wide(const struct pelpage *pg)
{
    return (pg->shape & PELPAGE_WIDE) != 0;
}

/* The column's value of entry 0. */
static inline const uint8_t *pelpage_column(const struct pelpage *pg, enum column c)
{
    const struct layout *l = &LAYOUTS[pg->shape];
    return pg->columns + (size_t)l->at[c] * pg->cap + (size_t)l->width[c] * pg->first;
}

static inline uint8_t *pelpage_column_w(struct pelpage *pg, enum column c)
{
    const struct layout *l = &LAYOUTS[pg->shape];
    return pg->columns + (size_t)l->at[c] * pg->cap + (size_t)l->width[c] * pg->first;
}

/* P1 makes these casts aligned; the void between them says that this is known. */
static inline const uint16_t *pelpage_u16(const struct pelpage *pg, enum column c)
{
    return (const uint16_t *)(const void *)pelpage_column(pg, c);
}
static inline const uint32_t *pelpage_u32(const struct pelpage *pg, enum column c)
{
    return (const uint32_t *)(const void *)pelpage_column(pg, c);
}
static inline const uint64_t *pelpage_u64(const struct pelpage *pg, enum column c)
{
    return (const uint64_t *)(const void *)pelpage_column(pg, c);
}
static inline uint16_t *pelpage_u16_w(struct pelpage *pg, enum column c)
{
    return (uint16_t *)(void *)pelpage_column_w(pg, c);
}
static inline uint32_t *pelpage_u32_w(struct pelpage *pg, enum column c)
{
    return (uint32_t *)(void *)pelpage_column_w(pg, c);
}
static inline uint64_t *pelpage_u64_w(struct pelpage *pg, enum column c)
{
    return (uint64_t *)(void *)pelpage_column_w(pg, c);
}

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

static bool pelpage_is_odd(uint64_t time_ms, uint64_t count)
{
    return time_ms > PELPAGE_TIME_MAX || (count >= COUNT_FATAL && count != PEL_COUNT_FATAL);
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

bool pelpage_fits(const struct pelpage *pg, const struct pel_entry *x)
{
    return pelpage_is_wide(pg) ||
           (x->id.ms - pg->base_ms <= UINT32_MAX && x->id.seq - pg->base_seq <= UINT16_MAX &&
            !pelpage_is_odd(x->time_ms, x->count));
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

void pelpage_init(struct pelpage *pg, unsigned shape, size_t cap, const struct pelpage_span *s)
{
    assert(cap % 8 == 0);
    assert(cap <= PEL_PAGE);
    pg->n = pg->first = 0;
    pg->cap = (uint16_t)cap;
    pg->shape = (uint8_t)shape;
    pg->zero = 0;
    pelpage_choose_bases(pg, s);
}

void pelpage_rebase(struct pelpage *pg, const struct pelpage_span *s)
{
    uint64_t ms = pg->base_ms, seq = pg->base_seq;
    uint32_t *mss = pelpage_u32_w(pg, COL_MS);
    uint16_t *seqs = pelpage_u16_w(pg, COL_SEQ);

    assert(!pelpage_is_wide(pg));
    pelpage_choose_bases(pg, s);
    for (size_t i = 0; i < pg->n; i++) {
        mss[i] = (uint32_t)(mss[i] + ms - pg->base_ms);
        seqs[i] = (uint16_t)(seqs[i] + seq - pg->base_seq);
    }
}

/* ---- one entry ---- */

struct id pelpage_id(const struct pelpage *pg, size_t i)
{
    if (pelpage_is_wide(pg))
        return (struct id){ pelpage_u64(pg, COL_MS)[i], pelpage_u64(pg, COL_SEQ)[i] };
    return (struct id){ pg->base_ms + pelpage_u32(pg, COL_MS)[i],
                        pg->base_seq + pelpage_u16(pg, COL_SEQ)[i] };
}

uint64_t pelpage_time(const struct pelpage *pg, size_t i)
{
    if (pelpage_is_wide(pg))
        return pelpage_u64(pg, COL_TIME)[i];
    return pelpage_u32(pg, COL_TIME)[i] | (uint64_t)(pelpage_u16(pg, COL_MARKS)[i] >> TIME_SHIFT)
                                              << 32;
}

uint64_t pelpage_count(const struct pelpage *pg, size_t i)
{
    uint8_t count;

    if (pelpage_is_wide(pg))
        return pelpage_u64(pg, COL_COUNT)[i];
    count = pelpage_column(pg, COL_COUNT)[i];
    return count == COUNT_FATAL ? PEL_COUNT_FATAL : count;
}

uint32_t pelpage_key(const struct pelpage *pg, size_t i)
{
    return (pg->shape & PELPAGE_KEYED) != 0 ? pelpage_u32(pg, COL_KEY)[i] : 0;
}

uint16_t pelpage_slot(const struct pelpage *pg, size_t i)
{
    return pelpage_u16(pg, COL_SLOT)[i];
}

unsigned pelpage_marks(const struct pelpage *pg, size_t i)
{
    return pelpage_u16(pg, COL_MARKS)[i] & PELPAGE_MARKS;
}

void pelpage_set_marks(struct pelpage *pg, size_t i, unsigned marks)
{
    uint16_t *m = &pelpage_u16_w(pg, COL_MARKS)[i];
    *m = (uint16_t)((*m & ~(unsigned)PELPAGE_MARKS) | marks);
}

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
    pelpage_u32_w(pg, COL_MS)[i] = (uint32_t)(x->id.ms - pg->base_ms);
    pelpage_u16_w(pg, COL_SEQ)[i] = (uint16_t)(x->id.seq - pg->base_seq);
    pelpage_u32_w(pg, COL_TIME)[i] = (uint32_t)x->time_ms;
    pelpage_u16_w(pg, COL_MARKS)[i] = (uint16_t)(x->time_ms >> 32 << TIME_SHIFT | marks);
    pelpage_column_w(pg, COL_COUNT)[i] =
        (uint8_t)(x->count == PEL_COUNT_FATAL ? COUNT_FATAL : x->count);
}

static void pelpage_write_wide(struct pelpage *pg, size_t i, const struct pel_entry *x,
                               unsigned marks)
{
    pelpage_u64_w(pg, COL_MS)[i] = x->id.ms;
    pelpage_u64_w(pg, COL_SEQ)[i] = x->id.seq;
    pelpage_u64_w(pg, COL_TIME)[i] = x->time_ms;
    pelpage_u64_w(pg, COL_COUNT)[i] = x->count;
    pelpage_u16_w(pg, COL_MARKS)[i] = (uint16_t)marks;
}

void pelpage_write(struct pelpage *pg, size_t i, const struct pel_entry *x, unsigned marks)
{
    if (pelpage_is_wide(pg))
        pelpage_write_wide(pg, i, x, marks);
    else
        pelpage_write_narrow(pg, i, x, marks);
    pelpage_u16_w(pg, COL_SLOT)[i] = x->slot;
    if ((pg->shape & PELPAGE_KEYED) != 0)
        pelpage_u32_w(pg, COL_KEY)[i] = x->key;
}

/* ---- many ---- */

size_t pelpage_find(const struct pelpage *pg, struct id id, bool *found)
{
    size_t from = 0, n = pg->n;

    while (n > 0) {
        size_t half = n / 2;
        if (id_cmp(pelpage_id(pg, from + half), id) < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
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
    pelpage_shift(pg, pg->first + i + 1, pg->first + i, pg->n - i);
    pg->n++;
}

void pelpage_close(struct pelpage *pg, size_t i, size_t n)
{
    assert(i + n <= pg->n);
    if (i == 0)
        pg->first = (uint16_t)(pg->first + n);
    else
        pelpage_shift(pg, pg->first + i, pg->first + i + n, pg->n - i - n);
    pg->n = (uint16_t)(pg->n - n);
}

/* The same shape and bases: column by column. */
static void pelpage_append_alike(struct pelpage *to, const struct pelpage *from, size_t i, size_t n)
{
    const struct layout *l = &LAYOUTS[to->shape];

    for (enum column c = 0; c < COLUMNS; c++)
        memcpy(pelpage_column_w(to, c) + (size_t)to->n * l->width[c],
               pelpage_column(from, c) + i * l->width[c], n * l->width[c]);
    to->n = (uint16_t)(to->n + n);
}

void pelpage_append(struct pelpage *to, const struct pelpage *from, size_t i, size_t n)
{
    struct pel_entry x;

    assert((size_t)to->first + to->n + n <= to->cap);
    if (to->shape == from->shape && to->base_ms == from->base_ms &&
        to->base_seq == from->base_seq) {
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
