/* host.c - see host.h. All of it runs on the engine's thread, inside log_open, log_turn and log_close. */
#include "broker/engine/host.h"
#include "broker/engine/replay.h"

static struct stream *host_find(struct engine *e, uint64_t oid)
{
    return state_find_oid(&e->state, oid);
}

/* ---- a start ---- */

static int host_load(void *ctx, uint64_t as_of_lsn, struct slice chunk, struct err *e)
{
    struct engine *engine = ctx;
    int rc = engine->state.replay == NULL ? replay_begin(&engine->state, e) : OK;

    heap_grown(&engine->heap);
    return rc == OK ? save_load(&engine->state, as_of_lsn, chunk, e) : rc;
}

static int host_loaded(void *ctx, uint64_t start_lsn, uint64_t end_lsn, struct err *e)
{
    struct engine *engine = ctx;
    int rc = engine->state.replay == NULL ? replay_begin(&engine->state, e) : OK;

    if (rc == OK)
        replay_loaded(&engine->state, start_lsn, end_lsn);
    return rc;
}

static int host_replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct engine *engine = ctx;
    return replay_apply(&engine->state, r, e);
}

/* A state.measure: reads what it needs, which only the first start with a store of format 1 does. */
static int host_measure(void *ctx, const struct stream *st, struct id from, struct id to,
                        uint64_t *n, uint64_t *bytes, struct err *e)
{
    struct engine *engine = ctx;
    struct sealed sealed;
    struct reader reader;
    int rc;

    log_get_sealed(engine->log, st->oid, stream_floor(st), stream_deletes(st), st->sealed_last,
                   &sealed);
    reader_init(&reader, &sealed, log_cache(engine->log), log_sync_decoder(engine->log), NULL);
    rc = reader_count(&reader, from, to, UINT64_MAX, n, bytes, e);
    reader_fini(&reader);
    sealed_fini(&sealed);
    return rc;
}

/* A state.find_change. */
static int host_find_change(void *ctx, uint64_t lsn, struct log_change *out, struct err *e)
{
    struct engine *engine = ctx;
    return log_find_change(engine->log, lsn, NULL, out, e);
}

/* ---- what is wanted, and where it lies ---- */

/* The changes: all from the history's beginning on. */
static void host_describe_changes(const struct engine *e, struct log_stream_state *out)
{
    *out = (struct log_stream_state){ .alive = true, .keep_from = e->state.changes_floor };
}

static void host_describe(void *ctx, uint64_t oid, struct log_stream_state *out)
{
    struct engine *e = ctx;
    struct stream *st = host_find(e, oid);
    uint64_t codec;

    if (oid == LOG_CHANGES_OID) {
        host_describe_changes(e, out);
        return;
    }
    *out = (struct log_stream_state){ .alive = st != NULL };
    if (st == NULL)
        return;
    codec = engine_setting(e, st, SETTING_CODEC, NULL);
    out->floor = stream_floor(st);
    out->deletes = delset_ref(stream_deletes(st));
    out->codec = (enum log_codec)(codec >> 8);
    out->level = (int)(codec & 0xff);
}

static uint64_t host_count_changes(void *ctx, uint64_t first, uint64_t last)
{
    const struct engine *e = ctx;
    return liveset_count(&e->state.live, first, last);
}

static void host_live_changes(void *ctx, uint64_t first, uint64_t n, uint64_t *bits)
{
    const struct engine *e = ctx;
    liveset_copy(&e->state.live, first, n, bits);
}

static void host_sealed(void *ctx, uint64_t oid, struct id last)
{
    struct engine *e = ctx;
    state_sealed(&e->state, oid, last);
}

static void host_folded(void *ctx, uint64_t oid, const struct delset *folded, struct id from,
                        struct id to)
{
    struct stream *st = host_find(ctx, oid);

    if (st != NULL)
        state_folded(st, folded, from, to);
}

/* ---- a checkpoint ---- */

static void host_save_begin(void *ctx)
{
    struct engine *e = ctx;
    save_begin(&e->save, &e->state);
}

static bool host_save_some(void *ctx, size_t budget, struct log_buffer *out)
{
    struct engine *e = ctx;
    return save_some(&e->save, budget, out);
}

static void host_save_end(void *ctx)
{
    struct engine *e = ctx;
    save_end(&e->save);
}

void host_init(struct engine *e, struct log_host *out)
{
    e->state.measure = host_measure;
    e->state.find_change = host_find_change;
    e->state.measure_ctx = e;
    *out = (struct log_host){ .ctx = e,
                              .load = host_load,
                              .loaded = host_loaded,
                              .replay = host_replay,
                              .describe = host_describe,
                              .count_changes = host_count_changes,
                              .live_changes = host_live_changes,
                              .sealed = host_sealed,
                              .folded = host_folded,
                              .save_begin = host_save_begin,
                              .save_some = host_save_some,
                              .save_end = host_save_end };
}
