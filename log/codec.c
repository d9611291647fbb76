/*
 * codec.c - zstd and lz4.
 *
 * zstd gives each of its own blocks one table of byte frequencies. Columns differ in theirs, so a new block
 * begins with each part: at 32 KiB of flights that is a tenth less than one block for all, and nothing
 * a reader has to know of. Parts of a few bytes go with the next one, since a block costs three bytes.
 *
 * Contexts are kept, since making one costs more than compressing a block; one that a huge input or
 * a high level has made large is given back afterwards.
 */
#include "log/codec.h"
#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

enum {
    CODEC_PART_MIN = 64,           /* bytes, for a block of its own */
    CODEC_CONTEXT_MAX = 8 << 20,   /* bytes of a context that is kept */
    CODEC_SAMPLE = 1 << 12,        /* bytes looked at for how often each occurs */
    CODEC_HOPELESS_BITS_16 = 120,  /* sixteenths of a bit that a byte has on average: 7.5 bits */
    CODEC_PROBE_ACCELERATION = 32, /* of lz4 when it only looks for repetitions */
    CODEC_PROBE_BYTES = 16 << 10,
};

struct codec_writer {
    ZSTD_CCtx *zstd; /* or NULL */
    void *lz4;
    uint8_t probe[LZ4_COMPRESSBOUND(CODEC_PROBE_BYTES)];
};

struct codec_reader {
    ZSTD_DCtx *zstd; /* or NULL */
};

struct codec_writer *codec_writer_new(void)
{
    struct codec_writer *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->lz4 = malloc((size_t)LZ4_sizeofState());
    if (c->lz4 == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void codec_writer_free(struct codec_writer *c)
{
    if (c == NULL)
        return;
    ZSTD_freeCCtx(c->zstd);
    free(c->lz4);
    free(c);
}

struct codec_reader *codec_reader_new(void)
{
    return calloc(1, sizeof(struct codec_reader));
}

void codec_reader_free(struct codec_reader *c)
{
    if (c == NULL)
        return;
    ZSTD_freeDCtx(c->zstd);
    free(c);
}

/* ---- compressing ---- */

/* Feeds one part and makes zstd write all of it, or, with ZSTD_e_end, the frame's end too. False if `to`
 * is full. */
static bool codec_zstd_part(ZSTD_CCtx *zstd, const uint8_t *p, size_t n, ZSTD_EndDirective end,
                            ZSTD_outBuffer *to)
{
    ZSTD_inBuffer from = { p, n, 0 };

    for (;;) {
        size_t left = ZSTD_compressStream2(zstd, to, &from, end);
        if (ZSTD_isError(left))
            return false;
        if (end == ZSTD_e_continue ? from.pos == from.size : left == 0)
            return true;
        if (to->pos == to->size)
            return false;
    }
}

static size_t codec_zstd(ZSTD_CCtx *zstd, int level, const uint8_t *p, const size_t *ends,
                         size_t n_parts, uint8_t *to, size_t cap)
{
    ZSTD_outBuffer out = { to, cap, 0 };
    size_t at = 0;

    if (ZSTD_isError(ZSTD_CCtx_reset(zstd, ZSTD_reset_session_only)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(zstd, ends[n_parts - 1])))
        return 0;
    for (size_t i = 0; i < n_parts; i++) {
        bool last = i + 1 == n_parts;
        if (!last && ends[i] - at < CODEC_PART_MIN)
            continue;
        if (!codec_zstd_part(zstd, p + at, ends[i] - at, last ? ZSTD_e_end : ZSTD_e_flush, &out))
            return 0;
        at = ends[i];
    }
    return out.pos;
}

static size_t codec_lz4(void *state, int level, const uint8_t *p, size_t n, uint8_t *to, size_t cap)
{
    int got;

    if (n > LZ4_MAX_INPUT_SIZE)
        return 0;
    got =
        LZ4_compress_fast_extState(state, (const char *)p, (char *)to, (int)n,
                                   cap > INT32_MAX ? INT32_MAX : (int)cap, level < 0 ? -level : 1);
    return got > 0 ? (size_t)got : 0;
}

int codec_pack(struct codec_writer *c, enum block_codec how, int level, const uint8_t *p,
               const size_t *ends, size_t n_parts, uint8_t *to, size_t cap, size_t *out_n,
               struct err *e)
{
    if (how == BLOCK_LZ4) {
        *out_n = codec_lz4(c->lz4, level, p, ends[n_parts - 1], to, cap);
        return OK;
    }
    if (c->zstd == NULL)
        c->zstd = ZSTD_createCCtx();
    if (c->zstd == NULL)
        return err_set(e, ERR_NOMEM, "compress a block");
    *out_n = codec_zstd(c->zstd, level == 0 ? 1 : level, p, ends, n_parts, to, cap);
    if (ZSTD_sizeof_CCtx(c->zstd) > CODEC_CONTEXT_MAX) {
        ZSTD_freeCCtx(c->zstd);
        c->zstd = NULL;
    }
    return OK;
}

/* ---- whether it is worth trying ---- */

/* log2(v) in sixteenths, v > 0: exact for powers of two, a straight line between them. */
static unsigned codec_log2_16(unsigned v)
{
    unsigned whole = 31u - (unsigned)__builtin_clz(v);

    return whole * 16 + (((v << 4) >> whole) - 16);
}

/* Sixteenths of a bit that a byte of the sample tells, if bytes were independent. */
static unsigned codec_entropy_16(const uint8_t *p, size_t n)
{
    size_t step = n / CODEC_SAMPLE + 1, seen = (n + step - 1) / step;
    unsigned count[256] = { 0 }, sum = 0;

    for (size_t i = 0; i < n; i += step)
        count[p[i]]++;
    for (unsigned b = 0; b < 256; b++)
        if (count[b] > 0)
            sum += count[b] * (codec_log2_16((unsigned)seen) - codec_log2_16(count[b]));
    return sum / (unsigned)seen;
}

bool codec_is_hopeless(struct codec_writer *c, const uint8_t *p, size_t n)
{
    size_t probe = n < CODEC_PROBE_BYTES ? n : CODEC_PROBE_BYTES;

    if (n < CODEC_SAMPLE || codec_entropy_16(p, n) < CODEC_HOPELESS_BITS_16)
        return false;
    return codec_lz4(c->lz4, -CODEC_PROBE_ACCELERATION, p, probe, c->probe, probe / 10 * 9) == 0;
}

/* ---- decompressing ---- */

int codec_unpack(struct codec_reader *c, enum block_codec how, const uint8_t *from, size_t n,
                 uint8_t *to, size_t n_to, struct err *e)
{
    size_t got;

    if (how == BLOCK_LZ4) {
        if (n > INT32_MAX || n_to > INT32_MAX ||
            LZ4_decompress_safe((const char *)from, (char *)to, (int)n, (int)n_to) != (int)n_to)
            return err_set(e, ERR_CORRUPT, "lz4 cannot decompress it");
        return OK;
    }
    if (c->zstd == NULL)
        c->zstd = ZSTD_createDCtx();
    if (c->zstd == NULL)
        return err_set(e, ERR_NOMEM, "decompress a block");
    got = ZSTD_decompressDCtx(c->zstd, to, n_to, from, n);
    if (ZSTD_isError(got))
        return err_set(e, ERR_CORRUPT, "zstd cannot decompress it: %s", ZSTD_getErrorName(got));
    if (got != n_to)
        return err_set(e, ERR_CORRUPT, "it decompresses to %zu bytes instead of %zu", got, n_to);
    return OK;
}
