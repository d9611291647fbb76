/*
 * cursor.c - frames into the file.
 *
 * Header on the stack, records from the arena, up to seven zeros: one pwritev for a usual batch,
 * without a second copy of the records. The part of the header that is made once is checksummed
 * together with the records here, at the moment of writing, because only now it is known how the
 * batch is cut into frames.
 *
 *   C1  pos is a multiple of 8, and of 512 where an fdatasync was issued since the frame before: a
 *       sector that was made durable is never written again, so no later torn write can harm it.
 *   C2  Bytes between frames are never written; the file was allocated as zeros.
 *   C3  A frame's synced_lsn is the end of a whole batch, and was durable before the frame was
 *       written.
 */
#include "log/cursor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "log/bug.h"
#include "log/crc32c.h"

enum { CURSOR_IOV_MAX = 64 }; /* pieces given to one pwritev */

void cursor_set_file(struct cursor *c, int fd, const char *dir, const struct wal_header *h,
                     uint64_t pos)
{
    char name[WAL_NAME_MAX];

    wal_name(h->first_lsn, name);
    snprintf(c->path, sizeof c->path, "%s/%s", dir, name);
    c->fd = fd;
    c->size = h->size;
    c->pos = pos;
    c->file_lsn = h->first_lsn;
    c->prev_end = h->prev_end;
    c->file_prev_crc = h->prev_crc;
    c->seed = wal_seed(h->salt);
    c->align = true;
    c->closed = false;
}

uint64_t cursor_need(const struct cursor *c, const struct batch *b)
{
    uint64_t n_frames = 1 + b->bytes / c->frame_bytes + b->n_records / WAL_RECORDS_MAX;

    return WAL_SECTOR_BYTES + b->bytes + n_frames * (WAL_FRAME_BYTES + 8);
}

static bool cursor_has(const struct cursor *c, uint64_t bytes)
{
    return !c->closed && bytes <= c->size - c->pos;
}

bool cursor_fits(const struct cursor *c, const struct batch *b)
{
    return cursor_has(c, cursor_need(c, b) + WAL_TAIL_BYTES);
}

bool cursor_fits_marker(const struct cursor *c)
{
    return cursor_has(c, 2 * (WAL_SECTOR_BYTES + WAL_FRAME_BYTES));
}

/* Moves the start of iov past `n` bytes that are written; returns the number of pieces left. */
static int cursor_advance(struct iovec **iov, int n_iov, size_t n)
{
    while (n_iov > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        n_iov--;
    }
    if (n_iov > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
    return n_iov;
}

int cursor_put(struct io *io, int fd, const char *path, struct iovec *iov, int n_iov, uint64_t pos,
               struct err *e)
{
    while (n_iov > 0) {
        ssize_t put = io->pwritev(io, fd, iov, n_iov, pos);

        if (put < 0 && (errno == ENOSPC || errno == EDQUOT))
            return err_sys(e, ERR_FULL, "%s: writing at byte %llu", path, (unsigned long long)pos);
        if (put < 0)
            return err_sys(e, ERR_IO, "%s: writing at byte %llu", path, (unsigned long long)pos);
        if (put == 0) {
            errno = EIO;
            return err_sys(e, ERR_IO, "%s: nothing written at byte %llu", path,
                           (unsigned long long)pos);
        }
        pos += (uint64_t)put;
        n_iov = cursor_advance(&iov, n_iov, (size_t)put);
    }
    return OK;
}

/* What is written so far of a batch; taken over into the cursor when all of it is. */
struct cursor_progress {
    uint64_t pos;
    uint32_t prev_crc;
    struct batch_pos at;
    uint64_t lsn;
};

/* Fills in the header of a frame, CRCs included. */
static void cursor_frame_header(const struct cursor *c, const struct batch *b,
                                const struct cursor_progress *w, struct wal_frame *f, uint8_t *out)
{
    struct batch_pos at = w->at;
    size_t left = f->payload_len;

    f->term = 1;
    f->region = 0;
    f->clock = b->clock;
    f->payload_crc = wal_frame_put_once(out, f);
    while (left > 0) {
        struct slice piece = batch_piece(b, &at, left);
        f->payload_crc = crc32c(f->payload_crc, piece.p, piece.n);
        left -= piece.n;
    }
    f->synced_lsn = c->synced_lsn;
    f->prev_crc = w->prev_crc;
    f->header_crc = wal_frame_put(out, c->seed, f);
}

/* Writes header, records and padding at w->pos. */
static int cursor_frame_write(struct cursor *c, const struct batch *b,
                              const struct cursor_progress *w, const struct wal_frame *f,
                              uint8_t *header, struct err *e)
{
    static const uint8_t zeros[8];
    struct iovec iov[CURSOR_IOV_MAX];
    struct batch_pos at = w->at;
    uint64_t pos = w->pos;
    size_t left = f->payload_len;
    size_t pad = (size_t)(wal_frame_size(f->payload_len) - WAL_FRAME_BYTES) - left;
    size_t bytes = WAL_FRAME_BYTES;
    int n = 1, rc;

    iov[0] = (struct iovec){ header, WAL_FRAME_BYTES };
    while (left > 0) {
        struct slice piece = batch_piece(b, &at, left);
        if (n == CURSOR_IOV_MAX - 1) {
            rc = cursor_put(c->io, c->fd, c->path, iov, n, pos, e);
            if (rc != OK)
                return rc;
            pos += bytes;
            bytes = 0;
            n = 0;
        }
        iov[n++] = (struct iovec){ (void *)(uintptr_t)piece.p, piece.n };
        bytes += piece.n;
        left -= piece.n;
    }
    if (pad > 0)
        iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros, pad };
    c->written_bytes += wal_frame_size(f->payload_len);
    return cursor_put(c->io, c->fd, c->path, iov, n, pos, e);
}

static uint64_t cursor_start(const struct cursor *c)
{
    return c->align && !BUG(BUG_UNALIGNED_AFTER_SYNC) ? wal_sector_up(c->pos) : c->pos;
}

static void cursor_accept(struct cursor *c, const struct cursor_progress *w)
{
    assert(w->pos % 8 == 0); /* C1 */
    assert(w->pos <= c->size);
    c->pos = w->pos;
    c->prev_crc = w->prev_crc;
    c->align = false;
    c->claimed_lsn = c->synced_lsn;
}

int cursor_write(struct cursor *c, const struct batch *b, struct err *e)
{
    struct cursor_progress w = { .pos = cursor_start(c),
                                 .prev_crc = c->prev_crc,
                                 .lsn = b->first_lsn };
    size_t left = b->bytes;

    assert(!c->closed && c->synced_lsn < b->first_lsn); /* C3 */
    while (left > 0) {
        uint8_t header[WAL_FRAME_BYTES];
        struct wal_frame f = { .index = b->index, .first_lsn = w.lsn };
        struct batch_pos end = w.at;
        int rc;

        f.payload_len = (uint32_t)batch_next_frame(b, &end, c->frame_bytes, &f.count);
        left -= f.payload_len;
        f.flags = left > 0 ? WAL_MORE : 0;
        cursor_frame_header(c, b, &w, &f, header);
        rc = cursor_frame_write(c, b, &w, &f, header, e);
        if (rc != OK)
            return rc;
        w.pos += wal_frame_size(f.payload_len);
        w.prev_crc = f.header_crc;
        w.lsn += f.count;
        w.at = end;
    }
    assert(w.lsn == b->first_lsn + b->n_records);
    cursor_accept(c, &w);
    c->next_lsn = w.lsn;
    c->next_index = b->index + 1;
    return OK;
}

int cursor_mark(struct cursor *c, uint8_t flag, struct err *e)
{
    struct cursor_progress w = { .pos = cursor_start(c), .prev_crc = c->prev_crc };
    struct wal_frame f = { .flags = flag };
    struct batch none = { 0 };
    uint8_t header[WAL_FRAME_BYTES];
    int rc;

    assert(!c->closed);
    cursor_frame_header(c, &none, &w, &f, header);
    rc = cursor_frame_write(c, &none, &w, &f, header, e);
    if (rc != OK)
        return rc;
    w.pos += WAL_FRAME_BYTES;
    w.prev_crc = f.header_crc;
    cursor_accept(c, &w);
    if (flag == WAL_SEAL)
        c->closed = true;
    return OK;
}

int cursor_copy(struct cursor *c, const uint8_t raw[WAL_FRAME_BYTES], const struct wal_frame *head,
                const uint8_t *payload, struct err *e)
{
    struct cursor_progress w = { .pos = cursor_start(c), .prev_crc = c->prev_crc };
    struct slice extent = slice_of(payload, head->payload_len);
    struct batch b = { .extents = &extent, .n_extents = 1 };
    struct wal_frame f = *head;
    uint8_t header[WAL_FRAME_BYTES];
    int rc;

    memcpy(header, raw, sizeof header);
    f.prev_crc = c->prev_crc;
    f.header_crc = wal_frame_put(header, c->seed, &f);
    rc = cursor_frame_write(c, &b, &w, &f, header, e);
    if (rc != OK)
        return rc;
    w.pos += wal_frame_size(f.payload_len);
    w.prev_crc = f.header_crc;
    cursor_accept(c, &w);
    return OK;
}
