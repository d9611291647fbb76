/* test_slab.c - pieces do not overlap, keep what is written into them, and their pages go when they do. */
#include "log/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"

enum { PIECES = 20000 };

struct piece {
    uint8_t *p; /* NULL: not taken */
    uint8_t mark;
};

static void fill(struct piece *at, size_t size, uint8_t mark)
{
    at->mark = mark;
    memset(at->p, mark, size);
}

static void check_whole(const struct piece *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(at->p[i], at->mark);
}

static void pieces_keep_their_bytes_while_others_come_and_go(void **state)
{
    static const size_t sizes[] = { 8, 24, 40, 72, SLAB_SIZE_MAX };
    struct random rng = random_seeded("slab");
    static struct piece pieces[PIECES];

    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct slab s;
        slab_init(&s, sizes[k]);
        for (size_t i = 0; i < random_rounds(100000); i++) {
            struct piece *at = &pieces[random_below(&rng, PIECES)];
            if (at->p == NULL) {
                at->p = slab_take(&s);
                assert_non_null(at->p);
                assert_int_equal((uintptr_t)at->p % 8, 0);
                fill(at, sizes[k], (uint8_t)random_u64(&rng));
            } else {
                check_whole(at, sizes[k]);
                slab_give(at->p);
                at->p = NULL;
            }
        }
        for (size_t i = 0; i < PIECES; i++) {
            if (pieces[i].p == NULL)
                continue;
            check_whole(&pieces[i], sizes[k]);
            slab_give(pieces[i].p);
            pieces[i].p = NULL;
        }
        assert_int_equal(s.n_pages, 1); /* the spare one */
        slab_fini(&s);
    }
}

static void pages_are_as_many_as_the_pieces_need(void **state)
{
    static void *pieces[PIECES];
    struct slab s;

    (void)state;
    slab_init(&s, 24);
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = slab_take(&s);
    assert_int_equal(s.n_pages, (PIECES * 24 + SLAB_PAGE_BYTES) / (SLAB_PAGE_BYTES - 64));
    for (size_t i = 0; i < PIECES; i += 2)
        slab_give(pieces[i]);
    for (size_t i = 0; i < PIECES; i += 2)
        pieces[i] = slab_take(&s);
    assert_int_equal(s.n_pages, (PIECES * 24 + SLAB_PAGE_BYTES) / (SLAB_PAGE_BYTES - 64));
    for (size_t i = 0; i < PIECES; i++)
        slab_give(pieces[i]);
    assert_int_equal(s.n_pages, 1);
    slab_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_keep_their_bytes_while_others_come_and_go),
        cmocka_unit_test(pages_are_as_many_as_the_pieces_need),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
