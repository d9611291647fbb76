/*
 * log_salvage.c - `beck log salvage`: a store that starts again, with what can still be read.
 *
 * In this order, each step complete before the next begins:
 *
 *   1  A damaged segment is rewritten from its readable blocks (log/rescue.c). What is lost is told: streams by oid, and the
 *      range of IDs. One that is missing is left out of MANIFEST.
 *   2  A damaged checkpoint is left out, if the store can do without it.
 *   3  The log is cut at the first damage, as a start with --salvage does it (log/renew.c).
 *
 * Whatever is replaced has its name in quarantine/ before MANIFEST does without it: nothing is deleted, and a crash in
 * between leaves a store that this can be run on again.
 *
 * Streams whose entries are lost still count them: XLEN says what was there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/offline.h"
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/log.h"
#include "log/rescue.h"

struct salvage {
    struct offline *o;
    struct output *out;
    const char *file;  /* being rewritten */
    uint64_t n_losses; /* what is not there any more */
};

/* ---- telling ---- */

static void salvage_tell(struct salvage *s, const char *file, const char *what)
{
    struct text *t = &s->out->text;
    char path[CURSOR_PATH_MAX];
    size_t n;

    s->n_losses++;
    file_path(path, s->o->dir, file);
    n = strlen(path);
    if (strncmp(what, path, n) == 0 && strncmp(what + n, ": ", 2) == 0)
        what += n + 2;
    if (!s->o->cli->globals.json) {
        text_printf(t, "%s: %s\n", file, what);
        return;
    }
    text_put_str(t, "{\"file\":");
    json_put_bytes(t, beck_str(file));
    text_put_str(t, ",\"what\":");
    json_put_bytes(t, beck_str(what));
    text_put_str(t, "}\n");
}

/* Part of a segment. */
static void salvage_lost(void *ctx, const struct rescue_lost *l)
{
    struct salvage *s = ctx;
    struct text *t = &s->out->text;

    s->n_losses++;
    if (s->o->cli->globals.json) {
        text_put_str(t, "{\"file\":");
        json_put_bytes(t, beck_str(s->file));
        text_printf(t,
                    ",\"at\":%" PRIu64 ",\"lost\":{\"oid-from\":%" PRIu64 ",\"id-from\":\"%" PRIu64
                    "-%" PRIu64 "\",\"oid-to\":%" PRIu64 ",\"id-to\":\"%" PRIu64 "-%" PRIu64
                    "\",\"entries\":",
                    l->pos, l->oid_from, l->from.ms, l->from.seq, l->oid_to, l->to.ms, l->to.seq);
        text_printf(t, l->n > 0 ? "%" PRIu64 "}}\n" : "null}}\n", l->n);
        return;
    }
    text_printf(t, "%s at byte %" PRIu64 ": lost ", s->file, l->pos);
    text_printf(t, l->n > 0 ? "%" PRIu64 " entries, " : "what there was ", l->n);
    if (l->oid_from == l->oid_to)
        text_printf(t, "of stream %" PRIu64 " from ", l->oid_from);
    else
        text_printf(t, "from stream %" PRIu64 ", ", l->oid_from);
    text_printf(t, "%" PRIu64 "-%" PRIu64 " to ", l->from.ms, l->from.seq);
    if (l->oid_from != l->oid_to)
        text_printf(t, "stream %" PRIu64 ", ", l->oid_to);
    text_printf(t, "%" PRIu64 "-%" PRIu64 "\n", l->to.ms, l->to.seq);
}

static int salvage_write(struct salvage *s, struct err *e)
{
    struct offline *o = s->o;
    uint64_t written = 0;

    o->manifest.generation++;
    return manifest_write(&o->io, o->dir, o->store.uuid, &o->manifest, &written, e);
}

/* ---- segments ---- */

/* Makes sure that the ordinal was never used, not even by a file that nobody names. */
static uint64_t salvage_next_ordinal(struct offline *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind == OFFLINE_SEGMENT && o->files[i].number >= o->manifest.next_ordinal &&
            o->files[i].number < UINT64_MAX)
            o->manifest.next_ordinal = o->files[i].number + 1;
    return o->manifest.next_ordinal++;
}

/* Puts what can be read of it in its place. */
static int salvage_rewrite(struct salvage *s, struct segment_info *info, const char *name,
                           struct err *e)
{
    struct offline *o = s->o;
    struct rescue r = { .io = &o->io,
                        .dir = o->dir,
                        .uuid = o->store.uuid,
                        .info = info,
                        .ordinal = salvage_next_ordinal(o),
                        .lost = salvage_lost,
                        .ctx = s };
    int rc;

    s->file = name;
    rc = rescue_run(&r, e);
    if (rc == OK)
        rc = offline_keep(o, name, e);
    if (rc == OK)
        rc = segment_publish(&o->io, o->dir, r.ordinal, e);
    if (rc == OK && o->io.sync_dir(&o->io, o->dir) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing the directory", o->dir);
    if (rc != OK)
        return rc;
    *info = r.made;
    rc = salvage_write(s, e);
    return rc == OK ? offline_remove(o, name, e) : rc;
}

/* Takes segment i out of the manifest. */
static int salvage_leave_out(struct salvage *s, size_t i, struct err *e)
{
    struct manifest *m = &s->o->manifest;

    m->n_segments--;
    memmove(&m->segments[i], &m->segments[i + 1], (m->n_segments - i) * sizeof m->segments[0]);
    return salvage_write(s, e);
}

static bool salvage_is_sound(struct offline *o, const struct segment_info *info, int *rc,
                             struct err *e)
{
    struct segment *segment = NULL;

    *rc = segment_open(&o->io, o->dir, o->store.uuid, info->ordinal, info, &segment, e);
    if (*rc == OK)
        *rc = segment_verify(segment, NULL, NULL, e);
    segment_unref(segment);
    return *rc == OK;
}

static int salvage_segments(struct salvage *s, struct err *e)
{
    struct offline *o = s->o;
    struct manifest *m = &o->manifest;
    int rc = OK;

    for (size_t i = 0; i < m->n_segments && rc == OK;) {
        char name[SEGMENT_NAME_MAX];
        segment_name(m->segments[i].ordinal, false, name);
        if (salvage_is_sound(o, &m->segments[i], &rc, e)) {
            i++;
            continue;
        }
        if (rc == ERR_NOMEM || rc == ERR_FORMAT)
            return rc;
        salvage_tell(s, name, e->text);
        if (offline_find(o, OFFLINE_SEGMENT, m->segments[i].ordinal) == NULL)
            rc = salvage_leave_out(s, i, e);
        else
            rc = salvage_rewrite(s, &m->segments[i++], name, e);
    }
    return rc;
}

/* ---- checkpoints ---- */

/* Leaves out checkpoint i, which is damaged or missing. */
static int salvage_drop_checkpoint(struct salvage *s, size_t i, const char *name, struct err *e)
{
    struct offline *o = s->o;
    struct manifest *m = &o->manifest;
    bool there = offline_find(o, OFFLINE_CHECKPOINT, m->checkpoints[i].start_lsn) != NULL;
    int rc = there ? offline_keep(o, name, e) : OK;

    if (rc != OK)
        return rc;
    m->n_checkpoints--;
    memmove(&m->checkpoints[i], &m->checkpoints[i + 1],
            (m->n_checkpoints - i) * sizeof m->checkpoints[0]);
    rc = salvage_write(s, e);
    return rc == OK && there ? offline_remove(o, name, e) : rc;
}

static int salvage_checkpoints(struct salvage *s, struct err *e)
{
    struct offline *o = s->o;
    struct manifest *m = &o->manifest;
    struct keeper_start start;
    int rc = offline_start(o, m, &start, e);

    if (rc == ERR_NOMEM || (rc != OK && m->wal_first > LOG_FIRST_LSN))
        return rc == ERR_NOMEM ? rc : err_add(e, "no checkpoint is whole: restore a backup");
    rc = OK;
    for (size_t i = 0; i < m->n_checkpoints && rc == OK;) {
        char name[CHECKPOINT_NAME_MAX];
        checkpoint_name(m->checkpoints[i].start_lsn, false, name);
        rc = checkpoint_verify(&o->io, o->dir, o->store.uuid, m->checkpoints[i].start_lsn,
                               &m->checkpoints[i], NULL, e);
        if (rc == OK) {
            i++;
            continue;
        }
        if (rc == ERR_NOMEM || rc == ERR_FORMAT)
            return rc;
        salvage_tell(s, name, e->text);
        rc = salvage_drop_checkpoint(s, i, name, e);
    }
    return rc;
}

/* ---- the log ---- */

/* Goes on in a new file behind the last record that counts, as a start with --salvage does. */
static int salvage_cut(struct salvage *s, const struct keeper_start *start, struct err *e)
{
    struct offline *o = s->o;
    struct log_options log = {
        .io = &o->io, .dir = o->dir, .file_bytes = LOG_FILE_BYTES_DEFAULT, .salvage = true
    };
    struct recover_options r = { .log = &log, .uuid = o->store.uuid, .start = *start };
    struct recover_result result;
    int rc = recover_run(&r, &result, e);

    if (rc != OK)
        return rc;
    o->io.close(&o->io, result.cursor.fd);
    free(result.files);
    return OK;
}

static int salvage_log(struct salvage *s, struct err *e)
{
    struct keeper_start start;
    struct recover_verdict v = { 0 };
    int rc = offline_start(s->o, &s->o->manifest, &start, e);
    const char *name;

    if (rc == OK)
        rc = offline_look(s->o, &start, NULL, NULL, &v, e);
    if (rc != OK || !v.damaged)
        return rc;
    name = strrchr(v.path, '/');
    salvage_tell(s, name != NULL ? name + 1 : v.path, v.damage.text);
    return salvage_cut(s, &start, e);
}

/* ---- the command ---- */

static int salvage_all(struct salvage *s)
{
    struct offline *o = s->o;
    struct err e = { 0 };
    int rc, status;

    if (o->manifest_error.code != OK)
        return offline_fail(o, &o->manifest_error); /* it names `beck log repair` */
    rc = salvage_segments(s, &e);
    if (rc == OK)
        rc = salvage_checkpoints(s, &e);
    if (rc == OK)
        rc = salvage_log(s, &e);
    if (rc == OK && !o->cli->globals.json)
        text_put_str(&s->out->text,
                     s->n_losses > 0
                         ? "the store can be started; what was replaced is in quarantine/\n"
                         : "nothing is damaged; nothing was changed\n");
    status = output_flush(s->out);
    if (rc != OK)
        return offline_fail(o, &e);
    return status == EXIT_OK && s->n_losses > 0 ? EXIT_PARTIAL : status;
}

static int log_salvage_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct offline o;
    struct output out;
    struct salvage s = { .o = &o, .out = &out };
    int status = offline_open(&o, cli, argv[0]);

    (void)options;
    (void)argc;
    if (status == EXIT_OK) {
        output_init(&out, cli);
        status = salvage_all(&s);
        output_fini(&out);
    }
    offline_close(&o);
    return status;
}

const struct command command_log_salvage = {
    .name = "log salvage",
    .arguments = "DIR",
    .summary = "make a damaged store start again, with what can be read",
    .text = "Does for the store in DIR, which no beckd may use, what `beckd --salvage` does at a "
            "start, and more: a damaged segment is "
            "rewritten from its readable blocks; a missing one, and a damaged checkpoint that the "
            "store can do without, are left out "
            "of MANIFEST; the log is cut at its first damage. Prints what was damaged, and which "
            "entries are lost: of which streams "
            "(by oid, which `beck log dump --checkpoint` tells the names of) and with which IDs. "
            "Nothing is deleted: what is replaced "
            "is in quarantine/ afterwards. A stream whose entries are lost still counts them in "
            "XLEN.\n\n"
            "Ends with status 0 if nothing was damaged, 5 if the store can be started with what is "
            "left, 1 if only a backup helps. Make "
            "a copy of the directory first. With --json a line is an object with file and what, or "
            "file, at and lost.",
    .min_args = 1,
    .max_args = 1,
    .run = log_salvage_run,
};
