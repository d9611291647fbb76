/* streams.h - what the files of the stream commands share: lookups, IDs as text, entries as replies. */
#ifndef BROKER_COMMANDS_STREAMS_H
#define BROKER_COMMANDS_STREAMS_H
#include "broker/engine/command.h"
#include "broker/engine/engine.h"
#include "broker/engine/trim.h"
#include "log/id.h"

/* The stream of a key, NULL in *out if there is none. False if the key holds something else: -WRONGTYPE has been
 * replied. */
must_check bool streams_find(struct engine *e, struct client *c, struct slice key,
                             struct stream **out);
must_check bool streams_find_write(struct engine *e, struct client *c, struct slice key,
                                   struct stream **out);
/* To read it; NULL: an error has been replied, also if there is no such key. */
must_check struct stream *streams_find_there(struct engine *e, struct client *c, struct slice key);

/* The stream as readers see it, NULL if there is none; replies nothing and counts nothing. */
const struct stream *streams_peek(const struct engine *e, const struct client *c, struct slice key);

/* What of the log could not be had: -IOERR, -OOM, or that it is too much. */
void streams_reply_failure(struct client *c, int rc, const struct err *err);

/* Reads "ms" or "ms-seq"; without seq it is missing_seq. The second one knows "-" and "+" too. */
must_check bool streams_parse_id(struct slice text, uint64_t missing_seq, struct id *out);
must_check bool streams_parse_id_or_end(struct slice text, uint64_t missing_seq, struct id *out);
void streams_bad_id(struct client *c); /* the error for both */

/* A bound of a range: an ID, "-", "+", or "(" and an ID for what lies behind (before) it. False: an error has been replied. */
must_check bool streams_parse_bound(struct client *c, struct slice text, bool is_end,
                                    struct id *out);

/* Positions of the first and behind the last entry with from <= ID <= to. */
struct streams_span {
    struct stream_pos from, to;
};
struct streams_span streams_span(const struct stream *st, struct id from, struct id to);

/* Whether nothing that lives at or above `from` is only in segments. */
static inline bool streams_is_in_tail(const struct stream *st, struct id from)
{
    return stream_n_sealed(st) == 0 || id_cmp(from, st->sealed_last) > 0;
}

/* Replies the array [id, [field, value, ...]] of one entry, straight from its bytes. The second one announces n_elements
 * (2..9) and replies the first two of them. */
void streams_reply_entry(struct client *c, const uint8_t *entry);
void streams_reply_entry_of(struct client *c, const uint8_t *entry, unsigned n_elements);

/* Replies an array of n entries from `from` on; the second one backwards, ending before `to`. */
void streams_reply_entries(struct client *c, const struct stream *st, struct stream_pos from,
                           uint64_t n);
void streams_reply_entries_back(struct client *c, const struct stream *st, struct stream_pos to,
                                uint64_t n);

/* How many bytes streams_reply_entry writes. */
size_t streams_entry_reply_size(const uint8_t *entry);

/* Whether the word is KEEPREF, DELREF or ACKED. */
bool streams_references(struct slice word, enum trim_refs *out);

/* Reads the option at argv[*i], if it is one of trimming or of what happens to references, and moves *i behind it. 0: it is
 * another word; -1: an error has been replied. */
int streams_trim_option(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                        struct trim *trim, bool *references_given);

/* Checks the options together and sets the limit; false if an error has been replied. */
must_check bool streams_trim_check(struct engine *e, struct client *c, struct trim *trim);

/* The settings of idempotence that hold for a stream. */
static inline uint64_t streams_idmp_duration_s(const struct engine *e, const struct stream *st)
{
    return stream_idmp(st)->duration_s != 0 ? stream_idmp(st)->duration_s
                                            : (uint64_t)e->config->idmp_duration_s;
}

static inline uint64_t streams_idmp_maxsize(const struct engine *e, const struct stream *st)
{
    return stream_idmp(st)->maxsize != 0 ? stream_idmp(st)->maxsize
                                         : (uint64_t)e->config->idmp_maxsize;
}

/* How many entries have left at the front since the stream last was empty, if none left elsewhere. */
static inline uint64_t streams_removed_in_nodes(const struct stream *st)
{
    return st->entries_added - st->added_when_empty - st->n_entries;
}

command_handler streams_xadd, streams_xlen, streams_xrange, streams_xrevrange, streams_xread,
    streams_xdel, streams_xdelex, streams_xtrim, streams_xsetid, streams_xcfgset,
    streams_xinfo_stream;
command_prefault streams_xadd_prefault, streams_xrange_prefault, streams_xrevrange_prefault,
    streams_xread_prefault, streams_xdel_prefault, streams_xdelex_prefault, streams_xtrim_prefault,
    streams_xsetid_prefault, streams_xinfo_stream_prefault;

/* What a trim may log besides its cut: one of those n words, the first options of a command, may be DELREF or ACKED. */
size_t streams_trim_bound(const struct slice *argv, size_t n);

command_bound streams_xadd_bound, streams_xdelex_bound, streams_xtrim_bound;

/* Where XREAD's keys stand. */
size_t streams_xread_keys(const struct slice *argv, size_t argc, size_t *out);

#endif
