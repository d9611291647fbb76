/* test_state_values.c - values in broker/engine/state.c beside a plain table: strings of all lengths that come, change, get cold and
 * hot, are renamed, expire and go, in databases that change places. state_check looks at everything now and then. */
#include "broker/engine/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/hash.h"
#include "tests/lib/random.h"

enum { NAMES = 60, DBS = 3, LENGTH_MAX = 9000 };

struct model {
    bool there, cold, backed;
    size_t n;
    uint8_t byte;
    uint64_t rev, back, expiry_ms, stale_ms;
};

struct world {
    struct state s;
    struct random rng;
    uint64_t lsn, now_ms;
    struct model keys[DBS][NAMES];
};

static struct slice name_of(size_t i)
{
    static char names[NAMES][96];

    /* of 1 to 90 bytes */
    snprintf(names[i], sizeof names[i], "%zu%.*s", i, (int)(i * 7 % 90),
             "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
             "nnnnnnn");
    return slice_str(names[i]);
}

static struct slice bytes_of(const struct model *m)
{
    static uint8_t bytes[2 * LENGTH_MAX];

    memset(bytes, m->byte, m->n);
    return slice_of(bytes, m->n);
}

static struct world *world_new(const char *test)
{
    struct world *w = calloc(1, sizeof *w);
    uint8_t key[16] = { 7 };

    assert_non_null(w);
    w->rng = random_seeded(test);
    state_init(&w->s, key);
    w->lsn = 2000;
    w->now_ms = 1700000000000;
    w->s.now_ms = w->now_ms;
    return w;
}

static void world_free(struct world *w)
{
    state_fini(&w->s);
    free(w);
}

static void check_key(struct world *w, int db, size_t i)
{
    const struct model *m = &w->keys[db][i];
    const struct object *o = state_find(&w->s, db, name_of(i));

    assert_int_equal(o != NULL, m->there);
    if (o == NULL)
        return;
    assert_true(slice_equal(object_name(o), name_of(i)));
    assert_int_equal(o->type, OBJECT_STRING);
    assert_int_equal(state_db_of(&w->s, o), db);
    assert_int_equal(o->rev, m->rev);
    assert_int_equal(o->expiry_ms, m->expiry_ms);
    assert_int_equal(object_stale_ms(o), m->stale_ms);
    assert_int_equal(object_size(o), m->n);
    assert_int_equal((o->flags & OBJECT_COLD) != 0, m->cold);
    assert_int_equal((o->flags & OBJECT_BACKED) != 0, m->backed);
    if (m->backed)
        assert_int_equal(object_back_lsn(o), m->back);
    if (!m->cold)
        assert_true(slice_equal(object_string(o), bytes_of(m)));
}

static void check_all(struct world *w)
{
    const char *broken = state_check(&w->s);

    if (broken != NULL)
        fail_msg("%s", broken);
    for (int db = 0; db < DBS; db++)
        for (size_t i = 0; i < NAMES; i++)
            check_key(w, db, i);
}

/* ---- one change each, in both ---- */

static void put(struct world *w, int db, size_t i)
{
    struct model *m = &w->keys[db][i];
    struct state_value v = { .type = OBJECT_STRING, .rev = ++w->lsn };
    struct object *o;

    *m = (struct model){ .there = true,
                         .backed = random_below(&w->rng, 4) != 0,
                         .n = random_below(&w->rng, random_below(&w->rng, 6) ? 200 : LENGTH_MAX),
                         .byte = (uint8_t)random_u64(&w->rng),
                         .rev = w->lsn,
                         .back = w->lsn };
    if (random_below(&w->rng, 3) == 0)
        m->expiry_ms = w->now_ms + 1 + random_below(&w->rng, 1000000);
    if (m->expiry_ms != 0 && random_below(&w->rng, 3) == 0)
        m->stale_ms = m->expiry_ms + random_below(&w->rng, 1000);
    v.flags = m->backed ? OBJECT_BACKED : 0;
    v.expiry_ms = m->expiry_ms;
    v.stale_ms = m->stale_ms;
    v.bytes = bytes_of(m);
    assert_int_equal(state_put_value(&w->s, db, name_of(i), &v, &o, NULL), OK);
    assert_ptr_equal(o, state_find(&w->s, db, name_of(i)));
}

/* Its time, or which record backs it, or whether it is in memory. */
static void set(struct world *w, struct object *o, struct model *m)
{
    struct state_value v;

    state_get_value(o, &v);
    switch (random_below(&w->rng, 3)) {
    case 0:
        v.rev = m->rev = ++w->lsn;
        v.expiry_ms = m->expiry_ms =
            random_below(&w->rng, 2) ? w->now_ms + random_below(&w->rng, 100000) + 1 : 0;
        v.stale_ms = m->stale_ms = 0;
        break;
    case 1:
        v.flags |= OBJECT_BACKED;
        v.back_lsn = m->back = ++w->lsn; /* an image */
        m->backed = true;
        break;
    default:
        if (!m->backed)
            return;
        v.flags ^= OBJECT_COLD;
        if (!m->cold) {
            assert_int_equal(state_set_value(&w->s, &o, &v, NULL), OK);
        } else {
            v.bytes = bytes_of(m);
            assert_int_equal(state_heat_value(&w->s, &o, &v, NULL), OK);
        }
        m->cold = !m->cold;
        return;
    }
    assert_int_equal(state_set_value(&w->s, &o, &v, NULL), OK);
}

static void patch(struct world *w, struct object *o, struct model *m)
{
    struct model tail = *m;
    struct state_value v;

    if (m->cold || m->n > LENGTH_MAX)
        return;
    state_get_value(o, &v);
    tail.n = random_below(&w->rng, 100);
    v.rev = m->rev = ++w->lsn;
    v.flags = 0;
    v.back_lsn = 0;
    m->backed = false;
    assert_int_equal(state_patch_value(&w->s, &o, m->n, bytes_of(&tail), &v, NULL), OK);
    m->n += tail.n;
}

static void rename_one(struct world *w, struct object *o, int db, size_t i)
{
    int to_db = (int)random_below(&w->rng, DBS);
    size_t to = random_below(&w->rng, NAMES);

    if (to_db == db && to == i)
        return;
    assert_int_equal(state_rename_value(&w->s, &o, to_db, name_of(to), ++w->lsn, 0, NULL), OK);
    w->keys[to_db][to] = w->keys[db][i];
    w->keys[to_db][to].rev = w->lsn;
    w->keys[db][i] = (struct model){ 0 };
}

static void swap(struct world *w)
{
    int a = (int)random_below(&w->rng, DBS), b = (int)random_below(&w->rng, DBS);
    static struct model copy[NAMES];

    memcpy(copy, w->keys[a], sizeof copy);
    memcpy(w->keys[a], w->keys[b], sizeof copy);
    memcpy(w->keys[b], copy, sizeof copy);
    state_swap(&w->s, a, b);
}

static void step(struct world *w)
{
    int db = (int)random_below(&w->rng, DBS);
    size_t i = random_below(&w->rng, NAMES);
    struct object *o = state_find(&w->s, db, name_of(i));
    unsigned what = (unsigned)random_below(&w->rng, 100);

    if (o == NULL || what < 40)
        put(w, db, i);
    else if (what < 60)
        set(w, o, &w->keys[db][i]);
    else if (what < 75)
        patch(w, o, &w->keys[db][i]);
    else if (what < 90)
        rename_one(w, o, db, i);
    else if (what < 97) {
        state_unbind(&w->s, o);
        w->keys[db][i] = (struct model){ 0 };
    } else if (what < 99) {
        swap(w);
    } else {
        state_flush(&w->s, db);
        memset(w->keys[db], 0, sizeof w->keys[db]);
    }
    check_key(w, db, i);
}

static void values_are_what_was_put(void **state)
{
    struct world *w = world_new("state_values");

    (void)state;
    for (size_t i = random_rounds(20000); i > 0; i--) {
        step(w);
        if (i % 100 != 0)
            continue;
        check_all(w);
        while (state_reap(&w->s, 1000))
            ;
    }
    state_flush(&w->s, -1);
    while (state_reap(&w->s, 1000))
        ;
    state_settle_changes(&w->s, w->lsn + 1);
    assert_int_equal(w->s.used_bytes, 0);
    state_settle_changes(&w->s, UINT64_MAX);
    assert_int_equal(w->s.live.n_members, 0);
    world_free(w);
}

/* Whatever has a time is taken when it has come, once, and nothing earlier. */
static void what_expires_is_taken_in_time(void **state)
{
    struct world *w = world_new("expiring_values");

    (void)state;
    for (size_t i = random_rounds(3000); i > 0; i--) {
        size_t looks = 1000000;
        struct object *o;
        for (int k = 0; k < 5; k++)
            step(w);
        w->now_ms += random_below(&w->rng, 3000);
        while ((o = state_take_expired(&w->s, w->now_ms, &looks)) != NULL) {
            assert_true(object_end_ms(o) <= w->now_ms);
            for (size_t n = 0; n < NAMES; n++)
                if (slice_equal(object_name(o), name_of(n)))
                    w->keys[state_db_of(&w->s, o)][n] = (struct model){ 0 };
            state_unbind(&w->s, o);
        }
        for (int db = 0; db < DBS; db++)
            for (size_t n = 0; n < NAMES; n++) {
                const struct model *m = &w->keys[db][n];
                uint64_t end = m->stale_ms != 0 ? m->stale_ms : m->expiry_ms;
                assert_true(end == 0 || end + WHEEL_TICK_MS > w->now_ms);
            }
        check_all(w);
    }
    world_free(w);
}

static void put_until(struct world *w, const char *name, uint64_t expiry_ms)
{
    const struct state_value v = { .type = OBJECT_STRING, .rev = ++w->lsn, .expiry_ms = expiry_ms };
    struct object *o;

    assert_int_equal(state_put_value(&w->s, 0, slice_str(name), &v, &o, NULL), OK);
}

/* Locks, say: they would last for hours and are given back at once. Those that are not still end in time. */
static void keys_that_go_before_their_time_leave_little_behind(void **state)
{
    enum { STAY = 3000, PASS = 300000, ENTRIES_MAX = 70000 + 2 * STAY };
    struct world *w = world_new("passing_keys");
    size_t looks = SIZE_MAX, n_renewals = 0, n = 0;
    uint16_t turn = 0;
    char name[32];

    (void)state;
    for (int i = 0; i < PASS; i++) {
        const struct state_db *d = &w->s.dbs[0];
        if (i % (PASS / STAY) == 0) {
            snprintf(name, sizeof name, "stays %d", i);
            put_until(w, name, w->now_ms + 1000000 + random_below(&w->rng, 1000000));
        }
        put_until(w, "passes", w->now_ms + 100000000);
        state_unbind(&w->s, state_find(&w->s, 0, slice_str("passes")));
        if (i % 10 == 0)
            state_step(&w->s, 8);
        assert_true(d->wheel->n <= ENTRIES_MAX);
        n_renewals += d->turn != turn;
        turn = d->turn;
        if (i % 10000 == 0)
            assert_null(state_check(&w->s));
    }
    assert_in_range(n_renewals, 3, 5);
    for (w->now_ms += 900000; w->s.n_objects > 0 && n < STAY; w->now_ms += 50000) {
        struct object *o;
        while ((o = state_take_expired(&w->s, w->now_ms, &looks)) != NULL) {
            assert_in_range(o->expiry_ms, w->now_ms - 50000 - WHEEL_TICK_MS, w->now_ms);
            state_unbind(&w->s, o);
            n++;
        }
    }
    assert_int_equal(n, STAY);
    world_free(w);
}

static void put_hash(struct world *w, const char *name, size_t n_fields)
{
    struct state_value v = { .type = OBJECT_HASH, .rev = ++w->lsn, .size = n_fields };
    struct hash *h;
    struct object *o;
    char field[24];
    bool is_new;

    assert_int_equal(hash_new(&h, NULL), OK);
    for (size_t i = 0; i < n_fields; i++) {
        struct hash_field f = { .field = slice_of(field, 0), .value = slice_str("value") };
        f.field.n = (size_t)snprintf(field, sizeof field, "field %zu", i);
        assert_int_equal(hash_set(&h, w->s.hash_key, &f, &is_new, NULL), OK);
    }
    v.pointer = h;
    assert_int_equal(state_put_value(&w->s, 0, slice_str(name), &v, &o, NULL), OK);
    assert_null(state_check(&w->s));
}

/* How many calls of state_reap it takes. */
static size_t reaps(struct world *w, size_t budget)
{
    size_t n = 1;

    while (state_reap(&w->s, budget))
        n++;
    return n;
}

/* Whether it is deleted, written over, dropped from memory or flushed. */
static void much_memory_goes_in_slices(void **state)
{
    enum { FIELDS = 50000, BUDGET = 1000 };
    struct world *w = world_new("large_values");
    struct state_value v;
    struct object *o;
    size_t used;

    (void)state;
    put_hash(w, "h", FIELDS);
    used = w->s.used_bytes;
    assert_true(used > FIELDS * 16);
    state_unbind(&w->s, state_find(&w->s, 0, slice_str("h")));
    assert_int_equal(w->s.used_bytes, 0); /* nobody can reach it */
    assert_in_range(reaps(w, BUDGET), FIELDS / BUDGET, 2 * FIELDS / BUDGET);

    put_hash(w, "h", FIELDS);
    put_until(w, "h", 0);
    assert_true(w->s.used_bytes < 200);
    assert_null(state_check(&w->s));
    assert_in_range(reaps(w, BUDGET), FIELDS / BUDGET, 2 * FIELDS / BUDGET);

    put_hash(w, "h", FIELDS);
    o = state_find(&w->s, 0, slice_str("h"));
    state_get_value(o, &v);
    v.flags |= OBJECT_COLD | OBJECT_BACKED;
    assert_int_equal(state_set_value(&w->s, &o, &v, NULL), OK);
    assert_int_equal(object_size(o), FIELDS);
    assert_null(state_check(&w->s));
    assert_in_range(reaps(w, BUDGET), FIELDS / BUDGET, 2 * FIELDS / BUDGET);

    put_hash(w, "h", FIELDS);
    state_flush(&w->s, 0);
    assert_in_range(reaps(w, BUDGET), FIELDS / BUDGET, 2 * FIELDS / BUDGET);
    assert_int_equal(w->s.used_bytes, 0);
    put_hash(w, "h", FIELDS);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_what_was_put),
        cmocka_unit_test(what_expires_is_taken_in_time),
        cmocka_unit_test(keys_that_go_before_their_time_leave_little_behind),
        cmocka_unit_test(much_memory_goes_in_slices),
    };
    return cmocka_run_group_tests_name("state_values", tests, NULL, NULL);
}
