/* retention.h - removes what a stream is to keep no longer, by age, size or number of entries, without anybody
 * writing to it. Essay: retention.c.
 *
 * Belongs to the engine's thread. What holds for a stream is engine_setting's to say. */
#ifndef BROKER_ENGINE_RETENTION_H
#define BROKER_ENGINE_RETENTION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/engine/engine.h"
#include "log/err.h"

struct retention;

/* The settings that limit a stream. */
enum {
    RETENTION_TAGS = 1 << SETTING_RETENTION_AGE | 1 << SETTING_RETENTION_BYTES |
                     1 << SETTING_RETENTION_LEN | 1 << SETTING_RETENTION_ACKED
};

struct retention_stats {
    uint64_t n_scheduled; /* streams that have a time, and entries of the heap that are void */
    uint64_t n_cuts, n_entries, bytes; /* removed since the start */
    uint64_t n_failed;     /* cuts that could not be decided or logged, and are tried again */
    struct err last_error; /* of those, where something could not be read; OK: none */
    bool walking;          /* defaults are being applied to all streams */
};

/* Errors: ERR_NOMEM. */
must_check int retention_new(struct retention **out, struct err *e);
void retention_free(struct retention *r); /* NULL is fine */

/* Looks at every stream, a slice a round: after a start, and when defaults have changed. */
void retention_walk(struct engine *e);

/* A stream's settings, name or oid have changed. */
void retention_changed(struct engine *e, struct stream *st);

/* For retention_appended: there is something to look at. */
void retention_look(struct engine *e, struct stream *st);

/* The stream has got entries. Cheap where nothing limits it. */
static inline void retention_appended(struct engine *e, struct stream *st)
{
    if (e->has_limits || (st->more != NULL && stream_settings(st)->set & RETENTION_TAGS))
        retention_look(e, st);
}

/* For retention_acknowledged. */
void retention_look_acked(struct engine *e, struct stream *st);

/* Groups of the stream may need less of it than before. Cheap where nothing waits for them, and where they have just been looked
 * at. */
static inline void retention_acknowledged(struct engine *e, struct stream *st)
{
    if (e->has_limits || stream_settings(st)->set & RETENTION_TAGS)
        retention_look_acked(e, st);
}

/* At the end of a round: does what is due, a slice of it. True if there is more to do at once. */
bool retention_step(struct engine *e);

/* When the next stream is due, on the engine's clock; UINT64_MAX: never. */
uint64_t retention_next_ms(const struct engine *e);

void retention_get_stats(const struct engine *e, struct retention_stats *out);

/* NULL, or the name of the first invariant found broken. */
const char *retention_check(const struct engine *e);

#endif
