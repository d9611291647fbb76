/* splitter.h - takes rows apart: IDs, lists of field names that they have in common (schemas), and values field by
 * field. What it hands out points into the rows, and is valid until the next call. */
#ifndef LOG_SPLITTER_H
#define LOG_SPLITTER_H
#include "log/block.h"

enum {
    SPLITTER_SCHEMAS_MAX = 16,
    SPLITTER_FIELDS_MAX = 1024, /* of all schemas */
};

struct splitter_schema {
    size_t first, n; /* of splitter.names */
    size_t n_rows;
};

struct splitter {
    struct slice names[SPLITTER_FIELDS_MAX]; /* each with its length in front, as in the rows */
    size_t n_names;
    struct splitter_schema schemas[SPLITTER_SCHEMAS_MAX];
    size_t n_schemas, schema; /* the last row's */

    size_t cap_rows;
    struct id *ids;       /* of each row */
    uint8_t *schema_of;   /* of each row */
    size_t *values_of;    /* of each row: where its values begin */
    uint32_t *order;      /* row numbers by schema, in order within each */
    struct slice *column; /* what splitter_column returns */
    struct slice *values; /* of all rows */
    size_t n_values, cap_values;
};

/* Zeros are an empty splitter. */
void splitter_fini(struct splitter *s);
/* Gives back what is larger than `bytes`. */
void splitter_shrink(struct splitter *s, size_t bytes);

/* *fits: whether IDs, names and values are all there is to these rows, so that they can be made again byte for
 * byte, and there are not too many names. Errors: ERR_NOMEM. */
must_check int splitter_split(struct splitter *s, const struct block_row *rows, size_t n,
                              bool *fits, struct err *e);

/* The values of a schema's field, one for each of its rows. */
const struct slice *splitter_column(struct splitter *s, size_t schema, size_t field);

#endif
