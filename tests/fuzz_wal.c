/* fuzz_wal.c - a start on a log file that anybody may have written.
 *
 * The input is a recipe: frames with checksums and chain made right, so that what lies behind them
 * is reached, each with fields and payload of the input's choosing; a frame may also be left wrong.
 * The start has to end in one of its answers; if it succeeds, a second one has to find the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/log.h"
#include "log/record.h"
#include "log/store.h"
#include "log/wal.h"
#include "tests/lib/simio.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { FILE_BYTES = LOG_FILE_BYTES_MIN };

struct recipe {
    const uint8_t *p, *end;
    uint8_t *file;
    size_t pos;
    uint32_t seed, prev_crc;
    uint64_t lsn, index;
};

static uint8_t take(struct recipe *r)
{
    return r->p < r->end ? *r->p++ : 0;
}

/* Small changes to what would be right are more telling than any numbers. */
static uint64_t near(struct recipe *r, uint64_t right)
{
    uint8_t by = take(r);

    return by < 0xf0 ? right : right + by - 0xf8;
}

static void put_frame(struct recipe *r)
{
    struct wal_frame f = { .term = 1, .prev_crc = r->prev_crc };
    uint8_t how = take(r);
    uint8_t *head = r->file + r->pos, *payload = head + WAL_FRAME_BYTES;

    f.flags = how & 15;
    f.payload_len = take(r);
    f.count = take(r);
    f.index = near(r, (f.flags & WAL_MARKERS) != 0 ? 0 : r->index);
    f.first_lsn = near(r, (f.flags & WAL_MARKERS) != 0 ? 0 : r->lsn);
    f.synced_lsn = near(r, r->lsn - 1);
    f.clock = take(r);
    for (uint32_t i = 0; i < f.payload_len; i++)
        payload[i] = take(r);
    f.payload_crc = crc32c(wal_frame_put_once(head, &f), payload, f.payload_len);
    if ((how & 32) != 0)
        f.payload_len = (uint32_t)take(r) << 17;
    r->prev_crc = wal_frame_put(head, r->seed, &f);
    if ((how & 16) != 0)
        head[take(r) % WAL_FRAME_BYTES] ^= 1;
    r->lsn += f.count;
    r->index += (f.flags & (WAL_MORE | WAL_MARKERS)) == 0;
    r->pos += (size_t)wal_frame_size(f.payload_len & 0xff);
    if ((how & 64) != 0)
        r->pos = (size_t)wal_sector_up(r->pos);
}

static void put_store(struct simio *disk, const struct wal_header *h)
{
    uint8_t store[STORE_BYTES] = "BECKSTO";

    put_u32le(store + 8, STORE_VERSION);
    memcpy(store + 24, h->uuid, WAL_UUID_BYTES);
    put_u32le(store + STORE_BYTES - 4, crc32c(0, store, STORE_BYTES - 4));
    simio_io(disk)->mkdir(simio_io(disk), "data");
    simio_put(disk, "data/STORE", store, sizeof store);
}

static void put_file(struct simio *disk, const uint8_t *p, size_t n)
{
    struct wal_header h = {
        .size = FILE_BYTES, .first_lsn = LOG_FIRST_LSN, .first_index = 1, .salt = 1
    };
    struct recipe r = { .p = p,
                        .end = p + n,
                        .pos = WAL_HEADER_BYTES,
                        .seed = wal_seed(1),
                        .lsn = LOG_FIRST_LSN,
                        .index = 1 };

    r.file = calloc(1, FILE_BYTES);
    if (r.file == NULL)
        abort();
    wal_header_put(r.file, &h);
    while (r.p < r.end && r.pos < FILE_BYTES - 1024)
        put_frame(&r);
    put_store(disk, &h);
    simio_put(disk, "data/wal-00000000000000001024.log", r.file, FILE_BYTES);
    free(r.file);
}

static int count(void *ctx, const struct log_record *r, struct err *e)
{
    uint64_t *sum = ctx;

    (void)e;
    if (r->type != RECORD_SKIP)
        *sum = (*sum ^ r->lsn ^ r->clock << 32) * 0x9e3779b97f4a7c15 +
               crc32c(r->type, r->body, r->len);
    return OK;
}

static int start(struct simio *disk, bool salvage, uint64_t *sum)
{
    struct log_options o = { .io = simio_io(disk),
                             .dir = "data",
                             .file_bytes = FILE_BYTES,
                             .batch_bytes_max = 1 << 20,
                             .interval_ms = 1000,
                             .salvage = salvage,
                             .host.replay = count,
                             .host.ctx = sum };
    struct log *log;
    struct err e = { 0 };
    int rc;

    *sum = 0;
    rc = log_open(&o, &log, NULL, &e);
    if (rc != OK && rc != ERR_CORRUPT && rc != ERR_FORMAT) {
        fprintf(stderr, "log_open: %s\n", e.text);
        abort();
    }
    if (rc == OK && log_close(log, &e) != OK) {
        fprintf(stderr, "log_close: %s\n", e.text);
        abort();
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct simio *disk = simio_new(1);
    uint64_t first, second;
    int rc;

    put_file(disk, p, n);
    rc = start(disk, false, &first);
    if (rc == ERR_CORRUPT)
        rc = start(disk, true, &first);
    if (rc == OK && (start(disk, false, &second) != OK || first != second)) {
        fprintf(stderr, "a second start finds something else\n");
        abort();
    }
    simio_free(disk);
    return 0;
}
