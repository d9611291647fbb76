/*
 * outbuf.c - the bytes on their way to one client.
 *
 * A chain of chunks: replies are appended to the tail, writev(2) takes from the head, nothing is ever moved.
 * Most of the time a connection has nothing to say, so an empty buffer holds no memory at all. Its first
 * chunk is small enough for malloc's thread cache, which makes taking and giving it back once a round
 * cheap; what does not fit there goes to chunks of OUTBUF_CHUNK.
 *
 *            head                                   tail
 *   chunks   [ sent | to send ] -> [ to send ] ->  [ to send | free ]
 *                   ^ read_pos                      ^ base    ^ at   ^ end
 *
 * What many are sent is encoded once and lies in a chunk of all of them: theirs are only the link and the position. Nothing
 * is written into such a chunk, so it is full as the tail, too. Short messages are copied instead: a chunk and an element of
 * writev's vector cost more than their bytes.
 *
 *   O1  Positions only grow: read_pos <= outbuf_end, the chunks' bases are contiguous.
 *   O2  No chunk lies wholly below read_pos; without unsent bytes there is no chunk.
 *   O3  After `failed` no byte is added.
 *   O4  A shared chunk as the tail has no free part.
 */
#include "broker/net/outbuf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    OUTBUF_FIRST = 1024 - sizeof(struct outbuf_chunk),
    OUTBUF_COPY = 4 << 10, /* bytes that are rather copied than moved with their chunk */
};

void outbuf_init(struct outbuf *b)
{
    memset(b, 0, sizeof *b);
}

static void outbuf_free_chain(struct outbuf *b, struct outbuf_chunk *chunk)
{
    while (chunk != NULL) {
        struct outbuf_chunk *next = chunk->next;
        b->memory -= sizeof *chunk + chunk->cap;
        outbuf_shared_unref(chunk->shared);
        free(chunk);
        chunk = next;
    }
}

void outbuf_fini(struct outbuf *b)
{
    outbuf_free_chain(b, b->head);
    assert(b->memory == 0);
    outbuf_init(b);
}

/* Where replies go that nobody will see: written by its own thread, never read. */
static uint8_t *outbuf_scratch(size_t n)
{
    static _Thread_local uint8_t scratch[OUTBUF_SCRATCH];

    assert(n <= sizeof scratch);
    return scratch;
}

static void outbuf_link(struct outbuf *b, struct outbuf_chunk *chunk, size_t cap)
{
    chunk->next = NULL;
    chunk->base = outbuf_end(b);
    chunk->n = 0;
    chunk->cap = cap;
    if (b->tail != NULL) {
        b->tail->n = (size_t)(b->at - b->tail->data);
        b->tail->next = chunk;
    } else {
        b->head = chunk;
    }
    b->tail = chunk;
    b->base = chunk->base;
    b->at = chunk->data;
    b->end = chunk->data + cap;
    b->memory += sizeof *chunk + cap;
}

static bool outbuf_add_chunk(struct outbuf *b, size_t n)
{
    bool first =
        b->tail == NULL || b->tail->shared != NULL; /* what lies between messages is short */
    size_t cap = first && n <= OUTBUF_FIRST ? OUTBUF_FIRST : OUTBUF_CHUNK;
    struct outbuf_chunk *chunk;

    if (cap < n)
        cap = n;
    chunk = malloc(sizeof *chunk + cap);
    if (chunk == NULL)
        return false;
    chunk->shared = NULL;
    chunk->data = (uint8_t *)(chunk + 1);
    outbuf_link(b, chunk, cap);
    return true;
}

void outbuf_fail(struct outbuf *b)
{
    b->failed = true;
    b->end = b->at; /* O3: the inline way in is shut, too */
}

uint8_t *outbuf_grow(struct outbuf *b, size_t n)
{
    if (!b->failed && outbuf_add_chunk(b, n))
        return b->at;
    outbuf_fail(b);
    return outbuf_scratch(n);
}

void outbuf_append(struct outbuf *b, const void *p, size_t n)
{
    const uint8_t *from = p;
    size_t room = (size_t)(b->end - b->at);

    if (n == 0 || b->failed)
        return;
    if (room < n) {
        if (room > 0) {
            memcpy(b->at, from, room);
            b->at += room;
            from += room;
            n -= room;
        }
        if (!outbuf_add_chunk(b, n)) {
            outbuf_fail(b);
            return;
        }
    }
    memcpy(b->at, from, n);
    b->at += n;
}

/* ---- what is shared ---- */

struct outbuf_shared *outbuf_shared_new(size_t n)
{
    struct outbuf_shared *s = malloc(sizeof *s + n);

    if (s == NULL)
        return NULL;
    s->n_refs = 1;
    s->n = n;
    return s;
}

void outbuf_shared_unref(struct outbuf_shared *s)
{
    if (s == NULL)
        return;
    assert(s->n_refs > 0);
    if (--s->n_refs == 0)
        free(s);
}

void outbuf_share(struct outbuf *b, struct outbuf_shared *s)
{
    struct outbuf_chunk *chunk;

    if (b->failed || s->n < OUTBUF_SHARE_MIN) {
        outbuf_append(b, s->bytes, s->n);
        return;
    }
    chunk = malloc(sizeof *chunk);
    if (chunk == NULL) {
        outbuf_fail(b);
        return;
    }
    s->n_refs++;
    chunk->shared = s;
    chunk->data = s->bytes;
    outbuf_link(b, chunk, s->n);
    b->at = b->end; /* O4 */
}

/* ---- moving ---- */

static void outbuf_copy(struct outbuf *b, struct outbuf *from)
{
    struct iovec
        iov[2 * (OUTBUF_COPY / OUTBUF_SHARE_MIN) + 3]; /* shared, and others between them */
    int n = outbuf_peek(from, UINT64_MAX, iov, (int)(sizeof iov / sizeof iov[0]));

    assert(n < (int)(sizeof iov / sizeof iov[0]));
    for (int i = 0; i < n; i++)
        outbuf_append(b, iov[i].iov_base, iov[i].iov_len);
    outbuf_fini(from);
}

void outbuf_move(struct outbuf *b, struct outbuf *from)
{
    uint64_t base = outbuf_end(b);

    assert(from->read_pos == 0);
    if (from->failed)
        outbuf_fail(b);
    if (b->failed || outbuf_size(from) <= OUTBUF_COPY) {
        outbuf_copy(b, from);
        return;
    }
    from->tail->n = (size_t)(from->at - from->tail->data);
    for (struct outbuf_chunk *chunk = from->head; chunk != NULL; chunk = chunk->next)
        chunk->base += base;
    if (b->tail != NULL) {
        b->tail->n = (size_t)(b->at - b->tail->data);
        b->tail->next = from->head;
    } else {
        b->head = from->head;
    }
    b->tail = from->tail;
    b->base = from->tail->base;
    b->at = from->at;
    b->end = from->end;
    b->memory += from->memory;
    outbuf_init(from);
}

void outbuf_truncate(struct outbuf *b, uint64_t pos)
{
    struct outbuf_chunk *chunk = b->head;

    assert(pos >= b->read_pos && pos <= outbuf_end(b)); /* O1 */
    if (chunk == NULL)
        return;
    if (pos == b->read_pos) {
        outbuf_free_chain(b, b->head);
        b->head = b->tail = NULL;
        b->at = b->end = NULL;
        b->base = pos;
        return;
    }
    while (chunk != b->tail && chunk->base + chunk->n < pos)
        chunk = chunk->next;
    outbuf_free_chain(b, chunk->next);
    chunk->next = NULL;
    b->tail = chunk;
    b->base = chunk->base;
    b->at = chunk->data + (pos - chunk->base);
    b->end = b->failed || chunk->shared != NULL ? b->at : chunk->data + chunk->cap; /* O3, O4 */
}

int outbuf_peek(const struct outbuf *b, uint64_t limit, struct iovec *iov, int n_iov)
{
    uint64_t pos = b->read_pos;
    int n = 0;

    for (struct outbuf_chunk *chunk = b->head; chunk != NULL && n < n_iov; chunk = chunk->next) {
        uint64_t end = chunk == b->tail ? outbuf_end(b) : chunk->base + chunk->n;
        if (end > limit)
            end = limit;
        if (pos >= limit)
            break;
        if (pos == end)
            continue;
        iov[n].iov_base = chunk->data + (pos - chunk->base);
        iov[n].iov_len = (size_t)(end - pos);
        n++;
        pos = end;
    }
    return n;
}

void outbuf_consume(struct outbuf *b, size_t n)
{
    assert(n <= outbuf_size(b)); /* O1 */
    b->read_pos += n;
    if (b->read_pos == outbuf_end(b)) {
        outbuf_truncate(b, b->read_pos);
        return;
    }
    while (b->head != b->tail && b->head->base + b->head->n <= b->read_pos) {
        struct outbuf_chunk *chunk = b->head;
        b->head = chunk->next;
        chunk->next = NULL;
        outbuf_free_chain(b, chunk);
    }
}
