/* segment.h - a sealed file: entries clustered by stream, in blocks, with an index; never changed once it
 * is there. Essay and bytes: segment.c; format: docs/format.md.
 *
 *   st-<ordinal>.seg    header, blocks, index pages, streams, filter, trailer
 *
 * An index page describes blocks by the first (oid, id) in each, with the number of rows and of raw
 * bytes; the first key of every page is in memory, the pages are read like blocks. The filter says which
 * streams the file may have (always right when it says no). All of an open segment may be used by any
 * thread. */
#ifndef LOG_SEGMENT_H
#define LOG_SEGMENT_H
#include "log/block.h"
#include "log/err.h"
#include "log/id.h"
#include "log/io.h"
#include "log/wal.h"

enum { SEGMENT_NAME_MAX = 40, SEGMENT_HEADER_BYTES = 4096, SEGMENT_TRAILER_BYTES = 128 };

/* "st-<20 digits>.seg"; with `unfinished`, ".tmp" behind it. */
void segment_name(uint64_t ordinal, bool unfinished, char out[SEGMENT_NAME_MAX]);
bool segment_name_parse(const char *name, uint64_t *ordinal, bool *unfinished);

/* What a segment is; the manifest has the same. */
struct segment_info {
    uint64_t ordinal;             /* never used twice */
    uint64_t lsn_first, lsn_last; /* of the log's records that it stands for, without gaps */
    uint64_t file_bytes;
    uint32_t trailer_crc; /* stands for the whole file's structure */
    uint32_t n_blocks;
    uint64_t n_entries, n_streams;
    uint64_t raw_bytes;           /* of the entries as rows */
    uint64_t oid_first, oid_last; /* 0 and 0 if it has no entry */
    uint64_t max_ms;              /* the highest ms of an ID in it: for retention by age */
    uint8_t level;                /* 0: sealed, then + 1 with each merge */
};

/* ---- writing ---- */

struct segment_writer; /* one thread at a time */

struct segment_options {
    struct io *io;       /* borrowed until the end */
    const char *dir;     /* the same */
    const uint8_t *uuid; /* WAL_UUID_BYTES, of the store */
    uint64_t ordinal, lsn_first, lsn_last;
    uint8_t level;
    uint32_t block_bytes; /* raw; 0: BLOCK_RAW_DEFAULT */
};

/* Begins st-<ordinal>.seg.tmp, replacing a left-over. Errors: ERR_FULL, ERR_IO, ERR_NOMEM. */
must_check int segment_create(const struct segment_options *o, struct segment_writer **out,
                              struct err *e);

/* Adds an entry; (oid, id) ascends. `entry` has to stay where it is until segment_n_pending is 0, as it is after
 * segment_flush (which ends the block being filled) and after an entry of a block's size. A new codec or level
 * begins a new block. Errors: ERR_FULL, ERR_IO, ERR_NOMEM, ERR_TOO_BIG (more than the format can number). */
must_check int segment_put(struct segment_writer *w, uint64_t oid, const uint8_t *entry, size_t len,
                           enum block_codec codec, int level, struct err *e);
must_check int segment_flush(struct segment_writer *w, struct err *e);
/* Entries that the writer still refers to: 0 where it has just ended a block. */
size_t segment_n_pending(const struct segment_writer *w);

/* Adds a block of another segment as it is, all of whose rows are of stream `oid` and lie behind what
 * has been put: `bytes` have been verified. `first` and `last` are its first and last ID. */
must_check int segment_put_block(struct segment_writer *w, uint64_t oid, struct id first,
                                 struct id last, const struct block_head *head, struct slice bytes,
                                 struct err *e);

/* Writes index, streams, filter and trailer and makes all durable, still under the unfinished name.
 * Frees the writer in any case; after a failure the file is removed. Errors: ERR_FULL, ERR_IO,
 * ERR_NOMEM. */
must_check int segment_finish(struct segment_writer *w, struct segment_info *out, struct err *e);
void segment_discard(struct segment_writer *w); /* removes the file; NULL is fine */

/* Gives a finished file its name; the directory's fsync is the caller's. Errors: ERR_FULL, ERR_IO. */
must_check int segment_publish(struct io *io, const char *dir, uint64_t ordinal, struct err *e);

/* ---- reading ---- */

struct segment; /* counted */

/* Opens st-<ordinal>.seg and checks header, trailer and sections (blocks are checked when they are
 * read). `expect` is what the manifest says, NULL: nothing known. Errors: ERR_CORRUPT (file, offset, what
 * is wrong), ERR_FORMAT, ERR_IO, ERR_NOMEM. */
must_check int segment_open(struct io *io, const char *dir, const uint8_t *uuid, uint64_t ordinal,
                            const struct segment_info *expect, struct segment **out, struct err *e);
struct segment *segment_ref(struct segment *s);
void segment_unref(struct segment *s); /* the last one closes the file; NULL is fine */

const struct segment_info *segment_info(const struct segment *s);
const char *segment_path(const struct segment *s);
uint64_t segment_salt(
    const struct segment *s); /* random: with the ordinal, tells it from any other */
size_t segment_memory(const struct segment *s); /* of pages' keys and the filter */

/* Whether it may have entries of the stream. */
bool segment_may_have(const struct segment *s, uint64_t oid);

/* Damage or an I/O error that reading it met: kept until it is closed, for BECK LOG, BECK CHECK and so that it
 * is not rewritten. */
void segment_set_bad(struct segment *s);
bool segment_is_bad(const struct segment *s);

/* An index entry: what one block holds. */
struct segment_block {
    uint32_t block_no;
    uint64_t pos;   /* in the file */
    uint32_t bytes; /* header included */
    uint32_t n;     /* rows */
    uint32_t raw_bytes;
    uint64_t oid;    /* of the first row */
    struct id first; /* ID of the first row */
    struct id last;  /* ID of the last row */
    bool one_stream; /* all rows are of `oid` */
};

/* A decoded index page; counted and cached as blocks are. */
struct segment_page {
    atomic_uint refs;
    size_t memory;
    uint32_t n;
    struct segment_block blocks[];
};
void segment_page_unref(struct segment_page *p);

/* The page that has the last block whose first key is <= (oid, id), the first page if there is none;
 * number of pages. In memory. */
uint32_t segment_find_page(const struct segment *s, uint64_t oid, struct id id);
uint32_t segment_n_pages(const struct segment *s);
/* Key of the first block of a page, and where the page lies in the file. */
void segment_page_key(const struct segment *s, uint32_t page, uint64_t *oid, struct id *first);
uint64_t segment_page_pos(const struct segment *s, uint32_t page);

/* Reads from the file. Errors: ERR_CORRUPT, ERR_IO (file and offset in the text; segment_set_bad is called),
 * ERR_NOMEM. */
must_check int segment_read_page(struct segment *s, uint32_t page, struct segment_page **out,
                                 struct err *e);
must_check int segment_read_block(struct segment *s, struct block_decoder *c,
                                  const struct segment_block *at, struct block **out,
                                  struct err *e);
/* The block's bytes as they are, verified, into `to` (at->bytes of it). */
must_check int segment_read_raw(struct segment *s, const struct segment_block *at, uint8_t *to,
                                struct block_head *head, struct err *e);

/* The streams of a segment in order of oid, without touching blocks. */
struct segment_stream {
    uint64_t oid, n, raw_bytes;
    struct id last; /* its highest ID here */
};
struct segment_streams; /* iterator; one thread */
must_check int segment_streams_open(struct segment *s, struct segment_streams **out, struct err *e);
/* *out is valid until the next call; *more is false at the end. Errors: ERR_CORRUPT, ERR_IO. */
must_check int segment_streams_next(struct segment_streams *it, struct segment_stream *out,
                                    bool *more, struct err *e);
void segment_streams_close(struct segment_streams *it);

/* Reads again what segment_open has read, and checks that it is the same. Errors as segment_open. */
must_check int segment_recheck(struct segment *s, struct err *e);

/* Reads and checks every byte; calls `bad` (may be NULL) for each damaged place and goes on. Errors: ERR_CORRUPT
 * if there was any, with the first one's text; ERR_NOMEM. */
must_check int segment_verify(struct segment *s,
                              void (*bad)(void *ctx, const char *path, uint64_t pos,
                                          const char *what),
                              void *ctx, struct err *e);

#endif
