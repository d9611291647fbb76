/* corpus.c - gives a fuzzer's function the inputs that are kept in tests/corpus/, without libFuzzer.
 *
 * What once broke a decoder is so tried again with every run of the tests. An input that breaks it
 * again ends the program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { CORPUS_INPUT_MAX = 1 << 20 };

static int corpus_try(const char *path, uint8_t *buffer)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    n = fread(buffer, 1, CORPUS_INPUT_MAX, f);
    fclose(f);
    printf("%s, %zu bytes\n", path, n);
    fflush(stdout);
    return LLVMFuzzerTestOneInput(buffer, n);
}

int main(int argc, char **argv)
{
    uint8_t *buffer = malloc(CORPUS_INPUT_MAX);
    int failed = 0;

    if (buffer == NULL)
        return 1;
    for (int i = 1; i < argc; i++)
        failed += corpus_try(argv[i], buffer) != 0;
    free(buffer);
    printf("%d passed, %d failed\n", argc - 1 - failed, failed);
    return failed != 0;
}
