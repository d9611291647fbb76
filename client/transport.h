/* transport.h - a non-blocking socket with deadlines: connect, send, receive, wait. */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H
#include "client/fail.h"

struct beck_conf;

enum { TRANSPORT_FOREVER = -1 };

/* Now on the monotonic clock, in milliseconds. */
int64_t transport_now_ms(void);

/* The moment timeout_ms from now; TRANSPORT_FOREVER for 0. */
int64_t transport_deadline(uint64_t timeout_ms);

/* Waits until `fd` is ready for one of `events` (POLLIN, POLLOUT); *out holds what it is ready for.
 * Errors: BECK_ERR_TIMEOUT (deadline_ms passed), BECK_ERR_INTERRUPTED (wakeup_fd, if not -1, is
 * readable), BECK_ERR_IO. */
BECK_MUST_CHECK int transport_wait(int fd, int wakeup_fd, short events, int64_t deadline_ms,
                                   short *out, struct fail *f);

/* Connects to where `conf` says.
 * Errors: BECK_ERR_CONNECT, BECK_ERR_TIMEOUT, BECK_ERR_INTERRUPTED. */
BECK_MUST_CHECK int transport_connect(const struct beck_conf *conf, int wakeup_fd,
                                      int64_t deadline_ms, int *out_fd, struct fail *f);

/* Sends or receives what is possible at once.
 * Errors: BECK_ERR_AGAIN, BECK_ERR_IO, BECK_ERR_CLOSED. */
BECK_MUST_CHECK int transport_send(int fd, const char *p, size_t n, size_t *out, struct fail *f);
BECK_MUST_CHECK int transport_receive(int fd, char *p, size_t n, size_t *out, struct fail *f);

/* Writes "host:port", "[v6]:port" or "unix:path" of `conf`, cut if too long. */
void transport_address(const struct beck_conf *conf, char *out, size_t size);

#endif
