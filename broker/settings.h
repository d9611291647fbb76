/* settings.h - what can be set of a stream beside Redis's options, as words: XCFGSET and the configuration read and show
 * them here. And the configuration's defaults by pattern of names.
 *
 * A value is a number as RECORD_SETTINGS has it (log/record.h). What holds for a stream is engine_setting's to say. */
#ifndef BROKER_SETTINGS_H
#define BROKER_SETTINGS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"
#include "log/record.h"

enum {
    SETTINGS_RULES_MAX = 64,
    SETTINGS_GLOB_MAX = 255, /* bytes of a pattern */
    SETTINGS_SHOW_MAX = 32,  /* a value as text */
    SETTINGS_LINE_MAX = 320, /* all options of a rule as text */
    SETTINGS_ZSTD_LEVEL_MAX = 19,
};

/* A codec's value: enum log_codec and its level, 0 for the default one. */
static inline uint64_t settings_codec(uint64_t codec, uint64_t level)
{
    return codec << 8 | level;
}

/* The word of a tag ("RETENTION-AGE"); the tag of a word, in any case, 0 if it is none. */
const char *settings_name(enum record_setting tag);
enum record_setting settings_tag(struct slice word);

/* Reads a value: milliseconds, bytes (with a unit, as in the configuration), entries, a codec, a class, yes or no. Errors:
 * ERR_USAGE, which says what would be right. */
must_check int settings_parse(enum record_setting tag, struct slice text, uint64_t *out,
                              struct err *e);
/* The value as settings_parse reads it; returns `out`. */
const char *settings_show(enum record_setting tag, uint64_t value, char out[SETTINGS_SHOW_MAX]);

/* ---- defaults by pattern ---- */

struct settings_rule {
    char *glob;
    uint8_t given; /* bit by tag */
    uint64_t values[SETTING_COUNT];
};

struct settings_rules {
    struct settings_rule *rules; /* the first that matches a name holds for it */
    size_t n;
    char *text; /* all of them, as settings_rules_add reads it; NULL: none */
};

void settings_rules_fini(struct settings_rules *r); /* empty afterwards */

/* Adds rules, `pattern OPTION value [OPTION value ...]` one after the other. Errors: ERR_USAGE (what is wrong and what
 * would be right), ERR_NOMEM; nothing is added then. */
must_check int settings_rules_add(struct settings_rules *r, const char *text, struct err *e);

/* The place of the first rule that matches; r->n if none does. */
size_t settings_rules_find(const struct settings_rules *r, struct slice name);

#endif
