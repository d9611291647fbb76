/*
 * reader.c - a cursor over the sealed entries of one stream.
 *
 * The entries of a stream lie in segments that are in order, in each of them in blocks that follow one another, the first
 * and the last of which it may share with others. The index says of each block where it begins, and of one that
 * holds a single stream also where it ends and how much is in it. So the cursor has two steps: to a
 * block's item in the index, and into the block. Counting mostly does without the second.
 *
 *   segments   0        1             2                          where a reader is: (segment, page, item)
 *              [..aaaa] [aaaaaaaaaaa] [aaaab]                    and, once it is loaded, (block, run, row)
 *                |--|--|----|----|---|--|
 *
 * Which segment is asked first: the last one with a page of the index that begins with an entry of the stream at or
 * below the ID. Those keys are in memory, and what lies in earlier segments is smaller. A long stream is so found
 * at once; for others the filter leaves few segments.
 *
 *   R1  Where `page` is not NULL it is page `page_no` of segment `segment`, and in_page is an item of it.
 *   R2  Where `block` is not NULL it is that item's, and `run` the stream's rows in it (NULL: it has none).
 *   R3  The reader is at an entry if and only if `run` is not NULL; then that entry is live.
 */
#include "log/reader.h"

#include <assert.h>
#include <stdlib.h>
#include "log/entry.h"

enum {
    WANTS_PAGE_BYTES = 24 << 10, /* what an index page takes, about */
    READER_PAGES_AHEAD = 16,     /* wanted with the one that is missing, by calls that walk */
};

/* ---- struct sealed ---- */

void sealed_fini(struct sealed *s)
{
    view_unref(s->view);
    delset_unref(s->deletes);
    *s = (struct sealed){ 0 };
}

/* ---- struct wants ---- */

void wants_init(struct wants *w)
{
    *w = (struct wants){ 0 };
}

static bool wants_has(const struct wants *w, const struct wants_item *item)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct wants_item *have = &w->items[i];
        if (have->segment == item->segment && have->is_page == item->is_page &&
            (item->is_page ? have->page == item->page : have->at.block_no == item->at.block_no))
            return true;
    }
    return false;
}

static uint64_t wants_item_bytes(const struct wants_item *item)
{
    return item->is_page ? WANTS_PAGE_BYTES : item->at.raw_bytes;
}

static void wants_add(struct wants *w, struct wants_item item)
{
    uint64_t bytes = wants_item_bytes(&item);

    if (wants_has(w, &item))
        return;
    if (w->n == w->cap) {
        size_t cap = w->cap == 0 ? 8 : 2 * w->cap;
        struct wants_item *items = realloc(w->items, cap * sizeof *items);
        if (items == NULL) {
            w->failed = true;
            return;
        }
        w->items = items;
        w->cap = cap;
    }
    segment_ref(item.segment);
    w->items[w->n++] = item;
    w->bytes += bytes;
    if (bytes > w->largest)
        w->largest = bytes;
}

/* Makes the list what it was. */
static void wants_go_back(struct wants *w, const struct wants *was)
{
    while (w->n > was->n)
        segment_unref(w->items[--w->n].segment);
    w->bytes = was->bytes;
    w->largest = was->largest;
}

void wants_trim(struct wants *w, uint64_t bytes)
{
    while (w->n > 1 && w->bytes > bytes) {
        const struct wants_item *last = &w->items[--w->n];

        assert(!last->pinned);
        w->bytes -= wants_item_bytes(last);
        segment_unref(last->segment);
    }
    w->largest = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->largest < wants_item_bytes(&w->items[i]))
            w->largest = wants_item_bytes(&w->items[i]);
}

int wants_load(struct wants *w, struct blockcache *cache, struct block_decoder *decoder,
               struct err *e)
{
    if (w->failed)
        return err_set(e, ERR_NOMEM, "no memory to note what has to be read");
    if (w->bytes - w->largest > WANTS_BYTES_MAX)
        return err_set(e, ERR_TOO_BIG, "more than %d MiB of sealed data would have to be in memory",
                       WANTS_BYTES_MAX >> 20);
    for (size_t i = 0; i < w->n; i++) {
        struct wants_item *item = &w->items[i];
        int rc = OK;

        if (item->pinned)
            continue;
        rc = item->is_page ? blockcache_load_page(cache, item->segment, item->page, e)
                           : blockcache_load_block(cache, item->segment, decoder, &item->at, e);
        if (rc != OK)
            return rc;
        item->pinned = true;
    }
    return OK;
}

void wants_join(struct wants *to, struct wants *from, struct blockcache *cache)
{
    struct wants_item *items =
        from->n == 0 ? NULL : realloc(to->items, (to->n + from->n) * sizeof *items);

    if (items == NULL) {
        wants_fini(from, cache);
        return;
    }
    memcpy(items + to->n, from->items, from->n * sizeof *items);
    to->items = items;
    to->n += from->n;
    to->cap = to->n;
    to->bytes += from->bytes;
    to->largest = from->largest > to->largest ? from->largest : to->largest;
    free(from->items);
    wants_init(from);
}

void wants_fini(struct wants *w, struct blockcache *cache)
{
    for (size_t i = 0; i < w->n; i++) {
        struct wants_item *item = &w->items[i];

        if (item->pinned && item->is_page)
            blockcache_unpin_page(cache, item->segment, item->page);
        else if (item->pinned)
            blockcache_unpin_block(cache, item->segment, item->at.block_no);
        segment_unref(item->segment);
    }
    free(w->items);
    wants_init(w);
}

/* ---- where the reader is ---- */

void reader_init(struct reader *r, const struct sealed *s, struct blockcache *cache,
                 struct block_decoder *decoder, struct wants *wants)
{
    *r = (struct reader){
        .sealed = s, .cache = cache, .decoder = decoder, .wants = wants, .segment = s->n_segments
    };
}

static void reader_drop_block(struct reader *r)
{
    block_unref(r->block);
    r->block = NULL;
    r->run = NULL;
}

static void reader_drop_page(struct reader *r)
{
    reader_drop_block(r);
    segment_page_unref(r->page);
    r->page = NULL;
}

void reader_fini(struct reader *r)
{
    reader_drop_page(r);
}

/* At no entry, behind everything. */
static void reader_end(struct reader *r)
{
    reader_drop_page(r);
    r->segment = r->sealed->n_segments;
}

static bool reader_is_end(const struct reader *r)
{
    return r->segment == r->sealed->n_segments;
}

static struct segment *reader_segment(const struct reader *r)
{
    return r->sealed->view->segments[r->segment];
}

static const struct segment_block *reader_item(const struct reader *r)
{
    return &r->page->blocks[r->in_page];
}

static struct id reader_id(const struct reader *r, uint32_t row)
{
    struct id id;

    entry_id(block_entry(r->block, row), &id);
    return id;
}

static uint64_t reader_len(const struct reader *r, uint32_t row)
{
    return r->block->offsets[row + 1] - r->block->offsets[row];
}

static int reader_cold(struct err *e)
{
    return err_set(e, ERR_COLD, "has to be read first");
}

/* Whether a page of the segment begins with the stream or what is before it: else it has nothing of the stream. */
static bool reader_page_may_have(const struct reader *r, uint32_t page)
{
    uint64_t oid;
    struct id first;

    if (page >= segment_n_pages(reader_segment(r)))
        return false;
    segment_page_key(reader_segment(r), page, &oid, &first);
    return oid <= r->sealed->oid;
}

static void reader_want_pages(struct reader *r, uint32_t page)
{
    uint32_t n = r->walks ? READER_PAGES_AHEAD : 1;

    for (uint32_t i = 0; i < n && r->wants != NULL && reader_page_may_have(r, page + i); i++)
        wants_add(r->wants, (struct wants_item){
                                .segment = reader_segment(r), .page = page + i, .is_page = true });
}

/* R1: makes `page_no` of the segment the reader's page. */
static int reader_open_page(struct reader *r, uint32_t page_no, struct err *e)
{
    struct segment *s = reader_segment(r);
    struct segment_page *page = NULL;

    reader_drop_page(r);
    if (r->decoder != NULL) {
        int rc = blockcache_read_page(r->cache, s, page_no, &page, e);
        if (rc != OK)
            return rc;
    } else {
        page = blockcache_get_page(r->cache, s, page_no);
    }
    if (page == NULL) {
        reader_want_pages(r, page_no);
        return reader_cold(e);
    }
    r->page = page;
    r->page_no = page_no;
    r->in_page = 0;
    return OK;
}

/* Wants the block that is missing, and as many behind it (before it) as are wanted already, if steps led there. */
static void reader_want_blocks(struct reader *r)
{
    struct wants *w = r->wants;
    size_t n = r->steps != 0 ? w->n : 0;
    uint32_t i = r->in_page;

    wants_add(w, (struct wants_item){ .segment = reader_segment(r), .at = *reader_item(r) });
    for (; n > 0; n--) {
        const struct segment_block *b;

        if (r->steps < 0 ? i == 0 : i + 1 == r->page->n)
            return;
        i = r->steps < 0 ? i - 1 : i + 1;
        b = &r->page->blocks[i];
        if (b->oid != r->sealed->oid || w->bytes + b->raw_bytes > WANTS_BYTES_MAX)
            return;
        wants_add(w, (struct wants_item){ .segment = reader_segment(r), .at = *b });
    }
}

/* R2, without choosing a row. */
static int reader_load(struct reader *r, struct err *e)
{
    const struct segment_block *at = reader_item(r);
    struct segment *s = reader_segment(r);
    struct block *b = NULL;

    reader_drop_block(r);
    if (r->decoder != NULL) {
        int rc = blockcache_read_block(r->cache, s, r->decoder, at, &b, e);
        if (rc != OK)
            return rc;
    } else {
        b = blockcache_get_block(r->cache, s, at->block_no);
    }
    if (b == NULL) {
        if (r->wants != NULL)
            reader_want_blocks(r);
        return reader_cold(e);
    }
    r->block = b;
    r->run = block_find(b, r->sealed->oid);
    r->has_dead = r->run != NULL && r->sealed->deletes != NULL &&
                  delset_count(r->sealed->deletes, reader_id(r, r->run->first),
                               reader_id(r, r->run->first + r->run->n - 1)) > 0;
    return OK;
}

/* ---- from item to item ---- */

/* The last item of the open page whose key is <= (oid, id), 0 if none is. */
static uint32_t reader_find_item(const struct reader *r, struct id id)
{
    uint64_t oid = r->sealed->oid;
    uint32_t low = 0, high = r->page->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct segment_block *b = &r->page->blocks[middle];
        if (b->oid < oid || (b->oid == oid && id_cmp(b->first, id) <= 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

/* To the next item of the segment that may have the stream. */
static int reader_step(struct reader *r, bool *more, struct err *e)
{
    reader_drop_block(r);
    if (r->in_page + 1 < r->page->n) {
        r->in_page++;
    } else if (reader_page_may_have(r, r->page_no + 1)) {
        int rc = reader_open_page(r, r->page_no + 1, e);
        if (rc != OK)
            return rc;
    } else {
        *more = false;
        return OK;
    }
    *more = reader_item(r)->oid <= r->sealed->oid;
    return OK;
}

/* The same towards the front. */
static int reader_step_back(struct reader *r, bool *more, struct err *e)
{
    const struct segment_block *b;

    reader_drop_block(r);
    *more = false;
    if (r->in_page > 0) {
        r->in_page--;
    } else if (r->page_no > 0) {
        int rc = reader_open_page(r, r->page_no - 1, e);
        if (rc != OK)
            return rc;
        r->in_page = r->page->n - 1;
    } else {
        return OK;
    }
    b = reader_item(r);
    *more = b->oid == r->sealed->oid || !b->one_stream;
    return OK;
}

/* Whether the index alone tells that the item has nothing of the stream at or above `id`. */
static bool reader_item_is_before(const struct reader *r, struct id id)
{
    const struct segment_block *b = reader_item(r);

    return b->one_stream && (b->oid < r->sealed->oid || id_cmp(b->last, id) < 0);
}

/* Goes to the first item of segment `i` that may have entries of the stream at or above `id`. */
static int reader_enter(struct reader *r, size_t i, struct id id, bool *found, struct err *e)
{
    int rc;

    reader_drop_page(r);
    r->segment = i;
    *found = segment_may_have(reader_segment(r), r->sealed->oid);
    if (!*found)
        return OK;
    rc = reader_open_page(r, segment_find_page(reader_segment(r), r->sealed->oid, id), e);
    if (rc != OK)
        return rc;
    r->in_page = reader_find_item(r, id);
    *found = reader_item(r)->oid <= r->sealed->oid;
    while (rc == OK && *found && reader_item_is_before(r, id))
        rc = reader_step(r, found, e);
    return rc;
}

/* The same in the segments from `i` on; the end if none has. */
static int reader_enter_from(struct reader *r, size_t i, struct id id, struct err *e)
{
    for (; i < r->sealed->n_segments; i++) {
        bool found = false;
        int rc = reader_enter(r, i, id, &found, e);
        if (rc != OK || found)
            return rc;
    }
    reader_end(r);
    return OK;
}

/* The last segment that is known, without reading, to have an entry at or below `id`; the first one if none is. */
static size_t reader_start(const struct reader *r, struct id id)
{
    const struct sealed *s = r->sealed;

    for (size_t i = s->n_segments; i-- > 1;) {
        const struct segment *segment = s->view->segments[i];
        struct id first;
        uint64_t oid;

        if (!segment_may_have(segment, s->oid))
            continue;
        segment_page_key(segment, segment_find_page(segment, s->oid, id), &oid, &first);
        if (oid == s->oid && id_cmp(first, id) <= 0)
            return i;
    }
    return 0;
}

/* To the first item that may have live entries at or above `id`, or to the end. */
static int reader_goto(struct reader *r, struct id id, struct err *e)
{
    if (id_cmp(id, r->sealed->last) > 0) {
        reader_end(r);
        return OK;
    }
    return reader_enter_from(r, reader_start(r, id), id, e);
}

/* To the next item, in this segment or a later one, or to the end. */
static int reader_advance(struct reader *r, struct err *e)
{
    bool more = false;
    int rc = reader_step(r, &more, e);

    if (rc != OK || more)
        return rc;
    return reader_enter_from(r, r->segment + 1, r->sealed->floor, e);
}

/* ---- rows ---- */

static bool reader_is_dead(const struct reader *r, uint32_t row)
{
    return r->has_dead && delset_has(r->sealed->deletes, reader_id(r, row));
}

/* From a loaded block's row on to the first live one of the run; false if there is none. */
static bool reader_settle_row(struct reader *r, uint32_t row)
{
    uint32_t end = r->run->first + r->run->n;

    while (row < end && reader_is_dead(r, row))
        row++;
    r->row = row;
    return row < end;
}

/* Whether the index alone tells that the item has nothing of the stream up to `id`. */
static bool reader_item_is_past(const struct reader *r, struct id id)
{
    return reader_item(r)->oid == r->sealed->oid && id_cmp(reader_item(r)->first, id) > 0;
}

/* From an item on to the first live entry at or above `id`. */
static int reader_settle(struct reader *r, struct id id, struct err *e)
{
    while (!reader_is_end(r)) {
        int rc;
        if (reader_item_is_past(r, r->sealed->last)) {
            reader_end(r);
            return OK;
        }
        rc = reader_load(r, e);
        if (rc != OK)
            return rc;
        if (r->run != NULL && reader_settle_row(r, block_seek(r->block, r->run, id)))
            return OK;
        rc = reader_advance(r, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* Whatever failed, the reader is at no entry (R3). */
static int reader_done(struct reader *r, int rc)
{
    if (rc != OK)
        reader_end(r);
    return rc;
}

static struct id reader_max(struct id a, struct id b)
{
    return id_cmp(a, b) > 0 ? a : b;
}

static struct id reader_min(struct id a, struct id b)
{
    return id_cmp(a, b) < 0 ? a : b;
}

/* What the call that begins may want beyond what is missing. */
static void reader_begin(struct reader *r, bool walks, int8_t steps)
{
    r->walks = walks;
    r->steps = steps;
}

int reader_seek(struct reader *r, struct id id, struct err *e)
{
    int rc;

    reader_begin(r, false, 0);
    id = reader_max(id, r->sealed->floor);
    rc = reader_goto(r, id, e);
    if (rc == OK)
        rc = reader_settle(r, id, e);
    return reader_done(r, rc);
}

int reader_next(struct reader *r, struct err *e)
{
    int rc;

    if (reader_is_end(r) || reader_settle_row(r, r->row + 1))
        return OK;
    reader_begin(r, false, 1);
    rc = reader_advance(r, e);
    if (rc == OK)
        rc = reader_settle(r, r->sealed->floor, e);
    return reader_done(r, rc);
}

/* From a loaded block's row on towards the front to the first live one of the run. False if there is none; *below
 * tells that this is so because of the floor. */
static bool reader_settle_row_back(struct reader *r, uint32_t end, bool *below)
{
    *below = false;
    while (end > r->run->first) {
        uint32_t row = end - 1;
        if (id_cmp(reader_id(r, row), r->sealed->floor) < 0) {
            *below = true;
            return false;
        }
        if (!reader_is_dead(r, row)) {
            r->row = row;
            return true;
        }
        end = row;
    }
    return false;
}

/* Goes to the last item of the segments up to the `n`-th that may have entries of the stream up to `id`. */
static int reader_enter_back(struct reader *r, size_t n, struct id id, bool *found, struct err *e)
{
    *found = false;
    while (n-- > 0 && !*found) {
        const struct segment_block *b;
        int rc;

        reader_drop_page(r);
        r->segment = n;
        if (!segment_may_have(reader_segment(r), r->sealed->oid))
            continue;
        rc = reader_open_page(r, segment_find_page(reader_segment(r), r->sealed->oid, id), e);
        if (rc != OK)
            return rc;
        r->in_page = reader_find_item(r, id);
        b = reader_item(r);
        *found = b->oid < r->sealed->oid ? !b->one_stream
                                         : b->oid == r->sealed->oid && id_cmp(b->first, id) <= 0;
    }
    return OK;
}

/* From an item on towards the front to the first live entry at or below `id`. */
static int reader_settle_back(struct reader *r, struct id id, struct err *e)
{
    bool found = true, below = false;
    int rc = OK;

    while (rc == OK && found && !reader_item_is_before(r, r->sealed->floor)) {
        rc = reader_load(r, e);
        if (rc != OK)
            return rc;
        if (r->run != NULL) {
            uint32_t end = block_seek(r->block, r->run, id);
            if (end < r->run->first + r->run->n && id_cmp(reader_id(r, end), id) == 0)
                end++;
            if (reader_settle_row_back(r, end, &below))
                return OK;
        }
        if (below)
            break;
        rc = reader_step_back(r, &found, e);
        if (rc == OK && !found)
            rc = reader_enter_back(r, r->segment, id, &found, e);
    }
    if (rc == OK)
        reader_end(r);
    return rc;
}

int reader_seek_back(struct reader *r, struct id id, struct err *e)
{
    bool found = false;
    int rc;

    reader_begin(r, false, 0);
    id = reader_min(id, r->sealed->last);
    if (id_cmp(id, r->sealed->floor) < 0) {
        reader_end(r);
        return OK;
    }
    rc = reader_enter_back(r, r->sealed->n_segments, id, &found, e);
    if (rc == OK && !found)
        reader_end(r);
    else if (rc == OK)
        rc = reader_settle_back(r, id, e);
    return reader_done(r, rc);
}

int reader_prev(struct reader *r, struct err *e)
{
    bool below = false, found = false;
    struct id id;
    int rc;

    if (reader_is_end(r))
        return OK;
    id = reader_id(r, r->row);
    if (reader_settle_row_back(r, r->row, &below))
        return OK;
    if (below) {
        reader_end(r);
        return OK;
    }
    reader_begin(r, false, -1);
    rc = reader_step_back(r, &found, e);
    if (rc == OK && !found)
        rc = reader_enter_back(r, r->segment, id, &found, e);
    if (rc == OK && !found)
        reader_end(r);
    else if (rc == OK)
        rc = reader_settle_back(r, id, e);
    return reader_done(r, rc);
}

const uint8_t *reader_at(const struct reader *r, size_t *len)
{
    if (r->run == NULL)
        return NULL;
    *len = (size_t)reader_len(r, r->row);
    return block_entry(r->block, r->row);
}

/* ---- by LSN ---- */

/* The first segment that does not end below the LSN; the number of segments if all do. */
static size_t reader_segment_of(const struct reader *r, uint64_t lsn)
{
    size_t low = 0, high = r->sealed->n_segments;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (segment_info(r->sealed->view->segments[middle])->lsn_last < lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether what has that key lies at or before the change of that LSN. */
static bool reader_is_up_to(const struct reader *r, uint64_t oid, struct id first, uint64_t lsn)
{
    return oid < r->sealed->oid || (oid == r->sealed->oid && first.seq <= lsn);
}

static uint32_t reader_page_of(const struct reader *r, uint64_t lsn)
{
    uint32_t low = 0, high = segment_n_pages(reader_segment(r));

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t oid;
        struct id first;

        segment_page_key(reader_segment(r), middle, &oid, &first);
        if (reader_is_up_to(r, oid, first, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

static uint32_t reader_item_of(const struct reader *r, uint64_t lsn)
{
    uint32_t low = 0, high = r->page->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct segment_block *b = &r->page->blocks[middle];
        if (reader_is_up_to(r, b->oid, b->first, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

static uint32_t reader_row_of(const struct reader *r, uint64_t lsn)
{
    uint32_t low = r->run->first, high = r->run->first + r->run->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (reader_id(r, middle).seq < lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Into the block of segment `i` that has the change if any has; *found: it has one at or behind it. */
static int reader_enter_lsn(struct reader *r, size_t i, uint64_t lsn, bool *found, struct err *e)
{
    int rc;

    reader_drop_page(r);
    r->segment = i;
    *found = segment_may_have(reader_segment(r), r->sealed->oid);
    if (!*found)
        return OK;
    rc = reader_open_page(r, reader_page_of(r, lsn), e);
    if (rc != OK)
        return rc;
    r->in_page = reader_item_of(r, lsn);
    rc = reader_load(r, e);
    *found = rc == OK && r->run != NULL && reader_settle_row(r, reader_row_of(r, lsn));
    return rc;
}

static int reader_goto_lsn(struct reader *r, uint64_t lsn, struct err *e)
{
    struct id floor = r->sealed->floor;
    size_t i = reader_segment_of(r, lsn);
    bool found = false;
    int rc;

    if (i == r->sealed->n_segments) {
        reader_end(r);
        return OK;
    }
    rc = reader_enter_lsn(r, i, lsn, &found, e);
    if (rc != OK || (found && id_cmp(reader_id(r, r->row), floor) >= 0))
        return rc;
    if (found)
        rc = reader_goto(r, floor, e);
    else if (r->page != NULL)
        rc = reader_advance(r, e);
    else
        rc = reader_enter_from(r, i + 1, floor, e);
    return rc == OK ? reader_settle(r, floor, e) : rc;
}

int reader_seek_lsn(struct reader *r, uint64_t lsn, struct err *e)
{
    reader_begin(r, false, 0);
    return reader_done(r, reader_goto_lsn(r, lsn, e));
}

/* ---- counting ---- */

/* What lies in a block, or in several. */
struct reader_sum {
    uint64_t n, bytes;
};

/* Whether the index alone tells what of the block lies in [from, to]: all of it, and nothing is deleted. */
static bool reader_is_whole(const struct reader *r, struct id from, struct id to)
{
    const struct segment_block *b = reader_item(r);

    return b->one_stream && b->oid == r->sealed->oid && id_cmp(b->first, from) >= 0 &&
           id_cmp(b->last, to) <= 0 &&
           (r->sealed->deletes == NULL || delset_count(r->sealed->deletes, b->first, b->last) == 0);
}

/* Adds the live rows of the loaded block that lie in [from, to], until there are `max`. */
static void reader_add_rows(struct reader *r, struct id from, struct id to, uint64_t max,
                            struct reader_sum *sum)
{
    uint32_t row, end;

    if (r->run == NULL)
        return;
    end = r->run->first + r->run->n;
    for (row = block_seek(r->block, r->run, from); row < end && sum->n < max; row++) {
        if (id_cmp(reader_id(r, row), to) > 0)
            return;
        if (!reader_is_dead(r, row)) {
            sum->n++;
            sum->bytes += reader_len(r, row);
        }
    }
}

/* Adds what the block at the item has in [from, to]. If it is cold, *cold says so, and it counts as if nothing in
 * it were deleted: the walk goes on, to note what else is missing, but not farther than it will. */
static int reader_add_item(struct reader *r, struct id from, struct id to, uint64_t max,
                           struct reader_sum *sum, bool *cold, struct err *e)
{
    const struct segment_block *b = reader_item(r);
    int rc;

    if (reader_is_whole(r, from, to) && b->n <= max - sum->n) {
        sum->n += b->n;
        sum->bytes += b->raw_bytes;
        return OK;
    }
    rc = reader_load(r, e);
    if (rc == ERR_COLD) {
        *cold = true;
        sum->n += b->n < max - sum->n ? b->n : max - sum->n;
        return OK;
    }
    if (rc == OK)
        reader_add_rows(r, from, to, max, sum);
    return rc;
}

/* Whether nothing behind the item lies at or below `to`. */
static bool reader_item_is_last(const struct reader *r, struct id to)
{
    const struct segment_block *b = reader_item(r);

    return b->oid == r->sealed->oid && id_cmp(b->one_stream ? b->last : b->first, to) >= 0;
}

static int reader_count_walk(struct reader *r, struct id from, struct id to, uint64_t max,
                             struct reader_sum *sum, struct err *e)
{
    bool cold = false, last = false;
    int rc = reader_goto(r, from, e);

    while (rc == OK && !reader_is_end(r) && !last && sum->n < max && !reader_item_is_past(r, to)) {
        last = reader_item_is_last(r, to);
        rc = reader_add_item(r, from, to, max, sum, &cold, e);
        if (rc == OK && !last)
            rc = reader_advance(r, e);
    }
    return rc == OK && cold ? reader_cold(e) : rc;
}

int reader_count(struct reader *r, struct id from, struct id to, uint64_t max, uint64_t *n,
                 uint64_t *bytes, struct err *e)
{
    struct reader_sum sum = { 0 };
    int rc = OK;

    reader_begin(r, true, 0);
    from = reader_max(from, r->sealed->floor);
    to = reader_min(to, r->sealed->last);
    if (id_cmp(from, to) <= 0)
        rc = reader_count_walk(r, from, to, max, &sum, e);
    reader_end(r);
    if (rc == OK) {
        *n = sum.n;
        *bytes = sum.bytes;
    }
    return rc;
}

/* Goes on to the live row of the loaded block that has `n` live ones before it, where sum counts those so far. False if it
 * is not in this block. */
static bool reader_find_nth(struct reader *r, uint64_t n, struct reader_sum *sum)
{
    uint32_t end;

    if (r->run == NULL)
        return false;
    end = r->run->first + r->run->n;
    for (r->row = block_seek(r->block, r->run, r->sealed->floor); r->row < end; r->row++) {
        if (reader_is_dead(r, r->row))
            continue;
        if (sum->n == n)
            return true;
        sum->n++;
        sum->bytes += reader_len(r, r->row);
    }
    return false;
}

int reader_seek_nth(struct reader *r, uint64_t n, uint64_t *bytes, struct err *e)
{
    const struct sealed *s = r->sealed;
    struct reader_sum sum = { 0 };
    bool found = false;
    int rc;

    reader_begin(r, true, 0);
    rc = reader_goto(r, s->floor, e);
    while (rc == OK && !reader_is_end(r) && !found) {
        const struct segment_block *b = reader_item(r);

        if (reader_is_whole(r, s->floor, ID_MAX) && b->n <= n - sum.n) {
            sum.n += b->n;
            sum.bytes += b->raw_bytes;
        } else {
            rc = reader_load(r, e);
            found = rc == OK && reader_find_nth(r, n, &sum);
        }
        if (rc == OK && !found)
            rc = reader_advance(r, e);
    }
    if (rc == OK)
        *bytes = sum.bytes;
    return reader_done(r, rc);
}

/* ---- wanting ---- */

struct reader_want {
    struct id from, to;
    uint64_t max, n; /* n: entries that lie in what has been noted, at least */
    bool back;
    bool missing;   /* something of it is not in memory */
    bool blindfold; /* an index page is not: how many entries come before is not known any more */
};

/* Notes the item's block, whether it is in memory or not. */
static void reader_want_item(struct reader *r, struct reader_want *want)
{
    struct segment *s = reader_segment(r);
    struct block *b = blockcache_get_block(r->cache, s, reader_item(r)->block_no);

    want->missing |= b == NULL;
    block_unref(b);
    wants_add(r->wants, (struct wants_item){ .segment = s, .at = *reader_item(r) });
    want->n += reader_is_whole(r, want->from, want->to) ? reader_item(r)->n : 0;
}

/* Whether the range has been left with this item; *skip: it is not reached yet, or has nothing of the stream. */
static bool reader_want_is_over(const struct reader *r, const struct reader_want *want, bool *skip)
{
    bool before = reader_item_is_before(r, want->from), past = reader_item_is_past(r, want->to);

    *skip = want->back ? past : before;
    return want->back ? before : past || reader_item(r)->oid > r->sealed->oid;
}

/* An index page that is not in memory has been noted; then the next segment's turn comes. */
static int reader_want_missed(struct reader_want *want, int rc)
{
    if (rc != ERR_COLD)
        return rc;
    want->missing = want->blindfold = true;
    return OK;
}

/* What segment `i` has of the range. Where a page is missing further ones are noted, but blocks only if it cannot be that
 * they are not needed. */
static int reader_want_segment(struct reader *r, size_t i, struct reader_want *want, struct err *e)
{
    struct id id = want->back ? want->to : want->from;
    bool more = true, skip = false;
    int rc;

    reader_drop_page(r);
    r->segment = i;
    if (!segment_may_have(reader_segment(r), r->sealed->oid))
        return OK;
    rc = reader_open_page(r, segment_find_page(reader_segment(r), r->sealed->oid, id), e);
    if (rc != OK)
        return reader_want_missed(want, rc);
    r->in_page = reader_find_item(r, id);
    while (rc == OK && more && want->n < want->max &&
           r->wants->bytes - r->wants->largest <= WANTS_BYTES_MAX) {
        if (reader_want_is_over(r, want, &skip))
            break;
        if (!skip && (!want->blindfold || want->max == UINT64_MAX))
            reader_want_item(r, want);
        rc = want->back ? reader_step_back(r, &more, e) : reader_step(r, &more, e);
    }
    return reader_want_missed(want, rc);
}

int reader_want(struct reader *r, struct id from, struct id to, uint64_t max, bool back,
                struct err *e)
{
    struct reader_want want = { .from = reader_max(from, r->sealed->floor),
                                .to = reader_min(to, r->sealed->last),
                                .max = max,
                                .back = back };
    size_t n = id_cmp(want.from, want.to) <= 0 ? r->sealed->n_segments : 0;
    const struct wants was = *r->wants;
    int rc = OK;

    reader_begin(r, true, 0);
    for (size_t i = n == 0 || back ? 0 : reader_start(r, want.from); i < n && want.n < max; i++) {
        rc = reader_want_segment(r, back ? n - 1 - i : i, &want, e);
        if (rc != OK)
            break;
    }
    reader_end(r);
    if (rc == OK && !want.missing)
        wants_go_back(r->wants, &was);
    return rc == OK && want.missing ? reader_cold(e) : rc;
}

/* ---- cutting ---- */

struct reader_cut {
    struct id first;
    struct reader_sum sum;
};

/* What the block at the item has at or above the floor, and its last ID of the stream; *has: it has anything. */
static int reader_measure(struct reader *r, struct reader_sum *sum, struct id *last, bool *has,
                          struct err *e)
{
    const struct segment_block *b = reader_item(r);
    int rc;

    *sum = (struct reader_sum){ 0 };
    *has = true;
    if (reader_is_whole(r, r->sealed->floor, ID_MAX)) {
        *sum = (struct reader_sum){ b->n, b->raw_bytes };
        *last = b->last;
        return OK;
    }
    rc = reader_load(r, e);
    if (rc != OK)
        return rc;
    *has = r->run != NULL;
    if (*has)
        *last = reader_id(r, r->run->first + r->run->n - 1);
    reader_add_rows(r, r->sealed->floor, ID_MAX, UINT64_MAX, sum);
    return OK;
}

/* Walks on while a cut may be behind what has been passed; *cut is the largest one met. */
static int reader_cut_walk(struct reader *r, const struct reader_sum *most, struct id below,
                           struct reader_cut *cut, struct err *e)
{
    struct reader_sum sum = { 0 }, here;
    struct id last = ID_MIN;
    bool has = false;
    int rc = reader_goto(r, r->sealed->floor, e);

    while (rc == OK && !reader_is_end(r)) {
        if (sum.n > 0 && reader_item(r)->oid == r->sealed->oid)
            *cut = (struct reader_cut){ .first = reader_item(r)->first, .sum = sum };
        rc = reader_measure(r, &here, &last, &has, e);
        if (rc != OK)
            return rc;
        if (has && (here.n > most->n - sum.n || here.bytes > most->bytes - sum.bytes ||
                    id_cmp(last, below) >= 0))
            return OK;
        sum.n += here.n;
        sum.bytes += here.bytes;
        rc = reader_advance(r, e);
    }
    if (rc == OK && sum.n > 0 && id_next(&last))
        *cut = (struct reader_cut){ .first = last, .sum = sum };
    return rc;
}

int reader_cut(struct reader *r, uint64_t n, uint64_t bytes, struct id below, struct id *first,
               uint64_t *cut_n, uint64_t *cut_bytes, struct err *e)
{
    struct reader_sum most = { .n = n, .bytes = bytes };
    struct reader_cut cut = { .first = r->sealed->floor };
    int rc;

    reader_begin(r, true, 0);
    rc = reader_cut_walk(r, &most, below, &cut, e);
    reader_end(r);
    if (rc == OK) {
        *first = cut.first;
        *cut_n = cut.sum.n;
        *cut_bytes = cut.sum.bytes;
    }
    return rc;
}
