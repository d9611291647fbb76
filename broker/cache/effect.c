/* effect.c - see effect.h. */
#include "broker/cache/effect.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/cache/hash.h"
#include "broker/cache/list.h"
#include "broker/cache/value.h"

/* ---- strings ---- */

/* The string anew, as long as the change says. */
static int effect_patch_whole(struct state *s, const struct change *x, const struct state_value *v,
                              struct slice old, struct object **o, struct err *e)
{
    struct state_value now = *v;
    size_t n = (size_t)x->length;
    uint8_t *whole = calloc(1, n > 0 ? n : 1);
    int rc;

    if (whole == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a value of %zu bytes", n);
    bytes_copy(whole, old.p, old.n < n ? old.n : n);
    bytes_copy(whole + x->offset, x->value.p, x->value.n);
    now.bytes = slice_of(whole, n);
    rc = state_put_value(s, x->db, x->key, &now, o, e);
    free(whole);
    return rc;
}

int effect_patch(struct state *s, const struct change *x, const struct state_value *v,
                 struct object **o, struct err *e)
{
    struct slice old = *o == NULL ? slice_of("", 0) : object_string(*o);
    uint64_t end = x->offset + x->value.n;

    if (*o == NULL || x->offset > old.n || x->length != (end > old.n ? end : old.n))
        return effect_patch_whole(s, x, v, old, o, e);
    return state_patch_value(s, o, x->offset, x->value, v, e);
}

/* ---- hashes and lists ---- */

int effect_new(unsigned type, void **out, struct err *e)
{
    struct hash *h = NULL;
    struct list *l = NULL;
    int rc = type == OBJECT_HASH ? hash_new(&h, e) : list_new(&l, e);

    *out = type == OBJECT_HASH ? (void *)h : (void *)l;
    return rc;
}

void effect_free(unsigned type, void *value)
{
    if (type == OBJECT_HASH)
        hash_free(value);
    else if (type == OBJECT_LIST)
        list_free(value);
}

int effect_decode(const struct state *s, unsigned type, struct slice bytes, void **out,
                  struct err *e)
{
    struct hash *h = NULL;
    struct list *l = NULL;
    int rc = OK;

    if (type == OBJECT_HASH)
        rc = value_get_hash(bytes, s->hash_key, &h, e);
    else if (type == OBJECT_LIST)
        rc = value_get_list(bytes, &l, e);
    *out = type == OBJECT_HASH ? (void *)h : (void *)l;
    return rc;
}

size_t effect_n(unsigned type, const void *value)
{
    return type == OBJECT_HASH ? hash_n(value) : (size_t)list_n(value);
}

bool effect_may_back(unsigned type, const void *value)
{
    return type != OBJECT_HASH || hash_n_expiring(value) == 0;
}

bool effect_count(unsigned type, struct slice bytes, size_t *out)
{
    const uint8_t *p = bytes.p, *end = bytes.p + bytes.n;
    uint64_t n = bytes.n;

    if (type != OBJECT_STRING && (!varint_get(&p, end, &n) || n > bytes.n))
        return false;
    *out = (size_t)n;
    return true;
}

/* Takes the value out of the change that backs it. */
static int effect_install(struct state *s, const uint8_t *entry, struct object **o, struct err *e)
{
    struct state_value v;
    struct change x;
    int rc = change_read(entry, &x, e);

    state_get_value(*o, &v);
    v.flags &= ~(unsigned)OBJECT_COLD;
    if (rc == OK && ((x.op != CHANGE_SET && x.op != CHANGE_IMAGE) || x.type != (*o)->type))
        rc = err_set(e, ERR_CORRUPT, "the record of a value is of another kind");
    if (rc == OK)
        rc = effect_decode(s, x.type, x.value, &v.pointer, e);
    if (rc != OK)
        return rc;
    v.bytes = x.value;
    v.size = v.pointer != NULL ? effect_n(x.type, v.pointer) : x.value.n;
    rc = state_heat_value(s, o, &v, e);
    if (rc != OK)
        effect_free(x.type, v.pointer);
    return rc;
}

int effect_heat(struct state *s, struct object **o, struct err *e)
{
    uint64_t lsn = object_back_lsn(*o);
    const uint8_t *entry = state_find_change(s, lsn);
    struct log_change found;
    int rc;

    if (entry != NULL)
        return effect_install(s, entry, o, e);
    if (s->find_change == NULL)
        return err_set(e, ERR_CORRUPT, "the record of a value is not there");
    rc = s->find_change(s->measure_ctx, lsn, &found, e);
    if (rc != OK)
        return rc;
    rc = effect_install(s, found.entry, o, e);
    log_change_fini(&found);
    return rc;
}

int effect_put(const struct state *s, unsigned type, void **value, const struct element *el,
               bool *is_new, struct err *e)
{
    const struct hash_field f = { el->field, el->value, el->expiry_ms };
    struct hash *h;
    int rc;

    *is_new = true;
    if (type == OBJECT_LIST)
        return list_put(*value, el->pos, el->value, e);
    h = *value;
    rc = hash_set(&h, s->hash_key, &f, is_new, e);
    *value = h;
    return rc;
}

void effect_remove(unsigned type, void **value, const struct element *el)
{
    struct hash *h;

    if (type == OBJECT_LIST) {
        list_remove(*value, el->pos, el->to);
        return;
    }
    h = *value;
    hash_delete(&h, el->field);
    *value = h;
}

int effect_set_expiry(void **value, struct slice field, uint64_t expiry_ms, struct err *e)
{
    struct hash *h = *value;
    int rc = OK;

    hash_set_expiry(&h, field, expiry_ms, &rc);
    *value = h;
    return rc == OK ? OK : err_set(e, rc, "no memory for the expiry of a field");
}

static size_t effect_bytes(unsigned type, const void *value)
{
    return type == OBJECT_HASH ? hash_bytes(value) : list_bytes(value);
}

size_t effect_begin(struct state *s, struct object *o, void **value)
{
    state_before_change(s, o);
    *value = object_pointer(o);
    return effect_bytes(o->type, *value);
}

void effect_end(struct state *s, struct object *o, void *value, size_t begun, uint64_t rev,
                bool always)
{
    state_account(s, begun, effect_bytes(o->type, value));
    state_touch_value(s, o, value, effect_n(o->type, value), rev, always);
    /* Without memory for it, fields that have expired leave when the hash is written. */
    err_ignore(state_watch_expiry(s, o, NULL));
}
