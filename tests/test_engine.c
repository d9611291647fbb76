/* test_engine.c - the engine without sockets, over a log that is an array and a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/changes.h"
#include "broker/engine/digest.h"
#include "broker/engine/engine.h"
#include "broker/engine/replay.h"
#include "log/io.h"
#include "log/record.h"
#include "tests/lib/random.h"

/* ---- a log in memory: watermarks stand where the test puts them ---- */

struct fake_record {
    struct log_record r;
    enum log_class class;
    uint64_t batch;
};

struct log {
    struct fake_record *records;
    size_t n, cap;
    uint64_t clock, batch, open_bytes, granted, max_bytes;
    uint64_t written, durable;
    size_t n_commits;
    bool full, failed, sync_now, hold; /* hold: commits do not move the watermarks */
    uint64_t cache_bytes;
    struct log_request *requests; /* the last one first */
    char backup_dir[64];
};

void log_set_clock(struct log *l, uint64_t clock)
{
    l->clock = clock;
}

int log_reserve(struct log *l, size_t bytes, struct err *e)
{
    if (l->failed)
        return err_set(e, ERR_IO, "broken");
    if (bytes > l->max_bytes || l->open_bytes > l->max_bytes - bytes)
        return err_set(e, ERR_TOO_BIG, "too big");
    l->granted = bytes;
    return OK;
}

uint8_t *log_append(struct log *l, uint8_t type, enum log_class class, size_t len,
                    uint64_t *out_lsn)
{
    uint8_t *body = malloc(len > 0 ? len : 1);

    assert_non_null(body);
    assert_true(len + 16 <= l->granted); /* E3: it was reserved */
    l->granted -= len + 16;
    if (l->n == l->cap) {
        l->cap = l->cap * 2 + 64;
        l->records = realloc(l->records, l->cap * sizeof *l->records);
        assert_non_null(l->records);
    }
    *out_lsn = LOG_FIRST_LSN + l->n;
    l->records[l->n++] = (struct fake_record){
        { .lsn = *out_lsn, .clock = l->clock, .type = type, .body = body, .len = len },
        class,
        l->batch
    };
    l->open_bytes += len + 16;
    return body;
}

size_t log_open_bytes(const struct log *l)
{
    return l->open_bytes;
}

void log_commit(struct log *l, bool sync_now)
{
    if (l->open_bytes == 0)
        return;
    l->n_commits++;
    l->batch++;
    l->open_bytes = 0;
    l->sync_now = sync_now;
    if (!l->hold)
        l->written = l->durable = log_last_lsn(l);
}

uint64_t log_last_lsn(const struct log *l)
{
    return LOG_FIRST_LSN + l->n - 1;
}

uint64_t log_written_lsn(const struct log *l)
{
    return l->written;
}

uint64_t log_durable_lsn(const struct log *l)
{
    return l->durable;
}

uint64_t log_released_lsn(const struct log *l)
{
    return l->written;
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

bool log_is_full(const struct log *l)
{
    return l->full;
}

int log_failure(const struct log *l, struct err *e)
{
    return l->failed ? err_set(e, ERR_IO, "broken") : OK;
}

void log_get_stats(const struct log *l, struct log_stats *out)
{
    (void)l;
    memset(out, 0, sizeof *out);
}

const uint8_t *log_uuid(const struct log *l)
{
    (void)l;
    return (const uint8_t *)"0123456789abcdef";
}

/* Nothing is ever sealed in it. */
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

void log_note_garbage(struct log *l, uint64_t n, uint64_t bytes)
{
    (void)l;
    fail_msg("%llu entries with %llu bytes were in no segment", (unsigned long long)n,
             (unsigned long long)bytes);
}

bool log_has_sealed(const struct log *l)
{
    (void)l;
    return false;
}

void log_get_sealed(struct log *l, uint64_t oid, struct id floor, struct delset *deletes,
                    struct id last, struct sealed *out)
{
    (void)l, (void)floor, (void)deletes, (void)last, (void)out;
    fail_msg("stream %llu was never sealed", (unsigned long long)oid);
}

/* What workers are given to do is done at once. */
void log_submit(struct log *l, struct job *j)
{
    (void)l;
    j->run(j);
    j->done(j);
}

struct blockcache *log_cache(const struct log *l)
{
    (void)l;
    return NULL;
}

struct block_decoder *log_sync_decoder(struct log *l)
{
    (void)l;
    return NULL;
}

bool log_is_backed_up(const struct log *l)
{
    (void)l;
    return false;
}

void log_set_cache_bytes(struct log *l, uint64_t bytes)
{
    l->cache_bytes = bytes;
}

/* What operators ask for is kept until a test ends it. */
static void fake_request(struct log *l, struct log_request *r)
{
    r->next = l->requests;
    l->requests = r;
}

void log_seal(struct log *l, struct log_request *r)
{
    fake_request(l, r);
}

void log_merge(struct log *l, struct log_request *r)
{
    fake_request(l, r);
}

void log_check(struct log *l, struct log_request *r)
{
    fake_request(l, r);
}

void log_backup(struct log *l, const char *dir, struct log_request *r)
{
    snprintf(l->backup_dir, sizeof l->backup_dir, "%s", dir);
    fake_request(l, r);
}

struct log_pin {
    int unused;
};

struct log_pin *log_pin(struct log *l)
{
    (void)l;
    return calloc(1, sizeof(struct log_pin));
}

void log_unpin(struct log_pin *p)
{
    free(p);
}

/* ---- the engine in it ---- */

struct bench {
    struct io io; /* must be first */
    uint64_t wall_ms;
    uint64_t rng;
    struct config config;
    struct log log;
    struct engine e;
    struct client a, b;
    int n_wakes;
    char text[1 << 16];
};

static uint64_t bench_wall_ms(struct io *io)
{
    return ((struct bench *)io)->wall_ms;
}

static uint64_t bench_monotonic_ns(struct io *io)
{
    return ((struct bench *)io)->wall_ms * 1000000;
}

static int bench_random(struct io *io, void *buf, size_t n)
{
    struct random r = { ((struct bench *)io)->rng };

    for (size_t i = 0; i < n; i++)
        ((uint8_t *)buf)[i] = (uint8_t)random_u64(&r);
    return 0;
}

static void bench_wake(void *ctx, struct client *c)
{
    (void)c;
    ((struct bench *)ctx)->n_wakes++;
}

static struct bench *bench_new(void)
{
    struct bench *t = calloc(1, sizeof *t);
    struct log_recovery info = { .created = true };
    struct engine_host host = { .ctx = t, .wake = bench_wake };

    assert_non_null(t);
    t->io.wall_ms = bench_wall_ms;
    t->io.monotonic_ns = bench_monotonic_ns;
    t->io.random = bench_random;
    t->wall_ms = 1000000;
    t->rng = 42;
    assert_int_equal(config_init(&t->config, NULL), OK);
    t->log.max_bytes = t->config.max_batch_bytes;
    t->log.written = t->log.durable = LOG_FIRST_LSN - 1;
    assert_int_equal(engine_init(&t->e, &t->config, &t->io, &host, NULL), OK);
    assert_int_equal(engine_start(&t->e, &t->log, &info, NULL), OK);
    engine_client_init(&t->e, &t->a);
    engine_client_init(&t->e, &t->b);
    return t;
}

static void bench_free(struct bench *t)
{
    engine_client_fini(&t->e, &t->a);
    engine_client_fini(&t->e, &t->b);
    engine_fini(&t->e);
    config_fini(&t->config);
    for (size_t i = 0; i < t->log.n; i++)
        free((void *)(uintptr_t)t->log.records[i].r.body);
    free(t->log.records);
    free(t);
}

/* Takes all of a client's output as a string. */
static const char *taken(struct bench *t, struct client *c)
{
    struct iovec iov[64];
    int n_iov = outbuf_peek(&c->out, outbuf_end(&c->out), iov, 64);
    size_t n = 0;

    for (int i = 0; i < n_iov; i++) {
        assert_true(n + iov[i].iov_len < sizeof t->text);
        memcpy(t->text + n, iov[i].iov_base, iov[i].iov_len);
        n += iov[i].iov_len;
    }
    t->text[n] = '\0';
    outbuf_consume(&c->out, n);
    return t->text;
}

/* Executes a command given as words, inside a round; "" is written as ''. */
static void execute(struct bench *t, struct client *c, const char *text)
{
    struct slice argv[64];
    size_t argc = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        assert_true(argc < 64);
        argv[argc++] = n == 2 && memcmp(text, "''", 2) == 0 ? slice_of(text, 0) : slice_of(text, n);
        text += n;
        text += *text == ' ';
    }
    engine_execute(&t->e, c, argv, argc);
}

/* A round of one command; the reply is taken whatever the gate says. */
static const char *say(struct bench *t, struct client *c, const char *text)
{
    engine_round_begin(&t->e);
    execute(t, c, text);
    engine_round_end(&t->e);
    return taken(t, c);
}

static void rounds(struct bench *t, int n)
{
    while (n-- > 0) {
        engine_round_begin(&t->e);
        engine_round_end(&t->e);
    }
}

#define replies(t, client, text, want) assert_string_equal(say(t, &(t)->client, text), want)

static size_t count_records(const struct bench *t, uint8_t type)
{
    size_t n = 0;

    for (size_t i = 0; i < t->log.n; i++)
        n += t->log.records[i].r.type == type;
    return n;
}

/* The records so far, applied to a fresh state with another hash key, give the same digest. */
static void replay_agrees(struct bench *t)
{
    static const uint8_t OTHER_KEY[16] = "another hash key";
    uint64_t here[2], there[2];
    struct state s;

    state_init(&s, OTHER_KEY);
    assert_int_equal(changes_open(&s, config_changes_key(&t->config), NULL), OK);
    for (size_t i = 0; i < t->log.n; i++)
        assert_int_equal(replay_apply(&s, &t->log.records[i].r, NULL), OK);
    assert_int_equal(state_digest(&s, NULL, t->e.clock, there, NULL), OK);
    assert_int_equal(state_digest(&t->e.state, NULL, t->e.clock, here, NULL), OK);
    assert_int_equal(here[0], there[0]);
    assert_int_equal(here[1], there[1]);
    assert_null(state_check(&s));
    assert_null(state_check(&t->e.state));
    assert_null(changes_check(&s));
    assert_null(changes_check(&t->e.state));
    changes_close(&s);
    state_fini(&s);
}

/* ---- what is refused before it runs ---- */

static void a_request_is_refused_with_redis_texts(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "nosuch x", "-ERR unknown command 'nosuch', with args beginning with: 'x' \r\n");
    replies(t, a, "del", "-ERR wrong number of arguments for 'del' command\r\n");
    replies(t, a, "ttl a b", "-ERR wrong number of arguments for 'ttl' command\r\n");
    replies(t, a, "beck nosuch", "-ERR unknown subcommand 'nosuch'. Try BECK HELP.\r\n");
    replies(t, a, "PING", "+PONG\r\n");
    assert_int_equal(t->e.stats.n_errors, 4);
    t->a.authenticated = false;
    replies(t, a, "DBSIZE", "-NOAUTH Authentication required.\r\n");
    replies(t, a, "EXEC",
            "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n");
    bench_free(t);
}

static void a_request_over_the_batch_limit_is_refused_by_name(void **state)
{
    struct bench *t = bench_new();
    char command[8000] = "XADD s * f ";

    (void)state;
    t->log.max_bytes = t->config.max_batch_bytes = 4096;
    memset(command + strlen(command), 'x', 5000);
    assert_non_null(strstr(say(t, &t->a, command), "max-batch-bytes (4096)"));
    replies(t, a, "EXISTS s", ":0\r\n");
    assert_int_equal(t->log.n, 0);
    /* what is open is committed first, if that makes room */
    engine_round_begin(&t->e);
    command[2000] = '\0';
    execute(t, &t->a, command);
    execute(t, &t->a, command);
    engine_round_end(&t->e);
    assert_null(strstr(taken(t, &t->a), "ERR"));
    assert_int_equal(t->log.n_commits, 2);
    bench_free(t);
}

static void a_full_disk_refuses_what_takes_space_and_nothing_else(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    say(t, &t->a, "XADD s 1-2 a b");
    t->log.full = true;
    assert_memory_equal(say(t, &t->a, "XADD s 1-3 a b"), "-DISKFULL ", 10);
    replies(t, a, "XLEN s", ":2\r\n");
    replies(t, a, "XDEL s 1-1", ":1\r\n");
    replies(t, a, "XTRIM s MAXLEN 0", ":1\r\n");
    replies(t, a, "EXPIRE s 100", ":1\r\n");
    replies(t, a, "MULTI", "+OK\r\n");
    assert_memory_equal(say(t, &t->a, "XADD s 1-3 a b"), "-DISKFULL ", 10);
    replies(t, a, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    replies(t, a, "DEL s", ":1\r\n");
    /* it fills up between MULTI and EXEC */
    t->log.full = false;
    replies(t, a, "MULTI", "+OK\r\n");
    replies(t, a, "XADD s 1-3 a b", "+QUEUED\r\n");
    t->log.full = true;
    assert_memory_equal(say(t, &t->a, "EXEC"), "-EXECABORT Transaction discarded because of: ", 45);
    replies(t, a, "EXEC", "-ERR EXEC without MULTI\r\n");
    t->log.full = false;
    replies(t, a, "XADD s 1-3 a b", "$3\r\n1-3\r\n");
    replay_agrees(t);
    bench_free(t);
}

static void after_a_failure_of_the_log_only_what_needs_no_keys_runs(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    t->log.failed = true;
    assert_memory_equal(say(t, &t->a, "XADD s 1-2 a b"), "-IOERR ", 7);
    assert_memory_equal(say(t, &t->a, "XLEN s"), "-IOERR ", 7);
    replies(t, a, "PING", "+PONG\r\n");
    assert_int_equal(t->log.n, 2);
    bench_free(t);
}

/* ---- the gate ---- */

static void needs_are(struct bench *t, const char *command, uint64_t written, uint64_t durable)
{
    execute(t, &t->a, command);
    print_message("  %s\n", command);
    assert_int_equal(t->a.need_written, written);
    assert_int_equal(t->a.need_durable, durable);
}

static void replies_need_what_they_tell(void **state)
{
    struct bench *t = bench_new();
    const uint64_t first = LOG_FIRST_LSN;

    (void)state;
    t->log.hold = true;
    engine_round_begin(&t->e);
    needs_are(t, "PING", 0, 0);
    needs_are(t, "EXISTS s", first - 1, 0);
    needs_are(t, "XADD s 1-1 a b", first + 1, first + 1); /* a stream and its entry, both durable */
    t->config.stream_durability = LOG_INTERVAL;
    needs_are(t, "XADD i 1-1 a b", first + 3, 0);
    needs_are(t, "XLEN i", first + 3, 0); /* a hit does not wait for another key's sync */
    needs_are(t, "XLEN s", first + 3, first + 1);
    needs_are(t, "XLEN nosuch", first + 3, 0);
    needs_are(t, "KEYS *", first + 3, first + 1); /* all of them for the whole keyspace */
    needs_are(t, "SCAN 0", first + 3, first + 1);
    needs_are(t, "RANDOMKEY", first + 3, first + 1);
    needs_are(t, "DBSIZE", first + 3, first + 1);
    needs_are(t, "EXISTS i s", first + 3, first + 1);
    needs_are(t, "DEL i", first + 4, 0); /* an interval effect */
    needs_are(t, "XLEN i", first + 4, 0);
    t->config.stream_durability = LOG_ALWAYS;
    needs_are(t, "EXPIRE s 100", first + 5, first + 5);
    needs_are(t, "XLEN i", first + 5, 0);
    needs_are(t, "RENAME s r", first + 6, first + 6);
    needs_are(t, "XLEN s", first + 6, first + 6); /* a miss waits for the last removal of a name */
    needs_are(t, "XLEN r", first + 6, first + 6);
    needs_are(t, "DEL r", first + 7, first + 7);
    needs_are(t, "XLEN other", first + 7, first + 7);
    t->config.stream_durability = LOG_INTERVAL;
    needs_are(t, "XADD i 1-1 a b", first + 9, first + 7); /* that it is new tells of the removal */
    needs_are(t, "XLEN i", first + 9, first + 7);
    needs_are(t, "FLUSHALL", first + 10, 0);
    t->config.stream_durability = LOG_ALWAYS;
    needs_are(t, "XADD s 1-1 a b", first + 12, first + 12);
    needs_are(t, "FLUSHALL", first + 13, first + 13);
    needs_are(t, "XLEN s", first + 13, first + 13);
    needs_are(t, "MULTI", 0, 0);
    needs_are(t, "XADD s 1-1 a b", 0, 0); /* queued */
    needs_are(t, "PING", 0, 0);
    needs_are(t, "EXEC", first + 15, first + 15);
    engine_round_end(&t->e);
    bench_free(t);
}

static void what_holds_for_a_stream_decides_what_its_replies_wait_for(void **state)
{
    struct bench *t = bench_new();
    const uint64_t first = LOG_FIRST_LSN;

    (void)state;
    t->log.hold = true;
    t->config.stream_durability = LOG_OS;
    assert_int_equal(config_set(&t->config, slice_str("stream-settings"),
                                slice_str("a* DURABILITY always"), NULL),
                     OK);
    engine_round_begin(&t->e);
    needs_are(t, "XADD os 1-1 a b", first + 1, 0);
    needs_are(t, "XADD a1 1-1 a b", first + 3, first + 3); /* a pattern's */
    needs_are(t, "XCFGSET os DURABILITY always", first + 4, 0);
    needs_are(t, "XADD os 2-1 a b", first + 5, first + 5); /* its own */
    needs_are(t, "XCFGSET a1 DURABILITY os", first + 6, first + 6);
    needs_are(t, "XADD a1 2-1 a b", first + 7, first + 6); /* what was always is still waited for */
    needs_are(t, "XCFGSET a1 DURABILITY DEFAULT", first + 8, first + 6);
    needs_are(t, "RENAME a1 b1", first + 9, first + 6); /* the new name has no pattern */
    needs_are(t, "XADD b1 3-1 a b", first + 10, first + 6);
    needs_are(t, "FLUSHALL", first + 11, first + 11); /* as strong as anything that goes */
    engine_round_end(&t->e);
    bench_free(t);
}

static void a_miss_because_of_expiry_waits_for_what_set_it(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    t->log.hold = true;
    say(t, &t->a, "XADD s 1-1 a b");
    say(t, &t->a, "EXPIRE s 10");
    uint64_t expire_lsn = log_last_lsn(&t->log);
    t->wall_ms += 20000;
    engine_round_begin(&t->e);
    needs_are(t, "EXISTS s", expire_lsn, expire_lsn);
    engine_round_end(&t->e);
    bench_free(t);
}

static void the_gate_opens_in_order_as_watermarks_pass(void **state)
{
    struct bench *t = bench_new();
    struct gate *g = &t->a.gate;
    uint64_t ping_end;

    (void)state;
    t->log.hold = true;
    engine_round_begin(&t->e);
    execute(t, &t->a, "PING");
    ping_end = outbuf_end(&t->a.out);
    execute(t, &t->a, "XADD s 1-1 a b");
    execute(t, &t->a, "PING");
    engine_round_end(&t->e);
    assert_true(t->log.sync_now); /* all who wait, wait for a sync */
    assert_int_equal(gate_open(g, t->log.written, t->log.durable), ping_end);
    t->log.written = log_last_lsn(&t->log);
    assert_int_equal(gate_open(g, t->log.written, t->log.durable), ping_end);
    t->log.durable = log_last_lsn(&t->log);
    assert_int_equal(gate_open(g, t->log.written, t->log.durable), outbuf_end(&t->a.out));
    bench_free(t);
}

static void no_sync_is_asked_for_in_a_round_where_somebody_waits_for_written_only(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    t->log.hold = true;
    engine_round_begin(&t->e);
    execute(t, &t->a, "XADD s 1-1 a b");
    t->config.stream_durability = LOG_INTERVAL;
    execute(t, &t->b, "XADD i 1-1 a b");
    engine_round_end(&t->e);
    assert_false(t->log.sync_now);
    /* nor where nobody waits at all: a key that expires */
    t->config.stream_durability = LOG_ALWAYS;
    say(t, &t->a, "PEXPIRE s 5");
    assert_true(t->log.sync_now);
    t->wall_ms += 5 + WHEEL_TICK_MS;
    rounds(t, 1);
    assert_int_equal(count_records(t, RECORD_UNNAME), 1);
    assert_false(t->log.sync_now);
    bench_free(t);
}

static void replies_that_are_not_wanted_do_not_leave(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "CLIENT REPLY SKIP", "");
    replies(t, a, "PING", "");
    replies(t, a, "PING", "+PONG\r\n");
    replies(t, a, "CLIENT REPLY OFF", "");
    replies(t, a, "PING", "");
    replies(t, a, "XADD s 1-1 a b", "");
    replies(t, a, "CLIENT REPLY ON", "+OK\r\n");
    replies(t, a, "XLEN s", ":1\r\n");
    bench_free(t);
}

static void a_blocked_reader_is_served_with_a_mark_of_its_own(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    t->log.hold = true;
    replies(t, b, "XREAD BLOCK 0 STREAMS s $", "");
    assert_non_null(t->b.blocked);
    say(t, &t->a, "XADD s 1-1 a b");
    assert_null(t->b.blocked);
    assert_int_equal(t->n_wakes, 1);
    assert_int_equal(gate_open(&t->b.gate, log_last_lsn(&t->log), 0), 0);
    assert_int_equal(gate_open(&t->b.gate, log_last_lsn(&t->log), log_last_lsn(&t->log)),
                     outbuf_end(&t->b.out));
    assert_non_null(strstr(taken(t, &t->b), "1-1"));
    bench_free(t);
}

/* ---- transactions ---- */

static void transactions_answer_as_redis_does(void **state)
{
    static const struct {
        const char *command, *want;
    } steps[] = {
        { "EXEC", "-ERR EXEC without MULTI\r\n" },
        { "DISCARD", "-ERR DISCARD without MULTI\r\n" },
        { "MULTI", "+OK\r\n" },
        { "MULTI", "-ERR MULTI calls can not be nested\r\n" },
        { "WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n" },
        { "EXEC", "*0\r\n" },
        { "MULTI", "+OK\r\n" },
        { "EXEC foo", "-EXECABORT Transaction discarded because of: wrong number of arguments for "
                      "'exec' command\r\n" },
        { "EXEC", "-ERR EXEC without MULTI\r\n" },
        { "MULTI", "+OK\r\n" },
        { "DEL", "-ERR wrong number of arguments for 'del' command\r\n" },
        { "PING", "+QUEUED\r\n" },
        { "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n" },
        { "MULTI", "+OK\r\n" },
        { "XADD s 1-1 a b", "+QUEUED\r\n" },
        { "EXPIRE s nonsense", "+QUEUED\r\n" },
        { "XADD s 1-1 a b", "+QUEUED\r\n" },
        { "XLEN s", "+QUEUED\r\n" },
        { "EXEC",
          "*4\r\n$3\r\n1-1\r\n-ERR value is not an integer or out of range\r\n"
          "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"
          ":1\r\n" },
        { "MULTI", "+OK\r\n" },
        { "DEL s", "+QUEUED\r\n" },
        { "DISCARD", "+OK\r\n" },
        { "EXISTS s", ":1\r\n" },
        { "MULTI", "+OK\r\n" },
        { "XREAD BLOCK 0 STREAMS s $", "+QUEUED\r\n" },
        { "EXEC", "*1\r\n*-1\r\n" },
        { "UNWATCH", "+OK\r\n" },
    };
    struct bench *t = bench_new();

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        print_message("  %s\n", steps[i].command);
        replies(t, a, steps[i].command, steps[i].want);
    }
    bench_free(t);
}

static void an_exec_is_one_batch_however_large(void **state)
{
    struct bench *t = bench_new();
    char command[3100] = "XADD s * f ";
    uint64_t batch;

    (void)state;
    memset(command + strlen(command), 'x', 3000);
    say(t, &t->a, "MULTI");
    for (int i = 0; i < 1000; i++)
        say(t, &t->a, command);
    engine_round_begin(&t->e);
    execute(t, &t->b, "XADD before 1-1 a b");
    execute(t, &t->a, "EXEC");
    execute(t, &t->b, "XADD after 1-1 a b");
    engine_round_end(&t->e);
    batch = t->log.records[2].batch; /* behind `before`, two records */
    for (size_t i = 2; i < 2 + 1001; i++)
        assert_int_equal(t->log.records[i].batch, batch);
    assert_int_not_equal(t->log.records[2 + 1001].batch,
                         batch); /* it is large: committed at once */
    bench_free(t);
}

static void an_exec_over_the_limit_has_no_effect(void **state)
{
    struct bench *t = bench_new();
    char command[2100] = "XADD s * f ";

    (void)state;
    memset(command + strlen(command), 'x', 1000);
    say(t, &t->a, "MULTI");
    for (int i = 0; i < 10; i++)
        replies(t, a, command, "+QUEUED\r\n");
    t->log.max_bytes = t->config.max_batch_bytes = 8192;
    assert_non_null(strstr(say(t, &t->a, "EXEC"), "max-batch-bytes (8192)"));
    assert_int_equal(t->log.n, 0);
    replies(t, a, "EXISTS s", ":0\r\n");
    /* a queue that cannot fit is refused while it grows */
    say(t, &t->a, "MULTI");
    for (int i = 0; i < 7; i++)
        replies(t, a, command, "+QUEUED\r\n");
    assert_non_null(strstr(say(t, &t->a, command), "max-batch-bytes (8192)"));
    assert_int_equal(t->a.queued_bytes, 0);
    replies(t, a, command, "+QUEUED\r\n"); /* for nothing */
    assert_int_equal(t->a.queued_bytes, 0);
    replies(t, a, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench_free(t);
}

static void a_watched_key_that_changes_fails_exec(void **state)
{
    static const struct {
        const char *watch, *change;
        bool dirty;
    } cases[] = {
        { "WATCH s", "XADD s 9-1 a b", true },
        { "WATCH s", "XADD other 9-1 a b", false },
        { "WATCH s", "DEL s", true },
        { "WATCH none", "DEL none", false },
        { "WATCH none", "XADD none 1-1 a b", true },
        { "WATCH s", "EXPIRE s 100", true },
        { "WATCH s", "PERSIST s", false }, /* it has no expiry */
        { "WATCH s", "RENAME s none", true },
        { "WATCH none", "RENAME s none", true },
        { "WATCH s", "XDEL s 1-1", true },
        { "WATCH s", "XDEL s 7-7", false },
        { "WATCH s", "XTRIM s MAXLEN 0", true },
        { "WATCH s", "XLEN s", false },
        { "WATCH s", "XSETID s 50-0", false },
        { "WATCH s", "FLUSHALL", true },
        { "WATCH none", "FLUSHALL", false },
        { "WATCH none s", "FLUSHDB", true },
        { "WATCH s s s", "DEL s", true },
        { "WATCH s s s", "XLEN s", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *t = bench_new();
        print_message("  %s, %s\n", cases[i].watch, cases[i].change);
        say(t, &t->b, "XADD s 1-1 a b");
        replies(t, a, cases[i].watch, "+OK\r\n");
        say(t, &t->b, cases[i].change);
        replies(t, a, "MULTI", "+OK\r\n");
        replies(t, a, "PING", "+QUEUED\r\n");
        replies(t, a, "EXEC", cases[i].dirty ? "*-1\r\n" : "*1\r\n+PONG\r\n");
        replies(t, a, "MULTI", "+OK\r\n"); /* and the next one is free */
        replies(t, a, "EXEC", "*0\r\n");
        replay_agrees(t);
        bench_free(t);
    }
}

static void watching_ends_with_exec_discard_and_unwatch(void **state)
{
    static const char *const ends[] = { "UNWATCH", "EXEC", "DISCARD" };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bench *t = bench_new();
        say(t, &t->a, "WATCH s");
        if (i > 0)
            say(t, &t->a, "MULTI");
        say(t, &t->a, ends[i]);
        say(t, &t->b, "XADD s 1-1 a b");
        say(t, &t->a, "MULTI");
        replies(t, a, "EXEC", "*0\r\n");
        bench_free(t);
    }
}

static void a_watched_key_that_is_made_anew_or_expires_fails_exec(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->b, "XADD s 1-1 a b");
    say(t, &t->a, "WATCH s");
    say(t, &t->b, "DEL s");
    say(t, &t->b, "XADD s 1-1 a b");
    say(t, &t->a, "MULTI");
    replies(t, a, "EXEC", "*-1\r\n");
    /* expired by the clock, with no record of it yet */
    say(t, &t->b, "PEXPIRE s 10");
    say(t, &t->a, "WATCH s");
    say(t, &t->a, "MULTI");
    t->wall_ms += 100;
    replies(t, a, "EXEC", "*-1\r\n");
    /* expired before WATCH: its removal changes nothing */
    say(t, &t->b, "XADD s 1-1 a b");
    say(t, &t->b, "PEXPIRE s 10");
    t->wall_ms += 100;
    engine_round_begin(&t->e);
    execute(t, &t->a, "WATCH s");
    engine_round_end(&t->e); /* here it goes */
    taken(t, &t->a);
    replies(t, b, "EXISTS s", ":0\r\n");
    assert_int_equal(t->e.state.n_objects, 0);
    say(t, &t->a, "MULTI");
    replies(t, a, "EXEC", "*0\r\n");
    /* but its return does */
    say(t, &t->b, "XADD s 1-1 a b");
    say(t, &t->b, "PEXPIRE s 10");
    t->wall_ms += 100;
    engine_round_begin(&t->e);
    execute(t, &t->a, "WATCH s");
    engine_round_end(&t->e);
    taken(t, &t->a);
    say(t, &t->b, "XADD s 1-1 a b");
    say(t, &t->a, "MULTI");
    replies(t, a, "EXEC", "*-1\r\n");
    bench_free(t);
}

static void queues_and_watches_have_a_limit(void **state)
{
    struct bench *t = bench_new();
    char key[16];
    struct slice argv[2] = { slice_str("WATCH"), slice_str("a") };

    (void)state;
    engine_round_begin(&t->e);
    for (int i = 0; i < CLIENT_WATCH_MAX; i++) {
        snprintf(key, sizeof key, "k%d", i);
        argv[1] = slice_str(key);
        engine_execute(&t->e, &t->a, argv, 2);
        engine_execute(&t->e, &t->a, argv, 2); /* counts once */
        assert_string_equal(taken(t, &t->a), "+OK\r\n+OK\r\n");
    }
    execute(t, &t->a, "WATCH one");
    assert_string_equal(taken(t, &t->a), "-ERR too many watched keys: the limit is 65536\r\n");
    execute(t, &t->a, "UNWATCH");
    execute(t, &t->a, "WATCH one");
    execute(t, &t->a, "MULTI");
    taken(t, &t->a);
    for (int i = 0; i < CLIENT_MULTI_MAX; i++) {
        execute(t, &t->a, "PING");
        assert_string_equal(taken(t, &t->a), "+QUEUED\r\n");
    }
    execute(t, &t->a, "PING");
    assert_string_equal(taken(t, &t->a),
                        "-ERR too many commands in a transaction: the limit is 1048576\r\n");
    engine_round_end(&t->e);
    replies(t, a, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench_free(t);
}

static void the_keys_of_another_database_are_others(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "WATCH s");
    say(t, &t->b, "SELECT 3");
    say(t, &t->b, "XADD s 1-1 a b");
    replies(t, a, "EXISTS s", ":0\r\n");
    replies(t, b, "EXISTS s", ":1\r\n");
    say(t, &t->a, "MULTI");
    replies(t, a, "EXEC", "*0\r\n");
    replies(t, a, "FLUSHDB", "+OK\r\n");
    replies(t, b, "EXISTS s", ":1\r\n");
    replies(t, a, "FLUSHALL", "+OK\r\n");
    replies(t, b, "EXISTS s", ":0\r\n");
    replay_agrees(t);
    bench_free(t);
}

/* ---- time ---- */

static void the_clock_never_goes_back(void **state)
{
    struct bench *t = bench_new();
    struct log_recovery info = { .last_clock = 5000000ull << 16 };
    uint64_t before;

    (void)state;
    rounds(t, 1);
    before = t->e.clock;
    assert_int_equal(before >> 16, 1000000);
    rounds(t, 1); /* the wall clock stands still */
    assert_true(t->e.clock > before);
    before = t->e.clock;
    t->wall_ms = 5;
    rounds(t, 1);
    assert_true(t->e.clock > before);
    assert_int_equal(engine_start(&t->e, &t->log, &info, NULL), OK);
    assert_true(t->e.clock > info.last_clock);
    t->wall_ms = UINT64_MAX; /* 48 bits are all there are */
    rounds(t, 1);
    assert_int_equal(t->e.now_ms, (1ull << 48) - 1);
    bench_free(t);
}

static void expired_keys_are_gone_for_readers_before_any_record(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    replies(t, a, "PEXPIRE s 1000", ":1\r\n");
    replies(t, a, "PTTL s", ":1000\r\n");
    t->wall_ms += 999;
    replies(t, a, "EXISTS s", ":1\r\n");
    t->wall_ms += 1;
    engine_round_begin(&t->e);
    execute(t, &t->a, "EXISTS s");
    execute(t, &t->a, "KEYS *");
    execute(t, &t->a, "SCAN 0");
    execute(t, &t->a, "RANDOMKEY");
    execute(t, &t->a, "TTL s");
    assert_int_equal(count_records(t, RECORD_UNNAME), 0);
    assert_string_equal(taken(t, &t->a), ":0\r\n*0\r\n*2\r\n$1\r\n0\r\n*0\r\n$-1\r\n:-2\r\n");
    execute(t, &t->a, "XADD s 1-1 a b"); /* a writer removes it first */
    assert_int_equal(count_records(t, RECORD_UNNAME), 1);
    assert_int_equal(t->log.records[3].r.type, RECORD_UNNAME);
    assert_int_equal(t->log.records[4].r.type, RECORD_STREAM);
    engine_round_end(&t->e);
    assert_int_equal(t->e.stats.n_expired_keys, 1);
    replay_agrees(t);
    bench_free(t);
}

static void many_keys_that_expire_go_in_slices(void **state)
{
    struct bench *t = bench_new();
    const int first_ms = 1004992; /* a tick's beginning */
    char command[64];
    int n = 0;

    (void)state;
    assert_int_equal(engine_next_deadline_ms(&t->e), UINT64_MAX);
    for (int i = 0; i < 1000; i++) {
        snprintf(command, sizeof command, "XADD k%d 1-1 a b", i);
        say(t, &t->a, command);
        snprintf(command, sizeof command, "PEXPIREAT k%d %d", i, first_ms + i % 7 * WHEEL_TICK_MS);
        say(t, &t->a, command);
    }
    assert_in_range(engine_next_deadline_ms(&t->e), t->e.now_ms + 1, first_ms);
    t->wall_ms = (uint64_t)first_ms;
    rounds(t, 20);
    assert_int_equal(count_records(t, RECORD_UNNAME), 143); /* those of the first tick */
    assert_int_equal(engine_next_deadline_ms(&t->e), first_ms + WHEEL_TICK_MS);
    t->wall_ms = 1006000;
    for (; t->e.state.n_objects > 0; n++) {
        size_t before = t->log.n;
        rounds(t, 1);
        assert_in_range(t->log.n - before, 1, 256);
    }
    assert_in_range(n, 4, 100);
    rounds(t, 1);
    assert_int_equal(engine_next_deadline_ms(&t->e), UINT64_MAX);
    replay_agrees(t);
    bench_free(t);
}

static void expiry_waits_when_the_log_has_no_room(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    say(t, &t->a, "PEXPIRE s 10");
    t->wall_ms += 20;
    t->log.max_bytes = 10;
    rounds(t, 5);
    assert_int_equal(count_records(t, RECORD_UNNAME), 0);
    assert_true(engine_next_deadline_ms(&t->e) > t->e.now_ms); /* no busy loop */
    t->log.max_bytes = 1000000;
    t->wall_ms += 1000;
    rounds(t, 1);
    assert_int_equal(count_records(t, RECORD_UNNAME), 1);
    bench_free(t);
}

static void expiry_answers_as_redis_does(void **state)
{
    static const struct {
        const char *command, *want;
    } steps[] = {
        { "EXPIRE none 10", ":0\r\n" },
        { "EXPIRE none foo", "-ERR value is not an integer or out of range\r\n" },
        { "EXPIRE s 10 NX XX",
          "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n" },
        { "EXPIRE s 10 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n" },
        { "EXPIRE s 10 bar", "-ERR Unsupported option bar\r\n" },
        { "EXPIRE s 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n" },
        { "EXPIRE s 9223372036854775", "-ERR invalid expire time in 'expire' command\r\n" },
        { "PEXPIRE s 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n" },
        { "PEXPIREAT s 9223372036854775807", ":1\r\n" },
        { "PEXPIRETIME s", ":281474976710655\r\n" }, /* the latest there is */
        { "PERSIST s", ":1\r\n" },
        { "PERSIST s", ":0\r\n" },
        { "TTL s", ":-1\r\n" },
        { "EXPIRETIME s", ":-1\r\n" },
        { "EXPIRE s 10 GT", ":0\r\n" },
        { "EXPIRE s 10 XX", ":0\r\n" },
        { "EXPIRE s 10 LT", ":1\r\n" },
        { "EXPIRE s 20 NX", ":0\r\n" },
        { "EXPIRE s 20 LT", ":0\r\n" },
        { "EXPIRE s 5 GT", ":0\r\n" },
        { "EXPIRE s 20 XX GT", ":1\r\n" },
        { "TTL s", ":20\r\n" },
        { "PTTL s", ":20000\r\n" },
        { "EXPIRETIME s", ":1020\r\n" },
        { "RENAME s r", "+OK\r\n" },
        { "TTL r", ":20\r\n" },
        { "TTL s", ":-2\r\n" },
        { "PEXPIRE r -9223372036854775808", ":1\r\n" },
        { "EXISTS r", ":0\r\n" },
    };
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        print_message("  %s\n", steps[i].command);
        replies(t, a, steps[i].command, steps[i].want);
    }
    replay_agrees(t);
    bench_free(t);
}

/* ---- names ---- */

static void names_answer_as_redis_does(void **state)
{
    static const struct {
        const char *command, *want;
    } steps[] = {
        { "RENAME none s", "-ERR no such key\r\n" },
        { "RENAME s s", "+OK\r\n" },
        { "RENAMENX s s", ":0\r\n" },
        { "XADD t 1-1 a b", "$3\r\n1-1\r\n" },
        { "RENAMENX s t", ":0\r\n" },
        { "RENAME s t", "+OK\r\n" },
        { "EXISTS s t t", ":2\r\n" },
        { "TOUCH s t", ":1\r\n" },
        { "TYPE t", "+stream\r\n" },
        { "TYPE s", "+none\r\n" },
        { "RENAMENX t s", ":1\r\n" },
        { "KEYS *", "*1\r\n$1\r\ns\r\n" },
        { "KEYS x*", "*0\r\n" },
        { "RANDOMKEY", "$1\r\ns\r\n" },
        { "SCAN 0 COUNT 0", "-ERR syntax error\r\n" },
        { "SCAN 0 COUNT a", "-ERR value is not an integer or out of range\r\n" },
        { "SCAN 0 MATCH", "-ERR syntax error\r\n" },
        { "SCAN 0 FOO bar", "-ERR syntax error\r\n" },
        { "SCAN a", "-ERR invalid cursor\r\n" },
        { "SCAN 99999999999999999999999", "-ERR invalid cursor\r\n" },
        { "SCAN ''", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\ns\r\n" },
        { "SCAN 0 TYPE string", "*2\r\n$1\r\n0\r\n*0\r\n" },
        { "SCAN 0 TYPE STREAM", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\ns\r\n" },
        { "DEL s s none", ":1\r\n" },
        { "RANDOMKEY", "$-1\r\n" },
        { "UNLINK s", ":0\r\n" },
        { "XADD '' 1-1 a b", "$3\r\n1-1\r\n" },
        { "EXISTS ''", ":1\r\n" },
        { "RENAME '' x", "+OK\r\n" },
        { "RENAME x ''", "+OK\r\n" },
        { "KEYS *", "*1\r\n$0\r\n\r\n" },
    };
    struct bench *t = bench_new();

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        print_message("  %s\n", steps[i].command);
        replies(t, a, steps[i].command, steps[i].want);
    }
    replay_agrees(t);
    bench_free(t);
}

static void a_scan_with_count_finds_every_key(void **state)
{
    struct bench *t = bench_new();
    static bool seen[3000];
    char command[64], cursor[32] = "0";
    int n = 0;

    (void)state;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 3000; i++) {
        snprintf(command, sizeof command, "XADD k%d 1-1 a b", i);
        say(t, &t->a, command);
    }
    do {
        const char *text;
        snprintf(command, sizeof command, "SCAN %s COUNT 100", cursor);
        text = say(t, &t->a, command);
        assert_int_equal(sscanf(text, "*2\r\n$%*d\r\n%31[0-9]", cursor), 1);
        while ((text = strstr(text, "\r\nk")) != NULL)
            seen[strtol(text += 3, NULL, 10)] = true;
        assert_true(++n < 1000);
    } while (strcmp(cursor, "0") != 0);
    for (int i = 0; i < 3000; i++)
        assert_true(seen[i]);
    assert_true(n > 10);
    bench_free(t);
}

static void a_flush_of_many_keys_is_freed_over_rounds(void **state)
{
    struct bench *t = bench_new();
    char command[64];

    (void)state;
    for (int i = 0; i < 60000; i++) {
        snprintf(command, sizeof command, "XADD k%d 1-1 a b", i);
        say(t, &t->a, command);
    }
    replies(t, a, "FLUSHALL", "+OK\r\n");
    replies(t, a, "DBSIZE", ":0\r\n");
    assert_true(t->e.state.oids.n > CONFIG_DATABASES);
    assert_int_equal(engine_next_deadline_ms(&t->e), t->e.now_ms); /* it asks to go on */
    rounds(t, 100);
    assert_int_equal(t->e.state.oids.n, CONFIG_DATABASES); /* their views of changes */
    assert_int_equal(engine_next_deadline_ms(&t->e), UINT64_MAX);
    bench_free(t);
}

/* ---- the digest ---- */

/* A random command that changes something, now and then. */
static void random_change(struct random *rng, char out[128])
{
    static const char *const forms[] = {
        "XADD k%zu * f v%zu",
        "XADD k%zu * f v%zu g w",
        "XADD k%zu IDMP p i%zu * f v",
        "XADD k%zu MAXLEN 5 * f v%zu",
        "XTRIM k%zu MAXLEN %zu",
        "DEL k%zu x%zu",
        "EXPIRE k%zu 1%zu00",
        "RENAME k%zu k%zu",
        "RENAME k%zu k%zu",
        "PERSIST k%zu",
        "XSETID k%zu 9%zu-9 ENTRIESADDED 1000",
        "XSETID k%zu 90000%zu-9",
        "XCFGSET k%zu IDMP-DURATION 5%zu",
        "XADD k%zu 10000000-%zu f v",
        "XDEL k%zu 10000000-%zu",
    };
    const char *form = forms[random_below(rng, sizeof forms / sizeof forms[0])];

    if (random_below(rng, 100) == 0)
        form = random_below(rng, 3) == 0 ? "FLUSHALL" : "FLUSHDB";
    if (random_below(rng, 30) == 0)
        form = "SELECT %zu";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    if (strcmp(form, "SELECT %zu") == 0)
        snprintf(out, 128, form, random_below(rng, 3));
    else
        snprintf(out, 128, form, random_below(rng, 30), random_below(rng, 30));
#pragma GCC diagnostic pop
}

static void digest_text(struct bench *t, char out[33])
{
    uint64_t sum[2];

    assert_int_equal(state_digest(&t->e.state, NULL, t->e.clock, sum, NULL), OK);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)sum[1], (unsigned long long)sum[0]);
}

static void a_digest_in_slices_is_that_of_its_moment(void **state)
{
    struct random rng = random_seeded("a_digest_in_slices");

    (void)state;
    for (size_t round = random_rounds(300); round > 0; round--) {
        struct bench *t = bench_new();
        char command[128], want[64], text[33];
        uint64_t lsn;
        for (size_t i = random_below(&rng, 300); i > 0; i--) {
            random_change(&rng, command);
            say(t, &t->a, command);
        }
        engine_round_begin(&t->e);
        for (size_t i = random_below(&rng, 20); i > 0;
             i--) { /* what leaves now is in memory still */
            random_change(&rng, command);
            execute(t, &t->a, command);
        }
        digest_text(t, text);
        lsn = log_last_lsn(&t->log);
        execute(t, &t->b, "BECK DIGEST");
        assert_non_null(t->b.blocked);
        for (int i = 0; t->e.state.digest != NULL && i < 400; i++) {
            random_change(&rng, command);
            execute(t, &t->a, command);
            if (random_below(&rng, 4) == 0)
                digest_step(&t->e, random_below(&rng, 4));
            state_reap(&t->e.state, random_below(&rng, 20));
        }
        engine_round_end(&t->e);
        rounds(t, 3);
        assert_null(t->b.blocked);
        snprintf(want, sizeof want, "*2\r\n:%llu\r\n$32\r\n%s\r\n", (unsigned long long)lsn, text);
        assert_string_equal(taken(t, &t->b), want);
        taken(t, &t->a);
        replay_agrees(t);
        bench_free(t);
    }
}

/* The last ID may be set back to the top entry, so a new one may be below the pinned last ID. */
static void a_digest_in_slices_leaves_out_what_comes_below_its_last_id(void **state)
{
    struct bench *t = bench_new();
    char text[33];

    (void)state;
    say(t, &t->a, "XADD s 50-0 f v");
    say(t, &t->a, "XSETID s 90-0");
    engine_round_begin(&t->e);
    digest_text(t, text);
    execute(t, &t->b, "BECK DIGEST");
    execute(t, &t->a, "XSETID s 60-0");
    execute(t, &t->a, "XADD s 70-0 f v");
    engine_round_end(&t->e);
    assert_string_equal(taken(t, &t->a), "+OK\r\n$4\r\n70-0\r\n");
    rounds(t, 3);
    assert_non_null(strstr(taken(t, &t->b), text));
    bench_free(t);
}

static void digests_wait_for_each_other_and_end_with_their_clients(void **state)
{
    struct bench *t = bench_new();
    struct client other;

    (void)state;
    say(t, &t->a, "XADD s 1-1 a b");
    engine_client_init(&t->e, &other);
    say(t, &other, "SELECT 5");
    engine_round_begin(&t->e);
    execute(t, &other, "BECK DIGEST");
    execute(t, &t->a, "BECK DIGEST");
    execute(t, &t->b, "BECK DIGEST");
    engine_client_fini(&t->e, &other);
    engine_round_end(&t->e);
    assert_int_equal(engine_next_deadline_ms(&t->e), t->e.now_ms);
    rounds(t, 6);
    assert_int_equal(t->e.n_digest_waits, 0);
    assert_null(t->e.state.digest);
    assert_memory_equal(taken(t, &t->a), "*2\r\n", 4);
    assert_memory_equal(taken(t, &t->b), "*2\r\n", 4);
    assert_int_equal(engine_next_deadline_ms(&t->e), UINT64_MAX);
    /* at once, and inside EXEC */
    assert_memory_equal(say(t, &t->a, "BECK DIGEST SYNC"), "*2\r\n", 4);
    say(t, &t->a, "MULTI");
    say(t, &t->a, "BECK DIGEST");
    assert_memory_equal(say(t, &t->a, "EXEC"), "*1\r\n*2\r\n", 8);
    bench_free(t);
}

static void a_digest_tells_what_differs(void **state)
{
    static const char *const changes[] = { "XADD s 2-1 f v",
                                           "PERSIST s",
                                           "RENAME s t",
                                           "XDEL s 1-1",
                                           "XSETID s 5-5",
                                           "EXPIRE s 7",
                                           "DEL s",
                                           "XTRIM s MAXLEN 0",
                                           "XADD t 1-1 f v",
                                           "XCFGSET s IDMP-MAXSIZE 7",
                                           "XCFGSET s RETENTION-LEN 7",
                                           "XCFGSET s RETENTION-LEN 8",
                                           "XCFGSET s CODEC zstd:7",
                                           "XADD s IDMP p i * f v" };
    char texts[sizeof changes / sizeof changes[0] + 1][33];
    size_t n = 0;

    (void)state;
    for (; n < sizeof changes / sizeof changes[0] + 1; n++) {
        struct bench *t = bench_new();
        say(t, &t->a, "XADD s 1-1 f v");
        say(t, &t->a, "EXPIRE s 100");
        if (n > 0)
            say(t, &t->a, changes[n - 1]);
        say(t, &t->a, "XRANGE s - +"); /* reading changes nothing */
        digest_text(t, texts[n]);
        for (size_t i = 0; i < n; i++)
            assert_string_not_equal(texts[i], texts[n]);
        bench_free(t);
    }
}

/* ---- work that clients wait for ---- */

/* The log is through with the request that it got last, in log_turn. */
static void end_request(struct bench *t, int rc, const char *text)
{
    struct log_request *r = t->log.requests;
    struct err err;

    assert_non_null(r);
    t->log.requests = r->next;
    err_set(&err, rc, "%s", text);
    engine_round_begin(&t->e);
    r->done(r, rc, &err);
    engine_round_end(&t->e);
}

static void work_of_the_log_is_waited_for_and_told(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "BECK SEAL", "");
    replies(t, b, "PING", "+PONG\r\n"); /* others go on */
    t->log.requests->lsn = 7;
    t->log.requests->n_files = 2;
    t->log.requests->bytes = 99;
    end_request(t, OK, "");
    assert_string_equal(taken(t, &t->a),
                        "*6\r\n$3\r\nlsn\r\n:7\r\n$5\r\nfiles\r\n:2\r\n$5\r\nbytes\r\n:99\r\n");
    replies(t, a, "BECK MERGE", "");
    end_request(t, ERR_IO, "st-1.seg: cannot be read");
    assert_string_equal(taken(t, &t->a), "-IOERR st-1.seg: cannot be read\r\n");
    replies(t, a, "MULTI", "+OK\r\n");
    replies(t, a, "BECK SEAL", "-ERR Command not allowed inside a transaction\r\n");
    bench_free(t);
}

static void damage_is_listed_by_place(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "BECK CHECK", "");
    end_request(t, OK, "");
    assert_string_equal(taken(t, &t->a), "*0\r\n");
    replies(t, a, "BECK CHECK", "");
    for (int i = 0; i < 200; i++) /* a hundred are kept */
        t->log.requests->found(t->log.requests, "data/x.seg", 4096, "bad");
    end_request(t, ERR_CORRUPT, "damaged");
    assert_non_null(strstr(taken(t, &t->a),
                           "*100\r\n*6\r\n$4\r\nfile\r\n$10\r\ndata/x.seg\r\n$6\r\noffset\r\n"
                           ":4096\r\n$4\r\nwhat\r\n$3\r\nbad\r\n*6\r\n"));
    replies(t, a, "BECK CHECK", "");
    end_request(t, ERR_NOMEM, "check");
    assert_string_equal(taken(t, &t->a), "-OOM check\r\n");
    bench_free(t);
}

static void a_client_that_leaves_does_not_end_its_work(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "BECK CHECK", "");
    t->log.requests->found(t->log.requests, "data/x.seg", 4096, "bad");
    engine_client_fini(&t->e, &t->a);
    assert_non_null(t->log.requests);
    end_request(t, ERR_CORRUPT, "damaged"); /* frees what was found */
    engine_client_init(&t->e, &t->a);
    replies(t, a, "BECK SEAL", "");
    struct log_request *r = t->log.requests;
    engine_client_fini(&t->e, &t->a);
    engine_client_init(&t->e, &t->a);
    r->done(r, ERR_IO, &(struct err){ .code = ERR_IO }); /* as in log_close */
    bench_free(t);
}

static void a_backup_goes_to_an_absolute_path_outside_of_the_store(void **state)
{
    static const char *const bad[] = { "relative", "/a/../b", "/store", "/store/b", "/..", "''" };
    struct bench *t = bench_new();

    (void)state;
    free(t->config.dir);
    t->config.dir = strdup("/store/");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "BECK BACKUP %s", bad[i]);
        print_message("  %s\n", text);
        assert_memory_equal(say(t, &t->a, text), "-ERR ", 5);
        assert_null(t->log.requests);
    }
    replies(t, a, "BECK BACKUP /stores/..b", "");
    assert_string_equal(t->log.backup_dir, "/stores/..b");
    end_request(t, ERR_USAGE, "/stores/..b is not empty");
    assert_string_equal(taken(t, &t->a), "-ERR /stores/..b is not empty\r\n");
    bench_free(t);
}

static void the_cache_gets_its_size_at_once(void **state)
{
    struct bench *t = bench_new();

    (void)state;
    replies(t, a, "CONFIG SET Cache-Bytes 3mb", "+OK\r\n");
    assert_int_equal(t->log.cache_bytes, 3 << 20);
    bench_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_of_the_log_is_waited_for_and_told),
        cmocka_unit_test(damage_is_listed_by_place),
        cmocka_unit_test(a_client_that_leaves_does_not_end_its_work),
        cmocka_unit_test(a_backup_goes_to_an_absolute_path_outside_of_the_store),
        cmocka_unit_test(the_cache_gets_its_size_at_once),
        cmocka_unit_test(a_request_is_refused_with_redis_texts),
        cmocka_unit_test(a_request_over_the_batch_limit_is_refused_by_name),
        cmocka_unit_test(a_full_disk_refuses_what_takes_space_and_nothing_else),
        cmocka_unit_test(after_a_failure_of_the_log_only_what_needs_no_keys_runs),
        cmocka_unit_test(replies_need_what_they_tell),
        cmocka_unit_test(what_holds_for_a_stream_decides_what_its_replies_wait_for),
        cmocka_unit_test(a_miss_because_of_expiry_waits_for_what_set_it),
        cmocka_unit_test(the_gate_opens_in_order_as_watermarks_pass),
        cmocka_unit_test(no_sync_is_asked_for_in_a_round_where_somebody_waits_for_written_only),
        cmocka_unit_test(replies_that_are_not_wanted_do_not_leave),
        cmocka_unit_test(a_blocked_reader_is_served_with_a_mark_of_its_own),
        cmocka_unit_test(transactions_answer_as_redis_does),
        cmocka_unit_test(an_exec_is_one_batch_however_large),
        cmocka_unit_test(an_exec_over_the_limit_has_no_effect),
        cmocka_unit_test(a_watched_key_that_changes_fails_exec),
        cmocka_unit_test(watching_ends_with_exec_discard_and_unwatch),
        cmocka_unit_test(a_watched_key_that_is_made_anew_or_expires_fails_exec),
        cmocka_unit_test(queues_and_watches_have_a_limit),
        cmocka_unit_test(the_keys_of_another_database_are_others),
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(expired_keys_are_gone_for_readers_before_any_record),
        cmocka_unit_test(many_keys_that_expire_go_in_slices),
        cmocka_unit_test(expiry_waits_when_the_log_has_no_room),
        cmocka_unit_test(expiry_answers_as_redis_does),
        cmocka_unit_test(names_answer_as_redis_does),
        cmocka_unit_test(a_scan_with_count_finds_every_key),
        cmocka_unit_test(a_flush_of_many_keys_is_freed_over_rounds),
        cmocka_unit_test(a_digest_in_slices_is_that_of_its_moment),
        cmocka_unit_test(a_digest_in_slices_leaves_out_what_comes_below_its_last_id),
        cmocka_unit_test(digests_wait_for_each_other_and_end_with_their_clients),
        cmocka_unit_test(a_digest_tells_what_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
