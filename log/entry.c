/* entry.c - see entry.h. */
#include "log/entry.h"

/* Nearly every string is shorter than 128 bytes, so its length is one byte: that case comes first. */
static inline size_t entry_length_size(size_t n)
{
    return n < 0x80 ? 1 : varint_size(n);
}

static inline uint8_t *entry_put_length(uint8_t *p, size_t n)
{
    if (n >= 0x80)
        return varint_put(p, n);
    *p = (uint8_t)n;
    return p + 1;
}

size_t entry_size(struct id id, const struct slice *strings, size_t n_strings)
{
    size_t n = id_size(id) + entry_length_size(n_strings / 2);

    for (size_t i = 0; i < n_strings; i++)
        n += entry_length_size(strings[i].n) + strings[i].n;
    return n;
}

uint8_t *entry_put(uint8_t *p, struct id id, const struct slice *strings, size_t n_strings)
{
    p = entry_put_length(id_put(p, id), n_strings / 2);
    for (size_t i = 0; i < n_strings; i++) {
        p = entry_put_length(p, strings[i].n);
        bytes_copy(p, strings[i].p, strings[i].n);
        p += strings[i].n;
    }
    return p;
}

bool entry_check(const uint8_t *p, const uint8_t *end, struct id *out)
{
    struct slice s;
    uint64_t n;
    struct id id;

    if (!id_get(&p, end, &id) || !varint_get(&p, end, &n) || n > (uint64_t)(end - p) / 2)
        return false;
    for (uint64_t i = 0; i < 2 * n; i++)
        if (!slice_get(&p, end, &s))
            return false;
    if (p != end)
        return false;
    *out = id;
    return true;
}

const uint8_t *entry_end(const uint8_t *entry)
{
    struct id id;
    struct slice s;
    uint64_t n;
    const uint8_t *p = entry_varint(entry_id(entry, &id), &n);

    for (uint64_t i = 0; i < 2 * n; i++)
        p = entry_str(p, &s);
    return p;
}
