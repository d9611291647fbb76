/*
 * log_verify.c - `beck log verify`: every byte of a store, read and checked.
 *
 * MANIFEST, checkpoints and segments are checked by the functions of BECK CHECK. The log is read as a start would read it,
 * from where that would begin, and its end judged by the same rules; besides, each file that is kept is followed from its
 * own header, so that damage in one does not hide what is wrong in the next, and what only the older checkpoint needs is
 * looked at too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/offline.h"
#include "log/chain.h"
#include "log/checkpoint.h"
#include "log/file.h"

struct verify {
    struct offline *o;
    struct output *out;
    uint64_t n_damaged, n_files, bytes;
    char wal_damaged[CURSOR_PATH_MAX]; /* the file of the log that was reported last */
};

/* ---- reporting ---- */

static void verify_found(void *ctx, const char *path, uint64_t pos, const char *what)
{
    struct verify *v = ctx;
    struct text *t = &v->out->text;
    size_t n = strlen(path);

    if (strncmp(what, path, n) == 0 && strncmp(what + n, ": ", 2) == 0)
        what += n + 2;
    v->n_damaged++;
    if (!v->o->cli->globals.json) {
        text_printf(t, "%s at byte %" PRIu64 ": %s\n", path, pos, what);
        return;
    }
    text_put_str(t, "{\"file\":");
    json_put_bytes(t, beck_str(path));
    text_printf(t, ",\"at\":%" PRIu64 ",\"what\":", pos);
    json_put_bytes(t, beck_str(what));
    text_put_str(t, "}\n");
}

/* What checking a file as a whole came to. False if the verification itself cannot go on. */
static bool verify_note(struct verify *v, const char *path, int rc, const struct err *e)
{
    if (rc != OK && rc != ERR_NOMEM)
        verify_found(v, path, 0, e->text);
    return rc != ERR_NOMEM;
}

/* ---- what is not the log ---- */

static void verify_manifest(struct verify *v)
{
    char path[CURSOR_PATH_MAX];

    file_path(path, v->o->dir, MANIFEST_NAME);
    v->n_files += v->o->has_manifest;
    if (v->o->manifest_error.code != OK)
        verify_found(v, path, 0, v->o->manifest_error.text);
}

static int verify_checkpoint(struct verify *v, uint64_t start_lsn,
                             const struct manifest_checkpoint *expect, struct err *e)
{
    struct offline *o = v->o;
    char name[CHECKPOINT_NAME_MAX], path[CURSOR_PATH_MAX];
    struct manifest_checkpoint is = { 0 };
    int rc;

    checkpoint_name(start_lsn, false, name);
    file_path(path, o->dir, name);
    rc = checkpoint_verify(&o->io, o->dir, o->store.uuid, start_lsn, expect, &is, e);
    v->n_files++;
    v->bytes += is.file_bytes;
    return verify_note(v, path, rc, e) ? OK : rc;
}

static int verify_segment(struct verify *v, uint64_t ordinal, const struct segment_info *expect,
                          struct err *e)
{
    struct offline *o = v->o;
    char name[SEGMENT_NAME_MAX], path[CURSOR_PATH_MAX];
    uint64_t before = v->n_damaged;
    struct segment *s = NULL;
    int rc;

    segment_name(ordinal, false, name);
    file_path(path, o->dir, name);
    rc = segment_open(&o->io, o->dir, o->store.uuid, ordinal, expect, &s, e);
    if (rc == OK) {
        v->bytes += segment_info(s)->file_bytes;
        rc = segment_verify(s, verify_found, v, e);
    }
    v->n_files++;
    segment_unref(s);
    if (v->n_damaged > before)
        return rc == ERR_NOMEM ? rc : OK; /* the places have been told */
    return verify_note(v, path, rc, e) ? OK : rc;
}

/* Everything that MANIFEST names or, if it is no good, all that is there. */
static int verify_sealed(struct verify *v, struct err *e)
{
    const struct offline *o = v->o;
    const struct manifest *m = &o->manifest;
    int rc = OK;

    for (size_t i = 0; i < m->n_checkpoints && rc == OK; i++)
        rc = verify_checkpoint(v, m->checkpoints[i].start_lsn, &m->checkpoints[i], e);
    for (size_t i = 0; i < m->n_segments && rc == OK; i++) {
        rc = verify_segment(v, m->segments[i].ordinal, &m->segments[i], e);
        if (rc == OK && output_flush_if_full(v->out) != EXIT_OK)
            break;
    }
    if (o->manifest_error.code == OK)
        return rc;
    for (size_t i = 0; i < o->n && rc == OK; i++) {
        if (o->files[i].kind == OFFLINE_CHECKPOINT)
            rc = verify_checkpoint(v, o->files[i].number, NULL, e);
        else if (o->files[i].kind == OFFLINE_SEGMENT)
            rc = verify_segment(v, o->files[i].number, NULL, e);
    }
    return rc;
}

/* ---- the log ---- */

static void verify_found_wal(struct verify *v, const char *path, uint64_t pos, const char *what)
{
    if (strcmp(v->wal_damaged, path) == 0)
        return; /* as seen from the file before, or with other eyes */
    snprintf(v->wal_damaged, sizeof v->wal_damaged, "%s", path);
    verify_found(v, path, pos, what);
}

static int verify_wal_file(void *ctx, struct scan *s, const char *why, struct err *e)
{
    struct verify *v = ctx;

    (void)e;
    v->n_files++;
    v->bytes += s->pos;
    if (why != NULL)
        verify_found_wal(v, s->path, s->pos, why);
    return OK;
}

/* The files that are kept. */
static int verify_wal_files(struct verify *v, struct wal_file **out, size_t *n, struct err *e)
{
    const struct offline *o = v->o;

    *n = 0;
    *out = calloc(o->n + 1, sizeof **out);
    if (*out == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of files");
    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind == OFFLINE_WAL && offline_is_part(o, &o->files[i]))
            (*out)[(*n)++] = (struct wal_file){ o->files[i].number, o->files[i].bytes };
    return OK;
}

/* Follows each file by itself, up to `lsn`. */
static int verify_chain(struct verify *v, const struct wal_file *files, size_t n, uint64_t lsn,
                        struct err *e)
{
    struct chain chain = { .io = &v->o->io,
                           .dir = v->o->dir,
                           .uuid = v->o->store.uuid,
                           .files = files,
                           .n_files = n,
                           .lsn = lsn };
    int rc = chain_each(&chain, verify_wal_file, v, e);

    if (rc != ERR_IO)
        return rc;
    verify_found(v, v->o->dir, 0, e->text); /* it names the file */
    return OK;
}

/* The last file by itself: where it ends, nobody but itself tells. */
static int verify_last(struct verify *v, uint64_t first_lsn, struct err *e)
{
    struct keeper_start start = { .wal_first = first_lsn };
    struct recover_verdict last;
    int rc = offline_look(v->o, &start, NULL, NULL, &last, e);

    if (rc == OK && last.damaged)
        verify_found_wal(v, last.path, last.pos, last.damage.text);
    return rc;
}

/* The log is kept from the file that MANIFEST names, whether the newest checkpoint needs that one or not. */
static void verify_first(struct verify *v, uint64_t first_lsn)
{
    char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];

    wal_name(v->o->manifest.wal_first, name);
    file_path(path, v->o->dir, name);
    if (v->o->manifest.wal_first != first_lsn)
        verify_found_wal(v, path, 0, "is missing");
}

static int verify_wal(struct verify *v, struct recover_verdict *verdict, struct err *e)
{
    struct keeper_start start;
    struct wal_file *files;
    size_t n;
    int rc = offline_start(v->o, &v->o->manifest, &start, e);

    if (rc == ERR_NOMEM)
        return rc;
    rc = offline_look(v->o, &start, NULL, NULL, verdict, e);
    if (rc == OK && verdict->damaged)
        verify_found_wal(v, verdict->path, verdict->pos, verdict->damage.text);
    if (rc == OK)
        rc = verify_wal_files(v, &files, &n, e);
    if (rc != OK)
        return rc;
    verify_first(v, n > 0 ? files[0].first_lsn : 0);
    if (!verdict->damaged) {
        rc = verify_chain(v, files, n, verdict->next_lsn - 1, e);
    } else if (n > 1) {
        rc = verify_chain(v, files, n, files[n - 1].first_lsn - 1, e);
        if (rc == OK)
            rc = verify_last(v, files[n - 1].first_lsn, e);
    }
    free(files);
    return rc;
}

/* ---- the command ---- */

static void verify_put_end(struct verify *v, const struct recover_verdict *verdict)
{
    struct text *t = &v->out->text;

    if (v->o->cli->globals.json) {
        text_printf(t,
                    "{\"sound\":%s,\"damaged\":%" PRIu64 ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64
                    ",\"next-lsn\":%" PRIu64 ",\"closed\":%s,\"torn-bytes\":%" PRIu64 "}\n",
                    v->n_damaged == 0 ? "true" : "false", v->n_damaged, v->n_files, v->bytes,
                    verdict->next_lsn, verdict->info.clean ? "true" : "false",
                    verdict->info.dropped_bytes);
        return;
    }
    if (v->n_damaged > 0) {
        text_printf(t, "%" PRIu64 " damaged place%s in %" PRIu64 " files\n", v->n_damaged,
                    v->n_damaged == 1 ? "" : "s", v->n_files);
        return;
    }
    text_printf(t, "sound: %" PRIu64 " files, %" PRIu64 " bytes, up to record %" PRIu64 "%s\n",
                v->n_files, v->bytes, verdict->next_lsn - 1,
                verdict->info.clean ? "" : "; not closed in good order, which a start deals with");
}

static int log_verify_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct recover_verdict verdict = { 0 };
    struct offline o;
    struct output out;
    struct verify v = { .o = &o, .out = &out };
    struct err e = { 0 };
    int status = offline_open(&o, cli, argv[0]);
    int rc;

    (void)options;
    (void)argc;
    if (status == EXIT_OK) {
        output_init(&out, cli);
        v.n_files = 1; /* STORE: offline_open has read it */
        verify_manifest(&v);
        rc = verify_sealed(&v, &e);
        if (rc == OK)
            rc = verify_wal(&v, &verdict, &e);
        if (rc == OK)
            verify_put_end(&v, &verdict);
        status = output_flush(&out);
        output_fini(&out);
        if (rc != OK)
            status = offline_fail(&o, &e);
        else if (status == EXIT_OK && v.n_damaged > 0)
            status = EXIT_RUNTIME;
    }
    offline_close(&o);
    return status;
}

const struct command command_log_verify = {
    .name = "log verify",
    .arguments = "DIR",
    .summary = "read and check every file of a store",
    .text = "Reads the store in DIR, which no beckd may use, and checks every block, chunk and "
            "frame: MANIFEST, checkpoints, "
            "segments, and the log up to its end, which is judged as a start of beckd judges it. "
            "Prints a line for each damaged "
            "place: the file, the byte and what is wrong. Ends with status 0 if all is sound, 1 if "
            "not; 2 if there is no store, "
            "or it is in use. Changes nothing. With --json a line is an object with file, at, "
            "what; the last one has sound, "
            "damaged, files, bytes, next-lsn, closed, torn-bytes.\n\n"
            "What to do about damage: restore a backup; or, to go on with what is left, `beck log "
            "repair` for a MANIFEST, `beck log "
            "salvage` for the rest.",
    .min_args = 1,
    .max_args = 1,
    .run = log_verify_run,
};
