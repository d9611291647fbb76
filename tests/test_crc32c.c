/* test_crc32c.c - the checksum is the one that the world calls CRC32C, whichever way it is
 * computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/crc32c.h"
#include "tests/lib/random.h"

enum { LONG = 40000 };

/* RFC 3720, B.4, and the check value of the catalogues. */
static void the_published_values_come_out(void **state)
{
    uint8_t zeros[32] = { 0 }, ones[32], up[32], down[32];

    (void)state;
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < 32; i++) {
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, up, 32), 0x46dd794e);
    assert_int_equal(crc32c(0, down, 32), 0x113fdb5c);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static uint8_t *random_bytes(struct random *r, size_t n)
{
    uint8_t *p = malloc(n);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)random_u64(r);
    return p;
}

/* Every length up to a few lanes, every alignment, and lengths around those of the lanes. */
static void instruction_and_table_agree_at_every_length(void **state)
{
    struct random r = random_seeded("crc32c");
    uint8_t *p = random_bytes(&r, LONG + 8);
    static const size_t longer[] = { 6143, 6144, 6145, 6912, 12287, 12288, 13056, 20000, LONG };

    (void)state;
    for (size_t n = 0; n < 1700; n++)
        assert_int_equal(crc32c(0, p + n % 8, n), crc32c_table(0, p + n % 8, n));
    for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++)
        assert_int_equal(crc32c(7, p + i % 8, longer[i]), crc32c_table(7, p + i % 8, longer[i]));
    free(p);
}

static void a_buffer_may_be_taken_in_pieces(void **state)
{
    struct random r = random_seeded("crc32c");
    uint8_t *p = random_bytes(&r, LONG);

    (void)state;
    for (size_t round = random_rounds(200); round > 0; round--) {
        size_t n = random_below(&r, LONG), cut = n == 0 ? 0 : random_below(&r, n);
        assert_int_equal(crc32c(crc32c(0, p, cut), p + cut, n - cut), crc32c_table(0, p, n));
    }
    free(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_values_come_out),
        cmocka_unit_test(instruction_and_table_agree_at_every_length),
        cmocka_unit_test(a_buffer_may_be_taken_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
