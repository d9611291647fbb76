/*
 * test_client_memory.c - the client library when memory is out: every allocation fails once.
 *
 * The library's sources are included with allocation functions that fail when told to. The scenario runs
 * for n = 0, 1, 2, ... with the nth allocation failing, until none fails; each time it must end with
 * BECK_ERR_NOMEM or well, and release everything (the count of what is held is checked, and by ASan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/lib/memory.h"

static char *memory_strdup(const char *s)
{
    char *p = memory_malloc(strlen(s) + 1);

    return p == NULL ? NULL : memcpy(p, s, strlen(s) + 1);
}

#undef strdup
#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#define strdup  memory_strdup
#define free    memory_free
#include "client/client.c"
#include "client/conf.c"
#include "client/fail.c"
#include "client/parser.c"
#include "client/reply.c"
#include "client/request.c"
#include "client/transport.c"
#undef malloc
#undef calloc
#undef realloc
#undef strdup
#undef free

/* Settings of every kind. */
static int scenario_conf(struct beck_conf **out)
{
    struct beck_conf *conf;
    int rc = beck_conf_new(&conf);

    if (rc != BECK_OK)
        return rc;
    rc = beck_conf_set_url(conf, "beck://ann:secret@example.org:1/2");
    if (rc == BECK_OK)
        rc = beck_conf_set(conf, "name", "n");
    if (rc == BECK_OK)
        rc = beck_conf_set(conf, "path", "/nonexistent");
    if (rc != BECK_OK) {
        beck_conf_free(conf);
        return rc;
    }
    *out = conf;
    return BECK_OK;
}

/* Feeds `n` bytes to the parser and takes one reply, reading on while it is held. */
static int scenario_parse(struct parser *p)
{
    static const char reply[] = "*3\r\n$1\r\na\r\n:1\r\n*0\r\n+second";
    const struct beck_reply *r;
    char *room;
    size_t n;
    int rc = parser_room(p, &room, &n, NULL);

    if (rc != BECK_OK)
        return rc;
    memcpy(room, reply, sizeof reply - 1);
    parser_filled(p, sizeof reply - 1);
    rc = parser_next(p, &r, NULL);
    for (int i = 0; i < 20 && rc == BECK_OK; i++) {
        rc = parser_room(p, &room, &n, NULL);
        if (rc == BECK_OK) {
            memset(room, 'x', n < 20000 ? n : 20000);
            parser_filled(p, n < 20000 ? n : 20000);
        }
        if (rc == BECK_OK)
            assert_string_equal(beck_reply_string(r + 1).p, "a");
    }
    return rc;
}

static int scenario_request(void)
{
    static char big[100000];
    struct beck_slice args[] = { { "XADD", 4 }, { big, sizeof big } };
    struct request r;
    int rc = BECK_OK;

    request_init(&r);
    for (int i = 0; i < 5 && rc == BECK_OK; i++) {
        size_t before = r.len - r.at;
        rc = request_append(&r, args, 2, NULL);
        if (rc != BECK_OK)
            assert_int_equal(r.len - r.at, before);
    }
    request_fini(&r);
    return rc;
}

static int scenario(void)
{
    struct beck_conf *conf;
    struct beck_client *c;
    struct parser p;
    int rc = scenario_conf(&conf);

    if (rc != BECK_OK)
        return rc;
    rc = beck_client_new(conf, &c);
    beck_conf_free(conf);
    if (rc != BECK_OK)
        return rc;
    assert_int_equal(beck_client_connect(c), BECK_ERR_CONNECT);
    beck_client_free(c);
    parser_init(&p, 1 << 20, 1 << 20);
    rc = scenario_parse(&p);
    parser_fini(&p);
    return rc == BECK_OK ? scenario_request() : rc;
}

static void every_allocation_may_fail(void **state)
{
    long n;
    int rc;

    (void)state;
    for (n = 0;; n++) {
        memory_left = n;
        rc = scenario();
        assert_int_equal(memory_held, 0);
        if (memory_left >= 0)
            break;
        assert_int_equal(rc, BECK_ERR_NOMEM);
    }
    memory_left = -1;
    assert_int_equal(rc, BECK_OK);
    print_message("  %ld allocations\n", n);
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

    return cmocka_run_group_tests_name("client_memory", tests, NULL, NULL);
}
