/*
 * streams_add.c - XADD: options, the ID, idempotence, the record.
 *
 * Everything is checked before the first record: options, ID, whether the key is a stream, whether
 * memory is there. Then a new stream gets its RECORD_STREAM, and the entry its RECORD_ENTRY (with an
 * idempotence ID RECORD_ENTRY_IDMP), written by its bytes' final place: what the index points to is the
 * record in the arena. A trim is a record of its own behind it, in the same batch; what it removes is decided before,
 * as if the entry were there, since that may have to be read.
 */
#include <assert.h>
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "broker/engine/retention.h"
#include "broker/engine/sieve.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    XADD_OPTIONS_MAX = 10 /* NOMKSTREAM, ACKED, IDMP and two words, MAXLEN ~ n LIMIT n */
};

enum xadd_id { XADD_ID_AUTO, XADD_ID_AUTO_SEQ, XADD_ID_GIVEN };
enum xadd_idmp { XADD_IDMP_NONE, XADD_IDMP_GIVEN, XADD_IDMP_AUTO };

struct xadd {
    struct slice key;
    bool no_mkstream, references_given;
    struct trim trim;
    enum xadd_idmp idmp;
    struct slice producer, iid;
    uint8_t auto_iid[IDMP_AUTO_BYTES];
    enum xadd_id id_kind;
    struct id id;
    const struct slice *strings; /* fields and values */
    size_t n_strings;
};

/* ---- options ---- */

/* IDMP pid iid or IDMPAUTO pid at argv[*i]. 0: it is neither; -1: an error has been replied. */
static int xadd_idmp_option(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                            struct xadd *x)
{
    bool given = args_word(argv[*i], "idmp"), automatic = args_word(argv[*i], "idmpauto");
    size_t n = given ? 2 : 1;

    if ((!given && !automatic) || argc - 1 - *i < n)
        return 0;
    if (x->idmp != XADD_IDMP_NONE) {
        reply_error(c, "ERR IDMP/IDMPAUTO specified multiple times");
        return -1;
    }
    x->idmp = given ? XADD_IDMP_GIVEN : XADD_IDMP_AUTO;
    x->producer = argv[*i + 1];
    x->iid = argv[*i + n];
    if (x->producer.n == 0) {
        reply_error(c, "ERR %s requires a non-empty producer ID", given ? "IDMP" : "IDMPAUTO");
        return -1;
    }
    if (x->iid.n == 0) {
        reply_error(c, "ERR IDMP requires a non-empty idempotent ID");
        return -1;
    }
    *i += 1 + n;
    return 1;
}

/* The ID at argv[i]: "*", "ms-*", "ms" or "ms-seq". */
static bool xadd_parse_id(struct client *c, struct slice text, struct xadd *x)
{
    x->id_kind = XADD_ID_GIVEN;
    if (text.n > 2 && text.p[text.n - 1] == '*' && text.p[text.n - 2] == '-') {
        x->id_kind = XADD_ID_AUTO_SEQ;
        text.n -= 2;
    }
    if (streams_parse_id(text, 0, &x->id) &&
        (x->id_kind == XADD_ID_GIVEN || memchr(text.p, '-', text.n) == NULL))
        return true;
    streams_bad_id(c);
    return false;
}

/* Reads the options from argv[2] on up to the ID; returns the ID's place, or 0 if an error has been replied. */
static size_t xadd_parse_options(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc, struct xadd *x)
{
    size_t i = 2;

    while (i < argc) {
        int rc = 0;

        if (argv[i].n == 1 && argv[i].p[0] == '*') {
            x->id_kind = XADD_ID_AUTO;
            break;
        }
        if (argv[i].n > 0 && argv[i].p[0] > '9') { /* a word, not an ID */
            rc = streams_trim_option(c, argv, argc, &i, &x->trim, &x->references_given);
            if (rc == 0)
                rc = xadd_idmp_option(c, argv, argc, &i, x);
            if (rc < 0)
                return 0;
            if (rc == 0 && args_word(argv[i], "nomkstream")) {
                x->no_mkstream = true;
                i++;
                rc = 1;
            }
        }
        if (rc > 0)
            continue;
        if (!xadd_parse_id(c, argv[i], x))
            return 0;
        break;
    }
    return streams_trim_check(e, c, &x->trim) ? i : 0;
}

static bool xadd_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                       struct xadd *x)
{
    size_t id_at =
        argv[2].n == 1 && argv[2].p[0] == '*' ? 2 : xadd_parse_options(e, c, argv, argc, x);

    if (id_at == 0)
        return false;
    x->key = argv[1];
    if (x->idmp != XADD_IDMP_NONE && x->id_kind != XADD_ID_AUTO) {
        reply_error(c, "ERR IDMP/IDMPAUTO can be used only with auto-generated IDs");
        return false;
    }
    if (argc < id_at + 3 || (argc - id_at) % 2 == 0) {
        reply_error(c, "ERR wrong number of arguments for 'xadd' command");
        return false;
    }
    x->strings = argv + id_at + 1;
    x->n_strings = argc - id_at - 1;
    if (x->id_kind == XADD_ID_GIVEN && x->id.ms == 0 && x->id.seq == 0) {
        reply_error(c, "ERR The ID specified in XADD must be greater than 0-0");
        return false;
    }
    if (x->idmp == XADD_IDMP_AUTO) {
        idmp_auto(x->strings, x->n_strings, x->auto_iid);
        x->iid = slice_of(x->auto_iid, sizeof x->auto_iid);
    }
    return true;
}

/* ---- the ID ---- */

/* The ID that the entry gets in a stream whose last one is `last`. False if an error has been replied. */
static bool xadd_choose_id(struct engine *e, struct client *c, const struct xadd *x, struct id last,
                           struct id *out)
{
    struct id id = x->id;

    if (last.ms == UINT64_MAX && last.seq == UINT64_MAX) {
        reply_error(c,
                    "ERR The stream has exhausted the last possible ID, unable to add more items");
        return false;
    }
    if (x->id_kind == XADD_ID_AUTO) {
        engine_next_id(e, last, &id);
    } else if (x->id_kind == XADD_ID_AUTO_SEQ) {
        id.seq = 0;
        if (id.ms == last.ms)
            id.seq = last.seq + 1; /* 0 again behind the largest one: refused below */
    }
    if (id_cmp(id, last) <= 0) {
        reply_error(c,
                    "ERR The ID specified in XADD is equal or smaller than the target stream top "
                    "item");
        return false;
    }
    *out = id;
    return true;
}

/* ---- the records ---- */

static void xadd_append(struct engine *e, struct client *c, const struct xadd *x, struct stream *st,
                        struct id id)
{
    size_t len = varint_size(st->oid) + entry_size(id, x->strings, x->n_strings);
    uint64_t lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_ENTRY, len, &lsn);

    p = varint_put(p, st->oid);
    entry_put(p, id, x->strings, x->n_strings);
    state_add_entry(&e->state, st, id, p, entry_size(id, x->strings, x->n_strings), lsn);
}

/* Makes the settings of idempotence the stream's own, so that a replay does not depend on the configuration. */
static int xadd_configure(struct engine *e, struct client *c, struct stream *st, struct err *err)
{
    uint64_t duration_s = (uint64_t)e->config->idmp_duration_s;
    uint64_t maxsize = (uint64_t)e->config->idmp_maxsize, lsn;
    size_t len = varint_size(st->oid) + varint_size(duration_s) + varint_size(maxsize);
    uint8_t *p;
    int rc;

    if (stream_idmp(st)->duration_s != 0)
        return OK;
    rc = state_prepare_idmp_config(st, err);
    if (rc != OK)
        return rc;
    p = engine_append_to(e, c, &st->object, RECORD_IDMP_CONFIG, len, &lsn);
    varint_put(varint_put(varint_put(p, st->oid), duration_s), maxsize);
    state_set_idmp(&e->state, st, (uint32_t)duration_s, (uint32_t)maxsize);
    return OK;
}

static int xadd_append_idmp(struct engine *e, struct client *c, const struct xadd *x,
                            struct stream *st, struct id id, struct err *err)
{
    size_t head = varint_size(st->oid) + slice_size(x->producer) + slice_size(x->iid);
    size_t len = head + entry_size(id, x->strings, x->n_strings);
    struct idmp_item *item;
    uint64_t lsn;
    uint8_t *p;
    int rc;

    rc = xadd_configure(e, c, st, err);
    if (rc == OK)
        rc = state_prepare_idmp(&e->state, st, x->producer, x->iid, e->now_ms, &item, err);
    if (rc != OK)
        return rc;
    p = engine_append_to(e, c, &st->object, RECORD_ENTRY_IDMP, len, &lsn);
    p = slice_put(slice_put(varint_put(p, st->oid), x->producer), x->iid);
    entry_put(p, id, x->strings, x->n_strings);
    state_add_entry(&e->state, st, id, p, len - head, lsn);
    idmp_commit(st->more->idmp, item, id, e->now_ms);
    return OK;
}

static void xadd_count(struct engine *e, const struct xadd *x)
{
    for (size_t i = 0; i < x->n_strings; i++)
        e->received_bytes += x->strings[i].n;
}

/* What the trim that was asked for will remove. */
static int xadd_plan(struct engine *e, const struct xadd *x, const struct stream *st, struct id id,
                     struct wants *wants, struct sieve *out, struct err *err)
{
    const struct trim_added added = { id, entry_size(id, x->strings, x->n_strings) };

    return sieve_plan(e, st, &x->trim, &added, wants, out, err);
}

/* Makes sure that memory is there and what the trim removes known. */
static int xadd_prepare(struct engine *e, const struct xadd *x, struct stream *st, struct id id,
                        struct sieve *sieve, struct err *err)
{
    int rc = OK;

    *sieve = (struct sieve){ .n = 0 };
    if (x->trim.by != TRIM_NONE)
        rc = xadd_plan(e, x, st, id, NULL, sieve, err);
    if (rc == OK && sieve_n(sieve) > 0)
        rc = sieve_prepare(e, st, sieve, err);
    return rc == OK ? stream_index_reserve(&e->state.tails, &st->tail, 1, err) : rc;
}

/* Appends the entry, and trims. Errors: ERR_NOMEM, with nothing appended. */
static int xadd_apply(struct engine *e, struct client *c, const struct xadd *x, struct stream *st,
                      struct id id, const struct sieve *sieve, struct err *err)
{
    int rc = OK;

    if (x->idmp == XADD_IDMP_NONE)
        xadd_append(e, c, x, st, id);
    else
        rc = xadd_append_idmp(e, c, x, st, id, err);
    if (rc != OK)
        return rc;
    xadd_count(e, x);
    notify(e, NOTIFY_STREAM, "xadd", c->db, x->key);
    if (sieve_n(sieve) > 0) {
        sieve_apply(e, c, st, sieve);
        notify(e, NOTIFY_STREAM, "xtrim", c->db, x->key);
    }
    retention_appended(e, st);
    return OK;
}

/* Adds the entry to `st`, or to a new stream if that is NULL. */
static int xadd_add(struct engine *e, struct client *c, const struct xadd *x, struct stream *st,
                    struct id id, struct err *err)
{
    bool created = st == NULL;
    struct sieve sieve;
    int rc = created ? state_reserve_stream(&e->state, x->key, &st, err) : OK;

    if (rc != OK)
        return rc;
    rc = xadd_prepare(e, x, st, id, &sieve, err);
    if (rc != OK && created)
        state_discard_stream(st);
    if (rc == OK && created)
        engine_add_stream(e, c, st, c->db, x->key);
    if (rc == OK)
        rc = xadd_apply(e, c, x, st, id, &sieve, err);
    sieve_fini(&sieve);
    return rc;
}

void streams_xadd(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xadd x = { .id_kind = XADD_ID_AUTO };
    struct stream *st;
    struct err err;
    struct id id;
    int rc;

    if (!xadd_parse(e, c, argv, argc, &x) || !streams_find_write(e, c, x.key, &st))
        return;
    if (st == NULL && x.no_mkstream) {
        reply_null(c);
        return;
    }
    if (x.idmp != XADD_IDMP_NONE && st != NULL &&
        idmp_find(stream_idmp(st), x.producer, x.iid, e->now_ms, &id)) {
        state_count_duplicate(st);
        reply_id(c, id);
        return;
    }
    if (!xadd_choose_id(e, c, &x, st == NULL ? ID_MIN : st->last_id, &id))
        return;
    rc = xadd_add(e, c, &x, st, id, &err);
    if (rc != OK) {
        streams_reply_failure(c, rc, &err);
        return;
    }
    reply_id(c, id);
    engine_key_changed(e, c->db, x.key);
}

/* Only a trim looks at what is there. */
void streams_xadd_prefault(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, struct wants *wants)
{
    struct xadd x = { .id_kind = XADD_ID_AUTO };
    const struct stream *st;
    struct sieve sieve;
    struct id id;

    if (argv[2].n == 1 && argv[2].p[0] == '*')
        return;
    st = streams_peek(e, c, argv[1]);
    if (st == NULL || stream_n_sealed(st) == 0 || !xadd_parse(e, c, argv, argc, &x) ||
        x.trim.by == TRIM_NONE || !xadd_choose_id(e, c, &x, st->last_id, &id))
        return;
    err_ignore(xadd_plan(e, &x, st, id, wants, &sieve, NULL)); /* the wants tell */
    sieve_fini(&sieve);
}

/* Options stand before the ID, XADD_OPTIONS_MAX words of them at most; a field's name that is one of theirs does no harm. */
size_t streams_xadd_bound(const struct slice *argv, size_t argc)
{
    size_t n = argc - 2 < XADD_OPTIONS_MAX ? argc - 2 : XADD_OPTIONS_MAX;

    return argv[2].n == 1 && argv[2].p[0] == '*' ? 0 : streams_trim_bound(argv + 2, n);
}
