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
 * half of a full array or chunk is free in front. A small stream's only chunk starts with room for
 * a few pointers and doubles, so that many small streams stay cheap.
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

enum { STREAM_CHUNK_FIRST = 4, STREAM_CHUNKS_FIRST = 4 };

static struct id stream_entry_id(const uint8_t *entry)
{
    struct id id;

    entry_id(entry, &id);
    return id;
}

static struct stream_chunk *stream_chunk_get(const struct stream_index *x, size_t i)
{
    return x->chunks[x->first + i];
}

static struct id stream_chunk_id(const struct stream_chunk *c, size_t i)
{
    return stream_entry_id(c->at[c->first + i]);
}

static size_t stream_chunk_bytes(uint32_t cap)
{
    return sizeof(struct stream_chunk) + cap * sizeof(const uint8_t *);
}

static bool stream_chunk_has_room(const struct stream_chunk *c)
{
    return c->first + c->n < c->cap;
}

void stream_index_free(struct stream_index *x)
{
    if (x == NULL)
        return;
    for (size_t i = 0; i < x->n; i++)
        free(stream_chunk_get(x, i));
    free(x->chunks);
    free(x->spare);
    free(x);
}

/* ---- growing ---- */

/* Makes room for one more chunk in the array. */
static int stream_index_grow(struct stream_index *x, struct err *e)
{
    size_t cap = x->cap == 0 ? STREAM_CHUNKS_FIRST : x->cap * 2;
    struct stream_chunk **chunks;

    if (x->first + x->n < x->cap)
        return OK;
    if (x->first > x->cap / 2) {
        memmove(x->chunks, x->chunks + x->first, x->n * sizeof x->chunks[0]);
        x->first = 0;
        return OK;
    }
    chunks = realloc(x->chunks, cap * sizeof chunks[0]);
    if (chunks == NULL)
        return err_set(e, ERR_NOMEM, "index of a stream: %zu chunks", cap);
    x->chunks = chunks;
    x->cap = cap;
    return OK;
}

/* Makes room in the last chunk if it is small or much of it is free in front. */
static int stream_chunk_grow(struct stream_chunk **chunk, bool *out_grown, struct err *e)
{
    struct stream_chunk *c = *chunk;
    uint32_t cap = c->cap * 2;

    if (c->first > c->cap / 2) {
        memmove(c->at, c->at + c->first, c->n * sizeof c->at[0]);
        c->first = 0;
    } else if (cap <= STREAM_CHUNK) {
        c = realloc(c, stream_chunk_bytes(cap));
        if (c == NULL)
            return err_set(e, ERR_NOMEM, "index of a stream: a chunk of %u entries", cap);
        c->cap = cap;
        *chunk = c;
    } else {
        *out_grown = false;
        return OK;
    }
    *out_grown = true;
    return OK;
}

static int stream_index_make_spare(struct stream_index *x, struct err *e)
{
    uint32_t cap = x->n == 0 ? STREAM_CHUNK_FIRST : STREAM_CHUNK;
    int rc = stream_index_grow(x, e);

    if (rc != OK)
        return rc;
    x->spare = malloc(stream_chunk_bytes(cap));
    if (x->spare == NULL)
        return err_set(e, ERR_NOMEM, "index of a stream: a chunk of %u entries", cap);
    *x->spare = (struct stream_chunk){ .cap = cap };
    return OK;
}

static int stream_index_make(struct stream_index **out, struct err *e)
{
    struct stream_index *x = calloc(1, sizeof *x);

    if (x == NULL)
        return err_set(e, ERR_NOMEM, "index of a stream");
    *out = x;
    return OK;
}

int stream_index_reserve(struct stream_index **index, struct err *e)
{
    bool grown = false;
    int rc = *index == NULL ? stream_index_make(index, e) : OK;
    struct stream_index *x = *index;

    if (rc != OK)
        return rc;
    if (x->spare != NULL)
        return OK;
    if (x->n > 0) {
        struct stream_chunk **last = &x->chunks[x->first + x->n - 1];

        if (stream_chunk_has_room(*last))
            return OK;
        rc = stream_chunk_grow(last, &grown, e);
    }
    if (rc != OK || grown)
        return rc;
    return stream_index_make_spare(x, e);
}

void stream_index_append(struct stream_index *x, const uint8_t *entry)
{
    struct stream_chunk *last = x->n == 0 ? NULL : stream_chunk_get(x, x->n - 1);

    if (last == NULL || !stream_chunk_has_room(last)) {
        assert(x->spare != NULL); /* stream_index_reserve was called */
        last = x->spare;
        x->spare = NULL;
        assert(x->first + x->n < x->cap); /* X4 */
        x->chunks[x->first + x->n++] = last;
    }
    last->at[last->first + last->n++] = entry;
    x->n_entries++;
}

/* ---- searching ---- */

struct stream_pos stream_index_begin(const struct stream_index *x)
{
    (void)x;
    return (struct stream_pos){ 0, 0 };
}

struct stream_pos stream_index_end(const struct stream_index *x)
{
    return (struct stream_pos){ x == NULL ? 0 : x->n, 0 };
}

/* How many chunks begin below `id`. */
static size_t stream_index_chunks_below(const struct stream_index *x, struct id id)
{
    size_t low = 0, high = x->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (id_cmp(stream_chunk_id(stream_chunk_get(x, mid), 0), id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* How many entries of a chunk are below `id`. */
static uint32_t stream_chunk_below(const struct stream_chunk *c, struct id id)
{
    uint32_t low = 0, high = c->n;

    if (id_cmp(stream_chunk_id(c, c->n - 1), id) < 0)
        return c->n; /* the usual case of a reader at the end */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (id_cmp(stream_chunk_id(c, mid), id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct stream_pos stream_index_seek(const struct stream_index *x, struct id id)
{
    size_t below = x == NULL ? 0 : stream_index_chunks_below(x, id);
    struct stream_pos pos = { below, 0 };
    uint32_t i;

    if (below == 0)
        return pos;
    i = stream_chunk_below(stream_chunk_get(x, below - 1), id);
    if (i < stream_chunk_get(x, below - 1)->n)
        pos = (struct stream_pos){ below - 1, i };
    return pos;
}

struct stream_pos stream_index_nth(const struct stream_index *x, uint64_t n)
{
    size_t chunk = 0;

    assert(n <= stream_index_n(x));
    if (x == NULL)
        return stream_index_begin(x);
    while (chunk < x->n && n >= stream_chunk_get(x, chunk)->n)
        n -= stream_chunk_get(x, chunk++)->n;
    return (struct stream_pos){ chunk, (uint32_t)n };
}

const uint8_t *stream_index_at(const struct stream_index *x, struct stream_pos pos)
{
    const struct stream_chunk *c;

    if (x == NULL || pos.chunk >= x->n)
        return NULL;
    c = stream_chunk_get(x, pos.chunk);
    assert(pos.i < c->n);
    return c->at[c->first + pos.i];
}

void stream_index_next(const struct stream_index *x, struct stream_pos *pos)
{
    assert(pos->chunk < x->n);
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
static void stream_index_drop(struct stream_index *x, size_t i, size_t n)
{
    struct stream_chunk **at = x->chunks + x->first;

    for (size_t k = i; k < i + n; k++)
        free(at[k]);
    if (i < x->n - i - n) {
        memmove(at + n, at, i * sizeof at[0]);
        x->first += n;
    } else {
        memmove(at + i, at + i + n, (x->n - i - n) * sizeof at[0]);
    }
    x->n -= n;
    if (x->n == 0)
        x->first = 0;
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
    struct stream_pos pos = stream_index_seek(x, id);
    const uint8_t *entry = stream_index_at(x, pos);
    struct stream_chunk *c;

    if (entry == NULL || id_cmp(stream_entry_id(entry), id) != 0)
        return false;
    c = stream_chunk_get(x, pos.chunk);
    stream_chunk_remove(c, pos.i);
    if (c->n == 0)
        stream_index_drop(x, pos.chunk, 1);
    x->n_entries--;
    return true;
}

uint64_t stream_index_trim(struct stream_index *x, struct id first)
{
    struct stream_pos pos = stream_index_seek(x, first);
    uint64_t n = stream_index_between(x, stream_index_begin(x), pos);

    if (n == 0)
        return 0;
    if (pos.chunk > 0)
        stream_index_drop(x, 0, pos.chunk);
    if (pos.i > 0) {
        struct stream_chunk *c = stream_chunk_get(x, 0);

        c->first += pos.i;
        c->n -= pos.i;
    }
    x->n_entries -= n;
    return n;
}

/* ---- looking after it ---- */

size_t stream_index_bytes(const struct stream_index *x)
{
    size_t n;

    if (x == NULL)
        return 0;
    n = sizeof *x + x->cap * sizeof x->chunks[0];
    for (size_t i = 0; i < x->n; i++)
        n += stream_chunk_bytes(stream_chunk_get(x, i)->cap);
    return n + (x->spare != NULL ? stream_chunk_bytes(x->spare->cap) : 0);
}

const char *stream_index_check(const struct stream_index *x)
{
    struct id last = ID_MIN;
    uint64_t n = 0;

    if (x == NULL)
        return NULL;
    if (x->first + x->n > x->cap)
        return "X2: chunks lie outside the array";
    if (x->spare != NULL && (x->spare->n > 0 || x->first + x->n == x->cap))
        return "X4: the spare chunk is in use, or has no place";
    for (size_t i = 0; i < x->n; i++) {
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
    return n == x->n_entries ? NULL : "X3: n_entries is not the sum";
}
