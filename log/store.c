/*
 * store.c - identity and lock of a data directory.
 *
 *        0       8     12      16       20    24     40          48      60    64
 *        | magic | ver | compat| incompat| 0  | uuid | created ms| 0 ... | crc |
 *
 * compat bits name additions that an older program may ignore, incompat bits those that it must not
 * touch. None is defined yet. crc is over the 60 bytes before it.
 *
 * Creation: STORE.tmp is created and locked first, so of two processes one wins; then the first
 * file of the log is made, and only then STORE.tmp is written, synced and renamed. STORE therefore
 * stands for a store that has its log: a directory with STORE and without a log has lost something.
 * The lock is on the open file, not on the name, and survives the rename.
 *
 * A directory in which anything else lies is not ours to fill.
 */
#include "log/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/cursor.h"
#include "log/file.h"
#include "log/io.h"
#include "log/log.h"

static const char store_magic[8] = "BECKSTO"; /* with its final zero */

static void store_put(uint8_t p[STORE_BYTES], const struct store *s, uint64_t now_ms)
{
    memset(p, 0, STORE_BYTES);
    memcpy(p, store_magic, sizeof store_magic);
    put_u32le(p + 8, STORE_VERSION);
    memcpy(p + 24, s->uuid, WAL_UUID_BYTES);
    put_u64le(p + 40, now_ms);
    put_u32le(p + STORE_BYTES - 4, crc32c(0, p, STORE_BYTES - 4));
}

static int store_get(struct store *s, const uint8_t p[STORE_BYTES], const char *path, struct err *e)
{
    static const uint8_t zeros[12];

    if (memcmp(p, store_magic, sizeof store_magic) != 0)
        return err_set(e, ERR_FORMAT, "%s: is not Beck's; give --dir a directory of its own", path);
    if (get_u32le(p + STORE_BYTES - 4) != crc32c(0, p, STORE_BYTES - 4))
        return err_set(e, ERR_CORRUPT,
                       "%s: is damaged (its checksum is wrong); restore this file from a backup",
                       path);
    if (get_u32le(p + 8) != STORE_VERSION)
        return err_set(e, ERR_FORMAT,
                       "%s: the store is of format %u, this beckd knows %d; use the newer beckd",
                       path, (unsigned)get_u32le(p + 8), STORE_VERSION);
    if (get_u32le(p + 16) != 0)
        return err_set(
            e, ERR_FORMAT,
            "%s: the store needs features 0x%x that this beckd does not have; use the newer beckd",
            path, (unsigned)get_u32le(p + 16));
    if (get_u32le(p + 20) != 0 || memcmp(p + 48, zeros, sizeof zeros) != 0)
        return err_set(e, ERR_FORMAT, "%s: uses what only a newer beckd knows; use the newer beckd",
                       path);
    memcpy(s->uuid, p + 24, WAL_UUID_BYTES);
    return OK;
}

/* Reads STORE, which is locked. */
static int store_read(struct store *s, struct io *io, const char *path, struct err *e)
{
    uint8_t bytes[STORE_BYTES + 1];
    size_t n = 0;

    while (n < sizeof bytes) {
        ssize_t got = io->pread(io, s->fd, bytes + n, sizeof bytes - n, n);
        if (got < 0)
            return err_sys(e, ERR_IO, "%s: reading it", path);
        if (got == 0)
            break;
        n += (size_t)got;
    }
    if (n != STORE_BYTES)
        return err_set(e, ERR_CORRUPT,
                       "%s: is damaged (%s %d bytes); restore this file from a backup", path,
                       n < STORE_BYTES ? "shorter than" : "longer than", STORE_BYTES);
    return store_get(s, bytes, path, e);
}

static int store_lock(struct store *s, struct io *io, const char *path, struct err *e)
{
    if (io->lock(io, s->fd) == 0)
        return OK;
    if (errno == EWOULDBLOCK)
        return err_set(e, ERR_LOCKED,
                       "%s: in use by another beckd; stop that one, or give this one another --dir",
                       path);
    return err_sys(e, ERR_IO, "%s: locking it", path);
}

/* Stops at the first name that an unfinished creation does not leave. */
static int store_is_foreign(void *ctx, const char *name)
{
    char first[WAL_NAME_MAX];

    (void)ctx;
    wal_name(LOG_FIRST_LSN, first);
    return strcmp(name, STORE_TEMP) != 0 && strcmp(name, WAL_NEXT_NAME) != 0 &&
           strcmp(name, WAL_RESERVE_NAME) != 0 && strcmp(name, first) != 0 &&
           strcmp(name, "lost+found") != 0;
}

/* Whether the first log file there holds only its header, as an unfinished creation leaves it. */
static int store_check_first(struct io *io, const char *dir, struct err *e)
{
    char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];
    uint8_t bytes[4096];
    uint64_t pos = WAL_HEADER_BYTES;
    ssize_t got;
    int fd, rc = OK;

    wal_name(LOG_FIRST_LSN, name);
    file_path(path, dir, name);
    fd = io->open(io, path, IO_READ);
    if (fd < 0)
        return errno == ENOENT ? OK : err_sys(e, ERR_IO, "%s: opening it", path);
    while (rc == OK && (got = io->pread(io, fd, bytes, sizeof bytes, pos)) != 0) {
        if (got < 0)
            rc = err_sys(e, ERR_IO, "%s: reading it", path);
        for (ssize_t i = 0; i < got && rc == OK; i++)
            if (bytes[i] != 0)
                rc = err_set(e, ERR_CORRUPT,
                             "%s/" STORE_NAME
                             ": is missing, but %s holds records; restore it from a backup",
                             dir, name);
        pos += (uint64_t)(got > 0 ? got : 0);
    }
    io->close(io, fd);
    return rc;
}

/* Checks that nothing but remains of a creation are here. */
static int store_check_empty(struct io *io, const char *dir, struct err *e)
{
    int rc = store_check_first(io, dir, e);

    if (rc != OK)
        return rc;
    rc = io->list(io, dir, store_is_foreign, NULL);
    if (rc < 0)
        return err_sys(e, ERR_IO, "%s: listing the directory", dir);
    if (rc > 0)
        return err_set(e, ERR_FORMAT,
                       "%s: holds files but no store; give --dir an empty or a new directory", dir);
    return OK;
}

static int store_begin(struct store *s, struct io *io, const char *dir, struct err *e)
{
    char path[CURSOR_PATH_MAX];
    int rc = store_check_empty(io, dir, e);

    if (rc != OK)
        return rc;
    file_path(path, dir, STORE_TEMP);
    s->fd = io->open(io, path, IO_WRITE | IO_CREATE);
    if (s->fd < 0)
        return err_sys(e, errno == ENOSPC ? ERR_FULL : ERR_IO,
                       "%s: creating it (beckd must be able to write its directory)", path);
    file_path(path, dir, STORE_NAME);
    rc = store_lock(s, io, path, e);
    if (rc != OK)
        return rc;
    if (io->random(io, s->uuid, sizeof s->uuid) != 0)
        return err_sys(e, ERR_IO, "%s: no randomness for its identity", path);
    s->is_new = true;
    return OK;
}

/* Opens STORE if it is there; s->fd stays -1 if not. */
static int store_try(struct store *s, struct io *io, const char *path, struct err *e)
{
    s->fd = io->open(io, path, IO_WRITE);
    if (s->fd < 0 && errno == ENOENT)
        return OK;
    if (s->fd < 0)
        return err_sys(e, ERR_IO, "%s: opening it (beckd must be able to write its directory)",
                       path);
    return store_lock(s, io, path, e);
}

static int store_find(struct store *s, struct io *io, const char *dir, const char *path,
                      struct err *e)
{
    int rc = store_try(s, io, path, e);

    if (rc != OK)
        return rc;
    if (s->fd >= 0)
        return store_read(s, io, path, e);
    rc = file_make_dir(io, dir, e);
    return rc == OK ? store_begin(s, io, dir, e) : rc;
}

int store_open(struct store *s, struct io *io, const char *dir, struct err *e)
{
    char path[CURSOR_PATH_MAX];
    int rc, fd;

    *s = (struct store){ .fd = -1 };
    if (strlen(dir) >= CURSOR_PATH_MAX - WAL_NAME_MAX)
        return err_set(e, ERR_USAGE, "the directory's name is longer than %d bytes",
                       CURSOR_PATH_MAX - WAL_NAME_MAX - 1);
    file_path(path, dir, STORE_NAME);
    rc = store_find(s, io, dir, path, e);
    if (rc == OK && s->is_new && (fd = io->open(io, path, IO_READ)) >= 0) {
        io->close(io, fd);
        rc = err_set(e, ERR_LOCKED, "%s: another beckd has just created it; start again", path);
    }
    if (rc != OK)
        store_close(s, io);
    return rc;
}

int store_commit(struct store *s, struct io *io, const char *dir, struct err *e)
{
    char from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX];
    uint8_t bytes[STORE_BYTES];
    struct iovec iov = { bytes, sizeof bytes };
    int rc;

    file_path(from, dir, STORE_TEMP);
    file_path(to, dir, STORE_NAME);
    store_put(bytes, s, io->wall_ms(io));
    if (io->truncate(io, s->fd, 0) != 0)
        return err_sys(e, ERR_IO, "%s: emptying it", from);
    rc = cursor_put(io, s->fd, from, &iov, 1, 0, e);
    if (rc != OK)
        return rc;
    if (io->fdatasync(io, s->fd) != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", from);
    if (io->rename(io, from, to) != 0)
        return err_sys(e, ERR_IO, "%s: renaming it to " STORE_NAME, from);
    if (io->sync_dir(io, dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", dir);
    s->is_new = false;
    return OK;
}

void store_close(struct store *s, struct io *io)
{
    if (s->fd >= 0)
        io->close(io, s->fd);
    s->fd = -1;
}
