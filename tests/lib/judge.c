/*
 * judge.c - images of a disk, and what a log finds on them.
 *
 * Before an operation the disk is copied, the power fails on the copies in every mode, a log starts on each, and the
 * subject compares what it finds with its model. The watermarks are read at that very moment, so a claim that comes
 * one operation too early is seen. What a start finds on one image depends on the image alone: images are remembered
 * by their digest, and one that was judged before is only measured against what must be there by now.
 *
 * For modes P and D the start itself is interrupted at each of its operations in the same way; whatever it leaves must
 * give exactly what the undisturbed start gives.
 */
#include "tests/lib/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- images that were judged ------------------------------------------------------------------- */

static struct seen *judge_place(const struct judge *j, uint64_t digest)
{
    size_t i = (size_t)digest & (j->cache.cap - 1);

    while (j->cache.at[i].digest != 0 && j->cache.at[i].digest != digest)
        i = (i + 1) & (j->cache.cap - 1);
    return &j->cache.at[i];
}

void judge_forget(struct judge *j)
{
    free(j->cache.at);
    memset(&j->cache, 0, sizeof j->cache);
}

static void judge_grow(struct judge *j)
{
    struct seen *old = j->cache.at;
    size_t cap = j->cache.cap;

    j->cache.cap = cap ? 2 * cap : 1024;
    j->cache.at = calloc(j->cache.cap, sizeof *j->cache.at);
    if (j->cache.at == NULL)
        abort();
    for (size_t i = 0; i < cap; i++)
        if (old[i].digest != 0)
            *judge_place(j, old[i].digest) = old[i];
    free(old);
}

static void judge_remember(struct judge *j, uint64_t digest, size_t n)
{
    if (2 * (j->cache.n + 1) > j->cache.cap)
        judge_grow(j);
    j->cache.n++;
    *judge_place(j, digest) = (struct seen){ digest, n };
}

static bool judge_knows(const struct judge *j, uint64_t digest, size_t *out_n)
{
    const struct seen *s = j->cache.cap ? judge_place(j, digest) : NULL;

    if (s == NULL || s->digest == 0)
        return false;
    *out_n = s->n;
    return true;
}

/* ---- judging images ---------------------------------------------------------------------------- */

/* What a start finds on an image. */
struct finding {
    size_t n;
    char why[JUDGE_WHY_MAX]; /* empty: nothing is wrong */
};

/* An interrupted start: what each interruption finds must be what the first one found. */
struct inner {
    struct judge *j;
    struct simio *disk;
    bool known;
    size_t n;
};

static uint64_t variant_of(struct judge *j, uint64_t count, uint64_t max, uint64_t i)
{
    if ((count != 0 && count <= max) || max == 1) /* the only one: nothing is kept */
        return i;
    return count + (simio_random(&j->rng) >> 2);
}

static uint64_t variants(uint64_t count, uint64_t max)
{
    return count != 0 && count < max ? count : max;
}

static bool judge_holds(const struct judge *j)
{
    return j->subject.holds(j->subject.ctx);
}

static void judge_fails(struct judge *j, enum simio_mode mode, uint64_t variant, const char *what,
                        const char *why)
{
    char text[JUDGE_WHY_MAX + 500];

    snprintf(text, sizeof text, "%s, mode %c variant %" PRIu64 "%s: %s", j->where,
             simio_mode_letter(mode), variant, what, why);
    j->subject.fails(j->subject.ctx, text);
}

/* Remembered. False if it failed or found what cannot be. */
static bool judge_find(struct judge *j, struct simio *disk, uint64_t digest, struct finding *f)
{
    if (!j->subject.find(j->subject.ctx, disk, &f->n, f->why))
        return false;
    judge_remember(j, digest, f->n);
    return true;
}

static void inner_image(struct inner *in, const struct simio_op *op, enum simio_mode mode,
                        uint64_t variant)
{
    struct judge *j = in->j;
    struct simio *copy = simio_copy(in->disk);
    struct finding f = { .why = "" };
    char what[200];
    uint64_t digest;

    simio_crash(copy, mode, variant);
    digest = simio_digest(copy);
    snprintf(what, sizeof what, ", and again before %s of %s in the start",
             simio_kind_name(op->kind), op->path);
    if (!judge_knows(j, digest, &f.n)) {
        j->result->n_images++;
        if (!judge_find(j, copy, digest, &f))
            judge_fails(j, mode, variant, what, f.why);
    }
    if (!in->known)
        in->n = f.n;
    in->known = true;
    if (f.n != in->n && f.why[0] == '\0') {
        snprintf(f.why, sizeof f.why, "%zu records where another start found %zu", f.n, in->n);
        judge_fails(j, mode, variant, what, f.why);
    }
    simio_free(copy);
}

static void inner_on_op(void *ctx, const struct simio_op *op)
{
    static const enum simio_mode modes[] = { SIMIO_PREFIX, SIMIO_DIRS };
    struct inner *in = ctx;
    struct judge *j = in->j;

    if (!simio_kind_changes(op->kind) || !judge_holds(j))
        return;
    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
        uint64_t count = simio_crash_count(in->disk, modes[m]);
        for (uint64_t i = 0; i < variants(count, j->max_inner); i++)
            inner_image(in, op, modes[m], variant_of(j, count, j->max_inner, i));
    }
}

/* Once more without power: what the start has found is still there, whatever was not synced. */
static void judge_again(struct judge *j, struct simio *disk, enum simio_mode mode, uint64_t variant,
                        size_t n)
{
    struct finding f = { .why = "" };
    uint64_t digest;

    simio_crash(disk, simio_below(&j->rng, 2) ? SIMIO_PREFIX : SIMIO_MIXED, simio_random(&j->rng));
    digest = simio_digest(disk);
    if (!judge_knows(j, digest, &f.n) && !judge_find(j, disk, digest, &f))
        judge_fails(j, mode, variant, ", after a second power cut", f.why);
    else if (f.n != n) {
        snprintf(f.why, sizeof f.why, "%zu records, %zu before it", f.n, n);
        judge_fails(j, mode, variant, ", after a second power cut", f.why);
    }
}

static void judge_new_image(struct judge *j, struct simio *disk, uint64_t digest,
                            enum simio_mode mode, uint64_t variant, struct finding *f)
{
    struct inner in = { .j = j, .disk = disk };

    j->result->n_images++;
    if (j->max_inner > 0 && (mode == SIMIO_PREFIX || mode == SIMIO_DIRS))
        simio_set_hook(disk, inner_on_op, &in);
    if (!judge_find(j, disk, digest, f)) {
        judge_fails(j, mode, variant, "", f->why);
        return;
    }
    simio_set_hook(disk, NULL, NULL);
    if (in.known && in.n != f->n)
        judge_fails(j, mode, variant, "", "an interrupted start finds other records");
    judge_again(j, disk, mode, variant, f->n);
}

static void judge_image(struct judge *j, enum simio_mode mode, uint64_t variant)
{
    struct simio *copy = simio_copy(j->disk);
    struct finding f = { .why = "" };
    uint64_t digest;

    simio_crash(copy, mode, variant);
    digest = simio_digest(copy) ^ (mode == SIMIO_KILL);
    if (!judge_knows(j, digest, &f.n))
        judge_new_image(j, copy, digest, mode, variant, &f);
    if (f.why[0] == '\0' && !j->subject.check(j->subject.ctx, f.n, mode, f.why))
        judge_fails(j, mode, variant, "", f.why);
    simio_free(copy);
}

void judge_now(struct judge *j)
{
    for (int mode = 0; mode < SIMIO_N_MODES; mode++) {
        uint64_t count = simio_crash_count(j->disk, (enum simio_mode)mode);
        if ((j->modes & 1u << mode) == 0)
            continue;
        for (uint64_t i = 0; i < variants(count, j->max_variants) && judge_holds(j); i++)
            judge_image(j, (enum simio_mode)mode, variant_of(j, count, j->max_variants, i));
    }
}

void judge_on_op(void *ctx, const struct simio_op *op)
{
    struct judge *j = ctx;

    if (!simio_kind_changes(op->kind) || !judge_holds(j))
        return;
    j->subject.poll(j->subject.ctx);
    if (j->wants != NULL && !j->wants(j, op))
        return;
    snprintf(j->where, sizeof j->where, "before operation %" PRIu64 ", %s of %.90s", op->number,
             simio_kind_name(op->kind), op->path);
    judge_now(j);
}

enum { JUDGE_AFTER_FAULT = 12 }; /* operations */

bool judge_wants_after_fault(const struct judge *j, const struct simio_op *op)
{
    return op->number > j->from && op->number - j->from <= JUDGE_AFTER_FAULT;
}
