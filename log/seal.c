/*
 * seal.c - from the order of the log to the order of streams.
 *
 * A part of the arena has records as they came, of all streams and kinds. Its segment has the entries among them,
 * clustered by stream: so a stream's entries lie together, compress well, and are read with few reads. The
 * other records are not sealed; what they did is in the host's checkpoints.
 *
 *   collect   walk the runs twice: count the entries, then note where each is. 16 bytes an entry, which is all the
 *             memory that sealing takes beyond its blocks.
 *   sort      by (oid, place). Places ascend with the LSN, so a stream's entries stay in their order, which
 *             is that of their IDs. A part with one stream is sorted already, and only seen to be.
 *   write     for a slice of streams at a time, ask which entries are still wanted, put those into the segment.
 *
 * The changes of the cache's values are a stream as well, the one with the lowest oid. Of them everything is sealed that is
 * history, which is nearly always the whole part: nobody is asked about them then. Of what is older those that are all of a
 * value are sealed while it is that value (log_host.live_changes), a range of LSNs at a time. The set of those says it alone: what
 * is overwritten leaves the set and never comes back to it, so there is nothing to remember of what has been left out.
 *
 *   L1  Every entry of the part that its stream still wants is in the segment once. What is left out was below the floor,
 *       of a dead stream, or in the set of deleted IDs as it was when asked: only of the last may be forgotten
 *       that it was deleted (seal_stream.folded), and nothing that was deleted after the question.
 */
#include "log/seal.h"

#include <assert.h>
#include <stdlib.h>
#include "log/bug.h"
#include "log/delset.h"
#include "log/entry.h"
#include "log/log.h"
#include "log/record.h"

/* Where an entry is: `offset` bytes into run `run` of the part. */
struct seal_entry {
    uint64_t oid;
    uint32_t run, offset;
};

struct seal_fold {
    uint64_t oid;
    struct delset *deletes; /* a reference */
};

enum seal_state { SEAL_COLLECT, SEAL_WRITE, SEAL_DONE };

struct seal {
    struct seal_options o;
    enum seal_state state;
    struct seal_entry *entries;
    size_t n;
    size_t asked, at; /* entries[asked .. at) are of the streams that have been asked for */
    size_t at_state;  /* of these, those before it have been written */
    struct states states;
    struct segment_writer *writer; /* from the first live entry on */
    bool has_segment;
    struct segment_info info;
    struct seal_fold *folds; /* in order of oid */
    size_t n_folds, cap_folds;
    size_t next, next_fold; /* of seal_next_stream */
};

int seal_new(const struct seal_options *o, struct seal **out, struct err *e)
{
    struct seal *s = calloc(1, sizeof *s);

    assert(o->slice >= 1 && o->slice <= STATES_MAX);
    if (s == NULL)
        return err_set(e, ERR_NOMEM, "no memory to seal records %llu to %llu",
                       (unsigned long long)o->out.lsn_first, (unsigned long long)o->out.lsn_last);
    s->o = *o;
    *out = s;
    return OK;
}

void seal_free(struct seal *s)
{
    if (s == NULL)
        return;
    segment_discard(s->writer);
    states_clear(&s->states);
    for (size_t i = 0; i < s->n_folds; i++)
        delset_unref(s->folds[i].deletes);
    free(s->folds);
    free(s->entries);
    free(s);
}

/* ---- collecting ---- */

/* The entry in a record's bytes (type and body); NULL if it has none, or none that is whole. */
static const uint8_t *seal_find(struct slice record, uint64_t *oid)
{
    const uint8_t *p = record.p + 1, *end = record.p + record.n;
    struct slice producer, iid;

    if (record.n == 0 || !varint_get(&p, end, oid) ||
        (*oid == LOG_CHANGES_OID) != (record.p[0] == RECORD_CHANGE))
        return NULL;
    switch (record.p[0]) {
    case RECORD_ENTRY:
    case RECORD_CHANGE: return p;
    case RECORD_ENTRY_IDMP:
        return slice_get(&p, end, &producer) && slice_get(&p, end, &iid) ? p : NULL;
    default: return NULL;
    }
}

/* Walks run i: counts its entries and, with `to`, notes where they are. False if it is no sequence of records. */
static bool seal_walk(const struct seal *s, size_t i, struct seal_entry *to, size_t *n)
{
    const struct arena_run *run = &s->o.part->runs[i];
    const uint8_t *p = run->p, *end = p + run->n;
    struct slice record;

    while (p < end) {
        const uint8_t *entry;
        uint64_t oid;
        struct id id;

        if (!slice_get(&p, end, &record))
            return false;
        entry = seal_find(record, &oid);
        if (entry == NULL)
            continue;
        if (to != NULL && !entry_check(entry, record.p + record.n, &id))
            continue; /* of a stream that is long gone: else the host had not taken it */
        if (to != NULL)
            to[*n] = (struct seal_entry){ oid, (uint32_t)i, (uint32_t)(entry - run->p) };
        (*n)++;
    }
    return true;
}

static int seal_compare(const void *a, const void *b)
{
    const struct seal_entry *x = a, *y = b;

    if (x->oid != y->oid)
        return x->oid < y->oid ? -1 : 1;
    if (x->run != y->run)
        return x->run < y->run ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void seal_sort(struct seal *s)
{
    for (size_t i = 1; i < s->n; i++)
        if (s->entries[i].oid < s->entries[i - 1].oid) {
            qsort(s->entries, s->n, sizeof s->entries[0], seal_compare);
            return;
        }
}

static int seal_collect(struct seal *s, struct err *e)
{
    const struct arena *part = s->o.part;
    size_t n = 0;
    bool sound = part->n_runs <= UINT32_MAX;

    for (size_t i = 0; sound && i < part->n_runs; i++)
        sound = part->runs[i].n <= UINT32_MAX && seal_walk(s, i, NULL, &n);
    if (!sound)
        return err_set(e, ERR_CORRUPT, "sealing: memory does not hold records %llu to %llu",
                       (unsigned long long)part->first_lsn, (unsigned long long)part->last_lsn);
    s->entries = malloc((n + 1) * sizeof s->entries[0]);
    if (s->entries == NULL)
        return err_set(e, ERR_NOMEM, "no memory to seal %zu entries", n);
    for (size_t i = 0; i < part->n_runs; i++)
        sound = seal_walk(s, i, s->entries, &s->n);
    assert(s->n <= n);
    seal_sort(s);
    return OK;
}

/* ---- writing ---- */

/* The bytes of an entry. */
static const uint8_t *seal_entry_at(const struct seal *s, size_t i, size_t *len)
{
    const struct seal_entry *x = &s->entries[i];
    const uint8_t *entry = s->o.part->runs[x->run].p + x->offset, *p;
    struct slice string;
    struct id id;
    uint64_t n;

    p = entry_varint(entry_id(entry, &id), &n);
    for (n *= 2; n > 0; n--)
        p = entry_str(p, &string);
    *len = (size_t)(p - entry);
    return entry;
}

static struct id seal_id_at(const struct seal *s, size_t i)
{
    const struct seal_entry *x = &s->entries[i];
    struct id id;

    entry_id(s->o.part->runs[x->run].p + x->offset, &id);
    return id;
}

static void seal_codec(const struct seal *s, const struct log_stream_state *st,
                       enum block_codec *codec, int *level)
{
    static const enum block_codec codecs[] = {
        [LOG_CODEC_NONE] = BLOCK_NONE, [LOG_CODEC_LZ4] = BLOCK_LZ4, [LOG_CODEC_ZSTD] = BLOCK_ZSTD
    };

    *codec = st->codec == LOG_CODEC_AUTO ? s->o.auto_codec : codecs[st->codec];
    *level = st->codec == LOG_CODEC_AUTO ? s->o.auto_level : st->level;
}

/* Of the changes, what has to be known is known. */
static bool seal_is_live(const struct seal *s, uint64_t oid, const struct log_stream_state *st,
                         struct id id)
{
    if (!st->alive)
        return false;
    if (oid == LOG_CHANGES_OID)
        return id.seq >= st->keep_from.seq || states_change_lives(&s->states, id.seq);
    return id_cmp(id, st->floor) >= 0 && (BUG(BUG_SEAL_REVIVES) || !delset_has(st->deletes, id));
}

/* Whether a change can only be judged once it has been asked, which is done then. */
static bool seal_asks_change(struct seal *s, uint64_t oid, const struct log_stream_state *st,
                             uint64_t lsn)
{
    if (oid != LOG_CHANGES_OID || !st->alive || lsn >= st->keep_from.seq ||
        states_know_changes(&s->states, lsn, lsn))
        return false;
    states_ask_changes(&s->states, lsn, st->keep_from.seq);
    return true;
}

/* Keeps the set for whoever forgets it once the segment counts. */
static int seal_fold(struct seal *s, uint64_t oid, struct log_stream_state *st, struct err *e)
{
    if (s->n_folds == s->cap_folds) {
        size_t cap = s->cap_folds == 0 ? 16 : 2 * s->cap_folds;
        struct seal_fold *folds = realloc(s->folds, cap * sizeof *folds);
        if (folds == NULL)
            return err_set(e, ERR_NOMEM, "no memory to seal %zu entries", s->n);
        s->folds = folds;
        s->cap_folds = cap;
    }
    s->folds[s->n_folds++] = (struct seal_fold){ oid, st->deletes };
    st->deletes = NULL;
    return OK;
}

/* Puts the live entries of the stream that begins (or goes on) at entries[*i]; *i moves behind it, or to where something
 * has to be asked. */
static int seal_write_stream(struct seal *s, size_t *i, struct log_stream_state *st, struct err *e)
{
    uint64_t oid = s->entries[*i].oid;
    size_t first = *i;
    enum block_codec codec;
    int level, rc = OK;

    seal_codec(s, st, &codec, &level);
    for (; rc == OK && *i < s->n && s->entries[*i].oid == oid; (*i)++) {
        struct id id = seal_id_at(s, *i);
        const uint8_t *entry;
        size_t len;

        if (seal_asks_change(s, oid, st, id.seq))
            return OK;
        if (!seal_is_live(s, oid, st, id))
            continue;
        if (s->writer == NULL)
            rc = segment_create(&s->o.out, &s->writer, e);
        entry = seal_entry_at(s, *i, &len);
        if (rc == OK)
            rc = segment_put(s->writer, oid, entry, len, codec, level, e);
    }
    if (rc == OK && st->alive &&
        delset_count(st->deletes, seal_id_at(s, first), seal_id_at(s, *i - 1)) > 0)
        rc = seal_fold(s, oid, st, e);
    return rc;
}

static int seal_write(struct seal *s, struct err *e)
{
    struct states *t = &s->states;

    while (s->at_state < t->n) {
        int rc = seal_write_stream(s, &s->asked, &t->states[s->at_state], e);
        if (rc != OK || t->changes.asked)
            return rc;
        s->at_state++;
    }
    assert(s->asked == s->at);
    states_clear(t);
    s->at_state = 0;
    return OK;
}

/* Notes the streams of the next slice; false if there is none. */
static bool seal_ask(struct seal *s)
{
    struct states *t = &s->states;

    while (s->at < s->n) {
        uint64_t oid = s->entries[s->at].oid;
        if (t->n == 0 || t->oids[t->n - 1] != oid) {
            if (t->n == s->o.slice)
                break;
            t->oids[t->n++] = oid;
        }
        s->at++;
    }
    return t->n > 0;
}

static int seal_finish(struct seal *s, struct err *e)
{
    struct segment_writer *w = s->writer;

    s->writer = NULL;
    if (w == NULL)
        return OK;
    s->has_segment = true;
    return segment_finish(w, &s->info, e);
}

int seal_step(struct seal *s, enum step *out, struct err *e)
{
    int rc = OK;

    assert(s->state != SEAL_DONE);
    if (s->state == SEAL_COLLECT)
        rc = seal_collect(s, e);
    else
        rc = seal_write(s, e);
    s->state = SEAL_WRITE;
    *out = STEP_ASKS;
    if (rc == OK && !s->states.changes.asked && !seal_ask(s)) {
        rc = seal_finish(s, e);
        s->state = SEAL_DONE;
        *out = STEP_DONE;
    }
    return rc;
}

struct states *seal_states(struct seal *s)
{
    return &s->states;
}

/* ---- the result ---- */

bool seal_result(const struct seal *s, struct segment_info *out)
{
    assert(s->state == SEAL_DONE);
    *out = s->info;
    return s->has_segment;
}

bool seal_next_stream(struct seal *s, struct seal_stream *out)
{
    uint64_t oid;
    size_t first = s->next;

    if (first == s->n)
        return false;
    oid = s->entries[first].oid;
    while (s->next < s->n && s->entries[s->next].oid == oid)
        s->next++;
    *out = (struct seal_stream){ .oid = oid,
                                 .first = seal_id_at(s, first),
                                 .last = seal_id_at(s, s->next - 1) };
    if (s->next_fold < s->n_folds && s->folds[s->next_fold].oid == oid)
        out->folded = s->folds[s->next_fold++].deletes;
    return true;
}
