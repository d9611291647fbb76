/*
 * chain.c - the log's files in their order, while others are written.
 *
 * The same rules as at a start (recover.c), for records that are known to be durable: each file ends where the header of
 * the next one says, the last one where the record with the wanted LSN ends. Whatever is missing before is damage.
 */
#include "log/chain.h"

#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/record.h"

#define CHAIN_NO_LIMIT UINT64_MAX

struct chain_walk {
    struct scan *s;
    uint64_t next_lsn;
    uint8_t *payload;
    size_t cap;
};

/* LSNs go on where a SKIP record says, which is alone in its batch. */
static void chain_skip(struct chain_walk *w, const struct scan_frame *f)
{
    const uint8_t *p = w->payload, *end = p + f->head.payload_len;
    struct slice record;
    uint64_t next;

    if (f->head.count != 1 || !slice_get(&p, end, &record) || record.n < 2 ||
        record.p[0] != RECORD_SKIP)
        return;
    p = record.p + 1;
    if (varint_get(&p, record.p + record.n, &next) && next > w->next_lsn)
        w->next_lsn = next;
}

/* Reads the payload of a frame with records; *sound is false if it is not the one that is expected. */
static int chain_payload(struct chain_walk *w, const struct scan_frame *f, bool *sound,
                         struct err *e)
{
    int rc;

    *sound = f->head.first_lsn == w->next_lsn;
    if (!*sound)
        return OK;
    if (f->head.payload_len > w->cap) {
        free(w->payload);
        w->cap = f->head.payload_len;
        w->payload = malloc(w->cap);
        if (w->payload == NULL) {
            w->cap = 0;
            return err_set(e, ERR_NOMEM, "%s: no memory to read it", w->s->path);
        }
    }
    rc = scan_payload(w->s, f, w->payload, sound, e);
    if (rc != OK || !*sound)
        return rc;
    w->next_lsn += f->head.count;
    chain_skip(w, f);
    return OK;
}

/* Follows the frames to `limit` or, if that is not known, until a batch ends with `lsn`; *whole says whether it got
 * there. */
static int chain_follow(struct chain_walk *w, uint64_t limit, uint64_t lsn, bool *whole,
                        struct err *e)
{
    bool found = true, inside = false;

    while (limit == CHAIN_NO_LIMIT ? inside || w->next_lsn <= lsn : w->s->pos < limit) {
        struct scan_frame f;
        int rc = scan_frame(w->s, &f, &found, e);

        if (rc == OK && found && !wal_frame_is_marker(&f.head)) {
            rc = chain_payload(w, &f, &found, e);
            inside = (f.head.flags & WAL_MORE) != 0;
        }
        if (rc != OK)
            return rc;
        if (!found)
            break;
        scan_accept(w->s, &f);
    }
    *whole = found && w->next_lsn > lsn && (limit == CHAIN_NO_LIMIT || w->s->pos == limit);
    return OK;
}

/* The file that has the record with the LSN; the first one if all begin behind it. */
static size_t chain_last(const struct chain *c)
{
    size_t last = 0;

    while (last + 1 < c->n_files && c->files[last + 1].first_lsn <= c->lsn)
        last++;
    return last;
}

/* Opens file i; *why is what is wrong with its header. */
static int chain_open(const struct chain *c, size_t i, struct scan *s, struct err *why, bool *sound,
                      struct err *e)
{
    char name[WAL_NAME_MAX];
    enum scan_header state;
    int rc;

    *why = (struct err){ 0 };
    wal_name(c->files[i].first_lsn, name);
    rc = scan_open(s, c->io, c->dir, name, c->uuid, &state, why);
    if (rc != OK && e != NULL)
        *e = *why;
    *sound = rc == OK && state == SCAN_HEADER_OK;
    return rc;
}

/* Where the frames of file i end: as the next header says. One that is no good is the next file's damage. */
static int chain_limit(const struct chain *c, size_t i, size_t last, uint64_t *limit, struct err *e)
{
    struct scan next;
    struct err why;
    bool sound;
    int rc;

    *limit = CHAIN_NO_LIMIT;
    if (i == last)
        return OK;
    rc = chain_open(c, i + 1, &next, &why, &sound, e);
    if (rc != OK)
        return rc;
    if (sound)
        *limit = next.header.prev_end;
    scan_close(&next);
    return OK;
}

static int chain_file(const struct chain *c, size_t i, size_t last,
                      int (*each)(void *ctx, struct scan *s, const char *why, struct err *e),
                      void *ctx, struct err *e)
{
    struct scan s;
    struct chain_walk w = { .s = &s };
    struct err why;
    uint64_t limit, lsn = i == last ? c->lsn : c->files[i + 1].first_lsn - 1;
    bool sound, whole = true;
    int rc = chain_limit(c, i, last, &limit, e);

    if (rc == OK)
        rc = chain_open(c, i, &s, &why, &sound, e);
    if (rc != OK)
        return rc;
    if (sound) {
        w.next_lsn = s.header.first_lsn;
        rc = chain_follow(&w, limit, lsn, &whole, e);
    } else {
        s.pos = 0;
    }
    if (rc == OK)
        rc = each(ctx, &s, !sound ? why.text : whole ? NULL : "durable records cannot be read", e);
    free(w.payload);
    scan_close(&s);
    return rc;
}

int chain_each(const struct chain *c,
               int (*each)(void *ctx, struct scan *s, const char *why, struct err *e), void *ctx,
               struct err *e)
{
    size_t last = chain_last(c);
    int rc = OK;

    for (size_t i = 0; i < c->n_files && i <= last && rc == OK; i++)
        rc = chain_file(c, i, last, each, ctx, e);
    return rc;
}
