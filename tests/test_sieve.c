/* test_sieve.c - claims about XTRIM and XADD with DELREF and ACKED: whole engine, simulated disk; and a naive model that does
 * what Redis does in one node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/sieve.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

static struct rig *started(unsigned n)
{
    struct rig *r = rig_begin();

    rig_add(r, "s", n);
    return r;
}

static void read_by(struct rig *r, const char *group)
{
    says(r, OKAY, "XGROUP CREATE s %s 0", group);
    assert_int_equal(rig_say(r, "XREADGROUP GROUP %s c STREAMS s >", group)[0], '*');
}

/* ---- examples ---- */

static void acked_keeps_what_is_referred_to_and_takes_later_ones_instead(void **state)
{
    struct rig *r = started(6);

    (void)state;
    read_by(r, "g");
    says(r, ":4\r\n", "XACK s g 1-1 3-1 4-1 6-1");
    says(r, ":3\r\n", "XTRIM s MAXLEN 3 ACKED");
    has(r, "2-1", "XRANGE s - + COUNT 1");
    says(r, ":0\r\n", "XTRIM s MAXLEN 3 ACKED");
    says(r, ":1\r\n", "XTRIM s ACKED MAXLEN = 1"); /* more stays than was asked for */
    assert_int_equal(rig_len(r, "s"), 2);
    has(r, "max-deleted-entry-id\r\n$3\r\n0-0\r\n", "XINFO STREAM s");
    rig_restart(r, true);
    assert_int_equal(rig_len(r, "s"), 2);
    has(r, "max-deleted-entry-id\r\n$3\r\n0-0\r\n", "XINFO STREAM s");
    rig_free(r);
}

static void acked_by_id_keeps_what_is_referred_to(void **state)
{
    struct rig *r = started(6);

    (void)state;
    read_by(r, "g");
    says(r, ":3\r\n", "XACK s g 1-1 4-1 5-1");
    says(r, ":2\r\n", "XTRIM s MINID 5 ACKED");
    assert_int_equal(rig_len(r, "s"), 4);
    rig_free(r);
}

static void what_a_group_has_not_got_yet_stays(void **state)
{
    struct rig *r = started(4);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 2-1");
    says(r, ":2\r\n", "XTRIM s MAXLEN 0 ACKED");
    says(r, OKAY, "XGROUP SETID s g $");
    says(r, ":2\r\n", "XTRIM s MAXLEN 0 ACKED");
    rig_free(r);
}

static void without_groups_acked_is_a_trim(void **state)
{
    struct rig *r = started(4);

    (void)state;
    says(r, ":3\r\n", "XTRIM s MAXLEN 1 ACKED");
    rig_free(r);
}

static void delref_takes_the_references_of_what_goes(void **state)
{
    struct rig *r = started(4);

    (void)state;
    read_by(r, "g");
    read_by(r, "h");
    says(r, ":1\r\n", "XTRIM s MAXLEN 3");
    has(r, "*4\r\n:4\r\n", "XPENDING s g");
    says(r, ":2\r\n", "XTRIM s MAXLEN 1 DELREF");
    has(r, "*4\r\n:2\r\n", "XPENDING s h"); /* 1-1, which a trim without it has taken, and 4-1 */
    rig_free(r);
}

static void xadd_trims_in_the_same_way(void **state)
{
    struct rig *r = started(4);

    (void)state;
    read_by(r, "g");
    says(r, ":2\r\n", "XACK s g 2-1 3-1");
    says(r, "$3\r\n5-1\r\n", "XADD s ACKED MAXLEN 4 5-1 f v");
    says(r, "$3\r\n6-1\r\n", "XADD s MAXLEN 1 ACKED 6-1 f v");
    assert_int_equal(rig_len(r, "s"), 4);
    says(r, "$3\r\n7-1\r\n", "XADD s DELREF MAXLEN 1 7-1 f v");
    has(r, "*4\r\n:0\r\n", "XPENDING s g");
    says(r, OKAY, "XGROUP SETID s g 9-1");
    says(r, "$3\r\n8-1\r\n",
         "XADD s MAXLEN 0 ACKED 8-1 f v"); /* it goes at once: nobody will get it */
    assert_int_equal(rig_len(r, "s"), 0);
    says(r, OKAY, "XGROUP SETID s g 8-1");
    says(r, "$3\r\n9-1\r\n", "XADD s 9-1 f v");
    has(r, "9-1", "XREADGROUP GROUP g c STREAMS s >");
    says(r, OKAY, "XGROUP SETID s g 99-1");
    says(r, "$4\r\n10-1\r\n", "XADD s MAXLEN 1 ACKED 10-1 f v"); /* instead of one that pends */
    has(r, "*1\r\n*2\r\n$3\r\n9-1", "XRANGE s - +");
    rig_free(r);
}

static void a_node_beyond_the_limit_stays_whole(void **state)
{
    struct rig *r = started(50);

    (void)state;
    says(r, ":0\r\n", "XTRIM s MAXLEN ~ 10 LIMIT 49 DELREF");
    says(r, ":0\r\n", "XTRIM s MAXLEN ~ 10 LIMIT 49 ACKED");
    says(r, ":0\r\n", "XTRIM s MAXLEN ~ 10");
    says(r, ":20\r\n", "XTRIM s MAXLEN ~ 30 LIMIT 50 DELREF");
    says(r, ":20\r\n", "XTRIM s MAXLEN ~ 10 ACKED");
    rig_free(r);
}

static void a_long_stream_is_sifted_a_part_at_a_time(void **state)
{
    struct rig *r = started(0);
    size_t n = 0, calls = 0, one;

    (void)state;
    for (int i = 1; i <= 6000; i++)
        rig_say(r, "XADD s %d-1 f v", i);
    read_by(r, "g");
    for (int i = 2; i <= 6000; i++)
        rig_say(r, "XACK s g %d-1", i);
    rig_seal(r);
    rig_restart(r, true);
    do {
        assert_int_equal(sscanf(rig_say(r, "XTRIM s MAXLEN 0 ACKED"), ":%zu", &one), 1);
        assert_true(one <= SIEVE_IDS_MAX);
        n += one;
        calls++;
    } while (one > 0);
    assert_int_equal(n, 5999);
    assert_true(calls <= 4);
    assert_int_equal(rig_len(r, "s"), 1);
    rig_free(r);
}

/* ---- model ---- */

enum { MODEL_MAX = 90, MODEL_GROUPS = 3, MODEL_IDS = 4000 };

struct model {
    struct rig *r;
    struct random random;
    unsigned ids[MODEL_MAX + 1]; /* of entries: n-1 */
    size_t n;
    unsigned next;
    unsigned last[MODEL_GROUPS];
    bool pends[MODEL_GROUPS][MODEL_IDS];
};

static bool model_refers(const struct model *m, unsigned id)
{
    for (size_t g = 0; g < MODEL_GROUPS; g++)
        if (m->last[g] < id || m->pends[g][id])
            return true;
    return false;
}

static void model_take(struct model *m, size_t i, bool delref)
{
    for (size_t g = 0; delref && g < MODEL_GROUPS; g++)
        m->pends[g][m->ids[i]] = false;
    memmove(m->ids + i, m->ids + i + 1, (--m->n - i) * sizeof m->ids[0]);
}

/* Returns how many went. */
static size_t model_trim(struct model *m, size_t maxlen, unsigned minid, const char *refs)
{
    bool acked = strcmp(refs, "ACKED") == 0, delref = strcmp(refs, "DELREF") == 0;
    size_t gone = 0;

    for (size_t i = 0; i < m->n && m->n > maxlen && m->ids[i] < minid;) {
        if (acked && model_refers(m, m->ids[i])) {
            i++;
            continue;
        }
        model_take(m, i, delref);
        gone++;
    }
    return gone;
}

static const char *model_refs(struct model *m)
{
    static const char *const refs[] = { "ACKED", "ACKED", "DELREF", "KEEPREF" };

    return refs[random_below(&m->random, 4)];
}

static void model_xtrim(struct model *m)
{
    const char *refs = model_refs(m);
    char want[32];

    if (random_below(&m->random, 2) == 0) {
        size_t maxlen = random_below(&m->random, m->n + 2);

        snprintf(want, sizeof want, ":%zu\r\n", model_trim(m, maxlen, UINT32_MAX, refs));
        says(m->r, want, "XTRIM s MAXLEN %zu %s", maxlen, refs);
    } else {
        unsigned minid = (unsigned)random_below(&m->random, m->next + 2);

        snprintf(want, sizeof want, ":%zu\r\n", model_trim(m, 0, minid, refs));
        says(m->r, want, "XTRIM s %s MINID %u", refs, minid);
    }
}

static void model_add(struct model *m)
{
    const char *refs = model_refs(m);
    size_t maxlen = random_below(&m->random, MODEL_MAX);

    if (m->n == MODEL_MAX) /* there is to be one node */
        refs = "KEEPREF";
    m->next += 1 + (unsigned)random_below(&m->random, 3);
    m->ids[m->n++] = m->next;
    model_trim(m, maxlen, UINT32_MAX, refs);
    assert_int_equal(rig_say(m->r, "XADD s %s MAXLEN %zu %u-1 f v", refs, maxlen, m->next)[0], '$');
}

static void model_read(struct model *m)
{
    size_t g = random_below(&m->random, MODEL_GROUPS), count = 1 + random_below(&m->random, 20);

    rig_say(m->r, "XREADGROUP GROUP g%zu c COUNT %zu STREAMS s >", g, count);
    for (size_t i = 0; i < m->n && count > 0; i++) {
        if (m->ids[i] <= m->last[g])
            continue;
        m->last[g] = m->ids[i];
        m->pends[g][m->ids[i]] = true;
        count--;
    }
}

static void model_ack(struct model *m)
{
    size_t g = random_below(&m->random, MODEL_GROUPS);
    unsigned id = m->n > 0 && random_below(&m->random, 4) > 0
                      ? m->ids[random_below(&m->random, m->n)]
                      : 1 + (unsigned)random_below(&m->random, m->next + 1);
    char want[32];

    snprintf(want, sizeof want, ":%d\r\n", m->pends[g][id]);
    says(m->r, want, "XACK s g%zu %u-1", g, id);
    m->pends[g][id] = false;
}

static void model_check(struct model *m)
{
    const char *reply = rig_say(m->r, "XRANGE s - +");
    unsigned n = 0, id;

    assert_int_equal(sscanf(reply, "*%u", &n), 1);
    assert_int_equal(n, m->n);
    for (size_t i = 0; i < m->n; i++) {
        reply = strstr(reply, "*2\r\n$");
        assert_non_null(reply);
        reply = strstr(reply + 5, "\r\n");
        assert_int_equal(sscanf(reply, "\r\n%u-1", &id), 1);
        assert_int_equal(id, m->ids[i]);
        reply = strstr(reply, "*2\r\n$") + 5; /* its fields */
    }
    for (size_t g = 0; g < MODEL_GROUPS; g++) {
        unsigned n_pending = 0;

        for (id = 0; id < MODEL_IDS; id++)
            n_pending += m->pends[g][id];
        assert_int_equal(sscanf(rig_say(m->r, "XPENDING s g%zu", g), "*4\r\n:%u", &n), 1);
        assert_int_equal(n, n_pending);
    }
}

static void trims_do_what_redis_does_in_a_node(void **state)
{
    struct model *m = calloc(1, sizeof *m);
    size_t n_steps = random_rounds(4000);

    (void)state;
    m->random = random_seeded("trims_do_what_redis_does");
    m->r = started(0);
    for (size_t g = 0; g < MODEL_GROUPS; g++)
        says(m->r, OKAY, "XGROUP CREATE s g%zu 0 MKSTREAM", g);
    for (size_t step = 0; step < n_steps && m->next < MODEL_IDS - 10; step++) {
        switch (random_below(&m->random, 20)) {
        case 0: model_xtrim(m); break;
        case 1: rig_seal(m->r); break;
        case 2: rig_restart(m->r, true); break;
        case 3:
        case 4:
        case 5: model_read(m); break;
        case 6:
        case 7:
        case 8:
        case 9:
        case 10:
        case 11: model_ack(m); break;
        default: model_add(m);
        }
        model_check(m);
    }
    rig_free(m->r);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acked_keeps_what_is_referred_to_and_takes_later_ones_instead),
        cmocka_unit_test(acked_by_id_keeps_what_is_referred_to),
        cmocka_unit_test(what_a_group_has_not_got_yet_stays),
        cmocka_unit_test(without_groups_acked_is_a_trim),
        cmocka_unit_test(delref_takes_the_references_of_what_goes),
        cmocka_unit_test(xadd_trims_in_the_same_way),
        cmocka_unit_test(a_node_beyond_the_limit_stays_whole),
        cmocka_unit_test(a_long_stream_is_sifted_a_part_at_a_time),
        cmocka_unit_test(trims_do_what_redis_does_in_a_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
