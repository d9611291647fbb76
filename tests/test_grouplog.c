/* test_grouplog.c - claims about what groups leave in the log: which replies wait for which records, that a digest made in
 * slices is that of the moment when it began, that what does not fit is put right at a start, and that whatever is acknowledged
 * and told so never comes back, however the broker ends. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/digest.h"
#include "broker/engine/grouplog.h"
#include "tests/lib/memory.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#include "groups/group.c"
#include "groups/order.c"
#include "groups/room.c"
#undef malloc
#undef calloc
#undef realloc

/* ---- what a reply waits for ---- */

struct needs {
    uint64_t written, durable, last; /* the last record then */
};

/* Executes a command in a round that is under way. */
static void execute(struct rig *r, struct client *c, const char *text)
{
    struct slice argv[64];
    size_t argc = 0, n;

    for (; *text != '\0' && argc < 64; text += n, text += strspn(text, " ")) {
        n = strcspn(text, " ");
        argv[argc++] = slice_of(text, n);
    }
    engine_execute(&r->e, c, argv, argc);
}

/* Executes a command, and tells what the client waits for before it may see the reply. */
static struct needs ask_as(struct rig *r, struct client *c, const char *text)
{
    struct needs needs;

    engine_round_begin(&r->e);
    execute(r, c, text);
    needs = (struct needs){ c->gate.need_written, c->gate.need_durable, log_last_lsn(r->log) };
    engine_round_end(&r->e);
    rig_settle(r);
    return needs;
}

/* The same by a client that has asked for nothing before. */
static struct needs ask(struct rig *r, const char *text)
{
    struct client c;
    struct needs needs;

    rig_join(r, &c);
    needs = ask_as(r, &c, text);
    rig_leave(r, &c);
    return needs;
}

/* A stream of that class with two groups and 8 entries, of which alice has 1 .. 4 in g. */
static struct rig *classed(const char *durability)
{
    struct rig *r = rig_begin();

    for (int i = 1; i <= 8; i++)
        rig_say(r, "XADD s %d-0 f v", i);
    says(r, OKAY, "XCFGSET s DURABILITY %s", durability);
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, OKAY, "XGROUP CREATE s h 0");
    rig_say(r, "XREADGROUP GROUP g alice COUNT 4 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP h bob COUNT 1 STREAMS s >");
    return r;
}

static void only_in_class_always_a_change_is_durable_before_the_reply(void **state)
{
    static const char *const changes[] = {
        "XACK s g 1-0",           "XCLAIM s g bob 0 2-0",    "XNACK s g FAIL IDS 1 3-0",
        "XGROUP SETID s g 2",     "XGROUP CREATE s n 0",     "XGROUP CREATECONSUMER s g carol",
        "XGROUP DESTROY s h",     "XGROUP CFGSET s g DLQ d", "XGROUP DELCONSUMER s g alice",
        "XAUTOCLAIM s g bob 0 0",
    };
    static const char *const classes[] = { "os", "interval", "always" };

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (size_t class = 0; class < 3; class ++) {
            struct rig *r = classed(classes[class]);
            uint64_t before = log_last_lsn(r->log);
            struct needs needs = ask(r, changes[i]);

            assert_true(needs.last > before);
            assert_int_equal(needs.written, needs.last);
            assert_int_equal(needs.durable > before, class == 2);
            if (class == 2)
                assert_int_equal(needs.durable, needs.last);
            rig_free(r);
        }
    }
}

static void a_reader_waits_neither_for_its_delivery_nor_for_acknowledgements_of_others(void **state)
{
    struct rig *r = classed("always");
    uint64_t before;
    struct needs needs;

    (void)state;
    needs = ask(r, "XACK s g 1-0");
    assert_int_equal(needs.durable, needs.last);
    before = needs.last;
    /* Nothing is synced for what a reader does. */
    needs = ask(r, "XREADGROUP GROUP g bob COUNT 1 STREAMS s >");
    assert_true(needs.last > before);
    assert_true(needs.durable < before);
    /* Who shows the state of the group does wait for the acknowledgement. */
    needs = ask(r, "XPENDING s g");
    assert_int_equal(needs.durable, rig_group(r, "s", "g")->always_lsn);
    assert_int_equal(needs.durable, before);
    needs = ask(r, "XREADGROUP GROUP g alice STREAMS s 0");
    assert_int_equal(needs.durable, before);
    rig_free(r);
}

/* A transaction of reads, and an acknowledgement among them if `acks`. */
static struct needs transact(struct rig *r, bool acks)
{
    struct client c;
    struct needs needs;

    rig_join(r, &c);
    ask_as(r, &c, "MULTI");
    ask_as(r, &c, "XREADGROUP GROUP g bob COUNT 1 STREAMS s >");
    if (acks)
        ask_as(r, &c, "XACK s g 1-0");
    ask_as(r, &c, "XREADGROUP GROUP h bob COUNT 1 STREAMS s >");
    needs = ask_as(r, &c, "EXEC");
    rig_leave(r, &c);
    return needs;
}

static void in_exec_the_strongest_class_wins(void **state)
{
    struct rig *r = classed("always");
    uint64_t before = log_last_lsn(r->log);
    struct needs needs = transact(r, false);

    (void)state;
    assert_true(needs.last > before);
    assert_true(needs.durable <= before);
    before = needs.last;
    needs = transact(r, true);
    assert_true(needs.durable > before);
    assert_int_equal(needs.durable, rig_group(r, "s", "g")->always_lsn);
    rig_free(r);
}

static void what_changes_nothing_makes_no_record(void **state)
{
    struct rig *r = classed("os");
    uint64_t before = log_last_lsn(r->log);

    (void)state;
    says(r, ":0\r\n", "XACK s g 7-0 8-0");
    says(r, ":0\r\n", "XGROUP DESTROY s unknown");
    says(r, ":0\r\n", "XGROUP DELCONSUMER s g unknown");
    says(r, ":0\r\n", "XNACK s g FAIL IDS 1 8-0");
    says(r, "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n", "XREADGROUP GROUP g alice STREAMS s 7");
    assert_int_equal(log_last_lsn(r->log), before);
    rig_free(r);
}

/* ---- no memory ---- */

static void without_memory_nothing_happens_and_it_is_said(void **state)
{
    static const char *const commands[] = {
        "XREADGROUP GROUP g bob COUNT 2 STREAMS s >",
        "XREADGROUP GROUP o carol STREAMS s >",
        "XCLAIM s g bob 0 7-0 FORCE",
        "XNACK s g FAIL IDS 1 8-0 FORCE",
        "XGROUP CREATECONSUMER s g carol",
        "XGROUP CREATE s n 0 ACKWAIT 5 ORDERBY f",
        "XGROUP CFGSET s h ORDERBY f MAXDELIVER 5",
        "XGROUP CFGSET s g ACKWAIT 5",
    };
    size_t n_refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        bool fails = true;

        for (long nth = 0; fails; nth++) {
            struct rig *r = classed("os");
            char before[64];

            says(r, OKAY, "XGROUP CREATE s o 0 ORDERBY f");
            says(r, ":1\r\n", "XACK s h 1-0");
            snprintf(before, sizeof before, "%s", rig_say(r, "BECK DIGEST SYNC") + 4);
            memory_left = nth;
            ask(r, commands[i]);
            fails = memory_left < 0; /* it has come to the allocation that fails */
            memory_left = -1;
            n_refused += strcmp(rig_say(r, "BECK DIGEST SYNC") + 4, before) == 0;
            for (size_t k = 0; k < groups_n(stream_groups(rig_stream(r, "s"))); k++)
                assert_null(group_check(groups_at(stream_groups(rig_stream(r, "s")), k)));
            if (!fails)
                assert_string_not_equal(rig_say(r, "BECK DIGEST SYNC") + 4, before);
            rig_free(r);
        }
    }
    assert_true(n_refused > 0);
}

/* ---- a digest of many pending entries ---- */

enum { MANY = 3000 };

/* 3,000 entries, all pending in g; some skipped in o, where they are ordered; none read in e. */
static struct rig *crowded(void)
{
    struct rig *r = rig_begin();

    for (int i = 1; i <= MANY; i++)
        rig_say(r, "XADD s %d-0 k v%d", i, i % 7);
    says(r, OKAY, "XGROUP CREATE s g 0 MAXDELIVER 1000000");
    says(r, OKAY, "XGROUP CREATE s o 0 ORDERBY k");
    says(r, OKAY, "XGROUP CREATE s e 0");
    rig_say(r, "XREADGROUP GROUP g c0 COUNT %d STREAMS s >", MANY / 2);
    rig_say(r, "XREADGROUP GROUP g c1 COUNT %d STREAMS s >", MANY);
    rig_say(r, "XREADGROUP GROUP o c0 COUNT 100 STREAMS s >");
    return r;
}

/* Something that changes a group, at random. */
static void change(struct rig *r, struct random *rnd)
{
    static const char *const forms[] = {
        "XACK s g %u-0 %u-0",
        "XCLAIM s g c%u 0 %u-0 FORCE JUSTID",
        "XCLAIM s o c%u 0 %u-0 FORCE JUSTID",
        "XNACK s g FAIL IDS 2 %u-0 %u-0",
        "XNACK s g SILENT IDS 2 %u-0 %u-0 FORCE",
        "XACK s o %u-0 %u-0",
        "XDEL s %u-0 %u-0",
        "XTRIM s MINID %u-%u",
        "XREADGROUP GROUP o c%u COUNT %u STREAMS s >",
        "XREADGROUP GROUP e c%u COUNT %u STREAMS s >",
        "XADD s * k v%u x %u",
        "XGROUP CREATECONSUMER s g c%u%u",
        "XGROUP DELCONSUMER s g c%u%.0u",
        "XGROUP DELCONSUMER s g c%u%.0u DISCARD",
        "XGROUP SETID s g %u-%u",
        "XGROUP SETID s e 0-0 ENTRIESREAD %u%.0u",
        "XGROUP CFGSET s g ACKWAIT %u BACKOFF 1 %u",
        "XGROUP CFGSET s e ORDERBY k%.0u%.0u",
        "XGROUP CFGSET s e ORDERBY x%.0u%.0u",
        "XGROUP DESTROY s e%.0u%.0u",
        "XGROUP DESTROY s o%.0u%.0u",
        "XGROUP CREATE s e 0 MAXPENDING %u ACKWAIT %u",
        "XGROUP CREATE s o %u-%u ORDERBY k",
    };
    size_t form = random_below(rnd, sizeof forms / sizeof forms[0]);
    bool is_small = strstr(forms[form], " c%u") != NULL;
    unsigned a = (unsigned)random_below(rnd, is_small ? 3 : MANY);
    unsigned b = (unsigned)random_below(rnd, MANY);
    char text[128];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, forms[form], a, b);
#pragma GCC diagnostic pop
    execute(r, &r->c, text);
}

static void a_digest_made_while_groups_change_is_that_of_its_moment(void **state)
{
    struct random rnd = random_seeded("digest_of_groups");
    struct client asker;
    char want[64];

    (void)state;
    for (size_t round = random_rounds(12); round > 0; round--) {
        struct rig *r = crowded();

        rig_join(r, &asker);
        for (int digests = 0; digests < 4; digests++) {
            snprintf(want, sizeof want, "%s", rig_say(r, "BECK DIGEST SYNC"));
            engine_round_begin(&r->e);
            execute(r, &asker, "BECK DIGEST");
            assert_non_null(r->e.state.digest);
            for (size_t n = random_below(&rnd, 120); n > 0; n--) {
                digest_step(&r->e, random_below(&rnd, 200));
                change(r, &rnd);
            }
            engine_round_end(&r->e);
            rig_settle(r);
            assert_string_equal(rig_hear(r, &asker), want);
            assert_null(state_check(&r->e.state));
            rig_say(r, "PING");
        }
        rig_leave(r, &asker);
        rig_free(r);
    }
}

/* ---- what does not fit ---- */

static void the_last_id_of_all_is_in_the_digest_wherever_it_lies(void **state)
{
    struct rig *r = rig_new(1);
    char before[64];

    (void)state;
    rig_start(r);
    rig_say(r, "XADD s 1-1 k v");
    rig_say(r, "XADD s 18446744073709551615-18446744073709551615 k v");
    snprintf(before, sizeof before, "%s", strchr(rig_say(r, "BECK DIGEST SYNC"), '$'));
    rig_say(r, "BECK SEAL");
    assert_int_equal(rig_figure(r, "segments"), 1);
    assert_non_null(strstr(rig_say(r, "BECK DIGEST SYNC"), before));
    assert_non_null(strstr(rig_say(r, "BECK DIGEST"), before));
    rig_free(r);
}

static void what_does_not_fit_is_put_right_at_a_start(void **state)
{
    const struct pel_entry held = { .id = { 20, 0 }, .time_ms = 5, .count = 3, .slot = 9 };
    struct rig *r = classed("os");
    struct group *g = rig_group(r, "s", "g");
    struct pel_entry x;
    struct err e;

    (void)state;
    /* Of a consumer that there is not; and skipped for an order that there is not. */
    assert_int_equal(pel_reserve(g->pel, 1, held.id, &e), OK);
    pel_set(g->pel, &held);
    says(r, OKAY, "XGROUP CREATE s o 0 ORDERBY f");
    rig_say(r, "XREADGROUP GROUP o carol STREAMS s >");
    assert_int_equal(pel_n_parked(rig_group(r, "s", "o")->pel), 7);
    rig_group(r, "s", "o")->options->order_by.n = 0;
    rig_seal(r); /* makes a checkpoint */
    rig_stop(r);
    rig_start(r);
    assert_int_equal(r->n_complaints, 2);
    g = rig_group(r, "s", "o");
    assert_int_equal(pel_n_parked(g->pel), 0);
    assert_int_equal(pel_n(g->pel), 1);
    assert_null(group_check(g));
    g = rig_group(r, "s", "g");
    assert_int_equal(pel_n(g->pel), 5);
    assert_true(pel_get(g->pel, held.id, &x));
    assert_true(x.nacked && x.count == 3);
    assert_null(group_check(g));
    /* It can be dealt with like any other, and that lasts. */
    says(r, ":1\r\n", "XACK s g 20-0");
    rig_kill(r, SIMIO_KILL);
    rig_start(r);
    assert_false(pel_get(rig_group(r, "s", "g")->pel, held.id, &x));
    rig_free(r);
}

static void a_group_that_does_not_fit_its_stream_is_put_right_at_a_start(void **state)
{
    struct rig *r = classed("os");

    (void)state;
    says(r, OKAY, "XGROUP CREATE s end $");
    rig_group(r, "s", "g")->n_behind = 1000;
    rig_group(r, "s", "end")->n_behind = 1;
    rig_seal(r); /* makes a checkpoint */
    rig_stop(r);
    rig_start(r);
    assert_int_equal(r->n_complaints, 2);
    assert_int_equal(rig_group(r, "s", "g")->n_behind, rig_len(r, "s"));
    assert_null(state_check(&r->e.state));
    rig_free(r);
}

static void no_group_has_read_more_than_xsetid_says_were_added(void **state)
{
    struct rig *r = classed("os");

    (void)state;
    assert_int_equal(rig_group(r, "s", "g")->entries_read, 4);
    says(r, OKAY, "XSETID s 100-0 ENTRIESADDED 1000");
    assert_int_equal(rig_group(r, "s", "g")->entries_read, 4);
    says(r, ":6\r\n", "XTRIM s MAXLEN 2");
    says(r, OKAY, "XSETID s 100-0 ENTRIESADDED 3");
    for (int start = 0; start < 2; start++) { /* and a replay says the same */
        assert_int_equal(rig_group(r, "s", "g")->entries_read, 3);
        assert_int_equal(rig_group(r, "s", "h")->entries_read, 1);
        rig_kill(r, SIMIO_KILL);
        rig_start(r);
    }
    rig_free(r);
}

/* ---- a life with crashes ---- */

enum { LIFE_ENTRIES = 600, LIFE_TOLD = 64 /* replies that have not been released yet */ };

enum life_group { LIFE_PLAIN, LIFE_DYING, LIFE_ORDERED, LIFE_GROUPS };

static const char *const life_names[LIFE_GROUPS] = { "plain", "dying", "ordered" };

struct life_pair { /* a group and an entry */
    bool asked;    /* an acknowledgement was executed */
    bool told;     /* and the client was told */
    bool dead;     /* it is in the dead-letter stream */
};

struct life_ack { /* whose reply is not released yet */
    uint64_t end; /* of it in the output */
    enum life_group group;
    uint64_t id;
};

struct life {
    struct rig *r;
    struct random random;
    uint64_t last_id; /* that was asked for */
    struct life_pair pairs[LIFE_GROUPS][LIFE_ENTRIES + 1];
    struct life_ack acks[LIFE_TOLD];
    size_t n_acks, n_told;
    bool lives[LIFE_ENTRIES + 1]; /* in the stream, after the start */
};

/* What the gate lets through by now has been told. */
static void life_hear(struct life *l)
{
    struct rig *r = l->r;
    uint64_t open = gate_open(&r->c.gate, log_released_lsn(r->log), log_durable_lsn(r->log));
    size_t n = 0;

    for (size_t i = 0; i < l->n_acks; i++) {
        const struct life_ack *x = &l->acks[i];

        if (x->end > open)
            l->acks[n++] = *x;
        else
            l->pairs[x->group][x->id].told = true;
        l->n_told += x->end <= open;
    }
    l->n_acks = n;
    if (open > r->c.out.read_pos)
        outbuf_consume(&r->c.out, open - r->c.out.read_pos);
}

/* Some of what the log's threads would do. */
static void life_work(struct life *l)
{
    rig_round(l->r);
    for (size_t n = random_below(&l->random, 12); n > 0; n--)
        log_step_pick(l->r->log, random_u64(&l->random));
    rig_round(l->r);
    life_hear(l);
}

/* The command before is done. False: it will not be, since the disk is down. */
static bool life_is_ready(struct life *l)
{
    while ((l->r->c.cold != NULL || l->r->c.blocked != NULL) && !simio_is_down(l->r->disk))
        life_work(l);
    return !simio_is_down(l->r->disk);
}

static void life_say(struct life *l, const char *text)
{
    struct rig *r = l->r;

    if (!life_is_ready(l))
        return;
    engine_round_begin(&r->e);
    execute(r, &r->c, text);
    engine_round_end(&r->e);
}

static void life_ack(struct life *l, enum life_group group)
{
    struct group *g = rig_group(l->r, "s", life_names[group]);
    const struct pel_filter any = { .kinds = PEL_HELD | PEL_NACKED,
                                    .held_until = UINT64_MAX,
                                    .nacked_until = UINT64_MAX };
    struct id from = { random_below(&l->random, (size_t)l->last_id + 1), 0 };
    struct pel_entry x;
    char text[64];

    if (!life_is_ready(l) || l->n_acks == LIFE_TOLD || !pel_next(g->pel, from, &any, &x))
        return;
    snprintf(text, sizeof text, "XACK s %s %" PRIu64 "-0", life_names[group], x.id.ms);
    life_say(l, text);
    l->pairs[group][x.id.ms].asked = true;
    l->acks[l->n_acks++] = (struct life_ack){ outbuf_end(&l->r->c.out), group, x.id.ms };
}

static void life_step(struct life *l)
{
    enum life_group group = (enum life_group)random_below(&l->random, LIFE_GROUPS);
    const char *name = life_names[group];
    unsigned n = 1 + (unsigned)random_below(&l->random, 6);
    unsigned id = (unsigned)random_below(&l->random, (size_t)l->last_id + 1);
    size_t what = random_below(&l->random, 20);
    char text[128];

    if (what < 6 && l->last_id < LIFE_ENTRIES)
        snprintf(text, sizeof text, "XADD s %" PRIu64 "-0 k v%u", ++l->last_id, n);
    else if (what < 9)
        snprintf(text, sizeof text, "XREADGROUP GROUP %s c%u COUNT %u STREAMS s >", name, n % 3, n);
    else if (what < 10)
        snprintf(text, sizeof text, "XNACK s %s FAIL IDS 1 %u-0", name, id);
    else if (what < 11)
        snprintf(text, sizeof text, "XCLAIM s %s c%u 0 %u-0 JUSTID", name, n % 3, id);
    else if (what < 12 && n == 1)
        snprintf(text, sizeof text, "BECK SEAL");
    else if (what < 12 && n == 2)
        snprintf(text, sizeof text, "XTRIM s MAXLEN 100");
    else if (what < 13 && n < 3)
        snprintf(text, sizeof text, "XDEL s %u-0", id);
    else {
        if (what < 15)
            simio_advance_ms(l->r->disk, random_below(&l->random, 60));
        life_ack(l, group);
        life_work(l);
        return;
    }
    life_say(l, text);
    life_work(l);
}

/* ---- after each start ---- */

/* Notes what lies in the dead-letter stream. */
static void life_find_dead(struct life *l)
{
    static const char field[] = "beck-origin-id\r\n$";
    const char *at = rig_say(l->r, "XRANGE dead - +");

    for (uint64_t id = 1; id <= LIFE_ENTRIES; id++)
        l->pairs[LIFE_DYING][id].dead = false;
    for (at = strstr(at, field); at != NULL; at = strstr(at, field)) {
        uint64_t id;

        at = strstr(at + sizeof field - 1, "\r\n") + 2;
        id = strtoull(at, NULL, 10);
        assert_in_range(id, 1, LIFE_ENTRIES);
        assert_false(l->pairs[LIFE_DYING][id].dead); /* not twice */
        l->pairs[LIFE_DYING][id].dead = true;
    }
}

/* Notes what the stream has. */
static void life_find_living(struct life *l)
{
    const char *at = rig_say(l->r, "XRANGE s - +");

    memset(l->lives, 0, sizeof l->lives);
    for (at = strstr(at, "\r\n*2\r\n$"); at != NULL; at = strstr(at, "\r\n*2\r\n$")) {
        char *end;
        uint64_t id = strtoull(strstr(at + 7, "\r\n") + 2, &end, 10);

        at += 7;
        if (*end == '-') /* else these are its fields */
            l->lives[id] = true;
    }
}

static uint64_t life_count(const struct life *l, struct id last)
{
    uint64_t n = 0;

    for (uint64_t id = 1; id <= LIFE_ENTRIES; id++)
        n += l->lives[id] && id <= last.ms;
    return n;
}

static void life_check_entry(const struct life *l, enum life_group group, const struct group *g,
                             uint64_t id)
{
    const struct life_pair *p = &l->pairs[group][id];
    struct pel_entry x;
    bool delivered = id <= g->last_id.ms, pending = pel_get(g->pel, (struct id){ id, 0 }, &x);

    if (p->told && (!delivered || pending || p->dead))
        fail_msg("group %s: entry %" PRIu64 " was acknowledged, and is %s again", life_names[group],
                 id,
                 !delivered ? "new"
                 : pending  ? "pending"
                            : "dead");
    if (p->dead && (pending || !delivered))
        fail_msg("group %s: entry %" PRIu64 " is dead and there", life_names[group], id);
    if (l->lives[id] && delivered && !pending && !p->dead && !p->asked)
        fail_msg("group %s: entry %" PRIu64 " was lost", life_names[group], id);
}

static void life_check(struct life *l)
{
    life_find_dead(l);
    life_find_living(l);
    assert_int_equal(life_count(l, ID_MAX), rig_stream(l->r, "s")->n_entries);
    for (int i = 0; i < LIFE_GROUPS; i++) {
        struct group *g = rig_group(l->r, "s", life_names[i]);

        assert_non_null(g);
        assert_null(group_check(g));
        for (uint64_t id = 1; id <= rig_stream(l->r, "s")->last_id.ms; id++)
            if (id <= l->last_id)
                life_check_entry(l, (enum life_group)i, g, id);
        assert_int_equal(g->n_behind, life_count(l, g->last_id));
    }
    assert_null(state_check(&l->r->e.state));
}

/* The end, at this moment or at one of the next operations of the disk; and a start. */
static void life_crash(struct life *l, enum simio_mode mode)
{
    struct rig *r = l->r;

    if (random_below(&l->random, 3) > 0) {
        simio_fault_at(r->disk, simio_n_ops(r->disk) + random_below(&l->random, 20), 1,
                       SIMIO_CRASH);
        for (int i = 0; i < 20 && !simio_is_down(r->disk); i++)
            life_step(l);
        simio_fault_at(r->disk, 0, 0, SIMIO_NO_FAULT);
    }
    l->n_acks = 0;
    rig_kill(r, mode);
    rig_start(r);
    rig_settle(r);
    /* What came later was not told to be there; its IDs are given again. */
    for (; l->last_id > rig_stream(r, "s")->last_id.ms; l->last_id--)
        for (int i = 0; i < LIFE_GROUPS; i++) {
            assert_false(l->pairs[i][l->last_id].told);
            l->pairs[i][l->last_id] = (struct life_pair){ false };
        }
    life_check(l);
    rig_say(r, "PING");
}

static void life_begin(struct life *l, uint64_t seed, bool always)
{
    l->r = rig_new(seed);
    l->r->config.stream_durability = always ? LOG_ALWAYS : LOG_OS;
    rig_start(l->r);
    says(l->r, OKAY, "XGROUP CREATE s plain 0 MKSTREAM");
    says(l->r, OKAY, "XGROUP CREATE s dying 0 ACKWAIT 100 MAXDELIVER 2 BACKOFF 1 20 DLQ dead");
    says(l->r, OKAY, "XGROUP CREATE s ordered 0 ACKWAIT 100 ORDERBY k MAXPENDING 30");
    rig_settle(l->r);
}

static void what_was_acknowledged_and_told_so_never_comes_back(void **state)
{
    struct random rnd = random_seeded("life_of_groups");
    size_t n_told = 0;

    (void)state;
    for (size_t round = random_rounds(4 * SIMIO_N_MODES); round > 0; round--) {
        enum simio_mode mode = (enum simio_mode)(round % SIMIO_N_MODES);
        struct life *l = calloc(1, sizeof *l);

        assert_non_null(l);
        l->random.state = random_u64(&rnd);
        life_begin(l, random_u64(&rnd), mode != SIMIO_KILL || round % 2 == 0);
        for (int crash = 0; crash < 8; crash++) {
            for (size_t n = random_below(&l->random, 100); n > 0; n--)
                life_step(l);
            life_crash(l, mode);
        }
        n_told += l->n_told;
        rig_free(l->r);
        free(l);
    }
    printf("%zu acknowledgements told\n", n_told);
    assert_true(n_told > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_in_class_always_a_change_is_durable_before_the_reply),
        cmocka_unit_test(
            a_reader_waits_neither_for_its_delivery_nor_for_acknowledgements_of_others),
        cmocka_unit_test(in_exec_the_strongest_class_wins),
        cmocka_unit_test(what_changes_nothing_makes_no_record),
        cmocka_unit_test(without_memory_nothing_happens_and_it_is_said),
        cmocka_unit_test(a_digest_made_while_groups_change_is_that_of_its_moment),
        cmocka_unit_test(the_last_id_of_all_is_in_the_digest_wherever_it_lies),
        cmocka_unit_test(what_does_not_fit_is_put_right_at_a_start),
        cmocka_unit_test(a_group_that_does_not_fit_its_stream_is_put_right_at_a_start),
        cmocka_unit_test(no_group_has_read_more_than_xsetid_says_were_added),
        cmocka_unit_test(what_was_acknowledged_and_told_so_never_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
