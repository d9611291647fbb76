/*
 * offline.c - what is in a store's directory.
 *
 * A store is opened for one thing at a time: its lock is taken, so that no beckd starts meanwhile, and none is running. A
 * directory without STORE is not made one.
 *
 * Nothing here removes a file that is not in quarantine/ under another name.
 */
#include "cli/offline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/checkpoint.h"
#include "log/clerk.h"
#include "log/file.h"
#include "log/log.h"

#define OFFLINE_QUARANTINE_NAME "quarantine"

enum { OFFLINE_NAME_MAX = 256 };

int offline_fail(const struct offline *o, const struct err *e)
{
    cli_message(o->cli, "%s", e->text);
    return EXIT_RUNTIME;
}

/* ---- the directory ---- */

static bool offline_ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

/* A .tmp file is one only if its name is one that Beck gives. */
static bool offline_is_spare(const char *name)
{
    uint64_t number;
    bool unfinished;

    return strcmp(name, WAL_NEXT_NAME) == 0 || strcmp(name, WAL_RESERVE_NAME) == 0 ||
           strcmp(name, CLERK_RESERVE_NAME) == 0 || strcmp(name, STORE_TEMP) == 0 ||
           strcmp(name, MANIFEST_NAME ".tmp") == 0 ||
           (offline_ends(name, ".tmp") && (segment_name_parse(name, &number, &unfinished) ||
                                           checkpoint_name_parse(name, &number, &unfinished)));
}

static enum offline_kind offline_kind_of(const char *name, uint64_t *number)
{
    bool unfinished;

    *number = 0;
    if (strcmp(name, STORE_NAME) == 0)
        return OFFLINE_STORE;
    if (strcmp(name, MANIFEST_NAME) == 0)
        return OFFLINE_MANIFEST;
    if (strcmp(name, OFFLINE_QUARANTINE_NAME) == 0)
        return OFFLINE_QUARANTINE;
    if (offline_is_spare(name))
        return OFFLINE_SPARE;
    if (wal_name_parse(name, number))
        return OFFLINE_WAL;
    if (segment_name_parse(name, number, &unfinished))
        return OFFLINE_SEGMENT;
    if (checkpoint_name_parse(name, number, &unfinished))
        return OFFLINE_CHECKPOINT;
    return OFFLINE_FOREIGN;
}

static int offline_add(void *ctx, const char *name)
{
    struct offline *o = ctx;
    struct offline_file f;

    if (o->n == o->cap) {
        size_t cap = o->cap == 0 ? 64 : 2 * o->cap;
        struct offline_file *files = realloc(o->files, cap * sizeof *files);
        if (files == NULL)
            return 1;
        o->files = files;
        o->cap = cap;
    }
    f = (struct offline_file){ .name = strdup(name) };
    if (f.name == NULL)
        return 1;
    f.kind = offline_kind_of(name, &f.number);
    o->files[o->n++] = f;
    return 0;
}

static int offline_compare(const void *a, const void *b)
{
    const struct offline_file *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The file's size; one that cannot be opened (a directory, no permission) has none here. */
static uint64_t offline_size(struct offline *o, const char *name)
{
    char path[CURSOR_PATH_MAX];
    uint64_t bytes = 0;
    int fd;

    file_path(path, o->dir, name);
    fd = o->io.open(&o->io, path, IO_READ);
    if (fd < 0)
        return 0;
    if (o->io.size(&o->io, fd, &bytes) != 0)
        bytes = 0;
    o->io.close(&o->io, fd);
    return bytes;
}

static int offline_list(struct offline *o, struct err *e)
{
    int rc = o->io.list(&o->io, o->dir, offline_add, o);

    if (rc < 0)
        return err_sys(e, ERR_IO, "%s: listing the directory", o->dir);
    if (rc > 0)
        return err_set(e, ERR_NOMEM, "%s: no memory for its list of files", o->dir);
    qsort(o->files, o->n, sizeof *o->files, offline_compare);
    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind < OFFLINE_QUARANTINE)
            o->files[i].bytes = offline_size(o, o->files[i].name);
    return OK;
}

const struct offline_file *offline_find(const struct offline *o, enum offline_kind kind,
                                        uint64_t number)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind == kind && o->files[i].number == number)
            return &o->files[i];
    return NULL;
}

bool offline_is_part(const struct offline *o, const struct offline_file *f)
{
    const struct manifest *m = &o->manifest;

    if (f->kind == OFFLINE_WAL)
        return f->number >= m->wal_first;
    for (size_t i = 0; f->kind == OFFLINE_SEGMENT && i < m->n_segments; i++)
        if (m->segments[i].ordinal == f->number)
            return true;
    for (size_t i = 0; f->kind == OFFLINE_CHECKPOINT && i < m->n_checkpoints; i++)
        if (m->checkpoints[i].start_lsn == f->number)
            return true;
    return f->kind == OFFLINE_STORE || f->kind == OFFLINE_MANIFEST;
}

/* ---- opening ---- */

/* Whether there is a STORE at all: only then may store_open see the directory. */
static int offline_check_dir(struct offline *o)
{
    char path[CURSOR_PATH_MAX];
    int fd;

    if (strlen(o->dir) >= CURSOR_PATH_MAX - OFFLINE_NAME_MAX) {
        cli_message(o->cli, "the directory's name is too long");
        return EXIT_USAGE;
    }
    file_path(path, o->dir, STORE_NAME);
    fd = o->io.open(&o->io, path, IO_READ);
    if (fd >= 0) {
        o->io.close(&o->io, fd);
        return EXIT_OK;
    }
    if (errno != ENOENT && errno != ENOTDIR) {
        cli_message(o->cli, "%s: %s", path, strerror(errno));
        return EXIT_RUNTIME;
    }
    cli_message(o->cli, "%s: there is no store (it has no file STORE)", o->dir);
    fputs("Name the directory that beckd has as --dir.\n", stderr);
    return EXIT_USAGE;
}

static int offline_lock(struct offline *o)
{
    struct err e = { 0 };
    int rc = store_open(&o->store, &o->io, o->dir, &e);

    if (rc == ERR_LOCKED) {
        cli_message(o->cli, "%s: a beckd uses this store", o->dir);
        fputs("Stop it first. What a running one can tell: beck call BECK LOG, beck call BECK "
              "CHECK\n",
              stderr);
        return EXIT_USAGE;
    }
    return rc == OK ? EXIT_OK : offline_fail(o, &e);
}

/* As if MANIFEST said nothing: the log begins with what is there. */
static void offline_do_without(struct offline *o)
{
    manifest_init(&o->manifest);
    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind == OFFLINE_WAL) {
            o->manifest.wal_first = o->files[i].number;
            return;
        }
}

int offline_open(struct offline *o, struct cli *cli, const char *dir)
{
    struct err e = { 0 };
    int status, rc;

    *o = (struct offline){ .cli = cli, .dir = dir, .store.fd = -1 };
    io_init_real(&o->io);
    manifest_init(&o->manifest);
    status = offline_check_dir(o);
    if (status == EXIT_OK)
        status = offline_lock(o);
    if (status != EXIT_OK)
        return status;
    if (offline_list(o, &e) != OK)
        return offline_fail(o, &e);
    rc = manifest_read(&o->io, dir, o->store.uuid, &o->manifest, &o->has_manifest,
                       &o->manifest_error);
    if (rc != OK && rc != ERR_CORRUPT)
        return offline_fail(o, &o->manifest_error);
    if (rc != OK)
        offline_do_without(o);
    return EXIT_OK;
}

void offline_close(struct offline *o)
{
    store_close(&o->store, &o->io);
    manifest_fini(&o->manifest);
    for (size_t i = 0; i < o->n; i++)
        free(o->files[i].name);
    free(o->files);
    o->files = NULL;
    o->n = o->cap = 0;
}

/* ---- the log ---- */

int offline_start(struct offline *o, const struct manifest *m, struct keeper_start *out,
                  struct err *e)
{
    int rc = OK;

    *out = (struct keeper_start){ .wal_first = m->wal_first,
                                  .sealed_lsn = m->sealed_lsn,
                                  .clock = m->clock };
    for (size_t i = 0; i < m->n_checkpoints; i++) {
        const struct manifest_checkpoint *c = &m->checkpoints[i];
        rc = checkpoint_verify(&o->io, o->dir, o->store.uuid, c->start_lsn, c, NULL, e);
        if (rc != OK)
            continue;
        out->start_lsn = c->start_lsn;
        out->end_lsn = c->end_lsn;
        break;
    }
    return rc;
}

int offline_look(struct offline *o, const struct keeper_start *start,
                 int (*replay)(void *ctx, const struct log_record *r, struct err *e), void *ctx,
                 struct recover_verdict *out, struct err *e)
{
    struct log_options options = { .io = &o->io,
                                   .dir = o->dir,
                                   .file_bytes = LOG_FILE_BYTES_DEFAULT,
                                   .host = { .ctx = ctx, .replay = replay } };
    struct recover_options r = { .log = &options, .uuid = o->store.uuid, .start = *start };

    return recover_look(&r, out, e);
}

/* ---- setting aside ---- */

int offline_keep(struct offline *o, const char *name, struct err *e)
{
    char quarantine[CURSOR_PATH_MAX], from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX];
    char place[OFFLINE_NAME_MAX + 64];

    file_path(quarantine, o->dir, OFFLINE_QUARANTINE_NAME);
    if (o->io.mkdir(&o->io, quarantine) != 0 && errno != EEXIST)
        return err_sys(e, file_error(), "%s: creating it", quarantine);
    snprintf(place, sizeof place, OFFLINE_QUARANTINE_NAME "/%s.%" PRIu64, name,
             o->io.wall_ms(&o->io));
    file_path(from, o->dir, name);
    file_path(to, o->dir, place);
    if (o->io.link(&o->io, from, to) != 0)
        return err_sys(e, file_error(), "%s: keeping it as %s", from, to);
    if (o->io.sync_dir(&o->io, quarantine) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", quarantine);
    if (o->io.sync_dir(&o->io, o->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", o->dir);
    return OK;
}

int offline_remove(struct offline *o, const char *name, struct err *e)
{
    char path[CURSOR_PATH_MAX];

    file_path(path, o->dir, name);
    if (o->io.unlink(&o->io, path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing it", path);
    if (o->io.sync_dir(&o->io, o->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", o->dir);
    return OK;
}
