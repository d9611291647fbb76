/*
 * test_group.c - a group beside a naive one: an array that says of each ID what became of it.
 *
 * Which entries are dead is the pel's to say, and test_pel's to judge; here it matters that the keys follow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/memory.h"
#include "tests/lib/random.h"

#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#include "groups/group.c"
#undef malloc
#undef calloc
#undef realloc

enum { N_IDS = 150, N_SLOTS = 5, N_KEYS = 9, SOME = 10 };

static const uint8_t HASH_KEY[16] = "a hash key 12345";

struct entry {
    bool in, nacked, gone;
    uint16_t slot;
    uint32_t key;
    uint64_t time_ms, count;
};

struct model {
    struct random *r;
    struct group *g;
    bool ordered, live[N_IDS];
    size_t top, n_last; /* IDs that were added, that are not above last_id */
    struct entry entries[N_IDS];
    bool consumers[N_SLOTS + 1];
    uint64_t now_ms;
};

static struct id nth_id(size_t i)
{
    return (struct id){ 1000 + i / 4, i % 4 };
}

static uint64_t model_behind(const struct model *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_last; i++)
        n += m->live[i];
    return n;
}

/* ---- being the same ---- */

static void assert_entry(const struct model *m, size_t i, unsigned *holders, unsigned *parked)
{
    const struct entry *want = &m->entries[i];
    struct pel_entry x;

    assert_int_equal(pel_get(m->g->pel, nth_id(i), &x), want->in);
    if (!want->in)
        return;
    assert_int_equal(x.slot, want->slot);
    assert_int_equal(x.time_ms, want->time_ms);
    assert_int_equal(x.count, want->count);
    assert_int_equal(x.key, want->key);
    assert_int_equal(x.nacked, want->nacked);
    assert_int_equal(x.gone, want->gone);
    if (x.slot == PEL_PARKED)
        ++*parked;
    else if (!x.dead)
        holders[x.key]++;
}

static bool model_is_parked(const struct model *m, uint32_t key)
{
    for (size_t i = 0; i < m->top; i++)
        if (m->entries[i].in && m->entries[i].slot == PEL_PARKED && m->entries[i].key == key)
            return true;
    return false;
}

static void assert_next(const struct model *m, const unsigned *holders)
{
    bool seen[N_KEYS] = { false };
    struct id id;
    uint32_t key;
    size_t i;

    for (i = 0; i < m->top; i++) {
        if (!m->entries[i].in || m->entries[i].slot != PEL_PARKED)
            continue;
        if (!seen[m->entries[i].key] && holders[m->entries[i].key] == 0)
            break;
        seen[m->entries[i].key] = true;
    }
    assert_int_equal(order_next(m->g->order, ID_MIN, &id, &key), i < m->top);
    if (i < m->top)
        assert_int_equal(id_cmp(id, nth_id(i)), 0);
}

static void assert_model(const struct model *m)
{
    unsigned holders[N_KEYS] = { 0 }, n_parked = 0;
    const char *bad = group_check(m->g);

    if (bad != NULL)
        fail_msg("%s", bad);
    assert_int_equal(m->g->n_behind, model_behind(m));
    for (size_t i = 0; i < m->top; i++)
        assert_entry(m, i, holders, &n_parked);
    assert_int_equal(pel_n_parked(m->g->pel), n_parked);
    for (uint16_t slot = 1; slot <= N_SLOTS; slot++)
        assert_int_equal(group_consumer_at(m->g, slot) != NULL, m->consumers[slot]);
    if (!m->ordered)
        return;
    assert_int_equal(order_n_parked(m->g->order), n_parked);
    for (uint32_t key = 1; key < N_KEYS; key++)
        assert_int_equal(order_is_busy(m->g->order, key),
                         holders[key] > 0 || model_is_parked(m, key));
    assert_next(m, holders);
}

/* ---- what happens ---- */

static uint32_t model_key(const struct model *m, size_t i)
{
    return m->ordered ? (uint32_t)(i * i % N_KEYS) : 0;
}

static uint16_t model_slot(const struct model *m)
{
    uint16_t slot = (uint16_t)random_below(m->r, N_SLOTS + 1);

    return m->consumers[slot] ? slot : PEL_NOBODY;
}

/* Whether the entry's key is busy, also because of the n IDs that are about to be delivered. */
static bool model_is_taken(const struct model *m, uint32_t key, const uint32_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (keys[i] == key && key != 0)
            return true;
    return m->ordered && order_is_busy(m->g->order, key);
}

static void model_deliver(struct model *m)
{
    struct id ids[SOME], parked[SOME];
    uint32_t keys[SOME], parked_keys[SOME];
    struct group_delivery d = { .slot = model_slot(m),
                                .time_ms = m->now_ms,
                                .entries_read = 7,
                                .ids = ids,
                                .keys = keys,
                                .parked = parked,
                                .parked_keys = parked_keys,
                                .last = m->g->last_id };

    for (; m->n_last < m->top && d.n + d.n_parked < SOME; m->n_last++) {
        size_t i = m->n_last;
        uint32_t key = model_key(m, i);
        if (!m->live[i])
            continue;
        d.last = nth_id(i);
        if (model_is_taken(m, key, keys, d.n)) {
            parked[d.n_parked] = nth_id(i);
            parked_keys[d.n_parked++] = key;
            m->entries[i] = (struct entry){ .in = true, .slot = PEL_PARKED, .key = key };
            continue;
        }
        ids[d.n] = nth_id(i);
        keys[d.n++] = key;
        if (d.slot != PEL_NOBODY)
            m->entries[i] = (struct entry){
                .in = true, .slot = d.slot, .key = key, .time_ms = m->now_ms, .count = 1
            };
    }
    d.n_behind = model_behind(m);
    assert_int_equal(group_prepare(m->g, d.n + d.n_parked, ID_MIN, NULL), OK);
    group_deliver(m->g, &d);
    if (d.slot != PEL_NOBODY)
        assert_int_equal(group_consumer_at(m->g, d.slot)->active_ms, m->now_ms);
}

static void model_change_entry(struct model *m, size_t i, const struct group_change *x)
{
    struct entry *e = &m->entries[i];

    if (!e->in)
        *e = (struct entry){ .in = true };
    if (e->slot == PEL_PARKED)
        e->slot = PEL_NOBODY;
    if (x->slot != PEL_NOBODY)
        e->slot = x->slot;
    e->nacked = x->nacked;
    e->time_ms = x->time_ms;
    e->count = x->count;
    if (x->keys != NULL)
        e->key = x->keys[0];
}

/* One that lives, or is pending or parked, is pending in some way from now on. */
static void model_change(struct model *m)
{
    size_t i = random_below(m->r, m->top + 1);
    struct id id = nth_id(i);
    uint32_t key = 1 + (uint32_t)random_below(m->r, N_KEYS - 1);
    struct group_change x = { .slot = model_slot(m),
                              .time_ms = m->now_ms - random_below(m->r, 50),
                              .count = random_below(m->r, 4),
                              .ids = &id,
                              .n = 1 };

    if (i >= m->top || (!m->live[i] && !m->entries[i].in))
        return;
    x.nacked = x.slot == PEL_NOBODY || random_below(m->r, 3) == 0;
    x.keys = m->ordered && random_below(m->r, 2) == 0 ? &key : NULL;
    assert_int_equal(group_prepare(m->g, 1, ID_MIN, NULL), OK);
    group_change(m->g, &x);
    model_change_entry(m, i, &x);
}

static void model_ack(struct model *m)
{
    struct id ids[SOME];
    size_t n = 0, want = 0;

    for (size_t i = random_below(m->r, m->top + 1); i < m->top && n < SOME; i++) {
        if (random_below(m->r, 2) == 0)
            continue;
        ids[n++] = nth_id(i);
        want += m->entries[i].in;
        m->entries[i].in = false;
    }
    assert_int_equal(group_ack(m->g, ids, n), want);
}

static void model_forget(struct model *m, size_t i)
{
    if (m->entries[i].in && m->entries[i].slot == PEL_PARKED)
        m->entries[i].in = false;
    m->entries[i].gone = true;
    m->live[i] = false;
}

static void model_remove(struct model *m)
{
    struct id ids[SOME];
    size_t n = 0;

    for (size_t i = 0; i < m->top && n < SOME; i++) {
        if (!m->live[i] || random_below(m->r, 20) != 0)
            continue;
        ids[n++] = nth_id(i);
        model_forget(m, i);
    }
    group_entries_removed(m->g, ids, n);
}

static void model_cut(struct model *m)
{
    size_t first = random_below(m->r, m->top + 1);
    uint64_t n = 0, left = 0;

    for (size_t i = 0; i < m->top; i++) {
        if (i < first) {
            n += m->live[i];
            model_forget(m, i);
        }
        left += m->live[i];
    }
    group_entries_cut(m->g, nth_id(first), n, left == 0);
}

static void model_forget_below(struct model *m)
{
    size_t first = random_below(m->r, m->top + 1);

    group_forget_below(m->g, nth_id(first));
    for (size_t i = 0; i < first; i++)
        m->entries[i].in = m->entries[i].in && m->entries[i].gone;
}

static void model_set_position(struct model *m)
{
    m->n_last = random_below(m->r, m->top + 1);
    group_set_position(m->g, m->n_last == 0 ? ID_MIN : nth_id(m->n_last - 1), -1, model_behind(m));
    for (size_t i = 0; i < m->top; i++)
        if (m->entries[i].slot == PEL_PARKED)
            m->entries[i].in = false;
}

static void model_add_consumer(struct model *m)
{
    char name[16];
    struct consumer *c;
    uint16_t slot = 1;

    while (slot <= N_SLOTS && m->consumers[slot])
        slot++;
    if (slot > N_SLOTS)
        return;
    snprintf(name, sizeof name, "c%u", slot);
    assert_int_equal(group_prepare_consumer(m->g, slice_str(name), &c, NULL), OK);
    assert_int_equal(c->slot, slot); /* the lowest that is free */
    group_add_consumer(m->g, c, 1);
    assert_ptr_equal(group_find_consumer(m->g, slice_str(name)), c);
    m->consumers[slot] = true;
}

static void model_drop_consumer(struct model *m)
{
    uint16_t slot = model_slot(m);
    bool back = random_below(m->r, 2) == 0;
    uint64_t held = 0;

    if (slot == PEL_NOBODY)
        return;
    for (size_t i = 0; i < m->top; i++) {
        struct entry *e = &m->entries[i];
        if (!e->in || e->slot != slot)
            continue;
        e->slot = PEL_NOBODY;
        if (e->nacked)
            continue;
        held++;
        e->in = e->nacked = back;
        e->time_ms = m->now_ms;
    }
    assert_int_equal(group_drop_consumer(m->g, slot, back, m->now_ms), held);
    m->consumers[slot] = false;
}

static void model_rebuild(struct model *m)
{
    uint64_t n;

    assert_int_equal(group_rebuild(m->g, &n, NULL), OK);
    assert_int_equal(n, 0);
}

static void model_step(struct model *m)
{
    m->now_ms += random_below(m->r, 20);
    switch (random_below(m->r, 26)) {
    case 0: model_set_position(m); break;
    case 1: model_remove(m); break;
    case 2:
        if (random_below(m->r, 5) == 0)
            model_cut(m);
        break;
    case 3:
        if (random_below(m->r, 5) == 0)
            model_forget_below(m);
        break;
    case 4:
    case 5: model_add_consumer(m); break;
    case 6: model_drop_consumer(m); break;
    case 7: model_rebuild(m); break;
    case 8:
    case 9:
    case 10:
    case 11: model_change(m); break;
    case 12:
    case 13:
    case 14: model_ack(m); break;
    case 15:
    case 16:
    case 17: model_deliver(m); break;
    case 18:
    case 19: group_step(m->g, m->now_ms, 1 + random_below(m->r, 3)); break;
    default:
        if (m->top < N_IDS)
            m->live[m->top++] = true;
    }
}

static void model_begin(struct model *m, struct random *r, unsigned which)
{
    struct group_options x = { .ack_wait_ms = 40,
                               .max_deliver = 2,
                               .n_backoff = 1,
                               .backoff_ms = { 15 },
                               .order_by = slice_str("hex") };
    struct group_options *options;
    struct order *order;

    *m = (struct model){ .r = r, .now_ms = 10000, .ordered = (which & 1u << GROUP_ORDERBY) != 0 };
    assert_int_equal(group_new(HASH_KEY, slice_str("g"), &m->g, NULL), OK);
    assert_int_equal(group_prepare_options(m->g, which, &x, &options, &order, NULL), OK);
    group_apply_options(m->g, options, order);
}

static void a_group_agrees_with_a_naive_one(void **state)
{
    static const unsigned WHICH[] = {
        0,
        1u << GROUP_ORDERBY,
        1u << GROUP_ACKWAIT | 1u << GROUP_MAXDELIVER | 1u << GROUP_BACKOFF,
        1u << GROUP_ORDERBY | 1u << GROUP_ACKWAIT | 1u << GROUP_MAXDELIVER,
    };
    struct random r = random_seeded("group");
    struct model m;
    (void)state;

    for (size_t life = 0; life < random_rounds(160); life++) {
        model_begin(&m, &r, WHICH[life % 4]);
        for (size_t i = 0; i < 700; i++) {
            model_step(&m);
            assert_model(&m);
        }
        while (!group_free_some(m.g, 3)) {
        }
    }
}

/* ---- options ---- */

static struct group *new_group(unsigned which, const struct group_options *x)
{
    struct group_options *options;
    struct order *order;
    struct group *g;

    assert_int_equal(group_new(HASH_KEY, slice_str("g"), &g, NULL), OK);
    assert_int_equal(group_prepare_options(g, which, x, &options, &order, NULL), OK);
    group_apply_options(g, options, order);
    return g;
}

static void set_options(struct group *g, unsigned which, struct group_options x)
{
    struct group_options *options;
    struct order *order;

    assert_int_equal(group_prepare_options(g, which, &x, &options, &order, NULL), OK);
    group_apply_options(g, options, order);
}

static void options_change_what_is_named_and_none_is_a_plain_group(void **state)
{
    struct group *g = new_group(0, &(struct group_options){ .max_deliver = 3 });
    (void)state;

    assert_true(group_is_plain(g));
    set_options(
        g, 1u << GROUP_MAXDELIVER | 1u << GROUP_DLQ,
        (struct group_options){ .max_deliver = 3, .dlq = slice_str("dead"), .max_pending = 9 });
    assert_int_equal(group_options(g)->max_deliver, 3);
    assert_int_equal(group_options(g)->max_pending, 0);
    set_options(g, 1u << GROUP_ORDERBY,
                (struct group_options){ .order_by = slice_str("hex"), .order_seed = 5 });
    assert_true(slice_equal(group_options(g)->dlq, slice_str("dead")));
    assert_non_null(g->order);
    assert_int_equal(group_max_pending(g), GROUP_ORDERED_PENDING_MAX);
    set_options(g, 1u << GROUP_MAXPENDING, (struct group_options){ .max_pending = 9 });
    assert_int_equal(group_max_pending(g), 9);
    assert_non_null(g->order);
    set_options(g, 1u << GROUP_MAXDELIVER | 1u << GROUP_DLQ | 1u << GROUP_MAXPENDING,
                (struct group_options){ 0 });
    assert_false(group_is_plain(g));
    set_options(g, 1u << GROUP_ORDERBY, (struct group_options){ .order_seed = 77 });
    assert_true(group_is_plain(g));
    assert_null(g->order);
    assert_int_equal(group_max_pending(g), UINT64_MAX);
    assert_null(group_check(g));
    group_free(g);
}

static void delays_and_deaths_follow_the_count(void **state)
{
    struct group *g = new_group(
        1u << GROUP_BACKOFF | 1u << GROUP_MAXDELIVER,
        &(struct group_options){ .n_backoff = 3, .backoff_ms = { 10, 20, 30 }, .max_deliver = 2 });
    static const uint64_t WANT[] = { 10, 10, 20, 30, 30 };
    (void)state;

    for (size_t count = 0; count < 5; count++)
        assert_int_equal(group_backoff_ms(g, count), WANT[count]);
    assert_int_equal(group_backoff_ms(g, PEL_COUNT_FATAL), 30);
    assert_false(group_buries(g, 1));
    assert_true(group_buries(g, 2));
    set_options(g, 1u << GROUP_MAXDELIVER, (struct group_options){ 0 });
    assert_false(group_buries(g, 1u << 30));
    assert_true(group_buries(g, PEL_COUNT_FATAL));
    set_options(g, 1u << GROUP_BACKOFF, (struct group_options){ 0 });
    assert_false(group_buries(g, PEL_COUNT_FATAL)); /* a plain group */
    assert_int_equal(group_backoff_ms(g, 1), 0);
    assert_false(group_redelivers(g));
    group_free(g);
}

static void keys_depend_on_the_seed_and_are_never_0(void **state)
{
    struct group *a =
        new_group(1u << GROUP_ORDERBY,
                  &(struct group_options){ .order_by = slice_str("k"), .order_seed = 1 });
    struct group *b =
        new_group(1u << GROUP_ORDERBY,
                  &(struct group_options){ .order_by = slice_str("k"), .order_seed = 2 });
    size_t same = 0;
    (void)state;

    for (uint32_t i = 0; i < 2000; i++) {
        struct slice value = slice_of(&i, sizeof i);
        assert_int_not_equal(group_key(a, value), 0);
        assert_int_equal(group_key(a, value), group_key(a, value));
        same += group_key(a, value) == group_key(b, value);
    }
    assert_true(same < 3);
    assert_int_not_equal(group_key(a, slice_of(NULL, 0)), 0);
    assert_int_equal(group_key(a, slice_str("4b1816")),
                     0xdc855be8); /* keys are in logs: it stays */
    group_free(a);
    group_free(b);
}

/* ---- consumers ---- */

static void consumers_are_listed_by_name_and_found_by_bytes(void **state)
{
    static const char *const NAMES[] = { "b", "", "abc", "ab" };
    static const size_t ORDER[] = { 1, 3, 2, 0 };
    struct group *g = new_group(0, &GROUP_OPTIONS_NONE);
    struct consumer **list, *c;
    (void)state;

    assert_null(group_list_consumers(g));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(group_prepare_consumer(g, slice_str(NAMES[i]), &c, NULL), OK);
        group_add_consumer(g, c, 10 + i);
    }
    list = group_list_consumers(g);
    assert_non_null(list);
    for (size_t i = 0; i < 4; i++)
        assert_true(slice_equal(list[i]->name, slice_str(NAMES[ORDER[i]])));
    free(list);
    assert_null(group_find_consumer(g, slice_of("ab\0", 3)));
    assert_null(group_consumer_at(g, 0));
    assert_null(group_consumer_at(g, PEL_PARKED));
    group_free(g);
}

static void the_65001st_consumer_is_refused(void **state)
{
    struct group *g = new_group(0, &GROUP_OPTIONS_NONE);
    struct consumer *c;
    char name[16];
    (void)state;

    for (unsigned i = 1; i <= PEL_SLOT_MAX; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_int_equal(group_prepare_consumer(g, slice_str(name), &c, NULL), OK);
        group_add_consumer(g, c, i);
    }
    assert_int_equal(group_prepare_consumer(g, slice_str("one more"), &c, NULL), ERR_FULL);
    group_drop_consumer(g, 777, false, 0);
    assert_int_equal(group_prepare_consumer(g, slice_str("one more"), &c, NULL), OK);
    assert_int_equal(c->slot, 777);
    group_add_consumer(g, c, 1);
    assert_null(group_check(g));
    group_free(g);
}

/* ---- lack of memory ---- */

static void each_allocation_that_fails_is_told_and_changes_nothing(void **state)
{
    static const unsigned ALL = 1u << GROUP_ORDERBY | 1u << GROUP_DLQ;
    struct group_options x = { .order_by = slice_str("hex"), .dlq = slice_str("dlq") }, *options;
    struct group *g = NULL;
    struct consumer *c, **list;
    struct order *order;
    (void)state;

    memory_left = 0;
    assert_int_equal(group_new(HASH_KEY, slice_str("g"), &g, NULL), ERR_NOMEM);
    memory_left = -1;
    g = new_group(0, &GROUP_OPTIONS_NONE);
    for (long nth = 0; nth < 2; nth++) {
        memory_left = nth;
        assert_int_equal(group_prepare_consumer(g, slice_str("c"), &c, NULL), ERR_NOMEM);
        assert_null(group_check(g));
    }
    memory_left = -1;
    assert_int_equal(group_prepare_consumer(g, slice_str("c"), &c, NULL), OK);
    group_add_consumer(g, c, 1);
    memory_left = 0;
    list = group_list_consumers(g);
    assert_null(list);
    memory_left = 0;
    assert_int_equal(group_prepare_options(g, ALL, &x, &options, &order, NULL), ERR_NOMEM);
    memory_left = -1;
    assert_true(group_is_plain(g));
    assert_null(group_check(g));
    group_free(g);
    group_free(NULL);
}

/* ---- after a start ---- */

static void what_does_not_fit_together_is_repaired_and_counted(void **state)
{
    struct group *g = new_group(0, &GROUP_OPTIONS_NONE);
    struct pel_entry x[] = { { .id = { 1, 0 }, .slot = 3, .time_ms = 5, .count = 2 },
                             { .id = { 2, 0 }, .slot = PEL_PARKED },
                             { .id = { 3, 0 }, .slot = 3, .time_ms = 6, .count = 1 },
                             { .id = { 4, 0 }, .slot = 1, .time_ms = 6, .count = 1 } };
    struct pel_entry got;
    struct consumer *c;
    uint64_t n;
    (void)state;

    assert_int_equal(group_prepare_consumer(g, slice_str("c"), &c, NULL), OK);
    group_add_consumer(g, c, 1);
    assert_int_equal(group_prepare(g, 4, ID_MIN, NULL), OK);
    for (size_t i = 0; i < 4; i++)
        pel_set(g->pel, &x[i]);
    assert_int_equal(group_rebuild(g, &n, NULL), OK);
    assert_int_equal(n, 3);
    assert_true(pel_get(g->pel, x[0].id, &got));
    assert_true(got.nacked && got.slot == PEL_NOBODY && got.count == 2);
    assert_false(pel_get(g->pel, x[1].id, &got));
    assert_true(pel_get(g->pel, x[3].id, &got) && !got.nacked);
    assert_int_equal(group_rebuild(g, &n, NULL), OK);
    assert_int_equal(n, 0);
    assert_null(group_check(g));
    group_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_agrees_with_a_naive_one),
        cmocka_unit_test(options_change_what_is_named_and_none_is_a_plain_group),
        cmocka_unit_test(delays_and_deaths_follow_the_count),
        cmocka_unit_test(keys_depend_on_the_seed_and_are_never_0),
        cmocka_unit_test(consumers_are_listed_by_name_and_found_by_bytes),
        cmocka_unit_test(the_65001st_consumer_is_refused),
        cmocka_unit_test(each_allocation_that_fails_is_told_and_changes_nothing),
        cmocka_unit_test(what_does_not_fit_together_is_repaired_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
