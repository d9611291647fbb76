/* hashes.h - what the commands on hashes share: broker/commands/hashes*.c. */
#ifndef BROKER_COMMANDS_HASHES_H
#define BROKER_COMMANDS_HASHES_H
#include "broker/cache/cache.h"

/* Bytes of a record that a field takes beside its name and value, at most. */
enum { HASHES_FIELD_BYTES = 4 * VARINT_MAX };

/* The field as readers see it: false if it is not there, or its time has come. o may be NULL. */
bool hashes_find(const struct engine *e, const struct object *o, struct slice field,
                 struct hash_field *out);

/* How many fields readers see. */
size_t hashes_count(const struct engine *e, const struct object *o);

/* Elements for n fields, to be given to hashes_free_elements; NULL if memory ran out. `few` is used for so many. */
enum { HASHES_INLINE = 16 };
struct element *hashes_new_elements(struct element few[HASHES_INLINE], size_t n);
void hashes_free_elements(struct element few[HASHES_INLINE], struct element *elements);

/* For each of n elements which earlier one has the same field: its number, or SIZE_MAX. The caller frees it; NULL if memory ran
 * out. */
size_t *hashes_find_earlier(const struct element *elements, size_t n);

/* Of n elements keeps, at the front, those whose fields are there, each once; returns how many, SIZE_MAX if memory ran out. */
size_t hashes_pick(const struct engine *e, const struct object *o, struct element *elements,
                   size_t n);

/* Sets fields by a record; false after an error reply. *n_new: how many were not there for readers. */
bool hashes_put(struct engine *e, struct client *c, struct slice key, struct object *o,
                const struct element *elements, size_t n, const char *event, size_t *n_new);

/* Removes fields that are there, each named once, by a record; the key goes with the last. */
void hashes_remove(struct engine *e, struct client *c, struct slice key, struct object *o,
                   const struct element *elements, size_t n, const char *event);

/* FIELDS numfields field [field ...] from argv[at] on, to the end of the command. `what`: how a number that is none is called.
 * False after an error reply. */
struct hashes_fields {
    const struct slice *names;
    size_t n;
};
bool hashes_parse_fields(struct client *c, const struct slice *argv, size_t argc, size_t at,
                         const char *what, struct hashes_fields *out);

/* A time in units of unit_ms from base_ms on, for fields; false after an error reply. */
bool hashes_parse_expiry(struct client *c, const struct slice *argv, struct slice text,
                         int64_t unit_ms, uint64_t base_ms, uint64_t *out);

/* Several fields of a command in their order: what each is when its turn comes, since an earlier one may be the same. */
struct hashes_turn {
    struct slice value;
    uint64_t expiry_ms;
    bool there;
    bool changed; /* by it or an earlier one: it needs no second element in the record */
    int result;   /* the caller's */
};
struct hashes_turns {
    struct hashes_turn *turns;
    struct element *elements; /* those to be changed, gathered by hashes_change */
    size_t *earlier;
    size_t n, n_elements;
};
/* False after an error reply; hashes_turns_fini is to be called in any case. */
bool hashes_turns_init(struct client *c, const struct hashes_fields *fields,
                       struct hashes_turns *out);
void hashes_turns_fini(struct hashes_turns *t);
/* The i-th, which comes after all before it. */
struct hashes_turn *hashes_turn(const struct engine *e, const struct object *o,
                                const struct hashes_fields *fields, struct hashes_turns *t,
                                size_t i);
/* It becomes this. */
void hashes_change(struct hashes_turns *t, const struct hashes_fields *fields, size_t i, bool there,
                   uint64_t expiry_ms);

command_handler hashes_hincrby, hashes_hincrbyfloat, hashes_hscan, hashes_hrandfield;
command_handler hashes_hexpire, hashes_hpexpire, hashes_hexpireat, hashes_hpexpireat;
command_handler hashes_httl, hashes_hpttl, hashes_hexpiretime, hashes_hpexpiretime, hashes_hpersist;
command_handler hashes_hgetex, hashes_hsetex, hashes_hgetdel;

#endif
