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
#include "broker/engine/digest.h"
#include "broker/engine/engine.h"
#include "broker/engine/host.h"
#include "log/io.h"
#include "log/record.h"
#include "tests/lib/random.h"

enum { ARGS_MAX = 40, ARG_BYTES = 64, N_CLIENTS = 3, FILE_BYTES = 256 << 10, SEEN = 64 };

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

/* A checkpoint as its pieces. */
struct taken {
    struct log_buffer bytes;
    struct piece {
        uint64_t as_of;
        size_t n;
    } pieces[4096];
    size_t n_pieces;
    uint64_t start_lsn, end_lsn;
    uint64_t sealed_lsn; /* entries up to it are said to be in segments */
    struct log_host host;
};

static int taken_replay(void *ctx, const struct log_record *record, struct err *e)
{
    struct taken *taken = ctx;
    struct log_record r = *record;

    /* Entries of streams are not looked at; a value's change may be. */
    r.sealed = r.lsn <= taken->sealed_lsn && r.type != RECORD_CHANGE;
    return taken->host.replay(taken->host.ctx, &r, e);
}

/* Gives the engine the checkpoint, and sees to it that the log goes on from there. */
static int taken_load(struct taken *taken, struct log_host *host, struct err *e)
{
    const uint8_t *p = taken->bytes.p;
    int rc = OK;

    taken->host = *host;
    for (size_t i = 0; i < taken->n_pieces && rc == OK; i++) {
        rc = host->load(host->ctx, taken->pieces[i].as_of, slice_of(p, taken->pieces[i].n), e);
        p += taken->pieces[i].n;
    }
    if (rc == OK)
        rc = host->loaded(host->ctx, taken->start_lsn, taken->end_lsn, e);
    *host = (struct log_host){ .ctx = taken, .replay = taken_replay };
    return rc;
}

struct process_options {
    uint64_t wall_ms, seed;
    struct taken *taken; /* NULL: the engine begins empty */
    bool seals;          /* parts, segments and checkpoints are so small that there are many */
};

static void process_seal_often(struct log_options *o)
{
    o->part_bytes = LOG_PART_BYTES_MIN;
    o->checkpoint_bytes = 16 << 10;
    o->tier_bytes = 16 << 10;
    o->block_bytes = 512;
    o->work_slice = 3;
}

static struct process *process_open_as(const char *dir, const struct process_options *x)
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
    p->wall_ms = x->wall_ms;
    p->rng.state = x->seed;
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
    if (x->taken != NULL && taken_load(x->taken, &options.host, &e) != OK)
        process_fail("checkpoint", &e);
    if (x->seals)
        process_seal_often(&options);
    if (log_open(&options, &p->e.log, &p->info, &e) != OK ||
        engine_start(&p->e, p->e.log, &p->info, &e) != OK)
        process_fail("open", &e);
    p->log = p->e.log;
    for (int i = 0; i < N_CLIENTS; i++)
        engine_client_init(&p->e, &p->clients[i]);
    return p;
}

static struct process *process_open(const char *dir, uint64_t wall_ms, uint64_t seed)
{
    const struct process_options x = { .wall_ms = wall_ms, .seed = seed };
    return process_open_as(dir, &x);
}

static struct process *process_open_from(const char *dir, uint64_t wall_ms, uint64_t seed,
                                         struct taken *taken)
{
    const struct process_options x = { .wall_ms = wall_ms, .seed = seed, .taken = taken };
    return process_open_as(dir, &x);
}

/* Ends in good order, or as if killed; what was committed is on disk either way. The state stays. */
static void process_close_log(struct process *p, bool killed)
{
    struct err e = { 0 };

    for (int i = 0; i < N_CLIENTS; i++)
        engine_client_fini(&p->e, &p->clients[i]);
    while (log_step(p->log)) {
    }
    engine_stop(&p->e);
    if (killed)
        log_abandon(p->log);
    else if (log_close(p->log, &e) != OK)
        process_fail("close", &e);
}

static void process_free(struct process *p)
{
    engine_fini(&p->e);
    config_fini(&p->config);
    free(p);
}

static void process_close(struct process *p, bool killed)
{
    process_close_log(p, killed);
    process_free(p);
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
    struct id seen[SEEN]; /* IDs of entries that are there, or were lately */
    struct slice argv[ARGS_MAX];
    size_t argc;
    char bytes[ARGS_MAX][ARG_BYTES];
};

/* Fills in a form: words, where P, H and L are keys of strings, hashes and lists (J: any of these), F a field, D a database, M a time in
 * milliseconds, Y a long value, K another key, I an ID, E an entry's ID, N a small number, V a value, T a time in seconds. */
static void request_make(struct request *r, struct random *rng, const char *form)
{
    r->argc = 0;
    while (*form != '\0') {
        size_t n = strcspn(form, " ");
        char *out = r->bytes[r->argc];
        if (n == 1 && *form == 'K' && random_below(rng, 20) == 0)
            snprintf(out, ARG_BYTES, "beck:changes");
        else if (n == 1 && *form == 'K')
            snprintf(out, ARG_BYTES, "k%zu", random_below(rng, 12));
        else if (n == 1 && (*form == 'P' || *form == 'H' || *form == 'L'))
            snprintf(out, ARG_BYTES, "%c%zu", *form, random_below(rng, 4));
        else if (n == 1 && *form == 'J')
            snprintf(out, ARG_BYTES, "%c%zu", "PHL"[random_below(rng, 3)], random_below(rng, 4));
        else if (n == 1 && *form == 'F')
            snprintf(out, ARG_BYTES, "field%zu", random_below(rng, 20));
        else if (n == 1 && *form == 'D')
            snprintf(out, ARG_BYTES, "%zu", random_below(rng, 2));
        else if (n == 1 && *form == 'M')
            snprintf(out, ARG_BYTES, "%zu", 1 + random_below(rng, 90));
        else if (n == 1 && *form == 'Y')
            snprintf(out, ARG_BYTES, "%0*zu", (int)random_below(rng, ARG_BYTES - 1) + 1,
                     random_below(rng, 10));
        else if (n == 1 && *form == 'I')
            snprintf(out, ARG_BYTES, "%zu-%zu", random_below(rng, 4000000), random_below(rng, 3));
        else if (n == 1 && *form == 'E')
            out[id_format(r->seen[random_below(rng, SEEN)], out)] = '\0';
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
    "XDEL K E E E",
    "XDEL K E",
    "XDELEX K IDS 3 E E E",
    "XDELEX K IDS 2 I I",
    "XTRIM K MAXLEN N",
    "XTRIM K MINID I",
    "XTRIM K MINID E",
    "XTRIM K MAXLEN ~ N",
    "XADD K ACKED MAXLEN N * f V",
    "XADD K DELREF MAXLEN ~ N * f V",
    "XTRIM K MAXLEN N ACKED",
    "XTRIM K MINID E DELREF",
    "XDELEX K ACKED IDS 3 E E E",
    "XDELEX K DELREF IDS 2 E E",
    "XGROUP CREATE K g 0 MKSTREAM",
    "XGROUP CREATE K g 0 MAXDELIVER 3",
    "XGROUP CREATE K h I ENTRIESREAD N",
    "XGROUP CREATE K o 0 MKSTREAM ORDERBY f MAXPENDING N",
    "XGROUP DESTROY K g",
    "XGROUP DESTROY K h",
    "XGROUP SETID K h E",
    "XGROUP SETID K g 0",
    "XGROUP SETID K o E",
    "XGROUP CREATECONSUMER K g N",
    "XGROUP DELCONSUMER K g c",
    "XGROUP DELCONSUMER K g d HANDBACK",
    "XGROUP DELCONSUMER K o N",
    "XGROUP CFGSET K g ACKWAIT N",
    "XGROUP CFGSET K g MAXDELIVER N DLQ K",
    "XGROUP CFGSET K h BACKOFF N N N",
    "XGROUP CFGSET K h CONSUMERTTL N",
    "XGROUP CFGSET K h ORDERBY f",
    "XGROUP CFGSET K g ACKWAIT 0 MAXDELIVER 0 BACKOFF 0",
    "XDLQ REDRIVE K K g COUNT N",
    "XDLQ REDRIVE K K h ALLGROUPS",
    "XREADGROUP GROUP o N COUNT N STREAMS K >",
    "XREADGROUP GROUP o N COUNT N STREAMS K >",
    "XREADGROUP GROUP g N COUNT N STREAMS K >",
    "XGROUP CREATE K o 0 ACKWAIT N BACKOFF 2 N N ORDERBY f",
    "XGROUP CFGSET K o ORDERBY g",
    "XGROUP DESTROY K o",
    "XREADGROUP GROUP o d CLAIM N STREAMS K >",
    "XCLAIM K o d 0 E E FORCE",
    "XACK K o E E E E E E",
    "XNACK K o FAIL IDS 2 E E",
    "XREADGROUP GROUP g c COUNT N STREAMS K >",
    "XREADGROUP GROUP h c NOACK COUNT N STREAMS K >",
    "XREADGROUP GROUP g d CLAIM N STREAMS K >",
    "XREADGROUP GROUP g c COUNT N STREAMS K 0",
    "XACK K g E E",
    "XACK K h E I",
    "XACKDEL K g IDS 2 E E",
    "XACKDEL K h ACKED IDS 2 E E",
    "XCLAIM K g c 0 E E FORCE",
    "XCLAIM K h c 0 E E FORCE JUSTID",
    "XCLAIM K g d T E E IDLE N RETRYCOUNT N LASTID E",
    "XAUTOCLAIM K g d T 0 COUNT N",
    "XAUTOCLAIM K h c N I JUSTID",
    "XNACK K g FAIL IDS 2 E E FORCE",
    "XNACK K h SILENT IDS 3 E E E DELAY N",
    "XNACK K g FATAL IDS 1 E",
    "XCFGSET K RETENTION-ACKED yes RETENTION-LEN N",
    "XCFGSET K RETENTION-ACKED no RETENTION-LEN 0",
    "XSETID K 9000000-0",
    "XSETID K I",
    "XSETID K I MAXDELETEDID 0-1",
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
    "SET P V",
    "SET P Y PX M",
    "SET P V PX M STALE 1",
    "SET J V",
    "SET K V",
    "SET P V KEEPTTL",
    "SETNX P V",
    "SETEX P 1 V",
    "PSETEX P M V",
    "GETSET P V",
    "GETDEL P",
    "GETEX P PX M",
    "GETEX P PERSIST",
    "MSET P V P V",
    "MSETNX P V P V",
    "MSETEX 2 P V P V PX M",
    "APPEND P Y",
    "APPEND P Y",
    "SETRANGE P N V",
    "SETRANGE P 1200 V",
    "SETRANGE P 1500 Y",
    "INCR n",
    "DECR n",
    "INCRBY n N",
    "DECRBY n N",
    "INCRBYFLOAT x 0.5",
    "INCREX n BYINT N EX 1",
    "DELEX P",
    "DELEX J IFREV N",
    "COPY J J REPLACE",
    "COPY J J DB D REPLACE",
    "MOVE J D",
    "MOVE J D",
    "SWAPDB 0 1",
    "DEL J J",
    "UNLINK J",
    "RENAME J J",
    "RENAME J J",
    "RENAME K J",
    "RENAME J K",
    "RENAMENX J J",
    "PEXPIRE J M",
    "PEXPIRE J M",
    "EXPIRE J T",
    "PEXPIREAT J 1002000",
    "PERSIST J",
    "HSET H F V F V",
    "HSET H F V F V F V F Y F V F V",
    "HSET H F Y",
    "HSETNX H F V",
    "HMSET H F V",
    "HINCRBY H n N",
    "HINCRBYFLOAT H x 0.25",
    "HDEL H F F",
    "HDEL H F F F F F F F F F F F F",
    "HGETDEL H FIELDS 2 F F",
    "HEXPIRE H 1 FIELDS 1 F",
    "HPEXPIRE H M FIELDS 2 F F",
    "HPEXPIRE H M FIELDS 3 F F F",
    "HEXPIREAT H 1001 FIELDS 1 F",
    "HPEXPIREAT H 1001500 FIELDS 2 F F",
    "HPERSIST H FIELDS 2 F F",
    "HGETEX H PX M FIELDS 1 F",
    "HSETEX H PX M FIELDS 2 F V F V",
    "RPUSH L V V",
    "RPUSH L Y V V V",
    "LPUSH L V",
    "LPUSHX L V",
    "RPUSHX L V",
    "LPOP L",
    "LPOP L N",
    "RPOP L N",
    "LSET L 0 V",
    "LSET L -1 Y",
    "LINSERT L BEFORE x V",
    "RPUSH L x",
    "LREM L 1 x",
    "LTRIM L 1 N",
    "LTRIM L N 2",
    "LMOVE L L LEFT RIGHT",
    "LMOVE L L RIGHT LEFT",
    "RPOPLPUSH L L",
    "LMPOP 2 L L LEFT COUNT N",
    "BLPOP L 0.001",
    "BRPOP L 0.001",
    "BLMOVE L L LEFT LEFT 0.001",
    "BRPOPLPUSH L L 0.001",
    "BLMPOP 0.001 1 L RIGHT",
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

static void outputs_forget_of(struct client *c)
{
    outbuf_consume(&c->out, (size_t)(outbuf_end(&c->out) - c->out.read_pos));
    gate_open(&c->gate, UINT64_MAX, UINT64_MAX);
}

static void outputs_forget(struct process *p)
{
    for (int i = 0; i < N_CLIENTS; i++)
        outputs_forget_of(&p->clients[i]);
}

static void requests_see(const struct process *p, struct random *rng, struct request *r)
{
    for (int i = 0; i < 12; i++) {
        char key[16];
        struct object *o;

        snprintf(key, sizeof key, "k%d", i);
        o = state_find(&p->e.state, 0, slice_str(key));
        if (o != NULL && !object_is_value(o))
            r->seen[random_below(rng, SEEN)] = (stream_of(o))->last_id;
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
        struct client *c = &p->clients[random_below(rng, N_CLIENTS)];
        request_make(r, rng, form);
        if (c->cold == NULL && c->blocked == NULL) /* else it waits for what is in segments */
            engine_execute(&p->e, c, r->argv, r->argc);
    }
    engine_round_end(&p->e);
    while (log_step(p->log)) {
    }
    outputs_forget(p);
    requests_see(p, rng, r);
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
    struct request *r = calloc(1, sizeof *r);

    (void)state;
    assert_non_null(r);
    for (size_t round = random_rounds(20); round > 0; round--) {
        char dir[64];
        uint64_t wall_ms = 1000000, clock = 0;
        size_t n_objects = 0;
        struct digest_text before = { "" }, here;
        store_make(dir);
        for (int life = 0; life < 4; life++) { /* each goes on where the one before ended */
            struct process_options x = { .wall_ms = wall_ms, .seed = random_u64(&rng) };
            struct process *p;
            x.seals = random_below(&rng, 3) > 0;
            p = process_open_as(dir, &x);
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

/* ---- a checkpoint ---- */

static void taken_piece(struct taken *taken, struct process *p, size_t budget, bool *more)
{
    size_t before = taken->bytes.n;

    *more = save_some(&p->e.save, budget, &taken->bytes);
    if (taken->bytes.failed) { /* databases changed places: it is begun anew */
        free(taken->bytes.p);
        taken->bytes = (struct log_buffer){ 0 };
        taken->n_pieces = 0;
        taken->start_lsn = log_last_lsn(p->log);
        save_end(&p->e.save);
        save_begin(&p->e.save, &p->e.state);
        *more = true;
        return;
    }
    assert_true(taken->n_pieces < sizeof taken->pieces / sizeof taken->pieces[0]);
    taken->end_lsn = log_last_lsn(p->log);
    taken->pieces[taken->n_pieces++] = (struct piece){ taken->end_lsn, taken->bytes.n - before };
}

/* Rounds of commands, during which a checkpoint is taken. */
static uint64_t random_rounds_with_checkpoint(struct process *p, struct random *rng,
                                              struct request *r, struct taken *taken)
{
    size_t from = random_below(rng, 300), slow = 1 + random_below(rng, 4);
    uint64_t clock = 0;
    bool more = true;

    for (size_t i = 0; i < 400 || more; i++) {
        clock = random_round(p, rng, r, clock);
        if (i == from) {
            taken->start_lsn = log_last_lsn(p->log);
            save_begin(&p->e.save, &p->e.state);
            p->e.save.n_pending = 1 + random_below(rng, 3); /* else all would fit in one piece */
            p->e.save.whole = random_below(rng, 300);
            p->e.save.piece = 1 + random_below(rng, 60);
        }
        if (i >= from && more && random_below(rng, slow) == 0)
            taken_piece(taken, p, 1 + random_below(rng, 2), &more);
    }
    save_end(&p->e.save);
    return clock;
}

struct compared {
    struct process *other;
    int db;
    size_t n;
};

static void compare_values(struct process *other, int db, const struct object *a)
{
    const struct object *b = state_find(&other->e.state, db, object_name(a));

    assert_non_null(b);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->rev, b->rev);
    assert_int_equal(a->expiry_ms, b->expiry_ms);
    assert_int_equal(object_stale_ms(a), object_stale_ms(b));
    assert_int_equal(object_size(a), object_size(b));
    assert_int_equal(a->flags & OBJECT_BACKED, b->flags & OBJECT_BACKED);
    if (a->flags & OBJECT_BACKED)
        assert_int_equal(object_back_lsn(a), object_back_lsn(b));
}

static void compare_node(void *ctx, struct dict_node *node)
{
    struct stream *a = stream_of(state_of_node(node)), *b;
    struct compared *c = ctx;

    if (object_is_value(state_of_node(node))) {
        compare_values(c->other, c->db, state_of_node(node));
        c->n++;
        return;
    }
    assert_non_null(state_find(&c->other->e.state, c->db, stream_name(a)));
    b = stream_of(state_find(&c->other->e.state, c->db, stream_name(a)));
    assert_int_equal(a->oid, b->oid);
    assert_int_equal(a->object.rev, b->object.rev);
    assert_int_equal(a->object.expiry_ms, b->object.expiry_ms);
    assert_int_equal(a->n_entries, b->n_entries);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->entries_added, b->entries_added);
    assert_int_equal(a->added_when_empty, b->added_when_empty);
    assert_int_equal(id_cmp(a->last_id, b->last_id), 0);
    assert_int_equal(id_cmp(stream_max_deleted(a), stream_max_deleted(b)), 0);
    c->n++;
}

/* All that a checkpoint keeps is the same; where entries lie is not looked at. */
static void compare_states(struct process *p, struct process *other)
{
    struct compared c = { other, 0, 0 };

    for (; c.db < CONFIG_DATABASES; c.db++) {
        uint64_t cursor = 0;
        do
            cursor = dict_scan(state_names(&p->e.state, c.db), cursor, compare_node, &c);
        while (cursor != 0);
    }
    assert_int_equal(c.n, p->e.state.n_objects);
    assert_int_equal(c.n, other->e.state.n_objects);
    check_state(other);
}

static void a_checkpoint_taken_among_commands_and_the_log_after_it_give_the_state(void **state)
{
    struct random rng = random_seeded("a_checkpoint");
    struct request *r = calloc(1, sizeof *r);

    (void)state;
    assert_non_null(r);
    for (size_t round = random_rounds(60); round > 0; round--) {
        struct taken *taken = calloc(1, sizeof *taken);
        struct process *before, *after;
        struct digest_text a, b;
        char dir[64];
        uint64_t clock;

        assert_non_null(taken);
        store_make(dir);
        before = process_open(dir, 1000000, random_u64(&rng));
        clock = random_rounds_with_checkpoint(before, &rng, r, taken);
        a = process_digest(before, clock);
        process_close_log(before, true);
        after = process_open_from(dir, before->wall_ms, random_u64(&rng), taken);
        b = process_digest(after, clock);
        assert_string_equal(a.hex, b.hex);
        compare_states(before, after);
        process_close(after, true);
        /* Had the first part of it been sealed meanwhile, all but the entries would be the same. */
        taken->sealed_lsn = random_below(&rng, (size_t)taken->start_lsn + 1);
        after = process_open_from(dir, before->wall_ms, random_u64(&rng), taken);
        compare_states(before, after);
        process_close(after, true);
        process_free(before);
        free(taken->bytes.p);
        free(taken);
        store_remove(dir);
    }
    free(r);
}

/* ---- where entries lie ---- */

/* What does not look at old entries. */
static const char *const BLIND_FORMS[] = {
    "XADD K * f V",
    "XADD K * f V g V",
    "XADD K * f V g V",
    "XADD K * a V b V c V",
    "XADD K IDMP p N * f V",
    "XADD K IDMP q N * f V",
    "XCFGSET K IDMP-MAXSIZE N",
    "DEL K",
    "RENAME K K",
    "EXPIRE K T",
    "SELECT 0",
    "SELECT 1",
};

static const char *blind_form(struct random *rng)
{
    size_t n = sizeof BLIND_FORMS / sizeof BLIND_FORMS[0];
    bool append = random_below(rng, 3) > 0;

    return BLIND_FORMS[random_below(rng, append ? 4 : n)];
}

static void decide_alike(struct process *p, const struct process *other)
{
    p->config.idmp_duration_s = other->config.idmp_duration_s;
    p->config.idmp_maxsize = other->config.idmp_maxsize;
}

/* The same round in both, one of which seals. */
static void blind_round(struct process *p, struct process *other, struct random *rng,
                        struct request *r)
{
    uint64_t ms = random_below(rng, 3);
    struct process *both[] = { p, other };

    for (int i = 0; i < 2; i++) {
        both[i]->wall_ms += ms;
        engine_round_begin(&both[i]->e);
    }
    for (size_t n = random_below(rng, 12); n > 0; n--) {
        size_t client = random_below(rng, N_CLIENTS - 1);
        request_make(r, rng, blind_form(rng));
        for (int i = 0; i < 2; i++)
            engine_execute(&both[i]->e, &both[i]->clients[client], r->argv, r->argc);
    }
    for (int i = 0; i < 2; i++)
        engine_round_end(&both[i]->e);
    for (size_t n = random_below(rng, 12); n > 0; n--)
        log_step_pick(p->log, random_u64(rng));
    while (log_step(other->log)) {
    }
    for (int i = 0; i < N_CLIENTS - 1; i++) {
        outputs_forget_of(&p->clients[i]);
        outputs_forget_of(&other->clients[i]);
    }
}

static struct process *process_open_sealing(const char *dir, uint64_t wall_ms, uint64_t seed)
{
    const struct process_options x = { .wall_ms = wall_ms, .seed = seed, .seals = true };
    return process_open_as(dir, &x);
}

static void blind_compare(struct process *p, struct process *other)
{
    struct digest_text a = process_digest(p, p->e.clock), b = process_digest(other, p->e.clock);

    assert_string_equal(a.hex, b.hex);
    compare_states(other, p);
}

static void where_entries_lie_makes_no_difference(void **state)
{
    struct random rng = random_seeded("where_entries_lie");
    struct request *r = calloc(1, sizeof *r);

    (void)state;
    assert_non_null(r);
    for (size_t round = random_rounds(10); round > 0; round--) {
        char dir[64], other_dir[64];
        struct process *p, *other;
        struct log_stats stats;

        store_make(dir);
        store_make(other_dir);
        p = process_open_sealing(dir, 1000000, random_u64(&rng));
        other = process_open(other_dir, 1000000, random_u64(&rng));
        decide_alike(p, other);
        for (int i = 0; i < 600; i++) {
            blind_round(p, other, &rng, r);
            if (random_below(&rng, 60) == 0)
                blind_compare(p, other);
        }
        log_get_stats(p->log, &stats);
        assert_true(stats.n_seals > 3 && stats.n_checkpoints > 1 && stats.n_merges > 0);
        process_close_log(p, random_below(&rng, 2) == 0);
        process_free(p);
        p = process_open_sealing(dir, 1000000, random_u64(&rng));
        p->e.clock = other->e.clock;
        blind_compare(p, other);
        process_close(p, true);
        process_close(other, true);
        store_remove(dir);
        store_remove(other_dir);
    }
    free(r);
}

/* What the last client has been told, "" if nothing. */
static struct digest_text digest_told(struct process *p)
{
    struct client *c = &p->clients[N_CLIENTS - 1];
    struct digest_text text = { "" };
    struct iovec iov[1];

    if (outbuf_size(&c->out) == 0)
        return text;
    assert_int_equal(outbuf_peek(&c->out, UINT64_MAX, iov, 1), 1);
    assert_true(iov[0].iov_len > 34);
    memcpy(text.hex, (const char *)iov[0].iov_base + iov[0].iov_len - 34, 32); /* before CRLF */
    outputs_forget_of(c);
    return text;
}

static void a_digest_made_by_workers_is_that_of_its_moment(void **state)
{
    struct random rng = random_seeded("digest_by_workers");
    struct request *r = calloc(1, sizeof *r);
    struct slice command[2] = { slice_str("BECK"), slice_str("DIGEST") };
    char dir[64], other_dir[64];
    struct process *p, *other;

    (void)state;
    assert_non_null(r);
    store_make(dir);
    store_make(other_dir);
    p = process_open_sealing(dir, 1000000, random_u64(&rng));
    other = process_open(other_dir, 1000000, random_u64(&rng));
    decide_alike(p, other);
    for (size_t round = random_rounds(30); round > 0; round--) {
        struct digest_text want, told = { "" };

        for (int i = 0; i < 40; i++)
            blind_round(p, other, &rng, r);
        engine_round_begin(&p->e);
        engine_round_begin(&other->e);
        engine_execute(&p->e, &p->clients[N_CLIENTS - 1], command, 2);
        want = process_digest(p, p->e.clock);
        for (size_t k = random_below(&rng, 60); k > 0; k--) { /* smaller slices than a round's */
            digest_step(&p->e, random_below(&rng, 8));
            request_make(r, &rng, blind_form(&rng));
            engine_execute(&p->e, &p->clients[0], r->argv, r->argc);
            engine_execute(&other->e, &other->clients[0], r->argv, r->argc);
            log_step_pick(p->log, random_u64(&rng));
        }
        engine_round_end(&p->e);
        engine_round_end(&other->e);
        for (int i = 0; i < 2000 && told.hex[0] == '\0'; i++) {
            blind_round(p, other, &rng, r);
            told = digest_told(p);
        }
        assert_string_equal(told.hex, want.hex);
    }
    process_close(p, true);
    process_close(other, true);
    store_remove(dir);
    store_remove(other_dir);
    free(r);
}

/* Some command of any kind, by a client that does not wait for another one. */
static void any_command(struct process *p, struct random *rng, struct request *r)
{
    struct client *c = &p->clients[random_below(rng, N_CLIENTS - 1)];

    request_make(r, rng, FORMS[random_below(rng, sizeof FORMS / sizeof FORMS[0])]);
    if (random_below(rng, 300) == 0)
        request_make(r, rng, "FLUSHALL");
    if (c->cold == NULL && c->blocked == NULL)
        engine_execute(&p->e, c, r->argv, r->argc);
}

static void any_round(struct process *p, struct random *rng, struct request *r)
{
    p->wall_ms += random_below(rng, 3);
    engine_round_begin(&p->e);
    for (size_t n = random_below(rng, 8); n > 0; n--)
        any_command(p, rng, r);
    engine_round_end(&p->e);
    for (size_t n = random_below(rng, 12); n > 0; n--)
        log_step_pick(p->log, random_u64(rng));
    for (int i = 0; i < N_CLIENTS - 1; i++)
        outputs_forget_of(&p->clients[i]);
    requests_see(p, rng, r);
}

static void a_digest_in_slices_among_commands_is_that_of_its_moment(void **state)
{
    struct random rng = random_seeded("digest_in_slices");
    struct request *r = calloc(1, sizeof *r);
    struct slice command[2] = { slice_str("BECK"), slice_str("DIGEST") };
    char dir[64];
    struct process *p;

    (void)state;
    assert_non_null(r);
    store_make(dir);
    p = process_open_sealing(dir, 1000000, random_u64(&rng));
    for (size_t round = random_rounds(300); round > 0; round--) {
        struct digest_text want, told = { "" };

        for (size_t n = random_below(&rng, 60); n > 0; n--)
            any_round(p, &rng, r);
        engine_round_begin(&p->e);
        engine_execute(&p->e, &p->clients[N_CLIENTS - 1], command, 2);
        want = process_digest(p, p->e.clock);
        for (size_t k = random_below(&rng, 200); k > 0; k--) {
            digest_step(&p->e, random_below(&rng, 8));
            any_command(p, &rng, r);
            log_step_pick(p->log, random_u64(&rng));
        }
        engine_round_end(&p->e);
        for (int i = 0; i < 2000 && told.hex[0] == '\0'; i++) {
            any_round(p, &rng, r);
            told = digest_told(p);
        }
        assert_string_equal(told.hex, want.hex);
        check_state(p);
    }
    process_close(p, true);
    store_remove(dir);
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
    struct request *r = calloc(1, sizeof *r);
    struct digest_text now, same, later;
    struct process *p;
    char dir[64];

    (void)state;
    assert_non_null(r);
    store_make(dir);
    p = process_open(dir, 1000000, 1);
    engine_round_begin(&p->e);
    request_make(r, &rng, "XADD stream IDMP p i * f V");
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
        cmocka_unit_test(a_checkpoint_taken_among_commands_and_the_log_after_it_give_the_state),
        cmocka_unit_test(where_entries_lie_makes_no_difference),
        cmocka_unit_test(a_digest_made_by_workers_is_that_of_its_moment),
        cmocka_unit_test(a_digest_in_slices_among_commands_is_that_of_its_moment),
        cmocka_unit_test(a_digest_depends_on_the_clock_it_is_given),
    };

    if (argc == 5 && strcmp(argv[1], "--digest") == 0)
        return print_digest(argv + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
