/*
 * manifest.c - the one file that says what belongs to the store.
 *
 * Segments and checkpoints become part of the store when a manifest names them, and stop being part
 * of it when one does not; both by the rename of a small file, so a crash leaves the old set or the
 * new one. There is no log of changes to it that could be damaged in the middle: 96 bytes a segment
 * are rewritten a few times a minute at most.
 *
 *         0       8     12       16         20   24     40           48             56
 *         | magic | ver | compat | incompat | 0  | uuid | generation | next ordinal | sealed LSN
 *         64          72      80           84              88          92   96
 *         | WAL first | clock | n segments | n checkpoints | n obsolete | 0 | ...
 *
 * then checkpoints (32 bytes each), segments (96), ordinals of obsolete ones (8), and crc32c of all that. A file is read
 * whole; its length bounds what is allocated, and has to be exactly what the counts ask for.
 *
 *   M1  Segments are in order of LSN, their ranges do not overlap, none goes beyond sealed_lsn.
 *   M2  No ordinal stands for two files, all are below next_ordinal.
 *   M3  The log is kept from wal_first on, which is not above what a start needs: the record after sealed_lsn, and the one
 *       after the start of the older checkpoint.
 *
 * manifest_write asserts what manifest_read verifies.
 */
#include "log/manifest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/checkpoint.h"
#include "log/crc32c.h"
#include "log/file.h"
#include "log/log.h"

#define MANIFEST_TEMP MANIFEST_NAME ".tmp"

static const char manifest_magic[8] = "BECKMAN"; /* with its final zero */

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_HEAD_BYTES = 96,
    MANIFEST_CHECKPOINT_BYTES = 32,
    MANIFEST_SEGMENT_BYTES = 96,
    MANIFEST_CRC_BYTES = 4,
    MANIFEST_BYTES_MAX = MANIFEST_HEAD_BYTES +
                         MANIFEST_CHECKPOINTS_MAX * MANIFEST_CHECKPOINT_BYTES +
                         MANIFEST_SEGMENTS_MAX * (MANIFEST_SEGMENT_BYTES + 8) + MANIFEST_CRC_BYTES
};

/* Sums with LSNs below it do not wrap, and a start can jump beyond them (recover.c). */
#define MANIFEST_LSN_MAX (UINT64_MAX / 4)

void manifest_init(struct manifest *m)
{
    *m = (struct manifest){ .next_ordinal = 1, .wal_first = LOG_FIRST_LSN };
}

void manifest_fini(struct manifest *m)
{
    free(m->segments);
    free(m->obsolete);
    manifest_init(m);
}

/* Room for exactly so many of both. */
static int manifest_make_room(struct manifest *m, size_t n_segments, size_t n_obsolete,
                              struct err *e)
{
    m->segments = n_segments == 0 ? NULL : calloc(n_segments, sizeof *m->segments);
    m->obsolete = n_obsolete == 0 ? NULL : calloc(n_obsolete, sizeof *m->obsolete);
    m->n_segments = m->cap_segments = n_segments;
    m->n_obsolete = m->cap_obsolete = n_obsolete;
    if ((m->segments != NULL || n_segments == 0) && (m->obsolete != NULL || n_obsolete == 0))
        return OK;
    manifest_fini(m);
    return err_set(e, ERR_NOMEM, "no memory for a manifest of %zu segments", n_segments);
}

int manifest_copy(struct manifest *to, const struct manifest *from, struct err *e)
{
    int rc;

    *to = *from;
    rc = manifest_make_room(to, from->n_segments, from->n_obsolete, e);
    if (rc != OK)
        return rc;
    if (from->n_segments > 0)
        memcpy(to->segments, from->segments, from->n_segments * sizeof *to->segments);
    if (from->n_obsolete > 0)
        memcpy(to->obsolete, from->obsolete, from->n_obsolete * sizeof *to->obsolete);
    return OK;
}

/* ---- what has to hold ---- */

static bool manifest_is_lsn(uint64_t lsn)
{
    return lsn >= LOG_FIRST_LSN && lsn < MANIFEST_LSN_MAX;
}

static bool manifest_segment_is_sound(const struct segment_info *s)
{
    if (!manifest_is_lsn(s->lsn_first) || s->lsn_last < s->lsn_first ||
        s->file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES ||
        s->file_bytes > MANIFEST_LSN_MAX || s->n_streams > s->n_entries)
        return false;
    if (s->n_entries == 0)
        return s->oid_first == 0 && s->oid_last == 0;
    return s->n_streams > 0 && (s->oid_first >= LOG_FIRST_LSN || s->oid_first == LOG_CHANGES_OID) &&
           s->oid_first <= s->oid_last &&
           s->oid_last < s->lsn_last; /* an entry's record follows that of its stream */
}

static const char *manifest_segments_flaw(const struct manifest *m)
{
    uint64_t before = 0;

    for (size_t i = 0; i < m->n_segments; i++) {
        const struct segment_info *s = &m->segments[i];
        if (!manifest_segment_is_sound(s))
            return "the description of a segment contradicts itself";
        if (s->lsn_first <= before)
            return "the LSNs of two segments overlap"; /* M1 */
        if (s->lsn_last > m->sealed_lsn)
            return "a segment holds what is not sealed"; /* M1 */
        before = s->lsn_last;
    }
    return NULL;
}

static const char *manifest_checkpoints_flaw(const struct manifest *m)
{
    for (size_t i = 0; i < m->n_checkpoints; i++) {
        const struct manifest_checkpoint *c = &m->checkpoints[i];
        if (c->start_lsn < LOG_FIRST_LSN - 1 || c->end_lsn < c->start_lsn ||
            c->end_lsn >= MANIFEST_LSN_MAX || c->file_bytes > MANIFEST_LSN_MAX)
            return "the description of a checkpoint contradicts itself";
        if (i > 0 && c->start_lsn >= m->checkpoints[i - 1].start_lsn)
            return "the older checkpoint is the newer one";
    }
    return NULL;
}

/* What is wrong with the fields, or NULL. */
static const char *manifest_flaw(const struct manifest *m)
{
    const char *flaw = manifest_segments_flaw(m);

    if (flaw == NULL)
        flaw = manifest_checkpoints_flaw(m);
    if (flaw != NULL)
        return flaw;
    if (m->generation == 0 || m->next_ordinal == 0)
        return "a counter is zero";
    if ((m->sealed_lsn != 0 && !manifest_is_lsn(m->sealed_lsn)) || !manifest_is_lsn(m->wal_first))
        return "an LSN is none";
    if (m->wal_first > LOG_FIRST_LSN &&
        (m->wal_first > m->sealed_lsn + 1 ||
         (m->n_checkpoints > 0 &&
          m->wal_first > m->checkpoints[m->n_checkpoints - 1].start_lsn + 1)))
        return "the log is not kept from where it is needed"; /* M3 */
    return NULL;
}

static int manifest_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* M2. */
static int manifest_check_ordinals(const struct manifest *m, bool *sound, struct err *e)
{
    size_t n = m->n_segments + m->n_obsolete;
    uint64_t *all;

    *sound = true;
    if (n == 0)
        return OK;
    all = calloc(n, sizeof *all);
    if (all == NULL)
        return err_set(e, ERR_NOMEM, "no memory to check a manifest of %zu segments", n);
    for (size_t i = 0; i < n; i++)
        all[i] = i < m->n_segments ? m->segments[i].ordinal : m->obsolete[i - m->n_segments];
    qsort(all, n, sizeof *all, manifest_compare);
    for (size_t i = 1; i < n; i++)
        *sound = *sound && all[i] != all[i - 1];
    *sound = *sound && all[n - 1] < m->next_ordinal;
    free(all);
    return OK;
}

/* ---- encoding ---- */

static size_t manifest_size(size_t n_segments, size_t n_checkpoints, size_t n_obsolete)
{
    return MANIFEST_HEAD_BYTES + n_checkpoints * MANIFEST_CHECKPOINT_BYTES +
           n_segments * MANIFEST_SEGMENT_BYTES + n_obsolete * 8 + MANIFEST_CRC_BYTES;
}

static uint8_t *manifest_put_head(uint8_t *p, const uint8_t *uuid, const struct manifest *m)
{
    memcpy(p, manifest_magic, sizeof manifest_magic);
    put_u32le(p + 8, MANIFEST_VERSION);
    memcpy(p + 24, uuid, WAL_UUID_BYTES);
    put_u64le(p + 40, m->generation);
    put_u64le(p + 48, m->next_ordinal);
    put_u64le(p + 56, m->sealed_lsn);
    put_u64le(p + 64, m->wal_first);
    put_u64le(p + 72, m->clock);
    put_u32le(p + 80, (uint32_t)m->n_segments);
    put_u32le(p + 84, (uint32_t)m->n_checkpoints);
    put_u32le(p + 88, (uint32_t)m->n_obsolete);
    return p + MANIFEST_HEAD_BYTES;
}

static void manifest_get_head(struct manifest *m, const uint8_t *p)
{
    m->generation = get_u64le(p + 40);
    m->next_ordinal = get_u64le(p + 48);
    m->sealed_lsn = get_u64le(p + 56);
    m->wal_first = get_u64le(p + 64);
    m->clock = get_u64le(p + 72);
    m->n_checkpoints = get_u32le(p + 84);
}

static uint8_t *manifest_put_checkpoint(uint8_t *p, const struct manifest_checkpoint *c)
{
    put_u64le(p, c->start_lsn);
    put_u64le(p + 8, c->end_lsn);
    put_u64le(p + 16, c->file_bytes);
    put_u32le(p + 24, c->crc);
    return p + MANIFEST_CHECKPOINT_BYTES;
}

static bool manifest_get_checkpoint(struct manifest_checkpoint *c, const uint8_t *p)
{
    c->start_lsn = get_u64le(p);
    c->end_lsn = get_u64le(p + 8);
    c->file_bytes = get_u64le(p + 16);
    c->crc = get_u32le(p + 24);
    return get_u32le(p + 28) == 0;
}

static uint8_t *manifest_put_segment(uint8_t *p, const struct segment_info *s)
{
    put_u64le(p, s->ordinal);
    put_u64le(p + 8, s->lsn_first);
    put_u64le(p + 16, s->lsn_last);
    put_u64le(p + 24, s->file_bytes);
    put_u64le(p + 32, s->n_entries);
    put_u64le(p + 40, s->n_streams);
    put_u64le(p + 48, s->raw_bytes);
    put_u64le(p + 56, s->oid_first);
    put_u64le(p + 64, s->oid_last);
    put_u64le(p + 72, s->max_ms);
    put_u32le(p + 80, s->trailer_crc);
    put_u32le(p + 84, s->n_blocks);
    p[88] = s->level;
    return p + MANIFEST_SEGMENT_BYTES;
}

static bool manifest_get_segment(struct segment_info *s, const uint8_t *p)
{
    static const uint8_t zeros[7];

    s->ordinal = get_u64le(p);
    s->lsn_first = get_u64le(p + 8);
    s->lsn_last = get_u64le(p + 16);
    s->file_bytes = get_u64le(p + 24);
    s->n_entries = get_u64le(p + 32);
    s->n_streams = get_u64le(p + 40);
    s->raw_bytes = get_u64le(p + 48);
    s->oid_first = get_u64le(p + 56);
    s->oid_last = get_u64le(p + 64);
    s->max_ms = get_u64le(p + 72);
    s->trailer_crc = get_u32le(p + 80);
    s->n_blocks = get_u32le(p + 84);
    s->level = p[88];
    return memcmp(p + 89, zeros, sizeof zeros) == 0;
}

/* ---- reading ---- */

static int manifest_damaged(struct err *e, const char *path, size_t pos, const char *what)
{
    return err_set(
        e, ERR_CORRUPT,
        "%s: is damaged at byte %zu (%s); `beck log repair` makes it anew from the files "
        "that are there, or restore a backup",
        path, pos, what);
}

/* Everything but the lists, whose bytes are n. */
static int manifest_check_head(const uint8_t *p, size_t n, const uint8_t *uuid, const char *path,
                               struct err *e)
{
    if (n < manifest_size(0, 0, 0))
        return manifest_damaged(e, path, n, "it ends within its header");
    if (memcmp(p, manifest_magic, sizeof manifest_magic) != 0)
        return manifest_damaged(e, path, 0, "it does not begin as a manifest");
    if (get_u32le(p + n - MANIFEST_CRC_BYTES) != crc32c(0, p, n - MANIFEST_CRC_BYTES))
        return manifest_damaged(e, path, n - MANIFEST_CRC_BYTES, "its checksum is wrong");
    if (get_u32le(p + 8) != MANIFEST_VERSION)
        return err_set(e, ERR_FORMAT,
                       "%s: is of format %u, this beckd knows %d; use the newer beckd", path,
                       (unsigned)get_u32le(p + 8), MANIFEST_VERSION);
    if (get_u32le(p + 16) != 0)
        return err_set(e, ERR_FORMAT,
                       "%s: needs features 0x%x that this beckd does not have; use the newer beckd",
                       path, (unsigned)get_u32le(p + 16));
    if (get_u32le(p + 20) != 0 || get_u32le(p + 92) != 0)
        return err_set(e, ERR_FORMAT, "%s: uses what only a newer beckd knows; use the newer beckd",
                       path);
    if (memcmp(p + 24, uuid, WAL_UUID_BYTES) != 0)
        return manifest_damaged(e, path, 24, "it belongs to another store");
    if (get_u32le(p + 80) > MANIFEST_SEGMENTS_MAX || get_u32le(p + 84) > MANIFEST_CHECKPOINTS_MAX ||
        get_u32le(p + 88) > MANIFEST_SEGMENTS_MAX ||
        n != manifest_size(get_u32le(p + 80), get_u32le(p + 84), get_u32le(p + 88)))
        return manifest_damaged(e, path, 80, "its length is not what its counts ask for");
    return OK;
}

static int manifest_get_lists(struct manifest *m, const uint8_t *start, const char *path,
                              struct err *e)
{
    const uint8_t *p = start + MANIFEST_HEAD_BYTES;

    for (size_t i = 0; i < m->n_checkpoints; i++, p += MANIFEST_CHECKPOINT_BYTES)
        if (!manifest_get_checkpoint(&m->checkpoints[i], p))
            return manifest_damaged(e, path, (size_t)(p - start), "a reserved byte is not zero");
    for (size_t i = 0; i < m->n_segments; i++, p += MANIFEST_SEGMENT_BYTES)
        if (!manifest_get_segment(&m->segments[i], p))
            return manifest_damaged(e, path, (size_t)(p - start), "a reserved byte is not zero");
    for (size_t i = 0; i < m->n_obsolete; i++, p += 8)
        m->obsolete[i] = get_u64le(p);
    return OK;
}

static int manifest_check_read(const struct manifest *m, const char *path, struct err *e)
{
    const char *flaw = manifest_flaw(m);
    bool sound;
    int rc;

    if (flaw != NULL)
        return manifest_damaged(e, path, MANIFEST_HEAD_BYTES, flaw);
    rc = manifest_check_ordinals(m, &sound, e);
    if (rc == OK && !sound)
        rc = manifest_damaged(e, path, MANIFEST_HEAD_BYTES, "two segments have one ordinal");
    return rc;
}

static int manifest_decode(struct manifest *m, const uint8_t *p, size_t n, const uint8_t *uuid,
                           const char *path, struct err *e)
{
    int rc = manifest_check_head(p, n, uuid, path, e);

    if (rc == OK)
        rc = manifest_make_room(m, get_u32le(p + 80), get_u32le(p + 88), e);
    if (rc != OK)
        return rc;
    manifest_get_head(m, p);
    rc = manifest_get_lists(m, p, path, e);
    if (rc == OK)
        rc = manifest_check_read(m, path, e);
    if (rc != OK)
        manifest_fini(m);
    return rc;
}

static int manifest_read_file(struct io *io, int fd, const char *path, const uint8_t *uuid,
                              struct manifest *out, struct err *e)
{
    uint64_t size;
    uint8_t *bytes;
    size_t got;
    int rc;

    if (io->size(io, fd, &size) != 0)
        return err_sys(e, ERR_IO, "%s: asking for its size", path);
    if (size > MANIFEST_BYTES_MAX)
        return manifest_damaged(e, path, MANIFEST_BYTES_MAX, "it is too long");
    bytes = malloc((size_t)size + 1);
    if (bytes == NULL)
        return err_set(e, ERR_NOMEM, "%s: no memory to read it", path);
    rc = file_read(io, fd, path, 0, bytes, (size_t)size, &got, e);
    if (rc == OK)
        rc = manifest_decode(out, bytes, got, uuid, path, e);
    free(bytes);
    return rc;
}

/* What a directory without MANIFEST has. */
struct manifest_remains {
    bool first_file; /* the log begins at LOG_FIRST_LSN: it has everything */
    bool sealed;     /* there are segments or checkpoints */
};

static int manifest_look(void *ctx, const char *name)
{
    struct manifest_remains *r = ctx;
    uint64_t number;
    bool unfinished = true;

    if (wal_name_parse(name, &number))
        r->first_file = r->first_file || number == LOG_FIRST_LSN;
    else if (segment_name_parse(name, &number, &unfinished) ||
             checkpoint_name_parse(name, &number, &unfinished))
        r->sealed = r->sealed || !unfinished;
    return 0;
}

/* A store has no manifest until something is sealed; until then its log is whole. */
static int manifest_check_absence(struct io *io, const char *dir, const char *path, struct err *e)
{
    struct manifest_remains r = { 0 };

    if (io->list(io, dir, manifest_look, &r) < 0)
        return err_sys(e, ERR_IO, "%s: listing the directory", dir);
    if (r.first_file || !r.sealed)
        return OK;
    return err_set(
        e, ERR_CORRUPT,
        "%s: is missing; `beck log repair` makes it anew from the files that are there, or "
        "restore a backup",
        path);
}

int manifest_read(struct io *io, const char *dir, const uint8_t *uuid, struct manifest *out,
                  bool *found, struct err *e)
{
    char path[CURSOR_PATH_MAX];
    int fd, rc;

    manifest_init(out);
    *found = false;
    file_path(path, dir, MANIFEST_NAME);
    fd = io->open(io, path, IO_READ);
    if (fd < 0 && errno == ENOENT)
        return manifest_check_absence(io, dir, path, e);
    if (fd < 0)
        return err_sys(e, ERR_IO, "%s: opening it", path);
    rc = manifest_read_file(io, fd, path, uuid, out, e);
    io->close(io, fd);
    *found = rc == OK;
    return rc;
}

int manifest_check(const struct manifest *m, struct err *e)
{
    const char *flaw = manifest_flaw(m);
    bool sound = true;
    int rc;

    if (flaw != NULL)
        return err_set(e, ERR_CORRUPT, "%s", flaw);
    rc = manifest_check_ordinals(m, &sound, e);
    if (rc == OK && !sound)
        rc = err_set(e, ERR_CORRUPT, "two segments have one ordinal");
    return rc;
}

/* ---- writing ---- */

static int manifest_encode(const struct manifest *m, const uint8_t *uuid, uint8_t **out, size_t *n,
                           struct err *e)
{
    uint8_t *bytes, *p;
    bool sound;
    int rc = manifest_check_ordinals(m, &sound, e);

    if (rc != OK)
        return rc;
    assert(sound); /* M2 */
    assert(manifest_flaw(m) == NULL);
    assert(m->n_segments <= MANIFEST_SEGMENTS_MAX);
    assert(m->n_obsolete <= MANIFEST_SEGMENTS_MAX);
    *n = manifest_size(m->n_segments, m->n_checkpoints, m->n_obsolete);
    bytes = calloc(1, *n);
    if (bytes == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a manifest of %zu segments", m->n_segments);
    p = manifest_put_head(bytes, uuid, m);
    for (size_t i = 0; i < m->n_checkpoints; i++)
        p = manifest_put_checkpoint(p, &m->checkpoints[i]);
    for (size_t i = 0; i < m->n_segments; i++)
        p = manifest_put_segment(p, &m->segments[i]);
    for (size_t i = 0; i < m->n_obsolete; i++, p += 8)
        put_u64le(p, m->obsolete[i]);
    put_u32le(p, crc32c(0, bytes, (size_t)(p - bytes)));
    *out = bytes;
    return OK;
}

static int manifest_write_temp(struct io *io, const char *path, uint8_t *bytes, size_t n,
                               struct err *e)
{
    struct iovec iov = { bytes, n };
    int fd, rc = OK;

    if (io->unlink(io, path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "%s: removing a left-over", path);
    fd = io->open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE);
    if (fd < 0)
        return err_sys(e, file_error(), "%s: creating it", path);
    rc = cursor_put(io, fd, path, &iov, 1, 0, e);
    if (rc == OK && io->fdatasync(io, fd) != 0)
        rc = err_sys(e, file_error(), "%s: syncing it", path);
    if (io->close(io, fd) != 0 && rc == OK)
        rc = err_sys(e, ERR_IO, "%s: closing it", path);
    return rc;
}

int manifest_write(struct io *io, const char *dir, const uint8_t *uuid, const struct manifest *m,
                   uint64_t *written, struct err *e)
{
    char path[CURSOR_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = manifest_encode(m, uuid, &bytes, &n, e);

    if (rc != OK)
        return rc;
    file_path(path, dir, MANIFEST_TEMP);
    rc = manifest_write_temp(io, path, bytes, n, e);
    free(bytes);
    if (rc == OK)
        rc = file_publish(io, dir, MANIFEST_TEMP, MANIFEST_NAME, e);
    if (rc != OK)
        io->unlink(io, path); /* gives its space back; a left-over is harmless */
    else
        *written += n;
    return rc;
}
