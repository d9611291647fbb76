/* request.h - commands as bytes for the server: an array of strings each. No I/O. */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H
#include "client/fail.h"

enum { REQUEST_ARGS_MAX = 1 << 24 };

/* Encoded commands; bytes [at, len) are still to be sent. */
struct request {
    char *buf;
    size_t at, len, cap;
};

void request_init(struct request *r);
void request_fini(struct request *r);
void request_reset(struct request *r);

/* Adds a command of 1..REQUEST_ARGS_MAX arguments. Errors: BECK_ERR_NOMEM, BECK_ERR_TOO_BIG;
 * nothing was added then. */
BECK_MUST_CHECK int request_append(struct request *r, const struct beck_slice *args, size_t n,
                                   struct fail *f);

/* `n` bytes of [at, len) were sent. */
void request_sent(struct request *r, size_t n);

#endif
