/* lookahead.h - keys of requests that have come and are not executed yet: what finding them will touch is on its way to the
 * processor's cache meanwhile.
 *
 * A large table of keys is not in any cache, so finding one is waiting for memory two or three times. In a pipeline the next
 * requests are known: their buckets and objects are asked for while the ones before are executed. Only a hint: nothing is
 * changed, and nothing depends on it. */
#ifndef BROKER_NET_LOOKAHEAD_H
#define BROKER_NET_LOOKAHEAD_H
#include <stddef.h>
#include <stdint.h>

struct dict;

enum { LOOKAHEAD_N = 4 }; /* requests */

struct lookahead {                /* zeroed: at the beginning of some input */
    const uint8_t *at;            /* looked at up to here */
    uint64_t hashes[LOOKAHEAD_N]; /* of the keys of the next n requests */
    size_t first, n;
};

/* The request before `p` is about to be executed; more has come up to `end`. */
void lookahead_step(struct lookahead *l, const struct dict *names, const uint8_t *p,
                    const uint8_t *end);

#endif
