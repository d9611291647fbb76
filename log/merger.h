/* merger.h - decides which segments are rewritten, and takes them through it. Essay: merger.c. The engine's thread. */
#ifndef LOG_MERGER_H
#define LOG_MERGER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/log.h"
#include "log/merge.h"
#include "log/survey.h"
#include "log/work.h"

enum merger_state {
    MERGER_IDLE,
    MERGER_SURVEYS,   /* how much of a segment is dead */
    MERGER_BUILDS,    /* a step of the merge runs, or its question was just answered */
    MERGER_WAITS,     /* until what it reflects is durable */
    MERGER_PUBLISHES, /* the file gets its name and is opened */
    MERGER_NAMES,     /* the manifest is to name it instead of its inputs */
    MERGER_INSTALLS   /* stream after stream, forgets deleted IDs */
};

struct merger_dead { /* of a segment, as last surveyed */
    uint64_t ordinal, bytes;
};

struct merger {
    struct work work; /* first */
    enum merger_state state;
    enum step step;
    struct merge *merge;
    struct survey *survey;
    struct segment **inputs; /* references; the one that is surveyed too */
    size_t n_inputs;
    bool has_segment, shown;
    struct segment_info info;
    struct segment *segment;
    uint64_t reflects;   /* LSN */
    uint64_t generation; /* of the manifest that names it */
    uint64_t retry_ns;   /* not before, after a failure; 0: none */

    uint64_t noted_bytes;     /* garbage, since the last survey */
    uint64_t first_survey_ns; /* of the garbage from before the start; 0: it has been */
    bool surveying;           /* a survey goes on with the segments from LSN survey_lsn on */
    uint64_t survey_lsn;
    struct merger_dead *dead;
    size_t n_dead, cap_dead;

    bool all; /* BECK MERGE goes on with the segments in [all_lsn, all_end) */
    uint64_t all_lsn, all_end;
    uint64_t all_asked; /* requests up to that LSN are answered by it */
    struct err all_err; /* what it could not rewrite; code OK: nothing */
};

struct keeper;

void merger_turn(struct keeper *k);
void merger_fini(struct keeper *k, bool abandon); /* no job of it runs */
void merger_note_garbage(struct keeper *k, uint64_t bytes);
void merger_count(const struct keeper *k, struct log_stats *out);

#endif
