/*
 * restore.c - what a start does with changes of values.
 *
 * A checkpoint's values are of different moments. Each is exact as of its revision, and a record is applied to those that are
 * older than it only. What is not there is either new, and its first record makes it, or was gone by the time that the
 * checkpoint came to it; then a later record says so, and until then nothing has to be done for it.
 *
 *   R1  A change of a part of a value is applied to all of it: what is cold is read first. The record that it needs is there,
 *       as it lives until no start will apply the change any more (state_end_change).
 *   R2  A key leaves by a record that says so, never since it is empty: contents that came in pieces (cache/saved.h) may be
 *       newer than the record.
 */
#include "broker/cache/restore.h"
#include <assert.h>
#include "broker/cache/effect.h"
#include "broker/engine/replay.h"

/* The key as a change finds it. */
struct restore {
    struct state *s;
    const struct change *x;
    const uint8_t *entry;
    uint64_t lsn;
    bool complete;
    struct object *o; /* NULL: not there */
    struct err *e;
};

static int restore_corrupt(const struct restore *r, const char *what)
{
    return err_set(r->e, ERR_CORRUPT, "a change of a value: %s", what);
}

static int restore_put_value(struct restore *r, const struct state_value *v)
{
    int rc = state_put_value(r->s, r->x->db, r->x->key, v, &r->o, r->e);

    if (rc != OK)
        effect_free(v->type, v->pointer);
    return rc;
}

static int restore_whole(struct restore *r, struct state_value *v)
{
    int rc = effect_decode(r->s, r->x->type, r->x->value, &v->pointer, r->e);

    if (rc != OK)
        return rc;
    if (v->pointer != NULL && effect_n(v->type, v->pointer) == 0) {
        effect_free(v->type, v->pointer);
        return restore_corrupt(r, "nothing is in the value");
    }
    if (!effect_may_back(v->type, v->pointer))
        v->flags &= ~(unsigned)OBJECT_BACKED;
    v->bytes = r->x->value;
    v->size = v->pointer != NULL ? effect_n(v->type, v->pointer) : v->bytes.n;
    return restore_put_value(r, v);
}

static int restore_set(struct restore *r)
{
    struct state_value v = { .type = (enum object_type)r->x->type,
                             .flags = OBJECT_BACKED,
                             .rev = r->lsn,
                             .expiry_ms = r->x->expiry_ms,
                             .stale_ms = r->x->stale_ms };

    return restore_whole(r, &v);
}

/* The value is there, or need not be: *go tells. */
static int restore_need(struct restore *r, bool hot, bool *go)
{
    int rc = OK;

    *go = r->o != NULL;
    if (r->o == NULL)
        return r->complete ? restore_corrupt(r, "there is no such key") : OK;
    if (r->x->op != CHANGE_TTL && r->x->op != CHANGE_RENAME && r->o->type != r->x->type)
        return restore_corrupt(r, "the key's value is of another type");
    if (hot && r->o->flags & OBJECT_COLD) /* R1 */
        rc = effect_heat(r->s, &r->o, r->e);
    return rc;
}

static int restore_image(struct restore *r)
{
    struct state_value v;
    bool go;
    int rc = restore_need(r, false, &go);

    if (rc != OK || !go)
        return rc;
    state_get_value(r->o, &v);
    v.flags = OBJECT_BACKED;
    v.back_lsn = r->lsn;
    v.pointer = NULL;
    return restore_whole(r, &v);
}

/* Each element, by a function that may fail. */
static int restore_each(struct restore *r,
                        int (*one)(struct restore *r, void **value, const struct element *el))
{
    struct change_at at;
    struct element el;
    void *value;
    size_t begun = effect_begin(r->s, r->o, &value);
    int rc = OK;

    for (change_begin(r->entry, &at); rc == OK && change_next(&at, r->x, &el);)
        rc = one(r, &value, &el);
    if (rc == OK && at.bad)
        rc = restore_corrupt(r, "an element does not fit");
    effect_end(r->s, r->o, value, begun, r->lsn, false);
    return rc;
}

static int restore_put_one(struct restore *r, void **value, const struct element *el)
{
    bool is_new;
    return effect_put(r->s, r->x->type, value, el, &is_new, r->e);
}

static int restore_remove_one(struct restore *r, void **value, const struct element *el)
{
    effect_remove(r->x->type, value, el);
    return OK;
}

static int restore_expiry_one(struct restore *r, void **value, const struct element *el)
{
    return effect_set_expiry(value, el->field, r->x->expiry_ms, r->e);
}

static int restore_elements(struct restore *r)
{
    bool go;
    int rc = restore_need(r, !r->x->gone, &go);

    if (rc != OK || !go)
        return rc;
    if (r->x->gone) {
        state_unbind(r->s, r->o);
        return OK;
    }
    return restore_each(r, r->x->op == CHANGE_PUT         ? restore_put_one
                           : r->x->op == CHANGE_FIELD_TTL ? restore_expiry_one
                                                          : restore_remove_one);
}

static int restore_patch(struct restore *r)
{
    struct state_value v = { .type = OBJECT_STRING };
    int rc = OK;

    if (r->x->length > EFFECT_STRING_MAX)
        return restore_corrupt(r, "the string is too long");
    if (r->o != NULL && r->o->type != OBJECT_STRING)
        return restore_corrupt(r, "the key's value is no string");
    if (r->o != NULL && r->o->flags & OBJECT_COLD)
        rc = effect_heat(r->s, &r->o, r->e); /* R1 */
    if (rc != OK)
        return rc;
    if (r->o != NULL)
        state_get_value(r->o, &v);
    v.flags = 0;
    v.rev = r->lsn;
    v.back_lsn = 0;
    return effect_patch(r->s, r->x, &v, &r->o, r->e);
}

static int restore_ttl(struct restore *r)
{
    struct state_value v;
    bool go;
    int rc = restore_need(r, false, &go);

    if (rc != OK || !go)
        return rc;
    state_get_value(r->o, &v);
    v.rev = r->lsn;
    v.expiry_ms = r->x->expiry_ms;
    v.stale_ms = r->x->stale_ms;
    return state_set_value(r->s, &r->o, &v, r->e);
}

/* The new name may have been saved later than this. */
static int restore_rename(struct restore *r)
{
    struct object *there = state_find(r->s, r->x->to_db, r->x->to);
    bool go;
    int rc = restore_need(r, false, &go);

    if (rc != OK || !go)
        return rc;
    if (there == r->o)
        return restore_corrupt(r, "the key has that name already");
    if (there == NULL || there->rev < r->lsn)
        return state_rename_value(r->s, &r->o, r->x->to_db, r->x->to, r->lsn, 0, r->e);
    replay_doubt_live(r->s); /* the same record may back both */
    state_unbind(r->s, r->o);
    return OK;
}

static int restore_gone(struct restore *r)
{
    if (r->o != NULL)
        state_unbind(r->s, r->o);
    return r->o != NULL || !r->complete ? OK : restore_corrupt(r, "there is no such key");
}

int restore_change(struct state *s, const struct change *x, const uint8_t *entry, uint64_t lsn,
                   bool complete, struct err *e)
{
    struct restore r = { .s = s,
                         .x = x,
                         .entry = entry,
                         .lsn = lsn,
                         .complete = complete,
                         .o = state_find(s, x->db, x->key),
                         .e = e };

    if (r.o != NULL && r.o->rev >= lsn)
        return OK;
    if (r.o != NULL && !object_is_value(r.o) && x->op != CHANGE_SET)
        return restore_corrupt(&r, "a stream has the name");
    switch (x->op) {
    case CHANGE_SET: return restore_set(&r);
    case CHANGE_IMAGE: return restore_image(&r);
    case CHANGE_PUT:
    case CHANGE_REMOVE:
    case CHANGE_EXPEL:
    case CHANGE_FIELD_TTL: return restore_elements(&r);
    case CHANGE_PATCH: return restore_patch(&r);
    case CHANGE_TTL: return restore_ttl(&r);
    case CHANGE_DEL:
    case CHANGE_EXPIRE:
    case CHANGE_EVICT: return restore_gone(&r);
    case CHANGE_RENAME: return restore_rename(&r);
    default: return restore_corrupt(&r, "it concerns no key");
    }
}
