/*
 * checkpoint.c - the host's state in a file.
 *
 *            0       8     12       16         20  24     40          48     56  60    64
 *   header   | magic | ver | compat | incompat | 0 | uuid | start LSN | salt | 0 | crc |
 *            0     4        8       16       20    24      25  32
 *   chunk    | crc | number | as of | stored | raw | codec | 0 | `stored` bytes
 *            0     4            8         16      24         28  32    40    44  56      64
 *   trailer  | crc | 0xffffffff | end LSN | clock | n chunks | 0 | raw | sum | 0 | magic |
 *
 * The header's crc is over the 60 bytes before it. The others are over all behind them (a chunk's covers its payload) and
 * start from the crc of the salt, which is random: bytes of another file never pass. `sum` is the crc32c of all
 * chunks' crcs, so the trailer's crc, which the manifest has, stands for every byte of the file.
 *
 *   K1  A checkpoint has its name only when it is durable.
 *   K2  Chunks are numbered from 0; what they are exact as of lies in [start LSN, end LSN] and does not go back.
 *   K3  Nothing of a file is given to the host before all of it has been read and decoded once.
 *
 * The second reading checks as the first one did; if it finds something else, the machine is at fault, not the file.
 */
#include "log/checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/codec.h"
#include "log/crc32c.h"
#include "log/cursor.h"
#include "log/file.h"
#include "log/log.h"
#include "log/wal.h"

static const char checkpoint_magic[8] = "BECKCKP";     /* with its final zero */
static const char checkpoint_end_magic[8] = "BECKCKE"; /* the same */

enum {
    CHECKPOINT_VERSION = 1,
    CHECKPOINT_HEADER_BYTES = 64,
    CHECKPOINT_CHUNK_BYTES = 32, /* of a chunk's header */
    CHECKPOINT_TRAILER_BYTES = 64,
    CHECKPOINT_RATIO_MAX = 255, /* no lz4 data becomes longer than that many times its length */
    CHECKPOINT_DIGITS = 20
};

#define CHECKPOINT_PREFIX  "ckpt-"
#define CHECKPOINT_SUFFIX  ".ck"
#define CHECKPOINT_TEMP    ".tmp"
#define CHECKPOINT_TRAILER UINT32_MAX /* in the place of a chunk's number */

/* ---- names ---- */

void checkpoint_name(uint64_t start_lsn, bool unfinished, char out[CHECKPOINT_NAME_MAX])
{
    snprintf(out, CHECKPOINT_NAME_MAX, CHECKPOINT_PREFIX "%0*" PRIu64 CHECKPOINT_SUFFIX "%s",
             CHECKPOINT_DIGITS, start_lsn, unfinished ? CHECKPOINT_TEMP : "");
}

bool checkpoint_name_parse(const char *name, uint64_t *start_lsn, bool *unfinished)
{
    const size_t prefix = sizeof CHECKPOINT_PREFIX - 1;
    char same[CHECKPOINT_NAME_MAX];
    uint64_t lsn = 0;

    if (strncmp(name, CHECKPOINT_PREFIX, prefix) != 0)
        return false;
    for (size_t i = prefix; name[i] >= '0' && name[i] <= '9' && i < prefix + CHECKPOINT_DIGITS; i++)
        lsn = 10 * lsn + (uint64_t)(name[i] - '0');
    for (int temp = 0; temp < 2; temp++) { /* a number too large has wrapped, and looks different */
        checkpoint_name(lsn, temp, same);
        if (strcmp(name, same) == 0) {
            *start_lsn = lsn;
            *unfinished = temp;
            return true;
        }
    }
    return false;
}

/* ---- writing ---- */

struct checkpoint_writer {
    struct io *io;
    const char *dir;
    int fd;
    char path[CURSOR_PATH_MAX];
    uint64_t start_lsn, as_of, pos, raw;
    uint32_t seed, sum, n_chunks;
    struct codec_writer *codec;
    uint8_t *buffer;
    size_t cap;
};

static int checkpoint_put_header(struct checkpoint_writer *w, const uint8_t *uuid, struct err *e)
{
    uint8_t p[CHECKPOINT_HEADER_BYTES] = { 0 };
    struct iovec iov = { p, sizeof p };
    uint64_t salt;

    if (w->io->random(w->io, &salt, sizeof salt) != 0)
        return err_sys(e, ERR_IO, "%s: no randomness for its salt", w->path);
    memcpy(p, checkpoint_magic, sizeof checkpoint_magic);
    put_u32le(p + 8, CHECKPOINT_VERSION);
    memcpy(p + 24, uuid, WAL_UUID_BYTES);
    put_u64le(p + 40, w->start_lsn);
    put_u64le(p + 48, salt);
    put_u32le(p + 60, crc32c(0, p, 60));
    w->seed = wal_seed(salt);
    w->pos = sizeof p;
    return cursor_put(w->io, w->fd, w->path, &iov, 1, 0, e);
}

/* Its name must be free: to replace a checkpoint by another would take it away from the manifest that names it. */
static int checkpoint_check_free(struct io *io, const char *dir, uint64_t start_lsn, struct err *e)
{
    char name[CHECKPOINT_NAME_MAX], path[CURSOR_PATH_MAX];
    int fd;

    checkpoint_name(start_lsn, false, name);
    file_path(path, dir, name);
    fd = io->open(io, path, IO_READ);
    if (fd < 0)
        return errno == ENOENT ? OK : err_sys(e, ERR_IO, "%s: opening it", path);
    io->close(io, fd);
    return err_set(e, ERR_USAGE, "%s: is there already", path);
}

static int checkpoint_open_temp(struct checkpoint_writer *w, struct err *e)
{
    if (w->io->unlink(w->io, w->path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing a left-over", w->path);
    w->fd = w->io->open(w->io, w->path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (w->fd < 0)
        return err_sys(e, file_error(), "%s: creating it", w->path);
    return OK;
}

int checkpoint_create(struct io *io, const char *dir, const uint8_t *uuid, uint64_t start_lsn,
                      struct checkpoint_writer **out, struct err *e)
{
    struct checkpoint_writer *w;
    char name[CHECKPOINT_NAME_MAX];
    int rc = checkpoint_check_free(io, dir, start_lsn, e);

    if (rc != OK)
        return rc;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a checkpoint");
    *w = (struct checkpoint_writer){
        .io = io, .dir = dir, .fd = -1, .start_lsn = start_lsn, .as_of = start_lsn
    };
    checkpoint_name(start_lsn, true, name);
    file_path(w->path, dir, name);
    w->codec = codec_writer_new();
    rc = w->codec == NULL ? err_set(e, ERR_NOMEM, "no memory for a checkpoint")
                          : checkpoint_open_temp(w, e);
    if (rc == OK)
        rc = checkpoint_put_header(w, uuid, e);
    if (rc != OK) {
        checkpoint_discard(w);
        return rc;
    }
    *out = w;
    return OK;
}

/* Makes `buffer` hold at least n bytes. */
static int checkpoint_make_room(uint8_t **buffer, size_t *cap, size_t n, struct err *e)
{
    if (n <= *cap)
        return OK;
    free(*buffer);
    *cap = 0;
    *buffer = malloc(n);
    if (*buffer == NULL)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of a checkpoint", n);
    *cap = n;
    return OK;
}

static int checkpoint_write_chunk(struct checkpoint_writer *w, uint64_t as_of, size_t raw,
                                  enum block_codec codec, struct slice stored, struct err *e)
{
    uint8_t head[CHECKPOINT_CHUNK_BYTES] = { 0 };
    struct iovec iov[] = { { head, sizeof head }, { (void *)(uintptr_t)stored.p, stored.n } };
    int rc;

    put_u32le(head + 4, w->n_chunks);
    put_u64le(head + 8, as_of);
    put_u32le(head + 16, (uint32_t)stored.n);
    put_u32le(head + 20, (uint32_t)raw);
    head[24] = (uint8_t)codec;
    put_u32le(head, crc32c(crc32c(w->seed, head + 4, sizeof head - 4), stored.p, stored.n));
    rc = cursor_put(w->io, w->fd, w->path, iov, 2, w->pos, e);
    if (rc != OK)
        return rc;
    w->sum = crc32c(w->sum, head, 4);
    w->pos += sizeof head + stored.n;
    w->raw += raw;
    w->as_of = as_of;
    w->n_chunks++;
    return OK;
}

int checkpoint_put(struct checkpoint_writer *w, uint64_t as_of_lsn, struct slice payload,
                   struct err *e)
{
    size_t packed;
    int rc;

    assert(as_of_lsn >= w->as_of); /* K2 */
    assert(payload.n <= CHECKPOINT_CHUNK_MAX);
    if (payload.n == 0)
        return OK;
    rc = checkpoint_make_room(&w->buffer, &w->cap, payload.n, e);
    if (rc == OK) /* a tenth has to be gained */
        rc = codec_pack(w->codec, BLOCK_LZ4, 0, payload.p, &payload.n, 1, w->buffer,
                        payload.n - payload.n / 10 - 1, &packed, e);
    if (rc != OK)
        return rc;
    if (packed == 0)
        return checkpoint_write_chunk(w, as_of_lsn, payload.n, BLOCK_NONE, payload, e);
    return checkpoint_write_chunk(w, as_of_lsn, payload.n, BLOCK_LZ4, slice_of(w->buffer, packed),
                                  e);
}

static int checkpoint_put_trailer(struct checkpoint_writer *w, uint64_t end_lsn, uint64_t clock,
                                  struct manifest_checkpoint *out, struct err *e)
{
    uint8_t p[CHECKPOINT_TRAILER_BYTES] = { 0 };
    struct iovec iov = { p, sizeof p };
    int rc;

    put_u32le(p + 4, CHECKPOINT_TRAILER);
    put_u64le(p + 8, end_lsn);
    put_u64le(p + 16, clock);
    put_u32le(p + 24, w->n_chunks);
    put_u64le(p + 32, w->raw);
    put_u32le(p + 40, w->sum);
    memcpy(p + 56, checkpoint_end_magic, sizeof checkpoint_end_magic);
    put_u32le(p, crc32c(w->seed, p + 4, sizeof p - 4));
    *out = (struct manifest_checkpoint){ .start_lsn = w->start_lsn,
                                         .end_lsn = end_lsn,
                                         .file_bytes = w->pos + sizeof p,
                                         .crc = get_u32le(p) };
    rc = cursor_put(w->io, w->fd, w->path, &iov, 1, w->pos, e);
    if (rc == OK && w->io->fdatasync(w->io, w->fd) != 0)
        rc = err_sys(e, file_error(), "%s: syncing it", w->path);
    return rc;
}

static void checkpoint_free(struct checkpoint_writer *w)
{
    if (w->fd >= 0)
        w->io->close(w->io, w->fd);
    codec_writer_free(w->codec);
    free(w->buffer);
    free(w);
}

int checkpoint_finish(struct checkpoint_writer *w, uint64_t end_lsn, uint64_t clock,
                      struct manifest_checkpoint *out, struct err *e)
{
    char from[CHECKPOINT_NAME_MAX], to[CHECKPOINT_NAME_MAX];
    struct manifest_checkpoint made;
    int rc;

    assert(end_lsn >= w->as_of); /* K2 */
    rc = checkpoint_put_trailer(w, end_lsn, clock, &made, e);
    checkpoint_name(w->start_lsn, true, from);
    checkpoint_name(w->start_lsn, false, to);
    if (rc == OK)
        rc = file_rename(w->io, w->dir, from, to, e); /* K1 */
    if (rc != OK) {
        checkpoint_discard(w);
        return rc;
    }
    *out = made;
    checkpoint_free(w);
    return OK;
}

void checkpoint_discard(struct checkpoint_writer *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0)
        w->io->unlink(w->io, w->path); /* a left-over is harmless */
    checkpoint_free(w);
}

/* ---- reading ---- */

struct checkpoint_reader {
    struct io *io;
    int fd;
    char path[CURSOR_PATH_MAX];
    uint64_t size, pos, end; /* chunks lie before `end` */
    uint64_t start_lsn, end_lsn, as_of;
    uint64_t raw; /* of the chunks read */
    uint32_t seed, sum, n_chunks;
    uint8_t trailer[CHECKPOINT_TRAILER_BYTES];
    struct codec_reader *codec;
    uint8_t *stored, *decoded;
    size_t cap_stored, cap_decoded;
};

struct checkpoint_chunk {
    uint64_t as_of;
    uint32_t crc, stored, raw;
    uint8_t codec;
};

static int checkpoint_damaged(const struct checkpoint_reader *r, uint64_t pos, const char *what,
                              struct err *e)
{
    return err_set(e, ERR_CORRUPT, "%s: is damaged at byte %" PRIu64 " (%s)", r->path, pos, what);
}

/* Reads exactly n bytes; whoever asks has compared with the file's size. */
static int checkpoint_read(struct checkpoint_reader *r, uint64_t pos, uint8_t *to, size_t n,
                           struct err *e)
{
    size_t got;
    int rc = file_read(r->io, r->fd, r->path, pos, to, n, &got, e);

    if (rc == OK && got < n)
        rc = checkpoint_damaged(r, pos + got, "it ends here", e);
    return rc;
}

static int checkpoint_check_header(struct checkpoint_reader *r, const uint8_t *uuid, struct err *e)
{
    uint8_t p[CHECKPOINT_HEADER_BYTES];
    int rc = checkpoint_read(r, 0, p, sizeof p, e);

    if (rc != OK)
        return rc;
    if (memcmp(p, checkpoint_magic, sizeof checkpoint_magic) != 0)
        return checkpoint_damaged(r, 0, "it does not begin as a checkpoint", e);
    if (get_u32le(p + 60) != crc32c(0, p, 60))
        return checkpoint_damaged(r, 0, "its header's checksum is wrong", e);
    if (get_u32le(p + 8) != CHECKPOINT_VERSION || get_u32le(p + 16) != 0 ||
        get_u32le(p + 20) != 0 || get_u32le(p + 56) != 0)
        return err_set(e, ERR_FORMAT, "%s: is of a newer format; use the newer beckd", r->path);
    if (memcmp(p + 24, uuid, WAL_UUID_BYTES) != 0)
        return checkpoint_damaged(r, 24, "it belongs to another store", e);
    if (get_u64le(p + 40) != r->start_lsn)
        return checkpoint_damaged(r, 40, "it has another file's name", e);
    r->seed = wal_seed(get_u64le(p + 48));
    return OK;
}

static int checkpoint_check_trailer(struct checkpoint_reader *r,
                                    const struct manifest_checkpoint *expect, struct err *e)
{
    static const uint8_t zeros[12];
    uint8_t *p = r->trailer;
    int rc = checkpoint_read(r, r->end, p, CHECKPOINT_TRAILER_BYTES, e);

    if (rc != OK)
        return rc;
    if (get_u32le(p) != crc32c(r->seed, p + 4, CHECKPOINT_TRAILER_BYTES - 4))
        return checkpoint_damaged(r, r->end, "its trailer's checksum is wrong", e);
    r->end_lsn = get_u64le(p + 8);
    if (get_u32le(p + 4) != CHECKPOINT_TRAILER || get_u32le(p + 28) != 0 ||
        memcmp(p + 44, zeros, sizeof zeros) != 0 || r->end_lsn < r->start_lsn ||
        memcmp(p + 56, checkpoint_end_magic, sizeof checkpoint_end_magic) != 0)
        return checkpoint_damaged(r, r->end, "its trailer contradicts itself", e);
    if (expect != NULL && (expect->crc != get_u32le(p) || expect->end_lsn != r->end_lsn))
        return checkpoint_damaged(r, r->end, "it is not the file that the manifest names", e);
    return OK;
}

/* Opens the file, checks header and trailer. The caller closes in any case. */
static int checkpoint_open(struct checkpoint_reader *r, const char *dir, const uint8_t *uuid,
                           const struct manifest_checkpoint *expect, struct err *e)
{
    char name[CHECKPOINT_NAME_MAX];
    int rc;

    checkpoint_name(r->start_lsn, false, name);
    file_path(r->path, dir, name);
    r->fd = r->io->open(r->io, r->path, IO_READ);
    if (r->fd < 0 && errno == ENOENT)
        return err_set(e, ERR_CORRUPT, "%s: is missing", r->path);
    if (r->fd < 0)
        return err_sys(e, ERR_IO, "%s: opening it", r->path);
    if (r->io->size(r->io, r->fd, &r->size) != 0)
        return err_sys(e, ERR_IO, "%s: asking for its size", r->path);
    if (r->size < CHECKPOINT_HEADER_BYTES + CHECKPOINT_TRAILER_BYTES)
        return checkpoint_damaged(r, r->size, "it ends here", e);
    if (expect != NULL && r->size != expect->file_bytes)
        return checkpoint_damaged(r, r->size, "its length is not what the manifest says", e);
    r->end = r->size - CHECKPOINT_TRAILER_BYTES;
    r->codec = codec_reader_new();
    if (r->codec == NULL)
        return err_set(e, ERR_NOMEM, "%s: no memory to read it", r->path);
    rc = checkpoint_check_header(r, uuid, e);
    return rc == OK ? checkpoint_check_trailer(r, expect, e) : rc;
}

static void checkpoint_close(struct checkpoint_reader *r)
{
    if (r->fd >= 0)
        r->io->close(r->io, r->fd);
    codec_reader_free(r->codec);
    free(r->stored);
    free(r->decoded);
}

/* What is wrong with a chunk's header, whose checksum was right; NULL: nothing. */
static const char *checkpoint_chunk_flaw(const struct checkpoint_reader *r, const uint8_t *head,
                                         const struct checkpoint_chunk *c)
{
    static const uint8_t zeros[7];

    if (get_u32le(head + 4) != r->n_chunks || memcmp(head + 25, zeros, sizeof zeros) != 0)
        return "a chunk is not the one that is expected here";
    if (c->as_of < r->as_of || c->as_of > r->end_lsn)
        return "a chunk is of another time"; /* K2 */
    if (c->codec == BLOCK_NONE ? c->stored != c->raw : c->codec != BLOCK_LZ4 || c->stored >= c->raw)
        return "a chunk's codec or lengths are none";
    return NULL;
}

/* Reads the chunk at r->pos; its stored bytes come to r->stored. */
static int checkpoint_read_chunk(struct checkpoint_reader *r, struct checkpoint_chunk *c,
                                 struct err *e)
{
    uint8_t head[CHECKPOINT_CHUNK_BYTES];
    uint64_t left = r->end - r->pos;
    const char *flaw;
    int rc;

    if (left < sizeof head)
        return checkpoint_damaged(r, r->pos, "a chunk is cut off", e);
    rc = checkpoint_read(r, r->pos, head, sizeof head, e);
    if (rc != OK)
        return rc;
    *c = (struct checkpoint_chunk){ .crc = get_u32le(head),
                                    .as_of = get_u64le(head + 8),
                                    .stored = get_u32le(head + 16),
                                    .raw = get_u32le(head + 20),
                                    .codec = head[24] };
    if (c->stored == 0 || c->stored > left - sizeof head || c->raw == 0 ||
        c->raw > CHECKPOINT_CHUNK_MAX || c->raw > (uint64_t)c->stored * CHECKPOINT_RATIO_MAX)
        return checkpoint_damaged(r, r->pos, "a chunk's lengths are none", e);
    rc = checkpoint_make_room(&r->stored, &r->cap_stored, c->stored, e);
    if (rc == OK)
        rc = checkpoint_read(r, r->pos + sizeof head, r->stored, c->stored, e);
    if (rc != OK)
        return rc;
    if (c->crc != crc32c(crc32c(r->seed, head + 4, sizeof head - 4), r->stored, c->stored))
        return checkpoint_damaged(r, r->pos, "a chunk's checksum is wrong", e);
    flaw = checkpoint_chunk_flaw(r, head, c);
    return flaw == NULL ? OK : checkpoint_damaged(r, r->pos, flaw, e);
}

static int checkpoint_decode_chunk(struct checkpoint_reader *r, const struct checkpoint_chunk *c,
                                   struct slice *out, struct err *e)
{
    int rc;

    *out = slice_of(r->stored, c->stored);
    if (c->codec == BLOCK_NONE)
        return OK;
    rc = checkpoint_make_room(&r->decoded, &r->cap_decoded, c->raw, e);
    if (rc != OK)
        return rc;
    rc = codec_unpack(r->codec, BLOCK_LZ4, r->stored, c->stored, r->decoded, c->raw, e);
    if (rc == ERR_CORRUPT)
        return checkpoint_damaged(r, r->pos, "a chunk cannot be decompressed", e);
    if (rc != OK)
        return rc;
    *out = slice_of(r->decoded, c->raw);
    return OK;
}

/* The next chunk, decoded; moves behind it. */
static int checkpoint_next(struct checkpoint_reader *r, struct checkpoint_chunk *c,
                           struct slice *out, struct err *e)
{
    uint8_t crc[4];
    int rc = checkpoint_read_chunk(r, c, e);

    if (rc == OK)
        rc = checkpoint_decode_chunk(r, c, out, e);
    if (rc != OK)
        return rc;
    put_u32le(crc, c->crc);
    r->sum = crc32c(r->sum, crc, sizeof crc);
    r->pos += CHECKPOINT_CHUNK_BYTES + (uint64_t)c->stored;
    r->raw += c->raw;
    r->as_of = c->as_of;
    r->n_chunks++;
    return OK;
}

static void checkpoint_rewind(struct checkpoint_reader *r)
{
    r->pos = CHECKPOINT_HEADER_BYTES;
    r->as_of = r->start_lsn;
    r->raw = 0;
    r->sum = r->n_chunks = 0;
}

/* The first reading. */
static int checkpoint_check_chunks(struct checkpoint_reader *r, struct err *e)
{
    checkpoint_rewind(r);
    while (r->pos < r->end) {
        struct checkpoint_chunk c;
        struct slice payload;
        int rc = checkpoint_next(r, &c, &payload, e);
        if (rc != OK)
            return rc;
    }
    if (get_u32le(r->trailer + 24) != r->n_chunks || get_u64le(r->trailer + 32) != r->raw ||
        get_u32le(r->trailer + 40) != r->sum)
        return checkpoint_damaged(r, r->end, "its trailer does not fit its chunks", e);
    return OK;
}

/* The second one. */
static int checkpoint_give(struct checkpoint_reader *r,
                           int (*each)(void *ctx, uint64_t as_of_lsn, struct slice payload,
                                       struct err *e),
                           void *ctx, struct err *e)
{
    checkpoint_rewind(r);
    while (r->pos < r->end) {
        struct checkpoint_chunk c;
        struct slice payload;
        int rc = checkpoint_next(r, &c, &payload, e);
        if (rc == ERR_CORRUPT)
            return err_set(e, ERR_IO,
                           "%s: byte %" PRIu64
                           " reads differently the second time; check disk and memory",
                           r->path, r->pos);
        if (rc == OK)
            rc = each(ctx, c.as_of, payload, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

int checkpoint_verify(struct io *io, const char *dir, const uint8_t *uuid, uint64_t start_lsn,
                      const struct manifest_checkpoint *expect, struct manifest_checkpoint *out,
                      struct err *e)
{
    struct checkpoint_reader r = { .io = io, .start_lsn = start_lsn };
    int rc = checkpoint_open(&r, dir, uuid, expect, e);

    if (rc == OK)
        rc = checkpoint_check_chunks(&r, e);
    if (rc == OK && out != NULL)
        *out = (struct manifest_checkpoint){ .start_lsn = start_lsn,
                                             .end_lsn = r.end_lsn,
                                             .file_bytes = r.size,
                                             .crc = get_u32le(r.trailer) };
    checkpoint_close(&r);
    return rc;
}

int checkpoint_load(struct io *io, const char *dir, const uint8_t *uuid,
                    const struct manifest_checkpoint *expect,
                    int (*each)(void *ctx, uint64_t as_of_lsn, struct slice payload, struct err *e),
                    void *ctx, struct err *e)
{
    struct checkpoint_reader r = { .io = io, .start_lsn = expect->start_lsn };
    int rc = checkpoint_open(&r, dir, uuid, expect, e);

    if (rc == OK)
        rc = checkpoint_check_chunks(&r, e);
    if (rc == OK)
        rc = checkpoint_give(&r, each, ctx, e); /* K3 */
    checkpoint_close(&r);
    return rc;
}
