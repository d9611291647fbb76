/*
 * test_delset.c - the set of deleted IDs beside a naive one: an array that says of each of a few thousand IDs
 * whether it is in.
 *
 * The module's source is included with allocation functions that fail when told to. What memory that ran out
 * may leave in the set, the model takes over, after checking that it is no more than that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/memory.h"
#include "tests/lib/random.h"

#define malloc  memory_malloc
#define realloc memory_realloc
#define free    memory_free
#include "log/delset.c"
#undef malloc
#undef realloc
#undef free

enum { N_IDS = 6000, N_READERS = 4, PER_MS = 7 };

/* The set and what should be in it. */
struct version {
    struct delset *set;
    bool has[N_IDS];
};

/* Seqs lie far apart: an order that looked at one half of an ID only would be wrong. */
static struct id nth_id(size_t i)
{
    return (struct id){ 1000 + i / PER_MS, i % PER_MS * (UINT64_MAX / PER_MS) };
}

static void assert_version(const struct version *v, struct random *r)
{
    size_t from = random_below(r, N_IDS), to = random_below(r, N_IDS), n = 0, n_between = 0, i = 0;
    const char *bad = delset_check(v->set);
    struct id id = ID_MIN;

    if (bad != NULL)
        fail_msg("%s", bad);
    for (size_t k = 0; k < N_IDS; k++) {
        n += v->has[k];
        n_between += v->has[k] && k >= from && k <= to;
    }
    assert_int_equal(delset_n(v->set), n);
    assert_int_equal(delset_count(v->set, nth_id(from), nth_id(to)), n_between);
    assert_int_equal(delset_count(v->set, ID_MIN, ID_MAX), n);
    assert_int_equal(delset_has(v->set, nth_id(from)), v->has[from]);
    for (size_t seen = 0; seen < n; seen++, i++) {
        assert_true(delset_next(v->set, &id));
        while (!v->has[i])
            i++;
        assert_int_equal(id_cmp(id, nth_id(i)), 0);
        assert_true(id_next(&id));
    }
    assert_false(delset_next(v->set, &id));
}

static void add_some(struct version *v, struct random *r)
{
    size_t n = random_below(r, (size_t[]){ 2, 40, 1200 }[random_below(r, 3)]) + 1;
    size_t at = random_below(r, N_IDS), step = random_below(r, 4);
    struct err e = { 0 };

    memory_random = random_below(r, 4) == 0 ? r : NULL;
    if (delset_reserve(&v->set, n, &e) == OK) {
        for (size_t i = 0; i < n; i++) {
            at = step == 3 ? random_below(r, N_IDS) : (at + step) % N_IDS;
            delset_add(&v->set, nth_id(at));
            v->has[at] = true;
        }
    } else {
        assert_non_null(memory_random);
    }
    memory_random = NULL;
}

/* Compares with `expect`; IDs that should have gone may be there if memory ran out. */
static void removed(struct version *v, const bool *expect, bool starved)
{
    for (size_t i = 0; i < N_IDS; i++) {
        bool has = delset_has(v->set, nth_id(i));
        if (has != expect[i])
            assert_true(starved && has && v->has[i]);
        v->has[i] = has;
    }
}

static void cut_some(struct version *v, struct random *r)
{
    size_t floor = random_below(r, random_below(r, 4) == 0 ? N_IDS : N_IDS / 4);
    bool expect[N_IDS], starved = random_below(r, 4) == 0;

    memcpy(expect, v->has, sizeof expect);
    memset(expect, false, floor * sizeof expect[0]);
    memory_random = starved ? r : NULL;
    delset_cut(&v->set, nth_id(floor));
    memory_random = NULL;
    removed(v, expect, starved);
}

static void subtract_some(struct version *v, const struct version *other, struct random *r)
{
    size_t from = random_below(r, N_IDS), to = random_below(r, N_IDS);
    bool expect[N_IDS], starved = random_below(r, 4) == 0;

    for (size_t i = 0; i < N_IDS; i++)
        expect[i] = v->has[i] && !(other->has[i] && i >= from && i <= to);
    memory_random = starved ? r : NULL;
    delset_subtract(&v->set, other->set, nth_id(from), nth_id(to));
    memory_random = NULL;
    removed(v, expect, starved);
}

static void renew_reader(struct version *reader, const struct version *v)
{
    delset_unref(reader->set);
    *reader = *v;
    delset_ref(v->set);
}

static void it_has_what_a_naive_set_has_and_versions_never_change(void **state)
{
    static struct version all[1 + N_READERS]; /* the owner's, then those of readers */
    struct random r = random_seeded("delset");

    (void)state;
    for (size_t round = random_rounds(3000); round > 0; round--) {
        struct version *reader = &all[1 + random_below(&r, N_READERS)];
        switch (random_below(&r, 8)) {
        case 0: cut_some(&all[0], &r); break;
        case 1: subtract_some(&all[0], reader, &r); break;
        case 2: subtract_some(&all[0], &all[0], &r); break;
        case 3:
        case 4: renew_reader(reader, &all[0]); break;
        default: add_some(&all[0], &r);
        }
        assert_version(&all[0], &r);
        assert_version(reader, &r);
    }
    for (size_t i = 0; i <= N_READERS; i++) {
        assert_version(&all[i], &r);
        delset_unref(all[i].set);
    }
    assert_int_equal(memory_held, 0);
}

static void null_is_the_empty_set(void **state)
{
    struct delset *d = NULL;
    struct id id = ID_MIN;

    (void)state;
    assert_null(delset_ref(NULL));
    delset_unref(NULL);
    delset_cut(&d, ID_MAX);
    delset_subtract(&d, NULL, ID_MIN, ID_MAX);
    assert_null(d);
    assert_false(delset_next(NULL, &id));
    assert_false(delset_has(NULL, id));
    assert_int_equal(delset_count(NULL, ID_MIN, ID_MAX), 0);
    assert_int_equal(delset_bytes(NULL), 0);
    assert_null(delset_check(NULL));
}

static void add_n(struct delset **d, size_t n, bool backwards)
{
    struct err e = { 0 };

    assert_int_equal(delset_reserve(d, n, &e), OK);
    for (size_t i = 0; i < n; i++)
        delset_add(d, nth_id(backwards ? n - 1 - i : i));
}

static void a_few_ids_are_small_and_many_take_little_more_than_their_bytes(void **state)
{
    struct delset *few = NULL, *many = NULL, *back = NULL;

    (void)state;
    add_n(&few, 1, false);
    add_n(&many, N_IDS, false);
    add_n(&back, N_IDS, true);
    assert_true(delset_bytes(few) <= 128);
    add_n(&many, 1, false); /* room for N_IDS more is given back */
    add_n(&back, 1, false);
    assert_true(delset_bytes(many) < 20 * N_IDS);
    assert_true(delset_bytes(back) < 20 * N_IDS);
    delset_unref(few);
    delset_unref(many);
    delset_unref(back);
}

static void what_two_versions_share_is_stored_once(void **state)
{
    struct delset *d = NULL, *old;
    long before;

    (void)state;
    add_n(&d, N_IDS, false);
    old = delset_ref(d);
    before = memory_held;
    add_n(&d, 1, false);
    assert_int_equal(memory_held - before, 2); /* the set itself, and its list of pages */
    delset_unref(d);
    delset_unref(old);
}

static void the_last_id_that_goes_frees_the_set(void **state)
{
    struct delset *d = NULL, *all;

    (void)state;
    add_n(&d, 1000, false);
    all = delset_ref(d);
    delset_subtract(&d, all, ID_MIN, ID_MAX);
    assert_null(d);
    assert_int_equal(delset_n(all), 1000);
    delset_cut(&all, ID_MAX);
    assert_null(all);
    assert_int_equal(memory_held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_what_a_naive_set_has_and_versions_never_change),
        cmocka_unit_test(null_is_the_empty_set),
        cmocka_unit_test(a_few_ids_are_small_and_many_take_little_more_than_their_bytes),
        cmocka_unit_test(what_two_versions_share_is_stored_once),
        cmocka_unit_test(the_last_id_that_goes_frees_the_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
