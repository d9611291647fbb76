/*
 * pubsub.c - channels, patterns and who has subscribed to them.
 *
 * A name of one kind (channel, pattern, shard channel) that somebody subscribes to is a topic. A subscription is in the list of
 * its topic and in that of its client, and in a table by both, so that it is found in constant time however long the lists are:
 *
 *   names of a kind ──► topic "news" ──► subscription of client 4 ──► of client 9
 *   client 9 ──► subscriber ──► subscription to "news" ──► to "sports"
 *   subscriptions by (topic, client)
 *
 * Publishing looks its channel up, then tries all patterns in the order in which they came. A message is encoded when the first
 * subscriber of a protocol version is met (engine/push.c); the others get the same bytes.
 *
 *   S1  A topic has a subscription; it is in its kind's dict, and, if it is a pattern, in the list of patterns.
 *   S2  A subscription is in the lists of its topic and its client, and in the table.
 *   S3  A client has a subscriber while it has a subscription; its counts are those of its lists.
 */
#include "broker/pubsub/pubsub.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>
#include "broker/engine/engine.h"
#include "broker/engine/glob.h"
#include "broker/engine/push.h"

TAILQ_HEAD(subscription_list, subscription);
TAILQ_HEAD(topic_list, topic);

struct topic {
    struct dict_node node; /* must be first */
    struct subscription_list subscriptions;
    TAILQ_ENTRY(topic) by_age; /* of a pattern */
    size_t n;
    enum pubsub_kind kind;
    struct slice name; /* lies behind the struct */
};

struct subscription_key {
    const struct topic *topic;
    const struct client *client;
};

struct subscription {
    struct dict_node node; /* must be first */
    TAILQ_ENTRY(subscription) of_topic, of_client;
    struct topic *topic;
    struct client *client;
};

struct subscriber {
    struct subscription_list lists[PUBSUB_KINDS];
    size_t n[PUBSUB_KINDS];
    size_t bytes;
};

struct pubsub {
    struct dict topics[PUBSUB_KINDS];
    struct topic_list patterns;
    struct dict subscriptions;
    size_t n_clients;
};

/* ---- topics ---- */

static struct topic *topic_of_node(const struct dict_node *node)
{
    return (struct topic *)(uintptr_t)node; /* node is its first member */
}

static struct slice topic_name(const struct dict_node *node)
{
    return topic_of_node(node)->name;
}

static struct topic *topic_find(const struct pubsub *p, enum pubsub_kind kind, struct slice name)
{
    return topic_of_node(dict_find(&p->topics[kind], name));
}

/* One without a subscription yet. */
static struct topic *topic_new(struct pubsub *p, enum pubsub_kind kind, struct slice name)
{
    struct topic *t = malloc(sizeof *t + name.n);

    if (t == NULL)
        return NULL;
    t->n = 0;
    t->kind = kind;
    TAILQ_INIT(&t->subscriptions);
    if (name.n > 0)
        memcpy(t + 1, name.p, name.n);
    t->name = slice_of(t + 1, name.n);
    dict_add(&p->topics[kind], &t->node, t->name);
    if (kind == PUBSUB_PATTERN)
        TAILQ_INSERT_TAIL(&p->patterns, t, by_age);
    return t;
}

static void topic_free(struct pubsub *p, struct topic *t)
{
    assert(t->n == 0);
    if (t->kind == PUBSUB_PATTERN)
        TAILQ_REMOVE(&p->patterns, t, by_age);
    dict_remove(&p->topics[t->kind], &t->node);
    free(t);
}

/* ---- subscriptions ---- */

static struct subscription *subscription_of_node(const struct dict_node *node)
{
    return (struct subscription *)(uintptr_t)node; /* node is its first member */
}

/* What the table is keyed by: topic and client, which stand side by side. */
static struct slice subscription_name(const struct dict_node *node)
{
    const struct subscription *s = subscription_of_node(node);

    static_assert(offsetof(struct subscription, client) ==
                      offsetof(struct subscription, topic) + sizeof s->topic,
                  "read as a struct subscription_key");
    return slice_of(&s->topic, sizeof(struct subscription_key));
}

static struct subscription *subscription_find(const struct pubsub *p, const struct client *c,
                                              const struct topic *t)
{
    const struct subscription_key key = { t, c };

    return subscription_of_node(dict_find(&p->subscriptions, slice_of(&key, sizeof key)));
}

static size_t subscription_bytes(const struct topic *t)
{
    return t->name.n + PUBSUB_EACH;
}

static void subscription_link(struct pubsub *p, struct subscription *s)
{
    struct subscriber *of = s->client->subscriber;

    TAILQ_INSERT_TAIL(&s->topic->subscriptions, s, of_topic);
    TAILQ_INSERT_TAIL(&of->lists[s->topic->kind], s, of_client);
    dict_add(&p->subscriptions, &s->node, subscription_name(&s->node));
    s->topic->n++;
    of->n[s->topic->kind]++;
    of->bytes += subscription_bytes(s->topic);
}

static void subscription_end(struct pubsub *p, struct subscription *s)
{
    struct subscriber *of = s->client->subscriber;
    struct topic *t = s->topic;

    TAILQ_REMOVE(&t->subscriptions, s, of_topic);
    TAILQ_REMOVE(&of->lists[t->kind], s, of_client);
    dict_remove(&p->subscriptions, &s->node);
    of->n[t->kind]--;
    of->bytes -= subscription_bytes(t);
    if (--t->n == 0)
        topic_free(p, t);
    free(s);
}

/* ---- clients ---- */

static struct subscriber *subscriber_get(struct pubsub *p, struct client *c)
{
    if (c->subscriber != NULL)
        return c->subscriber;
    c->subscriber = calloc(1, sizeof *c->subscriber);
    if (c->subscriber == NULL)
        return NULL;
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        TAILQ_INIT(&c->subscriber->lists[kind]);
    p->n_clients++;
    return c->subscriber;
}

/* S3 */
static void subscriber_drop_empty(struct pubsub *p, struct client *c)
{
    const struct subscriber *s = c->subscriber;

    if (s == NULL || s->n[PUBSUB_CHANNEL] + s->n[PUBSUB_PATTERN] + s->n[PUBSUB_SHARD] > 0)
        return;
    free(c->subscriber);
    c->subscriber = NULL;
    p->n_clients--;
}

static int pubsub_check_limits(const struct pubsub *p, const struct client *c,
                               enum pubsub_kind kind, struct slice name, struct err *err)
{
    size_t max = kind == PUBSUB_PATTERN ? PUBSUB_PATTERN_MAX : PUBSUB_NAME_MAX;
    size_t bytes = c->subscriber == NULL ? 0 : c->subscriber->bytes;

    if (name.n > max)
        return err_set(err, ERR_TOO_BIG, "%s longer than %zu bytes",
                       kind == PUBSUB_PATTERN ? "a pattern is" : "a channel's name is", max);
    if (bytes + name.n + PUBSUB_EACH > PUBSUB_CLIENT_BYTES_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "too many subscriptions: names are limited to %d bytes a client",
                       PUBSUB_CLIENT_BYTES_MAX);
    if (kind == PUBSUB_PATTERN && p->topics[kind].n >= PUBSUB_PATTERNS_MAX &&
        topic_find(p, kind, name) == NULL)
        return err_set(err, ERR_TOO_BIG, "too many patterns: the limit is %d for all clients",
                       PUBSUB_PATTERNS_MAX);
    return OK;
}

int pubsub_subscribe(struct engine *e, struct client *c, enum pubsub_kind kind, struct slice name,
                     struct err *err)
{
    struct pubsub *p = e->pubsub;
    struct topic *t = topic_find(p, kind, name);
    struct subscription *s = t == NULL ? NULL : subscription_find(p, c, t);
    int rc;

    if (s != NULL)
        return OK;
    rc = pubsub_check_limits(p, c, kind, name, err);
    if (rc != OK)
        return rc;
    s = malloc(sizeof *s);
    if (s == NULL || subscriber_get(p, c) == NULL ||
        (t == NULL && (t = topic_new(p, kind, name)) == NULL)) {
        free(s);
        subscriber_drop_empty(p, c);
        return err_set(err, ERR_NOMEM, "not enough memory to subscribe");
    }
    s->topic = t;
    s->client = c;
    subscription_link(p, s);
    return OK;
}

void pubsub_unsubscribe(struct engine *e, struct client *c, enum pubsub_kind kind,
                        struct slice name)
{
    const struct topic *t = topic_find(e->pubsub, kind, name);
    struct subscription *s = t == NULL ? NULL : subscription_find(e->pubsub, c, t);

    if (s == NULL)
        return;
    subscription_end(e->pubsub, s);
    subscriber_drop_empty(e->pubsub, c);
}

struct slice pubsub_any(const struct client *c, enum pubsub_kind kind)
{
    const struct subscription *s =
        c->subscriber == NULL ? NULL : TAILQ_FIRST(&c->subscriber->lists[kind]);

    return s == NULL ? slice_of(NULL, 0) : s->topic->name;
}

size_t pubsub_n(const struct client *c, enum pubsub_kind kind)
{
    return c->subscriber == NULL ? 0 : c->subscriber->n[kind];
}

void pubsub_client_gone(struct engine *e, struct client *c)
{
    for (int kind = 0; kind < PUBSUB_KINDS && c->subscriber != NULL; kind++) {
        struct subscription *s;
        while ((s = TAILQ_FIRST(&c->subscriber->lists[kind])) != NULL)
            subscription_end(e->pubsub, s);
    }
    subscriber_drop_empty(e->pubsub, c);
}

/* ---- publishing ---- */

static size_t pubsub_send(struct engine *e, const struct topic *t, const struct slice *words,
                          size_t n_words)
{
    struct push push = { .words = words, .n_words = n_words };
    struct subscription *s;

    TAILQ_FOREACH(s, &t->subscriptions, of_topic)
    push_send(e, s->client, &push);
    push_over(&push);
    return t->n;
}

size_t pubsub_publish(struct engine *e, enum pubsub_kind kind, struct slice channel,
                      struct slice message)
{
    const struct topic *t = topic_find(e->pubsub, kind, channel);
    const char *word = kind == PUBSUB_SHARD ? "smessage" : "message";
    size_t n = 0;

    assert(channel.n <= PUBSUB_NAME_MAX && kind != PUBSUB_PATTERN);
    if (t != NULL)
        n += pubsub_send(e, t, (struct slice[]){ slice_str(word), channel, message }, 3);
    if (kind == PUBSUB_SHARD)
        return n;
    TAILQ_FOREACH(t, &e->pubsub->patterns, by_age)
    {
        if (glob_match(t->name, channel, false))
            n += pubsub_send(
                e, t, (struct slice[]){ slice_str("pmessage"), t->name, channel, message }, 4);
    }
    return n;
}

/* ---- looking ---- */

size_t pubsub_n_names(const struct engine *e, enum pubsub_kind kind)
{
    return e->pubsub->topics[kind].n;
}

size_t pubsub_n_subscribers(const struct engine *e, enum pubsub_kind kind, struct slice name)
{
    const struct topic *t = topic_find(e->pubsub, kind, name);

    return t == NULL ? 0 : t->n;
}

size_t pubsub_n_clients(const struct engine *e)
{
    return e->pubsub->n_clients;
}

struct pubsub_walk {
    struct slice glob;
    void (*each)(void *ctx, struct slice name);
    void *ctx;
};

static void pubsub_walk_node(void *ctx, struct dict_node *node)
{
    const struct pubsub_walk *walk = ctx;
    struct slice name = topic_name(node);

    if (walk->glob.p == NULL || glob_match(walk->glob, name, false))
        walk->each(walk->ctx, name);
}

void pubsub_each(const struct engine *e, enum pubsub_kind kind, struct slice glob,
                 void (*each)(void *ctx, struct slice name), void *ctx)
{
    struct pubsub_walk walk = { glob, each, ctx };
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&e->pubsub->topics[kind], cursor, pubsub_walk_node, &walk);
    while (cursor != 0);
}

/* ---- checking ---- */

struct pubsub_seen {
    size_t n_subscriptions, n_patterns;
    bool broken;
};

static void pubsub_see_topic(void *ctx, struct dict_node *node)
{
    const struct topic *t = topic_of_node(node);
    struct pubsub_seen *seen = ctx;
    const struct subscription *s;
    size_t n = 0;

    TAILQ_FOREACH(s, &t->subscriptions, of_topic)
    {
        n++;
        seen->broken |= s->topic != t || s->client->subscriber == NULL;
    }
    seen->broken |= n == 0 || n != t->n;
    seen->n_subscriptions += n;
    seen->n_patterns += t->kind == PUBSUB_PATTERN;
}

/* Whether the client's lists, counts and the table agree; adds up how many there are. */
static bool pubsub_sees_client(const struct pubsub *p, const struct client *c, size_t *n)
{
    size_t bytes = 0, before = *n;

    for (int kind = 0; kind < PUBSUB_KINDS && c->subscriber != NULL; kind++) {
        const struct subscription *s;
        size_t of_kind = 0;
        TAILQ_FOREACH(s, &c->subscriber->lists[kind], of_client)
        {
            if (s->client != c || s->topic->kind != (enum pubsub_kind)kind ||
                subscription_find(p, c, s->topic) != s)
                return false;
            of_kind++;
            bytes += subscription_bytes(s->topic);
        }
        if (of_kind != c->subscriber->n[kind])
            return false;
        *n += of_kind;
    }
    return c->subscriber == NULL || (*n > before && bytes == c->subscriber->bytes);
}

const char *pubsub_check(const struct engine *e)
{
    struct pubsub *p = e->pubsub;
    struct pubsub_seen seen = { 0 };
    const struct topic *t;
    size_t of_clients = 0, n_clients = 0;

    for (int kind = 0; kind < PUBSUB_KINDS; kind++) {
        uint64_t cursor = 0;
        do
            cursor = dict_scan(&p->topics[kind], cursor, pubsub_see_topic, &seen);
        while (cursor != 0);
    }
    TAILQ_FOREACH(t, &p->patterns, by_age)
    seen.n_patterns--;
    if (seen.broken || seen.n_patterns != 0)
        return "S1";
    for (const struct client *c = e->clients; c != NULL; c = c->next) {
        n_clients += c->subscriber != NULL;
        if (!pubsub_sees_client(p, c, &of_clients))
            return "S3";
    }
    if (n_clients != p->n_clients)
        return "S3";
    return of_clients == p->subscriptions.n && of_clients == seen.n_subscriptions ? NULL : "S2";
}

/* ---- beginning and end ---- */

int pubsub_new(const uint8_t hash_key[16], struct pubsub **out, struct err *err)
{
    struct pubsub *p = calloc(1, sizeof *p);

    if (p == NULL)
        return err_set(err, ERR_NOMEM, "make the table of channels");
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        dict_init(&p->topics[kind], hash_key, topic_name);
    dict_init(&p->subscriptions, hash_key, subscription_name);
    TAILQ_INIT(&p->patterns);
    *out = p;
    return OK;
}

void pubsub_free(struct pubsub *p)
{
    if (p == NULL)
        return;
    assert(p->subscriptions.n == 0);
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        dict_fini(&p->topics[kind]);
    dict_fini(&p->subscriptions);
    free(p);
}
