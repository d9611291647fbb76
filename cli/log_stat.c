/*
 * log_stat.c - `beck log stat`: what a store consists of.
 *
 * Tells what MANIFEST says, and the sizes of the files that are there. Of the log, headers are read and the newest file, to
 * find its end; whether all the rest is sound is `beck log verify`'s question.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/offline.h"
#include "log/checkpoint.h"
#include "log/file.h"
#include "log/scan.h"

/* One file of the log. */
struct stat_wal {
    uint64_t lsn_first, lsn_next; /* next: behind the last record; 0: not known */
    uint64_t used;                /* bytes of header and frames */
};

/* ---- finding out ---- */

static uint64_t stat_created_ms(struct offline *o)
{
    enum { CREATED_AT = 40 }; /* docs/format.md; store_open has checked the file */
    char path[CURSOR_PATH_MAX];
    uint8_t p[8] = { 0 };
    size_t got = 0;

    file_path(path, o->dir, STORE_NAME);
    err_ignore(
        file_read(&o->io, o->store.fd, path, CREATED_AT, p, sizeof p, &got, NULL)); /* 0 then */
    return got == sizeof p ? get_u64le(p) : 0;
}

/* Where the frames of a file end, as the next one's header says. */
static void stat_by_next(struct offline *o, const struct offline_file *next, struct stat_wal *out)
{
    enum scan_header state;
    struct scan s;

    if (scan_open(&s, &o->io, o->dir, next->name, o->store.uuid, &state, NULL) != OK)
        return;
    if (state == SCAN_HEADER_OK) {
        out->used = s.header.prev_end;
        out->lsn_next = s.header.first_lsn;
    }
    scan_close(&s);
}

/* The newest file is read to its end. */
static void stat_by_reading(struct offline *o, struct stat_wal *out)
{
    struct keeper_start start = { .wal_first = out->lsn_first };
    struct recover_verdict v;

    if (offline_look(o, &start, NULL, NULL, &v, NULL) != OK)
        return;
    out->used = v.pos;
    out->lsn_next = v.next_lsn;
}

static struct stat_wal stat_wal_of(struct offline *o, const struct offline_file *f)
{
    struct stat_wal w = { .lsn_first = f->number };
    bool last = f + 1 == o->files + o->n || f[1].kind != OFFLINE_WAL;

    if (last)
        stat_by_reading(o, &w);
    else
        stat_by_next(o, f + 1, &w);
    return w;
}

static double stat_ratio(const struct segment_info *s)
{
    return s->file_bytes == 0 ? 0 : (double)s->raw_bytes / (double)s->file_bytes;
}

/* ---- as JSON ---- */

static void stat_json_manifest(struct text *t, const struct offline *o)
{
    const struct manifest *m = &o->manifest;

    text_put_str(t, "\"manifest\":");
    if (!o->has_manifest) {
        text_put_str(t, "null,\"manifest-error\":");
        if (o->manifest_error.code == OK)
            text_put_str(t, "null");
        else
            json_put_bytes(t, beck_str(o->manifest_error.text));
        return;
    }
    text_printf(t,
                "{\"generation\":%" PRIu64 ",\"sealed-lsn\":%" PRIu64 ",\"wal-first\":%" PRIu64
                ",\"next-ordinal\":%" PRIu64 ",\"clock-ms\":%" PRIu64 ",\"obsolete\":%zu}",
                m->generation, m->sealed_lsn, m->wal_first, m->next_ordinal, m->clock >> 16,
                m->n_obsolete);
}

static void stat_json_checkpoints(struct text *t, const struct manifest *m)
{
    text_put_str(t, ",\"checkpoints\":[");
    for (size_t i = 0; i < m->n_checkpoints; i++) {
        const struct manifest_checkpoint *c = &m->checkpoints[i];
        text_printf(t,
                    "%s{\"start-lsn\":%" PRIu64 ",\"end-lsn\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                    i > 0 ? "," : "", c->start_lsn, c->end_lsn, c->file_bytes);
    }
    text_put_char(t, ']');
}

static void stat_json_segments(struct text *t, const struct manifest *m)
{
    text_put_str(t, ",\"segments\":[");
    for (size_t i = 0; i < m->n_segments; i++) {
        const struct segment_info *s = &m->segments[i];
        text_printf(
            t,
            "%s{\"ordinal\":%" PRIu64 ",\"level\":%u,\"lsn-first\":%" PRIu64
            ",\"lsn-last\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"streams\":%" PRIu64
            ",\"blocks\":%u,\"raw-bytes\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"ratio\":%.2f}",
            i > 0 ? "," : "", s->ordinal, (unsigned)s->level, s->lsn_first, s->lsn_last,
            s->n_entries, s->n_streams, s->n_blocks, s->raw_bytes, s->file_bytes, stat_ratio(s));
    }
    text_put_char(t, ']');
}

static void stat_json_wal(struct text *t, struct offline *o)
{
    const char *comma = "";

    text_put_str(t, ",\"wal\":[");
    for (size_t i = 0; i < o->n; i++) {
        const struct offline_file *f = &o->files[i];
        struct stat_wal w;
        if (f->kind != OFFLINE_WAL)
            continue;
        w = stat_wal_of(o, f);
        text_printf(t, "%s{\"file\":", comma);
        json_put_bytes(t, beck_str(f->name));
        text_printf(t, ",\"lsn-first\":%" PRIu64 ",\"lsn-next\":", w.lsn_first);
        text_printf(t, w.lsn_next != 0 ? "%" PRIu64 : "null", w.lsn_next);
        text_printf(t, ",\"used\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"needed\":%s}", w.used,
                    f->bytes, offline_is_part(o, f) ? "true" : "false");
        comma = ",";
    }
    text_put_char(t, ']');
}

/* Names of files that are not the store's, or not any more. */
static void stat_json_names(struct text *t, const struct offline *o, const char *key,
                            bool (*want)(const struct offline *o, const struct offline_file *f))
{
    const char *comma = "";

    text_printf(t, ",\"%s\":[", key);
    for (size_t i = 0; i < o->n; i++) {
        if (!want(o, &o->files[i]))
            continue;
        text_put_str(t, comma);
        json_put_bytes(t, beck_str(o->files[i].name));
        comma = ",";
    }
    text_put_char(t, ']');
}

static bool stat_is_unnamed(const struct offline *o, const struct offline_file *f)
{
    return (f->kind == OFFLINE_SEGMENT || f->kind == OFFLINE_CHECKPOINT) && !offline_is_part(o, f);
}

static bool stat_is_foreign(const struct offline *o, const struct offline_file *f)
{
    (void)o;
    return f->kind == OFFLINE_FOREIGN;
}

/* ---- quarantine/ ---- */

struct stat_aside {
    struct text *t;
    bool json;
    uint64_t n;
};

static int stat_put_aside(void *ctx, const char *name)
{
    struct stat_aside *a = ctx;

    if (a->json) {
        text_put_str(a->t, a->n > 0 ? "," : "");
        json_put_bytes(a->t, beck_str(name));
    } else {
        text_printf(a->t, "  %s\n", name);
    }
    a->n++;
    return 0;
}

/* Adds what is in quarantine/; nothing if that cannot be listed. */
static uint64_t stat_put_quarantine(struct offline *o, struct text *t)
{
    struct stat_aside a = { .t = t, .json = o->cli->globals.json };
    char path[CURSOR_PATH_MAX];

    file_path(path, o->dir, "quarantine");
    if (offline_find(o, OFFLINE_QUARANTINE, 0) != NULL &&
        o->io.list(&o->io, path, stat_put_aside, &a) < 0)
        cli_message(o->cli, "%s: cannot be listed", path);
    return a.n;
}

static void stat_put_json(struct offline *o, struct text *t)
{
    text_put_str(t, "{\"dir\":");
    json_put_bytes(t, beck_str(o->dir));
    text_put_str(t, ",\"uuid\":\"");
    for (size_t i = 0; i < WAL_UUID_BYTES; i++)
        text_printf(t, "%02x", o->store.uuid[i]);
    text_printf(t, "\",\"created-ms\":%" PRIu64 ",", stat_created_ms(o));
    stat_json_manifest(t, o);
    stat_json_checkpoints(t, &o->manifest);
    stat_json_segments(t, &o->manifest);
    stat_json_wal(t, o);
    stat_json_names(t, o, "unnamed", stat_is_unnamed);
    stat_json_names(t, o, "foreign", stat_is_foreign);
    text_put_str(t, ",\"quarantine\":[");
    stat_put_quarantine(o, t);
    text_put_str(t, "]}\n");
}

/* ---- for people ---- */

static void stat_put_head(struct offline *o, struct text *t)
{
    time_t created = (time_t)(stat_created_ms(o) / 1000);
    const struct manifest *m = &o->manifest;
    struct tm utc;
    char when[40] = "?";

    if (gmtime_r(&created, &utc) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &utc);
    text_put_str(t, "STORE        ");
    for (size_t i = 0; i < WAL_UUID_BYTES; i++)
        text_printf(t, "%02x", o->store.uuid[i]);
    text_printf(t, ", made %s\nMANIFEST     ", when);
    if (o->has_manifest)
        text_printf(t,
                    "generation %" PRIu64 ", sealed up to record %" PRIu64
                    ", log kept from record %" PRIu64 "\n",
                    m->generation, m->sealed_lsn, m->wal_first);
    else
        text_printf(t, "%s\n",
                    o->manifest_error.code != OK ? o->manifest_error.text
                                                 : "none yet: nothing has been sealed");
}

static void stat_put_checkpoints(struct text *t, const struct manifest *m)
{
    if (m->n_checkpoints > 0)
        text_put_str(t, "\nCHECKPOINT         START           END         BYTES\n");
    for (size_t i = 0; i < m->n_checkpoints; i++)
        text_printf(t, "%-10s  %12" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "\n",
                    i == 0 ? "newest" : "older", m->checkpoints[i].start_lsn,
                    m->checkpoints[i].end_lsn, m->checkpoints[i].file_bytes);
}

static void stat_put_segments(struct text *t, const struct manifest *m)
{
    uint64_t entries = 0, raw = 0, bytes = 0;

    if (m->n_segments == 0)
        return;
    text_put_str(t,
                 "\n   SEGMENT LEVEL   FIRST LSN    LAST LSN     ENTRIES     STREAMS     RAW BYTES "
                 "   FILE BYTES  RATIO\n");
    for (size_t i = 0; i < m->n_segments; i++) {
        const struct segment_info *s = &m->segments[i];
        text_printf(t,
                    "%10" PRIu64 "  %4u %11" PRIu64 " %11" PRIu64 " %11" PRIu64 " %11" PRIu64
                    " %13" PRIu64 " %13" PRIu64 " %6.2f\n",
                    s->ordinal, (unsigned)s->level, s->lsn_first, s->lsn_last, s->n_entries,
                    s->n_streams, s->raw_bytes, s->file_bytes, stat_ratio(s));
        entries += s->n_entries;
        raw += s->raw_bytes;
        bytes += s->file_bytes;
    }
    text_printf(t, "%10s  %4s %11s %11s %11" PRIu64 " %11s %13" PRIu64 " %13" PRIu64 " %6.2f\n",
                "all", "", "", "", entries, "", raw, bytes,
                bytes == 0 ? 0 : (double)raw / (double)bytes);
}

static void stat_put_wal(struct offline *o, struct text *t)
{
    text_put_str(t, "\nFILE OF THE LOG                  LAST LSN          USED         BYTES\n");
    for (size_t i = 0; i < o->n; i++) {
        const struct offline_file *f = &o->files[i];
        struct stat_wal w;
        if (f->kind != OFFLINE_WAL)
            continue;
        w = stat_wal_of(o, f);
        text_printf(t, "%s  ", f->name);
        text_printf(t, w.lsn_next != 0 ? "%12" PRIu64 : "           ?",
                    w.lsn_next - (w.lsn_next != 0));
        text_printf(t, "  %12" PRIu64 "  %12" PRIu64 "%s\n", w.used, f->bytes,
                    offline_is_part(o, f) ? "" : "  not needed any more");
    }
}

static void stat_put_names(struct text *t, const struct offline *o, const char *title,
                           bool (*want)(const struct offline *o, const struct offline_file *f))
{
    bool any = false;

    for (size_t i = 0; i < o->n; i++) {
        if (!want(o, &o->files[i]))
            continue;
        text_printf(t, "%s", any ? "" : title);
        text_printf(t, "  %s\n", o->files[i].name);
        any = true;
    }
}

static void stat_put_text(struct offline *o, struct text *t)
{
    struct text aside = { 0 };

    stat_put_head(o, t);
    stat_put_checkpoints(t, &o->manifest);
    stat_put_segments(t, &o->manifest);
    stat_put_wal(o, t);
    stat_put_names(
        t, o,
        "\nNOT NAMED BY MANIFEST (the next start removes what is known to be needless, and sets "
        "the rest aside)\n",
        stat_is_unnamed);
    stat_put_names(t, o, "\nFOREIGN FILES (left alone)\n", stat_is_foreign);
    if (stat_put_quarantine(o, &aside) > 0) {
        text_put_str(t, "\nIN quarantine/ (never read; yours to look at and remove)\n");
        text_put(t, aside.p, aside.n);
    }
    text_fini(&aside);
}

static int log_stat_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct offline o;
    struct output out;
    int status = offline_open(&o, cli, argv[0]);

    (void)options;
    (void)argc;
    if (status == EXIT_OK) {
        output_init(&out, cli);
        if (cli->globals.json)
            stat_put_json(&o, &out.text);
        else
            stat_put_text(&o, &out.text);
        status = output_flush(&out);
        output_fini(&out);
    }
    offline_close(&o);
    return status;
}

const struct command command_log_stat = {
    .name = "log stat",
    .arguments = "DIR",
    .summary = "tell what a store's directory consists of",
    .text = "Prints what the store in DIR (the directory that beckd has as --dir) consists of: its "
            "manifest, checkpoints, "
            "segments with the LSNs of the records they stand for, files of the log with what is "
            "used of them, and what "
            "does not belong to it. No beckd may use the store; nothing is changed. With --json it "
            "is one object.",
    .min_args = 1,
    .max_args = 1,
    .run = log_stat_run,
};
