/*
 * caching.c - CLIENT TRACKING, TRACKINGINFO, CACHING and GETREDIR: what a client that caches keys has to say and to ask.
 *
 * What the options do is broker/pubsub/tracking.c's; here is found out whether they make sense together, with what held before, and
 * with each other client's. Order of checks and texts are Redis's.
 */
#include "broker/commands/caching.h"
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/tracking.h"

/* ---- CLIENT TRACKING ---- */

/* One of the words that stand alone; 0 if it is none. */
static unsigned caching_flag(struct slice word)
{
    if (args_word(word, "bcast"))
        return TRACKING_BCAST;
    if (args_word(word, "optin"))
        return TRACKING_OPTIN;
    if (args_word(word, "optout"))
        return TRACKING_OPTOUT;
    return args_word(word, "noloop") ? TRACKING_NOLOOP : 0;
}

static bool caching_parse_redirect(struct engine *e, struct client *c, struct slice text,
                                   struct tracking_options *o)
{
    int64_t id;

    if (o->target != NULL) {
        reply_error(c, "ERR A client can only redirect to a single other client");
        return false;
    }
    if (!args_i64(text, &id)) {
        reply_not_integer(c);
        return false;
    }
    o->target = engine_find_client(e, (uint64_t)id);
    if (o->target == NULL)
        reply_error(c, "ERR The client ID you want redirect to does not exist");
    return o->target != NULL;
}

/* `prefixes` has room for argc. False after an error reply. */
static bool caching_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                          struct slice *prefixes, struct tracking_options *o)
{
    for (size_t i = 3; i < argc; i++) {
        unsigned flag = caching_flag(argv[i]);
        bool more = i + 1 < argc;
        o->flags |= flag;
        if (args_word(argv[i], "redirect") && more) {
            if (!caching_parse_redirect(e, c, argv[++i], o))
                return false;
        } else if (args_word(argv[i], "prefix") && more) {
            prefixes[o->n_prefixes++] = argv[++i];
        } else if (flag == 0) {
            reply_syntax_error(c);
            return false;
        }
    }
    return true;
}

static bool caching_overlap(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;

    return slice_equal(slice_of(a.p, n), slice_of(b.p, n));
}

static void caching_collision(struct client *c, struct slice prefix, const char *with,
                              struct slice other)
{
    reply_error(c,
                "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
                "must not overlap.",
                reply_echo_n(prefix), (const char *)prefix.p, with, reply_echo_n(other),
                (const char *)other.p);
}

/* A key must not have two of a client's prefixes: it would be told of twice. */
static bool caching_prefixes_fit(struct client *c, const struct tracking_options *o)
{
    size_t n_old = c->tracker == NULL ? 0 : tracking_n_prefixes(c);

    for (size_t i = 0; i < o->n_prefixes; i++) {
        for (size_t j = 0; j < n_old; j++) {
            if (caching_overlap(o->prefixes[i], tracking_prefix(c, j))) {
                caching_collision(c, o->prefixes[i], "an existing", tracking_prefix(c, j));
                return false;
            }
        }
        for (size_t j = i + 1; j < o->n_prefixes; j++) {
            if (caching_overlap(o->prefixes[i], o->prefixes[j])) {
                caching_collision(c, o->prefixes[i], "another provided", o->prefixes[j]);
                return false;
            }
        }
    }
    return true;
}

/* What is wrong with the options, by themselves or after those that hold; NULL: nothing. */
static const char *caching_contradiction(const struct client *c, const struct tracking_options *o)
{
    const unsigned both = TRACKING_OPTIN | TRACKING_OPTOUT;
    unsigned old = c->tracker == NULL ? 0 : tracking_flags(c);

    if (!(o->flags & TRACKING_BCAST) && o->n_prefixes > 0)
        return "PREFIX option requires BCAST mode to be enabled";
    if (c->tracker != NULL && (old ^ o->flags) & TRACKING_BCAST)
        return "You can't switch BCAST mode on/off before disabling tracking for this client, and "
               "then re-enabling it with a different mode.";
    if (o->flags & TRACKING_BCAST && o->flags & both)
        return "OPTIN and OPTOUT are not compatible with BCAST";
    if ((o->flags & both) == both)
        return "You can't specify both OPTIN mode and OPTOUT mode";
    if ((o->flags & TRACKING_OPTIN && old & TRACKING_OPTOUT) ||
        (o->flags & TRACKING_OPTOUT && old & TRACKING_OPTIN))
        return "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
               "then re-enabling it with a different mode.";
    return NULL;
}

static void caching_on(struct engine *e, struct client *c, const struct tracking_options *o)
{
    const char *wrong = caching_contradiction(c, o);
    struct err err;
    int rc;

    if (wrong != NULL) {
        reply_error(c, "ERR %s", wrong);
        return;
    }
    if (o->n_prefixes > TRACKING_PREFIXES_MAX) {
        reply_error(c, "ERR too many prefixes: the limit is %d", TRACKING_PREFIXES_MAX);
        return;
    }
    if (!caching_prefixes_fit(c, o))
        return;
    rc = tracking_on(e, c, o, &err);
    if (rc == OK)
        reply_ok(c);
    else
        reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "ERR", err.text);
}

static void caching_switch(struct engine *e, struct client *c, struct slice how,
                           const struct tracking_options *o)
{
    if (args_word(how, "on")) {
        caching_on(e, c, o);
    } else if (args_word(how, "off")) {
        tracking_off(e, c);
        reply_ok(c);
    } else {
        reply_syntax_error(c);
    }
}

void caching_tracking(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct slice *prefixes = malloc(argc * sizeof *prefixes);
    struct tracking_options o = { .prefixes = prefixes };

    if (prefixes == NULL)
        reply_error(c, "OOM not enough memory for the request");
    else if (caching_parse(e, c, argv, argc, prefixes, &o))
        caching_switch(e, c, argv[2], &o);
    free(prefixes);
}

/* ---- asking ---- */

static void caching_reply_flags(struct client *c)
{
    unsigned set = c->tracker == NULL ? 0 : tracking_flags(c);
    bool caching = set & TRACKING_CACHING;
    const struct {
        bool is;
        const char *word;
    } words[] = {
        { c->tracker != NULL, "on" },
        { c->tracker == NULL, "off" },
        { set & TRACKING_BCAST, "bcast" },
        { set & TRACKING_OPTIN, "optin" },
        { set & TRACKING_OPTIN && caching, "caching-yes" },
        { set & TRACKING_OPTOUT, "optout" },
        { set & TRACKING_OPTOUT && caching, "caching-no" },
        { set & TRACKING_NOLOOP, "noloop" },
        { set & TRACKING_BROKEN, "broken_redirect" },
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        n += words[i].is;
    reply_set(c, n);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].is)
            reply_str(c, words[i].word);
}

void caching_info(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    size_t n = c->tracker == NULL ? 0 : tracking_n_prefixes(c);

    reply_map(c, 3);
    reply_str(c, "flags");
    caching_reply_flags(c);
    reply_str(c, "redirect");
    caching_redirect(e, c, argv, argc);
    reply_str(c, "prefixes");
    reply_array(c, n);
    for (size_t i = 0; i < n; i++) {
        struct slice prefix = tracking_prefix(c, i);
        reply_bulk(c, prefix.p, prefix.n);
    }
}

void caching_redirect(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_int(c, c->tracker == NULL ? -1 : (int64_t)tracking_redirect(c));
}

/* ---- CLIENT CACHING ---- */

void caching_next(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    bool yes = args_word(argv[2], "yes");

    (void)e;
    (void)argc;
    if (c->tracker == NULL) {
        reply_error(c, "ERR CLIENT CACHING can be called only when the client is in tracking mode "
                       "with OPTIN or OPTOUT mode enabled");
    } else if (!yes && !args_word(argv[2], "no")) {
        reply_syntax_error(c);
    } else if (!(tracking_flags(c) & (yes ? TRACKING_OPTIN : TRACKING_OPTOUT))) {
        reply_error(c, "ERR CLIENT CACHING %s is only valid when tracking is enabled in %s mode.",
                    yes ? "YES" : "NO", yes ? "OPTIN" : "OPTOUT");
    } else {
        tracking_set_caching(c);
        reply_ok(c);
    }
}
