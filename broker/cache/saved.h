/* saved.h - values as a checkpoint has them (engine/save.h), and back. Format: docs/format.md. */
#ifndef BROKER_CACHE_SAVED_H
#define BROKER_CACHE_SAVED_H
#include "broker/engine/state.h"

enum {
    SAVED_WHOLE_MAX = 16 << 10, /* bytes of contents that go with the value; more come in pieces */
    SAVED_PIECE = 64 << 10      /* bytes of a piece, about */
};

/* Adds a value to *out, but for the byte that says what it is, with contents of at most `whole` bytes. True if more of them are
 * to follow in pieces. */
bool saved_put_value(struct log_buffer *out, int db, struct object *o, size_t whole);

/* Where the next piece of a value's contents begins; zeroed: at its beginning. */
struct saved_place {
    uint64_t cursor; /* of a hash's scan, or of a string's bytes */
    int64_t pos;     /* of a list */
    bool begun;
};
/* Adds a piece of about so many bytes. False if that was the last one. */
bool saved_put_piece(struct log_buffer *out, int db, struct object *o, struct saved_place *at,
                     size_t bytes);

/* Names of the values that come next in a chunk: what finding them will touch is asked for beforehand, since waiting for memory is
 * most of what loading costs. Zeroed at the beginning of a chunk. */
enum { SAVED_AHEAD = 12 };
struct saved_ahead {
    const uint8_t *at; /* looked at up to here */
    struct {
        const struct dict *names;
        uint64_t hash;
    } keys[SAVED_AHEAD];
    unsigned first, n;
};
/* The value at p, whose first byte says that it is one (`kind`), is about to be loaded. */
void saved_look_ahead(struct state *s, struct saved_ahead *a, uint8_t kind, const uint8_t *p,
                      const uint8_t *end);

/* The value, or the piece, at *p, which is moved behind it; all of it is as of that record. Errors: ERR_CORRUPT, ERR_NOMEM. */
must_check int saved_load_value(struct state *s, uint64_t as_of, const uint8_t **p,
                                const uint8_t *end, struct err *e);
must_check int saved_load_piece(struct state *s, const uint8_t **p, const uint8_t *end,
                                struct err *e);

#endif
