/*
 * segment.c - reading a sealed file. What it looks like: segfile.c; how it is made: segment_write.c.
 *
 * A segment is to be found in, not to be loaded: what stays in memory is one key for each index page (4 KiB of
 * index describe some 300 blocks, about 10 MiB of entries) and the filter, 10 bits a stream. A search is: filter,
 * keys, one index page, one block; the last two are kept by the block cache (blockcache.c), if there is one.
 *
 * Opening reads header, trailer, keys and filter, and believes them because of their checksums. Everything else is
 * checked each time it is read from the file: a page or a block by its checksum, which is salted and has its number
 * in it, then by what it says, then the block against its item in the index. So a reader gets
 * what was written, or an error that names file and offset.
 *
 *   G1  Keys ascend, and the i-th is the first key of the i-th index page.
 *   G2  What an index page gives lies between the header and the index: a block is never larger than the file.
 *   G3  A decoded block has the rows, bytes, first and last key that its item says, and is of one stream if that says so.
 *
 * Nothing in an open segment changes but its count of references and the mark that it is bad, so any thread may use it;
 * pread has its own position.
 */
#include "log/segment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "log/crc32c.h"
#include "log/entry.h"
#include "log/segfile.h"

enum { SEGMENT_STREAMS_BUFFER = 4 * SEGFILE_PAGE_BYTES };

struct segment_key {
    uint64_t oid;
    struct id first;
    uint64_t pos; /* of the page */
};

struct segment {
    atomic_uint refs;
    atomic_bool bad;
    struct io *io; /* borrowed */
    int fd;
    char *path;
    uint32_t seed;
    struct segfile_header head;
    struct segfile_trailer tail;
    struct segment_info info;
    struct segment_key *keys; /* tail.n_index_pages of them */
    uint8_t *filter;
};

/* ---- opening ---- */

void segment_set_bad(struct segment *s)
{
    atomic_store_explicit(&s->bad, true, memory_order_relaxed);
}

bool segment_is_bad(const struct segment *s)
{
    return atomic_load_explicit(&s->bad, memory_order_relaxed);
}

/* What is wrong at `pos`, said with file and offset. */
static int segment_damage(struct segment *s, uint64_t pos, const char *what, struct err *e)
{
    segment_set_bad(s);
    return err_set(e, ERR_CORRUPT, "%s: at byte %llu: %s", s->path, (unsigned long long)pos, what);
}

static int segment_pread(struct segment *s, uint8_t *to, size_t n, uint64_t pos, struct err *e)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = s->io->pread(s->io, s->fd, to + have, n - have, pos + have);
        if (got < 0) {
            segment_set_bad(s);
            return err_sys(e, ERR_IO, "%s: reading at byte %llu", s->path,
                           (unsigned long long)(pos + have));
        }
        if (got == 0)
            return segment_damage(s, pos + have, "the file ends there", e);
        have += (size_t)got;
    }
    return OK;
}

/* Adds file and offset to an error about bytes that were read at `pos`. */
static int segment_place(struct segment *s, uint64_t pos, struct err *e)
{
    if (e->code == ERR_CORRUPT || e->code == ERR_FORMAT)
        segment_set_bad(s);
    return err_add(e, "%s: at byte %llu", s->path, (unsigned long long)pos);
}

static int segment_read_header(struct segment *s, const uint8_t *uuid, uint64_t ordinal,
                               uint32_t *crc, struct err *e)
{
    uint8_t *p = malloc(SEGMENT_HEADER_BYTES);
    int rc;

    if (p == NULL)
        return err_set(e, ERR_NOMEM, "no memory to open %s", s->path);
    rc = segment_pread(s, p, SEGMENT_HEADER_BYTES, 0, e);
    if (rc == OK && segfile_header_get(p, &s->head, crc, e) != OK)
        rc = segment_place(s, 0, e);
    free(p);
    if (rc != OK)
        return rc;
    if (memcmp(s->head.uuid, uuid, WAL_UUID_BYTES) != 0)
        return segment_damage(s, 24, "it belongs to another store", e);
    if (s->head.ordinal != ordinal)
        return segment_damage(s, 40, "it is another segment than its name says", e);
    s->seed = wal_seed(s->head.salt);
    return OK;
}

static int segment_read_trailer(struct segment *s, uint32_t header_crc, struct err *e)
{
    uint8_t p[SEGMENT_TRAILER_BYTES];
    uint64_t pos = s->info.file_bytes - SEGMENT_TRAILER_BYTES;
    int rc = segment_pread(s, p, sizeof p, pos, e);

    if (rc != OK)
        return rc;
    if (segfile_trailer_get(p, s->seed, s->info.file_bytes, &s->tail, &s->info.trailer_crc, e) !=
        OK)
        return segment_place(s, pos, e);
    if (s->tail.header_crc != header_crc)
        return segment_damage(s, pos, "its trailer is of another file", e);
    return OK;
}

static void segment_fill_info(struct segment *s)
{
    struct segment_info *i = &s->info; /* file_bytes and trailer_crc are there */

    i->ordinal = s->head.ordinal;
    i->lsn_first = s->head.lsn_first;
    i->lsn_last = s->head.lsn_last;
    i->level = s->head.level;
    i->n_blocks = s->tail.n_blocks;
    i->n_entries = s->tail.n_entries;
    i->n_streams = s->tail.n_streams;
    i->raw_bytes = s->tail.raw_bytes;
    i->oid_first = s->tail.oid_first;
    i->oid_last = s->tail.oid_last;
    i->max_ms = s->tail.max_ms;
}

/* Reads a section that lies in the file in one piece; the caller frees *out. */
static int segment_read_section(struct segment *s, uint64_t pos, uint64_t end, uint32_t crc,
                                const char *wrong, uint8_t **out, struct err *e)
{
    size_t n = (size_t)(end - pos);
    uint8_t *p = malloc(n > 0 ? n : 1);
    int rc;

    if (p == NULL)
        return err_set(e, ERR_NOMEM, "no memory to open %s", s->path);
    rc = segment_pread(s, p, n, pos, e);
    if (rc == OK && crc32c(s->seed, p, n) != crc)
        rc = segment_damage(s, pos, wrong, e);
    if (rc == OK)
        *out = p;
    else
        free(p);
    return rc;
}

static int segment_key_cmp(const struct segment_key *k, uint64_t oid, struct id id)
{
    if (k->oid != oid)
        return k->oid < oid ? -1 : 1;
    return id_cmp(k->first, id);
}

/* G1 as far as it can be seen without the pages, and that each page has a possible size. */
static bool segment_keys_fit(const struct segment *s)
{
    for (uint32_t i = 0; i < s->tail.n_index_pages; i++) {
        const struct segment_key *k = &s->keys[i];
        uint64_t next = i + 1 < s->tail.n_index_pages ? k[1].pos : s->tail.streams_pos;

        if (i == 0 && (k->pos != s->tail.index_pos || k->oid != s->tail.oid_first))
            return false;
        if (next < k->pos || next - k->pos <= SEGFILE_PAGE_HEADER_BYTES ||
            next - k->pos > SEGFILE_PAGE_BYTES)
            return false;
        if (i > 0 && segment_key_cmp(k - 1, k->oid, k->first) >= 0)
            return false;
    }
    return true;
}

static int segment_read_keys(struct segment *s, struct err *e)
{
    uint64_t pos = s->tail.keys_pos;
    uint8_t *p;
    int rc =
        segment_read_section(s, pos, s->info.file_bytes - SEGMENT_TRAILER_BYTES, s->tail.keys_crc,
                             "the checksum of the keys of its index is wrong", &p, e);

    if (rc != OK)
        return rc;
    s->keys = malloc(((size_t)s->tail.n_index_pages + 1) * sizeof *s->keys);
    for (uint32_t i = 0; s->keys != NULL && i < s->tail.n_index_pages; i++) {
        const uint8_t *at = p + (size_t)i * SEGFILE_KEY_BYTES;
        s->keys[i] = (struct segment_key){ .oid = get_u64le(at),
                                           .first = { get_u64le(at + 8), get_u64le(at + 16) },
                                           .pos = get_u64le(at + 24) };
    }
    free(p);
    if (s->keys == NULL)
        return err_set(e, ERR_NOMEM, "no memory to open %s", s->path);
    if (!segment_keys_fit(s))
        return segment_damage(s, pos, "the keys of its index are not in order", e);
    return OK;
}

/* Reads and checks all that stays in memory; s->fd is open. */
static int segment_load(struct segment *s, const uint8_t *uuid, uint64_t ordinal, struct err *e)
{
    uint32_t header_crc;
    int rc;

    if (s->io->size(s->io, s->fd, &s->info.file_bytes) != 0)
        return err_sys(e, ERR_IO, "%s: asking for its size", s->path);
    if (s->info.file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES)
        return segment_damage(s, s->info.file_bytes, "the file is too short for a segment", e);
    rc = segment_read_header(s, uuid, ordinal, &header_crc, e);
    if (rc == OK)
        rc = segment_read_trailer(s, header_crc, e);
    if (rc != OK)
        return rc;
    segment_fill_info(s);
    rc = segment_read_keys(s, e);
    if (rc == OK)
        rc = segment_read_section(s, s->tail.filter_pos, s->tail.keys_pos, s->tail.filter_crc,
                                  "the checksum of its filter is wrong", &s->filter, e);
    return rc;
}

static bool segment_info_equal(const struct segment_info *a, const struct segment_info *b)
{
    return a->ordinal == b->ordinal && a->lsn_first == b->lsn_first && a->lsn_last == b->lsn_last &&
           a->file_bytes == b->file_bytes && a->trailer_crc == b->trailer_crc &&
           a->n_blocks == b->n_blocks && a->n_entries == b->n_entries &&
           a->n_streams == b->n_streams && a->raw_bytes == b->raw_bytes &&
           a->oid_first == b->oid_first && a->oid_last == b->oid_last && a->max_ms == b->max_ms &&
           a->level == b->level;
}

static int segment_check_expected(struct segment *s, const struct segment_info *expect,
                                  struct err *e)
{
    if (expect == NULL || segment_info_equal(&s->info, expect))
        return OK;
    return segment_damage(s, s->info.file_bytes - SEGMENT_TRAILER_BYTES,
                          "it is not the file that the manifest names", e);
}

int segment_open(struct io *io, const char *dir, const uint8_t *uuid, uint64_t ordinal,
                 const struct segment_info *expect, struct segment **out, struct err *e)
{
    struct segment *s = calloc(1, sizeof *s);
    int rc;

    if (s == NULL)
        return err_set(e, ERR_NOMEM, "no memory to open a segment");
    atomic_init(&s->refs, 1);
    s->io = io;
    s->fd = -1;
    s->path = segfile_path(dir, ordinal, false);
    if (s->path == NULL) {
        rc = err_set(e, ERR_NOMEM, "no memory to open a segment");
        goto fail;
    }
    s->fd = io->open(io, s->path, IO_READ);
    if (s->fd < 0) {
        rc = err_sys(e, errno == ENOENT ? ERR_CORRUPT : ERR_IO, "%s: opening it", s->path);
        goto fail;
    }
    rc = segment_load(s, uuid, ordinal, e);
    if (rc == OK)
        rc = segment_check_expected(s, expect, e);
    if (rc != OK)
        goto fail;
    *out = s;
    return OK;

fail:
    segment_unref(s);
    return rc;
}

int segment_recheck(struct segment *s, struct err *e)
{
    struct segment again = { .io = s->io, .fd = s->fd, .path = s->path };
    int rc = segment_load(&again, s->head.uuid, s->head.ordinal, e);

    if (rc == OK)
        rc = segment_check_expected(&again, &s->info, e);
    free(again.keys);
    free(again.filter);
    if (segment_is_bad(&again))
        segment_set_bad(s);
    return rc;
}

struct segment *segment_ref(struct segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void segment_free(struct segment *s)
{
    if (s->fd >= 0)
        s->io->close(s->io, s->fd);
    free(s->path);
    free(s->keys);
    free(s->filter);
    free(s);
}

void segment_unref(struct segment *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        segment_free(s);
}

const struct segment_info *segment_info(const struct segment *s)
{
    return &s->info;
}

const char *segment_path(const struct segment *s)
{
    return s->path;
}

uint64_t segment_salt(const struct segment *s)
{
    return s->head.salt;
}

size_t segment_memory(const struct segment *s)
{
    return sizeof *s + (size_t)s->tail.n_index_pages * sizeof *s->keys +
           (size_t)(s->tail.keys_pos - s->tail.filter_pos);
}

bool segment_may_have(const struct segment *s, uint64_t oid)
{
    return s->tail.n_streams > 0 && oid >= s->tail.oid_first && oid <= s->tail.oid_last &&
           segfile_filter_has(s->filter, s->tail.n_streams, oid);
}

/* ---- the index ---- */

uint32_t segment_n_pages(const struct segment *s)
{
    return s->tail.n_index_pages;
}

void segment_page_key(const struct segment *s, uint32_t page, uint64_t *oid, struct id *first)
{
    assert(page < s->tail.n_index_pages);
    *oid = s->keys[page].oid;
    *first = s->keys[page].first;
}

uint64_t segment_page_pos(const struct segment *s, uint32_t page)
{
    assert(page < s->tail.n_index_pages);
    return s->keys[page].pos;
}

uint32_t segment_find_page(const struct segment *s, uint64_t oid, struct id id)
{
    uint32_t low = 0, high = s->tail.n_index_pages; /* the answer is low - 1 in the end */

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (segment_key_cmp(&s->keys[middle], oid, id) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

void segment_page_unref(struct segment_page *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

static uint64_t segment_page_end(const struct segment *s, uint32_t page)
{
    return page + 1 < s->tail.n_index_pages ? s->keys[page + 1].pos : s->tail.streams_pos;
}

/* Reads the items of a sound page; false if one is wrong (G1, G2). */
static bool segment_page_items(const struct segment *s, const struct segfile_page *head,
                               const uint8_t *p, uint32_t no, struct segment_page *page)
{
    const uint8_t *end = p + head->bytes;
    uint64_t pos = head->first_pos;

    p += SEGFILE_PAGE_HEADER_BYTES;
    if (pos < SEGMENT_HEADER_BYTES || head->n > s->tail.n_blocks ||
        head->first_block > s->tail.n_blocks - head->n)
        return false;
    for (uint32_t i = 0; i < head->n; i++) {
        struct segment_block *b = &page->blocks[i];
        if (!segfile_get_block(&p, end, i == 0, i == 0 ? NULL : b - 1, b) ||
            pos > s->tail.index_pos || b->bytes > s->tail.index_pos - pos)
            return false;
        b->block_no = head->first_block + i;
        b->pos = pos;
        pos += b->bytes;
    }
    return p == end && page->blocks[0].oid == s->keys[no].oid &&
           id_cmp(page->blocks[0].first, s->keys[no].first) == 0;
}

static int segment_decode_page(struct segment *s, uint32_t no, const uint8_t *p, size_t n,
                               struct segment_page **out, struct err *e)
{
    struct segfile_page head;
    struct segment_page *page;
    size_t memory;

    if (segfile_page_get(p, n, SEGFILE_INDEX, s->seed, no, &head, e) != OK)
        return segment_place(s, s->keys[no].pos, e);
    memory = sizeof *page + head.n * sizeof page->blocks[0]; /* an item has at least 8 bytes */
    if (head.bytes != n || head.n > n / 8)
        return segment_damage(s, s->keys[no].pos, "an index page has another size", e);
    page = malloc(memory);
    if (page == NULL)
        return err_set(e, ERR_NOMEM, "no memory for an index page of %s", s->path);
    atomic_init(&page->refs, 1);
    page->memory = memory;
    page->n = head.n;
    if (!segment_page_items(s, &head, p, no, page)) {
        free(page);
        return segment_damage(s, s->keys[no].pos, "an index page is not in order", e);
    }
    *out = page;
    return OK;
}

int segment_read_page(struct segment *s, uint32_t page, struct segment_page **out, struct err *e)
{
    uint8_t p[SEGFILE_PAGE_BYTES];
    size_t n;
    int rc;

    assert(page < s->tail.n_index_pages);
    n = (size_t)(segment_page_end(s, page) - s->keys[page].pos);
    assert(n <= sizeof p); /* segment_keys_fit */
    rc = segment_pread(s, p, n, s->keys[page].pos, e);
    return rc == OK ? segment_decode_page(s, page, p, n, out, e) : rc;
}

/* ---- blocks ---- */

/* Reads the block's bytes; the caller frees *out. */
static int segment_fetch(struct segment *s, const struct segment_block *at, uint8_t **out,
                         struct err *e)
{
    uint8_t *p = malloc(at->bytes); /* no more than the file has: G2 */
    int rc;

    if (p == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a block of %s", s->path);
    rc = segment_pread(s, p, at->bytes, at->pos, e);
    if (rc == OK)
        *out = p;
    else
        free(p);
    return rc;
}

static struct id segment_row_id(const struct block *b, uint32_t i)
{
    struct id id;

    entry_id(block_entry(b, i), &id);
    return id;
}

/* G3. */
static bool segment_block_fits(const struct block *b, const struct segment_block *at)
{
    return b->n == at->n && b->offsets[b->n] == at->raw_bytes && b->runs[0].oid == at->oid &&
           (b->n_runs == 1) == at->one_stream && id_cmp(segment_row_id(b, 0), at->first) == 0 &&
           id_cmp(segment_row_id(b, b->n - 1), at->last) == 0;
}

int segment_read_block(struct segment *s, struct block_decoder *c, const struct segment_block *at,
                       struct block **out, struct err *e)
{
    struct block *b = NULL;
    uint8_t *p = NULL;
    int rc = segment_fetch(s, at, &p, e);

    if (rc != OK)
        return rc;
    rc = block_decode(c, p, at->bytes, s->head.salt, at->block_no, &b, e);
    free(p);
    if (rc != OK)
        return segment_place(s, at->pos, e);
    if (!segment_block_fits(b, at)) {
        block_unref(b);
        return segment_damage(s, at->pos, "a block is not what the index says", e);
    }
    *out = b;
    return OK;
}

int segment_read_raw(struct segment *s, const struct segment_block *at, uint8_t *to,
                     struct block_head *head, struct err *e)
{
    struct block_head h;
    int rc = segment_pread(s, to, at->bytes, at->pos, e);

    if (rc != OK)
        return rc;
    if (block_verify(to, at->bytes, s->head.salt, at->block_no, &h, e) != OK)
        return segment_place(s, at->pos, e);
    if (h.n != at->n || h.raw_bytes != at->raw_bytes)
        return segment_damage(s, at->pos, "a block is not what the index says", e);
    *head = h;
    return OK;
}

/* ---- the list of streams ---- */

struct segment_streams {
    struct segment *segment; /* a reference */
    uint64_t pos;            /* in the file, of what is behind the buffer */
    size_t at, n;            /* what the buffer still has */
    const uint8_t *item, *end;
    uint32_t left, page; /* items of the open page; the number of the next one */
    struct segment_stream last;
    uint64_t n_streams, n_entries, raw_bytes; /* given so far */
    uint8_t buffer[SEGMENT_STREAMS_BUFFER];
};

int segment_streams_open(struct segment *s, struct segment_streams **out, struct err *e)
{
    struct segment_streams *it = malloc(sizeof *it);

    if (it == NULL)
        return err_set(e, ERR_NOMEM, "no memory to read the streams of %s", s->path);
    memset(it, 0, offsetof(struct segment_streams, buffer));
    it->segment = segment_ref(s);
    it->pos = s->tail.streams_pos;
    *out = it;
    return OK;
}

void segment_streams_close(struct segment_streams *it)
{
    if (it == NULL)
        return;
    segment_unref(it->segment);
    free(it);
}

/* Where in the file the buffer's next byte lies. */
static uint64_t segment_streams_pos(const struct segment_streams *it)
{
    return it->pos - (it->n - it->at);
}

/* Has a whole page in the buffer, if there are so many bytes left. */
static int segment_streams_fill(struct segment_streams *it, struct err *e)
{
    uint64_t left = it->segment->tail.filter_pos - it->pos;
    size_t keep = it->n - it->at, n = sizeof it->buffer - keep;
    int rc;

    if (keep >= SEGFILE_PAGE_BYTES || left == 0)
        return OK;
    memmove(it->buffer, it->buffer + it->at, keep);
    it->at = 0;
    it->n = keep;
    if (n > left)
        n = (size_t)left;
    rc = segment_pread(it->segment, it->buffer + keep, n, it->pos, e);
    if (rc != OK)
        return rc;
    it->n += n;
    it->pos += n;
    return OK;
}

static int segment_streams_turn(struct segment_streams *it, struct err *e)
{
    struct segment *s = it->segment;
    struct segfile_page page;
    int rc = segment_streams_fill(it, e);

    if (rc != OK)
        return rc;
    if (segfile_page_get(it->buffer + it->at, it->n - it->at, SEGFILE_STREAMS, s->seed, it->page,
                         &page, e) != OK)
        return segment_place(s, segment_streams_pos(it), e);
    it->item = it->buffer + it->at + SEGFILE_PAGE_HEADER_BYTES;
    it->end = it->buffer + it->at + page.bytes;
    it->at += page.bytes;
    it->left = page.n;
    it->page++;
    return OK;
}

/* Whether the list that ended gave what the trailer says. */
static int segment_streams_end(struct segment_streams *it, struct err *e)
{
    const struct segfile_trailer *t = &it->segment->tail;

    if (it->at != it->n || it->pos != t->filter_pos || it->n_streams != t->n_streams ||
        it->n_entries != t->n_entries || it->raw_bytes != t->raw_bytes ||
        it->last.oid != t->oid_last)
        return segment_damage(it->segment, t->streams_pos, "the list of streams is not complete",
                              e);
    return OK;
}

/* Whether the stream fits what has come before, in this page and in those before. */
static bool segment_streams_fit(const struct segment_streams *it, const struct segment_stream *s)
{
    const struct segfile_trailer *t = &it->segment->tail;

    return (it->n_streams == 0 ? s->oid == t->oid_first : s->oid > it->last.oid) &&
           s->n <= t->n_entries - it->n_entries && s->raw_bytes <= t->raw_bytes - it->raw_bytes;
}

int segment_streams_next(struct segment_streams *it, struct segment_stream *out, bool *more,
                         struct err *e)
{
    struct segment_stream s;
    bool first = it->left == 0;
    int rc;

    if (first && it->page == it->segment->tail.n_stream_pages) {
        *more = false;
        return segment_streams_end(it, e);
    }
    if (first) {
        rc = segment_streams_turn(it, e);
        if (rc != OK)
            return rc;
    }
    if (!segfile_get_stream(&it->item, it->end, first, &it->last, &s) ||
        !segment_streams_fit(it, &s) || (--it->left == 0 && it->item != it->end))
        return segment_damage(it->segment, segment_streams_pos(it),
                              "the list of streams is not in order before there", e);
    it->last = s;
    it->n_streams++;
    it->n_entries += s.n;
    it->raw_bytes += s.raw_bytes;
    *out = s;
    *more = true;
    return OK;
}
