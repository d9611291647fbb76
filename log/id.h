/* id.h - the ID of a stream's entry, <ms>-<seq>: ordered, as text, as two varints. */
#ifndef LOG_ID_H
#define LOG_ID_H
#include "log/bytes.h"

struct id {
    uint64_t ms;
    uint64_t seq;
};

enum { ID_TEXT_MAX = 42 }; /* bytes of "<ms>-<seq>" with its final zero, at most */

static const struct id ID_MIN = { 0, 0 };
static const struct id ID_MAX = { UINT64_MAX, UINT64_MAX };

static inline int id_cmp(struct id a, struct id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

/* The next larger (smaller) ID. False, with *id unchanged, if it is the largest (smallest). */
bool id_next(struct id *id);
bool id_prev(struct id *id);

/* Writes "<ms>-<seq>" without a final zero into ID_TEXT_MAX bytes; returns its length. */
size_t id_format(struct id id, char *out);

static inline size_t id_size(struct id id)
{
    return varint_size(id.ms) + varint_size(id.seq);
}

static inline uint8_t *id_put(uint8_t *p, struct id id)
{
    return varint_put(varint_put(p, id.ms), id.seq);
}

static inline bool id_get(const uint8_t **p, const uint8_t *end, struct id *out)
{
    const uint8_t *at = *p;
    struct id id;

    if (!varint_get(&at, end, &id.ms) || !varint_get(&at, end, &id.seq))
        return false;
    *p = at;
    *out = id;
    return true;
}

/* Reads decimal digits only ("0", "17"; no sign, no blank) of at most UINT64_MAX. */
bool id_parse_u64(struct slice text, uint64_t *out);

#endif
