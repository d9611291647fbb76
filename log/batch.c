/*
 * batch.c - records on their way to the file.
 *
 * The records themselves stay in the arena; a batch only says where. One batch object serves round
 * after round: the inline path reuses it at once, and the writer hands those back that went through
 * its queue.
 *
 * A batch that exceeds one frame is cut where the frame is full, through the middle of a record if
 * need be, so frames know how many records end in each. The lengths in front of the records tell.
 */
#include "log/batch.h"

#include <assert.h>
#include <stdlib.h>
#include "log/wal.h"

struct batch *batch_new(void)
{
    return calloc(1, sizeof(struct batch));
}

void batch_free(struct batch *b)
{
    if (b == NULL)
        return;
    free(b->extents);
    free(b);
}

void batch_reset(struct batch *b)
{
    b->next = NULL;
    b->n_extents = 0;
    b->bytes = 0;
    b->n_records = 0;
    b->n_always = 0;
    b->classes = 0;
}

int batch_reserve_extent(struct batch *b, struct err *e)
{
    size_t cap = b->cap_extents == 0 ? 4 : 2 * b->cap_extents;
    struct slice *extents;

    if (b->n_extents < b->cap_extents)
        return OK;
    extents = realloc(b->extents, cap * sizeof *extents);
    if (extents == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a batch of records");
    b->extents = extents;
    b->cap_extents = cap;
    return OK;
}

struct slice batch_piece(const struct batch *b, struct batch_pos *pos, size_t max)
{
    struct slice x = b->extents[pos->extent];
    size_t n = x.n - pos->offset;

    if (n > max) {
        pos->offset += max;
        return slice_of(x.p + pos->offset - max, max);
    }
    x = slice_of(x.p + pos->offset, n);
    pos->extent++;
    pos->offset = 0;
    return x;
}

/* Bytes of the record that starts at *pos, its length included. */
static size_t batch_record_size(const struct batch *b, const struct batch_pos *pos)
{
    struct slice x = b->extents[pos->extent];
    const uint8_t *start = x.p + pos->offset, *p = start;
    uint64_t len;
    bool whole = varint_get(&p, x.p + x.n, &len);

    assert(whole);
    return (size_t)(p - start) + (size_t)len;
}

size_t batch_next_frame(const struct batch *b, struct batch_pos *pos, size_t max, uint16_t *count)
{
    size_t n = 0;
    uint16_t ended = 0;

    if (pos->extent == 0 && pos->offset == 0 && b->bytes <= max &&
        b->n_records <= WAL_RECORDS_MAX) {
        pos->extent = b->n_extents; /* as nearly always: all of it */
        *count = (uint16_t)b->n_records;
        return b->bytes;
    }
    while (n < max && ended < WAL_RECORDS_MAX && pos->extent < b->n_extents) {
        size_t take;

        if (pos->record_left == 0)
            pos->record_left = batch_record_size(b, pos);
        take = pos->record_left < max - n ? pos->record_left : max - n;
        take = batch_piece(b, pos, take).n;
        pos->record_left -= take;
        n += take;
        if (pos->record_left == 0)
            ended++;
    }
    *count = ended;
    return n;
}
