/* cold.h - commands that need entries which are not in memory: the connection waits, workers read, others go on.
 *
 * Two ways. A command that changes something, or whose reply is small, says beforehand what it needs (command.prefault);
 * what is missing is loaded and pinned, then the command runs from its beginning, as if it had just come. A command that
 * only reads a range hands its reply to a worker, which fills it from what the stream was at that moment, chunk by chunk as
 * the client reads. A client waits for at most one of these (client.cold); net executes nothing further for it. */
#ifndef BROKER_ENGINE_COLD_H
#define BROKER_ENGINE_COLD_H
#include <stdbool.h>
#include <stddef.h>
#include "log/log.h"

struct client;
struct command;
struct engine;
struct stream;

/* What segments have of a stream now (log_get_sealed with the stream's own floor, deletes, last). False if that is
 * certainly nothing that lives: *out is then not set. */
bool cold_get_sealed(struct engine *e, const struct stream *st, struct sealed *out);

/* A reader for the engine's thread: with `wants`, what is missing goes there; NULL: it is read on the spot, counted. */
void cold_reader(struct engine *e, const struct sealed *s, struct wants *wants, struct reader *out);

/* The client's command cannot run yet: loads and pins what it wants, then executes it again (argv is copied). Takes the
 * wants over. Replies with an error if they are too many. */
void cold_wait(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
               struct wants *wants);

/* Loads for the server's own work (retention); `then` is called in a round, with what went wrong or OK. Takes the wants
 * over, which stay pinned during the call. */
must_check int cold_load(struct engine *e, struct wants *wants,
                         void (*then)(struct engine *e, void *ctx, int rc), void *ctx,
                         struct err *err);

/* The client goes away: its work goes on to its end without it. */
void cold_client_gone(struct client *c);

/* The client has taken so much of its output that more of its reply may be made. */
void cold_client_drained(struct engine *e, struct client *c);

#endif
