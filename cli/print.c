/* print.c - see print.h. The readable form numbers elements and indents what is within them. */
#include "cli/print.h"

#include <stdio.h>

#include "cli/json.h"

enum { PRINT_INDENT_MAX = 200 };

/* Whether the character at p is a C1 control character, which is two bytes of UTF-8. */
static bool print_is_c1(const char *p)
{
    return (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0;
}

/* Whether s can go to a terminal as it is. `blanks` allows blanks, quotes and line ends. */
static bool print_is_plain(struct beck_slice s, bool blanks)
{
    if (!json_is_utf8(s.p, s.n))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == 0x7f || (c < 0x20 && !(blanks && (c == '\n' || c == '\t' || c == '\r'))))
            return false;
        if (c >= 0x80 && print_is_c1(s.p + i))
            return false;
        if (!blanks && (c == ' ' || c == '"' || c == '=' || c == '\\'))
            return false;
    }
    return true;
}

static void print_escape(struct text *t, unsigned char c)
{
    static const char letters[] = "tn..r"; /* for 9, 10, 13 */

    if (c == '"' || c == '\\')
        text_printf(t, "\\%c", c);
    else if (c == '\t' || c == '\n' || c == '\r')
        text_printf(t, "\\%c", letters[c - '\t']);
    else
        text_printf(t, "\\x%02x", c);
}

void print_quoted(struct text *t, struct beck_slice s)
{
    bool utf8 = json_is_utf8(s.p, s.n);

    text_put_char(t, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (utf8 && c >= 0x80 && print_is_c1(s.p + i)) {
            print_escape(t, c);
            print_escape(t, (unsigned char)s.p[++i]);
        } else if (c < 0x20 || c == 0x7f || c == '"' || c == '\\' || (c >= 0x80 && !utf8)) {
            print_escape(t, c);
        } else {
            text_put_char(t, (char)c);
        }
    }
    text_put_char(t, '"');
}

void print_word(struct text *t, struct beck_slice s)
{
    if (s.n > 0 && print_is_plain(s, false))
        text_put_slice(t, s);
    else
        print_quoted(t, s);
}

void print_start(struct text *t, struct beck_slice s, size_t max)
{
    size_t n = s.n < max ? s.n : max;

    while (n > 0 && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80) /* not within a character */
        n--;
    print_quoted(t, beck_bytes(s.p, n));
    if (n < s.n)
        text_put_str(t, "...");
}

static void print_indent(struct text *t, unsigned indent)
{
    for (; indent > 0; indent--)
        text_put_char(t, ' ');
}

static void print_nested(struct text *t, const struct beck_reply *r, unsigned indent);

/* Elements of an array: "1) ...". */
static void print_elements(struct text *t, const struct beck_reply *r, unsigned indent)
{
    const struct beck_reply *at = beck_reply_first(r);
    size_t n = beck_reply_count(r);
    char number[24];
    int width = snprintf(number, sizeof number, "%zu", n);

    for (size_t i = 0; i < n; i++) {
        int len = snprintf(number, sizeof number, "%*zu) ", width, i + 1);
        if (i > 0)
            print_indent(t, indent);
        text_put_str(t, number);
        print_nested(t, at,
                     indent + (unsigned)len < PRINT_INDENT_MAX ? indent + (unsigned)len : indent);
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
}

/* Pairs of a map: "key: value". */
static void print_pairs(struct text *t, const struct beck_reply *r, unsigned indent)
{
    const struct beck_reply *at = beck_reply_first(r);

    for (size_t n = beck_reply_count(r), i = 0; i < n; i += 2) {
        const struct beck_reply *value = beck_reply_next(at);
        bool nested = beck_reply_count(value) > 0;
        if (i > 0)
            print_indent(t, indent);
        if (beck_reply_type(at) == BECK_REPLY_INTEGER)
            text_printf(t, "%lld", (long long)beck_reply_integer(at));
        else
            print_word(t, beck_reply_string(at));
        text_put_str(t, nested ? ":\n" : ": ");
        if (nested)
            print_indent(t, indent + 2);
        print_nested(t, value, indent < PRINT_INDENT_MAX ? indent + 2 : indent);
        at = i + 2 < n ? beck_reply_next(value) : at;
    }
}

static void print_nested(struct text *t, const struct beck_reply *r, unsigned indent)
{
    switch (beck_reply_type(r)) {
    case BECK_REPLY_NIL: text_put_str(t, "(nil)\n"); return;
    case BECK_REPLY_BOOL: text_put_str(t, beck_reply_integer(r) ? "true\n" : "false\n"); return;
    case BECK_REPLY_INTEGER:
        text_printf(t, "(integer) %lld\n", (long long)beck_reply_integer(r));
        return;
    case BECK_REPLY_ERROR: text_put_str(t, "(error) "); break;
    case BECK_REPLY_STRING:
    case BECK_REPLY_VERBATIM:
        print_quoted(t, beck_reply_string(r));
        text_put_char(t, '\n');
        return;
    case BECK_REPLY_STATUS:
    case BECK_REPLY_DOUBLE:
    case BECK_REPLY_BIGNUM: break;
    case BECK_REPLY_MAP:
    case BECK_REPLY_ARRAY:
    case BECK_REPLY_SET:
    case BECK_REPLY_PUSH:
        if (beck_reply_count(r) == 0)
            text_put_str(t, "(empty)\n");
        else if (beck_reply_type(r) == BECK_REPLY_MAP)
            print_pairs(t, r, indent);
        else
            print_elements(t, r, indent);
        return;
    }
    text_put_slice(t, beck_reply_string(r));
    text_put_char(t, '\n');
}

void print_reply(struct text *t, const struct beck_reply *r, bool quote)
{
    enum beck_reply_type type = beck_reply_type(r);
    struct beck_slice s = beck_reply_string(r);

    if (type != BECK_REPLY_STRING && type != BECK_REPLY_VERBATIM) {
        print_nested(t, r, 0);
        return;
    }
    if (quote && !print_is_plain(s, true))
        print_quoted(t, s);
    else
        text_put_slice(t, s);
    if (s.n == 0 || s.p[s.n - 1] != '\n')
        text_put_char(t, '\n');
}

/* A map's key, as the string that JSON wants. */
static void print_json_name(struct text *t, const struct beck_reply *key)
{
    if (beck_reply_type(key) == BECK_REPLY_INTEGER || beck_reply_type(key) == BECK_REPLY_BOOL)
        text_printf(t, "\"%lld\"", (long long)beck_reply_integer(key));
    else
        json_put_name(t, beck_reply_string(key));
}

static void print_json_elements(struct text *t, const struct beck_reply *r)
{
    bool map = beck_reply_type(r) == BECK_REPLY_MAP;
    const struct beck_reply *at = beck_reply_first(r);

    text_put_char(t, map ? '{' : '[');
    for (size_t n = beck_reply_count(r), i = 0; i < n; i++) {
        if (i > 0)
            text_put_char(t, map && i % 2 == 1 ? ':' : ',');
        if (map && i % 2 == 0)
            print_json_name(t, at);
        else
            print_json(t, at);
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
    text_put_char(t, map ? '}' : ']');
}

void print_json(struct text *t, const struct beck_reply *r)
{
    struct beck_slice s = beck_reply_string(r);

    switch (beck_reply_type(r)) {
    case BECK_REPLY_NIL: text_put_str(t, "null"); break;
    case BECK_REPLY_BOOL: text_put_str(t, beck_reply_integer(r) ? "true" : "false"); break;
    case BECK_REPLY_INTEGER: text_printf(t, "%lld", (long long)beck_reply_integer(r)); break;
    case BECK_REPLY_DOUBLE:
    case BECK_REPLY_BIGNUM: /* inf and nan are no JSON numbers */
        if (json_is_text(s.p, s.n))
            text_put_slice(t, s);
        else
            json_put_bytes(t, s);
        break;
    case BECK_REPLY_ERROR:
        text_put_str(t, "{\"error\":");
        json_put_bytes(t, s);
        text_put_char(t, '}');
        break;
    case BECK_REPLY_STATUS:
    case BECK_REPLY_STRING:
    case BECK_REPLY_VERBATIM: json_put_bytes(t, s); break;
    case BECK_REPLY_ARRAY:
    case BECK_REPLY_SET:
    case BECK_REPLY_PUSH:
    case BECK_REPLY_MAP: print_json_elements(t, r);
    }
}
