/* fuzz_resp.c - libFuzzer's way into the request parser; test_resp.c runs the same checks on a million random
 * and mutated inputs. The first byte chooses how the others are cut in pieces. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/lib/respcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct respcheck *c;
    const char *broken;

    if (n == 0)
        return 0;
    c = respcheck_new();
    broken = respcheck_run(c, p + 1, n - 1, (uint64_t)p[0] * UINT64_C(0x9e3779b97f4a7c15));
    respcheck_free(c);
    if (broken != NULL) {
        fprintf(stderr, "broken: %s\n", broken);
        abort();
    }
    return 0;
}
