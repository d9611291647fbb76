/* recipe.h - files of the log as somebody else may have written them: the input of a fuzzer says how.
 *
 * Checksums and chain are made right, so that what lies behind them is reached; fields and payloads are the input's choice, and
 * a frame may also be left wrong. */
#ifndef TESTS_LIB_RECIPE_H
#define TESTS_LIB_RECIPE_H
#include <stddef.h>
#include <stdint.h>
#include "log/wal.h"

struct recipe {
    const uint8_t *p, *end; /* the input */
    uint8_t *file;          /* RECIPE_FILE_BYTES */
    size_t pos;
    uint32_t seed, prev_crc;
    uint64_t lsn, index; /* what would be right next */
};

enum { RECIPE_FILE_BYTES = 64 << 10 };

uint8_t recipe_take(struct recipe *r);
/* What would be right, or something near it. */
uint64_t recipe_near(struct recipe *r, uint64_t right);

/* Begins a file of RECIPE_FILE_BYTES zeros with that header, in place of one before; LSN, index, chain and size of *h are filled
 * from what was right next. Ends the program if memory runs out. */
void recipe_begin(struct recipe *r, struct wal_header *h);
/* Frames until the input ends, the file is full, or `n` are there. */
void recipe_put_frames(struct recipe *r, size_t n);

#endif
