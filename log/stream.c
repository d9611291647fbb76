/*
 * stream.c - the entries of a stream that live in the log's arena.
 *
 * A stream grows at its end and loses entries at its front, to trims and to segments; deletes in the middle are rare. So
 * pointers stand in chunks, an array of chunks stands in order, and neither holds a copy of an ID:
 * searching compares the IDs of the entries themselves, first over the chunks' first entries, then
 * inside one.
 *
 *          first                 first + n                       first   first + n
 *   chunks | - - | c0 | c1 | ... | free    and in one chunk   at | - - | p0 p1 ... | free
 *
 * Space in front of `first` comes from trimming. It is used again, by moving down, when more than
 * half of a full array or chunk is free in front.
 *
 * There may be a million streams of which each has an entry or two here. Their index is a single chunk, which
 * starts with room for STREAM_FIRST pointers and doubles; up to STREAM_SLAB_MAX it lies in a slab. One that is to hold more than STREAM_SMALL_MAX becomes the
 * first of several; it stays so until the index is freed.
 *
 *   X1  IDs increase strictly, inside a chunk and from chunk to chunk.
 *   X2  A chunk that the array holds is not empty, and its pointers lie inside it: first + n <=
 *       cap.
 *   X3  n_entries is the sum of the chunks' n.
 *   X4  A spare chunk is empty, and there is room for it in the array.
 */
#include "log/stream.h"
#include <assert.h>
#include <stdlib.h>
#include "log/entry.h"

enum {
    STREAM_FIRST = 2,
    STREAM_SLAB_MAX = STREAM_FIRST << (STREAM_N_SMALL - 1), /* up to here in slabs */
    STREAM_SMALL_MAX = 128,
    STREAM_CHUNKS_FIRST = 4
};

struct stream_index {  /* what both begin with */
    uint16_t is_array; /* 0: a stream_chunk, 1: a stream_array */
};

struct stream_chunk {
    struct stream_index head; /* must be first; 0 */
    uint16_t first, n, cap;   /* live pointers are at[first .. first + n) */
    const uint8_t *at[];
};

static_assert(sizeof(struct stream_chunk) == 8, "24 bytes hold two pointers");

struct stream_array {
    struct stream_index head;     /* must be first; 1 */
    struct stream_chunk **chunks; /* live ones are [first, first + n) */
    size_t first, n, cap;
    uint64_t n_entries;
    struct stream_chunk *spare; /* an empty chunk that the next append may need, or NULL */
};

static struct id stream_entry_id(const uint8_t *entry)
{
    struct id id;

    entry_id(entry, &id);
    return id;
}

/* The array, or NULL if x is a single chunk. */
static struct stream_array *stream_index_array(const struct stream_index *x)
{
    return x->is_array ? (struct stream_array *)(uintptr_t)x : NULL;
}

/* The chunk that x is if it is no array. */
static struct stream_chunk *stream_index_only(const struct stream_index *x)
{
    return (struct stream_chunk *)(uintptr_t)x;
}

static size_t stream_index_chunks(const struct stream_index *x)
{
    const struct stream_array *a = stream_index_array(x);
    return a != NULL ? a->n : stream_index_only(x)->n > 0;
}

static struct stream_chunk *stream_chunk_get(const struct stream_index *x, size_t i)
{
    const struct stream_array *a = stream_index_array(x);
    return a != NULL ? a->chunks[a->first + i] : stream_index_only(x);
}

static struct id stream_chunk_id(const struct stream_chunk *c, size_t i)
{
    return stream_entry_id(c->at[c->first + i]);
}

static size_t stream_chunk_bytes(size_t cap)
{
    return sizeof(struct stream_chunk) + cap * sizeof(const uint8_t *);
}

static bool stream_chunk_has_room(const struct stream_chunk *c, size_t n)
{
    return c->first + c->n + n <= c->cap;
}

/* ---- memory ---- */

void stream_memory_init(struct stream_memory *m)
{
    for (size_t i = 0; i < STREAM_N_SMALL; i++)
        slab_init(&m->small[i], stream_chunk_bytes((size_t)STREAM_FIRST << i));
}

void stream_memory_fini(struct stream_memory *m)
{
    for (size_t i = 0; i < STREAM_N_SMALL; i++)
        slab_fini(&m->small[i]);
}

static struct stream_chunk *stream_chunk_alloc(struct stream_memory *m, size_t cap)
{
    for (size_t i = 0; i < STREAM_N_SMALL; i++)
        if (cap == (size_t)STREAM_FIRST << i)
            return slab_take(&m->small[i]);
    return malloc(stream_chunk_bytes(cap));
}

static void stream_chunk_free(struct stream_chunk *c)
{
    if (c != NULL && c->cap <= STREAM_SLAB_MAX)
        slab_give(c);
    else
        free(c);
}

void stream_index_free(struct stream_index *x)
{
    struct stream_array *a = x == NULL ? NULL : stream_index_array(x);

    if (a == NULL) {
        stream_chunk_free((struct stream_chunk *)x);
        return;
    }
    for (size_t i = 0; i < a->n; i++)
        stream_chunk_free(a->chunks[a->first + i]);
    free(a->chunks);
    stream_chunk_free(a->spare);
    free(a);
}

uint64_t stream_index_n(const struct stream_index *x)
{
    const struct stream_array *a = x == NULL ? NULL : stream_index_array(x);
    return a != NULL ? a->n_entries : x == NULL ? 0 : stream_index_only(x)->n;
}

/* ---- growing ---- */

static int stream_chunk_new(struct stream_memory *m, size_t cap, struct stream_chunk **out,
                            struct err *e)
{
    struct stream_chunk *c = stream_chunk_alloc(m, cap);

    if (c == NULL)
        return err_set(e, ERR_NOMEM, "index of a stream: a chunk of %zu entries", cap);
    *c = (struct stream_chunk){ .cap = (uint16_t)cap };
    *out = c;
    return OK;
}

/* Makes room in a chunk if it is smaller than `max` or much of it is free in front. */
static int stream_chunk_grow(struct stream_memory *m, struct stream_chunk **chunk, size_t max,
                             bool *out_grown, struct err *e)
{
    struct stream_chunk *c = *chunk, *larger;
    size_t cap = c->cap * 2u;
    int rc;

    *out_grown = true;
    if (c->first > c->cap / 2) {
        memmove(c->at, c->at + c->first, c->n * sizeof c->at[0]);
        c->first = 0;
        return OK;
    }
    *out_grown = cap <= max;
    if (!*out_grown)
        return OK;
    rc = stream_chunk_new(m, cap, &larger, e);
    if (rc != OK)
        return rc;
    larger->n = c->n;
    memcpy(larger->at, c->at + c->first, c->n * sizeof c->at[0]);
    stream_chunk_free(c);
    *chunk = larger;
    return OK;
}

/* Makes room for one more chunk in the array. */
static int stream_array_grow(struct stream_array *a, struct err *e)
{
    size_t cap = a->cap == 0 ? STREAM_CHUNKS_FIRST : a->cap * 2;
    struct stream_chunk **chunks;

    if (a->first + a->n < a->cap)
        return OK;
    if (a->first > a->cap / 2) {
        memmove(a->chunks, a->chunks + a->first, a->n * sizeof a->chunks[0]);
        a->first = 0;
        return OK;
    }
    chunks = realloc(a->chunks, cap * sizeof chunks[0]);
    if (chunks == NULL)
        return err_set(e, ERR_NOMEM, "index of a stream: %zu chunks", cap);
    a->chunks = chunks;
    a->cap = cap;
    return OK;
}

/* The array of which the single chunk is the first one; an empty one goes. */
static int stream_array_new(struct stream_chunk *only, struct stream_array **out, struct err *e)
{
    struct stream_array *a = calloc(1, sizeof *a);
    int rc = a != NULL ? stream_array_grow(a, e) : err_set(e, ERR_NOMEM, "index of a stream");

    if (rc != OK) {
        free(a);
        return rc;
    }
    a->head.is_array = 1;
    if (only->n > 0) {
        a->chunks[a->n++] = only;
        a->n_entries = only->n;
    } else {
        stream_chunk_free(only); /* a chunk of an array is never empty */
    }
    *out = a;
    return OK;
}

/* A spare chunk is enough for whatever n. */
static int stream_array_reserve(struct stream_memory *m, struct stream_array *a, size_t n,
                                struct err *e)
{
    bool grown = a->n > 0;
    int rc = OK;

    if (a->spare != NULL)
        return OK;
    while (rc == OK && grown) {
        struct stream_chunk **last = &a->chunks[a->first + a->n - 1];
        if (stream_chunk_has_room(*last, n))
            return OK;
        rc = stream_chunk_grow(m, last, STREAM_CHUNK, &grown, e);
    }
    if (rc == OK)
        rc = stream_array_grow(a, e);
    if (rc == OK)
        rc = stream_chunk_new(m, STREAM_CHUNK, &a->spare, e);
    return rc;
}

int stream_index_reserve(struct stream_memory *m, struct stream_index **x, size_t n, struct err *e)
{
    struct stream_chunk *only = (struct stream_chunk *)*x;
    struct stream_array *a = NULL;
    bool grown = true;
    int rc = OK;

    if (only == NULL)
        rc = stream_chunk_new(m, STREAM_FIRST, &only, e);
    else if (only->head.is_array)
        return stream_array_reserve(m, (struct stream_array *)*x, n, e);
    while (rc == OK && grown && !stream_chunk_has_room(only, n))
        rc = stream_chunk_grow(m, &only, STREAM_SMALL_MAX, &grown, e);
    if (only != NULL)
        *x = (struct stream_index *)only;
    if (rc != OK || grown)
        return rc;
    rc = stream_array_new(only, &a, e);
    if (rc != OK)
        return rc;
    *x = (struct stream_index *)a;
    return stream_array_reserve(m, a, n, e);
}

void stream_index_append(struct stream_index *x, const uint8_t *entry)
{
    struct stream_array *a = stream_index_array(x);
    struct stream_chunk *last = a == NULL   ? stream_index_only(x)
                                : a->n == 0 ? NULL
                                            : a->chunks[a->first + a->n - 1];

    if (last == NULL || (a != NULL && !stream_chunk_has_room(last, 1))) {
        assert(a->spare != NULL); /* stream_index_reserve was called */
        last = a->spare;
        a->spare = NULL;
        assert(a->first + a->n < a->cap); /* X4 */
        a->chunks[a->first + a->n++] = last;
    }
    assert(stream_chunk_has_room(last, 1)); /* stream_index_reserve was called */
    last->at[last->first + last->n++] = entry;
    if (a != NULL)
        a->n_entries++;
}

/* ---- searching ---- */

struct stream_pos stream_index_begin(const struct stream_index *x)
{
    (void)x;
    return (struct stream_pos){ 0, 0 };
}

struct stream_pos stream_index_end(const struct stream_index *x)
{
    return (struct stream_pos){ x == NULL ? 0 : stream_index_chunks(x), 0 };
}

/* Whether the i-th entry of a chunk is below `id`; by_seq: whatever the ms, as the seqs ascend alone. */
static inline bool stream_chunk_is_below(const struct stream_chunk *c, size_t i, struct id id,
                                         bool by_seq)
{
    struct id at = stream_chunk_id(c, i);

    return by_seq ? at.seq < id.seq : id_cmp(at, id) < 0;
}

/* How many chunks begin below `id`. */
static inline size_t stream_index_chunks_below(const struct stream_index *x, struct id id,
                                               bool by_seq)
{
    size_t low = 0, high = stream_index_chunks(x);

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (stream_chunk_is_below(stream_chunk_get(x, mid), 0, id, by_seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* How many entries of a chunk are below `id`. */
static inline uint32_t stream_chunk_below(const struct stream_chunk *c, struct id id, bool by_seq)
{
    uint32_t low = 0, high = c->n;

    if (stream_chunk_is_below(c, c->n - 1, id, by_seq))
        return c->n; /* the usual case of a reader at the end */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (stream_chunk_is_below(c, mid, id, by_seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static inline struct stream_pos stream_index_find(const struct stream_index *x, struct id id,
                                                  bool by_seq)
{
    size_t below = stream_index_n(x) == 0 ? 0 : stream_index_chunks_below(x, id, by_seq);
    struct stream_pos pos = { below, 0 };
    uint32_t i;

    if (below == 0)
        return pos;
    i = stream_chunk_below(stream_chunk_get(x, below - 1), id, by_seq);
    if (i < stream_chunk_get(x, below - 1)->n)
        pos = (struct stream_pos){ below - 1, i };
    return pos;
}

struct stream_pos stream_index_seek(const struct stream_index *x, struct id id)
{
    return stream_index_find(x, id, false);
}

struct stream_pos stream_index_seek_seq(const struct stream_index *x, uint64_t seq)
{
    return stream_index_find(x, (struct id){ 0, seq }, true);
}

struct stream_pos stream_index_nth(const struct stream_index *x, uint64_t n)
{
    size_t chunk = 0, n_chunks = x == NULL ? 0 : stream_index_chunks(x);

    assert(n <= stream_index_n(x));
    while (chunk < n_chunks && n >= stream_chunk_get(x, chunk)->n)
        n -= stream_chunk_get(x, chunk++)->n;
    return (struct stream_pos){ chunk, (uint32_t)n };
}

const uint8_t *stream_index_at(const struct stream_index *x, struct stream_pos pos)
{
    const struct stream_chunk *c;

    if (x == NULL || pos.chunk >= stream_index_chunks(x))
        return NULL;
    c = stream_chunk_get(x, pos.chunk);
    assert(pos.i < c->n);
    return c->at[c->first + pos.i];
}

void stream_index_next(const struct stream_index *x, struct stream_pos *pos)
{
    assert(pos->chunk < stream_index_chunks(x));
    if (++pos->i == stream_chunk_get(x, pos->chunk)->n)
        *pos = (struct stream_pos){ pos->chunk + 1, 0 };
}

bool stream_index_prev(const struct stream_index *x, struct stream_pos *pos)
{
    if (pos->i > 0) {
        pos->i--;
        return true;
    }
    if (pos->chunk == 0)
        return false;
    pos->chunk--;
    pos->i = stream_chunk_get(x, pos->chunk)->n - 1;
    return true;
}

uint64_t stream_index_between(const struct stream_index *x, struct stream_pos from,
                              struct stream_pos to)
{
    uint64_t n = 0;

    if (x == NULL)
        return 0;
    for (size_t i = from.chunk; i < to.chunk; i++)
        n += stream_chunk_get(x, i)->n;
    assert(n + to.i >= from.i);
    return n + to.i - from.i;
}

uint64_t stream_index_count(const struct stream_index *x, struct stream_pos from,
                            struct stream_pos to, uint64_t max)
{
    uint64_t enough = max < UINT64_MAX - from.i ? max + from.i : UINT64_MAX, n = 0;

    if (x == NULL || from.chunk > to.chunk || (from.chunk == to.chunk && from.i >= to.i))
        return 0;
    for (size_t i = from.chunk; i < to.chunk && n < enough; i++)
        n += stream_chunk_get(x, i)->n;
    if (n < enough)
        n += to.i;
    return n - from.i < max ? n - from.i : max;
}

/* ---- removing ---- */

/* Frees n chunks from position i on and closes the gap, from the side where less has to move. */
static void stream_array_drop(struct stream_array *a, size_t i, size_t n)
{
    struct stream_chunk **at = a->chunks + a->first;

    for (size_t k = i; k < i + n; k++)
        stream_chunk_free(at[k]);
    if (i < a->n - i - n) {
        memmove(at + n, at, i * sizeof at[0]);
        a->first += n;
    } else {
        memmove(at + i, at + i + n, (a->n - i - n) * sizeof at[0]);
    }
    a->n -= n;
    if (a->n == 0)
        a->first = 0;
}

static void stream_chunk_remove(struct stream_chunk *c, uint32_t i)
{
    const uint8_t **at = c->at + c->first;

    if (i < c->n / 2) {
        memmove(at + 1, at, i * sizeof at[0]);
        c->first++;
    } else {
        memmove(at + i, at + i + 1, (c->n - i - 1) * sizeof at[0]);
    }
    c->n--;
}

bool stream_index_delete(struct stream_index *x, struct id id)
{
    struct stream_array *a = x == NULL ? NULL : stream_index_array(x);
    struct stream_pos pos = stream_index_seek(x, id);
    const uint8_t *entry = stream_index_at(x, pos);
    struct stream_chunk *c;

    if (entry == NULL || id_cmp(stream_entry_id(entry), id) != 0)
        return false;
    c = stream_chunk_get(x, pos.chunk);
    stream_chunk_remove(c, pos.i);
    if (a != NULL && c->n == 0)
        stream_array_drop(a, pos.chunk, 1);
    if (a != NULL)
        a->n_entries--;
    return true;
}

/* Removes what is before pos; returns how many that are. */
static uint64_t stream_index_cut(struct stream_index *x, struct stream_pos pos)
{
    struct stream_array *a = x == NULL ? NULL : stream_index_array(x);
    uint64_t n = stream_index_between(x, stream_index_begin(x), pos);
    struct stream_chunk *c;

    if (n == 0)
        return 0;
    if (a == NULL) {
        c = stream_index_only(x);
        c->first = (uint16_t)(c->first + n);
        c->n = (uint16_t)(c->n - n);
        return n;
    }
    if (pos.chunk > 0)
        stream_array_drop(a, 0, pos.chunk);
    if (pos.i > 0) {
        c = a->chunks[a->first];
        c->first = (uint16_t)(c->first + pos.i);
        c->n = (uint16_t)(c->n - pos.i);
    }
    a->n_entries -= n;
    return n;
}

uint64_t stream_index_trim(struct stream_index *x, struct id first)
{
    return stream_index_cut(x, stream_index_seek(x, first));
}

void stream_index_drop(struct stream_index *x, uint64_t n)
{
    stream_index_cut(x, stream_index_nth(x, n));
}

/* ---- looking after it ---- */

size_t stream_index_bytes(const struct stream_index *x)
{
    const struct stream_array *a = x == NULL ? NULL : stream_index_array(x);
    size_t n;

    if (a == NULL)
        return x == NULL ? 0 : stream_chunk_bytes(stream_index_only(x)->cap);
    n = sizeof *a + a->cap * sizeof a->chunks[0];
    for (size_t i = 0; i < a->n; i++)
        n += stream_chunk_bytes(a->chunks[a->first + i]->cap);
    return n + (a->spare != NULL ? stream_chunk_bytes(a->spare->cap) : 0);
}

const char *stream_index_check(const struct stream_index *x)
{
    const struct stream_array *a = x == NULL ? NULL : stream_index_array(x);
    size_t n_chunks = x == NULL ? 0 : stream_index_chunks(x);
    struct id last = ID_MIN;
    uint64_t n = 0;

    if (a != NULL && a->first + a->n > a->cap)
        return "X2: chunks lie outside the array";
    if (a != NULL && a->spare != NULL && (a->spare->n > 0 || a->first + a->n == a->cap))
        return "X4: the spare chunk is in use, or has no place";
    for (size_t i = 0; i < n_chunks; i++) {
        const struct stream_chunk *c = stream_chunk_get(x, i);

        if (c->n == 0 || c->n > c->cap || c->first > c->cap - c->n || c->cap > STREAM_CHUNK)
            return "X2: a chunk is empty, or its pointers lie outside it";
        for (uint32_t k = 0; k < c->n; k++, n++) {
            struct id id = stream_chunk_id(c, k);

            if (n > 0 && id_cmp(id, last) <= 0)
                return "X1: IDs do not increase";
            last = id;
        }
    }
    return n == stream_index_n(x) ? NULL : "X3: n_entries is not the sum";
}
