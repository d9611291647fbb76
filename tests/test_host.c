/* test_host.c - the rules of a fuzzy checkpoint, as tests/lib/host.c applies them: chunks of different moments and the
 * log from the first of them on give what the log alone gives. Whatever judges the log has to be right itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/entry.h"
#include "tests/lib/host.h"
#include "tests/lib/random.h"

enum { N_RECORDS = 120, N_NAMES = 4, BODY_MAX = 200, FIRST = 1024 };

struct script { /* records by number; their LSN is FIRST + i */
    struct log_record records[N_RECORDS];
    uint8_t bodies[N_RECORDS][BODY_MAX];
    size_t n;
};

static void feed(struct host *h, const struct script *s, size_t i, bool sealed)
{
    struct log_host calls;
    struct log_record r = s->records[i];
    struct err e = { 0 };

    r.sealed = sealed;
    host_set_calls(h, &calls);
    host_enter(h);
    if (calls.replay(h, &r, &e) != OK)
        fail_msg("record %zu: %s", i, e.text);
    host_leave(h);
}

static struct host *host_begin(uint64_t start, uint64_t end)
{
    struct host *h = host_new();
    struct log_host calls;
    struct err e;

    host_set_calls(h, &calls);
    host_enter(h);
    assert_int_equal(calls.loaded(h, start, end, &e), OK);
    host_leave(h);
    return h;
}

static uint8_t *name_put(uint8_t *p, uint32_t name)
{
    p = varint_put(varint_put(p, 0), 4);
    put_u32le(p, name);
    return p + 4;
}

/* What removes `id` (or all up to it) leaves in the stream's tail, which here has all its entries. */
static uint8_t *left_put(uint8_t *p, const struct host_stream *s, struct id id, bool cut)
{
    uint64_t n = 0, bytes = 0;

    for (size_t i = 0; i < s->n_tail; i++) {
        int cmp = id_cmp(s->tail[i].id, id);
        if (cut ? cmp >= 0 : cmp != 0) {
            n++;
            bytes += s->tail[i].len;
        }
    }
    return varint_put(varint_put(p, n), bytes);
}

static uint8_t *stream_record(uint8_t *p, struct log_record *r, const struct host_stream *s,
                              struct random *rng)
{
    struct slice strings[2] = { slice_str("n"), slice_str("value") };
    struct id id = { r->lsn, 0 };
    size_t at = s->n_tail > 0 ? random_below(rng, s->n_tail) : 0;

    switch (random_below(rng, s->n_tail > 0 ? 8 : 4)) {
    case 4:
    case 5:
        r->type = RECORD_REMOVE;
        id = s->tail[at].id;
        return id_put(varint_put(left_put(varint_put(p, s->oid), s, id, false), 1), id);
    case 6:
        r->type = RECORD_CUT;
        id = s->tail[at].id;
        return left_put(id_put(varint_put(p, s->oid), id), s, id, true);
    case 7:
        r->type = RECORD_NAME;
        p = name_put(p, (uint32_t)random_below(rng, N_NAMES));
        return varint_put(varint_put(p, s->oid), 0);
    default: r->type = RECORD_ENTRY; return entry_put(varint_put(p, s->oid), id, strings, 2);
    }
}

/* The next record, given the state before it. */
static void script_add(struct script *s, const struct host *h, struct random *rng)
{
    struct log_record *r = &s->records[s->n];
    uint8_t *p = s->bodies[s->n];
    uint32_t name = (uint32_t)random_below(rng, N_NAMES);
    const struct host_stream *st = host_find_name(h, name);

    r->lsn = FIRST + s->n;
    r->clock = r->lsn << 16;
    r->body = p;
    if (random_below(rng, 60) == 0) {
        r->type = RECORD_FLUSH;
        *p++ = 0;
    } else if (st == NULL) {
        r->type = RECORD_STREAM;
        p = name_put(p, name);
    } else if (random_below(rng, 12) == 0) {
        r->type = RECORD_UNNAME;
        p = name_put(p, name);
        *p++ = REASON_DEL;
        p = varint_put(p, st->rev);
    } else {
        p = stream_record(p, r, st, rng);
    }
    r->len = (size_t)(p - r->body);
    s->n++;
}

struct chunk {
    uint64_t as_of;
    uint8_t *p;
    size_t n;
};

/* `live` goes through a script while a checkpoint of it is made from record `from` on; chunks of one stream each. */
static size_t script_run(struct script *s, struct host *live, size_t from, struct chunk *chunks,
                         struct random *rng, size_t *end)
{
    struct log_host calls;
    size_t n = 0;
    bool more = true;

    host_set_calls(live, &calls);
    *end = SIZE_MAX;
    while (s->n < N_RECORDS) {
        script_add(s, live, rng);
        feed(live, s, s->n - 1, false);
        if (s->n < from || *end != SIZE_MAX || (s->n > from && random_below(rng, 3) != 0))
            continue;
        host_enter(live);
        if (s->n == from)
            calls.save_begin(live);
        struct log_buffer b = { 0 };
        more = calls.save_some(live, 1, &b);
        chunks[n++] = (struct chunk){ FIRST + s->n - 1, b.p, b.n };
        if (!more) {
            calls.save_end(live);
            *end = s->n;
        }
        host_leave(live);
    }
    return n;
}

static void same(const struct host *want, const struct host *got, uint64_t sealed_lsn)
{
    assert_string_equal(got->why, "");
    assert_int_equal(got->n, want->n);
    for (size_t i = 0; i < want->n; i++) {
        const struct host_stream *a = want->streams[i], *b = got->streams[i];
        size_t k = 0;
        assert_int_equal(a->oid, b->oid);
        assert_int_equal(a->name, b->name);
        assert_int_equal(a->rev, b->rev);
        assert_int_equal(a->n, b->n);
        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->added, b->added);
        assert_int_equal(id_cmp(a->last, b->last), 0);
        assert_int_equal(id_cmp(a->floor, b->floor), 0);
        while (k < a->n_tail && a->tail[k].id.ms <= sealed_lsn)
            k++;
        assert_int_equal(a->n_tail - k, b->n_tail);
        for (size_t m = 0; m < b->n_tail; m++)
            assert_int_equal(id_cmp(a->tail[k + m].id, b->tail[m].id), 0);
    }
}

static void once(uint64_t seed)
{
    struct random rng = { seed };
    static struct script s;
    struct chunk chunks[N_RECORDS];
    struct host *live = host_begin(0, 0), *next;
    size_t from = 1 + random_below(&rng, N_RECORDS), end, n;
    struct log_host calls;
    struct err e = { 0 };
    uint64_t sealed, begin;

    memset(&s, 0, sizeof s);
    n = script_run(&s, live, from, chunks, &rng, &end);
    sealed = FIRST + random_below(&rng, N_RECORDS);
    next = host_new();
    host_set_calls(next, &calls);
    host_enter(next);
    for (size_t i = 0; i < n && end != SIZE_MAX; i++)
        assert_int_equal(calls.load(next, chunks[i].as_of, slice_of(chunks[i].p, chunks[i].n), &e),
                         OK);
    if (end == SIZE_MAX)
        assert_int_equal(calls.loaded(next, 0, 0, &e), OK);
    else
        assert_int_equal(calls.loaded(next, FIRST + from - 1, FIRST + end - 1, &e), OK);
    host_leave(next);
    begin = end == SIZE_MAX ? FIRST - 1 : FIRST + from - 1; /* the log is kept from there on */
    begin = begin < sealed ? begin : sealed;
    for (size_t i = (size_t)(begin + 1 - FIRST); i < s.n; i++)
        feed(next, &s, i, FIRST + i <= sealed);
    if (host_complete(next, &e) != OK)
        fail_msg("%s", e.text);
    same(live, next, sealed);
    for (size_t i = 0; i < n; i++)
        free(chunks[i].p);
    host_free(live);
    host_free(next);
}

static void a_fuzzy_checkpoint_and_the_log_give_what_the_log_alone_gives(void **state)
{
    struct random r = random_seeded("host");

    (void)state;
    for (size_t i = 0; i < random_rounds(3000); i++)
        once(r.state + i);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fuzzy_checkpoint_and_the_log_give_what_the_log_alone_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
