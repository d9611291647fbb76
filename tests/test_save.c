/* test_save.c - the state's objects as bytes of a checkpoint, and back; bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/idmp.h"
#include "broker/engine/replay.h"
#include "broker/engine/save.h"
#include "log/entry.h"
#include "log/record.h"
#include "tests/lib/random.h"

static const uint8_t HASH_KEY[16] = "one of the keys", OTHER_KEY[16] = "and another one";
enum { AS_OF = 1000000, BODIES_MAX = 4096, CLOCK_MS = 5000 };

/* A state and the records that made it, whose entries lie in memory as in an arena. */
struct world {
    struct state s;
    uint64_t lsn;
    uint8_t *bodies[BODIES_MAX];
    size_t n_bodies;
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    state_init(&w->s, HASH_KEY);
    w->lsn = LOG_FIRST_LSN - 1;
    return w;
}

static void world_free(struct world *w)
{
    state_fini(&w->s);
    for (size_t i = 0; i < w->n_bodies; i++)
        free(w->bodies[i]);
    free(w);
}

static uint64_t apply(struct world *w, uint8_t type, const uint8_t *body, const uint8_t *end)
{
    struct log_record r = { .lsn = ++w->lsn,
                            .clock = (uint64_t)CLOCK_MS << 16,
                            .type = type,
                            .len = (size_t)(end - body) };
    uint8_t *copy = malloc(r.len);
    struct err e;

    assert_non_null(copy);
    assert_true(w->n_bodies < BODIES_MAX);
    memcpy(copy, body, r.len);
    w->bodies[w->n_bodies++] = copy;
    r.body = copy;
    if (replay_apply(&w->s, &r, &e) != OK)
        fail_msg("%s", e.text);
    return r.lsn;
}

static uint64_t add_stream(struct world *w, int db, const char *name)
{
    uint8_t body[64];
    return apply(w, RECORD_STREAM, body,
                 slice_put(varint_put(body, (uint64_t)db), slice_str(name)));
}

static void add_entry(struct world *w, uint64_t oid, struct id id)
{
    struct slice strings[2] = { slice_str("f"), slice_str("v") };
    uint8_t body[64];

    apply(w, RECORD_ENTRY, body, entry_put(varint_put(body, oid), id, strings, 2));
}

static void add_idmp(struct world *w, uint64_t oid, const char *producer, const char *iid,
                     struct id id)
{
    struct slice strings[2] = { slice_str("f"), slice_str("v") };
    uint8_t body[128], *p = slice_put(varint_put(body, oid), slice_str(producer));

    apply(w, RECORD_ENTRY_IDMP, body, entry_put(slice_put(p, slice_str(iid)), id, strings, 2));
}

static void set_expiry(struct world *w, int db, const char *name, uint64_t oid, uint64_t expiry_ms)
{
    uint8_t body[64], *p = slice_put(varint_put(body, (uint64_t)db), slice_str(name));
    apply(w, RECORD_NAME, body, varint_put(varint_put(p, oid), expiry_ms));
}

/* One that has everything. */
static uint64_t add_rich_stream(struct world *w, int db, const char *name)
{
    static const uint8_t settings[] = { 3, SETTING_RETENTION_AGE, 61,   SETTING_CODEC,
                                        1, SETTING_DURABILITY,    1 + 2 };
    uint64_t oid = add_stream(w, db, name);
    uint8_t body[64], *p;

    apply(w, RECORD_IDMP_CONFIG, body, varint_put(varint_put(varint_put(body, oid), 100), 5));
    for (uint64_t i = 1; i <= 9; i++)
        add_entry(w, oid, (struct id){ i, i % 3 });
    add_idmp(w, oid, "p", "one", (struct id){ 10, 0 });
    add_idmp(w, oid, "q", "", (struct id){ 11, 0 });
    add_idmp(w, oid, "p", "two", (struct id){ 12, 0 });
    p = id_put(varint_put(body, oid), (struct id){ 3, 0 });
    apply(w, RECORD_CUT, body, varint_put(varint_put(p, 10), 70));
    p = varint_put(varint_put(varint_put(varint_put(body, oid), 8), 56), 2);
    p = id_put(id_put(p, (struct id){ 5, 2 }), (struct id){ 7, 1 });
    apply(w, RECORD_REMOVE, body, p);
    p = varint_put(body, oid);
    memcpy(p, settings, sizeof settings);
    apply(w, RECORD_SETTINGS, body, p + sizeof settings);
    set_expiry(w, db, name, oid, 123456);
    return oid;
}

/* ---- saving and loading ---- */

static struct log_buffer save_all(struct state *s, size_t budget)
{
    struct log_buffer out = { 0 };
    struct save save;

    save_begin(&save, s);
    while (save_some(&save, budget, &out)) {
    }
    save_end(&save);
    assert_false(out.failed);
    return out;
}

static int load(struct state *s, struct slice chunk, struct err *e)
{
    state_init(s, OTHER_KEY);
    assert_int_equal(replay_begin(s, NULL), OK);
    return save_load(s, AS_OF, chunk, e);
}

/* A state out of the chunk, with no records after it. */
static void load_ok(struct state *s, struct log_buffer chunk)
{
    struct err e;

    if (load(s, slice_of(chunk.p, chunk.n), &e) != OK)
        fail_msg("%s", e.text);
    replay_loaded(s, AS_OF, AS_OF);
    if (replay_end(s, &e) != OK)
        fail_msg("%s", e.text);
    assert_null(state_check(s));
}

static void assert_same_stream(const struct stream *a, const struct stream *b)
{
    struct id x = ID_MIN, y = ID_MIN;
    uint64_t sum_a[2] = { 0, 0 }, sum_b[2] = { 0, 0 };

    assert_non_null(b);
    assert_int_equal(a->oid, b->oid);
    assert_int_equal(a->object.rev, b->object.rev);
    assert_int_equal(a->object.expiry_ms, b->object.expiry_ms);
    assert_int_equal(a->n_entries, b->n_entries);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->entries_added, b->entries_added);
    assert_int_equal(a->added_when_empty, b->added_when_empty);
    assert_int_equal(id_cmp(a->last_id, b->last_id), 0);
    assert_int_equal(id_cmp(stream_floor(a), stream_floor(b)), 0);
    assert_int_equal(id_cmp(stream_max_deleted(a), stream_max_deleted(b)), 0);
    assert_int_equal(delset_n(stream_deletes(a)), delset_n(stream_deletes(b)));
    while (delset_next(stream_deletes(a), &x) && delset_next(stream_deletes(b), &y)) {
        assert_int_equal(id_cmp(x, y), 0);
        id_next(&x);
        id_next(&y);
    }
    assert_memory_equal(stream_settings(a), stream_settings(b), sizeof *stream_settings(a));
    idmp_digest(stream_idmp(a), CLOCK_MS, sum_a);
    idmp_digest(stream_idmp(b), CLOCK_MS, sum_b);
    assert_memory_equal(sum_a, sum_b, sizeof sum_a);
    assert_int_equal(stream_idmp(a)->iids_duplicates, stream_idmp(b)->iids_duplicates);
}

static const struct stream *find(const struct state *s, int db, const char *name)
{
    return stream_of(state_find(s, db, slice_str(name)));
}

static void a_stream_comes_back_with_all_that_it_has(void **state)
{
    struct world *w = world_new();
    struct log_buffer chunk;
    struct state loaded;

    (void)state;
    add_rich_stream(w, 3, "rich");
    add_stream(w, 0, "");
    add_stream(w, 15, "plain");
    state_count_duplicate(stream_of(state_find(&w->s, 3, slice_str("rich"))));
    chunk = save_all(&w->s, 100);
    load_ok(&loaded, chunk);
    assert_int_equal(loaded.n_objects, 3);
    assert_same_stream(find(&w->s, 3, "rich"), find(&loaded, 3, "rich"));
    assert_same_stream(find(&w->s, 0, ""), find(&loaded, 0, ""));
    assert_same_stream(find(&w->s, 15, "plain"), find(&loaded, 15, "plain"));
    assert_int_equal(loaded.dbs[3].n_expiring, 1);
    assert_true(loaded.own_always);
    state_fini(&loaded);
    free(chunk.p);
    world_free(w);
}

static void slices_are_as_large_as_asked_for_and_together_everything(void **state)
{
    struct world *w = world_new();
    struct log_buffer out = { 0 };
    struct state loaded;
    struct save save;
    size_t calls = 1;
    char name[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%d", i);
        add_stream(w, i % 16, name);
    }
    save_begin(&save, &w->s);
    for (size_t before = 0; save_some(&save, 10, &out); calls++) {
        assert_true(out.n - before <= 14 * 30); /* a bucket may hold some more */
        before = out.n;
    }
    save_end(&save);
    assert_in_range(calls, 100, 500);
    load_ok(&loaded, out);
    assert_int_equal(loaded.n_objects, 1000);
    state_fini(&loaded);
    free(out.p);
    world_free(w);
}

static void many_deleted_ids_are_saved_a_part_at_a_time(void **state)
{
    struct world *w = world_new();
    uint64_t oid = add_stream(w, 0, "s");
    struct stream *st = state_find_oid(&w->s, oid);
    struct log_buffer out = { 0 };
    struct state loaded;
    struct save save;
    size_t most = 0;

    (void)state;
    st->last_id = (struct id){ 200000, UINT64_MAX };
    assert_int_equal(state_prepare_remove(&w->s, st, 100000, NULL), OK);
    for (uint64_t i = 1; i <= 100000; i++)
        delset_add(&st->more->deletes, (struct id){ 2 * i, i % 5 == 0 ? UINT64_MAX : i });
    save_begin(&save, &w->s);
    for (size_t before = 0; save_some(&save, 1, &out); before = out.n)
        most = out.n - before > most ? out.n - before : most;
    save_end(&save);
    assert_in_range(most, 1, 16384 * 12 + 100);
    load_ok(&loaded, out);
    assert_same_stream(st, find(&loaded, 0, "s"));
    state_fini(&loaded);
    free(out.p);
    world_free(w);
}

static void what_is_flushed_meanwhile_is_not_saved(void **state)
{
    struct world *w = world_new();
    struct log_buffer out = { 0 };
    struct save save;
    struct state loaded;

    (void)state;
    add_stream(w, 1, "gone");
    add_stream(w, 2, "kept");
    save_begin(&save, &w->s);
    state_flush(&w->s, 1);
    while (save_some(&save, 1, &out)) {
    }
    save_end(&save);
    load_ok(&loaded, out);
    assert_int_equal(loaded.n_objects, 1);
    assert_non_null(find(&loaded, 2, "kept"));
    state_fini(&loaded);
    free(out.p);
    world_free(w);
}

static void an_object_that_comes_twice_is_loaded_once(void **state)
{
    struct world *w = world_new();
    struct log_buffer chunk;
    struct state loaded;

    (void)state;
    add_rich_stream(w, 3, "rich");
    chunk = save_all(&w->s, 100);
    state_init(&loaded, OTHER_KEY);
    assert_int_equal(replay_begin(&loaded, NULL), OK);
    assert_int_equal(save_load(&loaded, AS_OF, slice_of(chunk.p, chunk.n), NULL), OK);
    assert_int_equal(save_load(&loaded, AS_OF + 5, slice_of(chunk.p, chunk.n), NULL), OK);
    assert_int_equal(loaded.n_objects, 1);
    assert_int_equal(replay_end(&loaded, NULL), OK);
    assert_same_stream(find(&w->s, 3, "rich"), find(&loaded, 3, "rich"));
    state_fini(&loaded);
    free(chunk.p);
    world_free(w);
}

/* ---- a name that passed from one to another ---- */

/* Two streams that were saved when each had the name "a" of database 0: oid 2000, then oid 3000. */
static void load_two_of_a_name(struct state *s, bool later_first)
{
    static const uint8_t older[] = { 1, 0xd0, 15, 0xd0, 15, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0 };
    static const uint8_t later[] = { 1, 0xb8, 23, 0xb8, 23, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0 };
    const uint8_t *first = later_first ? later : older, *second = later_first ? older : later;

    state_init(s, OTHER_KEY);
    assert_int_equal(replay_begin(s, NULL), OK);
    assert_int_equal(save_load(s, 3500, slice_of(first, sizeof older), NULL), OK);
    assert_int_equal(save_load(s, 3500, slice_of(second, sizeof older), NULL), OK);
    replay_loaded(s, 1500, 4000);
}

static void of_two_bindings_of_a_name_the_later_one_wins(void **state)
{
    struct state s;

    (void)state;
    for (int later_first = 0; later_first < 2; later_first++) {
        load_two_of_a_name(&s, later_first);
        assert_int_equal(s.n_objects, 1);
        assert_int_equal(find(&s, 0, "a")->oid, 3000);
        assert_non_null(state_find_oid(&s, 2000)); /* without a name */
        state_fini(&s);
    }
}

static void a_loser_of_a_name_that_no_record_explains_is_an_error(void **state)
{
    struct state s;
    struct err e;

    (void)state;
    load_two_of_a_name(&s, false);
    assert_int_equal(replay_end(&s, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "lost their names"));
    state_fini(&s);
}

static void a_record_that_explains_the_loser_gives_it_its_fate(void **state)
{
    static const struct {
        const char *why;
        uint8_t type, n, body[8];
        bool there;
    } cases[] = {
        { "removed", RECORD_UNNAME, 6, { 0, 1, 'a', 0, 0xd0, 15 }, false },
        { "renamed", RECORD_NAME, 6, { 0, 1, 'b', 0xd0, 15, 0 }, true },
        { "overwritten", RECORD_NAME, 6, { 0, 1, 'a', 0xb8, 23, 0 }, false },
        { "overwritten by one that is gone", RECORD_NAME, 6, { 0, 1, 'a', 0x90, 78, 0 }, false },
        { "flushed", RECORD_FLUSH, 1, { 1 }, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct log_record r = {
            .lsn = 2500, .type = cases[i].type, .body = cases[i].body, .len = cases[i].n
        };
        struct state s;

        print_message("  %s\n", cases[i].why);
        load_two_of_a_name(&s, i % 2 == 0);
        state_find_oid(&s, 2000)->always_lsn = 2400; /* it was saved before that record */
        assert_int_equal(replay_apply(&s, &r, NULL), OK);
        assert_int_equal(replay_end(&s, NULL), OK);
        assert_int_equal(find(&s, 0, "a")->oid, 3000);
        assert_int_equal(state_find_oid(&s, 2000) != NULL, cases[i].there);
        assert_int_equal(s.n_objects, 1 + cases[i].there);
        assert_null(state_check(&s));
        state_fini(&s);
    }
}

/* ---- bytes that lie ---- */

static void a_piece_that_is_cut_short_is_refused(void **state)
{
    struct world *w = world_new();
    struct log_buffer chunk;

    (void)state;
    add_rich_stream(w, 3, "rich");
    chunk = save_all(&w->s, 100);
    for (size_t n = 1; n < chunk.n; n++) {
        uint8_t *exact = malloc(n);
        struct state loaded;
        struct err e = { 0 };

        assert_non_null(exact);
        if (n == 17) { /* the hash key, which is whole, and nothing */
            free(exact);
            continue;
        }
        memcpy(exact, chunk.p, n);
        assert_int_equal(load(&loaded, slice_of(exact, n), &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "checkpoint"));
        assert_int_equal(loaded.n_objects, 0);
        state_fini(&loaded);
        free(exact);
    }
    free(chunk.p);
    world_free(w);
}

static void any_changed_byte_is_refused_or_gives_a_whole_state(void **state)
{
    struct random rng = random_seeded("changed_byte");
    struct world *w = world_new();
    struct log_buffer chunk;

    (void)state;
    add_rich_stream(w, 3, "rich");
    add_rich_stream(w, 3, "other");
    chunk = save_all(&w->s, 100);
    for (size_t round = random_rounds(20); round > 0; round--)
        for (size_t i = 0; i < chunk.n; i++) {
            uint8_t byte = chunk.p[i];
            struct state loaded;
            const char *broken;
            int rc;

            chunk.p[i] = (uint8_t)random_u64(&rng);
            rc = load(&loaded, slice_of(chunk.p, chunk.n), NULL);
            assert_true(rc == OK || rc == ERR_CORRUPT);
            broken = state_check(&loaded);
            if (broken != NULL)
                fail_msg("byte %zu: %s", i, broken);
            state_fini(&loaded);
            chunk.p[i] = byte;
        }
    free(chunk.p);
    world_free(w);
}

static void what_no_object_can_be_is_refused(void **state)
{
    static const struct {
        const char *why, *text;
        size_t n;
        uint8_t bytes[32];
    } cases[] = {
        { "an item of kind 0", "unknown kind", 1, { 0 } },
        { "an item of kind 9", "unknown kind", 2, { 9, 0 } },
        { "a hash key of 3 bytes", "a hash key", 4, { 8, 1, 2, 3 } },
        { "a value without its end", "cut short", 2, { 5, 2 } },
        { "a value of type 1", "no such type", 3, { 5, 1, 1 } },
        { "a value of type 5", "no such type", 3, { 5, 5, 1 } },
        { "a value with flags 32", "flags", 4, { 5, 2, 32, 0 } },
        { "a backed value with its contents", "flags", 4, { 5, 2, 17, 0 } },
        { "a value backed elsewhere that is not backed", "flags", 4, { 5, 2, 2, 0 } },
        { "a value's revision of 1023", "no value", 8, { 5, 2, 1, 1, 'a', 0xff, 7, 0 } },
        { "a value's revision after the checkpoint",
          "no value",
          10,
          { 5, 2, 1, 1, 'a', 0xff, 0xff, 0xff, 1, 0 } },
        { "a value backed by record 5", "no value", 9, { 5, 2, 3, 1, 'a', 0xd0, 15, 5, 0 } },
        { "a hash that is damaged", "hash", 11, { 5, 3, 16, 1, 'a', 0xd0, 15, 3, 1, 9, 9 } },
        { "a piece without an end", "no end", 8, { 6, 2, 1, 'a', 1, 0, 1, 'x' } },
        { "a number of keys in database 16", "no such database", 3, { 7, 16, 1 } },
        { "oid 1023", "no object", 16, { 1, 0xff, 7, 0xff, 7, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0 } },
        { "bound before it was made", "no object", 16, { 1, 0xd0, 15, 0xcf, 15, 0, 1, 'a', 0 } },
        { "bound after the checkpoint",
          "no object",
          17,
          { 1, 0xd0, 15, 0xff, 0xff, 0xff, 1, 0, 1, 'a', 0 } },
        { "database 16", "no object", 16, { 1, 0xd0, 15, 0xd0, 15, 16, 1, 'a', 0 } },
        { "unknown flags",
          "unknown flags",
          16,
          { 1, 0xd0, 15, 0xd0, 15, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 16 } },
        { "a floor above all entries", "a floor above", 20, { 1,   0xd0, 15, 0xd0, 15, 0, 1,
                                                              'a', 0,    5,  5,    0,  0, 0,
                                                              0,   1,    5,  7,    0,  0 } },
        { "the same ID deleted twice", "do not ascend", 21, { 1,   0xd0, 15, 0xd0, 15, 0, 1,
                                                              'a', 0,    5,  5,    0,  0, 0,
                                                              0,   2,    2,  1,    1,  0, 0 } },
        { "deleted IDs that overflow",
          "do not ascend",
          30,
          { 1, 0xd0, 15,   0xd0, 15,   0,    1,    'a',  0,    5,    5,    0, 0, 0, 0,
            2, 2,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1 } },
        { "a setting with tag 8",
          "no such setting",
          19,
          { 1, 0xd0, 15, 0xd0, 15, 0, 1, 'a', 0, 5, 5, 0, 0, 0, 0, 4, 1, 8, 0 } },
        { "durability 3",
          "no such class",
          19,
          { 1, 0xd0, 15, 0xd0, 15, 0, 1, 'a', 0, 5, 5, 0, 0, 0, 0, 4, 1, 5, 3 } },
        { "an idempotence ID without settings of it", "cannot be there", 26, { 1,  0xd0, 15, 0xd0,
                                                                               15, 0,    1,  'a',
                                                                               0,  5,    5,  0,
                                                                               0,  0,    0,  8,
                                                                               0,  0,    0,  0,
                                                                               1,  0,    0,  1,
                                                                               1,  0 } },
        { "deleted IDs of an unknown stream", "did not come before", 6, { 2, 0xd0, 15, 1, 1, 1 } },
        { "a group of an unknown stream", "did not come before", 4, { 3, 0xd0, 15, 1 } },
        { "pending entries of an unknown stream", "did not come before", 4, { 4, 0xd0, 15, 1 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = { 0 };
        struct state s;

        print_message("  %s\n", cases[i].why);
        assert_int_equal(load(&s, slice_of(cases[i].bytes, cases[i].n), &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, cases[i].text));
        state_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_comes_back_with_all_that_it_has),
        cmocka_unit_test(slices_are_as_large_as_asked_for_and_together_everything),
        cmocka_unit_test(many_deleted_ids_are_saved_a_part_at_a_time),
        cmocka_unit_test(what_is_flushed_meanwhile_is_not_saved),
        cmocka_unit_test(an_object_that_comes_twice_is_loaded_once),
        cmocka_unit_test(of_two_bindings_of_a_name_the_later_one_wins),
        cmocka_unit_test(a_loser_of_a_name_that_no_record_explains_is_an_error),
        cmocka_unit_test(a_record_that_explains_the_loser_gives_it_its_fate),
        cmocka_unit_test(a_piece_that_is_cut_short_is_refused),
        cmocka_unit_test(any_changed_byte_is_refused_or_gives_a_whole_state),
        cmocka_unit_test(what_no_object_can_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
