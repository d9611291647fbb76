/*
 * sealdamage.c - T5 over what is sealed: segments, checkpoints and the manifest, changed while nobody used them.
 *
 * Whatever was done to a file, one of these is the outcome (invariant I11): exactly what was there; or a start or a read
 * that is refused with an error that names a file. Never other entries, never fewer; and what was damaged is still in
 * the directory, or in quarantine/, afterwards.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/lib/crash.h"
#include "tests/lib/sealworld.h"

enum { FILES_MAX = 32, OPS_MAX = 40000, READ_MAX = 64 << 20, SWAP = 512 };

struct damage_paths {
    char at[FILES_MAX][100];
    size_t n;
};

struct damage {
    struct sealworld w;
    uint64_t durable; /* what is sealed or saved */
    const struct crash_options *o;
    uint64_t rng, n_cases, n_exact, n_refused, n_unreadable;
    char files[FILES_MAX][100];
    size_t n_files;
    const char *file; /* the one that is damaged */
};

/* ---- a store ----------------------------------------------------------------------------------- */

static void damage_add_file(void *ctx, const char *path)
{
    struct damage *d = ctx;
    const char *name = path + sizeof SEALWORLD_DIR;

    if ((strncmp(name, "st-", 3) == 0 || strncmp(name, "ckpt-", 5) == 0 ||
         strcmp(name, "MANIFEST") == 0) &&
        d->n_files < FILES_MAX)
        snprintf(d->files[d->n_files++], sizeof d->files[0], "%s", path);
}

static void damage_add_path(void *ctx, const char *path)
{
    struct damage_paths *p = ctx;
    if (p->n < FILES_MAX)
        snprintf(p->at[p->n++], sizeof p->at[0], "%s", path);
}

static size_t ops_until(const struct sealworld *w, uint64_t lsn)
{
    size_t n = w->n_ops;

    while (n > 0 && w->ops[n - 1].lsn > lsn)
        n--;
    return n;
}

/* A round of the store's life, which fills a file of the log and ends with a segment and a checkpoint: while these are
 * made, more comes in, so that the checkpoint's chunks are of different moments. */
static void damage_round(struct damage *d, uint32_t i)
{
    struct sealworld *w = &d->w;

    for (uint32_t name = 1 + 2 * i; name < 3 + 2 * i; name++)
        sealworld_create(w, name, LOG_ALWAYS);
    sealworld_create(w, 9, LOG_ALWAYS);
    sealworld_add(w, 9, 500, LOG_ALWAYS);
    sealworld_cut(w, 9, 0, LOG_ALWAYS);
    sealworld_add(w, 1, 6, LOG_ALWAYS);
    sealworld_add(w, 2 + 2 * i, 7, LOG_ALWAYS);
    sealworld_remove(w, 1, 2, LOG_ALWAYS);
    sealworld_ask(w, ASK_SEAL);
    for (int k = 0; sealworld_is_asking(w) && k < 200 && sealworld_holds(w); k++) {
        sealworld_work(w, 2, false);
        if (k < 20)
            sealworld_add(w, 1 + (uint32_t)k % (2 + 2 * i), 1, LOG_ALWAYS);
    }
    sealworld_commit(w, true);
    sealworld_work(w, 0, false);
    sealworld_remove(w, 2, 2, LOG_ALWAYS);
}

/* Two segments, two checkpoints, deletes in both, and something unsealed. */
static void damage_store(struct damage *d, const struct crash_options *o, bool close,
                         struct crash_result *out)
{
    struct sealworld *w = &d->w;
    struct log_stats stats;
    char text[200];

    memset(d, 0, sizeof *d);
    d->o = o;
    d->rng = o->seed;
    sealworld_init(w, o->seed, out);
    snprintf(w->where, sizeof w->where, "damage to a %s store", close ? "closed" : "used");
    w->options.keep_all = true;
    w->options.part_bytes = 1 << 20;
    if (!sealworld_open(w, SIMIO_KILL, false))
        return;
    for (uint32_t i = 0; i < 3 && sealworld_holds(w); i++)
        damage_round(d, i);
    sealworld_add(w, 1, 2, LOG_ALWAYS);
    sealworld_commit(w, true);
    sealworld_work(w, 0, false);
    sealworld_compare(w);
    log_get_stats(w->log, &stats);
    d->durable = stats.checkpoint_lsn > stats.sealed_lsn ? stats.checkpoint_lsn : stats.sealed_lsn;
    if (close)
        sealworld_close(w, text);
    else
        sealworld_abandon(w);
    simio_restart(w->disk);
    simio_each_file(w->disk, damage_add_file, d);
    if (sealworld_holds(w) && d->n_files < 4)
        sealworld_fails(w, "a store of %zu files is too small for this", d->n_files);
}

/* ---- judging ----------------------------------------------------------------------------------- */

struct bounds {
    uint64_t n_ops, largest;
};

static void bounds_on_op(void *ctx, const struct simio_op *op)
{
    struct bounds *b = ctx;

    b->n_ops++;
    if (op->kind == SIMIO_READ && op->n > b->largest)
        b->largest = op->n;
}

/* The error names a file of the store. */
static void damage_check_error(struct damage *d, const char *what, const struct sealstart *s)
{
    bool names = strstr(s->err.text, "wal-") != NULL || strstr(s->err.text, "STORE") != NULL ||
                 strstr(s->err.text, "st-") != NULL || strstr(s->err.text, "ckpt-") != NULL ||
                 strstr(s->err.text, "MANIFEST") != NULL;

    if (s->rc != ERR_CORRUPT && s->rc != ERR_FORMAT && s->rc != ERR_IO)
        sealworld_fails(&d->w, "%s: error %d, %s", what, s->rc, s->err.text);
    if (!names || strchr(s->err.text, '\n') != NULL)
        sealworld_fails(&d->w, "%s: the error names no file: %s", what, s->err.text);
}

struct search {
    const struct simio *disk;
    const uint8_t *bytes;
    size_t n;
    const char *name;
    bool found;
};

static void search_each(void *ctx, const char *path)
{
    struct search *s = ctx;
    size_t n;
    const uint8_t *bytes = simio_bytes(s->disk, path, &n);

    if (strstr(path, s->name) != NULL && n == s->n && memcmp(bytes, s->bytes, n) == 0)
        s->found = true;
}

/* The damaged file is there, or in quarantine/, unless a later one has rightly taken its place. */
static void damage_check_kept(struct damage *d, const struct simio *before,
                              const struct simio *after, const char *what)
{
    struct search s = { .disk = after, .name = d->file + sizeof SEALWORLD_DIR };

    s.bytes = simio_bytes(before, d->file, &s.n);
    if (s.bytes == NULL || strcmp(s.name, "MANIFEST") == 0)
        return;
    simio_each_file(after, search_each, &s);
    if (!s.found)
        sealworld_fails(&d->w, "%s: the file is gone", what);
}

static void damage_salvage(struct damage *d, struct simio *disk, const char *what)
{
    struct sealstart s;

    sealstart_run(&s, &d->w, disk, SEALWORLD_DIR, true);
    if (s.log == NULL && s.rc != ERR_FORMAT && s.rc != ERR_IO &&
        strstr(s.err.text, "STORE") == NULL && strstr(s.err.text, "MANIFEST") == NULL)
        sealworld_fails(&d->w, "%s: salvage failed: %s", what, s.err.text);
    sealstart_end(&s);
}

/* After the end of the log has gone: a refusal, or a state of the model that has all that checkpoints stand for. */
static void damage_judge_tail(struct damage *d, struct simio *disk, const char *what)
{
    struct sealstart s;

    d->n_cases++;
    sealstart_run(&s, &d->w, disk, SEALWORLD_DIR, false);
    if (s.why[0] != '\0')
        sealworld_fails(&d->w, "%s: %s", what, s.why);
    else if (s.rc != OK)
        damage_check_error(d, what, &s);
    else if (s.n < ops_until(&d->w, d->durable))
        sealworld_fails(&d->w, "%s: %zu operations found, %zu were sealed or saved", what, s.n,
                        ops_until(&d->w, d->durable));
    sealstart_end(&s);
    simio_free(disk);
}

struct check {
    struct log_request r; /* must be first */
    bool done;
    int rc;
    uint64_t n_found;
};

static void check_on_done(struct log_request *r, int rc, const struct err *e)
{
    struct check *c = (struct check *)r;

    (void)e;
    c->done = true;
    c->rc = rc;
}

static void check_on_found(struct log_request *r, const char *path, uint64_t pos, const char *what)
{
    struct check *c = (struct check *)r;

    (void)pos;
    c->n_found += path[0] != '\0' && what[0] != '\0';
}

/* What a read has met, a check of the whole store finds too. */
static void damage_check_found(struct damage *d, struct sealstart *s, const char *what)
{
    struct check c = { .r = { .done = check_on_done, .found = check_on_found } };

    host_enter(s->host);
    log_check(s->log, &c.r);
    host_leave(s->host);
    sealstart_work(s, 0);
    if (!c.done || c.rc == OK || c.n_found == 0)
        sealworld_fails(&d->w, "%s: a check says %s, and found %" PRIu64 " places", what,
                        !c.done      ? "nothing"
                        : c.rc == OK ? "that all is well"
                                     : "that something is damaged",
                        c.n_found);
}

/* Judges a damaged disk and frees it. With `exact`, nothing but what was there will do. */
static void damage_judge(struct damage *d, struct simio *disk, bool exact, const char *what)
{
    struct simio *before = simio_copy(disk);
    struct bounds b = { 0, 0 };
    struct sealstart s;
    bool opened;

    d->n_cases++;
    simio_set_hook(disk, bounds_on_op, &b);
    sealstart_run(&s, &d->w, disk, SEALWORLD_DIR, false);
    opened = s.log != NULL;
    simio_set_hook(disk, NULL, NULL);
    if (b.n_ops > OPS_MAX || b.largest > READ_MAX)
        sealworld_fails(&d->w, "%s: %" PRIu64 " operations, the largest read %" PRIu64, what,
                        b.n_ops, b.largest);
    if (s.why[0] != '\0')
        sealworld_fails(&d->w, "%s: %s", what, s.why);
    else if (s.rc != OK)
        damage_check_error(d, what, &s);
    else if (s.n != d->w.n_ops)
        sealworld_fails(&d->w, "%s: %zu operations found, %zu were there", what, s.n, d->w.n_ops);
    if (exact && s.rc != OK)
        sealworld_fails(&d->w, "%s: refused: %s", what, s.err.text);
    d->n_exact += s.rc == OK;
    d->n_refused += s.rc != OK && !opened;
    d->n_unreadable += s.rc != OK && opened;
    if (s.rc != OK && opened)
        damage_check_found(d, &s, what);
    sealstart_end(&s);
    damage_check_kept(d, before, disk, what);
    if (!opened && simio_digest(before) != simio_digest(disk))
        sealworld_fails(&d->w, "%s: refused, and the directory is changed", what);
    if (!opened && (d->n_cases % 5 == 0 || d->o->full))
        damage_salvage(d, before, what);
    simio_free(before);
    simio_free(disk);
}

/* ---- what is done to a file -------------------------------------------------------------------- */

/* There are two checkpoints so that one may be damaged. */
static bool damage_is_spare(const struct damage *d)
{
    return strstr(d->file, "/ckpt-") != NULL;
}

static void damage_byte(struct damage *d, size_t at, uint8_t byte)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(d->w.disk, d->file, &n);
    struct simio *copy;
    char what[200];

    if (at >= n || bytes[at] == byte)
        return;
    snprintf(what, sizeof what, "byte %zu of %s: %02x instead of %02x", at, d->file, byte,
             bytes[at]);
    copy = simio_copy(d->w.disk);
    simio_poke(copy, d->file, at, byte);
    damage_judge(d, copy, damage_is_spare(d), what);
}

static void damage_bytes(struct damage *d, size_t step)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(d->w.disk, d->file, &n);

    for (size_t at = (size_t)simio_below(&d->rng, step); at < n && sealworld_holds(&d->w);
         at += step) {
        uint8_t old = bytes[at];
        damage_byte(d, at, 0x00);
        damage_byte(d, at, 0xff);
        for (int bit = 0; bit < 8 && d->o->full; bit++)
            damage_byte(d, at, old ^ (uint8_t)(1u << bit));
        if (!d->o->full)
            damage_byte(d, at, old ^ (uint8_t)(1u << simio_below(&d->rng, 8)));
    }
}

static void damage_lengths(struct damage *d, size_t step)
{
    size_t n;
    char what[200];

    if (simio_bytes(d->w.disk, d->file, &n) == NULL)
        return;
    for (size_t size = (size_t)simio_below(&d->rng, step); size < n && sealworld_holds(&d->w);
         size += step) {
        struct simio *copy = simio_copy(d->w.disk);
        simio_cut(copy, d->file, size);
        snprintf(what, sizeof what, "%s cut to %zu of %zu bytes", d->file, size, n);
        damage_judge(d, copy, damage_is_spare(d), what);
    }
}

static void poke_all(struct simio *disk, const char *path, size_t at, const uint8_t *bytes,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        simio_poke(disk, path, at + i, bytes[i]);
}

/* Pieces of SWAP bytes change places; garbage follows the file. */
static void damage_pieces(struct damage *d)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(d->w.disk, d->file, &n);
    uint8_t garbage[4096];
    struct simio *copy;
    char what[200];

    for (size_t i = 0; i + SWAP <= n; i += SWAP) {
        for (size_t k = i + SWAP; k + SWAP <= n && sealworld_holds(&d->w); k += SWAP) {
            if (memcmp(bytes + i, bytes + k, SWAP) == 0 ||
                (!d->o->full && simio_below(&d->rng, 8) != 0))
                continue;
            copy = simio_copy(d->w.disk);
            poke_all(copy, d->file, i, bytes + k, SWAP);
            poke_all(copy, d->file, k, bytes + i, SWAP);
            snprintf(what, sizeof what, "bytes %zu and %zu of %s swapped", i, k, d->file);
            damage_judge(d, copy, damage_is_spare(d), what);
        }
    }
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)simio_random(&d->rng);
    copy = simio_copy(d->w.disk);
    simio_cut(copy, d->file, n + sizeof garbage);
    poke_all(copy, d->file, n, garbage, sizeof garbage);
    snprintf(what, sizeof what, "4 KiB of garbage behind %s", d->file);
    damage_judge(d, copy, damage_is_spare(d), what);
}

static void damage_sectors(struct damage *d)
{
    size_t n;
    char what[200];

    if (simio_bytes(d->w.disk, d->file, &n) == NULL)
        return;
    for (size_t at = 0; at < n && sealworld_holds(&d->w); at += SIMIO_SECTOR) {
        struct simio *copy = simio_copy(d->w.disk);
        simio_break_sector(copy, d->file, at);
        snprintf(what, sizeof what, "sector %zu of %s cannot be read", at, d->file);
        damage_judge(d, copy, false, what);
    }
}

/* The file is missing, or is one of the others of its kind. */
static void damage_whole(struct damage *d)
{
    struct simio *copy = simio_copy(d->w.disk);
    char what[300];
    size_t n;

    simio_remove(copy, d->file);
    snprintf(what, sizeof what, "%s is missing", d->file);
    damage_judge(d, copy, damage_is_spare(d), what);
    for (size_t i = 0; i < d->n_files && sealworld_holds(&d->w); i++) {
        const uint8_t *bytes = simio_bytes(d->w.disk, d->files[i], &n);
        if (d->files[i] == d->file)
            continue;
        copy = simio_copy(d->w.disk);
        simio_put(copy, d->file, bytes, n);
        snprintf(what, sizeof what, "%s has the bytes of %s", d->file, d->files[i]);
        damage_judge(d, copy, damage_is_spare(d), what);
    }
}

/* Files that nothing explains: set aside, named, and harmless. */
static void damage_foreign(struct damage *d, const struct damage *other)
{
    static const char *const names[] = {
        "st-00000000000000000099.seg",
        "st-00000000000000000099.seg.tmp",
        "ckpt-00000000000000009999.ck",
        "ckpt-00000000000000009999.ck.tmp",
        "MANIFEST.tmp",
    };
    char path[120], what[300];
    size_t n;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t k = 0; k <= other->n_files && sealworld_holds(&d->w); k++) {
            struct simio *copy = simio_copy(d->w.disk);
            static const uint8_t zeros[12000];
            const uint8_t *bytes = zeros;
            n = i % 2 == 0 ? sizeof zeros : 5;
            if (k < other->n_files)
                bytes = simio_bytes(other->w.disk, other->files[k], &n);
            snprintf(path, sizeof path, SEALWORLD_DIR "/%s", names[i]);
            snprintf(what, sizeof what, "%s with the bytes of %s", path,
                     k < other->n_files ? other->files[k] : "zeros");
            simio_put(copy, path, bytes, n);
            d->file = strstr(path, ".tmp") != NULL ? d->files[0] : path;
            damage_judge(d, copy, true, what);
        }
    }
    for (size_t i = 0; i < d->n_files && sealworld_holds(&d->w); i++) {
        struct simio *copy = simio_copy(d->w.disk);
        size_t k = i < other->n_files ? i : other->n_files - 1;
        const uint8_t *bytes = simio_bytes(other->w.disk, other->files[k], &n);
        d->file = d->files[i];
        simio_put(copy, d->file, bytes, n);
        snprintf(what, sizeof what, "%s is that of another store", d->file);
        damage_judge(d, copy, damage_is_spare(d), what);
    }
}

static void damage_all(struct damage *d)
{
    size_t step = d->o->full ? 1 : 1 + (size_t)(12 / (d->o->scale + 0.01));

    for (size_t i = 0; i < d->n_files && sealworld_holds(&d->w); i++) {
        d->file = d->files[i];
        damage_bytes(d, step);
        damage_lengths(d, step);
        damage_pieces(d);
        damage_sectors(d);
        damage_whole(d);
    }
}

/* Less than all, without an error, is right only where nothing undamaged claims that more was durable: the log's own frames
 * and what the newest checkpoint and segment stand for. */
static void damage_log_tail(struct damage *d, const char *path)
{
    size_t n, step = d->o->full ? 8 : 512;
    const uint8_t *bytes = simio_bytes(d->w.disk, path, &n);
    char what[200];

    if (strstr(path, "/wal-0") == NULL)
        return;
    for (size_t at = 4096; at < n && sealworld_holds(&d->w); at += step) {
        struct simio *copy;
        bool zeros = true;
        for (size_t i = at; i < n && zeros; i++)
            zeros = bytes[i] == 0;
        if (zeros)
            return;
        copy = simio_copy(d->w.disk);
        simio_cut(copy, path, at);
        simio_cut(copy, path, n);
        snprintf(what, sizeof what, "zeros from byte %zu of %s on", at, path);
        damage_judge_tail(d, copy, what);
    }
}

static void damage_logs(struct damage *d)
{
    struct damage_paths paths = { .n = 0 };

    simio_each_file(d->w.disk, damage_add_path, &paths);
    for (size_t i = 0; i < paths.n && sealworld_holds(&d->w); i++)
        damage_log_tail(d, paths.at[i]);
}

static void damage_end(struct damage *d)
{
    d->w.result->n_images += d->n_cases;
    sealworld_fini(&d->w);
}

void seal_damage(const struct crash_options *o, struct crash_result *out)
{
    struct damage closed, used;
    struct crash_options other = *o;

    damage_store(&closed, o, true, out);
    if (out->why[0] == '\0')
        damage_all(&closed);
    other.seed = o->seed + 1;
    damage_store(&used, &other, false, out);
    if (out->why[0] == '\0')
        damage_foreign(&closed, &used);
    if (out->why[0] == '\0')
        damage_all(&used);
    if (out->why[0] == '\0')
        damage_logs(&used);
    if (out->why[0] == '\0' &&
        (closed.n_exact == 0 || closed.n_refused == 0 || closed.n_unreadable == 0))
        sealworld_fails(&closed.w,
                        "%" PRIu64 " harmless, %" PRIu64 " refused, %" PRIu64 " unreadable: one "
                        "outcome never comes",
                        closed.n_exact, closed.n_refused, closed.n_unreadable);
    damage_end(&closed);
    damage_end(&used);
}
