/* xreadgroup.h - what the files of XREADGROUP share: a request, and what the streams in it give. */
#ifndef BROKER_COMMANDS_XREADGROUP_H
#define BROKER_COMMANDS_XREADGROUP_H
#include "broker/commands/streams_read.h"
#include "broker/engine/cursor.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/reading.h"

enum {
    XREADGROUP_INLINE = 4,             /* streams for which no memory is needed */
    XREADGROUP_MAX = 16 * 1024,        /* entries of a reply */
    XREADGROUP_BYTES_MAX = 8 << 20,    /* of it, but for its last entry */
    XREADGROUP_PARKED_MAX = 1024,      /* entries that are parked at a time, on the way to others */
    XREADGROUP_ENOUGH = 1000,          /* so many are replied without waiting for more of them */
    XREADGROUP_ENOUGH_BYTES = 1 << 20, /* the same */
    XREADGROUP_LOAD_BYTES = 1 << 20,   /* of blocks that are loaded for a group at a time, */
    XREADGROUP_AHEAD = 2048,           /* so that as many more entries as are needed are there */
};

struct xreadgroup_key { /* a stream of the request */
    struct slice name;
    struct id after; /* of its history */
    bool is_new;     /* `>` */
    bool claims;     /* the request does, and no history came before */
};

struct xreadgroup { /* a request */
    struct streams_limits limits;
    bool noack, claims;
    uint64_t min_idle_ms; /* if it claims */
    struct slice group, consumer;
    size_t n;
    struct xreadgroup_key *keys;
};

struct xreadgroup_list { /* IDs, and what belongs to each; keys and counts may be missing */
    struct id *ids;
    uint32_t *keys;
    uint64_t *counts;
    size_t n, cap;
};

struct xreadgroup_part { /* what a stream gives, and what follows from that */
    struct stream *st;
    struct group *g;
    struct consumer *consumer; /* NULL: it does not exist yet */
    bool is_visited;           /* its turn has come before the reply was full */
    bool is_cold;              /* something that it gives first has to be read: `wants` */
    struct wants wants;
    struct outbuf out; /* n entries */
    uint64_t n;
    struct xreadgroup_list again;  /* pending now with these counts */
    struct xreadgroup_list fresh;  /* new ones; with ORDERBY with keys */
    struct xreadgroup_list parked; /* skipped; with keys */
    struct xreadgroup_list drop;   /* pending or parked no longer: gone, or not kept */
    struct pel_entry *gone; /* were to be handed out, and are for the dead-letter stream; by ID */
    size_t n_gone;
    struct id last; /* of `fresh` and `parked` */
};

/* How a request is looked at. */
struct xreadgroup_look {
    const struct xreadgroup *request;
    enum cursor_mode mode;
    uint64_t
        ahead; /* how many entries more than needed are wanted, where some are cold; 0: none is wanted */
    struct wants *wants; /* of all parts; NULL: each has its own */
};

void xreadgroup_parts_init(struct xreadgroup_part *parts, size_t n);
void xreadgroup_parts_fini(struct engine *e, struct xreadgroup_part *parts, size_t n);
/* As both, but stream, group and consumer stay. */
void xreadgroup_parts_clear(struct engine *e, struct xreadgroup_part *parts, size_t n);

/* Finds what the parts [from, to), whose stream, group and consumer are set, give behind those before; changes nothing. Errors:
 * as of a cursor, but for ERR_COLD. */
must_check int xreadgroup_find(struct engine *e, struct client *c,
                               const struct xreadgroup_look *look, struct xreadgroup_part *parts,
                               size_t from, size_t to, struct err *err);

/* The group's entries_read when the new entries of a part have been delivered. */
int64_t xreadgroup_entries_read(const struct xreadgroup_part *part);

struct xreadgroup_sum { /* of all parts */
    uint64_t n, n_changed,
        bytes; /* entries; what is parked or dropped besides; bytes of the reply */
    bool is_cold;
};
struct xreadgroup_sum xreadgroup_sum(const struct xreadgroup *r,
                                     const struct xreadgroup_part *parts);

/* Sorts by ID. Errors: ERR_NOMEM. */
must_check int xreadgroup_sort(struct xreadgroup_list *l, struct err *err);

/* ---- xreadgroup.c ---- */

/* n empty parts, in `few` if they are not more than XREADGROUP_INLINE, else for free(); NULL if an error has been replied. */
struct xreadgroup_part *xreadgroup_parts(struct client *c, size_t n,
                                         struct xreadgroup_part few[XREADGROUP_INLINE]);

/* Sets stream, group and consumer of each part; false if an error has been replied. `ids` (NULL: they have been read) stand
 * behind each other as the keys do. `peeks`: for a command_prefault. */
must_check bool xreadgroup_resolve(struct engine *e, struct client *c, const struct xreadgroup *r,
                                   const struct slice *ids, bool peeks,
                                   struct xreadgroup_part *parts);

/* ---- xreadgroup_look.c ---- */

enum xreadgroup_outcome {
    XREADGROUP_REPLIED,
    XREADGROUP_NOTHING,
    XREADGROUP_COLD,
    XREADGROUP_AGAIN /* nothing to reply, but a step has been made: X3 */
};

/* Looks until there is something, nothing, or something to be read first; the parts then have what they want. `n_tries`: how often
 * that has been so. `reserved`: the log has room for what the command's bound says. */
enum xreadgroup_outcome xreadgroup_run(struct engine *e, struct client *c,
                                       const struct xreadgroup *r, struct xreadgroup_part *parts,
                                       unsigned n_tries, bool reserved);

/* The consumer is named in the parts [from, to) that have been visited, and made where it is not there yet. Errors: ERR_NOMEM,
 * ERR_FULL. */
must_check int xreadgroup_name_all(struct engine *e, struct client *c, const struct xreadgroup *r,
                                   struct xreadgroup_part *parts, size_t from, size_t to,
                                   struct err *err);
void xreadgroup_fail(struct client *c, int rc, const struct err *err); /* replies an error */

/* What so many records and IDs, and names of so many bytes, take in the log at most. */
size_t xreadgroup_bound_of(uint64_t n_streams, uint64_t n_ids, size_t names);

/* ---- xreadgroup_wait.c ---- */

/* The client waits from now on, with what has been found: nothing, or something cold. */
void xreadgroup_wait(struct engine *e, struct client *c, const struct xreadgroup *r,
                     struct xreadgroup_part *parts, bool found_nothing);

#endif
