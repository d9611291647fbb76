/* test_simio.c - the simulated disk keeps its own promises: what the crash tests conclude rests on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/simio.h"

/* ---- small steps ------------------------------------------------------------------------------- */

static int must_open(struct simio *s, const char *path, int flags)
{
    struct io *io = simio_io(s);
    int fd = io->open(io, path, flags);

    assert_true(fd >= 0);
    return fd;
}

static ssize_t put(struct simio *s, int fd, uint64_t pos, const void *bytes, size_t n)
{
    struct io *io = simio_io(s);
    struct iovec iov[2] = { { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n / 2 },
                            { .iov_base = (uint8_t *)(uintptr_t)bytes + n / 2,
                              .iov_len = n - n / 2 } };

    return io->pwritev(io, fd, iov, 2, pos);
}

static void must_put(struct simio *s, int fd, uint64_t pos, char c, size_t n)
{
    uint8_t *bytes = malloc(n);

    assert_non_null(bytes);
    memset(bytes, c, n);
    assert_int_equal(put(s, fd, pos, bytes, n), (ssize_t)n);
    free(bytes);
}

static void must_sync(struct simio *s, int fd)
{
    assert_int_equal(simio_io(s)->fdatasync(simio_io(s), fd), 0);
}

static void must_sync_dir(struct simio *s, const char *path)
{
    assert_int_equal(simio_io(s)->sync_dir(simio_io(s), path), 0);
}

static void must_rename(struct simio *s, const char *from, const char *to)
{
    assert_int_equal(simio_io(s)->rename(simio_io(s), from, to), 0);
}

static bool exists(const struct simio *s, const char *path)
{
    size_t n;
    return simio_bytes(s, path, &n) != NULL;
}

/* The file as text with a letter for each sector: its byte if all are the same, '?' if they differ, '0'
 * for zeros, "-" if there is no file. */
static const char *sectors(const struct simio *s, const char *path, char *out)
{
    size_t n, k = 0;
    const uint8_t *p = simio_bytes(s, path, &n);

    if (p == NULL)
        return "-";
    for (size_t at = 0; at < n; at += SIMIO_SECTOR) {
        size_t end = n - at < SIMIO_SECTOR ? n : at + SIMIO_SECTOR;
        char c = p[at] == 0 ? '0' : (char)p[at];
        for (size_t i = at; i < end; i++)
            if (p[i] != p[at])
                c = '?';
        out[k++] = c;
    }
    out[k] = '\0';
    return out;
}

enum { IMAGES_MAX = 200, NAMES_MAX = 100 }; /* bytes of the texts that tests compare */

static void add_text(char *out, size_t size, const char *text)
{
    size_t n = strlen(out);

    assert_true(strlen(text) < size - n);
    memcpy(out + n, text, strlen(text) + 1);
}

/* All images of `path` that a mode gives, sorted and joined by blanks; each once. `out` has
 * IMAGES_MAX bytes. */
static const char *images(const struct simio *s, enum simio_mode mode, const char *path, char *out)
{
    uint64_t count = simio_crash_count(s, mode);
    char seen[64][64];
    size_t n = 0;

    assert_true(count > 0 && count <= 64);
    for (uint64_t v = 0; v < count; v++) {
        struct simio *copy = simio_copy(s);
        char text[64];
        const char *now;
        size_t at = 0, i = 0;
        simio_crash(copy, mode, v);
        now = sectors(copy, path, text);
        while (at < n && strcmp(seen[at], now) < 0)
            at++;
        if (at == n || strcmp(seen[at], now) != 0) {
            for (i = n++; i > at; i--)
                memcpy(seen[i], seen[i - 1], sizeof seen[i]);
            snprintf(seen[at], sizeof seen[at], "%s", now);
        }
        simio_free(copy);
    }
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        add_text(out, IMAGES_MAX, i ? " " : "");
        add_text(out, IMAGES_MAX, seen[i][0] ? seen[i] : "empty");
    }
    return out;
}

/* A file "f" whose name is durable, of `n` sectors of 'd', synced. */
static int durable_file(struct simio *s, size_t n)
{
    int fd = must_open(s, "f", IO_WRITE | IO_CREATE);

    if (n > 0)
        must_put(s, fd, 0, 'd', n * SIMIO_SECTOR);
    must_sync(s, fd);
    must_sync_dir(s, "/");
    return fd;
}

/* ---- plain files ------------------------------------------------------------------------------- */

static void what_is_written_is_read_back(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char buf[32] = { 0 };
    uint64_t size;
    int fd;

    (void)state;
    assert_int_equal(io->open(io, "f", IO_READ), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(io->open(io, "no/f", IO_WRITE | IO_CREATE), -1);
    assert_int_equal(errno, ENOENT);
    fd = must_open(s, "f", IO_WRITE | IO_CREATE);
    assert_int_equal(put(s, fd, 3, "hello", 5), 5);
    assert_int_equal(io->pread(io, fd, buf, sizeof buf, 0), 8);
    assert_memory_equal(buf, "\0\0\0hello", 8);
    assert_int_equal(io->pread(io, fd, buf, sizeof buf, 8), 0);
    assert_int_equal(io->size(io, fd, &size), 0);
    assert_int_equal(size, 8);
    assert_int_equal(io->truncate(io, fd, 5), 0);
    assert_int_equal(io->allocate(io, fd, 7), 0);
    assert_int_equal(io->allocate(io, fd, 2), 0);
    assert_int_equal(io->pread(io, fd, buf, sizeof buf, 0), 7);
    assert_memory_equal(buf, "\0\0\0he\0\0", 7);
    assert_int_equal(io->open(io, "f", IO_WRITE | IO_CREATE | IO_EXCLUSIVE), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(io->close(io, fd), 0);
    assert_int_equal(io->close(io, fd), -1);
    fd = must_open(s, "f", IO_READ);
    assert_int_equal(put(s, fd, 0, "x", 1), -1);
    assert_int_equal(errno, EBADF);
    simio_free(s);
}

static int count_name(void *ctx, const char *name)
{
    add_text(ctx, NAMES_MAX, name);
    add_text(ctx, NAMES_MAX, " ");
    return 0;
}

static void directories_list_what_is_in_them(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char text[NAMES_MAX] = "";

    (void)state;
    assert_int_equal(io->mkdir(io, "/d"), 0);
    assert_int_equal(io->mkdir(io, "/d/"), -1);
    assert_int_equal(errno, EEXIST);
    must_open(s, "/d/a", IO_WRITE | IO_CREATE);
    must_open(s, "other", IO_WRITE | IO_CREATE);
    assert_int_equal(io->list(io, "d", count_name, text), 0);
    assert_string_equal(text, "a ");
    must_rename(s, "d/a", "d/b");
    assert_int_equal(io->unlink(io, "d/a"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(io->unlink(io, "d/b"), 0);
    text[0] = '\0';
    assert_int_equal(io->list(io, "d", count_name, text), 0);
    assert_string_equal(text, "");
    assert_int_equal(io->list(io, "other", count_name, text), -1);
    assert_int_equal(errno, ENOTDIR);
    simio_free(s);
}

static void a_lock_is_exclusive_until_close_or_restart(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    int a = durable_file(s, 1), b = must_open(s, "f", IO_READ);

    (void)state;
    assert_int_equal(io->lock(io, a), 0);
    assert_int_equal(io->lock(io, a), 0);
    assert_int_equal(io->lock(io, b), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    assert_int_equal(io->close(io, a), 0);
    assert_int_equal(io->lock(io, b), 0);
    simio_restart(s);
    a = must_open(s, "f", IO_READ);
    assert_int_equal(io->lock(io, a), 0);
    assert_int_equal(io->close(io, b), -1); /* a file of the process before */
    simio_free(s);
}

/* ---- what a crash leaves ----------------------------------------------------------------------- */

static void a_kill_loses_nothing_but_syncs_nothing(void **state)
{
    struct simio *s = simio_new(1);
    char buf[64];
    int fd = durable_file(s, 1);

    (void)state;
    must_put(s, fd, 512, 'a', 512);
    simio_crash(s, SIMIO_KILL, 0);
    assert_string_equal(sectors(s, "f", buf), "da");
    simio_crash(s, SIMIO_PREFIX, 0);
    assert_string_equal(sectors(s, "f", buf), "d");
    simio_free(s);
}

static void synced_bytes_survive_in_every_mode(void **state)
{
    struct simio *s = simio_new(1);
    char buf[64];
    int fd = durable_file(s, 2);

    (void)state;
    must_put(s, fd, 512, 'e', 512);
    must_sync(s, fd);
    must_put(s, fd, 1024, 'u', 512);
    for (int mode = SIMIO_PREFIX; mode < SIMIO_N_MODES; mode++) {
        for (uint64_t v = 0; v < 200; v++) {
            struct simio *copy = simio_copy(s);
            simio_crash(copy, (enum simio_mode)mode, v);
            assert_memory_equal(sectors(copy, "f", buf), "de", 2);
            simio_free(copy);
        }
    }
    simio_free(s);
}

static void fdatasync_is_a_barrier_for_that_file_only(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int f = durable_file(s, 0), g = must_open(s, "g", IO_WRITE | IO_CREATE);

    (void)state;
    must_sync_dir(s, "/");
    must_put(s, f, 0, 'f', 512);
    must_put(s, g, 0, 'g', 512);
    must_sync(s, g);
    assert_string_equal(images(s, SIMIO_PREFIX, "g", buf), "g");
    assert_string_equal(images(s, SIMIO_PREFIX, "f", buf), "empty f");
    simio_free(s);
}

static void fdatasync_does_not_keep_the_name(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int fd = must_open(s, "f", IO_WRITE | IO_CREATE);

    (void)state;
    must_put(s, fd, 0, 'a', 512);
    must_sync(s, fd);
    assert_string_equal(images(s, SIMIO_DIRS, "f", buf), "- a");
    must_sync_dir(s, "/");
    assert_string_equal(images(s, SIMIO_DIRS, "f", buf), "a");
    simio_free(s);
}

static void sync_dir_does_not_keep_the_bytes(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int fd = must_open(s, "f", IO_WRITE | IO_CREATE);

    (void)state;
    must_put(s, fd, 0, 'a', 512);
    must_sync_dir(s, "/");
    assert_string_equal(images(s, SIMIO_PREFIX, "f", buf), "empty a");
    simio_free(s);
}

static void mode_p_gives_exactly_the_prefixes_over_all_files(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char buf[IMAGES_MAX];
    int f = durable_file(s, 1), g;

    (void)state;
    must_put(s, f, 512, 'a', 1024);
    must_put(s, f, 0, 'b', 512);
    g = must_open(s, "g", IO_WRITE | IO_CREATE);
    must_put(s, g, 0, 'g', 512);
    assert_int_equal(io->truncate(io, f, 512), 0);
    assert_int_equal(simio_crash_count(s, SIMIO_PREFIX), 6);
    assert_string_equal(images(s, SIMIO_PREFIX, "f", buf), "b baa d daa");
    assert_string_equal(images(s, SIMIO_PREFIX, "g", buf), "empty - g");
    simio_crash(s, SIMIO_PREFIX, 3);
    assert_string_equal(sectors(s, "f", buf), "baa");
    assert_string_equal(sectors(s, "g", buf), "");
    simio_free(s);
}

static void mode_r_gives_every_subset_of_sectors(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int fd = durable_file(s, 2);

    (void)state;
    must_put(s, fd, 0, 'a', 1024);
    assert_string_equal(images(s, SIMIO_REORDER, "f", buf), "aa ad da dd");
    must_put(s, fd, 512, 'b', 512);
    assert_string_equal(images(s, SIMIO_REORDER, "f", buf), "aa ab ad da db dd");
    simio_free(s);
}

static void mode_r_lets_sizes_and_bytes_come_apart(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int fd = durable_file(s, 1);

    (void)state;
    must_put(s, fd, 512, 'a', 512);
    must_put(s, fd, 1024, 'b', 512);
    assert_string_equal(images(s, SIMIO_REORDER, "f", buf), "d d0 d00 d0b da da0 dab");
    simio_free(s);
}

static void a_sector_holds_what_one_of_its_writes_left(void **state)
{
    struct simio *s = simio_new(1);
    int fd = durable_file(s, 1);

    (void)state;
    must_put(s, fd, 10, 'a', 10);
    must_put(s, fd, 100, 'b', 10);
    assert_int_equal(simio_crash_count(s, SIMIO_REORDER), 3);
    for (uint64_t v = 0; v < 3; v++) {
        struct simio *copy = simio_copy(s);
        const uint8_t *p;
        size_t n;
        simio_crash(copy, SIMIO_REORDER, v);
        p = simio_bytes(copy, "f", &n);
        assert_int_equal(n, 512);
        assert_int_equal(p[10], v >= 1 ? 'a' : 'd');
        assert_int_equal(p[100], v >= 2 ? 'b' : 'd');
        assert_int_equal(p[200], 'd');
        simio_free(copy);
    }
    simio_free(s);
}

static void mode_z_keeps_sizes_and_zeros(void **state)
{
    struct simio *s = simio_new(1);
    char buf[IMAGES_MAX];
    int fd = durable_file(s, 1);

    (void)state;
    must_put(s, fd, 0, 'a', 1024);
    assert_string_equal(images(s, SIMIO_ZERO, "f", buf), "a0 aa");
    simio_free(s);
}

static void mode_g_spoils_one_touched_sector_with_all_that_shares_it(void **state)
{
    struct simio *s = simio_new(1);
    char buf[64];
    int n_spoiled = 0, fd = durable_file(s, 3);

    (void)state;
    must_put(s, fd, 600, 'a', 8);
    for (uint64_t v = 0; v < 50; v++) {
        struct simio *copy = simio_copy(s);
        simio_crash(copy, SIMIO_GARBAGE, v);
        sectors(copy, "f", buf);
        assert_int_equal(buf[0], 'd');
        assert_int_equal(buf[2], 'd');
        n_spoiled += simio_bytes(copy, "f", &(size_t){ 0 })[512] != 'd';
        simio_free(copy);
    }
    assert_true(n_spoiled > 40);
    simio_free(s);
}

static void mode_d_keeps_names_independently(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    bool seen[8] = { false };
    int f = durable_file(s, 1);

    (void)state;
    assert_int_equal(io->close(io, f), 0);
    must_open(s, "a", IO_WRITE | IO_CREATE);
    must_open(s, "b", IO_WRITE | IO_CREATE);
    assert_int_equal(io->unlink(io, "f"), 0);
    assert_int_equal(simio_crash_count(s, SIMIO_DIRS), 8);
    for (uint64_t v = 0; v < 8; v++) {
        struct simio *copy = simio_copy(s);
        simio_crash(copy, SIMIO_DIRS, v);
        seen[exists(copy, "a") + 2 * exists(copy, "b") + 4 * exists(copy, "f")] = true;
        simio_free(copy);
    }
    for (int i = 0; i < 8; i++)
        assert_true(seen[i]);
    simio_free(s);
}

static void a_rename_is_kept_or_lost_as_a_whole(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char a[IMAGES_MAX], b[IMAGES_MAX];
    int fd = durable_file(s, 1);

    (void)state;
    must_sync(s, fd);
    fd = must_open(s, "tmp", IO_WRITE | IO_CREATE);
    must_put(s, fd, 0, 'n', 512);
    must_sync(s, fd);
    must_sync_dir(s, "/");
    must_rename(s, "tmp", "f");
    assert_int_equal(io->open(io, "tmp", IO_READ), -1);
    assert_int_equal(simio_crash_count(s, SIMIO_DIRS), 2);
    assert_string_equal(images(s, SIMIO_DIRS, "f", a), "d n");
    assert_string_equal(images(s, SIMIO_DIRS, "tmp", b), "- n");
    simio_crash(s, SIMIO_DIRS, 1);
    assert_string_equal(sectors(s, "f", a), "n");
    assert_string_equal(sectors(s, "tmp", b), "-");
    simio_free(s);
}

static void a_rename_between_directories_waits_for_both(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char buf[IMAGES_MAX];

    (void)state;
    durable_file(s, 1);
    assert_int_equal(io->mkdir(io, "q"), 0);
    must_sync_dir(s, "/");
    must_rename(s, "f", "q/f");
    must_sync_dir(s, "q");
    assert_string_equal(images(s, SIMIO_DIRS, "q/f", buf), "- d");
    must_sync_dir(s, "/");
    assert_string_equal(images(s, SIMIO_DIRS, "q/f", buf), "d");
    assert_string_equal(images(s, SIMIO_DIRS, "f", buf), "-");
    simio_free(s);
}

static void a_linked_file_keeps_its_bytes_under_each_name(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char a[IMAGES_MAX], b[IMAGES_MAX];
    int fd = durable_file(s, 1);

    (void)state;
    assert_int_equal(io->mkdir(io, "q"), 0);
    must_sync_dir(s, "/");
    assert_int_equal(io->link(io, "f", "q/g"), 0);
    assert_int_equal(io->link(io, "f", "q/g"), -1);
    assert_int_equal(errno, EEXIST);
    assert_string_equal(images(s, SIMIO_DIRS, "q/g", a), "- d");
    assert_string_equal(images(s, SIMIO_DIRS, "f", b), "d");
    must_sync_dir(s, "q");
    assert_string_equal(images(s, SIMIO_DIRS, "q/g", a), "d");
    assert_int_equal(io->unlink(io, "f"), 0);
    must_put(s, fd, 0, 'a', 512);
    must_sync(s, fd);
    must_sync_dir(s, "/");
    simio_crash(s, SIMIO_DIRS, 0);
    assert_string_equal(sectors(s, "q/g", a), "a");
    assert_string_equal(sectors(s, "f", b), "-");
    simio_free(s);
}

static void a_lost_directory_takes_its_files_along(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    uint64_t digest = simio_digest(s);
    int fd;

    (void)state;
    assert_int_equal(io->mkdir(io, "d"), 0);
    fd = must_open(s, "d/f", IO_WRITE | IO_CREATE);
    must_put(s, fd, 0, 'a', 512);
    must_sync(s, fd);
    must_sync_dir(s, "d");
    simio_crash(s, SIMIO_DIRS, 0);
    assert_false(exists(s, "d/f"));
    assert_int_equal(simio_digest(s), digest);
    assert_int_equal(io->mkdir(io, "d"), 0);
    assert_false(exists(s, "d/f"));
    simio_free(s);
}

static void the_same_variant_gives_the_same_image(void **state)
{
    struct simio *s = simio_new(7);
    int fd = durable_file(s, 10);

    (void)state;
    for (int i = 0; i < 8; i++)
        must_put(s, fd, (uint64_t)i * 700, (char)('a' + i), 900);
    must_open(s, "g", IO_WRITE | IO_CREATE);
    for (int mode = SIMIO_KILL; mode < SIMIO_N_MODES; mode++) {
        for (uint64_t v = 0; v < 100; v++) {
            struct simio *a = simio_copy(s), *b = simio_copy(s);
            simio_crash(a, (enum simio_mode)mode, v);
            simio_crash(b, (enum simio_mode)mode, v);
            assert_int_equal(simio_digest(a), simio_digest(b));
            simio_free(a);
            simio_free(b);
        }
    }
    simio_free(s);
}

/* After a crash nothing is pending: one more crash changes nothing. */
static void what_a_crash_left_is_durable(void **state)
{
    (void)state;
    for (int mode = SIMIO_PREFIX; mode < SIMIO_N_MODES; mode++) {
        struct simio *s = simio_new(3);
        uint64_t digest;
        int fd = durable_file(s, 3);
        must_put(s, fd, 100, 'a', 3000);
        must_open(s, "g", IO_WRITE | IO_CREATE);
        simio_crash(s, (enum simio_mode)mode, 12345);
        digest = simio_digest(s);
        assert_int_equal(simio_crash_count(s, SIMIO_PREFIX), 1);
        simio_crash(s, SIMIO_MIXED, 99);
        assert_int_equal(simio_digest(s), digest);
        simio_free(s);
    }
}

/* ---- faults ------------------------------------------------------------------------------------ */

static void a_failed_sync_is_read_until_the_crash_and_never_synced_later(void **state)
{
    char buf[64];
    bool lost = false;

    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct simio *s = simio_new(seed);
        struct io *io = simio_io(s);
        int fd = durable_file(s, 1);
        must_put(s, fd, 512, 'a', 512);
        simio_fault_at(s, simio_n_ops(s), 1, SIMIO_EIO);
        assert_int_equal(io->fdatasync(io, fd), -1);
        assert_int_equal(errno, EIO);
        must_sync(s, fd);
        assert_string_equal(sectors(s, "f", buf), "da");
        simio_restart(s);
        assert_string_equal(sectors(s, "f", buf), "da");
        simio_crash(s, SIMIO_PREFIX, 99);
        lost = lost || strcmp(sectors(s, "f", buf), "da") != 0;
        simio_free(s);
    }
    assert_true(lost);
}

static void a_failed_sync_may_read_as_lost_at_once(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char buf[64];
    int fd = durable_file(s, 1);
    uint64_t digest;

    (void)state;
    simio_set_sync_reverts(s, true);
    must_put(s, fd, 0, 'a', 4096);
    simio_fault_at(s, simio_n_ops(s), 1, SIMIO_EIO);
    assert_int_equal(io->fdatasync(io, fd), -1);
    sectors(s, "f", buf);
    digest = simio_digest(s);
    simio_crash(s, SIMIO_MIXED, 5);
    assert_int_equal(simio_digest(s), digest);
    simio_free(s);
}

/* One of each operation, in the order of enum simio_kind but for the last few. */
static int each_kind(struct simio *s, int fd, enum simio_kind kind)
{
    struct io *io = simio_io(s);
    char buf[8], names[NAMES_MAX] = "";
    uint64_t n;

    switch (kind) {
    case SIMIO_OPEN: return io->open(io, "f", IO_READ);
    case SIMIO_CREATE: return io->open(io, "new", IO_WRITE | IO_CREATE);
    case SIMIO_READ: return (int)io->pread(io, fd, buf, sizeof buf, 0);
    case SIMIO_WRITE: return (int)put(s, fd, 0, "abcdefgh", 8);
    case SIMIO_SYNC: return io->fdatasync(io, fd);
    case SIMIO_ALLOCATE: return io->allocate(io, fd, 8192);
    case SIMIO_TRUNCATE: return io->truncate(io, fd, 100);
    case SIMIO_SIZE: return io->size(io, fd, &n);
    case SIMIO_LOCK: return io->lock(io, fd);
    case SIMIO_RENAME: return io->rename(io, "f", "g");
    case SIMIO_LINK: return io->link(io, "f", "h");
    case SIMIO_UNLINK: return io->unlink(io, "f");
    case SIMIO_MKDIR: return io->mkdir(io, "d");
    case SIMIO_SYNC_DIR: return io->sync_dir(io, "/");
    case SIMIO_LIST: return io->list(io, "/", count_name, names);
    case SIMIO_SPACE: return io->space(io, "/", &n);
    default: abort();
    }
}

static void a_fault_hits_the_operation_planned_and_changes_nothing_else(void **state)
{
    static const struct {
        enum simio_fault fault;
        int sys;
    } faults[] = { { SIMIO_CRASH, EIO }, { SIMIO_EIO, EIO }, { SIMIO_ENOSPC, ENOSPC } };

    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        for (int kind = 0; kind < SIMIO_N_KINDS; kind++) {
            struct simio *s = simio_new(1);
            int fd = durable_file(s, 1), rc;
            uint64_t digest = simio_digest(s);
            simio_fault_at(s, simio_n_ops(s) + 1, 1, faults[i].fault);
            assert_int_equal(each_kind(s, fd, SIMIO_SIZE), 0);
            rc = each_kind(s, fd, (enum simio_kind)kind);
            if (rc >= 0) { /* only a full disk passes over those that take no space */
                assert_int_equal(faults[i].fault, SIMIO_ENOSPC);
                assert_int_equal(simio_n_faults(s), 0);
            } else {
                assert_int_equal(errno, faults[i].sys);
                assert_int_equal(simio_n_faults(s), 1);
                assert_int_equal(simio_digest(s), digest);
            }
            assert_int_equal(simio_is_down(s), faults[i].fault == SIMIO_CRASH);
            simio_free(s);
        }
    }
}

static void after_a_crash_everything_fails_until_the_restart(void **state)
{
    struct simio *s = simio_new(1);
    int fd = durable_file(s, 1);
    uint64_t digest = simio_digest(s);

    (void)state;
    simio_fault_at(s, simio_n_ops(s), 1, SIMIO_CRASH);
    for (int kind = 0; kind < SIMIO_N_KINDS; kind++)
        assert_int_equal(each_kind(s, fd, (enum simio_kind)kind), -1);
    assert_int_equal(simio_digest(s), digest);
    simio_restart(s);
    assert_int_equal(each_kind(s, fd, SIMIO_READ), -1); /* its files are closed */
    fd = must_open(s, "f", IO_WRITE);
    assert_int_equal(each_kind(s, fd, SIMIO_WRITE), 8);
    simio_free(s);
}

static void a_short_write_writes_a_front_part(void **state)
{
    struct simio *s = simio_new(1);
    char buf[64];
    size_t n;
    ssize_t wrote;
    int fd = durable_file(s, 0);

    (void)state;
    simio_fault_at(s, simio_n_ops(s), 1, SIMIO_SHORT);
    wrote = put(s, fd, 0, "abcdefghij", 10);
    assert_true(wrote >= 1 && wrote < 10);
    assert_non_null(simio_bytes(s, "f", &n));
    assert_int_equal(n, wrote);
    assert_int_equal(put(s, fd, 0, "abcdefghij", 10), 10);
    assert_memory_equal(simio_bytes(s, "f", &n), "abcdefghij", 10);
    assert_int_equal(simio_io(s)->pread(simio_io(s), fd, buf, 10, 0), 10);
    simio_free(s);
}

static void a_full_disk_refuses_and_forgives(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    uint64_t space;
    int f = durable_file(s, 0), g = must_open(s, "g", IO_WRITE | IO_CREATE);

    (void)state;
    simio_set_capacity(s, 4 * SIMIO_BLOCK, true);
    assert_int_equal(io->allocate(io, f, 3 * SIMIO_BLOCK), 0);
    assert_int_equal(io->space(io, "/", &space), 0);
    assert_int_equal(space, SIMIO_BLOCK);
    assert_int_equal(io->allocate(io, g, 2 * SIMIO_BLOCK), -1);
    assert_int_equal(errno, ENOSPC);
    must_put(s, g, 0, 'g', SIMIO_BLOCK);
    assert_int_equal(put(s, g, SIMIO_BLOCK, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
    must_put(s, f, 0, 'f', 3 * SIMIO_BLOCK); /* has its space */
    assert_int_equal(io->close(io, f), 0);
    assert_int_equal(io->unlink(io, "f"), 0);
    assert_int_equal(put(s, g, SIMIO_BLOCK, "x", 1), 1);
    simio_free(s);
}

static void a_write_that_half_fits_is_short(void **state)
{
    struct simio *s = simio_new(1);
    uint8_t bytes[3 * SIMIO_BLOCK] = { 1 };
    int f = durable_file(s, 0);

    (void)state;
    simio_set_capacity(s, 2 * SIMIO_BLOCK, true);
    assert_int_equal(put(s, f, 100, bytes, sizeof bytes), 2 * SIMIO_BLOCK - 100);
    simio_free(s);
}

static void preallocation_may_be_worth_nothing(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    int f = durable_file(s, 0);

    (void)state;
    simio_set_capacity(s, 2 * SIMIO_BLOCK, false);
    assert_int_equal(io->allocate(io, f, 64 * SIMIO_BLOCK), 0);
    must_put(s, f, 0, 'f', SIMIO_BLOCK);
    must_put(s, f, SIMIO_BLOCK, 'f', SIMIO_BLOCK);
    assert_int_equal(put(s, f, 2 * SIMIO_BLOCK, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(put(s, f, 0, "x", 1), -1); /* not even over what is there */
    simio_free(s);
}

static void a_broken_sector_fails_until_it_is_written(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    char buf[512];
    int fd = durable_file(s, 3);

    (void)state;
    simio_break_sector(s, "f", 700);
    assert_int_equal(io->pread(io, fd, buf, 512, 0), 512);
    assert_int_equal(io->pread(io, fd, buf, 512, 1), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(io->pread(io, fd, buf, 512, 1024), 512);
    must_put(s, fd, 512, 'n', 512);
    assert_int_equal(io->pread(io, fd, buf, 512, 1), 512);
    simio_free(s);
}

/* ---- copies, clocks, damage -------------------------------------------------------------------- */

static void a_copy_and_its_origin_do_not_touch_each_other(void **state)
{
    struct simio *s = simio_new(1), *copy;
    char buf[64];
    int fd = durable_file(s, 2), other;

    (void)state;
    must_put(s, fd, 0, 'a', 512);
    copy = simio_copy(s);
    must_put(s, fd, 512, 'b', 512);
    must_sync(s, fd);
    other = must_open(copy, "f", IO_WRITE);
    must_put(copy, other, 0, 'c', 512);
    assert_string_equal(sectors(s, "f", buf), "ab");
    assert_string_equal(sectors(copy, "f", buf), "cd");
    simio_crash(copy, SIMIO_PREFIX, 0);
    assert_string_equal(sectors(copy, "f", buf),
                        "dd"); /* what was pending at the copy is pending in it */
    simio_crash(s, SIMIO_PREFIX, 0);
    assert_string_equal(sectors(s, "f", buf), "ab");
    simio_free(copy);
    simio_free(s);
}

static void clocks_move_when_told(void **state)
{
    struct simio *s = simio_new(1);
    struct io *io = simio_io(s);
    uint64_t mono = io->monotonic_ns(io);

    (void)state;
    simio_set_wall_ms(s, 5000);
    simio_advance_ms(s, 7);
    simio_set_latency_ns(s, SIMIO_SYNC, 2000000);
    durable_file(s, 1);
    assert_int_equal(io->wall_ms(io), 5009);
    assert_int_equal(io->monotonic_ns(io) - mono, 9000000);
    simio_set_wall_ms(s, 100);
    assert_int_equal(io->wall_ms(io), 100);
    assert_int_equal(io->monotonic_ns(io) - mono, 9000000);
    simio_free(s);
}

static void on_op(void *ctx, const struct simio_op *op)
{
    char *text = ctx;
    size_t n = strlen(text);

    snprintf(text + n, 300 - n, "%s:%s:%d ", simio_kind_name(op->kind), op->path, (int)op->number);
}

static void the_hook_sees_every_operation_before_it_happens(void **state)
{
    struct simio *s = simio_new(1);
    char text[300] = "";

    (void)state;
    simio_set_hook(s, on_op, text);
    durable_file(s, 1);
    assert_string_equal(text, "create:f:0 write:f:1 sync:f:2 sync_dir:/:3 ");
    simio_free(s);
}

static void one_seed_gives_one_run(void **state)
{
    uint8_t a[16], b[16], c[16];
    struct simio *x = simio_new(5), *y = simio_new(5), *z = simio_new(6);

    (void)state;
    assert_int_equal(simio_io(x)->random(simio_io(x), a, sizeof a), 0);
    assert_int_equal(simio_io(y)->random(simio_io(y), b, sizeof b), 0);
    assert_int_equal(simio_io(z)->random(simio_io(z), c, sizeof c), 0);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    simio_free(x);
    simio_free(y);
    simio_free(z);
}

static void damage_from_outside_is_durable(void **state)
{
    struct simio *s = simio_new(1);
    char buf[64];
    size_t n;

    (void)state;
    durable_file(s, 2);
    simio_poke(s, "f", 5, 'x');
    simio_cut(s, "f", 600);
    simio_put(s, "g", "abc", 3);
    simio_crash(s, SIMIO_MIXED, 1);
    assert_string_equal(sectors(s, "f", buf), "?d");
    assert_memory_equal(simio_bytes(s, "g", &n), "abc", 3);
    simio_remove(s, "g");
    assert_false(exists(s, "g"));
    simio_crash(s, SIMIO_PREFIX, 0);
    assert_false(exists(s, "g"));
    simio_free(s);
}

/* Random writes and syncs; after a random crash each sector holds one of the versions that it had since its
 * file was last synced, and in mode G at most one sector does not. */
static void random_crashes_invent_no_sector(void **state)
{
    enum { N = 16, MAX_VERSIONS = 40 };
    const char *given = getenv("SEED"), *scale = getenv("SCALE");
    uint64_t rng = given && *given ? strtoull(given, NULL, 10) : 20240, n_rounds = 3000;

    (void)state;
    n_rounds = (uint64_t)((double)n_rounds * (scale && *scale ? strtod(scale, NULL) : 1)) + 1;
    print_message("  seed %llu, %llu rounds\n", (unsigned long long)rng,
                  (unsigned long long)n_rounds);
    for (uint64_t round = 0; round < n_rounds; round++) {
        struct simio *s = simio_new(simio_random(&rng));
        int fd = durable_file(s, N), n_bad = 0;
        char versions[N][MAX_VERSIONS];
        size_t n_versions[N], n;
        enum simio_mode mode = (enum simio_mode)(1 + simio_below(&rng, SIMIO_N_MODES - 1));
        const uint8_t *p;
        memset(versions, 'd', sizeof versions);
        for (size_t i = 0; i < N; i++)
            n_versions[i] = 1;
        for (uint64_t k = simio_below(&rng, MAX_VERSIONS - 1); k > 0; k--) {
            size_t at = simio_below(&rng, N), len = 1 + simio_below(&rng, N - at);
            char c = (char)('A' + simio_below(&rng, 26));
            if (simio_below(&rng, 8) == 0) {
                must_sync(s, fd);
                for (size_t i = 0; i < N; i++) {
                    versions[i][0] = versions[i][n_versions[i] - 1];
                    n_versions[i] = 1;
                }
            }
            must_put(s, fd, at * SIMIO_SECTOR, c, len * SIMIO_SECTOR);
            for (size_t i = at; i < at + len; i++)
                versions[i][n_versions[i]++] = c;
        }
        simio_crash(s, mode, simio_random(&rng));
        p = simio_bytes(s, "f", &n);
        assert_non_null(p);
        assert_int_equal(n, N * SIMIO_SECTOR);
        for (size_t i = 0; i < N; i++)
            n_bad += memchr(versions[i], p[i * SIMIO_SECTOR], n_versions[i]) == NULL ||
                     memcmp(p + i * SIMIO_SECTOR, p + i * SIMIO_SECTOR + 1, SIMIO_SECTOR - 1) != 0;
        assert_true(n_bad <= (mode == SIMIO_GARBAGE || mode == SIMIO_MIXED));
        simio_free(s);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(directories_list_what_is_in_them),
        cmocka_unit_test(a_lock_is_exclusive_until_close_or_restart),
        cmocka_unit_test(a_kill_loses_nothing_but_syncs_nothing),
        cmocka_unit_test(synced_bytes_survive_in_every_mode),
        cmocka_unit_test(fdatasync_is_a_barrier_for_that_file_only),
        cmocka_unit_test(fdatasync_does_not_keep_the_name),
        cmocka_unit_test(sync_dir_does_not_keep_the_bytes),
        cmocka_unit_test(mode_p_gives_exactly_the_prefixes_over_all_files),
        cmocka_unit_test(mode_r_gives_every_subset_of_sectors),
        cmocka_unit_test(mode_r_lets_sizes_and_bytes_come_apart),
        cmocka_unit_test(a_sector_holds_what_one_of_its_writes_left),
        cmocka_unit_test(mode_z_keeps_sizes_and_zeros),
        cmocka_unit_test(mode_g_spoils_one_touched_sector_with_all_that_shares_it),
        cmocka_unit_test(mode_d_keeps_names_independently),
        cmocka_unit_test(a_rename_is_kept_or_lost_as_a_whole),
        cmocka_unit_test(a_rename_between_directories_waits_for_both),
        cmocka_unit_test(a_linked_file_keeps_its_bytes_under_each_name),
        cmocka_unit_test(a_lost_directory_takes_its_files_along),
        cmocka_unit_test(the_same_variant_gives_the_same_image),
        cmocka_unit_test(what_a_crash_left_is_durable),
        cmocka_unit_test(a_failed_sync_is_read_until_the_crash_and_never_synced_later),
        cmocka_unit_test(a_failed_sync_may_read_as_lost_at_once),
        cmocka_unit_test(a_fault_hits_the_operation_planned_and_changes_nothing_else),
        cmocka_unit_test(after_a_crash_everything_fails_until_the_restart),
        cmocka_unit_test(a_short_write_writes_a_front_part),
        cmocka_unit_test(a_full_disk_refuses_and_forgives),
        cmocka_unit_test(a_write_that_half_fits_is_short),
        cmocka_unit_test(preallocation_may_be_worth_nothing),
        cmocka_unit_test(a_broken_sector_fails_until_it_is_written),
        cmocka_unit_test(a_copy_and_its_origin_do_not_touch_each_other),
        cmocka_unit_test(clocks_move_when_told),
        cmocka_unit_test(the_hook_sees_every_operation_before_it_happens),
        cmocka_unit_test(one_seed_gives_one_run),
        cmocka_unit_test(damage_from_outside_is_durable),
        cmocka_unit_test(random_crashes_invent_no_sector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
