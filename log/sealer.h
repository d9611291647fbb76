/* sealer.h - takes closed parts of the arena through their sealing, one after the other. Essay: sealer.c. The
 * engine's thread. */
#ifndef LOG_SEALER_H
#define LOG_SEALER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/seal.h"
#include "log/work.h"

enum sealer_state {
    SEALER_IDLE,
    SEALER_BUILDS,    /* a step of the seal runs, or its question was just answered */
    SEALER_WAITS,     /* until what the segment reflects is durable */
    SEALER_PUBLISHES, /* the file gets its name and is opened */
    SEALER_NAMES,     /* the manifest is to name it */
    SEALER_INSTALLS   /* stream after stream, forgets addresses */
};

struct sealer {
    struct work work; /* first */
    enum sealer_state state;
    enum step step;
    struct seal *seal;
    struct arena *part; /* the oldest closed one */
    bool has_segment;
    struct segment_info info;
    struct segment *segment;
    uint64_t reflects;      /* LSN */
    uint64_t generation;    /* of the manifest that names it */
    uint64_t installed_oid; /* while SEALER_INSTALLS: streams up to it have had their turn */
    uint64_t retry_ns;      /* not before, after a failure; 0: none */
    bool starved;           /* that was for lack of space */
};

struct keeper;

void sealer_turn(struct keeper *k);
void sealer_fini(struct keeper *k, bool abandon); /* no job of it runs */

/* How many segments of the view count for a stream. */
size_t sealer_count(const struct keeper *k, uint64_t oid);

#endif
