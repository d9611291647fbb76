/*
 * room.c - pieces from malloc, or from a block that was set aside for when it has none.
 *
 *   piece   | its block, or NULL | bytes | ...      the head is ROOM_HEAD bytes
 *   block   | used, size, pieces in use | piece | piece | ... untouched
 *
 * A block that has given pieces away lives until the last of them is back, even if another one has taken its place.
 *
 *   R1  room.bytes is the sum over the pieces in use.
 *   R2  A block is freed when no piece of it is in use and it is not the one set aside.
 */
#include "groups/room.h"
#include <assert.h>
#include <stdlib.h>

enum { SURPLUS_MIN = 1024 * 1024 }; /* bytes: less than that too much set aside stays */

struct room_piece {
    struct room_block *block;
    size_t bytes; /* all in all */
};
static_assert(sizeof(struct room_piece) == ROOM_HEAD, "room_cost counts with it");

enum { MALLOC_HEAD = 16 }; /* what malloc takes besides */

struct room_block {
    size_t used, size;
    size_t n_pieces; /* in use */
    size_t zero;     /* so that the pieces are aligned */
    unsigned char bytes[];
};

static void room_drop_block(struct room_block *b)
{
    if (b != NULL && b->n_pieces == 0)
        free(b); /* R2; else the last piece does it */
}

int room_reserve(struct room *r, size_t bytes, struct err *e)
{
    size_t left = r->spare == NULL ? 0 : r->spare->size - r->spare->used;
    struct room_block *b;

    if (left >= bytes && (left <= SURPLUS_MIN || left / 4 <= bytes))
        return OK;
    b = malloc(sizeof *b + bytes);
    if (b == NULL)
        return left >= bytes ? OK : err_set(e, ERR_NOMEM, "setting %zu bytes aside", bytes);
    b->used = b->n_pieces = b->zero = 0;
    b->size = bytes;
    room_drop_block(r->spare);
    r->spare = b;
    return OK;
}

static void *room_hand_out(struct room *r, struct room_piece *piece, struct room_block *b,
                           size_t bytes)
{
    piece->block = b;
    piece->bytes = bytes + MALLOC_HEAD;
    r->bytes += piece->bytes;
    return piece + 1;
}

void *room_try(struct room *r, size_t n)
{
    struct room_piece *piece = malloc(room_cost(n));

    return piece == NULL ? NULL : room_hand_out(r, piece, NULL, room_cost(n));
}

void *room_get(struct room *r, size_t n)
{
    void *p = room_try(r, n);
    struct room_block *b = r->spare;
    struct room_piece *piece;

    if (p != NULL)
        return p;
    assert(b != NULL);
    assert(room_cost(n) <= b->size - b->used);
    piece = (struct room_piece *)(void *)(b->bytes + b->used);
    b->used += room_cost(n);
    b->n_pieces++;
    return room_hand_out(r, piece, b, room_cost(n));
}

void room_put(struct room *r, void *p)
{
    struct room_piece *piece;

    if (p == NULL)
        return;
    piece = (struct room_piece *)p - 1;
    r->bytes -= piece->bytes;
    if (piece->block == NULL) {
        free(piece);
        return;
    }
    piece->block->n_pieces--;
    if (piece->block != r->spare)
        room_drop_block(piece->block);
}

void room_fini(struct room *r)
{
    assert(r->bytes == 0); /* R1 */
    room_drop_block(r->spare);
    r->spare = NULL;
}
