/* pelpage.h - some pending entries that follow each other, in few bytes each: a leaf of the tree in pel.c.
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
/* An empty page in pelpage_bytes(shape, cap) bytes, with bases for the span. */
void pelpage_init(struct pelpage *pg, unsigned shape, size_t cap, const struct pelpage_span *s);
/* Chooses other bases for the span, which contains all that is in it and fits a narrow page. */
void pelpage_rebase(struct pelpage *pg, const struct pelpage_span *s);
/* Whether x can be written into it as it is. */
bool pelpage_fits(const struct pelpage *pg, const struct pel_entry *x);

struct id pelpage_id(const struct pelpage *pg, size_t i);
uint64_t pelpage_time(const struct pelpage *pg, size_t i);
uint64_t pelpage_count(const struct pelpage *pg, size_t i);
uint32_t pelpage_key(const struct pelpage *pg, size_t i);
uint16_t pelpage_slot(const struct pelpage *pg, size_t i);
unsigned pelpage_marks(const struct pelpage *pg, size_t i);
void pelpage_set_marks(struct pelpage *pg, size_t i, unsigned marks);
/* All of it; x->gone, nacked, dead as the marks say. */
void pelpage_read(const struct pelpage *pg, size_t i, struct pel_entry *x);
/* x fits; the marks are those given. */
void pelpage_write(struct pelpage *pg, size_t i, const struct pel_entry *x, unsigned marks);

/* The first place whose ID is >= id, n if there is none; whether it is the ID itself. */
size_t pelpage_find(const struct pelpage *pg, struct id id, bool *found);
/* Makes a place, n < cap; what is in it is for pelpage_write to say. */
void pelpage_open(struct pelpage *pg, size_t i);
void pelpage_close(struct pelpage *pg, size_t i, size_t n); /* removes n from i on */
/* Appends n entries of `from`, from i on; they fit, and there is room for them. */
void pelpage_append(struct pelpage *to, const struct pelpage *from, size_t i, size_t n);

const char *pelpage_check(const struct pelpage *pg);

#endif
