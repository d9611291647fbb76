/*
 * tracking.c - whom to tell when a key changes.
 *
 * A client that tracks is a tracker. There are two tables of what trackers want to know:
 *
 *   keys       "user:7" ──► IDs of clients that have read it          default: told once, then forgotten
 *   prefixes   "user:"  ──► trackers with BCAST
 *                       ──► keys with that prefix changed in this round
 *
 * IDs in the table of keys are not looked for when a client leaves: they are never given again, so a stale one finds no tracker,
 * and goes when its key changes or has to make room. If the last tracker leaves, or with a flush, the whole table is put
 * aside and freed in slices.
 *
 * A change looks for prefixes by the lengths there are, few however many prefixes there may be. What it finds is told when the round
 * ends: each key once, in the order of names, encoded once for all trackers of the prefix but those with NOLOOP who have made
 * one of the changes.
 *
 * Telling more than is necessary is always right, since a client only reads again; so whatever cannot be remembered for want of memory is
 * told at once.
 *
 *   R1  A tracker is in the table by its client's ID, in the list of who redirects to its target, and in those of its prefixes.
 *   R2  A key's IDs ascend; n_items is how many there are of all keys.
 *   R3  A prefix has a tracker; lengths[i] says how many prefixes have that length.
 *   R4  A prefix with changed keys is in the list of those.
 */
#include "broker/pubsub/tracking.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>
#include "broker/engine/engine.h"
#include "broker/engine/push.h"

enum {
    TRACKING_KEYS_INLINE = 64, /* positions of a command's keys */
    TRACKING_SLICE = 2000,     /* keys freed a round */
};

struct tracked {           /* a key that somebody has read */
    struct dict_node node; /* must be first */
    uint32_t n, cap;       /* cap 0: there is one, in `one` */
    union {
        uint64_t one, *many;
    } ids;
    size_t len;
    uint8_t name[];
};

struct changed {             /* a key with a prefix, in this round */
    struct dict_node node;   /* must be first */
    const struct client *by; /* who alone has changed it; NULL: nobody, or several */
    size_t len;
    uint8_t name[];
};

TAILQ_HEAD(prefix_use_list, prefix_use);
TAILQ_HEAD(prefix_list, prefix);

struct prefix_use {
    TAILQ_ENTRY(prefix_use) of_prefix;
    struct prefix *prefix;
    struct tracker *tracker;
};

struct prefix {
    struct dict_node node; /* must be first */
    struct prefix_use_list uses;
    struct dict changed;
    TAILQ_ENTRY(prefix) by_change; /* while it has changed keys */
    bool is_changed, lost; /* lost: a key could not be remembered, so all are to be forgotten */
    size_t len;
    uint8_t name[];
};

struct tracker {
    struct dict_node node; /* must be first */
    uint64_t id;           /* of the client */
    struct client *client;
    unsigned flags;
    uint64_t redirect;                        /* the target's ID, also when it has gone; 0: none */
    struct client *target;                    /* NULL: none, or gone */
    struct tracker *target_next, **target_at; /* in the list of its redirected */
    struct prefix_use **uses;
    size_t n_uses;
};

struct tracking {
    struct dict keys, prefixes, trackers;
    struct dict dead; /* what `keys` was: to be freed */
    uint64_t dead_cursor;
    struct prefix_list changed;
    uint32_t lengths[TRACKING_PREFIX_MAX + 1];
    size_t n_items, longest; /* longest: prefix */
};

/* ---- tables ---- */

static struct tracked *tracked_of_node(const struct dict_node *node)
{
    return (struct tracked *)(uintptr_t)node; /* node is its first member */
}

static struct slice tracked_name(const struct dict_node *node)
{
    const struct tracked *k = tracked_of_node(node);

    return slice_of(k->name, k->len);
}

static struct changed *changed_of_node(const struct dict_node *node)
{
    return (struct changed *)(uintptr_t)node; /* node is its first member */
}

static struct slice changed_name(const struct dict_node *node)
{
    const struct changed *k = changed_of_node(node);

    return slice_of(k->name, k->len);
}

static struct prefix *prefix_of_node(const struct dict_node *node)
{
    return (struct prefix *)(uintptr_t)node; /* node is its first member */
}

static struct slice prefix_name(const struct dict_node *node)
{
    const struct prefix *p = prefix_of_node(node);

    return slice_of(p->name, p->len);
}

static struct tracker *tracker_of_node(const struct dict_node *node)
{
    return (struct tracker *)(uintptr_t)node; /* node is its first member */
}

static struct slice tracker_name(const struct dict_node *node)
{
    const struct tracker *t = tracker_of_node(node);

    return slice_of(&t->id, sizeof t->id);
}

/* Calls `each`, which may remove the node that it gets, for all. */
static void tracking_each(struct dict *d, void (*each)(void *ctx, struct dict_node *), void *ctx)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(d, cursor, each, ctx);
    while (cursor != 0);
}

int tracking_new(const uint8_t hash_key[16], struct tracking **out, struct err *err)
{
    struct tracking *t = calloc(1, sizeof *t);

    if (t == NULL)
        return err_set(err, ERR_NOMEM, "make the table of tracked keys");
    dict_init(&t->keys, hash_key, tracked_name);
    dict_init(&t->dead, hash_key, tracked_name);
    dict_init(&t->prefixes, hash_key, prefix_name);
    dict_init(&t->trackers, hash_key, tracker_name);
    TAILQ_INIT(&t->changed);
    *out = t;
    return OK;
}

static void tracked_free(struct tracked *k)
{
    if (k->cap > 0)
        free(k->ids.many);
    free(k);
}

static void tracking_free_key(void *ctx, struct dict_node *node)
{
    dict_remove(ctx, node);
    tracked_free(tracked_of_node(node));
}

void tracking_free(struct tracking *t)
{
    if (t == NULL)
        return;
    assert(t->trackers.n == 0 && t->prefixes.n == 0);
    tracking_each(&t->keys, tracking_free_key, &t->keys);
    tracking_each(&t->dead, tracking_free_key, &t->dead);
    dict_fini(&t->keys);
    dict_fini(&t->dead);
    dict_fini(&t->prefixes);
    dict_fini(&t->trackers);
    free(t);
}

/* ---- telling ---- */

struct tracking_message { /* the same in the two forms it may take */
    struct slice words[3];
    struct push push[2]; /* to who speaks RESP3; to a subscriber in RESP2 */
};

static void tracking_message_init(struct tracking_message *m, const struct slice *keys, size_t n)
{
    *m = (struct tracking_message){ .words = { slice_str("invalidate"), slice_str("message"),
                                               slice_str("__redis__:invalidate") } };
    for (int i = 0; i < 2; i++) {
        m->push[i].words = &m->words[i];
        m->push[i].n_words = (size_t)i + 1;
        m->push[i].with = keys == NULL ? PUSH_NULL : PUSH_LIST;
        m->push[i].list = keys;
        m->push[i].n_list = n;
    }
}

static void tracking_message_over(struct tracking_message *m)
{
    push_over(&m->push[0]);
    push_over(&m->push[1]);
}

/* There is something to tell, and the target is gone: the tracker is told that, if it can be. */
static void tracker_is_broken(struct engine *e, struct tracker *t)
{
    const struct slice word = slice_str("tracking-redir-broken");
    struct push push = { &word, 1, PUSH_NUMBER, .number = t->redirect };

    t->flags |= TRACKING_BROKEN;
    if (t->client->proto >= 3)
        push_send(e, t->client, &push);
    push_over(&push);
}

/* Who speaks RESP2 can be told nothing on its own connection; another has to be subscribed to something. */
static void tracker_tell(struct engine *e, struct tracker *t, struct tracking_message *m)
{
    struct client *to = t->redirect != 0 ? t->target : t->client;

    if (to == NULL)
        tracker_is_broken(e, t);
    else if (to->proto >= 3)
        push_send(e, to, &m->push[0]);
    else if (to != t->client && to->subscriber != NULL)
        push_send(e, to, &m->push[1]);
}

/* ---- keys that were read ---- */

static const uint64_t *tracked_ids(const struct tracked *k)
{
    return k->cap > 0 ? k->ids.many : &k->ids.one;
}

/* Where the ID is, or would be. */
static uint32_t tracked_place(const struct tracked *k, uint64_t id)
{
    const uint64_t *ids = tracked_ids(k);
    uint32_t low = 0, high = k->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool tracked_grow(struct tracked *k)
{
    uint32_t cap = k->cap == 0 ? 4 : k->cap * 2;
    uint64_t *ids;

    if (k->n < k->cap || k->n == 0)
        return true;
    ids = realloc(k->cap > 0 ? k->ids.many : NULL, cap * sizeof *ids);
    if (ids == NULL)
        return false;
    if (k->cap == 0)
        ids[0] = k->ids.one;
    k->ids.many = ids;
    k->cap = cap;
    return true;
}

static bool tracked_add(struct tracking *t, struct tracked *k, uint64_t id)
{
    uint32_t at = tracked_place(k, id);
    uint64_t *ids;

    if (at < k->n && tracked_ids(k)[at] == id)
        return true;
    if (!tracked_grow(k))
        return false;
    ids = k->cap > 0 ? k->ids.many : &k->ids.one;
    memmove(ids + at + 1, ids + at, (k->n - at) * sizeof *ids);
    ids[at] = id;
    k->n++;
    t->n_items++;
    return true;
}

/* The node of a key, made without anybody if it is not there; NULL if memory ran out. */
static struct tracked *tracked_get(struct tracking *t, struct slice key)
{
    struct tracked *k = tracked_of_node(dict_find(&t->keys, key));

    if (k != NULL)
        return k;
    k = malloc(sizeof *k + key.n);
    if (k == NULL)
        return NULL;
    k->n = k->cap = 0;
    k->len = key.n;
    if (key.n > 0)
        memcpy(k->name, key.p, key.n);
    dict_add(&t->keys, &k->node, key);
    return k;
}

/* All who have read the key are told, and it is forgotten. */
static void tracking_invalidate(struct engine *e, struct tracked *k, const struct client *by)
{
    struct tracking *all = e->tracking;
    struct slice key = slice_of(k->name, k->len);
    struct tracking_message message;

    dict_remove(&all->keys, &k->node);
    all->n_items -= k->n;
    tracking_message_init(&message, &key, 1);
    for (uint32_t i = 0; i < k->n; i++) {
        uint64_t id = tracked_ids(k)[i];
        struct tracker *t = tracker_of_node(dict_find(&all->trackers, slice_of(&id, sizeof id)));
        if (t != NULL && !(t->flags & TRACKING_BCAST) &&
            !(t->flags & TRACKING_NOLOOP && t->client == by))
            tracker_tell(e, t, &message);
    }
    tracking_message_over(&message);
    tracked_free(k);
}

/* For want of memory the read of this key is not remembered: it must not be cached. */
static void tracking_refuse(struct engine *e, struct tracker *t, struct slice key)
{
    struct tracking_message message;

    tracking_message_init(&message, &key, 1);
    tracker_tell(e, t, &message);
    tracking_message_over(&message);
}

static void tracking_remember_key(struct engine *e, struct tracker *t, struct slice key)
{
    struct tracked *k = tracked_get(e->tracking, key);

    if (k == NULL || !tracked_add(e->tracking, k, t->id))
        tracking_refuse(e, t, key);
    if (k != NULL && k->n == 0)
        tracking_invalidate(e, k, NULL);
}

static bool tracker_wants(const struct tracker *t, const struct command *command)
{
    bool caching = t->flags & TRACKING_CACHING;

    if (!(command->flags & CMD_READONLY) || command->flags & CMD_PUBSUB ||
        t->flags & TRACKING_BCAST)
        return false;
    return t->flags & TRACKING_OPTIN ? caching : !(t->flags & TRACKING_OPTOUT && caching);
}

void tracking_remember(struct engine *e, struct client *c, const struct command *command,
                       const struct slice *argv, size_t argc)
{
    size_t few[TRACKING_KEYS_INLINE], *at = few, n;

    if (!tracker_wants(c->tracker, command))
        return;
    if (argc > TRACKING_KEYS_INLINE)
        at = malloc(argc * sizeof *at);
    if (at == NULL) {
        c->close_now = true; /* it would keep what it has read for ever */
        return;
    }
    n = command_keys(command, argv, argc, at);
    for (size_t i = 0; i < n; i++)
        tracking_remember_key(e, c->tracker, argv[at[i]]);
    if (at != few)
        free(at);
}

void tracking_command_over(struct client *c, const struct command *command)
{
    static const char client[] = "client|";

    if (c->in_multi || (command != NULL && strncmp(command->name, client, sizeof client - 1) == 0))
        return;
    c->tracker->flags &= ~(unsigned)TRACKING_CACHING;
}

/* ---- changes for prefixes ---- */

static void prefix_mark(struct tracking *all, struct prefix *p)
{
    if (p->is_changed)
        return;
    p->is_changed = true;
    TAILQ_INSERT_TAIL(&all->changed, p, by_change);
}

static void prefix_note(struct engine *e, struct prefix *p, struct slice key)
{
    struct changed *k = changed_of_node(dict_find(&p->changed, key));

    prefix_mark(e->tracking, p);
    if (k != NULL) {
        if (k->by != e->current)
            k->by = NULL;
        return;
    }
    k = malloc(sizeof *k + key.n);
    if (k == NULL) {
        p->lost = true;
        return;
    }
    k->by = e->current;
    k->len = key.n;
    if (key.n > 0)
        memcpy(k->name, key.p, key.n);
    dict_add(&p->changed, &k->node, key);
}

static void tracking_note_change(struct engine *e, struct slice key)
{
    struct tracking *all = e->tracking;
    size_t longest = all->longest < key.n ? all->longest : key.n;

    if (all->prefixes.n == 0)
        return;
    for (size_t len = 0; len <= longest; len++) {
        struct dict_node *node =
            all->lengths[len] == 0 ? NULL : dict_find(&all->prefixes, slice_of(key.p, len));
        if (node != NULL)
            prefix_note(e, prefix_of_node(node), key);
    }
}

void tracking_key_changed(struct engine *e, struct slice key)
{
    struct tracked *k;

    tracking_note_change(e, key);
    k = tracked_of_node(dict_find(&e->tracking->keys, key));
    if (k != NULL)
        tracking_invalidate(e, k, e->current);
}

static int tracking_order(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* A prefix's changed keys as an array, by name. */
struct tracking_changes {
    struct changed **keys;
    struct slice *names;
    size_t n;
};

static void tracking_take_change(void *ctx, struct dict_node *node)
{
    struct tracking_changes *changes = ctx;

    changes->keys[changes->n++] = changed_of_node(node);
}

static int tracking_compare(const void *a, const void *b)
{
    const struct changed *x = *(struct changed *const *)a, *y = *(struct changed *const *)b;

    return tracking_order(changed_name(&x->node), changed_name(&y->node));
}

static bool tracking_changes_init(struct tracking_changes *changes, struct prefix *p)
{
    size_t n = p->changed.n + 1; /* malloc(0) may be NULL */

    *changes = (struct tracking_changes){ malloc(n * sizeof *changes->keys),
                                          malloc(n * sizeof *changes->names), 0 };
    if (changes->keys == NULL || changes->names == NULL)
        return false;
    tracking_each(&p->changed, tracking_take_change, changes);
    qsort(changes->keys, changes->n, sizeof *changes->keys, tracking_compare);
    return true;
}

/* Those that others than `but` have changed, or all if that is NULL; returns how many. */
static size_t tracking_choose(struct tracking_changes *changes, const struct client *but)
{
    size_t n = 0;

    for (size_t i = 0; i < changes->n; i++)
        if (but == NULL || changes->keys[i]->by != but)
            changes->names[n++] = slice_of(changes->keys[i]->name, changes->keys[i]->len);
    return n;
}

/* A tracker with NOLOOP that has changed something itself gets a message of its own. */
static void tracking_tell_rest(struct engine *e, struct tracker *t,
                               struct tracking_changes *changes)
{
    size_t n = tracking_choose(changes, t->client);
    struct tracking_message message;

    tracking_message_init(&message, changes->names, n);
    if (n > 0)
        tracker_tell(e, t, &message);
    tracking_message_over(&message);
}

static bool tracker_made_one(const struct tracker *t, const struct tracking_changes *changes)
{
    if (!(t->flags & TRACKING_NOLOOP))
        return false;
    for (size_t i = 0; i < changes->n; i++)
        if (changes->keys[i]->by == t->client)
            return true;
    return false;
}

static void prefix_tell_changes(struct engine *e, struct prefix *p,
                                struct tracking_changes *changes)
{
    struct tracking_message message;
    const struct prefix_use *use;

    TAILQ_FOREACH(use, &p->uses, of_prefix)
    {
        if (tracker_made_one(use->tracker, changes))
            tracking_tell_rest(e, use->tracker, changes);
    }
    tracking_message_init(&message, changes->names, tracking_choose(changes, NULL));
    TAILQ_FOREACH(use, &p->uses, of_prefix)
    {
        if (!tracker_made_one(use->tracker, changes))
            tracker_tell(e, use->tracker, &message);
    }
    tracking_message_over(&message);
}

static void prefix_tell_lost(struct engine *e, struct prefix *p)
{
    struct tracking_message message;
    const struct prefix_use *use;

    tracking_message_init(&message, NULL, 0);
    TAILQ_FOREACH(use, &p->uses, of_prefix)
    tracker_tell(e, use->tracker, &message);
    tracking_message_over(&message);
}

static void prefix_free_change(void *ctx, struct dict_node *node)
{
    dict_remove(ctx, node);
    free(changed_of_node(node));
}

static void prefix_forget_changes(struct tracking *all, struct prefix *p)
{
    if (p->is_changed)
        TAILQ_REMOVE(&all->changed, p, by_change);
    p->is_changed = p->lost = false;
    tracking_each(&p->changed, prefix_free_change, &p->changed);
}

static void prefix_tell(struct engine *e, struct prefix *p)
{
    struct tracking_changes changes;

    if (tracking_changes_init(&changes, p) && !p->lost)
        prefix_tell_changes(e, p, &changes);
    else
        prefix_tell_lost(e, p);
    free(changes.keys);
    free(changes.names);
    prefix_forget_changes(e->tracking, p);
}

/* ---- all at once, and the limit ---- */

/* Forgets all keys; what is left of the last time is freed on the spot. */
static void tracking_forget_keys(struct tracking *t)
{
    if (t->keys.n == 0)
        return;
    tracking_each(&t->dead, tracking_free_key, &t->dead);
    dict_fini(&t->dead);
    dict_take(&t->dead, &t->keys);
    t->dead_cursor = 0;
    t->n_items = 0;
}

struct tracking_all {
    struct engine *e;
    struct tracking_message message;
};

static void tracking_tell_all(void *ctx, struct dict_node *node)
{
    struct tracking_all *all = ctx;

    tracker_tell(all->e, tracker_of_node(node), &all->message);
}

void tracking_flushed(struct engine *e)
{
    struct tracking_all all = { .e = e };

    if (e->tracking->trackers.n == 0)
        return;
    tracking_message_init(&all.message, NULL, 0);
    tracking_each(&e->tracking->trackers, tracking_tell_all, &all);
    tracking_message_over(&all.message);
    tracking_forget_keys(e->tracking);
}

static bool tracking_free_some(struct tracking *t)
{
    size_t n = t->dead.n;

    while (t->dead.n > 0 && n - t->dead.n < TRACKING_SLICE)
        t->dead_cursor = dict_scan(&t->dead, t->dead_cursor, tracking_free_key, &t->dead);
    return t->dead.n > 0;
}

static bool tracking_is_over(const struct engine *e)
{
    const struct tracking *t = e->tracking;
    uint64_t max = (uint64_t)e->config->tracking_table_max_keys;

    return max > 0 && (t->keys.n > max || t->n_items / TRACKING_ITEMS_A_KEY > max);
}

bool tracking_round_end(struct engine *e)
{
    struct tracking *t = e->tracking;
    struct prefix *p;

    while ((p = TAILQ_FIRST(&t->changed)) != NULL)
        prefix_tell(e, p);
    while (tracking_is_over(e))
        tracking_invalidate(e, tracked_of_node(dict_random(&t->keys, engine_random(e))), NULL);
    return tracking_free_some(t);
}

/* ---- trackers ---- */

static struct prefix *prefix_get(struct tracking *all, struct slice name)
{
    struct prefix *p = prefix_of_node(dict_find(&all->prefixes, name));

    if (p != NULL)
        return p;
    p = calloc(1, sizeof *p + name.n);
    if (p == NULL)
        return NULL;
    TAILQ_INIT(&p->uses);
    dict_init(&p->changed, all->prefixes.hash_key, changed_name);
    p->len = name.n;
    if (name.n > 0)
        memcpy(p->name, name.p, name.n);
    dict_add(&all->prefixes, &p->node, name);
    all->lengths[name.n]++;
    if (all->longest < name.n)
        all->longest = name.n;
    return p;
}

static void prefix_drop_unused(struct tracking *all, struct prefix *p)
{
    if (!TAILQ_EMPTY(&p->uses))
        return;
    prefix_forget_changes(all, p);
    dict_remove(&all->prefixes, &p->node);
    all->lengths[p->len]--;
    while (all->longest > 0 && all->lengths[all->longest] == 0)
        all->longest--;
    dict_fini(&p->changed);
    free(p);
}

static bool tracker_uses(const struct tracker *t, struct slice prefix)
{
    for (size_t i = 0; i < t->n_uses; i++)
        if (slice_equal(prefix_name(&t->uses[i]->prefix->node), prefix))
            return true;
    return false;
}

/* Room in `uses` has been made. */
static bool tracker_add_prefix(struct tracking *all, struct tracker *t, struct slice prefix)
{
    struct prefix_use *use;

    if (tracker_uses(t, prefix))
        return true;
    use = malloc(sizeof *use);
    if (use == NULL)
        return false;
    use->tracker = t;
    use->prefix = prefix_get(all, prefix);
    if (use->prefix == NULL) {
        free(use);
        return false;
    }
    TAILQ_INSERT_TAIL(&use->prefix->uses, use, of_prefix);
    t->uses[t->n_uses++] = use;
    return true;
}

/* Takes back prefixes until there are n. */
static void tracker_drop_prefixes(struct tracking *all, struct tracker *t, size_t n)
{
    while (t->n_uses > n) {
        struct prefix_use *use = t->uses[--t->n_uses];
        TAILQ_REMOVE(&use->prefix->uses, use, of_prefix);
        prefix_drop_unused(all, use->prefix);
        free(use);
    }
}

/* As they are shown: by name. */
static int tracker_compare_uses(const void *a, const void *b)
{
    const struct prefix *x = (*(struct prefix_use *const *)a)->prefix;
    const struct prefix *y = (*(struct prefix_use *const *)b)->prefix;

    return tracking_order(prefix_name(&x->node), prefix_name(&y->node));
}

static int tracker_add_prefixes(struct tracking *all, struct tracker *t,
                                const struct tracking_options *o, struct err *err)
{
    const struct slice every = slice_of("", 0),
                       *prefixes = o->n_prefixes > 0 ? o->prefixes : &every;
    size_t n = o->n_prefixes > 0 ? o->n_prefixes : 1, before = t->n_uses;
    struct prefix_use **uses;

    if (n > TRACKING_PREFIXES_MAX - before)
        return err_set(err, ERR_TOO_BIG, "too many prefixes: the limit is %d",
                       TRACKING_PREFIXES_MAX);
    uses = realloc(t->uses, (before + n) * sizeof(struct prefix_use *));
    if (uses == NULL)
        return err_set(err, ERR_NOMEM, "not enough memory to track prefixes");
    t->uses = uses;
    for (size_t i = 0; i < n; i++) {
        int rc = OK;
        if (prefixes[i].n > TRACKING_PREFIX_MAX)
            rc = err_set(err, ERR_TOO_BIG, "a prefix is longer than %d bytes", TRACKING_PREFIX_MAX);
        else if (!tracker_add_prefix(all, t, prefixes[i]))
            rc = err_set(err, ERR_NOMEM, "not enough memory to track prefixes");
        if (rc != OK) {
            tracker_drop_prefixes(all, t, before);
            return rc;
        }
    }
    qsort(t->uses, t->n_uses, sizeof(struct prefix_use *), tracker_compare_uses);
    return OK;
}

static void tracker_unlink_target(struct tracker *t)
{
    if (t->target == NULL)
        return;
    *t->target_at = t->target_next;
    if (t->target_next != NULL)
        t->target_next->target_at = t->target_at;
    t->target = NULL;
}

static void tracker_link_target(struct tracker *t, struct client *target)
{
    tracker_unlink_target(t);
    t->redirect = target == NULL ? 0 : target->id;
    t->target = target;
    if (target == NULL)
        return;
    t->target_next = target->redirected;
    t->target_at = &target->redirected;
    if (t->target_next != NULL)
        t->target_next->target_at = &t->target_next;
    target->redirected = t;
}

static int tracker_get(struct engine *e, struct client *c, struct err *err)
{
    struct tracker *t = c->tracker;

    if (t != NULL)
        return OK;
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(err, ERR_NOMEM, "not enough memory to track keys");
    t->id = c->id;
    t->client = c;
    c->tracker = t;
    e->n_trackers++;
    dict_add(&e->tracking->trackers, &t->node, tracker_name(&t->node));
    return OK;
}

int tracking_on(struct engine *e, struct client *c, const struct tracking_options *o,
                struct err *err)
{
    bool was_on = c->tracker != NULL;
    int rc = tracker_get(e, c, err);

    if (rc == OK && o->flags & TRACKING_BCAST)
        rc = tracker_add_prefixes(e->tracking, c->tracker, o, err);
    if (rc != OK) {
        if (!was_on)
            tracking_off(e, c);
        return rc;
    }
    c->tracker->flags = o->flags | (c->tracker->flags & TRACKING_CACHING);
    tracker_link_target(c->tracker, o->target);
    return OK;
}

void tracking_off(struct engine *e, struct client *c)
{
    struct tracker *t = c->tracker;

    if (t == NULL)
        return;
    tracker_drop_prefixes(e->tracking, t, 0);
    tracker_unlink_target(t);
    dict_remove(&e->tracking->trackers, &t->node);
    free(t->uses);
    free(t);
    c->tracker = NULL;
    e->n_trackers--;
    if (e->tracking->trackers.n == 0)
        tracking_forget_keys(e->tracking);
}

static void prefix_forget_client(void *ctx, struct dict_node *node)
{
    struct changed *k = changed_of_node(node);

    if (k->by == ctx)
        k->by = NULL;
}

void tracking_client_gone(struct engine *e, struct client *c)
{
    struct prefix *p;

    tracking_off(e, c);
    while (c->redirected != NULL)
        tracker_unlink_target(c->redirected);
    TAILQ_FOREACH(p, &e->tracking->changed, by_change)
    tracking_each(&p->changed, prefix_forget_client, c);
}

/* ---- looking ---- */

unsigned tracking_flags(const struct client *c)
{
    return c->tracker->flags;
}

uint64_t tracking_redirect(const struct client *c)
{
    return c->tracker->redirect;
}

size_t tracking_n_prefixes(const struct client *c)
{
    return c->tracker->n_uses;
}

struct slice tracking_prefix(const struct client *c, size_t i)
{
    assert(i < c->tracker->n_uses);
    return prefix_name(&c->tracker->uses[i]->prefix->node);
}

void tracking_set_caching(struct client *c)
{
    c->tracker->flags |= TRACKING_CACHING;
}

void tracking_get_stats(const struct engine *e, struct tracking_stats *out)
{
    const struct tracking *t = e->tracking;

    *out = (struct tracking_stats){ t->trackers.n, t->keys.n, t->n_items, t->prefixes.n };
}

/* ---- checking ---- */

struct tracking_seen {
    size_t n_items, n_uses, n_of_prefixes;
    uint32_t lengths[TRACKING_PREFIX_MAX + 1];
    const char *broken;
};

static void tracking_see_key(void *ctx, struct dict_node *node)
{
    const struct tracked *k = tracked_of_node(node);
    struct tracking_seen *seen = ctx;

    for (uint32_t i = 0; i + 1 < k->n; i++)
        if (tracked_ids(k)[i] >= tracked_ids(k)[i + 1])
            seen->broken = "R2";
    if (k->n == 0)
        seen->broken = "R2";
    seen->n_items += k->n;
}

static void tracking_see_prefix(void *ctx, struct dict_node *node)
{
    const struct prefix *p = prefix_of_node(node);
    struct tracking_seen *seen = ctx;
    const struct prefix_use *use;

    if (TAILQ_EMPTY(&p->uses))
        seen->broken = "R3";
    if (p->is_changed != (p->changed.n > 0 || p->lost))
        seen->broken = "R4";
    TAILQ_FOREACH(use, &p->uses, of_prefix)
    seen->n_of_prefixes++;
    seen->lengths[p->len]++;
}

static void tracking_see_tracker(void *ctx, struct dict_node *node)
{
    const struct tracker *t = tracker_of_node(node);
    struct tracking_seen *seen = ctx;

    if (t->client->tracker != t || t->client->id != t->id ||
        (t->target != NULL && (t->target->id != t->redirect || *t->target_at != t)))
        seen->broken = "R1";
    seen->n_uses += t->n_uses;
}

const char *tracking_check(const struct engine *e)
{
    struct tracking_seen seen = { .broken = NULL };

    tracking_each(&e->tracking->keys, tracking_see_key, &seen);
    tracking_each(&e->tracking->prefixes, tracking_see_prefix, &seen);
    tracking_each(&e->tracking->trackers, tracking_see_tracker, &seen);
    if (seen.broken == NULL && seen.n_items != e->tracking->n_items)
        return "R2";
    if (seen.broken == NULL && seen.n_uses != seen.n_of_prefixes)
        return "R1";
    if (seen.broken == NULL && memcmp(seen.lengths, e->tracking->lengths, sizeof seen.lengths) != 0)
        return "R3";
    return seen.broken;
}
