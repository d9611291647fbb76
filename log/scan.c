/*
 * scan.c - reading a file of the log.
 *
 * Reads go through a window of 256 KiB; payloads longer than that are read to where they are
 * wanted. No length is believed before the header that holds it has passed its CRC and it fits what
 * is left of the file; nothing is allocated here but the window.
 *
 * A read error is an error, never the end of the log: what a disk cannot give back today it may
 * give back tomorrow.
 */
#include "log/scan.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/io.h"

enum { SCAN_PAGE_BYTES = 4096 }; /* skipped at once if it holds only zeros */

/* pread of exactly n bytes, fewer only at the end of the file. */
static int scan_read(struct scan *s, uint64_t pos, uint8_t *to, size_t n, size_t *got,
                     struct err *e)
{
    size_t have = 0;

    while (have < n) {
        ssize_t rc = s->io->pread(s->io, s->fd, to + have, n - have, pos + have);
        if (rc < 0)
            return err_sys(e, ERR_IO, "%s: reading at byte %llu", s->path,
                           (unsigned long long)(pos + have));
        if (rc == 0)
            break;
        have += (size_t)rc;
    }
    *got = have;
    return OK;
}

int scan_bytes(struct scan *s, uint64_t pos, size_t n, const uint8_t **out, size_t *got,
               struct err *e)
{
    assert(n <= SCAN_WINDOW_BYTES);
    if (pos < s->window_pos || pos - s->window_pos > s->window_n ||
        n > s->window_n - (size_t)(pos - s->window_pos)) {
        int rc;
        s->window_n = 0;
        rc = scan_read(s, pos, s->window, SCAN_WINDOW_BYTES, &s->window_n, e);
        if (rc != OK)
            return rc;
        s->window_pos = pos;
    }
    *out = s->window + (pos - s->window_pos);
    *got = s->window_n - (size_t)(pos - s->window_pos);
    if (*got > n)
        *got = n;
    return OK;
}

static int scan_check_header(struct scan *s, const char *name, const uint8_t *uuid,
                             enum scan_header *state, struct err *e)
{
    const uint8_t *p;
    uint64_t lsn = 0;
    size_t got;
    int rc = scan_bytes(s, 0, WAL_HEADER_BYTES, &p, &got, e);

    if (rc != OK)
        return rc;
    *state = SCAN_HEADER_BAD;
    if (got < WAL_HEADER_BYTES) {
        err_set(e, ERR_CORRUPT, "is cut off within its header");
        return OK;
    }
    rc = wal_header_get(p, &s->header, e);
    if (rc != OK)
        return rc == ERR_CORRUPT ? OK : err_add(e, "%s", s->path);
    if (memcmp(s->header.uuid, uuid, WAL_UUID_BYTES) != 0)
        err_set(e, ERR_CORRUPT, "belongs to another store");
    else if (!wal_name_parse(name, &lsn) || lsn != s->header.first_lsn)
        err_set(e, ERR_CORRUPT, "has another file's name");
    else
        *state = SCAN_HEADER_OK;
    return OK;
}

int scan_open(struct scan *s, struct io *io, const char *dir, const char *name, const uint8_t *uuid,
              enum scan_header *state, struct err *e)
{
    int rc;

    *s = (struct scan){ .io = io, .fd = -1 };
    snprintf(s->path, sizeof s->path, "%s/%s", dir, name);
    s->window = malloc(SCAN_WINDOW_BYTES);
    if (s->window == NULL)
        return err_set(e, ERR_NOMEM, "%s: no memory to read it", s->path);
    s->fd = io->open(io, s->path, IO_READ);
    if (s->fd < 0)
        rc = err_sys(e, ERR_IO, "%s: opening it", s->path);
    else if (io->size(io, s->fd, &s->size) != 0)
        rc = err_sys(e, ERR_IO, "%s: asking for its size", s->path);
    else
        rc = scan_check_header(s, name, uuid, state, e);
    if (rc != OK) {
        scan_close(s);
        return rc;
    }
    s->seed = wal_seed(s->header.salt);
    scan_rewind(s);
    return OK;
}

void scan_close(struct scan *s)
{
    if (s->fd >= 0)
        s->io->close(s->io, s->fd);
    free(s->window);
    s->fd = -1;
    s->window = NULL;
}

void scan_rewind(struct scan *s)
{
    s->pos = WAL_HEADER_BYTES;
    s->prev_crc = s->header.prev_crc;
}

static bool scan_is_zero(const uint8_t *p, size_t n)
{
    uint64_t any = 0, word;

    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        any |= word;
    }
    while (n-- > 0)
        any |= *p++;
    return any == 0;
}

/* Whether a frame of this chain starts at `pos`. */
static int scan_frame_at(struct scan *s, uint64_t pos, struct scan_frame *out, bool *found,
                         struct err *e)
{
    const uint8_t *p;
    size_t got;
    int rc = scan_bytes(s, pos, WAL_FRAME_BYTES, &p, &got, e);

    if (rc != OK)
        return rc;
    *found = got == WAL_FRAME_BYTES && wal_frame_get(p, s->seed, &out->head) &&
             out->head.prev_crc == s->prev_crc &&
             wal_frame_size(out->head.payload_len) <= s->size - pos;
    if (*found) {
        out->pos = pos;
        memcpy(out->raw, p, WAL_FRAME_BYTES);
    }
    return OK;
}

int scan_frame(struct scan *s, struct scan_frame *out, bool *found, struct err *e)
{
    uint64_t sector = wal_sector_up(s->pos);
    const uint8_t *p;
    size_t got;
    int rc = scan_frame_at(s, s->pos, out, found, e);

    if (rc != OK || *found || sector == s->pos)
        return rc;
    rc = scan_bytes(s, s->pos, (size_t)(sector - s->pos), &p, &got, e);
    if (rc != OK || got < sector - s->pos || !scan_is_zero(p, got))
        return rc;
    return scan_frame_at(s, sector, out, found, e);
}

/* Reads n payload bytes: short ones through the window, long ones directly. */
static int scan_copy(struct scan *s, uint64_t pos, uint8_t *to, size_t n, bool *whole,
                     struct err *e)
{
    const uint8_t *p;
    size_t got;
    int rc;

    if (n > SCAN_WINDOW_BYTES / 2) {
        rc = scan_read(s, pos, to, n, &got, e);
    } else {
        rc = scan_bytes(s, pos, n, &p, &got, e);
        if (rc == OK)
            memcpy(to, p, got);
    }
    *whole = rc == OK && got == n;
    return rc;
}

int scan_payload(struct scan *s, const struct scan_frame *f, uint8_t *to, bool *sound,
                 struct err *e)
{
    uint64_t pos = f->pos + WAL_FRAME_BYTES;
    size_t n = f->head.payload_len;
    size_t pad = (size_t)(wal_frame_size(f->head.payload_len) - WAL_FRAME_BYTES) - n;
    uint32_t crc = wal_frame_once_crc(f->raw);
    const uint8_t *p;
    size_t got;
    int rc = scan_copy(s, pos, to, n, sound, e);

    if (rc != OK || !*sound)
        return rc;
    *sound = crc32c(crc, to, n) == f->head.payload_crc;
    if (!*sound || pad == 0)
        return OK;
    rc = scan_bytes(s, pos + n, pad, &p, &got, e);
    *sound = rc == OK && got == pad && scan_is_zero(p, pad);
    return rc;
}

void scan_accept(struct scan *s, const struct scan_frame *f)
{
    s->pos = f->pos + wal_frame_size(f->head.payload_len);
    s->prev_crc = f->head.header_crc;
}

/* The CRC of a payload wherever it lies, for frames whose header cannot be verified. */
static int scan_payload_crc(struct scan *s, uint64_t pos, size_t n, uint32_t *crc, struct err *e)
{
    while (n > 0) {
        size_t take = n < SCAN_WINDOW_BYTES ? n : SCAN_WINDOW_BYTES, got;
        const uint8_t *p;
        int rc = scan_bytes(s, pos, take, &p, &got, e);
        if (rc != OK || got < take)
            return rc;
        *crc = crc32c(*crc, p, take);
        pos += take;
        n -= take;
    }
    return OK;
}

static int scan_is_frame(struct scan *s, uint64_t pos, const uint8_t *p, bool salted,
                         struct wal_frame *f, bool *is, struct err *e)
{
    uint32_t crc;
    int rc;

    *is = salted ? wal_frame_get(p, s->seed, f) : wal_frame_guess(p, f);
    if (!*is || salted)
        return OK;
    *is = f->payload_len <= s->size - pos - WAL_FRAME_BYTES;
    if (!*is)
        return OK;
    crc = wal_frame_once_crc(p);
    rc = scan_payload_crc(s, pos + WAL_FRAME_BYTES, f->payload_len, &crc, e);
    *is = rc == OK && crc == f->payload_crc;
    return rc;
}

static void scan_note(struct scan_finds *out, const struct wal_frame *f)
{
    uint64_t last = f->count > 0 ? f->first_lsn + f->count - 1 : 0;

    out->n_frames++;
    if (f->synced_lsn > out->synced_lsn)
        out->synced_lsn = f->synced_lsn;
    if (last > out->seen_lsn)
        out->seen_lsn = last;
    if (f->clock > out->clock)
        out->clock = f->clock;
}

/* Looks at one place that is not zero. */
static int scan_hunt_at(struct scan *s, uint64_t pos, bool salted, struct scan_finds *out,
                        struct err *e)
{
    struct wal_frame f;
    const uint8_t *p;
    size_t got;
    bool is = false;
    int rc = scan_bytes(s, pos, WAL_FRAME_BYTES, &p, &got, e);

    if (rc == OK && got == WAL_FRAME_BYTES)
        rc = scan_is_frame(s, pos, p, salted, &f, &is, e);
    if (rc == OK && is)
        scan_note(out, &f);
    return rc;
}

int scan_hunt(struct scan *s, uint64_t from, bool salted, struct scan_finds *out, struct err *e)
{
    uint64_t pos = from;

    out->end = from;
    while (pos < s->size) {
        size_t step = pos % SCAN_PAGE_BYTES == 0 ? SCAN_PAGE_BYTES : 8, got;
        const uint8_t *p;
        int rc = scan_bytes(s, pos, step, &p, &got, e);

        if (rc != OK)
            return rc;
        if (got == 0)
            break;
        if (!scan_is_zero(p, got)) {
            step = 8;
            out->end = scan_is_zero(p, got < 8 ? got : 8) ? out->end : pos + (got < 8 ? got : 8);
            rc = scan_hunt_at(s, pos, salted, out, e);
            if (rc != OK)
                return rc;
        }
        pos += step;
    }
    return OK;
}
