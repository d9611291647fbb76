/*
 * test_block.c - blocks give back the rows that they were made of, byte for byte, whatever the rows look
 * like; and nothing that was changed on the way is taken for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "log/block.h"
#include "log/entry.h"
#include "tests/lib/random.h"

enum { ROWS_MAX = 3000, POOL_BYTES = 4 << 20, FIELDS_MAX = 20, SALT = 77, BLOCK_NO = 5 };

/* Rows and the memory in which they lie. */
struct rows {
    struct block_row rows[ROWS_MAX];
    size_t n, used;
    uint8_t pool[POOL_BYTES];
};

struct fixture {
    struct block_encoder *encoder;
    struct block_decoder *decoder;
    struct rows rows;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    *state = f;
    f->encoder = block_encoder_new();
    f->decoder = block_decoder_new();
    return f->encoder == NULL || f->decoder == NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    block_encoder_free(f->encoder);
    block_decoder_free(f->decoder);
    free(f);
    return 0;
}

static void rows_clear(struct rows *r)
{
    r->n = r->used = 0;
}

static void rows_add_bytes(struct rows *r, uint64_t oid, const uint8_t *p, size_t n)
{
    uint8_t *to = r->pool + r->used;

    assert_true(r->n < ROWS_MAX && n <= POOL_BYTES - r->used);
    memcpy(to, p, n);
    r->used += n;
    r->rows[r->n++] = (struct block_row){ oid, to, n };
}

static void rows_add(struct rows *r, uint64_t oid, struct id id, const struct slice *strings,
                     size_t n_strings)
{
    uint8_t *to = r->pool + r->used;
    size_t n = entry_size(id, strings, n_strings);

    assert_true(r->n < ROWS_MAX && n <= POOL_BYTES - r->used);
    entry_put(to, id, strings, n_strings);
    r->used += n;
    r->rows[r->n++] = (struct block_row){ oid, to, n };
}

/* Encodes into memory of its own, so that a sanitizer sees every byte read beside it. */
static uint8_t *encode(struct fixture *f, enum block_codec codec, int level, size_t *n)
{
    struct slice got;
    struct err e = { 0 };
    uint8_t *copy;

    if (block_encode(f->encoder, f->rows.rows, f->rows.n, codec, level, &got, &e) != OK)
        fail_msg("%s", e.text);
    copy = malloc(got.n);
    memcpy(copy, got.p, got.n);
    block_stamp(copy, got.n, SALT, BLOCK_NO);
    *n = got.n;
    return copy;
}

static void assert_same_rows(const struct block *b, const struct rows *r)
{
    const struct block_run *run = b->runs;

    assert_int_equal(b->n, r->n);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct block_row *want = &r->rows[i];
        if (i == run->first + run->n)
            run++;
        assert_int_equal(run->oid, want->oid);
        assert_int_equal(b->offsets[i + 1] - b->offsets[i], want->len);
        assert_memory_equal(block_entry(b, i), want->entry, want->len);
    }
    assert_ptr_equal(run + 1, b->runs + b->n_runs);
}

/* Returns the size of the block, its codec in *codec if that is not NULL. */
static size_t check_codec(struct fixture *f, enum block_codec codec, int level,
                          enum block_codec *used)
{
    struct block_head head;
    struct err e = { 0 };
    struct block *b;
    size_t n;
    uint8_t *p = encode(f, codec, level, &n);

    assert_int_equal(block_verify(p, n, SALT, BLOCK_NO, &head, &e), OK);
    assert_int_equal(head.n, f->rows.n);
    assert_int_equal(head.raw_bytes, f->rows.used);
    assert_int_equal(head.stored_bytes + BLOCK_HEADER_BYTES, n);
    if (block_decode(f->decoder, p, n, SALT, BLOCK_NO, &b, &e) != OK)
        fail_msg("%s", e.text);
    assert_same_rows(b, &f->rows);
    block_unref(b);
    if (used != NULL)
        *used = head.codec;
    free(p);
    return n;
}

static void check_all_codecs(struct fixture *f)
{
    check_codec(f, BLOCK_NONE, 0, NULL);
    check_codec(f, BLOCK_LZ4, 0, NULL);
    check_codec(f, BLOCK_ZSTD, 0, NULL);
    check_codec(f, BLOCK_ZSTD, 5, NULL);
}

/* ---- values of all kinds ---- */

enum shape {
    SHAPE_CONSTANT,
    SHAPE_INTS,
    SHAPE_WIDE_INTS,
    SHAPE_GROWING_INTS,
    SHAPE_NEARLY_INTS,
    SHAPE_TIMES,
    SHAPE_WORDS,
    SHAPE_MANY_WORDS,
    SHAPE_PATHS,
    SHAPE_NOISE,
    SHAPE_EMPTY,
    N_SHAPES,
};

static const char *const nearly_ints[] = {
    "0",
    "-0",
    "00",
    "+1",
    "01",
    "-",
    "",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1 ",
    " 1",
    "1.0",
    "-5",
};

static size_t put_int(char *text, size_t cap, uint64_t v)
{
    return (size_t)snprintf(text, cap, "%lld", (long long)v);
}

static size_t put_time(char *text, size_t cap, uint64_t minutes)
{
    return (size_t)snprintf(text, cap, "2001-%02u-%02uT%02u:%02u",
                            (unsigned)(minutes / 40320 % 12 + 1),
                            (unsigned)(minutes / 1440 % 28 + 1), (unsigned)(minutes / 60 % 24),
                            (unsigned)(minutes % 60));
}

/* Writes a value of up to `cap` bytes, for the nth row; returns its length. */
static size_t put_value(struct random *r, enum shape shape, size_t row, char *text, size_t cap)
{
    size_t n;

    switch (shape) {
    case SHAPE_CONSTANT: return (size_t)snprintf(text, cap, "always the same");
    case SHAPE_INTS: return put_int(text, cap, random_below(r, 3000) - 100);
    case SHAPE_WIDE_INTS: return put_int(text, cap, random_u64(r) >> random_below(r, 64));
    case SHAPE_GROWING_INTS: return put_int(text, cap, 1700000000000 + 17 * row);
    case SHAPE_NEARLY_INTS:
        return (size_t)snprintf(text, cap, "%s",
                                nearly_ints[random_below(r, sizeof nearly_ints / sizeof(char *))]);
    case SHAPE_TIMES: return put_time(text, cap, row / 3 + random_below(r, 2));
    case SHAPE_WORDS: return (size_t)snprintf(text, cap, "%c%zu", 'a', random_below(r, 100) * 7);
    case SHAPE_MANY_WORDS: return (size_t)snprintf(text, cap, "user-%zu-x", random_below(r, 2000));
    case SHAPE_PATHS: return (size_t)snprintf(text, cap, "/usr/share/doc/%zu/%zx", row / 9, row);
    case SHAPE_NOISE:
        n = random_below(r, random_below(r, 10) == 0 ? cap : 20);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)random_u64(r);
        return n;
    default: return 0;
    }
}

struct schema {
    struct slice names[FIELDS_MAX];
    enum shape shapes[FIELDS_MAX];
    size_t n;
    char text[FIELDS_MAX][24];
};

static void random_schema(struct random *r, struct schema *s)
{
    s->n = random_below(r, random_below(r, 4) == 0 ? FIELDS_MAX + 1 : 6);
    for (size_t i = 0; i < s->n; i++) {
        size_t n = (size_t)snprintf(s->text[i], sizeof s->text[i], "field%zu",
                                    random_below(r, 2 * FIELDS_MAX));
        s->names[i] = slice_of(s->text[i], random_below(r, 20) == 0 ? 0 : n);
        s->shapes[i] = (enum shape)random_below(r, N_SHAPES);
    }
}

static void add_row(struct rows *rows, struct random *r, const struct schema *s, uint64_t oid,
                    struct id id)
{
    static char text[FIELDS_MAX][400];
    struct slice strings[2 * FIELDS_MAX];

    for (size_t i = 0; i < s->n; i++) {
        size_t n = put_value(r, s->shapes[i], rows->n, text[i], sizeof text[i]);
        strings[2 * i] = s->names[i];
        strings[2 * i + 1] = slice_of(text[i], n);
    }
    rows_add(rows, oid, id, strings, 2 * s->n);
}

static struct id next_id(struct random *r, struct id id, size_t hurry)
{
    if (random_below(r, hurry + 1) > 0)
        return (struct id){ id.ms,
                            id.seq + 1 + (random_below(r, 50) == 0 ? random_below(r, 9) : 0) };
    return (struct id){ id.ms + 1 + random_below(r, 5), random_below(r, 20) == 0 ? 3 : 0 };
}

static void random_rows(struct rows *rows, struct random *r)
{
    static struct schema schemas[20];
    size_t n = 1 + random_below(r, (size_t[]){ 3, 40, 400, 1500 }[random_below(r, 4)]);
    size_t n_schemas = (size_t[]){ 1, 1, 2, 20 }[random_below(r, 4)];
    size_t run = 1 + random_below(r, random_below(r, 2) == 0 ? 5 : 2 * n),
           hurry = random_below(r, 20);
    struct id id = { 1, 0 };
    uint64_t oid = 1024;

    for (size_t i = 0; i < n_schemas; i++)
        random_schema(r, &schemas[i]);
    rows_clear(rows);
    for (size_t i = 0; i < n && rows->used < POOL_BYTES / 2; i++) {
        if (random_below(r, run) == 0) {
            oid += 1 + random_u64(r) % (UINT64_C(1) << random_below(r, 40));
            id = (struct id){ random_u64(r) >> (8 + random_below(r, 50)), random_below(r, 2) };
        }
        id = next_id(r, id, hurry);
        add_row(rows, r, &schemas[random_below(r, n_schemas)], oid, id);
    }
}

static void every_block_gives_back_its_rows(void **state)
{
    struct fixture *f = *state;
    struct random r = random_seeded("block");

    for (size_t round = random_rounds(400); round > 0; round--) {
        random_rows(&f->rows, &r);
        check_all_codecs(f);
    }
}

static void each_shape_of_values_alone_comes_back(void **state)
{
    struct fixture *f = *state;
    struct random r = random_seeded("block");

    for (int shape = 0; shape < N_SHAPES; shape++) {
        struct schema s = { .n = 1, .names = { slice_str("f") }, .shapes = { (enum shape)shape } };
        rows_clear(&f->rows);
        for (size_t i = 0; i < 500; i++)
            add_row(&f->rows, &r, &s, 1024, (struct id){ 5, i });
        check_all_codecs(f);
    }
}

/* ---- edges ---- */

static void ids_and_streams_at_their_limits_come_back(void **state)
{
    struct fixture *f = *state;

    rows_clear(&f->rows);
    rows_add(&f->rows, 0, ID_MIN, NULL, 0);
    rows_add(&f->rows, 0, (struct id){ 0, UINT64_MAX }, NULL, 0);
    rows_add(&f->rows, 0, (struct id){ UINT64_MAX, 0 }, NULL, 0);
    rows_add(&f->rows, 0, ID_MAX, NULL, 0);
    rows_add(&f->rows, 1, ID_MIN, NULL, 0);
    rows_add(&f->rows, UINT64_MAX, ID_MIN, NULL, 0);
    rows_add(&f->rows, UINT64_MAX, ID_MAX, NULL, 0);
    check_all_codecs(f);
}

static void a_row_with_longer_numbers_than_need_be_comes_back(void **state)
{
    /* 7 and the lengths are written with a byte too many, in one row each */
    static const uint8_t odd[][9] = {
        { 0x87, 0x00, 0, 1, 1, 'a', 1, 'b' },  { 8, 0x80, 0x00, 1, 1, 'a', 1, 'b' },
        { 9, 0, 0x81, 0x00, 1, 'a', 1, 'b' },  { 10, 0, 1, 0x81, 0x00, 'a', 1, 'b' },
        { 11, 0, 1, 1, 'a', 0x81, 0x00, 'b' },
    };
    struct slice plain[] = { slice_str("a"), slice_str("b") };
    struct fixture *f = *state;

    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
        rows_clear(&f->rows);
        for (uint64_t i = 0; i < 7; i++)
            rows_add(&f->rows, 1024, (struct id){ i, 0 }, plain, 2);
        rows_add_bytes(&f->rows, 1024, odd[k], 8);
        for (uint64_t i = 100; i < 130; i++)
            rows_add(&f->rows, 1024, (struct id){ i, 0 }, plain, 2);
        check_all_codecs(f);
    }
}

static void more_schemas_or_fields_than_columns_take_come_back(void **state)
{
    struct fixture *f = *state;
    static char names[1200][8];
    struct slice strings[2400];

    rows_clear(&f->rows);
    for (size_t i = 0; i < 1200; i++) {
        strings[2 * i] = slice_of(names[i], (size_t)snprintf(names[i], 8, "f%zu", i));
        strings[2 * i + 1] = slice_str("value");
        if (i < 100)
            rows_add(&f->rows, 1024, (struct id){ i, 0 }, strings + 2 * i, 2);
    }
    check_all_codecs(f);
    rows_clear(&f->rows);
    for (uint64_t i = 0; i < 10; i++)
        rows_add(&f->rows, 1024, (struct id){ i, 0 }, strings, 2400);
    check_all_codecs(f);
}

static void one_large_entry_comes_back(void **state)
{
    struct fixture *f = *state;
    struct slice strings[] = { slice_str("f"), { NULL, 3 << 20 } };
    uint8_t *big = malloc(strings[1].n);

    for (size_t i = 0; i < strings[1].n; i++)
        big[i] = (uint8_t)(i * i >> 8);
    strings[1].p = big;
    rows_clear(&f->rows);
    rows_add(&f->rows, 1024, (struct id){ 1, 1 }, strings, 2);
    check_all_codecs(f);
    free(big);
}

static void what_does_not_shrink_is_stored_as_it_is(void **state)
{
    struct random r = random_seeded("block");
    struct fixture *f = *state;
    uint8_t value[1024];
    struct slice strings[] = { slice_str("f"), slice_of(value, sizeof value) };
    enum block_codec used;
    size_t n;

    rows_clear(&f->rows);
    for (uint64_t i = 0; i < 32; i++) {
        for (size_t k = 0; k < sizeof value; k++)
            value[k] = (uint8_t)random_u64(&r);
        rows_add(&f->rows, 1024, (struct id){ i, 0 }, strings, 2);
    }
    for (int codec = BLOCK_NONE; codec < BLOCK_N_CODECS; codec++) {
        n = check_codec(f, (enum block_codec)codec, 0, &used);
        assert_int_equal(used, BLOCK_NONE);
        assert_true(n < f->rows.used + BLOCK_HEADER_BYTES + 64);
    }
}

/* Random bytes that repeat from value to value; and random ones of few kinds. */
static void what_only_looks_like_noise_is_compressed(void **state)
{
    struct random r = random_seeded("block");
    struct fixture *f = *state;
    uint8_t value[1024];
    struct slice strings[] = { slice_str("f"), slice_of(value, sizeof value) };
    enum block_codec used;

    for (size_t k = 0; k < sizeof value; k++)
        value[k] = (uint8_t)random_u64(&r);
    rows_clear(&f->rows);
    for (uint64_t i = 0; i < 32; i++) {
        put_u64le(value, random_u64(&r));
        rows_add(&f->rows, 1024, (struct id){ i, 0 }, strings, 2);
    }
    assert_true(check_codec(f, BLOCK_ZSTD, 0, &used) < f->rows.used / 8);
    assert_true(check_codec(f, BLOCK_LZ4, 0, &used) < f->rows.used / 8);
    rows_clear(&f->rows);
    for (uint64_t i = 0; i < 32; i++) {
        for (size_t k = 0; k < sizeof value; k++)
            value[k] = (uint8_t)(' ' + random_below(&r, 64));
        rows_add(&f->rows, 1024, (struct id){ i, 0 }, strings, 2);
    }
    assert_true(check_codec(f, BLOCK_ZSTD, 0, &used) < f->rows.used / 5 * 4);
}

static void columns_with_the_same_values_share_a_dictionary(void **state)
{
    enum { WORDS = 150, WORD_BYTES = 12 };
    struct random r = random_seeded("block");
    struct fixture *f = *state;
    uint8_t words[WORDS][WORD_BYTES], *p;
    size_t n;

    for (size_t i = 0; i < sizeof words; i++)
        words[i / WORD_BYTES][i % WORD_BYTES] = (uint8_t)random_u64(&r);
    rows_clear(&f->rows);
    for (uint64_t i = 0; i < 4 * WORDS; i++) {
        struct slice strings[] = { slice_str("a"),
                                   slice_of(words[random_below(&r, WORDS)], WORD_BYTES),
                                   slice_str("b"),
                                   slice_of(words[random_below(&r, WORDS)], WORD_BYTES) };
        rows_add(&f->rows, 1024, (struct id){ 1, i }, strings, 4);
    }
    check_all_codecs(f);
    p = encode(f, BLOCK_ZSTD, 0, &n);
    assert_true(get_u32le(p + 12) < WORDS * WORD_BYTES * 5 / 4 + 2 * 4 * WORDS); /* packed */
    free(p);
}

static void columns_make_rows_with_the_same_fields_small(void **state)
{
    struct random r = random_seeded("block");
    struct fixture *f = *state;
    struct schema s = { .n = 4,
                        .names = { slice_str("time"), slice_str("status"), slice_str("level"),
                                   slice_str("number") },
                        .shapes = { SHAPE_TIMES, SHAPE_CONSTANT, SHAPE_WORDS, SHAPE_INTS } };
    enum block_codec used;

    rows_clear(&f->rows);
    for (size_t i = 0; i < 500; i++)
        add_row(&f->rows, &r, &s, 1024, (struct id){ 1700000000000 + i / 10, i % 10 });
    assert_true(check_codec(f, BLOCK_ZSTD, 0, &used) < 500 * 4);
    assert_int_equal(used, BLOCK_ZSTD);
    assert_true(check_codec(f, BLOCK_LZ4, 0, &used) < 500 * 7);
    assert_int_equal(used, BLOCK_LZ4);
}

static void more_than_the_largest_block_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t entry[] = { 1, 1, 0 };
    struct block_row rows[] = { { 1, entry, sizeof entry }, { 2, entry, BLOCK_RAW_MAX } };
    struct slice out;
    struct err e = { 0 };

    assert_int_equal(block_encode(f->encoder, rows, 2, BLOCK_ZSTD, 0, &out, &e), ERR_TOO_BIG);
}

/* ---- damage ---- */

static int decode_rc(struct fixture *f, const uint8_t *p, size_t n, uint64_t salt, uint32_t no)
{
    struct err e = { 0 };
    struct block *b;
    int rc = block_decode(f->decoder, p, n, salt, no, &b, &e);

    if (rc == OK)
        block_unref(b);
    return rc;
}

static void no_flipped_bit_and_no_cut_is_overlooked(void **state)
{
    struct fixture *f = *state;
    struct random r = random_seeded("block");
    struct schema s = { .n = 1, .names = { slice_str("f") }, .shapes = { SHAPE_WORDS } };
    uint8_t *p;
    size_t n;

    rows_clear(&f->rows);
    for (size_t i = 0; i < 100; i++)
        add_row(&f->rows, &r, &s, 1024, (struct id){ i, 0 });
    p = encode(f, BLOCK_ZSTD, 0, &n);
    assert_int_equal(decode_rc(f, p, n, SALT, BLOCK_NO), OK);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode_rc(f, p, n, SALT, BLOCK_NO), ERR_CORRUPT);
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, p, cut);
        assert_int_equal(decode_rc(f, part, cut, SALT, BLOCK_NO), ERR_CORRUPT);
        free(part);
    }
    free(p);
}

static void a_block_of_another_place_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t *p;
    size_t n;

    rows_clear(&f->rows);
    rows_add(&f->rows, 1024, (struct id){ 1, 1 }, NULL, 0);
    p = encode(f, BLOCK_NONE, 0, &n);
    assert_int_equal(decode_rc(f, p, n, SALT, BLOCK_NO), OK);
    assert_int_equal(decode_rc(f, p, n, SALT, BLOCK_NO + 1), ERR_CORRUPT);
    assert_int_equal(decode_rc(f, p, n, SALT + 1, BLOCK_NO), ERR_CORRUPT);
    free(p);
}

/* Rows that no program of ours would write, under a right checksum. */
static void rows_out_of_order_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t oids[][2] = { { 5, 5 }, { 5, 5 }, { 6, 5 } };
    static const struct id ids[][2] = { { { 1, 2 }, { 1, 2 } },
                                        { { 1, 2 }, { 1, 1 } },
                                        { { 1, 2 }, { 3, 4 } } };

    for (size_t k = 0; k < 3; k++) {
        for (size_t n_rows = 2; n_rows <= 20; n_rows += 18) {
            for (int codec = BLOCK_NONE; codec < BLOCK_N_CODECS; codec++) {
                size_t n;
                uint8_t *p;
                rows_clear(&f->rows);
                for (size_t i = 0; i + 2 < n_rows; i++)
                    rows_add(&f->rows, 1, (struct id){ i, i }, NULL, 0);
                rows_add(&f->rows, oids[k][0], ids[k][0], NULL, 0);
                rows_add(&f->rows, oids[k][1], ids[k][1], NULL, 0);
                p = encode(f, (enum block_codec)codec, 0, &n);
                assert_int_equal(decode_rc(f, p, n, SALT, BLOCK_NO), ERR_CORRUPT);
                free(p);
            }
        }
    }
}

/* Hostile bytes under a right checksum, uncompressed, so that the decoder sees all of them. */
static void changed_bytes_under_a_right_checksum_never_get_past_the_checks(void **state)
{
    struct fixture *f = *state;
    struct random r = random_seeded("block");
    struct err e = { 0 };

    for (size_t round = random_rounds(60); round > 0; round--) {
        uint8_t *p;
        size_t n;
        random_rows(&f->rows, &r);
        p = encode(f, (enum block_codec)random_below(&r, BLOCK_N_CODECS), 0, &n);
        for (size_t k = 0; k < 200; k++) {
            struct block *b;
            size_t at = 4 + random_below(&r, n - 4);
            uint8_t was = p[at];
            p[at] = (uint8_t)(random_below(&r, 2) == 0 ? was + 1u : random_u64(&r));
            block_stamp(p, n, SALT, BLOCK_NO);
            if (block_decode(f->decoder, p, n, SALT, BLOCK_NO, &b, &e) == OK) {
                struct id id;
                for (uint32_t i = 0; i < b->n; i++)
                    assert_true(entry_check(block_entry(b, i), b->data + b->offsets[i + 1], &id));
                block_unref(b);
            }
            p[at] = was;
        }
        free(p);
    }
}

/* ---- searching ---- */

static void streams_and_ids_are_found(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };
    struct block *b;
    uint8_t *p;
    size_t n;

    rows_clear(&f->rows);
    for (uint64_t oid = 10; oid <= 30; oid += 10)
        for (uint64_t i = 0; i < oid; i++)
            rows_add(&f->rows, oid, (struct id){ 100 + i / 5, 2 * (i % 5) }, NULL, 0);
    p = encode(f, BLOCK_ZSTD, 0, &n);
    assert_int_equal(block_decode(f->decoder, p, n, SALT, BLOCK_NO, &b, &e), OK);
    for (uint64_t oid = 0; oid <= 40; oid++) {
        const struct block_run *run = block_find(b, oid);
        assert_true((run != NULL) == (oid == 10 || oid == 20 || oid == 30));
        if (run == NULL)
            continue;
        assert_int_equal(run->n, oid);
        assert_int_equal(block_seek(b, run, ID_MIN), run->first);
        assert_int_equal(block_seek(b, run, ID_MAX), run->first + run->n);
        for (uint64_t i = 0; i < oid; i++) {
            struct id id = { 100 + i / 5, 2 * (i % 5) };
            assert_int_equal(block_seek(b, run, id), run->first + i);
            id.seq++;
            assert_int_equal(block_seek(b, run, id), run->first + i + 1);
        }
    }
    block_unref(block_ref(b));
    block_unref(b);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_gives_back_its_rows),
        cmocka_unit_test(each_shape_of_values_alone_comes_back),
        cmocka_unit_test(ids_and_streams_at_their_limits_come_back),
        cmocka_unit_test(a_row_with_longer_numbers_than_need_be_comes_back),
        cmocka_unit_test(more_schemas_or_fields_than_columns_take_come_back),
        cmocka_unit_test(one_large_entry_comes_back),
        cmocka_unit_test(what_does_not_shrink_is_stored_as_it_is),
        cmocka_unit_test(what_only_looks_like_noise_is_compressed),
        cmocka_unit_test(columns_with_the_same_values_share_a_dictionary),
        cmocka_unit_test(columns_make_rows_with_the_same_fields_small),
        cmocka_unit_test(more_than_the_largest_block_is_refused),
        cmocka_unit_test(no_flipped_bit_and_no_cut_is_overlooked),
        cmocka_unit_test(a_block_of_another_place_is_refused),
        cmocka_unit_test(rows_out_of_order_are_refused),
        cmocka_unit_test(changed_bytes_under_a_right_checksum_never_get_past_the_checks),
        cmocka_unit_test(streams_and_ids_are_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
