/*
 * test_json.c - JSON as events of a stream: what is read is what is printed.
 *
 * The command line is no library, so its sources are included. The random parts print their SEED
 * and take it back; SCALE multiplies their rounds. `print(parse(line)) == line` is checked on
 * random objects in the one spelling that is printed; `parse(print(bytes)) == bytes` on random
 * field values of any bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "cli/base64.c"
#include "cli/json.c"
#include "cli/text.c"

/* Prints the fields of `ev` as consume does, without an ID. */
static void print_event(struct text *t, const struct json_event *ev)
{
    t->n = 0;
    for (size_t i = 0; i < 2 * ev->n_fields; i++) {
        text_put_char(t, i == 0 ? '{' : i % 2 == 0 ? ',' : ':');
        if (i % 2 == 0)
            json_put_name(t, ev->slices[ev->first + i]);
        else
            json_put_value(t, ev->slices[ev->first + i]);
    }
    text_put_char(t, '}');
}

static void assert_bytes(struct beck_slice got, const char *want, size_t n)
{
    if (got.n != n || memcmp(got.p, want, n) != 0)
        print_message("  got  %.*s\n  want %.*s\n", (int)got.n, got.p, (int)n, want);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.p, want, n);
}

static void each_value_has_its_bytes_and_is_printed_again(void **state)
{
    static const struct {
        const char *json, *stored;
    } cases[] = {
        /* numbers, digit for digit */
        { "0", "0" },
        { "-0", "-0" },
        { "1.0", "1.0" },
        { "1e3", "1e3" },
        { "1E+2", "1E+2" },
        { "18446744073709551616", "18446744073709551616" },
        { "9007199254740993", "9007199254740993" },
        { "-12.50e-07", "-12.50e-07" },
        { "1e999", "1e999" },
        { "0.1", "0.1" },
        { "true", "true" },
        { "false", "false" },
        { "null", "null" },
        /* strings as they are */
        { "\"\"", "" },
        { "\"ATL\"", "ATL" },
        { "\"2001-01-01T00:01\"", "2001-01-01T00:01" },
        { "\"a b\"", "a b" },
        { "\"say \\\"hi\\\"\"", "say \"hi\"" },
        { "\"a\\\\b/c\"", "a\\b/c" },
        { "\"\\b\\f\\n\\r\\t\\u0001\\u001f\"", "\b\f\n\r\t\x01\x1f" },
        { "\"\x7f\"", "\x7f" },
        { "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"tru\"", "tru" },
        { "\"nullx\"", "nullx" },
        { "\"01\"", "01" },
        { "\"+1\"", "+1" },
        { "\"1.\"", "1." },
        { "\"[1\"", "[1" },
        { "\".5\"", ".5" },
        { "\"-\"", "-" },
        { "\"1e\"", "1e" },
        { "\"NaN\"", "NaN" },
        { "\" \"", " " },
        { "\"1 2\"", "1 2" },
        { "\"'7'\"", "'7'" },
        { "\"{\\\"a\\\":1,}\"", "{\"a\":1,}" },
        { "\"\\\"\"", "\"" },
        /* strings that look like JSON texts keep their quotes */
        { "\"7\"", "\"7\"" },
        { "\"true\"", "\"true\"" },
        { "\"null\"", "\"null\"" },
        { "\"[1]\"", "\"[1]\"" },
        { "\"{}\"", "\"{}\"" },
        { "\"\\\"x\\\"\"", "\"\\\"x\\\"\"" },
        { "\" 7 \"", "\" 7 \"" },
        { "\"\\n[1, 2]\\t\"", "\"\\n[1, 2]\\t\"" },
        { "\"{\\\"base64\\\":\\\"/w==\\\"}\"", "\"{\\\"base64\\\":\\\"/w==\\\"}\"" },
        { "\"1E+2\"", "\"1E+2\"" },
        { "\"-0\"", "\"-0\"" },
        /* nested values as their text */
        { "[]", "[]" },
        { "{}", "{}" },
        { "[1.0,\"7\",null,[true]]", "[1.0,\"7\",null,[true]]" },
        { "{\"b\":1,\"a\":{\"c\":\" x \"},\"b\":2}", "{\"b\":1,\"a\":{\"c\":\" x \"},\"b\":2}" },
        { "[\"\\u0041\\/\"]", "[\"\\u0041\\/\"]" },
        /* base64 of bytes that are not UTF-8, and what only looks like it */
        { "{\"base64\":\"/w==\"}", "\xff" },
        { "{\"base64\":\"wMGA\"}", "\xc0\xc1\x80" },
        { "{\"base64\":\"eA==\"}", "{\"base64\":\"eA==\"}" },
        { "{\"base64\":\"\"}", "{\"base64\":\"\"}" },
        { "{\"base64\":\"/x==\"}", "{\"base64\":\"/x==\"}" },
        { "{\"base64\":\"/w=\"}", "{\"base64\":\"/w=\"}" },
        { "{\"base64\":\"/w==\",\"a\":1}", "{\"base64\":\"/w==\",\"a\":1}" },
        { "{\"base64\":1}", "{\"base64\":1}" },
        { "[{\"base64\":\"/w==\"}]", "[{\"base64\":\"/w==\"}]" },
        { "{\"base64\":\"\\/w==\"}", "{\"base64\":\"\\/w==\"}" },
    };
    struct json_event ev;
    struct text line = { 0 }, printed = { 0 };

    (void)state;
    json_event_init(&ev, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        line.n = 0;
        text_printf(&line, "{\"v\":%s}", cases[i].json);
        assert_true(json_event_parse(&ev, line.p, line.n));
        assert_int_equal(ev.n_fields, 1);
        assert_bytes(ev.slices[4], cases[i].stored, strlen(cases[i].stored));
        print_event(&printed, &ev);
        assert_bytes(beck_bytes(printed.p, printed.n), line.p, line.n);
    }
    json_event_fini(&ev);
    text_fini(&line);
    text_fini(&printed);
}

static void other_spellings_are_printed_in_the_shortest_one(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        { " { \"a\" : 1 , \"b\" : [ 1 , { \"c\" : \" , \" } ] } \r",
          "{\"a\":1,\"b\":[1,{\"c\":\" , \"}]}" },
        { "{\"\\u0061\":\"\\u0041\\/\\u00e9\\ud83d\\ude00\"}",
          "{\"a\":\"A/\xc3\xa9\xf0\x9f\x98\x80\"}" },
        { "{\"a\":\"\\u0037\"}", "{\"a\":\"7\"}" },
        { "{\"a\":\"\\u000A\\u000b\"}", "{\"a\":\"\\n\\u000b\"}" },
        { "{\"a\":{ \"base64\" : \"/w==\" }}", "{\"a\":{\"base64\":\"/w==\"}}" },
        { "{\"base64:/w==\":1}", "{\"base64:/w==\":1}" },
        { "{\"base64:eA==\":1}", "{\"base64:eA==\":1}" },
        { "{\"\":\"\"}", "{\"\":\"\"}" },
    };
    struct json_event ev;
    struct text printed = { 0 };

    (void)state;
    json_event_init(&ev, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(json_event_parse(&ev, cases[i].in, strlen(cases[i].in)));
        print_event(&printed, &ev);
        assert_bytes(beck_bytes(printed.p, printed.n), cases[i].out, strlen(cases[i].out));
    }
    assert_true(json_event_parse(&ev, "{\"n\":\"a\\u0000b\"}", 16));
    assert_bytes(ev.slices[1], "a\0b", 3);
    print_event(&printed, &ev);
    assert_bytes(beck_bytes(printed.p, printed.n), "{\"n\":\"a\\u0000b\"}", 16);
    assert_true(json_event_parse(&ev, "{\"base64:/w==\":1}", 17));
    assert_bytes(ev.slices[0], "\xff", 1);
    json_event_fini(&ev);
    text_fini(&printed);
}

static void lines_that_are_no_event_are_refused(void **state)
{
    static const struct {
        const char *in, *why;
    } cases[] = {
        { "", "an empty line" },
        { "  ", "an empty line" },
        { "7", "no JSON object" },
        { "[1]", "no JSON object" },
        { "\"x\"", "no JSON object" },
        { "{}", "an object without fields" },
        { " { } ", "an object without fields" },
        { "{", "a field name in quotes is missing" },
        { "{a:1}", "a field name in quotes is missing" },
        { "{'a':1}", "a field name in quotes is missing" },
        { "{\"a\"}", "a colon is missing" },
        { "{\"a\":}", "no JSON value" },
        { "{\"a\":", "a value is missing" },
        { "{\"a\":1", "a comma or } is missing" },
        { "{\"a\":1,}", "a field name in quotes is missing" },
        { "{\"a\":1 \"b\":2}", "a comma or } is missing" },
        { "{\"a\":1}x", "something behind the object" },
        { "{\"a\":1}{\"a\":1}", "something behind the object" },
        { "{\"a\":[1,]}", "no JSON value" },
        { "{\"a\":[1 2]}", "a comma or ] is missing" },
        { "{\"a\":01}", "a comma or } is missing" },
        { "{\"a\":+1}", "no JSON value" },
        { "{\"a\":.5}", "no JSON value" },
        { "{\"a\":1.}", "a number without its digits" },
        { "{\"a\":-}", "a number without its digits" },
        { "{\"a\":1e}", "a number without its digits" },
        { "{\"a\":1e+}", "a number without its digits" },
        { "{\"a\":NaN}", "no JSON value" },
        { "{\"a\":True}", "no JSON value" },
        { "{\"a\":tru}", "no JSON value" },
        { "{\"a\":\"x}", "a string has no end" },
        { "{\"a\":\"x\\", "a string has no end" },
        { "{\"a\":\"\t\"}", "a control character in a string" },
        { "{\"a\":\"\\x41\"}", "an unknown escape" },
        { "{\"a\":\"\\u12\"}", "a \\u escape is no character" },
        { "{\"a\":\"\\ud800\"}", "a \\u escape is no character" },
        { "{\"a\":\"\\ud800\\u0041\"}", "a \\u escape is no character" },
        { "{\"a\":\"\\udc00\"}", "a \\u escape is no character" },
        { "{\"a\":[\"\\ud800\"]}", "a \\u escape is no character" },
        { "{\"a\":\"\xff\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xc0\x80\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xed\xa0\x80\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xf4\x90\x80\x80\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xe2\x82\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xe0\x80\x80\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xf0\x80\x80\x80\"}", "bytes that are not UTF-8" },
        { "{\"a\":\"\xf5\x80\x80\x80\"}", "bytes that are not UTF-8" },
        { "\xef\xbb\xbf{\"a\":1}", "no JSON object" },
        { "{\"a\":1,\"b\":2,\"a\":3}", "a repeated field" },
        { "{\"a\":1,\"\\u0061\":3}", "a repeated field" },
        { "{\"a\":1 /* c */}", "a comma or } is missing" },
    };
    struct json_event ev;

    (void)state;
    json_event_init(&ev, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_false(json_event_parse(&ev, cases[i].in, strlen(cases[i].in)));
        if (strcmp(ev.error, cases[i].why) != 0)
            print_message("  %s\n", cases[i].in);
        assert_string_equal(ev.error, cases[i].why);
    }
    assert_false(json_event_parse(&ev, "{\"a\":\"\\\0\"}", 10));
    json_event_fini(&ev);
}

static void a_line_cut_anywhere_is_refused(void **state)
{
    static const char line[] = "{\"a\":-1.5e+3,\"b\":\"\\ud83d\\ude00\xc3\xa9\",\"c\":[{\"d\":null}"
                               ",true],\"e\":{\"f\":\"\"}}";
    struct json_event ev;

    (void)state;
    json_event_init(&ev, 0);
    for (size_t n = 0; n < sizeof line - 1; n++) {
        char *copy = malloc(n + 1); /* so that ASan sees a step too far */
        assert_non_null(copy);
        memcpy(copy, line, n);
        assert_false(json_event_parse(&ev, copy, n));
        free(copy);
    }
    assert_true(json_event_parse(&ev, line, sizeof line - 1));
    json_event_fini(&ev);
}

static void depth_and_repeated_names_are_found_at_any_size(void **state)
{
    struct json_event ev;
    struct text line = { 0 };

    (void)state;
    json_event_init(&ev, 3);
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        line.n = 0;
        text_put_str(&line, "{\"a\":");
        for (int i = 0; i < depth; i++)
            text_put_char(&line, '[');
        for (int i = 0; i < depth; i++)
            text_put_char(&line, ']');
        text_put_char(&line, '}');
        assert_int_equal(json_event_parse(&ev, line.p, line.n), depth == JSON_DEPTH_MAX);
    }
    for (int n = 2; n < 200; n += 3)
        for (int twin = 0; twin < 2; twin++) {
            line.n = 0;
            for (int i = 0; i < n; i++)
                text_printf(&line, "%c\"f%d\":%d", i == 0 ? '{' : ',',
                            twin && i == n - 1 ? n / 3 : i, i);
            text_put_char(&line, '}');
            assert_int_equal(json_event_parse(&ev, line.p, line.n), !twin);
        }
    json_event_fini(&ev);
    text_fini(&line);
}

/* Each with an event of its own, whose buffer is as large as the line asks for and no larger. */
static void long_values_have_room_to_be_changed(void **state)
{
    static const struct {
        const char *before, *piece, *behind;
    } cases[] = {
        { "{\"a\":\"", "\\n", "\"}" },
        { "{\"a\":\"[\\\"", "\\n ", "\\\"]\"}" },
        { "{\"a\":[", "\"\", ", "1]}" },
        { "{\"a\":{ \"base64\" : \"", "////", "\"}}" },
        { "{\"base64:\\u002f///", "////", "\":1}" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_event ev;
        struct text line = { 0 }, once = { 0 }, twice = { 0 };
        json_event_init(&ev, 3);
        text_put_str(&line, cases[i].before);
        for (int k = 0; k < 5000; k++)
            text_put_str(&line, cases[i].piece);
        text_put_str(&line, cases[i].behind);
        assert_true(json_event_parse(&ev, line.p, line.n));
        print_event(&once, &ev);
        assert_true(json_event_parse(&ev, once.p, once.n));
        print_event(&twice, &ev);
        assert_bytes(beck_bytes(twice.p, twice.n), once.p, once.n);
        json_event_fini(&ev);
        text_fini(&line);
        text_fini(&once);
        text_fini(&twice);
    }
}

/* ---- Random ---- */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t random_below(uint64_t *state, size_t n)
{
    return (size_t)(random_next(state) % n);
}

static uint64_t random_seed(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u;

    print_message("  SEED=%llu\n", (unsigned long long)seed);
    return seed | 1;
}

static size_t scaled(double rounds)
{
    const char *scale = getenv("SCALE");

    rounds *= scale != NULL ? strtod(scale, NULL) : 1.0;
    return rounds < 1 ? 1 : (size_t)rounds;
}

#define PICK(random, array) ((array)[random_below(random, sizeof(array) / sizeof(array)[0])])

/* Pieces of strings, in the spelling that is printed. */
static const char *const pieces[] = {
    "a",
    "7",
    "0",
    "-",
    ".",
    "e",
    " ",
    "true",
    "null",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\\\"",
    "\\\\",
    "/",
    "\\n",
    "\\t",
    "\\u0000",
    "\\u001f",
    "\x7f",
    "\xc3\xa9",
    "\xe2\x82\xac",
    "\xf0\x9f\x98\x80",
    "base64",
    "/w==",
    "\\\"x\\\"",
    "1.0",
    "\\u000b",
    "\\b",
    "\\f",
    "\\r",
};

static void random_pieces(struct text *t, uint64_t *random)
{
    for (size_t n = random_below(random, 6); n > 0; n--)
        text_put_str(t, PICK(random, pieces));
}

static void random_string(struct text *t, uint64_t *random)
{
    text_put_char(t, '"');
    random_pieces(t, random);
    text_put_char(t, '"');
}

static void random_value(struct text *t, uint64_t *random, unsigned depth)
{
    static const char *const scalars[] = {
        "0",
        "-0",
        "1",
        "-13",
        "1.0",
        "1e3",
        "1E+2",
        "0.5e-7",
        "18446744073709551616",
        "true",
        "false",
        "null",
        "2345",
        "123456789012345678901234567890.0123456789",
        "{\"base64\":\"/w==\"}",
        "{\"base64\":\"eA==\"}",
    };
    size_t kind = random_below(random, depth > 4 ? 8 : 10);
    bool object = kind == 9;

    if (kind < 4) {
        text_put_str(t, PICK(random, scalars));
        return;
    }
    if (kind < 8) {
        random_string(t, random);
        return;
    }
    text_put_char(t, object ? '{' : '[');
    for (size_t n = random_below(random, 4), i = 0; i < n; i++) {
        if (i > 0)
            text_put_char(t, ',');
        if (object) {
            random_string(t, random);
            text_put_char(t, ':');
        }
        random_value(t, random, depth + 1);
    }
    text_put_char(t, object ? '}' : ']');
}

static void random_object(struct text *t, uint64_t *random)
{
    size_t n = 1 + random_below(random, random_below(random, 20) == 0 ? 40 : 6);

    t->n = 0;
    for (size_t i = 0; i < n; i++) {
        text_printf(t, "%c\"%zu.", i == 0 ? '{' : ',', i);
        random_pieces(t, random);
        text_put_char(t, '"');
        text_put_char(t, ':');
        random_value(t, random, 0);
    }
    text_put_char(t, '}');
}

static void what_is_read_is_what_is_printed(void **state)
{
    uint64_t random = random_seed();
    size_t rounds = scaled(200000);
    struct json_event ev;
    struct text line = { 0 }, printed = { 0 };

    (void)state;
    json_event_init(&ev, 3);
    for (size_t round = 0; round < rounds; round++) {
        random_object(&line, &random);
        if (!json_event_parse(&ev, line.p, line.n)) {
            print_message("  %.*s: %s\n", (int)line.n, line.p, ev.error);
            fail();
        }
        print_event(&printed, &ev);
        assert_bytes(beck_bytes(printed.p, printed.n), line.p, line.n);
    }
    json_event_fini(&ev);
    text_fini(&line);
    text_fini(&printed);
}

/* Bytes such as other clients may have stored: random, or near to JSON. */
static void random_bytes(struct text *t, uint64_t *random)
{
    t->n = 0;
    if (random_below(random, 3) == 0) {
        for (size_t n = random_below(random, 12); n > 0; n--)
            text_put_char(t, (char)random_next(random));
        return;
    }
    random_value(t, random, 0);
    for (size_t k = random_below(random, 3); k > 0 && t->n > 0; k--)
        t->p[random_below(random, t->n)] = "\"\\[]{}:,0x\xff\xc3 \n"[random_below(random, 14)];
}

static void stored_bytes_are_printed_and_read_back(void **state)
{
    uint64_t random = random_seed();
    size_t rounds = scaled(200000);
    struct json_event ev;
    struct text bytes = { 0 }, line = { 0 }, again = { 0 };

    (void)state;
    json_event_init(&ev, 3);
    for (size_t round = 0; round < rounds; round++) {
        struct json_scan scan;
        bool text, changes;
        random_bytes(&bytes, &random);
        text_room(&bytes, 1);
        text = json_scan_text(&scan, bytes.p, bytes.n);
        /* The same value in other bytes: a text with blanks loses them, a JSON string is stored
         * plain, base64 that another client stored as text becomes its bytes. */
        changes = text &&
                  (scan.blanks || *bytes.p == '"' || memmem(bytes.p, bytes.n, "base64", 6) != NULL);
        line.n = 0;
        text_put_str(&line, "{\"v\":");
        json_put_value(&line, beck_bytes(bytes.p, bytes.n));
        text_put_char(&line, '}');
        assert_true(json_is_text(line.p, line.n));
        assert_null(memchr(line.p, '\n', line.n));
        assert_true(json_event_parse(&ev, line.p, line.n));
        if (!changes)
            assert_bytes(ev.slices[4], bytes.p, bytes.n);
        print_event(&again, &ev);
        if (!text || *bytes.p != '"') /* whose escapes may have had another spelling */
            assert_bytes(beck_bytes(again.p, again.n), line.p, line.n);
    }
    json_event_fini(&ev);
    text_fini(&bytes);
    text_fini(&line);
    text_fini(&again);
}

static void base64_is_read_only_in_the_spelling_it_is_written_in(void **state)
{
    uint64_t random = random_seed();
    struct text t = { 0 };

    (void)state;
    for (size_t round = 0; round < scaled(20000); round++) {
        char bytes[40], back[64];
        size_t n = random_below(&random, sizeof bytes), back_n;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)random_next(&random);
        t.n = 0;
        base64_put(&t, bytes, n);
        assert_int_equal(t.n, (n + 2) / 3 * 4);
        assert_true(base64_decode(t.p, t.n, back, &back_n));
        assert_bytes(beck_bytes(back, back_n), bytes, n);
        if (t.n == 0)
            continue;
        t.p[random_below(&random, t.n)] = (char)random_next(&random);
        if (base64_decode(t.p, t.n, back, &back_n)) {
            struct text twice = { 0 };
            base64_put(&twice, back, back_n);
            assert_bytes(beck_bytes(twice.p, twice.n), t.p, t.n);
            text_fini(&twice);
        }
    }
    text_fini(&t);
}

static void mutated_lines_never_break_the_scanner(void **state)
{
    uint64_t random = random_seed();
    size_t rounds = scaled(200000), taken = 0;
    struct json_event ev;
    struct text line = { 0 };

    (void)state;
    json_event_init(&ev, 3);
    for (size_t round = 0; round < rounds; round++) {
        char *copy;
        random_object(&line, &random);
        for (size_t k = 1 + random_below(&random, 3); k > 0; k--)
            line.p[random_below(&random, line.n)] = (char)random_next(&random);
        copy = malloc(line.n);
        assert_non_null(copy);
        memcpy(copy, line.p, line.n);
        taken += json_event_parse(&ev, copy, line.n);
        free(copy);
    }
    assert_true(rounds < 1000 || (taken > 0 && taken < rounds));
    json_event_fini(&ev);
    text_fini(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_has_its_bytes_and_is_printed_again),
        cmocka_unit_test(other_spellings_are_printed_in_the_shortest_one),
        cmocka_unit_test(lines_that_are_no_event_are_refused),
        cmocka_unit_test(a_line_cut_anywhere_is_refused),
        cmocka_unit_test(depth_and_repeated_names_are_found_at_any_size),
        cmocka_unit_test(long_values_have_room_to_be_changed),
        cmocka_unit_test(what_is_read_is_what_is_printed),
        cmocka_unit_test(stored_bytes_are_printed_and_read_back),
        cmocka_unit_test(base64_is_read_only_in_the_spelling_it_is_written_in),
        cmocka_unit_test(mutated_lines_never_break_the_scanner),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
