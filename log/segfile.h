/* segfile.h - how a segment's file is laid out around its blocks: header, pages of the index and of
 * the list of streams, filter, trailer. Essay: segfile.c; format: docs/format.md.
 *
 * Encoding and checking only; nothing here reads or writes a file. */
#ifndef LOG_SEGFILE_H
#define LOG_SEGFILE_H
#include "log/segment.h"

enum {
    SEGFILE_VERSION = 1,
    SEGFILE_PAGE_BYTES = 4096, /* of a page, at most */
    SEGFILE_PAGE_HEADER_BYTES = 32,
    SEGFILE_KEY_BYTES = 32,   /* of the key of an index page */
    SEGFILE_EXACT_MAX = 64,   /* with no more streams, the filter is the list of them */
    SEGFILE_FILTER_LINE = 64, /* bytes of the filter that stand for one stream */
};

/* "dir/st-<ordinal>.seg", malloc'ed; NULL if memory ran out. */
char *segfile_path(const char *dir, uint64_t ordinal, bool unfinished);

/* ---- header and trailer ---- */

struct segfile_header {
    uint8_t uuid[WAL_UUID_BYTES];
    uint64_t ordinal, lsn_first, lsn_last, salt;
    uint8_t level;
};

/* Writes SEGMENT_HEADER_BYTES at p; returns their checksum. */
uint32_t segfile_header_put(uint8_t *p, const struct segfile_header *h);
/* Errors: ERR_CORRUPT, ERR_FORMAT (what is wrong). */
must_check int segfile_header_get(const uint8_t *p, struct segfile_header *out, uint32_t *crc,
                                  struct err *e);

struct segfile_trailer {
    uint32_t n_blocks, n_index_pages, n_stream_pages;
    uint64_t index_pos, streams_pos, filter_pos,
        keys_pos; /* each section ends where the next begins */
    uint64_t n_entries, n_streams, raw_bytes, oid_first, oid_last, max_ms;
    uint32_t header_crc, filter_crc, keys_crc;
};

/* Writes SEGMENT_TRAILER_BYTES at p; returns their checksum. `seed` is wal_seed of the file's salt. */
uint32_t segfile_trailer_put(uint8_t *p, uint32_t seed, const struct segfile_trailer *t);
/* Checks everything that can be checked for a file of `file_bytes`. Errors: ERR_CORRUPT, ERR_FORMAT. */
must_check int segfile_trailer_get(const uint8_t *p, uint32_t seed, uint64_t file_bytes,
                                   struct segfile_trailer *out, uint32_t *crc, struct err *e);

/* ---- pages ---- */

enum segfile_kind { SEGFILE_INDEX, SEGFILE_STREAMS };

struct segfile_page {
    uint32_t no, bytes, n; /* its number, its size with the header, items in it */
    uint32_t first_block;  /* of an index page */
    uint64_t first_pos;
};

/* Pages being made, one after the other, in memory. */
struct segfile_pages {
    uint8_t *p; /* malloc'ed; the caller frees it */
    size_t n, cap;
    size_t open;    /* where the page begins that is being filled; == n: none is */
    uint32_t items; /* in it */
    uint32_t n_pages;
};

/* Makes sure that a page is open in which the next item has room; *began: it is a new one. `block_no` and `pos`
 * are the next block's; 0 in a list of streams. Errors: ERR_NOMEM. */
must_check int segfile_pages_room(struct segfile_pages *b, enum segfile_kind kind, uint32_t seed,
                                  uint32_t block_no, uint64_t pos, bool *began, struct err *e);
/* Adds one; `prev` is the item before it in the same page, NULL for a page's first. */
void segfile_put_block(struct segfile_pages *b, const struct segment_block *prev,
                       const struct segment_block *block);
void segfile_put_stream(struct segfile_pages *b, const struct segment_stream *prev,
                        const struct segment_stream *s);
/* Closes the open page, if any. */
void segfile_pages_end(struct segfile_pages *b, enum segfile_kind kind, uint32_t seed);

/* Checks the page at the start of the `n` bytes at p. Errors: ERR_CORRUPT. */
must_check int segfile_page_get(const uint8_t *p, size_t n, enum segfile_kind kind, uint32_t seed,
                                uint32_t no, struct segfile_page *out, struct err *e);
/* Reads the next item, where *prev holds the one before it (`first`: there is none), and moves *p behind it. False
 * if it is not one, or not in order. Of a block, block_no and pos are not set. */
bool segfile_get_block(const uint8_t **p, const uint8_t *end, bool first,
                       const struct segment_block *prev, struct segment_block *out);
bool segfile_get_stream(const uint8_t **p, const uint8_t *end, bool first,
                        const struct segment_stream *prev, struct segment_stream *out);

/* ---- filter ---- */

/* How many bytes it has for so many streams; UINT64_MAX: that many cannot be. */
uint64_t segfile_filter_bytes(uint64_t n_streams);
/* Adds the i-th of n_streams, in order of oid. */
void segfile_filter_add(uint8_t *filter, uint64_t n_streams, uint64_t i, uint64_t oid);
bool segfile_filter_has(const uint8_t *filter, uint64_t n_streams, uint64_t oid);

#endif
