/* blockcache.h - decoded blocks and index pages in memory, up to a number of bytes.
 *
 * Any thread. What is pinned counts, but is not dropped. A block that is used once, as by a long scan, leaves
 * before those used again (essay: blockcache.c). */
#ifndef LOG_BLOCKCACHE_H
#define LOG_BLOCKCACHE_H
#include "log/segment.h"

struct blockcache;

struct blockcache_stats {
    uint64_t bytes, limit, pinned_bytes, n, hits, misses, evictions;
};

/* Errors: ERR_NOMEM. */
must_check int blockcache_new(uint64_t limit, struct blockcache **out, struct err *e);
void blockcache_free(struct blockcache *c); /* nothing is pinned; NULL is fine */
void blockcache_set_limit(struct blockcache *c, uint64_t limit);

/* The block or page if it is there, with a reference for the caller; NULL if not. */
struct block *blockcache_get_block(struct blockcache *c, const struct segment *s,
                                   uint32_t block_no);
struct segment_page *blockcache_get_page(struct blockcache *c, const struct segment *s,
                                         uint32_t page);

/* From the cache, or from the file and then into the cache. For threads that may wait. Errors as
 * segment_read_*. */
must_check int blockcache_read_block(struct blockcache *c, struct segment *s,
                                     struct block_decoder *decoder, const struct segment_block *at,
                                     struct block **out, struct err *e);
must_check int blockcache_read_page(struct blockcache *c, struct segment *s, uint32_t page,
                                    struct segment_page **out, struct err *e);

/* Keeps what is there from being dropped, until as many unpins. False if it is not there. */
bool blockcache_pin_block(struct blockcache *c, const struct segment *s, uint32_t block_no);
bool blockcache_pin_page(struct blockcache *c, const struct segment *s, uint32_t page);
void blockcache_unpin_block(struct blockcache *c, const struct segment *s, uint32_t block_no);
void blockcache_unpin_page(struct blockcache *c, const struct segment *s, uint32_t page);

/* Both at once, without a moment in between in which it could be dropped: from the file if need be, and pinned. For
 * threads that may wait. Errors as segment_read_*. */
must_check int blockcache_load_block(struct blockcache *c, struct segment *s,
                                     struct block_decoder *decoder, const struct segment_block *at,
                                     struct err *e);
must_check int blockcache_load_page(struct blockcache *c, struct segment *s, uint32_t page,
                                    struct err *e);

/* Forgets everything of a segment that is gone, or of all segments (s == NULL), but what is pinned. */
void blockcache_forget(struct blockcache *c, const struct segment *s);

void blockcache_get_stats(struct blockcache *c, struct blockcache_stats *out);

#endif
