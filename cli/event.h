/* event.h - one entry of a stream as a reply holds it, and how it is printed. */
#ifndef CLI_EVENT_H
#define CLI_EVENT_H
#include <stdbool.h>

#include "cli/text.h"

enum { EVENT_ID_MAX = 44 }; /* bytes of an ID with its zero: two numbers of 20 digits, a hyphen */

struct event {
    struct beck_slice id;
    const struct beck_reply *fields; /* name, value, name, value, ...; NULL: gone from the stream */
};

/* How `event_put` prints. */
struct event_style {
    bool json;         /* an object as `produce` reads it; else the ID and name=value */
    bool with_id;      /* the ID too: with `json` as the field _id; with `field` in front */
    const char *field; /* the bytes of this field alone; NULL: all fields */
};

/* Reads [id, [name, value, ...]] (or [id, nil], and what XREADGROUP CLAIM puts behind), borrowed
 * from the reply. False if it is no entry. */
bool event_get(const struct beck_reply *r, struct event *out);

/* Bytes of all names and values of an entry. */
uint64_t event_bytes(const struct event *event);

/* Adds the entry as a line; nothing if it lacks the one field that is wanted. It is not gone. */
void event_put(struct text *t, const struct event *event, const struct event_style *style);

/* Adds `n` names and values from `at` on as a JSON object, and as " name=value" of each. */
void event_put_json_fields(struct text *t, const struct beck_reply *at, size_t n);
void event_put_readable_fields(struct text *t, const struct beck_reply *at, size_t n);

#endif
