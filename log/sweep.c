/* sweep.c - see sweep.h. Where a stream begins is found anew for each one, in the keys and the page at hand: cheap,
 * and right however the segment contradicts itself. */
#include "log/sweep.h"

enum { SWEEP_PAGE_BYTES = 4096 }; /* of an index page, about */

void sweep_init(struct sweep *s, struct segment *segment, struct block_decoder *decoder)
{
    *s = (struct sweep){ .segment = segment_ref(segment), .decoder = decoder };
}

static void sweep_drop_block(struct sweep *s)
{
    block_unref(s->block);
    s->block = NULL;
}

void sweep_fini(struct sweep *s)
{
    sweep_drop_block(s);
    segment_page_unref(s->page);
    segment_unref(s->segment);
    *s = (struct sweep){ 0 };
}

static int sweep_open_page(struct sweep *s, uint32_t page_no, struct err *e)
{
    int rc;

    if (s->page != NULL && s->page_no == page_no)
        return OK;
    sweep_drop_block(s);
    segment_page_unref(s->page);
    s->page = NULL;
    rc = segment_read_page(s->segment, page_no, &s->page, e);
    if (rc != OK)
        return rc;
    s->page_no = page_no;
    s->in_page = 0;
    s->bytes_read += SWEEP_PAGE_BYTES;
    return OK;
}

static void sweep_move(struct sweep *s, uint32_t in_page)
{
    if (in_page == s->in_page)
        return;
    sweep_drop_block(s);
    s->in_page = in_page;
}

/* The last item of the page whose key is <= (oid, id), 0 if none is. */
static uint32_t sweep_find_item(const struct sweep *s, uint64_t oid, struct id id)
{
    uint32_t low = 0, high = s->page->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct segment_block *b = &s->page->blocks[middle];
        if (b->oid < oid || (b->oid == oid && id_cmp(b->first, id) <= 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

int sweep_seek(struct sweep *s, uint64_t oid, struct id id, bool *more, struct err *e)
{
    int rc;

    *more = false;
    if (segment_n_pages(s->segment) == 0)
        return OK;
    rc = sweep_open_page(s, segment_find_page(s->segment, oid, id), e);
    if (rc != OK)
        return rc;
    sweep_move(s, sweep_find_item(s, oid, id));
    *more = sweep_item(s)->oid <= oid;
    while (rc == OK && *more && sweep_item(s)->one_stream &&
           (sweep_item(s)->oid < oid || id_cmp(sweep_item(s)->last, id) < 0))
        rc = sweep_next(s, oid, more, e);
    return rc;
}

/* Whether a page begins with the stream, or with what is before it. */
static bool sweep_page_may_have(const struct sweep *s, uint32_t page, uint64_t oid)
{
    uint64_t first_oid;
    struct id first;

    if (page >= segment_n_pages(s->segment))
        return false;
    segment_page_key(s->segment, page, &first_oid, &first);
    return first_oid <= oid;
}

/* Stays where it is if the stream does not go on: the next stream is likely to be in the same block. */
int sweep_next(struct sweep *s, uint64_t oid, bool *more, struct err *e)
{
    if (s->in_page + 1 < s->page->n) {
        *more = sweep_item(s)[1].oid <= oid;
        if (*more)
            sweep_move(s, s->in_page + 1);
        return OK;
    }
    *more = sweep_page_may_have(s, s->page_no + 1, oid);
    return *more ? sweep_open_page(s, s->page_no + 1, e) : OK;
}

int sweep_load(struct sweep *s, struct err *e)
{
    int rc;

    if (s->block != NULL)
        return OK;
    rc = segment_read_block(s->segment, s->decoder, sweep_item(s), &s->block, e);
    if (rc == OK)
        s->bytes_read += sweep_item(s)->bytes;
    return rc;
}

int sweep_damage(struct sweep *s, const char *what, struct err *e)
{
    segment_set_bad(s->segment);
    return err_set(e, ERR_CORRUPT, "%s: at byte %llu: %s", segment_path(s->segment),
                   s->page != NULL ? (unsigned long long)sweep_item(s)->pos : 0, what);
}
