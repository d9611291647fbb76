/* test_broker.c - claims about whole brokers as objects: several in one process, begun and ended cleanly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/broker.h"

struct served { /* a broker and the thread that runs it */
    char dir[64];
    struct broker *broker;
    pthread_t thread;
    int result;
    struct err err;
};

static void *serve(void *arg)
{
    struct served *s = arg;

    s->result = broker_run(s->broker, &s->err);
    return NULL;
}

/* A configuration for `dir` on a free port; values as in flags, ending with NULL. */
static struct config config_for(const char *dir, const char *const *more)
{
    char *argv[12] = { "beckd", "--port", "0", "--loglevel", "warning", "--dir" };
    struct config c;
    struct err e;
    int argc = 6;

    argv[argc++] = (char *)(uintptr_t)dir;
    while (more != NULL && *more != NULL)
        argv[argc++] = (char *)(uintptr_t)*more++;
    assert_int_equal(config_init(&c, &e), OK);
    assert_int_equal(config_parse_args(&c, argc, argv, &e), OK);
    return c;
}

static void begin(struct served *s, const char *dir)
{
    struct config c;

    snprintf(s->dir, sizeof s->dir, "%s", dir);
    c = config_for(s->dir, NULL);
    if (broker_open(&c, &s->broker, &s->err) != OK)
        fail_msg("%s", s->err.text);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void end(struct served *s)
{
    broker_stop(s->broker);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    assert_int_equal(s->result, OK);
    assert_int_equal(broker_close(s->broker, &s->err), OK);
}

static void make_dir(char *out)
{
    memcpy(out, "/tmp/test_broker.XXXXXX", sizeof "/tmp/test_broker.XXXXXX");
    assert_non_null(mkdtemp(out));
}

static void remove_dir(const char *dir)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

/* Sends one inline command over a connection of its own; returns the reply's first line in `out`. */
static void ask(const struct served *s, const char *command, char *out, size_t size)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(broker_port(s->broker)) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(write(fd, command, strlen(command)), strlen(command));
    while (n + 1 < size) {
        ssize_t got = read(fd, out + n, size - 1 - n);
        assert_true(got > 0);
        n += (size_t)got;
        out[n] = '\0';
        if (strchr(out, '\n') != NULL)
            break;
    }
    *strchr(out, '\r') = '\0';
    close(fd);
}

static void two_brokers_in_one_process_do_not_see_each_other(void **state)
{
    struct served a = { 0 }, b = { 0 };
    char dirs[2][32], reply[256];

    (void)state;
    make_dir(dirs[0]);
    make_dir(dirs[1]);
    begin(&a, dirs[0]);
    begin(&b, dirs[1]);
    assert_int_not_equal(broker_port(a.broker), broker_port(b.broker));
    ask(&a, "XADD s 1-1 f v\r\n", reply, sizeof reply);
    assert_string_equal(reply, "$3");
    ask(&a, "XLEN s\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":1");
    ask(&b, "XLEN s\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":0");
    end(&a);
    ask(&b, "PING\r\n", reply, sizeof reply);
    assert_string_equal(reply, "+PONG");
    end(&b);
    begin(&b, dirs[0]);
    ask(&b, "XLEN s\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":1");
    end(&b);
    remove_dir(dirs[0]);
    remove_dir(dirs[1]);
}

static void a_store_in_use_is_refused_and_stays_as_it_is(void **state)
{
    struct served a = { 0 };
    struct broker *second = NULL;
    char dir[32], reply[256];
    struct config c;
    struct err e;

    (void)state;
    make_dir(dir);
    begin(&a, dir);
    c = config_for(dir, NULL);
    assert_int_equal(broker_open(&c, &second, &e), ERR_LOCKED);
    assert_non_null(strstr(e.text, dir));
    config_fini(&c);
    ask(&a, "XADD s 1-1 f v\r\n", reply, sizeof reply);
    assert_string_equal(reply, "$3");
    end(&a);
    remove_dir(dir);
}

static void a_broker_that_cannot_listen_leaves_the_store_closed(void **state)
{
    static const char *const nowhere[] = { "--unixsocket", "/no/such/directory/sock", NULL };
    struct served a = { 0 };
    struct broker *b = NULL;
    char dir[32];
    struct config c;
    struct err e;

    (void)state;
    make_dir(dir);
    c = config_for(dir, nowhere);
    assert_int_equal(broker_open(&c, &b, &e), ERR_IO);
    assert_non_null(strstr(e.text, "/no/such/directory/sock"));
    config_fini(&c);
    begin(&a, dir);
    end(&a);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_brokers_in_one_process_do_not_see_each_other),
        cmocka_unit_test(a_store_in_use_is_refused_and_stays_as_it_is),
        cmocka_unit_test(a_broker_that_cannot_listen_leaves_the_store_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
