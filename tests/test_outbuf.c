/* test_outbuf.c - claims about a client's output: every byte leaves once, in order, and memory goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/net/outbuf.h"

enum { ALL_IOV = 4096 };

/* The bytes below `limit`, as writev(2) would see them. */
static size_t peek_all(const struct outbuf *b, uint64_t limit, uint8_t *out)
{
    static struct iovec iov[ALL_IOV];
    int n = outbuf_peek(b, limit, iov, ALL_IOV);
    size_t used = 0;

    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len > 0);
        memcpy(out + used, iov[i].iov_base, iov[i].iov_len);
        used += iov[i].iov_len;
    }
    return used;
}

static void an_empty_buffer_holds_no_memory(void **state)
{
    struct outbuf b;
    struct iovec iov;

    (void)state;
    outbuf_init(&b);
    assert_int_equal(b.memory, 0);
    assert_int_equal(outbuf_end(&b), 0);
    assert_int_equal(outbuf_peek(&b, UINT64_MAX, &iov, 1), 0);
    outbuf_append(&b, "hello", 5);
    assert_true(b.memory > 0);
    outbuf_consume(&b, 5);
    assert_int_equal(b.memory, 0);
    assert_int_equal(outbuf_end(&b), 5);
    outbuf_fini(&b);
}

static void a_reserved_place_is_contiguous_and_counts_only_what_was_used(void **state)
{
    struct outbuf b;
    uint8_t seen[1 << 16], *p;

    (void)state;
    outbuf_init(&b);
    for (size_t i = 0; i < 100; i++) {
        p = outbuf_reserve(&b, OUTBUF_SCRATCH);
        memset(p, (int)i, OUTBUF_SCRATCH);
        outbuf_advance(&b, p + 300);
    }
    assert_int_equal(outbuf_end(&b), 30000);
    assert_int_equal(peek_all(&b, UINT64_MAX, seen), 30000);
    for (size_t i = 0; i < 30000; i++)
        assert_int_equal(seen[i], i / 300);
    outbuf_fini(&b);
}

static void only_bytes_below_the_limit_are_shown(void **state)
{
    struct outbuf b;
    uint8_t seen[64];

    (void)state;
    outbuf_init(&b);
    outbuf_append(&b, "abcdef", 6);
    outbuf_consume(&b, 1);
    assert_int_equal(peek_all(&b, 0, seen), 0);
    assert_int_equal(peek_all(&b, 1, seen), 0);
    assert_int_equal(peek_all(&b, 4, seen), 3);
    assert_memory_equal(seen, "bcd", 3);
    outbuf_fini(&b);
}

static void bytes_appended_after_a_truncation_take_the_place_of_the_old_ones(void **state)
{
    static uint8_t big[3 * OUTBUF_CHUNK], seen[4 * OUTBUF_CHUNK];
    struct outbuf b;

    (void)state;
    memset(big, 'x', sizeof big);
    for (size_t at = 0; at < sizeof big; at += 257) {
        outbuf_init(&b);
        outbuf_append(&b, big, sizeof big);
        outbuf_append(&b, big, 100);
        outbuf_truncate(&b, at);
        assert_int_equal(outbuf_end(&b), at);
        outbuf_append(&b, "tail", 4);
        assert_int_equal(peek_all(&b, UINT64_MAX, seen), at + 4);
        assert_memory_equal(seen + at, "tail", 4);
        outbuf_fini(&b);
    }
}

static void after_memory_ran_out_nothing_is_added_and_writing_is_harmless(void **state)
{
    struct outbuf b;
    uint8_t seen[64], *p;

    (void)state;
    outbuf_init(&b);
    outbuf_append(&b, "before", 6);
    b.failed = true; /* as outbuf_grow leaves it */
    b.end = b.at;
    p = outbuf_reserve(&b, OUTBUF_SCRATCH);
    memset(p, 'z', OUTBUF_SCRATCH);
    outbuf_advance(&b, p + OUTBUF_SCRATCH);
    outbuf_append(&b, "after", 5);
    assert_int_equal(outbuf_end(&b), 6);
    assert_int_equal(peek_all(&b, UINT64_MAX, seen), 6);
    assert_memory_equal(seen, "before", 6);
    outbuf_fini(&b);
}

/* ---- against a plain array ---- */

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void a_random_life_keeps_every_byte_in_order(void **state)
{
    enum { MODEL = 1 << 20 };
    const char *given = getenv("SEED"), *scale = getenv("SCALE");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t rounds = (size_t)(20000.0 * (scale != NULL ? strtod(scale, NULL) : 1.0)) + 1;
    static uint8_t model[MODEL], seen[MODEL], more[40000];
    size_t from = 0, to = 0; /* what the model holds */
    struct outbuf b;

    (void)state;
    print_message("  SEED=%llu, %zu steps\n", (unsigned long long)seed, rounds);
    for (size_t i = 0; i < sizeof more; i++)
        more[i] = (uint8_t)next_random(&s);
    outbuf_init(&b);
    for (size_t i = 0; i < rounds; i++) {
        size_t n = next_random(&s) % (next_random(&s) % 8 == 0 ? sizeof more : 200);
        switch (next_random(&s) % 6) {
        case 0:
        case 1:
            if (n > MODEL - to)
                break;
            outbuf_append(&b, more, n);
            memcpy(model + to, more, n);
            to += n;
            break;
        case 2: {
            uint8_t *p = outbuf_reserve(&b, OUTBUF_SCRATCH);
            n = n % OUTBUF_SCRATCH;
            if (n > MODEL - to)
                break;
            memcpy(p, more, n);
            outbuf_advance(&b, p + n);
            memcpy(model + to, more, n);
            to += n;
            break;
        }
        case 3:
            n = n * 3 < to - from ? n * 3 : to - from;
            outbuf_consume(&b, n);
            from += n;
            break;
        case 4: {
            struct outbuf other;
            if (n > MODEL - to)
                break;
            outbuf_init(&other);
            outbuf_append(&other, more, n);
            memcpy(model + to, more, n);
            to += n;
            outbuf_move(&b, &other);
            assert_int_equal(outbuf_end(&other), 0);
            outbuf_fini(&other);
            break;
        }
        default:
            n = next_random(&s) % 16 == 0 && n < to - from ? n : 0;
            outbuf_truncate(&b, to - n);
            to -= n;
        }
        assert_int_equal(outbuf_end(&b), to);
        assert_int_equal(outbuf_size(&b), to - from);
        /* head and tail may be used in part */
        assert_true(b.memory <= 2 * (to - from + sizeof more + OUTBUF_CHUNK));
        if (i % 16 == 0 || to + sizeof more > MODEL) {
            assert_int_equal(peek_all(&b, UINT64_MAX, seen), to - from);
            assert_memory_equal(seen, model + from, to - from);
        }
        if (to + sizeof more > MODEL) {
            outbuf_fini(&b);
            from = to = 0;
        }
    }
    outbuf_fini(&b);
}

static struct outbuf_shared *message(size_t n, int byte)
{
    struct outbuf_shared *s = outbuf_shared_new(n);

    assert_non_null(s);
    memset(s->bytes, byte, n);
    return s;
}

static void a_long_message_is_shared_and_a_short_one_copied(void **state)
{
    struct outbuf_shared *s = message(OUTBUF_SHARE_MIN, 'm'),
                         *t = message(OUTBUF_SHARE_MIN - 1, 't');
    struct outbuf b[3];
    struct iovec iov;

    (void)state;
    for (int i = 0; i < 3; i++) {
        outbuf_init(&b[i]);
        outbuf_share(&b[i], s);
        assert_int_equal(outbuf_peek(&b[i], UINT64_MAX, &iov, 1), 1);
        assert_ptr_equal(iov.iov_base, s->bytes);
        outbuf_share(&b[i], t);
    }
    assert_int_equal(s->n_refs, 4);
    assert_int_equal(t->n_refs, 1);
    outbuf_consume(&b[0], OUTBUF_SHARE_MIN);
    assert_int_equal(s->n_refs, 3);
    for (int i = 0; i < 3; i++)
        outbuf_fini(&b[i]);
    assert_int_equal(s->n_refs, 1);
    outbuf_shared_unref(s);
    outbuf_shared_unref(t);
}

static void nothing_is_written_into_what_others_send(void **state)
{
    struct outbuf_shared *s = message(2000, 'm');
    struct outbuf b;
    uint8_t seen[8192];

    (void)state;
    outbuf_init(&b);
    outbuf_share(&b, s);
    outbuf_append(&b, "after", 5);
    assert_int_equal(peek_all(&b, UINT64_MAX, seen), 2005);
    outbuf_truncate(&b, 1000); /* within the message: what follows needs a chunk of its own */
    outbuf_append(&b, "now", 3);
    assert_int_equal(peek_all(&b, UINT64_MAX, seen), 1003);
    assert_memory_equal(seen + 998, "mmnow", 5);
    for (size_t i = 0; i < s->n; i++)
        assert_int_equal(s->bytes[i], 'm');
    assert_true(b.memory < 2000 + 2048); /* and not 16 KiB for three bytes */
    outbuf_fini(&b);
    outbuf_shared_unref(s);
}

static void messages_move_with_what_lies_between_them(void **state)
{
    static uint8_t seen[1 << 16], want[1 << 16];
    struct outbuf_shared *s = message(OUTBUF_SHARE_MIN, 'm');
    struct outbuf to, from;

    (void)state;
    outbuf_init(&to);
    for (size_t rounds = 1; rounds < 40; rounds++) { /* little is copied, much is moved */
        size_t n = 0;
        outbuf_init(&from);
        for (size_t i = 0; i < rounds; i++) {
            outbuf_share(&from, s);
            outbuf_append(&from, "between", 7);
            memset(want + n, 'm', OUTBUF_SHARE_MIN);
            memcpy(want + n + OUTBUF_SHARE_MIN, "between", 7);
            n += OUTBUF_SHARE_MIN + 7;
        }
        outbuf_move(&to, &from);
        assert_int_equal(peek_all(&to, UINT64_MAX, seen), n);
        assert_memory_equal(seen, want, n);
        outbuf_consume(&to, n);
        assert_int_equal(to.memory, 0);
        assert_int_equal(s->n_refs, 1);
    }
    outbuf_fini(&to);
    outbuf_shared_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_message_is_shared_and_a_short_one_copied),
        cmocka_unit_test(nothing_is_written_into_what_others_send),
        cmocka_unit_test(messages_move_with_what_lies_between_them),
        cmocka_unit_test(an_empty_buffer_holds_no_memory),
        cmocka_unit_test(a_reserved_place_is_contiguous_and_counts_only_what_was_used),
        cmocka_unit_test(only_bytes_below_the_limit_are_shown),
        cmocka_unit_test(bytes_appended_after_a_truncation_take_the_place_of_the_old_ones),
        cmocka_unit_test(after_memory_ran_out_nothing_is_added_and_writing_is_harmless),
        cmocka_unit_test(a_random_life_keeps_every_byte_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
