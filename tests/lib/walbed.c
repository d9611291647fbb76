/*
 * walbed.c - the least that a log needs around it.
 */
#include "tests/lib/walbed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/io.h"
#include "log/record.h"
#include "tests/lib/segments.h"

/* ---- the keeper and the host ---- */

static struct arena *sink_arena(struct keeper *k)
{
    return &((struct walbed *)k)->arena;
}

static int sink_reserve(struct keeper *k, struct err *e)
{
    (void)k;
    (void)e;
    return OK;
}

static void sink_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first, uint64_t last)
{
    struct walbed *b = (struct walbed *)k;

    assert_int_equal(b->n_took, b->n_ends);
    assert_true(b->n_took == 0 || first > b->took_last);
    if (b->n_took++ == 0)
        b->took_first = first;
    b->took_last = last;
    b->took = p;
    b->took_bytes = n;
}

static void sink_batch_end(struct keeper *k)
{
    struct walbed *b = (struct walbed *)k;

    assert_int_equal(b->last_lsn, b->took_last);
    b->n_ends++;
}

static int sink_turn(struct keeper *k, uint64_t durable_lsn, struct err *e)
{
    struct walbed *b = (struct walbed *)k;

    assert_int_equal(durable_lsn, b->last_lsn);
    b->n_turns++;
    b->durable_lsn = durable_lsn;
    return b->turn_rc == OK ? OK : err_set(e, b->turn_rc, "the disk is full");
}

static int replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct walbed *b = ctx;

    (void)e;
    if (b->n++ == 0)
        b->first_lsn = r->lsn;
    else
        assert_true(r->lsn > b->last_lsn);
    b->last_lsn = r->lsn;
    b->n_sealed += r->sealed;
    if (r->type == RECORD_SKIP)
        return OK;
    assert_int_equal(r->len, WALBED_BODY);
    assert_int_equal(get_u64le(r->body), r->lsn);
    if (!r->sealed) /* it is where the keeper was told */
        assert_true(r->body > b->took && r->body < b->took + b->took_bytes);
    return OK;
}

struct walbed *walbed_new(void)
{
    struct walbed *b = calloc(1, sizeof *b);
    struct io *io;

    assert_non_null(b);
    b->disk = simio_new(1);
    io = simio_io(b->disk);
    assert_int_equal(io->mkdir(io, "data"), 0);
    assert_int_equal(io->sync_dir(io, "."), 0);
    b->options = (struct log_options){ .io = io,
                                       .dir = "data",
                                       .file_bytes = WALBED_FILE_BYTES,
                                       .batch_bytes_max = 1 << 20,
                                       .interval_ms = 1000,
                                       .host.replay = replay,
                                       .host.ctx = b };
    b->recover = (struct recover_options){ .log = &b->options,
                                           .uuid = segments_uuid,
                                           .created = true,
                                           .start.wal_first = LOG_FIRST_LSN,
                                           .sink = { .keeper = (struct keeper *)b,
                                                     .arena = sink_arena,
                                                     .reserve = sink_reserve,
                                                     .took = sink_took,
                                                     .batch_end = sink_batch_end,
                                                     .replay_turn = sink_turn } };
    arena_init(&b->arena, NULL);
    return b;
}

int walbed_start(struct walbed *b)
{
    int rc;

    arena_fini(&b->arena);
    arena_init(&b->arena, NULL);
    b->n = b->n_sealed = b->first_lsn = b->last_lsn = 0;
    b->n_took = b->took_first = b->took_last = b->n_ends = b->n_turns = b->durable_lsn = 0;
    b->err = (struct err){ 0 };
    rc = recover_run(&b->recover, &b->result, &b->err);
    assert_int_equal(b->n_took, b->n_ends + (rc != OK && b->n_took > b->n_ends));
    return rc;
}

void walbed_open(struct walbed *b)
{
    struct writer_options w = { .io = b->options.io,
                                .dir = "data",
                                .uuid = segments_uuid,
                                .file_bytes = WALBED_FILE_BYTES,
                                .interval_ms = 1000 };

    if (walbed_start(b) != OK)
        fail_msg("recover_run: %s", b->err.text);
    b->recover.created = false;
    w.files = b->result.files;
    w.n_files = b->result.n_files;
    b->next_lsn = b->result.cursor.next_lsn;
    b->next_index = b->result.cursor.next_index;
    assert_int_equal(writer_open(&w, &b->result.cursor, &b->writer, &b->err), OK);
    free(b->result.files);
}

void walbed_kill(struct walbed *b)
{
    writer_abandon(b->writer);
    b->writer = NULL;
    simio_restart(b->disk);
}

void walbed_close(struct walbed *b)
{
    assert_int_equal(writer_close(b->writer, &b->err), OK);
    b->writer = NULL;
}

void walbed_free(struct walbed *b)
{
    writer_abandon(b->writer);
    batch_free(b->batch);
    arena_fini(&b->arena);
    simio_free(b->disk);
    free(b);
}

void walbed_settle(struct walbed *b)
{
    while (writer_step(b->writer))
        ;
}

/* A batch of WALBED_RECORDS records, whose bodies begin with their LSN. */
static void put_batch(struct walbed *b, enum log_class class)
{
    uint8_t *p = b->records;

    if (b->batch == NULL)
        b->batch = batch_new();
    assert_non_null(b->batch);
    assert_int_equal(batch_reserve_extent(b->batch, &b->err), OK);
    b->batch->first_lsn = b->next_lsn;
    b->batch->index = b->next_index++;
    b->batch->classes = (uint8_t)(1u << class);
    for (int i = 0; i < WALBED_RECORDS; i++) {
        uint8_t *start = p;
        p = varint_put(p, 1 + WALBED_BODY);
        *p++ = WALBED_TYPE;
        memset(p, 0, WALBED_BODY);
        put_u64le(p, b->next_lsn++);
        p += WALBED_BODY;
        batch_add(b->batch, start, (size_t)(p - start));
    }
    b->batch = writer_commit(b->writer, b->batch, false);
    walbed_settle(b);
}

void walbed_put(struct walbed *b, int n_batches)
{
    while (n_batches-- > 0)
        put_batch(b, LOG_OS);
}

static void walbed_note_name(void *ctx, const char *path)
{
    struct walbed_names *names = ctx;
    size_t n = strlen(names->dir);

    if (strncmp(path, names->dir, n) == 0 && path[n] == '/' && names->n < 64 &&
        wal_name_parse(path + n + 1, &names->first_lsn[names->n]))
        names->n++;
}

struct walbed_names walbed_files(struct simio *disk, const char *dir)
{
    struct walbed_names names = { .dir = dir };

    simio_each_file(disk, walbed_note_name, &names);
    return names;
}
