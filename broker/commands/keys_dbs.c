/*
 * keys_dbs.c - keys between databases: COPY, MOVE, SWAPDB.
 *
 * MOVE and SWAPDB are one record each, however large what they move is. COPY writes the value anew under the other name, with
 * the expiry that it has. A stream has too much that would have to be copied with it (groups, settings, what was
 * deleted) and is refused.
 */
#include "broker/cache/cache.h"
#include "broker/commands/keys.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

bool keys_parse_db(struct client *c, struct slice text, int *out)
{
    int64_t db;

    if (!args_i64(text, &db)) {
        reply_not_integer(c);
        return false;
    }
    if (db < INT32_MIN || db > INT32_MAX) {
        reply_error(c, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
        return false;
    }
    if (db < 0 || db >= CONFIG_DATABASES) {
        reply_error(c, "ERR DB index is out of range");
        return false;
    }
    *out = (int)db;
    return true;
}

static void keys_same(struct client *c)
{
    reply_error(c, "ERR source and destination objects are the same");
}

/* What a name has in a database that need not be the client's, for writing. */
static struct object *keys_lookup_in(struct engine *e, struct client *c, int db, struct slice key)
{
    int selected = c->db;
    struct object *o;

    c->db = db;
    o = engine_lookup_write(e, c, key);
    c->db = selected;
    return o;
}

/* ---- COPY ---- */

struct keys_copy {
    int db;
    bool replace;
};

/* COPY's options; false after an error reply. */
static bool keys_copy_options(struct client *c, const struct slice *argv, size_t argc,
                              struct keys_copy *x)
{
    for (size_t i = 3; i < argc; i++) {
        if (args_word(argv[i], "replace")) {
            x->replace = true;
        } else if (args_word(argv[i], "db") && i + 1 < argc) {
            if (!keys_parse_db(c, argv[++i], &x->db))
                return false;
        } else {
            reply_syntax_error(c);
            return false;
        }
    }
    if (x->db != c->db || !slice_equal(argv[1], argv[2]))
        return true;
    keys_same(c);
    return false;
}

/* Writes the copy; false after an error reply. */
static bool keys_copy_write(struct engine *e, struct client *c, struct object *o, int db,
                            struct slice key)
{
    struct err err;

    if (o->type == OBJECT_STREAM) {
        reply_error(c, "ERR a stream cannot be copied");
        return false;
    }
    if (!cache_heat(e, c, &o) || !engine_reserve_more(e, c, cache_copy_bound(o)))
        return false;
    if (cache_copy(e, c, o, db, key, &err) == OK)
        return true;
    cache_nomem(c);
    return false;
}

void keys_copy(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct keys_copy x = { .db = c->db };
    struct object *o;

    if (!keys_copy_options(c, argv, argc, &x))
        return;
    /* The one to be replaced first: one that has expired leaves by a record, and nothing may move `o` after it was found. */
    bool taken = keys_lookup_in(e, c, x.db, argv[2]) != NULL && !x.replace;
    o = engine_lookup_write(e, c, argv[1]);
    if (o == NULL || taken) {
        reply_int(c, 0);
        return;
    }
    if (!keys_copy_write(e, c, o, x.db, argv[2]))
        return;
    notify(e, NOTIFY_GENERIC, "copy_to", x.db, argv[2]);
    reply_int(c, 1);
}

/* ---- MOVE ---- */

void keys_move(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;
    struct err err;
    bool taken;
    int db;

    (void)argc;
    if (!keys_parse_db(c, argv[2], &db))
        return;
    if (db == c->db) {
        keys_same(c);
        return;
    }
    taken = keys_lookup_in(e, c, db, argv[1]) != NULL;
    o = engine_lookup_write(e, c, argv[1]);
    if (o == NULL || taken) {
        reply_int(c, 0);
        return;
    }
    if (engine_bind(e, c, o, db, argv[1], o->expiry_ms, &err) != OK) {
        cache_nomem(c);
        return;
    }
    engine_key_changed(e, c->db, argv[1]);
    engine_key_changed(e, db, argv[1]);
    notify(e, NOTIFY_NEW, "new", db, argv[1]);
    notify(e, NOTIFY_GENERIC, "move_from", c->db, argv[1]);
    notify(e, NOTIFY_GENERIC, "move_to", db, argv[1]);
    reply_int(c, 1);
}

/* ---- SWAPDB ---- */

/* A database as SWAPDB names it, first or second; false after an error reply. */
static bool keys_parse_swap(struct client *c, struct slice text, const char *which, int64_t *out)
{
    if (args_i64_in(text, INT32_MIN, INT32_MAX, out))
        return true;
    reply_error(c, "ERR invalid %s DB index", which);
    return false;
}

void keys_swapdb(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t a, b;

    (void)argc;
    if (!keys_parse_swap(c, argv[1], "first", &a) || !keys_parse_swap(c, argv[2], "second", &b))
        return;
    if (a < 0 || a >= CONFIG_DATABASES || b < 0 || b >= CONFIG_DATABASES) {
        reply_error(c, "ERR DB index is out of range");
        return;
    }
    if (a != b)
        engine_swap(e, c, (int)a, (int)b);
    reply_ok(c);
}
