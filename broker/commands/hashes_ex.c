/*
 * hashes_ex.c - HGETEX, HSETEX, HGETDEL: fields read or set together with when they expire, or read and removed.
 *
 * Fields are taken in turn, as in hashes_ttl.c. Of HSETEX the conditions are about all fields before anything is set; a time that
 * has passed leaves none of them there.
 */
#include <stdlib.h>
#include "broker/commands/hashes.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

static const char EX_NUMBER[] = "Number of fields must be a positive integer";

static void hashes_reply_turn(struct client *c, const struct hashes_turn *turn)
{
    if (turn->there)
        reply_bulk(c, turn->value.p, turn->value.n);
    else
        reply_null(c);
}

/* ---- HGETDEL ---- */

void hashes_hgetdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hashes_fields fields;
    struct hashes_turns t;
    struct object *o;

    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o) ||
        !hashes_parse_fields(c, argv, argc, 2, EX_NUMBER, &fields))
        return;
    if (hashes_turns_init(c, &fields, &t)) {
        reply_array(c, fields.n);
        for (size_t i = 0; i < fields.n; i++) {
            struct hashes_turn *turn = hashes_turn(e, o, &fields, &t, i);
            hashes_reply_turn(c, turn);
            if (turn->there)
                hashes_change(&t, &fields, i, false, 0);
        }
        if (t.n_elements > 0)
            hashes_remove(e, c, argv[1], o, t.elements, t.n_elements, "hdel");
    }
    hashes_turns_fini(&t);
}

/* ---- times ---- */

enum ex_kind { EX_NONE, EX_SET, EX_KEEP }; /* EX_KEEP: KEEPTTL, or PERSIST */

/* The unit of EX, PX, EXAT, PXAT; false: it is another word. */
static bool ex_unit(const struct engine *e, struct slice word, int64_t *unit_ms, uint64_t *base_ms)
{
    bool seconds = args_word(word, "ex") || args_word(word, "exat");
    bool relative = args_word(word, "ex") || args_word(word, "px");

    *unit_ms = seconds ? 1000 : 1;
    *base_ms = relative ? e->now_ms : 0;
    return seconds || relative || args_word(word, "pxat");
}

/* ---- HGETEX ---- */

struct hgetex {
    enum ex_kind kind;
    uint64_t when_ms; /* of EX_SET */
    struct hashes_fields fields;
};

static bool hgetex_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         struct hgetex *x)
{
    int64_t unit_ms;
    uint64_t base_ms;
    size_t at = 2;

    if (ex_unit(e, argv[2], &unit_ms, &base_ms)) {
        x->kind = EX_SET;
        at = 4;
        if (!hashes_parse_expiry(c, argv, argv[3], unit_ms, base_ms, &x->when_ms))
            return false;
    } else if (args_word(argv[2], "persist")) {
        x->kind = EX_KEEP;
        at = 3;
    }
    return hashes_parse_fields(c, argv, argc, at, EX_NUMBER, &x->fields);
}

/* What becomes of a field that is there. */
static void hgetex_turn(const struct engine *e, const struct hgetex *x, struct hashes_turns *t,
                        size_t i)
{
    if (x->kind == EX_SET)
        hashes_change(t, &x->fields, i, x->when_ms > e->now_ms, x->when_ms);
    else if (x->kind == EX_KEEP && t->turns[i].expiry_ms != 0)
        hashes_change(t, &x->fields, i, true, 0);
}

/* The values go first: a reply that then cannot be kept is taken back. */
static void hgetex_run(struct engine *e, struct client *c, struct slice key, struct object *o,
                       const struct hgetex *x, struct hashes_turns *t)
{
    uint64_t start = outbuf_end(&c->out);
    struct err err;

    reply_array(c, x->fields.n);
    for (size_t i = 0; i < x->fields.n; i++) {
        hashes_reply_turn(c, hashes_turn(e, o, &x->fields, t, i));
        if (t->turns[i].there)
            hgetex_turn(e, x, t, i);
    }
    if (t->n_elements == 0)
        return;
    if (x->kind == EX_SET && x->when_ms <= e->now_ms) {
        hashes_remove(e, c, key, o, t->elements, t->n_elements, "hdel");
    } else if (cache_set_field_expiry(e, c, o, t->elements, t->n_elements, x->when_ms, &err) !=
               OK) {
        outbuf_truncate(&c->out, start);
        cache_nomem(c);
    } else {
        notify(e, NOTIFY_HASH, x->kind == EX_SET ? "hexpire" : "hpersist", c->db, key);
    }
}

void hashes_hgetex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hgetex x = { .kind = EX_NONE };
    struct hashes_turns t;
    struct object *o;

    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o) || !hgetex_parse(e, c, argv, argc, &x))
        return;
    if (hashes_turns_init(c, &x.fields, &t))
        hgetex_run(e, c, argv[1], o, &x, &t);
    hashes_turns_fini(&t);
}

/* ---- HSETEX ---- */

enum hsetex_condition { HSETEX_ALWAYS, HSETEX_FNX, HSETEX_FXX };

struct hsetex {
    enum ex_kind kind;
    enum hsetex_condition condition;
    uint64_t when_ms;
    const struct slice *pairs;
    size_t n; /* pairs */
};

static bool hsetex_condition(struct client *c, struct slice word, struct hsetex *x)
{
    if (x->condition != HSETEX_ALWAYS) {
        reply_error(c, "ERR Only one of FXX or FNX arguments can be specified");
        return false;
    }
    x->condition = args_word(word, "fnx") ? HSETEX_FNX : HSETEX_FXX;
    return true;
}

/* An option at argv[*at], which is moved behind it; false after an error reply. */
static bool hsetex_option(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                          size_t *at, struct hsetex *x)
{
    struct slice word = argv[(*at)++];
    int64_t unit_ms;
    uint64_t base_ms;
    bool keep = args_word(word, "keepttl"), timed = ex_unit(e, word, &unit_ms, &base_ms);

    if (args_word(word, "fnx") || args_word(word, "fxx"))
        return hsetex_condition(c, word, x);
    if (!keep && !timed) {
        reply_error(c, "ERR unknown argument: %.*s", reply_echo_n(word), (const char *)word.p);
        return false;
    }
    if (x->kind != EX_NONE) {
        reply_error(c, "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
        return false;
    }
    x->kind = keep ? EX_KEEP : EX_SET;
    if (keep)
        return true;
    if (*at == argc) {
        reply_error(c, "ERR missing expire time");
        return false;
    }
    return hashes_parse_expiry(c, argv, argv[(*at)++], unit_ms, base_ms, &x->when_ms);
}

static bool hsetex_fields(struct client *c, const struct slice *argv, size_t argc, size_t at,
                          struct hsetex *x)
{
    int64_t n;

    if (argc - at < 4) {
        reply_wrong_arity(c, command_find(argv[0]));
        return false;
    }
    if (!args_i64_in(argv[at + 1], 1, INT32_MAX, &n)) {
        reply_error(c, "ERR invalid number of fields");
        return false;
    }
    if ((argc - at) % 2 != 0 || (uint64_t)n != (argc - at - 2) / 2) {
        reply_wrong_arity(c, command_find(argv[0]));
        return false;
    }
    x->pairs = argv + at + 2;
    x->n = (size_t)n;
    return true;
}

static bool hsetex_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         struct hsetex *x)
{
    size_t at = 2;

    while (at < argc && !args_word(argv[at], "fields"))
        if (!hsetex_option(e, c, argv, argc, &at, x))
            return false;
    return hsetex_fields(c, argv, argc, at, x);
}

/* Whether FNX or FXX let it be done. */
static bool hsetex_allows(const struct engine *e, const struct object *o, const struct hsetex *x)
{
    struct hash_field f;

    for (size_t i = 0; i < x->n && x->condition != HSETEX_ALWAYS; i++)
        if (hashes_find(e, o, x->pairs[2 * i], &f) != (x->condition == HSETEX_FXX))
            return false;
    return true;
}

static void hsetex_set(struct engine *e, struct client *c, struct slice key, struct object *o,
                       const struct hsetex *x, struct element *elements)
{
    struct hash_field f;
    size_t n_new;

    for (size_t i = 0; i < x->n; i++) {
        elements[i] = (struct element){ .field = x->pairs[2 * i],
                                        .value = x->pairs[2 * i + 1],
                                        .expiry_ms = x->when_ms };
        if (x->kind == EX_KEEP && hashes_find(e, o, elements[i].field, &f))
            elements[i].expiry_ms = f.expiry_ms;
    }
    if (!hashes_put(e, c, key, o, elements, x->n, "hset", &n_new))
        return;
    reply_int(c, 1);
    if (x->kind == EX_SET)
        notify(e, NOTIFY_HASH, "hexpire", c->db, key);
}

/* The time has passed: what would be set is gone at once, and so is what was there. */
static void hsetex_past(struct engine *e, struct client *c, struct slice key, struct object *o,
                        const struct hsetex *x, struct element *elements)
{
    size_t n;

    for (size_t i = 0; i < x->n; i++)
        elements[i] = (struct element){ .field = x->pairs[2 * i] };
    n = hashes_pick(e, o, elements, x->n);
    if (n == SIZE_MAX)
        cache_nomem(c);
    else
        reply_int(c, 1);
    if (n != SIZE_MAX && n > 0)
        hashes_remove(e, c, key, o, elements, n, "hdel");
}

void hashes_hsetex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct element few[HASHES_INLINE], *elements;
    struct hsetex x = { .kind = EX_NONE };
    struct object *o;

    if (!hsetex_parse(e, c, argv, argc, &x) || !cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return;
    if (!hsetex_allows(e, o, &x)) {
        reply_int(c, 0);
        return;
    }
    elements = hashes_new_elements(few, x.n);
    if (elements == NULL)
        cache_nomem(c);
    else if (x.kind == EX_SET && x.when_ms <= e->now_ms)
        hsetex_past(e, c, argv[1], o, &x, elements);
    else
        hsetex_set(e, c, argv[1], o, &x, elements);
    hashes_free_elements(few, elements);
}
