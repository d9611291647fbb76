/*
 * deadletter.c - entries that have failed for the last time move to the dead-letter stream of their group.
 *
 * A dead letter is an entry like any other, so that everything that reads streams can read it. Its own fields come first, as
 * they were, then six that say where it is from; they are found again from the end, where they stand in this order, so
 * that a dead letter that dies once more is told from its own origin:
 *
 *   own fields ... | beck-origin-stream beck-origin-id beck-origin-group beck-consumer beck-deliveries beck-reason
 *
 * Of an entry that is gone from its stream there is only the second part, with the reason `gone`.
 *
 * A move is decided first: all entries are read and copied, memory and room in the log are had. Then come its records, the
 * stream if it is not there, the copies, the acknowledgement, with nothing between them that ends a batch. So after a crash
 * an entry is in one of the two places.
 *
 *   L1  Either all of the entries move or none does, in one batch.
 *   L2  What is acknowledged has been copied, unless the stream has it no more.
 *   L3  Nothing moves into the stream that it comes from.
 */
#include "broker/engine/deadletter.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/cache/changes.h"
#include "broker/engine/cursor.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/retention.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"

enum { DEADLETTER_FIELDS = 6, DEADLETTER_RECORDS = 3 /* without the copies */ };

static const char *const deadletter_names[DEADLETTER_FIELDS] = {
    "beck-origin-stream", "beck-origin-id",  "beck-origin-group",
    "beck-consumer",      "beck-deliveries", "beck-reason",
};

static const char *const deadletter_reasons[] = {
    [DEADLETTER_TIMEOUT] = "timeout",
    [DEADLETTER_NACK] = "nack",
    [DEADLETTER_FATAL] = "fatal",
    [DEADLETTER_GONE] = "gone",
};

/* ---- one entry ---- */

/* Reads "<ms>-<seq>", as id_format writes it. */
static bool deadletter_parse_id(struct slice text, struct id *out)
{
    const uint8_t *dash = text.n == 0 ? NULL : memchr(text.p, '-', text.n);
    size_t n;

    if (dash == NULL)
        return false;
    n = (size_t)(dash - text.p);
    return id_parse_u64(slice_of(text.p, n), &out->ms) &&
           id_parse_u64(slice_of(dash + 1, text.n - n - 1), &out->seq);
}

bool deadletter_parse(const uint8_t *entry, struct deadletter *out)
{
    struct slice values[DEADLETTER_FIELDS], name, value;
    struct deadletter d;
    const uint8_t *p;
    uint64_t n;

    p = entry_varint(entry_id(entry, &d.id), &n);
    if (n < DEADLETTER_FIELDS)
        return false;
    d.n_own = n - DEADLETTER_FIELDS;
    d.own.p = p;
    for (uint64_t i = 0; i < d.n_own; i++)
        p = entry_str(entry_str(p, &name), &value);
    d.own.n = (size_t)(p - d.own.p);
    for (size_t i = 0; i < DEADLETTER_FIELDS; i++) {
        p = entry_str(entry_str(p, &name), &values[i]);
        if (!slice_equal(name, slice_str(deadletter_names[i])))
            return false;
    }
    if (!deadletter_parse_id(values[1], &d.id))
        return false;
    d.stream = values[0];
    d.group = values[2];
    d.consumer = values[3];
    d.reason = values[5];
    *out = d;
    return true;
}

struct deadletter_copy {
    uint8_t *body; /* number of fields, names, values; owned */
    size_t len;
};

struct deadletter_move {
    struct engine *engine;
    struct stream *st;
    struct group *group;
    const struct pel_entry *entries;
    const bool *fatal;
    size_t n, n_gone;
    size_t bytes; /* of all copies */
    struct deadletter_copy copies[DEADLETTER_BATCH];
};

static enum deadletter_reason deadletter_why(const struct deadletter_move *m, size_t i, bool gone)
{
    const struct pel_entry *x = &m->entries[i];

    if (gone)
        return DEADLETTER_GONE;
    if (m->fatal != NULL)
        return m->fatal[i] ? DEADLETTER_FATAL : DEADLETTER_NACK;
    if (!x->nacked)
        return DEADLETTER_TIMEOUT;
    return x->count == PEL_COUNT_FATAL ? DEADLETTER_FATAL : DEADLETTER_NACK;
}

struct deadletter_texts { /* what the values point into */
    char id[ID_TEXT_MAX], deliveries[24];
};

static void deadletter_values(const struct deadletter_move *m, size_t i, bool gone,
                              struct deadletter_texts *t, struct slice out[DEADLETTER_FIELDS])
{
    const struct pel_entry *x = &m->entries[i];
    const struct consumer *c = group_consumer_at(m->group, x->slot);

    snprintf(t->deliveries, sizeof t->deliveries, "%" PRIu64, x->count);
    out[0] = stream_name(m->st);
    out[1] = slice_of(t->id, id_format(x->id, t->id));
    out[2] = m->group->name;
    out[3] = c == NULL ? slice_of("", 0) : c->name;
    out[4] = slice_str(t->deliveries);
    out[5] = slice_str(deadletter_reasons[deadletter_why(m, i, gone)]);
}

/* Makes the copy of entry i; `entry` NULL: it is gone. Errors: ERR_TOO_BIG, ERR_NOMEM. */
static int deadletter_copy(struct deadletter_move *m, size_t i, const uint8_t *entry,
                           struct err *err)
{
    struct slice values[DEADLETTER_FIELDS], own = slice_of("", 0);
    struct deadletter_copy *copy = &m->copies[i];
    struct deadletter_texts texts = { "", "" };
    uint64_t n = 0;
    struct id id;
    uint8_t *p;

    deadletter_values(m, i, entry == NULL, &texts, values);
    if (entry != NULL) {
        own.p = entry_varint(entry_id(entry, &id), &n);
        own.n = (size_t)(entry_end(entry) - own.p);
    }
    copy->len = varint_size(n + DEADLETTER_FIELDS) + own.n;
    for (size_t k = 0; k < DEADLETTER_FIELDS; k++)
        copy->len += slice_size(slice_str(deadletter_names[k])) + slice_size(values[k]);
    m->bytes += copy->len;
    if (m->bytes > m->engine->config->max_batch_bytes ||
        (m->n > 1 && m->bytes > DEADLETTER_BYTES_MAX))
        return err_set(err, ERR_TOO_BIG, "%zu bytes of dead letters at once", m->bytes);
    copy->body = malloc(copy->len);
    if (copy->body == NULL)
        return err_set(err, ERR_NOMEM, "a dead letter of %zu bytes", copy->len);
    p = varint_put(copy->body, n + DEADLETTER_FIELDS);
    memcpy(p, own.p, own.n);
    p += own.n;
    for (size_t k = 0; k < DEADLETTER_FIELDS; k++)
        p = slice_put(slice_put(p, slice_str(deadletter_names[k])), values[k]);
    assert(p == copy->body + copy->len);
    return OK;
}

/* ---- reading ---- */

/* Copies the entry with that ID, where the cursor can find it. Errors: as of the cursor, and of deadletter_copy. */
static int deadletter_read(struct deadletter_move *m, struct cursor *cursor, size_t i,
                           struct err *err)
{
    const struct pel_entry *x = &m->entries[i];
    const uint8_t *entry = NULL;
    struct id id;
    int rc = OK;

    if (!x->gone && id_cmp(x->id, stream_floor(m->st)) >= 0)
        rc = cursor_seek(cursor, x->id, err);
    if (rc != OK)
        return rc;
    if (!x->gone && id_cmp(x->id, stream_floor(m->st)) >= 0)
        entry = cursor_at(cursor);
    if (entry != NULL)
        entry_id(entry, &id);
    if (entry != NULL && id_cmp(id, x->id) != 0)
        entry = NULL;
    m->n_gone += entry == NULL;
    return deadletter_copy(m, i, entry, err);
}

/* Reads all of them; what is missing in memory of any is noted. */
static int deadletter_read_all(struct deadletter_move *m, struct wants *wants, struct err *err)
{
    struct cursor cursor;
    bool cold = false;
    int rc = OK;

    cursor_open(&cursor, m->engine, m->st, CURSOR_RESIDENT, wants);
    cursor_narrow(&cursor, m->entries[0].id, m->entries[m->n - 1].id);
    for (size_t i = 0; i < m->n && rc == OK; i++) {
        rc = deadletter_read(m, &cursor, i, err);
        if (rc != ERR_COLD)
            continue;
        cold = true;
        rc = OK;
    }
    cursor_close(&cursor);
    if (rc == OK && cold)
        rc = err_set(err, ERR_COLD, "dead letters that are not in memory");
    return rc;
}

/* ---- writing ---- */

/* What stands under the name of the dead-letter stream, which may have expired. Errors: ERR_USAGE. */
static int deadletter_target(const struct deadletter_move *m, struct object **out, struct err *err)
{
    struct slice name = group_options(m->group)->dlq;
    struct object *o;

    if (name.n == 0)
        return err_set(err, ERR_USAGE, "the group has no dead-letter stream");
    o = state_find(&m->engine->state, state_db_of(&m->engine->state, &m->st->object), name);
    if (o == &m->st->object) /* L3 */
        return err_set(err, ERR_USAGE, "the dead-letter stream is the stream itself");
    if (o == NULL && changes_is_name(&m->engine->state, name))
        return err_set(err, ERR_USAGE, "the name of the dead-letter stream is that of changes");
    if (o != NULL && o->type != OBJECT_STREAM)
        return err_set(err, ERR_USAGE, "the name of the dead-letter stream is that of no stream");
    *out = o;
    return OK;
}

static int deadletter_reserve_log(struct deadletter_move *m, struct err *err)
{
    struct log *log = m->engine->log;
    size_t bytes = grouplog_bound(1, m->n) + m->n * ENGINE_RESERVE_ENTRY + m->bytes +
                   DEADLETTER_RECORDS * ENGINE_RESERVE + 2 * group_options(m->group)->dlq.n;
    int rc;

    if (log_is_full(log))
        return err_set(err, ERR_FULL, "no room left on disk");
    rc = log_reserve(log, bytes, err);
    if (rc == ERR_TOO_BIG && log_open_bytes(log) > 0) {
        log_commit(log, false);
        rc = log_reserve(log, bytes, err);
    }
    return rc;
}

/* Everything is ready: nothing can fail from here on. */
static void deadletter_write(struct deadletter_move *m, struct client *c, struct stream *dlq)
{
    struct id ids[DEADLETTER_BATCH], id = ID_MIN;
    struct engine *e = m->engine;
    uint64_t n_acked;
    bool there;

    for (size_t i = 0; i < m->n; i++) {
        struct slice body = slice_of(m->copies[i].body, m->copies[i].len);

        there = engine_next_id(e, dlq->last_id, &id);
        assert(there); /* deadletter_has_ids */
        engine_add_entry(e, c, dlq, id, body);
        ids[i] = m->entries[i].id;
    }
    retention_appended(e, dlq);
    n_acked = grouplog_ack(e, c, m->st, m->group, ids, m->n);
    assert(n_acked == m->n); /* L1 */
    redelivery_count_moved(e, m->group, m->n, m->n_gone);
    engine_key_changed(e, dlq->object.db, stream_name(dlq));
    notify(e, NOTIFY_STREAM, "xadd", state_db_of(&e->state, &dlq->object), stream_name(dlq));
}

/* Whether the stream has so many IDs left. */
static bool deadletter_has_ids(const struct stream *dlq, size_t n)
{
    return dlq->last_id.ms != UINT64_MAX || UINT64_MAX - dlq->last_id.seq >= n;
}

/* All has been read. */
static int deadletter_append(struct deadletter_move *m, struct client *c, struct object *target,
                             struct err *err)
{
    struct engine *e = m->engine;
    bool expired = target != NULL && engine_is_expired(e, target);
    struct stream *dlq = stream_of(target);
    struct slice name = group_options(m->group)->dlq;
    bool created = target == NULL || expired;
    int rc = created ? state_reserve_stream(&e->state, name, &dlq, err) : OK;

    if (rc != OK)
        return rc;
    if (!deadletter_has_ids(dlq, m->n))
        rc = err_set(err, ERR_USAGE, "the dead-letter stream has no IDs left");
    if (rc == OK)
        rc = stream_index_reserve(&e->state.tails, &dlq->tail, m->n, err);
    if (rc == OK)
        rc = deadletter_reserve_log(m, err);
    if (rc != OK) {
        if (created)
            state_discard_stream(dlq);
        return rc;
    }
    if (expired)
        engine_unname(e, c, target, REASON_EXPIRE);
    if (created)
        engine_add_stream(e, c, dlq, state_db_of(&e->state, &m->st->object), name);
    deadletter_write(m, c, dlq);
    return OK;
}

int deadletter_move(struct engine *e, struct client *c, struct stream *st, struct group *g,
                    const struct pel_entry *entries, const bool *fatal, size_t n,
                    struct wants *wants, struct err *err)
{
    struct deadletter_move m = { e, st, g, entries, fatal, n, 0, 0, { { NULL, 0 } } };
    struct object *target = NULL;
    int rc = deadletter_target(&m, &target, err);

    assert(n >= 1 && n <= DEADLETTER_BATCH);
    if (rc == OK)
        rc = deadletter_read_all(&m, wants, err);
    if (rc == OK)
        rc = deadletter_append(&m, c, target, err);
    for (size_t i = 0; i < n; i++)
        free(m.copies[i].body);
    return rc;
}
