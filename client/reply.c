/*
 * reply.c - looking at a reply that parser.c has made: the functions of beck.h around struct
 * beck_reply.
 *
 * A reply is a pointer into the parser's array of nodes. Children follow their parent, and the next
 * sibling is `span` nodes further on.
 */
#include "client/parser.h"

enum beck_reply_type beck_reply_type(const struct beck_reply *r)
{
    return (enum beck_reply_type)r->type;
}

struct beck_slice beck_reply_string(const struct beck_reply *r)
{
    switch (r->type) {
    case BECK_REPLY_STATUS:
    case BECK_REPLY_ERROR:
    case BECK_REPLY_STRING:
    case BECK_REPLY_DOUBLE:
    case BECK_REPLY_BIGNUM:
    case BECK_REPLY_VERBATIM: return beck_bytes(r->p, r->n);
    default: return beck_bytes("", 0);
    }
}

int64_t beck_reply_integer(const struct beck_reply *r)
{
    return r->type == BECK_REPLY_INTEGER || r->type == BECK_REPLY_BOOL ? r->value : 0;
}

size_t beck_reply_count(const struct beck_reply *r)
{
    return r->count;
}

const struct beck_reply *beck_reply_first(const struct beck_reply *r)
{
    return r->count > 0 ? r + 1 : NULL;
}

const struct beck_reply *beck_reply_next(const struct beck_reply *element)
{
    return element + element->span;
}

const struct beck_reply *beck_reply_at(const struct beck_reply *r, size_t i)
{
    const struct beck_reply *at = r + 1;

    if (i >= r->count)
        return NULL;
    for (; i > 0; i--)
        at = beck_reply_next(at);
    return at;
}

const struct beck_reply *beck_reply_get(const struct beck_reply *r, const char *key)
{
    const struct beck_reply *at = beck_reply_first(r);
    size_t n = strlen(key);

    for (size_t i = 0; i + 1 < r->count; i += 2) {
        const struct beck_reply *value = beck_reply_next(at);
        struct beck_slice name = beck_reply_string(at);
        if (name.n == n && memcmp(name.p, key, n) == 0)
            return value;
        at = beck_reply_next(value);
    }
    return NULL;
}
