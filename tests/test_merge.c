/* test_merge.c - what is read after a merge is what was live before; a survey counts what a merge drops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/entry.h"
#include "log/liveset.h"
#include "log/merge.h"
#include "log/survey.h"
#include "tests/lib/segments.h"

enum { INPUTS_MAX = 6 };

/* What a stream is, in one list over all segments, and what is wanted of it. */
struct stream {
    struct log_stream_state state;
    struct entries all;
    size_t upto[INPUTS_MAX + 1]; /* how many of them lie before segment i */
    struct id last;
    struct liveset live; /* of the stream of changes */
};

struct world {
    struct random r;
    struct simio *disk;
    struct stream *streams;
    uint64_t *oids;
    size_t n_streams;
    struct segment *segments[INPUTS_MAX];
    size_t n_segments;
    size_t n_counted; /* questions about changes */
};

static void world_segment(struct world *w, size_t i, uint32_t block_bytes)
{
    struct entries l = { 0 };

    for (size_t s = 0; s < w->n_streams; s++)
        l.cap += w->streams[s].upto[i + 1] - w->streams[s].upto[i];
    l.at = malloc((l.cap + 1) * sizeof *l.at);
    for (size_t s = 0; s < w->n_streams; s++)
        for (size_t k = w->streams[s].upto[i]; k < w->streams[s].upto[i + 1]; k++)
            l.at[l.n++] = w->streams[s].all.at[k];
    segments_write(w->disk, i + 1, block_bytes, (enum block_codec)random_below(&w->r, 3), &l, 0,
                   l.n, NULL);
    w->segments[i] = segments_open(w->disk, i + 1);
    free(l.at);
}

static struct id near_id(struct random *r, const struct entries *l)
{
    struct id id;

    if (l->n == 0)
        return ID_MIN;
    id = l->at[random_below(r, l->n)].id;
    if (random_below(r, 4) == 0)
        id_next(&id);
    return id;
}

static void add_delete(struct stream *s, struct id id)
{
    struct err e = { 0 };

    assert_int_equal(delset_reserve(&s->state.deletes, 1, &e), OK);
    delset_add(&s->state.deletes, id);
}

/* Of the changes: some are history, some of the others live. */
static void random_changes_state(struct world *w, struct stream *s)
{
    uint64_t one_in = 1 + random_below(&w->r, 4), kept = random_below(&w->r, 3);
    struct err e = { 0 };

    s->state.alive = true;
    s->state.keep_from = near_id(&w->r, &s->all);
    if (kept == 0)
        s->state.keep_from = ID_MAX;
    for (size_t i = 0; i < s->all.n; i++) {
        uint64_t lsn = s->all.at[i].id.seq;
        if (i % 64 == 0)
            one_in = one_in * 5 % 17 % 7; /* 0: none for a while */
        if (one_in == 0 || random_below(&w->r, one_in) > 0)
            continue;
        assert_int_equal(liveset_reserve(&s->live, lsn, lsn, &e), OK);
        liveset_add(&s->live, lsn);
    }
}

/* `n` changes of segment i, `step` LSNs apart at most. */
static void grow_changes(struct world *w, struct stream *s, size_t i, size_t n, uint64_t step)
{
    uint64_t first = 1000 * (i + 1) - 1;

    if (s->last.seq < first)
        s->last.seq = first;
    for (size_t k = 0; k < n; k++) {
        s->last.seq += 1 + random_below(&w->r, step);
        s->last.ms += random_below(&w->r, 2);
        entries_add(&s->all, &w->r, LOG_CHANGES_OID, s->last, random_below(&w->r, 80));
    }
    s->upto[i + 1] = s->all.n;
}

/* Some are gone, some have a floor, some have deleted entries: a few, or a range. */
static void random_state(struct world *w, struct stream *s)
{
    size_t n = random_below(&w->r, 3) > 0 ? 0 : random_below(&w->r, s->all.n / 3 + 2);
    size_t from = s->all.n > 0 ? random_below(&w->r, s->all.n) : 0;

    s->state.alive = random_below(&w->r, 8) > 0;
    s->state.codec = (enum log_codec)random_below(&w->r, 4);
    if (random_below(&w->r, 3) == 0)
        s->state.floor = near_id(&w->r, &s->all);
    if (random_below(&w->r, 10) == 0)
        s->state.floor = ID_MAX;
    for (size_t i = 0; i < n; i++)
        add_delete(s, from + i < s->all.n && random_below(&w->r, 2) == 0 ? s->all.at[from + i].id
                                                                         : near_id(&w->r, &s->all));
}

static void world_begin(struct world *w, struct random *r, size_t n_streams, size_t n_segments,
                        size_t most, uint32_t block_bytes)
{
    uint64_t oid = 1024;

    *w = (struct world){
        .r = *r, .disk = segments_disk(1), .n_streams = n_streams, .n_segments = n_segments
    };
    w->streams = calloc(n_streams, sizeof *w->streams);
    w->oids = calloc(n_streams, sizeof *w->oids);
    for (size_t s = 0; s < n_streams; s++) {
        if (s == 0 && random_below(&w->r, 2) == 0)
            w->oids[s] = LOG_CHANGES_OID;
        else
            w->oids[s] = oid += 1 + random_below(&w->r, 9);
        w->streams[s].last = (struct id){ 1000 + random_below(&w->r, 5000), 0 };
    }
    for (size_t i = 0; i < n_segments; i++) {
        for (size_t s = 0; s < n_streams; s++) {
            struct stream *st = &w->streams[s];
            size_t n = random_below(&w->r, random_below(&w->r, 6) == 0 ? most : 4);
            if (w->oids[s] == LOG_CHANGES_OID) {
                grow_changes(w, st, i, random_below(&w->r, most), 2);
                continue;
            }
            entries_grow(&st->all, &w->r, w->oids[s], &st->last, n, random_below(&w->r, 40));
            st->upto[i + 1] = st->all.n;
        }
        world_segment(w, i, block_bytes);
    }
    for (size_t s = 0; s < n_streams; s++)
        if (w->oids[s] == LOG_CHANGES_OID)
            random_changes_state(w, &w->streams[s]);
        else
            random_state(w, &w->streams[s]);
    *r = w->r;
}

static void world_end(struct world *w)
{
    for (size_t s = 0; s < w->n_streams; s++) {
        entries_fini(&w->streams[s].all);
        delset_unref(w->streams[s].state.deletes);
        liveset_fini(&w->streams[s].live);
    }
    for (size_t i = 0; i < w->n_segments; i++)
        segment_unref(w->segments[i]);
    free(w->streams);
    free(w->oids);
    simio_free(w->disk);
}

static struct stream *world_find(struct world *w, uint64_t oid)
{
    for (size_t s = 0; s < w->n_streams; s++)
        if (w->oids[s] == oid)
            return &w->streams[s];
    return NULL;
}

static uint64_t count_changes(void *ctx, uint64_t first, uint64_t last)
{
    struct world *w = ctx;
    w->n_counted++;
    return liveset_count(&w->streams[0].live, first, last);
}

static void live_changes(void *ctx, uint64_t first, uint64_t n, uint64_t *bits)
{
    struct world *w = ctx;
    liveset_copy(&w->streams[0].live, first, n, bits);
}

/* As the engine's thread answers. */
static void answer(struct world *w, struct states *states)
{
    struct log_host host = { .ctx = w,
                             .count_changes = count_changes,
                             .live_changes = live_changes };

    if (states->changes.asked) {
        states_answer_changes(states, &host);
        return;
    }
    assert_true(states->n > 0 && states->n <= STATES_MAX);
    for (size_t i = 0; i < states->n; i++) {
        struct stream *s = world_find(w, states->oids[i]);
        assert_non_null(s);
        assert_true(i == 0 || states->oids[i] > states->oids[i - 1]);
        states->states[i] = s->state;
        if (s->state.deletes != NULL)
            states->states[i].deletes = delset_ref(s->state.deletes);
    }
}

static bool is_live(const struct stream *s, struct id id)
{
    if (s->all.at[0].oid == LOG_CHANGES_OID)
        return id.seq >= s->state.keep_from.seq || liveset_has(&s->live, id.seq);
    return s->state.alive && id_cmp(id, s->state.floor) >= 0 && !delset_has(s->state.deletes, id);
}

/* The live entries of segments [from, end), in order; they stay the streams'. */
static void live_entries(struct world *w, size_t from, size_t end, struct entries *out)
{
    *out = (struct entries){ 0 };
    for (size_t s = 0; s < w->n_streams; s++)
        out->cap += w->streams[s].all.n;
    out->at = malloc((out->cap + 1) * sizeof *out->at);
    for (size_t s = 0; s < w->n_streams; s++)
        for (size_t k = w->streams[s].upto[from]; k < w->streams[s].upto[end]; k++)
            if (is_live(&w->streams[s], w->streams[s].all.at[k].id))
                out->at[out->n++] = w->streams[s].all.at[k];
}

static void options_of(struct world *w, size_t from, size_t end, bool strong, uint32_t block_bytes,
                       struct merge_options *o)
{
    *o = (struct merge_options){ .inputs = w->segments + from,
                                 .n_inputs = end - from,
                                 .strong = strong,
                                 .auto_codec = BLOCK_LZ4 };
    segments_options(w->disk, 100, block_bytes, &o->out);
    o->out.lsn_first = segment_info(w->segments[from])->lsn_first;
    o->out.lsn_last = segment_info(w->segments[end - 1])->lsn_last;
    o->out.level = 1;
}

static int run(struct world *w, struct merge *m, struct err *e)
{
    enum step step = STEP_WORKS;
    int rc = OK;

    while (rc == OK && step != STEP_DONE) {
        rc = merge_step(m, &step, e);
        if (rc == OK && step == STEP_ASKS)
            answer(w, merge_states(m));
    }
    return rc;
}

/* Compares all rows of a segment with the list. */
static void assert_holds(struct segment *s, const struct entries *l)
{
    struct block_decoder *c = block_decoder_new();
    struct err e = { 0 };
    size_t at = 0;

    for (uint32_t p = 0; p < segment_n_pages(s); p++) {
        struct segment_page *page = NULL;
        assert_int_equal(segment_read_page(s, p, &page, &e), OK);
        for (uint32_t i = 0; i < page->n; i++) {
            struct block *b = NULL;
            assert_int_equal(segment_read_block(s, c, &page->blocks[i], &b, &e), OK);
            for (uint32_t run_no = 0; run_no < b->n_runs; run_no++) {
                for (uint32_t k = 0; k < b->runs[run_no].n; k++, at++) {
                    uint32_t row = b->runs[run_no].first + k;
                    assert_true(at < l->n && l->at[at].oid == b->runs[run_no].oid);
                    assert_int_equal(b->offsets[row + 1] - b->offsets[row], l->at[at].len);
                    assert_memory_equal(block_entry(b, row), l->at[at].p, l->at[at].len);
                }
            }
            block_unref(b);
        }
        segment_page_unref(page);
    }
    assert_int_equal(at, l->n);
    assert_int_equal(segment_verify(s, NULL, NULL, &e), OK);
    block_decoder_free(c);
}

/* Every deleted entry of the inputs is in a fold, and no fold reaches an entry of another segment. */
static void assert_folds(struct world *w, struct merge *m, size_t from, size_t end)
{
    struct merge_fold fold;
    uint64_t oid = 0;
    size_t n = 0, want = 0;

    while (merge_fold_next(m, &fold)) {
        struct stream *s = world_find(w, fold.oid);
        assert_true(fold.oid > oid && fold.deletes == s->state.deletes);
        oid = fold.oid;
        for (size_t k = 0; k < s->all.n; k++) {
            bool within =
                id_cmp(s->all.at[k].id, fold.from) >= 0 && id_cmp(s->all.at[k].id, fold.to) <= 0;
            bool input = k >= s->upto[from] && k < s->upto[end];
            bool gone = delset_has(s->state.deletes, s->all.at[k].id) &&
                        id_cmp(s->all.at[k].id, s->state.floor) >= 0;
            assert_false(within && !input);
            assert_false(input && gone && !within);
            n += within && gone;
        }
    }
    for (size_t i = 0; i < w->n_streams; i++) {
        struct stream *s = &w->streams[i];
        for (size_t k = s->upto[from]; k < s->upto[end] && s->state.alive; k++)
            want += delset_has(s->state.deletes, s->all.at[k].id) &&
                    id_cmp(s->all.at[k].id, s->state.floor) >= 0;
    }
    assert_int_equal(n, want);
}

static void merge_and_compare(struct world *w, size_t from, size_t end, bool strong,
                              uint32_t block_bytes)
{
    struct merge_options o;
    struct merge *m = NULL;
    struct segment_info info;
    struct entries live;
    struct segment *s = NULL;
    struct err e = { 0 };

    live_entries(w, from, end, &live);
    options_of(w, from, end, strong, block_bytes, &o);
    assert_int_equal(merge_new(&o, &m, &e), OK);
    assert_int_equal(run(w, m, &e), OK);
    assert_int_equal(merge_result(m, &info), live.n > 0);
    if (live.n > 0) {
        assert_int_equal(segment_publish(o.out.io, o.out.dir, 100, &e), OK);
        assert_int_equal(segment_open(o.out.io, o.out.dir, segments_uuid, 100, &info, &s, &e), OK);
        assert_true(info.n_entries == live.n && info.level == 1);
        assert_true(info.lsn_first == o.out.lsn_first && info.lsn_last == o.out.lsn_last);
        assert_holds(s, &live);
        segment_unref(s);
    }
    assert_folds(w, m, from, end);
    merge_free(m);
    free(live.at);
}

static void what_was_live_is_there_afterwards_and_nothing_else(void **state)
{
    struct random r = random_seeded("merge");

    (void)state;
    for (size_t round = 0; round < random_rounds(60); round++) {
        struct world w;
        uint32_t block_bytes = (uint32_t)(60 + random_below(&r, 2000));
        size_t from, end;

        world_begin(&w, &r, 1 + random_below(&r, 40), 1 + random_below(&r, INPUTS_MAX),
                    1 + random_below(&r, 500), block_bytes);
        from = random_below(&w.r, w.n_segments);
        end = from + 1 + random_below(&w.r, w.n_segments - from);
        merge_and_compare(&w, from, end, random_below(&w.r, 2) == 0,
                          random_below(&w.r, 2) == 0 ? block_bytes : block_bytes * 3);
        r = w.r;
        world_end(&w);
    }
}

static void many_streams_are_asked_for_in_slices(void **state)
{
    struct random r = { 12 };
    struct world w;

    (void)state;
    world_begin(&w, &r, 3 * STATES_MAX + 5, 2, 2, 4096);
    merge_and_compare(&w, 0, 2, false, 0);
    world_end(&w);
}

/* One long stream in three segments, nothing dead. */
static void world_long(struct world *w, size_t n, uint32_t block_bytes)
{
    *w = (struct world){ .r = { 5 }, .disk = segments_disk(1), .n_streams = 1, .n_segments = 3 };
    w->streams = calloc(1, sizeof *w->streams);
    w->oids = calloc(1, sizeof *w->oids);
    w->oids[0] = 2000;
    w->streams[0].state.alive = true;
    for (size_t i = 0; i < 3; i++) {
        struct stream *s = &w->streams[0];
        entries_grow(&s->all, &w->r, 2000, &s->last, n, 30);
        s->upto[i + 1] = s->all.n;
        world_segment(w, i, block_bytes);
    }
}

static size_t count_of(struct segment *s)
{
    return segment_info(s)->n_blocks;
}

static void live_blocks_of_one_stream_are_copied_and_a_strong_merge_packs_them_anew(void **state)
{
    struct world w;
    size_t blocks = 0;

    (void)state;
    world_long(&w, 3000, 1 << 10);
    for (size_t i = 0; i < 3; i++)
        blocks += count_of(w.segments[i]);
    for (int strong = 0; strong < 2; strong++) {
        struct merge_options o;
        struct merge *m = NULL;
        struct segment_info info;
        struct err e = { 0 };

        options_of(&w, 0, 3, strong == 1, 0, &o);
        o.out.block_bytes = strong == 1 ? 8 << 10 : 1 << 10;
        assert_int_equal(merge_new(&o, &m, &e), OK);
        assert_int_equal(run(&w, m, &e), OK);
        assert_true(merge_result(m, &info));
        if (strong == 0)
            assert_int_equal(info.n_blocks, blocks); /* each as it was */
        else
            assert_true(info.n_blocks < blocks / 7);
        merge_free(m);
    }
    world_end(&w);
}

static void a_block_with_a_deleted_entry_is_not_copied(void **state)
{
    struct world w;

    (void)state;
    world_long(&w, 3000, 1 << 10);
    add_delete(&w.streams[0], w.streams[0].all.at[4000].id);
    merge_and_compare(&w, 0, 3, false, 1 << 10);
    world_end(&w);
}

static void entries_larger_than_blocks_are_merged(void **state)
{
    struct world w;

    (void)state;
    world_long(&w, 50, 16); /* each has a block of its own */
    add_delete(&w.streams[0], w.streams[0].all.at[60].id);
    merge_and_compare(&w, 0, 3, true, 16);
    world_end(&w);
}

static void count_file(void *ctx, const char *path)
{
    (void)path;
    ++*(size_t *)ctx;
}

static void nothing_live_leaves_no_file(void **state)
{
    struct merge_options o;
    struct merge *m = NULL;
    struct segment_info info;
    struct world w;
    struct err e = { 0 };
    size_t files = 0;

    (void)state;
    world_long(&w, 300, 1 << 10);
    w.streams[0].state.floor = ID_MAX;
    options_of(&w, 0, 3, false, 0, &o);
    assert_int_equal(merge_new(&o, &m, &e), OK);
    assert_int_equal(run(&w, m, &e), OK);
    assert_false(merge_result(m, &info));
    assert_true(merge_bytes_read(m) == 0);
    merge_free(m);
    simio_each_file(w.disk, count_file, &files);
    assert_int_equal(files, 3);
    world_end(&w);
}

static void an_unreadable_block_ends_the_merge_and_leaves_the_inputs(void **state)
{
    for (int strong = 0; strong < 2; strong++) {
        struct merge_options o;
        struct merge *m = NULL;
        struct world w;
        struct err e = { 0 };
        size_t files = 0;

        (void)state;
        world_long(&w, 3000, 1 << 10);
        simio_poke(w.disk, SEGMENTS_DIR "/st-00000000000000000002.seg", 20000, 0xfe);
        simio_poke(w.disk, SEGMENTS_DIR "/st-00000000000000000002.seg", 20001, 0xfe);
        options_of(&w, 0, 3, strong == 1, 1 << 10, &o);
        assert_int_equal(merge_new(&o, &m, &e), OK);
        assert_int_equal(run(&w, m, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "st-00000000000000000002.seg: at byte "));
        assert_true(segment_is_bad(w.segments[1]));
        assert_false(segment_is_bad(w.segments[0]) || segment_is_bad(w.segments[2]));
        merge_free(m);
        simio_each_file(w.disk, count_file, &files);
        assert_int_equal(files, 3);
        world_end(&w);
    }
}

static void segments_that_overlap_are_not_merged(void **state)
{
    struct merge_options o;
    struct merge *m = NULL;
    struct segment *swapped[2];
    struct world w;
    struct err e = { 0 };

    (void)state;
    world_long(&w, 300, 1 << 10);
    swapped[0] = w.segments[1];
    swapped[1] = w.segments[0];
    options_of(&w, 0, 2, false, 1 << 10, &o);
    o.inputs = swapped;
    assert_int_equal(merge_new(&o, &m, &e), OK);
    assert_int_equal(run(&w, m, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "not in order over the segments"));
    merge_free(m);
    world_end(&w);
}

static void a_merge_that_fails_or_is_given_up_leaves_no_file(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC };

    (void)state;
    for (size_t f = 0; f < 2; f++) {
        bool failed = true;
        for (uint64_t n = 0; failed; n += 7) {
            struct merge_options o;
            struct merge *m = NULL;
            struct world w;
            struct err e = { 0 };
            size_t files = 0;
            int rc;

            world_long(&w, 1500, 1 << 10);
            simio_fault_at(w.disk, simio_n_ops(w.disk) + n, 1, faults[f]);
            options_of(&w, 0, 3, true, 1 << 10, &o);
            assert_int_equal(merge_new(&o, &m, &e), OK);
            rc = run(&w, m, &e);
            merge_free(m);
            failed = simio_n_faults(w.disk) > 0;
            simio_each_file(w.disk, count_file, &files);
            assert_int_equal(files, rc == OK ? 4 : 3);
            assert_true(rc == OK || rc == ERR_IO || rc == ERR_FULL);
            assert_true(failed || rc == OK);
            world_end(&w);
        }
    }
}

static void a_step_ends_after_so_many_bytes(void **state)
{
    enum { STEP_BYTES = 64 << 10 };
    struct merge_options o;
    struct merge *m = NULL;
    struct world w;
    struct err e = { 0 };
    enum step step = STEP_WORKS;
    uint64_t bytes = 0;
    size_t n = 0;

    (void)state;
    world_long(&w, 3000, 1 << 10);
    options_of(&w, 0, 3, true, 0, &o);
    o.step_bytes = STEP_BYTES;
    assert_int_equal(merge_new(&o, &m, &e), OK);
    while (step != STEP_DONE) {
        uint64_t before = merge_bytes_read(m);
        assert_int_equal(merge_step(m, &step, &e), OK);
        bytes = merge_bytes_read(m);
        assert_true(bytes - before <= STEP_BYTES + 4096);
        n += step == STEP_WORKS;
        if (step == STEP_ASKS)
            answer(&w, merge_states(m));
    }
    print_message("  %zu steps for %llu bytes\n", n, (unsigned long long)bytes);
    assert_true(n > 0 && n <= bytes / STEP_BYTES);
    merge_free(m);
    world_end(&w);
}

/* ---- changes ---- */

/* The stream of changes in three segments; none is history, and those lives that `lives` says. */
static void world_changes(struct world *w, size_t n, uint64_t step, bool (*lives)(size_t i))
{
    struct err e = { 0 };

    *w = (struct world){ .r = { 5 }, .disk = segments_disk(1), .n_streams = 1, .n_segments = 3 };
    w->streams = calloc(1, sizeof *w->streams);
    w->oids = calloc(1, sizeof *w->oids);
    w->oids[0] = LOG_CHANGES_OID;
    w->streams[0].state = (struct log_stream_state){ .alive = true, .keep_from = ID_MAX };
    for (size_t i = 0; i < 3; i++) {
        grow_changes(w, &w->streams[0], i, n, step);
        world_segment(w, i, 1 << 10);
    }
    for (size_t i = 0; i < 3 * n; i++) {
        uint64_t lsn = w->streams[0].all.at[i].id.seq;
        if (!lives(i))
            continue;
        assert_int_equal(liveset_reserve(&w->streams[0].live, lsn, lsn, &e), OK);
        liveset_add(&w->streams[0].live, lsn);
    }
}

static bool every_third(size_t i)
{
    return i % 3 == 0;
}

static bool first_half(size_t i)
{
    return i < 450;
}

static bool none(size_t i)
{
    (void)i;
    return false;
}

static void changes_far_apart_are_asked_for_a_range_at_a_time(void **state)
{
    struct world w;

    (void)state;
    world_changes(&w, 300, STATES_CHANGES / 3, every_third);
    merge_and_compare(&w, 0, 3, false, 1 << 10);
    print_message("  %zu ranges of %zu rows\n", w.n_counted, w.streams[0].all.n);
    assert_true(w.n_counted > 50 && w.n_counted < 450);
    w.streams[0].state.keep_from = w.streams[0].all.at[700].id;
    merge_and_compare(&w, 0, 3, true, 1 << 10);
    world_end(&w);
}

/* Merges everything; how many bytes it read, and how many blocks it wrote. */
static void merge_all(struct world *w, uint64_t *n_read, uint64_t *n_blocks)
{
    struct merge_options o;
    struct merge *m = NULL;
    struct segment_info info = { 0 };
    struct err e = { 0 };

    options_of(w, 0, 3, false, 1 << 10, &o);
    assert_int_equal(merge_new(&o, &m, &e), OK);
    assert_int_equal(run(w, m, &e), OK);
    *n_blocks = merge_result(m, &info) ? info.n_blocks : 0;
    *n_read = merge_bytes_read(m);
    merge_free(m);
}

static void blocks_of_dead_changes_are_not_read_and_those_of_live_ones_copied(void **state)
{
    uint64_t n_read, all_read, n_blocks, half_blocks, blocks = 0;
    struct world w;

    (void)state;
    world_changes(&w, 300, 1, first_half);
    for (size_t i = 0; i < 3; i++)
        blocks += count_of(w.segments[i]);
    merge_all(&w, &n_read, &half_blocks);
    merge_and_compare(&w, 0, 3, false, 1 << 10);
    assert_true(half_blocks <= blocks / 2 + 1);
    w.streams[0].state.keep_from =
        ID_MIN; /* all of it is history: nothing is asked, whatever lives */
    w.n_counted = 0;
    merge_all(&w, &all_read, &n_blocks);
    merge_and_compare(&w, 0, 3, false, 1 << 10);
    assert_int_equal(w.n_counted, 0);
    assert_int_equal(n_blocks, blocks);
    assert_true(n_read < all_read * 2 / 3);
    world_end(&w);
    world_changes(&w, 300, 1, none);
    merge_all(&w, &n_read, &n_blocks);
    assert_true(n_blocks == 0 && n_read <= 3 * 4096); /* an index page of each */
    world_end(&w);
}

/* ---- surveys ---- */

static void survey_all(struct world *w, struct segment *s, struct survey_result *out)
{
    struct survey *v = NULL;
    enum step step = STEP_WORKS;
    struct err e = { 0 };

    assert_int_equal(survey_new(s, &v, &e), OK);
    while (step != STEP_DONE) {
        assert_int_equal(survey_step(v, &step, &e), OK);
        if (step == STEP_ASKS)
            answer(w, survey_states(v));
    }
    survey_result(v, out);
    survey_free(v);
}

static void a_survey_counts_what_is_dead(void **state)
{
    struct random r = random_seeded("survey");

    (void)state;
    for (size_t round = 0; round < random_rounds(60); round++) {
        struct world w;
        world_begin(&w, &r, 1 + random_below(&r, 40), 1 + random_below(&r, INPUTS_MAX),
                    1 + random_below(&r, 500), (uint32_t)(60 + random_below(&r, 2000)));
        for (size_t i = 0; i < w.n_segments; i++) {
            struct survey_result got;
            uint64_t n = 0, bytes = 0, deleted = 0;

            for (size_t s = 0; s < w.n_streams; s++) {
                struct stream *st = &w.streams[s];
                for (size_t k = st->upto[i]; k < st->upto[i + 1]; k++) {
                    if (is_live(st, st->all.at[k].id))
                        continue;
                    n++;
                    bytes += st->all.at[k].len;
                    deleted += w.oids[s] == LOG_CHANGES_OID ? 200 : 0; /* of average size */
                    deleted += st->state.alive && delset_has(st->state.deletes, st->all.at[k].id)
                                   ? 200
                                   : 0;
                }
            }
            survey_all(&w, w.segments[i], &got);
            /* IDs in a set that lie nowhere may count, and bytes of deleted ones are averages. */
            assert_true(got.n >= n && got.n <= segment_info(w.segments[i])->n_entries);
            if (deleted == 0)
                assert_true(got.bytes >= bytes);
            assert_true(got.bytes + deleted >= bytes);
            assert_true(got.bytes <= segment_info(w.segments[i])->raw_bytes);
        }
        r = w.r;
        world_end(&w);
    }
}

static void a_survey_of_a_trimmed_stream_is_exact(void **state)
{
    struct survey_result got;
    struct world w;
    uint64_t bytes = 0;

    (void)state;
    world_long(&w, 3000, 1 << 10);
    w.streams[0].state.floor = w.streams[0].all.at[1234].id;
    for (size_t i = 0; i < 1234; i++)
        bytes += w.streams[0].all.at[i].len;
    survey_all(&w, w.segments[0], &got);
    assert_true(got.n == 1234 && got.bytes == bytes);
    survey_all(&w, w.segments[1], &got);
    assert_true(got.n == 0 && got.bytes == 0);
    w.streams[0].state.alive = false;
    survey_all(&w, w.segments[1], &got);
    assert_true(got.n == 3000 && got.bytes == segment_info(w.segments[1])->raw_bytes);
    world_end(&w);
}

static void a_survey_counts_changes_that_neither_live_nor_are_history(void **state)
{
    struct survey_result got;
    struct world w;
    struct stream *s;
    uint64_t n = 0;

    (void)state;
    world_changes(&w, 300, 3, every_third);
    s = &w.streams[0];
    survey_all(&w, w.segments[1], &got);
    assert_int_equal(got.n, 200);
    assert_true(got.bytes > segment_info(w.segments[1])->raw_bytes * 6 / 10 &&
                got.bytes < segment_info(w.segments[1])->raw_bytes * 7 / 10);
    for (size_t i = 300; i < 456; i++)
        n += !every_third(i);
    s->state.keep_from = (struct id){ 0, s->all.at[456].id.seq };
    survey_all(&w, w.segments[1], &got);
    assert_int_equal(got.n, n);
    survey_all(&w, w.segments[2], &got);
    assert_int_equal(got.n, 0);
    survey_all(&w, w.segments[0], &got);
    assert_int_equal(got.n, 200);
    liveset_fini(&s->live);
    survey_all(&w, w.segments[0], &got);
    assert_true(got.n == 300 && got.bytes == segment_info(w.segments[0])->raw_bytes);
    world_end(&w);
}

static void count_read(void *ctx, const struct simio_op *op)
{
    if (op->kind == SIMIO_READ)
        *(uint64_t *)ctx += op->n;
}

static void each_byte_is_read_once_however_many_streams_share_a_block(void **state)
{
    struct random r = { 30 };
    struct merge_options o;
    struct survey_result result;
    struct merge *m = NULL;
    struct world w;
    struct err e = { 0 };
    uint64_t n_read = 0, bytes = 0;

    (void)state;
    world_begin(&w, &r, 2000, 2, 3, 4096);
    for (size_t s = 0; s < w.n_streams; s++) {
        w.streams[s].state.alive = true;
        w.streams[s].state.floor = (struct id){ 1001, 0 };
    }
    for (size_t i = 0; i < 2; i++)
        bytes += segment_info(w.segments[i])->file_bytes;
    simio_set_hook(w.disk, count_read, &n_read);
    survey_all(&w, w.segments[0], &result);
    survey_all(&w, w.segments[1], &result);
    assert_true(n_read <= bytes);
    n_read = 0;
    options_of(&w, 0, 2, false, 0, &o);
    assert_int_equal(merge_new(&o, &m, &e), OK);
    assert_int_equal(run(&w, m, &e), OK);
    assert_true(n_read > bytes / 2 && n_read <= bytes);
    merge_free(m);
    simio_set_hook(w.disk, NULL, NULL);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_live_is_there_afterwards_and_nothing_else),
        cmocka_unit_test(many_streams_are_asked_for_in_slices),
        cmocka_unit_test(live_blocks_of_one_stream_are_copied_and_a_strong_merge_packs_them_anew),
        cmocka_unit_test(a_block_with_a_deleted_entry_is_not_copied),
        cmocka_unit_test(entries_larger_than_blocks_are_merged),
        cmocka_unit_test(nothing_live_leaves_no_file),
        cmocka_unit_test(an_unreadable_block_ends_the_merge_and_leaves_the_inputs),
        cmocka_unit_test(segments_that_overlap_are_not_merged),
        cmocka_unit_test(a_merge_that_fails_or_is_given_up_leaves_no_file),
        cmocka_unit_test(a_step_ends_after_so_many_bytes),
        cmocka_unit_test(changes_far_apart_are_asked_for_a_range_at_a_time),
        cmocka_unit_test(blocks_of_dead_changes_are_not_read_and_those_of_live_ones_copied),
        cmocka_unit_test(a_survey_counts_what_is_dead),
        cmocka_unit_test(a_survey_of_a_trimmed_stream_is_exact),
        cmocka_unit_test(a_survey_counts_changes_that_neither_live_nor_are_history),
        cmocka_unit_test(each_byte_is_read_once_however_many_streams_share_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
