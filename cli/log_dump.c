/*
 * log_dump.c - `beck log dump`: what a store holds, as JSON Lines.
 *
 * Three things can be asked for: records of the log, entries of segments, objects of the newest checkpoint. Each is printed as
 * it is read; memory is that of the largest batch, block or chunk. What a record or object consists of stands in tables
 * (docs/format.md has the same). One that does not fit its table is printed as bytes, and called malformed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/base64.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/log_groups.h"
#include "cli/log_values.h"
#include "cli/offline.h"
#include "log/checkpoint.h"
#include "log/entry.h"
#include "log/record.h"

struct dump_options {
    uint64_t from, to, oid; /* oid 0: all */
    bool segments, checkpoint;
};

struct dump {
    const struct dump_options *options;
    struct offline *o;
    struct output *out;
    int status; /* of the output: what to end with */
};

/* ---- values ---- */

static void dump_put_id(struct text *t, struct id id)
{
    text_printf(t, "\"%" PRIu64 "-%" PRIu64 "\"", id.ms, id.seq);
}

static void dump_put_slice(struct text *t, struct slice s)
{
    json_put_bytes(t, beck_bytes((const char *)s.p, s.n));
}

static bool dump_number(struct text *t, const uint8_t **p, const uint8_t *end)
{
    uint64_t v;

    if (!varint_get(p, end, &v))
        return false;
    text_put_u64(t, v);
    return true;
}

static bool dump_string(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct slice s;

    if (!slice_get(p, end, &s))
        return false;
    dump_put_slice(t, s);
    return true;
}

static bool dump_id(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct id id;

    if (!id_get(p, end, &id))
        return false;
    dump_put_id(t, id);
    return true;
}

static bool dump_byte(struct text *t, const uint8_t **p, const uint8_t *end)
{
    if (*p == end)
        return false;
    text_put_u64(t, *(*p)++);
    return true;
}

/* `varint n, n items`, as an array. */
static bool dump_list(struct text *t, const uint8_t **p, const uint8_t *end,
                      bool (*item)(struct text *t, const uint8_t **p, const uint8_t *end))
{
    uint64_t n;

    if (!varint_get(p, end, &n))
        return false;
    text_put_char(t, '[');
    for (uint64_t i = 0; i < n; i++) {
        text_put_str(t, i > 0 ? "," : "");
        if (!item(t, p, end))
            return false;
    }
    text_put_char(t, ']');
    return true;
}

static bool dump_ids(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_list(t, p, end, dump_id);
}

/* Two of a kind, as [a,b]. */
static bool dump_pair(struct text *t, const uint8_t **p, const uint8_t *end,
                      bool (*half)(struct text *t, const uint8_t **p, const uint8_t *end))
{
    text_put_char(t, '[');
    if (!half(t, p, end))
        return false;
    text_put_char(t, ',');
    if (!half(t, p, end))
        return false;
    text_put_char(t, ']');
    return true;
}

static bool dump_setting(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_pair(t, p, end, dump_number);
}

static bool dump_settings(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_list(t, p, end, dump_setting);
}

static bool dump_field(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_pair(t, p, end, dump_string);
}

static bool dump_fields(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_list(t, p, end, dump_field);
}

/* Deleted IDs of a checkpoint, each as the difference to the one before. */
static bool dump_deleted(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct id id = { 0, 0 };
    uint64_t n;

    if (!varint_get(p, end, &n))
        return false;
    text_put_char(t, '[');
    for (uint64_t i = 0; i < n; i++) {
        struct id d;
        if (!id_get(p, end, &d))
            return false;
        id = d.ms == 0 ? (struct id){ id.ms, id.seq + d.seq } : (struct id){ id.ms + d.ms, d.seq };
        text_put_str(t, i > 0 ? "," : "");
        dump_put_id(t, id);
    }
    text_put_char(t, ']');
    return true;
}

/* ---- tables ---- */

struct dump_part {
    const char *name;
    bool (*put)(struct text *t, const uint8_t **p, const uint8_t *end);
};

enum { DUMP_PARTS_MAX = 12 };

struct dump_table {
    const char *name;
    struct dump_part parts[DUMP_PARTS_MAX]; /* ends with one without a name */
};

/* The parts, as `,"name":value` each. */
static bool dump_parts(struct text *t, const struct dump_part *part, const uint8_t **p,
                       const uint8_t *end)
{
    for (; part->name != NULL; part++) {
        text_printf(t, ",\"%s\":", part->name);
        if (!part->put(t, p, end))
            return false;
    }
    return true;
}

static bool dump_idmp_item(struct text *t, const uint8_t **p, const uint8_t *end)
{
    static const struct dump_part parts[] = {
        { "iid", dump_string }, { "id", dump_id }, { "ms", dump_number }, { NULL, NULL }
    };

    text_put_str(t, "{\"producer\":");
    if (!dump_string(t, p, end) || !dump_parts(t, parts, p, end))
        return false;
    text_put_char(t, '}');
    return true;
}

static bool dump_idmp_items(struct text *t, const uint8_t **p, const uint8_t *end)
{
    return dump_list(t, p, end, dump_idmp_item);
}

/* ---- the log ---- */

/* By type. */
static const struct dump_table dump_records[] = {
    [RECORD_SKIP] = { "SKIP", { { "next-lsn", dump_number } } },
    [RECORD_STREAM] = { "STREAM", { { "db", dump_number }, { "key", dump_string } } },
    [RECORD_ENTRY] = { "ENTRY",
                       { { "oid", dump_number }, { "id", dump_id }, { "fields", dump_fields } } },
    [RECORD_ENTRY_IDMP] = { "ENTRY_IDMP",
                            { { "oid", dump_number },
                              { "producer", dump_string },
                              { "iid", dump_string },
                              { "id", dump_id },
                              { "fields", dump_fields } } },
    [RECORD_DELETE] = { "DELETE", { { "oid", dump_number }, { "ids", dump_ids } } },
    [RECORD_TRIM] = { "TRIM", { { "oid", dump_number }, { "first", dump_id } } },
    [RECORD_SETID] = { "SETID",
                       { { "oid", dump_number },
                         { "last-id", dump_id },
                         { "entries-added", dump_number },
                         { "max-deleted-id", dump_id } } },
    [RECORD_NAME] = { "NAME",
                      { { "db", dump_number },
                        { "key", dump_string },
                        { "oid", dump_number },
                        { "expiry-ms", dump_number } } },
    [RECORD_UNNAME] = { "UNNAME",
                        { { "db", dump_number },
                          { "key", dump_string },
                          { "reason", dump_byte },
                          { "rev", dump_number } } },
    [RECORD_FLUSH] = { "FLUSH", { { "db-plus-1", dump_number } } },
    [RECORD_IDMP_CONFIG] = { "IDMP_CONFIG",
                             { { "oid", dump_number },
                               { "duration-s", dump_number },
                               { "maxsize", dump_number } } },
    [RECORD_REMOVE] = { "REMOVE",
                        { { "oid", dump_number },
                          { "entries-left", dump_number },
                          { "bytes-left", dump_number },
                          { "ids", dump_ids } } },
    [RECORD_CUT] = { "CUT",
                     { { "oid", dump_number },
                       { "first", dump_id },
                       { "entries-left", dump_number },
                       { "bytes-left", dump_number } } },
    [RECORD_SETTINGS] = { "SETTINGS", { { "oid", dump_number }, { "settings", dump_settings } } },
    [RECORD_GROUP] = { "GROUP",
                       { { "oid", dump_number },
                         { "group", dump_string },
                         { "position", log_groups_put_position },
                         { "options", log_groups_put_options } } },
    [RECORD_GROUP_DROP] = { "GROUP_DROP", { { "oid", dump_number }, { "gid", dump_number } } },
    [RECORD_GROUP_POSITION] = { "GROUP_POSITION",
                                { { "oid", dump_number },
                                  { "gid", dump_number },
                                  { "position", log_groups_put_position } } },
    [RECORD_GROUP_OPTIONS] = { "GROUP_OPTIONS",
                               { { "oid", dump_number },
                                 { "gid", dump_number },
                                 { "options", log_groups_put_options } } },
    [RECORD_CONSUMER] = { "CONSUMER",
                          { { "oid", dump_number },
                            { "gid", dump_number },
                            { "slot", dump_number },
                            { "consumer", dump_string } } },
    [RECORD_CONSUMER_DROP] = { "CONSUMER_DROP",
                               { { "oid", dump_number },
                                 { "gid", dump_number },
                                 { "slot", dump_number },
                                 { "handed-back-ms", log_groups_put_back } } },
    [RECORD_DELIVER] = { "DELIVER",
                         { { "oid", dump_number },
                           { "gid", dump_number },
                           { "slot", dump_number },
                           { "delivery", log_groups_put_delivery } } },
    [RECORD_PENDING] = { "PENDING",
                         { { "oid", dump_number },
                           { "gid", dump_number },
                           { "slot", dump_number },
                           { "pending", log_groups_put_change } } },
    [RECORD_ACK] = { "ACK",
                     { { "oid", dump_number },
                       { "gid", dump_number },
                       { "ids", log_groups_put_ids } } },
    [RECORD_UNREF] = { "UNREF", { { "oid", dump_number }, { "first", dump_id } } },
    [RECORD_SIFT] = { "SIFT",
                      { { "oid", dump_number },
                        { "entries-left", dump_number },
                        { "bytes-left", dump_number },
                        { "ids", dump_ids } } },
    [RECORD_CHANGE] = { "CHANGE",
                        { { "oid", dump_number },
                          { "id", dump_id },
                          { "change", log_values_put_change } } },
    [RECORD_HISTORY] = { "HISTORY", { { "first", dump_id }, { "changes-before", dump_number } } },
    [RECORD_VIEW] = { "VIEW", { { "view", log_values_put_view } } },
};

static const struct dump_table *dump_record_table(uint8_t type)
{
    size_t n = sizeof dump_records / sizeof dump_records[0];

    return type < n && dump_records[type].name != NULL ? &dump_records[type] : NULL;
}

/* Whether the record made the object, or names it. */
static bool dump_is_about(const struct log_record *r, uint64_t oid)
{
    const struct dump_table *table = dump_record_table(r->type);
    const uint8_t *p = r->body, *end = r->body + r->len;
    struct text skipped = { 0 };
    uint64_t is = 0;

    if (oid == 0 || r->lsn == oid)
        return true;
    for (const struct dump_part *part = table != NULL ? table->parts : NULL;
         part != NULL && part->name != NULL && is == 0; part++) {
        if (strcmp(part->name, "oid") == 0) {
            if (!varint_get(&p, end, &is))
                break;
        } else if (strcmp(part->name, "fields") == 0 || !part->put(&skipped, &p, end)) {
            break; /* what is long is never in front of an oid */
        }
    }
    text_fini(&skipped);
    return is == oid;
}

/* Instead of what was put from `at` on. */
static void dump_malformed(struct text *t, size_t at, const uint8_t *p, size_t n)
{
    t->n = at;
    text_put_str(t, ",\"malformed\":true,\"body\":{\"base64\":\"");
    base64_put(t, (const char *)p, n);
    text_put_str(t, "\"}");
}

/* False: the output is at its end. */
static bool dump_goes_on(struct dump *d)
{
    if (d->status == EXIT_OK)
        d->status = output_flush_if_full(d->out);
    return d->status == EXIT_OK;
}

static int dump_record(void *ctx, const struct log_record *r, struct err *e)
{
    struct dump *d = ctx;
    const struct dump_table *table = dump_record_table(r->type);
    const uint8_t *p = r->body, *end = r->body + r->len;
    struct text *t = &d->out->text;
    size_t at;

    if (r->lsn < d->options->from || r->lsn > d->options->to || !dump_is_about(r, d->options->oid))
        return OK;
    text_printf(t,
                "{\"lsn\":%" PRIu64 ",\"ms\":%" PRIu64 ",\"counter\":%" PRIu64 ",\"type\":", r->lsn,
                r->clock >> 16, r->clock & 0xffff);
    if (table != NULL)
        text_printf(t, "\"%s\"", table->name);
    else
        text_put_u64(t, r->type);
    at = t->n;
    if (table == NULL || !dump_parts(t, table->parts, &p, end) || p != end)
        dump_malformed(t, at, r->body, r->len);
    text_put_str(t, "}\n");
    return dump_goes_on(d) ? OK : err_set(e, ERR_USAGE, "nobody reads on");
}

static int dump_log(struct dump *d)
{
    struct keeper_start start = { .wal_first = d->o->manifest.wal_first };
    struct recover_verdict v;
    struct err e = { 0 };
    int rc = offline_look(d->o, &start, dump_record, d, &v, &e);

    if (d->status != EXIT_OK)
        return d->status;
    if (rc != OK)
        return offline_fail(d->o, &e);
    if (d->o->manifest_error.code != OK)
        return offline_fail(d->o, &d->o->manifest_error);
    return v.damaged ? offline_fail(d->o, &v.damage) : EXIT_OK;
}

/* ---- segments ---- */

static bool dump_entry(struct dump *d, uint64_t ordinal, uint64_t oid, const uint8_t *entry)
{
    const uint8_t *end = entry_end(entry);
    struct text *t = &d->out->text;
    struct id id;
    const uint8_t *p = entry_id(entry, &id);
    bool is_change = oid == LOG_CHANGES_OID;
    size_t at;

    text_printf(t, "{\"segment\":%" PRIu64 ",\"oid\":%" PRIu64 ",\"id\":", ordinal, oid);
    dump_put_id(t, id);
    at = t->n;
    text_put_str(t, is_change ? ",\"change\":" : ",\"fields\":");
    /* The decoder has checked the entry, not what is in it. */
    if (is_change ? !log_values_put_change(t, &p, end) : !dump_fields(t, &p, end))
        dump_malformed(t, at, entry, (size_t)(end - entry));
    text_put_str(t, "}\n");
    return dump_goes_on(d);
}

static void dump_block(struct dump *d, uint64_t ordinal, const struct block *b)
{
    for (uint32_t i = 0; i < b->n_runs; i++) {
        const struct block_run *run = &b->runs[i];
        if (d->options->oid != 0 && run->oid != d->options->oid)
            continue;
        for (uint32_t row = run->first; row < run->first + run->n; row++)
            if (!dump_entry(d, ordinal, run->oid, block_entry(b, row)))
                return;
    }
}

/* One page of a segment's index. *more is false if no later one can have what is asked for. */
static int dump_page(struct dump *d, struct segment *s, uint32_t no, struct block_decoder *c,
                     bool *more, struct err *e)
{
    uint64_t oid = d->options->oid;
    struct segment_page *page = NULL;
    int rc = segment_read_page(s, no, &page, e);

    for (uint32_t i = 0; rc == OK && d->status == EXIT_OK && i < page->n; i++) {
        struct block *b;
        *more = oid == 0 || page->blocks[i].oid <= oid;
        if (!*more)
            break;
        if (oid != 0 && page->blocks[i].one_stream && page->blocks[i].oid != oid)
            continue;
        rc = segment_read_block(s, c, &page->blocks[i], &b, e);
        if (rc != OK)
            break;
        dump_block(d, segment_info(s)->ordinal, b);
        block_unref(b);
    }
    segment_page_unref(page);
    return rc;
}

static int dump_segment(struct dump *d, const struct segment_info *info, struct block_decoder *c,
                        struct err *e)
{
    struct offline *o = d->o;
    uint64_t oid = d->options->oid;
    struct segment *s = NULL;
    bool more = true;
    int rc = segment_open(&o->io, o->dir, o->store.uuid, info->ordinal, info, &s, e);

    if (rc == OK && (oid == 0 || segment_may_have(s, oid))) {
        uint32_t n = segment_n_pages(s);
        uint32_t no = oid == 0 || n == 0 ? 0 : segment_find_page(s, oid, ID_MIN);
        for (; rc == OK && more && d->status == EXIT_OK && no < n; no++)
            rc = dump_page(d, s, no, c, &more, e);
    }
    segment_unref(s);
    return rc;
}

static int dump_segments(struct dump *d)
{
    const struct manifest *m = &d->o->manifest;
    struct block_decoder *c = block_decoder_new();
    struct err e = { 0 };
    int status = EXIT_OK;

    if (c == NULL) {
        cli_message(d->o->cli, "out of memory");
        return EXIT_RUNTIME;
    }
    if (d->o->manifest_error.code != OK)
        status = offline_fail(d->o, &d->o->manifest_error);
    for (size_t i = 0; i < m->n_segments && d->status == EXIT_OK; i++) {
        const struct segment_info *s = &m->segments[i];
        if (s->lsn_last < d->options->from || s->lsn_first > d->options->to)
            continue;
        if (dump_segment(d, s, c, &e) != OK)
            status = offline_fail(d->o, &e); /* and what the others have */
    }
    block_decoder_free(c);
    return d->status != EXIT_OK ? d->status : status;
}

/* ---- checkpoints ---- */

enum { DUMP_HASH_KEY_BYTES = 16 };

/* It is not shown: who knows it can choose names that collide. */
static bool dump_hash_key(struct text *t, const uint8_t **p, const uint8_t *end)
{
    if (end - *p < DUMP_HASH_KEY_BYTES)
        return false;
    *p += DUMP_HASH_KEY_BYTES;
    text_put_u64(t, DUMP_HASH_KEY_BYTES);
    return true;
}

enum {
    DUMP_STREAM = 1,
    DUMP_DELETED = 2,
    DUMP_GROUP = 3,
    DUMP_PENDING = 4,
    DUMP_VALUE = 5, /* from here on nothing is of an object with an oid */
    DUMP_PIECE = 6,
    DUMP_NUMBER = 7,
    DUMP_HASH_KEY = 8,
    DUMP_HISTORY = 16,
    DUMP_KINDS
};

/* What a stream always has, and what it has with each bit of its flags. */
static const struct dump_table dump_objects[] = {
    [DUMP_STREAM] = { "stream",
                      { { "oid", dump_number },
                        { "rev", dump_number },
                        { "db", dump_number },
                        { "key", dump_string },
                        { "expiry-ms", dump_number },
                        { "last-id", dump_id },
                        { "entries-added", dump_number },
                        { "added-when-empty", dump_number },
                        { "entries", dump_number },
                        { "bytes", dump_number } } },
    [DUMP_DELETED] = { "deleted", { { "oid", dump_number }, { "deleted", dump_deleted } } },
    [DUMP_GROUP] = { "group",
                     { { "oid", dump_number },
                       { "gid", dump_number },
                       { "group", dump_string },
                       { "position", log_groups_put_position },
                       { "options", log_groups_put_options },
                       { "consumers", log_groups_put_consumers } } },
    [DUMP_PENDING] = { "pending",
                       { { "oid", dump_number },
                         { "gid", dump_number },
                         { "pending", log_groups_put_pending } } },
    [DUMP_VALUE] = { "value", { { "value", log_values_put_value } } },
    [DUMP_PIECE] = { "piece", { { "piece", log_values_put_piece } } },
    [DUMP_NUMBER] = { "number", { { "db", dump_number }, { "keys", dump_number } } },
    [DUMP_HASH_KEY] = { "hash-key", { { "bytes", dump_hash_key } } },
    [DUMP_HISTORY] = { "history", { { "history", log_values_put_history } } },
};

static const struct dump_part dump_optional[][DUMP_PARTS_MAX] = {
    { { "floor", dump_id }, { "max-deleted-id", dump_id } },
    { { "deleted", dump_deleted } },
    { { "settings", dump_settings } },
    { { "idmp-duration-s", dump_number },
      { "idmp-maxsize", dump_number },
      { "iids-added", dump_number },
      { "iids-duplicates", dump_number },
      { "iids", dump_idmp_items } },
};

/* The parts that a stream's flags announce. */
static bool dump_more(struct text *t, const uint8_t **p, const uint8_t *end)
{
    enum { N = sizeof dump_optional / sizeof dump_optional[0] };
    unsigned flags;

    if (*p == end || **p >= 1u << N)
        return false;
    flags = *(*p)++;
    for (unsigned i = 0; i < N; i++)
        if ((flags >> i & 1) != 0 && !dump_parts(t, dump_optional[i], p, end))
            return false;
    return true;
}

/* One object; *p moves behind it. False if what is there is none. */
static bool dump_object(struct text *t, uint64_t as_of, const uint8_t **p, const uint8_t *end)
{
    uint8_t kind = *(*p)++;

    if (kind >= DUMP_KINDS || dump_objects[kind].name == NULL)
        return false;
    text_printf(t, "{\"as-of\":%" PRIu64 ",\"kind\":\"%s\"", as_of, dump_objects[kind].name);
    if (!dump_parts(t, dump_objects[kind].parts, p, end) ||
        (kind == DUMP_STREAM && !dump_more(t, p, end)))
        return false;
    text_put_str(t, "}\n");
    return true;
}

static bool dump_wants_object(const struct dump *d, const uint8_t *p, const uint8_t *end)
{
    uint8_t kind = *p++;
    uint64_t oid;

    if (d->options->oid == 0)
        return true;
    return kind < DUMP_VALUE && (!varint_get(&p, end, &oid) || oid == d->options->oid);
}

static int dump_chunk(void *ctx, uint64_t as_of_lsn, struct slice payload, struct err *e)
{
    struct dump *d = ctx;
    struct text *t = &d->out->text;
    const uint8_t *p = payload.p, *end = payload.p + payload.n;

    while (p < end) {
        const uint8_t *begin = p;
        size_t at = t->n;
        if (!dump_object(t, as_of_lsn, &p, end)) {
            t->n = at;
            return err_set(e, ERR_CORRUPT,
                           "checkpoint, what is as of record %" PRIu64
                           ", byte %zu: is no object that this beck knows",
                           as_of_lsn, (size_t)(begin - payload.p));
        }
        if (!dump_wants_object(d, begin, end))
            t->n = at;
        if (!dump_goes_on(d))
            return err_set(e, ERR_USAGE, "nobody reads on");
    }
    return OK;
}

static int dump_checkpoint(struct dump *d)
{
    const struct manifest *m = &d->o->manifest;
    struct err e = { 0 };
    int status = EXIT_OK;

    if (d->o->manifest_error.code != OK)
        status = offline_fail(d->o, &d->o->manifest_error);
    for (size_t i = 0; i < m->n_checkpoints; i++) {
        int rc = checkpoint_load(&d->o->io, d->o->dir, d->o->store.uuid, &m->checkpoints[i],
                                 dump_chunk, d, &e);
        if (rc == OK || d->status != EXIT_OK)
            break;
        status = offline_fail(d->o, &e); /* the older one, then */
    }
    return d->status != EXIT_OK ? d->status : status;
}

/* ---- the command ---- */

static int dump_all(struct dump *d)
{
    int status = EXIT_OK, one;

    if (d->options->checkpoint)
        status = dump_checkpoint(d);
    if (d->options->segments && d->status == EXIT_OK) {
        one = dump_segments(d);
        status = status != EXIT_OK ? status : one;
    }
    if (!d->options->checkpoint && !d->options->segments)
        status = dump_log(d);
    if (d->status == EXIT_OK)
        d->status = output_flush(d->out);
    return d->status != EXIT_OK ? d->status : status;
}

static int log_dump_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct offline o;
    struct output out;
    struct dump d = { .options = options, .o = &o, .out = &out };
    int status;

    (void)argc;
    if (d.options->from > d.options->to)
        return cli_usage(cli, "--from is above --to");
    status = offline_open(&o, cli, argv[0]);
    if (status == EXIT_OK) {
        output_init(&out, cli);
        status = dump_all(&d);
        output_fini(&out);
    }
    offline_close(&o);
    return status;
}

#define DUMP(name, value, kind, field, help)                             \
    {                                                                    \
        0, name, value, kind, offsetof(struct dump_options, field), help \
    }

static const struct option_spec dump_specs[] = {
    DUMP("from", "LSN", OPTION_NUMBER, from, "Leave out what is older than this record."),
    DUMP("to", "LSN", OPTION_NUMBER, to, "Leave out what is newer than this record."),
    DUMP("oid", "OID", OPTION_NUMBER, oid,
         "Only what is about this object (the LSN of the record that made it)."),
    DUMP("segments", NULL, OPTION_FLAG, segments, "Print the entries of segments instead."),
    DUMP("checkpoint", NULL, OPTION_FLAG, checkpoint,
         "Print the objects of the newest whole checkpoint instead."),
};

static const struct dump_options dump_defaults = { .to = UINT64_MAX };

const struct command command_log_dump = {
    .name = "log dump",
    .arguments = "DIR",
    .summary = "print a store's records, entries or objects as JSON Lines",
    .text = "Prints the records of the log in the store in DIR, which no beckd may use, in their "
            "order: lsn, the stamp of the batch "
            "(ms and counter), type, and what that type has; an entry's fields are an array of "
            "pairs. Bytes that are not UTF-8 are "
            "{\"base64\":\"...\"}. docs/format.md says what each means.\n\n"
            "The log begins where MANIFEST says; what is older is in segments (--segments, where "
            "--from and --to choose those "
            "that stand for such records, and entries may be there that have been deleted since) "
            "and in checkpoints "
            "(--checkpoint). If something is damaged, what can be read is printed, a message says "
            "what cannot, and the status is 1.",
    .options = dump_specs,
    .n_options = sizeof dump_specs / sizeof dump_specs[0],
    .defaults = &dump_defaults,
    .options_bytes = sizeof dump_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = log_dump_run,
};
