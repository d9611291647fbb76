/*
 * rescue.c - reads a segment without believing that it is whole.
 *
 * segment.c needs header, trailer and keys before it looks at a block. Here everything is found by itself: each block, and
 * each page of the index, has a checksum that is salted and has its number in it, so whatever passes is what
 * was written there.
 *
 *   1  The salt is where the header has it, whether the header's checksum is right or not: if the salt is lost, nothing passes, and
 *      all is lost.
 *   2  Pages of the index are looked for in the whole file, by their magic. They tell where blocks are, and what is in them.
 *   3  Blocks are taken in their order: those that the index tells, and, where a page of it is lost, one behind the other from
 *      the last one known, as long as they follow.
 *   4  What passes is written to a new segment, block by block. What does not is told: by the keys that the index has for it
 *      or, without them, as what lies between its neighbours.
 *
 * A sector that the disk does not give back is a damaged block like any other.
 */
#include "log/rescue.h"

#include <errno.h>
#include <stdlib.h>
#include "log/entry.h"
#include "log/segfile.h"

enum {
    RESCUE_WINDOW = 256 << 10,
    RESCUE_SALT_AT = 64, /* in the header */
};

struct rescue_file {
    struct rescue *r;
    int fd;
    uint64_t bytes; /* of the file */
    uint64_t salt;
    uint64_t index_pos;           /* of the first page that was found; the file's end if none */
    struct segment_block *places; /* what the index tells, in order */
    size_t n, cap;
    struct segment_writer *writer;
    struct block_decoder *decoder;
    uint8_t *buffer;
    size_t cap_buffer;
    bool any; /* something has been put: up to this key */
    uint64_t oid;
    struct id last;
};

/* Reads n bytes; *whole is false if the file ends before, or the disk does not give them back. */
static int rescue_read(struct rescue_file *f, uint64_t pos, size_t n, bool *whole, struct err *e)
{
    size_t have = 0;

    *whole = false;
    if (n > f->cap_buffer) {
        uint8_t *p = realloc(f->buffer, n);
        if (p == NULL)
            return err_set(e, ERR_NOMEM, "no memory for a block of %zu bytes", n);
        f->buffer = p;
        f->cap_buffer = n;
    }
    while (have < n) {
        ssize_t got = f->r->io->pread(f->r->io, f->fd, f->buffer + have, n - have, pos + have);
        if (got <= 0)
            return OK;
        have += (size_t)got;
    }
    *whole = true;
    return OK;
}

/* ---- the index ---- */

static int rescue_add_place(struct rescue_file *f, const struct segment_block *b, struct err *e)
{
    if (f->n == f->cap) {
        size_t cap = f->cap == 0 ? 256 : 2 * f->cap;
        struct segment_block *places = realloc(f->places, cap * sizeof *places);
        if (places == NULL)
            return err_set(e, ERR_NOMEM, "no memory for the index of a segment");
        f->places = places;
        f->cap = cap;
    }
    f->places[f->n++] = *b;
    return OK;
}

/* Takes over the items of a sound page that is in f->buffer, if they follow what is there. */
static int rescue_take_page(struct rescue_file *f, const struct segfile_page *page, struct err *e)
{
    const uint8_t *p = f->buffer + SEGFILE_PAGE_HEADER_BYTES, *end = f->buffer + page->bytes;
    struct segment_block b, before = { 0 };
    uint64_t pos = page->first_pos;
    uint32_t no = page->first_block;

    for (uint32_t i = 0; i < page->n; i++, before = b) {
        const struct segment_block *last = f->n > 0 ? &f->places[f->n - 1] : NULL;
        int rc;
        if (!segfile_get_block(&p, end, i == 0, &before, &b) || pos < SEGMENT_HEADER_BYTES ||
            pos > f->bytes || b.bytes > f->bytes - pos ||
            (last != NULL && (no <= last->block_no || pos < last->pos + last->bytes)))
            return OK;
        b.block_no = no++;
        b.pos = pos;
        pos += b.bytes;
        rc = rescue_add_place(f, &b, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* Whether a page of the index is at `pos`; then its places are taken. */
static int rescue_try_page(struct rescue_file *f, uint64_t pos, struct err *e)
{
    uint64_t left = f->bytes - pos;
    size_t n = left < SEGFILE_PAGE_BYTES ? (size_t)left : SEGFILE_PAGE_BYTES;
    struct segfile_page page;
    bool whole;
    int rc = n < SEGFILE_PAGE_HEADER_BYTES ? OK : rescue_read(f, pos, n, &whole, e);

    if (rc != OK || n < SEGFILE_PAGE_HEADER_BYTES || !whole ||
        segfile_page_get(f->buffer, n, SEGFILE_INDEX, wal_seed(f->salt), get_u32le(f->buffer + 8),
                         &page, NULL) != OK)
        return rc;
    if (pos < f->index_pos)
        f->index_pos = pos;
    return rescue_take_page(f, &page, e);
}

/* Looks for pages in the whole file. */
static int rescue_find_index(struct rescue_file *f, struct err *e)
{
    static const char magic[4] = { 'B', 'I', 'X', '1' };
    uint8_t *window = malloc(RESCUE_WINDOW);
    int rc = window == NULL ? err_set(e, ERR_NOMEM, "no memory to read a segment") : OK;

    for (uint64_t pos = SEGMENT_HEADER_BYTES; rc == OK && pos < f->bytes;) {
        ssize_t got = f->r->io->pread(f->r->io, f->fd, window, RESCUE_WINDOW, pos);
        const uint8_t *at = window, *end = window + (got > 0 ? got : 0);
        if (got <= 0) {
            pos += SEGFILE_PAGE_BYTES; /* a sector that cannot be read */
            continue;
        }
        while (rc == OK && (at = memmem(at, (size_t)(end - at), magic, sizeof magic)) != NULL)
            rc = rescue_try_page(f, pos + (uint64_t)(at++ - window), e);
        if (got < (ssize_t)sizeof magic)
            break;
        pos += (uint64_t)got - (sizeof magic - 1); /* one may begin before the next window does */
    }
    free(window);
    return rc;
}

/* ---- blocks ---- */

/* Nothing can be read between the last key and `next`, or what the index says of the block at `place`. */
static void rescue_lose(struct rescue_file *f, uint64_t pos, const struct segment_block *place,
                        const struct segment_block *next)
{
    const struct segment_info *info = f->r->info;
    struct rescue_lost l = {
        .pos = pos, .oid_from = info->oid_first, .oid_to = info->oid_last, .to = ID_MAX
    };

    if (f->any) {
        l.oid_from = f->oid;
        l.from = f->last;
        if (!id_next(&l.from))
            l.from = ID_MAX;
    }
    if (next != NULL) {
        l.oid_to = next->oid;
        l.to = next->first;
        if (!id_prev(&l.to))
            l.to = ID_MIN;
    }
    if (place != NULL) {
        l.oid_from = place->oid;
        l.from = place->first;
        l.n = place->n;
        if (place->one_stream || next == NULL)
            l.oid_to = place->one_stream ? place->oid : info->oid_last;
        l.to = place->one_stream ? place->last : l.to;
    }
    f->r->n_lost++;
    if (f->r->lost != NULL)
        f->r->lost(f->r->ctx, &l);
}

static int rescue_put(struct rescue_file *f, const struct block *b, enum block_codec codec,
                      struct err *e)
{
    int rc = OK;

    for (uint32_t i = 0; i < b->n_runs && rc == OK; i++) {
        const struct block_run *run = &b->runs[i];
        for (uint32_t row = run->first; row < run->first + run->n && rc == OK; row++)
            rc = segment_put(f->writer, run->oid, block_entry(b, row),
                             b->offsets[row + 1] - b->offsets[row], codec, 0, e);
    }
    if (rc == OK)
        rc = segment_flush(f->writer, e);
    f->any = true;
    f->oid = b->runs[b->n_runs - 1].oid;
    entry_id(block_entry(b, b->n - 1), &f->last);
    return rc;
}

/* Whether the block's first row is behind everything that has been put. */
static bool rescue_follows(const struct rescue_file *f, const struct block *b)
{
    struct id first;

    entry_id(block_entry(b, 0), &first);
    return !f->any || b->runs[0].oid > f->oid ||
           (b->runs[0].oid == f->oid && id_cmp(first, f->last) > 0);
}

/* Puts the block of `n` bytes at `pos`, if it is sound. */
static int rescue_block(struct rescue_file *f, uint64_t pos, size_t n, uint32_t no, bool *sound,
                        struct err *e)
{
    struct block_head head;
    struct block *b = NULL;
    struct err why;
    int rc = rescue_read(f, pos, n, sound, e);

    if (rc != OK || !*sound)
        return rc;
    *sound = block_verify(f->buffer, n, f->salt, no, &head, NULL) == OK;
    if (!*sound)
        return OK;
    rc = block_decode(f->decoder, f->buffer, n, f->salt, no, &b, &why);
    if (rc == ERR_NOMEM) {
        *e = why;
        return rc;
    }
    *sound = rc == OK && rescue_follows(f, b);
    rc = *sound ? rescue_put(f, b, head.codec, e) : OK;
    block_unref(b);
    return rc;
}

/* Blocks that no index tells, one behind the other from number `no` at `pos` on, up to `end`, where number n_before_end has
 * to be (`next`, or nothing). */
static int rescue_walk(struct rescue_file *f, uint64_t pos, uint64_t end, uint32_t no,
                       uint32_t n_before_end, const struct segment_block *next, struct err *e)
{
    bool sound = true;

    while (pos < end && sound) {
        size_t n = BLOCK_HEADER_BYTES;
        int rc = end - pos < n ? OK : rescue_read(f, pos, n, &sound, e);
        if (rc != OK)
            return rc;
        if (end - pos < n || !sound)
            break;
        n += get_u32le(f->buffer + 4);
        if (n > end - pos)
            break;
        rc = rescue_block(f, pos, n, no++, &sound, e);
        if (rc != OK)
            return rc;
        pos += sound ? n : 0;
    }
    if (pos < end || no < n_before_end) /* the file may have lost its end just between two blocks */
        rescue_lose(f, pos, NULL, next);
    return OK;
}

static int rescue_blocks(struct rescue_file *f, struct err *e)
{
    uint64_t pos = SEGMENT_HEADER_BYTES;
    uint32_t no = 0;
    int rc = OK;

    for (size_t i = 0; i < f->n && rc == OK; i++) {
        const struct segment_block *b = &f->places[i];
        bool sound = true;
        rc = rescue_walk(f, pos, b->pos, no, b->block_no, b, e);
        if (rc == OK)
            rc = rescue_block(f, b->pos, b->bytes, b->block_no, &sound, e);
        if (rc == OK && !sound)
            rescue_lose(f, b->pos, b, i + 1 < f->n ? b + 1 : NULL);
        pos = b->pos + b->bytes;
        no = b->block_no + 1;
    }
    return rc == OK ? rescue_walk(f, pos, f->index_pos, no, f->r->info->n_blocks, NULL, e) : rc;
}

/* ---- the whole ---- */

/* Where blocks end when no page of the index was found: as the trailer says, if that is sound. */
static int rescue_find_end(struct rescue_file *f, struct err *e)
{
    struct segfile_trailer tail;
    uint32_t crc;
    bool whole;
    int rc;

    if (f->bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES)
        return OK;
    rc = rescue_read(f, f->bytes - SEGMENT_TRAILER_BYTES, SEGMENT_TRAILER_BYTES, &whole, e);
    if (rc == OK && whole &&
        segfile_trailer_get(f->buffer, wal_seed(f->salt), f->bytes, &tail, &crc, NULL) == OK)
        f->index_pos = tail.index_pos;
    return rc;
}

static int rescue_copy(struct rescue_file *f, struct err *e)
{
    bool whole;
    int rc = rescue_read(f, RESCUE_SALT_AT, 8, &whole, e);

    if (rc != OK)
        return rc;
    f->salt = whole ? get_u64le(f->buffer) : 0;
    f->index_pos = f->bytes;
    rc = rescue_find_end(f, e);
    if (rc == OK)
        rc = rescue_find_index(f, e);
    if (rc == OK)
        rc = rescue_blocks(f, e);
    return rc;
}

static int rescue_open(struct rescue_file *f, struct err *e)
{
    struct rescue *r = f->r;
    struct segment_options o = { .io = r->io,
                                 .dir = r->dir,
                                 .uuid = r->uuid,
                                 .ordinal = r->ordinal,
                                 .lsn_first = r->info->lsn_first,
                                 .lsn_last = r->info->lsn_last,
                                 .level = r->info->level,
                                 .block_bytes = BLOCK_RAW_DENSE };
    char *path = segfile_path(r->dir, r->info->ordinal, false);
    int rc = OK;

    f->decoder = block_decoder_new();
    if (path == NULL || f->decoder == NULL) {
        rc = err_set(e, ERR_NOMEM, "no memory to read a segment");
    } else {
        f->fd = r->io->open(r->io, path, IO_READ);
        if (f->fd < 0)
            rc = err_sys(e, errno == ENOENT ? ERR_CORRUPT : ERR_IO, "%s: opening it", path);
        else if (r->io->size(r->io, f->fd, &f->bytes) != 0)
            rc = err_sys(e, ERR_IO, "%s: asking for its size", path);
    }
    free(path);
    return rc == OK ? segment_create(&o, &f->writer, e) : rc;
}

int rescue_run(struct rescue *r, struct err *e)
{
    struct rescue_file f = { .r = r, .fd = -1 };
    int rc = rescue_open(&f, e);

    r->n_lost = 0;
    if (rc == OK)
        rc = rescue_copy(&f, e);
    if (rc == OK) {
        rc = segment_finish(f.writer, &r->made, e);
        f.writer = NULL;
    }
    segment_discard(f.writer);
    block_decoder_free(f.decoder);
    if (f.fd >= 0)
        r->io->close(r->io, f.fd);
    free(f.places);
    free(f.buffer);
    return rc;
}
