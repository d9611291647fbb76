/*
 * evict.c - keeps names and values within `maxmemory`, at the end of rounds, a little at a time.
 *
 * A value that one record of a segment has whole can leave memory for nothing: *spill*. It is cold then, and whoever asks for it
 * reads it back. Only when that is not enough do keys leave, as the policy says, by records.
 *
 * Both choose in the same way. A hand goes around all databases, bucket by bucket; what may leave and is under it is compared with the
 * best of those that were seen before, and of every `maxmemory-samples` seen the best leaves. As keys lie in the order of their
 * hashes, this is a sample without the cost of one: neighbours lie next to each other. Candidates are noted by hash, since
 * objects move; one that was used or has changed meanwhile is no candidate any more.
 *
 *   what the hand sees, hot               it
 *   backed, its record in a segment       may be dropped
 *   backed, its record not sealed yet     is waited for; the log is asked to seal soon
 *   a hash or list in memory only         gets an image, a record of all of it, and is waited for
 *   larger than that, or hardly anything  stays
 *
 * The hand remembers what it saw since it began its turn. After a whole turn that found nothing it is *spent*: the next one is worth
 * it only when the log has sealed more, or there is much more in memory; until then the policy goes on by itself, and what
 * was read back from the log is noted, so that it can leave again without a turn. What is waited for counts as memory
 * that will be free, so no key leaves for what is only a matter of seconds.
 *
 * Streams are never removed by this: they are no cache.
 *
 *   X1  A value is dropped only if it is backed by a record that is sealed.
 *   X2  Objects are dropped and keys evicted between commands only.
 *   X3  A round looks at EVICT_LOOKS_MAX objects and takes EVICT_LEAVE_MAX of them at most, but for a bucket more.
 */
#include "broker/cache/evict.h"
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/pubsub/notify.h"
#include "log/record.h"

enum {
    EVICT_POOL = 16,
    EVICT_SAMPLES_MAX = 64,
    EVICT_LOOKS_MAX = 8192, /* objects in a round */
    EVICT_LEAVE_MAX = 1024, /* values and keys in a round */
    EVICT_IMAGE_MAX =
        (1 << 20) -
        (8 << 10), /* bytes of a value and its name that get an image: cache_image has 1 MiB */
    EVICT_IMAGES_MAX = 4 << 20, /* of all of them in a round */
    EVICT_GAIN_MIN = 16,        /* bytes that dropping a value has to give back */
    EVICT_RECORD = 64,          /* what the record of an eviction takes beside the name */
    EVICT_COUNTER_FIRST =
        5, /* of a new key, as in Redis: else it would leave before it could be used again */
    EVICT_COUNTER_MAX = UINT8_MAX,
    EVICT_LOADED = 256,   /* values that were read back lately */
    EVICT_GROWN_SHIFT = 6 /* memory that has grown by a 64th: another turn */
};

/* What is looked for. */
enum evict_stage { EVICT_SPILL, EVICT_KEYS, EVICT_STAGES };

struct evict_candidate {
    uint64_t score; /* the higher the sooner it leaves */
    uint32_t hash;
    uint8_t place; /* in state.dbs */
};

/* A hand and what it found. */
struct evict_hand {
    uint8_t place;
    uint64_t cursor;
    struct evict_candidate pool[EVICT_POOL]; /* ascending */
    size_t n;
    size_t n_fresh;              /* put among them since one left */
    uint64_t n_found;            /* in this turn around everything */
    uint64_t waiting_bytes;      /* of values that are not sealed yet, in this turn */
    uint64_t turn_waiting_bytes; /* in the last whole turn */
    bool spent;                  /* a whole turn has found nothing */
    uint64_t sealed_lsn, used_bytes, n_expiring; /* as they were then */
};

struct evict {
    struct evict_hand hands[EVICT_STAGES];
    struct evict_candidate
        loaded[EVICT_LOADED]; /* a ring, the first one of `n_loaded` at `first_loaded` */
    size_t first_loaded, n_loaded;
    bool full;
};

/* What looking needs. */
struct evict_look {
    struct engine *e;
    struct evict_hand *hand;
    enum evict_stage stage;
    uint64_t sealed_lsn;
    size_t n_looks, image_bytes;
    bool
        stuck; /* there was no memory, or no room in the log for a record: the next round will see */
    struct object *found; /* of evict_find_node */
    uint32_t hash;
};

int evict_new(struct evict **out, struct err *e)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? OK : err_set(e, ERR_NOMEM, "keep what leaves memory");
}

void evict_free(struct evict *ev)
{
    free(ev);
}

void evict_reconsider(struct engine *e)
{
    *e->evict = (struct evict){ .full = false };
    evict_begin(e);
}

/* ---- use ---- */

static uint8_t evict_minute(const struct engine *e)
{
    return (uint8_t)(e->now_ms / 60000);
}

/* What an object notes that was used so often, as of now. */
static uint16_t evict_note_uses(const struct engine *e, unsigned counter)
{
    return (uint16_t)((unsigned)evict_minute(e) << 8 | counter);
}

void evict_begin(struct engine *e)
{
    e->counts_uses = evict_counts_uses(e->config);
    e->state.new_clock =
        e->counts_uses ? evict_note_uses(e, EVICT_COUNTER_FIRST) : (uint16_t)(e->now_ms / 1000);
}

uint64_t evict_idle_s(const struct engine *e, const struct object *o)
{
    return (uint16_t)(e->now_ms / 1000 - o->clock);
}

/* The counter after the minutes that have passed. */
unsigned evict_frequency(const struct engine *e, const struct object *o)
{
    unsigned counter = o->clock & UINT8_MAX;
    uint8_t passed = (uint8_t)(evict_minute(e) - (o->clock >> 8));
    int64_t falls = e->config->lfu_decay_time > 0 ? passed / e->config->lfu_decay_time : 0;

    return falls >= counter ? 0 : counter - (unsigned)falls;
}

/* One more use counts with a probability of 1 / (counter * factor + 1): Redis's counter. */
void evict_count_use(struct engine *e, struct object *o)
{
    unsigned counter = evict_frequency(e, o);
    uint64_t above = counter > EVICT_COUNTER_FIRST ? counter - EVICT_COUNTER_FIRST : 0;
    uint64_t odds = above * (uint64_t)e->config->lfu_log_factor + 1;

    if (counter < EVICT_COUNTER_MAX && engine_random(e) % odds == 0)
        counter++;
    o->clock = evict_note_uses(e, counter);
}

/* ---- what may leave, and how soon ---- */

static bool evict_is_volatile(const struct engine *e)
{
    return e->config->maxmemory_policy <= EVICT_VOLATILE_TTL;
}

static uint64_t evict_score(const struct engine *e, const struct object *o, enum evict_stage stage)
{
    int64_t policy = e->config->maxmemory_policy;

    if (stage == EVICT_KEYS && policy == EVICT_VOLATILE_TTL)
        return OBJECT_EXPIRY_MAX - o->expiry_ms;
    if (stage == EVICT_KEYS && (policy == EVICT_ALL_RANDOM || policy == EVICT_VOLATILE_RANDOM))
        return o->node.hash * 2654435761u; /* which order there is means nothing */
    if (e->counts_uses)
        return EVICT_COUNTER_MAX - evict_frequency(e, o);
    return evict_idle_s(e, o);
}

/* Bytes that a hash or list takes beside its object. */
static size_t evict_aggregate_bytes(const struct object *o)
{
    return o->type == OBJECT_HASH ? hash_bytes(cache_hash(o)) : list_bytes(cache_list(o));
}

/* Bytes that dropping a hot value gives back; 0: too few, or it has to stay. */
static size_t evict_gain(const struct object *o)
{
    size_t kept = OBJECT_HEAD + object_extras(o) + o->name_n, now;

    if (o->type == OBJECT_HASH && hash_n_expiring(cache_hash(o)) > 0)
        return 0; /* its fields have times to be kept */
    if (o->type != OBJECT_STRING)
        return evict_aggregate_bytes(o);
    if (o->flags & OBJECT_OUT)
        return object_size(o);
    now = malloc_usable_size((void *)(uintptr_t)o);
    return now >= kept + EVICT_GAIN_MIN ? now - kept : 0;
}

/* Whether the value may get an image: one that is in memory only. */
static bool evict_may_image(const struct object *o)
{
    size_t n = o->type == OBJECT_STRING ? object_size(o) : evict_aggregate_bytes(o);

    return n + object_name(o).n <= EVICT_IMAGE_MAX;
}

static bool evict_may_spill(struct evict_look *x, const struct object *o)
{
    size_t gain;

    if (!object_is_value(o) || o->flags & OBJECT_COLD || engine_is_expired(x->e, o))
        return false;
    gain = evict_gain(o);
    if (gain == 0)
        return false;
    if (!(o->flags & OBJECT_BACKED))
        return evict_may_image(o);
    if (object_back_lsn(o) <= x->sealed_lsn)
        return true;
    x->hand->waiting_bytes += gain;
    return false;
}

static bool evict_may_leave(struct evict_look *x, const struct object *o)
{
    if (x->stage == EVICT_SPILL)
        return evict_may_spill(x, o);
    return object_is_value(o) && (o->expiry_ms != 0 || !evict_is_volatile(x->e));
}

/* ---- the hand ---- */

static void evict_note(struct evict_hand *h, const struct evict_candidate *c)
{
    size_t i = h->n;

    h->n_fresh++;
    if (h->n == EVICT_POOL) {
        if (c->score <= h->pool[0].score)
            return;
        memmove(&h->pool[0], &h->pool[1], (EVICT_POOL - 1) * sizeof h->pool[0]);
        i = --h->n;
    }
    for (; i > 0 && h->pool[i - 1].score > c->score; i--)
        h->pool[i] = h->pool[i - 1];
    h->pool[i] = *c;
    h->n++;
}

static void evict_look_at(void *ctx, struct dict_node *node)
{
    struct evict_look *x = ctx;
    struct object *o = state_of_node(node);
    struct evict_candidate c = { .hash = node->hash, .place = o->db };

    x->n_looks++;
    if (x->e->counts_uses) /* or an object that nobody uses would seem to be young again after 256 minutes */
        o->clock = evict_note_uses(x->e, evict_frequency(x->e, o));
    if (!evict_may_leave(x, o))
        return;
    x->hand->n_found++;
    c.score = evict_score(x->e, o, x->stage);
    evict_note(x->hand, &c);
}

static uint64_t evict_n_expiring(const struct engine *e)
{
    uint64_t n = 0;

    for (int i = 0; i < CONFIG_DATABASES; i++)
        n += e->state.dbs[i].n_expiring;
    return n;
}

/* The hand has been everywhere since it was here. */
static void evict_end_turn(struct evict_look *x)
{
    struct evict_hand *h = x->hand;

    h->spent = h->n_found == 0;
    h->sealed_lsn = x->sealed_lsn;
    h->used_bytes = x->e->state.used_bytes;
    h->n_expiring = evict_n_expiring(x->e);
    h->turn_waiting_bytes = h->waiting_bytes;
    h->n_found = 0;
    h->waiting_bytes = 0;
}

/* Moves the hand by a bucket, or on to the next database. */
static void evict_move(struct evict_look *x)
{
    struct evict_hand *h = x->hand;
    struct dict *names = &x->e->state.dbs[h->place].names;

    h->cursor = names->n > 0 ? dict_scan(names, h->cursor, evict_look_at, x) : 0;
    x->n_looks++;
    if (h->cursor != 0)
        return;
    h->place = (uint8_t)((h->place + 1) % CONFIG_DATABASES);
    if (h->place == 0)
        evict_end_turn(x);
}

/* Looks until enough candidates were found to choose from. False: not in this round. */
static bool evict_collect(struct evict_look *x)
{
    struct evict_hand *h = x->hand;
    size_t samples = (size_t)x->e->config->maxmemory_samples;

    if (samples > EVICT_SAMPLES_MAX)
        samples = EVICT_SAMPLES_MAX;
    while (h->n_fresh < samples && !h->spent) {
        if (x->n_looks >= EVICT_LOOKS_MAX)
            return false;
        evict_move(x);
    }
    return h->n > 0;
}

static void evict_find_node(void *ctx, struct dict_node *node)
{
    struct evict_look *x = ctx;

    if (node->hash == x->hash)
        x->found = state_of_node(node);
}

/* The object of a candidate, if it still is one; NULL: it is not. */
static struct object *evict_find(struct evict_look *x, const struct evict_candidate *c)
{
    uint64_t waiting = x->hand->waiting_bytes;
    bool may;

    x->found = NULL;
    x->hash = c->hash;
    dict_each_hash(&x->e->state.dbs[c->place].names, c->hash, evict_find_node, x);
    may = x->found != NULL && evict_may_leave(x, x->found) &&
          evict_score(x->e, x->found, x->stage) >= c->score;
    x->hand->waiting_bytes = waiting; /* it was counted when it was seen */
    return may ? x->found : NULL;
}

static struct object *evict_choose(struct evict_look *x)
{
    struct object *o = evict_find(x, &x->hand->pool[--x->hand->n]);

    if (o != NULL)
        x->hand->n_fresh = 0;
    return o;
}

/* The one of those read back that was read first; NULL: it has changed since, or has left already. */
static struct object *evict_choose_loaded(struct evict_look *x)
{
    struct evict *ev = x->e->evict;
    struct evict_candidate c = ev->loaded[ev->first_loaded++ % EVICT_LOADED];

    ev->n_loaded--;
    return evict_find(x, &c);
}

void evict_loaded(struct engine *e, const struct object *o)
{
    struct evict *ev = e->evict;
    struct evict_candidate c = { .hash = o->node.hash, .place = o->db };

    e->stats.n_loaded_values++;
    if (ev->n_loaded == EVICT_LOADED) { /* more than can be noted: they are looked for */
        ev->first_loaded++;
        ev->n_loaded--;
        ev->hands[EVICT_SPILL].spent = false;
    }
    ev->loaded[(ev->first_loaded + ev->n_loaded++) % EVICT_LOADED] = c;
}

/* ---- leaving ---- */

/* X1. */
static int evict_drop(struct engine *e, struct object *o)
{
    struct state_value v;
    int rc;

    assert(o->flags & OBJECT_BACKED && object_back_lsn(o) <= log_sealed_lsn(e->log));
    state_get_value(o, &v);
    v.flags |= OBJECT_COLD;
    rc = state_set_value(&e->state, &o, &v, NULL);
    e->stats.n_spilled_values += rc == OK;
    return rc;
}

/* A record of all of it, so that it can be dropped later. One that is too large for that stays, and was not found. */
static int evict_image(struct evict_look *x, struct object *o, size_t gain)
{
    int rc = cache_image(x->e, &o, NULL);

    x->image_bytes += gain;
    if (rc == ERR_TOO_BIG && x->hand->n_found > 0)
        x->hand->n_found--;
    return rc == ERR_TOO_BIG ? OK : rc;
}

/* False: nothing more in this round. */
static bool evict_spill(struct evict_look *x, struct object *o)
{
    size_t gain = evict_gain(o);

    if (o->flags & OBJECT_BACKED)
        x->stuck = evict_drop(x->e, o) != OK;
    else if (x->image_bytes + gain <= EVICT_IMAGES_MAX)
        x->stuck = evict_image(x, o, gain) != OK;
    else
        return false;
    return !x->stuck;
}

/* False: nothing more in this round. */
static bool evict_key(struct evict_look *x, struct object *o)
{
    struct engine *e = x->e;
    int db = state_db_of(&e->state, o);

    x->stuck = log_reserve(e->log, object_name(o).n + EVICT_RECORD, NULL) != OK;
    if (x->stuck)
        return false;
    notify(e, NOTIFY_EVICTED, "evicted", db, object_name(o));
    engine_unname(e, NULL, o, REASON_EVICT);
    e->stats.n_evicted_keys++;
    return true;
}

static bool evict_is_over(const struct engine *e)
{
    return e->config->maxmemory != 0 && e->state.used_bytes > e->config->maxmemory;
}

static void evict_spill_some(struct evict_look *x)
{
    for (size_t n = 0; n < EVICT_LEAVE_MAX && evict_is_over(x->e) && evict_collect(x); n++) {
        struct object *o = evict_choose(x);
        if (o != NULL && !evict_spill(x, o))
            return;
    }
}

static void evict_spill_loaded(struct evict_look *x)
{
    while (x->e->evict->n_loaded > 0 && evict_is_over(x->e)) {
        struct object *o = evict_choose_loaded(x);
        if (o != NULL && !evict_spill(x, o))
            return;
    }
}

static void evict_some_keys(struct evict_look *x)
{
    for (size_t n = 0; n < EVICT_LEAVE_MAX && evict_is_over(x->e) && evict_collect(x); n++) {
        struct object *o = evict_choose(x);
        if (o != NULL && !evict_key(x, o))
            return;
    }
}

/* ---- rounds ---- */

/* A spent hand goes around once more if there may be something: more is sealed, or there is much more in memory. */
static void evict_revive(const struct evict_look *x)
{
    struct evict_hand *h = x->hand;
    uint64_t used = x->e->state.used_bytes;

    if (h->sealed_lsn != x->sealed_lsn || used > h->used_bytes + (used >> EVICT_GROWN_SHIFT))
        h->spent = false;
}

/* Memory that will be free when all is sealed: what the last turn saw, and what is new since. */
static uint64_t evict_waiting_bytes(const struct evict_look *x)
{
    const struct evict_hand *h = x->hand;
    uint64_t used = x->e->state.used_bytes;

    return h->turn_waiting_bytes + (used > h->used_bytes ? used - h->used_bytes : 0);
}

/* True if spilling can still do it: something is left, or will be soon. */
static bool evict_spill_step(struct evict_look *x)
{
    const struct engine *e = x->e;

    if (!e->config->maxmemory_spill)
        return false;
    evict_revive(x);
    if (x->hand->spent)
        evict_spill_loaded(x);
    else
        evict_spill_some(x);
    if (!evict_is_over(e) || !x->hand->spent)
        return true;
    if (x->hand->turn_waiting_bytes > 0)
        log_seal_soon(e->log);
    return evict_waiting_bytes(x) >= e->state.used_bytes - e->config->maxmemory;
}

/* The same for keys. Those that may leave become more by expiries, or after memory was free. */
static bool evict_keys_step(struct evict_look *x)
{
    if (x->e->config->maxmemory_policy == EVICT_NONE)
        return false;
    if (x->hand->n_expiring != evict_n_expiring(x->e))
        x->hand->spent = false;
    evict_some_keys(x);
    return !x->stuck && (!x->hand->spent || !evict_is_over(x->e));
}

bool evict_step(struct engine *e)
{
    struct evict *ev = e->evict;
    struct evict_look x = { .e = e, .hand = &ev->hands[EVICT_SPILL] };

    ev->full = false;
    if (!evict_is_over(e) || e->failed) {
        ev->hands[EVICT_KEYS].spent = false;
        return false;
    }
    x.sealed_lsn = log_sealed_lsn(e->log);
    if (evict_spill_step(&x)) {
        ev->full = x.stuck;
        return evict_is_over(e) && !x.hand->spent && !x.stuck;
    }
    x = (struct evict_look){ .e = e, .hand = &ev->hands[EVICT_KEYS], .stage = EVICT_KEYS };
    ev->full = !evict_keys_step(&x);
    return evict_is_over(e) && !ev->full;
}

bool evict_is_full(const struct engine *e)
{
    return e->evict->full;
}
