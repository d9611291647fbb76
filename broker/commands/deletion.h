/* deletion.h - entries deleted by their IDs: what XDEL, XDELEX and XACKDEL share.
 *
 * deletion_parse, deletion_sort, what the command itself has to say of each item, deletion_look, deletion_prepare; then, when
 * nothing can fail any more, deletion_apply. deletion_fini in any case. */
#ifndef BROKER_COMMANDS_DELETION_H
#define BROKER_COMMANDS_DELETION_H
#include "broker/commands/streams.h"

enum {
    DELETION_INLINE = 32,
    /* what XDELEX and XACKDEL tell of an ID */
    DELETION_NOT_THERE = -1,
    DELETION_DONE = 1,
    DELETION_REFERENCED = 2,
};

struct deletion_item { /* an ID of a request */
    struct id id;
    size_t place;
    uint64_t bytes; /* of the entry, if it is there */
    bool skip;      /* it is not to be deleted */
    bool found;     /* the stream has it; of equal ones the first */
    int8_t code;    /* set by the command */
};

struct deletion {
    struct deletion_item *items; /* `few`, or of the heap */
    size_t n, n_found;
    struct id *ids; /* room for n, from deletion_prepare on */
    struct deletion_item few[DELETION_INLINE];
};

struct deletion_request { /* [KEEPREF | DELREF | ACKED] IDS numids id ... */
    enum trim_refs refs;
    size_t ids_at, n_ids; /* in argv */
};

/* Reads that from argv[at] on, in any order; false if an error has been replied. */
must_check bool deletion_request(struct client *c, const struct slice *argv, size_t argc, size_t at,
                                 struct deletion_request *out);

/* Reads n IDs; false if an error has been replied. */
must_check bool deletion_parse(struct client *c, const struct slice *argv, size_t n,
                               struct deletion *d);
void deletion_fini(struct deletion *d);

/* By ID; equal ones in the order in which they were named. */
void deletion_sort(struct deletion *d);
static inline bool deletion_repeats(const struct deletion *d, size_t i)
{
    return i > 0 && id_cmp(d->items[i - 1].id, d->items[i].id) == 0;
}

/* Finds out which of the items, sorted, the stream has. What is not in memory is noted in `wants`, or read on the spot if
 * that is NULL. Errors: as struct reader. */
must_check int deletion_look(struct engine *e, const struct stream *st, struct deletion *d,
                             struct wants *wants, struct err *err);

/* Makes room for what follows. Errors: ERR_NOMEM; ERR_CORRUPT, if more was found than the stream should have. */
must_check int deletion_prepare(struct engine *e, struct stream *st, struct deletion *d,
                                struct err *err);

/* Deletes those that are found, by a record. */
void deletion_apply(struct engine *e, struct client *c, struct slice key, struct stream *st,
                    struct deletion *d);

/* For prefault: what deletion_look of those n IDs would have to read. */
void deletion_prefault(struct engine *e, struct client *c, struct slice key,
                       const struct slice *ids, size_t n, struct wants *wants);

/* Replies the codes, in the order in which the IDs were named. */
void deletion_reply(struct client *c, struct deletion *d);
/* Replies -1 for each of n. */
void deletion_reply_none(struct client *c, size_t n);

#endif
