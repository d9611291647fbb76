/* reader.h - the sealed entries of one stream, in order, as one moment saw them.
 *
 * A `struct sealed` is that moment: segments, what has been deleted, the floor. It can be kept for as long as
 * needed and used by any thread: trims, deletes and merges that come later change nothing in it. A reader
 * is a cursor over it. It either may wait for the disk (a worker's) or may not (the engine's): then
 * what is not in memory is noted in `wants`, and ERR_COLD returned. */
#ifndef LOG_READER_H
#define LOG_READER_H
#include "log/blockcache.h"
#include "log/delset.h"
#include "log/view.h"

struct sealed {
    struct view *view;      /* a reference */
    size_t n_segments;      /* those of the view that count, from the first on */
    struct delset *deletes; /* a reference, or NULL */
    uint64_t oid;
    struct id floor; /* what is below is gone; whoever is not interested in it may raise it */
    struct id last;  /* no sealed entry has a larger ID, or none that is of interest has */
};

void sealed_fini(struct sealed *s); /* gives its references back */

/* ---- what is missing in memory ---- */

struct wants_item {
    struct segment *segment; /* a reference */
    struct segment_block at; /* of a block, or */
    uint32_t page;
    bool is_page;
    bool pinned;
};

enum { WANTS_BYTES_MAX = 8 << 20 }; /* in memory, of one command, but for its largest block */

struct wants {
    struct wants_item *items;
    size_t n, cap;
    uint64_t bytes;   /* that what is wanted takes, about */
    uint64_t largest; /* of them, the block that takes most: an entry of any size can be had */
    bool failed;      /* memory ran out: something is missing in the list */
};

void wants_init(struct wants *w);
/* Reads everything that is wanted into the cache and pins it there. For threads that may wait. Errors: as
 * segment_read_*, ERR_TOO_BIG (above WANTS_BYTES_MAX), ERR_NOMEM. */
must_check int wants_load(struct wants *w, struct blockcache *cache, struct block_decoder *decoder,
                          struct err *e);
/* Forgets what was noted last, until the rest takes at most so many bytes or one item is left. Not once they are loaded. */
void wants_trim(struct wants *w, uint64_t bytes);
/* Moves everything to the end of `to`; where there is no memory for that, it is unpinned. `from` is empty then. */
void wants_join(struct wants *to, struct wants *from, struct blockcache *cache);
/* Unpins, and empties the list. */
void wants_fini(struct wants *w, struct blockcache *cache);

/* ---- the cursor ---- */

struct reader {
    const struct sealed *sealed;   /* borrowed */
    struct blockcache *cache;      /* borrowed */
    struct block_decoder *decoder; /* borrowed; NULL: must not wait */
    struct wants *wants;           /* borrowed; may be NULL */
    size_t segment;                /* of the view; sealed->n_segments: at the end */
    struct segment_page *page;     /* a reference, or NULL */
    uint32_t page_no, in_page;
    struct block *block; /* a reference, or NULL */
    const struct block_run *run;
    uint32_t row;
    bool has_dead; /* some rows of the run are deleted */
    bool walks;    /* goes on over index pages: several may be wanted at once */
    int8_t steps;  /* 1, -1: by next, prev to where it is: blocks ahead may be wanted; else 0 */
};

/* With `decoder` it may wait for the disk; without, what is missing goes to `wants`. */
void reader_init(struct reader *r, const struct sealed *s, struct blockcache *cache,
                 struct block_decoder *decoder, struct wants *wants);
void reader_fini(struct reader *r);

/* Errors of all these: ERR_COLD; ERR_CORRUPT, ERR_IO (file and offset in the text); ERR_NOMEM. Only live
 * entries are ever seen: at or above the floor, not deleted. After an error the reader is at no entry.
 *
 * What a call reads, if it is not in memory: a seek, for each segment that may have the stream from the place on
 * (usually one, else those that the filter does not rule out), an index page, and one or two blocks in all; a step,
 * a block at the end of each, an index page each 300 blocks; and the blocks in which everything is deleted. Where a
 * step misses a block, as many blocks behind it are wanted as there are already, so that a command that begins anew each time
 * has all of 8 MiB in some ten rounds. */
must_check int reader_seek(struct reader *r, struct id id, struct err *e);      /* first >= id */
must_check int reader_seek_back(struct reader *r, struct id id, struct err *e); /* last <= id */
/* The same of the stream of changes by LSN, which is the seq of its IDs: the first whose LSN >= lsn. Reads an index page
 * and a block of the segment that stands for it; more only if it is not there. */
must_check int reader_seek_lsn(struct reader *r, uint64_t lsn, struct err *e);
must_check int reader_next(struct reader *r, struct err *e);
must_check int reader_prev(struct reader *r, struct err *e);
/* The entry that it is at, NULL if none (the end, either way); valid until the reader moves. */
const uint8_t *reader_at(const struct reader *r, size_t *len);

/* How many live entries lie in [from, to], at most `max`, and the bytes of those counted (as rows). Blocks of the stream
 * alone that lie wholly within and have no deleted entry are not read: only their index pages are, one for about
 * 10 MiB of entries. So without a decoder it can be asked for some GiB (WANTS_BYTES_MAX of pages and blocks). The
 * reader is at no entry then. */
must_check int reader_count(struct reader *r, struct id from, struct id to, uint64_t max,
                            uint64_t *n, uint64_t *bytes, struct err *e);

/* Notes in `wants` all blocks that the entries in [from, to] lie in, of at most `max` of them from the front (`back`: from the
 * end), those in memory too, so that they can be pinned together; nothing if all of them are in memory. Stops above
 * WANTS_BYTES_MAX. Never waits. Errors: ERR_COLD (something is missing), ERR_NOMEM. */
must_check int reader_want(struct reader *r, struct id from, struct id to, uint64_t max, bool back,
                           struct err *e);

/* Goes to the live entry that has `n` live ones before it (the end if there are not so many); *bytes are those
 * of the ones before. Reads what reader_count would for those, and the block that it ends in. */
must_check int reader_seek_nth(struct reader *r, uint64_t n, uint64_t *bytes, struct err *e);

/* The largest cut that has at most `n` live entries, at most `bytes`, and only IDs below `below` before it, and is
 * at the start of a block or behind the last sealed entry: *first is the ID there, *cut_n and *cut_bytes what is before
 * it. Reads what reader_count would for those. Nothing to cut: *cut_n = 0. The reader is at no entry then. */
must_check int reader_cut(struct reader *r, uint64_t n, uint64_t bytes, struct id below,
                          struct id *first, uint64_t *cut_n, uint64_t *cut_bytes, struct err *e);

#endif
