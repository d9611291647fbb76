/*
 * notify.c - keyspace notifications.
 *
 * Nothing is published to channels yet that nobody can subscribe to: pub/sub comes with broker/pubsub/pubsub.c.
 */
#include "broker/pubsub/notify.h"

void notify_publish(struct engine *e, const char *event, int db, struct slice key)
{
    (void)e;
    (void)event;
    (void)db;
    (void)key;
}
