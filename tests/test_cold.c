/* test_cold.c - commands over streams that are partly or wholly in segments: the same replies as from memory, whatever is
 * sealed when and whatever has to be read first.
 *
 * The log is an array of records that never move; `seal` writes what the tails have into a segment on a simulated disk.
 * Workers' steps run when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/cold.h"
#include "broker/engine/cursor.h"
#include "broker/engine/engine.h"
#include "log/entry.h"
#include "log/io.h"
#include "tests/lib/random.h"
#include "tests/lib/segments.h"

enum { SEGMENTS_MAX = 64, SMALL_BLOCK = 256 };

/* ---- the log ---- */

struct log_pin {
    struct log *log;
};

struct log {
    struct simio *disk;
    uint8_t **bodies;
    size_t n, cap;
    uint64_t clock, open_bytes;
    struct segment *segments[SEGMENTS_MAX];
    size_t n_segments;
    struct view *view;
    struct blockcache *cache;
    struct block_decoder *decoder;
    struct job *jobs, **jobs_end; /* submitted */
    size_t n_jobs, n_jobs_max;
    uint64_t n_sync_reads;
    size_t n_pins, pins_max;
    uint64_t garbage;
};

void log_set_clock(struct log *l, uint64_t clock)
{
    l->clock = clock;
}

int log_reserve(struct log *l, size_t bytes, struct err *e)
{
    (void)l;
    (void)bytes;
    (void)e;
    return OK;
}

uint8_t *log_append(struct log *l, uint8_t type, enum log_class class, size_t len,
                    uint64_t *out_lsn)
{
    uint8_t *body = malloc(len > 0 ? len : 1);

    (void)type;
    (void)class;
    assert_non_null(body);
    if (l->n == l->cap) {
        l->cap = l->cap * 2 + 64;
        l->bodies = realloc(l->bodies, l->cap * sizeof *l->bodies);
        assert_non_null(l->bodies);
    }
    *out_lsn = LOG_FIRST_LSN + l->n;
    l->bodies[l->n++] = body;
    return body;
}

size_t log_open_bytes(const struct log *l)
{
    (void)l;
    return 0;
}

void log_commit(struct log *l, bool sync_now)
{
    (void)l;
    (void)sync_now;
}

uint64_t log_last_lsn(const struct log *l)
{
    return LOG_FIRST_LSN + l->n - 1;
}

uint64_t log_written_lsn(const struct log *l)
{
    return log_last_lsn(l);
}

uint64_t log_durable_lsn(const struct log *l)
{
    return log_last_lsn(l);
}

uint64_t log_released_lsn(const struct log *l)
{
    return log_last_lsn(l);
}

uint64_t log_first_lsn(const struct log *l)
{
    (void)l;
    return 0;
}

uint64_t log_sealed_lsn(const struct log *l)
{
    (void)l;
    return 0;
}

void log_seal_soon(struct log *l)
{
    (void)l;
}

bool log_is_full(const struct log *l)
{
    (void)l;
    return false;
}

int log_failure(const struct log *l, struct err *e)
{
    (void)l;
    (void)e;
    return OK;
}

void log_get_stats(const struct log *l, struct log_stats *out)
{
    memset(out, 0, sizeof *out);
    out->n_cold_sync_reads = l->n_sync_reads;
}

const uint8_t *log_uuid(const struct log *l)
{
    (void)l;
    return segments_uuid;
}

bool log_turn(struct log *l)
{
    (void)l;
    return false;
}

uint64_t log_next_turn_ns(const struct log *l)
{
    (void)l;
    return UINT64_MAX;
}

bool log_has_sealed(const struct log *l)
{
    return l->n_segments > 0;
}

void log_get_sealed(struct log *l, uint64_t oid, struct id floor, struct delset *deletes,
                    struct id last, struct sealed *out)
{
    *out = (struct sealed){ .view = view_ref(l->view),
                            .n_segments = l->view->n,
                            .deletes = deletes == NULL ? NULL : delset_ref(deletes),
                            .oid = oid,
                            .floor = floor,
                            .last = last };
}

struct blockcache *log_cache(const struct log *l)
{
    return l->cache;
}

struct block_decoder *log_sync_decoder(struct log *l)
{
    l->n_sync_reads++;
    return l->decoder;
}

int log_find_change(struct log *l, uint64_t lsn, struct wants *wants, struct log_change *out,
                    struct err *e)
{
    (void)l;
    (void)wants;
    (void)out;
    return err_set(e, ERR_CORRUPT, "no change %llu", (unsigned long long)lsn);
}

void log_change_fini(struct log_change *c)
{
    (void)c;
}

void log_note_garbage(struct log *l, uint64_t n, uint64_t bytes)
{
    (void)bytes;
    l->garbage += n;
}

void log_submit(struct log *l, struct job *j)
{
    j->next = NULL;
    *l->jobs_end = j;
    l->jobs_end = &j->next;
    l->n_jobs++;
    if (l->n_jobs > l->n_jobs_max)
        l->n_jobs_max = l->n_jobs;
}

struct log_pin *log_pin(struct log *l)
{
    struct log_pin *p;

    if (l->n_pins >= l->pins_max)
        return NULL;
    p = malloc(sizeof *p);
    assert_non_null(p);
    p->log = l;
    l->n_pins++;
    return p;
}

void log_unpin(struct log_pin *p)
{
    p->log->n_pins--;
    free(p);
}

/* ---- what nothing here asks for ---- */

bool log_is_backed_up(const struct log *l)
{
    (void)l;
    return false;
}

void log_set_cache_bytes(struct log *l, uint64_t bytes)
{
    blockcache_set_limit(l->cache, bytes);
}

void log_seal(struct log *l, struct log_request *r)
{
    (void)l, (void)r;
    fail();
}

void log_merge(struct log *l, struct log_request *r)
{
    (void)l, (void)r;
    fail();
}

void log_check(struct log *l, struct log_request *r)
{
    (void)l, (void)r;
    fail();
}

void log_backup(struct log *l, const char *dir, struct log_request *r)
{
    (void)l, (void)dir, (void)r;
    fail();
}

/* One step of a worker's; false if there is nothing to do. */
static bool step(struct log *l)
{
    struct job *j = l->jobs;

    if (j == NULL)
        return false;
    l->jobs = j->next;
    if (l->jobs == NULL)
        l->jobs_end = &l->jobs;
    l->n_jobs--;
    j->run(j);
    j->done(j);
    return true;
}

/* ---- the engine on it ---- */

struct world {
    struct config config;
    struct log log;
    struct engine e;
    struct client a, b;
    char *text; /* of the last reply */
    size_t n_text, cap_text;
    char complaint[512];
};

static void world_complain(void *ctx, const char *text)
{
    struct world *w = ctx;

    snprintf(w->complaint, sizeof w->complaint, "%s", text);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    struct log_recovery info = { .created = true };
    struct engine_host host = { .ctx = w, .complain = world_complain };

    assert_non_null(w);
    w->log.disk = segments_disk(seed);
    w->log.jobs_end = &w->log.jobs;
    w->log.pins_max = 4;
    w->log.view = view_new(NULL, 0);
    w->log.decoder = block_decoder_new();
    assert_int_equal(blockcache_new(1 << 20, &w->log.cache, NULL), OK);
    assert_int_equal(config_init(&w->config, NULL), OK);
    simio_set_wall_ms(w->log.disk, 1000000);
    assert_int_equal(engine_init(&w->e, &w->config, simio_io(w->log.disk), &host, NULL), OK);
    assert_int_equal(engine_start(&w->e, &w->log, &info, NULL), OK);
    engine_client_init(&w->e, &w->a);
    engine_client_init(&w->e, &w->b);
    return w;
}

static void world_free(struct world *w)
{
    engine_client_fini(&w->e, &w->a);
    engine_client_fini(&w->e, &w->b);
    assert_null(state_check(&w->e.state));
    engine_fini(&w->e);
    while (step(&w->log)) {
    }
    assert_int_equal(w->log.n_pins, 0);
    view_unref(w->log.view);
    for (size_t i = 0; i < w->log.n_segments; i++)
        segment_unref(w->log.segments[i]);
    blockcache_free(w->log.cache);
    block_decoder_free(w->log.decoder);
    for (size_t i = 0; i < w->log.n; i++)
        free(w->log.bodies[i]);
    free(w->log.bodies);
    simio_free(w->log.disk);
    config_fini(&w->config);
    free(w->text);
    free(w);
}

/* ---- sealing ---- */

static int entry_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->oid != y->oid ? (x->oid < y->oid ? -1 : 1) : id_cmp(x->id, y->id);
}

struct gather {
    struct entries entries;
    struct stream *streams[64];
    size_t n_streams;
};

static void gather_stream(void *ctx, struct dict_node *node)
{
    struct stream *st = stream_of(state_of_node(node));
    struct gather *g = ctx;
    struct stream_pos pos = stream_index_begin(st->tail);
    const uint8_t *at;

    for (; (at = stream_index_at(st->tail, pos)) != NULL; stream_index_next(st->tail, &pos)) {
        struct entry *e;

        if (g->entries.n == g->entries.cap) {
            g->entries.cap = g->entries.cap * 2 + 64;
            g->entries.at = realloc(g->entries.at, g->entries.cap * sizeof *g->entries.at);
            assert_non_null(g->entries.at);
        }
        e = &g->entries.at[g->entries.n++];
        e->oid = st->oid;
        entry_id(at, &e->id);
        e->len = (size_t)(entry_end(at) - at);
        e->p = (uint8_t *)(uintptr_t)at;
    }
    assert_true(g->n_streams < 64);
    g->streams[g->n_streams++] = st;
}

/* Everything that is in memory only goes to a segment. */
static void seal(struct world *w)
{
    struct log *l = &w->log;
    struct gather g = { 0 };
    struct segment_info info;
    struct id last = ID_MAX;

    for (int db = 0; db < CONFIG_DATABASES; db++) {
        uint64_t cursor = 0;
        do
            cursor = dict_scan(&w->e.state.dbs[db].names, cursor, gather_stream, &g);
        while (cursor != 0);
    }
    if (g.entries.n > 0) {
        assert_true(l->n_segments < SEGMENTS_MAX);
        qsort(g.entries.at, g.entries.n, sizeof g.entries.at[0], entry_order);
        segments_write(l->disk, l->n_segments + 1, SMALL_BLOCK, BLOCK_LZ4, &g.entries, 0,
                       g.entries.n, &info);
        l->segments[l->n_segments] = segments_open(l->disk, l->n_segments + 1);
        l->n_segments++;
        view_unref(l->view);
        l->view = view_new(l->segments, l->n_segments);
        for (size_t i = 0; i < g.n_streams; i++) {
            struct stream *st = g.streams[i];
            for (size_t k = 0; k < g.entries.n; k++)
                if (g.entries.at[k].oid == st->oid)
                    last = g.entries.at[k].id;
            if (stream_index_n(st->tail) > 0)
                state_sealed(&w->e.state, st->oid, last);
        }
    }
    free(g.entries.at);
}

static void forget(struct world *w)
{
    blockcache_forget(w->log.cache, NULL);
}

/* ---- saying something and hearing the answer ---- */

static void take(struct world *w, struct client *c)
{
    struct iovec iov[64];
    int n;

    while ((n = outbuf_peek(&c->out, outbuf_end(&c->out), iov, 64)) > 0) {
        for (int i = 0; i < n; i++) {
            if (w->n_text + iov[i].iov_len + 1 > w->cap_text) {
                w->cap_text = 2 * (w->n_text + iov[i].iov_len + 1);
                w->text = realloc(w->text, w->cap_text);
                assert_non_null(w->text);
            }
            memcpy(w->text + w->n_text, iov[i].iov_base, iov[i].iov_len);
            w->n_text += iov[i].iov_len;
            outbuf_consume(&c->out, iov[i].iov_len);
        }
    }
    if (w->cap_text == 0) {
        w->cap_text = 64;
        w->text = malloc(w->cap_text);
        assert_non_null(w->text);
    }
    w->text[w->n_text] = '\0';
}

static void execute(struct world *w, struct client *c, const char *text)
{
    struct slice argv[64];
    size_t argc = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        assert_true(argc < 64);
        argv[argc++] = slice_of(text, n);
        text += n;
        text += *text == ' ';
    }
    engine_round_begin(&w->e);
    engine_execute(&w->e, c, argv, argc);
    engine_round_end(&w->e);
}

static void turn(struct world *w)
{
    engine_round_begin(&w->e);
    engine_round_end(&w->e);
}

/* Until the client waits for nothing any more, taking its output; what it has got lies in w->text. */
static const char *hear(struct world *w, struct client *c)
{
    w->n_text = 0;
    take(w, c);
    while (c->cold != NULL) {
        step(&w->log);
        turn(w);
        take(w, c);
        cold_client_drained(c);
    }
    take(w, c);
    return w->text;
}

static const char *say(struct world *w, struct client *c, const char *text)
{
    execute(w, c, text);
    return hear(w, c);
}

static void add(struct world *w, const char *key, unsigned from, unsigned to)
{
    char text[256];

    for (unsigned i = from; i <= to; i++) {
        snprintf(text, sizeof text, "xadd %s %u-1 n %u note some-words-to-fill-a-block", key, i, i);
        say(w, &w->a, text);
    }
}

/* ---- the claims ---- */

static void a_range_of_cold_blocks_is_the_range_from_memory(void **state)
{
    struct world *cold = world_new(1), *warm = world_new(1);
    static const char *const said[] = {
        "xrange s - +",
        "xrevrange s + -",
        "xrange s 17 43",
        "xrange s (17-1 43-0",
        "xrevrange s 43-1 (17-1",
        "xrange s - + count 7",
        "xrevrange s + - count 7",
        "xrange s 95 + count 100",
        "xrevrange s 105 - count 9",
        "xrange s 200 +",
        "xrevrange s 0 -",
        "xrange s 40 30",
        "xlen s",
        "xread streams s 0",
        "xread count 3 streams s 50-1",
        "xread streams s 99",
        "xread streams s 120-1",
        "xread streams s t 0 0",
        "xread maxcount 130 streams s t 3 1",
        "xread maxsize 5000 streams t s 0 0",
        "xread maxsize 1 streams s t 0 0",
        "xread streams s +",
        "xread count 1 streams s t + 0",
        "xinfo stream s full count 3",
        "xinfo stream s",
        "xrange t - +",
        "xrevrange t + -",
    };

    (void)state;
    add(cold, "s", 1, 100);
    add(cold, "t", 1, 30);
    seal(cold);
    add(cold, "s", 101, 120);
    add(warm, "s", 1, 100);
    add(warm, "t", 1, 30);
    add(warm, "s", 101, 120);
    for (int proto = 2; proto <= 3; proto++) {
        cold->a.proto = warm->a.proto = proto;
        for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
            forget(cold);
            assert_string_equal(say(cold, &cold->a, said[i]), say(warm, &warm->a, said[i]));
            assert_string_equal(say(cold, &cold->a, said[i]), warm->text); /* from memory */
        }
    }
    assert_int_equal(cold->log.n_sync_reads, 0);
    world_free(cold);
    world_free(warm);
}

static void a_client_waits_and_others_go_on(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    forget(w);
    execute(w, &w->a, "xrange s - +");
    assert_non_null(w->a.cold);
    assert_string_equal(say(w, &w->b, "xlen s"), ":50\r\n");
    assert_string_equal(say(w, &w->b, "xadd s 51-1 a b"), "$4\r\n51-1\r\n");
    assert_non_null(w->a.cold);
    assert_memory_equal(hear(w, &w->a), "*50\r\n", 5); /* as it was */
    world_free(w);
}

static void trims_and_deletes_after_the_start_do_not_change_a_reply(void **state)
{
    struct world *w = world_new(3);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    add(w, "s", 51, 60);
    forget(w);
    execute(w, &w->a, "xrange s - +");
    assert_string_equal(say(w, &w->b, "xdel s 3-1 55-1"), ":2\r\n");
    assert_string_equal(say(w, &w->b, "xtrim s maxlen 1"), ":57\r\n");
    seal(w);
    assert_string_equal(say(w, &w->b, "del s"), ":1\r\n");
    hear(w, &w->a);
    assert_memory_equal(w->text, "*60\r\n", 5);
    assert_non_null(strstr(w->text, "$4\r\n55-1\r\n"));
    world_free(w);
}

static void a_long_reply_is_made_as_the_client_reads(void **state)
{
    struct world *w = world_new(4);
    char text[1200];
    size_t n_waits = 0;

    (void)state;
    for (unsigned i = 1; i <= 4000; i++) {
        snprintf(text, sizeof text, "xadd s %u-1 v %01000u", i, i);
        say(w, &w->a, text);
        if (i % 1000 == 0)
            seal(w);
    }
    forget(w);
    execute(w, &w->a, "xrange s - +");
    w->n_text = 0;
    while (w->a.cold != NULL) {
        while (step(&w->log))
            turn(w);
        assert_true(outbuf_size(&w->a.out) < COLD_OUTPUT_MAX + 2 * COLD_CHUNK_BYTES);
        n_waits++;
        take(w, &w->a);
        cold_client_drained(&w->a);
    }
    assert_true(n_waits > 2);
    assert_memory_equal(w->text, "*4000\r\n", 7);
    for (unsigned i = 1, at = 0; i <= 4000; i++) {
        char id[32];
        const char *found;
        snprintf(id, sizeof id, "\r\n%u-1\r\n", i);
        found = strstr(w->text + at, id);
        assert_non_null(found);
        at = (unsigned)(found - w->text);
    }
    assert_int_equal(w->log.n_sync_reads, 0);
    world_free(w);
}

static void a_client_that_goes_leaves_nothing_behind(void **state)
{
    struct world *w = world_new(5);
    static const char *const said[] = { "xrange s - +", "xread streams s 0", "xdel s 7-1",
                                        "xinfo stream s" };

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    add(w, "s", 51, 60);
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        for (int steps = 0; steps < 2; steps++) {
            forget(w);
            execute(w, &w->b, said[i]);
            assert_non_null(w->b.cold);
            for (int k = 0; k < steps; k++)
                step(&w->log);
            engine_client_fini(&w->e, &w->b);
            while (step(&w->log))
                turn(w);
            turn(w);
            assert_int_equal(w->log.n_pins, 0);
            engine_client_init(&w->e, &w->b);
        }
    }
    assert_string_equal(say(w, &w->a, "xlen s"),
                        ":60\r\n"); /* the command of one who is gone does not run */
    world_free(w);
}

static void the_engine_may_end_while_workers_read(void **state)
{
    struct world *w = world_new(6);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    forget(w);
    execute(w, &w->a, "xrange s - +");
    execute(w, &w->b, "xdel s 7-1");
    assert_int_equal(w->log.n_jobs, 2);
    world_free(w);
}

static void deleting_and_trimming_see_what_is_sealed(void **state)
{
    struct world *w = world_new(7);

    (void)state;
    add(w, "s", 1, 100);
    seal(w);
    add(w, "s", 101, 110);
    forget(w);
    assert_string_equal(say(w, &w->a, "xdel s 5-1 5-2 77-1 105-1 5-1"), ":3\r\n");
    assert_string_equal(say(w, &w->a, "xdel s 5-1"), ":0\r\n");
    forget(w);
    assert_string_equal(say(w, &w->a, "xdelex s ids 3 6-1 6-2 77-1"), "*3\r\n:1\r\n:-1\r\n:-1\r\n");
    forget(w);
    assert_string_equal(say(w, &w->a, "xtrim s minid 11-1"), ":8\r\n");
    assert_string_equal(say(w, &w->a, "xlen s"), ":98\r\n");
    forget(w);
    assert_string_equal(say(w, &w->a, "xtrim s maxlen 50"), ":48\r\n");
    forget(w);
    assert_string_equal(
        say(w, &w->a, "xrange s - + count 1"),
        "*1\r\n*2\r\n$4\r\n59-1\r\n*4\r\n$1\r\nn\r\n$2\r\n59\r\n$4\r\nnote\r\n$26\r\n"
        "some-words-to-fill-a-block\r\n");
    assert_string_equal(say(w, &w->a, "xadd s maxlen 20 111-1 a b"), "$5\r\n111-1\r\n");
    assert_string_equal(say(w, &w->a, "xlen s"), ":20\r\n");
    assert_string_equal(say(w, &w->a, "xadd s maxlen 0 112-1 a b"), "$5\r\n112-1\r\n");
    assert_string_equal(say(w, &w->a, "xlen s"), ":0\r\n");
    assert_string_equal(say(w, &w->a, "xrange s - +"), "*0\r\n");
    assert_int_equal(w->log.n_sync_reads, 0);
    assert_true(w->log.garbage + w->e.state.garbage.n >= 90);
    world_free(w);
}

static void trimming_by_number_reads_the_index_and_one_block(void **state)
{
    struct world *w = world_new(8);
    struct blockcache_stats before, after;

    (void)state;
    add(w, "s", 1, 1000);
    seal(w);
    forget(w);
    blockcache_get_stats(w->log.cache, &before);
    assert_string_equal(say(w, &w->a, "xtrim s maxlen 300"), ":700\r\n");
    blockcache_get_stats(w->log.cache, &after);
    assert_true(after.n <= 4); /* pages and blocks that are in memory now, of some hundreds */
    world_free(w);
}

static void an_exec_finds_everything_in_memory(void **state)
{
    struct world *cold = world_new(9), *warm = world_new(9);
    static const char *const said[] = { "multi",
                                        "xrange s 10 30",
                                        "xdel s 12-1",
                                        "xrevrange s 20 5 count 4",
                                        "xread count 2 streams s t 40 +",
                                        "xtrim s maxlen 70",
                                        "xlen s",
                                        "xinfo stream t",
                                        "xrange t - +",
                                        "exec" };

    (void)state;
    add(cold, "s", 1, 100);
    add(cold, "t", 1, 100);
    seal(cold);
    add(warm, "s", 1, 100);
    add(warm, "t", 1, 100);
    forget(cold);
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        assert_string_equal(say(cold, &cold->a, said[i]), say(warm, &warm->a, said[i]));
    assert_int_equal(cold->log.n_sync_reads, 0);
    assert_int_equal(say(cold, &cold->a, "xlen s")[1], '7');
    world_free(cold);
    world_free(warm);
}

static void an_exec_that_needs_too_much_is_refused_as_a_whole(void **state)
{
    struct world *w = world_new(10);
    char *text = malloc(70000);

    (void)state;
    assert_non_null(text);
    for (unsigned i = 1; i <= 200; i++) {
        int n = snprintf(text, 70000, "xadd s %u-1 v ", i);
        memset(text + n, 'x', 60000);
        text[n + 60000] = '\0';
        say(w, &w->a, text);
    }
    seal(w);
    forget(w);
    say(w, &w->a, "multi");
    say(w, &w->a, "xadd other 1-1 a b");
    say(w, &w->a, "xrange s - +");
    assert_non_null(strstr(say(w, &w->a, "exec"), "-EXECABORT"));
    assert_non_null(strstr(w->text, "8 MiB"));
    assert_string_equal(say(w, &w->a, "xlen other"), ":0\r\n");
    assert_string_equal(say(w, &w->a, "ping"), "+PONG\r\n"); /* outside of MULTI */
    free(text);
    world_free(w);
}

static void a_blocked_reader_that_found_nothing_cold_is_served(void **state)
{
    struct world *w = world_new(11);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    say(w, &w->a, "xdel s 50-1"); /* so whether something lies behind 49-1 has to be looked up */
    forget(w);
    execute(w, &w->b, "xread block 0 streams s 49-1");
    assert_non_null(w->b.cold);
    assert_string_equal(hear(w, &w->b), "");
    assert_non_null(w->b.blocked);
    say(w, &w->a, "xadd s 51-1 a b");
    hear(w, &w->b);
    assert_string_equal(
        w->text, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$4\r\n51-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_null(w->b.blocked);
    execute(w, &w->b, "xread streams s 51-1");
    assert_string_equal(hear(w, &w->b), "*-1\r\n");
    world_free(w);
}

static void a_stream_that_takes_a_waited_for_name_is_read_from_segments(void **state)
{
    struct world *w = world_new(12);

    (void)state;
    add(w, "old", 1, 50);
    seal(w);
    forget(w);
    execute(w, &w->b, "xread block 0 count 1 streams s 7-1");
    assert_non_null(w->b.blocked);
    say(w, &w->a, "rename old s");
    assert_null(w->b.blocked);
    hear(w, &w->b);
    assert_non_null(strstr(w->text, "\r\n8-1\r\n"));
    world_free(w);
}

static void replies_that_are_switched_off_are_not_made(void **state)
{
    struct world *w = world_new(13);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    forget(w);
    say(w, &w->a, "client reply skip");
    assert_string_equal(say(w, &w->a, "xrange s - +"), "");
    forget(w);
    say(w, &w->a, "client reply skip");
    assert_string_equal(say(w, &w->a, "xdel s 3-1"), "");
    assert_string_equal(say(w, &w->a, "xlen s"), ":49\r\n");
    world_free(w);
}

/* Flips a bit of the segment, in a block after a third of them; the file's path. */
static void damage(struct world *w, char path[64])
{
    const uint8_t *bytes;
    size_t n, pos;

    segments_path(1, path);
    bytes = simio_bytes(w->log.disk, path, &n);
    pos = SEGMENT_HEADER_BYTES + (n - SEGMENT_HEADER_BYTES) / 3;
    simio_poke(w->log.disk, path, pos, bytes[pos] ^ 4);
    forget(w);
}

static void a_damaged_block_fails_what_needs_it_and_nothing_else(void **state)
{
    struct world *w = world_new(14);
    size_t n_failed = 0, n_gone = 0;
    char path[64], text[64];

    (void)state;
    add(w, "s", 1, 200);
    add(w, "t", 1, 100);
    seal(w);
    damage(w, path);
    assert_memory_equal(say(w, &w->a, "xrange s - + count 1"), "*1\r\n", 4);
    assert_memory_equal(say(w, &w->a, "xrevrange s + - count 1"), "*1\r\n", 4);
    assert_memory_equal(say(w, &w->a, "xrange t - +"), "*100\r\n", 6);
    say(w, &w->a, "xrange s - +");
    assert_memory_equal(w->text, "-IOERR ", 7);
    assert_non_null(strstr(w->text, path));
    assert_non_null(strstr(w->text, "byte "));
    assert_false(w->a.close_after_reply);
    for (unsigned i = 1; i <= 200; i++) {
        snprintf(text, sizeof text, "xdel s %u-1", i);
        say(w, &w->a, text);
        n_failed += w->text[0] == '-' && strstr(w->text, path) != NULL;
        n_gone += strcmp(w->text, ":1\r\n") == 0;
    }
    assert_true(n_failed > 0 && n_gone > 0);
    assert_int_equal(n_failed + n_gone, 200);
    say(w, &w->a, "multi");
    say(w, &w->a, "xadd t 101-1 a b");
    say(w, &w->a, "xrange s - +");
    assert_memory_equal(say(w, &w->a, "exec"), "-EXECABORT ", 11);
    assert_non_null(strstr(w->text, path));
    assert_string_equal(say(w, &w->a, "xlen t"), ":100\r\n");
    world_free(w);
}

static void damage_in_the_middle_of_a_reply_closes_the_connection(void **state)
{
    struct world *w = world_new(18);
    char path[64], text[1200];

    (void)state;
    for (unsigned i = 1; i <= 1500; i++) {
        snprintf(text, sizeof text, "xadd s %u-1 v %01000u", i, i * 7919);
        say(w, &w->a, text);
    }
    seal(w);
    damage(w, path);
    assert_memory_equal(say(w, &w->a, "xrange s - +"), "*1500\r\n", 7);
    assert_true(w->a.close_after_reply);
    assert_non_null(strstr(w->complaint, path));
    assert_non_null(strstr(w->complaint, "in the middle of a reply"));
    world_free(w);
}

static void pins_that_are_taken_are_waited_for_in_turn(void **state)
{
    struct world *w = world_new(15);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    add(w, "s", 51, 60);
    w->log.pins_max = 1;
    forget(w);
    execute(w, &w->a, "xrange s - +");
    execute(w, &w->b, "xread streams s 0");
    assert_int_equal(w->log.n_jobs, 1);
    hear(w, &w->a);
    assert_memory_equal(w->text, "*60\r\n", 5);
    hear(w, &w->b);
    assert_memory_equal(w->text, "*1\r\n*2\r\n$1\r\ns\r\n*60\r\n", 20);
    w->log.pins_max = 0;
    forget(w);
    assert_memory_equal(say(w, &w->a, "xrange s - +"), "-OOM", 4); /* nobody will give one back */
    world_free(w);
}

/* Begins a long reply whose client does not read; then its tail is sealed, and another wants a pin. */
static void slow_reader(struct world *w, const char *range, const char *meanwhile)
{
    char text[1200];

    for (unsigned i = 1; i <= 3000; i++) {
        snprintf(text, sizeof text, "xadd s %u-1 v %01000u", i, i * 7919);
        say(w, &w->b, text);
        if (i == 1500)
            seal(w);
    }
    w->log.pins_max = 1;
    execute(w, &w->a, range);
    while (step(&w->log))
        turn(w);
    assert_non_null(w->a.cold);
    assert_int_equal(w->log.n_pins, 1);
    say(w, &w->b, meanwhile);
    seal(w);
    say(w, &w->b, "xadd s 5000-1 a b");
    forget(w);
}

static void a_slow_reader_gives_its_pin_up_when_its_tail_is_sealed(void **state)
{
    static const char *const ranges[] = { "xrange s - +", "xrevrange s + -", "xread streams s 0",
                                          "xrange s 1400 + count 1300" };

    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        struct world *w = world_new(20), *other = world_new(20);
        size_t n;

        slow_reader(w, ranges[i], "ping");
        assert_memory_equal(say(w, &w->b, "xrange s 1 +"), "*3001\r\n", 7);
        hear(w, &w->a);
        n = w->n_text;
        slow_reader(other, ranges[i], "ping");
        hear(other, &other->a);
        assert_int_equal(other->n_text, n);
        assert_memory_equal(other->text, w->text, n);
        assert_int_equal(w->log.n_pins, 0);
        world_free(w);
        world_free(other);
    }
}

static void a_slow_reader_keeps_its_pin_where_segments_lack_something(void **state)
{
    struct world *w = world_new(21);

    (void)state;
    slow_reader(w, "xrange s - +", "xdel s 2500-1");
    execute(w, &w->b, "xrange s - +");
    while (step(&w->log))
        turn(w);
    assert_non_null(w->b.cold);
    assert_memory_equal(hear(w, &w->a), "*3000\r\n", 7);
    assert_non_null(strstr(w->text, "\r\n2500-1\r\n"));
    assert_memory_equal(hear(w, &w->b), "*3000\r\n", 7);
    assert_null(strstr(w->text, "\r\n2500-1\r\n"));
    world_free(w);
}

static void a_slow_reader_that_goes_gives_its_pin_back(void **state)
{
    struct world *w = world_new(22);

    (void)state;
    slow_reader(w, "xrange s - +", "xdel s 2500-1"); /* which it could not do otherwise */
    execute(w, &w->b, "xrange s - +");
    while (step(&w->log))
        turn(w);
    assert_non_null(w->b.cold);
    engine_client_fini(&w->e, &w->a);
    assert_memory_equal(hear(w, &w->b), "*3000\r\n", 7);
    engine_client_init(&w->e, &w->a);
    world_free(w);
}

static void no_more_than_so_many_wait_with_the_workers(void **state)
{
    struct world *w = world_new(16);
    enum { N = COLD_WORKS_MAX + 100 };
    struct client *all = calloc(N, sizeof *all);

    (void)state;
    assert_non_null(all);
    add(w, "s", 1, 50);
    seal(w);
    forget(w);
    for (size_t i = 0; i < N; i++) {
        engine_client_init(&w->e, &all[i]);
        execute(w, &all[i], "xrange s 7 7");
    }
    assert_int_equal(w->log.n_jobs_max, COLD_WORKS_MAX);
    for (size_t i = 0; i < N; i++) {
        assert_memory_equal(hear(w, &all[i]), "*1\r\n", 4);
        engine_client_fini(&w->e, &all[i]);
    }
    assert_int_equal(w->log.n_jobs_max, COLD_WORKS_MAX);
    free(all);
    world_free(w);
}

static void what_an_exec_changes_itself_is_read_on_the_spot_and_counted(void **state)
{
    struct world *w = world_new(17);

    (void)state;
    add(w, "s", 1, 50);
    seal(w);
    forget(w);
    say(w, &w->a, "multi");
    say(w, &w->a, "rename s t");
    say(w, &w->a, "xrange t 7 7");
    assert_non_null(strstr(say(w, &w->a, "exec"), "\r\n7-1\r\n"));
    assert_int_equal(w->log.n_sync_reads, 1);
    world_free(w);
}

/* ---- at random, beside an engine that never seals ---- */

static void random_id(struct random *r, unsigned next, char out[32])
{
    snprintf(out, 32, "%u-%u", (unsigned)random_below(r, next + 3), (unsigned)random_below(r, 3));
}

static void random_command(struct random *r, unsigned *next, char out[256])
{
    char key = (char)('p' + random_below(r, 3)), x[32], y[32];
    unsigned n = (unsigned)random_below(r, 60);

    random_id(r, *next, x);
    random_id(r, *next, y);
    switch (random_below(r, 24)) {
    case 0: snprintf(out, 256, "xrange %c %s %s", key, x, y); break;
    case 1: snprintf(out, 256, "xrange %c - + count %u", key, n); break;
    case 2: snprintf(out, 256, "xrevrange %c %s %s count %u", key, y, x, n); break;
    case 3: snprintf(out, 256, "xrevrange %c + -", key); break;
    case 4: snprintf(out, 256, "xread count %u streams %c %s", n + 1, key, x); break;
    case 5: snprintf(out, 256, "xread maxcount %u streams p q r %s 0 %s", n + 1, x, y); break;
    case 6: snprintf(out, 256, "xread maxsize %u streams r q p %s %s 3", 1 + n * 40, x, y); break;
    case 7: snprintf(out, 256, "xread streams p q r + $ +"); break;
    case 8: snprintf(out, 256, "xdel %c %s %s %u-1", key, x, y, n); break;
    case 9: snprintf(out, 256, "xdelex %c ids 3 %s %s %u-1", key, x, y, n); break;
    case 10: snprintf(out, 256, "xtrim %c maxlen %u", key, n * 3); break;
    case 11: snprintf(out, 256, "xtrim %c minid %s", key, x); break;
    case 12: snprintf(out, 256, "xtrim %c maxlen ~ %u limit %u", key, n, n); break;
    case 13: snprintf(out, 256, "xadd %c maxlen ~ %u %u-1 f %u", key, n, ++*next, n); break;
    case 14: snprintf(out, 256, "xadd %c minid %s %u-1 f %u", key, x, ++*next, n); break;
    case 15: snprintf(out, 256, "xinfo stream %c", key); break;
    case 16: snprintf(out, 256, "xinfo stream %c full count %u", key, n); break;
    case 17: snprintf(out, 256, "xsetid %c %s", key, x); break;
    case 18: snprintf(out, 256, n < 3 ? "del %c" : "xlen %c", key); break;
    case 19: snprintf(out, 256, n < 5 ? "rename p q" : "xinfo stream q"); break;
    case 20: snprintf(out, 256, "xrange %c (%s +", key, x); break;
    default: snprintf(out, 256, "xadd %c %u-1 f %u g something", key, ++*next, n); break;
    }
}

static void in_both(struct world *cold, struct world *warm, const char *text)
{
    say(cold, &cold->a, text);
    say(warm, &warm->a, text);
    if (strcmp(cold->text, warm->text) != 0)
        print_message("after: %s\n", text);
    assert_string_equal(cold->text, warm->text);
}

/* What replies do not show: how much a stream has. */
static void same_sizes(const struct world *cold, const struct world *warm)
{
    for (char key = 'p'; key <= 'r'; key++) {
        const struct object *a = state_find(&cold->e.state, 0, slice_of(&key, 1));
        const struct object *b = state_find(&warm->e.state, 0, slice_of(&key, 1));

        assert_int_equal(a == NULL, b == NULL);
        if (a == NULL)
            continue;
        assert_int_equal((stream_of(a))->bytes, (stream_of(b))->bytes);
    }
}

static void whatever_is_sealed_the_replies_are_the_same(void **state)
{
    struct random r = random_seeded("test_cold");

    (void)state;
    for (size_t round = 0; round < random_rounds(20); round++) {
        struct world *cold = world_new(round), *warm = world_new(round);
        unsigned next = 0;
        char text[256];

        cold->config.stream_node_max_entries = warm->config.stream_node_max_entries = 7;
        for (size_t i = 0; i < 1500; i++) {
            random_command(&r, &next, text);
            if (random_below(&r, 30) == 0)
                in_both(cold, warm, "multi");
            in_both(cold, warm, text);
            if (cold->a.in_multi && random_below(&r, 4) == 0)
                in_both(cold, warm, "exec");
            same_sizes(cold, warm);
            if (random_below(&r, 40) == 0 && cold->log.n_segments < SEGMENTS_MAX)
                seal(cold);
            if (random_below(&r, 10) == 0)
                forget(cold);
        }
        world_free(cold);
        world_free(warm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_of_cold_blocks_is_the_range_from_memory),
        cmocka_unit_test(a_client_waits_and_others_go_on),
        cmocka_unit_test(trims_and_deletes_after_the_start_do_not_change_a_reply),
        cmocka_unit_test(a_long_reply_is_made_as_the_client_reads),
        cmocka_unit_test(a_client_that_goes_leaves_nothing_behind),
        cmocka_unit_test(the_engine_may_end_while_workers_read),
        cmocka_unit_test(deleting_and_trimming_see_what_is_sealed),
        cmocka_unit_test(trimming_by_number_reads_the_index_and_one_block),
        cmocka_unit_test(an_exec_finds_everything_in_memory),
        cmocka_unit_test(an_exec_that_needs_too_much_is_refused_as_a_whole),
        cmocka_unit_test(a_blocked_reader_that_found_nothing_cold_is_served),
        cmocka_unit_test(a_stream_that_takes_a_waited_for_name_is_read_from_segments),
        cmocka_unit_test(replies_that_are_switched_off_are_not_made),
        cmocka_unit_test(a_damaged_block_fails_what_needs_it_and_nothing_else),
        cmocka_unit_test(damage_in_the_middle_of_a_reply_closes_the_connection),
        cmocka_unit_test(pins_that_are_taken_are_waited_for_in_turn),
        cmocka_unit_test(a_slow_reader_gives_its_pin_up_when_its_tail_is_sealed),
        cmocka_unit_test(a_slow_reader_keeps_its_pin_where_segments_lack_something),
        cmocka_unit_test(a_slow_reader_that_goes_gives_its_pin_back),
        cmocka_unit_test(no_more_than_so_many_wait_with_the_workers),
        cmocka_unit_test(what_an_exec_changes_itself_is_read_on_the_spot_and_counted),
        cmocka_unit_test(whatever_is_sealed_the_replies_are_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
