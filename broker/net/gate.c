/*
 * gate.c - holds replies back until the log has what they tell.
 *
 * Every reply leaves a mark: "the output up to here needs these watermarks". Replies leave in order, so a
 * reply needs what those before it need, and the needs in the ring only grow; opening the gate pops
 * marks from the front until one is not satisfied.
 *
 * A mark is saved where it can be: two marks of the same needs are one, and a reply that needs no more
 * than what has already passed makes none at all. A connection may still pipeline more replies than the ring has
 * room for while a sync is under way; then the last mark takes up the newer ones with their needs.
 * That is late by at most the syncs that are under way, and never early:
 *
 *   G1  A byte leaves only when the needs of its own mark have passed.
 *   G2  Marks are ordered by end, by need_written and by need_durable.
 */
#include "broker/net/gate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { GATE_MARKS_FIRST = 4, GATE_MARKS_MAX = 16 }; /* powers of two */

void gate_init(struct gate *g)
{
    memset(g, 0, sizeof *g);
}

void gate_fini(struct gate *g)
{
    free(g->marks);
    gate_init(g);
}

static struct gate_mark *gate_at(struct gate *g, uint32_t i)
{
    return &g->marks[(g->first + i) & (g->cap - 1)];
}

static bool gate_grow(struct gate *g)
{
    uint32_t cap = g->cap == 0 ? GATE_MARKS_FIRST : g->cap * 2;
    struct gate_mark *marks = malloc(cap * sizeof *marks);

    if (marks == NULL)
        return false;
    for (uint32_t i = 0; i < g->n; i++)
        marks[i] = *gate_at(g, i);
    free(g->marks);
    g->marks = marks;
    g->cap = cap;
    g->first = 0;
    return true;
}

void gate_mark(struct gate *g, uint64_t end, uint64_t need_written, uint64_t need_durable)
{
    bool grew = need_written > g->need_written || need_durable > g->need_durable;
    struct gate_mark *last;

    if (g->n == 0 && !grew) { /* what it needs has passed: otherwise a mark would be here */
        g->open_end = end;
        return;
    }
    if (need_written > g->need_written)
        g->need_written = need_written;
    if (need_durable > g->need_durable)
        g->need_durable = need_durable;
    if (g->n > 0 && (!grew || g->n == GATE_MARKS_MAX)) {
        last = gate_at(g, g->n - 1);
        assert(end >= last->end); /* G2 */
    } else {
        if (g->n == g->cap && !gate_grow(g)) {
            g->failed = true;
            return;
        }
        last = gate_at(g, g->n++);
    }
    last->end = end;
    last->need_written = g->need_written;
    last->need_durable = g->need_durable;
}

uint64_t gate_open(struct gate *g, uint64_t released, uint64_t durable)
{
    while (g->n > 0) {
        const struct gate_mark *mark = gate_at(g, 0);
        if (mark->need_written > released || mark->need_durable > durable)
            break;
        g->open_end = mark->end;
        g->first++;
        g->n--;
    }
    return g->open_end;
}
