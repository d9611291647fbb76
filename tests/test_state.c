/* test_state.c - records applied to the state and to a naive model of arrays; records that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/idmp.h"
#include "broker/engine/replay.h"
#include "broker/engine/state.h"
#include "log/entry.h"
#include "log/record.h"
#include "tests/lib/random.h"

enum { OBJECTS = 400, ENTRIES = 64, NAMES = 12, DBS = 3 };

struct model_object { /* a stream, as plainly as possible */
    uint64_t oid, rev, expiry_ms, added;
    int db;
    char name[8];
    bool there;
    struct id last, max_deleted, ids[ENTRIES];
    size_t n;
};

struct world {
    struct state s;
    struct model_object objects[OBJECTS];
    size_t n_objects;
    uint64_t lsn;
    struct random rng;
    uint8_t **bodies; /* every record's, of exactly its size: entries point into them */
    size_t n_bodies, cap_bodies;
};

static const uint8_t HASH_KEY[16] = { 2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5 };

static struct world *world_new(struct random rng)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    state_init(&w->s, HASH_KEY);
    w->lsn = LOG_FIRST_LSN - 1;
    w->rng = rng;
    return w;
}

static void world_free(struct world *w)
{
    state_fini(&w->s);
    for (size_t i = 0; i < w->n_bodies; i++)
        free(w->bodies[i]);
    free(w->bodies);
    free(w);
}

/* Applies a record as the next LSN. */
static int world_apply(struct world *w, uint8_t type, const void *body, size_t len)
{
    struct log_record r = { .lsn = ++w->lsn, .clock = w->lsn << 20, .type = type, .len = len };
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct err e = { 0 };
    int rc;

    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, body, len);
    if (w->n_bodies == w->cap_bodies) {
        w->cap_bodies = w->cap_bodies * 2 + 64;
        w->bodies = realloc(w->bodies, w->cap_bodies * sizeof *w->bodies);
        assert_non_null(w->bodies);
    }
    w->bodies[w->n_bodies++] = copy;
    r.body = copy;
    rc = replay_apply(&w->s, &r, &e);
    assert_true(rc == OK || rc == ERR_CORRUPT);
    if (rc != OK)
        assert_true(strlen(e.text) > 0);
    return rc;
}

/* ---- the model ---- */

static struct model_object *model_find(struct world *w, int db, const char *name)
{
    for (size_t i = 0; i < w->n_objects; i++) {
        struct model_object *o = &w->objects[i];
        if (o->there && o->db == db && strcmp(o->name, name) == 0)
            return o;
    }
    return NULL;
}

static struct model_object *model_any(struct world *w)
{
    return w->n_objects == 0 ? NULL : &w->objects[random_below(&w->rng, w->n_objects)];
}

static const char *model_name(struct world *w, char out[8])
{
    snprintf(out, 8, "n%zu", random_below(&w->rng, NAMES));
    return out;
}

static struct id model_id(struct world *w)
{
    return (struct id){ random_below(&w->rng, 300), random_below(&w->rng, 3) };
}

static void model_remove_below(struct model_object *o, struct id first)
{
    size_t n = 0;

    for (size_t i = 0; i < o->n; i++)
        if (id_cmp(o->ids[i], first) >= 0)
            o->ids[n++] = o->ids[i];
    o->n = n;
}

static void model_delete(struct model_object *o, struct id id)
{
    for (size_t i = 0; i < o->n; i++)
        if (id_cmp(o->ids[i], id) == 0) {
            memmove(&o->ids[i], &o->ids[i + 1], (o->n - i - 1) * sizeof o->ids[0]);
            o->n--;
            if (id_cmp(id, o->max_deleted) > 0)
                o->max_deleted = id;
            return;
        }
}

static void compare(struct world *w)
{
    const char *broken = state_check(&w->s);
    size_t n = 0;

    if (broken != NULL)
        fail_msg("%s", broken);
    for (size_t i = 0; i < w->n_objects; i++) {
        const struct model_object *m = &w->objects[i];
        struct stream *st = state_find_oid(&w->s, m->oid);
        const struct object *o = st == NULL ? NULL : &st->object;
        assert_int_equal(o != NULL, m->there);
        if (o == NULL)
            continue;
        n++;
        assert_ptr_equal(state_find(&w->s, m->db, slice_str(m->name)), o);
        assert_int_equal(o->rev, m->rev);
        assert_int_equal(o->expiry_ms, m->expiry_ms);
        assert_int_equal(id_cmp(st->last_id, m->last), 0);
        assert_int_equal(id_cmp(stream_max_deleted(st), m->max_deleted), 0);
        assert_int_equal(st->entries_added, m->added);
        assert_int_equal(st->n_entries, m->n);
        for (size_t k = 0; k < m->n; k++) {
            struct id id;
            entry_id(stream_index_at(st->tail, stream_index_nth(st->tail, k)), &id);
            assert_int_equal(id_cmp(id, m->ids[k]), 0);
        }
    }
    assert_int_equal(w->s.n_objects, n);
}

/* ---- one random record of each type: applied to both, with the model's opinion on whether it may be ---- */

static uint8_t *put_key(uint8_t *p, int db, const char *name)
{
    return slice_put(varint_put(p, (uint64_t)db), slice_str(name));
}

static void apply_stream(struct world *w)
{
    char name[8];
    uint8_t body[64], *p;
    int db = (int)random_below(&w->rng, DBS);
    bool taken;

    if (w->n_objects == OBJECTS)
        return;
    taken = model_find(w, db, model_name(w, name)) != NULL;
    p = put_key(body, db, name);
    assert_int_equal(world_apply(w, RECORD_STREAM, body, (size_t)(p - body)),
                     taken ? ERR_CORRUPT : OK);
    if (taken)
        return;
    struct model_object *o = &w->objects[w->n_objects++];
    *o = (struct model_object){ .oid = w->lsn, .rev = w->lsn, .db = db, .there = true };
    memcpy(o->name, name, sizeof name);
}

static void apply_entry(struct world *w)
{
    struct model_object *o = model_any(w);
    struct slice strings[2] = { slice_str("field"), slice_str("value") };
    uint8_t body[64], *p;
    struct id id;
    bool fits;

    if (o == NULL || o->n == ENTRIES)
        return;
    id = random_below(&w->rng, 4) == 0 ? model_id(w) : (struct id){ o->last.ms + 1, 0 };
    fits = o->there && id_cmp(id, o->last) > 0;
    p = entry_put(varint_put(body, o->oid), id, strings, 2);
    assert_int_equal(world_apply(w, RECORD_ENTRY, body, (size_t)(p - body)),
                     fits ? OK : ERR_CORRUPT);
    if (!fits)
        return;
    o->ids[o->n++] = o->last = id;
    o->added++;
}

static void apply_delete(struct world *w)
{
    struct model_object *o = model_any(w);
    size_t n = random_below(&w->rng, 4);
    uint8_t body[128], *p;
    struct id ids[4];

    if (o == NULL)
        return;
    p = varint_put(varint_put(body, o->oid), n);
    for (size_t i = 0; i < n; i++) {
        ids[i] = o->n > 0 ? o->ids[random_below(&w->rng, o->n)] : model_id(w);
        p = id_put(p, ids[i]);
    }
    assert_int_equal(world_apply(w, RECORD_DELETE, body, (size_t)(p - body)),
                     o->there ? OK : ERR_CORRUPT);
    for (size_t i = 0; i < n && o->there; i++)
        model_delete(o, ids[i]);
}

static void apply_trim(struct world *w)
{
    struct model_object *o = model_any(w);
    struct id first = model_id(w);
    uint8_t body[64], *p;

    if (o == NULL)
        return;
    p = id_put(varint_put(body, o->oid), first);
    assert_int_equal(world_apply(w, RECORD_TRIM, body, (size_t)(p - body)),
                     o->there ? OK : ERR_CORRUPT);
    if (o->there)
        model_remove_below(o, first);
}

static void apply_set_id(struct world *w)
{
    struct model_object *o = model_any(w);
    struct id last = model_id(w), max_deleted = model_id(w);
    uint8_t body[64], *p;
    bool fits;

    if (o == NULL)
        return;
    fits = o->there && (o->n == 0 || id_cmp(last, o->ids[o->n - 1]) >= 0);
    p = id_put(varint_put(id_put(varint_put(body, o->oid), last), 7), max_deleted);
    assert_int_equal(world_apply(w, RECORD_SETID, body, (size_t)(p - body)),
                     fits ? OK : ERR_CORRUPT);
    if (!fits)
        return;
    if (o->n == 0 && id_cmp(last, o->last) < 0)
        o->oid = o->rev = w->lsn;
    o->last = last;
    o->added = 7;
    o->max_deleted = max_deleted;
}

static void apply_name(struct world *w)
{
    struct model_object *o = model_any(w), *other;
    uint64_t expiry_ms = random_below(&w->rng, 3) == 0 ? 0 : random_below(&w->rng, 1000);
    int db = (int)random_below(&w->rng, DBS);
    uint8_t body[64], *p;
    char name[8];

    if (o == NULL)
        return;
    if (random_below(&w->rng, 2) == 0) { /* EXPIRE */
        db = o->db;
        memcpy(name, o->name, sizeof name);
    } else {
        model_name(w, name);
    }
    p = varint_put(varint_put(put_key(body, db, name), o->oid), expiry_ms);
    assert_int_equal(world_apply(w, RECORD_NAME, body, (size_t)(p - body)),
                     o->there ? OK : ERR_CORRUPT);
    if (!o->there)
        return;
    other = model_find(w, db, name);
    if (other != NULL && other != o)
        other->there = false;
    o->db = db;
    memcpy(o->name, name, sizeof name);
    o->expiry_ms = expiry_ms;
    o->rev = w->lsn;
}

static void apply_unname(struct world *w)
{
    struct model_object *o = model_any(w);
    uint8_t body[64], *p;
    uint64_t rev;

    if (o == NULL)
        return;
    rev = random_below(&w->rng, 3) == 0 ? o->oid : o->rev; /* an old one does nothing */
    p = put_key(body, o->db, o->name);
    *p++ = (uint8_t)random_below(&w->rng, 3);
    p = varint_put(p, rev);
    assert_int_equal(world_apply(w, RECORD_UNNAME, body, (size_t)(p - body)), OK);
    if (rev == o->rev)
        o->there = false;
}

static void apply_flush(struct world *w)
{
    size_t db = random_below(&w->rng, DBS + 1); /* + 1 */
    uint8_t body[10];

    if (random_below(&w->rng, 20) != 0)
        return;
    assert_int_equal(world_apply(w, RECORD_FLUSH, body, (size_t)(varint_put(body, db) - body)), OK);
    for (size_t i = 0; i < w->n_objects; i++)
        if (db == 0 || w->objects[i].db == (int)db - 1)
            w->objects[i].there = false;
}

static void random_records_do_what_a_naive_model_says(void **state)
{
    static void (*const kinds[])(
        struct world *) = { apply_stream, apply_entry,  apply_entry, apply_entry,  apply_delete,
                            apply_trim,   apply_set_id, apply_name,  apply_unname, apply_flush };
    struct random rng = random_seeded("random_records");

    (void)state;
    for (size_t round = random_rounds(40); round > 0; round--) {
        struct world *w = world_new((struct random){ random_u64(&rng) });
        for (int i = 0; i < 2000; i++) {
            kinds[random_below(&w->rng, sizeof kinds / sizeof kinds[0])](w);
            if (i % 50 == 0)
                compare(w);
        }
        compare(w);
        world_free(w);
    }
}

/* ---- records that lie ---- */

struct sample {
    uint8_t type;
    size_t n;
    uint8_t body[64];
};

enum { SAMPLES = 9 };

/* A state with one stream of three entries and settings of idempotence, and a record of each type that fits it. */
static void samples_make(struct world *w, struct sample *samples)
{
    struct slice strings[2] = { slice_str("field"), slice_str("value") };
    uint8_t body[64], *p = put_key(body, 1, "a");
    uint64_t oid;
    struct sample *s = samples;

    assert_int_equal(world_apply(w, RECORD_STREAM, body, (size_t)(p - body)), OK);
    oid = w->lsn;
    for (uint64_t i = 1; i <= 3; i++) {
        p = entry_put(varint_put(body, oid), (struct id){ i * 200, 0 }, strings, 2);
        assert_int_equal(world_apply(w, RECORD_ENTRY, body, (size_t)(p - body)), OK);
    }
    p = varint_put(varint_put(varint_put(body, oid), 100), 100);
    assert_int_equal(world_apply(w, RECORD_IDMP_CONFIG, body, (size_t)(p - body)), OK);

#define SAMPLE(record_type, end) (s->type = record_type, s->n = (size_t)((end)-s->body), s++)
    SAMPLE(RECORD_STREAM, put_key(s->body, 1, "new"));
    SAMPLE(RECORD_ENTRY, entry_put(varint_put(s->body, oid), (struct id){ 70000, 1 }, strings, 2));
    p = slice_put(varint_put(s->body, oid), slice_str("producer"));
    SAMPLE(RECORD_ENTRY_IDMP,
           entry_put(slice_put(p, slice_str("iid")), (struct id){ 70000, 2 }, strings, 2));
    p = id_put(varint_put(varint_put(s->body, oid), 2), (struct id){ 200, 0 });
    SAMPLE(RECORD_DELETE, id_put(p, (struct id){ 400, 0 }));
    SAMPLE(RECORD_TRIM, id_put(varint_put(s->body, oid), (struct id){ 300, 0 }));
    p = varint_put(id_put(varint_put(s->body, oid), (struct id){ 90000, 0 }), 300);
    SAMPLE(RECORD_SETID, id_put(p, (struct id){ 400, 0 }));
    SAMPLE(RECORD_NAME, varint_put(varint_put(put_key(s->body, 1, "b"), oid), 5000));
    p = put_key(s->body, 1, "zz");
    *p++ = REASON_DEL;
    SAMPLE(RECORD_UNNAME, varint_put(p, oid));
    SAMPLE(RECORD_IDMP_CONFIG, varint_put(varint_put(varint_put(s->body, oid), 10), 20));
#undef SAMPLE
    assert_int_equal(s - samples, SAMPLES);
}

static void check(struct world *w)
{
    const char *broken = state_check(&w->s);

    if (broken != NULL)
        fail_msg("%s", broken);
}

static void each_sample_fits_and_none_of_its_prefixes(void **state)
{
    struct world *w = world_new((struct random){ 1 });
    struct sample samples[SAMPLES];

    (void)state;
    samples_make(w, samples);
    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        print_message("  type %u, %zu bytes\n", s->type, s->n);
        for (size_t n = 0; n < s->n; n++)
            assert_int_equal(world_apply(w, s->type, s->body, n), ERR_CORRUPT);
        uint8_t longer[80] = { 0 };
        memcpy(longer, s->body, s->n);
        assert_int_equal(world_apply(w, s->type, longer, s->n + 1), ERR_CORRUPT);
        check(w);
    }
    for (int i = 0; i < SAMPLES; i++)
        assert_int_equal(world_apply(w, samples[i].type, samples[i].body, samples[i].n), OK);
    check(w);
    world_free(w);
}

static void any_changed_byte_is_refused_or_harmless(void **state)
{
    struct random rng = random_seeded("changed_byte");

    (void)state;
    for (size_t round = random_rounds(300); round > 0; round--) {
        struct world *w = world_new(rng);
        struct sample samples[SAMPLES];
        samples_make(w, samples);
        for (int i = 0; i < 60; i++) {
            struct sample s = samples[random_below(&rng, SAMPLES)];
            for (size_t changes = 1 + random_below(&rng, 3); changes > 0; changes--)
                s.body[random_below(&rng, s.n)] = (uint8_t)random_u64(&rng);
            if (random_below(&rng, 10) == 0)
                s.type = (uint8_t)random_below(&rng, 14);
            err_ignore(world_apply(w, s.type, s.body, s.n)); /* either is fine; a crash is not */
        }
        check(w);
        world_free(w);
    }
}

static void random_bytes_never_harm(void **state)
{
    struct world *w = world_new(random_seeded("random_bytes"));
    struct sample samples[SAMPLES];

    (void)state;
    samples_make(w, samples);
    for (size_t round = random_rounds(200000); round > 0; round--) {
        uint8_t body[24];
        for (size_t i = 0; i < sizeof body; i++)
            body[i] = (uint8_t)(random_below(&w->rng, 2) == 0 ? random_below(&w->rng, 8)
                                                              : random_u64(&w->rng));
        err_ignore(world_apply(w, (uint8_t)random_below(&w->rng, 14), body,
                               random_below(&w->rng, sizeof body)));
    }
    check(w);
    world_free(w);
}

static void what_does_not_fit_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *why;
        uint8_t type, n;
        uint8_t body[16];
    } cases[] = {
        { "no such database", RECORD_STREAM, 3, { 16, 1, 'x' } },
        { "a name longer than the record", RECORD_STREAM, 3, { 0, 200, 'x' } },
        { "a length of ten bytes that says 2^64 - 1",
          RECORD_STREAM,
          12,
          { 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 'x' } },
        { "an oid of nobody", RECORD_TRIM, 3, { 9, 1, 0 } },
        { "a flush of the 17th database", RECORD_FLUSH, 1, { 17 } },
        { "a flush without a database", RECORD_FLUSH, 0, { 0 } },
        { "reason 3", RECORD_UNNAME, 5, { 0, 1, 'x', 3, 1 } },
        { "type 0", 0, 0, { 0 } },
        { "a type between the last and the ignorable ones", 0x7f, 0, { 0 } },
    };
    struct world *w = world_new((struct random){ 1 });

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].why);
        assert_int_equal(world_apply(w, cases[i].type, cases[i].body, cases[i].n), ERR_CORRUPT);
    }
    assert_int_equal(world_apply(w, RECORD_SKIP, "\1", 1), OK);
    assert_int_equal(world_apply(w, RECORD_IGNORABLE, "anything", 8), OK);
    assert_int_equal(w->s.n_objects, 0);
    world_free(w);
}

static void an_idempotence_id_needs_settings_first(void **state)
{
    struct world *w = world_new((struct random){ 1 });
    struct slice strings[2] = { slice_str("f"), slice_str("v") };
    uint8_t body[64], *p = put_key(body, 0, "a");
    uint64_t oid;
    struct id id;

    (void)state;
    assert_int_equal(world_apply(w, RECORD_STREAM, body, (size_t)(p - body)), OK);
    oid = w->lsn;
    p = slice_put(slice_put(varint_put(body, oid), slice_str("p")), slice_str("i"));
    p = entry_put(p, (struct id){ 1, 1 }, strings, 2);
    assert_int_equal(world_apply(w, RECORD_ENTRY_IDMP, body, (size_t)(p - body)), ERR_CORRUPT);
    uint8_t config[32], *q = varint_put(varint_put(varint_put(config, oid), 100), 100);
    assert_int_equal(world_apply(w, RECORD_IDMP_CONFIG, config, (size_t)(q - config)), OK);
    assert_int_equal(world_apply(w, RECORD_ENTRY_IDMP, body, (size_t)(p - body)), OK);
    assert_true(idmp_find(stream_idmp(state_find_oid(&w->s, oid)), slice_str("p"), slice_str("i"),
                          w->lsn << 4, &id));
    assert_int_equal(id.seq, 1);
    world_free(w);
}

/* ---- memory comes back in slices ---- */

static void fill(struct world *w, int db, int n_streams, uint64_t n_entries)
{
    struct slice strings[2] = { slice_str("f"), slice_str("v") };

    for (int i = 0; i < n_streams; i++) {
        uint8_t body[64], *p;
        char name[16];
        uint64_t oid;
        snprintf(name, sizeof name, "s%d", i);
        p = put_key(body, db, name);
        assert_int_equal(world_apply(w, RECORD_STREAM, body, (size_t)(p - body)), OK);
        oid = w->lsn;
        for (uint64_t k = 1; k <= n_entries; k++) {
            p = entry_put(varint_put(body, oid), (struct id){ k, 0 }, strings, 2);
            assert_int_equal(world_apply(w, RECORD_ENTRY, body, (size_t)(p - body)), OK);
        }
    }
}

static void a_large_stream_is_freed_bit_by_bit(void **state)
{
    struct world *w = world_new((struct random){ 1 });
    int calls = 0;

    (void)state;
    fill(w, 0, 1, 50000);
    state_unbind(&w->s, state_find(&w->s, 0, slice_str("s0")));
    assert_null(state_find(&w->s, 0, slice_str("s0")));
    while (state_reap(&w->s, 1000))
        calls++;
    assert_in_range(calls, 45, 60);
    check(w);
    world_free(w);
}

static void a_flushed_database_is_gone_at_once_and_freed_bit_by_bit(void **state)
{
    struct world *w = world_new((struct random){ 1 });
    uint64_t first;
    int calls = 0;

    (void)state;
    first = w->lsn + 1;
    fill(w, 2, 3000, 1);
    fill(w, 3, 10, 1);
    state_flush(&w->s, 2);
    assert_int_equal(w->s.n_objects, 10);
    assert_null(state_find(&w->s, 2, slice_str("s7")));
    assert_null(state_find_oid(&w->s, first));
    check(w);
    fill(w, 2, 5, 1); /* the same names again, while the old ones are still in memory */
    check(w);
    while (state_reap(&w->s, 100))
        calls++;
    assert_true(calls >= 20);
    assert_int_equal(w->s.n_objects, 15);
    assert_int_equal(w->s.oids.n, 15);
    check(w);
    world_free(w);
}

static void the_next_to_expire_is_first_whatever_leaves(void **state)
{
    struct world *w = world_new(random_seeded("next_to_expire"));

    (void)state;
    fill(w, 0, 500, 0);
    for (size_t i = random_rounds(5000); i > 0; i--) {
        char name[16];
        struct object *o;
        snprintf(name, sizeof name, "s%zu", random_below(&w->rng, 500));
        o = state_find(&w->s, 0, slice_str(name));
        assert_int_equal(
            state_bind(&w->s, o, 0, object_name(o), random_below(&w->rng, 1000), i, NULL), OK);
        if (i % 20 == 0)
            check(w);
    }
    world_free(w);
}

static void what_is_not_yet_freed_goes_with_the_state(void **state)
{
    struct world *w = world_new((struct random){ 1 });

    (void)state;
    fill(w, 0, 100, 3);
    fill(w, 1, 100, 3);
    state_flush(&w->s, 0);
    state_unbind(&w->s, state_find(&w->s, 1, slice_str("s9")));
    state_reap(&w->s, 10);
    world_free(w); /* the leak checker is the judge */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_records_do_what_a_naive_model_says),
        cmocka_unit_test(each_sample_fits_and_none_of_its_prefixes),
        cmocka_unit_test(any_changed_byte_is_refused_or_harmless),
        cmocka_unit_test(random_bytes_never_harm),
        cmocka_unit_test(what_does_not_fit_is_refused_with_its_reason),
        cmocka_unit_test(an_idempotence_id_needs_settings_first),
        cmocka_unit_test(a_large_stream_is_freed_bit_by_bit),
        cmocka_unit_test(a_flushed_database_is_gone_at_once_and_freed_bit_by_bit),
        cmocka_unit_test(the_next_to_expire_is_first_whatever_leaves),
        cmocka_unit_test(what_is_not_yet_freed_goes_with_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
