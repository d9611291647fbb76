/*
 * footprint.c - what a stream takes on disk: log_stream_disk of log.h.
 *
 * Blocks that the stream has for itself are known by the index; of one that it shares it has the part that its rows are
 * of all raw bytes in it. What is dead and not yet reclaimed is there like the rest, so it counts.
 */
#include "log/log.h"

#include "log/sweep.h"

struct footprint {
    uint64_t raw_bytes, disk_bytes;
};

static int footprint_add_shared(struct sweep *s, uint64_t oid, struct footprint *f, struct err *e)
{
    const struct segment_block *at = sweep_item(s);
    const struct block_run *run;
    uint64_t raw;
    int rc = sweep_load(s, e);

    if (rc != OK)
        return rc;
    run = block_find(s->block, oid);
    if (run == NULL)
        return OK;
    raw = s->block->offsets[run->first + run->n] - s->block->offsets[run->first];
    f->raw_bytes += raw;
    f->disk_bytes += (uint64_t)at->bytes * raw / at->raw_bytes;
    return OK;
}

static int footprint_add_segment(struct sweep *s, uint64_t oid, struct footprint *f, struct err *e)
{
    bool more = false;
    int rc = sweep_seek(s, oid, ID_MIN, &more, e);

    while (rc == OK && more) {
        if (sweep_is_own(s, oid)) {
            f->raw_bytes += sweep_item(s)->raw_bytes;
            f->disk_bytes += sweep_item(s)->bytes;
        } else {
            rc = footprint_add_shared(s, oid, f, e);
        }
        if (rc == OK)
            rc = sweep_next(s, oid, &more, e);
    }
    return rc;
}

static int footprint_add_all(const struct sealed *s, struct block_decoder *decoder, uint64_t *n,
                             struct footprint *all, struct err *e)
{
    for (size_t i = 0; i < s->n_segments; i++) {
        struct footprint here = { 0 };
        struct sweep sweep;
        int rc;

        if (!segment_may_have(s->view->segments[i], s->oid))
            continue;
        sweep_init(&sweep, s->view->segments[i], decoder);
        rc = footprint_add_segment(&sweep, s->oid, &here, e);
        sweep_fini(&sweep);
        if (rc != OK)
            return rc;
        *n += here.raw_bytes > 0;
        all->raw_bytes += here.raw_bytes;
        all->disk_bytes += here.disk_bytes;
    }
    return OK;
}

int log_stream_disk(const struct sealed *s, uint64_t *n_segments, uint64_t *raw_bytes,
                    uint64_t *disk_bytes, struct err *e)
{
    struct block_decoder *decoder = block_decoder_new();
    struct footprint all = { 0 };
    uint64_t n = 0;
    int rc;

    if (decoder == NULL)
        return err_set(e, ERR_NOMEM, "no memory to read segments");
    rc = footprint_add_all(s, decoder, &n, &all, e);
    block_decoder_free(decoder);
    if (rc != OK)
        return rc;
    *n_segments = n;
    *raw_bytes = all.raw_bytes;
    *disk_bytes = all.disk_bytes;
    return OK;
}
