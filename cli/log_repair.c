/*
 * log_repair.c - `beck log repair`: a new MANIFEST from the files that are there.
 *
 * Segments and checkpoints describe themselves: which records they stand for, and how often a segment has been merged. What is
 * found is put together again:
 *
 *   - Of segments that stand for the same records, the one that was merged more often counts, or, at the same level, the newer
 *     one: it was made from the others, which are set aside.
 *   - The two newest checkpoints that are whole count, if the log is kept from where they need it.
 *   - The log is kept from its oldest file on.
 *
 * Then the log is judged as a start would judge it with that manifest. Whatever is in doubt is told: segments that overlap in
 * part, LSNs that no segment stands for (their entries may all have been deleted, or a segment is lost), files that cannot be
 * read. Then nothing is changed without --force. What is set aside gets its name in quarantine/ before the new MANIFEST is
 * written, and loses its old one afterwards, so a crash at any point leaves everything findable.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/offline.h"
#include "log/bytes.h"
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/log.h"

struct repair_options {
    bool force;
};

struct repair_segment {
    struct segment_info info;
    bool aside;
};

struct repair {
    struct offline *o;
    struct output *out;
    struct repair_segment *segments; /* that can be opened */
    size_t n_segments;
    bool *aside; /* of o->files: to be set aside */
    struct manifest m;
    uint64_t n_doubts;
    bool hopeless; /* --force does not help */
};

/* ---- telling ---- */

static void repair_tell(struct repair *r, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A line: what was found or done. */
static void repair_tell(struct repair *r, const char *kind, const char *format, ...)
{
    struct text *t = &r->out->text;
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    r->n_doubts += strcmp(kind, "doubt") == 0;
    if (!r->o->cli->globals.json) {
        text_printf(t, "%s: %s\n", kind, line);
        return;
    }
    text_printf(t, "{\"%s\":", kind);
    json_put_bytes(t, beck_str(line));
    text_put_str(t, "}\n");
}

/* ---- segments ---- */

static int repair_find_segments(struct repair *r, struct err *e)
{
    struct offline *o = r->o;

    r->segments = calloc(o->n + 1, sizeof *r->segments);
    r->aside = calloc(o->n + 1, sizeof *r->aside);
    if (r->segments == NULL || r->aside == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of segments");
    for (size_t i = 0; i < o->n; i++) {
        struct segment *s;
        int rc;
        if (o->files[i].kind != OFFLINE_SEGMENT)
            continue;
        if (o->files[i].number >= r->m.next_ordinal && o->files[i].number < UINT64_MAX)
            r->m.next_ordinal = o->files[i].number + 1;
        rc = segment_open(&o->io, o->dir, o->store.uuid, o->files[i].number, NULL, &s, e);
        if (rc == ERR_NOMEM)
            return rc;
        if (rc != OK) {
            repair_tell(r, "doubt", "%s; which records it stands for is not known", e->text);
            r->aside[i] = true;
            continue;
        }
        r->segments[r->n_segments++].info = *segment_info(s);
        segment_unref(s);
    }
    return OK;
}

/* By LSN; where those are the same, what replaces the other first. */
static int repair_compare(const void *a, const void *b)
{
    const struct segment_info *x = &((const struct repair_segment *)a)->info;
    const struct segment_info *y = &((const struct repair_segment *)b)->info;

    if (x->lsn_first != y->lsn_first)
        return x->lsn_first < y->lsn_first ? -1 : 1;
    if (x->lsn_last != y->lsn_last)
        return x->lsn_last > y->lsn_last ? -1 : 1;
    if (x->level != y->level)
        return x->level > y->level ? -1 : 1;
    return x->ordinal > y->ordinal ? -1 : x->ordinal < y->ordinal;
}

/* Whether `a`, which covers `b`, can have been made from it. */
static bool repair_replaces(const struct segment_info *a, const struct segment_info *b)
{
    return a->level > b->level || (a->level == b->level && a->lsn_first == b->lsn_first &&
                                   a->lsn_last == b->lsn_last && a->ordinal > b->ordinal);
}

/* Decides between two that overlap; x begins no later. */
static struct repair_segment *repair_decide(struct repair *r, struct repair_segment *x,
                                            struct repair_segment *y)
{
    const struct segment_info *a = &x->info, *b = &y->info;
    bool covers = a->lsn_last >= b->lsn_last;
    struct repair_segment *loser = a->level >= b->level ? y : x;

    if (covers && repair_replaces(a, b)) {
        repair_tell(r, "aside", "segment %" PRIu64 " is merged into segment %" PRIu64, b->ordinal,
                    a->ordinal);
        return y;
    }
    repair_tell(r, "doubt",
                "segments %" PRIu64 " (level %u, records %" PRIu64 " to %" PRIu64 ") and %" PRIu64
                " (level %u, records %" PRIu64 " to %" PRIu64 ") overlap",
                a->ordinal, (unsigned)a->level, a->lsn_first, a->lsn_last, b->ordinal,
                (unsigned)b->level, b->lsn_first, b->lsn_last);
    return loser;
}

static void repair_choose_segments(struct repair *r)
{
    struct repair_segment *before = NULL;

    qsort(r->segments, r->n_segments, sizeof *r->segments, repair_compare);
    for (size_t i = 0; i < r->n_segments; i++) {
        struct repair_segment *s = &r->segments[i], *loser;
        if (before == NULL || s->info.lsn_first > before->info.lsn_last) {
            before = s;
            continue;
        }
        loser = repair_decide(r, before, s);
        loser->aside = true;
        if (loser == before)
            before = s;
    }
}

/* LSNs that no segment stands for. */
static void repair_tell_gap(struct repair *r, uint64_t from, uint64_t to)
{
    if (from < to)
        repair_tell(r, "doubt",
                    "no segment stands for records %" PRIu64 " to %" PRIu64
                    ": all their entries have been deleted, or it is lost",
                    from, to - 1);
}

static int repair_list_segments(struct repair *r, struct err *e)
{
    struct manifest *m = &r->m;
    uint64_t next = LOG_FIRST_LSN;

    m->segments = calloc(r->n_segments + 1, sizeof *m->segments);
    if (m->segments == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of segments");
    m->cap_segments = r->n_segments + 1;
    for (size_t i = 0; i < r->n_segments; i++) {
        const struct segment_info *s = &r->segments[i].info;
        if (r->segments[i].aside)
            continue;
        repair_tell_gap(r, next, s->lsn_first);
        m->segments[m->n_segments++] = *s;
        next = s->lsn_last + 1;
    }
    repair_tell_gap(r, next, m->wal_first);
    m->sealed_lsn = m->n_segments > 0 ? next - 1 : 0;
    if (m->wal_first > LOG_FIRST_LSN && m->sealed_lsn < m->wal_first - 1)
        m->sealed_lsn = m->wal_first - 1; /* the log would not have been released */
    return OK;
}

/* ---- checkpoints ---- */

/* The highest stamp that its trailer knows; the file has been verified. */
static uint64_t repair_checkpoint_clock(struct repair *r, const char *name, uint64_t bytes)
{
    enum { TRAILER_BYTES = 64, CLOCK_AT = 16 }; /* docs/format.md */
    struct io *io = &r->o->io;
    char path[CURSOR_PATH_MAX];
    uint8_t p[8] = { 0 };
    size_t got = 0;
    int fd;

    file_path(path, r->o->dir, name);
    fd = io->open(io, path, IO_READ);
    if (fd < 0)
        return 0;
    err_ignore(file_read(io, fd, path, bytes - TRAILER_BYTES + CLOCK_AT, p, sizeof p, &got, NULL));
    io->close(io, fd);
    return got == sizeof p ? get_u64le(p) : 0;
}

/* The newest first, as the manifest has them. */
static int repair_find_checkpoints(struct repair *r, struct err *e)
{
    struct offline *o = r->o;
    struct manifest *m = &r->m;

    for (size_t i = o->n; i-- > 0;) {
        const struct offline_file *f = &o->files[i];
        struct manifest_checkpoint c;
        uint64_t clock;
        int rc;
        if (f->kind != OFFLINE_CHECKPOINT)
            continue;
        rc = checkpoint_verify(&o->io, o->dir, o->store.uuid, f->number, NULL, &c, e);
        if (rc == ERR_NOMEM)
            return rc;
        if (rc != OK) {
            repair_tell(r, "aside", "%s", e->text);
            r->aside[i] = true;
            continue;
        }
        if (m->n_checkpoints == MANIFEST_CHECKPOINTS_MAX || c.start_lsn + 1 < m->wal_first) {
            repair_tell(r, "aside", "%s: an older one that is not needed", f->name);
            r->aside[i] = true;
            continue;
        }
        m->checkpoints[m->n_checkpoints++] = c;
        clock = repair_checkpoint_clock(r, f->name, c.file_bytes);
        m->clock = clock > m->clock ? clock : m->clock;
    }
    if (m->n_checkpoints == 0 && m->wal_first > LOG_FIRST_LSN) {
        repair_tell(r, "doubt",
                    "no checkpoint is whole, and the log begins with record %" PRIu64
                    ": what the streams are called is lost; restore a backup",
                    m->wal_first);
        r->hopeless = true;
    }
    return OK;
}

/* ---- the log ---- */

/* Where the log begins; without any file there is nothing to go on from. */
static void repair_find_log(struct repair *r)
{
    const struct offline *o = r->o;

    for (size_t i = 0; i < o->n; i++)
        if (o->files[i].kind == OFFLINE_WAL) {
            r->m.wal_first = o->files[i].number;
            return;
        }
    repair_tell(r, "doubt", "there is no file of the log; restore a backup");
    r->hopeless = true;
}

/* What a start would say of the log with this manifest. */
static int repair_judge(struct repair *r, struct err *e)
{
    struct keeper_start start;
    struct recover_verdict v = { 0 };
    int rc = offline_start(r->o, &r->m, &start, e);

    if (rc == OK)
        rc = offline_look(r->o, &start, NULL, NULL, &v, e);
    if (rc != OK)
        return rc;
    if (v.damaged)
        repair_tell(r, "doubt", "the log is damaged: %s", v.damage.text);
    if (v.clock > r->m.clock)
        r->m.clock = v.clock;
    return OK;
}

static int repair_plan(struct repair *r, struct err *e)
{
    int rc;

    r->m.generation = 1;
    repair_find_log(r);
    if (r->hopeless)
        return OK;
    rc = repair_find_segments(r, e);
    if (rc != OK)
        return rc;
    repair_choose_segments(r);
    rc = repair_list_segments(r, e);
    if (rc == OK)
        rc = repair_find_checkpoints(r, e);
    if (rc == OK && !r->hopeless)
        rc = repair_judge(r, e);
    if (rc != OK || r->hopeless)
        return rc;
    if (manifest_check(&r->m, e) != OK) {
        repair_tell(r, "doubt", "the files contradict each other: %s; restore a backup", e->text);
        r->hopeless = true;
    }
    return OK;
}

/* ---- doing it ---- */

/* Marks the files of the segments that do not count. */
static void repair_mark(struct repair *r)
{
    const struct offline *o = r->o;

    for (size_t i = 0; i < o->n; i++)
        for (size_t k = 0; o->files[i].kind == OFFLINE_SEGMENT && k < r->n_segments; k++)
            if (r->segments[k].info.ordinal == o->files[i].number)
                r->aside[i] = r->segments[k].aside;
}

static int repair_set_aside(struct repair *r,
                            int (*step)(struct offline *o, const char *name, struct err *e),
                            struct err *e)
{
    int rc = OK;

    for (size_t i = 0; i < r->o->n && rc == OK; i++)
        if (r->aside[i])
            rc = step(r->o, r->o->files[i].name, e);
    return rc;
}

static int repair_do(struct repair *r, struct err *e)
{
    struct offline *o = r->o;
    uint64_t written = 0;
    int rc = OK;

    repair_mark(r);
    if (offline_find(o, OFFLINE_MANIFEST, 0) != NULL)
        rc = offline_keep(o, MANIFEST_NAME, e);
    if (rc == OK)
        rc = repair_set_aside(r, offline_keep, e);
    if (rc == OK)
        rc = manifest_write(&o->io, o->dir, o->store.uuid, &r->m, &written, e);
    if (rc == OK)
        rc = repair_set_aside(r, offline_remove, e);
    if (rc == OK)
        repair_tell(r, "done",
                    "MANIFEST has %zu segments, %zu checkpoints, sealed up to record %" PRIu64
                    ", log from record %" PRIu64,
                    r->m.n_segments, r->m.n_checkpoints, r->m.sealed_lsn, r->m.wal_first);
    return rc;
}

/* ---- the command ---- */

static int repair_run(struct repair *r, bool force)
{
    struct err e = { 0 };
    int rc = repair_plan(r, &e), status = EXIT_OK;

    if (rc == OK && (r->hopeless || (r->n_doubts > 0 && !force))) {
        repair_tell(r, "done", "nothing: %s",
                    r->hopeless ? "this cannot be repaired"
                                : "it is not certain; with --force, the above is accepted");
        status = EXIT_RUNTIME;
    } else if (rc == OK) {
        rc = repair_do(r, &e);
    }
    if (output_flush(r->out) != EXIT_OK && status == EXIT_OK)
        status = EXIT_RUNTIME;
    return rc == OK ? status : offline_fail(r->o, &e);
}

static int log_repair_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct repair_options *given = options;
    struct offline o;
    struct output out;
    struct repair r = { .o = &o, .out = &out };
    int status = offline_open(&o, cli, argv[0]);

    (void)argc;
    manifest_init(&r.m);
    if (status == EXIT_OK) {
        output_init(&out, cli);
        if (o.manifest_error.code == OK) {
            repair_tell(&r, "done", "nothing: MANIFEST is %s",
                        o.has_manifest ? "sound" : "not needed yet");
            status = output_flush(&out);
        } else {
            status = repair_run(&r, given->force);
        }
        output_fini(&out);
    }
    manifest_fini(&r.m);
    free(r.segments);
    free(r.aside);
    offline_close(&o);
    return status;
}

static const struct option_spec repair_specs[] = {
    { 0, "force", NULL, OPTION_FLAG, offsetof(struct repair_options, force),
      "Also if something is in doubt." },
};

static const struct repair_options repair_defaults = { false };

const struct command command_log_repair = {
    .name = "log repair",
    .arguments = "DIR",
    .summary = "make a lost or damaged MANIFEST anew from the files that are there",
    .text = "Puts a new MANIFEST together for the store in DIR, which no beckd may use, from what "
            "its segments and checkpoints say of "
            "themselves, if the one that is there is damaged, or it is lost. Segments that others "
            "were merged from are moved into "
            "quarantine/, as is what cannot be read; a damaged MANIFEST stays there as "
            "MANIFEST.<milliseconds>. If anything is in "
            "doubt, it is told and nothing is changed (status 1), unless --force is given. Make a "
            "copy of the "
            "directory first.\n\n"
            "Lines begin with doubt, aside or done; with --json they are objects with that name.",
    .options = repair_specs,
    .n_options = sizeof repair_specs / sizeof repair_specs[0],
    .defaults = &repair_defaults,
    .options_bytes = sizeof repair_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = log_repair_run,
};
