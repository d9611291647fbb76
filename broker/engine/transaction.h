/* transaction.h - MULTI, EXEC and WATCH: a queue of commands that run as one, and keys whose change prevents it.
 *
 * The records of an EXEC are one batch of the log, so after a crash all of its effects are there, or none. */
#ifndef BROKER_ENGINE_TRANSACTION_H
#define BROKER_ENGINE_TRANSACTION_H
#include <stdbool.h>
#include <stddef.h>
#include "log/bytes.h"
#include "log/err.h"

struct client;
struct command;
struct engine;
struct watching;

/* `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int watching_new(const uint8_t hash_key[16], struct watching **out, struct err *e);
void watching_free(struct watching *w); /* nobody must be watching; NULL is fine */

/* Puts a command behind those that wait for EXEC and replies +QUEUED, or with an error that makes EXEC fail. */
void transaction_queue(struct engine *e, struct client *c, const struct command *command,
                       const struct slice *argv, size_t argc);

/* EXEC's handler: runs the queue and replies; ends the transaction in any case. */
void transaction_exec(struct engine *e, struct client *c, const struct slice *argv, size_t argc);

/* An EXEC that is refused before it runs ends its transaction too, with the reason in its reply. */
void transaction_refuse(struct engine *e, struct client *c, const char *why);

/* Forgets queue, flags and watched keys: DISCARD, RESET, the client's end. */
void transaction_discard(struct engine *e, struct client *c);

/* Whether a queued command takes disk space; whether one takes memory. */
bool transaction_takes_space(const struct client *c);
bool transaction_takes_memory(const struct client *c);

/* Watches a key of c->db. Errors: ERR_NOMEM, ERR_TOO_BIG (more than CLIENT_WATCH_MAX). */
must_check int transaction_watch(struct engine *e, struct client *c, struct slice key,
                                 struct err *err);
void transaction_unwatch(struct engine *e, struct client *c);
size_t transaction_n_watched(const struct client *c);

/* A key was changed: whoever watches it has lost. */
void transaction_key_changed(struct engine *e, int db, struct slice key);

/* All keys of db (-1: of every one) are about to be removed. */
void transaction_flush(struct engine *e, int db);
/* Two databases are about to change places. */
void transaction_swap(struct engine *e, int a, int b);

#endif
