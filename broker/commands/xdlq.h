/* xdlq.h - what the files of XDLQ share: walking over a dead-letter stream, a slice a round, while the client waits. Essay:
 * xdlq.c. */
#ifndef BROKER_COMMANDS_XDLQ_H
#define BROKER_COMMANDS_XDLQ_H
#include "broker/engine/cold.h"
#include "broker/engine/cursor.h"
#include "broker/engine/deadletter.h"

enum { XDLQ_LOADS_MAX = 8 /* behind each other for the same entry */ };

enum xdlq_next {
    XDLQ_MORE, /* another slice */
    XDLQ_COLD, /* the same, when what the wants name is in memory */
    XDLQ_OVER, /* a reply has been made */
};

struct xdlq_walk {
    struct cold_work work; /* must be first */
    /* the command's, before xdlq_start; all else is zero */
    enum xdlq_next (*slice)(struct engine *e, struct client *c, struct xdlq_walk *w);
    void (*free)(struct xdlq_walk *w); /* what the command has made, w too */
    uint64_t oid;                      /* of the dead-letter stream; 0: there is none */
    struct id last;                    /* where the walk ends: later entries do not count */
    /* for slices */
    struct id next; /* the first entry that has not been dealt with */
    bool ended;     /* there is none */
    enum cursor_mode mode;
    struct wants *wants; /* NULL if it reads on the spot */
    /* xdlq.c's */
    struct wants loads[XDLQ_LOADS_MAX]; /* what is pinned; */
    size_t n_loads;                     /* the last one is to be loaded */
    int rc;                             /* of that */
    struct err err;
};

/* The client waits for the walk, which is the engine's from now on. */
void xdlq_start(struct engine *e, struct client *c, struct xdlq_walk *w);

/* The dead-letter stream, or NULL if it is gone. */
struct stream *xdlq_stream(const struct engine *e, const struct xdlq_walk *w);

/* The entry has been dealt with. */
void xdlq_advance(struct xdlq_walk *w, struct id id);

command_handler xdlq_redrive, xdlq_info;

#endif
