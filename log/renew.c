/*
 * renew.c - a start never appends to a file that it found.
 *
 * The valid part of the last file is copied into a new file with a new salt, and the log goes on
 * there. This makes durable again what a failed fdatasync may have left in the page cache only, and
 * it gets rid of frames behind the end: written out of order before the crash, they would become
 * valid again if the log grew up to them.
 *
 * The copy takes the old file's name, so the order is: allocate and fill wal-next.tmp, fdatasync;
 * remove later files, last to first, directory sync; rename over the old file, directory sync. A
 * crash before the rename leaves the old file, and the next start comes to the same decisions;
 * after it there is nothing left to do.
 *
 * Frames are copied with new headers around the part made once. Markers are left out; a SYNC marker
 * at the end says that all of it is durable, which is so before the file has its name. After an
 * unclean end a SKIP record goes in front of it: LSNs jump beyond all that the dead process may
 * have shown to somebody.
 *
 * With salvage, nothing is lost before it is safe elsewhere: the damaged file is copied whole into
 * quarantine/ first, the later ones are moved there.
 */
#include "log/renew.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bug.h"
#include "log/io.h"
#include "log/log.h"
#include "log/record.h"
#include "log/spare.h"

static void renew_path(char out[CURSOR_PATH_MAX], const struct renew *r, const char *name)
{
    snprintf(out, CURSOR_PATH_MAX, "%s/%s", r->dir, name);
}

/* ---- quarantine ---- */

enum { RENEW_PLACE_MAX = 128 };

/* The name in quarantine/ of a file of the log; no two salvages give the same one. */
static void renew_quarantine_name(const struct renew *r, uint64_t first_lsn, uint64_t now_ms,
                                  char out[CURSOR_PATH_MAX])
{
    char name[WAL_NAME_MAX], place[RENEW_PLACE_MAX];

    wal_name(first_lsn, name);
    snprintf(place, sizeof place, "quarantine/%s.%llu", name, (unsigned long long)now_ms);
    renew_path(out, r, place);
}

static int renew_copy_bytes(struct scan *from, int fd, const char *path, struct err *e)
{
    for (uint64_t pos = 0; pos < from->size;) {
        struct iovec iov;
        const uint8_t *p;
        size_t got;
        int rc = scan_bytes(from, pos, SCAN_WINDOW_BYTES, &p, &got, e);

        if (rc != OK)
            return rc;
        if (got == 0)
            break;
        iov = (struct iovec){ (void *)(uintptr_t)p, got };
        rc = cursor_put(from->io, fd, path, &iov, 1, pos, e);
        if (rc != OK)
            return rc;
        pos += got;
    }
    if (from->io->fdatasync(from->io, fd) != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", path);
    return OK;
}

/* Copies the last file as it is. */
static int renew_keep_last(struct renew *r, uint64_t first_lsn, uint64_t now_ms, struct err *e)
{
    struct io *io = r->io;
    char path[CURSOR_PATH_MAX];
    int fd, rc;

    renew_quarantine_name(r, first_lsn, now_ms, path);
    fd = io->open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (fd < 0)
        return err_sys(e, errno == ENOSPC ? ERR_FULL : ERR_IO, "%s: creating it", path);
    rc = renew_copy_bytes(r->last, fd, path, e);
    io->close(io, fd);
    if (rc != OK)
        io->unlink(io, path);
    r->salvaged_bytes += r->last->size - (r->last_is_sound ? r->last->pos : 0);
    return rc;
}

static int renew_sync_dirs(const struct renew *r, const char *quarantine, struct err *e)
{
    if (r->io->sync_dir(r->io, quarantine) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", quarantine);
    if (r->io->sync_dir(r->io, r->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", r->dir);
    return OK;
}

static int renew_open_quarantine(const struct renew *r, char out[CURSOR_PATH_MAX], struct err *e)
{
    renew_path(out, r, "quarantine");
    if (r->io->mkdir(r->io, out) != 0 && errno != EEXIST)
        return err_sys(e, errno == ENOSPC ? ERR_FULL : ERR_IO, "%s: creating it", out);
    return OK;
}

static uint64_t renew_size_of(const struct renew *r, const char *path)
{
    uint64_t size = 0;
    int fd = r->io->open(r->io, path, IO_READ);

    if (fd < 0)
        return 0;
    if (r->io->size(r->io, fd, &size) != 0)
        size = 0;
    r->io->close(r->io, fd);
    return size;
}

/* Removes the later files, or moves them into quarantine/; last to first, so that a crash between
 * leaves a log without a gap. */
static int renew_clear_later(struct renew *r, uint64_t now_ms, struct err *e)
{
    char quarantine[CURSOR_PATH_MAX];

    renew_path(quarantine, r, "quarantine");
    for (size_t i = r->n_later; i-- > 0;) {
        char name[WAL_NAME_MAX], from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX];
        int rc;

        wal_name(r->later[i], name);
        renew_path(from, r, name);
        renew_quarantine_name(r, r->later[i], now_ms, to);
        if (r->quarantine)
            r->salvaged_bytes += renew_size_of(r, from);
        rc = r->quarantine ? r->io->rename(r->io, from, to) : r->io->unlink(r->io, from);
        if (rc != 0)
            return err_sys(e, ERR_IO, "%s: %s it", from, r->quarantine ? "moving" : "removing");
        if (r->quarantine && renew_sync_dirs(r, quarantine, e) != OK)
            return e->code;
    }
    if (r->n_later > 0 && r->io->sync_dir(r->io, r->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", r->dir);
    return OK;
}

static int renew_quarantine_last(struct renew *r, uint64_t first_lsn, uint64_t now_ms,
                                 struct err *e)
{
    char quarantine[CURSOR_PATH_MAX];
    int rc = renew_open_quarantine(r, quarantine, e);

    if (rc == OK && r->last != NULL)
        rc = renew_keep_last(r, first_lsn, now_ms, e);
    if (rc == OK)
        rc = renew_sync_dirs(r, quarantine, e);
    return rc;
}

/* ---- the copy ---- */

/* Writes one frame of the old file with a header for the new one. */
static int renew_copy_frame(struct renew *r, const struct scan_frame *f, uint8_t *payload,
                            struct cursor *c, struct err *e)
{
    bool sound;
    int rc = scan_payload(r->last, f, payload, &sound, e);

    if (rc != OK)
        return rc;
    if (!sound)
        return err_set(e, ERR_IO,
                       "%s: byte %llu reads differently the second time; check disk and memory",
                       r->last->path, (unsigned long long)f->pos);
    return cursor_copy(c, f->raw, &f->head, payload, e);
}

static int renew_copy_frames(struct renew *r, struct cursor *c, struct err *e)
{
    struct scan *s = r->last;
    uint64_t end = s->pos;
    uint8_t *payload = NULL;
    size_t cap = 0;
    int rc = OK;

    scan_rewind(s);
    while (rc == OK && s->pos < end) {
        struct scan_frame f;
        bool found;

        rc = scan_frame(s, &f, &found, e);
        if (rc == OK && !found)
            rc = err_set(e, ERR_IO,
                         "%s: byte %llu reads differently the second time; check disk and memory",
                         s->path, (unsigned long long)s->pos);
        if (rc == OK && f.head.payload_len > cap) {
            free(payload);
            cap = f.head.payload_len;
            payload = malloc(cap);
            if (payload == NULL)
                rc = err_set(e, ERR_NOMEM, "no memory to copy %s", s->path);
        }
        if (rc == OK && !wal_frame_is_marker(&f.head))
            rc = renew_copy_frame(r, &f, payload, c, e);
        if (rc == OK)
            scan_accept(s, &f);
    }
    free(payload);
    return rc;
}

/* A batch of one record: LSNs go on at skip_to. */
static int renew_put_skip(const struct renew *r, struct cursor *c, struct err *e)
{
    uint8_t body[1 + 1 + VARINT_MAX], *end;
    struct slice extent;
    struct batch b = { .extents = &extent,
                       .cap_extents = 1,
                       .first_lsn = r->next_lsn,
                       .index = r->next_index,
                       .clock = r->clock };
    int rc;

    end = varint_put(body + 2, r->skip_to);
    body[0] = (uint8_t)(end - body - 1);
    body[1] = RECORD_SKIP;
    batch_add(&b, body, (size_t)(end - body));
    rc = cursor_write(c, &b, e);
    c->next_lsn = r->skip_to;
    return rc;
}

/* The new file's header: the old one's place in the chain. */
static int renew_put_header(const struct renew *r, struct cursor *c, struct wal_header *h,
                            struct err *e)
{
    uint8_t bytes[WAL_HEADER_BYTES];
    struct iovec iov = { bytes, sizeof bytes };

    memcpy(h->uuid, r->uuid, WAL_UUID_BYTES);
    if (r->io->random(r->io, &h->salt, sizeof h->salt) != 0)
        return err_sys(e, ERR_IO, "%s: no randomness for its salt", c->path);
    wal_header_put(bytes, h);
    return cursor_put(r->io, c->fd, c->path, &iov, 1, 0, e);
}

/* Fills the new file, whose descriptor and size the cursor has. */
static int renew_fill(struct renew *r, struct cursor *c, struct wal_header *h, struct err *e)
{
    int rc = renew_put_header(r, c, h, e);

    if (rc != OK)
        return rc;
    c->seed = wal_seed(h->salt);
    c->pos = WAL_HEADER_BYTES;
    c->prev_crc = h->prev_crc;
    c->next_lsn = r->next_lsn;
    c->next_index = r->next_index;
    if (r->last_is_sound)
        rc = renew_copy_frames(r, c, e);
    if (rc == OK && r->skip_to != 0)
        rc = renew_put_skip(r, c, e);
    c->synced_lsn = c->next_lsn - 1;
    if (rc == OK &&
        (h->flags & WAL_RECOVERED) != 0) /* a new store's is empty until STORE is there */
        rc = cursor_mark(c, WAL_SYNC, e);
    if (rc == OK && r->io->fdatasync(r->io, c->fd) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing it", c->path);
    return rc;
}

/* Allocates the new file. A full disk may have room only in what was kept for later. */
static int renew_make(const struct renew *r, uint64_t size, struct spare *s, struct err *e)
{
    char reserve[CURSOR_PATH_MAX];
    int rc = spare_make(s, r->io, r->dir, WAL_NEXT_NAME, size, e);

    if (rc != ERR_FULL)
        return rc;
    renew_path(reserve, r, WAL_RESERVE_NAME);
    if (r->io->unlink(r->io, reserve) == 0)
        rc = spare_make(s, r->io, r->dir, WAL_NEXT_NAME, size, e);
    return rc;
}

static uint64_t renew_size(const struct renew *r)
{
    uint64_t need = (r->last_is_sound ? r->last->pos : WAL_HEADER_BYTES) + 2 * WAL_TAIL_BYTES;

    return need < r->file_bytes ? r->file_bytes : need;
}

/* With the new file full and durable: the names. */
static int renew_install(struct renew *r, uint64_t first_lsn, uint64_t now_ms, struct err *e)
{
    int rc = renew_clear_later(r, now_ms, e);

    return rc == OK ? spare_rename(r->io, r->dir, WAL_NEXT_NAME, first_lsn, e) : rc;
}

int renew_run(struct renew *r, struct cursor *c, struct err *e)
{
    struct wal_header h = { .first_lsn = r->next_lsn, .first_index = r->next_index };
    uint64_t now_ms = r->io->wall_ms(r->io);
    struct spare s = { .fd = -1 };
    int rc = OK;

    if (r->last_is_sound)
        h = r->last->header;
    h.size = renew_size(r);
    h.flags = r->last == NULL && r->skip_to == 0 ? 0 : WAL_RECOVERED;
    if (r->quarantine)
        rc = renew_quarantine_last(r, h.first_lsn, now_ms, e);
    if (rc == OK)
        rc = renew_make(r, h.size, &s, e);
    if (rc != OK)
        return rc == ERR_FULL ? err_add(e, "no space to start; free some and start again") : rc;
    *c = (struct cursor){ .io = r->io, .fd = s.fd, .size = s.size, .frame_bytes = r->frame_bytes };
    renew_path(c->path, r, WAL_NEXT_NAME);
    rc = renew_fill(r, c, &h, e);
    if (rc == OK)
        rc = renew_install(r, h.first_lsn, now_ms, e);
    if (rc != OK) {
        spare_drop(&s, r->io, r->dir, WAL_NEXT_NAME);
        return rc;
    }
    cursor_set_file(c, s.fd, r->dir, &h, c->pos);
    return OK;
}
