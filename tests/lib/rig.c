/*
 * rig.c - see rig.h. The log runs without threads: rig_settle is what its threads would do, one step after the other,
 * with a round of the engine between any two.
 */
#include "tests/lib/rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <cmocka.h>
#include "broker/engine/host.h"

enum { RIG_STEPS_MAX = 1000000, RIG_WORDS_MAX = 2048, RIG_PART_BYTES = 64 << 10 };

struct rig *rig_new(uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);

    assert_non_null(r);
    r->disk = simio_new(seed);
    simio_set_wall_ms(r->disk, 1700000000000);
    assert_int_equal(config_init(&r->config, NULL), OK);
    r->config.arena_bytes = RIG_PART_BYTES;
    r->config.stream_durability = LOG_OS;
    return r;
}

void rig_free(struct rig *r)
{
    if (r->running)
        rig_stop(r);
    config_fini(&r->config);
    simio_free(r->disk);
    free(r);
}

struct rig *rig_begin(void)
{
    struct rig *r = rig_new(1);

    rig_start(r);
    return r;
}

static void rig_complain(void *ctx, const char *text)
{
    struct rig *r = ctx;

    r->n_complaints++;
    snprintf(r->complaint, sizeof r->complaint, "%s", text);
}

void rig_start(struct rig *r)
{
    struct log_options o = {
        .io = simio_io(r->disk),
        .dir = "data",
        .file_bytes = 1 << 20,
        .batch_bytes_max = r->config.max_batch_bytes,
        .interval_ms = (uint64_t)r->config.interval_ms,
        .part_bytes = r->config.arena_bytes,
        .cache_bytes = r->config.cache_bytes,
    };
    const struct engine_host host = { .ctx = r, .complain = rig_complain };
    struct err e = { 0 };

    assert_false(r->running);
    assert_int_equal(engine_init(&r->e, &r->config, o.io, &host, &e), OK);
    host_init(&r->e, &o.host);
    if (log_open(&o, &r->e.log, &r->info, &e) != OK ||
        engine_start(&r->e, r->e.log, &r->info, &e) != OK)
        fail_msg("the store cannot be opened: %s", e.text);
    r->log = r->e.log;
    engine_client_init(&r->e, &r->c);
    r->running = true;
}

void rig_stop(struct rig *r)
{
    struct err e = { 0 };

    assert_true(r->running);
    r->running = false;
    engine_client_fini(&r->e, &r->c);
    engine_stop(&r->e);
    if (log_close(r->log, &e) != OK)
        fail_msg("the store cannot be closed: %s", e.text);
    engine_fini(&r->e);
    simio_restart(r->disk);
}

void rig_kill(struct rig *r, enum simio_mode mode)
{
    assert_true(r->running);
    r->running = false;
    engine_client_fini(&r->e, &r->c);
    engine_stop(&r->e);
    log_abandon(r->log);
    engine_fini(&r->e);
    simio_crash(r->disk, mode, 0);
}

/* ---- rounds ---- */

void rig_round(struct rig *r)
{
    engine_round_begin(&r->e);
    engine_round_end(&r->e);
}

/* A round, and a step of the log. Whether anything is left to do at this moment. */
static bool rig_step(struct rig *r)
{
    bool more;

    rig_round(r);
    more = !r->lazy && log_step(r->log);
    return more || engine_next_deadline_ms(&r->e) <= r->e.now_ms;
}

void rig_settle(struct rig *r)
{
    for (int i = 0; i < RIG_STEPS_MAX; i++)
        if (!rig_step(r))
            return;
    fail_msg("there is always something left to do");
}

void rig_restart(struct rig *r, bool killed)
{
    if (killed)
        rig_kill(r, SIMIO_KILL);
    else
        rig_stop(r);
    rig_start(r);
    rig_settle(r);
}

void rig_pass(struct rig *r, uint64_t ms)
{
    simio_advance_ms(r->disk, ms);
    rig_settle(r);
}

/* ---- commands ---- */

static void rig_take(struct rig *r, struct client *c, size_t *n)
{
    struct iovec iov[64];
    int n_iov = outbuf_peek(&c->out, outbuf_end(&c->out), iov, 64);
    size_t taken = 0;

    for (int i = 0; i < n_iov; i++) {
        assert_true(*n + iov[i].iov_len < sizeof r->text);
        memcpy(r->text + *n, iov[i].iov_base, iov[i].iov_len);
        *n += iov[i].iov_len;
        taken += iov[i].iov_len;
    }
    r->text[*n] = '\0';
    outbuf_consume(&c->out, taken);
}

/* Has the words of the command executed by `c`, in a round. */
static void rig_execute(struct rig *r, struct client *c, const char *format, va_list args)
{
    struct slice argv[RIG_WORDS_MAX];
    char *text = NULL, *at;
    size_t argc = 0;

    assert_true(vasprintf(&text, format, args) > 0);
    for (at = text; *at != '\0' && argc < RIG_WORDS_MAX; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        bool empty = n == 2 && at[0] == '"' && at[1] == '"';

        argv[argc++] = slice_of(at, empty ? 0 : n);
        at += n;
    }
    engine_round_begin(&r->e);
    engine_execute(&r->e, c, argv, argc);
    engine_round_end(&r->e);
    free(text);
}

const char *rig_say(struct rig *r, const char *format, ...)
{
    size_t n = 0;
    va_list args;

    va_start(args, format);
    rig_execute(r, &r->c, format, args);
    va_end(args);
    rig_take(r, &r->c, &n);
    for (int i = 0; (n == 0 || r->c.blocked != NULL || r->c.cold != NULL) && i < RIG_STEPS_MAX;
         i++) {
        rig_round(r);
        log_step(r->log);
        rig_take(r, &r->c, &n);
    }
    if (!r->lazy)
        rig_settle(r);
    return r->text;
}

void rig_join(struct rig *r, struct client *c)
{
    engine_client_init(&r->e, c);
}

void rig_leave(struct rig *r, struct client *c)
{
    engine_client_fini(&r->e, c);
}

void rig_tell(struct rig *r, struct client *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    rig_execute(r, c, format, args);
    va_end(args);
    rig_settle(r);
}

const char *rig_hear(struct rig *r, struct client *c)
{
    size_t n = 0;

    rig_take(r, c, &n);
    return r->text;
}

uint64_t rig_len(struct rig *r, const char *key)
{
    const char *reply = rig_say(r, "XLEN %s", key);

    assert_int_equal(reply[0], ':');
    return strtoull(reply + 1, NULL, 10);
}

uint64_t rig_pending(struct rig *r, const char *key, const char *group)
{
    const char *reply = rig_say(r, "XPENDING %s %s", key, group);

    assert_int_equal(strncmp(reply, "*4\r\n:", 5), 0);
    return strtoull(reply + 5, NULL, 10);
}

uint64_t rig_figure(struct rig *r, const char *name)
{
    char wanted[64];
    const char *at;

    snprintf(wanted, sizeof wanted, "\r\n%s\r\n:", name);
    at = strstr(rig_say(r, "BECK LOG"), wanted);
    assert_non_null(at);
    return strtoull(at + strlen(wanted), NULL, 10);
}

/* ---- streams and groups ---- */

void rig_seal(struct rig *r)
{
    assert_int_equal(rig_say(r, "BECK SEAL")[0], '*');
}

void rig_add(struct rig *r, const char *key, unsigned n)
{
    for (unsigned i = 1; i <= n; i++)
        assert_int_equal(rig_say(r, "XADD %s %u-1 f v%u", key, i, i)[0], '$');
}

struct rig *rig_grouped(unsigned n, const char *options)
{
    struct rig *r = rig_begin();

    rig_add(r, "s", n);
    says(r, OKAY, "XGROUP CREATE s g 0 %s", options);
    return r;
}

struct rig *rig_delivered(unsigned n, const char *options)
{
    struct rig *r = rig_grouped(n, options);

    assert_int_equal(rig_say(r, "XREADGROUP GROUP g c STREAMS s >")[1], '1');
    return r;
}

struct stream *rig_stream(struct rig *r, const char *key)
{
    return stream_of(state_find(&r->e.state, 0, slice_str(key)));
}

struct group *rig_group(struct rig *r, const char *key, const char *name)
{
    struct stream *st = rig_stream(r, key);

    return st == NULL ? NULL : groups_find(stream_groups(st), slice_str(name));
}

struct redelivery_stats rig_redelivery(struct rig *r)
{
    struct redelivery_stats s;

    redelivery_get_stats(&r->e, &s);
    assert_null(redelivery_check(&r->e));
    return s;
}
