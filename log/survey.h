/* survey.h - how much of a segment is dead, without rewriting it. Essay: survey.c.
 *
 * The same kind of machine as a merge: survey_step on a worker, survey_states answered on the engine's thread. Reads the
 * list of streams and, where only a part of a stream is dead, the index and the blocks that it shares. */
#ifndef LOG_SURVEY_H
#define LOG_SURVEY_H
#include "log/segment.h"
#include "log/states.h"

struct survey; /* one thread at a time */

/* Takes a reference of the segment. Errors: ERR_NOMEM. */
must_check int survey_new(struct segment *s, struct survey **out, struct err *e);
void survey_free(struct survey *v); /* at any time; NULL is fine */

/* Errors: ERR_CORRUPT, ERR_IO (segment_set_bad has been called), ERR_NOMEM. */
must_check int survey_step(struct survey *v, enum step *out, struct err *e);
struct states *survey_states(struct survey *v);

/* After STEP_DONE. Bytes of deleted entries are those of an average row of their block, of changes those of an average
 * one; all else is exact. */
struct survey_result {
    uint64_t n, bytes; /* dead entries, and their bytes as rows */
};
void survey_result(const struct survey *v, struct survey_result *out);

#endif
