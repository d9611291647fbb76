/*
 * connection.c - commands about the connection itself: who it is, what it speaks, who else is
 * there.
 *
 * None of them touches a key, so their replies wait for no watermark but those before them. There
 * is one user, "default". While there is no password, nobody needs to authenticate and any password
 * for "default" is right, as in Redis; HELLO and AUTH share the check, which takes the same time
 * for every wrong password of one length.
 *
 * CLIENT LIST and CLIENT KILL walk the engine's list of clients. A killed connection is only marked
 * here: the host closes it after the round, so the list does not change while it is walked.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/commands/caching.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/transaction.h"
#include "broker/pubsub/pubsub.h"
#include "broker/pubsub/tracking.h"
#include "broker/version.h"

static const char CONNECTION_BAD_NAME[] =
    "ERR Client names cannot contain spaces, newlines or special characters.";
static const char CONNECTION_WRONGPASS[] =
    "WRONGPASS invalid username-password pair or user is disabled.";

/* ---- who may come in ---- */

static bool connection_has_password(const struct engine *e)
{
    return e->config->requirepass != NULL && e->config->requirepass[0] != '\0';
}

/* Whether `given` is `secret`, in a time that depends on the length of `given` only. */
static bool connection_same_secret(struct slice given, struct slice secret)
{
    volatile uint8_t differs = given.n != secret.n;

    for (size_t i = 0; i < given.n; i++)
        differs = (uint8_t)(differs | (given.p[i] ^ secret.p[i % secret.n]));
    return differs == 0;
}

static bool connection_login(struct engine *e, struct client *c, struct slice user,
                             struct slice password)
{
    bool right = !connection_has_password(e) ||
                 connection_same_secret(password, slice_str(e->config->requirepass));

    if (!slice_equal(user, slice_str("default")) || !right) {
        reply_error(c, CONNECTION_WRONGPASS);
        return false;
    }
    c->authenticated = true;
    return true;
}

static void connection_auth(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    if (argc > 3) {
        reply_syntax_error(c);
        return;
    }
    if (argc == 2 && !connection_has_password(e)) {
        reply_error(c, "ERR AUTH <password> called without any password configured for the default "
                       "user. Are you sure your configuration is correct?");
        return;
    }
    struct slice user = argc == 3 ? argv[1] : slice_str("default");
    if (connection_login(e, c, user, argv[argc - 1]))
        reply_ok(c);
}

/* ---- HELLO ---- */

struct connection_hello { /* what HELLO was asked for; NULL: not asked */
    int64_t proto;
    const struct slice *user, *password, *name;
};

/* Replies with an error and returns false if the options make no sense. */
static bool connection_parse_hello(struct client *c, const struct slice *argv, size_t argc,
                                   struct connection_hello *h)
{
    if (argc >= 2 && !args_i64(argv[1], &h->proto)) {
        reply_error(c, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (h->proto != 2 && h->proto != 3) {
        reply_error(c, "NOPROTO unsupported protocol version");
        return false;
    }
    for (size_t i = 2; i < argc; i++) {
        if (args_word(argv[i], "auth") && argc - 1 - i >= 2) {
            h->user = &argv[++i];
            h->password = &argv[++i];
        } else if (args_word(argv[i], "setname") && argc - 1 - i >= 1) {
            h->name = &argv[++i];
            if (!args_printable(*h->name)) {
                reply_error(c, CONNECTION_BAD_NAME);
                return false;
            }
        } else {
            reply_error(c, "ERR Syntax error in HELLO option '%.*s'", reply_echo_n(argv[i]),
                        (const char *)argv[i].p);
            return false;
        }
    }
    return true;
}

/* Replaces a text of the client by a copy; an empty one becomes NULL. False, with an error, if
 * memory ran out. */
static bool connection_set_text(struct client *c, char **text, struct slice value)
{
    char *copy = value.n > 0 ? args_copy(value) : NULL;

    if (value.n > 0 && copy == NULL) {
        reply_error(c, "ERR out of memory");
        return false;
    }
    free(*text);
    *text = copy;
    return true;
}

static bool connection_name_fits(struct client *c, struct slice name)
{
    if (!args_printable(name)) {
        reply_error(c, CONNECTION_BAD_NAME);
        return false;
    }
    if (name.n > CLIENT_NAME_MAX) {
        reply_error(c, "ERR Client names cannot be longer than %d bytes", CLIENT_NAME_MAX);
        return false;
    }
    return true;
}

static void connection_hello(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    struct connection_hello h = { .proto = c->proto };

    if (!connection_parse_hello(c, argv, argc, &h))
        return;
    if (h.user != NULL && !connection_login(e, c, *h.user, *h.password))
        return;
    if (connection_has_password(e) && !c->authenticated) {
        reply_error(c, "NOAUTH HELLO must be called with the client already authenticated, "
                       "otherwise the HELLO <proto> AUTH <user> <pass> option can be used to "
                       "authenticate the client and select the RESP protocol version at the same "
                       "time");
        return;
    }
    if (h.name != NULL &&
        (!connection_name_fits(c, *h.name) || !connection_set_text(c, &c->name, *h.name)))
        return;
    c->proto = (int)h.proto;
    reply_map(c, 7);
    reply_str(c, "server");
    reply_str(c, "redis");
    reply_str(c, "version");
    reply_str(c, BECKD_REDIS_VERSION);
    reply_str(c, "proto");
    reply_int(c, c->proto);
    reply_str(c, "id");
    reply_u64(c, c->id);
    reply_str(c, "mode");
    reply_str(c, "standalone");
    reply_str(c, "role");
    reply_str(c, "master");
    reply_str(c, "modules");
    reply_array(c, 0);
}

/* ---- small ones ---- */

static void connection_ping(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)e;
    if (argc > 2) {
        reply_wrong_arity(c, command_find(argv[0]));
    } else if (c->subscriber != NULL && c->proto < 3) { /* looks like a message */
        reply_array(c, 2);
        reply_str(c, "pong");
        reply_bulk(c, argv[1].p, argc == 2 ? argv[1].n : 0);
    } else if (argc == 2) {
        reply_bulk(c, argv[1].p, argv[1].n);
    } else {
        reply_simple(c, "PONG");
    }
}

static void connection_echo(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)e;
    (void)argc;
    reply_bulk(c, argv[1].p, argv[1].n);
}

static void connection_select(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    int64_t db;

    (void)e;
    (void)argc;
    if (!args_i64(argv[1], &db)) {
        reply_not_integer(c);
        return;
    }
    if (db < INT32_MIN || db > INT32_MAX) {
        reply_error(c, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
        return;
    }
    if (db < 0 || db >= CONFIG_DATABASES) {
        reply_error(c, "ERR DB index is out of range");
        return;
    }
    c->db = (int)db;
    reply_ok(c);
}

static void connection_quit(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    c->close_after_reply = true;
    reply_ok(c);
}

static void connection_reset(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    (void)argv;
    (void)argc;
    transaction_discard(e, c);
    pubsub_client_gone(e, c);
    tracking_off(e, c);
    c->proto = 2;
    c->db = 0;
    c->authenticated = !connection_has_password(e);
    c->readonly_flag = c->no_evict = c->no_touch = false;
    c->reply_off = c->reply_skip = c->reply_skip_next = false;
    free(c->name);
    c->name = NULL;
    reply_simple(c, "RESET");
}

/* ---- CLIENT: about oneself ---- */

static void connection_id(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_u64(c, c->id);
}

static void connection_getname(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    if (c->name != NULL)
        reply_str(c, c->name);
    else
        reply_null(c);
}

static void connection_setname(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    (void)e;
    (void)argc;
    if (connection_name_fits(c, argv[2]) && connection_set_text(c, &c->name, argv[2]))
        reply_ok(c);
}

static void connection_setinfo(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    bool name = args_word(argv[2], "lib-name");
    char **text = name ? &c->lib_name : &c->lib_ver;

    (void)e;
    (void)argc;
    if (!name && !args_word(argv[2], "lib-ver")) {
        reply_error(c, "ERR Unrecognized option '%.*s'", reply_echo_n(argv[2]),
                    (const char *)argv[2].p);
        return;
    }
    if (!args_printable(argv[3]) || argv[3].n > CLIENT_NAME_MAX) {
        reply_error(c, "ERR %s cannot contain spaces, newlines or special characters.",
                    name ? "lib-name" : "lib-ver");
        return;
    }
    if (connection_set_text(c, text, argv[3]))
        reply_ok(c);
}

/* Reads the argument of a switch; replies with an error and returns false if it is neither on nor
 * off. */
static bool connection_on_off(struct client *c, struct slice arg, bool *out)
{
    *out = args_word(arg, "on");
    if (*out || args_word(arg, "off"))
        return true;
    reply_syntax_error(c);
    return false;
}

static void connection_no_evict(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc)
{
    (void)e;
    (void)argc;
    if (connection_on_off(c, argv[2], &c->no_evict))
        reply_ok(c);
}

static void connection_no_touch(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc)
{
    (void)e;
    (void)argc;
    if (connection_on_off(c, argv[2], &c->no_touch))
        reply_ok(c);
}

static void connection_reply(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    (void)e;
    (void)argc;
    if (args_word(argv[2], "on")) {
        c->reply_off = c->reply_skip = false;
        reply_ok(c);
    } else if (args_word(argv[2], "off")) {
        c->reply_off = true;
    } else if (args_word(argv[2], "skip")) {
        c->reply_skip_next = !c->reply_off;
    } else {
        reply_syntax_error(c);
    }
}

/* ---- CLIENT LIST and INFO ---- */

static void connection_put_flags(FILE *f, const struct client *c)
{
    unsigned tracking = c->tracker != NULL ? tracking_flags(c) : 0;
    bool none = true;
    const struct {
        bool is;
        char letter;
    } flags[] = {
        { c->subscriber != NULL, 'P' },
        { c->in_multi, 'x' },
        { c->blocked != NULL, 'b' },
        { c->tracker != NULL, 't' },
        { tracking & TRACKING_BROKEN, 'R' },
        { tracking & TRACKING_BCAST, 'B' },
        { c->multi_dirty, 'd' },
        { c->close_after_reply, 'c' },
        { c->close_now, 'A' },
        { c->addr[0] == '/', 'U' },
        { c->readonly_flag, 'r' },
        { c->no_evict, 'e' },
        { c->no_touch, 'T' },
    };

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].is) {
            fputc(flags[i].letter, f);
            none = false;
        }
    }
    if (none)
        fputc('N', f);
}

static unsigned long long connection_age_s(const struct engine *e, uint64_t since_ms)
{
    return e->now_ms > since_ms ? (e->now_ms - since_ms) / 1000 : 0;
}

/* One line, in the order of Redis 8. What there is no such thing for here is 0. */
static void connection_put_line(FILE *f, const struct engine *e, const struct client *c)
{
    size_t out = c->out.memory + c->aside.memory;
    size_t memory = sizeof *c + c->input_bytes + c->input_free + out + c->queued_bytes;

    fprintf(f, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=",
            (unsigned long long)c->id, c->addr, c->laddr, c->fd, c->name != NULL ? c->name : "",
            connection_age_s(e, c->created_ms), connection_age_s(e, c->active_ms));
    connection_put_flags(f, c);
    fprintf(f, " db=%d sub=%zu psub=%zu ssub=%zu multi=%lld watch=%zu", c->db,
            pubsub_n(c, PUBSUB_CHANNEL), pubsub_n(c, PUBSUB_PATTERN), pubsub_n(c, PUBSUB_SHARD),
            c->in_multi ? (long long)c->n_queued : -1LL, transaction_n_watched(c));
    fprintf(f, " qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu", c->input_bytes, c->input_free,
            c->queued_bytes);
    fprintf(f, " rbs=0 rbp=0 obl=%llu oll=0 omem=%zu tot-mem=%zu",
            (unsigned long long)(outbuf_size(&c->out) + outbuf_size(&c->aside)), out, memory);
    fprintf(f, " events=r cmd=%s user=default redir=%lld resp=%d",
            c->last_command != NULL ? c->last_command->name : "NULL",
            c->tracker != NULL ? (long long)tracking_redirect(c) : -1LL, c->proto);
    fprintf(f, " lib-name=%s lib-ver=%s io-thread=0", c->lib_name != NULL ? c->lib_name : "",
            c->lib_ver != NULL ? c->lib_ver : "");
    fprintf(f, " tot-net-in=%llu tot-net-out=%llu tot-cmds=%llu\n", (unsigned long long)c->bytes_in,
            (unsigned long long)c->bytes_out, (unsigned long long)c->n_commands);
}

/* Replies with what was written to the stream of open_memstream, and frees it. */
static void connection_reply_text(struct client *c, FILE *f, char **text, const size_t *n)
{
    bool failed = f == NULL || ferror(f);

    if (f != NULL && fclose(f) != 0)
        failed = true;
    if (failed)
        reply_error(c, "ERR out of memory");
    else
        reply_verbatim(c, *text, *n);
    free(*text);
}

static void connection_info(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)argv;
    (void)argc;
    if (f != NULL)
        connection_put_line(f, e, c);
    connection_reply_text(c, f, &text, &n);
}

/* Types of connections, of which there are two: there are no replicas. */
enum connection_type { CONNECTION_ANY, CONNECTION_NORMAL, CONNECTION_PUBSUB, CONNECTION_NOBODY };

static bool connection_parse_type(struct slice name, enum connection_type *out)
{
    bool nobody =
        args_word(name, "master") || args_word(name, "slave") || args_word(name, "replica");

    *out = CONNECTION_NOBODY;
    if (args_word(name, "normal"))
        *out = CONNECTION_NORMAL;
    else if (args_word(name, "pubsub"))
        *out = CONNECTION_PUBSUB;
    return nobody || *out != CONNECTION_NOBODY;
}

static bool connection_is_of(const struct client *c, enum connection_type type)
{
    return type == CONNECTION_ANY ||
           type == (c->subscriber != NULL ? CONNECTION_PUBSUB : CONNECTION_NORMAL);
}

static void connection_unknown_type(struct client *c, struct slice name)
{
    reply_error(c, "ERR Unknown client type '%.*s'", reply_echo_n(name), (const char *)name.p);
}

/* The oldest first; the engine's list has the newest in front. */
static void connection_put_all(FILE *f, const struct engine *e, enum connection_type type)
{
    const struct client *at = e->clients;

    while (at != NULL && at->next != NULL)
        at = at->next;
    for (; at != NULL; at = at->prev)
        if (connection_is_of(at, type))
            connection_put_line(f, e, at);
}

/* All clients in an array, the newest and highest ID first, as the engine's list has them: so that
 * many IDs are found in time. NULL if memory ran out. */
static const struct client **connection_array(const struct engine *e)
{
    const struct client **all = malloc((e->n_clients + 1) * sizeof *all);
    size_t n = 0;

    if (all == NULL)
        return NULL;
    for (const struct client *at = e->clients; at != NULL; at = at->next) {
        assert(n < e->n_clients && (n == 0 || at->id < all[n - 1]->id));
        all[n++] = at;
    }
    return all;
}

static const struct client *connection_search(const struct client **all, size_t n, uint64_t id)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all[middle]->id > id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && all[low]->id == id ? all[low] : NULL;
}

/* Checks all IDs first, then writes the lines of those that are there. */
static bool connection_put_ids(FILE *f, struct engine *e, struct client *c, const struct slice *ids,
                               size_t n)
{
    const struct client **all;
    int64_t id;

    for (size_t i = 0; i < n; i++) {
        if (!args_i64(ids[i], &id)) {
            reply_error(c, "ERR Invalid client ID");
            return false;
        }
    }
    all = connection_array(e);
    if (all == NULL) {
        reply_error(c, "ERR out of memory");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const struct client *found = NULL;
        if (args_i64(ids[i], &id))
            found = connection_search(all, e->n_clients, (uint64_t)id);
        if (found != NULL)
            connection_put_line(f, e, found);
    }
    free(all);
    return true;
}

/* Writes what CLIENT LIST was asked for; replies with an error and returns false if that makes no
 * sense. */
static bool connection_put_list(FILE *f, struct engine *e, struct client *c,
                                const struct slice *argv, size_t argc)
{
    enum connection_type type;

    if (argc == 2) {
        connection_put_all(f, e, CONNECTION_ANY);
        return true;
    }
    if (argc == 4 && args_word(argv[2], "type")) {
        if (!connection_parse_type(argv[3], &type)) {
            connection_unknown_type(c, argv[3]);
            return false;
        }
        connection_put_all(f, e, type);
        return true;
    }
    if (argc > 3 && args_word(argv[2], "id"))
        return connection_put_ids(f, e, c, argv + 3, argc - 3);
    reply_syntax_error(c);
    return false;
}

static void connection_list(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (f != NULL && !connection_put_list(f, e, c, argv, argc)) {
        fclose(f);
        free(text);
        return;
    }
    connection_reply_text(c, f, &text, &n);
}

/* ---- CLIENT KILL and UNBLOCK ---- */

struct connection_filter { /* who is meant: all that is set must fit */
    const struct slice *addr, *laddr;
    uint64_t id;       /* 0: any */
    int64_t min_age_s; /* 0: any */
    enum connection_type type;
    bool skip_me;
};

static bool connection_filter_id(struct client *c, struct slice value, struct connection_filter *f)
{
    int64_t id;

    if (!args_i64_in(value, 1, INT64_MAX, &id)) {
        reply_error(c, "ERR client-id should be greater than 0");
        return false;
    }
    f->id = (uint64_t)id;
    return true;
}

static bool connection_filter_type(struct client *c, struct slice value,
                                   struct connection_filter *f)
{
    if (connection_parse_type(value, &f->type))
        return true;
    connection_unknown_type(c, value);
    return false;
}

static bool connection_filter_user(struct client *c, struct slice value)
{
    if (slice_equal(value, slice_str("default")))
        return true;
    reply_error(c, "ERR No such user '%.*s'", reply_echo_n(value), (const char *)value.p);
    return false;
}

static bool connection_filter_age(struct client *c, struct slice value, struct connection_filter *f)
{
    if (!args_i64(value, &f->min_age_s)) {
        reply_error(c, "ERR maxage is not an integer or out of range");
        return false;
    }
    if (f->min_age_s <= 0) {
        reply_error(c, "ERR maxage should be greater than 0");
        return false;
    }
    return true;
}

/* One filter and its value; replies with an error and returns false if it makes no sense. */
static bool connection_add_filter(struct client *c, const struct slice *name,
                                  const struct slice *value, struct connection_filter *f)
{
    if (args_word(*name, "id"))
        return connection_filter_id(c, *value, f);
    if (args_word(*name, "type"))
        return connection_filter_type(c, *value, f);
    if (args_word(*name, "user"))
        return connection_filter_user(c, *value);
    if (args_word(*name, "maxage"))
        return connection_filter_age(c, *value, f);
    if (args_word(*name, "addr")) {
        f->addr = value;
        return true;
    }
    if (args_word(*name, "laddr")) {
        f->laddr = value;
        return true;
    }
    if (args_word(*name, "skipme")) {
        f->skip_me = args_word(*value, "yes");
        if (f->skip_me || args_word(*value, "no"))
            return true;
    }
    reply_syntax_error(c);
    return false;
}

static bool connection_fits(const struct engine *e, const struct client *c, const struct client *at,
                            const struct connection_filter *f)
{
    if (!connection_is_of(at, f->type) || at->close_now || (f->skip_me && at == c))
        return false;
    if (f->id != 0 && at->id != f->id)
        return false;
    if (f->min_age_s > 0 && connection_age_s(e, at->created_ms) < (uint64_t)f->min_age_s)
        return false;
    if (f->addr != NULL && !slice_equal(*f->addr, slice_str(at->addr)))
        return false;
    return f->laddr == NULL || slice_equal(*f->laddr, slice_str(at->laddr));
}

/* Whoever kills itself still gets its reply. */
static size_t connection_kill_all(struct engine *e, struct client *c,
                                  const struct connection_filter *f)
{
    size_t n = 0;

    for (struct client *at = e->clients; at != NULL; at = at->next) {
        if (!connection_fits(e, c, at, f))
            continue;
        n++;
        if (at == c) {
            at->close_after_reply = true;
        } else {
            at->close_now = true;
            e->host.wake(e->host.ctx, at);
        }
    }
    return n;
}

static void connection_kill(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    struct connection_filter f = { .skip_me = true };

    if (argc == 3) { /* the old form: an address only */
        f.skip_me = false;
        f.addr = &argv[2];
        if (connection_kill_all(e, c, &f) > 0)
            reply_ok(c);
        else
            reply_error(c, "ERR No such client");
        return;
    }
    for (size_t i = 2; i < argc; i += 2) {
        if (i + 1 == argc) {
            reply_syntax_error(c);
            return;
        }
        if (!connection_add_filter(c, &argv[i], &argv[i + 1], &f))
            return;
    }
    reply_u64(c, connection_kill_all(e, c, &f));
}

static void connection_unblock(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    struct client *target;
    bool with_error = false;
    int64_t id;

    if (argc > 4) {
        reply_subcommand_syntax(c, command_find(argv[0]), argv[1]);
        return;
    }
    if (argc == 4) {
        with_error = args_word(argv[3], "error");
        if (!with_error && !args_word(argv[3], "timeout")) {
            reply_error(c, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            return;
        }
    }
    if (!args_i64(argv[2], &id)) {
        reply_not_integer(c);
        return;
    }
    target = engine_find_client(e, (uint64_t)id);
    reply_int(c, target != NULL && target->blocked != NULL &&
                     blocking_unblock(e->blocking, target, with_error));
}

/* ---- the table ---- */

enum {
    FLAGS_FIRST = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY |
                  CMD_NO_TOUCH_KEYS,
    FLAGS_PLAIN = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
    FLAGS_OWN = FLAGS_PLAIN | CMD_NOSCRIPT,
    FLAGS_ADMIN = FLAGS_OWN | CMD_ADMIN,
};

#define CLIENT_SUB(verb, function, args, flag_bits, version, text, form)                \
    {                                                                                   \
        .name = "client|" verb, .handler = function, .arity = args, .flags = flag_bits, \
        .categories = CAT_CONNECTION, .group = "connection", .since = version,          \
        .complexity = "O(1)", .summary = text, .syntax = form                           \
    }

static const struct command connection_client[] = {
    CLIENT_SUB("caching", caching_next, 3, FLAGS_OWN, "6.0.0",
               "Says whether the keys of the next command are tracked", "<YES | NO>"),
    CLIENT_SUB("getname", connection_getname, 2, FLAGS_OWN, "2.6.9",
               "The name of this connection, or null", ""),
    CLIENT_SUB(
        "getredir", caching_redirect, 2, FLAGS_OWN, "6.0.0",
        "The connection that invalidations are redirected to; 0: none, -1: nothing is tracked", ""),
    CLIENT_SUB("help", command_help, 2, FLAGS_PLAIN, "5.0.0", "This text", ""),
    CLIENT_SUB("id", connection_id, 2, FLAGS_OWN, "5.0.0",
               "The number of this connection, never given twice", ""),
    { .name = "client|info",
      .handler = connection_info,
      .arity = 2,
      .flags = FLAGS_OWN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "6.2.0",
      .complexity = "O(1)",
      .summary = "What CLIENT LIST says of this connection",
      .syntax = "",
      .tips = "nondeterministic_output" },
    { .name = "client|kill",
      .handler = connection_kill,
      .arity = -3,
      .flags = FLAGS_ADMIN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "2.4.0",
      .complexity = "O(N) in connections",
      .summary = "Closes the connections that fit all filters, or the one of an address",
      .syntax = "<address:port | <[ID id] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [USER user] "
                "[ADDR address:port] [LADDR address:port] [SKIPME <YES | NO>] [MAXAGE seconds]>>" },
    { .name = "client|list",
      .handler = connection_list,
      .arity = -2,
      .flags = FLAGS_ADMIN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "2.4.0",
      .complexity = "O(N) in connections",
      .summary = "One line about each connection",
      .syntax = "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB> | ID id [id ...]]",
      .tips = "nondeterministic_output" },
    CLIENT_SUB("no-evict", connection_no_evict, 3, FLAGS_ADMIN, "7.0.0",
               "Whether this connection is spared when memory for clients runs short",
               "<ON | OFF>"),
    CLIENT_SUB("no-touch", connection_no_touch, 3, FLAGS_OWN, "7.2.0",
               "Whether commands of this connection leave the age of keys alone", "<ON | OFF>"),
    CLIENT_SUB("reply", connection_reply, 3, FLAGS_OWN, "3.2.0",
               "Switches replies on or off, or skips that of the next command",
               "<ON | OFF | SKIP>"),
    { .name = "client|setinfo",
      .handler = connection_setinfo,
      .arity = 4,
      .flags = FLAGS_OWN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "7.2.0",
      .complexity = "O(1)",
      .summary = "Names the client library and its version, for CLIENT LIST",
      .syntax = "<LIB-NAME name | LIB-VER version>",
      .tips = "request_policy:all_nodes;response_policy:all_succeeded" },
    { .name = "client|setname",
      .handler = connection_setname,
      .arity = 3,
      .flags = FLAGS_OWN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "2.6.9",
      .complexity = "O(1)",
      .summary = "Gives this connection a name; an empty one takes it away",
      .syntax = "connection-name",
      .tips = "request_policy:all_nodes;response_policy:all_succeeded" },
    CLIENT_SUB("tracking", caching_tracking, -3, FLAGS_OWN, "6.0.0",
               "Whether and how this connection is told of changes of the keys that it reads",
               "<ON | OFF> [REDIRECT id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] "
               "[OPTOUT] [NOLOOP]"),
    CLIENT_SUB("trackinginfo", caching_info, 2, FLAGS_OWN, "6.2.0",
               "How this connection tracks keys", ""),
    { .name = "client|unblock",
      .handler = connection_unblock,
      .arity = -3,
      .flags = FLAGS_ADMIN,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "5.0.0",
      .complexity = "O(N) in connections",
      .summary = "Ends the wait of a blocked connection",
      .syntax = "client-id [TIMEOUT | ERROR]" },
    { .name = NULL },
};

#define CONNECTION(verb, function, args, flag_bits, version, text, form)       \
    {                                                                          \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits,  \
        .categories = CAT_CONNECTION, .group = "connection", .since = version, \
        .complexity = "O(1)", .summary = text, .syntax = form                  \
    }

const struct command connection_commands[] = {
    CONNECTION("auth", connection_auth, -2, FLAGS_FIRST, "1.0.0", "Authenticates the connection",
               "[username] password"),
    { .name = "client",
      .arity = -2,
      .categories = 0,
      .group = "connection",
      .since = "2.4.0",
      .complexity = "Depends on subcommand.",
      .summary = "Commands about connections",
      .syntax = "",
      .subcommands = connection_client },
    CONNECTION("echo", connection_echo, 2, FLAGS_PLAIN | CMD_FAST, "1.0.0",
               "Replies with the message", "message"),
    CONNECTION("hello", connection_hello, -1, FLAGS_FIRST, "6.0.0",
               "Chooses the protocol version and tells who the server is",
               "[protover [AUTH username password] [SETNAME clientname]]"),
    { .name = "ping",
      .handler = connection_ping,
      .arity = -1,
      .flags = CMD_FAST | CMD_NO_TOUCH_KEYS | CMD_SUBSCRIBED,
      .categories = CAT_CONNECTION,
      .group = "connection",
      .since = "1.0.0",
      .complexity = "O(1)",
      .summary = "Replies with PONG, or with the message",
      .syntax = "[message]",
      .tips = "request_policy:all_shards;response_policy:all_succeeded" },
    CONNECTION("quit", connection_quit, -1, FLAGS_FIRST | CMD_NOW | CMD_SUBSCRIBED, "1.0.0",
               "Closes the connection once everything has been replied", ""),
    CONNECTION("reset", connection_reset, 1, FLAGS_FIRST | CMD_NOW | CMD_SUBSCRIBED, "6.2.0",
               "Makes the connection as it was when it was new", ""),
    CONNECTION("select", connection_select, 2, FLAGS_PLAIN | CMD_FAST, "1.0.0",
               "Chooses the database, 0 to 15", "index"),
    { .name = NULL },
};
