/* test_keeper.c - what is appended moves from memory into segments, segments become fewer, files that are not needed go; and what
 * is read stays what was written. On a simulated disk, without threads; at the end the same with threads on a real one.
 *
 * Crashes and errors at any moment are test_crash_seal's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/arena.h"
#include "log/checkpoint.h"
#include "log/entry.h"
#include "log/io.h"
#include "log/log.h"
#include "log/manifest.h"
#include "log/segment.h"
#include "tests/lib/host.h"
#include "tests/lib/random.h"
#include "tests/lib/simio.h"

#define DIR "data"

enum {
    PART_BYTES = 16 << 10,
    FILE_BYTES = LOG_FILE_BYTES_MIN,
    ENTRY_MAX = 512,
    N_STREAMS_MAX = 64,
    N_FILES_MAX = 256
};

struct stream { /* what has to be there */
    uint64_t oid;
    struct id *ids;
    size_t n, cap;
    uint64_t next_ms, bytes;
};

struct bed {
    struct simio *disk; /* NULL: a real directory */
    struct io real;
    char dir[64];
    struct log *log;
    struct host *host;
    struct log_options options;
    struct log_recovery info;
    struct err err;
    uint64_t clock;
    enum log_class class;
    struct stream streams[N_STREAMS_MAX];
    size_t n_streams;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t n_progress;
};

/* ---- the log under test ---- */

static void on_progress(void *ctx)
{
    struct bed *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->n_progress++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static struct bed *bed_new(void)
{
    struct bed *b = calloc(1, sizeof *b);

    assert_non_null(b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->disk = simio_new(1);
    b->class = LOG_ALWAYS;
    snprintf(b->dir, sizeof b->dir, DIR);
    b->options = (struct log_options){ .io = simio_io(b->disk),
                                       .dir = b->dir,
                                       .file_bytes = FILE_BYTES,
                                       .batch_bytes_max = 64 << 20,
                                       .interval_ms = 1000,
                                       .part_bytes = PART_BYTES,
                                       .checkpoint_bytes = 64 << 10,
                                       .tier_bytes = 1 << 20,
                                       .block_bytes = 4096,
                                       .work_slice = 2 };
    return b;
}

/* log_host's functions get the host; on_progress needs the bed. */
static struct bed *bed_of_progress;

static void bed_on_progress(void *host)
{
    (void)host;
    on_progress(bed_of_progress);
}

static int bed_open(struct bed *b)
{
    int rc;

    b->host = host_new();
    host_set_calls(b->host, &b->options.host);
    bed_of_progress = b;
    b->options.host.on_progress = bed_on_progress;
    b->err = (struct err){ 0 };
    host_enter(b->host);
    rc = log_open(&b->options, &b->log, &b->info, &b->err);
    host_leave(b->host);
    if (rc != OK) {
        host_free(b->host);
        b->host = NULL;
        b->log = NULL;
        return rc;
    }
    assert_int_equal(host_complete(b->host, &b->err), OK);
    assert_string_equal(b->host->why, "");
    if (b->clock < b->info.last_clock)
        b->clock = b->info.last_clock;
    return OK;
}

static void must_open(struct bed *b)
{
    if (bed_open(b) != OK)
        fail_msg("log_open: %s", b->err.text);
}

static void bed_kill(struct bed *b)
{
    log_abandon(b->log);
    host_free(b->host);
    b->log = NULL;
    b->host = NULL;
    if (b->disk != NULL)
        simio_restart(b->disk);
}

static void bed_close(struct bed *b)
{
    host_enter(b->host);
    if (log_close(b->log, &b->err) != OK)
        fail_msg("log_close: %s", b->err.text);
    host_leave(b->host);
    host_free(b->host);
    b->log = NULL;
    b->host = NULL;
}

static void bed_free(struct bed *b)
{
    if (b->log != NULL)
        bed_kill(b);
    for (size_t i = 0; i < b->n_streams; i++)
        free(b->streams[i].ids);
    simio_free(b->disk);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static bool turn(struct bed *b)
{
    bool more;

    host_enter(b->host);
    more = log_turn(b->log);
    host_leave(b->host);
    return more;
}

static bool step(struct bed *b, uint64_t pick)
{
    bool did;

    host_enter(b->host);
    did = log_step_pick(b->log, pick);
    host_leave(b->host);
    return did;
}

/* All background work there is. */
static void settle(struct bed *b)
{
    int n = 0;

    while (step(b, 0))
        assert_true(n++ < 1000000);
    assert_string_equal(b->host->why, "");
}

static struct log_stats stats(const struct bed *b)
{
    struct log_stats s;

    log_get_stats(b->log, &s);
    return s;
}

/* ---- streams ---- */

/* Entries that do not compress well: their size is what counts here. */
static size_t entry_make(uint64_t oid, struct id id, uint8_t out[ENTRY_MAX])
{
    uint64_t rng = oid * 0x9e3779b97f4a7c15u ^ id.ms << 20 ^ id.seq;
    char noise[100];
    struct slice strings[2] = { slice_str("field"), slice_of(noise, sizeof noise) };

    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)simio_random(&rng);
    return (size_t)(entry_put(out, id, strings, 2) - out);
}

static uint64_t append(struct bed *b, enum record_type type, const uint8_t *body,
                       const uint8_t *end)
{
    uint64_t lsn;

    if (log_open_bytes(b->log) == 0)
        log_set_clock(b->log, b->clock += 1 << 16);
    if (!host_append(b->host, b->log, type, b->class, body, (size_t)(end - body), &lsn, &b->err))
        fail_msg("append: %s", b->err.text);
    return lsn;
}

static void create(struct bed *b, uint32_t name)
{
    uint8_t body[32], *p = varint_put(body, 0);
    struct stream *s = &b->streams[b->n_streams++];
    char key[4];

    memcpy(key, &name, sizeof key);
    p = slice_put(p, slice_of(key, sizeof key));
    *s = (struct stream){ .oid = append(b, RECORD_STREAM, body, p), .next_ms = 1 };
    log_commit(b->log, false);
}

static void add_one(struct bed *b, struct stream *s)
{
    struct id id = { s->next_ms++, 5 };
    uint8_t body[ENTRY_MAX + 16], *p = varint_put(body, s->oid);
    size_t len = entry_make(s->oid, id, p);

    append(b, RECORD_ENTRY, body, p + len);
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 64 : 2 * s->cap;
        s->ids = realloc(s->ids, s->cap * sizeof *s->ids);
        assert_non_null(s->ids);
    }
    s->ids[s->n++] = id;
    s->bytes += len;
}

/* n entries, a batch each. */
static void add(struct bed *b, size_t stream, size_t n)
{
    while (n-- > 0) {
        add_one(b, &b->streams[stream]);
        log_commit(b->log, true);
    }
}

/* The same with all background work between them. */
static void add_settled(struct bed *b, size_t stream, size_t n)
{
    while (n-- > 0) {
        add(b, stream, 1);
        settle(b);
    }
}

/* Removes every `each`-th entry. */
static void delete_each(struct bed *b, size_t stream, size_t each)
{
    struct stream *s = &b->streams[stream];
    uint64_t noted = 0;
    size_t n = 0, left = s->n;

    for (size_t i = 0; i < s->n; i++) {
        uint8_t body[64], entry[ENTRY_MAX], *p;
        size_t len = entry_make(s->oid, s->ids[i], entry);

        if (i % each != 0) {
            s->ids[n++] = s->ids[i];
            continue;
        }
        s->bytes -= len;
        noted += len;
        p = varint_put(varint_put(varint_put(body, s->oid), --left), s->bytes);
        p = id_put(varint_put(p, 1), s->ids[i]);
        append(b, RECORD_REMOVE, body, p);
        log_commit(b->log, false);
    }
    log_note_garbage(b->log, s->n - n, noted);
    s->n = n;
}

/* Leaves the last `keep`. */
static void cut(struct bed *b, size_t stream, size_t keep)
{
    struct stream *s = &b->streams[stream];
    size_t n = s->n - keep;
    struct id first = keep > 0 ? s->ids[n] : (struct id){ s->next_ms, 0 };
    uint8_t body[64], entry[ENTRY_MAX], *p;
    uint64_t noted = 0;

    for (size_t i = 0; i < n; i++)
        noted += entry_make(s->oid, s->ids[i], entry);
    s->bytes -= noted;
    memmove(s->ids, s->ids + n, keep * sizeof *s->ids);
    s->n = keep;
    p = id_put(varint_put(body, s->oid), first);
    p = varint_put(varint_put(p, keep), s->bytes);
    append(b, RECORD_CUT, body, p);
    log_commit(b->log, false);
    log_note_garbage(b->log, n, noted);
}

static void check_entry(const struct stream *s, size_t i, const uint8_t *p, size_t len)
{
    uint8_t expect[ENTRY_MAX];

    assert_true(i < s->n);
    assert_int_equal(entry_make(s->oid, s->ids[i], expect), len);
    assert_memory_equal(expect, p, len);
}

/* Everything that a reader sees is what it has to be. */
static void check_stream(struct bed *b, const struct stream *s)
{
    const struct host_stream *st = host_find(b->host, s->oid);
    struct sealed sealed;
    struct reader r;
    size_t len, i = 0;

    assert_non_null(st);
    assert_int_equal(st->n, s->n);
    assert_int_equal(st->bytes, s->bytes);
    log_get_sealed(b->log, st->oid, st->floor, st->deletes, st->sealed_last, &sealed);
    reader_init(&r, &sealed, log_cache(b->log), log_sync_decoder(b->log), NULL);
    for (int rc = reader_seek(&r, ID_MIN, &b->err);; rc = reader_next(&r, &b->err)) {
        const uint8_t *p;
        if (rc != OK)
            fail_msg("%s", b->err.text);
        p = reader_at(&r, &len);
        if (p == NULL)
            break;
        check_entry(s, i++, p, len);
    }
    for (size_t k = 0; k < st->n_tail; k++)
        check_entry(s, i++, st->tail[k].at, st->tail[k].len);
    assert_int_equal(i, s->n);
    reader_fini(&r);
    sealed_fini(&sealed);
}

static void check(struct bed *b)
{
    assert_string_equal(b->host->why, "");
    for (size_t i = 0; i < b->n_streams; i++)
        check_stream(b, &b->streams[i]);
}

/* ---- requests ---- */

struct asked {
    struct log_request r; /* first */
    int n_done, rc;
};

static void on_done(struct log_request *r, int rc, const struct err *e)
{
    struct asked *a = (struct asked *)r;

    (void)e;
    a->n_done++;
    a->rc = rc;
}

static struct asked asked(void)
{
    return (struct asked){ .r.done = on_done };
}

static void seal(struct bed *b)
{
    struct asked a = asked();

    log_seal(b->log, &a.r);
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.rc, OK);
}

static void merge(struct bed *b)
{
    struct asked a = asked();

    log_merge(b->log, &a.r);
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.rc, OK);
}

/* ---- files ---- */

struct files {
    size_t n[4]; /* of each kind */
    size_t n_other;
    char other[200];
};
enum { SEGMENTS, CHECKPOINTS, QUARANTINED, WAL_FILES };

static void count_file(void *ctx, const char *path)
{
    struct files *f = ctx;
    const char *name = strrchr(path, '/') + 1;
    uint64_t number;
    bool unfinished;

    if (strstr(path, "/quarantine/") != NULL)
        f->n[QUARANTINED]++;
    else if (segment_name_parse(name, &number, &unfinished) && !unfinished)
        f->n[SEGMENTS]++;
    else if (checkpoint_name_parse(name, &number, &unfinished) && !unfinished)
        f->n[CHECKPOINTS]++;
    else if (wal_name_parse(name, &number))
        f->n[WAL_FILES]++;
    else if (strcmp(name, "STORE") != 0 && strcmp(name, MANIFEST_NAME) != 0 &&
             strstr(name, "next") == NULL && strstr(name, "reserve") == NULL && f->n_other++ == 0)
        snprintf(f->other, sizeof f->other, "%s", name);
}

static struct files files(const struct bed *b)
{
    struct files f = { 0 };

    simio_each_file(b->disk, count_file, &f);
    return f;
}

static void find_segment(void *ctx, const char *path)
{
    char *to = ctx;

    if (strstr(path, "/st-") != NULL && to[0] == '\0')
        snprintf(to, 200, "%s", path);
}

static void find_checkpoint(void *ctx, const char *path)
{
    char *to = ctx;

    if (strstr(path, "/ckpt-") != NULL)
        snprintf(to, 200, "%s", path); /* the last one: the newest */
}

/* ---- sealing ---- */

static void what_is_appended_goes_from_memory_into_segments(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    must_open(b);
    create(b, 1);
    create(b, 2);
    for (int i = 0; i < 10; i++) {
        add_settled(b, 0, 100);
        add_settled(b, 1, 20);
        s = stats(b);
        assert_true(s.unsealed_bytes <= PART_BYTES + 1000);
        assert_int_equal(s.n_parts_sealing, 0);
        check(b);
    }
    assert_true(s.n_seals >= 7);
    assert_true(s.segment_entries + s.unsealed_bytes / 110 >= 1150);
    assert_true(s.arena_bytes <= 4 * ARENA_CHUNK_BYTES);
    seal(b);
    s = stats(b);
    assert_int_equal(s.unsealed_bytes, 0);
    assert_int_equal(s.segment_entries, 1200);
    assert_int_equal(host_find(b->host, b->streams[0].oid)->n_tail, 0);
    check(b);
    bed_close(b);
    must_open(b);
    check(b);
    bed_free(b);
}

static void with_two_parts_waiting_and_one_full_the_log_is_backed_up(void **state)
{
    struct bed *b = bed_new();
    size_t n = 0;

    (void)state;
    must_open(b);
    settle(b);
    create(b, 1);
    while (!log_is_backed_up(b->log)) {
        add(b, 0, 1);
        assert_true(n++ < 1000);
    }
    assert_int_equal(stats(b).n_parts_sealing, LOG_PARTS_SEALING_MAX);
    assert_true(stats(b).unsealed_bytes >= 3 * PART_BYTES);
    assert_true(stats(b).unsealed_bytes < 3 * PART_BYTES + 1000);
    add(b, 0, 10); /* is not refused */
    settle(b);
    assert_false(log_is_backed_up(b->log));
    assert_true(stats(b).unsealed_bytes < PART_BYTES);
    check(b);
    bed_free(b);
}

static void nothing_to_do_is_nothing_done(void **state)
{
    struct bed *b = bed_new();
    uint64_t ops;

    (void)state;
    must_open(b);
    create(b, 1);
    add(b, 0, 10);
    settle(b);
    ops = simio_n_ops(b->disk);
    for (int i = 0; i < 100; i++)
        assert_false(turn(b));
    assert_false(step(b, 0));
    assert_int_equal(simio_n_ops(b->disk), ops);
    assert_int_equal(stats(b).n_seals, 0);
    bed_free(b);
}

static void an_old_part_is_sealed_although_it_is_not_full(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    b->options.part_bytes = 4 << 20;
    b->options.part_age_ms = 60000;
    must_open(b);
    settle(b);
    create(b, 1);
    add(b, 0, LOG_PART_AGED_BYTES / 100);
    settle(b);
    assert_int_equal(stats(b).n_seals, 0);
    assert_true(log_next_turn_ns(b->log) <= (uint64_t)61000 * 1000000);
    simio_advance_ms(b->disk, 59000);
    settle(b);
    assert_int_equal(stats(b).n_seals, 0);
    simio_advance_ms(b->disk, 2000);
    settle(b);
    assert_int_equal(stats(b).n_seals, 1);
    assert_int_equal(stats(b).unsealed_bytes, 0);
    check(b);
    bed_free(b);
}

static void a_batch_larger_than_a_part_is_sealed_whole(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 2000; i++)
        add_one(b, &b->streams[0]);
    assert_int_equal(stats(b).n_parts_sealing, 0);
    log_commit(b->log, true);
    settle(b);
    assert_int_equal(stats(b).n_segments, 1);
    assert_int_equal(stats(b).segment_entries, 2000);
    check(b);
    bed_free(b);
}

static void what_is_deleted_before_its_sealing_is_not_sealed(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    create(b, 1);
    create(b, 2);
    add(b, 0, 60);
    add(b, 1, 50);
    delete_each(b, 0, 3);
    cut(b, 1, 5);
    seal(b);
    assert_int_equal(stats(b).segment_entries, 40 + 5);
    assert_null(host_find(b->host, b->streams[0].oid)->deletes); /* folded in */
    check(b);
    bed_free(b);
}

static void a_part_without_live_entries_makes_no_file(void **state)
{
    struct bed *b = bed_new();
    uint64_t sealed;

    (void)state;
    must_open(b);
    create(b, 1);
    add(b, 0, 50);
    cut(b, 0, 0);
    seal(b);
    sealed = stats(b).sealed_lsn;
    assert_int_equal(sealed, log_last_lsn(b->log));
    assert_int_equal(stats(b).n_segments, 0);
    assert_int_equal(files(b).n[SEGMENTS], 0);
    check(b);
    bed_kill(b);
    must_open(b);
    assert_int_equal(stats(b).sealed_lsn, sealed);
    check(b);
    bed_free(b);
}

static void a_host_without_streams_keeps_all_in_memory_and_in_the_log(void **state)
{
    struct bed *b = bed_new();
    struct log *log;
    uint64_t lsn;

    (void)state;
    assert_int_equal(log_open(&b->options, &log, NULL, &b->err), OK);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(log_reserve(log, 200, &b->err), OK);
        memset(log_append(log, RECORD_IGNORABLE, LOG_ALWAYS, 150, &lsn), 1, 150);
        log_commit(log, true);
        while (log_step(log))
            ;
    }
    assert_false(log_is_backed_up(log));
    assert_false(log_has_sealed(log));
    assert_int_equal(files(b).n_other, 0);
    assert_int_equal(log_close(log, &b->err), OK);
    bed_free(b);
}

/* ---- pins ---- */

static void a_pin_keeps_addresses_of_what_is_sealed_meanwhile(void **state)
{
    struct bed *b = bed_new();
    const struct host_stream *st;
    struct log_pin *pin;
    const uint8_t *at[20];
    uint8_t expect[ENTRY_MAX];
    size_t len[20];

    (void)state;
    must_open(b);
    create(b, 1);
    add(b, 0, 20);
    st = host_find(b->host, b->streams[0].oid);
    for (int i = 0; i < 20; i++) {
        at[i] = st->tail[i].at;
        len[i] = st->tail[i].len;
    }
    pin = log_pin(b->log);
    assert_non_null(pin);
    seal(b);
    add_settled(b, 0, 1000); /* would use its chunks */
    assert_int_equal(stats(b).pinned_parts, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(entry_make(b->streams[0].oid, b->streams[0].ids[i], expect), len[i]);
        assert_memory_equal(at[i], expect, len[i]);
    }
    log_unpin(pin);
    seal(b);
    assert_int_equal(stats(b).pinned_parts, 0);
    bed_free(b);
}

static void no_more_parts_live_on_for_pins_than_there_may(void **state)
{
    struct bed *b = bed_new();
    struct log_pin *pins[10] = { NULL };
    size_t n = 0;

    (void)state;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 10; i++) {
        add(b, 0, 20);
        pins[i] = log_pin(b->log);
        n += pins[i] != NULL;
        seal(b);
        assert_true(stats(b).pinned_parts <= LOG_PINNED_PARTS_MAX);
    }
    assert_int_equal(n, LOG_PINNED_PARTS_MAX);
    for (int i = 0; i < 10; i++)
        log_unpin(pins[i]);
    add(b, 0, 20);
    pins[0] = log_pin(b->log);
    assert_non_null(pins[0]);
    log_unpin(pins[0]);
    bed_free(b);
}

/* ---- checkpoints and the log ---- */

static void the_log_goes_behind_the_older_of_two_checkpoints(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 40; i++) {
        add_settled(b, 0, 100);
        s = stats(b);
        assert_true(s.wal_first_lsn == LOG_FIRST_LSN || s.wal_first_lsn <= s.checkpoint_lsn);
        assert_true(s.wal_first_lsn == LOG_FIRST_LSN || s.wal_first_lsn <= s.sealed_lsn);
        assert_true(s.file_bytes <= 12 * FILE_BYTES); /* it doesn't grow */
    }
    assert_true(s.n_checkpoints > 10);
    assert_true(s.wal_first_lsn > LOG_FIRST_LSN + 2000);
    assert_int_equal(files(b).n[CHECKPOINTS], 2);
    assert_int_equal(files(b).n[WAL_FILES], s.n_files);
    bed_kill(b);
    must_open(b);
    assert_true(b->info.n_records < 2000); /* it reads the rest only */
    check(b);
    bed_free(b);
}

static void without_the_newest_checkpoint_a_start_takes_the_older(void **state)
{
    struct bed *b = bed_new();
    char path[200] = "";

    (void)state;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 20; i++)
        add_settled(b, 0, 100);
    bed_close(b);
    simio_each_file(b->disk, find_checkpoint, path);
    simio_poke(b->disk, path, 70, 0x55);
    must_open(b);
    assert_true(b->info.older_checkpoint);
    assert_non_null(strstr(b->info.note, strrchr(path, '/') + 1));
    assert_int_equal(files(b).n[QUARANTINED], 1);
    check(b);
    add_settled(b, 0, 500);
    check(b);
    bed_close(b);
    must_open(b);
    assert_false(b->info.older_checkpoint);
    check(b);
    bed_free(b);
}

static void a_newest_checkpoint_that_the_disk_does_not_give_back_is_done_without(void **state)
{
    struct bed *b = bed_new();
    bool taken = false;

    (void)state;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 20; i++)
        add_settled(b, 0, 100);
    bed_close(b);
    for (uint64_t op = 0; !taken && op < 100; op++) { /* one of a start's first ones reads it */
        simio_fault_at(b->disk, simio_n_ops(b->disk) + op, 1, SIMIO_EIO);
        if (bed_open(b) != OK)
            continue;
        taken = b->info.older_checkpoint;
        check(b);
        bed_close(b);
    }
    assert_true(taken);
    assert_int_equal(files(b).n[QUARANTINED], 1);
    must_open(b);
    check(b);
    bed_free(b);
}

static void a_long_log_is_sealed_while_it_is_replayed(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    b->options.keep_all = true;
    must_open(b);
    create(b, 1);
    create(b, 2);
    for (int i = 0; i < 50; i++) {
        add(b, 0, 60);
        add(b, 1, 30);
        settle(b);
    }
    delete_each(b, 1, 7);
    settle(b);
    assert_false(log_has_sealed(b->log));
    assert_true(stats(b).unsealed_bytes > 25 * PART_BYTES);
    bed_kill(b);
    b->options.keep_all = false;
    must_open(b);
    s = stats(b);
    /* What is in the newest file of the log is not known to be durable before all is read. */
    assert_true(s.unsealed_bytes <= 3 * PART_BYTES + FILE_BYTES + 1000);
    assert_true(s.n_segments > 10);
    check(b);
    settle(b);
    check(b);
    bed_kill(b);
    must_open(b);
    check(b);
    bed_free(b);
}

/* ---- merging ---- */

static void segments_of_a_level_become_one_of_the_next(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    must_open(b);
    for (uint32_t i = 0; i < 32; i++) /* so many that runs are short */
        create(b, i);
    for (int i = 0; i < 400; i++)
        for (size_t k = 0; k < 32; k++)
            add_settled(b, k, 1);
    s = stats(b);
    assert_true(s.n_seals >= 70);
    assert_true(s.n_merges >= 9);
    assert_true(s.n_segments <= 3 * 7);
    assert_int_equal(files(b).n[SEGMENTS], s.n_segments); /* what they were made of is gone */
    check(b);
    bed_close(b);
    must_open(b);
    check(b);
    bed_free(b);
}

static void long_runs_are_merged_only_when_there_are_very_many_files(void **state)
{
    struct bed *b = bed_new();
    uint64_t most = 0;

    (void)state;
    b->options.part_bytes = 192 << 10;
    must_open(b);
    create(b, 1);
    for (int i = 0; i < 66; i++) {
        add(b, 0, 192 * 1024 / 110);
        settle(b);
        if (stats(b).n_segments > most)
            most = stats(b).n_segments;
    }
    assert_int_equal(most, 63);
    assert_int_equal(stats(b).n_merges, 1);
    check(b);
    bed_free(b);
}

static void a_merge_that_is_asked_for_leaves_one_segment(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    create(b, 1);
    create(b, 2);
    for (int i = 0; i < 30; i++) {
        add_settled(b, 0, 50);
        add_settled(b, 1, 50);
    }
    delete_each(b, 0, 2);
    merge(b);
    assert_int_equal(stats(b).n_segments, 1);
    assert_int_equal(stats(b).segment_entries, b->streams[0].n + b->streams[1].n);
    assert_int_equal(files(b).n[SEGMENTS], 1);
    assert_null(host_find(b->host, b->streams[0].oid)->deletes);
    check(b);
    bed_kill(b);
    must_open(b);
    check(b);
    bed_free(b);
}

static void garbage_gives_its_space_back(void **state)
{
    struct bed *b = bed_new();
    uint64_t bytes;

    (void)state;
    must_open(b);
    create(b, 1);
    create(b, 2);
    add_settled(b, 0, 1000);
    add_settled(b, 1, 1000);
    seal(b);
    bytes = stats(b).segment_bytes;
    cut(b, 1, 10); /* its segments are nearly or wholly dead */
    settle(b);
    assert_true(stats(b).segment_bytes < 6 * bytes / 10);
    assert_true(stats(b).segment_entries <= 1000 + 10 + 500);
    delete_each(b, 0, 3); /* a third is not worth it */
    settle(b);
    assert_true(stats(b).segment_dead_bytes > 0);
    check(b);
    cut(b, 0, 0);
    cut(b, 1, 0);
    settle(b);
    assert_int_equal(files(b).n[SEGMENTS], 0);
    assert_int_equal(stats(b).segment_dead_bytes, 0);
    check(b);
    bed_free(b);
}

static void garbage_from_before_a_start_is_found_a_minute_later(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    create(b, 1);
    add_settled(b, 0, 1000);
    cut(b, 0, 10);
    bed_close(b);
    must_open(b);
    settle(b);
    assert_true(stats(b).n_segments > 5);
    simio_advance_ms(b->disk, 61000);
    settle(b);
    assert_true(stats(b).n_segments <= 1);
    check(b);
    bed_free(b);
}

static void a_segment_that_cannot_be_read_is_left_and_counted(void **state)
{
    struct bed *b = bed_new();
    struct asked a = asked();
    char path[200] = "";

    (void)state;
    must_open(b);
    create(b, 1);
    add_settled(b, 0, 1500);
    bed_close(b);
    simio_each_file(b->disk, find_segment, path);
    simio_poke(b->disk, path, SEGMENT_HEADER_BYTES + 500, 0xaa);
    must_open(b);
    log_merge(b->log, &a.r);
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.rc, ERR_CORRUPT);
    assert_int_equal(stats(b).n_bad_segments, 1);
    assert_int_equal(stats(b).n_segments, 2); /* the others became one */
    assert_non_null(strstr(stats(b).last_job_error, strrchr(path, '/') + 1));
    add_settled(b, 0, 1000); /* and life goes on */
    bed_free(b);
}

/* ---- requests ---- */

static void who_asks_for_a_seal_is_told_when_all_of_it_is_installed_and_saved(void **state)
{
    struct bed *b = bed_new();
    struct asked a = asked(), c = asked();
    uint64_t last;

    (void)state;
    must_open(b);
    create(b, 1);
    add(b, 0, 10);
    last = log_last_lsn(b->log);
    log_seal(b->log, &a.r);
    log_seal(b->log, &c.r);
    assert_int_equal(a.n_done, 0);
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(c.n_done, 1);
    assert_int_equal(a.rc, OK);
    assert_int_equal(a.r.lsn, last);
    assert_int_equal(a.r.n_files, 1);
    assert_true(stats(b).sealed_lsn >= last);
    assert_true(stats(b).checkpoint_lsn >= last);
    a = asked();
    log_seal(b->log, &a.r); /* with nothing to do */
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.rc, OK);
    bed_free(b);
}

static void a_seal_that_is_asked_for_within_a_batch_has_that_batch(void **state)
{
    struct bed *b = bed_new();
    struct asked a = asked(), m = asked();

    (void)state;
    must_open(b);
    create(b, 1);
    seal(b); /* nothing is in memory */
    add_one(b, &b->streams[0]);
    log_seal(b->log, &a.r);
    log_merge(b->log, &m.r);
    settle(b);
    assert_int_equal(a.n_done + m.n_done, 0);
    log_commit(b->log, false);
    settle(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(m.n_done, 1);
    assert_int_equal(stats(b).segment_entries, 1);
    check(b);
    bed_free(b);
}

static void what_is_sealed_or_saved_is_durable_whatever_its_class(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    b->class = LOG_OS;
    must_open(b);
    settle(b);
    create(b, 1);
    add(b, 0, 20);
    settle(b);
    assert_true(log_durable_lsn(b->log) < b->streams[0].oid); /* nobody needs it */
    seal(b);
    assert_true(stats(b).sealed_lsn > b->streams[0].oid);
    assert_true(log_durable_lsn(b->log) >= stats(b).sealed_lsn);
    assert_true(log_durable_lsn(b->log) >= stats(b).checkpoint_lsn);
    check(b);
    bed_free(b);
}

static void a_request_that_is_open_at_the_end_is_answered_with_an_error(void **state)
{
    struct bed *b = bed_new();
    struct asked a = asked(), m = asked(), c = asked();

    (void)state;
    must_open(b);
    create(b, 1);
    add(b, 0, 10);
    log_seal(b->log, &a.r);
    log_merge(b->log, &m.r);
    log_check(b->log, &c.r);
    bed_close(b);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(m.n_done, 1);
    assert_int_equal(c.n_done, 1);
    assert_int_equal(a.rc, ERR_IO);
    assert_int_equal(m.rc, ERR_IO);
    assert_int_equal(c.rc, ERR_IO);
    must_open(b);
    check(b);
    bed_free(b);
}

static void a_sound_store_passes_its_check_and_its_copy_opens(void **state)
{
    struct bed *b = bed_new();
    struct asked c = asked(), copy = asked();

    (void)state;
    must_open(b);
    create(b, 1);
    add_settled(b, 0, 700);
    log_check(b->log, &c.r);
    log_backup(b->log, "copy", &copy.r);
    settle(b);
    assert_int_equal(c.n_done, 1);
    assert_int_equal(c.rc, OK);
    assert_true(c.r.n_files > 4);
    assert_int_equal(copy.n_done, 1);
    assert_int_equal(copy.rc, OK);
    assert_int_equal(copy.r.lsn, log_last_lsn(b->log));
    bed_close(b);
    snprintf(b->dir, sizeof b->dir, "copy");
    must_open(b);
    check(b);
    bed_free(b);
}

/* ---- what a start finds ---- */

static void foreign_files_are_set_aside_and_named(void **state)
{
    struct bed *b = bed_new();
    size_t n;
    const uint8_t *p;
    char path[200] = "", text[2000];

    (void)state;
    must_open(b);
    create(b, 1);
    add_settled(b, 0, 500);
    bed_close(b);
    simio_each_file(b->disk, find_segment, path);
    p = simio_bytes(b->disk, path, &n);
    memcpy(text, p, sizeof text);
    simio_put(b->disk, DIR "/st-00000000000000000777.seg", text, sizeof text);
    simio_put(b->disk, DIR "/ckpt-00000000000000000001.ck", "no", 2);
    simio_put(b->disk, DIR "/st-00000000000000000778.seg.tmp", "half", 4);
    simio_put(b->disk, DIR "/notes.txt", "mine", 4);
    must_open(b);
    assert_int_equal(b->info.n_set_aside, 2);
    assert_non_null(strstr(b->info.note, "st-00000000000000000777.seg"));
    assert_non_null(strstr(b->info.note, "ckpt-00000000000000000001.ck"));
    assert_int_equal(files(b).n[QUARANTINED], 2);
    assert_int_equal(files(b).n_other, 1);
    assert_string_equal(files(b).other, "notes.txt");
    check(b);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->info.n_set_aside, 0);
    assert_string_equal(b->info.note, "");
    bed_free(b);
}

static void a_left_over_of_a_crash_is_removed_but_not_by_a_salvage(void **state)
{
    (void)state;
    for (int salvage = 0; salvage < 2; salvage++) {
        struct bed *b = bed_new();
        char path[200] = "";
        struct simio *before;

        must_open(b);
        create(b, 1);
        add_settled(b, 0, 100);
        bed_kill(b);
        before = simio_copy(b->disk); /* a moment without the segment and the checkpoint to come */
        must_open(b);
        add_settled(b, 0, 200);
        bed_kill(b);
        simio_each_file(b->disk, find_segment, path);
        for (int i = 0; i < 2; i++) {
            size_t n;
            const uint8_t *p = simio_bytes(b->disk, path, &n);
            simio_put(before, path, p, n);
            path[0] = '\0';
            simio_each_file(b->disk, find_checkpoint, path);
        }
        simio_free(b->disk);
        b->disk = before;
        b->options.io = simio_io(before);
        b->options.salvage = salvage;
        b->streams[0].n = 100;
        b->streams[0].bytes = 0;
        for (size_t i = 0; i < 100; i++) {
            uint8_t entry[ENTRY_MAX];
            b->streams[0].bytes += entry_make(b->streams[0].oid, b->streams[0].ids[i], entry);
        }
        must_open(b);
        check(b);
        assert_int_equal(b->info.n_set_aside, salvage ? 2 : 0);
        assert_int_equal(files(b).n[SEGMENTS] + files(b).n[CHECKPOINTS], 0);
        bed_free(b);
    }
}

static void a_listed_segment_that_is_missing_refuses_the_start_but_not_a_salvage(void **state)
{
    struct bed *b = bed_new();
    char path[200] = "";
    uint64_t digest;

    (void)state;
    must_open(b);
    create(b, 1);
    add_settled(b, 0, 500);
    bed_close(b);
    simio_each_file(b->disk, find_segment, path);
    simio_remove(b->disk, path);
    digest = simio_digest(b->disk);
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    assert_non_null(strstr(b->err.text, strrchr(path, '/') + 1));
    assert_non_null(strstr(b->err.text, "--salvage"));
    assert_null(strchr(b->err.text, '\n'));
    simio_restart(b->disk);
    assert_int_equal(simio_digest(b->disk), digest);
    b->options.salvage = true;
    must_open(b);
    assert_non_null(strstr(b->info.note, strrchr(path, '/') + 1));
    settle(b);
    bed_close(b);
    b->options.salvage = false;
    must_open(b);
    bed_free(b);
}

/* ---- when something fails ---- */

static void a_manifest_that_cannot_be_synced_ends_the_log(void **state)
{
    struct bed *b = bed_new();
    uint64_t ops;
    struct err e;

    (void)state;
    for (ops = 0;; ops++) {
        struct log_stats s;
        must_open(b);
        settle(b);
        create(b, 1);
        add(b, 0, 200);
        simio_fault_at(b->disk, simio_n_ops(b->disk) + ops, 1, SIMIO_EIO);
        settle(b);
        s = stats(b);
        if (log_failure(b->log, &e) != OK && strstr(e.text, MANIFEST_NAME) != NULL)
            break;
        assert_true(s.n_job_errors > 0 || log_failure(b->log, NULL) != OK || ops > 0);
        bed_free(b);
        b = bed_new();
        assert_true(ops < 500);
    }
    assert_int_equal(stats(b).n_seals, 0); /* nothing was believed */
    bed_free(b);
}

static void on_a_full_disk_the_reserve_goes_to_a_seal_and_comes_back(void **state)
{
    struct bed *b = bed_new();
    uint64_t n = 0, seals;

    (void)state;
    must_open(b);
    settle(b);
    create(b, 1);
    add(b, 0, 150);
    simio_set_capacity(b->disk, simio_used_bytes(b->disk), true); /* not a byte more */
    seals = stats(b).n_seals;
    while (stats(b).n_seals == seals) {
        settle(b);
        simio_advance_ms(b->disk, 1000);
        assert_true(n++ < 10);
    }
    check(b);
    simio_set_capacity(b->disk, simio_used_bytes(b->disk), true);
    simio_advance_ms(b->disk, 5000);
    settle(b);
    assert_true(log_is_full(b->log));
    simio_set_capacity(b->disk, 0, true);
    simio_advance_ms(b->disk, 5000);
    settle(b);
    assert_false(log_is_full(b->log));
    add_settled(b, 0, 500);
    check(b);
    bed_free(b);
}

/* ---- in any order, with restarts ---- */

static void random_lives_read_what_they_wrote(void **state)
{
    struct random r = random_seeded("keeper");

    (void)state;
    for (size_t round = random_rounds(20); round > 0; round--) {
        struct bed *b = bed_new();
        must_open(b);
        for (uint32_t i = 0; i < 6; i++)
            create(b, i);
        for (int i = 0; i < 300; i++) {
            size_t k = random_below(&r, 6);
            add(b, k, random_below(&r, 30));
            if (random_below(&r, 10) == 0)
                delete_each(b, k, 2 + random_below(&r, 5));
            if (random_below(&r, 15) == 0)
                cut(b, k, random_below(&r, b->streams[k].n + 1));
            for (size_t steps = random_below(&r, 40); steps > 0; steps--)
                step(b, random_u64(&r));
            for (size_t wait = 0; log_is_backed_up(b->log); wait++) {
                step(b, random_u64(&r));
                assert_true(wait < 100000);
            }
            simio_advance_ms(b->disk, random_below(&r, 300));
            if (random_below(&r, 5) == 0)
                check(b);
            if (random_below(&r, 40) == 0) {
                while (log_written_lsn(b->log) < log_last_lsn(b->log))
                    step(b, 0);
                if (random_below(&r, 2) == 0)
                    bed_close(b);
                else
                    bed_kill(b);
                must_open(b);
                check(b);
            }
            assert_true(stats(b).unsealed_bytes < 4 * PART_BYTES);
        }
        merge(b);
        check(b);
        assert_true(stats(b).n_segments <= 1);
        bed_free(b);
    }
}

/* ---- with threads ---- */

/* Waits for news, unless there are some since `seen`. */
static void await(struct bed *b, uint64_t seen)
{
    pthread_mutex_lock(&b->lock);
    while (b->n_progress == seen)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

static uint64_t progress(struct bed *b)
{
    uint64_t n;

    pthread_mutex_lock(&b->lock);
    n = b->n_progress;
    pthread_mutex_unlock(&b->lock);
    return n;
}

/* Turns until the request is answered. */
static void await_done(struct bed *b, const struct asked *a)
{
    while (a->n_done == 0) {
        uint64_t seen = progress(b);
        if (!turn(b) && a->n_done == 0)
            await(b, seen);
    }
    assert_int_equal(a->rc, OK);
}

static void await_room(struct bed *b)
{
    while (log_is_backed_up(b->log)) {
        uint64_t seen = progress(b);
        if (!turn(b) && log_is_backed_up(b->log))
            await(b, seen);
    }
}

static int remove_one(void *ctx, const char *name)
{
    char path[400];

    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    remove(path);
    return 0;
}

static void with_threads_on_a_real_disk_it_is_the_same(void **state)
{
    struct random r = random_seeded("keeper with threads");
    struct bed *b = bed_new();
    const char *tmp = getenv("TMPDIR");
    char dir[64];

    (void)state;
    simio_free(b->disk);
    b->disk = NULL;
    io_init_real(&b->real);
    b->options.io = &b->real;
    b->options.threads = true;
    b->options.part_bytes = 64 << 10;
    snprintf(b->dir, sizeof b->dir, "%s/beck-keeper-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(b->dir));
    snprintf(dir, sizeof dir, "%s", b->dir);
    must_open(b);
    for (uint32_t i = 0; i < 6; i++)
        create(b, i);
    for (int life = 0; life < 3; life++) {
        struct asked s = asked(), m = asked(), c = asked();
        for (int i = 0; i < 150; i++) {
            size_t k = random_below(&r, 6);
            await_room(b);
            add(b, k, random_below(&r, 60));
            if (random_below(&r, 10) == 0)
                delete_each(b, k, 3);
            if (random_below(&r, 20) == 0)
                cut(b, k, b->streams[k].n / 2);
            turn(b);
        }
        check(b);
        log_seal(b->log, &s.r);
        log_check(b->log, &c.r);
        await_done(b, &s);
        await_done(b, &c);
        log_merge(b->log, &m.r);
        await_done(b, &m);
        check(b);
        add(b, 0, 100);
        bed_close(b);
        must_open(b);
        check(b);
    }
    bed_close(b);
    err_ignore(
        b->real.list(&b->real, dir, remove_one, dir)); /* what stays is in a temporary place */
    rmdir(dir);
    bed_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_goes_from_memory_into_segments),
        cmocka_unit_test(with_two_parts_waiting_and_one_full_the_log_is_backed_up),
        cmocka_unit_test(nothing_to_do_is_nothing_done),
        cmocka_unit_test(an_old_part_is_sealed_although_it_is_not_full),
        cmocka_unit_test(a_batch_larger_than_a_part_is_sealed_whole),
        cmocka_unit_test(what_is_deleted_before_its_sealing_is_not_sealed),
        cmocka_unit_test(a_part_without_live_entries_makes_no_file),
        cmocka_unit_test(a_host_without_streams_keeps_all_in_memory_and_in_the_log),
        cmocka_unit_test(a_pin_keeps_addresses_of_what_is_sealed_meanwhile),
        cmocka_unit_test(no_more_parts_live_on_for_pins_than_there_may),
        cmocka_unit_test(the_log_goes_behind_the_older_of_two_checkpoints),
        cmocka_unit_test(without_the_newest_checkpoint_a_start_takes_the_older),
        cmocka_unit_test(a_newest_checkpoint_that_the_disk_does_not_give_back_is_done_without),
        cmocka_unit_test(a_long_log_is_sealed_while_it_is_replayed),
        cmocka_unit_test(segments_of_a_level_become_one_of_the_next),
        cmocka_unit_test(long_runs_are_merged_only_when_there_are_very_many_files),
        cmocka_unit_test(a_merge_that_is_asked_for_leaves_one_segment),
        cmocka_unit_test(garbage_gives_its_space_back),
        cmocka_unit_test(garbage_from_before_a_start_is_found_a_minute_later),
        cmocka_unit_test(a_segment_that_cannot_be_read_is_left_and_counted),
        cmocka_unit_test(who_asks_for_a_seal_is_told_when_all_of_it_is_installed_and_saved),
        cmocka_unit_test(a_seal_that_is_asked_for_within_a_batch_has_that_batch),
        cmocka_unit_test(what_is_sealed_or_saved_is_durable_whatever_its_class),
        cmocka_unit_test(a_request_that_is_open_at_the_end_is_answered_with_an_error),
        cmocka_unit_test(a_sound_store_passes_its_check_and_its_copy_opens),
        cmocka_unit_test(foreign_files_are_set_aside_and_named),
        cmocka_unit_test(a_left_over_of_a_crash_is_removed_but_not_by_a_salvage),
        cmocka_unit_test(a_listed_segment_that_is_missing_refuses_the_start_but_not_a_salvage),
        cmocka_unit_test(a_manifest_that_cannot_be_synced_ends_the_log),
        cmocka_unit_test(on_a_full_disk_the_reserve_goes_to_a_seal_and_comes_back),
        cmocka_unit_test(random_lives_read_what_they_wrote),
        cmocka_unit_test(with_threads_on_a_real_disk_it_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
