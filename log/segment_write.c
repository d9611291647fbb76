/*
 * segment_write.c - making a sealed file. What it looks like: segfile.c.
 *
 * Rows gather until they are a block; blocks gather in a buffer until it is worth a write, front to back, and the file is
 * never read. Index and list of streams gather in memory, since they come behind all blocks: 14 bytes a block and
 * about 8 a stream. The file is synced each 8 MiB, so that a long merge does not leave gigabytes to be written
 * at once, which those who wait for the log's fdatasync would feel.
 *
 * When a block is closed: it has block_bytes, or BLOCK_ROWS_MAX rows; the codec changes; an entry of block_bytes
 * or more comes, which has a block of its own; or a stream ends that has filled at least half of it alone. Small
 * streams share blocks, a long one has nearly only blocks of its own: those can be counted by the index alone
 * and copied by a merge as they are.
 *
 *   W1  Keys ascend over rows and blocks.
 *   W2  pos is where the buffer's first byte goes; what is before is written.
 *   W3  The rows being gathered are fewer bytes than block_bytes, or none.
 */
#include "log/segment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "log/bug.h"
#include "log/crc32c.h"
#include "log/cursor.h"
#include "log/entry.h"
#include "log/segfile.h"

enum {
    SEGMENT_BUFFER_BYTES = 256 << 10,
    SEGMENT_SYNC_BYTES = 8 << 20,
    SEGMENT_ROWS_FIRST = 1024,
};

struct segment_writer {
    struct io *io; /* borrowed */
    int fd;
    char *path; /* under its unfinished name */
    struct segfile_header head;
    uint32_t seed, header_crc, block_bytes;
    uint64_t pos, synced; /* of the file: W2; up to where it is synced */
    uint8_t *buffer;
    size_t n_buffer;

    struct block_encoder *encoder;
    struct block_row *rows; /* of the block being filled */
    size_t n_rows, cap_rows;
    size_t raw; /* bytes of theirs */
    struct id first;
    enum block_codec codec;
    int level;

    uint64_t last_oid; /* W1: of the last row, in whatever block */
    struct id last;
    bool any;

    struct segfile_pages index, list;
    struct segment_block last_block;
    struct segment_stream stream, last_stream; /* the one that grows; the one before */
    uint8_t *keys;
    size_t n_keys, cap_keys; /* bytes */
    struct segfile_trailer tail;
};

/* ---- the file ---- */

/* Lack of space, and of anything else that comes back by itself, is ERR_FULL. */
static int segment_fail_sys(const char *path, const char *what, struct err *e)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return err_sys(e, ERR_FULL, "%s: %s", path, what);
    default: return err_sys(e, ERR_IO, "%s: %s", path, what);
    }
}

static int segment_sync(struct segment_writer *w, struct err *e)
{
    if (!BUG(BUG_SEGMENT_NOT_SYNCED) && w->io->fdatasync(w->io, w->fd) != 0)
        return segment_fail_sys(w->path, "syncing it", e);
    w->synced = w->pos;
    return OK;
}

/* Writes what the buffer has, and `more` behind it. */
static int segment_write(struct segment_writer *w, struct slice more, struct err *e)
{
    struct iovec iov[2] = { { w->buffer, w->n_buffer }, { (void *)(uintptr_t)more.p, more.n } };
    int n = more.n > 0 ? 2 : 1;
    int rc;

    if (w->n_buffer + more.n == 0)
        return OK;
    rc = w->n_buffer > 0 ? cursor_put(w->io, w->fd, w->path, iov, n, w->pos, e)
                         : cursor_put(w->io, w->fd, w->path, iov + 1, 1, w->pos, e);
    if (rc != OK)
        return rc;
    w->pos += w->n_buffer + more.n;
    w->n_buffer = 0;
    return w->pos - w->synced >= SEGMENT_SYNC_BYTES ? segment_sync(w, e) : OK;
}

static int segment_add(struct segment_writer *w, struct slice bytes, struct err *e)
{
    if (bytes.n >= SEGMENT_BUFFER_BYTES - w->n_buffer)
        return segment_write(w, bytes, e);
    if (bytes.n == 0)
        return OK;
    memcpy(w->buffer + w->n_buffer, bytes.p, bytes.n);
    w->n_buffer += bytes.n;
    return OK;
}

static uint64_t segment_end(const struct segment_writer *w)
{
    return w->pos + w->n_buffer;
}

static int segment_begin_file(struct segment_writer *w, struct err *e)
{
    uint8_t *header;
    uint8_t salt[8];
    int rc;

    if (w->io->random(w->io, salt, sizeof salt) != 0)
        return err_sys(e, ERR_IO, "%s: no randomness for it", w->path);
    w->head.salt = get_u64le(salt);
    w->seed = wal_seed(w->head.salt);
    if (w->io->unlink(w->io, w->path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing a left-over", w->path);
    w->fd = w->io->open(w->io, w->path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (w->fd < 0)
        return segment_fail_sys(w->path, "creating it", e);
    header = malloc(SEGMENT_HEADER_BYTES);
    if (header == NULL)
        return err_set(e, ERR_NOMEM, "no memory to write %s", w->path);
    w->header_crc = segfile_header_put(header, &w->head);
    rc = segment_add(w, slice_of(header, SEGMENT_HEADER_BYTES), e);
    free(header);
    return rc;
}

int segment_create(const struct segment_options *o, struct segment_writer **out, struct err *e)
{
    struct segment_writer *w = calloc(1, sizeof *w);
    int rc;

    if (w == NULL)
        return err_set(e, ERR_NOMEM, "no memory to write a segment");
    w->io = o->io;
    w->fd = -1;
    w->block_bytes = o->block_bytes != 0 ? o->block_bytes : BLOCK_RAW_DEFAULT;
    w->head = (struct segfile_header){
        .ordinal = o->ordinal, .lsn_first = o->lsn_first, .lsn_last = o->lsn_last, .level = o->level
    };
    memcpy(w->head.uuid, o->uuid, WAL_UUID_BYTES);
    w->path = segfile_path(o->dir, o->ordinal, true);
    w->buffer = malloc(SEGMENT_BUFFER_BYTES);
    w->encoder = block_encoder_new();
    w->rows = malloc(SEGMENT_ROWS_FIRST * sizeof *w->rows);
    w->cap_rows = SEGMENT_ROWS_FIRST;
    if (w->path == NULL || w->buffer == NULL || w->encoder == NULL || w->rows == NULL)
        rc = err_set(e, ERR_NOMEM, "no memory to write a segment");
    else
        rc = segment_begin_file(w, e);
    if (rc != OK) {
        segment_discard(w);
        return rc;
    }
    *out = w;
    return OK;
}

static void segment_writer_free(struct segment_writer *w)
{
    if (w->fd >= 0)
        w->io->close(w->io, w->fd);
    block_encoder_free(w->encoder);
    free(w->path);
    free(w->buffer);
    free(w->rows);
    free(w->index.p);
    free(w->list.p);
    free(w->keys);
    free(w);
}

void segment_discard(struct segment_writer *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0)
        w->io->unlink(w->io, w->path); /* one that stays is removed at the next start */
    segment_writer_free(w);
}

/* ---- index and list of streams ---- */

static int segment_add_key(struct segment_writer *w, const struct segment_block *b, struct err *e)
{
    uint8_t *p;

    if (w->cap_keys - w->n_keys < SEGFILE_KEY_BYTES) {
        size_t cap = w->cap_keys == 0 ? 16 * (size_t)SEGFILE_KEY_BYTES : 2 * w->cap_keys;
        p = realloc(w->keys, cap);
        if (p == NULL)
            return err_set(e, ERR_NOMEM, "no memory for the index of %s", w->path);
        w->keys = p;
        w->cap_keys = cap;
    }
    p = w->keys + w->n_keys;
    put_u64le(p, b->oid);
    put_u64le(p + 8, b->first.ms);
    put_u64le(p + 16, b->first.seq);
    put_u64le(p + 24, w->index.open); /* within the index, whose place is not known yet */
    w->n_keys += SEGFILE_KEY_BYTES;
    return OK;
}

/* Adds a block to file and index. */
static int segment_add_block(struct segment_writer *w, struct segment_block *b, struct slice bytes,
                             struct err *e)
{
    bool began;
    int rc;

    if (w->tail.n_blocks == UINT32_MAX)
        return err_set(e, ERR_TOO_BIG, "%s: too many blocks for one segment", w->path);
    b->block_no = w->tail.n_blocks;
    b->pos = segment_end(w);
    b->bytes = (uint32_t)bytes.n;
    rc = segfile_pages_room(&w->index, SEGFILE_INDEX, w->seed, b->block_no, b->pos, &began, e);
    if (rc == OK && began)
        rc = segment_add_key(w, b, e);
    if (rc == OK)
        rc = segment_add(w, bytes, e);
    if (rc != OK)
        return rc;
    segfile_put_block(&w->index, began ? NULL : &w->last_block, b);
    w->last_block = *b;
    w->tail.n_blocks++;
    w->tail.n_entries += b->n;
    w->tail.raw_bytes += b->raw_bytes;
    return OK;
}

/* The stream that grew is complete. */
static int segment_end_stream(struct segment_writer *w, struct err *e)
{
    bool began;
    int rc = segfile_pages_room(&w->list, SEGFILE_STREAMS, w->seed, 0, 0, &began, e);

    if (rc != OK)
        return rc;
    segfile_put_stream(&w->list, began ? NULL : &w->last_stream, &w->stream);
    w->last_stream = w->stream;
    w->tail.n_streams++;
    if (w->stream.last.ms > w->tail.max_ms)
        w->tail.max_ms = w->stream.last.ms;
    return OK;
}

/* Rows of a stream come, up to `last`; the first of them is `first`. */
static int segment_count_rows(struct segment_writer *w, uint64_t oid, struct id first,
                              struct id last, uint64_t n, uint64_t raw_bytes, struct err *e)
{
    assert(!w->any || oid > w->last_oid ||
           (oid == w->last_oid && id_cmp(first, w->last) > 0)); /* W1 */
    if (w->any && oid != w->last_oid) {
        int rc = segment_end_stream(w, e);
        if (rc != OK)
            return rc;
    }
    if (!w->any || oid != w->last_oid)
        w->stream = (struct segment_stream){ .oid = oid };
    if (!w->any)
        w->tail.oid_first = oid;
    w->stream.n += n;
    w->stream.raw_bytes += raw_bytes;
    w->stream.last = last;
    w->last_oid = oid;
    w->last = last;
    w->any = true;
    return OK;
}

/* ---- rows and blocks ---- */

size_t segment_n_pending(const struct segment_writer *w)
{
    return w->n_rows;
}

int segment_flush(struct segment_writer *w, struct err *e)
{
    struct segment_block b;
    struct slice bytes = { NULL, 0 };
    int rc;

    if (w->n_rows == 0)
        return OK;
    rc = block_encode(w->encoder, w->rows, w->n_rows, w->codec, w->level, &bytes, e);
    if (rc != OK)
        return rc;
    /* The encoder's own bytes, borrowed until its next call: they may be stamped in place. */
    block_stamp((uint8_t *)(uintptr_t)bytes.p, bytes.n, w->head.salt, w->tail.n_blocks);
    b = (struct segment_block){ .n = (uint32_t)w->n_rows,
                                .raw_bytes = (uint32_t)w->raw,
                                .oid = w->rows[0].oid,
                                .first = w->first,
                                .last = w->last,
                                .one_stream = w->rows[0].oid == w->last_oid };
    w->n_rows = 0;
    w->raw = 0;
    return segment_add_block(w, &b, bytes, e);
}

/* Whether the block being filled ends before such a row. */
static bool segment_ends_before(const struct segment_writer *w, uint64_t oid, size_t len,
                                enum block_codec codec, int level)
{
    if (w->n_rows == 0)
        return false;
    if (codec != w->codec || level != w->level || len >= w->block_bytes)
        return true;
    return oid != w->last_oid && w->rows[0].oid == w->last_oid && w->raw >= w->block_bytes / 2;
}

static int segment_reserve_row(struct segment_writer *w, struct err *e)
{
    struct block_row *rows;

    if (w->n_rows < w->cap_rows)
        return OK;
    rows = realloc(w->rows, 2 * w->cap_rows * sizeof *rows);
    if (rows == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a block of %s", w->path);
    w->rows = rows;
    w->cap_rows *= 2;
    return OK;
}

int segment_put(struct segment_writer *w, uint64_t oid, const uint8_t *entry, size_t len,
                enum block_codec codec, int level, struct err *e)
{
    struct id id;
    int rc = OK;

    if (segment_ends_before(w, oid, len, codec, level))
        rc = segment_flush(w, e);
    if (rc == OK)
        rc = segment_reserve_row(w, e);
    if (rc != OK)
        return rc;
    entry_id(entry, &id);
    rc = segment_count_rows(w, oid, id, id, 1, len, e);
    if (rc != OK)
        return rc;
    if (w->n_rows == 0) {
        w->first = id;
        w->codec = codec;
        w->level = level;
    }
    w->rows[w->n_rows++] = (struct block_row){ .oid = oid, .entry = entry, .len = len };
    w->raw += len;
    if (w->raw >= w->block_bytes || w->n_rows == BLOCK_ROWS_MAX)
        rc = segment_flush(w, e);
    assert(rc != OK || w->raw < w->block_bytes); /* W3 */
    return rc;
}

int segment_put_block(struct segment_writer *w, uint64_t oid, struct id first, struct id last,
                      const struct block_head *head, struct slice bytes, struct err *e)
{
    struct segment_block b = { .n = head->n,
                               .raw_bytes = head->raw_bytes,
                               .oid = oid,
                               .first = first,
                               .last = last,
                               .one_stream = true };
    uint8_t *copy;
    int rc = segment_flush(w, e);

    if (rc == OK)
        rc = segment_count_rows(w, oid, first, last, head->n, head->raw_bytes, e);
    if (rc != OK)
        return rc;
    copy = malloc(bytes.n);
    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a block of %s", w->path);
    memcpy(copy, bytes.p, bytes.n);
    block_stamp(copy, bytes.n, w->head.salt, w->tail.n_blocks);
    rc = segment_add_block(w, &b, slice_of(copy, bytes.n), e);
    free(copy);
    return rc;
}

/* ---- the end ---- */

static int segment_write_filter(struct segment_writer *w, struct err *e)
{
    uint64_t n = w->tail.n_streams, i = 0;
    size_t bytes = (size_t)segfile_filter_bytes(n);
    uint8_t *filter = calloc(1, bytes > 0 ? bytes : 1);
    const uint8_t *page = w->list.p, *end = page + w->list.n;
    int rc;

    if (filter == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the filter of %s", w->path);
    while (page < end) {
        const uint8_t *p = page + SEGFILE_PAGE_HEADER_BYTES;
        struct segment_stream s = { 0 };

        page += get_u32le(page + 12); /* its bytes */
        for (bool first = true; p < page; first = false, i++) {
            bool whole = segfile_get_stream(&p, page, first, &s, &s);
            assert(whole);
            segfile_filter_add(filter, n, i, s.oid);
        }
    }
    assert(i == n);
    w->tail.filter_pos = segment_end(w);
    w->tail.filter_crc = crc32c(w->seed, filter, bytes);
    rc = segment_add(w, slice_of(filter, bytes), e);
    free(filter);
    return rc;
}

static int segment_write_keys(struct segment_writer *w, struct err *e)
{
    for (size_t at = 0; at < w->n_keys; at += SEGFILE_KEY_BYTES)
        put_u64le(w->keys + at + 24, get_u64le(w->keys + at + 24) + w->tail.index_pos);
    w->tail.keys_pos = segment_end(w);
    w->tail.keys_crc = crc32c(w->seed, w->keys, w->n_keys);
    return segment_add(w, slice_of(w->keys, w->n_keys), e);
}

/* Everything behind the blocks but the trailer. */
static int segment_write_index(struct segment_writer *w, struct err *e)
{
    int rc = w->any ? segment_end_stream(w, e) : OK;

    if (rc != OK)
        return rc;
    segfile_pages_end(&w->index, SEGFILE_INDEX, w->seed);
    segfile_pages_end(&w->list, SEGFILE_STREAMS, w->seed);
    w->tail.n_index_pages = w->index.n_pages;
    w->tail.n_stream_pages = w->list.n_pages;
    w->tail.oid_last = w->last_oid;
    w->tail.header_crc = w->header_crc;
    w->tail.index_pos = segment_end(w);
    rc = segment_add(w, slice_of(w->index.p, w->index.n), e);
    if (rc != OK)
        return rc;
    w->tail.streams_pos = segment_end(w);
    rc = segment_add(w, slice_of(w->list.p, w->list.n), e);
    if (rc == OK)
        rc = segment_write_filter(w, e);
    if (rc == OK)
        rc = segment_write_keys(w, e);
    return rc;
}

static void segment_give_info(const struct segment_writer *w, uint32_t trailer_crc,
                              struct segment_info *out)
{
    *out = (struct segment_info){ .ordinal = w->head.ordinal,
                                  .lsn_first = w->head.lsn_first,
                                  .lsn_last = w->head.lsn_last,
                                  .file_bytes = w->pos,
                                  .trailer_crc = trailer_crc,
                                  .n_blocks = w->tail.n_blocks,
                                  .n_entries = w->tail.n_entries,
                                  .n_streams = w->tail.n_streams,
                                  .raw_bytes = w->tail.raw_bytes,
                                  .oid_first = w->tail.oid_first,
                                  .oid_last = w->tail.oid_last,
                                  .max_ms = w->tail.max_ms,
                                  .level = w->head.level };
}

int segment_finish(struct segment_writer *w, struct segment_info *out, struct err *e)
{
    uint8_t trailer[SEGMENT_TRAILER_BYTES];
    uint32_t crc = 0;
    int rc = segment_flush(w, e);

    if (rc == OK)
        rc = segment_write_index(w, e);
    if (rc == OK) {
        crc = segfile_trailer_put(trailer, w->seed, &w->tail);
        rc = segment_write(w, slice_of(trailer, sizeof trailer), e);
    }
    if (rc == OK)
        rc = segment_sync(w, e);
    if (rc != OK) {
        segment_discard(w);
        return rc;
    }
    segment_give_info(w, crc, out);
    segment_writer_free(w);
    return OK;
}

int segment_publish(struct io *io, const char *dir, uint64_t ordinal, struct err *e)
{
    char *from = segfile_path(dir, ordinal, true), *to = segfile_path(dir, ordinal, false);
    int rc = OK;

    if (from == NULL || to == NULL)
        rc = err_set(e, ERR_NOMEM, "no memory to name a segment");
    else if (io->rename(io, from, to) != 0)
        rc = segment_fail_sys(from, "giving it its name", e);
    free(from);
    free(to);
    return rc;
}
