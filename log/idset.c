/*
 * idset.c - ascending IDs as a number and a chain of marks, most of them one byte.
 *
 * A mark is a varint: what it is in the two lowest bits, a number f above them.
 *
 *   0, f > 0   one ID: f milliseconds after the one before, seq 0. The usual one of a busy stream
 *   0, f = 0   one ID: two more varints, as for 2 but with the milliseconds in the first one. For what does not fit there
 *   1          f + 1 IDs: each the one before with the next seq
 *   2          one ID: f milliseconds after the one before; one more varint: its seq, less that of the one before if f is 0
 *   3          f + 1 IDs: each at the step that the last two had, ms and seq each modulo 2^64
 *
 * Before the first ID stands 0-0. A new millisecond with k entries costs two bytes; a stride of any length about eight.
 *
 * A reader checks one thing of each ID, whatever mark it came by: it is above the one before (I1). So nothing that wraps around
 * gets through. How many IDs there are stands in front, and a run is not longer than what is left of it (I2): a reader stops after at
 * most IDSET_MAX IDs, few bytes though they may be.
 */
#include "log/idset.h"
#include <assert.h>

enum idset_mark { IDSET_NEW_MS = 0, IDSET_NEXT = 1, IDSET_ONE = 2, IDSET_STEP = 3 };

static const uint64_t IDSET_FIELD_MAX = UINT64_MAX >> 2;

static inline struct id idset_difference(struct id a, struct id b)
{
    return (struct id){ a.ms - b.ms, a.seq - b.seq };
}

static inline struct id idset_sum(struct id a, struct id b)
{
    return (struct id){ a.ms + b.ms, a.seq + b.seq };
}

static inline bool idset_same(struct id a, struct id b)
{
    return a.ms == b.ms && a.seq == b.seq;
}

/* ---- writing ---- */

/* The IDs from the i-th on that one mark stands for. */
struct idset_run {
    enum idset_mark mark;
    uint64_t f;
    struct id apart; /* what follows the mark */
    size_t n;
};

/* How many IDs from the i-th on have that difference to the one before. */
static size_t idset_count_steps(const struct id *ids, size_t i, size_t n, struct id step)
{
    size_t from = i;

    while (i < n && idset_same(idset_difference(ids[i], ids[i - 1]), step))
        i++;
    return i - from;
}

static struct idset_run idset_single(struct id id, struct id before)
{
    uint64_t ms = id.ms - before.ms;
    struct id apart = { ms, ms == 0 ? id.seq - before.seq : id.seq };

    if (ms > IDSET_FIELD_MAX)
        return (struct idset_run){ IDSET_NEW_MS, 0, apart, 1 };
    if (ms > 0 && id.seq == 0)
        return (struct idset_run){ IDSET_NEW_MS, ms, apart, 1 };
    return (struct idset_run){ IDSET_ONE, ms, apart, 1 };
}

static struct idset_run idset_run_at(const struct id *ids, size_t i, size_t n)
{
    static const struct id NEXT = { 0, 1 };
    size_t k = i > 0 ? idset_count_steps(ids, i, n, NEXT) : 0;

    if (k > 0)
        return (struct idset_run){ IDSET_NEXT, k - 1, ID_MIN, k };
    if (i > 1)
        k = idset_count_steps(ids, i, n, idset_difference(ids[i - 1], ids[i - 2]));
    if (k > 0)
        return (struct idset_run){ IDSET_STEP, k - 1, ID_MIN, k };
    return idset_single(ids[i], i > 0 ? ids[i - 1] : ID_MIN);
}

static bool idset_has_ms_apart(const struct idset_run *r)
{
    return r->mark == IDSET_NEW_MS && r->f == 0;
}

static size_t idset_run_size(const struct idset_run *r)
{
    size_t n = varint_size(r->f << 2);

    if (idset_has_ms_apart(r))
        n += varint_size(r->apart.ms);
    if (idset_has_ms_apart(r) || r->mark == IDSET_ONE)
        n += varint_size(r->apart.seq);
    return n;
}

static uint8_t *idset_run_put(uint8_t *p, const struct idset_run *r)
{
    p = varint_put(p, r->f << 2 | r->mark);
    if (idset_has_ms_apart(r))
        p = varint_put(p, r->apart.ms);
    if (idset_has_ms_apart(r) || r->mark == IDSET_ONE)
        p = varint_put(p, r->apart.seq);
    return p;
}

size_t idset_size(const struct id *ids, size_t n)
{
    size_t size = varint_size(n);
    struct idset_run r;

    assert(n <= IDSET_MAX);
    for (size_t i = 0; i < n; i += r.n) {
        r = idset_run_at(ids, i, n);
        size += idset_run_size(&r);
    }
    return size;
}

uint8_t *idset_put(uint8_t *p, const struct id *ids, size_t n)
{
    struct idset_run r;

    p = varint_put(p, n);
    for (size_t i = 0; i < n; i += r.n) {
        assert(i == 0 || id_cmp(ids[i - 1], ids[i]) < 0); /* I1 */
        r = idset_run_at(ids, i, n);
        p = idset_run_put(p, &r);
    }
    return p;
}

/* ---- reading ---- */

bool idset_open(struct idset_reader *r, const uint8_t *p, const uint8_t *end, uint64_t max)
{
    *r = (struct idset_reader){ .p = p, .end = end };
    return varint_get(&r->p, end, &r->left) && r->left <= max && r->left <= IDSET_MAX;
}

/* A mark for one ID, as its distance to the one before. */
static bool idset_read_single(struct idset_reader *r, enum idset_mark mark, uint64_t f)
{
    bool apart = mark == IDSET_NEW_MS && f == 0;
    uint64_t seq = 0;

    if (apart && !varint_get(&r->p, r->end, &f))
        return false;
    if ((apart || mark == IDSET_ONE) && !varint_get(&r->p, r->end, &seq))
        return false;
    r->step = (struct id){ f, f == 0 ? seq : seq - r->last.seq };
    r->run = 1;
    return true;
}

/* Reads a mark: from here on `run` IDs are at `step` from each other. */
static bool idset_read_mark(struct idset_reader *r)
{
    uint64_t mark, f;

    if (!varint_get(&r->p, r->end, &mark))
        return false;
    f = mark >> 2;
    switch ((enum idset_mark)(mark & 3)) {
    case IDSET_NEXT: r->step = (struct id){ 0, 1 }; break;
    case IDSET_STEP: break;
    case IDSET_ONE:
    case IDSET_NEW_MS: return idset_read_single(r, (enum idset_mark)(mark & 3), f);
    }
    if (f >= r->left)
        return false; /* I2 */
    r->run = f + 1;
    return true;
}

bool idset_next(struct idset_reader *r, struct id *out)
{
    struct id id;

    if (r->left == 0 || (r->run == 0 && !idset_read_mark(r)))
        return false;
    id = idset_sum(r->last, r->step);
    if (r->any && id_cmp(id, r->last) <= 0)
        return false; /* I1 */
    r->last = *out = id;
    r->any = true;
    r->run--;
    r->left--;
    return true;
}
