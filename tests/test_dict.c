/* test_dict.c - the dictionary against an array of flags, its scan against random changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "log/dict.h"
#include "log/siphash.h"
#include "tests/lib/random.h"

enum { NAMES = 20000 };

static const uint8_t HASH_KEY[16] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3 };

struct item {
    struct dict_node node; /* must be first */
    bool there;
    unsigned n_seen;
    char name[16];
};

struct world {
    struct dict d;
    struct item items[NAMES];
    size_t n;
};

static struct slice item_name(const struct dict_node *node)
{
    return slice_str(((const struct item *)(const void *)node)->name);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    dict_init(&w->d, HASH_KEY, item_name);
    for (int i = 0; i < NAMES; i++)
        snprintf(w->items[i].name, sizeof w->items[i].name, "k%d", i);
    return w;
}

static void world_free(struct world *w)
{
    dict_fini(&w->d);
    free(w);
}

static void world_add(struct world *w, struct item *item)
{
    dict_add(&w->d, &item->node, item_name(&item->node));
    item->there = true;
    w->n++;
}

static void world_remove(struct world *w, struct item *item)
{
    dict_remove(&w->d, &item->node);
    item->there = false;
    w->n--;
}

static void world_check(const struct world *w)
{
    const char *broken = dict_check(&w->d);

    if (broken != NULL)
        fail_msg("%s", broken);
    assert_int_equal(w->d.n, w->n);
}

/* Python 3.11 hashes bytes with it; with PYTHONHASHSEED=0 the key is zero. The first is the reference's. */
static void siphash_gives_the_known_values(void **state)
{
    static const struct {
        size_t n;
        uint64_t want;
    } cases[] = {
        { 1, 0x68a914128e01e473 }, { 3, 0x4d4c9a4a8ef6e0ad },  { 7, 0x2f098ab0c751325a },
        { 8, 0xead411e67ebe2eea }, { 16, 0x8972188433a5c5b7 }, { 23, 0x37332b1389daa4ff },
    };
    uint8_t key[16] = { 0 }, in[32];

    (void)state;
    for (uint8_t i = 0; i < sizeof in; i++)
        in[i] = i;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(siphash13(key, in, cases[i].n), cases[i].want);
    assert_int_equal(siphash13(in, in, 0), 0xabac0158050fc4dc);
}

static void random_changes_are_found_as_an_array_says(void **state)
{
    struct world *w = world_new();
    struct random rng = random_seeded("random_changes");
    size_t rounds = random_rounds(300000);

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        /* the range of names breathes, so that the table grows and shrinks again */
        size_t range = i / 50000 % 2 == 0 ? NAMES : 200;
        struct item *item = &w->items[random_below(&rng, range)];
        struct dict_node *found = dict_find(&w->d, item_name(&item->node));
        assert_ptr_equal(found, item->there ? &item->node : NULL);
        if (!item->there)
            world_add(w, item);
        else
            world_remove(w, item);
        if (range == 200 && w->n > 0) { /* empty what the other phase filled */
            item = &w->items[random_below(&rng, NAMES)];
            if (item->there)
                world_remove(w, item);
        }
        if (random_below(&rng, 100) == 0)
            dict_step(&w->d, random_below(&rng, 50));
        if (i % 5000 == 0)
            world_check(w);
    }
    world_check(w);
    world_free(w);
}

static void see(void *ctx, struct dict_node *node)
{
    (void)ctx;
    ((struct item *)(void *)node)->n_seen++;
}

/* One whole scan with random changes between the calls; `stays` of the items are left alone. */
static void scan_once(struct world *w, struct random *rng)
{
    uint64_t cursor = 0;
    size_t churn = random_below(rng, 60), grow = random_below(rng, 3), calls = 0;

    for (int i = 0; i < NAMES; i++) {
        w->items[i].n_seen = 0;
        if (i % 4 == 0 && !w->items[i].there && random_below(rng, 2) == 0)
            world_add(w, &w->items[i]);
    }
    do {
        cursor = dict_scan(&w->d, cursor, see, NULL);
        for (size_t i = 0; i < churn; i++) {
            struct item *item = &w->items[random_below(rng, NAMES)];
            if ((item - w->items) % 4 == 0)
                continue; /* those stay as they are */
            if (item->there && grow != 0)
                world_remove(w, item);
            else if (!item->there && grow != 1)
                world_add(w, item);
        }
        calls++;
    } while (cursor != 0 && calls < 10 * NAMES);
    assert_int_equal(cursor, 0);
    for (int i = 0; i < NAMES; i += 4)
        assert_true(!w->items[i].there || w->items[i].n_seen > 0);
}

static void a_scan_sees_all_that_stays_through_any_resize(void **state)
{
    struct random rng = random_seeded("a_scan");

    (void)state;
    for (size_t i = random_rounds(60); i > 0; i--) {
        struct world *w = world_new();
        size_t fill = random_below(&rng, NAMES);
        while (fill-- > 0) {
            struct item *item = &w->items[random_below(&rng, NAMES)];
            if (!item->there)
                world_add(w, item);
        }
        scan_once(w, &rng);
        world_check(w);
        world_free(w);
    }
}

static void a_scan_of_what_stands_still_sees_each_once(void **state)
{
    (void)state;
    for (int resizing = 0; resizing < 2; resizing++) {
        struct world *w = world_new();
        uint64_t cursor = 0;
        for (int i = 0; i < NAMES && (i < NAMES / 2 || !resizing || w->d.rehash < 5); i++)
            world_add(w, &w->items[i]);
        if (!resizing)
            dict_step(&w->d, SIZE_MAX);
        assert_int_equal(w->d.rehash >= 0, resizing);
        do
            cursor = dict_scan(&w->d, cursor, see, NULL);
        while (cursor != 0);
        for (int i = 0; i < NAMES; i++)
            assert_int_equal(w->items[i].n_seen, w->items[i].there);
        world_free(w);
    }
}

static void any_number_is_a_cursor(void **state)
{
    struct world *w = world_new();
    struct random rng = random_seeded("any_number");

    (void)state;
    for (int i = 0; i < 1000; i++)
        world_add(w, &w->items[i]);
    for (int i = 0; i < 10000; i++)
        assert_true(dict_scan(&w->d, random_u64(&rng), see, NULL) < 1ull << 48);
    assert_int_equal(dict_scan(&w->d, UINT64_MAX, see, NULL), 0);
    world_free(w);
}

static void drop(void *ctx, struct dict_node *node)
{
    struct world *w = ctx;
    world_remove(w, (struct item *)(void *)node);
}

static void a_scan_may_remove_what_it_sees(void **state)
{
    struct world *w = world_new();
    uint64_t cursor = 0;

    (void)state;
    for (int i = 0; i < NAMES; i++)
        world_add(w, &w->items[i]);
    do {
        int64_t rehash = w->d.rehash;
        cursor = dict_scan(&w->d, cursor, drop, w);
        assert_int_equal(w->d.rehash, rehash); /* no bucket moved under the scan */
        dict_step(&w->d, 3);
    } while (cursor != 0);
    assert_int_equal(w->n, 0);
    world_check(w);
    for (int i = 0; i < 100; i++)
        dict_step(&w->d, 1000); /* what is empty shrinks to the table inside */
    assert_int_equal(w->d.caps[0], DICT_CAP_MIN);
    world_check(w);
    world_free(w);
}

static void a_random_node_may_be_any(void **state)
{
    struct world *w = world_new();
    struct random rng = random_seeded("a_random_node");
    size_t missing = 0;

    (void)state;
    assert_null(dict_random(&w->d, 1));
    for (int i = 0; i < 100; i++)
        world_add(w, &w->items[i]);
    for (int i = 0; i < 10000; i++)
        ((struct item *)(void *)dict_random(&w->d, random_u64(&rng)))->n_seen++;
    for (int i = 0; i < 100; i++)
        missing += w->items[i].n_seen == 0;
    assert_int_equal(missing, 0);
    world_free(w);
}

static void a_taken_dict_has_everything_and_leaves_an_empty_one(void **state)
{
    static const int sizes[] = { 0, 3, 1000 };

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        struct world *w = world_new();
        struct dict taken;
        for (int i = 0; i < sizes[s]; i++)
            world_add(w, &w->items[i]);
        dict_take(&taken, &w->d);
        assert_null(dict_check(&taken));
        assert_int_equal(taken.n, sizes[s]);
        w->n = 0;
        world_check(w);
        assert_null(dict_find(&w->d, slice_str("k1")));
        assert_int_equal(dict_find(&taken, slice_str("k1")) != NULL, sizes[s] > 1);
        dict_fini(&taken);
        world_free(w);
    }
}

/* A node that moved in memory is found as before, whatever table it is in. */
static void a_node_takes_the_place_of_another(void **state)
{
    struct world *w = world_new();
    struct item *moved = calloc(NAMES, sizeof *moved);
    struct random rng = random_seeded("a_node_takes");

    (void)state;
    assert_non_null(moved);
    for (int i = 0; i < NAMES; i++) {
        size_t n = random_below(&rng, (uint64_t)i + 1);
        world_add(w, &w->items[i]);
        if (moved[n].there)
            continue;
        moved[n] = w->items[n];
        moved[n].node = (struct dict_node){ .extra = 7 };
        dict_replace(&w->d, &w->items[n].node, &moved[n].node);
        assert_int_equal(moved[n].node.extra, 7); /* the owner's */
        assert_ptr_equal(dict_find(&w->d, item_name(&moved[n].node)), &moved[n].node);
    }
    for (int i = 0; i < NAMES; i++)
        assert_ptr_equal(dict_find(&w->d, item_name(&w->items[i].node)),
                         moved[i].there ? &moved[i].node : &w->items[i].node);
    world_check(w);
    world_free(w);
    free(moved);
}

static void seen_hash(void *ctx, struct dict_node *node)
{
    struct world *w = ctx;
    struct item *item = (struct item *)(void *)node;

    item->n_seen++;
    if (item->n_seen == 2)
        world_remove(w, item);
}

/* Whoever asks by hash sees all who have it, and may remove them. */
static void nodes_are_found_by_their_hash_alone(void **state)
{
    struct world *w = world_new();

    (void)state;
    for (int i = 0; i < NAMES; i++)
        world_add(w, &w->items[i]);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < NAMES; i++) {
            unsigned seen = w->items[i].n_seen;
            if (w->items[i].there)
                dict_each_hash(&w->d, w->items[i].node.hash, seen_hash, w);
            assert_true(w->items[i].n_seen > seen || !w->items[i].there);
        }
    for (int i = 0; i < NAMES; i++)
        assert_int_equal(w->items[i].n_seen, 2); /* once each round, but for those of one hash */
    assert_int_equal(w->n, 0);
    world_check(w);
    world_free(w);
}

/* So many come that a table of the right size is made at once; half a pointer to a whole one a node. */
static void what_is_expected_needs_no_resize(void **state)
{
    struct world *w = world_new();
    size_t cap;

    (void)state;
    dict_expect(&w->d, NAMES);
    cap = w->d.caps[0];
    assert_in_range(cap, NAMES / 2, NAMES);
    for (int i = 0; i < NAMES; i++) {
        world_add(w, &w->items[i]);
        assert_true(w->d.rehash < 0);
    }
    assert_int_equal(w->d.caps[0], cap);
    world_check(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_gives_the_known_values),
        cmocka_unit_test(random_changes_are_found_as_an_array_says),
        cmocka_unit_test(a_scan_sees_all_that_stays_through_any_resize),
        cmocka_unit_test(a_scan_of_what_stands_still_sees_each_once),
        cmocka_unit_test(any_number_is_a_cursor),
        cmocka_unit_test(a_scan_may_remove_what_it_sees),
        cmocka_unit_test(a_random_node_may_be_any),
        cmocka_unit_test(a_taken_dict_has_everything_and_leaves_an_empty_one),
        cmocka_unit_test(a_node_takes_the_place_of_another),
        cmocka_unit_test(nodes_are_found_by_their_hash_alone),
        cmocka_unit_test(what_is_expected_needs_no_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
