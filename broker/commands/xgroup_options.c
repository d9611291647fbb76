/*
 * xgroup_options.c - reads and judges the options of a group.
 *
 *   ACKWAIT ms   MAXDELIVER n   DLQ stream   BACKOFF n ms ...   MAXPENDING n   CONSUMERTTL ms   ORDERBY field
 *
 * Each keeps to itself: an option that is not named stays what it is, 0 (an empty name) removes it, the last of two that are the
 * same wins. What is refused is refused by name, with what would be right. Numbers are bounded so that a time plus any of these
 * fits, and the count of BACKOFF is compared with the arguments that are left before it is used for anything.
 *
 * ORDERBY decides which keys the pending entries hold, so it changes only while there are none; naming the field that the group
 * has already is no change. Its seed is drawn here, once, and logged: hashes of keys are the same after a restart, and nobody
 * can choose values that share one.
 */
#include "broker/commands/xgroup_options.h"
#include <inttypes.h>
#include "broker/cache/changes.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "log/io.h"

/* ---- numbers ---- */

struct xgroup_number {
    const char *word; /* as it is sent, in lower case */
    const char *name, *what;
    enum group_option option;
    bool is_duration;
};

static const struct xgroup_number xgroup_numbers[] = {
    { "ackwait", "ACKWAIT", "milliseconds", GROUP_ACKWAIT, true },
    { "maxdeliver", "MAXDELIVER", "deliveries", GROUP_MAXDELIVER, false },
    { "maxpending", "MAXPENDING", "entries", GROUP_MAXPENDING, false },
    { "consumerttl", "CONSUMERTTL", "milliseconds", GROUP_CONSUMERTTL, true },
};

static uint64_t *xgroup_number_of(struct group_options *x, enum group_option option)
{
    if (option == GROUP_ACKWAIT)
        return &x->ack_wait_ms;
    if (option == GROUP_MAXDELIVER)
        return &x->max_deliver;
    return option == GROUP_MAXPENDING ? &x->max_pending : &x->consumer_ttl_ms;
}

static bool xgroup_options_number(struct client *c, const struct xgroup_number *number,
                                  struct slice value, struct xgroup_options *o)
{
    uint64_t max = number->is_duration ? XGROUP_DURATION_MAX_MS : XGROUP_NUMBER_MAX;
    int64_t n;

    if (!args_i64_in(value, 0, (int64_t)max, &n)) {
        reply_error(c, "ERR %s must be a number of %s from 0 to %" PRIu64, number->name,
                    number->what, max);
        return false;
    }
    *xgroup_number_of(&o->x, number->option) = (uint64_t)n;
    o->which |= 1u << number->option;
    return true;
}

/* ---- delays ---- */

/* The `n` arguments from argv on follow the word BACKOFF; returns how many of them are its own, 0 if an error has been replied. */
static size_t xgroup_options_backoff(struct client *c, const struct slice *argv, size_t n,
                                     struct xgroup_options *o)
{
    int64_t n_delays, ms;

    if (!args_i64_in(argv[0], 0, GROUP_BACKOFF_MAX, &n_delays)) {
        reply_error(c, "ERR BACKOFF must be a number of delays from 0 to %d, and then so many",
                    GROUP_BACKOFF_MAX);
        return 0;
    }
    if ((size_t)n_delays > n - 1) {
        reply_error(c, "ERR BACKOFF announces %d delays, and only %zu arguments follow",
                    (int)n_delays, n - 1);
        return 0;
    }
    for (size_t i = 0; i < (size_t)n_delays; i++) {
        if (!args_i64_in(argv[1 + i], 0, (int64_t)XGROUP_DURATION_MAX_MS, &ms)) {
            reply_error(
                c, "ERR a delay of BACKOFF must be a number of milliseconds from 0 to %" PRIu64,
                XGROUP_DURATION_MAX_MS);
            return 0;
        }
        o->x.backoff_ms[i] = (uint64_t)ms;
    }
    o->x.n_backoff = (size_t)n_delays;
    o->which |= 1u << GROUP_BACKOFF;
    return 1 + (size_t)n_delays;
}

/* ---- names ---- */

static bool xgroup_options_dlq(struct client *c, struct slice value, struct xgroup_options *o)
{
    if (value.n > XGROUP_DLQ_MAX) {
        reply_error(c, "ERR DLQ must be the name of a stream, of at most %d bytes", XGROUP_DLQ_MAX);
        return false;
    }
    o->x.dlq = value;
    o->which |= 1u << GROUP_DLQ;
    return true;
}

static bool xgroup_options_order_by(struct client *c, struct slice value, struct xgroup_options *o)
{
    if (value.n > GROUP_FIELD_MAX) {
        reply_error(c, "ERR ORDERBY must be the name of a field, of at most %d bytes",
                    GROUP_FIELD_MAX);
        return false;
    }
    o->x.order_by = value;
    o->which |= 1u << GROUP_ORDERBY;
    return true;
}

/* ---- the words ---- */

static const struct xgroup_number *xgroup_options_find(struct slice word)
{
    for (size_t i = 0; i < sizeof xgroup_numbers / sizeof xgroup_numbers[0]; i++)
        if (args_word(word, xgroup_numbers[i].word))
            return &xgroup_numbers[i];
    return NULL;
}

/* As xgroup_options_backoff, for all options; `number` NULL: it is none of those. */
static size_t xgroup_options_value(struct client *c, const struct xgroup_number *number,
                                   struct slice word, const struct slice *argv, size_t n,
                                   struct xgroup_options *o)
{
    bool ok;

    if (number != NULL)
        ok = xgroup_options_number(c, number, argv[0], o);
    else if (args_word(word, "backoff"))
        return xgroup_options_backoff(c, argv, n, o);
    else if (args_word(word, "dlq"))
        ok = xgroup_options_dlq(c, argv[0], o);
    else
        ok = xgroup_options_order_by(c, argv[0], o);
    return ok ? 1 : 0;
}

int xgroup_options_read(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                        struct xgroup_options *o)
{
    struct slice word = argv[*i];
    const struct xgroup_number *number = xgroup_options_find(word);
    size_t n;

    if (number == NULL && !args_word(word, "backoff") && !args_word(word, "dlq") &&
        !args_word(word, "orderby"))
        return 0;
    if (*i + 1 == argc) {
        reply_error(c, "ERR syntax error, %.*s needs a value", (int)word.n, (const char *)word.p);
        return -1;
    }
    n = xgroup_options_value(c, number, word, argv + *i + 1, argc - *i - 1, o);
    *i += 1 + n;
    return n == 0 ? -1 : 1;
}

/* ---- whether they fit the group ---- */

static bool xgroup_options_check_order(struct engine *e, struct client *c, const struct group *g,
                                       struct xgroup_options *o)
{
    struct slice now = g == NULL ? slice_of(NULL, 0) : group_options(g)->order_by;

    if (slice_equal(now, o->x.order_by)) {
        o->which &= ~(1u << GROUP_ORDERBY);
        return true;
    }
    if (g != NULL && pel_n(g->pel) + pel_n_parked(g->pel) > 0) {
        reply_error(c, "ERR ORDERBY can change only while no entry of the group is pending or kept "
                       "back for its order");
        return false;
    }
    o->x.order_seed = 0;
    if (o->x.order_by.n == 0 || e->io->random(e->io, &o->x.order_seed, sizeof o->x.order_seed) == 0)
        return true;
    reply_error(c, "IOERR ORDERBY needs randomness, and none could be read");
    return false;
}

bool xgroup_options_check(struct engine *e, struct client *c, struct slice key,
                          const struct group *g, struct xgroup_options *o)
{
    if (o->which >> GROUP_DLQ & 1 && changes_is_name(&e->state, o->x.dlq)) {
        reply_error(c, "ERR DLQ must be a stream that can be written, not one of changes");
        return false;
    }
    if (o->which >> GROUP_DLQ & 1 && o->x.dlq.n > 0 && slice_equal(o->x.dlq, key)) {
        reply_error(c, "ERR DLQ must be another stream than the group's own");
        return false;
    }
    return !(o->which >> GROUP_ORDERBY & 1) || xgroup_options_check_order(e, c, g, o);
}
