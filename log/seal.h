/* seal.h - a closed part of the arena becomes a segment. Essay: seal.c.
 *
 * The same kind of machine as a merge (log/merge.h): seal_step on a worker, seal_states answered on the engine's
 * thread. The part does not change and stays until seal_free. */
#ifndef LOG_SEAL_H
#define LOG_SEAL_H
#include "log/arena.h"
#include "log/segment.h"
#include "log/states.h"

struct seal; /* one thread at a time */

struct seal_options {
    struct segment_options out; /* its LSNs begin behind what is sealed */
    const struct arena *part;
    enum block_codec auto_codec; /* of streams with LOG_CODEC_AUTO */
    int auto_level;
    size_t slice; /* streams that are asked for at a time: 1..STATES_MAX */
};

/* Errors: ERR_NOMEM. */
must_check int seal_new(const struct seal_options *o, struct seal **out, struct err *e);
/* At any time; a file that has not been finished is removed. NULL is fine. */
void seal_free(struct seal *s);

/* Errors: ERR_FULL, ERR_IO, ERR_NOMEM; ERR_CORRUPT (the part holds what is no entry). After an error, and after
 * STEP_DONE, there is no further step. */
must_check int seal_step(struct seal *s, enum step *out, struct err *e);
struct states *seal_states(struct seal *s); /* its references are the seal's from then on */

/* After STEP_DONE. False: nothing was live, and there is no file. Else the file is durable under its unfinished
 * name, the caller's from now on (segment_publish). */
bool seal_result(const struct seal *s, struct segment_info *out);

/* After STEP_DONE, one after the other: the streams with entries in the part, in order of oid, and which those were. */
struct seal_stream {
    uint64_t oid;
    struct id first, last;
    const struct delset *
        folded; /* left out of [first, last], so that it lies nowhere; NULL: none. Borrowed until seal_free */
};
bool seal_next_stream(struct seal *s, struct seal_stream *out);

#endif
