/*
 * fuzz_block.c - a block that anybody may have written, under a right checksum.
 *
 * The input is codec, layout, rows (u16), raw bytes (u32), packed bytes (u32), payload; the rest of the header
 * is made right, so that the decoder is reached. What it takes for rows has to be rows, in order; and made
 * into a block and decoded again, the same ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/block.h"
#include "log/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { RECIPE_BYTES = 12, RAW_BYTES_MAX = 1 << 20 /* more is only slower */ };

static void fail(const char *what)
{
    fprintf(stderr, "fuzz_block: %s\n", what);
    abort();
}

static struct slice make_block(const uint8_t *p, size_t n)
{
    size_t size = BLOCK_HEADER_BYTES + n - RECIPE_BYTES;
    uint8_t *block = calloc(1, size);

    if (block == NULL)
        fail("out of memory");
    put_u32le(block + 4, (uint32_t)(n - RECIPE_BYTES));
    put_u32le(block + 8, get_u32le(p + 4) & (RAW_BYTES_MAX - 1));
    put_u32le(block + 12, p[0] == BLOCK_NONE ? (uint32_t)(n - RECIPE_BYTES) : get_u32le(p + 8));
    put_u32le(block + 16, get_u16le(p + 2));
    block[20] = p[0];
    block[21] = p[1];
    memcpy(block + BLOCK_HEADER_BYTES, p + RECIPE_BYTES, n - RECIPE_BYTES);
    block_stamp(block, size, 1, 2);
    return slice_of(block, size);
}

static void check_rows(const struct block *b, struct block_row *rows)
{
    for (uint32_t r = 0; r < b->n_runs; r++) {
        struct id before = ID_MIN, id;
        const struct block_run *run = &b->runs[r];
        if (run->n == 0 || (r > 0 && run->oid <= b->runs[r - 1].oid) ||
            run->first != (r == 0 ? 0 : b->runs[r - 1].first + b->runs[r - 1].n))
            fail("streams are out of order");
        for (uint32_t i = run->first; i < run->first + run->n; i++) {
            const uint8_t *end = b->data + b->offsets[i + 1];
            if (!entry_check(block_entry(b, i), end, &id))
                fail("an entry is none");
            if (i > run->first && id_cmp(id, before) <= 0)
                fail("IDs are out of order");
            rows[i] = (struct block_row){ run->oid, block_entry(b, i),
                                          (size_t)(end - block_entry(b, i)) };
            before = id;
        }
    }
}

static void check_again(struct block_encoder *encoder, struct block_decoder *decoder,
                        const struct block *b, const struct block_row *rows, enum block_codec codec)
{
    struct block *again = NULL;
    struct slice out;
    struct err e = { 0 };

    if (block_encode(encoder, rows, b->n, codec, 0, &out, &e) != OK ||
        block_decode(decoder, out.p, out.n, 0, 0, &again, &e) != OK)
        fail(e.text);
    if (again->n != b->n || again->n_runs != b->n_runs ||
        memcmp(again->runs, b->runs, b->n_runs * sizeof b->runs[0]) != 0 ||
        memcmp(again->offsets, b->offsets, (b->n + 1) * sizeof b->offsets[0]) != 0 ||
        memcmp(again->data, b->data, b->offsets[b->n]) != 0)
        fail("other rows come back");
    block_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct block_encoder *encoder = block_encoder_new();
    struct block_decoder *decoder = block_decoder_new();
    struct slice bytes;
    struct block *b;
    int rc;

    if (encoder == NULL || decoder == NULL)
        fail("out of memory");
    if (n >= RECIPE_BYTES) {
        bytes = make_block(p, n);
        rc = block_decode(decoder, bytes.p, bytes.n, 1, 2, &b, NULL);
        if (rc != OK && rc != ERR_CORRUPT)
            fail("another error than damage");
        if (rc == OK) {
            struct block_row *rows = calloc(b->n, sizeof rows[0]);
            if (rows == NULL)
                fail("out of memory");
            check_rows(b, rows);
            for (int codec = BLOCK_NONE; codec < BLOCK_N_CODECS; codec++)
                check_again(encoder, decoder, b, rows, (enum block_codec)codec);
            free(rows);
            block_unref(b);
        }
        free((void *)(uintptr_t)bytes.p);
    }
    block_encoder_free(encoder);
    block_decoder_free(decoder);
    return 0;
}
