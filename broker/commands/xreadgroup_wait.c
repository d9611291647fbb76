/*
 * xreadgroup_wait.c - readers of groups that wait: for something to read, or for what has to be read from disk.
 *
 * A copy of the request waits in engine/blocking.c, with all its streams, in the order of arrival and with the deadline that it
 * has had from the beginning; for each stream engine/reading.c knows what it waits for. Whenever one of its keys changes the whole
 * request is looked at again, unless reading.c can tell that this would be in vain.
 *
 * What a request misses in memory is loaded for each of its groups. One that does not block waits for that as well, and gets null
 * if there is nothing after all.
 */
#include <stdlib.h>
#include "broker/commands/xreadgroup.h"
#include "broker/engine/blocking.h"
#include "broker/engine/cold.h"
#include "broker/engine/reply.h"

struct xreadgroup_waiter {
    struct engine *engine;
    struct xreadgroup r;
    bool blocks;
    unsigned n_tries; /* looks that found something to be read first */
    struct reading_wait
        waits[]; /* one for each stream; then the keys, and the bytes of all names */
};

static struct slice xreadgroup_copy_name(uint8_t **p, struct slice name)
{
    struct slice copy = slice_of(*p, name.n);

    if (name.n > 0)
        memcpy(*p, name.p, name.n);
    *p += name.n;
    return copy;
}

/* A copy of the request, in one allocation. */
static struct xreadgroup_waiter *xreadgroup_waiter_new(struct engine *e, const struct client *c,
                                                       const struct xreadgroup *r)
{
    size_t bytes = r->group.n + r->consumer.n;
    struct xreadgroup_waiter *w;
    uint8_t *p;

    for (size_t i = 0; i < r->n; i++)
        bytes += r->keys[i].name.n;
    w = malloc(sizeof *w + r->n * (sizeof w->waits[0] + sizeof r->keys[0]) + bytes);
    if (w == NULL)
        return NULL;
    *w = (struct xreadgroup_waiter){ .engine = e, .r = *r, .blocks = r->limits.blocks };
    w->r.keys = (struct xreadgroup_key *)(void *)(w->waits + r->n);
    p = (uint8_t *)(w->r.keys + r->n);
    w->r.group = xreadgroup_copy_name(&p, r->group);
    w->r.consumer = xreadgroup_copy_name(&p, r->consumer);
    for (size_t i = 0; i < r->n; i++) {
        w->r.keys[i] = r->keys[i];
        w->r.keys[i].name = xreadgroup_copy_name(&p, r->keys[i].name);
        w->waits[i] = (struct reading_wait){
            .db = c->db,
            .key = w->r.keys[i].name,
            .consumer = w->r.consumer,
            .idle_ms = w->r.keys[i].claims ? r->min_idle_ms : UINT64_MAX,
        };
    }
    return w;
}

static void xreadgroup_release(void *ctx)
{
    struct xreadgroup_waiter *w = ctx;

    for (size_t i = 0; i < w->r.n; i++)
        reading_unbind(w->engine, &w->waits[i]);
    free(w);
}

/* What has been found is nothing, or cold: it waits for the groups as they are now, and for what is to be loaded. Errors:
 * ERR_NOMEM, ERR_TOO_BIG. */
static int xreadgroup_expect(struct engine *e, struct xreadgroup_waiter *w,
                             struct xreadgroup_part *parts, bool found_nothing, struct err *err)
{
    int rc = OK;

    for (size_t i = 0; i < w->r.n && rc == OK; i++) {
        struct reading_wait *wait = &w->waits[i];

        wait->is_cold = !found_nothing;
        rc = reading_bind(e, wait, parts[i].st, parts[i].g, parts[i].consumer, err);
        if (rc == OK && found_nothing)
            reading_found_nothing(e, wait);
        if (rc == OK && parts[i].is_cold) {
            rc = reading_load(e, wait, &parts[i].wants, err);
            if (rc == OK)
                wants_init(&parts[i].wants); /* they have been taken over */
        }
    }
    return rc;
}

static void xreadgroup_cannot_wait(struct client *c, int rc)
{
    reply_error(c, rc == ERR_NOMEM ? "OOM no memory to wait for a group"
                                   : "ERR an entry is too large to be read for a group");
}

static bool xreadgroup_is_idle(const struct engine *e, const struct xreadgroup_waiter *w)
{
    for (size_t i = 0; i < w->r.n; i++)
        if (!reading_is_idle(e, &w->waits[i]))
            return false;
    return true;
}

/* Whether what it waited for could not be read: that has been replied then. */
static bool xreadgroup_has_failed(const struct engine *e, struct client *c,
                                  const struct xreadgroup_waiter *w)
{
    for (size_t i = 0; i < w->r.n; i++) {
        int rc = reading_failure(&w->waits[i]);

        if (rc == OK)
            continue;
        reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "IOERR", cold_load_text(e));
        return true;
    }
    return false;
}

/* Looks at a request that waits. True: it has been replied to. */
static bool xreadgroup_retry(struct engine *e, struct client *c, struct xreadgroup_waiter *w,
                             struct xreadgroup_part *parts)
{
    enum xreadgroup_outcome outcome;
    struct err err;
    int rc;

    if (!xreadgroup_resolve(e, c, &w->r, NULL, false, parts))
        return true;
    outcome = xreadgroup_run(e, c, &w->r, parts, w->n_tries, false);
    if (outcome == XREADGROUP_REPLIED)
        return true;
    if (outcome == XREADGROUP_NOTHING && !w->blocks) {
        reply_null_array(c);
        return true;
    }
    w->n_tries = outcome == XREADGROUP_COLD ? w->n_tries + 1 : 0;
    rc = xreadgroup_expect(e, w, parts, outcome == XREADGROUP_NOTHING, &err);
    if (rc != OK)
        xreadgroup_cannot_wait(c, rc);
    return rc != OK;
}

/* A blocking_try. */
static bool xreadgroup_try(struct engine *e, struct client *c, void *ctx)
{
    struct xreadgroup_part few[XREADGROUP_INLINE], *parts;
    struct xreadgroup_waiter *w = ctx;
    bool over;

    if (xreadgroup_is_idle(e, w))
        return false;
    if (xreadgroup_has_failed(e, c, w))
        return true;
    parts = xreadgroup_parts(c, w->r.n, few);
    if (parts == NULL)
        return true;
    over = xreadgroup_retry(e, c, w, parts);
    xreadgroup_parts_fini(e, parts, w->r.n);
    if (parts != few)
        free(parts);
    return over;
}

static int xreadgroup_block(struct engine *e, struct client *c, struct xreadgroup_waiter *w)
{
    struct slice few[XREADGROUP_INLINE], *names = few;
    struct blocking_wait wait = { .n_keys = w->r.n,
                                  .deadline_ms = w->blocks ? w->r.limits.deadline_ms : UINT64_MAX,
                                  .serve = xreadgroup_try,
                                  .release = xreadgroup_release,
                                  .ctx = w };
    struct err err;
    int rc = OK;

    if (w->r.n > XREADGROUP_INLINE)
        names = malloc(w->r.n * sizeof *names);
    if (names == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < w->r.n; i++)
        names[i] = w->r.keys[i].name;
    wait.keys = names;
    rc = blocking_block(e->blocking, c, &wait, &err);
    if (names != few)
        free(names);
    return rc;
}

void xreadgroup_wait(struct engine *e, struct client *c, const struct xreadgroup *r,
                     struct xreadgroup_part *parts, bool found_nothing)
{
    struct xreadgroup_waiter *w = xreadgroup_waiter_new(e, c, r);
    struct err err;
    int rc = w == NULL ? ERR_NOMEM : xreadgroup_block(e, c, w);

    if (rc != OK) {
        free(w);
        xreadgroup_cannot_wait(c, rc);
        return;
    }
    rc = xreadgroup_expect(e, w, parts, found_nothing, &err);
    if (rc == OK)
        return;
    blocking_client_gone(e->blocking, c); /* frees w */
    xreadgroup_cannot_wait(c, rc);
}
