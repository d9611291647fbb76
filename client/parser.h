/* parser.h - RESP2 and RESP3 replies out of bytes as they come. No I/O; invariants: parser.c. */
#ifndef CLIENT_PARSER_H
#define CLIENT_PARSER_H
#include "client/fail.h"

enum {
    PARSER_DEPTH_MAX = 64,        /* aggregates within each other */
    PARSER_LINE_MAX = 64 << 10,   /* bytes of a line: a header, a status, an error */
    PARSER_ELEMENTS_MAX = 1 << 30 /* what max_elements may be */
};

/* One node of a reply. The nodes of a reply lie in one array, each parent before its children. */
struct beck_reply {
    uint8_t type;   /* enum beck_reply_type */
    uint32_t count; /* children */
    uint32_t span;  /* nodes of the subtree, itself included: the next sibling is at this + span */
    size_t n;       /* bytes of the text */
    union {
        size_t pos;    /* while parsing: where the text begins, from the reply's first byte */
        const char *p; /* when complete: the text, with a zero behind it */
        int64_t value; /* INTEGER, BOOL */
    };
};

struct parser_level {
    uint32_t node; /* of the aggregate; for attributes the place where their nodes begin */
    uint32_t left; /* elements to come */
    bool attribute;
};

struct parser {
    char *buf;
    size_t start, len, cap; /* bytes [start, len) are here; the current reply begins at start */
    size_t at;              /* parsed up to here */
    size_t scanned;         /* bytes behind `at` known to hold no line end */
    char *old;              /* the buffer of the reply given out last, if reading had to move on */
    bool given;             /* the reply [start, at) was given out and is still borrowed */
    struct beck_reply *nodes;
    size_t n_nodes, cap_nodes;
    struct parser_level levels[PARSER_DEPTH_MAX];
    unsigned depth;
    size_t max_bytes, max_elements;
};

/* max_bytes of one reply, max_elements (16..PARSER_ELEMENTS_MAX) in it. Allocates nothing yet. */
void parser_init(struct parser *p, size_t max_bytes, size_t max_elements);
void parser_fini(struct parser *p);

/* Forgets all bytes, for a new connection. */
void parser_reset(struct parser *p);

/* Where the next bytes go: *out with room for *n >= 1 of them. A reply given out stays valid.
 * Errors: BECK_ERR_NOMEM, BECK_ERR_TOO_BIG (more than max_bytes are waiting). */
BECK_MUST_CHECK int parser_room(struct parser *p, char **out, size_t *n, struct fail *f);

/* `n` bytes were put there. */
void parser_filled(struct parser *p, size_t n);

/* The next whole reply, borrowed until the next parser_next or parser_reset. Errors: BECK_ERR_AGAIN
 * (more bytes are needed), BECK_ERR_PROTO, BECK_ERR_TOO_BIG, BECK_ERR_NOMEM (the place in the bytes
 * is lost: only parser_reset helps). */
BECK_MUST_CHECK int parser_next(struct parser *p, const struct beck_reply **out, struct fail *f);

#endif
