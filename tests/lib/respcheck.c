/* respcheck.c - see respcheck.h. What a parse has found is folded into a `trace`: two traces are equal if the
 * requests, their arguments and the end are. */
#include "tests/lib/respcheck.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/net/resp.h"

enum { RESPCHECK_MAX_BULK = 1 << 20, RESPCHECK_MEMORY_FACTOR = 16, RESPCHECK_MEMORY_BASE = 1024 };

struct respcheck {
    struct resp_args args;
    uint64_t n_requests, n_errors;
};

struct respcheck_trace {
    uint64_t hash;
    uint64_t n_requests;
    size_t consumed;
    enum resp_result end;
    char error[RESP_ERROR_MAX];
    const char *broken; /* a claim that failed */
};

struct respcheck *respcheck_new(void)
{
    struct respcheck *c = calloc(1, sizeof *c);
    struct err e;

    if (c == NULL || resp_args_init(&c->args, &e) != OK) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return c;
}

void respcheck_free(struct respcheck *c)
{
    resp_args_fini(&c->args);
    free(c);
}

uint64_t respcheck_requests(const struct respcheck *c)
{
    return c->n_requests;
}

uint64_t respcheck_errors(const struct respcheck *c)
{
    return c->n_errors;
}

static uint64_t respcheck_mix(uint64_t h, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
}

static void respcheck_note(struct respcheck_trace *t, const struct resp_request *r,
                           const uint8_t *p, size_t left)
{
    if (r->size == 0 || r->size > left)
        t->broken = "a request takes at least one byte, and none that is not there";
    for (size_t i = 0; i < r->argc && t->broken == NULL; i++) {
        const struct slice *a = &r->argv[i];
        if (a->n > r->size || a->p < p || a->p > p + r->size - a->n)
            t->broken = "an argument lies within its request";
        else
            t->hash = respcheck_mix(t->hash, a->p, a->n);
    }
    t->hash = (t->hash ^ r->argc) * UINT64_C(0x9e3779b97f4a7c15);
    t->consumed += r->size;
    t->n_requests++;
}

/* Parses as many requests as [p, p + n) holds; returns how many bytes they took. */
static size_t respcheck_parse(struct respcheck *c, struct resp *r, bool authenticated, uint8_t *p,
                              size_t n, struct respcheck_trace *t)
{
    struct resp_request request;
    size_t at = 0;

    for (;;) {
        t->end =
            resp_parse(r, &c->args, RESPCHECK_MAX_BULK, authenticated, p + at, p + n, &request);
        if (t->end == RESP_ERROR)
            memcpy(t->error, request.error, sizeof t->error);
        if (t->end != RESP_REQUEST)
            return at;
        respcheck_note(t, &request, p + at, n - at);
        if (t->broken != NULL)
            return at;
        at += request.size;
    }
}

static void respcheck_whole(struct respcheck *c, const uint8_t *p, size_t n, bool authenticated,
                            struct respcheck_trace *t)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    struct resp r;

    if (n > 0)
        memcpy(copy, p, n);
    resp_init(&r);
    respcheck_parse(c, &r, authenticated, copy, n, t);
    resp_fini(&r);
    free(copy);
}

/* The same bytes in pieces: what a parse leaves over moves to fresh memory, with the next piece behind it. */
static void respcheck_pieces(struct respcheck *c, const uint8_t *p, size_t n, bool authenticated,
                             uint64_t seed, struct respcheck_trace *t)
{
    size_t kept = 0, given = 0, taken;
    uint8_t *rest = NULL;
    struct resp r;

    resp_init(&r);
    t->end = RESP_MORE;
    while (given < n && t->end == RESP_MORE && t->broken == NULL) {
        size_t piece = 1 + (seed >> 33) % (seed & 1 ? 3 : 40);
        uint8_t *all;

        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if (piece > n - given)
            piece = n - given;
        all = malloc(kept + piece);
        if (kept > 0)
            memcpy(all, rest, kept);
        memcpy(all + kept, p + given, piece);
        free(rest);
        rest = all;
        kept += piece;
        given += piece;
        taken = respcheck_parse(c, &r, authenticated, rest, kept, t);
        kept -= taken;
        memmove(rest, rest + taken, kept);
        if (resp_memory(&r) > given * RESPCHECK_MEMORY_FACTOR + RESPCHECK_MEMORY_BASE)
            t->broken = "memory is bounded by the bytes given";
    }
    resp_fini(&r);
    free(rest);
}

static const char *respcheck_compare(const struct respcheck_trace *a,
                                     const struct respcheck_trace *b)
{
    if (a->broken != NULL)
        return a->broken;
    if (b->broken != NULL)
        return b->broken;
    if (a->end != b->end || strcmp(a->error, b->error) != 0)
        return "whole and in pieces the input ends the same way";
    if (a->n_requests != b->n_requests || a->hash != b->hash)
        return "whole and in pieces there are the same requests";
    if (a->consumed != b->consumed)
        return "whole and in pieces the same bytes are taken";
    return NULL;
}

const char *respcheck_run(struct respcheck *c, const uint8_t *p, size_t n, uint64_t seed)
{
    bool authenticated = (seed >> 7) % 8 != 0;
    struct respcheck_trace whole = { 0 }, pieces = { 0 };

    respcheck_whole(c, p, n, authenticated, &whole);
    respcheck_pieces(c, p, n, authenticated, seed, &pieces);
    c->n_requests += whole.n_requests;
    c->n_errors += whole.end == RESP_ERROR;
    if (n > RESP_LINE_MAX && whole.broken == NULL && pieces.broken == NULL)
        return NULL; /* when a line is found to be too long depends on how much of it is there */
    return respcheck_compare(&whole, &pieces);
}
