/* views.h - the configuration's changes-view: which views of beck:changes there are. */
#ifndef BROKER_VIEWS_H
#define BROKER_VIEWS_H
#include <stdbool.h>
#include <stddef.h>
#include "log/err.h"

enum { VIEW_RULES_MAX = 16 };

struct view_rule {
    char *name, *prefix;
    bool values;
};

struct view_rules {
    struct view_rule *rules;
    size_t n;
    char *text; /* all of them, as view_rules_add reads it; NULL: none */
};

void view_rules_fini(struct view_rules *r); /* empty afterwards */

/* Adds rules, `NAME PREFIX [VALUES yes|no]` one after the other; a PREFIX of "" stands for all keys. Errors: ERR_USAGE (what is
 * wrong and what would be right), ERR_NOMEM; nothing is added then. */
must_check int view_rules_add(struct view_rules *r, const char *text, struct err *e);

#endif
