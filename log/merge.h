/* merge.h - rewrites adjacent segments as one, without what is dead. Essay: merge.c.
 *
 * A machine of steps. merge_step runs on a worker; when it ends with STEP_ASKS, the engine's thread answers
 * merge_states, then the next step goes on. A step reads step_bytes and a block more at most. */
#ifndef LOG_MERGE_H
#define LOG_MERGE_H
#include "log/segment.h"
#include "log/states.h"

struct merge; /* one thread at a time */

enum { MERGE_STEP_BYTES = 32 << 20 };

struct merge_options {
    struct segment_options out;    /* block_bytes 0: what fits `strong` */
    struct segment *const *inputs; /* in order of LSN, adjacent; a reference of each is taken */
    size_t n_inputs;
    bool strong; /* compress everything again, for size; else copy large live blocks as they are */
    enum block_codec auto_codec; /* of streams with LOG_CODEC_AUTO, unless `strong` chooses */
    int auto_level;
    uint64_t step_bytes; /* read in a step; 0: MERGE_STEP_BYTES */
};

/* Makes it ready; nothing is read or written yet. Errors: ERR_NOMEM. */
must_check int merge_new(const struct merge_options *o, struct merge **out, struct err *e);
/* At any time; a file that has not been finished is removed. NULL is fine. */
void merge_free(struct merge *m);

/* Does a step. After an error, and after STEP_DONE, there is none. Errors: ERR_CORRUPT, ERR_IO of an input (file
 * and offset in the text; segment_set_bad has been called, the input is as it was); ERR_FULL, ERR_IO of the
 * output, which is gone; ERR_NOMEM. */
must_check int merge_step(struct merge *m, enum step *out, struct err *e);
struct states *merge_states(struct merge *m); /* its references are the merge's from then on */

/* After STEP_DONE. False: nothing was live, and there is no file. Else the file is durable under its unfinished
 * name, the caller's from now on (segment_publish). */
bool merge_result(const struct merge *m, struct segment_info *out);
uint64_t merge_bytes_read(const struct merge *m);

/* After STEP_DONE, one after the other: streams that had deleted entries, and the range of IDs in which all of those
 * lie nowhere any more, for log_host.folded once the result is installed. Borrowed until merge_free. */
struct merge_fold {
    uint64_t oid;
    const struct delset *deletes;
    struct id from, to;
};
bool merge_fold_next(struct merge *m, struct merge_fold *out);

#endif
