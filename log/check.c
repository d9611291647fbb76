/*
 * check.c - every byte of a store, read and compared with its checksums.
 *
 * The store is in use meanwhile: the caller holds what is read, so nothing of it disappears, and what comes later is not
 * looked at. A damaged place does not end the check; nor does a sector that the disk does not give back, which is
 * as bad to who needs it, and a place like any other. MANIFEST is read as it lies there now: it may be newer than what the
 * caller holds, but whole it has to be.
 */
#include "log/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/pool.h"

static int check_go_on(const struct check *c, struct err *e)
{
    if (c->pool != NULL && pool_is_stopping(c->pool))
        return err_set(e, ERR_IO, "%s: the check is given up, since the log is being closed",
                       c->dir);
    return OK;
}

/* Notes a damaged place. */
static void check_found(void *ctx, const char *path, uint64_t pos, const char *what)
{
    struct check *c = ctx;
    struct check_place *place;

    c->n_damaged++;
    if (c->n_places == c->cap_places) { /* all or none: memory may be short */
        if (c->places != NULL)
            return;
        c->places = calloc(CHECK_PLACES_MAX, sizeof *c->places);
        if (c->places == NULL)
            return;
        c->cap_places = CHECK_PLACES_MAX;
    }
    place = &c->places[c->n_places++];
    snprintf(place->path, sizeof place->path, "%s", path);
    snprintf(place->what, sizeof place->what, "%s", what);
    place->pos = pos;
}

/* What reading a whole file came to: damage and errors of the disk are places, anything else ends the check. */
static int check_note(struct check *c, const char *path, int rc, const struct err *e)
{
    size_t n = strlen(path);
    bool names_it =
        rc != OK && strncmp(e->text, path, n) == 0 && strncmp(e->text + n, ": ", 2) == 0;

    if (rc != ERR_CORRUPT && rc != ERR_FORMAT && rc != ERR_IO)
        return rc;
    check_found(c, path, 0, names_it ? e->text + n + 2 : e->text);
    return OK;
}

static int check_manifest(struct check *c, struct err *e)
{
    char path[CURSOR_PATH_MAX];
    struct manifest m;
    bool found;
    int rc;

    if (c->manifest->generation == 0)
        return OK;
    file_path(path, c->dir, MANIFEST_NAME);
    rc = manifest_read(c->io, c->dir, c->uuid, &m, &found, e);
    c->n_files_read++;
    if (rc == OK && !found)
        check_found(c, path, 0, "is missing");
    if (rc == OK)
        manifest_fini(&m);
    return check_note(c, path, rc, e);
}

static int check_checkpoints(struct check *c, struct err *e)
{
    for (size_t i = 0; i < c->manifest->n_checkpoints; i++) {
        const struct manifest_checkpoint *k = &c->manifest->checkpoints[i];
        char name[CHECKPOINT_NAME_MAX], path[CURSOR_PATH_MAX];
        int rc = check_go_on(c, e);

        if (rc != OK)
            return rc;
        checkpoint_name(k->start_lsn, false, name);
        file_path(path, c->dir, name);
        rc = checkpoint_verify(c->io, c->dir, c->uuid, k->start_lsn, k, NULL, e);
        c->n_files_read++;
        c->bytes += k->file_bytes;
        rc = check_note(c, path, rc, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int check_segments(struct check *c, struct err *e)
{
    for (size_t i = 0; i < c->view->n; i++) {
        struct segment *s = c->view->segments[i];
        uint64_t before = c->n_damaged;
        int rc = check_go_on(c, e);

        if (rc != OK)
            return rc;
        rc = segment_verify(s, check_found, c, e);
        c->n_files_read++;
        c->bytes += segment_info(s)->file_bytes;
        if (rc == ERR_CORRUPT && c->n_damaged > before)
            continue; /* it has told the places */
        rc = check_note(c, segment_path(s), rc, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int check_wal_file(void *ctx, struct scan *s, const char *why, struct err *e)
{
    struct check *c = ctx;

    c->n_files_read++;
    c->bytes += s->pos;
    if (why != NULL)
        check_found(c, s->path, s->pos, why);
    return check_go_on(c, e);
}

static int check_wal(struct check *c, struct err *e)
{
    struct chain chain = { .io = c->io,
                           .dir = c->dir,
                           .uuid = c->uuid,
                           .files = c->files,
                           .n_files = c->n_files,
                           .lsn = c->lsn };
    int rc = check_go_on(c, e);

    if (rc == OK)
        rc = chain_each(&chain, check_wal_file, c, e);
    if (rc == ERR_IO && check_go_on(c, NULL) == OK) {
        check_found(c, c->dir, 0, e->text); /* it names the file */
        return OK;
    }
    return rc;
}

int check_run(struct check *c, struct err *e)
{
    struct err own;
    int rc;

    if (e == NULL)
        e = &own;
    c->n_files_read = c->bytes = c->n_damaged = 0;
    c->places = NULL;
    c->n_places = c->cap_places = 0;
    rc = check_manifest(c, e);
    if (rc == OK)
        rc = check_checkpoints(c, e);
    if (rc == OK)
        rc = check_segments(c, e);
    if (rc == OK)
        rc = check_wal(c, e);
    if (rc == OK && c->n_damaged > 0)
        rc = err_set(e, ERR_CORRUPT, "%s: %" PRIu64 " damaged places", c->dir, c->n_damaged);
    return rc;
}

void check_fini(struct check *c)
{
    free(c->places);
    c->places = NULL;
    c->n_places = c->cap_places = 0;
}
