/* notify.h - keyspace notifications: what happens to keys, published for whoever subscribed.
 *
 * Events, channels and the setting's letters are Redis's. While notify-keyspace-events is empty, a call costs one comparison. */
#ifndef BROKER_PUBSUB_NOTIFY_H
#define BROKER_PUBSUB_NOTIFY_H
#include "broker/engine/engine.h"
#include "log/bytes.h"

enum notify_class {
    NOTIFY_KEYSPACE = 1 << 0, /* K: the event, to __keyspace@<db>__:<key> */
    NOTIFY_KEYEVENT = 1 << 1, /* E: the key, to __keyevent@<db>__:<event> */
    NOTIFY_GENERIC = 1 << 2,  /* g: del, expire, rename, ... */
    NOTIFY_STRING = 1 << 3,   /* $ */
    NOTIFY_LIST = 1 << 4,     /* l */
    NOTIFY_SET = 1 << 5,      /* s */
    NOTIFY_HASH = 1 << 6,     /* h */
    NOTIFY_ZSET = 1 << 7,     /* z */
    NOTIFY_EXPIRED = 1 << 8,  /* x */
    NOTIFY_EVICTED = 1 << 9,  /* e */
    NOTIFY_STREAM = 1 << 10,  /* t */
    NOTIFY_MODULE = 1 << 11,  /* d */
    NOTIFY_MISS = 1 << 12,    /* m: a key was looked up and not found; not in A */
    NOTIFY_NEW = 1 << 13,     /* n: a key was made; not in A */
    NOTIFY_ALL = NOTIFY_GENERIC | NOTIFY_STRING | NOTIFY_LIST | NOTIFY_SET | NOTIFY_HASH |
                 NOTIFY_ZSET | NOTIFY_EXPIRED | NOTIFY_EVICTED | NOTIFY_STREAM |
                 NOTIFY_MODULE, /* A */
};

/* Tells that `event` happened to the key, if that class is wanted. `class` is one of the above but K and E; `key` is borrowed
 * for the call. To be called by a command after the change, in Redis's order, before or after engine_key_changed. */
void notify_publish(struct engine *e, const char *event, int db, struct slice key);

static inline void notify(struct engine *e, unsigned class, const char *event, int db,
                          struct slice key)
{
    if (((unsigned)e->config->notify_classes & class) != 0)
        notify_publish(e, event, db, key);
}

#endif
