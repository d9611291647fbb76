/* cursor.h - the live entries of a stream, sealed ones and those in the tail, in order: for the engine's thread.
 *
 * Valid while the stream does not change. What is sealed is seen as it was when the cursor was opened. Of a view of changes
 * (cache/changes.h) the entries are made as the cursor comes to them, from what the log's stream of changes has. */
#ifndef BROKER_ENGINE_CURSOR_H
#define BROKER_ENGINE_CURSOR_H
#include "broker/cache/changes.h"
#include "broker/engine/engine.h"
#include "log/reader.h"

enum cursor_mode {
    CURSOR_RESIDENT,    /* what is not in memory is ERR_COLD, and noted if there are wants */
    CURSOR_ON_THE_SPOT, /* it is read at once, counted */
};

struct cursor {
    struct engine *engine;
    const struct stream *st;
    enum cursor_mode mode;
    bool has_sealed, in_sealed, spot; /* spot: the reader reads on the spot by now */
    const struct stream_index *tail;
    struct id sealed_last;
    struct sealed sealed;
    struct reader reader;
    struct stream_pos pos; /* in the tail */
    const uint8_t *entry;  /* that it is at, or NULL */
    size_t len;
    const struct history_view *view; /* NULL: it is no view */
    struct id from, to;              /* of a view: nothing else is looked at */
    struct view_room room;           /* the entry that it is at, as the view shows it */
    bool has_shown;
    uint64_t n_passed; /* changes that it does not show, since it has shown one */
};

enum { CURSOR_PASSES_MAX = 16 << 10 };

/* Where entries of the stream lie that are in no segment, and up to which ID they are in segments. */
const struct stream_index *cursor_tail(const struct engine *e, const struct stream *st);
struct id cursor_sealed_last(const struct engine *e, const struct stream *st);

/* At no entry yet. `wants` may be NULL. cursor_close in any case. */
void cursor_open(struct cursor *c, struct engine *e, const struct stream *st, enum cursor_mode mode,
                 struct wants *wants);
/* The same for who looks at the tail alone. */
void cursor_open_tail(struct cursor *c, struct engine *e, const struct stream *st);
/* Nothing outside of [from, to] is of interest: what is beyond is not read only to find that it is. The cursor
 * need not stop there. Right after cursor_open. */
void cursor_narrow(struct cursor *c, struct id from, struct id to);
void cursor_close(struct cursor *c);

/* Errors of all these: as of struct reader; the cursor is then at no entry. ERR_TOO_BIG: a resident one has passed
 * CURSOR_PASSES_MAX changes that its view does not show, on the way from one entry to the next. */
must_check int cursor_seek(struct cursor *c, struct id id, struct err *e);      /* first >= id */
must_check int cursor_seek_back(struct cursor *c, struct id id, struct err *e); /* last <= id */
must_check int cursor_next(struct cursor *c, struct err *e);
must_check int cursor_prev(struct cursor *c, struct err *e);

/* The entry that it is at, NULL at either end; until the cursor moves. */
static inline const uint8_t *cursor_at(const struct cursor *c)
{
    return c->entry;
}

/* Whether that entry stays where it is when the cursor moves or is closed, until the round is over. */
static inline bool cursor_entry_stays(const struct cursor *c)
{
    return !c->in_sealed && c->view == NULL;
}

/* The stream's entry with the lowest (highest) ID; ID_MIN if it has none. Errors as above. */
must_check int cursor_first_id(struct engine *e, const struct stream *st, enum cursor_mode mode,
                               struct wants *wants, struct id *out, struct err *err);
must_check int cursor_top_id(struct engine *e, const struct stream *st, enum cursor_mode mode,
                             struct wants *wants, struct id *out, struct err *err);

/* How many entries live in [from, to]. What segments have of them is counted as reader_count does, mostly by the index; nothing is
 * read if the stream's own numbers tell. Errors as above. */
must_check int cursor_count(struct engine *e, const struct stream *st, struct id from, struct id to,
                            enum cursor_mode mode, struct wants *wants, uint64_t *out,
                            struct err *err);

#endif
