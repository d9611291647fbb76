/*
 * test_crash_values.c - values after power cuts: what is there is a prefix of what happened, and all that was told is in it.
 *
 * A life is random commands on a few keys of three databases, of strings, hashes, lists and streams, alone and in transactions, on
 * a simulated disk where a part is sealed after some hundred records and each seal is followed by a checkpoint; in half of the
 * lives there is so little memory that values leave it all the time. After every round the digest of the whole state is kept, with
 * the LSN that it stands for. Then the process ends, in good order or not, or the power fails between two commands or in the middle of an operation of the
 * disk, in any of the simulator's modes. The store that a start finds has to have one of these digests, which include each
 * value and its revision; and one no older than what the gate had let out.
 *
 *   L1  After the end of the process alone, that is what was written; after a power cut, what was durable.
 *   L2  Whatever backs a value lives, and nothing else does (state_check): what is dropped was nobody's.
 *   L3  What was deleted, overwritten or has expired never comes back, nor does half of a transaction: a digest would tell.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum {
    MOMENTS = 4000, /* rounds of a life at most */
    WORDS = 40,
    WORD = 5000,    /* bytes */
    PATIENCE = 300, /* rounds until what is cold has been read */
};

struct moment {
    uint64_t lsn, sum[2];
    uint64_t need_written, need_durable; /* of the reply that was made, if any */
};

struct life {
    struct rig *r;
    struct random rng;
    struct moment moments[MOMENTS];
    size_t n;
    bool blind; /* a digest could not be made: the disk had gone */
    uint64_t n_seals, n_checkpoints;
    char words[WORDS][WORD];
    struct slice argv[WORDS];
    size_t argc;
};

/* ---- commands ---- */

/* S: a key of a string, H: of a hash, T: of a hash or string, K: any, Q: of a list, Z: of a stream; F: a field; N: a small number; L: long text, V: short text;
 * M: milliseconds; D: a database. */
static const char *const FORMS[] = {
    "SET S V",
    "SET S L",
    "SET S V PX M",
    "SET S L PX M KEEPTTL",
    "SET T V",
    "APPEND S V",
    "APPEND S L",
    "SETRANGE S N V",
    "SETRANGE S 3000 L",
    "INCR c",
    "DEL K",
    "DEL K K",
    "HSET H F V F V",
    "HSET H F L",
    "HSET H F V F V F V F V F V F V F V F V",
    "HDEL H F F",
    "HDEL H F F F F F F F F F F F F",
    "HPEXPIRE H M FIELDS 2 F F",
    "HPERSIST H FIELDS 1 F",
    "HINCRBY H n N",
    "RPUSH Q V V V",
    "LPUSH Q V L",
    "LPOP Q",
    "RPOP Q N",
    "LSET Q 0 V",
    "LINSERT Q AFTER v1 V",
    "LREM Q 2 v1",
    "LTRIM Q 1 20",
    "LMOVE Q Q LEFT RIGHT",
    "PEXPIRE K M",
    "PERSIST K",
    "RENAME K K",
    "RENAME K K",
    "COPY K K REPLACE",
    "COPY K K DB D REPLACE",
    "MOVE K D",
    "XADD Z * f V",
    "SELECT D",
    "SELECT D",
    "MULTI",
    "EXEC",
    "EXEC",
    "GET S",
    "HGETALL H",
    "LRANGE Q 0 -1",
    "BECK SEAL",
    "GETDEL S",
};
/* So large or so rare that it has a line of its own. */
static const char *const RARE_FORMS[] = { "SWAPDB D D", "FLUSHDB", "FLUSHALL", "BECK MERGE" };

static void life_word(struct life *l, const char *form, size_t n, char *out)
{
    struct random *rng = &l->rng;

    static const struct {
        char form;
        const char *text;
        size_t n;
    } names[] = { { 'S', "s%zu", 5 },  { 'H', "h%zu", 3 }, { 'Q', "q%zu", 3 },
                  { 'F', "f%zu", 40 }, { 'N', "%zu", 20 }, { 'V', "v%zu", 9 },
                  { 'M', "%zu", 90 },  { 'D', "%zu", 3 },  { 'Z', "z%zu", 2 } };
    char kind = *form;

    if (n == 1 && *form == 'T')
        kind = "SHQZ"[random_below(rng, 4)];
    if (n == 1 && *form == 'K')
        kind = "SHQ"[random_below(rng, 3)];
    if (n == 1 && *form == 'L') {
        snprintf(out, WORD, "%0*d", (int)random_below(rng, WORD - 20), 7);
        return;
    }
    for (size_t i = 0; n == 1 && i < sizeof names / sizeof names[0]; i++)
        if (names[i].form == kind) {
            snprintf(out, WORD, names[i].text, random_below(rng, names[i].n));
            return;
        }
    snprintf(out, WORD, "%.*s", (int)n, form);
}

static void life_words(struct life *l, const char *form)
{
    for (l->argc = 0; *form != '\0'; l->argc++) {
        size_t n = strcspn(form, " ");
        life_word(l, form, n, l->words[l->argc]);
        l->argv[l->argc] = slice_str(l->words[l->argc]);
        form += n + (form[n] == ' ');
    }
}

/* ---- moments ---- */

static void life_keep(struct life *l, uint64_t need_written, uint64_t need_durable)
{
    struct moment *m = &l->moments[l->n];

    assert_true(l->n < MOMENTS);
    *m = (struct moment){ .lsn = log_last_lsn(l->r->log),
                          .need_written = need_written,
                          .need_durable = need_durable };
    if (state_digest(&l->r->e.state, l->r->log, l->r->e.clock, m->sum, NULL) == OK)
        l->n++;
    else
        l->blind = true;
}

static void life_forget_output(struct client *c)
{
    outbuf_consume(&c->out, (size_t)(outbuf_end(&c->out) - c->out.read_pos));
    gate_open(&c->gate, UINT64_MAX, UINT64_MAX);
}

static bool life_is_over(const struct life *l)
{
    return l->blind || simio_is_down(l->r->disk) || l->r->e.failed;
}

/* What the log does in the background, some of it. */
static void life_work(struct life *l)
{
    for (size_t n = random_below(&l->rng, 6); n > 0 && !life_is_over(l); n--)
        log_step_pick(l->r->log, random_u64(&l->rng));
}

/* One command, and the rounds until it has its reply. */
static void life_say(struct life *l, const char *form)
{
    struct rig *r = l->r;

    life_words(l, form);
    engine_round_begin(&r->e);
    engine_execute(&r->e, &r->c, l->argv, l->argc);
    engine_round_end(&r->e);
    life_keep(l, r->c.need_written, r->c.need_durable);
    for (int i = 0; (r->c.cold != NULL || r->c.blocked != NULL) && !life_is_over(l); i++) {
        assert_in_range(i, 0, PATIENCE);
        simio_advance_ms(r->disk,
                         10); /* a checkpoint that was given up is begun anew a second later */
        log_step(r->log);
        rig_round(r);
        life_keep(l, 0, 0);
    }
    life_forget_output(&r->c);
}

static void life_go_on(struct life *l)
{
    simio_advance_ms(l->r->disk, random_below(&l->rng, 12));
    if (random_below(&l->rng, 100) == 0)
        life_say(l, RARE_FORMS[random_below(&l->rng, sizeof RARE_FORMS / sizeof RARE_FORMS[0])]);
    else
        life_say(l, FORMS[random_below(&l->rng, sizeof FORMS / sizeof FORMS[0])]);
    life_work(l);
}

/* ---- births and deaths ---- */

static void life_begin(struct life *l)
{
    l->r->config.cache_durability = (int64_t)random_below(&l->rng, 3);
    if (random_below(&l->rng, 2) == 0)
        l->r->config.maxmemory = 20000;
    if (random_below(&l->rng, 2) == 0) { /* what is dead goes when files are merged */
        l->r->config.cache_history_age_ms = 50;
        l->r->config.cache_history_bytes = 2000;
    }
    rig_start(l->r);
    life_keep(l, 0, 0);
}

/* The process ends, and so does the machine in the other modes. */
static void life_end(struct life *l, enum simio_mode mode)
{
    struct rig *r = l->r;
    struct log_stats stats;

    log_get_stats(r->log, &stats);
    l->n_seals += stats.n_seals;
    l->n_checkpoints += stats.n_checkpoints;
    r->running = false;
    engine_client_fini(&r->e, &r->c);
    log_abandon(r->log);
    engine_fini(&r->e);
    simio_crash(r->disk, mode, random_u64(&l->rng) | 1ull << 63);
}

/* The last LSN that somebody may know to be there. */
static uint64_t life_told(const struct life *l, enum simio_mode mode, uint64_t written,
                          uint64_t durable)
{
    uint64_t told = l->moments[0].lsn;

    for (size_t i = 1; i < l->n; i++) {
        const struct moment *m = &l->moments[i];
        if (m->need_durable > durable || m->need_written > written)
            continue; /* the reply has not left */
        if (m->need_durable > told)
            told = m->need_durable;
        if (mode == SIMIO_KILL && m->need_written > told)
            told = m->need_written;
    }
    return told;
}

/* A start after that: finds the moment in whose state the store is, and goes on from there. */
static void life_resume(struct life *l, uint64_t told)
{
    struct moment now = { 0 };
    const char *broken;
    size_t i = l->n;

    rig_start(l->r);
    broken = state_check(&l->r->e.state);
    if (broken != NULL)
        fail_msg("%s", broken);
    assert_int_equal(state_digest(&l->r->e.state, l->r->log, 0, now.sum, NULL), OK);
    while (i > 0 && memcmp(l->moments[i - 1].sum, now.sum, sizeof now.sum) != 0)
        i--;
    if (!l->blind && i == 0)
        fail_msg("the store is in no state that it ever was in");
    if (i > 0 && l->moments[i - 1].lsn < told)
        fail_msg("the store is as of record %" PRIu64 ", but somebody was told of %" PRIu64,
                 l->moments[i - 1].lsn, told);
    l->n = 0;
    l->blind = false;
    life_keep(l, 0, 0);
}

/* Some commands, then the end at an operation of the disk or between two commands. */
static void life_once(struct life *l)
{
    struct rig *r = l->r;
    enum simio_mode mode = (enum simio_mode)random_below(&l->rng, SIMIO_N_MODES);
    size_t n = 1 + random_below(&l->rng, 400);
    uint64_t written, durable, told;

    if (random_below(&l->rng, 2) == 0)
        simio_fault_at(r->disk, simio_n_ops(r->disk) + random_below(&l->rng, 3000), 1, SIMIO_CRASH);
    for (; n > 0 && !life_is_over(l); n--)
        life_go_on(l);
    written = log_released_lsn(r->log);
    durable = log_durable_lsn(r->log);
    told = life_told(l, mode, written, durable);
    simio_fault_at(r->disk, 0, 0, SIMIO_NO_FAULT);
    life_end(l, mode);
    life_resume(l, told);
}

static void what_a_start_finds_is_what_once_was_and_no_older_than_what_was_told(void **state)
{
    struct random rng = random_seeded("crash_values");
    uint64_t n_seals = 0, n_checkpoints = 0;

    (void)state;
    for (size_t lives = random_rounds(60); lives > 0; lives--) {
        struct life *l = calloc(1, sizeof *l);
        assert_non_null(l);
        l->rng.state = random_u64(&rng);
        l->r = rig_new(random_u64(&rng));
        l->r->lazy = true;
        life_begin(l);
        for (int deaths = 0; deaths < 12; deaths++)
            life_once(l);
        n_seals += l->n_seals;
        n_checkpoints += l->n_checkpoints;
        rig_free(l->r);
        free(l);
    }
    print_message("  %" PRIu64 " seals, %" PRIu64 " checkpoints\n", n_seals, n_checkpoints);
    assert_true(n_seals > 0 && n_checkpoints > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_start_finds_is_what_once_was_and_no_older_than_what_was_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
