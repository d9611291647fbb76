/*
 * test_groups_load.c - a thousand consumers in a hundred groups of one stream, killed at random, as is the broker.
 *
 * Every group has to be through with every entry in the end: acknowledged exactly once by a consumer that lived to hear of it, or in the
 * group's dead-letter stream, never both; and nothing that was acknowledged may be handed out again, whatever is killed. In groups
 * with ORDERBY an entry comes only when all earlier ones of its key are acknowledged or dead.
 *
 * One thread drives all connections. It knows of each (group, entry) when it sent an acknowledgement, and whether it
 * heard of it. Replies of different connections may be read in another order than they were made, so a delivery is judged by
 * what had been heard when it was asked for.
 *
 * SCALE multiplies the number of entries (1: 1,000, so 100,000 to be done), KILL9_ROUNDS says how often the broker is killed.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "log/bytes.h"
#include "log/err.h"
#include "log/id.h"
#include "tests/lib/random.h"
#include "tests/lib/server.h"
#include "tests/lib/walk.h"

enum {
    GROUPS = 100,
    EACH = 10, /* consumers of a group */
    CONNS = GROUPS * EACH,
    COUNT = 10, /* entries a reply */
    KEYS = 40,
    POISON = 97, /* one in so many is never acknowledged where there is a dead-letter stream */
    OUTPUT = 16 << 10, /* of a connection */
    SPARE_DESCRIPTORS = 64,
    QUIET_ROUNDS = 5 /* looks at a quiet broker between two looks at the groups */
};

/* What a group is like, by its number modulo 4. */
static bool crowd_has_dlq(int group)
{
    return group % 4 == 1 || group % 4 == 3;
}

static bool crowd_is_ordered(int group)
{
    return group % 4 >= 2;
}

struct pair {          /* a group and an entry */
    uint64_t acked_at; /* event number when a 1 was read; 0: not heard of */
    uint8_t n_sent;    /* acknowledgements sent, at most 255 counted */
    uint8_t n_given;   /* times that it was delivered */
    uint8_t n_dead;    /* times in the dead-letter stream, at the end */
};

enum crowd_state { CROWD_READING, CROWD_ANSWERING };

struct conn {
    int fd, group;
    enum crowd_state state;
    uint64_t asked_at; /* event number when its XREADGROUP was sent */
    unsigned life;     /* how many consumers it has been */
    uint8_t *input;
    size_t n, cap;
    uint32_t sent[COUNT]; /* entries whose answers are awaited, in order */
    bool nacked[COUNT];
    size_t n_sent, n_answered;
};

struct crowd {
    struct server server;
    struct random random;
    const char *program;
    int poll;
    size_t n_conns, n_entries, n_appended;
    struct conn conns[CONNS];
    struct pair *pairs; /* by group, then entry */
    uint32_t *before;   /* the entry before with the same key; UINT32_MAX: none */
    char (*ids)[ID_TEXT_MAX];
    uint8_t *reply; /* of the last crowd_ask */
    size_t n_reply, cap_reply;
    uint64_t event, n_answered, n_killed_consumers,
        n_kills; /* answered: acknowledged, heard of or not */
};

static struct pair *crowd_pair(struct crowd *w, int group, uint32_t entry)
{
    return &w->pairs[(size_t)group * w->n_entries + entry];
}

/* ---- the broker ---- */

static const char *const CROWD_OPTIONS[4] = {
    "ACKWAIT 300",
    "ACKWAIT 300 MAXDELIVER 3 DLQ d%d BACKOFF 2 5 20 CONSUMERTTL 2000",
    "ACKWAIT 300 ORDERBY k CONSUMERTTL 2000",
    "ACKWAIT 300 ORDERBY k MAXDELIVER 3 DLQ d%d MAXPENDING 200 BACKOFF 1 5",
};

/* Sends a request over a connection of its own; w->reply is the whole reply, which is no error. */
static void crowd_ask(struct crowd *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void crowd_ask(struct crowd *w, const char *format, ...)
{
    int fd = socket(w->server.target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *address = (const struct sockaddr *)&w->server.target.address;
    va_list args;

    assert_true(fd >= 0 && connect(fd, address, w->server.target.n_address) == 0);
    va_start(args, format);
    assert_true(vdprintf(fd, format, args) > 0);
    va_end(args);
    assert_int_equal(write(fd, "\r\n", 2), 2);
    w->n_reply = 0;
    do {
        ssize_t got;
        if (w->cap_reply - w->n_reply < OUTPUT) {
            w->cap_reply = w->cap_reply == 0 ? 2 * OUTPUT : 2 * w->cap_reply;
            w->reply = realloc(w->reply, w->cap_reply);
            assert_non_null(w->reply);
        }
        got = read(fd, w->reply + w->n_reply, w->cap_reply - w->n_reply);
        assert_true(got > 0);
        w->n_reply += (size_t)got;
    } while (walk_skip(w->reply, w->reply + w->n_reply) == NULL);
    close(fd);
    if (w->reply[0] == '-')
        fail_msg("%s: %.*s", format, (int)w->n_reply, (const char *)w->reply);
}

static const char *const *crowd_argv(const struct crowd *w)
{
    static const char *argv[] = { NULL, "--port", "%p", "--dir", "%d", "--stream-durability",
                                  "os", NULL };

    argv[0] = w->program;
    return argv;
}

/* Appends entries up to `n`: number and key. */
static void crowd_append(struct crowd *w, size_t n)
{
    struct slice id;

    for (; w->n_appended < n && w->n_appended < w->n_entries; w->n_appended++) {
        crowd_ask(w, "XADD s * n %zu k %zu", w->n_appended, w->n_appended * 7 % KEYS);
        walk_string(w->reply, w->reply + w->n_reply, &id);
        snprintf(w->ids[w->n_appended], ID_TEXT_MAX, "%.*s", (int)id.n, (const char *)id.p);
    }
}

static void crowd_make_groups(struct crowd *w)
{
    char options[256];

    for (int g = 0; g < GROUPS; g++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(options, sizeof options, CROWD_OPTIONS[g % 4], g);
#pragma GCC diagnostic pop
        crowd_ask(w, "XGROUP CREATE s g%d 0 MKSTREAM %s", g, options);
    }
}

/* ---- connections ---- */

struct crowd_text {
    size_t n;
    char p[OUTPUT];
};

static void crowd_put(struct crowd_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void crowd_put(struct crowd_text *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->p + t->n, sizeof t->p - t->n, format, args);
    va_end(args);
    assert_true(n > 0 && (size_t)n < sizeof t->p - t->n);
    t->n += (size_t)n;
}

static void crowd_send(struct conn *c, const struct crowd_text *t)
{
    size_t done = 0;

    while (done < t->n) {
        ssize_t n = send(c->fd, t->p + done, t->n - done, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the broker is gone: the loop will see it */
        done += (size_t)n;
    }
}

static void crowd_read_more(struct crowd *w, struct conn *c)
{
    struct crowd_text t = { .n = 0 };
    int at = (int)(c - w->conns);

    crowd_put(&t, "XREADGROUP GROUP g%d c%d-%u COUNT %d BLOCK 50 STREAMS s >\r\n", c->group, at,
              c->life, COUNT);
    c->state = CROWD_READING;
    c->asked_at = ++w->event;
    crowd_send(c, &t);
}

static void crowd_open(struct crowd *w, struct conn *c)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

    c->fd = socket(w->server.target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (const struct sockaddr *)&w->server.target.address,
                             w->server.target.n_address),
                     0);
    assert_int_equal(epoll_ctl(w->poll, EPOLL_CTL_ADD, c->fd, &event), 0);
    c->n = 0;
    c->n_sent = 0;
    c->life++;
    crowd_read_more(w, c);
}

/* The consumer dies with all that it has. */
static void crowd_die(struct crowd *w, struct conn *c)
{
    close(c->fd);
    w->n_killed_consumers++;
    crowd_open(w, c);
}

/* ---- what comes ---- */

static uint32_t crowd_number(const struct crowd *w, struct slice text)
{
    uint64_t n = UINT64_MAX;

    assert_true(id_parse_u64(text, &n));
    assert_true(n < w->n_entries);
    return (uint32_t)n;
}

/* Whether the group is through with an entry: somebody has acknowledged it, or it is dead. One that nobody has acknowledged
 * and that has been delivered is dead if it is not pending. */
static bool crowd_entry_is_over(struct crowd *w, int group, uint32_t entry)
{
    const char *id = w->ids[entry];

    if (crowd_pair(w, group, entry)->n_sent > 0)
        return true;
    if (!crowd_has_dlq(group))
        return false;
    crowd_ask(w, "XPENDING s g%d %s %s 1", group, id, id);
    return memcmp(w->reply, "*0", 2) == 0;
}

static void crowd_judge(struct crowd *w, const struct conn *c, uint32_t entry)
{
    struct pair *p = crowd_pair(w, c->group, entry);
    uint32_t earlier = w->before[entry];

    if (p->acked_at != 0 && p->acked_at < c->asked_at)
        fail_msg("group %d was given entry %u (%s) again, which was acknowledged", c->group, entry,
                 w->ids[entry]);
    if (crowd_is_ordered(c->group) && earlier != UINT32_MAX &&
        !crowd_entry_is_over(w, c->group, earlier))
        fail_msg("group %d was given entry %u (%s) before %u of the same key was done", c->group,
                 entry, w->ids[entry], earlier);
    if (p->n_given < UINT8_MAX)
        p->n_given++;
}

/* Answers what has come: mostly acknowledges. */
static void crowd_answer(struct crowd *w, struct conn *c)
{
    struct crowd_text t = { .n = 0 };

    c->n_answered = 0;
    for (size_t i = 0; i < c->n_sent; i++) {
        const char *id = w->ids[c->sent[i]];
        struct pair *p = crowd_pair(w, c->group, c->sent[i]);

        c->nacked[i] =
            crowd_has_dlq(c->group) ? c->sent[i] % POISON == 0 : random_below(&w->random, 40) == 0;
        if (c->nacked[i]) {
            crowd_put(&t, "XNACK s g%d FAIL IDS 1 %s\r\n", c->group, id);
        } else {
            crowd_put(&t, "XACK s g%d %s\r\n", c->group, id);
            w->n_answered += p->n_sent == 0;
            if (p->n_sent < UINT8_MAX)
                p->n_sent++;
        }
    }
    c->state = CROWD_ANSWERING;
    crowd_send(c, &t);
}

/* A whole reply of XREADGROUP. */
static void crowd_on_entries(struct crowd *w, struct conn *c, const uint8_t *p, const uint8_t *end)
{
    struct slice text;
    long long n = 0;

    c->n_sent = 0;
    if (p[0] == '-')
        fail_msg("XREADGROUP: %.*s", (int)(end - p), (const char *)p);
    if (p[1] == '-') {
        crowd_read_more(w, c);
        return;
    }
    p = walk_line(walk_line(p, end, &n), end, &n);
    p = walk_line(walk_skip(p, end), end, &n);
    assert_in_range(n, 1, COUNT);
    for (; n > 0; n--) {
        const uint8_t *next = walk_skip(p, end);
        long long ignored;
        p = walk_string(walk_line(p, end, &ignored), end, &text); /* ID */
        p = walk_string(walk_line(p, end, &ignored), end, &text); /* "n" */
        walk_string(p, end, &text);
        c->sent[c->n_sent] = crowd_number(w, text);
        crowd_judge(w, c, c->sent[c->n_sent++]);
        p = next;
    }
    if (random_below(&w->random, 50) == 0)
        crowd_die(w, c);
    else
        crowd_answer(w, c);
}

static void crowd_on_answer(struct crowd *w, struct conn *c, const uint8_t *p, const uint8_t *end)
{
    uint32_t entry = c->sent[c->n_answered];
    struct pair *pair = crowd_pair(w, c->group, entry);
    long long n = 0;

    if (p[0] != ':')
        fail_msg("an answer to entry %u: %.*s", entry, (int)(end - p), (const char *)p);
    walk_line(p, end, &n);
    if (!c->nacked[c->n_answered] && n == 1) {
        if (pair->acked_at != 0)
            fail_msg("group %d has acknowledged entry %u (%s) twice", c->group, entry,
                     w->ids[entry]);
        pair->acked_at = ++w->event;
    }
    if (++c->n_answered == c->n_sent)
        crowd_read_more(w, c);
}

static void crowd_on_readable(struct crowd *w, struct conn *c)
{
    const uint8_t *p, *end;
    ssize_t got;

    if (c->cap - c->n < OUTPUT) {
        c->cap = c->cap == 0 ? 2 * OUTPUT : 2 * c->cap;
        c->input = realloc(c->input, c->cap);
        assert_non_null(c->input);
    }
    got = recv(c->fd, c->input + c->n, c->cap - c->n, MSG_DONTWAIT);
    if (got <= 0)
        fail_msg("the broker closed a connection: %s", got < 0 ? strerror(errno) : "its end");
    c->n += (size_t)got;
    for (p = c->input; (end = walk_skip(p, c->input + c->n)) != NULL; p = end) {
        unsigned life = c->life;
        if (c->state == CROWD_READING)
            crowd_on_entries(w, c, p, end);
        else
            crowd_on_answer(w, c, p, end);
        if (c->life != life)
            return; /* it has died */
    }
    c->n -= (size_t)(p - c->input);
    memmove(c->input, p, c->n);
}

/* ---- the run ---- */

static void crowd_kill_broker(struct crowd *w)
{
    struct err e;
    double seconds;

    server_kill(&w->server);
    w->n_kills++;
    for (size_t i = 0; i < w->n_conns; i++)
        close(w->conns[i].fd);
    if (server_restart(&w->server, crowd_argv(w), "PING", &seconds, &e) != OK)
        fail_msg("start %" PRIu64 ": %s", w->n_kills, e.text);
    for (size_t i = 0; i < w->n_conns; i++)
        crowd_open(w, &w->conns[i]);
}

/* A number that BECK GROUP tells. */
static uint64_t crowd_figure(struct crowd *w, int group, const char *name)
{
    const uint8_t *p, *end;
    struct slice word;
    long long n = 0, value = -1;

    crowd_ask(w, "BECK GROUP s g%d", group);
    end = w->reply + w->n_reply;
    for (p = walk_line(w->reply, end, &n); n > 0; n -= 2) {
        p = walk_string(p, end, &word);
        if (slice_equal(word, slice_str(name)))
            walk_line(p, end, &value);
        p = walk_skip(p, end);
    }
    assert_true(value >= 0);
    return (uint64_t)value;
}

/* Whether a group is through with all that there is. */
static bool crowd_group_is_over(struct crowd *w, int group)
{
    return crowd_figure(w, group, "pending") == 0 && crowd_figure(w, group, "lag") == 0;
}

static bool crowd_is_over(struct crowd *w)
{
    for (int g = 0; g < GROUPS; g++)
        if (!crowd_group_is_over(w, g))
            return false;
    return true;
}

static void crowd_run(struct crowd *w, size_t n_kills)
{
    uint64_t total = (uint64_t)GROUPS * w->n_entries, step = total / (n_kills + 1);
    struct epoll_event events[256];
    int quiet = 0;

    crowd_append(w, w->n_entries / 2);
    for (size_t i = 0; i < w->n_conns; i++)
        crowd_open(w, &w->conns[i]);
    for (;;) {
        uint64_t before = w->n_answered;
        int n = epoll_wait(w->poll, events, 256, 60000);

        assert_true(n > 0); /* readers are told at least that there is nothing */
        for (int i = 0; i < n; i++)
            crowd_on_readable(w, events[i].data.ptr);
        crowd_append(w, w->n_entries / 2 + w->n_answered / GROUPS);
        if (w->n_kills < n_kills && w->n_answered > step * (w->n_kills + 1))
            crowd_kill_broker(w);
        quiet = w->n_answered == before ? quiet + 1 : 0;
        if (quiet < QUIET_ROUNDS || w->n_appended < w->n_entries)
            continue;
        quiet = 0;
        if (crowd_is_over(w))
            return;
    }
}

/* ---- the end ---- */

/* Counts what lies in the group's dead-letter stream. */
static void crowd_count_dead(struct crowd *w, int group)
{
    const uint8_t *p, *end;
    long long n = 0, ignored;

    crowd_ask(w, "XRANGE d%d - +", group);
    end = w->reply + w->n_reply;
    for (p = walk_line(w->reply, end, &n); n > 0; n--) {
        const uint8_t *next = walk_skip(p, end);
        struct slice text;
        p = walk_string(walk_line(p, end, &ignored), end, &text);
        p = walk_string(walk_line(p, end, &ignored), end, &text);
        walk_string(p, end, &text);
        crowd_pair(w, group, crowd_number(w, text))->n_dead++;
        p = next;
    }
}

static void crowd_judge_end(struct crowd *w)
{
    uint64_t n_acked = 0, n_dead = 0, n_unheard = 0;

    for (int g = 0; g < GROUPS; g++) {
        if (crowd_has_dlq(g))
            crowd_count_dead(w, g);
        for (uint32_t i = 0; i < w->n_entries; i++) {
            const struct pair *p = crowd_pair(w, g, i);
            bool acked = p->acked_at != 0, unheard = !acked && p->n_dead == 0 && p->n_sent > 0;
            if (p->n_dead + acked + unheard != 1)
                fail_msg("group %d, entry %u (%s): acknowledged %d, dead %d, answered %d, given %d",
                         g, i, w->ids[i], acked, p->n_dead, p->n_sent, p->n_given);
            n_acked += acked;
            n_dead += p->n_dead;
            n_unheard += unheard;
        }
    }
    printf("%" PRIu64 " acknowledged, %" PRIu64 " dead, %" PRIu64
           " acknowledged without the answer being heard; %" PRIu64 " consumers and %" PRIu64
           " brokers killed\n",
           n_acked, n_dead, n_unheard, w->n_killed_consumers, w->n_kills);
}

/* As many consumers as descriptors allow. */
static size_t crowd_conns(void)
{
    struct rlimit limit;
    size_t n = CONNS;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < CONNS + SPARE_DESCRIPTORS) {
        n = (size_t)limit.rlim_max - SPARE_DESCRIPTORS;
        n -= n % GROUPS;
        printf("%zu consumers instead of %d: the limit of descriptors is %zu\n", n, CONNS,
               (size_t)limit.rlim_max);
    }
    return n;
}

static void crowd_prepare(struct crowd *w)
{
    const char *beckd = getenv("BECKD");
    struct err e;

    w->random = random_seeded("groups_load");
    w->n_entries = random_rounds(1000);
    w->pairs = calloc((size_t)GROUPS * w->n_entries, sizeof *w->pairs);
    w->before = malloc(w->n_entries * sizeof *w->before);
    w->ids = malloc(w->n_entries * sizeof *w->ids);
    assert_true(w->pairs != NULL && w->before != NULL && w->ids != NULL);
    for (size_t i = 0; i < w->n_entries; i++)
        w->before[i] = i < KEYS ? UINT32_MAX : (uint32_t)(i - KEYS);
    w->n_conns = crowd_conns();
    for (size_t i = 0; i < w->n_conns; i++)
        w->conns[i].group = (int)(i % GROUPS);
    w->poll = epoll_create1(EPOLL_CLOEXEC);
    assert_true(w->poll >= 0);
    w->program = beckd != NULL ? beckd : "build/beckd";
    if (server_start(&w->server, crowd_argv(w), "/tmp", NULL, 0, &e) != OK)
        fail_msg("%s", e.text);
}

static void crowd_end(struct crowd *w)
{
    for (size_t i = 0; i < w->n_conns; i++) {
        close(w->conns[i].fd);
        free(w->conns[i].input);
    }
    close(w->poll);
    assert_true(server_stop(&w->server));
    free(w->pairs);
    free(w->before);
    free(w->ids);
    free(w->reply);
}

static void every_entry_is_done_once_whoever_is_killed(void **state)
{
    static struct crowd w;
    const char *kills = getenv("KILL9_ROUNDS");

    (void)state;
    crowd_prepare(&w);
    crowd_make_groups(&w);
    crowd_run(&w, kills != NULL ? strtoul(kills, NULL, 10) : 5);
    crowd_judge_end(&w);
    crowd_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_is_done_once_whoever_is_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
