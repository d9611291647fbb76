/* test_blockcache.c - blocks in memory: never two of one, never more than the limit, a scan drives nothing out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "log/blockcache.h"
#include "log/entry.h"
#include "tests/lib/segments.h"

enum { N_ENTRIES = 40000 };

/* A segment of one stream, entry i has the ID i + 1; and its blocks by number. */
struct world {
    struct simio *disk;
    struct segment *s;
    struct segment_block *at;
    uint32_t n;
    size_t memory; /* of a block, about */
    struct block_decoder *decoder;
    struct blockcache *cache;
};

static void world_begin(struct world *w, uint64_t limit)
{
    struct random r = { 4 };
    struct entries l = { 0 };
    struct block *b = NULL;
    struct err e = { 0 };

    *w = (struct world){ .disk = segments_disk(1), .decoder = block_decoder_new() };
    for (uint64_t i = 0; i < N_ENTRIES; i++)
        entries_add(&l, &r, 1024, (struct id){ i + 1, 0 }, 8);
    segments_write(w->disk, 1, 1 << 10, BLOCK_LZ4, &l, 0, l.n, NULL);
    entries_fini(&l);
    w->s = segments_open(w->disk, 1);
    w->at = calloc(segment_info(w->s)->n_blocks, sizeof *w->at);
    for (uint32_t p = 0; p < segment_n_pages(w->s); p++) {
        struct segment_page *page = NULL;
        assert_int_equal(segment_read_page(w->s, p, &page, &e), OK);
        for (uint32_t i = 0; i < page->n; i++)
            w->at[w->n++] = page->blocks[i];
        segment_page_unref(page);
    }
    assert_int_equal(segment_read_block(w->s, w->decoder, &w->at[0], &b, &e), OK);
    w->memory = b->memory + 200;
    block_unref(b);
    assert_int_equal(blockcache_new(limit == 0 ? 100 * w->memory : limit, &w->cache, &e), OK);
}

static void world_end(struct world *w)
{
    blockcache_free(w->cache);
    segment_unref(w->s);
    block_decoder_free(w->decoder);
    free(w->at);
    simio_free(w->disk);
}

/* Whether the block is the one that the index describes. */
static bool is_block(const struct block *b, const struct segment_block *at)
{
    struct id id;

    entry_id(block_entry(b, 0), &id);
    return b->n == at->n && id_cmp(id, at->first) == 0;
}

static void use(struct world *w, uint32_t no)
{
    struct block *b = NULL;
    struct err e = { 0 };

    assert_int_equal(blockcache_read_block(w->cache, w->s, w->decoder, &w->at[no], &b, &e), OK);
    assert_true(is_block(b, &w->at[no]));
    block_unref(b);
}

static bool is_there(struct world *w, uint32_t no)
{
    struct block *b = blockcache_get_block(w->cache, w->s, no);

    block_unref(b);
    return b != NULL;
}

static struct blockcache_stats stats_of(struct world *w)
{
    struct blockcache_stats s;

    blockcache_get_stats(w->cache, &s);
    return s;
}

static void what_was_read_is_there_and_the_limit_holds(void **state)
{
    struct random r = random_seeded("blockcache");
    struct world w;

    (void)state;
    world_begin(&w, 0);
    for (size_t i = 0; i < 5000; i++) {
        uint32_t no = (uint32_t)random_below(&r, random_below(&r, w.n) + 1);
        use(&w, no);
        assert_true(stats_of(&w).bytes <= stats_of(&w).limit);
        if (i % 1000 == 999)
            blockcache_set_limit(w.cache, (50 + random_below(&r, 100)) * w.memory);
    }
    assert_true(stats_of(&w).hits > 500 && stats_of(&w).evictions > 500);
    blockcache_set_limit(w.cache, 0);
    assert_true(stats_of(&w).bytes == 0 && stats_of(&w).n == 0);
    world_end(&w);
}

static void blocks_used_again_outlive_a_scan(void **state)
{
    enum { HOT = 40 };
    struct world w;
    uint32_t kept = 0;

    (void)state;
    world_begin(&w, 0);
    assert_true(w.n > 400);
    for (int again = 0; again < 4; again++)
        for (uint32_t i = 0; i < HOT; i++)
            use(&w, i);
    for (uint32_t i = HOT; i < w.n; i++)
        use(&w, i);
    for (uint32_t i = 0; i < HOT; i++)
        kept += is_there(&w, i);
    assert_int_equal(kept, HOT);
    world_end(&w);
}

static void what_comes_back_soon_stays(void **state)
{
    struct world w;
    uint32_t kept = 0;

    (void)state;
    world_begin(&w, 0);
    for (uint32_t i = 0; i < 110; i++)
        use(&w, i); /* the first ones leave, but their names stay */
    assert_false(is_there(&w, 0));
    for (uint32_t i = 0; i < 5; i++)
        use(&w, i);
    for (uint32_t i = 200; i < 320; i++)
        use(&w, i);
    for (uint32_t i = 0; i < 5; i++)
        kept += is_there(&w, i);
    assert_int_equal(kept, 5);
    world_end(&w);
}

static void what_is_pinned_stays_and_counts(void **state)
{
    enum { PINS = 30 };
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_begin(&w, 0);
    blockcache_set_limit(w.cache, 20 * w.memory);
    for (uint32_t i = 0; i < PINS; i++)
        assert_int_equal(blockcache_load_block(w.cache, w.s, w.decoder, &w.at[i], &e), OK);
    assert_true(stats_of(&w).pinned_bytes == stats_of(&w).bytes);
    assert_true(stats_of(&w).bytes > stats_of(&w).limit);
    for (uint32_t i = 100; i < 200; i++)
        use(&w, i);
    for (uint32_t i = 0; i < PINS; i++)
        assert_true(is_there(&w, i));
    assert_false(is_there(&w, 199)); /* there is no room but for what is pinned */
    assert_true(blockcache_pin_block(w.cache, w.s, 0));
    assert_false(blockcache_pin_block(w.cache, w.s, 199));
    blockcache_forget(w.cache, w.s);
    for (uint32_t i = 0; i < PINS; i++)
        blockcache_unpin_block(w.cache, w.s, i);
    assert_true(is_there(&w, 0)); /* it had two pins */
    blockcache_unpin_block(w.cache, w.s, 0);
    assert_true(stats_of(&w).bytes <= stats_of(&w).limit && stats_of(&w).pinned_bytes == 0);
    world_end(&w);
}

static void a_huge_block_is_kept_only_while_it_is_pinned(void **state)
{
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_begin(&w, 0);
    blockcache_set_limit(w.cache, 3 * w.memory);
    use(&w, 5);
    assert_false(is_there(&w, 5));
    assert_int_equal(blockcache_load_block(w.cache, w.s, w.decoder, &w.at[5], &e), OK);
    assert_true(is_there(&w, 5));
    blockcache_unpin_block(w.cache, w.s, 5);
    assert_false(is_there(&w, 5));
    world_end(&w);
}

static void pages_and_blocks_of_one_number_are_two_things(void **state)
{
    struct segment_page *page = NULL, *again;
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_begin(&w, 1 << 20);
    assert_null(blockcache_get_page(w.cache, w.s, 0));
    use(&w, 0);
    assert_null(blockcache_get_page(w.cache, w.s, 0));
    assert_int_equal(blockcache_read_page(w.cache, w.s, 0, &page, &e), OK);
    assert_int_equal(page->blocks[0].n, w.at[0].n);
    again = blockcache_get_page(w.cache, w.s, 0);
    assert_ptr_equal(again, page);
    segment_page_unref(again);
    segment_page_unref(page);
    assert_int_equal(blockcache_load_page(w.cache, w.s, 0, &e), OK);
    blockcache_unpin_page(w.cache, w.s, 0);
    world_end(&w);
}

static void a_segment_is_forgotten_and_the_others_are_not(void **state)
{
    struct random r = { 4 };
    struct entries l = { 0 };
    struct segment_page *page = NULL;
    struct segment *other;
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_begin(&w, 1 << 20);
    entries_add(&l, &r, 1024, (struct id){ 1, 0 }, 8);
    segments_write(w.disk, 2, 0, BLOCK_LZ4, &l, 0, l.n, NULL);
    other = segments_open(w.disk, 2);
    use(&w, 0);
    assert_int_equal(blockcache_read_page(w.cache, other, 0, &page, &e), OK);
    segment_page_unref(page);
    assert_null(blockcache_get_block(w.cache, other, 0));
    blockcache_forget(w.cache, w.s);
    assert_false(is_there(&w, 0));
    page = blockcache_get_page(w.cache, other, 0);
    assert_non_null(page);
    segment_page_unref(page);
    segment_unref(other);
    entries_fini(&l);
    world_end(&w);
}

static void a_damaged_block_is_not_kept(void **state)
{
    struct block *b = NULL;
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_begin(&w, 0);
    simio_poke(w.disk, SEGMENTS_DIR "/st-00000000000000000001.seg", w.at[3].pos + 40, 0xee);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(blockcache_read_block(w.cache, w.s, w.decoder, &w.at[3], &b, &e),
                         ERR_CORRUPT);
        assert_false(is_there(&w, 3));
    }
    assert_int_equal(blockcache_load_block(w.cache, w.s, w.decoder, &w.at[3], &e), ERR_CORRUPT);
    assert_int_equal(stats_of(&w).pinned_bytes, 0);
    world_end(&w);
}

struct thread {
    struct world *w;
    pthread_t id;
    uint64_t seed;
    size_t n_wrong;
};

static void thread_step(struct thread *t, struct random *r, struct block_decoder *c)
{
    struct world *w = t->w;
    uint32_t no = (uint32_t)random_below(r, random_below(r, 100) + 1);
    struct block *b = NULL;
    struct err e = { 0 };

    switch (random_below(r, 8)) {
    case 0:
        if (blockcache_load_block(w->cache, w->s, c, &w->at[no], &e) != OK)
            t->n_wrong++;
        b = blockcache_get_block(w->cache, w->s, no);
        t->n_wrong += b == NULL || !is_block(b, &w->at[no]);
        block_unref(b);
        blockcache_unpin_block(w->cache, w->s, no);
        break;
    case 1: blockcache_forget(w->cache, w->s); break;
    default:
        if (blockcache_read_block(w->cache, w->s, c, &w->at[no], &b, &e) != OK)
            t->n_wrong++;
        t->n_wrong += b == NULL || !is_block(b, &w->at[no]);
        block_unref(b);
    }
}

static void *thread_run(void *arg)
{
    struct thread *t = arg;
    struct random r = { t->seed };
    struct block_decoder *c = block_decoder_new();

    for (size_t i = 0; i < random_rounds(3000); i++)
        thread_step(t, &r, c);
    block_decoder_free(c);
    return NULL;
}

static void threads_share_it(void **state)
{
    enum { N = 4 };
    struct random r = random_seeded("blockcache");
    struct thread threads[N];
    struct world w;

    (void)state;
    world_begin(&w, 0);
    blockcache_set_limit(w.cache, 30 * w.memory);
    for (size_t i = 0; i < N; i++) {
        threads[i] = (struct thread){ .w = &w, .seed = random_u64(&r) };
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_run, &threads[i]), 0);
    }
    for (size_t i = 0; i < N; i++) {
        pthread_join(threads[i].id, NULL);
        assert_int_equal(threads[i].n_wrong, 0);
    }
    assert_true(stats_of(&w).bytes <= stats_of(&w).limit && stats_of(&w).pinned_bytes == 0);
    assert_true(stats_of(&w).n <= 100);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_is_there_and_the_limit_holds),
        cmocka_unit_test(blocks_used_again_outlive_a_scan),
        cmocka_unit_test(what_comes_back_soon_stays),
        cmocka_unit_test(what_is_pinned_stays_and_counts),
        cmocka_unit_test(a_huge_block_is_kept_only_while_it_is_pinned),
        cmocka_unit_test(pages_and_blocks_of_one_number_are_two_things),
        cmocka_unit_test(a_segment_is_forgotten_and_the_others_are_not),
        cmocka_unit_test(a_damaged_block_is_not_kept),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
