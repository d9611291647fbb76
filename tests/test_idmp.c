/* test_idmp.c - the idempotence map of a stream against a list that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/idmp.h"
#include "tests/lib/random.h"

enum { LIST_MAX = 4000, NAME_MAX_BYTES = 24 };

static const uint8_t KEY_A[16] = { 1, 2, 3 }, KEY_B[16] = { 200, 9 };

struct item {
    char producer[NAME_MAX_BYTES], iid[NAME_MAX_BYTES];
    struct id id;
    uint64_t at_ms;
    bool evicted;
};

struct list {
    struct item items[LIST_MAX];
    size_t n;
    uint64_t duration_s, maxsize;
};

static bool item_lives(const struct list *l, const struct item *item, uint64_t now_ms)
{
    return !item->evicted && now_ms - item->at_ms < l->duration_s * 1000;
}

static struct item *list_find(struct list *l, const char *producer, const char *iid,
                              uint64_t now_ms)
{
    for (size_t i = l->n; i > 0; i--) {
        struct item *item = &l->items[i - 1];
        if (item_lives(l, item, now_ms) && strcmp(item->producer, producer) == 0 &&
            strcmp(item->iid, iid) == 0)
            return item;
    }
    return NULL;
}

/* Adds, and evicts the producer's oldest above maxsize. */
static void list_add(struct list *l, const char *producer, const char *iid, struct id id,
                     uint64_t now_ms)
{
    struct item *item = &l->items[l->n++];
    size_t newer = 0;

    assert_true(l->n <= LIST_MAX);
    *item = (struct item){ .id = id, .at_ms = now_ms };
    memcpy(item->producer, producer, NAME_MAX_BYTES);
    memcpy(item->iid, iid, NAME_MAX_BYTES);
    for (size_t i = l->n; i > 0; i--)
        if (strcmp(l->items[i - 1].producer, producer) == 0 && ++newer > l->maxsize)
            l->items[i - 1].evicted = true;
}

static struct idmp_counts list_count(const struct list *l, uint64_t now_ms)
{
    struct idmp_counts counts = { 0, 0 };

    for (size_t i = 0; i < l->n; i++) {
        bool first = true;

        if (!item_lives(l, &l->items[i], now_ms))
            continue;
        counts.n_iids++;
        for (size_t k = 0; k < i && first; k++)
            first = !item_lives(l, &l->items[k], now_ms) ||
                    strcmp(l->items[k].producer, l->items[i].producer) != 0;
        counts.n_producers += first;
    }
    return counts;
}

static void remember(struct stream_idmp *st, const uint8_t key[16], const char *producer,
                     const char *iid, struct id id, uint64_t now_ms)
{
    struct idmp_item *item;

    assert_int_equal(
        idmp_prepare(st, key, slice_str(producer), slice_str(iid), now_ms, &item, NULL), OK);
    idmp_commit(st, item, id, now_ms);
}

static void assert_consistent(const struct stream_idmp *st)
{
    const char *broken = idmp_check(st);

    if (broken != NULL)
        fail_msg("%s", broken);
}

static void assert_same_digest(const struct stream_idmp *a, const struct stream_idmp *b,
                               uint64_t now_ms)
{
    uint64_t x[2] = { 0, 0 }, y[2] = { 0, 0 };

    idmp_digest(a, now_ms, x);
    idmp_digest(b, now_ms, y);
    assert_memory_equal(x, y, sizeof x);
}

static void random_name(struct random *r, char prefix, size_t n, char out[NAME_MAX_BYTES])
{
    memset(out, 0, NAME_MAX_BYTES);
    snprintf(out, NAME_MAX_BYTES, "%c%zu", prefix, random_below(r, n));
}

/* One step on two maps with different hash keys, of which only `a` is looked at and purged in between. */
static void step(struct random *r, struct list *l, struct stream_idmp *a, struct stream_idmp *b,
                 uint64_t now_ms, uint64_t seq)
{
    char producer[NAME_MAX_BYTES], iid[NAME_MAX_BYTES];
    struct item *known;
    struct id id = { now_ms, seq }, got;

    random_name(r, 'p', 5, producer);
    random_name(r, 'i', 12, iid);
    known = list_find(l, producer, iid, now_ms);
    assert_int_equal(idmp_find(a, slice_str(producer), slice_str(iid), now_ms, &got),
                     known != NULL);
    if (known != NULL) {
        assert_int_equal(id_cmp(got, known->id), 0);
        return;
    }
    list_add(l, producer, iid, id, now_ms);
    remember(a, KEY_A, producer, iid, id, now_ms);
    remember(b, KEY_B, producer, iid, id, now_ms);
}

static void random_ids_are_remembered_as_a_list_would(void **state)
{
    struct random r = random_seeded("idmp");

    (void)state;
    for (size_t round = random_rounds(40); round > 0; round--) {
        struct list *l = calloc(1, sizeof *l);
        struct stream_idmp a = { 0 }, b = { 0 };
        uint64_t now_ms = 1000000;

        l->duration_s = 1 + random_below(&r, 4);
        l->maxsize = 1 + random_below(&r, 8);
        idmp_configure(&a, (uint32_t)l->duration_s, (uint32_t)l->maxsize);
        idmp_configure(&b, (uint32_t)l->duration_s, (uint32_t)l->maxsize);
        for (uint64_t i = 0; i < 1000; i++) {
            struct idmp_counts want, got;

            now_ms += random_below(&r, 100) == 0 ? random_below(&r, 6000) : random_below(&r, 60);
            step(&r, l, &a, &b, now_ms, i);
            assert_consistent(&a);
            want = list_count(l, now_ms);
            got = idmp_count(&a, now_ms);
            assert_int_equal(got.n_iids, want.n_iids);
            assert_int_equal(got.n_producers, want.n_producers);
            assert_same_digest(&a, &b, now_ms);
        }
        assert_int_equal(a.iids_added, l->n);
        assert_true(idmp_bytes(a.map) > 0);
        idmp_free(a.map);
        idmp_free(b.map);
        free(l);
    }
}

static void an_id_is_forgotten_exactly_when_its_duration_is_over(void **state)
{
    struct slice p = slice_str("p"), iid = slice_str("i");
    struct stream_idmp st = { 0 };
    struct id id = { 7, 1 }, got;

    (void)state;
    idmp_configure(&st, 2, 10);
    remember(&st, KEY_A, "p", "i", id, 5000);
    assert_true(idmp_find(&st, p, iid, 6999, &got));
    assert_false(idmp_find(&st, p, iid, 7000, &got));
    assert_int_equal(idmp_count(&st, 6999).n_iids, 1);
    assert_int_equal(idmp_count(&st, 7000).n_iids, 0);
    assert_int_equal(idmp_count(&st, 7000).n_producers, 0);
    idmp_free(st.map);
}

static void when_memory_is_given_back_does_not_show_in_the_digest(void **state)
{
    struct stream_idmp purged = { 0 }, lazy = { 0 };
    struct idmp_item *item;

    (void)state;
    idmp_configure(&purged, 1, 10);
    idmp_configure(&lazy, 1, 10);
    remember(&purged, KEY_A, "p", "i", (struct id){ 1, 0 }, 1000);
    remember(&lazy, KEY_A, "p", "i", (struct id){ 1, 0 }, 1000);
    assert_int_equal(
        idmp_prepare(&purged, KEY_A, slice_str("q"), slice_str("j"), 9000, &item, NULL), OK);
    idmp_discard(item);
    assert_consistent(&purged);
    assert_true(idmp_bytes(purged.map) < idmp_bytes(lazy.map));
    assert_same_digest(&purged, &lazy, 9000);
    idmp_free(purged.map);
    idmp_free(lazy.map);
}

static void what_differs_shows_in_the_digest(void **state)
{
    struct stream_idmp base = { 0 }, other = { 0 };
    uint64_t x[2] = { 0, 0 }, y[2] = { 0, 0 };

    (void)state;
    idmp_configure(&base, 100, 10);
    remember(&base, KEY_A, "p", "i", (struct id){ 1, 0 }, 1000);
    remember(&base, KEY_A, "p", "j", (struct id){ 2, 0 }, 1000);
    idmp_digest(&base, 1000, x);
    for (int kind = 0; kind < 5; kind++) {
        memset(&other, 0, sizeof other);
        idmp_configure(&other, kind == 0 ? 101 : 100, kind == 1 ? 11 : 10);
        remember(&other, KEY_A, kind == 2 ? "q" : "p", "i", (struct id){ 1, 0 }, 1000);
        remember(&other, KEY_A, "p", "j", (struct id){ 2, kind == 3 }, kind == 4 ? 1001 : 1000);
        memset(y, 0, sizeof y);
        idmp_digest(&other, 1001, y);
        assert_memory_not_equal(x, y, sizeof x);
        idmp_free(other.map);
    }
    idmp_free(base.map);
}

static void new_settings_forget_everything_but_the_count(void **state)
{
    struct stream_idmp st = { 0 };
    struct id got;

    (void)state;
    idmp_configure(&st, 100, 10);
    remember(&st, KEY_A, "p", "i", (struct id){ 1, 0 }, 1000);
    idmp_configure(&st, 50, 10);
    assert_false(idmp_find(&st, slice_str("p"), slice_str("i"), 1000, &got));
    assert_int_equal(st.iids_added, 1);
    assert_int_equal(idmp_count(&st, 1000).n_producers, 0);
    idmp_free(st.map);
}

static void an_id_without_settings_is_damage(void **state)
{
    struct stream_idmp st = { 0 };
    struct idmp_item *item;

    (void)state;
    assert_int_equal(idmp_prepare(&st, KEY_A, slice_str("p"), slice_str("i"), 1, &item, NULL),
                     ERR_CORRUPT);
}

static void assert_auto(bool same, const struct slice *a, size_t n_a, const struct slice *b,
                        size_t n_b)
{
    uint8_t x[IDMP_AUTO_BYTES], y[IDMP_AUTO_BYTES];

    idmp_auto(a, n_a, x);
    idmp_auto(b, n_b, y);
    assert_int_equal(memcmp(x, y, sizeof x) == 0, same);
}

static void an_automatic_id_depends_on_the_pairs_but_not_on_their_order(void **state)
{
    struct slice ab[] = { slice_str("a"), slice_str("1"), slice_str("b"), slice_str("2") };
    struct slice ba[] = { slice_str("b"), slice_str("2"), slice_str("a"), slice_str("1") };
    struct slice crossed[] = { slice_str("a"), slice_str("2"), slice_str("b"), slice_str("1") };
    struct slice joined[] = { slice_str("a1"), slice_str(""), slice_str("b"), slice_str("2") };
    struct slice swapped[] = { slice_str("1"), slice_str("a"), slice_str("b"), slice_str("2") };
    struct slice twice[] = { slice_str("a"), slice_str("1"), slice_str("a"), slice_str("1") };
    struct slice other_twice[] = { slice_str("b"), slice_str("2"), slice_str("b"), slice_str("2") };

    (void)state;
    assert_auto(true, ab, 4, ba, 4);
    assert_auto(false, ab, 4, crossed, 4);
    assert_auto(false, ab, 4, joined, 4);
    assert_auto(false, ab, 4, swapped, 4);
    assert_auto(false, ab, 4, ab, 2);
    assert_auto(false, twice, 4, twice, 2);
    assert_auto(false, twice, 4, other_twice, 4); /* equal pairs do not cancel each other */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_forgotten_exactly_when_its_duration_is_over),
        cmocka_unit_test(when_memory_is_given_back_does_not_show_in_the_digest),
        cmocka_unit_test(what_differs_shows_in_the_digest),
        cmocka_unit_test(new_settings_forget_everything_but_the_count),
        cmocka_unit_test(an_id_without_settings_is_damage),
        cmocka_unit_test(an_automatic_id_depends_on_the_pairs_but_not_on_their_order),
        cmocka_unit_test(random_ids_are_remembered_as_a_list_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
