/* xgroup.h - what the files of the commands of consumer groups share: finding a group, and what is said if it is not there. */
#ifndef BROKER_COMMANDS_XGROUP_H
#define BROKER_COMMANDS_XGROUP_H
#include "broker/commands/streams.h"
#include "broker/engine/grouplog.h"

/* The group of a stream for a command that shows it, or changes it: *st and *g are NULL where there is none. Raises what the reply
 * has to wait for. False: -WRONGTYPE has been replied. */
must_check bool xgroup_find(struct engine *e, struct client *c, struct slice key, struct slice name,
                            struct stream **st, struct group **g);
must_check bool xgroup_find_write(struct engine *e, struct client *c, struct slice key,
                                  struct slice name, struct stream **st, struct group **g);
/* Without replying or counting anything, for prefault. */
const struct group *xgroup_peek(const struct engine *e, const struct client *c, struct slice key,
                                struct slice name, const struct stream **st);

/* "NOGROUP No such key '...' or consumer group '...'" and what follows; "NOGROUP No such consumer group '...' for key name '...'" */
void xgroup_no_key_or_group(struct client *c, struct slice key, struct slice name,
                            const char *suffix);
void xgroup_no_group(struct client *c, struct slice key, struct slice name);

/* A command names the consumer: its seen-time is now. */
void xgroup_saw(struct engine *e, struct stream *st, struct group *g, struct consumer *consumer);

/* What XINFO STREAM FULL says of the groups of a stream whose first entry is `first`: an array, of each list up to `count`. False:
 * memory ran out in the middle of it. */
must_check bool xgroup_reply_full(struct engine *e, struct client *c, const struct stream *st,
                                  struct id first, uint64_t count);

command_prefault xgroup_xinfo_groups_prefault;
command_handler xgroup_xinfo_groups, xgroup_xinfo_consumers, xpending_pending, xclaim_claim,
    xclaim_autoclaim, xnack_nack;

#endif
