/*
 * client.c - one connection: commands go out in order, replies come back in the same order.
 *
 * The client joins three parts that know nothing of each other: request.c makes bytes of commands,
 * transport.c moves bytes, parser.c makes replies of bytes. What it adds is the count of replies
 * that are still to come, the deadline of each call, and the login.
 *
 * Sending never waits for sending alone. A server that has many replies to give stops reading when
 * its own output is full; a client that insisted on sending first would wait for it, and it for the
 * client. So while the socket takes nothing, what it brings is read into the parser's buffer.
 *
 * An error reply is an answer like any other to the connection: the next command works. After lost
 * bytes (closed, unreadable, over a limit) the connection is broken: what had come before can still
 * be received, then every call says why, until beck_client_connect.
 *
 *   C1  pending is the number of commands appended without a received reply.
 *   C2  fd is -1 exactly when not connected.
 *
 * Login: one round trip. HELLO 3 with the login in it, and SELECT right behind. A server that does
 * not know HELLO (or not RESP3) gets AUTH and SELECT and stays with RESP2.
 */
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/conf.h"
#include "client/parser.h"
#include "client/request.h"
#include "client/transport.h"

struct beck_client {
    struct beck_conf *conf; /* a copy of its own */
    struct request request;
    struct parser parser;
    int fd;
    int wakeup_fd;
    int proto;
    size_t pending;
    uint64_t timeout_ms;
    struct fail fail;   /* of the last failing call */
    struct fail broken; /* why the connection is of no use any more; code BECK_OK while it is */
    char address[160];
};

int beck_client_new(const struct beck_conf *conf, struct beck_client **out)
{
    struct beck_client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return BECK_ERR_NOMEM;
    if (conf_copy(conf, &c->conf) != BECK_OK) {
        free(c);
        return BECK_ERR_NOMEM;
    }
    request_init(&c->request);
    parser_init(&c->parser, conf->max_reply_bytes, conf->max_reply_elements);
    c->fd = c->wakeup_fd = -1;
    c->proto = 2;
    c->timeout_ms = conf->timeout_ms;
    transport_address(conf, c->address, sizeof c->address);
    *out = c;
    return BECK_OK;
}

static void client_disconnect(struct beck_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->pending = 0;
    c->proto = 2;
    c->broken.code = BECK_OK;
    request_reset(&c->request);
    parser_reset(&c->parser);
}

void beck_client_free(struct beck_client *c)
{
    if (c == NULL)
        return;
    client_disconnect(c);
    request_fini(&c->request);
    parser_fini(&c->parser);
    beck_conf_free(c->conf);
    free(c);
}

/* Remembers that the connection is lost, as c->fail tells. */
static int client_break(struct beck_client *c)
{
    if (c->broken.code == BECK_OK)
        c->broken = c->fail;
    return c->fail.code;
}

static int client_broken(struct beck_client *c)
{
    c->fail = c->broken;
    return c->fail.code;
}

/* Reads what the socket has. Errors: BECK_ERR_AGAIN; the others break the connection. */
static int client_fill(struct beck_client *c)
{
    char *room = NULL;
    size_t n = 0;
    int rc = parser_room(&c->parser, &room, &n, &c->fail);

    if (rc == BECK_OK)
        rc = transport_receive(c->fd, room, n, &n, &c->fail);
    if (rc == BECK_OK)
        parser_filled(&c->parser, n);
    else if (rc != BECK_ERR_AGAIN)
        client_break(c);
    return rc;
}

static int client_flush(struct beck_client *c, int64_t deadline_ms)
{
    while (c->request.at < c->request.len) {
        size_t sent;
        short ready;
        int rc = transport_send(c->fd, c->request.buf + c->request.at,
                                c->request.len - c->request.at, &sent, &c->fail);
        if (rc == BECK_OK) {
            request_sent(&c->request, sent);
            continue;
        }
        if (rc == BECK_ERR_AGAIN)
            rc = transport_wait(c->fd, c->wakeup_fd, POLLIN | POLLOUT, deadline_ms, &ready,
                                &c->fail);
        else
            client_break(c);
        if (rc == BECK_OK && (ready & ~POLLOUT) != 0)
            rc = client_fill(c);
        if (rc != BECK_OK && rc != BECK_ERR_AGAIN)
            return rc;
    }
    return BECK_OK;
}

/* The next reply that is not a push, out of the bytes that are here. */
static int client_parse(struct beck_client *c, const struct beck_reply **out)
{
    int rc;

    do
        rc = parser_next(&c->parser, out, &c->fail);
    while (rc == BECK_OK && (*out)->type == BECK_REPLY_PUSH);
    if (rc == BECK_ERR_AGAIN)
        return rc;
    if (rc != BECK_OK)
        return client_break(c);
    assert(c->pending > 0); /* C1 */
    c->pending--;
    if ((*out)->type == BECK_REPLY_ERROR)
        return fail_server(&c->fail, beck_reply_string(*out));
    return BECK_OK;
}

/* Replies can be had as long as their bytes are here, even when the connection is gone. */
static bool client_can_parse(const struct beck_client *c)
{
    return c->broken.code == BECK_OK || c->broken.code == BECK_ERR_CLOSED ||
           c->broken.code == BECK_ERR_IO;
}

static int client_receive(struct beck_client *c, int64_t deadline_ms, const struct beck_reply **out)
{
    for (;;) {
        short ready;
        int rc;
        if (!client_can_parse(c))
            return client_broken(c);
        rc = client_parse(c, out);
        if (rc != BECK_ERR_AGAIN)
            return rc;
        if (c->broken.code != BECK_OK) { /* perhaps by sending only, and there is more to read */
            if (client_fill(c) != BECK_OK)
                return client_broken(c);
            continue;
        }
        rc = client_flush(c, deadline_ms);
        if (rc == BECK_OK)
            rc = client_fill(c);
        if (rc == BECK_ERR_AGAIN)
            rc = transport_wait(c->fd, c->wakeup_fd, POLLIN, deadline_ms, &ready, &c->fail);
        if (rc != BECK_OK && c->broken.code == BECK_OK)
            return rc;
    }
}

static int client_check(struct beck_client *c, bool wants_reply)
{
    if (c->fd < 0)
        return fail_set(&c->fail, BECK_ERR_USAGE, "not connected");
    if (wants_reply && c->pending == 0)
        return fail_set(&c->fail, BECK_ERR_USAGE, "no reply is outstanding");
    return BECK_OK;
}

int beck_client_append(struct beck_client *c, const struct beck_slice *args, size_t n)
{
    int rc = client_check(c, false);

    if (rc == BECK_OK && n == 0)
        rc = fail_set(&c->fail, BECK_ERR_USAGE, "a command without arguments");
    if (rc == BECK_OK)
        rc = request_append(&c->request, args, n, &c->fail);
    if (rc == BECK_OK)
        c->pending++;
    return rc;
}

int beck_client_flush(struct beck_client *c)
{
    int rc = client_check(c, false);

    if (rc == BECK_OK && c->broken.code != BECK_OK)
        rc = client_broken(c);
    if (rc == BECK_OK)
        rc = client_flush(c, transport_deadline(c->timeout_ms));
    return rc;
}

int beck_client_receive(struct beck_client *c, const struct beck_reply **out)
{
    int rc = client_check(c, true);

    return rc == BECK_OK ? client_receive(c, transport_deadline(c->timeout_ms), out) : rc;
}

int beck_client_poll(struct beck_client *c, const struct beck_reply **out)
{
    int rc = client_check(c, true);

    if (rc != BECK_OK)
        return rc;
    if (!client_can_parse(c))
        return client_broken(c);
    rc = client_parse(c, out);
    if (rc != BECK_ERR_AGAIN)
        return rc;
    rc = client_fill(c);
    if (rc == BECK_OK)
        rc = client_parse(c, out);
    else if (c->broken.code != BECK_OK)
        return client_broken(c);
    if (rc == BECK_ERR_AGAIN)
        return fail_set(&c->fail, rc, "no reply has come yet");
    return rc;
}

static int client_call(struct beck_client *c, const struct beck_slice *args, size_t n,
                       int64_t deadline_ms, const struct beck_reply **out)
{
    int rc = beck_client_append(c, args, n);

    return rc == BECK_OK ? client_receive(c, deadline_ms, out) : rc;
}

int beck_client_call(struct beck_client *c, const struct beck_slice *args, size_t n,
                     const struct beck_reply **out)
{
    if (c->pending > 0)
        return fail_set(&c->fail, BECK_ERR_USAGE, "%zu replies are outstanding", c->pending);
    return client_call(c, args, n, transport_deadline(c->timeout_ms), out);
}

/* HELLO 3 with what the settings ask for. */
static int client_append_hello(struct beck_client *c)
{
    const struct beck_conf *conf = c->conf;
    struct beck_slice args[7] = { beck_str("HELLO"), beck_str("3") };
    size_t n = 2;

    if (conf->password != NULL) {
        args[n++] = beck_str("AUTH");
        args[n++] = beck_str(conf->user != NULL ? conf->user : "default");
        args[n++] = beck_str(conf->password);
    }
    if (conf->name != NULL) {
        args[n++] = beck_str("SETNAME");
        args[n++] = beck_str(conf->name);
    }
    return beck_client_append(c, args, n);
}

static int client_append_select(struct beck_client *c)
{
    char db[24];
    struct beck_slice args[2] = { beck_str("SELECT") };

    if (c->conf->db == 0)
        return BECK_OK;
    snprintf(db, sizeof db, "%llu", (unsigned long long)c->conf->db);
    args[1] = beck_str(db);
    return beck_client_append(c, args, 2);
}

/* AUTH, CLIENT SETNAME and SELECT, each as far as the settings ask for it. */
static int client_append_login(struct beck_client *c)
{
    const struct beck_conf *conf = c->conf;
    struct beck_slice auth[3] = { beck_str("AUTH") };
    struct beck_slice name[3] = { beck_str("CLIENT"), beck_str("SETNAME") };
    size_t n = 1;
    int rc = BECK_OK;

    if (conf->password != NULL) {
        if (conf->user != NULL)
            auth[n++] = beck_str(conf->user);
        auth[n++] = beck_str(conf->password);
        rc = beck_client_append(c, auth, n);
    }
    if (rc == BECK_OK && conf->name != NULL) {
        name[2] = beck_str(conf->name);
        rc = beck_client_append(c, name, 3);
    }
    return rc == BECK_OK ? client_append_select(c) : rc;
}

/* Receives the replies of the login. Only the first error counts: it has made the others. */
static int client_receive_all(struct beck_client *c, int64_t deadline_ms)
{
    const struct beck_reply *reply;
    struct fail first = { 0 };

    while (c->pending > 0) {
        int rc = client_receive(c, deadline_ms, &reply);
        if (rc != BECK_OK && rc != BECK_ERR_SERVER && rc != BECK_ERR_AUTH)
            return rc;
        if (rc != BECK_OK && first.code == BECK_OK)
            first = c->fail;
    }
    if (first.code != BECK_OK)
        c->fail = first;
    return first.code;
}

/* Whether an error to HELLO says that the server is too old for it. */
static bool client_lacks_hello(const struct fail *f)
{
    return strncmp(f->text, "NOPROTO", 7) == 0 || strncmp(f->text, "ERR unknown command", 19) == 0;
}

static int client_login(struct beck_client *c, int64_t deadline_ms)
{
    int rc;

    if (c->conf->proto == 3) {
        rc = client_append_hello(c);
        if (rc == BECK_OK)
            rc = client_append_select(c);
        if (rc == BECK_OK)
            rc = client_receive_all(c, deadline_ms);
        if (rc == BECK_OK)
            c->proto = 3;
        if (rc != BECK_ERR_SERVER || !client_lacks_hello(&c->fail))
            return rc;
    }
    rc = client_append_login(c);
    return rc == BECK_OK ? client_receive_all(c, deadline_ms) : rc;
}

int beck_client_connect(struct beck_client *c)
{
    int64_t deadline_ms = transport_deadline(c->conf->connect_timeout_ms);
    char place[sizeof c->address + sizeof c->fail.text + 3];
    int rc;

    client_disconnect(c);
    rc = transport_connect(c->conf, c->wakeup_fd, deadline_ms, &c->fd, &c->fail);
    if (rc == BECK_OK)
        rc = client_login(c, deadline_ms);
    if (rc == BECK_OK)
        return BECK_OK;
    client_disconnect(c);
    snprintf(place, sizeof place, "%s: %s", c->address, c->fail.text);
    memcpy(c->fail.text, place, sizeof c->fail.text - 1);
    return rc;
}

size_t beck_client_pending(const struct beck_client *c)
{
    return c->pending;
}

size_t beck_client_unsent(const struct beck_client *c)
{
    return c->request.len - c->request.at;
}

void beck_client_set_timeout(struct beck_client *c, uint64_t timeout_ms)
{
    c->timeout_ms = timeout_ms;
}

void beck_client_set_wakeup(struct beck_client *c, int fd)
{
    c->wakeup_fd = fd;
}

int beck_client_fd(const struct beck_client *c)
{
    return c->fd;
}

const char *beck_client_address(const struct beck_client *c)
{
    return c->address;
}

int beck_client_proto(const struct beck_client *c)
{
    return c->proto;
}

const char *beck_last_error(const struct beck_client *c)
{
    return c->fail.text;
}

bool beck_last_error_retriable(const struct beck_client *c)
{
    return c->fail.retriable;
}
