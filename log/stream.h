/* stream.h - the tail of a stream: an ordered index of pointers to its entries in the log's arena, those that
 * are not in a segment yet.
 *
 * Pointers stand in chunks of at most STREAM_CHUNK, chunks in an array; both are searched by the
 * IDs of the entries themselves, so the index costs 8 bytes an entry. Of a few entries there are just the pointers, in
 * one small piece of memory, which lies among others of its kind: a million of them go with the part of the arena
 * that they point to, and leave no holes. A deleted entry leaves its chunk at once, an empty chunk leaves the array. NULL is
 * the empty index for every function that only looks; whoever takes entries out frees one that has become empty. */
#ifndef LOG_STREAM_H
#define LOG_STREAM_H
#include "log/err.h"
#include "log/id.h"
#include "log/slab.h"

enum { STREAM_CHUNK = 1024 }; /* entries */
enum { STREAM_N_SMALL = 3 };

/* Where small indexes live, for all streams. */
struct stream_memory {
    struct slab small[STREAM_N_SMALL];
};
void stream_memory_init(struct stream_memory *m);
void stream_memory_fini(struct stream_memory *m); /* after the last index was freed */

struct stream_index;

/* A place between or at entries; valid until the index changes. */
struct stream_pos {
    size_t chunk; /* from the index's first one */
    uint32_t i;   /* from the chunk's first one */
};

void stream_index_free(struct stream_index *x); /* NULL is fine */

/* Makes room for n more entries (1..STREAM_CHUNK), so that the next n appends cannot fail; makes the index if *x is NULL.
 * Errors: ERR_NOMEM. */
must_check int stream_index_reserve(struct stream_memory *m, struct stream_index **x, size_t n,
                                    struct err *e);

/* Adds an entry whose ID is larger than all; `entry` stays where it is while the index lives. */
void stream_index_append(struct stream_index *x, const uint8_t *entry);

/* How many entries there are. */
uint64_t stream_index_n(const struct stream_index *x);

/* Removes the entry with exactly this ID; false if there is none. */
bool stream_index_delete(struct stream_index *x, struct id id);

/* Removes all entries below `first`; returns how many. */
uint64_t stream_index_trim(struct stream_index *x, struct id first);

/* Removes the first n entries, n <= stream_index_n, without looking at any: their bytes may be gone. */
void stream_index_drop(struct stream_index *x, uint64_t n);

/* The first entry with an ID >= id (may be the end). */
struct stream_pos stream_index_seek(const struct stream_index *x, struct id id);

/* The same by the IDs' seq: of an index in which these ascend, whatever the ms. */
struct stream_pos stream_index_seek_seq(const struct stream_index *x, uint64_t seq);

/* The positions of the first entry, and behind the last one. */
struct stream_pos stream_index_begin(const struct stream_index *x);
struct stream_pos stream_index_end(const struct stream_index *x);

/* The position of the n-th entry, 0 <= n <= stream_index_n. */
struct stream_pos stream_index_nth(const struct stream_index *x, uint64_t n);

/* The entry at a position, NULL at the end. */
const uint8_t *stream_index_at(const struct stream_index *x, struct stream_pos pos);

/* Moves one entry on or back; stream_index_prev is false at the first entry, with pos unchanged. */
void stream_index_next(const struct stream_index *x, struct stream_pos *pos);
bool stream_index_prev(const struct stream_index *x, struct stream_pos *pos);

/* How many entries lie in [from, to). */
uint64_t stream_index_between(const struct stream_index *x, struct stream_pos from,
                              struct stream_pos to);

/* The same, but at most `max`, and without looking further than that. Zero if from lies behind to. */
uint64_t stream_index_count(const struct stream_index *x, struct stream_pos from,
                            struct stream_pos to, uint64_t max);

/* Bytes that the index itself takes. */
size_t stream_index_bytes(const struct stream_index *x);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *stream_index_check(const struct stream_index *x);

#endif
