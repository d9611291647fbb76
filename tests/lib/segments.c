/* segments.c - see segments.h. */
#include "tests/lib/segments.h"

#include <stdio.h>
#include <stdlib.h>
#include "log/entry.h"

const uint8_t segments_uuid[WAL_UUID_BYTES] = "segments of test";

static void segments_must(int rc, const char *what, const struct err *e)
{
    if (rc == OK)
        return;
    fprintf(stderr, "%s: %s\n", what, e->text);
    abort();
}

static void *segments_memory(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

void entries_fini(struct entries *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i].p);
    free(l->at);
    *l = (struct entries){ 0 };
}

void entries_add(struct entries *l, struct random *r, uint64_t oid, struct id id, size_t size)
{
    char number[24];
    uint8_t *value = segments_memory(malloc(size + 1));
    struct slice strings[6] = { slice_str("kind"),   slice_str("order"), slice_str("n"),
                                slice_of(number, 0), slice_str("value"), slice_of(value, size) };
    size_t n = random_below(r, 8) == 0 ? 2 : 6;
    struct entry *x;

    strings[3].n = (size_t)snprintf(number, sizeof number, "%zu", random_below(r, 100000));
    for (size_t i = 0; i < size; i++)
        value[i] = (uint8_t)("abcdefgh"[random_below(r, 8)]);
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : 2 * l->cap;
        l->at = segments_memory(realloc(l->at, l->cap * sizeof *l->at));
    }
    x = &l->at[l->n++];
    *x = (struct entry){ .oid = oid, .id = id, .len = entry_size(id, strings, n) };
    x->p = segments_memory(malloc(x->len));
    entry_put(x->p, id, strings, n);
    free(value);
}

void entries_grow(struct entries *l, struct random *r, uint64_t oid, struct id *last, size_t n,
                  size_t size)
{
    for (size_t i = 0; i < n; i++) {
        if (random_below(r, 3) == 0)
            last->seq += 1 + random_below(r, 3);
        else
            *last = (struct id){ last->ms + 1 + random_below(r, 1000), random_below(r, 2) };
        entries_add(l, r, oid, *last, size > 0 ? random_below(r, 2 * size) : 0);
    }
}

struct simio *segments_disk(uint64_t seed)
{
    struct simio *disk = simio_new(seed);

    simio_io(disk)->mkdir(simio_io(disk), SEGMENTS_DIR);
    return disk;
}

void segments_options(struct simio *disk, uint64_t ordinal, uint32_t block_bytes,
                      struct segment_options *out)
{
    *out = (struct segment_options){ .io = simio_io(disk),
                                     .dir = SEGMENTS_DIR,
                                     .uuid = segments_uuid,
                                     .ordinal = ordinal,
                                     .lsn_first = 1000 * ordinal,
                                     .lsn_last = 1000 * ordinal + 999,
                                     .block_bytes = block_bytes };
}

void segments_write(struct simio *disk, uint64_t ordinal, uint32_t block_bytes,
                    enum block_codec codec, const struct entries *l, size_t first, size_t end,
                    struct segment_info *info)
{
    struct segment_options o;
    struct segment_writer *w = NULL;
    struct segment_info ignored;
    struct err e = { 0 };

    segments_options(disk, ordinal, block_bytes, &o);
    segments_must(segment_create(&o, &w, &e), "segment_create", &e);
    for (size_t i = first; i < end; i++)
        segments_must(segment_put(w, l->at[i].oid, l->at[i].p, l->at[i].len, codec, 0, &e),
                      "segment_put", &e);
    segments_must(segment_finish(w, info != NULL ? info : &ignored, &e), "segment_finish", &e);
    segments_must(segment_publish(o.io, o.dir, ordinal, &e), "segment_publish", &e);
}

struct segment *segments_open(struct simio *disk, uint64_t ordinal)
{
    struct segment *s = NULL;
    struct err e = { 0 };

    segments_must(segment_open(simio_io(disk), SEGMENTS_DIR, segments_uuid, ordinal, NULL, &s, &e),
                  "segment_open", &e);
    return s;
}

void segments_path(uint64_t ordinal, char out[64])
{
    char name[SEGMENT_NAME_MAX];

    segment_name(ordinal, false, name);
    snprintf(out, 64, SEGMENTS_DIR "/%s", name);
}
