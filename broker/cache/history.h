/* history.h - how far back changes are kept, and how many each view of them has: the floor, marks, counts.
 *
 * Changes are records of the log. All from the *floor* on are kept as they are, below it only those that a value still needs. The
 * floor moves from mark to mark; a mark is made each MiB of changes, and has what was counted up to there. So a
 * view knows how many entries it has without any of them being read, and where there is none. Essay: history.c.
 *
 * Belongs to the engine's thread. */
#ifndef BROKER_CACHE_HISTORY_H
#define BROKER_CACHE_HISTORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/cache/view.h"
#include "broker/config.h"
#include "log/err.h"
#include "log/id.h"

enum {
    HISTORY_MARK_BYTES = 1 << 20,
    HISTORY_MARKS_MAX =
        512, /* when there are so many, each other goes, and they come twice as far apart */
};

struct history_mark {
    struct id id;   /* of the first change behind it */
    uint64_t n;     /* changes before it, since the store began */
    uint64_t bytes; /* theirs, as entries */
};

/* Of a view, at a mark: what was before it. */
struct history_point {
    struct id last; /* the last entry's ID; 0-0: none */
    uint64_t n;     /* entries, since the view began */
};

struct stream;

/* A view of one database's changes, which readers see as a stream. */
struct history_view {
    struct history_view *next; /* of the same database; the first one has all of its changes */
    struct stream *st;         /* not history's to free */
    struct view_filter *filter;
    struct id start;   /* nothing before it is shown; 0-0 of a database's own */
    struct slice name; /* of `changes-view`, owned; empty of a database's own */
    struct id last;
    uint64_t n;
    struct history_point *points; /* HISTORY_MARKS_MAX, those of the marks are set */
    /* cache/changes.c's: */
    uint64_t n_told; /* v->n when those who wait were told */
    bool is_saved;   /* the checkpoint being written has it */
};

struct history {
    struct history_mark marks[HISTORY_MARKS_MAX]; /* the first one is the floor */
    size_t n_marks;
    uint64_t spacing; /* bytes between two */
    uint64_t n, bytes;
    struct id last; /* change */
    struct history_view *views[CONFIG_DATABASES];
    /* cache/changes.c's: */
    uint32_t changed;  /* bit by database: its views have got something, and nobody was told yet */
    struct slice key;  /* what a database's own view is called */
    uint8_t *own_key;  /* its bytes */
    uint64_t as_of;    /* at a start: records up to this one are in it */
    uint64_t moved_ms; /* when the floor last moved */
    int next_db;       /* views of the databases before it are as the configuration says */
};

void history_init(struct history *h);
void history_fini(struct history *h);

/* A view that nobody sees yet, of `st`. Errors: ERR_NOMEM. */
must_check int history_view_new(struct stream *st, struct view_filter *filter, struct slice name,
                                struct id start, struct history_view **out, struct err *e);
void history_view_free(struct history_view *v); /* NULL is fine */
void history_add_view(struct history *h, struct history_view *v);
void history_take_view(struct history *h, struct history_view *v); /* it is the caller's then */

/* A change has been added: an entry of `len` bytes. Calls `counted` for each view that shows it. */
void history_added(struct history *h, struct id id, const uint8_t *entry, size_t len,
                   void (*counted)(void *ctx, struct history_view *v, struct id id), void *ctx);

/* The floor: changes from there on are kept. 0-0: all are. */
struct id history_floor(const struct history *h);
/* Where the floor may go by these limits at that time: to a mark, as an index; 0: it stays. */
size_t history_due(const struct history *h, uint64_t now_ms, uint64_t age_ms, uint64_t bytes);
/* The mark with that ID; SIZE_MAX: there is none. */
size_t history_find(const struct history *h, struct id id);
/* Moves the floor to that mark. How many entries a view loses is for the caller to see first: history_lost. */
void history_move(struct history *h, size_t mark);

/* ---- what a view has ---- */

/* Entries that it shows; how many it would lose by a move; the last one that it has lost, 0-0 if none. */
uint64_t history_n(const struct history *h, const struct history_view *v);
uint64_t history_lost(const struct history *h, const struct history_view *v, size_t mark);
struct id history_last_lost(const struct history *h, const struct history_view *v);
/* From where on it shows anything. */
struct id history_first(const struct history *h, const struct history_view *v);

/* Parts of the history: those between marks. Goes to the first one, at or behind the one that `id` lies in, in which the view has an entry:
 * *id is raised to where it begins, *end is where it ends (ID_MAX: it does not). False: there is none. */
bool history_part(const struct history *h, const struct history_view *v, struct id *id,
                  struct id *end);
/* The same from the other side: *id is lowered to the last ID of such a part, *begin is where that begins. */
bool history_part_back(const struct history *h, const struct history_view *v, struct id *id,
                       struct id *begin);
/* Entries of the view behind the part that `id` lies in; *end as above. */
uint64_t history_behind(const struct history *h, const struct history_view *v, struct id id,
                        struct id *end);

/* A narrower range in which there are at least `count` entries from its beginning (its end) on, as the marks tell. */
void history_narrow(const struct history *h, const struct history_view *v, uint64_t count,
                    bool backwards, struct id *from, struct id *to);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *history_check(const struct history *h);

#endif
