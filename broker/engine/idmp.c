/*
 * idmp.c - idempotence IDs of a stream.
 *
 * A dictionary of producers, each with a dictionary of its iids. Items stand in two lists besides, both in
 * order of insertion, which is order of time: one of the whole map, whose head expires first, and one of
 * the producer, whose head is evicted first. A producer without items does not exist.
 *
 *   producers ──► p1 ──► iids { "a", "b" }     by age, all:  p1/a, p2/x, p1/b
 *                 p2 ──► iids { "x" }          of p1:        p1/a, p1/b
 *
 * What has expired stays in memory until the next idmp_prepare, but nothing shows it: lookups, counts and the
 * digest compare times. So when it is freed does not matter to the state.
 *
 *   M1  Both lists are in order of time; an item is in its producer's dictionary and list and in the map's
 *       list.
 *   M2  A producer in the dictionary has 1..maxsize items; n is their number.
 */
#include "broker/engine/idmp.h"
#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

struct
    idmp_link { /* a place in a list; the list's head is a link too, and its own neighbour if empty */
    struct idmp_link *next, *prev;
};

struct idmp_producer {
    struct dict_node node; /* must be first */
    struct dict iids;
    struct idmp_link items; /* head */
    bool known;             /* in the map's dictionary */
    size_t n, len;
    uint8_t name[];
};

struct idmp_item {
    struct dict_node node;     /* must be first */
    struct idmp_link by_age;   /* in the map's list */
    struct idmp_link by_owner; /* in the producer's list */
    struct idmp_producer *owner;
    struct id id;
    uint64_t at_ms;
    size_t len;
    uint8_t iid[];
};

struct idmp {
    struct dict producers;
    const uint8_t *hash_key;
    struct idmp_link items; /* head */
    uint64_t n_items;
    size_t bytes;
};

/* ---- lists ---- */

static void idmp_list_init(struct idmp_link *head)
{
    head->next = head->prev = head;
}

static void idmp_list_append(struct idmp_link *head, struct idmp_link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static void idmp_list_remove(struct idmp_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
}

static struct idmp_item *idmp_by_age(const struct idmp_link *l)
{
    return (struct idmp_item *)(void *)((uint8_t *)(uintptr_t)l -
                                        offsetof(struct idmp_item, by_age));
}

static struct idmp_item *idmp_by_owner(const struct idmp_link *l)
{
    return (struct idmp_item *)(void *)((uint8_t *)(uintptr_t)l -
                                        offsetof(struct idmp_item, by_owner));
}

/* ---- dictionaries ---- */

static struct slice idmp_producer_name(const struct dict_node *node)
{
    const struct idmp_producer *p = (const struct idmp_producer *)(const void *)node;

    return slice_of(p->name, p->len);
}

static struct slice idmp_item_iid(const struct dict_node *node)
{
    const struct idmp_item *item = (const struct idmp_item *)(const void *)node;

    return slice_of(item->iid, item->len);
}

static struct idmp_producer *idmp_producer_find(struct idmp *m, struct slice name)
{
    return (struct idmp_producer *)(void *)dict_find(&m->producers, name);
}

static struct idmp_item *idmp_item_find(struct idmp_producer *p, struct slice iid)
{
    return (struct idmp_item *)(void *)dict_find(&p->iids, iid);
}

static size_t idmp_producer_bytes(const struct idmp_producer *p)
{
    return sizeof *p + p->len;
}

static size_t idmp_item_bytes(const struct idmp_item *item)
{
    return sizeof *item + item->len;
}

static void idmp_producer_free(struct idmp_producer *p)
{
    dict_fini(&p->iids);
    free(p);
}

/* ---- forgetting ---- */

static bool idmp_expired(const struct stream_idmp *x, const struct idmp_item *item, uint64_t now_ms)
{
    return now_ms >= item->at_ms && now_ms - item->at_ms >= (uint64_t)x->duration_s * 1000;
}

static void idmp_forget(struct idmp *m, struct idmp_item *item)
{
    struct idmp_producer *p = item->owner;

    dict_remove(&p->iids, &item->node);
    idmp_list_remove(&item->by_age);
    idmp_list_remove(&item->by_owner);
    m->n_items--;
    m->bytes -= idmp_item_bytes(item);
    free(item);
    if (--p->n > 0)
        return;
    dict_remove(&m->producers, &p->node);
    m->bytes -= idmp_producer_bytes(p);
    idmp_producer_free(p);
}

static void idmp_purge(const struct stream_idmp *x, uint64_t now_ms)
{
    struct idmp *m = x->map;

    while (m->items.next != &m->items && idmp_expired(x, idmp_by_age(m->items.next), now_ms))
        idmp_forget(m, idmp_by_age(m->items.next));
}

void idmp_free(struct idmp *m)
{
    if (m == NULL)
        return;
    while (m->items.next != &m->items)
        idmp_forget(m, idmp_by_age(m->items.next));
    dict_fini(&m->producers);
    free(m);
}

/* ---- remembering ---- */

bool idmp_find(const struct stream_idmp *x, struct slice producer, struct slice iid,
               uint64_t now_ms, struct id *out)
{
    struct idmp_producer *p = x->map == NULL ? NULL : idmp_producer_find(x->map, producer);
    struct idmp_item *item = p == NULL ? NULL : idmp_item_find(p, iid);

    if (item == NULL || idmp_expired(x, item, now_ms))
        return false;
    *out = item->id;
    return true;
}

static int idmp_new(const uint8_t hash_key[16], struct idmp **out, struct err *e)
{
    struct idmp *m = calloc(1, sizeof *m);

    if (m == NULL)
        return err_set(e, ERR_NOMEM, "idempotence map");
    m->hash_key = hash_key;
    dict_init(&m->producers, hash_key, idmp_producer_name);
    idmp_list_init(&m->items);
    *out = m;
    return OK;
}

/* The producer; a new one is in the dictionary only after idmp_commit. NULL if memory ran out. */
static struct idmp_producer *idmp_producer_get(struct idmp *m, struct slice name)
{
    struct idmp_producer *p = idmp_producer_find(m, name);

    if (p != NULL)
        return p;
    p = malloc(sizeof *p + name.n);
    if (p == NULL)
        return NULL;
    *p = (struct idmp_producer){ .len = name.n };
    if (name.n > 0)
        memcpy(p->name, name.p, name.n);
    dict_init(&p->iids, m->hash_key, idmp_item_iid);
    idmp_list_init(&p->items);
    return p;
}

/* Forgets (producer, iid) if it is there, which only a log that was not written by the commands can show. */
static void idmp_forget_same(struct idmp *m, struct slice producer, struct slice iid)
{
    struct idmp_producer *p = idmp_producer_find(m, producer);
    struct idmp_item *item = p == NULL ? NULL : idmp_item_find(p, iid);

    if (item != NULL)
        idmp_forget(m, item);
}

/* An item that is not in any list yet. */
static int idmp_make(struct stream_idmp *x, struct slice producer, struct slice iid,
                     struct idmp_item **out, struct err *e)
{
    struct idmp_item *item = malloc(sizeof *item + iid.n);

    if (item == NULL)
        return err_set(e, ERR_NOMEM, "idempotence map: an ID");
    *item = (struct idmp_item){ .owner = idmp_producer_get(x->map, producer), .len = iid.n };
    if (item->owner == NULL) {
        free(item);
        return err_set(e, ERR_NOMEM, "idempotence map: a producer");
    }
    if (iid.n > 0)
        memcpy(item->iid, iid.p, iid.n);
    *out = item;
    return OK;
}

int idmp_prepare(struct stream_idmp *x, const uint8_t hash_key[16], struct slice producer,
                 struct slice iid, uint64_t now_ms, struct idmp_item **out, struct err *e)
{
    int rc;

    if (x->duration_s == 0 || x->maxsize == 0)
        return err_set(e, ERR_CORRUPT, "an idempotence ID for a stream without its settings");
    rc = x->map == NULL ? idmp_new(hash_key, &x->map, e) : OK;
    if (rc != OK)
        return rc;
    idmp_purge(x, now_ms);
    idmp_forget_same(x->map, producer, iid);
    return idmp_make(x, producer, iid, out, e);
}

static void idmp_insert(struct stream_idmp *x, struct idmp_item *item, struct id id,
                        uint64_t now_ms)
{
    struct idmp *m = x->map;
    struct idmp_producer *p = item->owner;

    if (!p->known) {
        p->known = true;
        dict_add(&m->producers, &p->node, slice_of(p->name, p->len));
        m->bytes += idmp_producer_bytes(p);
    }
    item->id = id;
    item->at_ms = now_ms;
    dict_add(&p->iids, &item->node, slice_of(item->iid, item->len));
    idmp_list_append(&m->items, &item->by_age);
    idmp_list_append(&p->items, &item->by_owner);
    m->bytes += idmp_item_bytes(item);
    m->n_items++;
    p->n++;
    while (p->n > x->maxsize)
        idmp_forget(m, idmp_by_owner(p->items.next));
}

void idmp_commit(struct stream_idmp *x, struct idmp_item *item, struct id id, uint64_t now_ms)
{
    idmp_insert(x, item, id, now_ms);
    x->iids_added++;
}

void idmp_discard(struct idmp_item *item)
{
    if (item != NULL && !item->owner->known)
        idmp_producer_free(item->owner);
    free(item);
}

void idmp_configure(struct stream_idmp *x, uint32_t duration_s, uint32_t maxsize)
{
    x->duration_s = duration_s;
    x->maxsize = maxsize;
    idmp_free(x->map);
    x->map = NULL;
}

/* ---- saving and loading ---- */

const struct idmp_item *idmp_next(const struct stream_idmp *x, const struct idmp_item *after,
                                  struct idmp_entry *out)
{
    const struct idmp_link *l;
    const struct idmp_item *item;

    if (x->map == NULL)
        return NULL;
    l = after == NULL ? x->map->items.next : after->by_age.next;
    if (l == &x->map->items)
        return NULL;
    item = idmp_by_age(l);
    *out = (struct idmp_entry){ slice_of(item->owner->name, item->owner->len),
                                slice_of(item->iid, item->len), item->id, item->at_ms };
    return item;
}

static bool idmp_may_restore(const struct stream_idmp *x, const struct idmp_entry *entry)
{
    const struct idmp *m = x->map;
    struct idmp_producer *p = idmp_producer_find(x->map, entry->producer);

    if (x->duration_s == 0 || x->maxsize == 0 ||
        (m->n_items > 0 && entry->at_ms < idmp_by_age(m->items.prev)->at_ms))
        return false;
    return p == NULL || (p->n < x->maxsize && idmp_item_find(p, entry->iid) == NULL);
}

int idmp_restore(struct stream_idmp *x, const uint8_t hash_key[16], const struct idmp_entry *entry,
                 struct err *e)
{
    int rc = x->map == NULL ? idmp_new(hash_key, &x->map, e) : OK;
    struct idmp_item *item;

    if (rc != OK)
        return rc;
    if (!idmp_may_restore(x, entry))
        return err_set(e, ERR_CORRUPT, "an idempotence ID that cannot be there");
    rc = idmp_make(x, entry->producer, entry->iid, &item, e);
    if (rc == OK)
        idmp_insert(x, item, entry->id, entry->at_ms);
    return rc;
}

/* ---- looking at it ---- */

struct idmp_counts idmp_count(const struct stream_idmp *x, uint64_t now_ms)
{
    const struct idmp *m = x->map;
    struct idmp_counts counts = { 0, 0 };

    if (m == NULL)
        return counts;
    counts = (struct idmp_counts){ m->producers.n, m->n_items };
    for (const struct idmp_link *l = m->items.next; l != &m->items; l = l->next) {
        const struct idmp_item *item = idmp_by_age(l);

        if (!idmp_expired(x, item, now_ms))
            break;
        counts.n_iids--;
        if (item->owner->items.prev == &item->by_owner) /* its newest */
            counts.n_producers--;
    }
    return counts;
}

static void idmp_sum(uint64_t sum[2], XXH128_hash_t h)
{
    sum[0] += h.low64;
    sum[1] += h.high64 + (sum[0] < h.low64);
}

static void idmp_digest_item(const struct idmp_item *item, uint64_t place, uint64_t sum[2])
{
    XXH128_hash_t name = XXH3_128bits(item->owner->name, item->owner->len);
    XXH128_hash_t iid = XXH3_128bits(item->iid, item->len);
    uint64_t words[] = { name.low64, name.high64, iid.low64,   iid.high64,
                         place,      item->at_ms, item->id.ms, item->id.seq };

    idmp_sum(sum, XXH3_128bits(words, sizeof words));
}

void idmp_digest(const struct stream_idmp *x, uint64_t now_ms, uint64_t sum[2])
{
    uint64_t words[] = { x->duration_s, x->maxsize, x->iids_added };
    const struct idmp *m = x->map;
    uint64_t place = 0;

    idmp_sum(sum, XXH3_128bits(words, sizeof words));
    if (m == NULL)
        return;
    for (const struct idmp_link *l = m->items.next; l != &m->items; l = l->next)
        if (!idmp_expired(x, idmp_by_age(l), now_ms))
            idmp_digest_item(idmp_by_age(l), place++, sum);
}

size_t idmp_bytes(const struct idmp *m)
{
    return m == NULL ? 0 : sizeof *m + m->bytes;
}

void idmp_auto(const struct slice *strings, size_t n_strings, uint8_t out[IDMP_AUTO_BYTES])
{
    uint64_t sum[2] = { 0, 0 };

    for (size_t i = 0; i + 1 < n_strings; i += 2) {
        uint64_t field = XXH3_64bits(strings[i].p, strings[i].n);

        idmp_sum(sum, XXH3_128bits_withSeed(strings[i + 1].p, strings[i + 1].n, field));
    }
    put_u64le(out, sum[0]);
    put_u64le(out + 8, sum[1]);
}

const char *idmp_check(const struct stream_idmp *x)
{
    struct idmp *m = x->map;
    uint64_t n = 0, last_ms = 0;

    if (m == NULL)
        return NULL;
    for (const struct idmp_link *l = m->items.next; l != &m->items; l = l->next, n++) {
        struct idmp_item *item = idmp_by_age(l);
        struct idmp_producer *p = item->owner;

        if (item->at_ms < last_ms)
            return "M1: not in order of time";
        if (idmp_item_find(p, slice_of(item->iid, item->len)) != item)
            return "M1: an item is not in its producer's dictionary";
        if (idmp_producer_find(m, slice_of(p->name, p->len)) != p)
            return "M1: a producer is not in the dictionary";
        if (p->n == 0 || p->n > x->maxsize || p->n != p->iids.n)
            return "M2: a producer's number of items";
        last_ms = item->at_ms;
    }
    return n == m->n_items ? NULL : "M2: the number of items";
}
