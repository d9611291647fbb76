/*
 * strings_range.c - parts of strings: GETRANGE and its old name SUBSTR, SETRANGE, APPEND.
 *
 * Writing into a long string is a record with the bytes written and where they go (cache_patch), not the whole of it. No
 * string becomes longer than an argument may be (proto-max-bulk-len).
 */
#include "broker/commands/strings.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

/* The part of `n` bytes from `start` to `end`, negative ones counted from the end, as Redis cuts it. */
static struct slice range_cut(struct slice value, int64_t start, int64_t end)
{
    int64_t n = (int64_t)value.n;

    if (start < 0 && end < 0 && start > end)
        return slice_of(NULL, 0);
    if (start < 0)
        start = start + n < 0 ? 0 : start + n;
    if (end < 0)
        end = end + n < 0 ? 0 : end + n;
    if (end >= n)
        end = n - 1;
    if (start > end)
        return slice_of(NULL, 0);
    return slice_of(value.p + start, (size_t)(end - start + 1));
}

void strings_getrange(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t start, end;
    struct object *o;

    (void)argc;
    if (!args_i64(argv[2], &start) || !args_i64(argv[3], &end)) {
        reply_not_integer(c);
        return;
    }
    if (!cache_read(e, c, argv[1], OBJECT_STRING, &o))
        return;
    struct slice part = o == NULL ? slice_of(NULL, 0) : range_cut(cache_string(o), start, end);
    reply_bulk(c, part.p, part.n);
}

/* Whether a string may have so many bytes from `offset` on; false after an error reply. */
static bool range_fits(const struct engine *e, struct client *c, uint64_t offset, size_t n)
{
    uint64_t max = e->config->max_bulk_len;

    if (offset <= max && n <= max - offset)
        return true;
    reply_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

/* Writes the bytes and replies with the length that comes of it. */
static void range_write(struct engine *e, struct client *c, struct slice key, struct object *o,
                        uint64_t offset, struct slice bytes, const char *event)
{
    struct err err;

    if (cache_patch(e, c, key, o, offset, bytes, &o, &err) != OK) {
        cache_nomem(c);
        return;
    }
    notify(e, NOTIFY_STRING, event, c->db, key);
    reply_u64(c, cache_length(o));
}

void strings_setrange(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t offset;
    struct object *o;

    (void)argc;
    if (!args_i64(argv[2], &offset)) {
        reply_not_integer(c);
        return;
    }
    if (offset < 0) {
        reply_error(c, "ERR offset is out of range");
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_STRING, &o))
        return;
    if (argv[3].n == 0)
        reply_u64(c, o == NULL ? 0 : cache_length(o));
    else if (range_fits(e, c, (uint64_t)offset, argv[3].n))
        range_write(e, c, argv[1], o, (uint64_t)offset, argv[3], "setrange");
}

void strings_append(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;
    uint64_t length;

    (void)argc;
    if (!cache_write(e, c, argv[1], OBJECT_STRING, &o))
        return;
    length = o == NULL ? 0 : cache_length(o);
    if (range_fits(e, c, length, argv[2].n))
        range_write(e, c, argv[1], o, length, argv[2], "append");
}

/* A short string is written as a whole. */
size_t strings_patch_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    return cache_bound(1, OBJECT_INSIDE_MAX);
}
