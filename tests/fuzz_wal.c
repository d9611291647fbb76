/* fuzz_wal.c - a start on a log file that anybody may have written.
 *
 * The input is a recipe (tests/lib/recipe.h) for a file. The start has to end in one of its answers; if it succeeds, a second one has to find the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/log.h"
#include "log/record.h"
#include "log/store.h"
#include "log/wal.h"
#include "tests/lib/recipe.h"
#include "tests/lib/simio.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

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
    struct wal_header h = { .salt = 1 };
    struct recipe r = { .p = p, .end = p + n, .lsn = LOG_FIRST_LSN, .index = 1 };

    recipe_begin(&r, &h);
    recipe_put_frames(&r, SIZE_MAX);
    put_store(disk, &h);
    simio_put(disk, "data/wal-00000000000000001024.log", r.file, RECIPE_FILE_BYTES);
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
                             .file_bytes = RECIPE_FILE_BYTES,
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
