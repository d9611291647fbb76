/*
 * hashes.c - hashes: setting, reading and removing fields; and the table of all hash commands.
 *
 * The others are in hashes_number.c (HINCRBY), hashes_scan.c (HSCAN, HRANDFIELD), hashes_ttl.c (fields that expire) and
 * hashes_ex.c (HGETEX, HSETEX, HGETDEL).
 *
 * A field that expires is gone for every reader at its millisecond. Its record comes later, by the engine or before the next
 * command that writes the hash, and then not for more than some thousands at once: nothing here believes that
 * a field which is in memory is there (hashes_find). A hash all of whose fields have expired is gone with the last record.
 *
 *   H1  What is written has its room in the log, its memory, and its reply's text before the first effect.
 *   H2  No object or field is used after a change of its key: it may have moved.
 *   H3  A record names a field once, though a command may name it several times.
 */
#include "broker/commands/hashes.h"
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

/* ---- what all of them need ---- */

bool hashes_find(const struct engine *e, const struct object *o, struct slice field,
                 struct hash_field *out)
{
    return o != NULL && hash_find(cache_hash(o), field, out) && cache_field_is_there(e, out);
}

/* Whether some field may have expired and still be in memory. */
static bool hashes_has_expired(const struct engine *e, const struct hash *h)
{
    uint64_t next = hash_next_expiry(h);

    return next != 0 && next <= e->now_ms;
}

struct hashes_counting {
    const struct engine *e;
    size_t n;
};

static void hashes_count_field(void *ctx, const struct hash_field *f)
{
    struct hashes_counting *x = ctx;

    x->n += cache_field_is_there(x->e, f);
}

size_t hashes_count(const struct engine *e, const struct object *o)
{
    struct hashes_counting x = { e, 0 };
    uint64_t cursor = 0;

    if (o == NULL || !hashes_has_expired(e, cache_hash(o)))
        return o == NULL ? 0 : cache_length(o);
    do
        cursor = hash_scan(cache_hash(o), cursor, hashes_count_field, &x);
    while (cursor != 0);
    return x.n;
}

struct element *hashes_new_elements(struct element few[HASHES_INLINE], size_t n)
{
    return n <= HASHES_INLINE ? few : malloc(n * sizeof few[0]);
}

void hashes_free_elements(struct element few[HASHES_INLINE], struct element *elements)
{
    if (elements != few)
        free(elements);
}

/* Orders numbers of elements by their fields, those of the same one as they come. */
static int hashes_compare(const void *a, const void *b, void *ctx)
{
    const struct element *elements = ctx;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    struct slice s = elements[i].field, t = elements[j].field;
    int order = s.n != t.n ? (s.n < t.n ? -1 : 1) : s.n == 0 ? 0 : memcmp(s.p, t.p, s.n);

    return order != 0 ? order : i < j ? -1 : i > j;
}

size_t *hashes_find_earlier(const struct element *elements, size_t n)
{
    size_t *earlier = malloc(2 * n * sizeof *earlier), *order;

    if (earlier == NULL)
        return NULL;
    order = earlier + n;
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof *order, hashes_compare, (void *)(uintptr_t)elements);
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && slice_equal(elements[order[i]].field, elements[order[i - 1]].field);
        earlier[order[i]] = same ? order[i - 1] : SIZE_MAX;
    }
    return earlier;
}

size_t hashes_pick(const struct engine *e, const struct object *o, struct element *elements,
                   size_t n)
{
    size_t *earlier = n > 1 ? hashes_find_earlier(elements, n) : NULL, found = 0;
    struct hash_field f;

    if (n > 1 && earlier == NULL)
        return SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        if ((n == 1 || earlier[i] == SIZE_MAX) && hashes_find(e, o, elements[i].field, &f))
            elements[found++] = elements[i];
    free(earlier);
    return found;
}

bool hashes_put(struct engine *e, struct client *c, struct slice key, struct object *o,
                const struct element *elements, size_t n, const char *event, size_t *n_new)
{
    struct err err;

    if (cache_put(e, c, key, o, OBJECT_HASH, elements, n, n_new, NULL, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    notify(e, NOTIFY_HASH, event, c->db, key);
    return true;
}

void hashes_remove(struct engine *e, struct client *c, struct slice key, struct object *o,
                   const struct element *elements, size_t n, const char *event)
{
    bool gone = cache_remove(e, c, o, elements, n, false);

    notify(e, NOTIFY_HASH, event, c->db, key);
    if (gone)
        notify(e, NOTIFY_GENERIC, "del", c->db, key);
}

/* ---- setting ---- */

/* HSET and HMSET: field value [field value ...] from argv[2] on. False after an error reply. */
static bool hashes_set(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                       size_t *n_new)
{
    struct element few[HASHES_INLINE], *elements;
    size_t n = (argc - 2) / 2;
    struct object *o;
    bool ok;

    if (argc % 2 != 0) {
        reply_wrong_arity(c, command_find(argv[0]));
        return false;
    }
    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return false;
    elements = hashes_new_elements(few, n);
    if (elements == NULL) {
        cache_nomem(c);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        elements[i] = (struct element){ .field = argv[2 + 2 * i], .value = argv[3 + 2 * i] };
    ok = hashes_put(e, c, argv[1], o, elements, n, "hset", n_new);
    hashes_free_elements(few, elements);
    return ok;
}

static void hashes_hset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    size_t n_new;

    if (hashes_set(e, c, argv, argc, &n_new))
        reply_u64(c, n_new);
}

static void hashes_hmset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    size_t n_new;

    if (hashes_set(e, c, argv, argc, &n_new))
        reply_ok(c);
}

static void hashes_hsetnx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct element element = { .field = argv[2], .value = argv[3] };
    struct hash_field f;
    struct object *o;
    size_t n_new;

    (void)argc;
    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return;
    if (hashes_find(e, o, argv[2], &f))
        reply_int(c, 0);
    else if (hashes_put(e, c, argv[1], o, &element, 1, "hset", &n_new))
        reply_int(c, 1);
}

/* ---- reading ---- */

static void hashes_reply_value(const struct engine *e, struct client *c, const struct object *o,
                               struct slice field)
{
    struct hash_field f;

    if (hashes_find(e, o, field, &f))
        reply_bulk(c, f.value.p, f.value.n);
    else
        reply_null(c);
}

static void hashes_hget(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;

    (void)argc;
    if (cache_read(e, c, argv[1], OBJECT_HASH, &o))
        hashes_reply_value(e, c, o, argv[2]);
}

static void hashes_hmget(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;

    if (!cache_read(e, c, argv[1], OBJECT_HASH, &o))
        return;
    reply_array(c, argc - 2);
    for (size_t i = 2; i < argc; i++)
        hashes_reply_value(e, c, o, argv[i]);
}

static void hashes_hexists(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    struct hash_field f;
    struct object *o;

    (void)argc;
    if (cache_read(e, c, argv[1], OBJECT_HASH, &o))
        reply_int(c, hashes_find(e, o, argv[2], &f));
}

static void hashes_hstrlen(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    struct hash_field f;
    struct object *o;

    (void)argc;
    if (cache_read(e, c, argv[1], OBJECT_HASH, &o))
        reply_u64(c, hashes_find(e, o, argv[2], &f) ? f.value.n : 0);
}

/* How many there are is known of a hash that is not in memory too. */
static void hashes_hlen(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct object *o = engine_lookup(e, c, argv[1]);

    (void)argc;
    if (o == NULL)
        reply_int(c, 0);
    else if (o->type != OBJECT_HASH)
        reply_wrong_type(c);
    else
        reply_u64(c, o->flags & OBJECT_COLD ? cache_length(o) : hashes_count(e, o));
}

struct hashes_listing {
    const struct engine *e;
    struct client *c;
    bool fields, values;
};

static void hashes_list_field(void *ctx, const struct hash_field *f)
{
    const struct hashes_listing *x = ctx;

    if (!cache_field_is_there(x->e, f))
        return;
    if (x->fields)
        reply_bulk(x->c, f->field.p, f->field.n);
    if (x->values)
        reply_bulk(x->c, f->value.p, f->value.n);
}

static void hashes_list(struct engine *e, struct client *c, struct slice key, bool fields,
                        bool values)
{
    struct hashes_listing x = { e, c, fields, values };
    uint64_t cursor = 0;
    struct object *o;
    size_t n;

    if (!cache_read(e, c, key, OBJECT_HASH, &o))
        return;
    n = hashes_count(e, o);
    if (fields && values)
        reply_map(c, n);
    else
        reply_array(c, n);
    do
        cursor = n == 0 ? 0 : hash_scan(cache_hash(o), cursor, hashes_list_field, &x);
    while (cursor != 0);
}

static void hashes_hgetall(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    (void)argc;
    hashes_list(e, c, argv[1], true, true);
}

static void hashes_hkeys(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    hashes_list(e, c, argv[1], true, false);
}

static void hashes_hvals(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    hashes_list(e, c, argv[1], false, true);
}

/* ---- removing ---- */

static void hashes_hdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct element few[HASHES_INLINE], *elements;
    size_t n = argc - 2, found = SIZE_MAX;
    struct object *o;

    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return;
    elements = hashes_new_elements(few, n);
    for (size_t i = 0; elements != NULL && i < n; i++)
        elements[i] = (struct element){ .field = argv[2 + i] };
    if (elements != NULL)
        found = hashes_pick(e, o, elements, n);
    if (found == SIZE_MAX)
        cache_nomem(c);
    else
        reply_u64(c, found);
    if (found != SIZE_MAX && found > 0)
        hashes_remove(e, c, argv[1], o, elements, found, "hdel");
    hashes_free_elements(few, elements);
}

/* ---- the table ---- */

static size_t hashes_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return cache_bound(1, HASHES_FIELD_BYTES * argc);
}

#define HASH_COMMAND(verb, function, args, flag_bits, uses, version, cost, text, form, tip)       \
    {                                                                                             \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits,                     \
        .categories = CAT_HASH, .first_key = 1, .last_key = 1, .key_step = 1, .group = "hash",    \
        .since = version, .complexity = cost, .summary = text, .syntax = form, .key_flags = uses, \
        .prefault = cache_prefault, .tips = tip,                                                  \
        .bound = (flag_bits)&CMD_WRITE ? hashes_bound : NULL                                      \
    }
#define SET_FIELD_TTL(verb, function, text, form)                                              \
    HASH_COMMAND(verb, function, -6, CMD_WRITE | CMD_DENYOOM | CMD_FAST, "RW UPDATE", "7.4.0", \
                 "O(N) in fields named", text,                                                 \
                 "key " form " [NX | XX | GT | LT] FIELDS numfields field [field ...]", NULL)
#define GET_FIELD_TTL(verb, function, text, tip)                                    \
    HASH_COMMAND(verb, function, -5, CMD_READONLY | CMD_FAST, "RO ACCESS", "7.4.0", \
                 "O(N) in fields named", text, "key FIELDS numfields field [field ...]", tip)

enum {
    FLAGS_SET = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
    FLAGS_GET = CMD_READONLY | CMD_FAST,
};

static const char TIP_ANY_ORDER[] = "nondeterministic_output_order";
static const char TIP_ANY[] = "nondeterministic_output";

const struct command hash_commands[] = {
    HASH_COMMAND("hdel", hashes_hdel, -3, CMD_WRITE | CMD_FAST, "RW DELETE", "2.0.0",
                 "O(N) in fields named", "Removes fields of a hash", "key field [field ...]", NULL),
    HASH_COMMAND("hexists", hashes_hexists, 3, FLAGS_GET, "RO", "2.0.0", "O(1)",
                 "Whether a hash has a field", "key field", NULL),
    SET_FIELD_TTL("hexpire", hashes_hexpire, "Lets fields expire after so many seconds", "seconds"),
    SET_FIELD_TTL("hexpireat", hashes_hexpireat, "Lets fields expire at a Unix time in seconds",
                  "unix-time-seconds"),
    GET_FIELD_TTL("hexpiretime", hashes_hexpiretime,
                  "The Unix times in seconds at which fields expire", NULL),
    HASH_COMMAND("hget", hashes_hget, 3, FLAGS_GET, "RO ACCESS", "2.0.0", "O(1)",
                 "The value of a field", "key field", NULL),
    HASH_COMMAND("hgetall", hashes_hgetall, 2, CMD_READONLY, "RO ACCESS", "2.0.0", "O(N) in fields",
                 "All fields and their values", "key", TIP_ANY_ORDER),
    HASH_COMMAND("hgetdel", hashes_hgetdel, -5, CMD_WRITE | CMD_FAST, "RW ACCESS DELETE", "8.0.0",
                 "O(N) in fields named", "Removes fields and replies with what they were",
                 "key FIELDS numfields field [field ...]", NULL),
    HASH_COMMAND("hgetex", hashes_hgetex, -5, CMD_WRITE | CMD_FAST, "RW ACCESS UPDATE", "8.0.0",
                 "O(N) in fields named", "The values of fields; may set when they expire",
                 "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                 "PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
                 NULL),
    HASH_COMMAND("hincrby", hashes_hincrby, 4, FLAGS_SET, "RW ACCESS UPDATE", "2.0.0", "O(1)",
                 "Adds to the integer in a field", "key field increment", NULL),
    HASH_COMMAND("hincrbyfloat", hashes_hincrbyfloat, 4, FLAGS_SET, "RW ACCESS UPDATE", "2.6.0",
                 "O(1)", "Adds to the number in a field", "key field increment", NULL),
    HASH_COMMAND("hkeys", hashes_hkeys, 2, CMD_READONLY, "RO ACCESS", "2.0.0", "O(N) in fields",
                 "All fields of a hash", "key", TIP_ANY_ORDER),
    { .name = "hlen",
      .handler = hashes_hlen,
      .arity = 2,
      .flags = FLAGS_GET,
      .categories = CAT_HASH,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "hash",
      .since = "2.0.0",
      .complexity = "O(1)",
      .summary = "How many fields a hash has",
      .syntax = "key",
      .key_flags = "RO" },
    HASH_COMMAND("hmget", hashes_hmget, -3, FLAGS_GET, "RO ACCESS", "2.0.0", "O(N) in fields named",
                 "The values of fields", "key field [field ...]", NULL),
    HASH_COMMAND("hmset", hashes_hmset, -4, FLAGS_SET, "RW UPDATE", "2.0.0", "O(N) in fields named",
                 "Sets fields of a hash", "key field value [field value ...]", NULL),
    HASH_COMMAND("hpersist", hashes_hpersist, -5, CMD_WRITE | CMD_FAST, "RW UPDATE", "7.4.0",
                 "O(N) in fields named", "Lets fields expire no more",
                 "key FIELDS numfields field [field ...]", NULL),
    SET_FIELD_TTL("hpexpire", hashes_hpexpire, "Lets fields expire after so many milliseconds",
                  "milliseconds"),
    SET_FIELD_TTL("hpexpireat", hashes_hpexpireat,
                  "Lets fields expire at a Unix time in milliseconds", "unix-time-milliseconds"),
    GET_FIELD_TTL("hpexpiretime", hashes_hpexpiretime,
                  "The Unix times in milliseconds at which fields expire", NULL),
    GET_FIELD_TTL("hpttl", hashes_hpttl, "How many milliseconds fields have left", TIP_ANY),
    HASH_COMMAND("hrandfield", hashes_hrandfield, -2, CMD_READONLY, "RO ACCESS", "6.2.0",
                 "O(N) in fields replied", "Some fields of a hash, at random",
                 "key [count [WITHVALUES]]", TIP_ANY),
    HASH_COMMAND("hscan", hashes_hscan, -3, CMD_READONLY, "RO ACCESS", "2.8.0",
                 "O(COUNT) for each call, O(N) in fields until the cursor is 0 again",
                 "Some of the fields, and a cursor for the next call",
                 "key cursor [MATCH pattern] [COUNT count] [NOVALUES]", TIP_ANY),
    HASH_COMMAND("hset", hashes_hset, -4, FLAGS_SET, "RW UPDATE", "2.0.0", "O(N) in fields named",
                 "Sets fields of a hash, and says how many are new",
                 "key field value [field value ...]", NULL),
    HASH_COMMAND("hsetex", hashes_hsetex, -6, FLAGS_SET, "RW UPDATE", "8.0.0",
                 "O(N) in fields named", "Sets fields of a hash, and when they expire",
                 "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                 "PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value "
                 "[field value ...]",
                 NULL),
    HASH_COMMAND("hsetnx", hashes_hsetnx, 4, FLAGS_SET, "RW INSERT", "2.0.0", "O(1)",
                 "Sets a field unless the hash has it", "key field value", NULL),
    HASH_COMMAND("hstrlen", hashes_hstrlen, 3, FLAGS_GET, "RO", "3.2.0", "O(1)",
                 "How long the value of a field is", "key field", NULL),
    GET_FIELD_TTL("httl", hashes_httl, "How many seconds fields have left", TIP_ANY),
    HASH_COMMAND("hvals", hashes_hvals, 2, CMD_READONLY, "RO ACCESS", "2.0.0", "O(N) in fields",
                 "All values of a hash", "key", TIP_ANY_ORDER),
    { .name = NULL },
};
