/* log_values.h - what records and checkpoints say of values and their changes, as JSON: `beck log dump`.
 *
 * Each reads a value at *p and moves *p behind it; false if there is none. The bytes are those of docs/format.md. */
#ifndef CLI_LOG_VALUES_H
#define CLI_LOG_VALUES_H
#include <stdbool.h>
#include <stdint.h>
#include "cli/text.h"

/* A change, behind the ID of its entry; a view of changes. */
bool log_values_put_change(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_values_put_view(struct text *t, const uint8_t **p, const uint8_t *end);
/* Of checkpoints. */
bool log_values_put_value(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_values_put_piece(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_values_put_history(struct text *t, const uint8_t **p, const uint8_t *end);

#endif
