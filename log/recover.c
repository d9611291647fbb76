/*
 * recover.c - reading the log back, and judging where it ends.
 *
 * Files are read in the order of their names, frames in the order of their chain; whole batches are
 * replayed. At the first place where no sound frame goes on, E is the LSN expected there, and the
 * question is whether the log simply ends (a crash tore what was being written, and nobody was told
 * that it is durable) or whether something is missing that was durable. The log itself answers:
 *
 *   R1  Every frame says up to which LSN the log was durable when it was written. S is the highest
 *       such claim, of all frames read and of all sound headers behind the place, which are looked
 *       for in steps of 8 bytes.
 *   R2  A file is made only after everything before its first LSN is durable: its name is a claim
 *       too, and its header says where the frames of the file before it end.
 *   R3  S >= E, or a place before that end, is damage: the start is refused, nothing is changed.
 *       Else the tail is torn, and dropped. An unfinished run of frames (MORE) is torn as a whole:
 *       E is where the run began.
 *   R4  The newest file, if shorter than it was allocated, may have lost its end: damage, unless it
 *       was closed.
 *
 * The newest file whose header is no good and that holds no frame was just being made; it counts as
 * not there, if the log is whole up to it. The residue: damage to the very last batch, before a
 * later frame told that it was durable, looks like a torn tail. The SYNC marker after 20 ms of
 * silence keeps that time short.
 *
 * A log does not begin at its first record for ever: files that segments and checkpoints have made needless are
 * released, oldest first. What is still needed is told by struct keeper_start:
 *
 *   R5  Files before wal_first are released; those that a crash has left are removed. The first file that is read is the
 *       last one that begins no later than what is needed: the record after sealed_lsn, and the one after the start of the
 *       checkpoint that was loaded. Its own header is where the chain begins.
 *   R6  Segments and checkpoints are named only after the log is durable up to what they reflect: sealed_lsn and the
 *       checkpoint's end_lsn are claims as in R1.
 *   R7  A batch that is sealed as a whole is read into a buffer and replayed from there; any other stays in the arena. In
 *       all files but the last what has been read is durable (W4), so the keeper may seal between two batches: the arena
 *       stays within its limit however long the log is.
 *
 * With salvage, damage is answered as if the log ended there; what comes after goes to quarantine/.
 *
 * Memory: a batch is read once its headers have been seen to lie whole in the file, so no more is
 * allocated than the file is long.
 */
#include "log/recover.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bug.h"
#include "log/bytes.h"
#include "log/file.h"
#include "log/io.h"
#include "log/record.h"
#include "log/renew.h"
#include "log/scan.h"

struct recover {
    const struct log_options *o;
    const uint8_t *uuid;
    struct keeper_start start;
    struct recover_sink sink;
    struct log_recovery *info;
    uint64_t *files; /* first LSNs, ascending */
    size_t n_files, cap_files;
    size_t n_released; /* of them; they are to be removed */
    size_t first;      /* the first one that is read; n_files: it is missing */
    struct scan scan;  /* of file i */
    size_t i;
    uint8_t *scratch; /* batches that are sealed */
    size_t cap_scratch;
    bool has_scan;
    bool scan_is_sound;  /* its header is */
    uint64_t lsn, index; /* expected next */
    uint64_t synced, seen, clock;
    bool closed;     /* the last frame is a CLOSE */
    size_t bad_file; /* damage is that this one has no sound header; 0: it is another */
    bool damaged;
    struct err damage; /* where and what */
};

/* ---- which files there are ---- */

static int recover_add_file(void *ctx, const char *name)
{
    struct recover *r = ctx;
    uint64_t lsn;

    if (!wal_name_parse(name, &lsn))
        return 0;
    if (r->n_files == r->cap_files) {
        size_t cap = r->cap_files == 0 ? 16 : 2 * r->cap_files;
        uint64_t *files = realloc(r->files, cap * sizeof *files);
        if (files == NULL)
            return 1;
        r->files = files;
        r->cap_files = cap;
    }
    r->files[r->n_files++] = lsn;
    return 0;
}

static int recover_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int recover_list(struct recover *r, struct err *e)
{
    struct io *io = r->o->io;
    int rc = io->list(io, r->o->dir, recover_add_file, r);

    if (rc < 0)
        return err_sys(e, ERR_IO, "%s: listing the directory", r->o->dir);
    if (rc > 0)
        return err_set(e, ERR_NOMEM, "%s: no memory for its list of files", r->o->dir);
    if (r->n_files > 0)
        qsort(r->files, r->n_files, sizeof r->files[0], recover_compare);
    return OK;
}

static void recover_raise(uint64_t *at, uint64_t to)
{
    if (to > *at)
        *at = to;
}

/* The first LSN that is needed. Without a checkpoint, all there are. */
static uint64_t recover_need(const struct keeper_start *s)
{
    uint64_t covered = s->sealed_lsn < s->start_lsn ? s->sealed_lsn : s->start_lsn;

    return covered < s->wal_first ? s->wal_first : covered + 1;
}

/* Which files are released, and with which one reading begins (R5). */
static void recover_choose(struct recover *r)
{
    uint64_t need = recover_need(&r->start);

    while (r->n_released < r->n_files && r->files[r->n_released] < r->start.wal_first)
        r->n_released++;
    r->first = r->n_files;
    for (size_t i = r->n_released; i < r->n_files && r->files[i] <= need; i++)
        r->first = i;
    r->lsn = r->first < r->n_files ? r->files[r->first] : r->start.wal_first;
    if (!BUG(BUG_CHECKPOINT_END_IGNORED)) {
        recover_raise(&r->synced, r->start.end_lsn); /* R6 */
        recover_raise(&r->synced, r->start.sealed_lsn);
    }
}

/* ---- batches ---- */

/* A run of frames that is one batch, as its headers tell. */
struct recover_extent {
    size_t bytes;
    uint64_t n_records;
};

/* Measures the run of frames that starts with *first, if all its headers are there and fit together. */
static int recover_measure(struct recover *r, const struct scan_frame *first, uint64_t limit,
                           struct recover_extent *run, bool *whole, struct err *e)
{
    struct scan *s = &r->scan;
    uint64_t pos = s->pos;
    uint32_t prev_crc = s->prev_crc;
    struct scan_frame f = *first;
    bool found = true;
    int rc = OK;

    *run = (struct recover_extent){ 0 };
    for (;;) {
        found = found && !wal_frame_is_marker(&f.head) && f.head.index == r->index &&
                f.head.clock == first->head.clock &&
                f.pos + wal_frame_size(f.head.payload_len) <= limit;
        if (!found)
            break;
        run->bytes += f.head.payload_len;
        run->n_records += f.head.count;
        if ((f.head.flags & WAL_MORE) == 0)
            break;
        scan_accept(s, &f);
        rc = scan_frame(s, &f, &found, e);
        if (rc != OK)
            break;
    }
    *whole = found || (BUG(BUG_TORN_RUN_ACCEPTED) && run->bytes > 0);
    s->pos = pos;
    s->prev_crc = prev_crc;
    return rc;
}

/* Moves *at behind the whole records in [*at, end) and returns how many they are. */
static uint64_t recover_count(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *next = *at;
    struct slice record;
    uint64_t n = 0;

    while (slice_get(&next, end, &record) && record.n > 0) { /* one without a type is none */
        *at = next;
        n++;
    }
    return n;
}

/* Reads the run's payloads to `to` and checks them; moves the scan behind it. *n becomes the number
 * of records. */
static int recover_read(struct recover *r, uint8_t *to, size_t bytes, uint64_t *n, bool *sound,
                        struct err *e)
{
    const uint8_t *at = to;
    uint8_t *end = to;

    *n = 0;
    *sound = true;
    while ((size_t)(end - to) < bytes) {
        struct scan_frame f;
        bool found;
        uint64_t ended;
        int rc = scan_frame(&r->scan, &f, &found, e);

        if (rc == OK && found)
            rc = scan_payload(&r->scan, &f, end, sound, e);
        if (rc != OK)
            return rc;
        if (!found || !*sound || f.head.first_lsn != r->lsn + *n) {
            *sound = false;
            return OK;
        }
        end += f.head.payload_len;
        ended = recover_count(&at, end);
        *n += ended;
        *sound = ended == f.head.count;
        if (!*sound)
            return OK;
        recover_raise(&r->synced, f.head.synced_lsn);
        scan_accept(&r->scan, &f);
    }
    *sound = at == end || BUG(BUG_TORN_RUN_ACCEPTED);
    return OK;
}

/* A SKIP record says where LSNs go on. False if it is nonsense. */
static bool recover_skip(struct recover *r, const struct log_record *record)
{
    const uint8_t *p = record->body;
    uint64_t next;

    if (!varint_get(&p, record->body + record->len, &next) || next <= record->lsn ||
        next > UINT64_MAX / 2)
        return false;
    r->lsn = next;
    return true;
}

/* Gives the records of a whole batch to the host. */
static int recover_replay(struct recover *r, const uint8_t *p, size_t bytes, uint64_t clock,
                          struct err *e)
{
    const uint8_t *end = p + bytes;
    struct slice bytes_of;

    while (slice_get(&p, end, &bytes_of)) {
        struct log_record record = { .lsn = r->lsn,
                                     .clock = clock,
                                     .type = bytes_of.p[0],
                                     .body = bytes_of.p + 1,
                                     .len = bytes_of.n - 1,
                                     .sealed = r->lsn <= r->start.sealed_lsn };
        int rc;

        r->lsn++;
        if (record.type == RECORD_SKIP && !recover_skip(r, &record))
            return err_set(e, ERR_CORRUPT, "%s: record %" PRIu64 " skips to nowhere", r->scan.path,
                           record.lsn);
        r->info->n_records++;
        rc = r->o->host.replay == NULL ? OK : r->o->host.replay(r->o->host.ctx, &record, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int recover_make_scratch(struct recover *r, size_t bytes, struct err *e)
{
    uint8_t *scratch;

    if (bytes <= r->cap_scratch)
        return OK;
    scratch = realloc(r->scratch, bytes);
    if (scratch == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a batch of %zu bytes", bytes);
    r->scratch = scratch;
    r->cap_scratch = bytes;
    return OK;
}

/* Where the batch is to be read to. */
static int recover_make_room(struct recover *r, size_t bytes, bool sealed, uint8_t **to,
                             struct err *e)
{
    struct arena *arena;
    int rc;

    if (sealed) {
        rc = recover_make_scratch(r, bytes, e);
        *to = r->scratch;
        return rc;
    }
    arena = r->sink.arena(r->sink.keeper);
    rc = r->sink.reserve(r->sink.keeper, e);
    if (rc == OK)
        rc = arena_reserve(arena, bytes, e);
    if (rc == OK)
        *to = arena_take(arena, bytes);
    return rc;
}

/* The batch is whole and at `p`: to the host, and to the keeper what stays. */
static int recover_take(struct recover *r, const uint8_t *p, const struct recover_extent *run,
                        bool sealed, uint64_t clock, struct err *e)
{
    uint64_t last = r->lsn + run->n_records - 1;
    int rc;

    r->index++;
    recover_raise(&r->clock, clock);
    if (!sealed)
        r->sink.took(r->sink.keeper, p, run->bytes, r->lsn, last);
    rc = recover_replay(r, p, run->bytes, clock, e);
    if (rc != OK || sealed)
        return rc;
    r->sink.batch_end(r->sink.keeper);
    return r->i + 1 < r->n_files ? r->sink.replay_turn(r->sink.keeper, last, e) : OK; /* R7 */
}

/* The batch that starts with *first. *more is false if it is not whole and sound: then nothing has
 * moved. */
static int recover_batch(struct recover *r, const struct scan_frame *first, uint64_t limit,
                         bool *more, struct err *e)
{
    uint64_t pos = r->scan.pos, synced = r->synced;
    uint32_t prev_crc = r->scan.prev_crc;
    struct recover_extent run;
    uint8_t *to = NULL;
    bool sealed;
    int rc = recover_measure(r, first, limit, &run, more, e);

    if (rc != OK || !*more)
        return rc;
    sealed = r->sink.keeper == NULL ||
             (run.n_records > 0 && r->lsn + run.n_records - 1 <= r->start.sealed_lsn);
    rc = recover_make_room(r, run.bytes, sealed, &to, e);
    if (rc != OK)
        return rc;
    rc = recover_read(r, to, run.bytes, &run.n_records, more, e);
    if (rc == OK && *more)
        return recover_take(r, to, &run, sealed, first->head.clock, e);
    if (!sealed)
        arena_untake(r->sink.arena(r->sink.keeper), run.bytes);
    r->scan.pos = pos;
    r->scan.prev_crc = prev_crc;
    r->synced = synced;
    return rc;
}

/* Takes frames until none goes on, or the file's frames end at `limit`. */
static int recover_frames(struct recover *r, uint64_t limit, struct err *e)
{
    bool more = true;

    r->closed = false;
    while (more && r->scan.pos < limit) {
        struct scan_frame f;
        int rc = scan_frame(&r->scan, &f, &more, e);

        if (rc != OK)
            return rc;
        if (!more)
            break;
        if (!wal_frame_is_marker(&f.head)) {
            rc = recover_batch(r, &f, limit, &more, e);
            if (rc != OK)
                return rc;
            continue;
        }
        scan_accept(&r->scan, &f);
        recover_raise(&r->synced, f.head.synced_lsn);
        r->closed = f.head.flags == WAL_CLOSE;
        more = f.head.flags == WAL_SYNC;
    }
    return OK;
}

/* ---- files ---- */

/* Whether file `next` continues what has been read. */
static bool recover_continues(const struct recover *r, const struct scan *next)
{
    return r->scan.pos == next->header.prev_end && r->scan.prev_crc == next->header.prev_crc &&
           r->lsn == next->header.first_lsn && r->index == next->header.first_index;
}

static void recover_close_scan(struct recover *r)
{
    if (r->has_scan)
        scan_close(&r->scan);
    r->has_scan = false;
}

/* Opens file i; a bad header is noted as damage. */
static int recover_open_file(struct recover *r, size_t i, struct scan *s, bool *sound,
                             struct err *e)
{
    char name[WAL_NAME_MAX];
    enum scan_header state = SCAN_HEADER_BAD;
    int rc;

    wal_name(r->files[i], name);
    rc = scan_open(s, r->o->io, r->o->dir, name, r->uuid, &state, &r->damage);
    if (rc != OK) {
        if (e != NULL)
            *e = r->damage;
        return rc;
    }
    *sound = state == SCAN_HEADER_OK;
    if (!*sound)
        err_add(&r->damage, "%s", s->path);
    r->info->n_files++;
    r->info->bytes += s->size;
    return OK;
}

/* Whether the newest file, whose header is no good, was just being made: no frame in it, the log
 * whole up to it. */
static int recover_is_newborn(struct recover *r, size_t i, struct scan *s, bool *newborn,
                              struct err *e)
{
    struct scan_finds finds = { 0 };
    int rc = OK;

    *newborn = i + 1 == r->n_files && r->files[i] == r->lsn;
    if (*newborn)
        rc = scan_hunt(s, 0, false, &finds, e);
    *newborn = *newborn && finds.n_frames == 0;
    return rc;
}

/* Reads file r->i, and steps to the next one if that continues it; *more says whether. */
static int recover_file(struct recover *r, bool *more, struct err *e)
{
    struct scan next;
    bool sound, newborn = false;
    int rc;

    *more = false;
    if (r->i + 1 == r->n_files)
        return recover_frames(r, UINT64_MAX, e);
    rc = recover_open_file(r, r->i + 1, &next, &sound, e);
    if (rc != OK)
        return rc;
    rc = recover_frames(r, sound ? next.header.prev_end : UINT64_MAX, e);
    if (rc == OK && !sound)
        rc = recover_is_newborn(r, r->i + 1, &next, &newborn, e);
    *more = rc == OK && sound && recover_continues(r, &next);
    if (*more) {
        recover_close_scan(r);
        r->scan = next;
        r->has_scan = true;
        r->i++;
        return OK;
    }
    scan_close(&next);
    r->damaged = !newborn;
    r->bad_file = !sound && !newborn ? r->i + 1 : 0;
    return rc;
}

/* Only the older checkpoint needs it. */
static void recover_note_missing(struct recover *r)
{
    char name[WAL_NAME_MAX];

    wal_name(r->start.wal_first, name);
    snprintf(r->info->note, sizeof r->info->note,
             "%s/%s: is missing; nothing that was read needs it", r->o->dir, name);
}

static int recover_read_all(struct recover *r, struct err *e)
{
    bool more = true;
    int rc;

    if (r->first == r->n_files) {
        char name[WAL_NAME_MAX];
        wal_name(r->start.wal_first, name);
        err_set(&r->damage, ERR_CORRUPT, "%s/%s: is missing", r->o->dir, name);
        r->damaged = true;
        return OK;
    }
    if (r->files[r->n_released] != r->start.wal_first)
        recover_note_missing(r);
    r->i = r->first;
    rc = recover_open_file(r, r->i, &r->scan, &r->scan_is_sound, e);
    if (rc != OK)
        return rc;
    r->has_scan = true;
    if (!r->scan_is_sound) {
        r->damaged = true;
        return OK;
    }
    r->index = r->scan.header.first_index;
    while (rc == OK && more)
        rc = recover_file(r, &more, e);
    return rc;
}

/* ---- what lies behind the end ---- */

static void recover_note(struct recover *r, const struct scan_finds *finds)
{
    recover_raise(&r->synced, finds->synced_lsn);
    recover_raise(&r->seen, finds->seen_lsn);
    recover_raise(&r->clock, finds->clock);
}

/* Index of the first file behind the end. */
static size_t recover_first_later(const struct recover *r)
{
    return r->has_scan ? r->i + 1 : r->n_released;
}

static int recover_hunt_later(struct recover *r, struct err *e)
{
    for (size_t i = recover_first_later(r); i < r->n_files; i++) {
        struct scan_finds finds = { 0 };
        struct err ignored = r->damage;
        struct scan s;
        bool sound;
        int rc = recover_open_file(r, i, &s, &sound, e);

        r->damage = ignored;
        if (rc != OK)
            return rc;
        rc = scan_hunt(&s, sound ? WAL_HEADER_BYTES : 0, sound, &finds, e);
        scan_close(&s);
        if (rc != OK)
            return rc;
        recover_note(r, &finds);
        if (r->damaged)
            recover_raise(&r->synced, r->files[i] - 1); /* R2 */
    }
    return OK;
}

/* Looks at everything behind the end: the claims there, the LSNs and stamps that were used. */
static int recover_hunt(struct recover *r, struct err *e)
{
    struct scan_finds finds = { 0 };
    int rc = OK;

    if (r->has_scan) {
        rc = scan_hunt(&r->scan, r->scan_is_sound ? r->scan.pos : 0, r->scan_is_sound, &finds, e);
        if (rc == OK && r->scan_is_sound)
            r->info->dropped_bytes = finds.end - r->scan.pos;
    }
    recover_note(r, &finds);
    return rc == OK ? recover_hunt_later(r, e) : rc;
}

/* Decides; the text of damage is complete after it. */
static void recover_judge(struct recover *r)
{
    bool cut = r->scan_is_sound && r->scan.size < r->scan.header.size && !r->closed; /* R4 */

    if (BUG(BUG_STOP_AT_BAD_CRC)) {
        r->damaged = false;
        return;
    }
    r->damaged = r->damaged || cut || r->synced >= r->lsn; /* R3 */
    if (!r->damaged)
        return;
    if (r->damage.code == OK)
        err_set(&r->damage, ERR_CORRUPT, "%s: is %s at byte %" PRIu64, r->scan.path,
                cut ? "cut off" : "damaged", cut ? r->scan.size : r->scan.pos);
    if (r->synced < r->lsn)
        err_add(&r->damage, "records from %" PRIu64 " on may be missing", r->lsn);
    else if (r->synced > r->lsn)
        err_add(&r->damage, "records %" PRIu64 " to %" PRIu64 " were durable and cannot be read",
                r->lsn, r->synced);
    else
        err_add(&r->damage, "record %" PRIu64 " was durable and cannot be read", r->lsn);
}

static int recover_refuse(const struct recover *r, struct err *e)
{
    *e = r->damage;
    e->code = ERR_CORRUPT;
    snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text),
             "; restore a backup, or start once with --salvage to go on without what follows");
    return ERR_CORRUPT;
}

/* ---- going on ---- */

static int recover_size(struct recover *r, uint64_t first_lsn, uint64_t *size, struct err *e)
{
    struct io *io = r->o->io;
    char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];
    int fd, rc = OK;

    wal_name(first_lsn, name);
    file_path(path, r->o->dir, name);
    fd = io->open(io, path, IO_READ);
    if (fd < 0)
        return err_sys(e, ERR_IO, "%s: opening it", path);
    if (io->size(io, fd, size) != 0)
        rc = err_sys(e, ERR_IO, "%s: asking for its size", path);
    io->close(io, fd);
    return rc;
}

/* The files as they will be: those that are kept, and the one that the log goes on in. */
static int recover_list_kept(struct recover *r, struct recover_result *out, struct err *e)
{
    size_t end = r->has_scan ? r->i : r->n_released;

    out->files = calloc(end - r->n_released + 1, sizeof *out->files);
    if (out->files == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of files");
    for (size_t i = r->n_released; i < end; i++) {
        struct wal_file *f = &out->files[out->n_files++];
        int rc = recover_size(r, r->files[i], &f->bytes, e);
        if (rc != OK)
            return rc;
        f->first_lsn = r->files[i];
    }
    return OK;
}

/* Removes what is released, oldest first, so that no crash leaves a gap. */
static int recover_remove_released(struct recover *r, struct err *e)
{
    struct io *io = r->o->io;

    for (size_t i = 0; i < r->n_released; i++) {
        char name[WAL_NAME_MAX], path[CURSOR_PATH_MAX];
        wal_name(r->files[i], name);
        file_path(path, r->o->dir, name);
        if (io->unlink(io, path) != 0)
            return err_sys(e, ERR_IO, "%s: removing it", path);
    }
    if (r->n_released > 0 && io->sync_dir(io, r->o->dir) != 0)
        return err_sys(e, ERR_IO, "%s: syncing the directory", r->o->dir);
    return OK;
}

static int recover_renew(struct recover *r, bool created, struct recover_result *out, struct err *e)
{
    size_t later = recover_first_later(r);
    struct renew n = { .io = r->o->io,
                       .dir = r->o->dir,
                       .uuid = r->uuid,
                       .file_bytes = r->o->file_bytes,
                       .frame_bytes = LOG_FRAME_BYTES_MAX,
                       .last = r->has_scan ? &r->scan : NULL,
                       .last_is_sound = r->scan_is_sound,
                       .later = r->files + later,
                       .n_later = r->n_files - later,
                       .quarantine = r->damaged,
                       .next_lsn = r->lsn,
                       .next_index = r->index,
                       .clock = r->clock };
    int rc;

    if (r->o->frame_bytes_max != 0)
        n.frame_bytes = r->o->frame_bytes_max;
    recover_raise(&r->seen, r->lsn - 1);
    recover_raise(&r->seen, r->synced);
    if (!created && !r->info->clean)
        n.skip_to = r->seen + 1 + LOG_SKIP_LSNS;
    rc = renew_run(&n, &out->cursor, e);
    out->info.salvaged_bytes = n.salvaged_bytes;
    return rc;
}

#ifdef BECK_PLANTED_BUGS
/* The bug: goes on in the file that was found. */
static int recover_append(struct recover *r, struct recover_result *out, struct err *e)
{
    struct cursor *c = &out->cursor;
    int fd = r->o->io->open(r->o->io, r->scan.path, IO_WRITE);

    if (fd < 0)
        return err_sys(e, ERR_IO, "%s: opening it", r->scan.path);
    *c = (struct cursor){ .io = r->o->io,
                          .frame_bytes = LOG_FRAME_BYTES_MAX,
                          .next_lsn = r->lsn,
                          .next_index = r->index,
                          .prev_crc = r->scan.prev_crc };
    cursor_set_file(c, fd, r->o->dir, &r->scan.header, r->scan.pos);
    return OK;
}
#endif

static int recover_begin_file(struct recover *r, bool created, struct recover_result *out,
                              struct err *e)
{
#ifdef BECK_PLANTED_BUGS
    if (BUG(BUG_APPEND_TO_OLD_FILE) && r->scan_is_sound)
        return recover_append(r, out, e);
#endif
    return recover_renew(r, created, out, e);
}

static int recover_go_on(struct recover *r, bool created, struct recover_result *out, struct err *e)
{
    int rc = recover_list_kept(r, out, e);

    if (rc == OK)
        rc = recover_remove_released(r, e);
    if (rc == OK)
        rc = recover_begin_file(r, created, out, e);
    if (rc == OK)
        out->files[out->n_files++] =
            (struct wal_file){ .first_lsn = out->cursor.file_lsn, .bytes = out->cursor.size };
    return rc;
}

static int recover_existing(struct recover *r, struct err *e)
{
    int rc = recover_list(r, e);

    if (rc != OK)
        return rc;
    recover_choose(r);
    rc = recover_read_all(r, e);
    if (rc == OK)
        rc = recover_hunt(r, e);
    if (rc != OK)
        return rc;
    recover_judge(r);
    r->info->clean = r->closed && !r->damaged && r->info->dropped_bytes == 0;
    return OK;
}

static struct recover recover_init(const struct recover_options *o, struct log_recovery *info)
{
    return (struct recover){ .o = o->log,
                             .uuid = o->uuid,
                             .start = o->start,
                             .sink = o->sink,
                             .info = info,
                             .lsn = o->start.wal_first,
                             .index = 1,
                             .clock = o->start.clock };
}

static void recover_fini(struct recover *r)
{
    recover_close_scan(r);
    free(r->files);
    free(r->scratch);
}

static void recover_tell(const struct recover *r, struct recover_verdict *out)
{
    char name[WAL_NAME_MAX];

    out->damaged = r->damaged;
    out->damage = r->damage;
    out->next_lsn = r->lsn;
    out->clock = r->clock;
    out->info.last_clock = r->clock;
    wal_name(r->bad_file > 0 ? r->files[r->bad_file] : r->start.wal_first, name);
    file_path(out->path, r->o->dir, name);
    if (!r->has_scan || r->bad_file > 0)
        return;
    snprintf(out->path, sizeof out->path, "%s", r->scan.path);
    out->pos = r->scan_is_sound ? r->scan.pos : 0;
}

int recover_look(const struct recover_options *o, struct recover_verdict *out, struct err *e)
{
    struct recover r;
    struct err own;
    int rc;

    if (e == NULL)
        e = &own; /* err_add wants one */
    *out = (struct recover_verdict){ 0 };
    r = recover_init(o, &out->info);
    r.sink = (struct recover_sink){ 0 };
    rc = recover_existing(&r, e);
    if (rc == OK)
        recover_tell(&r, out);
    recover_fini(&r);
    return rc;
}

int recover_run(const struct recover_options *o, struct recover_result *out, struct err *e)
{
    struct recover r;
    struct err own;
    int rc = OK;

    if (e == NULL)
        e = &own; /* err_add wants one */
    *out = (struct recover_result){ .info = { .created = o->created, .clean = o->created } };
    r = recover_init(o, &out->info);
    if (!o->created)
        rc = recover_existing(&r, e);
    if (rc == OK && r.damaged && !r.o->salvage)
        rc = recover_refuse(&r, e);
    if (rc == OK)
        rc = recover_go_on(&r, o->created, out, e);
    if (rc == OK && r.damaged)
        out->info.dropped_bytes = 0; /* kept in quarantine instead */
    if (rc != OK) {
        free(out->files);
        out->files = NULL;
    }
    out->info.last_clock = BUG(BUG_CLOCK_NOT_CARRIED) ? 0 : r.clock;
    recover_fini(&r);
    return rc;
}
