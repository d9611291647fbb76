/*
 * parser.c - replies as a flat array of nodes over the bytes they came in.
 *
 * A reply of a thousand entries has thirteen thousand strings. So nothing is allocated for one: the
 * bytes stay where the socket put them, a node holds a type, a place and a length, and all nodes of
 * a reply lie in one array that the next reply uses again. A parent stands before its children and
 * knows how many nodes its subtree has, so that walking needs no pointers:
 *
 *     *2 [ $1 a, *1 [ :5 ] ]   array count 2 span 4 | string | array count 1 span 2 | integer
 *
 * Parsing can stop behind any byte and go on later: one step takes a whole header line, together
 * with the body if it is a string, or nothing. Open aggregates are a stack of {node, elements
 * left}. While a reply is incomplete its texts are positions, since the buffer may move; when it is
 * complete one pass makes them pointers and puts a zero over the line end behind each.
 *
 * Nothing is allocated from a length that was only announced: strings and arrays grow as bytes
 * come, and what would exceed a limit is refused when it is announced.
 *
 *   P1  start <= at <= len <= cap; the reply being parsed is [start, at).
 *   P2  levels[i].left >= 1 for each open level: complete ones are closed at once.
 *   P3  Bytes of a reply that was given out do not move or change until the next parser_next.
 *
 * Attributes (|) are parsed and dropped. Streamed strings and aggregates ($?, *?) do not exist in
 * any server we know and are refused. Protocol:
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
#include "client/parser.h"

#include <assert.h>
#include <stdlib.h>

enum {
    PARSER_ROOM_MIN = 16 << 10,
    PARSER_CAP_FIRST = 64 << 10,
    PARSER_CAP_KEPT = 8 << 20 /* a larger buffer is released when it is empty */
};

enum parser_step { STEP_VALUE, STEP_OPENED, STEP_NOTHING };

/* What a reply can begin with. */
enum parser_kind { KIND_NONE, KIND_SIZED, KIND_SCALAR };

static const unsigned char parser_kinds[256] = {
    ['$'] = KIND_SIZED,  ['!'] = KIND_SIZED,  ['='] = KIND_SIZED,  ['*'] = KIND_SIZED,
    ['~'] = KIND_SIZED,  ['%'] = KIND_SIZED,  ['>'] = KIND_SIZED,  ['|'] = KIND_SIZED,
    ['+'] = KIND_SCALAR, ['-'] = KIND_SCALAR, [':'] = KIND_SCALAR, ['_'] = KIND_SCALAR,
    ['#'] = KIND_SCALAR, [','] = KIND_SCALAR, ['('] = KIND_SCALAR,
};

void parser_init(struct parser *p, size_t max_bytes, size_t max_elements)
{
    assert(max_elements <= PARSER_ELEMENTS_MAX);
    memset(p, 0, sizeof *p);
    p->max_bytes = max_bytes;
    p->max_elements = max_elements;
}

void parser_fini(struct parser *p)
{
    free(p->buf);
    free(p->old);
    free(p->nodes);
    memset(p, 0, sizeof *p);
}

void parser_reset(struct parser *p)
{
    free(p->old);
    p->old = NULL;
    p->given = false;
    p->start = p->at = p->len = p->scanned = 0;
    p->n_nodes = 0;
    p->depth = 0;
}

/* Moves the bytes not given out to a new buffer of `cap` bytes; the borrower keeps the old one. */
static int parser_leave(struct parser *p, size_t cap, struct fail *f)
{
    char *buf = malloc(cap);

    if (buf == NULL)
        return fail_set(f, BECK_ERR_NOMEM, "no memory for %zu bytes of replies", cap);
    memcpy(buf, p->buf + p->at, p->len - p->at);
    assert(p->old == NULL);
    p->old = p->buf;
    p->buf = buf;
    p->cap = cap;
    p->len -= p->at;
    p->start = p->at = 0;
    p->given = false;
    return BECK_OK;
}

static int parser_grow(struct parser *p, size_t cap, struct fail *f)
{
    char *buf = realloc(p->buf, cap);

    if (buf == NULL)
        return fail_set(f, BECK_ERR_NOMEM, "no memory for %zu bytes of replies", cap);
    p->buf = buf;
    p->cap = cap;
    return BECK_OK;
}

int parser_room(struct parser *p, char **out, size_t *n, struct fail *f)
{
    size_t used = p->len - (p->given ? p->at : p->start);
    size_t want = p->cap == 0 ? PARSER_CAP_FIRST : p->cap;
    int rc = BECK_OK;

    if (used > p->max_bytes && used - p->max_bytes > PARSER_LINE_MAX)
        return fail_set(f, BECK_ERR_TOO_BIG, "more than %zu bytes of replies wait to be received",
                        p->max_bytes);
    if (p->cap - p->len < PARSER_ROOM_MIN) {
        while (want - used < PARSER_ROOM_MIN || used > want / 2)
            want *= 2;
        if (p->given) {
            rc = parser_leave(p, want, f);
        } else {
            if (p->start > 0)
                memmove(p->buf, p->buf + p->start, used);
            p->at -= p->start;
            p->start = 0;
            p->len = used;
            if (want > p->cap)
                rc = parser_grow(p, want, f);
        }
        if (rc != BECK_OK)
            return rc;
    }
    *out = p->buf + p->len;
    *n = p->cap - p->len;
    return BECK_OK;
}

void parser_filled(struct parser *p, size_t n)
{
    assert(n <= p->cap - p->len);
    p->len += n;
}

/* Adds a node, as a value without children. */
static int parser_node(struct parser *p, enum beck_reply_type type, struct beck_reply **out,
                       struct fail *f)
{
    struct beck_reply *r;

    if (p->n_nodes >= p->max_elements)
        return fail_set(f, BECK_ERR_TOO_BIG, "a reply has more than %zu elements", p->max_elements);
    if (p->n_nodes == p->cap_nodes) {
        size_t cap = p->cap_nodes == 0 ? 256 : p->cap_nodes * 2;
        struct beck_reply *nodes = realloc(p->nodes, cap * sizeof *nodes);
        if (nodes == NULL)
            return fail_set(f, BECK_ERR_NOMEM, "no memory for a reply of %zu elements", cap);
        p->nodes = nodes;
        p->cap_nodes = cap;
    }
    r = &p->nodes[p->n_nodes++];
    r->type = (uint8_t)type;
    r->count = 0;
    r->span = 1;
    r->n = 0;
    r->value = 0;
    *out = r;
    return BECK_OK;
}

/* A node with the text of `n` bytes at `pos` of the buffer. */
static int parser_text(struct parser *p, enum beck_reply_type type, size_t pos, size_t n,
                       struct fail *f)
{
    struct beck_reply *r;
    int rc = parser_node(p, type, &r, f);

    if (rc != BECK_OK)
        return rc;
    r->n = n;
    r->pos = pos - p->start;
    return BECK_OK;
}

static int parser_bad(struct fail *f, const char *what, const char *p, size_t n)
{
    char shown[41];
    size_t i;

    for (i = 0; i < n && i < sizeof shown - 1; i++)
        shown[i] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
    shown[i] = '\0';
    return fail_set(f, BECK_ERR_PROTO, "%s in what the server sent: \"%s\"", what, shown);
}

/* The line at `at`, without its two last bytes. Errors: BECK_ERR_AGAIN, BECK_ERR_PROTO. */
static int parser_line(struct parser *p, size_t *out, struct fail *f)
{
    const char *line = p->buf + p->at;
    size_t left = p->len - p->at;
    const char *end = left > p->scanned ? memchr(line + p->scanned, '\n', left - p->scanned) : NULL;
    size_t n = end != NULL ? (size_t)(end - line) : left;

    if (n > PARSER_LINE_MAX)
        return parser_bad(f, "a line without an end", line, n);
    if (end == NULL) {
        p->scanned = left;
        return BECK_ERR_AGAIN;
    }
    if (n < 2 || line[n - 1] != '\r')
        return parser_bad(f, "a bare line feed", line, n);
    p->scanned = 0;
    *out = n - 1;
    return BECK_OK;
}

/* A decimal number with an optional sign that fits 64 bits. */
static bool parser_number(const char *p, size_t n, int64_t *out)
{
    bool minus = n > 0 && p[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + minus;
    uint64_t v = 0;
    size_t i = n > 0 && (p[0] == '-' || p[0] == '+');

    if (i == n || n > 40)
        return false;
    for (; i < n; i++) {
        unsigned digit = (unsigned)(unsigned char)p[i] - '0';
        if (digit > 9 || v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* A string, error or verbatim text with its length in front, in a header line of `line` bytes. */
static int parser_bulk(struct parser *p, char kind, size_t line, int64_t n, struct fail *f)
{
    size_t body = p->at + line + 2;
    size_t used = body - p->start;
    enum beck_reply_type type = kind == '$'   ? BECK_REPLY_STRING
                                : kind == '!' ? BECK_REPLY_ERROR
                                              : BECK_REPLY_VERBATIM;
    size_t len = (size_t)n;
    size_t skip = kind == '=' ? 4 : 0;

    if (used > p->max_bytes || len > p->max_bytes - used)
        return fail_set(f, BECK_ERR_TOO_BIG, "a reply is larger than %zu bytes", p->max_bytes);
    if (p->len - body < 2 || p->len - body - 2 < len)
        return BECK_ERR_AGAIN;
    if (p->buf[body + len] != '\r' || p->buf[body + len + 1] != '\n')
        return parser_bad(f, "a string that is longer than announced", p->buf + p->at, line);
    if (skip > len || (skip > 0 && p->buf[body + 3] != ':'))
        return parser_bad(f, "a verbatim string without its format", p->buf + body, len);
    p->at = body + len + 2;
    return parser_text(p, type, body + skip, len - skip, f);
}

/* An array, set, map, push or attribute of `n` elements (maps: pairs). */
static int parser_aggregate(struct parser *p, char kind, size_t line, int64_t n,
                            enum parser_step *step, struct fail *f)
{
    bool pairs = kind == '%' || kind == '|';
    uint64_t count = (uint64_t)n;
    struct beck_reply *r;
    int rc;

    if (count > (p->max_elements - p->n_nodes) / (pairs ? 2 : 1))
        return fail_set(f, BECK_ERR_TOO_BIG, "a reply has more than %zu elements", p->max_elements);
    if (pairs)
        count *= 2;
    if (count > 0 && p->depth == PARSER_DEPTH_MAX)
        return fail_set(f, BECK_ERR_TOO_BIG, "a reply is nested deeper than %d", PARSER_DEPTH_MAX);
    *step = count > 0 ? STEP_OPENED : kind == '|' ? STEP_NOTHING : STEP_VALUE;
    if (count > 0)
        p->levels[p->depth++] =
            (struct parser_level){ (uint32_t)p->n_nodes, (uint32_t)count, kind == '|' };
    p->at += line + 2;
    if (kind == '|')
        return BECK_OK;
    rc = parser_node(p,
                     kind == '*'   ? BECK_REPLY_ARRAY
                     : kind == '~' ? BECK_REPLY_SET
                     : kind == '%' ? BECK_REPLY_MAP
                                   : BECK_REPLY_PUSH,
                     &r, f);
    if (rc == BECK_OK)
        r->count = (uint32_t)count;
    return rc;
}

/* What has a length or a count in its header. */
static int parser_sized(struct parser *p, char kind, size_t line, enum parser_step *step,
                        struct fail *f)
{
    struct beck_reply *r;
    int64_t n;

    if (!parser_number(p->buf + p->at + 1, line - 1, &n))
        return parser_bad(f, "a bad length", p->buf + p->at, line);
    if (n == -1 && (kind == '$' || kind == '*')) {
        p->at += line + 2;
        return parser_node(p, BECK_REPLY_NIL, &r, f);
    }
    if (n < 0)
        return parser_bad(f, "a bad length", p->buf + p->at, line);
    if (kind == '$' || kind == '=' || kind == '!')
        return parser_bulk(p, kind, line, n, f);
    return parser_aggregate(p, kind, line, n, step, f);
}

/* What is one line. */
static int parser_scalar(struct parser *p, char kind, size_t line, struct fail *f)
{
    size_t text = p->at + 1;
    size_t n = line - 1;
    const char *s = p->buf + text;
    struct beck_reply *r;
    int64_t value = 0;
    int rc;

    if (kind == ':' && !parser_number(s, n, &value))
        return parser_bad(f, "a bad integer", s - 1, line);
    if (kind == '#' && (n != 1 || (*s != 't' && *s != 'f')))
        return parser_bad(f, "a bad boolean", s - 1, line);
    if ((kind == '_' && n != 0) || ((kind == ',' || kind == '(') && n == 0))
        return parser_bad(f, "a bad value", s - 1, line);
    p->at += line + 2;
    switch (kind) {
    case '+': return parser_text(p, BECK_REPLY_STATUS, text, n, f);
    case '-': return parser_text(p, BECK_REPLY_ERROR, text, n, f);
    case ',': return parser_text(p, BECK_REPLY_DOUBLE, text, n, f);
    case '(': return parser_text(p, BECK_REPLY_BIGNUM, text, n, f);
    case '_': return parser_node(p, BECK_REPLY_NIL, &r, f);
    }
    rc = parser_node(p, kind == '#' ? BECK_REPLY_BOOL : BECK_REPLY_INTEGER, &r, f);
    if (rc == BECK_OK)
        r->value = kind == '#' ? *s == 't' : value;
    return rc;
}

/* One header with what belongs to it, or nothing. */
static int parser_step(struct parser *p, enum parser_step *step, struct fail *f)
{
    size_t line = 0;
    enum parser_kind kind;
    char first;
    int rc;

    *step = STEP_VALUE;
    if (p->at == p->len)
        return BECK_ERR_AGAIN;
    first = p->buf[p->at];
    kind = parser_kinds[(unsigned char)first];
    if (kind == KIND_NONE)
        return parser_bad(f, "an unknown type", p->buf + p->at, p->len - p->at);
    rc = parser_line(p, &line, f);
    if (rc != BECK_OK)
        return rc;
    if (p->at - p->start > p->max_bytes)
        return fail_set(f, BECK_ERR_TOO_BIG, "a reply is larger than %zu bytes", p->max_bytes);
    if (kind == KIND_SIZED)
        return parser_sized(p, first, line, step, f);
    return parser_scalar(p, first, line, f);
}

/* Counts a value that is complete, and closes the aggregates that it completes. True if the
 * outermost value is complete. */
static bool parser_close(struct parser *p)
{
    while (p->depth > 0) {
        struct parser_level *top = &p->levels[p->depth - 1];
        assert(top->left >= 1); /* P2 */
        if (--top->left > 0)
            return false;
        p->depth--;
        if (top->attribute) {
            p->n_nodes = top->node;
            return false;
        }
        p->nodes[top->node].span = (uint32_t)(p->n_nodes - top->node);
    }
    return true;
}

/* Positions become pointers, line ends zeros. */
static void parser_settle(struct parser *p)
{
    char *base = p->buf + p->start;

    for (size_t i = 0; i < p->n_nodes; i++) {
        struct beck_reply *r = &p->nodes[i];
        switch (r->type) {
        case BECK_REPLY_STATUS:
        case BECK_REPLY_ERROR:
        case BECK_REPLY_STRING:
        case BECK_REPLY_DOUBLE:
        case BECK_REPLY_BIGNUM:
        case BECK_REPLY_VERBATIM: base[r->pos + r->n] = '\0'; r->p = base + r->pos;
        }
    }
}

/* All bytes are used up: begin at the buffer's front again. */
static void parser_rewind(struct parser *p)
{
    p->start = p->at = p->len = 0;
    if (p->cap <= PARSER_CAP_KEPT)
        return;
    free(p->buf);
    p->buf = NULL;
    p->cap = 0;
    free(p->nodes);
    p->nodes = NULL;
    p->cap_nodes = 0;
}

int parser_next(struct parser *p, const struct beck_reply **out, struct fail *f)
{
    enum parser_step step;
    int rc;

    if (p->given || p->old != NULL) {
        free(p->old);
        p->old = NULL;
        p->given = false;
        p->n_nodes = 0;
        p->start = p->at;
    }
    if (p->start == p->len)
        parser_rewind(p);
    for (;;) {
        rc = parser_step(p, &step, f);
        if (rc != BECK_OK)
            return rc;
        if (step == STEP_VALUE && parser_close(p))
            break;
    }
    assert(p->start <= p->at && p->at <= p->len && p->len <= p->cap); /* P1 */
    parser_settle(p);
    p->given = true;
    *out = p->nodes;
    return BECK_OK;
}
