/*
 * streams.c - the table of the stream commands, and what they share.
 *
 * The commands are in streams_add.c (XADD), streams_change.c (XTRIM, XDEL, XDELEX, XSETID), streams_settings.c
 * (XCFGSET), streams_read.c (XLEN, XRANGE, XREVRANGE, XREAD) and streams_info.c (XINFO).
 *
 * A reply of entries is the bulk of what a broker sends, so an entry is written from its bytes in the log's
 * arena into the output's chunk in one pass: a string costs two comparisons, its length of one to three
 * digits and a copy. Only strings of more than a few hundred bytes go through outbuf_append, which
 * may split them over chunks.
 */
#include "broker/commands/streams.h"
#include "broker/commands/xgroup.h"
#include <assert.h>
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum {
    STREAMS_STRING_INLINE = 448,               /* bytes of a string that is copied in place */
    STREAMS_STRING_HEAD = 8,                   /* "$448\r\n" and the last "\r\n" */
    STREAMS_ENTRY_HEAD = 9 + ID_TEXT_MAX + 26, /* "*2\r\n$15\r\n", the ID, "\r\n*10\r\n" */
};

static_assert((int)STREAMS_STRING_INLINE + STREAMS_STRING_HEAD <= (int)OUTBUF_SCRATCH,
              "see outbuf.h");
static_assert((int)STREAMS_ENTRY_HEAD <= (int)OUTBUF_SCRATCH, "see outbuf.h");

/* ---- lookups ---- */

static bool streams_of(struct client *c, struct object *o, struct stream **out)
{
    if (o != NULL && o->type != OBJECT_STREAM) {
        reply_wrong_type(c);
        return false;
    }
    *out = stream_of(o);
    return true;
}

bool streams_find(struct engine *e, struct client *c, struct slice key, struct stream **out)
{
    return streams_of(c, engine_lookup(e, c, key), out);
}

bool streams_find_write(struct engine *e, struct client *c, struct slice key, struct stream **out)
{
    return streams_of(c, engine_lookup_write(e, c, key), out);
}

struct stream *streams_find_there(struct engine *e, struct client *c, struct slice key)
{
    struct stream *st;

    if (!streams_find(e, c, key, &st))
        return NULL;
    if (st == NULL)
        reply_no_such_key(c);
    return st;
}

const struct stream *streams_peek(const struct engine *e, const struct client *c, struct slice key)
{
    const struct object *o = engine_find_key(e, c->db, key);

    return o == NULL || o->type != OBJECT_STREAM || engine_is_expired(e, o) ? NULL : stream_of(o);
}

void streams_reply_failure(struct client *c, int rc, const struct err *err)
{
    if (rc == ERR_TOO_BIG)
        reply_error(c,
                    "ERR the reply would be larger than %d MiB, too much for stored entries here",
                    WANTS_BYTES_MAX >> 20);
    else
        reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "IOERR", err->text);
}

struct streams_span streams_span(const struct stream *st, struct id from, struct id to)
{
    struct stream_pos end = stream_index_end(st->tail);
    struct streams_span span = { end, end };

    if (id_cmp(from, st->last_id) <= 0)
        span.from = stream_index_seek(st->tail, from);
    if (id_cmp(to, st->last_id) < 0 && id_next(&to))
        span.to = stream_index_seek(st->tail, to);
    return span;
}

/* ---- IDs ---- */

bool streams_parse_id(struct slice text, uint64_t missing_seq, struct id *out)
{
    const uint8_t *dash = text.n > 0 ? memchr(text.p, '-', text.n) : NULL;
    struct id id = { 0, missing_seq };
    struct slice ms = text;

    if (dash != NULL) {
        ms.n = (size_t)(dash - text.p);
        if (!id_parse_u64(slice_of(dash + 1, text.n - ms.n - 1), &id.seq))
            return false;
    }
    if (!id_parse_u64(ms, &id.ms))
        return false;
    *out = id;
    return true;
}

bool streams_parse_id_or_end(struct slice text, uint64_t missing_seq, struct id *out)
{
    if (text.n == 1 && (text.p[0] == '-' || text.p[0] == '+')) {
        *out = text.p[0] == '-' ? ID_MIN : ID_MAX;
        return true;
    }
    return streams_parse_id(text, missing_seq, out);
}

void streams_bad_id(struct client *c)
{
    reply_error(c, "ERR Invalid stream ID specified as stream command argument");
}

bool streams_parse_bound(struct client *c, struct slice text, bool is_end, struct id *out)
{
    bool exclusive = text.n > 1 && text.p[0] == '(';
    uint64_t missing_seq = is_end ? UINT64_MAX : 0;
    bool ok = exclusive ? streams_parse_id(slice_of(text.p + 1, text.n - 1), missing_seq, out)
                        : streams_parse_id_or_end(text, missing_seq, out);

    if (!ok) {
        streams_bad_id(c);
        return false;
    }
    if (exclusive && !(is_end ? id_prev(out) : id_next(out))) {
        reply_error(c, "ERR invalid %s ID for the interval", is_end ? "end" : "start");
        return false;
    }
    return true;
}

/* ---- entries as replies ---- */

/* Free space of the output, held in registers: written up to `p`, has room up to `end`. */
struct streams_room {
    struct outbuf *out;
    uint8_t *p, *end;
};

static void streams_room_take(struct streams_room *r, size_t n)
{
    outbuf_advance(r->out, r->p);
    r->p = outbuf_reserve(r->out, n);
    r->end = r->out->failed ? r->p + n : r->out->end;
}

static inline void streams_room_need(struct streams_room *r, size_t n)
{
    if ((size_t)(r->end - r->p) < n)
        streams_room_take(r, n);
}

static inline uint8_t *streams_put_digits(uint8_t *p, size_t n)
{
    assert(n < 1000);
    if (n >= 100)
        *p++ = (uint8_t)('0' + n / 100);
    if (n >= 10)
        *p++ = (uint8_t)('0' + n / 10 % 10);
    *p++ = (uint8_t)('0' + n % 10);
    return p;
}

static inline uint8_t *streams_put_end(uint8_t *p)
{
    memcpy(p, "\r\n", 2);
    return p + 2;
}

/* "*2\r\n$15\r\n<id>\r\n": the ID's text is made in its place behind a length of two digits, which most have. */
static inline uint8_t *streams_put_id(uint8_t *p, struct id id, unsigned n_elements)
{
    size_t n = id_format(id, (char *)p + 9);

    memcpy(p, "*2\r\n$", 5);
    p[1] = (uint8_t)('0' + n_elements);
    if (n < 10)
        memmove(p + 8, p + 9, n);
    p = streams_put_end(streams_put_digits(p + 5, n));
    return streams_put_end(p + n);
}

static inline uint8_t *streams_put_string(uint8_t *p, struct slice s)
{
    *p++ = '$';
    p = streams_put_end(streams_put_digits(p, s.n));
    bytes_copy(p, s.p, s.n);
    return streams_put_end(p + s.n);
}

/* The rest of an entry from its first string on that is long. */
static void streams_reply_slowly(struct client *c, const uint8_t *entry, uint64_t n_strings)
{
    struct slice s;

    for (; n_strings > 0; n_strings--) {
        entry = entry_str(entry, &s);
        reply_bulk(c, s.p, s.n);
    }
}

void streams_reply_entry(struct client *c, const uint8_t *entry)
{
    streams_reply_entry_of(c, entry, 2);
}

void streams_reply_entry_of(struct client *c, const uint8_t *entry, unsigned n_elements)
{
    struct streams_room r = { &c->out, NULL, NULL };
    uint64_t n_fields;
    struct slice s;
    struct id id;

    entry = entry_id(entry, &id);
    entry = entry_varint(entry, &n_fields);
    r.p = outbuf_reserve(r.out, STREAMS_ENTRY_HEAD);
    r.end = r.out->failed ? r.p + STREAMS_ENTRY_HEAD : r.out->end;
    r.p = streams_put_id(r.p, id, n_elements);
    if (n_fields >= 500) { /* the head of the array of strings has more than three digits */
        outbuf_advance(r.out, r.p);
        reply_array(c, 2 * n_fields);
        streams_reply_slowly(c, entry, 2 * n_fields);
        return;
    }
    *r.p++ = '*';
    r.p = streams_put_end(streams_put_digits(r.p, 2 * n_fields));
    for (uint64_t left = 2 * n_fields; left > 0; left--) {
        const uint8_t *next = entry_str(entry, &s);

        if (s.n > STREAMS_STRING_INLINE) {
            outbuf_advance(r.out, r.p);
            streams_reply_slowly(c, entry, left);
            return;
        }
        streams_room_need(&r, s.n + STREAMS_STRING_HEAD);
        r.p = streams_put_string(r.p, s);
        entry = next;
    }
    outbuf_advance(r.out, r.p);
}

void streams_reply_entries(struct client *c, const struct stream *st, struct stream_pos from,
                           uint64_t n)
{
    reply_array(c, n);
    for (; n > 0; n--) {
        streams_reply_entry(c, stream_index_at(st->tail, from));
        stream_index_next(st->tail, &from);
    }
}

void streams_reply_entries_back(struct client *c, const struct stream *st, struct stream_pos to,
                                uint64_t n)
{
    reply_array(c, n);
    for (; n > 0 && stream_index_prev(st->tail, &to); n--)
        streams_reply_entry(c, stream_index_at(st->tail, to));
    assert(n == 0);
}

static size_t streams_digits(uint64_t v)
{
    size_t n = 1;

    for (; v >= 10; v /= 10)
        n++;
    return n;
}

static size_t streams_string_reply_size(size_t n)
{
    return 1 + streams_digits(n) + 2 + n + 2;
}

size_t streams_entry_reply_size(const uint8_t *entry)
{
    uint64_t n_fields;
    struct slice s;
    struct id id;
    size_t n;

    entry = entry_id(entry, &id);
    entry = entry_varint(entry, &n_fields);
    n = 4 + streams_string_reply_size(streams_digits(id.ms) + 1 + streams_digits(id.seq)) + 1 +
        streams_digits(2 * n_fields) + 2;
    for (uint64_t i = 0; i < 2 * n_fields; i++) {
        entry = entry_str(entry, &s);
        n += streams_string_reply_size(s.n);
    }
    return n;
}

/* ---- the table ---- */

#define STREAMS_KEY    .first_key = 1, .last_key = 1, .key_step = 1
#define STREAMS_SUBKEY .first_key = 2, .last_key = 2, .key_step = 1

static const struct command streams_xinfo_commands[] = {
    { .name = "xinfo|stream",
      .handler = streams_xinfo_stream,
      .prefault = streams_xinfo_stream_prefault,
      .arity = -3,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      STREAMS_SUBKEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1); with FULL O(N) with N the number of entries shown",
      .summary = "Tells about a stream",
      .syntax = "key [FULL [COUNT count]]",
      .key_flags = "RO ACCESS" },
    { .name = "xinfo|groups",
      .handler = xgroup_xinfo_groups,
      .prefault = xgroup_xinfo_groups_prefault,
      .arity = 3,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      STREAMS_SUBKEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(N) with N the number of groups",
      .summary = "Lists the consumer groups of a stream",
      .syntax = "key",
      .key_flags = "RO ACCESS" },
    { .name = "xinfo|consumers",
      .handler = xgroup_xinfo_consumers,
      .arity = 4,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      STREAMS_SUBKEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(N) with N the number of consumers",
      .summary = "Lists the consumers of a group",
      .syntax = "key group",
      .key_flags = "RO ACCESS",
      .tips = "nondeterministic_output" },
    { .name = "xinfo|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .categories = CAT_STREAM,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = NULL },
};

const struct command stream_commands[] = {
    { .name = "xadd",
      .handler = streams_xadd,
      .prefault = streams_xadd_prefault,
      .bound = streams_xadd_bound,
      .arity = -5,
      .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1); with trimming O(N) with N the number of entries removed",
      .summary = "Appends an entry to a stream, which is created if it is not there",
      .syntax =
          "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer | IDMP producer iid] "
          "[<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | ms-* | id> field value [field "
          "value ...]",
      .key_flags = "RW UPDATE",
      .tips = "nondeterministic_output" },
    { .name = "xcfgset",
      .handler = streams_xcfgset,
      .arity = -2,
      .flags = CMD_WRITE | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "8.6.0",
      .complexity = "O(1)",
      .summary =
          "Sets how long and how many idempotence IDs a stream remembers, what the server "
          "removes of it by age, size and number of entries (0: nothing), whether that waits "
          "until its groups have acknowledged it and for how long, how it is compressed and "
          "when appends are acknowledged; DEFAULT goes back to the configuration's value",
      .syntax = "key [IDMP-DURATION seconds] [IDMP-MAXSIZE count] [RETENTION-AGE milliseconds] "
                "[RETENTION-BYTES bytes] [RETENTION-LEN count] [RETENTION-ACKED <yes | no>] "
                "[RETENTION-ACKED-MAX-AGE milliseconds] [CODEC <auto | none | lz4 | zstd | "
                "zstd:level>] [DURABILITY <always | interval | os>]",
      .key_flags = "RW UPDATE" },
    { .name = "xdel",
      .handler = streams_xdel,
      .prefault = streams_xdel_prefault,
      .arity = -3,
      .flags = CMD_WRITE | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N) for each ID",
      .summary = "Removes entries from a stream; tells how many there were",
      .syntax = "key id [id ...]",
      .key_flags = "RW DELETE" },
    { .name = "xdelex",
      .handler = streams_xdelex,
      .prefault = streams_xdelex_prefault,
      .bound = streams_xdelex_bound,
      .arity = -5,
      .flags = CMD_WRITE | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "8.2.0",
      .complexity = "O(log N) for each ID",
      .summary = "Removes entries from a stream; tells for each ID what became of it",
      .syntax = "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
      .key_flags = "RW DELETE" },
    { .name = "xinfo",
      .arity = -2,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "Commands that tell about streams",
      .syntax = "",
      .subcommands = streams_xinfo_commands },
    { .name = "xlen",
      .handler = streams_xlen,
      .arity = 2,
      .flags = CMD_READONLY | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1)",
      .summary = "Tells how many entries a stream has",
      .syntax = "key",
      .key_flags = "RO" },
    { .name = "xrange",
      .handler = streams_xrange,
      .prefault = streams_xrange_prefault,
      .arity = -4,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) with M the number of entries replied",
      .summary = "Replies with the entries of a range of IDs",
      .syntax = "key start end [COUNT count]",
      .key_flags = "RO ACCESS" },
    { .name = "xread",
      .handler = streams_xread,
      .prefault = streams_xread_prefault,
      .arity = -4,
      .flags = CMD_READONLY | CMD_BLOCKING | CMD_MOVABLE_KEYS,
      .categories = CAT_STREAM,
      .get_keys = streams_xread_keys,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) for each stream with M the number of entries replied",
      .summary = "Replies with the entries of streams behind the IDs given, or waits for some",
      .syntax =
          "[COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] STREAMS key "
          "[key ...] <id | $ | +> [id ...]",
      .key_flags = "RO ACCESS",
      .key_word = "STREAMS" },
    { .name = "xrevrange",
      .handler = streams_xrevrange,
      .prefault = streams_xrevrange_prefault,
      .arity = -4,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) with M the number of entries replied",
      .summary = "Replies with the entries of a range of IDs, the last one first",
      .syntax = "key end start [COUNT count]",
      .key_flags = "RO ACCESS" },
    { .name = "xsetid",
      .handler = streams_xsetid,
      .prefault = streams_xsetid_prefault,
      .arity = -3,
      .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1)",
      .summary = "Sets a stream's last ID, and its counters",
      .syntax = "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
      .key_flags = "RW UPDATE" },
    { .name = "xtrim",
      .handler = streams_xtrim,
      .prefault = streams_xtrim_prefault,
      .bound = streams_xtrim_bound,
      .arity = -4,
      .flags = CMD_WRITE,
      .categories = CAT_STREAM,
      STREAMS_KEY,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) with M the number of entries removed; with ACKED also that of "
                    "entries that stay among them, at most 10,000 in a call",
      .summary = "Removes a stream's oldest entries; tells how many",
      .syntax = "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
      .key_flags = "RW DELETE",
      .tips = "nondeterministic_output" },
    { .name = NULL },
};
