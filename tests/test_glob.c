/* test_glob.c - claims about patterns: a table of cases, and random patterns against a naive matcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/engine/glob.h"

static bool match(const char *pattern, const char *text, bool nocase)
{
    return glob_match(slice_str(pattern), slice_str(text), nocase);
}

static void patterns_match_what_redis_matches(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool nocase, want;
    } cases[] = {
        { "", "", false, true },
        { "", "a", false, false },
        { "*", "", false, true },
        { "*", "anything", false, true },
        { "**", "", false, true },
        { "a*", "a", false, true },
        { "a*b", "ab", false, true },
        { "a*b", "acb", false, true },
        { "a*b", "acbc", false, false },
        { "*a*b*", "xxaxxbxx", false, true },
        { "?", "", false, false },
        { "?", "a", false, true },
        { "?", "ab", false, false },
        { "h?llo", "hello", false, true },
        { "h[ae]llo", "hallo", false, true },
        { "h[ae]llo", "hillo", false, false },
        { "h[^e]llo", "hallo", false, true },
        { "h[^e]llo", "hello", false, false },
        { "[a-c]", "b", false, true },
        { "[a-c]", "d", false, false },
        { "[c-a]", "b", false, true },
        { "[a-]", "a", false, true },
        { "[]", "a", false, false },
        { "[^]", "a", false, true },
        { "[", "a", false, false },
        { "[^", "a", false, true },
        { "[abc", "b", false, true },
        { "[\\]]", "]", false, true },
        { "[\\", "\\", false, true },
        { "\\*", "*", false, true },
        { "\\*", "a", false, false },
        { "\\", "\\", false, true },
        { "a\\", "a\\", false, true },
        { "ABC", "abc", false, false },
        { "ABC", "abc", true, true },
        { "[A-C]", "b", true, true },
        { "[A-C]", "b", false, false },
        { "[\\A]", "a", true, false },
        { "*.c", "glob.c", false, true },
        { "*.c", "glob.h", false, false },
        { "x*", "", false, false },
        { "*x", "x", false, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (match(cases[i].pattern, cases[i].text, cases[i].nocase) != cases[i].want)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
    }
}

static void zero_bytes_are_bytes(void **state)
{
    (void)state;
    assert_true(glob_match(slice_of("a\0b", 3), slice_of("a\0b", 3), false));
    assert_false(glob_match(slice_of("a\0b", 3), slice_of("a\0c", 3), false));
    assert_true(glob_match(slice_of("a?b", 3), slice_of("a\0b", 3), false));
}

static void bytes_beyond_ascii_are_unsigned(void **state)
{
    (void)state;
    assert_true(match("[\x80-\xff]", "\xc3", false));
    assert_false(match("[\x80-\xff]", "a", false));
    assert_true(match("[a-\xff]", "\xc3", false));
}

/* ---- the naive matcher: tries everything, one element and one byte at a time ---- */

static uint8_t low(uint8_t b, bool nocase)
{
    return nocase && b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
}

/* Splits the first element off: how many bytes it takes, and whether it matches b. */
static size_t naive_element(struct slice p, uint8_t b, bool nocase, bool *matches)
{
    size_t i = 1;
    bool set[256] = { false };

    if (p.p[0] == '?') {
        *matches = true;
        return 1;
    }
    if (p.p[0] == '\\' && p.n > 1) {
        *matches = low(p.p[1], nocase) == low(b, nocase);
        return 2;
    }
    if (p.p[0] != '[') {
        *matches = low(p.p[0], nocase) == low(b, nocase);
        return 1;
    }
    bool negated = p.n > 1 && p.p[1] == '^';
    i += negated;
    while (i < p.n && p.p[i] != ']') {
        if (p.p[i] == '\\' && i + 1 < p.n) {
            set[p.p[i + 1]] = true;
            i += 2;
        } else if (i + 2 < p.n && p.p[i + 1] == '-') {
            int from = p.p[i] < p.p[i + 2] ? p.p[i] : p.p[i + 2];
            int to = p.p[i] < p.p[i + 2] ? p.p[i + 2] : p.p[i];
            for (int at = 0; at < 256; at++)
                if (low((uint8_t)at, nocase) >= low((uint8_t)from, nocase) &&
                    low((uint8_t)at, nocase) <= low((uint8_t)to, nocase))
                    set[at] = true;
            i += 3;
        } else {
            for (int at = 0; at < 256; at++)
                if (low((uint8_t)at, nocase) == low(p.p[i], nocase))
                    set[at] = true;
            i++;
        }
    }
    *matches = set[b] != negated;
    return i < p.n ? i + 1 : i;
}

static bool naive_match(struct slice p, struct slice t, bool nocase)
{
    bool matches;

    if (p.n == 0)
        return t.n == 0;
    if (p.p[0] == '*') {
        for (size_t i = 0; i <= t.n; i++)
            if (naive_match(slice_of(p.p + 1, p.n - 1), slice_of(t.p + i, t.n - i), nocase))
                return true;
        return false;
    }
    if (t.n == 0)
        return false;
    size_t used = naive_element(p, t.p[0], nocase, &matches);
    return matches &&
           naive_match(slice_of(p.p + used, p.n - used), slice_of(t.p + 1, t.n - 1), nocase);
}

static size_t random_text(const char *alphabet, size_t max, uint8_t *out)
{
    size_t n = (size_t)random() % (max + 1);

    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)alphabet[(size_t)random() % strlen(alphabet)];
    return n;
}

static void random_patterns_match_as_a_naive_matcher_says(void **state)
{
    const char *seed_text = getenv("SEED"), *scale_text = getenv("SCALE");
    unsigned seed =
        seed_text != NULL ? (unsigned)strtoul(seed_text, NULL, 10) : (unsigned)time(NULL);
    double scale = scale_text != NULL ? strtod(scale_text, NULL) : 1;
    long rounds = (long)(500000 * scale), n_matched = 0;
    uint8_t pattern[12], text[10];

    (void)state;
    print_message("  SEED=%u\n", seed);
    srandom(seed);
    for (long i = 0; i < rounds; i++) {
        size_t pattern_n = random_text("aabbcAB**?[]^-\\", sizeof pattern, pattern);
        size_t text_n = random_text("aabbcAB]-\\", sizeof text, text);
        bool nocase = random() % 2 == 0;
        bool want = naive_match(slice_of(pattern, pattern_n), slice_of(text, text_n), nocase);
        n_matched += want;
        if (glob_match(slice_of(pattern, pattern_n), slice_of(text, text_n), nocase) != want)
            fail_msg("pattern '%.*s', text '%.*s', nocase %d: want %d", (int)pattern_n, pattern,
                     (int)text_n, text, nocase, want);
    }
    print_message("  %ld patterns, %ld matched\n", rounds, n_matched);
    assert_true(rounds < 10000 || n_matched > rounds / 50);
}

/* With a matcher that tries every star again this would not end. */
static void many_stars_cost_no_more_than_one(void **state)
{
    char pattern[401], text[5001];

    (void)state;
    for (size_t i = 0; i < 400; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[399] = 'b';
    pattern[400] = '\0';
    memset(text, 'a', 5000);
    text[5000] = '\0';
    assert_false(match(pattern, text, false));
    text[4999] = 'b';
    assert_true(match(pattern, text, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_redis_matches),
        cmocka_unit_test(zero_bytes_are_bytes),
        cmocka_unit_test(bytes_beyond_ascii_are_unsigned),
        cmocka_unit_test(random_patterns_match_as_a_naive_matcher_says),
        cmocka_unit_test(many_stars_cost_no_more_than_one),
    };
    return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
