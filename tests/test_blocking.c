/* test_blocking.c - clients that wait for keys, against lists that are searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/blocking.h"
#include "broker/engine/client.h"
#include "broker/engine/reply.h"
#include "tests/lib/random.h"

enum { N_CLIENTS = 40, N_KEYS = 8, N_DBS = 2, KEYS_MAX = 5, EVENTS_MAX = 4096, NEVER = -1 };

static const uint8_t HASH_KEY[16] = { 5, 4, 3 };

struct waiter { /* what the model knows of a client */
    int keys[KEYS_MAX];
    size_t n_keys;
    int64_t deadline; /* NEVER */
    uint64_t number;
    bool waits;
};

struct world {
    struct blocking *b;
    struct client clients[N_CLIENTS];
    struct waiter waiters[N_CLIENTS];
    int tokens[N_DBS][N_KEYS]; /* a waiter is served by taking one of any of its keys */
    int served[EVENTS_MAX], want[EVENTS_MAX]; /* clients in the order in which their wait ended */
    size_t n_served, n_want, n_released, n_blocked;
    int ready[N_DBS * N_KEYS]; /* db * N_KEYS + key */
    size_t n_ready;
    uint64_t next_number;
};

struct wait_ctx {
    struct world *w;
    int client;
};

static struct slice key_name(int key)
{
    static const char names[N_KEYS][6] = { "k0", "k1", "k2", "k3", "key4", "", "k6", "k7" };

    return slice_str(names[key]);
}

/* Takes a token of one of the client's keys; false if none has any. */
static bool take_token(struct world *w, int client)
{
    const struct waiter *waiter = &w->waiters[client];

    for (size_t i = 0; i < waiter->n_keys; i++) {
        int *tokens = &w->tokens[w->clients[client].db][waiter->keys[i]];
        if (*tokens > 0) {
            --*tokens;
            return true;
        }
    }
    return false;
}

static bool try_serve(struct engine *e, struct client *c, void *ctx)
{
    struct wait_ctx *wait = ctx;

    assert_ptr_equal(e, wait->w);
    assert_ptr_equal(c, &wait->w->clients[wait->client]);
    if (!take_token(wait->w, wait->client))
        return false;
    reply_simple(c, "served");
    return true;
}

static void release(void *ctx)
{
    struct wait_ctx *wait = ctx;

    wait->w->n_released++;
    free(wait);
}

static void done(struct engine *e, struct client *c)
{
    struct world *w = (struct world *)(void *)e;

    assert_null(c->blocked);
    assert_true(outbuf_end(&c->out) > 0);
    assert_true(w->n_served < EVENTS_MAX);
    w->served[w->n_served++] = (int)(c - w->clients);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    for (int i = 0; i < N_CLIENTS; i++) {
        outbuf_init(&w->clients[i].out);
        w->clients[i].proto = 2;
        w->clients[i].db = i % N_DBS;
    }
    assert_int_equal(blocking_new((struct engine *)(void *)w, HASH_KEY, done, &w->b, NULL), OK);
    return w;
}

static void world_free(struct world *w)
{
    for (int i = 0; i < N_CLIENTS; i++) {
        blocking_client_gone(w->b, &w->clients[i]);
        outbuf_fini(&w->clients[i].out);
    }
    assert_int_equal(blocking_n_clients(w->b), 0);
    assert_int_equal(blocking_n_keys(w->b), 0);
    assert_int_equal(w->n_released, w->n_blocked);
    blocking_free(w->b);
    free(w);
}

static void block(struct world *w, int client, const int *keys, size_t n_keys, int64_t deadline)
{
    struct wait_ctx *ctx = malloc(sizeof *ctx);
    struct waiter *waiter = &w->waiters[client];
    struct slice names[KEYS_MAX];
    struct blocking_wait wait = { .keys = names,
                                  .n_keys = n_keys,
                                  .deadline_ms =
                                      deadline == NEVER ? UINT64_MAX : (uint64_t)deadline,
                                  .serve = try_serve,
                                  .release = release,
                                  .ctx = ctx };

    *ctx = (struct wait_ctx){ w, client };
    *waiter = (struct waiter){
        .n_keys = n_keys, .deadline = deadline, .number = w->next_number++, .waits = true
    };
    for (size_t i = 0; i < n_keys; i++) {
        waiter->keys[i] = keys[i];
        names[i] = key_name(keys[i]);
    }
    assert_int_equal(blocking_block(w->b, &w->clients[client], &wait, NULL), OK);
    w->n_blocked++;
}

/* The reply that the client has got; forgets it. */
static void assert_reply(struct world *w, int client, const char *want)
{
    struct outbuf *out = &w->clients[client].out;
    struct iovec iov[4];

    assert_int_equal(outbuf_peek(out, outbuf_end(out), iov, 4), 1);
    assert_int_equal(iov[0].iov_len, strlen(want));
    assert_memory_equal(iov[0].iov_base, want, iov[0].iov_len);
    outbuf_consume(out, iov[0].iov_len);
}

static void assert_consistent(struct world *w)
{
    const char *broken = blocking_check(w->b);

    if (broken != NULL)
        fail_msg("%s", broken);
}

/* ---- by example ---- */

static void waiters_are_served_in_the_order_in_which_they_came(void **state)
{
    struct world *w = world_new();
    int key = 3;

    (void)state;
    block(w, 4, &key, 1, NEVER);
    block(w, 0, &key, 1, NEVER);
    block(w, 2, &key, 1, NEVER);
    w->tokens[0][3] = 2;
    blocking_ready(w->b, 0, key_name(3));
    assert_true(blocking_has_ready(w->b));
    blocking_serve(w->b);
    assert_false(blocking_has_ready(w->b));
    assert_int_equal(w->n_served, 2);
    assert_int_equal(w->served[0], 4);
    assert_int_equal(w->served[1], 0);
    assert_reply(w, 4, "+served\r\n");
    assert_non_null(w->clients[2].blocked);
    world_free(w);
}

static void a_false_wake_up_keeps_turn_and_deadline(void **state)
{
    struct world *w = world_new();
    int key = 1;

    (void)state;
    block(w, 0, &key, 1, 500);
    block(w, 2, &key, 1, 400);
    for (int i = 0; i < 3; i++) {
        blocking_ready(w->b, 0, key_name(1));
        blocking_serve(w->b);
    }
    assert_int_equal(w->n_served, 0);
    assert_int_equal(blocking_next_deadline_ms(w->b), 400);
    assert_int_equal(blocking_expire(w->b, 399), 0);
    assert_int_equal(blocking_expire(w->b, 400), 1);
    assert_reply(w, 2, "*-1\r\n");
    assert_int_equal(blocking_next_deadline_ms(w->b), 500);
    w->tokens[0][1] = 1;
    blocking_ready(w->b, 0, key_name(1));
    blocking_serve(w->b);
    assert_reply(w, 0, "+served\r\n");
    assert_int_equal(blocking_next_deadline_ms(w->b), UINT64_MAX);
    world_free(w);
}

static void a_key_of_another_database_is_another_key(void **state)
{
    struct world *w = world_new();
    int key = 1;

    (void)state;
    block(w, 0, &key, 1, NEVER);
    w->tokens[0][1] = 1;
    blocking_ready(w->b, 1, key_name(1));
    assert_false(blocking_has_ready(w->b));
    blocking_ready_all(w->b, 1);
    assert_false(blocking_has_ready(w->b));
    blocking_ready_all(w->b, 0);
    assert_true(blocking_has_ready(w->b));
    blocking_serve(w->b);
    assert_int_equal(w->n_served, 1);
    world_free(w);
}

static void one_who_waits_for_many_keys_is_served_once(void **state)
{
    struct world *w = world_new();
    int keys[] = { 1, 2, 1, 2 };

    (void)state;
    block(w, 0, keys, 4, NEVER);
    assert_int_equal(blocking_n_keys(w->b), 2);
    w->tokens[0][1] = w->tokens[0][2] = 1;
    blocking_ready(w->b, 0, key_name(2));
    blocking_ready(w->b, 0, key_name(1));
    blocking_serve(w->b);
    assert_int_equal(w->n_served, 1);
    assert_reply(w, 0, "+served\r\n");
    assert_int_equal(blocking_n_keys(w->b), 0);
    world_free(w);
}

static void unblock_ends_a_wait_with_null_or_an_error(void **state)
{
    struct world *w = world_new();
    int key = 1;

    (void)state;
    block(w, 0, &key, 1, 100);
    block(w, 2, &key, 1, NEVER);
    w->clients[2].proto = 3;
    assert_true(blocking_unblock(w->b, &w->clients[0], true));
    assert_false(blocking_unblock(w->b, &w->clients[0], true));
    assert_true(blocking_unblock(w->b, &w->clients[2], false));
    assert_reply(w, 0, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_reply(w, 2, "_\r\n");
    assert_int_equal(blocking_next_deadline_ms(w->b), UINT64_MAX);
    world_free(w);
}

static void one_who_is_gone_is_not_replied_to(void **state)
{
    struct world *w = world_new();
    int key = 1;

    (void)state;
    block(w, 0, &key, 1, 100);
    blocking_ready(w->b, 0, key_name(1));
    blocking_client_gone(w->b, &w->clients[0]);
    assert_false(blocking_has_ready(w->b)); /* nobody waits for the key any more */
    blocking_client_gone(w->b, &w->clients[0]);
    assert_int_equal(w->n_served, 0);
    assert_int_equal(w->n_released, 1);
    world_free(w);
}

/* ---- at random ---- */

static void model_end(struct world *w, int client)
{
    w->waiters[client].waits = false;
    w->want[w->n_want++] = client;
}

static bool waits_for(const struct world *w, int client, int db, int key)
{
    const struct waiter *waiter = &w->waiters[client];

    for (size_t i = 0; waiter->waits && w->clients[client].db == db && i < waiter->n_keys; i++)
        if (waiter->keys[i] == key)
            return true;
    return false;
}

/* The waiter of a key with the smallest number above `above`, or -1. */
static int model_next(const struct world *w, int db, int key, int64_t above)
{
    int next = -1;

    for (int i = 0; i < N_CLIENTS; i++)
        if (waits_for(w, i, db, key) && (int64_t)w->waiters[i].number > above &&
            (next < 0 || w->waiters[i].number < w->waiters[next].number))
            next = i;
    return next;
}

static void model_ready(struct world *w, int db, int key)
{
    int place = db * N_KEYS + key;

    if (model_next(w, db, key, -1) < 0)
        return;
    for (size_t i = 0; i < w->n_ready; i++)
        if (w->ready[i] == place)
            return;
    w->ready[w->n_ready++] = place;
}

/* What blocking_serve must do, on the same tokens, which are put back. */
static void model_serve(struct world *w)
{
    int saved[N_DBS][N_KEYS], after[N_DBS][N_KEYS];

    memcpy(saved, w->tokens, sizeof saved);
    for (size_t i = 0; i < w->n_ready; i++) {
        int db = w->ready[i] / N_KEYS, key = w->ready[i] % N_KEYS, client;
        int64_t above = -1;

        while ((client = model_next(w, db, key, above)) >= 0) {
            above = (int64_t)w->waiters[client].number;
            if (take_token(w, client))
                model_end(w, client);
        }
    }
    w->n_ready = 0;
    memcpy(after, w->tokens, sizeof after);
    memcpy(w->tokens, saved, sizeof saved);
    blocking_serve(w->b);
    assert_memory_equal(w->tokens, after, sizeof after);
}

static void model_expire(struct world *w, int64_t now)
{
    size_t n = 0;

    for (;; n++) {
        int first = -1;

        for (int i = 0; i < N_CLIENTS; i++) {
            const struct waiter *a = &w->waiters[i], *f = first < 0 ? NULL : &w->waiters[first];
            if (a->waits && a->deadline != NEVER && a->deadline <= now &&
                (f == NULL || a->deadline < f->deadline ||
                 (a->deadline == f->deadline && a->number < f->number)))
                first = i;
        }
        if (first < 0)
            break;
        model_end(w, first);
    }
    assert_int_equal(blocking_expire(w->b, (uint64_t)now), n);
}

static void random_block(struct random *r, struct world *w, int client, int64_t now)
{
    int keys[KEYS_MAX];
    size_t n = 1 + random_below(r, KEYS_MAX);

    for (size_t i = 0; i < n; i++)
        keys[i] = (int)random_below(r, N_KEYS);
    block(w, client, keys, n, random_below(r, 3) == 0 ? NEVER : now + (int64_t)random_below(r, 50));
}

/* A key is not ready any more when nobody waits for it: who comes later has looked for himself. */
static void model_prune(struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n_ready; i++)
        if (model_next(w, w->ready[i] / N_KEYS, w->ready[i] % N_KEYS, -1) >= 0)
            w->ready[n++] = w->ready[i];
    w->n_ready = n;
}

static void random_step(struct random *r, struct world *w, int64_t *now)
{
    int client = (int)random_below(r, N_CLIENTS), db = (int)random_below(r, N_DBS);
    int key = (int)random_below(r, N_KEYS);

    switch (random_below(r, 8)) {
    case 0:
    case 1:
    case 2:
        if (!w->waiters[client].waits)
            random_block(r, w, client, *now);
        break;
    case 3:
        w->tokens[db][key] += (int)random_below(r, 3);
        model_ready(w, db, key);
        blocking_ready(w->b, db, key_name(key));
        break;
    case 4:
    case 5: model_serve(w); break;
    case 6:
        *now += (int64_t)random_below(r, 20);
        model_expire(w, *now);
        break;
    default:
        if (w->waiters[client].waits) {
            if (random_below(r, 2) == 0) {
                w->waiters[client].waits = false;
                blocking_client_gone(w->b, &w->clients[client]);
            } else {
                model_end(w, client);
                assert_true(blocking_unblock(w->b, &w->clients[client], false));
            }
        }
    }
}

static void random_waits_end_as_those_of_searched_lists(void **state)
{
    struct random r = random_seeded("blocking");

    (void)state;
    for (size_t round = random_rounds(100); round > 0; round--) {
        struct world *w = world_new();
        int64_t now = 0;

        for (size_t i = 0; i < 2000; i++) {
            random_step(&r, w, &now);
            model_prune(w);
            assert_consistent(w);
            assert_int_equal(w->n_served, w->n_want);
        }
        assert_memory_equal(w->served, w->want, w->n_want * sizeof w->want[0]);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiters_are_served_in_the_order_in_which_they_came),
        cmocka_unit_test(a_false_wake_up_keeps_turn_and_deadline),
        cmocka_unit_test(a_key_of_another_database_is_another_key),
        cmocka_unit_test(one_who_waits_for_many_keys_is_served_once),
        cmocka_unit_test(unblock_ends_a_wait_with_null_or_an_error),
        cmocka_unit_test(one_who_is_gone_is_not_replied_to),
        cmocka_unit_test(random_waits_end_as_those_of_searched_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
