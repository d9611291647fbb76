/*
 * syntax.c - reads "key [COUNT count] <* | id> field value [field value ...]".
 *
 *   line      sequence
 *   sequence  item item ...
 *   item      WORD                a token of its own, or that of the argument or choice behind it
 *             word                an argument
 *             [ choice ]          what is optional
 *             [ sequence ... ]    what stood before may be repeated
 *             < choice >          one of several
 *   choice    sequence | sequence | ...
 *
 * The lines are our own, from the table, so a mistake in one is a mistake of ours: it asserts, and
 * test_command reads them all. Nodes live in a fixed array and are chained by index; 0 is none.
 */
#include "broker/commands/syntax.h"
#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include "broker/engine/reply.h"

enum { SYNTAX_NODES = 96 };

enum syntax_kind { SYNTAX_ARG, SYNTAX_TOKEN, SYNTAX_ONEOF, SYNTAX_BLOCK };

struct syntax_node {
    enum syntax_kind kind;
    struct slice name, token; /* of the line; token.n 0: none */
    bool optional, multiple, multiple_token;
    unsigned next, child; /* the node behind it, its first child */
};

struct syntax {
    const char *at;
    struct syntax_node nodes[SYNTAX_NODES];
    unsigned n;
};

struct syntax_list { /* a chain while it grows */
    unsigned first, last, n;
    bool repeats; /* it ended with "..." */
};

static unsigned syntax_new(struct syntax *s, enum syntax_kind kind)
{
    assert(s->n < SYNTAX_NODES);
    s->nodes[s->n] = (struct syntax_node){ .kind = kind };
    return s->n++;
}

static void syntax_append(struct syntax *s, struct syntax_list *list, unsigned node)
{
    if (list->last != 0)
        s->nodes[list->last].next = node;
    else
        list->first = node;
    list->last = node;
    list->n++;
}

/* One node for a whole list: itself if it is one, else a block of them. */
static unsigned syntax_as_one(struct syntax *s, const struct syntax_list *list)
{
    assert(list->n > 0);
    if (list->n == 1)
        return list->first;
    unsigned block = syntax_new(s, SYNTAX_BLOCK);
    s->nodes[block].child = list->first;
    return block;
}

static void syntax_skip_blanks(struct syntax *s)
{
    s->at += strspn(s->at, " ");
}

static struct slice syntax_word(struct syntax *s)
{
    size_t n = strcspn(s->at, " []<>|");
    struct slice word = slice_of(s->at, n);

    s->at += n;
    return word;
}

static bool syntax_is_argument(char first)
{
    return first >= 'a' && first <= 'z';
}

static struct syntax_list syntax_choice(struct syntax *s, char end);

/* "[...]", behind the bracket: something optional, or the repetition of what stands last in the
 * list. */
static void syntax_bracket(struct syntax *s, struct syntax_list *list)
{
    struct syntax_list inner = syntax_choice(s, ']');

    if (!inner.repeats) {
        unsigned node = syntax_as_one(s, &inner);
        s->nodes[node].optional = true;
        syntax_append(s, list, node);
        return;
    }
    assert(inner.n > 0 && inner.n <= list->n);
    if (inner.n == 1) {
        s->nodes[list->last].multiple = true;
        s->nodes[list->last].multiple_token = s->nodes[inner.first].token.n > 0;
        return;
    }
    unsigned before = 0, at = list->first;
    for (unsigned i = inner.n; i < list->n; i++) {
        before = at;
        at = s->nodes[at].next;
    }
    unsigned block = syntax_new(s, SYNTAX_BLOCK);
    s->nodes[block].child = at;
    s->nodes[block].multiple = true;
    if (before != 0)
        s->nodes[before].next = block;
    else
        list->first = block;
    list->last = block;
    list->n -= inner.n - 1;
}

/* A word in capitals, or a sign: the token of what follows, if that is an argument or a choice. */
static unsigned syntax_token(struct syntax *s)
{
    struct slice token = syntax_word(s);
    unsigned node;

    assert(token.n > 0);
    syntax_skip_blanks(s);
    if (syntax_is_argument(*s->at)) {
        node = syntax_new(s, SYNTAX_ARG);
        s->nodes[node].name = syntax_word(s);
    } else if (*s->at == '<') {
        s->at++;
        struct syntax_list inner = syntax_choice(s, '>');
        node = syntax_as_one(s, &inner);
    } else {
        node = syntax_new(s, SYNTAX_TOKEN);
    }
    s->nodes[node].token = token;
    return node;
}

static struct syntax_list syntax_sequence(struct syntax *s)
{
    struct syntax_list list = { 0 };

    for (syntax_skip_blanks(s); *s->at != '\0' && strchr("]>|", *s->at) == NULL;
         syntax_skip_blanks(s)) {
        if (*s->at == '[') {
            s->at++;
            syntax_bracket(s, &list);
        } else if (*s->at == '<') {
            s->at++;
            struct syntax_list inner = syntax_choice(s, '>');
            syntax_append(s, &list, syntax_as_one(s, &inner));
        } else if (strncmp(s->at, "...", 3) == 0) {
            s->at += 3;
            list.repeats = true;
        } else if (syntax_is_argument(*s->at)) {
            unsigned node = syntax_new(s, SYNTAX_ARG);
            s->nodes[node].name = syntax_word(s);
            syntax_append(s, &list, node);
        } else {
            syntax_append(s, &list, syntax_token(s));
        }
    }
    return list;
}

/* Sequences up to `end`, which is skipped: as they are if there is one, as one node if there are
 * several. */
static struct syntax_list syntax_choice(struct syntax *s, char end)
{
    struct syntax_list first = syntax_sequence(s), several = { 0 }, choice = { 0 };

    if (*s->at == '|') {
        unsigned node = syntax_new(s, SYNTAX_ONEOF);
        syntax_append(s, &several, syntax_as_one(s, &first));
        while (*s->at == '|') {
            s->at++;
            struct syntax_list other = syntax_sequence(s);
            syntax_append(s, &several, syntax_as_one(s, &other));
        }
        s->nodes[node].child = several.first;
        syntax_append(s, &choice, node);
        first = choice;
    }
    assert(*s->at == end);
    if (end != '\0')
        s->at++;
    return first;
}

static struct syntax_list syntax_parse(struct syntax *s, const char *line)
{
    s->at = line;
    s->n = 1;
    return syntax_choice(s, '\0');
}

size_t syntax_count(const char *line)
{
    struct syntax s;

    return syntax_parse(&s, line).n;
}

/* ---- the tree as a reply ---- */

static bool syntax_is_any(struct slice name, const char *const *words)
{
    for (; *words != NULL; words++)
        if (slice_equal(name, slice_str(*words)))
            return true;
    return false;
}

static const char *syntax_type(const struct syntax_node *node)
{
    static const char *const keys[] = { "key", "newkey", NULL };
    static const char *const integers[] = { "count",       "seconds",  "milliseconds", "index",
                                            "cursor",      "numids",   "timeout",      "maxcount",
                                            "numreplicas", "protover", "client-id",    "maxsize",
                                            NULL };
    static const char *const times[] = { "unix-time-seconds", "unix-time-milliseconds", NULL };

    switch (node->kind) {
    case SYNTAX_TOKEN: return "pure-token";
    case SYNTAX_ONEOF: return "oneof";
    case SYNTAX_BLOCK: return "block";
    case SYNTAX_ARG: break;
    }
    if (syntax_is_any(node->name, keys))
        return "key";
    if (syntax_is_any(node->name, integers))
        return "integer";
    if (syntax_is_any(node->name, times))
        return "unix-time";
    return slice_equal(node->name, slice_str("pattern")) ? "pattern" : "string";
}

/* A node is called by its name, else by its token in small letters, else as its first child. */
static void syntax_reply_name(struct client *c, const struct syntax *s,
                              const struct syntax_node *node)
{
    char name[64];
    struct slice word = node->name.n > 0 ? node->name : node->token;

    if (word.n == 0) {
        syntax_reply_name(c, s, &s->nodes[node->child]);
        return;
    }
    assert(word.n <= sizeof name);
    for (size_t i = 0; i < word.n; i++) {
        uint8_t b = word.p[i];
        name[i] = (char)(b >= 'A' && b <= 'Z' ? b + 'a' - 'A' : b);
    }
    reply_bulk(c, name, word.n);
}

static void syntax_reply_flags(struct client *c, const struct syntax_node *node)
{
    reply_str(c, "flags");
    reply_set(c, (size_t)node->optional + node->multiple + node->multiple_token);
    if (node->optional)
        reply_simple(c, "optional");
    if (node->multiple)
        reply_simple(c, "multiple");
    if (node->multiple_token)
        reply_simple(c, "multiple_token");
}

static void syntax_reply_list(struct client *c, const struct syntax *s, unsigned first);

static void syntax_reply_node(struct client *c, const struct syntax *s,
                              const struct syntax_node *node)
{
    const char *type = syntax_type(node);
    bool is_key = strcmp(type, "key") == 0;
    bool has_flags = node->optional || node->multiple || node->multiple_token;
    bool has_token = node->token.n > 0;

    reply_map(c, 2 + (size_t)is_key + has_token + has_flags + (node->child != 0));
    reply_str(c, "name");
    syntax_reply_name(c, s, node);
    reply_str(c, "type");
    reply_str(c, type);
    if (is_key) {
        reply_str(c, "key_spec_index");
        reply_int(c, slice_equal(node->name, slice_str("newkey")));
    }
    if (has_token) {
        reply_str(c, "token");
        reply_bulk(c, node->token.p, node->token.n);
    }
    if (has_flags)
        syntax_reply_flags(c, node);
    if (node->child != 0) {
        reply_str(c, "arguments");
        syntax_reply_list(c, s, node->child);
    }
}

static void syntax_reply_list(struct client *c, const struct syntax *s, unsigned first)
{
    size_t n = 0;

    for (unsigned i = first; i != 0; i = s->nodes[i].next)
        n++;
    reply_array(c, n);
    for (unsigned i = first; i != 0; i = s->nodes[i].next)
        syntax_reply_node(c, s, &s->nodes[i]);
}

void syntax_reply(struct client *c, const char *line)
{
    struct syntax s;
    struct syntax_list list = syntax_parse(&s, line);

    syntax_reply_list(c, &s, list.first);
}
