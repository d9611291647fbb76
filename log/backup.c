/*
 * backup.c - a second store out of one that is in use.
 *
 * Segments and checkpoints never change, so a second name is a copy; where a file system does not give one (another disk, or
 * too many names), bytes are copied. The log is copied, since its newest file is written: each file up to where its frames
 * end, the last one up to the end of the batch that was asked for. They are read as a start reads them, so that damage
 * is found now and not when the copy is needed.
 *
 * A file of the copy is as long as its header says (recover.c, R4); what lies behind its frames is a hole.
 *
 * STORE comes last, after everything else is durable: a directory with STORE is a whole store, and one without is none, which a
 * start tells. A failure removes what was made; after a crash the operator removes the directory.
 */
#include "log/backup.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/io.h"
#include "log/pool.h"
#include "log/store.h"

enum { BACKUP_NAME_MAX = 64, BACKUP_BUFFER_BYTES = SCAN_WINDOW_BYTES };

static int backup_go_on(const struct backup *b, struct err *e)
{
    if (b->pool != NULL && pool_is_stopping(b->pool))
        return err_set(e, ERR_IO, "%s: the backup is given up, since the log is being closed",
                       b->to);
    return OK;
}

/* ---- one file ---- */

static int backup_create(const struct backup *b, const char *path, int *fd, struct err *e)
{
    *fd = b->io->open(b->io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (*fd < 0)
        return err_sys(e, file_error(), "%s: creating it", path);
    return OK;
}

/* What was copied is made durable, and the descriptor closed in any case. */
static int backup_end_file(struct backup *b, const char *path, int fd, int rc, struct err *e)
{
    if (rc == OK && b->io->fdatasync(b->io, fd) != 0)
        rc = err_sys(e, file_error(), "%s: syncing it", path);
    b->io->close(b->io, fd);
    if (rc == OK)
        b->n_files_made++;
    return rc;
}

/* Writes n bytes at `pos`. */
static int backup_put(struct backup *b, int fd, const char *path, const uint8_t *p, size_t n,
                      uint64_t pos, struct err *e)
{
    struct iovec iov = { (void *)(uintptr_t)p, n };
    int rc = backup_go_on(b, e);

    if (rc == OK)
        rc = cursor_put(b->io, fd, path, &iov, 1, pos, e);
    if (rc == OK)
        b->bytes += n;
    return rc;
}

static int backup_copy_bytes(struct backup *b, int from, const char *from_path, int to,
                             const char *to_path, struct err *e)
{
    uint8_t *buffer = malloc(BACKUP_BUFFER_BYTES);
    uint64_t pos = 0;
    size_t got = BACKUP_BUFFER_BYTES;
    int rc = OK;

    if (buffer == NULL)
        return err_set(e, ERR_NOMEM, "%s: no memory to copy it", from_path);
    while (rc == OK && got == BACKUP_BUFFER_BYTES) {
        rc = file_read(b->io, from, from_path, pos, buffer, BACKUP_BUFFER_BYTES, &got, e);
        if (rc == OK && got > 0)
            rc = backup_put(b, to, to_path, buffer, got, pos, e);
        pos += got;
    }
    free(buffer);
    return rc;
}

static int backup_copy(struct backup *b, const char *from, const char *to, struct err *e)
{
    int in = b->io->open(b->io, from, IO_READ), out, rc;

    if (in < 0)
        return err_sys(e, ERR_IO, "%s: opening it", from);
    rc = backup_create(b, to, &out, e);
    if (rc == OK) {
        rc = backup_copy_bytes(b, in, from, out, to, e);
        rc = backup_end_file(b, to, out, rc, e);
    }
    b->io->close(b->io, in);
    return rc;
}

/* Whether a failed link means that bytes have to be copied. */
static bool backup_cannot_link(void)
{
    return errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EOPNOTSUPP ||
           errno == ENOSYS;
}

/* A second name for a file that never changes, or a copy. */
static int backup_link(struct backup *b, const char *name, struct err *e)
{
    char from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX];
    int rc = backup_go_on(b, e);

    if (rc != OK)
        return rc;
    file_path(from, b->dir, name);
    file_path(to, b->to, name);
    if (b->io->link(b->io, from, to) != 0) {
        if (!backup_cannot_link())
            return err_sys(e, file_error(), "%s: linking it as %s", from, to);
        return backup_copy(b, from, to, e);
    }
    b->n_files_made++;
    return OK;
}

/* ---- the log ---- */

static int backup_copy_frames(struct backup *b, struct scan *s, int fd, const char *path,
                              struct err *e)
{
    uint64_t pos = 0;

    while (pos < s->pos) {
        size_t n = s->pos - pos < SCAN_WINDOW_BYTES ? (size_t)(s->pos - pos) : SCAN_WINDOW_BYTES,
               got;
        const uint8_t *p;
        int rc = scan_bytes(s, pos, n, &p, &got, e);

        if (rc == OK && got < n)
            rc = err_set(e, ERR_IO, "%s: has become shorter", s->path);
        if (rc == OK)
            rc = backup_put(b, fd, path, p, n, pos, e);
        if (rc != OK)
            return rc;
        pos += n;
    }
    if (b->io->truncate(b->io, fd, s->header.size) != 0)
        return err_sys(e, file_error(), "%s: making it as long as it was", path);
    return OK;
}

/* One file of the log, whose frames end at s->pos. */
static int backup_wal_file(void *ctx, struct scan *s, const char *why, struct err *e)
{
    struct backup *b = ctx;
    char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];
    int fd, rc;

    if (why != NULL)
        return err_set(e, ERR_CORRUPT, "%s: is damaged at byte %llu (%s)", s->path,
                       (unsigned long long)s->pos, why);
    wal_name(s->header.first_lsn, name);
    file_path(path, b->to, name);
    rc = backup_create(b, path, &fd, e);
    if (rc != OK)
        return rc;
    rc = backup_copy_frames(b, s, fd, path, e);
    return backup_end_file(b, path, fd, rc, e);
}

static int backup_wal(struct backup *b, struct err *e)
{
    struct chain c = { .io = b->io,
                       .dir = b->dir,
                       .uuid = b->uuid,
                       .files = b->files,
                       .n_files = b->n_files,
                       .lsn = b->lsn };

    while (c.n_files > 0 && c.files->first_lsn < b->manifest->wal_first) { /* held, not needed */
        c.files++;
        c.n_files--;
    }
    assert(c.n_files > 0 && c.files->first_lsn == b->manifest->wal_first);
    return chain_each(&c, backup_wal_file, b, e);
}

/* ---- the store ---- */

/* Calls `each` for the names of all files that never change. */
static int backup_each_name(struct backup *b,
                            int (*each)(struct backup *b, const char *name, struct err *e),
                            struct err *e)
{
    char name[BACKUP_NAME_MAX];
    int rc = OK;

    for (size_t i = 0; i < b->manifest->n_checkpoints && rc == OK; i++) {
        checkpoint_name(b->manifest->checkpoints[i].start_lsn, false, name);
        rc = each(b, name, e);
    }
    for (size_t i = 0; i < b->manifest->n_segments && rc == OK; i++) {
        segment_name(b->manifest->segments[i].ordinal, false, name);
        rc = each(b, name, e);
    }
    return rc;
}

static int backup_is_foreign(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "lost+found") != 0;
}

static int backup_make_dir(struct backup *b, struct err *e)
{
    int rc;

    if (strlen(b->to) >= CURSOR_PATH_MAX - BACKUP_NAME_MAX)
        return err_set(e, ERR_USAGE, "the directory's name is longer than %d bytes",
                       CURSOR_PATH_MAX - BACKUP_NAME_MAX - 1);
    rc = file_make_dir(b->io, b->to, e);
    if (rc == ERR_IO) /* no such place, or no right to write there */
        return e->code = ERR_USAGE;
    if (rc != OK)
        return rc;
    rc = b->io->list(b->io, b->to, backup_is_foreign, NULL);
    if (rc < 0)
        return err_sys(e, ERR_USAGE, "%s: listing the directory", b->to);
    if (rc > 0)
        return err_set(e, ERR_USAGE, "%s: holds files; a backup needs an empty or a new directory",
                       b->to);
    return OK;
}

/* STORE, under another name first. */
static int backup_store(struct backup *b, struct err *e)
{
    char from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX];
    int rc;

    file_path(from, b->dir, STORE_NAME);
    file_path(to, b->to, STORE_TEMP);
    rc = backup_copy(b, from, to, e);
    return rc == OK ? file_publish(b->io, b->to, STORE_TEMP, STORE_NAME, e) : rc;
}

/* A store that has sealed nothing yet has none. Makes the names before it durable, too. */
static int backup_manifest(struct backup *b, struct err *e)
{
    struct manifest m = *b->manifest;
    int rc;

    m.n_obsolete = 0; /* they are not in the copy */
    if (m.generation == 0)
        return b->io->sync_dir(b->io, b->to) == 0
                   ? OK
                   : err_sys(e, ERR_IO, "%s: syncing the directory", b->to);
    rc = manifest_write(b->io, b->to, b->uuid, &m, &b->bytes, e);
    if (rc == OK)
        b->n_files_made++;
    return rc;
}

static int backup_fill(struct backup *b, struct err *e)
{
    int rc = backup_each_name(b, backup_link, e);

    if (rc == OK)
        rc = backup_wal(b, e);
    if (rc == OK)
        rc = backup_manifest(b, e);
    return rc == OK ? backup_store(b, e) : rc;
}

static int backup_unlink(struct backup *b, const char *name, struct err *e)
{
    char path[CURSOR_PATH_MAX];

    (void)e;
    file_path(path, b->to, name);
    b->io->unlink(b->io, path); /* it may not have been made; nothing more can be done */
    return OK;
}

/* STORE first: what it stands for is no longer whole. */
static void backup_remove(struct backup *b)
{
    static const char *const names[] = { STORE_NAME, STORE_TEMP, MANIFEST_NAME,
                                         MANIFEST_NAME ".tmp" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        err_ignore(backup_unlink(b, names[i], NULL));
    for (size_t i = 0; i < b->n_files; i++) {
        char name[WAL_NAME_MAX];
        wal_name(b->files[i].first_lsn, name);
        err_ignore(backup_unlink(b, name, NULL));
    }
    err_ignore(backup_each_name(b, backup_unlink, NULL));
}

int backup_run(struct backup *b, struct err *e)
{
    struct err own;
    int rc;

    if (e == NULL)
        e = &own;
    b->n_files_made = b->bytes = 0;
    rc = backup_make_dir(b, e);
    if (rc != OK)
        return rc;
    rc = backup_fill(b, e);
    if (rc != OK)
        backup_remove(b);
    return rc;
}
