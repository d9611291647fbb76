/*
 * blockcache.c - which decoded blocks and pages stay in memory.
 *
 * The order of leaving is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache eviction,
 * SOSP 2023): what is new goes into a small queue, a tenth of the limit; what was used again while it was there goes on
 * into the main one when its turn comes, all else leaves and is remembered by name only (ghost). What comes back
 * soon enough to find its ghost enters the main queue at once. In that, an item whose turn comes starts anew as often as it
 * was used, up to three times. A scan thus passes through the tenth, and hits cost a counter.
 *
 *   miss -> small -> (used again) -> main -> out          pinned: in no queue, back to where it was
 *             `----> ghost (its name) --^
 *
 * Items are known by the salt and ordinal of their file, not by its address: a segment that is opened later may
 * lie where one was that is gone.
 *
 *   K1  bytes is what all items but ghosts take, pinned_bytes those of pinned ones.
 *   K2  bytes <= limit, or all of them are pinned.
 *   K3  An item is in exactly one queue; a name is there once.
 *
 * One lock guards all; files are read without it. Two threads that miss the same block may both read it; the second one
 * then takes what the first has brought.
 */
#include "log/blockcache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    CACHE_USES_MAX = 3,
    CACHE_USES_KEPT = 2,   /* of an item of the small queue, to go on into the main one */
    CACHE_GHOSTS_MIN = 64, /* else as many as there are items */
    CACHE_BUCKETS_FIRST = 256,
};

enum cache_place { CACHE_SMALL, CACHE_MAIN, CACHE_GHOST, CACHE_PINNED, CACHE_N_PLACES };

struct cache_name {
    uint64_t salt, ordinal;
    uint32_t no;
    bool is_page;
};

struct cache_item {
    struct cache_item *next_hash;
    struct cache_item *prev, *next; /* of its queue */
    struct cache_name name;
    void *object; /* struct block or struct segment_page, a reference; NULL of a ghost */
    size_t bytes;
    uint32_t n_pins;
    uint8_t uses;
    enum cache_place place, home; /* home: where it goes when it is no longer pinned */
};

struct cache_queue { /* new ones in front; `ends` is before the first and behind the last */
    struct cache_item ends;
    uint64_t bytes;
    size_t n;
};

struct blockcache {
    pthread_mutex_t lock;
    struct cache_queue queues[CACHE_N_PLACES];
    struct cache_item **buckets;
    size_t n_buckets, n_items; /* a power of two; ghosts included */
    uint64_t limit, bytes, hits, misses, evictions;
};

/* ---- names ---- */

static struct cache_name cache_name_of(const struct segment *s, uint32_t no, bool is_page)
{
    return (struct cache_name){
        .salt = segment_salt(s), .ordinal = segment_info(s)->ordinal, .no = no, .is_page = is_page
    };
}

static bool cache_name_equal(const struct cache_name *a, const struct cache_name *b)
{
    return a->salt == b->salt && a->no == b->no && a->is_page == b->is_page &&
           a->ordinal == b->ordinal;
}

/* The salt is random already: the number only has to be spread. */
static struct cache_item **cache_bucket(const struct blockcache *c, const struct cache_name *name)
{
    uint64_t h = name->salt ^ name->ordinal << 33 ^ (((uint64_t)name->no << 1) | name->is_page);

    h *= 0x9e3779b97f4a7c15u;
    return &c->buckets[(h >> 32) & (c->n_buckets - 1)];
}

static struct cache_item *cache_find(const struct blockcache *c, const struct cache_name *name)
{
    struct cache_item *i = *cache_bucket(c, name);

    while (i != NULL && !cache_name_equal(&i->name, name))
        i = i->next_hash;
    return i;
}

/* Twice the buckets; where there is no memory for them, chains grow longer. */
static void cache_grow(struct blockcache *c)
{
    size_t n = c->n_buckets;
    struct cache_item **old = c->buckets, **more = calloc(2 * n, sizeof(struct cache_item *));

    if (more == NULL)
        return;
    c->buckets = more;
    c->n_buckets = 2 * n;
    for (size_t b = 0; b < n; b++) {
        for (struct cache_item *i = old[b], *next; i != NULL; i = next) {
            struct cache_item **at = cache_bucket(c, &i->name);
            next = i->next_hash;
            i->next_hash = *at;
            *at = i;
        }
    }
    free(old);
}

/* ---- queues ---- */

static void cache_enqueue(struct blockcache *c, struct cache_item *i, enum cache_place place)
{
    struct cache_queue *q = &c->queues[place];

    i->place = place;
    i->prev = &q->ends;
    i->next = q->ends.next;
    i->next->prev = i;
    q->ends.next = i;
    q->bytes += i->bytes;
    q->n++;
}

static void cache_dequeue(struct blockcache *c, struct cache_item *i)
{
    struct cache_queue *q = &c->queues[i->place];

    i->prev->next = i->next;
    i->next->prev = i->prev;
    q->bytes -= i->bytes;
    q->n--;
}

static struct cache_item *cache_oldest(struct blockcache *c, enum cache_place place)
{
    struct cache_queue *q = &c->queues[place];

    return q->n > 0 ? q->ends.prev : NULL;
}

static void cache_drop_object(struct blockcache *c, struct cache_item *i)
{
    if (i->object == NULL)
        return;
    if (i->name.is_page)
        segment_page_unref(i->object);
    else
        block_unref(i->object);
    c->bytes -= i->bytes; /* K1 */
    i->object = NULL;
}

/* Forgets an item altogether. */
static void cache_remove(struct blockcache *c, struct cache_item *i)
{
    struct cache_item **at = cache_bucket(c, &i->name);

    while (*at != i)
        at = &(*at)->next_hash;
    *at = i->next_hash;
    cache_dequeue(c, i);
    cache_drop_object(c, i);
    c->n_items--;
    free(i);
}

/* Keeps only the name. */
static void cache_make_ghost(struct blockcache *c, struct cache_item *i)
{
    size_t most = c->queues[CACHE_SMALL].n + c->queues[CACHE_MAIN].n;

    cache_dequeue(c, i);
    cache_drop_object(c, i);
    i->bytes = 0;
    cache_enqueue(c, i, CACHE_GHOST);
    while (c->queues[CACHE_GHOST].n > CACHE_GHOSTS_MIN && c->queues[CACHE_GHOST].n > most)
        cache_remove(c, cache_oldest(c, CACHE_GHOST));
}

static void cache_evict_small(struct blockcache *c)
{
    struct cache_item *i = cache_oldest(c, CACHE_SMALL);

    if (i->uses >= CACHE_USES_KEPT) {
        cache_dequeue(c, i);
        i->uses = 0;
        cache_enqueue(c, i, CACHE_MAIN);
    } else {
        c->evictions++;
        cache_make_ghost(c, i);
    }
}

static void cache_evict_main(struct blockcache *c)
{
    struct cache_item *i = cache_oldest(c, CACHE_MAIN);

    if (i->uses > 0) {
        cache_dequeue(c, i);
        i->uses--;
        cache_enqueue(c, i, CACHE_MAIN);
    } else {
        c->evictions++;
        cache_remove(c, i);
    }
}

/* Makes K2 hold. Each turn moves an item on or takes a use from it, so it ends. */
static void cache_shrink(struct blockcache *c)
{
    const struct cache_queue *small = &c->queues[CACHE_SMALL], *large = &c->queues[CACHE_MAIN];

    while (c->bytes > c->limit && small->n + large->n > 0) {
        if (small->n > 0 && (small->bytes > c->limit / 10 || large->n == 0))
            cache_evict_small(c);
        else
            cache_evict_main(c);
    }
}

/* ---- what the header says ---- */

int blockcache_new(uint64_t limit, struct blockcache **out, struct err *e)
{
    struct blockcache *c = calloc(1, sizeof *c);

    if (c == NULL)
        goto fail;
    c->buckets = calloc(CACHE_BUCKETS_FIRST, sizeof(struct cache_item *));
    if (c->buckets == NULL || pthread_mutex_init(&c->lock, NULL) != 0)
        goto fail;
    c->n_buckets = CACHE_BUCKETS_FIRST;
    c->limit = limit;
    for (int q = 0; q < CACHE_N_PLACES; q++)
        c->queues[q].ends.prev = c->queues[q].ends.next = &c->queues[q].ends;
    *out = c;
    return OK;

fail:
    if (c != NULL)
        free(c->buckets);
    free(c);
    return err_set(e, ERR_NOMEM, "no memory for the cache of blocks");
}

void blockcache_free(struct blockcache *c)
{
    if (c == NULL)
        return;
    assert(c->queues[CACHE_PINNED].n == 0);
    blockcache_forget(c, NULL);
    assert(c->n_items == 0 && c->bytes == 0); /* K1 */
    pthread_mutex_destroy(&c->lock);
    free(c->buckets);
    free(c);
}

void blockcache_set_limit(struct blockcache *c, uint64_t limit)
{
    pthread_mutex_lock(&c->lock);
    c->limit = limit;
    cache_shrink(c);
    pthread_mutex_unlock(&c->lock);
}

/* Another reference of the object, for a caller who holds the lock. */
static void *cache_use(struct cache_item *i)
{
    if (i->uses < CACHE_USES_MAX)
        i->uses++;
    if (i->name.is_page) {
        struct segment_page *page = i->object;
        atomic_fetch_add_explicit(&page->refs, 1, memory_order_relaxed);
        return page;
    }
    return block_ref(i->object);
}

static void *cache_get(struct blockcache *c, const struct cache_name *name)
{
    struct cache_item *i;
    void *object = NULL;

    pthread_mutex_lock(&c->lock);
    i = cache_find(c, name);
    if (i != NULL && i->object != NULL) {
        object = cache_use(i);
        c->hits++;
    } else {
        c->misses++;
    }
    pthread_mutex_unlock(&c->lock);
    return object;
}

static void cache_pin_item(struct blockcache *c, struct cache_item *i)
{
    if (i->n_pins++ > 0)
        return;
    cache_dequeue(c, i);
    i->home = i->place;
    cache_enqueue(c, i, CACHE_PINNED);
}

/* An item for the name, which has no object, without one yet; it is in no queue. NULL if memory ran out. */
static struct cache_item *cache_make_item(struct blockcache *c, const struct cache_name *name)
{
    struct cache_item *i = cache_find(c, name), **at;

    if (i != NULL) { /* a ghost */
        cache_dequeue(c, i);
        i->place = CACHE_MAIN;
        return i;
    }
    i = calloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    if (c->n_items >= c->n_buckets)
        cache_grow(c);
    i->name = *name;
    i->place = CACHE_SMALL;
    at = cache_bucket(c, name);
    i->next_hash = *at;
    *at = i;
    c->n_items++;
    return i;
}

/* Whether something that is not pinned is too large to be kept: it would drive out too much. */
static bool cache_is_huge(const struct blockcache *c, size_t bytes)
{
    return bytes > c->limit / 4;
}

/* Puts in what has been read; the caller keeps its reference. False if it should be pinned and memory ran out. */
static bool cache_insert(struct blockcache *c, const struct cache_name *name, void *object,
                         size_t memory, bool pin)
{
    size_t bytes = memory + sizeof(struct cache_item);
    struct cache_item *i;

    if (!pin && cache_is_huge(c, bytes))
        return true;
    i = cache_make_item(c, name);
    if (i == NULL)
        return !pin;
    i->object = object;
    i->bytes = bytes;
    i->uses = 0;
    cache_use(i); /* the cache's own reference */
    i->uses = 0;
    c->bytes += bytes;
    cache_enqueue(c, i, i->place);
    if (pin)
        cache_pin_item(c, i);
    cache_shrink(c);
    return true;
}

static void cache_unref(const struct cache_name *name, void *object)
{
    if (name->is_page)
        segment_page_unref(object);
    else
        block_unref(object);
}

/* Puts in what has been read, unless another thread was faster: *object is what is there then. With `pin` it is
 * also pinned. */
static int cache_keep(struct blockcache *c, const struct cache_name *name, void **object,
                      size_t memory, bool pin, struct err *e)
{
    struct cache_item *i;
    bool kept = true;

    pthread_mutex_lock(&c->lock);
    i = cache_find(c, name);
    if (i != NULL && i->object != NULL) {
        cache_unref(name, *object);
        *object = cache_use(i);
        if (pin)
            cache_pin_item(c, i);
    } else {
        kept = cache_insert(c, name, *object, memory, pin);
    }
    pthread_mutex_unlock(&c->lock);
    if (kept)
        return OK;
    cache_unref(name, *object);
    return err_set(e, ERR_NOMEM, "no memory to keep a block");
}

struct block *blockcache_get_block(struct blockcache *c, const struct segment *s, uint32_t block_no)
{
    struct cache_name name = cache_name_of(s, block_no, false);

    return cache_get(c, &name);
}

struct segment_page *blockcache_get_page(struct blockcache *c, const struct segment *s,
                                         uint32_t page)
{
    struct cache_name name = cache_name_of(s, page, true);

    return cache_get(c, &name);
}

/* Reads a block that is not there; keeps it, pinned or not. */
static int cache_fetch_block(struct blockcache *c, struct segment *s, struct block_decoder *decoder,
                             const struct segment_block *at, bool pin, struct block **out,
                             struct err *e)
{
    struct cache_name name = cache_name_of(s, at->block_no, false);
    struct block *b = NULL;
    void *object;
    int rc = segment_read_block(s, decoder, at, &b, e);

    if (rc != OK)
        return rc;
    object = b;
    rc = cache_keep(c, &name, &object, b->memory, pin, e);
    if (rc == OK)
        *out = object;
    return rc;
}

static int cache_fetch_page(struct blockcache *c, struct segment *s, uint32_t page, bool pin,
                            struct segment_page **out, struct err *e)
{
    struct cache_name name = cache_name_of(s, page, true);
    struct segment_page *p = NULL;
    void *object;
    int rc = segment_read_page(s, page, &p, e);

    if (rc != OK)
        return rc;
    object = p;
    rc = cache_keep(c, &name, &object, p->memory, pin, e);
    if (rc == OK)
        *out = object;
    return rc;
}

int blockcache_read_block(struct blockcache *c, struct segment *s, struct block_decoder *decoder,
                          const struct segment_block *at, struct block **out, struct err *e)
{
    struct block *b = blockcache_get_block(c, s, at->block_no);

    if (b == NULL)
        return cache_fetch_block(c, s, decoder, at, false, out, e);
    *out = b;
    return OK;
}

int blockcache_read_page(struct blockcache *c, struct segment *s, uint32_t page,
                         struct segment_page **out, struct err *e)
{
    struct segment_page *p = blockcache_get_page(c, s, page);

    if (p == NULL)
        return cache_fetch_page(c, s, page, false, out, e);
    *out = p;
    return OK;
}

/* ---- pins ---- */

static bool cache_pin(struct blockcache *c, const struct cache_name *name)
{
    struct cache_item *i;
    bool there;

    pthread_mutex_lock(&c->lock);
    i = cache_find(c, name);
    there = i != NULL && i->object != NULL;
    if (there)
        cache_pin_item(c, i);
    pthread_mutex_unlock(&c->lock);
    return there;
}

static void cache_unpin(struct blockcache *c, const struct cache_name *name)
{
    struct cache_item *i;

    pthread_mutex_lock(&c->lock);
    i = cache_find(c, name);
    assert(i != NULL && i->n_pins > 0);
    if (--i->n_pins == 0) {
        cache_dequeue(c, i);
        cache_enqueue(c, i, i->home);
        if (cache_is_huge(c, i->bytes))
            cache_remove(c, i);
        cache_shrink(c);
    }
    pthread_mutex_unlock(&c->lock);
}

bool blockcache_pin_block(struct blockcache *c, const struct segment *s, uint32_t block_no)
{
    struct cache_name name = cache_name_of(s, block_no, false);

    return cache_pin(c, &name);
}

bool blockcache_pin_page(struct blockcache *c, const struct segment *s, uint32_t page)
{
    struct cache_name name = cache_name_of(s, page, true);

    return cache_pin(c, &name);
}

void blockcache_unpin_block(struct blockcache *c, const struct segment *s, uint32_t block_no)
{
    struct cache_name name = cache_name_of(s, block_no, false);

    cache_unpin(c, &name);
}

void blockcache_unpin_page(struct blockcache *c, const struct segment *s, uint32_t page)
{
    struct cache_name name = cache_name_of(s, page, true);

    cache_unpin(c, &name);
}

int blockcache_load_block(struct blockcache *c, struct segment *s, struct block_decoder *decoder,
                          const struct segment_block *at, struct err *e)
{
    struct block *b = NULL;
    int rc;

    if (blockcache_pin_block(c, s, at->block_no))
        return OK;
    rc = cache_fetch_block(c, s, decoder, at, true, &b, e);
    if (rc == OK)
        block_unref(b);
    return rc;
}

int blockcache_load_page(struct blockcache *c, struct segment *s, uint32_t page, struct err *e)
{
    struct segment_page *p = NULL;
    int rc;

    if (blockcache_pin_page(c, s, page))
        return OK;
    rc = cache_fetch_page(c, s, page, true, &p, e);
    if (rc == OK)
        segment_page_unref(p);
    return rc;
}

/* ---- the rest ---- */

static bool cache_is_of(const struct cache_item *i, const struct segment *s)
{
    return s == NULL ||
           (i->name.salt == segment_salt(s) && i->name.ordinal == segment_info(s)->ordinal);
}

void blockcache_forget(struct blockcache *c, const struct segment *s)
{
    pthread_mutex_lock(&c->lock);
    for (int place = 0; place < CACHE_PINNED; place++) {
        struct cache_queue *q = &c->queues[place];
        for (struct cache_item *i = q->ends.next, *next; i != &q->ends; i = next) {
            next = i->next;
            if (cache_is_of(i, s))
                cache_remove(c, i);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

void blockcache_get_stats(struct blockcache *c, struct blockcache_stats *out)
{
    pthread_mutex_lock(&c->lock);
    *out = (struct blockcache_stats){ .bytes = c->bytes,
                                      .limit = c->limit,
                                      .pinned_bytes = c->queues[CACHE_PINNED].bytes,
                                      .n = c->n_items - c->queues[CACHE_GHOST].n,
                                      .hits = c->hits,
                                      .misses = c->misses,
                                      .evictions = c->evictions };
    pthread_mutex_unlock(&c->lock);
}
