/*
 * segfile.c - the bytes of a segment that are not blocks. docs/format.md defines them; this is the same in
 * code.
 *
 *   file    | header, 4 KiB | block | block | ... | index pages | list of streams | filter | keys | trailer
 *
 *           0       8     12      16       20      21  24     40        48          56         64     72  4092
 *   header  | magic | ver | compat| incompat| level | 0 | uuid | ordinal | lsn first | lsn last | salt | 0 | crc
 *
 *           0       4     8    12      16  20            24             32
 *   page    | magic | crc | no | bytes | n | first block | its position | items
 *
 *   block   oid - oid before, 2 n + (1: one stream), raw bytes, bytes, id first, id last
 *   stream  oid - oid before, n, raw bytes, ms of its last ID - that before (zigzag), seq of its last ID
 *
 *   key     | oid | id of the first row, 16 | position of the page |      one for each index page
 *
 * Items are varints. In a block's item, ms of `first` is what it is above the first ID of the item before if that
 * is of the same oid, and ms of `last` what it is above `first` if all rows are of one stream. A page's
 * first item stands for itself, as if 0 were before it. A page begins anew before it could exceed 4 KiB.
 *
 * The checksums of pages, filter, keys and trailer start from the file's salt, as those of blocks do, and a page has its
 * number in it: nothing that was read from another place passes. The trailer has the header's checksum, so it stands
 * for everything but blocks and pages, which are checked when they are read.
 *
 * Filter: for up to 64 streams, their oids. For more, a Bloom filter of 10 bits a stream in lines of 64 bytes (Putze,
 * Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007): a stream has one line, chosen by one
 * hash, and seven bits in it, 9 bits of another hash each. About one no in eighty is not said.
 */
#include "log/segfile.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/crc32c.h"

static const char segfile_head_magic[8] = "BECKSEG"; /* with its final zero */
static const char segfile_tail_magic[8] = "BECKEND";
static const uint32_t segfile_page_magic[] = {
    [SEGFILE_INDEX] = 0x31584942,   /* "BIX1" */
    [SEGFILE_STREAMS] = 0x31545342, /* "BST1" */
};

enum {
    SEGFILE_ITEM_MAX = 4 * VARINT_MAX + 4 * VARINT_MAX, /* bytes of an item, at most */
    SEGFILE_BLOCK_MIN = BLOCK_HEADER_BYTES + 1,
    SEGFILE_LINE_BITS = 10, /* of the filter, for one stream */
    SEGFILE_PROBES = 7,
};

static bool segfile_all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* ---- names ---- */

void segment_name(uint64_t ordinal, bool unfinished, char out[SEGMENT_NAME_MAX])
{
    snprintf(out, SEGMENT_NAME_MAX, "st-%020" PRIu64 ".seg%s", ordinal, unfinished ? ".tmp" : "");
}

bool segment_name_parse(const char *name, uint64_t *ordinal, bool *unfinished)
{
    enum { PREFIX = 3, DIGITS = 20, SUFFIX = 4, TMP = 4 };
    char again[SEGMENT_NAME_MAX];
    uint64_t n = 0;
    size_t len = strlen(name);
    bool tmp = len == PREFIX + DIGITS + SUFFIX + TMP;

    if (!tmp && len != PREFIX + DIGITS + SUFFIX)
        return false;
    for (int i = 0; i < DIGITS; i++)
        n = n * 10 + (uint64_t)(name[PREFIX + i] - '0'); /* wraps on nonsense: compared below */
    segment_name(n, tmp, again);
    if (strcmp(name, again) != 0)
        return false;
    *ordinal = n;
    *unfinished = tmp;
    return true;
}

char *segfile_path(const char *dir, uint64_t ordinal, bool unfinished)
{
    size_t n = strlen(dir) + 1 + SEGMENT_NAME_MAX;
    char name[SEGMENT_NAME_MAX], *path = malloc(n);

    if (path == NULL)
        return NULL;
    segment_name(ordinal, unfinished, name);
    snprintf(path, n, "%s/%s", dir, name);
    return path;
}

/* ---- header and trailer ---- */

uint32_t segfile_header_put(uint8_t *p, const struct segfile_header *h)
{
    uint32_t crc;

    memset(p, 0, SEGMENT_HEADER_BYTES);
    memcpy(p, segfile_head_magic, sizeof segfile_head_magic);
    put_u32le(p + 8, SEGFILE_VERSION);
    p[20] = h->level;
    memcpy(p + 24, h->uuid, WAL_UUID_BYTES);
    put_u64le(p + 40, h->ordinal);
    put_u64le(p + 48, h->lsn_first);
    put_u64le(p + 56, h->lsn_last);
    put_u64le(p + 64, h->salt);
    crc = crc32c(0, p, SEGMENT_HEADER_BYTES - 4);
    put_u32le(p + SEGMENT_HEADER_BYTES - 4, crc);
    return crc;
}

int segfile_header_get(const uint8_t *p, struct segfile_header *out, uint32_t *crc, struct err *e)
{
    struct segfile_header h;
    uint32_t sum = crc32c(0, p, SEGMENT_HEADER_BYTES - 4);

    if (memcmp(p, segfile_head_magic, sizeof segfile_head_magic) != 0)
        return err_set(e, ERR_CORRUPT, "does not begin as a segment does");
    if (get_u32le(p + SEGMENT_HEADER_BYTES - 4) != sum)
        return err_set(e, ERR_CORRUPT, "the checksum of its header is wrong");
    if (get_u32le(p + 8) != SEGFILE_VERSION)
        return err_set(e, ERR_FORMAT, "is of format %u, which a newer beckd wrote",
                       (unsigned)get_u32le(p + 8));
    if (get_u32le(p + 16) != 0)
        return err_set(e, ERR_FORMAT, "needs features 0x%x that this beckd does not have",
                       (unsigned)get_u32le(p + 16));
    if (!segfile_all_zero(p + 21, 3) || !segfile_all_zero(p + 72, SEGMENT_HEADER_BYTES - 4 - 72))
        return err_set(e, ERR_FORMAT, "uses what only a newer beckd knows");
    h.level = p[20];
    memcpy(h.uuid, p + 24, WAL_UUID_BYTES);
    h.ordinal = get_u64le(p + 40);
    h.lsn_first = get_u64le(p + 48);
    h.lsn_last = get_u64le(p + 56);
    h.salt = get_u64le(p + 64);
    if (h.lsn_first > h.lsn_last)
        return err_set(e, ERR_CORRUPT, "its header gives impossible LSNs");
    *out = h;
    *crc = sum;
    return OK;
}

uint32_t segfile_trailer_put(uint8_t *p, uint32_t seed, const struct segfile_trailer *t)
{
    uint32_t crc;

    memset(p, 0, SEGMENT_TRAILER_BYTES);
    memcpy(p, segfile_tail_magic, sizeof segfile_tail_magic);
    put_u32le(p + 8, t->n_blocks);
    put_u32le(p + 12, t->n_index_pages);
    put_u64le(p + 16, t->index_pos);
    put_u64le(p + 24, t->streams_pos);
    put_u64le(p + 32, t->filter_pos);
    put_u64le(p + 40, t->keys_pos);
    put_u64le(p + 48, t->n_entries);
    put_u64le(p + 56, t->n_streams);
    put_u64le(p + 64, t->raw_bytes);
    put_u64le(p + 72, t->oid_first);
    put_u64le(p + 80, t->oid_last);
    put_u64le(p + 88, t->max_ms);
    put_u32le(p + 96, t->header_crc);
    put_u32le(p + 100, t->filter_crc);
    put_u32le(p + 104, t->keys_crc);
    put_u32le(p + 108, t->n_stream_pages);
    crc = crc32c(seed, p, SEGMENT_TRAILER_BYTES - 4);
    put_u32le(p + SEGMENT_TRAILER_BYTES - 4, crc);
    return crc;
}

/* Whether the sections follow one another in the file, each of a size that fits what it is said to hold. */
static bool segfile_sections_fit(const struct segfile_trailer *t, uint64_t file_bytes)
{
    uint64_t end = file_bytes - SEGMENT_TRAILER_BYTES; /* the caller has seen that it is not less */

    return t->index_pos >= SEGMENT_HEADER_BYTES && t->index_pos <= t->streams_pos &&
           t->streams_pos <= t->filter_pos && t->filter_pos <= t->keys_pos && t->keys_pos <= end &&
           end - t->keys_pos == (uint64_t)t->n_index_pages * SEGFILE_KEY_BYTES &&
           t->keys_pos - t->filter_pos == segfile_filter_bytes(t->n_streams) &&
           (t->index_pos - SEGMENT_HEADER_BYTES) / SEGFILE_BLOCK_MIN >= t->n_blocks &&
           (t->streams_pos - t->index_pos) / SEGFILE_PAGE_HEADER_BYTES >= t->n_index_pages &&
           (t->filter_pos - t->streams_pos) / SEGFILE_PAGE_HEADER_BYTES >= t->n_stream_pages;
}

static bool segfile_totals_fit(const struct segfile_trailer *t)
{
    if (t->n_blocks == 0)
        return t->n_index_pages == 0 && t->n_stream_pages == 0 && t->n_entries == 0 &&
               t->n_streams == 0 && t->raw_bytes == 0 && t->oid_first == 0 && t->oid_last == 0 &&
               t->max_ms == 0 && t->index_pos == SEGMENT_HEADER_BYTES;
    return t->n_index_pages > 0 && t->n_index_pages <= t->n_blocks && t->n_stream_pages > 0 &&
           t->n_stream_pages <= t->n_streams && t->n_entries >= t->n_blocks &&
           t->n_entries <= (uint64_t)t->n_blocks * BLOCK_ROWS_MAX && t->n_streams > 0 &&
           t->n_streams <= t->n_entries && t->oid_first <= t->oid_last &&
           (t->oid_first == t->oid_last) == (t->n_streams == 1);
}

int segfile_trailer_get(const uint8_t *p, uint32_t seed, uint64_t file_bytes,
                        struct segfile_trailer *out, uint32_t *crc, struct err *e)
{
    struct segfile_trailer t;
    uint32_t sum = crc32c(seed, p, SEGMENT_TRAILER_BYTES - 4);

    if (memcmp(p, segfile_tail_magic, sizeof segfile_tail_magic) != 0)
        return err_set(e, ERR_CORRUPT, "does not end as a segment does");
    if (get_u32le(p + SEGMENT_TRAILER_BYTES - 4) != sum)
        return err_set(e, ERR_CORRUPT, "the checksum of its trailer is wrong");
    if (!segfile_all_zero(p + 112, SEGMENT_TRAILER_BYTES - 4 - 112))
        return err_set(e, ERR_FORMAT, "uses what only a newer beckd knows");
    t.n_blocks = get_u32le(p + 8);
    t.n_index_pages = get_u32le(p + 12);
    t.index_pos = get_u64le(p + 16);
    t.streams_pos = get_u64le(p + 24);
    t.filter_pos = get_u64le(p + 32);
    t.keys_pos = get_u64le(p + 40);
    t.n_entries = get_u64le(p + 48);
    t.n_streams = get_u64le(p + 56);
    t.raw_bytes = get_u64le(p + 64);
    t.oid_first = get_u64le(p + 72);
    t.oid_last = get_u64le(p + 80);
    t.max_ms = get_u64le(p + 88);
    t.header_crc = get_u32le(p + 96);
    t.filter_crc = get_u32le(p + 100);
    t.keys_crc = get_u32le(p + 104);
    t.n_stream_pages = get_u32le(p + 108);
    if (!segfile_totals_fit(&t) || !segfile_sections_fit(&t, file_bytes))
        return err_set(e, ERR_CORRUPT, "its trailer gives impossible sizes");
    *out = t;
    *crc = sum;
    return OK;
}

/* ---- pages ---- */

static void segfile_page_begin(struct segfile_pages *b, uint32_t block_no, uint64_t pos)
{
    uint8_t *p = b->p + b->n;

    memset(p, 0, SEGFILE_PAGE_HEADER_BYTES);
    put_u32le(p + 20, block_no);
    put_u64le(p + 24, pos);
    b->open = b->n;
    b->n += SEGFILE_PAGE_HEADER_BYTES;
    b->items = 0;
}

int segfile_pages_room(struct segfile_pages *b, enum segfile_kind kind, uint32_t seed,
                       uint32_t block_no, uint64_t pos, bool *began, struct err *e)
{
    *began = false;
    if (b->n - b->open + SEGFILE_ITEM_MAX > SEGFILE_PAGE_BYTES)
        segfile_pages_end(b, kind, seed);
    if (b->cap - b->n < SEGFILE_PAGE_BYTES) {
        size_t cap = b->cap == 0 ? 4 * (size_t)SEGFILE_PAGE_BYTES : 2 * b->cap;
        uint8_t *p = realloc(b->p, cap);
        if (p == NULL)
            return err_set(e, ERR_NOMEM, "no memory for the index of a segment");
        b->p = p;
        b->cap = cap;
    }
    if (b->open == b->n) {
        segfile_page_begin(b, block_no, pos);
        *began = true;
    }
    return OK;
}

void segfile_pages_end(struct segfile_pages *b, enum segfile_kind kind, uint32_t seed)
{
    uint8_t *p = b->p + b->open;
    size_t n = b->n - b->open;

    if (n == 0)
        return;
    assert(n <= SEGFILE_PAGE_BYTES && b->items > 0);
    put_u32le(p, segfile_page_magic[kind]);
    put_u32le(p + 8, b->n_pages++);
    put_u32le(p + 12, (uint32_t)n);
    put_u32le(p + 16, b->items);
    put_u32le(p + 4, crc32c(seed, p + 8, n - 8));
    b->open = b->n;
}

int segfile_page_get(const uint8_t *p, size_t n, enum segfile_kind kind, uint32_t seed, uint32_t no,
                     struct segfile_page *out, struct err *e)
{
    struct segfile_page page;

    if (n < SEGFILE_PAGE_HEADER_BYTES || get_u32le(p) != segfile_page_magic[kind])
        return err_set(e, ERR_CORRUPT, "no page begins there");
    page.no = get_u32le(p + 8);
    page.bytes = get_u32le(p + 12);
    page.n = get_u32le(p + 16);
    page.first_block = get_u32le(p + 20);
    page.first_pos = get_u64le(p + 24);
    if (page.bytes < SEGFILE_PAGE_HEADER_BYTES || page.bytes > n ||
        page.bytes > SEGFILE_PAGE_BYTES || get_u32le(p + 4) != crc32c(seed, p + 8, page.bytes - 8))
        return err_set(e, ERR_CORRUPT, "the checksum of a page is wrong");
    if (page.no != no || page.n == 0 || page.n > page.bytes - SEGFILE_PAGE_HEADER_BYTES ||
        (kind == SEGFILE_STREAMS && (page.first_block != 0 || page.first_pos != 0)))
        return err_set(e, ERR_CORRUPT, "a page is not the one that belongs there");
    *out = page;
    return OK;
}

void segfile_put_block(struct segfile_pages *b, const struct segment_block *prev,
                       const struct segment_block *block)
{
    bool same = prev != NULL && prev->oid == block->oid;
    uint8_t *p = b->p + b->n;

    p = varint_put(p, block->oid - (prev != NULL ? prev->oid : 0));
    p = varint_put(p, (uint64_t)block->n << 1 | block->one_stream);
    p = varint_put(p, block->raw_bytes);
    p = varint_put(p, block->bytes);
    p = varint_put(p, block->first.ms - (same ? prev->first.ms : 0));
    p = varint_put(p, block->first.seq);
    p = varint_put(p, block->last.ms - (block->one_stream ? block->first.ms : 0));
    p = varint_put(p, block->last.seq);
    b->n = (size_t)(p - b->p);
    b->items++;
}

static bool segfile_get_u32(const uint8_t **p, const uint8_t *end, uint32_t min, uint32_t max,
                            uint32_t *out)
{
    uint64_t v;

    if (!varint_get(p, end, &v) || v < min || v > max)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* A varint, and `base` added to it. */
static bool segfile_get_above(const uint8_t **p, const uint8_t *end, uint64_t base, uint64_t *out)
{
    uint64_t v;

    return varint_get(p, end, &v) && !__builtin_add_overflow(base, v, out);
}

bool segfile_get_block(const uint8_t **p, const uint8_t *end, bool first,
                       const struct segment_block *prev, struct segment_block *out)
{
    struct segment_block b = { 0 };
    uint64_t shape;
    bool same;

    if (!segfile_get_above(p, end, first ? 0 : prev->oid, &b.oid) || !varint_get(p, end, &shape) ||
        shape >> 1 == 0 || shape >> 1 > BLOCK_ROWS_MAX)
        return false;
    b.n = (uint32_t)(shape >> 1);
    b.one_stream = (shape & 1) != 0;
    same = !first && b.oid == prev->oid;
    if (!segfile_get_u32(p, end, 1, BLOCK_RAW_MAX, &b.raw_bytes) ||
        !segfile_get_u32(p, end, SEGFILE_BLOCK_MIN, UINT32_MAX, &b.bytes) ||
        !segfile_get_above(p, end, same ? prev->first.ms : 0, &b.first.ms) ||
        !varint_get(p, end, &b.first.seq) ||
        !segfile_get_above(p, end, b.one_stream ? b.first.ms : 0, &b.last.ms) ||
        !varint_get(p, end, &b.last.seq))
        return false;
    if (b.one_stream ? id_cmp(b.first, b.last) > 0 || (b.n > 1) != (id_cmp(b.first, b.last) < 0)
                     : b.n < 2)
        return false;
    /* What follows a block is behind its last row; where that is of another stream, behind its first. */
    if (same && (!prev->one_stream || id_cmp(prev->last, b.first) >= 0))
        return false;
    *out = b;
    return true;
}

static uint64_t segfile_zigzag(uint64_t d)
{
    return d << 1 ^ (0 - (d >> 63));
}

static uint64_t segfile_unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

void segfile_put_stream(struct segfile_pages *b, const struct segment_stream *prev,
                        const struct segment_stream *s)
{
    uint8_t *p = b->p + b->n;

    p = varint_put(p, s->oid - (prev != NULL ? prev->oid : 0));
    p = varint_put(p, s->n);
    p = varint_put(p, s->raw_bytes);
    p = varint_put(p, segfile_zigzag(s->last.ms - (prev != NULL ? prev->last.ms : 0)));
    p = varint_put(p, s->last.seq);
    b->n = (size_t)(p - b->p);
    b->items++;
}

bool segfile_get_stream(const uint8_t **p, const uint8_t *end, bool first,
                        const struct segment_stream *prev, struct segment_stream *out)
{
    struct segment_stream s;
    uint64_t d;

    if (!segfile_get_above(p, end, first ? 0 : prev->oid, &s.oid) || !varint_get(p, end, &s.n) ||
        s.n == 0 || !varint_get(p, end, &s.raw_bytes) || !varint_get(p, end, &d) ||
        !varint_get(p, end, &s.last.seq) || (!first && s.oid == prev->oid))
        return false;
    s.last.ms = (first ? 0 : prev->last.ms) + segfile_unzigzag(d);
    *out = s;
    return true;
}

/* ---- filter ---- */

uint64_t segfile_filter_bytes(uint64_t n_streams)
{
    enum { PER_LINE = 8 * SEGFILE_FILTER_LINE };

    if (n_streams <= SEGFILE_EXACT_MAX)
        return 8 * n_streams;
    if (n_streams > UINT64_MAX / SEGFILE_LINE_BITS / 2)
        return UINT64_MAX;
    return (n_streams * SEGFILE_LINE_BITS + PER_LINE - 1) / PER_LINE * SEGFILE_FILTER_LINE;
}

/* The finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t segfile_hash(uint64_t v)
{
    v += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* Where the line of a stream begins, and which bits of it are its. */
static uint64_t segfile_filter_line(uint64_t n_streams, uint64_t oid, uint64_t *bits)
{
    uint64_t lines = segfile_filter_bytes(n_streams) / SEGFILE_FILTER_LINE;
    uint64_t hash = segfile_hash(oid);

    *bits = segfile_hash(hash);
    return hash % lines * SEGFILE_FILTER_LINE;
}

void segfile_filter_add(uint8_t *filter, uint64_t n_streams, uint64_t i, uint64_t oid)
{
    uint64_t bits;
    uint8_t *line;

    if (n_streams <= SEGFILE_EXACT_MAX) {
        put_u64le(filter + 8 * i, oid);
        return;
    }
    line = filter + segfile_filter_line(n_streams, oid, &bits);
    for (int k = 0; k < SEGFILE_PROBES; k++, bits >>= 9)
        line[bits >> 3 & 63] |= (uint8_t)(1 << (bits & 7));
}

static bool segfile_list_has(const uint8_t *list, uint64_t n, uint64_t oid)
{
    uint64_t low = 0, high = n;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (get_u64le(list + 8 * middle) < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && get_u64le(list + 8 * low) == oid;
}

bool segfile_filter_has(const uint8_t *filter, uint64_t n_streams, uint64_t oid)
{
    uint64_t bits;
    const uint8_t *line;

    if (n_streams <= SEGFILE_EXACT_MAX)
        return segfile_list_has(filter, n_streams, oid);
    line = filter + segfile_filter_line(n_streams, oid, &bits);
    for (int k = 0; k < SEGFILE_PROBES; k++, bits >>= 9)
        if ((line[bits >> 3 & 63] & 1 << (bits & 7)) == 0)
            return false;
    return true;
}
