/* views.c - see views.h. What the settings of one view are called stands in docs/changes-stream.md. */
#include "broker/views.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/cache/view.h"
#include "broker/engine/args.h"

static void view_rules_free(struct view_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rules[i].name);
        free(rules[i].prefix);
    }
    free(rules);
}

void view_rules_fini(struct view_rules *r)
{
    view_rules_free(r->rules, r->n);
    free(r->text);
    *r = (struct view_rules){ NULL, 0, NULL };
}

/* The next word of *at, which moves behind it; of no bytes at the end. */
static struct slice view_word(const char **at)
{
    const char *p = *at + strspn(*at, " \t");
    size_t n = strcspn(p, " \t");

    *at = p + n;
    return slice_of(p, n);
}

/* Reads [VALUES yes|no]. */
static int view_parse_values(const char **at, struct view_rule *rule, struct err *e)
{
    const char *next = *at;
    struct slice word = view_word(&next), value;

    if (!args_word(word, "values"))
        return OK;
    value = view_word(&next);
    if (!args_word(value, "yes") && !args_word(value, "no"))
        return err_set(e, ERR_USAGE, "behind VALUES of the view '%s' comes yes or no", rule->name);
    rule->values = args_word(value, "yes");
    *at = next;
    return OK;
}

static int view_check_name(struct slice name, struct err *e)
{
    if (args_word(name, "values"))
        return err_set(e, ERR_USAGE, "VALUES stands where the name of a view must be");
    if (name.n > VIEW_NAME_MAX)
        return err_set(e, ERR_USAGE, "the name of a view has %zu bytes: at most %d are possible",
                       name.n, (int)VIEW_NAME_MAX);
    return OK;
}

static int view_parse_rule(const char **at, struct view_rule *rule, struct err *e)
{
    struct slice name = view_word(at), prefix = view_word(at);
    int rc = view_check_name(name, e);

    if (rc != OK)
        return rc;
    if (prefix.n == 0)
        return err_set(e, ERR_USAGE, "the view '%.*s' needs a prefix of keys; \"\" for all",
                       (int)name.n, (const char *)name.p);
    if (slice_equal(prefix, slice_str("\"\"")))
        prefix.n = 0;
    if (prefix.n > VIEW_PREFIX_MAX)
        return err_set(e, ERR_USAGE, "a prefix of %zu bytes: at most %d are possible", prefix.n,
                       (int)VIEW_PREFIX_MAX);
    rule->name = args_copy(name);
    rule->prefix = args_copy(prefix);
    if (rule->name == NULL || rule->prefix == NULL)
        return err_set(e, ERR_NOMEM, "a view of changes");
    return view_parse_values(at, rule, e);
}

static int view_check_rules(const struct view_rule *rules, size_t n, struct err *e)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (strcmp(rules[i].name, rules[n - 1].name) == 0)
            return err_set(e, ERR_USAGE, "there are two views '%s'", rules[i].name);
    return OK;
}

static int view_parse_rules(const char *text, struct view_rule *rules, size_t *n, struct err *e)
{
    int rc = OK;

    for (text += strspn(text, " \t"); *text != '\0' && rc == OK; text += strspn(text, " \t")) {
        if (*n == VIEW_RULES_MAX)
            return err_set(e, ERR_USAGE, "at most %d views are possible", (int)VIEW_RULES_MAX);
        rc = view_parse_rule(&text, &rules[(*n)++], e);
        if (rc == OK)
            rc = view_check_rules(rules, *n, e);
    }
    return rc;
}

/* All rules as text; NULL if memory ran out. */
static char *view_rules_text(const struct view_rule *rules, size_t n)
{
    size_t cap = n * (VIEW_NAME_MAX + VIEW_PREFIX_MAX + 16) + 1, used = 0;
    char *text = malloc(cap);

    for (size_t i = 0; text != NULL && i < n; i++)
        used +=
            (size_t)snprintf(text + used, cap - used, "%s%s %s%s", i > 0 ? " " : "", rules[i].name,
                             rules[i].prefix[0] == '\0' ? "\"\"" : rules[i].prefix,
                             rules[i].values ? " VALUES yes" : "");
    return text;
}

int view_rules_add(struct view_rules *r, const char *text, struct err *e)
{
    struct view_rule *rules = calloc(VIEW_RULES_MAX, sizeof *rules);
    char *all = NULL;
    size_t n = 0;
    int rc;

    if (rules == NULL)
        return err_set(e, ERR_NOMEM, "views of changes");
    rc = r->text == NULL ? OK : view_parse_rules(r->text, rules, &n, e);
    if (rc == OK)
        rc = view_parse_rules(text, rules, &n, e);
    if (rc == OK && n > 0 && (all = view_rules_text(rules, n)) == NULL)
        rc = err_set(e, ERR_NOMEM, "views of changes");
    if (rc != OK || n == 0) {
        view_rules_free(rules, n);
        return rc;
    }
    view_rules_fini(r);
    *r = (struct view_rules){ rules, n, all };
    return OK;
}
