/*
 * bench_block.c - what blocks make of flights: bytes an event, and MB of rows a second and core, both ways, for each
 * codec, level and size of blocks. `bench_block [flights]`; FLIGHTS=file says of which.
 *
 * IDs are as a busy server makes them: some hundred in a millisecond. Beside them, incompressible values of
 * 1 KiB. Best of ROUNDS.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "log/block.h"
#include "log/entry.h"
#include "tests/lib/flights.h"
#include "tests/lib/random.h"

enum { ROUNDS = 3, N_FLIGHTS = 300000, N_NOISE = 30000, NOISE_BYTES = 1024 };

struct bench {
    struct block_row *rows;
    uint8_t *pool;
    size_t n, used, cap_rows, cap;
    struct random random;
    struct id id;
    struct block_encoder *encoder;
    struct block_decoder *decoder;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_block: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void add(void *ctx, const struct slice *strings, size_t n_strings)
{
    struct bench *b = ctx;
    size_t n;

    if (random_below(&b->random, 100) == 0)
        b->id = (struct id){ b->id.ms + 1, 0 };
    else
        b->id.seq++;
    n = entry_size(b->id, strings, n_strings);
    if (b->n == b->cap_rows || n > b->cap - b->used)
        die("too many rows");
    entry_put(b->pool + b->used, b->id, strings, n_strings);
    b->rows[b->n++] = (struct block_row){ 1024, b->pool + b->used, n };
    b->used += n;
}

static void bench_init(struct bench *b, size_t n, size_t bytes)
{
    *b = (struct bench){ .cap_rows = n,
                         .cap = n * bytes,
                         .random = { 1 },
                         .id = { 1700000000000, 0 },
                         .encoder = block_encoder_new(),
                         .decoder = block_decoder_new() };
    b->rows = calloc(n, sizeof b->rows[0]);
    b->pool = malloc(b->cap);
    if (b->rows == NULL || b->pool == NULL || b->encoder == NULL || b->decoder == NULL)
        die("out of memory");
}

static void bench_fini(struct bench *b)
{
    block_encoder_free(b->encoder);
    block_decoder_free(b->decoder);
    free(b->rows);
    free(b->pool);
}

/* How many rows, from `first` on, make a block of `bytes`. */
static size_t block_rows(const struct bench *b, size_t first, size_t bytes)
{
    size_t n = 0, sum = 0;

    while (first + n < b->n && sum < bytes && n < BLOCK_ROWS_MAX)
        sum += b->rows[first + n++].len;
    return n;
}

struct figures {
    size_t stored, n_blocks;
    uint64_t encode_ns, decode_ns;
};

static void one_round(struct bench *b, enum block_codec codec, int level, size_t bytes,
                      struct figures *f)
{
    struct block *block;
    struct slice out;
    struct err e = { 0 };

    *f = (struct figures){ 0 };
    for (size_t i = 0, n; i < b->n; i += n, f->n_blocks++) {
        uint64_t start = now_ns(), middle;
        n = block_rows(b, i, bytes);
        if (block_encode(b->encoder, b->rows + i, n, codec, level, &out, &e) != OK)
            die(e.text);
        middle = now_ns();
        if (block_decode(b->decoder, out.p, out.n, 0, 0, &block, &e) != OK)
            die(e.text);
        block_unref(block);
        f->decode_ns += now_ns() - middle;
        f->encode_ns += middle - start;
        f->stored += out.n;
    }
}

static void measure(struct bench *b, enum block_codec codec, int level, size_t bytes)
{
    static const char *const names[] = { "none", "lz4", "zstd" };
    struct figures best, f;

    one_round(b, codec, level, bytes, &best);
    for (int i = 1; i < ROUNDS; i++) {
        one_round(b, codec, level, bytes, &f);
        if (f.encode_ns < best.encode_ns)
            best.encode_ns = f.encode_ns;
        if (f.decode_ns < best.decode_ns)
            best.decode_ns = f.decode_ns;
    }
    printf("%-4s %2d  %4zu KiB: %7.2f bytes an event, %5.0f rows and %5.0f us a block; "
           "encode %5.0f MB/s, decode %5.0f MB/s\n",
           names[codec], level, bytes >> 10, (double)best.stored / (double)b->n,
           (double)b->n / (double)best.n_blocks,
           (double)best.decode_ns / 1000 / (double)best.n_blocks,
           (double)b->used * 1e3 / (double)best.encode_ns,
           (double)b->used * 1e3 / (double)best.decode_ns);
}

static void bench_flights(size_t n)
{
    static const size_t sizes[] = { 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10 };
    static const int levels[] = { -1, 1, 2, 3, 4, 6, 9 };
    struct bench b;
    struct err e = { 0 };

    bench_init(&b, n, 300);
    if (flights_each(n, add, &b, &e) != OK)
        die(e.text);
    printf("%zu flights, %.1f bytes each as rows\n", b.n, (double)b.used / (double)b.n);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        measure(&b, BLOCK_NONE, 0, sizes[i]);
        measure(&b, BLOCK_LZ4, 0, sizes[i]);
        for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++)
            measure(&b, BLOCK_ZSTD, levels[k], sizes[i]);
    }
    bench_fini(&b);
}

static void bench_noise(void)
{
    static uint8_t value[NOISE_BYTES];
    struct slice strings[] = { slice_str("value"), slice_of(value, sizeof value) };
    struct bench b;

    bench_init(&b, N_NOISE, NOISE_BYTES + 100);
    for (size_t i = 0; i < N_NOISE; i++) {
        for (size_t k = 0; k < sizeof value; k += 8)
            put_u64le(value + k, random_u64(&b.random));
        add(&b, strings, 2);
    }
    printf("%zu incompressible values of 1 KiB\n", b.n);
    for (int codec = BLOCK_NONE; codec < BLOCK_N_CODECS; codec++)
        measure(&b, (enum block_codec)codec, 0, BLOCK_RAW_DEFAULT);
    bench_fini(&b);
}

int main(int argc, char **argv)
{
    bench_flights(argc > 1 ? strtoull(argv[1], NULL, 10) : N_FLIGHTS);
    bench_noise();
    return 0;
}
