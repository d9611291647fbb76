/* changes.h - beck:changes: the streams that show what has happened to the keys of a database, and the history behind them.
 *
 * Such a stream has no entries of its own: cursors (engine/cursor.h) and the workers that make replies (commands/streams_range.c) show
 * through it what the log's stream of changes has (cache/view.h). For all else it is a stream: its groups are state, it has numbers
 * and a last ID. It has no place among the names of its database, so nothing lists, counts, flushes or renames it. Essay: changes.c. */
#ifndef BROKER_CACHE_CHANGES_H
#define BROKER_CACHE_CHANGES_H
#include "broker/cache/history.h"
#include "broker/engine/command.h"
#include "broker/engine/engine.h"
#include "broker/engine/state.h"
#include "log/log.h"

enum {
    CHANGES_OID = 16,       /* + db: the oid of a database's own stream */
    CHANGES_TURN_MS = 1000, /* the floor moves at most so often */
};

/* ---- the state ---- */

/* The databases' own streams, whose name is `key` (empty: they have none). Errors: ERR_NOMEM. */
must_check int changes_open(struct state *s, struct slice key, struct err *e);
void changes_close(struct state *s); /* before state_fini, which frees the streams */
/* They are called something else from now on. Errors: ERR_NOMEM: some may have the old name. */
must_check int changes_set_key(struct state *s, struct slice key, struct err *e);

/* The view that is called so in that database, as a stream; NULL: there is none. Only for names that no key has. */
struct object *changes_find(const struct state *s, int db, struct slice name);
/* Whether a name is one of theirs: `changes-key`, or begins with it and a colon. */
bool changes_is_name(const struct state *s, struct slice name);

/* NULL: the stream is none of them. */
static inline struct history_view *changes_view(const struct stream *st)
{
    return stream_more(st)->view;
}

/* RECORD_CHANGE has been applied: its entry, of `len` bytes. */
void changes_added(struct state *s, struct id id, const uint8_t *entry, size_t len);
/* The databases have changed places. */
void changes_swapped(struct state *s, int a, int b);

/* RECORD_HISTORY and RECORD_VIEW, at a start. Errors: ERR_CORRUPT, ERR_NOMEM. */
must_check int changes_replay_history(struct state *s, const struct log_record *r, struct err *e);
must_check int changes_replay_view(struct state *s, const struct log_record *r, struct err *e);
/* All of it is known now. */
void changes_replayed(struct state *s);

/* For checkpoints: floor, marks, views with their numbers, as of now. Groups come as those of other streams do, if the view is saved. */
size_t changes_save_max(const struct state *s); /* bytes, at most */
uint8_t *changes_save(struct state *s, uint8_t *p);
bool changes_is_saved(const struct stream *st);
void changes_save_begin(struct state *s);
must_check int changes_load(struct state *s, uint64_t as_of, const uint8_t **p, const uint8_t *end,
                            struct err *e);

const char *changes_check(const struct state *s);

/* ---- the engine ---- */

/* At the end of a round: the floor moves, views that the configuration wants are made, others go. */
void changes_turn(struct engine *e);
/* A setting has changed. */
void changes_config_changed(struct engine *e, const char *key);
/* After a command: who waits for changes is told. Cheap if nothing has changed. */
void changes_signal_all(struct engine *e);
static inline void changes_signal(struct engine *e)
{
    if (e->state.history != NULL && e->state.history->changed != 0)
        changes_signal_all(e);
}

/* Whether the command would write a name of theirs: an error has been replied then. */
must_check bool changes_refuse_any(struct engine *e, struct client *c,
                                   const struct command *command, const struct slice *argv,
                                   size_t argc);
static inline bool changes_refuse(struct engine *e, struct client *c, const struct command *command,
                                  const struct slice *argv, size_t argc)
{
    return command->flags & CMD_WRITE && e->state.history != NULL && e->state.history->key.n > 0 &&
           changes_refuse_any(e, c, command, argv, argc);
}

/* Whether entries behind `after` (`inclusive`: and at it) are gone that the stream once had: -ERR BEHIND has been replied. ID 0-0
 * stands for wherever it begins. */
must_check bool changes_is_behind(struct client *c, const struct stream *st, struct id after,
                                  bool inclusive);

#endif
