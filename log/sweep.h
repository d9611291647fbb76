/* sweep.h - one pass over a segment in the order of its streams, for whoever rewrites or measures it.
 *
 * Reads past the block cache, each page and block once if it is asked for streams in order. One thread at a time. */
#ifndef LOG_SWEEP_H
#define LOG_SWEEP_H
#include "log/segment.h"

struct sweep {
    struct segment *segment;       /* a reference */
    struct block_decoder *decoder; /* borrowed */
    struct segment_page *page;     /* page_no of the index, or NULL */
    uint32_t page_no, in_page;
    struct block *block; /* of the item in_page, or NULL */
    uint64_t bytes_read; /* so far */
};

void sweep_init(struct sweep *s, struct segment *segment, struct block_decoder *decoder);
void sweep_fini(struct sweep *s);

/* Goes to the first item of the index that may have entries of the stream at or above `id`; *more is false if
 * there is none. sweep_next goes to the one behind it. Errors of these: ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
must_check int sweep_seek(struct sweep *s, uint64_t oid, struct id id, bool *more, struct err *e);
must_check int sweep_next(struct sweep *s, uint64_t oid, bool *more, struct err *e);
/* Has s->block be that of the item. */
must_check int sweep_load(struct sweep *s, struct err *e);

static inline const struct segment_block *sweep_item(const struct sweep *s)
{
    return &s->page->blocks[s->in_page];
}

/* Whether all rows of the item are the stream's. */
static inline bool sweep_is_own(const struct sweep *s, uint64_t oid)
{
    return sweep_item(s)->one_stream && sweep_item(s)->oid == oid;
}

/* Says that the segment contradicts itself at the item, and marks it as bad. */
int sweep_damage(struct sweep *s, const char *what, struct err *e);

#endif
