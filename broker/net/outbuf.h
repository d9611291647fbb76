/* outbuf.h - bytes on their way to one client: a chain of chunks, appended at the tail, written at the head.
 *
 * Positions are counted in bytes since the buffer was made, so that the gate can say "up to here". Memory
 * is taken as needed and given back when the buffer is empty; running out of it is remembered in `failed`
 * (the connection is then closed) instead of being checked at every reply. */
#ifndef BROKER_NET_OUTBUF_H
#define BROKER_NET_OUTBUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Bytes that several buffers send: made once, never changed, freed with the last reference. One thread. */
struct outbuf_shared {
    size_t n_refs, n;
    uint8_t bytes[];
};

struct outbuf_chunk {
    struct outbuf_chunk *next;
    uint64_t base; /* position of data[0] */
    size_t n;      /* bytes in it; not kept up to date for the tail */
    size_t cap;
    struct outbuf_shared *shared; /* whose bytes they are; NULL: they lie behind the chunk */
    uint8_t *data;
};

struct outbuf {
    struct outbuf_chunk *head, *tail;
    uint8_t *at, *end; /* free part of the tail; both NULL while there is no tail */
    uint64_t base;     /* position of tail's first byte, or of the end while there is no tail */
    uint64_t read_pos; /* bytes given away so far */
    size_t memory;     /* bytes of chunks held; of shared ones as if they were its own */
    bool failed;       /* memory ran out: what was appended since is not there */
};

void outbuf_init(struct outbuf *b);
void outbuf_fini(struct outbuf *b);

/* A place for n contiguous bytes; the caller writes up to n and says how many with outbuf_advance. Never NULL:
 * after `failed` it is scratch space for n <= OUTBUF_SCRATCH, and outbuf_append does nothing. */
enum { OUTBUF_CHUNK = 16 << 10, OUTBUF_SCRATCH = 512 };
uint8_t *outbuf_grow(struct outbuf *b, size_t n);

static inline uint8_t *outbuf_reserve(struct outbuf *b, size_t n)
{
    return (size_t)(b->end - b->at) >= n && b->at != NULL ? b->at : outbuf_grow(b, n);
}

static inline void outbuf_advance(struct outbuf *b, uint8_t *end)
{
    if (!b->failed)
        b->at = end;
}

void outbuf_append(struct outbuf *b, const void *p, size_t n);

/* Room for n bytes, which the caller, who holds the only reference, fills in; NULL if memory ran out. */
struct outbuf_shared *outbuf_shared_new(size_t n);
void outbuf_shared_unref(struct outbuf_shared *s); /* NULL is fine */

/* Appends the bytes: a short message is copied, of a longer one (OUTBUF_SHARE_MIN) the buffer takes a reference of its own. */
enum { OUTBUF_SHARE_MIN = 512 };
void outbuf_share(struct outbuf *b, struct outbuf_shared *s);

/* What was to be appended could not be made: from now on as if memory had run out here. */
void outbuf_fail(struct outbuf *b);

/* Moves everything in `from`, from which nothing has been sent, behind the end of `b`, without copying if it is
 * much. */
void outbuf_move(struct outbuf *b, struct outbuf *from);

/* Position behind the last byte. */
static inline uint64_t outbuf_end(const struct outbuf *b)
{
    return b->tail == NULL ? b->base : b->base + (uint64_t)(b->at - b->tail->data);
}

/* Bytes not yet sent. */
static inline uint64_t outbuf_size(const struct outbuf *b)
{
    return outbuf_end(b) - b->read_pos;
}

/* Drops everything behind `pos`, which outbuf_end returned once and which has not been sent beyond. */
void outbuf_truncate(struct outbuf *b, uint64_t pos);

/* Points iov at unread bytes below `limit`, at most n_iov pieces; returns how many pieces. */
int outbuf_peek(const struct outbuf *b, uint64_t limit, struct iovec *iov, int n_iov);

/* The n bytes at the head have been sent. */
void outbuf_consume(struct outbuf *b, size_t n);

#endif
