/* pelseek.h - looking for pending entries by what the tree of peltree.h sums up. */
#ifndef GROUPS_PELSEEK_H
#define GROUPS_PELSEEK_H
#include "groups/peltree.h"

/* What is looked for: by the filter, or what is dead, ready, parked, or has to do with a slot. */
struct query {
    enum { QUERY_FILTER, QUERY_DEAD, QUERY_SLOT, QUERY_DUE } by;
    struct pel_filter f;
    uint64_t until; /* QUERY_DUE: has an event by then */
};

/* The path leads to the first page that may have an answer with ID >= from. */
bool pelpath_seek(const struct pel *p, struct path *path, struct id from, const struct query *q);

/* Neither gone from the stream nor dead. */
static inline bool pel_is_living(const struct pel *p, const struct pelpage *pg, size_t i)
{
    return (pelpage_marks(pg, i) & (PELPAGE_GONE | PELPAGE_DEAD)) == 0 &&
           id_cmp(pelpage_id(pg, i), p->gone_below) >= 0;
}

static inline bool pelfilter_passes(const struct pel *p, const struct pel_filter *f,
                                    const struct pelpage *pg, size_t i)
{
    enum pel_kind kind = pel_kind(pg, i);

    if ((f->kinds & kind) == 0 || (f->is_living && !pel_is_living(p, pg, i)))
        return false;
    if (kind == PEL_NACKED)
        return pelpage_time(pg, i) <= f->nacked_until;
    if (kind == PEL_SKIPPED)
        return true;
    return (!f->by_slot || pelpage_slot(pg, i) == f->slot) && pelpage_time(pg, i) <= f->held_until;
}

#endif
