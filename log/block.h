/* block.h - some 32 KiB of entries as they lie in a segment: by column where their field names are the
 * same, compressed, checksummed; and the way back to rows. Essay and bytes: block.c; format:
 * docs/format.md.
 *
 * Rows come in ascending order of (oid, id). A block may hold rows of many streams. Encoders and
 * decoders keep buffers and the compressors' contexts; each belongs to one thread at a time. */
#ifndef LOG_BLOCK_H
#define LOG_BLOCK_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"
#include "log/id.h"

enum block_codec { BLOCK_NONE, BLOCK_LZ4, BLOCK_ZSTD, BLOCK_N_CODECS };

enum {
    BLOCK_HEADER_BYTES = 32,
    BLOCK_RAW_DEFAULT = 32 << 10, /* bytes of entries at which a block is closed */
    BLOCK_RAW_DENSE =
        128 << 10, /* where size counts: 17 % less, three times as long to decode one */
    BLOCK_RAW_MAX = (512 << 20) + (64 << 10), /* one entry may be as large as a record */
    BLOCK_ROWS_MAX = 1 << 16,
};

/* ---- writing ---- */

struct block_row {
    uint64_t oid;
    const uint8_t *entry; /* checked (log/entry.h) */
    size_t len;
};

struct block_encoder;

/* NULL if memory ran out. */
struct block_encoder *block_encoder_new(void);
void block_encoder_free(struct block_encoder *c);

/* Encodes 1..BLOCK_ROWS_MAX rows. *out is the block with its header, stamped for block number 0,
 * borrowed until the next call. A block that compression makes less than a tenth smaller is stored as
 * BLOCK_NONE. `level` is zstd's (0: 1; more hardly pays for columns), for lz4 its acceleration if
 * negative. Errors: ERR_NOMEM, ERR_TOO_BIG. */
must_check int block_encode(struct block_encoder *c, const struct block_row *rows, size_t n,
                            enum block_codec codec, int level, struct slice *out, struct err *e);

/* Makes a block that is at `p` the one with number `block_no` of the file with that salt: its
 * checksum says so, and one read from elsewhere is not taken for it. */
void block_stamp(uint8_t *p, size_t n, uint64_t salt, uint32_t block_no);

/* ---- reading ---- */

/* Rows of one stream within a block. */
struct block_run {
    uint64_t oid;
    uint32_t first, n;
};

/* A decoded block: entries as they were, one after the other. Counted; never changes. */
struct block {
    atomic_uint refs;
    size_t memory; /* bytes that it takes in all */
    uint32_t n, n_runs;
    const struct block_run *runs;
    const uint32_t *offsets; /* n + 1 of them: entry i is data[offsets[i] .. offsets[i + 1]) */
    const uint8_t *data;
};

struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* NULL is fine */

struct block_decoder;
struct block_decoder *block_decoder_new(void);
void block_decoder_free(struct block_decoder *c);

/* What a block's header says. */
struct block_head {
    uint32_t stored_bytes; /* behind the header */
    uint32_t raw_bytes;    /* of the entries as rows */
    uint32_t n;
    enum block_codec codec;
};

/* Checks the `n` bytes at `p`, which hold exactly one block with its header: checksum for that salt and
 * number, then the header's fields. Errors: ERR_CORRUPT (what is wrong). */
must_check int block_verify(const uint8_t *p, size_t n, uint64_t salt, uint32_t block_no,
                            struct block_head *out, struct err *e);

/* The same, and decodes it; every entry has passed entry_check, rows ascend. Errors: ERR_CORRUPT,
 * ERR_NOMEM. */
must_check int block_decode(struct block_decoder *c, const uint8_t *p, size_t n, uint64_t salt,
                            uint32_t block_no, struct block **out, struct err *e);

/* The run of a stream, or NULL; and its first row with an ID >= id (run->first + run->n if none). */
const struct block_run *block_find(const struct block *b, uint64_t oid);
uint32_t block_seek(const struct block *b, const struct block_run *run, struct id id);

static inline const uint8_t *block_entry(const struct block *b, uint32_t i)
{
    return b->data + b->offsets[i];
}

#endif
