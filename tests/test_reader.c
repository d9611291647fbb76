/* test_reader.c - a stream read over several segments is what a list of its live entries says, whether the reader may
 * wait for the disk or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/entry.h"
#include "log/log.h"
#include "log/reader.h"
#include "tests/lib/segments.h"

enum { N_STREAMS = 6, SEGMENTS_MAX = 6 };

struct world {
    struct random r;
    struct simio *disk;
    struct entries of[N_STREAMS];             /* each stream's, over all segments */
    size_t upto[N_STREAMS][SEGMENTS_MAX + 1]; /* how many of them lie before segment i */
    uint64_t oids[N_STREAMS];
    struct segment *segments[SEGMENTS_MAX];
    size_t n_segments;
    struct view *view;
    struct blockcache *cache;
    struct block_decoder *decoder;
};

/* Some streams are in all segments, some in few; some are long, some short. */
static size_t how_many(struct world *w, size_t stream, size_t most)
{
    switch (stream % 3) {
    case 0: return random_below(&w->r, most);
    case 1: return random_below(&w->r, 3);
    default: return random_below(&w->r, 2) * random_below(&w->r, 40);
    }
}

static void world_grow(struct world *w, size_t stream, size_t n, struct id *last)
{
    entries_grow(&w->of[stream], &w->r, w->oids[stream], last, n, random_below(&w->r, 40));
}

/* The entries of segment i, all streams, in order; they stay the streams'. */
static void world_segment(struct world *w, size_t i, uint32_t block_bytes)
{
    struct entries l = { 0 };

    for (size_t s = 0; s < N_STREAMS; s++)
        l.cap += w->upto[s][i + 1] - w->upto[s][i];
    l.at = malloc((l.cap + 1) * sizeof *l.at);
    for (size_t s = 0; s < N_STREAMS; s++)
        for (size_t k = w->upto[s][i]; k < w->upto[s][i + 1]; k++)
            l.at[l.n++] = w->of[s].at[k];
    segments_write(w->disk, i + 1, block_bytes, (enum block_codec)random_below(&w->r, 3), &l, 0,
                   l.n, NULL);
    w->segments[i] = segments_open(w->disk, i + 1);
    free(l.at);
}

static void world_begin(struct world *w, struct random *r, size_t n_segments, size_t most,
                        uint32_t block_bytes, uint64_t cache_bytes)
{
    struct id last[N_STREAMS] = { { 0 } };
    struct err e = { 0 };

    *w = (struct world){ .r = *r, .disk = segments_disk(1), .n_segments = n_segments };
    for (size_t s = 0; s < N_STREAMS; s++) {
        w->oids[s] = 1024 + 10 * s + random_below(&w->r, 9);
        last[s].ms = 1000 + random_below(&w->r, 5000);
    }
    for (size_t i = 0; i < n_segments; i++) {
        for (size_t s = 0; s < N_STREAMS; s++) {
            world_grow(w, s, how_many(w, s, most), &last[s]);
            w->upto[s][i + 1] = w->of[s].n;
        }
        world_segment(w, i, block_bytes);
    }
    w->view = view_new(w->segments, n_segments);
    w->decoder = block_decoder_new();
    assert_int_equal(blockcache_new(cache_bytes, &w->cache, &e), OK);
    *r = w->r;
}

static void world_end(struct world *w)
{
    struct blockcache_stats stats;

    blockcache_get_stats(w->cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    view_unref(w->view);
    blockcache_free(w->cache);
    block_decoder_free(w->decoder);
    for (size_t i = 0; i < w->n_segments; i++)
        segment_unref(w->segments[i]);
    for (size_t s = 0; s < N_STREAMS; s++)
        entries_fini(&w->of[s]);
    simio_free(w->disk);
}

/* A moment of a stream, and its live entries as a list. */
struct moment {
    struct sealed sealed;
    const struct entry **live;
    size_t n;
    const struct entries *all;
    size_t n_all; /* in the segments that count */
};

static struct id near_id(struct random *r, const struct entries *l)
{
    struct id id = { random_below(r, 5000), random_below(r, 3) };

    if (l->n == 0 || random_below(r, 10) == 0)
        return id;
    id = l->at[random_below(r, l->n)].id;
    switch (random_below(r, 5)) {
    case 0: id_next(&id); break;
    case 1: id_prev(&id); break;
    default: break;
    }
    return id;
}

static void random_deletes(struct world *w, const struct entries *l, struct delset **out)
{
    size_t n = random_below(&w->r, 3) == 0 ? 0 : random_below(&w->r, l->n / 4 + 3);
    size_t from = l->n > 0 ? random_below(&w->r, l->n) : 0;
    struct err e = { 0 };

    for (size_t i = 0; i < n; i++) {
        struct id id =
            random_below(&w->r, 2) == 0 && from + i < l->n ? l->at[from + i].id : near_id(&w->r, l);
        assert_int_equal(delset_reserve(out, 1, &e), OK);
        delset_add(out, id);
    }
}

static void moment_begin(struct world *w, size_t stream, struct moment *m)
{
    const struct entries *l = &w->of[stream];

    *m = (struct moment){ .all = l };
    m->sealed.view = view_ref(w->view);
    m->sealed.n_segments = w->n_segments - random_below(&w->r, 2);
    m->sealed.oid = w->oids[stream];
    m->n_all = w->upto[stream][m->sealed.n_segments];
    if (random_below(&w->r, 3) > 0)
        m->sealed.floor = near_id(&w->r, l);
    m->sealed.last = m->n_all > 0 ? l->at[m->n_all - 1].id : ID_MIN;
    random_deletes(w, l, &m->sealed.deletes);
    m->live = malloc((l->n + 1) * sizeof *m->live);
    for (size_t i = 0; i < m->n_all; i++)
        if (id_cmp(l->at[i].id, m->sealed.floor) >= 0 &&
            !delset_has(m->sealed.deletes, l->at[i].id))
            m->live[m->n++] = &l->at[i];
}

/* Everything of the stream, and nothing deleted. */
static void moment_all(struct world *w, size_t stream, struct moment *m)
{
    const struct entries *l = &w->of[stream];

    *m = (struct moment){ .all = l, .n = l->n, .n_all = l->n };
    m->sealed = (struct sealed){ .view = view_ref(w->view),
                                 .n_segments = w->n_segments,
                                 .oid = w->oids[stream],
                                 .last = ID_MAX };
    m->live = malloc((l->n + 1) * sizeof *m->live);
    for (size_t i = 0; i < l->n; i++)
        m->live[i] = &l->at[i];
}

static void moment_end(struct moment *m)
{
    sealed_fini(&m->sealed);
    free(m->live);
}

/* ---- what is tried: on the reader and on the list ---- */

enum kind { SEEK, SEEK_BACK, COUNT, NTH, CUT, N_KINDS };

struct
try {
    enum kind kind;
    struct id id, to;
    uint64_t n, bytes;
    size_t steps[12]; /* after a seek: 0 prev, 1 next */
};

struct result {
    const void *at[13]; /* the list's entries; or NULL */
    struct id first;
    uint64_t n, bytes;
};

static size_t first_from(const struct moment *m, struct id id)
{
    size_t i = 0;

    while (i < m->n && id_cmp(m->live[i]->id, id) < 0)
        i++;
    return i;
}

static void list_walk(const struct moment *m, const struct try *t, size_t at, struct result *out)
{
    for (size_t i = 0; i < 13; i++) {
        out->at[i] = at < m->n ? m->live[at] : NULL; /* SIZE_MAX is before the first */
        if (i < 12 && at < m->n)
            at = t->steps[i] == 0 ? at - 1 : at + 1;
    }
}

/* Blocks of the stream begin where the index says; the cut has to be the last place that fits. */
static void list_cut(struct world *w, const struct moment *m, const struct try *t,
                     struct result *out)
{
    uint64_t n = 0, bytes = 0;
    struct err e = { 0 };

    for (size_t at = 0, k = 0; at <= m->n_all; at++) {
        bool starts = at == m->n_all;
        struct id id = at < m->n_all ? m->all->at[at].id : m->sealed.last;

        for (size_t s = 0; s < m->sealed.n_segments && !starts; s++) {
            struct segment_page *page = NULL;
            uint32_t no = segment_n_pages(w->segments[s]) > 0
                              ? segment_find_page(w->segments[s], m->sealed.oid, id)
                              : UINT32_MAX;
            if (no == UINT32_MAX)
                continue;
            assert_int_equal(blockcache_read_page(w->cache, w->segments[s], no, &page, &e), OK);
            for (uint32_t b = 0; b < page->n; b++)
                starts = starts || (page->blocks[b].oid == m->sealed.oid &&
                                    id_cmp(page->blocks[b].first, id) == 0);
            segment_page_unref(page);
        }
        if (at == m->n_all)
            id_next(&id);
        if (starts && n > 0 && n <= t->n && bytes <= t->bytes &&
            (at == 0 || id_cmp(m->all->at[at - 1].id, t->id) < 0)) {
            out->first = id;
            out->n = n;
            out->bytes = bytes;
        }
        if (at < m->n_all && k < m->n && m->live[k] == &m->all->at[at]) {
            n++;
            bytes += m->live[k++]->len;
        }
    }
}

static void list_try(struct world *w, const struct moment *m, const struct try *t,
                     struct result *out)
{
    size_t i;

    memset(out, 0, sizeof *out);
    switch (t->kind) {
    case SEEK: list_walk(m, t, first_from(m, t->id), out); return;
    case SEEK_BACK:
        i = first_from(m, t->id);
        if (i == m->n || id_cmp(m->live[i]->id, t->id) > 0)
            i--;
        list_walk(m, t, i, out);
        return;
    case COUNT:
        for (i = first_from(m, t->id);
             i < m->n && out->n < t->n && id_cmp(m->live[i]->id, t->to) <= 0; i++) {
            out->n++;
            out->bytes += m->live[i]->len;
        }
        return;
    case NTH:
        for (i = 0; i < m->n && i < t->n; i++)
            out->bytes += m->live[i]->len;
        list_walk(m, t, t->n < m->n ? (size_t)t->n : m->n, out);
        return;
    default: out->first = m->sealed.floor; list_cut(w, m, t, out);
    }
}

/* The list's entry that the reader is at. */
static const void *entry_at(const struct reader *r, const struct moment *m)
{
    size_t len = 0;
    const uint8_t *p = reader_at(r, &len);
    struct id id;

    if (p == NULL)
        return NULL;
    entry_id(p, &id);
    for (size_t i = 0; i < m->n_all; i++)
        if (id_cmp(m->all->at[i].id, id) == 0 && m->all->at[i].len == len &&
            memcmp(m->all->at[i].p, p, len) == 0)
            return &m->all->at[i];
    return "none of the stream's";
}

static int reader_walk(struct reader *r, const struct moment *m, const struct try *t,
                       struct result *out, struct err *e)
{
    int rc = OK;

    for (size_t i = 0; i < 13 && rc == OK; i++) {
        out->at[i] = entry_at(r, m);
        if (i < 12)
            rc = t->steps[i] == 0 ? reader_prev(r, e) : reader_next(r, e);
    }
    return rc;
}

static int reader_try(struct reader *r, const struct moment *m, const struct try *t,
                      struct result *out, struct err *e)
{
    int rc;

    memset(out, 0, sizeof *out);
    switch (t->kind) {
    case SEEK: rc = reader_seek(r, t->id, e); break;
    case SEEK_BACK: rc = reader_seek_back(r, t->id, e); break;
    case COUNT: return reader_count(r, t->id, t->to, t->n, &out->n, &out->bytes, e);
    case NTH: rc = reader_seek_nth(r, t->n, &out->bytes, e); break;
    default: return reader_cut(r, t->n, t->bytes, t->id, &out->first, &out->n, &out->bytes, e);
    }
    return rc == OK ? reader_walk(r, m, t, out, e) : rc;
}

/* The same by a reader that must not wait: what it misses is fetched, and all of it tried again. */
static void cold_try(struct world *w, const struct moment *m, const struct try *t,
                     struct result *out)
{
    struct wants wants;
    struct err e = { 0 };
    int rc = ERR_COLD;

    wants_init(&wants);
    for (size_t round = 0; rc == ERR_COLD; round++) {
        struct reader r;
        size_t had = wants.n, len;

        assert_true(round < 1000);
        reader_init(&r, &m->sealed, w->cache, NULL, &wants);
        rc = reader_try(&r, m, t, out, &e);
        if (rc == ERR_COLD) {
            assert_true(wants.n > had && !wants.failed);
            assert_null(reader_at(&r, &len));
            assert_int_equal(wants_load(&wants, w->cache, w->decoder, &e), OK);
        }
        reader_fini(&r);
    }
    assert_int_equal(rc, OK);
    wants_fini(&wants, w->cache);
}

static void random_try(struct world *w, const struct moment *m, struct try *t)
{
    *t = (struct try){ .kind = (enum kind)random_below(&w->r, N_KINDS) };
    t->id = near_id(&w->r, m->all);
    t->to = near_id(&w->r, m->all);
    t->n = random_below(&w->r, m->n + 4);
    t->bytes = UINT64_MAX;
    if (random_below(&w->r, 8) == 0)
        t->id = random_below(&w->r, 2) == 0 ? ID_MIN : ID_MAX;
    if (random_below(&w->r, 4) == 0)
        t->to = ID_MAX;
    if (random_below(&w->r, 4) == 0)
        t->n = UINT64_MAX;
    if (t->kind == CUT && random_below(&w->r, 2) == 0)
        t->id = ID_MAX;
    if (t->kind == CUT && random_below(&w->r, 3) == 0)
        t->bytes = random_below(&w->r, 40 * m->n + 1);
    for (size_t i = 0; i < 12; i++)
        t->steps[i] = random_below(&w->r, 4) == 0 ? random_below(&w->r, 2) : t->kind != SEEK_BACK;
}

static void compare(const struct result *a, const struct result *b, const struct try *t,
                    const char *how)
{
    if (memcmp(a, b, sizeof *a) == 0)
        return;
    print_message("  kind %d, %s: n %llu/%llu bytes %llu/%llu first %llu-%llu/%llu-%llu\n",
                  (int)t->kind, how, (unsigned long long)a->n, (unsigned long long)b->n,
                  (unsigned long long)a->bytes, (unsigned long long)b->bytes,
                  (unsigned long long)a->first.ms, (unsigned long long)a->first.seq,
                  (unsigned long long)b->first.ms, (unsigned long long)b->first.seq);
    for (size_t i = 0; i < 13; i++)
        if (a->at[i] != b->at[i])
            print_message("    step %zu differs\n", i);
    fail();
}

static void a_reader_finds_what_a_list_has(void **state)
{
    struct random r = random_seeded("reader");

    (void)state;
    for (size_t round = 0; round < random_rounds(40); round++) {
        struct world w;
        world_begin(&w, &r, 1 + random_below(&r, SEGMENTS_MAX), 1 + random_below(&r, 400),
                    (uint32_t)(40 + random_below(&r, 1000)), random_below(&r, 200000));
        for (size_t i = 0; i < 40; i++) {
            struct moment m;
            struct result want, got;
            struct try t;
            struct reader reader;
            struct err e = { 0 };

            moment_begin(&w, random_below(&w.r, N_STREAMS), &m);
            random_try(&w, &m, &t);
            list_try(&w, &m, &t, &want);
            cold_try(&w, &m, &t, &got);
            compare(&want, &got, &t, "cold");
            reader_init(&reader, &m.sealed, w.cache, w.decoder, NULL);
            assert_int_equal(reader_try(&reader, &m, &t, &got, &e), OK);
            reader_fini(&reader);
            compare(&want, &got, &t, "waiting");
            moment_end(&m);
        }
        r = w.r;
        world_end(&w);
    }
}

/* Walks a range as a reply does, by a reader that must find everything in memory. */
static void resident_walk(struct world *w, const struct moment *m, struct id from, struct id to,
                          uint64_t max, bool back)
{
    const uint8_t *entry;
    struct sealed narrow;
    struct reader r;
    struct err e = { 0 };
    uint64_t n = 0;
    struct id id;
    size_t len;
    int rc;

    narrow = m->sealed;
    narrow.floor = id_cmp(from, narrow.floor) > 0 ? from : narrow.floor;
    narrow.last = id_cmp(to, narrow.last) < 0 ? to : narrow.last;
    reader_init(&r, &narrow, w->cache, NULL, NULL);
    rc = back ? reader_seek_back(&r, to, &e) : reader_seek(&r, from, &e);
    while (rc == OK && n < max && (entry = reader_at(&r, &len)) != NULL) {
        entry_id(entry, &id);
        if (id_cmp(id, from) < 0 || id_cmp(id, to) > 0)
            break;
        if (++n < max)
            rc = back ? reader_prev(&r, &e) : reader_next(&r, &e);
    }
    reader_fini(&r);
    assert_int_equal(rc, OK);
}

static void what_is_wanted_of_a_range_suffices_to_walk_it(void **state)
{
    struct random r = random_seeded("reader");

    (void)state;
    for (size_t round = 0; round < random_rounds(40); round++) {
        struct world w;
        world_begin(&w, &r, 1 + random_below(&r, SEGMENTS_MAX), 1 + random_below(&r, 400),
                    (uint32_t)(40 + random_below(&r, 1000)), 1 << 20);
        for (size_t i = 0; i < 40; i++) {
            bool back = random_below(&w.r, 2) == 0;
            uint64_t max = random_below(&w.r, 2) == 0 ? UINT64_MAX : 1 + random_below(&w.r, 50);
            struct wants wants;
            struct moment m;
            struct err e = { 0 };
            struct id from, to;
            int rc = ERR_COLD;

            moment_begin(&w, random_below(&w.r, N_STREAMS), &m);
            from = near_id(&w.r, m.all);
            to = random_below(&w.r, 3) == 0 ? ID_MAX : near_id(&w.r, m.all);
            blockcache_forget(w.cache, NULL);
            wants_init(&wants);
            for (size_t try = 0; rc == ERR_COLD; try++) {
                struct reader reader;

                assert_true(try < 3 + w.n_segments); /* index pages, then blocks */
                reader_init(&reader, &m.sealed, w.cache, NULL, &wants);
                rc = reader_want(&reader, from, to, max, back, &e);
                reader_fini(&reader);
                if (rc == ERR_COLD)
                    assert_int_equal(wants_load(&wants, w.cache, w.decoder, &e), OK);
            }
            assert_int_equal(rc, OK);
            if (id_cmp(from, to) <= 0)
                resident_walk(&w, &m, from, to, max, back);
            wants_fini(&wants, w.cache);
            moment_end(&m);
        }
        r = w.r;
        world_end(&w);
    }
}

static void all_entries_come_in_order_both_ways(void **state)
{
    struct random r = random_seeded("reader");

    (void)state;
    for (size_t round = 0; round < random_rounds(10); round++) {
        struct world w;
        world_begin(&w, &r, SEGMENTS_MAX, 300, 300, 1 << 20);
        for (size_t s = 0; s < N_STREAMS; s++) {
            struct reader reader;
            struct moment m;
            struct err e = { 0 };

            moment_begin(&w, s, &m);
            reader_init(&reader, &m.sealed, w.cache, w.decoder, NULL);
            assert_int_equal(reader_seek(&reader, ID_MIN, &e), OK);
            for (size_t i = 0; i < m.n; i++) {
                assert_ptr_equal(entry_at(&reader, &m), m.live[i]);
                assert_int_equal(reader_next(&reader, &e), OK);
            }
            assert_null(entry_at(&reader, &m));
            assert_int_equal(reader_seek_back(&reader, ID_MAX, &e), OK);
            for (size_t i = m.n; i-- > 0;) {
                assert_ptr_equal(entry_at(&reader, &m), m.live[i]);
                assert_int_equal(reader_prev(&reader, &e), OK);
            }
            assert_null(entry_at(&reader, &m));
            reader_fini(&reader);
            moment_end(&m);
        }
        r = w.r;
        world_end(&w);
    }
}

/* One stream of 20,000 entries in two segments, small blocks. */
static void world_long(struct world *w)
{
    struct random r = { 5 };
    struct id last = { 1, 0 };
    struct err e = { 0 };

    *w = (struct world){ .r = r, .disk = segments_disk(1), .n_segments = 2 };
    for (size_t s = 0; s < N_STREAMS; s++)
        w->oids[s] = 1024 + s;
    for (size_t i = 0; i < 2; i++) {
        world_grow(w, 2, 10000, &last);
        w->upto[2][i + 1] = w->of[2].n;
        world_segment(w, i, 256);
    }
    w->view = view_new(w->segments, 2);
    w->decoder = block_decoder_new();
    assert_int_equal(blockcache_new(1 << 20, &w->cache, &e), OK);
}

static void count_read(void *ctx, const struct simio_op *op)
{
    if (op->kind == SIMIO_READ)
        *(size_t *)ctx += op->n;
}

static void counting_reads_the_index_and_not_the_entries(void **state)
{
    struct world w;
    struct sealed s = { 0 };
    struct reader r;
    struct err e = { 0 };
    struct id first;
    uint64_t n, bytes, all = 0, index = 0;
    size_t n_read = 0;

    (void)state;
    world_long(&w);
    s = (struct sealed){ .view = w.view, .n_segments = 2, .oid = 1026, .last = ID_MAX };
    for (size_t i = 0; i < 2; i++)
        index += (uint64_t)segment_n_pages(w.segments[i]) * 4096;
    for (size_t i = 0; i < w.of[2].n; i++)
        all += w.of[2].at[i].len;
    reader_init(&r, &s, w.cache, w.decoder, NULL);
    simio_set_hook(w.disk, count_read, &n_read);
    assert_int_equal(reader_count(&r, ID_MIN, ID_MAX, UINT64_MAX, &n, &bytes, &e), OK);
    assert_true(n == 20000 && bytes == all);
    print_message("  count: %zu bytes read of %llu\n", n_read, (unsigned long long)all);
    assert_true(n_read <= index);

    blockcache_forget(w.cache, NULL);
    n_read = 0;
    assert_int_equal(reader_seek_nth(&r, 19000, &bytes, &e), OK);
    assert_true(n_read <= index + 1024 && n_read > 0);
    blockcache_forget(w.cache, NULL);
    n_read = 0;
    assert_int_equal(reader_cut(&r, 19000, UINT64_MAX, ID_MAX, &first, &n, &bytes, &e), OK);
    assert_true(n <= 19000 && n > 18000 && n_read <= index);
    blockcache_forget(w.cache, NULL);
    n_read = 0;
    assert_int_equal(reader_seek(&r, w.of[2].at[19990].id, &e), OK);
    print_message("  seek: %zu bytes read\n", n_read);
    assert_true(n_read <= 4096 + 1024);
    reader_fini(&r);
    simio_set_hook(w.disk, NULL, NULL);
    world_end(&w);
}

/* Steps over `n` entries as a command does that must not wait: from the start each time. Returns how often. */
static size_t rounds_of(struct world *w, const struct sealed *s, bool back, size_t n)
{
    struct wants wants;
    struct err e = { 0 };
    int rc = ERR_COLD;
    size_t rounds = 0;

    wants_init(&wants);
    for (; rc == ERR_COLD; rounds++) {
        struct reader r;
        reader_init(&r, s, w->cache, NULL, &wants);
        rc = back ? reader_seek_back(&r, ID_MAX, &e) : reader_seek(&r, ID_MIN, &e);
        for (size_t i = 0; i < n && rc == OK; i++)
            rc = back ? reader_prev(&r, &e) : reader_next(&r, &e);
        reader_fini(&r);
        if (rc == ERR_COLD)
            assert_int_equal(wants_load(&wants, w->cache, w->decoder, &e), OK);
    }
    assert_int_equal(rc, OK);
    wants_fini(&wants, w->cache);
    return rounds;
}

static void a_long_range_is_in_memory_after_few_rounds(void **state)
{
    struct world w;
    struct sealed s;

    (void)state;
    world_long(&w);
    s = (struct sealed){ .view = w.view, .n_segments = 2, .oid = 1026, .last = ID_MAX };
    for (int back = 0; back < 2; back++) {
        size_t rounds = rounds_of(&w, &s, back == 1, 1200); /* of some 200 blocks */
        print_message("  %zu rounds\n", rounds);
        assert_true(rounds <= 11);
        blockcache_forget(w.cache, NULL);
    }
    world_end(&w);
}

static void damage_is_named_and_other_streams_are_read(void **state)
{
    struct random seed = { 8 };
    struct world w;
    struct err e = { 0 };
    size_t n_refused = 0;

    (void)state;
    world_begin(&w, &seed, 3, 200, 300, 0); /* nothing is kept: each read is one of the file */
    simio_poke(w.disk, SEGMENTS_DIR "/st-00000000000000000002.seg", SEGMENT_HEADER_BYTES + 50, 99);
    for (size_t s = 0; s < N_STREAMS; s++) {
        struct moment m;
        struct reader r;
        size_t n = 0;
        int rc;

        moment_all(&w, s, &m);
        reader_init(&r, &m.sealed, w.cache, w.decoder, NULL);
        rc = reader_seek(&r, ID_MIN, &e);
        for (; rc == OK && entry_at(&r, &m) != NULL; n++) {
            assert_ptr_equal(entry_at(&r, &m), m.live[n]);
            rc = reader_next(&r, &e);
        }
        if (rc == OK) {
            assert_int_equal(n, m.n);
        } else {
            assert_int_equal(rc, ERR_CORRUPT);
            assert_null(entry_at(&r, &m));
            assert_non_null(strstr(e.text, "st-00000000000000000002.seg: at byte 4096"));
            n_refused++;
        }
        reader_fini(&r);
        moment_end(&m);
    }
    assert_true(n_refused >= 1 && n_refused < N_STREAMS);
    assert_true(segment_is_bad(w.segments[1]));
    assert_false(segment_is_bad(w.segments[0]));
    world_end(&w);
}

static void wants_beyond_the_limit_are_refused(void **state)
{
    struct random r = { 2 };
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct block_decoder *c = block_decoder_new();
    struct blockcache *cache = NULL;
    struct segment *s;
    struct view *v;
    struct sealed sealed;
    struct reader reader;
    struct wants wants;
    struct err e = { 0 };
    uint64_t n, bytes;
    int rc = ERR_COLD;

    (void)state;
    for (uint64_t i = 0; i < 30; i++)
        entries_add(&l, &r, 1024, (struct id){ i, 0 }, 500000);
    segments_write(disk, 1, 0, BLOCK_LZ4, &l, 0, l.n, NULL);
    s = segments_open(disk, 1);
    v = view_new(&s, 1);
    sealed = (struct sealed){ .view = v, .n_segments = 1, .oid = 1024, .last = ID_MAX };
    for (uint64_t i = 0; i < 30; i++) {
        assert_int_equal(delset_reserve(&sealed.deletes, 1, &e), OK);
        delset_add(&sealed.deletes, (struct id){ i, 0 });
    }
    assert_int_equal(blockcache_new(1 << 20, &cache, &e), OK);
    wants_init(&wants);
    for (int round = 0; round < 2 && rc == ERR_COLD; round++) {
        reader_init(&reader, &sealed, cache, NULL, &wants);
        assert_int_equal(reader_count(&reader, ID_MIN, ID_MAX, UINT64_MAX, &n, &bytes, &e),
                         ERR_COLD);
        reader_fini(&reader);
        rc = wants_load(&wants, cache, c, &e) == OK ? ERR_COLD : e.code;
    }
    assert_int_equal(rc, ERR_TOO_BIG);
    wants_fini(&wants, cache);
    delset_unref(sealed.deletes);
    view_unref(v);
    segment_unref(s);
    blockcache_free(cache);
    block_decoder_free(c);
    entries_fini(&l);
    simio_free(disk);
}

static void one_entry_of_any_size_can_be_had_without_waiting(void **state)
{
    struct random r = { 2 };
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct block_decoder *c = block_decoder_new();
    struct blockcache *cache = NULL;
    struct segment *s;
    struct view *v;
    struct sealed sealed;
    struct wants wants;
    struct err e = { 0 };
    size_t len = 0;
    int rc = ERR_COLD;

    (void)state;
    entries_add(&l, &r, 1024, (struct id){ 1, 0 }, 20 << 20);
    segments_write(disk, 1, 0, BLOCK_LZ4, &l, 0, l.n, NULL);
    s = segments_open(disk, 1);
    v = view_new(&s, 1);
    sealed = (struct sealed){ .view = v, .n_segments = 1, .oid = 1024, .last = ID_MAX };
    assert_int_equal(blockcache_new(1 << 20, &cache, &e), OK);
    wants_init(&wants);
    while (rc == ERR_COLD) {
        struct reader reader;
        reader_init(&reader, &sealed, cache, NULL, &wants);
        rc = reader_seek(&reader, ID_MIN, &e);
        if (rc == OK)
            assert_memory_equal(reader_at(&reader, &len), l.at[0].p, l.at[0].len);
        else
            assert_int_equal(wants_load(&wants, cache, c, &e), OK);
        reader_fini(&reader);
    }
    assert_int_equal(rc, OK);
    wants_fini(&wants, cache);
    view_unref(v);
    segment_unref(s);
    blockcache_free(cache);
    block_decoder_free(c);
    entries_fini(&l);
    simio_free(disk);
}

static void what_streams_take_on_disk_adds_up_to_the_blocks(void **state)
{
    struct random seed = { 18 };
    uint64_t raw_all = 0, disk_all = 0, blocks = 0;
    struct world w;

    (void)state;
    world_begin(&w, &seed, 4, 200, 300, 1 << 20);
    for (size_t i = 0; i < w.n_segments; i++) {
        struct segment_page *page = NULL;
        struct err e = { 0 };
        assert_int_equal(segment_n_pages(w.segments[i]), 1);
        assert_int_equal(segment_read_page(w.segments[i], 0, &page, &e), OK);
        for (uint32_t k = 0; k < page->n; k++)
            blocks += page->blocks[k].bytes;
        segment_page_unref(page);
    }
    for (size_t s = 0; s < N_STREAMS; s++) {
        uint64_t n, raw, disk, want_n = 0, want_raw = 0;
        struct moment m;
        struct err e = { 0 };

        moment_all(&w, s, &m);
        assert_int_equal(log_stream_disk(&m.sealed, &n, &raw, &disk, &e), OK);
        for (size_t i = 0; i < w.n_segments; i++)
            want_n += w.upto[s][i + 1] > w.upto[s][i];
        for (size_t i = 0; i < m.n; i++)
            want_raw += m.live[i]->len;
        assert_true(n == want_n && raw == want_raw);
        raw_all += raw;
        disk_all += disk;
        moment_end(&m);
    }
    assert_true(disk_all <= blocks &&
                disk_all + blocks / 50 >= blocks); /* parts are rounded down */
    assert_true(raw_all > 0);
    world_end(&w);
}

/* ---- changes ---- */

/* The stream of changes over some segments, some of which have none of it, beside another stream. */
static void world_changes(struct world *w, struct random *r)
{
    struct id last = { 1000, 0 }, other = { 1, 0 };
    struct err e = { 0 };

    *w = (struct world){ .r = *r, .disk = segments_disk(1) };
    w->n_segments = 1 + random_below(&w->r, SEGMENTS_MAX);
    w->oids[0] = LOG_CHANGES_OID;
    w->oids[1] = 1030;
    for (size_t s = 2; s < N_STREAMS; s++)
        w->oids[s] = 1030 + s;
    for (size_t i = 0; i < w->n_segments; i++) {
        size_t n = random_below(&w->r, 3) == 0 ? 0 : random_below(&w->r, 300);
        last.seq = 1000 * (i + 1) - 1;
        for (size_t k = 0; k < n; k++) {
            last.seq += 1 + random_below(&w->r, 3);
            last.ms += random_below(&w->r, 2);
            entries_add(&w->of[0], &w->r, LOG_CHANGES_OID, last, random_below(&w->r, 40));
        }
        entries_grow(&w->of[1], &w->r, w->oids[1], &other, random_below(&w->r, 50), 20);
        w->upto[0][i + 1] = w->of[0].n;
        w->upto[1][i + 1] = w->of[1].n;
        world_segment(w, i, (uint32_t)(40 + random_below(&w->r, 1000)));
    }
    w->view = view_new(w->segments, w->n_segments);
    w->decoder = block_decoder_new();
    assert_int_equal(blockcache_new(random_below(&w->r, 200000), &w->cache, &e), OK);
    *r = w->r;
}

/* Finds it without waiting: what is missing is loaded meanwhile, at most a page and a block of a segment. */
static void seek_cold(struct world *w, struct moment *m, uint64_t lsn, const struct entry *want)
{
    struct wants wants;
    struct err e = { 0 };
    int rc = ERR_COLD;

    wants_init(&wants);
    for (size_t rounds = 0; rc == ERR_COLD; rounds++) {
        struct reader r;

        reader_init(&r, &m->sealed, w->cache, NULL, &wants);
        rc = reader_seek_lsn(&r, lsn, &e);
        assert_true(rc == OK || rounds < 2 || want == NULL || want->id.seq != lsn);
        if (rc == ERR_COLD)
            assert_int_equal(wants_load(&wants, w->cache, w->decoder, &e), OK);
        else
            assert_ptr_equal(entry_at(&r, m), want);
        reader_fini(&r);
    }
    assert_int_equal(rc, OK);
    wants_fini(&wants, w->cache);
}

static void a_change_is_found_by_the_lsn_of_its_record(void **state)
{
    struct random r = random_seeded("changes");

    (void)state;
    for (size_t round = 0; round < random_rounds(40); round++) {
        struct world w;
        struct moment m;

        world_changes(&w, &r);
        moment_all(&w, 0, &m);
        if (random_below(&w.r, 2) == 0)
            m.sealed.floor = near_id(&w.r, &w.of[0]);
        for (size_t i = 0; i < 60; i++) {
            uint64_t lsn = 990 + random_below(&w.r, 1000 * w.n_segments + 20);
            const struct entry *want = NULL;
            struct reader reader;
            struct err e = { 0 };

            for (size_t k = m.n; k-- > 0;)
                if (m.live[k]->id.seq >= lsn && id_cmp(m.live[k]->id, m.sealed.floor) >= 0)
                    want = m.live[k];
            seek_cold(&w, &m, lsn, want);
            reader_init(&reader, &m.sealed, w.cache, w.decoder, NULL);
            assert_int_equal(reader_seek_lsn(&reader, lsn, &e), OK);
            assert_ptr_equal(entry_at(&reader, &m), want);
            if (want != NULL) {
                assert_int_equal(reader_next(&reader, &e), OK);
                assert_ptr_equal(entry_at(&reader, &m),
                                 want < &w.of[0].at[w.of[0].n - 1] ? want + 1 : NULL);
            }
            reader_fini(&reader);
        }
        moment_end(&m);
        r = w.r;
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_finds_what_a_list_has),
        cmocka_unit_test(what_is_wanted_of_a_range_suffices_to_walk_it),
        cmocka_unit_test(all_entries_come_in_order_both_ways),
        cmocka_unit_test(a_change_is_found_by_the_lsn_of_its_record),
        cmocka_unit_test(counting_reads_the_index_and_not_the_entries),
        cmocka_unit_test(a_long_range_is_in_memory_after_few_rounds),
        cmocka_unit_test(damage_is_named_and_other_streams_are_read),
        cmocka_unit_test(wants_beyond_the_limit_are_refused),
        cmocka_unit_test(one_entry_of_any_size_can_be_had_without_waiting),
        cmocka_unit_test(what_streams_take_on_disk_adds_up_to_the_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
