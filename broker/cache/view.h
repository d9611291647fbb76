/* view.h - a change as readers of beck:changes see it: which ones a view shows, and as what entry.
 *
 * A view does not change once it is made, so workers may have it as well as the engine. */
#ifndef BROKER_CACHE_VIEW_H
#define BROKER_CACHE_VIEW_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/cache/change.h"

enum { VIEW_NAME_MAX = 64, VIEW_PREFIX_MAX = 255 }; /* bytes */

struct view_filter {
    atomic_uint n_refs;
    int db;
    bool values;         /* entries have what was written, too */
    struct slice prefix; /* of keys; lies behind the struct */
};

/* With one reference. Errors: ERR_NOMEM. */
must_check int view_filter_new(int db, struct slice prefix, bool values, struct view_filter **out,
                               struct err *e);
struct view_filter *view_filter_ref(struct view_filter *f); /* NULL is fine; any thread */
void view_filter_unref(struct view_filter *f);              /* the same */

/* Whether the change, an entry of the log's stream of changes, is one of the view's. What is no change is not. */
bool view_shows(const struct view_filter *f, const uint8_t *entry);
/* The same for who has had a look at it (change_peek). */
bool view_shows_change(const struct view_filter *f, enum change_op op, int db, struct slice key,
                       const uint8_t *entry);

/* Memory for one entry as the view shows it; zeroed at first. */
struct view_room {
    uint8_t *p;
    size_t cap;
};
void view_room_fini(struct view_room *r);

/* The entry that stands for a change that the view shows: same ID, the fields of docs/changes-stream.md. *out lies in the room
 * until its next use. Errors: ERR_NOMEM, ERR_CORRUPT. */
must_check int view_map(const struct view_filter *f, const uint8_t *entry, struct view_room *room,
                        const uint8_t **out, size_t *len, struct err *e);

/* Calls `each` for every field of the entry from `value` on, that is: of what was written. For KEYHIST, too. */
struct view_sink {
    void (*each)(struct view_sink *sink, const char *name, struct slice value);
    bool failed; /* the value did not fit what it should be */
};
void view_values(const struct change *x, const uint8_t *entry, struct view_sink *sink);

/* What readers call it: `set`, `del`, `expire`, `evict`, `rename`, `flush`, `swap`; NULL: nothing that they see. */
const char *view_op(const struct change *x);
/* The name of a type; `none` of what has no value any more. */
const char *view_type(const struct change *x);

#endif
