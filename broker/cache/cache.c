/*
 * cache.c - the values of keys: read when they are wanted, changed by records.
 *
 * A change is made twice, in memory (engine/state.h) and as a record (cache/change.h). Memory comes first: only there
 * something can be missing, and then nothing has happened. What it is told is the LSN that the record will get, which is
 * the next one, as one thread appends. The record is then written where it stays, once.
 *
 *   what changes                  record           the value is afterwards
 *   a string, as a whole          set              backed by it
 *   a string, a part              patch            in memory only; a short string: as above
 *   a new hash or list            set              backed by it; in memory only while fields expire
 *   elements                      put, remove      in memory only
 *   expiry, name, database        ttl, rename      backed by what it was backed by
 *
 * A backed value can leave memory when its record is sealed, and is then *cold*. One that is in memory only gets an
 * `image` first, a record of all of it that changes nothing.
 *
 *   V1  A change of a key raises its revision to the record's LSN; an image does not.
 *   V2  state.live has exactly the LSNs that back a value.
 *   V3  What is cold is backed.
 */
#include "broker/cache/cache.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/cache/changes.h"
#include "broker/cache/effect.h"
#include "broker/cache/evict.h"
#include "broker/cache/value.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    CACHE_PATCH_MIN =
        1 << 10,        /* a string that is longer is not written as a whole for a part of it */
    CACHE_EXPEL_N = 64, /* expired fields that leave by one record */
    CACHE_EXPEL_MAX = 1 << 14, /* and at most so many before a command that writes the hash */
    CACHE_KEYS_FEW = 16,       /* that need no memory for their positions */
    CACHE_IMAGE_MAX = 1 << 20, /* bytes of an image */
    CACHE_RECORD = 128,        /* what a record takes beside keys and values */
    CACHE_ELEMENT = 32         /* and for each element beside its strings */
};

void cache_nomem(struct client *c)
{
    reply_error(c, "OOM not enough memory for the request");
}

size_t cache_bound(size_t n_records, size_t bytes)
{
    return n_records * CACHE_RECORD + bytes;
}

uint64_t cache_revision(const struct object *o)
{
    return o->rev;
}

/* ---- what a value is ---- */

struct slice cache_string(const struct object *o)
{
    assert(o->type == OBJECT_STRING && !(o->flags & OBJECT_COLD));
    return object_string(o);
}

size_t cache_length(const struct object *o)
{
    return object_size(o);
}

struct hash *cache_hash(const struct object *o)
{
    assert(o->type == OBJECT_HASH && !(o->flags & OBJECT_COLD));
    return object_pointer(o);
}

struct list *cache_list(const struct object *o)
{
    assert(o->type == OBJECT_LIST && !(o->flags & OBJECT_COLD));
    return object_pointer(o);
}

/* ---- records ---- */

/* The LSN of the next record, and so the key's next revision. */
static uint64_t cache_next_lsn(const struct engine *e)
{
    return log_last_lsn(e->log) + 1;
}

static enum log_class cache_class(const struct engine *e)
{
    return (enum log_class)e->config->cache_durability;
}

/* Writes the record of a change that has been made, or is about to be; returns its entry. */
static const uint8_t *cache_append_as(struct engine *e, struct client *c, enum log_class class,
                                      const struct change *x)
{
    struct id id = { e->now_ms, cache_next_lsn(e) };
    size_t len = change_size(id, x);
    uint64_t lsn;
    uint8_t *body = engine_append(e, c, RECORD_CHANGE, class, len, &lsn);

    assert(lsn == id.seq);
    change_put(body, id, x);
    state_add_change(&e->state, id, body + 1); /* behind the oid, which is a byte */
    changes_added(&e->state, id, body + 1, len - 1);
    err_ignore(state_prepare_changes(&e->state, STREAM_CHUNK, NULL)); /* so many can come without */
    return body + 1;
}

static const uint8_t *cache_append(struct engine *e, struct client *c, const struct change *x)
{
    return cache_append_as(e, c, cache_class(e), x);
}

/* What a value is by a record of this moment. */
static void cache_stamp(const struct engine *e, struct state_value *v, bool backed)
{
    bool always = cache_class(e) == LOG_ALWAYS;

    v->flags &= ~(unsigned)(OBJECT_COLD | OBJECT_BACKED);
    v->flags |= (always ? OBJECT_ALWAYS : 0u) | (backed ? OBJECT_BACKED : 0u);
    v->rev = cache_next_lsn(e);
    v->back_lsn = 0;
}

static struct change cache_change(const struct engine *e, enum change_op op, const struct object *o)
{
    return (struct change){
        .op = op, .db = state_db_of(&e->state, o), .key = object_name(o), .type = o->type
    };
}

/* After a change: who watches the key or waits for it, and who asked to be told of new ones. */
static void cache_changed(struct engine *e, int db, struct slice key, bool is_new)
{
    engine_key_changed(e, db, key);
    if (is_new)
        notify(e, NOTIFY_NEW, "new", db, key);
}

/* ---- heating ---- */

bool cache_heat(struct engine *e, struct client *c, struct object **o)
{
    struct err err;
    bool cold = (*o)->flags & OBJECT_COLD;
    int rc = cold ? effect_heat(&e->state, o, &err) : OK;

    if (cold && rc == OK)
        evict_loaded(e, *o);
    if (rc == ERR_NOMEM)
        cache_nomem(c);
    else if (rc != OK)
        reply_error(c, "IOERR %s", err.text);
    return rc == OK;
}

/* ---- reading ---- */

bool cache_read(struct engine *e, struct client *c, struct slice key, enum object_type type,
                struct object **out)
{
    struct object *o = engine_lookup(e, c, key);

    *out = NULL;
    if (o == NULL)
        return true;
    if (o->type != type) {
        reply_wrong_type(c);
        return false;
    }
    if (!cache_heat(e, c, &o))
        return false;
    *out = o;
    return true;
}

/* Some expired fields leave by a record; false: there are none, or no room for it. *o is NULL when that was all of it. */
static bool cache_expel(struct engine *e, struct client *c, struct object **o)
{
    struct hash_field fields[CACHE_EXPEL_N];
    struct element elements[CACHE_EXPEL_N];
    size_t n = hash_expired(cache_hash(*o), e->now_ms, fields, CACHE_EXPEL_N);
    size_t bytes = e->promised + CACHE_RECORD + object_name(*o).n;

    for (size_t i = 0; i < n; i++) {
        elements[i] = (struct element){ .field = fields[i].field };
        bytes += CACHE_ELEMENT + fields[i].field.n;
    }
    if (n == 0 || log_reserve(e->log, bytes, NULL) != OK)
        return false;
    if (cache_remove(e, c, *o, elements, n, true))
        *o = NULL;
    return *o != NULL;
}

bool cache_write(struct engine *e, struct client *c, struct slice key, enum object_type type,
                 struct object **out)
{
    struct object *o = engine_lookup_write(e, c, key);

    *out = NULL;
    if (o == NULL)
        return true;
    if (o->type != type) {
        reply_wrong_type(c);
        return false;
    }
    if (!cache_heat(e, c, &o))
        return false;
    for (size_t n = 0; type == OBJECT_HASH && n < CACHE_EXPEL_MAX; n += CACHE_EXPEL_N)
        if (!cache_expel(e, c, &o))
            break;
    *out = o;
    return true;
}

bool cache_expire_fields(struct engine *e, struct object *o)
{
    uint64_t next;
    bool more = true;

    for (size_t n = 0; more && n < CACHE_EXPEL_MAX; n += CACHE_EXPEL_N)
        more = cache_expel(e, NULL, &o);
    if (o == NULL)
        return true;
    err_ignore(state_watch_expiry(&e->state, o, NULL)); /* else they leave when it is written */
    next = hash_next_expiry(cache_hash(o));
    return more || next == 0 || next > e->now_ms;
}

static void cache_want(struct engine *e, const struct client *c, struct slice key,
                       struct wants *wants)
{
    const struct object *o = state_find(&e->state, c->db, key);
    struct log_change found;

    if (o == NULL || !(o->flags & OBJECT_COLD) || engine_is_expired(e, o) ||
        state_find_change(&e->state, object_back_lsn(o)) != NULL)
        return;
    if (log_find_change(e->log, object_back_lsn(o), wants, &found, NULL) == OK)
        log_change_fini(&found);
}

void cache_prefault(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                    struct wants *wants)
{
    size_t few[CACHE_KEYS_FEW], *keys = argc <= CACHE_KEYS_FEW ? few : malloc(argc * sizeof *keys);
    size_t n;

    if (keys == NULL) {
        wants->failed = true;
        return;
    }
    n = command_keys(command_find(argv[0]), argv, argc, keys);
    for (size_t i = 0; i < n; i++)
        cache_want(e, c, argv[keys[i]], wants);
    if (keys != few)
        free(keys);
}

/* ---- strings ---- */

int cache_set(struct engine *e, struct client *c, struct slice key, struct object *old,
              struct slice value, uint64_t expiry_ms, uint64_t stale_ms, struct object **out,
              struct err *err)
{
    struct state_value v = {
        .type = OBJECT_STRING, .expiry_ms = expiry_ms, .stale_ms = stale_ms, .bytes = value
    };
    struct change x = { .op = CHANGE_SET,
                        .db = c->db,
                        .key = key,
                        .type = OBJECT_STRING,
                        .expiry_ms = expiry_ms,
                        .stale_ms = stale_ms };
    bool is_new = old == NULL;
    struct object *o;
    int rc;

    cache_stamp(e, &v, true);
    rc = state_replace_value(&e->state, c->db, key, old, &v, &o, err);
    if (rc != OK)
        return rc;
    x.value = object_string(o); /* `value` may have been the old one */
    cache_append(e, c, &x);
    cache_changed(e, c->db, key, is_new);
    if (out != NULL)
        *out = o;
    return OK;
}

/* The string with the bytes in it, as a whole, if it is short. */
static int cache_patch_short(struct engine *e, struct client *c, struct slice key, struct object *o,
                             uint64_t offset, struct slice bytes, struct object **out,
                             struct err *err)
{
    uint8_t whole[CACHE_PATCH_MIN] = { 0 };
    struct slice old = o == NULL ? slice_of(whole, 0) : cache_string(o);
    size_t end = (size_t)offset + bytes.n;

    bytes_copy(whole, old.p, old.n);
    bytes_copy(whole + offset, bytes.p, bytes.n);
    return cache_set(e, c, key, o, slice_of(whole, end > old.n ? end : old.n),
                     o == NULL ? 0 : o->expiry_ms, o == NULL ? 0 : object_stale_ms(o), out, err);
}

int cache_patch(struct engine *e, struct client *c, struct slice key, struct object *o,
                uint64_t offset, struct slice bytes, struct object **out, struct err *err)
{
    uint64_t old = o == NULL ? 0 : object_size(o), end = offset + bytes.n;
    bool is_new = o == NULL;
    struct change x = { .op = CHANGE_PATCH,
                        .db = c->db,
                        .key = key,
                        .offset = offset,
                        .length = end > old ? end : old,
                        .value = bytes };
    struct state_value v = { .type = OBJECT_STRING };
    int rc;

    if (o == NULL && offset == 0)
        return cache_set(e, c, key, NULL, bytes, 0, 0, out, err);
    if (x.length <= CACHE_PATCH_MIN)
        return cache_patch_short(e, c, key, o, offset, bytes, out, err);
    if (o != NULL)
        state_get_value(o, &v);
    cache_stamp(e, &v, false);
    rc = effect_patch(&e->state, &x, &v, &o, err);
    if (rc != OK)
        return rc;
    cache_append(e, c, &x);
    cache_changed(e, c->db, key, is_new);
    if (out != NULL)
        *out = o;
    return OK;
}

/* ---- hashes and lists ---- */

/* Puts elements until memory runs out; how many are in is left in x. Whether one was new is what readers saw. */
static int cache_put_all(const struct engine *e, void **value, struct change *x, size_t *n_new,
                         struct err *err)
{
    size_t n = x->n_elements;
    int rc = OK;

    *n_new = 0;
    for (x->n_elements = 0; x->n_elements < n; x->n_elements++) {
        const struct element *el = &x->elements[x->n_elements];
        struct hash_field was;
        bool is_new, ended = x->type == OBJECT_HASH && hash_next_expiry(*value) != 0 &&
                             hash_find(*value, el->field, &was) && !cache_field_is_there(e, &was);
        rc = effect_put(&e->state, x->type, value, el, &is_new, err);
        if (rc != OK)
            break;
        *n_new += is_new || ended;
    }
    return rc;
}

/* The value as its record has it, in memory of its own. */
static int cache_encode(unsigned type, void *value, struct slice *out, struct err *err)
{
    size_t n = type == OBJECT_HASH ? value_hash_size(value) : value_list_size(value);
    uint8_t *p = malloc(n);

    if (p == NULL)
        return err_set(err, ERR_NOMEM, "no memory for the record of %zu bytes", n);
    *out = slice_of(p, n);
    if (type == OBJECT_HASH)
        value_put_hash(p, value);
    else
        value_put_list(p, value);
    return OK;
}

/* Makes `value`, which nobody has yet, the key's by a record that has all of it. */
static int cache_set_whole(struct engine *e, struct client *c, int db, struct slice key,
                           struct state_value *v, struct object **out, struct err *err)
{
    struct change x = { .op = CHANGE_SET,
                        .db = db,
                        .key = key,
                        .type = v->type,
                        .expiry_ms = v->expiry_ms,
                        .stale_ms = v->stale_ms };
    bool is_new = state_find(&e->state, db, key) == NULL;
    struct object *o = NULL;
    int rc = cache_encode(v->type, v->pointer, &x.value, err);

    if (rc != OK)
        return rc;
    cache_stamp(e, v, effect_may_back(v->type, v->pointer));
    v->size = effect_n(v->type, v->pointer);
    rc = state_put_value(&e->state, db, key, v, &o, err);
    if (rc == OK) {
        cache_append(e, c, &x);
        cache_changed(e, db, key, is_new);
    }
    free((void *)(uintptr_t)x.value.p);
    if (rc == OK && out != NULL)
        *out = o;
    return rc;
}

static int cache_put_new(struct engine *e, struct client *c, struct change *x, size_t *n_new,
                         struct object **out, struct err *err)
{
    struct state_value v = { .type = (enum object_type)x->type };
    int rc = effect_new(x->type, &v.pointer, err);

    if (rc == OK)
        rc = cache_put_all(e, &v.pointer, x, n_new, err);
    if (rc == OK)
        rc = cache_set_whole(e, c, x->db, x->key, &v, out, err);
    if (rc != OK)
        effect_free(x->type, v.pointer);
    return rc;
}

int cache_put(struct engine *e, struct client *c, struct slice key, struct object *o,
              enum object_type type, const struct element *elements, size_t n, size_t *n_new,
              struct object **out, struct err *err)
{
    struct change x = { .op = CHANGE_PUT,
                        .db = c->db,
                        .key = key,
                        .type = type,
                        .elements = elements,
                        .n_elements = n };
    size_t begun;
    void *value;
    int rc;

    assert(n > 0);
    if (o == NULL)
        return cache_put_new(e, c, &x, n_new, out, err);
    begun = effect_begin(&e->state, o, &value);
    rc = cache_put_all(e, &value, &x, n_new, err);
    if (x.n_elements > 0) {
        effect_end(&e->state, o, value, begun, cache_next_lsn(e), cache_class(e) == LOG_ALWAYS);
        cache_append(e, c, &x);
        engine_key_changed(e, c->db, key);
    }
    if (rc == OK && out != NULL)
        *out = o;
    return rc;
}

/* The key is gone by the last record, `entry`; returns its name there, which stays. */
static struct slice cache_gone(struct engine *e, struct object *o, const uint8_t *entry)
{
    enum change_op op;
    struct slice key;
    int db;
    bool is_change = change_peek(entry, &op, &db, &key);

    assert(is_change);
    if (cache_class(e) == LOG_ALWAYS)
        e->state.last_always_unbind = log_last_lsn(e->log);
    state_unbind(&e->state, o);
    return key;
}

bool cache_remove(struct engine *e, struct client *c, struct object *o,
                  const struct element *elements, size_t n, bool expired)
{
    struct change x = cache_change(e, expired ? CHANGE_EXPEL : CHANGE_REMOVE, o);
    void *value;
    size_t begun = effect_begin(&e->state, o, &value);
    const uint8_t *entry;
    struct change_at at;
    struct element el;

    assert(n > 0);
    x.elements = elements;
    x.n_elements = n;
    for (size_t i = 0; i < n && o->type == OBJECT_LIST; i++)
        effect_remove(OBJECT_LIST, &value, &elements[i]);
    x.gone = o->type == OBJECT_LIST ? list_n(value) == 0 : hash_n(value) == n;
    entry = cache_append(e, c, &x);
    /* Names of fields may be the hash's own, which move: those in the record do not. */
    for (change_begin(entry, &at); o->type == OBJECT_HASH && change_next(&at, &x, &el);)
        effect_remove(OBJECT_HASH, &value, &el);
    effect_end(&e->state, o, value, begun, log_last_lsn(e->log), cache_class(e) == LOG_ALWAYS);
    x.key = x.gone ? cache_gone(e, o, entry) : object_name(o);
    engine_key_changed(e, x.db, x.key);
    if (expired)
        notify(e, NOTIFY_HASH, "hexpired", x.db, x.key);
    if (expired && x.gone)
        notify(e, NOTIFY_GENERIC, "del", x.db, x.key);
    return x.gone;
}

int cache_set_field_expiry(struct engine *e, struct client *c, struct object *o,
                           const struct element *elements, size_t n, uint64_t expiry_ms,
                           struct err *err)
{
    struct change x = cache_change(e, CHANGE_FIELD_TTL, o);
    void *value;
    size_t begun = effect_begin(&e->state, o, &value);
    int rc = OK;

    x.elements = elements;
    x.expiry_ms = expiry_ms;
    while (rc == OK && x.n_elements < n) {
        rc = effect_set_expiry(&value, elements[x.n_elements].field, expiry_ms, err);
        x.n_elements += rc == OK;
    }
    if (x.n_elements > 0) {
        effect_end(&e->state, o, value, begun, cache_next_lsn(e), cache_class(e) == LOG_ALWAYS);
        cache_append(e, c, &x);
        engine_key_changed(e, x.db, object_name(o));
    }
    return rc;
}

/* ---- any value ---- */

int cache_set_expiry(struct engine *e, struct client *c, struct object *o, uint64_t expiry_ms,
                     struct err *err)
{
    int db = state_db_of(&e->state, o), rc;
    struct state_value v;
    struct change x;

    if (!object_is_value(o)) {
        rc = engine_bind(e, c, o, db, object_name(o), expiry_ms, err);
        if (rc == OK)
            engine_key_changed(e, db, object_name(o));
        return rc;
    }
    state_get_value(o, &v);
    v.rev = cache_next_lsn(e);
    v.flags |= cache_class(e) == LOG_ALWAYS ? OBJECT_ALWAYS : 0u;
    v.expiry_ms = expiry_ms;
    v.stale_ms = 0;
    rc = state_set_value(&e->state, &o, &v, err);
    if (rc != OK)
        return rc;
    x = cache_change(e, CHANGE_TTL, o);
    x.expiry_ms = expiry_ms;
    cache_append(e, c, &x);
    engine_key_changed(e, db, object_name(o));
    return OK;
}

size_t cache_copy_bound(const struct object *o)
{
    size_t n = object_size(o);

    if (!object_is_value(o))
        return 0;
    if (o->type == OBJECT_HASH)
        n = value_hash_size(cache_hash(o));
    else if (o->type == OBJECT_LIST)
        n = value_list_size(cache_list(o));
    return CACHE_RECORD + n;
}

int cache_copy(struct engine *e, struct client *c, const struct object *o, int db,
               struct slice name, struct err *err)
{
    struct state_value v;
    struct slice bytes;
    int at = c->db, rc;

    if (!object_is_value(o))
        return err_set(err, ERR_USAGE, "a stream is not copied");
    state_get_value(o, &v);
    if (v.type == OBJECT_STRING) {
        c->db = db;
        rc = cache_set(e, c, name, state_find(&e->state, db, name), v.bytes, v.expiry_ms,
                       v.stale_ms, NULL, err);
        c->db = at;
        return rc;
    }
    rc = cache_encode(v.type, v.pointer, &bytes, err);
    v.pointer = NULL;
    if (rc != OK)
        return rc;
    rc = effect_decode(&e->state, v.type, bytes, &v.pointer, err);
    free((void *)(uintptr_t)bytes.p);
    if (rc == OK)
        rc = cache_set_whole(e, c, db, name, &v, NULL, err);
    if (rc != OK)
        effect_free(v.type, v.pointer);
    return rc;
}

struct slice cache_delete(struct engine *e, struct client *c, struct object *o, unsigned reason)
{
    enum change_op op = reason == REASON_EXPIRE  ? CHANGE_EXPIRE
                        : reason == REASON_EVICT ? CHANGE_EVICT
                                                 : CHANGE_DEL;
    struct change x = cache_change(e, op, o);

    return cache_gone(e, o, cache_append(e, c, &x));
}

int cache_rename(struct engine *e, struct client *c, struct object *o, int db, struct slice name,
                 struct err *err)
{
    bool always = cache_class(e) == LOG_ALWAYS;
    struct change x = cache_change(e, CHANGE_RENAME, o);
    uint8_t *key = malloc(x.key.n + 1); /* the object moves */
    int rc;

    if (key == NULL)
        return err_set(err, ERR_NOMEM, "rename a key");
    bytes_copy(key, x.key.p, x.key.n);
    x.key.p = key;
    x.to_db = db;
    x.to = name;
    rc = state_rename_value(&e->state, &o, db, name, cache_next_lsn(e),
                            always ? OBJECT_ALWAYS : o->flags & OBJECT_ALWAYS, err);
    if (rc == OK)
        cache_append(e, c, &x);
    if (rc == OK && always)
        e->state.last_always_unbind = o->rev; /* the former name, and whoever had the new one */
    free(key);
    return rc;
}

void cache_flush(struct engine *e, struct client *c, enum log_class class, int db)
{
    const struct change x = { .op = CHANGE_FLUSH, .db = db < 0 ? CHANGE_DB_ALL : db };

    cache_append_as(e, c, class, &x);
}

void cache_swap(struct engine *e, struct client *c, enum log_class class, int a, int b)
{
    const struct change x = { .op = CHANGE_SWAP, .db = a, .to_db = b };

    cache_append_as(e, c, class, &x);
}

/* ---- leaving memory ---- */

int cache_image(struct engine *e, struct object **o, struct err *err)
{
    struct change x = cache_change(e, CHANGE_IMAGE, *o);
    size_t n = cache_copy_bound(*o) + x.key.n;
    struct state_value v;
    int rc = n <= CACHE_IMAGE_MAX ? log_reserve(e->log, e->promised + n, err)
                                  : err_set(err, ERR_TOO_BIG, "a value of %zu bytes", n);

    state_get_value(*o, &v);
    x.value = v.bytes;
    if (rc == OK && v.type != OBJECT_STRING)
        rc = cache_encode(v.type, v.pointer, &x.value, err);
    if (rc != OK)
        return rc;
    v.flags |= OBJECT_BACKED;
    v.back_lsn = cache_next_lsn(e);
    rc = state_set_value(&e->state, o, &v, err);
    x.key = object_name(*o);
    if (v.type == OBJECT_STRING)
        x.value = object_string(*o);
    if (rc == OK)
        cache_append(e, NULL, &x);
    if (v.type != OBJECT_STRING)
        free((void *)(uintptr_t)x.value.p);
    return rc;
}
