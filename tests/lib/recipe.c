/*
 * recipe.c - frames by the input of a fuzzer.
 */
#include "tests/lib/recipe.h"

#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"

uint8_t recipe_take(struct recipe *r)
{
    return r->p < r->end ? *r->p++ : 0;
}

/* Small changes to what would be right are more telling than any numbers. */
uint64_t recipe_near(struct recipe *r, uint64_t right)
{
    uint8_t by = recipe_take(r);

    return by < 0xf0 ? right : right + by - 0xf8;
}

static void recipe_put_frame(struct recipe *r)
{
    struct wal_frame f = { .term = 1, .prev_crc = r->prev_crc };
    uint8_t how = recipe_take(r);
    uint8_t *head = r->file + r->pos, *payload = head + WAL_FRAME_BYTES;

    f.flags = how & 15;
    f.payload_len = recipe_take(r);
    f.count = recipe_take(r);
    f.index = recipe_near(r, (f.flags & WAL_MARKERS) != 0 ? 0 : r->index);
    f.first_lsn = recipe_near(r, (f.flags & WAL_MARKERS) != 0 ? 0 : r->lsn);
    f.synced_lsn = recipe_near(r, r->lsn - 1);
    f.clock = recipe_take(r);
    for (uint32_t i = 0; i < f.payload_len; i++)
        payload[i] = recipe_take(r);
    f.payload_crc = crc32c(wal_frame_put_once(head, &f), payload, f.payload_len);
    if ((how & 32) != 0)
        f.payload_len = (uint32_t)recipe_take(r) << 17;
    r->prev_crc = wal_frame_put(head, r->seed, &f);
    if ((how & 16) != 0)
        head[recipe_take(r) % WAL_FRAME_BYTES] ^= 1;
    r->lsn += f.count;
    r->index += (f.flags & (WAL_MORE | WAL_MARKERS)) == 0;
    r->pos += (size_t)wal_frame_size(f.payload_len & 0xff);
    if ((how & 64) != 0)
        r->pos = (size_t)wal_sector_up(r->pos);
}

void recipe_begin(struct recipe *r, struct wal_header *h)
{
    h->size = RECIPE_FILE_BYTES;
    h->first_lsn = r->lsn;
    h->first_index = r->index;
    h->prev_end = r->pos;
    h->prev_crc = r->prev_crc;
    free(r->file);
    r->file = calloc(1, RECIPE_FILE_BYTES);
    if (r->file == NULL)
        abort();
    wal_header_put(r->file, h);
    r->pos = WAL_HEADER_BYTES;
    r->seed = wal_seed(h->salt);
}

void recipe_put_frames(struct recipe *r, size_t n)
{
    while (n-- > 0 && r->p < r->end && r->pos < RECIPE_FILE_BYTES - 1024)
        recipe_put_frame(r);
}
