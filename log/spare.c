/*
 * spare.c - files kept ahead of need.
 *
 * Allocating costs a transaction of the file system and can fail for lack of space; both belong
 * before the moment at which a batch waits. A spare has no place in the log until spare_enlist has
 * made header and size durable and then renamed it, so a crash leaves either no file or a whole
 * one. A left-over is never used: what is in it, nobody knows.
 */
#include "log/spare.h"

#include <errno.h>
#include "log/cursor.h"
#include "log/file.h"
#include "log/io.h"

int spare_make(struct spare *s, struct io *io, const char *dir, const char *name, uint64_t size,
               struct err *e)
{
    char path[CURSOR_PATH_MAX];
    int fd, rc;

    file_path(path, dir, name);
    if (io->unlink(io, path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing a left-over", path);
    fd = io->open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (fd < 0)
        return err_sys(e, file_error(), "%s: creating it", path);
    if (io->allocate(io, fd, size) != 0) {
        rc = err_sys(e, file_error(), "%s: allocating %llu bytes", path, (unsigned long long)size);
        io->close(io, fd);
        io->unlink(io, path);
        return rc;
    }
    s->fd = fd;
    s->size = size;
    return OK;
}

int spare_grow(struct spare *s, struct io *io, const char *dir, const char *name, uint64_t size,
               struct err *e)
{
    char path[CURSOR_PATH_MAX];

    if (size <= s->size)
        return OK;
    file_path(path, dir, name);
    if (io->allocate(io, s->fd, size) != 0) {
        int rc =
            err_sys(e, file_error(), "%s: allocating %llu bytes", path, (unsigned long long)size);
        err_ignore(io->truncate(io, s->fd, s->size)); /* what it got of the space goes back */
        return rc;
    }
    s->size = size;
    return OK;
}

int spare_rename(struct io *io, const char *dir, const char *name, uint64_t first_lsn,
                 struct err *e)
{
    char final[WAL_NAME_MAX];

    wal_name(first_lsn, final);
    return file_publish(io, dir, name, final, e);
}

int spare_enlist(struct spare *s, struct io *io, const char *dir, const char *name,
                 struct wal_header *h, struct err *e)
{
    uint8_t header[WAL_HEADER_BYTES];
    struct iovec iov = { header, sizeof header };
    char path[CURSOR_PATH_MAX];
    int rc;

    file_path(path, dir, name);
    h->size = s->size;
    wal_header_put(header, h);
    rc = cursor_put(io, s->fd, path, &iov, 1, 0, e);
    if (rc != OK)
        return rc;
    if (io->fdatasync(io, s->fd) != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", path);
    rc = spare_rename(io, dir, name, h->first_lsn, e);
    if (rc == OK)
        *s = (struct spare){ .fd = -1 };
    return rc;
}

void spare_drop(struct spare *s, struct io *io, const char *dir, const char *name)
{
    char path[CURSOR_PATH_MAX];

    if (!spare_is_ready(s))
        return;
    file_path(path, dir, name);
    io->close(io, s->fd);
    io->unlink(io, path);
    *s = (struct spare){ .fd = -1 };
}
