/*
 * hashes_ttl.c - fields that expire: HEXPIRE and its kin, HTTL and its kin, HPERSIST.
 *
 * A command names several fields, and each gets an answer of its own. They are taken in turn: one that is named twice is
 * the second time what the first time has made of it. Then one record has all fields that changed, with the one time that
 * all of them got; a time that has passed removes them instead.
 *
 * Times are below 2^46 milliseconds (the year 4199), Redis's limit for fields.
 */
#include <stdlib.h>
#include "broker/commands/hashes.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

static const int64_t HASHES_TIME_MAX_MS = ((1ll << 48) - 2) >> 2;

enum { TTL_NO_FIELD = -2, TTL_NONE = -1, TTL_REFUSED = 0, TTL_SET = 1, TTL_PAST = 2 };

static const char TTL_NUMBER[] = "Number of fields must be a positive integer";

/* ---- arguments ---- */

bool hashes_parse_fields(struct client *c, const struct slice *argv, size_t argc, size_t at,
                         const char *what, struct hashes_fields *out)
{
    int64_t n;

    if (at + 1 >= argc) {
        reply_wrong_arity(c, command_find(argv[0]));
        return false;
    }
    if (!args_word(argv[at], "fields")) {
        reply_error(c, "ERR Mandatory argument FIELDS is missing or not at the right position");
        return false;
    }
    if (!args_i64_in(argv[at + 1], 1, INT64_MAX, &n)) {
        reply_error(c, "ERR %s", what);
        return false;
    }
    if ((uint64_t)n != argc - at - 2) {
        reply_error(c, "ERR The `numfields` parameter must match the number of arguments");
        return false;
    }
    *out = (struct hashes_fields){ argv + at + 2, (size_t)n };
    return true;
}

bool hashes_parse_expiry(struct client *c, const struct slice *argv, struct slice text,
                         int64_t unit_ms, uint64_t base_ms, uint64_t *out)
{
    int64_t when;

    if (!args_i64(text, &when)) {
        reply_not_integer(c);
        return false;
    }
    if (when < 0) {
        reply_error(c, "ERR invalid expire time, must be >= 0");
        return false;
    }
    if (when > HASHES_TIME_MAX_MS / unit_ms ||
        when * unit_ms > HASHES_TIME_MAX_MS - (int64_t)base_ms) {
        reply_error(c, "ERR invalid expire time in '%s' command", command_find(argv[0])->name);
        return false;
    }
    *out = (uint64_t)(when * unit_ms) + base_ms;
    return true;
}

/* ---- fields in turn ---- */

bool hashes_turns_init(struct client *c, const struct hashes_fields *fields,
                       struct hashes_turns *out)
{
    *out = (struct hashes_turns){ .n = fields->n };
    out->turns = calloc(fields->n, sizeof *out->turns);
    out->elements = calloc(fields->n, sizeof *out->elements);
    for (size_t i = 0; out->elements != NULL && i < fields->n; i++)
        out->elements[i].field = fields->names[i];
    if (out->elements != NULL)
        out->earlier = hashes_find_earlier(out->elements, fields->n);
    if (out->turns != NULL && out->earlier != NULL)
        return true;
    cache_nomem(c);
    return false;
}

void hashes_turns_fini(struct hashes_turns *t)
{
    free(t->turns);
    free(t->elements);
    free(t->earlier);
}

struct hashes_turn *hashes_turn(const struct engine *e, const struct object *o,
                                const struct hashes_fields *fields, struct hashes_turns *t,
                                size_t i)
{
    struct hashes_turn *turn = &t->turns[i];
    struct hash_field f;

    if (t->earlier[i] != SIZE_MAX) {
        *turn = t->turns[t->earlier[i]];
    } else if (hashes_find(e, o, fields->names[i], &f)) {
        turn->there = true;
        turn->value = f.value;
        turn->expiry_ms = f.expiry_ms;
    }
    turn->result = 0;
    return turn;
}

void hashes_change(struct hashes_turns *t, const struct hashes_fields *fields, size_t i, bool there,
                   uint64_t expiry_ms)
{
    struct hashes_turn *turn = &t->turns[i];

    if (!turn->changed)
        t->elements[t->n_elements++] =
            (struct element){ .field = fields->names[i], .expiry_ms = expiry_ms };
    turn->changed = true;
    turn->there = there;
    turn->expiry_ms = expiry_ms;
}

static void hashes_reply_results(struct client *c, const struct hashes_turns *t)
{
    reply_array(c, t->n);
    for (size_t i = 0; i < t->n; i++)
        reply_int(c, t->turns[i].result);
}

/* ---- HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT ---- */

enum hexpire_condition { HEXPIRE_ALWAYS, HEXPIRE_NX, HEXPIRE_XX, HEXPIRE_GT, HEXPIRE_LT };

static enum hexpire_condition hexpire_condition(struct slice word)
{
    static const char *const words[] = { "nx", "xx", "gt", "lt" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (args_word(word, words[i]))
            return (enum hexpire_condition)(HEXPIRE_NX + i);
    return HEXPIRE_ALWAYS;
}

/* A field that does not expire is later than any time. */
static bool hexpire_allows(enum hexpire_condition condition, uint64_t old_ms, uint64_t new_ms)
{
    switch (condition) {
    case HEXPIRE_NX: return old_ms == 0;
    case HEXPIRE_XX: return old_ms != 0;
    case HEXPIRE_GT: return old_ms != 0 && new_ms > old_ms;
    case HEXPIRE_LT: return old_ms == 0 || new_ms < old_ms;
    default: return true;
    }
}

static void hexpire_turn(const struct engine *e, const struct object *o,
                         const struct hashes_fields *fields, struct hashes_turns *t, size_t i,
                         enum hexpire_condition condition, uint64_t when_ms)
{
    struct hashes_turn *turn = hashes_turn(e, o, fields, t, i);
    bool past = when_ms <= e->now_ms;

    if (!turn->there) {
        turn->result = TTL_NO_FIELD;
    } else if (!hexpire_allows(condition, turn->expiry_ms, when_ms)) {
        turn->result = TTL_REFUSED;
    } else {
        hashes_change(t, fields, i, !past, when_ms);
        turn->result = past ? TTL_PAST : TTL_SET;
    }
}

/* Makes what has been gathered so; false after an error reply. */
static bool hexpire_apply(struct engine *e, struct client *c, struct slice key, struct object *o,
                          const struct hashes_turns *t, uint64_t when_ms)
{
    struct err err;

    if (t->n_elements == 0)
        return true;
    if (when_ms <= e->now_ms) {
        hashes_remove(e, c, key, o, t->elements, t->n_elements, "hdel");
        return true;
    }
    if (cache_set_field_expiry(e, c, o, t->elements, t->n_elements, when_ms, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    notify(e, NOTIFY_HASH, "hexpire", c->db, key);
    return true;
}

static void hashes_set_ttl(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, int64_t unit_ms, uint64_t base_ms)
{
    enum hexpire_condition condition;
    struct hashes_fields fields;
    struct hashes_turns t;
    struct object *o;
    uint64_t when_ms;

    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o) ||
        !hashes_parse_expiry(c, argv, argv[2], unit_ms, base_ms, &when_ms))
        return;
    condition = hexpire_condition(argv[3]);
    if (!hashes_parse_fields(c, argv, argc, condition == HEXPIRE_ALWAYS ? 3 : 4,
                             "Parameter `numFields` should be greater than 0", &fields))
        return;
    if (hashes_turns_init(c, &fields, &t)) {
        for (size_t i = 0; i < fields.n; i++)
            hexpire_turn(e, o, &fields, &t, i, condition, when_ms);
        if (hexpire_apply(e, c, argv[1], o, &t, when_ms))
            hashes_reply_results(c, &t);
    }
    hashes_turns_fini(&t);
}

void hashes_hexpire(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_set_ttl(e, c, argv, argc, 1000, e->now_ms);
}

void hashes_hpexpire(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_set_ttl(e, c, argv, argc, 1, e->now_ms);
}

void hashes_hexpireat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_set_ttl(e, c, argv, argc, 1000, 0);
}

void hashes_hpexpireat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_set_ttl(e, c, argv, argc, 1, 0);
}

/* ---- HPERSIST ---- */

void hashes_hpersist(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hashes_fields fields;
    struct hashes_turns t;
    struct object *o;
    struct err err;

    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o) ||
        !hashes_parse_fields(c, argv, argc, 2, TTL_NUMBER, &fields))
        return;
    if (hashes_turns_init(c, &fields, &t)) {
        for (size_t i = 0; i < fields.n; i++) {
            struct hashes_turn *turn = hashes_turn(e, o, &fields, &t, i);
            turn->result = !turn->there ? TTL_NO_FIELD : turn->expiry_ms == 0 ? TTL_NONE : TTL_SET;
            if (turn->result == TTL_SET)
                hashes_change(&t, &fields, i, true, 0);
        }
        if (t.n_elements > 0 &&
            cache_set_field_expiry(e, c, o, t.elements, t.n_elements, 0, &err) != OK) {
            cache_nomem(c);
        } else {
            hashes_reply_results(c, &t);
            if (t.n_elements > 0)
                notify(e, NOTIFY_HASH, "hpersist", c->db, argv[1]);
        }
    }
    hashes_turns_fini(&t);
}

/* ---- HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME ---- */

static void hashes_get_ttl(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, uint64_t base_ms, uint64_t unit_ms)
{
    struct hashes_fields fields;
    struct object *o;

    if (!cache_read(e, c, argv[1], OBJECT_HASH, &o) ||
        !hashes_parse_fields(c, argv, argc, 2, TTL_NUMBER, &fields))
        return;
    reply_array(c, fields.n);
    for (size_t i = 0; i < fields.n; i++) {
        struct hash_field f;
        if (!hashes_find(e, o, fields.names[i], &f))
            reply_int(c, TTL_NO_FIELD);
        else if (f.expiry_ms == 0)
            reply_int(c, TTL_NONE);
        else
            reply_u64(c, (f.expiry_ms - base_ms + unit_ms - 1) / unit_ms);
    }
}

void hashes_httl(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_get_ttl(e, c, argv, argc, e->now_ms, 1000);
}

void hashes_hpttl(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_get_ttl(e, c, argv, argc, e->now_ms, 1);
}

void hashes_hexpiretime(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_get_ttl(e, c, argv, argc, 0, 1000);
}

void hashes_hpexpiretime(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    hashes_get_ttl(e, c, argv, argc, 0, 1);
}
