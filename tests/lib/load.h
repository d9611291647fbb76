/* load.h - a load generator: one thread, many connections, each with a fixed number of requests under way.
 *
 * Works as redis-benchmark does: a connection sends `pipeline` requests at once, waits for all their replies,
 * sends the next. It ends after a count of requests, and gives up at the first error reply. */
#ifndef TESTS_LIB_LOAD_H
#define TESTS_LIB_LOAD_H
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "log/err.h"

enum { LOAD_CONNECTIONS_MAX = 1000 };

/* Requests as they go over the wire, one behind the other; request i ends at ends[i]. */
struct load_requests {
    uint8_t *bytes;
    size_t *ends;
    size_t n, cap, n_bytes, cap_bytes;
};

/* Adds a request of argc arguments. Ends the process if memory runs out: this is a benchmark. */
struct slice;
void load_add(struct load_requests *r, const struct slice *argv, size_t argc);
/* Adds a request of another protocol, as it is; its reply is one line. */
void load_add_raw(struct load_requests *r, const void *p, size_t n);
void load_requests_fini(struct load_requests *r);

struct load_result {
    uint64_t n;     /* requests, or entries of a replay */
    uint64_t bytes; /* sent and received */
    double seconds;
    double p50_us, p99_us, max_us; /* from sending a pipeline to its last reply */
};

struct load_target {
    struct sockaddr_storage address;
    socklen_t n_address;
};

/* Sends `count` requests of r, starting with number `first` and beginning anew at its end. */
must_check int load_send(const struct load_target *t, size_t connections, size_t pipeline,
                         const struct load_requests *r, size_t first, size_t count,
                         struct load_result *out, struct err *e);

/* Sends `count` requests as load_send does without a pipeline, but at a fixed rate, whether replies come or not:
 * request i is due i / per_s after the start, and its latency counts from then, so that a server which stands still for
 * a while pays for all that came due meanwhile. */
must_check int load_rate(const struct load_target *t, size_t connections,
                         const struct load_requests *r, size_t first, size_t count, double per_s,
                         struct load_result *out, struct err *e);

/* Each connection reads the whole stream `key` by XRANGE with COUNT `chunk`, one request after the other.
 * Entries must have more than one field, which is how their IDs are found in the replies. */
must_check int load_replay(const struct load_target *t, size_t connections, const char *key,
                           size_t chunk, struct load_result *out, struct err *e);

#endif
