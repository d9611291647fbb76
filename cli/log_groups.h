/* log_groups.h - what records and checkpoints say of consumer groups, as JSON: `beck log dump`.
 *
 * Each reads a value at *p and moves *p behind it; false if there is none. The bytes are those of docs/format.md. */
#ifndef CLI_LOG_GROUPS_H
#define CLI_LOG_GROUPS_H
#include <stdbool.h>
#include <stdint.h>
#include "cli/text.h"

bool log_groups_put_ids(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_position(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_options(struct text *t, const uint8_t **p, const uint8_t *end);
/* When what a consumer held is handed back, or null. */
bool log_groups_put_back(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_delivery(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_change(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_consumers(struct text *t, const uint8_t **p, const uint8_t *end);
bool log_groups_put_pending(struct text *t, const uint8_t **p, const uint8_t *end);

#endif
