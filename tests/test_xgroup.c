/* test_xgroup.c - claims about making groups and looking at them: whole engine, simulated disk. Entries are delivered by
 * grouplog_deliver, as XREADGROUP does, so that a test says exactly what is pending. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/cursor.h"
#include "broker/engine/grouplog.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum { IDS_MAX = 400, GROUPS = 4 };

static struct rig *started(void)
{
    struct rig *r = rig_new(1);

    r->config.cache_bytes = 0; /* what is sealed is cold, always */
    rig_start(r);
    return r;
}

/* A stream with entries 1-1 up to n-1. */
static struct rig *with_entries(int n)
{
    struct rig *r = started();

    for (int i = 1; i <= n; i++)
        assert_int_equal(rig_say(r, "XADD s %d-1 f v", i)[0], '$');
    return r;
}

/* ---- what is pending ---- */

static struct consumer *consumer_of(struct rig *r, struct group *g, const char *name)
{
    struct consumer *c = group_find_consumer(g, slice_str(name));

    if (c == NULL)
        assert_int_equal(rig_say(r, "XGROUP CREATECONSUMER s g %s", name)[0], ':');
    return group_find_consumer(g, slice_str(name));
}

/* Entries from-1 up to to-1 are delivered to the consumer, now. */
static void deliver(struct rig *r, const char *consumer, uint64_t from, uint64_t to)
{
    struct group *g = rig_group(r, "s", "g");
    struct id ids[IDS_MAX];
    struct group_delivery d = { .slot = consumer_of(r, g, consumer)->slot,
                                .entries_read = g->entries_read,
                                .ids = ids };

    for (uint64_t i = from; i <= to; i++)
        ids[d.n++] = (struct id){ i, 1 };
    engine_round_begin(&r->e);
    assert_true(engine_reserve(&r->e, &r->c, grouplog_bound(2, d.n)));
    d.time_ms = r->e.now_ms;
    d.last = ids[d.n - 1];
    d.n_behind = to;
    assert_int_equal(grouplog_deliver(&r->e, NULL, rig_stream(r, "s"), g, &d, NULL), OK);
    engine_round_end(&r->e);
}

/* Entry n-1 is nacked, to be had at once. */
static void nack(struct rig *r, uint64_t n, uint64_t count)
{
    const struct id id = { n, 1 };
    struct group_change x = {
        .slot = PEL_NOBODY, .nacked = true, .count = count, .ids = &id, .n = 1
    };

    engine_round_begin(&r->e);
    assert_true(engine_reserve(&r->e, &r->c, grouplog_bound(2, 1)));
    x.time_ms = r->e.now_ms;
    assert_int_equal(
        grouplog_change(&r->e, NULL, rig_stream(r, "s"), rig_group(r, "s", "g"), &x, false, NULL),
        OK);
    engine_round_end(&r->e);
}

/* ---- XGROUP ---- */

static void impossible_options_are_refused_by_name(void **state)
{
    static const struct {
        const char *words, *want;
    } cases[] = {
        { "ACKWAIT", "-ERR syntax error, ACKWAIT needs a value" },
        { "ACKWAIT x", "-ERR ACKWAIT must be a number of milliseconds from 0 to 1099511627776" },
        { "ACKWAIT -1", "-ERR ACKWAIT must be a number of milliseconds from 0 to 1099511627776" },
        { "CONSUMERTTL 1099511627777",
          "-ERR CONSUMERTTL must be a number of milliseconds from 0 to 1099511627776" },
        { "MAXDELIVER 1.5", "-ERR MAXDELIVER must be a number of deliveries from 0 to 4294967295" },
        { "MAXPENDING 4294967296",
          "-ERR MAXPENDING must be a number of entries from 0 to 4294967295" },
        { "BACKOFF 33 1",
          "-ERR BACKOFF must be a number of delays from 0 to 32, and then so many" },
        { "BACKOFF -1 1",
          "-ERR BACKOFF must be a number of delays from 0 to 32, and then so many" },
        { "BACKOFF 3 1 2", "-ERR BACKOFF announces 3 delays, and only 2 arguments follow" },
        { "BACKOFF 9223372036854775807 1",
          "-ERR BACKOFF must be a number of delays from 0 to 32, and then so many" },
        { "BACKOFF 2 1 x",
          "-ERR a delay of BACKOFF must be a number of milliseconds from 0 to 1099511627776" },
        { "DLQ s", "-ERR DLQ must be another stream than the group's own" },
        { "ACKWAIT 5 MAXDELIVER", "-ERR syntax error, MAXDELIVER needs a value" },
    };
    struct rig *r = with_entries(1);
    char want[200];

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].words);
        snprintf(want, sizeof want, "%s\r\n", cases[i].want);
        says(r, want, "XGROUP CREATE s h 0 %s", cases[i].words);
        says(r, want, "XGROUP CFGSET s g %s", cases[i].words);
    }
    says(r, ":0\r\n", "XGROUP DESTROY s h"); /* nothing was made on the way */
    assert_true(group_is_plain(rig_group(r, "s", "g")));
    rig_free(r);
}

static void names_in_options_are_bounded(void **state)
{
    struct rig *r = with_entries(1);

    (void)state;
    says(r, "-ERR DLQ must be the name of a stream, of at most 1024 bytes\r\n",
         "XGROUP CREATE s g 0 DLQ %01025d", 0);
    says(r, "-ERR ORDERBY must be the name of a field, of at most 1024 bytes\r\n",
         "XGROUP CREATE s g 0 ORDERBY %01025d", 0);
    says(r, OKAY, "XGROUP CREATE s g 0 ORDERBY %01024d DLQ %01024d", 0, 0);
    rig_free(r);
}

static void options_that_are_not_named_stay(void **state)
{
    struct rig *r = with_entries(1);
    const struct group_options *x;

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0 ACKWAIT 10 MAXDELIVER 3 ENTRIESREAD 1 BACKOFF 2 5 6 DLQ d");
    says(r, OKAY, "XGROUP CFGSET s g MAXPENDING 7 ACKWAIT 0");
    for (int again = 0; again < 2; again++) {
        x = group_options(rig_group(r, "s", "g"));
        assert_int_equal(x->ack_wait_ms, 0);
        assert_int_equal(x->max_deliver, 3);
        assert_int_equal(x->max_pending, 7);
        assert_int_equal(x->n_backoff, 2);
        assert_int_equal(x->backoff_ms[1], 6);
        assert_true(slice_equal(x->dlq, slice_str("d")));
        rig_kill(r, SIMIO_KILL);
        rig_start(r);
    }
    says(r, OKAY, "XGROUP CFGSET s g MAXPENDING 0 MAXDELIVER 0 BACKOFF 0 DLQ \"\"");
    assert_true(group_is_plain(rig_group(r, "s", "g")));
    rig_free(r);
}

static void orderby_changes_only_while_nothing_is_pending(void **state)
{
    static const char refused[] = "-ERR ORDERBY can change only while no entry of the group is "
                                  "pending or kept back for its order\r\n";
    struct rig *r = with_entries(3);
    uint64_t seed;

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0 ORDERBY k");
    seed = group_options(rig_group(r, "s", "g"))->order_seed;
    deliver(r, "c", 1, 2);
    says(r, refused, "XGROUP CFGSET s g ORDERBY other");
    says(r, refused, "XGROUP CFGSET s g ACKWAIT 5 ORDERBY \"\"");
    assert_int_equal(group_options(rig_group(r, "s", "g"))->ack_wait_ms, 0);
    says(r, OKAY, "XGROUP CFGSET s g ORDERBY k"); /* which it is */
    assert_true(group_options(rig_group(r, "s", "g"))->order_seed == seed);
    says(r, ":2\r\n", "XGROUP DELCONSUMER s g c DISCARD");
    says(r, OKAY, "XGROUP CFGSET s g ORDERBY other");
    says(r, OKAY, "XGROUP CFGSET s g ORDERBY \"\"");
    assert_true(group_is_plain(rig_group(r, "s", "g")));
    rig_free(r);
}

static void a_consumer_that_leaves_hands_back_in_a_group_with_options(void **state)
{
    static const struct {
        const char *options, *word;
        uint64_t pending;
    } cases[] = {
        { "", "", 0 },
        { "", "HANDBACK", 3 },
        { "ACKWAIT 99999", "", 3 },
        { "ACKWAIT 99999", "DISCARD", 0 },
        { "MAXPENDING 9", "HANDBACK", 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *r = with_entries(3);

        says(r, OKAY, "XGROUP CREATE s g 0 %s", cases[i].options);
        deliver(r, "c", 1, 3);
        says(r, ":3\r\n", "XGROUP DELCONSUMER s g c %s", cases[i].word);
        assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), cases[i].pending);
        assert_int_equal(pel_n_nacked(rig_group(r, "s", "g")->pel), cases[i].pending);
        says(r, ":0\r\n", "XGROUP DELCONSUMER s g c %s", cases[i].word);
        rig_free(r);
    }
}

static void xgroup_in_exec_sees_what_was_before_it(void **state)
{
    struct rig *r = started();

    (void)state;
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "XGROUP CREATE s g $ MKSTREAM");
    says(r, "+QUEUED\r\n", "XADD s 1-1 f v");
    says(r, "+QUEUED\r\n", "XGROUP SETID s g 1-1");
    says(r, "*3\r\n+OK\r\n$3\r\n1-1\r\n+OK\r\n", "EXEC");
    assert_int_equal(rig_group(r, "s", "g")->n_behind, 1);
    rig_free(r);
}

/* ---- counting ---- */

struct model { /* of a stream, and groups whose position is all they have */
    bool lives[IDS_MAX];
    uint64_t last, added, max_deleted;
    uint64_t at[GROUPS];
    int64_t read[GROUPS]; /* -2: there is no such group */
};

static uint64_t model_n(const struct model *m, uint64_t from, uint64_t to)
{
    uint64_t n = 0;

    for (uint64_t i = from; i <= to && i < IDS_MAX; i++)
        n += m->lives[i];
    return n;
}

static uint64_t model_first(const struct model *m)
{
    uint64_t i = 0;

    while (i < IDS_MAX && !m->lives[i])
        i++;
    return i;
}

/* Redis's rules as they are told, with all IDs at hand; INT64_MIN: nil. */
static int64_t model_lag(const struct model *m, int g)
{
    uint64_t n = model_n(m, 0, IDS_MAX), first = model_first(m), at = m->at[g],
             del = m->max_deleted;

    if (m->added == 0 || n == 0)
        return 0;
    if (at < first && del < first)
        return (int64_t)n;
    if (m->read[g] >= 0 && (del == 0 || del < at))
        return (int64_t)m->added - m->read[g];
    if (at != 0 && at < del)
        return INT64_MIN;
    if (at == m->last)
        return 0;
    if (at > m->last)
        return INT64_MIN;
    if (del == 0 || del < first) {
        if (at < first)
            return (int64_t)n;
        if (at == first)
            return (int64_t)n - 1;
    }
    return INT64_MIN;
}

static void model_adds(struct model *m, struct rig *r, struct random *rnd)
{
    uint64_t id = m->last + 1 + random_below(rnd, 3);

    if (id >= IDS_MAX)
        return;
    assert_int_equal(rig_say(r, "XADD s %" PRIu64 "-0 f %0100d", id, 7)[0], '$');
    m->lives[id] = true;
    m->last = id;
    m->added++;
}

static void model_deletes(struct model *m, struct rig *r, struct random *rnd)
{
    uint64_t id = random_below(rnd, m->last + 1);

    says(r, m->lives[id] ? ":1\r\n" : ":0\r\n", "XDEL s %" PRIu64 "-0", id);
    if (m->lives[id] && id > m->max_deleted)
        m->max_deleted = id;
    m->lives[id] = false;
}

static void model_trims(struct model *m, struct rig *r, struct random *rnd)
{
    uint64_t id = model_first(m) + random_below(rnd, 4);

    rig_say(r, "XTRIM s MINID %" PRIu64 "-0", id);
    for (uint64_t i = 0; i < id && i < IDS_MAX; i++)
        m->lives[i] = false;
}

static void model_sets_id(struct model *m, struct rig *r, struct random *rnd)
{
    uint64_t n = model_n(m, 0, IDS_MAX);

    m->last += random_below(rnd, 2);
    m->added = n + random_below(rnd, 5) + random_below(rnd, 2) * m->added;
    if (m->last > 0)
        m->max_deleted = 1 + random_below(rnd, m->last); /* 0-0 would change nothing */
    says(r, OKAY, "XSETID s %" PRIu64 "-0 ENTRIESADDED %" PRIu64 " MAXDELETEDID %" PRIu64 "-0",
         m->last, m->added, m->max_deleted);
    for (int g = 0; g < GROUPS; g++)
        if (m->read[g] > (int64_t)m->added)
            m->read[g] = (int64_t)m->added;
}

static void model_moves_a_group(struct model *m, struct rig *r, struct random *rnd)
{
    int g = (int)random_below(rnd, GROUPS);
    bool make = m->read[g] == -2, in_exec = random_below(rnd, 4) == 0;
    uint64_t near = model_first(m) + random_below(rnd, 3);
    char words[40] = "";

    m->at[g] = random_below(rnd, 2) ? near : random_below(rnd, m->last + 2);
    if (near > 0 && random_below(rnd, 4) == 0)
        m->at[g] = near - 1;
    m->read[g] = -1;
    if (random_below(rnd, 2)) {
        m->read[g] = (int64_t)random_below(rnd, m->added + 2);
        snprintf(words, sizeof words, "ENTRIESREAD %" PRIi64, m->read[g]);
    }
    if (m->read[g] > (int64_t)m->added)
        m->read[g] = (int64_t)m->added;
    if (in_exec)
        says(r, OKAY, "MULTI");
    says(r, in_exec ? "+QUEUED\r\n" : OKAY, "XGROUP %s s g%d %" PRIu64 "-0 %s",
         make ? "CREATE" : "SETID", g, m->at[g], words);
    if (in_exec)
        says(r, "*1\r\n+OK\r\n", "EXEC");
}

static void model_step(struct model *m, struct rig *r, struct random *rnd)
{
    switch (random_below(rnd, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: model_adds(m, r, rnd); break;
    case 4:
    case 5: model_deletes(m, r, rnd); break;
    case 6: model_trims(m, r, rnd); break;
    case 7: model_sets_id(m, r, rnd); break;
    case 8: rig_seal(r); break;
    case 9: rig_restart(r, true); break;
    default: model_moves_a_group(m, r, rnd); break;
    }
}

/* What XINFO GROUPS and BECK GROUP say. */
static void model_compare(const struct model *m, struct rig *r, uint64_t step)
{
    for (int g = 0; g < GROUPS; g++) {
        char want[200], lag[30] = "$-1", read[30] = "$-1", name[16];
        int64_t n = model_lag(m, g);

        if (m->read[g] == -2)
            continue;
        snprintf(name, sizeof name, "g%d", g);
        if (rig_group(r, "s", name)->n_behind != model_n(m, 0, m->at[g]))
            fail_msg("step %" PRIu64 ": %s has %" PRIu64 " entries behind it, not %" PRIu64, step,
                     name, rig_group(r, "s", name)->n_behind, model_n(m, 0, m->at[g]));
        if (n != INT64_MIN)
            snprintf(lag, sizeof lag, ":%" PRIi64, n);
        if (m->read[g] >= 0)
            snprintf(read, sizeof read, ":%" PRIi64, m->read[g]);
        snprintf(want, sizeof want, "%s\r\n$3\r\nlag\r\n%s\r\n", read, lag);
        if (strstr(strstr(rig_say(r, "XINFO GROUPS s"), name), want) == NULL)
            fail_msg("step %" PRIu64 ": %s at %" PRIu64 ", first %" PRIu64 ", deleted %" PRIu64
                     ", should have %s in %s",
                     step, name, m->at[g], model_first(m), m->max_deleted, want, r->text);
        snprintf(want, sizeof want, "$3\r\nlag\r\n:%" PRIu64 "\r\n",
                 model_n(m, m->at[g] + 1, IDS_MAX));
        if (strstr(rig_say(r, "BECK GROUP s %s", name), want) == NULL)
            fail_msg("step %" PRIu64 ": %s at %" PRIu64 " should have %s in %s", step, name,
                     m->at[g], want, r->text);
    }
}

static void lags_are_redis_s_and_exact_whatever_is_deleted_trimmed_sealed_or_set(void **state)
{
    struct random rnd = random_seeded("lags");
    size_t rounds = random_rounds(12);

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        struct model m = { .read = { -2, -2, -2, -2 } };
        struct rig *r = started();

        model_adds(&m, r, &rnd);
        for (uint64_t step = 0; step < 250; step++) {
            model_step(&m, r, &rnd);
            model_compare(&m, r, step);
        }
        assert_int_equal(rig_figure(r, "sync_reads"), 0); /* all was wanted beforehand */
        rig_free(r);
    }
}

static void a_range_is_counted_wherever_it_lies(void **state)
{
    struct rig *r = with_entries(30);
    struct model m = { .last = 30 };

    (void)state;
    for (uint64_t i = 4; i <= 30; i++)
        m.lives[i] = i != 7 && i != 20 && i != 25;
    rig_seal(r);
    says(r, ":3\r\n", "XDEL s 7-1 20-1 25-1");
    says(r, ":3\r\n", "XTRIM s MINID 4-1");
    for (uint64_t i = 31; i <= 40; i++)
        rig_say(r, "XADD s %" PRIu64 "-1 f v", i);
    says(r, ":1\r\n", "XDEL s 33-1");
    for (uint64_t i = 31; i <= 40; i++)
        m.lives[i] = i != 33;
    for (uint64_t from = 0; from <= 42; from++) {
        for (uint64_t to = 0; to <= 42; to++) {
            struct id first = { from, 0 }, last = { to, 5 };
            uint64_t n;

            assert_int_equal(cursor_count(&r->e, rig_stream(r, "s"), first, last,
                                          CURSOR_ON_THE_SPOT, NULL, &n, NULL),
                             OK);
            assert_int_equal(n, model_n(&m, from, to));
        }
    }
    rig_free(r);
}

/* ---- XPENDING ---- */

static void xpending_shows_numbers_and_ends(void **state)
{
    struct rig *r = with_entries(9);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n", "XPENDING s g");
    deliver(r, "b", 1, 2);
    deliver(r, "a", 3, 5);
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g idle");
    says(r,
         "*4\r\n:5\r\n$3\r\n1-1\r\n$3\r\n5-1\r\n*2\r\n*2\r\n$1\r\na\r\n$1\r\n3\r\n*2\r\n$"
         "1\r\nb\r\n$1\r\n2"
         "\r\n",
         "XPENDING s g");
    for (uint64_t i = 1; i <= 5; i++)
        nack(r, i, 1);
    says(r, "*4\r\n:5\r\n$3\r\n1-1\r\n$3\r\n5-1\r\n*0\r\n", "XPENDING s g"); /* they are nobody's */
    rig_free(r);
}

static void xpending_filters_by_range_idle_time_and_consumer(void **state)
{
    struct rig *r = with_entries(9);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    deliver(r, "b", 1, 1);
    rig_pass(r, 1000);
    deliver(r, "a", 2, 4);
    nack(r, 3, 7);
    says(r, "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nb\r\n:1000\r\n:1\r\n", "XPENDING s g - (2-1 10");
    says(r, "*1\r\n*4\r\n$3\r\n3-1\r\n$0\r\n\r\n:-1\r\n:7\r\n", "XPENDING s g (2-1 3 10");
    says(r,
         "*2\r\n*4\r\n$3\r\n1-1\r\n$1\r\nb\r\n:1000\r\n:1\r\n*4\r\n$3\r\n3-1\r\n$0\r\n\r\n:-1\r\n:"
         "7\r\n",
         "XPENDING s g IDLE 1000 - + 9223372036854775807");
    says(r, "*1\r\n*4\r\n$3\r\n3-1\r\n$0\r\n\r\n:-1\r\n:7\r\n",
         "XPENDING s g IDLE 9223372036854775807 - + 10");
    says(r, "*1\r\n*4\r\n$3\r\n2-1\r\n$1\r\na\r\n:0\r\n:1\r\n", "XPENDING s g - + 1 a");
    says(r, "*0\r\n", "XPENDING s g - + 10 nobody");
    says(r, "*0\r\n", "XPENDING s g IDLE 1 - + 10 a");
    says(r, "*0\r\n", "XPENDING s g IDLE 9223372036854775807 - + 10 a");
    says(r, "*0\r\n", "XPENDING s g - + -3");
    says(r, "*0\r\n", "XPENDING s g + - 10");
    rig_free(r);
}

static void xpending_replies_any_number_of_entries(void **state)
{
    struct rig *r = with_entries(IDS_MAX - 1);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    deliver(r, "a", 1, IDS_MAX - 1);
    assert_memory_equal(rig_say(r, "XPENDING s g - + 1000"), "*399\r\n", 6);
    assert_memory_equal(rig_say(r, "XPENDING s g - + 129"), "*129\r\n", 6);
    assert_non_null(strstr(r->text, "$5\r\n129-1\r\n"));
    assert_memory_equal(rig_say(r, "XPENDING s g 128-1 + 256 a"), "*256\r\n", 6);
    assert_non_null(strstr(r->text, "$5\r\n383-1\r\n"));
    rig_free(r);
}

/* ---- XINFO ---- */

static void full_shows_the_first_pending_of_each_consumer(void **state)
{
    struct rig *r = with_entries(IDS_MAX - 1);
    char now[40], want[400];

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    deliver(r, "b", 1, 200);
    deliver(r, "a", 201, 399);
    nack(r, 1, 3);
    snprintf(now, sizeof now, ":%" PRIu64 "\r\n", r->e.now_ms);
    snprintf(want, sizeof want,
             "$9\r\npel-count\r\n:399\r\n$12\r\nnacked-count\r\n:1\r\n$7\r\npending\r\n*2\r\n"
             "*4\r\n$3\r\n1-1\r\n$0\r\n\r\n:0\r\n:3\r\n*4\r\n$3\r\n2-1\r\n$1\r\nb\r\n%s:1\r\n",
             now);
    assert_non_null(strstr(rig_say(r, "XINFO STREAM s FULL COUNT 2"), want));
    snprintf(want, sizeof want,
             "$9\r\npel-count\r\n:199\r\n$7\r\npending\r\n*2\r\n*3\r\n$5\r\n201-1\r\n%s:1\r\n"
             "*3\r\n$5\r\n202-1\r\n%s:1\r\n",
             now, now);
    assert_non_null(strstr(r->text, want));
    snprintf(want, sizeof want,
             "$9\r\npel-count\r\n:199\r\n$7\r\npending\r\n*2\r\n*3\r\n$3\r\n2-1\r\n");
    assert_non_null(strstr(r->text, want));
    has(r, "$7\r\npending\r\n*399\r\n", "XINFO STREAM s FULL COUNT 0");
    assert_non_null(strstr(r->text, "$7\r\npending\r\n*199\r\n"));
    rig_free(r);
}

static void consumers_tell_when_they_were_seen_and_active(void **state)
{
    struct rig *r = with_entries(3);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g c");
    rig_pass(r, 500);
    says(r, ":0\r\n",
         "XGROUP CREATECONSUMER s g c"); /* which Redis does not take for a sign of life */
    says(r,
         "*1\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:500\r\n"
         "$8\r\ninactive\r\n:-1\r\n",
         "XINFO CONSUMERS s g");
    deliver(r, "c", 1, 2);
    rig_pass(r, 250);
    says(r,
         "*1\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:2\r\n$4\r\nidle\r\n:750\r\n"
         "$8\r\ninactive\r\n:250\r\n",
         "XINFO CONSUMERS s g");
    rig_free(r);
}

/* ---- BECK GROUP ---- */

static void figure_is(struct rig *r, const char *group, const char *name, uint64_t want)
{
    char text[80];

    snprintf(text, sizeof text, "$%zu\r\n%s\r\n:%" PRIu64 "\r\n", strlen(name), name, want);
    if (strstr(rig_say(r, "BECK GROUP s %s", group), text) == NULL)
        fail_msg("%s should be %" PRIu64 " in %s", name, want, r->text);
}

static void lag_ms_is_the_age_of_the_oldest_undelivered_entry_wherever_it_lies(void **state)
{
    struct rig *r = started();
    uint64_t t = r->e.now_ms;

    (void)state;
    rig_pass(r, 10000);
    for (uint64_t i = 0; i < 5; i++)
        rig_say(r, "XADD s %" PRIu64 "-0 f v", t + i * 1000);
    says(r, OKAY, "XGROUP CREATE s new 0");
    says(r, OKAY, "XGROUP CREATE s mid %" PRIu64 "-5", t + 1000);
    says(r, OKAY, "XGROUP CREATE s old $");
    for (int sealed = 0; sealed < 2; sealed++) {
        figure_is(r, "new", "lag-ms", r->e.now_ms - t);
        figure_is(r, "mid", "lag-ms", r->e.now_ms - t - 2000);
        figure_is(r, "mid", "lag", 3);
        figure_is(r, "old", "lag-ms", 0);
        figure_is(r, "old", "lag", 0);
        rig_seal(r);
    }
    rig_say(r, "XADD s %" PRIu64 "-0 f v", t + 7000);
    figure_is(r, "old", "lag-ms", r->e.now_ms - t - 7000);
    rig_say(r, "XDEL s %" PRIu64 "-0 %" PRIu64 "-0", t, t + 2000);
    figure_is(r, "new", "lag-ms", r->e.now_ms - t - 1000);
    figure_is(r, "mid", "lag-ms", r->e.now_ms - t - 3000);
    figure_is(r, "mid", "lag", 3);
    rig_say(r, "XDEL s %" PRIu64 "-0 %" PRIu64 "-0", t + 3000, t + 4000);
    figure_is(r, "mid", "lag-ms",
              r->e.now_ms - t - 7000); /* behind what is left of the sealed ones */
    assert_memory_equal(rig_say(r, "BECK GROUP s"), "*3\r\n*44\r\n$4\r\nname\r\n$3\r\nmid\r\n", 28);
    rig_free(r);
}

static void a_stream_with_very_many_groups_tells_of_all(void **state)
{
    struct rig *r = with_entries(20);

    (void)state;
    for (int i = 0; i < 200; i++)
        says(r, OKAY, "XGROUP CREATE s g%d %d-1", i, i % 20);
    rig_seal(r);
    assert_memory_equal(rig_say(r, "BECK GROUP s"), "*200\r\n", 6);
    for (const char *at = r->text; (at = strstr(at, "$3\r\nlag\r\n:")) != NULL; at += 10)
        assert_int_not_equal(strtol(at + 10, NULL, 10), 0);
    figure_is(r, "g77", "lag", 3);
    rig_free(r);
}

static void pending_figures_are_told(void **state)
{
    struct rig *r = with_entries(9);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0 BACKOFF 1 100 MAXDELIVER 5");
    deliver(r, "a", 1, 2);
    rig_pass(r, 70);
    deliver(r, "b", 3, 4);
    rig_pass(r, 30);
    nack(r, 4, 1);
    nack(r, 2, 5);
    rig_pass(r, 5);
    figure_is(r, "g", "lag", 5);
    figure_is(r, "g", "pending", 4);
    figure_is(r, "g", "nacked", 2);
    figure_is(r, "g", "due", 1);
    figure_is(r, "g", "dead", 1);
    figure_is(r, "g", "consumers", 2);
    figure_is(r, "g", "oldest-pending-ms", 105);
    figure_is(r, "g", "maxdeliver", 5);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_options_are_refused_by_name),
        cmocka_unit_test(names_in_options_are_bounded),
        cmocka_unit_test(options_that_are_not_named_stay),
        cmocka_unit_test(orderby_changes_only_while_nothing_is_pending),
        cmocka_unit_test(a_consumer_that_leaves_hands_back_in_a_group_with_options),
        cmocka_unit_test(xgroup_in_exec_sees_what_was_before_it),
        cmocka_unit_test(lags_are_redis_s_and_exact_whatever_is_deleted_trimmed_sealed_or_set),
        cmocka_unit_test(a_range_is_counted_wherever_it_lies),
        cmocka_unit_test(xpending_shows_numbers_and_ends),
        cmocka_unit_test(xpending_filters_by_range_idle_time_and_consumer),
        cmocka_unit_test(xpending_replies_any_number_of_entries),
        cmocka_unit_test(full_shows_the_first_pending_of_each_consumer),
        cmocka_unit_test(consumers_tell_when_they_were_seen_and_active),
        cmocka_unit_test(lag_ms_is_the_age_of_the_oldest_undelivered_entry_wherever_it_lies),
        cmocka_unit_test(a_stream_with_very_many_groups_tells_of_all),
        cmocka_unit_test(pending_figures_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
