/* test_list.c - broker/cache/list.c beside a plain array of positions. */
#include "broker/cache/list.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"

enum { SPAN = 3000, VALUE_MAX = 6000, STEPS = 20000 };

/* What is at position i - SPAN / 2: a length and what its bytes are, or nothing. */
struct model {
    bool there;
    uint32_t n;
    uint8_t byte;
};

static struct model model[SPAN];

static int64_t position(size_t i)
{
    return ((int64_t)i - SPAN / 2) * 1000003;
}

static struct slice value_of(const struct model *m)
{
    static uint8_t bytes[VALUE_MAX];

    memset(bytes, m->byte, m->n);
    return slice_of(bytes, m->n);
}

static void compare(const struct list *l)
{
    struct list_at at, seek;
    uint64_t n = 0;
    bool more = list_n(l) > 0 && list_seek(l, 0, &at);

    assert_null(list_check(l));
    for (size_t i = 0; i < SPAN; i++) {
        if (!model[i].there)
            continue;
        assert_true(more);
        assert_int_equal(at.pos, position(i));
        assert_true(slice_equal(at.value, value_of(&model[i])));
        if (n % 37 == 0) {
            assert_true(list_seek(l, n, &seek));
            assert_int_equal(seek.pos, at.pos);
            assert_true(list_seek_pos(l, at.pos - 1, &seek));
            assert_int_equal(seek.pos, at.pos);
            assert_true(list_seek_pos_back(l, at.pos + 1, &seek));
            assert_int_equal(seek.pos, at.pos);
            if (n > 0) {
                assert_true(list_prev(l, &seek) && list_next(l, &seek));
                assert_int_equal(seek.pos, at.pos);
            }
        }
        n++;
        more = list_next(l, &at);
    }
    assert_false(more);
    assert_int_equal(list_n(l), n);
}

/* Puts or removes at either end, or anywhere. */
static void step(struct random *r, struct list *l, size_t *low, size_t *high)
{
    size_t i = random_below(r, SPAN), n;

    switch (random_below(r, 8)) {
    case 0:
    case 1: i = *high < SPAN - 1 ? ++*high : i; break;
    case 2:
    case 3: i = *low > 0 ? --*low : i; break;
    case 4:
        n = random_below(r, 60);
        for (size_t k = i; k <= i + n && k < SPAN; k++)
            model[k].there = false;
        list_remove(l, position(i), position(i + n < SPAN ? i + n : SPAN - 1));
        return;
    case 5:
        list_remove(l, position(i), position(i));
        model[i].there = false;
        return;
    default: break;
    }
    model[i] = (struct model){ .there = true,
                               .n = (uint32_t)random_below(r, random_below(r, 50) ? 60 : VALUE_MAX),
                               .byte = (uint8_t)random_u64(r) };
    assert_int_equal(list_put(l, position(i), value_of(&model[i]), NULL), OK);
}

static void it_is_what_an_array_is(void **state)
{
    struct random r = random_seeded("list");
    size_t low = SPAN / 2, high = SPAN / 2;
    struct list *l;

    (void)state;
    assert_int_equal(list_new(&l, NULL), OK);
    for (int i = 0; i < STEPS; i++) {
        step(&r, l, &low, &high);
        if (i % 500 == 0)
            compare(l);
    }
    compare(l);
    list_remove(l, INT64_MIN, INT64_MAX);
    memset(model, 0, sizeof model);
    compare(l);
    list_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(it_is_what_an_array_is) };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
