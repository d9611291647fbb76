/* test_host.c - the rules of a fuzzy checkpoint, as tests/lib/host.c applies them: chunks of different moments and the
 * log from the first of them on give what the log alone gives. Whatever judges the log has to be right itself; and the
 * broker's state, which was written apart from it, must come to the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "broker/engine/replay.h"
#include "broker/engine/state.h"
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
    struct host_stream saved; /* what is in it; oid 0: nothing */
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
        uint64_t before = live->saved_oid;
        more = calls.save_some(live, 1, &b);
        chunks[n] = (struct chunk){ .as_of = FIRST + s->n - 1, .p = b.p, .n = b.n };
        if (live->saved_oid != before) {
            chunks[n].saved = *host_find(live, live->saved_oid);
            chunks[n].saved.deletes = delset_ref(chunks[n].saved.deletes);
        }
        n++;
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

/* A life, a checkpoint of it from `start` to `end` (both 0: there is none), and what is kept of the log. */
struct life {
    struct script script;
    struct host *live;
    struct chunk chunks[N_RECORDS];
    size_t n_chunks;
    uint64_t start, end, sealed;
    size_t first; /* record that is replayed */
};

static void life_run(struct life *l, uint64_t seed)
{
    struct random rng = { seed };
    size_t from = 1 + random_below(&rng, N_RECORDS), end;

    memset(l, 0, sizeof *l);
    l->live = host_begin(0, 0);
    l->n_chunks = script_run(&l->script, l->live, from, l->chunks, &rng, &end);
    l->sealed = FIRST + random_below(&rng, N_RECORDS);
    if (end == SIZE_MAX)
        return;
    l->start = FIRST + from - 1;
    l->end = FIRST + end - 1;
    l->first = (size_t)((l->start < l->sealed ? l->start : l->sealed) + 1 - FIRST);
}

static void life_end(struct life *l)
{
    for (size_t i = 0; i < l->n_chunks; i++) {
        delset_unref(l->chunks[i].saved.deletes);
        free(l->chunks[i].p);
    }
    host_free(l->live);
}

static void host_once(struct life *l)
{
    struct host *next = host_new();
    struct log_host calls;
    struct err e = { 0 };

    host_set_calls(next, &calls);
    host_enter(next);
    for (size_t i = 0; i < l->n_chunks && l->end > 0; i++) {
        const struct chunk *c = &l->chunks[i];
        assert_int_equal(calls.load(next, c->as_of, slice_of(c->p, c->n), &e), OK);
    }
    assert_int_equal(calls.loaded(next, l->start, l->end, &e), OK);
    host_leave(next);
    for (size_t i = l->first; i < l->script.n; i++)
        feed(next, &l->script, i, FIRST + i <= l->sealed);
    if (host_complete(next, &e) != OK)
        fail_msg("%s", e.text);
    same(l->live, next, l->sealed);
    host_free(next);
}

/* ---- the broker's state ---- */

static struct slice name_of(uint32_t name, uint8_t out[4])
{
    put_u32le(out, name);
    return slice_of(out, 4);
}

static void state_load(struct state *s, const struct chunk *c)
{
    const struct host_stream *from = &c->saved;
    struct stream *st = NULL;
    struct err e = { 0 };
    uint8_t name[4];

    assert_int_equal(state_reserve_stream(s, name_of(from->name, name), &st, &e), OK);
    assert_int_equal(state_prepare_remove(s, st, 1, &e), OK);
    st->oid = from->oid;
    object_set_rev(&st->object, from->rev);
    st->last_id = st->sealed_last = from->last;
    st->n_entries = from->n;
    st->bytes = from->bytes;
    st->entries_added = from->added;
    st->more->floor = from->floor;
    st->more->max_deleted = from->max_deleted;
    delset_unref(st->more->deletes);
    st->more->deletes = delset_ref(from->deletes);
    assert_int_equal(replay_add(s, st, c->as_of, &e), OK);
}

static void state_same(const struct host *want, const struct state *s, uint64_t sealed_lsn)
{
    uint8_t name[4];

    assert_null(state_check(s));
    assert_int_equal(s->n_objects, want->n);
    for (size_t i = 0; i < want->n; i++) {
        const struct host_stream *a = want->streams[i];
        const struct stream *b = stream_of(state_find(s, 0, name_of(a->name, name)));
        size_t k = 0;
        assert_non_null(b);
        assert_int_equal(a->oid, b->oid);
        assert_int_equal(a->rev, b->object.rev);
        assert_int_equal(a->n, b->n_entries);
        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->added, b->entries_added);
        assert_int_equal(id_cmp(a->last, b->last_id), 0);
        assert_int_equal(id_cmp(a->max_deleted, stream_max_deleted(b)), 0);
        while (k < a->n_tail && a->tail[k].id.ms <= sealed_lsn)
            k++;
        assert_int_equal(a->n_tail - k, stream_index_n(b->tail));
        for (uint64_t m = 0; k + m < a->n_tail; m++) {
            struct id id;
            entry_id(stream_index_at(b->tail, stream_index_nth(b->tail, m)), &id);
            assert_int_equal(id_cmp(a->tail[k + m].id, id), 0);
        }
    }
}

static void state_once(struct life *l)
{
    static const uint8_t key[16] = { 1 };
    struct state s;
    struct err e = { 0 };

    state_init(&s, key);
    if (l->end > 0) {
        assert_int_equal(replay_begin(&s, &e), OK);
        for (size_t i = 0; i < l->n_chunks; i++)
            if (l->chunks[i].saved.oid > 0)
                state_load(&s, &l->chunks[i]);
        replay_loaded(&s, l->start, l->end);
    }
    for (size_t i = l->first; i < l->script.n; i++) {
        struct log_record r = l->script.records[i];
        r.sealed = r.lsn <= l->sealed;
        if (replay_apply(&s, &r, &e) != OK)
            fail_msg("record %zu: %s", i, e.text);
    }
    if (replay_end(&s, &e) != OK)
        fail_msg("%s", e.text);
    state_same(l->live, &s, l->sealed);
    replay_free(&s);
    state_fini(&s);
}

static void many_lives(const char *name, void (*once)(struct life *l))
{
    static struct life l;
    struct random r = random_seeded(name);

    for (size_t i = 0; i < random_rounds(3000); i++) {
        life_run(&l, r.state + i);
        once(&l);
        life_end(&l);
    }
}

static void a_fuzzy_checkpoint_and_the_log_give_what_the_log_alone_gives(void **state)
{
    (void)state;
    many_lives("host", host_once);
}

static void the_brokers_state_comes_to_the_same(void **state)
{
    (void)state;
    many_lives("state", state_once);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fuzzy_checkpoint_and_the_log_give_what_the_log_alone_gives),
        cmocka_unit_test(the_brokers_state_comes_to_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
