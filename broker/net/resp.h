/* resp.h - splits what a client sends into requests: arrays of bulk strings, or inline commands.
 *
 * The parser works in place, in memory that its caller owns: arguments are slices of the input, valid until
 * that memory changes. A request is given out only when it is whole. What is there of one that is not
 * is remembered, so that nothing is parsed twice however the bytes arrive. */
#ifndef BROKER_NET_RESP_H
#define BROKER_NET_RESP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

enum {
    RESP_LINE_MAX = 64 << 10,       /* bytes of an inline command, or of a length's digits */
    RESP_ARGS_MAX = INT32_MAX,      /* arguments of one request, announced */
    RESP_STRANGER_ARGS_MAX = 10,    /* the same before AUTH */
    RESP_STRANGER_BULK_MAX = 16384, /* bytes of an argument before AUTH */
    RESP_ERROR_MAX = 80
};

enum resp_result {
    RESP_MORE, /* the request is not whole yet: come back with the same bytes and more behind them */
    RESP_REQUEST, /* `out` is filled; argc is 0 for an empty line and the like */
    RESP_ERROR, /* the peer broke the protocol: out->error says how. Nothing further can be parsed. */
    RESP_NOMEM
};

struct resp_args { /* room for arguments, grown as they arrive */
    struct slice *v;
    size_t cap;
};

/* Progress within one request. */
struct resp {
    struct resp_args own; /* arguments so far of a request that is not whole; v NULL otherwise */
    size_t argc;
    int64_t n_left;      /* arguments still to come, the current one included; 0: no array begun */
    int64_t bulk;        /* length of the current argument; -1: not known yet */
    size_t pos;          /* understood up to here, from the request's first byte */
    const uint8_t *base; /* where that byte lay in the last call */
};

struct resp_request {
    const struct slice *argv; /* valid until the next resp_parse with the same `shared` */
    size_t argc;
    size_t size; /* bytes that it took */
    bool is_inline;
    char error[RESP_ERROR_MAX]; /* Redis's text, without the leading "-ERR " */
};

/* Makes room for the arguments of ordinary requests. Errors: ERR_NOMEM. */
must_check int resp_args_init(struct resp_args *a, struct err *e);
void resp_args_fini(struct resp_args *a);

/* Gives back what an extraordinary request took; no slice of it is used any more. */
void resp_args_trim(struct resp_args *a);

void resp_init(struct resp *r);
void resp_fini(struct resp *r);

/* Parses one request that begins at p. After RESP_MORE the caller keeps the bytes [p, end) together, here
 * or elsewhere, and calls again with their first byte as p; after RESP_REQUEST the next one begins out->size
 * further. Inline commands are unquoted where they lie, so the bytes of a request change.
 *
 *   shared         initialised by resp_args_init; any number of parsers of one thread use the same
 *   max_bulk       proto-max-bulk-len
 *   authenticated  false: the narrow limits of RESP_STRANGER_* hold
 */
enum resp_result resp_parse(struct resp *r, struct resp_args *shared, uint64_t max_bulk,
                            bool authenticated, uint8_t *p, uint8_t *end, struct resp_request *out);

/* After RESP_MORE: how many bytes from the request's first one are needed at least before anything further
 * can be understood, if that is known because an argument's length is; else 0. Comes from the peer. */
static inline uint64_t resp_need(const struct resp *r)
{
    return r->n_left > 0 && r->bulk >= 0 ? r->pos + (uint64_t)r->bulk + 2 : 0;
}

/* Bytes of memory that a partial request holds besides the input. */
static inline size_t resp_memory(const struct resp *r)
{
    return r->own.cap * sizeof(struct slice);
}

#endif
