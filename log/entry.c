/* entry.c - see entry.h. */
#include "log/entry.h"

size_t entry_size(struct id id, const struct slice *strings, size_t n_strings)
{
    size_t n = id_size(id) + varint_size(n_strings / 2);

    for (size_t i = 0; i < n_strings; i++)
        n += slice_size(strings[i]);
    return n;
}

uint8_t *entry_put(uint8_t *p, struct id id, const struct slice *strings, size_t n_strings)
{
    p = varint_put(id_put(p, id), n_strings / 2);
    for (size_t i = 0; i < n_strings; i++)
        p = slice_put(p, strings[i]);
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
