/*
 * revisions.c - revisions of keys: GETREV, IFREV, DELEX.
 *
 * Whatever changes a key is a record of the log, and the record's number is the key's revision: it only grows, and no key
 * ever has the same one twice, also when it was removed and came back. So "is it still what I read" is one comparison, for any
 * type, without a WATCH that needs a connection of its own: SET ... IFREV, DELEX ... IFREV, and IFREV for whole transactions.
 * Revision 0 is that of a key that is not there.
 *
 * IFREV inside MULTI is a condition: EXEC asks for all of them before it runs anything (command.condition), and replies nil if
 * one does not hold, as if a watched key had changed. Elsewhere it is a question: 1 or 0.
 */
#include "broker/commands/strings.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

static bool revisions_parse(struct slice text, uint64_t *out)
{
    int64_t rev;

    if (!args_i64_in(text, 0, INT64_MAX, &rev))
        return false;
    *out = (uint64_t)rev;
    return true;
}

static void revisions_refuse(struct client *c)
{
    reply_error(c, "ERR a revision is a number from 0 on");
}

static uint64_t revisions_of(const struct object *o)
{
    return o == NULL ? 0 : cache_revision(o);
}

static void revisions_getrev(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    struct object *o = engine_lookup(e, c, argv[1]);

    (void)argc;
    if (o == NULL) {
        reply_null(c);
        return;
    }
    if (o->type == OBJECT_STRING && !cache_heat(e, c, &o))
        return;
    reply_array(c, 2);
    if (o->type == OBJECT_STRING) {
        struct slice value = cache_string(o);
        reply_bulk(c, value.p, value.n);
    } else {
        reply_null(c);
    }
    reply_u64(c, cache_revision(o));
}

/* ---- conditions ---- */

/* Whether the arguments are pairs of a key and a revision; false after an error reply. */
static bool revisions_read(struct client *c, const struct slice *argv, size_t argc)
{
    uint64_t rev;

    if (argc % 2 == 0) {
        reply_error(c, "ERR wrong number of arguments for 'ifrev' command");
        return false;
    }
    for (size_t i = 2; i < argc; i += 2) {
        if (revisions_parse(argv[i], &rev))
            continue;
        revisions_refuse(c);
        return false;
    }
    return true;
}

/* Arguments that make no sense do not hold. */
static bool revisions_hold(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    if (argc % 2 == 0)
        return false;
    for (size_t i = 1; i + 1 < argc; i += 2) {
        uint64_t rev;
        if (!revisions_parse(argv[i + 1], &rev) ||
            revisions_of(engine_lookup(e, c, argv[i])) != rev)
            return false;
    }
    return true;
}

/* In EXEC it was found to hold before anything ran. */
static void revisions_ifrev(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    if (revisions_read(c, argv, argc))
        reply_int(c, c->in_exec || revisions_hold(e, c, argv, argc));
}

/* ---- DELEX ---- */

static void revisions_delete(struct engine *e, struct client *c, struct slice key, struct object *o,
                             bool holds)
{
    if (o != NULL && holds) {
        engine_unname(e, c, o, REASON_DEL);
        notify(e, NOTIFY_GENERIC, "del", c->db, key);
    }
    reply_int(c, o != NULL && holds);
}

/* DELEX key IFEQ|IFNE|IFDEQ|IFDNE x: of a string, as Redis has it. */
static void revisions_delete_if_value(struct engine *e, struct client *c, const struct slice *argv,
                                      struct object *o)
{
    static const char *const words[] = { "ifeq", "ifne", "ifdeq", "ifdne" };
    int condition = 0;
    bool holds;

    if (o->type != OBJECT_STRING) {
        reply_error(c, "ERR Key should be of string type if conditions are specified");
        return;
    }
    while (condition <= STRINGS_IFDNE && !args_word(argv[2], words[condition]))
        condition++;
    if (condition > STRINGS_IFDNE) {
        reply_error(c, "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
        return;
    }
    if (cache_heat(e, c, &o) &&
        strings_compare(c, (enum strings_condition)condition, cache_string(o), argv[3], &holds))
        revisions_delete(e, c, argv[1], o, holds);
}

static void revisions_delex(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    bool by_rev = argc == 4 && args_word(argv[2], "ifrev");
    struct object *o;
    uint64_t rev;

    if (argc != 2 && argc != 4) {
        reply_error(c, "ERR wrong number of arguments for 'delex' command");
        return;
    }
    if (by_rev && !revisions_parse(argv[3], &rev)) {
        revisions_refuse(c);
        return;
    }
    o = engine_lookup_write(e, c, argv[1]);
    if (o == NULL || argc == 2)
        revisions_delete(e, c, argv[1], o, true);
    else if (by_rev)
        revisions_delete(e, c, argv[1], o, cache_revision(o) == rev);
    else
        revisions_delete_if_value(e, c, argv, o);
}

/* ---- the table ---- */

const struct command revision_commands[] = {
    { .name = "delex",
      .handler = revisions_delex,
      .arity = -2,
      .flags = CMD_WRITE | CMD_FAST,
      .categories = CAT_STRING,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "string",
      .since = "8.4.0",
      .complexity = "O(1), O(N) in the length of the value for IFDEQ and IFDNE",
      .summary = "Removes a key if its value or its revision is as expected",
      .syntax = "key [IFEQ match-value | IFNE match-value | IFDEQ match-digest | IFDNE "
                "match-digest | IFREV revision]",
      .key_flags = "RM DELETE variable_flags",
      .prefault = cache_prefault },
    { .name = "getrev",
      .handler = revisions_getrev,
      .arity = 2,
      .flags = CMD_READONLY | CMD_FAST,
      .categories = CAT_STRING,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "string",
      .since = "beck 0.4",
      .complexity = "O(1)",
      .summary = "[value, revision] of a string, [nil, revision] of another key",
      .syntax = "key",
      .key_flags = "RO ACCESS",
      .prefault = cache_prefault },
    { .name = "ifrev",
      .handler = revisions_ifrev,
      .arity = -3,
      .flags = CMD_READONLY | CMD_FAST,
      .categories = CAT_TRANSACTION,
      .first_key = 1,
      .last_key = -1,
      .key_step = 2,
      .group = "transactions",
      .since = "beck 0.4",
      .complexity = "O(1) for every key",
      .summary = "Whether keys have these revisions; inside MULTI EXEC does nothing if they do not",
      .syntax = "key revision [key revision ...]",
      .condition = revisions_hold },
    { .name = NULL },
};
