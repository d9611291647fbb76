/* fuzz_reply.c - any bytes as replies, in pieces whose size the first byte tells: no crash, no node
 * out of bounds, memory within the limits. */
#include <assert.h>

#include "client/parser.h"

enum { FUZZ_BYTES = 4096, FUZZ_ELEMENTS = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_check(const struct parser *p, const struct beck_reply *r)
{
    for (size_t i = 0; i < p->n_nodes; i++) {
        struct beck_slice s = beck_reply_string(&r[i]);
        assert(r[i].span >= 1 && r[i].span <= p->n_nodes - i);
        assert(s.p[s.n] == '\0');
    }
    assert(p->n_nodes <= FUZZ_ELEMENTS && r->span == p->n_nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct beck_reply *r;
    struct parser p;
    size_t piece = size > 0 ? 1 + data[0] % 32u : 1;
    int rc = BECK_ERR_AGAIN;

    parser_init(&p, FUZZ_BYTES, FUZZ_ELEMENTS);
    for (size_t at = 1; at < size && rc == BECK_ERR_AGAIN; at += piece) {
        char *room;
        size_t n, part = piece < size - at ? piece : size - at;
        if (parser_room(&p, &room, &n, NULL) != BECK_OK)
            break;
        part = part < n ? part : n;
        memcpy(room, data + at, part);
        parser_filled(&p, part);
        while ((rc = parser_next(&p, &r, NULL)) == BECK_OK)
            fuzz_check(&p, r);
    }
    parser_fini(&p);
    return 0;
}
