/*
 * streams_settings.c - XCFGSET: what holds for one stream.
 *
 * Redis's options are for idempotence: RECORD_IDMP_CONFIG, which empties the map. Beck's own are a record of their
 * own, RECORD_SETTINGS, which touches nothing else; an option that is not named keeps its value. DEFAULT as a value
 * gives it back to the configuration, whose changes then reach the stream again.
 */
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "broker/engine/retention.h"
#include "broker/settings.h"
#include "log/record.h"

struct xcfgset {
    uint64_t duration_s, maxsize; /* 0: not named */
    uint32_t which;               /* 1 << tag: named */
    struct stream_settings x; /* a tag that is named and not set goes back to the configuration */
};

/* ---- options ---- */

static bool xcfgset_idmp(const struct engine *e, struct client *c, struct slice value,
                         bool duration, struct xcfgset *x)
{
    int64_t n = duration ? e->config->idmp_duration_s : e->config->idmp_maxsize;
    int64_t max = duration ? IDMP_DURATION_MAX_S : IDMP_MAXSIZE_MAX;

    if (!args_word(value, "default") && !args_i64(value, &n)) {
        reply_not_integer(c);
        return false;
    }
    if (n < 1 || n > max) {
        reply_error(c, "ERR %s must be between 1 and %d %s",
                    duration ? "IDMP-DURATION" : "IDMP-MAXSIZE", (int)max,
                    duration ? "seconds" : "entries");
        return false;
    }
    *(duration ? &x->duration_s : &x->maxsize) = (uint64_t)n;
    return true;
}

static bool xcfgset_setting(struct client *c, enum record_setting tag, struct slice value,
                            struct xcfgset *x)
{
    struct err err;

    x->which |= 1u << tag;
    x->x.set &= ~(1u << tag);
    if (args_word(value, "default"))
        return true;
    if (settings_parse(tag, value, &x->x.values[tag], &err) != OK) {
        reply_error(c, "ERR %s; DEFAULT takes the configuration's", err.text);
        return false;
    }
    x->x.set |= 1u << tag;
    return true;
}

static bool xcfgset_option(const struct engine *e, struct client *c, struct slice word,
                           struct slice value, struct xcfgset *x)
{
    enum record_setting tag = settings_tag(word);

    if (tag != 0)
        return xcfgset_setting(c, tag, value, x);
    return xcfgset_idmp(e, c, value, args_word(word, "idmp-duration"), x);
}

static bool xcfgset_parse(const struct engine *e, struct client *c, const struct slice *argv,
                          size_t argc, struct xcfgset *x)
{
    if (argc == 2) {
        reply_error(c, "ERR At least one parameter must be specified");
        return false;
    }
    for (size_t i = 2; i < argc; i += 2) {
        enum record_setting tag = settings_tag(argv[i]);

        if (tag != 0 && i + 1 == argc) {
            reply_error(c, "ERR syntax error, %s needs a value", settings_name(tag));
            return false;
        }
        if (i + 1 == argc || (tag == 0 && !args_word(argv[i], "idmp-duration") &&
                              !args_word(argv[i], "idmp-maxsize"))) {
            reply_syntax_error(c);
            return false;
        }
        if (!xcfgset_option(e, c, argv[i], argv[i + 1], x))
            return false;
    }
    return true;
}

/* ---- effects ---- */

/* Those of x->which that would change something. */
static uint32_t xcfgset_changes(const struct stream *st, const struct xcfgset *x)
{
    const struct stream_settings *own = stream_settings(st);
    uint32_t which = 0;

    for (unsigned tag = 1; tag < SETTING_COUNT; tag++) {
        uint32_t bit = 1u << tag;
        bool same = (own->set & bit) == (x->x.set & bit) &&
                    (!(own->set & bit) || own->values[tag] == x->x.values[tag]);
        if (x->which & bit && !same)
            which |= bit;
    }
    return which;
}

static void xcfgset_append(struct engine *e, struct client *c, struct stream *st, uint32_t which,
                           const struct stream_settings *x)
{
    uint64_t values[SETTING_COUNT], lsn;
    size_t n = 0, len = varint_size(st->oid);
    uint8_t *p;

    for (unsigned tag = 1; tag < SETTING_COUNT; tag++) {
        values[tag] = x->set >> tag & 1 ? x->values[tag] + 1 : 0;
        if (which >> tag & 1) {
            len += varint_size(tag) + varint_size(values[tag]);
            n++;
        }
    }
    len += varint_size(n);
    p = engine_append_to(e, c, &st->object, RECORD_SETTINGS, len, &lsn);
    p = varint_put(varint_put(p, st->oid), n);
    for (unsigned tag = 1; tag < SETTING_COUNT; tag++)
        if (which >> tag & 1)
            p = varint_put(varint_put(p, tag), values[tag]);
    state_configure(&e->state, st, which, x);
}

static void xcfgset_append_idmp(struct engine *e, struct client *c, struct stream *st,
                                uint64_t duration_s, uint64_t maxsize)
{
    size_t len = varint_size(st->oid) + varint_size(duration_s) + varint_size(maxsize);
    uint64_t lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_IDMP_CONFIG, len, &lsn);

    varint_put(varint_put(varint_put(p, st->oid), duration_s), maxsize);
    state_set_idmp(&e->state, st, (uint32_t)duration_s, (uint32_t)maxsize);
}

/* Settings that are what they were are not logged; the map of idempotence IDs stays then. */
void streams_xcfgset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xcfgset x = { 0 };
    struct stream *st;
    bool idmp;
    uint32_t which;

    if (!xcfgset_parse(e, c, argv, argc, &x) || !streams_find_write(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_no_such_key(c);
        return;
    }
    if (x.duration_s == 0)
        x.duration_s = streams_idmp_duration_s(e, st);
    if (x.maxsize == 0)
        x.maxsize = streams_idmp_maxsize(e, st);
    idmp =
        x.duration_s != streams_idmp_duration_s(e, st) || x.maxsize != streams_idmp_maxsize(e, st);
    which = xcfgset_changes(st, &x);
    if ((which != 0 && state_prepare_configure(st, NULL) != OK) ||
        (idmp && state_prepare_idmp_config(st, NULL) != OK)) {
        reply_error(c, "OOM not enough memory for the settings");
        return;
    }
    if (idmp)
        xcfgset_append_idmp(e, c, st, x.duration_s, x.maxsize);
    if (which != 0) {
        xcfgset_append(e, c, st, which, &x.x);
        retention_changed(e, st);
    }
    if (idmp || which != 0)
        engine_key_changed(e, c->db, argv[1]);
    reply_ok(c);
}
