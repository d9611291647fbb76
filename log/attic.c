/*
 * attic.c - what else lies in the directory.
 *
 * Only the manifest makes a file part of the store. Others of our names can be there for three reasons:
 *
 * - They were never finished: .tmp. They hold nothing and are removed.
 * - A crash came between a file's name and the manifest that was to tell of it, or between the manifest that does
 *   without it and its removal. Such a file is sound, ours, and its place in the log fits: a segment behind all that is
 *   sealed, one with the range of adjoining listed ones (merged from them), a checkpoint. Its content is elsewhere too.
 *   It is removed, but only when the start has succeeded without it: if it fails, all is as it was. After a salvage,
 *   which succeeds with anything, it is set aside as well.
 * - Anything else is not understood. It is moved into quarantine/ and named, never removed.
 *
 * Names that are not ours are left alone.
 */
#include "log/attic.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/io.h"
#include "log/log.h"
#include "log/manifest.h"
#include "log/segment.h"

#define ATTIC_QUARANTINE "quarantine"

static int attic_put(struct attic *a, const char *name, bool foreign)
{
    if (a->n == a->cap) {
        size_t cap = a->cap == 0 ? 16 : 2 * a->cap;
        struct attic_file *files = realloc(a->files, cap * sizeof *files);
        if (files == NULL)
            return ERR_NOMEM;
        a->files = files;
        a->cap = cap;
    }
    a->files[a->n].foreign = foreign;
    snprintf(a->files[a->n++].name, ATTIC_NAME_MAX, "%s", name);
    return OK;
}

static void attic_note(struct attic *a, const char *name, const char *why)
{
    size_t n = strlen(a->note);

    snprintf(a->note + n, sizeof a->note - n, "%s%s (%s)", n > 0 ? ", " : "", name, why);
}

int attic_add(struct attic *a, const char *name, const char *why, struct err *e)
{
    if (attic_put(a, name, true) != OK)
        return err_set(e, ERR_NOMEM, "%s: no memory for its list of files", a->dir);
    attic_note(a, name, why);
    return OK;
}

/* ---- which there are ---- */

static int attic_each(void *ctx, const char *name)
{
    uint64_t number;
    bool unfinished;

    if (!segment_name_parse(name, &number, &unfinished) &&
        !checkpoint_name_parse(name, &number, &unfinished))
        return 0;
    return attic_put(ctx, name, false);
}

static bool attic_names_segment(const struct manifest *m, uint64_t ordinal)
{
    for (size_t i = 0; i < m->n_segments; i++)
        if (m->segments[i].ordinal == ordinal)
            return true;
    for (size_t i = 0; i < m->n_obsolete; i++)
        if (m->obsolete[i] == ordinal)
            return true;
    return false;
}

static bool attic_names_checkpoint(const struct manifest *m, uint64_t start_lsn)
{
    for (size_t i = 0; i < m->n_checkpoints; i++)
        if (m->checkpoints[i].start_lsn == start_lsn)
            return true;
    return false;
}

/* ---- why ---- */

/* Whether it replaces adjoining segments that are listed, or is a later one. */
static bool attic_fits(const struct manifest *m, const struct segment_info *info)
{
    bool begins = false;

    if (info->lsn_first > m->sealed_lsn)
        return true;
    for (size_t i = 0; i < m->n_segments; i++) {
        begins |= m->segments[i].lsn_first == info->lsn_first;
        if (begins && m->segments[i].lsn_last == info->lsn_last)
            return true;
    }
    return false;
}

static bool attic_is_own_segment(struct attic *a, const struct manifest *m, uint64_t ordinal)
{
    struct segment *s;
    struct err damage;
    bool own;

    if (segment_open(a->io, a->dir, a->uuid, ordinal, NULL, &s, &damage) != OK)
        return false;
    own = attic_fits(m, segment_info(s));
    segment_unref(s);
    return own;
}

static int attic_unlink(struct attic *a, const char *name, struct err *e)
{
    char path[CURSOR_PATH_MAX];

    file_path(path, a->dir, name);
    if (a->io->unlink(a->io, path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing it", path);
    return OK;
}

/* Decides about one; *keep is false if it is no business of the attic. */
static int attic_judge(struct attic *a, const struct manifest *m, struct attic_file *f, bool *keep,
                       struct err *e)
{
    uint64_t number;
    bool unfinished, own;
    struct err damage;

    *keep = false;
    if (segment_name_parse(f->name, &number, &unfinished)) {
        if (number >= a->next_ordinal && number < UINT64_MAX)
            a->next_ordinal = number + 1;
        if (unfinished)
            return attic_unlink(a, f->name, e);
        if (attic_names_segment(m, number))
            return OK;
        own = attic_is_own_segment(a, m, number);
    } else {
        (void)checkpoint_name_parse(f->name, &number, &unfinished);
        if (unfinished)
            return attic_unlink(a, f->name, e);
        if (attic_names_checkpoint(m, number))
            return OK;
        own = checkpoint_verify(a->io, a->dir, a->uuid, number, NULL, NULL, &damage) == OK;
    }
    *keep = true;
    f->foreign = !own || a->keep_all;
    if (f->foreign)
        attic_note(a, f->name, "nothing names it");
    return OK;
}

int attic_scan(struct attic *a, const struct manifest *m, struct err *e)
{
    size_t n = 0, n_found;
    int rc = a->io->list(a->io, a->dir, attic_each, a);

    if (rc < 0)
        return err_sys(e, ERR_IO, "%s: listing the directory", a->dir);
    if (rc > 0)
        return err_set(e, ERR_NOMEM, "%s: no memory for its list of files", a->dir);
    a->next_ordinal = m->next_ordinal;
    n_found = a->n;
    for (size_t i = 0; i < n_found; i++) {
        bool keep;
        rc = attic_judge(a, m, &a->files[i], &keep, e);
        if (rc != OK)
            return rc;
        if (keep)
            a->files[n++] = a->files[i];
    }
    a->n = n;
    return OK;
}

/* ---- setting aside ---- */

static int attic_quarantine(struct attic *a, const char *name, struct err *e)
{
    char from[CURSOR_PATH_MAX], to[CURSOR_PATH_MAX], place[ATTIC_NAME_MAX + 40];

    snprintf(place, sizeof place, ATTIC_QUARANTINE "/%s.%llu", name,
             (unsigned long long)a->io->wall_ms(a->io));
    file_path(from, a->dir, name);
    file_path(to, a->dir, place);
    if (a->io->rename(a->io, from, to) != 0 && errno != ENOENT)
        return err_sys(e, file_error(), "%s: moving it", from);
    return OK;
}

static int attic_open_quarantine(struct attic *a, char out[CURSOR_PATH_MAX], struct err *e)
{
    file_path(out, a->dir, ATTIC_QUARANTINE);
    if (a->io->mkdir(a->io, out) != 0 && errno != EEXIST)
        return err_sys(e, file_error(), "%s: creating it", out);
    return OK;
}

int attic_settle(struct attic *a, struct log_recovery *info, struct err *e)
{
    char quarantine[CURSOR_PATH_MAX];
    uint64_t n_foreign = 0;
    int rc = OK;

    for (size_t i = 0; rc == OK && i < a->n; i++) {
        if (a->files[i].foreign && n_foreign++ == 0)
            rc = attic_open_quarantine(a, quarantine, e);
        if (rc == OK)
            rc = a->files[i].foreign ? attic_quarantine(a, a->files[i].name, e)
                                     : attic_unlink(a, a->files[i].name, e);
    }
    if (rc == OK && n_foreign > 0 && a->io->sync_dir(a->io, quarantine) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing the directory", quarantine);
    if (rc == OK && a->n > 0 && a->io->sync_dir(a->io, a->dir) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing the directory", a->dir);
    info->n_set_aside = n_foreign;
    snprintf(info->note, sizeof info->note, "%s", a->note);
    return rc;
}

void attic_fini(struct attic *a)
{
    free(a->files);
    *a = (struct attic){ 0 };
}
