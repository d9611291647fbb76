/*
 * test_groups.c - the groups of a stream: found by name and by gid, told of what the stream does, asked what they still need.
 *
 * Beside a naive stream, in which each ID is there or not, and naive groups, which have a set of what they hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"

static long memory_left = -1; /* allocations until one fails; -1: none does */

static bool memory_fails(void)
{
    return memory_left >= 0 && memory_left-- == 0;
}

static void *memory_calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : calloc(n, size);
}

static void *memory_realloc(void *p, size_t n)
{
    return memory_fails() ? NULL : realloc(p, n);
}

#define calloc  memory_calloc
#define realloc memory_realloc
#include "groups/groups.c"
#undef calloc
#undef realloc

enum { N_IDS = 120, N_GROUPS = 6, LSN = 100 };

static const uint8_t HASH_KEY[16] = "a hash key 12345";

static struct id nth_id(size_t i)
{
    return (struct id){ 1 + i / 3, i % 3 };
}

static struct group *add_group(struct groups *gs, const char *name, uint64_t gid, struct id last)
{
    struct group *g;

    assert_int_equal(groups_prepare(gs, slice_str(name), &g, NULL), OK);
    group_set_position(g, last, -1, 0);
    groups_add(gs, g, gid);
    assert_null(groups_check(gs));
    return g;
}

static void hold(struct group *g, struct id id)
{
    struct group_change x = { .nacked = true, .count = 1, .ids = &id, .n = 1 };

    assert_int_equal(group_prepare(g, 1, ID_MIN, NULL), OK);
    group_change(g, &x);
}

/* ---- beside a naive one ---- */

struct model {
    struct random *r;
    struct groups *gs;
    struct group *g[N_GROUPS];
    bool live[N_IDS], held[N_GROUPS][N_IDS], gone[N_GROUPS][N_IDS];
    size_t top, n_last[N_GROUPS];
};

static uint64_t model_behind(const struct model *m, size_t k)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->top && i < m->n_last[k]; i++)
        n += m->live[i];
    return n;
}

static bool model_needs(const struct model *m, size_t i)
{
    for (size_t k = 0; k < N_GROUPS; k++)
        if (i >= m->n_last[k] || (m->held[k][i] && !m->gone[k][i]))
            return true;
    return false;
}

static void assert_model(const struct model *m)
{
    size_t i = random_below(m->r, N_IDS), needed = 0;
    bool acked = true;

    assert_null(groups_check(m->gs));
    for (size_t k = 0; k < N_GROUPS; k++) {
        assert_int_equal(m->g[k]->n_behind, model_behind(m, k));
        acked = acked && i < m->n_last[k] && !m->held[k][i];
    }
    assert_int_equal(groups_have_acked(m->gs, nth_id(i)), acked);
    while (needed < N_IDS && !model_needs(m, needed))
        needed++;
    for (i = 0; i < N_IDS; i++) /* no ID is between the two */
        assert_int_equal(id_cmp(nth_id(i), groups_acked_below(m->gs, ID_MIN)) < 0, i < needed);
}

static void model_remove(struct model *m, size_t i)
{
    m->live[i] = false;
    for (size_t k = 0; k < N_GROUPS; k++)
        m->gone[k][i] = m->held[k][i];
}

static void model_move(struct model *m, size_t k)
{
    m->n_last[k] = random_below(m->r, m->top + 6); /* ahead of the stream, too */
    if (m->n_last[k] > N_IDS)
        m->n_last[k] = N_IDS;
    group_set_position(m->g[k], m->n_last[k] == 0 ? ID_MIN : nth_id(m->n_last[k] - 1), -1,
                       model_behind(m, k));
}

static void model_step(struct model *m, uint64_t lsn)
{
    size_t k = random_below(m->r, N_GROUPS), i = random_below(m->r, m->top + 1);
    struct id id = nth_id(i);

    switch (random_below(m->r, 12)) {
    case 0: model_move(m, k); break;
    case 1:
        if (i < m->top && m->live[i]) {
            model_remove(m, i);
            groups_entries_removed(m->gs, &id, 1, lsn);
        }
        break;
    case 2:
        groups_forget(m->gs, &id, 1, lsn);
        for (k = 0; k < N_GROUPS; k++)
            m->held[k][i] = false;
        break;
    case 3:
    case 4:
    case 5:
        if (i < m->top && m->live[i]) {
            hold(m->g[k], id);
            m->held[k][i] = true;
            m->gone[k][i] = false;
        }
        break;
    case 6:
    case 7:
    case 8:
        group_ack(m->g[k], &id, 1);
        m->held[k][i] = false;
        break;
    default:
        if (m->top < N_IDS - 1) {
            m->live[m->top] = true;
            groups_entry_added(m->gs, nth_id(m->top++), lsn);
        }
    }
}

static void model_cut(struct model *m, uint64_t lsn)
{
    size_t first = random_below(m->r, m->top + 1);
    uint64_t n = 0, left = 0;

    for (size_t i = 0; i < m->top; i++) {
        n += i < first && m->live[i];
        left += i >= first && m->live[i];
        if (i < first && m->live[i])
            model_remove(m, i);
    }
    groups_entries_cut(m->gs, nth_id(first), n, left == 0, lsn);
}

static void model_forget_below(struct model *m, uint64_t lsn)
{
    size_t first = random_below(m->r, m->top + 1);

    groups_forget_below(m->gs, nth_id(first), lsn);
    for (size_t k = 0; k < N_GROUPS; k++)
        for (size_t i = 0; i < first; i++)
            m->held[k][i] = m->held[k][i] && m->gone[k][i];
}

static void groups_agree_with_naive_ones(void **state)
{
    struct random r = random_seeded("groups");
    (void)state;

    for (size_t life = 0; life < random_rounds(40); life++) {
        struct model m = { .r = &r };
        char name[] = "group a";
        assert_int_equal(groups_new(HASH_KEY, &m.gs, NULL), OK);
        for (size_t k = 0; k < N_GROUPS; k++, name[6]++)
            m.g[k] = add_group(m.gs, name, LSN + k, ID_MIN);
        for (uint64_t i = 0; i < 600; i++) {
            model_step(&m, 2 * LSN + i);
            if (random_below(&r, 100) == 0)
                model_cut(&m, 2 * LSN + i);
            if (random_below(&r, 100) == 0)
                model_forget_below(&m, 2 * LSN + i);
            assert_model(&m);
        }
        groups_free(m.gs);
    }
}

/* ---- finding ---- */

static void groups_are_found_by_bytes_of_their_name_and_walked_by_gid(void **state)
{
    static const char *const NAMES[] = { "b", "", "abc", "ab", "B" };
    static const char *const SORTED[] = { "", "B", "ab", "abc", "b" };
    struct groups *gs;
    struct group *g;
    uint64_t gid = 0;
    size_t budget;
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    for (size_t i = 0; i < 5; i++) /* not in the order of their gids */
        add_group(gs, NAMES[i], 10 + i * 3 % 5, ID_MIN);
    for (size_t i = 0; i < 5; i++) {
        assert_true(slice_equal(groups_at(gs, i)->name, slice_str(SORTED[i])));
        g = groups_next_gid(gs, gid);
        assert_int_equal(g->gid, 10 + i);
        assert_ptr_equal(groups_by_gid(gs, g->gid), g);
        assert_ptr_equal(groups_find(gs, g->name), g);
        gid = g->gid;
    }
    assert_null(groups_next_gid(gs, gid));
    assert_null(groups_next_gid(gs, UINT64_MAX));
    assert_null(groups_find(gs, slice_of("ab\0", 3)));
    assert_null(groups_by_gid(gs, 15));
    g = groups_find(gs, slice_str("abc"));
    groups_take(gs, g);
    group_free(g);
    assert_null(groups_find(gs, slice_str("abc")));
    assert_int_equal(groups_n(gs), 4);
    assert_null(groups_check(gs));
    for (budget = 1; !groups_free_some(gs, &budget); budget = 1)
        assert_int_equal(budget, 0);
}

static void a_stream_without_groups_needs_nothing(void **state)
{
    (void)state;
    assert_int_equal(groups_n(NULL), 0);
    assert_null(groups_find(NULL, slice_str("g")));
    assert_null(groups_by_gid(NULL, 1));
    assert_null(groups_next_gid(NULL, 0));
    groups_entry_added(NULL, nth_id(1), 1);
    groups_entries_cut(NULL, nth_id(1), 1, true, 1);
    assert_true(groups_have_acked(NULL, nth_id(1)));
    assert_int_equal(id_cmp(groups_acked_below(NULL, ID_MIN), ID_MAX), 0);
    assert_null(groups_check(NULL));
    groups_free(NULL);
}

static void the_16385th_group_is_refused(void **state)
{
    struct groups *gs;
    struct group *g;
    char name[16];
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    for (unsigned i = 1; i <= GROUPS_MAX; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_int_equal(groups_prepare(gs, slice_str(name), &g, NULL), OK);
        groups_add(gs, g, i);
    }
    assert_int_equal(groups_prepare(gs, slice_str("one more"), &g, NULL), ERR_FULL);
    groups_free(gs);
}

/* ---- what the stream does ---- */

static void a_group_of_a_checkpoint_is_told_only_what_is_new_to_it(void **state)
{
    struct groups *gs;
    struct group *old, *young;
    struct id id = nth_id(3);
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    old = add_group(gs, "old", 1, nth_id(50));
    young = add_group(gs, "young", 2, nth_id(50));
    old->as_of = LSN;
    young->as_of = LSN + 1;
    hold(old, id);
    hold(young, id);
    groups_entry_added(gs, nth_id(4), LSN + 1);
    assert_int_equal(old->n_behind, 1);
    assert_int_equal(young->n_behind, 0);
    groups_forget(gs, &id, 1, LSN + 1);
    assert_int_equal(pel_n(old->pel), 0);
    assert_int_equal(pel_n(young->pel), 1);
    groups_forget_below(gs, nth_id(9), LSN + 1);
    groups_entries_removed(gs, &id, 1, LSN + 1);
    assert_int_equal(old->n_behind, 0);
    assert_int_equal(pel_n(young->pel), 1);
    groups_forget_below(gs, nth_id(9), LSN + 2);
    assert_int_equal(pel_n(young->pel), 0);
    groups_free(gs);
}

static void n_behind_never_falls_below_nothing(void **state)
{
    struct groups *gs;
    struct group *g;
    struct id id = nth_id(3);
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    g = add_group(gs, "g", 1, nth_id(50));
    groups_entries_removed(gs, &id, 1, LSN); /* a checkpoint that does not fit its log */
    assert_int_equal(g->n_behind, 0);
    g->n_behind = 5;
    groups_entries_cut(gs, nth_id(10), 6, false, LSN);
    assert_int_equal(g->n_behind, 0);
    groups_free(gs);
}

static void what_is_pending_of_a_stream_that_begins_anew_stays_gone(void **state)
{
    struct groups *gs;
    struct group *g;
    struct pel_entry x;
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    g = add_group(gs, "g", 1, nth_id(50));
    hold(g, nth_id(3));
    groups_entries_cut(gs, nth_id(20), 1, true, LSN);
    groups_begin_anew(gs, LSN + 1);
    hold(g, nth_id(5));
    assert_true(pel_get(g->pel, nth_id(3), &x) && x.gone);
    assert_true(pel_get(g->pel, nth_id(5), &x) && !x.gone);
    groups_free(gs);
}

static void what_is_gone_keeps_nothing_from_leaving(void **state)
{
    struct groups *gs;
    struct group *g;
    (void)state;

    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    g = add_group(gs, "g", 1, nth_id(50));
    hold(g, nth_id(3));
    hold(g, nth_id(30));
    assert_int_equal(id_cmp(groups_acked_below(gs, ID_MIN), nth_id(3)), 0);
    assert_int_equal(id_cmp(groups_acked_below(gs, nth_id(4)), nth_id(30)), 0);
    groups_entries_cut(gs, nth_id(10), 1, false, LSN);
    assert_int_equal(id_cmp(groups_acked_below(gs, ID_MIN), nth_id(30)), 0);
    add_group(gs, "another one", 2, nth_id(19));
    assert_int_equal(id_cmp(groups_acked_below(gs, ID_MIN), nth_id(20)), 0);
    group_set_position(g, ID_MAX, -1, 0);
    assert_int_equal(id_cmp(groups_acked_below(gs, ID_MIN), nth_id(20)), 0);
    groups_free(gs);
}

static void each_allocation_that_fails_is_told_and_changes_nothing(void **state)
{
    struct groups *gs;
    struct group *g;
    (void)state;

    memory_left = 0;
    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), ERR_NOMEM);
    memory_left = -1;
    assert_int_equal(groups_new(HASH_KEY, &gs, NULL), OK);
    for (long nth = 0; nth < 2; nth++) {
        memory_left = nth;
        assert_int_equal(groups_prepare(gs, slice_str("g"), &g, NULL), ERR_NOMEM);
        memory_left = -1;
        assert_null(groups_check(gs));
    }
    add_group(gs, "g", 1, ID_MIN);
    groups_free(gs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_agree_with_naive_ones),
        cmocka_unit_test(groups_are_found_by_bytes_of_their_name_and_walked_by_gid),
        cmocka_unit_test(a_stream_without_groups_needs_nothing),
        cmocka_unit_test(the_16385th_group_is_refused),
        cmocka_unit_test(a_group_of_a_checkpoint_is_told_only_what_is_new_to_it),
        cmocka_unit_test(n_behind_never_falls_below_nothing),
        cmocka_unit_test(what_is_pending_of_a_stream_that_begins_anew_stays_gone),
        cmocka_unit_test(what_is_gone_keeps_nothing_from_leaving),
        cmocka_unit_test(each_allocation_that_fails_is_told_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
