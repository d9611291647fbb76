/* test_changes.c - beck:changes: what has happened to keys, read as a stream. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/changes.h"
#include "log/record.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

/* The next bulk string of a reply. */
static struct slice bulk(const char **at)
{
    const char *p = strchr(*at, '$');
    char *end;
    unsigned long n;

    assert_non_null(p);
    n = strtoul(p + 1, &end, 10);
    *at = end + 2 + n;
    return slice_of(end + 2, n);
}

/* What is read, without its IDs and revisions, in one line: "set a string; del a none". */
static const char *reads(struct rig *r, char *out, size_t size, const char *command)
{
    const char *at = rig_say(r, "%s", command);
    size_t used = 0;

    out[0] = '\0';
    for (; (at = strstr(at, "$2\r\nop\r\n")) != NULL;) {
        struct slice words[6];

        for (size_t i = 0; i < 6; i++)
            words[i] = bulk(&at);
        used +=
            (size_t)snprintf(out + used, size - used, "%s%.*s %.*s %.*s", used > 0 ? "; " : "",
                             (int)words[1].n, (const char *)words[1].p, (int)words[3].n,
                             (const char *)words[3].p, (int)words[5].n, (const char *)words[5].p);
    }
    return out;
}

#define READS(r, want, command)                                            \
    do {                                                                   \
        char line_[8192];                                                  \
        assert_string_equal(reads(r, line_, sizeof line_, command), want); \
    } while (0)

static void what_happens_to_keys_is_a_stream(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":0\r\n", "XLEN beck:changes");
    says(r, OKAY, "SET a 1");
    says(r, ":2\r\n", "HSET h f v g w");
    says(r, ":1\r\n", "DEL a");
    says(r, OKAY, "RENAME h k");
    says(r, ":1\r\n", "EXPIRE k 100");
    says(r, ":1\r\n", "HDEL k f");
    says(r, ":1\r\n", "HDEL k g"); /* nothing is left of it */
    says(r, ":1\r\n", "RPUSH l x");
    says(r, OKAY, "FLUSHDB");
    READS(
        r,
        "set a string; set h hash; del a none; rename h hash; set k hash; set k hash; del k none; "
        "set l list; flush  none",
        "XRANGE beck:changes - +");
    READS(r, "flush  none; set l list", "XREVRANGE beck:changes + - COUNT 2");
    says(r, ":9\r\n", "XLEN beck:changes");
    says(r, "+stream\r\n", "TYPE beck:changes");
    has(r, "$6\r\nlength\r\n:9\r\n", "XINFO STREAM beck:changes");
    assert_null(changes_check(&r->e.state));
    rig_free(r);
}

static void an_entry_has_its_fields_in_order_and_its_revision_in_its_id(void **state)
{
    struct rig *r = rig_begin();
    uint64_t rev;
    char want[512];

    (void)state;
    says(r, OKAY, "SET key 1");
    rev = log_last_lsn(r->log);
    snprintf(want, sizeof want,
             "*1\r\n*2\r\n$18\r\n1700000000000-%" PRIu64 "\r\n*8\r\n$2\r\nop\r\n$3\r\nset\r\n"
             "$3\r\nkey\r\n$3\r\nkey\r\n$4\r\ntype\r\n$6\r\nstring\r\n$3\r\nrev\r\n$4\r\n%" PRIu64
             "\r\n",
             rev, rev);
    says(r, want, "XRANGE beck:changes - +");
    snprintf(want, sizeof want, "*2\r\n$1\r\n1\r\n:%" PRIu64 "\r\n", rev);
    says(r, want, "GETREV key");
    says(r, OKAY, "RENAME key to");
    has(r, "$3\r\nrev\r\n$4\r\n1025\r\n$2\r\nto\r\n$2\r\nto\r\n",
        "XREVRANGE beck:changes + - COUNT 1");
    rig_free(r);
}

static void it_is_not_among_the_keys_and_cannot_be_written(void **state)
{
    static const char *const refused[] = {
        "SET beck:changes 1",          "DEL beck:changes",
        "XADD beck:changes * a b",     "XDEL beck:changes 1-1",
        "XTRIM beck:changes MAXLEN 0", "RENAME k beck:changes",
        "RENAME beck:changes k",       "EXPIRE beck:changes 1",
        "XSETID beck:changes 9-9",     "MSET a 1 beck:changes 2",
        "COPY k beck:changes",         "HSET beck:changes f v",
        "SET beck:changes:x 1",        "XACKDEL beck:changes g IDS 1 1-1",
        "LPUSH beck:changes a",        "XGROUP CREATE beck:changes:no g 0 MKSTREAM",
    };
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET k 1");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (strstr(rig_say(r, "%s", refused[i]), "is a name of the stream of changes") == NULL)
            fail_msg("%s: %s", refused[i], r->text);
    says(r, "*1\r\n$1\r\nk\r\n", "KEYS *");
    says(r, ":1\r\n", "DBSIZE");
    has(r, "$1\r\nk\r\n", "SCAN 0");
    says(r, "$1\r\nk\r\n", "RANDOMKEY");
    says(r, OKAY, "FLUSHALL");
    says(r, "$-1\r\n", "RANDOMKEY");
    READS(r, "set k string; flush  none", "XRANGE beck:changes - +");
    has(r, "-WRONGTYPE", "GET beck:changes");
    assert_int_equal(config_set(&r->config, slice_str("changes-key"), slice_str(""), NULL), OK);
    engine_config_changed(&r->e, "changes-key");
    says(r, ":0\r\n", "XLEN beck:changes");
    says(r, OKAY, "SET beck:changes 1");
    assert_int_equal(config_set(&r->config, slice_str("changes-key"), slice_str("what:is"), NULL),
                     OK);
    engine_config_changed(&r->e, "changes-key");
    READS(r, "set k string; flush  none; set beck:changes string", "XRANGE what:is - +");
    rig_free(r);
}

static void what_changes_nothing_is_not_shown(void **state)
{
    static const struct slice key = { (const uint8_t *)"k", 1 };
    const struct change image = {
        .op = CHANGE_IMAGE, .key = key, .type = OBJECT_STRING, .value = key
    };
    const struct change set = { .op = CHANGE_SET, .key = key, .type = OBJECT_STRING, .value = key };
    struct view_filter *all;
    uint8_t bytes[64];

    (void)state;
    assert_int_equal(view_filter_new(0, slice_of("", 0), false, &all, NULL), OK);
    change_put(bytes, (struct id){ 1, 1024 }, &image);
    assert_false(view_shows(all, bytes + 1)); /* it is made to take a value out of memory */
    change_put(bytes, (struct id){ 1, 1025 }, &set);
    assert_true(view_shows(all, bytes + 1));
    view_filter_unref(all);
}

/* ---- who waits ---- */

static void a_reader_that_waits_gets_each_change(void **state)
{
    struct rig *r = rig_begin();
    struct client waits;

    (void)state;
    rig_join(r, &waits);
    for (int i = 0; i < 5; i++) {
        rig_tell(r, &waits, "XREAD BLOCK 0 STREAMS beck:changes $");
        hears(r, &waits, "");
        says(r, i == 0 ? ":1\r\n" : ":0\r\n", "HSET h f %d", i);
        assert_non_null(strstr(rig_hear(r, &waits), "$3\r\nset\r\n$3\r\nkey\r\n$1\r\nh\r\n"));
    }
    rig_tell(r, &waits, "XREAD BLOCK 0 STREAMS beck:changes $");
    says(r, OKAY, "SELECT 3");
    says(r, OKAY, "SET elsewhere 1"); /* of another database */
    hears(r, &waits, "");
    says(r, OKAY, "SELECT 0");
    says(r, OKAY, "SET k 1 PX 5");
    assert_non_null(strstr(rig_hear(r, &waits), "$3\r\nset\r\n"));
    rig_tell(r, &waits, "XREAD BLOCK 0 STREAMS beck:changes $");
    rig_pass(r, 5000); /* it expires by itself */
    assert_non_null(strstr(rig_hear(r, &waits), "$6\r\nexpire\r\n"));
    rig_leave(r, &waits);
    rig_free(r);
}

static void who_reads_it_waits_for_what_the_changes_wait_for(void **state)
{
    struct rig *r = rig_begin();
    const struct stream *st = r->e.state.history->views[0]->st;

    (void)state;
    says(r, OKAY, "SET a 1");
    assert_int_equal(object_always_lsn(&st->object), 0);
    r->config.cache_durability = LOG_ALWAYS;
    says(r, OKAY, "SET a 2");
    assert_int_equal(object_always_lsn(&st->object), 1025);
    rig_free(r);
}

static void the_changes_of_a_transaction_adjoin(void **state)
{
    struct rig *r = rig_begin();
    struct client waits;

    (void)state;
    rig_join(r, &waits);
    rig_tell(r, &waits, "XREAD BLOCK 0 STREAMS beck:changes $");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "SET a 1");
    says(r, "+QUEUED\r\n", "XADD s 1-1 f v");
    says(r, "+QUEUED\r\n", "SET b 2");
    assert_int_equal(rig_say(r, "EXEC")[0], '*');
    snprintf(r->text, sizeof r->text, "%s", "");
    assert_non_null(strstr(rig_hear(r, &waits), "*2\r\n*2\r\n")); /* both at once */
    READS(r, "set a string; set b string", "XRANGE beck:changes - +");
    rig_leave(r, &waits);
    rig_free(r);
}

/* ---- groups ---- */

static void groups_read_it_and_are_there_after_a_start(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET a 1");
    says(r, OKAY, "XGROUP CREATE beck:changes g 0");
    says(r, OKAY, "SET b 1");
    READS(r, "set a string", "XREADGROUP GROUP g c COUNT 1 STREAMS beck:changes >");
    has(r, "$3\r\nlag\r\n:1\r\n", "XINFO GROUPS beck:changes");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_pending(r, "beck:changes", "g"), 1);
        READS(r, "set a string", "XREADGROUP GROUP g c STREAMS beck:changes 0");
        rig_restart(r, i == 1);
        if (i == 0)
            rig_seal(r); /* and a checkpoint */
    }
    READS(r, "set a string", "XAUTOCLAIM beck:changes g d 0 0");
    READS(r, "set b string", "XREADGROUP GROUP g c STREAMS beck:changes >");
    says(r, NOTHING, "XREADGROUP GROUP g c STREAMS beck:changes >");
    says(r, ":1\r\n", "XACK beck:changes g 1700000000000-1024");
    assert_int_equal(rig_pending(r, "beck:changes", "g"), 1);
    says(r, OKAY, "FLUSHALL");
    READS(r, "flush  none", "XREADGROUP GROUP g c STREAMS beck:changes >");
    says(r, ":1\r\n", "XGROUP DESTROY beck:changes g");
    has(r, "-NOGROUP", "XREADGROUP GROUP g c STREAMS beck:changes >");
    rig_free(r);
}

/* ---- views ---- */

static void set_views(struct rig *r, const char *views)
{
    assert_int_equal(config_set(&r->config, slice_str("changes-view"), slice_str(views), NULL), OK);
    if (r->running)
        engine_config_changed(&r->e, "changes-view");
}

static void a_view_shows_the_keys_of_its_prefix_from_when_it_was_made(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET u:0 before");
    set_views(r, "users u: VALUES yes all \"\"");
    rig_settle(r);
    says(r, ":0\r\n", "XLEN beck:changes:users");
    says(r, OKAY, "SET u:1 x EX 100");
    says(r, OKAY, "SET v:1 x");
    says(r, OKAY, "RENAME v:1 u:2");
    says(r, OKAY, "RENAME u:1 v:2");
    says(r, OKAY, "FLUSHDB");
    for (int i = 0; i < 3; i++) {
        READS(r, "set u:1 string; rename v:1 string; rename u:1 string; flush  none",
              "XRANGE beck:changes:users - +");
        has(r, "$5\r\nvalue\r\n$1\r\nx\r\n$7\r\nexpires\r\n$13\r\n1700000100000\r\n",
            "XRANGE beck:changes:users - +");
        says(r, ":5\r\n", "XLEN beck:changes:all");
        says(r, ":6\r\n", "XLEN beck:changes");
        if (i == 1)
            rig_seal(r);
        rig_restart(r, i == 0);
    }
    set_views(r, "all \"\"");
    rig_settle(r);
    says(r, ":0\r\n", "XLEN beck:changes:users");
    says(r, ":5\r\n", "XLEN beck:changes:all");
    rig_restart(r, true);
    says(r, ":0\r\n", "XLEN beck:changes:users");
    says(r, ":5\r\n", "XLEN beck:changes:all");
    rig_free(r);
}

static void values_say_what_was_set_and_what_was_removed(void **state)
{
    static const struct {
        const char *command, *has;
    } cases[] = {
        { "HSET h f v", "$5\r\nfield\r\n$1\r\nf\r\n$5\r\nvalue\r\n$1\r\nv\r\n" },
        { "HSET h g w", "$5\r\nfield\r\n$1\r\ng\r\n$5\r\nvalue\r\n$1\r\nw\r\n" },
        { "HDEL h f", "$7\r\nremoved\r\n$1\r\nf\r\n" },
        { "RPUSH l a", "$5\r\nvalue\r\n$1\r\na\r\n" },
        { "RPUSH l b", "$8\r\nposition\r\n" },
        { "LPOP l", "$7\r\nremoved\r\n" },
        { "EXPIRE l 100", "$7\r\nexpires\r\n$13\r\n1700000100000\r\n" },
        { "PERSIST l", "$7\r\nexpires\r\n$1\r\n0\r\n" },
        { "HPEXPIREAT h 1800000000000 FIELDS 1 g",
          "$5\r\nfield\r\n$1\r\ng\r\n$7\r\nexpires\r\n$13\r\n1800000000000\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    set_views(r, "v \"\" VALUES yes");
    rig_settle(r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rig_say(r, "%s", cases[i].command);
        if (strstr(rig_say(r, "XREVRANGE beck:changes:v + - COUNT 1"), cases[i].has) == NULL)
            fail_msg("%s: %s", cases[i].command, r->text);
    }
    rig_free(r);
}

/* ---- the floor ---- */

enum { BIG = 16 << 10, BIGS = 70 /* a MiB and a little */ };

static void set_big(struct rig *r, const char *key)
{
    static char value[BIG + 1];

    memset(value, 'x', BIG);
    says(r, OKAY, "SET %s %s", key, value);
}

static void set_bigs(struct rig *r, const char *key, int n)
{
    for (int i = 0; i < n; i++)
        set_big(r, key);
}

static void the_floor_moves_and_readers_from_below_are_told(void **state)
{
    struct rig *r = rig_begin();
    uint64_t n;
    char want[128], text[ID_TEXT_MAX];

    (void)state;
    r->config.cache_history_bytes = 1 << 20;
    says(r, OKAY, "SET rare 1");
    says(r, OKAY, "XGROUP CREATE beck:changes g 0");
    READS(r, "set rare string", "XREADGROUP GROUP g c COUNT 1 STREAMS beck:changes >");
    set_views(r, "rare rare");
    rig_settle(r);
    says(r, OKAY, "SET rare 2");
    set_bigs(r, "big", 3 * BIGS);
    rig_pass(r, 2000);
    assert_int_not_equal(history_floor(r->e.state.history).seq, 0);
    n = rig_len(r, "beck:changes");
    assert_true(n < 2 * BIGS && n > 0);
    snprintf(want, sizeof want, "-ERR BEHIND %.*s\r\n",
             (int)id_format(history_floor(r->e.state.history), text), text);
    for (int i = 0; i < 3; i++) {
        says(r, want, "XREAD STREAMS beck:changes 1700000000000-1024");
        says(r, want, "XRANGE beck:changes 1700000000000-1024 +");
        says(r, want, "XREVRANGE beck:changes + 1");
        assert_int_equal(rig_say(r, "XRANGE beck:changes - + COUNT 1")[0], '*');
        assert_int_equal(rig_say(r, "XREAD COUNT 1 STREAMS beck:changes 0")[0], '*');
        assert_int_equal(rig_say(r, "XRANGE beck:changes %.*s + COUNT 1",
                                 (int)strcspn(want + strlen("-ERR BEHIND "), "\r"),
                                 want + strlen("-ERR BEHIND "))[0],
                         '*');
        assert_int_equal(rig_len(r, "beck:changes"), n);
        says(r, ":0\r\n", "XLEN beck:changes:rare");
        /* what it has lost is known exactly: who has seen that has missed nothing */
        says(r, NOTHING, "XREAD STREAMS beck:changes:rare %" PRIu64 "-%" PRIu64,
             r->e.state.history->views[0]->next->last.ms,
             r->e.state.history->views[0]->next->last.seq);
        assert_null(changes_check(&r->e.state));
        if (i == 0)
            assert_true(rig_group(r, "nothing", "g") == NULL);
        if (i == 1)
            rig_seal(r);
        rig_restart(r, i == 0);
    }
    has(r, "$1\r\n2\r\n", "GET rare"); /* what lives has not gone with the history */
    rig_free(r);
}

static void a_group_that_is_behind_goes_on_from_the_floor(void **state)
{
    struct rig *r = rig_begin();
    struct group *g;
    uint64_t n;
    char want[64];

    (void)state;
    r->config.cache_history_bytes = 1;
    says(r, OKAY, "XGROUP CREATE beck:changes g 0");
    set_bigs(r, "a", 10);
    assert_int_equal(rig_say(r, "XREADGROUP GROUP g c COUNT 4 STREAMS beck:changes >")[0], '*');
    set_bigs(r, "b", 3 * BIGS);
    rig_pass(r, 2000);
    n = rig_len(r, "beck:changes");
    g = groups_find(stream_groups(r->e.state.history->views[0]->st), slice_str("g"));
    assert_int_equal(g->n_lost, 10 + 3 * BIGS - 4 - n);
    assert_int_equal(g->n_behind, 0);
    snprintf(want, sizeof want, "$3\r\nlag\r\n:%" PRIu64 "\r\n", n);
    has(r, want, "XINFO GROUPS beck:changes");
    snprintf(want, sizeof want, "$4\r\nlost\r\n:%" PRIu64 "\r\n", g->n_lost);
    has(r, want, "BECK GROUP beck:changes g");
    READS(r, "set b string", "XREADGROUP GROUP g c COUNT 1 STREAMS beck:changes >");
    has(r, "*-1\r\n", "XREADGROUP GROUP g c STREAMS beck:changes 0"); /* gone, and pending */
    assert_null(changes_check(&r->e.state));
    rig_free(r);
}

/* ---- all readers see all of it ---- */

enum { MODEL_DBS = 3, MODEL_MAX = 4000, MODEL_LINE = 96, MODEL_PAGE = 40 };

struct model { /* what was shown of each database's changes, right after they were made */
    struct rig *r;
    struct random rng;
    char lines[MODEL_DBS][MODEL_MAX][MODEL_LINE]; /* "set k string 1030" */
    size_t n[MODEL_DBS], read[MODEL_DBS];         /* read: by the group */
    bool repeats[MODEL_DBS]; /* the power was cut: what was delivered last may come again */
    int db;
};

/* The entries of a reply as lines; how many. */
static size_t model_parse(const char *at, char (*out)[MODEL_LINE], size_t max)
{
    size_t n = 0;

    while ((at = strstr(at, "$2\r\nop\r\n")) != NULL && n < max) {
        struct slice w[8];

        for (size_t i = 0; i < 8; i++)
            w[i] = bulk(&at);
        snprintf(out[n++], MODEL_LINE, "%.*s %.*s %.*s %.*s", (int)w[1].n, (const char *)w[1].p,
                 (int)w[3].n, (const char *)w[3].p, (int)w[5].n, (const char *)w[5].p, (int)w[7].n,
                 (const char *)w[7].p);
    }
    return n;
}

static uint64_t model_rev(const char *line)
{
    return strtoull(strrchr(line, ' '), NULL, 10);
}

static void model_select(struct model *m, int db)
{
    if (db != m->db)
        says(m->r, OKAY, "SELECT %d", db);
    m->db = db;
}

/* The last change of that database is a new one, and this. */
static void model_expect(struct model *m, int db, const char *op, const char *key, const char *type)
{
    int was = m->db;
    char(*line)[MODEL_LINE] = &m->lines[db][m->n[db]];
    char want[MODEL_LINE];

    model_select(m, db);
    assert_int_equal(model_parse(rig_say(m->r, "XREVRANGE beck:changes + - COUNT 1"), line, 1), 1);
    snprintf(want, sizeof want, "%s %s %s %" PRIu64, op, key, type, model_rev(*line));
    assert_string_equal(*line, want);
    if (m->n[db] > 0)
        assert_true(model_rev(*line) > model_rev(line[-1]));
    assert_true(++m->n[db] < MODEL_MAX);
    model_select(m, was);
}

static void model_change(struct model *m)
{
    char key[8], value[2048];
    size_t n = random_below(&m->rng, sizeof value - 1);

    snprintf(key, sizeof key, "k%zu", random_below(&m->rng, 6));
    memset(value, 'a' + (int)random_below(&m->rng, 26), n);
    value[n] = '\0';
    model_select(m, (int)random_below(&m->rng, MODEL_DBS));
    switch (random_below(&m->rng, 8)) {
    case 0:
        if (rig_say(m->r, "DEL %s", key)[1] == '1')
            model_expect(m, m->db, "del", key, "none");
        break;
    case 1:
        if (rig_say(m->r, "EXPIRE %s 1000", key)[1] == '1')
            model_expect(m, m->db, "set", key, "string");
        break;
    case 2:
        if (rig_say(m->r, "RENAME %s other", key)[0] == '+') {
            model_expect(m, m->db, "rename", key, "string");
            says(m->r, ":1\r\n", "DEL other");
            model_expect(m, m->db, "del", "other", "none");
        }
        break;
    case 3:
        if (random_below(&m->rng, 20) > 0)
            break;
        says(m->r, OKAY, "SWAPDB 0 1");
        model_expect(m, 0, "swap", "", "none");
        model_expect(m, 1, "swap", "", "none");
        break;
    case 4:
        if (random_below(&m->rng, 20) > 0)
            break;
        says(m->r, OKAY, "FLUSHDB");
        model_expect(m, m->db, "flush", "", "none");
        break;
    default:
        says(m->r, OKAY, "SET %s x%s", key, value);
        model_expect(m, m->db, "set", key, "string");
    }
}

/* Where the model's lines begin that are still shown. */
static size_t model_first(struct model *m, int db)
{
    model_select(m, db);
    return m->n[db] - (size_t)rig_len(m->r, "beck:changes");
}

/* Reads all of it, from the floor or from somewhere, in pages of any size, forwards or backwards. */
static void model_read(struct model *m, int db)
{
    static char lines[MODEL_MAX][MODEL_LINE];
    size_t first = model_first(m, db), n, page;
    char from[64] = "0";

    if (first < m->n[db] && random_below(&m->rng, 2) > 0) {
        size_t at = first + random_below(&m->rng, m->n[db] - first);
        snprintf(from, sizeof from, "1700000000000-%" PRIu64, model_rev(m->lines[db][at]));
        first = at + 1;
    }
    do {
        page = 1 + random_below(&m->rng, MODEL_PAGE);
        n = model_parse(rig_say(m->r, "XREAD COUNT %zu STREAMS beck:changes %s", page, from), lines,
                        page);
        for (size_t i = 0; i < n; i++)
            assert_string_equal(lines[i], m->lines[db][first + i]);
        first += n;
        if (n > 0)
            snprintf(from, sizeof from, "1700000000000-%" PRIu64, model_rev(lines[n - 1]));
    } while (n > 0);
    assert_int_equal(first, m->n[db]);
    n = model_parse(rig_say(m->r, "XREVRANGE beck:changes + - COUNT %zu", page), lines, page);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(lines[i], m->lines[db][m->n[db] - 1 - i]);
}

/* The group gets each change once: those that were gone before are the floor's. */
static void model_read_group(struct model *m, int db)
{
    static char lines[MODEL_PAGE][MODEL_LINE];
    size_t first = model_first(m, db), n;

    if (m->read[db] < first)
        m->read[db] = first;
    n = model_parse(
        rig_say(m->r, "XREADGROUP GROUP g c COUNT %d NOACK STREAMS beck:changes >", MODEL_PAGE),
        lines, MODEL_PAGE);
    while (m->repeats[db] && n > 0 && m->read[db] > first &&
           strcmp(lines[0], m->lines[db][m->read[db]]) != 0)
        m->read[db]--;
    m->repeats[db] &= n == 0;
    for (size_t i = 0; i < n; i++)
        assert_string_equal(lines[i], m->lines[db][m->read[db] + i]);
    m->read[db] += n;
    assert_true(n == MODEL_PAGE || m->read[db] == m->n[db]);
}

/* Ends in good order, or at once, or with the power; what was acknowledged is there. */
static void model_die(struct model *m)
{
    bool cut = random_below(&m->rng, 2) > 0;

    if (cut)
        rig_kill(m->r, (enum simio_mode)random_below(&m->rng, SIMIO_N_MODES));
    else
        rig_stop(m->r);
    for (int db = 0; db < MODEL_DBS; db++)
        m->repeats[db] |= cut;
    rig_start(m->r);
    rig_settle(m->r);
    m->db = 0;
}

static void model_disturb(struct model *m)
{
    struct rig *r = m->r;

    switch (random_below(&m->rng, 6)) {
    case 0: rig_seal(r); break;
    case 1: assert_int_equal(rig_say(r, "BECK MERGE")[0], '*'); break;
    case 2: model_die(m); break;
    default: rig_round(r);
    }
    assert_null(state_check(&r->e.state));
    assert_null(changes_check(&r->e.state));
}

static void every_reader_sees_every_change_once_whatever_happens_meanwhile(void **state)
{
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    assert_non_null(m);
    m->rng = random_seeded("every_reader_sees_every_change_once");
    m->r = rig_new(1);
    m->r->config.cache_history_bytes = 1;
    m->r->config.cache_durability = LOG_ALWAYS;
    m->r->config.stream_durability = LOG_ALWAYS;
    rig_start(m->r);
    for (int db = 0; db < MODEL_DBS; db++) {
        model_select(m, db);
        says(m->r, OKAY, "XGROUP CREATE beck:changes g 0");
    }
    for (size_t i = random_rounds(4000); i > 0; i--) {
        model_change(m);
        if (random_below(&m->rng, 40) == 0)
            model_disturb(m);
        if (random_below(&m->rng, 40) == 0)
            model_read(m, (int)random_below(&m->rng, MODEL_DBS));
        if (random_below(&m->rng, 20) == 0)
            model_read_group(m, (int)random_below(&m->rng, MODEL_DBS));
    }
    for (int db = 0; db < MODEL_DBS; db++)
        model_read(m, db);
    rig_free(m->r);
    free(m);
}

/* ---- checkpoints ---- */

static const uint8_t HASH_KEY[16] = "one of the keys";

static void world_init(struct state *s)
{
    state_init(s, HASH_KEY);
    assert_int_equal(changes_open(s, slice_str("beck:changes"), NULL), OK);
}

static void world_fini(struct state *s)
{
    changes_close(s);
    state_fini(s);
}

/* A view, and changes enough for some marks. */
static void world_fill(struct state *s)
{
    static uint8_t bytes[BIG + 256], value[BIG];
    static const uint8_t view[] =
        "\x01\x00\x04some\x01\x01k"; /* made, db 0, with values, by prefix */
    const struct log_record r = {
        .lsn = 1024, .type = RECORD_VIEW, .body = view, .len = sizeof view - 1
    };

    assert_int_equal(changes_replay_view(s, &r, NULL), OK);
    for (uint64_t lsn = 1025; lsn < 1025 + 4 * BIGS; lsn++) {
        const struct change x = { .op = CHANGE_SET,
                                  .db = (int)(lsn % 2),
                                  .key = slice_str(lsn % 3 == 0 ? "k" : "other"),
                                  .type = OBJECT_STRING,
                                  .value = { value, sizeof value } };
        const struct id id = { lsn / 10, lsn };

        change_put(bytes, id, &x);
        changes_added(s, id, bytes + 1, change_size(id, &x) - 1);
    }
    changes_replayed(s);
    assert_null(changes_check(s));
}

static void any_changed_byte_of_a_saved_history_is_refused_or_gives_a_whole_one(void **state)
{
    struct random rng = random_seeded("any_changed_byte_of_a_saved_history");
    struct state s, again;
    size_t n, n_loaded = 0;
    uint8_t *saved;

    (void)state;
    world_init(&s);
    world_fill(&s);
    assert_true(s.history->n_marks >= 4);
    saved = malloc(changes_save_max(&s));
    n = (size_t)(changes_save(&s, saved) - saved);
    assert_true(n <= changes_save_max(&s));
    for (size_t i = 0; i <= 2 * n;
         i++) { /* the first time nothing is changed; then cut short; then changed */
        size_t at = i > n ? i - n - 1 : 0, end = i > 0 && i <= n ? i - 1 : n;
        const uint8_t *p = saved;
        uint8_t was = saved[at];
        int rc;

        if (i > n)
            saved[at] = (uint8_t)random_u64(&rng);
        world_init(&again);
        rc = changes_load(&again, 5000, &p, saved + end, NULL);
        if (rc == OK) {
            changes_replayed(&again);
            assert_null(changes_check(&again));
            n_loaded++;
        } else {
            assert_int_equal(rc, ERR_CORRUPT);
        }
        assert_true(i > 0 || (rc == OK && p == saved + n));
        if (i == 0) {
            assert_int_equal(again.history->views[0]->next->n, s.history->views[0]->next->n);
            assert_int_equal(again.history->views[1]->st->n_entries,
                             s.history->views[1]->st->n_entries);
        }
        saved[at] = was;
        world_fini(&again);
    }
    assert_in_range(n_loaded, 1, n);
    free(saved);
    world_fini(&s);
}

/* ---- replies by workers ---- */

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;

    while ((text = strstr(text, what)) != NULL) {
        text += strlen(what);
        n++;
    }
    return n;
}

static void long_replies_are_made_by_workers_from_segments_and_the_tail(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 0; i < 3000; i++) {
        says(r, OKAY, "SELECT %d", i % 2);
        says(r, OKAY, "SET k%d %d", i, i);
        if (i == 2000)
            rig_seal(r);
    }
    says(r, OKAY, "SELECT 0");
    log_set_cache_bytes(r->log, 0);
    rig_say(r, "XRANGE beck:changes - +");
    assert_int_equal(strncmp(r->text, "*1500\r\n", 7), 0);
    assert_int_equal(count_of(r->text, "$2\r\nop\r\n"), 1500);
    rig_say(r, "XREVRANGE beck:changes + -");
    assert_int_equal(strncmp(r->text, "*1500\r\n", 7), 0);
    assert_int_equal(count_of(r->text, "$2\r\nop\r\n"), 1500);
    rig_say(r, "XREAD COUNT 1200 STREAMS beck:changes 0");
    assert_int_equal(count_of(r->text, "$2\r\nop\r\n"), 1200);
    rig_say(r, "XREAD MAXSIZE 5000 STREAMS beck:changes 0");
    assert_in_range(count_of(r->text, "$2\r\nop\r\n"), 20, 60);
    rig_free(r);
}

static void a_rare_view_is_read_from_far_back(void **state)
{
    struct rig *r = rig_new(1);
    size_t n;

    (void)state;
    set_views(r, "rare rare:");
    rig_start(r);
    rig_settle(r);
    says(r, OKAY, "XGROUP CREATE beck:changes:rare g 0");
    for (int i = 0; i < 4; i++) {
        says(r, OKAY, "SET rare:%d 1", i);
        set_bigs(r, "big", BIGS);
        if (i < 3)
            rig_seal(r);
    }
    for (int i = 0; i < 2; i++) {
        READS(r, "set rare:0 string; set rare:1 string; set rare:2 string; set rare:3 string",
              "XRANGE beck:changes:rare - +");
        READS(r, "set rare:3 string; set rare:2 string", "XREVRANGE beck:changes:rare + - COUNT 2");
        READS(r, "set rare:0 string; set rare:1 string",
              "XREAD COUNT 2 STREAMS beck:changes:rare 0");
        log_set_cache_bytes(r->log, 0);
    }
    for (n = 0; n < 4;) /* what is cold may come later */
        n += count_of(rig_say(r, "XREADGROUP GROUP g c STREAMS beck:changes:rare >"),
                      "$2\r\nop\r\n");
    assert_int_equal(n, 4);
    has(r, "$3\r\nlag\r\n:0\r\n", "XINFO GROUPS beck:changes:rare");
    says(r, OKAY, "XGROUP CREATE beck:changes:rare h $");
    says(r, OKAY, "XGROUP SETID beck:changes:rare h 0");
    has(r, "$3\r\nlag\r\n:4\r\n", "XINFO GROUPS beck:changes:rare");
    rig_free(r);
}

/* ---- KEYHIST and GETAT ---- */

static void what_happened_to_a_key_is_told_the_newest_first(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "*0\r\n", "KEYHIST k");
    says(r, OKAY, "SET k one");
    says(r, OKAY, "SET other one");
    says(r, OKAY, "SET k two EX 100");
    says(r, OKAY, "RENAME k l");
    says(r, ":1\r\n", "HSET k f v");
    for (int i = 0; i < 3; i++) {
        says(r,
             "*2\r\n*9\r\n:1028\r\n:1700000000000\r\n$3\r\nset\r\n$5\r\nwhole\r\n$3\r\nyes\r\n"
             "$5\r\nfield\r\n$1\r\nf\r\n$5\r\nvalue\r\n$1\r\nv\r\n"
             "*5\r\n:1027\r\n:1700000000000\r\n$6\r\nrename\r\n$2\r\nto\r\n$1\r\nl\r\n",
             "KEYHIST k COUNT 2");
        has(r, "*6\r\n:1026\r\n:1700000000000\r\n$3\r\nset\r\n$3\r\ntwo\r\n$7\r\nexpires\r\n",
            "KEYHIST k");
        has(r, "*4\r\n:1024\r\n:1700000000000\r\n$3\r\nset\r\n$3\r\none\r\n", "KEYHIST k");
        says(r, "*1\r\n*5\r\n:1027\r\n:1700000000000\r\n$6\r\nrename\r\n$4\r\nfrom\r\n$1\r\nk\r\n",
             "KEYHIST l");
        if (i == 1)
            rig_seal(r);
        rig_restart(r, i == 0);
    }
    has(r, "-ERR syntax error", "KEYHIST k COUNT");
    has(r, "-ERR COUNT must be a positive integer", "KEYHIST k COUNT 0");
    rig_free(r);
}

static void what_a_key_was_is_told_as_of_a_revision_or_a_time(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET k one"); /* 1024 */
    says(r, OKAY, "SET k two"); /* 1025 */
    rig_pass(r, 1000);
    says(r, OKAY, "RENAME k l");  /* 1026 */
    says(r, OKAY, "SET l three"); /* 1027 */
    says(r, ":1\r\n", "DEL l");   /* 1028 */
    rig_pass(r, 1000);
    says(r, ":1\r\n", "HSET l f v"); /* 1029 */
    says(r, ":1\r\n", "HSET l g v"); /* 1030 */
    says(r, OKAY, "SWAPDB 0 1");     /* 1031 */
    for (int i = 0; i < 3; i++) {
        says(r, "*2\r\n$3\r\none\r\n:1024\r\n", "GETAT k REV 1024");
        says(r, "*2\r\n$3\r\ntwo\r\n:1025\r\n", "GETAT k REV 1025");
        says(r, "*2\r\n$3\r\ntwo\r\n:1025\r\n", "GETAT k TIME 1700000000999");
        says(r, "$-1\r\n", "GETAT k REV 1026");
        says(r, "$-1\r\n", "GETAT k REV 2000");
        says(r, "*2\r\n$3\r\ntwo\r\n:1026\r\n", "GETAT l REV 1026");
        says(r, "*2\r\n$5\r\nthree\r\n:1027\r\n", "GETAT l REV 1027");
        says(r, "$-1\r\n", "GETAT l TIME 1700000001000");
        says(r, "*2\r\n$-1\r\n:1029\r\n", "GETAT l REV 1029");
        says(r, "*2\r\n$-1\r\n:1030\r\n", "GETAT l REV 1030");
        says(r, "$-1\r\n", "GETAT k REV 1");
        if (i == 1)
            rig_seal(r);
        rig_restart(r, i == 0);
    }
    says(r, OKAY, "SELECT 1");
    says(r, "*2\r\n$-1\r\n:1030\r\n", "GETAT l REV 1031"); /* swapped since */
    has(r, "-ERR syntax error", "GETAT l AT 5");
    has(r, "-ERR the moment is a revision", "GETAT l REV x");
    rig_free(r);
}

static void a_long_string_is_put_together_from_what_was_patched(void **state)
{
    struct rig *r = rig_begin();
    uint64_t rev;

    (void)state;
    set_big(r, "s");
    assert_int_equal(rig_say(r, "APPEND s -first")[0], ':');
    rev = log_last_lsn(r->log);
    assert_int_equal(rig_say(r, "APPEND s -second")[0], ':');
    assert_int_equal(rig_say(r, "SETRANGE s 0 begin")[0], ':');
    rig_say(r, "GETAT s REV %" PRIu64, rev);
    assert_non_null(strstr(r->text, "xx-first\r\n"));
    assert_int_equal(strncmp(r->text, "*2\r\n$16390\r\nxxx", 15), 0);
    rig_say(r, "GETAT s REV %" PRIu64, rev + 1);
    assert_non_null(strstr(r->text, "xx-first-second\r\n"));
    has(r, "$6\r\noffset\r\n$5\r\n16384\r\n$5\r\nvalue\r\n$6\r\n-first\r\n", "KEYHIST s");
    rig_free(r);
}

static void what_is_older_than_the_history_is_behind(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    r->config.cache_history_bytes = 1;
    says(r, OKAY, "SET old 1");
    says(r, OKAY, "SET k 1");
    set_bigs(r, "big", 3 * BIGS);
    rig_pass(r, 2000);
    says(r, OKAY, "SET k 2");
    has(r, "-ERR BEHIND 1700000000000-", "GETAT k REV 1025");
    has(r, "-ERR BEHIND 1700000000000-", "GETAT k TIME 5");
    has(r, "-ERR BEHIND 1700000000000-", "GETAT k REV %" PRIu64, log_last_lsn(r->log) - 1);
    says(r, "*2\r\n$1\r\n1\r\n:1024\r\n", "GETAT old REV 1024"); /* it still is what it was */
    says(r, "*2\r\n$1\r\n1\r\n:1024\r\n", "GETAT old TIME 1700000002000");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happens_to_keys_is_a_stream),
        cmocka_unit_test(an_entry_has_its_fields_in_order_and_its_revision_in_its_id),
        cmocka_unit_test(it_is_not_among_the_keys_and_cannot_be_written),
        cmocka_unit_test(what_changes_nothing_is_not_shown),
        cmocka_unit_test(a_reader_that_waits_gets_each_change),
        cmocka_unit_test(who_reads_it_waits_for_what_the_changes_wait_for),
        cmocka_unit_test(the_changes_of_a_transaction_adjoin),
        cmocka_unit_test(groups_read_it_and_are_there_after_a_start),
        cmocka_unit_test(a_view_shows_the_keys_of_its_prefix_from_when_it_was_made),
        cmocka_unit_test(values_say_what_was_set_and_what_was_removed),
        cmocka_unit_test(the_floor_moves_and_readers_from_below_are_told),
        cmocka_unit_test(a_group_that_is_behind_goes_on_from_the_floor),
        cmocka_unit_test(every_reader_sees_every_change_once_whatever_happens_meanwhile),
        cmocka_unit_test(any_changed_byte_of_a_saved_history_is_refused_or_gives_a_whole_one),
        cmocka_unit_test(long_replies_are_made_by_workers_from_segments_and_the_tail),
        cmocka_unit_test(a_rare_view_is_read_from_far_back),
        cmocka_unit_test(what_happened_to_a_key_is_told_the_newest_first),
        cmocka_unit_test(what_a_key_was_is_told_as_of_a_revision_or_a_time),
        cmocka_unit_test(a_long_string_is_put_together_from_what_was_patched),
        cmocka_unit_test(what_is_older_than_the_history_is_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
