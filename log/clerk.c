/*
 * clerk.c - what the keeper's decisions mean for the files.
 *
 * Manifests. Every change is made in keeper.manifest, in memory; a job writes a copy of it with the next
 * generation. Changes that come meanwhile go into the one after. The directory is synced before, so that a name which the
 * manifest tells of is durable before it is.
 *
 *   C1  A segment's file is removed only when a durable manifest lists it as obsolete, and leaves that list after the
 *       directory was synced without it: a crash in between finds nothing that it can't explain.
 *   C2  A checkpoint is removed, and the log released, only when a durable manifest does without. The log is kept from
 *       where the older of two checkpoints begins: if the newest cannot be read, a start goes back to that one.
 *   C3  While somebody holds files (a backup), nothing is removed.
 *   C4  If a manifest or the directory cannot be synced, the log fails: what the next start will find, nobody knows.
 *
 * Space. On a full disk nothing could be sealed, so no checkpoint could take the log's place, so the log could not
 * give space back. So a file of CLERK_RESERVE bytes is kept; the first to fail for lack of space gets it: all who
 * failed try again at once, which is one seal, one checkpoint and one manifest. It is made again as soon as there is room and
 * nobody waits for it; until then the log counts as full, and only what frees space is written.
 */
#include "log/clerk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "log/bug.h"
#include "log/file.h"
#include "log/io.h"
#include "log/keeping.h"
#include "log/writer.h"

enum { CLERK_RESERVE = 16 << 20 };

/* ---- manifests ---- */

static int clerk_write_manifest(struct work *w, struct err *e)
{
    struct manifest_work *m = (struct manifest_work *)w;
    struct keeper *k = w->keeper;
    struct io *io = k->o.io;

    if (!BUG(BUG_NO_DIRECTORY_SYNC) && io->sync_dir(io, k->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", k->dir);
    return manifest_write(io, k->dir, k->uuid, &m->copy, &m->bytes, e);
}

/* From where on the log is needed. */
static uint64_t clerk_wal_first(const struct keeper *k)
{
    const struct manifest *m = &k->manifest;
    uint64_t needed = m->sealed_lsn, start = 0, first;

    if (m->n_checkpoints == MANIFEST_CHECKPOINTS_MAX)
        start = m->checkpoints[1].start_lsn;
    if (start < needed)
        needed = start;
    if (k->writer == NULL || needed == 0 || BUG(BUG_WAL_RELEASED_EARLY))
        return m->wal_first; /* the bug does not even say so */
    first = writer_first_needed(k->writer, needed);
    return first > m->wal_first ? first : m->wal_first;
}

static void clerk_begin_manifest(struct keeper *k)
{
    struct manifest_work *m = &k->clerk.manifests;
    struct err e;

    if (m->retry_ns > k->now_ns) {
        keeping_wake_at(k, m->retry_ns);
        return;
    }
    k->manifest.wal_first = clerk_wal_first(k);
    k->manifest.clock = k->clock > k->manifest.clock ? k->clock : k->manifest.clock;
    manifest_fini(&m->copy);
    manifest_init(&m->copy);
    if (manifest_copy(&m->copy, &k->manifest, &e) != OK) {
        m->retry_ns = keeping_failed(k, "writing the manifest", ERR_NOMEM, &e);
        keeping_wake_at(k, m->retry_ns);
        return;
    }
    m->copy.generation = ++k->manifest.generation;
    m->writes = true;
    work_start(k, &m->work, POOL_BUILD, clerk_write_manifest);
}

static void clerk_manifest_written(struct keeper *k)
{
    struct manifest_work *m = &k->clerk.manifests;

    m->writes = false;
    k->stats.manifest_bytes_written += m->bytes;
    m->bytes = 0;
    m->starved = m->work.rc == ERR_FULL;
    if (m->work.rc == OK) {
        struct manifest old = m->durable;
        m->durable = m->copy;
        m->copy = old;
        m->written = m->durable.generation;
        m->retry_ns = 0;
        k->clerk.cleaning.wal_first = m->durable.wal_first;
        k->stats.n_manifests++;
        return;
    }
    if (m->work.rc == ERR_FULL || m->work.rc == ERR_NOMEM) {
        m->retry_ns = keeping_failed(k, "writing the manifest", m->work.rc, &m->work.err);
        if (m->wanted <= k->manifest.generation)
            m->wanted = k->manifest.generation + 1;
    } else {
        keeping_broken(k, &m->work.err); /* C4 */
    }
}

static void clerk_turn_manifests(struct keeper *k)
{
    struct manifest_work *m = &k->clerk.manifests;

    if (m->writes && !m->work.running)
        clerk_manifest_written(k);
    if (!m->writes && m->wanted > m->written)
        clerk_begin_manifest(k);
}

uint64_t keeping_edit(struct keeper *k)
{
    k->clerk.manifests.wanted = k->manifest.generation + 1;
    k->more = true;
    return k->manifest.generation + 1;
}

bool keeping_is_written(const struct keeper *k, uint64_t generation)
{
    return k->clerk.manifests.written >= generation;
}

/* ---- removing ---- */

static int clerk_unlink(struct keeper *k, const char *name, struct err *e)
{
    struct io *io = k->o.io;
    char path[CURSOR_PATH_MAX];

    file_path(path, k->dir, name);
    if (io->unlink(io, path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing it", path);
    return OK;
}

static int clerk_remove(struct work *w, struct err *e)
{
    struct cleaning *c = (struct cleaning *)w;
    struct keeper *k = w->keeper;
    int rc = OK;

    for (size_t i = 0; rc == OK && i < c->n_ordinals; i++) {
        char name[SEGMENT_NAME_MAX];
        segment_name(c->ordinals[i], false, name);
        rc = clerk_unlink(k, name, e);
    }
    for (size_t i = 0; rc == OK && i < c->n_removing; i++) {
        char name[CHECKPOINT_NAME_MAX];
        checkpoint_name(c->checkpoints[i], false, name);
        rc = clerk_unlink(k, name, e);
    }
    if (rc == OK && c->released < c->removing_wal)
        rc = writer_release(c->writer, c->removing_wal, e);
    return rc;
}

static void clerk_removed(struct keeper *k)
{
    struct cleaning *c = &k->clerk.cleaning;
    struct manifest *m = &k->manifest;
    size_t n = 0;

    c->removes = false;
    if (c->work.rc != OK) { /* they are named until they are gone, if need be by the next start */
        c->retry_ns = keeping_failed(k, "removing files", ERR_IO, &c->work.err);
    } else {
        for (size_t i = 0; i < m->n_obsolete; i++) {
            bool gone = false;
            for (size_t j = 0; j < c->n_ordinals; j++)
                gone |= m->obsolete[i] == c->ordinals[j];
            if (!gone)
                m->obsolete[n++] = m->obsolete[i];
        }
        m->n_obsolete = n;
        c->n_checkpoints -= c->n_removing;
        memmove(c->checkpoints, c->checkpoints + c->n_removing,
                c->n_checkpoints * sizeof c->checkpoints[0]);
        c->released = c->removing_wal;
        c->retry_ns = 0;
    }
    free(c->ordinals);
    c->ordinals = NULL;
    c->n_ordinals = c->n_removing = 0;
}

/* Notes what may go. */
static bool clerk_choose(struct keeper *k)
{
    struct cleaning *c = &k->clerk.cleaning;
    const struct manifest *m = &k->manifest;

    if (m->n_obsolete > 0 && keeping_is_written(k, c->obsolete_from)) {
        c->ordinals = malloc(m->n_obsolete * sizeof c->ordinals[0]);
        if (c->ordinals != NULL) { /* else another time */
            memcpy(c->ordinals, m->obsolete, m->n_obsolete * sizeof c->ordinals[0]);
            c->n_ordinals = m->n_obsolete;
        }
    }
    if (keeping_is_written(k, c->checkpoints_from))
        c->n_removing = c->n_checkpoints;
    c->writer = k->writer;
    c->removing_wal = c->wal_first;
    if (BUG(BUG_WAL_RELEASED_EARLY) && m->n_checkpoints > 0)
        c->removing_wal = writer_first_needed(k->writer, m->checkpoints[0].start_lsn);
    return c->n_ordinals + c->n_removing > 0 || c->released < c->removing_wal;
}

static void clerk_turn_cleaning(struct keeper *k)
{
    struct cleaning *c = &k->clerk.cleaning;

    if (c->removes && !c->work.running)
        clerk_removed(k);
    if (c->removes || k->writer == NULL || k->n_holds > 0) /* C3 */
        return;
    if (c->retry_ns > k->now_ns) {
        keeping_wake_at(k, c->retry_ns);
    } else if (clerk_choose(k)) {
        c->removes = true;
        work_start(k, &c->work, POOL_BUILD, clerk_remove);
    }
}

/* ---- the reserve ---- */

static int clerk_make_reserve(struct work *w, struct err *e)
{
    struct reserve *r = (struct reserve *)w;
    struct keeper *k = w->keeper;

    return spare_make(&r->spare, k->o.io, k->dir, CLERK_RESERVE_NAME, r->bytes, e);
}

static int clerk_give_up_reserve(struct work *w, struct err *e)
{
    struct reserve *r = (struct reserve *)w;
    struct keeper *k = w->keeper;

    (void)e;
    spare_drop(&r->spare, k->o.io, k->dir, CLERK_RESERVE_NAME);
    return OK;
}

static bool clerk_is_starving(const struct keeper *k)
{
    return k->sealer.starved || k->saver.starved || k->clerk.manifests.starved;
}

/* The space is there now: at once. */
static void clerk_retry_all(struct keeper *k)
{
    k->sealer.retry_ns = k->saver.retry_ns = k->clerk.manifests.retry_ns = 0;
    k->more = true;
}

static void clerk_reserve_worked(struct keeper *k)
{
    struct reserve *r = &k->clerk.reserve;

    r->works = false;
    r->next_ns = k->now_ns + KEEPER_S;
    if (r->gives_up) {
        r->gives_up = r->given_up = false;
        clerk_retry_all(k);
    }
    atomic_store(&k->no_space, !spare_is_ready(&r->spare));
}

static void clerk_turn_reserve(struct keeper *k)
{
    struct reserve *r = &k->clerk.reserve;

    if (r->works && !r->work.running)
        clerk_reserve_worked(k);
    if (r->works || k->passive || k->writer == NULL)
        return;
    if (r->given_up && spare_is_ready(&r->spare)) {
        r->works = r->gives_up = true;
        atomic_store(&k->no_space, true);
        work_start(k, &r->work, POOL_BUILD, clerk_give_up_reserve);
        return;
    }
    r->given_up = false;
    if (spare_is_ready(&r->spare) || clerk_is_starving(k))
        return;
    if (r->next_ns > k->now_ns) {
        keeping_wake_at(k, r->next_ns);
        return;
    }
    r->works = true;
    work_start(k, &r->work, POOL_BUILD, clerk_make_reserve);
}

/* ---- all of it ---- */

int clerk_init(struct keeper *k, struct err *e)
{
    struct clerk *c = &k->clerk;

    manifest_init(&c->manifests.copy);
    manifest_init(&c->manifests.durable);
    c->manifests.written = c->manifests.wanted = k->manifest.generation;
    c->cleaning.wal_first = c->cleaning.released = k->manifest.wal_first;
    c->reserve.spare.fd = -1;
    c->reserve.bytes = k->o.file_bytes < CLERK_RESERVE ? k->o.file_bytes : CLERK_RESERVE;
    return manifest_copy(&c->manifests.durable, &k->manifest, e);
}

void clerk_turn(struct keeper *k)
{
    clerk_turn_manifests(k);
    clerk_turn_cleaning(k);
    clerk_turn_reserve(k);
}

void clerk_fini(struct keeper *k, bool abandon)
{
    struct clerk *c = &k->clerk;

    manifest_fini(&c->manifests.copy);
    manifest_fini(&c->manifests.durable);
    free(c->cleaning.ordinals);
    if (!abandon)
        spare_drop(&c->reserve.spare, k->o.io, k->dir, CLERK_RESERVE_NAME);
    else if (spare_is_ready(&c->reserve.spare))
        k->o.io->close(k->o.io, c->reserve.spare.fd);
}
