/*
 * segment_verify.c - every byte of a segment read and checked against every other.
 *
 * What a reader checks, it checks for what it reads; here are also the promises that only a whole pass can see: blocks and
 * pages follow one another without gaps, keys ascend over blocks, and the list of streams has what the blocks have. Where
 * something is damaged, what cannot be told without it is not reported again.
 */
#include "log/segment.h"

#include <stdio.h>
#include "log/entry.h"

struct segment_check {
    struct segment *segment;
    struct block_decoder *decoder;
    void (*bad)(void *ctx, const char *path, uint64_t pos, const char *what);
    void *ctx;
    struct err first; /* what was found first; code OK: nothing */

    struct segment_streams *list;
    bool list_ended; /* by damage */
    bool follows;    /* everything up to here was sound: the rest may be compared with it */
    uint64_t next_pos;
    uint32_t next_block;
    uint64_t max_ms;
    struct segment_stream stream; /* as the blocks have it so far; n == 0: none is */
};

/* Something is wrong at `pos`. */
static void segment_report(struct segment_check *c, uint64_t pos, const struct err *e)
{
    const char *path = segment_path(c->segment), *what = e->text;
    size_t n = strlen(path), n_at;
    char at[40];

    segment_set_bad(c->segment);
    c->follows = false;
    if (strncmp(what, path, n) == 0 && strncmp(what + n, ": ", 2) == 0)
        what += n + 2;
    n_at = (size_t)snprintf(at, sizeof at, "at byte %llu: ", (unsigned long long)pos);
    if (strncmp(what, at, n_at) == 0)
        what += n_at; /* `bad` gets the place beside it */
    if (c->first.code == OK)
        c->first = *e;
    if (c->bad != NULL)
        c->bad(c->ctx, path, pos, what);
}

static void segment_report_text(struct segment_check *c, uint64_t pos, const char *what)
{
    struct err e;

    err_ignore(err_set(&e, ERR_CORRUPT, "%s: at byte %llu: %s", segment_path(c->segment),
                       (unsigned long long)pos, what)); /* reported, not returned */
    segment_report(c, pos, &e);
}

/* Compares the stream that the blocks had with the list's next one. */
static int segment_check_stream(struct segment_check *c, uint64_t pos, struct err *e)
{
    struct segment_stream s = { 0 };
    bool more = false;
    int rc;

    if (c->stream.n == 0 || !c->follows)
        return OK;
    if (c->stream.last.ms > c->max_ms)
        c->max_ms = c->stream.last.ms;
    rc = segment_streams_next(c->list, &s, &more, e);
    if (rc == ERR_NOMEM)
        return rc;
    c->list_ended = rc != OK;
    if (rc != OK)
        segment_report(c, pos, e);
    else if (!more || s.oid != c->stream.oid || s.n != c->stream.n ||
             s.raw_bytes != c->stream.raw_bytes || id_cmp(s.last, c->stream.last) != 0)
        segment_report_text(c, pos, "the list of streams says something else than the blocks");
    else if (!segment_may_have(c->segment, s.oid))
        segment_report_text(c, pos, "the filter does not have a stream that is there");
    return OK;
}

/* Adds a run of a block to what the blocks have. */
static int segment_check_run(struct segment_check *c, const struct segment_block *at,
                             const struct block *b, const struct block_run *run, struct err *e)
{
    uint32_t end = run->first + run->n;
    struct id first;
    int rc = OK;

    entry_id(block_entry(b, run->first), &first);
    if (c->stream.n > 0 && (run->oid < c->stream.oid ||
                            (run->oid == c->stream.oid && id_cmp(first, c->stream.last) <= 0)))
        segment_report_text(c, at->pos, "a block is not behind the one before it");
    if (c->stream.n > 0 && run->oid != c->stream.oid)
        rc = segment_check_stream(c, at->pos, e);
    if (rc != OK || !c->follows)
        return rc;
    if (c->stream.n == 0 || run->oid != c->stream.oid)
        c->stream = (struct segment_stream){ .oid = run->oid };
    c->stream.n += run->n;
    c->stream.raw_bytes += b->offsets[end] - b->offsets[run->first];
    entry_id(block_entry(b, end - 1), &c->stream.last);
    return OK;
}

static int segment_check_block(struct segment_check *c, const struct segment_block *at,
                               struct err *e)
{
    struct block *b = NULL;
    int rc = segment_read_block(c->segment, c->decoder, at, &b, e);

    if (rc == ERR_NOMEM)
        return rc;
    if (rc != OK) {
        segment_report(c, at->pos, e);
        return OK;
    }
    if (c->follows && (at->pos != c->next_pos || at->block_no != c->next_block))
        segment_report_text(c, at->pos, "a block does not begin where the one before it ends");
    c->next_pos = at->pos + at->bytes;
    c->next_block = at->block_no + 1;
    rc = OK;
    for (uint32_t i = 0; i < b->n_runs && rc == OK && c->follows; i++)
        rc = segment_check_run(c, at, b, &b->runs[i], e);
    block_unref(b);
    return rc;
}

static int segment_check_page(struct segment_check *c, uint32_t no, struct err *e)
{
    struct segment_page *page = NULL;
    int rc = segment_read_page(c->segment, no, &page, e);

    if (rc == ERR_NOMEM)
        return rc;
    if (rc != OK) {
        segment_report(c, segment_page_pos(c->segment, no), e);
        return OK;
    }
    rc = OK;
    for (uint32_t i = 0; i < page->n && rc == OK; i++)
        rc = segment_check_block(c, &page->blocks[i], e);
    segment_page_unref(page);
    return rc;
}

/* After the last block: what is left of the list, which has to end here if all was sound. */
static int segment_check_end(struct segment_check *c, struct err *e)
{
    const struct segment_info *info = segment_info(c->segment);
    struct segment_stream s;
    bool more = true, compare;
    int rc = segment_check_stream(c, c->next_pos, e);

    compare = c->follows;
    if (compare && c->max_ms != info->max_ms)
        segment_report_text(c, info->file_bytes - SEGMENT_TRAILER_BYTES,
                            "the trailer gives another highest time than the blocks");
    if (compare && c->next_block != info->n_blocks)
        segment_report_text(c, c->next_pos, "the index does not have all blocks");
    if (compare && segment_n_pages(c->segment) > 0 &&
        c->next_pos != segment_page_pos(c->segment, 0))
        segment_report_text(c, c->next_pos, "something that no index has lies behind the blocks");
    while (rc == OK && more && !c->list_ended) {
        rc = segment_streams_next(c->list, &s, &more, e);
        if (rc == OK && more && compare) {
            segment_report_text(c, c->next_pos, "the list has streams that no block has");
            compare = false;
        }
    }
    if (rc == OK || rc == ERR_NOMEM)
        return rc;
    segment_report(c, c->next_pos, e);
    return OK;
}

static int segment_check_all(struct segment_check *c, struct err *e)
{
    int rc = segment_recheck(c->segment, e);

    if (rc == ERR_NOMEM)
        return rc;
    if (rc != OK)
        segment_report(c, 0, e);
    rc = OK;
    for (uint32_t i = 0; i < segment_n_pages(c->segment) && rc == OK; i++)
        rc = segment_check_page(c, i, e);
    return rc == OK ? segment_check_end(c, e) : rc;
}

int segment_verify(struct segment *s,
                   void (*bad)(void *ctx, const char *path, uint64_t pos, const char *what),
                   void *ctx, struct err *e)
{
    struct segment_check c = { .segment = s,
                               .decoder = block_decoder_new(),
                               .bad = bad,
                               .ctx = ctx,
                               .follows = true,
                               .next_pos = SEGMENT_HEADER_BYTES };
    int rc = c.decoder != NULL ? segment_streams_open(s, &c.list, e)
                               : err_set(e, ERR_NOMEM, "no memory to check %s", segment_path(s));

    if (rc == OK)
        rc = segment_check_all(&c, e);
    segment_streams_close(c.list);
    block_decoder_free(c.decoder);
    if (rc != OK || c.first.code == OK)
        return rc;
    *e = c.first;
    e->code = ERR_CORRUPT;
    return ERR_CORRUPT;
}
