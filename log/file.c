/*
 * file.c - small steps with files, and what their failures mean.
 *
 * A file gets its name only when its bytes are durable, so that what has a name is whole: write
 * under another name, fdatasync, rename, sync the directory. The last two are file_publish.
 */
#include "log/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "log/bug.h"
#include "log/io.h"

void file_path(char out[CURSOR_PATH_MAX], const char *dir, const char *name)
{
    snprintf(out, CURSOR_PATH_MAX, "%s/%s", dir, name);
}

int file_error(void)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return ERR_FULL;
    default: return ERR_IO;
    }
}

int file_read(struct io *io, int fd, const char *path, uint64_t pos, void *to, size_t n,
              size_t *got, struct err *e)
{
    size_t have = 0;

    while (have < n) {
        ssize_t rc = io->pread(io, fd, (uint8_t *)to + have, n - have, pos + have);
        if (rc < 0)
            return err_sys(e, ERR_IO, "%s: reading at byte %llu", path,
                           (unsigned long long)(pos + have));
        if (rc == 0)
            break;
        have += (size_t)rc;
    }
    *got = have;
    return OK;
}

/* The part of a path before its last name. */
static void file_parent(char out[CURSOR_PATH_MAX], const char *dir)
{
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    while (n > 0 && dir[n - 1] != '/')
        n--;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0)
        snprintf(out, CURSOR_PATH_MAX, ".");
    else
        snprintf(out, CURSOR_PATH_MAX, "%.*s", (int)n, dir);
}

/* A directory that exists may be the work of somebody who died before its name was durable, so the
 * parent is synced in any case, if we may read it. */
int file_make_dir(struct io *io, const char *dir, struct err *e)
{
    char parent[CURSOR_PATH_MAX];
    bool exists = io->mkdir(io, dir) != 0;

    if (exists && errno != EEXIST)
        return err_sys(e, file_error(), "%s: creating the directory", dir);
    file_parent(parent, dir);
    if (io->sync_dir(io, parent) != 0 && !(exists && errno == EACCES))
        return err_sys(e, ERR_IO, "%s: syncing the directory", parent);
    return OK;
}

int file_rename(struct io *io, const char *dir, const char *from, const char *to, struct err *e)
{
    char from_path[CURSOR_PATH_MAX], to_path[CURSOR_PATH_MAX];

    file_path(from_path, dir, from);
    file_path(to_path, dir, to);
    if (io->rename(io, from_path, to_path) != 0)
        return err_sys(e, file_error(), "%s: renaming it to %s", from_path, to);
    return OK;
}

int file_publish(struct io *io, const char *dir, const char *from, const char *to, struct err *e)
{
    int rc = file_rename(io, dir, from, to, e);

    if (rc == OK && !BUG(BUG_NO_DIRECTORY_SYNC) && io->sync_dir(io, dir) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing the directory", dir);
    return rc;
}
