/*
 * notify.c - keyspace notifications: messages about what commands did to keys.
 *
 * A command says it as it is done; what it says leaves when the command's effects are safe, as every message does
 * (engine/push.c). An event goes to at most two channels, the key's and the event's. A key so long that its channel's name would
 * be beyond PUBSUB_NAME_MAX has none: nobody can have subscribed to it.
 */
#include "broker/pubsub/notify.h"
#include <stdio.h>
#include "broker/pubsub/pubsub.h"

enum { NOTIFY_HEAD_MAX = 32 }; /* "__keyspace@15__:" */

static void notify_send(struct engine *e, const char *space, int db, struct slice name,
                        struct slice message)
{
    uint8_t channel[PUBSUB_NAME_MAX];
    char head[NOTIFY_HEAD_MAX];
    size_t n = (size_t)snprintf(head, sizeof head, "__%s@%d__:", space, db);

    if (name.n > sizeof channel - n)
        return;
    memcpy(channel, head, n);
    if (name.n > 0)
        memcpy(channel + n, name.p, name.n);
    pubsub_publish(e, PUBSUB_CHANNEL, slice_of(channel, n + name.n), message);
}

void notify_publish(struct engine *e, const char *event, int db, struct slice key)
{
    int64_t classes = e->config->notify_classes;

    if (pubsub_n_names(e, PUBSUB_CHANNEL) + pubsub_n_names(e, PUBSUB_PATTERN) == 0)
        return;
    if (classes & NOTIFY_KEYSPACE)
        notify_send(e, "keyspace", db, key, slice_str(event));
    if (classes & NOTIFY_KEYEVENT)
        notify_send(e, "keyevent", db, slice_str(event), key);
}
