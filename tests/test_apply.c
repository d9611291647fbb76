/* test_apply.c - deterministic apply: what the log says is the state, whoever reads it and when.
 *
 * Random commands run against an engine on a real log; then the log is replayed in an engine with another
 * hash key, another wall clock and another configuration, and in another process (this program again), and each time
 * the digest has to be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/engine/engine.h"
#include "broker/engine/host.h"
#include "log/io.h"
#include "tests/lib/random.h"

enum { ARGS_MAX = 40, ARG_BYTES = 64, N_CLIENTS = 3, FILE_BYTES = 256 << 10 };

struct process {  /* one start of an engine on a store */
    struct io io; /* must be first: the real one with another clock and randomness */
    uint64_t wall_ms;
    struct random rng;
    struct config config;
    struct engine e;
    struct log *log;
    struct client clients[N_CLIENTS];
    struct log_recovery info;
};

static uint64_t process_wall_ms(struct io *io)
{
    return ((struct process *)io)->wall_ms;
}

static int process_random(struct io *io, void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)buf)[i] = (uint8_t)random_u64(&((struct process *)io)->rng);
    return 0;
}

/* No power is cut here. */
static int process_sync(struct io *io, int fd)
{
    (void)io;
    (void)fd;
    return 0;
}

static void process_fail(const char *what, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", what, e->text);
    abort();
}

static struct process *process_open(const char *dir, uint64_t wall_ms, uint64_t seed)
{
    struct process *p = calloc(1, sizeof *p);
    struct engine_host host = { 0 };
    struct log_options options;
    struct err e = { 0 };

    if (p == NULL)
        abort();
    io_init_real(&p->io);
    p->io.wall_ms = process_wall_ms;
    p->io.random = process_random;
    p->io.fdatasync = process_sync;
    p->wall_ms = wall_ms;
    p->rng.state = seed;
    if (config_init(&p->config, &e) != OK ||
        engine_init(&p->e, &p->config, &p->io, &host, &e) != OK)
        process_fail("engine", &e);
    /* a replay must not look at these */
    p->config.idmp_duration_s = 1 + (int64_t)random_below(&p->rng, 30);
    p->config.idmp_maxsize = 1 + (int64_t)random_below(&p->rng, 30);
    p->config.stream_durability = (int64_t)random_below(&p->rng, 3);
    p->config.stream_node_max_entries = 1 + (int64_t)random_below(&p->rng, 10);
    options = (struct log_options){ .io = &p->io,
                                    .dir = dir,
                                    .file_bytes = FILE_BYTES,
                                    .batch_bytes_max = p->config.max_batch_bytes,
                                    .interval_ms = 1000 };
    host_init(&p->e, &options.host);
    if (log_open(&options, &p->e.log, &p->info, &e) != OK ||
        engine_start(&p->e, p->e.log, &p->info, &e) != OK)
        process_fail("open", &e);
    p->log = p->e.log;
    for (int i = 0; i < N_CLIENTS; i++)
        engine_client_init(&p->e, &p->clients[i]);
    return p;
}

/* Ends in good order, or as if killed; what was committed is on disk either way. */
static void process_close(struct process *p, bool killed)
{
    struct err e = { 0 };

    for (int i = 0; i < N_CLIENTS; i++)
        engine_client_fini(&p->e, &p->clients[i]);
    while (log_step(p->log)) {
    }
    if (killed)
        log_abandon(p->log);
    else if (log_close(p->log, &e) != OK)
        process_fail("close", &e);
    engine_fini(&p->e);
    config_fini(&p->config);
    free(p);
}

struct digest_text {
    char hex[33];
};

static struct digest_text process_digest(struct process *p, uint64_t clock)
{
    struct digest_text text;
    uint64_t sum[2];

    if (state_digest(&p->e.state, p->log, clock, sum, NULL) != OK)
        abort();
    snprintf(text.hex, sizeof text.hex, "%016llx%016llx", (unsigned long long)sum[1],
             (unsigned long long)sum[0]);
    return text;
}

/* ---- random commands ---- */

struct request {
    struct slice argv[ARGS_MAX];
    size_t argc;
    char bytes[ARGS_MAX][ARG_BYTES];
};

/* Fills in a form: words, where K is a key, I an ID, N a small number, V a value, T a time in seconds. */
static void request_make(struct request *r, struct random *rng, const char *form)
{
    r->argc = 0;
    while (*form != '\0') {
        size_t n = strcspn(form, " ");
        char *out = r->bytes[r->argc];
        if (n == 1 && *form == 'K')
            snprintf(out, ARG_BYTES, "k%zu", random_below(rng, 12));
        else if (n == 1 && *form == 'I')
            snprintf(out, ARG_BYTES, "%zu-%zu", random_below(rng, 4000000), random_below(rng, 3));
        else if (n == 1 && *form == 'N')
            snprintf(out, ARG_BYTES, "%zu", random_below(rng, 30));
        else if (n == 1 && *form == 'V')
            snprintf(out, ARG_BYTES, "value-%zu", random_below(rng, 1000000));
        else if (n == 1 && *form == 'T')
            snprintf(out, ARG_BYTES, "%d", (int)random_below(rng, 40) - 2);
        else
            snprintf(out, ARG_BYTES, "%.*s", (int)n, form);
        r->argv[r->argc++] = slice_str(out);
        form += n;
        form += *form == ' ';
    }
}

static const char *const FORMS[] = {
    "XADD K * f V",
    "XADD K * f V g V",
    "XADD K * a V b V c V",
    "XADD K I f V",
    "XADD K NOMKSTREAM * f V",
    "XADD K MAXLEN N * f V",
    "XADD K MAXLEN ~ N * f V",
    "XADD K MAXLEN ~ N LIMIT N * f V",
    "XADD K MINID I * f V",
    "XADD K IDMP V N * f V",
    "XADD K IDMP p N * f V",
    "XADD K IDMP q N * f V",
    "XADD K IDMPAUTO p * f N",
    "XCFGSET K IDMP-DURATION N",
    "XCFGSET K IDMP-MAXSIZE N",
    "XCFGSET K IDMP-DURATION N IDMP-MAXSIZE N",
    "XDEL K I I",
    "XDELEX K IDS 2 I I",
    "XTRIM K MAXLEN N",
    "XTRIM K MINID I",
    "XTRIM K MAXLEN ~ N",
    "XSETID K 9000000-0",
    "XSETID K 9000000-N ENTRIESADDED 10000 MAXDELETEDID I",
    "XREAD COUNT N STREAMS K K 0 I",
    "XRANGE K - +",
    "DEL K K",
    "UNLINK K",
    "RENAME K K",
    "RENAMENX K K",
    "EXPIRE K T",
    "EXPIRE K T GT",
    "PEXPIRE K 2500",
    "PEXPIRE K 900 NX",
    "EXPIREAT K 3600 XX",
    "PEXPIREAT K 3000000 LT",
    "PERSIST K",
    "TTL K",
    "SCAN 0",
    "RANDOMKEY",
    "SELECT 0",
    "SELECT 1",
    "SELECT 15",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH K",
};

static void outputs_forget(struct process *p)
{
    for (int i = 0; i < N_CLIENTS; i++) {
        struct client *c = &p->clients[i];
        outbuf_consume(&c->out, (size_t)(outbuf_end(&c->out) - c->out.read_pos));
        gate_open(&c->gate, UINT64_MAX, UINT64_MAX);
    }
}

/* A round of some commands from random clients; time passes, and now and then jumps back. Returns the clock of
 * the last record. */
static uint64_t random_round(struct process *p, struct random *rng, struct request *r,
                             uint64_t last_clock)
{
    uint64_t last_lsn = log_last_lsn(p->log);

    p->wall_ms += random_below(rng, 20) == 0 ? random_below(rng, 3000) : random_below(rng, 3);
    if (random_below(rng, 50) == 0)
        p->wall_ms -= random_below(rng, 5000);
    engine_round_begin(&p->e);
    for (size_t n = random_below(rng, 8); n > 0; n--) {
        const char *form = FORMS[random_below(rng, sizeof FORMS / sizeof FORMS[0])];
        if (random_below(rng, 400) == 0)
            form = random_below(rng, 2) == 0 ? "FLUSHDB" : "FLUSHALL";
        request_make(r, rng, form);
        engine_execute(&p->e, &p->clients[random_below(rng, N_CLIENTS)], r->argv, r->argc);
    }
    engine_round_end(&p->e);
    while (log_step(p->log)) {
    }
    outputs_forget(p);
    return log_last_lsn(p->log) > last_lsn ? p->e.clock : last_clock;
}

/* ---- stores in a temporary directory ---- */

static void store_make(char dir[64])
{
    snprintf(dir, 64, "/tmp/test_apply.XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void store_remove(const char *dir)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

/* The digest that this program gives in a process of its own. */
static struct digest_text digest_elsewhere(const char *dir, uint64_t clock, uint64_t wall_ms)
{
    struct digest_text text = { "" };
    char clock_text[32], wall_text[32];
    int fds[2], status;
    pid_t pid;

    snprintf(clock_text, sizeof clock_text, "%llu", (unsigned long long)clock);
    snprintf(wall_text, sizeof wall_text, "%llu", (unsigned long long)wall_ms);
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        execl("/proc/self/exe", "test_apply", "--digest", dir, clock_text, wall_text, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    for (size_t n = 0; n < sizeof text.hex - 1;) {
        ssize_t got = read(fds[0], text.hex + n, sizeof text.hex - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return text;
}

static int print_digest(char **argv)
{
    uint64_t clock = strtoull(argv[2], NULL, 10), wall_ms = strtoull(argv[3], NULL, 10);
    struct process *p = process_open(argv[1], wall_ms, (uint64_t)getpid());
    struct digest_text text = process_digest(p, clock);

    fputs(text.hex, stdout);
    process_close(p, true);
    return 0;
}

static void check_state(const struct process *p)
{
    const char *broken = state_check(&p->e.state);

    if (broken != NULL)
        fail_msg("%s", broken);
}

static void a_replay_elsewhere_and_at_another_time_gives_the_same_digest(void **state)
{
    struct random rng = random_seeded("a_replay");
    struct request *r = malloc(sizeof *r);

    (void)state;
    assert_non_null(r);
    for (size_t round = random_rounds(30); round > 0; round--) {
        char dir[64];
        uint64_t wall_ms = 1000000, clock = 0;
        size_t n_objects = 0;
        struct digest_text before = { "" }, here;
        store_make(dir);
        for (int life = 0; life < 4; life++) { /* each goes on where the one before ended */
            struct process *p = process_open(dir, wall_ms, random_u64(&rng));
            if (life > 0) {
                assert_true(p->e.clock > clock); /* even if the wall clock went back */
                here = process_digest(p, clock);
                assert_string_equal(here.hex, before.hex);
                assert_int_equal(p->e.state.n_objects, n_objects);
                check_state(p);
            }
            for (int i = 0; i < 400; i++)
                clock = random_round(p, &rng, r, clock);
            check_state(p);
            n_objects = p->e.state.n_objects;
            before = process_digest(p, clock);
            wall_ms = p->wall_ms + random_below(&rng, 20000) - 10000;
            process_close(p, random_below(&rng, 2) == 0);
        }
        here = digest_elsewhere(dir, clock, random_u64(&rng) >> 20);
        assert_string_equal(here.hex, before.hex);
        store_remove(dir);
    }
    free(r);
}

static void the_random_commands_are_all_that_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count(); i++) {
        const struct command *c = command_at(i);
        bool there = strncmp(c->name, "flush", 5) == 0;
        if (!(c->flags & CMD_WRITE))
            continue;
        for (size_t k = 0; k < sizeof FORMS / sizeof FORMS[0] && !there; k++)
            there = strncasecmp(FORMS[k], c->name, strlen(c->name)) == 0 &&
                    FORMS[k][strlen(c->name)] == ' ';
        if (!there)
            fail_msg("%s is not among them", c->name);
    }
}

/* What runs out with time (idempotence) is told by the clock that the digest is given, not by the reader's. */
static void a_digest_depends_on_the_clock_it_is_given(void **state)
{
    struct random rng = random_seeded("a_digest_depends");
    struct request *r = malloc(sizeof *r);
    struct digest_text now, same, later;
    struct process *p;
    char dir[64];

    (void)state;
    assert_non_null(r);
    store_make(dir);
    p = process_open(dir, 1000000, 1);
    engine_round_begin(&p->e);
    request_make(r, &rng, "XADD K IDMP p i * f V");
    engine_execute(&p->e, &p->clients[0], r->argv, r->argc);
    engine_round_end(&p->e);
    now = process_digest(p, p->e.clock);
    same = process_digest(p, p->e.clock + 5);
    later = process_digest(p, p->e.clock + (90000000ull << 16));
    assert_string_equal(now.hex, same.hex);
    assert_string_not_equal(now.hex, later.hex);
    process_close(p, false);
    store_remove(dir);
    free(r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_random_commands_are_all_that_write),
        cmocka_unit_test(a_replay_elsewhere_and_at_another_time_gives_the_same_digest),
        cmocka_unit_test(a_digest_depends_on_the_clock_it_is_given),
    };

    if (argc == 5 && strcmp(argv[1], "--digest") == 0)
        return print_digest(argv + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
