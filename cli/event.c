/* event.c - see event.h. What comes from the server is looked at before anything believes it. */
#include "cli/event.h"

#include "cli/json.h"
#include "cli/print.h"

bool event_get(const struct beck_reply *r, struct event *out)
{
    const struct beck_reply *id, *fields;

    if (beck_reply_type(r) != BECK_REPLY_ARRAY || beck_reply_count(r) < 2)
        return false;
    id = beck_reply_first(r);
    fields = beck_reply_next(id);
    if (beck_reply_type(id) != BECK_REPLY_STRING || beck_reply_string(id).n >= EVENT_ID_MAX)
        return false;
    out->id = beck_reply_string(id);
    out->fields = NULL;
    if (beck_reply_type(fields) == BECK_REPLY_NIL)
        return true;
    out->fields = fields;
    return beck_reply_type(fields) == BECK_REPLY_ARRAY && beck_reply_count(fields) % 2 == 0;
}

uint64_t event_bytes(const struct event *event)
{
    const struct beck_reply *at = event->fields != NULL ? beck_reply_first(event->fields) : NULL;
    uint64_t bytes = 0;

    for (size_t n = at != NULL ? beck_reply_count(event->fields) : 0; n > 0; n--) {
        bytes += beck_reply_string(at).n;
        at = n > 1 ? beck_reply_next(at) : at;
    }
    return bytes;
}

/* Adds "name":value of each, with commas between them. */
static void event_put_members(struct text *t, const struct beck_reply *at, size_t n)
{
    for (; n > 0; n -= 2) {
        const struct beck_reply *value = beck_reply_next(at);
        json_put_name(t, beck_reply_string(at));
        text_put_char(t, ':');
        json_put_value(t, beck_reply_string(value));
        if (n > 2) {
            text_put_char(t, ',');
            at = beck_reply_next(value);
        }
    }
}

void event_put_json_fields(struct text *t, const struct beck_reply *at, size_t n)
{
    text_put_char(t, '{');
    event_put_members(t, at, n);
    text_put_char(t, '}');
}

void event_put_readable_fields(struct text *t, const struct beck_reply *at, size_t n)
{
    for (; n > 0; n -= 2) {
        const struct beck_reply *value = beck_reply_next(at);
        text_put_char(t, ' ');
        print_word(t, beck_reply_string(at));
        text_put_char(t, '=');
        print_word(t, beck_reply_string(value));
        at = n > 2 ? beck_reply_next(value) : at;
    }
}

/* One field's bytes as a line. */
static void event_put_field(struct text *t, const struct event *event,
                            const struct event_style *style)
{
    const struct beck_reply *value = beck_reply_get(event->fields, style->field);

    if (value == NULL)
        return;
    if (style->with_id) {
        text_put_slice(t, event->id);
        text_put_char(t, ' ');
    }
    text_put_slice(t, beck_reply_string(value));
    text_put_char(t, '\n');
}

static void event_put_json(struct text *t, const struct event *event, bool with_id)
{
    size_t n = beck_reply_count(event->fields);

    text_put_char(t, '{');
    if (with_id) {
        text_put_str(t, "\"_id\":\"");
        text_put_slice(t, event->id);
        text_put_str(t, n > 0 ? "\"," : "\"");
    }
    event_put_members(t, beck_reply_first(event->fields), n);
    text_put(t, "}\n", 2);
}

void event_put(struct text *t, const struct event *event, const struct event_style *style)
{
    if (style->field != NULL) {
        event_put_field(t, event, style);
    } else if (style->json) {
        event_put_json(t, event, style->with_id);
    } else {
        text_put_slice(t, event->id);
        event_put_readable_fields(t, beck_reply_first(event->fields),
                                  beck_reply_count(event->fields));
        text_put_char(t, '\n');
    }
}
