/* pelpage.h - some pending entries that follow each other, in few bytes each: a leaf of the tree in peltree.h.
 *
 * Knows nothing of what the entries mean beyond how they are stored. Essay: pelpage.c. */
#ifndef GROUPS_PELPAGE_H
#define GROUPS_PELPAGE_H
#include "groups/pel.h"

enum pelpage_shape { /* bits */
                     PELPAGE_WIDE = 1,
                     PELPAGE_KEYED = 2
};

enum pelpage_mark {
    PELPAGE_NACKED = 1,
    PELPAGE_GONE = 2,
    PELPAGE_DEAD = 4,
    PELPAGE_READY = 8,
    PELPAGE_MARKS = 15
};

/* The latest time_ms that a page of either shape can hold: about the year 2527. */
static const uint64_t PELPAGE_TIME_MAX = ((uint64_t)1 << 44) - 1;

struct pelpage {
    uint64_t base_ms, base_seq; /* narrow: IDs are stored as what they are above these */
    uint16_t n, first, cap;     /* entries, where they begin, places: a multiple of 8 */
    uint8_t shape;
    uint8_t zero;
    uint8_t columns[];
};

/* What has to be stored: which shape and which bases it needs. */
struct pelpage_span {
    uint64_t ms_min, ms_max, seq_min, seq_max;
    bool any, odd; /* odd: a time or a count is too large for a narrow page */
};
void pelpage_span_add(struct pelpage_span *s, const struct pel_entry *x);
void pelpage_span_add_page(struct pelpage_span *s, const struct pelpage *pg);
bool pelpage_span_is_wide(const struct pelpage_span *s);

size_t pelpage_bytes(unsigned shape, size_t cap);
/* An empty page in pelpage_bytes(shape, cap) bytes, with bases for the span; or with the shape and the bases of another. */
void pelpage_init(struct pelpage *pg, unsigned shape, size_t cap, const struct pelpage_span *s);
void pelpage_init_like(struct pelpage *pg, const struct pelpage *like, size_t cap);
/* Chooses other bases for the span, which contains all that is in it and fits a narrow page. */
void pelpage_rebase(struct pelpage *pg, const struct pelpage_span *s);
/* ---- one entry; inline, because every loop over entries is made of these ---- */

enum pelpage_column { COL_MS, COL_SEQ, COL_TIME, COL_COUNT, COL_KEY, COL_SLOT, COL_MARKS, COLUMNS };

/* Where a column of a narrow (wide) page begins, in bytes for each place, and how wide it is. */
enum {
    NARROW_MS = 0,
    NARROW_TIME = 4,
    NARROW_SEQ = 8,
    NARROW_SLOT = 10,
    NARROW_MARKS = 12,
    NARROW_COUNT = 14,
    NARROW_KEY = 15,
    WIDE_MS = 0,
    WIDE_SEQ = 8,
    WIDE_TIME = 16,
    WIDE_COUNT = 24,
    WIDE_SLOT = 32,
    WIDE_MARKS = 34,
    WIDE_KEY = 36,
    PELPAGE_COUNT_FATAL = 255, /* a narrow page's way to write PEL_COUNT_FATAL */
    PELPAGE_TIME_SHIFT = 4,    /* of the time's high part, above the marks */
};

static inline bool pelpage_is_wide(const struct pelpage *pg)
{
    return (pg->shape & PELPAGE_WIDE) != 0;
}

/* A column's value of entry i. cap is a multiple of 8, and so every column is aligned. */
static inline uint8_t *pelpage_u8(const struct pelpage *pg, size_t at, size_t i)
{
    return (uint8_t *)(uintptr_t)pg->columns + at * pg->cap + pg->first + i;
}
static inline uint16_t *pelpage_u16(const struct pelpage *pg, size_t at, size_t i)
{
    return (uint16_t *)((uintptr_t)pg->columns + at * pg->cap) + pg->first + i;
}
static inline uint32_t *pelpage_u32(const struct pelpage *pg, size_t at, size_t i)
{
    return (uint32_t *)((uintptr_t)pg->columns + at * pg->cap) + pg->first + i;
}
static inline uint64_t *pelpage_u64(const struct pelpage *pg, size_t at, size_t i)
{
    return (uint64_t *)((uintptr_t)pg->columns + at * pg->cap) + pg->first + i;
}

static inline struct id pelpage_id(const struct pelpage *pg, size_t i)
{
    if (pelpage_is_wide(pg))
        return (struct id){ *pelpage_u64(pg, WIDE_MS, i), *pelpage_u64(pg, WIDE_SEQ, i) };
    return (struct id){ pg->base_ms + *pelpage_u32(pg, NARROW_MS, i),
                        pg->base_seq + *pelpage_u16(pg, NARROW_SEQ, i) };
}

static inline uint64_t pelpage_time(const struct pelpage *pg, size_t i)
{
    if (pelpage_is_wide(pg))
        return *pelpage_u64(pg, WIDE_TIME, i);
    return *pelpage_u32(pg, NARROW_TIME, i) |
           (uint64_t)(*pelpage_u16(pg, NARROW_MARKS, i) >> PELPAGE_TIME_SHIFT) << 32;
}

static inline uint64_t pelpage_count(const struct pelpage *pg, size_t i)
{
    uint8_t count;

    if (pelpage_is_wide(pg))
        return *pelpage_u64(pg, WIDE_COUNT, i);
    count = *pelpage_u8(pg, NARROW_COUNT, i);
    return count == PELPAGE_COUNT_FATAL ? PEL_COUNT_FATAL : count;
}

static inline uint32_t pelpage_key(const struct pelpage *pg, size_t i)
{
    if ((pg->shape & PELPAGE_KEYED) == 0)
        return 0;
    return *pelpage_u32(pg, pelpage_is_wide(pg) ? WIDE_KEY : NARROW_KEY, i);
}

static inline uint16_t pelpage_slot(const struct pelpage *pg, size_t i)
{
    return *pelpage_u16(pg, pelpage_is_wide(pg) ? WIDE_SLOT : NARROW_SLOT, i);
}

static inline unsigned pelpage_marks(const struct pelpage *pg, size_t i)
{
    return *pelpage_u16(pg, pelpage_is_wide(pg) ? WIDE_MARKS : NARROW_MARKS, i) & PELPAGE_MARKS;
}

static inline void pelpage_set_marks(struct pelpage *pg, size_t i, unsigned marks)
{
    uint16_t *m = pelpage_u16(pg, pelpage_is_wide(pg) ? WIDE_MARKS : NARROW_MARKS, i);
    *m = (uint16_t)((*m & ~(unsigned)PELPAGE_MARKS) | marks);
}

static inline bool pelpage_is_odd(uint64_t time_ms, uint64_t count)
{
    return time_ms > PELPAGE_TIME_MAX || (count >= PELPAGE_COUNT_FATAL && count != PEL_COUNT_FATAL);
}

/* Whether x can be written into it as it is. */
static inline bool pelpage_fits(const struct pelpage *pg, const struct pel_entry *x)
{
    return pelpage_is_wide(pg) ||
           (x->id.ms - pg->base_ms <= UINT32_MAX && x->id.seq - pg->base_seq <= UINT16_MAX &&
            !pelpage_is_odd(x->time_ms, x->count));
}

/* All of it; x->gone, nacked, dead as the marks say. */
void pelpage_read(const struct pelpage *pg, size_t i, struct pel_entry *x);
/* x fits; the marks are those given. */
void pelpage_write(struct pelpage *pg, size_t i, const struct pel_entry *x, unsigned marks);

/* The first place whose ID is >= id, n if there is none; whether it is the ID itself. Fast if that is near `guess`, which may
 * be any number. */
size_t pelpage_find(const struct pelpage *pg, struct id id, size_t guess, bool *found);
/* Makes a place, n < cap; what is in it is for pelpage_write to say. */
void pelpage_open(struct pelpage *pg, size_t i);
void pelpage_close(struct pelpage *pg, size_t i, size_t n); /* removes n from i on */
/* Keeps the n places that `kept` names, in ascending order. */
void pelpage_keep(struct pelpage *pg, const uint8_t *kept, size_t n);
/* Appends n entries of `from`, from i on; they fit, and there is room for them. */
void pelpage_append(struct pelpage *to, const struct pelpage *from, size_t i, size_t n);

const char *pelpage_check(const struct pelpage *pg);

#endif
