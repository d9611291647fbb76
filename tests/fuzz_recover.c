/* fuzz_recover.c - a start in the middle of a log that anybody may have written, with segments and a checkpoint that claim anything.
 *
 * The input is what is claimed, then a recipe (tests/lib/recipe.h) for three files. The start has to end in one of its answers, and
 * to keep what it promises its keeper; if it succeeds, a second one has to find the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/record.h"
#include "log/recover.h"
#include "tests/lib/recipe.h"
#include "tests/lib/simio.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { N_FILES = 3, FIRST_LSN = 5000, FIRST_INDEX = 7 };

static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";

struct fuzz {
    struct simio *disk;
    struct keeper_start start;
    struct arena arena;
    uint64_t sum, last_lsn, took_last, bytes;
    bool inside; /* a batch was taken and has not ended */
};

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

/* ---- the keeper and the host ---- */

static struct arena *fuzz_arena(struct keeper *k)
{
    return &((struct fuzz *)k)->arena;
}

static int fuzz_reserve(struct keeper *k, struct err *e)
{
    (void)k;
    (void)e;
    return OK;
}

static void fuzz_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first, uint64_t last)
{
    struct fuzz *f = (struct fuzz *)k;

    for (size_t i = 0; i < n; i++) /* they can be read */
        f->bytes += p[i];
    if (f->inside || first <= f->last_lsn || last < first || last <= f->start.sealed_lsn)
        fuzz_fail("what stays is not what follows");
    f->took_last = last;
    f->inside = true;
}

static void fuzz_batch_end(struct keeper *k)
{
    struct fuzz *f = (struct fuzz *)k;

    if (!f->inside || f->last_lsn != f->took_last)
        fuzz_fail("a batch ends where it did not");
    f->inside = false;
}

static int fuzz_turn(struct keeper *k, uint64_t durable_lsn, struct err *e)
{
    struct fuzz *f = (struct fuzz *)k;

    (void)e;
    if (f->inside || durable_lsn != f->last_lsn)
        fuzz_fail("a turn inside a batch");
    return OK;
}

static int fuzz_replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct fuzz *f = ctx;

    (void)e;
    if (r->lsn <= f->last_lsn || r->sealed != (r->lsn <= f->start.sealed_lsn))
        fuzz_fail("a record that is not the next");
    if (!r->sealed && !f->inside)
        fuzz_fail("a record that was not taken");
    f->last_lsn = r->lsn;
    if (r->type != RECORD_SKIP)
        f->sum = (f->sum ^ r->lsn ^ r->clock << 32) * 0x9e3779b97f4a7c15 +
                 crc32c(r->type, r->body, r->len);
    return OK;
}

/* ---- starts ---- */

static int fuzz_start(struct fuzz *f, bool salvage)
{
    struct log_options o = { .io = simio_io(f->disk),
                             .dir = "data",
                             .file_bytes = RECIPE_FILE_BYTES,
                             .salvage = salvage,
                             .host.replay = fuzz_replay,
                             .host.ctx = f };
    struct recover_options options = { .log = &o,
                                       .uuid = uuid,
                                       .start = f->start,
                                       .sink = { .keeper = (struct keeper *)f,
                                                 .arena = fuzz_arena,
                                                 .reserve = fuzz_reserve,
                                                 .took = fuzz_took,
                                                 .batch_end = fuzz_batch_end,
                                                 .replay_turn = fuzz_turn } };
    struct recover_result result;
    struct err e = { 0 };
    int rc;

    f->sum = f->last_lsn = f->took_last = 0;
    f->inside = false;
    arena_init(&f->arena, NULL);
    rc = recover_run(&options, &result, &e);
    if (rc == OK) {
        if (result.n_files == 0 || result.files[0].first_lsn < f->start.wal_first)
            fuzz_fail("files that were to be removed");
        if (result.cursor.next_lsn <= f->start.sealed_lsn ||
            result.cursor.next_lsn <= f->start.end_lsn)
            fuzz_fail("LSNs are given twice");
        o.io->close(o.io, result.cursor.fd);
        free(result.files);
    } else if (rc != ERR_CORRUPT && rc != ERR_FORMAT) {
        fuzz_fail(e.text);
    }
    arena_fini(&f->arena);
    return rc;
}

static void fuzz_put_files(struct fuzz *f, struct recipe *r)
{
    for (uint64_t i = 0; i < N_FILES; i++) {
        struct wal_header h = { .salt = i + 1 };
        char name[WAL_NAME_MAX], path[64];

        memcpy(h.uuid, uuid, WAL_UUID_BYTES);
        r->lsn = recipe_near(r, r->lsn);
        recipe_begin(r, &h);
        wal_name(h.first_lsn, name);
        snprintf(path, sizeof path, "data/%s", name);
        recipe_put_frames(r, recipe_take(r) % 8);
        if (recipe_take(r) < 0xf0)
            simio_put(f->disk, path, r->file, RECIPE_FILE_BYTES);
    }
    free(r->file);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct recipe r = { .p = p, .end = p + n, .lsn = FIRST_LSN, .index = FIRST_INDEX };
    struct fuzz f = { .disk = simio_new(1) };
    uint64_t sum;
    int rc;

    f.start.wal_first = recipe_near(&r, FIRST_LSN);
    f.start.sealed_lsn = FIRST_LSN - 1 + recipe_take(&r) % 32;
    f.start.start_lsn = FIRST_LSN - 1 + recipe_take(&r) % 32;
    f.start.end_lsn = f.start.start_lsn + recipe_take(&r) % 16;
    simio_io(f.disk)->mkdir(simio_io(f.disk), "data");
    fuzz_put_files(&f, &r);
    rc = fuzz_start(&f, false);
    if (rc == ERR_CORRUPT)
        rc = fuzz_start(&f, true);
    sum = f.sum;
    if (rc == OK && (fuzz_start(&f, false) != OK || f.sum != sum))
        fuzz_fail("a second start finds something else");
    simio_free(f.disk);
    return 0;
}
