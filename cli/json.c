/*
 * json.c - a strict JSON scanner, and the rules by which values become field values and JSON again.
 *
 * A stream's fields are bytes. Between them and JSON there is one rule in each direction, and
 * together they give back every value that was read:
 *
 *   read   a number, true, false, null   its text, digit for digit
 *          an array or object            its text without blanks between the tokens
 *          a string                      its bytes, so that other clients see plain values; but if
 *                                        these are themselves a JSON text (7, null, "x"), the
 *                                        string's own JSON text with the quotes
 *          {"base64":"..."}              the bytes it stands for, if they are not UTF-8
 *   print  bytes that are a JSON text    that text, without blanks between the tokens
 *          other UTF-8                   a string
 *          other bytes                   {"base64":"..."}
 *
 * A name is the bytes of its string; one that is not UTF-8 is "base64:..." in JSON. Numbers are
 * never converted, so nothing is lost to a float. Strings are printed with the shortest escapes: \"
 * \\ \b \f \n \r \t, \u00XX for other control characters, everything else as it is.
 *
 * The scanner checks the grammar of RFC 8259 with UTF-8 (no overlong forms, no surrogates, at most
 * U+10FFFF), \u surrogates in pairs, and a depth. It copies nothing: most values are slices of the
 * line. What must be changed goes to a scratch buffer. Each change only makes a text shorter, and
 * at most two follow on each other (escapes or blanks, then base64), so twice the line is enough:
 * the buffer is made that large at the line's start and does not move.
 */
#include "cli/json.h"

#include <assert.h>
#include <stdlib.h>

#include "cli/base64.h"

struct json_scan {
    const char *at, *end;
    const char *error; /* set where scanning failed, with `at` there */
    bool blanks;       /* there were blanks between tokens */
    bool escapes;      /* the last string had escapes */
};

/* What a byte means in a string. */
enum json_class { PLAIN, QUOTE, ESCAPE, CONTROL, MULTI };

static inline enum json_class json_classify(unsigned char c)
{
    if (c >= 0x80)
        return MULTI;
    if (c == '"')
        return QUOTE;
    if (c == '\\')
        return ESCAPE;
    return c < 0x20 ? CONTROL : PLAIN;
}

/* Bytes of the UTF-8 character at p, 0 if there is no valid one. */
static size_t json_utf8_len(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    unsigned low = 0x80, high = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        low = 0xa0;
    if (s[0] == 0xed)
        high = 0x9f;
    if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xf4)
        high = 0x8f;
    if (left < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool json_is_utf8(const char *p, size_t n)
{
    const char *end = p + n;

    while (p < end) {
        size_t len = json_utf8_len(p, end);
        if (len == 0)
            return false;
        p += len;
    }
    return true;
}

static bool json_fail(struct json_scan *s, const char *error)
{
    s->error = error;
    return false;
}

static inline bool json_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline void json_skip_blanks(struct json_scan *s)
{
    while (s->at < s->end && json_is_blank(*s->at)) {
        s->at++;
        s->blanks = true;
    }
}

/* The four hex digits at p, -1 if they are not there. */
static int json_hex4(const char *p, const char *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* The character of the \u escape whose 'u' is at *p; *p moves behind it. -1 if it is none. */
static int json_unicode(const char **p, const char *end)
{
    const char *at = *p + 1;
    int high = json_hex4(at, end);
    int low;

    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return -1;
    at += 4;
    if (high >= 0xd800 && high <= 0xdbff) {
        low = end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? json_hex4(at + 2, end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return -1;
        high = 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
        at += 6;
    }
    *p = at;
    return high;
}

static bool json_scan_escape(struct json_scan *s)
{
    const char *at = s->at + 1;

    if (at == s->end)
        return json_fail(s, "a string has no end");
    if (*at == 'u') {
        if (json_unicode(&at, s->end) < 0)
            return json_fail(s, "a \\u escape is no character");
        s->at = at;
        return true;
    }
    if (*at == '\0' || strchr("\"\\/bfnrt", *at) == NULL)
        return json_fail(s, "an unknown escape");
    s->at = at + 1;
    return true;
}

/* The string whose opening quote is at `at`. */
static bool json_scan_string(struct json_scan *s)
{
    size_t n;

    s->escapes = false;
    for (s->at++; s->at < s->end;) {
        switch (json_classify((unsigned char)*s->at)) {
        case PLAIN: s->at++; break;
        case QUOTE: s->at++; return true;
        case CONTROL: return json_fail(s, "a control character in a string");
        case ESCAPE:
            s->escapes = true;
            if (!json_scan_escape(s))
                return false;
            break;
        case MULTI:
            n = json_utf8_len(s->at, s->end);
            if (n == 0)
                return json_fail(s, "bytes that are not UTF-8");
            s->at += n;
        }
    }
    return json_fail(s, "a string has no end");
}

static bool json_scan_digits(struct json_scan *s)
{
    const char *from = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > from || json_fail(s, "a number without its digits");
}

static bool json_scan_number(struct json_scan *s)
{
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!json_scan_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!json_scan_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at | 32) == 'e') {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        return json_scan_digits(s);
    }
    return true;
}

static bool json_scan_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return json_fail(s, "no JSON value");
    s->at += n;
    return true;
}

static bool json_scan_value(struct json_scan *s, unsigned depth);

/* `"name" :`, with the blanks around; *name is the string with its quotes. */
static bool json_scan_name(struct json_scan *s, struct beck_slice *name)
{
    const char *from = s->at;

    if (s->at == s->end || *s->at != '"')
        return json_fail(s, "a field name in quotes is missing");
    if (!json_scan_string(s))
        return false;
    *name = beck_bytes(from, (size_t)(s->at - from));
    json_skip_blanks(s);
    if (s->at == s->end || *s->at != ':')
        return json_fail(s, "a colon is missing");
    s->at++;
    json_skip_blanks(s);
    return true;
}

/* Behind an element: *more if a comma follows, else the closing bracket was there. */
static bool json_scan_more(struct json_scan *s, char close, bool *more)
{
    json_skip_blanks(s);
    if (s->at == s->end || (*s->at != ',' && *s->at != close))
        return json_fail(s, close == '}' ? "a comma or } is missing" : "a comma or ] is missing");
    *more = *s->at++ == ',';
    json_skip_blanks(s);
    return true;
}

/* The array or object whose bracket is at `at`. */
static bool json_scan_nested(struct json_scan *s, unsigned depth)
{
    char close = *s->at == '{' ? '}' : ']';
    bool more = true;
    struct beck_slice name;

    if (depth == JSON_DEPTH_MAX)
        return json_fail(s, "nested too deep");
    s->at++;
    json_skip_blanks(s);
    if (s->at < s->end && *s->at == close) {
        s->at++;
        return true;
    }
    while (more) {
        if (close == '}' && !json_scan_name(s, &name))
            return false;
        if (!json_scan_value(s, depth + 1) || !json_scan_more(s, close, &more))
            return false;
    }
    return true;
}

static bool json_scan_value(struct json_scan *s, unsigned depth)
{
    if (s->at == s->end)
        return json_fail(s, "a value is missing");
    switch (*s->at) {
    case '{':
    case '[': return json_scan_nested(s, depth);
    case '"': return json_scan_string(s);
    case 't': return json_scan_word(s, "true");
    case 'f': return json_scan_word(s, "false");
    case 'n': return json_scan_word(s, "null");
    case '-': return json_scan_number(s);
    default:
        if (*s->at >= '0' && *s->at <= '9')
            return json_scan_number(s);
        return json_fail(s, "no JSON value");
    }
}

/* Whether a JSON text can begin with this byte. Most values are settled here. */
static inline bool json_may_begin(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '"' || c == '{' || c == '[' || c == 't' ||
           c == 'f' || c == 'n' || json_is_blank(c);
}

static bool json_scan_text(struct json_scan *s, const char *p, size_t n)
{
    *s = (struct json_scan){ .at = p, .end = p + n };
    if (n == 0 || !json_may_begin(*p))
        return false;
    json_skip_blanks(s);
    if (!json_scan_value(s, 0))
        return false;
    json_skip_blanks(s);
    return s->at == s->end;
}

bool json_is_text(const char *p, size_t n)
{
    struct json_scan s;

    return json_scan_text(&s, p, n);
}

/* Copies a valid JSON text without the blanks between its tokens; returns how many bytes it is. */
static size_t json_compact(char *to, const char *p, size_t n)
{
    const char *end = p + n;
    char *from = to;
    bool quoted = false;

    for (; p < end; p++) {
        if (!quoted && json_is_blank(*p))
            continue;
        *to++ = *p;
        if (*p == '"')
            quoted = !quoted;
        else if (*p == '\\')
            *to++ = *++p; /* never the last: the text is valid */
    }
    return (size_t)(to - from);
}

/* ---- Printing ---- */

/* Writes a UTF-8 string with its quotes to `to`, at most 6 * n + 2 bytes; returns the end. */
static char *json_write_string(char *to, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn\0fr"; /* for 8, 9, 10, 11, 12, 13 */

    *to++ = '"';
    for (const char *end = p + n; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c != '"' && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        *to++ = '\\';
        if (c >= 0x20) {
            *to++ = (char)c;
        } else if (c >= 8 && c <= 13 && c != 11) {
            *to++ = letters[c - 8];
        } else {
            memcpy(to, "u00", 3);
            to[3] = hex[c >> 4];
            to[4] = hex[c & 15];
            to += 5;
        }
    }
    *to++ = '"';
    return to;
}

static void json_put_string(struct text *t, struct beck_slice s)
{
    char *to = text_room(t, 6 * s.n + 2);

    t->n = (size_t)(json_write_string(to, s.p, s.n) - t->p);
}

/* Adds a string that needs no escapes and is ASCII, as most are, in one pass. False if it is not. */
static bool json_put_plain(struct text *t, struct beck_slice s)
{
    char *to = text_room(t, s.n + 2);

    to[0] = '"';
    for (size_t i = 0; i < s.n; i++) {
        if (json_classify((unsigned char)s.p[i]) != PLAIN)
            return false;
        to[i + 1] = s.p[i];
    }
    to[s.n + 1] = '"';
    t->n += s.n + 2;
    return true;
}

void json_put_bytes(struct text *t, struct beck_slice bytes)
{
    if (json_put_plain(t, bytes))
        return;
    if (json_is_utf8(bytes.p, bytes.n)) {
        json_put_string(t, bytes);
        return;
    }
    text_put_str(t, "{\"base64\":\"");
    base64_put(t, bytes.p, bytes.n);
    text_put_str(t, "\"}");
}

void json_put_name(struct text *t, struct beck_slice name)
{
    if (json_put_plain(t, name))
        return;
    if (json_is_utf8(name.p, name.n)) {
        json_put_string(t, name);
        return;
    }
    text_put_str(t, "\"base64:");
    base64_put(t, name.p, name.n);
    text_put_char(t, '"');
}

void json_put_value(struct text *t, struct beck_slice value)
{
    struct json_scan s;

    if (!json_scan_text(&s, value.p, value.n)) {
        json_put_bytes(t, value);
    } else if (s.blanks) {
        char *to = text_room(t, value.n);
        t->n += json_compact(to, value.p, value.n);
    } else {
        text_put_slice(t, value);
    }
}

/* ---- Reading ---- */

void json_event_init(struct json_event *ev, size_t first)
{
    memset(ev, 0, sizeof *ev);
    ev->first = first;
}

void json_event_fini(struct json_event *ev)
{
    free(ev->slices);
    free(ev->scratch);
    free(ev->order);
    memset(ev, 0, sizeof *ev);
}

/* An array of `n` items of `size` bytes in place of `old`, at least doubled. */
static void *json_realloc(void *old, size_t *cap, size_t n, size_t size)
{
    struct text t = { old, *cap * size, *cap * size };

    if (n <= *cap)
        return old;
    text_grow(&t, (n - *cap) * size);
    *cap = t.cap / size;
    return t.p;
}

/* The bytes of a string without its quotes, escapes decoded, written to `to`; returns the end. */
static char *json_decode(char *to, const char *p, const char *end)
{
    while (p < end) {
        int c;
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        p++;
        if (*p != 'u') {
            static const char from[] = "bfnrt", chars[] = "\b\f\n\r\t";
            const char *at = strchr(from, *p);
            *to++ = at != NULL ? chars[at - from] : *p;
            p++;
            continue;
        }
        c = json_unicode(&p, end);
        if (c < 0x80) {
            *to++ = (char)c;
        } else if (c < 0x800) {
            *to++ = (char)(0xc0 | c >> 6);
            *to++ = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            *to++ = (char)(0xe0 | c >> 12);
            *to++ = (char)(0x80 | (c >> 6 & 63));
            *to++ = (char)(0x80 | (c & 63));
        } else {
            *to++ = (char)(0xf0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 63));
            *to++ = (char)(0x80 | (c >> 6 & 63));
            *to++ = (char)(0x80 | (c & 63));
        }
    }
    return to;
}

/* Takes what was just written to scratch, up to `end`. */
static struct beck_slice json_take(struct json_event *ev, const char *end)
{
    struct beck_slice s = { ev->scratch + ev->scratch_n, 0 };

    s.n = (size_t)(end - s.p);
    ev->scratch_n += s.n;
    assert(ev->scratch_n <= ev->scratch_cap);
    return s;
}

/* The bytes of a string that is given with its quotes. */
static struct beck_slice json_string_bytes(struct json_event *ev, struct beck_slice quoted,
                                           bool escapes)
{
    if (!escapes)
        return beck_bytes(quoted.p + 1, quoted.n - 2);
    return json_take(
        ev, json_decode(ev->scratch + ev->scratch_n, quoted.p + 1, quoted.p + quoted.n - 1));
}

static struct beck_slice json_string_value(struct json_event *ev, struct beck_slice quoted,
                                           bool escapes)
{
    size_t before = ev->scratch_n;
    struct beck_slice bytes = json_string_bytes(ev, quoted, escapes);
    struct text t = { 0 };

    if (!json_is_text(bytes.p, bytes.n))
        return bytes;
    if (!escapes)
        return quoted;
    json_put_string(&t, bytes); /* never longer than `quoted`, whose room the decoded bytes took */
    assert(t.n <= quoted.n);
    ev->scratch_n = before;
    memcpy(ev->scratch + before, t.p, t.n);
    bytes = json_take(ev, ev->scratch + before + t.n);
    text_fini(&t);
    return bytes;
}

/* Whether an object's text is exactly {"base64":"..."} for bytes that are not UTF-8; then these. */
static bool json_base64_value(struct json_event *ev, struct beck_slice compact,
                              struct beck_slice *out)
{
    static const char head[] = "{\"base64\":\"";
    size_t head_n = sizeof head - 1;
    char *to = ev->scratch + ev->scratch_n;
    size_t n;

    if (compact.n < head_n + 2 || memcmp(compact.p, head, head_n) != 0 ||
        memcmp(compact.p + compact.n - 2, "\"}", 2) != 0)
        return false;
    if (!base64_decode(compact.p + head_n, compact.n - head_n - 2, to, &n) || json_is_utf8(to, n))
        return false;
    *out = json_take(ev, to + n);
    return true;
}

static struct beck_slice json_nested_value(struct json_event *ev, struct beck_slice value,
                                           bool blanks)
{
    struct beck_slice bytes;

    if (blanks) {
        char *to = ev->scratch + ev->scratch_n;
        value = json_take(ev, to + json_compact(to, value.p, value.n));
    }
    return *value.p == '{' && json_base64_value(ev, value, &bytes) ? bytes : value;
}

static struct beck_slice json_name_bytes(struct json_event *ev, struct beck_slice quoted,
                                         bool escapes)
{
    static const char head[] = "base64:";
    size_t head_n = sizeof head - 1;
    struct beck_slice name = json_string_bytes(ev, quoted, escapes);
    char *to = ev->scratch + ev->scratch_n;
    size_t n;

    if (name.n <= head_n || memcmp(name.p, head, head_n) != 0 ||
        !base64_decode(name.p + head_n, name.n - head_n, to, &n) || json_is_utf8(to, n))
        return name;
    return json_take(ev, to + n);
}

static bool json_event_field(struct json_event *ev, struct json_scan *s)
{
    struct beck_slice name, value;
    size_t at = ev->first + 2 * ev->n_fields;
    const char *from;

    if (ev->n_fields == JSON_FIELDS_MAX)
        return json_fail(s, "more than 1048576 fields");
    ev->slices = json_realloc(ev->slices, &ev->cap, at + 2, sizeof *ev->slices);
    if (!json_scan_name(s, &name))
        return false;
    /* json_scan_name leaves `escapes` as the name's string had it */
    ev->slices[at] = json_name_bytes(ev, name, s->escapes);
    from = s->at;
    s->blanks = false;
    if (!json_scan_value(s, 0))
        return false;
    value = beck_bytes(from, (size_t)(s->at - from));
    if (*from == '"')
        value = json_string_value(ev, value, s->escapes);
    else if (*from == '{' || *from == '[')
        value = json_nested_value(ev, value, s->blanks);
    ev->slices[at + 1] = value;
    ev->n_fields++;
    return true;
}

static bool json_same(struct beck_slice a, struct beck_slice b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static int json_order(const void *a, const void *b, void *ctx)
{
    const struct beck_slice *slices = ctx;
    struct beck_slice x = slices[*(const size_t *)a];
    struct beck_slice y = slices[*(const size_t *)b];
    int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

    return c != 0 ? c : x.n < y.n ? -1 : x.n > y.n;
}

/* Few names are compared each with each, many are sorted. */
static bool json_has_repeated(struct json_event *ev)
{
    struct beck_slice *fields = ev->slices + ev->first;
    size_t n = ev->n_fields;

    if (n <= 16) {
        for (size_t i = 1; i < n; i++)
            for (size_t k = 0; k < i; k++)
                if (json_same(fields[2 * i], fields[2 * k]))
                    return true;
        return false;
    }
    ev->order = json_realloc(ev->order, &ev->order_cap, n, sizeof *ev->order);
    for (size_t i = 0; i < n; i++)
        ev->order[i] = 2 * i;
    qsort_r(ev->order, n, sizeof *ev->order, json_order, fields);
    for (size_t i = 1; i < n; i++)
        if (json_same(fields[ev->order[i]], fields[ev->order[i - 1]]))
            return true;
    return false;
}

static bool json_event_object(struct json_event *ev, struct json_scan *s)
{
    bool more = true;

    json_skip_blanks(s);
    if (s->at == s->end)
        return json_fail(s, "an empty line");
    if (*s->at != '{')
        return json_fail(s, "no JSON object");
    s->at++;
    json_skip_blanks(s);
    if (s->at < s->end && *s->at == '}')
        return json_fail(s, "an object without fields");
    while (more)
        if (!json_event_field(ev, s) || !json_scan_more(s, '}', &more))
            return false;
    json_skip_blanks(s);
    return s->at == s->end || json_fail(s, "something behind the object");
}

bool json_event_parse(struct json_event *ev, const char *line, size_t n)
{
    struct json_scan s = { .at = line, .end = line + n };

    ev->n_fields = 0;
    ev->scratch_n = 0;
    ev->error = NULL;
    ev->scratch = json_realloc(ev->scratch, &ev->scratch_cap, 2 * n + 16, 1);
    if (!json_event_object(ev, &s)) {
        ev->error = s.error;
        ev->error_at = (size_t)(s.at - line) + 1;
        return false;
    }
    if (json_has_repeated(ev)) {
        ev->error = "a repeated field";
        ev->error_at = 0;
        return false;
    }
    return true;
}
