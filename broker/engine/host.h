/* host.h - what the log asks of the engine: its checkpoint, what is still wanted of streams, where entries lie now. */
#ifndef BROKER_ENGINE_HOST_H
#define BROKER_ENGINE_HOST_H
#include "broker/engine/engine.h"

/* Fills in all but on_progress; ctx is the engine, which may be used by on_progress too (e->host). The caller gives
 * log_open &e->log, so that the log is known during the replay. */
void host_init(struct engine *e, struct log_host *out);

#endif
