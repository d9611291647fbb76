/*
 * damage.c - T5 of the crash suites: stores that something has changed while nobody used them.
 *
 * What a start may make of damage (invariant I11): exactly what was there; or an error that names the file, and
 * the place in it where it is a matter of bytes, with the directory left as it was; or less, but only above
 * what undamaged frames claim to be durable. Never other records, never silently less, never endless reading or a read
 * larger than any frame. With salvage it must come up with some of the records, and find the same again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/lib/crash.h"
#include "tests/lib/world.h"

enum { DAMAGE_BATCHES_MAX = 64, DAMAGE_OPS_MAX = 20000, DAMAGE_READ_MAX = 64 << 20 };

struct damage {
    struct world w;
    const struct crash_options *o;
    uint64_t rng, n_cases;
    char file[100];    /* the one that is damaged */
    size_t frames_end; /* behind its last write */
    /* Of the batches in `file`: where their bytes are, and how many records there are up to each one's end. */
    size_t n_batches, start[DAMAGE_BATCHES_MAX], end[DAMAGE_BATCHES_MAX], upto[DAMAGE_BATCHES_MAX];
    size_t write_pos, write_end; /* of the last write to a log file */
};

/* ---- stores ------------------------------------------------------------------------------------ */

static void damage_on_op(void *ctx, const struct simio_op *op)
{
    struct damage *d = ctx;

    if (op->kind != SIMIO_WRITE || strstr(op->path, "/wal-") == NULL || op->pos == 0)
        return;
    if (op->pos < d->write_end || d->write_pos == 0)
        d->write_pos = (size_t)op->pos;
    d->write_end = (size_t)(op->pos + op->n);
}

static void damage_batch(struct damage *d, enum log_class class, size_t n, size_t len)
{
    struct world *w = &d->w;

    d->write_pos = 0;
    world_append(w, class, n, len);
    world_commit(w, false);
    if (d->n_batches < DAMAGE_BATCHES_MAX && d->write_pos != 0) {
        d->start[d->n_batches] = d->write_pos;
        d->end[d->n_batches] = d->write_end;
        d->upto[d->n_batches++] = w->n_records;
    }
    world_step(w, 0);
}

static void damage_find_file(void *ctx, const char *path)
{
    struct damage *d = ctx;
    if (strstr(path, "/wal-0") != NULL)
        snprintf(d->file, sizeof d->file, "%s", path);
}

static void damage_begin(struct damage *d, const struct crash_options *o, const char *name,
                         struct crash_result *out)
{
    memset(d, 0, sizeof *d);
    d->o = o;
    d->rng = o->seed;
    world_init(&d->w, o->seed, out);
    snprintf(d->w.where, sizeof d->w.where, "damage to %s", name);
    d->w.options.frame_bytes_max = 300;
    simio_set_hook(d->w.disk, damage_on_op, d);
    world_open(&d->w, SIMIO_KILL, false);
    world_step(&d->w, 0);
}

static void damage_store(struct damage *d, const struct crash_options *o, const char *name,
                         bool clean, struct crash_result *out)
{
    damage_begin(d, o, name, out);
    if (!world_holds(&d->w))
        return;
    damage_batch(d, LOG_ALWAYS, 1, 40);
    damage_batch(d, LOG_ALWAYS, 1, 40);
    damage_batch(d, LOG_ALWAYS, 2, 0);
    damage_batch(d, LOG_INTERVAL, 3, 50);
    damage_batch(d, LOG_OS, 1, 40);
    damage_batch(d, LOG_ALWAYS, 3, 250); /* several frames */
    damage_batch(d, LOG_ALWAYS, 1, 40);
    damage_batch(d, LOG_ALWAYS, 1, 40);
    d->frames_end = d->write_end;
    simio_each_file(d->w.disk, damage_find_file, d); /* the newest */
    if (clean)
        world_close(&d->w);
    else
        world_abandon(&d->w);
    d->frames_end = d->write_end;
    simio_set_hook(d->w.disk, NULL, NULL);
}

static void damage_end(struct damage *d)
{
    d->w.result->n_images += d->n_cases;
    simio_set_hook(d->w.disk, NULL, NULL);
    world_fini(&d->w);
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

static size_t damage_start(struct damage *d, struct simio *disk, bool salvage, struct start *s)
{
    struct bounds b = { 0, 0 };

    simio_set_hook(disk, bounds_on_op, &b);
    start_run(s, &d->w, disk, salvage);
    simio_set_hook(disk, NULL, NULL);
    if (s->log != NULL)
        log_abandon(s->log);
    s->log = NULL;
    if (b.n_ops > DAMAGE_OPS_MAX || b.largest > DAMAGE_READ_MAX)
        snprintf(s->why, sizeof s->why, "%" PRIu64 " operations, the largest read %" PRIu64,
                 b.n_ops, b.largest);
    simio_restart(disk);
    return s->n_replayed;
}

static void damage_fails(struct damage *d, const char *what, const char *why)
{
    world_fails(&d->w, "%s: %s", what, why);
}

/* The error says where: a file of the store and, where bytes are damaged, the position. */
static void damage_check_error(struct damage *d, const char *what, const struct start *s)
{
    bool names = strstr(s->err.text, "wal-") != NULL || strstr(s->err.text, "STORE") != NULL ||
                 strstr(s->err.text, WORLD_DIR) != NULL;

    if (s->rc != ERR_CORRUPT && s->rc != ERR_FORMAT && s->rc != ERR_IO)
        world_fails(&d->w, "%s: error %d, %s", what, s->rc, s->err.text);
    if (!names || strchr(s->err.text, '\n') != NULL)
        world_fails(&d->w, "%s: the error names no file: %s", what, s->err.text);
}

static void damage_salvage(struct damage *d, struct simio *disk, const char *what)
{
    struct start s, again;

    damage_start(d, disk, true, &s);
    if (s.why[0] != '\0') {
        world_fails(&d->w, "%s, salvage: %s", what, s.why);
        return;
    }
    if (s.rc != OK) {
        if (strstr(s.err.text, "STORE") == NULL && s.rc != ERR_FORMAT && s.rc != ERR_IO)
            world_fails(&d->w, "%s: salvage failed: %s", what, s.err.text);
        return;
    }
    damage_start(d, disk, true, &again); /* true: the records need not be a prefix */
    if (again.rc != OK || again.why[0] != '\0' || again.last_lsn < s.last_lsn)
        world_fails(&d->w, "%s: after a salvage: %s%s", what, again.err.text, again.why);
}

/* Judges a damaged disk and frees it. At least `min` records must be found if there is no error; with `exact` no more
 * either, than `min`. */
static void damage_judge(struct damage *d, struct simio *disk, size_t min, bool exact,
                         const char *what)
{
    struct simio *copy = simio_copy(disk);
    uint64_t digest = simio_digest(disk);
    struct start s, again;

    d->n_cases++;
    damage_start(d, disk, false, &s);
    if (s.why[0] != '\0') {
        damage_fails(d, what, s.why);
    } else if (s.rc != OK) {
        damage_check_error(d, what, &s);
        if (simio_digest(disk) != digest)
            damage_fails(d, what, "refused, and the directory is changed");
        if (d->n_cases % 5 == 0 || d->o->full)
            damage_salvage(d, copy, what);
    } else if (s.n < min || (exact && s.n > min)) {
        world_fails(&d->w, "%s: %zu records found without an error, %zu were there", what, s.n,
                    min);
    } else if (d->n_cases % 5 == 0 || d->o->full) {
        damage_start(d, disk, false, &again);
        if (again.rc != OK || again.why[0] != '\0' || again.n != s.n)
            world_fails(&d->w, "%s: the next start: %s%s, %zu records, %zu before", what,
                        again.err.text, again.why, again.n, s.n);
    }
    simio_free(copy);
    simio_free(disk);
}

static bool damage_holds(const struct damage *d)
{
    return world_holds(&d->w);
}

/* ---- bytes and lengths ------------------------------------------------------------------------- */

static void damage_byte(struct damage *d, const char *path, size_t at, uint8_t byte, size_t min)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(d->w.disk, path, &n);
    struct simio *copy;
    char what[200];

    if (at >= n || bytes[at] == byte)
        return;
    snprintf(what, sizeof what, "byte %zu of %s: %02x instead of %02x", at, path, byte, bytes[at]);
    copy = simio_copy(d->w.disk);
    simio_poke(copy, path, at, byte);
    damage_judge(d, copy, min, false, what);
}

/* Each byte up to `dense`, then one of 61: a bit flipped, zeros, ones. */
static void damage_bytes(struct damage *d, const char *path, size_t dense, size_t step, size_t min)
{
    size_t n, at = 0;
    const uint8_t *bytes = simio_bytes(d->w.disk, path, &n);

    while (at < n && damage_holds(d)) {
        uint8_t old = bytes[at];
        damage_byte(d, path, at, 0x00, min);
        damage_byte(d, path, at, 0xff, min);
        for (int bit = 0; bit < 8 && d->o->full; bit++)
            damage_byte(d, path, at, old ^ (uint8_t)(1u << bit), min);
        if (!d->o->full)
            damage_byte(d, path, at, old ^ (uint8_t)(1u << simio_below(&d->rng, 8)), min);
        at += at < dense ? step : step * 61;
    }
}

/* How many records the first `size` bytes of the file hold in whole batches. */
static size_t damage_within(const struct damage *d, size_t size)
{
    size_t n = d->n_batches > 0 ? d->upto[0] : 0;

    if (d->n_batches == 0 || d->end[0] > size)
        return 0;
    for (size_t i = 0; i < d->n_batches && d->end[i] <= size; i++)
        n = d->upto[i];
    return n;
}

static void damage_lengths(struct damage *d, size_t step)
{
    size_t n, last = d->frames_end + SIMIO_SECTOR;
    char what[200];

    if (simio_bytes(d->w.disk, d->file, &n) == NULL)
        return;
    for (size_t size = 0; size < n && damage_holds(d); size += size < last ? step : step * 509) {
        struct simio *copy = simio_copy(d->w.disk);
        simio_cut(copy, d->file, size);
        snprintf(what, sizeof what, "%s cut to %zu of %zu bytes", d->file, size, n);
        damage_judge(d, copy, damage_within(d, size), true, what);
    }
}

static void damage_sectors(struct damage *d)
{
    char what[200];

    for (size_t at = 0; at < d->frames_end && damage_holds(d); at += SIMIO_SECTOR) {
        struct simio *copy = simio_copy(d->w.disk);
        simio_break_sector(copy, d->file, at);
        snprintf(what, sizeof what, "sector %zu of %s cannot be read", at, d->file);
        damage_judge(d, copy, d->w.n_records, false, what);
    }
}

/* ---- frames in the wrong place ----------------------------------------------------------------- */

static void poke_all(struct simio *disk, const char *path, size_t at, const uint8_t *bytes,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        simio_poke(disk, path, at + i, bytes[i]);
}

/* Batch i's bytes in the place of batch k's, and the other way round if `swap`. */
static void damage_move(struct damage *d, size_t i, size_t k, bool swap, size_t min)
{
    struct simio *copy = simio_copy(d->w.disk);
    size_t n, len = d->end[i] - d->start[i], other = d->end[k] - d->start[k];
    const uint8_t *bytes = simio_bytes(d->w.disk, d->file, &n);
    char what[200];

    snprintf(what, sizeof what, "batch %zu %s batch %zu", i,
             swap ? "swapped with" : "in the place of", k);
    if (len > other && !swap)
        len = other;
    if (len == other || !swap) {
        poke_all(copy, d->file, d->start[k], bytes + d->start[i], len);
        if (swap)
            poke_all(copy, d->file, d->start[i], bytes + d->start[k], other);
        damage_judge(d, copy, min, false, what);
    } else {
        simio_free(copy);
    }
}

static void damage_frames(struct damage *d, size_t min)
{
    size_t n, last = d->n_batches - 1;
    uint8_t garbage[4096];
    const uint8_t *bytes = simio_bytes(d->w.disk, d->file, &n);
    struct simio *copy;

    for (size_t i = 0; i < d->n_batches; i++) {
        for (size_t k = 0; k < d->n_batches && damage_holds(d); k++) {
            if (i != k)
                damage_move(d, i, k, false, min);
            if (i < k)
                damage_move(d, i, k, true, min);
        }
    }
    for (size_t i = 0; i < d->n_batches && damage_holds(d); i++) { /* once more behind the end */
        size_t at = (d->frames_end + SIMIO_SECTOR - 1) / SIMIO_SECTOR * SIMIO_SECTOR;
        copy = simio_copy(d->w.disk);
        poke_all(copy, d->file, at, bytes + d->start[i], d->end[i] - d->start[i]);
        damage_judge(d, copy, d->w.n_records, true, "a batch repeated behind the end");
        copy = simio_copy(d->w.disk);
        poke_all(copy, d->file, d->frames_end, bytes + d->start[i], d->end[i] - d->start[i]);
        damage_judge(d, copy, d->w.n_records, true, "a batch repeated right at the end");
    }
    (void)last;
    for (size_t at = d->frames_end; at < d->frames_end + 1024 && damage_holds(d); at += 8) {
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)simio_random(&d->rng);
        copy = simio_copy(d->w.disk);
        poke_all(copy, d->file, at, garbage, sizeof garbage);
        damage_judge(d, copy, d->w.n_records, true, "4 KiB of garbage behind the end");
    }
    copy = simio_copy(d->w.disk);
    simio_cut(copy, d->file, n + sizeof garbage);
    poke_all(copy, d->file, n, garbage, sizeof garbage);
    damage_judge(d, copy, d->w.n_records, true, "4 KiB of garbage behind the file");
}

/* ---- files that do not belong ------------------------------------------------------------------ */

static void damage_foreign(struct damage *d, const struct damage *other)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(other->w.disk, other->file, &n);
    struct simio *copy = simio_copy(d->w.disk);
    struct start s;

    simio_put(copy, d->file, bytes, n);
    damage_judge(d, copy, d->w.n_records, true, "the log file of another store");
    copy = simio_copy(d->w.disk);
    simio_put(copy, WORLD_DIR "/wal-00000000000000900000.log", bytes, n);
    damage_judge(d, copy, d->w.n_records, true, "a log file of another store besides");
    copy = simio_copy(d->w.disk);
    simio_put(copy, WORLD_DIR "/wal-00000000000000900000.log", "hello", 5);
    damage_judge(d, copy, d->w.n_records, true, "a file that only has the name of a log file");
    copy = simio_copy(d->w.disk);
    simio_put(copy, WORLD_DIR "/notes.txt", "keep me", 7);
    damage_start(d, copy, false, &s);
    if (s.rc == OK &&
        (s.n != d->w.n_records || simio_bytes(copy, WORLD_DIR "/notes.txt", &n) == NULL))
        world_fails(&d->w, "a file of somebody else in the directory: lost, or records are");
    simio_free(copy);
    copy = simio_copy(d->w.disk);
    simio_remove(copy, WORLD_DIR "/STORE");
    damage_judge(d, copy, SIZE_MAX, false, "no STORE");
}

static void damage_not_a_store(struct damage *d)
{
    struct simio *disk = simio_new(7);
    struct io *io = simio_io(disk);

    if (io->mkdir(io, WORLD_DIR) != 0)
        abort();
    simio_put(disk, WORLD_DIR "/notes.txt", "keep me", 7);
    damage_judge(d, disk, SIZE_MAX, false, "a directory with somebody else's file");
}

/* ---- the suite --------------------------------------------------------------------------------- */

/* `unsure`: records of the last batch, if nothing claims that it is durable. */
static void damage_all(struct damage *d, size_t unsure, size_t step)
{
    size_t all = d->w.n_records, min = all - unsure;

    damage_bytes(d, d->file, d->frames_end + SIMIO_SECTOR, step, min);
    if (damage_holds(d))
        damage_bytes(d, WORLD_DIR "/STORE", SIZE_MAX, 1, all);
    if (damage_holds(d))
        damage_lengths(d, step);
    if (damage_holds(d))
        damage_sectors(d);
    if (damage_holds(d))
        damage_frames(d, min);
}

/* A store of several files: damage to the older ones is damage to synced data. */
static void damage_old_file(const struct crash_options *o, size_t step, struct crash_result *out)
{
    struct damage d;
    struct simio *copy;
    char first[100];

    damage_begin(&d, o, "an older file", out);
    simio_each_file(d.w.disk, damage_find_file, &d);
    snprintf(first, sizeof first, "%.99s", d.file);
    d.w.options.frame_bytes_max = 0;
    for (int i = 0; i < 12 && world_holds(&d.w); i++)
        damage_batch(&d, i % 2 ? LOG_ALWAYS : LOG_OS, 1, 8000);
    if (d.w.log != NULL)
        world_abandon(&d.w);
    if (damage_holds(&d)) {
        damage_bytes(&d, first, 4096, o->full ? 1 : 7 * step, d.w.n_records - 1);
        copy = simio_copy(d.w.disk);
        simio_remove(copy, first);
        damage_judge(&d, copy, SIZE_MAX, false, "the first file is missing");
    }
    damage_end(&d);
}

void crash_damage(const struct crash_options *o, struct crash_result *out)
{
    struct damage closed, killed;
    size_t step = o->full || o->scale >= 1 ? 1 : (size_t)(1 / (o->scale + 0.01));

    damage_store(&closed, o, "a closed store", true, out);
    if (damage_holds(&closed))
        damage_all(&closed, 0, step);
    damage_store(&killed, o, "a store in use", false, out);
    killed.rng ^= 99;
    if (damage_holds(&killed))
        damage_all(&killed, 1, step);
    if (damage_holds(&closed))
        damage_foreign(&closed, &killed);
    if (damage_holds(&closed))
        damage_not_a_store(&closed);
    damage_end(&closed);
    damage_end(&killed);
    if (out->why[0] == '\0')
        damage_old_file(o, step, out);
}
