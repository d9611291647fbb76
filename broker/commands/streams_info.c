/*
 * streams_info.c - XINFO STREAM; what it says of groups, and XINFO GROUPS and CONSUMERS, are in xgroup_info.c.
 *
 * The fields and their order are those of Redis 8.8; clients refuse unknown ones. There is no radix tree:
 * its keys are counted as Redis would need them, one for each stream-node-max-entries entries, and its
 * nodes as one more.
 *
 * The first and the last entry, and with FULL more of them, may have to be read from segments: the prefault asks for them.
 */
#include "broker/commands/streams.h"
#include "broker/commands/streams_range.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/args.h"
#include "broker/engine/cursor.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { XINFO_FULL_COUNT = 10 }; /* entries that FULL shows without COUNT */

static void xinfo_u64(struct client *c, const char *name, uint64_t v)
{
    reply_str(c, name);
    reply_u64(c, v);
}

static void xinfo_id(struct client *c, const char *name, struct id id)
{
    reply_str(c, name);
    reply_id(c, id);
}

static uint64_t xinfo_nodes(const struct engine *e, const struct stream *st)
{
    uint64_t node = (uint64_t)e->config->stream_node_max_entries, n = st->n_entries;

    if (n == 0 || node == 0)
        return n > 0;
    return (streams_removed_in_nodes(st) % node + n + node - 1) / node;
}

/* The 13 fields that both forms begin with. */
static void xinfo_common(struct engine *e, struct client *c, const struct stream *st,
                         struct id first)
{
    struct idmp_counts counts = idmp_count(stream_idmp(st), e->now_ms);

    xinfo_u64(c, "length", st->n_entries);
    xinfo_u64(c, "radix-tree-keys", xinfo_nodes(e, st));
    xinfo_u64(c, "radix-tree-nodes", xinfo_nodes(e, st) + 1);
    xinfo_id(c, "last-generated-id", st->last_id);
    xinfo_id(c, "max-deleted-entry-id", stream_max_deleted(st));
    reply_str(c, "entries-added");
    reply_int(c, (int64_t)st->entries_added); /* XSETID may have set it near the end of int64_t */
    xinfo_id(c, "recorded-first-entry-id", first);
    xinfo_u64(c, "idmp-duration", streams_idmp_duration_s(e, st));
    xinfo_u64(c, "idmp-maxsize", streams_idmp_maxsize(e, st));
    xinfo_u64(c, "pids-tracked", counts.n_producers);
    xinfo_u64(c, "iids-tracked", counts.n_iids);
    xinfo_u64(c, "iids-added", stream_idmp(st)->iids_added);
    xinfo_u64(c, "iids-duplicates", stream_idmp(st)->iids_duplicates);
}

static void xinfo_entry(struct client *c, const char *name, const uint8_t *entry)
{
    reply_str(c, name);
    if (entry == NULL)
        reply_null(c);
    else
        streams_reply_entry(c, entry);
}

static struct id xinfo_id_of(const uint8_t *entry)
{
    struct id id = ID_MIN;

    if (entry != NULL)
        entry_id(entry, &id);
    return id;
}

/* Goes to both ends of the stream. */
static int xinfo_seek(struct cursor *first, struct cursor *last, struct err *err)
{
    int rc = cursor_seek(first, ID_MIN, err);

    if (rc == OK || rc == ERR_COLD) { /* both ask for what they miss */
        int rc_last = cursor_seek_back(last, ID_MAX, err);
        rc = rc == OK ? rc_last : rc;
    }
    return rc;
}

static void xinfo_short(struct engine *e, struct client *c, const struct stream *st)
{
    struct cursor first, last;
    struct err err;
    int rc;

    cursor_open(&first, e, st, CURSOR_ON_THE_SPOT, NULL);
    cursor_open(&last, e, st, CURSOR_ON_THE_SPOT, NULL);
    rc = xinfo_seek(&first, &last, &err);
    if (rc == OK) {
        reply_map(c, 16);
        xinfo_common(e, c, st, xinfo_id_of(cursor_at(&first)));
        xinfo_u64(c, "groups", groups_n(stream_groups(st)));
        xinfo_entry(c, "first-entry", cursor_at(&first));
        xinfo_entry(c, "last-entry", cursor_at(&last));
    } else {
        streams_reply_failure(c, rc, &err);
    }
    cursor_close(&first);
    cursor_close(&last);
}

static uint64_t xinfo_full_count(int64_t count)
{
    return count == 0 ? UINT64_MAX : (uint64_t)count;
}

static void xinfo_full(struct engine *e, struct client *c, const struct stream *st, uint64_t count)
{
    const struct range_part all = { .st = st, .from = ID_MIN, .to = ID_MAX };
    struct range_budget budget = {
        .count = count, .entries = UINT64_MAX, .bytes = UINT64_MAX, .empty = true
    };
    uint64_t start = outbuf_end(&c->out);
    struct range_collect collect;
    struct id first = ID_MIN;
    struct err err;
    int rc = cursor_first_id(e, st, CURSOR_ON_THE_SPOT, NULL, &first, &err);

    if (rc == OK)
        rc = range_collect(e, c, &all, false, true, &budget, &collect, &err);
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
        return;
    }
    reply_map(c, 15);
    xinfo_common(e, c, st, first);
    reply_str(c, "entries");
    reply_array(c, collect.n);
    outbuf_move(&c->out, &collect.out);
    reply_str(c, "groups");
    if (!xgroup_reply_full(e, c, st, first, count)) {
        outbuf_truncate(&c->out, start);
        reply_error(c, "OOM not enough memory to tell about the groups");
    }
}

/* Reads [FULL [COUNT n]]; false if an error has been replied. */
static bool xinfo_parse(struct client *c, const struct slice *argv, size_t argc, bool *full,
                        int64_t *count)
{
    bool known = argc == 3 || (argc == 4 && args_word(argv[3], "full")) ||
                 (argc == 6 && args_word(argv[3], "full") && args_word(argv[4], "count"));

    if (!known) {
        reply_error(c,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try XINFO "
                    "HELP.",
                    (int)(argv[1].n < 128 ? argv[1].n : 128), (const char *)argv[1].p);
        return false;
    }
    *full = argc > 3;
    *count = XINFO_FULL_COUNT;
    if (argc == 6 && !args_i64(argv[5], count)) {
        reply_not_integer(c);
        return false;
    }
    if (*count < 0)
        *count = XINFO_FULL_COUNT;
    return true;
}

void streams_xinfo_stream(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st = streams_find_there(e, c, argv[2]);
    int64_t count;
    bool full;

    if (st == NULL || !xinfo_parse(c, argv, argc, &full, &count))
        return;
    if (full)
        xinfo_full(e, c, st, xinfo_full_count(count));
    else
        xinfo_short(e, c, st);
}

void streams_xinfo_stream_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                   size_t argc, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, argv[2]);
    struct cursor first, last;
    int64_t count;
    bool full;

    if (st == NULL || stream_n_sealed(st) == 0 || !xinfo_parse(c, argv, argc, &full, &count))
        return;
    if (full) {
        range_want(e, st, ID_MIN, ID_MAX, xinfo_full_count(count), false, wants);
        return;
    }
    cursor_open(&first, e, st, CURSOR_RESIDENT, wants);
    cursor_open(&last, e, st, CURSOR_RESIDENT, wants);
    err_ignore(xinfo_seek(&first, &last, NULL)); /* the wants tell */
    cursor_close(&first);
    cursor_close(&last);
}
