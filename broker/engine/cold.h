/* cold.h - commands that need entries which are not in memory: the connection waits, workers read, others go on.
 *
 * Two ways. A command that changes something, or whose reply is small, says beforehand what it needs (command.prefault);
 * what is missing is loaded and pinned, then the command runs from its beginning, as if it had just come. A command that
 * only reads a range hands its reply to a worker, which fills it from what the stream was at that moment, chunk by chunk as
 * the client reads (commands/streams_range.c). A client waits for at most one of these (client.cold); net executes nothing
 * further for it. Belongs to the engine's thread, except where a function says otherwise. */
#ifndef BROKER_ENGINE_COLD_H
#define BROKER_ENGINE_COLD_H
#include <stdbool.h>
#include <stddef.h>
#include "broker/engine/command.h"
#include "log/log.h"

struct client;
struct cold;
struct engine;
struct stream;

enum {
    COLD_WORKS_MAX = 1024, /* with the workers at a time; further ones wait in order */
    COLD_ROUNDS_MAX = 8,   /* how often a command is tried again before it reads by itself */
    COLD_EXEC_BYTES_MAX = 32 << 20, /* of blocks that one EXEC may have pinned */
    COLD_OUTPUT_MAX = 1 << 20,      /* unsent output at which a reply is not gone on with */
    COLD_CHUNK_BYTES = 256 << 10,   /* of a reply that a worker makes at a time */
    COLD_ROOM_BYTES = 16 << 20,     /* of what works copy from the engine's memory, all together */
};

must_check int cold_new(struct engine *e, struct cold **out, struct err *err);
void cold_open(struct cold *cold, struct log *log); /* the log is open */
/* All clients are gone. Loads of the server's own end with ERR_IO now; work that is with the log's workers ends in
 * log_close (or log_abandon), without touching the engine. NULL is fine. */
void cold_free(struct cold *cold);

/* In a round: commands go on whose data has come. */
void cold_turn(struct engine *e);
bool cold_has_ready(const struct engine *e);

/* What segments have of a stream now (log_get_sealed with the stream's own floor, deletes, last). False if that is
 * certainly nothing that lives: *out is then not set. */
bool cold_get_sealed(struct engine *e, const struct stream *st, struct sealed *out);

/* A reader for the engine's thread: what is missing goes to `wants` (may be NULL), or is read on the spot, which is
 * counted (log_stats.n_cold_sync_reads): only for what nothing else can be done about. */
void cold_reader(struct engine *e, const struct sealed *s, struct wants *wants, bool on_the_spot,
                 struct reader *out);

/* Asks the command what it needs: true if that is not nothing, and then in *out. */
must_check bool cold_ask(struct engine *e, struct client *c, const struct command *command,
                         const struct slice *argv, size_t argc, struct wants *out);

/* The same, and has the command wait for it. True: it waits, or an error has been replied. False: it
 * can run now. */
bool cold_prefault(struct engine *e, struct client *c, const struct command *command,
                   const struct slice *argv, size_t argc);

/* The client's command cannot run yet: loads and pins what the `n` wants name, then executes it again (argv is copied).
 * Takes them over. True: it waits, or an error has been replied. False: it has waited COLD_ROUNDS_MAX times, and is to run
 * with what there is, reading on the spot what is missing. */
bool cold_wait(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
               struct wants *wants, size_t n);

/* Loads for the server's own work (retention); `then` is called in a round, with what went wrong or OK. On success takes
 * the wants over, which stay pinned during the call. Errors: ERR_TOO_BIG (above WANTS_BYTES_MAX), ERR_NOMEM. */
must_check int cold_load(struct engine *e, struct wants *wants,
                         void (*then)(struct engine *e, void *ctx, int rc), void *ctx,
                         struct err *err);

/* Of the load whose `then` is being called: what went wrong with it; and what it has loaded, which stays pinned from now on
 * until wants_fini (it is added to *to). */
const char *cold_load_text(const struct engine *e);
void cold_load_keep(struct engine *e, struct wants *to);

/* The client goes away: its work goes on to its end without it. */
void cold_client_gone(struct client *c);

/* The client may have taken so much of its output that more of its reply may be made. */
void cold_client_drained(struct client *c);

/* ---- work in steps, for replies that workers make ---- */

enum cold_next {
    COLD_MORE,  /* another step */
    COLD_DRAIN, /* another step, when the client has taken most of its output */
    COLD_OVER,  /* the client waits no longer */
    COLD_KEPT,  /* the step has handed the work on, or begun it anew: nothing is to be done */
};

struct cold_work;

struct cold_kind {
    void (*run)(struct cold_work *w, struct block_decoder *decoder); /* on a worker: a step */
    /* Behind each step, in a round, unless the client is gone. */
    enum cold_next (*done)(struct engine *e, struct cold_work *w);
    void (*free)(struct cold_work *w); /* any time when no step is under way */
    /* Somebody waits for room while this one waits for its client: true if a step now may give some back. May be NULL. */
    bool (*make_room)(struct engine *e, struct cold_work *w);
};

enum cold_place {
    COLD_NOWHERE,
    COLD_ROOMLESS,
    COLD_WAITING,
    COLD_RUNNING,
    COLD_READY,
    COLD_DRAINING
};

struct cold_work { /* the first member of what a kind needs; all but `kind` is cold.c's to change */
    struct job job;
    const struct cold_kind *kind;
    struct cold *cold;
    struct client *client; /* NULL: gone, or the server's own work */
    struct cold_work *next, *prev;
    enum cold_place place;
    bool own;                            /* the server's */
    uint64_t need_written, need_durable; /* of the reply, from when it was begun */
    struct log_pin *pin;                 /* NULL: none */
    uint64_t room;                       /* bytes taken of COLD_ROOM_BYTES */
};

/* The client waits from now on for `w`, which is the engine's now; w->kind is set. */
void cold_start(struct engine *e, struct client *c, struct cold_work *w);

/* Takes room for what `w`, not begun yet, copies from memory, and a pin of the arena. False: there is not enough now. */
must_check bool cold_take_room(struct engine *e, struct cold_work *w, uint64_t bytes, bool pin);
void cold_give_room(struct cold_work *w);

/* As cold_start, but `done` is called without a step, when there may be room again. False, and nothing has happened: nobody
 * will give any back. */
must_check bool cold_wait_room(struct engine *e, struct client *c, struct cold_work *w);

/* Of the log's: where workers keep what they have read. Any thread. */
struct blockcache *cold_cache(const struct cold_work *w);

#endif
