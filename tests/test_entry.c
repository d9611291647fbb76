/* test_entry.c - entries and IDs: what is written is read, and hostile bytes are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "log/entry.h"
#include "tests/lib/random.h"

enum { ENTRY_MAX = 1 << 20, STRINGS_MAX = 40 };

static void assert_entry(const uint8_t *entry, struct id id, const struct slice *strings, size_t n)
{
    uint64_t n_fields;
    struct slice s;
    struct id got;

    entry = entry_varint(entry_id(entry, &got), &n_fields);
    assert_int_equal(id_cmp(got, id), 0);
    assert_int_equal(n_fields, n / 2);
    for (size_t i = 0; i < n; i++) {
        entry = entry_str(entry, &s);
        assert_true(slice_equal(s, strings[i]));
    }
}

static uint64_t random_number(struct random *r)
{
    return random_u64(r) >> random_below(r, 64);
}

/* Random strings into `strings`, of bytes of `pool`; returns their number, an even one. */
static size_t random_strings(struct random *r, const uint8_t *pool, size_t n_pool,
                             struct slice *strings)
{
    size_t n = 2 * random_below(r, STRINGS_MAX / 2 + 1);

    for (size_t i = 0; i < n; i++) {
        size_t len = random_below(r, (size_t[]){ 20, 150, 20000 }[random_below(r, 3)]);
        strings[i] = slice_of(pool + random_below(r, n_pool - len), len);
    }
    return n;
}

static void what_is_put_is_checked_and_read_back(void **state)
{
    struct random r = random_seeded("entry");
    struct slice strings[STRINGS_MAX];
    static uint8_t pool[32768];

    (void)state;
    for (size_t i = 0; i < sizeof pool; i++)
        pool[i] = (uint8_t)random_u64(&r);
    for (size_t round = random_rounds(3000); round > 0; round--) {
        struct id id = { random_number(&r), random_number(&r) }, got;
        size_t n = random_strings(&r, pool, sizeof pool, strings), size;
        uint8_t *entry;

        size = entry_size(id, strings, n);
        assert_true(size < ENTRY_MAX);
        entry = malloc(size); /* exactly, so that a sanitizer sees a byte too many */
        assert_ptr_equal(entry_put(entry, id, strings, n), entry + size);
        assert_true(entry_check(entry, entry + size, &got));
        assert_int_equal(id_cmp(got, id), 0);
        assert_entry(entry, id, strings, n);
        free(entry);
    }
}

static void strings_of_every_short_length_are_copied_whole(void **state)
{
    uint8_t text[300], entry[700];

    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7 + 1);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct slice strings[2] = { slice_of(text, n), slice_of(text + n, sizeof text - n) };
        struct id id = { 1, 2 };
        size_t size = entry_size(id, strings, 2);

        memset(entry, 0xee, sizeof entry);
        assert_ptr_equal(entry_put(entry, id, strings, 2), entry + size);
        assert_int_equal(entry[size], 0xee);
        assert_entry(entry, id, strings, 2);
    }
}

static void an_entry_that_is_cut_or_too_long_is_refused(void **state)
{
    struct slice strings[] = { slice_str("field"), slice_str("value"), slice_str("f"),
                               slice_str("") };
    struct id id = { 1700000000000, 3 }, got = { 9, 9 };
    uint8_t entry[64];
    size_t size = entry_size(id, strings, 4);

    (void)state;
    entry_put(entry, id, strings, 4);
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n + 1);

        memcpy(cut, entry, n);
        assert_false(entry_check(cut, cut + n, &got));
        free(cut);
    }
    entry[size] = 0;
    assert_false(entry_check(entry, entry + size + 1, &got));
    assert_int_equal(got.ms, 9); /* not written on failure */
    assert_true(entry_check(entry, entry + size, &got));
}

static void hostile_entries_are_refused(void **state)
{
    static const struct {
        const char *why;
        uint8_t bytes[24];
        size_t n;
    } cases[] = {
        { "nothing", { 0 }, 0 },
        { "an ID without end", { 0x80, 0x80, 0x80 }, 3 },
        { "an ID of 11 bytes",
          { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 0 },
          13 },
        { "an ID above 64 bits",
          { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0 },
          12 },
        { "more fields than bytes", { 1, 1, 100, 1, 'a', 1, 'b' }, 7 },
        { "fields beyond any size",
          { 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 },
          12 },
        { "a string beyond the end", { 1, 1, 1, 1, 'a', 9, 'b' }, 7 },
        { "a string of 2^64 - 1 bytes",
          { 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'a', 'b' },
          15 },
        { "bytes left over", { 1, 1, 1, 1, 'a', 1, 'b', 0 }, 8 },
    };
    struct id id;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t *exact = malloc(cases[i].n + 1);

        print_message("  %s\n", cases[i].why);
        memcpy(exact, cases[i].bytes, cases[i].n);
        assert_false(entry_check(exact, exact + cases[i].n, &id));
        free(exact);
    }
}

static void a_changed_byte_is_refused_or_gives_another_whole_entry(void **state)
{
    struct random r = random_seeded("mutated entry");
    uint8_t entry[256];

    (void)state;
    for (size_t round = random_rounds(200000); round > 0; round--) {
        struct slice strings[4] = { slice_str("ab"), slice_str("value"), slice_str("c"),
                                    slice_str("xyz") };
        struct id id = { random_number(&r), random_below(&r, 3) };
        size_t size = entry_size(id, strings, 4), at = random_below(&r, size);

        entry_put(entry, id, strings, 4);
        entry[at] = (uint8_t)random_u64(&r);
        if (entry_check(entry, entry + size, &id)) {
            uint64_t n_fields;
            struct slice s;
            const uint8_t *p = entry_varint(entry_id(entry, &id), &n_fields);

            for (uint64_t i = 0; i < 2 * n_fields; i++)
                p = entry_str(p, &s);
            assert_ptr_equal(p, entry + size);
        }
    }
}

static void ids_step_over_both_halves_and_stop_at_the_ends(void **state)
{
    struct id id = { 5, UINT64_MAX };

    (void)state;
    assert_true(id_next(&id));
    assert_true(id.ms == 6 && id.seq == 0);
    assert_true(id_prev(&id));
    assert_true(id.ms == 5 && id.seq == UINT64_MAX);
    id = ID_MAX;
    assert_false(id_next(&id));
    assert_int_equal(id_cmp(id, ID_MAX), 0);
    id = ID_MIN;
    assert_false(id_prev(&id));
    assert_int_equal(id_cmp(id, ID_MIN), 0);
}

static void ids_print_as_two_decimal_numbers(void **state)
{
    static const struct {
        struct id id;
        const char *text;
    } cases[] = {
        { { 0, 0 }, "0-0" },
        { { 1700000000000, 12 }, "1700000000000-12" },
        { { UINT64_MAX, UINT64_MAX }, "18446744073709551615-18446744073709551615" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[ID_TEXT_MAX];
        size_t n = id_format(cases[i].id, text);

        assert_int_equal(n, strlen(cases[i].text));
        assert_memory_equal(text, cases[i].text, n);
    }
}

static void numbers_are_decimal_digits_that_fit(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t want;
    } cases[] = {
        { "0", true, 0 },
        { "17", true, 17 },
        { "", false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1x", false, 0 },
        { "0x1", false, 0 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999", false, 0 },
        { "184467440737095516150", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t got = 42;

        print_message("  \"%s\"\n", cases[i].text);
        assert_int_equal(id_parse_u64(slice_str(cases[i].text), &got), cases[i].ok);
        assert_true(got == (cases[i].ok ? cases[i].want : 42));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_checked_and_read_back),
        cmocka_unit_test(strings_of_every_short_length_are_copied_whole),
        cmocka_unit_test(an_entry_that_is_cut_or_too_long_is_refused),
        cmocka_unit_test(hostile_entries_are_refused),
        cmocka_unit_test(a_changed_byte_is_refused_or_gives_another_whole_entry),
        cmocka_unit_test(ids_step_over_both_halves_and_stop_at_the_ends),
        cmocka_unit_test(ids_print_as_two_decimal_numbers),
        cmocka_unit_test(numbers_are_decimal_digits_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
