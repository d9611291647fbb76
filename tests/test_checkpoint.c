/* test_checkpoint.c - chunks come back as they were, whole files or none, and a failure leaves no checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/checkpoint.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/log.h"
#include "log/wal.h"
#include "tests/lib/random.h"
#include "tests/lib/simio.h"

#define PATH "data/ckpt-00000000000000002000.ck"

enum { START = 2000, END = 2500, HEADER = 64, CHUNK = 32, TRAILER = 64 };

static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";
static const uint64_t clock_at_end = (uint64_t)1700000000000 << 16;

static struct simio *disk_new(void)
{
    struct simio *disk = simio_new(1);

    assert_int_equal(simio_io(disk)->mkdir(simio_io(disk), "data"), 0);
    assert_int_equal(simio_io(disk)->sync_dir(simio_io(disk), "."), 0);
    return disk;
}

/* Chunks as they are put and expected. */
struct chunk {
    uint64_t as_of;
    size_t n;
    bool random; /* else it can be compressed */
};

static const struct chunk sample[] = {
    { 2000, 3000, false }, { 2000, 1, false }, { 2100, 500, true }, { END, 700, false }
};

enum { N_SAMPLE = sizeof sample / sizeof sample[0] };

static uint8_t *chunk_bytes(const struct chunk *c)
{
    struct random r = { .state = c->n };
    uint8_t *p = malloc(c->n);

    assert_non_null(p);
    for (size_t i = 0; i < c->n; i++)
        p[i] = c->random ? (uint8_t)random_u64(&r) : (uint8_t)(i / 50);
    return p;
}

static int write_chunks(struct simio *disk, const struct chunk *chunks, size_t n,
                        struct manifest_checkpoint *out, struct err *e)
{
    struct checkpoint_writer *w;
    int rc = checkpoint_create(simio_io(disk), "data", uuid, START, &w, e);

    if (rc != OK)
        return rc;
    for (size_t i = 0; i < n && rc == OK; i++) {
        uint8_t *p = chunk_bytes(&chunks[i]);
        rc = checkpoint_put(w, chunks[i].as_of, slice_of(p, chunks[i].n), e);
        free(p);
    }
    if (rc == OK)
        return checkpoint_finish(w, END, clock_at_end, out, e);
    checkpoint_discard(w);
    return rc;
}

static void write_sample(struct simio *disk, struct manifest_checkpoint *out)
{
    struct err e = { 0 };

    assert_int_equal(write_chunks(disk, sample, N_SAMPLE, out, &e), OK);
}

struct got {
    const struct chunk *chunks;
    size_t n;
    int rc; /* what `each` says to chunk number `refuse` */
    size_t refuse;
};

static int each(void *ctx, uint64_t as_of, struct slice payload, struct err *e)
{
    struct got *g = ctx;
    const struct chunk *c = &g->chunks[g->n];
    uint8_t *p = chunk_bytes(c);

    if (g->rc != OK && g->n == g->refuse) {
        free(p);
        return err_set(e, g->rc, "refused");
    }
    assert_int_equal(as_of, c->as_of);
    assert_int_equal(payload.n, c->n);
    assert_memory_equal(payload.p, p, c->n);
    free(p);
    g->n++;
    return OK;
}

static int load(struct simio *disk, const struct manifest_checkpoint *expect, struct got *g,
                struct err *e)
{
    return checkpoint_load(simio_io(disk), "data", uuid, expect, each, g, e);
}

/* Neither loaded, not even in part, nor verified; in one line that names the file. */
static void assert_refused(struct simio *disk, const struct manifest_checkpoint *expect, int code,
                           const char *what)
{
    struct got g = { .chunks = sample };
    struct err e = { 0 };

    assert_int_equal(load(disk, expect, &g, &e), code);
    assert_int_equal(g.n, 0);
    assert_non_null(strstr(e.text, PATH));
    assert_null(strchr(e.text, '\n'));
    if (what != NULL && strstr(e.text, what) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, what);
}

static void names_are_of_the_lsn_at_which_it_began(void **state)
{
    static const char *const others[] = { "",
                                          "ckpt-",
                                          "ckpt-.ck",
                                          "ckpt-2000.ck",
                                          "ckpt-00000000000000002000.ck.tm",
                                          "ckpt-00000000000000002000.ck.tmp.tmp",
                                          "ckpt-0000000000000002000.ck",
                                          "ckpt-000000000000000002000.ck",
                                          "ckpt-99999999999999999999.ck",
                                          "ckpt-0000000000000000200x.ck",
                                          "MANIFEST" };
    char name[CHECKPOINT_NAME_MAX];
    uint64_t lsn = 7;
    bool unfinished = true;

    (void)state;
    checkpoint_name(2000, false, name);
    assert_string_equal(name, "ckpt-00000000000000002000.ck");
    assert_true(checkpoint_name_parse(name, &lsn, &unfinished));
    assert_int_equal(lsn, 2000);
    assert_false(unfinished);
    checkpoint_name(UINT64_MAX, true, name);
    assert_string_equal(name, "ckpt-18446744073709551615.ck.tmp");
    assert_true(checkpoint_name_parse(name, &lsn, &unfinished));
    assert_true(lsn == UINT64_MAX);
    assert_true(unfinished);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        print_message("  %s\n", others[i]);
        assert_false(checkpoint_name_parse(others[i], &lsn, &unfinished));
    }
}

static void chunks_come_back_as_they_were(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made, seen;
    struct got g = { .chunks = sample };
    struct err e = { 0 };
    size_t n;

    (void)state;
    write_sample(disk, &made);
    assert_int_equal(made.start_lsn, START);
    assert_int_equal(made.end_lsn, END);
    assert_non_null(simio_bytes(disk, PATH, &n));
    assert_int_equal(made.file_bytes, n);
    assert_true(n < HEADER + TRAILER + N_SAMPLE * CHUNK + 1500);
    assert_int_equal(load(disk, &made, &g, &e), OK);
    assert_int_equal(g.n, N_SAMPLE);
    assert_int_equal(checkpoint_verify(simio_io(disk), "data", uuid, START, NULL, &seen, &e), OK);
    assert_memory_equal(&seen.crc, &made.crc, sizeof made.crc);
    assert_int_equal(seen.file_bytes, made.file_bytes);
    assert_int_equal(seen.end_lsn, END);
    simio_free(disk);
}

static void one_without_chunks_is_whole(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    struct got g = { .chunks = sample };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(write_chunks(disk, sample, 0, &made, &e), OK);
    assert_int_equal(made.file_bytes, HEADER + TRAILER);
    assert_int_equal(load(disk, &made, &g, &e), OK);
    assert_int_equal(g.n, 0);
    simio_free(disk);
}

static void a_chunk_may_be_as_long_as_the_limit(void **state)
{
    static const struct chunk large[] = { { START, CHECKPOINT_CHUNK_MAX, false },
                                          { END, 9, true } };
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    struct got g = { .chunks = large };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(write_chunks(disk, large, 2, &made, &e), OK);
    assert_int_equal(load(disk, &made, &g, &e), OK);
    assert_int_equal(g.n, 2);
    simio_free(disk);
}

static void the_hosts_error_ends_the_load(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    struct got g = { .chunks = sample, .rc = ERR_CORRUPT, .refuse = 2 };
    struct err e = { 0 };

    (void)state;
    write_sample(disk, &made);
    assert_int_equal(load(disk, &made, &g, &e), ERR_CORRUPT);
    assert_string_equal(e.text, "refused");
    assert_int_equal(g.n, 2);
    simio_free(disk);
}

static void every_flipped_bit_is_noticed_before_a_chunk_is_given(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    size_t n;

    (void)state;
    write_sample(disk, &made);
    simio_bytes(disk, PATH, &n);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t was = simio_bytes(disk, PATH, &n)[i];
            simio_poke(disk, PATH, i, was ^ (uint8_t)(1 << bit));
            assert_refused(disk, &made, ERR_CORRUPT, "is damaged at byte");
            simio_poke(disk, PATH, i, was);
        }
    simio_free(disk);
}

static void every_other_length_is_noticed(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made, short_one;
    size_t n;

    (void)state;
    write_sample(disk, &made);
    simio_bytes(disk, PATH, &n);
    simio_cut(disk, PATH, n + 1);
    assert_refused(disk, &made, ERR_CORRUPT, "length");
    for (size_t i = n; i-- > 0;) {
        simio_cut(disk, PATH, i);
        assert_refused(disk, &made, ERR_CORRUPT, NULL);
        short_one = made;
        short_one.file_bytes = i; /* even if the manifest had the length */
        assert_refused(disk, &short_one, ERR_CORRUPT, NULL);
    }
    simio_remove(disk, PATH);
    assert_refused(disk, &made, ERR_CORRUPT, "is missing");
    simio_free(disk);
}

/* All checksums, of chunks, trailer and their sum, are made right again. */
static void repair(uint8_t *p, size_t n)
{
    uint32_t seed = crc32c(0, p + 48, 8), sum = 0;
    size_t pos = HEADER, end = n - TRAILER;

    while (end - pos >= CHUNK) {
        size_t stored = get_u32le(p + pos + 16);
        if (stored > end - pos - CHUNK)
            break;
        put_u32le(p + pos, crc32c(seed, p + pos + 4, CHUNK - 4 + stored));
        sum = crc32c(sum, p + pos, 4);
        pos += CHUNK + stored;
    }
    put_u32le(p + end + 40, sum);
    put_u32le(p + end, crc32c(seed, p + end + 4, TRAILER - 4));
    put_u32le(p + 60, crc32c(0, p, 60));
}

static void fields_that_cannot_be_are_refused(void **state)
{
    enum { C0 = HEADER, AT_END = 1 << 20 }; /* the first chunk; counted from the trailer */
    static const struct {
        const char *why;
        size_t at, n;
        uint64_t value;
        int code;
        const char *what;
    } cases[] = {
        { "newer version", 8, 4, 2, ERR_FORMAT, "newer" },
        { "unknown feature", 16, 4, 1, ERR_FORMAT, "newer" },
        { "reserved field of the header", 20, 4, 1, ERR_FORMAT, "newer" },
        { "another store", 24, 1, 'x', ERR_CORRUPT, "another store" },
        { "another name", 40, 8, 2001, ERR_CORRUPT, "another file's name" },
        { "chunk out of order", C0 + 4, 4, 1, ERR_CORRUPT, "not the one" },
        { "chunk of before the start", C0 + 8, 8, START - 1, ERR_CORRUPT, "another time" },
        { "chunk that goes back", C0 + 8, 8, 2050, ERR_CORRUPT, "another time" },
        { "chunk of nothing", C0 + 20, 4, 0, ERR_CORRUPT, "lengths" },
        { "chunk longer than the file", C0 + 16, 4, 1 << 20, ERR_CORRUPT, "lengths" },
        { "chunk longer than the limit", C0 + 20, 4, CHECKPOINT_CHUNK_MAX + 1, ERR_CORRUPT,
          "lengths" },
        { "chunk that no data unfolds to", C0 + 20, 4, CHECKPOINT_CHUNK_MAX, ERR_CORRUPT,
          "lengths" },
        { "chunk of another length", C0 + 20, 4, 2999, ERR_CORRUPT, "decompressed" },
        { "unknown codec", C0 + 24, 1, 2, ERR_CORRUPT, "codec" },
        { "stored as it is, but not", C0 + 24, 1, 0, ERR_CORRUPT, "codec" },
        { "reserved byte of a chunk", C0 + 31, 1, 1, ERR_CORRUPT, "not the one" },
        { "trailer with a chunk's number", AT_END + 4, 4, 4, ERR_CORRUPT, "contradicts" },
        { "end before the last chunk", AT_END + 8, 8, END - 1, ERR_CORRUPT, NULL },
        { "end before the start", AT_END + 8, 8, START - 1, ERR_CORRUPT, "contradicts" },
        { "another number of chunks", AT_END + 24, 4, 5, ERR_CORRUPT, "does not fit" },
        { "reserved field of the trailer", AT_END + 28, 4, 1, ERR_CORRUPT, "contradicts" },
        { "another sum of lengths", AT_END + 32, 8, 5, ERR_CORRUPT, "does not fit" },
        { "reserved bytes of the trailer", AT_END + 55, 1, 1, ERR_CORRUPT, "contradicts" },
        { "no trailer", AT_END + 56, 1, 'x', ERR_CORRUPT, "contradicts" },
    };
    struct manifest_checkpoint made, changed;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct simio *disk = disk_new();
        size_t n, at;
        uint8_t *p;

        print_message("  %s\n", cases[i].why);
        write_sample(disk, &made);
        simio_bytes(disk, PATH, &n);
        p = malloc(n);
        assert_non_null(p);
        memcpy(p, simio_bytes(disk, PATH, &n), n);
        at = cases[i].at < AT_END ? cases[i].at : cases[i].at - AT_END + n - TRAILER;
        for (size_t k = 0; k < cases[i].n; k++)
            p[at + k] = (uint8_t)(cases[i].value >> 8 * k);
        repair(p, n);
        simio_put(disk, PATH, p, n);
        changed = made;
        changed.crc = get_u32le(p + n - TRAILER);
        changed.end_lsn = get_u64le(p + n - TRAILER + 8);
        assert_refused(disk, &changed, cases[i].code, cases[i].what);
        free(p);
        simio_free(disk);
    }
}

static void only_the_file_that_the_manifest_names_is_loaded(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made, other;

    (void)state;
    write_sample(disk, &made);
    other = made;
    other.crc ^= 1;
    assert_refused(disk, &other, ERR_CORRUPT, "not the file");
    other = made;
    other.end_lsn++;
    assert_refused(disk, &other, ERR_CORRUPT, "not the file");
    other = made;
    other.file_bytes--;
    assert_refused(disk, &other, ERR_CORRUPT, "length");
    simio_free(disk);
}

static void a_checkpoint_never_takes_the_place_of_another(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    struct got g = { .chunks = sample };
    struct err e = { 0 };

    (void)state;
    write_sample(disk, &made);
    assert_int_equal(write_chunks(disk, sample, 1, &made, &e), ERR_USAGE);
    assert_int_equal(load(disk, &made, &g, &e), OK);
    simio_free(disk);
}

static bool is_there(struct simio *disk, const char *path)
{
    size_t n;

    return simio_bytes(disk, path, &n) != NULL;
}

static void one_given_up_leaves_nothing(void **state)
{
    struct simio *disk = disk_new();
    struct checkpoint_writer *w;
    struct err e = { 0 };

    (void)state;
    simio_put(disk, PATH ".tmp", "left over", 9);
    assert_int_equal(checkpoint_create(simio_io(disk), "data", uuid, START, &w, &e), OK);
    assert_int_equal(checkpoint_put(w, START, slice_str("something"), &e), OK);
    assert_true(is_there(disk, PATH ".tmp"));
    checkpoint_discard(w);
    checkpoint_discard(NULL);
    assert_false(is_there(disk, PATH ".tmp"));
    assert_false(is_there(disk, PATH));
    simio_free(disk);
}

/* Whatever fails, and whenever the power goes: the file has its name only if it is whole. */
static void a_name_stands_for_a_whole_file(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC, SIMIO_SHORT, SIMIO_CRASH };
    int n_whole = 0, n_none = 0;

    (void)state;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
        for (uint64_t at = 0;; at++) {
            struct simio *disk = disk_new();
            struct manifest_checkpoint made;
            struct err e = { 0 };
            int rc;

            simio_fault_at(disk, simio_n_ops(disk) + at, 1, faults[f]);
            rc = write_chunks(disk, sample, N_SAMPLE, &made, &e);
            if (rc == OK && simio_io(disk)->sync_dir(simio_io(disk), "data") != 0)
                rc = ERR_IO; /* as whoever names it would find */
            if (simio_n_faults(disk) == 0) {
                assert_int_equal(rc, OK);
                simio_free(disk);
                break;
            }
            assert_true(rc == OK || rc == ERR_IO || (rc == ERR_FULL && faults[f] == SIMIO_ENOSPC));
            if (rc == ERR_FULL)
                assert_false(is_there(disk, PATH ".tmp"));
            for (uint64_t variant = 0; variant < 20; variant++) {
                struct simio *copy = simio_copy(disk);
                bool named;
                simio_crash(copy, SIMIO_MIXED, variant);
                named = is_there(copy, PATH);
                n_whole += named;
                n_none += !named;
                assert_true(rc != OK || named);
                if (named)
                    assert_int_equal(
                        checkpoint_verify(simio_io(copy), "data", uuid, START, NULL, NULL, &e), OK);
                simio_free(copy);
            }
            simio_free(disk);
        }
    assert_true(n_whole > 0 && n_none > 0);
}

/* An error of the disk is not taken for damage. */
static void a_sector_that_cannot_be_read_is_an_error_of_the_disk(void **state)
{
    struct simio *disk = disk_new();
    struct manifest_checkpoint made;
    struct got g = { .chunks = sample };
    struct err e = { 0 };

    (void)state;
    write_sample(disk, &made);
    simio_break_sector(disk, PATH, 512);
    assert_int_equal(load(disk, &made, &g, &e), ERR_IO);
    assert_non_null(strstr(e.text, PATH));
    simio_free(disk);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_of_the_lsn_at_which_it_began),
        cmocka_unit_test(chunks_come_back_as_they_were),
        cmocka_unit_test(one_without_chunks_is_whole),
        cmocka_unit_test(a_chunk_may_be_as_long_as_the_limit),
        cmocka_unit_test(the_hosts_error_ends_the_load),
        cmocka_unit_test(every_flipped_bit_is_noticed_before_a_chunk_is_given),
        cmocka_unit_test(every_other_length_is_noticed),
        cmocka_unit_test(fields_that_cannot_be_are_refused),
        cmocka_unit_test(only_the_file_that_the_manifest_names_is_loaded),
        cmocka_unit_test(a_checkpoint_never_takes_the_place_of_another),
        cmocka_unit_test(one_given_up_leaves_nothing),
        cmocka_unit_test(a_name_stands_for_a_whole_file),
        cmocka_unit_test(a_sector_that_cannot_be_read_is_an_error_of_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
