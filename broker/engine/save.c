/*
 * save.c - objects as a checkpoint has them.
 *
 * The table by oid is scanned by a cursor that resizing does not disturb: every object that is there from the first slice
 * to the last comes at least once, under whatever names it has meanwhile. One that gets another oid (state_set_id)
 * is added to those still to be saved. Objects flushed since are skipped.
 *
 *   stream        | 1 | oid, rev, db, str name, expiry, id last, entries_added, added_when_empty, n_entries, bytes |
 *                 | flags | id floor, id max_deleted | deleted IDs | settings | idempotence |     as the flags say
 *   deleted IDs   | 2 | oid, deleted IDs |
 *   group         | 3 | oid, a group as groups/journal.h has it: its numbers, options, consumers |
 *   history       | 16 | the history of changes and its views, as cache/changes.c has it: before everything else |
 *   pending       | 4 | oid, pending entries of a group as groups/journal.h has them |
 *
 *   deleted IDs   n, n times id             each as the difference to the one before
 *   settings      n, n times tag, value
 *   idempotence   duration, maxsize, iids_added, iids_duplicates, n, n times str producer, str iid, id, time
 *
 * An object has only its first SAVE_DELETES deleted IDs with it; the rest follows by and by, in slices of its own. Those
 * are of a later moment than the object. That does no harm: an ID that is in it too early is one whose record comes.
 *
 * A stream's groups follow it in the same way, each as of its own moment (group.as_of), and behind each its pending entries, some thousand
 * at a time. These too may be of a later moment: effects on them are absolute, so replaying what they have already changes nothing.
 *
 *   value         | 5 | a value: see cache/saved.c |
 *   piece         | 6 | more of one |
 *   number        | 7 | db, n: about so many keys will come |
 *   hash key      | 8 | 16 bytes, by which names are hashed: the first item |
 *
 * Values come after the streams, by a scan of each database's names. One that is renamed meanwhile is saved once more under its new
 * name, since the scan may have been where that is. Nothing makes up for databases that change places: the checkpoint is given up.
 *
 * Where a stream's entries lie is not saved. A loaded one has no tail, and sealed_last is as high as it can be.
 */
#include "broker/engine/save.h"
#include <inttypes.h>
#include <stdlib.h>
#include "broker/cache/changes.h"
#include "broker/engine/idmp.h"
#include "broker/engine/replay.h"
#include "log/bytes.h"

enum {
    SAVE_DELETES = 1 << 14, /* deleted IDs in one go */
    SAVE_HEAD_MAX =
        20 * VARINT_MAX, /* of a stream without name, deleted IDs, settings, idempotence */
    SAVE_WORTH =
        64, /* deleted IDs, idempotence IDs, consumers or pending entries that count as an object */
    SAVE_PENDING_N = 1 << 12,   /* pending entries in one go */
    SAVE_WORTH_BYTES = 1 << 10, /* of contents that count as an object */
    SAVE_EXPECT_MIN = 1 << 10,  /* keys for which room is made beforehand */
    SAVE_EXPECT_MAX = 1 << 25   /* keys that a checkpoint is believed to have, before they come */
};

enum save_kind {
    SAVE_STREAM = 1,
    SAVE_DELETED = 2,
    SAVE_GROUP = 3,
    SAVE_PENDING = 4,
    SAVE_VALUE = 5,
    SAVE_PIECE = 6,
    SAVE_NUMBER = 7,
    SAVE_HASH_KEY = 8,
    SAVE_HISTORY = 16
};

enum save_flags {
    SAVE_HAS_FLOOR = 1, /* and max_deleted */
    SAVE_HAS_DELETES = 2,
    SAVE_HAS_SETTINGS = 4,
    SAVE_HAS_IDMP = 8,
    SAVE_FLAGS = 15
};

/* ---- writing ---- */

/* How many deleted IDs from `from` on go together. */
static size_t save_deletes_n(const struct stream *st, struct id from)
{
    uint64_t n = delset_count(stream_deletes(st), from, ID_MAX);
    return n < SAVE_DELETES ? (size_t)n : SAVE_DELETES;
}

/* Writes n deleted IDs from *from on, which is moved behind them; false if those were the last. */
static bool save_deletes(const struct stream *st, struct id *from, size_t n, uint8_t **p)
{
    struct id last = ID_MIN;

    *p = varint_put(*p, n);
    for (; n > 0 && delset_next(stream_deletes(st), from); n--) {
        uint64_t ms = from->ms - last.ms;
        *p = varint_put(varint_put(*p, ms), ms == 0 ? from->seq - last.seq : from->seq);
        last = *from;
        if (!id_next(from))
            return false;
    }
    return delset_next(stream_deletes(st), from);
}

static uint8_t *save_settings(uint8_t *p, const struct stream_settings *x)
{
    p = varint_put(p, (uint64_t)__builtin_popcount(x->set));
    for (unsigned tag = 1; tag < SETTING_COUNT; tag++)
        if (x->set >> tag & 1)
            p = varint_put(varint_put(p, tag), x->values[tag]);
    return p;
}

static size_t save_idmp_max(const struct stream_idmp *x, size_t *n)
{
    size_t bytes = 5 * VARINT_MAX;
    struct idmp_entry entry;

    *n = 0;
    for (const struct idmp_item *item = NULL; (item = idmp_next(x, item, &entry)) != NULL; ++*n)
        bytes += entry.producer.n + entry.iid.n + 5 * VARINT_MAX;
    return bytes;
}

static uint8_t *save_idmp(uint8_t *p, const struct stream_idmp *x, size_t n)
{
    struct idmp_entry entry;

    p = varint_put(varint_put(p, x->duration_s), x->maxsize);
    p = varint_put(varint_put(p, x->iids_added), x->iids_duplicates);
    p = varint_put(p, n);
    for (const struct idmp_item *item = NULL; (item = idmp_next(x, item, &entry)) != NULL;) {
        p = slice_put(slice_put(p, entry.producer), entry.iid);
        p = varint_put(id_put(p, entry.id), entry.at_ms);
    }
    return p;
}

static unsigned save_flags(const struct stream *st)
{
    bool floor = id_cmp(stream_floor(st), ID_MIN) > 0 || id_cmp(stream_max_deleted(st), ID_MIN) > 0;

    return (floor ? SAVE_HAS_FLOOR : 0u) | (stream_deletes(st) != NULL ? SAVE_HAS_DELETES : 0u) |
           (stream_settings(st)->set != 0 ? SAVE_HAS_SETTINGS : 0u) |
           (stream_idmp(st) != &STREAM_IDMP_NONE ? SAVE_HAS_IDMP : 0u);
}

static uint8_t *save_head(uint8_t *p, const struct stream *st, int db, unsigned flags)
{
    const struct object *o = &st->object;

    *p++ = SAVE_STREAM;
    p = varint_put(varint_put(varint_put(p, st->oid), o->rev), (uint64_t)db);
    p = varint_put(slice_put(p, object_name(o)), o->expiry_ms);
    p = varint_put(id_put(p, st->last_id), st->entries_added);
    p = varint_put(varint_put(varint_put(p, st->added_when_empty), st->n_entries), st->bytes);
    *p++ = (uint8_t)flags;
    if (flags & SAVE_HAS_FLOOR)
        p = id_put(id_put(p, stream_floor(st)), stream_max_deleted(st));
    return p;
}

/* Saves a stream; returns how many objects' worth that was. */
static size_t save_stream(struct save *x, const struct stream *st, struct log_buffer *out)
{
    size_t n_deletes = save_deletes_n(st, ID_MIN), n_idmp = 0;
    size_t idmp = save_idmp_max(stream_idmp(st), &n_idmp);
    unsigned flags = save_flags(st);
    uint8_t *p = log_buffer_grow(out, SAVE_HEAD_MAX + stream_name(st).n +
                                          (2 * n_deletes + 2 * SETTING_COUNT) * VARINT_MAX + idmp);

    if (p == NULL)
        return 1;
    p = save_head(p, st, state_db_of(x->state, &st->object), flags);
    if (flags & SAVE_HAS_DELETES) {
        x->rest = ID_MIN;
        if (save_deletes(st, &x->rest, n_deletes, &p))
            x->rest_oid = st->oid;
    }
    if (flags & SAVE_HAS_SETTINGS)
        p = save_settings(p, stream_settings(st));
    if (flags & SAVE_HAS_IDMP)
        p = save_idmp(p, stream_idmp(st), n_idmp);
    out->n = (size_t)(p - out->p);
    x->groups_oid = groups_n(stream_groups(st)) > 0 ? st->oid : 0;
    x->gid = 0;
    x->in_pending = false;
    return 1 + (n_deletes + n_idmp) / SAVE_WORTH;
}

/* Saves more of the deleted IDs of the stream that was saved last. */
static size_t save_rest(struct save *x, const struct state *s, struct log_buffer *out)
{
    const struct stream *st = state_find_oid(s, x->rest_oid);
    size_t n = st == NULL ? 0 : save_deletes_n(st, x->rest);
    uint8_t *p = n == 0 ? NULL : log_buffer_grow(out, (2 * n + 3) * VARINT_MAX);

    x->rest_oid = 0;
    if (p == NULL)
        return 1;
    *p++ = SAVE_DELETED;
    p = varint_put(p, st->oid);
    if (save_deletes(st, &x->rest, n, &p))
        x->rest_oid = st->oid;
    out->n = (size_t)(p - out->p);
    return 1 + n / SAVE_WORTH;
}

/* ---- groups ---- */

static size_t save_group(struct save *x, uint64_t oid, const struct group *g,
                         struct log_buffer *out)
{
    uint8_t *p = log_buffer_grow(out, 1 + VARINT_MAX + journal_save_group_size(g));

    if (p == NULL)
        return 1;
    *p++ = SAVE_GROUP;
    p = journal_save_group(varint_put(p, oid), g);
    out->n = (size_t)(p - out->p);
    x->gid = g->gid;
    x->in_pending = pel_n(g->pel) + pel_n_parked(g->pel) > 0;
    x->next_pending = ID_MIN;
    return 1 + group_n_consumers(g) / SAVE_WORTH;
}

static size_t save_pending(struct save *x, uint64_t oid, const struct group *g,
                           struct log_buffer *out)
{
    uint64_t n = pel_n(g->pel) + pel_n_parked(g->pel);
    uint8_t *p;

    if (n > x->n_pending)
        n = x->n_pending;
    p = log_buffer_grow(out, 1 + VARINT_MAX + JOURNAL_RECORD_MAX + (size_t)n * JOURNAL_SAVED_MAX);
    if (p == NULL)
        return 1;
    *p++ = SAVE_PENDING;
    p = journal_save_pending(varint_put(p, oid), g, &x->next_pending, (size_t)n, &x->in_pending);
    out->n = (size_t)(p - out->p);
    return 1 + (size_t)n / SAVE_WORTH;
}

/* Saves the next of the stream's groups, or more of what is pending in the one that was saved last. */
static size_t save_groups(struct save *x, const struct state *s, struct log_buffer *out)
{
    const struct stream *st = state_find_oid(s, x->groups_oid);
    const struct groups *gs = st == NULL ? NULL : stream_groups(st);
    const struct group *g = groups_by_gid(gs, x->gid);

    if (x->in_pending && g != NULL)
        return save_pending(x, st->oid, g, out);
    g = groups_next_gid(gs, x->gid);
    if (g != NULL)
        return save_group(x, st->oid, g, out);
    x->groups_oid = 0;
    return 0;
}

/* ---- values ---- */

static bool save_kind_byte(struct log_buffer *out, enum save_kind kind)
{
    uint8_t *p = log_buffer_grow(out, 1);

    if (p == NULL)
        return false;
    *p = (uint8_t)kind;
    out->n++;
    return true;
}

static void save_free_name(struct save_name *x)
{
    free((void *)(uintptr_t)x->name.p);
    *x = (struct save_name){ 0 };
}

void save_found_value(struct save *x, int db, struct slice name)
{
    size_t cap = x->cap_values == 0 ? 16 : x->cap_values * 2;
    struct save_name *values = x->values;
    uint8_t *copy = malloc(name.n + 1);

    if (copy != NULL && x->n_values == x->cap_values) {
        values = realloc(x->values, cap * sizeof *values);
        if (values != NULL) {
            x->values = values;
            x->cap_values = cap;
        }
    }
    if (copy == NULL || values == NULL) {
        free(copy);
        x->failed = true;
        return;
    }
    bytes_copy(copy, name.p, name.n);
    values[x->n_values++] = (struct save_name){ db, slice_of(copy, name.n) };
}

void save_give_up(struct save *x)
{
    x->failed = true;
}

/* By which key names are hashed, and how many there are: a start has room for them at once, and they come in the order of its
 * tables. */
static size_t save_numbers(struct save *x, struct log_buffer *out)
{
    uint8_t *key = log_buffer_grow(out, 1 + sizeof x->state->hash_key);

    x->counted = true;
    if (key == NULL)
        return 1;
    *key = SAVE_HASH_KEY;
    memcpy(key + 1, x->state->hash_key, sizeof x->state->hash_key);
    out->n += 1 + sizeof x->state->hash_key;
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        size_t n = state_names(x->state, db)->n;
        uint8_t *p = n < SAVE_EXPECT_MIN ? NULL : log_buffer_grow(out, 1 + 2 * VARINT_MAX);
        if (p == NULL)
            continue;
        *p++ = SAVE_NUMBER;
        out->n = (size_t)(varint_put(varint_put(p, (uint64_t)db), n) - out->p);
    }
    return 1;
}

/* The value that was found, as it is by now. */
static size_t save_found_one(struct save *x, struct log_buffer *out)
{
    struct save_name *found = &x->values[--x->n_values];
    struct object *o = state_find(x->state, found->db, found->name);
    size_t before = out->n;

    if (o != NULL && object_is_value(o) && save_kind_byte(out, SAVE_VALUE) &&
        saved_put_value(out, found->db, o, x->whole)) {
        x->whose = *found;
        x->at = (struct saved_place){ 0 };
    } else {
        save_free_name(found);
    }
    return 1 + (out->n - before) / SAVE_WORTH_BYTES;
}

static size_t save_piece(struct save *x, struct log_buffer *out)
{
    struct object *o = state_find(x->state, x->whose.db, x->whose.name);
    size_t before = out->n;
    bool hot = o != NULL && object_is_value(o) && !(o->flags & (OBJECT_BACKED | OBJECT_COLD));

    if (!hot || !save_kind_byte(out, SAVE_PIECE) ||
        !saved_put_piece(out, x->whose.db, o, &x->at, x->piece))
        save_free_name(&x->whose);
    return 1 + (out->n - before) / SAVE_WORTH_BYTES;
}

struct save_scan {
    struct save *x;
    struct log_buffer *out;
    size_t worth;
};

/* What is small is saved at once. */
static void save_value_node(void *ctx, struct dict_node *node)
{
    struct object *o = state_of_node(node);
    struct save_scan *scan = ctx;
    size_t before = scan->out->n;
    int db = state_db_of(scan->x->state, o);

    if (!object_is_value(o))
        return;
    if (!(o->flags & OBJECT_BACKED)) {
        save_found_value(scan->x, db, object_name(o));
        return;
    }
    if (save_kind_byte(scan->out, SAVE_VALUE))
        (void)saved_put_value(scan->out, db, o, 0); /* it is backed: nothing follows */
    scan->worth += 1 + (scan->out->n - before) / SAVE_WORTH_BYTES;
}

static size_t save_scan_values(struct save *x, struct log_buffer *out)
{
    struct save_scan scan = { x, out, 0 };

    x->names = dict_scan(&x->state->dbs[x->place].names, x->names, save_value_node, &scan);
    x->place += x->names == 0;
    return scan.worth;
}

static size_t save_values(struct save *x, struct log_buffer *out)
{
    if (x->whose.name.p != NULL)
        return save_piece(x, out);
    if (x->n_values > 0)
        return save_found_one(x, out);
    return save_scan_values(x, out);
}

static bool save_has_values(const struct save *x)
{
    return x->place < CONFIG_DATABASES || x->n_values > 0 || x->whose.name.p != NULL;
}

/* ---- going through all of them ---- */

void save_begin(struct save *x, struct state *s)
{
    *x = (struct save){
        .state = s, .n_pending = SAVE_PENDING_N, .whole = SAVED_WHOLE_MAX, .piece = SAVED_PIECE
    };
    s->save = x;
    changes_save_begin(s);
}

void save_end(struct save *x)
{
    if (x->state != NULL)
        x->state->save = NULL;
    free(x->oids);
    while (x->n_values > 0)
        save_free_name(&x->values[--x->n_values]);
    save_free_name(&x->whose);
    free(x->values);
    *x = (struct save){ 0 };
}

void save_found(struct save *x, uint64_t oid)
{
    size_t cap = x->cap == 0 ? 16 : x->cap * 2;
    uint64_t *oids = x->oids;

    if (x->n == x->cap) {
        oids = realloc(x->oids, cap * sizeof *oids);
        if (oids == NULL) {
            x->failed = true;
            return;
        }
        x->oids = oids;
        x->cap = cap;
    }
    oids[x->n++] = oid;
}

static void save_found_node(void *ctx, struct dict_node *node)
{
    save_found(ctx, state_of_oid_node(node)->oid);
}

static size_t save_history(struct save *x, struct log_buffer *out)
{
    uint8_t *p;

    x->has_history = true;
    if (x->state->history == NULL)
        return 0;
    p = log_buffer_grow(out, 1 + changes_save_max(x->state));
    if (p == NULL)
        return 1;
    *p++ = SAVE_HISTORY;
    p = changes_save(x->state, p);
    out->n = (size_t)(p - out->p);
    return 1;
}

/* A view of changes has been saved, all but its groups; one that is younger comes with its record. */
static size_t save_view(struct save *x, const struct stream *st)
{
    x->groups_oid = changes_is_saved(st) && groups_n(stream_groups(st)) > 0 ? st->oid : 0;
    x->gid = 0;
    x->in_pending = false;
    return 1;
}

/* Saves what is next, or looks for more; returns what that was worth. */
static size_t save_step(struct save *x, struct log_buffer *out)
{
    const struct stream *st;

    if (!x->counted)
        return save_numbers(x, out);
    if (!x->has_history)
        return save_history(x, out);
    if (x->rest_oid != 0)
        return save_rest(x, x->state, out);
    if (x->groups_oid != 0)
        return save_groups(x, x->state, out);
    if (x->n == 0 && x->scanned)
        return save_values(x, out);
    if (x->n == 0) {
        x->cursor = dict_scan(&x->state->oids, x->cursor, save_found_node, x);
        x->scanned = x->cursor == 0;
        return 0;
    }
    st = state_find_oid(x->state, x->oids[--x->n]);
    if (st == NULL)
        return 0;
    return changes_view(st) != NULL ? save_view(x, st) : save_stream(x, st, out);
}

static bool save_is_over(const struct save *x)
{
    return x->scanned && x->n == 0 && x->rest_oid == 0 && x->groups_oid == 0 && !save_has_values(x);
}

bool save_some(struct save *x, size_t budget, struct log_buffer *out)
{
    size_t steps =
        budget * 4; /* empty buckets and objects that are gone are worth little, but not nothing */

    while (budget > 0 && steps-- > 0 && !x->failed && !out->failed) {
        size_t worth;
        if (save_is_over(x))
            return false;
        worth = save_step(x, out);
        budget -= worth < budget ? worth : budget;
    }
    out->failed |= x->failed;
    return !out->failed && !save_is_over(x);
}

/* ---- loading ---- */

struct save_reader {
    const uint8_t *begin, *p, *end;
    uint64_t as_of;
    struct err *e;
};

static int save_corrupt(const struct save_reader *in, const char *what)
{
    return err_set(in->e, ERR_CORRUPT, "checkpoint, what is as of record %" PRIu64 ", byte %zu: %s",
                   in->as_of, (size_t)(in->p - in->begin), what);
}

/* Reads n numbers. */
static int save_get(struct save_reader *in, uint64_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!varint_get(&in->p, in->end, &out[i]))
            return save_corrupt(in, "a number is cut short");
    return OK;
}

static int save_get_id(struct save_reader *in, struct id *out)
{
    return id_get(&in->p, in->end, out) ? OK : save_corrupt(in, "an ID is cut short");
}

static int save_get_slice(struct save_reader *in, struct slice *out)
{
    return slice_get(&in->p, in->end, out) ? OK : save_corrupt(in, "a string is cut short");
}

/* A number of items of at least `bytes` bytes each. */
static int save_get_n(struct save_reader *in, size_t bytes, size_t *out)
{
    uint64_t n = 0;
    int rc = save_get(in, &n, 1);

    if (rc == OK && n > (uint64_t)(in->end - in->p) / bytes)
        rc = save_corrupt(in, "more items than bytes");
    if (rc == OK)
        *out = (size_t)n;
    return rc;
}

static int save_load_deleted(struct save_reader *in, struct id *id)
{
    uint64_t delta[2];
    int rc = save_get(in, delta, 2);

    if (rc != OK)
        return rc;
    if (delta[0] > UINT64_MAX - id->ms || (delta[0] == 0 && delta[1] > UINT64_MAX - id->seq) ||
        (delta[0] == 0 && delta[1] == 0))
        return save_corrupt(in, "deleted IDs do not ascend");
    id->ms += delta[0];
    id->seq = delta[0] == 0 ? id->seq + delta[1] : delta[1];
    return OK;
}

static int save_load_deletes(struct save_reader *in, struct state *s, struct stream *st)
{
    struct id id = ID_MIN;
    size_t n = 0;
    int rc = save_get_n(in, 2, &n);

    if (rc == OK)
        rc = state_prepare_remove(s, st, n, in->e);
    for (; n > 0 && rc == OK; n--) {
        rc = save_load_deleted(in, &id);
        if (rc == OK)
            delset_add(&st->more->deletes, id);
    }
    return rc;
}

static int save_load_settings(struct save_reader *in, struct state *s, struct stream *st)
{
    struct stream_settings x = { 0 };
    uint64_t tag_value[2];
    size_t n = 0;
    int rc = save_get_n(in, 2, &n);

    for (; n > 0 && rc == OK; n--) {
        const char *wrong;
        rc = save_get(in, tag_value, 2);
        if (rc != OK)
            break;
        wrong = state_setting_error(tag_value[0], tag_value[1]);
        if (wrong != NULL)
            return save_corrupt(in, wrong);
        x.set |= 1u << tag_value[0];
        x.values[tag_value[0]] = tag_value[1];
    }
    if (rc == OK)
        rc = state_prepare_configure(st, in->e);
    if (rc == OK)
        state_configure(s, st, x.set, &x);
    return rc;
}

static int save_load_idmp_item(struct save_reader *in, struct state *s, struct stream *st)
{
    struct idmp_entry entry = { 0 };
    int rc = save_get_slice(in, &entry.producer);

    if (rc == OK)
        rc = save_get_slice(in, &entry.iid);
    if (rc == OK)
        rc = save_get_id(in, &entry.id);
    if (rc == OK)
        rc = save_get(in, &entry.at_ms, 1);
    if (rc != OK)
        return rc;
    rc = idmp_restore(st->more->idmp, s->hash_key, &entry, in->e);
    return rc == ERR_CORRUPT ? save_corrupt(in, "an idempotence ID that cannot be there") : rc;
}

static int save_load_idmp(struct save_reader *in, struct state *s, struct stream *st)
{
    uint64_t numbers[4] = { 0 };
    size_t n = 0;
    int rc = save_get(in, numbers, 4);

    if (rc == OK && (numbers[0] > IDMP_DURATION_MAX_S || numbers[1] > IDMP_MAXSIZE_MAX))
        rc = save_corrupt(in, "settings of idempotence out of range");
    if (rc == OK)
        rc = save_get_n(in, 5, &n);
    if (rc == OK)
        rc = state_prepare_idmp_config(st, in->e);
    if (rc != OK)
        return rc;
    st->more->idmp->duration_s = (uint32_t)numbers[0];
    st->more->idmp->maxsize = (uint32_t)numbers[1];
    st->more->idmp->iids_added = numbers[2];
    st->more->idmp->iids_duplicates = numbers[3];
    for (; n > 0 && rc == OK; n--)
        rc = save_load_idmp_item(in, s, st);
    return rc;
}

static int save_load_floor(struct save_reader *in, struct state *s, struct stream *st)
{
    struct id above = st->last_id;
    int rc = state_prepare_remove(s, st, 0, in->e);

    if (rc == OK)
        rc = save_get_id(in, &st->more->floor);
    if (rc == OK)
        rc = save_get_id(in, &st->more->max_deleted);
    if (rc == OK && id_next(&above) && id_cmp(st->more->floor, above) > 0)
        rc = save_corrupt(in, "a floor above all entries");
    return rc;
}

static int save_load_more(struct save_reader *in, struct state *s, struct stream *st)
{
    unsigned flags;
    int rc = OK;

    if (in->p == in->end || *in->p > SAVE_FLAGS)
        return save_corrupt(in, "unknown flags");
    flags = *in->p++;
    if (flags & SAVE_HAS_FLOOR)
        rc = save_load_floor(in, s, st);
    if (rc == OK && flags & SAVE_HAS_DELETES)
        rc = save_load_deletes(in, s, st);
    if (rc == OK && flags & SAVE_HAS_SETTINGS)
        rc = save_load_settings(in, s, st);
    if (rc == OK && flags & SAVE_HAS_IDMP)
        rc = save_load_idmp(in, s, st);
    return rc;
}

/* oid, rev, db, name and expiry, of which a stream is made. */
static int save_load_object(struct save_reader *in, struct state *s, struct stream **out)
{
    uint64_t oid_rev_db[3] = { 0 }, expiry_ms = 0;
    struct slice name = { 0 };
    struct object *o;
    int rc = save_get(in, oid_rev_db, 3);

    if (rc == OK)
        rc = save_get_slice(in, &name);
    if (rc == OK)
        rc = save_get(in, &expiry_ms, 1);
    if (rc == OK && (oid_rev_db[0] < LOG_FIRST_LSN || oid_rev_db[1] < oid_rev_db[0] ||
                     oid_rev_db[1] > in->as_of || oid_rev_db[2] >= CONFIG_DATABASES))
        rc = save_corrupt(in, "numbers that no object can have");
    if (rc == OK)
        rc = state_reserve_stream(s, name, out, in->e);
    if (rc != OK)
        return rc;
    o = &(*out)->object;
    (*out)->oid = oid_rev_db[0];
    object_set_rev(o, oid_rev_db[1]);
    o->db = s->place[oid_rev_db[2]] & 15u;
    object_set_expiry(o, expiry_ms);
    return OK;
}

static int save_load_numbers(struct save_reader *in, struct stream *st)
{
    uint64_t numbers[4] = { 0 };
    int rc = save_get_id(in, &st->last_id);

    if (rc == OK)
        rc = save_get(in, numbers, 4);
    if (rc == OK && numbers[2] > STATE_ENTRIES_MAX)
        rc = save_corrupt(in, "no stream has so many entries");
    if (rc != OK)
        return rc;
    st->sealed_last = st->last_id;
    st->entries_added = numbers[0];
    st->added_when_empty = numbers[1];
    st->n_entries = numbers[2];
    st->bytes = numbers[3];
    return OK;
}

static int save_load_stream(struct save_reader *in, struct state *s)
{
    struct stream *st;
    int rc = save_load_object(in, s, &st);

    if (rc != OK)
        return rc;
    rc = save_load_numbers(in, st);
    if (rc == OK)
        rc = save_load_more(in, s, st);
    if (rc == OK)
        return replay_add(s, st, in->as_of, in->e);
    state_discard_stream(st);
    return rc;
}

/* The stream, which came before, of which something more is said. */
static int save_load_more_of(struct save_reader *in, const struct state *s, struct stream **out)
{
    uint64_t oid = 0;
    int rc = save_get(in, &oid, 1);

    if (rc != OK)
        return rc;
    *out = state_find_oid(s, oid);
    return *out != NULL ? OK : save_corrupt(in, "more of a stream that did not come before");
}

/* More deleted IDs. */
static int save_load_rest(struct save_reader *in, struct state *s)
{
    struct stream *st;
    int rc = save_load_more_of(in, s, &st);

    if (rc == OK && changes_view(st) != NULL)
        return save_corrupt(in, "a view of changes has no entries of its own");
    return rc == OK ? save_load_deletes(in, s, st) : rc;
}

/* Says where, to what groups/journal.c has found. */
static int save_where(const struct save_reader *in, int rc)
{
    if (rc != OK && in->e != NULL)
        err_ignore(err_add(in->e, "checkpoint, as of record %" PRIu64, in->as_of)); /* it is rc */
    return rc;
}

static int save_load_group(struct save_reader *in, struct state *s)
{
    struct stream *st;
    int rc = save_load_more_of(in, s, &st);

    if (rc == OK)
        rc = state_prepare_groups(s, st, in->e);
    if (rc == OK)
        rc = save_where(in, journal_load_group(&st->more->groups, s->hash_key, in->as_of, &in->p,
                                               in->end, in->e));
    return rc;
}

static int save_load_pending(struct save_reader *in, const struct state *s)
{
    struct stream *st;
    int rc = save_load_more_of(in, s, &st);

    if (rc == OK)
        rc = save_where(in, journal_load_pending(stream_groups(st), &in->p, in->end, in->e));
    return rc;
}

/* Does nothing where names have been hashed already. */
static int save_load_hash_key(struct save_reader *in, struct state *s)
{
    size_t n = sizeof s->hash_key;

    if ((size_t)(in->end - in->p) < n)
        return save_corrupt(in, "a hash key is cut short");
    if (s->n_objects == 0 && s->dropped == NULL)
        state_adopt_hash_key(s, in->p);
    in->p += n;
    return OK;
}

/* So many keys will come; the table is made large enough, within reason. */
static int save_load_number(struct save_reader *in, struct state *s)
{
    uint64_t db_n[2] = { 0 };
    int rc = save_get(in, db_n, 2);

    if (rc == OK && db_n[0] >= CONFIG_DATABASES)
        rc = save_corrupt(in, "there is no such database");
    if (rc == OK)
        dict_expect(state_names(s, (int)db_n[0]),
                    db_n[1] < SAVE_EXPECT_MAX ? (size_t)db_n[1] : SAVE_EXPECT_MAX);
    return rc;
}

int save_load(struct state *s, uint64_t as_of, struct slice chunk, struct err *e)
{
    const uint8_t *end = chunk.n > 0 ? chunk.p + chunk.n : chunk.p;
    struct save_reader in = { chunk.p, chunk.p, end, as_of, e };
    struct saved_ahead ahead = { 0 };
    int rc = OK;

    while (in.p < in.end && rc == OK) {
        if (*in.p == SAVE_VALUE)
            saved_look_ahead(s, &ahead, SAVE_VALUE, in.p, in.end);
        switch (*in.p++) {
        case SAVE_STREAM: rc = save_load_stream(&in, s); break;
        case SAVE_DELETED: rc = save_load_rest(&in, s); break;
        case SAVE_GROUP: rc = save_load_group(&in, s); break;
        case SAVE_PENDING: rc = save_load_pending(&in, s); break;
        case SAVE_HISTORY: rc = changes_load(s, as_of, &in.p, in.end, e); break;
        case SAVE_VALUE: rc = save_where(&in, saved_load_value(s, as_of, &in.p, in.end, e)); break;
        case SAVE_PIECE: rc = save_where(&in, saved_load_piece(s, &in.p, in.end, e)); break;
        case SAVE_NUMBER: rc = save_load_number(&in, s); break;
        case SAVE_HASH_KEY: rc = save_load_hash_key(&in, s); break;
        default: rc = save_corrupt(&in, "an unknown kind of item");
        }
    }
    return rc;
}
