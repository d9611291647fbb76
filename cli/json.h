/* json.h - JSON as events of a stream: lines to fields and back, every value exactly (json.c). */
#ifndef CLI_JSON_H
#define CLI_JSON_H
#include "cli/text.h"

enum {
    JSON_DEPTH_MAX = 512,     /* arrays and objects within each other in one value */
    JSON_FIELDS_MAX = 1 << 20 /* of one event */
};

/* The fields of an event: name, value, name, value, ... at slices[first .. first + 2 * n_fields).
 * The slots before `first` are the caller's, for the words of the command. */
struct json_event {
    struct beck_slice *slices;
    size_t first, n_fields, cap;
    char *scratch; /* what could not stay in the line */
    size_t scratch_n, scratch_cap;
    size_t *order; /* for finding repeated names */
    size_t order_cap;
    const char *error; /* what is wrong with the line */
    size_t error_at;   /* at which byte, from 1; 0 if at none */
};

/* Leaves `first` slots free in front of the fields. */
void json_event_init(struct json_event *ev, size_t first);
void json_event_fini(struct json_event *ev);

/* Reads one object of n bytes. The fields are borrowed from the line and from `ev`, until the next
 * call. False with ev->error if the line is not an object with fields of different names. */
bool json_event_parse(struct json_event *ev, const char *line, size_t n);

/* Whether the n bytes are one JSON text (RFC 8259), blanks around it allowed. */
bool json_is_text(const char *p, size_t n);

bool json_is_utf8(const char *p, size_t n);

/* Adds a field's name or value as `consume --json` prints it. */
void json_put_name(struct text *t, struct beck_slice name);
void json_put_value(struct text *t, struct beck_slice value);

/* Adds bytes as a JSON string, or as {"base64":"..."} if they are not UTF-8. */
void json_put_bytes(struct text *t, struct beck_slice bytes);

#endif
