/* fuzz_checkpoint.c - a checkpoint that anybody may have written.
 *
 * The input is a recipe of chunks: a byte that says how, lengths, and a payload; header, trailer and all checksums are made
 * right around them, but for what the recipe changes. A file is given to the host as a whole or not at all, and what is given
 * can be written again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/checkpoint.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/wal.h"
#include "tests/lib/simio.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { START = 2000, SALT_AT = 48, HEADER = 64, CHUNK = 32, TRAILER = 64, FILE_MAX = 1 << 16 };

struct recipe {
    const uint8_t *p, *end;
    uint8_t file[FILE_MAX];
    size_t pos;
    uint32_t sum, n_chunks;
    uint64_t as_of, raw;
};

static uint8_t take(struct recipe *r)
{
    return r->p < r->end ? *r->p++ : 0;
}

static uint32_t seed_of(const struct recipe *r)
{
    return crc32c(0, r->file + SALT_AT, 8);
}

static void put_header(struct recipe *r, const uint8_t *uuid)
{
    memcpy(r->file, "BECKCKP", 8);
    put_u32le(r->file + 8, 1);
    memcpy(r->file + 24, uuid, WAL_UUID_BYTES);
    put_u64le(r->file + 40, START);
    put_u32le(r->file + 60, crc32c(0, r->file, 60));
    r->pos = HEADER;
    r->as_of = START;
}

/* how: 1 lz4, 2 lengths of the recipe's choosing, 4 another number, 8 time goes on, 16 the checksum is left wrong. */
static void put_chunk(struct recipe *r)
{
    uint8_t *head = r->file + r->pos, how = take(r);
    uint32_t stored = take(r), raw = stored;

    if ((how & 1) != 0)
        raw = stored + take(r) * (uint32_t)take(r);
    r->as_of += (how & 8) != 0 ? take(r) : 0;
    for (uint32_t i = 0; i < stored; i++)
        head[CHUNK + i] = take(r);
    put_u32le(head + 4, (how & 4) != 0 ? take(r) : r->n_chunks);
    put_u64le(head + 8, r->as_of);
    put_u32le(head + 16, (how & 2) != 0 ? (uint32_t)take(r) << take(r) % 25 : stored);
    put_u32le(head + 20, (how & 2) != 0 ? (uint32_t)take(r) << take(r) % 25 : raw);
    head[24] = how & 1;
    put_u32le(head, crc32c(seed_of(r), head + 4, CHUNK - 4 + stored) ^ (how >> 4 & 1));
    r->sum = crc32c(r->sum, head, 4);
    r->raw += raw;
    r->n_chunks++;
    r->pos += CHUNK + stored;
}

static void put_trailer(struct recipe *r)
{
    uint8_t *p = r->file + r->pos;

    put_u32le(p + 4, UINT32_MAX);
    put_u64le(p + 8, r->as_of);
    put_u32le(p + 24, r->n_chunks);
    put_u64le(p + 32, r->raw);
    put_u32le(p + 40, r->sum);
    memcpy(p + 56, "BECKCKE", 8);
    put_u32le(p, crc32c(seed_of(r), p + 4, TRAILER - 4));
    r->pos += TRAILER;
}

struct host {
    struct checkpoint_writer *again;
    uint32_t n_chunks;
};

static void fail(const char *why, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", why, e->text);
    abort();
}

static int each(void *ctx, uint64_t as_of, struct slice payload, struct err *e)
{
    struct host *h = ctx;

    h->n_chunks++;
    return checkpoint_put(h->again, as_of, payload, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";
    static struct recipe r;
    struct simio *disk = simio_new(1);
    struct io *io = simio_io(disk);
    struct manifest_checkpoint c = { .start_lsn = START };
    struct host host = { 0 };
    char name[CHECKPOINT_NAME_MAX], path[64];
    struct err e = { 0 };
    int rc;

    memset(&r, 0, sizeof r);
    r.p = p;
    r.end = p + n;
    put_header(&r, uuid);
    while (r.p < r.end && r.pos < FILE_MAX - 512)
        put_chunk(&r);
    put_trailer(&r);
    c.end_lsn = r.as_of;
    c.file_bytes = r.pos;
    c.crc = get_u32le(r.file + r.pos - TRAILER);
    checkpoint_name(START, false, name);
    snprintf(path, sizeof path, "data/%s", name);
    io->mkdir(io, "data");
    io->mkdir(io, "again");
    simio_put(disk, path, r.file, r.pos);
    if (checkpoint_create(io, "again", uuid, START, &host.again, &e) != OK)
        fail("create", &e);
    rc = checkpoint_load(io, "data", uuid, &c, each, &host, &e);
    if (rc != OK && rc != ERR_CORRUPT)
        fail("neither taken nor refused", &e);
    if (host.n_chunks != (rc == OK ? r.n_chunks : 0))
        fail("given in part", &e);
    if (checkpoint_finish(host.again, r.as_of, 0, &c, &e) != OK ||
        checkpoint_verify(io, "again", uuid, START, &c, NULL, &e) != OK)
        fail("what was given cannot be kept", &e);
    simio_free(disk);
    return 0;
}
