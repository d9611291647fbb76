/*
 * crash.c - scripted and random lives of a log, and the failures put into them.
 *
 * A life is a list of steps: start, append, commit, let time pass, fill the disk, die, start again. While it
 * runs, a hook before each file operation has the disk judged as it is then (judge.c): for a crash point (T2) the
 * power fails there in every mode, and what a log finds then is compared with the model (world.c).
 */
#include "tests/lib/crash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/lib/judge.h"
#include "tests/lib/world.h"

/* ---- the world as what is judged --------------------------------------------------------------- */

static bool subject_find(void *ctx, struct simio *disk, size_t *n, char why[JUDGE_WHY_MAX])
{
    struct start s;

    start_run(&s, ctx, disk, false);
    if (s.rc != OK)
        snprintf(s.why, sizeof s.why, "the start failed: %.300s", s.err.text);
    if (s.log != NULL)
        log_abandon(s.log);
    snprintf(why, JUDGE_WHY_MAX, "%s", s.why);
    *n = s.n;
    return why[0] == '\0';
}

static bool subject_check(void *ctx, size_t n, enum simio_mode mode, char why[JUDGE_WHY_MAX])
{
    struct start s = { .w = ctx, .n = n };
    bool ok = start_check(&s, ctx, mode);

    snprintf(why, JUDGE_WHY_MAX, "%s", s.why);
    return ok;
}

static void subject_poll(void *ctx)
{
    world_poll(ctx);
}

static bool subject_fails(void *ctx, const char *text)
{
    return world_fails(ctx, "%s", text);
}

static bool subject_holds(void *ctx)
{
    return world_holds(ctx);
}

/* ---- a life ------------------------------------------------------------------------------------ */

enum step_kind {
    STEP_START,   /* after a kill, if a process was alive: the next one */
    STEP_APPEND,  /* class, n records, bytes each */
    STEP_COMMIT,  /* sync_now */
    STEP_WORK,    /* log_step, at most n times; 0: all */
    STEP_TIME,    /* n ms pass */
    STEP_LATENCY, /* an fdatasync takes n us */
    STEP_FILL,    /* the disk has n bytes left; 0: no limit */
    STEP_CLAIM,   /* the same on a disk that does not keep what it allocated */
    STEP_CLOSE,
    STEP_FRAMES, /* the log is reopened with frames of at most n bytes */
};

struct step {
    enum step_kind kind;
    uint32_t n, bytes;
    enum log_class class;
};

#define APPEND(c, count, size)                                     \
    {                                                              \
        .kind = STEP_APPEND, .class = c, .n = count, .bytes = size \
    }
#define DO(what, value)                 \
    {                                   \
        .kind = STEP_##what, .n = value \
    }
#define ALL(c, count, size) APPEND(c, count, size), DO(COMMIT, 1), DO(WORK, 0)

/* Every class, inline and queued; a slow disk; rotation; runs of frames, one longer than a file; a kill; a full
 * disk and its end; clean and unclean starts. */
static const struct step life[] = {
    DO(START, 0),
    ALL(LOG_ALWAYS, 1, 40),
    ALL(LOG_ALWAYS, 3, 100),
    APPEND(LOG_INTERVAL, 2, 60),
    DO(COMMIT, 0),
    APPEND(LOG_OS, 1, 30),
    DO(COMMIT, 0),
    DO(TIME, 1000),
    DO(WORK, 0),
    APPEND(LOG_OS, 5, 200),
    DO(COMMIT, 0),
    APPEND(LOG_ALWAYS, 1, 0),
    DO(COMMIT, 1),
    DO(WORK, 0),
    APPEND(LOG_OS, 1, 20),
    APPEND(LOG_ALWAYS, 1, 20),
    APPEND(LOG_INTERVAL, 1, 20),
    DO(COMMIT, 0),
    APPEND(LOG_OS, 1, 33),
    DO(COMMIT, 0),
    DO(WORK, 1),
    DO(WORK, 0),
    DO(LATENCY, 5000),
    ALL(LOG_ALWAYS, 1, 700),
    APPEND(LOG_ALWAYS, 2, 10),
    DO(COMMIT, 1),
    APPEND(LOG_ALWAYS, 1, 11),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(LATENCY, 0),
    DO(TIME, 30),
    DO(WORK, 0), /* the marker that proves the last one */
    ALL(LOG_ALWAYS, 2, 7000),
    ALL(LOG_ALWAYS, 2, 7000),
    ALL(LOG_INTERVAL, 2, 7000),
    ALL(LOG_ALWAYS, 2, 7000),
    ALL(LOG_OS, 2, 7000),
    ALL(LOG_ALWAYS, 1, 9),
    APPEND(LOG_OS, 20, 3000),
    DO(COMMIT, 0),
    APPEND(LOG_OS, 1, 50),
    DO(COMMIT, 0),
    APPEND(LOG_ALWAYS, 1, 51),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(START, 0),
    ALL(LOG_ALWAYS, 1, 70),
    APPEND(LOG_OS, 2, 80),
    DO(COMMIT, 0),
    DO(FRAMES, 1000),
    APPEND(LOG_ALWAYS, 5, 900),
    DO(COMMIT, 1),
    DO(WORK, 0),
    APPEND(LOG_OS, 1, 5000),
    APPEND(LOG_OS, 9, 7),
    DO(COMMIT, 1),
    DO(WORK, 0),
    APPEND(LOG_INTERVAL, 40, 2000),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(TIME, 1000),
    DO(WORK, 0),
    DO(CLOSE, 0),
    DO(FRAMES, 0),
    APPEND(LOG_INTERVAL, 3, 50),
    DO(COMMIT, 0),
    DO(TIME, 2500),
    APPEND(LOG_INTERVAL, 1, 52),
    DO(COMMIT, 0),
    DO(WORK, 0),
    DO(FILL, 4096),
    ALL(LOG_OS, 4, 9000),
    ALL(LOG_OS, 4, 9000),
    ALL(LOG_ALWAYS, 4, 9000),
    ALL(LOG_OS, 4, 9000),
    ALL(LOG_ALWAYS, 4, 9000),
    DO(TIME, 1500),
    ALL(LOG_ALWAYS, 4, 9000),
    DO(FILL, 0),
    DO(TIME, 1500),
    DO(WORK, 0),
    ALL(LOG_ALWAYS, 1, 53),
    DO(CLAIM, 30000),
    ALL(LOG_OS, 4, 3000),
    ALL(LOG_ALWAYS, 4, 3000),
    ALL(LOG_ALWAYS, 9, 900),
    ALL(LOG_ALWAYS, 4, 3000),
    DO(CLAIM, 0),
    DO(TIME, 1500),
    DO(WORK, 0),
    ALL(LOG_ALWAYS, 1, 56),
    DO(CLOSE, 0),
    DO(START, 0),
    APPEND(LOG_OS, 1, 54),
    DO(COMMIT, 0),
    ALL(LOG_ALWAYS, 1, 55),
    DO(CLOSE, 0),
    DO(START, 0),
};
enum { LIFE_STEPS = sizeof life / sizeof life[0] };

struct life {
    struct world w;
    struct judge judge;
    uint64_t rng;
    enum simio_mode after; /* how a life ends whose log failed */
    bool faulty;           /* a fault was planned: starts and closes may fail */
    char failure[200];     /* what the log said when it failed first; empty: it didn't */
};

static void life_init(struct life *l, const struct crash_options *o, uint64_t seed,
                      const char *suite, struct crash_result *result)
{
    memset(l, 0, sizeof *l);
    (void)o;
    world_init(&l->w, seed, result);
    snprintf(l->w.where, sizeof l->w.where, "%s, seed %" PRIu64, suite, seed);
    l->judge.subject = (struct subject){ &l->w,        subject_find,  subject_check,
                                         subject_poll, subject_fails, subject_holds };
    l->judge.disk = l->w.disk;
    l->judge.result = result;
    l->judge.rng = l->rng = seed ^ 0x5bd1e995;
    l->after = SIMIO_KILL;
}

static void life_fini(struct life *l)
{
    simio_set_hook(l->w.disk, NULL, NULL);
    l->w.result->n_ops += simio_n_ops(l->w.disk);
    world_fini(&l->w);
    judge_forget(&l->judge);
}

/* The process ends in `mode`, the next one starts; a start that a fault has spoilt is tried once more. */
static void life_restart(struct life *l, enum simio_mode mode)
{
    struct world *w = &l->w;
    uint64_t faults = simio_n_faults(w->disk);

    world_abandon(w);
    for (int tries = 0; tries < 20 && w->log == NULL && world_holds(w); tries++) {
        simio_crash(w->disk, mode, simio_random(&l->rng));
        if (world_open(w, mode, l->faulty && tries < 19))
            break;
        if (w->log == NULL && simio_n_faults(w->disk) == faults && tries > 0)
            world_open(w, mode, false); /* says why */
        faults = simio_n_faults(w->disk);
    }
    judge_forget(&l->judge);
    world_poll(w);
}

static void life_fill(struct life *l, uint64_t left, bool honoured)
{
    uint64_t used = simio_used_bytes(l->w.disk);
    simio_set_capacity(l->w.disk, left == 0 ? 0 : used + left, honoured);
}

static void life_frames(struct life *l, uint32_t n)
{
    l->w.options.frame_bytes_max = n;
    life_restart(l, SIMIO_KILL);
}

static void life_step(struct life *l, const struct step *s)
{
    struct world *w = &l->w;

    switch (s->kind) {
    case STEP_START: life_restart(l, SIMIO_KILL); break;
    case STEP_APPEND: world_append(w, s->class, s->n, s->bytes); break;
    case STEP_COMMIT: world_commit(w, s->n != 0); break;
    case STEP_WORK: world_step(w, s->n); break;
    case STEP_TIME: simio_advance_ms(w->disk, s->n); break;
    case STEP_LATENCY: simio_set_latency_ns(w->disk, SIMIO_SYNC, s->n * (uint64_t)1000); break;
    case STEP_FILL: life_fill(l, s->n, true); break;
    case STEP_CLAIM: life_fill(l, s->n, false); break;
    case STEP_CLOSE:
        if (w->log != NULL && !world_close(w) && !l->faulty && !w->failed &&
            strstr(w->close_error, "the disk is full") == NULL)
            world_fails(w, "log_close failed: %s", w->close_error);
        break;
    case STEP_FRAMES: life_frames(l, s->n); break;
    }
}

/* After each step: a failed log must stay still, and be left; whatever a fault did, the next start goes on. */
static void life_after_step(struct life *l)
{
    struct world *w = &l->w;

    world_poll(w);
    if (w->log == NULL || !w->failed)
        return;
    if (l->failure[0] == '\0') {
        struct err e = { 0 };
        err_ignore(log_failure(w->log, &e));
        snprintf(l->failure, sizeof l->failure, "%.199s", e.text);
    }
    if (!l->faulty)
        world_fails(w, "the log failed without a fault");
    world_commit(w, true);
    world_step(w, 0);
    life_restart(l, l->after);
}

static void life_run(struct life *l, const struct step *steps, size_t n)
{
    struct world *w = &l->w;
    char suite[100];

    snprintf(suite, sizeof suite, "%.99s", w->where);
    for (size_t i = 0; i < n && world_holds(w); i++) {
        snprintf(w->where, sizeof w->where, "%s, step %zu", suite, i);
        if (w->log == NULL && steps[i].kind != STEP_START && steps[i].kind != STEP_FRAMES)
            life_restart(l, l->after);
        life_step(l, &steps[i]);
        life_after_step(l);
    }
}

/* The end of a life: everything that was appended is told by now, and all of it is found. */
static void life_settle(struct life *l)
{
    struct world *w = &l->w;
    size_t n = w->first_open;

    simio_set_capacity(w->disk, 0, true);
    for (int i = 0; i < 3 && world_holds(w); i++) {
        if (w->log == NULL)
            life_restart(l, l->after);
        simio_advance_ms(w->disk, 1500);
        world_step(w, 0);
        life_after_step(l);
    }
    if (!world_holds(w) || w->log == NULL)
        return;
    if (world_untold(w) > 0)
        world_fails(w, "%zu records were never told", world_untold(w));
    if (w->was_full && log_is_full(w->log))
        world_fails(w, "the log stays full");
    world_append(w, LOG_ALWAYS, 1, 17);
    world_commit(w, true);
    world_step(w, 0);
    n = w->n_records;
    life_restart(l, SIMIO_PREFIX);
    if (world_holds(w) && w->n_records != n)
        world_fails(w, "%zu records at the end, %zu in the model", w->n_records, n);
}

/* ---- T2 ---------------------------------------------------------------------------------------- */

void crash_points(const struct crash_options *o, struct crash_result *out)
{
    struct life l;

    life_init(&l, o, o->seed, "crash points", out);
    l.judge.modes = (1u << SIMIO_N_MODES) - 1;
    l.judge.max_variants = o->full ? 200 : 1 + (uint64_t)(5 * o->scale);
    l.judge.max_inner = o->full ? 64 : 1 + (uint64_t)(3 * o->scale);
    simio_set_hook(l.w.disk, judge_on_op, &l.judge);
    life_run(&l, life, LIFE_STEPS);
    if (world_holds(&l.w))
        judge_now(&l.judge);
    simio_set_hook(l.w.disk, NULL, NULL);
    if (world_holds(&l.w))
        life_settle(&l);
    if (world_holds(&l.w) && !l.w.was_full)
        world_fails(&l.w, "the life is meant to fill the disk, and didn't");
    life_fini(&l);
}

/* ---- T4 ---------------------------------------------------------------------------------------- */

/* One life with the fault at operation `number`; false once no operation has that number. */
static bool errors_once(const struct crash_options *o, const struct judge_fault *f, uint64_t number,
                        struct crash_result *out)
{
    struct life l;
    char name[100];
    bool hit;

    snprintf(name, sizeof name, "%s at operation %" PRIu64, f->name, number);
    life_init(&l, o, o->seed, name, out);
    l.faulty = true;
    l.after = f->after;
    l.judge.modes = 1u << SIMIO_PREFIX;
    l.judge.max_variants = 1;
    l.judge.wants = judge_wants_after_fault;
    l.judge.from = number;
    simio_set_hook(l.w.disk, judge_on_op, &l.judge);
    simio_fault_at(l.w.disk, number, f->n_times, f->fault);
    life_run(&l, life, LIFE_STEPS);
    hit = simio_n_ops(l.w.disk) > number;
    simio_fault_at(l.w.disk, 0, 0, SIMIO_NO_FAULT);
    if (world_holds(&l.w))
        life_settle(&l);
    if (world_holds(&l.w) && l.failure[0] != '\0' && f->fault != SIMIO_EIO)
        world_fails(&l.w, "the log failed, though the disk only refused: %s", l.failure);
    life_fini(&l);
    return hit;
}

void crash_errors(const struct crash_options *o, struct crash_result *out)
{
    static const struct judge_fault faults[] = {
        { "EIO, then a kill", SIMIO_EIO, 1, SIMIO_KILL },
        { "EIO, then a power cut", SIMIO_EIO, 1, SIMIO_MIXED },
        { "ENOSPC", SIMIO_ENOSPC, 1, SIMIO_KILL },
        { "ENOSPC for a while", SIMIO_ENOSPC, 20, SIMIO_KILL },
        { "a short write", SIMIO_SHORT, 1, SIMIO_KILL },
        { "short writes", SIMIO_SHORT, 20, SIMIO_KILL },
    };
    uint64_t every = o->full || o->scale >= 1 ? 1 : (uint64_t)(1 / (o->scale + 0.01));

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint64_t step = faults[i].n_times > 1 && !o->full ? 2 * every : every; /* they overlap */
        for (uint64_t at = o->seed % step; out->why[0] == '\0'; at += step)
            if (!errors_once(o, &faults[i], at, out))
                break;
    }
}

/* ---- T3 ---------------------------------------------------------------------------------------- */

/* A random step of a running log. */
static void random_step(struct life *l, struct step *s)
{
    static const uint32_t sizes[] = { 0, 10, 100, 1000, 9000 };
    uint64_t r = simio_below(&l->rng, 100);

    memset(s, 0, sizeof *s);
    if (r < 40) {
        s->kind = STEP_APPEND;
        s->class = (enum log_class)simio_below(&l->rng, 3);
        s->n = 1 + (uint32_t)simio_below(&l->rng, 6);
        s->bytes = (uint32_t)simio_below(&l->rng, 1 + sizes[simio_below(&l->rng, 5)]);
    } else if (r < 65) {
        s->kind = STEP_COMMIT;
        s->n = (uint32_t)simio_below(&l->rng, 2);
    } else if (r < 88) {
        s->kind = STEP_WORK;
        s->n = (uint32_t)simio_below(&l->rng, 4);
    } else if (r < 94) {
        s->kind = STEP_TIME;
        s->n = (uint32_t)simio_below(&l->rng, 1600);
    } else if (r < 96) {
        s->kind = STEP_LATENCY;
        s->n = simio_below(&l->rng, 2) ? 0 : (uint32_t)simio_below(&l->rng, 8000);
    } else if (r < 97) {
        s->kind = simio_below(&l->rng, 2) ? STEP_FILL : STEP_CLAIM;
        s->n = simio_below(&l->rng, 2) ? 0 : 1 + (uint32_t)simio_below(&l->rng, 100000);
    } else {
        s->kind = r < 98 ? STEP_CLOSE : r < 99 ? STEP_START : STEP_FRAMES;
        s->n = simio_below(&l->rng, 2) ? 0 : 200 + (uint32_t)simio_below(&l->rng, 2000);
    }
}

/* Plans what goes wrong next, if anything. */
static void random_fault(struct life *l)
{
    static const enum simio_fault faults[] = { SIMIO_CRASH,  SIMIO_CRASH, SIMIO_CRASH,   SIMIO_EIO,
                                               SIMIO_ENOSPC, SIMIO_SHORT, SIMIO_NO_FAULT };
    enum simio_fault fault = faults[simio_below(&l->rng, 7)];
    uint64_t n = fault == SIMIO_ENOSPC || fault == SIMIO_SHORT ? 1 + simio_below(&l->rng, 10) : 1;

    simio_fault_at(l->w.disk, simio_n_ops(l->w.disk) + simio_below(&l->rng, 120), n, fault);
    l->faulty = fault != SIMIO_NO_FAULT;
}

/* The machine is down: power back, another start, and the next thing to go wrong. */
static void random_recover(struct life *l)
{
    enum simio_mode mode = (enum simio_mode)simio_below(&l->rng, SIMIO_N_MODES);

    if (simio_below(&l->rng, 4) == 0) /* the wall clock may have been set back */
        simio_set_wall_ms(l->w.disk, 1600000000000u + simio_below(&l->rng, 1u << 30));
    if (simio_below(&l->rng, 2))
        random_fault(l); /* perhaps in the start itself */
    life_restart(l, mode);
    random_fault(l);
}

static void random_life(struct life *l)
{
    struct world *w = &l->w;
    struct step s;

    l->after = (enum simio_mode)simio_below(&l->rng, SIMIO_N_MODES);
    simio_set_sync_reverts(w->disk, simio_below(&l->rng, 2));
    w->synced_only = true; /* a failed sync may have taken back what was written */
    life_restart(l, SIMIO_KILL);
    random_fault(l);
    for (int i = 0; i < 150 && world_holds(w); i++) {
        if (simio_is_down(w->disk) || w->log == NULL)
            random_recover(l);
        random_step(l, &s);
        life_step(l, &s);
        if (!simio_is_down(w->disk))
            life_after_step(l);
    }
    simio_fault_at(w->disk, 0, 0, SIMIO_NO_FAULT);
    if (simio_is_down(w->disk))
        life_restart(l, SIMIO_MIXED);
    l->faulty = false;
    life_settle(l);
}

void crash_random(const struct crash_options *o, struct crash_result *out)
{
    uint64_t n = 1 + (uint64_t)(1500 * o->scale), seed = o->seed;

    for (uint64_t i = 0; i < n && out->why[0] == '\0'; i++) {
        struct life l;
        life_init(&l, o, seed + i, "random life", out);
        random_life(&l);
        out->n_images++;
        life_fini(&l);
    }
}

/* ---- deadlines --------------------------------------------------------------------------------- */

static uint64_t deadline_append(struct life *l, enum log_class class)
{
    world_append(&l->w, class, 1, 30);
    world_commit(&l->w, false);
    return log_last_lsn(l->w.log);
}

static void deadline_interval(struct life *l)
{
    struct world *w = &l->w;
    uint64_t first = deadline_append(l, LOG_INTERVAL), second;

    if (w->written < first || w->released < first)
        world_fails(w, "an `interval` record isn't told once it is written");
    simio_advance_ms(w->disk, 999);
    world_step(w, 0);
    if (w->durable >= first)
        world_fails(w, "`interval` syncs before its time");
    simio_advance_ms(w->disk, 1);
    world_step(w, 0);
    if (w->durable < first)
        world_fails(w, "`interval` doesn't sync when it is due");
    first = deadline_append(l, LOG_INTERVAL);
    simio_advance_ms(w->disk, 1999);
    second = deadline_append(l, LOG_INTERVAL);
    if (w->released < second)
        world_fails(w, "replies are held before 2 T");
    simio_advance_ms(w->disk, 1);
    second = deadline_append(l, LOG_INTERVAL);
    if (w->written < second || w->released >= second)
        world_fails(w, "replies aren't held at 2 T");
    world_step(w, 0);
    if (w->durable < second || w->released < second)
        world_fails(w, "replies are held although all is durable");
}

static void deadline_classes(struct life *l)
{
    struct world *w = &l->w;
    uint64_t lsn = deadline_append(l, LOG_OS);

    simio_advance_ms(w->disk, 1000000);
    world_step(w, 0);
    if (w->released < lsn || w->durable >= lsn)
        world_fails(w, "`os` is told when it is written, and not synced");
    lsn = deadline_append(l, LOG_ALWAYS);
    if (w->written < lsn || w->durable >= lsn)
        world_fails(w, "`always` is written at once, and not durable before its fdatasync");
    world_step(w, 0);
    if (w->durable < lsn)
        world_fails(w, "`always` isn't synced by the next work");
}

void crash_deadlines(const struct crash_options *o, struct crash_result *out)
{
    struct life l;

    life_init(&l, o, o->seed, "deadlines", out);
    life_restart(&l, SIMIO_KILL);
    world_step(&l.w, 0);
    if (l.w.log != NULL)
        deadline_interval(&l);
    if (world_holds(&l.w) && l.w.log != NULL)
        deadline_classes(&l);
    if (world_holds(&l.w) && l.w.log == NULL)
        world_fails(&l.w, "no start");
    life_fini(&l);
}

/* ---- options ----------------------------------------------------------------------------------- */

const struct crash_named crash_suites[CRASH_SUITES] = {
    { "deadlines", crash_deadlines }, { "crash points", crash_points }, { "damage", crash_damage },
    { "errors", crash_errors },       { "random lives", crash_random },
};

void crash_options_get(struct crash_options *out)
{
    const char *seed = getenv("SEED"), *scale = getenv("SCALE"), *full = getenv("CRASH");

    out->seed = seed != NULL && *seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    out->scale = scale != NULL && *scale ? strtod(scale, NULL) : 1;
    out->full = full != NULL && *full;
}
