/*
 * log_values.c - values and their changes in `beck log dump`.
 *
 * A change is an entry, whose pairs have a meaning by their place: { op, db } and key, numbers, strings. What the numbers and strings of
 * an operation are is said in docs/format.md; here they are printed as they are.
 */
#include "cli/log_values.h"
#include <inttypes.h>

#include "cli/log_fields.h"
#include "cli/json.h"
#include "log/bytes.h"

enum { /* of docs/format.md */
       VALUE_STRING = 2,
       VALUE_HASH = 3,
       VALUE_LIST = 4,
       VALUE_BACKED = 1,
       VALUE_BACK = 2,
       VALUE_EXPIRES = 4,
       VALUE_STALE = 8,
       VALUE_WHOLE = 16,
       VALUE_FLAGS = 31
};

static const char *log_values_op(uint8_t op)
{
    static const char *const names[] = { NULL,     "set",   "image",  "put",   "remove",
                                         "expel",  "patch", "ttl",    "fttl",  "del",
                                         "expire", "evict", "rename", "flush", "swap" };
    return op < sizeof names / sizeof names[0] ? names[op] : NULL;
}

static const char *log_values_type(unsigned type)
{
    return type == VALUE_STRING ? "string"
           : type == VALUE_HASH ? "hash"
           : type == VALUE_LIST ? "list"
                                : NULL;
}

static struct slice log_values_take(struct fields *f)
{
    struct slice s = { NULL, 0 };

    f->sound = f->sound && slice_get(&f->p, f->end, &s);
    return s;
}

static void log_values_bytes(struct fields *f, struct slice s)
{
    json_put_bytes(f->t, beck_bytes((const char *)s.p, s.n));
}

/* ---- changes ---- */

/* Varints, as an array of numbers. */
static void log_values_meta(struct fields *f, struct slice meta)
{
    struct fields in = { f->t, meta.p, meta.p + meta.n, f->sound, false };

    fields_name(f, "meta");
    text_put_char(f->t, '[');
    while (in.sound && in.p < in.end) {
        text_put_str(f->t, in.p > meta.p ? "," : "");
        text_put_u64(f->t, fields_u64(&in));
    }
    text_put_char(f->t, ']');
    f->sound = in.sound;
}

/* The pairs behind the first one: numbers, then strings. */
static void log_values_rest(struct fields *f, uint64_t n)
{
    for (uint64_t i = 0; f->sound && i < n; i++) {
        struct slice name = log_values_take(f), value = log_values_take(f);

        f->sound = f->sound && name.n == 0;
        if (i == 0) {
            log_values_meta(f, value);
            continue;
        }
        text_put_str(f->t, i == 1 ? ",\"strings\":[" : ",");
        log_values_bytes(f, value);
    }
    text_put_str(f->t, n > 1 ? "]" : "");
}

bool log_values_put_change(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t n = fields_u64(&f);
    struct slice head = log_values_take(&f);

    if (!f.sound || n == 0 || head.n != 2 || log_values_op(head.p[0]) == NULL)
        return false;
    fields_name(&f, "op");
    text_printf(t, "\"%s\"", log_values_op(head.p[0]));
    fields_name(&f, "db");
    text_put_u64(t, head.p[1]);
    fields_string(&f, "key");
    log_values_rest(&f, n - 1);
    return fields_end(&f, p);
}

bool log_values_put_view(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t made = fields_u64(&f);

    f.sound = f.sound && made <= 1;
    if (made == 0) {
        fields_number(&f, "gone");
        return fields_end(&f, p);
    }
    fields_number(&f, "db");
    fields_string(&f, "name");
    fields_number(&f, "values");
    fields_string(&f, "prefix");
    return fields_end(&f, p);
}

/* ---- items of checkpoints ---- */

static uint8_t log_values_u8(struct fields *f)
{
    f->sound = f->sound && f->p < f->end;
    return f->sound ? *f->p++ : 0;
}

/* Type and database, in a byte; returns the type. */
static unsigned log_values_which(struct fields *f)
{
    uint8_t which = log_values_u8(f);
    const char *type = log_values_type(which & 15);

    f->sound = f->sound && type != NULL;
    fields_name(f, "type");
    text_printf(f->t, "\"%s\"", type == NULL ? "" : type);
    fields_name(f, "db");
    text_put_u64(f->t, which >> 4);
    return which & 15;
}

bool log_values_put_value(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    unsigned flags;

    log_values_which(&f);
    flags = log_values_u8(&f);
    f.sound = f.sound && flags <= VALUE_FLAGS;
    fields_string(&f, "key");
    fields_number(&f, "rev");
    if (flags & VALUE_BACK)
        fields_number(&f, "backed-by");
    if (flags & VALUE_EXPIRES)
        fields_number(&f, "expiry-ms");
    if (flags & VALUE_STALE)
        fields_number(&f, "stale-ms");
    if (flags & VALUE_BACKED)
        fields_number(&f, "size");
    if (flags & VALUE_WHOLE)
        fields_string(&f, "contents");
    return fields_end(&f, p);
}

static void log_values_element(struct fields *f, unsigned type)
{
    uint64_t zigzag;

    if (type == VALUE_HASH) {
        fields_string(f, "field");
        fields_string(f, "value");
        fields_number(f, "expiry-ms");
        return;
    }
    if (type == VALUE_STRING) {
        fields_number(f, "offset");
    } else {
        zigzag = fields_u64(f);
        fields_name(f, "position");
        text_printf(f->t, "%" PRId64, (int64_t)(zigzag >> 1 ^ (0 - (zigzag & 1))));
    }
    fields_string(f, "value");
}

bool log_values_put_piece(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    unsigned type = log_values_which(&f);
    bool first = true;

    fields_string(&f, "key");
    fields_name(&f, "elements");
    text_put_char(t, '[');
    while (f.sound && log_values_u8(&f) == 1) {
        text_put_str(t, first ? "" : ",");
        first = f.any = false;
        log_values_element(&f, type);
        text_put_char(t, '}');
    }
    text_put_char(t, ']');
    f.any = true;
    return fields_end(&f, p);
}

static void log_values_mark(struct fields *f)
{
    fields_id(f, "id");
    fields_number(f, "changes-before");
    fields_number(f, "bytes-before");
}

static void log_values_point(struct fields *f)
{
    fields_id(f, "last-id");
    fields_number(f, "entries-before");
}

/* An array of objects. */
static void log_values_array(struct fields *f, const char *name, uint64_t n,
                             void (*item)(struct fields *f))
{
    fields_name(f, name);
    text_put_char(f->t, '[');
    for (uint64_t i = 0; f->sound && i < n; i++) {
        text_put_str(f->t, i > 0 ? "," : "");
        f->any = false;
        item(f);
        text_put_char(f->t, '}');
    }
    text_put_char(f->t, ']');
    f->any = true;
}

static void log_values_saved_view(struct fields *f, uint64_t n_marks)
{
    f->any = false;
    fields_number(f, "oid");
    fields_number(f, "db");
    fields_string(f, "name");
    fields_number(f, "values");
    fields_string(f, "prefix");
    fields_id(f, "start");
    fields_id(f, "last-id");
    fields_number(f, "entries");
    log_values_array(f, "points", n_marks, log_values_point);
    text_put_char(f->t, '}');
}

bool log_values_put_history(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t n_marks, n_views;

    fields_number(&f, "spacing");
    fields_number(&f, "changes");
    fields_number(&f, "bytes");
    fields_id(&f, "last-id");
    n_marks = fields_u64(&f);
    log_values_array(&f, "marks", n_marks, log_values_mark);
    n_views = fields_u64(&f);
    fields_name(&f, "views");
    text_put_char(t, '[');
    for (uint64_t i = 0; f.sound && i < n_views; i++) {
        text_put_str(t, i > 0 ? "," : "");
        log_values_saved_view(&f, n_marks);
    }
    text_put_char(t, ']');
    f.any = true;
    return fields_end(&f, p);
}
