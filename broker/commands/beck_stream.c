/*
 * beck_stream.c - BECK STREAM: what Beck knows of a stream beyond XINFO, whose fields are Redis's.
 *
 * What the engine knows is taken down at once. What only the segments know, the first ID and the share of the disk, is
 * read by a worker from the stream as it was at that moment, while the client waits.
 */
#include <stdlib.h>
#include "broker/commands/beck.h"
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/cold.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/settings.h"
#include "log/entry.h"

struct beck_setting {
    uint64_t value;
    enum engine_origin origin;
};

struct beck_stream {
    struct cold_work work; /* must be first */
    uint64_t oid, n_entries, n_sealed, bytes, entries_added, n_deletes;
    struct id first, last, floor, max_deleted;
    struct beck_setting settings[SETTING_COUNT], idmp_duration_s, idmp_maxsize;
    char *pattern; /* of the configuration, that matches; NULL: none */
    struct sealed sealed;
    bool has_sealed;
    uint64_t n_segments, raw_bytes, disk_bytes;
    int rc; /* of reading */
    struct err err;
};

static struct beck_stream *beck_stream_of(struct cold_work *w)
{
    return (struct beck_stream *)(void *)w; /* its first member */
}

static void beck_stream_free(struct cold_work *w)
{
    struct beck_stream *x = beck_stream_of(w);

    if (x->has_sealed)
        sealed_fini(&x->sealed);
    free(x->pattern);
    free(x);
}

/* ---- what the engine knows ---- */

static struct beck_setting beck_idmp_setting(uint32_t own, int64_t config)
{
    if (own != 0)
        return (struct beck_setting){ own, ENGINE_OF_STREAM };
    return (struct beck_setting){ (uint64_t)config, ENGINE_OF_CONFIG };
}

static void beck_stream_take_settings(struct engine *e, struct stream *st, struct beck_stream *x)
{
    const struct stream_idmp *idmp = stream_idmp(st);

    for (enum record_setting tag = SETTING_RETENTION_AGE; tag < SETTING_COUNT; tag++)
        x->settings[tag].value = engine_setting(e, st, tag, &x->settings[tag].origin);
    x->idmp_duration_s = beck_idmp_setting(idmp->duration_s, e->config->idmp_duration_s);
    x->idmp_maxsize = beck_idmp_setting(idmp->maxsize, e->config->idmp_maxsize);
}

/* NULL if memory ran out. */
static struct beck_stream *beck_stream_take(struct engine *e, struct stream *st)
{
    const struct settings_rule *rule = engine_rule(e, st);
    struct beck_stream *x = calloc(1, sizeof *x);
    const uint8_t *entry;

    if (x == NULL)
        return NULL;
    x->oid = st->oid;
    x->n_entries = st->n_entries;
    x->n_sealed = stream_n_sealed(st);
    x->bytes = st->bytes;
    x->entries_added = st->entries_added;
    x->n_deletes = delset_n(stream_deletes(st));
    x->last = st->last_id;
    x->floor = stream_floor(st);
    x->max_deleted = stream_max_deleted(st);
    entry = stream_index_at(st->tail, (struct stream_pos){ 0, 0 });
    if (entry != NULL)
        entry_id(entry, &x->first);
    beck_stream_take_settings(e, st, x);
    if (rule != NULL) {
        x->pattern = strdup(rule->glob);
        if (x->pattern == NULL) {
            free(x);
            return NULL;
        }
    }
    x->has_sealed = cold_get_sealed(e, st, &x->sealed);
    return x;
}

/* ---- what segments know ---- */

static int beck_stream_read_first(struct beck_stream *x, struct block_decoder *decoder,
                                  struct err *e)
{
    struct reader reader;
    const uint8_t *entry;
    size_t len;
    int rc;

    reader_init(&reader, &x->sealed, cold_cache(&x->work), decoder, NULL);
    rc = reader_seek(&reader, ID_MIN, e);
    entry = rc == OK ? reader_at(&reader, &len) : NULL;
    if (entry != NULL)
        entry_id(entry, &x->first);
    reader_fini(&reader);
    return rc;
}

static void beck_stream_run(struct cold_work *w, struct block_decoder *decoder)
{
    struct beck_stream *x = beck_stream_of(w);

    x->rc = log_stream_disk(&x->sealed, &x->n_segments, &x->raw_bytes, &x->disk_bytes, &x->err);
    if (x->rc == OK && x->n_sealed > 0)
        x->rc = beck_stream_read_first(x, decoder, &x->err);
}

/* ---- the reply ---- */

static void beck_put(struct client *c, const char *name, uint64_t value)
{
    reply_str(c, name);
    reply_u64(c, value);
}

static void beck_put_id(struct client *c, const char *name, struct id id)
{
    reply_str(c, name);
    reply_id(c, id);
}

static void beck_put_origin(struct client *c, const char *name, enum engine_origin origin)
{
    static const char *const names[] = { "stream", "pattern", "default" };

    reply_str(c, name);
    reply_str(c, names[origin]);
}

static void beck_put_settings(struct client *c, const struct beck_stream *x)
{
    static const char *const names[SETTING_COUNT][2] = {
        [SETTING_RETENTION_AGE] = { "retention-age", "retention-age-from" },
        [SETTING_RETENTION_BYTES] = { "retention-bytes", "retention-bytes-from" },
        [SETTING_RETENTION_LEN] = { "retention-len", "retention-len-from" },
        [SETTING_CODEC] = { "codec", "codec-from" },
        [SETTING_DURABILITY] = { "durability", "durability-from" },
        [SETTING_RETENTION_ACKED] = { "retention-acked", "retention-acked-from" },
        [SETTING_RETENTION_ACKED_MAX_AGE] = { "retention-acked-max-age",
                                              "retention-acked-max-age-from" },
    };
    char text[SETTINGS_SHOW_MAX];

    for (enum record_setting tag = SETTING_RETENTION_AGE; tag < SETTING_COUNT; tag++) {
        reply_str(c, names[tag][0]);
        if (tag == SETTING_CODEC || tag == SETTING_DURABILITY || tag == SETTING_RETENTION_ACKED)
            reply_str(c, settings_show(tag, x->settings[tag].value, text));
        else
            reply_u64(c, x->settings[tag].value);
        beck_put_origin(c, names[tag][1], x->settings[tag].origin);
    }
    beck_put(c, "idmp-duration", x->idmp_duration_s.value);
    beck_put_origin(c, "idmp-duration-from", x->idmp_duration_s.origin);
    beck_put(c, "idmp-maxsize", x->idmp_maxsize.value);
    beck_put_origin(c, "idmp-maxsize-from", x->idmp_maxsize.origin);
}

static void beck_stream_reply(struct client *c, const struct beck_stream *x)
{
    enum { FIELDS = 15, SETTINGS = 2 * (SETTING_COUNT - 1) + 4 };

    reply_map(c, FIELDS + SETTINGS);
    beck_put(c, "oid", x->oid);
    beck_put(c, "length", x->n_entries);
    beck_put(c, "length-sealed", x->n_sealed);
    beck_put(c, "length-unsealed", x->n_entries - x->n_sealed);
    beck_put(c, "bytes", x->bytes);
    beck_put(c, "entries-added", x->entries_added);
    beck_put_id(c, "first-id", x->first);
    beck_put_id(c, "last-id", x->last);
    beck_put_id(c, "floor", x->floor);
    beck_put_id(c, "max-deleted-id", x->max_deleted);
    beck_put(c, "deleted-remembered", x->n_deletes);
    beck_put(c, "segments", x->n_segments);
    beck_put(c, "segment-raw-bytes", x->raw_bytes);
    beck_put(c, "disk-bytes", x->disk_bytes);
    reply_str(c, "pattern");
    if (x->pattern != NULL)
        reply_str(c, x->pattern);
    else
        reply_null(c);
    beck_put_settings(c, x);
}

static enum cold_next beck_stream_done(struct engine *e, struct cold_work *w)
{
    struct beck_stream *x = beck_stream_of(w);
    struct client *c = w->client;

    if (x->rc == OK) {
        beck_stream_reply(c, x);
    } else {
        reply_error(c, "%s %s", x->rc == ERR_NOMEM ? "OOM" : "IOERR", x->err.text);
        e->stats.n_errors++;
    }
    engine_reply_part(e, c, w->need_written, w->need_durable);
    engine_reply_over(c);
    return COLD_OVER;
}

void beck_stream(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    static const struct cold_kind kind = { .run = beck_stream_run,
                                           .done = beck_stream_done,
                                           .free = beck_stream_free };
    struct stream *st = streams_find_there(e, c, argv[2]);
    struct beck_stream *x;

    (void)argc;
    if (st == NULL)
        return;
    x = beck_stream_take(e, st);
    if (x == NULL) {
        reply_error(c, "OOM not enough memory to tell about the stream");
    } else if (x->has_sealed) {
        x->work.kind = &kind;
        cold_start(e, c, &x->work);
    } else {
        beck_stream_reply(c, x);
        beck_stream_free(&x->work);
    }
}
