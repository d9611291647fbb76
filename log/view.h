/* view.h - the set of segments at one moment: immutable, counted, any thread.
 *
 * In order of LSN, without overlaps; so the entries of a stream are in order of ID over the segments. */
#ifndef LOG_VIEW_H
#define LOG_VIEW_H
#include "log/segment.h"

struct view {
    atomic_uint refs;
    size_t n;
    struct segment *segments[]; /* a reference each */
};

/* A view of n segments, taking a reference of each. NULL if memory ran out. */
struct view *view_new(struct segment *const *segments, size_t n);
struct view *view_ref(struct view *v);
void view_unref(struct view *v); /* NULL is fine */

#endif
