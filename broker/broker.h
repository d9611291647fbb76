/* broker.h - one whole broker: configuration, log, engine, sockets and the loop that drives them.
 *
 * Nothing of it is global: several can live in one process, each used by one thread, but for broker_stop.
 * main.c is the program around it. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H
#include <stdint.h>
#include "broker/config.h"
#include "log/err.h"

struct broker;

/* Recovers the store and listens. `config` is taken over on success, and left to the caller otherwise.
 * Errors: those of log_open and listener_open, ERR_IO, ERR_NOMEM; the text is one line for the operator. */
must_check int broker_open(const struct config *config, struct broker **out, struct err *e);

/* Stops on SIGTERM and SIGINT from now on. One broker in a process may do that. */
must_check int broker_catch_signals(struct broker *b, struct err *e);

/* Serves until broker_stop, a signal or SHUTDOWN, and answers what was read before it returns OK. A failure of
 * the log ends it with ERR_IO, after those who waited for the log were told. */
must_check int broker_run(struct broker *b, struct err *e);

/* Any thread: stop as on SIGTERM. */
void broker_stop(struct broker *b);

/* Writes and syncs the log and frees everything; NULL is fine. Errors: ERR_IO; `b` is freed in any case. */
must_check int broker_close(struct broker *b, struct err *e);

/* The TCP port it listens on; 0: none. */
uint16_t broker_port(const struct broker *b);

/* The configuration in force; borrowed. */
const struct config *broker_config(const struct broker *b);

#endif
