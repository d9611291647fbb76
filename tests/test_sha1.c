/* test_sha1.c - claims about SHA-1: the examples of FIPS 180-4 and RFC 3174, and every length around the end of a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/sha1.h"

static void claim(const void *text, size_t n, const char *want)
{
    char got[SHA1_HEX];

    sha1_hex(slice_of(text, n), got);
    assert_string_equal(got, want);
}

static void known_texts_have_their_digests(void **state)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char *million = malloc(1000000);

    (void)state;
    claim("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    claim("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    claim(two_blocks, 56, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    assert_non_null(million);
    memset(million, 'a', 1000000);
    claim(million, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(million);
}

/* The digest of the digests of "", "b", "bb", ... "b" * 130, made with another implementation. */
static void every_length_around_the_end_of_a_block(void **state)
{
    char text[130], all[131 * (SHA1_HEX - 1) + 1];

    (void)state;
    memset(text, 'b', sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        char hex[SHA1_HEX];
        sha1_hex(slice_of(text, n), hex);
        memcpy(all + n * (SHA1_HEX - 1), hex, SHA1_HEX);
    }
    claim(all, sizeof all - 1, "0cbd18c00744b9117230f3abf7a9da310c961cb2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_have_their_digests),
        cmocka_unit_test(every_length_around_the_end_of_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
