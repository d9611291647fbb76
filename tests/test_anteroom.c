/* test_anteroom.c - clients that come while the store is being loaded: what they are told, and that they go on afterwards. */
#include "broker/net/anteroom.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <cmocka.h>

struct room {
    struct config config;
    struct listener listener;
    struct anteroom *anteroom;
    int taken[8];
    size_t n_taken;
};

static void room_open(struct room *r, const char *password)
{
    struct err e;

    memset(r, 0, sizeof *r);
    assert_int_equal(config_init(&r->config, &e), OK);
    r->config.port = 0;
    r->config.requirepass = password == NULL ? NULL : strdup(password);
    r->listener.spare_fd = -1;
    assert_int_equal(listener_open(&r->config, &r->listener, &e), OK);
    assert_int_equal(anteroom_open(&r->listener, &r->config, &r->anteroom, &e), OK);
}

static void room_take(void *ctx, const struct listener_socket *socket, int fd)
{
    struct room *r = ctx;

    assert_false(socket->is_unix);
    r->taken[r->n_taken++] = fd;
}

static void room_close(struct room *r)
{
    anteroom_close(r->anteroom, room_take, r);
    r->anteroom = NULL;
}

static void room_fini(struct room *r)
{
    for (size_t i = 0; i < r->n_taken; i++)
        close(r->taken[i]);
    listener_close(&r->listener);
    config_fini(&r->config);
}

static int guest(const struct room *r)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(r->listener.port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until `end` has come; what came is in `out`. */
static void hear(int fd, const char *end, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    while (strstr(out, end) == NULL) {
        ssize_t got = recv(fd, out + n, size - 1 - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
        out[n] = '\0';
    }
}

static void commands_are_told_that_it_loads(void **state)
{
    struct room r;
    char text[2048];
    int fd;

    (void)state;
    room_open(&r, NULL);
    fd = guest(&r);
    say(fd, "GET a\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\nPING\r\n");
    hear(fd,
         "memory\r\n-LOADING Redis is loading the dataset in memory\r\n-LOADING Redis is loading "
         "the "
         "dataset in memory\r\n",
         text, sizeof text);
    say(fd, "INFO\r\n");
    hear(fd, "loading:1\r\n", text, sizeof text);
    say(fd, "QUIT\r\n");
    hear(fd, "+OK\r\n", text, sizeof text);
    assert_int_equal(recv(fd, text, sizeof text, 0), 0);
    close(fd);
    room_close(&r);
    assert_int_equal(r.n_taken, 0);
    room_fini(&r);
}

static void who_waits_goes_on(void **state)
{
    struct room r;
    char text[2048];
    int idle, between, in_the_middle;

    (void)state;
    room_open(&r, NULL);
    between = guest(&r);
    say(between, "PING\r\n");
    hear(between, "memory\r\n", text, sizeof text);
    in_the_middle = guest(&r);
    say(in_the_middle, "PING\r\nPI");
    hear(in_the_middle, "memory\r\n", text, sizeof text);
    idle = guest(&r); /* let in or still in the backlog: not lost */
    room_close(&r);
    assert_true(r.n_taken >= 1);
    say(between, "later");
    assert_int_equal(recv(r.taken[0], text, sizeof text, 0), 5);
    assert_int_equal(recv(in_the_middle, text, sizeof text, 0), 0);
    close(idle);
    close(between);
    close(in_the_middle);
    room_fini(&r);
}

static void strangers_and_babblers_learn_nothing(void **state)
{
    static char long_request[2 * ANTEROOM_INPUT_MAX];
    struct room r;
    char text[2048];
    int fd;

    (void)state;
    room_open(&r, "secret");
    fd = guest(&r);
    say(fd, "INFO\r\n");
    hear(fd, "-NOAUTH Authentication required.\r\n", text, sizeof text);
    close(fd);
    fd = guest(&r);
    memset(long_request, 'x', sizeof long_request - 1);
    (void)!send(fd, long_request, sizeof long_request - 1, MSG_NOSIGNAL);
    while (recv(fd, text, sizeof text, 0) > 0)
        ;
    close(fd);
    fd = guest(&r);
    say(fd, "*x\r\n");
    while (recv(fd, text, sizeof text, 0) > 0)
        ;
    close(fd);
    room_close(&r);
    room_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_told_that_it_loads),
        cmocka_unit_test(who_waits_goes_on),
        cmocka_unit_test(strangers_and_babblers_learn_nothing),
    };
    return cmocka_run_group_tests_name("anteroom", tests, NULL, NULL);
}
