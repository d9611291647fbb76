/*
 * sealer.c - what has to have happened, in which order, before the memory of a part goes.
 *
 *   builds     seal.c writes the entries that are still wanted into a file, which is durable then
 *   waits      until the log is durable up to what the file reflects: not only the part's last record, but also what
 *              removed entries that it leaves out. Else a crash could take the removal back, and find nothing there.
 *   publishes  the file gets its name, and is opened as any other
 *   names      a manifest tells of it, durably
 *   installs   the segment joins the view; stream after stream, the host forgets the addresses, a slice a turn
 *
 * A stream reads its entries from memory until it has had its turn, and from the segment after it: at no moment from
 * both or from neither (sealer_count). After all streams the part is given back.
 *
 * A failure before `names` discards the file and tries again later; the part stays, so nothing is lost but time. On
 * a full disk the reserve makes room for one seal (clerk.c).
 */
#include "log/sealer.h"

#include <assert.h>
#include "log/bug.h"
#include "log/file.h"
#include "log/io.h"
#include "log/keeping.h"

/* ---- on a worker ---- */

static int sealer_build(struct work *w, struct err *e)
{
    struct sealer *s = (struct sealer *)w;
    int rc = seal_step(s->seal, &s->step, e);

    if (rc != OK) { /* here, since it removes a file */
        seal_free(s->seal);
        s->seal = NULL;
    }
    return rc;
}

static void sealer_unlink(struct keeper *k, uint64_t ordinal, bool unfinished)
{
    char path[CURSOR_PATH_MAX], name[SEGMENT_NAME_MAX];

    segment_name(ordinal, unfinished, name);
    file_path(path, k->dir, name);
    k->o.io->unlink(k->o.io, path); /* what stays is known at the next start as not named */
}

static int sealer_publish(struct work *w, struct err *e)
{
    struct sealer *s = (struct sealer *)w;
    struct keeper *k = w->keeper;
    struct io *io = k->o.io;
    int rc = segment_publish(io, k->dir, s->info.ordinal, e);

    if (rc == OK)
        rc = segment_open(io, k->dir, k->uuid, s->info.ordinal, &s->info, &s->segment, e);
    if (rc == OK)
        return OK;
    sealer_unlink(k, s->info.ordinal, true);
    sealer_unlink(k, s->info.ordinal, false);
    return rc;
}

/* ---- deciding ---- */

static void sealer_give_up(struct keeper *k)
{
    struct sealer *s = &k->sealer;

    seal_free(s->seal);
    s->seal = NULL;
    segment_unref(s->segment);
    s->segment = NULL;
    s->state = SEALER_IDLE;
}

static void sealer_failed(struct keeper *k, int rc, const struct err *e)
{
    struct sealer *s = &k->sealer;

    sealer_give_up(k);
    s->retry_ns = keeping_failed(k, "sealing", rc, e);
    s->starved = rc == ERR_FULL;
    keeping_fail_requests(k, &k->seals, rc, e);
    keeping_fail_requests(k, &k->merges, rc, e);
}

/* What streams with LOG_CODEC_AUTO get: the better codec as long as nobody waits. */
static void sealer_choose_codec(const struct keeper *k, struct seal_options *o)
{
    o->auto_codec = k->parts.n_closed > 1 ? BLOCK_LZ4 : BLOCK_ZSTD;
    o->auto_level = k->parts.n_closed > 1 ? 0 : 1;
}

static int sealer_begin(struct keeper *k, struct err *e)
{
    struct sealer *s = &k->sealer;
    struct manifest *m = &k->manifest;
    struct seal_options o = { .part = k->parts.closed, .slice = k->o.work_slice };
    int rc = keeping_reserve(k, 0, e);

    if (rc != OK)
        return rc;
    if (o.slice > STATES_MAX)
        o.slice = STATES_MAX;
    sealer_choose_codec(k, &o);
    o.out =
        (struct segment_options){ .io = k->o.io,
                                  .dir = k->dir,
                                  .uuid = k->uuid,
                                  .ordinal = m->next_ordinal,
                                  .lsn_first = m->sealed_lsn < LOG_FIRST_LSN ? LOG_FIRST_LSN
                                                                             : m->sealed_lsn + 1,
                                  .lsn_last = k->parts.closed->last_lsn,
                                  .block_bytes = k->o.block_bytes };
    rc = seal_new(&o, &s->seal, e);
    if (rc != OK)
        return rc;
    m->next_ordinal++;
    s->part = k->parts.closed;
    s->reflects = s->part->last_lsn;
    s->has_segment = false;
    s->state = SEALER_BUILDS;
    work_start(k, &s->work, POOL_BUILD, sealer_build);
    return OK;
}

/* A step of the seal is over. */
static void sealer_built(struct keeper *k)
{
    struct sealer *s = &k->sealer;

    if (s->work.rc != OK) {
        sealer_failed(k, s->work.rc, &s->work.err);
        return;
    }
    if (s->step == STEP_DONE) {
        s->has_segment = seal_result(s->seal, &s->info);
        s->state = SEALER_WAITS;
        return;
    }
    if (s->step == STEP_ASKS && !keeping_answer(k, seal_states(s->seal), &s->reflects))
        return;
    work_start(k, &s->work, POOL_BUILD, sealer_build);
}

static void sealer_name(struct keeper *k)
{
    struct sealer *s = &k->sealer;

    if (s->has_segment)
        keeping_replace(k, NULL, 0, &s->info);
    k->manifest.sealed_lsn = s->part->last_lsn;
    s->generation = keeping_edit(k);
    s->state = SEALER_NAMES;
}

static void sealer_publish_or_name(struct keeper *k)
{
    struct sealer *s = &k->sealer;
    struct err e;

    if (keeping_reserve(k, 0, &e) != OK) { /* a merge may have taken the room */
        keeping_wake_at(k, keeping_failed(k, "sealing", ERR_NOMEM, &e));
    } else if (s->has_segment) {
        s->state = SEALER_PUBLISHES;
        work_start(k, &s->work, POOL_BUILD, sealer_publish);
    } else {
        sealer_name(k);
    }
}

static void sealer_published(struct keeper *k)
{
    struct sealer *s = &k->sealer;

    if (s->work.rc != OK)
        sealer_failed(k, s->work.rc, &s->work.err);
    else
        sealer_name(k);
}

/* ---- installing ---- */

static void sealer_show(struct keeper *k)
{
    struct sealer *s = &k->sealer;
    struct err e;

    if (s->has_segment && keeping_show(k, NULL, 0, s->segment, &e) != OK) {
        keeping_wake_at(k, keeping_failed(k, "installing a segment", ERR_NOMEM, &e));
        return; /* it is named: again, until there is memory for a list of segments */
    }
    s->installed_oid = 0;
    s->state = SEALER_INSTALLS;
}

static void sealer_installed(struct keeper *k)
{
    struct sealer *s = &k->sealer;

    k->sealed_lsn = s->part->last_lsn;
    k->stats.n_seals++;
    k->stats.sealed_bytes_written += s->has_segment ? s->info.file_bytes : 0;
    s->part = NULL;
    s->retry_ns = 0;
    s->starved = false;
    sealer_give_up(k);
    parts_drop(&k->parts);
    k->more = true;
    saver_sealed(k);
}

/* Some streams' turn. */
static void sealer_install(struct keeper *k)
{
    struct sealer *s = &k->sealer;
    const struct log_host *h = &k->o.host;
    struct seal_stream st;
    uint32_t n = 0;

    while (n++ < k->o.work_slice) {
        if (!seal_next_stream(s->seal, &st)) {
            sealer_installed(k);
            return;
        }
        s->installed_oid = st.oid;
        h->sealed(h->ctx, st.oid, st.last);
        if (st.folded != NULL)
            h->folded(h->ctx, st.oid, st.folded, st.first, st.last);
    }
    k->more = true;
}

size_t sealer_count(const struct keeper *k, uint64_t oid)
{
    const struct sealer *s = &k->sealer;
    bool not_yet = s->state == SEALER_INSTALLS && s->has_segment && oid > s->installed_oid;

    return k->view->n - (not_yet && !BUG(BUG_INSTALL_AT_ONCE));
}

/* ---- the turn ---- */

static void sealer_idle(struct keeper *k)
{
    struct sealer *s = &k->sealer;
    struct err e;
    int rc;

    if (k->parts.closed == NULL)
        return;
    if (s->retry_ns > k->now_ns) {
        keeping_wake_at(k, s->retry_ns);
        return;
    }
    rc = sealer_begin(k, &e);
    if (rc != OK)
        sealer_failed(k, rc, &e);
}

void sealer_turn(struct keeper *k)
{
    struct sealer *s = &k->sealer;
    bool again = true;

    while (again && !s->work.running) {
        enum sealer_state was = s->state;

        switch (s->state) {
        case SEALER_IDLE: sealer_idle(k); break;
        case SEALER_BUILDS: sealer_built(k); break;
        case SEALER_WAITS:
            if (BUG(BUG_MANIFEST_BEFORE_SYNC) || keeping_is_durable(k, s->reflects))
                sealer_publish_or_name(k);
            break;
        case SEALER_PUBLISHES: sealer_published(k); break;
        case SEALER_NAMES:
            if (keeping_is_written(k, s->generation))
                sealer_show(k);
            break;
        case SEALER_INSTALLS: sealer_install(k); break;
        }
        again = s->state != was;
    }
}

void sealer_fini(struct keeper *k, bool abandon)
{
    struct sealer *s = &k->sealer;

    if (s->state == SEALER_WAITS && s->has_segment && !abandon)
        sealer_unlink(k, s->info.ordinal, true);
    sealer_give_up(k);
}
