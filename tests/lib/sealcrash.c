/*
 * sealcrash.c - lives of a log that seals, merges and saves all the time, and the failures put into them.
 *
 * As in crash.c a life is a list of steps, and a hook before each file operation has the disk judged (judge.c) by the
 * model of sealworld.c. Parts of the arena are 4 KiB, blocks 512 bytes, checkpoints due every 8 KiB, so a few hundred
 * entries go through all that a log does. After each step all that readers see is compared with the model, byte for byte.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/lib/crash.h"
#include "tests/lib/judge.h"
#include "tests/lib/sealworld.h"

enum { NAMES = 8, EMPTY_BYTES = 640 << 10 }; /* a disk with no entry: files of the log */

/* ---- a life ------------------------------------------------------------------------------------ */

enum step_kind {
    STEP_START, /* after a kill, if a process was alive: the next one */
    STEP_CREATE,
    STEP_ADD, /* n entries to stream `name` */
    STEP_DEL, /* up to n entries of it, anywhere */
    STEP_CUT, /* all but the newest n */
    STEP_DROP,
    STEP_RENAME, /* to n */
    STEP_FLUSH,
    STEP_SET,    /* values for n keys from `name` on */
    STEP_UNSET,  /* n keys from there on are gone */
    STEP_FORGET, /* all changes but the newest n are no history any more */
    STEP_STIR, /* n times a step or turn, and values set, keys gone or history forgotten before the next */
    STEP_SNEAK, /* n times: everything merged, and a value overwritten, not durably, one step later each time */
    STEP_COMMIT, /* n: sync_now */
    STEP_WORK,   /* n steps and turns; 0: all there is */
    STEP_BUSY,   /* n times a step or turn, and an entry of the stream deleted before the next */
    STEP_FEED, /* n times a step or turn, and an entry to one stream after the other before the next */
    STEP_CHURN, /* n times the same, and a stream dropped and made anew, or renamed, before the next */
    STEP_ASK,  /* n: what (ASK_SEAL, ...) */
    STEP_TIME, /* n ms pass */
    STEP_FILL, /* the disk has n bytes left; 0: no limit */
    STEP_CLOSE,
    STEP_N_KINDS
};

struct step {
    enum step_kind kind;
    uint32_t name, n;
    enum log_class class;
};

struct life {
    struct sealworld w;
    struct judge judge;
    uint64_t rng;
    enum log_class class;  /* of most records of a random life */
    bool random;           /* background work in random order */
    enum simio_mode after; /* what happens to a process whose log failed */
    char failure[200];     /* what the log said when it failed first; empty: it didn't */
    uint64_t fault_at;     /* the operation that is to fail, and what it turned out to be */
    bool of_derived;       /* on a segment or checkpoint that nothing names yet */
};

static void life_on_op(void *ctx, const struct simio_op *op)
{
    struct life *l = ctx;

    sealworld_on_op(&l->w, op);
    if (op->number == l->fault_at)
        l->of_derived = (strstr(op->path, "/st-") != NULL || strstr(op->path, "/ckpt-") != NULL) &&
                        (op->kind == SIMIO_CREATE || op->kind == SIMIO_WRITE ||
                         op->kind == SIMIO_SYNC || op->kind == SIMIO_READ);
    if (l->judge.modes != 0)
        judge_on_op(&l->judge, op);
}

static void life_init(struct life *l, uint64_t seed, const char *suite, struct crash_result *result)
{
    memset(l, 0, sizeof *l);
    sealworld_init(&l->w, seed, result);
    snprintf(l->w.where, sizeof l->w.where, "%s, seed %" PRIu64, suite, seed);
    l->judge.subject = sealworld_subject(&l->w);
    l->judge.disk = l->w.disk;
    l->judge.result = result;
    l->judge.rng = l->rng = seed ^ 0x5bd1e995;
    l->after = SIMIO_KILL;
    l->fault_at = UINT64_MAX;
    simio_set_hook(l->w.disk, life_on_op, l);
}

static void life_fini(struct life *l)
{
    sealworld_abandon(&l->w);
    simio_set_hook(l->w.disk, NULL, NULL);
    l->w.result->n_ops += simio_n_ops(l->w.disk);
    sealworld_fini(&l->w);
    judge_forget(&l->judge);
}

/* The process ends in `mode`, the next one starts; a start that a fault has spoilt is tried again. */
static void life_restart(struct life *l, enum simio_mode mode)
{
    struct sealworld *w = &l->w;
    uint64_t faults;

    sealworld_abandon(w);
    for (int tries = 0; tries < 60 && w->log == NULL && sealworld_holds(w); tries++) {
        faults = simio_n_faults(w->disk);
        simio_crash(w->disk, mode, simio_random(&l->rng));
        if (!sealworld_open(w, mode, w->faulty && tries < 59) && tries > 0 &&
            simio_n_faults(w->disk) == faults)
            sealworld_open(w, mode, false); /* says why */
    }
    judge_forget(&l->judge);
    sealworld_poll(w);
}

static void life_close(struct life *l)
{
    struct sealworld *w = &l->w;
    bool failed = w->failed;
    char text[200];

    if (w->log != NULL && !sealworld_close(w, text) && !w->faulty && !failed && !w->limited)
        sealworld_fails(w, "log_close failed: %s", text);
}

/* Deletes at every moment of what goes on in the background. */
static void life_be_busy(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    for (uint32_t i = 0; i < s->n && w->log != NULL && !w->failed && sealworld_holds(w); i++) {
        sealworld_remove(w, s->name, 1, s->class);
        sealworld_commit(w, false);
        sealworld_work(w, 1, l->random);
        sealworld_compare(w);
    }
}

/* Entries come at every moment: a checkpoint then knows of some that are not sealed. */
static void life_feed(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    for (uint32_t i = 0; i < s->n && w->log != NULL && !w->failed && sealworld_holds(w); i++) {
        sealworld_add(w, (s->name + i) % NAMES, 1, s->class);
        sealworld_commit(w, false);
        sealworld_work(w, 1, l->random);
        sealworld_compare(w);
    }
}

static void life_fill(struct life *l, uint32_t left)
{
    uint64_t used = simio_used_bytes(l->w.disk);
    simio_set_capacity(l->w.disk, left == 0 ? 0 : used + left, true);
}

/* Names pass from stream to stream at every moment. */
static void life_churn(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    for (uint32_t i = 0; i < s->n && w->log != NULL && !w->failed && sealworld_holds(w); i++) {
        uint32_t name = (s->name + i) % NAMES;
        if (i % 3 == 2)
            sealworld_rename(w, name, (name + 3) % NAMES, s->class);
        else
            sealworld_drop(w, name, s->class);
        sealworld_create(w, name, s->class);
        sealworld_add(w, name, 1, s->class);
        sealworld_commit(w, false);
        sealworld_work(w, 1, l->random);
        sealworld_compare(w);
    }
}

/* Values are overwritten and history forgotten at every moment. */
static void life_stir(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    for (uint32_t i = 0; i < s->n && w->log != NULL && !w->failed && sealworld_holds(w); i++) {
        if (i % 5 == 4)
            sealworld_forget(w, i % 3, s->class);
        else if (i % 7 == 6)
            sealworld_unset(w, s->name + i % NAMES, 1, s->class);
        else
            sealworld_set(w, s->name + i % NAMES, 1, s->class);
        sealworld_commit(w, false);
        sealworld_work(w, 1, l->random);
        sealworld_compare(w);
    }
}

/* What a merge leaves out must stay left out: so it has to wait for what overwrote it. */
static void life_sneak(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    for (uint32_t i = 0; i < s->n && w->log != NULL && !w->failed && sealworld_holds(w); i++) {
        sealworld_forget(w, 0, LOG_ALWAYS);
        sealworld_commit(w, true);
        sealworld_ask(w, ASK_SEAL);
        sealworld_work(w, 0, false);
        sealworld_ask(w, ASK_MERGE);
        sealworld_work(w, i, false);
        sealworld_set(w, s->name, 1, LOG_OS);
        sealworld_commit(w, false);
        sealworld_work(w, 0, false);
        sealworld_compare(w);
        if (l->judge.modes != 0 && sealworld_holds(w))
            judge_now(&l->judge);
    }
}

static void life_step(struct life *l, const struct step *s)
{
    struct sealworld *w = &l->w;

    switch (s->kind) {
    case STEP_START: life_restart(l, SIMIO_KILL); break;
    case STEP_CREATE: sealworld_create(w, s->name, s->class); break;
    case STEP_ADD: sealworld_add(w, s->name, s->n, s->class); break;
    case STEP_DEL: sealworld_remove(w, s->name, s->n, s->class); break;
    case STEP_CUT: sealworld_cut(w, s->name, s->n, s->class); break;
    case STEP_DROP: sealworld_drop(w, s->name, s->class); break;
    case STEP_RENAME: sealworld_rename(w, s->name, s->n, s->class); break;
    case STEP_FLUSH: sealworld_flush(w, s->class); break;
    case STEP_SET: sealworld_set(w, s->name, s->n, s->class); break;
    case STEP_UNSET: sealworld_unset(w, s->name, s->n, s->class); break;
    case STEP_FORGET: sealworld_forget(w, s->n, s->class); break;
    case STEP_STIR: life_stir(l, s); break;
    case STEP_SNEAK: life_sneak(l, s); break;
    case STEP_COMMIT: sealworld_commit(w, s->n != 0); break;
    case STEP_WORK: sealworld_work(w, s->n, l->random); break;
    case STEP_BUSY: life_be_busy(l, s); break;
    case STEP_FEED: life_feed(l, s); break;
    case STEP_CHURN: life_churn(l, s); break;
    case STEP_ASK: sealworld_ask(w, (enum sealworld_what)s->n); break;
    case STEP_TIME: simio_advance_ms(w->disk, s->n); break;
    case STEP_FILL: life_fill(l, s->n); break;
    case STEP_CLOSE: life_close(l); break;
    default: abort();
    }
}

/* A failed log must stay still, and be left; whatever a fault did, the next start goes on. */
static void life_after_step(struct life *l)
{
    struct sealworld *w = &l->w;
    struct err e = { 0 };

    sealworld_poll(w);
    if (w->log == NULL)
        return;
    if (!w->failed) {
        sealworld_compare(w);
        return;
    }
    err_ignore(log_failure(w->log, &e));
    if (l->failure[0] == '\0')
        snprintf(l->failure, sizeof l->failure, "%.199s", e.text);
    if (!w->faulty)
        sealworld_fails(w, "the log failed without a fault: %s", e.text);
    sealworld_commit(w, true);
    sealworld_work(w, 50, false);
    life_restart(l, l->after);
}

static void life_run(struct life *l, const struct step *steps, size_t n)
{
    struct sealworld *w = &l->w;
    char suite[100];

    snprintf(suite, sizeof suite, "%.99s", w->where);
    for (size_t i = 0; i < n && sealworld_holds(w); i++) {
        snprintf(w->where, sizeof w->where, "%s, step %zu", suite, i);
        if (w->log == NULL && steps[i].kind != STEP_START)
            life_restart(l, l->after);
        life_step(l, &steps[i]);
        life_after_step(l);
    }
    if (sealworld_holds(w))
        snprintf(w->where, sizeof w->where, "%s", suite);
}

static void life_work_all(struct life *l)
{
    for (int i = 0; i < 5 && sealworld_holds(&l->w); i++) {
        if (l->w.log == NULL)
            life_restart(l, l->after);
        simio_advance_ms(l->w.disk, 1500);
        sealworld_work(&l->w, 0, false);
        life_after_step(l);
    }
}

/* Everything is answered and told, found again, and gone for good when it is deleted. */
static void life_settle(struct life *l)
{
    struct sealworld *w = &l->w;
    size_t n;

    simio_set_capacity(w->disk, 0, true);
    l->random = false;
    life_work_all(l);
    n = w->n_ops;
    if (!sealworld_holds(w) || w->log == NULL)
        return;
    if (sealworld_is_asking(w))
        sealworld_fails(w, "a request is never answered");
    if (w->was_full && log_is_full(w->log))
        sealworld_fails(w, "the log stays full");
    sealworld_create(w, 99, LOG_ALWAYS);
    sealworld_commit(w, true);
    life_work_all(l);
    if (w->n_ops != n + 1)
        sealworld_fails(w, "%zu operations at the end, %zu before and one more", w->n_ops, n);
    w->faulty = false;
    life_restart(l, SIMIO_PREFIX);
    sealworld_compare(w);
    if (sealworld_holds(w) && w->n_ops != n + 1)
        sealworld_fails(w, "%zu operations after the last start, %zu in the model", w->n_ops,
                        n + 1);
}

static void life_remove_all(struct life *l)
{
    struct sealworld *w = &l->w;

    for (uint32_t name = 0; name < 100 && sealworld_holds(w); name++)
        sealworld_drop(w, name, LOG_ALWAYS);
    sealworld_ask(w, ASK_MERGE);
    life_work_all(l);
    if (sealworld_holds(w))
        sealworld_check_changes(w);
    sealworld_unset(w, 0, 100, LOG_ALWAYS);
    sealworld_forget(w, 0, LOG_ALWAYS);
    sealworld_commit(w, true);
    life_work_all(l);
    sealworld_ask(w, ASK_MERGE);
    life_work_all(l);
    if (sealworld_holds(w))
        sealworld_check_changes(w);
    sealworld_ask(w, ASK_SEAL);
    life_work_all(l);
    if (sealworld_holds(w))
        sealworld_check_files(w, w->n_backups > 0 ? 0 : EMPTY_BYTES);
}

#define DO(what, count)                 \
    {                                   \
        .kind = STEP_##what, .n = count \
    }
#define TO(what, stream, count)                                              \
    {                                                                        \
        .kind = STEP_##what, .name = stream, .n = count, .class = LOG_ALWAYS \
    }
#define OS(what, stream, count)                                          \
    {                                                                    \
        .kind = STEP_##what, .name = stream, .n = count, .class = LOG_OS \
    }
#define DONE DO(COMMIT, 1), DO(WORK, 0)

/* Sealing with deletes and cuts before, during and after; streams that go and come back under their name, renamed
 * over others, while a checkpoint is written; kills; a backup; a merge that is asked for, and a full disk. */
static const struct step life[] = {
    DO(START, 0),
    TO(CREATE, 1, 0),
    TO(CREATE, 2, 0),
    TO(CREATE, 3, 0),
    TO(CREATE, 4, 0),
    TO(SET, 1, 5),
    TO(ADD, 1, 9),
    TO(ADD, 2, 6),
    TO(ADD, 3, 3),
    DONE,
    TO(ADD, 1, 14),
    TO(ADD, 4, 14),
    TO(SET, 2, 6),
    DO(COMMIT, 1),
    DO(WORK, 2),
    TO(DEL, 1, 4),
    TO(FORGET, 0, 4),
    TO(SET, 3, 2),
    DO(COMMIT, 1),
    DO(WORK, 2),
    TO(DEL, 4, 3),
    TO(CUT, 2, 3),
    DO(COMMIT, 1),
    DO(WORK, 0),
    TO(ADD, 2, 16),
    TO(ADD, 3, 9),
    DO(COMMIT, 1),
    DO(WORK, 4),
    TO(CUT, 1, 8),
    DO(COMMIT, 1),
    DO(WORK, 3),
    TO(RENAME, 3, 5),
    DO(COMMIT, 1),
    DO(WORK, 3),
    TO(DROP, 2, 0),
    TO(CREATE, 2, 0),
    TO(ADD, 2, 5),
    DO(COMMIT, 1),
    DO(WORK, 0),
    TO(CREATE, 3, 0),
    TO(ADD, 3, 2),
    DO(COMMIT, 1),
    DO(ASK, ASK_SEAL),
    TO(BUSY, 2, 6),
    TO(RENAME, 3, 6),
    TO(ADD, 3, 2),
    DO(COMMIT, 1),
    DO(WORK, 3),
    TO(DROP, 4, 0),
    TO(CREATE, 4, 0),
    DONE,
    TO(ADD, 1, 12),
    TO(DEL, 1, 5),
    TO(ADD, 4, 12),
    DO(COMMIT, 0),
    DO(WORK, 3),
    DO(START, 0),
    TO(DEL, 1, 4),
    TO(ADD, 5, 12),
    DO(COMMIT, 1),
    DO(WORK, 6),
    TO(RENAME, 4, 1),
    TO(ADD, 1, 4),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(ASK, ASK_BACKUP),
    DO(WORK, 6),
    TO(SET, 0, 12),
    TO(UNSET, 4, 3),
    TO(ADD, 1, 12),
    TO(ADD, 2, 8),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(ASK, ASK_MERGE),
    TO(BUSY, 1, 24),
    TO(DEL, 2, 5),
    TO(CUT, 5, 6),
    DO(COMMIT, 1),
    DO(WORK, 8),
    TO(DEL, 1, 6),
    TO(DROP, 6, 0),
    TO(CREATE, 6, 0),
    TO(ADD, 6, 2),
    DO(COMMIT, 1),
    DO(WORK, 0),
    TO(CREATE, 0, 0),
    TO(CREATE, 3, 0),
    TO(CREATE, 4, 0),
    TO(CREATE, 7, 0),
    DO(ASK, ASK_SEAL),
    TO(FEED, 0, 32),
    TO(SET, 0, 20),
    DO(WORK, 0),
    DO(START, 0),
    DO(ASK, ASK_SEAL),
    TO(BUSY, 2, 24),
    DO(CLOSE, 0),
    DO(START, 0),
    OS(SET, 4, 9),
    OS(FORGET, 0, 0),
    OS(ADD, 2, 30),
    DO(COMMIT, 0),
    DO(WORK, 6),
    OS(DEL, 2, 9),
    OS(ADD, 2, 30),
    DO(COMMIT, 0),
    DO(WORK, 9),
    OS(ADD, 6, 20),
    OS(CUT, 2, 20),
    DO(COMMIT, 0),
    DO(WORK, 0),
    OS(ADD, 1, 50),
    DO(COMMIT, 0),
    DO(ASK, ASK_MERGE),
    OS(BUSY, 1, 40),
    DO(WORK, 0),
    OS(CREATE, 0, 0),
    OS(CREATE, 3, 0),
    OS(CREATE, 7, 0),
    DO(ASK, ASK_SEAL),
    OS(CHURN, 1, 20),
    TO(ADD, 1, 20),
    DO(COMMIT, 1),
    DO(WORK, 0),
    DO(FILL, 3000),
    TO(ADD, 1, 20),
    DO(COMMIT, 1),
    DO(WORK, 0),
    TO(CUT, 6, 3),
    DO(COMMIT, 1),
    DO(ASK, ASK_MERGE),
    DO(WORK, 0),
    DO(FILL, 0),
    DO(TIME, 1000),
    DO(WORK, 0),
    TO(ADD, 1, 10),
    DO(COMMIT, 1),
    DO(WORK, 3),
    DO(FLUSH, 0),
    TO(CREATE, 1, 0),
    TO(ADD, 1, 4),
    DO(COMMIT, 1),
    DO(WORK, 5),
    DO(START, 0),
    DO(ASK, ASK_MERGE),
    DO(WORK, 0),
    DO(ASK, ASK_CHECK),
    DO(WORK, 0),
};
enum { LIFE_STEPS = sizeof life / sizeof life[0] };

/* Values set and overwritten before, during and after sealing and merging; history that ends in the middle of a segment, at every
 * moment of either; LSNs far apart, after kills; and a merge that leaves out what was overwritten a moment ago. */
static const struct step values[] = {
    DO(START, 0),     TO(CREATE, 1, 0),   TO(SET, 0, 12),    TO(SET, 20, 20),    TO(ADD, 1, 9),
    TO(UNSET, 24, 3), DO(COMMIT, 1),      DO(ASK, ASK_SEAL), TO(STIR, 0, 9),     DO(ASK, ASK_MERGE),
    TO(STIR, 20, 9),  DO(START, 0),       OS(SET, 4, 20),    OS(SET, 4, 20),     OS(FORGET, 0, 30),
    DO(COMMIT, 0),    DO(ASK, ASK_MERGE), DO(WORK, 0),       DO(ASK, ASK_MERGE), OS(STIR, 8, 10),
    DO(START, 0),     DO(SNEAK, 12),      DO(CLOSE, 0),      DO(START, 0),
};
enum { VALUES_STEPS = sizeof values / sizeof values[0] };

/* ---- T2 ---------------------------------------------------------------------------------------- */

/* One of `one_in` operations that change something, drawn anew for each seed. */
static bool points_wants(const struct judge *j, const struct simio_op *op)
{
    uint64_t rng = j->from ^ op->number * 0x9e3779b97f4a7c15u;
    return op->kind != SIMIO_READ && simio_random(&rng) % j->one_in == 0;
}

/* A life that is judged in all the ways that a machine can stop. */
static void points_life(struct life *l, const struct crash_options *o, const struct step *steps,
                        size_t n, const char *name, struct crash_result *out)
{
    life_init(l, o->seed, name, out);
    l->judge.modes = (1u << SIMIO_N_MODES) - 1;
    l->judge.max_variants = o->full ? 32 : 1 + (uint64_t)(3 * o->scale);
    l->judge.max_inner = o->full ? 32 : 1 + (uint64_t)o->scale;
    l->judge.wants = points_wants;
    l->judge.one_in = o->full || o->scale >= 4 ? 1 : (uint64_t)(5 / (o->scale + 0.01));
    l->judge.from = o->seed;
    l->w.work_one_in = 8;
    life_run(l, steps, n);
    if (sealworld_holds(&l->w))
        judge_now(&l->judge);
    l->judge.modes = 0;
    if (sealworld_holds(&l->w))
        life_settle(l);
    if (sealworld_holds(&l->w))
        life_remove_all(l);
}

void seal_points(const struct crash_options *o, struct crash_result *out)
{
    struct life l;

    points_life(&l, o, life, LIFE_STEPS, "crash points of sealing", out);
    if (sealworld_holds(&l.w) && (l.w.n_backups == 0 || l.w.n_seals < 5 || l.w.n_merges < 2 ||
                                  l.w.n_checkpoints < 5 || !l.w.was_full))
        sealworld_fails(&l.w,
                        "%" PRIu64 " backups, %" PRIu64 " seals, %" PRIu64 " merges, %" PRIu64
                        " checkpoints, a disk that was full: the life is meant to have them all",
                        l.w.n_backups, l.w.n_seals, l.w.n_merges, l.w.n_checkpoints);
    life_fini(&l);
    if (out->why[0] != '\0')
        return;
    points_life(&l, o, values, VALUES_STEPS, "crash points of values", out);
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

    snprintf(name, sizeof name, "sealing, %s at operation %" PRIu64, f->name, number);
    life_init(&l, o->seed, name, out);
    l.w.faulty = true;
    l.after = f->after;
    l.fault_at = number;
    l.judge.modes = 1u << SIMIO_PREFIX;
    l.judge.max_variants = 1;
    l.judge.wants = judge_wants_after_fault;
    l.judge.from = number;
    simio_fault_at(l.w.disk, number, f->n_times, f->fault);
    life_run(&l, life, LIFE_STEPS);
    hit = simio_n_ops(l.w.disk) > number;
    simio_fault_at(l.w.disk, 0, 0, SIMIO_NO_FAULT);
    l.judge.modes = 0;
    if (sealworld_holds(&l.w))
        life_settle(&l);
    if (sealworld_holds(&l.w) && l.failure[0] != '\0' && (f->fault != SIMIO_EIO || l.of_derived))
        sealworld_fails(&l.w, "the log failed, though it need not: %s", l.failure);
    if (sealworld_holds(&l.w))
        life_remove_all(&l);
    life_fini(&l);
    return hit;
}

void seal_errors(const struct crash_options *o, struct crash_result *out)
{
    static const struct judge_fault faults[] = {
        { "EIO, then a kill", SIMIO_EIO, 1, SIMIO_KILL },
        { "EIO, then a power cut", SIMIO_EIO, 1, SIMIO_MIXED },
        { "ENOSPC", SIMIO_ENOSPC, 1, SIMIO_KILL },
        { "ENOSPC for a while", SIMIO_ENOSPC, 40, SIMIO_KILL },
        { "a short write", SIMIO_SHORT, 1, SIMIO_KILL },
        { "short writes", SIMIO_SHORT, 40, SIMIO_KILL },
    };
    uint64_t every = o->full ? 1 : 1 + (uint64_t)(40 / (o->scale + 0.01));

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        for (uint64_t at = (o->seed + 7 * i) % every; out->why[0] == '\0'; at += every)
            if (!errors_once(o, &faults[i], at, out))
                break;
}

/* ---- T3 ---------------------------------------------------------------------------------------- */

/* A random step of a running log. */
static void random_step(struct life *l, struct step *s)
{
    uint64_t r = simio_below(&l->rng, 100);

    memset(s, 0, sizeof *s);
    s->name = (uint32_t)simio_below(&l->rng, NAMES);
    s->class = simio_below(&l->rng, 3) ? l->class : (enum log_class)simio_below(&l->rng, 3);
    if (r < 8) {
        s->kind = r < 6 ? STEP_SET : r < 7 ? STEP_UNSET : STEP_FORGET;
        s->n = (uint32_t)simio_below(&l->rng, simio_below(&l->rng, 3) ? 8 : 40);
    } else if (r < 30) {
        s->kind = STEP_ADD;
        s->n = 1 + (uint32_t)simio_below(&l->rng, simio_below(&l->rng, 3) ? 8 : 40);
    } else if (r < 38) {
        s->kind = STEP_DEL;
        s->n = 1 + (uint32_t)simio_below(&l->rng, 6);
    } else if (r < 42) {
        s->kind = STEP_CUT;
        s->n = (uint32_t)simio_below(&l->rng, 20);
    } else if (r < 50) {
        s->kind = STEP_CREATE;
    } else if (r < 52) {
        s->kind = STEP_DROP;
    } else if (r < 56) {
        s->kind = STEP_RENAME;
        s->n = (uint32_t)simio_below(&l->rng, NAMES);
    } else if (r < 64) {
        s->kind = STEP_COMMIT;
        s->n = (uint32_t)simio_below(&l->rng, 2);
    } else if (r < 90) {
        s->kind = STEP_WORK;
        s->n = (uint32_t)simio_below(&l->rng, simio_below(&l->rng, 4) ? 8 : 60);
    } else if (r < 91) {
        s->kind = simio_below(&l->rng, 3) == 0 ? STEP_STIR
                  : simio_below(&l->rng, 2)    ? STEP_BUSY
                  : simio_below(&l->rng, 2)    ? STEP_FEED
                                               : STEP_CHURN;
        s->n = 1 + (uint32_t)simio_below(&l->rng, 40);
    } else if (r < 94) {
        s->kind = STEP_ASK;
        s->n = (uint32_t)simio_below(&l->rng, 4);
    } else if (r < 97) {
        s->kind = STEP_TIME;
        s->n = (uint32_t)simio_below(&l->rng, 1600);
    } else if (r < 98) {
        s->kind = STEP_FILL;
        s->n = simio_below(&l->rng, 2) ? 0 : 1 + (uint32_t)simio_below(&l->rng, 200000);
    } else {
        s->kind = simio_below(&l->rng, 3) == 0   ? STEP_FLUSH
                  : simio_below(&l->rng, 2) == 0 ? STEP_CLOSE
                                                 : STEP_START;
    }
}

/* Plans what goes wrong next, if anything. */
static void random_fault(struct life *l)
{
    static const enum simio_fault faults[] = { SIMIO_CRASH,  SIMIO_CRASH, SIMIO_CRASH,   SIMIO_EIO,
                                               SIMIO_ENOSPC, SIMIO_SHORT, SIMIO_NO_FAULT };
    enum simio_fault fault = faults[simio_below(&l->rng, 7)];
    uint64_t n = fault == SIMIO_ENOSPC || fault == SIMIO_SHORT ? 1 + simio_below(&l->rng, 20) : 1;

    simio_fault_at(l->w.disk, simio_n_ops(l->w.disk) + simio_below(&l->rng, 400), n, fault);
    l->w.faulty = fault != SIMIO_NO_FAULT;
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
    struct sealworld *w = &l->w;
    struct step s;
    char suite[100];

    snprintf(suite, sizeof suite, "%.99s", w->where);
    l->random = true;
    l->class = (enum log_class)simio_below(&l->rng, 3);
    l->after = (enum simio_mode)simio_below(&l->rng, SIMIO_N_MODES);
    simio_set_sync_reverts(w->disk, simio_below(&l->rng, 2));
    w->unsynced = true; /* a failed sync may have taken back what was written */
    life_restart(l, SIMIO_KILL);
    random_fault(l);
    for (int i = 0; i < 300 && sealworld_holds(w); i++) {
        snprintf(w->where, sizeof w->where, "%s, step %d", suite, i);
        if (simio_is_down(w->disk) || w->log == NULL)
            random_recover(l);
        random_step(l, &s);
        life_step(l, &s);
        if (!simio_is_down(w->disk))
            life_after_step(l);
    }
    simio_fault_at(w->disk, 0, 0, SIMIO_NO_FAULT);
    if (sealworld_holds(w) && simio_is_down(w->disk))
        life_restart(l, SIMIO_MIXED);
    if (sealworld_holds(w))
        life_settle(l);
    if (sealworld_holds(w))
        life_remove_all(l);
}

void seal_random(const struct crash_options *o, struct crash_result *out)
{
    uint64_t n = 1 + (uint64_t)(100 * o->scale);

    for (uint64_t i = 0; i < n && out->why[0] == '\0'; i++) {
        struct life l;
        life_init(&l, o->seed + i, "random life of sealing", out);
        random_life(&l);
        out->n_images++;
        life_fini(&l);
    }
}

/* ---- threads ----------------------------------------------------------------------------------- */

static void threads_life(struct life *l)
{
    struct sealworld *w = &l->w;
    struct step s;

    simio_set_hook(w->disk, NULL, NULL);
    w->options.threads = true;
    life_restart(l, SIMIO_KILL);
    for (int i = 0; i < 200 && sealworld_holds(w); i++) {
        random_step(l, &s);
        if (s.kind == STEP_FILL || s.kind == STEP_TIME || (s.kind == STEP_ASK && s.n == ASK_BACKUP))
            continue; /* the disk is looked at from outside for these */
        if (w->log == NULL)
            life_restart(l, SIMIO_KILL);
        life_step(l, &s);
        life_after_step(l);
    }
    if (sealworld_holds(w) && w->log != NULL)
        sealworld_work(w, 0, false);
    if (sealworld_holds(w))
        life_restart(l, SIMIO_KILL);
    sealworld_compare(w);
}

void seal_threads(const struct crash_options *o, struct crash_result *out)
{
    uint64_t n = 1 + (uint64_t)(20 * o->scale);

    for (uint64_t i = 0; i < n && out->why[0] == '\0'; i++) {
        struct life l;
        life_init(&l, o->seed + i, "a life with threads", out);
        threads_life(&l);
        life_fini(&l);
    }
}

/* ---- T8 ---------------------------------------------------------------------------------------- */

/* A disk with `room` bytes more than a new store takes: filled, used, given room by deletes alone, then really. */
static void full_once(const struct crash_options *o, uint64_t room, struct crash_result *out)
{
    static const struct step fill[] = { TO(ADD, 1, 30), TO(ADD, 2, 10), DO(COMMIT, 1),
                                        DO(WORK, 0),    TO(DEL, 1, 3),  DO(COMMIT, 1) };
    static const struct step reclaim[] = { TO(DEL, 2, 5), TO(CUT, 1, 5),       DO(COMMIT, 1),
                                           DO(WORK, 0),   DO(ASK, ASK_MERGE),  DO(WORK, 0),
                                           DO(TIME, 500), DO(ASK, ASK_BACKUP), DO(WORK, 0) };
    static const struct step begin[] = { DO(START, 0), TO(CREATE, 1, 0), TO(CREATE, 2, 0), DONE };
    static const struct step fill_disk[] = { DO(FILL, 1) };
    struct life l;
    char name[100];

    snprintf(name, sizeof name, "a disk with %" PRIu64 " bytes", room);
    life_init(&l, o->seed, name, out);
    life_run(&l, begin, sizeof begin / sizeof begin[0]);
    life_run(&l, fill_disk, 1);
    simio_set_capacity(l.w.disk, simio_used_bytes(l.w.disk) + room, true);
    for (int i = 0; i < 400 && sealworld_holds(&l.w) && l.w.n_refused == 0 && !l.w.was_full; i++)
        life_run(&l, fill, sizeof fill / sizeof fill[0]);
    if (sealworld_holds(&l.w) && !l.w.was_full && l.w.n_refused == 0)
        sealworld_fails(&l.w, "the disk never got full");
    life_run(&l, reclaim, sizeof reclaim / sizeof reclaim[0]);
    if (l.failure[0] != '\0')
        sealworld_fails(&l.w, "the log failed on a full disk: %s", l.failure);
    if (sealworld_holds(&l.w))
        life_settle(&l);
    if (sealworld_holds(&l.w))
        life_remove_all(&l);
    out->n_images++;
    life_fini(&l);
}

void seal_full(const struct crash_options *o, struct crash_result *out)
{
    uint64_t step = o->full ? 4096 : (uint64_t)(8000 / (o->scale + 0.01)) + 1;

    for (uint64_t room = 4096 + o->seed % step; room < 160000 && out->why[0] == '\0'; room += step)
        full_once(o, room, out);
}

const struct crash_named seal_suites[SEAL_SUITES] = {
    { "crash points of sealing", seal_points },
    { "damage to what is sealed", seal_damage },
    { "errors of sealing", seal_errors },
    { "random lives of sealing", seal_random },
    { "full disk", seal_full },
};
