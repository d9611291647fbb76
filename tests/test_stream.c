/* test_stream.c - the index of a stream against a sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "log/entry.h"
#include "log/stream.h"
#include "tests/lib/random.h"

enum { MODEL_MAX = 40000, ENTRY_BYTES = 24 };

struct model { /* live entries in order; their bytes live as long as the model */
    struct stream_memory memory;
    struct stream_index *x;
    struct id ids[MODEL_MAX];
    size_t n, n_made;
    struct id last;
    uint8_t bytes[MODEL_MAX][ENTRY_BYTES];
};

static struct model *model_new(void)
{
    struct model *m = malloc(sizeof *m);

    assert_non_null(m);
    stream_memory_init(&m->memory);
    m->x = NULL;
    m->n = m->n_made = 0;
    m->last = ID_MIN;
    return m;
}

static void model_free(struct model *m)
{
    stream_index_free(m->x);
    stream_memory_fini(&m->memory); /* which asserts that all of it came back */
    free(m);
}

static void model_reserve(struct model *m, size_t n)
{
    assert_int_equal(stream_index_reserve(&m->memory, &m->x, n, NULL), OK);
}

/* Room for it has been made. */
static void model_append_reserved(struct model *m, struct id id)
{
    struct slice strings[2] = { slice_str("f"), slice_str("v") };
    uint8_t *entry = m->bytes[m->n_made++];

    entry_put(entry, id, strings, 2);
    stream_index_append(m->x, entry);
    m->ids[m->n++] = m->last = id;
}

static void model_append(struct model *m, struct id id)
{
    model_reserve(m, 1);
    model_append_reserved(m, id);
}

/* How many of the model's IDs are below `id`. */
static size_t model_below(const struct model *m, struct id id)
{
    size_t n = 0;

    while (n < m->n && id_cmp(m->ids[n], id) < 0)
        n++;
    return n;
}

static void model_remove(struct model *m, size_t from, size_t n)
{
    memmove(m->ids + from, m->ids + from + n, (m->n - from - n) * sizeof m->ids[0]);
    m->n -= n;
}

static struct id id_at(const struct stream_index *x, struct stream_pos pos)
{
    struct id id;

    entry_id(stream_index_at(x, pos), &id);
    return id;
}

static void assert_consistent(const struct model *m)
{
    const char *broken = stream_index_check(m->x);

    if (broken != NULL)
        fail_msg("%s", broken);
    assert_int_equal(stream_index_n(m->x), m->n);
}

/* An ID near those that the model has: one of them, beside one, or anywhere. */
static struct id random_id(struct random *r, const struct model *m)
{
    struct id id = { random_below(r, m->last.ms + 3), random_below(r, 4) };

    if (m->n > 0 && random_below(r, 3) > 0)
        id = m->ids[random_below(r, m->n)];
    if (random_below(r, 4) == 0)
        id_next(&id);
    return id;
}

static void check_walks(const struct model *m)
{
    struct stream_pos pos = stream_index_begin(m->x);
    size_t i = 0;

    for (; stream_index_at(m->x, pos) != NULL; stream_index_next(m->x, &pos), i++)
        assert_int_equal(id_cmp(id_at(m->x, pos), m->ids[i]), 0);
    assert_int_equal(i, m->n);
    while (stream_index_prev(m->x, &pos))
        assert_int_equal(id_cmp(id_at(m->x, pos), m->ids[--i]), 0);
    assert_int_equal(i, 0);
}

static void check_positions(struct random *r, const struct model *m)
{
    struct id id = random_id(r, m);
    size_t below = model_below(m, id), n = random_below(r, m->n + 1), max = random_below(r, 30);
    struct stream_pos seek = stream_index_seek(m->x, id), nth = stream_index_nth(m->x, n);
    struct stream_pos begin = stream_index_begin(m->x);

    assert_int_equal(stream_index_between(m->x, begin, seek), below);
    assert_int_equal(stream_index_between(m->x, begin, nth), n);
    assert_int_equal(stream_index_count(m->x, begin, seek, max), below < max ? below : max);
    if (n <= below) {
        size_t between = below - n;
        assert_int_equal(stream_index_between(m->x, nth, seek), between);
        assert_int_equal(stream_index_count(m->x, nth, seek, max), between < max ? between : max);
        assert_int_equal(stream_index_count(m->x, nth, seek, UINT64_MAX), between);
    } else {
        assert_int_equal(stream_index_count(m->x, nth, seek, max), 0);
    }
    if (n < m->n)
        assert_int_equal(id_cmp(id_at(m->x, nth), m->ids[n]), 0);
    else
        assert_null(stream_index_at(m->x, nth));
}

static void step_append(struct random *r, struct model *m, size_t n)
{
    size_t reserved = 0;

    for (size_t i = 0; i < n && m->n_made < MODEL_MAX; i++) {
        struct id id = m->last;

        if (reserved == 0) {
            reserved = 1 + random_below(r, n < STREAM_CHUNK ? n : STREAM_CHUNK);
            model_reserve(m, reserved);
        }
        reserved--;

        if (random_below(r, 2) == 0 || !id_next(&id))
            id = (struct id){ m->last.ms + 1 + random_below(r, 300), random_below(r, 2) };
        model_append_reserved(m, id);
    }
}

static void step_delete(struct random *r, struct model *m)
{
    struct id id = random_id(r, m);
    size_t at = model_below(m, id);
    bool there = at < m->n && id_cmp(m->ids[at], id) == 0;

    assert_int_equal(stream_index_delete(m->x, id), there);
    if (there)
        model_remove(m, at, 1);
}

static void step_trim(struct random *r, struct model *m)
{
    struct id id = random_id(r, m);
    size_t n;

    if (m->n > 0 && random_below(r, 4) > 0) /* mostly a little */
        id = m->ids[random_below(r, m->n) / (1 + random_below(r, 20))];
    n = model_below(m, id);
    assert_int_equal(stream_index_trim(m->x, id), n);
    model_remove(m, 0, n);
}

static void random_operations_give_what_a_sorted_array_gives(void **state)
{
    struct random r = random_seeded("stream");

    (void)state;
    for (size_t round = random_rounds(60); round > 0; round--) {
        struct model *m = model_new();
        size_t burst = (size_t[]){ 3, 200, 3000 }[random_below(&r, 3)];

        for (size_t step = 0; step < 150; step++) {
            switch (random_below(&r, 4)) {
            case 0: step_append(&r, m, 1 + random_below(&r, burst)); break;
            case 1: step_delete(&r, m); break;
            case 2: step_trim(&r, m); break;
            default: check_positions(&r, m); break;
            }
            assert_consistent(m);
        }
        check_walks(m);
        model_free(m);
    }
}

static void an_empty_index_has_no_entry_and_its_begin_is_its_end(void **state)
{
    struct model *m = model_new();
    struct stream_pos pos = stream_index_seek(m->x, ID_MIN);

    (void)state;
    assert_null(stream_index_at(m->x, pos));
    assert_false(stream_index_prev(m->x, &pos));
    assert_false(stream_index_delete(m->x, ID_MIN));
    assert_int_equal(stream_index_trim(m->x, ID_MAX), 0);
    assert_int_equal(stream_index_between(m->x, pos, stream_index_nth(m->x, 0)), 0);
    assert_consistent(m);
    model_free(m);
}

static void the_index_costs_eight_bytes_an_entry(void **state)
{
    struct model *m = model_new();

    (void)state;
    for (uint64_t i = 1; i <= 30000; i++)
        model_append(m, (struct id){ i, 0 });
    assert_true(stream_index_bytes(m->x) < 30000 * 8 + 16 * 1024);
    model_free(m);
}

static void a_stream_that_is_kept_short_keeps_one_chunk(void **state)
{
    struct model *m = model_new();

    (void)state;
    for (uint64_t i = 1; i <= 20000; i++) {
        model_append(m, (struct id){ i, 0 });
        if (m->n > 10) {
            assert_int_equal(stream_index_trim(m->x, (struct id){ i - 9, 0 }), 1);
            model_remove(m, 0, 1);
        }
    }
    assert_consistent(m);
    assert_int_equal(stream_index_end(m->x).chunk, 1);
    assert_true(stream_index_bytes(m->x) < 512);
    model_free(m);
}

static void entries_are_dropped_by_number_without_being_looked_at(void **state)
{
    static const size_t sizes[] = { 1, 2, 100, 129, 5000 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct model *m = model_new();
        for (uint64_t k = 1; k <= sizes[i]; k++)
            model_append(m, (struct id){ k, 0 });
        memset(m->bytes, 0xff, sizes[i] / 2 * ENTRY_BYTES); /* no ID can be read there */
        stream_index_drop(m->x, sizes[i] / 2);
        model_remove(m, 0, sizes[i] / 2);
        assert_consistent(m);
        check_walks(m);
        stream_index_drop(m->x, m->n);
        assert_int_equal(stream_index_n(m->x), 0);
        model_free(m);
    }
}

static void the_largest_id_is_found_trimmed_to_and_deleted(void **state)
{
    struct model *m = model_new();

    (void)state;
    model_append(m, (struct id){ 5, 5 });
    model_append(m, ID_MAX);
    assert_int_equal(stream_index_trim(m->x, ID_MAX), 1);
    assert_int_equal(stream_index_n(m->x), 1);
    assert_true(stream_index_delete(m->x, ID_MAX));
    assert_int_equal(stream_index_n(m->x), 0);
    assert_null(stream_index_check(m->x));
    model_free(m);
}

static void one_or_two_entries_cost_one_piece_of_24_bytes(void **state)
{
    struct model *m = model_new();

    (void)state;
    model_append(m, (struct id){ 1, 0 });
    assert_int_equal(stream_index_bytes(m->x), 24);
    model_append(m, (struct id){ 2, 0 });
    assert_int_equal(stream_index_bytes(m->x), 24);
    assert_consistent(m);
    model_free(m);
}

static void entries_whose_seqs_ascend_are_found_by_them(void **state)
{
    struct model *m = model_new();
    struct random r = { 3 };
    struct id id = { 50, 1000 };

    (void)state;
    assert_null(stream_index_at(NULL, stream_index_seek_seq(NULL, 1)));
    for (size_t i = 0; i < 3000; i++) {
        model_append(m, id);
        id.ms += random_below(&r, 2);
        id.seq += 1 + random_below(&r, 4);
    }
    m->n -= stream_index_trim(m->x, m->ids[700]);
    for (size_t i = 700, seq = 990; seq < id.seq + 3; seq++) {
        struct stream_pos pos = stream_index_seek_seq(m->x, seq);
        while (i < 3000 && m->ids[i].seq < seq)
            i++;
        assert_int_equal(stream_index_between(m->x, stream_index_begin(m->x), pos), i - 700);
    }
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_index_has_no_entry_and_its_begin_is_its_end),
        cmocka_unit_test(the_largest_id_is_found_trimmed_to_and_deleted),
        cmocka_unit_test(entries_are_dropped_by_number_without_being_looked_at),
        cmocka_unit_test(one_or_two_entries_cost_one_piece_of_24_bytes),
        cmocka_unit_test(the_index_costs_eight_bytes_an_entry),
        cmocka_unit_test(a_stream_that_is_kept_short_keeps_one_chunk),
        cmocka_unit_test(entries_whose_seqs_ascend_are_found_by_them),
        cmocka_unit_test(random_operations_give_what_a_sorted_array_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
