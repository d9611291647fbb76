/* log_fields.c - see log_fields.h. */
#include "cli/log_fields.h"
#include <inttypes.h>

#include "cli/json.h"
#include "log/bytes.h"
#include "log/id.h"

void fields_name(struct fields *f, const char *name)
{
    text_printf(f->t, "%c\"%s\":", f->any ? ',' : '{', name);
    f->any = true;
}

uint64_t fields_u64(struct fields *f)
{
    uint64_t v = 0;

    f->sound = f->sound && varint_get(&f->p, f->end, &v);
    return f->sound ? v : 0;
}

uint64_t fields_number(struct fields *f, const char *name)
{
    uint64_t v = fields_u64(f);

    fields_name(f, name);
    text_put_u64(f->t, v);
    return v;
}

void fields_string(struct fields *f, const char *name)
{
    struct slice s = { NULL, 0 };

    f->sound = f->sound && slice_get(&f->p, f->end, &s);
    fields_name(f, name);
    json_put_bytes(f->t, beck_bytes((const char *)s.p, s.n));
}

void fields_number_or_null(struct fields *f, const char *name)
{
    uint64_t v = fields_u64(f);

    fields_name(f, name);
    if (v == 0)
        text_put_str(f->t, "null");
    else
        text_put_u64(f->t, v - 1);
}

void fields_id(struct fields *f, const char *name)
{
    struct id id = ID_MIN;

    f->sound = f->sound && id_get(&f->p, f->end, &id);
    fields_name(f, name);
    text_printf(f->t, "\"%" PRIu64 "-%" PRIu64 "\"", id.ms, id.seq);
}

void fields_numbers(struct fields *f, const char *name, uint64_t n)
{
    fields_name(f, name);
    text_put_char(f->t, '[');
    for (uint64_t i = 0; f->sound && i < n; i++) {
        text_put_str(f->t, i > 0 ? "," : "");
        text_put_u64(f->t, fields_u64(f));
    }
    text_put_char(f->t, ']');
}

struct fields fields_of(struct text *t, const uint8_t *const *p, const uint8_t *end)
{
    return (struct fields){ t, *p, end, true, false };
}

bool fields_end(const struct fields *f, const uint8_t **p)
{
    text_put_str(f->t, f->any ? "}" : "{}");
    *p = f->p;
    return f->sound;
}
