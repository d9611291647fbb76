/* codec.h - the compressors: bytes into fewer bytes and back. What they are is known to codec.c alone.
 *
 * A codec keeps their contexts between calls, and belongs to one thread at a time. */
#ifndef LOG_CODEC_H
#define LOG_CODEC_H
#include <stddef.h>
#include <stdint.h>
#include "log/block.h"
#include "log/err.h"

struct codec_writer;
struct codec_reader;

/* NULL if memory ran out; NULL is fine to free. */
struct codec_writer *codec_writer_new(void);
void codec_writer_free(struct codec_writer *c);
struct codec_reader *codec_reader_new(void);
void codec_reader_free(struct codec_reader *c);

/* Compresses the bytes at `p`, which are `n_parts` parts that differ in kind: ends[i] is where part i
 * ends. At most `cap` bytes go to `to`; *out_n is how many, 0 if they did not fit. `how` is not
 * BLOCK_NONE. `level` is zstd's (0: 1, negative ones are faster), for lz4 its acceleration if negative.
 * Errors: ERR_NOMEM. */
must_check int codec_pack(struct codec_writer *c, enum block_codec how, int level, const uint8_t *p,
                          const size_t *ends, size_t n_parts, uint8_t *to, size_t cap,
                          size_t *out_n, struct err *e);

/* Whether it is likely that compressing makes the bytes at `p` no smaller: a look at a part of them. */
bool codec_is_hopeless(struct codec_writer *c, const uint8_t *p, size_t n);

/* Decompresses `n` bytes at `from`, hostile ones, to exactly `n_to` bytes. Errors: ERR_CORRUPT,
 * ERR_NOMEM. */
must_check int codec_unpack(struct codec_reader *c, enum block_codec how, const uint8_t *from,
                            size_t n, uint8_t *to, size_t n_to, struct err *e);

#endif
