/* log_fields.h - bytes of a store as a JSON object: `beck log dump`.
 *
 * A `struct fields` reads one value after the other and prints each under its name, until one does not fit; what follows that prints
 * nothing of sense, and the caller takes all of it back. */
#ifndef CLI_LOG_FIELDS_H
#define CLI_LOG_FIELDS_H
#include <stdbool.h>
#include <stdint.h>
#include "cli/text.h"

struct fields {
    struct text *t;
    const uint8_t *p, *end;
    bool sound, any;
};

struct fields fields_of(struct text *t, const uint8_t *const *p, const uint8_t *end);
/* Ends an object that has begun with its first name; false if something did not fit. *p is moved behind it. */
bool fields_end(const struct fields *f, const uint8_t **p);

void fields_name(struct fields *f, const char *name); /* the value is the caller's to print */
uint64_t fields_u64(struct fields *f);                /* read only; 0 if there is none */
uint64_t fields_number(struct fields *f, const char *name);
/* A number that is saved as one more, with 0 for none. */
void fields_number_or_null(struct fields *f, const char *name);
void fields_numbers(struct fields *f, const char *name, uint64_t n);
void fields_string(struct fields *f, const char *name);
void fields_id(struct fields *f, const char *name);

#endif
