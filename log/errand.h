/* errand.h - checks and backups: long work on all files of the store, which stay meanwhile. Essay: errand.c. The engine's
 * thread. */
#ifndef LOG_ERRAND_H
#define LOG_ERRAND_H
#include "log/log.h"

struct errand; /* under way */
struct keeper;

/* `to` is where a backup goes, copied; NULL: a check. `last_lsn` as in keeper_turn. */
void errand_ask(struct keeper *k, uint64_t last_lsn, const char *to, struct log_request *r);
void errand_turn(struct keeper *k);
void errand_fini(struct keeper *k); /* answers them all; no job of theirs runs */

#endif
