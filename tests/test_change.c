/* test_change.c - changes of values as entries: all kinds there and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "broker/cache/change.h"
#include "broker/config.h"
#include "broker/engine/state.h"
#include "log/entry.h"

enum { BODY_MAX = 4096, ELEMENTS_MAX = 8 };

static const struct id ID = { 1700000000000, 123456789 };
static const uint64_t MS_MAX = (1ull << 48) - 1;

static const struct element FIELDS[] = {
    { .field = { (const uint8_t *)"name", 4 }, .value = { (const uint8_t *)"Ada", 3 } },
    { .field = { (const uint8_t *)"", 0 }, .value = { (const uint8_t *)"", 0 }, .expiry_ms = 1 },
    { .field = { (const uint8_t *)"f", 1 },
      .value = { (const uint8_t *)"v", 1 },
      .expiry_ms = (1ull << 48) - 1 },
};
static const struct element NAMES[] = { { .field = { (const uint8_t *)"a", 1 } },
                                        { .field = { (const uint8_t *)"", 0 } } };
static const struct element PLACES[] = {
    { .pos = 0, .value = { (const uint8_t *)"x", 1 } },
    { .pos = -1, .value = { (const uint8_t *)"", 0 } },
    { .pos = INT64_MIN, .value = { (const uint8_t *)"y", 1 } },
    { .pos = INT64_MAX, .value = { (const uint8_t *)"z", 1 } },
};
static const struct element SPANS[] = { { .pos = -5, .to = 5 },
                                        { .pos = INT64_MIN, .to = INT64_MAX } };

static struct slice text(const char *s)
{
    return slice_str(s);
}

/* One of each kind, with what is at its edge. */
static size_t all_changes(struct change *out)
{
    const struct change all[] = {
        { .op = CHANGE_SET, .db = 0, .key = text("k"), .type = OBJECT_STRING, .value = text("v") },
        { .op = CHANGE_SET,
          .db = 15,
          .key = text(""),
          .type = OBJECT_STRING,
          .expiry_ms = 1,
          .stale_ms = MS_MAX },
        { .op = CHANGE_SET, .key = text("h"), .type = OBJECT_HASH, .expiry_ms = MS_MAX },
        { .op = CHANGE_IMAGE, .key = text("l"), .type = OBJECT_LIST, .value = text("bytes") },
        { .op = CHANGE_PUT,
          .key = text("h"),
          .type = OBJECT_HASH,
          .elements = FIELDS,
          .n_elements = 3 },
        { .op = CHANGE_PUT,
          .key = text("l"),
          .type = OBJECT_LIST,
          .elements = PLACES,
          .n_elements = 4 },
        { .op = CHANGE_REMOVE,
          .key = text("h"),
          .type = OBJECT_HASH,
          .elements = NAMES,
          .n_elements = 2 },
        { .op = CHANGE_REMOVE,
          .key = text("l"),
          .type = OBJECT_LIST,
          .gone = true,
          .elements = SPANS,
          .n_elements = 2 },
        { .op = CHANGE_EXPEL,
          .key = text("h"),
          .type = OBJECT_HASH,
          .gone = true,
          .elements = NAMES,
          .n_elements = 1 },
        { .op = CHANGE_PATCH, .key = text("k"), .offset = 7, .length = 10, .value = text("abc") },
        { .op = CHANGE_PATCH, .key = text("k") },
        { .op = CHANGE_TTL, .key = text("k"), .expiry_ms = 5, .stale_ms = 6 },
        { .op = CHANGE_TTL, .key = text("k") },
        { .op = CHANGE_FIELD_TTL,
          .key = text("h"),
          .type = OBJECT_HASH,
          .expiry_ms = 9,
          .elements = NAMES,
          .n_elements = 2 },
        { .op = CHANGE_FIELD_TTL,
          .key = text("h"),
          .type = OBJECT_HASH,
          .elements = NAMES,
          .n_elements = 1 },
        { .op = CHANGE_DEL, .db = 3, .key = text("k") },
        { .op = CHANGE_EXPIRE, .key = text("k") },
        { .op = CHANGE_EVICT, .key = text("k") },
        { .op = CHANGE_RENAME, .key = text("k"), .to = text(""), .to_db = 15 },
        { .op = CHANGE_RENAME, .key = text(""), .to = text("k2") },
        { .op = CHANGE_FLUSH, .db = CHANGE_DB_ALL },
        { .op = CHANGE_FLUSH, .db = 2 },
        { .op = CHANGE_SWAP, .db = 2, .to_db = 0 },
    };

    memcpy(out, all, sizeof all);
    return sizeof all / sizeof all[0];
}

static void same_elements(const uint8_t *entry, const struct change *want, const struct change *x)
{
    struct element el;
    struct change_at at;
    size_t n = 0;

    for (change_begin(entry, &at); change_next(&at, x, &el); n++) {
        const struct element *w = &want->elements[n];
        assert_true(n < want->n_elements);
        assert_true(slice_equal(el.field, w->field) && slice_equal(el.value, w->value));
        assert_true(el.pos == w->pos && el.to == w->to && el.expiry_ms == w->expiry_ms);
    }
    assert_false(at.bad);
    assert_int_equal(n, want->n_elements);
}

static void same(const struct change *want, const struct change *x)
{
    assert_int_equal(x->op, want->op);
    assert_int_equal(x->db, want->db);
    assert_true(slice_equal(x->key, want->key) && slice_equal(x->to, want->to));
    assert_true(slice_equal(x->value, want->value));
    assert_int_equal(x->type, want->type);
    assert_true(x->expiry_ms == want->expiry_ms && x->stale_ms == want->stale_ms);
    assert_true(x->offset == want->offset && x->length == want->length);
    assert_int_equal(x->gone, want->gone);
    assert_int_equal(x->to_db, want->to_db);
    assert_int_equal(x->n_elements, want->n_elements);
}

static void each_kind_of_change_is_read_as_it_was_written(void **state)
{
    uint8_t body[BODY_MAX];
    struct change all[32], x;
    size_t n = all_changes(all);
    struct slice key;
    enum change_op op;
    struct id id;
    int db;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        size_t size = change_size(ID, &all[i]);
        print_message("  op %d, %zu bytes\n", (int)all[i].op, size);
        assert_true(size <= BODY_MAX);
        assert_ptr_equal(change_put(body, ID, &all[i]), body + size);
        assert_int_equal(body[0], CHANGE_OID);
        assert_true(entry_check(body + 1, body + size, &id));
        assert_int_equal(id_cmp(id, ID), 0);
        assert_int_equal(change_read(body + 1, &x, NULL), OK);
        same(&all[i], &x);
        same_elements(body + 1, &all[i], &x);
        assert_true(change_peek(body + 1, &op, &db, &key));
        assert_true(op == x.op && db == x.db && slice_equal(key, x.key));
    }
}

static void a_set_costs_eleven_bytes_besides_key_value_id_and_times(void **state)
{
    struct change x = { .op = CHANGE_SET,
                        .key = text("123456789012345678901234567890"),
                        .type = OBJECT_STRING,
                        .value = text("v"),
                        .expiry_ms = 1ull << 40 };

    (void)state;
    assert_int_equal(change_size(ID, &x), id_size(ID) + varint_size(x.expiry_ms) + 30 + 1 + 11);
}

/* An entry of these strings is refused, and the text says why. */
static void refused(const char *why, const struct slice *strings, size_t n)
{
    uint8_t entry[BODY_MAX];
    struct err e = { 0 };
    struct change x = { 0 };

    print_message("  %s\n", why);
    assert_true(entry_size(ID, strings, n) <= BODY_MAX);
    entry_put(entry, ID, strings, n);
    assert_int_equal(change_read(entry, &x, &e), ERR_CORRUPT);
    if (strstr(e.text, why) == NULL)
        fail_msg("\"%s\" is refused, but because of \"%s\"", why, e.text);
}

#define BYTES(s)                            \
    {                                       \
        (const uint8_t *)(s), sizeof(s) - 1 \
    }
#define NONE                   \
    {                          \
        (const uint8_t *)"", 0 \
    }

static void what_does_not_fit_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *why;
        struct slice strings[8];
        size_t n;
    } cases[] = {
        { "what happened", { NONE }, 0 },
        { "what happened", { BYTES("\1"), BYTES("k") }, 2 },
        { "what happened", { BYTES("\0\0"), BYTES("k") }, 2 },
        { "what happened", { BYTES("\17\0"), BYTES("k") }, 2 },
        { "what happened", { BYTES("\11\20"), BYTES("k") }, 2 },
        { "what happened", { BYTES("\11\377"), BYTES("k") }, 2 },
        { "what happened", { BYTES("\15\0"), BYTES("k") }, 2 },
        { "does not say how", { BYTES("\1\0"), BYTES("k") }, 2 },
        { "does not say how", { BYTES("\1\0"), BYTES("k"), NONE, NONE, NONE, NONE }, 6 },
        { "does not say how",
          { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2\1\1\1"), NONE, NONE },
          6 },
        { "does not say how", { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2\200"), NONE, NONE }, 6 },
        { "no such change", { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\1"), NONE, NONE }, 6 },
        { "no such change", { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\2"), NONE, NONE }, 6 },
        { "no such change", { BYTES("\5\0"), BYTES("k"), NONE, BYTES("\4"), NONE, NONE }, 6 },
        { "out of range",
          { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2\377\377\377\377\377\377\377\177"), NONE,
            NONE },
          6 },
        { "stale before", { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2\7\6"), NONE, NONE }, 6 },
        { "stale before", { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2\0\6"), NONE, NONE }, 6 },
        { "the strings", { BYTES("\1\0"), BYTES("k"), NONE, BYTES("\2") }, 4 },
        { "the strings", { BYTES("\11\0"), BYTES("k"), NONE, NONE }, 4 },
        { "not whole", { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\3"), NONE, BYTES("f") }, 6 },
        { "not whole", { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\3") }, 4 },
        { "is gone", { BYTES("\4\0"), BYTES("k"), NONE, BYTES("\3\2"), NONE, BYTES("f") }, 6 },
        { "behind the value's end",
          { BYTES("\6\0"), BYTES("k"), NONE, BYTES("\5\6"), NONE, BYTES("ab") },
          6 },
        { "behind the value's end",
          { BYTES("\6\0"), BYTES("k"), NONE, BYTES("\7\6"), NONE, NONE },
          6 },
        { "database to go to", { BYTES("\14\0"), BYTES("k"), NONE, BYTES("\20"), NONE, NONE }, 6 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(cases[i].why, cases[i].strings, cases[i].n);
}

/* Elements end with `bad` where a number is none. */
static void an_element_that_does_not_fit_is_told(void **state)
{
    static const struct slice cases[][10] = {
        { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\3"), NONE, NONE, NONE, NONE, NONE,
          BYTES("\1\1") },
        { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\3"), NONE, NONE, NONE, NONE, NONE, BYTES("\0") },
        { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\3"), NONE, NONE, NONE, NONE, NONE,
          BYTES("\377\377\377\377\377\377\377\177") },
        { BYTES("\3\0"), BYTES("k"), NONE, BYTES("\4"), NONE, NONE, NONE, BYTES("v") },
        { BYTES("\4\0"), BYTES("k"), NONE, BYTES("\4"), NONE, BYTES("\4"), NONE, BYTES("\2") },
    };
    uint8_t entry[BODY_MAX];
    struct change_at at;
    struct element el;
    struct change x;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = i < 3 ? 10 : 8;
        entry_put(entry, ID, cases[i], n);
        assert_int_equal(change_read(entry, &x, NULL), OK);
        change_begin(entry, &at);
        assert_false(change_next(&at, &x, &el));
        assert_true(at.bad);
        assert_false(change_next(&at, &x, &el));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_change_is_read_as_it_was_written),
        cmocka_unit_test(a_set_costs_eleven_bytes_besides_key_value_id_and_times),
        cmocka_unit_test(what_does_not_fit_is_refused_with_its_reason),
        cmocka_unit_test(an_element_that_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
