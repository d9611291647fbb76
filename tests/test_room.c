/* test_room.c - what is set aside is there when malloc has none, and everything is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "groups/room.h"
#include "tests/lib/nomemory.h"

static void reserve(struct room *r, size_t bytes)
{
    struct err e;
    assert_int_equal(room_reserve(r, bytes, &e), OK);
}

static void pieces_come_from_what_is_set_aside(void **state)
{
    static const size_t SIZES[] = { 1, 16, 17, 4000, 0 };
    struct room r = { 0 };
    void *pieces[5];
    size_t all = 0;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    for (size_t i = 0; i < 5; i++)
        all += room_cost(SIZES[i]);
    reserve(&r, all);
    no_memory = true;
    for (size_t i = 0; i < 5; i++) {
        pieces[i] = room_get(&r, SIZES[i]);
        memset(pieces[i], (int)i + 1, SIZES[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
    }
    assert_null(room_try(&r, 1));
    no_memory = false;
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < SIZES[i]; k++)
            assert_int_equal(((unsigned char *)pieces[i])[k], i + 1);
        room_put(&r, pieces[i]);
    }
    room_fini(&r);
}

/* A block with a piece that is in use goes when that comes back, whatever has taken its place. */
static void blocks_go_with_their_last_piece(void **state)
{
    size_t before = n_pieces;
    struct room r = { 0 };
    void *piece;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    reserve(&r, room_cost(100));
    no_memory = true;
    piece = room_get(&r, 100);
    no_memory = false;
    reserve(&r, room_cost(200));
    assert_int_equal(n_pieces, before + 2);
    room_put(&r, piece);
    assert_int_equal(n_pieces, before + 1);
    room_fini(&r);
    assert_int_equal(n_pieces, before);
}

static void the_bytes_in_use_are_counted(void **state)
{
    struct room r = { 0 };
    void *a, *b;

    (void)state;
    reserve(&r, 100000);
    assert_int_equal(r.bytes, 0);
    a = room_get(&r, 100);
    b = room_try(&r, 1000);
    assert_true(r.bytes >= 1100 + 2 * ROOM_HEAD);
    assert_true(r.bytes < 1300);
    room_put(&r, a);
    room_put(&r, b);
    room_put(&r, NULL);
    assert_int_equal(r.bytes, 0);
    room_fini(&r);
}

static void what_cannot_be_set_aside_is_said(void **state)
{
    struct room r = { 0 };
    struct err e;
    void *piece;
    int rc;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    reserve(&r, room_cost(64));
    no_memory = true;
    rc = room_reserve(&r, 1 << 20, &e);
    piece = room_get(&r, 64); /* what was there before still is */
    no_memory = false;
    assert_int_equal(rc, ERR_NOMEM);
    room_put(&r, piece);
    room_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_come_from_what_is_set_aside),
        cmocka_unit_test(blocks_go_with_their_last_piece),
        cmocka_unit_test(the_bytes_in_use_are_counted),
        cmocka_unit_test(what_cannot_be_set_aside_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
