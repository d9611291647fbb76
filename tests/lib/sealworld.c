/*
 * sealworld.c - streams, the log under them, and the model beside both.
 *
 * The model is the list of operations by LSN, interpreted in the simplest way: a stream is an array of IDs, and the
 * bytes of an entry follow from its stream and ID. What must hold, after each start and between any two steps
 * (docs/architecture.md has the promises):
 *
 *   I1  Everything up to durable_lsn is there; after a mere kill everything up to written_lsn.
 *   I2  What is there is the model at one LSN, I3 the end of a batch.
 *   I4  Every entry has the bytes that it was written with, once, in order; counts and sizes are those of the model;
 *       forwards, backwards and from a place in the middle.
 *   I6  Sealing, merging, saving and starting change nothing of it.
 *   I8  A key has the value that was set last, readable by its LSN, whatever was left out before; the history has
 *       all changes from where it begins, in order.
 *   I9  A stream that got the name of another one has nothing of it.
 *   I10 No file is left that nothing explains; when all is deleted and merged, the disk is nearly empty.
 *   I14 What is unsealed fits three parts of the arena and a batch; no turn asks for more than its slice;
 *       turns and appends touch no file.
 */
#include "tests/lib/sealworld.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/entry.h"
#include "log/manifest.h"

enum { ENTRY_MAX = 8192, PART_BYTES = 4 << 10, STEPS_MAX = 20000, SLICE = 3 };

/* Of one turn: a seal, a checkpoint and a merge have a slice each, with two questions for a stream, and what begins and
 * ends them. */
enum { ASKED_MAX = 3 * (2 * SLICE + 3) + 3 };

bool sealworld_holds(const struct sealworld *w)
{
    return w->result->why[0] == '\0';
}

bool sealworld_fails(struct sealworld *w, const char *format, ...)
{
    char text[JUDGE_WHY_MAX + 250];
    va_list args;

    if (!sealworld_holds(w))
        return false;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(w->result->why, sizeof w->result->why, "%s: %s", w->where, text);
    return false;
}

static void start_fails(struct sealstart *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void start_fails(struct sealstart *s, const char *format, ...)
{
    va_list args;

    if (s->why[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
}

static void *world_alloc(void *old, size_t n)
{
    void *p = realloc(old, n > 0 ? n : 1);

    if (p == NULL)
        abort();
    return p;
}

/* ---- entries ----------------------------------------------------------------------------------- */

/* The entry of a stream with that ID; most are alike, some have other fields, some are longer than a block. */
static size_t entry_make(uint64_t oid, struct id id, uint8_t out[ENTRY_MAX])
{
    static const char words[] =
        "departed arrived boarding delayed cancelled diverted taxiing landed";
    uint64_t rng = oid * 0x9e3779b97f4a7c15u ^ id.ms << 20 ^ id.seq;
    uint64_t r = simio_random(&rng);
    struct slice strings[6];
    size_t n = 0, at = r % 40, len = 5 + (r >> 8) % 20;
    char number[24], noise[1800];

    snprintf(number, sizeof number, "%" PRIu64, id.ms * 7 + r % 5);
    strings[n++] = slice_str("n");
    strings[n++] = slice_str(number);
    strings[n++] = slice_str(r % 11 == 0 ? "note" : "status");
    strings[n++] = slice_of(words + at, len);
    if (r % 13 == 0) {
        size_t size = r % 39 == 0 ? sizeof noise : 300;
        for (size_t i = 0; i < size; i++)
            noise[i] = (char)simio_random(&rng);
        strings[n++] = slice_str("noise");
        strings[n++] = slice_of(noise, size);
    }
    return (size_t)(entry_put(out, id, strings, n) - out);
}

static size_t entry_bytes(uint64_t oid, struct id id)
{
    uint8_t p[ENTRY_MAX];
    return entry_make(oid, id, p);
}

/* The entry of a change: what was done to which key, and bytes that follow from its ID. */
static size_t change_make(const struct op *o, uint8_t out[ENTRY_MAX])
{
    uint8_t key[4], payload[ENTRY_MAX];
    struct slice strings[4] = { slice_str(o->set ? "set" : "del"), slice_of(key, sizeof key),
                                slice_str(""), slice_of(payload, 0) };

    put_u32le(key, o->name);
    strings[3].n = o->set ? entry_make(LOG_CHANGES_OID, o->id, payload) : 0;
    return (size_t)(entry_put(out, o->id, strings, o->set ? 4 : 2) - out);
}

/* ---- the model --------------------------------------------------------------------------------- */

static void model_clear(struct model *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->streams[i].ids);
    free(m->streams);
    free(m->values);
    memset(m, 0, sizeof *m);
}

static struct model_stream *model_find(const struct model *m, uint64_t oid)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->streams[i].oid == oid)
            return &m->streams[i];
    return NULL;
}

static struct model_stream *model_find_name(const struct model *m, uint32_t name)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->streams[i].name == name)
            return &m->streams[i];
    return NULL;
}

static void model_drop(struct model *m, struct model_stream *s)
{
    free(s->ids);
    *s = m->streams[--m->n];
}

static void model_add_stream(struct model *m, const struct op *o)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 16;
        m->streams = world_alloc(m->streams, m->cap * sizeof *m->streams);
    }
    m->streams[m->n++] = (struct model_stream){ .oid = o->lsn, .rev = o->lsn, .name = o->name };
}

static void model_add_entry(struct model_stream *s, const struct op *o)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->ids = world_alloc(s->ids, s->cap * sizeof *s->ids);
    }
    s->ids[s->n++] = s->last = o->id;
    s->bytes += entry_bytes(s->oid, o->id);
    s->added++;
}

static bool op_removes(const struct op *o, struct id id)
{
    if (o->type == RECORD_CUT)
        return id_cmp(id, o->id) < 0;
    for (size_t i = 0; i < o->n_ids; i++)
        if (id_cmp(o->ids[i], id) == 0)
            return true;
    return false;
}

static void model_remove(struct model_stream *s, const struct op *o)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (op_removes(o, s->ids[i]))
            s->bytes -= entry_bytes(s->oid, s->ids[i]);
        else
            s->ids[n++] = s->ids[i];
    s->n = n;
    if (o->type == RECORD_CUT)
        s->floor = o->id;
}

static void model_rename(struct model *m, const struct op *o)
{
    struct model_stream *other = model_find_name(m, o->name), *s;

    if (other != NULL && other->oid != o->oid)
        model_drop(m, other);
    s = model_find(m, o->oid);
    s->name = o->name;
    s->rev = o->lsn;
}

static struct model_value *model_find_value(const struct model *m, uint32_t key)
{
    for (size_t i = 0; i < m->n_values; i++)
        if (m->values[i].key == key)
            return &m->values[i];
    return NULL;
}

static void model_change(struct model *m, const struct op *o)
{
    struct model_value *v = model_find_value(m, o->name);

    if (!o->set) {
        if (v != NULL)
            *v = m->values[--m->n_values];
        return;
    }
    if (v == NULL) {
        if (m->n_values == m->cap_values) {
            m->cap_values = m->cap_values ? 2 * m->cap_values : 16;
            m->values = world_alloc(m->values, m->cap_values * sizeof *m->values);
        }
        v = &m->values[m->n_values++];
    }
    *v = (struct model_value){ o->name, m->n_ops - 1 };
}

static void model_apply(struct model *m, const struct op *o)
{
    m->n_ops++;
    switch (o->type) {
    case RECORD_STREAM: model_add_stream(m, o); break;
    case RECORD_ENTRY:
    case RECORD_ENTRY_IDMP: model_add_entry(model_find(m, o->oid), o); break;
    case RECORD_REMOVE:
    case RECORD_CUT: model_remove(model_find(m, o->oid), o); break;
    case RECORD_NAME: model_rename(m, o); break;
    case RECORD_UNNAME: model_drop(m, model_find_name(m, o->name)); break;
    case RECORD_CHANGE: model_change(m, o); break;
    case RECORD_HISTORY: m->history = o->id.seq; break;
    case RECORD_FLUSH:
        while (m->n > 0)
            model_drop(m, &m->streams[m->n - 1]);
        break;
    default: abort();
    }
}

static const struct model *model_at(struct sealworld *w, size_t n)
{
    if (w->at.n_ops > n)
        model_clear(&w->at);
    while (w->at.n_ops < n)
        model_apply(&w->at, &w->ops[w->at.n_ops]);
    return &w->at;
}

/* How many operations there are up to that LSN. */
static size_t ops_upto(const struct sealworld *w, uint64_t lsn)
{
    size_t n = w->n_ops;

    while (n > 0 && w->ops[n - 1].lsn > lsn)
        n--;
    return n;
}

/* ---- comparing --------------------------------------------------------------------------------- */

/* Reading one stream of a log, and what it must be. */
struct view_of {
    struct sealstart *s;
    const struct host_stream *st;
    const struct model_stream *want;
    struct reader reader;
    size_t n_sealed; /* of want->ids; the rest must be in the tail */
};

static void view_entry(struct view_of *v, size_t i, const uint8_t *p, size_t len)
{
    uint8_t expect[ENTRY_MAX];
    struct id id = { 0, 0 };

    if (p != NULL)
        entry_id(p, &id);
    if (i >= v->want->n)
        start_fails(v->s, "stream %" PRIu64 ": entry %" PRIu64 "-%" PRIu64 " is one too many",
                    v->st->oid, id.ms, id.seq);
    else if (p == NULL)
        start_fails(v->s, "stream %" PRIu64 ": entry %" PRIu64 "-%" PRIu64 " is missing",
                    v->st->oid, v->want->ids[i].ms, v->want->ids[i].seq);
    else if (id_cmp(id, v->want->ids[i]) != 0)
        start_fails(v->s,
                    "stream %" PRIu64 ": entry %" PRIu64 "-%" PRIu64 " where %" PRIu64 "-%" PRIu64
                    " belongs",
                    v->st->oid, id.ms, id.seq, v->want->ids[i].ms, v->want->ids[i].seq);
    else if (entry_make(v->st->oid, id, expect) != len || memcmp(p, expect, len) != 0)
        start_fails(v->s, "stream %" PRIu64 ": entry %" PRIu64 "-%" PRIu64 " has other bytes",
                    v->st->oid, id.ms, id.seq);
}

static int view_forwards(struct view_of *v, struct err *e)
{
    size_t len = 0, i = 0;
    const uint8_t *p;
    int rc = reader_seek(&v->reader, ID_MIN, e);

    for (; rc == OK && (p = reader_at(&v->reader, &len)) != NULL && v->s->why[0] == '\0'; i++) {
        view_entry(v, i, p, len);
        rc = reader_next(&v->reader, e);
    }
    v->n_sealed = i;
    for (size_t k = 0; rc == OK && k < v->st->n_tail; k++, i++)
        view_entry(v, i, v->st->tail[k].at, v->st->tail[k].len);
    if (rc == OK && i < v->want->n)
        view_entry(v, i, NULL, 0);
    return rc;
}

static int view_backwards(struct view_of *v, struct err *e)
{
    size_t len = 0, i = v->n_sealed;
    const uint8_t *p;
    int rc = reader_seek_back(&v->reader, ID_MAX, e);

    for (; rc == OK && (p = reader_at(&v->reader, &len)) != NULL && v->s->why[0] == '\0';) {
        if (i-- == 0)
            start_fails(v->s, "stream %" PRIu64 ": more entries backwards", v->st->oid);
        else
            view_entry(v, i, p, len);
        rc = reader_prev(&v->reader, e);
    }
    if (rc == OK && i != 0 && v->s->why[0] == '\0')
        start_fails(v->s, "stream %" PRIu64 ": %zu entries less backwards", v->st->oid, i);
    return rc;
}

/* From the middle: the entry there, or the one behind an ID that isn't there; and how many lie behind it. */
static int view_middle(struct view_of *v, struct err *e)
{
    size_t i, len = 0;
    uint64_t n = 0, bytes = 0, expect = 0;
    const uint8_t *p;
    struct id id;
    int rc;

    if (v->n_sealed == 0)
        return OK;
    i = (size_t)simio_below(&v->s->w->rng, v->n_sealed);
    id = v->want->ids[i];
    rc = reader_seek(&v->reader, id, e);
    if (rc == OK) {
        p = reader_at(&v->reader, &len);
        view_entry(v, i, p, len);
        rc = reader_count(&v->reader, id, ID_MAX, UINT64_MAX, &n, &bytes, e);
    }
    for (size_t k = i; k < v->n_sealed; k++)
        expect += entry_bytes(v->st->oid, v->want->ids[k]);
    if (rc == OK && (n != v->n_sealed - i || bytes != expect))
        start_fails(v->s,
                    "stream %" PRIu64 ": %" PRIu64 " entries of %" PRIu64
                    " bytes counted, there are "
                    "%zu of %" PRIu64,
                    v->st->oid, n, bytes, v->n_sealed - i, expect);
    return rc;
}

static int compare_entries(struct sealstart *s, const struct host_stream *st,
                           const struct model_stream *want, struct err *e)
{
    struct view_of v = { .s = s, .st = st, .want = want };
    struct sealed sealed;
    uint64_t how = simio_below(&s->w->rng, 4);
    int rc;

    log_get_sealed(s->log, st->oid, st->floor, st->deletes, st->sealed_last, &sealed);
    reader_init(&v.reader, &sealed, log_cache(s->log), log_sync_decoder(s->log), NULL);
    rc = view_forwards(&v, e);
    if (rc == OK && how == 0 && s->why[0] == '\0')
        rc = view_backwards(&v, e);
    if (rc == OK && how == 1 && s->why[0] == '\0')
        rc = view_middle(&v, e);
    reader_fini(&v.reader);
    sealed_fini(&sealed);
    return rc;
}

static void compare_header(struct sealstart *s, const struct host_stream *st,
                           const struct model_stream *want)
{
    if (st->name != want->name || st->rev != want->rev)
        start_fails(s, "stream %" PRIu64 " is %u bound by %" PRIu64 ", should be %u by %" PRIu64,
                    st->oid, st->name, st->rev, want->name, want->rev);
    if (st->n != want->n || st->bytes != want->bytes || st->added != want->added)
        start_fails(s,
                    "stream %" PRIu64 " has %" PRIu64 " entries, %" PRIu64 " bytes, %" PRIu64
                    " added; should have %zu, %" PRIu64 ", %" PRIu64,
                    st->oid, st->n, st->bytes, st->added, want->n, want->bytes, want->added);
    if (id_cmp(st->last, want->last) != 0)
        start_fails(s, "stream %" PRIu64 " ends at %" PRIu64 ", should end at %" PRIu64, st->oid,
                    st->last.ms, want->last.ms);
}

/* ---- values and changes ---- */

static void view_change(struct sealstart *s, const struct op *o, const uint8_t *p, size_t len)
{
    uint8_t expect[ENTRY_MAX];

    if (p == NULL)
        start_fails(s, "the change of LSN %" PRIu64 " is missing", o->lsn);
    else if (change_make(o, expect) != len || memcmp(p, expect, len) != 0)
        start_fails(s, "the change of LSN %" PRIu64 " has other bytes", o->lsn);
}

/* Its bytes are found by the LSN of its record. */
static int compare_value(struct sealstart *s, const struct host *h, const struct model_value *want)
{
    const struct op *o = &s->w->ops[want->op];
    const struct host_value *v = host_find_value(h, want->key);
    const struct host_entry *x = host_find_change(h, o->lsn);
    struct log_change c;
    int rc = OK;

    if (v == NULL || v->lsn != o->lsn) {
        start_fails(s, "key %u was set by LSN %" PRIu64 ", should be by %" PRIu64, want->key,
                    v == NULL ? 0 : v->lsn, o->lsn);
    } else if (x != NULL) {
        view_change(s, o, x->at, x->len);
    } else {
        rc = log_find_change(s->log, o->lsn, NULL, &c, &s->err);
        if (rc == ERR_CORRUPT && strstr(s->err.text, "no segment has") != NULL)
            start_fails(s, "key %u: %s", want->key, s->err.text);
        if (rc != OK)
            return rc;
        view_change(s, o, c.entry, c.len);
        log_change_fini(&c);
    }
    return rc;
}

/* The next change from operation i on; n if there is none. */
static size_t next_change(const struct sealworld *w, size_t i, size_t n)
{
    while (i < n && w->ops[i].type != RECORD_CHANGE)
        i++;
    return i;
}

/* All changes from where the history begins, in order: sealed ones, then the others. */
static int compare_history(struct sealstart *s, const struct host *h, const struct model *m)
{
    size_t i = m->history == 0 ? 0 : ops_upto(s->w, m->history - 1), len = 0;
    struct sealed sealed;
    struct reader reader;
    const uint8_t *p;
    int rc;

    log_get_sealed(s->log, LOG_CHANGES_OID, ID_MIN, NULL, ID_MAX, &sealed);
    reader_init(&reader, &sealed, log_cache(s->log), log_sync_decoder(s->log), NULL);
    rc = reader_seek_lsn(&reader, m->history, &s->err);
    while (rc == OK && (p = reader_at(&reader, &len)) != NULL && s->why[0] == '\0') {
        i = next_change(s->w, i, m->n_ops);
        if (i == m->n_ops)
            start_fails(s, "there is a change more than there should be");
        else
            view_change(s, &s->w->ops[i++], p, len);
        rc = reader_next(&reader, &s->err);
    }
    for (size_t k = 0; rc == OK && k < h->changes.n_tail && s->why[0] == '\0'; k++) {
        const struct host_entry *x = &h->changes.tail[k];
        if (x->id.seq < m->history)
            continue;
        i = next_change(s->w, i, m->n_ops);
        view_change(s, &s->w->ops[i < m->n_ops ? i++ : m->n_ops - 1], x->at, x->len);
    }
    if (rc == OK && s->why[0] == '\0' && next_change(s->w, i, m->n_ops) < m->n_ops)
        view_change(s, &s->w->ops[next_change(s->w, i, m->n_ops)], NULL, 0);
    reader_fini(&reader);
    sealed_fini(&sealed);
    return rc;
}

static int compare_values(struct sealstart *s, const struct host *h, const struct model *m)
{
    int rc = OK;

    if (h->n_values != m->n_values)
        start_fails(s, "%zu keys, there should be %zu", h->n_values, m->n_values);
    if (h->changes.floor.seq != m->history)
        start_fails(s, "the history begins at %" PRIu64 ", should at %" PRIu64,
                    h->changes.floor.seq, m->history);
    for (size_t i = 0; i < m->n_values && rc == OK && s->why[0] == '\0'; i++)
        rc = compare_value(s, h, &m->values[i]);
    if (rc == OK && s->why[0] == '\0')
        rc = compare_history(s, h, m);
    return rc;
}

static void compare_with(struct sealstart *s, const struct host *h, const struct model *m)
{
    s->w->n_compared++;
    if (h->why[0] != '\0')
        start_fails(s, "%s", h->why);
    if (h->n != m->n)
        start_fails(s, "%zu streams, there should be %zu", h->n, m->n);
    for (size_t i = 0; i < h->n && s->why[0] == '\0' && s->rc == OK; i++) {
        const struct model_stream *want = model_find(m, h->streams[i]->oid);
        if (want == NULL) {
            start_fails(s, "stream %" PRIu64 " is there, and shouldn't", h->streams[i]->oid);
            return;
        }
        compare_header(s, h->streams[i], want);
        if (s->why[0] == '\0')
            s->rc = compare_entries(s, h->streams[i], want, &s->err);
    }
    if (s->why[0] == '\0' && s->rc == OK)
        s->rc = compare_values(s, h, m);
}

void sealstart_compare(struct sealstart *s)
{
    compare_with(s, s->host, model_at(s->w, s->n));
}

/* ---- starts ------------------------------------------------------------------------------------ */

/* Nothing is replayed that was never appended, or is known to be lost. */
static void start_on_replay(void *ctx, const struct log_record *r)
{
    struct sealstart *s = ctx;
    const struct sealworld *w = s->w;
    size_t n = ops_upto(w, r->lsn);

    if (n == 0 || w->ops[n - 1].lsn != r->lsn)
        start_fails(s, "LSN %" PRIu64 " was never appended, or is known to be lost", r->lsn);
    else if (w->ops[n - 1].clock != r->clock || w->ops[n - 1].type != r->type)
        start_fails(s, "LSN %" PRIu64 " replayed with another clock or type", r->lsn);
}

static void start_open(struct sealstart *s, struct simio *disk, const char *dir, bool salvage)
{
    struct log_options options = s->w->options;

    s->host = host_new();
    s->host->on_replay = start_on_replay;
    s->host->replay_ctx = s;
    host_set_calls(s->host, &options.host);
    options.io = simio_io(disk);
    options.dir = dir;
    options.salvage = salvage;
    s->w->result->n_opens++;
    host_enter(s->host);
    s->rc = log_open(&options, &s->log, &s->info, &s->err);
    host_leave(s->host);
    if (s->rc != OK) {
        s->log = NULL;
        if (s->err.text[0] == '\0' || s->err.code != s->rc)
            start_fails(s, "log_open gave %d without a text", s->rc);
    }
}

void sealstart_end(struct sealstart *s)
{
    log_abandon(s->log);
    host_free(s->host);
    s->log = NULL;
    s->host = NULL;
}

static void start_judge(struct sealstart *s)
{
    struct sealworld *w = s->w;

    s->host->on_replay = NULL;
    s->n = ops_upto(w, s->host->last_lsn);
    if (s->host->last_lsn != (s->n > 0 ? w->ops[s->n - 1].lsn : 0))
        start_fails(s, "the state is that of LSN %" PRIu64 ", which is lost", s->host->last_lsn);
    if (s->n > 0 && s->n < w->n_ops && w->ops[s->n - 1].batch == w->ops[s->n].batch)
        start_fails(s, "a batch was torn: LSN %" PRIu64 " is its last", w->ops[s->n - 1].lsn);
    if (s->n > 0 && s->info.last_clock < w->ops[s->n - 1].clock)
        start_fails(s,
                    "last_clock is %" PRIu64 ", below that of LSN %" PRIu64 ", %" PRIu64
                    " (replayed up to %" PRIu64 ", a checkpoint from %" PRIu64 " to %" PRIu64 ")",
                    s->info.last_clock, w->ops[s->n - 1].lsn, w->ops[s->n - 1].clock,
                    s->host->last_replayed, s->host->start_lsn, s->host->end_lsn);
    if (s->n > 0 && log_durable_lsn(s->log) < w->ops[s->n - 1].lsn)
        start_fails(s, "what was replayed is not durable after the start");
    s->rc = host_complete(s->host, &s->err);
    if (s->rc != OK)
        start_fails(s, "%s", s->err.text);
    else
        sealstart_compare(s);
}

void sealstart_run(struct sealstart *s, struct sealworld *w, struct simio *disk, const char *dir,
                   bool salvage)
{
    memset(s, 0, sizeof *s);
    s->w = w;
    start_open(s, disk, dir, salvage);
    if (s->rc == ERR_FULL && simio_capacity(disk) != 0 && s->why[0] == '\0') {
        host_free(s->host); /* a reason not to start, but only until there is room */
        simio_set_capacity(disk, 0, true);
        start_open(s, disk, dir, salvage);
    }
    if (s->rc == OK && s->why[0] == '\0')
        start_judge(s);
}

static bool turn(struct log *l, struct host *h, char why[JUDGE_WHY_MAX])
{
    uint64_t asked;
    bool more;

    host_enter(h);
    more = log_turn(l);
    asked = h->n_asked;
    host_leave(h);
    if (asked > ASKED_MAX && why[0] == '\0')
        snprintf(why, JUDGE_WHY_MAX, "one turn asked %" PRIu64 " times, a slice is %d streams",
                 asked, SLICE);
    return more;
}

bool sealstart_work(struct sealstart *s, size_t max)
{
    size_t n = 0;
    bool more = true;

    for (; more && n < STEPS_MAX && (max == 0 || n < max) && s->why[0] == '\0'; n++) {
        host_enter(s->host);
        more = log_step(s->log);
        host_leave(s->host);
        more = turn(s->log, s->host, s->why) || more;
        if (simio_below(&s->w->rng, 8) == 0 && s->why[0] == '\0')
            sealstart_compare(s);
    }
    if (n == STEPS_MAX)
        start_fails(s, "there is always more work to do");
    return s->why[0] == '\0';
}

/* ---- as what is judged ------------------------------------------------------------------------- */

/* A backup that was interrupted is no store, or one that has all of some moment. */
static void find_backup(struct sealworld *w, struct simio *disk, char why[JUDGE_WHY_MAX])
{
    for (int i = 0; i < SEALWORLD_REQUESTS && why[0] == '\0'; i++) {
        const struct sealworld_request *q = &w->requests[i];
        struct sealstart s;
        if (!q->pending || q->what != ASK_BACKUP)
            continue;
        simio_restart(disk);
        sealstart_run(&s, w, disk, q->dir, false);
        if (s.log != NULL && s.rc != OK)
            start_fails(&s, "a read failed: %.300s", s.err.text);
        if (s.why[0] != '\0')
            snprintf(why, JUDGE_WHY_MAX, "backup %s: %.600s", q->dir, s.why);
        sealstart_end(&s);
    }
}

static bool subject_find(void *ctx, struct simio *disk, size_t *n, char why[JUDGE_WHY_MAX])
{
    struct sealworld *w = ctx;
    struct sealstart s;

    sealstart_run(&s, w, disk, SEALWORLD_DIR, false);
    if (s.rc != OK)
        start_fails(&s, "the start failed: %.300s", s.err.text);
    *n = s.n;
    if (s.why[0] == '\0' && w->work_one_in > 0 && simio_below(&w->rng, w->work_one_in) == 0 &&
        sealstart_work(&s, 0)) {
        sealstart_compare(&s);
        if (s.rc != OK)
            start_fails(&s, "a read after some work: %.300s", s.err.text);
    }
    snprintf(why, JUDGE_WHY_MAX, "%s", s.why);
    sealstart_end(&s);
    if (simio_below(&w->rng, 4) == 0)
        find_backup(w, disk, why);
    return why[0] == '\0';
}

static bool start_check(const struct sealworld *w, size_t n, enum simio_mode mode,
                        char why[JUDGE_WHY_MAX])
{
    uint64_t must = mode == SIMIO_KILL && !w->unsynced ? w->written : w->durable;

    if (n >= w->n_ops || w->ops[n].lsn > must)
        return true;
    snprintf(why, JUDGE_WHY_MAX, "LSN %" PRIu64 " is lost although %" PRIu64 " was %s",
             w->ops[n].lsn, must, must == w->durable ? "durable" : "written");
    return false;
}

static bool subject_check(void *ctx, size_t n, enum simio_mode mode, char why[JUDGE_WHY_MAX])
{
    return start_check(ctx, n, mode, why);
}

static void subject_poll(void *ctx)
{
    sealworld_poll(ctx);
}

static bool subject_fails(void *ctx, const char *text)
{
    return sealworld_fails(ctx, "%s", text);
}

static bool subject_holds(void *ctx)
{
    return sealworld_holds(ctx);
}

struct subject sealworld_subject(struct sealworld *w)
{
    return (struct subject){
        w, subject_find, subject_check, subject_poll, subject_fails, subject_holds
    };
}

/* ---- the world --------------------------------------------------------------------------------- */

void sealworld_init(struct sealworld *w, uint64_t seed, struct crash_result *result)
{
    memset(w, 0, sizeof *w);
    w->disk = simio_new(seed);
    w->result = result;
    w->rng = seed ^ 0x71c9;
    w->lsn_given = LOG_FIRST_LSN - 1;
    w->options = (struct log_options){ .dir = SEALWORLD_DIR,
                                       .file_bytes = LOG_FILE_BYTES_MIN,
                                       .batch_bytes_max = 1 << 20,
                                       .interval_ms = 1000,
                                       .part_bytes = PART_BYTES,
                                       .cache_bytes = 8 << 10,
                                       .checkpoint_bytes = 8 << 10,
                                       .tier_bytes = 16 << 10,
                                       .block_bytes = 512,
                                       .work_slice = SLICE };
}

static void world_forget(struct sealworld *w, size_t n)
{
    for (size_t i = n; i < w->n_ops; i++)
        free(w->ops[i].ids);
    w->n_ops = w->first_open = n;
    model_clear(&w->now);
    for (size_t i = 0; i < n; i++)
        model_apply(&w->now, &w->ops[i]);
    if (w->at.n_ops > n)
        model_clear(&w->at);
}

void sealworld_fini(struct sealworld *w)
{
    sealworld_abandon(w);
    world_forget(w, 0);
    free(w->ops);
    model_clear(&w->now);
    model_clear(&w->at);
    simio_free(w->disk);
}

/* Before a log goes: what it has done. */
static void world_count(struct sealworld *w)
{
    struct log_stats stats;

    log_get_stats(w->log, &stats);
    w->n_seals += stats.n_seals;
    w->n_merges += stats.n_merges;
    w->n_checkpoints += stats.n_checkpoints;
}

static void world_end(struct sealworld *w)
{
    w->log = NULL;
    host_free(w->host);
    w->host = NULL;
    for (int i = 0; i < SEALWORLD_REQUESTS; i++)
        w->requests[i].pending = false;
    world_forget(w, w->first_open); /* what was not committed is nowhere */
}

void sealworld_abandon(struct sealworld *w)
{
    struct log *l = w->log;

    if (l == NULL)
        return;
    world_count(w);
    w->log = NULL; /* requests that are answered now tell nothing */
    log_abandon(l);
    world_end(w);
}

bool sealworld_open(struct sealworld *w, enum simio_mode mode, bool may_fail)
{
    struct sealstart s;

    sealstart_run(&s, w, w->disk, SEALWORLD_DIR, false);
    if (s.rc != OK && may_fail && s.why[0] == '\0') {
        sealstart_end(&s);
        return false;
    }
    if (s.rc != OK)
        start_fails(&s, "the start failed: %.300s", s.err.text);
    if (s.why[0] == '\0')
        start_check(w, s.n, mode, s.why);
    if (s.why[0] != '\0') {
        sealworld_fails(w, "%s", s.why);
        sealstart_end(&s);
        return false;
    }
    world_forget(w, s.n);
    w->log = s.log;
    w->host = s.host;
    w->written = w->durable = log_durable_lsn(w->log);
    w->last_committed = log_last_lsn(w->log);
    w->clock = s.info.last_clock;
    w->failed = false;
    return true;
}

bool sealworld_close(struct sealworld *w, char text[200])
{
    struct err e = { 0 };
    struct log *l = w->log;
    bool ok;

    sealworld_commit(w, false);
    world_count(w);
    w->log = NULL; /* no watermarks from inside: it is freed there */
    host_enter(w->host);
    ok = log_close(l, &e) == OK;
    for (int i = 0; i < SEALWORLD_REQUESTS; i++)
        if (w->requests[i].pending)
            sealworld_fails(w, "log_close leaves a request unanswered");
    if (w->host->why[0] != '\0')
        sealworld_fails(w, "%s", w->host->why);
    if (ok && !w->failed) /* all of it is durable now */
        w->written = w->durable = w->lsn_given;
    if (ok && w->failed)
        sealworld_fails(w, "log_close of a failed log gave no error");
    snprintf(text, 200, "%.199s", ok ? "" : e.text);
    world_end(w);
    return ok;
}

/* ---- operations -------------------------------------------------------------------------------- */

/* What takes space is refused on a full disk, before it comes to the log. */
static bool world_has_room(struct sealworld *w)
{
    bool full = w->log != NULL && log_is_full(w->log);

    w->n_refused += full;
    return !full;
}

/* With threads, the disk belongs to them while a log is open. */
static bool world_is_down(const struct sealworld *w)
{
    return !w->options.threads && simio_is_down(w->disk);
}

/* Work, until the log can take more. */
static bool world_wait(struct sealworld *w)
{
    struct err e;

    for (size_t n = 0; w->log != NULL && log_is_backed_up(w->log); n++) {
        if (log_failure(w->log, &e) != OK || world_is_down(w))
            return false;
        if (n > STEPS_MAX)
            return sealworld_fails(w, "the log stays backed up");
        sealworld_work(w, w->options.threads ? 0 : 1, false);
        if (n % 64 == 63 && !w->options.threads)
            simio_advance_ms(w->disk, 500); /* what failed is tried again after a while */
    }
    return w->log != NULL;
}

static void world_push(struct sealworld *w, const struct op *o)
{
    if (w->n_ops == w->cap_ops) {
        w->cap_ops = w->cap_ops ? 2 * w->cap_ops : 256;
        w->ops = world_alloc(w->ops, w->cap_ops * sizeof *w->ops);
    }
    w->ops[w->n_ops++] = *o;
    model_apply(&w->now, o);
}

/* Appends the record; `o` becomes part of the model, with its ids. */
static bool world_append(struct sealworld *w, struct op *o, const uint8_t *body, size_t len)
{
    struct io *io = simio_io(w->disk);
    uint64_t now = io->wall_ms(io) << 16;
    struct err e = { 0 };
    bool ok;

    if (w->first_open == w->n_ops) {
        w->clock = now > w->clock ? now : w->clock + 1;
        log_set_clock(w->log, w->clock);
    }
    w->role = ROLE_APPEND;
    ok = host_append(w->host, w->log, (enum record_type)o->type, (enum log_class)o->class, body,
                     len, &o->lsn, &e);
    w->role = ROLE_NONE;
    if (!ok) {
        w->n_refused++;
        free(o->ids);
        if (e.code != ERR_FULL && !w->failed)
            sealworld_fails(w, "log_reserve: %s", e.text);
        return false;
    }
    if (o->lsn <= w->lsn_given)
        return sealworld_fails(w, "LSN %" PRIu64 " given after %" PRIu64, o->lsn, w->lsn_given);
    w->lsn_given = o->lsn;
    o->clock = w->clock;
    o->batch = w->n_batches;
    world_push(w, o);
    return true;
}

static uint8_t *name_put(uint8_t *p, uint32_t name)
{
    p = varint_put(varint_put(p, 0), 4); /* database 0 */
    put_u32le(p, name);
    return p + 4;
}

void sealworld_create(struct sealworld *w, uint32_t name, enum log_class class)
{
    struct op o = { .type = RECORD_STREAM, .class = (uint8_t) class, .name = name };
    uint8_t body[64];

    if (world_wait(w) && world_has_room(w) && model_find_name(&w->now, name) == NULL)
        world_append(w, &o, body, (size_t)(name_put(body, name) - body));
}

static void world_add_one(struct sealworld *w, const struct model_stream *s, enum log_class class)
{
    uint64_t r = simio_random(&w->rng);
    struct op o = { .type = r % 9 == 0 ? RECORD_ENTRY_IDMP : RECORD_ENTRY,
                    .class = (uint8_t) class,
                    .oid = s->oid };
    uint8_t body[ENTRY_MAX + 64], *p = varint_put(body, s->oid);

    o.id = s->last;
    o.id.ms += r >> 8 & 3;
    o.id.seq = o.id.ms == s->last.ms ? o.id.seq + 1 : r >> 12 & 3;
    if (o.type == RECORD_ENTRY_IDMP)
        p = slice_put(slice_put(p, slice_str("producer")), slice_str("17"));
    p += entry_make(s->oid, o.id, p);
    world_append(w, &o, body, (size_t)(p - body));
}

void sealworld_add(struct sealworld *w, uint32_t name, size_t n, enum log_class class)
{
    for (size_t i = 0; i < n && world_wait(w) && world_has_room(w); i++) {
        const struct model_stream *s = model_find_name(&w->now, name);
        if (s != NULL)
            world_add_one(w, s, class);
    }
}

/* n_left and bytes_left of a record that removes. */
static uint8_t *left_put(uint8_t *p, const struct model_stream *s, const struct op *o)
{
    uint64_t n = 0, bytes = 0;

    for (size_t i = 0; i < s->n; i++)
        if (!op_removes(o, s->ids[i])) {
            n++;
            bytes += entry_bytes(s->oid, s->ids[i]);
        }
    return varint_put(varint_put(p, n), bytes);
}

void sealworld_remove(struct sealworld *w, uint32_t name, size_t n, enum log_class class)
{
    struct op o = { .type = RECORD_REMOVE, .class = (uint8_t) class };
    const struct model_stream *s;
    uint8_t body[4096], *p;

    s = world_wait(w) ? model_find_name(&w->now, name) : NULL;
    if (s == NULL || s->n == 0)
        return;
    o.oid = s->oid;
    o.ids = world_alloc(NULL, n * sizeof *o.ids);
    for (size_t i = 0; i < n && i < 100; i++) {
        struct id id = s->ids[simio_below(&w->rng, s->n)];
        if (!op_removes(&o, id))
            o.ids[o.n_ids++] = id;
    }
    p = left_put(varint_put(body, s->oid), s, &o);
    p = varint_put(p, o.n_ids);
    for (size_t i = 0; i < o.n_ids; i++)
        p = id_put(p, o.ids[i]);
    if (world_append(w, &o, body, (size_t)(p - body)))
        log_note_garbage(w->log, o.n_ids, 60 * o.n_ids);
}

void sealworld_cut(struct sealworld *w, uint32_t name, size_t keep, enum log_class class)
{
    struct op o = { .type = RECORD_CUT, .class = (uint8_t) class };
    const struct model_stream *s;
    uint8_t body[100], *p;
    size_t n;

    s = world_wait(w) ? model_find_name(&w->now, name) : NULL;
    if (s == NULL || s->n <= keep)
        return;
    n = s->n - keep;
    o.oid = s->oid;
    o.id = keep > 0 ? s->ids[n] : (struct id){ s->last.ms, s->last.seq + 1 };
    p = varint_put(body, s->oid);
    p = left_put(id_put(p, o.id), s, &o);
    if (world_append(w, &o, body, (size_t)(p - body)))
        log_note_garbage(w->log, n, 60 * n);
}

void sealworld_drop(struct sealworld *w, uint32_t name, enum log_class class)
{
    struct op o = { .type = RECORD_UNNAME, .class = (uint8_t) class, .name = name };
    const struct model_stream *s;
    uint8_t body[100], *p;
    uint64_t n, bytes;

    s = world_wait(w) ? model_find_name(&w->now, name) : NULL;
    if (s == NULL)
        return;
    n = s->n;
    bytes = s->bytes;
    o.rev = s->rev;
    p = name_put(body, name);
    *p++ = REASON_DEL;
    p = varint_put(p, s->rev);
    if (world_append(w, &o, body, (size_t)(p - body)))
        log_note_garbage(w->log, n, bytes);
}

void sealworld_rename(struct sealworld *w, uint32_t name, uint32_t to, enum log_class class)
{
    struct op o = { .type = RECORD_NAME, .class = (uint8_t) class, .name = to };
    const struct model_stream *s;
    uint8_t body[100], *p;

    s = world_wait(w) ? model_find_name(&w->now, name) : NULL;
    if (s == NULL)
        return;
    o.oid = s->oid;
    p = varint_put(varint_put(name_put(body, to), s->oid), 0);
    world_append(w, &o, body, (size_t)(p - body));
}

void sealworld_flush(struct sealworld *w, enum log_class class)
{
    struct op o = { .type = RECORD_FLUSH, .class = (uint8_t) class };
    uint8_t body[4] = { 0 };

    if (world_wait(w))
        world_append(w, &o, body, 1);
}

/* ---- values ---- */

/* The ID that the next record has as a change. */
static struct id world_next_id(struct sealworld *w)
{
    struct io *io = simio_io(w->disk);
    uint64_t now = io->wall_ms(io) << 16, clock = w->clock;

    if (w->first_open == w->n_ops)
        clock = now > w->clock ? now : w->clock + 1;
    return (struct id){ clock >> 16, log_last_lsn(w->log) + 1 };
}

static void world_change(struct sealworld *w, uint32_t key, bool set, enum log_class class)
{
    struct op o = { .type = RECORD_CHANGE, .class = (uint8_t) class, .name = key, .set = set };
    bool was = model_find_value(&w->now, key) != NULL;
    uint8_t body[ENTRY_MAX + 64], *p = varint_put(body, LOG_CHANGES_OID);

    o.id = world_next_id(w);
    p += change_make(&o, p);
    if (world_append(w, &o, body, (size_t)(p - body)) && was)
        log_note_garbage(w->log, 1, 100);
}

void sealworld_set(struct sealworld *w, uint32_t name, size_t n, enum log_class class)
{
    for (uint32_t i = 0; i < n && world_wait(w) && world_has_room(w); i++)
        world_change(w, name + i, true, class);
}

void sealworld_unset(struct sealworld *w, uint32_t name, size_t n, enum log_class class)
{
    for (uint32_t i = 0; i < n && world_wait(w); i++)
        if (model_find_value(&w->now, name + i) != NULL)
            world_change(w, name + i, false, class);
}

void sealworld_forget(struct sealworld *w, size_t n, enum log_class class)
{
    struct op o = { .type = RECORD_HISTORY, .class = (uint8_t) class };
    size_t i = w->n_ops;
    uint8_t body[40];

    for (; i > 0 && n > 0; i--)
        if (w->ops[i - 1].type == RECORD_CHANGE) {
            o.id = w->ops[i - 1].id;
            n--;
        }
    if (!world_wait(w))
        return;
    if (n > 0 || o.id.seq == 0) /* nothing to keep: nothing is history up to now */
        o.id = world_next_id(w);
    if (o.id.seq > w->now.history && world_append(w, &o, body, (size_t)(id_put(body, o.id) - body)))
        log_note_garbage(w->log, 10, 1000);
}

void sealworld_commit(struct sealworld *w, bool sync_now)
{
    if (w->log == NULL)
        return;
    w->n_batches += w->first_open < w->n_ops;
    w->first_open = w->n_ops;
    w->last_committed = log_last_lsn(w->log);
    if (log_open_bytes(w->log) > w->largest_batch)
        w->largest_batch = log_open_bytes(w->log);
    w->role = ROLE_COMMIT;
    log_commit(w->log, sync_now);
    w->role = ROLE_NONE;
    sealworld_poll(w);
}

/* ---- background work --------------------------------------------------------------------------- */

static bool world_turn(struct sealworld *w)
{
    char why[JUDGE_WHY_MAX] = "";
    bool more;

    w->role = ROLE_TURN;
    more = turn(w->log, w->host, why);
    w->role = ROLE_NONE;
    if (why[0] != '\0')
        sealworld_fails(w, "%s", why);
    if (w->host->why[0] != '\0')
        sealworld_fails(w, "%s", w->host->why);
    return more;
}

/* With threads: turns, and waits for news while somebody waits for the log. */
static void world_work_threads(struct sealworld *w, size_t n)
{
    for (size_t i = 0; sealworld_holds(w) && !w->failed; i++) {
        bool more = world_turn(w);
        bool waits = sealworld_is_asking(w) || log_is_backed_up(w->log);
        sealworld_poll(w);
        if (!more && (!waits || n > 0))
            return;
        while (!more && sem_wait(&w->host->progress) != 0) /* interrupted */
            ;
    }
}

/* The engine turns between batches only: so what is open is committed before. */
void sealworld_work(struct sealworld *w, size_t n, bool random)
{
    bool more = true;

    if (w->log != NULL && w->first_open < w->n_ops)
        sealworld_commit(w, false);
    if (w->log != NULL && w->options.threads) {
        world_work_threads(w, n);
        return;
    }
    for (size_t i = 0; w->log != NULL && more && (n == 0 || i < n) && sealworld_holds(w); i++) {
        w->role = ROLE_STEP;
        host_enter(w->host); /* without threads a step may be a turn */
        more = random ? log_step_pick(w->log, simio_random(&w->rng)) : log_step(w->log);
        host_leave(w->host);
        w->role = ROLE_NONE;
        sealworld_poll(w);
        if (!random || !more || simio_below(&w->rng, 2))
            more = world_turn(w) || more;
        sealworld_poll(w);
        if (simio_is_down(w->disk) || w->failed)
            return;
        if (i > STEPS_MAX)
            sealworld_fails(w, "there is always more work to do");
    }
}

static void backup_check(struct sealworld *w, const struct sealworld_request *q)
{
    struct simio *copy = simio_copy(w->disk);
    struct sealstart s;

    simio_crash(copy, SIMIO_PREFIX, 0); /* a backup that is done is durable */
    sealstart_run(&s, w, copy, q->dir, false);
    if (s.rc != OK)
        start_fails(&s, "the start failed: %.300s", s.err.text);
    else if (s.n != ops_upto(w, q->r.lsn))
        start_fails(&s, "%zu operations, there are %zu up to LSN %" PRIu64, s.n,
                    ops_upto(w, q->r.lsn), q->r.lsn);
    if (s.why[0] != '\0')
        sealworld_fails(w, "backup %s: %s", q->dir, s.why);
    sealstart_end(&s);
    simio_free(copy);
}

static void world_on_done(struct log_request *r, int rc, const struct err *e)
{
    struct sealworld_request *q = (struct sealworld_request *)r;
    struct sealworld *w = q->w;

    if (!q->pending)
        sealworld_fails(w, "a request is answered twice");
    q->pending = false;
    q->rc = rc;
    snprintf(q->text, sizeof q->text, "%.199s", rc == OK ? "" : e->text);
    if (w->log != NULL && rc != OK && !w->faulty && !w->failed && !w->limited)
        sealworld_fails(w, "request %d failed: %s", (int)q->what, q->text);
    if (rc == OK && q->what == ASK_BACKUP) {
        w->n_backups++;
        if (w->log != NULL)
            backup_check(w, q);
    }
}

void sealworld_ask(struct sealworld *w, enum sealworld_what what)
{
    struct sealworld_request *q = NULL;

    for (int i = 0; i < SEALWORLD_REQUESTS; i++)
        if (!w->requests[i].pending)
            q = &w->requests[i];
    if (w->log == NULL || q == NULL)
        return;
    sealworld_commit(w, false);
    memset(q, 0, sizeof *q);
    q->w = w;
    q->pending = true;
    q->what = what;
    q->r.done = world_on_done;
    snprintf(q->dir, sizeof q->dir, "backup-%" PRIu64, w->n_asked++);
    switch (what) {
    case ASK_SEAL: log_seal(w->log, &q->r); break;
    case ASK_MERGE: log_merge(w->log, &q->r); break;
    case ASK_CHECK: log_check(w->log, &q->r); break;
    default: log_backup(w->log, q->dir, &q->r); break;
    }
}

bool sealworld_is_asking(const struct sealworld *w)
{
    for (int i = 0; i < SEALWORLD_REQUESTS; i++)
        if (w->requests[i].pending)
            return true;
    return false;
}

/* ---- looking ----------------------------------------------------------------------------------- */

void sealworld_poll(struct sealworld *w)
{
    uint64_t durable, written;
    struct log_stats stats;
    struct err e = { 0 };

    if (w->log == NULL)
        return;
    durable = log_durable_lsn(w->log);
    written = log_written_lsn(w->log);
    if (durable < w->durable || written < w->written)
        sealworld_fails(w, "a watermark went back");
    if (durable > written || written > w->last_committed)
        sealworld_fails(w, "watermarks: durable %" PRIu64 ", written %" PRIu64 ", last %" PRIu64,
                        durable, written, w->last_committed);
    if (w->failed && (durable > w->durable || written > w->written))
        sealworld_fails(w, "a watermark moved after the log had failed");
    w->durable = durable;
    w->written = written;
    w->failed = log_failure(w->log, &e) != OK;
    w->was_full = w->was_full || log_is_full(w->log);
    if (!w->options.threads)
        w->limited = w->limited || simio_capacity(w->disk) > 0;
    if (w->role != ROLE_NONE)
        return;
    log_get_stats(w->log, &stats);
    if (!w->limited && stats.unsealed_bytes > 3 * (w->options.part_bytes + w->largest_batch))
        sealworld_fails(w, "%" PRIu64 " bytes are unsealed", stats.unsealed_bytes);
}

void sealworld_compare(struct sealworld *w)
{
    struct sealstart s = { .w = w, .host = w->host, .log = w->log };

    if (w->log == NULL)
        return;
    compare_with(&s, w->host, &w->now);
    if (s.rc != OK && (w->faulty || world_is_down(w)))
        w->n_bad_reads++;
    else if (s.rc != OK)
        start_fails(&s, "a read failed: %.300s", s.err.text);
    if (s.why[0] != '\0')
        sealworld_fails(w, "%s", s.why);
}

void sealworld_check_changes(struct sealworld *w)
{
    struct sealed sealed;
    struct reader reader;
    struct err e = { 0 };
    uint64_t n = 0, bytes = 0, want = 0;
    int rc;

    log_get_sealed(w->log, LOG_CHANGES_OID, ID_MIN, NULL, ID_MAX, &sealed);
    reader_init(&reader, &sealed, log_cache(w->log), log_sync_decoder(w->log), NULL);
    rc = reader_count(&reader, ID_MIN, ID_MAX, UINT64_MAX, &n, &bytes, &e);
    reader_fini(&reader);
    sealed_fini(&sealed);
    for (size_t i = 0; i < w->n_ops; i++)
        want += w->ops[i].type == RECORD_CHANGE && w->ops[i].lsn >= w->now.history;
    for (size_t i = 0; i < w->now.n_values; i++)
        want += w->ops[w->now.values[i].op].lsn < w->now.history;
    if (rc != OK || n + w->host->changes.n_tail != want)
        sealworld_fails(
            w, "%" PRIu64 " changes are sealed, %zu not; %" PRIu64 " live or are history; %s", n,
            w->host->changes.n_tail, want, e.text);
}

struct files {
    struct sealworld *w;
    uint64_t n_segments, n_checkpoints;
};

static void files_each(void *ctx, const char *path)
{
    struct files *f = ctx;
    const char *name = path + sizeof SEALWORLD_DIR;

    if (strncmp(path, SEALWORLD_DIR "/", sizeof SEALWORLD_DIR) != 0)
        return; /* of a backup */
    if (strncmp(name, "st-", 3) == 0 && strstr(name, ".tmp") == NULL)
        f->n_segments++;
    else if (strncmp(name, "ckpt-", 5) == 0 && strstr(name, ".tmp") == NULL)
        f->n_checkpoints++;
    else if (strncmp(name, "wal-", 4) != 0 && strcmp(name, "STORE") != 0 &&
             strcmp(name, "work-reserve") != 0 && strcmp(name, "MANIFEST") != 0 &&
             strncmp(name, "quarantine/", 11) != 0)
        sealworld_fails(f->w, "the file %s belongs to nothing", path);
}

void sealworld_check_files(struct sealworld *w, uint64_t max_bytes)
{
    struct files f = { .w = w };
    struct log_stats stats;

    log_get_stats(w->log, &stats);
    simio_each_file(w->disk, files_each, &f);
    if (f.n_segments != stats.n_segments)
        sealworld_fails(w, "%" PRIu64 " segments, %" PRIu64 " files of segments", stats.n_segments,
                        f.n_segments);
    if (f.n_checkpoints > MANIFEST_CHECKPOINTS_MAX)
        sealworld_fails(w, "%" PRIu64 " checkpoints are kept", f.n_checkpoints);
    if (max_bytes > 0 && simio_used_bytes(w->disk) > max_bytes)
        sealworld_fails(w, "all is deleted and merged, and %" PRIu64 " bytes remain",
                        simio_used_bytes(w->disk));
}

void sealworld_on_op(struct sealworld *w, const struct simio_op *op)
{
    bool wal = strncmp(op->path, SEALWORLD_DIR "/wal-", sizeof SEALWORLD_DIR + 4) == 0;

    if (w->role == ROLE_TURN)
        sealworld_fails(w, "log_turn does %s of %s", simio_kind_name(op->kind), op->path);
    if (w->role == ROLE_APPEND && op->kind != SIMIO_SPACE)
        sealworld_fails(w, "an append does %s of %s", simio_kind_name(op->kind), op->path);
    if (w->role == ROLE_COMMIT && !(wal && (op->kind == SIMIO_WRITE || op->kind == SIMIO_SYNC)))
        sealworld_fails(w, "a commit does %s of %s", simio_kind_name(op->kind), op->path);
}
