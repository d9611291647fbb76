/*
 * writer.c - one order of writes, and who makes them.
 *
 * Batches reach the file in LSN order through one cursor. Three threads may move it, one at a time:
 *
 * - the engine's, at the end of its round (writer_commit), if nothing is queued or being written, no
 *   fdatasync is in flight, the file has room and no inline write has lately been slow. This saves a
 *   thread switch a round and is what happens nearly always;
 * - the writer thread, which takes everything else from a queue, changes files and keeps spares
 *   allocated;
 * - the syncer thread, which calls fdatasync, and writes the marker that proves the last one.
 *
 * `lock` guards everything but the atomics. The engine's thread holds it while it writes inline;
 * the background threads release it for the time of a system call, and set `writing` (the cursor is
 * theirs) or `syncing` (an fdatasync of the cursor's file is in flight) meanwhile. Written and
 * durable LSN advance under the lock and are read without it.
 *
 *   W1  Batches are written in the order of their commits: written_lsn is the end of a whole batch,
 *       and all before it is written.
 *   W2  durable_lsn only moves after an fdatasync that was issued when no write was under way, to
 *       what written_lsn was then. So durable_lsn too is the end of a batch, and synced_lsn never
 *       points inside one.
 *   W3  The first frame after an issued fdatasync starts a sector (cursor.c, C1). An fdatasync
 *       waits for the write under way, and the writer gives it the turn, so it is never starved.
 *   W4  A file is synced before the next one gets its name, whatever the classes: a later file's
 *       name is proof that everything before it is there.
 *   W5  After a write, fdatasync, rename or directory sync failed, nothing is written any more and
 *       no watermark moves. Nothing is tried again: the kernel may have dropped the pages. Only
 *       lack of space is no failure, but a reason to wait.
 *
 * When an fdatasync is due is syncer.c's decision. On a disk whose recent ones were fast the engine's
 * thread makes that of an `always` batch itself. Without a deadline both threads sleep.
 *
 * Disk full: the next file and a reserve are allocated ahead. If that fails, `full` is set and
 * tried again every second; when the current file is used up, the reserve goes on. If that is used
 * up too, the queue waits (`held`). ENOSPC on a write, which allocation should rule out but
 * copy-on-write file systems do not honour, closes the file: what is complete is synced, the next
 * file's header says where it ends, and the batch starts over there.
 */
#include "log/writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "log/bug.h"
#include "log/file.h"
#include "log/io.h"
#include "log/spare.h"
#include "log/syncer.h"

#define NEVER UINT64_MAX
#define MS    ((uint64_t)1000000) /* in ns */

enum {
    WRITER_INLINE_MAX = 1 << 20, /* bytes of a batch that the engine's thread writes itself */
    WRITER_SLOW_NS = 1000000, /* an inline write that took longer is followed by a pause of them */
    WRITER_PAUSE_MIN_MS = 10, /* the first one; it doubles with each slow write soon after */
    WRITER_PAUSE_MAX_MS = 1000,
    WRITER_FREE_MAX = 64, /* empty batches that are kept */
    RETRY_AFTER_MS = 1000 /* disk full: until the next try */
};

struct writer {
    struct writer_options o;

    pthread_mutex_t lock;
    pthread_cond_t for_writer; /* something is queued, or to be prepared, or the end */
    pthread_cond_t for_syncer; /* its deadline came closer, or the end */
    pthread_cond_t turn;       /* writing, syncing or sync_waits changed */
    pthread_t writer, syncer;
    bool has_writer, has_syncer;

    struct batch *head, **tail; /* queue */
    struct batch *free;
    size_t n_free;
    bool writing;            /* a background thread has the cursor */
    bool syncing;            /* an fdatasync of its file is in flight */
    bool sync_waits;         /* the syncer asks the writer for a turn */
    bool held;               /* the head of the queue has no file to go to, until retry_ns */
    bool stopping, draining; /* end; but write what is queued first */
    bool notify;             /* on_progress is to be called once the lock is released */
    uint64_t retry_ns;
    uint64_t slow_until_ns;   /* no inline writes before */
    uint64_t pause_ns;        /* the last pause of them */
    uint64_t syncer_wakes_ns; /* when the sleeping syncer wakes by itself; 0: it is awake */

    struct wal_file *files; /* the oldest first; the last is the cursor's */
    size_t n_files, cap_files;
    unsigned holds; /* nobody removes files while it is not 0 */

    struct syncer sync; /* when an fdatasync is due */
    struct log_stats stats;

    struct cursor cursor;       /* whoever set `writing`; the lock's holder while nobody did */
    struct spare next, reserve; /* the writer thread's; sizes in stats */

    _Atomic uint64_t written, durable, released;
    _Atomic uint64_t oldest_ns; /* when the oldest unsynced `interval` byte was written; 0: none */
    _Atomic uint64_t queued_bytes;
    atomic_bool full;
    atomic_int failed; /* failure.code; set after `failure` is filled */
    struct err failure;
};

static uint64_t writer_now(const struct writer *w)
{
    return w->o.io->monotonic_ns(w->o.io);
}

/* ---- failing and running full ---- */

static void writer_fail(struct writer *w, const struct err *e)
{
    if (atomic_load(&w->failed) != OK)
        return;
    w->failure = *e;
    atomic_store(&w->failed, e->code);
    w->notify = true;
    pthread_cond_signal(&w->for_writer);
    pthread_cond_signal(&w->for_syncer);
    pthread_cond_broadcast(&w->turn);
}

static void writer_enter_full(struct writer *w)
{
    w->retry_ns = writer_now(w) + RETRY_AFTER_MS * MS;
    if (atomic_exchange(&w->full, true))
        return;
    w->stats.n_full++;
    w->notify = true;
}

static void writer_leave_full(struct writer *w)
{
    if (!atomic_load(&w->full) || w->held || !spare_is_ready(&w->next) ||
        !spare_is_ready(&w->reserve))
        return;
    atomic_store(&w->full, false);
    w->notify = true;
}

/* ---- what a written batch means ---- */

static void writer_recycle(struct writer *w, struct batch *b)
{
    batch_reset(b);
    if (w->n_free == WRITER_FREE_MAX) {
        batch_free(b);
        return;
    }
    b->next = w->free;
    w->free = b;
    w->n_free++;
}

static void writer_set_oldest(struct writer *w)
{
    atomic_store(&w->oldest_ns, syncer_oldest_ns(&w->sync));
}

/* The batch is in the file: moves the watermark and notes what it asks for. */
static void writer_wrote(struct writer *w, struct batch *b, uint64_t now)
{
    w->stats.n_batches++;
    w->stats.record_bytes += b->bytes;
    w->stats.n_always_records += b->n_always;
    syncer_wrote(&w->sync, b, now);
    writer_set_oldest(w);
    atomic_store(&w->written, batch_last_lsn(b));
    writer_recycle(w, b);
}

/* Gives the batch to the cursor, which is the caller's. */
static int writer_put(struct writer *w, const struct batch *b, struct err *e)
{
    w->cursor.synced_lsn =
        BUG(BUG_SYNCED_BEFORE_DURABLE) ? atomic_load(&w->written) : atomic_load(&w->durable);
    return cursor_write(&w->cursor, b, e);
}

/* ---- syncing ---- */

/* What the syncer has to know of us. */
static struct syncer_log writer_tell(const struct writer *w, uint64_t now)
{
    return (struct syncer_log){ .now_ns = now,
                                .written_lsn = atomic_load(&w->written),
                                .durable_lsn = atomic_load(&w->durable),
                                .may_mark = !w->writing && w->head == NULL &&
                                            cursor_fits_marker(&w->cursor) };
}

static uint64_t writer_sync_deadline(const struct writer *w, uint64_t now)
{
    struct syncer_log l = writer_tell(w, now);

    return syncer_deadline(&w->sync, &l);
}

static void writer_sync_begin(struct writer *w)
{
    assert(!w->writing && !w->syncing); /* W2 */
    w->syncing = true;
    syncer_begin(&w->sync, atomic_load(&w->written), w->cursor.claimed_lsn);
    w->cursor.align = true; /* W3 */
    if (BUG(BUG_ACK_BEFORE_SYNC))
        atomic_store(&w->durable, atomic_load(&w->written));
}

static int writer_sync_run(const struct writer *w, uint64_t *took_ns, struct err *e)
{
    struct io *io = w->o.io;
    uint64_t start = writer_now(w);
    int rc = io->fdatasync(io, w->cursor.fd);

    if (rc != 0 && BUG(BUG_RETRY_FAILED_SYNC))
        rc = io->fdatasync(io, w->cursor.fd);
    if (rc != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", w->cursor.path);
    *took_ns = writer_now(w) - start;
    return OK;
}

static void writer_sync_end(struct writer *w, int rc, uint64_t took_ns, const struct err *e)
{
    uint64_t lsn;

    w->syncing = false;
    pthread_cond_broadcast(&w->turn);
    if (rc != OK) {
        writer_fail(w, e);
        return;
    }
    lsn = syncer_end(&w->sync, took_ns);
    if (lsn > atomic_load(&w->durable))
        atomic_store(&w->durable, lsn);
    writer_set_oldest(w);
    w->stats.n_syncs++;
    w->stats.sync_ns_total += took_ns;
    if (took_ns > w->stats.sync_ns_max)
        w->stats.sync_ns_max = took_ns;
}

/* An fdatasync without the lock, for a background thread; it is held before and after. */
static void writer_sync(struct writer *w)
{
    struct err e;
    uint64_t took_ns = 0;
    int rc;

    writer_sync_begin(w);
    w->sync_waits = false;
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
    rc = writer_sync_run(w, &took_ns, &e);
    pthread_mutex_lock(&w->lock);
    writer_sync_end(w, rc, took_ns, &e);
    w->notify = true;
}

static void writer_sync_inline(struct writer *w)
{
    struct err e;
    uint64_t took_ns = 0;
    int rc;

    writer_sync_begin(w);
    rc = writer_sync_run(w, &took_ns, &e);
    writer_sync_end(w, rc, took_ns, &e);
    w->stats.n_inline_syncs++;
}

/* Writes the marker; its fdatasync is due from then on. */
static void writer_mark(struct writer *w)
{
    struct err e;
    int rc;

    w->writing = true;
    pthread_mutex_unlock(&w->lock);
    w->cursor.synced_lsn = atomic_load(&w->durable);
    rc = cursor_mark(&w->cursor, WAL_SYNC, &e);
    pthread_mutex_lock(&w->lock);
    w->writing = false;
    pthread_cond_broadcast(&w->turn);
    if (rc == OK)
        w->sync.marked = true;
    else if (rc == ERR_FULL)
        w->cursor.closed = true; /* void; the next batch goes to another file */
    else
        writer_fail(w, &e);
}

/* ---- changing files ---- */

/* Makes one of the two spares `size` long; *out_name says which. */
static int writer_choose_spare(struct writer *w, uint64_t size, struct spare **out,
                               const char **out_name, struct err *e)
{
    struct io *io = w->o.io;
    int rc = OK;

    if (!spare_is_ready(&w->next))
        rc = spare_make(&w->next, io, w->o.dir, WAL_NEXT_NAME, size, e);
    if (rc == OK)
        rc = spare_grow(&w->next, io, w->o.dir, WAL_NEXT_NAME, size, e);
    *out = &w->next;
    *out_name = WAL_NEXT_NAME;
    if (rc != ERR_FULL || !spare_is_ready(&w->reserve))
        return rc;
    *out = &w->reserve;
    *out_name = WAL_RESERVE_NAME;
    return spare_grow(&w->reserve, io, w->o.dir, WAL_RESERVE_NAME, size, e);
}

/* Ends the current file: the seal, unless the disk has refused to take more, and an fdatasync in
 * any case. */
static int writer_seal(struct writer *w, struct err *e)
{
    struct io *io = w->o.io;

    if (!w->cursor.closed) {
        int rc;
        w->cursor.synced_lsn = atomic_load(&w->durable);
        rc = cursor_mark(&w->cursor, WAL_SEAL, e);
        if (rc != OK && rc != ERR_FULL)
            return rc;
        w->cursor.closed = true;
    }
    if (!BUG(BUG_ROTATE_WITHOUT_SYNC) && io->fdatasync(io, w->cursor.fd) != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", w->cursor.path);
    return OK;
}

/* Gives the spare its place: behind the current file or, if that got no batch (the disk refused it,
 * or it is too short for the first one), instead of it, under the same name and with the same link
 * to the file before. */
static int writer_enlist(struct writer *w, struct spare *s, const char *name, struct err *e)
{
    struct io *io = w->o.io;
    struct cursor *c = &w->cursor;
    bool replaces = c->next_lsn == c->file_lsn;
    struct wal_header h = { .first_lsn = c->next_lsn,
                            .first_index = c->next_index,
                            .prev_end = replaces ? c->prev_end : c->pos,
                            .prev_crc = replaces ? c->file_prev_crc : c->prev_crc };
    int fd = s->fd, rc;

    memcpy(h.uuid, w->o.uuid, WAL_UUID_BYTES);
    if (io->random(io, &h.salt, sizeof h.salt) != 0)
        return err_sys(e, ERR_IO, "%s: no randomness for its salt", name);
    rc = spare_enlist(s, io, w->o.dir, name, &h, e);
    if (rc != OK)
        return rc;
    io->close(io, c->fd);
    cursor_set_file(c, fd, w->o.dir, &h, WAL_HEADER_BYTES);
    c->prev_crc = h.prev_crc;
    return OK;
}

/* The whole change, without the lock; the cursor is the caller's and no fdatasync is in flight. */
static int writer_change_file(struct writer *w, uint64_t size, struct err *e)
{
    struct spare *s;
    const char *name;
    int rc = writer_choose_spare(w, size, &s, &name, e);

    if (rc == OK)
        rc = writer_seal(w, e);
    if (rc != OK)
        return rc;
    rc = writer_enlist(w, s, name, e);
    if (rc == ERR_FULL && s == &w->next && spare_is_ready(&w->reserve) && w->reserve.size >= size)
        rc = writer_enlist(w, &w->reserve, WAL_RESERVE_NAME, e);
    return rc;
}

/* Room for one more in the list of files. */
static int writer_make_file_room(struct writer *w, struct err *e)
{
    size_t cap = 2 * w->cap_files + 16;
    struct wal_file *files;

    if (w->n_files < w->cap_files)
        return OK;
    files = realloc(w->files, cap * sizeof *files);
    if (files == NULL)
        return err_set(e, ERR_FULL, "no memory for the list of the log's files");
    w->files = files;
    w->cap_files = cap;
    return OK;
}

/* Notes the cursor's file, which may have replaced the one before under its name. */
static void writer_note_file(struct writer *w)
{
    struct wal_file *last = &w->files[w->n_files - 1];

    if (last->first_lsn != w->cursor.file_lsn) {
        assert(last->first_lsn < w->cursor.file_lsn && w->n_files < w->cap_files);
        last++;
        w->n_files++;
    }
    *last = (struct wal_file){ .first_lsn = w->cursor.file_lsn, .bytes = w->cursor.size };
}

/* The new file's name proves all before it (W4). */
static void writer_changed_file(struct writer *w)
{
    uint64_t written = atomic_load(&w->written);

    writer_note_file(w);

    atomic_store(&w->durable, written);
    syncer_changed_file(&w->sync, written);
    writer_set_oldest(w);
    w->stats.n_syncs++;
    w->notify = true;
}

/* What went wrong in the background: a full disk is waited for, anything else is the end. */
static void writer_stumbled(struct writer *w, int rc, const struct err *e)
{
    if (rc != ERR_FULL) {
        writer_fail(w, e);
        return;
    }
    w->held = true;
    writer_enter_full(w);
}

static void writer_rotate(struct writer *w)
{
    uint64_t size = WAL_HEADER_BYTES + cursor_need(&w->cursor, w->head) + WAL_TAIL_BYTES;
    struct err e;
    int rc;

    if (size < w->o.file_bytes)
        size = w->o.file_bytes;
    w->writing = true;
    while (w->syncing)
        pthread_cond_wait(&w->turn, &w->lock);
    rc = writer_make_file_room(w, &e);
    pthread_mutex_unlock(&w->lock);
    if (rc == OK)
        rc = writer_change_file(w, size, &e);
    pthread_mutex_lock(&w->lock);
    w->writing = false;
    pthread_cond_broadcast(&w->turn);
    w->held = false;
    if (rc == OK)
        writer_changed_file(w);
    else
        writer_stumbled(w, rc, &e);
}

/* Allocates one spare that is missing. */
static void writer_prepare(struct writer *w)
{
    bool is_next = !spare_is_ready(&w->next);
    struct spare *s = is_next ? &w->next : &w->reserve;
    struct err e;
    int rc;

    pthread_mutex_unlock(&w->lock);
    rc = spare_make(s, w->o.io, w->o.dir, is_next ? WAL_NEXT_NAME : WAL_RESERVE_NAME,
                    w->o.file_bytes, &e);
    pthread_mutex_lock(&w->lock);
    if (rc == ERR_FULL)
        writer_enter_full(w);
    else if (rc != OK)
        writer_fail(w, &e);
    else
        w->held = false;
    writer_leave_full(w);
}

/* ---- the queue ---- */

static void writer_push(struct writer *w, struct batch *b)
{
    b->next = NULL;
    *w->tail = b;
    w->tail = &b->next;
    w->stats.n_queued++;
    atomic_fetch_add(&w->queued_bytes, b->bytes);
    pthread_cond_signal(&w->for_writer);
}

static void writer_pop(struct writer *w)
{
    struct batch *b = w->head;

    w->head = b->next;
    if (w->head == NULL)
        w->tail = &w->head;
    atomic_fetch_sub(&w->queued_bytes, b->bytes);
}

static void writer_write_head(struct writer *w)
{
    struct batch *b = w->head;
    struct err e;
    int rc;

    w->writing = true;
    pthread_mutex_unlock(&w->lock);
    rc = writer_put(w, b, &e);
    pthread_mutex_lock(&w->lock);
    w->writing = false;
    pthread_cond_broadcast(&w->turn);
    if (rc == ERR_FULL) {
        w->cursor.closed = true;
        writer_enter_full(w);
    } else if (rc != OK) {
        writer_fail(w, &e);
    } else {
        writer_pop(w);
        writer_wrote(w, b, writer_now(w));
        w->notify = true;
    }
}

/* ---- inline ---- */

static bool writer_may_inline(const struct writer *w, const struct batch *b, uint64_t now)
{
    if (w->head != NULL && !BUG(BUG_INLINE_OVERTAKES_QUEUE))
        return false;
    return !w->writing && !w->syncing && b->bytes <= WRITER_INLINE_MAX && now >= w->slow_until_ns &&
           cursor_fits(&w->cursor, b);
}

static bool writer_may_sync_inline(const struct writer *w)
{
    return syncer_is_fast(&w->sync) && w->sync.always_lsn > atomic_load(&w->durable);
}

/* An inline write took long. That may be the disk, which would hold up the engine again and again,
 * or only the scheduler, so the pause is short unless slow writes follow each other. */
static void writer_pause_inline(struct writer *w, uint64_t now)
{
    bool again = w->pause_ns != 0 && now - w->slow_until_ns < 2 * WRITER_PAUSE_MAX_MS * MS;

    w->stats.n_slow_inline++;
    w->pause_ns = again ? 2 * w->pause_ns : WRITER_PAUSE_MIN_MS * MS;
    if (w->pause_ns > WRITER_PAUSE_MAX_MS * MS)
        w->pause_ns = WRITER_PAUSE_MAX_MS * MS;
    w->slow_until_ns = now + w->pause_ns;
}

/* Writes the batch on the caller's thread; false if it has to be queued instead. */
static bool writer_write_inline(struct writer *w, struct batch *b, uint64_t start)
{
    struct err e;
    int rc = writer_put(w, b, &e);
    uint64_t end;

    if (rc == ERR_FULL) {
        w->cursor.closed = true;
        writer_enter_full(w);
        return false;
    }
    if (rc != OK) {
        writer_fail(w, &e);
        writer_recycle(w, b);
        return true;
    }
    end = writer_now(w);
    w->stats.n_inline++;
    if (end - start > WRITER_SLOW_NS)
        writer_pause_inline(w, end);
    writer_wrote(w, b, end);
    return true;
}

/* Wakes the syncer if it would sleep longer than it may. */
static void writer_wake_syncer(struct writer *w, uint64_t now)
{
    if (w->syncer_wakes_ns > writer_sync_deadline(w, now)) {
        w->syncer_wakes_ns = 0;
        pthread_cond_signal(&w->for_syncer);
    }
}

struct batch *writer_commit(struct writer *w, struct batch *b, bool sync_now)
{
    bool is_always = batch_has(b, LOG_ALWAYS);
    struct batch *empty;
    uint64_t now;

    pthread_mutex_lock(&w->lock);
    now = writer_now(w);
    if (atomic_load(&w->failed) != OK)
        writer_recycle(w, b);
    else if (!writer_may_inline(w, b, now) || !writer_write_inline(w, b, now))
        writer_push(w, b);
    else if (sync_now && is_always && writer_may_sync_inline(w))
        writer_sync_inline(w);
    writer_wake_syncer(w, now);
    empty = w->free;
    if (empty != NULL) {
        w->free = empty->next;
        w->n_free--;
    }
    pthread_mutex_unlock(&w->lock);
    return empty;
}

/* ---- the threads ---- */

/* Does one piece of the writer thread's work; *at becomes the time at which there will be some. */
static bool writer_work(struct writer *w, uint64_t now, uint64_t *at)
{
    bool lacks_spare = !spare_is_ready(&w->next) || !spare_is_ready(&w->reserve);
    bool may_try = now >= w->retry_ns || !atomic_load(&w->full);

    *at = NEVER;
    if (w->head != NULL && (!w->held || may_try)) {
        if (cursor_fits(&w->cursor, w->head))
            writer_write_head(w);
        else
            writer_rotate(w);
        return true;
    }
    if (lacks_spare && may_try && !w->stopping) {
        writer_prepare(w);
        return true;
    }
    if (lacks_spare || w->held)
        *at = w->retry_ns;
    return false;
}

static bool writer_sync_work(struct writer *w, uint64_t now)
{
    struct syncer_log l = writer_tell(w, now);

    if (syncer_is_due(&w->sync, &l))
        writer_sync(w);
    else if (syncer_deadline(&w->sync, &l) <= now)
        writer_mark(w);
    else
        return false;
    return true;
}

/* Sleeps on `cond` until it is signalled or the time has come. */
static void writer_sleep(struct writer *w, pthread_cond_t *cond, uint64_t at)
{
    struct timespec ts = { (time_t)(at / 1000000000), (long)(at % 1000000000) };

    if (at == NEVER)
        pthread_cond_wait(cond, &w->lock);
    else
        pthread_cond_timedwait(cond, &w->lock, &ts);
}

/* Tells the host, without the lock, that something moved. */
static void writer_notify(struct writer *w)
{
    if (!w->notify)
        return;
    w->notify = false;
    if (w->o.on_progress == NULL)
        return;
    pthread_mutex_unlock(&w->lock);
    w->o.on_progress(w->o.ctx);
    pthread_mutex_lock(&w->lock);
}

static bool writer_is_over(const struct writer *w)
{
    if (atomic_load(&w->failed) != OK)
        return true;
    return w->stopping && (!w->draining || w->head == NULL || w->held);
}

static void *writer_thread(void *arg)
{
    struct writer *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!writer_is_over(w)) {
        uint64_t at;
        if (w->sync_waits)
            pthread_cond_wait(&w->turn, &w->lock);
        else if (!w->writing && writer_work(w, writer_now(w), &at))
            writer_wake_syncer(w, writer_now(w));
        else if (w->writing)
            pthread_cond_wait(&w->turn, &w->lock); /* the syncer's marker */
        else
            writer_sleep(w, &w->for_writer, at);
        writer_notify(w);
    }
    writer_notify(w);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* The syncer has had its turn, or needs none any more: a change of files syncs too. */
static void writer_end_turn(struct writer *w)
{
    if (!w->sync_waits)
        return;
    w->sync_waits = false;
    pthread_cond_broadcast(&w->turn);
}

static void *writer_syncer_thread(void *arg)
{
    struct writer *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->stopping && atomic_load(&w->failed) == OK) {
        uint64_t now = writer_now(w);
        uint64_t at = writer_sync_deadline(w, now);
        if (at > now) {
            writer_end_turn(w);
            w->syncer_wakes_ns = at;
            writer_sleep(w, &w->for_syncer, at);
            w->syncer_wakes_ns = 0;
        } else if (w->writing) {
            w->sync_waits = true;
            pthread_cond_wait(&w->turn, &w->lock);
        } else {
            writer_sync_work(w, now);
            writer_end_turn(w);
        }
        writer_notify(w);
    }
    writer_end_turn(w);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

bool writer_step(struct writer *w)
{
    uint64_t now = writer_now(w), at;
    bool did = false;

    pthread_mutex_lock(&w->lock);
    if (atomic_load(&w->failed) == OK)
        did = writer_work(w, now, &at) || writer_sync_work(w, now);
    writer_notify(w);
    pthread_mutex_unlock(&w->lock);
    return did;
}

/* ---- opening and closing ---- */

static int writer_start_threads(struct writer *w, struct err *e)
{
    errno = pthread_create(&w->writer, NULL, writer_thread, w);
    if (errno != 0)
        return err_sys(e, ERR_IO, "starting the log's writer thread");
    w->has_writer = true;
    errno = pthread_create(&w->syncer, NULL, writer_syncer_thread, w);
    if (errno != 0)
        return err_sys(e, ERR_IO, "starting the log's syncer thread");
    w->has_syncer = true;
    return OK;
}

static void writer_init_sync(struct writer *w)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* io's clock, with threads */
    pthread_cond_init(&w->for_writer, &attr);
    pthread_cond_init(&w->for_syncer, &attr);
    pthread_cond_init(&w->turn, &attr);
    pthread_condattr_destroy(&attr);
}

static int writer_copy_files(const struct wal_file *files, size_t n, struct wal_file **out,
                             struct err *e)
{
    struct wal_file *copy;

    assert(n > 0);
    copy = malloc(n * sizeof *copy);
    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of the log's files");
    memcpy(copy, files, n * sizeof *copy);
    *out = copy;
    return OK;
}

int writer_open(const struct writer_options *options, const struct cursor *cursor,
                struct writer **out, struct err *e)
{
    struct writer *w = calloc(1, sizeof *w);
    uint64_t last = cursor->next_lsn - 1;
    int rc = OK;

    if (w == NULL) {
        options->io->close(options->io, cursor->fd);
        return err_set(e, ERR_NOMEM, "no memory for the log's writer");
    }
    w->o = *options;
    w->cursor = *cursor;
    syncer_init(&w->sync, options->interval_ms * MS, last);
    w->tail = &w->head;
    w->next.fd = w->reserve.fd = -1;
    atomic_store(&w->written, last);
    atomic_store(&w->durable, last);
    atomic_store(&w->released, last);
    writer_init_sync(w);
    rc = writer_copy_files(options->files, options->n_files, &w->files, e);
    w->n_files = w->cap_files = rc == OK ? options->n_files : 0;
    if (rc == OK && options->threads)
        rc = writer_start_threads(w, e);
    if (rc != OK) {
        writer_abandon(w);
        return rc;
    }
    *out = w;
    return OK;
}

static void writer_stop_threads(struct writer *w, bool drain)
{
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    w->draining = drain;
    pthread_cond_signal(&w->for_writer);
    pthread_cond_signal(&w->for_syncer);
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
    if (w->has_syncer)
        pthread_join(w->syncer, NULL);
    pthread_mutex_lock(&w->lock);
    w->sync_waits = false;
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
    if (w->has_writer)
        pthread_join(w->writer, NULL);
}

static void writer_free(struct writer *w)
{
    struct io *io = w->o.io;
    struct batch *b;

    while ((b = w->head) != NULL) {
        w->head = b->next;
        batch_free(b);
    }
    while ((b = w->free) != NULL) {
        w->free = b->next;
        batch_free(b);
    }
    if (w->cursor.fd >= 0)
        io->close(io, w->cursor.fd);
    if (w->next.fd >= 0)
        io->close(io, w->next.fd);
    if (w->reserve.fd >= 0)
        io->close(io, w->reserve.fd);
    pthread_cond_destroy(&w->for_writer);
    pthread_cond_destroy(&w->for_syncer);
    pthread_cond_destroy(&w->turn);
    pthread_mutex_destroy(&w->lock);
    free(w->files);
    free(w);
}

void writer_abandon(struct writer *w)
{
    if (w == NULL)
        return;
    writer_stop_threads(w, false);
    writer_free(w);
}

/* All is written: makes it durable, and says so in a last frame. */
static int writer_finish(struct writer *w, struct err *e)
{
    struct io *io = w->o.io;
    int rc;

    if (io->fdatasync(io, w->cursor.fd) != 0)
        return err_sys(e, ERR_IO, "%s: syncing it", w->cursor.path);
    w->cursor.align = true;
    if (w->cursor.closed)
        return OK; /* no room for the marker: the next start takes it for a crash, no harm done */
    w->cursor.synced_lsn = atomic_load(&w->written);
    rc = cursor_mark(&w->cursor, WAL_CLOSE, e);
    if (rc == ERR_FULL)
        return OK;
    if (rc == OK && io->fdatasync(io, w->cursor.fd) != 0)
        rc = err_sys(e, ERR_IO, "%s: syncing it", w->cursor.path);
    return rc;
}

int writer_close(struct writer *w, struct err *e)
{
    int rc;

    writer_stop_threads(w, true);
    pthread_mutex_lock(&w->lock);
    while (atomic_load(&w->failed) == OK && w->head != NULL && !w->held) {
        uint64_t at;
        writer_work(w, writer_now(w), &at);
    }
    pthread_mutex_unlock(&w->lock);
    rc = writer_failure(w, e);
    if (rc == OK && w->head != NULL)
        rc = err_set(e, ERR_FULL, "%s: the disk is full; what was not acknowledged is lost",
                     w->o.dir);
    if (rc == OK)
        rc = writer_finish(w, e);
    if (rc == OK) {
        spare_drop(&w->next, w->o.io, w->o.dir, WAL_NEXT_NAME);
        spare_drop(&w->reserve, w->o.io, w->o.dir, WAL_RESERVE_NAME);
    }
    writer_free(w);
    return rc;
}

/* ---- from the log's other parts ---- */

void writer_request_sync(struct writer *w, uint64_t lsn)
{
    pthread_mutex_lock(&w->lock);
    syncer_ask(&w->sync, lsn);
    writer_wake_syncer(w, writer_now(w));
    pthread_mutex_unlock(&w->lock);
}

void writer_break(struct writer *w, const struct err *e)
{
    pthread_mutex_lock(&w->lock);
    writer_fail(w, e);
    writer_notify(w);
    pthread_mutex_unlock(&w->lock);
}

/* ---- the files of the log ---- */

uint64_t writer_first_needed(struct writer *w, uint64_t lsn)
{
    uint64_t first;
    size_t i = 0;

    pthread_mutex_lock(&w->lock);
    while (i + 1 < w->n_files && w->files[i + 1].first_lsn - 1 <= lsn)
        i++;
    first = w->files[i].first_lsn;
    pthread_mutex_unlock(&w->lock);
    return first;
}

/* Takes the oldest file off the list if it may go. */
static bool writer_take_released(struct writer *w, uint64_t wal_first, uint64_t *first_lsn)
{
    bool may;

    pthread_mutex_lock(&w->lock);
    may = w->holds == 0 && w->n_files > 1 && w->files[0].first_lsn < wal_first;
    if (may) {
        *first_lsn = w->files[0].first_lsn;
        w->n_files--;
        memmove(w->files, w->files + 1, w->n_files * sizeof *w->files);
    }
    pthread_mutex_unlock(&w->lock);
    return may;
}

int writer_release(struct writer *w, uint64_t wal_first, struct err *e)
{
    struct io *io = w->o.io;
    uint64_t first_lsn;
    bool any = false;

    while (writer_take_released(w, wal_first, &first_lsn)) {
        char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];
        wal_name(first_lsn, name);
        file_path(path, w->o.dir, name);
        if (io->unlink(io, path) != 0)
            return err_sys(e, ERR_IO, "%s: removing it", path); /* a start will try again */
        any = true;
    }
    if (any && io->sync_dir(io, w->o.dir) != 0) {
        err_sys(e, ERR_IO, "%s: syncing the directory", w->o.dir);
        writer_break(w, e); /* W5 */
        return ERR_IO;
    }
    return OK;
}

int writer_hold(struct writer *w, struct wal_file **out, size_t *n, struct err *e)
{
    int rc;

    pthread_mutex_lock(&w->lock);
    rc = writer_copy_files(w->files, w->n_files, out, e);
    if (rc == OK) {
        *n = w->n_files;
        w->holds++;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void writer_unhold(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    assert(w->holds > 0);
    w->holds--;
    pthread_mutex_unlock(&w->lock);
}

/* ---- watermarks and figures ---- */

uint64_t writer_written(const struct writer *w)
{
    return atomic_load(&w->written);
}

uint64_t writer_durable(const struct writer *w)
{
    return atomic_load(&w->durable);
}

/* The written watermark, held while an `interval` byte has waited 2T for its fdatasync. */
uint64_t writer_released(struct writer *w)
{
    uint64_t written = atomic_load(&w->written);
    uint64_t oldest = atomic_load(&w->oldest_ns);
    uint64_t released = atomic_load(&w->released);

    if (oldest != 0 && writer_now(w) - oldest >= 2 * w->sync.interval_ns)
        written = atomic_load(&w->durable);
    while (released < written && !atomic_compare_exchange_weak(&w->released, &released, written))
        ;
    return released < written ? written : released;
}

bool writer_is_full(const struct writer *w)
{
    return atomic_load(&w->full);
}

uint64_t writer_queued_bytes(const struct writer *w)
{
    return atomic_load(&w->queued_bytes);
}

int writer_failure(const struct writer *w, struct err *e)
{
    int rc = atomic_load(&w->failed);

    if (rc != OK && e != NULL)
        *e = w->failure;
    return rc;
}

bool writer_has_room(struct writer *w, uint64_t bytes)
{
    bool has;

    pthread_mutex_lock(&w->lock);
    has = !w->writing && w->head == NULL && !w->cursor.closed &&
          w->cursor.size - w->cursor.pos > bytes;
    pthread_mutex_unlock(&w->lock);
    return has;
}

void writer_get_stats(struct writer *w, struct log_stats *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->stats;
    if (!w->writing)
        w->stats.written_bytes = w->cursor.written_bytes;
    out->written_bytes = w->stats.written_bytes;
    out->n_files = w->n_files;
    for (size_t i = 0; i < w->n_files; i++)
        out->file_bytes += w->files[i].bytes;
    pthread_mutex_unlock(&w->lock);
    out->queued_bytes = atomic_load(&w->queued_bytes);
}
