/* fuzz_segment.c - a segment in which anybody may have changed anything.
 *
 * The input is a list of changes to a sound file. Half of the inputs then have all checksums put right again, so
 * that what lies behind them is reached: opening, reading, counting, checking, surveying and merging have to end in one of
 * their answers, and where checking finds nothing wrong, the others have to agree with the list of streams. Without that
 * repair, whatever is read has to be what was written. A rescue always makes a sound segment of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/crc32c.h"
#include "log/entry.h"
#include "log/merge.h"
#include "log/rescue.h"
#include "log/segfile.h"
#include "log/survey.h"
#include "tests/lib/segments.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum flags { MANY_STREAMS = 1, REPAIR = 2, STRONG = 4, DEAD = 8, CHANGES = 16 };

enum { KEEP_FROM = 1070 }; /* of the changes, where the history begins */

enum { ZEROS = 3900 }; /* of the header, in which changes are all the same */

static void die(const char *what, const char *text)
{
    fprintf(stderr, "%s: %s\n", what, text);
    abort();
}

/* Anything but these is no answer to hostile bytes. */
static bool is_ok(int rc, const struct err *e)
{
    if (rc != OK && rc != ERR_CORRUPT && rc != ERR_FORMAT)
        die("an error of another kind", e->text);
    if (rc != OK && strstr(e->text, ".seg: at byte ") == NULL)
        die("an error that does not say where", e->text);
    return rc == OK;
}

/* ---- the file ---- */

static void make_entries(struct entries *l, bool many, bool changes)
{
    struct random r = { 77 };

    for (uint64_t i = 0; changes && i < 40; i++)
        entries_add(l, &r, LOG_CHANGES_OID, (struct id){ 1000 + i / 3, 1000 + 3 * i }, 5);
    for (uint64_t i = 0; i < (many ? 70 : 5); i++) {
        struct id last = { 1000 + i, 0 };
        entries_grow(l, &r, 1500 + 3 * i, &last, i % 4 == 2 ? 14 : 1 + i % 2, 5);
    }
}

static void change(uint8_t *file, size_t *n, const uint8_t *p)
{
    size_t at = (size_t)get_u16le(p) % (*n - ZEROS);

    at += at < 100 ? 0 : ZEROS;
    switch (p[2] % 6) {
    case 0: file[at] ^= p[3]; return;
    case 1: file[at] = p[3]; return;
    case 2: file[at] = (uint8_t)(file[at] + p[3] - 128); return;
    case 3:
        memset(file + at, p[3] & 0x80 ? 0xff : 0, (p[3] & 15) < *n - at ? p[3] & 15 : *n - at);
        return;
    case 4: memmove(file + at, file + p[3], *n - at < 16 ? *n - at : 16); return;
    default:
        if (p[3] < 8)
            *n = at + 1;
        return;
    }
}

/* ---- putting checksums right ---- */

struct repair {
    uint8_t *file;
    size_t n;
    uint64_t salt;
    uint32_t seed;
    size_t blocks_end;
};

static void repair_page(const struct repair *r, size_t pos, size_t end, size_t *bytes)
{
    *bytes = end - pos;
    if (*bytes < SEGFILE_PAGE_HEADER_BYTES)
        return;
    if (get_u32le(r->file + pos + 12) >= SEGFILE_PAGE_HEADER_BYTES &&
        get_u32le(r->file + pos + 12) < *bytes)
        *bytes = get_u32le(r->file + pos + 12);
    put_u32le(r->file + pos + 4, crc32c(r->seed, r->file + pos + 8, *bytes - 8));
}

/* The blocks that the items of an index page name. */
static void repair_blocks(const struct repair *r, size_t pos, size_t bytes)
{
    const uint8_t *p = r->file + pos + SEGFILE_PAGE_HEADER_BYTES, *end = r->file + pos + bytes;
    uint32_t no = get_u32le(r->file + pos + 20);
    uint64_t at = get_u64le(r->file + pos + 24);
    struct segment_block b = { 0 };

    for (bool first = true; segfile_get_block(&p, end, first, &b, &b); first = false) {
        if (at > r->blocks_end || b.bytes > r->blocks_end - at)
            return;
        block_stamp(r->file + at, b.bytes, r->salt, no++);
        at += b.bytes;
    }
}

static void repair(uint8_t *file, size_t n)
{
    uint8_t *tail = file + n - SEGMENT_TRAILER_BYTES;
    struct repair r = { .file = file, .n = n, .salt = get_u64le(file + 64) };
    uint64_t index = get_u64le(tail + 16), streams = get_u64le(tail + 24);
    uint64_t filter = get_u64le(tail + 32), keys = get_u64le(tail + 40);
    uint64_t end = n - SEGMENT_TRAILER_BYTES;
    size_t bytes;

    r.seed = wal_seed(r.salt);
    if (index > streams || streams > filter || filter > keys || keys > end)
        return;
    r.blocks_end = (size_t)index;
    for (size_t at = (size_t)index; at < streams; at += bytes) {
        repair_page(&r, at, (size_t)streams, &bytes);
        if (bytes >= SEGFILE_PAGE_HEADER_BYTES)
            repair_blocks(&r, at, bytes);
    }
    for (size_t at = (size_t)streams; at < filter; at += bytes)
        repair_page(&r, at, (size_t)filter, &bytes);
    put_u32le(file + SEGMENT_HEADER_BYTES - 4, crc32c(0, file, SEGMENT_HEADER_BYTES - 4));
    put_u32le(tail + 96, get_u32le(file + SEGMENT_HEADER_BYTES - 4));
    put_u32le(tail + 100, crc32c(r.seed, file + filter, (size_t)(keys - filter)));
    put_u32le(tail + 104, crc32c(r.seed, file + keys, (size_t)(end - keys)));
    put_u32le(tail + SEGMENT_TRAILER_BYTES - 4, crc32c(r.seed, tail, SEGMENT_TRAILER_BYTES - 4));
}

/* ---- what is tried ---- */

/* Reads all blocks; with `l`, they have to hold just that. */
static void try_blocks(struct segment *s, struct block_decoder *c, const struct entries *l)
{
    size_t at = 0;
    struct err e = { 0 };

    for (uint32_t i = 0; i < segment_n_pages(s); i++) {
        struct segment_page *page = NULL;
        if (!is_ok(segment_read_page(s, i, &page, &e), &e))
            return;
        for (uint32_t k = 0; k < page->n; k++) {
            struct block *b = NULL;
            if (!is_ok(segment_read_block(s, c, &page->blocks[k], &b, &e), &e)) {
                at += page->blocks[k].n;
                continue;
            }
            for (uint32_t row = 0; row < b->n && l != NULL; row++, at++)
                if (at >= l->n || b->offsets[row + 1] - b->offsets[row] != l->at[at].len ||
                    memcmp(block_entry(b, row), l->at[at].p, l->at[at].len) != 0)
                    die("a block", "holds what was not written");
            block_unref(b);
        }
        segment_page_unref(page);
    }
}

struct context {
    struct view *view;
    struct blockcache *cache;
    struct block_decoder *decoder;
    bool sound; /* segment_verify found nothing */
};

/* All that a reader can do with a stream; if the file is sound, it has what the list says. */
static void try_stream(const struct context *c, const struct segment_stream *st)
{
    struct sealed s = { .view = c->view, .n_segments = 1, .oid = st->oid, .last = ID_MAX };
    struct reader r;
    struct err e = { 0 };
    uint64_t n = 0, bytes = 0, seen = 0, most = segment_info(c->view->segments[0])->n_entries;
    struct id first;
    size_t len;
    bool ok;

    reader_init(&r, &s, c->cache, c->decoder, NULL);
    ok = is_ok(reader_count(&r, ID_MIN, ID_MAX, UINT64_MAX, &n, &bytes, &e), &e);
    if (c->sound && (!ok || n != st->n || bytes != st->raw_bytes))
        die("a count", "is not the list's");
    ok = is_ok(reader_seek(&r, ID_MIN, &e), &e);
    while (ok && reader_at(&r, &len) != NULL && seen <= most) {
        seen++;
        ok = is_ok(reader_next(&r, &e), &e);
    }
    if (seen > most || (c->sound && seen != st->n))
        die("a walk", "is not as long as the list says");
    ok = is_ok(reader_seek_back(&r, st->last, &e), &e);
    for (seen = 0; ok && reader_at(&r, &len) != NULL && seen <= most; seen++)
        ok = is_ok(reader_prev(&r, &e), &e);
    if (seen > most || (c->sound && seen != st->n))
        die("a walk back", "is not as long as the list says");
    ok = is_ok(reader_seek_lsn(&r, st->last.seq, &e), &e);
    if (c->sound && st->oid == LOG_CHANGES_OID && (!ok || reader_at(&r, &len) == NULL))
        die("a change", "is not found by its LSN");
    is_ok(reader_seek_nth(&r, st->n / 2, &bytes, &e), &e);
    is_ok(reader_cut(&r, st->n / 2, UINT64_MAX, ID_MAX, &first, &n, &bytes, &e), &e);
    reader_fini(&r);
}

static void try_streams(struct segment *s, const struct context *c)
{
    struct segment_streams *it = NULL;
    struct segment_stream st;
    struct err e = { 0 };
    bool more = true;

    if (segment_streams_open(s, &it, &e) != OK)
        die("segment_streams_open", e.text);
    while (is_ok(segment_streams_next(it, &st, &more, &e), &e) && more)
        try_stream(c, &st);
    segment_streams_close(it);
}

/* Half of the changes live. */
static uint64_t count_changes(void *ctx, uint64_t first, uint64_t last)
{
    (void)ctx;
    return (last - first) / 2;
}

static void live_changes(void *ctx, uint64_t first, uint64_t n, uint64_t *bits)
{
    (void)ctx;
    memset(bits, (int)(0x5a + first % 2), (size_t)((n + 63) / 64) * sizeof *bits);
}

/* Every other stream has a floor, every third deleted entries. */
static void answer(struct states *states, bool dead, struct delset *deletes)
{
    const struct log_host host = { .count_changes = count_changes, .live_changes = live_changes };

    if (states->changes.asked) {
        states_answer_changes(states, &host);
        return;
    }
    for (size_t i = 0; i < states->n; i++) {
        states->states[i] = (struct log_stream_state){ .alive = true, .codec = LOG_CODEC_LZ4 };
        if (dead && states->oids[i] == LOG_CHANGES_OID) {
            states->states[i].keep_from.seq = KEEP_FROM;
            continue;
        }
        if (dead && i % 2 == 0)
            states->states[i].floor = (struct id){ 2000, 0 };
        if (dead && i % 3 == 0)
            states->states[i].deletes = delset_ref(deletes);
    }
}

static void try_merge(struct simio *disk, struct segment *s, uint8_t flags, bool sound,
                      struct delset *deletes)
{
    struct merge_options o = { .inputs = &s, .n_inputs = 1, .strong = (flags & STRONG) != 0 };
    bool dead = (flags & DEAD) != 0;
    struct merge *m = NULL;
    struct segment_info info = { 0 };
    struct err e = { 0 };
    enum step step = STEP_WORKS;
    bool ok = true;

    segments_options(disk, 2, 100, &o.out);
    if (merge_new(&o, &m, &e) != OK)
        die("merge_new", e.text);
    while (ok && step != STEP_DONE) {
        ok = is_ok(merge_step(m, &step, &e), &e);
        if (ok && step == STEP_ASKS)
            answer(merge_states(m), dead, deletes);
    }
    if (sound && !dead &&
        (!ok || merge_result(m, &info) != (segment_info(s)->n_entries > 0) ||
         info.n_entries != segment_info(s)->n_entries ||
         info.raw_bytes != segment_info(s)->raw_bytes))
        die("a merge", "of a sound segment does not have all of it");
    merge_free(m);
}

static void try_survey(struct segment *s, bool sound, struct delset *deletes)
{
    struct survey *v = NULL;
    struct err e = { 0 };
    enum step step = STEP_WORKS;
    bool ok = true;

    if (survey_new(s, &v, &e) != OK)
        die("survey_new", e.text);
    while (ok && step != STEP_DONE) {
        ok = is_ok(survey_step(v, &step, &e), &e);
        if (ok && step == STEP_ASKS)
            answer(survey_states(v), true, deletes);
    }
    if (sound && !ok)
        die("a survey", e.text);
    survey_free(v);
}

static void try_all(struct simio *disk, struct segment *s, const struct entries *l, uint8_t flags)
{
    struct context c = { .view = view_new(&s, 1), .decoder = block_decoder_new() };
    struct delset *deletes = NULL;
    struct err e = { 0 };

    if (c.view == NULL || c.decoder == NULL || blockcache_new(1 << 20, &c.cache, &e) != OK ||
        delset_reserve(&deletes, 1, &e) != OK)
        abort();
    delset_add(&deletes, (struct id){ 1500, 0 });
    c.sound = is_ok(segment_verify(s, NULL, NULL, &e), &e);
    try_blocks(s, c.decoder, l);
    try_streams(s, &c);
    try_merge(disk, s, flags, c.sound, deletes);
    try_survey(s, c.sound, deletes);
    blockcache_free(c.cache);
    block_decoder_free(c.decoder);
    view_unref(c.view);
    delset_unref(deletes);
}

/* Of whatever the file is by now. */
static void try_rescue(struct simio *disk, const struct segment_info *info)
{
    struct rescue r = {
        .io = simio_io(disk), .dir = SEGMENTS_DIR, .uuid = segments_uuid, .info = info, .ordinal = 3
    };
    struct segment *s = NULL;
    struct err e = { 0 };

    if (rescue_run(&r, &e) != OK || segment_publish(simio_io(disk), SEGMENTS_DIR, 3, &e) != OK ||
        segment_open(simio_io(disk), SEGMENTS_DIR, segments_uuid, 3, &r.made, &s, &e) != OK ||
        segment_verify(s, NULL, NULL, &e) != OK)
        die("a rescue", e.text);
    if (r.n_lost == 0 && r.made.n_entries < info->n_entries)
        die("a rescue", "does not tell what is lost");
    segment_unref(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t flags = n > 0 ? p[0] : 0;
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct segment *s = NULL;
    struct segment_info info;
    struct err e = { 0 };
    char path[64];
    uint8_t *file;
    size_t size;
    const uint8_t *bytes;

    make_entries(&l, (flags & MANY_STREAMS) != 0, (flags & CHANGES) != 0);
    segments_write(disk, 1, 100, BLOCK_LZ4, &l, 0, l.n, &info);
    segments_path(1, path);
    bytes = simio_bytes(disk, path, &size);
    file = malloc(size);
    if (file == NULL)
        abort();
    memcpy(file, bytes, size);
    for (size_t i = 1; i + 4 <= n && size > SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES; i += 4)
        change(file, &size, p + i);
    if ((flags & REPAIR) != 0 && size >= SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES)
        repair(file, size);
    simio_put(disk, path, file, size);
    if (is_ok(segment_open(simio_io(disk), SEGMENTS_DIR, segments_uuid, 1, NULL, &s, &e), &e))
        try_all(disk, s, (flags & REPAIR) != 0 ? NULL : &l, flags);
    segment_unref(s);
    try_rescue(disk, &info);
    free(file);
    entries_fini(&l);
    simio_free(disk);
    return 0;
}
