/*
 * settings.c - the words for what can be set of a stream, and defaults by pattern of names.
 *
 * One table has the words; both XCFGSET and the configuration's stream-settings go by it, so what one accepts the
 * other does. Rules are written as in a command, `orders:* RETENTION-LEN 1000 CODEC zstd:3`, any number of them
 * behind each other: the word where an option could stand, but that is none, begins the next rule. That is why no
 * pattern may be an option's word; [C]ODEC means the same name.
 */
#include "broker/settings.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/glob.h"
#include "log/id.h"
#include "log/log.h"

static const struct {
    const char *name, *word; /* as shown, and in lower case */
} settings_words[SETTING_COUNT] = {
    [SETTING_RETENTION_AGE] = { "RETENTION-AGE", "retention-age" },
    [SETTING_RETENTION_BYTES] = { "RETENTION-BYTES", "retention-bytes" },
    [SETTING_RETENTION_LEN] = { "RETENTION-LEN", "retention-len" },
    [SETTING_CODEC] = { "CODEC", "codec" },
    [SETTING_DURABILITY] = { "DURABILITY", "durability" },
    [SETTING_RETENTION_ACKED] = { "RETENTION-ACKED", "retention-acked" },
    [SETTING_RETENTION_ACKED_MAX_AGE] = { "RETENTION-ACKED-MAX-AGE", "retention-acked-max-age" },
};

static const char *const settings_codecs[] = { "auto", "none", "lz4", "zstd" }; /* enum log_codec */
static const char *const settings_classes[] = { "os", "interval", "always" };   /* enum log_class */

#define SETTINGS_OPTIONS                                                                        \
    "RETENTION-AGE, RETENTION-BYTES, RETENTION-LEN, RETENTION-ACKED, RETENTION-ACKED-MAX-AGE, " \
    "CODEC, DURABILITY"

/* ---- words and values ---- */

const char *settings_name(enum record_setting tag)
{
    return settings_words[tag].name;
}

enum record_setting settings_tag(struct slice word)
{
    for (size_t i = 1; i < SETTING_COUNT; i++)
        if (args_word(word, settings_words[i].word))
            return (enum record_setting)i;
    return (enum record_setting)0;
}

static int settings_bad(enum record_setting tag, struct slice text, const char *want, struct err *e)
{
    return err_set(e, ERR_USAGE, "%s must be %s, not '%.*s'", settings_name(tag), want,
                   (int)(text.n < 60 ? text.n : 60), (const char *)text.p);
}

static int settings_parse_number(enum record_setting tag, struct slice text, uint64_t *out,
                                 struct err *e)
{
    static const char *const wants[SETTING_COUNT] = {
        [SETTING_RETENTION_AGE] = "a number of milliseconds (0: no limit)",
        [SETTING_RETENTION_BYTES] = "a number of bytes, as 1000 or 64mb (0: no limit)",
        [SETTING_RETENTION_LEN] = "a number of entries (0: no limit)",
        [SETTING_RETENTION_ACKED_MAX_AGE] = "a number of milliseconds (0: no limit)",
    };
    uint64_t v;
    bool good = tag == SETTING_RETENTION_BYTES ? args_bytes(text, &v) : id_parse_u64(text, &v);

    if (!good || v > INT64_MAX)
        return settings_bad(tag, text, wants[tag], e);
    *out = v;
    return OK;
}

static int settings_parse_codec(struct slice text, uint64_t *out, struct err *e)
{
    const uint8_t *colon = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
    struct slice word = colon == NULL ? text : slice_of(text.p, (size_t)(colon - text.p));
    uint64_t level = 0;

    for (uint64_t codec = LOG_CODEC_AUTO; codec <= LOG_CODEC_ZSTD; codec++) {
        if (!args_word(word, settings_codecs[codec]))
            continue;
        if (colon != NULL && (codec != LOG_CODEC_ZSTD ||
                              !id_parse_u64(slice_of(colon + 1, text.n - word.n - 1), &level) ||
                              level == 0 || level > SETTINGS_ZSTD_LEVEL_MAX))
            break;
        *out = settings_codec(codec, level);
        return OK;
    }
    return settings_bad(SETTING_CODEC, text,
                        "auto, none, lz4, zstd, or zstd with a level from zstd:1 to zstd:19", e);
}

static int settings_parse_class(struct slice text, uint64_t *out, struct err *e)
{
    for (uint64_t class = LOG_OS; class <= LOG_ALWAYS; class ++) {
        if (args_word(text, settings_classes[class])) {
            *out = class;
            return OK;
        }
    }
    return settings_bad(SETTING_DURABILITY, text, "always, interval or os", e);
}

static int settings_parse_switch(enum record_setting tag, struct slice text, uint64_t *out,
                                 struct err *e)
{
    if (!args_word(text, "yes") && !args_word(text, "no"))
        return settings_bad(tag, text, "yes or no", e);
    *out = args_word(text, "yes");
    return OK;
}

int settings_parse(enum record_setting tag, struct slice text, uint64_t *out, struct err *e)
{
    switch (tag) {
    case SETTING_CODEC: return settings_parse_codec(text, out, e);
    case SETTING_DURABILITY: return settings_parse_class(text, out, e);
    case SETTING_RETENTION_ACKED: return settings_parse_switch(tag, text, out, e);
    default: return settings_parse_number(tag, text, out, e);
    }
}

const char *settings_show(enum record_setting tag, uint64_t value, char out[SETTINGS_SHOW_MAX])
{
    uint64_t level = value & 0xff;

    if (tag == SETTING_CODEC && level == 0)
        snprintf(out, SETTINGS_SHOW_MAX, "%s", settings_codecs[value >> 8]);
    else if (tag == SETTING_CODEC)
        snprintf(out, SETTINGS_SHOW_MAX, "%s:%" PRIu64, settings_codecs[value >> 8], level);
    else if (tag == SETTING_DURABILITY)
        snprintf(out, SETTINGS_SHOW_MAX, "%s", settings_classes[value]);
    else if (tag == SETTING_RETENTION_ACKED)
        snprintf(out, SETTINGS_SHOW_MAX, "%s", value != 0 ? "yes" : "no");
    else
        snprintf(out, SETTINGS_SHOW_MAX, "%" PRIu64, value);
    return out;
}

/* ---- rules ---- */

static void settings_free_rules(struct settings_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rules[i].glob);
    free(rules);
}

void settings_rules_fini(struct settings_rules *r)
{
    settings_free_rules(r->rules, r->n);
    free(r->text);
    *r = (struct settings_rules){ NULL, 0, NULL };
}

/* The next word of *at, which moves behind it; of no bytes at the end. */
static struct slice settings_word(const char **at)
{
    const char *p = *at + strspn(*at, " \t");
    size_t n = strcspn(p, " \t");

    *at = p + n;
    return slice_of(p, n);
}

/* Reads "OPTION value", as often as it comes. */
static int settings_parse_options(const char **at, struct settings_rule *rule, struct err *e)
{
    for (;;) {
        const char *next = *at;
        struct slice word = settings_word(&next), value;
        enum record_setting tag = settings_tag(word);
        int rc;

        if (tag == 0 && rule->given != 0)
            return OK;
        value = settings_word(&next);
        if (tag == 0)
            return err_set(e, ERR_USAGE,
                           "behind the pattern '%s' comes one of " SETTINGS_OPTIONS
                           " and its value, not '%.*s'",
                           rule->glob, (int)(word.n < 60 ? word.n : 60), (const char *)word.p);
        if (value.n == 0)
            return err_set(e, ERR_USAGE, "%s needs a value", settings_name(tag));
        rc = settings_parse(tag, value, &rule->values[tag], e);
        if (rc != OK)
            return rc;
        rule->given |= (uint8_t)(1u << tag);
        *at = next;
    }
}

static int settings_parse_rule(const char **at, struct settings_rule *rule, struct err *e)
{
    struct slice glob = settings_word(at);

    if (glob.n > SETTINGS_GLOB_MAX)
        return err_set(e, ERR_USAGE, "a pattern of %zu bytes: at most %d are possible", glob.n,
                       (int)SETTINGS_GLOB_MAX);
    if (settings_tag(glob) != 0)
        return err_set(e, ERR_USAGE,
                       "'%.*s' is an option, where a pattern must stand; write [%c]%.*s for a "
                       "stream of that name",
                       (int)glob.n, (const char *)glob.p, glob.p[0], (int)glob.n - 1,
                       (const char *)glob.p + 1);
    rule->glob = args_copy(glob);
    if (rule->glob == NULL)
        return err_set(e, ERR_NOMEM, "a rule for streams");
    return settings_parse_options(at, rule, e);
}

/* All rules as text; NULL if memory ran out. */
static char *settings_rules_text(const struct settings_rule *rules, size_t n)
{
    size_t cap = n * (SETTINGS_GLOB_MAX + SETTINGS_LINE_MAX) + 1, used = 0;
    char *text = malloc(cap), value[SETTINGS_SHOW_MAX];

    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(text + used, cap - used, "%s%s", i > 0 ? " " : "", rules[i].glob);
        for (enum record_setting tag = SETTING_RETENTION_AGE; tag < SETTING_COUNT; tag++)
            if (rules[i].given & 1u << tag)
                used += (size_t)snprintf(text + used, cap - used, " %s %s", settings_name(tag),
                                         settings_show(tag, rules[i].values[tag], value));
    }
    return text;
}

/* Reads rules into `rules`, which has room for SETTINGS_RULES_MAX, behind the *n that are there. */
static int settings_parse_rules(const char *text, struct settings_rule *rules, size_t *n,
                                struct err *e)
{
    for (text += strspn(text, " \t"); *text != '\0'; text += strspn(text, " \t")) {
        int rc;

        if (*n == SETTINGS_RULES_MAX)
            return err_set(e, ERR_USAGE, "at most %d patterns are possible",
                           (int)SETTINGS_RULES_MAX);
        rules[*n] = (struct settings_rule){ 0 };
        rc = settings_parse_rule(&text, &rules[(*n)++], e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

int settings_rules_add(struct settings_rules *r, const char *text, struct err *e)
{
    struct settings_rule *rules = calloc(SETTINGS_RULES_MAX, sizeof *rules);
    char *all = NULL;
    size_t n = 0;
    int rc;

    if (rules == NULL)
        return err_set(e, ERR_NOMEM, "rules for streams");
    rc = r->text == NULL ? OK : settings_parse_rules(r->text, rules, &n, e);
    if (rc == OK)
        rc = settings_parse_rules(text, rules, &n, e);
    if (rc == OK && n > 0) {
        all = settings_rules_text(rules, n);
        if (all == NULL)
            rc = err_set(e, ERR_NOMEM, "rules for streams");
    }
    if (rc != OK || n == 0) {
        settings_free_rules(rules, n);
        return rc;
    }
    settings_rules_fini(r);
    *r = (struct settings_rules){ rules, n, all };
    return OK;
}

size_t settings_rules_find(const struct settings_rules *r, struct slice name)
{
    size_t i = 0;

    while (i < r->n && !glob_match(slice_str(r->rules[i].glob), name, false))
        i++;
    return i;
}
