/*
 * test_client.c - the client library: parser, encoder, URLs, and a connection to a scripted server.
 *
 * The scripted server is a child process behind a Unix socket that reads until it has seen a number
 * of commands, writes given bytes, and goes on to the next line of its script; so every claim about
 * broken servers is tested without a broken server. SEED replays the random part, SCALE multiplies
 * its rounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "client/beck.h"
#include "client/conf.h"
#include "client/parser.h"
#include "client/request.h"

enum { MAX_BYTES = 1 << 20, MAX_ELEMENTS = 1000 };

/* ---- Parser ---- */

static void put(struct parser *p, const char *bytes, size_t n)
{
    while (n > 0) {
        char *room;
        size_t part;
        assert_int_equal(parser_room(p, &room, &part, NULL), BECK_OK);
        assert_true(part >= 1);
        if (part > n)
            part = n;
        memcpy(room, bytes, part);
        parser_filled(p, part);
        bytes += part;
        n -= part;
    }
}

static void dump(const struct beck_reply *r, char *out, size_t size)
{
    static const char *const names[] = { "nil",  "status", "error", "str", "int", "double", "big",
                                         "bool", "text",   "array", "set", "map", "push" };
    size_t used;
    const struct beck_reply *at = beck_reply_first(r);
    struct beck_slice text = beck_reply_string(r);

    used = (size_t)snprintf(out, size, "%s", names[beck_reply_type(r)]);
    if (r->type == BECK_REPLY_INTEGER || r->type == BECK_REPLY_BOOL)
        used +=
            (size_t)snprintf(out + used, size - used, " %lld", (long long)beck_reply_integer(r));
    else if (r->type >= BECK_REPLY_ARRAY) {
        used += (size_t)snprintf(out + used, size - used, "[");
        for (size_t i = 0; i < beck_reply_count(r); i++, at = beck_reply_next(at)) {
            assert_ptr_equal(at, beck_reply_at(r, i));
            if (i > 0)
                used += (size_t)snprintf(out + used, size - used, ", ");
            dump(at, out + used, size - used);
            used += strlen(out + used);
        }
        snprintf(out + used, size - used, "]");
    } else if (r->type != BECK_REPLY_NIL) {
        assert_int_equal(text.p[text.n], 0);
        snprintf(out + used, size - used, " %.*s", (int)text.n, text.p);
    }
}

static const struct {
    const char *in, *want;
} valid[] = {
    { "+OK\r\n", "status OK" },
    { "+\r\n", "status " },
    { "-ERR no such thing\r\n", "error ERR no such thing" },
    { ":0\r\n", "int 0" },
    { ":-9223372036854775808\r\n", "int -9223372036854775808" },
    { ":9223372036854775807\r\n", "int 9223372036854775807" },
    { "$0\r\n\r\n", "str " },
    { "$5\r\nhe\r\nl\r\n", "str he\r\nl" },
    { "$-1\r\n", "nil" },
    { "*-1\r\n", "nil" },
    { "_\r\n", "nil" },
    { "*0\r\n", "array[]" },
    { "*2\r\n*1\r\n*1\r\n:7\r\n$1\r\na\r\n", "array[array[array[int 7]], str a]" },
    { "#t\r\n", "bool 1" },
    { "#f\r\n", "bool 0" },
    { ",3.25\r\n", "double 3.25" },
    { ",inf\r\n", "double inf" },
    { "(3492890328409238509324850943850943825024385\r\n",
      "big 3492890328409238509324850943850943825024385" },
    { "!9\r\nSYNTAX no\r\n", "error SYNTAX no" },
    { "=8\r\ntxt:text\r\n", "text text" },
    { "%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n#t\r\n_\r\n",
      "map[status a, int 1, status b, set[bool 1, nil]]" },
    { "%0\r\n", "map[]" },
    { "~0\r\n", "set[]" },
    { ">2\r\n+message\r\n$1\r\nx\r\n", "push[status message, str x]" },
    { "|1\r\n+ttl\r\n:3600\r\n+OK\r\n", "status OK" },
    { "|0\r\n+OK\r\n", "status OK" },
    { "*2\r\n|1\r\n+k\r\n*1\r\n:1\r\n:5\r\n|1\r\n+k\r\n|1\r\n+x\r\n+y\r\n+z\r\n:6\r\n",
      "array[int 5, int 6]" },
};

enum { N_VALID = sizeof valid / sizeof valid[0] };

static void every_valid_reply_is_read_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VALID; i++) {
        size_t n = strlen(valid[i].in);
        for (size_t cut = 0; cut <= n; cut++) {
            const struct beck_reply *r;
            struct parser p;
            char text[500];
            parser_init(&p, MAX_BYTES, MAX_ELEMENTS);
            put(&p, valid[i].in, cut);
            if (cut < n)
                assert_int_equal(parser_next(&p, &r, NULL), BECK_ERR_AGAIN);
            put(&p, valid[i].in + cut, n - cut);
            assert_int_equal(parser_next(&p, &r, NULL), BECK_OK);
            dump(r, text, sizeof text);
            assert_string_equal(text, valid[i].want);
            assert_int_equal(parser_next(&p, &r, NULL), BECK_ERR_AGAIN);
            parser_fini(&p);
        }
    }
}

static void replies_byte_by_byte_and_all_at_once_are_the_same(void **state)
{
    const struct beck_reply *r;
    struct parser slow, fast;
    char text[500];

    (void)state;
    parser_init(&slow, MAX_BYTES, MAX_ELEMENTS);
    parser_init(&fast, MAX_BYTES, MAX_ELEMENTS);
    for (size_t i = 0; i < N_VALID; i++) {
        put(&fast, valid[i].in, strlen(valid[i].in));
        for (const char *at = valid[i].in; *at != '\0'; at++) {
            assert_int_equal(parser_next(&slow, &r, NULL), BECK_ERR_AGAIN);
            put(&slow, at, 1);
        }
        assert_int_equal(parser_next(&slow, &r, NULL), BECK_OK);
        dump(r, text, sizeof text);
        assert_string_equal(text, valid[i].want);
    }
    for (size_t i = 0; i < N_VALID; i++) {
        assert_int_equal(parser_next(&fast, &r, NULL), BECK_OK);
        dump(r, text, sizeof text);
        assert_string_equal(text, valid[i].want);
    }
    parser_fini(&slow);
    parser_fini(&fast);
}

static int parse_once(const char *in, size_t n)
{
    const struct beck_reply *r;
    struct parser p;
    struct fail f = { 0 };
    int rc;

    parser_init(&p, MAX_BYTES, MAX_ELEMENTS);
    put(&p, in, n);
    rc = parser_next(&p, &r, &f);
    if (rc != BECK_OK && rc != BECK_ERR_AGAIN)
        assert_true(f.text[0] != '\0');
    assert_true(p.cap_nodes <= 2 * MAX_ELEMENTS);
    parser_fini(&p);
    return rc;
}

static void hostile_replies_are_refused(void **state)
{
    static const struct {
        const char *why, *in;
        int want;
    } cases[] = {
        { "unknown type", "?\r\n", BECK_ERR_PROTO },
        { "a request instead of a reply", "PING\r\n", BECK_ERR_PROTO },
        { "HTTP", "HTTP/1.1 400 Bad Request\r\n", BECK_ERR_PROTO },
        { "length not a number", "$x\r\n", BECK_ERR_PROTO },
        { "length empty", "$\r\n", BECK_ERR_PROTO },
        { "length only a sign", "$-\r\n", BECK_ERR_PROTO },
        { "length negative", "$-2\r\n", BECK_ERR_PROTO },
        { "length beyond 64 bits", "$99999999999999999999\r\n", BECK_ERR_PROTO },
        { "length of 2^63", "$9223372036854775808\r\n", BECK_ERR_PROTO },
        { "length of 2^63-1", "$9223372036854775807\r\n", BECK_ERR_TOO_BIG },
        { "length over the limit", "$1048577\r\n", BECK_ERR_TOO_BIG },
        { "string longer than announced", "$1\r\nabc\r\n", BECK_ERR_PROTO },
        { "count negative", "*-2\r\n", BECK_ERR_PROTO },
        { "map count -1", "%-1\r\n", BECK_ERR_PROTO },
        { "count over the limit", "*1001\r\n", BECK_ERR_TOO_BIG },
        { "count of 2^63-1", "*9223372036854775807\r\n", BECK_ERR_TOO_BIG },
        { "pairs whose double wraps", "%9223372036854775807\r\n", BECK_ERR_TOO_BIG },
        { "pairs over the limit", "%501\r\n", BECK_ERR_TOO_BIG },
        { "attributes over the limit", "|501\r\n", BECK_ERR_TOO_BIG },
        { "streamed string", "$?\r\n", BECK_ERR_PROTO },
        { "streamed array", "*?\r\n", BECK_ERR_PROTO },
        { "integer with a letter", ":1a\r\n", BECK_ERR_PROTO },
        { "integer empty", ":\r\n", BECK_ERR_PROTO },
        { "integer of 2^63", ":9223372036854775808\r\n", BECK_ERR_PROTO },
        { "integer below -2^63", ":-9223372036854775809\r\n", BECK_ERR_PROTO },
        { "boolean of another letter", "#x\r\n", BECK_ERR_PROTO },
        { "nil with a text", "_x\r\n", BECK_ERR_PROTO },
        { "double empty", ",\r\n", BECK_ERR_PROTO },
        { "verbatim too short", "=3\r\ntxt\r\n", BECK_ERR_PROTO },
        { "verbatim without colon", "=5\r\ntextx\r\n", BECK_ERR_PROTO },
        { "bare line feed", "+OK\n", BECK_ERR_PROTO },
        { "line feed at once", "+\n", BECK_ERR_PROTO },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = parse_once(cases[i].in, strlen(cases[i].in));
        if (got != cases[i].want)
            print_message("  %s\n", cases[i].why);
        assert_int_equal(got, cases[i].want);
    }
    assert_int_equal(parse_once("\0\r\n", 3), BECK_ERR_PROTO);
}

static void nesting_and_lines_have_a_limit(void **state)
{
    static char line[PARSER_LINE_MAX + 10];
    char deep[(PARSER_DEPTH_MAX + 1) * 4 + 4 + 1];
    size_t n = 0;

    (void)state;
    for (int i = 0; i < PARSER_DEPTH_MAX; i++, n += 4)
        memcpy(deep + n, "*1\r\n", 4);
    memcpy(deep + n, ":1\r\n", 4);
    assert_int_equal(parse_once(deep, n + 4), BECK_OK);
    memcpy(deep + n, "*1\r\n", 4);
    assert_int_equal(parse_once(deep, n + 4), BECK_ERR_TOO_BIG);
    memset(line, 'a', sizeof line);
    line[0] = '+';
    assert_int_equal(parse_once(line, PARSER_LINE_MAX), BECK_ERR_AGAIN);
    assert_int_equal(parse_once(line, sizeof line), BECK_ERR_PROTO);
}

static void an_announced_length_allocates_nothing(void **state)
{
    const struct beck_reply *r;
    struct parser p;

    (void)state;
    parser_init(&p, (size_t)1 << 30, 1 << 20);
    put(&p, "*1000000\r\n$900000000\r\n", 22);
    assert_int_equal(parser_next(&p, &r, NULL), BECK_ERR_AGAIN);
    assert_true(p.cap <= 128 << 10);
    assert_true(p.cap_nodes <= 256);
    parser_fini(&p);
}

static void a_reply_given_out_survives_further_reading(void **state)
{
    const struct beck_reply *first, *next;
    struct parser p;
    char *big = malloc(600000);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', 600000);
    parser_init(&p, MAX_BYTES, MAX_ELEMENTS);
    put(&p, "$5\r\nfirst\r\n$500000\r\n", 20);
    assert_int_equal(parser_next(&p, &first, NULL), BECK_OK);
    put(&p, big, 500000);
    put(&p, "\r\n", 2);
    assert_string_equal(beck_reply_string(first).p, "first");
    assert_int_equal(parser_next(&p, &next, NULL), BECK_OK);
    assert_int_equal(beck_reply_string(next).n, 500000);
    assert_memory_equal(beck_reply_string(next).p, big, 500000);
    parser_fini(&p);
    free(big);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t random_seed(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u;

    print_message("  SEED=%llu\n", (unsigned long long)seed);
    return seed | 1;
}

static size_t scaled(double rounds)
{
    const char *scale = getenv("SCALE");

    rounds *= scale != NULL ? strtod(scale, NULL) : 1.0;
    return rounds < 1 ? 1 : (size_t)rounds;
}

/* Feeds bytes in random pieces and takes every reply; the end must come, by an error or for lack of bytes. */
static void parse_all(const char *in, size_t n, uint64_t *random)
{
    const struct beck_reply *r;
    struct parser p;
    size_t at = 0;
    int rc = BECK_ERR_AGAIN;

    parser_init(&p, 4096, 100);
    while (at < n && rc == BECK_ERR_AGAIN) {
        size_t part = 1 + random_next(random) % 16;
        part = part < n - at ? part : n - at;
        put(&p, in + at, part);
        at += part;
        while ((rc = parser_next(&p, &r, NULL)) == BECK_OK)
            for (size_t i = 0; i < p.n_nodes; i++)
                assert_true(p.nodes[i].span >= 1 && p.nodes[i].span <= p.n_nodes - i);
    }
    parser_fini(&p);
}

static void random_and_mutated_bytes_never_break_the_parser(void **state)
{
    uint64_t random = random_seed();
    static const char alphabet[] = "$*+-:_#,(!=%~>|\r\n\r\n0123456789tfax";
    size_t rounds = scaled(200000);

    (void)state;
    for (size_t round = 0; round < rounds; round++) {
        char in[400];
        size_t n = 0;
        while (n < 200) {
            const char *part = valid[random_next(&random) % N_VALID].in;
            memcpy(in + n, part, strlen(part));
            n += strlen(part);
        }
        for (uint64_t k = random_next(&random) % 4; k > 0; k--)
            in[random_next(&random) % n] = alphabet[random_next(&random) % (sizeof alphabet - 1)];
        if (round % 4 == 0)
            for (size_t i = 0; i < n; i++)
                in[i] = alphabet[random_next(&random) % (sizeof alphabet - 1)];
        parse_all(in, n, &random);
    }
}

/* ---- Encoder ---- */

static void commands_are_encoded_as_arrays_of_strings(void **state)
{
    struct beck_slice args[] = { beck_str("XADD"), beck_bytes("a\0b", 3), beck_str("") };
    struct request r;
    static const char want[] = "*3\r\n$4\r\nXADD\r\n$3\r\na\0b\r\n$0\r\n\r\n";

    (void)state;
    request_init(&r);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(request_append(&r, args, 3, NULL), BECK_OK);
        assert_int_equal(r.len - r.at, sizeof want - 1);
        assert_memory_equal(r.buf + r.at, want, sizeof want - 1);
        request_sent(&r, 5);
        request_sent(&r, sizeof want - 1 - 5);
    }
    request_fini(&r);
}

/* ---- Settings ---- */

static void urls_are_taken_apart(void **state)
{
    static const struct {
        const char *url, *address, *user, *password;
        unsigned db;
    } cases[] = {
        { "beck://", "127.0.0.1:7878", NULL, NULL, 0 },
        { "beck://h", "h:7878", NULL, NULL, 0 },
        { "beck://h:1", "h:1", NULL, NULL, 0 },
        { "redis://h:65535/3", "h:65535", NULL, NULL, 3 },
        { "beck://h/", "h:7878", NULL, NULL, 0 },
        { "beck://ann:se%40cret@h:2/15", "h:2", "ann", "se@cret", 15 },
        { "beck://:p@h", "h:7878", NULL, "p", 0 },
        { "beck://ann@h", "h:7878", "ann", NULL, 0 },
        { "beck://a:p:q@h", "h:7878", "a", "p:q", 0 },
        { "beck://[::1]", "[::1]:7878", NULL, NULL, 0 },
        { "beck://[fe80::1]:9/1", "[fe80::1]:9", NULL, NULL, 1 },
        { "beck://:9", "127.0.0.1:9", NULL, NULL, 0 },
        { "unix:///run/b.sock", "unix:/run/b.sock", NULL, NULL, 0 },
        { "unix://rel%20x?db=4", "unix:rel x", NULL, NULL, 4 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct beck_conf *conf;
        struct beck_client *c;
        assert_int_equal(beck_conf_new(&conf), BECK_OK);
        assert_int_equal(beck_conf_set_url(conf, cases[i].url), BECK_OK);
        assert_int_equal(beck_client_new(conf, &c), BECK_OK);
        assert_string_equal(beck_client_address(c), cases[i].address);
        assert_string_equal(conf->user ? conf->user : "-", cases[i].user ? cases[i].user : "-");
        assert_string_equal(conf->password ? conf->password : "-",
                            cases[i].password ? cases[i].password : "-");
        assert_int_equal(conf->db, cases[i].db);
        beck_client_free(c);
        beck_conf_free(conf);
    }
}

static void bad_urls_and_settings_are_refused_and_change_nothing(void **state)
{
    static const char *const urls[] = {
        "",
        "h",
        "http://h",
        "rediss://h",
        "beck://h:0",
        "beck://h:65536",
        "beck://h:x",
        "beck://h:",
        "beck://h/x",
        "beck://h/1/2",
        "beck://h/99999999999",
        "beck://[::1",
        "beck://[::1]x",
        "beck://[]",
        "beck://a%zz@h",
        "beck://a%0@h",
        "beck://a%00b:p@h",
        "beck://h?x=1",
        "beck://h#x",
        "unix://",
        "unix://x?y=1",
        "unix://x?db=",
        "beck://h/-1",
        "beck://secret:pw%@h",
    };
    static const char *const sets[][2] = {
        { "port", "" },
        { "port", "-1" },
        { "port", " 1" },
        { "port", "0x1" },
        { "proto", "4" },
        { "host", "" },
        { "path", "" },
        { "name", "a b" },
        { "colour", "red" },
        { "timeout-ms", "86400001" },
        { "max-reply-bytes", "1" },
        { "db", "1e3" },
    };
    struct beck_conf *conf;

    (void)state;
    assert_int_equal(beck_conf_new(&conf), BECK_OK);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        assert_int_equal(beck_conf_set_url(conf, urls[i]), BECK_ERR_USAGE);
        assert_true(beck_conf_last_error(conf)[0] != '\0');
        assert_null(strstr(beck_conf_last_error(conf), "pw"));
    }
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        assert_int_equal(beck_conf_set(conf, sets[i][0], sets[i][1]), BECK_ERR_USAGE);
    assert_string_equal(conf->host, "127.0.0.1");
    assert_int_equal(conf->port, 7878);
    assert_int_equal(conf->db, 0);
    assert_null(conf->user);
    assert_null(conf->password);
    beck_conf_free(conf);
}

/* ---- A connection to a scripted server ---- */

/* Ends of a script: write no more, answer nothing more, close with what comes unread. */
enum { END = 0, SILENT, SLAM };

struct script {
    size_t n_commands; /* to read before saying something */
    const char *say;   /* NULL: how it ends */
};

struct fake {
    char dir[32], path[48];
    pid_t pid;
    struct beck_conf *conf;
    struct beck_client *c;
};

/* Counts '*' at line starts: every command of these tests is an array of strings without stars. */
static void fake_read(int fd, size_t n_commands)
{
    char c;

    while (n_commands > 0) {
        if (read(fd, &c, 1) != 1)
            _exit(0);
        n_commands -= c == '*';
    }
}

static void fake_serve(int listener, const struct script *script)
{
    int fd = accept(listener, NULL, NULL);
    char rest[256];

    for (; script->say != NULL; script++) {
        size_t n = strlen(script->say);
        fake_read(fd, script->n_commands);
        if (write(fd, script->say, n) != (ssize_t)n)
            _exit(1);
    }
    if (script->n_commands == SLAM)
        _exit(0);
    if (script->n_commands == SILENT)
        while (read(fd, rest, sizeof rest) > 0)
            ;
    shutdown(fd, SHUT_WR);
    while (read(fd, rest, sizeof rest) > 0)
        ;
    _exit(0);
}

static void fake_start(struct fake *fake, const struct script *script)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(fake->dir, "/tmp/beck-test-XXXXXX", 22);
    assert_non_null(mkdtemp(fake->dir));
    snprintf(fake->path, sizeof fake->path, "%s/sock", fake->dir);
    memcpy(address.sun_path, fake->path, strlen(fake->path));
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    fake->pid = fork();
    assert_true(fake->pid >= 0);
    if (fake->pid == 0)
        fake_serve(listener, script);
    close(listener);
    assert_int_equal(beck_conf_new(&fake->conf), BECK_OK);
    assert_int_equal(beck_conf_set(fake->conf, "path", fake->path), BECK_OK);
}

static int fake_connect(struct fake *fake)
{
    assert_int_equal(beck_client_new(fake->conf, &fake->c), BECK_OK);
    return beck_client_connect(fake->c);
}

/* The connection may be closed a moment before the listening socket is: after this both are. */
static void fake_wait(const struct fake *fake)
{
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)fake->pid, &info, WEXITED | WNOWAIT), 0);
}

static void fake_stop(struct fake *fake)
{
    beck_client_free(fake->c);
    beck_conf_free(fake->conf);
    waitpid(fake->pid, NULL, 0);
    unlink(fake->path);
    rmdir(fake->dir);
}

#define HELLO_REPLY "%1\r\n+server\r\n+redis\r\n"

static void a_call_gives_the_reply_and_an_error_reply_leaves_the_connection_usable(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 1, "-ERR bad\r\n" },
                                            { 1, "+PONG\r\n" },
                                            { 1, "-DISKFULL no room\r\n" },
                                            { 0, NULL } };
    struct beck_slice ping[] = { beck_str("PING") };
    const struct beck_reply *r;
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    assert_int_equal(beck_client_proto(fake.c), 3);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_SERVER);
    assert_string_equal(beck_last_error(fake.c), "ERR bad");
    assert_int_equal(beck_reply_type(r), BECK_REPLY_ERROR);
    assert_false(beck_last_error_retriable(fake.c));
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_OK);
    assert_string_equal(beck_reply_string(r).p, "PONG");
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_SERVER);
    assert_true(beck_last_error_retriable(fake.c));
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_CLOSED);
    fake_stop(&fake);
}

static void a_server_without_hello_is_spoken_to_in_resp2(void **state)
{
    static const struct script script[] = {
        { 2, "-ERR unknown command 'HELLO'\r\n-NOAUTH Authentication required.\r\n" },
        { 2, "+OK\r\n+OK\r\n" },
        { 0, NULL }
    };
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(beck_conf_set(fake.conf, "password", "p"), BECK_OK);
    assert_int_equal(beck_conf_set(fake.conf, "db", "2"), BECK_OK);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    assert_int_equal(beck_client_proto(fake.c), 2);
    fake_stop(&fake);
}

static void a_refused_login_is_an_error_of_its_own(void **state)
{
    static const struct script script[] = { { 1, "-WRONGPASS invalid username-password pair\r\n" },
                                            { 0, NULL } };
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(beck_conf_set(fake.conf, "password", "p"), BECK_OK);
    assert_int_equal(fake_connect(&fake), BECK_ERR_AUTH);
    assert_non_null(strstr(beck_last_error(fake.c), "WRONGPASS"));
    assert_int_equal(beck_client_fd(fake.c), -1);
    fake_stop(&fake);
}

static void replies_before_the_end_of_a_connection_are_still_received(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 3, ":1\r\n:2\r\n$10\r\nhalf" },
                                            { 0, NULL } };
    struct beck_slice ping[] = { beck_str("PING") };
    const struct beck_reply *r;
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(beck_client_append(fake.c, ping, 1), BECK_OK);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_USAGE);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_OK);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_OK);
    assert_int_equal(beck_reply_integer(r), 2);
    assert_int_equal(beck_client_pending(fake.c), 1);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_ERR_CLOSED);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_ERR_CLOSED);
    assert_int_equal(beck_client_poll(fake.c, &r), BECK_ERR_CLOSED);
    fake_stop(&fake);
}

static void what_came_before_a_failed_send_is_received(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 1, ":1\r\n-ERR Protocol error\r\n" },
                                            { SLAM, NULL } };
    static char big[1 << 20];
    struct beck_slice ping[] = { beck_str("PING") };
    struct beck_slice much[] = { { big, sizeof big } };
    const struct beck_reply *r;
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    assert_int_equal(beck_client_append(fake.c, ping, 1), BECK_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(beck_client_append(fake.c, much, 1), BECK_OK);
    assert_int_equal(beck_client_flush(fake.c), BECK_ERR_CLOSED);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_OK);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_ERR_SERVER);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_ERR_CLOSED);
    assert_int_equal(beck_client_poll(fake.c, &r), BECK_ERR_CLOSED);
    fake_wait(&fake);
    assert_int_equal(beck_client_connect(fake.c), BECK_ERR_CONNECT);
    fake_stop(&fake);
}

static void a_silent_server_ends_in_a_timeout_and_pushes_are_skipped(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 1, ">1\r\n+x\r\n:5\r\n" },
                                            { SILENT, NULL } };
    struct beck_slice ping[] = { beck_str("PING") };
    const struct beck_reply *r;
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_OK);
    assert_int_equal(beck_reply_integer(r), 5);
    beck_client_set_timeout(fake.c, 1);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_TIMEOUT);
    assert_int_equal(beck_client_poll(fake.c, &r), BECK_ERR_AGAIN);
    assert_int_equal(beck_client_pending(fake.c), 1);
    fake_stop(&fake);
}

static void a_wakeup_descriptor_interrupts_and_nothing_is_lost(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 2, ":5\r\n:6\r\n" },
                                            { 0, NULL } };
    struct beck_slice ping[] = { beck_str("PING") };
    const struct beck_reply *r;
    struct fake fake;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    beck_client_set_wakeup(fake.c, ends[0]);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_INTERRUPTED);
    assert_int_equal(beck_client_append(fake.c, ping, 1), BECK_OK);
    beck_client_set_wakeup(fake.c, -1);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_OK);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_OK);
    assert_int_equal(beck_reply_integer(r), 6);
    fake_stop(&fake);
    close(ends[0]);
    close(ends[1]);
}

static void garbage_breaks_the_connection_for_good(void **state)
{
    static const struct script script[] = { { 1, HELLO_REPLY },
                                            { 1, "hello\r\n:1\r\n" },
                                            { 0, NULL } };
    struct beck_slice ping[] = { beck_str("PING") };
    const struct beck_reply *r;
    struct fake fake;

    (void)state;
    fake_start(&fake, script);
    assert_int_equal(fake_connect(&fake), BECK_OK);
    assert_int_equal(beck_client_call(fake.c, ping, 1, &r), BECK_ERR_PROTO);
    assert_int_equal(beck_client_receive(fake.c, &r), BECK_ERR_PROTO);
    assert_int_equal(beck_client_flush(fake.c), BECK_ERR_PROTO);
    fake_stop(&fake);
}

static void connecting_to_nothing_says_where(void **state)
{
    struct beck_conf *conf;
    struct beck_client *c;

    (void)state;
    assert_int_equal(beck_conf_new(&conf), BECK_OK);
    assert_int_equal(beck_conf_set_url(conf, "unix:///nonexistent/beck.sock"), BECK_OK);
    assert_int_equal(beck_client_new(conf, &c), BECK_OK);
    assert_int_equal(beck_client_connect(c), BECK_ERR_CONNECT);
    assert_string_equal(beck_last_error(c),
                        "unix:/nonexistent/beck.sock: cannot connect: No such file or directory");
    assert_true(beck_last_error_retriable(c));
    assert_int_equal(beck_client_append(c, NULL, 0), BECK_ERR_USAGE);
    beck_client_free(c);
    beck_conf_free(conf);
}

static void every_code_has_a_text(void **state)
{
    (void)state;
    for (int code = BECK_OK; code <= BECK_ERR_AGAIN; code++)
        assert_string_not_equal(beck_strerror(code), "unknown error");
    assert_string_equal(beck_strerror(9999), "unknown error");
    assert_string_equal(beck_version(), BECK_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_valid_reply_is_read_wherever_it_is_cut),
        cmocka_unit_test(replies_byte_by_byte_and_all_at_once_are_the_same),
        cmocka_unit_test(hostile_replies_are_refused),
        cmocka_unit_test(nesting_and_lines_have_a_limit),
        cmocka_unit_test(an_announced_length_allocates_nothing),
        cmocka_unit_test(a_reply_given_out_survives_further_reading),
        cmocka_unit_test(random_and_mutated_bytes_never_break_the_parser),
        cmocka_unit_test(commands_are_encoded_as_arrays_of_strings),
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(bad_urls_and_settings_are_refused_and_change_nothing),
        cmocka_unit_test(a_call_gives_the_reply_and_an_error_reply_leaves_the_connection_usable),
        cmocka_unit_test(a_server_without_hello_is_spoken_to_in_resp2),
        cmocka_unit_test(a_refused_login_is_an_error_of_its_own),
        cmocka_unit_test(replies_before_the_end_of_a_connection_are_still_received),
        cmocka_unit_test(what_came_before_a_failed_send_is_received),
        cmocka_unit_test(a_silent_server_ends_in_a_timeout_and_pushes_are_skipped),
        cmocka_unit_test(a_wakeup_descriptor_interrupts_and_nothing_is_lost),
        cmocka_unit_test(garbage_breaks_the_connection_for_good),
        cmocka_unit_test(connecting_to_nothing_says_where),
        cmocka_unit_test(every_code_has_a_text),
    };

    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
