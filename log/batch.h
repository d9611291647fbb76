/* batch.h - the records between two commits: where they lie in the arena, and what their frames
 * will say. */
#ifndef LOG_BATCH_H
#define LOG_BATCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"
#include "log/log.h"

struct batch {
    struct batch *next;    /* in whichever list holds it */
    struct slice *extents; /* of the arena, in order; a record lies whole in one of them */
    size_t n_extents, cap_extents;
    size_t bytes;
    uint64_t first_lsn, n_records, n_always;
    uint64_t index, clock;
    uint8_t classes; /* bit 1 << enum log_class for each that is in it */
};

/* NULL if memory ran out. */
struct batch *batch_new(void);
void batch_free(struct batch *b); /* NULL is fine */

/* Empties it for another use. */
void batch_reset(struct batch *b);

/* Makes room for one more extent. Errors: ERR_NOMEM. */
must_check int batch_reserve_extent(struct batch *b, struct err *e);

/* Adds a record that lies at p; adjoining records share an extent. */
static inline void batch_add(struct batch *b, const uint8_t *p, size_t n)
{
    struct slice *last = b->n_extents > 0 ? &b->extents[b->n_extents - 1] : NULL;

    if (last != NULL && last->p + last->n == p)
        last->n += n;
    else
        b->extents[b->n_extents++] = slice_of(p, n);
    b->bytes += n;
    b->n_records++;
}

static inline uint64_t batch_last_lsn(const struct batch *b)
{
    return b->first_lsn + b->n_records - 1;
}

static inline bool batch_has(const struct batch *b, enum log_class class)
{
    return (b->classes & 1u << class) != 0;
}

/* A place in the bytes of a batch. */
struct batch_pos {
    size_t extent, offset;
    size_t record_left; /* bytes of the record that is here; 0: one starts */
};

/* Takes the bytes from *pos on that make one frame: at most `max` of them, ending at most
 * WAL_RECORDS_MAX records. Moves *pos behind them and returns how many they are, with the number of
 * records that end there. */
size_t batch_next_frame(const struct batch *b, struct batch_pos *pos, size_t max, uint16_t *count);

/* The longest contiguous piece at *pos of at most `max` bytes; moves *pos (all but record_left)
 * behind it. */
struct slice batch_piece(const struct batch *b, struct batch_pos *pos, size_t max);

#endif
