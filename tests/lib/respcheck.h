/* respcheck.h - gives bytes to the request parser in every way they may arrive, and checks what it says.
 *
 * Used by test_resp.c with random and mutated requests and by fuzz_resp.c with libFuzzer's. */
#ifndef TESTS_LIB_RESPCHECK_H
#define TESTS_LIB_RESPCHECK_H
#include <stddef.h>
#include <stdint.h>

struct respcheck;

struct respcheck *respcheck_new(void);
void respcheck_free(struct respcheck *c);

/* Parses n bytes whole, and again in pieces chosen by `seed`, moving to another place each time. Both must
 * find the same requests, consume the same bytes and end the same way; nothing outside the bytes given is
 * touched (the address checker sees to it: every piece ends where its memory does), and memory stays below
 * a multiple of the bytes given. NULL, or the claim that failed. */
const char *respcheck_run(struct respcheck *c, const uint8_t *p, size_t n, uint64_t seed);

/* Requests found and errors met so far, to see that the input was worth it. */
uint64_t respcheck_requests(const struct respcheck *c);
uint64_t respcheck_errors(const struct respcheck *c);

#endif
