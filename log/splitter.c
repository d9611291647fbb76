/*
 * splitter.c - rows into columns.
 *
 * Most rows have the fields of the row before, so that one's schema is tried first: comparing the names is
 * all that parsing takes. A row whose numbers are written longer than need be could not be made again from
 * what they say; then the rows do not fit.
 */
#include "log/splitter.h"
#include <stdlib.h>
#include "log/entry.h"

void splitter_fini(struct splitter *s)
{
    free(s->ids);
    free(s->schema_of);
    free(s->values_of);
    free(s->order);
    free(s->column);
    free(s->values);
}

void splitter_shrink(struct splitter *s, size_t bytes)
{
    if (s->cap_values * sizeof s->values[0] > bytes) {
        free(s->values);
        s->values = NULL;
        s->cap_values = 0;
    }
}

/* Room for n rows, forgetting those that are there; false if memory ran out. */
static bool splitter_rows(struct splitter *s, size_t n)
{
    struct slice *values = s->values;
    size_t cap_values = s->cap_values;

    if (n <= s->cap_rows)
        return true;
    s->values = NULL; /* it stays */
    splitter_fini(s);
    *s = (struct splitter){ .values = values, .cap_values = cap_values };
    s->ids = malloc(n * sizeof s->ids[0]);
    s->schema_of = malloc(n * sizeof s->schema_of[0]);
    s->values_of = malloc(n * sizeof s->values_of[0]);
    s->order = malloc(n * sizeof s->order[0]);
    s->column = malloc(n * sizeof s->column[0]);
    if (s->ids == NULL || s->schema_of == NULL || s->values_of == NULL || s->order == NULL ||
        s->column == NULL)
        return false;
    s->cap_rows = n;
    return true;
}

/* Room for n more values; false if memory ran out. */
static bool splitter_values(struct splitter *s, size_t n)
{
    size_t cap = 2 * s->cap_values + n + 1024;
    struct slice *p;

    if (n <= s->cap_values - s->n_values)
        return true;
    p = realloc(s->values, cap * sizeof p[0]);
    if (p == NULL)
        return false;
    s->values = p;
    s->cap_values = cap;
    return true;
}

/* Reads a varint of a checked entry; false if a shorter one would do. */
static inline bool splitter_varint(const uint8_t **p, uint64_t *out)
{
    const uint8_t *from = *p;

    *p = entry_varint(from, out);
    return *p - from == 1 || (*p)[-1] != 0;
}

/* Takes a row's values if its fields, which begin at p, are named as in the schema. */
static bool splitter_match(struct splitter *s, const struct splitter_schema *schema,
                           const uint8_t *p, const uint8_t *end)
{
    const struct slice *names = s->names + schema->first;
    struct slice *v = s->values + s->n_values;
    uint64_t len;

    for (size_t i = 0; i < schema->n; i++) {
        if (names[i].n >= (size_t)(end - p) || memcmp(p, names[i].p, names[i].n) != 0)
            return false;
        p += names[i].n;
        if (!splitter_varint(&p, &len))
            return false;
        v[i] = slice_of(p, (size_t)len);
        p += len;
    }
    return true;
}

/* A schema for the row whose n fields begin at p; false if that does not fit. */
static bool splitter_learn(struct splitter *s, const uint8_t *p, size_t n)
{
    if (s->n_schemas == SPLITTER_SCHEMAS_MAX || n > SPLITTER_FIELDS_MAX - s->n_names)
        return false;
    s->schemas[s->n_schemas] = (struct splitter_schema){ .first = s->n_names, .n = n };
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = p;
        uint64_t len;
        if (!splitter_varint(&p, &len))
            return false;
        p += len;
        s->names[s->n_names++] = slice_of(from, (size_t)(p - from));
        p = entry_varint(p, &len);
        p += len;
    }
    s->schema = s->n_schemas++;
    return true;
}

/* Finds the row's schema and takes its values; false if they do not fit. */
static bool splitter_fields(struct splitter *s, const uint8_t *p, const uint8_t *end, size_t n)
{
    for (size_t i = 0; i < s->n_schemas; i++) {
        size_t k = (s->schema + i) % s->n_schemas;
        if (s->schemas[k].n == n && splitter_match(s, &s->schemas[k], p, end)) {
            s->schema = k;
            return true;
        }
    }
    return splitter_learn(s, p, n) && splitter_match(s, &s->schemas[s->schema], p, end);
}

static void splitter_sort(struct splitter *s, size_t n)
{
    size_t at[SPLITTER_SCHEMAS_MAX], sum = 0;

    for (size_t i = 0; i < s->n_schemas; i++) {
        at[i] = sum;
        sum += s->schemas[i].n_rows;
    }
    for (size_t i = 0; i < n; i++)
        s->order[at[s->schema_of[i]]++] = (uint32_t)i;
}

int splitter_split(struct splitter *s, const struct block_row *rows, size_t n, bool *fits,
                   struct err *e)
{
    *fits = false;
    if (!splitter_rows(s, n))
        return err_set(e, ERR_NOMEM, "take rows apart");
    s->n_schemas = s->n_names = s->n_values = s->schema = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = rows[i].entry;
        uint64_t n_fields;
        if (!splitter_varint(&p, &s->ids[i].ms) || !splitter_varint(&p, &s->ids[i].seq) ||
            !splitter_varint(&p, &n_fields) || n_fields > SPLITTER_FIELDS_MAX)
            return OK;
        if (!splitter_values(s, (size_t)n_fields))
            return err_set(e, ERR_NOMEM, "take rows apart");
        if (!splitter_fields(s, p, rows[i].entry + rows[i].len, (size_t)n_fields))
            return OK;
        s->schema_of[i] = (uint8_t)s->schema;
        s->schemas[s->schema].n_rows++;
        s->values_of[i] = s->n_values;
        s->n_values += (size_t)n_fields;
    }
    splitter_sort(s, n);
    *fits = true;
    return OK;
}

const struct slice *splitter_column(struct splitter *s, size_t schema, size_t field)
{
    const uint32_t *rows = s->order;

    for (size_t i = 0; i < schema; i++)
        rows += s->schemas[i].n_rows;
    for (size_t i = 0; i < s->schemas[schema].n_rows; i++)
        s->column[i] = s->values[s->values_of[rows[i]] + field];
    return s->column;
}
