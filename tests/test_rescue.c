/* test_rescue.c - of a damaged segment everything is there afterwards but what is called lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/entry.h"
#include "log/rescue.h"
#include "log/segfile.h"
#include "tests/lib/segments.h"

enum { DAMAGED = 1, MADE = 2, LOST_MAX = 64 };

struct bench {
    struct simio *disk;
    struct entries l;
    struct segment_info info;
    struct rescue_lost lost[LOST_MAX];
    size_t n_lost;
    uint8_t *file; /* as it was */
    size_t n;
    char path[64];
};

static void bench_init(struct bench *b, size_t n_streams)
{
    struct random r = { 99 };
    const uint8_t *bytes;

    *b = (struct bench){ .disk = segments_disk(1) };
    for (uint64_t i = 0; i < n_streams; i++) {
        struct id last = { 1000 + i, 0 };
        entries_grow(&b->l, &r, 1024 + 3 * i, &last, i % 4 == 2 ? 14 : 1 + i % 2, 20);
    }
    segments_write(b->disk, DAMAGED, 200, BLOCK_LZ4, &b->l, 0, b->l.n, &b->info);
    segments_path(DAMAGED, b->path);
    bytes = simio_bytes(b->disk, b->path, &b->n);
    b->file = malloc(b->n);
    assert_non_null(b->file);
    memcpy(b->file, bytes, b->n);
}

static void bench_fini(struct bench *b)
{
    free(b->file);
    entries_fini(&b->l);
    simio_free(b->disk);
}

static void note_lost(void *ctx, const struct rescue_lost *l)
{
    struct bench *b = ctx;

    assert_true(b->n_lost < LOST_MAX);
    b->lost[b->n_lost++] = *l;
}

static int run(struct bench *b, struct err *e)
{
    struct rescue r = { .io = simio_io(b->disk),
                        .dir = SEGMENTS_DIR,
                        .uuid = segments_uuid,
                        .info = &b->info,
                        .ordinal = MADE,
                        .lost = note_lost,
                        .ctx = b };
    int rc;

    b->n_lost = 0;
    rc = rescue_run(&r, e);
    if (rc == OK) {
        assert_int_equal(r.n_lost, b->n_lost);
        assert_int_equal(r.made.lsn_first, b->info.lsn_first);
        assert_int_equal(r.made.lsn_last, b->info.lsn_last);
        assert_int_equal(r.made.level, b->info.level);
    }
    return rc;
}

static int key_cmp(uint64_t oid, struct id id, uint64_t other, struct id other_id)
{
    return oid != other ? (oid < other ? -1 : 1) : id_cmp(id, other_id);
}

static bool is_lost(const struct bench *b, const struct entry *x)
{
    for (size_t i = 0; i < b->n_lost; i++)
        if (key_cmp(b->lost[i].oid_from, b->lost[i].from, x->oid, x->id) <= 0 &&
            key_cmp(x->oid, x->id, b->lost[i].oid_to, b->lost[i].to) <= 0)
            return true;
    return false;
}

/* The entry that the block has at `row` is the next of the list; those before it are lost. */
static void check_row(const struct bench *b, const struct block *block, uint64_t oid, uint32_t row,
                      size_t *at)
{
    struct id id;

    entry_id(block_entry(block, row), &id);
    while (*at < b->l.n && key_cmp(b->l.at[*at].oid, b->l.at[*at].id, oid, id) < 0)
        assert_true(is_lost(b, &b->l.at[(*at)++]));
    assert_true(*at < b->l.n);
    assert_int_equal(b->l.at[*at].len, block->offsets[row + 1] - block->offsets[row]);
    assert_memory_equal(b->l.at[*at].p, block_entry(block, row), b->l.at[*at].len);
    ++*at;
}

/* Compares the new segment with what was written. Returns how many entries it has. */
static size_t check_made(struct bench *b)
{
    struct block_decoder *c = block_decoder_new();
    struct segment *s;
    struct err e = { 0 };
    size_t at = 0, n;

    assert_int_equal(segment_publish(simio_io(b->disk), SEGMENTS_DIR, MADE, &e), OK);
    s = segments_open(b->disk, MADE);
    assert_int_equal(segment_verify(s, NULL, NULL, &e), OK);
    for (uint32_t i = 0; i < segment_n_pages(s); i++) {
        struct segment_page *page;
        assert_int_equal(segment_read_page(s, i, &page, &e), OK);
        for (uint32_t k = 0; k < page->n; k++) {
            struct block *block;
            assert_int_equal(segment_read_block(s, c, &page->blocks[k], &block, &e), OK);
            for (uint32_t run = 0; run < block->n_runs; run++)
                for (uint32_t row = 0; row < block->runs[run].n; row++)
                    check_row(b, block, block->runs[run].oid, block->runs[run].first + row, &at);
            block_unref(block);
        }
        segment_page_unref(page);
    }
    for (; at < b->l.n; at++)
        assert_true(is_lost(b, &b->l.at[at]));
    n = (size_t)segment_info(s)->n_entries;
    segment_unref(s);
    block_decoder_free(c);
    return n;
}

static void a_sound_segment_comes_out_as_it_was(void **state)
{
    static const size_t sizes[] = { 5, 70, 400 };
    (void)state;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bench b;
        struct err e = { 0 };
        bench_init(&b, sizes[i]);
        assert_int_equal(run(&b, &e), OK);
        assert_int_equal(b.n_lost, 0);
        assert_int_equal(check_made(&b), b.l.n);
        bench_fini(&b);
    }
}

/* Where the file has what `pos` belongs to. */
static bool is_block(const struct bench *b, size_t pos)
{
    const uint8_t *tail = b->file + b->n - SEGMENT_TRAILER_BYTES;

    return pos >= SEGMENT_HEADER_BYTES && pos < get_u64le(tail + 16);
}

static bool is_salt(size_t pos)
{
    return pos >= 64 && pos < 72;
}

static void a_byte_that_is_changed_costs_at_most_its_block(void **state)
{
    struct bench b;
    struct err e = { 0 };
    (void)state;

    bench_init(&b, 70);
    for (size_t pos = 0; pos < b.n; pos += pos < 72 ? 8 : 61) {
        size_t n;
        simio_poke(b.disk, b.path, pos, b.file[pos] ^ (uint8_t)(1u << pos % 8));
        assert_int_equal(run(&b, &e), OK);
        n = check_made(&b);
        if (is_block(&b, pos)) {
            assert_int_equal(b.n_lost, 1);
            assert_int_equal(n + b.lost[0].n, b.l.n); /* the index says how many */
            assert_true(b.lost[0].n < b.l.n / 4);
        } else if (is_salt(pos)) {
            assert_int_equal(n, 0);
        } else {
            assert_int_equal(n, b.l.n);
        }
        simio_poke(b.disk, b.path, pos, b.file[pos]);
    }
    bench_fini(&b);
}

static void a_length_to_which_it_is_cut_keeps_the_blocks_before(void **state)
{
    struct bench b;
    struct err e = { 0 };
    size_t before = 0;
    (void)state;

    bench_init(&b, 70);
    for (size_t n = 0; n < b.n; n += n < SEGMENT_HEADER_BYTES - 8 ? 500 : 71) {
        size_t left;
        simio_put(b.disk, b.path, b.file, n);
        assert_int_equal(run(&b, &e), OK);
        left = check_made(&b);
        assert_true(left >= before);
        before = left;
    }
    assert_int_equal(before, b.l.n); /* all blocks are before index and trailer */
    bench_fini(&b);
}

static void without_index_and_a_block_the_ones_before_it_are_there(void **state)
{
    struct bench b;
    struct err e = { 0 };
    uint64_t index, streams, second;
    size_t n;
    (void)state;

    bench_init(&b, 70);
    index = get_u64le(b.file + b.n - SEGMENT_TRAILER_BYTES + 16);
    streams = get_u64le(b.file + b.n - SEGMENT_TRAILER_BYTES + 24);
    second =
        SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + get_u32le(b.file + SEGMENT_HEADER_BYTES + 4);
    assert_true(streams - index <= SEGFILE_PAGE_BYTES); /* one page has it all */
    simio_poke(b.disk, b.path, index + 40, (uint8_t)~b.file[index + 40]);
    simio_poke(b.disk, b.path, second + 40, (uint8_t)~b.file[second + 40]);
    assert_int_equal(run(&b, &e), OK);
    n = check_made(&b);
    assert_int_equal(b.n_lost, 1);
    assert_int_equal(b.lost[0].n, 0); /* nobody knows */
    assert_true(n > 0 && n < b.l.n);
    bench_fini(&b);
}

static void a_sector_that_cannot_be_read_is_a_damaged_block(void **state)
{
    struct bench b;
    struct err e = { 0 };
    size_t n;
    (void)state;

    bench_init(&b, 70);
    simio_break_sector(b.disk, b.path, SEGMENT_HEADER_BYTES + 512);
    assert_int_equal(run(&b, &e), OK);
    n = check_made(&b);
    assert_true(b.n_lost > 0);
    assert_true(n > b.l.n / 4 && n < b.l.n);
    bench_fini(&b);
}

static void a_file_that_is_not_there_is_damage(void **state)
{
    struct bench b;
    struct err e = { 0 };
    (void)state;

    bench_init(&b, 5);
    simio_remove(b.disk, b.path);
    assert_int_equal(run(&b, &e), ERR_CORRUPT);
    bench_fini(&b);
}

static void a_disk_that_fails_leaves_no_new_file_or_a_true_one(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC, SIMIO_SHORT };
    (void)state;

    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        bool hit = true;
        for (uint64_t n = 0; hit; n++) {
            struct bench b;
            struct err e = { 0 };
            size_t now;
            bench_init(&b, 70);
            simio_fault_at(b.disk, simio_n_ops(b.disk) + n, 1, faults[f]);
            if (run(&b, &e) == OK) {
                hit = simio_n_faults(b.disk) > 0;
                simio_fault_at(b.disk, UINT64_MAX, 1, SIMIO_NO_FAULT);
                check_made(&b);
            } else {
                assert_true(e.code == ERR_IO || e.code == ERR_FULL);
                assert_null(simio_bytes(b.disk, SEGMENTS_DIR "/st-00000000000000000002.seg", &now));
                hit = true;
            }
            assert_memory_equal(simio_bytes(b.disk, b.path, &now), b.file, b.n);
            bench_fini(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_segment_comes_out_as_it_was),
        cmocka_unit_test(a_byte_that_is_changed_costs_at_most_its_block),
        cmocka_unit_test(a_length_to_which_it_is_cut_keeps_the_blocks_before),
        cmocka_unit_test(without_index_and_a_block_the_ones_before_it_are_there),
        cmocka_unit_test(a_sector_that_cannot_be_read_is_a_damaged_block),
        cmocka_unit_test(a_file_that_is_not_there_is_damage),
        cmocka_unit_test(a_disk_that_fails_leaves_no_new_file_or_a_true_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
